"""A client of 2026-07-28 meets an upstream of 2025-11-25 that asks during a call: the call waits, and the retry goes on with it.

Standard library only; raw HTTP, so that every member on the wire is seen.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request

VERSION = "2026-07-28"
FORM = {"elicitation": {"form": {}}}


class Client:
    def __init__(self, url: str, capabilities: dict, key: str | None = None):
        self.url, self.capabilities, self.key = url, capabilities, key
        self.next = 0

    def call(self, name: str, arguments: dict, **more) -> dict:
        """The result, or {"error": …}."""
        self.next += 1
        params = {"name": name, "arguments": arguments, "_meta": {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": self.capabilities,
            "io.modelcontextprotocol/clientInfo": {"name": "parking", "version": "1"},
        }, **more}
        body = {"jsonrpc": "2.0", "id": self.next, "method": "tools/call", "params": params}
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
                   "MCP-Protocol-Version": VERSION, "Mcp-Method": "tools/call", "Mcp-Name": name}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.url, data=json.dumps(body).encode(), headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            text = error.read().decode()
        if not text.lstrip().startswith("{"):
            events = [line[5:] for line in text.splitlines() if line.startswith("data:")]
            text = events[-1]
        message = json.loads(text)
        return message.get("result") or {"error": message["error"]}


def check(url: str, key: str, other_key: str, events) -> list[str]:
    """Everything that is wrong. `events()` gives the audit events, oldest first."""
    wrong: list[str] = []

    def expect(what: str, true: bool, seen) -> None:
        if not true:
            wrong.append(f"parking: {what}: {json.dumps(seen)[:400]}")

    client = Client(url, FORM, key)
    arguments = {"message": "Who are you?"}
    asked = client.call("test_elicitation", arguments)
    requests = asked.get("inputRequests", {})
    expect("the question comes as a result", asked.get("resultType") == "input_required" and len(requests) == 1, asked)
    state = asked.get("requestState")
    name, question = next(iter(requests.items()), ("", {}))
    expect("it is an elicitation with its form", question.get("method") == "elicitation/create"
           and "username" in question.get("params", {}).get("requestedSchema", {}).get("properties", {}), question)
    expect("it names its upstream", question.get("params", {}).get("message") == "[fixture] Who are you?", question)

    answer = {"action": "accept", "content": {"username": "ada", "email": "ada@lovelace.example"}}
    stolen = Client(url, FORM, other_key).call("test_elicitation", arguments, requestState=state, inputResponses={name: answer})
    expect("another agent cannot answer it", "error" in stolen, stolen)
    changed = client.call("test_elicitation", {"message": "changed"}, requestState=state, inputResponses={name: answer})
    expect("another call cannot use its handle", "error" in changed, changed)
    # A forged handle names no call, and the call in flight is left as it is.
    forged = client.call("test_elicitation", arguments, requestState=(state or "")[:-4] + "AAAA", inputResponses={name: answer})
    expect("a forged handle is refused", "error" in forged, forged)

    again = client.call("test_elicitation", arguments, requestState=state, inputResponses={"unknown": answer})
    expect("a question that was not answered is asked again", list(again.get("inputRequests", {})) == [name], again)
    old = client.call("test_elicitation", arguments, requestState=state, inputResponses={name: answer})
    expect("a handle works once", "error" in old, old)
    done = client.call("test_elicitation", arguments, requestState=again.get("requestState"), inputResponses={name: answer})
    text = (done.get("content") or [{}])[0].get("text", "")
    expect("the answer reaches the upstream, and its result the client", "action=accept" in text and "ada" in text, done)
    late = client.call("test_elicitation", arguments, requestState=again.get("requestState"), inputResponses={name: answer})
    expect("after the end there is nothing to resume", "error" in late, late)

    mute = Client(url, {}, key).call("test_elicitation", arguments)
    expect("a client that cannot be asked is not asked", "inputRequests" not in mute, mute)

    sampled = Client(url, {"sampling": {}}, key)
    asked = sampled.call("test_sampling", {"prompt": "Hello?"})
    name, question = next(iter(asked.get("inputRequests", {}).items()), ("", {}))
    expect("sampling is asked the same way", question.get("method") == "sampling/createMessage", asked)
    said = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "Hi."}, "stopReason": "endTurn"}
    done = sampled.call("test_sampling", {"prompt": "Hello?"}, requestState=asked.get("requestState"), inputResponses={name: said})
    expect("and answered", "Hi." in json.dumps(done), done)

    calls: dict[str, list[str]] = {}
    for event in events():
        if event.get("tool") == "test_elicitation" and event.get("agent_id") == "suite":
            calls.setdefault(event["call_id"], []).append(event["event_type"])
    whole = [kinds for kinds in calls.values() if "agent_side_effect" in kinds]
    expect("one record for a call, however often it was resumed",
           len(whole) == 2 and all(kinds.count("agent_decision") == 1 and kinds.count("agent_side_effect") == 1 for kinds in whole), calls)
    return wrong
