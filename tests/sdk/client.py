"""The official SDK's client, pointed at a gateway: four ways in, and a user who answers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp_types import ElicitResult

ERAS = ["legacy", "2026-07-28"]
TRANSPORTS = ["http", "stdio"]
WAYS = [(transport, era) for transport in TRANSPORTS for era in ERAS]
DECISION = "tollgate/decision"


@dataclass
class User:
    """Answers elicitations in order, and remembers what was asked."""

    answers: list[ElicitResult] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)

    async def __call__(self, _context, params) -> ElicitResult:
        self.asked.append(params)
        return self.answers.pop(0) if self.answers else ElicitResult(action="cancel")

    @classmethod
    def approves(cls, **more: str) -> "User":
        return cls([ElicitResult(action="accept", content={"decision": "approve", **more})])

    @classmethod
    def rejects(cls, **more: str) -> "User":
        return cls([ElicitResult(action="accept", content={"decision": "reject", **more})])

    @classmethod
    def says(cls, action: str) -> "User":
        return cls([ElicitResult(action=action)])


@asynccontextmanager
async def over_http(url: str, key: str | None, era: str, user: User | None = None):
    headers = {"Authorization": f"Bearer {key}"} if key else None
    async with create_mcp_http_client(headers=headers) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=era, elicitation_callback=user, cache=None) as client:
            yield client


@asynccontextmanager
async def over_stdio(command: list[str], era: str, user: User | None = None):
    program = StdioServerParameters(command=command[0], args=command[1:])
    async with Client(program, mode=era, elicitation_callback=user, cache=None) as client:
        yield client


def decision(result) -> dict[str, Any]:
    """What the gateway says of a call that it did not pass on."""
    assert result.is_error, f"expected a refusal, got {result}"
    assert result.meta and DECISION in result.meta, f"a refusal without `{DECISION}`: {result}"
    return result.meta[DECISION]


def said(result) -> str:
    return "\n".join(block.text for block in result.content if block.type == "text")


async def answer(client, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Everything that a call gives back, as a value to compare: result or error, without names and ids of its own."""
    try:
        result = await client.call_tool(name, arguments)
        seen = {"result": result.model_dump(mode="json", by_alias=True, exclude_none=True)}
    except MCPError as error:
        seen = {"error": error.error.model_dump(mode="json", by_alias=True, exclude_none=True)}
    return _without(seen, name)


def _without(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, name) for k, v in value.items() if k not in ("trace_id", "call_id")}
    if isinstance(value, list):
        return [_without(v, name) for v in value]
    return value.replace(name, "TOOL") if isinstance(value, str) else value
