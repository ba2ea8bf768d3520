"""The inbox at work: cards that tell calls apart, changes as a diff, the next ask after an answer, several rejected at once, asks
of policies that are in force no more; on a desk and on a phone, in light and dark, for screen readers, and by keyboard alone."""

from __future__ import annotations

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from playwright.sync_api import Page, expect

from agent import asked, call
from conftest import module, too_wide
from harness import Gateway, digest

BUNDLE = 'version: "1"\nowner: tests\ndefault_decision: ALLOW\ndefault_approvers: [leads]\n'
AUTHORITY = """\
capabilities:
  everything: { tools: ["*"] }
agents:
  writer: { owner: notes-team, role: batch, operator: olga, workflow: night, capabilities: [everything], keys: ["%s"] }
people:
  carol: { keys: ["%s"], groups: [leads], roles: [approver] }
  dave: { keys: ["%s"], groups: [leads], roles: [approver] }
  olga: { keys: ["%s"], groups: [], roles: [auditor] }
workflows:
  night: { owner: notes-team }
""" % tuple(digest(f"key-{name}") for name in ["writer", "carol", "dave", "olga"])
GATE = """\
name: files
description: A person looks at each change of a file
owner: notes-team
on: [{ tool: files__edit }, { tool: files__remove }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [leads], expires_in: 30m }]
"""
POLICIES = {"bundle.yaml": BUNDLE, "authority.yaml": AUTHORITY, "files.yaml": GATE}

SERVER = """\
import json, sys
def tool(name, says):
    return {"name": name, "description": says, "inputSchema": {"type": "object"}}
TOOLS = [tool("edit", "Edits a file in place."), tool("remove", "Removes a file for good. " + "It is gone. " * 500)]
for line in sys.stdin:
    asked = json.loads(line)
    answers = {
        "initialize": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "files", "version": "1"}},
        "tools/list": {"tools": TOOLS},
        "tools/call": {"content": [{"type": "text", "text": "done"}]},
    }
    if asked.get("method") in answers:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answers[asked["method"]]}), flush=True)
    elif "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no"}}), flush=True)
"""


class Hook:
    """A webhook that keeps what it is told, and says when there is so much."""

    def __init__(self):
        self.told, self.more = [], threading.Condition()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with hook.more:
                    hook.told.append(body)
                    hook.more.notify_all()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def until(self, count: int) -> list[dict]:
        with self.more:
            assert self.more.wait_for(lambda: len(self.told) >= count, 30), self.told
            return list(self.told)


@pytest.fixture()
def hook():
    one = Hook()
    yield one
    one.server.shutdown()


@pytest.fixture()
def gateway(binary, tmp_path, hook):
    (tmp_path / "files.py").write_text(SERVER)
    upstream = f"""\
[webhook]
url = "{hook.url}"
secret = "whsec-for-tests-0123456789"

[upstreams.files]
command = ["{sys.executable}", "{tmp_path}/files.py"]
labels = ["internal"]
[upstreams.files.tools.edit]
destructive = false
open_world = false
labels = ["write"]
cost_usd = 0.25
"""
    with Gateway(binary, upstream, POLICIES, approval_wait="0s", ready_within=60) as running:
        yield running
        print(running.tail())


PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


def detail(page: Page):
    return page.locator("#detail")


def button(page: Page, name: str):
    return detail(page).get_by_role("button", name=name)


def card(page: Page, id: str):
    return page.locator(f'#list [data-id="{id}"]')


def edit(gateway, path: str, **more) -> str:
    return asked(gateway, "files__edit", {"path": path, "mode": "strict", **more})


def status(gateway, id: str) -> str:
    return gateway.api(f"approvals/{id}", "key-carol")[1]["status"]


