"""Alerts over the real gateway: raised from its own record, answered by command and API, once whatever is killed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness import Gateway, digest
from test_delivery import SECRET
from test_telemetry import scrape, value_of

KINDS = ["deny_rate", "cost_spike", "approval_sla", "budget", "upstream_down", "quarantine", "loop", "integrity",
         "missing_metadata", "deny_drop", "failures", "duty"]
POLICIES = {
    "bundle.yaml": """\
version: "1"
owner: tests
default_decision: ALLOW
alerts:
  window: 1s
  upstream_down: { after: 1s }
  duties: [{ name: drill, every: 1h }]
  incidents: { kinds: [deny_rate, upstream_down], sla: 1h }
audit: { sample: 100% }
""",
    "authority.yaml": """\
capabilities:
  everything: { tools: ["demo__*"] }
agents:
  writer: { owner: notes-team, role: batch, workflow: night, capabilities: [everything], keys: ["%s"] }
people:
  olga: { keys: ["%s"], groups: [], roles: [auditor] }
  root: { keys: ["%s"], groups: [], roles: [admin] }
workflows:
  night: { owner: notes-team }
""" % tuple(digest(f"key-{name}") for name in ["writer", "olga", "root"]),
    "notes.yaml": """\
name: no-notes
description: Nobody writes notes
owner: notes-team
on: [{ tool: demo__note_write }]
rules:
  - { id: no, decision: DENY, reason: "No notes" }
""",
}
UPSTREAMS = """\
[upstreams.demo]
command = ["tollgate", "demo-upstream"]

[upstreams.gone]
command = ["/does/not/exist"]
"""


@pytest.fixture()
def gateway(request):
    with Gateway(request.config.getoption("--gateway"), UPSTREAMS, POLICIES, ready_within=60) as running:
        yield running
        print(running.tail())


def call(gateway: Gateway, tool: str, arguments: dict) -> dict:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                       "params": {"name": tool, "arguments": arguments, "_meta": meta}})
    headers = {"Authorization": "Bearer key-writer", "Content-Type": "application/json",
               "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
               "Mcp-Method": "tools/call", "Mcp-Name": tool}
    request = urllib.request.Request(gateway.url, data=body.encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return {"text": answer.read().decode()}


def listed(gateway: Gateway, *more: str) -> list[dict]:
    done = gateway.cli("alerts", "list", "--json", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["alerts"]


def until(gateway: Gateway, wanted, what: str) -> list[dict]:
    """The alerts, once they are as wanted."""
    end = time.monotonic() + 30
    while True:
        found = listed(gateway)
        if wanted(found):
            return found
        assert time.monotonic() < end, f"{what}: {json.dumps(found, indent=1)}"
        time.sleep(0.1)


def test_an_alert_is_raised_answered_and_tunes_the_next(gateway):
    """R48, R51: refusals beyond what is usual are told, with state over a kill, and people's words count."""
    for number in range(20):
        call(gateway, "demo__note_write", {"path": f"/n{number}", "text": "x"})
    found = until(gateway, lambda all: any(one["kind"] == "deny_rate" and one["agent"] == "writer" for one in all), "deny_rate")
    assert {one["kind"] for one in found} <= set(KINDS)
    (one,) = [alert for alert in found if alert["kind"] == "deny_rate" and alert["agent"] == "writer"]
    assert one["status"] == "open" and "refused" in one["reason"], one
    counted = lambda: value_of(scrape(gateway), "tollgate_alerts_open", kind="deny_rate")  # noqa: E731
    assert counted() >= 1 and value_of(scrape(gateway), "tollgate_alerts_open", kind="integrity") == 0
    alerts = [event for event in gateway.events(event_type="alert") if event["detail"].get("alert_id") == one["id"]]
    assert len(alerts) == 1 and alerts[0]["agent_id"] == "writer", alerts
    # Killed, it is as it was, and nothing is raised again.
    gateway.kill()
    gateway.start()
    assert gateway.cli("alerts", "ack", one["id"]).returncode == 1, "the local admin does not do"
    acked = gateway.cli("alerts", "ack", one["id"], "--note", "looked at", "--json", key="key-root")
    assert acked.returncode == 0 and json.loads(acked.stdout)["status"] == "acked", acked.stderr
    still = [alert for alert in listed(gateway, "--status", "open") if alert["kind"] == "deny_rate"]
    end = time.monotonic() + 20
    while counted() != len(still):
        assert time.monotonic() < end, (counted(), still)
        time.sleep(0.1)
    status, refused = gateway.api(f"alerts/{one['id']}", "key-olga", {"action": "false"})
    assert status == 403, refused
    status, refused = gateway.api(f"alerts/{one['id']}", "key-root", {"action": "dismiss"})
    assert status == 400, refused
    status, _ = gateway.api("alerts/alert-0", "key-root", {"action": "ack"})
    assert status == 404
    status, said = gateway.api(f"alerts/{one['id']}", "key-root", {"action": "false", "note": "month end"})
    assert (status, said["status"], said["note"]) == (200, "false", "month end"), said
    status, page = gateway.api("alerts?status=false&kind=deny_rate&limit=1", "key-olga")
    assert status == 200 and [alert["id"] for alert in page["alerts"]] == [one["id"]], page
    assert page["tunings"][0]["factor"] > 1, page
    same_members(gateway, "Alert", page["alerts"][0])
    same_members(gateway, "AlertTuning", page["tunings"][0])
    again = [event for event in gateway.events(event_type="alert") if event["detail"].get("subject") == "agent:writer"]
    assert len(again) == 1, again
    said = [event for event in gateway.events(event_type="admin_action") if event["action"] == "alert"]
    assert [event["detail"]["after"] for event in said if event["detail"]["person"] == "root"] == ["acked", "false"]
    assert gateway.cli("audit", "verify").returncode == 0


