"""The official Python SDK's HTTP+SSE transport, in an app that answers a POST to the stream's URL in its own way.

Usage: old_server.py refuses|opens PORT. `refuses`: 405 with a framework's JSON body; `opens`: with the stream itself.
"""

from __future__ import annotations

import sys

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.sse import SseServerTransport
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

server = MCPServer("old")
transport = SseServerTransport("/messages/")


@server.tool()
def greet(name: str) -> str:
    return f"good day, {name}"


async def stream(request: Request) -> Response:
    if request.method == "POST" and sys.argv[1] == "refuses":
        body = {"timestamp": "2026-02-03", "status": 405, "error": "Method Not Allowed", "path": "/sse"}
        return JSONResponse(body, 405)
    lowlevel = server._lowlevel_server
    async with transport.connect_sse(request.scope, request.receive, request._send) as (read, write):
        await lowlevel.run(read, write, lowlevel.create_initialization_options())
    return Response()


routes = [Route("/sse", stream, methods=["GET", "POST"]),
          Mount("/messages/", app=transport.handle_post_message)]
uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
