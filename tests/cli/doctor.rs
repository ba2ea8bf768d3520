//! `tollgate doctor` on machines with something wrong: the real binary, with a home folder of its own.

use crate::binary::{Serving, shipped};
use serde_json::{Value, json};
use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

fn doctor(folder: &Path, home: &Path) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["doctor", "--json"])
        .current_dir(folder)
        .env_remove("TOLLGATE_KEY")
        .env("HOME", home)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = serde_json::from_slice(&output.stdout);
    (
        output.status.code().unwrap(),
        told.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))),
    )
}

/// What was found in one area, where it is not well: each with what to do.
fn complaints(told: &Value, area: &str, state: &str) -> Vec<String> {
    let checks = told["checks"].as_array().unwrap().iter();
    let mut found = Vec::new();
    for check in checks.filter(|check| check["area"] == area && check["state"] == state) {
        assert!(check["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{check}");
        found.push(format!("{}: {}", check["what"].as_str().unwrap(), check["found"].as_str().unwrap()));
    }
    found
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The shipped example: nothing is wrong with it, though its keys are for anybody to read.
#[test]
fn a_machine_in_order() {
    let (folder, home) = (shipped(), tempfile::tempdir().unwrap());
    mode(&folder.path().join("servers.toml"), 0o644);
    mode(&folder.path().join("policies"), 0o755);
    let serving = Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    let (code, told) = doctor(folder.path(), home.path());
    assert_eq!((code, &told["ok"]), (0, &json!(true)), "{told:#}");
    assert_eq!(complaints(&told, "keys", "advice").len(), 1, "{told:#}");
    // What the gateway makes itself is as it should be.
    assert_eq!(complaints(&told, "files", "advice"), Vec::<String>::new(), "{told:#}");
    for area in ["files", "keys", "ports", "clock", "disk", "upstreams", "clients"] {
        assert!(
            told["checks"].as_array().unwrap().iter().any(|check| check["area"] == area),
            "{area}: {told:#}"
        );
    }
    let clock = told["checks"].as_array().unwrap().iter().find(|check| check["area"] == "clock").unwrap();
    assert!(clock["found"].as_str().unwrap().contains("after the newest record"), "{clock}");
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    let (folder, home) = (shipped(), tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = std::fs::read_to_string(at("servers.toml")).unwrap();
    let text = text.replacen("127.0.0.1:0", &taken.local_addr().unwrap().to_string(), 1);
    let more = "\n[upstreams.gone]\ncommand = [\"no-such-program\"]\n[upstreams.far]\nurl = \"http://127.0.0.1:1/mcp\"\n\
                [upstreams.unset]\ncommand = [\"x\", \"${NO_SUCH_VARIABLE}\"]\n[upstreams.off]\nenabled = false\ncommand = [\"x\"]\n";
    write(&at("servers.toml"), &(text + more));
    mode(&at("servers.toml"), 0o664);
    write(&at("secrets.env"), "A=b\n");
    mode(&at("secrets.env"), 0o644);
    write(&at(".tollgate/x"), "");
    mode(&at(".tollgate"), 0o755);
    // Clients of every kind: the ones that go round the gateway are named with what they reach.
    for (name, text) in [
        (
            ".cursor/mcp.json",
            r#"{"mcpServers": {"direct": {"command": "npx"}, "gate": {"command": "/usr/bin/tollgate"}, "off": {"command": "x", "disabled": true}}}"#,
        ),
        (".codex/config.toml", "[mcp_servers.docs]\ncommand = 'npx'\n"),
        (
            ".gemini/settings.json",
            r#"{"theme": "x", "mcpServers": {"web": {"httpUrl": "https://a.example/mcp"}}}"#,
        ),
        (
            ".config/zed/settings.json",
            r#"{"context_servers": {"own": {"command": {"path": "/usr/bin/tollgate", "args": []}}}}"#,
        ),
        (".codeium/windsurf/mcp_config.json", "{ broken"),
        (
            ".cline/data/settings/cline_mcp_settings.json",
            r#"{"mcpServers": {"odd": {"type": "ws", "url": "https://a.example/mcp"}, "gate": {"command": "/usr/bin/tollgate"}}}"#,
        ),
    ] {
        write(&home.path().join(name), text);
    }
    let (code, told) = doctor(folder.path(), home.path());
    assert_eq!((code, &told["ok"]), (1, &json!(false)), "{told:#}");
    let wrong = |area: &str| complaints(&told, area, "wrong").join("\n");
    for part in ["servers.toml: mode 0664", "secrets.env: mode 0644", ".tollgate: mode 0755"] {
        assert!(wrong("files").contains(part), "{part}: {}", wrong("files"));
    }
    assert!(wrong("ports").contains("another program has it"), "{}", wrong("ports"));
    let upstreams = wrong("upstreams");
    for part in [
        "gone: its program `no-such-program`",
        "far: 127.0.0.1:1 cannot be reached",
        "unset: not started",
        "NO_SUCH_VARIABLE",
    ] {
        assert!(upstreams.contains(part), "{part}: {upstreams}");
    }
    assert!(!upstreams.contains("off:"), "{upstreams}");
    let clients = wrong("clients");
    for part in ["without the gateway: direct", "without the gateway: docs", "without the gateway: web"] {
        assert!(clients.contains(part), "{part}: {clients}");
    }
    assert!(!clients.contains("gate,") && !clients.contains("off") && !clients.contains("zed"), "{clients}");
    let unknown = complaints(&told, "clients", "advice").join("\n");
    assert!(unknown.contains("mcp_config.json"), "{told:#}");
    // What cannot be read is not said to go through the gateway.
    assert!(
        unknown.contains("odd (its type is `ws`") && unknown.contains("cline_mcp_settings.json"),
        "{unknown}"
    );
    let settings = told["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["what"].as_str().unwrap().contains("cline"));
    assert_eq!(settings.count(), 1, "{told:#}");
}

/// Files that cannot be read at all: what can be looked at is.
#[test]
fn broken_files_are_one_finding() {
    let (folder, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (code, told) = doctor(folder.path(), home.path());
    assert_eq!(code, 1);
    assert!(complaints(&told, "files", "wrong").join("").contains("cannot be read"), "{told:#}");
    assert!(told["checks"].as_array().unwrap().iter().any(|check| check["area"] == "clients"), "{told:#}");
}

/// Claude Code's own file has servers of every project, and it loads files of the folders above.
#[test]
fn servers_of_every_project_are_named() {
    let (folder, home, other) = (shipped(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let here = folder.path().join("below");
    write(&here.join("servers.toml"), &std::fs::read_to_string(folder.path().join("servers.toml")).unwrap());
    write(&folder.path().join(".mcp.json"), r#"{"mcpServers": {"above": {"command": "x"}}}"#);
    write(
        &other.path().join(".mcp.json"),
        r#"{"mcpServers": {"agreed": {"command": "x"}, "not": {"command": "x"}}}"#,
    );
    let [by_settings, all_on] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for (project, settings) in [
        (&by_settings, json!({"enabledMcpjsonServers": ["by-settings"]})),
        (&all_on, json!({"enableAllProjectMcpServers": true})),
    ] {
        let servers = json!({"mcpServers": {"by-settings": {"command": "x"}, "of-all": {"command": "x"}}});
        write(&project.path().join(".mcp.json"), &servers.to_string());
        write(&project.path().join(".claude/settings.local.json"), &settings.to_string());
    }
    let projects = json!({
        by_settings.path().to_str().unwrap(): {},
        all_on.path().to_str().unwrap(): {},
        "/some/proj": {"mcpServers": {"theirs": {"command": "x"}, "off": {"command": "x", "disabled": true}}},
        other.path().to_str().unwrap(): {"enabledMcpjsonServers": ["agreed"]},
    });
    let own = json!({"mcpServers": {"gate": {"command": "/usr/bin/tollgate", "args": ["stdio"]}}, "projects": projects});
    write(&home.path().join(".claude.json"), &own.to_string());
    let settings = json!({"deniedMcpServers": [{"serverName": "gate"}]}).to_string();
    write(&home.path().join(".claude/settings.json"), &settings);
    write(
        &home.path().join(".gemini/settings.json"),
        r#"{"mcp": {"allowed": ["x"]}, "mcpServers": {"tollgate": {"command": "/usr/bin/tollgate"}}}"#,
    );
    let (_, told) = doctor(&here, home.path());
    let wrong = complaints(&told, "clients", "wrong").join("\n");
    for part in ["gateway: theirs (of /some/proj)", "gateway: agreed", "gateway: above"] {
        assert!(wrong.contains(part), "{part}: {told:#}");
    }
    assert!(!wrong.contains("off") && !wrong.contains("not,"), "{wrong}");
    // One project's settings start one of its servers, another's start all.
    assert_eq!((wrong.matches("by-settings").count(), wrong.matches("of-all").count()), (2, 1), "{wrong}");
    let advice = complaints(&told, "clients", "advice").join("\n");
    assert!(
        advice.contains("`deniedMcpServers` has it") && advice.contains("tollgate is switched off"),
        "{advice}"
    );
}
