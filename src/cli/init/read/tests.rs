use super::*;

fn read_at(name: &str, text: &str) -> Result<Read, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    file(&path, Folders { here: Path::new("/home/me/project"), home: Some(Path::new("/home/me")) })
}

fn read(text: &str) -> Result<Vec<Found>, String> {
    read_at("mcp.json", text).map(|read| read.found)
}

fn command(words: &[&str]) -> Server {
    Server::Command {
        command: words.iter().map(|w| (*w).to_owned()).collect(),
        env: BTreeMap::new(),
        cwd: None,
        env_file: None,
    }
}

#[test]
fn every_clients_form_is_read() {
    let check = |text: &str, expect: &[(&str, Option<Server>)]| {
        let found = read(text).unwrap();
        let found: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.server.clone().ok())).collect();
        assert_eq!(found, expect, "{text}");
    };
    check(
        r#"{"mcpServers": {"a": {"command": "npx", "args": ["-y", "x"]}, "off": {"command": "y", "disabled": true}}}"#,
        &[("a", Some(command(&["npx", "-y", "x"]))), ("off", Some(command(&["y"])))],
    );
    check(
        "{ // VS Code\n \"servers\": {\n  \"web\": { \"type\": \"http\", \"url\": \"https://a.example/mcp\", /* , } */ },\n }, }",
        &[(
            "web",
            Some(Server::Url {
                url: "https://a.example/mcp".to_owned(),
                headers: BTreeMap::new(),
                sse: false,
            }),
        )],
    );
    // One bad entry costs itself only.
    check(
        r#"{"mcpServers": {"e": {"command": " "}, "z": {"command": "a", "args": ["\u0000"]}, "h": {"url": "https://a/", "headers":
            {"A": "x\r\nB: y"}}, "u": {"url": "https://["}, "good": {"command": "x"}}}"#,
        &[("e", None), ("z", None), ("h", None), ("u", None), ("good", Some(command(&["x"])))],
    );
    check(
        r#"{"projects": {"/home/me/project": {"mcpServers": {"p": {"command": "p"}}}, "/other": {"mcpServers": {"q": {"command": "q"}}}}}"#,
        &[("p", Some(command(&["p"]))), ("q", Some(command(&["q"])))],
    );
    check(
        r#"{"mcpServers": {"s": {"type": "sse", "url": "http://a.example/sse"}, "me": {"command": "/usr/bin/tollgate"}, "n": {},
            "u": {"url": "https://me:secret@a.example/mcp"}}}"#,
        &[
            (
                "s",
                Some(Server::Url {
                    url: "http://a.example/sse".to_owned(),
                    headers: BTreeMap::new(),
                    sse: true,
                }),
            ),
            ("me", None),
            ("n", None),
            ("u", None),
        ],
    );
}

/// What a client would put into a text, and what it would not start.
#[test]
fn folders_inputs_and_switches_are_those_of_the_client() {
    let text = r#"{"inputs": [
        {"id": "region", "type": "pickString", "options": ["eu", {"label": "US", "value": "us"}], "default": "eu"},
        {"id": "key", "type": "promptString", "password": true, "default": "s3cret"}],
      "servers": {"a": {"command": "${workspaceFolder}/run", "args": ["${userHome}/x", 7], "cwd": "${workspaceFolder}/sub",
        "envFile": "${workspaceFolder}/.env", "env": {"A": null, "B": "${input:region}"}}}}"#;
    let read = read_at("app/.vscode/mcp.json", text).unwrap();
    let Ok(Server::Command { command, env, cwd, env_file }) = &read.found[0].server else {
        panic!("{read:?}")
    };
    assert!(command[0].ends_with("/app/run") && command[1..] == ["/home/me/x", "7"], "{command:?}");
    assert!(cwd.as_ref().unwrap().ends_with("/app/sub") && env_file.as_ref().unwrap().ends_with("/app/.env"));
    assert_eq!(env.keys().collect::<Vec<_>>(), ["B"]);
    let region =
        Input { default: Some("eu".into()), options: vec!["eu".into(), "us".into()], ..Input::default() };
    assert_eq!(read.inputs["region"], region);
    assert_eq!(read.inputs["key"], Input { secret: true, ..Input::default() });
    let off = r#"{"mcpServers": {"one": {"command": "x"}, "two": {"command": "y", "disabled": true}}, "projects":
      {"/home/me/project": {"disabledMcpServers": ["one"], "mcpServers": {"three": {"command": "${workspaceFolder}/z"}}}}}"#;
    let read = read_at(".claude.json", &format!("\u{feff}{off}")).unwrap();
    let enabled: Vec<_> = read.found.iter().map(|found| (found.name.as_str(), found.enabled)).collect();
    assert_eq!(enabled, [("one", false), ("two", false), ("three", true)]);
    assert_eq!(read.found[2].server, Ok(super::tests::command(&["/home/me/project/z"])));
}

