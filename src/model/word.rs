//! The closed vocabularies of the contract: decisions, statuses, autonomy.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every word, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word as written.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Reads a word; `None` for any other text.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}

words! {
    /// What an alert is about.
    AlertKind {
        /// The share of calls that is refused has risen.
        DenyRate = "deny_rate",
        /// Calls cost more than they did.
        CostSpike = "cost_spike",
        /// Nobody has decided an approval in its time.
        ApprovalSla = "approval_sla",
        /// So much of a budget is used.
        Budget = "budget",
        /// A server does not answer.
        UpstreamDown = "upstream_down",
        /// What a server lists is not what a person accepted, or is odd.
        Quarantine = "quarantine",
        /// An agent loops.
        Loop = "loop",
        /// The record, its index or a checkpoint is not what it was.
        Integrity = "integrity",
        /// More calls lack what the bundle requires.
        MissingMetadata = "missing_metadata",
        /// Hardly anything is refused any more: a control may be off.
        DenyDrop = "deny_drop",
        /// More dispatched calls fail, or a result is not what its tool declares.
        Failures = "failures",
        /// Something that people do regularly, or an incident, is overdue.
        Duty = "duty",
    }

    /// How an alert stands.
    AlertStatus {
        /// Nobody has said anything about it.
        Open = "open",
        /// A person has seen it: repeats are not told while it lasts.
        Acked = "acked",
        /// A person says that it was none: it takes more to raise the next one.
        False = "false",
        /// It is over.
        Closed = "closed",
    }

    /// How bad what an alert is about can be, the least first.
    AlertSeverity {
        /// To be looked at some time.
        Low = "low",
        /// To be looked at today.
        Medium = "medium",
        /// To be looked at now.
        High = "high",
    }

    /// What a policy says of a call, as written in a policy file; weakest first, so `max` is the strictest.
    Decision {
        /// Dispatched.
        Allow = "ALLOW",
        /// Dispatched under enforced limits.
        AllowWithConstraints = "ALLOW_WITH_CONSTRAINTS",
        /// A person decides.
        RequireApproval = "REQUIRE_APPROVAL",
        /// A safer variant is suggested or applied.
        Remediate = "REMEDIATE",
        /// Never dispatched; the proposal goes back to the agent.
        Suggest = "SUGGEST",
        /// Not dispatched now; `retry_after_ms` says when.
        Throttle = "THROTTLE",
        /// Not dispatched.
        Deny = "DENY",
    }

    /// The decision word in an event and in `tollgate/decision`.
    EventDecision {
        /// Dispatched.
        Allow = "allow",
        /// Dispatched under enforced limits.
        AllowWithConstraints = "allow_with_constraints",
        /// Waits for a person.
        PendingApproval = "pending_approval",
        /// A person approved; dispatched.
        Approved = "approved",
        /// A person rejected.
        Rejected = "rejected",
        /// Nobody decided in time.
        Expired = "expired",
        /// A safer variant was suggested or applied.
        Remediate = "remediate",
        /// The proposal went back to the agent.
        Suggest = "suggest",
        /// Not dispatched now.
        Throttle = "throttle",
        /// Not dispatched.
        Deny = "deny",
    }

    /// The state of an approval record.
    ApprovalStatus {
        /// Waits for people.
        Pending = "pending",
        /// The requirement is met; the call may be made once.
        Approved = "approved",
        /// Somebody who may decide said no.
        Rejected = "rejected",
        /// Nobody decided in time, or nobody used it in time.
        Expired = "expired",
        /// The policies changed before it was used.
        Cancelled = "cancelled",
        /// Used by its one call.
        Consumed = "consumed",
    }

    /// How far an agent or a capability may act by itself.
    Autonomy {
        /// What would be dispatched becomes a proposal.
        SuggestOnly = "suggest_only",
        /// Policy alone decides (the default).
        Supervised = "supervised",
        /// Policy alone decides; the word is a fact for rules.
        Autonomous = "autonomous",
    }
}

impl Decision {
    /// The event word for a call on which this was the last word.
    pub fn event_word(self) -> EventDecision {
        match self {
            Self::Allow => EventDecision::Allow,
            Self::AllowWithConstraints => EventDecision::AllowWithConstraints,
            Self::RequireApproval => EventDecision::PendingApproval,
            Self::Remediate => EventDecision::Remediate,
            Self::Suggest => EventDecision::Suggest,
            Self::Throttle => EventDecision::Throttle,
            Self::Deny => EventDecision::Deny,
        }
    }
}

/// A number with the word for what it counts: `1 call`, `2 calls`.
pub fn counted(count: u64, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
