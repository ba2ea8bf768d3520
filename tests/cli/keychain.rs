//! `tollgate init --secrets keychain`: GNOME Keyring in a session of its own, and programs in its place that fail.

use super::{binary::tollgate, init_of_clients::Place};
use serde_json::json;
use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Output};

const ONE: &str = "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8";
const TWO: &str = "sk-proj-Zx9Yw8Vu7Ts6Rq5Po4Nm3Lk2Ji1Hg0Fe\"'$ `x`";

/// A client's file with two secrets.
fn client(place: &Place) {
    let servers = json!({"mcpServers": {
        "demo": {"command": "env", "args": [env!("CARGO_BIN_EXE_tollgate"), "demo-upstream"], "env": {"GIT_TOKEN": ONE, "API_KEY": TWO}},
    }});
    place.write(".cursor/mcp.json", &servers.to_string());
}

/// A program of that name in a folder of its own.
fn stand_in(place: &Place, name: &str, script: &str) -> String {
    place.write(
        &format!("bin/{name}"),
        &format!("#!/bin/bash\nPATH=/usr/bin:/bin\ncd {}\n{script}", place.home().display()),
    );
    let path = place.home().join("bin").join(name);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    place.home().join("bin").display().to_string()
}

fn init(place: &Place, path: &str) -> Output {
    place.run_with(&["init", "--yes", "--no-start", "--secrets", "keychain"], &[("PATH", path)])
}

fn nothing_is_written(place: &Place) {
    let left: Vec<_> =
        std::fs::read_dir(place.project()).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Whether GNOME Keyring can be tried here; under CI it has to be.
fn has_keyring() -> bool {
    let is_there = |name: &&str| {
        std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|folder| folder.join(name).is_file())
    };
    let programs = ["dbus-run-session", "dbus-send", "gnome-keyring-daemon", "secret-tool"];
    let missing: Vec<&str> = programs.into_iter().filter(|name| !is_there(name)).collect();
    let strict = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(missing.is_empty() || !strict, "{missing:?} are not there: .ci/setup installs them");
    missing.is_empty()
}

/// Runs it in a session with a keyring that is unlocked.
fn in_session(place: &Place, arguments: &[&str]) -> Output {
    after(place, "true", arguments)
}

