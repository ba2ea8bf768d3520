"""Accounts that people connect to upstreams: a certified authorization server, an MCP server that demands its tokens, and the
official SDK's client in both eras."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import asynccontextmanager, contextmanager
from http.cookiejar import CookieJar
from itertools import count
from pathlib import Path

import anyio
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from client import ERAS, User, over_http, over_stdio
from harness import Gateway, digest, free_port
from mcp_types import ElicitResult

sys.path.append(str(Path(__file__).resolve().parent.parent / "cluster"))
from parts import Postgres  # noqa: E402

ISSUER = Path(__file__).resolve().parent.parent / "page" / "issuer"
POLICIES = {
    "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\n',
    "authority.yaml": """\
capabilities:
  crm: { tools: ["crm__*"], resources: ["crm://**"] }
  none: { tools: ["demo__*"] }
agents:
  of-alice: { owner: crm-team, operator: alice, capabilities: [crm], keys: ["%s"] }
  of-bob: { owner: crm-team, operator: bob, capabilities: [crm], keys: ["%s"] }
  of-nobody: { owner: crm-team, capabilities: [crm], keys: ["%s"] }
  stranger: { owner: crm-team, operator: alice, capabilities: [none], keys: ["%s"] }
people:
  alice: { keys: ["%s"], roles: [approver] }
  bob: { keys: ["%s"], roles: [viewer] }
  carol: { keys: ["%s"], roles: [admin] }
""" % tuple(digest(f"key-{name}") for name in ["of-alice", "of-bob", "of-nobody", "stranger", "alice", "bob", "carol"]),
}


class Upstream:
    """The MCP server and its authorization server."""

    def __enter__(self) -> "Upstream":
        self.issuer_port, self.port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.issuer = f"http://127.0.0.1:{self.issuer_port}"
        self.start()
        return self

    def start(self) -> None:
        self.process = subprocess.Popen(["node", "upstream.mjs", str(self.issuer_port), str(self.port)],
                                        cwd=ISSUER, stdout=subprocess.PIPE, text=True)
        assert sorted(self.process.stdout.readline().strip() for _ in range(2)) == ["issuer", "mcp"]

    def restart(self) -> None:
        """It forgets everything: clients, tokens and who signed in."""
        self.__exit__()
        self.start()

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait(10)

    def seen(self) -> dict:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/seen", timeout=10) as answer:
            return json.load(answer)

    def set(self, **settings) -> None:
        query = urllib.parse.urlencode(settings)
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.port}/set?{query}", method="POST"), timeout=10):
            pass


def sign_in(url: str, user: str, opener=None) -> str:
    """What a browser does at the issuer; what it shows in the end."""
    opener = opener or urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    with opener.open(url, timeout=30) as page:
        form = re.search(r'action="([^"]+)"', page.read().decode())
        target = urllib.parse.urljoin(page.geturl(), form.group(1))
    with opener.open(target, urllib.parse.urlencode({"user": user}).encode(), timeout=30) as page:
        return page.read().decode()


def login(gateway: Gateway, user: str, *arguments: str, key: str | None = None) -> str:
    """`servers login`, with a browser that signs in as `user`; what the command says in the end."""
    env = {**os.environ, **gateway.env, **({"TOLLGATE_KEY": key} if key else {})}
    command = [gateway.binary, "--config", str(gateway.config), "servers", "login", "crm", *arguments]
    # No terminal: it reads nothing and writes into pipes.
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=env, cwd=gateway.folder) as process:
        url = process.stdout.readline().strip()
        assert url.startswith("http"), process.stderr.read()
        shown = sign_in(url, user)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err + shown
        return out


def world(binary, upstream: Upstream, per: str, more: str = "", **settings) -> Gateway:
    oauth = f'oauth = {{ grant = "authorization_code", per = "{per}"{more} }}'
    return Gateway(binary, f'[upstreams.crm]\nurl = "{upstream.url}"\n{oauth}\n', POLICIES, ready_within=60, **settings)


async def tools(gateway: Gateway, agent: str, era: str) -> list[str]:
    async with over_http(gateway.url, f"key-{agent}", era) as client:
        return sorted(tool.name for tool in (await client.list_tools()).tools)


async def call(gateway: Gateway, agent: str, tool: str, era: str, user: User | None = None):
    async with over_http(gateway.url, f"key-{agent}", era, user) as client:
        return await client.call_tool(tool, {})


def text(result) -> str:
    return result.content[0].text


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_one_account_for_everybody(binary, era):
    """Connected from the command line while the gateway runs; disconnected, its tokens are taken back at the issuer."""
    with Upstream() as upstream, world(binary, upstream, "gateway") as gateway:
        upstream.set(era="modern" if era != "legacy" else "legacy")
        assert await tools(gateway, "of-alice", era) == []
        told = json.loads(gateway.cli("servers", "list", "--json").stdout)["servers"][0]
        assert told["state"] == "down" and "nobody has connected" in told["reason"], told
        said = login(gateway, "service")
        assert "connected" in said
        assert await awaited(lambda: tools(gateway, "of-bob", era)) == ["crm__only_service", "crm__whoami", "crm__write"]
        assert text(await call(gateway, "of-bob", "crm__whoami", era)) == "service"
        told = json.loads(gateway.cli("servers", "list", "--json").stdout)["servers"][0]
        assert (told["state"], told["connected"]) == ("up", 1)
        seen = upstream.seen()
        assert seen["registered"] == 1
        assert seen["token"] == [{"grant": "authorization_code", "resource": upstream.url}]
        token = seen["calls"][0]["token"].split(" ")[1]
        out = gateway.cli("servers", "logout", "crm")
        assert out.returncode == 0 and "revoked" in out.stdout, out
        assert upstream.seen()["revoked"] == 1
        await awaited(lambda: call_or_error(gateway, "of-bob", "crm__whoami", era), lambda result: result != "service")
        events = [event["action"] for event in gateway.events(event_type="admin_action") if event["action"] != "pin"]
        assert events == ["credential_connected", "credential_disconnected"], events
        # Neither tokens nor codes stand anywhere outside the vault.
        for file in gateway.folder.rglob("*"):
            if file.is_file():
                assert token.encode() not in file.read_bytes(), file


async def call_or_error(gateway: Gateway, agent: str, tool: str, era: str, user: User | None = None) -> str:
    try:
        return text(await call(gateway, agent, tool, era, user))
    except BaseException as error:  # An unknown tool is an error of the protocol.
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        return str(error)


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_each_person_has_their_own(binary, era):
    """Lists, resources and tools are the caller's own, and nobody sees what another's token lists."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        upstream.set(era="modern" if era != "legacy" else "legacy")
        login(gateway, "alice-at-crm", key="key-alice")
        login(gateway, "bob-at-crm", "--for", "bob")
        for agent, sub in [("of-alice", "alice-at-crm"), ("of-bob", "bob-at-crm"), ("of-alice", "alice-at-crm")]:
            assert await awaited(lambda: tools(gateway, agent, era)) == [f"crm__only_{sub}", "crm__whoami", "crm__write"]
            assert text(await call(gateway, agent, "crm__whoami", era)) == sub
            async with over_http(gateway.url, f"key-{agent}", era) as client:
                found = (await client.list_resources()).resources
                assert [str(resource.uri) for resource in found] == [f"crm://notes/{sub}"]
                read = await client.read_resource(f"crm://notes/{sub}")
                assert read.contents[0].text == f"notes of {sub}"
        for agent in ["of-nobody", "stranger"]:
            assert await tools(gateway, agent, era) == []
        assert "Unknown tool" in await call_or_error(gateway, "of-bob", "crm__only_alice-at-crm", era)
        assert "Unknown tool" in await call_or_error(gateway, "stranger", "crm__whoami", era)
        assert "acts for nobody" in text(await call(gateway, "of-nobody", "crm__whoami", era))
        told = json.loads(gateway.cli("servers", "list", "--json").stdout)["servers"][0]
        assert (told["state"], told["connected"]) == ("per person", 2)
        # It survives a restart, and counts there.
        gateway.stop()
        gateway.start()
        assert text(await call(gateway, "of-alice", "crm__whoami", era)) == "alice-at-crm"
        assert gateway.cli("servers", "logout", "crm", key="key-alice").returncode == 0
        assert await awaited(lambda: tools(gateway, "of-alice", era), lambda listed: not listed) == []
        assert text(await call(gateway, "of-bob", "crm__whoami", era)) == "bob-at-crm"


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_a_call_asks_to_connect_and_goes_on(binary, era):
    """URL-mode elicitation in both eras; a client that cannot show one is refused with the address."""
    with Upstream() as upstream, world(binary, upstream, "person", approval_wait="20s") as gateway:
        upstream.set(era="modern" if era != "legacy" else "legacy")
        refused = await call(gateway, "of-alice", "crm__whoami", era)
        assert refused.is_error and f"{gateway.admin}/#/connections" in text(refused), refused
        assert refused.meta["tollgate/decision"]["policy_id"] == "credentials"

        class Person(User):
            async def __call__(self, _context, params):
                self.asked.append(params)
                connect_on_page(gateway, "alice", "alice-at-crm")
                return ElicitResult(action="accept")

        person = Person()
        result = await call(gateway, "of-alice", "crm__whoami", era, person)
        assert text(result) == "alice-at-crm", result
        (asked,) = person.asked
        assert (asked.mode, asked.url) == ("url", f"{gateway.admin}/#/connections")
        # Whoever says no is not asked again in this call, and nothing is sent.
        said_no = User.says("decline")
        refused = await call(gateway, "of-bob", "crm__whoami", era, said_no)
        assert refused.is_error and len(said_no.asked) == 1
        assert [made["sub"] for made in upstream.seen()["calls"]] == ["alice-at-crm"]
        decisions = gateway.events(event_type="agent_decision")
        assert [event["policy_id"] for event in decisions if event["decision"] == "deny"] == ["credentials", "credentials"]


