"""One option, `--gateway`: the tollgate binary that the tests drive."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--gateway", required=False, help="the tollgate binary")


@pytest.fixture(scope="session")
def binary(request) -> Path:
    given = request.config.getoption("--gateway")
    if not given:
        pytest.exit("say which binary to drive: --gateway target/debug/tollgate", returncode=2)
    path = Path(given).resolve()
    if not path.exists():
        pytest.exit(f"`{path}` does not exist", returncode=2)
    return path
