//! `tollgate client-config`: what to paste into an MCP client, so that nobody has to know two file formats by heart.

use super::{
    args::{ClientConfigArgs, ClientKind},
    failure::CliError,
    screen::Screen,
    setup::Setup,
};
use serde_json::{Value, json};

/// Where the client finds the agent's key. Not `TOLLGATE_KEY`: that is a person's.
const KEY_VARIABLE: &str = "TOLLGATE_AGENT_KEY";

/// Prints both variants.
pub(super) fn client_config(setup: &Setup, args: &ClientConfigArgs) -> Result<(), CliError> {
    if !setup.loaded.policies.authority.agents.contains_key(args.agent.as_str()) {
        return Err(CliError::Unknown {
            kind: "agent",
            name: args.agent.chars().take(80).collect(),
            hint: format!("`tollgate agents list` shows them, `tollgate agents add {}` makes it", args.agent),
        });
    }
    let program = std::env::current_exe()
        .map_err(|source| CliError::Io { what: "cannot tell where this program lies".to_owned(), source })?
        .display()
        .to_string();
    let stdio: Vec<String> = ["--config", &setup.path.display().to_string(), "stdio", "--agent", &args.agent]
        .map(str::to_owned)
        .into();
    let url = setup.loaded.config.gateway.endpoint();
    let mut screen = Screen::new();
    for variant in snippets(args.client, &program, &stdio, &url) {
        screen.line(&format!("# {}", variant.title))?;
        screen.raw(&format!("{}\n\n", variant.text.trim_end()))?;
    }
    screen.line(&format!(
        "# Over HTTP the client sends the agent's key: set {KEY_VARIABLE} to it where the client runs."
    ))
}

struct Variant {
    title: String,
    text: String,
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn snippets(client: ClientKind, program: &str, args: &[String], url: &str) -> [Variant; 2] {
    let entry = |title: &str, text: String| Variant { title: title.to_owned(), text };
    match client {
        ClientKind::Claude => [
            entry(
                "stdio: .mcp.json of a project (Claude Code), or claude_desktop_config.json (Claude Desktop)",
                pretty(&json!({"mcpServers": {"tollgate": {"command": program, "args": args}}})),
            ),
            entry(
                "HTTP: .mcp.json of a project (Claude Code)",
                pretty(&json!({"mcpServers": {"tollgate": {
                    "type": "http",
                    "url": url,
                    "headers": {"Authorization": format!("Bearer ${{{KEY_VARIABLE}}}")},
                }}})),
            ),
        ],
        ClientKind::Cursor => [
            entry(
                "stdio: ~/.cursor/mcp.json, or .cursor/mcp.json of a project",
                pretty(&json!({"mcpServers": {"tollgate": {"command": program, "args": args}}})),
            ),
            entry(
                "HTTP: ~/.cursor/mcp.json, or .cursor/mcp.json of a project",
                pretty(&json!({"mcpServers": {"tollgate": {
                    "url": url,
                    "headers": {"Authorization": format!("Bearer ${{env:{KEY_VARIABLE}}}")},
                }}})),
            ),
        ],
        ClientKind::Vscode => [
            entry(
                "stdio: .vscode/mcp.json",
                pretty(
                    &json!({"servers": {"tollgate": {"type": "stdio", "command": program, "args": args}}}),
                ),
            ),
            entry(
                "HTTP: .vscode/mcp.json",
                pretty(&json!({"servers": {"tollgate": {
                    "type": "http",
                    "url": url,
                    "headers": {"Authorization": format!("Bearer ${{env:{KEY_VARIABLE}}}")},
                }}})),
            ),
        ],
        ClientKind::Codex => {
            let table = |body: &[(&str, toml::Value)]| {
                let body = body.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
                let server =
                    toml::Table::from_iter([("tollgate".to_owned(), toml::Value::Table(body.collect()))]);
                let all = toml::Table::from_iter([("mcp_servers".to_owned(), toml::Value::Table(server))]);
                toml::to_string(&all).unwrap_or_default()
            };
            let list = args.iter().map(|arg| toml::Value::from(arg.as_str())).collect::<Vec<_>>();
            [
                entry(
                    "stdio: ~/.codex/config.toml",
                    table(&[("command", program.into()), ("args", toml::Value::Array(list))]),
                ),
                entry(
                    "HTTP: ~/.codex/config.toml",
                    table(&[("url", url.into()), ("bearer_token_env_var", KEY_VARIABLE.into())]),
                ),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_snippet_parses_in_its_clients_form() {
        let args = ["--config".to_owned(), "/srv/tg \"x\"/servers.toml".to_owned()];
        let all = |client| snippets(client, "/opt/tollgate", &args, "http://127.0.0.1:8787/mcp");
        for (client, root) in [
            (ClientKind::Claude, "mcpServers"),
            (ClientKind::Cursor, "mcpServers"),
            (ClientKind::Vscode, "servers"),
        ] {
            let [stdio, http] = all(client).map(|v| serde_json::from_str::<Value>(&v.text).unwrap());
            assert_eq!(stdio[root]["tollgate"]["args"][1], args[1].as_str());
            assert_eq!(http[root]["tollgate"]["url"], "http://127.0.0.1:8787/mcp");
            let authorization = http[root]["tollgate"]["headers"]["Authorization"].as_str().unwrap();
            assert!(authorization.starts_with("Bearer ${"), "{authorization}");
        }
        let [stdio, http] = all(ClientKind::Codex).map(|v| toml::from_str::<toml::Table>(&v.text).unwrap());
        assert_eq!(stdio["mcp_servers"]["tollgate"]["args"][1].as_str(), Some(args[1].as_str()));
        assert_eq!(http["mcp_servers"]["tollgate"]["bearer_token_env_var"].as_str(), Some(KEY_VARIABLE));
    }
}
