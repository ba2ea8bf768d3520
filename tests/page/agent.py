"""An agent that calls a tool as a client of 2026-07-28 does."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

from harness import Gateway


def call(gateway: Gateway, tool: str, arguments: str | dict, meta: dict | None = None, key: str = "writer", **params) -> dict:
    """A call as an agent writes it: `arguments` may be JSON text."""
    written = arguments if isinstance(arguments, str) else json.dumps(arguments)
    meta = {**(meta or {}), "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "attacker", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {}}
    members = json.dumps({"name": tool, "_meta": meta, **params})[1:-1]
    body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":%s,%s}}' % (written, members)
    headers = {"Authorization": f"Bearer key-{key}", "Content-Type": "application/json",
               "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
               "Mcp-Method": "tools/call", "Mcp-Name": tool}
    request = urllib.request.Request(gateway.url, data=body.encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()) from error
    if text.startswith("{"):
        return json.loads(text)["result"]
    (data,) = [line[6:] for line in text.splitlines() if line.startswith("data: {") and '"id":1' in line]
    return json.loads(data)["result"]


def asked(gateway: Gateway, tool: str, *arguments, **more) -> str:
    """The id of the approval that the call waits for."""
    told = call(gateway, tool, *arguments, **more)["_meta"]["tollgate/decision"]
    assert told["decision"] == "pending_approval", told
    return told["approval_id"]
