"""Budgets on the page: bars with what is used and left, and an admin sets one back with a reason."""

from __future__ import annotations

from playwright.sync_api import expect

from agent import call
from conftest import too_wide, view, writer_and

POLICIES = {
    **writer_and({"carol": "groups: [leads], roles: [approver]", "root": "groups: [], roles: [admin]"}),
    "budgets.yaml": """\
budgets:
  - { id: writes, scope: agent, window: day, max_calls: 2, on_exceed: deny, zone: Europe/Berlin, alert_at: [50, 100] }
  - { id: spent, scope: global, window: ever, max_cost_usd: 5.00 }
""",
}


def write(gateway, n: int) -> bool:
    return not call(gateway, "demo__note_write", {"path": f"/scratch/{n}.md", "text": "x"}).get("isError")


def test_budgets_are_seen_and_set_back(gateway, open_page, shot):
    """R36: where each counter stands, and a reset with its reason."""
    assert write(gateway, 1) and write(gateway, 2) and not write(gateway, 3)
    section = view(open_page("carol"), "Budgets")
    card = section.locator('[data-budget="writes"]')
    expect(card).to_contain_text("writer this day (Europe/Berlin)")
    expect(card).to_contain_text("Calls: 2 of 2, 0 left")
    expect(card.get_by_role("meter")).to_have_count(1)
    expect(card).to_contain_text("50 %, 100 %")
    expect(section.get_by_role("button", name="Set back")).to_have_count(0)
    page = open_page("root", viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    section = view(page, "Budgets")
    card = section.locator('[data-budget="writes"]')
    expect(card).to_contain_text("Calls: 2 of 2, 0 left")
    assert not too_wide(page)
    shot(page, "budgets-phone")
    card.get_by_role("button", name="Set back writes of writer").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Set back", exact=True).click()
    expect(dialog.get_by_role("alert")).to_have_text("Say why: it stands in the record.")
    dialog.get_by_label("Why (needed)").fill("the report is due")
    dialog.get_by_role("button", name="Set back", exact=True).click()
    expect(page.locator("#notice")).to_contain_text("writes of writer is set back: 2 calls counted before")
    expect(section).to_be_focused()
    assert write(gateway, 4)
    page.get_by_role("button", name="Read again").click()
    expect(card).to_contain_text("Calls: 1 of 2, 1 left")


def test_axe_finds_nothing_in_budgets(gateway, open_page, accessible):
    """The view is for everybody."""
    write(gateway, 1)
    page = open_page("root", bypass_csp=True)
    section = view(page, "Budgets")
    expect(section.locator('[data-budget="spent"]')).to_contain_text("Money:")
    accessible(page, "budgets")
