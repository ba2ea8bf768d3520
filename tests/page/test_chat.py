"""One link in a message: sign in, see exactly that ask, decide; on a desk and on a phone, by key and by an issuer (R97)."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from agent import asked, call
from conftest import too_wide
from harness import Gateway, digest
from test_asks import Hook, PHONE
from test_signin import World, sign_in, tabs  # noqa: F401

POLICIES = {
    "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\ndefault_approvers: [leads]\n',
    "authority.yaml": """\
capabilities:
  everything: { tools: ["demo__*"] }
agents:
  writer: { owner: notes-team, role: batch, workflow: night, capabilities: [everything], keys: ["%s"] }
people:
  carol: { keys: ["%s"], groups: [leads], roles: [approver] }
  dave: { keys: ["%s"], groups: [others], roles: [approver] }
  vic: { keys: ["%s"], groups: [], roles: [viewer] }
workflows:
  night: { owner: notes-team }
""" % tuple(digest(f"key-{name}") for name in ["writer", "carol", "dave", "vic"]),
    "writes.yaml": """\
name: writes
description: Each write is asked for
owner: tests
on: [{ tool: demo__note_write }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [leads], expires_in: 10m }]
""",
    "deletes.yaml": """\
name: deletes
description: Each removal is asked for, and soon it is too late
owner: tests
on: [{ tool: demo__note_delete }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [leads], expires_in: 2s }]
""",
}
DESK = {"viewport": {"width": 1280, "height": 800}}


@pytest.fixture()
def hook():
    one = Hook()
    yield one
    one.server.shutdown()


def webhook(hook: Hook) -> str:
    return f'[webhooks.leads]\nformat = "slack"\nurl = "{hook.url}"\n'


@pytest.fixture()
def gateway(binary, hook):
    demo = '[upstreams.demo]\ncommand = ["tollgate", "demo-upstream"]\n'
    running = Gateway(binary, demo + webhook(hook), POLICIES, approval_wait="0s", ready_within=60)
    text = running.config.read_text()
    running.config.write_text(text.replace("[store]", f'public_url = "{running.admin}"\n\n[store]'))
    with running:
        yield running
        print(running.tail())


def link_of(message: dict) -> str:
    return re.search(r"http://127\.0\.0\.1:\d+/ask/[\w-]+", str(message))[0]


def enter(page, key: str) -> None:
    page.get_by_label("Your key").fill(key)
    page.get_by_role("button", name="Sign in", exact=True).click()


@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
def test_one_link_a_key_and_the_call_goes_on(gateway, hook, tabs, shot, device):  # noqa: F811
    """R97: the link opens exactly that ask after sign-in, and the answer lets its call through; before it nothing is shown."""
    asked(gateway, "demo__note_write", {"path": "/other", "text": "x"})
    id = asked(gateway, "demo__note_write", {"path": "/srv/this-one", "text": "x"})
    page = tabs(**device)
    page.goto(link_of(hook.until(2)[1]))
    expect(page.get_by_text("Your link leads to an approval")).to_be_visible()
    assert "/srv/this-one" not in page.content() and id not in page.content()
    assert not too_wide(page), too_wide(page)
    shot(page, f"link-before-{device['viewport']['width']}")
    enter(page, "key-nobody")
    expect(page.locator("#login-error")).to_have_text("Nobody has this key.")
    enter(page, "key-carol")
    detail = page.locator("#detail")
    expect(detail).to_contain_text("/srv/this-one")
    expect(page).to_have_url(f"{gateway.admin}/#{id}")
    assert not too_wide(page), too_wide(page)
    shot(page, f"link-after-{device['viewport']['width']}")
    detail.get_by_role("button", name="Approve").click()
    assert "carol has approved" in str(hook.until(3)[2])
    # What was approved is that one, by the link, and it is called now; the other one waits.
    record = gateway.api(f"approvals/{id}", "key-carol")[1]
    assert record["status"] == "approved" and call(gateway, "demo__note_write", {"path": "/srv/this-one", "text": "x"})["isError"] is False
    (answer,) = [event for event in gateway.events(event_type="approval_decided")]
    assert answer["detail"]["channel"] == "link", answer
    assert gateway.api("approvals?status=pending", "key-carol")[1]["approvals"][0]["arguments"]["path"] == "/other"
    # The link leads to what became of it, in a browser that knows nobody too.
    again = tabs(**device)
    again.goto(link_of(hook.told[1]))
    enter(again, "key-carol")
    expect(again.locator("#detail")).to_contain_text("/srv/this-one")
    expect(again.locator("#detail").get_by_role("button", name="Approve")).to_have_count(0)


@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
def test_a_link_that_was_changed_or_is_not_for_who_follows_it(gateway, hook, tabs, shot, device):  # noqa: F811
    """R97: a forged link leads to what waits and says so; whoever may not decide sees why not."""
    asked(gateway, "demo__note_write", {"path": "/srv/a", "text": "x"})
    link = link_of(hook.until(1)[0])
    forged = tabs(**device)
    forged.goto(link[:-1] + ("A" if link[-1] != "A" else "B"))
    enter(forged, "key-carol")
    expect(forged.locator("#notice")).to_contain_text("Nothing was opened: this link was not made here, or it was changed on its way")
    expect(forged).to_have_url(f"{gateway.admin}/#/")
    expect(forged.locator("#list li")).to_have_count(1)
    assert not too_wide(forged), too_wide(forged)
    shot(forged, f"link-forged-{device['viewport']['width']}")
    asked(gateway, "demo__note_delete", {"path": "/notes/welcome.md"})
    late = link_of(hook.until(2)[1])
    assert "Nobody decided in time" in str(hook.until(3)[2])
    over = tabs(**device)
    over.goto(late)
    enter(over, "key-carol")
    expect(over.locator("#notice")).to_contain_text("Nothing was opened: this link is over")
    expect(over.locator("#list li")).to_have_count(1)
    shot(over, f"link-over-{device['viewport']['width']}")
    other = tabs(**device)
    other.goto(link)
    enter(other, "key-dave")
    expect(other.locator("#detail")).to_contain_text("its rule does not name you")
    expect(other.locator("#detail").get_by_role("button", name="Approve")).to_be_disabled()
    shot(other, f"link-not-mine-{device['viewport']['width']}")
    viewer = tabs(**device)
    viewer.goto(link)
    enter(viewer, "key-vic")
    expect(viewer.locator("#lost")).to_contain_text("This is not for your role")
    assert "/srv/a" not in viewer.content()


@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
def test_an_issuer_sends_people_back_to_the_ask(binary, hook, tabs, shot, device):  # noqa: F811
    """R97: by OpenID Connect the link survives the way over the issuer, and leads nowhere else."""
    with World(binary, more=webhook(hook)) as world:
        id = asked(world.gateway, "demo__note_write", {"path": "/srv/by-issuer", "text": "x"})
        link = link_of(hook.until(1)[0])
        page = tabs(**device)
        page.goto(link)
        page.get_by_role("button", name="Sign in with your organisation").click()
        page.wait_for_url(f"{world.provider}/**")
        page.get_by_label("User").fill("sub-bob")
        page.get_by_role("button", name="Continue").click()
        expect(page.locator("#detail")).to_contain_text("/srv/by-issuer")
        expect(page).to_have_url(f"{world.gateway.admin}/#{id}")
        shot(page, f"link-issuer-{device['viewport']['width']}")
        page.locator("#detail").get_by_role("button", name="Approve").click()
        assert "bob has approved" in str(hook.until(2)[1])
        # Signed in already, the link opens at once; a view that was asked for comes back, too.
        asked(world.gateway, "demo__note_write", {"path": "/srv/second", "text": "x"})
        page.goto(link_of(hook.until(3)[2]))
        expect(page.locator("#detail")).to_contain_text("/srv/second")
        fresh = tabs(**device)
        fresh.goto(f"{world.gateway.admin}/#/alerts")
        fresh.get_by_role("button", name="Sign in with your organisation").click()
        fresh.wait_for_url(f"{world.provider}/**")
        fresh.get_by_label("User").fill("sub-bob")
        fresh.get_by_role("button", name="Continue").click()
        expect(fresh).to_have_url(f"{world.gateway.admin}/#/alerts")
        # What is no link of ours is not taken along.
        for bad in ["//evil.example", "https://evil.example/", "a/../b", "x&y=1", ""]:
            answer = page.request.get(f"{world.gateway.admin}/signin?ask={bad}", max_redirects=0)
            assert answer.status == 400, (bad, answer.status)