def written(gateway: Gateway, file: str, old: str, new: str) -> None:
    """Changes a file of a gateway that does not run yet."""
    path = gateway.folder / file
    text = path.read_text()
    assert old in text, text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.anyio
@pytest.mark.parametrize("end", ["frozen", "other policies", "the gateway ends"])
async def test_a_question_to_connect_ends_with_its_call(binary, end):
    """While the client shows it: frozen, no capability any more, or the gateway leaves; the person's silence waits for none of them."""
    with Upstream() as upstream, world(binary, upstream, "person", approval_wait="20s") as gateway:
        shown = anyio.Event()

        class Silent(User):
            async def __call__(self, _context, params):
                self.asked.append(params)
                shown.set()
                await anyio.sleep_forever()

        said = []

        async def asked() -> None:
            try:
                said.append(await call(gateway, "of-alice", "crm__whoami", "legacy", Silent()))
            except Exception as error:  # the connection of a gateway that ends
                said.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(asked)
            await shown.wait()
            if end == "frozen":
                done = gateway.cli("freeze", "--upstream", "crm", "--reason", "a test", key="key-carol")
                assert done.returncode == 0, done
            elif end == "other policies":
                written(gateway, "policies/authority.yaml", "operator: alice, capabilities: [crm]", "operator: alice, capabilities: [none]")
                done = gateway.cli("policy", "activate", str(gateway.folder / "policies"), "--reason", "a test", key="key-carol")
                assert done.returncode == 0, done
            else:
                gateway.process.terminate()
                await until(lambda: gateway.process.poll() is not None, "the gateway has ended")
        (result,) = said
        assert upstream.seen()["calls"] == []
        if end == "the gateway ends":
            return
        # Nor is anybody asked about the next one.
        again = User()
        if end == "frozen":
            assert result.meta["tollgate/decision"]["policy_id"] == "freeze", result
            assert (await call(gateway, "of-alice", "crm__whoami", "legacy", again)).is_error
        else:
            assert "Unknown tool" in repr(result), result
            assert "Unknown tool" in await call_or_error(gateway, "of-alice", "crm__whoami", "legacy", again)
        assert again.asked == []


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_nobody_is_asked_to_connect_without_end(binary, era):
    """`rejected_asks.count` questions in a window, of all calls of an agent; whoever connects is not counted any more."""
    with Upstream() as upstream:
        gateway = world(binary, upstream, "person", approval_wait="20s")
        written(gateway, "servers.toml", "\n[admin]", 'rejected_asks = { count = 2, window = "1h" }\n\n[admin]')
        with gateway:
            upstream.set(era="modern" if era != "legacy" else "legacy")
            asked = []
            for _ in range(3):
                user = User.says("decline")
                refused = await call(gateway, "of-alice", "crm__whoami", era, user)
                assert f"{gateway.admin}/#/connections" in text(refused), refused
                asked.append(len(user.asked))
            assert asked == [1, 1, 0]
            # Another agent has room of its own.
            user = User.says("decline")
            await call(gateway, "of-bob", "crm__whoami", era, user)

            class Person(User):
                async def __call__(self, _context, params):
                    self.asked.append(params)
                    connect_on_page(gateway, "bob", "bob-at-crm")
                    return ElicitResult(action="accept")

            assert text(await call(gateway, "of-bob", "crm__whoami", era, Person())) == "bob-at-crm"
            gateway.cli("servers", "logout", "crm", key="key-bob")
            await awaited(lambda: tools(gateway, "of-bob", era), lambda listed: not listed)
            asked = []
            for _ in range(3):
                user = User.says("decline")
                await call(gateway, "of-bob", "crm__whoami", era, user)
                asked.append(len(user.asked))
            assert asked == [1, 1, 0]


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_without_a_prefix_what_somebody_listed_asks(binary, era):
    """Any other name is unknown, as it is where nothing is to be connected; `check` says so."""
    with Upstream() as upstream:
        gateway = world(binary, upstream, "person", approval_wait="20s")
        written(gateway, "servers.toml", "[upstreams.crm]", '[upstreams.crm]\nprefix = ""')
        written(gateway, "policies/authority.yaml", '["crm__*"]', '["*"]')
        with gateway:
            upstream.set(era="modern" if era != "legacy" else "legacy")
            assert "asks nobody to connect" in gateway.cli("check").stdout
            user = User.says("decline")
            unknown = await call_or_error(gateway, "of-bob", "whoami", era, user)
            assert "connections" not in unknown and not user.asked, unknown
            login(gateway, "alice-at-crm", "--for", "alice")
            await until_listed(gateway, "of-alice")
            refused = await call(gateway, "of-bob", "whoami", era, user)
            assert f"{gateway.admin}/#/connections" in text(refused) and len(user.asked) == 1, refused
            user = User.says("decline")
            assert "connections" not in await call_or_error(gateway, "of-bob", "no_such_tool", era, user)
            assert user.asked == []


