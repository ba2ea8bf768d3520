"""What the gateway says of itself (R46, R91): to an OTLP collector and to Prometheus, neither of which shares code with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from collector import OverGrpc, OverHttp, attributes
from harness import Gateway, GatewayError, free_port
from test_processes import agent, authority

ROOT = Path(__file__).resolve().parents[2]
SERVER, CLIENT, INTERNAL = 2, 3, 1
SECRET = "sk-live-4711-not-for-telemetry"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7"
OTHER, HTTP_PARENT = "1bf7651916cd43dd8448eb211c80319d", "10f067aa0ba902b8"
BUNDLE = {
    "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\ndefault_approvers: [leads]\n',
    "authority.yaml": authority(agent("planner")),
    "no.yaml": "name: no-erase\ndescription: d\nowner: tests\non: [{ tool: box__erase }]\n"
               "rules: [{ id: never, decision: DENY, reason: nothing is erased }]\n",
    "ask.yaml": "name: ask-store\ndescription: d\nowner: tests\non: [{ tool: box__store }]\n"
                "rules: [{ id: ask, decision: REQUIRE_APPROVAL }]\n",
}


class Box:
    """An upstream over HTTP that keeps what it is sent."""

    def __init__(self):
        self.seen: list[tuple[dict, dict]] = []
        self.begun, self.goes_on = threading.Event(), threading.Event()
        box = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):  # noqa: N802
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                method, params = asked.get("method"), asked.get("params", {})
                if method == "initialize":
                    result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}, "prompts": {}, "resources": {}},
                              "serverInfo": {"name": "box", "version": "1"}}
                elif method == "tools/list":
                    result = {"tools": [{"name": name, "inputSchema": {"type": "object"}}
                                        for name in ("look", "erase", "store", "fail", "slow")]}
                elif method == "prompts/list":
                    result = {"prompts": [{"name": "greet"}]}
                elif method == "resources/list":
                    result = {"resources": [{"uri": "box://one", "name": "one"}]}
                elif method == "resources/templates/list":
                    result = {"resourceTemplates": []}
                elif method == "tools/call":
                    if params["name"] == "slow":
                        box.begun.set()
                        box.goes_on.wait(30)
                    box.seen.append(({name.lower(): text for name, text in self.headers.items()}, params))
                    failed = params["name"] == "fail"
                    result = {"content": [{"type": "text", "text": "done"}], "isError": failed}
                elif method == "prompts/get":
                    result = {"messages": []}
                elif method == "resources/read":
                    result = {"contents": [{"uri": params["uri"], "text": "x"}]}
                elif "id" in asked:
                    return self.answer({"jsonrpc": "2.0", "id": asked["id"],
                                        "error": {"code": -32601, "message": "no such method"}})
                else:
                    return self.answer(None)
                self.answer({"jsonrpc": "2.0", "id": asked["id"], "result": result})

            def answer(self, body):
                text = b"" if body is None else json.dumps(body).encode()
                self.send_response(202 if body is None else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def do_GET(self):  # noqa: N802
                self.send_response(405)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.toml = f'[upstreams.box]\nurl = "http://127.0.0.1:{self.server.server_port}/mcp"\n'

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.goes_on.set()
        self.server.shutdown()
        self.server.server_close()


class Job:
    """An upstream of 2026-07-28 whose one tool becomes a task."""

    def __init__(self):
        self.seen: list[tuple[str, dict]] = []
        job = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):  # noqa: N802
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                method = asked["method"]
                job.seen.append((method, {name.lower(): text for name, text in self.headers.items()}))
                task = {"taskId": "job-1", "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z",
                        "ttlMs": 60000, "status": "working"}
                results = {
                    "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {
                        "tools": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}}},
                    "tools/list": {"tools": [{"name": "job", "inputSchema": {"type": "object"}}]},
                    "tools/call": {**task, "resultType": "task"},
                    "tasks/get": {**task, "resultType": "complete"},
                }
                reply = {"jsonrpc": "2.0", "id": asked["id"]}
                if method in results:
                    reply["result"] = results[method]
                else:
                    reply["error"] = {"code": -32601, "message": "no such method"}
                text = json.dumps(reply).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.toml = f'[upstreams.crm]\nurl = "http://127.0.0.1:{self.server.server_port}/mcp"\n'


def stateless(gateway: Gateway, method: str, params: dict, meta: dict | None = None) -> dict:
    """A request of 2026-07-28 by a client that takes tasks."""
    params = {**params, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
        **(meta or {})}}
    headers = {"Authorization": "Bearer key-planner", "Content-Type": "application/json",
               "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
               "Mcp-Method": method, "Mcp-Name": params.get("name") or params["taskId"]}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    request = urllib.request.Request(gateway.url, data=body.encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        text = answer.read().decode()
    lines = [line[5:] for line in text.splitlines() if line.startswith("data:")]
    return json.loads(lines[-1] if lines else text)


class Agent:
    """A client of 2025-11-25, by hand: what stands in headers and `_meta` is the test's to say."""

    def __init__(self, gateway: Gateway):
        self.gateway, self.session, self.next = gateway, None, 0
        self.request("initialize", {"protocolVersion": "2025-11-25", "capabilities": {},
                                    "clientInfo": {"name": "test", "version": "1"}})

    def request(self, method: str, params: dict, headers: dict | None = None, id=None):
        self.next += 1
        body = {"jsonrpc": "2.0", "id": id or self.next, "method": method, "params": params}
        given = {"Authorization": "Bearer key-planner", "Content-Type": "application/json",
                 "Accept": "application/json, text/event-stream", **(headers or {})}
        if self.session:
            given["Mcp-Session-Id"] = self.session
        request = urllib.request.Request(self.gateway.url, data=json.dumps(body).encode(), headers=given)
        with urllib.request.urlopen(request, timeout=20) as answer:
            self.session = answer.headers.get("Mcp-Session-Id", self.session)
            text = answer.read().decode()
        if "data:" in text:
            last = [line[5:] for line in text.splitlines() if line.startswith("data:") and line[5:].strip()][-1]
            return json.loads(last)
        return json.loads(text)

    def call(self, tool: str, meta: dict | None = None, headers: dict | None = None, id=None, **arguments):
        params = {"name": f"box__{tool}", "arguments": arguments}
        if meta:
            params["_meta"] = meta
        return self.request("tools/call", params, headers, id)


