"""One release for all tests here: made of the binary that the other tests run, so that nothing is built a second time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def pytest_addoption(parser):
    parser.addoption("--gateway", required=True, help="the tollgate binary")


@pytest.fixture(scope="session")
def made(request, tmp_path_factory) -> Path:
    """The folder that packaging/release makes."""
    out = tmp_path_factory.mktemp("release")
    program = Path(request.config.getoption("--gateway")).resolve()
    done = subprocess.run([sys.executable, ROOT / "packaging/release", "--program", program, "--out", out, "--allow-dirty"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def unpacked(archive: Path, folder: Path) -> Path:
    """What is in it: one folder."""
    folder.mkdir()
    subprocess.run(["tar", "--extract", "--gzip", "--file", archive, "--directory", folder, "--no-same-owner"], check=True)
    return only(folder, "*")


def only(folder: Path, pattern: str) -> Path:
    [found] = folder.glob(pattern)
    return found
