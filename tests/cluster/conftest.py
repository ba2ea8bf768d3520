"""What runs here is driven with the clients and the harness of tests/sdk."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sdk"))


def pytest_addoption(parser):
    parser.addoption("--gateway", required=True, help="the tollgate binary")


@pytest.fixture(scope="session")
def binary(request) -> Path:
    return Path(request.config.getoption("--gateway")).resolve()