def environment(collector, **more: str) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": collector.protocol,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=acme",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_BLRP_SCHEDULE_DELAY": "100",
        **more,
    }


def named(collector, kind: int, name: str):
    return [span for span in collector.spans if span.kind == kind and span.name == name]


def decoded(span) -> dict:
    return attributes(span.attributes)


@pytest.mark.parametrize("kind", [OverHttp, OverGrpc])
def test_a_collector_gets_spans_metrics_and_logs(binary, kind):
    """R91, R46: names, kinds, parents, links, attributes, units and buckets are the conventions'."""
    with kind() as collector, Box() as box, \
            Gateway(binary, box.toml, BUNDLE, approval_wait="200ms", env=environment(collector)) as gateway:
        client = Agent(gateway)
        meta = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "own=1", "baggage": "user=7"}
        headers = {"traceparent": f"00-{OTHER}-{HTTP_PARENT}-01", "tracestate": "http=1"}
        done = client.call("look", meta, headers, id="req-1", token=SECRET, path="/a/b")
        assert done["result"]["content"][0]["text"] == "done", done
        client.call("erase", meta, token=SECRET)
        client.call("store", path="/a")
        client.call("fail")
        client.call("nothing_there")
        client.request("prompts/get", {"name": "box__greet"})
        client.request("resources/read", {"uri": "box://one"})
        server = collector.until(lambda c: named(c, SERVER, "tools/call box__look"))[0]
        told = decoded(server)
        assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, PARENT)
        assert [(link.trace_id.hex(), link.span_id.hex()) for link in server.links] == [(OTHER, HTTP_PARENT)]
        assert server.trace_state == "own=1"
        assert server.flags & 1
        expected = {
            "mcp.method.name": "tools/call", "gen_ai.tool.name": "box__look", "gen_ai.operation.name": "execute_tool",
            "mcp.session.id": client.session, "mcp.protocol.version": "2025-11-25", "jsonrpc.request.id": "req-1",
            "network.transport": "tcp", "network.protocol.name": "http", "tollgate.agent.id": "planner",
            "tollgate.decision": "allow", "tollgate.policy.id": "default",
        }
        assert {key: told.get(key) for key in expected} == expected, told
        assert "error.type" not in told and server.status.code == 0
        asked = named(collector, CLIENT, "tools/call look")[0]
        assert (asked.trace_id.hex(), asked.parent_span_id) == (TRACE, server.span_id)
        client_told = decoded(asked)
        expected = {"mcp.method.name": "tools/call", "gen_ai.tool.name": "look", "network.transport": "tcp",
                    "mcp.protocol.version": "2025-11-25", "tollgate.upstream": "box", "gen_ai.operation.name": "execute_tool",
                    "server.address": "127.0.0.1", "server.port": box.server.server_port}
        assert {key: client_told.get(key) for key in expected} == expected, client_told
        assert client_told["jsonrpc.request.id"].isdigit()
        assert server.start_time_unix_nano <= asked.start_time_unix_nano <= asked.end_time_unix_nano <= server.end_time_unix_nano
        # The upstream stands below the CLIENT span, in `_meta` and in the header.
        got_headers, got = box.seen[0]
        below = f"00-{TRACE}-{asked.span_id.hex()}-01"
        assert got["_meta"]["traceparent"] == below == got_headers["traceparent"], got
        assert got["_meta"]["tracestate"] == "own=1" == got_headers["tracestate"]
        assert got["_meta"]["baggage"] == "user=7" == got_headers["baggage"]
        # A refusal failed, and asked nobody.
        refused = collector.until(lambda c: named(c, SERVER, "tools/call box__erase"))[0]
        told = decoded(refused)
        assert (told["error.type"], told["tollgate.decision"], told["tollgate.policy.id"]) == ("tool_error", "deny", "no-erase")
        assert refused.status.code == 2
        children = [span for span in collector.spans if span.parent_span_id == refused.span_id]
        assert {span.kind for span in children} == {INTERNAL}, children
        assert {span.name for span in children} == {"tollgate.decide"}
        # A person who was waited for.
        waited = collector.until(lambda c: named(c, INTERNAL, "tollgate.approval"))[0]
        assert waited.end_time_unix_nano - waited.start_time_unix_nano >= 150_000_000
        # Nobody has decided it: it can still be approved.
        assert decoded(waited)["tollgate.approval.outcome"] == "pending"
        # A tool's own failure, a tool that is not there, a prompt and a resource.
        failed = collector.until(lambda c: named(c, CLIENT, "tools/call fail"))[0]
        assert decoded(failed)["error.type"] == "tool_error"
        unknown = [span for span in collector.until(lambda c: named(c, SERVER, "tools/call"))
                   if decoded(span).get("gen_ai.tool.name") == "box__nothing_there"][0]
        assert (decoded(unknown)["error.type"], decoded(unknown)["rpc.response.status_code"]) == ("-32602", "-32602")
        prompt = collector.until(lambda c: named(c, SERVER, "prompts/get box__greet"))[0]
        assert decoded(prompt)["gen_ai.prompt.name"] == "box__greet"
        read = collector.until(lambda c: named(c, SERVER, "resources/read"))[0]
        assert decoded(read)["mcp.resource.uri"].endswith("box://one")
        # Requests that are no calls have their spans too.
        begun = collector.until(lambda c: named(c, SERVER, "initialize"))[0]
        assert decoded(begun)["mcp.protocol.version"] == "2025-11-25" and not begun.parent_span_id
        # Metrics: names, units, buckets.
        point = collector.until(lambda c: c.metrics.get("mcp.server.operation.duration"))
        assert (point.unit, point.WhichOneof("data")) == ("s", "histogram")
        bounds = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300]
        assert all(list(one.explicit_bounds) == bounds for one in point.histogram.data_points)
        looked = collector.until(lambda c: [
            one for one in c.metrics["mcp.server.operation.duration"].histogram.data_points
            if attributes(one.attributes).get("gen_ai.tool.name") == "box__look"])[0]
        assert looked.count == 1 and attributes(looked.attributes)["mcp.method.name"] == "tools/call"
        assert collector.metrics["mcp.client.operation.duration"].unit == "s"
        calls = collector.until(lambda c: [
            one for one in c.metrics["tollgate.calls"].sum.data_points
            if attributes(one.attributes) == {"kind": "tool", "upstream": "box", "decision": "deny"}])[0]
        assert calls.as_double == 1 and collector.metrics["tollgate.calls"].sum.is_monotonic
        collector.until(lambda c: any(
            attributes(one.attributes) == {"upstream": "box"} and one.as_double == 1
            for one in getattr(c.metrics.get("tollgate.upstream.up"), "gauge", None).data_points)
            if "tollgate.upstream.up" in c.metrics else False)
        collector.until(lambda c: "tollgate.alerts.open" in c.metrics and {"kind": "loop"} in [
            attributes(one.attributes) for one in c.metrics["tollgate.alerts.open"].gauge.data_points])
        off = collector.until(lambda c: c.metrics.get("tollgate.estimate.error"))
        assert (off.unit, off.WhichOneof("data")) == ("1", "histogram")
        assert list(off.histogram.data_points[0].explicit_bounds) == [0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10]
        # Logs: one line a call, with its trace and span.
        def line(c):
            return [one for one in c.lines if one.body.string_value == "call.decided" and one.span_id == server.span_id]
        said = collector.until(line)[0]
        assert (said.trace_id.hex(), said.severity_text) == (TRACE, "INFO")
        fields = attributes(said.attributes)
        assert (fields["agent.id"], fields["tool"], fields["decision"], fields["policy.id"]) == \
            ("planner", "box__look", "allow", "default"), fields
        # Who says it, and what for.
        assert all(headers.get("x-tenant") == "acme" for headers in collector.headers)
        assert all(one["service.name"] == "tollgate" and one["deployment.environment.name"] == "test"
                   for one in collector.resources)
        # No argument's value anywhere (I5).
        everything = "".join(map(str, collector.spans + collector.lines + list(collector.metrics.values())))
        assert SECRET not in everything
        # The end flushes: the last call's span and a line of the end come with SIGTERM, whatever the delays.
    with kind() as collector, Box() as box:
        slow = environment(collector, OTEL_BSP_SCHEDULE_DELAY="3600000", OTEL_BLRP_SCHEDULE_DELAY="3600000",
                           OTEL_METRIC_EXPORT_INTERVAL="3600000")
        with Gateway(binary, box.toml, BUNDLE, env=slow) as gateway:
            Agent(gateway).call("look")
            assert not collector.spans and not collector.metrics
            gateway.stop()
            assert gateway.process.returncode == 0
            assert named(collector, SERVER, "tools/call box__look"), "the span is flushed at SIGTERM"
            assert "mcp.server.session.duration" in collector.metrics, sorted(collector.metrics)
            assert any(one.body.string_value == "call.decided" for one in collector.lines)


