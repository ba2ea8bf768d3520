//! `tollgate servers …`: the upstreams as they answer now, asked by a short-lived connection of our own.

use super::{
    accounts,
    args::ServersCommand,
    failure::CliError,
    inspection, known,
    pins::{self, PATIENCE, only},
    running,
    screen::{Screen, note, or_dash},
    server_entries,
    setup::{Setup, load_knowing},
};
use crate::{
    catalog::{Catalog, UncheckedKeyword},
    config::Config,
    front::admin::view,
    model::UpstreamName,
    redaction::{DataRules, display_text},
    upstream::{Health, UpstreamState},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// What is said of one that takes longer.
const SILENT: &str = "has not answered within 10 s; the log of a running gateway shows what it writes";

/// Runs one of them.
pub(super) async fn servers(setup: Setup, command: ServersCommand) -> Result<(), CliError> {
    match command {
        ServersCommand::List { limit, json } => list(&setup, limit, json.json).await,
        ServersCommand::Inspect { name, of, json } => {
            inspect(&setup, name.into(), of.as_deref(), json.json).await
        }
        ServersCommand::Add { name, entry } => server_entries::add(&setup, &name, &entry),
        ServersCommand::Enable { name, json } => server_entries::switch(&setup, &name, true, &json),
        ServersCommand::Disable { name, json } => server_entries::switch(&setup, &name, false, &json),
        ServersCommand::Remove { name, json } => server_entries::remove(&setup, &name, &json),
        ServersCommand::Diff { name, kind, json } => {
            pins::diff(&setup, name.map(Into::into), kind, json.json).await
        }
        ServersCommand::Accept { name, item, kind, fingerprint, json } => {
            let wanted = pins::Accept { upstream: name.into(), name: item, kind, fingerprint };
            pins::accept(&setup, &wanted, json.json).await
        }
        ServersCommand::Login { name, of, paste } => {
            accounts::login(&setup, &name.into(), of.as_deref(), paste).await
        }
        ServersCommand::Logout { name, of } => accounts::logout(&setup, &name.into(), of.as_deref()).await,
        ServersCommand::Pin { name, json } => pins::pin(&setup, name.map(Into::into), json.json).await,
    }
}

/// `servers list`: one row for each, as the running gateway has it. Where none runs, each is asked by a short-lived connection.
async fn list(setup: &Setup, limit: usize, json: bool) -> Result<(), CliError> {
    let config = &setup.loaded.config;
    let mut screen = Screen::new();
    let connections = accounts::known(setup).await?;
    let (mut servers, mut doubts, mut refused, from) = match running::find(config) {
        Some(running) => {
            let lints = setup.loaded.lints.0.iter().filter(|lint| lint.strict);
            let doubts: Vec<String> = lints.map(ToString::to_string).collect();
            let from = format!("the running `tollgate {}` (process {})", running.command, running.process);
            (running.servers, doubts, running.refused, from)
        }
        None => {
            let states =
                inspection::inspect_upstreams(config, &setup.loaded.policies, &setup.system, PATIENCE)
                    .await?;
            let servers = view::upstreams(config, (&states, &connections), &setup.loaded.policies.data);
            let doubts = doubts(setup, config, &states, None);
            let catalog = pins::listed_by(setup, config, &states);
            let refused =
                catalog.tools.values().filter_map(|tool| tool.refused.as_deref().map(str::to_owned));
            let from = "no gateway runs here, so each was asked now".to_owned();
            (servers, doubts, refused.collect::<Vec<String>>(), from)
        }
    };
    // What a command has connected a moment ago counts.
    view::count_connected(&mut servers, config, &connections);
    // They name tools, agents and policies.
    if !setup.reads_records() {
        doubts.clear();
        refused.clear();
    }
    let truncated = servers.len() > limit;
    servers.truncate(limit);
    if json {
        return screen.json(&json!({
            "servers": servers,
            "truncated": truncated,
            "from": from,
            "lints": doubts,
            "refused_tools": refused,
        }));
    }
    if truncated {
        note(&format!("{limit} are shown, and there are more: `--limit` shows more"));
    }
    let rows: Vec<Vec<String>> = servers.iter().map(row).collect();
    let header = ["server", "transport", "era", "tools", "resources", "prompts", "contained", "state"];
    screen.table(&header, &rows, "no servers: `tollgate servers add NAME` puts one into servers.toml")?;
    note(&from);
    refused.iter().chain(&doubts).for_each(|told| note(told));
    Ok(())
}

/// One server in the table, from its form in the admin API.
fn row(server: &Value) -> Vec<String> {
    let word = |member: &str| or_dash(server.get(member).and_then(Value::as_str));
    let count = |member: &str| server.get(member).unwrap_or(&Value::Null).to_string();
    let connected = server.get("connected").and_then(Value::as_u64).unwrap_or_default();
    let state = match server.get("reason").and_then(Value::as_str) {
        Some(reason) => {
            let said = server.get("said").and_then(Value::as_str).map(|said| format!("; {said}"));
            let state = match word("state") {
                own if own.starts_with("per ") => format!("{own}: {connected} connected; down for somebody"),
                state => state,
            };
            format!("{state}: {reason}{}", said.unwrap_or_default())
        }
        None if word("state").starts_with("per ") => format!("{}: {connected} connected", word("state")),
        None if word("state") == "starting" => format!("starting: it {SILENT}"),
        None => word("state"),
    };
    vec![
        word("name"),
        word("transport"),
        word("era"),
        count("tools"),
        count("resources"),
        count("prompts"),
        contained(server).to_owned(),
        state,
    ]
}

/// How far a server is kept within the limits of its table, in one word.
fn contained(server: &Value) -> &'static str {
    let missing = server.pointer("/containment/missing").and_then(Value::as_array);
    match (server.get("contained").and_then(Value::as_bool), missing) {
        (Some(true), Some(missing)) if missing.is_empty() => "yes",
        (Some(true), Some(_)) => "in part",
        // It is not started, so there is nothing to contain.
        (Some(true), None) => "not started",
        (Some(false) | None, _) => "no",
    }
}

