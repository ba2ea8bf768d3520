"""Servers that others wrote, behind the gateway: what they list and answer comes through as it is."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mcp_types import ElicitResult

from client import ERAS, User, over_http, over_stdio, said
from harness import Gateway, digest, free_port

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
        "shared": [node, str(MODULES / "server-everything/dist/index.js"), "stdio"],
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
def old():
    """server-everything as a server of 2024-11-05: an event stream at /sse, and another URL for what is sent."""
    program = shutil.which("node")
    assert program, "node is missing"
    port = free_port()
    command = [program, str(MODULES / "server-everything/dist/index.js"), "sse"]
    process = subprocess.Popen(command, env={**os.environ, "PORT": str(port)}, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{port}/sse"
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def gateway(binary, folder, old):
    tables = [f'[upstreams.old]\nurl = "{old}"\n']
    for name, command in commands(folder).items():
        isolation = "session" if name == "everything" else "shared"
        env = f'env = {{ MEMORY_FILE_PATH = "{folder}/memory.jsonl" }}\n' if name == "memory" else ""
        listed = ", ".join(f'"{part}"' for part in command)
        tables.append(f'[upstreams.{name}]\ncommand = [{listed}]\nisolation = "{isolation}"\n{env}')
    with Gateway(binary, "\n".join(tables), POLICIES, ready_within=60,
                 env={"TOLLGATE_TEST_SECRET": "not for a child"}) as running:
        asyncio.run(asyncio.wait_for(all_listed(running, {"old", *commands(folder)}), 90))
        yield running
        print(running.tail())


async def all_listed(gateway, upstreams: set[str]):
    """The gateway is ready after 10 s at most, however long its servers take to start."""
    async with over_http(gateway.url, "key-tester", "2026-07-28") as client:
        while not upstreams <= {tool.name.split("__")[0] for tool in (await client.list_tools()).tools}:
            await asyncio.sleep(0.2)


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


def test_a_server_without_prompts_breaks_no_list(gateway, era):
    async def body():
        async with over_http(gateway.url, "key-tester", era) as client:
            prompts = (await client.list_prompts()).prompts
            assert prompts and all(prompt.name.split("__")[0] in ("everything", "shared", "old") for prompt in prompts)
            got = await client.get_prompt("everything__simple-prompt")
            assert got.messages
            resources = (await client.list_resources()).resources
            assert resources
            read = await client.read_resource(resources[0].uri)
            assert read.contents
            templates = (await client.list_resource_templates()).resource_templates
            assert templates
    run(body)


@pytest.mark.parametrize("upstream", ["everything", "shared"])
def test_an_upstreams_own_question_reaches_the_user(gateway, upstream, era):
    async def body():
        user = User([ElicitResult(action="accept", content={"name": "Ada", "check": True, "integer": 7})])
        async with over_http(gateway.url, "key-tester", era, user) as client:
            told = said(await client.call_tool(f"{upstream}__trigger-elicitation-request", {}))
        (form,) = user.asked
        assert form.message.startswith(f"[{upstream}] Please provide inputs")
        assert form.requested_schema["properties"]["integer"]["maximum"] == 100
        assert "Ada" in told
        user = User.says("decline")
        async with over_http(gateway.url, "key-tester", era, user) as client:
            told = said(await client.call_tool(f"{upstream}__trigger-elicitation-request", {}))
        assert "declined" in told
    run(body)


def test_progress_of_a_long_operation(gateway, era):
    async def body():
        seen = []

        async def progress(done, total, _message):
            seen.append((done, total))

        async with over_http(gateway.url, "key-tester", era) as client:
            await client.call_tool("everything__trigger-long-running-operation", {"duration": 0.4, "steps": 4},
                                   progress_callback=progress)
        # The last step may come together with the answer.
        assert seen[:3] == [(1.0, 4.0), (2.0, 4.0), (3.0, 4.0)]
    run(body)


def test_a_cancelled_call_is_settled(gateway, era):
    async def body():
        trace = secrets.token_hex(16)
        meta = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
        started = asyncio.Event()

        async def progress(_done, _total, _message):
            started.set()

        async with over_http(gateway.url, "key-tester", era) as client:
            call = asyncio.create_task(client.call_tool(
                "everything__trigger-long-running-operation", {"duration": 600, "steps": 6000},
                progress_callback=progress, meta=meta))
            await started.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            echoed = await client.call_tool("everything__echo", {"message": "still there"})
            assert "still there" in said(echoed)
        for _ in range(100):
            effects = [event for event in await asyncio.to_thread(gateway.events, trace_id=trace)
                       if event["event_type"] == "agent_side_effect"]
            if effects:
                break
            await asyncio.sleep(0.05)
        (effect,) = effects
        assert effect["outcome"] == "unknown"
    run(body)


def test_many_servers_are_called_at_once(gateway, folder, era):
    async def body():
        async with over_http(gateway.url, "key-tester", era) as client:
            calls = []
            for number in range(8):
                calls += [
                    client.call_tool("everything__get-sum", {"a": number, "b": 1}),
                    client.call_tool("shared__echo", {"message": f"number {number}"}),
                    client.call_tool("files__read_text_file", {"path": str(folder / "hello.txt")}),
                    client.call_tool("time__get_current_time", {"timezone": "UTC"}),
                ]
            results = await asyncio.gather(*calls)
        for number in range(8):
            total, echoed, read, told = results[4 * number:4 * number + 4]
            assert f" {number + 1}." in said(total) and f"number {number}" in said(echoed)
            assert said(read) == "hello from a file\n" and "UTC" in said(told)
    run(body)


def node(script: str, *arguments: str) -> dict:
    """Runs a script beside this file, and gives what it printed."""
    program = shutil.which("node")
    assert program, "node is missing"
    path = Path(__file__).resolve().parent / script
    done = subprocess.run([program, str(path), *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["http", "stdio"])
@pytest.mark.parametrize("sdk", ["1", "2 legacy", "2 modern"])
def test_the_typescript_sdk_works_through_the_gateway(gateway, sdk, kind):
    """A client that shares no line with the Python SDK: lists, calls, progress, an upstream's question, resources, prompts."""
    version, *era = sdk.split()
    target = [gateway.url, "key-tester"]
    if kind == "stdio":
        target = [gateway.binary, "stdio", "--agent", "tester", "--config", str(gateway.config)]
    saw = node("typescript.mjs" if version == "1" else "typescript2.mjs", *era, kind, *target)
    assert saw.get("era") == (era[0] if era else None)
    assert saw["server"] == "tollgate"
    assert {"everything__echo", "files__read_text_file", "time__get_current_time"} <= set(saw["tools"])
    assert "héllo" in saw["echo"][0]["text"] and "42" in saw["sum"][0]["text"]
    assert saw["progress"] > 0
    assert saw["asked"].startswith("[everything] ")
    assert saw["resource"] > 0 and saw["prompts"]
    assert saw["unknown"] == -32602