def connect_on_page(gateway: Gateway, person: str, user: str, opener=None) -> str:
    """What the page does: it begins, and the browser goes to the issuer and comes back."""
    opener = opener or urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    request = urllib.request.Request(f"{gateway.admin}/api/v1/connections/crm", data=b"{}", method="POST",
                                     headers={"Authorization": f"Bearer key-{person}", "Content-Type": "application/json"})
    with opener.open(request, timeout=30) as answer:
        url = json.load(answer)["url"]
    return sign_in(url, user, opener)


@pytest.mark.anyio
async def test_an_answer_counts_in_the_browser_that_began(binary):
    """A link that somebody else sends connects nothing of theirs, and an answer counts once."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        begins = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        request = urllib.request.Request(f"{gateway.admin}/api/v1/connections/crm", data=b"{}", method="POST",
                                         headers={"Authorization": "Bearer key-bob", "Content-Type": "application/json"})
        with begins.open(request, timeout=30) as answer:
            url = json.load(answer)["url"]
        # Another browser follows bob's link: it began nothing.
        with pytest.raises(urllib.error.HTTPError) as refused:
            sign_in(url, "alice-at-crm")
        assert refused.value.code == 400
        status, listed = gateway.api("connections", "key-bob")
        assert (status, listed["connections"][0]["state"]) == (200, "not connected")
        connect_on_page(gateway, "bob", "bob-at-crm")
        status, listed = gateway.api("connections", "key-bob")
        (mine,) = listed["connections"]
        assert (mine["state"], mine["holder"], mine["by"]) == ("connected", "person:bob", "bob")
        # Others do not hear of it; an admin does, and may end it.
        assert gateway.api("connections", "key-alice")[1]["connections"][0]["state"] == "not connected"
        holders = [one["holder"] for one in gateway.api("connections", "key-carol")[1]["connections"]]
        assert sorted(holders) == ["person:bob", "person:carol"]


@pytest.mark.anyio
async def test_a_token_is_renewed_once_for_all_who_wait(binary):
    """Two processes on one store, many calls at once, one renewal; and one that the issuer refuses ends the connection."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        upstream.set(ttl=2)
        login(gateway, "alice-at-crm", "--for", "alice")
        assert text(await call(gateway, "of-alice", "crm__whoami", "2026-07-28")) == "alice-at-crm"
        upstream.set(ttl=3600)
        before = len([one for one in upstream.seen()["token"] if one.get("grant") == "refresh_token"])
        # Until what it has is over.
        done = threading.Event()
        done.wait(2.5)
        results = []
        async with over_http(gateway.url, "key-of-alice", "2026-07-28") as client:
            async def one():
                results.append(text(await client.call_tool("crm__whoami", {})))

            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(one)
        assert results == ["alice-at-crm"] * 10
        renewed = [one for one in upstream.seen()["token"] if one.get("grant") == "refresh_token"]
        assert len(renewed) - before <= 1, renewed
        assert not [one for one in upstream.seen()["token"] if "error" in one]


async def awaited(look, is_it=bool):
    """What is seen once it is what is waited for: lists follow what happened elsewhere."""
    for _ in range(1_000):
        if is_it(seen := await look()):
            return seen
        await anyio.sleep(0.02)
    raise AssertionError(f"not in a thousand looks: {seen}")


async def until(happened, what: str) -> None:
    """Waits for what another process does."""
    for _ in range(1_000):
        if happened():
            return
        await anyio.sleep(0.02)
    raise AssertionError(f"never: {what}")


def renewals(upstream: Upstream) -> list[dict]:
    """What the issuer was asked for but codes: renewals, and whatever it refused."""
    return [one for one in upstream.seen()["token"] if one.get("grant") != "authorization_code"]


@pytest.mark.anyio
async def test_processes_that_renew_at_once_renew_once(binary):
    """`serve`, another `serve` and `stdio` on one store are refused the same token at the same time. The issuer rotates refresh
    tokens, and takes back everything where one comes twice."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        login(gateway, "alice-at-crm", "--for", "alice")
        stdio = [gateway.binary, "--config", str(gateway.config), "stdio", "--agent", "of-alice"]
        async with (
            beside(gateway) as second,
            over_http(gateway.url, "key-of-alice", "2026-07-28") as serve,
            over_http(second, "key-of-alice", "2026-07-28") as beside_it,
            over_stdio(stdio, "2026-07-28") as started,
        ):
            clients = [serve, beside_it, started]
            for client in clients:
                assert text(await client.call_tool("crm__whoami", {})) == "alice-at-crm"
            results, numbers = [], count()

            async def one(client):
                # Each call is another one: none repeats.
                results.append(text(await client.call_tool("crm__whoami", {"note": next(numbers)})))

            for _ in range(3):
                refused, before = upstream.seen()["refused"], len(renewals(upstream))
                held = upstream.seen()["held"]
                upstream.set(forget="true", hold="true")
                async with anyio.create_task_group() as group:
                    for client in clients:
                        group.start_soon(one, client)
                    await until(lambda: upstream.seen()["refused"] >= refused + 3, "all were refused")
                    await until(lambda: upstream.seen()["held"] > held, "one renews")
                    for client in clients * 3:
                        group.start_soon(one, client)
                    upstream.set(hold="false")
                assert results == ["alice-at-crm"] * 12
                assert renewals(upstream)[before:] == [{"grant": "refresh_token", "resource": upstream.url}]
                results.clear()


@contextmanager
def database():
    """A PostgreSQL database of its own."""
    server = Postgres()
    try:
        server.sql("CREATE DATABASE tollgate")
        yield f"postgres://tollgate@127.0.0.1:{server.port}/tollgate"
    finally:
        server.end()


def replica(binary, upstream: Upstream, url: str, page: str | None = None) -> Gateway:
    """A replica on a database; `page`: the address of the page, where that is another one's."""
    gateway = world(binary, upstream, "person")
    store = f'url = "{url}"\nvault_key = "{"0123456789" * 4}"'
    written(gateway, "servers.toml", 'url = "sqlite:data/tollgate.db"', store)
    written(gateway, "servers.toml", "[admin]\n", f'[admin]\npublic_url = "{page or gateway.admin}"\n')
    return gateway


