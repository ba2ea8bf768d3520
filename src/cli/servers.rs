//! `tollgate servers …`: the upstreams as they answer now, asked by a short-lived connection of our own.

use super::{
    args::ServersCommand,
    failure::CliError,
    screen::{Screen, or_dash},
    setup::Setup,
    wiring,
};
use crate::{
    catalog::{Catalog, CatalogBuilder, UncheckedKeyword},
    front::admin::view,
    model::UpstreamName,
    redaction::{DataRules, display_text},
    upstream::Health,
};
use serde_json::{Value, json};
use std::time::Duration;

/// How long an upstream may take to connect and list.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs one of them.
pub(super) async fn servers(setup: Setup, command: ServersCommand) -> Result<(), CliError> {
    let mut config = setup.loaded.config.clone();
    let mut screen = Screen::new();
    match command {
        ServersCommand::List(flag) => {
            let states =
                wiring::inspect_upstreams(&config, &setup.loaded.policies, &setup.system, PATIENCE).await?;
            let servers = view::upstreams(&config, &states, &setup.loaded.policies.data);
            if flag.json {
                return screen.json(&json!({"servers": servers}));
            }
            let rows: Vec<Vec<String>> = servers
                .iter()
                .map(|server| {
                    let word = |member: &str| or_dash(server.get(member).and_then(Value::as_str));
                    let count = |member: &str| server.get(member).unwrap_or(&Value::Null).to_string();
                    let state = match server.get("reason").and_then(Value::as_str) {
                        Some(reason) => format!("{}: {reason}", word("state")),
                        None => word("state"),
                    };
                    vec![
                        word("name"),
                        word("transport"),
                        word("era"),
                        count("tools"),
                        count("resources"),
                        count("prompts"),
                        state,
                    ]
                })
                .collect();
            let header = ["server", "transport", "era", "tools", "resources", "prompts", "state"];
            screen.table(&header, &rows, "no servers: add [upstreams.NAME] to servers.toml")
        }
        ServersCommand::Inspect { name, json } => {
            let name = UpstreamName::from(name);
            if let Some(disabled) = config.disabled.get(&name) {
                return Err(CliError::Told(format!("`{name}` is disabled: {}", disabled.reason)));
            }
            if !config.upstreams.contains_key(&name) {
                let known: Vec<&str> = config.upstreams.keys().map(|name| name.as_str()).collect();
                let hint = format!("servers.toml has {}", known.join(", "));
                return Err(CliError::Unknown { kind: "server", name: name.to_string(), hint });
            }
            config.upstreams.retain(|other, _| *other == name);
            let states =
                wiring::inspect_upstreams(&config, &setup.loaded.policies, &setup.system, PATIENCE).await?;
            let data = &setup.loaded.policies.data;
            let catalog = CatalogBuilder::default().build(&config, &states);
            let warnings = warnings(&catalog, data);
            let tools = view::tools(&catalog, &setup.loaded.policies);
            let Some(state) = states.first() else {
                return Err(CliError::Told(format!("`{name}` did not start")));
            };
            let form = view::upstream(config.upstreams.get(&name), state, data);
            if json.json {
                let capabilities = data.redact_value(&state.capabilities);
                return screen.json(&json!({
                    "server": form,
                    "tools": tools,
                    "capabilities": capabilities,
                    "warnings": warnings,
                }));
            }
            if let Health::Down { reason, .. } = &state.health {
                return Err(CliError::Told(format!("`{name}` does not answer: {reason}")));
            }
            screen.field("server", &name)?;
            screen.field("calls itself", &data.redact_value(&state.server_info).to_string())?;
            screen.field("era", &or_dash(form.get("era").and_then(Value::as_str)))?;
            let word = |tool: &Value, member: &str| or_dash(tool.get(member).and_then(Value::as_str));
            let rows: Vec<Vec<String>> = tools
                .iter()
                .map(|tool| {
                    let marks = ["read_only", "idempotent", "destructive", "open_world"];
                    let set = |mark: &&str| tool.get(*mark).and_then(Value::as_bool) == Some(true);
                    let marks: Vec<&str> = marks.into_iter().filter(set).collect();
                    vec![word(tool, "name"), word(tool, "action"), marks.join(" "), word(tool, "description")]
                })
                .collect();
            screen.table(&["tool", "action", "taken as", "description"], &rows, "it lists no tools")?;
            warnings.iter().try_for_each(|warning| screen.field("warning", warning))
        }
    }
}

/// What of the upstream's list is withheld or not checked: one sentence each.
fn warnings(catalog: &Catalog, data: &DataRules) -> Vec<String> {
    let mut warnings = catalog.withheld.clone();
    for tool in catalog.tools.values() {
        for keyword in tool.schema.unchecked() {
            let UncheckedKeyword { at, why } = keyword;
            let told = match at.as_str() {
                "" => format!("`{}`: arguments are not checked against its inputSchema: {why}", tool.exposed),
                at => format!("`{}`: `{at}` of its inputSchema is not checked: {why}", tool.exposed),
            };
            warnings.push(display_text(&data.redact_text(&told), 600));
        }
    }
    warnings
}
