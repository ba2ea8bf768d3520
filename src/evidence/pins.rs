//! Records of what servers list: pinned, held for a person, accepted, and alerts about it.

use crate::{
    model::{Actor, EventDraft, EventType, Fingerprint, PersonId, PolicyId, SnapshotId, UpstreamName},
    pinning::{Finding, ItemKind, Record},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// The policy id of what is held because of its pin.
pub const PIN_POLICY: &str = "pin";

/// Items of one record that are named; the rest is counted.
const MOST_NAMED: usize = 100;

/// Under what records about pins are written.
#[derive(Clone, Copy, Debug)]
pub struct PinContext<'c> {
    /// The bundle in force, where one is.
    pub snapshot: Option<&'c SnapshotId>,
    /// `[gateway] environment`
    pub environment: &'c Arc<str>,
    /// When.
    pub now: Timestamp,
}

impl PinContext<'_> {
    fn event(&self, kind: EventType, upstream: &UpstreamName) -> EventDraft {
        let mut event = EventDraft::system(kind, self.now);
        event.action = Some(PIN_POLICY.into());
        event.policy_id = Some(PolicyId::from(PIN_POLICY));
        event.upstream = Some(upstream.clone());
        event.environment = Some(self.environment.clone());
        event.policy_snapshot = self.snapshot.cloned();
        event
    }

    /// `tool_quarantined`, and the alert of it. `asks`: it is served, and each use of it asks.
    pub fn held(&self, record: &Record, asks: bool) -> Vec<EventDraft> {
        let Some(held) = &record.held else { return Vec::new() };
        let (kind, exposed, upstream) = (record.kind, &record.exposed, &record.upstream);
        let state = held.why.as_str();
        // Agents never get them: there is nothing to withhold.
        let is_served = asks || kind == ItemKind::Instructions;
        let what = match (kind, asks) {
            (ItemKind::Instructions, _) => {
                format!(
                    "the instructions of server `{upstream}` are not what they were: {}",
                    held.why.phrase()
                )
            }
            (_, true) => format!(
                "{kind} `{exposed}` of server `{upstream}` is new: each use of it needs an approval until a person accepts it"
            ),
            (_, false) => {
                format!("{kind} `{exposed}` of server `{upstream}` is quarantined: {}", held.why.phrase())
            }
        };
        let detail = |alert: Option<&str>| {
            json!({
                "alert": alert,
                "kind": kind,
                "name": record.name,
                "state": state,
                "asks": asks,
                "pinned": record.pin.as_ref().map(|pin| &pin.fingerprint),
                "listed": held.fingerprint,
                "findings": held.findings,
            })
        };
        let draft = |kind, alert: Option<&str>| {
            let mut event = self.event(kind, upstream);
            event.tool = Some(exposed.as_str().into());
            event.reason = Some(what.as_str().into());
            event.detail = Some(without_null(detail(alert)));
            event
        };
        let quarantined = (!is_served).then(|| draft(EventType::ToolQuarantined, None));
        quarantined.into_iter().chain([draft(EventType::Alert, Some("quarantine"))]).collect()
    }

    /// The alert of what the scan found in an item that is served.
    pub fn found(
        &self,
        (upstream, kind, name, exposed): &(UpstreamName, ItemKind, String, String),
        fingerprint: &Fingerprint,
        findings: &[Finding],
    ) -> EventDraft {
        let mut event = self.event(EventType::Alert, upstream);
        event.tool = Some(exposed.as_str().into());
        let first =
            findings.iter().find(|finding| finding.kind.is_serious()).map(|finding| finding.what.as_str());
        event.reason = Some(
            format!(
                "{kind} `{exposed}` of server `{upstream}` is served, and {}",
                first.unwrap_or("something is odd in it")
            )
            .into(),
        );
        event.detail = Some(json!({
            "alert": "quarantine",
            "kind": kind,
            "name": name,
            "state": "found",
            "listed": fingerprint,
            "findings": findings,
        }));
        event
    }

    /// `admin_action`: items were pinned as they are listed, by the gateway itself or by a person.
    pub fn pinned(
        &self,
        (upstream, kind): (&UpstreamName, ItemKind),
        items: &[(String, Fingerprint)],
        first_use: bool,
        by: Option<&PersonId>,
    ) -> EventDraft {
        let mut event = self.event(EventType::AdminAction, upstream);
        let count = items.len();
        let how = match (by, first_use) {
            (Some(_), _) => "a person pinned what it lists now",
            (None, true) => "first use",
            (None, false) => "what appeared later is pinned as it comes, as `new_tools` says",
        };
        let items_word = if count == 1 { "item" } else { "items" };
        event.reason =
            Some(format!("{count} {items_word} ({kind}) of server `{upstream}` pinned: {how}").into());
        event.actor = actor(by);
        let named: Vec<Value> = items
            .iter()
            .take(MOST_NAMED)
            .map(|(name, fingerprint)| json!({"name": name, "fingerprint": fingerprint}))
            .collect();
        event.detail = Some(without_null(json!({
            "kind": kind,
            "count": count,
            "first_use": first_use,
            "person": by,
            "items": named,
        })));
        event
    }

    /// `tool_accepted`: a person accepted an item. `after` is what is pinned now; none: its pin was removed.
    pub fn accepted(
        &self,
        before: &Record,
        after: Option<&Record>,
        by: &PersonId,
        channel: &'static str,
        (state, findings, differences): (&str, &[Finding], Value),
    ) -> EventDraft {
        let mut event = self.event(EventType::ToolAccepted, &before.upstream);
        event.tool = Some(before.exposed.as_str().into());
        event.actor = actor(Some(by));
        let (kind, exposed, upstream) = (before.kind, &before.exposed, &before.upstream);
        event.reason = Some(match after {
            Some(_) => format!("{by} accepted {kind} `{exposed}` of server `{upstream}` ({state})").into(),
            None => {
                format!("{by} removed the pin of {kind} `{exposed}`, which server `{upstream}` lists no more")
                    .into()
            }
        });
        let fingerprint = |record: &Record| record.pin.as_ref().map(|pin| pin.fingerprint.clone());
        event.detail = Some(without_null(json!({
            "kind": kind,
            "name": before.name,
            "state": state,
            "person": by,
            "channel": channel,
            "before": fingerprint(before),
            "after": after.and_then(fingerprint),
            "findings": findings,
            "differences": differences,
        })));
        event
    }
}

fn actor(by: Option<&PersonId>) -> Actor {
    match by {
        Some(_) => Actor { kind: "person".into(), role: Some("admin".into()) },
        None => Actor { kind: "system".into(), role: None },
    }
}

fn without_null(mut detail: Value) -> Value {
    if let Some(members) = detail.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    detail
}
