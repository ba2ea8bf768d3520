//! Gates and rulebooks: the two forms of a policy file.

use super::{
    Mode, Policy, PolicyBody, Rule, RuleOutcome, Rulebook, Sentence, Violation,
    names::Scope,
    outcome::{APPROVAL_KEYS, approval, condition, outcome},
    read::{
        Fields, boolean, count, fields, glob, list, list_of, mismatch, money, name, short, text, texts,
        uri_pattern, word,
    },
    source::{Node, Report},
};
use crate::model::{Glob, PolicyId, RuleId, Selector};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const GATE_KEYS: &[&str] = &["name", "description", "owner", "mode", "on", "rules"];
const RULE_KEYS: &[&str] = &[
    "id",
    "condition",
    "decision",
    "reason",
    "approvers",
    "quorum",
    "expires_in",
    "escalate",
    "evidence_required",
    "channels",
    "separate",
    "constraints",
    "remediation",
    "retry_after",
    "check",
    "on_error",
];
const BOOK_POLICY_KEYS: &[&str] = &[
    "id",
    "description",
    "owner",
    "mode",
    "on",
    "condition",
    "conditions",
    "actions",
    "approvers",
    "quorum",
    "expires_in",
    "escalate",
    "evidence_required",
    "channels",
    "separate",
];
const BOOK_CONDITIONS: &[&str] = &[
    "allowed_roles",
    "agent_types",
    "max_cost_usd",
    "requires_approval",
    "max_calls_per_minute",
    "max_cost_per_minute_usd",
];
const SELECTOR_KEYS: &[&str] =
    &["action", "tool", "label", "upstream", "agent", "role", "agent_type", "workflow", "resource", "prompt"];

/// Ids that stand for something else where a policy is named in a verdict or a record.
const RESERVED: &[&str] = &["default", "required", "workflow", "autonomy", "loop", "freeze", "operator"];

/// Policy and budget ids of the whole bundle, with the place of the first of each.
#[derive(Debug, Default)]
pub(super) struct Ids(BTreeMap<Arc<str>, String>);

impl Ids {
    /// Takes an id that nobody else has.
    pub(super) fn take(&mut self, node: &Node, key: &str, report: &mut Report<'_>) -> Option<PolicyId> {
        let id = text(node, key, report).and_then(|text| name(&text, node.start, report))?;
        if RESERVED.contains(&&*id) || id.contains("capability:") {
            report.error(node.start, format!("`{id}` is a reserved id"), "another id");
            return None;
        }
        let place = report.place(node.start);
        let place = format!("{}:{}", place.file, place.line);
        if let Some(first) = self.0.insert(id.clone(), place) {
            report.error(
                node.start,
                format!("duplicate policy id `{id}`: it stands at {first} already"),
                "an id that is unique in the bundle",
            );
        }
        Some(PolicyId::from(id))
    }
}

/// Reads one policy file of either form.
pub(super) fn read(root: &Node, scope: Scope<'_>, ids: &mut Ids, report: &mut Report<'_>) -> Vec<Policy> {
    if root.get("policies").is_some() {
        return rulebook(root, scope, ids, report);
    }
    if root.get("rules").is_some() || root.get("name").is_some() {
        return gate(root, scope, ids, report).into_iter().collect();
    }
    report.error(
        root.start,
        "neither a gate nor a rulebook",
        "`name` and `rules`, or `version` and `policies`",
    );
    Vec::new()
}

fn gate(root: &Node, scope: Scope<'_>, ids: &mut Ids, report: &mut Report<'_>) -> Option<Policy> {
    let map = fields(root, "a gate", GATE_KEYS, report)?;
    let id = map.required("name", "the gate's id", report).and_then(|node| ids.take(node, "name", report));
    let head = Head::read(&map, id.as_deref(), scope, report);
    let items =
        map.required("rules", "a list of rules", report).and_then(|node| list(node, "rules", report))?;
    if items.is_empty() {
        report.error(map.at, "`rules` is empty", "at least one rule");
    }
    let mut rules: Vec<Rule> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut always = false;
    for (index, item) in items.iter().enumerate() {
        if always {
            report.lint(
                item.start,
                format!("rule `{}` is never reached", index + 1),
                "a condition on the rule before it",
            );
        }
        let Some(rule) = rule(item, index + 1, scope, report) else { continue };
        if !seen.insert(rule.id.clone()) {
            report.error(
                item.start,
                format!("duplicate rule id `{}`", rule.id),
                "an id that is unique in its gate",
            );
        }
        always |= rule.condition.is_none() && !matches!(rule.outcome, RuleOutcome::Check(_));
        rules.push(rule);
    }
    Some(head.policy(id?, report.file(), PolicyBody::Gate(rules)))
}

