"""What a container engine does with the image and the manifests: the files of the final stage in a root of their own, read-only,
with namespaces of their own, a user without rights, and only what is declared writable."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

NONROOT = 65532
ASK = Path(__file__).with_name("ask.py")
BROWSER = Path(__file__).with_name("browser.py")


def needs(*programs: str) -> None:
    """CI has all of it (.ci/setup); elsewhere the test says what it wants."""
    import pytest

    missing = [program for program in programs if not shutil.which(program)]
    if os.geteuid() != 0:
        missing.append("root")
    if missing:
        said = f"{', '.join(missing)}: not there"
        pytest.fail(said) if os.environ.get("CI") == "true" else pytest.skip(said)


def tree(context: Path, root: Path) -> dict[str, str]:
    """Makes the final stage of the Containerfile as its lines say; what these say beside files."""
    text = (ROOT / "packaging/container/Containerfile").read_text().replace("\\\n", " ")
    lines = [line.split(" ", 1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    last = max(i for i, (name, _) in enumerate(lines) if name == "FROM")
    base(context / "tollgate", root)
    said = {}
    for name, what in lines[last + 1:]:
        if name != "COPY":
            said[name] = what
            continue
        words = shlex.split(what)
        source, target = [word for word in words if not word.startswith("--")]
        source = context / ("tollgate" if "--from=program" in words else source)
        to = root / target.lstrip("/")
        if source.is_dir():
            shutil.copytree(source, to, dirs_exist_ok=True)
        else:
            to = to / source.name if target.endswith("/") else to
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, to)
        owner = [word.removeprefix("--chown=") for word in words if word.startswith("--chown=")]
        for path in [to, *to.rglob("*")] if owner else []:
            os.chown(path, *map(int, owner[0].split(":")))
    return said


def base(program: Path, root: Path) -> None:
    """What distroless/cc has of use here: the C library, certificates, users, folders. No shell."""
    for folder in ["proc", "tmp", "etc/ssl/certs", "var/lib", "run", "home/nonroot"]:
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n")
    (root / "etc/group").write_text("root:x:0:\nnonroot:x:65532:\n")
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs")
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"(/\S+)", said):
        to = root / library.lstrip("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.realpath(library), to)


class Container:
    """A running one. `mounts`: place in it → folder here, read-only; `volumes`: the same, writable."""

    def __init__(self, root: Path, said: dict, *, mounts: dict, volumes: dict, env: dict | None = None, arguments: list | None = None):
        words = lambda name: json.loads(re.search(r"\[.*\]", said[name])[0])
        self.root, self.health = root, words("HEALTHCHECK")
        setting = dict([said["ENV"].split("=", 1)]) | (env or {})
        user, group = said["USER"].split(":")
        at = lambda place: shlex.quote(str(root / place.lstrip("/")))
        script = ["set -e", "ip link set lo up", f"mount --bind {at('')} {at('')}"]
        for place, folder in mounts.items():
            script += [f"mount --bind {shlex.quote(str(folder))} {at(place)}", f"mount -o remount,bind,ro {at(place)}"]
        script += [f"mount --bind {shlex.quote(str(folder))} {at(place)}" for place, folder in volumes.items()]
        script += [f"mount -t tmpfs -o mode=1777,size=64m,noexec,nosuid,nodev tmpfs {at('tmp')}", f"mount -t proc proc {at('proc')}",
                   f"mount -o remount,bind,ro {at('')}"]
        command = words("ENTRYPOINT") + (arguments or words("CMD"))
        script += [f"exec setpriv --no-new-privs env -i PATH=/usr/bin HOME=/home/nonroot {shlex.join(f'{k}={v}' for k, v in setting.items())} "
                   f"{shutil.which('chroot')} --userspec={user}:{group} --groups= {at('')} {shlex.join(command)}"]
        for place in [*mounts, *volumes]:
            (root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
        self.setting, self.user, self.group = setting, user, group
        self.log = open(root.parent / f"{root.name}.log", "w+b")
        self.outer = subprocess.Popen(["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child", "sh", "-c", "\n".join(script)],
                                      stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def __enter__(self) -> "Container":
        self.pid = ""
        while not self.pid or self.healthy().returncode != 0:
            assert self.outer.poll() is None, self.said()
            self.pid = self.pid or self.first()
        return self

    def __exit__(self, *_) -> None:
        # With its first process a namespace ends; that has changed its user, so `--kill-child` counts no more.
        if self.pid and self.outer.poll() is None:
            os.kill(int(self.pid), 9)
        self.outer.kill()
        self.outer.wait()
        self.log.close()

    def said(self) -> str:
        return Path(self.log.name).read_text()

    def first(self) -> str:
        """The first process in it, as it is called here, once it is the program."""
        try:
            [pid] = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children").read_text().split()
            return pid if Path(f"/proc/{pid}/comm").read_text() == "tollgate\n" else ""
        except (OSError, ValueError):
            return ""

    def run(self, *command: str, key: str | None = None) -> subprocess.CompletedProcess:
        """As `docker exec` does."""
        setting = self.setting | ({"TOLLGATE_KEY": key} if key else {})
        return subprocess.run(["nsenter", "--target", self.pid, "--mount", "--pid", "--net", "--ipc", "--root", "--wd", "--setuid", self.user,
                               "--setgid", self.group, *command], capture_output=True, text=True, env={"PATH": "/usr/bin", **setting})

    def healthy(self) -> subprocess.CompletedProcess:
        return self.run(*self.health)

    def ask(self, *arguments: str) -> dict:
        """From beside it, on its network."""
        done = subprocess.run(["nsenter", "--target", self.pid, "--net", sys.executable, ASK, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def stop(self) -> int:
        os.kill(int(self.pid), 15)
        return self.outer.wait(60)
