"""The inbox page in a real browser, from an agent's call to the dispatched result."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading

import pytest
from playwright.sync_api import Page, expect

from client import over_http, said
from conftest import module, too_wide
from harness import Gateway, digest

POLICIES = {
    "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\ndefault_approvers: [leads]\n',
    "authority.yaml": """\
capabilities:
  everything: { tools: ["*"] }
agents:
  writer: { owner: notes-team, role: batch, operator: olga, capabilities: [everything], keys: ["%s"] }
people:
  carol: { keys: ["%s"], groups: [leads], roles: [approver] }
  dave: { keys: ["%s"], groups: [leads], roles: [approver] }
  olga: { keys: ["%s"], groups: [], roles: [auditor] }
""" % (digest("key-writer"), digest("key-carol"), digest("key-dave"), digest("key-olga")),
    "ask.yaml": """\
name: outgoing-mail
description: A person reads what leaves the house
owner: mail-team
on: [{ tool: demo__send_mail }]
rules:
  - { id: outside, decision: REQUIRE_APPROVAL, approvers: [leads], evidence_required: true, expires_in: 10m, reason: "It leaves the house" }
""",
    "notes.yaml": """\
name: notes
description: A person agrees to each note
owner: notes-team
on: [{ tool: demo__note_write }, { tool: bank__pay }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [leads], expires_in: 10m }]
""",
}


# A server whose tool takes any arguments and says which it got.
BANK = """\
import json, sys
TOOL = {"name": "pay", "inputSchema": {"type": "object"}}
for line in sys.stdin:
    asked = json.loads(line)
    params = asked.get("params", {})
    answers = {
        "initialize": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "bank", "version": "1"}},
        "tools/list": {"tools": [TOOL]},
        "tools/call": {"content": [{"type": "text", "text": json.dumps(params.get("arguments"))}]},
    }
    if asked.get("method") in answers:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answers[asked["method"]]}), flush=True)
    elif "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no"}}), flush=True)
"""


@pytest.fixture()
def gateway(binary, tmp_path):
    (tmp_path / "bank.py").write_text(BANK)
    demo = '[upstreams.demo]\ncommand = ["tollgate", "demo-upstream"]\n'
    demo += f'[upstreams.bank]\ncommand = ["{sys.executable}", "{tmp_path}/bank.py"]\n'
    with Gateway(binary, demo, POLICIES, approval_wait="30s", ready_within=60) as running:
        yield running
        print(running.tail())


class Call(threading.Thread):
    """An agent's call, which waits for a person."""

    def __init__(self, gateway: Gateway, tool: str, arguments: dict):
        super().__init__(daemon=True)
        self.gateway, self.tool, self.arguments, self.result = gateway, tool, arguments, None
        self.start()

    def run(self) -> None:
        async def body():
            async with over_http(self.gateway.url, "key-writer", "legacy") as client:
                self.result = await client.call_tool(self.tool, self.arguments)
        asyncio.run(body())

    def ended(self):
        self.join(30)
        assert self.result is not None, "the call has not ended"
        return self.result


@pytest.fixture()
def open_page(browser, gateway):
    """A page of its own for each person; whatever it logs as an error fails the test."""
    problems, contexts = [], []

    def open_one(**options) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        wanted = ("status of 4", "net::ERR_FAILED", "TrustedHTML")
        page.on("console", lambda message: problems.append(message.text)
                if message.type == "error" and not any(part in message.text for part in wanted) else None)
        page.goto(gateway.admin + "/")
        return page
    yield open_one
    for context in contexts:
        context.close()
    assert not problems, problems


def sign_in(page: Page, person: str) -> Page:
    page.get_by_label("Your key").fill(f"key-{person}")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#live")).to_have_text("live")
    expect(page.get_by_label("Your key")).to_be_hidden()
    return page



MAIL = {"to": "ada@example.com", "subject": "Hello", "body": "my password: hunter2hunter2"}


