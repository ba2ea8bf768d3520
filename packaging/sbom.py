"""The bill of materials (CycloneDX) of what is linked into the program: the crates of Cargo.lock that a build for this target
takes, and what the page is bundled with."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections import deque
from datetime import datetime, timezone
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

LICENSES = LicenseFactory()


def component(package: dict, checksum: str | None, kind=ComponentType.LIBRARY) -> Component:
    made = Component(type=kind, name=package["name"], version=package["version"], bom_ref=f"{package['name']}@{package['version']}",
                     purl=PackageURL("cargo", name=package["name"], version=package["version"]))
    if package.get("license"):
        # `A/B` is how some crates wrote `A OR B`.
        made.licenses.add(LICENSES.make_from_string(package["license"].replace("/", " OR ")))
    if checksum:
        made.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=checksum))
    if package.get("repository"):
        made.external_references.add(ExternalReference(type=ExternalReferenceType.VCS, url=XsUri(package["repository"])))
    return made


def linked(metadata: dict) -> dict[str, list[str]]:
    """The packages that a build takes, each with those that it takes itself; tests' own are left out."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found: dict[str, list[str]] = {}
    waiting = deque([metadata["resolve"]["root"]])
    while waiting:
        one = waiting.popleft()
        if one in found:
            continue
        found[one] = [dep["pkg"] for dep in nodes[one]["deps"] if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]
        waiting.extend(found[one])
    return found


def write(root: Path, triple: str, commit: str, epoch: int, out: Path) -> None:
    said = subprocess.run(["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", triple],
                          cwd=root, capture_output=True, text=True, check=True)
    metadata = json.loads(said.stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    lock = tomllib.loads((root / "Cargo.lock").read_text())
    sums = {(one["name"], one["version"]): one.get("checksum") for one in lock["package"]}
    takes = linked(metadata)
    made = {}
    for one in takes:
        package = packages[one]
        kind = ComponentType.APPLICATION if one == metadata["resolve"]["root"] else ComponentType.LIBRARY
        made[one] = component(package, sums.get((package["name"], package["version"])), kind)
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, f"tollgate:{commit}:{triple}"))
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, timezone.utc)
    program = made[metadata["resolve"]["root"]]
    bom.metadata.component = program
    for one, takes_these in takes.items():
        if one != metadata["resolve"]["root"]:
            bom.components.add(made[one])
        bom.register_dependency(made[one], [made[each] for each in takes_these])
    page = bundled(root)
    for one in page:
        bom.components.add(one)
    bom.register_dependency(program, page)
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong is not None:
        raise SystemExit(f"release: the bill of materials is not as its schema has it: {wrong}")
    out.write_text(text + "\n")


def bundled(root: Path) -> list[Component]:
    """What esbuild takes into the page."""
    lock = json.loads((root / "page/package-lock.json").read_text())["packages"]
    found = []
    for name in lock[""].get("dependencies", {}):
        package = lock[f"node_modules/{name}"]
        one = Component(type=ComponentType.LIBRARY, name=name, version=package["version"], bom_ref=f"npm:{name}@{package['version']}",
                        purl=PackageURL("npm", name=name, version=package["version"]))
        if package.get("license"):
            one.licenses.add(LICENSES.make_from_string(package["license"]))
        found.append(one)
    return found
