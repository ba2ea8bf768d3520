"""Clients hold results to what tools declare: what is masked or cut still has to be that (SPEC 7)."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from client import ERAS, over_http, said
from harness import Gateway, digest
from test_upstreams import node

HERE = Path(__file__).resolve().parent


def gate(name: str, constraints: str) -> str:
    return f"""\
name: {name}
description: limits {name}
on: [{{ tool: "v__{name}" }}]
rules:
  - id: r
    decision: ALLOW_WITH_CONSTRAINTS
    constraints: {constraints}
"""


POLICIES = {
    "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\n',
    "authority.yaml": f"""\
capabilities:
  everything: {{ tools: ["*"] }}
agents:
  tester: {{ owner: tests, capabilities: [everything], keys: ["{digest('key-values')}"] }}
""",
    "data.yaml": """\
rules:
  - { id: found, on: [{ tool: "v__detected" }], detectors: [card, email], results: mask }
  - { id: gone, on: [{ tool: "v__dropped" }], pointers: [/holder, /balance], results: drop }
  - { id: copied, on: [{ tool: "v__copied" }], detectors: [card, email], results: mask }
  - { id: photo, on: [{ tool: "v__photo" }], detectors: [email], results: mask }
  - { id: token, on: [{ tool: "v__token" }], detectors: [email], results: tokenize }
""",
    "pointed.yaml": gate("pointed", "{ redact: [/number, /balance, /mail, /opened, /holder/age, /holder/vip] }"),
    "whole.yaml": gate("whole", "{ redact: [/holder] }"),
    "enumerated.yaml": gate("enumerated", "{ redact: [/tier] }"),
    "bytes.yaml": gate("bytes", "{ max_result_bytes: 2KiB }"),
    "tokens.yaml": gate("tokens", "{ max_result_tokens: 200 }"),
    "half.yaml": gate("half", "{ max_result_tokens: 400 }"),
    "loose.yaml": gate("loose", "{ max_result_tokens: 400 }"),
    "small.yaml": gate("small", "{ max_result_bytes: 1KiB }"),
    "budgets.yaml": """\
budgets:
  - { id: tight, scope: agent, match: [{ tool: "v__strict" }], window: day, max_tokens: 100000, strict: true }
""",
}
NAMES = ["detected", "pointed", "whole", "enumerated", "dropped", "plain", "copied", "token", "lied", "bytes", "tokens", "strict",
         "small", "half", "loose", "slug", "bare", "broken", "blocks", "photo"]


@pytest.fixture(scope="module")
def gateway(binary):
    upstream = f"""\
