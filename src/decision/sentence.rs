//! The plain sentences of reasons. They are read by agents and people, so they say what would
//! work instead where that is known, and hold no value of the arguments.

use crate::{
    model::{Decision, MicroUsd},
    policy::{ApprovalRule, Approver, CheckAnswer, Constraints, Policy, Remediation, Rule, RuleOutcome},
    redaction::{hidden_as, is_hidden},
};
use std::{fmt::Write as _, time::Duration};

/// The longest text from outside that a reason repeats.
const LONGEST: usize = 80;
/// The longest description of a policy that a reason repeats.
const LONGEST_PURPOSE: usize = 200;

/// Text from outside: invisible and control characters are shown escaped, a cut is told.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(LONGEST) {
        match c {
            '`' => out.push('\''),
            c if is_hidden(c) => hidden_as(c, &mut out),
            c => out.push(c),
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

/// "a, b and c"
pub(super) fn and(words: &[String]) -> String {
    joined(words, "and")
}

/// "a, b or c"
pub(super) fn or(words: &[String]) -> String {
    joined(words, "or")
}

fn joined(words: &[String], last: &str) -> String {
    match words {
        [] => "nobody".to_owned(),
        [only] => only.clone(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

/// The author's own reason; else the condition in words and, where the call is stopped, what the policy is for.
pub(super) fn because(rule: &Rule, policy: &Policy) -> String {
    if let Some(reason) = &rule.reason {
        return format!(": {}", reason.trim_end_matches('.'));
    }
    let because = rule
        .condition
        .as_ref()
        .map(|condition| format!(" because {}", condition.phrase()))
        .unwrap_or_default();
    let stops = rule.outcome.decision() > Decision::AllowWithConstraints;
    match policy.description.as_deref().filter(|_| stops).map(one_line).filter(|text| !text.is_empty()) {
        Some(purpose) => format!("{because}: {purpose}"),
        None => because,
    }
}

/// A text of the bundle as part of a sentence.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().take(LONGEST_PURPOSE).collect();
    line.trim_end_matches('.').to_owned()
}

/// What an external check says, in the words of a rule.
pub(super) fn checked(check: &str, answer: &CheckAnswer) -> String {
    match (&answer.error, &answer.reason) {
        (Some(error), _) => format!("the external check `{check}` gave no answer ({error})"),
        (None, Some(reason)) => {
            format!("the external check `{check}` says: {}", reason.trim_end_matches('.'))
        }
        (None, None) => format!("the external check `{check}` says so"),
    }
}

/// What other rules of the same gate let a call do that this one denies.
pub(super) fn instead(rules: &[Rule], denied: &Rule) -> String {
    let ways: Vec<String> = rules
        .iter()
        .filter(|other| other.id != denied.id)
        .filter_map(|other| {
            let how = match &other.outcome {
                RuleOutcome::Allow | RuleOutcome::AllowWithConstraints(_) => "is allowed",
                RuleOutcome::RequireApproval(_) => "can be approved",
                RuleOutcome::Remediate(_) => "has a safer variant",
                RuleOutcome::Suggest => "can be proposed",
                RuleOutcome::Throttle(_) | RuleOutcome::Deny | RuleOutcome::Check(_) => return None,
            };
            let wherever = other.condition.as_ref()?.phrase();
            Some(format!("{how} where {wherever} (rule {})", other.id))
        })
        .take(2)
        .collect();
    if ways.is_empty() { String::new() } else { format!("; a call {}", and(&ways)) }
}

/// Who may decide: "two of security-team or platform-lead, with evidence".
pub(super) fn approvers(rule: &ApprovalRule, default: Option<&[Approver]>) -> String {
    let named: Vec<String> = match rule.approvers.as_deref().or(default) {
        Some(approvers) => approvers.iter().map(approver).collect(),
        None => vec!["an approver".to_owned()],
    };
    let mut text = or(&named);
    if rule.quorum > 1 {
        text = format!("{} people of {text}", rule.quorum);
    }
    if rule.evidence_required {
        text.push_str(" with evidence");
    }
    text
}

/// One approver in words.
pub(super) fn approver(approver: &Approver) -> String {
    match approver {
        Approver::Group(group) => group.to_string(),
        Approver::Person(person) => person.to_string(),
        Approver::Operator => "the agent's operator".to_owned(),
    }
}

/// "a timeout of 5m and at most $50"
pub(super) fn constraints(of: &Constraints) -> String {
    let mut parts = Vec::new();
    if let Some(timeout) = of.timeout {
        parts.push(format!("a timeout of {}", duration(timeout)));
    }
    if let Some(cost) = of.max_cost {
        parts.push(format!("a cost of at most ${cost}"));
    }
    if let Some(tokens) = of.max_result_tokens {
        parts.push(format!("a result of at most {tokens} tokens"));
    }
    if let Some(bytes) = of.max_result_bytes {
        parts.push(format!("a result of at most {bytes} bytes"));
    }
    if of.read_only {
        parts.push("read-only tools".to_owned());
    }
    if !of.arguments.is_empty() {
        parts.push("changed arguments".to_owned());
    }
    if !of.redact.is_empty() {
        parts.push("a redacted result".to_owned());
    }
    if parts.is_empty() { "no limits".to_owned() } else { and(&parts) }
}

/// What a remediation does.
pub(super) fn remediation(of: &Remediation) -> String {
    let mut text = if of.apply { "replaced by a safer call" } else { "a safer call is proposed" }.to_owned();
    if let Some(tool) = &of.tool {
        text.push_str(if of.apply { " of " } else { ": use " });
        text.push_str(tool);
    }
    if let Some(reason) = &of.reason {
        text.push_str(", as ");
        text.push_str(reason.trim_end_matches('.'));
    }
    text
}

/// An estimate above a limit per call.
pub(super) fn too_costly(estimate: MicroUsd, limit: MicroUsd) -> String {
    format!("the call would cost an estimated ${estimate}, and at most ${limit} is allowed for one call")
}

/// "1h30m"
pub(super) fn duration(of: Duration) -> String {
    let (seconds, millis) = (of.as_secs(), of.subsec_millis());
    let mut text = String::new();
    for (unit, count) in [("h", seconds / 3600), ("m", seconds / 60 % 60), ("s", seconds % 60)] {
        if count > 0 {
            // Writing to a String cannot fail.
            write!(text, "{count}{unit}").unwrap_or_default();
        }
    }
    if millis > 0 || text.is_empty() {
        write!(text, "{millis}ms").unwrap_or_default();
    }
    text
}
