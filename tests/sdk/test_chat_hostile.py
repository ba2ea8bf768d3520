"""Services that take messages and behave badly, agents and servers that write what means something elsewhere, and links in the wrong
hands: nobody else waits, nothing is told twice, and nobody decides without a key (R97)."""

from __future__ import annotations

import json
import re
import socketserver
import ssl
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness import free_port
from test_alerts import call
from test_chat import ask, certificate, chats, decide, leads_to, link_of, post, readyz, start, until  # noqa: F401
from test_telemetry import scrape, value_of


class Odd:
    """A service that answers each message as it is told to, and counts what it could say."""

    def __init__(self, answer):
        self.got, self.said, self.more = [], 0, threading.Condition()
        odd = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                lines = self.rfile.read(int(self.headers["Content-Length"])).splitlines()
                body = json.loads(lines[0]) if len(lines) == 1 else [json.loads(line) for line in lines]
                with odd.more:
                    odd.got.append(body)
                    odd.more.notify_all()
                try:
                    answer(self, body)
                except OSError:
                    pass

            def say(self, bytes):
                self.wfile.write(bytes)
                with odd.more:
                    odd.said += len(bytes)

            def log_message(self, *_):
                pass
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.over = threading.Event()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def until(self, count: int) -> list[dict]:
        with self.more:
            assert self.more.wait_for(lambda: len(self.got) >= count, 60), self.got
            return list(self.got)

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture()
def odd():
    made = []

    def one(answer) -> Odd:
        made.append(Odd(answer))
        return made[-1]
    yield one
    for service in made:
        service.close()


def slack(name: str, url: str, more: str = "") -> str:
    return f'[webhooks.{name}]\nformat = "slack"\nurl = "{url}"\n{more}\n'


def title(message: dict) -> str:
    return message["blocks"][0]["text"]["text"]


def test_what_was_taken_is_told_once_whatever_comes_behind_the_status(start, odd):  # noqa: F811
    """An answer without an end, and one that never comes whole: the status counts, and little is read of what follows."""
    def endless(request, _):
        request.send_response(200)
        request.end_headers()
        while True:
            request.say(b"x" * 65536)

    def silent(request, _):
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.flush()
        services[1].over.wait(60)
    services = [odd(endless), odd(silent)]
    gateway = start(slack("endless", services[0].url) + slack("silent", services[1].url))
    id = ask(gateway, "/a")
    for service in services:
        service.until(1)
    decide(gateway, id)
    for service in services:
        assert [title(one) for one in service.until(2)] == ["Approval wanted (test)", "Approved (test)"]
    ask(gateway, "/b")
    for service in services:
        assert [title(one) for one in service.until(3)] == ["Approval wanted (test)", "Approved (test)", "Approval wanted (test)"]
    # What fits into the buffers of both kernels, for each message.
    assert services[0].said < 3 * (16 << 20), services[0].said


def test_records_that_were_taken_are_delivered_once_whatever_comes_behind_the_status(start, odd):  # noqa: F811
    """The same of the delivery of records."""
    def endless(request, _):
        request.send_response(200)
        request.end_headers()
        while True:
            request.say(b"x" * 65536)
    service = odd(endless)
    gateway = start(f'[delivery.siem]\nurl = "{service.url}"\nsecret = "whsec-for-tests-0123456789"\n')
    flat = lambda: [record["seq"] for one in service.got for record in (one if isinstance(one, list) else [one])]
    for path in ["/a", "/b", "/c"]:
        ask(gateway, path)
        newest = gateway.events()[-1]["seq"]
        with service.more:
            assert service.more.wait_for(lambda: flat()[-1:] >= [newest], 60), (flat(), newest)
    assert flat() == list(range(flat()[0], flat()[-1] + 1))


