//! Standing grants as admission knows them: what one covers, and when a call may use it.

use crate::{
    model::{
        AgentId, ApprovalId, CallId, CapabilityId, Digest, Fingerprint, Glob, GrantId, PersonId, PolicyId,
        RuleId, SnapshotId, TraceId, UpstreamName, WorkflowId, json, plain_readings, span, within,
        without_query,
    },
    redaction::withheld,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What an argument of a call under a grant may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// This value. Numbers are compared by what they are, not by how they are written.
    Equals(#[serde(deserialize_with = "json::recorded")] Value),
    /// A text that a glob matches, as it is and percent-decoded, without dot segments.
    Glob(String),
    /// An absolute path at or below this one, by the rules of `within` in conditions.
    Within(String),
    /// Anything, and also nothing; always true.
    Any(bool),
}

impl Bound {
    /// Whether an argument that is there fits.
    pub fn fits(&self, value: &Value) -> bool {
        match self {
            Self::Equals(wanted) => canonical(wanted) == canonical(value),
            Self::Glob(pattern) => {
                let readings = value.as_str().and_then(plain_readings);
                let all = |glob: Glob| readings.is_some_and(|all| all.iter().all(|text| glob.matches(text)));
                Glob::parse(pattern).is_ok_and(all)
            }
            Self::Within(root) => value.as_str().is_some_and(|path| within(path, root).unwrap_or(false)),
            Self::Any(any) => *any,
        }
    }

    /// As JSON: the form that the API takes.
    pub fn form(&self) -> Value {
        match self {
            Self::Equals(value) => json!({"equals": value}),
            Self::Glob(pattern) => json!({"glob": pattern}),
            Self::Within(root) => json!({"within": root}),
            Self::Any(any) => json!({"any": any}),
        }
    }
}

/// Bounds that say of what kind and how long their values are, and not which.
fn without_values(bounds: BTreeMap<String, Bound>) -> BTreeMap<String, Bound> {
    let text = |text: String| match withheld(&Value::String(text)) {
        Value::String(mask) => mask,
        _ => String::new(),
    };
    let held = |bound| match bound {
        Bound::Equals(value) => Bound::Equals(withheld(&value)),
        Bound::Glob(pattern) => Bound::Glob(text(pattern)),
        Bound::Within(root) => Bound::Within(text(root)),
        Bound::Any(any) => Bound::Any(any),
    };
    bounds.into_iter().map(|(name, bound)| (name, held(bound))).collect()
}

fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    json::canonical(value, &mut out);
    out
}

/// The grant that an approver answers with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantAnswer {
    /// How long it counts.
    #[serde(with = "span")]
    pub duration: Duration,
    /// How many calls it lets through.
    pub uses: u64,
    /// What arguments may be; one that is not named must be as it was asked for.
    #[serde(default)]
    pub arguments: BTreeMap<String, Bound>,
}

/// A call that was asked about, as a grant knows it: keyed digests, for arguments that a grant does not name must be as they
/// were asked for, and what was asked for is not kept in the clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallShape {
    /// By the argument's name.
    pub arguments: BTreeMap<String, Digest>,
    /// Of what is sent beside the arguments.
    pub extras: Digest,
    /// Arguments whose values may not be recorded as they are.
    #[serde(default)]
    pub masked: BTreeSet<String>,
}

/// A rule that asks: its policy and its id.
pub type AskingRule = (PolicyId, Option<RuleId>);

