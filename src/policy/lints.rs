//! Lints of a bundle as a whole: what no single line shows. They are told where nothing in the bundle is an error.

use super::{
    Policy, PolicyBody,
    condition::Condition,
    names::Scope,
    parts::Parts,
    shown::short,
    source::{Kind, Node, Report},
};
use crate::model::{Decision, Glob, Selector};

/// What the policies and budgets leave out.
pub(super) fn bundle(root: &Node, parts: &Parts, report: &mut Report<'_>) {
    let open = parts.bundle.as_ref().is_some_and(|(info, ..)| info.default_decision != Decision::Deny);
    let nothing_passes = parts.policies.is_empty() && !open;
    if nothing_passes {
        return;
    }
    if !parts.policies.iter().any(|policy| looks_at_who(policy) || looks_at_sensitivity(policy)) {
        report.lint(
            root.start,
            "no policy looks at who calls or at what data: all agents are trusted alike, whatever their role and whatever \
             the sensitivity of what they send",
            "a rule on `role` or `agent_type`, or on `data.level` or `session.labels`, like \"data.level == 'restricted'\"",
        );
    }
    if parts.budgets.is_empty() {
        report.lint(
            root.start,
            "no budget caps what agents do and cost: what was spent too much is seen afterwards",
            "budgets.yaml, like `budgets: [{ id: agent-day, scope: agent, window: day, max_cost_usd: 5.00 }]`",
        );
    }
}

fn looks_at_who(policy: &Policy) -> bool {
    let by_key =
        |on: &Selector| [&on.role, &on.agent_type, &on.agent, &on.tenant].iter().any(|key| key.is_some());
    let by_body = match &policy.body {
        PolicyBody::Rulebook(book) => book.allowed_roles.is_some() || book.agent_types.is_some(),
        PolicyBody::Gate(_) => false,
    };
    by_body || policy.on.iter().any(by_key) || policy.conditions().any(Condition::reads_who)
}

fn looks_at_sensitivity(policy: &Policy) -> bool {
    policy.conditions().any(Condition::reads_sensitivity)
}

/// Workflows whose asks may wait without anybody being told.
pub(super) fn workflows(root: &Node, parts: &Parts, report: &mut Report<'_>) {
    if !parts.asks(|_| true) {
        return;
    }
    for entry in root.get("workflows").map(Node::entries).unwrap_or_default() {
        if entry.value.get("approval_sla").is_none() {
            report.lint(
                entry.at,
                format!(
                    "workflow `{}` has no approval_sla: nobody is told when its approvals wait too long",
                    short(&entry.key)
                ),
                "approval_sla: how long an approval may wait, like 15m",
            );
        }
    }
}

/// Detectors of secrets that are switched off, and exceptions for everything: records, logs and prompts then show raw input.
pub(super) fn data(root: &Node, scope: Scope<'_>, report: &mut Report<'_>) {
    for section in ["rules", "allow", "sources"] {
        for entry in root.get(section).map(Node::items).unwrap_or_default() {
            known_calls(entry, scope, report);
        }
    }
    for section in ["detectors", "fields"] {
        for entry in root.get(section).map(Node::entries).unwrap_or_default() {
            let off = entry.value.get("enabled").is_some_and(|node| node.kind == Kind::Bool(false));
            if off && holds_secrets(&entry.key) {
                report.lint(
                    entry.at,
                    format!(
                        "`{}` is switched off: the secrets that it finds stand in logs, records and prompts as they are",
                        short(&entry.key)
                    ),
                    "the detector, and an entry of `allow` for what it finds by mistake",
                );
            }
        }
    }
    for entry in root.get("allow").map(Node::items).unwrap_or_default() {
        let for_some = ["detectors", "on"].iter().any(|key| entry.get(key).is_some());
        let all = [("pattern", &[".*", ".+", "(?s).*", "[^\\n]*"][..]), ("pointer", &["/*", ""][..])];
        let everything = all.iter().find_map(|(key, wide)| {
            let node = entry.get(key)?;
            node.as_text().filter(|text| wide.contains(text)).map(|_| node)
        });
        if let Some(node) = everything.filter(|_| !for_some) {
            report.lint(
                node.start,
                "this allows everything: secrets stand in logs, records and prompts as they are",
                "the digest, the place or the pattern of what is meant, for some `detectors` only",
            );
        }
    }
}

/// Calls of which an entry of data.yaml speaks and that no upstream has: a value would go nowhere, or be masked nowhere.
fn known_calls(entry: &Node, scope: Scope<'_>, report: &mut Report<'_>) {
    for calls in ["on", "permitted"].iter().filter_map(|member| entry.get(member)) {
        for one in calls.items() {
            for what in ["upstream", "tool", "label"] {
                let Some(node) = one.get(what) else { continue };
                if let Some(Ok(glob)) = node.as_text().map(Glob::parse) {
                    scope.known_glob(&glob, node.start, what, report);
                }
            }
        }
    }
}

/// Names of detectors and fields whose finds are credentials.
fn holds_secrets(name: &str) -> bool {
    let words = [
        "key",
        "token",
        "secret",
        "password",
        "passwd",
        "jwt",
        "credential",
        "connection",
        "authorization",
        "entropy",
    ];
    words.iter().any(|word| name.contains(word))
}