@pytest.mark.anyio
async def test_replicas_share_accounts(binary):
    """A sign-in that begins on one replica comes back to another, and connects for both. Refused the same token at the same time, one
    renews it for both; what one disconnects is gone for the other."""
    with database() as url, Upstream() as upstream, replica(binary, upstream, url) as first, \
            replica(binary, upstream, url, first.admin) as second:
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        request = urllib.request.Request(f"{second.admin}/api/v1/connections/crm", data=b"{}", method="POST", headers={
            "Authorization": "Bearer key-alice", "Content-Type": "application/json", "Host": first.admin.removeprefix("http://")})
        with opener.open(request, timeout=30) as answer:
            sign_in(json.load(answer)["url"], "alice-at-crm", opener)
        async with (
            over_http(first.url, "key-of-alice", "2026-07-28") as one,
            over_http(second.url, "key-of-alice", "2026-07-28") as other,
        ):
            clients = [one, other]
            results, numbers = [], count()

            async def asks(client):
                results.append(text(await client.call_tool("crm__whoami", {"note": next(numbers)})))

            for gateway in (first, second):
                await until(lambda: gateway.api("connections", "key-alice")[1]["connections"][0]["state"] == "connected", "it is known")
            for client in clients:
                await asks(client)
            for _ in range(3):
                refused, before = upstream.seen()["refused"], len(renewals(upstream))
                upstream.set(forget="true")
                async with anyio.create_task_group() as group:
                    for client in clients * 3:
                        group.start_soon(asks, client)
                assert upstream.seen()["refused"] > refused
                assert renewals(upstream)[before:] == [{"grant": "refresh_token", "resource": upstream.url}]
            assert results == ["alice-at-crm"] * 20
        done = first.cli("servers", "logout", "crm", "--for", "alice")
        assert done.returncode == 0, done
        await until(lambda: second.api("connections", "key-alice")[1]["connections"][0]["state"] == "not connected", "it has ended")
        assert "alice-at-crm" not in await call_or_error(second, "of-alice", "crm__whoami", "2026-07-28")


@asynccontextmanager
async def beside(gateway: Gateway):
    """Another `serve` on the store of a gateway, at ports of its own."""
    mcp, admin = free_port(), free_port()
    config = gateway.folder / "beside.toml"
    text = gateway.config.read_text().replace(str(gateway.mcp_port), str(mcp)).replace(str(gateway.admin_port), str(admin))
    config.write_text(text)
    with subprocess.Popen([gateway.binary, "serve", "--config", str(config)], stdin=subprocess.DEVNULL, stdout=gateway.log,
                          stderr=gateway.log, cwd=gateway.folder) as process:
        def ready() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=1) as answer:
                    return answer.status == 200
            except OSError:
                return False

        try:
            await until(ready, "the second gateway is ready")
            yield f"http://127.0.0.1:{mcp}/mcp"
        finally:
            process.terminate()


@pytest.mark.anyio
async def test_a_process_that_is_killed_while_it_renews(binary):
    """The issuer has given a new refresh token and nobody has it: the old one counts no more, it is said why, and whoever connects
    again goes on."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        login(gateway, "alice-at-crm", "--for", "alice")
        assert text(await call(gateway, "of-alice", "crm__whoami", "2026-07-28")) == "alice-at-crm"
        upstream.set(forget="true", hold="true")
        async with anyio.create_task_group() as group:
            async def gives_up():
                with pytest.raises(BaseException):
                    await call(gateway, "of-alice", "crm__whoami", "2026-07-28")

            group.start_soon(gives_up)
            await until(lambda: upstream.seen()["held"] == 1, "it renews")
            gateway.kill()
            group.cancel_scope.cancel()
        upstream.set(hold="false")
        gateway.start()
        refused = await call(gateway, "of-alice", "crm__whoami", "2026-07-28")
        assert refused.is_error and refused.meta["tollgate/decision"]["policy_id"] == "credentials", refused
        (mine,) = gateway.api("connections", "key-alice")[1]["connections"]
        assert mine["state"] == "lost", mine
        assert "ended while it renewed" in mine["reason"] and "connect it again" in mine["reason"], mine
        told = json.loads(gateway.cli("servers", "list", "--json").stdout)["servers"][0]
        assert (told["state"], told["connected"]) == ("per person", 0)
        lost = gateway.events(event_type="admin_action", action="credential_lost")
        assert len(lost) == 1, lost
        login(gateway, "alice-at-crm", "--for", "alice")
        assert text(await call(gateway, "of-alice", "crm__whoami", "2026-07-28")) == "alice-at-crm"


@pytest.mark.anyio
@pytest.mark.parametrize("who", ["the client", "the gateway"])
async def test_who_leaves_while_a_token_is_renewed_leaves_it_whole(binary, who):
    """A call is cancelled, or the gateway is asked to end, after the issuer has given the new token: it is kept."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        login(gateway, "alice-at-crm", "--for", "alice")
        assert text(await call(gateway, "of-alice", "crm__whoami", "2026-07-28")) == "alice-at-crm"
        upstream.set(forget="true", hold="true")
        async with anyio.create_task_group() as group:
            group.start_soon(call, gateway, "of-alice", "crm__whoami", "2026-07-28")
            await until(lambda: upstream.seen()["held"] == 1, "it renews")
            group.cancel_scope.cancel()
        await until(lambda: len(gateway.events(event_type="agent_side_effect")) == 2, "the call is over")
        if who == "the gateway":
            gateway.process.terminate()
            await until(lambda: "drain.ended" in gateway.tail(), "it ends")
            upstream.set(hold="false")
            gateway.process.wait(30)
            gateway.start()
        else:
            upstream.set(hold="false")
        assert text(await call(gateway, "of-alice", "crm__whoami", "2026-07-28")) == "alice-at-crm"
        assert renewals(upstream) == [{"grant": "refresh_token", "resource": upstream.url}]


@pytest.mark.anyio
async def test_a_refusal_for_a_moment_ends_no_connection(binary):
    """401 to one call, where 403 is right, is that call's own; 401 to all costs nobody the account and the issuer one renewal."""
    with Upstream() as upstream, world(binary, upstream, "gateway") as gateway:
        login(gateway, "service")
        await until_listed(gateway, "of-alice")
        upstream.set(denies="write")
        for _ in range(3):
            refused = await call(gateway, "of-bob", "crm__write", "2026-07-28")
            assert refused.is_error and "401" in text(refused), refused
            assert text(await call(gateway, "of-alice", "crm__whoami", "2026-07-28")) == "service"
        assert renewals(upstream) == []
        upstream.set(refuse="true")
        for _ in range(5):
            assert "service" != await call_or_error(gateway, "of-alice", "crm__whoami", "2026-07-28")
        assert len(renewals(upstream)) == 1, renewals(upstream)
        (ours,) = gateway.api("connections", "key-carol")[1]["connections"]
        assert ours["state"] == "connected", ours
        # Nothing was lost: with the server in order it goes on, here after a start.
        upstream.set(refuse="false")
        gateway.stop()
        gateway.start()
        await until_listed(gateway, "of-alice")
        assert text(await call(gateway, "of-alice", "crm__whoami", "2026-07-28")) == "service"


