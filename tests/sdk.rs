//! Runs what is written against the official SDK and the official conformance suite: other people's clients
//! and servers, in front of and behind this binary. `.ci/setup` makes the folders that are needed.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

const BINARY: &str = env!("CARGO_BIN_EXE_tollgate");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The target folder: the binary stands in `<target>/<profile>/`.
fn target() -> PathBuf {
    Path::new(BINARY).ancestors().nth(2).unwrap_or(Path::new("target")).to_owned()
}

fn profile() -> PathBuf {
    Path::new(BINARY).parent().unwrap_or(Path::new("target/debug")).to_owned()
}

/// What of `needed` is not there, one line each.
fn missing(needed: &[(&str, PathBuf)]) -> Vec<String> {
    let absent = needed.iter().filter(|(_, path)| !path.exists());
    absent.map(|(what, path)| format!("{what}: `{}` is missing", path.display())).collect()
}

/// True where the test can run. On a developer's machine a missing part skips it by name; in CI it fails.
fn ready(name: &str, needed: &[(&str, PathBuf)]) -> bool {
    let missing = missing(needed);
    if missing.is_empty() {
        return true;
    }
    let said = format!("{name} did not run; .ci/setup makes what is missing:\n  {}", missing.join("\n  "));
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{said}");
    // Not `eprintln!`: the harness would keep it to itself.
    writeln!(std::io::stderr(), "{said}").ok();
    false
}

/// Where a program is, on the PATH.
fn found(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.exists());
    found.unwrap_or_else(|| PathBuf::from(program))
}

fn node() -> PathBuf {
    found("node")
}

/// Runs it to its end; what it printed is the error.
fn run(command: &mut Command) -> Result<(), String> {
    let done = command.output().map_err(|e| format!("{command:?} did not start: {e}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = [done.stdout.as_slice(), done.stderr.as_slice()].concat();
    Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&said)))
}

/// And `test_proof.py`: a verifier and a witness of other hands (R89), a note on a trace (R62), scorecard and maturity (R73 to R78).
/// `test_delivery.py`: delivery that loses nothing (R90). `test_telemetry.py`: a collector of other hands gets spans that join services
/// (R46) and follow the conventions (R91), and a real Prometheus has data for the board.
#[test]
fn official_python_sdk_in_both_eras() {
    let python = target().join("sdk-venv/bin/python");
    let tests = Path::new(ROOT).join("tests/sdk");
    let servers = tests.join("node_modules/@modelcontextprotocol");
    let needed = [
        ("Python with the SDK", python.clone()),
        ("pytest", target().join("sdk-venv/bin/pytest")),
        ("Node", node()),
        ("server-everything", servers.join("server-everything")),
        ("server-filesystem", servers.join("server-filesystem")),
        ("server-memory", servers.join("server-memory")),
        ("oidc-provider", Path::new(ROOT).join("tests/page/issuer/node_modules/oidc-provider")),
        ("PostgreSQL", PathBuf::from("/usr/lib/postgresql")),
    ];
    if ready("the SDK tests", &needed) {
        run(Command::new(python)
            .args(["-m", "pytest", "-q", "--maxfail=20"])
            .arg(format!("--gateway={BINARY}"))
            .current_dir(tests))
        .unwrap_or_else(|said| panic!("{said}"));
    }
}

/// Replicas on PostgreSQL behind haproxy, with clients of both eras, while replicas and databases are killed.
#[test]
fn a_cluster_whatever_is_killed() {
    let python = target().join("sdk-venv/bin/python");
    let haproxy = [PathBuf::from("/usr/sbin/haproxy"), found("haproxy")];
    let haproxy = haproxy.into_iter().find(|path| path.exists()).unwrap_or_default();
    let needed = [
        ("Python with the SDK", python.clone()),
        ("pytest", target().join("sdk-venv/bin/pytest")),
        ("PostgreSQL", PathBuf::from("/usr/lib/postgresql")),
        ("haproxy", haproxy),
    ];
    if ready("the cluster", &needed) {
        run(Command::new(python)
            .args(["-m", "pytest", "-q", "-x"])
            .arg(format!("--gateway={BINARY}"))
            .current_dir(Path::new(ROOT).join("tests/cluster")))
        .unwrap_or_else(|said| panic!("{said}"));
    }
}

