//! Commands that edit servers.toml and authority.yaml: what is meant comes in, and all else stays as it stands.

use super::binary::{Said, Serving, shipped, tollgate, tollgate_with_key};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::path::Path;

fn json(said: Said) -> Value {
    assert_eq!(said.code, 0, "{}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

fn digest(key: &Value) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(key.as_str().unwrap())))
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

/// What is left of a text without the lines that were added.
fn lines_of_before(before: &str, after: &str) -> Vec<String> {
    let mut rest = before.lines().peekable();
    after.lines().filter(|line| rest.next_if(|old| old == line).is_none()).map(str::to_owned).collect()
}

#[test]
fn new_keys_are_shown_once_and_only_their_digest_is_written() {
    let folder = shipped();
    let file = folder.path().join("policies/authority.yaml");
    let before = text(&file);
    let added =
        json(tollgate(folder.path(), &["agents", "add", "newcomer", "--capability", "notes.read", "--json"]));
    let after = text(&file);
    let digest_of = digest(&added["key"]);
    assert_eq!((&added["digest"], &added["written"]), (&json!(digest_of), &json!(true)));
    assert_eq!(
        lines_of_before(&before, &after),
        ["  newcomer:", "    capabilities: [notes.read]", &format!("    keys: [\"{digest_of}\"]")]
    );
    assert!(!after.contains(added["key"].as_str().unwrap()));
    let shown = json(tollgate(folder.path(), &["agents", "show", "newcomer", "--json"]));
    assert_eq!((shown["keys"].as_u64(), &shown["capabilities"][0]["id"]), (Some(1), &json!("notes.read")));
    // Another key stands beside the old one, and the old one can end at once.
    let rotated = json(tollgate(folder.path(), &["agents", "rotate", "newcomer", "--json"]));
    let both = text(&file);
    assert!(both.contains(&digest_of) && both.contains(&digest(&rotated["key"])), "{both}");
    let rotated = json(tollgate(folder.path(), &["agents", "rotate", "newcomer", "--end-old", "--json"]));
    let one = text(&file);
    assert!(!one.contains(&digest_of) && one.contains(&digest(&rotated["key"])), "{one}");
    // Keys with an end or a name, as docs/identity.md writes them, stay as they stand beside a new one.
    let named = format!(
        "keys: # theirs\n      - \"{digest_of}\"\n      - {{ sha256: \"{digest_of}\", expires: 2099-01-31, name: ci }}   # the pipeline's"
    );
    let named = named.replacen(&digest_of, &format!("sha256:{}", "ab".repeat(32)), 1);
    std::fs::write(&file, one.replace(&format!("keys: [\"{}\"]", digest(&rotated["key"])), &named)).unwrap();
    assert!(text(&file).contains("the pipeline's"), "{one}");
    let rotated = json(tollgate(folder.path(), &["agents", "rotate", "newcomer", "--json"]));
    let three = text(&file);
    assert!(three.contains(&named) && three.contains(&digest(&rotated["key"])), "{three}");
    let rotated = json(tollgate(folder.path(), &["agents", "rotate", "newcomer", "--end-old", "--json"]));
    let one = text(&file);
    assert!(!one.contains("name: ci") && one.contains(&digest(&rotated["key"])), "{one}");
    for wrong in [
        &["agents", "add", "demo-agent"][..],
        &["agents", "add", "x", "--capability", "nothing"],
        &["agents", "rotate", "nobody"],
    ] {
        assert_eq!(tollgate(folder.path(), wrong).code, 1, "{wrong:?}");
    }
    assert_eq!(text(&file), one);
    // Nothing is written where somebody would rather paste.
    let printed = json(tollgate(folder.path(), &["agents", "add", "pasted", "--print", "--json"]));
    assert!(
        printed["written"] == false && printed["yaml"].as_str().unwrap().contains("  pasted:\n"),
        "{printed}"
    );
    assert_eq!(text(&file), one);
}

