"""What an agent on the official SDK meets: over HTTP and stdio, in both eras, in front of the demo upstream."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from mcp import Client, StdioServerParameters

from client import DECISION, WAYS, User, answer, decision, over_http, over_stdio, said
from harness import Gateway, digest

UPSTREAMS = """
[upstreams.demo]
command = ["tollgate", "demo-upstream"]
trust_annotations = true
labels = ["internal"]
[upstreams.demo.tools.notes_list]
labels = ["read"]
[upstreams.demo.tools.notes_read]
labels = ["read"]
[upstreams.demo.tools.slow_echo]
labels = ["read"]
[upstreams.demo.tools.report]
labels = ["read"]
[upstreams.demo.tools.note_write]
labels = ["write"]
[upstreams.demo.tools.note_delete]
labels = ["destructive"]
[upstreams.demo.tools.search]
labels = ["costly"]
cost_usd = 0.01
"""

AGENT = """\
  {name}:
    owner: tests
    operator: alice
    attended: {attended}
    workflow: wf-test
    model: gpt-4o
    capabilities: [notes]
    keys: ["{digest}"]
"""

# Counters and pending approvals are an agent's own, so each way in has an agent of its own.
AGENTS = {f"{transport}-{era}": f"key-{transport}-{era}" for transport, era in WAYS}
UNATTENDED = "unattended"

POLICIES = {
    "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: DENY\ndefault_approvers: [leads]\n',
    "authority.yaml": """\
capabilities:
  notes:
    tools: ["demo__notes_*", "demo__note_write", "demo__note_delete", "demo__search", "demo__report", "demo__slow_echo"]
    resources: ["note:///notes/**"]
    prompts: ["demo__summarise"]
people:
  alice:
    keys: ["%s"]
    groups: [leads]
    roles: [approver]
  bob:
    keys: ["%s"]
    groups: []
    roles: [auditor]
workflows:
  wf-test: { owner: tests }
agents:
""" % (digest("key-alice"), digest("key-bob")) + "".join(
        AGENT.format(name=name, attended="true", digest=digest(key)) for name, key in AGENTS.items()
    ) + AGENT.format(name=UNATTENDED, attended="false", digest=digest("key-unattended")),
    "reads.yaml": """\
name: reads
description: Reading is free
owner: tests
on:
  - label: read
  - resource: "note:///notes/**"
  - prompt: "*"
rules:
  - id: read
    decision: ALLOW
""",
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
    approvers: [operator, leads]
    evidence_required: true
  - id: ask
    decision: REQUIRE_APPROVAL
    approvers: [operator, leads]
""",
    "deletes.yaml": """\
name: deletes
description: Nobody deletes
owner: tests
on:
  - label: destructive
rules:
  - id: never
    decision: DENY
""",
    "search.yaml": """\
name: search
description: Small pages
owner: tests
on:
  - label: costly
rules:
  - id: small
    decision: ALLOW_WITH_CONSTRAINTS
    constraints: { timeout: 10s, arguments: { clamp: { /limit: { max: 3 } } } }
""",
    "budgets.yaml": """\
budgets:
  - id: search-burst
    scope: agent
    match: { tool: demo__search }
    window: minute
    max_calls: 3
    on_exceed: throttle
""",
}


@pytest.fixture(scope="module")
def gateway(binary):
    with Gateway(binary, UPSTREAMS, POLICIES, approval_wait="1s") as running:
        yield running
        print(running.tail())


@pytest.fixture(params=WAYS, ids=lambda way: "-".join(way))
def connect(request, gateway):
    """Opens a client one of the four ways."""
    transport, era = request.param

    @asynccontextmanager
    async def opened(user: User | None = None):
        name = f"{transport}-{era}"
        if transport == "http":
            async with over_http(gateway.url, AGENTS[name], era, user) as client:
                yield client
        else:
            command = [gateway.binary, "stdio", "--agent", name, "--config", str(gateway.config)]
            async with over_stdio(command, era, user) as client:
                yield client

    opened.way = f"{transport}-{era}"
    return opened


def run(test):
    asyncio.run(asyncio.wait_for(test(), 60))


def test_the_list_holds_what_is_in_scope(connect):
    async def body():
        async with connect() as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"demo__notes_list", "demo__notes_read", "demo__note_write", "demo__note_delete",
                              "demo__search", "demo__report", "demo__slow_echo"}
        read = tools["demo__notes_read"]
        assert read.title == "Read a note"
        assert read.annotations.read_only_hint is True
        assert read.output_schema["properties"]["text"]["type"] == "string"
    run(body)