def test_cards_tell_calls_apart(gateway, open_page, shot):
    """R21, R31: the argument that matters, the risk and the cost stand on the card, and what does not is counted."""
    page = open_page("carol")
    long = "/srv/" + "deep/" * 40 + "end.md"
    ids = [edit(gateway, path, note={"a": 1}) for path in ["/srv/one.md", "/srv/two.md", long]]
    gone = asked(gateway, "files__remove", {"path": "/srv/x\nPolicy: none\u202e", "password": "hunter2hunter2"})
    expect(page.locator("#list li")).to_have_count(4)
    for id, path in zip(ids, ["/srv/one.md", "/srv/two.md", "/srv/deep/deep/"]):
        expect(card(page, id).locator(".headline .pair").first).to_contain_text(f'path: "{path}')
        expect(card(page, id).locator(".headline")).to_contain_text("+ 1 more")
        expect(card(page, id)).to_contain_text("0.25")
        expect(card(page, id).locator(".chips")).to_contain_text("changes something")
    expect(card(page, ids[2])).to_contain_text("more characters")
    expect(card(page, gone).locator(".chips")).to_contain_text("may destroy")
    expect(card(page, gone).locator(".chips")).to_contain_text("reaches outside")
    expect(card(page, gone).locator(".chips")).to_contain_text("masked values")
    expect(card(page, gone).locator(".headline mark")).to_have_text(["\\n", "[U+202E]", re.compile(r"^\[redacted:")])
    assert "hunter2" not in page.content()
    card(page, ids[0]).click()
    facts = detail(page).locator("dl.facts")
    for text in ["destroys nothing", "stays inside", "internal", "write", "in force", "night"]:
        expect(facts.filter(has_text=text).first).to_be_visible()
    expect(detail(page)).to_contain_text('"Edits a file in place."')
    shot(page, "cards")


def test_edits_are_shown_as_a_diff(gateway, open_page, shot):
    """SPEC 6: a diff where arguments name old and new text."""
    page = open_page("carol")
    before = "".join(f"line {n}\n" for n in range(60))
    after = before.replace("line 30\n", "line thirty\nand <b>one</b> more\u200b\n").replace("line 58\n", "")
    edit(gateway, "/srv/a.md", edits=[{"oldText": before, "newText": after}, {"old_string": "x", "new_string": ""}])
    changes = detail(page).locator(".changes")
    expect(changes.locator(".change")).to_have_count(2)
    first = changes.locator(".change").first
    expect(first).to_contain_text("edits[0].oldText → newText (lines: 2 removed, 2 added)")
    expect(first.locator(".gone")).to_have_text(["−removed: line 30", "−removed: line 58"])
    expect(first.locator(".come")).to_have_text(["+added: line thirty", "+added: and <b>one</b> more[U+200B]"])
    # What does not change is folded and counted, and what is folded can be opened.
    expect(first.locator("summary")).to_have_text(["… 27 unchanged lines", "… 21 unchanged lines"])
    first.locator("summary").first.click()
    expect(first).to_contain_text("line 12")
    expect(changes.locator(".change").nth(1).locator(".diff > div")).to_have_text(["−removed: x"])
    # The arguments stand below, whole.
    expect(detail(page).locator(".sent > .tree.top")).to_contain_text("line 59")
    shot(page, "diff")
    rows = module(page, "diff", r"m.lines('a\nb\nc', 'a\nc\nd').map(([sign, line]) => sign + line)")
    assert rows == [" a", "-b", " c", "+d"]
    # Two texts that have nothing in common, and are too long to be compared line by line.
    sums = module(page, "diff", r"""(() => {
      const text = (name) => Array.from({length: 3000}, (_, n) => name + n).join('\n');
      const all = m.lines(text('a'), text('b'));
      return [all.length, all.filter(([s]) => s === '-').length, all.filter(([s]) => s === '+').length];
    })()""")
    assert sums == [6000, 3000, 3000]
    pairs = module(page, "diff", """m.edits({old: 'a', new: 'b', text_before: 'c', text_after: 'd', older: 'e', newer: 'f', old_n: 1, new_n: 2,
      search: 'g', replace: 'h', deep: [{original: 'i', modified: 'j'}], from: 'k', to: 'l'}).found.map(({at, other}) => at + '>' + other)""")
    assert pairs == ["old>new", "text_before>text_after", "search>replace", "deep[0].original>modified"]


def test_a_long_description_is_opened_before_it_is_approved(gateway, open_page):
    """SPEC 6: an approver sees everything before they can approve, what the tool's server says of it too."""
    page = open_page("carol")
    asked(gateway, "files__remove", {"path": "/srv/a"})
    expect(button(page, "Approve")).to_be_disabled()
    expect(detail(page).locator(".bar")).to_contain_text("open what is not shown yet: 1 part.")
    button(page, "Show the next part").click()
    expect(button(page, "Approve")).to_be_enabled()
    assert detail(page).locator(".said").inner_text().count("It is gone. ") >= 499


