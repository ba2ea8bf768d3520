"""People are told of asks where they are (R97): Slack, Teams, mail and PagerDuty as real servers see it, over kills and failures."""

from __future__ import annotations

import datetime
import email
import email.policy
import json
import re
import ssl
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness import Gateway, digest, free_port
from test_alerts import call
from test_telemetry import scrape, value_of

TOKEN = "ghp_" + "aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA2bC4"
IN_URL = "T0SECRET0/B0SECRET0/xSecretInTheUrl"
ROUTING_KEY = "R0utingKey0123456789012345678901"
PASSWORD = "the-mail-password-1"
AUTHORITY = """\
capabilities:
  everything: { tools: ["demo__*"] }
agents:
  writer: { owner: notes-team, role: batch, workflow: night, capabilities: [everything], keys: ["%s"] }
people:
  carol: { keys: ["%s"], groups: [leads], roles: [approver] }
  dave: { keys: ["%s"], groups: [security], roles: [approver] }
  vic: { keys: ["%s"], groups: [], roles: [viewer] }
workflows:
  night: { owner: notes-team }
""" % tuple(digest(f"key-{name}") for name in ["writer", "carol", "dave", "vic"])


def policies(more: str = "") -> dict[str, str]:
    return {
        "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\n',
        "authority.yaml": AUTHORITY,
        "writes.yaml": f"""\
name: writes
description: A lead looks at each note
owner: tests
on: [{{ tool: demo__note_write }}]
rules: [{{ id: ask, decision: REQUIRE_APPROVAL, approvers: [leads], reason: "A lead reads it <b>first</b>", expires_in: 10m{more} }}]
""",
    }