def test_a_note_is_approved_from_the_call_to_its_result(gateway, open_page, shot):
    page = sign_in(open_page(), "carol")
    expect(page.locator("#empty")).to_contain_text("Nothing waits for approval.")
    call = Call(gateway, "demo__note_write", {"path": "/scratch/note.md", "text": "<img src=x onerror=alert(1)>\u202eend"})
    # It comes by itself.
    expect(page.locator("#list li")).to_have_count(1)
    detail = page.locator("#detail")
    expect(detail).to_contain_text("notes-team")
    expect(detail).to_contain_text("A person agrees to each note")
    arguments = detail.locator(".tree.top").first
    expect(arguments).to_contain_text("<img src=x onerror=alert(1)>")
    expect(arguments.locator("mark")).to_have_text("[U+202E]")
    expect(detail.locator("[data-until]")).to_have_text(re.compile(r"\d+ min .* left"))
    expect(page.locator("#trace")).to_contain_text("notes")
    expect(page.locator("#similar")).to_contain_text("No such call")
    expect(page).to_have_title("(1) Tollgate: approvals")
    shot(page, "pending")
    detail.get_by_label("Comment").fill("fine")
    detail.get_by_role("button", name="Approve").click()
    result = call.ended()
    assert not result.is_error, said(result)
    expect(detail.locator("h2 .chip")).to_have_text("approved and used")
    expect(detail).to_contain_text("fine")
    (decided,) = gateway.events(event_type="approval_decided")
    assert (decided["reason"], decided["decision"]) == ("fine", "approved")
    # The next one shows what was said before.
    again = Call(gateway, "demo__note_write", {"path": "/scratch/note.md", "text": "another"})
    page.locator("#list button", has_text="yours to decide").click()
    expect(page.locator("#similar")).to_contain_text("carol")
    page.locator("#detail").get_by_role("button", name="Reject").click()
    assert again.ended().is_error
    shot(page, "decided")


def test_what_is_wrong_is_said_in_place_and_nothing_typed_is_lost(gateway, open_page, shot):
    page = open_page()
    page.get_by_label("Your key").fill("key-nobody")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#login-error")).to_have_text("Nobody has this key.")
    assert page.get_by_label("Your key").input_value() == "key-nobody"
    shot(page, "login")
    sign_in(page, "carol")
    call = Call(gateway, "demo__send_mail", MAIL)
    detail = page.locator("#detail")
    expect(detail).to_contain_text("It leaves the house")
    expect(detail.locator(".tree.top").first).to_contain_text("[redacted:")
    assert "hunter2" not in page.content()
    detail.get_by_label("Comment").fill("looks right")
    detail.get_by_role("button", name="Approve").click()
    expect(detail.locator(".error")).to_contain_text("needs evidence")
    assert detail.get_by_label("Comment").input_value() == "looks right"
    # Another ask comes while it is being written: the text and the focus stay.
    detail.get_by_label("Evidence").fill("T-1")
    other = Call(gateway, "demo__note_write", {"path": "/scratch/note.md", "text": "meanwhile"})
    expect(page.locator("#list li")).to_have_count(2)
    assert detail.get_by_label("Evidence").input_value() == "T-1"
    page.keyboard.type("23")
    assert detail.get_by_label("Evidence").input_value() == "T-123"
    # The gateway does not answer: that is said, and the text stays.
    page.route("**/decision", lambda route: route.abort())
    detail.get_by_role("button", name="Approve").click()
    expect(detail.locator(".error")).to_contain_text("Nothing was changed")
    assert detail.get_by_label("Evidence").input_value() == "T-123"
    page.unroute("**/decision")
    detail.get_by_role("button", name="Approve").click()
    result = call.ended()
    assert not result.is_error, said(result)
    (decided,) = gateway.events(event_type="approval_decided")
    page.locator("#list button", has_text="yours to decide").click()
    detail.get_by_role("button", name="Reject").click()
    assert other.ended().is_error


