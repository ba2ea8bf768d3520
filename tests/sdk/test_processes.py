"""Several processes on one store, people who decide from elsewhere, keys that go, and a gateway that is killed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from client import DECISION, ERAS, User, decision, over_http, over_stdio, said
from harness import Gateway, digest
from test_upstreams import MODULES

UPSTREAMS = """
[upstreams.demo]
command = ["tollgate", "demo-upstream"]
trust_annotations = true
[upstreams.demo.tools.note_write]
labels = ["write"]
"""

AGENT = """\
  {name}:
    owner: tests
    {more}
    capabilities: [all]
    keys: ["{digest}"]
"""

AUTHORITY = """\
capabilities:
  all: {{ tools: ["*"], resources: ["*"], prompts: ["*"] }}
people:
  alice: {{ keys: ["{alice}"], groups: [leads], roles: [approver] }}
  carol: {{ keys: ["{carol}"], groups: [], roles: [admin] }}
  olga: {{ keys: ["{olga}"], groups: [], roles: [approver] }}
agents:
{agents}"""


def authority(agents: str) -> str:
    return AUTHORITY.format(alice=digest("key-alice"), carol=digest("key-carol"), olga=digest("key-olga"), agents=agents)


def agent(name: str, more: str = "type: script") -> str:
    return AGENT.format(name=name, more=more, digest=digest(f"key-{name}"))


BUNDLE = {
    "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\ndefault_approvers: [leads]\n',
    "writes.yaml": """\
name: writes
description: Each write is asked for
owner: tests
on:
  - label: write
rules:
  - id: with-evidence
    condition: "within(args.path, '/archive')"
    decision: REQUIRE_APPROVAL
    evidence_required: true
  - id: ask
    decision: REQUIRE_APPROVAL