def test_requests_about_a_task_have_both_spans(binary):
    """What is asked about a task is asked of its upstream below the client's request, in the trace that this names, else in the call's."""
    job = Job()
    with OverHttp() as collector, Gateway(binary, job.toml, BUNDLE, env=environment(collector)) as gateway:
        made = stateless(gateway, "tools/call", {"name": "crm__job", "arguments": {}},
                         {"traceparent": f"00-{TRACE}-{PARENT}-01"})["result"]
        assert made["resultType"] == "task", made
        stateless(gateway, "tasks/get", {"taskId": made["taskId"]})
        stateless(gateway, "tasks/get", {"taskId": made["taskId"]}, {"traceparent": f"00-{OTHER}-{HTTP_PARENT}-01"})
        asked = collector.until(lambda c: len(named(c, CLIENT, "tasks/get")) == 2 and named(c, CLIENT, "tasks/get"))
        servers = collector.until(lambda c: len(named(c, SERVER, "tasks/get")) == 2 and named(c, SERVER, "tasks/get"))
        for span, server, trace in zip(asked, servers, (TRACE, OTHER)):
            assert (span.trace_id.hex(), span.parent_span_id) == (trace, server.span_id)
            assert server.trace_id.hex() == trace
            told = decoded(span)
            assert (told["mcp.method.name"], told["tollgate.upstream"], told["mcp.protocol.version"]) == \
                ("tasks/get", "crm", "2026-07-28"), told
        got = [headers["traceparent"] for method, headers in job.seen if method == "tasks/get"]
        assert got == [f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01" for span in asked]


def test_baggage_comes_in_a_header_and_goes_on(binary):
    """R46: trace and baggage of the HTTP request go on where `_meta` has none, in `_meta` and as headers; without a collector too."""
    with Box() as box, Gateway(binary, box.toml, BUNDLE) as gateway:
        client = Agent(gateway)
        headers = {"traceparent": f"00-{OTHER}-{HTTP_PARENT}-01", "tracestate": "http=1", "baggage": "user=9,k=v"}
        client.call("look", headers=headers)
        client.call("look", {"baggage": "user=7"}, headers)
        client.call("look")
        (first_headers, first), (second_headers, second), (third_headers, third) = box.seen
        assert first["_meta"]["traceparent"].startswith(f"00-{OTHER}-") and first["_meta"]["traceparent"].endswith("-01")
        assert (first["_meta"]["tracestate"], first["_meta"]["baggage"]) == ("http=1", "user=9,k=v")
        assert (first_headers["tracestate"], first_headers["baggage"]) == ("http=1", "user=9,k=v")
        assert first_headers["traceparent"] == first["_meta"]["traceparent"]
        assert second["_meta"]["baggage"] == "user=7" == second_headers["baggage"], "`_meta` comes first"
        assert "baggage" not in third.get("_meta", {}) and "baggage" not in third_headers


@pytest.mark.parametrize(("drain", "cut"), [("20s", 0), ("1s", 1)])
def test_the_log_tells_of_the_drain(binary, drain, cut):
    """SIGTERM: how many calls are in flight, and how many of them were cut; those that may finish do."""
    with Box() as box, Gateway(binary, box.toml, BUNDLE) as gateway:
        text = gateway.config.read_text()
        gateway.stop()
        gateway.config.write_text(text.replace("[gateway]", f"[gateway]\ndrain = \"{drain}\"", 1))
        gateway.start()
        client, replies = Agent(gateway), []
        def call():
            try:
                replies.append(client.call("slow")["result"]["isError"])
            except (OSError, ValueError):
                replies.append(None)
        calling = threading.Thread(target=call)
        calling.start()
        assert box.begun.wait(20)
        gateway.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 20
        while "drain.begins" not in gateway.tail(100) or "in_flight=1" not in gateway.tail(100):
            assert time.monotonic() < until, gateway.tail()
            time.sleep(0.05)
        if not cut:
            box.goes_on.set()
        assert gateway.process.wait(30) == 0
        box.goes_on.set()
        calling.join(20)
        told = gateway.tail(1000)
        assert f"cut={cut}" in [line for line in told.splitlines() if "drain.ended" in line][-1], told
        # What was cut is answered as an error, which says so.
        assert replies == [bool(cut)]


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
def test_a_session_over_stdio_is_measured(binary, version):
    """Over stdio the connection is the session, in either era; that at the upstream ends with it."""
    with OverHttp() as collector, Box() as box, Gateway(binary, box.toml, BUNDLE) as gateway:
        gateway.stop()
        meta = {"io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"}}
        asked = {"method": "initialize", "params": {"protocolVersion": version, "capabilities": {},
                                                    "clientInfo": meta["io.modelcontextprotocol/clientInfo"]}}
        if version == "2026-07-28":
            asked = {"method": "tools/list", "params": {"_meta": meta}}
        line = json.dumps({"jsonrpc": "2.0", "id": 1, **asked}) + "\n"
        process = subprocess.Popen(
            [gateway.binary, "stdio", "--agent", "planner", "--config", str(gateway.config)], cwd=gateway.folder,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, **environment(collector)})
        # The list waits for the upstream: there is a session at it then.
        then = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {"_meta": meta} if version == "2026-07-28" else {}}
        process.stdin.write((line + json.dumps(then) + "\n").encode())
        process.stdin.flush()
        while not ("result" in (got := json.loads(process.stdout.readline())) and got["id"] == 2):
            assert "error" not in got, got
        process.stdin.close()
        assert process.wait(30) == 0
        def sessions(side):
            found = collector.until(lambda c: c.metrics.get(f"mcp.{side}.session.duration"))
            return [(attributes(one.attributes), one.count) for one in found.histogram.data_points]
        assert sessions("server") == [({"network.transport": "pipe", "mcp.protocol.version": version}, 1)]
        assert sessions("client") == [({"network.transport": "tcp", "tollgate.upstream": "box",
                                        "mcp.protocol.version": "2025-11-25"}, 1)]


