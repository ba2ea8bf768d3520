"""The Debian package through its whole life, in a booted systemd, with the unit as it stands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from conftest import only
from machine import Machine

ETC = "/etc/tollgate"
CONFIG = {"TOLLGATE_CONFIG": f"{ETC}/servers.toml"}
POLICY = """\
name: notes
description: Notes may be read, and echoes waited for
on: [{ capability: demo }]
rules: [{ id: read, condition: 'true', decision: ALLOW }]
"""


@pytest.fixture(scope="module")
def machine(made):
    with Machine() as machine:
        shutil.copy(only(made, "*.deb"), machine.root / "root/tollgate.deb")
        yield machine


def ready(machine: Machine) -> None:
    while machine.run("tollgate", "health", **CONFIG).returncode != 0:
        assert machine.run("systemctl", "is-active", "tollgate").stdout.strip() == "active", machine.journal()


def status(machine: Machine) -> str:
    pid = machine.done("systemctl", "show", "--property", "MainPID", "--value", "tollgate").strip()
    return machine.done("cat", f"/proc/{pid}/status")


# The tests follow each other: one life of one package.


def test_it_installs_and_the_service_is_ready_as_a_user_of_its_own(machine):
    assert machine.run("id", "tollgate").returncode != 0, "this machine has such a user already"
    machine.done("dpkg", "--install", "/root/tollgate.deb")
    ready(machine)
    assert machine.done("systemctl", "is-enabled", "tollgate").strip() == "enabled"
    user = machine.done("id", "--user", "tollgate").strip()
    now = status(machine)
    assert re.search(rf"^Uid:\t{user}\t{user}\t", now, re.M) and int(user) < 1000
    assert re.search("^NoNewPrivs:\t1$", now, re.M) and re.search("^Seccomp:\t2$", now, re.M) and re.search("^CapBnd:\t0+$", now, re.M)
    assert machine.done("stat", "--format", "%U:%G %a", ETC, "/var/lib/tollgate").splitlines() == ["root:tollgate 750", "tollgate:tollgate 700"]
    assert machine.done("su", "-s", "/bin/sh", "nobody", "-c", f"cat {ETC}/servers.toml || echo kept").strip() == "kept"
    said = json.loads(machine.asking("http://127.0.0.1:8788/readyz").communicate()[0])
    assert (said["status"], json.loads(said["text"])) == (200, {"status": "ready"})


def test_the_unit_is_sound_and_closed(machine):
    said = machine.run("systemd-analyze", "verify", "/lib/systemd/system/tollgate.service")
    # The one key that Debian 12's systemd does not know yet.
    complaints = [line for line in said.stderr.splitlines() if "tollgate.service" in line and "DelegateSubgroup" not in line]
    assert said.returncode == 0 and complaints == [], said.stderr
    exposure = machine.done("systemd-analyze", "security", "--no-pager", "tollgate")
    level = float(re.search(r"Overall exposure level for tollgate\.service: ([\d.]+)", exposure)[1])
    assert level <= 2.5, exposure


def test_pages_and_completions_are_the_programs_own(machine):
    pages = machine.done("sh", "-c", "ls /usr/share/man/man1/tollgate*.gz | wc -l")
    assert int(pages) > 100
    assert "tollgate \\- MCP governance gateway" in machine.done("zcat", "/usr/share/man/man1/tollgate.1.gz")
    assert machine.done("bash", "-c", ". /usr/share/bash-completion/completions/tollgate; complete -p tollgate").endswith(" -F _tollgate tollgate\n")
    assert machine.done("head", "-1", "/usr/share/zsh/vendor-completions/_tollgate") == "#compdef tollgate\n"
    assert "complete -c tollgate" in machine.done("cat", "/usr/share/fish/vendor_completions.d/tollgate.fish")


def test_what_root_types_is_in_force_and_leaves_nothing_of_roots(machine):
    """And a contained server of the gateway's has its limits within the unit's."""
    machine.done("tollgate", "people", "add", "alice", "--role", "admin", **CONFIG)
    machine.done("tollgate", "servers", "add", "demo", "--", "tollgate", "demo-upstream", **CONFIG)
    config = machine.root / "etc/tollgate/servers.toml"
    table = "[upstreams.demo]"
    assert config.read_text().count(table) == 1
    config.write_text(config.read_text().replace(table, f"{table}\ntrust_annotations = true\ncontain = {{}}"))
    (machine.root / "etc/tollgate/policies/notes.yaml").write_text(POLICY)
    authority = machine.root / "etc/tollgate/policies/authority.yaml"
    text = authority.read_text()
    assert text.count("capabilities: {}") == 1
    authority.write_text(text.replace("capabilities: {}", 'capabilities:\n  demo: { tools: ["demo__*"] }'))
    made = machine.done("tollgate", "agents", "add", "one", "--capability", "demo", **CONFIG)
    machine.key = re.search(r"tg_\S+", made)[0]
    checked = machine.done("tollgate", "check", **CONFIG)
    assert checked.splitlines()[-1].startswith("ok: upstreams 1, agents 1, people 1"), checked
    machine.done("systemctl", "reload", "tollgate")
    call = lambda: json.loads(machine.asking("call", "http://127.0.0.1:8787/mcp", machine.key, "demo__notes_list", "{}").communicate()[0])
    # Until the server has started and listed, its tool is unknown: an error without a result.
    deadline = time.monotonic() + 60
    while (answer := call())["status"] != 200 or (answer["result"] or {"isError": True}).get("isError"):
        assert time.monotonic() < deadline, answer
        assert machine.run("systemctl", "is-active", "tollgate").returncode == 0, machine.journal()
    listed = json.loads(machine.done("tollgate", "servers", "list", "--json", **CONFIG))["servers"]
    held = listed[0]["containment"]
    assert held["missing"] == [] and any("Landlock" in one for one in held["by"]) and any("network namespace" in one for one in held["by"]), held
    machine.done("tollgate", "audit", "checkpoint", **CONFIG)
    machine.done("tollgate", "audit", "verify", **CONFIG)
    assert machine.done("find", "/var/lib/tollgate", "!", "-user", "tollgate") == ""


def test_a_wrong_file_fails_the_reload_and_changes_nothing(machine):
    bundle = machine.root / "etc/tollgate/policies/bundle.yaml"
    text = bundle.read_text()
    bundle.write_text(text.replace("default_decision: DENY", "default_decision: PERHAPS"))
    assert machine.run("systemctl", "reload", "tollgate").returncode != 0
    assert "PERHAPS" in machine.journal()
    assert machine.run("systemctl", "is-active", "tollgate").stdout.strip() == "active"
    bundle.write_text(text)
    machine.done("systemctl", "reload", "tollgate")
    ready(machine)


def test_a_stop_lets_the_call_in_flight_finish(machine):
    """Its server is a child of the gateway's: systemd must not end that first."""
    call = machine.asking("call", "http://127.0.0.1:8787/mcp", machine.key, "demo__slow_echo", json.dumps({"text": "to the end", "wait_ms": 3000}))
    # On record before the server sees it.
    while "demo__slow_echo" not in machine.done("tollgate", "audit", "query", "--tool", "demo__slow_echo", **CONFIG):
        assert call.poll() is None
    machine.done("systemctl", "stop", "tollgate")
    answer = json.loads(call.communicate()[0])
    assert answer["status"] == 200 and "to the end" in answer["text"], answer
    assert machine.done("systemctl", "show", "--property", "Result", "--value", "tollgate").strip() == "success", machine.journal()
    machine.done("systemctl", "start", "tollgate")
    ready(machine)


