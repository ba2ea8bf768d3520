#!/usr/bin/env python3
"""An agent on the official MCP SDK, in front of the shipped configuration: one call for each thing Tollgate decides.

    tollgate serve                          # in one terminal, in the repository's folder
    pip install mcp==2.3.0
    python examples/agent.py                # in another; --legacy speaks the initialize-based protocol

The agent's operator, alice, sits at this client: she answers the approval that it is asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import textwrap

from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp_types import ElicitResult

# Published in policies/authority.yaml, for a gateway on this machine only.
DEMO_KEY = "demo-agent-key"


def show(text: str, indent: str = "    ") -> None:
    for line in text.splitlines() or [""]:
        print(textwrap.fill(line, 100, initial_indent=indent, subsequent_indent=indent))


async def approve(_context, params) -> ElicitResult:
    show("Tollgate asks alice:")
    show(params.message, "      | ")
    show("alice approves")
    return ElicitResult(action="accept", content={"decision": "approve", "comment": "go on"})


async def step(client: Client, title: str, tool: str, arguments: dict) -> None:
    print(f"\n{title}\n  {tool} {arguments}")
    try:
        result = await client.call_tool(tool, arguments)
    except MCPError as error:
        show(f"error {error.error.code}: {error.error.message}")
        return
    text = "\n".join(block.text for block in result.content if block.type == "text")
    show(text if len(text) <= 300 else f"{text[:300]} … ({len(text)} characters)")
    decision = (result.meta or {}).get("tollgate/decision")
    if decision:
        for key in ("decision", "policy_id", "rule_id", "approval_id", "retry_after_ms", "remediation", "trace_id"):
            if decision.get(key) is not None:
                show(f"{key}: {decision[key]}", "      ")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8787/mcp")
    parser.add_argument("--key", default=DEMO_KEY)
    parser.add_argument("--legacy", action="store_true", help="speak the initialize-based protocol")
    args = parser.parse_args()
    headers = {"Authorization": f"Bearer {args.key}"}
    async with create_mcp_http_client(headers=headers) as http:
        transport = streamable_http_client(args.url, http_client=http)
        mode = "legacy" if args.legacy else "auto"
        async with Client(transport, mode=mode, elicitation_callback=approve) as client:
            tools = (await client.list_tools()).tools
            print(f"MCP {client.protocol_version}; this agent sees {len(tools)} tools:")
            for tool in tools:
                print(f"    {tool.name}: {tool.description}")

            await step(client, "Allowed: a read", "demo__notes_read", {"path": "/notes/welcome.md"})
            await step(client, "Allowed: a write to the scratch folder", "demo__note_write",
                       {"path": "/scratch/todo.md", "text": "- [x] a write that needs nobody"})
            await step(client, "Approved: a write elsewhere", "demo__note_write",
                       {"path": "/notes/minutes.md", "text": "# Minutes\nAgreed."})
            await step(client, "Constrained: the limit of 50 is held to 10", "demo__search",
                       {"query": "plan", "limit": 50})
            await step(client, "Remediated: a summary is made in place of the full report", "demo__report",
                       {"rows": 5000, "format": "full"})
            await step(client, "Remediation suggested: archive a draft rather than delete it", "demo__note_delete",
                       {"path": "/drafts/retro.md"})
            await step(client, "Denied: a delete", "demo__note_delete", {"path": "/notes/agenda.md"})
            await step(client, "Suggested: mail to a stranger is only proposed", "demo__send_mail",
                       {"to": "someone@elsewhere.example", "subject": "Hello", "body": "Are you there?"})
            for word in ("budget", "audit", "policy", "approval", "scope"):
                await step(client, "Throttled: the sixth search in a minute", "demo__search", {"query": word})
            await step(client, "Out of scope: answers like a tool that does not exist", "demo__admin_reset", {})
    print("\nWhat happened, from the gateway's own records:  tollgate audit query   tollgate audit show TRACE_ID")


if __name__ == "__main__":
    asyncio.run(main())