def test_sampling_follows_the_parent_and_the_variable(binary):
    """A parent that is not recorded is not, the upstream is told so; and OTEL_TRACES_SAMPLER says what of the rest is."""
    with OverHttp() as collector, Box() as box, \
            Gateway(binary, box.toml, BUNDLE, env=environment(collector, OTEL_TRACES_SAMPLER="parentbased_always_off")) as gateway:
        client = Agent(gateway)
        client.call("look", {"traceparent": f"00-{OTHER}-{PARENT}-00"})
        client.call("look")
        client.call("look", {"traceparent": f"00-{TRACE}-{PARENT}-01"})
        span = collector.until(lambda c: named(c, SERVER, "tools/call box__look"))
        assert [one.trace_id.hex() for one in span] == [TRACE]
        flags = [params["_meta"]["traceparent"].rsplit("-", 1)[1] for _, params in box.seen]
        assert flags == ["00", "00", "01"]
        assert box.seen[0][1]["_meta"]["traceparent"].startswith(f"00-{OTHER}-")


def test_a_collector_that_is_away_costs_nothing(binary):
    """Calls go on, what is lost is counted, and the log says it once."""
    with socket.create_server(("127.0.0.1", 0)) as silent, Box() as box:
        # It takes connections and never answers.
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
               "OTEL_EXPORTER_OTLP_TIMEOUT": "300", "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_BSP_MAX_QUEUE_SIZE": "16",
               "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16", "OTEL_METRIC_EXPORT_INTERVAL": "200"}
        with Gateway(binary, box.toml, BUNDLE, env=env) as gateway:
            client = Agent(gateway)
            for n in range(40):
                assert client.call("look", n=n)["result"]["isError"] is False
            until = time.monotonic() + 20
            while not (lost := value_of(scrape(gateway), "tollgate_otlp_dropped_total", signal="spans")):
                assert time.monotonic() < until
                time.sleep(0.1)
            assert lost > 0
            gateway.stop()
            told = gateway.tail(10_000)
            assert gateway.process.returncode == 0 and 1 <= told.count("otlp.not_taken") <= 2, told