def test_a_decision_by_somebody_else_shows_at_once(gateway, open_page):
    carol, dave, olga = (sign_in(open_page(), who) for who in ("carol", "dave", "olga"))
    call = Call(gateway, "demo__note_write", {"path": "/scratch/note.md", "text": "shared"})
    for page in (carol, dave, olga):
        expect(page.locator("#list li")).to_have_count(1)
    # An auditor looks and does not decide.
    expect(olga.locator("#detail .error")).to_contain_text("You cannot decide it")
    expect(olga.get_by_role("button", name="Approve")).to_be_disabled()
    dave.locator("#detail").get_by_label("Comment").fill("still thinking")
    carol.locator("#detail").get_by_role("button", name="Reject").click()
    assert call.ended().is_error
    for page in (dave, olga):
        expect(page.locator("#detail h2 .chip")).to_have_text("rejected")
        expect(page.locator("#detail")).to_contain_text("carol")
    expect(dave.get_by_role("button", name="Approve")).to_be_disabled()
    assert dave.locator("#detail").get_by_label("Comment").input_value() == "still thinking"


def test_the_keyboard_is_enough(gateway, open_page):
    page = sign_in(open_page(), "carol")
    first = Call(gateway, "demo__note_write", {"path": "/scratch/note.md", "text": "one"})
    expect(page.locator("#list li")).to_have_count(1)
    second = Call(gateway, "demo__note_write", {"path": "/scratch/note.md", "text": "two"})
    expect(page.locator("#list li")).to_have_count(2)
    page.keyboard.press("j")
    expect(page.locator('#list [aria-current="true"]')).to_be_focused()
    expect(page.locator("#detail .tree").first).to_contain_text('"two"')
    page.keyboard.press("c")
    page.keyboard.type("by keyboard: j k a")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    page.keyboard.press("Enter")
    assert second.ended().is_error
    page.keyboard.press("k")
    expect(page.locator("#detail .tree").first).to_contain_text('"one"')
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    assert not first.ended().is_error
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("h")
    expect(page.locator("#list li")).to_have_count(2)
    (rejected,) = [e for e in gateway.events(event_type="approval_decided") if e["decision"] == "rejected"]
    assert rejected["reason"] == "by keyboard: j k a"


class Held:
    """Answers of the API that come when the test says so."""

    def __init__(self, page: Page, glob: str):
        self.page, self.glob, self.routes = page, glob, []
        page.route(glob, lambda route: self.routes.append(route))

    def release(self) -> None:
        for route in self.routes:
            route.continue_()
        self.page.unroute(self.glob)


def note(gateway, text: str) -> Call:
    return Call(gateway, "demo__note_write", {"path": "/scratch/note.md", "text": text})


def decisions(gateway) -> list:
    return [(event["decision"], event["reason"]) for event in gateway.events(event_type="approval_decided")]


def test_what_comes_late_takes_nothing_from_the_keyboard(gateway, open_page):
    """A field that lost its focus would turn what is typed on into commands, and a space on a button decides."""
    page = sign_in(open_page(), "carol")
    calls = []
    for count, text in enumerate(["one", "two"], 1):
        calls.append(note(gateway, text))
        expect(page.locator("#list li")).to_have_count(count)
    tree, comment = page.locator("#detail .tree").first, page.locator("#detail").get_by_label("Comment")
    # The trace comes while somebody types.
    trace = Held(page, "**/traces/*")
    with page.expect_request("**/traces/*"):
        page.keyboard.press("j")
    page.keyboard.press("c")
    page.keyboard.type("by keyboard: j")
    trace.release()
    expect(page.locator("#trace")).to_be_attached()
    page.keyboard.type(" k a r ")
    assert comment.input_value() == "by keyboard: j k a r "
    expect(comment).to_be_focused()
    expect(tree).to_contain_text('"two"')
    assert decisions(gateway) == []
    # The answer to a decision comes after its maker has gone on.
    decision = Held(page, "**/decision")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    with page.expect_request("**/decision"):
        page.keyboard.press("Enter")
    expect(page.locator("#detail")).to_be_focused()
    page.keyboard.press("k")
    expect(tree).to_contain_text('"one"')
    decision.release()
    assert calls[1].ended().is_error
    expect(page.locator("#list .chip", has_text="rejected")).to_have_count(1)
    expect(tree).to_contain_text('"one"')
    # What is new in the list takes neither the focus nor a click that has begun.
    button = page.locator('#list [aria-current="true"]')
    expect(button).to_be_focused()
    calls.append(note(gateway, "three"))
    expect(page.locator("#list li")).to_have_count(3)
    expect(button).to_be_focused()
    box = page.locator("#list button", has_text="rejected").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    module(page, "inbox", "m.render()")
    page.mouse.up()
    expect(tree).to_contain_text('"two"')
    assert decisions(gateway) == [("rejected", "by keyboard: j k a r")]
    for text in ["one", "three"]:
        page.locator("#list button", has_text="yours to decide").first.click()
        expect(tree).to_contain_text(f'"{text}"')
        page.keyboard.press("r")
        page.keyboard.press("Enter")
        # The next one comes by itself; the last one stays.
        expect(page.locator("#list button", has_text="yours to decide")).to_have_count(1 if text == "one" else 0)
    assert calls[0].ended().is_error and calls[2].ended().is_error


