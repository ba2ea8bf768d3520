"""What an upstream writes to its standard error may be about anybody: people with a key see it masked, and nothing else has it."""

from __future__ import annotations

import json
import time
import urllib.request

from harness import Gateway, digest

WORDS = "Error: customer Ada Q. of 4711 Elm Street is unknown"
EMAIL = "ada@customers.example"
UPSTREAMS = f"""
[upstreams.talks]
command = ["sh", "-c", "printf 'Error: \\\\033[31mit is {EMAIL}\\\\n{WORDS}\\\\n' >&2; exit 3"]
"""
POLICIES = {
    "bundle.yaml": """\
version: "1"
owner: tests
default_decision: ALLOW
alerts: { window: 1s, upstream_down: { after: 1s } }
""",
    "authority.yaml": f"""\
capabilities:
  all: {{ tools: ["*"] }}
agents:
  planner: {{ owner: tests, capabilities: [all], keys: ["{digest("key-planner")}"] }}
people:
  olga: {{ keys: ["{digest("key-olga")}"], groups: [], roles: [auditor] }}
  full: {{ keys: ["{digest("key-full")}"], groups: [], roles: [auditor-full] }}
""",
}


def readyz(gateway: Gateway, key: str | None = None) -> dict:
    request = urllib.request.Request(f"{gateway.admin}/readyz", headers={"Authorization": f"Bearer {key}"} if key else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_last_words_are_masked_and_for_people_with_a_key(binary):
    """I5, I8: neither log, record, alert nor a stranger gets them; whoever is let in learns the cause, and what was said, masked."""
    with Gateway(binary, UPSTREAMS, POLICIES) as gateway:
        until = time.monotonic() + 40
        while not (found := [one for one in json.loads(gateway.cli("alerts", "list", "--json").stdout)["alerts"]
                             if one["kind"] == "upstream_down"]):
            assert time.monotonic() < until, gateway.tail()
            time.sleep(0.1)
        assert "the process ended (exit status: 3)" in found[0]["reason"], found
        assert readyz(gateway) == {"status": "ready"}
        told = readyz(gateway, "key-olga")
        assert any("`talks` is down" in one and "exit status: 3" in one for one in told["details"]), told
        def talks(key):
            (one,) = [one for one in gateway.api("upstreams", key)[1]["upstreams"] if one["name"] == "talks"]
            return one
        # Who sees no values of arguments sees no words of upstreams.
        assert talks("key-olga")["said"] is None
        upstream = talks("key-full")
        assert "exit status: 3" in upstream["reason"] and WORDS in upstream["said"], upstream
        assert EMAIL not in json.dumps(upstream) and "\x1b" not in upstream["said"], upstream
        assert "is down" in gateway.tail(1000)
        for name, text in [("log", gateway.tail(1000)), ("records", json.dumps(gateway.events())),
                           ("alerts", json.dumps(found)), ("readyz", json.dumps(told))]:
            assert "Elm Street" not in text and EMAIL not in text, f"{name}: {text}"
