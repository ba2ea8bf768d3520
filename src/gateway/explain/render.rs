//! An explanation as a tree that a person reads.

use super::answer::{
    ApprovalView, CallView, ChangeView, ConstraintSource, EvaluationView, Explanation, LimitView, LoopView,
};
use crate::{
    decision::{CapabilityTree, PolicyTree, RuleCame, RuleTree},
    model::{EventDecision, counted},
    policy::condition::{Came, Part, ReadValue},
    redaction::display_text,
};
use serde_json::Value;
use std::fmt::{self, Write};

/// Policies that do not concern the call and are told one by one.
const MOST_OTHERS: usize = 40;

/// The longest arguments of a change, in characters.
const LONGEST_TRIED: usize = 200;

/// Renders it. Ends with a line feed.
pub fn render(told: &Explanation) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    whole(told, &mut out).unwrap_or_default();
    out
}

fn whole(told: &Explanation, out: &mut String) -> fmt::Result {
    writeln!(
        out,
        "{}: {}",
        attributed(told.decision, &told.policy_id, told.rule_id.as_deref()),
        told.reason
    )?;
    if let Some(call) = &told.call {
        writeln!(out, "{}", target(call))?;
        writeln!(out, "  arguments  {}", call.arguments)?;
        writeln!(
            out,
            "  estimate   ${}, {} tokens; data {}{}",
            call.cost_estimate_usd,
            call.tokens,
            call.level,
            listed(", found: ", &call.findings)
        )?;
    }
    writeln!(out, "  bundle     {}, environment {}", told.policy_snapshot, told.environment)?;
    for (index, one) in told.evaluations.iter().enumerate() {
        if told.evaluations.len() > 1 {
            let which = if index == 0 { "the call as it came" } else { "as rules changed it" };
            writeln!(out, "\n{which}: {} {}, {} by itself", one.name, one.arguments, one.decision)?;
        }
        evaluation(one, out)?;
    }
    combined(told, out)?;
    limits(told, out)?;
    if !told.approvals.is_empty() {
        writeln!(out, "\nwho would be asked")?;
        told.approvals.iter().try_for_each(|one| writeln!(out, "  {}", asked(one)))?;
    }
    if let Some(remediation) = &told.remediation {
        writeln!(out, "\nsafer call\n  {remediation}")?;
    }
    if let Some(wait) = told.retry_after_ms {
        writeln!(out, "\nmay be made again after {wait} ms")?;
    }
    if !told.changes.is_empty() {
        writeln!(out, "\nwhat other arguments would change (each was decided)")?;
        told.changes.iter().try_for_each(|one| writeln!(out, "  {}", changed(one)))?;
    }
    if !told.notes.is_empty() {
        writeln!(out, "\nnotes")?;
        told.notes.iter().try_for_each(|note| writeln!(out, "  {note}"))?;
    }
    Ok(())
}

fn attributed(decision: EventDecision, policy: &str, rule: Option<&str>) -> String {
    match rule {
        Some(rule) => format!("{decision} by {policy}, rule {rule}"),
        None => format!("{decision} by {policy}"),
    }
}

fn listed(before: &str, all: &[impl AsRef<str>]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let all: Vec<&str> = all.iter().map(AsRef::as_ref).collect();
    format!("{before}{}", all.join(", "))
}

fn target(call: &CallView) -> String {
    let workflow = call.workflow.as_ref().map(|id| format!(" in workflow {id}")).unwrap_or_default();
    let user = call.user.as_ref().map(|id| format!(" for {id}")).unwrap_or_default();
    format!(
        "  call       {} {} by {}{user}{workflow} at {}\n  target     upstream {}, action {}{}",
        call.kind.as_str(),
        call.name,
        call.agent,
        call.now,
        call.upstream,
        call.action,
        listed(", labels ", &call.labels),
    )
}

fn evaluation(one: &EvaluationView, out: &mut String) -> fmt::Result {
    if !one.tree.capabilities.is_empty() {
        writeln!(out, "\ncapabilities")?;
        one.tree.capabilities.iter().try_for_each(|capability| self::capability(capability, out))?;
    }
    let (concerned, others): (Vec<&PolicyTree>, Vec<&PolicyTree>) =
        one.tree.policies.iter().partition(|policy| policy.concerns);
    if !concerned.is_empty() {
        writeln!(out, "\npolicies that concern the call")?;
    }
    concerned.into_iter().try_for_each(|policy| self::policy(policy, out))?;
    if others.is_empty() {
        return Ok(());
    }
    writeln!(out, "\npolicies that do not concern it")?;
    for policy in others.iter().take(MOST_OTHERS) {
        let why = policy.why_not.as_deref().unwrap_or_default();
        writeln!(out, "  {}: {why}", policy.policy_id)?;
    }
    match others.len().checked_sub(MOST_OTHERS) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(out, "  {more} more"),
    }
}