async def until_listed(gateway: Gateway, agent: str) -> None:
    await awaited(lambda: tools(gateway, agent, "2026-07-28"))


@pytest.mark.anyio
async def test_more_scopes_are_asked_for_together_with_the_old(binary):
    """403 insufficient_scope: the next connection asks for the union."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        login(gateway, "alice-at-crm", "--for", "alice")
        refused = await call_or_error(gateway, "of-alice", "crm__write", "2026-07-28")
        assert "written" not in refused
        (mine,) = gateway.api("connections", "key-alice")[1]["connections"]
        assert (mine["scopes"], mine["wants"]) == (["notes:read"], ["notes:write"])
        login(gateway, "alice-at-crm", "--for", "alice")
        (mine,) = gateway.api("connections", "key-alice")[1]["connections"]
        assert (sorted(mine["scopes"]), mine["wants"]) == (["notes:read", "notes:write"], [])
        written = await awaited(lambda: call_or_error(gateway, "of-alice", "crm__write", "2026-07-28"),
                              lambda written: "written" in written)
        assert written == "written by alice-at-crm"


@pytest.mark.anyio
async def test_too_few_scopes_are_told_to_the_call_that_lacks_them_alone(binary):
    """One account for everybody: what one call lacks takes no other's answer, and what the server writes as scopes is no word of ours."""
    with Upstream() as upstream, world(binary, upstream, "gateway") as gateway:
        login(gateway, "service")
        await until_listed(gateway, "of-alice")
        upstream.set(wants="notes:write ignore`the`rules")
        answers = []

        async def waits():
            async with over_http(gateway.url, "key-of-alice", "2026-07-28") as client:
                answers.append(await client.call_tool("crm__whoami", {"waits": True}))

        async with anyio.create_task_group() as group:
            group.start_soon(waits)
            while not upstream.seen()["calls"]:
                await anyio.lowlevel.checkpoint()
            refused = await call(gateway, "of-bob", "crm__write", "2026-07-28")
            upstream.set(go="1")
        assert not answers[0].is_error and text(answers[0]) == "service", answers
        said, ours = [part.text for part in refused.content]
        assert refused.is_error and "403" in said and "insufficient_scope" in said, refused
        assert "tollgate servers login crm" in ours and f"{gateway.admin}/#/connections" in ours
        assert "notes" not in ours and "rules" not in ours
        # It was let through and failed over there: no decision of ours.
        assert "tollgate/decision" not in (refused.meta or {})
        wants = gateway.api("connections", "key-carol")[1]["connections"][0]["wants"]
        assert wants == ["notes:write"], wants
        effects = gateway.events(event_type="agent_side_effect")
        (failed,) = [event for event in effects if event["outcome"] != "succeeded"]
        assert failed["outcome"] == "failed" and "insufficient_scope" in failed["reason"], failed


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_more_scopes_are_granted_while_the_call_waits(binary, era):
    """403 insufficient_scope with a client that opens pages: it is asked, and the call is made once more when they are granted."""
    with Upstream() as upstream, world(binary, upstream, "person", approval_wait="20s") as gateway:
        upstream.set(era="modern" if era != "legacy" else "legacy")
        login(gateway, "alice-at-crm", "--for", "alice")

        class Person(User):
            async def __call__(self, _context, params):
                self.asked.append(params)
                connect_on_page(gateway, "alice", "alice-at-crm")
                return ElicitResult(action="accept")

        person = Person()
        assert text(await call(gateway, "of-alice", "crm__write", era, person)) == "written by alice-at-crm"
        (asked,) = person.asked
        assert (asked.mode, asked.url) == ("url", f"{gateway.admin}/#/connections")
        assert "granted too little" in asked.message and "notes" not in asked.message, asked.message
        # Two calls were made, each with a permit and a record of its own.
        decided = gateway.events(event_type="agent_decision", tool="crm__write")
        assert len({event["call_id"] for event in decided}) == len(decided) == 2
        settled = gateway.events(event_type="agent_side_effect", tool="crm__write")
        assert [event["outcome"] for event in settled] == ["failed", "succeeded"]


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_more_scopes_that_nobody_grants(binary, era):
    """Whoever declines is told where to grant them, and so is whoever cannot be asked; the call is not made again."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        upstream.set(era="modern" if era != "legacy" else "legacy")
        login(gateway, "alice-at-crm", "--for", "alice")
        said_no = User.says("decline")
        for user in [said_no, None]:
            refused = await call(gateway, "of-alice", "crm__write", era, user)
            said, ours = [part.text for part in refused.content]
            assert refused.is_error and "403" in said and f"{gateway.admin}/#/connections" in ours, refused
        assert len(said_no.asked) == 1
        # The era without sessions makes the call once more with the answer, and hears of it before anything is sent.
        assert len([made for made in upstream.seen()["calls"] if made["tool"] == "write"]) == (2 if era == "legacy" else 3)


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_each_agent_has_its_own(binary, era):
    """`per = "agent"`: connected by the agent's operator, used by that agent alone, over stdio and HTTP, until it is disconnected."""
    with Upstream() as upstream, world(binary, upstream, "agent") as gateway:
        upstream.set(era="modern" if era != "legacy" else "legacy")
        refused = await call(gateway, "of-alice", "crm__whoami", era)
        assert refused.is_error and "agent `of-alice`" in text(refused), refused
        unnamed = gateway.cli("servers", "login", "crm", key="key-alice")
        assert unnamed.returncode == 1 and "--for AGENT" in unnamed.stderr, unnamed
        # Whoever does not operate it does not connect it.
        foreign = gateway.cli("servers", "login", "crm", "--for", "of-alice", key="key-bob")
        assert foreign.returncode == 1 and "it takes the role `admin`" in foreign.stderr, foreign
        login(gateway, "desk-of-alice", "--for", "of-alice", key="key-alice")
        stdio = [gateway.binary, "--config", str(gateway.config), "stdio", "--agent"]
        assert text(await call(gateway, "of-alice", "crm__whoami", era)) == "desk-of-alice"
        async with over_stdio([*stdio, "of-alice"], era) as client:
            names = sorted(tool.name for tool in (await client.list_tools()).tools)
            assert names == ["crm__only_desk-of-alice", "crm__whoami", "crm__write"]
            assert text(await client.call_tool("crm__whoami", {})) == "desk-of-alice"
        # Nobody else has it: not an agent of the same capabilities, nor one of the same operator.
        for agent in ["of-bob", "of-nobody", "stranger"]:
            assert await tools(gateway, agent, era) == []
        assert "agent `of-bob`" in text(await call(gateway, "of-bob", "crm__whoami", era))
        async with over_stdio([*stdio, "of-nobody", "--user", "alice"], era) as client:
            assert (await client.list_tools()).tools == []
            assert "agent `of-nobody`" in text(await client.call_tool("crm__whoami", {}))
        login(gateway, "desk-of-nobody", "--for", "of-nobody")
        assert text(await call(gateway, "of-nobody", "crm__whoami", era)) == "desk-of-nobody"
        assert text(await call(gateway, "of-alice", "crm__whoami", era)) == "desk-of-alice"
        foreign = gateway.cli("servers", "logout", "crm", "--for", "of-alice", key="key-bob")
        assert foreign.returncode == 1, foreign
        assert gateway.cli("servers", "logout", "crm", "--for", "of-alice", key="key-alice").returncode == 0
        # Another process has logged out: a call that nothing was sent for looks whether that is so.
        said = text(await call(gateway, "of-alice", "crm__whoami", era))
        assert "is not connected for agent `of-alice`" in said and "`tollgate servers login crm --for of-alice`" in said, said
        assert text(await call(gateway, "of-nobody", "crm__whoami", era)) == "desk-of-nobody"
        assert {made["sub"] for made in upstream.seen()["calls"]} == {"desk-of-alice", "desk-of-nobody"}


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_a_person_over_stdio(binary, era):
    """`--user` says whose account it is; started without, an agent that nobody operates has none."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        upstream.set(era="modern" if era != "legacy" else "legacy")
        login(gateway, "bob-at-crm", "--for", "bob")
        stdio = [gateway.binary, "--config", str(gateway.config), "stdio", "--agent", "of-nobody"]
        async with over_stdio([*stdio, "--user", "bob"], era) as client:
            assert text(await client.call_tool("crm__whoami", {})) == "bob-at-crm"
            # While it runs, another process disconnects.
            assert gateway.cli("servers", "logout", "crm", key="key-bob").returncode == 0
            refused = await client.call_tool("crm__whoami", {})
            assert refused.is_error and "is not connected" in text(refused), refused
            assert f"{gateway.admin}/#/connections" in text(refused), refused
        async with over_stdio([*stdio, "--user", "alice"], era) as client:
            assert "is not connected for `alice`" in text(await client.call_tool("crm__whoami", {}))
        async with over_stdio(stdio, era) as client:
            assert "acts for nobody" in text(await client.call_tool("crm__whoami", {}))


@pytest.mark.anyio
@pytest.mark.parametrize("revocation", ["offered", "not offered"])
async def test_a_disconnect_takes_tokens_back_where_the_issuer_does(binary, revocation):
    """RFC 7009: after `logout` the issuer knows neither token any more; where it does not offer that, it is said."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        upstream.set(revocation=revocation)
        login(gateway, "alice-at-crm", "--for", "alice")
        assert text(await call(gateway, "of-alice", "crm__whoami", "2026-07-28")) == "alice-at-crm"
        token = upstream.seen()["calls"][0]["token"]
        out = gateway.cli("servers", "logout", "crm", "--for", "alice")
        assert out.returncode == 0, out
        assert ("revoked" in out.stdout) == (revocation == "offered"), out
        request = urllib.request.Request(upstream.url, data=b'{"jsonrpc":"2.0","id":1,"method":"ping"}', method="POST",
                                         headers={"Authorization": token, "Content-Type": "application/json"})
        if revocation == "offered":
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=10)
            assert refused.value.code == 401
        else:
            urllib.request.urlopen(request, timeout=10).close()
        (ended,) = gateway.events(event_type="admin_action", action="credential_disconnected")
        assert ended["detail"]["revoked"] is (revocation == "offered"), ended


