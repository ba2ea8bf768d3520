//! Gates and rulebooks: the two forms of a policy file.

use super::{
    Mode, Policy, PolicyBody, Rule, RuleOutcome, Rulebook, Sentence, Violation,
    condition::Condition,
    names::Scope,
    outcome::{APPROVAL_KEYS, approval, condition, outcome},
    read::{
        Fields, boolean, count, fields, glob, list, list_of, mismatch, money, name, short, text, texts,
        uri_pattern, word,
    },
    source::{Node, Report},
};
use crate::model::{Glob, MicroUsd, PolicyId, RuleId, Selector, Share};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const GATE_KEYS: &[&str] = &["name", "description", "owner", "mode", "share", "on", "rules"];
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
    "grants",
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
    "share",
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
    "grants",
];
const BOOK_CONDITIONS: &[&str] = &[
    "allowed_roles",
    "agent_types",
    "max_cost_usd",
    "requires_approval",
    "max_calls_per_minute",
    "max_cost_per_minute_usd",
];
const SELECTOR_KEYS: &[&str] = &[
    "action",
    "tool",
    "label",
    "upstream",
    "agent",
    "role",
    "agent_type",
    "workflow",
    "capability",
    "tenant",
    "resource",
    "prompt",
];

/// Ids that stand for something else where a policy is named in a verdict or a record.
const RESERVED: &[&str] = &[
    "default",
    "required",
    "workflow",
    "autonomy",
    "loop",
    "freeze",
    "operator",
    "activation",
    "rollout",
    "rollout.seen",
];

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
    if root.get("policies").is_some() || root.get("version").is_some() && root.get("rules").is_none() {
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
    // What each rule before asks, by its id.
    let mut before: Vec<(RuleId, BTreeSet<String>)> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(rule) = rule(item, index + 1, scope, report) else { continue };
        unreachable(&rule, item, &before, report);
        // A service without an opinion leaves the call to the rules that follow.
        if !matches!(rule.outcome, RuleOutcome::Check(_)) {
            before.push((
                rule.id.clone(),
                rule.condition.as_ref().map(Condition::conjuncts).unwrap_or_default(),
            ));
        }
        if !seen.insert(rule.id.clone()) {
            report.error(
                item.start,
                format!("duplicate rule id `{}`", rule.id),
                "an id that is unique in its gate",
            );
        }
        rules.push(rule);
    }
    Some(head.policy(id?, report.file(), PolicyBody::Gate(rules)))
}

/// Lints a rule that no call gets to: the first rule whose condition is true gives the outcome.
fn unreachable(rule: &Rule, item: &Node, before: &[(RuleId, BTreeSet<String>)], report: &mut Report<'_>) {
    let own = rule.condition.as_ref().map(Condition::conjuncts).unwrap_or_default();
    let id = short(&rule.id);
    if let Some((first, asked)) = before.iter().find(|(_, asked)| asked.is_subset(&own)) {
        let first = short(first);
        let why = match asked.is_empty() {
            true => format!("rule `{first}` before it always applies"),
            false => format!("wherever it would apply, rule `{first}` before it does"),
        };
        report.doubt(
            item.start,
            format!("rule `{id}` is never reached: {why}"),
            format!(
                "`{id}` before `{first}`, or its removal: the first rule whose condition is true decides"
            ),
        );
    } else if rule.condition.as_ref().and_then(Condition::constant) == Some(false) {
        let expected = "a condition that can be true, or the removal of the rule";
        report.doubt(
            item.start,
            format!("rule `{id}` never applies: its condition is always false"),
            expected,
        );
    }
}

fn rule(node: &Node, position: usize, scope: Scope<'_>, report: &mut Report<'_>) -> Option<Rule> {
    let map = fields(node, "a rule", RULE_KEYS, report)?;
    let id = map.read("id", report, text).unwrap_or_else(|| Arc::from(position.to_string()));
    let id = name(&id, map.get("id").unwrap_or(node).start, report);
    let written = map.get("condition");
    let compiled = written.and_then(|node| condition(node, "condition", scope, report));
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
    let policies = map.required("policies", "a list of policies", report).and_then(|node| {
        list_of(node, "policies", report, |item, _, report| book_policy(item, scope, ids, report))
    });
    policies.unwrap_or_default()
}

