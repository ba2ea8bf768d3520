"""A person at the page, in a real browser: `browser.py PAGE KEY TEXT` signs in and approves the one call that waits, which shows the text."""

from __future__ import annotations

import shutil
import sys

from playwright.sync_api import expect, sync_playwright


def approve(address: str, key: str, text: str) -> None:
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        page.get_by_label("Your key").fill(key)
        page.get_by_role("button", name="Sign in", exact=True).click()
        waiting = page.locator("#list li")
        expect(waiting).to_have_count(1)
        waiting.get_by_role("button").first.click()
        detail = page.locator("#detail")
        expect(detail).to_contain_text(text)
        detail.get_by_role("button", name="Approve").click()
        expect(detail.locator("h2 .chip")).to_contain_text("approved")
        browser.close()


if __name__ == "__main__":
    approve(*sys.argv[1:])
