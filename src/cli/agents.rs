//! `tollgate agents …`: who may do what, and new keys. authority.yaml is the admin's own file, with comments in it:
//! nothing here writes to it.

use super::{
    args::{AgentsCommand, agent_name},
    failure::CliError,
    keys::{self, FreshKey},
    screen::{Screen, or_dash},
    setup::Setup,
};
use crate::{
    front::admin::view,
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
            show(&mut screen, authority, find(authority, &name)?, json.json)
        }
        AgentsCommand::Add { name, json } => {
            setup.admin()?;
            valid_name(&name)?;
            if authority.agents.contains_key(name.as_str()) {
                return Err(CliError::Told(format!(
                    "there is an agent `{name}` already: `tollgate agents rotate {name}` makes it another key"
                )));
            }
            let fresh = keys::fresh(&*setup.system);
            let known: Vec<&str> = authority.capabilities.keys().map(|id| id.as_str()).collect();
            let yaml = format!(
                "  {name}:\n    capabilities: []        # choose from: {}\n    keys: [\"{}\"]\n",
                known.join(", "),
                fresh.digest
            );
            let then = format!(
                "Paste this under `agents:` in {} and choose its capabilities; a running gateway takes it over at once:",
                file(&setup)
            );
            print(&mut screen, &name, &fresh, &then, &yaml, json.json)
        }
        AgentsCommand::Rotate { name, json } => {
            setup.admin()?;
            let agent = find(authority, &name)?;
            let fresh = keys::fresh(&*setup.system);
            let then = format!(
                "Add this digest to the `keys` of `{name}` in {} (it has {} now). Give the agent its new key, then \
                 remove the old digest: that ends what still uses the old key.",
                file(&setup),
                agent.keys.len()
            );
            let mut digests: Vec<String> =
                agent.keys.iter().map(|k| format!("sha256:{}", hex::encode(k))).collect();
            digests.push(fresh.digest.clone());
            let yaml = format!("    keys: {}\n", serde_json::to_string(&digests).unwrap_or_default());
            print(&mut screen, &name, &fresh, &then, &yaml, json.json)
        }
    }
}

fn file(setup: &Setup) -> String {
    setup.loaded.config.gateway.policies.join("authority.yaml").display().to_string()
}

fn valid_name(name: &str) -> Result<(), CliError> {
    agent_name(name).map(drop).map_err(|expected| {
        let shown: String = name.chars().take(80).collect();
        CliError::Told(format!("`{shown}` is no name for an agent: {expected}"))
    })
}

fn find<'a>(authority: &'a Authority, name: &str) -> Result<&'a Agent, CliError> {
    authority.agents.get(name).ok_or_else(|| CliError::Unknown {
        kind: "agent",
        name: name.chars().take(80).collect(),
        hint: "`tollgate agents list` shows them all".to_owned(),
    })
}

fn print(
    screen: &mut Screen,
    name: &str,
    fresh: &FreshKey,
    then: &str,
    yaml: &str,
    json: bool,
) -> Result<(), CliError> {
    if json {
        let key: &str = &fresh.key;
        return screen
            .json(&json!({"agent": name, "key": key, "digest": fresh.digest, "yaml": yaml, "next": then}));
    }
    screen.field("key", &fresh.key)?;
    screen.field("", "(shown this once: hand it to the agent, keep it nowhere else)")?;
    screen.field("digest", &fresh.digest)?;
    screen.line("")?;
    screen.line(then)?;
    screen.line("")?;
    screen.raw(yaml)
}

fn list(screen: &mut Screen, authority: &Authority, json: bool) -> Result<(), CliError> {
    if json {
        return screen.json(&authority.agents.values().map(view::agent).collect::<Vec<Value>>());
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
    screen.table(&header, &rows, "no agents: `tollgate agents add NAME` says how to make one")
}

fn text(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn show(screen: &mut Screen, authority: &Authority, agent: &Agent, json: bool) -> Result<(), CliError> {
    let capabilities = || agent.capabilities.iter().filter_map(|id| authority.capabilities.get(id));
    if json {
        let mut form = view::agent(agent);
        if let Some(members) = form.as_object_mut() {
            let full = capabilities().map(view::capability).collect();
            members.insert("capabilities".to_owned(), Value::Array(full));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_no_quoting() {
        let check = |name: &str, ok: bool| assert_eq!(valid_name(name).is_ok(), ok, "{name}");
        check("planner-01", true);
        check("a.b_c", true);
        check("", false);
        check("1st", false);
        check("-x", false);
        check("a b", false);
        check("a:\n  b", false);
        check(&"a".repeat(65), false);
    }
}
