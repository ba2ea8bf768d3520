//! What is frozen: no call of it is let through until somebody lifts that, whatever policies, approvals and grants say.

use super::LimitRefusal;
use crate::model::{AgentId, CapabilityId, EventDecision, PersonId, PolicyId, UpstreamName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The policy that refuses a frozen call.
pub const FREEZE: &str = "freeze";

/// What of a call can be frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FreezeKind {
    /// An agent.
    Agent,
    /// The person that agents act for.
    User,
    /// A tool, by the name that agents see.
    Tool,
    /// A server.
    Upstream,
    /// A capability: each call that it covers.
    Capability,
    /// Everything.
    All,
}

impl FreezeKind {
    /// Every kind.
    pub const ALL: &[Self] =
        &[Self::Agent, Self::User, Self::Tool, Self::Upstream, Self::Capability, Self::All];

    /// Its word in requests, listings and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
            Self::Tool => "tool",
            Self::Upstream => "upstream",
            Self::Capability => "capability",
            Self::All => "all",
        }
    }

    /// What an agent is told: that it is so, and neither why nor by whom.
    fn sentence(self) -> &'static str {
        match self {
            Self::Agent => "this agent is frozen",
            Self::User => "calls for this user are frozen",
            Self::Tool => "this tool is frozen",
            Self::Upstream => "the server behind this call is frozen",
            Self::Capability => "the capability behind this call is frozen",
            Self::All => "all calls are frozen",
        }
    }

    /// The refusal of a call that is frozen by this.
    pub fn refusal(self) -> LimitRefusal {
        LimitRefusal {
            policy_id: PolicyId::from(FREEZE),
            decision: EventDecision::Deny,
            reason: self.sentence().to_owned(),
            retry_after_ms: None,
            never: None,
            looping: None,
        }
    }
}

/// The longest name that can be frozen, in bytes.
const LONGEST_NAME: usize = 512;

/// What is frozen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FreezeTarget {
    /// What kind of thing.
    pub kind: FreezeKind,
    /// Its name; empty for everything.
    pub name: String,
}

impl FreezeTarget {
    /// The error says what is wrong with the name.
    pub fn new(kind: FreezeKind, name: &str) -> Result<Self, String> {
        let word = kind.as_str();
        match (kind, name) {
            (FreezeKind::All, _) => return Ok(Self { kind, name: String::new() }),
            (_, "") => return Err(format!("`{word}` must name one")),
            (_, name) if name.len() > LONGEST_NAME => {
                return Err(format!("`{word}` is longer than {LONGEST_NAME} bytes"));
            }
            (_, name) if name.chars().any(char::is_control) => {
                return Err(format!("`{word}` has control characters in it"));
            }
            _ => {}
        }
        Ok(Self { kind, name: name.to_owned() })
    }

    /// Under what it stands in the register.
    pub fn key(&self) -> String {
        match self.kind {
            FreezeKind::All => FreezeKind::All.as_str().to_owned(),
            kind => format!("{}:{}", kind.as_str(), self.name),
        }
    }

    /// Reads [`Self::key`].
    pub fn of_key(key: &str) -> Option<Self> {
        let (word, name) = key.split_once(':').unwrap_or((key, ""));
        let kind = FreezeKind::ALL.iter().copied().find(|kind| kind.as_str() == word)?;
        Self::new(kind, name).ok().filter(|target| target.key() == key)
    }

    /// In words: ``agent `planner-01` ``, or `everything`.
    pub fn words(&self) -> String {
        match self.kind {
            FreezeKind::All => "everything".to_owned(),
            kind => format!("{} `{}`", kind.as_str(), self.name),
        }
    }
}

/// What the register says of something that is frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// By what it is lifted.
    pub id: String,
    /// Who froze it; none: the local admin, without a key.
    pub by: Option<PersonId>,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// A call as far as it can be frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreezeSubject {
    /// Who calls.
    pub agent: AgentId,
    /// The person the agent acts for.
    pub user: Option<PersonId>,
    /// What is known of what it calls, once it was found.
    pub target: Option<FrozenTarget>,
}

