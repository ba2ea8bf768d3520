//! The same server in the files of several clients: it is imported once, and none of them spoils it.

use super::init_of_clients::Place;
use serde_json::json;

/// What one client has off brings nothing into what another starts.
#[test]
fn a_server_that_one_client_has_off_keeps_what_the_other_needs() {
    let place = Place::new();
    let cursor = json!({"mcpServers": {"srv": {"command": "no-such-program", "args": ["a"]}}});
    place.write(".cursor/mcp.json", &cursor.to_string());
    let codex = |more: &str| {
        format!(
            "[mcp_servers.theirs]\ncommand = 'no-such-program'\nargs = ['a']\nenv_vars = ['MY_TOK']\n{more}"
        )
    };
    place.write(".codex/config.toml", &codex("enabled = false\n"));
    let told = place.init(&["--no-start"]);
    assert_eq!((told["upstreams"].as_array().unwrap().len(), &told["missing"]), (1, &json!([])), "{told:#}");
    let token = |place: &Place| {
        Some(place.servers()["upstreams"]["srv"].get("env")?.get("MY_TOK")?.as_str()?.to_owned())
    };
    assert_eq!(token(&place), None);
    // Where both start it, it is passed on where it is set, and needed by nobody.
    place.write(".codex/config.toml", &codex(""));
    let told = place.init(&["--no-start", "--force"]);
    assert_eq!((told["upstreams"].as_array().unwrap().len(), &told["missing"]), (1, &json!([])), "{told:#}");
    assert_eq!(token(&place).as_deref(), Some("${MY_TOK:-}"));
    let check = place.run(&["check"]);
    assert!(
        check.status.success() && !String::from_utf8_lossy(&check.stdout).contains("disabled"),
        "{check:?}"
    );
}

/// Tools that any client leaves out are denied, whatever it calls the server.
#[test]
fn tools_that_a_second_client_leaves_out_stay_out() {
    let place = Place::new();
    let cursor = json!({"mcpServers": {"srv": {"command": "no-such-program"}}});
    place.write(".cursor/mcp.json", &cursor.to_string());
    let codex = "[mcp_servers.theirs]\ncommand = 'no-such-program'\nenabled_tools = ['a', 'b']\ndisabled_tools = ['b', 'c']\n";
    place.write(".codex/config.toml", codex);
    let told = place.init(&["--no-start"]);
    let notes = told["upstreams"][0]["notes"].to_string();
    assert!(notes.contains("theirs") && notes.contains("leaves out b, c"), "{told:#}");
    let off = place.read("policies/switched-off.yaml");
    assert!(off.contains("\"srv__b\"") && off.contains("\"srv__c\""), "{off}");
    let authority = place.read("policies/authority.yaml");
    assert!(authority.contains("tools: [\"srv__a\", \"srv__b\"]"), "{authority}");
    // One that is off there leaves nothing out here.
    place.write(".codex/config.toml", &format!("{codex}enabled = false\n"));
    place.init(&["--no-start", "--force"]);
    assert!(place.read("policies/authority.yaml").contains("tools: [\"srv__**\"]"));
}

/// What only an editor knows is no variable that could be set.
#[test]
fn what_only_an_editor_knows_is_named() {
    let place = Place::new();
    let servers = json!({"servers": {"lint": {"command": "lint", "args": ["${file}"]}, "set": {"command": "x", "args": ["${config:a.b}"]}}});
    place.write("work/app/.vscode/mcp.json", &servers.to_string());
    let told = place.init(&["--no-start"]);
    assert_eq!(told["missing"], json!([]), "{told:#}");
    let skipped = told["skipped"].to_string();
    assert!(
        skipped.contains("`${file}`, which only its editor knows") && skipped.contains("`${config:a.b}`"),
        "{skipped}"
    );
}