def test_a_redirect_is_followed_by_nobody(start, odd, chats):  # noqa: F811
    """Who answers with another place is not believed: no address of this machine is asked because a service says so."""
    inside = chats()

    def elsewhere(request, _):
        request.send_response(307)
        request.send_header("Location", inside.url)
        request.end_headers()
    service = odd(elsewhere)
    gateway = start(slack("leads", service.url))
    ask(gateway, "/a")
    service.until(2)
    until(lambda: "webhook `leads` is not told, and it is tried again: HTTP status 307" in readyz(gateway), lambda: readyz(gateway))
    assert inside.got == []


def test_one_that_refuses_for_good_is_named_until_it_takes_something(start, chats):  # noqa: F811
    """A webhook that somebody removed in its service: nobody would miss the messages that do not come."""
    gone, other = chats(), chats()
    gone.always = 404
    gateway = start(slack("gone", gone.url) + slack("other", other.url))
    id = ask(gateway, "/a")
    sentence = "webhook `gone` refused its last message, which is not sent again: HTTP status 404 Not Found (no_service)"
    until(lambda: sentence in readyz(gateway), lambda: readyz(gateway))
    gone.always = None
    ask(gateway, "/b")
    gone.until(1)
    until(lambda: "webhook `gone`" not in readyz(gateway), lambda: readyz(gateway))
    assert value_of(scrape(gateway), "tollgate_webhook_messages_total", webhook="gone", result="refused") == 1
    decide(gateway, id)
    assert "Approved (test)" in [title(one) for one in other.until(3)]


def test_an_agent_cannot_keep_others_from_being_told(start, odd):  # noqa: F811
    """What stands before a service may mind what an agent wrote: then that ask is told without it, and the next one comes."""
    def filtered(request, body):
        request.send_response(503 if "DROP TABLE" in json.dumps(body) else 200)
        request.end_headers()
    service = odd(filtered)
    gateway = start(slack("leads", service.url))
    ask(gateway, "/first", "'; DROP TABLE notes; --")
    ask(gateway, "/second")
    with service.more:
        assert service.more.wait_for(lambda: "/second" in json.dumps(service.got), 60), service.got
    told = [one for one in service.got if "DROP TABLE" not in json.dumps(one)]
    assert [title(one) for one in told] == ["Approval wanted (test)"] * 2 and "Arguments" not in json.dumps(told[0]), told
    assert link_of(told[0])


MAIL = """
[webhooks.mail]
format = "email"
url = "smtp://localhost:{port}"
from = "Tollgate <tollgate@acme.example>"
to = [{to}]
"""


def test_a_full_mailbox_costs_nobody_else_their_mail(start, post):  # noqa: F811
    """An address that is refused for now: the others get theirs at once, and the next ask is told of, too."""
    post.full.add("full@acme.example")
    signed_in = 'user = "tollgate"\npassword = "${MAIL_PASSWORD}"\n'
    gateway = start(MAIL.format(port=post.port, to='"full@acme.example", "leads@acme.example"') + signed_in,
                    env={"SSL_CERT_FILE": str(post.authority)})
    ask(gateway, "/first")
    assert [tos for tos, *_ in post.until(1)] == [["leads@acme.example"]]
    until(lambda: "the mail server refuses it for now (SMTP 452)" in readyz(gateway), lambda: readyz(gateway))
    ask(gateway, "/second")
    mails = post.until(2)
    assert [tos for tos, *_ in mails] == [["leads@acme.example"]] * 2 and "/second" in mails[1][1].as_string()
    post.full.clear()
    ask(gateway, "/third")
    # What waited for the mailbox, where there was still time, and the new one.
    mails = post.until(4)
    until(lambda: sorted(tos[0] for tos, mail, *_ in post.mails if "/third" in mail.as_string()) == ["full@acme.example", "leads@acme.example"], lambda: mails)