def test_a_wrong_variable_is_said_at_the_start(binary):
    with Box() as box, pytest.raises(GatewayError, match="expected `grpc` or `http/protobuf`"):
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}
        with Gateway(binary, box.toml, BUNDLE, env=env):
            pass


def test_the_endpoint_of_servers_toml(binary):
    with OverHttp() as collector, Box() as box:
        toml = f'[otel]\nendpoint = "{collector.endpoint}"\n{box.toml}'
        env = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
        with Gateway(binary, toml, BUNDLE, env=env) as gateway:
            Agent(gateway).call("look")
            collector.until(lambda c: named(c, SERVER, "tools/call box__look"))


def scrape(gateway: Gateway, accept: str = "text/plain", key: str | None = None) -> str:
    headers = {"Accept": accept, **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(f"{gateway.admin}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def value_of(text: str, name: str, **labels: str) -> float | None:
    for line in text.splitlines():
        if line.startswith(name) and all(f'{key}="{value}"' in line for key, value in labels.items()):
            return float(line.split(" # ")[0].rsplit(" ", 1)[1])
    return None


def prometheus() -> str:
    program = shutil.which("prometheus")
    if program:
        return program
    if os.environ.get("CI") == "true":
        pytest.fail("`prometheus` is not on the PATH: .ci/setup installs Debian's package")
    pytest.skip("`prometheus` is not on the PATH: the board's queries are not tried")


class Prometheus:
    """A real one, scraping a gateway."""

    def __init__(self, gateway: Gateway, folder: Path):
        self.port = free_port()
        config = folder / "prometheus.yml"
        target = gateway.admin.removeprefix("http://")
        config.write_text(f"""\
global: {{ scrape_interval: 1s, scrape_timeout: 1s }}
scrape_configs:
  - job_name: tollgate
    static_configs: [{{ targets: ["{target}"] }}]
""")
        self.process = subprocess.Popen(
            [prometheus(), f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
             f"--web.listen-address=127.0.0.1:{self.port}", "--enable-feature=exemplar-storage"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def api(self, path: str, **query: str):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {query}: {error.read().decode()}") from error
        except OSError:
            return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


def queries(board: dict):
    """Title and query of each panel."""
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def test_the_board_has_data_in_a_real_prometheus(binary, tmp_path):
    """Each query of the Grafana board returns data after some traffic, and exemplars are kept."""
    board = json.loads((ROOT / "examples/grafana/tollgate.json").read_text())
    found = list(queries(board))
    assert len(found) >= 15
    with Box() as box, Gateway(binary, box.toml, BUNDLE, approval_wait="50ms") as gateway:
        with Prometheus(gateway, tmp_path) as server:
            until = time.monotonic() + 60
            left = dict(enumerate(found))
            assert server.process.poll() is None, "prometheus ended"
            client, n = Agent(gateway), 0
            while left:
                for tool in ("look", "erase", "fail"):
                    client.call(tool, {"traceparent": f"00-{TRACE}-{PARENT}-01"})
                waiting = client.call("store", path=f"/a/{n}")["result"]["_meta"]["tollgate/decision"]["approval_id"]
                status, _ = gateway.api(f"approvals/{waiting}/decision", "key-alice", {"decision": "approve"})
                assert status == 200
                if n == 0:
                    assert gateway.api("me", "nobody's")[0] == 401
                n += 1
                for at, (_, expr) in list(left.items()):
                    query = re.sub(r"\$__rate_interval", "5s", expr).replace("$upstream", ".*").replace("$agent", ".*")
                    answer = server.api("query", query=query)
                    values = [one["value"][1] for one in (answer or {}).get("result", [])]
                    if any(value != "NaN" for value in values):
                        del left[at]
                assert time.monotonic() < until, f"without data: {list(left.values())}"
                time.sleep(0.3)
            kept = server.api("query_exemplars", query="tollgate_call_duration_seconds_bucket",
                              start=str(time.time() - 300), end=str(time.time() + 1))
            assert any(one["labels"]["trace_id"] == TRACE for series in kept for one in series["exemplars"]), kept
            # What it scraped is well formed, by its own word.
            while True:
                health = server.api("targets")["activeTargets"][0]
                if (health["health"], health["lastError"]) == ("up", ""):
                    break
                assert time.monotonic() < until, health
                time.sleep(0.3)


def test_promtool_finds_nothing_wrong(binary):
    program = shutil.which("promtool")
    if not program:
        prometheus()
    with Box() as box, Gateway(binary, box.toml, BUNDLE) as gateway:
        client = Agent(gateway)
        client.call("look")
        client.call("erase")
        done = subprocess.run([program, "check", "metrics"], input=scrape(gateway), capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr.strip(), done.stderr
