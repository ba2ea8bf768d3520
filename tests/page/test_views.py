"""The page's other views: what would be decided and why, standing grants, the policies that are and were in force; each for the
roles that it is for, by keyboard, on a phone, in light and dark."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from agent import asked, call
from conftest import too_wide
from harness import Gateway, digest

NAMES = ["writer", "carol", "dave", "olga", "root"]
POLICIES = {
    "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\ndefault_approvers: [leads]\n',
    "authority.yaml": """\
capabilities:
  everything: { tools: ["demo__*"] }
agents:
  writer: { owner: notes-team, role: batch, workflow: night, capabilities: [everything], keys: ["%s"] }
people:
  carol: { keys: ["%s"], groups: [leads], roles: [approver] }
  dave: { keys: ["%s"], groups: [leads], roles: [approver] }
  olga: { keys: ["%s"], groups: [], roles: [auditor] }
  root: { keys: ["%s"], groups: [], roles: [admin] }
workflows:
  night: { owner: notes-team }
""" % tuple(digest(f"key-{name}") for name in NAMES),
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
VERSION = {text: POLICIES["notes.yaml"].replace("A person agrees", text) for text in ["Somebody agrees", "Nobody agrees"]}


@pytest.fixture()
def gateway(binary):
    upstream = '[upstreams.demo]\ncommand = ["tollgate", "demo-upstream"]\n'
    with Gateway(binary, upstream, POLICIES, approval_wait="0s", ready_within=60) as running:
        yield running
        print(running.tail())


@pytest.fixture()
def open_page(browser, gateway):
    problems, contexts = [], []

    def open_one(person: str, **options) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(f"a dialog: {dialog.message}"))
        page.goto(gateway.admin + "/")
        page.get_by_label("Your key").fill(f"key-{person}")
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#live")).to_have_text("live")
        return page
    yield open_one
    for context in contexts:
        context.close()
    assert not problems, problems


def view(page: Page, name: str):
    page.get_by_role("navigation").get_by_role("button", name=name).click()
    return page.locator(f"#{name.lower()}")


def put(gateway: Gateway, text: str) -> None:
    (gateway.folder / "policies/notes.yaml").write_text(VERSION[text])


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
    section.get_by_label("Arguments").fill('{"path": "/work/note.md", "text": "<img src=x onerror=window.hit=1>", "n": 12345678901234567890}')
    page.keyboard.press("Control+Enter")
    result = section.get_by_role("region", name="The decision")
    expect(result).to_be_focused()
    expect(result.locator(".verdict .chip")).to_have_text("a person is asked")
    expect(result).to_contain_text("It is not in the scratch folder <b>yet</b>")
    expect(result.locator("dl.facts")).to_contain_text("leads")
    for text in ["notes", "scratch", "ask", "/scratch"]:
        expect(result.locator(".steps")).to_contain_text(text)
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
    assert activated["detail"]["reason"] == "it asks too much" or activated["reason"] == "it asks too much"
    # And forward again.
    section.get_by_role("button", name=re.compile("^Activate ")).first.click()
    question = page.get_by_role("dialog", name="Put these policies in force?")
    question.get_by_label("Why").fill("it was right")
    question.get_by_role("button", name="Activate", exact=True).click()
    expect(section.get_by_role("region", name="Policies in force")).to_contain_text("Somebody agrees")


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
    looks = view(open_page("dave"), "Grants")
    expect(looks.locator("[data-grant]")).to_have_count(1)
    expect(looks.get_by_role("button", name="Revoke")).to_have_count(0)
    root = open_page("root")
    view(root, "Grants").get_by_role("button", name="Revoke the grant of demo__note_write for writer").click()
    root.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
    expect(root.locator("#no-grants")).to_be_visible()
    # It goes from the others' pages by itself.
    expect(page.locator("#no-grants")).to_be_visible()
    asked(gateway, "demo__note_write", {"path": "/work/third.md", "text": "x"})


@pytest.mark.parametrize("person, views", [
    ("carol", ["Pending 0", "History", "Grants", "Explain", "Policies"]),
    ("olga", ["Pending 0", "History", "Grants", "Explain", "Policies"]),
    ("root", ["Pending 0", "History", "Grants", "Explain", "Policies"]),
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
def test_axe_finds_nothing_in_the_views(gateway, open_page, accessible, scheme, shot):
    page = open_page("root", color_scheme=scheme, bypass_csp=True)
    id = asked(gateway, "demo__note_write", NOTE)
    grant = {"duration": "1h", "uses": 2, "arguments": {"path": {"within": "/work"}}}
    code, said = gateway.api(f"approvals/{id}/decision", "key-carol", {"decision": "approve", "grant": grant})
    assert code == 200, said
    section = view(page, "Grants")
    expect(section.locator("[data-grant]")).to_have_count(1)
    accessible(page, "grants")
    section.get_by_role("button", name="Revoke").click()
    accessible(page, "revoking")
    page.keyboard.press("Escape")
    section = view(page, "Explain")
    section.get_by_label("Tool").fill("demo__note_write")
    section.get_by_label("Arguments").fill('{"path": "/work/note.md", "text": "x"}')
    section.get_by_role("button", name="Explain").click()
    expect(section.locator(".verdict")).to_be_visible()
    section.get_by_text("More: person").click()
    accessible(page, "an explanation")
    shot(page, f"explain-{scheme}")
    put(gateway, "Somebody agrees")
    section = view(page, "Policies")
    expect(section.locator("#snapshots tbody tr")).to_have_count(2)
    accessible(page, "policies")
    shot(page, f"policies-{scheme}")
    section.get_by_role("button", name="Roll back…").click()
    accessible(page, "rolling back")
    page.keyboard.press("Escape")
    section.get_by_role("button", name=re.compile("^Show the files")).first.click()
    page.get_by_role("dialog").get_by_text("notes.yaml").click()
    accessible(page, "files")
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 320, "height": 640})
    for name in ["Grants", "Explain", "Policies"]:
        view(page, name)
        expect(page.locator(f"#{name.lower()} h2")).to_be_visible()
        assert too_wide(page) == [], name
        accessible(page, f"{name} on a phone")
        shot(page, f"{name.lower()}-phone-{scheme}")
    # An approver answers with a grant.
    asked(gateway, "demo__note_write", {"path": "/elsewhere/note.md", "text": "x"})
    approver = open_page("carol", color_scheme=scheme, bypass_csp=True, viewport={"width": 360, "height": 700})
    approver.locator("#list button").first.click()
    approver.get_by_label("Let calls like this through for a while").check()
    approver.get_by_label("path may be").select_option("within")
    accessible(approver, "a grant is given")
    assert too_wide(approver) == []
