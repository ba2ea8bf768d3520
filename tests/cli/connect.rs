//! `tollgate connect`: for each client its file before, after and after `--undo`, with comments, order and all else as it was; and the
//! very entry that was written is started as the client would start it.

use super::binary::{Said, Serving, shipped};
use serde_json::{Value, json};
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A machine with the shipped gateway, a project and a person's home folder.
pub(super) struct Machine {
    pub(super) gateway: tempfile::TempDir,
    pub(super) project: tempfile::TempDir,
    pub(super) home: tempfile::TempDir,
}

/// What is behind the gateway beside the demo, and stands in every client's file.
const GOVERNED: &str = "\n\
    [upstreams.files]\ncommand = [\"no-such-program\", \"/srv/docs\"]\nenv = { TOKEN = \"${FILES_TOKEN:-}\" }\n";

impl Machine {
    pub(super) fn new() -> Self {
        let machine = Self {
            gateway: shipped(),
            project: tempfile::tempdir().unwrap(),
            home: tempfile::tempdir().unwrap(),
        };
        let servers = machine.gateway.path().join("servers.toml");
        let text = std::fs::read_to_string(&servers).unwrap();
        std::fs::write(&servers, format!("{text}{GOVERNED}")).unwrap();
        machine
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, &[])
    }

    fn run_with(&self, arguments: &[&str], env: &[(&str, &str)]) -> Said {
        self.run_all(self.project.path(), arguments, env)
    }

    pub(super) fn run_in(&self, folder: &Path, arguments: &[&str]) -> Said {
        self.run_all(folder, arguments, &[])
    }

    fn run_all(&self, folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .arg("--config")
            .arg(self.gateway.path().join("servers.toml"))
            .args(arguments)
            .current_dir(folder)
            .env_remove("TOLLGATE_KEY")
            .env_remove("TOLLGATE_AGENT_KEY")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("CLAUDE_CONFIG_DIR")
            .env_remove("CODEX_HOME")
            .env("HOME", self.home.path())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(super) fn json(&self, arguments: &[&str]) -> Value {
        let said = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(said.code, 0, "{arguments:?}: {}", said.err);
        serde_json::from_str(&said.out).unwrap()
    }

    /// What a file holds, with what differs from machine to machine by name.
    fn told(&self, file: &Path) -> String {
        let text = std::fs::read_to_string(file).unwrap();
        let config = self.gateway.path().join("servers.toml");
        text.replace(&config.display().to_string(), "SERVERS_TOML")
            .replace(env!("CARGO_BIN_EXE_tollgate"), "TOLLGATE")
    }
}

pub(super) fn put(file: &Path, text: &str) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

/// One client: its file, what is in it, and what is to be in it.
struct Case {
    client: &'static str,
    file: &'static str,
    in_home: bool,
    before: &'static str,
    after: &'static str,
}

