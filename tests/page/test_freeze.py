"""What is frozen: the big button, the banner, and lifting it."""

from __future__ import annotations

from playwright.sync_api import expect

from conftest import too_wide, view
from test_grants import POLICIES  # noqa: F401


def test_everything_is_frozen_and_lifted(gateway, open_page):
    """R41: a confirmed button stops everything, everybody sees it, an admin lifts it."""
    admin, reader = open_page("root"), open_page("olga")
    view(admin, "Freeze")
    admin.get_by_role("button", name="Freeze everything…").click()
    dialog = admin.get_by_role("dialog")
    dialog.get_by_role("button", name="Freeze", exact=True).click()
    expect(dialog).to_be_visible()
    dialog.get_by_label("Why").fill("incident <b>4711</b>")
    dialog.get_by_role("button", name="Freeze", exact=True).click()
    expect(admin.locator("#frozen")).to_contain_text("everything")
    expect(reader.locator("#frozen")).to_contain_text("everything", timeout=20_000)
    view(reader, "Freeze")
    expect(reader.locator("#freeze")).to_contain_text("incident <b>4711</b>")
    expect(reader.get_by_role("button", name="Freeze everything…")).to_have_count(0)
    assert not too_wide(admin)
    admin.get_by_role("button", name="Lift the freeze of everything").click()
    admin.get_by_role("dialog").get_by_role("button", name="Lift").click()
    expect(admin.locator("#frozen")).to_be_hidden()
    expect(reader.locator("#frozen")).to_be_hidden(timeout=20_000)
