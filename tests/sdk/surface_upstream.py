"""A server of the official SDK with a skill and a page. What its skill's files hold is read from a folder at each read;
what it lists of them is what they held when it was started.

    surface_upstream.py NAME FOLDER
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from mcp.server.apps import Apps, ResourceCsp, ResourcePermissions
from mcp.server.extension import Extension, MethodBinding, ResourceBinding
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.resources import FunctionResource
from mcp_types import RequestParams

name, folder = sys.argv[1], Path(sys.argv[2])
FILES = {"SKILL.md": "text/markdown", "references/GUIDE.md": "text/markdown", "data.bin": "application/octet-stream"}


def uri(file: str) -> str:
    return f"skill://refunds/{file}"


def held(file: str):
    def read() -> str | bytes:
        content = (folder / file).read_bytes()
        return content.decode() if file.endswith(".md") else content

    return read


class GetSkill(RequestParams):
    uri: str


class Skills(Extension):
    identifier = "io.modelcontextprotocol/skills"

    def __init__(self) -> None:
        self.refunds = self.entry()

    def entry(self) -> dict:
        def listed(file: str) -> dict:
            content = (folder / file).read_bytes()
            return {"uri": uri(file), "digest": "sha256:" + hashlib.sha256(content).hexdigest(), "size": len(content)}

        return {
            "uri": uri("SKILL.md"),
            "frontmatter": {"name": "refunds", "description": f"How {name} gives money back", "license": "X"},
            "resources": [listed(file) for file in FILES],
        }

    async def list(self, _context, _params) -> dict:
        wrong = {**self.refunds, "uri": "skill://wrong/SKILL.md"}
        return {"skills": [self.entry(), wrong], "ttlMs": 0, "cacheScope": "private"}

    async def get(self, _context, params: GetSkill) -> dict:
        return {"skill": self.entry(), "ttlMs": 0, "cacheScope": "private"}

    def methods(self):
        return [MethodBinding("skills/list", RequestParams, self.list), MethodBinding("skills/get", GetSkill, self.get)]

    def resources(self):
        files = {**FILES, "unlisted.md": "text/markdown"}
        return [
            ResourceBinding(resource=FunctionResource(uri=uri(file), name=file, mime_type=kind, fn=held(file)))
            for file, kind in files.items()
        ]


apps = Apps()
apps.add_html_resource(
    "ui://app/board",
    f"<!doctype html><title>{name}</title>",
    csp=ResourceCsp(
        connect_domains=["https://api.example.com", "https://elsewhere.example"],
        resource_domains=["https://cdn.example.com"],
    ),
    permissions=ResourcePermissions(camera={}, clipboard_write={}),
    prefers_border=True,
)


@apps.tool(resource_uri="ui://app/board")
def board() -> str:
    """Shows the board."""
    return f"the board of {name}"


@apps.tool(resource_uri="ui://app/board", visibility=["app"])
def refresh() -> str:
    """Reads the board again, for its page."""
    return f"{name} again"


MCPServer(name, extensions=[apps, Skills()]).run("stdio")