#[test]
fn people_come_in_without_a_role() {
    let folder = shipped();
    let file = folder.path().join("policies/authority.yaml");
    let before = text(&file);
    let new =
        ["people", "add", "erin", "--group", "security", "--role", "approver", "--role", "auditor", "--json"];
    // On the machine that holds the files no role is asked for; whoever shows a key shows who they are.
    assert_eq!(tollgate_with_key(folder.path(), "demo-alice-key", &new).code, 1);
    let erin = json(tollgate(folder.path(), &new));
    assert!(erin["key"].as_str().unwrap().starts_with("tg_"));
    assert_eq!(lines_of_before(&before, &text(&file)).len(), 4);
    let own = |arguments: &[&str]| tollgate_with_key(folder.path(), erin["key"].as_str().unwrap(), arguments);
    let shown = json(own(&["people", "show", "erin", "--json"]));
    assert_eq!((&shown["roles"], &shown["groups"]), (&json!(["approver", "auditor"]), &json!(["security"])));
    let rotated = json(tollgate(folder.path(), &["people", "rotate", "alice", "--end-old", "--json"]));
    assert_eq!(rotated["person"], "alice");
    let ended = tollgate_with_key(folder.path(), "demo-alice-key", &["people", "list"]);
    assert!(ended.code == 1 && ended.err.contains("TOLLGATE_KEY"), "{}", ended.err);
    let said = tollgate(folder.path(), &["people", "add", "finn"]);
    assert!(said.code == 0 && said.out.contains("key") && said.out.contains("tg_"), "{}", said.out);
    for wrong in
        [&["people", "add", "alice"][..], &["people", "rotate", "nobody"], &["people", "show", "nobody"]]
    {
        assert_eq!(tollgate(folder.path(), wrong).code, 1, "{wrong:?}");
    }
    assert_eq!(tollgate(folder.path(), &["people", "add", "zoe", "--role", "boss"]).code, 2);
    let people = json(tollgate(folder.path(), &["people", "list", "--json"]));
    let operates = |p: &Value| p["id"] == "alice" && p["operates"][0].is_string();
    assert!(people["people"].as_array().unwrap().iter().any(operates));
    // What is written so that an edit would be a guess stays as it is.
    std::fs::write(&file, before.replacen("people:\n", "people: &all\n", 1)).unwrap();
    let odd = text(&file);
    let said = tollgate(folder.path(), &["people", "rotate", "alice"]);
    assert!(said.code == 1 || text(&file).contains("&all"), "{} {}", said.out, said.err);
    assert!(said.code == 0 || text(&file) == odd);
}

/// A running gateway takes over what the commands write.
#[test]
fn servers_come_and_go_with_all_else_as_it_stands() {
    let folder = shipped();
    let servers = folder.path().join("servers.toml");
    let authority = folder.path().join("policies/authority.yaml");
    let (before, people) = (text(&servers), text(&authority));
    let serving = Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    let said = tollgate(
        folder.path(),
        &[
            "servers",
            "add",
            "second",
            "--grant",
            "demo-agent",
            "--trust-annotations",
            "--",
            "tollgate",
            "demo-upstream",
        ],
    );
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("+[upstreams.second]") && said.out.contains("+command = "), "{}", said.out);
    assert!(text(&servers).starts_with(before.trim_end()), "{}", text(&servers));
    assert!(
        text(&authority).contains("second.all") && text(&authority).contains(people.lines().next().unwrap())
    );
    // Policies have their say on it; it is there for the agent, which an unknown tool is not.
    serving.admin_until("/readyz", |_| {
        let read =
            serving.call("demo-agent-key", "second__notes_read", &json!({"path": "/notes/welcome.md"}));
        read["content"][0]["text"].is_string()
    });
    let said = tollgate(folder.path(), &["servers", "disable", "second"]);
    assert!(said.code == 0 && text(&servers).contains("enabled = false"), "{}", said.err);
    let said = tollgate(folder.path(), &["servers", "disable", "second"]);
    assert!(said.code == 0 && said.out.contains("already"), "{} {}", said.out, said.err);
    let said = json(tollgate(folder.path(), &["servers", "enable", "second", "--json"]));
    assert_eq!((&said["done"], &said["changed"]), (&json!("enabled"), &json!(true)));
    assert_eq!(tollgate(folder.path(), &["servers", "remove", "second"]).code, 0);
    assert_eq!(text(&servers), before);
    let there = text(&authority);
    for (wrong, part) in [
        (&["servers", "add", "demo", "--url", "https://a.example/mcp"][..], "already"),
        (&["servers", "add", "x"], "behind `--`"),
        (&["servers", "add", "x", "--url", "ftp://a.example"], "nothing was written"),
        (
            &["servers", "add", "x", "--url", "https://a.example/mcp", "--grant", "nobody"],
            "there is no agent",
        ),
        (&["servers", "remove", "x"], "there is no server"),
        (&["servers", "enable", "x"], "there is no server"),
    ] {
        let said = tollgate(folder.path(), wrong);
        assert!(said.code == 1 && said.err.contains(part), "{wrong:?}: {}", said.err);
    }
    assert_eq!((text(&servers), text(&authority)), (before, there));
    assert_eq!(tollgate_with_key(folder.path(), "demo-alice-key", &["servers", "remove", "demo"]).code, 1);
}

