#!/usr/bin/env python3
"""The suite's scenarios about authorization, for a client that connects an upstream: `tollgate servers login`, and calls behind it.

    tests/conformance/authorize.py --gateway PATH [--scenario auth/…] [--json]

Each scenario is a server that wants tokens, with its authorization server. It is put behind a gateway of its own, a browser that
follows redirects is sent to the issuer, and then an agent lists and calls its tools. Exits 1 where a scenario does worse than
expected-authorization.json says.

    tests/conformance/authorize.py --client PATH URL      what the suite starts for each scenario
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "sdk"))

from harness import Gateway, digest  # noqa: E402

SUITE = HERE / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
NODE = HERE / "node_modules/.bin/node"
EXPECTED = HERE / "expected-authorization.json"
METADATA_URL = "https://conformance-test.local/client-metadata.json"
ONE = re.compile(r"Passed: (\d+)/(\d+), (\d+) failed(?:, (\d+) warnings)?")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
POLICIES = {
    "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\n',
    "authority.yaml": """\
capabilities:
  everything: { tools: ["*"] }
agents:
  suite: { owner: tests, capabilities: [everything], keys: ["%s"] }
people:
  admin: { keys: ["%s"], roles: [admin] }
""" % (digest("key-suite"), digest("key-admin")),
}


def ask(gateway: Gateway, method: str, params: dict) -> dict:
    """What an agent of 2026-07-28 is answered."""
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "suite", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {}}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    headers = {"Authorization": "Bearer key-suite", "Content-Type": "application/json",
               "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
               "Mcp-Method": method, **({"Mcp-Name": params["name"]} if "name" in params else {})}
    request = urllib.request.Request(gateway.url, data=json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        text = error.read().decode()
    lines = [text] if text.startswith("{") else [line[6:] for line in text.splitlines() if line.startswith("data: {")]
    return json.loads(lines[-1])


def login(gateway: Gateway) -> bool:
    """The command, and a browser that follows wherever it is sent. Whether it is connected."""
    command = [gateway.binary, "--config", str(gateway.config), "servers", "login", "upstream"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        if url.startswith("http"):
            browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
            try:
                browser.open(url, timeout=20).read()
            except (urllib.error.URLError, OSError) as error:
                print(f"the browser: {error}", file=sys.stderr)
        out, err = process.communicate(timeout=40)
        print(out, err, file=sys.stderr)
        return process.returncode == 0


def is_well(gateway: Gateway) -> bool:
    """Whether the account is connected, and has all scopes that were wanted."""
    (mine,) = gateway.api("connections", "key-admin")[1]["connections"]
    return not mine["wants"] and mine["state"] == "connected"


def client(binary: str, url: str) -> int:
    """The suite's client."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    known = ""
    if context.get("client_id"):
        known = f', client_id = "{context["client_id"]}"'
        if context.get("client_secret"):
            known += f', client_secret = "{context["client_secret"]}"'
    else:
        known = f', client_metadata_url = "{METADATA_URL}"'
    upstream = f'[upstreams.upstream]\nurl = "{url}"\nprefix = ""\noauth = {{ grant = "authorization_code"{known} }}\n'
    with Gateway(binary, upstream, POLICIES, ready_within=20) as gateway:
        if not login(gateway):
            return 1
        for _ in range(3):
            tools, until = [], time.monotonic() + 20
            while not tools and is_well(gateway) and time.monotonic() < until:
                tools = ask(gateway, "tools/list", {}).get("result", {}).get("tools", [])
            answers = [ask(gateway, "tools/call", {"name": tool["name"], "arguments": {}}) for tool in tools]
            print(json.dumps(answers)[:2000], file=sys.stderr)
            # Where more scopes are wanted, or the connection is lost, a person who reads why connects again.
            if is_well(gateway) or not login(gateway):
                break
        return 0 if tools else 1


def scenarios() -> list[str]:
    listed = subprocess.run([NODE, SUITE, "list"], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"- (auth/[a-z0-9-]+) \[([^]]*)\]", ANSI.sub("", listed))
    return [name for name, versions in found if "extension" not in versions]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gateway")
    parser.add_argument("--client")
    parser.add_argument("--scenario", action="append")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("url", nargs="?")
    given = parser.parse_args()
    if given.client:
        return client(given.client, given.url)
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    results, worse = {}, []
    for name in given.scenario or scenarios():
        command = f"{sys.executable} {__file__} --client {Path(given.gateway).resolve()}"
        run = subprocess.run([NODE, SUITE, "client", "--command", command, "--scenario", name, "--timeout", "90000"],
                             capture_output=True, text=True, cwd=HERE)
        text = ANSI.sub("", run.stdout + run.stderr)
        found = ONE.search(text)
        passed, failed = (int(found[1]), int(found[3])) if found else (0, 1)
        results[name] = {"passed": passed, "failed": failed}
        if failed > expected.get(name, {}).get("failed", 0):
            worse.append(name)
        if not given.json:
            print(f"{'ok ' if not failed else 'NOT'} {name}: {passed} passed, {failed} failed", flush=True)
        if failed and given.scenario:
            print(text)
    if given.record:
        EXPECTED.write_text(json.dumps(results, indent=1) + "\n")
    if given.json:
        print(json.dumps(results, indent=1))
    if worse:
        print(f"worse than expected: {', '.join(worse)}", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
