"""Alerts on the page: what somebody should look at is listed as it comes, seen, said to be none; incidents are closed, duties done."""

from __future__ import annotations

import re

from playwright.sync_api import expect

import test_grants
from agent import call
from conftest import too_wide, view

ALERTS = """\
alerts:
  window: 2s
  duties: [{ name: policy-review, every: 1h, owner: "<b>security</b>" }, { name: drill, every: 1s }]
  incidents: { kinds: [deny_rate] }
"""
DENY = """\
name: no-notes
description: Nobody writes notes
owner: notes-team
on: [{ tool: demo__note_write }]
rules:
  - id: no
    decision: DENY
    reason: "No <b>notes</b>"
"""
POLICIES = {**test_grants.POLICIES, "bundle.yaml": test_grants.POLICIES["bundle.yaml"] + ALERTS, "notes.yaml": DENY}


def test_alerts_are_seen_incidents_closed_and_duties_done(gateway, open_page, shot):
    """R48, R51, R81, R82: each is listed, answered with a note, and recorded."""
    page = open_page("root")
    view(page, "Alerts")
    late = page.locator("[data-alert]").filter(has_text="duty:drill")
    expect(late).to_have_count(1)
    due = page.locator("tr").filter(has_text="drill").filter(has=page.get_by_text("late", exact=True))
    expect(due).to_contain_text(re.compile(r"UTC\s+late"))
    for number in range(15):
        call(gateway, "demo__note_write", {"path": f"/work/{number}.md", "text": "x"})
    denied = page.locator("[data-alert]").filter(has_text="agent:writer")
    expect(denied).to_have_count(1)
    expect(denied).to_contain_text("deny rate")
    expect(denied).to_contain_text("open")
    shot(page, "alerts")
    assert not too_wide(page)
    denied.get_by_role("button", name="Seen: ").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Note").fill("a <script>window.hit=1</script> test")
    dialog.get_by_role("button", name="I have seen it").click()
    expect(denied).to_contain_text("acked")
    expect(denied).to_contain_text("a <script>window.hit=1</script> test")
    denied.get_by_role("button", name="False alarm").click()
    dialog.get_by_role("button", name="It was none").click()
    expect(denied).to_have_count(0)
    expect(page.locator("#alerts")).to_contain_text("Takes more to be raised")
    # Its incident waits for somebody to close it.
    incident = page.locator("[data-incident]").filter(has_text="agent:writer")
    incident.get_by_role("button", name="Close").click()
    dialog.get_by_role("button", name="Close it").click()
    expect(dialog).to_contain_text("Say why")
    dialog.get_by_label("What it was").fill("the agent was given a wrong task")
    dialog.get_by_role("button", name="Close it").click()
    expect(incident).to_have_count(0)
    page.get_by_role("button", name="policy-review is done").click()
    dialog.get_by_label("What was done").fill("no changes")
    dialog.get_by_role("button", name="It is done").click()
    expect(dialog).to_have_count(0)
    # All of them, those that are over too.
    page.get_by_label("also those that are over").check()
    expect(denied).to_contain_text("false")
    assert page.evaluate("window.hit") is None
    # Who may not say anything reads.
    reader = open_page("olga")
    view(reader, "Alerts")
    reader.get_by_label("also those that are over").check()
    expect(reader.locator("[data-alert]").filter(has_text="agent:writer")).to_have_count(1)
    expect(reader.get_by_role("button", name="Seen")).to_have_count(0)
    expect(reader.get_by_role("button", name="is done")).to_have_count(0)
    # What Tollgate recorded of the agent is not what the agent did.
    page.goto(f"{gateway.admin}/#/events?event_type=alert&agent_id=writer")
    rows = page.locator("#events-found tbody tr")
    expect(rows.first).to_be_visible()
    assert {row.locator("td").nth(3).inner_text() for row in rows.all()} == {"system"}
    said = [event for event in gateway.events(event_type="admin_action") if event["detail"].get("person") == "root"]
    assert [event["action"] for event in said] == ["alert", "alert", "incident", "duty"], said


def test_the_view_is_accessible(gateway, browser, accessible):
    """No finding of axe-core on the view, and it fits a phone."""
    context = browser.new_context(bypass_csp=True, viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.goto(gateway.admin + "/")
    page.get_by_label("Your key").fill("key-root")
    page.get_by_role("button", name="Sign in").click()
    view(page, "Alerts")
    expect(page.locator("[data-alert]").filter(has_text="duty:drill")).to_have_count(1)
    accessible(page, "alerts")
    assert not too_wide(page)
    context.close()