/// What runs is asked; nothing is started twice.
#[test]
fn the_running_gateway_says_how_its_servers_stand() {
    let folder = shipped();
    let servers = folder.path().join("servers.toml");
    let script = format!("echo x >> starts; exec {} demo-upstream", env!("CARGO_BIN_EXE_tollgate"));
    let more = format!(
        "\n[upstreams.counted]\ncommand = [\"sh\", \"-c\", \"{script}\"]\n[upstreams.crm]\nurl = \"https://crm.example/mcp\"\n\
         headers = {{ Authorization = \"Bearer ${{NOT_SET_HERE}}\" }}\n[upstreams.gone]\ncommand = [\"no-such-program\"]\n"
    );
    std::fs::write(&servers, text(&servers) + &more).unwrap();
    let starts = || text(&folder.path().join("starts")).lines().count();
    let listed = || json(tollgate(folder.path(), &["servers", "list", "--json"]));
    let of = |told: &Value, name: &str| {
        let all = told["servers"].as_array().unwrap();
        all.iter().find(|server| server["name"] == name).cloned().unwrap_or_default()
    };
    let serving = Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    serving.admin_until("/readyz", |_| {
        let told = listed();
        of(&told, "counted")["state"] == "up" && of(&told, "gone")["state"] == "down"
    });
    let told = listed();
    assert!(told["from"].as_str().unwrap().contains("running `tollgate serve`"), "{told}");
    assert!(of(&told, "counted")["tools"].as_u64().unwrap() > 0, "{told}");
    assert!(of(&told, "crm")["reason"].as_str().unwrap().contains("NOT_SET_HERE"), "{told}");
    assert!(of(&told, "gone")["reason"].as_str().unwrap().contains("no-such-program"), "{told}");
    assert_eq!(starts(), 1);
    let ready = serving.admin(Some("demo-bob-key"), "GET", "/readyz", "");
    assert!(ready.status == 200 && ready.text.contains("upstream `crm` is not started"), "{}", ready.text);
    drop(serving);
    let told = listed();
    assert!(told["from"].as_str().unwrap().contains("no gateway runs here"), "{told}");
    assert_eq!(starts(), 2);
}

/// Commands at the same time do not undo each other: what says that it is written is there.
#[test]
fn edits_at_the_same_time_are_all_there() {
    let folder = shipped();
    std::thread::scope(|scope| {
        for number in 0..6 {
            let folder = folder.path();
            scope.spawn(move || {
                let name = format!("worker-{number}");
                json(tollgate(folder, &["agents", "add", &name, "--json"]));
                let said = tollgate(folder, &["servers", "add", &name, "--", "tollgate", "demo-upstream"]);
                assert_eq!(said.code, 0, "{}", said.err);
            });
        }
        for _ in 0..3 {
            scope.spawn(|| json(tollgate(folder.path(), &["agents", "rotate", "demo-agent", "--json"])));
        }
    });
    let (servers, authority) =
        (text(&folder.path().join("servers.toml")), text(&folder.path().join("policies/authority.yaml")));
    for number in 0..6 {
        assert!(servers.contains(&format!("[upstreams.worker-{number}]")), "{servers}");
        assert!(authority.contains(&format!("  worker-{number}:\n")), "{authority}");
    }
    let shown = json(tollgate(folder.path(), &["agents", "show", "demo-agent", "--json"]));
    assert_eq!(shown["keys"].as_u64(), Some(4), "{shown}");
}

