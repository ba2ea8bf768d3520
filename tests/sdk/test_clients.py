"""Real MCP clients start with the file that `tollgate connect` wrote: Claude Code, Gemini CLI, Codex, and MCP's own Inspector.

`connect` writes, the client's own command looks at its servers and connects, `--undo` puts the file back byte by byte. None of them
needs an account for that.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness import Gateway

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = ROOT / "tests/clients/node_modules"
SHIPPED = {file.name: file.read_text() for file in (ROOT / "policies").glob("*.yaml")}
MEMORY = ["node", str(ROOT / "tests/sdk/node_modules/@modelcontextprotocol/server-memory/dist/index.js")]
UPSTREAMS = f"""\
[upstreams.demo]
command = ["tollgate", "demo-upstream"]
trust_annotations = true

[upstreams.memory]
command = {json.dumps(MEMORY)}
"""
AGENT, KEY = "demo-agent", "demo-agent-key"


def program(name: str, *parts: str) -> list[str]:
    """A client's command; where it is missing the test says so by name, and in CI it fails."""
    path = CLIENTS.joinpath(*parts)
    if not path.exists():
        said = f"{name} did not run; .ci/setup makes what is missing: `{path}`"
        if os.environ.get("CI") == "true":
            pytest.fail(said)
        pytest.skip(said)
    return [str(path)] if os.access(path, os.X_OK) and path.suffix != ".js" else ["node", str(path)]


def claude() -> list[str]:
    machine = "arm64" if os.uname().machine in ("aarch64", "arm64") else "x64"
    return program("Claude Code", "@anthropic-ai", f"claude-code-linux-{machine}", "claude")


@pytest.fixture(scope="module")
def gateway(binary):
    with Gateway(binary, UPSTREAMS, SHIPPED) as running:
        yield running


@pytest.fixture
def home(tmp_path):
    for name in ("home", "project"):
        (tmp_path / name).mkdir(mode=0o700)
    return tmp_path


