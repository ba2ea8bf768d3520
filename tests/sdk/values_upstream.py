"""An MCP server over stdin and stdout, of the sessions' era, whose tools declare what they return. Written without an SDK, so
that it can list what an SDK would not."""

import base64
import json
import sys

ACCOUNT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["number", "balance", "mail", "tier", "opened", "holder"],
    "properties": {
        "number": {"type": "integer", "minimum": 1000, "maximum": 9999999999999999},
        "balance": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]},
        "mail": {"type": "string", "format": "email"},
        "tier": {"type": "string", "enum": ["basic", "gold"]},
        "opened": {"type": "string", "maxLength": 10},
        "holder": {"$ref": "#/$defs/holder"},
    },
    "$defs": {
        "holder": {"type": "object", "required": ["age", "vip"],
                   "properties": {"age": {"type": "integer"}, "vip": {"type": "boolean"}, "alias": {"type": "string"}}},
    },
}
VALUE = {
    "number": 4556737586899855,
    "balance": 12.5,
    "mail": "lena@example.org",
    "tier": "gold",
    "opened": "2020-02-02",
    "holder": {"age": 41, "vip": True, "alias": "L"},
}
ROWS = {"type": "object", "required": ["rows"],
        "properties": {"rows": {"type": "array", "minItems": 1, "items": {"type": "string"}}}}


def tool(name, output, schema=None):
    schema = {"type": "object"} if schema is None else schema
    return {"name": name, "inputSchema": schema, **({"outputSchema": output} if output else {})}


TOOLS = [
    *[tool(name, ACCOUNT) for name in ("detected", "pointed", "whole", "enumerated", "dropped", "plain", "copied", "lied")],
    tool("token", {"type": "object", "required": ["mail"], "properties": {"mail": {"type": "string", "minLength": 5}}}),
    *[tool(name, ROWS) for name in ("bytes", "tokens", "strict", "small", "half")],
    tool("loose", None),
    tool("slug", None, {"type": "object", "properties": {
        "name": {"type": "string", "pattern": "^[\\p{L}\\p{Nd}' ]{1,60}$"},
        "text": {"type": "string", "pattern": "^[^]{0,3000}$"},
        "url": {"type": "string", "format": "uri"},
        "odd": {"type": "any", "pattern": "(?<x"}}}),
    {"name": "bare"},
    {"name": "blocks"},
    {"name": "photo"},
    {"name": "broken", "inputSchema": None, "outputSchema": {"type": "object", "properties": {"a": {"$ref": "#/none"}}}},
]


# Each of these makes the official SDKs refuse the whole result.
BLOCKS = [
    {"type": "text"},
    {"type": "smell", "of": "rain"},
    {"type": "text", "text": "the rest", "annotations": {"audience": ["all"], "priority": 9, "lastModified": "yesterday"},
     "_meta": []},
    {"type": "image", "data": "%%%", "mimeType": "image/png"},
    {"type": "audio", "data": "QUJD"},
    {"type": "resource", "resource": {"uri": "a:b"}},
    {"type": "resource_link", "uri": "a:b", "icons": "none"},
    None,
    "plain",
]
SECRET = base64.b64encode(("From: lena@example.org, with the plans for next year. " * 4).encode()).decode()
PHOTO = [
    {"type": "image", "data": SECRET, "mimeType": "image/png"},
    {"type": "resource", "resource": {"uri": "a:b", "blob": SECRET, "mimeType": "application/x-mail"}},
    {"type": "text", "text": "the rest"},
]


def call(name):
    if name in ("blocks", "photo"):
        return {"content": BLOCKS if name == "blocks" else PHOTO, "isError": None}
    if name in ("bytes", "tokens", "strict", "small"):
        count = 3 if name == "small" else 400
        value = {"rows": [f"row number {n} of the answer" for n in range(count)]}
        text = "x" * 5000 if name == "small" else json.dumps(value)
    elif name in ("half", "loose"):
        value = {"rows": [f"row number {n} of the answer" for n in range(30)]}
        text = json.dumps(value)
    elif name in ("slug", "bare", "broken"):
        return {"content": [{"type": "text", "text": "done"}]}
    elif name == "copied":
        value, text = VALUE, json.dumps(VALUE, indent=2)
    elif name == "token":
        value = {"mail": VALUE["mail"]}
        text = json.dumps(value)
    elif name == "lied":
        value, text = {**VALUE, "number": "none of yours"}, "an account"
    else:
        value, text = VALUE, "an account"
    return {"content": [{"type": "text", "text": text}], "structuredContent": value}


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    answer = {"jsonrpc": "2.0", "id": message["id"]}
    method = message.get("method")
    if method == "initialize":
        answer["result"] = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                            "serverInfo": {"name": "values", "version": "1"}}
    elif method == "tools/list":
        answer["result"] = {"tools": TOOLS}
    elif method == "tools/call":
        answer["result"] = call(message["params"]["name"])
    elif method == "ping":
        answer["result"] = {}
    else:
        answer["error"] = {"code": -32601, "message": "no such method"}
    print(json.dumps(answer), flush=True)
