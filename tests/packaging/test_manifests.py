"""Manifests against the published schemas, and what no schema says: each holds what the others and the program count on."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from conftest import ROOT

KUBERNETES = ROOT / "packaging/kubernetes"
CONTAINER = ROOT / "packaging/container"
TOOLS = Path(sys.executable).parent
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]


def resources() -> list[dict]:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert set(listed) == {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    return [one for name in listed for one in yaml.safe_load_all((KUBERNETES / name).read_text())]


def resource(kind: str, name: str = "tollgate") -> dict:
    [found] = [one for one in resources() if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


@pytest.mark.parametrize("kubernetes", ["1.29", "1.33", "1.37"])
def test_kubernetes_takes_the_manifests(kubernetes):
    """Strict: a key that the schema does not know is an error."""
    for one in resources():
        kubernetes_validate.validate(one, kubernetes, strict=True)
    broken = resource("StatefulSet")
    broken["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFilesytem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes, strict=True)


def container() -> tuple[dict, dict]:
    pod = resource("StatefulSet")["spec"]["template"]["spec"]
    [one] = pod["containers"]
    return pod, one


def test_the_pod_may_do_nothing_that_it_does_not_need():
    pod, one = container()
    assert resource("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod["automountServiceAccountToken"] is False
    security = pod["securityContext"]
    assert security["runAsNonRoot"] and security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert one["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert {"cpu", "memory"} <= set(one["resources"]["requests"]) & set(one["resources"]["limits"])
    writable = {mount["mountPath"] for mount in one["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/var/lib/tollgate", "/tmp"}


def test_the_pod_the_services_and_the_policy_speak_of_the_same():
    pod, one = container()
    labels = {"app.kubernetes.io/name": "tollgate"}
    spec = resource("StatefulSet")["spec"]
    assert spec["selector"]["matchLabels"] == labels and labels.items() <= spec["template"]["metadata"]["labels"].items()
    assert spec["replicas"] == 1, "the embedded store has one writer"
    assert resource("Service", spec["serviceName"])
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}
    config = tomllib.loads(resource("ConfigMap")["data"]["servers.toml"])
    listens = [config[table]["listen"] for table in ["gateway", "admin"]]
    assert listens == [f"0.0.0.0:{ports['mcp']}", f"0.0.0.0:{ports['admin']}"]
    assert [port["targetPort"] for name in ["tollgate", "tollgate-admin"] for port in resource("Service", name)["spec"]["ports"]] == ["mcp", "admin"]
    policy = resource("NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == labels and policy["policyTypes"] == ["Ingress", "Egress"]
    assert [entry["ports"][0]["port"] for entry in policy["ingress"]] == ["mcp", "admin"]
    for name in ["startupProbe", "livenessProbe", "readinessProbe"]:
        probe = one[name]["httpGet"]
        assert (probe["port"], probe["scheme"]) == ("admin", "HTTPS") and "tls" in config["gateway"], name
        assert probe["path"] == ("/healthz" if name == "livenessProbe" else "/readyz"), name
    # What is mounted is what servers.toml names.
    mounts = {mount["name"]: mount["mountPath"] for mount in one["volumeMounts"]}
    volumes = {volume["name"] for volume in pod["volumes"]} | {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
    assert set(mounts) == volumes
    environment = {entry["name"]: entry["value"] for entry in one["env"]}
    assert environment == {"TOLLGATE_CONFIG": f"{mounts['config']}/servers.toml"}
    assert config["gateway"]["policies"] == mounts["policies"]
    for path in [config["gateway"]["tls"]["cert"], config["gateway"]["tls"]["key"]]:
        assert path.startswith(mounts["tls"] + "/")
    for path in [config["gateway"]["data_dir"], config["store"]["url"].removeprefix("sqlite:")]:
        assert path.startswith(mounts["record"] + "/")
    assert config["admin"]["metrics_key"] == f"${{file:{mounts['secrets']}/metrics_key}}"


def test_time_for_the_drain_is_left_everywhere():
    drain = 20
    pod, _ = container()
    compose = yaml.safe_load((CONTAINER / "compose.yaml").read_text())["services"]["tollgate"]
    unit = (ROOT / "packaging/debian/tollgate.service").read_text()
    stop = int(re.search(r"^TimeoutStopSec=(\d+)s$", unit, re.M)[1])
    # The drain, then upstreams, sinks and the collector.
    for seconds in [pod["terminationGracePeriodSeconds"], int(compose["stop_grace_period"].removesuffix("s")), stop]:
        assert seconds >= drain + 30
    types = (ROOT / "src/config/servers.rs").read_text()
    assert f'map.read("drain", report, drain).unwrap_or(Duration::from_secs({drain}))' in types


def test_compose_takes_its_file():
    done = subprocess.run([TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", CONTAINER / "compose.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    compose = yaml.safe_load((CONTAINER / "compose.yaml").read_text())
    service = compose["services"]["tollgate"]
    assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["user"] == "65532:65532"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    build = service["build"]
    context = (CONTAINER / build["context"]).resolve()
    assert context == ROOT and (context / build["dockerfile"]).is_file()
    folder, target, mode = service["volumes"][0].split(":")
    assert (CONTAINER / folder / "container.toml").is_file() and (target, mode) == ("/etc/tollgate", "ro")


def instructions() -> list[tuple[str, str]]:
    text = (CONTAINER / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(" ", 1)) for line in lines]


def test_the_container_file_copies_and_runs_what_there_is(request):
    """It is not built here: no registry of images can be reached. test_container.py runs what it would hold."""
    done = subprocess.run([TOOLS / "hadolint", CONTAINER / "Containerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = instructions()
    for _, what in [one for one in found if one[0] == "COPY"]:
        words = [word for word in shlex.split(what) if not word.startswith("--")]
        if "--from=" in what or words == [".", "."] or words[0] == "tollgate":
            continue
        assert (ROOT / words[0]).exists(), what
    final = found[max(i for i, one in enumerate(found) if one[0] == "FROM"):]
    said = {name: what for name, what in final}
    assert said["FROM"].endswith(":nonroot") and said["USER"] == "65532:65532"
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".git", "target", "**/*.env"} <= set(ignored)
    # The program knows each command and flag, and the image's folder has each file.
    program = request.config.getoption("--gateway")
    for name in ["ENTRYPOINT", "CMD", "HEALTHCHECK"]:
        words = yaml.safe_load(re.search(r"\[.*\]", said[name])[0])
        words = words[1:] if words[0] == "/usr/bin/tollgate" else words
        helped = subprocess.run([program, *words, "--help"], capture_output=True, text=True)
        assert helped.returncode == 0, (name, helped.stderr)
    config = said["ENV"].removeprefix("TOLLGATE_CONFIG=/etc/tollgate/")
    assert (ROOT / "packaging/etc" / config).is_file()


def test_the_images_carry_this_version():
    images = [container()[1]["image"], yaml.safe_load((CONTAINER / "compose.yaml").read_text())["services"]["tollgate"]["image"]]
    assert images == [f"tollgate:{VERSION}"] * 2