/// The same after another command.
fn after(place: &Place, first: &str, arguments: &[&str]) -> Output {
    let unlock = "printf word | gnome-keyring-daemon --unlock --components=secrets >/dev/null";
    let script = format!("{unlock} && {first} >/dev/null && exec \"$@\"");
    let mut command = std::process::Command::new("dbus-run-session");
    command.args(["--", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_tollgate")]).args(arguments);
    command.current_dir(place.project()).env("HOME", place.home()).env("XDG_RUNTIME_DIR", place.home());
    for name in [
        "TOLLGATE_KEY",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "DBUS_SESSION_BUS_ADDRESS",
        "DISPLAY",
        "WAYLAND_DISPLAY",
    ] {
        command.env_remove(name);
    }
    command.stdin(std::process::Stdio::null()).output().unwrap()
}

/// The real thing: secrets lie in the keyring, servers.toml asks it, a server is started with them, and `--add` adds to it.
#[test]
fn secrets_lie_in_the_keychain() {
    if !has_keyring() {
        return;
    }
    let place = Place::new();
    client(&place);
    let done = in_session(&place, &["init", "--json", "--yes", "--wait", "20s", "--secrets", "keychain"]);
    assert!(done.status.success(), "{done:?}");
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(told["keychain"].as_str().unwrap().contains("`secret-tool`, service `tollgate-"), "{told:#}");
    assert_eq!((&told["env_file"], &told["missing"]), (&json!(null), &json!([])));
    assert_eq!(told["upstreams"][0]["not_started"], json!(null), "{told:#}");
    assert_eq!(told["first_call"]["decision"], "allow", "{told:#}");
    assert!(!place.project().join("servers.env").exists());
    let servers = place.read("servers.toml");
    assert!(servers.contains("GIT_TOKEN = \"${cmd:secret-tool lookup service tollgate-"), "{servers}");
    for file in ["servers.toml", "policies/authority.yaml", "policies/bundle.yaml"] {
        let text = place.read(file);
        assert!(!text.contains(ONE) && !text.contains("sk-proj-"), "{file}: {text}");
    }
    // What another process reads is what was there, to the letter.
    let env = in_session(&place, &["servers", "inspect", "demo", "--json"]);
    assert!(env.status.success(), "{env:?}");
    let checked = in_session(&place, &["check", "--strict"]);
    assert!(checked.status.success(), "{checked:?}");
    // Without the keyring the server is off, and it is said why.
    let alone = tollgate(&place.project(), &["check"]);
    let said = format!("{}{}", alone.out, alone.err);
    assert!(said.contains("secret-tool") && said.contains("upstream `demo` is disabled"), "{said}");
    assert!(!said.contains(ONE), "{said}");

    // Another server's secret of the same name is another entry.
    let servers = json!({"mcpServers": {
        "two": {"command": "env", "args": ["TWO=2", env!("CARGO_BIN_EXE_tollgate"), "demo-upstream"], "env": {"GIT_TOKEN": TWO}},
    }});
    place.write(".cursor/mcp.json", &servers.to_string());
    let added =
        in_session(&place, &["init", "--add", "--json", "--yes", "--wait", "20s", "--secrets", "keychain"]);
    assert!(added.status.success(), "{added:?}");
    let text = place.read("servers.toml");
    assert!(text.contains(" variable GIT_TOKEN}") && text.contains(" variable GIT_TOKEN_2}"), "{text}");
    let looked = in_session(&place, &["check", "--strict"]);
    assert!(looked.status.success(), "{looked:?}");
}

/// Nobody is there who could unlock it.
#[test]
fn a_keychain_that_is_locked_is_named_and_nothing_is_written() {
    if !has_keyring() {
        return;
    }
    let place = Place::new();
    client(&place);
    let lock = "dbus-send --session --print-reply --dest=org.freedesktop.secrets /org/freedesktop/secrets \
                org.freedesktop.Secret.Service.Lock array:objpath:/org/freedesktop/secrets/collection/login";
    let refused = after(&place, lock, &["init", "--yes", "--no-start", "--secrets", "keychain"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("`secret-tool` does not keep") && said.contains("locked"), "{said}");
    assert!(!said.contains(ONE) && !said.contains("sk-proj-"), "{said}");
    nothing_is_written(&place);
}

#[test]
fn without_a_keychain_nothing_is_written() {
    let place = Place::new();
    client(&place);
    let refused = init(&place, "/nowhere");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("libsecret-tools") && said.contains("--secrets env-file"), "{said}");
    nothing_is_written(&place);
}

/// One that keeps the first secret and refuses the second: the first is gone again.
#[test]
fn a_keychain_that_fails_keeps_nothing() {
    let place = Place::new();
    client(&place);
    let script = "case $1 in
lookup) cat kept-$5 2>/dev/null;;
store) [ -e kept-API_KEY ] && { echo 'the keyring is locked' >&2; exit 1; }; cat > kept-$6;;
clear) rm -f kept-$5;;
esac";
    let path = stand_in(&place, "secret-tool", script);
    let refused = init(&place, &path);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("does not keep `GIT_TOKEN`: it says: the keyring is locked"), "{said}");
    assert!(!said.contains(ONE), "{said}");
    nothing_is_written(&place);
    assert!(!place.home().join("kept-API_KEY").exists());
    // What was there before is there again.
    place.write("kept-API_KEY", "of before");
    let refused = init(&place, &path);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(std::fs::read_to_string(place.home().join("kept-API_KEY")).unwrap(), "of before");
}

/// macOS, as far as it can be tried elsewhere: a program in place of `security` that reads commands from its standard input. What
/// it is called with is kept, and has no secret in it.
#[test]
fn the_keychain_of_macos_gets_secrets_by_standard_input() {
    let place = Place::new();
    client(&place);
    let script = r#"echo "$*" >> called
case $1 in
-i) read -r command update s service a name l label x hex; printf '%b' "$(echo "$hex" | sed 's/../\\x&/g')" > "kept-$name";;
find-generic-password) cat "kept-$5" 2>/dev/null && echo;;
esac"#;
    let path = stand_in(&place, "security", script);
    let done = init(&place, &path);
    assert!(done.status.success(), "{done:?}");
    let kept = |name: &str| std::fs::read_to_string(place.home().join(format!("kept-{name}"))).unwrap();
    assert_eq!((kept("GIT_TOKEN").as_str(), kept("API_KEY").as_str()), (ONE, TWO));
    let called = std::fs::read_to_string(place.home().join("called")).unwrap();
    assert!(!called.contains(ONE) && !called.contains(&hex(ONE)), "{called}");
    let servers = place.read("servers.toml");
    assert!(servers.contains("GIT_TOKEN = \"${cmd:security find-generic-password -s tollgate-"), "{servers}");
    assert!(Path::new(&place.project()).join("policies/bundle.yaml").is_file());
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}
