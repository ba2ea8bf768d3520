//! A verdict in words, for `audit show` and `policy explain`.

use super::{Step, Verdict, sentence};
use crate::{model::MicroUsd, policy::Constraints};
use std::fmt::{self, Write};

/// Renders a verdict and its trace for people. Ends with a line feed.
pub fn explain(verdict: &Verdict) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    write(verdict, &mut out).unwrap_or_default();
    out
}

fn write(verdict: &Verdict, out: &mut String) -> fmt::Result {
    write!(out, "{} by {}", verdict.decision, verdict.policy_id)?;
    if let Some(rule) = &verdict.rule_id {
        write!(out, ", rule {rule}")?;
    }
    writeln!(out, ": {}", verdict.reason)?;
    if let Some(capability) = &verdict.capability {
        writeln!(out, "  capability  {capability}")?;
    }
    writeln!(out, "  snapshot    {}", verdict.snapshot)?;
    if verdict.constraints != Constraints::default() {
        writeln!(out, "  limits      {}", sentence::constraints(&verdict.constraints))?;
    }
    if let Some(remediation) = &verdict.remediation {
        writeln!(out, "  remediation {}", sentence::remediation(remediation))?;
    }
    if let Some(wait) = verdict.retry_after {
        writeln!(out, "  retry in    {}", sentence::duration(wait))?;
    }
    for approval in &verdict.approvals {
        let expires = sentence::duration(approval.rule.expires_in);
        writeln!(
            out,
            "  approval    {} (for {}, expires after {expires})",
            approval.reason, approval.policy_id
        )?;
    }
    for rate in &verdict.limits.rates {
        let caps = caps(rate.max_calls, None, rate.max_cost);
        writeln!(out, "  per minute  {}: {caps}", rate.policy_id)?;
    }
    for budget in &verdict.limits.budgets {
        let caps = caps(budget.max_calls, budget.max_tokens, budget.max_cost);
        let window = format!("{:?}", budget.window).to_lowercase();
        writeln!(
            out,
            "  budget      {}, counter {}, {window}: {caps}",
            budget.id,
            sentence::plain(&budget.key)
        )?;
    }
    writeln!(out, "  what was said, in order:")?;
    for step in &verdict.trace.steps {
        writeln!(out, "    {}", line(step))?;
    }
    if verdict.trace.steps.is_empty() {
        writeln!(out, "    nothing")?;
    }
    Ok(())
}

fn caps(calls: Option<u64>, tokens: Option<u64>, cost: Option<MicroUsd>) -> String {
    let parts: Vec<String> = [
        calls.map(|calls| format!("at most {calls} calls")),
        tokens.map(|tokens| format!("at most {tokens} tokens")),
        cost.map(|cost| format!("at most ${cost}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    sentence::and(&parts)
}

fn line(step: &Step) -> String {
    let word = if step.shadow { format!("would {}", step.decision) } else { step.decision.to_string() };
    let rule = step.rule_id.as_ref().map(|rule| format!(" / {rule}")).unwrap_or_default();
    let error = if step.error { " [condition without an answer]" } else { "" };
    format!("{word:<22}  {}{rule}: {}{error}", step.policy_id, step.reason)
}
