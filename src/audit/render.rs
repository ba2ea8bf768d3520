//! A trace's report as one screen of text.

use super::{
    ApprovalCall, ApprovalReport, CallReport, DecisionReport, Evidence, Execution, GrantReport, OtherRecord,
    TraceReport,
};
use crate::{
    evidence::Counted,
    model::MicroUsd,
    redaction::{display_text, hidden_as, is_hidden},
    store::ApprovalAnswer,
};
use serde_json::Value;
use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

/// Longer texts are cut, and say so.
const LONGEST: usize = 300;
/// A note is what somebody wrote for whoever reads this: its lines are cut later.
const NOTE_LINE: usize = 2_000;

/// The report for a terminal.
pub fn render(report: &TraceReport) -> String {
    let mut out = String::new();
    match write_report(&mut out, report) {
        Ok(()) => out,
        // Writing to a String does not fail.
        Err(fmt::Error) => String::new(),
    }
}

/// Text from agents and upstreams with everything escaped that could move the cursor, hide or reorder it.
fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut left = text.chars();
    for c in left.by_ref().take(LONGEST) {
        match c {
            '\n' | '\r' | '\t' => out.extend(c.escape_default()),
            c if is_hidden(c) => hidden_as(c, &mut out),
            c => out.push(c),
        }
    }
    let cut = left.count();
    if cut > 0 {
        out.push_str(&format!("… ({cut} more)"));
    }
    out
}

fn text<T: AsRef<str>>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "-".to_owned(), |v| shown(v.as_ref()))
}

fn write_report(out: &mut String, report: &TraceReport) -> fmt::Result {
    let count = report.calls.len();
    let calls = if count == 1 { "1 call".to_owned() } else { format!("{count} calls") };
    let traces: Vec<String> = report.traces.iter().map(ToString::to_string).collect();
    match traces.as_slice() {
        [] => writeln!(out, "{calls}")?,
        [only] => writeln!(out, "trace {only}, {calls}")?,
        several => writeln!(out, "traces {}, {calls}", several.join(", "))?,
    }
    for (index, call) in report.calls.iter().enumerate() {
        let trace = call.trace_id.filter(|_| traces.len() > 1);
        let trace = trace.map(|trace| format!(", trace {trace}")).unwrap_or_default();
        writeln!(out, "\n[{}] {}  (call {}{trace})", index + 1, text(&call.tool), shown(&call.call_id))?;
        write_call(out, call)?;
    }
    if !report.notes.is_empty() {
        writeln!(out, "\nnotes")?;
        for note in &report.notes {
            let by = note.by.as_deref().map_or_else(|| "the local admin".to_owned(), shown);
            let said = note.text.as_deref().unwrap_or_default();
            writeln!(out, "  {} {by}, record {}", note.at, note.evidence.seq)?;
            for line in said.lines() {
                writeln!(out, "    {}", display_text(line, NOTE_LINE))?;
            }
        }
    }
    if !report.other.is_empty() {
        writeln!(out, "\nother records")?;
        for record in &report.other {
            write_other(out, record)?;
        }
    }
    Ok(())
}

fn write_other(out: &mut String, record: &OtherRecord) -> fmt::Result {
    write_evidence(out, &record.evidence)?;
    let OtherRecord { action, by, reason, .. } = record;
    if action.is_none() && by.is_none() && reason.is_none() {
        return Ok(());
    }
    let by = by.as_ref().map(|by| format!(" by {}", shown(by))).unwrap_or_default();
    let reason = reason.as_ref().map(|reason| format!(": {}", shown(reason))).unwrap_or_default();
    writeln!(out, "      {}{by}{reason}", text(action))
}

