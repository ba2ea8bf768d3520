"""Servers that others wrote, behind the gateway: what they list and answer comes through as it is."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from client import ERAS, over_http, over_stdio, said
from harness import Gateway, digest

MODULES = Path(__file__).resolve().parent / "node_modules/@modelcontextprotocol"

POLICIES = {
    "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\n',
    "authority.yaml": """\
capabilities:
  everything: { tools: ["*"], resources: ["*"], prompts: ["*"] }
agents:
  tester:
    owner: tests
    capabilities: [everything]
    keys: ["%s"]
""" % digest("key-tester"),
}


def commands(folder: Path) -> dict[str, list[str]]:
    node = shutil.which("node")
    assert node, "node is missing"
    return {
        "everything": [node, str(MODULES / "server-everything/dist/index.js"), "stdio"],
        "files": [node, str(MODULES / "server-filesystem/dist/index.js"), str(folder)],
        "memory": [node, str(MODULES / "server-memory/dist/index.js")],
        "time": [sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC"],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("docs").resolve()
    (path / "hello.txt").write_text("hello from a file\n")
    return path


@pytest.fixture(scope="module")
def gateway(binary, folder):
    tables = []
    for name, command in commands(folder).items():
        isolation = "session" if name == "everything" else "shared"
        env = f'env = {{ MEMORY_FILE_PATH = "{folder}/memory.jsonl" }}\n' if name == "memory" else ""
        listed = ", ".join(f'"{part}"' for part in command)
        tables.append(f'[upstreams.{name}]\ncommand = [{listed}]\nisolation = "{isolation}"\n{env}')
    with Gateway(binary, "\n".join(tables), POLICIES, ready_within=60,
                 env={"TOLLGATE_TEST_SECRET": "not for a child"}) as running:
        yield running
        print(running.tail())


def run(test):
    asyncio.run(asyncio.wait_for(test(), 60))


@pytest.fixture(params=ERAS)
def era(request):
    return request.param


def test_every_tool_is_listed_as_its_server_lists_it(gateway, folder, era):
    async def body():
        async with over_http(gateway.url, "key-tester", era) as client:
            seen = {tool.name: tool for tool in (await client.list_tools()).tools}
        for name, command in commands(folder).items():
            async with over_stdio(command, "auto") as direct:
                tools = (await direct.list_tools()).tools
            assert tools
            for tool in tools:
                through = seen[f"{name}__{tool.name}"]
                assert through.input_schema == tool.input_schema
                assert through.output_schema == tool.output_schema
                assert through.title == tool.title
                assert through.annotations == tool.annotations
    run(body)


def test_everything_echoes_and_adds(gateway, era):
    async def body():
        async with over_http(gateway.url, "key-tester", era) as client:
            echoed = await client.call_tool("everything__echo", {"message": "hi"})
            assert "hi" in said(echoed)
            image = await client.call_tool("everything__get-tiny-image", {})
            assert any(block.type == "image" for block in image.content)
    run(body)


def test_a_child_sees_nothing_of_the_gateways_environment(gateway, era):
    async def body():
        async with over_http(gateway.url, "key-tester", era) as client:
            environment = said(await client.call_tool("everything__get-env", {}))
        assert "PATH" in environment
        assert "TOLLGATE" not in environment and "not for a child" not in environment
    run(body)


def test_files_are_read_as_they_are(gateway, folder, era):
    async def body():
        call = {"path": str(folder / "hello.txt")}
        async with over_stdio(commands(folder)["files"], "auto") as direct:
            wanted = await direct.call_tool("read_text_file", call)
        async with over_http(gateway.url, "key-tester", era) as client:
            got = await client.call_tool("files__read_text_file", call)
            outside = await client.call_tool("files__read_text_file", {"path": "/etc/passwd"})
        assert (got.content, got.structured_content) == (wanted.content, wanted.structured_content)
        assert outside.is_error
    run(body)


def test_memory_keeps_what_is_written(gateway, era):
    async def body():
        entity = {"name": f"Tollgate {era}", "entityType": "gateway", "observations": ["stands in between"]}
        async with over_http(gateway.url, "key-tester", era) as client:
            made = await client.call_tool("memory__create_entities", {"entities": [entity]})
            assert not made.is_error
            graph = await client.call_tool("memory__read_graph", {})
        assert entity["name"] in said(graph)
    run(body)


def test_time_tells_the_time(gateway, era):
    async def body():
        async with over_http(gateway.url, "key-tester", era) as client:
            told = await client.call_tool("time__get_current_time", {"timezone": "UTC"})
            wrong = await client.call_tool("time__get_current_time", {"timezone": "Nowhere/None"})
        assert not told.is_error and "UTC" in said(told)
        assert wrong.is_error
    run(body)
