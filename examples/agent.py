#!/usr/bin/env python3
"""An agent on the official MCP SDK, in front of the shipped configuration: one call for each thing Tollgate decides.

    tollgate serve                          # in one terminal, in the repository's folder
    pip install mcp==2.3.0
    python examples/agent.py                # in another; --legacy speaks the initialize-based protocol
    python examples/agent.py --ask          # one call that nobody at this client answers: it waits for you

The agent's operator, alice, sits at this client: she answers the approval that it is asked for. The searches are
counted per minute: run it twice within one, and the second run is throttled sooner.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import textwrap

from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp_types import ElicitResult

# Published in policies/authority.yaml, for a gateway on this machine only.
DEMO_KEY = "demo-agent-key"
WIDTH = 110
TOLD = ("policy_id", "rule_id", "approval_id", "retry_after_ms", "remediation", "dispatched")


def show(text: str, indent: str = "    ") -> None:
    for line in text.splitlines() or [""]:
        print(textwrap.fill(line, WIDTH, initial_indent=indent, subsequent_indent=indent,
                            replace_whitespace=False, drop_whitespace=False))


def short(text: str, most: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]} … ({len(line)} characters)"


class Steps:
    """Calls one tool after the other and remembers what came of it, with the trace to look it up by."""

    def __init__(self):
        self.client: Client | None = None
        self.asked = False
        self.done: list[tuple[str, str, str]] = []

    async def call(self, title: str, tool: str, arguments: dict) -> None:
        print(f"\n{title}\n  {tool} {json.dumps(arguments)}")
        trace = secrets.token_hex(16)
        meta = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
        try:
            result = await self.client.call_tool(tool, arguments, meta=meta)
        except MCPError as error:
            show(f"error {error.error.code}: {error.error.message}")
            self.done.append((trace, tool, "no such tool"))
            return
        text = "\n".join(block.text for block in result.content if block.type == "text")
        show(text if result.is_error else short(text))
        decision = (result.meta or {}).get("tollgate/decision", {})
        asked, self.asked = self.asked, False
        for key in TOLD:
            if decision.get(key) is not None:
                value = decision[key]
                show(f"{key}: {value if isinstance(value, str) else json.dumps(value)}", "      ")
        plain = "approved and dispatched" if asked else "dispatched as it was"
        self.done.append((trace, tool, decision.get("decision", plain)))

    async def approve(self, _context, params) -> ElicitResult:
        self.asked = True
        show("Tollgate asks alice:")
        show(params.message, "      | ")
        show("alice approves")
        return ElicitResult(action="accept", content={"decision": "approve", "comment": "go on"})


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8787/mcp")
    parser.add_argument("--key", default=DEMO_KEY)
    parser.add_argument("--legacy", action="store_true", help="speak the initialize-based protocol")
    parser.add_argument("--ask", action="store_true", help="make one call that waits for a person elsewhere")
    args = parser.parse_args()
    headers = {"Authorization": f"Bearer {args.key}"}
    async with create_mcp_http_client(headers=headers) as http:
        transport = streamable_http_client(args.url, http_client=http)
        mode = "legacy" if args.legacy else "auto"
        steps = Steps()
        # A client that cannot ask its person leaves the approval to whoever decides elsewhere.
        asks = None if args.ask else steps.approve
        async with Client(transport, mode=mode, elicitation_callback=asks) as client:
            steps.client = client
            if args.ask:
                await steps.call("A write that a person agrees to first", "demo__note_write",
                                 {"path": "/notes/plan.md", "text": "# Plan\nShip it on Monday."})
                return
            tools = (await client.list_tools()).tools
            print(f"MCP {client.protocol_version}; this agent sees {len(tools)} tools:")
            for tool in tools:
                print(f"    {tool.name:20} {tool.description}")

            await steps.call("Allowed: a read", "demo__notes_read", {"path": "/notes/welcome.md"})
            await steps.call("Allowed: a write to the scratch folder", "demo__note_write",
                             {"path": "/scratch/todo.md", "text": "- [x] a write that needs nobody"})
            await steps.call("Approved: a write elsewhere", "demo__note_write",
                             {"path": "/notes/minutes.md", "text": "# Minutes\nAgreed."})
            await steps.call("Constrained: the limit of 50 is held to 10", "demo__search",
                             {"query": "plan", "limit": 50})
            await steps.call("Remediated: a summary is made in place of the full report", "demo__report",
                             {"rows": 5000, "format": "full"})
            await steps.call("Remediation suggested: archive a draft rather than delete it", "demo__note_delete",
                             {"path": "/drafts/retro.md"})
            await steps.call("Denied: a delete", "demo__note_delete", {"path": "/notes/agenda.md"})
            await steps.call("Suggested: mail to a stranger is only proposed", "demo__send_mail",
                             {"to": "someone@elsewhere.example", "subject": "Hello", "body": "Are you there?"})
            for count, word in enumerate(("budget", "audit", "policy", "approval", "scope"), start=2):
                await steps.call(f"Search {count} of this minute, of which five are allowed", "demo__search",
                                 {"query": word, "limit": 10})
            await steps.call("Out of scope: answers like a tool that does not exist", "demo__admin_reset", {})

    print("\nEach call in the gateway's own records (`tollgate audit show TRACE`):")
    for trace, tool, outcome in steps.done:
        print(f"    {trace}  {tool:18} {outcome}")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except Exception as failed:
        while isinstance(failed, BaseExceptionGroup):
            failed = failed.exceptions[0]
        raise SystemExit(f"{failed}. Does `tollgate serve` run, and is the key right?") from None