fn write_call(out: &mut String, call: &CallReport) -> fmt::Result {
    let who = &call.initiated;
    let role = who.actor.role.as_deref().filter(|r| !r.is_empty());
    let role = role.map(|r| format!(" ({})", shown(r))).unwrap_or_default();
    writeln!(out, "  who initiated?")?;
    writeln!(
        out,
        "    agent {}{role}, workflow {}, {}",
        text(&who.agent_id),
        text(&who.workflow_id),
        who.at
    )?;
    let parts = [
        ("action", who.action.as_deref().filter(|action| call.tool.as_deref() != Some(*action))),
        ("tenant", who.tenant.as_deref().filter(|tenant| !tenant.is_empty())),
        ("operator", who.operator.as_deref()),
        ("user", who.user.as_deref()),
    ];
    let parts = parts.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", shown(value?))));
    let parts: Vec<String> = parts.collect();
    if !parts.is_empty() {
        writeln!(out, "    {}", parts.join(", "))?;
    }
    if !who.actors.is_empty() {
        let names: Vec<String> = who.actors.iter().map(|actor| shown(actor)).collect();
        writeln!(out, "    handed on by {}", names.join(", before that by "))?;
    }
    if let Some(arguments) = &who.arguments {
        writeln!(out, "    arguments {}", shown(&arguments.to_string()))?;
    }
    writeln!(out, "  what was decided, and why?")?;
    if call.decided.is_empty() {
        writeln!(out, "    no decision is recorded")?;
    }
    for (index, decision) in call.decided.iter().enumerate() {
        match &decision.counted {
            Some(like) if index > 0 => write_more(out, decision, like)?,
            Some(like) => {
                write_decision(out, decision)?;
                writeln!(out, "    this record stands for {}", refusals(like))?;
            }
            None => write_decision(out, decision)?,
        }
    }
    writeln!(out, "  was approval required, and who approved?")?;
    if call.approvals.is_empty() && call.grants.is_empty() {
        writeln!(out, "    not required")?;
    }
    for approval in &call.approvals {
        write_approval(out, call, approval)?;
    }
    for grant in &call.grants {
        write_grant(out, call, grant)?;
    }
    writeln!(out, "  what executed, where, with what limits?")?;
    match &call.executed {
        Some(execution) => write_execution(out, execution)?,
        None => match call.approvals.iter().find_map(|approval| elsewhere(call, approval.used_by.as_ref())) {
            Some(used) => {
                writeln!(out, "    nothing by this call: its approval was used by {}", named(call, used))?;
            }
            None => writeln!(out, "    nothing is recorded as executed")?,
        },
    }
    writeln!(out, "  where is the immutable evidence?")?;
    for evidence in &call.evidence {
        write_evidence(out, evidence)?;
    }
    Ok(())
}

fn write_decision(out: &mut String, decision: &DecisionReport) -> fmt::Result {
    let word = decision.decision.map_or("-", |d| d.as_str());
    let rule = decision.rule_id.as_ref().map(|r| format!(", rule {}", shown(r))).unwrap_or_default();
    writeln!(out, "    {word} by {}{rule}: {}", text(&decision.policy_id), text(&decision.reason))?;
    write!(out, "    capability {}", text(&decision.capability_id))?;
    if let Some(cost) = decision.cost_estimate_usd {
        write!(out, ", estimate {} USD", money(cost))?;
    }
    writeln!(out, ", policies {}", text(&decision.policy_snapshot))?;
    if is_notable(&decision.session_labels) {
        writeln!(out, "    labels that had reached its session: {}", names(&decision.session_labels))?;
    }
    Ok(())
}

/// Whether labels say more than that nothing is said of the data.
fn is_notable(labels: &[Arc<str>]) -> bool {
    labels.iter().any(|label| **label != *"internal")
}

fn names(labels: &[Arc<str>]) -> String {
    let labels: Vec<String> = labels.iter().map(|label| shown(label)).collect();
    labels.join(", ")
}

/// The calls that were refused like this one and are not recorded one by one.
fn write_more(out: &mut String, decision: &DecisionReport, like: &Counted) -> fmt::Result {
    let word = decision.decision.map_or("-", |d| d.as_str());
    let Counted { count, since, until, .. } = like;
    writeln!(
        out,
        "    and {count} more like it from {since} to {until}: {word} by {}",
        text(&decision.policy_id)
    )
}

fn refusals(like: &Counted) -> String {
    let Counted { count, since, until, .. } = like;
    let calls = if *count == 1 { "one refused call" } else { "refused calls" };
    match count {
        1 => format!("{calls}, at {since}"),
        _ => format!("{count} {calls}, from {since} to {until}"),
    }
}

/// The call that an approval names, where it is another one.
fn elsewhere<'a>(call: &CallReport, named: Option<&'a ApprovalCall>) -> Option<&'a ApprovalCall> {
    named.filter(|named| named.call_id != call.call_id)
}

/// Another call, and its trace where that is another one too.
fn named(call: &CallReport, other: &ApprovalCall) -> String {
    let trace = other.trace_id.filter(|trace| call.trace_id != Some(*trace));
    let trace = trace.map(|trace| format!(" in trace {trace}")).unwrap_or_default();
    format!("call {}{trace}", shown(&other.call_id))
}

fn write_approval(out: &mut String, call: &CallReport, approval: &ApprovalReport) -> fmt::Result {
    let status = approval.status.map_or("recorded", |s| s.as_str());
    writeln!(out, "    required, {status}: {} (approval {})", text(&approval.reason), shown(&approval.id))?;
    if let Some(asked) = elsewhere(call, approval.asked_by.as_ref()) {
        writeln!(out, "    asked for by {} at {}", named(call, asked), asked.at)?;
    }
    write_asked(out, approval)?;
    for answer in &approval.answers {
        write_answer(out, answer)?;
    }
    if let Some(ended) = &approval.ended {
        let reason = ended.reason.as_deref().map(|reason| match reason {
            "snapshot_mismatch" => ": other policies came into force".to_owned(),
            other => format!(": {}", shown(other)),
        });
        writeln!(out, "    {status} at {}{}", ended.at, reason.unwrap_or_default())?;
    }
    match &approval.used_by {
        Some(used) if used.call_id == call.call_id => writeln!(out, "    used by this call at {}", used.at),
        Some(used) => writeln!(out, "    used by {} at {}", named(call, used), used.at),
        None => Ok(()),
    }
}