/// What the file beside servers.toml says counts for edits, too.
#[test]
fn servers_are_edited_where_variables_lie_beside() {
    let folder = shipped();
    let servers = folder.path().join("servers.toml");
    let crm = "\n[upstreams.crm]\nurl = \"${CRM_URL_OF_THIS_TEST}\"\n";
    std::fs::write(&servers, text(&servers) + crm).unwrap();
    std::fs::write(folder.path().join("servers.env"), "CRM_URL_OF_THIS_TEST=http://127.0.0.1:1/mcp\n")
        .unwrap();
    let before = text(&servers);
    for arguments in [
        &["check"][..],
        &["servers", "disable", "crm"],
        &["servers", "enable", "crm"],
        &["servers", "add", "more", "--url", "${CRM_URL_OF_THIS_TEST}"],
        &["servers", "remove", "more"],
        &["agents", "add", "newcomer"],
    ] {
        let said = tollgate(folder.path(), arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {}", said.err);
    }
    assert_eq!(text(&servers), format!("{before}enabled = true\n"));
}

/// A bundle that could not be used is not written.
#[test]
fn an_entry_that_would_be_wrong_is_not_written() {
    let folder = shipped();
    let file = folder.path().join("policies/authority.yaml");
    let before = text(&file);
    for (arguments, part) in [
        (&["people", "add", "platform-lead"][..], "platform-lead"),
        (&["people", "add", "operator"], "operator"),
        (&["people", "add", "erin", "--group", "operator"], "operator"),
    ] {
        let said = tollgate(folder.path(), arguments);
        assert!(
            said.code == 1 && said.err.contains("nothing was written"),
            "{arguments:?}: {} {}",
            said.out,
            said.err
        );
        assert!(said.err.contains(part) && !said.err.contains("tg_"), "{arguments:?}: {}", said.err);
        assert_eq!(text(&file), before, "{arguments:?}");
    }
    assert_eq!(tollgate(folder.path(), &["check", "--strict"]).code, 0);
}

/// A server is granted as a whole, by the names that agents see, and nothing else is handed out with it.
#[test]
fn a_grant_is_of_the_server_alone() {
    let folder = shipped();
    let (servers, authority) =
        (folder.path().join("servers.toml"), folder.path().join("policies/authority.yaml"));
    let before = (text(&servers), text(&authority));
    let add = ["servers", "add", "second", "--grant", "demo-agent", "--", "tollgate", "demo-upstream"];
    let there =
        before.1.replacen("capabilities:\n", "capabilities:\n  second.all:\n    tools: [\"demo__**\"]\n", 1);
    std::fs::write(&authority, &there).unwrap();
    let said = tollgate(folder.path(), &add);
    assert!(said.code == 1 && said.err.contains("`second.all` already"), "{} {}", said.out, said.err);
    assert_eq!((text(&servers), text(&authority)), (before.0.clone(), there));
    // The separator is the gateway's own.
    std::fs::write(&authority, &before.1).unwrap();
    let said = tollgate(folder.path(), &add);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(text(&authority).contains("tools: [\"second__**\"]"), "{}", text(&authority));
    assert!(said.out.contains("+  second.all:"), "all that was changed is shown: {}", said.out);
    // What it left behind is what it would write.
    assert_eq!(tollgate(folder.path(), &["servers", "remove", "second"]).code, 0);
    assert_eq!(tollgate(folder.path(), &add).code, 0);
    let named = ["servers", "add", "resources", "--grant", "demo-agent", "--", "tollgate", "demo-upstream"];
    let said = tollgate(folder.path(), &named);
    assert!(said.code == 0 && text(&authority).contains("  resources.tools:"), "{}", said.err);
}

/// I5: logs of pipelines hold what commands say.
#[test]
fn edits_are_told_without_secrets() {
    let folder = shipped();
    let servers = folder.path().join("servers.toml");
    let crm = "\n[upstreams.crm]\nurl = \"http://127.0.0.1:1/mcp\"\nheaders = { Authorization = \"Bearer tiger-of-the-day\" }\n\
               # \u{202e}txet\n[upstreams.args]\ncommand = [\"no-such-program\", \"--api-key\", \"hunter2-hunter2\"]\n";
    std::fs::write(&servers, text(&servers) + crm).unwrap();
    for arguments in
        [&["servers", "disable", "crm"][..], &["servers", "disable", "args"], &["servers", "remove", "args"]]
    {
        let said = tollgate(folder.path(), arguments);
        assert_eq!(said.code, 0, "{}", said.err);
        for part in ["tiger", "hunter2", "\u{202e}"] {
            assert!(!said.out.contains(part), "{arguments:?} {part}: {}", said.out);
        }
    }
    let told = text(&servers);
    assert!(told.contains("tiger-of-the-day") && !told.contains("hunter2"), "{told}");
}

/// I5: a secret that is typed goes into the file of variables, for its owner alone, and servers.toml names it.
#[test]
fn secrets_of_a_new_server_stand_in_no_shared_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = shipped();
    let file = folder.path().join("servers.toml");
    let (key, token) =
        (format!("sk-{}", "a1B2c3D4".repeat(6)), format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"));
    let env = format!("API_KEY={key}");
    let said = tollgate(
        folder.path(),
        &[
            "servers",
            "add",
            "one",
            "--env",
            &env,
            "--env",
            "LEVEL=${LEVEL:-info}",
            "--",
            "x",
            "--token",
            &token,
        ],
    );
    assert_eq!(said.code, 0, "{}", said.err);
    let header = format!("Authorization: Bearer {token}");
    let web = json(tollgate(
        folder.path(),
        &[
            "servers",
            "add",
            "two",
            "--url",
            "https://a.example/mcp?api_key=s3cr3t-s3cr3t",
            "--header",
            &header,
            "--json",
        ],
    ));
    assert_eq!(web["kept"].as_array().unwrap().len(), 2, "{web}");
    let servers = text(&file);
    let variables = folder.path().join("servers.env");
    for secret in [&key, &token, "s3cr3t-s3cr3t"] {
        assert!(
            !servers.contains(secret) && !said.out.contains(secret) && !web.to_string().contains(secret),
            "{servers}"
        );
        assert!(text(&variables).contains(secret), "{secret}");
    }
    assert_eq!(std::fs::metadata(&variables).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(said.out.contains("servers.env (mode 0600)") && said.out.contains("API_KEY"), "{}", said.out);
    let read: toml::Table = servers.parse().unwrap();
    let one = &read["upstreams"]["one"];
    assert_eq!(
        (one["env"]["API_KEY"].as_str(), one["env"]["LEVEL"].as_str()),
        (Some("${API_KEY}"), Some("${LEVEL:-info}"))
    );
    assert_eq!(one["command"][2].as_str(), Some("${ONE_ARG_2}"));
    assert_eq!(
        read["upstreams"]["two"]["headers"]["Authorization"].as_str(),
        Some("Bearer ${TWO_AUTHORIZATION}")
    );
    // Nothing is missing: what was typed is there.
    let told = json(tollgate(folder.path(), &["check", "--json"]));
    assert!(!told["lints"].to_string().contains("not set"), "{told}");
    // A reference stays one, and what is not set is said.
    let said = tollgate(folder.path(), &["servers", "add", "three", "--env", "A=${NOT_SET_HERE}", "--", "x"]);
    assert!(
        said.code == 0 && said.out.contains("not started yet") && said.out.contains("NOT_SET_HERE"),
        "{}",
        said.out
    );
    assert!(text(&file).contains("\"${NOT_SET_HERE}\"") && !text(&variables).contains("NOT_SET_HERE"));
    // What is wrong is told alone.
    let said = tollgate(folder.path(), &["servers", "add", "tollgate", "--", "x"]);
    assert!(said.code == 1 && said.err.contains("error:") && !said.err.contains("lint:"), "{}", said.err);
}
