//! One JSON object per event. Every field is always present, null where it has nothing to say.

use super::{
    AgentId, ApprovalId, CallId, CapabilityId, Digest, EventDecision, GrantId, MicroUsd, PersonId, PolicyId,
    RuleId, Sensitivity, SnapshotId, TraceId, UpstreamName, WorkflowId, json,
    text::{self, Object},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, ser::SerializeStruct as _};
use serde_json::Value;
use std::{borrow::Cow, fmt, sync::Arc};

/// What kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// An agent opened a session, or made its first call of a trace.
    AgentStart,
    /// What was decided of a call; committed before the upstream sees it.
    AgentDecision,
    /// What came of a dispatched call.
    AgentSideEffect,
    /// A call waits for people.
    ApprovalRequested,
    /// A person answered.
    ApprovalDecided,
    /// Nobody answered in time.
    ApprovalExpired,
    /// The policies changed before the call was made.
    ApprovalCancelled,
    /// A person answered an approval with a standing grant.
    GrantMade,
    /// A standing grant lets nothing more through.
    GrantEnded,
    /// Somebody should look.
    Alert,
    /// A policy bundle came into force.
    PolicyActivated,
    /// A changed bundle or servers.toml was refused; the old one stays in force.
    PolicyRejected,
    /// An admin did something.
    AdminAction,
    /// Requests came without a key or with a wrong one; counted, not one each.
    AuthFailed,
    /// A tool, prompt or resource is not what a person accepted, and is withheld.
    ToolQuarantined,
    /// A person accepted what a server offers.
    ToolAccepted,
    /// Somebody stopped an agent, a person, a tool, a server, a capability or everything.
    Frozen,
    /// Somebody let it go on.
    Unfrozen,
    /// What a person wrote down about a trace.
    Note,
}

impl EventType {
    /// Whether it tells of a call on its way, or of what people answered about one: its action is the call's.
    pub fn is_of_call(self) -> bool {
        matches!(
            self,
            Self::AgentStart
                | Self::AgentDecision
                | Self::AgentSideEffect
                | Self::ApprovalRequested
                | Self::ApprovalDecided
                | Self::ApprovalExpired
                | Self::ApprovalCancelled
        )
    }

    /// Every type.
    pub const ALL: &[Self] = &[
        Self::AgentStart,
        Self::AgentDecision,
        Self::AgentSideEffect,
        Self::ApprovalRequested,
        Self::ApprovalDecided,
        Self::ApprovalExpired,
        Self::ApprovalCancelled,
        Self::GrantMade,
        Self::GrantEnded,
        Self::Alert,
        Self::PolicyActivated,
        Self::PolicyRejected,
        Self::AdminAction,
        Self::AuthFailed,
        Self::ToolQuarantined,
        Self::ToolAccepted,
        Self::Frozen,
        Self::Unfrozen,
        Self::Note,
    ];

    /// The word in an event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentStart => "agent_start",
            Self::AgentDecision => "agent_decision",
            Self::AgentSideEffect => "agent_side_effect",
            Self::ApprovalRequested => "approval_requested",
            Self::ApprovalDecided => "approval_decided",
            Self::ApprovalExpired => "approval_expired",
            Self::ApprovalCancelled => "approval_cancelled",
            Self::GrantMade => "grant_made",
            Self::GrantEnded => "grant_ended",
            Self::Alert => "alert",
            Self::PolicyActivated => "policy_activated",
            Self::PolicyRejected => "policy_rejected",
            Self::AdminAction => "admin_action",
            Self::AuthFailed => "auth_failed",
            Self::ToolQuarantined => "tool_quarantined",
            Self::ToolAccepted => "tool_accepted",
            Self::Frozen => "frozen",
            Self::Unfrozen => "unfrozen",
            Self::Note => "note",
        }
    }

    /// Reads a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.as_str() == text)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What came of a dispatched call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The upstream answered without error.
    Succeeded,
    /// The upstream answered with an error, or was never reached.
    Failed,
    /// Nobody can tell whether the upstream acted.
    Unknown,
}

impl Outcome {
    /// The word in an event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Who acted: `agent`, `person` or `system`, and in which role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// `agent`, `person` or `system`.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The agent's role; a person's name where a person acted; null for the system.
    pub role: Option<Arc<str>>,
}

