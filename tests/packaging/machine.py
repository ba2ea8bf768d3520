"""A booted machine: this one's own files with a layer in memory over them, and systemd as the first process. Nothing that is done in
it is left when it goes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from jail import ASK, needs

NAME = "tollgate-packaging"
# Debian 12's nspawn does not know them yet; a machine has them.
LANDLOCK = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"


class Machine:
    def __enter__(self) -> "Machine":
        needs("systemd-nspawn", "nsenter", "dpkg", "systemctl")
        self.folder = Path(tempfile.mkdtemp(prefix="tollgate-machine-"))
        self.root = self.folder / "root"
        run("mount", "-t", "tmpfs", "tmpfs", self.folder)
        for name in ["upper", "work", "root"]:
            (self.folder / name).mkdir()
        run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={self.folder}/upper,workdir={self.folder}/work", self.root)
        # Images of containers forbid services to start when a package is installed.
        (self.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
        self.log = open(self.folder / "console.log", "w+b")
        # basic.target: systemd itself, without what else this machine would start.
        self.outer = subprocess.Popen(["systemd-nspawn", "--directory", self.root, "--machine", NAME, "--register=no", "--keep-unit",
                                       "--private-network", "--console=pipe", f"--system-call-filter={LANDLOCK}", "/lib/systemd/systemd", "systemd.unit=basic.target"],
                                      stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.pid = ""
        while not self.pid or self.run("systemctl", "is-system-running", "--wait").stdout.strip() not in ["running", "degraded"]:
            assert self.outer.poll() is None, (self.folder / "console.log").read_text()
            self.pid = self.pid or self.first()
        return self

    def first(self) -> str:
        try:
            [pid] = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children").read_text().split()
            return pid if Path(f"/proc/{pid}/comm").read_text() == "systemd\n" else ""
        except (OSError, ValueError):
            return ""

    def __exit__(self, *_) -> None:
        self.outer.terminate()
        self.outer.wait(60)
        self.log.close()
        for place in [self.root, self.folder]:
            run("umount", place)
        self.folder.rmdir()

    def run(self, *command, **env) -> subprocess.CompletedProcess:
        setting = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **env}
        return subprocess.run(["nsenter", "--target", self.pid, "--all", "--wd=/root", *map(str, command)], capture_output=True, text=True, env=setting)

    def done(self, *command, **env) -> str:
        """The same, where it has to succeed."""
        ended = self.run(*command, **env)
        assert ended.returncode == 0, f"{command}: {ended.returncode}\n{ended.stdout}{ended.stderr}\n{self.journal()}"
        return ended.stdout

    def journal(self) -> str:
        return self.run("journalctl", "--unit", "tollgate", "--no-pager", "--lines", "40").stdout

    def asking(self, *arguments: str) -> subprocess.Popen:
        """From beside it, on its network."""
        return subprocess.Popen(["nsenter", "--target", self.pid, "--net", sys.executable, ASK, *arguments], stdout=subprocess.PIPE, text=True)


def run(*command) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
