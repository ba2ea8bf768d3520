//! What a rule says: its condition, and the keys that go with each decision word.

use super::{
    ApprovalRule, ArgumentEdit, ChannelKind, CheckRule, Constraints, Escalation, GrantLimits, OnCheckError,
    Remediation, RuleOutcome,
    condition::Condition,
    names::{Deciding, Scope},
    read::{
        DAYS_366, Fields, boolean, count, duration, entries, fields, json, list_of, mismatch, money, number,
        pointer, pointers, text, word,
    },
    source::{Node, Report},
};
use crate::model::{Decision, Glob};
use std::time::Duration;

const DEFAULT_EXPIRY: Duration = Duration::from_secs(15 * 60);
const DEFAULT_RETRY: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

pub(super) const DECISIONS: &[(&str, Decision)] = &[
    ("ALLOW", Decision::Allow),
    ("ALLOW_WITH_CONSTRAINTS", Decision::AllowWithConstraints),
    ("REQUIRE_APPROVAL", Decision::RequireApproval),
    ("REMEDIATE", Decision::Remediate),
    ("SUGGEST", Decision::Suggest),
    ("THROTTLE", Decision::Throttle),
    ("DENY", Decision::Deny),
];

const CHANNELS: &[(&str, ChannelKind)] = &[
    ("elicitation", ChannelKind::Elicitation),
    ("inbox", ChannelKind::Inbox),
    ("mcp", ChannelKind::Mcp),
    ("cli", ChannelKind::Cli),
    ("api", ChannelKind::Api),
    ("link", ChannelKind::Link),
];

/// The keys of an approval requirement, beside `decision: REQUIRE_APPROVAL` or `requires_approval`.
pub(super) const APPROVAL_KEYS: &[&str] =
    &["approvers", "quorum", "expires_in", "escalate", "evidence_required", "channels", "separate", "grants"];

/// A condition; the place of an error inside it is mapped into the file.
pub(super) fn condition(
    node: &Node,
    key: &str,
    scope: Scope<'_>,
    report: &mut Report<'_>,
) -> Option<Condition> {
    let source = match node.as_text() {
        Some(source) => source,
        None if matches!(node.kind, super::source::Kind::Bool(true)) => "true",
        None if matches!(node.kind, super::source::Kind::Bool(false)) => "false",
        None => {
            mismatch(node, key, "a condition in CEL, like \"env == 'production'\"", report);
            return None;
        }
    };
    match Condition::compile_in(source, scope.zones) {
        Ok(condition) => {
            environments(node, &condition, scope, report);
            labels(node, &condition, scope, report);
            Some(condition)
        }
        Err(error) => {
            let at = report.inside(node, error.offset);
            let message = if error.message.contains('`') {
                error.message
            } else {
                format!("`{}`: {}", super::read::short(&error.offending), error.message)
            };
            report.error(at, message, error.expected);
            None
        }
    }
}

/// Environments that a condition compares with and that this gateway is not in: a rule about one that is nowhere never
/// applies.
fn environments(node: &Node, condition: &Condition, scope: Scope<'_>, report: &mut Report<'_>) {
    for (name, offset) in condition.environments() {
        let at = report.inside(node, offset);
        scope.environment(&name, at, report);
    }
}

/// Levels and labels that a condition looks for and that data never has.
fn labels(node: &Node, condition: &Condition, scope: Scope<'_>, report: &mut Report<'_>) {
    for (name, offset) in condition.levels() {
        let at = report.inside(node, offset);
        scope.label(&name, at, false, report);
    }
    for (name, offset) in condition.session_labels() {
        let at = report.inside(node, offset);
        scope.label(&name, at, true, report);
    }
}

const ON_ERROR: &[(&str, OnCheckError)] = &[
    ("DENY", OnCheckError::Deny),
    ("REQUIRE_APPROVAL", OnCheckError::RequireApproval),
    ("ALLOW", OnCheckError::Allow),
];