def test_an_allowed_read_passes_unchanged(connect, binary):
    async def body():
        async with Client(StdioServerParameters(command=str(binary), args=["demo-upstream"])) as direct:
            wanted = await direct.call_tool("notes_read", {"path": "/notes/welcome.md"})
        async with connect() as client:
            got = await client.call_tool("demo__notes_read", {"path": "/notes/welcome.md"})
        assert not got.is_error
        assert got.content == wanted.content
        assert got.structured_content == wanted.structured_content
    run(body)


def test_a_large_result_and_an_upstreams_own_error_pass_unchanged(connect, binary):
    async def body():
        async with Client(StdioServerParameters(command=str(binary), args=["demo-upstream"])) as direct:
            wanted = await direct.call_tool("report", {"rows": 500, "format": "full"})
        async with connect() as client:
            got = await client.call_tool("demo__report", {"rows": 500, "format": "full"})
            failed = await client.call_tool("demo__notes_read", {"path": "/notes/none.md"})
        assert got.content == wanted.content
        assert failed.is_error and "there is no note" in said(failed)
        assert DECISION not in (failed.meta or {})
    run(body)


def test_a_denied_delete_says_why(connect):
    async def body():
        async with connect() as client:
            refused = await client.call_tool("demo__note_delete", {"path": "/notes/welcome.md"})
            still = await client.call_tool("demo__notes_read", {"path": "/notes/welcome.md"})
        verdict = decision(refused)
        assert verdict["decision"] == "deny"
        assert (verdict["policy_id"], verdict["rule_id"]) == ("deletes", "never")
        assert len(verdict["trace_id"]) == 32 and verdict["policy_snapshot"]
        assert "deletes" in said(refused)
        assert not still.is_error
    run(body)


def test_an_approval_by_elicitation_dispatches(connect):
    async def body():
        user = User.approves(comment="fine")
        path = f"/scratch/approved-{connect.way}.md"
        async with connect(user) as client:
            written = await client.call_tool("demo__note_write", {"path": path, "text": "hello"})
        assert not written.is_error, written
        assert written.structured_content["revision"] == 1
        (form,) = user.asked
        schema = form.requested_schema
        assert "decision" in schema["required"] and "evidence" not in schema["required"]
        choice = schema["properties"]["decision"]
        choices = choice.get("enum") or [one["const"] for one in choice["oneOf"]]
        assert choices == ["approve", "reject"]
        assert "demo__note_write" in form.message and "writes" in form.message
    run(body)


@pytest.mark.parametrize("user", [lambda: User.rejects(comment="no"), lambda: User.says("decline")],
                         ids=["reject", "decline"])
def test_a_rejection_is_not_dispatched(connect, user):
    async def body():
        path = f"/scratch/rejected-{connect.way}.md"
        async with connect(user()) as client:
            refused = await client.call_tool("demo__note_write", {"path": path, "text": "never"})
            listed = await client.call_tool("demo__notes_list", {"folder": "/scratch"})
        assert decision(refused)["decision"] == "rejected"
        assert path not in [note["path"] for note in listed.structured_content["notes"]]
    run(body)


def test_a_cancel_decides_nothing_and_another_channel_can(connect, gateway):
    async def body():
        call = ("demo__note_write", {"path": f"/scratch/later-{connect.way}.md", "text": "later"})
        user = User.says("cancel")
        async with connect(user) as client:
            waiting = decision(await client.call_tool(*call))
            assert waiting["decision"] == "pending_approval"
            assert len(user.asked) == 1
            approval = waiting["approval_id"]
            status, _ = gateway.api(f"approvals/{approval}/decision", "key-bob", {"decision": "approve"})
            assert status == 403
            status, _ = gateway.api(f"approvals/{approval}/decision", "key-alice", {"decision": "approve"})
            assert status == 200
            done = await client.call_tool(*call)
            assert not done.is_error and done.structured_content["revision"] == 1
            again = decision(await client.call_tool(*call))
        assert again["decision"] == "pending_approval"
        assert again["approval_id"] != approval
    run(body)


def test_evidence_is_asked_for_and_needed(connect):
    async def body():
        path = f"/archive/{connect.way}.md"
        bare = User.approves()
        async with connect(bare) as client:
            refused = await client.call_tool("demo__note_write", {"path": path, "text": "one"})
        assert decision(refused)["decision"] != "approved"
        # A rejection needs none, so the form does not require it; an approval without it is asked once more.
        schema = bare.asked[0].requested_schema
        assert "evidence" in schema["properties"] and schema["required"] == ["decision"]
        assert len(bare.asked) == 2
        async with connect(User.approves(evidence="TICKET-1")) as client:
            written = await client.call_tool("demo__note_write", {"path": path, "text": "two"})
        assert not written.is_error
    run(body)


