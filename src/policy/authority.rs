//! authority.yaml: capabilities, agents, people, workflows.

use super::{
    Agent, ApiKey, Authority, Capability, Person, ROLES, Workflow,
    condition::Condition,
    names::{Names, OPERATOR, Scope},
    near::did_you_mean,
    outcome::condition,
    read::{
        DAYS_366, Fields, boolean, count, duration, fields, glob, key_digest, list_of, moment, name, section,
        short, text, texts, uri_pattern, word,
    },
    source::{Entry, Kind, Node, Report},
};
use crate::{
    cost::{ModelMatch, ModelPrice, PriceTable},
    model::{AgentId, Autonomy, CapabilityId, Glob, PersonId, WorkflowId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

const AUTONOMY: &[(&str, Autonomy)] = &[
    ("suggest_only", Autonomy::SuggestOnly),
    ("supervised", Autonomy::Supervised),
    ("autonomous", Autonomy::Autonomous),
];

const SECTIONS: &[&str] = &["capabilities", "agents", "people", "workflows"];
const CAPABILITY_KEYS: &[&str] = &["tools", "resources", "prompts", "condition", "autonomy"];

/// Reads the map; what is wrong is in `report`.
pub(super) fn read(root: &Node, scope: Scope<'_>, report: &mut Report<'_>) -> Authority {
    let mut authority = Authority::default();
    let Some(map) = fields(root, "authority.yaml", SECTIONS, report) else { return authority };

    for entry in section(&map, "capabilities", report) {
        if let Some(capability) = capability(entry, scope, report) {
            authority.capabilities.insert(capability.id.clone(), capability);
        }
    }
    for entry in section(&map, "workflows", report) {
        if let Some(workflow) = workflow(entry, scope, report) {
            authority.workflows.insert(workflow.id.clone(), workflow);
        }
    }
    let mut keys = Keys::default();
    for entry in section(&map, "people", report) {
        if let Some(person) = person(entry, scope, &mut keys, report) {
            authority.people.insert(person.id.clone(), person);
        }
    }
    for entry in section(&map, "agents", report) {
        if let Some(agent) = agent(entry, scope, &mut keys, report) {
            authority.agents.insert(agent.id.clone(), agent);
        }
    }
    lint(&map, report);
    authority
}

fn capability(entry: &Entry, scope: Scope<'_>, report: &mut Report<'_>) -> Option<Capability> {
    let id = name(&entry.key, entry.at, report);
    let map = fields(&entry.value, &entry.key, CAPABILITY_KEYS, report)?;
    let globs = |key: &str, report: &mut Report<'_>| -> Vec<Glob> {
        map.read(key, report, |node, key, report| list_of(node, key, report, glob)).unwrap_or_default()
    };
    let tools = globs("tools", report);
    let resources = map
        .read("resources", report, |node, key, report| list_of(node, key, report, uri_pattern))
        .unwrap_or_default();
    let prompts = globs("prompts", report);
    // To one agent alone a server's resources may all be open; from a second one on they are not told apart.
    let alone = scope.names.is_some_and(|names| names.agents.len() == 1);
    for key in ["tools", "resources"] {
        let Some(nodes) = map.get(key).map(Node::items).filter(|_| key == "tools" || !alone) else {
            continue;
        };
        for node in nodes.iter().filter(|n| matches!(n.as_text(), Some("*" | "**"))) {
            report.lint(
                node.start,
                format!(
                    "capability `{}` covers all {key}: `{}`",
                    short(&entry.key),
                    node.as_text().unwrap_or("*")
                ),
                "globs that name what is meant",
            );
        }
    }
    for (what, key, globs) in [("tool", "tools", &tools), ("prompt", "prompts", &prompts)] {
        let Some(nodes) = map.get(key).map(Node::items) else { continue };
        for (glob, node) in globs.iter().zip(nodes) {
            scope.known_glob(glob, node.start, what, report);
        }
    }
    let empty = |key: &&str| map.lacks(key) || map.get(key).is_some_and(|node| node.items().is_empty());
    if ["tools", "resources", "prompts"].iter().all(empty) {
        report.lint(
            entry.at,
            format!("capability `{}` covers nothing", short(&entry.key)),
            "tools, resources or prompts",
        );
    }
    let condition: Option<Condition> =
        map.read("condition", report, |node, key, report| condition(node, key, scope, report));
    if let (Some(condition), Some(node)) = (&condition, map.get("condition"))
        && condition.names_capability()
    {
        report.error(
            node.start,
            "`capability` is not known yet in a capability's own condition: this is what decides on it",
            "a condition on `agent`, `tool`, `args` and the like",
        );
    }
    let autonomy = map.read("autonomy", report, word(AUTONOMY));
    Some(Capability { id: CapabilityId::from(id?), tools, resources, prompts, condition, autonomy })
}

fn workflow(entry: &Entry, scope: Scope<'_>, report: &mut Report<'_>) -> Option<Workflow> {
    let id = name(&entry.key, entry.at, report);
    let map = fields(&entry.value, &entry.key, &["owner", "approval_sla", "capabilities"], report)?;
    let owner = map.read("owner", report, text);
    if map.lacks("owner") {
        report.lint(
            entry.at,
            format!("workflow `{}` has no owner", short(&entry.key)),
            "owner: who answers for it",
        );
    }
    let approval_sla = map.read("approval_sla", report, duration(Duration::from_secs(1), DAYS_366));
    let capabilities =
        map.read("capabilities", report, |node, key, report| capabilities(node, key, scope, report));
    Some(Workflow { id: WorkflowId::from(id?), owner, approval_sla, capabilities })
}

fn capabilities(
    node: &Node,
    key: &str,
    scope: Scope<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<CapabilityId>> {
    list_of(node, key, report, |item, key, report| {
        scope.refer(item, key, "capability", capability_names, report).map(CapabilityId::from)
    })
}

fn capability_names(names: &Names) -> &BTreeSet<String> {
    &names.capabilities
}

fn workflow_names(names: &Names) -> &BTreeSet<String> {
    &names.workflows
}

fn person(entry: &Entry, scope: Scope<'_>, keys: &mut Keys, report: &mut Report<'_>) -> Option<Person> {
    let id = name(&entry.key, entry.at, report);
    if entry.key == OPERATOR {
        report.error(
            entry.at,
            format!("`{OPERATOR}` cannot be a person"),
            "another name: `operator` means an agent's own operator",
        );
    }
    if scope.names.is_some_and(|names| names.groups.contains_key(&entry.key)) {
        report.error(
            entry.at,
            format!("`{}` names a person and a group", short(&entry.key)),
            "different names, so that `approvers` is clear",
        );
    }
    let map = fields(&entry.value, &entry.key, &["keys", "groups", "roles", "capabilities"], report)?;
    let digests = keys.read(&map, &format!("person `{}`", short(&entry.key)), report);
    let groups = map.read("groups", report, texts).unwrap_or_default();
    if let Some(node) = map.get("groups") {
        for group in node.items().iter().filter(|n| n.as_text() == Some(OPERATOR)) {
            report.error(group.start, format!("`{OPERATOR}` cannot be a group"), "another name");
        }
    }
    let roles = map
        .read("roles", report, |node, key, report| list_of(node, key, report, word(ROLES)))
        .unwrap_or_default();
    let capabilities =
        map.read("capabilities", report, |node, key, report| capabilities(node, key, scope, report));
    Some(Person {
        id: PersonId::from(id?),
        keys: digests,
        groups,
        roles,
        capabilities: capabilities.map(Into::into),
    })
}

const AGENT_KEYS: &[&str] = &[
    "type",
    "role",
    "tenant",
    "owner",
    "operator",
    "attended",
    "workflow",
    "workflows",
    "model",
    "autonomy",
    "max_catalog_tokens",
    "capabilities",
    "keys",
    "certificates",
];

fn agent(entry: &Entry, scope: Scope<'_>, keys: &mut Keys, report: &mut Report<'_>) -> Option<Agent> {
    let id = name(&entry.key, entry.at, report);
    let map = fields(&entry.value, &entry.key, AGENT_KEYS, report)?;
    let shown = short(&entry.key);
    let word_of = |key: &str, report: &mut Report<'_>| map.read(key, report, text).unwrap_or_default();
    let agent_type = word_of("type", report);
    let role = word_of("role", report);
    let tenant = word_of("tenant", report);
    let owner = word_of("owner", report);
    let operator = map.read("operator", report, |node, key, report| scope.person(node, key, report));
    let attended = map.read("attended", report, boolean).unwrap_or(false);
    if attended && map.get("operator").is_none() {
        report.lint(
            entry.at,
            format!("agent `{shown}` is attended but has no operator: nobody's answer at its client counts"),
            "operator: the person at its client",
        );
    }
    let reference = |node, key: &str, report: &mut Report<'_>| {
        scope.refer(node, key, "workflow", workflow_names, report).map(WorkflowId::from)
    };
    let workflow: Option<WorkflowId> = map.read("workflow", report, reference);
    let mut workflows: Vec<WorkflowId> = map
        .read("workflows", report, |node, key, report| list_of(node, key, report, reference))
        .unwrap_or_default();
    if let Some(own) = &workflow
        && !workflows.contains(own)
    {
        workflows.insert(0, own.clone());
    }
    let model = map.read("model", report, text);
    let autonomy = map.read("autonomy", report, word(AUTONOMY)).unwrap_or(Autonomy::Supervised);
    let capabilities: Vec<CapabilityId> = map
        .read("capabilities", report, |node, key, report| capabilities(node, key, scope, report))
        .unwrap_or_default();
    let empty = |key: &str| map.lacks(key) || map.get(key).is_some_and(|node| node.items().is_empty());
    if empty("capabilities") {
        report.lint(
            entry.at,
            format!("agent `{shown}` has no capability: it can use nothing"),
            "capabilities",
        );
    }
    let digests = keys.read(&map, &format!("agent `{shown}`"), report);
    let certificates = map
        .read("certificates", report, |node, key, report| {
            list_of(node, key, report, |item, key, report| keys.uri(item, key, &entry.key, report))
        })
        .unwrap_or_default();
    if empty("keys") && certificates.is_empty() {
        report.lint(
            entry.at,
            format!("agent `{shown}` has no key: it can come in over stdio only"),
            "keys: what `tollgate agents add` writes",
        );
    }
    Some(Agent {
        id: AgentId::from(id?),
        agent_type,
        role,
        tenant,
        owner,
        operator,
        attended,
        workflow,
        workflows,
        model,
        autonomy,
        max_catalog_tokens: map.read("max_catalog_tokens", report, count(1, u64::MAX)),
        capabilities,
        keys: digests,
        certificates,
    })
}

/// Whose each key and each URI of a certificate is: one key must not open two doors.
#[derive(Default)]
struct Keys {
    digests: BTreeMap<[u8; 32], String>,
    uris: BTreeMap<Arc<str>, String>,
}

/// The longest name of a key, and the longest URI in a certificate.
const LONGEST_KEY_NAME: usize = 64;
const LONGEST_URI: usize = 1024;

impl Keys {
    fn read(&mut self, map: &Fields<'_>, whose: &str, report: &mut Report<'_>) -> Vec<ApiKey> {
        let read = map.read("keys", report, |node, key, report| {
            if !matches!(node.kind, Kind::List(_)) {
                report.error(
                    node.start,
                    format!("`{key}` is no list (not shown: it may hold the key itself)"),
                    "[\"sha256:…\"]",
                );
                return None;
            }
            list_of(node, key, report, |item, key, report| {
                let read = api_key(item, key, report)?;
                if let Some(other) = self.digests.insert(read.digest, whose.to_owned()) {
                    report.error(
                        item.start,
                        format!("the same key belongs to {other} and to {whose}"),
                        "a key of its own for each",
                    );
                }
                Some(read)
            })
        });
        read.unwrap_or_default()
    }

    /// A URI by which certificates name an agent.
    fn uri(&mut self, node: &Node, key: &str, agent: &str, report: &mut Report<'_>) -> Option<Arc<str>> {
        let written = text(node, key, report)?;
        let is_uri = written.len() <= LONGEST_URI
            && written.is_ascii()
            && url::Url::parse(&written).is_ok_and(|url| url.query().is_none() && url.fragment().is_none());
        if !is_uri {
            report.error(
                node.start,
                format!("`{}` is no URI that a certificate could name an agent by", short(&written)),
                "a URI, to the letter as the certificate has it, like spiffe://acme.example/agent/planner-01",
            );
            return None;
        }
        if let Some(other) = self.uris.insert(written.clone(), agent.to_owned()) {
            report.error(
                node.start,
                format!("`{}` names agent `{}` and agent `{}`", short(&written), short(&other), short(agent)),
                "a URI of its own for each",
            );
        }
        Some(written)
    }
}

/// A digest, or a digest with when it expires and what it is called.
fn api_key(node: &Node, key: &str, report: &mut Report<'_>) -> Option<ApiKey> {
    if !matches!(node.kind, Kind::Map(_)) {
        return key_digest(node, key, report).map(ApiKey::new);
    }
    let map = fields(node, key, &["sha256", "expires", "name"], report)?;
    let digest = map.required("sha256", "the 64 hex digits of the key's SHA-256", report);
    let digest = digest.and_then(|node| key_digest(node, "sha256", report));
    let expires = map.get("expires").map(|node| moment(node, "expires", report));
    let called = map.read("name", report, |node, key, report| {
        let called = text(node, key, report)?;
        if called.is_empty()
            || called.chars().count() > LONGEST_KEY_NAME
            || called.chars().any(char::is_control)
        {
            report.error(node.start, "`name` is no name of a key", "1 to 64 printable characters");
            return None;
        }
        Some(called)
    });
    let expires = match expires {
        // One whose end cannot be read has none that would be seen.
        Some(None) => return None,
        Some(read) => read,
        None => None,
    };
    Some(ApiKey { digest: digest?, expires, name: called })
}

fn lint(map: &Fields<'_>, report: &mut Report<'_>) {
    // Where something is wrong it is what has to be mended first.
    if report.has_errors() {
        return;
    }
    let agents = map.get("agents").map(Node::entries).unwrap_or_default();
    let named = agents.iter().filter_map(|agent| agent.value.get("capabilities")).flat_map(Node::items);
    let used: BTreeSet<&str> = named.filter_map(Node::as_text).collect();
    let Some(node) = map.get("capabilities") else { return };
    for entry in node.entries().iter().filter(|entry| !used.contains(entry.key.as_str())) {
        report.lint(
            entry.at,
            format!("no agent has the capability `{}`", short(&entry.key)),
            "an agent that uses it, or its removal",
        );
    }
}

/// The models agents name that the bundle states no price of: what their tokens are charged as.
pub(super) fn lint_models(root: &Node, prices: &PriceTable, report: &mut Report<'_>) {
    let Some(agents) = root.get("agents") else { return };
    let charged = |price: &ModelPrice| {
        format!("{} USD per million read, {} written", price.input_usd_per_mtok, price.output_usd_per_mtok)
    };
    for agent in agents.entries() {
        let Some((node, model)) = agent.value.get("model").and_then(|node| Some((node, node.as_text()?)))
        else {
            continue;
        };
        match prices.model(Some(model)) {
            ModelMatch::NoModel => {}
            ModelMatch::Priced(_) if prices.states(model) || prices.fallback.is_empty() => {}
            ModelMatch::Priced(price) => report.lint(
                node.start,
                format!(
                    "prices.yaml has no model `{}`: its tokens are charged by the built-in table of {}: {}",
                    short(model),
                    PriceTable::source().0,
                    charged(price)
                ),
                "an entry in prices.yaml, where another price holds",
            ),
            ModelMatch::Unpriced(dearest) => {
                let charged = match dearest {
                    Some(price) => {
                        format!(
                            "its tokens are charged as the dearest of all that are listed: {}",
                            charged(&price)
                        )
                    }
                    None => "the table has no model, so its tokens cost nothing".to_owned(),
                };
                let known = prices.models.keys().chain(prices.fallback.keys());
                let near = did_you_mean(model, known.map(|name| &**name));
                report.lint(
                    node.start,
                    format!("model `{}` has no price: {charged}{near}", short(model)),
                    "an entry in prices.yaml",
                );
            }
        }
    }
}
