//! `tollgate init` as a newcomer meets it: nine clients' files, secrets, servers that are really started, and what is asked
//! about afterwards.

use super::binary::{Serving, pipe, tollgate};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Output,
};

/// A home folder and a project in it.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(place.project()).unwrap();
        place
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.home().join("work/app")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.home().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.project().join(name)).unwrap()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, &[])
    }

    /// The same, with variables.
    pub(crate) fn run_with(&self, arguments: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(arguments).current_dir(self.project()).env("HOME", self.home());
        for name in ["TOLLGATE_KEY", "XDG_CONFIG_HOME", "CODEX_HOME", "CLAUDE_CONFIG_DIR"] {
            command.env_remove(name);
        }
        command.envs(env.iter().copied()).stdin(std::process::Stdio::null()).output().unwrap()
    }

    /// `init --json` with these flags.
    pub(crate) fn init(&self, arguments: &[&str]) -> Value {
        let done = self.run(&[&["init", "--json"], arguments].concat());
        assert!(done.status.success(), "{done:?}");
        serde_json::from_slice(&done.stdout).unwrap()
    }

    pub(crate) fn servers(&self) -> toml::Table {
        let text = self.read("servers.toml");
        text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// The listeners on ports that are free, and a short wait for people.
    fn on_free_ports(&self) {
        let text = self.read("servers.toml").replace("127.0.0.1:8787", "127.0.0.1:0");
        let text = text.replace("127.0.0.1:8788", "127.0.0.1:0").replace("\"60s\"", "\"1s\"");
        std::fs::write(self.project().join("servers.toml"), text).unwrap();
    }
}

const SECRET: &str = "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8";

fn nine_clients(place: &Place) {
    place.write(
        ".config/Claude/claude_desktop_config.json",
        &json!({"mcpServers": {
            "files": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/srv"]},
            "My Server!": {"command": "mine"},
            "gate": {"command": "/usr/local/bin/tollgate", "args": ["stdio", "--agent", "agent"]},
        }})
        .to_string(),
    );
    let (app, other) = (place.project(), place.home().join("work/other"));
    place.write(
        ".claude.json",
        &json!({
            "numStartups": 3,
            "mcpServers": {"everywhere": {"type": "stdio", "command": "everywhere", "args": [], "env": {}}},
            "projects": {
                (app.to_str().unwrap()): {
                    "mcpServers": {"local": {"type": "stdio", "command": "./local.sh"}},
                    "disabledMcpServers": ["everywhere"],
                    "disabledMcpjsonServers": ["quiet"],
                },
                (other.to_str().unwrap()): {
                    "mcpServers": {"local": {"command": "other-local"}},
                    "enabledMcpjsonServers": ["agreed"],
                },
            },
        })
        .to_string(),
    );
    place.write(
        "work/app/.mcp.json",
        r#"{"mcpServers": {"api": {"type": "http", "url": "https://${API_HOST:-api.example}/mcp", "headers": {"X-Org": "${ORG}"}},
            "quiet": {"command": "quiet"}}}"#,
    );
    place.write(
        "work/other/.mcp.json",
        r#"{"mcpServers": {"agreed": {"command": "agreed"}, "never": {"command": "never"}}}"#,
    );
    place.write(
        ".cursor/mcp.json",
        &format!(
            r#"{{"mcpServers": {{"files": {{"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/srv"]}},
                "github": {{"command": "github-mcp", "env": {{"GITHUB_PERSONAL_ACCESS_TOKEN": "{SECRET}"}}}},
                "loop": {{"url": "http://localhost:8787/mcp"}}}}}}"#
        ),
    );
    place.write(
        "work/app/.vscode/mcp.json",
        "{\n  // asked for\n  \"inputs\": [\n    { \"id\": \"db-url\", \"type\": \"promptString\", \"description\": \"Where the database is\", \"password\": true },\n    \
         { \"id\": \"region\", \"type\": \"pickString\", \"options\": [\"eu\", \"us\"], \"default\": \"eu\" },\n  ],\n  \"servers\": {\n    \
         \"db\": { \"type\": \"stdio\", \"command\": \"${workspaceFolder}/bin/db\", \"args\": [\"--region\", \"${input:region}\"],\n      \
         \"env\": { \"DB\": \"${input:db-url}\" }, \"envFile\": \"${workspaceFolder}/.env\", \"cwd\": \"${userHome}/data\" }, /* last, */\n  },\n}\n",
    );
    place.write(
        ".codex/config.toml",
        "model = 'x'\n[mcp_servers.docs]\nurl = 'https://docs.example/mcp'\nbearer_token_env_var = 'DOCS_TOKEN'\n\
         [mcp_servers.old]\ncommand = 'old'\nenabled = false\nenv = { LEVEL = 'info' }\nenv_vars = ['PASSED']\n",
    );
    place.write(
        ".gemini/settings.json",
        r#"{"theme": "x", "mcpServers": {"github": {"command": "github-mcp", "args": ["--other"], "trust": true},
            "web": {"httpUrl": "https://web.example/mcp", "headers": {"K": "$WEB_LEVEL"}, "includeTools": ["fetch"]}}}"#,
    );
    place.write(
        ".config/zed/settings.json",
        "// Zed\n{ \"vim_mode\": true, \"context_servers\": { \"zed-one\": { \"source\": \"custom\", \"command\": \"zed-one\", \"args\": [], \"env\": {} }, }, }",
    );
    place.write(
        ".codeium/windsurf/mcp_config.json",
        "\u{feff}{\"mcpServers\": {\"surf\": {\"serverUrl\": \"https://surf.example/mcp\", \"disabled\": true, \"disabledTools\": [\"wipe\"]}}}",
    );
    place.write(
        ".config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
        r#"{"mcpServers": {"cline-one": {"command": "cline-one", "timeout": 120, "disabled": false, "autoApprove": ["a"]}}}"#,
    );
    place.write(".config/Code/User/mcp.json", "{ \"servers\": {} }");
    place.write(".config/Code - Insiders/User/mcp.json", "{ \"servers\": { \"x\": ");
    place.write(".codeium/mcp_config.json", "");
}

