"""Three replicas on PostgreSQL with a standby, behind a load balancer, with clients of both eras, while all of it is killed in turn (I1 to I10)."""

from __future__ import annotations

import asyncio
import collections
import itertools
import json
import signal
import sys
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

from client import DECISION, ERAS, User, over_http, said
from harness import Gateway, digest
from parts import Balancer, Postgres, wait_for

HERE = Path(__file__).parent
CAP = 120
BUNDLE = {
    "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\ndefault_approvers: [leads]\n',
    "authority.yaml": f"""\
capabilities:
  all: {{ tools: ["*"], resources: [], prompts: [] }}
people:
  alice: {{ keys: ["{digest('key-alice')}"], groups: [leads], roles: [approver] }}
  carol: {{ keys: ["{digest('key-carol')}"], groups: [], roles: [admin] }}
agents:
  scribe:
    owner: tests
    type: script
    capabilities: [all]
    keys: ["{digest('key-scribe')}"]
  desk:
    owner: tests
    type: assistant
    attended: true
    operator: alice
    capabilities: [all]
    keys: ["{digest('key-desk')}"]
""",
    "budgets.yaml": f"""\
budgets:
  - {{ id: capped, scope: agent, match: [{{ tool: work__capped }}], window: ever, max_calls: {CAP}, on_exceed: deny }}
""",
    "writes.yaml": """\
name: writes
description: Each write is asked for
owner: tests
on:
  - label: write
rules:
  - id: ask
    decision: REQUIRE_APPROVAL
""",
}
UPSTREAM = """
[upstreams.work]
command = ["{python}", "{server}", "{dispatched}"]
[upstreams.work.tools.write]
labels = ["write"]
"""