[upstreams.v]
command = ["{sys.executable}", "{HERE / 'values_upstream.py'}"]
[upstreams.v.tools.strict]
expected_result_tokens = 100
[upstreams.v.tools.lied]
output_schema = "refuse"
"""
    with Gateway(binary, upstream, POLICIES) as running:
        yield running
        print(running.tail())


def check(listed: dict, results: dict) -> None:
    """What every client has to see, whichever it is."""
    assert set(listed) == {f"v__{name}" for name in NAMES}
    assert listed["v__bare"]["inputSchema"] == {"type": "object"}
    assert "outputSchema" not in listed["v__broken"]
    for name, result in results.items():
        assert "thrown" not in result, (name, result)
    content = {name: result.get("structuredContent") for name, result in results.items()}
    assert content["plain"] == content["plain"] | {"number": 4556737586899855, "mail": "lena@example.org"}
    # Numbers stay numbers, within their bounds; a text is a mask, or as much of one as its format and length let be.
    assert content["detected"]["number"] == 1000 and content["detected"]["mail"] == "redacted@redacted.invalid"
    assert content["detected"]["balance"] == 12.5 and content["detected"]["tier"] == "gold"
    pointed = content["pointed"]
    assert pointed["number"] == 1000 and pointed["balance"] == 1 and pointed["opened"] == "[redacted:"
    assert pointed["holder"] == {"age": 0, "vip": False, "alias": "L"} and "lena" not in json.dumps(pointed)
    assert content["whole"]["holder"] == {"age": 0, "vip": False} and content["whole"]["tier"] == "gold"
    # What was dropped has to be there, and says nothing.
    assert content["dropped"]["holder"] == {"age": 0, "vip": False} and content["dropped"]["balance"] == 1
    # The text that copies it is what it is.
    assert content["copied"]["number"] == 1000 and content["copied"]["mail"] == "redacted@redacted.invalid"
    assert json.loads(results["copied"]["content"][0]["text"]) == content["copied"]
    assert content["token"]["mail"].startswith("[token:email:") and not results["token"].get("isError")
    assert json.loads(results["token"]["content"][0]["text"]) == content["token"]
    # What breaks its own declaration is an error that a client can read.
    assert content["lied"] is None and results["lied"]["isError"] is True
    assert "not what the tool's outputSchema declares" in json.dumps(results["lied"])
    # No name of a list stands for another.
    assert content["enumerated"] is None and results["enumerated"]["isError"]
    assert "made and succeeded" in json.dumps(results["enumerated"])
    # What a strict budget cut has taught how large it is: the next client gets it whole.
    learned = not results["strict"].get("isError")
    if learned:
        assert len(content["strict"]["rows"]) == 400
    for name in ("bytes", "tokens") if learned else ("bytes", "tokens", "strict"):
        assert content[name] is None and results[name]["isError"] is True, name
        assert "the call was made and succeeded: do not repeat it" in json.dumps(results[name]), name
        assert len(json.dumps(results[name])) < (20_000 if name == "strict" else 3000), name
    # Where there is room for what is declared, it stays whole.
    assert not results["small"].get("isError") and len(content["small"]["rows"]) == 3
    assert "cut by policy" in json.dumps(results["small"])
    # A block that no client reads costs itself only.
    blocks = results["blocks"]["content"]
    assert [block["type"] for block in blocks] == ["text", "text", "text", "text", "audio", "resource", "resource_link", "text"]
    assert blocks[1]["text"] == json.dumps({"type": "smell", "of": "rain"}, separators=(",", ":"))
    assert blocks[2]["text"] == "the rest" and blocks[7]["text"] == "plain" and "not Base64" in blocks[3]["text"]
    # What is masked in a picture is told as a text.
    photo = results["photo"]["content"]
    assert "[redacted:email:" in photo[0]["text"] and "sensitive" in photo[1]["resource"]["text"]
    assert photo[2]["text"] == "the rest" and "RnJvbTog" not in json.dumps(photo)
    # A text that copies it has no room beside it: one of both is there, and says all that it says.
    texts = {name: [item["text"] for item in results[name]["content"]] for name in ("half", "loose")}
    assert not results["half"].get("isError") and len(content["half"]["rows"]) == 30
    assert [text[:14] for text in texts["half"]] == ["[cut by policy"]
    assert not results["loose"].get("isError") and content["loose"] is None
    assert texts["loose"][0].startswith('{"rows"') and texts["loose"][1].startswith("[cut by policy")
    for name in ("slug", "bare", "broken"):
        assert not results[name].get("isError"), results[name]


@pytest.mark.parametrize("era", ERAS)
def test_python_takes_what_is_masked_and_cut(gateway, era):
    async def body():
        async with over_http(gateway.url, "key-values", era) as client:
            tools = (await client.list_tools()).tools
            listed = {tool.name: tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools}
            results = {}
            for name in NAMES:
                try:
                    result = await client.call_tool(f"v__{name}", {})
                    results[name] = result.model_dump(mode="json", by_alias=True, exclude_none=True)
                except RuntimeError as error:
                    results[name] = {"thrown": str(error)}
            check(listed, results)
    asyncio.run(asyncio.wait_for(body(), 60))


@pytest.mark.parametrize("sdk", ["1 legacy", "2 legacy", "2 modern"])
def test_typescript_takes_what_is_masked_and_cut(gateway, sdk):
    saw = node("values.mjs", *sdk.split(), gateway.url, "key-values", *[f"v__{name}" for name in NAMES])
    check({tool["name"]: tool for tool in saw["listed"]},
          {name.removeprefix("v__"): result for name, result in saw["results"].items()})


@pytest.mark.parametrize("era", ERAS)
def test_schemas_as_people_write_them_refuse_nothing_right(gateway, era):
    async def body():
        async with over_http(gateway.url, "key-values", era) as client:
            for arguments in ({"name": "Łucja O'Neil 2"}, {"text": "a\nb" * 900}, {"odd": [1]},
                              {"url": "https://ja.wikipedia.org/wiki/東京"}):
                assert not (await client.call_tool("v__slug", arguments)).is_error, arguments
            for arguments in ({"name": "a;b"}, {"text": "x" * 3001}, {"url": 5}):
                refused = await client.call_tool("v__slug", arguments)
                assert refused.is_error and "do not fit the tool's schema" in said(refused), arguments
    asyncio.run(asyncio.wait_for(body(), 60))


def test_inspect_says_what_is_not_checked(gateway):
    told = gateway.cli("servers", "inspect", "v")
    assert told.returncode == 0, told.stderr
    assert "`v__slug`: `/properties/odd/type` of its inputSchema is not checked" in told.stdout
    assert "`v__slug`: `/properties/odd/pattern` of its inputSchema is not checked" in told.stdout
    assert "the outputSchema of tool `v__broken` is not declared" in told.stdout
    warnings = json.loads(gateway.cli("servers", "inspect", "v", "--json").stdout)["warnings"]
    assert len(warnings) == 3, warnings


def test_what_we_ship_is_plain_json_schema(binary):
    """The demo's tools and Tollgate's own, as a client reads them that takes ajv's strict mode seriously."""
    policies = {**{name: POLICIES[name] for name in ("bundle.yaml", "authority.yaml")}}
    policies["authority.yaml"] += f'people:\n  ada: {{ keys: ["{digest("key-ada")}"], roles: [approver] }}\n'
    demo = f'[upstreams.demo]\ncommand = ["{Path(binary).resolve()}", "demo-upstream"]\n'

    async def listed(running, key):
        async with over_http(running.url, key, "auto") as client:
            return [tool.model_dump(mode="json", by_alias=True, exclude_none=True)
                    for tool in (await client.list_tools()).tools]

    tools = []
    for catalog in ("full", "search"):
        running = Gateway(binary, demo, policies)
        text = running.config.read_text()
        running.config.write_text(text.replace("approval_wait", f'catalog = "{catalog}"\napproval_wait', 1))
        with running:
            tools += asyncio.run(listed(running, "key-values")) + asyncio.run(listed(running, "key-ada"))
    names = {tool["name"] for tool in tools}
    assert {"demo__search", "demo__notes_list", "tollgate__find_tools", "tollgate__call_tool",
            "tollgate__review_approvals"} <= names, names
    program = shutil.which("node")
    assert program, "node is missing"
    done = subprocess.run([program, str(HERE / "strict.mjs")], input=json.dumps(tools), capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
