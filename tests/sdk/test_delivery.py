"""Delivery of the record (R90): to a file, a webhook and syslog, in order and at least once, over kills and servers that fail."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import socket
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from client import ERAS, over_http
from harness import Gateway
from test_processes import BUNDLE, UPSTREAMS, agent, authority

POLICIES = {**BUNDLE, "authority.yaml": authority(agent("planner"))}
SECRET = "a-secret-of-at-least-24-characters"
HEADER = re.compile(r"^<(\d+)>1 (\S+Z) - tollgate (\d+) (\S+) \[tollgate@32473 seq=\"(\d+)\"( trace=\"[0-9a-f]{32}\")?\] \ufeff(.*)$", re.S)


class Syslog:
    """Reads counted frames over TCP, and hangs up now and then."""

    def __init__(self, hang_up_after: int):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.hang_up_after = hang_up_after
        self.messages: list[str] = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.read, args=(connection,), daemon=True).start()

    def read(self, connection: socket.socket):
        left, count = b"", 0
        with connection:
            while data := connection.recv(65536):
                left += data
                while match := re.match(rb"(\d+) ", left):
                    length = int(match[1])
                    frame = left[match.end():match.end() + length]
                    if len(frame) < length:
                        break
                    left = left[match.end() + length:]
                    self.messages.append(frame.decode())
                    count += 1
                    if self.hang_up_after and count >= self.hang_up_after:
                        return


class Webhook:
    """Refuses every third request, after it has read it."""

    def __init__(self):
        self.seqs: list[int] = []
        self.refused = 0
        self.requests = 0
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):  # noqa: N802
                body = self.rfile.read(int(self.headers["Content-Length"]))
                signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
                right = base64.b64encode(hmac.digest(SECRET.encode(), signed, hashlib.sha256)).decode()
                assert self.headers["webhook-signature"] == f"v1,{right}"
                webhook.requests += 1
                if webhook.requests % 3 == 0:
                    webhook.refused += 1
                    self.send_response(503)
                else:
                    webhook.seqs += [json.loads(line)["metadata"]["sequence"] for line in body.splitlines()]
                    self.send_response(204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/events"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def calls(gateway: Gateway, count: int) -> None:
    async def make():
        async with over_http(gateway.url, "key-planner", ERAS[0]) as session:
            for n in range(count):
                await session.call_tool("demo__search", {"query": f"call {n}", "limit": 1})

    asyncio.run(asyncio.wait_for(make(), 60))


def arrives(gateway: Gateway, what: str, seen, wanted: set[int]) -> None:
    until = time.monotonic() + 60
    while not wanted <= set(seen()):
        assert time.monotonic() < until, f"{what}: {sorted(wanted - set(seen()))[:10]} did not arrive\n{gateway.tail()}"
        time.sleep(0.1)


def readiness(gateway: Gateway) -> str:
    request = urllib.request.Request(f"{gateway.admin}/readyz", headers={"Authorization": "Bearer key-carol"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.read().decode()


def in_order(seqs: list[int]) -> bool:
    """In order but for repeats: a batch that is sent again begins no later than where the one before ended."""
    highest = 0
    for seq in seqs:
        if seq > highest + 1:
            return False
        highest = max(highest, seq)
    return True


def test_every_record_arrives_over_kills_and_failing_servers(binary):
    webhook, syslog = Webhook(), Syslog(hang_up_after=25)
    with Gateway(binary, UPSTREAMS, POLICIES) as gateway:
        gateway.stop()
        archive = gateway.folder / "events.jsonl"
        gateway.config.write_text(gateway.config.read_text() + f"""
[delivery.archive]
file = "{archive}"
from = "start"
[delivery.siem]
url = "{webhook.url}"
secret = "{SECRET}"
format = "ocsf"
from = "start"
[delivery.log]
syslog = "tcp://127.0.0.1:{syslog.port}"
from = "start"
""")
        for _ in range(4):
            gateway.start()
            calls(gateway, 12)
            gateway.kill()
        gateway.start()
        calls(gateway, 3)
        wanted = {event["seq"] for event in gateway.events()}
        assert len(wanted) > 100

        def lines() -> list[int]:
            return [json.loads(line)["seq"] for line in archive.read_text().splitlines()]

        def logged() -> list[int]:
            return [int(HEADER.match(message)[5]) for message in list(syslog.messages)]

        arrives(gateway, "the file", lines, wanted)
        arrives(gateway, "the webhook", lambda: webhook.seqs, wanted)
        arrives(gateway, "syslog", logged, wanted)
        assert webhook.refused > 0
        assert in_order(lines()) and in_order(webhook.seqs)
        # What is in the file is what the chain keeps: it verifies by itself, once repeats are left out.
        once = {json.loads(line)["seq"]: line for line in archive.read_text().splitlines()}
        (gateway.folder / "once.jsonl").write_text("".join(once[seq] + "\n" for seq in sorted(once)))
        verified = gateway.cli("audit", "verify", "--file", "once.jsonl")
        assert verified.returncode == 0, verified.stderr
        priority, at, _, kind, seq, trace, body = HEADER.match(syslog.messages[-1]).groups()
        assert int(priority) // 8 == 13 and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", at)
        told = json.loads(body)
        assert (told["event_type"], str(told["seq"])) == (kind, seq)
        # A second process does not deliver beside it, and takes over when it is gone.
        gateway.stop()


def test_what_does_not_arrive_is_told_and_goes_on_later(binary):
    webhook = Webhook()
    webhook.server.shutdown()
    webhook.server.server_close()
    with Gateway(binary, UPSTREAMS, POLICIES) as gateway:
        gateway.stop()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        gateway.config.write_text(gateway.config.read_text() + f"""
[delivery.log]
syslog = "tcp://127.0.0.1:{port}"
""")
        gateway.start()
        calls(gateway, 2)
        until = time.monotonic() + 30
        while "delivery `log` does not arrive" not in readiness(gateway):
            assert time.monotonic() < until, gateway.tail()
            time.sleep(0.1)
        # It is put to rights: another address, by a reload.
        syslog = Syslog(hang_up_after=0)
        gateway.config.write_text(gateway.config.read_text().replace(str(port), str(syslog.port)))
        calls(gateway, 2)
        decided = {event["seq"] for event in gateway.events() if event["event_type"] == "agent_decision"}
        arrives(gateway, "syslog", lambda: [int(HEADER.match(message)[5]) for message in list(syslog.messages)], decided)


def test_a_delivery_that_says_too_little_is_an_error(binary):
    with Gateway(binary, UPSTREAMS, POLICIES) as gateway:
        good = gateway.config.read_text()
        for wrong, said in [
            ("[delivery.x]\n", "goes nowhere"),
            ('[delivery.x]\nfile = "a"\nsyslog = "tcp://h:1"\n', "goes to file and syslog"),
            ('[delivery.x]\nsyslog = "http://h:1"\n', "tcp://HOST:PORT"),
            ('[delivery.x]\nsyslog = "tcp://h:1"\nkeep = 3\n', "says nothing of a delivery by `syslog`"),
            ('[delivery."../x"]\nfile = "a"\n', "cannot name a delivery"),
        ]:
            gateway.config.write_text(good + "\n" + wrong)
            done = gateway.cli("check")
            assert done.returncode == 1 and said in done.stdout + done.stderr, done.stdout + done.stderr