class Hook:
    """A webhook that holds each request to its signature."""

    def __init__(self):
        self.told: list[dict] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):  # noqa: N802
                body = self.rfile.read(int(self.headers["Content-Length"]))
                signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
                right = base64.b64encode(hmac.digest(SECRET.encode(), signed, hashlib.sha256)).decode()
                if self.headers["webhook-signature"] == f"v1,{right}":
                    hook.told.append(json.loads(body))
                self.send_response(204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.toml = f'[webhook]\nurl = "http://127.0.0.1:{self.server.server_port}/hook"\nsecret = "{SECRET}"\n'


def test_each_kind_of_alert_is_told_to_the_webhook(binary):
    """R48: an alert goes to the webhook as asks do, whatever its kind, and no argument with it."""
    hook = Hook()
    budgets = "budgets: [{ id: calls, scope: agent, window: day, max_calls: 60, alert_at: [5], on_exceed: deny }]\n"
    with Gateway(binary, hook.toml + UPSTREAMS, {**POLICIES, "budgets.yaml": budgets}, ready_within=60) as gateway:
        for number in range(20):
            call(gateway, "demo__note_write", {"path": f"/n{number}", "text": "not for the hook"})
        for _ in range(30):
            call(gateway, "demo__notes_list", {})
        wanted = {"deny_rate", "upstream_down", "loop", "budget"}
        # Refusals that repeat one another are recorded after a minute.
        end = time.monotonic() + 100
        while not wanted <= {one["alert"] for one in hook.told}:
            assert time.monotonic() < end, hook.told
            time.sleep(0.1)
        (one, *_) = [one for one in hook.told if one["alert"] == "deny_rate" and one["agent_id"] == "writer"]
        assert (one["type"], one["severity"]) == ("alert", "medium") and "refused" in one["reason"], one
        assert one["alert_id"] in {alert["id"] for alert in listed(gateway)}
        assert one["link"] == f"{gateway.admin}/#/alerts", one
        (down, *_) = [one for one in hook.told if one["alert"] == "upstream_down"]
        assert down["upstream"] == "gone", down
        assert "not for the hook" not in json.dumps(hook.told)


def test_a_server_that_is_down_opens_an_incident(gateway):
    """R81, R82, R83: an incident with its timeline, a duty, and the sample."""
    until(gateway, lambda all: any(one["kind"] == "upstream_down" for one in all), "upstream_down")
    status, found = gateway.api("incidents", "key-olga")
    (incident,) = [one for one in found["incidents"] if one["upstream"] == "gone"]
    status, whole = gateway.api(f"incidents/{incident['id']}", "key-olga")
    assert status == 200 and any(record["event_type"] == "alert" for record in whole["timeline"]), whole
    closed = gateway.cli("incidents", "close", incident["id"], "--note", "it was never there", key="key-root")
    assert closed.returncode == 0, closed.stderr
    shown = json.loads(gateway.cli("incidents", "show", incident["id"], "--json").stdout)
    assert (shown["status"], shown["by"]) == ("closed", "root")
    assert gateway.api(f"incidents/{incident['id']}", "key-root", {"action": "close", "note": "again"})[0] == 409
    done = gateway.cli("duties", "done", "drill", "--note", "done", "--json", key="key-root")
    assert json.loads(done.stdout)["by"] == "root", done.stderr
    assert gateway.api("duties", "key-olga")[1]["duties"][0]["late"] is False
    call(gateway, "demo__notes_list", {})
    until_sampled = time.monotonic() + 20
    while not (samples := json.loads(gateway.cli("audit", "sample", "list", "--json").stdout)["samples"]):
        assert time.monotonic() < until_sampled
        time.sleep(0.1)
    call_id = samples[0]["call_id"]
    reviewed = gateway.cli("audit", "sample", "review", call_id, "--finding", "ok", key="key-olga")
    assert reviewed.returncode == 0, reviewed.stderr
    status, whole = gateway.api("samples?status=all", "key-olga")
    assert whole["samples"][0]["review"]["by"] == "olga", whole
    drift = json.loads(gateway.cli("report", "drift", "--json").stdout)
    assert [row["agent"] for row in drift["agents"]] == ["writer"] and "Jensen-Shannon" in drift["measure"]
    assert gateway.api("report/drift", "key-olga")[1]["partial"] is False
    same_members(gateway, "AgentDrift", drift["agents"][0])
    same_members(gateway, "SampledCall", whole["samples"][0])
    same_members(gateway, "Incident", gateway.api("incidents", "key-olga")[1]["incidents"][0])
    same_members(gateway, "Duty", gateway.api("duties", "key-olga")[1]["duties"][0])


def same_members(gateway: Gateway, schema: str, sent: dict) -> None:
    """Every member that is sent is documented, and every documented one is sent."""
    document = gateway.api("openapi.json", "key-olga")[1]
    assert sorted(document["components"]["schemas"][schema]["properties"]) == sorted(sent), schema


def test_nothing_is_told_to_who_has_no_key(gateway):
    for path, body in [("alerts", None), ("incidents", None), ("duties", None), ("samples", None), ("alerts/x", b"{}")]:
        request = urllib.request.Request(f"{gateway.admin}/api/v1/{path}", data=body)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code == 401, path
