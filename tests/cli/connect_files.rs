//! `tollgate connect` beside the client's other files: what they still start is named, and what they forbid, too.

use super::connect::{Machine, put};
use serde_json::{Value, json};
use std::path::Path;

fn read(file: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn governed() -> Value {
    json!({"command": "no-such-program", "args": ["/srv/docs"]})
}

/// Claude Code keeps the servers of every project in one file.
#[test]
fn every_project_of_a_file_is_looked_at() {
    let machine = Machine::new();
    let file = machine.home.path().join(".claude.json");
    let before = json!({
        "mcpServers": {},
        "projects": {
            "/some/proj": {"mcpServers": {"files": governed(), "own": {"command": "own"}}, "history": [1]},
            "/other": {"mcpServers": {"docs": governed()}},
            "/none": {},
        },
        "more": true,
    });
    put(&file, &before.to_string());
    let told = machine.json(&["connect", "claude", "--agent", "demo-agent", "--no-check"]);
    let removed: Vec<&str> =
        told["removed"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(removed, ["files", "docs"], "{told}");
    assert_eq!(told["round"][0]["name"], "own (of /some/proj)", "{told}");
    let now = read(&file);
    assert_eq!(now["projects"]["/some/proj"]["mcpServers"], json!({"own": {"command": "own"}}));
    assert_eq!(now["projects"]["/other"]["mcpServers"], json!({}));
    assert!(now["mcpServers"]["tollgate"].is_object() && now["more"] == true, "{now}");
    // What somebody changed since stays, and what went out comes back.
    put(&file, &now.to_string().replace("\"more\":true", "\"more\":false"));
    let undone = machine.json(&["connect", "claude", "--undo"]);
    assert_eq!(undone["changed_since"], true, "{undone}");
    let mut expect = before.clone();
    expect["more"] = json!(false);
    assert_eq!(read(&file), expect);
}

/// A file that is written says nothing of the client's other files.
#[test]
fn what_other_files_of_the_client_start_is_named() {
    let machine = Machine::new();
    let here = machine.project.path().canonicalize().unwrap();
    let home = |name: &str| machine.home.path().join(name);
    put(&here.join(".mcp.json"), "{\"mcpServers\": {}}");
    put(
        &home(".claude.json"),
        &json!({
            "mcpServers": {"files": governed(), "off": {"command": "x", "disabled": true}},
            "projects": {here.to_str().unwrap(): {"mcpServers": {"mine": {"command": "mine"}}}, "/other": {"mcpServers": {"far": governed()}}},
        })
        .to_string(),
    );
    let connect = |client: &str, more: &[&str]| {
        machine.json(&[&["connect", client, "--agent", "demo-agent", "--no-check"], more].concat())
    };
    let told = connect("claude", &[]);
    assert_eq!(told["scope"], "project", "{told}");
    let elsewhere = told["elsewhere"].as_array().unwrap();
    let named: Vec<&str> = elsewhere.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(named, ["files", "mine"], "{told}");
    assert_eq!((&elsewhere[0]["upstream"], &elsewhere[1]["upstream"]), (&json!("files"), &Value::Null));
    assert!(elsewhere[0]["file"].as_str().unwrap().ends_with(".claude.json"), "{told}");
    assert!(told["next"].to_string().contains("connect claude --agent demo-agent --scope user"), "{told}");
    connect("claude", &["--scope", "user"]);
    let again = connect("claude", &[]);
    assert_eq!(again["elsewhere"].as_array().unwrap().len(), 1, "{again}");
    let said = machine.run(&["connect", "claude", "--agent", "demo-agent", "--dry-run", "--scope", "user"]);
    assert!(said.code == 0 && !said.out.contains("STILL STARTED"), "{}", said.out);

    // VS Code, and the other way round: the person's file is written, the project's is named.
    put(&here.join(".vscode/mcp.json"), &json!({"servers": {"files": governed()}}).to_string());
    let told = connect("vscode", &["--scope", "user"]);
    assert_eq!(told["elsewhere"][0]["upstream"], "files", "{told}");
    let said = machine.run(&["connect", "vscode", "--agent", "demo-agent", "--no-check", "--scope", "user"]);
    assert!(said.out.contains("--scope project"), "{}", said.out);
    connect("vscode", &[]);
    assert_eq!(connect("vscode", &["--scope", "user"])["elsewhere"], json!([]));
}

/// Claude Code reads the .mcp.json of every folder above, too.
#[test]
fn files_of_the_folders_above_are_named() {
    let machine = Machine::new();
    let above = machine.project.path().to_owned();
    put(&above.join(".mcp.json"), &json!({"mcpServers": {"files": governed()}}).to_string());
    let below = above.join("a/b");
    std::fs::create_dir_all(&below).unwrap();
    let said =
        machine.run_in(&below, &["connect", "claude", "--agent", "demo-agent", "--no-check", "--json"]);
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(told["elsewhere"][0]["upstream"], "files", "{told}");
    let init = machine.run_in(&below, &["init", "--dry-run", "--json"]);
    let told: Value = serde_json::from_str(&init.out).unwrap();
    assert!(told["skipped"].to_string().contains("Claude Code loads it here"), "{told}");
}

/// Where what is governed goes out of a project in which Tollgate is switched off, Tollgate is switched on there, and goes back.
#[test]
fn no_project_is_left_without_its_servers() {
    let machine = Machine::new();
    let file = machine.home.path().join(".claude.json");
    let off = |more: Value| json!({"disabledMcpServers": ["tollgate", "x"], "mcpServers": more});
    let projects = json!({"/some/proj": off(json!({"files": governed()})), "/other": off(json!({}))});
    let before = serde_json::to_string_pretty(&json!({"projects": projects})).unwrap();
    put(&file, &before);
    let told = machine.json(&["connect", "claude", "--agent", "demo-agent", "--no-check"]);
    let now = json_of(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(now["projects"]["/some/proj"]["disabledMcpServers"], json!(["x"]), "{told}");
    assert_eq!(now["projects"]["/some/proj"]["mcpServers"], json!({}), "{told}");
    // Nothing goes out there: what a person switched off stays off.
    assert_eq!(now["projects"]["/other"], projects["/other"], "{told}");
    machine.json(&["connect", "claude", "--undo"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
}

/// A list of the servers that may be started is made to have Tollgate, and goes back.
#[test]
fn lists_of_names_take_tollgate_in() {
    let machine = Machine::new();
    let file = machine.home.path().join(".gemini/settings.json");
    let before = "{\n  \"mcp\": {\n    \"allowed\": [\"gem\"], // mine\n    \"excluded\": [\"x\", \"tollgate\"]\n  },\n  \"mcpServers\": { \"gem\": { \"command\": \"gem\" } }\n}\n";
    put(&file, before);
    let shown = machine.run(&["connect", "gemini", "--agent", "demo-agent", "--dry-run"]);
    assert!(shown.out.contains("+    \"allowed\": [\"gem\", \"tollgate\"], // mine"), "{}", shown.out);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    let told = machine.json(&["connect", "gemini", "--agent", "demo-agent"]);
    assert_eq!(told["forbids"], json!([]), "{told}");
    let now: Value = json_of(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(now["mcp"], json!({"allowed": ["gem", "tollgate"], "excluded": ["x"]}));
    let again = machine.json(&["connect", "gemini", "--agent", "demo-agent", "--no-check"]);
    assert_eq!(again["changes"], false, "{again}");
    // Beside what somebody has changed since, the lists go back, too.
    let text = std::fs::read_to_string(&file).unwrap();
    put(&file, &text.replace("\"gem\": {", "\"gem2\": {"));
    machine.json(&["connect", "gemini", "--undo"]);
    let back = json_of(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(back["mcp"], json!({"allowed": ["gem"], "excluded": ["x", "tollgate"]}));
    assert_eq!(back["mcpServers"], json!({"gem2": {"command": "gem"}}));
    // Byte by byte where nobody has.
    put(&file, before);
    machine.json(&["connect", "gemini", "--agent", "demo-agent", "--no-check"]);
    machine.json(&["connect", "gemini", "--undo"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
}

fn json_of(text: &str) -> Value {
    let plain: String = text.lines().map(|line| line.split(" //").next().unwrap()).collect();
    serde_json::from_str(&plain).unwrap()
}

/// What another file forbids is said, and that the start works is not.
#[test]
fn what_another_file_forbids_is_said() {
    let machine = Machine::new();
    put(&machine.project.path().join(".mcp.json"), "{}");
    put(
        &machine.project.path().join(".claude/settings.json"),
        "{\"disabledMcpjsonServers\": [\"tollgate\"]}",
    );
    let said = machine.run(&["connect", "claude", "--agent", "demo-agent"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("`disabledMcpjsonServers` has it"), "{}", said.out);
    assert!(!said.out.contains("the client's start works"), "{}", said.out);
}

/// A history of Claude Code is large.
#[test]
fn a_large_file_of_a_client_is_read_and_written() {
    let machine = Machine::new();
    let file = machine.home.path().join(".claude.json");
    let line = "words and more words of a prompt, ".repeat(30);
    let history: Vec<Value> = (0..24_000).map(|n| json!({"display": format!("{n} {line}")})).collect();
    let text = json!({"mcpServers": {"files": governed()}, "projects": {"/some/proj": {"history": history, "mcpServers": {"own": {"command": "own"}}}}});
    let before = serde_json::to_string_pretty(&text).unwrap();
    assert!(before.len() > 20 << 20, "{}", before.len());
    put(&file, &before);
    let init = machine.run(&["init", "--dry-run", "--json"]);
    let found: Value = serde_json::from_str(&init.out).unwrap();
    assert!(found["upstreams"].to_string().contains("own"), "{found}");
    let told = machine.json(&["connect", "claude", "--agent", "demo-agent", "--no-check"]);
    assert_eq!(
        (&told["removed"][0]["name"], &told["round"][0]["name"]),
        (&json!("files"), &json!("own (of /some/proj)"))
    );
    machine.json(&["connect", "claude", "--undo"]);
    assert!(std::fs::read_to_string(&file).unwrap() == before);
}

/// What is no file is named, and nothing waits for it.
#[test]
fn what_is_no_file_is_named() {
    let machine = Machine::new();
    let here = machine.project.path();
    let file = here.join(".mcp.json");
    let said = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(said.success());
    std::fs::create_dir_all(machine.home.path().join(".claude.json")).unwrap();
    std::fs::create_dir_all(here.join(".vscode")).unwrap();
    std::os::unix::fs::symlink("mcp.json", here.join(".vscode/mcp.json")).unwrap();
    let said = machine.run(&["connect", "claude", "--agent", "demo-agent", "--scope", "project"]);
    assert!(said.code == 1 && said.err.contains(".mcp.json` is no file"), "{}", said.err);
    let init = machine.run(&["init", "--dry-run", "--json"]);
    let told: Value = serde_json::from_str(&init.out).unwrap();
    let skipped = told["skipped"].as_array().unwrap();
    for name in [".mcp.json", ".claude.json", ".vscode/mcp.json"] {
        assert!(skipped.iter().any(|one| one["file"].as_str().unwrap().ends_with(name)), "{name}: {told}");
    }
}

/// Files of a fleet are added to, shown, and put back.
#[test]
fn files_of_a_fleet_keep_what_is_there() {
    let machine = Machine::new();
    let folder = machine.project.path().join("fleet");
    let named = folder.display().to_string();
    let managed = |client: &str, more: &[&str]| {
        let first: &[&str] = if more.contains(&"--undo") {
            &["connect", client]
        } else {
            &["connect", client, "--agent", "demo-agent"]
        };
        machine.run(&[first, &["--managed", &named], more].concat())
    };
    let shown = managed("claude", &["--dry-run"]);
    assert!(
        shown.code == 0 && shown.out.contains("+  \"allowManagedMcpServersOnly\": true"),
        "{}",
        shown.out
    );
    assert!(shown.out.contains("Nothing was written") && !folder.exists(), "{}", shown.out);
    assert!(shown.out.contains("WARNING") && shown.out.contains("public_url"), "{}", shown.out);

    let settings = "{\n  // ours\n  \"permissions\": { \"deny\": [\"x\"] },\n  \"allowedMcpServers\": [{ \"serverName\": \"own\" }]\n}\n";
    put(&folder.join("managed-settings.json"), settings);
    let told: Value = serde_json::from_str(&managed("claude", &["--stdio", "--json"]).out).unwrap();
    assert_eq!((&told["written"], &told["warning"]), (&json!(true), &Value::Null), "{told}");
    assert_eq!(told["files"][1]["beside"], json!(["{\"serverName\":\"own\"}"]), "{told}");
    let text = std::fs::read_to_string(folder.join("managed-settings.json")).unwrap();
    assert!(text.starts_with("{\n  // ours\n  \"permissions\": { \"deny\": [\"x\"] },\n"), "{text}");
    let now = json_of(&text.replace("  // ours\n", ""));
    assert_eq!(now["allowedMcpServers"].as_array().unwrap().len(), 2, "{now}");
    assert_eq!(now["allowedMcpServers"][1]["serverCommand"][0], env!("CARGO_BIN_EXE_tollgate"), "{now}");
    let copy = told["files"][1]["backup"].as_str().unwrap();
    assert_eq!(std::fs::read_to_string(copy).unwrap(), settings);
    let again: Value = serde_json::from_str(&managed("claude", &["--stdio", "--json"]).out).unwrap();
    assert_eq!(again["changes"], false, "{again}");
    let undone = managed("claude", &["--undo"]);
    assert_eq!(undone.code, 0, "{}", undone.err);
    assert_eq!(std::fs::read_to_string(folder.join("managed-settings.json")).unwrap(), settings);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "what was not there is not there");
    assert!(managed("claude", &["--undo"]).err.contains("nothing to undo"));

    // What somebody changed since is not written over, and what cannot be added to is left alone.
    managed("claude", &["--stdio"]);
    put(&folder.join("managed-settings.json"), "{}");
    let refused = managed("claude", &["--undo"]);
    assert!(refused.code == 1 && refused.err.contains("before-tollgate-1"), "{}", refused.err);
    for (client, name, text) in [
        ("gemini", "settings.json", "{\"mcp\": []}"),
        ("codex", "requirements.toml", "mcp_servers = 1\n"),
        ("claude", "managed-settings.json", "{ broken"),
    ] {
        put(&folder.join(name), text);
        let refused = managed(client, &[]);
        assert!(refused.code == 1 && refused.err.contains(name), "{client}: {}", refused.err);
        assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), text);
    }
    put(&folder.join("settings.json"), "{\"ui\": {\"theme\": \"x\"}, \"mcp\": {\"allowed\": [\"own\"]}}");
    managed("gemini", &[]);
    let now = read(&folder.join("settings.json"));
    assert_eq!((&now["ui"]["theme"], &now["mcp"]["allowed"]), (&json!("x"), &json!(["own", "tollgate"])));
    put(&folder.join("requirements.toml"), "# ours\n[mcp_servers.own.identity]\ncommand = \"own\"\n");
    managed("codex", &[]);
    let text = std::fs::read_to_string(folder.join("requirements.toml")).unwrap();
    assert!(text.starts_with("# ours\n[mcp_servers.own.identity]\n") && text.contains("tollgate"), "{text}");
}

/// An empty file was there, and a broken one does not hide the copy.
#[test]
fn an_undo_of_an_empty_file_and_of_a_broken_one() {
    let machine = Machine::new();
    let file = machine.project.path().join(".mcp.json");
    put(&file, "");
    machine.json(&["connect", "claude", "--agent", "demo-agent", "--no-check"]);
    assert_eq!(machine.json(&["connect", "claude", "--undo"])["removed_file"], false);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
    machine.json(&["connect", "claude", "--agent", "demo-agent", "--no-check"]);
    put(&file, "{ broken");
    let said = machine.run(&["connect", "claude", "--undo"]);
    assert!(said.code == 1 && said.err.contains(".mcp.json.before-tollgate-1"), "{}", said.err);
}

/// What is written does not lead through a version or another folder.
#[test]
fn the_program_and_its_file_are_named_plainly() {
    let machine = Machine::new();
    let link = machine.home.path().canonicalize().unwrap().join("tollgate");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tollgate"), &link).unwrap();
    let gateway = machine.gateway.path().canonicalize().unwrap();
    let said = std::process::Command::new(&link)
        .arg("--config")
        .arg(gateway.join("policies/../servers.toml"))
        .args(["connect", "cursor", "--agent", "demo-agent", "--no-check", "--json"])
        .current_dir(machine.project.path())
        .env("HOME", machine.home.path())
        .env_remove("TOLLGATE_KEY")
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    let written = read(Path::new(told["file"].as_str().unwrap()));
    let entry = &written["mcpServers"]["tollgate"];
    assert_eq!(entry["command"], link.to_str().unwrap());
    assert_eq!(entry["args"][1], gateway.join("servers.toml").to_str().unwrap());
}