/// What a call goes to, as far as that can be frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenTarget {
    /// The tool's exposed name, whole and as it is listed; none for resources and prompts.
    pub tool: Option<(Arc<str>, Arc<str>)>,
    /// Whose it is.
    pub upstream: UpstreamName,
    /// What covers the call.
    pub capabilities: Vec<CapabilityId>,
}

impl FreezeSubject {
    /// By what it is frozen, if it is; `has` says whether something stands under a key of the register.
    pub fn frozen(&self, has: impl Fn(&str) -> bool) -> Option<FreezeKind> {
        let named = |kind: FreezeKind, name: &str| has(&format!("{}:{name}", kind.as_str()));
        if has(FreezeKind::All.as_str()) {
            return Some(FreezeKind::All);
        }
        if named(FreezeKind::Agent, &self.agent) {
            return Some(FreezeKind::Agent);
        }
        if self.user.as_ref().is_some_and(|user| named(FreezeKind::User, user)) {
            return Some(FreezeKind::User);
        }
        let target = self.target.as_ref()?;
        let is_tool = |(full, listed): &(Arc<str>, Arc<str>)| {
            named(FreezeKind::Tool, full) || (full != listed && named(FreezeKind::Tool, listed))
        };
        if target.tool.as_ref().is_some_and(is_tool) {
            return Some(FreezeKind::Tool);
        }
        if named(FreezeKind::Upstream, &target.upstream) {
            return Some(FreezeKind::Upstream);
        }
        let is_frozen = |capability: &CapabilityId| named(FreezeKind::Capability, capability);
        target.capabilities.iter().any(is_frozen).then_some(FreezeKind::Capability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: FreezeKind, name: &str) -> FreezeTarget {
        FreezeTarget::new(kind, name).unwrap()
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        for kind in FreezeKind::ALL {
            let one = target(*kind, if *kind == FreezeKind::All { "" } else { "a:b" });
            assert_eq!(FreezeTarget::of_key(&one.key()), Some(one));
        }
        for wrong in ["", "agent", "agent:", "nobody:x", "all:x", "tool:a\nb"] {
            assert_eq!(FreezeTarget::of_key(wrong), None, "{wrong}");
        }
        for wrong in ["", "a\u{7}", &"x".repeat(600)] {
            assert!(FreezeTarget::new(FreezeKind::Tool, wrong).is_err(), "{wrong}");
        }
        assert_eq!(target(FreezeKind::All, "ignored").words(), "everything");
        assert_eq!(target(FreezeKind::Tool, "t").words(), "tool `t`");
    }

    #[test]
    fn everything_that_names_the_call_freezes_it_and_nothing_else_does() {
        let subject = FreezeSubject {
            agent: "ada".into(),
            user: Some("alice".into()),
            target: Some(FrozenTarget {
                tool: Some(("up__a_very_long_name".into(), "up__a_very~1".into())),
                upstream: "up".into(),
                capabilities: vec!["read".into(), "write".into()],
            }),
        };
        let check = |kind, name: &str, expect: bool| {
            let key = target(kind, name).key();
            let frozen = subject.frozen(|asked| asked == key);
            assert_eq!(frozen, expect.then_some(kind), "{key}");
        };
        check(FreezeKind::All, "", true);
        check(FreezeKind::Agent, "ada", true);
        check(FreezeKind::Agent, "ad", false);
        check(FreezeKind::User, "alice", true);
        check(FreezeKind::User, "ada", false);
        check(FreezeKind::Tool, "up__a_very_long_name", true);
        check(FreezeKind::Tool, "up__a_very~1", true);
        check(FreezeKind::Tool, "up", false);
        check(FreezeKind::Upstream, "up", true);
        check(FreezeKind::Upstream, "read", false);
        check(FreezeKind::Capability, "write", true);
        check(FreezeKind::Capability, "up", false);
        let unknown = FreezeSubject { target: None, ..subject };
        assert_eq!(unknown.frozen(|key| key == "tool:up__a_very_long_name"), None);
        assert_eq!(unknown.frozen(|key| key == "agent:ada"), Some(FreezeKind::Agent));
        let refusal = FreezeKind::Agent.refusal();
        assert_eq!((refusal.policy_id.as_str(), refusal.decision), ("freeze", EventDecision::Deny));
    }
}