""",
}


def run(test, within: float = 60):
    asyncio.run(asyncio.wait_for(test(), within))


async def pending(gateway: Gateway, path: str) -> dict:
    """The pending approval of a write to `path`, as soon as there is one."""
    for _ in range(200):
        status, found = await asyncio.to_thread(gateway.api, "approvals?status=pending", "key-alice")
        assert status == 200, found
        items = found if isinstance(found, list) else found["approvals"]
        for item in items:
            if item["arguments"].get("path") == path:
                return item
        await asyncio.sleep(0.05)
    raise AssertionError(f"no approval of {path} is pending")


@pytest.fixture(scope="module")
def patient(binary):
    """A gateway that waits long enough for a person elsewhere."""
    bundle = {**BUNDLE, "authority.yaml": authority(agent("scribe") + agent("clerk"))}
    with Gateway(binary, UPSTREAMS, bundle, approval_wait="40s") as running:
        yield running
        print(running.tail())


@pytest.fixture(scope="module")
def hasty(binary):
    """A gateway that soon answers `pending_approval`."""
    bundle = {**BUNDLE, "authority.yaml": authority(agent("scribe"))}
    with Gateway(binary, UPSTREAMS, bundle, approval_wait="200ms") as running:
        yield running
        print(running.tail())


@pytest.mark.parametrize("era", ERAS)
def test_another_process_wakes_a_waiting_call(patient, era):
    """R22, I10: `tollgate approvals approve` in a process of its own."""
    async def body():
        path = f"/scratch/cli-{era}.md"
        seen = []

        async def progress(done, _total, message):
            seen.append((done, message))

        async with over_http(patient.url, "key-scribe", era) as client:
            call = asyncio.create_task(client.call_tool("demo__note_write", {"path": path, "text": "x"},
                                                        progress_callback=progress))
            waiting = await pending(patient, path)
            done = await asyncio.to_thread(patient.cli, "approvals", "approve", waiting["id"], key="key-carol")
            assert done.returncode != 0, "an admin is no approver"
            done = await asyncio.to_thread(patient.cli, "approvals", "approve", waiting["id"])
            assert done.returncode != 0, "nobody decides without a key"
            assert not call.done()
            done = await asyncio.to_thread(patient.cli, "approvals", "approve", waiting["id"], key="key-alice")
            assert done.returncode == 0, done.stderr
            result = await call
        assert not result.is_error and result.structured_content["revision"] == 1
        assert seen and waiting["id"] in seen[0][1]
    run(body)


def test_serve_decides_what_waits_in_stdio(patient):
    """I10: two gateways on one store."""
    async def body():
        path = "/scratch/other-process.md"
        command = [patient.binary, "stdio", "--agent", "clerk", "--config", str(patient.config)]
        async with over_stdio(command, "legacy") as client:
            call = asyncio.create_task(client.call_tool("demo__note_write", {"path": path, "text": "x"}))
            waiting = await pending(patient, path)
            status, decided = await asyncio.to_thread(
                patient.api, f"approvals/{waiting['id']}/decision", "key-alice", {"decision": "approve"})
            assert (status, decided["status"]) == (200, "approved")
            result = await call
        assert not result.is_error
        assert patient.cli("audit", "verify").returncode == 0
    run(body)


def test_one_approval_is_one_dispatch(hasty):
    """I4: the same call again is dispatched once, and the third asks anew."""
    async def body():
        call = ("demo__note_write", {"path": "/scratch/once.md", "text": "x"})
        async with over_http(hasty.url, "key-scribe", "legacy") as client:
            first = decision(await client.call_tool(*call))
            repeated = decision(await client.call_tool(*call))
            assert first["decision"] == repeated["decision"] == "pending_approval"
            assert first["approval_id"] == repeated["approval_id"]
            done = await asyncio.to_thread(hasty.cli, "approvals", "approve", first["approval_id"], key="key-alice")
            assert done.returncode == 0, done.stderr
            # Many at once: one of them uses the approval.
            results = await asyncio.gather(*(client.call_tool(*call) for _ in range(8)))
            assert sorted(result.is_error for result in results) == [False] + [True] * 7
            asked = {decision(result)["approval_id"] for result in results if result.is_error}
            assert len(asked) == 1 and first["approval_id"] not in asked
    run(body)


def test_the_api_says_why_not(hasty):
    """SPEC 12: 401, 403, 404, 409, 422."""
    async def body():
        async with over_http(hasty.url, "key-scribe", "legacy") as client:
            waiting = decision(await client.call_tool("demo__note_write", {"path": "/archive/a.md", "text": "x"}))
            approval = waiting["approval_id"]
            path = f"approvals/{approval}/decision"

            def check(key: str, body: dict, expect: int, at: str = path) -> dict:
                status, told = hasty.api(at, key, body)
                assert status == expect, told
                return told

            yes = {"decision": "approve"}
            check("key-of-nobody", yes, 401)
            check("key-scribe", yes, 403)
            check("key-carol", yes, 403)
            check("key-olga", {**yes, "evidence": "T-1"}, 403)
            check("key-alice", yes, 404, "approvals/no-such-approval/decision")
            check("key-alice", yes, 422)
            check("key-alice", {**yes, "evidence": "  "}, 422)
            check("key-alice", {"decision": "perhaps"}, 400)
            told = check("key-alice", {**yes, "evidence": "T-1", "comment": "fine"}, 200)
            assert told["status"] == "approved"
            check("key-alice", {"decision": "reject"}, 409)
            done = await client.call_tool("demo__note_write", {"path": "/archive/a.md", "text": "x"})
            assert not done.is_error
            status, shown = hasty.api(f"approvals/{approval}", "key-alice")
            assert (status, shown["status"]) == (200, "consumed")
            trace = hasty.cli("audit", "show", waiting["trace_id"])
            assert "T-1" in trace.stdout and "alice" in trace.stdout, trace.stdout + trace.stderr
    run(body)


def test_a_rejection_ends_a_waiting_call(patient):
    async def body():
        path = "/scratch/rejected.md"
        async with over_http(patient.url, "key-scribe", "legacy") as client:
            call = asyncio.create_task(client.call_tool("demo__note_write", {"path": path, "text": "x"}))
            waiting = await pending(patient, path)
            done = await asyncio.to_thread(patient.cli, "approvals", "reject", waiting["id"],
                                           "--comment", "not in May", key="key-alice")
            assert done.returncode == 0, done.stderr
            refused = await call
        assert decision(refused)["decision"] == "rejected"
        assert "not in May" in said(refused)
    run(body)


@pytest.mark.parametrize("era", ERAS)
def test_a_removed_key_ends_a_live_session(binary, era):
    """SPEC 3: at the next message; other agents go on."""
    bundle = {**BUNDLE, "authority.yaml": authority(agent("goes") + agent("stays"))}
    with Gateway(binary, UPSTREAMS, bundle) as gateway:
        async def body():
            read = ("demo__notes_read", {"path": "/notes/welcome.md"})
            async with over_http(gateway.url, "key-stays", era) as other:
                with pytest.raises(Exception):
                    async with over_http(gateway.url, "key-goes", era) as client:
                        assert not (await client.call_tool(*read)).is_error
                        path = gateway.folder / "policies/authority.yaml"
                        path.write_text(authority(agent("stays")))
                        for _ in range(200):
                            assert not (await other.call_tool(*read)).is_error
                            if "goes" not in str(gateway.api("agents", "key-carol")[1]):
                                break
                            await asyncio.sleep(0.05)
                        else:
                            pytest.fail("the reload did not come into force")
                        await client.call_tool(*read)
                        pytest.fail("a removed key was still served")
                assert not (await other.call_tool(*read)).is_error
        run(body)


def marked(mark: str) -> list[str]:
    """Command lines of the living processes that carry a mark in their environment or arguments."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if mark.encode() in text and state != "Z" and folder.name != str(os.getpid()):
            found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