def test_mail_goes_over_tls_from_the_first_byte_on(start, tmp_path):  # noqa: F811
    """`smtps://`: to who holds a certificate of an authority that is trusted, and to nobody else."""
    from aiosmtpd.controller import Controller

    authority, cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    got, more = [], threading.Condition()

    class Handler:
        async def handle_DATA(self, server, session, envelope):
            with more:
                got.append(envelope.content.decode())
                more.notify_all()
            return "250 taken"
    controller = Controller(Handler(), hostname="127.0.0.1", port=free_port(), ssl_context=context, ready_timeout=20)
    controller.start()
    try:
        mail = MAIL.format(port=controller.port, to='"leads@acme.example"').replace("smtp://", "smtps://")
        stranger = start(mail)
        ask(stranger, "/a")
        until(lambda: "certificate" in readyz(stranger), lambda: readyz(stranger))
        assert not got
        gateway = start(mail, env={"SSL_CERT_FILE": str(authority)})
        ask(gateway, "/a")
        with more:
            assert more.wait_for(lambda: got, 60)
        assert "Subject: [Tollgate test] Approval" in got[0]
    finally:
        controller.stop()


class Smtp:
    """A mail server of a few lines, which does what real ones do not."""

    def __init__(self, talk):
        self.mails, self.said, self.more, self.over = [], 0, threading.Condition(), threading.Event()
        smtp = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                try:
                    talk(self)
                except OSError:
                    pass

            def say(self, bytes):
                self.wfile.write(bytes)
                with smtp.more:
                    smtp.said += len(bytes)

            def take(self):
                """Takes one mail, up to its end."""
                self.say(b"220 here\r\n")
                for answer in [b"250 hello\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"]:
                    self.rfile.readline()
                    self.say(answer)
                lines = list(iter(self.rfile.readline, b".\r\n"))
                with smtp.more:
                    smtp.mails.append(b"".join(lines))
                    smtp.more.notify_all()
                self.say(b"250 taken\r\n")
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def until(self, count: int) -> list[bytes]:
        with self.more:
            assert self.more.wait_for(lambda: len(self.mails) >= count, 60), self.mails
            return list(self.mails)

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture()
def smtp():
    made = []

    def one(talk) -> Smtp:
        made.append(Smtp(talk))
        return made[-1]
    yield one
    for server in made:
        server.close()


def test_a_mail_server_that_says_no_goodbye_gets_a_mail_once(start, smtp):  # noqa: F811
    def mute(request):
        request.take()
        server.over.wait(60)
    server = smtp(mute)
    gateway = start(MAIL.format(port=server.port, to='"leads@acme.example"').replace("localhost", "127.0.0.1"))
    id = ask(gateway, "/a")
    server.until(1)
    decide(gateway, id)
    mails = server.until(2)
    assert b"Subject: [Tollgate test]" in mails[0] and b"Subject: Re: [Tollgate test]" in mails[1], mails
    sent = ["tollgate_webhook_messages_total", {"webhook": "mail", "result": "sent"}]
    until(lambda: value_of(scrape(gateway), sent[0], **sent[1]) == 2, lambda: scrape(gateway))
    assert len(server.mails) == 2


def test_of_a_mail_server_that_says_too_much_little_is_read(start, smtp):  # noqa: F811
    """A line without an end: it is not kept."""
    def endless(request):
        request.say(b"220 ")
        while True:
            request.say(b"x" * 65536)
    server = smtp(endless)
    gateway = start(MAIL.format(port=server.port, to='"leads@acme.example"').replace("localhost", "127.0.0.1"))
    ask(gateway, "/a")
    until(lambda: "the mail server says too much" in readyz(gateway), lambda: readyz(gateway))
    failed = value_of(scrape(gateway), "tollgate_webhook_messages_total", webhook="mail", result="failed")
    assert server.said < (failed + 1) * (16 << 20), (server.said, failed)


