"""What data has reached workflows and agents: seen by whoever may read, taken away by an admin who says why."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from agent import asked, call
from conftest import too_wide, view
from harness import Gateway
from test_grants import POLICIES


@pytest.fixture()
def gateway(binary):
    upstream = '[upstreams.demo]\ncommand = ["tollgate", "demo-upstream"]\nlabels = ["restricted"]\n'
    with Gateway(binary, upstream, POLICIES, approval_wait="0s", ready_within=60) as running:
        yield running
        print(running.tail())


def test_labels_are_seen_and_cleared(gateway, open_page, shot):
    """An agent and its workflow hold what was read; an admin clears one of the two."""
    page, reader = open_page("root"), open_page("olga")
    section = view(page, "Labels")
    expect(section.locator("#no-labels")).to_be_visible()
    assert not call(gateway, "demo__note_write", {"path": "/scratch/a.md", "text": "x"}).get("isError")
    section = view(page, "Labels")
    for holder in ["agent writer", "workflow night"]:
        expect(section.locator(f'[data-holder="{holder}"]')).to_contain_text("restricted")
    shot(page, "labels")
    page.set_viewport_size({"width": 360, "height": 800})
    assert too_wide(page) == []
    page.set_viewport_size({"width": 1280, "height": 800})
    seen = view(reader, "Labels").locator("[data-holder]")
    expect(seen).to_have_count(2)
    expect(seen.get_by_role("button")).to_have_count(0)

    section.get_by_role("button", name="Clear the labels of workflow night").press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Clear", exact=True).click()
    expect(dialog).to_be_visible()
    dialog.get_by_label("Why").fill("the export is over")
    dialog.get_by_role("button", name="Clear", exact=True).click()
    expect(section.locator('[data-holder="workflow night"]')).to_have_count(0)
    expect(section.locator('[data-holder="agent writer"]')).to_have_count(1)


def test_an_ask_of_a_frozen_tool_says_so(gateway, open_page):
    """Whoever decides sees that nothing comes of it meanwhile."""
    asked(gateway, "demo__note_write", {"path": "/work/a.md", "text": "x"})
    admin = open_page("root")
    view(admin, "Freeze")
    admin.locator("#freeze-kind").select_option("tool")
    admin.locator("#freeze-name").fill("demo__note_write")
    admin.get_by_role("button", name="Freeze…", exact=True).click()
    dialog = admin.get_by_role("dialog")
    dialog.get_by_label("Why").fill("incident")
    dialog.get_by_role("button", name="Freeze", exact=True).click()
    expect(admin.locator("#frozen")).to_contain_text("demo__note_write")
    page = open_page("carol")
    page.locator("#list").get_by_text("demo__note_write").first.click()
    expect(page.locator("[data-frozen]")).to_contain_text("is frozen: the call is refused, approved or not")


def test_the_view_is_accessible(gateway, open_page, accessible):
    """Nothing that axe-core knows stands between anybody and the view."""
    call(gateway, "demo__note_write", {"path": "/scratch/a.md", "text": "x"})
    page = open_page("root", bypass_csp=True)
    expect(view(page, "Labels").locator("[data-holder]")).to_have_count(2)
    accessible(page, "labels")