def test_the_next_ask_comes_after_an_answer(gateway, open_page):
    page = open_page("carol")
    ids = [edit(gateway, f"/srv/{n}.md") for n in range(3)]
    expect(page.locator("#list li")).to_have_count(3)
    card(page, ids[1]).click()
    # The second click of a double click decides nothing.
    button(page, "Approve").dblclick()
    expect(page.locator("#done")).to_contain_text("Approved: files__edit for writer.")
    expect(card(page, ids[2])).to_have_attribute("aria-current", "true")
    expect(detail(page)).to_be_focused()
    expect(page.locator("#announce")).to_have_text("Approved: files__edit for writer. Next: files__edit for writer.")
    assert [status(gateway, id) for id in ids] == ["pending", "approved", "pending"]
    page.get_by_role("button", name="Show it").click()
    expect(detail(page).locator("h2 .chip")).to_have_text("approved")
    expect(detail(page)).to_contain_text("by inbox")
    card(page, ids[2]).click()
    button(page, "Reject").click()
    expect(card(page, ids[0])).to_have_attribute("aria-current", "true")
    button(page, "Reject").click()
    # Nothing is left: what was decided last stays.
    expect(detail(page).locator("h2 .chip")).to_have_text("rejected")
    expect(page.locator("#announce")).to_contain_text("Nothing else waits for you.")
    expect(detail(page)).to_be_focused()


def test_several_are_rejected_at_once(gateway, open_page, shot):
    page = open_page("carol")
    ids = [edit(gateway, f"/srv/{n}.md") for n in range(3)]
    other = asked(gateway, "files__remove", {"path": "/srv/a"})
    expect(page.locator("#list li")).to_have_count(4)
    expect(page.get_by_role("button", name="Reject marked…")).to_be_disabled()
    card(page, ids[0]).click()
    page.get_by_role("button", name="Mark the 3 like this").click()
    expect(page.locator("#announce")).to_have_text("3 asks are marked.")
    page.locator(f'[data-mark="{ids[1]}"]').uncheck()
    page.get_by_role("button", name="Reject 2…").click()
    dialog = page.get_by_role("dialog", name="Reject 2 asks?")
    expect(dialog.locator("li")).to_have_count(2)
    expect(dialog).to_contain_text("/srv/2.md")
    expect(dialog).not_to_contain_text("/srv/1.md")
    dialog.get_by_label("Comment").fill("not tonight")
    shot(page, "batch")
    # Somebody else is faster with one of them.
    answer = page.request.post(f"{gateway.admin}/api/v1/approvals/{ids[2]}/decision",
                               headers={"Authorization": "Bearer key-dave"}, data={"decision": "approve"})
    assert answer.ok, answer.text()
    dialog.get_by_role("button", name="Reject 2", exact=True).click()
    expect(page.locator("#done")).to_contain_text("Rejected: 1. Not rejected: 1. files__edit for writer: this approval is already approved")
    assert [status(gateway, id) for id in [*ids, other]] == ["rejected", "pending", "approved", "pending"]
    decided = gateway.api(f"approvals/{ids[0]}", "key-carol")[1]["decisions"]
    assert [(one["comment"], one["channel"], one["person"]) for one in decided] == [("not tonight", "inbox", "carol")]
    expect(page.get_by_role("button", name="Reject marked…")).to_be_disabled()
    # An auditor has nothing to mark.
    looks = open_page("olga")
    expect(looks.locator("#list li")).to_have_count(2)
    expect(looks.locator("#list .mark:visible")).to_have_count(0)
    expect(looks.locator("#batch")).to_be_hidden()


