//! The records of what people do beside policies: what is frozen and let go on again, and what is done about dead letters.

use crate::{
    model::{Actor, CallId, EventDraft, EventType, PersonId, TraceId},
    redaction::Said,
};
use jiff::Timestamp;
use serde_json::json;

/// What is frozen, and who acts.
#[derive(Clone, Copy, Debug)]
pub struct FreezeRecord<'f> {
    /// The freeze's id.
    pub id: &'f str,
    /// `agent`, `user`, `tool`, `upstream`, `capability` or `all`.
    pub kind: &'f str,
    /// The name of what is frozen; empty for everything.
    pub name: &'f str,
    /// Who acts; none: the local admin, without a key.
    pub by: Option<&'f PersonId>,
    /// Why; empty where nobody said so.
    pub reason: &'f Said,
}

impl FreezeRecord<'_> {
    /// `frozen`
    pub fn frozen(&self, now: Timestamp) -> EventDraft {
        self.event(EventType::Frozen, now)
    }

    /// `unfrozen`
    pub fn unfrozen(&self, now: Timestamp) -> EventDraft {
        self.event(EventType::Unfrozen, now)
    }

    fn event(&self, kind: EventType, now: Timestamp) -> EventDraft {
        let Self { id, kind: of, name, by, reason } = *self;
        let mut event = EventDraft::system(kind, now);
        if by.is_some() {
            event.actor = Actor { kind: "person".into(), role: Some("admin".into()) };
        }
        match of {
            "agent" => event.agent_id = Some(name.into()),
            "user" => event.user = Some(name.into()),
            "tool" => event.tool = Some(name.into()),
            "upstream" => event.upstream = Some(name.into()),
            "capability" => event.capability_id = Some(name.into()),
            _ => {}
        }
        event.action = Some(if kind == EventType::Unfrozen { "unfreeze" } else { "freeze" }.into());
        event.reason = (!reason.is_empty()).then(|| (&**reason).into());
        let name = (!name.is_empty()).then_some(name);
        event.detail = Some(json!({"freeze": id, "kind": of, "name": name, "person": by}));
        event
    }
}

/// That somebody did something about a dead letter: `status` is `replaying`, `replayed`, `open` or `dismissed`.
pub fn dead_letter_handled(
    now: Timestamp,
    (call, trace): (&CallId, Option<TraceId>),
    (status, by, reason): (&str, &PersonId, Option<&Said>),
    replay: Option<&CallId>,
) -> EventDraft {
    let mut event = EventDraft::system(EventType::AdminAction, now);
    event.actor = Actor { kind: "person".into(), role: Some("admin".into()) };
    event.trace_id = trace;
    event.action = Some("dead_letter".into());
    event.reason = reason.map(|reason| (&**reason).into());
    event.detail = Some(json!({"person": by, "status": status, "of": call, "replay": replay}));
    event
}