/// What a grant covers. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantTerms {
    /// The approval that was answered with it.
    pub approval: ApprovalId,
    /// The call that asked for that.
    pub call_id: CallId,
    /// Its trace.
    pub trace_id: TraceId,
    /// Whose calls.
    pub agent: AgentId,
    /// The person the agent acts for.
    pub user: Option<PersonId>,
    /// The workflow they run in.
    pub workflow: Option<WorkflowId>,
    /// The exposed tool name.
    pub tool: String,
    /// The tool's fingerprint.
    pub fingerprint: Fingerprint,
    /// The tool's upstream.
    pub upstream: UpstreamName,
    /// What lets the agent call it.
    pub capability: Option<CapabilityId>,
    /// The bundle.
    pub snapshot: SnapshotId,
    /// The rules that asked: a call about which another one asks is not covered.
    pub rules: Vec<AskingRule>,
    /// What arguments may be.
    pub arguments: BTreeMap<String, Bound>,
    /// The call that was asked about.
    pub asked: CallShape,
    /// How many calls it lets through.
    pub uses: u64,
    /// Who answered with it, in order; the last one made it.
    pub approvers: Vec<PersonId>,
    /// When.
    pub made_at: Timestamp,
    /// Until when it counts.
    pub expires_at: Timestamp,
}

/// A call that a grant might cover.
#[derive(Clone, Copy, Debug)]
pub struct CoveredCall<'c> {
    /// Who calls.
    pub agent: &'c AgentId,
    /// The person the agent acts for.
    pub user: Option<&'c PersonId>,
    /// The workflow it runs in.
    pub workflow: Option<&'c WorkflowId>,
    /// The exposed tool name.
    pub tool: &'c str,
    /// The tool's fingerprint.
    pub fingerprint: &'c Fingerprint,
    /// What lets it through.
    pub capability: Option<&'c CapabilityId>,
    /// The bundle that decided it.
    pub snapshot: &'c SnapshotId,
    /// The rules that ask about it.
    pub rules: &'c [AskingRule],
    /// Its arguments as they would be sent.
    pub arguments: &'c Value,
    /// Their digests.
    pub shape: &'c CallShape,
}

impl GrantTerms {
    /// Whether a call is one of those that people let through with it.
    pub fn covers(&self, call: &CoveredCall<'_>) -> bool {
        let same = (&self.agent, self.user.as_ref(), self.workflow.as_ref())
            == (call.agent, call.user, call.workflow)
            && (&*self.tool, &self.fingerprint, &self.snapshot)
                == (call.tool, call.fingerprint, call.snapshot)
            && self.capability.as_ref() == call.capability
            && self.asked.extras == call.shape.extras;
        let asks_no_other = !call.rules.is_empty() && call.rules.iter().all(|rule| self.rules.contains(rule));
        same && asks_no_other && self.takes(call.arguments, &call.shape.arguments)
    }

    /// The arguments that have no bound: they must be as they were asked for.
    pub fn as_asked(&self) -> Vec<&str> {
        let asked = self.asked.arguments.keys().map(String::as_str);
        asked.filter(|name| !self.arguments.contains_key(*name)).collect()
    }

    /// Whether each argument is within its bound, and all others are as they were asked for: also those that were not
    /// there.
    fn takes(&self, arguments: &Value, digests: &BTreeMap<String, Digest>) -> bool {
        let Some(arguments) = arguments.as_object() else { return false };
        let asked = &self.asked.arguments;
        let as_asked = |name: &String| asked.get(name) == digests.get(name);
        let fits = |name: &String| match (self.arguments.get(name), arguments.get(name)) {
            (Some(bound), Some(value)) => bound.fits(value),
            (Some(Bound::Any(true)), None) => true,
            (Some(_), None) | (None, _) => as_asked(name),
        };
        arguments.len() == digests.len() && arguments.keys().chain(asked.keys()).all(fits)
    }
}

/// Why a grant lets nothing more through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantEndReason {
    /// Its time is over.
    Expired,
    /// All of its uses are.
    UsedUp,
    /// A person has taken it back.
    Revoked,
    /// Another bundle is in force.
    Snapshot,
    /// The tool is another one by now.
    Fingerprint,
    /// The capability that it was given for is not the agent's any more.
    Capability,
    /// Records that may have used it are lost.
    Lost,
}