const CASES: &[Case] = &[
    Case {
        client: "claude",
        file: ".mcp.json",
        in_home: false,
        before: "{\n  \"mcpServers\": {\n    \"files\": {\n      \"command\": \"no-such-program\",\n      \"args\": [\"/srv/docs\"],\n      \"env\": { \"TOKEN\": \"ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8\" }\n    },\n    \"own\": { \"command\": \"own\" }\n  },\n  \"more\": [1, 2.50]\n}\n",
        after: "{\n  \"mcpServers\": {\n    \"own\": { \"command\": \"own\" },\n    \"tollgate\": {\n      \"command\": \"TOLLGATE\",\n      \"args\": [\"--config\", \"SERVERS_TOML\", \"stdio\", \"--agent\", \"demo-agent\"]\n    }\n  },\n  \"more\": [1, 2.50]\n}\n",
    },
    Case {
        client: "claude-desktop",
        file: ".config/Claude/claude_desktop_config.json",
        in_home: true,
        before: "{\"mcpServers\": {\"own\": {\"command\": \"own\"}}}",
        after: "{\"mcpServers\": {\n    \"own\": {\"command\": \"own\"},\n    \"tollgate\": {\n      \"command\": \"TOLLGATE\",\n      \"args\": [\"--config\", \"SERVERS_TOML\", \"stdio\", \"--agent\", \"demo-agent\"]\n    }\n  }}",
    },
    Case {
        client: "cursor",
        file: ".cursor/mcp.json",
        in_home: false,
        before: "{\r\n\t// mine\r\n\t\"mcpServers\": {\r\n\t\t\"files\": { \"command\": \"no-such-program\", \"args\": [\"/srv/docs\"] }, // the docs\r\n\t\t\"own\": { \"command\": \"own\" },\r\n\t},\r\n}\r\n",
        after: "{\r\n\t// mine\r\n\t\"mcpServers\": {\r\n\t\t\"own\": { \"command\": \"own\" },\r\n\t\t\"tollgate\": {\r\n\t\t\t\"command\": \"TOLLGATE\",\r\n\t\t\t\"args\": [\"--config\", \"SERVERS_TOML\", \"stdio\", \"--agent\", \"demo-agent\"],\r\n\t\t},\r\n\t},\r\n}\r\n",
    },
    Case {
        client: "vscode",
        file: ".vscode/mcp.json",
        in_home: false,
        before: "{\n  // what it asks for\n  \"inputs\": [],\n  \"servers\": { // mine\n    \"own\": { \"type\": \"stdio\", \"command\": \"own\" }, /* stays */\n  },\n}\n",
        after: "{\n  // what it asks for\n  \"inputs\": [],\n  \"servers\": { // mine\n    \"own\": { \"type\": \"stdio\", \"command\": \"own\" }, /* stays */\n    \"tollgate\": {\n      \"type\": \"stdio\",\n      \"command\": \"TOLLGATE\",\n      \"args\": [\"--config\", \"SERVERS_TOML\", \"stdio\", \"--agent\", \"demo-agent\"],\n    },\n  },\n}\n",
    },
    Case {
        client: "codex",
        file: ".codex/config.toml",
        in_home: true,
        before: "# mine\nmodel = 'gpt-5'   # the best\n\n# the docs\n[mcp_servers.files]\ncommand = 'no-such-program'\nargs = ['/srv/docs']\n\n[mcp_servers.own]   # stays\ncommand = 'own'\n\n[tui]\nx = 1\n",
        after: "# mine\nmodel = 'gpt-5'   # the best\n\n[mcp_servers.own]   # stays\ncommand = 'own'\n\n[mcp_servers.tollgate]\ncommand = \"TOLLGATE\"\nargs = [\"--config\", \"SERVERS_TOML\", \"stdio\", \"--agent\", \"demo-agent\"]\n\n[tui]\nx = 1\n",
    },
    Case {
        client: "gemini",
        file: ".gemini/settings.json",
        in_home: true,
        before: "{\n  \"theme\": \"x\" // dark\n}\n",
        after: "{\n  \"theme\": \"x\", // dark\n  \"mcpServers\": {\n    \"tollgate\": {\n      \"command\": \"TOLLGATE\",\n      \"args\": [\"--config\", \"SERVERS_TOML\", \"stdio\", \"--agent\", \"demo-agent\"]\n    }\n  }\n}\n",
    },
    Case {
        client: "zed",
        file: ".config/zed/settings.json",
        in_home: true,
        before: "// Zed\n{\n  \"context_servers\": {\n    \"files\": { \"source\": \"custom\", \"command\": \"no-such-program\", \"args\": [\"/srv/docs\"] }\n  },\n  /* the look */\n  \"theme\": \"x\"\n}\n",
        after: "// Zed\n{\n  \"context_servers\": {\n    \"tollgate\": {\n      \"source\": \"custom\",\n      \"command\": \"TOLLGATE\",\n      \"args\": [\"--config\", \"SERVERS_TOML\", \"stdio\", \"--agent\", \"demo-agent\"]\n    }\n  },\n  /* the look */\n  \"theme\": \"x\"\n}\n",
    },
    Case {
        client: "windsurf",
        file: ".codeium/windsurf/mcp_config.json",
        in_home: true,
        before: "{\n    \"mcpServers\": {}\n}\n",
        after: "{\n    \"mcpServers\": {\n        \"tollgate\": {\n            \"command\": \"TOLLGATE\",\n            \"args\": [\"--config\", \"SERVERS_TOML\", \"stdio\", \"--agent\", \"demo-agent\"]\n        }\n    }\n}\n",
    },
    Case {
        client: "cline",
        file: ".config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
        in_home: true,
        before: "{\n  \"mcpServers\": {\n    \"own\": {\n      \"command\": \"own\",\n      \"autoApprove\": []\n    }\n  }\n}",
        after: "{\n  \"mcpServers\": {\n    \"own\": {\n      \"command\": \"own\",\n      \"autoApprove\": []\n    },\n    \"tollgate\": {\n      \"command\": \"TOLLGATE\",\n      \"args\": [\"--config\", \"SERVERS_TOML\", \"stdio\", \"--agent\", \"demo-agent\"],\n      \"disabled\": false\n    }\n  }\n}",
    },
];

