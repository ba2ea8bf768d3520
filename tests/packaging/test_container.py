"""The image and the manifests without an engine: the same files, user, mounts and namespaces, made by hand (jail.py)."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import only, unpacked
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jail import NONROOT, Container, needs, tree
from test_manifests import container, resource

DEMO = """
[upstreams.demo]
command = ["tollgate", "demo-upstream"]
trust_annotations = true
"""


@pytest.fixture
def image(made, tmp_path):
    """The root of the image, and what its file says beside files."""
    needs("unshare", "nsenter", "setpriv", "ip")
    # Whoever is not root has to get there.
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_mode & 0o5 != 0o5 and str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o5)
    context = unpacked(only(made, "*-container.tar.gz"), tmp_path / "context")
    root = tmp_path / "image"
    said = tree(context, root)
    return root, said


def volume(folder: Path) -> Path:
    """A new one, as the engine makes it: for the user of the image."""
    folder.mkdir()
    os.chown(folder, NONROOT, NONROOT)
    return folder


def picture(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_image_starts_as_it_is_and_writes_only_its_record(image, tmp_path):
    root, said = image
    assert not list(root.rglob("*sh")), "there is no shell"
    record = volume(tmp_path / "record")
    before = picture(root)
    with Container(root, said, mounts={}, volumes={"/var/lib/tollgate": record}) as running:
        status = Path(f"/proc/{running.pid}/status").read_text()
        assert re.search(rf"^Uid:\t{NONROOT}\t{NONROOT}\t", status, re.M)
        assert re.search(r"^NoNewPrivs:\t1$", status, re.M) and re.search(r"^CapEff:\t0+$", status, re.M)
        mounts = {line.split()[4]: line.split()[5].split(",") for line in Path(f"/proc/{running.pid}/mountinfo").read_text().splitlines()}
        assert {place for place, options in mounts.items() if "rw" in options} == {"/var/lib/tollgate", "/tmp", "/proc"}
        assert running.healthy().stdout == "ready\n"
        assert json.loads(running.ask("http://127.0.0.1:8788/readyz")["text"]) == {"status": "ready"}
        checked = running.run("/usr/bin/tollgate", "check")
        assert checked.returncode == 0 and checked.stdout.startswith("ok: upstreams 0"), checked.stderr
        # The log is for machines, line by line.
        assert all(json.loads(line) for line in running.said().splitlines())
        assert running.stop() == 0, running.said()
    assert picture(root) == before
    assert (record / "data/tollgate.journal").is_dir()


def test_a_call_is_governed_and_on_record_after_a_new_container(image, tmp_path, request):
    root, said = image
    record, etc = volume(tmp_path / "record"), tmp_path / "etc"
    shutil.copytree(root / "etc/tollgate", etc)
    config = etc / "container.toml"
    config.write_text(config.read_text() + DEMO)
    authority = etc / "policies/authority.yaml"
    authority.write_text(authority.read_text().replace("capabilities: {}", 'capabilities:\n  notes: { tools: ["demo__notes_*"] }'))
    (etc / "policies/notes.yaml").write_text("name: notes\ndescription: Notes may be read\non: [{ capability: notes }]\nrules: [{ id: read, condition: 'true', decision: ALLOW }]\n")
    keys = {}
    for kind, more in [("agents", ["--capability", "notes"]), ("people", ["--role", "admin"])]:
        # As an admin does on their own machine, in the folder that is mounted.
        done = subprocess.run([request.config.getoption("--gateway"), "--config", config, kind, "add", "one", *more], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        keys[kind] = re.search(r"tg_\S+", done.stdout)[0]
    mounts, volumes = {"/etc/tollgate": etc}, {"/var/lib/tollgate": record}
    with Container(root, said, mounts=mounts, volumes=volumes) as running:
        answer = running.ask("call", "http://127.0.0.1:8787/mcp", keys["agents"], "demo__notes_list", "{}")
        assert answer["status"] == 200 and answer["result"].get("isError") is not True, answer
        assert running.ask("call", "http://127.0.0.1:8787/mcp", "tg_wrong", "demo__notes_list", "{}")["status"] == 401
        assert running.stop() == 0, running.said()
    with Container(root, said, mounts=mounts, volumes=volumes) as running:
        found = running.run("/usr/bin/tollgate", "audit", "query", "--json", "--tool", "demo__notes_list", key=keys["people"])
        assert found.returncode == 0, found.stderr
        decisions = [one["decision"] for one in json.loads(found.stdout)["events"] if one["event_type"] == "agent_decision"]
        assert decisions == ["allow"]
        assert running.run("/usr/bin/tollgate", "audit", "verify").returncode == 0


class ConfigMap:
    """A folder as the kubelet keeps it: files are links into `..data`, which is a link that is swapped."""

    def __init__(self, folder: Path, data: dict[str, str]):
        self.folder, self.count = folder, 0
        folder.mkdir()
        self.set(data)
        for name in data:
            (folder / name).symlink_to(f"..data/{name}")

    def set(self, data: dict[str, str]) -> None:
        self.count += 1
        version = self.folder / f"..2026_11_30_00_00_00.{self.count}"
        version.mkdir()
        for name, text in data.items():
            (version / name).write_text(text)
        new = self.folder / "..data_tmp"
        new.symlink_to(version.name)
        new.replace(self.folder / "..data")


def certificate(folder: Path, names: list[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False).sign(key, hashes.SHA256()))
    folder.mkdir()
    (folder / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def test_the_pod_loads_its_config_maps_answers_its_probes_and_takes_changes_over(image, tmp_path):
    """R5: the credential of the scraper is a file of the Secret, and stands in no other."""
    root, said = image
    record, secrets, tls = volume(tmp_path / "record"), tmp_path / "secrets", tmp_path / "tls"
    config, policies = resource("ConfigMap")["data"], resource("ConfigMap", "tollgate-policies")["data"]
    ConfigMap(tmp_path / "config", config)
    bundle = ConfigMap(tmp_path / "policies", policies)
    certificate(tls, ["tollgate.tollgate.svc", "tollgate-admin.tollgate.svc"])
    secrets.mkdir()
    (secrets / "metrics_key").write_text("0123456789abcdef0123456789abcdef\n")
    # `fsGroup` and `defaultMode`
    for path in [*tls.iterdir(), *secrets.iterdir()]:
        os.chown(path, 0, NONROOT)
        path.chmod(0o440)
    _, one = container()
    folders = {"config": tmp_path / "config", "policies": tmp_path / "policies", "tls": tls, "secrets": secrets, "record": record}
    mounts = {mount["mountPath"]: folders[mount["name"]] for mount in one["volumeMounts"] if mount["name"] != "tmp" and mount.get("readOnly")}
    env = {entry["name"]: entry["value"] for entry in one["env"]}
    with Container(root, said, mounts=mounts, volumes={"/var/lib/tollgate": record}, env=env, arguments=one["args"]) as running:
        checked = running.run("/usr/bin/tollgate", "check", "--strict")
        assert checked.returncode == 0 and "lints 0" in checked.stdout, checked.stdout + checked.stderr
        for name in ["startupProbe", "livenessProbe", "readinessProbe"]:
            # As the kubelet asks: by the pod's address.
            answer = running.ask(f"https://127.0.0.1:8788{one[name]['httpGet']['path']}", "Host: 10.42.0.17:8788")
            assert answer["status"] == 200, (name, answer)
        scrape = lambda key: running.ask("https://127.0.0.1:8788/metrics", "Host: tollgate-admin.tollgate.svc", f"Authorization: Bearer {key}")
        assert scrape("0123456789abcdef0123456789abcdef")["status"] == 200 and scrape("another-key-that-is-long-enough")["status"] == 401
        call = lambda: running.ask("call", "https://127.0.0.1:8787/mcp", "tg_new", "any", "{}")
        assert call()["status"] == 401
        digest = hashlib.sha256(b"tg_new").hexdigest()
        bundle.set(policies | {"authority.yaml": policies["authority.yaml"].replace("agents: {}", f'agents: {{ new: {{ owner: a-team, keys: ["sha256:{digest}"] }} }}')})
        while call()["status"] == 401:
            assert running.outer.poll() is None, running.said()
        assert running.stop() == 0, running.said()
