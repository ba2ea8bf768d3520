"""What packaging/release makes: whole, as its sums say, and of a tree that is its commit."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tomllib

from conftest import ROOT, only, unpacked


def version() -> str:
    return tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]


def sums_of(folder) -> dict[str, str]:
    return dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())


def test_all_parts_are_there_and_are_what_the_sums_say(made):
    name = f"tollgate-{version()}"
    sums = sums_of(made)
    assert set(sums) == {path.name for path in made.iterdir()} - {"SHA256SUMS"}
    for file, digest in sums.items():
        assert hashlib.sha256((made / file).read_bytes()).hexdigest() == digest, file
    for pattern in [f"{name}-*-linux-gnu.tar.gz", f"{name}-source.tar.gz", f"{name}-container.tar.gz", f"{name}.cdx.json",
                    f"tollgate_{version()}-1_*.deb", f"tollgate_mcp-{version()}-*.whl"]:
        only(made, pattern)


def test_the_bill_of_materials_names_what_is_linked_and_no_more(made):
    """packaging/sbom.py has held it to the published schema of CycloneDX 1.6."""
    bom = json.loads(only(made, "*.cdx.json").read_text())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert bom["metadata"]["component"]["purl"] == f"pkg:cargo/tollgate@{version()}"
    parts = {part["purl"].split("@")[0]: part for part in bom["components"]}
    assert {"pkg:cargo/rmcp", "pkg:cargo/rustls", "pkg:cargo/rusqlite", "pkg:npm/uplot"} <= set(parts)
    # Tests' own crates, and what another system would take, are not in the program.
    assert not {"pkg:cargo/proptest", "pkg:cargo/insta", "pkg:cargo/divan", "pkg:cargo/windows-sys"} & set(parts)
    for purl, part in parts.items():
        assert part.get("licenses"), f"{purl} has no licence"
        if purl.startswith("pkg:cargo/"):
            assert part["hashes"][0]["alg"] == "SHA-256", purl
    refs = {part["bom-ref"] for part in bom["components"]} | {bom["metadata"]["component"]["bom-ref"]}
    named = {ref for entry in bom["dependencies"] for ref in [entry["ref"], *entry.get("dependsOn", [])]}
    assert named == refs, "each part is in the graph, and the graph names nothing else"


def test_the_archive_runs_where_it_is_unpacked(made, tmp_path):
    folder = unpacked(only(made, "*-linux-gnu.tar.gz"), tmp_path / "archive")
    said = subprocess.run([folder / "bin/tollgate", "--version"], capture_output=True, text=True, check=True).stdout
    assert said == f"tollgate {version()}\n"
    checked = subprocess.run([folder / "bin/tollgate", "check"], cwd=folder / "share/doc/tollgate/examples/demo", capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for file in ["LICENSE", "sbom.cdx.json", "share/man/man1/tollgate-serve.1", "share/bash-completion/completions/tollgate",
                 "share/zsh/vendor-completions/_tollgate", "share/fish/vendor_completions.d/tollgate.fish", "etc/tollgate/servers.toml",
                 "share/doc/tollgate/README.md", "share/doc/tollgate/docs/install.md"]:
        assert (folder / file).stat().st_size > 100, file


def test_the_source_is_the_commit(made):
    """R5: and no secret lies in it, for no file that git does not know is."""
    with tarfile.open(only(made, "*-source.tar.gz")) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
        names = {name.rstrip("/") for name in names if name}
    tracked = subprocess.run(["git", "ls-tree", "-r", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    assert set(filter(None, tracked)) <= names


def test_cargo_takes_what_a_build_needs_and_nothing_secret():
    """`cargo install --path .` builds of the folder; `cargo package` names what would go out."""
    said = subprocess.run(["cargo", "package", "--list", "--allow-dirty", "--locked"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = said.stdout.split("\n")
    assert {"Cargo.lock", "src/main.rs", "src/front/admin/assets/main.js", "src/front/admin/openapi.json", "schemas/event.json", "LICENSE"} <= set(names)
    secret = [name for name in names if name.endswith((".env", ".db", ".segment")) or ".tollgate/" in name or "node_modules/" in name]
    assert secret == []


def test_a_tree_that_differs_from_its_commit_is_refused(tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", clone], check=True)
    # The script of this tree, as if it were committed.
    for file in ["release", "sbom.py"]:
        (clone / "packaging").mkdir(exist_ok=True)
        (clone / "packaging" / file).write_bytes((ROOT / "packaging" / file).read_bytes())
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", clone]
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "as it is"], check=True)
    (clone / "servers.toml").write_text("[gateway]\n")
    (clone / "left-over.txt").write_text("x")
    said = subprocess.run([sys.executable, clone / "packaging/release", "--program", "/bin/true", "--out", tmp_path / "out"],
                          capture_output=True, text=True, env={**os.environ, "CARGO_TARGET_DIR": str(tmp_path / "target")})
    assert said.returncode == 1
    assert "the tree differs from its commit" in said.stderr and "servers.toml" in said.stderr and "left-over.txt" in said.stderr
    assert not (tmp_path / "out").exists()


def test_the_same_commit_makes_the_same_files(made, tmp_path):
    """The parts that are packed here: times are those of the commit, and order is by name."""
    folder = unpacked(only(made, "*-container.tar.gz"), tmp_path / "unpacked")
    out = tmp_path / "again"
    done = subprocess.run([sys.executable, ROOT / "packaging/release", "--program", folder / "tollgate", "--out", out, "--allow-dirty",
                           "--only", "archive,source,container"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    first, again = sums_of(made), sums_of(out)
    assert len(again) == 4 and again.items() <= first.items(), (first, again)