fn write_grant(out: &mut String, call: &CallReport, grant: &GrantReport) -> fmt::Result {
    let how = if grant.used { "required, and let through by" } else { "answered with" };
    write!(out, "    {how} standing grant {}", shown(&grant.id))?;
    let names: Vec<String> = grant.approvers.iter().map(|person| shown(person)).collect();
    if let Some(made) = grant.made_at {
        write!(out, ", made by {} at {made}", names.join(", "))?;
    }
    if let Some(until) = grant.expires_at {
        write!(out, ", until {until}")?;
    }
    writeln!(out)?;
    match (&grant.approval_id, elsewhere(call, grant.asked_by.as_ref())) {
        (Some(approval), Some(asked)) => {
            writeln!(out, "    it answered approval {}, asked for by {}", shown(approval), named(call, asked))
        }
        (_, _) => Ok(()),
    }
}

/// Of whom an answer was wanted, and until when.
fn write_asked(out: &mut String, approval: &ApprovalReport) -> fmt::Result {
    let (Some(from), Some(until)) = (approval.created_at, approval.expires_at) else { return Ok(()) };
    let names: Vec<String> = approval.approvers.iter().map(|name| shown(name)).collect();
    let of = if names.is_empty() { "any approver".to_owned() } else { names.join(", ") };
    let quorum = approval.quorum.filter(|quorum| *quorum > 1);
    let quorum = quorum.map(|quorum| format!(" ({quorum} people)")).unwrap_or_default();
    let evidence = if approval.evidence_required { " with evidence" } else { "" };
    writeln!(out, "    from {of}{quorum}{evidence}, between {from} and {until}")
}

fn write_answer(out: &mut String, answer: &ApprovalAnswer) -> fmt::Result {
    let word = if answer.approve { "approved" } else { "rejected" };
    let channel = answer.channel.as_str();
    write!(out, "    {word} by {} at {} through {channel}", shown(&answer.person), answer.at)?;
    if let Some(comment) = &answer.comment {
        write!(out, ", comment: {}", shown(comment))?;
    }
    if let Some(evidence) = &answer.evidence {
        write!(out, ", evidence: {}", shown(evidence))?;
    }
    writeln!(out)
}

fn write_execution(out: &mut String, execution: &Execution) -> fmt::Result {
    let outcome = execution.outcome.map_or("-", |o| o.as_str());
    write!(out, "    {outcome}: {} on {}", text(&execution.tool), text(&execution.upstream))?;
    if let Some(duration) = execution.duration_ms {
        write!(out, ", {duration} ms")?;
    }
    if let Some(cost) = execution.cost_usd {
        write!(out, ", {} USD", money(cost))?;
    }
    match &execution.reason {
        Some(reason) => writeln!(out, ": {}", shown(reason))?,
        None => writeln!(out)?,
    }
    if let Some(arguments) = &execution.arguments {
        writeln!(out, "    arguments as policy changed them {}", shown(&arguments.to_string()))?;
    }
    if let Some(result) = &execution.result {
        let cut = if result.cut { ", cut to its limit" } else { "" };
        writeln!(out, "    result {} bytes, {} tokens{cut}", result.bytes, result.tokens)?;
    }
    if is_notable(&execution.labels) {
        writeln!(out, "    labels of the result: {}", names(&execution.labels))?;
    }
    match &execution.limits {
        Some(limits) => write_limits(out, limits),
        None => writeln!(out, "    no limits"),
    }
}

fn write_limits(out: &mut String, limits: &Value) -> fmt::Result {
    let plain = |value: Option<&Value>| match value {
        Some(Value::String(text)) => shown(text),
        Some(other) => shown(&other.to_string()),
        None => "-".to_owned(),
    };
    let Value::Object(members) = limits else {
        return writeln!(out, "    limits {}", shown(&limits.to_string()));
    };
    for (name, value) in members.iter().filter(|(name, value)| *name != "counters" && !value.is_null()) {
        writeln!(out, "    limit {} {}", shown(name), plain(Some(value)))?;
    }
    for counter in members.get("counters").and_then(Value::as_array).into_iter().flatten() {
        let part = |name: &str| plain(counter.get(name));
        writeln!(
            out,
            "    limit {} of {} per {}: {} of {} {} used before",
            part("id"),
            part("key"),
            part("window"),
            part("used"),
            part("cap"),
            part("unit")
        )?;
    }
    Ok(())
}

fn write_evidence(out: &mut String, evidence: &Evidence) -> fmt::Result {
    writeln!(
        out,
        "    seq {} {} {} {}",
        evidence.seq,
        evidence.at,
        evidence.event_type,
        evidence.hash.as_deref().map_or_else(|| "(its hash is withheld)".to_owned(), shown)
    )
}

fn money(amount: MicroUsd) -> String {
    amount.to_string()
}
