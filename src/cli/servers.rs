//! `tollgate servers …`: the upstreams as they answer now, asked by a short-lived connection of our own.

use super::{
    args::ServersCommand,
    failure::CliError,
    screen::{Screen, or_dash},
    setup::Setup,
    wiring,
};
use crate::{catalog::CatalogBuilder, front::admin::view, model::UpstreamName, upstream::Health};
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
            let form = |state: &_| {
                view::upstream(config.upstreams.get(state_name(state)), state, &setup.loaded.policies.data)
            };
            if flag.json {
                return screen.json(&states.iter().map(|state| form(state)).collect::<Vec<Value>>());
            }
            let rows: Vec<Vec<String>> = states
                .iter()
                .map(|state| {
                    let form = form(state);
                    let word = |member: &str| or_dash(form.get(member).and_then(Value::as_str));
                    let health = match &state.health {
                        Health::Starting => "starting".to_owned(),
                        Health::Up => "up".to_owned(),
                        Health::Down { reason, .. } => format!("down: {reason}"),
                    };
                    vec![
                        state.name.to_string(),
                        word("transport"),
                        word("era"),
                        state.listing.tools.len().to_string(),
                        state.listing.resources.len().to_string(),
                        state.listing.prompts.len().to_string(),
                        health,
                    ]
                })
                .collect();
            let header = ["server", "transport", "era", "tools", "resources", "prompts", "health"];
            screen.table(&header, &rows, "no servers: add [upstreams.NAME] to servers.toml")
        }
        ServersCommand::Inspect { name, json } => {
            let name = UpstreamName::from(name);
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
            let tools = view::tools(&catalog, &setup.loaded.policies);
            let Some(state) = states.first() else {
                return Err(CliError::Told(format!("`{name}` did not start")));
            };
            let form = view::upstream(config.upstreams.get(&name), state, data);
            if json.json {
                let capabilities = data.redact_value(&state.capabilities);
                return screen.json(&json!({"server": form, "tools": tools, "capabilities": capabilities}));
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
            screen.table(&["tool", "action", "taken as", "description"], &rows, "it lists no tools")
        }
    }
}

fn state_name(state: &crate::upstream::UpstreamState) -> &UpstreamName {
    &state.name
}