#[test]
fn every_clients_file_is_written_and_put_back() {
    let machine = Machine::new();
    for case in CASES {
        let folder = if case.in_home { machine.home.path() } else { machine.project.path() };
        let file = folder.join(case.file);
        put(&file, case.before);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let told = machine.json(&["connect", case.client, "--agent", "demo-agent"]);
        let case_name = case.client;
        assert_eq!(machine.told(&file), case.after, "{case_name}");
        assert_eq!(told["scope"], if case.in_home { "user" } else { "project" }, "{case_name}");
        assert!(
            told["tools"].as_array().unwrap().iter().any(|tool| tool == "demo__notes_read"),
            "{case_name}: {told}"
        );
        let own = case.before.contains("own");
        let round: Vec<&str> =
            told["round"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(round, if own { vec!["own"] } else { vec![] }, "{case_name}");
        let governed = case.before.contains("no-such-program");
        assert_eq!(
            told["removed"][0]["upstream"],
            if governed { json!("files") } else { Value::Null },
            "{case_name}"
        );
        // What went out and does not start behind the gateway is told.
        assert_eq!(
            told["silent"][0]["name"],
            if governed { json!("files") } else { Value::Null },
            "{case_name}"
        );
        // I5: what the file holds is told without secrets.
        assert!(!told["diff"].as_str().unwrap().contains("ghp_a1B2"), "{case_name}: {}", told["diff"]);
        let copy = PathBuf::from(told["backup"].as_str().unwrap());
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), case.before, "{case_name}");
        for path in [&file, &copy] {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{case_name}");
        }
        // Once more there is nothing to do.
        let again = machine.json(&["connect", case.client, "--agent", "demo-agent"]);
        assert_eq!((&again["changes"], &again["backup"]), (&json!(false), &Value::Null), "{case_name}");
        let undone = machine.json(&["connect", case.client, "--undo"]);
        assert_eq!(undone["changed_since"], false, "{case_name}: {undone}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), case.before, "{case_name}");
        assert!(!copy.exists(), "{case_name}");
        let nothing = machine.run(&["connect", case.client, "--undo"]);
        assert!(nothing.code == 1 && nothing.err.contains("nothing to undo"), "{case_name}: {}", nothing.err);
        std::fs::remove_file(&file).unwrap();
    }
}

#[test]
fn a_file_that_is_not_there_is_made_and_removed() {
    let machine = Machine::new();
    for case in CASES {
        let told = machine.json(&["connect", case.client, "--agent", "demo-agent", "--no-check"]);
        let file = PathBuf::from(told["file"].as_str().unwrap());
        assert!(file.starts_with(machine.home.path()), "{}: {told}", case.client);
        assert!(std::fs::read_to_string(&file).unwrap().contains("demo-agent"));
        assert_eq!(
            machine.json(&["connect", case.client, "--undo"])["removed_file"],
            true,
            "{}",
            case.client
        );
        assert!(!file.exists(), "{}", case.client);
    }
}