fn book_policy(node: &Node, scope: Scope<'_>, ids: &mut Ids, report: &mut Report<'_>) -> Option<Policy> {
    let map = fields(node, "a policy", BOOK_POLICY_KEYS, report)?;
    let id = map.required("id", "the policy's id", report).and_then(|node| ids.take(node, "id", report));
    let head = Head::read(&map, id.as_deref(), scope, report);
    let extra = map.get("condition");
    let compiled = extra.and_then(|node| condition(node, "condition", scope, report));
    let conditions =
        map.get("conditions").and_then(|node| fields(node, "conditions", BOOK_CONDITIONS, report));
    let actions = map
        .get("actions")
        .and_then(|node| fields(node, "actions", &["on_allow", "on_deny", "on_violation"], report));
    if map.lacks("conditions") && map.lacks("actions") {
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
    let max_calls_per_minute =
        conditions.and_then(|c| c.read("max_calls_per_minute", report, count(0, u64::MAX)));
    let max_cost_per_minute = conditions.and_then(|c| c.read("max_cost_per_minute_usd", report, money));
    let zero = [
        ("max_calls_per_minute", max_calls_per_minute == Some(0)),
        ("max_cost_per_minute_usd", max_cost_per_minute == Some(MicroUsd::ZERO)),
    ];
    for (key, _) in zero.into_iter().filter(|(_, zero)| *zero && violation != Some(Violation::Deny)) {
        if let Some(entry) = conditions.and_then(|c| c.entry(key)) {
            report.lint(
                entry.at,
                "a cap of 0 lets no call through: to throttle says that there is room later, and there never is",
                "`on_violation: deny` where no such call may be made, or a cap above 0",
            );
        }
    }
    let book = Rulebook {
        allowed_roles: nonempty("allowed_roles", report),
        agent_types: nonempty("agent_types", report),
        max_cost: conditions.and_then(|c| c.read("max_cost_usd", report, money)),
        requires_approval: requires.then_some(approval),
        max_calls_per_minute,
        max_cost_per_minute,
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
        if let (true, Some(id)) = (map.lacks("description"), &id) {
            report.lint(map.at, format!("policy `{id}` gives no rationale"), "description: why it exists");
        }
        if let (true, Some(id)) = (map.lacks("on"), &id) {
            report.lint(
                map.at,
                format!("policy `{id}` concerns every call: it has no `on`"),
                "on: which calls it is about",
            );
        }
        Self {
            description: map.read("description", report, text),
            owner: map.read("owner", report, text),
            mode: mode(map, report),
            on: map.get("on").map(|node| on(node, scope, report)).unwrap_or_default(),
        }
    }

    fn policy(self, id: PolicyId, file: &str, body: PolicyBody) -> Policy {
        let Self { description, owner, mode, on } = self;
        Policy { id, file: Arc::from(file), description, owner, mode, on, body }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ModeWord {
    Enforce,
    Shadow,
    Share,
}

/// `mode`, with its `share`. What is wrong is an error, so that what is given in its place never counts.
fn mode(map: &Fields<'_>, report: &mut Report<'_>) -> Mode {
    const WORDS: &[(&str, ModeWord)] =
        &[("enforce", ModeWord::Enforce), ("shadow", ModeWord::Shadow), ("share", ModeWord::Share)];
    let written = map.read("mode", report, word(WORDS)).unwrap_or(ModeWord::Enforce);
    let share = map.read("share", report, |node, key, report| {
        let read = node.as_text().and_then(Share::parse);
        if read.is_none() {
            mismatch(node, key, Share::EXPECTED, report);
        }
        read
    });
    match (written, map.entry("share")) {
        (ModeWord::Share, None) => {
            let at = map.get("mode").map_or(map.at, |node| node.start);
            report.error(at, "`mode: share` does not say of how many calls", "share: 10%");
            Mode::Enforce
        }
        (ModeWord::Share, Some(_)) => share.map_or(Mode::Enforce, Mode::Share),
        (ModeWord::Enforce | ModeWord::Shadow, Some(entry)) => {
            report.error(entry.at, "`share` does nothing without `mode: share`", "mode: share");
            Mode::Enforce
        }
        (ModeWord::Enforce, None) => Mode::Enforce,
        (ModeWord::Shadow, None) => Mode::Shadow,
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
    if let Some(text) = node.as_text().filter(|text| !text.contains(':')) {
        let written = short(text);
        report.error(
            node.start,
            format!("`{written}` does not fit `{key}`"),
            format!("a key that says what it is about, like `tool: \"{written}\"`"),
        );
        return None;
    }
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
        capability: read("capability", report),
        tenant: read("tenant", report),
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
    if let Some(glob) = &selector.tenant {
        scope.held_by_an_agent(glob, at("tenant"), "tenant", |names| &names.tenants, report);
    }
    if let Some(glob) = &selector.capability {
        scope.authority_glob(glob, at("capability"), "capability", |names| &names.capabilities, report);
    }
    if let Some(glob) = &selector.agent {
        scope.authority_glob(glob, at("agent"), "agent", |names| &names.agents, report);
    }
    if let Some(glob) = &selector.workflow {
        scope.authority_glob(glob, at("workflow"), "workflow", |names| &names.workflows, report);
    }
    Some(selector)
}