/// Each client's file is read as that client reads it; what cannot be used costs itself only, and is named.
#[test]
fn the_files_of_nine_clients_are_read() {
    let place = Place::new();
    nine_clients(&place);
    let told = place.init(&[]);
    let servers = place.servers();
    let upstreams = servers["upstreams"].as_table().unwrap();
    let mut names: Vec<&str> = upstreams.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "My-Server",
            "agreed",
            "api",
            "cline-one",
            "db",
            "docs",
            "everywhere",
            "files",
            "github",
            "github-gemini",
            "local",
            "local-other",
            "old",
            "quiet",
            "surf",
            "web",
            "zed-one",
        ],
        "{told:#}"
    );
    let off: Vec<&str> = upstreams
        .iter()
        .filter(|(_, one)| one.get("enabled").is_some_and(|on| on.as_bool() == Some(false)))
        .map(|(name, _)| name.as_str())
        .collect();
    // `api` and `db` come with the project, and nobody has agreed to them.
    assert_eq!(off, ["api", "db", "everywhere", "old", "quiet", "surf"]);

    let text = |name: &str, key: &str| upstreams[name][key].as_str().unwrap().to_owned();
    let app = place.project().display().to_string();
    let home = place.home().display().to_string();
    let db = upstreams["db"]["command"].as_array().unwrap();
    let db: Vec<&str> = db.iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(db, [format!("{app}/bin/db").as_str(), "--region", "${REGION:-eu}"]);
    assert_eq!(text("db", "cwd"), format!("{home}/data"));
    assert_eq!(text("db", "env_file"), format!("{app}/.env"));
    assert_eq!(upstreams["db"]["env"]["DB"].as_str(), Some("${DB_URL}"));
    assert_eq!(text("api", "url"), "https://${API_HOST:-api.example}/mcp");
    assert_eq!(text("local-other", "cwd"), format!("{home}/work/other"));
    assert!(upstreams["local"].get("cwd").is_none(), "servers.toml lies in its project");
    assert_eq!(upstreams["docs"]["headers"]["Authorization"].as_str(), Some("Bearer ${DOCS_TOKEN}"));
    assert_eq!(upstreams["web"]["headers"]["K"].as_str(), Some("${WEB_LEVEL}"));
    assert_eq!(text("cline-one", "timeout"), "120s");
    // What its client takes and leaves out stays so.
    let policies = |name: &str| place.read(&format!("policies/{name}"));
    assert!(policies("authority.yaml").contains("tools: [\"web__fetch\"]"), "{}", policies("authority.yaml"));
    assert!(policies("switched-off.yaml").contains("\"surf__wipe\""));

    let skipped: BTreeMap<String, String> = told["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap().to_owned(), one["reason"].as_str().unwrap().to_owned()))
        .collect();
    for (name, why) in [
        ("gate", "Tollgate itself"),
        ("loop", "Tollgate itself"),
        (&format!("{home}/.config/Code/User/mcp.json"), "it names no server"),
        (&format!("{home}/.config/Code - Insiders/User/mcp.json"), "mcp.json:1:"),
        (&format!("{home}/.codeium/mcp_config.json"), "empty"),
    ] {
        assert!(skipped.get(name).is_some_and(|said| said.contains(why)), "{name}: {skipped:#?}");
    }
    // A name that could not stay is told.
    let mine = told["upstreams"].as_array().unwrap().iter().find(|one| one["name"] == "My-Server").unwrap();
    assert!(mine["notes"][0].as_str().unwrap().contains("`My Server!`"), "{mine}");
    let missing: Vec<&str> =
        told["missing"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(missing, ["DB_URL", "DOCS_TOKEN", "ORG", "PASSED", "WEB_LEVEL"]);

    // The secret lies in one file, for its owner alone, and is read by itself.
    assert!(!place.read("servers.toml").contains(SECRET));
    let file = place.project().join("servers.env");
    assert_eq!(told["env_file"], file.display().to_string());
    assert!(place.read("servers.env").contains(SECRET));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let checked = place.run(&["check", "--json"]);
    assert!(checked.status.success(), "{checked:?}");
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(
        !said.contains("GITHUB_PERSONAL_ACCESS_TOKEN") && said.contains("`${DOCS_TOKEN}` is not set"),
        "{said}"
    );
    // Nothing of it is lost by a second run.
    let again = place.run(&["init"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
}

/// A file of variables that cannot be read is an error that shows no value.
#[test]
fn a_broken_file_of_variables_is_named_without_a_value() {
    let place = Place::new();
    place.init(&["--no-start"]);
    std::fs::write(place.project().join("servers.env"), format!("A={SECRET}\n{SECRET}\n")).unwrap();
    let said = tollgate(&place.project(), &["check"]);
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(said.err.contains("servers.env") && !said.err.contains(SECRET), "{}", said.err);
}

/// With `--yes` the servers are really started, what they mark as reading is not asked about, what writes is, and a first call
/// is on record. One that does not start costs itself only.
#[test]
fn init_looks_at_servers_and_makes_a_first_call() {
    let server = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/sdk/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js");
    let strict = std::env::var("CI").is_ok_and(|ci| ci == "true");
    if !server.is_file() {
        assert!(!strict, "server-filesystem is not there: .ci/setup installs it");
        return;
    }
    let place = Place::new();
    let docs = place.home().join("docs");
    place.write("docs/a.md", "hello");
    let servers = json!({"mcpServers": {
        "files": {"command": "node", "args": [server, docs]},
        "gone": {"command": "no-such-program-of-anybody"},
        "slow": {"command": "sleep", "args": ["1000"]},
    }});
    place.write(".cursor/mcp.json", &servers.to_string());
    let told = place.init(&["--yes", "--wait", "20s", "--person", "ann", "--person", "bob"]);
    let of =
        |name: &str| told["upstreams"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
    assert!(of("gone")["not_started"].as_str().unwrap().contains("no-such-program-of-anybody"), "{told:#}");
    assert!(of("slow")["not_started"].as_str().unwrap().contains("within 20s"), "{told:#}");
    assert_eq!(of("files")["not_started"], Value::Null);

    let servers = place.servers();
    let files = &servers["upstreams"]["files"];
    assert_eq!(files["trust_annotations"].as_bool(), Some(false));
    assert_eq!(files["tools"]["read_text_file"]["read_only"].as_bool(), Some(true), "{files}");
    assert_eq!(files["tools"]["write_file"]["destructive"].as_bool(), Some(true), "{files}");
    assert_eq!(servers["upstreams"]["gone"]["trust_annotations"].as_bool(), Some(true));
    let checked = place.run(&["check", "--strict"]);
    assert!(checked.status.success(), "{checked:?}");

    let first = &told["first_call"];
    assert_eq!(
        (&first["called"], &first["decision"]),
        (&json!("files__list_allowed_directories"), &json!("allow"))
    );
    let shown = place.run(&["audit", "show", first["trace_id"].as_str().unwrap()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("files__list_allowed_directories"), "{shown}");

    place.on_free_ports();
    let serving = Serving::start(&place.project(), &[]);
    let person = told["person"]["key"].as_str().unwrap();
    serving.admin_until_as(person, "/readyz", |answer| answer.status == 200);
    let key = told["agent"]["key"].as_str().unwrap();
    assert!(key.starts_with("tg_"), "{key}");
    let read = serving.call(key, "files__read_text_file", &json!({"path": docs.join("a.md")}));
    assert!(read.to_string().contains("hello"), "{read}");
    let write = serving.call(key, "files__write_file", &json!({"path": docs.join("b.md"), "content": "x"}));
    let decision = &write["_meta"]["tollgate/decision"];
    assert_eq!(
        (&decision["decision"], &decision["rule_id"]),
        (&json!("pending_approval"), &json!("destructive"))
    );
    assert!(!docs.join("b.md").exists());
    // Who sits at the client is not the second person.
    let id = decision["approval_id"].as_str().unwrap();
    let decide = |who: usize| {
        let key = told["people"][who]["key"].as_str().unwrap();
        let path = format!("/api/v1/approvals/{id}/decision");
        serving.admin(Some(key), "POST", &path, r#"{"decision": "approve"}"#).status
    };
    assert_eq!((decide(0), decide(1)), (403, 200));
    serving.call(key, "files__write_file", &json!({"path": docs.join("b.md"), "content": "x"}));
    assert_eq!(std::fs::read_to_string(docs.join("b.md")).unwrap(), "x");
}

/// What is new in a client's file comes into the files that are there, and all that stands in them stays: comments, tables, other
/// grants. What would be wrong is not written at all.
#[test]
fn what_is_new_is_added_to_files_that_are_there() {
    let place = Place::new();
    let server = |more: Value| {
        let mut entry = json!({"command": "env", "args": [env!("CARGO_BIN_EXE_tollgate"), "demo-upstream"]});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let client = |servers: &[(&str, &Value)]| {
        let servers: BTreeMap<&str, &Value> = servers.iter().copied().collect();
        place.write(".cursor/mcp.json", &format!("// mine\n{}", json!({ "mcpServers": servers })));
    };
    let first = server(json!({"env": {"ACCOUNT": "one"}}));
    client(&[("first", &first)]);
    place.init(&["--yes", "--wait", "20s"]);
    // As people edit them.
    let edited = |name: &str, from: &str, to: &str| {
        let text = place.read(name);
        assert!(text.contains(from), "{text}");
        std::fs::write(place.project().join(name), text.replacen(from, to, 1)).unwrap();
    };
    edited("servers.toml", "[upstreams.first]", "# ours, since May\n[upstreams.first]");
    edited("policies/authority.yaml", "agents:\n", "# asked for by ann\nagents:\n");
    let names = ["servers.toml", "policies/authority.yaml", "policies/bundle.yaml"];
    let all = || names.map(|name| place.read(name));
    let before = all();

    // Another account of the same server is another server.
    let second = server(json!({"env": {"ACCOUNT": "two", "API_TOKEN": SECRET}}));
    client(&[("first", &first), ("second", &second)]);
    let planned = place.init(&["--add", "--dry-run"]);
    assert_eq!((&planned["written"], all()), (&json!(false), before.clone()));
    let told = place.init(&["--add", "--yes", "--wait", "20s"]);
    let added: Vec<&Value> = told["upstreams"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(
        (added, &told["agent"], &told["written"]),
        (vec![&json!("second")], &json!("agent"), &json!(true))
    );
    assert_eq!(told["upstreams"][0]["not_started"], Value::Null, "{told:#}");
    assert!(told["skipped"][0]["reason"].as_str().unwrap().contains("already, as `first`"), "{told:#}");

    let after = all();
    assert!(after[0].starts_with(&before[0]), "{}", after[0]);
    let authority: Vec<&str> = after[1].lines().collect();
    let gone = before[1].lines().filter(|line| !authority.contains(line));
    let gone: Vec<&str> = gone.filter(|line| !line.contains("capabilities: [first.all")).collect();
    assert_eq!((gone, &after[2]), (Vec::new(), &before[2]));
    assert!(after[1].contains("tools: [\"second__**\"]") && after[1].contains("second.all]"), "{}", after[1]);
    let servers = place.servers();
    assert_eq!(servers["upstreams"]["second"]["env"]["API_TOKEN"].as_str(), Some("${API_TOKEN}"));
    assert_eq!(servers["upstreams"]["second"]["trust_annotations"].as_bool(), Some(false));
    assert!(place.read("servers.env").contains(SECRET));
    let mode = std::fs::metadata(place.project().join("servers.env")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let checked = place.run(&["check", "--strict"]);
    assert!(checked.status.success(), "{checked:?}");

    // The same command in another folder is another server; in its own it is there already.
    let placed = |cwd: &Path| server(json!({"cwd": cwd, "env": {"ACCOUNT": "one"}}));
    place.write("work/elsewhere/a", "");
    let (there, elsewhere) = (placed(&place.project()), placed(&place.home().join("work/elsewhere")));
    client(&[("first", &first), ("second", &second), ("there", &there), ("elsewhere", &elsewhere)]);
    let planned = place.init(&["--add", "--dry-run"]);
    let names: Vec<&Value> =
        planned["upstreams"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, [&json!("elsewhere")], "{planned:#}");
    client(&[("first", &first), ("second", &second)]);

    let again = place.init(&["--add", "--yes"]);
    assert_eq!((&again["upstreams"], &again["written"]), (&json!([]), &json!(false)), "{again:#}");
    assert_eq!(all(), after);

    // What would come of it is wrong: there is a policy of that name.
    let policy = "name: switched-off-third\ndescription: ours\nowner: platform-team\non:\n  - tool: first__x\nrules:\n  - decision: DENY\n";
    std::fs::write(place.project().join("policies/ours.yaml"), policy).unwrap();
    let third = json!({"mcpServers": {"third": {"command": "third", "disabledTools": ["wipe"]}}});
    place.write(".codeium/windsurf/mcp_config.json", &third.to_string());
    let refused = place.run(&["init", "--add", "--yes", "--no-start"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("nothing was written") && said.contains("switched-off-third"), "{said}");
    assert_eq!((refused.status.code(), all()), (Some(1), after));
    assert!(!place.project().join("policies/switched-off-third.yaml").exists());
}

/// What people or programs change while servers are started is theirs.
#[test]
fn what_changes_meanwhile_is_not_written_over() {
    let place = Place::new();
    place.init(&["--no-start"]);
    for (file, line) in [("servers.toml", "# mine"), ("policies/authority.yaml", "# ours")] {
        let script = format!("echo '{line}' >> {file}; exec \"$0\" demo-upstream");
        let servers = json!({"mcpServers": {"late": {"command": "sh", "args": ["-c", script, env!("CARGO_BIN_EXE_tollgate")]}}});
        place.write(".cursor/mcp.json", &servers.to_string());
        let (servers, authority) = (place.read("servers.toml"), place.read("policies/authority.yaml"));
        let done = place.run(&["init", "--add", "--yes", "--wait", "20s"]);
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.code() == Some(1) && said.contains("changed by somebody else"), "{said}");
        let now = |name: &str, before: &str| match name == file {
            true => assert_eq!(place.read(name), format!("{before}{line}\n")),
            false => assert_eq!(place.read(name), before),
        };
        now("servers.toml", &servers);
        now("policies/authority.yaml", &authority);
    }
}

/// Secrets come into no file that everybody reads.
#[test]
fn secrets_are_added_to_a_file_that_others_cannot_read() {
    let place = Place::new();
    place.init(&["--no-start"]);
    let file = place.project().join("servers.env");
    std::fs::write(&file, "LEVEL=info\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let servers = json!({"mcpServers": {"github": {"command": "github-mcp", "env": {"API_TOKEN": SECRET}}}});
    place.write(".cursor/mcp.json", &servers.to_string());
    let done = place.run(&["init", "--add", "--yes", "--no-start"]);
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && said.contains("(mode 0640)") && !said.contains(SECRET), "{said}");
    assert!(
        place.read("servers.env").starts_with("LEVEL=info\n") && place.read("servers.env").contains(SECRET)
    );
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
}

/// What a project brings along is started by nobody who has not seen it; who names its file has.
#[test]
fn servers_of_a_projects_own_file_are_not_started_unseen() {
    let server = |name: &str| {
        let script = format!("touch started-{name}; exec \"$0\" demo-upstream");
        json!({"command": "sh", "args": ["-c", script, env!("CARGO_BIN_EXE_tollgate")]})
    };
    let place = Place::new();
    let started = |name: &str| place.project().join(format!("started-{name}")).exists();
    let servers = json!({"mcpServers": {"theirs": server("theirs"), "agreed": server("agreed")}});
    place.write("work/app/.mcp.json", &servers.to_string());
    let app = place.project().display().to_string();
    let known = json!({"projects": {(app): {"enabledMcpjsonServers": ["agreed"]}}});
    place.write(".claude.json", &known.to_string());
    place.write(".cursor/mcp.json", &json!({"mcpServers": {"mine": server("mine")}}).to_string());
    let off = |told: &Value, name: &str| {
        let one = told["upstreams"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
        assert!(one["notes"][0].as_str().unwrap().contains("nobody has agreed"), "{told:#}");
        assert_eq!(one["enabled"], false, "{told:#}");
        assert_eq!(place.servers()["upstreams"][name]["enabled"].as_bool(), Some(false));
    };
    off(&place.init(&[]), "theirs");
    assert!(place.servers()["upstreams"]["agreed"].get("enabled").is_none());
    // With a variable that comes with the project it is another server than the person's own.
    let mut more = server("mine");
    more["env"] = json!({"LD_PRELOAD": "./theirs.so"});
    place.write("work/app/.mcp.json", &json!({"mcpServers": {"mine": more}}).to_string());
    let told = place.init(&["--force"]);
    off(&told, "mine");
    assert!(told.to_string().contains(" with LD_PRELOAD="), "{told:#}");
    let own = &place.servers()["upstreams"]["mine-cursor"];
    assert!(own.get("enabled").is_none() && !own.to_string().contains("LD_PRELOAD"), "{own}");
    // What a person has off is not on by its file, and what they have on is not off.
    place.write("work/app/.mcp.json", &json!({"mcpServers": {"mine": server("mine")}}).to_string());
    for has_off in [true, false] {
        let mut known = server("mine");
        known["disabled"] = json!(has_off);
        place.write(".cursor/mcp.json", &json!({"mcpServers": {"mine": known}}).to_string());
        place.init(&["--force"]);
        let all = place.servers()["upstreams"].clone();
        assert_eq!(all.as_table().unwrap().len(), 1, "{all}");
        assert_eq!(all["mine"].get("enabled").is_some(), has_off, "{all}");
    }
    place.write(".cursor/mcp.json", &json!({"mcpServers": {"mine": server("mine")}}).to_string());
    let none = ["mine", "agreed", "theirs"].map(started);
    assert_eq!(none, [false; 3], "without `--yes` and without a terminal nothing is started");

    // Both agree to it, and what is started is told.
    place.write("work/app/.mcp.json", &servers.to_string());
    for (more, told_so) in [(&["--from", ".mcp.json"][..], false), (&[], true)] {
        let told = place.init(&[&["--yes", "--wait", "20s", "--force"], more].concat());
        assert!(started("theirs"), "{told:#}");
        assert_eq!(told["first_call"]["decision"], "allow", "{told:#}");
        assert_eq!(
            told.to_string().contains("`--yes` agrees to its start. It runs sh -c"),
            told_so,
            "{told:#}"
        );
        assert!(place.servers()["upstreams"]["theirs"].get("enabled").is_none());
    }
    assert!(started("mine") && started("agreed"));

    // The same of what is added.
    for (name, more, runs) in [("other", &[][..], false), ("another", &["--yes", "--wait", "20s"], true)] {
        let servers = json!({"mcpServers": {(name): server(name)}});
        place.write("work/app/.mcp.json", &servers.to_string());
        let done = place.run(&[&["init", "--add"], more].concat());
        let said = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success(), "{said}");
        assert_eq!((said.contains("nobody has agreed"), started(name)), (!runs, runs), "{said}");
        assert!(said.contains("runs sh -c"), "{said}");
        let off = place.servers()["upstreams"][name].get("enabled").map(|on| on.as_bool());
        assert_eq!(off, (!runs).then_some(Some(false)));
    }
}

/// `init` with these flags, ended by a signal while it makes its first call; what it has said by then.
fn ended_in_its_first_call(more: &[&str], signal: rustix::process::Signal) -> String {
    let place = Place::new();
    let script =
        "if [ -e once ]; then echo >again; exec cat >/dev/null; fi; touch once; exec \"$0\" demo-upstream";
    let again = pipe(place.project().join("again"));
    let servers = json!({"mcpServers": {"slow": {"command": "sh", "args": ["-c", script, env!("CARGO_BIN_EXE_tollgate")]}}});
    place.write(".cursor/mcp.json", &servers.to_string());
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["init", "--yes", "--wait", "20s"])
        .args(more)
        .current_dir(place.project())
        .env("HOME", place.home())
        .env_remove("TOLLGATE_KEY")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    again.recv_timeout(std::time::Duration::from_secs(60)).expect("its first call");
    let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(id, signal).unwrap();
    let mut said = String::new();
    // What it has started may hold its errors open.
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    assert!(place.project().join("servers.toml").exists());
    said
}

/// Once the files are there, so are the keys: whatever ends the first call.
#[test]
fn an_interrupt_of_the_first_call_loses_no_key() {
    let said = ended_in_its_first_call(&[], rustix::process::Signal::INT);
    for part in
        ["agent key", "tg_", "person's key", "approvals watch", "The first call failed: stopped", "Next:"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// A program that reads JSON has them too, and one that comes to its end has one document.
#[test]
fn what_is_killed_in_the_first_call_has_told_its_keys() {
    let killed = ended_in_its_first_call(&["--json"], rustix::process::Signal::KILL);
    let told: Value = serde_json::from_str(&format!("{killed}  \"first_call\": null\n}}")).unwrap();
    for holder in ["agent", "person"] {
        assert!(told[holder]["key"].as_str().unwrap().starts_with("tg_"), "{killed}");
    }
    let stopped = ended_in_its_first_call(&["--json"], rustix::process::Signal::INT);
    let told: Value = serde_json::from_str(&stopped).unwrap();
    assert_eq!(told["first_call"]["failed"], "stopped", "{stopped}");
}

/// A gateway is known by its whole address, and by no usual one where it has another.
#[test]
fn only_the_gateways_own_address_is_the_gateway() {
    let place = Place::new();
    let servers = json!({"mcpServers": {
        "near": {"url": "http://localhost:8787/other/mcp"}, "loop": {"url": "http://localhost:8787/mcp"},
    }});
    place.write(".cursor/mcp.json", &servers.to_string());
    let told = place.init(&["--no-start"]);
    assert_eq!(
        (&told["upstreams"][0]["name"], &told["skipped"][0]["name"]),
        (&json!("near"), &json!("loop"))
    );
    let text = place.read("servers.toml");
    assert!(text.contains("127.0.0.1:8787"), "{text}");
    std::fs::write(place.project().join("servers.toml"), text.replace("127.0.0.1:8787", "127.0.0.1:8989"))
        .unwrap();
    let told = place.init(&["--add", "--no-start", "--yes"]);
    assert_eq!(told["upstreams"][0]["name"], "loop", "{told:#}");
}