fn rule(node: &Node, position: usize, scope: Scope<'_>, report: &mut Report<'_>) -> Option<Rule> {
    let map = fields(node, "a rule", RULE_KEYS, report)?;
    let id = map.read("id", report, text).unwrap_or_else(|| Arc::from(position.to_string()));
    let id = name(&id, node.start, report);
    let written = map.get("condition");
    let compiled = written.and_then(|node| condition(node, "condition", report));
    let reason = map.read("reason", report, text);
    let outcome: Option<RuleOutcome> = outcome(&map, scope, report);
    if written.is_some() && compiled.is_none() {
        return None;
    }
    Some(Rule {
        id: RuleId::from(id?),
        condition: compiled,
        outcome: outcome?,
        reason,
        sentence: Sentence::default(),
    })
}

fn rulebook(root: &Node, scope: Scope<'_>, ids: &mut Ids, report: &mut Report<'_>) -> Vec<Policy> {
    let Some(map) = fields(root, "a rulebook", &["version", "policies"], report) else { return Vec::new() };
    if let Some(version) = map.required("version", "the rulebook's version, like \"1.0\"", report) {
        text(version, "version", report);
    }
    let policies = map.read("policies", report, |node, key, report| {
        list_of(node, key, report, |item, _, report| book_policy(item, scope, ids, report))
    });
    policies.unwrap_or_default()
}

fn book_policy(node: &Node, scope: Scope<'_>, ids: &mut Ids, report: &mut Report<'_>) -> Option<Policy> {
    let map = fields(node, "a policy", BOOK_POLICY_KEYS, report)?;
    let id = map.required("id", "the policy's id", report).and_then(|node| ids.take(node, "id", report));
    let head = Head::read(&map, id.as_deref(), scope, report);
    let extra = map.get("condition");
    let compiled = extra.and_then(|node| condition(node, "condition", report));
    let conditions =
        map.get("conditions").and_then(|node| fields(node, "conditions", BOOK_CONDITIONS, report));
    let actions = map
        .get("actions")
        .and_then(|node| fields(node, "actions", &["on_allow", "on_deny", "on_violation"], report));
    if map.get("conditions").is_none() && map.get("actions").is_none() {
        report.error(node.start, "the policy says nothing", "conditions, actions or both");
    }

    let requires = conditions.and_then(|c| c.read("requires_approval", report, boolean)).unwrap_or(false);
    let approval = approval(&map, requires, scope, report);
    for entry in APPROVAL_KEYS.iter().filter_map(|key| map.entry(key)).filter(|_| !requires) {
        report.error(
            entry.at,
            format!("`{}` does nothing without `requires_approval: true`", entry.key),
            "conditions: {requires_approval: true}",
        );
    }
    let allow = actions.and_then(|a| a.read("on_allow", report, word(&[("permit", true), ("allow", true)])));
    if let Some(actions) = actions {
        actions.read("on_deny", report, word(&[("deny", ())]));
    }
    let violation = actions.and_then(|a| {
        a.read("on_violation", report, word(&[("throttle", Violation::Throttle), ("deny", Violation::Deny)]))
    });
    let nonempty = |key: &str, report: &mut Report<'_>| {
        let node = conditions.and_then(|c| c.get(key))?;
        if matches!(&node.kind, super::source::Kind::List(items) if items.is_empty()) {
            mismatch(node, key, "at least one", report);
        }
        let read = texts(node, key, report)?;
        for (word, item) in read.iter().zip(node.items()) {
            let Ok(glob) = Glob::parse(word) else { continue };
            match key {
                "agent_types" => scope.held_by_an_agent(&glob, item.start, "type", |n| &n.types, report),
                _ => scope.held_by_an_agent(&glob, item.start, "role", |n| &n.roles, report),
            }
        }
        Some(read)
    };
    let book = Rulebook {
        allowed_roles: nonempty("allowed_roles", report),
        agent_types: nonempty("agent_types", report),
        max_cost: conditions.and_then(|c| c.read("max_cost_usd", report, money)),
        requires_approval: requires.then_some(approval),
        max_calls_per_minute: conditions
            .and_then(|c| c.read("max_calls_per_minute", report, count(0, u64::MAX))),
        max_cost_per_minute: conditions.and_then(|c| c.read("max_cost_per_minute_usd", report, money)),
        on_allow: allow.unwrap_or(false),
        on_violation: violation.unwrap_or(Violation::Throttle),
        condition: compiled,
    };
    if extra.is_some() && book.condition.is_none() {
        return None;
    }
    Some(head.policy(id?, report.file(), PolicyBody::Rulebook(Box::new(book))))
}

