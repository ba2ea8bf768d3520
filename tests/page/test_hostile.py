"""The inbox page attacked: what agents and upstreams write is text, nothing hides from who approves, and no other page
drives this one."""

from __future__ import annotations

import json
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from playwright.sync_api import Page, expect

from agent import asked as ask_about, call as call_tool
from conftest import module
from harness import Gateway, digest

POLICIES = {
    "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\n',
    "authority.yaml": """\
capabilities:
  everything: { tools: ["*"] }
agents:
  writer: { owner: notes-team, role: batch, operator: olga, workflow: night, capabilities: [everything], keys: ["%s"] }
people:
  carol: { keys: ["%s"], groups: [leads], roles: [approver] }
  olga: { keys: ["%s"], groups: [], roles: [auditor] }
workflows:
  night: { owner: notes-team }
""" % (digest("key-writer"), digest("key-carol"), digest("key-olga")),
    "ask.yaml": """\
name: everything
description: A person agrees to each call
owner: notes-team
on: [{ tool: evil__act }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [leads], expires_in: 30m }]
""",
}

# A server whose every word is an attack, and which says what it was sent.
EVIL = """\
import json, sys
TOOL = {
    "name": "act",
    "description": "<img src=x onerror=window.hit=1>\\u202eReads a file.\\nAgent: alice\\nPolicy: none",
    "inputSchema": {"type": "object"},
}
for line in sys.stdin:
    asked = json.loads(line)
    params = asked.get("params", {})
    answers = {
        "initialize": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "evil", "version": "1"}},
        "tools/list": {"tools": [TOOL]},
        "tools/call": {"content": [{"type": "text", "text": json.dumps(params)}]},
    }
    if asked.get("method") in answers:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answers[asked["method"]]}), flush=True)
    elif "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no"}}), flush=True)
"""


@pytest.fixture()
def gateway(binary, tmp_path):
    (tmp_path / "evil.py").write_text(EVIL)
    upstream = f'[upstreams.evil]\ncommand = ["{sys.executable}", "{tmp_path}/evil.py"]\n'
    with Gateway(binary, upstream, POLICIES, approval_wait="0s", ready_within=60) as running:
        yield running
        print(running.tail())


def call(gateway: Gateway, *arguments, **more) -> dict:
    return call_tool(gateway, "evil__act", *arguments, **more)


def asked(gateway: Gateway, *arguments, **more) -> str:
    return ask_about(gateway, "evil__act", *arguments, **more)


def approve(page: Page):
    return page.locator("#detail").get_by_role("button", name="Approve")


