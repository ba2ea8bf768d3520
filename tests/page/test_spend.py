"""The page shows who spent what, and a throttle for the workflows that cost most."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from agent import call
from conftest import too_wide, view
from harness import Gateway, digest

NAMES = ["writer", "carol", "olga"]
POLICIES = {
    "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\ndefault_approvers: [leads]\n',
    "authority.yaml": """\
capabilities:
  notes: { tools: ["demo__notes_*"] }
  everything: { tools: ["demo__*"] }
agents:
  writer: { owner: notes-team, role: batch, workflow: night, model: gpt-4o, max_catalog_tokens: 400, capabilities: [notes, everything], keys: ["%s"] }
people:
  carol: { keys: ["%s"], groups: [leads], roles: [approver] }
  olga: { keys: ["%s"], groups: [], roles: [auditor] }
workflows:
  night: { owner: notes-team }
""" % tuple(digest(f"key-{name}") for name in NAMES),
}


def spend(gateway: Gateway) -> None:
    for n in range(6):
        call(gateway, "demo__notes_read", {"path": "/notes/welcome.md"})
        call(gateway, "demo__note_write", {"path": f"/scratch/{n}.md", "text": "a <b>note</b> " * n})


def test_who_spent_what(gateway, open_page, shot):
    """R37, R40: lines by what is chosen, with the focus kept; a throttle as a file; lists of tools and what a cap leaves out."""
    spend(gateway)
    page = open_page("olga")
    section = view(page, "Spend")
    rows = section.locator("#spend-lines tbody tr")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("writer")
    expect(rows.first).to_contain_text("12")
    by = section.get_by_role("combobox", name="by")
    by.select_option("tool")
    expect(rows).to_have_count(2)
    expect(section).to_contain_text("demo__note_write")
    by.focus()
    section.get_by_role("combobox", name="Of").select_option("1d")
    expect(rows).to_have_count(2)
    expect(section.locator("#spend-throttles tbody tr").first).to_contain_text("night")
    section.get_by_text("The throttles as a policy file").click()
    expect(section.locator("pre")).to_contain_text("spend-throttle-night")
    expect(section.locator("#spend-catalog tbody tr")).to_have_count(1)
    expect(section.locator("#spend-catalog tbody tr").first).to_contain_text("demo__")
    expect(section.locator("#spend-estimates tbody tr").first).to_contain_text("All tools")
    shot(page, "spend")


def test_spend_by_keyboard_and_on_a_phone(gateway, open_page, shot):
    spend(gateway)
    page = open_page("carol", viewport={"width": 360, "height": 740})
    page.keyboard.press("s")
    section = page.locator("#spend")
    expect(section.locator("#spend-lines tbody tr")).to_have_count(1)
    assert not too_wide(page), too_wide(page)
    expect(page).to_have_url(re.compile("#/spend$"))
    shot(page, "spend-phone")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_spend(gateway, open_page, accessible, scheme):
    spend(gateway)
    page = open_page("olga", color_scheme=scheme, bypass_csp=True)
    section = view(page, "Spend")
    expect(section.locator("#spend-lines tbody tr")).to_have_count(1)
    accessible(page, f"spend, {scheme}")
