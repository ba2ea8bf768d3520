//! What explains a record: JSON text that is written once, without a value in between.

use super::{
    Judged,
    cut::{CUT_ARGUMENTS, LONGEST_REFUSED, write_cut},
    facts::CUT_FACTS,
};
use crate::{
    decision::{Step, Trace},
    model::text::{self, Object},
    policy::Constraints,
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// The member that names who handed a call's work on.
pub(super) const ACTORS: &str = "actors";

/// What explains a decision later. Everything in it is masked already.
#[derive(Clone, Debug, Default)]
pub struct Explained<'e> {
    /// The method, of what is no plain use.
    pub method: Option<&'static str>,
    /// The arguments that would be dispatched.
    pub arguments: Option<&'e Value>,
    /// The tool as the agent named it, where rules chose another.
    pub original_tool: Option<&'e str>,
    /// The arguments as the agent sent them, where rules changed them.
    pub original_arguments: Option<&'e Value>,
    /// The safer call that is proposed.
    pub remediation: Option<&'e Value>,
    /// What was decided on, and what came of it; none where policies were not asked.
    pub judged: Option<&'e Judged>,
    /// Every policy's say.
    pub trace: Option<&'e Trace>,
    /// Nobody knows whether the arguments fit their schema.
    pub unchecked: bool,
    /// What is sent beside the arguments: an object with `meta` and `params`.
    pub extras: Option<&'e Value>,
    /// The call that it makes again, because a person said so.
    pub replay_of: Option<&'e str>,
    /// Who handed the work on to the agent.
    pub actors: &'e [Arc<str>],
    /// Nothing is dispatched: what the call brought is recorded up to [`LONGEST_REFUSED`].
    pub refused: bool,
}

impl<'e> Explained<'e> {
    /// With what the agent sent, where rules changed it: its tool where that is not `tool`, and its arguments.
    #[must_use]
    pub fn original(mut self, tool: &str, original: Option<&'e (Arc<str>, Arc<Value>)>) -> Self {
        if let Some((sent, arguments)) = original {
            self.original_tool = Some(&**sent).filter(|sent| *sent != tool);
            self.original_arguments = Some(arguments);
        }
        self
    }

    fn brought(&self, detail: &mut Object<'_>, name: &'static str, cut: &'static str, value: &Value) {
        match self.refused {
            true => write_cut(detail, name, cut, value),
            false => detail.value(name, Some(value)),
        }
    }

    /// What was decided on, as it is recorded: those of a call that rules changed hold arguments too.
    pub(super) fn facts(&self) -> Option<Box<str>> {
        let facts = &self.judged?.facts;
        match self.refused && facts.len() > LONGEST_REFUSED {
            true => Some(CUT_FACTS.into()),
            false => Some(facts.clone()),
        }
    }

    /// As it is recorded.
    pub fn text(&self) -> Box<str> {
        let mut out = Vec::with_capacity(512);
        let mut detail = Object::new(&mut out);
        if let Some(arguments) = self.arguments {
            self.brought(&mut detail, "arguments", CUT_ARGUMENTS, arguments);
        }
        if let Some(tool) = self.original_tool {
            detail.text("original_tool", Some(tool));
        }
        if let Some(arguments) = self.original_arguments {
            detail.value("original_arguments", Some(arguments));
        }
        if let Some(remediation) = self.remediation {
            self.brought(&mut detail, "remediation", "remediation_cut", remediation);
        }
        if let Some(judged) = self.judged {
            detail.member("verdict").extend_from_slice(judged.verdict.as_bytes());
            if let Some(compared) = &judged.compared {
                detail.member("rollout").extend_from_slice(compared.as_bytes());
            }
        }
        if let Some(trace) = self.trace {
            write_steps(detail.member("steps"), trace);
        }
        if self.unchecked {
            detail.text("schema", Some("unchecked"));
        }
        if let Some(method) = self.method {
            detail.text("method", Some(method));
        }
        if let Some(of) = self.replay_of {
            detail.text("replay_of", Some(of));
        }
        if !self.actors.is_empty() {
            detail.strings(ACTORS, self.actors);
        }
        for name in ["meta", "params"] {
            if let Some(value) = self.extras.and_then(|extras| extras.get(name)) {
                detail.value(name, Some(value));
            }
        }
        detail.end();
        text::finished(out)
    }
}

fn write_steps(out: &mut Vec<u8>, trace: &Trace) {
    out.push(b'[');
    for (index, step) in trace.steps.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let Step { policy_id, rule_id, decision, reason, shadow, error, limit } = step;
        let word = decision.event_word().as_str();
        let mut step = Object::new(out);
        step.text("policy_id", Some(policy_id));
        step.text("rule_id", rule_id.as_deref());
        if *shadow {
            step.text("decision", Some(&format!("would_{word}")));
        } else {
            step.text("decision", Some(word));
        }
        step.text("reason", Some(reason));
        if *shadow {
            step.flag("shadow", true);
        }
        if *error {
            step.flag("error", true);
        }
        if *limit {
            step.flag("limit", true);
        }
        step.end();
    }
    out.push(b']');
}

/// Every policy's say, in the words of events; what a shadow policy said is a `would_*`.
pub fn steps(trace: &Trace) -> Value {
    let mut out = Vec::new();
    write_steps(&mut out, trace);
    serde_json::from_slice(&out).unwrap_or_default()
}

/// The limits under which a call ran.
pub fn limits(constraints: &Constraints, timeout: Duration, changed: bool) -> Box<str> {
    let mut out = Vec::with_capacity(256);
    let mut limits = Object::new(&mut out);
    limits.natural("timeout_ms", Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)));
    limits.money("max_cost_usd", constraints.max_cost);
    limits.natural("max_result_tokens", constraints.max_result_tokens);
    limits.natural("max_result_bytes", constraints.max_result_bytes);
    limits.flag("read_only", constraints.read_only);
    limits.flag("arguments_changed", changed);
    let redacted = limits.member("redacted");
    redacted.push(b'[');
    for (index, pointer) in constraints.redact.iter().enumerate() {
        if index > 0 {
            redacted.push(b',');
        }
        text::string(redacted, pointer.as_str());
    }
    redacted.push(b']');
    limits.end();
    text::finished(out)
}

/// What is recorded of a result beside its outcome; `more` are further members as JSON text, each after its comma.
pub fn settled_detail(bytes: usize, tokens: u64, cut: bool, more: &str) -> Box<str> {
    format!(r#"{{"result_bytes":{bytes},"result_tokens":{tokens},"cut":{cut}{more}}}"#).into()
}

/// Members for [`settled_detail`]: what the arguments took, and what the result was expected to take where that may be
/// compared with what it took.
pub fn token_detail(arguments: u64, expected: Option<u64>) -> String {
    match expected {
        Some(expected) => format!(r#","argument_tokens":{arguments},"expected_tokens":{expected}"#),
        None => format!(r#","argument_tokens":{arguments}"#),
    }
}