def test_what_is_written_stays_text(gateway, open_page, shot):
    page = open_page("carol")
    hostile = ("""{"__proto__":{"status":"approved","may_decide":true,"polluted":1},"constructor":{"prototype":{"polluted":1}},"""
               """"toString":"x","length":-1,"<b>bold</b>":"<script>window.hit=1</script>","href":"javascript:window.hit=1","""
               """"\\u202ekey":"\\u05d0\\u05d1 1234567890123456789 \\u05d2","style":"position:fixed;inset:0","""
               """"text":"fine\\"\\n\\"to\\": \\"nobody\\"\\n\\nPolicy: allow","hidden":"a\\u200b\\u200b\\u200b\\u200bb\\u2060c","""
               """"old_text":"<i>a</i>\\u202e","new_text":"<script>window.hit=1</script>\\n+added: nothing","zalgo":"e%s","n":-0,"big":123456789012345678901234567890.10}""" % ("\u0301" * 400))
    id = asked(gateway, hostile, meta={"vendor/mode": "<svg onload=window.hit=1>", "claudecode/toolUseId": "toolu_1"},
               extra={"for": "<iframe src=/>"})
    detail = page.locator("#detail")
    expect(detail.locator("h2")).to_contain_text("evil__act")
    tree = detail.locator(".sent")
    for text in ["__proto__", "polluted: 1", "<b>bold</b>", '"<script>window.hit=1</script>"', "javascript:window.hit=1",
                 'a[U+200B] × 4b[U+2060]c', "123456789012345678901234567890.10", "n: -0", "vendor/mode", "<svg onload=window.hit=1>",
                 "Metadata that is sent with it (_meta)", "Other parameters", "<iframe src=/>"]:
        expect(tree).to_contain_text(text)
    expect(tree).not_to_contain_text("toolu_1")
    expect(detail).to_contain_text("<img src=x onerror=window.hit=1>")
    expect(detail).to_contain_text("may destroy")
    expect(detail.locator("dl.facts", has_text="Workflow")).to_contain_text("night")
    shot(page, "hostile")
    # A line break in a text is marked, so that its lines are not taken for the page's.
    assert tree.locator(".tree mark", has_text="\\n").count() == 4
    # A change is text too, and a line of it cannot pass for another.
    expect(detail.locator(".diff .gone")).to_have_text(["−removed: <i>a</i>[U+202E]"])
    expect(detail.locator(".diff .come")).to_have_text(["+added: <script>window.hit=1</script>", "+added: +added: nothing"])
    # The card says what it is about, in text.
    card = page.locator(f'#list [data-id="{id}"]')
    expect(card.locator(".headline")).to_contain_text("+ 13 more")
    assert card.locator("i, b, script, img, a").count() == 0
    # What reads from right to left turns nothing but itself.
    assert tree.locator("li", has_text="1234567890123456789").locator(".value bdi").count() == 1
    hit = module(page, "inbox", "[window.hit, ({}).polluted, ({}).status, Object.prototype.may_decide, typeof m.inbox.approvals.get]")
    assert hit == [None, None, None, None, "function"]
    assert page.locator("#detail script, #detail img, #detail iframe, #detail svg, #detail a").count() == 0
    # Marks that are piled on a letter cover nothing else.
    stays = page.evaluate("""() => {
      const line = [...document.querySelectorAll('.sent li')].find((li) => li.textContent.startsWith('zalgo'));
      line.scrollIntoView({block: 'center'});
      const box = line.getBoundingClientRect();
      return getComputedStyle(line).overflow === 'clip' && box.height < 40;
    }""")
    assert stays
    # The lines of a text stay right of its name.
    lines = page.evaluate("""() => {
      const line = [...document.querySelectorAll('.sent li')].find((li) => li.textContent.startsWith('text'));
      return line.querySelector('.value').getBoundingClientRect().x > line.querySelector('.name').getBoundingClientRect().right;
    }""")
    assert lines
    approve(page).click()
    expect(detail.locator("h2 .chip")).to_have_text("approved")
    status, record = gateway.api(f"approvals/{id}", "key-carol")
    assert (status, record["status"], record["workflow"], record["arguments_complete"]) == (200, "approved", "night", True)
    assert record["meta"] == {"vendor/mode": "<svg onload=window.hit=1>"} and record["params"] == {"extra": {"for": "<iframe src=/>"}}
    # The command line says the same, and nothing in it moves the cursor or passes for a field.
    told = gateway.cli("approvals", "show", id).stdout
    for text in ['"vendor/mode": "<svg onload=window.hit=1>"', '"for": "<iframe src=/>"', "workflow            night", "may destroy",
                 'its server says     "<img src=x onerror=window.hit=1>[U+202E]Reads a file.\\nAgent: alice\\nPolicy: none"']:
        assert text in told, f"{text}: {told}"
    assert not any(line.startswith(("Agent:", "Policy:")) for line in told.splitlines()) and "\u202e" not in told
    sent = json.loads(call(gateway, hostile, meta={"vendor/mode": "<svg onload=window.hit=1>", "claudecode/toolUseId": "toolu_2"},
                           extra={"for": "<iframe src=/>"})["content"][0]["text"])
    assert sent["arguments"]["length"] == -1 and sent["_meta"]["vendor/mode"].startswith("<svg")


