"""Starts a gateway with a configuration of its own in a folder of its own."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import jsonschema


# Below the ports that the system gives by itself.
PORTS = range(20_000, 32_000)
GIVEN = []


def free_port() -> int:
    """A port that is free now, and that no other test of this machine is given for as long as this process lives."""
    for port in random.sample(PORTS, len(PORTS)):
        lock = open(Path(tempfile.gettempdir()) / f"tollgate-port-{port}", "ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        GIVEN.append(lock)
        return port
    raise RuntimeError("no port is free")


def digest(key: str) -> str:
    """A key as authority.yaml holds it."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


class GatewayError(RuntimeError):
    """The gateway did not come up; the message holds its log."""


class Gateway:
    """A running `tollgate serve`.

    `upstreams` is TOML below `[store]`; `auth` a TOML line of `[auth]`; `policies` maps file names to their text.
    """

    def __init__(self, binary, upstreams: str, policies: dict[str, str], *, auth: str = "",
                 approval_wait: str = "2s", env: dict[str, str] | None = None, ready_within: float = 30.0):
        self.binary = str(Path(binary).resolve())
        self.folder = Path(tempfile.mkdtemp(prefix="tollgate-test-"))
        self.mcp_port, self.admin_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.mcp_port}/mcp"
        self.admin = f"http://127.0.0.1:{self.admin_port}"
        self.config = self.folder / "servers.toml"
        self.ready_within = ready_within
        self.env = env or {}
        self.process: subprocess.Popen | None = None
        (self.folder / "policies").mkdir()
        for name, text in policies.items():
            (self.folder / "policies" / name).write_text(text)
        self.config.write_text(f"""\
[gateway]
listen = "127.0.0.1:{self.mcp_port}"
environment = "test"
policies = "policies"
data_dir = "data"
approval_wait = "{approval_wait}"

[admin]
listen = "127.0.0.1:{self.admin_port}"

[store]
url = "sqlite:data/tollgate.db"

[auth]
{auth}

{upstreams}
""")

    def __enter__(self) -> "Gateway":
        self.log = open(self.folder / "gateway.log", "a+b")
        return self.start()

    def start(self) -> "Gateway":
        """Starts it, and again after `stop` or `kill`, on the same store."""
        self.process = subprocess.Popen(
            [self.binary, "serve", "--config", str(self.config)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            env={**os.environ, **self.env}, cwd=self.folder)
        until = time.monotonic() + self.ready_within
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise GatewayError(f"the gateway ended with {self.process.returncode}:\n{self.tail()}")
            try:
                with urllib.request.urlopen(f"{self.admin}/readyz", timeout=1) as answer:
                    if answer.status == 200:
                        return self
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.05)
        self.stop()
        raise GatewayError(f"the gateway was not ready within {self.ready_within} s:\n{self.tail()}")

    def __exit__(self, kind, *_) -> None:
        self.stop()
        self.log.close()
        if kind is None:
            self.hold_records()
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)

    def kill(self) -> None:
        """SIGKILL: no chance to say goodbye."""
        self.process.kill()
        self.process.wait(10)

    def cli(self, *arguments: str, key: str | None = None) -> subprocess.CompletedProcess:
        """A `tollgate` command on the same configuration, in a process of its own."""
        env = {name: value for name, value in {**os.environ, **self.env}.items() if name != "TOLLGATE_KEY"}
        if key:
            env["TOLLGATE_KEY"] = key
        return subprocess.run([self.binary, *arguments, "--config", str(self.config)], capture_output=True,
                              text=True, timeout=60, env=env, cwd=self.folder)

    def events(self, **wanted: str) -> list[dict]:
        """Events from the gateway's records, oldest first."""
        done = self.cli("audit", "export", "--format", "jsonl")
        assert done.returncode == 0, done.stderr
        events = [json.loads(line) for line in done.stdout.splitlines()]
        return [event for event in events if all(event[name] == value for name, value in wanted.items())]

    def hold_records(self) -> None:
        """Every record that a test has made is what the JSON Schema of records says."""
        schema = jsonschema.Draft202012Validator(json.loads(self.cli("schema", "event").stdout))
        for line in self.cli("audit", "export").stdout.splitlines():
            schema.validate(json.loads(line))

    def tail(self, lines: int = 40) -> str:
        return "\n".join((self.folder / "gateway.log").read_text(errors="replace").splitlines()[-lines:])

    def api(self, path: str, key: str, body: dict | None = None) -> tuple[int, dict | list]:
        """The admin API: status and JSON."""
        request = urllib.request.Request(
            f"{self.admin}/api/v1/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                return error.code, json.loads(text)
            except ValueError:
                return error.code, {"text": text.decode(errors="replace")}
