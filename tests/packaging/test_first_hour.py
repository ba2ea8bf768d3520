"""The first hour of a person with nine MCP clients, on a bare Debian: the package, `init`, an account at a real authorization server,
`connect`, a first read that nobody is asked about, and a first write that somebody is, who approves it on the page in a browser; a second
one is approved on the command line. Each command that is typed here, and the page's address, stands in the README or in docs/."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from conftest import ROOT, only
from jail import ASK, BROWSER, needs

ISSUER = ROOT / "tests/page/issuer"
SERVERS = ROOT / "tests/sdk/node_modules"
PACKAGES = "systemd-standalone-sysusers,nodejs,ca-certificates"
USER = 1000
LIMIT = 300
WANTED = {"files__read_text_file", "memory__read_graph", "crm__whoami"}


class Bare:
    """A Debian with these packages and one person. `/opt/servers` has what she once installed with npm."""

    def __init__(self, folder: Path):
        self.root = folder / "bare"

    def __enter__(self) -> "Bare":
        run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", self.root, "http://deb.debian.org/debian")
        (self.root / "opt/servers/node_modules").mkdir(parents=True)
        self.log = open(self.root.parent / "console.log", "w+b")
        self.outer = subprocess.Popen(["systemd-nspawn", "--directory", self.root, "--machine", "tollgate-first-hour", "--register=no", "--keep-unit",
                                       "--private-network", "--console=pipe", "--as-pid2", f"--bind-ro={SERVERS}:/opt/servers/node_modules", "sleep", "infinity"],
                                      stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.pid = ""
        while not self.pid or self.root_run("test", "-d", "/opt/servers/node_modules/@modelcontextprotocol").returncode != 0:
            assert self.outer.poll() is None, Path(self.log.name).read_text()
            self.pid = self.pid or self.first()
        self.root_run("useradd", "--create-home", "--uid", USER, "ann")
        self.beside = []
        return self

    def first(self) -> str:
        try:
            [pid] = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children").read_text().split()
            [pid] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return pid if Path(f"/proc/{pid}/comm").read_text() == "sleep\n" else ""
        except (OSError, ValueError):
            return ""

    def __exit__(self, *_) -> None:
        for process in self.beside:
            process.kill()
            process.wait()
        self.outer.terminate()
        self.outer.wait()
        self.log.close()

    def entering(self, user: int = USER, folder: str = "/home/ann/gate") -> list[str]:
        return ["nsenter", "--target", self.pid, "--mount", "--pid", "--net", "--ipc", "--uts", "--root", f"--wdns={folder}", "--setuid", str(user), "--setgid", str(user)]

    def env(self, user: int = USER, **more) -> dict:
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/home/ann" if user else "/root", "LANG": "C.UTF-8", **more}

    def root_run(self, *command) -> subprocess.CompletedProcess:
        return subprocess.run([*self.entering(0, "/"), *map(str, command)], capture_output=True, text=True, env=self.env(0))

    def on_the_network(self, *command, **more) -> subprocess.Popen:
        """Something elsewhere that this machine reaches: a browser, a server of somebody's."""
        process = subprocess.Popen(["nsenter", "--target", self.pid, "--net", *map(str, command)], stdout=subprocess.PIPE, text=True, **more)
        self.beside.append(process)
        return process


def run(*command) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


