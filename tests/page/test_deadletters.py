"""Dead letters on the page: what nobody knows the end of is listed with why, looked at, made again and dismissed."""

from __future__ import annotations

import json
import sys

import pytest
from playwright.sync_api import expect

from agent import call
from conftest import too_wide, view
from harness import Gateway
from test_grants import POLICIES

SERVER = """\
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    method, ident = message.get("method"), message.get("id")
    if ident is None:
        continue
    if method == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "mail", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [{"name": "send", "inputSchema": {"type": "object"}}]}
    elif method == "tools/call":
        sys.exit(1)
    else:
        print(json.dumps({"jsonrpc": "2.0", "id": ident, "error": {"code": -32601, "message": "no"}}), flush=True)
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": ident, "result": result}), flush=True)
"""


@pytest.fixture()
def gateway(binary, tmp_path):
    server = tmp_path / "mail.py"
    server.write_text(SERVER)
    upstream = f"[upstreams.demo]\ncommand = {json.dumps([sys.executable, str(server)])}\n"
    with Gateway(binary, upstream, POLICIES, approval_wait="0s", ready_within=60) as running:
        yield running
        print(running.tail())


def test_what_failed_is_looked_at_made_again_and_dismissed(gateway, open_page):
    """R59: side effects that failed are listed with why; nothing is made again by itself."""
    told = call(gateway, "demo__send", {"to": "a<b>", "text": "hello"})
    assert told["isError"]
    page = open_page("root")
    view(page, "Dead letters")
    card = page.locator("[data-deadletter]")
    expect(card).to_have_count(1)
    expect(card).to_contain_text("demo__send")
    card.get_by_role("button", name="Show the arguments of").click()
    expect(card.locator("pre")).to_contain_text("a<b>")
    assert not too_wide(page)
    # A new call of the same agent; it fails as well, and is a dead letter of its own.
    card.get_by_role("button", name="Make call").or_(card.get_by_role("button", name="again")).first.click()
    page.get_by_role("dialog").get_by_role("button", name="Make it again").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    before = gateway.events(event_type="agent_decision")
    replays = [event for event in before if (event["detail"] or {}).get("replay_of")]
    assert len(replays) == 1, "made once"
    view(page, "Dead letters")
    one = page.locator("[data-deadletter]").first
    one.get_by_role("button", name="Dismiss").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Dismiss", exact=True).click()
    expect(dialog).to_be_visible()
    dialog.get_by_label("Why").fill("done by hand")
    dialog.get_by_role("button", name="Dismiss", exact=True).click()
    expect(dialog).to_have_count(0)
    dismissed = gateway.cli("deadletters", "list", "--all", "--json", key="key-root")
    assert "done by hand" in dismissed.stdout, dismissed.stdout + dismissed.stderr
    # Those who administer see it, and nobody else.
    other = open_page("olga")
    expect(other.get_by_role("button", name="Dead letters")).to_have_count(0)
