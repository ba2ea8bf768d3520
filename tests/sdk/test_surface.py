"""Skills and pages of real servers behind the gateway (R92), in both eras."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client, MCPError
from mcp.client.extension import ClientExtension
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp_types import Request, Result

from client import ERAS, decision, said
from harness import Gateway, digest

UPSTREAM = str(Path(__file__).with_name("surface_upstream.py"))

POLICIES = {
    "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\n',
    "authority.yaml": """\
capabilities:
  everything: { tools: ["*"], resources: ["**"], prompts: ["*"] }
  tools: { tools: ["*"] }
  main: { tools: ["*"], resources: ["skill://refunds/SKILL.md", "ui://b+app/**"] }
  one: { resources: ["skill://refunds/**"] }
agents:
  whole: { owner: tests, capabilities: [everything], keys: ["%s"] }
  blind: { owner: tests, capabilities: [tools], keys: ["%s"] }
  part:  { owner: tests, capabilities: [main], keys: ["%s"] }
  first: { owner: tests, capabilities: [one], keys: ["%s"] }
people:
  root: { keys: ["%s"], groups: [], roles: [admin] }
""" % tuple(digest(f"key-{name}") for name in ("whole", "blind", "part", "first", "root")),
    "pages.yaml": """\
name: pages
description: What a page calls is decided like any call
owner: tests
on: [{ tool: "b__refresh" }]
rules:
  - { id: no, condition: "true", decision: DENY, reason: "not from here" }
""",
}


class Pages(ClientExtension):
    identifier = "io.modelcontextprotocol/ui"

    def settings(self):
        return {"mimeTypes": ["text/html;profile=mcp-app"]}


@asynccontextmanager
async def connected(gateway, agent: str, era: str, pages: bool = True):
    headers = {"Authorization": f"Bearer key-{agent}"}
    async with create_mcp_http_client(headers=headers) as http:
        transport = streamable_http_client(gateway.url, http_client=http)
        extensions = [Pages()] if pages else None
        async with Client(transport, mode=era, cache=None, extensions=extensions) as client:
            yield client


class Anything(Result):
    model_config = {"extra": "allow"}


async def ask(client, method: str, **params):
    request = Request[dict, str](method=method, params=params)
    result = await client.session.send_request(request, Anything)
    return result.model_dump(mode="json", by_alias=True)


@pytest.fixture
def folders(tmp_path):
    folders = {}
    for name in ("a", "b"):
        folder = folders[name] = tmp_path / name
        (folder / "references").mkdir(parents=True)
        (folder / "SKILL.md").write_text(f"---\nname: refunds\ndescription: How {name} gives money back\n---\n# {name}\n")
        (folder / "references/GUIDE.md").write_text(f"the guide of {name}\r\n")
        (folder / "data.bin").write_bytes(bytes(range(256)) + name.encode())
        (folder / "unlisted.md").write_text("nobody listed this")
    return folders


@pytest.fixture
def gateway(binary, folders):
    tables = "\n".join(
        f"""
[upstreams.{name}]
command = {json.dumps([sys.executable, UPSTREAM, name, str(folder)])}
"""
        for name, folder in folders.items()
    )
    tables += """