/// The keys that both forms share.
struct Head {
    description: Option<Arc<str>>,
    owner: Option<Arc<str>>,
    mode: Mode,
    on: Vec<Selector>,
}

impl Head {
    fn read(map: &Fields<'_>, id: Option<&str>, scope: Scope<'_>, report: &mut Report<'_>) -> Self {
        let id = id.map(short);
        if let (None, Some(id)) = (map.get("description"), &id) {
            report.lint(map.at, format!("policy `{id}` gives no rationale"), "description: why it exists");
        }
        if let (None, Some(id)) = (map.get("on"), &id) {
            report.lint(
                map.at,
                format!("policy `{id}` concerns every call: it has no `on`"),
                "on: which calls it is about",
            );
        }
        Self {
            description: map.read("description", report, text),
            owner: map.read("owner", report, text),
            mode: map
                .read("mode", report, word(&[("enforce", Mode::Enforce), ("shadow", Mode::Shadow)]))
                .unwrap_or(Mode::Enforce),
            on: map.get("on").map(|node| on(node, scope, report)).unwrap_or_default(),
        }
    }

    fn policy(self, id: PolicyId, file: &str, body: PolicyBody) -> Policy {
        let Self { description, owner, mode, on } = self;
        Policy { id, file: Arc::from(file), description, owner, mode, on, body }
    }
}

fn on(node: &Node, scope: Scope<'_>, report: &mut Report<'_>) -> Vec<Selector> {
    let Some(items) = list(node, "on", report) else { return Vec::new() };
    if items.is_empty() {
        report.error(node.start, "`on` is empty", "at least one entry, or no `on` for every call");
    }
    items.iter().filter_map(|item| selector(item, "on", scope, report)).collect()
}

/// One entry of `on` or `match`.
pub(super) fn selector(
    node: &Node,
    key: &str,
    scope: Scope<'_>,
    report: &mut Report<'_>,
) -> Option<Selector> {
    let map = fields(node, key, SELECTOR_KEYS, report)?;
    if map.is_empty() {
        report.error(
            node.start,
            format!("an entry of `{key}` is empty"),
            format!("one of {}", SELECTOR_KEYS.join(", ")),
        );
    }
    let read = |key: &str, report: &mut Report<'_>| -> Option<Glob> { map.read(key, report, glob) };
    let selector = Selector {
        action: read("action", report),
        tool: read("tool", report),
        label: read("label", report),
        upstream: read("upstream", report),
        agent: read("agent", report),
        role: read("role", report),
        agent_type: read("agent_type", report),
        workflow: read("workflow", report),
        resource: map.read("resource", report, uri_pattern),
        prompt: read("prompt", report),
    };
    let at = |key: &str| map.get(key).map_or(node.start, |n| n.start);
    for (what, glob) in [
        ("action", &selector.action),
        ("tool", &selector.tool),
        ("label", &selector.label),
        ("upstream", &selector.upstream),
        ("prompt", &selector.prompt),
    ] {
        if let Some(glob) = glob {
            scope.known_glob(glob, at(what), what, report);
        }
    }
    if let Some(glob) = &selector.role {
        scope.held_by_an_agent(glob, at("role"), "role", |names| &names.roles, report);
    }
    if let Some(glob) = &selector.agent_type {
        scope.held_by_an_agent(glob, at("agent_type"), "type", |names| &names.types, report);
    }
    if let Some(glob) = &selector.agent {
        scope.authority_glob(glob, at("agent"), "agent", |names| &names.agents, report);
    }
    if let Some(glob) = &selector.workflow {
        scope.authority_glob(glob, at("workflow"), "workflow", |names| &names.workflows, report);
    }
    Some(selector)
}