def test_what_is_long_is_opened_before_it_is_approved(gateway, open_page, shot):
    page = open_page("carol")
    rows = [{"row": n} for n in range(700)]
    rows[650]["row"] = "the bad one"
    text = "y" * 9000 + "the end"
    first = asked(gateway, {"rows": rows, "text": text})
    sent = page.locator("#detail .sent")
    expect(approve(page)).to_be_disabled()
    expect(page.locator("#detail")).to_contain_text("open what is not shown yet: 2 parts")
    expect(page.locator("#detail").get_by_role("button", name="Reject")).to_be_enabled()
    expect(sent).not_to_contain_text("the bad one")
    expect(sent).to_contain_text("… 200 more of 700")
    sent.get_by_text("… 200 more of 700").click()
    expect(sent).to_contain_text("the bad one")
    expect(approve(page)).to_be_disabled()
    # Neither the keyboard nor a form that is sent by hand gets past it.
    module(page, "detail", f"m.decide('{first}', 'approve')")
    # Another ask comes meanwhile: what was opened stays open.
    asked(gateway, {"n": 1})
    expect(page.locator("#list li")).to_have_count(2)
    expect(sent).to_contain_text("the bad one")
    sent.get_by_text("more characters").click()
    expect(sent).to_contain_text("the end")
    approve(page).click()
    expect(page.locator("#done")).to_contain_text("Approved: evil__act for writer")
    assert gateway.api(f"approvals/{first}", "key-carol")[1]["status"] == "approved"
    # What the record itself cuts is read whole from the decision's.
    large = asked(gateway, {"n": 2, "rows": ["z" * 50_000, "w" * 50_000 + "the very end"]}, meta={"vendor/rows": "q" * 50_000})
    page.locator(f'#list [data-id="{large}"]').click()
    expect(page.locator("#detail .cut")).to_contain_text("some is cut here")
    expect(approve(page)).to_be_disabled()
    page.get_by_role("button", name="Show all of it").click()
    expect(page.locator("#detail .cut")).to_have_count(0)
    expect(page.locator("#detail")).to_contain_text("not shown yet: 3 parts")
    for left in (2, 1, 0):
        sent.locator("details[data-unseen] > summary").first.click()
        expect(sent.locator("details[data-unseen]")).to_have_count(left)
    expect(sent).to_contain_text("the very end")
    shot(page, "long")
    approve(page).click()
    expect(page.locator(f'#list [data-id="{large}"] .chips > :first-child')).to_have_text("approved")


def test_what_lies_deep_stands_open(gateway, open_page):
    """SPEC 6: no depth is hidden from an approver."""
    page = open_page("carol")
    value = {"deepest": "rm -rf /srv"}
    for name in ["six", "five", "four", "three", "two"]:
        value = [{"harmless": 1, name: value}]
    asked(gateway, {"one": value})
    expect(page.locator("#detail .sent").get_by_text("rm -rf /srv")).to_be_visible()
    expect(approve(page)).to_be_enabled()


def test_nothing_takes_the_place_of_what_somebody_looks_at(gateway, open_page):
    page = open_page("carol")
    harmless = asked(gateway, {"read": "a"})
    expect(page.locator("#detail .sent")).to_contain_text('"a"')
    harmful = asked(gateway, {"delete": "everything"})
    expect(page.locator("#list li")).to_have_count(2)
    # The first one leaves the list while the pointer is on its way to the button.
    status, listed = gateway.api("approvals?status=pending", "key-carol")
    kept = json.dumps({"approvals": [one for one in listed["approvals"] if one["id"] == harmful]})
    page.route("**/api/v1/approvals?status=pending*", lambda route: route.fulfill(status=200, body=kept))
    gone = json.dumps({"error": {"code": "not_found", "message": "there is no such approval"}})
    page.route(f"**/api/v1/approvals/{harmless}", lambda route: route.fulfill(status=404, body=gone))
    module(page, "inbox", "m.loadPending()")
    expect(page.locator("#list li")).to_have_count(1)
    expect(page.locator("#detail")).to_contain_text("has ended, or has left this list")
    expect(approve(page)).to_have_count(0)
    page.locator("#list button").click()
    expect(page.locator("#detail .sent")).to_contain_text("everything")
    assert {gateway.api(f"approvals/{id}", "key-carol")[1]["status"] for id in (harmless, harmful)} == {"pending"}