#[test]
fn what_somebody_changed_since_stays() {
    let machine = Machine::new();
    let file = machine.project.path().join(".mcp.json");
    let before = CASES[0].before;
    put(&file, before);
    machine.json(&["connect", "claude", "--agent", "demo-agent", "--no-check"]);
    let now = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, now.replace("\"more\": [1, 2.50]", "\"more\": [3], \"new\": true")).unwrap();
    let undone = machine.json(&["connect", "claude", "--undo"]);
    assert_eq!(undone["changed_since"], true, "{undone}");
    let left: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let was: Value = serde_json::from_str(before).unwrap();
    assert_eq!(left["mcpServers"], was["mcpServers"]);
    assert_eq!((&left["more"], &left["new"]), (&json!([3]), &json!(true)));
    // What is not `connect`'s own is nobody's to take out.
    put(&file, before);
    machine.json(&["connect", "claude", "--agent", "demo-agent", "--no-check"]);
    put(&file, "{\"mcpServers\": {\"tollgate\": {\"command\": \"another\"}}}");
    let refused = machine.run(&["connect", "claude", "--undo"]);
    assert!(refused.code == 1 && refused.err.contains("not what `connect` wrote"), "{}", refused.err);
}

#[test]
fn nothing_is_written_where_something_is_wrong() {
    let machine = Machine::new();
    let file = machine.project.path().join(".mcp.json");
    let check = |text: &str, arguments: &[&str], part: &str| {
        put(&file, text);
        let said = machine.run(&[&["connect", "claude"], arguments].concat());
        assert_eq!(said.code, 1, "{arguments:?}: {}", said.out);
        assert!(said.err.contains(part), "{arguments:?}: {}", said.err);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        assert_eq!(std::fs::read_dir(machine.project.path()).unwrap().count(), 1);
    };
    check("{}", &["--agent", "nobody"], "there is no agent");
    check("{\"mcpServers\": [", &["--agent", "demo-agent"], ".mcp.json");
    check("{\"mcpServers\": []}", &["--agent", "demo-agent"], ".mcp.json");
    check(
        "{\"mcpServers\": {\"tollgate\": {\"command\": \"another\"}}}",
        &["--agent", "demo-agent"],
        "another server",
    );
    // The next start would not work: nobody listens there, and nobody said the key.
    check("{}", &["--agent", "demo-agent", "--http"], "set TOLLGATE_AGENT_KEY");
    let said = machine
        .run_with(&["connect", "claude", "--agent", "demo-agent", "--http"], &[("TOLLGATE_AGENT_KEY", "x")]);
    assert!(said.code == 1 && said.err.contains("next start would not work"), "{}", said.err);
    put(&file, "{}");
    let said = machine.run(&["connect", "claude", "--agent", "demo-agent", "--dry-run"]);
    assert!(
        said.code == 0 && said.out.contains("+    \"tollgate\"") && said.out.contains("Nothing was written"),
        "{}",
        said.out
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{}");
    assert_eq!(machine.run(&["connect", "claude"]).code, 2);
    assert_eq!(machine.run(&["connect", "nobody", "--agent", "demo-agent"]).code, 2);
}

/// I5: no key stands in a file that a project's others may get.
#[test]
fn over_http_a_reference_stands_for_the_key() {
    let machine = Machine::new();
    let serving = Serving::start(machine.gateway.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    let servers = machine.gateway.path().join("servers.toml");
    let text = std::fs::read_to_string(&servers).unwrap();
    std::fs::write(
        &servers,
        text.replacen("listen = \"127.0.0.1:0\"", &format!("listen = \"{}\"", serving.mcp), 1),
    )
    .unwrap();
    let key = [("TOLLGATE_AGENT_KEY", "demo-agent-key")];
    for case in CASES.iter().filter(|case| case.client != "claude-desktop") {
        let said =
            machine.run_with(&["connect", case.client, "--agent", "demo-agent", "--http", "--json"], &key);
        assert_eq!(said.code, 0, "{}: {}", case.client, said.err);
        let told: Value = serde_json::from_str(&said.out).unwrap();
        assert!(told["tools"].as_array().unwrap().iter().any(|tool| tool == "demo__notes_read"), "{told}");
        let file = PathBuf::from(told["file"].as_str().unwrap());
        let written = std::fs::read_to_string(&file).unwrap();
        assert!(written.contains(&format!("http://{}/mcp", serving.mcp)), "{written}");
        let alone = matches!(case.client, "zed" | "cline");
        assert_eq!(written.contains("demo-agent-key"), alone, "{written}");
        assert!(!said.out.contains("demo-agent-key"), "{}", said.out);
        assert_eq!(
            machine.json(&["connect", case.client, "--undo"])["removed_file"],
            true,
            "{}",
            case.client
        );
    }
    for (client, part) in
        [("zed", "does not belong into a project's file"), ("claude-desktop", "leave out --http")]
    {
        let scope: &[&str] = if client == "zed" { &["--scope", "project"] } else { &[] };
        let said = machine
            .run_with(&[&["connect", client, "--agent", "demo-agent", "--http"], scope].concat(), &key);
        assert!(said.code == 1 && said.err.contains(part), "{client}: {}", said.err);
    }
}

/// R94: the files that pin a fleet.
#[test]
fn a_fleet_is_pinned_by_files() {
    let machine = Machine::new();
    let folder = machine.project.path().join("fleet");
    let write = |client: &str, arguments: &[&str]| {
        let named = folder.display().to_string();
        machine
            .json(&[&["connect", client, "--agent", "demo-agent", "--managed", &named], arguments].concat())
    };
    let read = |name: &str| -> Value {
        serde_json::from_str(&std::fs::read_to_string(folder.join(name)).unwrap()).unwrap()
    };
    let told = write("claude", &[]);
    assert_eq!(told["files"].as_array().unwrap().len(), 2);
    let (servers, settings) = (read("managed-mcp.json"), read("managed-settings.json"));
    assert_eq!(servers["mcpServers"].as_object().unwrap().len(), 1);
    let url = &servers["mcpServers"]["tollgate"]["url"];
    assert_eq!(settings["allowedMcpServers"], json!([{"serverUrl": url}]));
    assert_eq!(settings["allowManagedMcpServersOnly"], true);
    assert!(
        settings["deniedMcpServers"]
            .as_array()
            .unwrap()
            .contains(&json!({"serverCommand": ["no-such-program", "/srv/docs"]})),
        "{settings}"
    );
    write("claude", &["--stdio"]);
    let command = &read("managed-settings.json")["allowedMcpServers"][0]["serverCommand"];
    assert_eq!((&command[0], &command[5]), (&json!(env!("CARGO_BIN_EXE_tollgate")), &json!("demo-agent")));
    write("vscode", &[]);
    assert_eq!(read("managed-settings.json")["allowedMcpServers"], json!([{"serverUrl": url}]));
    write("gemini", &[]);
    assert_eq!(read("settings.json")["mcp"]["allowed"], json!(["tollgate"]));
    write("codex", &[]);
    let requirements: toml::Table =
        std::fs::read_to_string(folder.join("requirements.toml")).unwrap().parse().unwrap();
    assert_eq!(requirements["mcp_servers"]["tollgate"]["identity"]["url"].as_str(), url.as_str());
    let said = machine.run(&["connect", "zed", "--agent", "demo-agent", "--managed"]);
    assert!(said.code == 1 && said.err.contains("no file that pins"), "{}", said.err);
}

fn mode(file: &Path) -> u32 {
    std::fs::metadata(file).unwrap().permissions().mode() & 0o777
}

/// Another port, and another path of the same host.
#[test]
fn its_own_entry_is_known_wherever_it_leads() {
    let machine = Machine::new();
    let servers = machine.gateway.path().join("servers.toml");
    let listen = |from: &str, to: &str| {
        let text = std::fs::read_to_string(&servers).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&servers, text.replacen(from, to, 1)).unwrap();
    };
    listen("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:8787\"");
    let key = [("TOLLGATE_AGENT_KEY", "demo-agent-key")];
    let connect = |client: &str| {
        let said = machine.run_with(
            &[
                "connect",
                client,
                "--agent",
                "demo-agent",
                "--http",
                "--no-check",
                "--scope",
                "user",
                "--json",
            ],
            &key,
        );
        assert_eq!(said.code, 0, "{client}: {}", said.err);
        serde_json::from_str::<Value>(&said.out).unwrap()
    };
    let clients = ["claude", "codex", "vscode", "zed"];
    let files = clients.map(|client| PathBuf::from(connect(client)["file"].as_str().unwrap()));
    listen("listen = \"127.0.0.1:8787\"", "listen = \"127.0.0.1:8989\"");
    for (client, file) in clients.iter().zip(&files) {
        assert_eq!(connect(client)["changes"], true, "{client}");
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains("127.0.0.1:8989/mcp") && !text.contains("8787"), "{client}: {text}");
    }
    // What is beside it is not it.
    let file = machine.project.path().join(".cursor/mcp.json");
    put(
        &file,
        "{\"mcpServers\": {\"near\": {\"url\": \"http://127.0.0.1:8989/other\"}, \"loop\": {\"url\": \"http://localhost:8989/mcp\"}}}",
    );
    let told = machine.json(&["connect", "cursor", "--agent", "demo-agent", "--no-check"]);
    assert_eq!(told["round"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["round"][0]["name"], "near", "{told}");
}

/// Two servers of one name, of everywhere and of the project, are two servers.
#[test]
fn each_map_of_a_file_is_judged_by_itself() {
    let machine = Machine::new();
    let here = machine.project.path().canonicalize().unwrap().display().to_string();
    let governed = json!({"command": "no-such-program", "args": ["/srv/docs"]});
    let other = json!({"command": "another", "args": []});
    let file = machine.home.path().join(".claude.json");
    let map = |servers: &Value| json!({"files": servers});
    for (everywhere, project) in [(&other, &governed), (&governed, &other)] {
        let text =
            json!({"mcpServers": map(everywhere), "projects": {here.as_str(): {"mcpServers": map(project)}}});
        put(&file, &text.to_string());
        let told = machine.json(&["connect", "claude", "--agent", "demo-agent", "--no-check"]);
        let left: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let stays = |is: &Value, at: &Value| match is == &other {
            true => assert_eq!(at["files"], other, "{told} {left}"),
            false => assert_eq!(at["files"], Value::Null, "{told} {left}"),
        };
        stays(everywhere, &left["mcpServers"]);
        stays(project, &left["projects"][&here]["mcpServers"]);
        assert_eq!(
            (told["removed"].as_array().unwrap().len(), &told["round"][0]["name"]),
            (1, &json!("files"))
        );
        assert_eq!(machine.json(&["connect", "claude", "--undo"])["changed_since"], false);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text.to_string());
    }
}

