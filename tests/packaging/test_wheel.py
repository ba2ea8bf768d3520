"""The wheel, installed by pip, pipx and uv, each into a place of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from conftest import only

TOOLS = Path(sys.executable).parent


def say(*command, **more) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **more)


def first_hour(program: list, folder: Path, env: dict) -> None:
    """What the first lines of docs/install.md have one type."""
    version = say(*program, "--version", env=env)
    assert version.returncode == 0 and version.stdout.startswith("tollgate "), version.stderr
    folder.mkdir()
    client = folder / "mcp.json"
    client.write_text('{"mcpServers": {"notes": {"command": "tollgate", "args": ["demo-upstream"]}}}')
    written = say(*program, "init", "--yes", "--no-start", "--from", client, cwd=folder, env=env)
    assert written.returncode == 0 and "tg_" in written.stdout, written.stdout + written.stderr
    checked = say(*program, "check", cwd=folder, env=env)
    assert checked.returncode == 0 and checked.stdout.startswith("ok: upstreams 1, agents 1, people 1"), checked.stdout + checked.stderr


@pytest.fixture
def env(tmp_path) -> dict:
    """A home of its own, and no registry: what is wanted is in the wheel."""
    home = tmp_path / "home"
    home.mkdir()
    away = {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}
    return {"PATH": os.environ["PATH"], "HOME": str(home), **away}


def test_pip(made, tmp_path, env):
    venv = tmp_path / "venv"
    assert say(sys.executable, "-m", "venv", venv).returncode == 0
    done = say(venv / "bin/pip", "install", "--quiet", only(made, "*.whl"), env=env)
    assert done.returncode == 0, done.stderr
    first_hour([venv / "bin/tollgate"], tmp_path / "gate", env)
    gone = say(venv / "bin/pip", "uninstall", "--quiet", "--yes", "tollgate-mcp", env=env)
    assert gone.returncode == 0 and not (venv / "bin/tollgate").exists(), gone.stderr


def test_uvx(made, tmp_path, env):
    first_hour([TOOLS / "uvx", "--from", only(made, "*.whl"), "tollgate"], tmp_path / "gate", env)


def test_pipx(made, tmp_path, env):
    done = say(TOOLS / "pipx", "install", "--skip-maintenance", only(made, "*.whl"), env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    first_hour([Path(env["HOME"]) / ".local/bin/tollgate"], tmp_path / "gate", env)


def test_what_the_wheel_says_of_itself(made):
    with zipfile.ZipFile(only(made, "*.whl")) as wheel:
        names = wheel.namelist()
        [about] = [name for name in names if name.endswith(".dist-info/METADATA")]
        said = Parser().parsestr(wheel.read(about).decode())
    # `tollgate` on PyPI is somebody else's.
    assert (said["Name"], said["License-Expression"]) == ("tollgate-mcp", "Apache-2.0")
    assert any(name.endswith(".data/scripts/tollgate") for name in names)
    assert [name for name in names if name.endswith(".py")] == []