/// A rule that asks an HTTP service, in place of a `decision`.
fn check(node: &Node, map: &Fields<'_>, scope: Scope<'_>, report: &mut Report<'_>) -> Option<RuleOutcome> {
    for key in ["decision", "constraints", "remediation", "retry_after"] {
        if let Some(entry) = map.entry(key) {
            report.error(
                entry.at,
                format!("`{key}` beside `check`: the service's answer is the decision"),
                "either `decision` or `check`; what holds without an answer is `on_error`",
            );
        }
    }
    let name = text(node, "check", report)?;
    scope.check(&name, node.start, report);
    let on_error = map.read("on_error", report, word(ON_ERROR)).unwrap_or_default();
    let approval = approval(map, true, scope, report);
    Some(RuleOutcome::Check(CheckRule { check: name, on_error, approval }))
}

/// The outcome of a gate's rule; keys that belong to another decision are errors.
pub(super) fn outcome(map: &Fields<'_>, scope: Scope<'_>, report: &mut Report<'_>) -> Option<RuleOutcome> {
    if let Some(node) = map.get("check") {
        return check(node, map, scope, report);
    }
    if let Some(entry) = map.entry("on_error") {
        report.error(entry.at, "`on_error` does nothing without `check`", "check: NAME");
    }
    let decision = map
        .required(
            "decision",
            "one of ALLOW, ALLOW_WITH_CONSTRAINTS, REQUIRE_APPROVAL, REMEDIATE, SUGGEST, THROTTLE, DENY",
            report,
        )
        .and_then(|node| word(DECISIONS)(node, "decision", report))?;
    let belongs = |keys: &[&str], to: Decision, report: &mut Report<'_>| {
        for entry in keys.iter().filter_map(|key| map.entry(key)).filter(|_| decision != to) {
            report.error(
                entry.at,
                format!("`{}` does nothing where the decision is `{decision}`", entry.key),
                format!("`{}` only beside `decision: {to}`", entry.key),
            );
        }
    };
    belongs(APPROVAL_KEYS, Decision::RequireApproval, report);
    belongs(&["constraints"], Decision::AllowWithConstraints, report);
    belongs(&["remediation"], Decision::Remediate, report);
    belongs(&["retry_after"], Decision::Throttle, report);
    match decision {
        Decision::Allow => Some(RuleOutcome::Allow),
        Decision::Suggest => Some(RuleOutcome::Suggest),
        Decision::Deny => Some(RuleOutcome::Deny),
        Decision::Throttle => {
            let wait = map.read("retry_after", report, duration(Duration::from_millis(1), DAYS_366));
            Some(RuleOutcome::Throttle(wait.unwrap_or(DEFAULT_RETRY)))
        }
        Decision::RequireApproval => Some(RuleOutcome::RequireApproval(approval(map, true, scope, report))),
        Decision::AllowWithConstraints => map
            .required("constraints", "the limits that apply, like { timeout: 300s }", report)
            .and_then(|node| constraints(node, report))
            .map(RuleOutcome::AllowWithConstraints),
        Decision::Remediate => map
            .required("remediation", "{mode: suggest | apply, set, remove, tool, reason}", report)
            .and_then(|node| remediation(node, scope, report))
            .map(RuleOutcome::Remediate),
    }
}