fn capability(one: &CapabilityTree, out: &mut String) -> fmt::Result {
    let what = match one.result {
        RuleCame::Applies => "lets the call through",
        RuleCame::DoesNotApply => "does not cover it: its condition is false",
        RuleCame::Error => "does not cover it: its condition has no answer",
        RuleCame::Masked => "its condition depends on a masked value",
        RuleCame::NotReached => "was not needed",
    };
    writeln!(out, "  {} {}: {what}", mark(one.result), one.capability)?;
    one.condition.as_ref().map_or(Ok(()), |part| self::part(part, 2, out))
}

fn mark(of: RuleCame) -> &'static str {
    match of {
        RuleCame::Applies => "[x]",
        RuleCame::DoesNotApply => "[ ]",
        RuleCame::Error => "[!]",
        RuleCame::Masked => "[?]",
        RuleCame::NotReached => " - ",
    }
}

fn policy(one: &PolicyTree, out: &mut String) -> fmt::Result {
    let shadow = match &one.share {
        Some(share) if share.counts => format!(" ({} of calls, with this one)", share.of_calls),
        Some(share) => format!(" ({} of calls, without this one: shadow)", share.of_calls),
        None if one.mode == "enforce" => String::new(),
        None => format!(" ({})", one.mode),
    };
    let came = match one.decision {
        Some(decision) => decision.to_string(),
        None => "no outcome".to_owned(),
    };
    writeln!(out, "  {}{shadow} in {}: {came}", one.policy_id, one.file)?;
    one.rules.iter().try_for_each(|rule| self::rule(rule, out))
}

fn rule(one: &RuleTree, out: &mut String) -> fmt::Result {
    let says = one.decision.map(|decision| format!("-> {decision}")).unwrap_or_default();
    let alone = match (&one.condition, one.result) {
        (None, RuleCame::Applies) => " (always)",
        (None, _) => " (always, but a rule before it applies)",
        (Some(_), RuleCame::NotReached) => " (a rule before it applies)",
        (Some(_), _) => "",
    };
    match (&one.rule_id, &one.condition) {
        // A key of a rulebook's policy is its own name.
        (None, Some(key)) if key.parts.is_empty() && key.error.is_none() => {
            let line = format!("{} {says}{alone}{}", key.text, values(key));
            writeln!(out, "    {} {}", mark(one.result), line.trim())
        }
        (name, condition) => {
            let name = name.as_ref().map(|id| format!("{id} ")).unwrap_or_default();
            writeln!(out, "    {} {}", mark(one.result), format!("{name}{says}{alone}").trim())?;
            condition.as_ref().map_or(Ok(()), |part| self::part(part, 3, out))
        }
    }
}

fn values(of: &Part) -> String {
    let all: Vec<String> =
        of.values.iter().map(|ReadValue { name, value }| format!("{name} = {value}")).collect();
    if all.is_empty() { String::new() } else { format!("   [{}]", all.join(", ")) }
}

fn part(one: &Part, depth: usize, out: &mut String) -> fmt::Result {
    let came = match one.result {
        Came::True => "true ",
        Came::False => "false",
        Came::Error => "error",
        Came::Masked => "masked",
    };
    let indent = "  ".repeat(depth + 1);
    let values = values(one);
    let error = one.error.as_ref().map(|error| format!("   ({error})")).unwrap_or_default();
    writeln!(out, "{indent}{came}  {}{values}{error}", one.text)?;
    one.parts.iter().try_for_each(|below| part(below, depth + 1, out))
}

/// How the outcomes made one decision.
fn combined(told: &Explanation, out: &mut String) -> fmt::Result {
    let steps: Vec<&Value> = told.steps.as_array().into_iter().flatten().collect();
    if steps.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nwhat was said, in order; the strictest counts")?;
    for step in steps {
        let word = |name: &str| step.get(name).and_then(Value::as_str).unwrap_or_default();
        let rule = step.get("rule_id").and_then(Value::as_str);
        let rule = rule.map(|rule| format!(" / {rule}")).unwrap_or_default();
        writeln!(out, "  {:<23} {}{rule}: {}", word("decision"), word("policy_id"), word("reason"))?;
    }
    Ok(())
}