@pytest.mark.parametrize("protocol_era", ["legacy", "modern"])
def test_the_inspectors_command_line_works_through_the_gateway(gateway, tmp_path, protocol_era):
    def inspect(method: str, *arguments: str) -> dict:
        return node("node_modules/.bin/mcp-inspector", "--cli", "--server-url", gateway.url, "--transport", "http",
                    "--header", "Authorization: Bearer key-tester", "--protocol-era", protocol_era,
                    "--client-config", str(tmp_path / "client.json"),
                    "--format", "json", "--quiet", "--method", method, *arguments)["result"]

    listed = inspect("tools/list")
    assert {"everything__echo", "old__echo", "files__read_text_file"} <= {tool["name"] for tool in listed["tools"]}
    echoed = inspect("tools/call", "--tool-name", "everything__echo", "--tool-arg", "message=héllo")
    assert "héllo" in echoed["content"][0]["text"]
    resources = inspect("resources/list")["resources"]
    assert inspect("resources/read", "--uri", resources[0]["uri"])["contents"]
    assert inspect("resources/templates/list")["resourceTemplates"]
    assert inspect("prompts/list")["prompts"]
    got = inspect("prompts/get", "--prompt-name", "everything__simple-prompt")
    assert got["messages"]


def test_a_server_of_2024_11_05_lists_answers_asks_and_reports(gateway, era):
    """HTTP+SSE, found out by itself: POST to its URL is not known there."""
    async def body():
        user = User.says("decline")
        steps = []

        async def progress(done, total, message):
            steps.append((done, total, message))

        async with over_http(gateway.url, "key-tester", era, user) as client:
            echoed = await client.call_tool("old__echo", {"message": "hi"})
            assert "hi" in said(echoed)
            await client.call_tool("old__trigger-long-running-operation", {"duration": 0.4, "steps": 4},
                                   progress_callback=progress)
            await client.call_tool("old__trigger-elicitation-request", {})
        assert len(steps) >= 3, steps
        assert len(user.asked) == 1 and user.asked[0].message.startswith("[old] ")
    run(body)


def test_a_python_server_of_2024_11_05_is_found_behind_its_frameworks_answers(binary):
    """R100: its URL answers a POST with a framework's JSON error, or with the event stream itself."""
    ports = {mode: free_port() for mode in ("refuses", "opens")}
    program = Path(__file__).with_name("old_server.py")
    servers = [subprocess.Popen([sys.executable, str(program), mode, str(port)]) for mode, port in ports.items()]
    try:
        tables = [f'[upstreams.{mode}]\nurl = "http://127.0.0.1:{port}/sse"\n' for mode, port in ports.items()]
        with Gateway(binary, "\n".join(tables), POLICIES, ready_within=60) as gateway:
            async def body():
                async with over_http(gateway.url, "key-tester", ERAS[0]) as client:
                    for mode in ports:
                        name = f"{mode}__greet"
                        # A server that was slower to start than the gateway is there soon after.
                        while name not in {tool.name for tool in (await client.list_tools()).tools}:
                            await asyncio.sleep(0.1)
                        assert said(await client.call_tool(name, {"name": "Ada"})) == "good day, Ada"
            run(body)
    finally:
        for server in servers:
            server.terminate()
            server.wait(10)
