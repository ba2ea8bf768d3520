"""An MCP server over stdin and stdout that writes down each call before it answers: what was dispatched, whatever anybody says of it.

One line a call in the file that the first argument names: tool, `n`, and the trace that came with the call.
"""

import json
import os
import sys
import threading

SCHEMA = {"type": "object", "required": ["n"], "additionalProperties": False, "properties": {"n": {"type": "string"}}}
TOOLS = [{"name": name, "inputSchema": SCHEMA} for name in ("tick", "capped", "write", "hang")]
DISPATCHED = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
OUT = threading.Lock()


def answer(message, **body):
    with OUT:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **body}), flush=True)


for line in sys.stdin:
    message = json.loads(line)
    method, params = message.get("method"), message.get("params") or {}
    if "id" not in message:
        continue
    if method == "initialize":
        answer(message, result={"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                                "serverInfo": {"name": "counting", "version": "1"}})
    elif method == "tools/list":
        answer(message, result={"tools": TOOLS})
    elif method == "tools/call":
        trace = (params.get("_meta") or {}).get("traceparent", "").split("-")
        seen = {"tool": params["name"], "n": params["arguments"]["n"], "trace": trace[1] if len(trace) > 2 else None}
        os.write(DISPATCHED, (json.dumps(seen) + "\n").encode())
        if params["name"] != "hang":
            answer(message, result={"content": [{"type": "text", "text": f"done {seen['n']}"}]})
    elif method == "ping":
        answer(message, result={})
    else:
        answer(message, error={"code": -32601, "message": "no such method"})
