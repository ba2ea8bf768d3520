//! `tollgate agents …`: who may do what, and new keys.

use super::{
    args::AgentsCommand,
    failure::CliError,
    key_book::LastUse,
    keys::Holder,
    screen::{Screen, or_dash},
    setup::Setup,
    spend,
};
use crate::{
    front::admin::view,
    gateway::CatalogCost,
    model::{Glob, UriPattern},
    policy::{Agent, Authority},
};
use serde_json::{Value, json};

/// Runs one of them.
pub(super) fn agents(setup: Setup, command: AgentsCommand) -> Result<(), CliError> {
    let authority = &setup.loaded.policies.authority;
    let mut screen = Screen::new();
    match command {
        AgentsCommand::List(flag) => list(&mut screen, authority, flag.json),
        AgentsCommand::Show { name, json } => {
            let agent = find(authority, &name)?;
            let cost = spend::cost_of(&setup, agent);
            show(&mut screen, &setup, agent, cost, json.json)
        }
        AgentsCommand::Add { name, capability, key } => {
            let known = || authority.capabilities.keys().map(|id| id.as_str());
            if let Some(unknown) = capability.iter().find(|name| !known().any(|known| known == **name)) {
                return Err(CliError::Unknown {
                    kind: "capability",
                    name: unknown.chars().take(80).collect(),
                    hint: format!("there are {}", known().collect::<Vec<_>>().join(", ")),
                });
            }
            let choose = match capability.is_empty() {
                true => format!("        # choose from: {}", known().collect::<Vec<_>>().join(", ")),
                false => String::new(),
            };
            let members = format!("capabilities: [{}]{choose}\n", capability.join(", "));
            let taken = authority.agents.contains_key(name.as_str());
            Holder::Agent.add(&setup, &name, taken, &members, &key)
        }
        AgentsCommand::Rotate { name, end_old, key } => {
            Holder::Agent.rotate(&setup, &name, &find(authority, &name)?.keys, end_old, &key)
        }
    }
}

fn find<'a>(authority: &'a Authority, name: &str) -> Result<&'a Agent, CliError> {
    authority.agents.get(name).ok_or_else(|| CliError::Unknown {
        kind: "agent",
        name: name.chars().take(80).collect(),
        hint: "`tollgate agents list` shows them all".to_owned(),
    })
}

fn list(screen: &mut Screen, authority: &Authority, json: bool) -> Result<(), CliError> {
    if json {
        let agents = authority.agents.values().map(view::agent).collect();
        return screen.json(&view::listing("agents", agents));
    }
    let rows: Vec<Vec<String>> = authority
        .agents
        .values()
        .map(|agent| {
            vec![
                agent.id.to_string(),
                text(&agent.agent_type),
                text(&agent.role),
                text(&agent.owner),
                agent.autonomy.to_string(),
                agent.capabilities.iter().map(|id| id.to_string()).collect::<Vec<_>>().join(", "),
                agent.keys.len().to_string(),
            ]
        })
        .collect();
    let header = ["agent", "type", "role", "owner", "autonomy", "capabilities", "keys"];
    screen.table(&header, &rows, "no agents: `tollgate agents add NAME` makes one")
}

fn text(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn show(
    screen: &mut Screen,
    setup: &Setup,
    agent: &Agent,
    cost: Option<CatalogCost>,
    json: bool,
) -> Result<(), CliError> {
    let authority = &setup.loaded.policies.authority;
    let (used, now) = (LastUse::read(&setup.loaded.config), setup.now());
    let capabilities = || agent.capabilities.iter().filter_map(|id| authority.capabilities.get(id));
    if json {
        let mut form = view::agent(agent);
        if let Some(members) = form.as_object_mut() {
            let full = capabilities().map(view::capability).collect();
            members.insert("capabilities".to_owned(), Value::Array(full));
            members.insert("catalog".to_owned(), json!(cost));
            members.insert("key_details".to_owned(), used.form(&agent.keys, now));
            members.insert("last_used".to_owned(), json!(used.newest(&agent.keys)));
        }
        return screen.json(&form);
    }
    screen.field("agent", &agent.id)?;
    screen.field("type, role", &format!("{}, {}", text(&agent.agent_type), text(&agent.role)))?;
    screen.field("tenant, owner", &format!("{}, {}", text(&agent.tenant), text(&agent.owner)))?;
    let attended = if agent.attended { "attended" } else { "unattended" };
    screen.field("operator", &format!("{} ({attended})", or_dash(agent.operator.as_ref())))?;
    screen.field("model", &or_dash(agent.model.as_ref()))?;
    screen.field("autonomy", agent.autonomy.as_str())?;
    let named: Vec<&str> = agent.workflows.iter().map(|id| id.as_str()).collect();
    let all = if named.is_empty() { "-".to_owned() } else { named.join(", ") };
    screen.field("workflow", &format!("{} (may name: {all})", or_dash(agent.workflow.as_ref())))?;
    screen.field("keys", &agent.keys.len().to_string())?;
    for line in used.lines(&agent.keys, now) {
        screen.field("", &line)?;
    }
    if !agent.certificates.is_empty() {
        screen.field("certificates", &agent.certificates.join(" "))?;
    }
    if let Some(cost) = cost {
        let CatalogCost { mode, tools, tokens, full_tokens, max_tokens, left_out, .. } = cost;
        let cap = max_tokens.map_or_else(String::new, |most| format!(", at most {most}"));
        let whole = if tokens == full_tokens { String::new() } else { format!(" of {full_tokens}") };
        screen.field(
            "list of tools",
            &format!("{mode}: {tools} tools in scope, {tokens}{whole} tokens{cap}"),
        )?;
        if !left_out.is_empty() {
            // They are taken in the order of the agent's capabilities, then by name, as long as they fit.
            screen.field("not listed", &left_out.join(" "))?;
        }
    }
    for capability in capabilities() {
        let named = |kind: &str, patterns: Vec<&str>| {
            (!patterns.is_empty()).then(|| format!("{kind} {}", patterns.join(" ")))
        };
        let mut parts: Vec<String> = [
            named("tools", capability.tools.iter().map(Glob::as_str).collect()),
            named("resources", capability.resources.iter().map(UriPattern::as_str).collect()),
            named("prompts", capability.prompts.iter().map(Glob::as_str).collect()),
            capability.autonomy.map(|autonomy| format!("autonomy {autonomy}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        if capability.condition.is_some() {
            parts.push("on a condition".to_owned());
        }
        screen.field("capability", &format!("{}: {}", capability.id, parts.join("; ")))?;
    }
    Ok(())
}