macro_rules! event {
    (
        first { $($(#[$first_doc:meta])* $first:ident: $first_type:ty,)* }
        rest { $($(#[$rest_doc:meta])* $rest:ident: $rest_type:ty,)* }
        told { $($(#[$told_doc:meta])* $told:ident,)* }
    ) => {
        /// An event before the store gives it its place in the chain. Everything in it is redacted already.
        #[derive(Clone, Debug, PartialEq)]
        pub struct EventDraft {
            /// What kind.
            pub event_type: EventType,
            /// When.
            pub timestamp: Timestamp,
            /// Who acted.
            pub actor: Actor,
            /// The label of the arguments.
            pub sensitivity_level: Sensitivity,
            /// Whether anything was masked for this record.
            pub redacted: bool,
            $($(#[$first_doc])* pub $first: Option<$first_type>,)*
            $($(#[$rest_doc])* pub $rest: Option<$rest_type>,)*
            $($(#[$told_doc])* pub $told: Option<Value>,)*
            /// The last of these where they are text already.
            pub texts: JsonTexts,
        }

        /// JSON texts that stand in the places of values: what is written with every call is written once, without a value in
        /// between.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct JsonTexts {
            $(#[doc = concat!("In place of [`EventDraft::", stringify!($told), "`].")] pub $told: Option<Box<str>>,)*
        }

        /// The public form as it is read back.
        #[derive(Deserialize)]
        struct Stored {
            event_type: EventType,
            timestamp: Timestamp,
            $($first: Option<$first_type>,)*
            actor: Actor,
            metadata: Metadata,
            seq: Option<i64>,
            prev_hash: Option<String>,
            hash: Option<String>,
            $($rest: Option<$rest_type>,)*
            $(#[serde(default, deserialize_with = "json::recorded_option")] $told: Option<Value>,)*
        }

        impl EventDraft {
            /// An event of the system itself, with everything else null.
            pub fn system(event_type: EventType, timestamp: Timestamp) -> Self {
                Self {
                    event_type,
                    timestamp,
                    actor: Actor { kind: "system".into(), role: None },
                    sensitivity_level: Sensitivity::Internal,
                    redacted: false,
                    $($first: None,)*
                    $($rest: None,)*
                    $($told: None,)*
                    texts: JsonTexts::default(),
                }
            }

            /// With texts as values, whatever they were before.
            #[must_use]
            pub fn with_values(mut self) -> Self {
                let read = |text: Box<str>| json::parse_inner(text.as_bytes()).ok();
                let texts = std::mem::take(&mut self.texts);
                $(self.$told = texts.$told.and_then(read).or(self.$told);)*
                self
            }

            /// Writes [`EventDraft::body`], with other `limits`, as JSON text, in place of the draft's own where there are
            /// any.
            pub fn write_body(&self, out: &mut Vec<u8>, limits: Option<&str>) {
                let mut body = Object::new(out);
                body.text("event_type", Some(self.event_type.as_str()));
                body.shown("timestamp", Some(&self.timestamp));
                $(member(&mut body, stringify!($first), self.$first.as_ref());)*
                let mut actor = Object::new(body.member("actor"));
                actor.text("type", Some(&self.actor.kind));
                actor.text("role", self.actor.role.as_deref());
                actor.end();
                let mut metadata = Object::new(body.member("metadata"));
                metadata.text("sensitivity_level", Some(self.sensitivity_level.as_str()));
                metadata.flag("redacted", self.redacted);
                metadata.end();
                $(member(&mut body, stringify!($rest), self.$rest.as_ref());)*
                $(
                    let instead = limits.filter(|_| stringify!($told) == "limits");
                    match instead.or(self.texts.$told.as_deref()) {
                        Some(text) => body.member(stringify!($told)).extend_from_slice(text.as_bytes()),
                        None => body.value(stringify!($told), self.$told.as_ref()),
                    }
                )*
                body.end();
            }

            /// A field by its name in the public form, as plain text; empty where it is null. `None`: there is no such field.
            pub fn cell(&self, field: &str) -> Option<String> {
                fn plain<T: Field>(value: &Option<T>) -> String {
                    value.as_ref().map(Field::plain).unwrap_or_default()
                }
                Some(match field {
                    "event_type" => self.event_type.to_string(),
                    "timestamp" => self.timestamp.to_string(),
                    "actor_type" => self.actor.kind.to_string(),
                    "actor_role" => self.actor.role.as_deref().unwrap_or_default().to_owned(),
                    "sensitivity_level" => self.sensitivity_level.to_string(),
                    "redacted" => self.redacted.to_string(),
                    $(stringify!($first) => plain(&self.$first),)*
                    $(stringify!($rest) => plain(&self.$rest),)*
                    $(stringify!($told) => plain(&self.$told),)*
                    _ => return None,
                })
            }

            /// The names of all fields that may be null, in the order of the public form.
            pub const NULLABLE: &[&str] =
                &[$(stringify!($first),)* $(stringify!($rest),)* $(stringify!($told),)*];
        }

        impl Stored {
            fn split(self) -> (EventDraft, Option<(i64, String, String)>) {
                let chain = match (self.seq, self.prev_hash, self.hash) {
                    (Some(seq), Some(prev_hash), Some(hash)) => Some((seq, prev_hash, hash)),
                    _ => None,
                };
                let draft = EventDraft {
                    event_type: self.event_type,
                    timestamp: self.timestamp,
                    actor: self.actor,
                    sensitivity_level: self.metadata.sensitivity_level,
                    redacted: self.metadata.redacted,
                    $($first: self.$first,)*
                    $($rest: self.$rest,)*
                    $($told: self.$told,)*
                    texts: JsonTexts::default(),
                };
                (draft, chain)
            }
        }

        impl Serialize for Event {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let draft = &self.draft;
                // The others: type, time, actor, metadata, and three of the chain.
                let mut event = serializer.serialize_struct("Event", EventDraft::NULLABLE.len() + 7)?;
                event.serialize_field("event_type", &draft.event_type)?;
                event.serialize_field("timestamp", &draft.timestamp)?;
                $(event.serialize_field(stringify!($first), &draft.$first)?;)*
                event.serialize_field("actor", &draft.actor)?;
                let metadata =
                    Metadata { sensitivity_level: draft.sensitivity_level, redacted: draft.redacted };
                event.serialize_field("metadata", &metadata)?;
                event.serialize_field("seq", &self.seq)?;
                let told = |hash: &str| (!hash.is_empty()).then(|| hash.to_owned());
                event.serialize_field("prev_hash", &told(&self.prev_hash))?;
                event.serialize_field("hash", &told(&self.hash))?;
                $(event.serialize_field(stringify!($rest), &draft.$rest)?;)*
                $(event.serialize_field(stringify!($told), &draft.$told)?;)*
                event.end()
            }
        }
    };
}

// The one list of an event's fields, in the order of the public form.
event! {
    first {
        /// Joins services; null where no call is concerned.
        trace_id: TraceId,
        /// The workflow the call ran in.
        workflow_id: WorkflowId,
        /// The agent that called.
        agent_id: AgentId,
        /// The tool's action; for other events what was done.
        action: Arc<str>,
        /// What decided.
        policy_id: PolicyId,
        /// The decision.
        decision: EventDecision,
        /// Estimated before the call.
        cost_estimate_usd: MicroUsd,
    }
    rest {
        /// Joins decision and side effect.
        call_id: CallId,
        /// The tool as the agent sees it; the URI of a resource; the name of a prompt.
        tool: Arc<str>,
        /// Which upstream.
        upstream: UpstreamName,
        /// What let the agent call it.
        capability_id: CapabilityId,
        /// Which rule of the policy.
        rule_id: RuleId,
        /// One plain sentence.
        reason: Arc<str>,
        /// The bundle that decided.
        policy_snapshot: SnapshotId,
        /// The approval that was asked or used.
        approval_id: ApprovalId,
        /// The agent's tenant.
        tenant: Arc<str>,
        /// `[gateway] environment`.
        environment: Arc<str>,
        /// The person at the agent's client.
        operator: PersonId,
        /// The person the agent acts for.
        user: PersonId,
        /// On a decision: the program that decided, as `tollgate/VERSION`.
        evaluator: Cow<'static, str>,
        /// On a decision: the labels of the data in the call.
        labels: Vec<Arc<str>>,
        /// The standing grant that was made, used or ended.
        grant_id: GrantId,
        /// On a side effect: what came of it.
        outcome: Outcome,
        /// On a side effect: how long the upstream took.
        duration_ms: u64,
        /// On a side effect: what it cost.
        cost_usd: MicroUsd,
        /// On a side effect: an HMAC-SHA-256 of the result as the agent got it.
        result_digest: Digest,
    }
    told {
        /// The limits and counters that were in force.
        limits,
        /// On a decision: what rules could read of the call and other fields, the snapshot and the tool do not tell.
        facts,
        /// What explains the rest: redacted arguments, all reasons, the trace of the decision, who decided.
        detail,
    }
}

/// A value of an event's field.
trait Field {
    /// As JSON.
    fn write(&self, out: &mut Vec<u8>);
    /// For a table.
    fn plain(&self) -> String;
}

macro_rules! texts {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn write(&self, out: &mut Vec<u8>) {
                text::string(out, self);
            }
            fn plain(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

texts!(
    WorkflowId,
    AgentId,
    PolicyId,
    CallId,
    UpstreamName,
    CapabilityId,
    RuleId,
    SnapshotId,
    ApprovalId,
    GrantId,
    Arc<str>,
    PersonId,
    Digest,
    Cow<'static, str>
);

impl Field for Vec<Arc<str>> {
    fn write(&self, out: &mut Vec<u8>) {
        text::strings(out, self);
    }
    fn plain(&self) -> String {
        self.join(" ")
    }
}

impl Field for TraceId {
    fn write(&self, out: &mut Vec<u8>) {
        text::shown(out, self);
    }
    fn plain(&self) -> String {
        self.to_string()
    }
}

impl Field for EventDecision {
    fn write(&self, out: &mut Vec<u8>) {
        text::string(out, self.as_str());
    }
    fn plain(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Field for Outcome {
    fn write(&self, out: &mut Vec<u8>) {
        text::string(out, self.as_str());
    }
    fn plain(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Field for MicroUsd {
    fn write(&self, out: &mut Vec<u8>) {
        text::money(out, *self);
    }
    fn plain(&self) -> String {
        self.to_string()
    }
}

impl Field for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        text::natural(out, *self);
    }
    fn plain(&self) -> String {
        self.to_string()
    }
}

impl Field for Value {
    fn write(&self, out: &mut Vec<u8>) {
        text::value(out, self);
    }
    fn plain(&self) -> String {
        self.to_string()
    }
}

fn member<T: Field>(body: &mut Object<'_>, name: &'static str, value: Option<&T>) {
    let out = body.member(name);
    match value {
        Some(value) => value.write(out),
        None => out.extend_from_slice(b"null"),
    }
}

/// A committed event with its place in the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its place, from 1, without gaps.
    pub seq: i64,
    /// The `hash` of the event before; 64 zeros for the first. Empty, and null in the public form: it is withheld.
    pub prev_hash: String,
    /// SHA-256, in hex, over `prev_hash`, a line feed, `seq` in decimal, a line feed, and the body. Empty, and
    /// null in the public form: it is withheld.
    pub hash: String,
    /// Everything else.
    pub draft: EventDraft,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
struct Metadata {
    sensitivity_level: Sensitivity,
    redacted: bool,
}

impl EventDraft {
    /// The person who acted, where one did: what a search by person finds. In the records of a call an agent acts.
    pub fn person(&self) -> Option<&str> {
        if let EventType::AgentStart | EventType::AgentDecision | EventType::AgentSideEffect = self.event_type
        {
            return None;
        }
        let detail = self.detail.as_ref()?;
        let named = |name: &str| detail.get(name)?.as_str().filter(|name| !name.is_empty());
        named("person").or_else(|| named("by"))
    }

    /// The JSON that the chain hashes and the store keeps: the public form without `seq`,
    /// `prev_hash` and `hash`.
    pub fn body(&self) -> String {
        let mut out = Vec::with_capacity(2048);
        self.write_body(&mut out, None);
        // Everything in it came from text.
        String::from_utf8(out).unwrap_or_default()
    }

    /// Reads what [`EventDraft::body`] wrote. Members that this version does not know are passed over,
    /// members that an older version did not write are null.
    pub fn from_body(body: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<Stored>(body).map(|stored| stored.split().0)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (draft, chain) = Stored::deserialize(deserializer)?.split();
        let (seq, prev_hash, hash) =
            chain.ok_or_else(|| serde::de::Error::custom("expected `seq`, `prev_hash` and `hash`"))?;
        Ok(Self { seq, prev_hash, hash, draft })
    }
}