class Replica(Gateway):
    """One replica: its own folder and ports, everybody's database and files."""

    def __init__(self, binary, url: str, dispatched: Path, bundle: dict[str, str] = BUNDLE):
        upstream = UPSTREAM.format(python=sys.executable, server=HERE / "counting_upstream.py", dispatched=dispatched)
        super().__init__(binary, upstream, bundle, approval_wait="3s")
        text = self.config.read_text().replace('url = "sqlite:data/tollgate.db"', f'url = "{url}"')
        self.config.write_text(text)

    def is_ready(self) -> bool:
        return self.status() == 200

    def status(self) -> int:
        try:
            with urllib.request.urlopen(f"{self.admin}/readyz", timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0


class Load:
    """Clients that call through the balancer until they are told to end, and begin anew whenever something breaks."""

    def __init__(self, url: str):
        self.url, self.numbers, self.over = url, itertools.count(), asyncio.Event()
        self.done = collections.Counter()
        self.broken: collections.Counter[str] = collections.Counter()
        self.refused: collections.Counter[str] = collections.Counter()
        self.answered: list[str] = []

    async def call(self, client, era: str, tool: str, n: str, after: float = 0):
        await asyncio.sleep(after)
        result = await asyncio.wait_for(client.call_tool(f"work__{tool}", {"n": n}), 40)
        if not result.is_error:
            assert said(result) == f"done {n}"
            self.answered.append(n)
            self.done[era] += 1
            self.done[tool] += 1
            return
        told = (result.meta or {}).get(DECISION) or {}
        self.refused[f"{tool}: {told.get('decision')}, {told.get('policy_id')}"] += 1

    async def client(self, era: str):
        while not self.over.is_set():
            try:
                async with over_http(self.url, "key-scribe", era) as client:
                    while not self.over.is_set():
                        number = next(self.numbers)
                        n = f"n{number}"
                        await self.call(client, era, "tick", n)
                        await self.call(client, era, "capped", f"c{n}")
                        # Twice at the same time: one approval. The second comes before it is given, or after, or as it is used.
                        await asyncio.gather(self.call(client, era, "write", f"w{n}"),
                                             self.call(client, era, "write", f"w{n}", after=number % 4 * 0.1))
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever a killed replica makes of it
                if asyncio.current_task().cancelling():
                    raise
                self.broken[f"{era}: {first_cause(error)!r:.120}"] += 1
                await asyncio.sleep(0.2)

    def reaches(self, more: int = 15):
        """Waits until clients of each era have had so many more answers."""
        begun = dict(self.done)
        return until("clients of both eras go on",
                     lambda: all(self.done[era] >= begun.get(era, 0) + more for era in ERAS), 60,
                     lambda: f"{self.done} {self.refused} {self.broken}")


def first_cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def until(what: str, holds, within: float = 60.0, tell=lambda: ""):
    end = asyncio.get_running_loop().time() + within
    while not await asyncio.to_thread(holds):
        assert asyncio.get_running_loop().time() < end, f"not within {within} s: {what} {tell()}"
        await asyncio.sleep(0.05)


def approves(admin: int, over: threading.Event):
    """A person who approves whatever is asked, on whichever replica answers."""
    def ask(path: str, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{admin}/api/v1/{path}",
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Authorization": "Bearer key-alice", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=15) as answer:
            return json.load(answer)

    while not over.wait(0.1):
        try:
            for asked in ask("approvals?status=pending")["approvals"]:
                ask(f"approvals/{asked['id']}/decision", {"decision": "approve"})
        except (OSError, ValueError):
            pass


def rounds(cluster, load, primary, standby):
    """What happens to the cluster, in turn. Each waits until calls go on."""
    first, second, third = cluster

    async def all_ready():
        await until("each replica is ready", lambda: all(one.is_ready() for one in cluster), 25)

    async def body():
        await load.reaches()
        for killed in (first, second):
            killed.kill()
            await load.reaches()
            await asyncio.to_thread(killed.start)
        for how in (signal.SIGINT, signal.SIGQUIT):
            await asyncio.to_thread(primary.stop, how)
            await until("no replica is ready", lambda: all(one.status() == 503 for one in cluster))
            for era in ERAS:
                async with over_http(second.url, "key-scribe", era) as client:
                    refused = await client.call_tool("work__tick", {"n": f"away-{how.name}-{era}"})
                    assert refused.is_error and "store" in said(refused), refused
            await asyncio.to_thread(primary.start)
            await all_ready()
            await load.reaches()
        # A call that its upstream never answers, on a replica that is killed: others settle it.
        with pytest.raises(Exception):
            async with over_http(third.url, "key-scribe", "2026-07-28") as client:
                hanging = asyncio.create_task(client.call_tool("work__hang", {"n": "hung"}))
                await until("it is dispatched", lambda: any(line["n"] == "hung" for line in cluster.dispatched()))
                third.kill()
                await hanging
        await until("it is settled by another replica", lambda: [
            event for event in first.events(event_type="agent_side_effect", tool="work__hang") if event["outcome"] == "unknown"
        ], 40)
        await asyncio.to_thread(third.start)
        # The primary is lost for good.
        await asyncio.to_thread(primary.stop, signal.SIGQUIT)
        await asyncio.to_thread(standby.sql, "SELECT pg_promote()")
        await all_ready()
        await load.reaches()
        second.kill()
        await load.reaches()
        await asyncio.to_thread(second.start)
        await until("the cap is reached", lambda: load.refused["capped: deny, capped"] > 0)
    return body()


class Cluster(list):
    def __init__(self, replicas, path: Path):
        super().__init__(replicas)
        self.path = path

    def dispatched(self) -> list[dict]:
        """What upstreams were asked to do, each line whole."""
        return [json.loads(line) for line in self.path.read_text().splitlines()]


def hold(cluster, load):
    """What the record says against what was done."""
    exported = [one.cli("audit", "export").stdout.splitlines() for one in cluster]
    # Sweeps go on: a record of theirs may come between two of these.
    shortest = min(map(len, exported))
    assert exported[0][:shortest] == exported[1][:shortest] == exported[2][:shortest]
    for one in cluster:
        verified = one.cli("audit", "verify")
        assert verified.returncode == 0, verified.stderr
    events = [json.loads(line) for line in exported[0]]
    permitted = [event for event in events
                 if event["event_type"] == "agent_decision" and event["decision"] in ("allow", "approved")]
    dispatched = cluster.dispatched()
    # A call that finds an approval joins the trace in which it was asked for, so that a trace may have several calls.
    allowed = collections.Counter((event["trace_id"], event["tool"]) for event in permitted)
    done = collections.Counter((line["trace"], f"work__{line['tool']}") for line in dispatched)
    assert done <= allowed, (done - allowed, [event for event in events if event["trace_id"] in dict(done - allowed)])
    used = collections.Counter(event["approval_id"] for event in permitted if event["tool"] == "work__write")
    assert None not in used and max(used.values()) == 1, used.most_common(3)
    assert sum(line["tool"] == "capped" for line in dispatched) <= CAP
    stands = [one.cli("budget", "status", "--json").stdout for one in cluster]
    (capped,) = json.loads(stands[0])["budgets"]
    assert stands[0] == stands[1] == stands[2] and capped["used"]["calls"] == CAP, capped
    assert {line["n"] for line in dispatched} >= set(load.answered)
    settled = collections.Counter(event["call_id"] for event in events if event["event_type"] == "agent_side_effect")
    opened = {event["call_id"] for event in permitted}
    assert len(opened) == len(permitted)
    assert opened == set(settled) and max(settled.values()) == 1, opened ^ set(settled)
    print(f"{len(events)} records, {len(dispatched)} dispatched, {len(used)} approvals used; answered {dict(load.done)}, "
          f"refused {dict(load.refused)}, broken {dict(load.broken)}")


def test_nothing_is_lost_or_doubled_whatever_is_killed(binary, tmp_path):
    with ExitStack() as stack:
        # Without `synchronous_standby_names` a failover could lose what was confirmed.
        primary = Postgres()
        stack.callback(primary.end)
        primary.sql("CREATE DATABASE tollgate")
        standby = Postgres(of=primary)
        stack.callback(standby.end)
        primary.stop()
        primary.settings = ("synchronous_standby_names=*",)
        primary.start()
        wait_for("the standby follows",
                 lambda: primary.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1")
        url = f"postgres://tollgate@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/tollgate?target_session_attrs=read-write"
        path = tmp_path / "dispatched"
        path.touch()
        cluster = Cluster((stack.enter_context(Replica(binary, url, path)) for _ in range(3)), path)
        balancer = Balancer(cluster)
        stack.callback(balancer.end)
        over = threading.Event()
        person = threading.Thread(target=approves, args=(balancer.admin, over))
        person.start()
        stack.callback(person.join)
        stack.callback(over.set)

        async def body():
            load = Load(balancer.url)
            clients = [asyncio.create_task(load.client(era)) for era in ERAS for _ in range(3)]
            try:
                await rounds(cluster, load, primary, standby)
            finally:
                load.over.set()
                done, late = await asyncio.wait(clients, timeout=60)
                for task in late:
                    task.cancel()
            assert not late and all(task.exception() is None for task in done)
            return load
        load = asyncio.run(body())
        # Calls whose replica was killed are settled by the others.
        wait_for("no call is open", lambda: not open_calls(cluster[0]), 40)
        hold(cluster, load)


def open_calls(replica) -> set[str]:
    events = replica.events()
    permitted = {event["call_id"] for event in events if event["event_type"] == "agent_decision" and event["decision"] in ("allow", "approved")}
    return permitted - {event["call_id"] for event in events if event["event_type"] == "agent_side_effect"}


@pytest.fixture
def database():
    server = Postgres()
    server.sql("CREATE DATABASE tollgate")
    yield f"postgres://tollgate@127.0.0.1:{server.port}/tollgate"
    server.end()


def sent(url: str, session: str, method: str) -> int:
    """The status of a request of a session."""
    request = urllib.request.Request(
        url, data=json.dumps({"jsonrpc": "2.0", "id": 7, "method": method}).encode(),
        headers={"Authorization": "Bearer key-desk", "Content-Type": "application/json", "Mcp-Session-Id": session,
                 "MCP-Protocol-Version": "2025-06-18", "Accept": "application/json, text/event-stream"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def opened(url: str) -> str:
    """The id of a session that was begun."""
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    request = urllib.request.Request(
        url, data=json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).encode(),
        headers={"Authorization": "Bearer key-desk", "Content-Type": "application/json",
                 "Accept": "application/json, text/event-stream"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["mcp-session-id"]


def test_a_question_is_answered_on_another_replica_and_a_session_begins_anew_there(binary, tmp_path, database):
    path = tmp_path / "dispatched"
    path.touch()
    with Replica(binary, database, path) as first, Replica(binary, database, path) as second:
        balancer = Balancer([first, second])
        try:
            # In turn: what one replica asks is answered to the other.
            async def body():
                for n in range(4):
                    user = User.approves()
                    async with over_http(balancer.url, "key-desk", "2026-07-28", user) as client:
                        result = await client.call_tool("work__write", {"n": f"asked{n}"})
                    assert not result.is_error and len(user.asked) == 1, result
            wait_for("the balancer knows both", lambda: sent(balancer.url, opened(balancer.url), "ping") == 200)
            asyncio.run(body())
            session = opened(first.url)
            assert sent(first.url, session, "tools/list") == 200
            assert sent(second.url, session, "tools/list") == 404
            # Through the balancer it goes where it was begun.
            session = opened(balancer.url)
            assert [sent(balancer.url, session, "tools/list") for _ in range(4)] == [200] * 4
        finally:
            balancer.end()
        served = {one.mcp_port: len(one.events(event_type="agent_start", tool="work__write")) for one in (first, second)}
        assert len(path.read_text().splitlines()) == 4, served


def test_a_replica_with_other_files_says_so_and_does_not_serve_them(binary, tmp_path, database):
    path = tmp_path / "dispatched"
    path.touch()
    other = {**BUNDLE, "bundle.yaml": BUNDLE["bundle.yaml"].replace("ALLOW", "DENY")}

    async def calls(replica) -> bool:
        async with over_http(replica.url, "key-scribe", "2026-07-28") as client:
            return not (await client.call_tool("work__tick", {"n": "x"})).is_error

    def told(replica) -> dict:
        request = urllib.request.Request(f"{replica.admin}/readyz", headers={"Authorization": "Bearer key-carol"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    with Replica(binary, database, path) as first, Replica(binary, database, path, other) as second:
        assert asyncio.run(calls(first)) and asyncio.run(calls(second))
        assert told(first)["policy_snapshot"] == told(second)["policy_snapshot"]
        assert any("the folder differs from the bundle in force" in one for one in told(second)["details"]), told(second)
        assert not any("differs" in one for one in told(first)["details"])
        # A person puts the other files in force, for all.
        done = second.cli("policy", "activate", "policies", "--reason", "as they should be", key="key-carol")
        assert done.returncode == 0, done.stderr
        wait_for("both deny", lambda: not asyncio.run(calls(first)) and not asyncio.run(calls(second)))
        wait_for("the first says so", lambda: any("differs" in one for one in told(first)["details"]))
        assert not any("differs" in one for one in told(second)["details"])