def test_a_link_opens_no_more_than_a_key_does(start, chats, request):  # noqa: F811
    """Without a person's key nobody sees or decides by a link, however it is asked for; what it answers says nothing of other asks."""
    chat = chats()
    gateway = start(slack("leads", chat.url))
    id, other = ask(gateway, "/a"), ask(gateway, "/b")
    link, second = (link_of(message) for message in chat.until(2))
    token = link.rsplit("/", 1)[1]

    def asked(method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, dict]:
        made = urllib.request.Request(gateway.admin + path, data=body, method=method, headers=headers)
        try:
            with urllib.request.urlopen(made, timeout=10) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read(), error.headers
    before = gateway.events()
    # A preview, and whoever is curious.
    page = asked("GET", "/")[1]
    for agent in ["Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "SkypeUriPreview Preview/0.5", "curl/8"]:
        status, body, headers = asked("GET", f"/ask/{token}", **{"User-Agent": agent})
        assert (status, body) == (200, page) and headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"
        assert "Set-Cookie" not in headers
    assert asked("HEAD", f"/ask/{token}")[:2] == (200, b"")
    for method in ["POST", "PUT", "DELETE", "PATCH"]:
        assert asked(method, f"/ask/{token}", b'{"decision":"approve"}')[0] == 405
    assert asked("GET", f"/ask/{token}?decision=approve")[1] == page
    decision = b'{"decision":"approve"}'
    for headers in [{}, {"Authorization": f"Bearer {token}"}, {"Authorization": "Bearer key-writer"}, {"Cookie": f"tollgate-session={token}"},
                    {"Referer": link, "Origin": gateway.admin}, {"Authorization": "Bearer key-vic"}]:
        headers = {"Content-Type": "application/json", **headers}
        for path in [f"/api/v1/approvals/{id}/decision", f"/api/v1/approvals/{token}/decision", f"/api/v1/asks/{token}"]:
            status, body, _ = asked("POST" if "decision" in path else "GET", path, decision if "decision" in path else None, **headers)
            assert status in (401, 403) and id.encode() not in body, (path, headers, status, body)
    # Before somebody is known each answer is the same, whatever stands in the link.
    answers = {asked("GET", f"/api/v1/asks/{one}")[:2] for one in [token, second.rsplit("/", 1)[1], token[:-2], "x", id, "A" * 4000]}
    assert len(answers) == 1, answers
    assert gateway.events() == before
    # After its ask was decided it leads there and decides nothing again; a piece of two links is none.
    decide(gateway, id, "reject")
    assert leads_to(gateway, link) == (200, {"approval_id": id}) and leads_to(gateway, second) == (200, {"approval_id": other})
    status, body = gateway.api(f"approvals/{id}/decision", "key-carol", {"decision": "approve"})
    assert status == 409, body
    mixed = link[: len(link) // 2] + second[len(link) // 2:]
    unknown = leads_to(gateway, mixed)
    assert unknown[0] == 404
    # Another gateway's link is a forged one.
    there = chats()
    elsewhere = start(slack("leads", there.url))
    ask(elsewhere, "/a")
    assert leads_to(gateway, link_of(there.until(1)[0])) == unknown
    assert gateway.api(f"approvals/{other}", "key-carol")[1]["status"] == "pending"


def test_an_agent_that_asks_without_end_is_told_of_a_few_times(start, chats):  # noqa: F811
    """A storm of asks is a few messages; what is over makes room, and the page has them all."""
    chat = chats()
    gateway = start(slack("leads", chat.url))
    texts = [call(gateway, "demo__note_write", {"path": f"/{n}", "text": "x"})["text"] for n in range(40)]
    ids = list(dict.fromkeys(re.findall(r'"approval_id": ?"([^"]+)"', "".join(texts).replace("\\", ""))))
    assert len(ids) == 40, len(ids)
    chat.until(20)
    decide(gateway, ids[0], "reject")
    assert [title(one) for one in chat.until(21)] == ["Approval wanted (test)"] * 20 + ["Rejected (test)"]
    assert gateway.api(f"approvals/{ids[-1]}", "key-carol")[1]["status"] == "pending"
