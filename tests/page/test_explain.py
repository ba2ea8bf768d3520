"""The page tells what would be decided of a call, and why; nothing is recorded."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from agent import asked
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
    reason: "It is not in the scratch folder <b>yet</b>"
""",
}
NOTE = {"path": "/work/note.md", "text": "hello"}


def test_a_call_is_explained(gateway, open_page, shot):
    """R71: what would be decided, by which rule, and why; nothing is recorded."""
    page = open_page("root")
    before = len(gateway.events())
    section = view(page, "Explain")
    expect(section).to_be_focused()
    section.get_by_label("Agent").select_option("writer")
    section.get_by_label("Tool").fill("demo__note_write")
    section.get_by_label("Arguments").fill('{"path": ')
    section.get_by_role("button", name="Explain").click()
    expect(section.locator(".error")).to_contain_text("The arguments are no JSON")
    expect(section.get_by_label("Arguments")).to_be_focused()
    section.get_by_label("Arguments").fill('{"path": "/work/note.md", "text": "<img src=x onerror=window.hit=1>"}')
    page.keyboard.press("Control+Enter")
    result = section.get_by_role("region", name="The decision")
    expect(result).to_be_focused()
    expect(result.locator(".verdict .chip")).to_have_text("a person is asked")
    expect(result).to_contain_text("It is not in the scratch folder <b>yet</b>")
    expect(result.locator("dl.facts")).to_contain_text("leads")
    # The rule that does not apply, with what its condition read, the one that does, and what another argument would change.
    for text in ["notes in notes.yaml", "within(args.path, '/scratch') where args.path = '/work/note.md'", "✓ applies ask",
                 "Allowed if args.path were within /scratch"]:
        expect(result).to_contain_text(text)
    shot(page, "explain")
    section.get_by_label("Arguments").fill('{"path": "/scratch/note.md", "text": ""}')
    section.get_by_role("button", name="Explain").click()
    expect(result.locator(".verdict .chip")).to_have_text("allow")
    # What is not the agent's is out of scope, as for the agent.
    section.get_by_label("Tool").fill("other__tool")
    section.get_by_role("button", name="Explain").click()
    expect(result.locator(".verdict .chip")).to_have_text("deny")
    expect(result.locator("dl.facts")).to_contain_text("scope")
    assert page.evaluate("window.hit") is None and len(gateway.events()) == before


def test_an_ask_is_explained_from_where_it_stands(gateway, open_page):
    page = open_page("carol")
    asked(gateway, "demo__note_write", NOTE)
    page.get_by_role("button", name="Explain it under the policies of now").click()
    section = page.locator("#explain")
    assert '"/work/note.md"' in section.get_by_label("Arguments").input_value()
    section.get_by_role("button", name="Explain").click()
    expect(section.locator(".verdict .chip")).to_have_text("a person is asked")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_an_explanation(open_page, accessible, scheme, shot):
    page = open_page("root", color_scheme=scheme, bypass_csp=True)
    section = view(page, "Explain")
    section.get_by_label("Tool").fill("demo__note_write")
    section.get_by_label("Arguments").fill('{"path": "/work/note.md", "text": "x"}')
    section.get_by_role("button", name="Explain").click()
    expect(section.locator(".verdict")).to_be_visible()
    section.get_by_text("More: person").click()
    accessible(page, "an explanation")
    shot(page, f"explain-{scheme}")
    page.set_viewport_size({"width": 320, "height": 640})
    assert too_wide(page) == []
    accessible(page, "an explanation on a phone")
    shot(page, f"explain-phone-{scheme}")