class Chat:
    """A service that takes messages, or refuses them with the statuses that it is told."""

    def __init__(self):
        self.got, self.statuses, self.more = [], [], threading.Condition()
        self.always = None
        chat = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with chat.more:
                    status = chat.always or (chat.statuses.pop(0) if chat.statuses else 200)
                    chat.got.append((status, self.path, json.loads(body)))
                    chat.more.notify_all()
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b"ok" if status == 200 else b"no_service")

            def log_message(self, *_):
                pass
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/{IN_URL}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def told(self) -> list[dict]:
        with self.more:
            return [body for status, _, body in self.got if status == 200]

    def until(self, count: int) -> list[dict]:
        with self.more:
            assert self.more.wait_for(lambda: len([1 for status, *_ in self.got if status == 200]) >= count, 60), self.got
        return self.told()

    def tried(self, count: int) -> None:
        with self.more:
            assert self.more.wait_for(lambda: len(self.got) >= count, 60), self.got

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def certificate(folder):
    """A certificate of this machine and the authority that made it."""
    now = datetime.datetime.now(datetime.timezone.utc)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    ca, own = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("tests", "localhost"))

    def signed(name, key, is_ca: bool):
        begun = (x509.CertificateBuilder().subject_name(name).issuer_name(ca).public_key(key.public_key())
                 .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
                 .not_valid_after(now + datetime.timedelta(days=2))
                 .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
                 .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True))
        return begun.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "ca.pem").write_bytes(signed(ca, keys[0], True))
    (folder / "cert.pem").write_bytes(signed(own, keys[1], False))
    (folder / "key.pem").write_bytes(keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return folder / "ca.pem", folder / "cert.pem", folder / "key.pem"


class Post:
    """A mail server that takes mail over TLS from who is signed in, and from nobody else."""

    def __init__(self, folder):
        self.mails, self.refused, self.full, self.more = [], set(), set(), threading.Condition()
        self.authority, cert, key = certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        post = self

        class Handler:
            async def handle_RCPT(self, server, session, envelope, address, options):
                if address in post.refused:
                    return "550 5.1.1 no such mailbox"
                if address in post.full:
                    return "452 4.2.2 mailbox full"
                envelope.rcpt_tos.append(address)
                return "250 OK"

            async def handle_DATA(self, server, session, envelope):
                with post.more:
                    mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
                    post.mails.append((envelope.rcpt_tos, mail, bool(session.ssl), session.auth_data))
                    post.more.notify_all()
                return "250 taken"

        def who(server, session, envelope, mechanism, data):
            good = (data.login, data.password) == (b"tollgate", PASSWORD.encode())
            # `handled` would mean that the refusal is written here.
            return AuthResult(success=good, auth_data=data.login.decode() if good else None, handled=False)

        self.port = free_port()

        class Server(Controller):
            def factory(self):
                return SMTP(self.handler, hostname="localhost", tls_context=context, require_starttls=True,
                            authenticator=who, auth_required=True)
        self.controller = Server(Handler(), hostname="127.0.0.1", port=self.port, ready_timeout=20)
        self.controller.start()

    def until(self, count: int) -> list:
        with self.more:
            assert self.more.wait_for(lambda: len(self.mails) >= count, 60), self.mails
            return list(self.mails)

    def close(self) -> None:
        self.controller.stop()


@pytest.fixture()
def post(tmp_path):
    one = Post(tmp_path)
    yield one
    one.close()


@pytest.fixture()
def chats():
    made = []

    def one() -> Chat:
        made.append(Chat())
        return made[-1]
    yield one
    for chat in made:
        chat.close()


@pytest.fixture()
def start(request):
    """A gateway with these webhooks; nothing that it says of itself holds a secret."""
    running = []

    def one(webhooks: str, bundle: dict[str, str] | None = None, env: dict[str, str] | None = None) -> Gateway:
        demo = '[upstreams.demo]\ncommand = ["tollgate", "demo-upstream"]\n'
        gateway = Gateway(request.config.getoption("--gateway"), demo + webhooks, bundle or policies(), approval_wait="0s",
                          env={"MAIL_PASSWORD": PASSWORD, "ROUTING_KEY": ROUTING_KEY, **(env or {})}, ready_within=60)
        text = gateway.config.read_text()
        gateway.config.write_text(text.replace("[store]", f'public_url = "{gateway.admin}"\n\n[store]'))
        running.append(gateway)
        return gateway.__enter__()
    yield one
    for gateway in running:
        log = (gateway.folder / "gateway.log").read_text(errors="replace")
        print(gateway.tail())
        everything = log + json.dumps(gateway.events())
        for secret in [IN_URL, "xSecretInTheUrl", ROUTING_KEY, PASSWORD, TOKEN, "/ask/"]:
            assert secret not in everything, secret
        gateway.__exit__(None)


def ask(gateway: Gateway, path: str, text: str = "x") -> str:
    told = call(gateway, "demo__note_write", {"path": path, "text": text})["text"]
    return re.search(r'"approval_id": ?"([^"]+)"', told.replace("\\", ""))[1]


def decide(gateway: Gateway, id: str, decision: str = "approve", key: str = "key-carol") -> None:
    status, body = gateway.api(f"approvals/{id}/decision", key, {"decision": decision})
    assert status == 200, body


def link_of(message: dict | str) -> str:
    text = message if isinstance(message, str) else json.dumps(message)
    return re.search(r"http://127\.0\.0\.1:\d+/ask/[\w-]+", text)[0]


def leads_to(gateway: Gateway, link: str, key: str = "key-carol"):
    return gateway.api(f"asks/{link.rsplit('/', 1)[1]}", key)


def test_an_ask_and_its_end_in_each_format(start, chats, post):
    """R97: each service gets its own form, masked, with one link, and what became of the ask in the same thread or incident."""
    slack, teams, pager = chats(), chats(), chats()
    gateway = start(f"""
[webhooks.leads]
format = "slack"
url = "{slack.url}"
[webhooks.room]
format = "teams"
url = "{teams.url}"
[webhooks.oncall]
format = "pagerduty"
url = "{pager.url}"
routing_key = "${{ROUTING_KEY}}"
tell = ["asks"]
[webhooks.mail]
format = "email"
url = "smtp://localhost:{post.port}"
user = "tollgate"
password = "${{MAIL_PASSWORD}}"
from = "Tollgate <tollgate@acme.example>"
addresses = {{ carol = "carol@acme.example", dave = "dave@acme.example", leads = "leads@acme.example" }}
""", env={"SSL_CERT_FILE": str(post.authority)})
    id = ask(gateway, "/srv/<!channel>\u202e.md", f"token {TOKEN}")
    (message,), (card,), (event,), mails = slack.until(1), teams.until(1), pager.until(1), post.until(2)
    everything = json.dumps([message, card, event]) + "".join(part.get_content() for _, mail, *_ in mails for part in mail.iter_parts())
    assert TOKEN not in everything and "\u202e" not in everything and "<!" not in json.dumps(message)
    assert message["blocks"][0]["text"]["text"] == "Approval wanted (test)", message
    assert "&lt;!channel&gt;" in json.dumps(message) and "[redacted:" in json.dumps(message)
    assert card["attachments"][0]["content"]["version"] == "1.5"
    assert event["routing_key"] == ROUTING_KEY and event["event_action"] == "trigger" and "srv" not in json.dumps(event)
    # Those who may decide, over TLS, signed in.
    assert sorted(to for tos, *_ in mails for to in tos) == ["carol@acme.example", "leads@acme.example"]
    assert all(tls and who == "tollgate" for *_, tls, who in mails), mails
    first = mails[0][1]
    assert first["Subject"] == "[Tollgate test] Approval: writer wants demo__note_write" and first["Auto-Submitted"] == "auto-generated"
    text, html = (part.get_content() for part in first.iter_parts())
    assert "A lead reads it <b>first</b>" in text and "A lead reads it &lt;b&gt;first&lt;/b&gt;" in html
    # Each link leads to that ask, and to nothing for whoever has not signed in.
    for told in [message, card, event, text]:
        assert leads_to(gateway, link_of(told)) == (200, {"approval_id": id}), told
        assert leads_to(gateway, link_of(told), "nobody")[0] == 401
        assert leads_to(gateway, link_of(told), "key-vic")[0] == 403
    decide(gateway, id)
    assert slack.until(2)[1]["blocks"][0]["text"]["text"] == "Approved (test)"
    assert "carol has approved demo__note_write of writer." in json.dumps(teams.until(2)[1])
    assert pager.until(2)[1] == {"event_action": "resolve", "dedup_key": event["dedup_key"], "routing_key": ROUTING_KEY}
    for _, mail, *_ in post.until(4)[2:]:
        assert (mail["In-Reply-To"], mail["Subject"]) == (first["Message-ID"], f"Re: {first['Subject']}")
    sent = [value_of(scrape(gateway), "tollgate_webhook_messages_total", webhook=name, result="sent") for name in ["leads", "room", "oncall", "mail"]]
    assert sent == [2, 2, 2, 2]


def test_only_who_may_decide_is_told_and_later_whom_it_escalates_to(start, chats):
    """R97: a channel is for its people; a pager is told of what nobody has decided in time, and when it is over."""
    leads, security, pager = chats(), chats(), chats()
    gateway = start(f"""
[webhooks.leads]
format = "slack"
url = "{leads.url}"
for = ["leads"]
tell = ["asks"]
[webhooks.security]
format = "slack"
url = "{security.url}"
for = ["security"]
[webhooks.oncall]
format = "pagerduty"
url = "{pager.url}"
routing_key = "{ROUTING_KEY}"
""", policies(", escalate: { after: 2s, to: [security] }"))
    id = ask(gateway, "/a")
    assert "Approval wanted" in json.dumps(leads.until(1))
    (late,), (event,) = security.until(1), pager.until(1)
    assert late["blocks"][0]["text"]["text"] == "Approval still wanted (test)", late
    assert "security may decide now too" in json.dumps(late)
    assert event["payload"]["severity"] in ("error", "critical") and event["event_action"] == "trigger"
    decide(gateway, id, "reject", "key-dave")
    assert "dave has rejected" in json.dumps(leads.until(2)[1]) and "dave has rejected" in json.dumps(security.until(2)[1])
    assert pager.until(2)[1]["event_action"] == "resolve"
    # What was decided before it escalated is no matter for the others.
    decide(gateway, ask(gateway, "/b"))
    assert "carol has approved" in json.dumps(leads.until(4)[3])
    assert (len(security.told()), len(pager.told())) == (2, 2)


def test_nothing_is_lost_or_told_twice_over_a_kill(start, chats):
    """R97: an ask that nobody could be told of before a kill is told after it, once; one webhook that fails holds up no other."""
    down, up = chats(), chats()
    down.always = 503
    gateway = start(f"""
[webhooks.down]
format = "slack"
url = "{down.url}"
[webhooks.up]
format = "teams"
url = "{up.url}"
""")
    id = ask(gateway, "/a")
    up.until(1)
    down.tried(2)
    until(lambda: "webhook `down` is not told, and it is tried again: HTTP status 503" in readyz(gateway), lambda: readyz(gateway))
    assert value_of(scrape(gateway), "tollgate_webhook_messages_total", webhook="down", result="failed") >= 1
    gateway.kill()
    down.always = None
    gateway.start()
    assert leads_to(gateway, link_of(down.until(1)[0])) == (200, {"approval_id": id})
    until(lambda: "webhook `down`" not in readyz(gateway), lambda: readyz(gateway))
    # A second process on the store: what one of them decides is told once.
    second = gateway.folder / "second.toml"
    second.write_text(gateway.config.read_text().replace(str(gateway.mcp_port), str(free_port())).replace(
        str(gateway.admin_port), str(free_port()), 1))
    other = subprocess.Popen([gateway.binary, "serve", "--config", str(second)], stdin=subprocess.DEVNULL, stdout=gateway.log,
                             stderr=gateway.log, cwd=gateway.folder)
    try:
        done = gateway.cli("approvals", "approve", id, key="key-carol")
        assert done.returncode == 0, done.stderr
        assert "carol has approved" in json.dumps([down.until(2)[1], up.until(2)[1]])
        last = ask(gateway, "/last")
        for chat in (down, up):
            assert leads_to(gateway, link_of(chat.until(3)[2])) == (200, {"approval_id": last})
        assert (len(down.told()), len(up.told())) == (3, 3)
    finally:
        other.terminate()
        other.wait(20)


def test_what_is_over_before_anybody_could_be_told_is_not_told(start, chats):
    down = chats()
    down.always = 503
    gateway = start(f'[webhooks.down]\nformat = "slack"\nurl = "{down.url}"\n')
    first = ask(gateway, "/first")
    down.tried(1)
    decide(gateway, first, "reject")
    second = ask(gateway, "/second")
    down.always = None
    (told,) = down.until(1)
    assert leads_to(gateway, link_of(told)) == (200, {"approval_id": second})


def test_links_are_forged_or_over(start, chats):
    """R97: a link that was changed leads nowhere, and one that is over says so; the page behind it is the same for whoever opens it."""
    slack = chats()
    gateway = start(f'[webhooks.leads]\nformat = "slack"\nurl = "{slack.url}"\n', policies().copy() | {
        "writes.yaml": policies()["writes.yaml"].replace("10m", "10s")})
    id = ask(gateway, "/a")
    link = link_of(slack.until(1)[0])
    token = link.rsplit("/", 1)[1]
    assert leads_to(gateway, link) == (200, {"approval_id": id})
    for at in (0, len(token) // 2, len(token) - 1):
        other = "A" if token[at] != "A" else "B"
        status, body = leads_to(gateway, f"/{token[:at]}{other}{token[at + 1:]}")
        assert status == 404 and "changed on its way" in body["error"]["message"], body
    assert leads_to(gateway, f"/{'A' * 2000}")[0] == 404 and leads_to(gateway, f"/{id}")[0] == 404
    # Whoever opens it, a preview of a chat too, gets the page and changes nothing.
    pages = [urllib.request.urlopen(url, timeout=10).read() for url in (link, f"{gateway.admin}/", f"{gateway.admin}/ask/x")]
    assert pages[0] == pages[1] == pages[2]
    assert "Nobody decided in time" in json.dumps(slack.until(2)[1])
    status, body = leads_to(gateway, link)
    assert status == 410 and body["error"]["code"] == "link_over", body


def test_an_address_that_is_refused_costs_nobody_else_theirs(start, post):
    post.refused.add("gone@acme.example")
    gateway = start(f"""
[webhook]
format = "email"
url = "smtp://localhost:{post.port}"
user = "tollgate"
password = "${{MAIL_PASSWORD}}"
from = "tollgate@acme.example"
to = ["gone@acme.example", "leads@acme.example"]
""", env={"SSL_CERT_FILE": str(post.authority)})
    id = ask(gateway, "/a")
    post.until(1)
    decide(gateway, id)
    assert [tos for tos, *_ in post.until(2)] == [["leads@acme.example"]] * 2
    tried = gateway.cli("webhooks", "test", "--json")
    (one,) = json.loads(tried.stdout)["webhooks"]
    assert one["answer"].startswith("taken by the mail server for 1, not for 1: the mail server refuses it (SMTP 550)"), one


def test_a_sample_says_what_comes_back(start, chats, post):
    good, bad, pager = chats(), chats(), chats()
    bad.always = 404
    gateway = start(f"""
[webhook]
url = "{good.url}"
secret = "whsec-for-tests-0123456789"
[webhooks.bad]
format = "slack"
url = "{bad.url}"
[webhooks.oncall]
format = "pagerduty"
url = "{pager.url}"
routing_key = "{ROUTING_KEY}"
[webhooks.mail]
format = "email"
url = "smtp://localhost:{post.port}"
user = "tollgate"
password = "wrong"
from = "tollgate@acme.example"
to = ["leads@acme.example"]
""", env={"SSL_CERT_FILE": str(post.authority)})
    done = gateway.cli("webhooks", "test", "--json")
    assert done.returncode == 1 and "2 of 4 could not be told" in done.stderr, done.stderr
    found = {one["name"]: (one["told"], one["answer"]) for one in json.loads(done.stdout)["webhooks"]}
    assert found["webhook"] == (True, "HTTP status 200 OK (ok)") and good.told()[0]["type"] == "test"
    assert found["bad"] == (False, "HTTP status 404 Not Found (no_service)")
    assert [one["event_action"] for one in pager.told()] == ["trigger", "resolve"]
    assert found["mail"] == (False, "the mail server refuses the login (SMTP 535)"), found
    one = gateway.cli("webhooks", "test", "webhook")
    assert one.returncode == 0 and "told" in one.stdout, one.stderr
    lost = gateway.cli("webhooks", "test", "oncal")
    assert lost.returncode == 1 and "did you mean `oncall`" in lost.stderr, lost.stderr
    listed = gateway.cli("webhooks", "list")
    assert listed.returncode == 0 and "escalations" in listed.stdout
    said = done.stdout + done.stderr + one.stdout + one.stderr + lost.stderr + listed.stdout
    for secret in [IN_URL, ROUTING_KEY, "whsec", "wrong"]:
        assert secret not in said, secret


def readyz(gateway: Gateway) -> str:
    request = urllib.request.Request(f"{gateway.admin}/readyz", headers={"Authorization": "Bearer key-carol"})
    return urllib.request.urlopen(request, timeout=10).read().decode()


def until(holds, shown) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, shown()
        time.sleep(0.05)
