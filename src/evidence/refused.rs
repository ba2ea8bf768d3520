//! Refused calls on record: the first of its kind is written whole, within a bound, and those that repeat it are one record
//! with their count.

use super::{CallSubject, Ruling};
use crate::model::{EventDraft, text, text::Object};
use jiff::Timestamp;
use serde::Serialize;
use std::sync::Arc;

/// A record that stands for several refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// How many.
    pub count: u64,
    /// When the first of them was refused.
    pub since: Timestamp,
    /// When the last of them was.
    pub until: Timestamp,
    /// A limit has refused them, and no rule.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub by_limit: bool,
}

impl Counted {
    /// What a record says of it; none where the record is of one call.
    pub fn of(event: &EventDraft) -> Option<Self> {
        let detail = event.detail.as_ref()?;
        let time = |name: &str| detail.get(name)?.as_str()?.parse().ok();
        let by_limit = detail.get("by_limit").and_then(serde_json::Value::as_bool).unwrap_or_default();
        let (since, until) = (time("since")?, time("until")?);
        Some(Self { count: detail.get("count")?.as_u64()?, since, until, by_limit })
    }

    /// The record: `like` is what [`CallSubject::refused`] says of one of them. `mixed` is the reason where they differ in
    /// more than time and arguments.
    pub fn record(self, like: EventDraft, mixed: Option<Arc<str>>, now: Timestamp) -> EventDraft {
        let mut event = like;
        event.timestamp = now;
        // It is each call's own.
        event.cost_estimate_usd = None;
        if let Some(reason) = mixed {
            (event.tool, event.action, event.upstream, event.capability_id) = (None, None, None, None);
            event.reason = Some(reason);
        }
        let mut out = Vec::with_capacity(128);
        let mut detail = Object::new(&mut out);
        detail.natural("count", Some(self.count));
        detail.shown("since", Some(&self.since));
        detail.shown("until", Some(&self.until));
        if self.by_limit {
            detail.flag("by_limit", true);
        }
        detail.end();
        event.texts.detail = Some(text::finished(out));
        event
    }
}

impl CallSubject<'_> {
    /// `agent_decision` of a refused call, without what explains it.
    pub fn refused(&self, now: Timestamp, ruling: &Ruling<'_>) -> EventDraft {
        self.decided(now, ruling)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::cut::{CUT_ARGUMENTS, LONGEST_REFUSED},
        *,
    };
    use crate::{
        evidence::{Explained, content_hash},
        model::{EventDecision, EventType, PolicyId},
    };
    use serde_json::{Value, json};

    /// I12: what a refused call brought has a bound on record, and the cut says what it was.
    #[test]
    fn refused_arguments_are_cut() {
        let long = "ö".repeat(LONGEST_REFUSED);
        let check = |arguments: Value, cut: bool| {
            let explained = Explained {
                arguments: Some(&arguments),
                remediation: Some(&arguments),
                refused: true,
                ..Explained::default()
            };
            let detail: Value = serde_json::from_str(&explained.text()).unwrap();
            for (name, marked) in [("arguments", CUT_ARGUMENTS), ("remediation", "remediation_cut")] {
                if !cut {
                    assert_eq!((&detail[name], detail.get(marked)), (&arguments, None));
                    continue;
                }
                let whole = arguments.to_string();
                assert_eq!(detail.get(name), None);
                assert_eq!(detail[marked]["bytes"], whole.len());
                assert_eq!(detail[marked]["sha256"], content_hash(&whole));
                let text = detail[marked]["text"].as_str().unwrap();
                assert!(
                    whole.starts_with(text) && (LONGEST_REFUSED - 1..=LONGEST_REFUSED).contains(&text.len())
                );
            }
        };
        check(json!({"a": "b"}), false);
        check(json!({"a": long}), true);
        // What is dispatched is recorded as it is.
        let arguments = json!({"a": long});
        let explained = Explained { arguments: Some(&arguments), ..Explained::default() };
        assert_eq!(serde_json::from_str::<Value>(&explained.text()).unwrap()["arguments"], arguments);
    }

    #[test]
    fn a_count_is_read_as_it_was_written() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let mut like = EventDraft::system(EventType::AgentDecision, Timestamp::UNIX_EPOCH);
        like.decision = Some(EventDecision::Deny);
        like.policy_id = Some(PolicyId::from("scope"));
        like.tool = Some("t".into());
        like.reason = Some("because".into());
        assert_eq!(Counted::of(&like), None);
        let counted = Counted {
            count: 41,
            since: time("2026-01-01T10:00:00.5Z"),
            until: time("2026-01-01T10:00:59Z"),
            by_limit: false,
        };
        let now = time("2026-01-01T10:01:00Z");
        let read = |event: EventDraft| EventDraft::from_body(&event.body()).unwrap();
        let event = read(counted.record(like.clone(), None, now));
        assert_eq!(Counted::of(&event), Some(counted));
        assert_eq!((event.tool.as_deref(), event.reason.as_deref()), (Some("t"), Some("because")));
        assert_eq!(event.timestamp, now);
        let event = read(counted.record(like, Some("several".into()), now));
        assert_eq!((event.tool, event.reason.as_deref()), (None, Some("several")));
        assert_eq!(event.policy_id.as_deref(), Some("scope"));
    }
}