# An upstream that ignores SIGTERM: what is ignored stays so over exec.
DEAF = ("import os, signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "os.execv(sys.argv[1], [sys.argv[1], 'demo-upstream'])")


def test_kill_9_leaves_no_process_and_no_open_call(binary, tmp_path):
    """I9, I10: nothing survives, the chain is whole, and what was in flight is settled as unknown."""
    mark = f"TOLLGATE_TEST_{os.getpid()}_{time.monotonic_ns()}"
    server = f"{shutil.which('node')} {MODULES}/server-filesystem/dist/index.js {tmp_path}"
    upstreams = f"""
[upstreams.demo]
command = ["tollgate", "demo-upstream"]
env = {{ MARK = "{mark}" }}
[upstreams.nested]
command = ["sh", "-c", "{server}; true"]
env = {{ MARK = "{mark}" }}
[upstreams.deaf]
command = ["{sys.executable}", "-c", "{DEAF}", "{binary}"]
env = {{ MARK = "{mark}" }}
"""
    bundle = {**BUNDLE, "authority.yaml": authority(agent("scribe"))}
    with Gateway(binary, upstreams, bundle) as gateway:
        async def body():
            started = asyncio.Event()

            async def progress(_done, _total, _message):
                started.set()

            with pytest.raises(Exception):
                async with over_http(gateway.url, "key-scribe", "2026-07-28") as client:
                    call = asyncio.create_task(client.call_tool(
                        "demo__slow_echo", {"text": "x", "wait_ms": 10_000}, progress_callback=progress))
                    await asyncio.wait_for(started.wait(), 20)
                    assert len(marked(mark)) >= 4, marked(mark)
                    gateway.kill()
                    await call
        run(body)
        until = time.monotonic() + 60
        while (left := marked(mark)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not left, left

        verified = gateway.cli("audit", "verify")
        assert verified.returncode == 0, verified.stderr
        gateway.start()
        (effect,) = gateway.events(event_type="agent_side_effect", tool="demo__slow_echo")
        assert effect["outcome"] == "unknown"
        (made,) = gateway.events(event_type="agent_decision", tool="demo__slow_echo")
        assert made["call_id"] == effect["call_id"] and made["trace_id"] == effect["trace_id"]
        verified = gateway.cli("audit", "verify")
        assert verified.returncode == 0, verified.stderr


def test_a_gateway_that_ends_says_so_while_its_calls_finish(binary):
    """After SIGTERM `/readyz` is 503 and says `draining`, without a key and without telling more; the call in flight is answered."""
    policies = {**BUNDLE, "authority.yaml": authority(agent("worker"))}
    with Gateway(binary, UPSTREAMS, policies) as gateway:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "demo__slow_echo", "arguments": {"text": "late", "wait_ms": 9000}, "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {}}}}
        request = urllib.request.Request(gateway.url, data=json.dumps(body).encode(), headers={
            "Authorization": "Bearer key-worker", "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tools/call", "Mcp-Name": "demo__slow_echo"})
        answers: list[str] = []
        call = threading.Thread(target=lambda: answers.append(urllib.request.urlopen(request, timeout=30).read().decode()))
        call.start()
        deadline = time.monotonic() + 20
        while not gateway.events(event_type="agent_decision"):
            assert time.monotonic() < deadline
        gateway.process.send_signal(signal.SIGTERM)
        while True:
            assert time.monotonic() < deadline, "it never said that it drains"
            try:
                urllib.request.urlopen(f"{gateway.admin}/readyz", timeout=5)
            except urllib.error.HTTPError as error:
                assert (error.code, json.load(error)) == (503, {"status": "draining"})
                break
        asked = urllib.request.Request(f"{gateway.admin}/readyz", headers={"Authorization": "Bearer key-carol"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=5)
        told = json.load(refused.value)
        assert refused.value.code == 503 and any("it is ending" in detail for detail in told["details"]), told
        call.join(30)
        assert len(answers) == 1 and "late" in answers[0], answers
        assert gateway.process.wait(20) == 0