/// What people install, made by `packaging/release` of this binary: wheel, Debian package, container, manifests (R5, R99).
#[test]
fn what_is_installed_and_how() {
    let python = target().join("sdk-venv/bin/python");
    let needed = [("Python with maturin", target().join("sdk-venv/bin/maturin")), ("debhelper", found("dh"))];
    if ready("the tests of packaging", &needed) {
        run(Command::new(python)
            .args(["-m", "pytest", "-q", "--maxfail=5"])
            .arg(format!("--gateway={BINARY}"))
            .current_dir(Path::new(ROOT).join("tests/packaging")))
        .unwrap_or_else(|said| panic!("{said}"));
    }
}

#[test]
fn official_conformance_suite_through_the_gateway() {
    let python = target().join("sdk-venv/bin/python");
    let folder = Path::new(ROOT).join("tests/conformance");
    let fixture = profile().join("examples/conformance_server");
    let needed = [
        ("Python", python.clone()),
        ("the conformance suite", folder.join("node_modules/@modelcontextprotocol/conformance")),
        ("the conformance_server example", fixture.clone()),
    ];
    if ready("the conformance suite", &needed) {
        run(Command::new(python)
            .arg(folder.join("run.py"))
            .args(["--pairings", "--extensions", "--gateway", BINARY, "--fixture"])
            .arg(fixture))
        .unwrap_or_else(|said| panic!("{said}"));
    }
}

/// The suite's authorization servers, with upstreams that want their tokens.
#[test]
fn official_conformance_suite_for_accounts_at_upstreams() {
    let python = target().join("sdk-venv/bin/python");
    let folder = Path::new(ROOT).join("tests/conformance");
    let needed = [
        ("Python", python.clone()),
        ("the conformance suite", folder.join("node_modules/@modelcontextprotocol/conformance")),
    ];
    if ready("the conformance suite", &needed) {
        run(Command::new(python).arg(folder.join("authorize.py")).args(["--gateway", BINARY]))
            .unwrap_or_else(|said| panic!("{said}"));
    }
}

/// The page in the binary is what its sources make, byte by byte; only who changes it needs Node.
#[test]
fn the_page_is_built_of_its_sources() {
    let folder = Path::new(ROOT).join("page");
    let needed = [("Node", node()), ("esbuild and TypeScript", folder.join("node_modules/typescript"))];
    if ready("the build of the page", &needed) {
        for script in ["check", "verify"] {
            run(Command::new("npm").args(["run", "--silent", script]).current_dir(&folder))
                .unwrap_or_else(|said| panic!("{said}"));
        }
    }
}

#[test]
fn the_inbox_page_in_a_browser() {
    let python = target().join("sdk-venv/bin/python");
    let browser = ["chromium", "chromium-browser"].map(found).into_iter().find(|program| program.exists());
    let needed = [
        ("Python with Playwright", target().join("sdk-venv/bin/playwright")),
        ("Chromium", browser.unwrap_or_else(|| PathBuf::from("chromium"))),
        ("axe-core", Path::new(ROOT).join("tests/page/node_modules/axe-core")),
        ("oidc-provider", Path::new(ROOT).join("tests/page/issuer/node_modules/oidc-provider")),
    ];
    if ready("the tests of the inbox page", &needed) {
        run(Command::new(python)
            .args(["-m", "pytest", "-q", "--maxfail=5", "-c", "pytest.ini"])
            .arg(format!("--gateway={BINARY}"))
            .current_dir(Path::new(ROOT).join("tests/page")))
        .unwrap_or_else(|said| panic!("{said}"));
    }
}