def test_an_upgrade_keeps_files_and_record_and_starts_the_service_again(machine):
    before = machine.done("systemctl", "show", "--property", "MainPID", "--value", "tollgate")
    text = (machine.root / "etc/tollgate/servers.toml").read_text()
    machine.done("dpkg", "--install", "--force-confold", "/root/tollgate.deb")
    ready(machine)
    assert machine.done("systemctl", "show", "--property", "MainPID", "--value", "tollgate") != before
    assert (machine.root / "etc/tollgate/servers.toml").read_text() == text
    assert "demo__slow_echo" in machine.done("tollgate", "audit", "query", "--tool", "demo__slow_echo", **CONFIG)


def test_a_removal_keeps_files_and_record_and_a_purge_leaves_the_user_alone(machine):
    machine.done("dpkg", "--remove", "tollgate")
    assert machine.run("systemctl", "is-active", "tollgate").stdout.strip() != "active"
    assert not (machine.root / "usr/bin/tollgate").exists()
    assert (machine.root / "etc/tollgate/servers.toml").exists() and (machine.root / "var/lib/tollgate/tollgate.journal").is_dir()
    machine.done("dpkg", "--purge", "tollgate")
    (machine.root / "root/tollgate.deb").unlink()
    upper = machine.folder / "upper"
    # What man-db keeps of pages is its own.
    left = [path for path in upper.rglob("*tollgate*") if not path.is_char_device() and upper / "var/cache/man" not in path.parents]
    assert left == [], "a deleted file is a character device in the layer; nothing else is left"
    assert machine.done("getent", "passwd", "tollgate").endswith(":/var/lib/tollgate:/usr/sbin/nologin\n")