def test_a_broken_stream_takes_nothing_from_whoever_types(gateway, open_page):
    """What somebody looks at is decided elsewhere while nothing comes live: it stays, and typed text is no command."""
    page = open_page()
    # A stream that ends at once: the page reads the lists again and again.
    page.route("**/api/v1/stream", lambda route: route.fulfill(content_type="text/event-stream", body=": none\n\n"))
    page.get_by_label("Your key").fill("key-carol")
    page.get_by_role("button", name="Sign in").click()
    calls = []
    for count, text in enumerate(["looked at", "next"], 1):
        calls.append(note(gateway, text))
        expect(page.locator("#list li")).to_have_count(count, timeout=30_000)
    detail = page.locator("#detail")
    expect(page.locator("#trace")).to_be_attached()
    page.keyboard.press("c")
    page.keyboard.type("so fa")
    chosen = module(page, "inbox", "m.inbox.chosen")
    url = f"{gateway.admin}/api/v1/approvals/{chosen}/decision"
    answer = page.request.post(url, headers={"Authorization": "Bearer key-dave"}, data={"decision": "reject"})
    assert answer.ok
    expect(detail.locator("h2 .chip")).to_have_text("rejected", timeout=30_000)
    page.keyboard.type("r j a ")
    assert detail.get_by_label("Comment").input_value() == "so far j a "
    expect(detail.locator(".tree").first).to_contain_text("looked at")
    assert calls[0].ended().is_error
    # A field that has to go leaves what is typed after it without effect, until something is done on purpose.
    module(page, "inbox", "(m.forget(m.inbox.chosen), m.render())")
    expect(detail).to_contain_text("Choose another")
    page.keyboard.type("j a ")
    expect(detail).to_contain_text("Choose another")
    assert len(decisions(gateway)) == 1
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(detail.locator(".tree").first).to_contain_text("next")
    page.keyboard.press("r")
    page.keyboard.press("Enter")
    assert calls[1].ended().is_error


def test_an_older_answer_does_not_replace_a_newer(gateway, open_page):
    page = sign_in(open_page(), "carol")
    calls = []
    for word in ["Approve", "Reject"]:
        calls.append(note(gateway, word))
        page.locator("#list button", has_text="yours to decide").click()
        page.locator("#detail").get_by_role("button", name=word).click()
        calls[-1].ended()
        # The next one is clicked once this one is not in the list any more.
        expect(page.locator("#list button", has_text="yours to decide")).to_have_count(0)
    all_that_ended = Held(page, "**/approvals?status=approved*")
    with page.expect_request("**/approvals?status=approved*"):
        page.keyboard.press("h")
    page.get_by_label("Status").select_option("rejected")
    expect(page.locator("#list li")).to_have_count(1)
    with page.expect_response("**/approvals?status=approved*"):
        all_that_ended.release()
    expect(page.locator("#list .chips > :first-child")).to_have_text(["rejected"])


