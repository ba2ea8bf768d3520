//! Records of credentials that people connect to upstreams: who, where and whose, and never a token.

use crate::model::{Actor, ConnectionKey, EventDraft, EventType, Holder, PersonId, UpstreamName};
use jiff::Timestamp;
use serde_json::{Value, json};

/// What such a record tells.
pub struct ConnectionRecord<'r> {
    /// Which connection.
    pub key: &'r ConnectionKey,
    /// Who did it; none: the local admin, or nobody.
    pub by: Option<&'r PersonId>,
    /// The issuer.
    pub issuer: &'r str,
    /// What its tokens may be used for.
    pub scopes: &'r [String],
}

/// Somebody looked at what is listed for the account of somebody else, at one upstream or at all; `through`: where they did.
pub fn personal_lists_viewed(
    (holder, upstream): (&Holder, Option<&UpstreamName>),
    by: Option<&PersonId>,
    (now, through): (Timestamp, &str),
) -> EventDraft {
    let mut event = EventDraft::system(EventType::AdminAction, now);
    event.action = Some("personal_lists_viewed".into());
    event.upstream = upstream.cloned();
    if let Holder::Agent(agent) = holder {
        event.agent_id = Some(agent.clone());
    }
    if by.is_some() {
        event.actor = Actor { kind: "person".into(), role: None };
    }
    event.detail = Some(json!({
        "person": by,
        "upstream": upstream,
        "holder": holder.to_string(),
        "through": through,
    }));
    event
}

impl ConnectionRecord<'_> {
    fn draft(&self, action: &'static str, now: Timestamp, more: (&str, Value)) -> EventDraft {
        let Self { key, by, issuer, scopes } = self;
        let mut event = EventDraft::system(EventType::AdminAction, now);
        event.action = Some(action.into());
        event.upstream = Some(key.upstream.clone());
        if let Holder::Agent(agent) = &key.holder {
            event.agent_id = Some(agent.clone());
        }
        if by.is_some() {
            event.actor = Actor { kind: "person".into(), role: None };
        }
        let mut detail = json!({
            "person": by,
            "upstream": key.upstream,
            "holder": key.holder.to_string(),
            "issuer": issuer,
            "scopes": scopes,
        });
        if let Some(detail) = detail.as_object_mut() {
            detail.insert(more.0.to_owned(), more.1);
        }
        event.detail = Some(detail);
        event
    }

    /// Somebody connected it; `through`: where they did.
    pub fn connected(&self, now: Timestamp, through: &str) -> EventDraft {
        self.draft("credential_connected", now, ("through", json!(through)))
    }

    /// Somebody disconnected it; whether the issuer took the tokens back.
    pub fn disconnected(&self, now: Timestamp, revoked: bool) -> EventDraft {
        self.draft("credential_disconnected", now, ("revoked", json!(revoked)))
    }

    /// It does not count any more, and why.
    pub fn lost(&self, now: Timestamp, why: &str) -> EventDraft {
        let mut event = self.draft("credential_lost", now, ("why", json!(why)));
        event.reason = Some(why.into());
        event
    }

    /// Its tokens could not be renewed, and why; they may be yet.
    pub fn not_renewed(&self, now: Timestamp, why: &str) -> EventDraft {
        let mut event = self.draft("credential_not_renewed", now, ("why", json!(why)));
        event.reason = Some(why.into());
        event
    }
}