/// I5: a key that stands in a file is for its owner to read.
#[test]
fn a_file_with_a_key_in_it_is_its_owners() {
    let machine = Machine::new();
    let key = [("TOLLGATE_AGENT_KEY", "demo-agent-key")];
    let file = machine.home.path().join(".config/zed/settings.json");
    let connect = ["connect", "zed", "--agent", "demo-agent", "--http", "--no-check"];
    for there in [true, false] {
        if there {
            put(&file, "{}\n");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        let said = machine.run_with(&connect, &key);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(said.out.contains("(mode 0600)") && !said.out.contains("demo-agent-key"), "{}", said.out);
        assert!(std::fs::read_to_string(&file).unwrap().contains("demo-agent-key"));
        assert_eq!(mode(&file), 0o600);
        machine.json(&["connect", "zed", "--undo"]);
        match there {
            true => {
                assert_eq!((mode(&file), std::fs::read_to_string(&file).unwrap().as_str()), (0o644, "{}\n"))
            }
            false => assert!(!file.exists()),
        }
        std::fs::remove_file(&file).ok();
    }
    // Where no key stands in it, it stays for whoever could read it.
    put(&file, "{}\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    machine.json(&["connect", "zed", "--agent", "demo-agent", "--no-check"]);
    assert_eq!(mode(&file), 0o644);
}

/// What a person took out themselves does not come back, and what they wrote stays.
#[test]
fn an_undo_brings_back_what_connect_took_out() {
    let machine = Machine::new();
    let file = machine.project.path().join(".mcp.json");
    put(&file, CASES[0].before);
    machine.json(&["connect", "claude", "--agent", "demo-agent", "--no-check"]);
    let now = std::fs::read_to_string(&file).unwrap();
    let own = "\"own\": { \"command\": \"own\" },";
    assert!(now.contains(own), "{now}");
    std::fs::write(&file, now.replace(own, "")).unwrap();
    let undone = machine.json(&["connect", "claude", "--undo"]);
    assert_eq!(undone["changed_since"], true, "{undone}");
    let left: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let servers: Vec<&String> = left["mcpServers"].as_object().unwrap().keys().collect();
    assert_eq!(servers, ["files"], "{left}");
    assert_eq!(std::fs::read_dir(machine.project.path()).unwrap().count(), 1, "nothing else is left");
}
