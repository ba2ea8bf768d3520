"""The page shows the policies that are and were in force, and an admin goes back with a reason."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from conftest import too_wide, view
from harness import Gateway
from test_explain import POLICIES

VERSION = {text: POLICIES["notes.yaml"].replace("A person agrees", text) for text in ["Somebody agrees", "Nobody agrees"]}


def put(gateway: Gateway, text: str) -> None:
    (gateway.folder / "policies/notes.yaml").write_text(VERSION[text])


def test_policies_are_rolled_back(gateway, open_page, shot):
    """R19: the history, the files as they were, and going back, by an admin, with a reason that stands in the record."""
    page = open_page("root")
    section = view(page, "Policies")
    rows = section.locator("#snapshots tbody tr")
    expect(rows).to_have_count(1)
    expect(section.get_by_role("button", name="Roll back…")).to_have_count(0)
    put(gateway, "Somebody agrees")
    # It comes by itself.
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("in force")
    expect(section.get_by_role("region", name="Policies in force")).to_contain_text("Somebody agrees")
    rows.nth(1).get_by_role("button", name="Show the files").click()
    files = page.get_by_role("dialog")
    files.get_by_text("notes.yaml").click()
    expect(files).to_contain_text("A person agrees to notes")
    shot(page, "files")
    page.keyboard.press("Escape")
    expect(files).to_have_count(0)
    section.get_by_role("button", name="Roll back…").click()
    question = page.get_by_role("dialog", name="Roll back to the policies of before?")
    question.get_by_role("button", name="Roll back", exact=True).click()
    expect(question.locator(".error")).to_have_text("Say why: it stands in the record.")
    expect(question.get_by_label("Why")).to_be_focused()
    page.keyboard.type("it asks too much")
    shot(page, "rollback")
    question.get_by_role("button", name="Roll back", exact=True).click()
    expect(question).to_have_count(0)
    expect(section.get_by_role("region", name="Policies in force")).to_contain_text("A person agrees")
    expect(rows.first).to_contain_text("it asks too much")
    expect(rows.first).to_contain_text("root")
    expect(section.locator(".banner")).to_contain_text("The folder differs from the bundle in force since")
    shot(page, "history-of-policies")
    activated = gateway.events(event_type="policy_activated")[-1]
    assert "it asks too much" in str(activated)
    # And forward again.
    section.get_by_role("button", name=re.compile("^Activate [0-9a-f]{12}")).click()
    question = page.get_by_role("dialog", name="Put these policies in force?")
    question.get_by_label("Why").fill("it was right")
    question.get_by_role("button", name="Activate", exact=True).click()
    expect(section.get_by_role("region", name="Policies in force")).to_contain_text("Somebody agrees")


OF_READERS = ["Pending 0", "History", "Grants", "Now", "Matrix", "Upstreams", "Connections", "Budgets", "Spend", "Alerts", "Freeze", "Labels", "Quarantine",
              "Policies", "Explain", "Catalog", "People", "Events", "Scorecard"]
AT_DEAD_LETTERS = OF_READERS.index("Labels")


@pytest.mark.parametrize("person, views", [
    ("carol", OF_READERS),
    ("olga", OF_READERS),
    ("root", [*OF_READERS[:AT_DEAD_LETTERS], "Dead letters", *OF_READERS[AT_DEAD_LETTERS:]]),
])
def test_each_role_sees_what_is_its_own(gateway, open_page, person, views):
    page = open_page(person)
    assert page.get_by_role("navigation").get_by_role("button").all_inner_texts() == views
    put(gateway, "Somebody agrees")
    section = view(page, "Policies")
    expect(section.locator("#snapshots tbody tr")).to_have_count(2)
    may_act = person == "root"
    for name in ["Roll back…", re.compile("^Activate ")]:
        expect(section.get_by_role("button", name=name)).to_have_count(1 if may_act else 0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_policies(gateway, open_page, accessible, scheme, shot):
    page = open_page("root", color_scheme=scheme, bypass_csp=True)
    put(gateway, "Somebody agrees")
    section = view(page, "Policies")
    expect(section.locator("#snapshots tbody tr")).to_have_count(2)
    accessible(page, "policies")
    shot(page, f"policies-{scheme}")
    section.get_by_role("button", name="Roll back…").click()
    accessible(page, "rolling back")
    page.get_by_label("Why").fill("for a look")
    page.get_by_role("button", name="Roll back", exact=True).click()
    expect(section.locator(".banner")).to_be_visible()
    accessible(page, "the folder differs")
    section.get_by_role("button", name=re.compile("^Show the files")).first.click()
    page.get_by_role("dialog").get_by_text("notes.yaml").click()
    expect(page.get_by_role("region", name="notes.yaml")).to_be_visible()
    accessible(page, "files")
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 320, "height": 640})
    assert too_wide(page) == []
    accessible(page, "policies on a phone")
    shot(page, f"policies-phone-{scheme}")
