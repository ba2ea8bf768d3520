"""The gateway of the SDK tests, and a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "sdk"))

from harness import Gateway, digest  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--gateway", required=True, help="the tollgate binary")
    parser.addoption("--assets", help="a folder that the page is served from in place of what is in the binary, while it is written")
    parser.addoption("--screenshots", help="a folder for screenshots to be looked at; none are made without it")


@pytest.fixture(scope="session")
def binary(request) -> Path:
    return Path(request.config.getoption("--gateway")).resolve()


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import expect, sync_playwright

    # What is waited for is an event; how long one takes is not what is tried, and machines are busy.
    expect.set_options(timeout=20_000)
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "chromium is missing"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


DEMO = '[upstreams.demo]\ncommand = ["tollgate", "demo-upstream"]\n'
PEOPLE = {"carol": "groups: [leads], roles: [approver]", "dave": "groups: [leads], roles: [approver]",
          "olga": "groups: [], roles: [auditor]", "root": "groups: [], roles: [admin]"}


def writer_and(people: dict[str, str]) -> dict[str, str]:
    """Files that allow an agent `writer` each tool of `demo`, with people by name; somebody's key is `key-NAME`."""
    listed = "".join(f"  {name}: {{ keys: [\"{digest(f'key-{name}')}\"], {what} }}\n" for name, what in people.items())
    return {
        "bundle.yaml": 'version: "1"\nowner: tests\ndefault_decision: ALLOW\ndefault_approvers: [leads]\n',
        "authority.yaml": f"""\
capabilities:
  everything: {{ tools: ["demo__*"] }}
agents:
  writer: {{ owner: notes-team, role: batch, workflow: night, capabilities: [everything], keys: ["{digest("key-writer")}"] }}
people:
{listed}workflows:
  night: {{ owner: notes-team }}
""",
    }


@pytest.fixture()
def gateway(request, binary):
    """A gateway with the module's `POLICIES` before the demo's server; calls that are asked about are answered at once."""
    with Gateway(binary, DEMO, request.module.POLICIES, approval_wait="0s", ready_within=60) as running:
        yield running
        print(running.tail())


def module(page, name: str, expression: str):
    """What an expression over a module `m` of the page gives."""
    return page.evaluate(f"import('/page/main.js').then((page) => page.{name}).then((m) => {expression})")


AXE = Path(__file__).resolve().parent / "node_modules/axe-core/axe.min.js"


@pytest.fixture()
def accessible():
    """Fails where axe-core finds anything in what a page shows; such a page has `bypass_csp`, since its own policy keeps the tool out."""
    source = AXE.read_text()

    def check(page, what: str) -> None:
        page.evaluate(source)
        result = page.evaluate("axe.run(document, {resultTypes: ['violations', 'passes']})")
        found = [f"{one['id']}: {one['help']}\n" + "\n".join(f"    {node['html'][:300]}\n    {node['failureSummary']}" for node in one["nodes"])
                 for one in result["violations"]]
        assert not found, f"{what}:\n" + "\n".join(found)
        assert result["passes"], json.dumps(result)[:500]
    return check


FILES = {"/": ("index.html", "text/html"), "/page/main.js": ("main.js", "text/javascript"), "/page.css": ("page.css", "text/css")}


def serve_from(page, folder: str | None) -> None:
    """Has the page's files from a folder, under the same policy."""
    def answer(route):
        name, kind = FILES[route.request.url.split("//")[1].partition("/")[1] + route.request.url.split("//")[1].partition("/")[2].partition("#")[0]]
        headers = {**route.fetch().headers, "content-type": kind}
        route.fulfill(status=200, headers={name: value for name, value in headers.items() if name != "content-length"}, body=(Path(folder) / name).read_text())
    if folder:
        for path in FILES:
            page.route(lambda url, path=path: url.split("//")[1].partition("/")[2].partition("#")[0] == path[1:], answer)


@pytest.fixture()
def open_page(request, browser, gateway):
    """A page for a person, signed in; whatever goes wrong in it fails the test."""
    from playwright.sync_api import expect

    problems, contexts = [], []

    def open_one(person: str, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        serve_from(page, request.config.getoption("--assets"))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(f"a dialog: {dialog.message}"))
        page.goto(gateway.admin + "/")
        page.get_by_label("Your key").fill(f"key-{person}")
        page.get_by_role("button", name="Sign in").click()
        # Who sees counts alone has no stream.
        expect(page.locator("#live")).to_have_text(re.compile("^(live|signed in)$"))
        return page
    yield open_one
    for context in contexts:
        context.close()
    assert not problems, problems


def view(page, name: str):
    """A view by its name in the navigation, opened."""
    page.get_by_role("navigation").get_by_role("button", name=name).click()
    return page.locator(f"#{name.lower()}")


def too_wide(page) -> list[str]:
    """What reaches beyond the right edge of a window that is narrower than the page; nothing where the page fits."""
    return page.evaluate("""() => {
      const root = document.documentElement;
      if (root.scrollWidth <= root.clientWidth) return [];
      const over = [...document.body.querySelectorAll("*")].filter((node) => node.getBoundingClientRect().right > root.clientWidth);
      return [`${root.scrollWidth} > ${root.clientWidth}`, ...over.map((node) => node.outerHTML.slice(0, 120))];
    }""")


def broken_words(page) -> list[str]:
    """Words of the page that go on in another line in their middle; what is longer than a word, as a hash is, may."""
    return page.evaluate(r"""() => {
      const found = [], range = document.createRange();
      const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      for (let node = walk.nextNode(); node; node = walk.nextNode()) {
        if (!node.parentElement.checkVisibility() || node.parentElement.closest("thead, .unseen")) continue;
        for (const word of node.data.matchAll(/[\p{L}\p{N}]+/gu)) {
          if (word[0].length > 24) continue;
          range.setStart(node, word.index);
          range.setEnd(node, word.index + word[0].length);
          const lines = new Set([...range.getClientRects()].filter((box) => box.width > 0).map((box) => Math.round(box.top)));
          if (lines.size > 1) found.push(word[0]);
        }
      }
      return found;
    }""")


def out_of_reach(page) -> list[str]:
    """What tables show beyond the edge of the window without a place of their own in which it can be moved into sight."""
    return page.evaluate("""() => [...document.querySelectorAll("main td, main th")].filter((cell) => {
      if (!cell.checkVisibility() || cell.closest("thead, .none")) return false;
      const box = cell.getBoundingClientRect();
      if (box.right <= document.documentElement.clientWidth + 1 && box.left >= 0) return cell.scrollWidth > cell.clientWidth + 1;
      const place = cell.closest(".scroll");
      return !place || place.tabIndex !== 0 || !/auto|scroll/.test(getComputedStyle(place).overflowX) || place.scrollWidth <= place.clientWidth;
    }).map((cell) => cell.outerHTML.slice(0, 120))""")


@pytest.fixture()
def shot(request):
    folder = request.config.getoption("--screenshots")

    def take(page, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=f"{folder}/{name}.png")
    return take
