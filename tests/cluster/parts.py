"""What a cluster is made of beside the replicas: PostgreSQL with a standby, and a load balancer, both as Debian packages them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from harness import free_port

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("postgresql-is-missing"))
HAPROXY = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")


def wait_for(what: str, holds, within: float = 60.0):
    """Asks until something holds, and gives what it was."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            if found := holds():
                return found
        except OSError:
            # Nobody listens there yet.
            pass
        time.sleep(0.05)
    raise AssertionError(f"not within {within} s: {what}")


class Postgres:
    """One server. PostgreSQL does not run as root."""

    def __init__(self, settings: tuple[str, ...] = (), of: "Postgres | None" = None):
        self.folder = Path(tempfile.mkdtemp(prefix="tollgate-pg-"))
        self.port, self.settings, self.process = free_port(), settings, None
        self.account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        if self.account:
            shutil.chown(self.folder, "postgres", "postgres")
        self.data = self.folder / "data"
        if of is None:
            self._do("initdb", "-D", self.data, "-A", "trust", "-U", "tollgate", "-E", "UTF8", "--locale=C")
        else:
            self._do("pg_basebackup", "-h", "127.0.0.1", "-p", of.port, "-U", "tollgate", "-D", self.data, "-R", "-c", "fast")
        self.start()

    def _do(self, program: str, *arguments):
        done = subprocess.run([BIN / program, *map(str, arguments)], capture_output=True, text=True, cwd=self.folder,
                              **self.account)
        assert done.returncode == 0, done.stderr

    def start(self):
        log = open(self.folder / "log", "ab")
        options = [f"-c{setting}" for setting in ("listen_addresses=127.0.0.1", "max_connections=100", *self.settings)]
        self.process = subprocess.Popen([BIN / "postgres", "-D", self.data, "-k", self.folder, "-p", str(self.port), *options],
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, **self.account)
        log.close()
        wait_for("PostgreSQL answers", lambda: self._answers())

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        asked = [BIN / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(asked, check=False).returncode == 0

    def stop(self, how: signal.Signals = signal.SIGINT):
        """`SIGINT`: in order, and connections are cut; `SIGQUIT`: at once, as a crash."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(30)

    def sql(self, statement: str, database: str = "postgres") -> str:
        done = subprocess.run([BIN / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port),
                               "-U", "tollgate", "-d", database, "-c", statement], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def end(self):
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)


class Balancer:
    """haproxy before the replicas: in turn, and a session of an older protocol version goes where it was begun."""

    CONFIG = """\
defaults
    mode http
    timeout connect 2s
    timeout check 10s
    timeout client 1h
    timeout server 1h
    option redispatch
    default-server inter 300ms fall 1 rise 1

frontend mcp
    bind 127.0.0.1:{mcp}
    default_backend replicas
backend replicas
    balance roundrobin
    option httpchk GET /readyz
    stick-table type string len 64 size 100k expire 30m
    stick match req.hdr(mcp-session-id)
    stick store-response res.hdr(mcp-session-id)
{replicas}
frontend admin
    bind 127.0.0.1:{admin}
    default_backend pages
backend pages
    balance roundrobin
    option httpchk GET /readyz
{pages}
"""

    def __init__(self, replicas):
        self.folder = Path(tempfile.mkdtemp(prefix="tollgate-lb-"))
        self.mcp, self.admin = free_port(), free_port()

        def servers(port):
            return "\n".join(f"    server r{n} 127.0.0.1:{port(one)} check port {one.admin_port}" for n, one in enumerate(replicas))

        text = self.CONFIG.format(mcp=self.mcp, admin=self.admin, replicas=servers(lambda one: one.mcp_port),
                                  pages=servers(lambda one: one.admin_port))
        (self.folder / "haproxy.cfg").write_text(text)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([HAPROXY, "-db", "-f", self.folder / "haproxy.cfg"], stdout=log, stderr=log)
        self.url = f"http://127.0.0.1:{self.mcp}/mcp"

    def end(self):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)