def test_history_is_filtered(gateway, open_page, shot):
    page = sign_in(open_page(), "carol")
    for number, word in enumerate(["Approve", "Reject"]):
        call = Call(gateway, "demo__note_write", {"path": "/scratch/note.md", "text": str(number)})
        page.locator("#list button", has_text="yours to decide").click()
        page.locator("#detail").get_by_role("button", name=word).click()
        call.ended()
        # The next one is clicked once this one is not in the list any more.
        expect(page.locator("#list button", has_text="yours to decide")).to_have_count(0)
    page.get_by_role("button", name="History").click()
    expect(page.locator("#list li")).to_have_count(2)
    page.get_by_label("Status").select_option("rejected")
    expect(page.locator("#list li")).to_have_count(1)
    page.get_by_label("Tool contains").fill("mail")
    expect(page.locator("#empty")).to_have_text("No approval fits these filters.")
    page.get_by_label("Tool contains").fill("NOTE")
    expect(page.locator("#list li")).to_have_count(1)
    shot(page, "history")


def test_what_is_shown_is_what_is_sent(gateway, open_page):
    """I4, SPEC 6: numbers keep their digits, and nothing hides."""
    page = sign_in(open_page(), "carol")
    numbers = {"account": 9007199254740993, "units": 12345678901234567890123, "small": 7}
    path = "/a\U000e0041b\u3164c\ufe0fd"
    call = Call(gateway, "bank__pay", {"path": path, **numbers})
    arguments = page.locator("#detail .tree.top").first
    for name, number in numbers.items():
        expect(arguments).to_contain_text(f"{name}: {number}")
    expect(arguments.locator("mark")).to_have_text(["[U+E0041]", "[U+3164]", "[U+FE0F]"])
    page.locator("#detail").get_by_role("button", name="Approve").click()
    result = call.ended()
    assert not result.is_error and json.loads(said(result)) == {"path": path, **numbers}
    # What came in the stream, and what is shown of it later.
    expect(arguments).to_contain_text("units: 12345678901234567890123")
    again = Call(gateway, "bank__pay", {"path": "/b", "account": 9007199254740995})
    page.locator("#list button", has_text="yours to decide").click()
    expect(page.locator("#similar")).to_contain_text('"account":9007199254740993')
    page.locator("#detail").get_by_role("button", name="Reject").click()
    assert again.ended().is_error
    digits = module(page, "exact", """m.written(m.parse('{"a":[1.50,1e400,-0.0,1E5,"9007199254740993 \\\\" 1.0"],"b":0.1}'))""")
    assert digits == '{"a":[1.50,1e400,-0.0,1E5,"9007199254740993 \\" 1.0"],"b":0.1}'


def test_a_phone_in_the_dark_shows_it_all(gateway, open_page, shot):
    phone = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark", "has_touch": True, "is_mobile": True}
    page = sign_in(open_page(**phone), "carol")
    call = Call(gateway, "demo__send_mail", MAIL)
    expect(page.locator("#list li")).to_have_count(1)
    page.locator("#list button").tap()
    expect(page.locator("#trace")).to_be_attached()
    assert too_wide(page) == []
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(int(part) for part in re.findall(r"\d+", back)[:3]) < 150, back
    shot(page, "phone")
    page.locator("#detail").get_by_role("button", name="Reject").click()
    assert call.ended().is_error


def test_the_page_is_closed_to_others(gateway, open_page, browser):
    page = sign_in(open_page(), "carol")
    answer = page.request.get(gateway.admin + "/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert page.context.cookies() == []
    # A link names one approval, or nothing that there is.
    for link in ["no-such", "%E0"]:
        page.goto(gateway.admin + "/#" + link)
        expect(page.locator("#notice")).to_contain_text("The approval of this link cannot be shown")
        expect(page.locator("#live")).to_have_text("live")
    # A reload of the tab stays signed in; another tab is not.
    page.reload()
    expect(page.locator("#live")).to_have_text("live")
    other = page.context.new_page()
    other.goto(gateway.admin + "/")
    expect(other.get_by_label("Your key")).to_be_visible()
    # A script that got into the page could not run.
    with pytest.raises(Exception, match="TrustedHTML|Trusted"):
        page.evaluate("document.body.innerHTML = '<img src=x>'")
    # A key that is taken away ends it.
    text = (gateway.folder / "policies/authority.yaml").read_text()
    (gateway.folder / "policies/authority.yaml").write_text(text.replace(digest("key-carol"), digest("key-new")))
    expect(page.get_by_label("Your key")).to_be_visible(timeout=30_000)
    expect(page.locator("#login-error")).to_contain_text("no longer valid")