class Ann:
    """Types commands that documents name, and no other."""

    def __init__(self, bare: Bare):
        self.bare, self.documents = bare, "\n".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

    def known(self, line: str) -> None:
        assert line in self.documents, f"no document has `{line}`"

    def approves_on_the_page(self, key: str, shown: str) -> None:
        """Opens the address that the README names, signs in, and approves the one call that waits, which shows this."""
        page = "http://127.0.0.1:8788"
        self.known(f"the page at {page}, where you sign in with")
        browser = self.bare.on_the_network(sys.executable, BROWSER, page, key, shown)
        out, _ = browser.communicate()
        assert browser.returncode == 0, out

    def types(self, line: str, *rest: str, key: str | None = None) -> subprocess.Popen:
        self.known(line)
        env = self.bare.env(**({"TOLLGATE_KEY": key} if key else {}))
        return subprocess.Popen([*self.bare.entering(), *line.split(), *rest], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    def reads(self, line: str, *rest: str, key: str | None = None) -> str:
        process = self.types(line, *rest, key=key)
        out, err = process.communicate()
        assert process.returncode == 0, f"{line}: {out}{err}"
        return out


def server(name: str, *arguments: str, **more) -> dict:
    return {"command": "node", "args": [f"/opt/servers/node_modules/@modelcontextprotocol/server-{name}/dist/index.js", *arguments], **more}


def clients(crm: str) -> dict[str, str]:
    """The files of nine clients."""
    files = server("filesystem", "/home/ann/docs")
    mcp = lambda servers: json.dumps({"mcpServers": servers})
    return {
        ".config/Claude/claude_desktop_config.json": mcp({"files": files}),
        ".claude.json": json.dumps({"numStartups": 7, "mcpServers": {"memory": server("memory", env={"MEMORY_FILE_PATH": "/home/ann/memory.json"})}}),
        ".cursor/mcp.json": "// ours\n" + mcp({"everything": server("everything", "stdio")}),
        ".config/Code/User/mcp.json": json.dumps({"servers": {"crm": {"type": "http", "url": crm}}}),
        ".codex/config.toml": f'[mcp_servers.files]\ncommand = "node"\nargs = {json.dumps(files["args"])}\n',
        ".gemini/settings.json": json.dumps({"theme": "dark", "mcpServers": {"drafts": server("filesystem", "/home/ann/drafts")}}),
        ".config/zed/settings.json": json.dumps({"context_servers": {"notes": server("memory", env={"MEMORY_FILE_PATH": "/home/ann/notes.json"})}}),
        ".codeium/windsurf/mcp_config.json": mcp({"old": server("everything", "stdio", "--old") | {"disabled": True}}),
        ".cline/data/settings/cline_mcp_settings.json": mcp({"tracker": {"command": "no-such-tracker", "env": {"TRACKER_TOKEN": "ghp_0123456789abcdefghijklmnopqrstuvwxyzA"}}}),
    }


async def as_the_client(bare: Bare, entry: dict, work):
    """Starts what the client's file says, as the client does."""
    sys.path.insert(0, str(ROOT / "tests/sdk"))
    from mcp import Client, StdioServerParameters

    command = [*bare.entering(), entry["command"], *entry.get("args", [])]
    program = StdioServerParameters(command=command[0], args=command[1:], env=bare.env(**entry.get("env", {})))
    async with Client(program, mode="legacy", cache=None) as client:
        return await work(client)


@pytest.fixture
def bare(tmp_path):
    needs("mmdebstrap", "systemd-nspawn", "nsenter", "node", "chromium")
    for folder in [tmp_path, *tmp_path.parents]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o5)
    with Bare(tmp_path) as bare:
        yield bare


