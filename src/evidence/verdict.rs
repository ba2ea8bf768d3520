//! What deciding came to, as JSON: what a record says of it, and what deciding again is held against.

use super::ResolvedTool;
use crate::{
    decision::{BudgetLimit, Verdict},
    model::text::{self, Object},
    policy::{ArgumentEdit, Constraints},
};
use std::sync::Arc;

/// A decision with what it was decided on: two JSON texts, written once.
#[derive(Clone, Debug)]
pub struct Judged {
    /// `facts.rs`.
    pub facts: Box<str>,
    /// [`verdict`].
    pub verdict: Box<str>,
    /// The tools that the facts name.
    pub tools: Vec<Arc<ResolvedTool>>,
    /// What the other bundle of a rollout says of the call.
    pub compared: Option<Box<str>>,
}

/// The verdict and its limits. Which caps a budget or a rule has is told by the snapshot; `full` is the name of the target
/// and `shown` what may be recorded of it.
pub fn verdict(verdict: &Verdict, full: &str, shown: &str) -> Box<str> {
    let mut out = Vec::with_capacity(192);
    let mut told = Object::new(&mut out);
    told.text("decision", Some(verdict.decision.event_word().as_str()));
    told.text("policy_id", Some(&verdict.policy_id));
    told.text("rule_id", verdict.rule_id.as_deref());
    if let Some(capability) = &verdict.capability {
        told.text("capability", Some(capability));
    }
    if verdict.constraints != Constraints::default() {
        constraints(told.member("constraints"), &verdict.constraints);
    }
    if !verdict.approvals.is_empty() {
        let approvals = verdict.approvals.iter().map(|asks| (&*asks.policy_id, asks.rule_id.as_deref()));
        pairs(told.member("approvals"), approvals);
    }
    if let Some(wait) = verdict.retry_after {
        told.natural("retry_after_ms", Some(millis(wait)));
    }
    let limits = &verdict.limits;
    if !limits.rates.is_empty() {
        let ids: Vec<&str> = limits.rates.iter().map(|rate| &*rate.policy_id).collect();
        told.strings("rates", &ids);
    }
    if !limits.budgets.is_empty() {
        budget_pairs(told.member("budgets"), &limits.budgets, full, shown);
    }
    if let Some(repeats) = limits.max_repeats {
        told.natural("max_repeats", Some(repeats.into()));
    }
    told.end();
    text::finished(out)
}

/// The budgets on which a call counts with the keys of their counters, as a further member of [`super::settled_detail`]: what
/// a call came to is told with the counters that it is on.
pub fn budget_detail(budgets: &[BudgetLimit], full: &str, shown: &str) -> String {
    if budgets.is_empty() {
        return String::new();
    }
    let mut out = br#","budgets":"#.to_vec();
    budget_pairs(&mut out, budgets, full, shown);
    String::from(text::finished(out))
}

fn budget_pairs(out: &mut Vec<u8>, budgets: &[BudgetLimit], full: &str, shown: &str) {
    let key = |key| if key == full { shown } else { key };
    pairs(out, budgets.iter().map(|budget| (&*budget.id, Some(key(&*budget.key)))));
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn pairs<'p>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'p str, Option<&'p str>)>) {
    out.push(b'[');
    for (index, (first, second)) in pairs.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.push(b'[');
        text::string(out, first);
        out.push(b',');
        match second {
            Some(second) => text::string(out, second),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b']');
    }
    out.push(b']');
}

fn constraints(out: &mut Vec<u8>, limits: &Constraints) {
    let Constraints { timeout, max_cost, max_result_tokens, max_result_bytes, read_only, arguments, redact } =
        limits;
    let mut told = Object::new(out);
    if let Some(timeout) = timeout {
        told.natural("timeout_ms", Some(millis(*timeout)));
    }
    if max_cost.is_some() {
        told.money("max_cost_usd", *max_cost);
    }
    if max_result_tokens.is_some() {
        told.natural("max_result_tokens", *max_result_tokens);
    }
    if max_result_bytes.is_some() {
        told.natural("max_result_bytes", *max_result_bytes);
    }
    if *read_only {
        told.flag("read_only", true);
    }
    if !redact.is_empty() {
        let redact: Vec<&str> = redact.iter().map(|pointer| pointer.as_str()).collect();
        told.strings("redact", &redact);
    }
    if !arguments.is_empty() {
        edits(told.member("arguments"), arguments);
    }
    told.end();
}

fn edits(out: &mut Vec<u8>, all: &[ArgumentEdit]) {
    out.push(b'[');
    for (index, edit) in all.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let mut told = Object::new(out);
        match edit {
            ArgumentEdit::Set(at, value) => {
                told.text("set", Some(at.as_str()));
                told.value("value", Some(value));
            }
            ArgumentEdit::Remove(at) => told.text("remove", Some(at.as_str())),
            ArgumentEdit::Clamp { at, min, max } => {
                told.text("clamp", Some(at.as_str()));
                for (name, bound) in [("min", min), ("max", max)] {
                    if let Some(bound) = bound {
                        told.member(name).extend_from_slice(bound.as_str().as_bytes());
                    }
                }
            }
        }
        told.end();
    }
    out.push(b']');
}
