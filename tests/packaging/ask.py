"""Asks a gateway from within its network: `ask.py URL [HEADER...]`, or `ask.py call URL KEY TOOL ARGUMENTS`. Prints JSON.
`ask.py signin URL USER` does what a browser does at an issuer."""

from __future__ import annotations

import json
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path


def send(url: str, headers: dict, body: dict | None = None) -> tuple[int, str, dict]:
    """Certificates are for names, and nobody has these here."""
    context = ssl._create_unverified_context() if url.startswith("https:") else None
    request = urllib.request.Request(url, headers=headers, data=None if body is None else json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode(), dict(refused.headers)


def call(url: str, key: str, tool: str, arguments: dict) -> dict:
    headers = {"Authorization": f"Bearer {key}", "Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    opened = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    status, text, answered = send(url, headers, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": opened})
    if status != 200:
        return {"status": status, "text": text}
    headers |= {"MCP-Protocol-Version": "2025-11-25"}
    headers |= {name: value for name, value in answered.items() if name.lower() == "mcp-session-id"}
    send(url, headers, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    status, text, _ = send(url, headers, {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
    last = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")] or [text]
    return {"status": status, "result": json.loads(last[-1]).get("result"), "text": text}


if __name__ == "__main__":
    if sys.argv[1] == "signin":
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "sdk"))
        from test_credentials import sign_in
        said = {"text": sign_in(*sys.argv[2:4])}
    elif sys.argv[1] == "call":
        said = call(*sys.argv[2:5], json.loads(sys.argv[5]))
    else:
        status, text, _ = send(sys.argv[1], dict(header.split(": ", 1) for header in sys.argv[2:]))
        said = {"status": status, "text": text}
    print(json.dumps(said))