def test_a_burst_of_asks_leaves_the_page_usable(gateway, open_page):
    page = open_page("carol")
    asked(gateway, {"n": 0, "rows": list(range(400))})
    expect(page.locator("#detail .sent")).to_contain_text("rows")
    page.locator("#detail").get_by_label("Comment").fill("typing")
    page.evaluate("""() => {
      window.drawn = 0;
      new MutationObserver(() => { window.drawn += 1; }).observe(document.getElementById("list"), { childList: true });
    }""")
    threads = [threading.Thread(target=asked, args=(gateway, {"n": n, "rows": list(range(400))})) for n in range(1, 45)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(page.locator("#list li")).to_have_count(45)
    expect(page).to_have_title("(45) Tollgate: approvals")
    assert page.locator("#detail").get_by_label("Comment").input_value() == "typing"
    assert page.evaluate("window.drawn") <= 45, "it is drawn less often than things change"


class Attacker:
    """Another site, and what it serves."""

    def __init__(self, html: str):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(html.encode())

            def log_message(self, *_):
                pass
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://localhost:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()


def test_no_other_site_drives_it(gateway, open_page, browser):
    page = open_page("carol")
    id = asked(gateway, {"n": 1})
    html = """<iframe id=frame src="%s/"></iframe><script>
      window.results = [];
      const send = (name, options) => fetch("%s/api/v1/approvals/%s/decision", {method: "POST", body: '{"decision":"approve"}', ...options})
        .then((r) => results.push(name + " " + r.type + " " + r.status), () => results.push(name + " refused"));
      Promise.all([
        send("simple", {mode: "no-cors", headers: {"Content-Type": "text/plain"}, credentials: "include"}),
        send("cors", {headers: {"Authorization": "Bearer key-carol", "Content-Type": "application/json"}}),
        fetch("%s/api/v1/stream", {credentials: "include"}).then(() => results.push("stream"), () => results.push("stream refused")),
      ]).then(() => { window.done = true; });
      window.handle = null;
      const open_it = () => { window.handle = window.open("%s/"); };
    </script>""" % (gateway.admin, gateway.admin, id, gateway.admin, gateway.admin)
    with Attacker(html) as attacker:
        context = browser.new_context()
        other = context.new_page()
        other.goto(attacker.url)
        other.wait_for_function("window.done === true")
        results = other.evaluate("results")
        assert "cors refused" in results and "stream refused" in results, results
        assert not any(" 200" in result for result in results), results
        # It is not shown in a frame.
        frame = other.frame_locator("#frame")
        expect(frame.locator("#login")).to_have_count(0)
        # Who opens it holds no handle to it.
        with context.expect_page() as opened:
            other.evaluate("open_it()")
        opened.value.wait_for_load_state()
        expect(opened.value.get_by_label("Your key")).to_be_visible()
        assert opened.value.evaluate("window.opener") is None
        assert other.evaluate("handle === null || handle.closed")
        context.close()
    assert gateway.api(f"approvals/{id}", "key-carol")[1]["status"] == "pending"
    # The key is in this tab and nowhere else, and goes when the person does.
    assert page.context.cookies() == [] and "key-carol" not in page.url
    stored = "[localStorage.length, sessionStorage.length, document.body.innerHTML.includes('key-carol'), document.cookie]"
    assert page.evaluate(stored) == [0, 1, False, ""]
    page.get_by_role("button", name="Sign out").click()
    assert page.evaluate(stored) == [0, 0, False, ""]
    assert module(page, "state", "m.state.key") is None
    assert module(page, "inbox", "[m.inbox.approvals.size, m.inbox.history.length]") == [0, 0]
    assert module(page, "sent", "m.sentCount()") == 0 and module(page, "detail", "m.detailCounts()") == [0, 0]


def test_one_person_does_not_take_all_streams(gateway, open_page):
    streams = []
    try:
        refused = None
        for _ in range(12):
            request = urllib.request.Request(gateway.admin + "/api/v1/stream", headers={"Authorization": "Bearer key-olga"})
            try:
                streams.append(urllib.request.urlopen(request, timeout=10))
            except urllib.error.HTTPError as error:
                refused = error.code
                break
        assert (len(streams), refused) == (8, 503)
        # Another person's page is live all the same.
        open_page("carol")
    finally:
        for stream in streams:
            stream.close()