def environment(home: Path, **more: str) -> dict[str, str]:
    left_out = ("TOLLGATE_", "CLAUDE", "CODEX_", "GEMINI_", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return {**kept, "HOME": str(home / "home"), "DISABLE_AUTOUPDATER": "1", "CI": "true", **more}


def run(command: list[str], home: Path, **more: str) -> str:
    done = subprocess.run(command, cwd=home / "project", env=environment(home, **more), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=180)
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{command}: {said}"
    return said


def connect(gateway: Gateway, home: Path, client: str, *arguments: str) -> dict:
    command = [gateway.binary, "--config", str(gateway.config), "connect", client, *arguments, "--json"]
    done = subprocess.run(command, cwd=home / "project", env=environment(home, TOLLGATE_AGENT_KEY=KEY),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def start(file: Path, text: str) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return text


def test_claude_code_connects_over_stdio_and_http(gateway, home):
    """`claude mcp list` starts or reaches every server that it knows."""
    command = [*claude(), "mcp", "list"]
    file = home / "home/.claude.json"
    governed = {"memory": {"command": MEMORY[0], "args": MEMORY[1:]}}
    start(file, json.dumps({"mcpServers": governed}, indent=2) + "\n")
    for way in ([], ["--http"]):
        told = connect(gateway, home, "claude", "--agent", AGENT, *way)
        assert "demo__notes_read" in told["tools"] and told["file"] == str(file), told
        assert told["removed"] == [{"name": "memory", "upstream": "memory"}], told
        said = run(command, home, TOLLGATE_AGENT_KEY=KEY)
        line = next(line for line in said.splitlines() if line.startswith("tollgate:"))
        assert "Connected" in line and "memory:" not in said, said
        # What Claude Code has written to the file meanwhile stays.
        written = json.loads(file.read_text())
        connect(gateway, home, "claude", "--undo")
        left = json.loads(file.read_text())
        assert left.pop("mcpServers") == governed and written.pop("mcpServers").keys() == {"tollgate"}
        assert left == written


def test_claude_code_in_a_project_asks_once(gateway, home):
    command = [*claude(), "mcp", "list"]
    start(home / "project/.mcp.json", '{"mcpServers": {}}\n')
    told = connect(gateway, home, "claude", "--agent", AGENT)
    assert told["scope"] == "project" and any("asks once" in step for step in told["next"]), told
    assert "Pending approval" in run(command, home)
    assert connect(gateway, home, "claude", "--undo")["changed_since"] is False
    assert (home / "project/.mcp.json").read_text() == '{"mcpServers": {}}\n'


def test_gemini_cli_connects_over_stdio_and_http(gateway, home):
    command = [*program("Gemini CLI", "@google", "gemini-cli", "bundle", "gemini.js"), "mcp", "list"]
    file = home / "home/.gemini/settings.json"
    # Its own lists would keep Tollgate out.
    lists = '"mcp": {"allowed": ["gem"], "excluded": ["tollgate"]}'
    before = start(file, '{\n  // the look\n  "ui": {"theme": "Default"},\n  ' + lists + '\n}\n')
    start(home / "home/.gemini/trustedFolders.json", json.dumps({str(home / "project"): "TRUST_FOLDER"}))
    for way in ([], ["--http"]):
        assert "demo__notes_read" in connect(gateway, home, "gemini", "--agent", AGENT, *way)["tools"]
        said = run(command, home, TOLLGATE_AGENT_KEY=KEY)
        line = next(line for line in said.splitlines() if " tollgate:" in line)
        assert "Connected" in line, said
        connect(gateway, home, "gemini", "--undo")
        assert file.read_text() == before


def test_codex_reads_what_was_written(gateway, home):
    """It connects only in a session, which takes an account: what it has read is looked at."""
    command = [*program("Codex", "@openai", "codex", "bin", "codex.js"), "mcp", "list", "--json"]
    file = home / "home/.codex/config.toml"
    before = start(file, '# mine\n[mcp_servers.own]   # stays\ncommand = "/bin/cat"\n')
    for way, kind in ((["--stdio"], "stdio"), (["--http"], "streamable_http")):
        connect(gateway, home, "codex", "--agent", AGENT, *way)
        said = run(command, home, TOLLGATE_AGENT_KEY=KEY)
        servers = {one["name"]: one for one in json.loads(said[said.index("["):said.rindex("]") + 1])}
        assert servers.keys() == {"own", "tollgate"} and servers["tollgate"]["enabled"], servers
        assert servers["tollgate"]["transport"]["type"] == kind, servers
        connect(gateway, home, "codex", "--undo")
        assert file.read_text() == before


def test_the_inspector_starts_what_was_written(gateway, home):
    inspector = ROOT / "tests/sdk/node_modules/.bin/mcp-inspector"
    assert inspector.exists(), f"the Inspector: `{inspector}` is missing; .ci/setup makes it"
    start(home / "project/.mcp.json", "{}\n")
    file = connect(gateway, home, "claude", "--agent", AGENT)["file"]
    said = run(["node", str(inspector), "--cli", "--config", file, "--server", "tollgate", "--method", "tools/list"], home)
    listed = json.loads(said[said.index("{\n"):said.rindex("}") + 1])
    assert "demo__notes_read" in [tool["name"] for tool in listed["tools"]]


def test_a_fleet_of_gemini_cli_is_pinned(gateway, home, binary):
    """R94: with the managed file, a server of a person's own is not started."""
    command = [*program("Gemini CLI", "@google", "gemini-cli", "bundle", "gemini.js"), "mcp", "list"]
    start(home / "home/.gemini/settings.json", '{"mcpServers": {"own": {"command": "/bin/cat"}}}')
    start(home / "home/.gemini/trustedFolders.json", json.dumps({str(home / "project"): "TRUST_FOLDER"}))
    # It believes no file that anybody could have put there, so not below /tmp.
    with tempfile.TemporaryDirectory(dir=binary.parent) as folder:
        told = connect(gateway, home, "gemini", "--agent", AGENT, "--managed", folder)
        said = run(command, home, TOLLGATE_AGENT_KEY=KEY, GEMINI_CLI_SYSTEM_SETTINGS_PATH=told["files"][0]["file"])
    assert any(" tollgate:" in line and "Connected" in line for line in said.splitlines()), said
    assert any(" own:" in line and "Blocked" in line for line in said.splitlines()), said
