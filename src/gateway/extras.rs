//! What goes upstream with a call outside its arguments: `_meta` and the other members of `params`. An approval binds it,
//! and the approver is shown it, but for the keys of `_meta` that change with each call.

use super::{
    InForce,
    prepared::{Extras, Prepared},
    request::Request,
    target::Target,
};
use crate::{
    config::MetaKey,
    redaction::{DataRules, Outbound, Place, cut_value},
    store::ApprovalContext,
};
use serde_json::{Map, Value, json};

/// The most that an approval shows of a call's arguments, of what stands beside them, and of what the tool's server says of
/// it, in bytes of JSON each. Every list of approvals holds them.
const MOST_SHOWN: usize = 64 * 1024;
/// The most keys of `_meta` that are named as different.
const MOST_NAMED: usize = 16;

/// Keys under which known clients name the call, the turn or the conversation. They change with each call, or with the
/// conversation in which an approved call is made again, and say nothing of what the call does.
const VOLATILE: &[&str] = &[
    // The protocol's own.
    "progressToken",
    "traceparent",
    "tracestate",
    "baggage",
    // Claude Code.
    "claudecode/toolUseId",
    // VS Code.
    "vscode.conversationId",
    "vscode.requestId",
    // Codex.
    "callId",
    "threadId",
    TURN,
    // ChatGPT.
    "openai/session",
    // OpenCode, Antigravity.
    "ai.opencode/sessionID",
    "antigravity.google/conversation_id",
];

/// The longest text under one of [`VOLATILE`]: what W3C allows a `baggage`.
const LONGEST_VOLATILE: usize = 8192;
/// The one of them that is an object.
const TURN: &str = "x-codex-turn-metadata";

/// Whether a member changes with each call and says nothing of what it does: a name or a number, no more.
fn is_volatile(key: &str, value: &Value) -> bool {
    let plain = match value {
        Value::String(text) => text.len() <= LONGEST_VOLATILE,
        Value::Null | Value::Number(_) => true,
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => key == TURN,
    };
    plain && VOLATILE.contains(&key)
}

/// Whether a member of `_meta` goes to the upstream. What does not is the gateway's own, or the protocol's: the upstream
/// gets its own version, capabilities and tokens from the connection.
pub(super) fn goes_on(key: &str) -> bool {
    !key.starts_with("tollgate/") && !key.starts_with("io.modelcontextprotocol/") && key != "progressToken"
}

impl Extras {
    /// Of this request: what goes upstream, without the volatile keys.
    pub(super) fn bound(request: &Request, volatile: &[MetaKey]) -> Self {
        let bound = |key: &str, value: &Value| {
            goes_on(key) && !is_volatile(key, value) && !volatile.iter().any(|entry| entry.matches(key))
        };
        let meta = request.meta.iter().filter(|(key, value)| bound(key, value));
        Self {
            meta: meta.map(|(key, value)| (key.clone(), value.clone())).collect(),
            params: request.extra_params.clone(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.meta.is_empty() && self.params.is_empty()
    }
}

fn place(target: &Target) -> Place<'_> {
    Place { sensitive: &[], ..target.place() }
}

/// What goes upstream beside the arguments; none where nothing does.
pub(super) fn beside(request: &Request) -> Option<Value> {
    let meta: Map<String, Value> = request
        .meta
        .iter()
        .filter(|(key, _)| goes_on(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let is_empty = meta.is_empty() && request.extra_params.is_empty();
    (!is_empty).then(|| json!({"_meta": meta, "params": request.extra_params}))
}

/// What data.yaml says of it: an agent must not take that way around a rule.
pub(super) fn inspect(data: &DataRules, beside: &Value, target: &Target) -> Outbound {
    data.inspect_arguments(beside, &place(target)).outbound
}

/// What is bound beside the arguments, masked, as `{meta, params}`, and whether anything is masked. None: nothing is.
pub(super) fn masked(in_force: &InForce, prepared: &Prepared) -> Option<(Value, bool)> {
    let Extras { meta, params } = &prepared.extras;
    if prepared.extras.is_empty() {
        return None;
    }
    let whole = json!({"meta": meta, "params": params});
    let inspected = in_force.policies.data.inspect_arguments(&whole, &place(&prepared.target));
    Some((inspected.recorded.into_owned(), inspected.redacted))
}

/// What an approver is shown of a call: the arguments, what stands beside them, and whether anything is masked. The
/// decision's record has all of it whole, and the binding's digest is of everything.
pub(super) fn shown(in_force: &InForce, prepared: &Prepared) -> (Value, ApprovalContext, bool) {
    let data = &in_force.policies.data;
    let arguments = cut_value(&prepared.recorded, MOST_SHOWN);
    let mut context = ApprovalContext { complete: arguments == *prepared.recorded, ..Default::default() };
    let mut redacted = prepared.redacted;
    let target = &prepared.target;
    if let Some((whole, masked)) = masked(in_force, prepared) {
        redacted |= masked;
        let mut cut = cut_value(&whole, MOST_SHOWN);
        context.complete &= cut == whole;
        let mut part = |name: &str| match cut.get_mut(name).map(Value::take) {
            Some(Value::Object(members)) if members.is_empty() => Value::Null,
            part => part.unwrap_or_default(),
        };
        (context.meta, context.params) = (part("meta"), part("params"));
    }
    if let Some(Value::String(description)) = target.item().get("description") {
        let masked = Value::String(data.redact_text(description).into_owned());
        context.description = cut_value(&masked, MOST_SHOWN).as_str().map(str::to_owned);
    }
    context.traits = matches!(target, Target::Tool(_)).then(|| target.traits());
    context.labels = target.labels().iter().map(|label| label.to_string()).collect();
    (arguments, context, redacted)
}

/// The names of what differs beside the arguments of two askings of one call, as far as masked values tell.
pub(super) fn differing(before: &ApprovalContext, now: &ApprovalContext) -> Vec<String> {
    let mut names = Vec::new();
    for (before, now) in [(&before.meta, &now.meta), (&before.params, &now.params)] {
        let keys =
            |value: &Value| value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
        let mut all: Vec<String> = keys(before);
        all.extend::<Vec<String>>(keys(now));
        for key in all {
            if before.get(&key) != now.get(&key) && !names.contains(&key) && names.len() < MOST_NAMED {
                names.push(key);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_once_and_within_a_bound() {
        let context = |meta: Value, params: Value| ApprovalContext { meta, params, ..Default::default() };
        let before = context(json!({"a": 1, "b": 2}), Value::Null);
        let now = context(json!({"a": 1, "b": 3, "c": 4}), json!({"task": {}}));
        assert_eq!(differing(&before, &now), ["b", "c", "task"]);
        assert!(differing(&before, &before).is_empty());
        let many: Map<String, Value> = (0..100).map(|n| (n.to_string(), json!(n))).collect();
        let many = context(Value::Object(many), Value::Null);
        assert_eq!(differing(&before, &many).len(), MOST_NAMED);
    }
}