apps = { connect_domains = ["https://*.example.com"], permissions = ["clipboard_write"] }
"""
    with Gateway(binary, tables, POLICIES) as running:
        asyncio.run(asyncio.wait_for(both_listed(running), 90))
        yield running


async def both_listed(gateway):
    """The gateway is ready after 10 s at most, however long its servers take to start."""
    async with connected(gateway, "whole", "2026-07-28") as client:
        while len((await client.list_tools()).tools) < 4:
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("era", ERAS)
def test_skills_of_two_servers_keep_apart(gateway, folders, era):
    """R92: routed, scoped and apart, with their digests, though both have the same URI."""

    async def run():
        async with connected(gateway, "whole", era) as client:
            listed = (await ask(client, "skills/list"))["skills"]
            assert [skill["uri"] for skill in listed] == ["b+skill://refunds/SKILL.md", "skill://refunds/SKILL.md"]
            for skill, name in zip(listed, ("b", "a"), strict=True):
                assert skill["frontmatter"] == {
                    "name": "refunds", "description": f"How {name} gives money back", "license": "X"}
                assert len(skill["resources"]) == 3
                got = await ask(client, "skills/get", uri=skill["uri"])
                assert got["skill"] == skill
                for file in skill["resources"]:
                    read = (await client.read_resource(file["uri"])).contents[0]
                    assert str(read.uri) == file["uri"]
                    content = read.text.encode() if hasattr(read, "text") else base64.b64decode(read.blob)
                    assert content == (folders[name] / file["uri"].split("refunds/")[1]).read_bytes()
                    assert file["digest"] == "sha256:" + hashlib.sha256(content).hexdigest()
                    assert file["size"] == len(content)
            with pytest.raises(MCPError) as unknown:
                await ask(client, "skills/get", uri="skill://wrong/SKILL.md")
            assert unknown.value.error.code == -32602
        async with connected(gateway, "first", era) as client:
            # A pattern for one of the two says nothing of the other.
            listed = (await ask(client, "skills/list"))["skills"]
            assert [skill["uri"] for skill in listed] == ["skill://refunds/SKILL.md"]
            with pytest.raises(MCPError):
                await client.read_resource("b+skill://refunds/SKILL.md")

    asyncio.run(run())


@pytest.mark.parametrize("era", ERAS)
def test_a_skill_out_of_scope_is_not_seen(gateway, era):
    """R92: a skill is listed where every file of it is in scope, and only then."""

    async def run():
        for agent in ("blind", "part"):
            async with connected(gateway, agent, era) as client:
                assert (await ask(client, "skills/list"))["skills"] == []
                for uri in ("skill://refunds/SKILL.md", "b+skill://refunds/SKILL.md"):
                    with pytest.raises(MCPError) as unknown:
                        await ask(client, "skills/get", uri=uri)
                    assert unknown.value.error.code == -32602
                with pytest.raises(MCPError):
                    await client.read_resource("skill://refunds/references/GUIDE.md")

    asyncio.run(run())


@pytest.mark.parametrize("era", ERAS)
def test_a_file_that_is_not_what_was_listed_is_withheld(gateway, folders, era):
    """R92: digests are checked on each read. The skill is listed again, and held until a person accepts what it is then."""

    async def run():
        async with connected(gateway, "whole", era) as client:
            uri = "skill://refunds/references/GUIDE.md"
            await client.read_resource(uri)
            for changed in ("the guide of x\r\n", "longer than it was\n"):
                (folders["a"] / "references/GUIDE.md").write_text(changed)
                with pytest.raises(MCPError) as withheld:
                    await client.read_resource(uri)
                assert withheld.value.error.code == 502 and "skills/get" in withheld.value.error.message
                assert changed.strip() not in str(withheld.value.error)
                # What its server now lists arrives by itself.
                wanted = "sha256:" + hashlib.sha256(changed.encode()).hexdigest()
                while not await is_held(client):
                    await asyncio.sleep(0.05)
                with pytest.raises(MCPError) as held:
                    await client.read_resource(uri)
                assert changed.strip() not in str(held.value.error)
                done = await asyncio.to_thread(gateway.cli, "servers", "accept", "a", key="key-root")
                assert done.returncode == 0, done.stderr
                while await is_held(client):
                    await asyncio.sleep(0.05)
                skill = (await ask(client, "skills/get", uri="skill://refunds/SKILL.md"))["skill"]
                assert wanted in [file["digest"] for file in skill["resources"]]
                assert (await client.read_resource(uri)).contents[0].text == changed
            # What a skill does not list is none of it.
            with pytest.raises(MCPError):
                await client.read_resource("skill://refunds/unlisted.md")

    asyncio.run(asyncio.wait_for(run(), 60))
    outcomes = [
        event["outcome"]
        for event in gateway_events(gateway)
        if event["event_type"] == "agent_side_effect" and "GUIDE" in (event["tool"] or "")
    ]
    assert outcomes.count("failed") == 2 and outcomes.count("succeeded") == 3, outcomes


async def is_held(client) -> bool:
    try:
        await ask(client, "skills/get", uri="skill://refunds/SKILL.md")
        return False
    except MCPError:
        return True


def gateway_events(gateway):
    import subprocess

    said = subprocess.run(
        [gateway.binary, "--config", str(gateway.config), "audit", "query", "--json", "--limit", "1000"],
        capture_output=True, text=True, check=True)
    return json.loads(said.stdout)["events"]


@pytest.mark.parametrize("era", ERAS)
def test_pages_follow_their_server_and_ask_for_no_more_than_is_granted(gateway, era):
    """R92: the link, the security policy and the permissions of a page."""

    async def run():
        async with connected(gateway, "whole", era) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == {"a__board", "a__refresh", "b__board", "b__refresh"}
            pages = {name: tools[f"{name}__board"].meta["ui"]["resourceUri"] for name in ("a", "b")}
            assert pages == {"a": "ui://app/board", "b": "ui://b+app/board"}
            asked = {}
            for name, page in pages.items():
                read = (await client.read_resource(page)).contents[0]
                assert f"<title>{name}</title>" in read.text and str(read.uri) == page
                listed = {str(r.uri): r for r in (await client.list_resources()).resources}[page]
                assert read.meta["ui"] == listed.meta["ui"]
                asked[name] = read.meta["ui"]
            assert asked["a"] == {"prefersBorder": True, "csp": {"connectDomains": [], "resourceDomains": []},
                                  "permissions": {}}
            assert asked["b"] == {"prefersBorder": True,
                                  "csp": {"connectDomains": ["https://api.example.com"], "resourceDomains": []},
                                  "permissions": {"clipboardWrite": {}}}
            # What a page calls is decided like any call.
            assert said(await client.call_tool("a__refresh", {})) == "a again"
            refused = decision(await client.call_tool("b__refresh", {}))
            assert (refused["decision"], refused["policy_id"]) == ("deny", "pages")
        async with connected(gateway, "whole", era, pages=False) as client:
            # A client without pages would hand its model the tools that are for pages alone.
            assert {tool.name for tool in (await client.list_tools()).tools} == {"a__board", "b__board"}
        for agent, links in (("blind", [None, None]), ("part", [None, "ui://b+app/board"])):
            async with connected(gateway, agent, era) as client:
                tools = {tool.name: tool for tool in (await client.list_tools()).tools}
                found = [((tools[f"{name}__board"].meta or {}).get("ui") or {}).get("resourceUri") for name in ("a", "b")]
                assert found == links, agent

    asyncio.run(run())
