"""The gateway of the SDK tests, and a browser."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "sdk"))


def pytest_addoption(parser):
    parser.addoption("--gateway", required=True, help="the tollgate binary")
    parser.addoption("--screenshots", help="a folder for screenshots to be looked at; none are made without it")


@pytest.fixture(scope="session")
def binary(request) -> Path:
    return Path(request.config.getoption("--gateway")).resolve()


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "chromium is missing"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture()
def shot(request):
    folder = request.config.getoption("--screenshots")

    def take(page, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=f"{folder}/{name}.png", full_page=True)
    return take
