//! The command line as a person meets it: the real binary, its exit codes, and what it says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

#[path = "binary/mod.rs"]
mod binary;
#[path = "cli/connect.rs"]
mod connect;
#[path = "cli/connect_files.rs"]
mod connect_files;
#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/edits.rs"]
mod edits;
#[path = "cli/health.rs"]
mod health;
#[path = "cli/holds.rs"]
mod holds;
#[path = "cli/init_merge.rs"]
mod init_merge;
#[path = "cli/init.rs"]
mod init_of_clients;
#[path = "cli/keychain.rs"]
mod keychain;
#[path = "cli/owner.rs"]
mod owner;
#[path = "cli/policy_commands.rs"]
mod policy_commands;
#[path = "cli/reports.rs"]
mod reports;
#[path = "cli/tls.rs"]
mod tls;

use binary::{shipped, tollgate, tollgate_in_zone, tollgate_with_key};
use serde_json::Value;
use std::path::Path;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn help_teaches_and_lists_what_is_built() {
    let said = tollgate(here(), &["--help"]);
    assert_eq!(said.code, 0);
    let commands = [
        "serve",
        "stdio",
        "check",
        "doctor",
        "health",
        "init",
        "approvals",
        "audit",
        "policy",
        "agents",
        "people",
        "servers",
        "budget",
        "freeze",
        "unfreeze",
        "deadletters",
        "labels",
        "connect",
        "client-config",
        "demo-upstream",
    ];
    for command in commands {
        assert!(said.out.contains(&format!("\n  {command}")), "{command}: {}", said.out);
        let own = tollgate(here(), &[command, "--help"]);
        assert_eq!(own.code, 0, "{command}");
        assert!(own.out.contains("--config"), "{command} takes --config: {}", own.out);
    }
    assert!(said.out.contains("First steps") && said.out.contains("TOLLGATE_KEY"));
    for hidden in ["supervise-child", "contain-child"] {
        assert!(!said.out.contains(&format!("\n  {hidden}")), "{hidden} is not for anybody yet");
    }
    assert_eq!(tollgate(here(), &["--version"]).out.trim(), concat!("tollgate ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_is_2_and_told_on_standard_error() {
    let check = |arguments: &[&str], part: &str| {
        let said = tollgate(here(), arguments);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{arguments:?}: {}", said.err);
        assert!(said.err.contains(part), "{arguments:?}: {}", said.err);
    };
    check(&[], "Usage");
    check(&["nonsense"], "nonsense");
    check(&["stdio"], "--agent");
    check(&["approvals", "list", "--status", "open"], "pending, approved");
    check(&["audit", "query", "--decision", "ALLOW"], "allow_with_constraints");
    check(&["audit", "query", "--since", "yesterday"], "how long ago");
    check(&["audit", "query", "--tz", "Europe/Nowhere"], "Europe/Berlin");
    check(&["audit", "query", "--tool", "files__***"], "only wildcards");
    check(&["audit", "query", "--person", ""], "expected a name");
    check(&["audit", "show", "xyz"], "32 hex digits");
    check(&["audit", "export", "--format", "xml"], "jsonl");
    check(&["client-config", "emacs", "--agent", "x"], "vscode");
    check(&["labels", "clear", "--reason", "r"], "--workflow <NAME>|--agent <NAME>");
}

#[test]
fn check_tells_every_error_at_once_with_its_place() {
    let folder = shipped();
    // What is shipped is an example: nothing in it is even a lint.
    let good = tollgate(folder.path(), &["check", "--strict", "--json"]);
    assert_eq!(good.code, 0, "{}", good.err);
    let told: Value = serde_json::from_str(&good.out).unwrap();
    assert_eq!(told["lints"], serde_json::json!([]), "{told}");
    let good = tollgate(folder.path(), &["check"]);
    assert_eq!(good.code, 0, "{}", good.err);
    assert!(good.out.contains("ok:"), "{}", good.out);

    let servers = folder.path().join("servers.toml");
    let text = std::fs::read_to_string(&servers).unwrap();
    std::fs::write(&servers, format!("{text}\n[nonsense]\nx = 1\n")).unwrap();
    let bundle = folder.path().join("policies/bundle.yaml");
    std::fs::write(&bundle, "version: \"1\"\nowner: me\ndefault_decison: DENY\n").unwrap();
    let bad = tollgate(folder.path(), &["check"]);
    assert_eq!((bad.code, bad.out.as_str()), (1, ""));
    for part in ["nonsense", "servers.toml", "default_decison", "bundle.yaml:3"] {
        assert!(bad.err.contains(part), "{part}: {}", bad.err);
    }
    // Nothing stands before the place of the first.
    assert!(bad.err.starts_with(&folder.path().display().to_string()), "{}", bad.err);
    let json = tollgate(folder.path(), &["check", "--json"]);
    assert_eq!(json.code, 1);
    let told: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(told["ok"], false);
    assert!(told["errors"].as_array().unwrap().len() >= 2, "{told}");
    assert!(told["errors"][0]["line"].is_number());
    for error in told["errors"].as_array().unwrap() {
        assert!(error["line"].as_u64() > Some(0) && error["column"].as_u64() > Some(0), "{error}");
        assert!(!error["expected"].as_str().unwrap().is_empty(), "{error}");
        // The form that editors read.
        let first = format!(
            "{}:{}:{}: error: {}\n",
            error["file"].as_str().unwrap(),
            error["line"],
            error["column"],
            error["message"].as_str().unwrap()
        );
        assert!(bad.err.contains(&first), "{first}{}", bad.err);
    }

    let none = tollgate(folder.path(), &["check", "--config", "elsewhere.toml"]);
    assert_eq!(none.code, 1);
    assert!(none.err.contains("elsewhere.toml"), "{}", none.err);
    // A gateway does not start on files that are wrong either.
    let serve = tollgate(folder.path(), &["serve"]);
    assert_eq!((serve.code, serve.out.as_str()), (1, ""));
    assert!(serve.err.contains("default_decison"), "{}", serve.err);
}

#[test]
fn a_wrong_key_is_never_taken_for_none() {
    let folder = shipped();
    let check = |key: &str, arguments: &[&str], part: &str| {
        let said = tollgate_with_key(folder.path(), key, arguments);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{key} {arguments:?}: {}", said.err);
        assert!(said.err.contains(part), "{key} {arguments:?}: {}", said.err);
        assert!(key.is_empty() || !said.err.contains(key), "a key is never shown");
    };
    for arguments in [
        &["check"][..],
        &["agents", "list"],
        &["approvals", "list"],
        &["audit", "verify"],
        &["budget", "status"],
    ] {
        check("nobodys-key", arguments, "TOLLGATE_KEY");
        check("", arguments, "TOLLGATE_KEY");
        // An agent is no person.
        check("demo-agent-key", arguments, "TOLLGATE_KEY");
    }
    // Making keys is an admin's: alice approves.
    check("demo-alice-key", &["agents", "add", "newcomer"], "admin");
    assert_eq!(tollgate_with_key(folder.path(), "demo-carol-key", &["agents", "add", "newcomer"]).code, 0);
    let keyless = tollgate(folder.path(), &["approvals", "approve", "some-id"]);
    assert_eq!(keyless.code, 1);
    assert!(keyless.err.contains("set TOLLGATE_KEY"), "{}", keyless.err);
}

/// I9: the record is there to be read when something is wrong, the files included.
#[test]
fn the_record_is_read_whatever_the_files_say() {
    let folder = shipped();
    let serving = binary::Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    serving.call("demo-agent-key", "demo__note_read", &serde_json::json!({"path": "/notes/welcome.md"}));
    let authority = folder.path().join("policies/authority.yaml");
    let text = std::fs::read_to_string(&authority).unwrap();
    std::fs::write(&authority, format!("{text}\nnonsense: 1\n")).unwrap();
    let servers = folder.path().join("servers.toml");
    let good = std::fs::read_to_string(&servers).unwrap();
    let unset = "[upstreams.crm]\nurl = \"http://127.0.0.1:1/mcp\"\nheaders = { Authorization = \"Bearer ${NOT_SET_HERE}\" }\n";
    std::fs::write(&servers, format!("{good}\n{unset}")).unwrap();
    for arguments in [&["audit", "verify"][..], &["audit", "query"], &["audit", "export"]] {
        let said = tollgate(folder.path(), arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {}", said.err);
        assert!(said.err.contains("the record is read all the same"), "{arguments:?}: {}", said.err);
        assert!(
            said.out.contains("demo__note_read") || said.out.contains("the chain is whole"),
            "{}",
            said.out
        );
        // Whose a key is cannot be told now.
        let said = tollgate_with_key(folder.path(), "demo-alice-key", arguments);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{arguments:?}");
    }
    // Nobody decides by rules that nobody can read.
    let said = tollgate(folder.path(), &["approvals", "list"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    // Where the store is must be said, and rightly.
    std::fs::write(&servers, good.replace("[gateway]", "[store]\nurl = \"nowhere\"\n[gateway]")).unwrap();
    let said = tollgate(folder.path(), &["audit", "verify"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
}

/// What `check` lets pass, `serve` starts with.
#[test]
fn check_looks_into_the_certificate() {
    let folder = shipped();
    let servers = folder.path().join("servers.toml");
    let text = std::fs::read_to_string(&servers).unwrap();
    let tls = "[gateway]\ntls = { cert = \"c.pem\", key = \"k.pem\" }";
    std::fs::write(&servers, text.replacen("[gateway]", tls, 1)).unwrap();
    for name in ["c.pem", "k.pem"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    let told: Value = serde_json::from_str(&tollgate(folder.path(), &["check", "--json"]).out).unwrap();
    let error = &told["errors"][0];
    assert!(error["message"].as_str().unwrap().contains("holds no PEM certificate"), "{told}");
    assert!(error["line"].as_u64().unwrap() > 0, "{told}");
    let said = tollgate(folder.path(), &["serve"]);
    assert!(said.code == 1 && said.err.contains("holds no PEM certificate"), "{}", said.err);
}

#[test]
fn a_store_that_is_not_there_is_not_made_by_looking() {
    let folder = shipped();
    for arguments in
        [&["audit", "query"][..], &["audit", "verify"], &["approvals", "list"], &["budget", "status"]]
    {
        let said = tollgate(folder.path(), arguments);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{arguments:?}");
        assert!(said.err.contains("there is no store"), "{arguments:?}: {}", said.err);
    }
    assert!(!folder.path().join(".tollgate").exists());
}

/// A listing that stops at its limit says so, and how to go on.
#[test]
fn a_listing_that_stops_says_so() {
    let folder = shipped();
    let serving = binary::Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    // Refusals of three tools, since repeats of one are counted.
    for number in 0..3 {
        serving.call("demo-agent-key", &format!("demo__none_{number}"), &serde_json::json!({}));
    }
    let json = |more: &[&str]| {
        let said = tollgate(
            folder.path(),
            &[&["audit", "query", "--event-type", "agent_decision", "--json"], more].concat(),
        );
        serde_json::from_str::<Value>(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.out))
    };
    let seqs = |listed: &Value| {
        listed["events"].as_array().unwrap().iter().map(|e| e["seq"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let all = json(&[]);
    assert_eq!((seqs(&all).len(), &all["truncated"], &all["next"]), (3, &Value::Bool(false), &Value::Null));
    let newest = json(&["--limit", "2"]);
    assert_eq!((seqs(&newest), &newest["truncated"]), (seqs(&all)[1..].to_vec(), &Value::Bool(true)));
    let rest = json(&["--limit", "2", "--before", &newest["next"].to_string()]);
    assert_eq!((seqs(&rest), &rest["truncated"]), (seqs(&all)[..1].to_vec(), &Value::Bool(false)));
    assert_eq!(seqs(&json(&["--agent", "nobody"])).len(), 0);
    let table = tollgate(folder.path(), &["audit", "query", "--limit", "2"]);
    assert!(table.err.contains("the newest 2 are shown") && table.err.contains("--before"), "{}", table.err);

    // R47: names are globs, too.
    let found = |more: &[&str]| seqs(&json(more)).len();
    assert_eq!(found(&["--tool", "demo__*"]), 3);
    assert_eq!(found(&["--tool", "demo__none_1", "--agent", "demo-*"]), 1);
    assert_eq!(found(&["--tool", "demo__note_w*"]), 0);
    assert_eq!(found(&["--person", "*"]), 0);
    assert_eq!((found(&["--user", "al*"]), found(&["--user", "bob"])), (3, 0));
    assert_eq!(found(&["--approval", "none"]), 0);
    // A time that names no zone is of this machine's: an hour before the first call by a clock that is 14 hours ahead.
    let first: jiff::Timestamp = all["events"][0]["timestamp"].as_str().unwrap().parse().unwrap();
    let local = (first + jiff::SignedDuration::from_hours(13)).strftime("%Y-%m-%dT%H:%M").to_string();
    let since = |zone: &str, time: &str| {
        let query = ["audit", "query", "--event-type", "agent_decision", "--json", "--since", time];
        let said = tollgate_in_zone(folder.path(), zone, &query);
        let listed: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
        seqs(&listed).len()
    };
    assert_eq!(since("AHEAD-14", &local), 3);
    assert_eq!(since("UTC0", &local), 0);
    assert_eq!(since("AHEAD-14", &format!("{local}Z")), 0);
}

#[test]
fn listings_take_json() {
    let folder = shipped();
    let said = tollgate(folder.path(), &["agents", "list", "--json"]);
    let agents: Value = serde_json::from_str(&said.out).unwrap();
    assert!(agents["agents"].as_array().unwrap().iter().any(|agent| agent["id"] == "demo-agent"));
    assert!(!said.out.contains("sha256"), "no digest of a key is shown");
    let table = tollgate(folder.path(), &["agents", "list"]);
    assert!(table.out.contains("demo-agent") && table.out.contains("AGENT"), "{}", table.out);
}

#[test]
fn client_snippets_name_the_agent_and_no_key() {
    let folder = shipped();
    for client in ["claude", "cursor", "vscode", "codex"] {
        let said = tollgate(folder.path(), &["client-config", client, "--agent", "demo-agent"]);
        assert_eq!(said.code, 0, "{client}: {}", said.err);
        assert!(said.out.contains("demo-agent") && said.out.contains("/mcp"), "{client}: {}", said.out);
        assert!(!said.out.contains("demo-agent-key"), "{client}");
    }
    assert_eq!(tollgate(folder.path(), &["client-config", "claude", "--agent", "nobody"]).code, 1);
}

#[test]
fn stdio_keeps_standard_output_for_mcp() {
    let folder = shipped();
    let said = tollgate(folder.path(), &["stdio", "--agent", "demo-agent", "--events", "stdout"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.contains("--events FILE"), "{}", said.err);
    let said = tollgate(folder.path(), &["stdio", "--agent", "nobody"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.contains("`nobody`"), "{}", said.err);
}

/// Runs `tollgate init` in a folder, with a home of its own.
fn init(dir: &std::path::Path, args: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("init")
        .args(args)
        .current_dir(dir)
        .env("HOME", dir.join("home"))
        .env_remove("TOLLGATE_KEY")
        .output()
        .unwrap()
}

fn check(dir: &std::path::Path, env: &[(&str, &str)]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["check", "--json"])
        .current_dir(dir)
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

/// What `init` writes is right as it stands, and nothing that is there is lost.
#[test]
fn init_writes_what_check_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let first = init(dir.path(), &[]);
    assert!(first.status.success(), "{first:?}");
    let checked = tollgate(dir.path(), &["check", "--strict", "--json"]);
    assert_eq!(checked.code, 0, "{}", checked.err);
    let told: Value = serde_json::from_str(&checked.out).unwrap();
    assert_eq!(told["lints"], serde_json::json!([]), "{told}");
    let servers = || std::fs::read_to_string(dir.path().join("servers.toml")).unwrap();
    assert!(servers().contains("demo-upstream"), "{}", servers());
    let before = servers();
    let again = init(dir.path(), &[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("servers.toml"), "{again:?}");
    assert_eq!(servers(), before);
    assert!(init(dir.path(), &["--force"]).status.success());
    assert_eq!(std::fs::read_to_string(dir.path().join("servers.toml.old-1")).unwrap(), before);
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".tollgate-init"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

/// The servers of Claude Code, Claude Desktop, Cursor and VS Code come along, and their secrets do not.
#[test]
fn init_imports_the_servers_of_mcp_clients() {
    let dir = tempfile::tempdir().unwrap();
    let secret = format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        ".mcp.json",
        &format!(
            r#"{{"mcpServers": {{"git": {{"command": "npx", "args": ["git-mcp"], "env": {{"GITHUB_TOKEN": "{secret}", "LOG": "info"}}}}}}}}"#
        ),
    );
    write(
        ".vscode/mcp.json",
        "{ // comments\n \"servers\": { \"web\": { \"type\": \"http\", \"url\": \"https://a.example/mcp\", \"headers\": { \"X-Key\": \"${input:web-key}\" }, }, } }",
    );
    write(
        "home/.cursor/mcp.json",
        &format!(
            r#"{{"mcpServers": {{"git": {{"command": "other"}}, "old": {{"type": "sse", "url": "http://a.example/sse"}},
                "user": {{"url": "https://me:{secret}@a.example/mcp"}}, "query": {{"url": "https://a.example/mcp?page=2&api_key={secret}"}},
                "path": {{"url": "https://a.example/s/{secret}/mcp"}}}}}}"#
        ),
    );
    // Of the project's own servers one was agreed to in its client.
    let here = dir.path().canonicalize().unwrap();
    let agreed =
        serde_json::json!({"projects": {(here.to_str().unwrap()): {"enabledMcpjsonServers": ["git"]}}});
    write("home/.claude.json", &agreed.to_string());
    let dry = init(dir.path(), &["--dry-run"]);
    assert!(dry.status.success(), "{dry:?}");
    let shown = String::from_utf8_lossy(&dry.stdout);
    assert!(!shown.contains(&secret) && shown.contains("user") && shown.contains("left out"), "{shown}");
    write(
        "home/.config/Claude/claude_desktop_config.json",
        r#"{"mcpServers": {"files": {"command": "files-mcp", "args": ["/srv"]}}}"#,
    );
    let done = init(dir.path(), &["--json", "--agent", "my-ide", "--secrets", "none"]);
    assert!(done.status.success(), "{done:?}");
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let names: Vec<&str> =
        told["upstreams"].as_array().unwrap().iter().map(|u| u["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["git", "web", "git-cursor", "old", "query", "path", "files"]);
    assert_eq!(told["skipped"][0]["name"], "user");
    let servers = std::fs::read_to_string(dir.path().join("servers.toml")).unwrap();
    assert!(!servers.contains(&secret) && servers.contains("${GITHUB_TOKEN}"), "{servers}");
    assert!(servers.contains("https://a.example/mcp?page=2&api_key=${QUERY_API_KEY}"), "{servers}");
    assert!(servers.contains("https://a.example/s/${PATH_PATH_2}/mcp"), "{servers}");
    assert!(servers.contains("transport = \"sse\""), "{servers}");
    // What must be set is named, and only the servers that need it do without.
    let missing = check(dir.path(), &[]);
    assert!(missing.status.success(), "{missing:?}");
    let missing = String::from_utf8_lossy(&missing.stdout);
    for (variable, upstream) in [("GITHUB_TOKEN", "git"), ("PATH_PATH_2", "path"), ("QUERY_API_KEY", "query")]
    {
        let lint =
            format!("`${{{variable}}}` is not set in the environment: upstream `{upstream}` is disabled");
        assert!(missing.contains(&lint), "{missing}");
    }
    assert!(!missing.contains("WEB_KEY") && servers.contains("nobody has agreed"), "{missing} {servers}");
    let checked = check(
        dir.path(),
        &[("GITHUB_TOKEN", "x"), ("WEB_KEY", "y"), ("QUERY_API_KEY", "a%20b"), ("PATH_PATH_2", "z")],
    );
    assert!(checked.status.success(), "{checked:?}");
    let authority = std::fs::read_to_string(dir.path().join("policies/authority.yaml")).unwrap();
    assert!(authority.contains("my-ide:") && !authority.contains(told["agent"]["key"].as_str().unwrap()));
}

/// A secret that is an argument of its own is known by the flag before it; the same server of two clients is one, and is on
/// where one of them has it on.
#[test]
fn init_copies_no_secret_argument_and_merges_what_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        ".mcp.json",
        r#"{"mcpServers": {"db": {"command": "db-mcp", "args": ["--password", "Aut0mn77", "--header", "Authorization: Basic Zq3", "-e",
            "APP_TOKEN=ww8", "--dsn=kk5", "${SOME_TOKEN:-jj6}", "--port", "5432"]}, "both": {"command": "both"}, "none": {"command": "none"}}}"#,
    );
    write(".vscode/mcp.json", r#"{"servers": {}}"#);
    write(
        "home/.cursor/mcp.json",
        r#"{"mcpServers": {"both": {"command": "one", "disabled": true}, "twin": {"command": "both"},
            "none": {"command": "none", "disabled": true}}}"#,
    );
    let here = dir.path().canonicalize().unwrap();
    let off = serde_json::json!({"projects": {(here.to_str().unwrap()): {"disabledMcpjsonServers": ["both", "none"]}}});
    write("home/.claude.json", &off.to_string());
    let done = init(dir.path(), &["--json"]);
    assert!(done.status.success(), "{done:?}");
    let text = std::fs::read_to_string(dir.path().join("servers.toml")).unwrap();
    for secret in ["Aut0mn77", "Zq3", "ww8", "kk5", "jj6"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let read: toml::Table = text.parse().unwrap();
    let command: Vec<&str> =
        read["upstreams"]["db"]["command"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    assert_eq!(
        command,
        [
            "db-mcp",
            "--password",
            "${DB_ARG_2}",
            "--header",
            "Authorization: Basic ${DB_ARG_4}",
            "-e",
            "APP_TOKEN=${DB_ARG_6}",
            "--dsn=${DB_ARG_7}",
            "${SOME_TOKEN}",
            "--port",
            "5432",
        ]
    );
    assert!(read["upstreams"]["both"].get("enabled").is_none(), "{text}");
    assert_eq!(read["upstreams"]["none"]["enabled"].as_bool(), Some(false), "{text}");
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let from = told["upstreams"][1]["from"].as_str().unwrap();
    for part in [".cursor/mcp.json (on there)", "`twin`", "off as `both`", "/.mcp.json"] {
        assert!(from.contains(part), "{part}: {from}");
    }
    let skipped = told["skipped"].as_array().unwrap();
    assert!(
        skipped.iter().any(|one| one["reason"] == "it names no server"
            && one["name"].as_str().unwrap().ends_with(".vscode/mcp.json")),
        "{told}"
    );
}

/// A file that cannot be read costs itself only, and is named with its place; one that was asked for stops everything.
#[test]
fn init_names_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mcp.json"), "{\n \"mcpServers\": {\n  \"a\": nonsense\n}}").unwrap();
    std::fs::create_dir(dir.path().join(".cursor")).unwrap();
    std::fs::write(dir.path().join(".cursor/mcp.json"), "").unwrap();
    std::fs::write(
        dir.path().join(".mcp.json"),
        "\u{feff}{\"mcpServers\": {\"good\": {\"command\": \"x\"}}}",
    )
    .unwrap();
    let dry = init(dir.path(), &["--dry-run"]);
    assert!(dry.status.success(), "{dry:?}");
    let said = String::from_utf8_lossy(&dry.stdout);
    for part in ["[upstreams.good]", "mcp.json:3:", "the file is empty"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let done = init(dir.path(), &["--from", "mcp.json"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stderr).contains("mcp.json:3:"), "{done:?}");
    assert!(!dir.path().join("servers.toml").exists() && !dir.path().join("policies").exists());
    let dry = init(dir.path(), &["--dry-run", "--from", "/dev/null"]);
    assert_eq!(dry.status.code(), Some(1));
}

/// `--log-format json` is JSON from the first line to the last.
#[test]
fn a_json_log_is_json_throughout() {
    let folder = shipped();
    let serving = binary::Serving::start(folder.path(), &["--log-format", "json"]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    let mcp = format!("http://{}/mcp", serving.mcp);
    let (code, _, log) = serving.end();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(code == 0 && lines.iter().any(|line| line["mcp"] == mcp.as_str()), "{log}");
}

/// A start that fails says why in a line like the others: what is wrong in the files, a port that is taken, and arguments.
#[test]
fn a_failed_start_is_json_too() {
    let folder = shipped();
    let servers = folder.path().join("servers.toml");
    let good = std::fs::read_to_string(&servers).unwrap();
    let check = |arguments: &[&str], code: i32, part: &str| {
        let said = tollgate(folder.path(), arguments);
        let lines: Vec<Value> = said.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((said.code, lines.len()), (code, 1), "{}", said.err);
        assert!(lines[0]["level"] == "ERROR" && lines[0]["timestamp"].is_string(), "{}", said.err);
        assert!(lines[0]["message"].as_str().unwrap().contains(part), "{}", said.err);
    };
    check(&["serve", "--log-format", "json", "--nothing"], 2, "--nothing");
    check(&["stdio", "--log-format=json", "--agent", "nobody"], 1, "there is no agent `nobody`");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let busy = good.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
    std::fs::write(&servers, busy).unwrap();
    check(&["serve", "--log-format", "json"], 1, "cannot listen on");
    std::fs::write(&servers, "[gateway]\nnonsense = 1\n").unwrap();
    check(&["serve", "--log-format", "json"], 1, "nonsense");
}

/// A table or a rule for a tool that is not there protects nothing: the slip is told with its place, before the gateway has ever
/// run, and `--strict` refuses it.
#[test]
fn check_knows_which_tools_there_are() {
    let folder = shipped();
    let strict = tollgate(folder.path(), &["check", "--strict"]);
    assert_eq!(strict.code, 0, "{}", strict.err);
    let replace = |file: &str, from: &str, to: &str| {
        let path = folder.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    };
    replace("servers.toml", "[upstreams.demo.tools.note_delete]", "[upstreams.demo.tools.note_delte]");
    replace("servers.toml", "sensitive = [\"/body\"]", "sensitive = [\"/bdoy\"]");
    replace(
        "servers.toml",
        "cost_usd = 0.05",
        "cost = { per = [{ argument = \"/qury\", unit = \"KB\", usd = 0.05 }] }",
    );
    replace("policies/authority.yaml", "demo__send_mail", "demo__sendmail");
    replace("policies/budgets.yaml", "match: { tool: demo__search }", "match: { tool: demo__serach }");
    replace("policies/reports.yaml", "reports:read", "reports:raed");
    let expected = [
        ("servers.toml", "lists no tool `note_delte`; did you mean `note_delete`?"),
        ("servers.toml", "takes no argument `bdoy`; did you mean `body`?"),
        ("servers.toml", "takes no argument `qury`; did you mean `query`?: its price cannot be told"),
        ("authority.yaml", "did you mean `demo__send_mail`?"),
        ("budgets.yaml", "did you mean `demo__search`?"),
        ("reports.yaml", "did you mean `reports:read`?"),
    ];
    let advice = tollgate(folder.path(), &["check", "--json"]);
    assert_eq!(advice.code, 0, "{}", advice.err);
    let told: Value = serde_json::from_str(&advice.out).unwrap();
    for (file, part) in expected {
        let lints = told["lints"].as_array().unwrap();
        let fits = |lint: &&Value| {
            lint["file"].as_str().unwrap().ends_with(file)
                && lint["message"].as_str().unwrap().contains(part)
                && lint["line"].as_u64().unwrap() > 0
        };
        assert_eq!(lints.iter().filter(fits).count(), 1, "{file}: {part}: {told}");
    }
    let strict = tollgate(folder.path(), &["check", "--strict", "--json"]);
    assert_eq!(strict.code, 1);
    let told: Value = serde_json::from_str(&strict.out).unwrap();
    assert_eq!((&told["ok"], told["errors"].as_array().unwrap().len()), (&Value::Bool(false), 6), "{told}");
    assert!(!folder.path().join(".tollgate").exists(), "nothing is written");
}

/// An upstream that is known only once it has listed: what it listed is remembered, until it is reached otherwise.
#[test]
fn check_remembers_what_a_server_listed() {
    let folder = shipped();
    let server = folder.path().join("server.sh");
    std::fs::write(&server, format!("exec {} demo-upstream\n", env!("CARGO_BIN_EXE_tollgate"))).unwrap();
    let path = folder.path().join("servers.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text
        .replace("command = [\"tollgate\", \"demo-upstream\"]", "command = [\"sh\", \"server.sh\"]")
        .replace("tools.report]", "tools.raport]");
    std::fs::write(&path, &text).unwrap();
    let lint = "upstream `demo` lists no tool `raport`; did you mean `report`?";
    let unknown = tollgate(folder.path(), &["check"]);
    assert!(unknown.code == 0 && !unknown.out.contains(lint), "{}", unknown.out);
    assert!(unknown.err.contains("what `demo` lists is not known yet"), "{}", unknown.err);

    let serving = binary::Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.text.contains(lint));
    let (code, _, log) = serving.end();
    assert!(code == 0 && log.contains(lint), "{log}");
    assert!(tollgate(folder.path(), &["check"]).out.contains(lint));
    let listed = tollgate(folder.path(), &["servers", "inspect", "demo", "--json"]);
    let told: Value = serde_json::from_str(&listed.out).unwrap();
    assert!(told["lints"][0].as_str().unwrap().contains(lint), "{told}");

    std::fs::write(&path, text.replace("\"server.sh\"", "\"./server.sh\"")).unwrap();
    let other = tollgate(folder.path(), &["check"]);
    assert!(!other.out.contains(lint), "another command is another server: {}", other.out);
    let strict = tollgate(folder.path(), &["check", "--strict"]);
    assert!(strict.code == 1 && strict.err.contains(lint), "{}", strict.err);

    std::fs::write(&path, text.replace("\"server.sh\"", "\"gone.sh\"")).unwrap();
    let smoke = tollgate(folder.path(), &["check", "--smoke"]);
    assert_eq!(smoke.code, 1);
    assert!(
        smoke.err.contains("upstream `demo` does not answer") && smoke.err.contains("gone.sh"),
        "{}",
        smoke.err
    );
}

/// One line of the log for each call, with what was decided and without what was sent.
#[test]
fn the_log_tells_each_call() {
    let folder = shipped();
    let serving = binary::Serving::start(folder.path(), &["--log-format", "json"]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    let call = |tool: &str, arguments: Value| serving.call("demo-agent-key", tool, &arguments);
    call("demo__note_write", serde_json::json!({"path": "/scratch/a.md", "text": "hush-hush"}));
    call("demo__note_delete", serde_json::json!({"path": "/notes/agenda.md"}));
    call("demo__note_write", serde_json::json!({"path": "/notes/b.md", "text": "hush-hush"}));
    call("demo__nothing", serde_json::json!({}));
    for _ in 0..6 {
        call("demo__search", serde_json::json!({"query": "hush-hush"}));
    }
    let (code, _, log) = serving.end();
    assert!(code == 0 && !log.contains("hush-hush"), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let calls: Vec<&Value> = lines.iter().filter(|line| line["message"] == "call.decided").collect();
    let told: Vec<String> = calls
        .iter()
        .map(|line| {
            assert_eq!((&line["agent.id"], &line["level"]), (&"demo-agent".into(), &"INFO".into()), "{line}");
            assert_eq!(line["trace.id"].as_str().map(str::len), Some(32), "{line}");
            assert!(line["duration_ms"].is_u64(), "{line}");
            let word = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
            format!("{} {} {} {}", word("tool"), word("decision"), word("policy.id"), word("outcome"))
        })
        .collect();
    let search = "demo__search allow_with_constraints search succeeded";
    assert_eq!(
        told,
        [
            "demo__note_write allow writes succeeded",
            "demo__note_delete deny deletes -",
            "demo__note_write pending_approval writes -",
            "demo__nothing deny scope -",
            search,
            search,
            search,
            search,
            search,
            "demo__search throttle search-burst -",
        ],
        "{log}"
    );
    let quiet = tollgate(folder.path(), &["audit", "query", "--json"]);
    let events: Value = serde_json::from_str(&quiet.out).unwrap();
    let traces: Vec<&str> =
        events["events"].as_array().unwrap().iter().filter_map(|event| event["trace_id"].as_str()).collect();
    assert!(
        calls.iter().all(|line| traces.contains(&line["trace.id"].as_str().unwrap())),
        "each is on record"
    );
}

/// The way out of a network is written where it is set, by name and not by value; a child gets what is set when it starts.
#[test]
fn init_passes_on_proxies_and_certificates() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join(".mcp.json"),
        r#"{"mcpServers": {"a": {"command": "x", "env": {"NO_PROXY": "own.example"}}, "b": {"url": "https://b.example/mcp"}}}"#,
    )
    .unwrap();
    let said = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("init")
        .current_dir(dir.path())
        .env_clear()
        .env("HOME", dir.path().join("home"))
        .env("https_proxy", "http://me:s3cretpw@proxy.example:3128")
        .env("NO_PROXY", "localhost")
        .env("NODE_EXTRA_CA_CERTS", "/etc/ca.pem")
        .env("REQUESTS_CA_BUNDLE", "")
        .output()
        .unwrap();
    let out = String::from_utf8(said.stdout).unwrap();
    assert!(said.status.success() && out.contains("NO_PROXY, https_proxy, NODE_EXTRA_CA_CERTS"), "{out}");
    let servers = std::fs::read_to_string(dir.path().join("servers.toml")).unwrap();
    assert!(!servers.contains("s3cretpw") && !out.contains("s3cretpw"), "{servers}");
    let read: toml::Table = servers.parse().unwrap();
    let env = read["upstreams"]["a"]["env"].as_table().unwrap();
    assert_eq!(
        env.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect::<Vec<_>>(),
        [
            ("NODE_EXTRA_CA_CERTS", "${NODE_EXTRA_CA_CERTS:-}"),
            ("NO_PROXY", "own.example"),
            ("https_proxy", "${https_proxy:-}"),
        ]
    );
    assert!(read["upstreams"]["b"].get("env").is_none());
}

/// After `init` a person is asked about what a server does not mark as only reading, and about nothing else.
#[test]
fn after_init_reads_are_not_asked_about() {
    let dir = tempfile::tempdir().unwrap();
    let done = init(dir.path(), &["--json"]);
    assert!(done.status.success(), "{done:?}");
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    let key = told["agent"]["key"].as_str().unwrap();
    let path = dir.path().join("servers.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("127.0.0.1:8787", "127.0.0.1:0").replace("127.0.0.1:8788", "127.0.0.1:0");
    std::fs::write(&path, text.replace("approval_wait = \"60s\"", "approval_wait = \"1s\"")).unwrap();
    let serving = binary::Serving::start(dir.path(), &[]);
    let person = told["person"]["key"].as_str().unwrap();
    serving.admin_until_as(person, "/readyz", |answer| answer.status == 200);
    let read = serving.call(key, "demo__notes_read", &serde_json::json!({"path": "/notes/welcome.md"}));
    assert_ne!(read["isError"], true, "{read}");
    let write =
        serving.call(key, "demo__note_write", &serde_json::json!({"path": "/scratch/a.md", "text": "x"}));
    assert_eq!(write["_meta"]["tollgate/decision"]["decision"], "pending_approval", "{write}");
}

/// The newest segment of the shipped store's journal.
fn newest_segment(folder: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(folder.join(".tollgate/tollgate.journal")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|kind| kind == "segment")).max().unwrap()
}

/// I9: nothing goes on behind a damaged record by itself. An admin may say that it does, the record says who and why, and the
/// damage stays named.
#[test]
fn a_damaged_record_goes_on_only_when_an_admin_says_so() {
    let folder = shipped();
    let serving = binary::Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    serving.call("demo-agent-key", "demo__note_read", &serde_json::json!({"path": "/notes/welcome.md"}));
    let (code, _, log) = serving.end();
    assert_eq!(code, 0, "{log}");
    let segment = newest_segment(folder.path());
    let mut bytes = std::fs::read(&segment).unwrap();
    let frames: Vec<usize> =
        bytes.windows(4).enumerate().filter(|(_, part)| *part == b"TGfr").map(|(at, _)| at).collect();
    assert!(frames.len() > 1, "the second frame is to be damaged");
    bytes[frames[1] + 100] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();

    let refused = || {
        let said = tollgate(folder.path(), &["serve"]);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{}", said.err);
        for part in
            ["backup", "tollgate store accept --reason", segment.file_name().unwrap().to_str().unwrap()]
        {
            assert!(said.err.contains(part), "{part}: {}", said.err);
        }
    };
    refused();
    // What is whole is read all the same; what is not is named, and the exit code says so.
    let read = tollgate(folder.path(), &["audit", "query", "--json"]);
    assert_eq!(read.code, 1, "{}", read.err);
    assert!(read.err.contains("was left out") && read.err.contains(".segment"), "{}", read.err);
    let listed: Value = serde_json::from_str(&read.out).unwrap();
    assert!(!listed["events"].as_array().unwrap().is_empty(), "{listed}");
    let exported = tollgate(folder.path(), &["audit", "export"]);
    assert_eq!(exported.code, 1, "{}", exported.err);
    assert!(exported.out.lines().count() > 0 && exported.err.contains("was left out"), "{}", exported.err);
    let named = tollgate(folder.path(), &["audit", "verify"]);
    assert_eq!((named.code, named.out.as_str()), (1, ""), "{}", named.err);
    assert!(named.err.contains(segment.file_name().unwrap().to_str().unwrap()), "{}", named.err);
    assert_eq!(std::fs::read(&segment).unwrap(), bytes, "reading changes nothing");
    // Nobody's word, an approver's and an empty one change nothing.
    let accept = ["store", "accept", "--reason", "no backup of last night"];
    for (key, arguments, part) in [
        (None, &accept[..], "set TOLLGATE_KEY"),
        (Some("demo-alice-key"), &accept[..], "`admin`"),
        (Some("demo-carol-key"), &["store", "accept", "--reason", " "][..], "`--reason` is empty"),
    ] {
        let said = match key {
            Some(key) => tollgate_with_key(folder.path(), key, arguments),
            None => tollgate(folder.path(), arguments),
        };
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{key:?}");
        assert!(said.err.contains(part), "{part}: {}", said.err);
        refused();
        assert_eq!(std::fs::read(&segment).unwrap(), bytes, "{key:?}");
    }

    let said = tollgate_with_key(folder.path(), "demo-carol-key", &accept);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("accepted by carol"), "{}", said.out);
    assert_eq!(std::fs::read(&segment).unwrap(), bytes, "the damaged part stays as it is");
    assert_ne!(newest_segment(folder.path()), segment);
    let serving = binary::Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    serving.call("demo-agent-key", "demo__note_read", &serde_json::json!({"path": "/notes/welcome.md"}));
    assert_eq!(serving.end().0, 0);
    let verified = tollgate(folder.path(), &["audit", "verify"]);
    assert_eq!((verified.code, verified.out.as_str()), (1, ""), "{}", verified.err);

    let query = ["audit", "query", "--event-type", "admin_action", "--json"];
    let listed: Value = serde_json::from_str(&tollgate(folder.path(), &query).out).unwrap();
    let of = |event: &&Value| event["action"] == "damage_accepted";
    let told = listed["events"].as_array().unwrap().iter().find(of).unwrap();
    assert_eq!((&told["action"], &told["actor"]["type"]), (&"damage_accepted".into(), &"person".into()));
    assert_eq!(told["reason"], "no backup of last night", "{listed:#}");
    assert_eq!(told["detail"]["person"], "carol", "{listed:#}");
    assert!(told["detail"]["damage"].as_str().unwrap().contains(".segment"), "{listed:#}");
    // Whole now: there is nothing to accept a second time.
    let again = tollgate_with_key(folder.path(), "demo-carol-key", &accept);
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(again.out.contains("nothing was done"), "{}", again.out);
}

/// Evidence is not removed after less than half a year, unless the file says that it is meant so.
#[test]
fn a_short_retention_is_an_error() {
    let folder = shipped();
    let servers = folder.path().join("servers.toml");
    let text = std::fs::read_to_string(&servers).unwrap();
    assert!(text.contains("[store]\n"));
    let check = |store: &str, problem: Option<&str>| {
        std::fs::write(&servers, text.replacen("[store]\n", &format!("[store]\n{store}\n"), 1)).unwrap();
        let told: Value = serde_json::from_str(&tollgate(folder.path(), &["check", "--json"]).out).unwrap();
        let errors = told["errors"].as_array().unwrap();
        let Some(problem) = problem else { return assert!(errors.is_empty(), "{store}: {told}") };
        assert_eq!(errors.len(), 1, "{store}: {told}");
        assert!(errors[0]["message"].as_str().unwrap().contains(problem), "{store}: {told}");
        assert!(errors[0].to_string().contains("allow_short_retention"), "{store}: {told}");
    };
    check("", None);
    check("retention = \"forever\"", None);
    check("retention = \"180d\"", None);
    check("retention = \"179d\"", Some("removes evidence after"));
    check("retention = \"30d\"\nallow_short_retention = false", Some("removes evidence after"));
    check("retention = \"30d\"\nallow_short_retention = true", None);
}

/// Completions and manual pages are made of what can be typed.
#[test]
fn completions_and_manual_pages_know_every_command() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = tollgate(dir.path(), &["completions", shell]);
        assert_eq!(said.code, 0, "{shell}: {}", said.err);
        assert!(said.out.contains("checkpoint") && said.out.contains("simulate"), "{shell}");
    }
    let said = tollgate(dir.path(), &["man", "pages/man1"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let help = tollgate(dir.path(), &["--help"]).out;
    let listed = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let names = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names: Vec<&str> = names.filter(|name| !name.is_empty() && *name != "help").collect();
    assert!(names.len() > 12, "{names:?}");
    for name in names {
        let page = dir.path().join(format!("pages/man1/tollgate-{name}.1"));
        let text = std::fs::read_to_string(&page).unwrap_or_default();
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{name}");
    }
    let hidden = dir.path().join("pages/man1/tollgate-supervise-child.1");
    assert!(!hidden.exists(), "what is started by itself has no page");
}