/// `servers inspect NAME`: what one of them is and lists.
async fn inspect(setup: &Setup, name: UpstreamName, of: Option<&str>, json: bool) -> Result<(), CliError> {
    let config = only(setup, &name)?;
    let holder = accounts::looked_at(setup, &name, of).await?;
    let whose = holder.as_ref().map(|holder| (&name, holder));
    let states =
        inspection::inspect_as(&config, &setup.loaded.policies, &setup.system, (PATIENCE, whose)).await?;
    let data = &setup.loaded.policies.data;
    let (catalog, book) = pins::catalog_of(setup, &config, &states).await?;
    let warnings = warnings(&catalog, data);
    let tools = view::tools(&catalog, &setup.loaded.policies);
    let doubts = doubts(setup, &config, &states, Some(&name));
    let Some(state) = states.first() else {
        return Err(CliError::Told(format!("`{name}` did not start")));
    };
    let form = view::upstream(config.upstreams.get(&name), state, data);
    if json {
        let capabilities = data.redact_value(&state.capabilities);
        return Screen::new().json(&json!({
            "server": form,
            "tools": tools,
            "capabilities": capabilities,
            "findings": pins::findings(&catalog, &book, &name),
            "lints": doubts,
            "warnings": warnings,
        }));
    }
    match &state.health {
        Health::Up => {}
        Health::Starting => return Err(CliError::Told(format!("`{name}` {SILENT}"))),
        Health::Down { cause, .. } => {
            return Err(CliError::Told(format!("`{name}` does not answer: {}", cause.whole())));
        }
    }
    let mut screen = Screen::new();
    screen.field("server", &name)?;
    screen.field("calls itself", &data.redact_value(&state.server_info).to_string())?;
    screen.field("era", &or_dash(form.get("era").and_then(Value::as_str)))?;
    if let Some(stands) = &state.containment {
        screen.field("contained", &stands.sentence())?;
    }
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
    warnings.iter().try_for_each(|warning| screen.field("warning", warning))?;
    pins::show_findings(&mut screen, &catalog, &book, &name)?;
    doubts.iter().for_each(|doubt| note(doubt));
    Ok(())
}

/// Names in the files that fit nothing of what upstreams list now; of one upstream, those that name it.
fn doubts(
    setup: &Setup,
    config: &Config,
    states: &[Arc<UpstreamState>],
    of: Option<&UpstreamName>,
) -> Vec<String> {
    let mut listings = known::remembered(&setup.loaded.config);
    let data = &setup.loaded.policies.data;
    let now = known::listed_now(states, data);
    if config.gateway.data_dir.is_dir()
        && let Err(error) = known::keep(&setup.loaded.config, &now, &known::items_now(states, data))
    {
        note(&format!("what the servers list could not be kept for `tollgate check`: {error}"));
    }
    listings.extend(now);
    // The files were right a moment ago; what is wrong with them now, `tollgate check` tells.
    let Ok(loaded) = load_knowing(&setup.path, &|_: &Config| listings.clone()) else { return Vec::new() };
    let prefix = of.and_then(|name| Some(config.upstreams.get(name)?.prefix.clone()));
    let about = |text: &str| match (of, &prefix) {
        (Some(name), Some(prefix)) => {
            text.contains(&format!("upstream `{name}`"))
                || (!prefix.is_empty() && text.contains(&format!("`{prefix}{}", config.gateway.separator)))
        }
        _ => true,
    };
    let doubts = loaded.lints.0.iter().filter(|lint| lint.strict && about(&lint.message));
    doubts.map(ToString::to_string).collect()
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