@pytest.mark.anyio
async def test_who_disconnects_while_it_is_renewed_leaves_nothing_behind(binary):
    """What the issuer gives after the disconnect is taken back too."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        login(gateway, "alice-at-crm", "--for", "alice")
        assert text(await call(gateway, "of-alice", "crm__whoami", "2026-07-28")) == "alice-at-crm"
        upstream.set(forget="true", hold="true")
        async with anyio.create_task_group() as group:
            group.start_soon(call_or_error, gateway, "of-alice", "crm__whoami", "2026-07-28")
            await until(lambda: upstream.seen()["held"] == 1, "it renews")
            assert gateway.cli("servers", "logout", "crm", "--for", "alice").returncode == 0
            upstream.set(hold="false")
        await until(lambda: upstream.seen()["alive"] == 0, "no token is left")
        (mine,) = gateway.api("connections", "key-alice")[1]["connections"]
        assert mine["state"] == "not connected", mine


@pytest.mark.anyio
async def test_somebodys_own_list_is_shown_to_them_and_to_admins(binary):
    """`servers inspect --for` and `GET tools?person=`: an admin's look is recorded, and nobody else sees another's list."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        login(gateway, "alice-at-crm", "--for", "alice")

        def listed(query: str, key: str):
            status, answer = gateway.api(f"tools{query}", key)
            return status, sorted(tool["name"] for tool in answer.get("tools", []))

        alices = ["crm__only_alice-at-crm", "crm__whoami", "crm__write"]
        assert listed("", "key-carol") == (200, [])
        assert listed("?person=alice", "key-carol") == (200, alices)
        assert listed("?person=bob", "key-carol") == (200, [])
        assert listed("?person=alice", "key-alice") == (200, alices)
        assert listed("?person=bob", "key-alice") == (403, [])
        assert listed("?person=nobody", "key-carol")[0] == 404
        assert listed("?person=alice&agent=of-alice", "key-carol")[0] == 400
        # A page of it, like any list.
        assert listed("?person=alice&limit=1", "key-carol") == (200, alices[:1])

        def inspected(*arguments: str, key: str | None = None):
            out = gateway.cli("servers", "inspect", "crm", "--json", *arguments, key=key)
            return out.stderr if out.returncode else sorted(tool["name"] for tool in json.loads(out.stdout)["tools"])

        assert "--for PERSON" in inspected()
        assert inspected("--for", "alice") == alices
        assert inspected("--for", "alice", key="key-carol") == alices
        assert inspected(key="key-alice") == alices
        assert "`admin`" in inspected("--for", "bob", key="key-alice")
        assert "not connected for `bob`" in inspected("--for", "bob")
        viewed = gateway.events(event_type="admin_action", action="personal_lists_viewed")
        told = [(event["detail"]["person"], event["detail"]["holder"], event["detail"]["through"]) for event in viewed]
        assert told == [("carol", "person:alice", "api"), ("carol", "person:bob", "api"), ("carol", "person:alice", "api"),
                        (None, "person:alice", "cli"), ("carol", "person:alice", "cli")]