/// The approval requirement stated by these keys.
pub(super) fn approval(
    map: &Fields<'_>,
    is_asked: bool,
    scope: Scope<'_>,
    report: &mut Report<'_>,
) -> ApprovalRule {
    let approvers = map.read("approvers", report, |node, key, report| scope.approvers(node, key, report));
    let quorum = map.read("quorum", report, count(1, 100)).and_then(|q| u32::try_from(q).ok()).unwrap_or(1);
    let expires_in = map.read("expires_in", report, duration(SECOND, DAYS_366)).unwrap_or(DEFAULT_EXPIRY);
    let escalate = map.get("escalate").and_then(|node| escalation(node, expires_in, scope, report));
    let separate = map.read("separate", report, boolean).unwrap_or(false);
    let channels = map.read("channels", report, |node, key, report| {
        if node.items().is_empty() {
            mismatch(node, key, "at least one of elicitation, inbox, mcp, cli, api, link", report);
        }
        list_of(node, key, report, channel)
    });
    let own_client_only = channels
        .as_ref()
        .is_some_and(|all| !all.is_empty() && all.iter().all(|channel| *channel == ChannelKind::Elicitation));
    if let Some(node) = map.get("channels").filter(|_| own_client_only) {
        report.lint(
            node.start,
            "this is approved in the agent's own chat alone, where no key proves who answers",
            "a channel that does beside it: inbox, mcp, cli, api or link",
        );
    }
    let by = Deciding { separate, own_client_only };
    match (&approvers, map.get("approvers")) {
        (Some(approvers), Some(node)) if !approvers.is_empty() => {
            let later = escalate.iter().flat_map(|e| e.to.iter().cloned());
            let all: Vec<_> = approvers.iter().cloned().chain(later).collect();
            scope.somebody(&all, quorum, by, node.start, report);
        }
        (None, None) if is_asked => scope.somebody_by_default(quorum, by, map.at, report),
        (Some(_) | None, Some(_) | None) => {}
    }
    ApprovalRule {
        approvers,
        quorum,
        expires_in,
        escalate,
        evidence_required: map.read("evidence_required", report, boolean).unwrap_or(false),
        channels: channels.unwrap_or_else(|| ChannelKind::ALL.to_vec()),
        separate,
        grants: map.get("grants").and_then(|node| grants(node, report)),
    }
}

/// Services that tell people, and in which nobody decides.
const CHATS: &[&str] =
    &["slack", "teams", "discord", "chat", "telegram", "mattermost", "whatsapp", "webhook", "email", "mail"];

fn channel(node: &Node, key: &str, report: &mut Report<'_>) -> Option<ChannelKind> {
    if let Some(chat) = node.as_text().filter(|text| CHATS.contains(&text.to_ascii_lowercase().as_str())) {
        report.error(
            node.start,
            format!("`{}` tells people, and nobody decides there", super::read::short(chat)),
            "one of elicitation, inbox, mcp, cli, api, link; `[webhook]` in servers.toml tells of approvals",
        );
        return None;
    }
    word(CHANNELS)(node, key, report)
}

/// How far a standing grant may go where the file does not say.
const GRANTED: GrantLimits = GrantLimits { max_duration: Duration::from_secs(60 * 60), max_uses: 10 };
/// The most uses that a rule may allow.
const MOST_USES: u64 = 1_000_000;

fn grants(node: &Node, report: &mut Report<'_>) -> Option<GrantLimits> {
    let map = fields(node, "grants", &["max_duration", "max_uses"], report)?;
    Some(GrantLimits {
        max_duration: map
            .read("max_duration", report, duration(SECOND, DAYS_366))
            .unwrap_or(GRANTED.max_duration),
        max_uses: map.read("max_uses", report, count(1, MOST_USES)).unwrap_or(GRANTED.max_uses),
    })
}

fn escalation(
    node: &Node,
    expires_in: Duration,
    scope: Scope<'_>,
    report: &mut Report<'_>,
) -> Option<Escalation> {
    let map = fields(node, "escalate", &["after", "to"], report)?;
    let at = map.required("after", "a duration like 10m", report);
    let after = at.and_then(|node| duration(SECOND, DAYS_366)(node, "after", report));
    if let (Some(node), Some(after)) = (at, after)
        && after >= expires_in
    {
        mismatch(
            node,
            "after",
            &format!("less than expires_in ({})", super::read::show_duration(expires_in)),
            report,
        );
    }
    let to = map.required("to", "a list of groups and people", report);
    let to = to.and_then(|node| scope.approvers(node, "to", report));
    Some(Escalation { after: after?, to: to? })
}

const CONSTRAINT_KEYS: &[&str] =
    &["timeout", "max_cost", "max_result_tokens", "max_result_bytes", "read_only", "arguments", "redact"];

