"""An approval that lets calls like it through for a while: given, seen and revoked on the page."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from agent import asked, call
from conftest import PEOPLE, too_wide, view, writer_and

POLICIES = {
    **writer_and(PEOPLE),
    "notes.yaml": """\
name: notes
description: A person agrees to notes outside of the scratch folder
owner: notes-team
on: [{ tool: demo__note_write }]
rules:
  - id: scratch
    condition: "within(args.path, '/scratch')"
    decision: ALLOW
  - id: ask
    decision: REQUIRE_APPROVAL
    approvers: [leads]
    expires_in: 30m
    grants: { max_duration: 8h, max_uses: 50 }
    reason: "It is not in the scratch folder <b>yet</b>"
""",
}
NOTE = {"path": "/work/<img src=x onerror=window.hit=1>.md", "text": "hello\u202e<script>window.hit=1</script>"}


def test_a_grant_is_given_seen_and_revoked(gateway, open_page, shot):
    """R87: an approval that lets calls like it through for a while, what it lets through, and its end."""
    page = open_page("carol")
    asked(gateway, "demo__note_write", NOTE)
    detail = page.locator("#detail")
    detail.get_by_label("Let calls like this through for a while").check()
    detail.get_by_label("For at most").select_option("1h")
    detail.get_by_label("Calls, at most 50").fill("2")
    detail.get_by_label("path may be").select_option("within")
    assert detail.get_by_label("path: the path or pattern").input_value() == "/work"
    detail.get_by_label("text may be").select_option("any")
    shot(page, "giving")
    detail.get_by_role("button", name="Approve").click()
    expect(detail.locator("h2 .chip")).to_have_text("approved")
    section = view(page, "Grants")
    grant = section.locator("[data-grant]")
    expect(grant).to_have_count(1)
    for text in ["demo__note_write", "writer", 'path lies within "/work"', "text may be anything", "2 uses", "carol"]:
        expect(grant).to_contain_text(text)
    shot(page, "grants")
    other = call(gateway, "demo__note_write", {"path": "/work/other.md", "text": "more"})
    assert not other.get("isError"), other
    view(page, "Pending")
    expect(view(page, "Grants").locator("[data-grant]")).to_contain_text("1 use")
    # Who has not given it, and is no admin, only looks.
    section.get_by_text("What it has let through (1)").click()
    section.get_by_role("region", name="What it has let through").focus()
    expect(section.get_by_role("region", name="What it has let through")).to_contain_text("/work/other.md")
    assert page.evaluate("window.hit") is None and page.locator("#grants img, #grants script").count() == 0
    looks = view(open_page("dave"), "Grants")
    expect(looks.locator("[data-grant]")).to_have_count(1)
    expect(looks.get_by_role("button", name="Revoke")).to_have_count(0)
    root = open_page("root")
    view(root, "Grants").get_by_role("button", name="Revoke the grant of demo__note_write for writer").click()
    root.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
    expect(root.locator("#no-grants")).to_be_visible()
    # It goes from the others' pages by itself, and leaves the keyboard there.
    expect(page.locator("#no-grants")).to_be_visible()
    expect(section).to_be_focused()
    # What it was stays on record.
    page.get_by_label("Those that have ended too").check()
    expect(grant.locator("h3 .chip")).to_have_text("revoked")
    expect(grant.locator("dl.facts")).to_contain_text("by root")
    expect(grant.get_by_role("button", name="Revoke")).to_have_count(0)
    shot(page, "grants-ended")
    asked(gateway, "demo__note_write", {"path": "/work/third.md", "text": "x"})


def test_an_ask_that_a_grant_covers_needs_nobody(gateway, open_page):
    """R87: the call of an ask that waits goes through by a grant, and the page says so in place of asking."""
    page = open_page("carol")
    first = asked(gateway, "demo__note_write", NOTE)
    waits = {"path": "/work/waits.md", "text": NOTE["text"]}
    second = asked(gateway, "demo__note_write", waits)
    grant = {"duration": "1h", "uses": 2, "arguments": {"path": {"within": "/work"}}}
    code, said = gateway.api(f"approvals/{first}/decision", "key-dave", {"decision": "approve", "grant": grant})
    assert code == 200, said
    page.locator(f'#list [data-id="{second}"]').click()
    assert not call(gateway, "demo__note_write", waits).get("isError")
    expect(page.locator("#detail h2 .chip")).to_have_text("cancelled")
    expect(page.locator("#detail .banner")).to_contain_text("has let its call through while it waited")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_grants(gateway, open_page, accessible, scheme, shot):
    page = open_page("root", color_scheme=scheme, bypass_csp=True)
    id = asked(gateway, "demo__note_write", NOTE)
    grant = {"duration": "1h", "uses": 2, "arguments": {"path": {"within": "/work"}}}
    code, said = gateway.api(f"approvals/{id}/decision", "key-carol", {"decision": "approve", "grant": grant})
    assert code == 200, said
    section = view(page, "Grants")
    expect(section.locator("[data-grant]")).to_have_count(1)
    section.get_by_text("What it has let through").click()
    expect(section).to_contain_text("Nothing yet.")
    accessible(page, "grants")
    shot(page, f"grants-{scheme}")
    section.get_by_role("button", name="Revoke").click()
    accessible(page, "revoking")
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 320, "height": 640})
    assert too_wide(page) == []
    accessible(page, "grants on a phone")
    # An approver answers with one.
    asked(gateway, "demo__note_write", {"path": "/elsewhere/note.md", "text": "x"})
    approver = open_page("carol", color_scheme=scheme, bypass_csp=True, viewport={"width": 360, "height": 700})
    approver.locator("#list button").first.click()
    approver.get_by_label("Let calls like this through for a while").check()
    approver.get_by_label("path may be").select_option("within")
    accessible(approver, "a grant is given")
    assert too_wide(approver) == []