def modern(gateway: Gateway, agent: str, method: str, name: str, params: dict) -> dict:
    """A request of 2026-07-28 by a client that takes tasks."""
    meta = {"protocolVersion": "2026-07-28", "clientInfo": {"name": "c", "version": "1"},
            "clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}
    params = {**params, "_meta": {f"io.modelcontextprotocol/{key}": value for key, value in meta.items()}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    headers = {"Authorization": f"Bearer key-{agent}", "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
               "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, "Mcp-Name": name}
    request = urllib.request.Request(gateway.url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        text = error.read().decode()
    lines = [line[5:] for line in text.splitlines() if line.startswith("data:")]
    return json.loads(lines[-1] if lines else text)


@pytest.mark.anyio
async def test_a_task_is_asked_about_with_its_callers_own_account(binary):
    """`tasks/get` and `tasks/cancel`: after its token was renewed, after a restart, and not after it was disconnected."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        upstream.set(era="modern")
        for person in ["alice", "bob"]:
            login(gateway, f"{person}-at-crm", "--for", person)

        def ask(verb: str, agent: str, task: str) -> dict:
            return modern(gateway, agent, f"tasks/{verb}", task, {"taskId": task})

        made = {}
        for agent in ["of-alice", "of-bob"]:
            reply = modern(gateway, agent, "tools/call", "crm__whoami", {"name": "crm__whoami", "arguments": {"later": True}})
            assert reply["result"]["resultType"] == "task", reply
            made[agent] = reply["result"]["taskId"]
        # Nobody else's.
        assert ask("get", "of-bob", made["of-alice"])["error"]["code"] == -32602
        upstream.set(forget="true")
        reply = ask("get", "of-alice", made["of-alice"])
        assert reply["result"]["result"]["content"][0]["text"] == "done for alice-at-crm", reply
        assert renewals(upstream) == [{"grant": "refresh_token", "resource": upstream.url}]
        gateway.stop()
        gateway.start()
        reply = ask("get", "of-bob", made["of-bob"])
        assert reply["result"]["result"]["content"][0]["text"] == "done for bob-at-crm", reply
        assert "result" in ask("cancel", "of-bob", made["of-bob"])
        assert gateway.cli("servers", "logout", "crm", "--for", "alice").returncode == 0
        await until(lambda: "error" in ask("get", "of-alice", made["of-alice"]), "it is refused")
        before = len(upstream.seen()["tasks"])
        assert "error" in ask("cancel", "of-alice", made["of-alice"])
        assert len(upstream.seen()["tasks"]) == before
        assert {one["sub"] for one in upstream.seen()["tasks"]} == {"alice-at-crm", "bob-at-crm"}


@pytest.mark.anyio
async def test_the_browser_may_be_on_another_machine(binary):
    """`--paste`: the address to which the browser was sent comes by standard input."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        command = [gateway.binary, "--config", str(gateway.config), "servers", "login", "crm", "--for", "alice", "--paste"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              cwd=gateway.folder) as process:
            url = process.stdout.readline().strip()
            with pytest.raises(urllib.error.URLError) as nowhere:
                sign_in(url, "alice-at-crm", urllib.request.build_opener(Kept, urllib.request.HTTPCookieProcessor(CookieJar())))
            out, err = process.communicate(str(nowhere.value.reason) + "\n", timeout=60)
            assert process.returncode == 0, err
        assert text(await call(gateway, "of-alice", "crm__whoami", "2026-07-28")) == "alice-at-crm"
        # This issuer names itself in its answers: a code that comes alone is told to bring the rest.
        refused = subprocess.run(command, input="code-alone\n", capture_output=True, text=True, cwd=gateway.folder, timeout=60)
        assert refused.returncode == 1 and "whole address" in refused.stderr and "or the code" not in refused.stderr, refused
        # Nobody connects for somebody else with a key of their own.
        refused = gateway.cli("servers", "login", "crm", "--for", "alice", key="key-bob")
        assert refused.returncode == 1 and "`admin`" in refused.stderr, refused
        assert gateway.cli("servers", "logout", "crm", "--for", "alice", key="key-carol").returncode == 0


@pytest.mark.anyio
async def test_a_client_that_the_issuer_has_forgotten_is_registered_anew(binary):
    """The client of the page is one for everybody, for as long as the issuer knows it: nobody is sent there in vain."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        connect_on_page(gateway, "alice", "alice-at-crm")
        connect_on_page(gateway, "bob", "bob-at-crm")
        assert upstream.seen()["registered"] == 1
        upstream.restart()
        connect_on_page(gateway, "alice", "alice-at-crm")
        assert upstream.seen()["registered"] == 1
        assert text(await call(gateway, "of-alice", "crm__whoami", "2026-07-28")) == "alice-at-crm"


@pytest.mark.anyio
async def test_a_client_whose_secret_ends_is_registered_anew(binary):
    """RFC 7591, `client_secret_expires_at`: one that lasts is kept for whoever connects next, one that ends meanwhile is not."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        upstream.set(secretLasts=24 * 3600)
        connect_on_page(gateway, "alice", "alice-at-crm")
        connect_on_page(gateway, "bob", "bob-at-crm")
        assert upstream.seen()["registered"] == 1
        # An issuer that knows nobody any more: the next client ends before whoever signs in has to be back.
        upstream.restart()
        upstream.set(secretLasts=300)
        for count, person in enumerate(["alice", "bob"], 1):
            connect_on_page(gateway, person, f"{person}-at-crm")
            assert upstream.seen()["registered"] == count
            assert text(await call(gateway, f"of-{person}", "crm__whoami", "2026-07-28")) == f"{person}-at-crm"


def a_client_of(upstream: Upstream, folder: Path) -> dict[str, str]:
    """A home folder with a client's file that names the server; the environment of who lives there."""
    (folder / ".cursor").mkdir()
    (folder / "gate").mkdir()
    servers = {"mcpServers": {"crm": {"url": upstream.url}}}
    (folder / ".cursor/mcp.json").write_text(json.dumps(servers))
    return {name: value for name, value in os.environ.items() if not name.startswith(("TOLLGATE_", "XDG_"))} | {"HOME": str(folder)}


SIGNS_IN = 'oauth = { grant = "authorization_code", per = "gateway" }'


def test_init_says_how_to_sign_in(binary, tmp_path):
    """A server that wants a sign-in comes with `oauth`; with `--yes` the command is said."""
    with Upstream() as upstream:
        env = a_client_of(upstream, tmp_path)
        done = subprocess.run([binary.resolve(), "init", "--yes"], capture_output=True, text=True, env=env, cwd=tmp_path / "gate", timeout=60)
        assert done.returncode == 0 and "tollgate servers login crm" in done.stdout, done
        assert SIGNS_IN in (tmp_path / "gate/servers.toml").read_text()
        checked = subprocess.run([binary.resolve(), "check"], capture_output=True, text=True, env=env, cwd=tmp_path / "gate", timeout=60)
        assert checked.returncode == 0, checked
        # One whose client has a credential for it wants another one of that kind.
        (tmp_path / "other").mkdir()
        servers = {"mcpServers": {"crm": {"url": upstream.url, "headers": {"Authorization": "Bearer ${CRM_TOKEN:-none}"}}}}
        (tmp_path / ".cursor/mcp.json").write_text(json.dumps(servers))
        done = subprocess.run([binary.resolve(), "init", "--yes", "--secrets", "none"], capture_output=True, text=True,
                              env=env | {"CRM_TOKEN": "none"}, cwd=tmp_path / "other", timeout=60)
        assert done.returncode == 0 and "servers login" not in done.stdout, done
        assert "oauth" not in (tmp_path / "other/servers.toml").read_text()


@pytest.mark.parametrize("more", [[], ["--add"]])
def test_init_offers_to_sign_in(binary, tmp_path, more):
    """At a terminal: whoever says yes is sent to the issuer, and the account is connected."""
    with Upstream() as upstream:
        env = a_client_of(upstream, tmp_path)
        if more:
            (tmp_path / ".cursor/mcp.json").rename(tmp_path / "later")
            subprocess.run([binary.resolve(), "init", "--yes", "--no-start"], check=True, capture_output=True, env=env, cwd=tmp_path / "gate")
            (tmp_path / "later").rename(tmp_path / ".cursor/mcp.json")
        terminal, inside = os.openpty()
        os.write(terminal, b"\n" * 20)  # Enter is the answer to everything.
        with subprocess.Popen([binary.resolve(), "init", *more], stdin=inside, stderr=inside, stdout=subprocess.PIPE, text=True, env=env,
                              cwd=tmp_path / "gate") as process:
            os.close(inside)
            said = []
            for line in process.stdout:
                said.append(line)
                if line.startswith(upstream.issuer):
                    sign_in(line.strip(), "ann-at-crm")
            shown = b""
            while True:
                try:
                    part = os.read(terminal, 65536)
                except OSError:  # Nobody has it open any more.
                    break
                shown += part
        os.close(terminal)
        assert process.returncode == 0 and "`crm` is connected" in "".join(said), ("".join(said), shown)
        assert SIGNS_IN in (tmp_path / "gate/servers.toml").read_text()


@pytest.mark.anyio
async def test_what_is_not_configured_any_more_can_be_seen_and_ended(binary):
    """An account of an upstream that servers.toml has no more: an admin sees it, and it is revoked like any other."""
    with Upstream() as upstream, world(binary, upstream, "person") as gateway:
        login(gateway, "alice-at-crm", "--for", "alice")
        gateway.stop()
        gateway.config.write_text(gateway.config.read_text().replace("[upstreams.crm]", "[upstreams.wiki]"))
        gateway.start()
        listed = gateway.api("connections", "key-carol")[1]["connections"]
        (crm,) = [one for one in listed if one["upstream"] == "crm"]
        assert (crm["holder"], crm["state"], crm["may_connect"]) == ("person:alice", "connected", False)
        assert gateway.cli("servers", "logout", "crm", "--for", "alice", key="key-bob").returncode == 1
        out = gateway.cli("servers", "logout", "crm", "--for", "alice")
        assert out.returncode == 0 and "revoked" in out.stdout, out
        assert upstream.seen()["revoked"] == 1
        assert [one["upstream"] for one in gateway.api("connections", "key-carol")[1]["connections"]] == ["wiki"]


class Kept(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but for the last, to a machine on which nobody listens: that address is kept."""

    def redirect_request(self, request, fp, code, message, headers, url):
        if "/callback?" in url:
            raise urllib.error.URLError(url)
        return super().redirect_request(request, fp, code, message, headers, url)


@pytest.mark.anyio
async def test_a_callers_token_is_exchanged_and_never_passed_on(binary):
    """RFC 8693: each caller reaches the upstream with what the issuer gives for their own token; `act` reaches the issuer whole."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())), "kid": "one", "alg": "ES256", "use": "sig"}

    def token(agent: str, **more) -> str:
        now = int(time.time())
        claims = {"iss": "https://idp.example", "aud": "tollgate", "sub": agent, "iat": now, "exp": now + 600, **more}
        return jwt.encode(claims, key, algorithm="ES256", headers={"kid": "one"})

    with Upstream() as upstream:
        oauth = f'''[upstreams.crm]
url = "{upstream.url}"
oauth = {{ grant = "token_exchange", token_url = "{upstream.issuer}/token", client_id = "exchanger", client_secret = "exchanger-secret" }}
'''
        auth = 'jwt = { issuer = "https://idp.example", audience = "tollgate", jwks_file = "jwks.json" }'
        gateway = Gateway(binary, oauth, POLICIES, auth=auth, ready_within=60)
        (gateway.folder / "jwks.json").write_text(json.dumps({"keys": [public]}))
        with gateway:
            sent = {"of-alice": token("of-alice", act={"sub": "desk"}), "of-bob": token("of-bob")}
            for agent, bearer in sent.items():
                async with over_http(gateway.url, bearer, "2026-07-28") as client:
                    names = sorted(tool.name for tool in (await client.list_tools()).tools)
                    assert names == [f"crm__only_{agent}-at-crm", "crm__whoami", "crm__write"]
                    assert text(await client.call_tool("crm__whoami", {})) == f"{agent}-at-crm"
            seen = upstream.seen()
            assert [one["act"] for one in seen["exchanged"]] == [{"sub": "desk"}, None]
            assert {one["actor"] for one in seen["exchanged"]} == {"exchanger"}
            assert {one["resource"] for one in seen["exchanged"]} == {upstream.url}
            assert [one["subject_token"] for one in seen["exchanged"]] == list(sent.values())
            for made in seen["calls"]:
                assert made["token"].split(" ")[1] not in sent.values()
            # The next token of the same caller goes on with what was had, and none is sent for whom nothing there is meant.
            async with over_http(gateway.url, token("of-alice", act={"sub": "desk"}, jti="next"), "2026-07-28") as client:
                assert text(await client.call_tool("crm__whoami", {})) == "of-alice-at-crm"
            async with over_http(gateway.url, token("stranger"), "2026-07-28") as client:
                assert (await client.list_tools()).tools == []
            assert len(upstream.seen()["exchanged"]) == 2
            # Whoever comes with a key has nothing to exchange.
            refused = await call(gateway, "of-alice", "crm__whoami", "2026-07-28")
            assert refused.is_error and "came without one" in text(refused), refused


@pytest.mark.anyio
async def test_why_somebodys_own_server_is_down(binary):
    """Of a server that each reaches with an account of their own: in the list, at /readyz and by the API."""
    with Upstream() as upstream, world(binary, upstream, "agent") as gateway:
        login(gateway, "desk", "--for", "of-alice")
        assert text(await call(gateway, "of-alice", "crm__whoami", "legacy")) == "desk"
        listed = lambda: json.loads(gateway.cli("servers", "list", "--json").stdout)["servers"][0]
        assert (listed()["state"], listed()["reason"]) == ("per agent", None)
        upstream.process.kill()
        upstream.process.wait(10)
        with anyio.fail_after(30):
            while listed()["reason"] is None:
                assert (await call(gateway, "of-alice", "crm__whoami", "legacy")).is_error
        assert "not reachable" in listed()["reason"] and listed()["failed_attempts"] > 0, listed()
        assert "per agent: 1 connected; down for somebody: not reachable" in gateway.cli("servers", "list").stdout.replace("\n", " ")
        asked = urllib.request.Request(f"{gateway.admin}/readyz", headers={"Authorization": "Bearer key-carol"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            ready = json.load(answer)
        assert "`crm`, which callers reach with accounts of their own, is down for at least one of them" in json.dumps(ready, ensure_ascii=False), ready