#[test]
fn servers_are_found_in_every_clients_file() {
    let check = |name: &str, text: &str, expect: &[(&str, bool)]| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let folders = Folders { here: folder.path(), home: None };
        let found = client_servers(&path, folders).unwrap();
        let found: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.server.is_ok())).collect();
        assert_eq!(found, expect, "{text}");
    };
    check(
        "config.toml",
        "model = 'x'\n[mcp_servers.docs]\ncommand = 'npx'\nargs = ['-y', 'docs']\n[mcp_servers.web]\nurl = 'https://a.example/mcp'\n",
        &[("docs", true), ("web", true)],
    );
    check("config.toml", "model = 'x'\n", &[]);
    check(
        "settings.json",
        r#"{"theme": "x", "context_servers": {"old": {"command": {"path": "a", "args": ["b"]}}, "new": {"command": "c", "args": []},
            "own": {"command": {"path": "/usr/bin/tollgate", "args": []}}}}"#,
        &[("old", true), ("new", true), ("own", false)],
    );
    check("settings.json", r#"{"theme": "x"}"#, &[]);
    check(
        "mcp_config.json",
        r#"{"mcpServers": {"a": {"serverUrl": "https://a.example/mcp"}}}"#,
        &[("a", true)],
    );
}

/// What each client alone writes.
#[test]
fn what_each_client_alone_writes_is_read() {
    let read = |name: &str, text: &str| {
        let read = read_at(name, text).unwrap_or_else(|why| panic!("{why}"));
        read.found.into_iter().map(|one| (one.name.clone(), one)).collect::<BTreeMap<_, _>>()
    };
    let env = |found: &Found| match &found.server {
        Ok(Server::Command { env, .. }) => env.clone(),
        other => panic!("{other:?}"),
    };
    let headers = |found: &Found| match &found.server {
        Ok(Server::Url { headers, .. }) => headers.clone(),
        other => panic!("{other:?}"),
    };
    let pairs = |all: &[(&str, &str)]| {
        all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let codex = read(
        "config.toml",
        "[mcp_servers.a]\ncommand = 'a'\nenv = { X = '1' }\nenv_vars = ['Y', { name = 'Z' }]\ntool_timeout_sec = 90\n\
         enabled_tools = ['one']\ndisabled_tools = ['two']\n[mcp_servers.b]\nurl = 'https://b.example/mcp'\nenabled = false\n\
         bearer_token_env_var = 'B'\nhttp_headers = { H = 'h' }\nenv_http_headers = { E = 'V' }\n",
    );
    assert_eq!(env(&codex["a"]), pairs(&[("X", "1"), ("Y", "${Y}"), ("Z", "${Z}")]));
    let switches = &codex["a"].switches;
    assert_eq!((switches.timeout, switches.only.as_deref()), (Some(90), Some(&["one".to_owned()][..])));
    assert_eq!(switches.without, ["two"]);
    assert!(!codex["b"].enabled);
    assert_eq!(headers(&codex["b"]), pairs(&[("Authorization", "Bearer ${B}"), ("E", "${V}"), ("H", "h")]));
    let gemini = read(
        ".gemini/settings.json",
        r#"{"mcp": {"excluded": ["c"]}, "mcpServers": {"a": {"httpUrl": "https://a.example/mcp", "url": "https://old.example/sse",
            "command": "x", "headers": {"K": "$TOKEN and ${OTHER}"}, "timeout": 1500, "includeTools": ["r"], "oauth": {"enabled": true}},
            "c": {"command": "c"}}}"#,
    );
    assert_eq!(headers(&gemini["a"]), pairs(&[("K", "${TOKEN} and ${OTHER}")]));
    assert!(matches!(&gemini["a"].server, Ok(Server::Url { url, .. }) if url == "https://a.example/mcp"));
    assert_eq!((gemini["a"].switches.timeout, gemini["a"].switches.sign_in), (Some(2), true));
    assert!(gemini["a"].enabled && !gemini["c"].enabled);
    let zed = read(
        ".zed/settings.json",
        r#"{"context_servers": {"a": {"source": "custom", "command": "a", "args": [], "env": null},
            "old": {"command": {"path": "o", "args": ["1"], "env": {"A": "b"}}}, "ext": {"source": "extension", "settings": {}}}}"#,
    );
    assert_eq!(env(&zed["old"]), pairs(&[("A", "b")]));
    assert!(
        zed["a"].server.is_ok()
            && zed["ext"].server.as_ref().is_err_and(|why| why.to_string().contains("extension"))
    );
    let windsurf = read(
        "mcp_config.json",
        r#"{"mcpServers": {"a": {"serverUrl": "https://a.example/mcp", "disabledTools": ["x"], "disabled": true}}}"#,
    );
    assert!(!windsurf["a"].enabled && windsurf["a"].switches.without == ["x"]);
    let cline = read(
        "cline_mcp_settings.json",
        r#"{"mcpServers": {"a": {"type": "streamableHttp", "url": "https://a.example/mcp", "timeout": 60, "autoApprove": ["y"]},
            "ws": {"type": "ws", "url": "https://a.example/mcp"}}}"#,
    );
    assert!(
        cline["a"].switches.timeout == Some(60)
            && cline["ws"].server.as_ref().is_err_and(|why| why.to_string().contains("`ws`"))
    );
    let tollgates = read(
        "mcp.json",
        r#"{"mcpServers": {"a": {"command": "uvx", "args": ["tollgate", "stdio", "--agent", "x"]},
            "b": {"command": "sh", "args": ["-c", "exec /opt/tollgate stdio --agent x"]}, "c": {"command": "echo", "args": ["tollgate"]}}}"#,
    );
    let own: Vec<bool> = tollgates.values().map(|one| one.server == Err(NotTaken::Tollgate)).collect();
    assert_eq!(own, [true, true, false]);
    // Whatever address it had then: it carries an agent's key.
    let tollgates = read(
        "mcp.json",
        r#"{"mcpServers": {"a": {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "Bearer ${env:TOLLGATE_AGENT_KEY}"}},
            "b": {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "Bearer ${input:tollgate-agent-key}"}},
            "c": {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "Bearer tg_abc"}},
            "d": {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}}}}"#,
    );
    let own: Vec<bool> = tollgates.values().map(|one| one.server == Err(NotTaken::Tollgate)).collect();
    assert_eq!(own, [true, true, true, false]);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let check = |text: &str, expect: &str| {
        let error = read(text).unwrap_err();
        assert!(error.contains(expect), "{error}");
    };
    check("{\n  \"mcpServers\": {\n    \"a\" 1\n}}", ":3:");
    check("[]", "expected an object");
    check("{\"mcp\": {}}", "it has no servers");
    check("{\"mcpServers\": []}", "must be an object");
    let settings = r#"{"mcp": {"servers": {"s": {"command": "s"}}}, "mcp.servers": {"t": {"command": "t"}}}"#;
    assert_eq!(read(settings).unwrap().len(), 2);
    let error = read_at("config.toml", "model = 'x'\n[mcp_servers.a\n").unwrap_err();
    assert!(error.contains("config.toml:2:"), "{error}");
    check(&"[".repeat(100_000), "nesting depth");
    check(" \n", "the file is empty");
}
