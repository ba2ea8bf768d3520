"""People connect their own accounts on the page: a browser, a certified authorization server, and an MCP server that wants its tokens."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from agent import call
from conftest import too_wide, view
from test_credentials import POLICIES, Upstream, world


@pytest.fixture()
def upstream():
    with Upstream() as upstream:
        yield upstream


@pytest.fixture()
def gateway(binary, upstream):
    with world(binary, upstream, "person") as gateway:
        yield gateway


def test_somebody_connects_and_disconnects(gateway, upstream, open_page, accessible):
    assert POLICIES
    page = open_page("alice", bypass_csp=True)
    connections = view(page, "Connections")
    card = connections.locator("[data-upstream=crm]")
    expect(card).to_contain_text("not connected")
    accessible(page, "nothing is connected")
    card.get_by_role("button", name="Connect").click()
    page.wait_for_url(f"{upstream.issuer}/**")
    page.get_by_label("User").fill("alice-at-crm")
    page.get_by_role("button", name="Continue").click()
    # Back on the page, in the view that began it.
    page.wait_for_url(f"{gateway.admin}/#/connections")
    card = page.locator("#connections [data-upstream=crm]")
    expect(card).to_contain_text("connected")
    expect(card).to_contain_text("notes:read")
    accessible(page, "it is connected")
    assert not too_wide(page), too_wide(page)
    assert call(gateway, "crm__whoami", {}, key="of-alice")["content"][0]["text"] == "alice-at-crm"
    card.get_by_role("button", name="Disconnect…").click()
    page.get_by_role("dialog").get_by_role("button", name="Disconnect").click()
    expect(page.locator("#connections [data-upstream=crm]")).to_contain_text("not connected")
    assert upstream.seen()["revoked"] == 1