def test_the_first_hour(made, bare):
    issuer, crm = 9001, 9002
    service = bare.on_the_network("node", "upstream.mjs", issuer, crm, cwd=ISSUER)
    assert sorted(service.stdout.readline().strip() for _ in range(2)) == ["issuer", "mcp"]
    home = bare.root / "home/ann"
    for name, text in clients(f"http://127.0.0.1:{crm}/mcp").items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    for folder in ["docs", "drafts", "gate"]:
        (home / folder).mkdir()
    (home / "docs/hello.md").write_text("hello from the bare machine")
    run("chown", "--recursive", f"{USER}:{USER}", home)
    shutil.copy(only(made, "*.deb"), bare.root / "root")
    began = time.monotonic()
    ann = Ann(bare)

    # 1. The package. No registry is reached from here, and nothing that it needs is missing.
    ann.known("sudo apt install ./tollgate_")
    done = bare.root_run("apt-get", "install", "--yes", "--no-install-recommends", f"/root/{only(made, '*.deb').name}")
    assert done.returncode == 0, done.stdout + done.stderr

    # 2. `init`: each server once, what is off stays off, a secret goes into a file of its own.
    told = ann.reads("tollgate init --yes")
    agent, person = re.findall(r"tg_\S+", told)[:2]
    ann.reads("tollgate check")
    config = home / "gate/servers.toml"
    text = config.read_text()
    tables = set(re.findall(r"^\[upstreams\.([^.\]]+)\]", text, re.M))
    assert tables == {"files", "memory", "everything", "crm", "drafts", "notes", "old", "tracker"}
    assert "ghp_" not in text and "ghp_" in (home / "gate/servers.env").read_text()

    # 3. An account at the server that wants one.
    assert 'oauth = { grant = "authorization_code", per = "gateway" }' in text and "tollgate servers login crm" in told
    serving = ann.types("tollgate serve")
    bare.beside.append(serving)
    while "ready" not in (said := ann.types("tollgate health").communicate())[0]:
        assert serving.poll() is None, (said, serving.communicate())
    login = ann.types("tollgate servers login", "crm")
    page = bare.on_the_network(sys.executable, ASK, "signin", login.stdout.readline().strip(), "ann-at-crm")
    assert page.wait() == 0
    out, err = login.communicate()
    assert login.returncode == 0, out + err

    # 4. Tollgate into the client, and its servers out.
    ann.known("tollgate connect claude --agent agent")
    ann.reads("tollgate connect claude --agent", "agent", "--yes")
    entries = json.loads((home / ".claude.json").read_text())
    assert entries["numStartups"] == 7 and set(entries["mcpServers"]) == {"tollgate"}

    # 5. A read: nobody is asked. 6. A write: somebody is, and says yes on the page; of a second one on the command line.
    async def calls(client):
        # A server that is slow to start is in a later list; clients are told of that.
        while not WANTED <= (listed := {tool.name for tool in (await client.list_tools()).tools}):
            assert serving.poll() is None and time.monotonic() - began < LIMIT, ann.reads("tollgate servers list")
        read = await client.call_tool("files__read_text_file", {"path": "/home/ann/docs/hello.md"})
        writes = []
        for name in ["new.md", "second.md"]:
            call = asyncio.create_task(client.call_tool("files__write_file", {"path": f"/home/ann/docs/{name}", "content": "written"}))
            while not (waiting := json.loads(await asyncio.to_thread(ann.reads, "tollgate approvals list --status pending", "--json"))["approvals"]):
                assert not call.done(), call.result()
            [approval] = waiting
            assert not (home / "docs" / name).exists()
            if name == "new.md":
                await asyncio.to_thread(ann.approves_on_the_page, person, f"/home/ann/docs/{name}")
            else:
                await asyncio.to_thread(lambda: ann.reads("tollgate approvals approve", approval["id"], "--comment", "fine", key=person))
            writes.append(await call)
        return read, writes

    read, writes = asyncio.run(as_the_client(bare, entries["mcpServers"]["tollgate"], calls))
    assert "hello from the bare machine" in str(read.content) and not read.is_error
    for write, name in zip(writes, ["new.md", "second.md"]):
        assert not write.is_error and (home / "docs" / name).read_text() == "written"

    # 7. And all of it is on record.
    ann.reads("tollgate audit verify")
    written = json.loads(ann.reads("tollgate audit query", "--tool", "files__write_file", "--json"))["events"]
    shown = ann.reads("tollgate audit show", written[0]["trace_id"])
    assert "files__write_file" in shown and "admin" in shown
    answers = json.loads(ann.reads("tollgate audit query", "--event-type", "approval_decided", "--json"))["events"]
    assert sorted(event["detail"]["channel"] for event in answers) == ["cli", "inbox"], answers
    took = time.monotonic() - began
    print(f"the first hour took {took:.0f} s")
    assert took < LIMIT