impl GrantEndReason {
    /// The word in records and forms.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::UsedUp => "used_up",
            Self::Revoked => "revoked",
            Self::Snapshot => "snapshot",
            Self::Fingerprint => "fingerprint",
            Self::Capability => "capability",
            Self::Lost => "lost",
        }
    }

    /// In words.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Expired => "its time is over: it has expired",
            Self::UsedUp => "all of its uses are used up",
            Self::Revoked => "a person has revoked it",
            Self::Snapshot => "other policies are in force: it was given under another snapshot",
            Self::Fingerprint => "the tool has changed: it has another fingerprint",
            Self::Capability => {
                "the capability that it was given for does not cover the tool for this agent any more"
            }
            Self::Lost => "records that may have used it are lost",
        }
    }
}

/// How a grant ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantEnd {
    /// Why.
    pub why: GrantEndReason,
    /// When.
    pub at: Timestamp,
    /// Who has revoked it.
    #[serde(default)]
    pub by: Option<PersonId>,
    /// What they said.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A grant as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingGrant {
    /// Its id.
    pub id: GrantId,
    /// Counts up with every change.
    pub version: u64,
    /// What it covers.
    pub terms: GrantTerms,
    /// How many calls it has let through.
    pub used: u64,
    /// How it ended; none: it has not.
    pub ended: Option<GrantEnd>,
}

impl GrantAnswer {
    /// The same without the values that bound arguments.
    #[must_use]
    pub fn without_values(self) -> Self {
        Self { arguments: without_values(self.arguments), ..self }
    }
}

impl StandingGrant {
    /// The same without the values that bound arguments.
    #[must_use]
    pub fn without_values(mut self) -> Self {
        self.terms.arguments = without_values(self.terms.arguments);
        self.terms.tool = without_query(&self.terms.tool);
        self
    }

    /// The id of the grant that an approval makes: one makes one at most.
    pub fn id_of(approval: &ApprovalId) -> GrantId {
        GrantId::from(format!("grant-{approval}"))
    }

    /// How many more calls it lets through, as far as nothing has ended it.
    pub fn uses_left(&self) -> u64 {
        self.terms.uses.saturating_sub(self.used)
    }

    /// Whether a call may use it at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended.is_none() && self.uses_left() > 0 && now < self.terms.expires_at
    }

    /// The grant once another call has used it, at `now` in microseconds.
    pub fn once_used(&self, now: i64) -> Self {
        let mut next = Self {
            version: self.version.saturating_add(1),
            used: self.used.saturating_add(1),
            ..self.clone()
        };
        if next.uses_left() == 0 {
            let at = Timestamp::from_microsecond(now).unwrap_or_default();
            next.ended = Some(GrantEnd { why: GrantEndReason::UsedUp, at, by: None, reason: None });
        }
        next
    }

    /// The grant once it has ended.
    pub fn ended_by(&self, end: GrantEnd) -> Self {
        Self { version: self.version.saturating_add(1), ended: Some(end), ..self.clone() }
    }
}

/// The grant that a call names.
#[derive(Clone, Copy, Debug)]
pub struct NamedGrant<'r> {
    /// Its id.
    pub id: &'r GrantId,
    /// The terms that the call was held against.
    pub terms: &'r GrantTerms,
    /// The grant under that id as it stands; none where there is none.
    pub found: Option<&'r StandingGrant>,
}

impl<'r> NamedGrant<'r> {
    /// The grant, where a call of `agent` at `now` may use it, or why it may not.
    pub fn usable(self, agent: &str, now: i64) -> Result<&'r StandingGrant, String> {
        let Self { id, terms, found } = self;
        let Some(grant) = found else {
            return Err(format!("there is no grant `{id}`"));
        };
        let reason = if grant.terms != *terms || *grant.terms.agent != *agent {
            "is for other calls"
        } else if let Some(end) = &grant.ended {
            end.why.phrase()
        } else if grant.uses_left() == 0 {
            GrantEndReason::UsedUp.phrase()
        } else if grant.terms.expires_at.as_microsecond() <= now {
            GrantEndReason::Expired.phrase()
        } else {
            return Ok(grant);
        };
        Err(format!("grant `{id}`: {reason}"))
    }
}