def test_an_ask_of_other_policies_is_dead_everywhere(gateway, open_page, hook, shot):
    """R28, SPEC 6: when other policies come into force, what was asked for before is cancelled, and no answer to it counts; the webhook
    hears of all of it, whichever process did it, once."""
    page = open_page("carol")
    id = edit(gateway, "/srv/a.md")
    kept = edit(gateway, "/srv/b.md")
    card(page, id).click()
    expect(detail(page)).to_contain_text("(in force)")
    # One is decided on the command line, in a process of its own.
    done = gateway.cli("approvals", "reject", kept, key="key-carol")
    assert done.returncode == 0, done.stderr
    file = gateway.folder / "policies/files.yaml"
    file.write_text(GATE.replace("A person looks", "Somebody looks"))
    expect(detail(page).locator("h2 .chip")).to_have_text("cancelled")
    expect(detail(page).locator(".banner")).to_contain_text("The policies have changed since this was asked for")
    expect(button(page, "Approve")).to_have_count(0)
    shot(page, "outdated")
    assert status(gateway, id) == "cancelled"
    for person in ["carol", "dave"]:
        code, said = gateway.api(f"approvals/{id}/decision", f"key-{person}", {"decision": "approve"})
        assert (code, said["error"]["code"]) == (409, "snapshot_mismatch"), said
    refused = gateway.cli("approvals", "approve", id, key="key-carol")
    assert refused.returncode == 1 and "the policies have changed" in refused.stderr, refused.stderr
    (cancelled,) = gateway.events(event_type="approval_cancelled")
    assert (cancelled["approval_id"], cancelled["reason"]) == (id, "snapshot_mismatch")
    told = [(one["type"], one["approval_id"]) for one in hook.until(4)]
    assert sorted(told) == sorted([("approval_requested", id), ("approval_requested", kept), ("approval_decided", kept),
                                   ("approval_cancelled", id)])
    # The call is decided anew: it is asked about under the policies of now, and that ask is alive.
    again = edit(gateway, "/srv/a.md")
    assert again != id
    card(page, again).click()
    expect(button(page, "Approve")).to_be_enabled()
    button(page, "Approve").click()
    expect(detail(page).locator("h2 .chip")).to_have_text("approved")
    assert not call(gateway, "files__edit", {"path": "/srv/a.md", "mode": "strict"}).get("isError")


def test_the_record_tells_channels_apart(gateway, open_page):
    """R29: the page, a link to it, the API and the command line."""
    page = open_page("carol")
    ids = [edit(gateway, f"/srv/{n}.md") for n in range(4)]
    card(page, ids[0]).click()
    button(page, "Reject").click()
    expect(page.locator("#done")).to_contain_text("Rejected")
    assert gateway.api(f"approvals/{ids[1]}/decision", "key-dave", {"decision": "reject"})[0] == 200
    assert gateway.cli("approvals", "reject", ids[2], key="key-dave").returncode == 0
    # As a notification names it.
    page.goto(f"{gateway.admin}/#{ids[3]}")
    expect(detail(page).locator(".sent")).to_contain_text("/srv/3.md")
    button(page, "Reject").click()
    expect(detail(page).locator("h2 .chip")).to_have_text("rejected")
    channels = [gateway.api(f"approvals/{id}", "key-carol")[1]["decisions"][0]["channel"] for id in ids]
    assert channels == ["inbox", "api", "cli", "link"]
    events = {event["approval_id"]: event["detail"]["channel"] for event in gateway.events(event_type="approval_decided")}
    assert [events[id] for id in ids] == channels


