"""People sign in by OpenID Connect: a certified provider, a real browser, and an issuer that answers wrongly."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect

from agent import asked, call
from conftest import too_wide, view
from harness import Gateway, digest, free_port

ISSUER = Path(__file__).resolve().parent / "issuer"
POLICIES = {
    "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\ndefault_approvers: [leads]\n',
    "authority.yaml": """\
capabilities:
  everything: { tools: ["demo__*"] }
agents:
  writer: { owner: notes-team, role: batch, workflow: night, model: gpt-4o, capabilities: [everything], keys: ["%s"] }
people:
  bob: { keys: [], groups: [leads], roles: [approver, admin] }
  carol: { keys: ["%s"], groups: [leads], roles: [approver] }
workflows:
  night: { owner: notes-team }
""" % (digest("key-writer"), digest("key-carol")),
    "writes.yaml": """\
name: writes
description: Each write is asked for
owner: tests
on: [{ tool: demo__note_write }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [leads] }]
""",
}


def settings(issuer: str, more: str = "") -> str:
    return f"""
[upstreams.demo]
command = ["tollgate", "demo-upstream"]

[admin.oidc]
issuer = "{issuer}"
client_id = "tollgate"
client_secret = "${{OIDC_SECRET}}"
scopes = ["profile"]
groups = {{ "tollgate-approvers" = ["approver", "auditor"], "tollgate-watchers" = ["viewer"] }}
people = {{ "sub-bob" = "bob" }}
{more}
"""


class World:
    """The gateway with a provider and a forger beside it."""

    def __init__(self, binary, *, forged: bool = False, more: str = ""):
        self.provider, self.forger = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        issuer = self.forger if forged else self.provider
        self.gateway = Gateway(binary, settings(issuer, more), POLICIES, approval_wait="0s",
                               env={"OIDC_SECRET": "the-client-secret"}, ready_within=60)

    def __enter__(self) -> "World":
        ports = [urllib.parse.urlparse(url).port for url in (self.provider, self.forger)]
        self.issuer = subprocess.Popen(["node", "issuer.mjs", *map(str, ports), f"{self.gateway.admin}/signin/callback"],
                                       cwd=ISSUER, stdout=subprocess.PIPE, text=True)
        assert sorted(self.issuer.stdout.readline().strip() for _ in range(2)) == ["forger", "provider"]
        self.gateway.__enter__()
        return self

    def __exit__(self, *problem) -> None:
        print(self.gateway.tail())
        self.gateway.__exit__(*problem)
        self.issuer.kill()
        self.issuer.wait(10)

    def fault(self, name: str) -> None:
        urllib.request.urlopen(f"{self.forger}/fault?name={urllib.parse.quote(name)}", timeout=10).read()


@pytest.fixture()
def tabs(browser):
    """Pages of browsers of their own, which know nobody."""
    contexts = []

    def one(**options):
        context = browser.new_context(**options)
        contexts.append(context)
        return context.new_page()
    yield one
    for context in contexts:
        context.close()


def sign_in(world: World, page, user: str, second: bool = False):
    page.goto(world.gateway.admin + "/")
    page.get_by_role("button", name="Sign in with your organisation").click()
    page.wait_for_url(f"{world.provider}/**")
    page.get_by_label("User").fill(user)
    if second:
        page.get_by_label("Second factor").check()
    page.get_by_role("button", name="Continue").click()


def session(page, world: World) -> dict:
    (found,) = [one for one in page.context.cookies(world.gateway.admin) if one["name"] == "tollgate-session"]
    return found


class Stays(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def ask(url: str, cookies: str = "", method: str = "GET", headers: dict | None = None, body: str | None = None):
    """Status, headers and text, as whoever has these cookies gets them; redirects are looked at and not followed."""
    given = {**({"Cookie": cookies} if cookies else {}), **(headers or {})}
    request = urllib.request.Request(url, method=method, headers=given, data=None if body is None else body.encode())
    try:
        answer = urllib.request.build_opener(Stays).open(request, timeout=20)
    except urllib.error.HTTPError as error:
        answer = error
    return answer.status, answer.headers, answer.read().decode()


@pytest.mark.parametrize("width", [1280, 360])
def test_somebody_signs_in_decides_and_leaves(binary, tabs, shot, width):
    with World(binary) as world:
        page = tabs(viewport={"width": width, "height": 800})
        page.goto(world.gateway.admin + "/")
        expect(page.get_by_role("button", name="Sign in with your organisation")).to_be_visible()
        assert not too_wide(page), too_wide(page)
        shot(page, f"signin-{width}")
        sign_in(world, page, "sub-bob")
        expect(page.locator("#live")).to_have_text("live")
        expect(page.locator("#person")).to_have_text("bob")
        # Nothing of the sign-in stays in the address or in what scripts can read.
        assert page.url.rstrip("#/") == world.gateway.admin, page.url
        assert page.evaluate("document.cookie") == ""
        cookie = session(page, world)
        assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and cookie["path"] == "/", cookie
        # The group gives `approver`; `admin` of authority.yaml needs a group that gives it too.
        assert page.evaluate("fetch('/api/v1/me').then((a) => a.json())")["roles"] == ["approver", "auditor"]
        approval = asked(world.gateway, "demo__note_write", {"path": "/notes/a.md", "text": "x"})
        page.goto(f"{world.gateway.admin}/#{approval}")
        page.get_by_role("button", name="Approve", exact=True).click()
        expect(page.locator("#list")).to_contain_text("approved")
        shot(page, f"signed-in-{width}")
        (decided,) = [event for event in world.gateway.events(event_type="approval_decided")]
        detail = decided["detail"]
        assert (detail["person"], detail["channel"], detail["subject"]) == ("bob", "link", f"oidc:{world.provider}#sub-bob")
        (entered,) = [event for event in world.gateway.events(event_type="admin_action") if event["action"] == "signed_in"]
        assert (entered["detail"]["person"], entered["detail"]["subject"]) == ("bob", detail["subject"])
        # Who opens another tab is signed in there; who leaves has left everywhere.
        other = page.context.new_page()
        other.goto(world.gateway.admin + "/")
        expect(other.locator("#person")).to_have_text("bob")
        token = cookie["value"]
        with page.expect_response(lambda answer: answer.url.endswith("/api/v1/session")) as left:
            page.get_by_role("button", name="Sign out").click()
        assert left.value.status == 200
        expect(page.get_by_label("Your key")).to_be_visible()
        assert ask(f"{world.gateway.admin}/api/v1/me", f"tollgate-session={token}")[0] == 401
        assert not [one for one in page.context.cookies() if one["name"].startswith("tollgate")]


def test_a_viewer_sees_counts_and_nothing_else(binary, tabs, shot):
    with World(binary) as world:
        call(world.gateway, "demo__notes_read", {"path": "/notes/welcome.md"})
        page = tabs()
        sign_in(world, page, "sub-vera")
        expect(page.locator("#person")).to_have_text("oidc:sub-vera")
        expect(page.get_by_role("navigation").get_by_role("button")).to_have_text(["Now", "Matrix", "Upstreams", "Connections", "Spend", "Scorecard"])
        page.get_by_role("navigation").get_by_role("button", name="Spend").click()
        expect(page.locator("#spend-lines tbody tr")).to_have_count(1)
        shot(page, "viewer")
        assert page.evaluate("fetch('/api/v1/events').then((a) => a.status)") == 403
        # Who has no role is told so, and is nobody here.
        nobody = tabs()
        sign_in(world, nobody, "sub-eve")
        expect(nobody.get_by_role("heading", name="Not signed in")).to_be_visible()
        expect(nobody.locator("main")).to_contain_text("no role here")
        assert not [one for one in nobody.context.cookies(world.gateway.admin) if one["name"] == "tollgate-session"]


def test_a_second_factor_is_asked_for(binary, tabs):
    with World(binary, more='acr_values = ["second-factor"]\namr = ["otp"]') as world:
        page = tabs()
        sign_in(world, page, "sub-bob")
        expect(page.locator("main")).to_contain_text("acr_values")
        page = tabs()
        sign_in(world, page, "sub-bob", second=True)
        expect(page.locator("#person")).to_have_text("bob")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_signing_in(binary, tabs, accessible, scheme):
    with World(binary) as world:
        page = tabs(color_scheme=scheme, bypass_csp=True)
        page.goto(world.gateway.admin + "/")
        expect(page.get_by_role("button", name="Sign in with your organisation")).to_be_visible()
        accessible(page, f"signing in, {scheme}")


def begin(world: World) -> tuple[str, str]:
    """Where a browser is sent to, and the cookie that it keeps."""
    status, headers, _ = ask(f"{world.gateway.admin}/signin")
    assert status == 303
    return headers["Location"], headers["Set-Cookie"].split(";")[0]


def come_back(location: str, cookie: str):
    """What the forger answers, taken to the gateway."""
    status, headers, _ = ask(location)
    assert status == 302
    return ask(headers["Location"], cookie), headers["Location"]


def test_what_an_issuer_must_not_get_away_with(binary):
    with World(binary, forged=True) as world:
        location, cookie = begin(world)
        (status, headers, text), back = come_back(location, cookie)
        assert status == 303 and headers["Location"] == "/", text
        asked_for = json.load(urllib.request.urlopen(f"{world.forger}/asked", timeout=10))[-1]
        assert asked_for["code_challenge_method"] == "S256" and len(asked_for["code_challenge"]) == 43
        assert asked_for["redirect_uri"] == f"{world.gateway.admin}/signin/callback"
        # The same answer once more: refused here, though its issuer takes the code again.
        world.fault("generous")
        location, cookie = begin(world)
        (status, _, _), back = come_back(location, cookie)
        assert status == 303
        status, headers, text = ask(back, cookie)
        assert status == 403 and "used already" in text, text
        world.fault("")
        for fault, why in [
            ("state", "not of the sign-in"), ("mixed up", "another issuer"), ("unnamed", "of which issuer"),
            ("nonce", "another sign-in"), ("issuer", "another issuer"), ("audience", "another client"), ("party", "another client"),
            ("expired", "expired"), ("access token", "in a way that is not taken"), ("none", "in a way that is not taken"),
            ("hmac", "in a way that is not taken"), ("key", "not signed by the issuer"),
        ]:
            world.fault(fault)
            location, cookie = begin(world)
            (status, headers, text), _ = come_back(location, cookie)
            assert status == 403 and why in text, (fault, status, text)
            assert not any(value.startswith("tollgate-session=") for value in headers.get_all("Set-Cookie")), fault
        world.fault("")
        # Another browser's answer: whoever is led to it is signed in as nobody (login CSRF), and keeps what they are.
        location, mine = begin(world)
        _, theirs = begin(world)
        (status, _, text), _ = come_back(location, theirs)
        assert status == 403 and "not of the sign-in" in text
        # A session that somebody set before is not the one that a sign-in opens (fixation).
        location, cookie = begin(world)
        fixed = "tollgate-session=fixed-by-somebody"
        (status, headers, _), _ = come_back(location, f"{cookie}; {fixed}")
        (opened,) = [value for value in headers.get_all("Set-Cookie") if value.startswith("tollgate-session=")]
        assert status == 303 and "fixed" not in opened
        assert ask(f"{world.gateway.admin}/api/v1/me", fixed)[0] == 401
        # Nothing says where a browser goes next.
        for query in ["?next=https://evil.example", "?redirect_uri=https://evil.example"]:
            assert ask(f"{world.gateway.admin}/signin{query}")[0] == 400
        log = world.gateway.tail(400)
        assert "the-client-secret" not in log and opened.split(";")[0].split("=")[1] not in log


def test_a_page_of_another_site_changes_nothing(binary, tabs):
    """A form and a script elsewhere, in the browser of somebody who is signed in."""
    with World(binary) as world:
        page = tabs()
        sign_in(world, page, "sub-bob")
        expect(page.locator("#live")).to_have_text("live")
        approval = asked(world.gateway, "demo__note_write", {"path": "/notes/a.md", "text": "x"})
        target = f"{world.gateway.admin}/api/v1/approvals/{approval}/decision"
        evil = page.context.new_page()
        # Another port of this machine is the same site for cookies: what remains is what the requests say of themselves.
        evil.goto(f"{world.forger}/asked")
        outcome = evil.evaluate("""(target) => fetch(target, {method: "POST", credentials: "include", body: '{"decision":"approve"}',
            headers: {"content-type": "text/plain"}}).then((a) => `status ${a.status}`, (error) => `refused: ${error}`)""", target)
        assert outcome.startswith("refused") or outcome == "status 403", outcome
        looked = evil.evaluate("""(url) => fetch(url, {credentials: "include"}).then((a) => a.text(), (error) => `refused`)""",
                               f"{world.gateway.admin}/api/v1/approvals")
        assert looked == "refused", looked
        with evil.expect_navigation():
            evil.evaluate("""(target) => { const form = document.createElement("form"); form.method = "post"; form.action = target;
              form.enctype = "text/plain"; const field = document.createElement("input"); field.name = '{"decision":"approve","x":"';
              field.value = '"}'; form.append(field); document.body.append(form); form.submit(); }""", target)
        expect(evil.locator("body")).to_contain_text("forbidden")
        assert not world.gateway.events(event_type="approval_decided")
        # The page's own request goes through, as a script of it would make it.
        status = page.evaluate("""async (target) => { const { csrf } = await (await fetch("/api/v1/me")).json();
          const told = await fetch(target, {method: "POST", headers: {"Tollgate-Csrf": csrf, "Content-Type": "application/json"},
            body: '{"decision":"reject"}'}); return told.status; }""", target)
        assert status == 200
        assert len(world.gateway.events(event_type="approval_decided")) == 1