fn limits(told: &Explanation, out: &mut String) -> fmt::Result {
    if told.constraints.is_empty() && told.limits.is_empty() && told.loops.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nlimits")?;
    for (key, value) in &told.constraints {
        let of = |source: &&ConstraintSource| source.constraints.get(key) == Some(value);
        let from: Vec<String> = told
            .constraint_sources
            .iter()
            .filter(of)
            .map(|source| match &source.rule_id {
                Some(rule) => format!("{} / {rule}", source.policy_id),
                None => source.policy_id.to_string(),
            })
            .collect();
        let from = if from.is_empty() { "several rules".to_owned() } else { from.join(", ") };
        writeln!(out, "  {key} {}   (from {from})", plain(value))?;
    }
    told.limits.iter().try_for_each(|limit| writeln!(out, "  {}", counter(limit)))?;
    told.loops.iter().try_for_each(|one| writeln!(out, "  {}", looped(one)))
}

fn looped(one: &LoopView) -> String {
    let what = match one.kind {
        "identical" => "identical call",
        "errors" => "failure of this tool in a row",
        "alternating" => "round of calls that take turns",
        "similar" => "nearly identical call",
        _ if one.of == "workflow" => "call of the workflow",
        _ => "call of the agent",
    };
    let (noun, rest) = what.split_once(' ').map_or((what, ""), |(noun, rest)| (noun, rest));
    let most = match one.kind {
        // Here the noun is the last word.
        "identical" => counted(one.max.into(), what),
        "similar" => counted(one.max.into(), what),
        _ => format!("{} {rest}", counted(one.max.into(), noun)),
    };
    let seen = one.seen.map_or_else(|| format!("at most {most}"), |seen| format!("{seen} of {most}"));
    let full = if one.full { " (full)" } else { "" };
    format!("loop, {}, {} s: {seen}; above it throttle{full}", one.kind, one.window_s)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A word as its number wants it; that of money stays.
pub(super) fn unit(count: &str, word: &str) -> String {
    match (count, word) {
        ("1", word) | (_, word @ "USD") => word.to_owned(),
        (_, word) => format!("{word}s"),
    }
}

fn counter(limit: &LimitView) -> String {
    let one = |used: Option<String>, most: Option<String>, what: &str| {
        let most = most?;
        Some(match used {
            Some(used) => format!("{used} of {most} {}", unit(&most, what)),
            None => format!("at most {most} {}", unit(&most, what)),
        })
    };
    let text = |number: Option<u64>| number.map(|number| number.to_string());
    let parts: Vec<String> = [
        one(text(limit.used_calls), text(limit.max_calls), "call"),
        one(text(limit.used_tokens), text(limit.max_tokens), "token"),
        one(limit.used_cost_usd.map(|n| n.to_string()), limit.max_cost_usd.map(|n| n.to_string()), "USD"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let full = if limit.full { " (full)" } else { "" };
    let (id, key) = (&limit.policy_id, &limit.key);
    format!("{id}, counter {key}, {}: {}; above it {}{full}", limit.window, parts.join(", "), limit.above)
}

fn asked(one: &ApprovalView) -> String {
    let who = match one.approvers.as_slice() {
        [] => "everyone with the role approver".to_owned(),
        names => names.join(" or "),
    };
    let people = match one.people.as_slice() {
        [] => "nobody now".to_owned(),
        people => people.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", "),
    };
    let mut text = format!("{who} ({people}), for {}", one.policy_id);
    if let Some(rule) = &one.rule_id {
        text.push_str(" / ");
        text.push_str(rule);
    }
    if one.quorum > 1 {
        text = format!("{text}; {} people must agree", one.quorum);
    }
    if one.evidence_required {
        text.push_str("; with evidence");
    }
    if one.separate {
        text.push_str("; never the agent's operator");
    }
    format!("{text}; within {}", one.expires_in)
}

fn changed(one: &ChangeView) -> String {
    let outcome = match one.decision {
        EventDecision::Allow | EventDecision::Approved => "allowed",
        EventDecision::AllowWithConstraints => "allowed with limits",
        EventDecision::PendingApproval => "asked about",
        EventDecision::Remediate => "met with a safer call",
        EventDecision::Suggest => "returned as a proposal",
        EventDecision::Throttle => "held back",
        EventDecision::Rejected | EventDecision::Expired | EventDecision::Deny => "denied",
    };
    let tried = display_text(&Value::Object(one.arguments.clone()).to_string(), LONGEST_TRIED);
    let rule = one.rule_id.as_ref().map(|rule| format!(" / {rule}")).unwrap_or_default();
    format!("{outcome} if {} (by {}{rule}; tried {})", one.words, one.policy_id, tried)
}