def test_an_approval_tells_all_that_it_binds(gateway):
    """SPEC 12: `workflow`, `meta`, `description`, `traits`, `arguments_complete`; and the listing pages by cursor."""
    first = asked(gateway, "files__edit", {"path": "/srv/a"}, meta={"vendor/mode": "fast"})
    second = asked(gateway, "files__edit", {"path": "/srv/b", "text": ["z" * 50_000, "w" * 50_000 + "the very end"]})
    code, one = gateway.api(f"approvals/{first}", "key-carol")
    assert code == 200
    assert (one["workflow"], one["meta"], one["description"]) == ("night", {"vendor/mode": "fast"}, "Edits a file in place.")
    assert one["traits"] == {"read_only": False, "destructive": False, "idempotent": False, "open_world": False}
    assert one["labels"] == ["internal", "write"] and one["arguments_complete"] is True
    code, cut = gateway.api(f"approvals/{second}", "key-carol")
    assert (code, cut["arguments_complete"]) == (200, False) and "the very end" not in json.dumps(cut)
    # The command line has it whole.
    shown = gateway.cli("approvals", "show", second).stdout
    assert "the very end" in shown and "cut:" not in shown
    whole = json.loads(gateway.cli("approvals", "show", second, "--json").stdout)
    assert whole["arguments_complete"] is True and whole["arguments"]["text"][1].endswith("the very end")
    pages, cursor = [], ""
    while cursor is not None:
        code, listed = gateway.api(f"approvals?status=pending&limit=1{cursor and '&before=' + cursor}", "key-carol")
        assert code == 200, listed
        pages.append([one["id"] for one in listed["approvals"]])
        assert listed["truncated"] is (listed["next"] is not None)
        cursor = listed["next"]
    assert pages == [[second], [first]]
    assert gateway.api("approvals?before=nothing", "key-carol")[0] == 400


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_the_answers_in_view(gateway, open_page, shot, scheme):
    page = open_page("carol", color_scheme=scheme, **PHONE)
    lines = [f"line {n}" for n in range(200)]
    ids = [edit(gateway, f"/srv/{n}.md", text="\n".join(lines)) for n in range(2)]
    expect(page.locator("#list li")).to_have_count(2)
    expect(detail(page)).to_be_hidden()
    shot(page, f"phone-list-{scheme}")
    card(page, ids[0]).tap()
    expect(page.locator("#side")).to_be_hidden()
    expect(page.locator("#trace")).to_be_attached()
    for place in ["0", "document.documentElement.scrollHeight / 2", "document.documentElement.scrollHeight"]:
        page.evaluate(f"window.scrollTo(0, {place})")
        for name in ["Approve", "Reject"]:
            expect(button(page, name)).to_be_in_viewport(ratio=1)
    page.evaluate("window.scrollTo(0, 0)")
    shot(page, f"phone-{scheme}")
    # What is typed is not under the bar.
    detail(page).get_by_label("Comment").focus()
    covered = page.evaluate("""() => {
      const field = document.activeElement.getBoundingClientRect();
      return field.bottom > document.querySelector('#detail .bar').getBoundingClientRect().top;
    }""")
    assert not covered
    assert too_wide(page) == []
    button(page, "Approve").tap()
    # The next one, from its top.
    expect(detail(page).locator(".sent")).to_contain_text("/srv/1.md")
    expect(detail(page).locator("h2")).to_be_in_viewport()
    expect(page.locator("#done")).to_be_in_viewport(ratio=0.95)
    assert [status(gateway, id) for id in ids] == ["approved", "pending"]
    page.get_by_role("button", name="← All asks").tap()
    expect(detail(page)).to_be_hidden()
    expect(card(page, ids[1])).to_be_focused()


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_nothing_is_wider_than_the_window(gateway, open_page, width, shot):
    page = open_page("carol", viewport={"width": width, "height": 640})
    word = "W" * 300
    edit(gateway, "/" + word, **{word: word, "old_text": word, "new_text": word + "x", "rows": [{"deep": [[[word]]]}]})
    edit(gateway, "/srv/b.md")
    expect(page.locator("#list li")).to_have_count(2)
    assert too_wide(page) == []
    shot(page, f"list-{width}")
    card_of_word = page.locator("#list button", has_text="WWW")
    card_of_word.click()
    expect(detail(page).locator(".changes")).to_be_visible()
    expect(page.locator("#trace")).to_be_attached()
    assert too_wide(page) == []
    detail(page).get_by_text(re.compile("^The trace ")).click()
    expect(detail(page).get_by_role("region", name="Events of the trace")).to_be_visible()
    assert too_wide(page) == []
    shot(page, f"detail-{width}")
    for view in ["History", "Grants", "Explain", "Policies"]:
        page.get_by_role("button", name=view).click()
        expect(page.locator('nav [aria-current="page"]')).to_contain_text(view)
        assert too_wide(page) == [], view


def test_times_say_their_zone(gateway, open_page):
    page = open_page("carol", timezone_id="Asia/Kolkata", locale="en-GB")
    edit(gateway, "/srv/a.md")
    asked_at = detail(page).locator("dl.facts dt", has_text="Asked").locator("+ dd time")
    expect(asked_at).to_have_text(re.compile(r"\d{2}:\d{2}:\d{2} (GMT\+5:30|IST)$"))
    assert asked_at.get_attribute("datetime").endswith("Z")


def test_those_who_listen_are_told(gateway, open_page):
    """What comes and goes is said in a region that screen readers read, and the focus goes where the work is."""
    page = open_page("carol")
    said = page.locator("#announce")
    assert said.get_attribute("role") == "status"
    expect(page.locator("#main")).to_be_focused()
    id = edit(gateway, "/srv/a.md")
    expect(said).to_have_text("1 new ask. 1 waits for an answer.")
    gateway.api(f"approvals/{id}/decision", "key-dave", {"decision": "reject"})
    expect(said).to_have_text("files__edit for writer: rejected by dave.")
    page.get_by_role("button", name="History").click()
    expect(said).to_have_text("1 approval in the history.")
    expect(page.get_by_role("button", name="History")).to_have_attribute("aria-current", "page")