/// Limits by the keys of rules.
pub(super) fn constraints(node: &Node, report: &mut Report<'_>) -> Option<Constraints> {
    let map = fields(node, "constraints", CONSTRAINT_KEYS, report)?;
    if map.is_empty() {
        report.error(
            node.start,
            "`constraints` is empty",
            format!("at least one of {}", CONSTRAINT_KEYS.join(", ")),
        );
    }
    Some(Constraints {
        timeout: map.read("timeout", report, duration(Duration::from_millis(1), DAYS_366)),
        max_cost: map.read("max_cost", report, money),
        max_result_tokens: map.read("max_result_tokens", report, count(1, u64::MAX)),
        max_result_bytes: map.read("max_result_bytes", report, super::read::bytes(1, u64::MAX)),
        read_only: map.read("read_only", report, boolean).unwrap_or(false),
        arguments: map.get("arguments").map(|node| arguments(node, report)).unwrap_or_default(),
        redact: map.read("redact", report, pointers).unwrap_or_default(),
    })
}

fn arguments(node: &Node, report: &mut Report<'_>) -> Vec<ArgumentEdit> {
    let Some(map) = fields(node, "arguments", &["set", "remove", "clamp"], report) else { return Vec::new() };
    let mut edits = set_and_remove(&map, report);
    let clamps = map.get("clamp").and_then(|node| entries(node, "clamp", report)).unwrap_or(&[]);
    for entry in clamps {
        let at = pointer(&entry.key, entry.at, false, report);
        let Some(bounds) = fields(&entry.value, &entry.key, &["min", "max"], report) else { continue };
        let min = bounds.read("min", report, number);
        let max = bounds.read("max", report, number);
        if bounds.get("min").is_none() && bounds.get("max").is_none() {
            report.error(entry.value.start, format!("`{}` has no bound", entry.key), "min, max or both");
        }
        if let (Some(low), Some(high)) = (&min, &max)
            && low.as_f64().zip(high.as_f64()).is_some_and(|(low, high)| low > high)
        {
            report.error(entry.value.start, format!("`{low}` is above `{high}`"), "min not above max");
        }
        if let Some(at) = at {
            edits.push(ArgumentEdit::Clamp { at, min, max });
        }
    }
    if map.is_empty() {
        report.error(node.start, "`arguments` is empty", "set, remove or clamp");
    }
    edits
}

fn set_and_remove(map: &Fields<'_>, report: &mut Report<'_>) -> Vec<ArgumentEdit> {
    let mut edits = Vec::new();
    for entry in map.get("set").and_then(|node| entries(node, "set", report)).unwrap_or(&[]) {
        let at = pointer(&entry.key, entry.at, false, report);
        let value = json(&entry.value, &entry.key, report);
        edits.extend(at.zip(value).map(|(at, value)| ArgumentEdit::Set(at, value)));
    }
    let removed = map.read("remove", report, |node, key, report| {
        list_of(node, key, report, |item, key, report| {
            let Some(text) = item.as_text() else {
                mismatch(item, key, "a JSON pointer or a member's name", report);
                return None;
            };
            pointer(text, item.start, false, report).map(ArgumentEdit::Remove)
        })
    });
    edits.extend(removed.unwrap_or_default());
    edits
}

fn remediation(node: &Node, scope: Scope<'_>, report: &mut Report<'_>) -> Option<Remediation> {
    let map = fields(node, "remediation", &["mode", "set", "remove", "tool", "reason"], report)?;
    let mode = map.required("mode", "suggest or apply", report);
    let apply = mode.and_then(|node| word(&[("suggest", false), ("apply", true)])(node, "mode", report));
    let edits = set_and_remove(&map, report);
    let tool = map.read("tool", report, text);
    if let (Some(tool), Some(node)) = (&tool, map.get("tool"))
        && let Ok(glob) = Glob::parse(tool)
    {
        if glob.literal().is_none() {
            mismatch(node, "tool", "one exposed tool name, without `*`", report);
        } else {
            scope.known_glob(&glob, node.start, "tool", report);
        }
    }
    if ["set", "remove", "tool"].iter().all(|key| map.get(key).is_none()) {
        report.error(node.start, "`remediation` changes nothing", "set, remove or tool");
    }
    let reason = map.read("reason", report, text);
    Some(Remediation { apply: apply?, edits, tool, reason })
}