def test_constraints_hold_and_a_burst_is_throttled(connect):
    async def body():
        async with connect() as client:
            for query in ["plan", "agenda", "notes"]:
                found = await client.call_tool("demo__search", {"query": query, "limit": 50})
                assert not found.is_error
                assert found.structured_content["limit"] == 3
                assert len(found.structured_content["hits"]) == 3
            refused = decision(await client.call_tool("demo__search", {"query": "more", "limit": 1}))
        assert refused["decision"] == "throttle"
        assert refused["policy_id"] == "search-burst"
        assert 0 < refused["retry_after_ms"] <= 60_000
    run(body)


def test_out_of_scope_and_unknown_are_the_same(connect):
    async def body():
        async with connect() as client:
            hidden = await answer(client, "demo__admin_reset", {})
            unknown = await answer(client, "demo__no_such_tool", {})
        assert hidden == unknown
    run(body)


def test_progress_passes(connect):
    async def body():
        seen = []

        async def progress(done, total, _message):
            seen.append((done, total))

        async with connect() as client:
            echoed = await client.call_tool("demo__slow_echo", {"text": "x", "wait_ms": 300},
                                            progress_callback=progress)
        assert said(echoed) == "x"
        assert seen and all(total == pytest.approx(0.3) for _, total in seen)
        assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    run(body)


def test_resources_and_prompts_are_scoped(connect):
    async def body():
        async with connect() as client:
            uris, cursor = [], None
            while True:
                page = await client.list_resources(cursor=cursor)
                uris += [resource.uri for resource in page.resources]
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert sorted(map(str, uris)) == ["note:///notes/agenda.md", "note:///notes/onboarding.md",
                                              "note:///notes/welcome.md"]
            read = await client.read_resource("note:///notes/agenda.md")
            assert "Budgets" in read.contents[0].text
            with pytest.raises(Exception):
                await client.read_resource("note:///private/contacts.md")
            prompts = [prompt.name for prompt in (await client.list_prompts()).prompts]
            assert prompts == ["demo__summarise"]
            prompt = await client.get_prompt("demo__summarise", {"path": "/notes/agenda.md"})
            assert "Agenda" in prompt.messages[0].content.text
    run(body)


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
def test_an_unattended_agents_own_answer_counts_for_nothing(gateway, era):
    async def body():
        call = ("demo__note_write", {"path": f"/scratch/unattended-{era}.md", "text": "x"})
        async with over_http(gateway.url, "key-unattended", era, User.approves()) as client:
            waiting = decision(await client.call_tool(*call))
            assert waiting["decision"] == "pending_approval"
            status, _ = gateway.api(f"approvals/{waiting['approval_id']}/decision", "key-alice",
                                    {"decision": "reject", "comment": "no"})
            assert status == 200
            status, _ = gateway.api(f"approvals/{waiting['approval_id']}/decision", "key-alice",
                                    {"decision": "approve"})
            assert status == 409
            refused = decision(await client.call_tool(*call))
        assert refused["decision"] in ("rejected", "pending_approval")
        assert refused["decision"] == "rejected" or refused["approval_id"] != waiting["approval_id"]
    run(body)


@pytest.mark.parametrize("key", [None, "key-of-nobody"])
def test_no_key_and_a_wrong_key_are_refused(gateway, key):
    async def body():
        with pytest.raises(Exception):
            async with over_http(gateway.url, key, "legacy") as client:
                await client.list_tools()
    run(body)


def test_the_trace_answers_who_what_and_why(gateway):
    async def body():
        async with over_http(gateway.url, AGENTS["http-legacy"], "legacy") as client:
            return decision(await client.call_tool("demo__note_delete", {"path": "/notes/agenda.md"}))
    asyncio.run(body())
    # Where the same was refused less than a minute ago, this call is counted with that one, whose trace is on record.
    _, found = gateway.api("events?agent_id=http-legacy&tool=demo__note_delete&decision=deny&limit=1", "key-bob")
    status, trace = gateway.api(f"traces/{found['events'][0]['trace_id']}", "key-bob")
    assert status == 200
    text = str(trace)
    for word in ("http-legacy", "demo__note_delete", "deletes", "deny"):
        assert word in text