def test_batches_and_views_by_keyboard_alone(gateway, open_page):
    page = open_page("carol")
    ids = [edit(gateway, f"/srv/{n}.md") for n in range(2)]
    expect(page.locator("#list li")).to_have_count(2)
    for key in ["j", "m", "k", "m"]:
        page.keyboard.press(key)
    expect(page.get_by_role("button", name="Reject 2…")).to_be_visible()
    reject = page.locator("#reject-marked")
    while not reject.evaluate("node => node === document.activeElement"):
        page.keyboard.press("Shift+Tab")
    page.set_viewport_size({"width": 1280, "height": 200})
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    # Also where the list of what is rejected is so long that keys could move it.
    assert dialog.locator("ul").evaluate("list => list.scrollHeight > list.clientHeight")
    expect(dialog.get_by_label("Comment")).to_be_focused()
    page.keyboard.type("j k a")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(reject).to_be_focused()
    assert [status(gateway, id) for id in ids] == ["pending", "pending"]
    page.keyboard.press("Enter")
    page.keyboard.type("by keyboard")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Reject 2", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#done")).to_contain_text("Rejected: 2.")
    expect(page.locator("#announce")).to_have_text("Rejected: 2. Nothing else waits for you.")
    expect(detail(page)).to_be_focused()
    assert [status(gateway, id) for id in ids] == ["rejected", "rejected"]
    for key, view in [("g", "Grants"), ("e", "Explain")]:
        page.keyboard.press(key)
        expect(page.locator('nav [aria-current="page"]')).to_have_text(view)
        expect(page.locator(f"#{view.lower()}")).to_be_focused()
        # What was done in the inbox leads nowhere here.
        expect(page.locator("#done")).to_be_hidden()
    # Keys of one letter can be switched off.
    page.keyboard.press("o")
    expect(page.locator('nav [aria-current="page"]')).to_have_text("Policies")
    page.keyboard.press("?")
    page.get_by_label("Keys of one letter do this").press("Space")
    page.keyboard.press("Escape")
    page.keyboard.press("h")
    expect(page.locator('nav [aria-current="page"]')).to_have_text("Policies")
    # Back leads to the view of before.
    page.go_back()
    expect(page.locator('nav [aria-current="page"]')).to_have_text("Explain")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(gateway, open_page, accessible, scheme, shot):
    """Labels, names, roles, landmarks and contrasts, as axe-core knows them, in each state of the inbox."""
    page = open_page("carol", color_scheme=scheme, bypass_csp=True)
    accessible(page, "empty")
    ids = [edit(gateway, f"/srv/{n}.md", old_text="a\nb\nc", new_text="a\nx\nc\u200b") for n in range(2)]
    removed = asked(gateway, "files__remove", {"path": "/srv/x", "password": "hunter2hunter2", "rows": list(range(700))})
    expect(page.locator("#list li")).to_have_count(3)
    card(page, ids[0]).click()
    expect(page.locator("#trace")).to_be_attached()
    accessible(page, "an edit")
    shot(page, f"edit-{scheme}")
    card(page, removed).click()
    expect(page.locator("#trace")).to_be_attached()
    accessible(page, "one that is to be opened")
    card(page, ids[0]).click()
    page.get_by_role("button", name="Mark all 3").click()
    page.get_by_role("button", name="Reject 3…").click()
    accessible(page, "the question before several are rejected")
    page.keyboard.press("Escape")
    button(page, "Reject").click()
    expect(page.locator("#done")).to_be_visible()
    expect(page.locator("#trace")).to_be_attached()
    accessible(page, "after an answer")
    page.get_by_role("button", name="Keyboard shortcuts").click()
    accessible(page, "the help")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="History").click()
    expect(page.locator("#list li")).to_have_count(1)
    expect(page.locator("#trace")).to_be_attached()
    accessible(page, "the history")
    page.set_viewport_size({"width": 320, "height": 640})
    accessible(page, "the history on a phone")
    page.get_by_role("button", name="Sign out").click()
    accessible(page, "signing in")


def test_the_history_is_read_on(gateway, open_page):
    """What is not listed is told, and can be had."""
    for n in range(3):
        gateway.api(f"approvals/{edit(gateway, f'/srv/{n}.md')}/decision", "key-dave", {"decision": "reject"})
    page = open_page("carol")
    page.route("**/approvals?status=approved*", lambda route: route.continue_(url=route.request.url.replace("limit=200", "limit=2")))
    page.get_by_role("button", name="History").click()
    expect(page.locator("#list li")).to_have_count(2)
    expect(page.locator("#more")).to_contain_text("The newest 2 are read, and there are more.")
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#list li")).to_have_count(3)
    expect(page.locator("#more")).to_be_hidden()
