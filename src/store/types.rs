//! What goes into and comes out of the store.

use super::RegisterRead;
pub use crate::admission::{
    ApprovalAnswer, ApprovalBinding, ApprovalContext, ApprovalRecord, AskLimits, Bound, CallShape,
    FreezeSubject, GrantAnswer, GrantEnd, GrantEndReason, GrantTerms, LimitRefusal, LoopSeen, LoopWatch,
    Requirement, StandingGrant,
};
pub use crate::journal::index::Pattern;
use crate::{
    admission::window,
    cost::{BudgetWindow, BudgetZone, Elastic, SizeCell},
    decision::{BudgetLimit, RateLimit},
    evidence::GrantSubject,
    journal::index::{Field, Wanted},
    model::{
        AgentId, ApprovalId, ApprovalStatus, CallId, Digest, EventDecision, EventDraft, EventType, GrantId,
        MicroUsd, Outcome, PersonId, PolicyId, TraceId, WorkflowId,
    },
    proof::Hash,
    redaction::Said,
};
use jiff::Timestamp;
use serde::Serialize;
use std::sync::Arc;

/// Why the store did not do it. Every one of these denies.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database refused or failed.
    #[error("the store failed: {0}")]
    Failed(String),
    /// Another program holds the database.
    #[error("another process has locked the store")]
    Locked,
    /// There is no room for what has to be written.
    #[error("the disk of the store is full")]
    Full,
    /// A settlement of a call that was never admitted.
    #[error("call `{0}` was never admitted")]
    NoSuchCall(CallId),
    /// Too much is queued already.
    #[error("the store is overloaded")]
    Overloaded,
    /// It was closed.
    #[error("the store is closed")]
    Closed,
    /// What is stored cannot be read.
    #[error("the store holds a damaged record: {0}")]
    Damaged(String),
    /// This machine's clock is not that of the other replicas: so far from it.
    #[error("this machine's clock is {0}: nothing is decided by it until it is set (by NTP)")]
    Clock(String),
    /// A register has no room for more.
    #[error("the register `{0}` is full: nothing was changed")]
    RegisterFull(&'static str),
    /// An approval is not what its records say, or a record of it is damaged: it is not used.
    #[error("an approval does not verify: {0}")]
    Unverified(String),
}

impl StoreError {
    /// Why a call is refused, in words for agents: what else the error says goes to the log alone.
    pub fn refusal(&self) -> &'static str {
        match self {
            Self::Locked => {
                "another process has locked the audit store, and nothing is done unrecorded: try again later"
            }
            Self::Full => {
                "the disk of the audit store is full, and nothing is done unrecorded: an admin has to free space"
            }
            Self::Overloaded => {
                "the audit store is overloaded, and nothing is done unrecorded: try again later"
            }
            Self::Clock(_) => {
                "the clock of this gateway is wrong, and nothing is decided by it: an admin has to set it"
            }
            Self::Unverified(_) => {
                "the record of this call's approval does not verify, and the approval is not used: make the call again to \
                 ask for a new approval"
            }
            Self::Failed(_)
            | Self::NoSuchCall(_)
            | Self::Closed
            | Self::Damaged(_)
            | Self::RegisterFull(_) => "the audit store does not answer, and nothing is done unrecorded",
        }
    }
}

/// What admission asks for.
#[derive(Clone, Debug)]
pub struct AdmitRequest {
    /// When.
    pub now: Timestamp,
    /// The `agent_start` event of the call, written before the decision in the same transaction.
    pub start: Option<EventDraft>,
    /// The decision event as it stands where everything is granted. Its `limits` are filled in by the
    /// store with the counters that it saw.
    pub event: EventDraft,
    /// What is checked and counted.
    pub rates: Vec<RateLimit>,
    /// What is checked and reserved.
    pub budgets: Vec<BudgetLimit>,
    /// More identical calls (same agent and digest) in 60 s than this are a loop. Counted are calls that were
    /// granted here and asks ([`super::Store::ask`], by the binding's agent and `call`). A call that uses an
    /// approval is counted and never stopped by this: a person looked at it.
    pub max_repeats: Option<u32>,
    /// What else is a loop. Counted as granted calls are; a call that uses an approval is never stopped by it.
    pub loops: LoopWatch,
    /// The digest by which identical calls are known.
    pub digest: Digest,
    /// What is reserved: tokens.
    pub tokens: u64,
    /// What is reserved: money.
    pub cost: MicroUsd,
    /// What is reserved in place of both where a strict budget counts the call, which cuts its result at that.
    pub elastic: Option<Elastic>,
    /// The approval that is consumed, with the binding it must have.
    pub approval: Option<(ApprovalId, ApprovalBinding)>,
    /// The standing grant that is used once, with the terms that the call was held against.
    pub grant: Option<(GrantId, Arc<GrantTerms>)>,
    /// What of the call can be frozen: it is refused where that stands in the register. None: nothing of it can be.
    pub subject: Option<Arc<FreezeSubject>>,
    /// Refusals that are answered and not recorded, neither the call's start nor its decision.
    pub unrecorded: Unrecorded,
    /// What it was decided on that others may have changed since.
    pub read: Vec<RegisterRead>,
}

/// Refusals by a limit whose record is the caller's affair: it counts them with one like them that is recorded already, or
/// records them in fewer words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Unrecorded {
    /// None: the store records each.
    #[default]
    None,
    /// Those by these limits.
    Of(Vec<(PolicyId, EventDecision)>),
    /// All.
    All,
}

impl Unrecorded {
    /// Whether this refusal is one of them. A call that a person is asked about is not over, and never is.
    pub fn covers(&self, refusal: &LimitRefusal) -> bool {
        let LimitRefusal { policy_id, decision, .. } = refusal;
        *decision != EventDecision::PendingApproval
            && match self {
                Self::None => false,
                Self::Of(known) => known.iter().any(|(id, said)| id == policy_id && said == decision),
                Self::All => true,
            }
    }
}

/// What came of it. In every case but [`AdmitRequest::unrecorded`] and [`Admission::Outdated`] the decision event is committed.
#[derive(Clone, Debug, PartialEq)]
pub enum Admission {
    /// Reserved, counted, consumed, recorded: the call may be dispatched.
    Granted,
    /// The same of a call with [`AdmitRequest::elastic`]: so many tokens are reserved for it, its arguments among them.
    GrantedUpTo(u64),
    /// A limit is full.
    Refused(LimitRefusal),
    /// The named approval or grant is not (any longer) one that this call may use: consumed, expired, another binding.
    ApprovalUnusable(String),
    /// These entries have another version than the call was decided on: nothing was done, and it is to be decided again.
    Outdated(Vec<RegisterRead>),
}

/// How a dispatched call ended.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Which call.
    pub call_id: CallId,
    /// The side-effect event.
    pub event: EventDraft,
    /// Real tokens; `None` keeps the reservation (outcome unknown).
    pub tokens: Option<u64>,
    /// Real cost; `None` keeps the reservation.
    pub cost: Option<MicroUsd>,
    /// What came of it.
    pub outcome: Outcome,
    /// Result tokens to learn from.
    pub learned: Option<(SizeCell, u64)>,
}

/// What `ask` found or made.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A new record.
    Made(ApprovalRecord),
    /// The record that was there.
    Reused(ApprovalRecord),
    /// The agent asks too often; nothing was made.
    Refused(LimitRefusal),
}

/// A change of an approval.
#[derive(Clone, Debug)]
pub struct ApprovalUpdate {
    /// Which.
    pub id: ApprovalId,
    /// The version it was read at.
    pub expected_version: u64,
    /// Its new status.
    pub status: ApprovalStatus,
    /// All answers, the new one last.
    pub answers: Vec<ApprovalAnswer>,
    /// The standing grant that let its call through, where it is cancelled for that.
    pub covered_by: Option<GrantId>,
}

/// Which approvals.
#[derive(Clone, Debug, Default)]
pub struct ApprovalFilter {
    /// Only these states; empty: all.
    pub status: Vec<ApprovalStatus>,
    /// Only of agents of this name.
    pub agent: Option<Pattern>,
    /// Only of this call: whatever is sent beside its arguments, and under whatever policies.
    pub call: Option<ApprovalBinding>,
    /// Only those whose expiry is not after this.
    pub due: Option<Timestamp>,
    /// Only those that were asked for before this one; none where there is no such one.
    pub before: Option<ApprovalId>,
    /// At most so many; 0: no limit.
    pub limit: usize,
}

/// What came of an answer that makes a standing grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantMade {
    /// The approval is decided, and the grant is there.
    Made,
    /// The approval is not as it was read: nothing was changed.
    Outdated,
    /// The agent has so many live grants already: nothing was changed.
    TooMany(usize),
}

/// Which standing grants.
#[derive(Clone, Debug, Default)]
pub struct GrantFilter {
    /// Only those that nothing has ended.
    pub live: bool,
    /// Only of agents of this name.
    pub agent: Option<Pattern>,
    /// Only of tools of this name.
    pub tool: Option<Pattern>,
    /// Only those whose expiry is not after this.
    pub due: Option<Timestamp>,
    /// Only those whose expiry is after this.
    pub valid_at: Option<Timestamp>,
    /// Only those that were made before this one: the next page of a listing that ended with it.
    pub before: Option<GrantId>,
    /// At most so many; 0: no limit.
    pub limit: usize,
}

/// A grant as its records name it.
pub fn about_grant(grant: &StandingGrant) -> GrantSubject<'_> {
    let terms = &grant.terms;
    GrantSubject {
        id: &grant.id,
        approval: &terms.approval,
        trace_id: terms.trace_id,
        call_id: &terms.call_id,
        workflow: terms.workflow.as_ref(),
        agent: &terms.agent,
        user: terms.user.as_ref(),
        capability: terms.capability.as_ref(),
        rule: terms.rules.first().map(|(policy, rule)| (policy, rule.as_ref())),
        tool: &terms.tool,
        upstream: &terms.upstream,
        snapshot: &terms.snapshot,
    }
}

/// How an approval stands, without the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalHead {
    /// Which.
    pub id: ApprovalId,
    /// Grows with every change but a use.
    pub version: u64,
    /// Its state.
    pub status: ApprovalStatus,
}

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Of this type.
    pub event_type: Option<EventType>,
    /// Of this trace.
    pub trace_id: Option<TraceId>,
    /// Of these workflows.
    pub workflow_id: Option<Pattern>,
    /// Of these agents.
    pub agent_id: Option<Pattern>,
    /// Of these policies.
    pub policy_id: Option<Pattern>,
    /// Of these exposed tool names.
    pub tool: Option<Pattern>,
    /// Of what these persons did.
    pub person: Option<Pattern>,
    /// For these persons.
    pub user: Option<Pattern>,
    /// With this decision.
    pub decision: Option<EventDecision>,
    /// Of this call.
    pub call_id: Option<CallId>,
    /// Of this approval.
    pub approval_id: Option<ApprovalId>,
    /// Of this standing grant.
    pub grant_id: Option<GrantId>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// With a higher `seq`.
    pub after_seq: Option<i64>,
    /// With at most this `seq`.
    pub until_seq: Option<i64>,
    /// Newest first.
    pub newest_first: bool,
    /// At most so many; 0: no limit.
    pub limit: usize,
    /// No more once their bodies are so many bytes together; 0: no limit. One that fits comes in any case.
    pub most_bytes: usize,
}

impl EventQuery {
    /// What the events themselves must be, without their places in the chain and how many are asked for.
    pub fn wanted(&self) -> Wanted {
        let exact = |text: Option<&str>| text.map(Pattern::from);
        let terms = [
            (Field::Trace, self.trace_id.map(|trace| Pattern::Exact(trace.to_string()))),
            (Field::Call, exact(self.call_id.as_deref())),
            (Field::Approval, exact(self.approval_id.as_deref())),
            (Field::Grant, exact(self.grant_id.as_deref())),
            (Field::Workflow, self.workflow_id.clone()),
            (Field::Agent, self.agent_id.clone()),
            (Field::Policy, self.policy_id.clone()),
            (Field::Tool, self.tool.clone()),
            (Field::Person, self.person.clone()),
            (Field::User, self.user.clone()),
            (Field::Decision, exact(self.decision.map(|decision| decision.as_str()))),
            (Field::EventType, exact(self.event_type.map(|kind| kind.as_str()))),
        ];
        Wanted {
            terms: terms.into_iter().filter_map(|(field, pattern)| Some((field, pattern?))).collect(),
            since: self.since,
            until: self.until,
        }
    }
}

/// What kind of thing is kept by the hash of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeptKind {
    /// A bundle as it was loaded, under its snapshot.
    Bundle,
    /// A tool as it was resolved, under its hash.
    Tool,
}

impl KeptKind {
    /// Its word in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::Tool => "tool",
        }
    }
}

/// What records refer to, kept once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What it is.
    pub kind: KeptKind,
    /// Under what it is found.
    pub name: String,
    /// SHA-256 of the body, in hex.
    pub hash: String,
    /// The content.
    pub body: String,
}

/// One event as an export writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLine {
    /// Its place in the chain.
    pub seq: i64,
    /// One JSON object, without a line feed.
    pub json: String,
}

/// One budget counter's standing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BudgetUsage {
    /// The budget or rulebook policy.
    pub id: PolicyId,
    /// Which counter of it.
    pub key: String,
    /// The window's name.
    pub window: String,
    /// The kind of the counter ([`crate::admission::window::kind`]): the window's name, and its zone where the budget names one.
    pub kind: String,
    /// When the window began; null for a rolling one.
    pub window_start: Option<Timestamp>,
    /// Dispatched calls.
    pub calls: u64,
    /// Tokens, reserved and settled.
    pub tokens: u64,
    /// Money, reserved and settled.
    pub cost_usd: MicroUsd,
    /// What open calls hold of these.
    pub reserved: Counted,
    /// The time of the oldest call that is counted, of a window that rolls.
    pub oldest: Option<Timestamp>,
}

/// Calls, tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Calls.
    pub calls: u64,
    /// Tokens.
    pub tokens: u64,
    /// Money.
    pub cost_usd: MicroUsd,
}

impl BudgetUsage {
    /// Where the counter of a key stands at a time, among those of all: in the window of the zone that holds that time. What
    /// shares the counter of all keys beyond a bound stands there.
    pub fn of<'u>(
        all: &'u [Self],
        (id, key): (&str, &str),
        (window, zone): (BudgetWindow, Option<&BudgetZone>),
        now: Timestamp,
    ) -> Option<&'u Self> {
        let start = window::start_of(window, zone, now.as_microsecond());
        let kind = window::kind(window, zone);
        let find = |key: &str| {
            all.iter().find(|at| {
                at.id.as_str() == id
                    && at.key == key
                    && (at.kind == kind || at.kind == window::RATE)
                    && at.window_start.map(|start| start.as_microsecond()) == start
            })
        };
        find(key).or_else(|| find(OTHERS))
    }
}

/// The key of the counter that the keys of a budget share which are too many to be kept apart.
pub const OTHERS: &str = "(others)";

/// A call of which is asked where the rules about loops stand. Nothing is counted by it.
#[derive(Clone, Debug)]
pub struct LoopQuery {
    /// As of when.
    pub now: Timestamp,
    /// Who would call.
    pub agent: AgentId,
    /// In which workflow.
    pub workflow: Option<WorkflowId>,
    /// What, under the name that records have.
    pub tool: Arc<str>,
    /// The digest by which identical calls are known.
    pub digest: Digest,
    /// How many of them are let through.
    pub max_repeats: Option<u32>,
    /// What else is a loop.
    pub loops: LoopWatch,
}

/// What is set back: a budget's counters, in the window that holds a time.
#[derive(Clone, Debug)]
pub struct BudgetReset {
    /// The budget, or the policy with a limit per minute.
    pub id: PolicyId,
    /// The one counter of it; none: all of them.
    pub key: Option<String>,
    /// The kind of its counters ([`crate::admission::window::kind`]).
    pub kind: String,
    /// When the window began; none where it rolls.
    pub window_start: Option<Timestamp>,
    /// Who does it, by which channel, and why.
    pub by: ResetBy,
    /// When.
    pub now: Timestamp,
}

/// Who sets a budget back, and why.
#[derive(Clone, Debug)]
pub struct ResetBy {
    /// The person.
    pub person: PersonId,
    /// `cli` or `api`.
    pub channel: &'static str,
    /// Why.
    pub reason: Said,
}

/// One counter that was set back.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResetCounter {
    /// Which.
    pub key: String,
    /// What it had counted.
    pub before: Counted,
    /// What it counts since: what open calls hold.
    pub after: Counted,
}

/// What is asked of the tree over the records beside its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreePath {
    /// Nothing.
    None,
    /// What shows that this leaf, from 0, is in it: the record with the `seq` one higher.
    Inclusion(u64),
    /// What shows that the tree over so many records is its beginning.
    Consistency(u64),
}

/// What the tree over the records answers (RFC 6962; a leaf is the 32 bytes of a record's hash).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeAnswer {
    /// Over how many records it is.
    pub size: u64,
    /// How many there are.
    pub records: u64,
    /// Its root.
    pub root: Hash,
    /// The proof that was asked for.
    pub path: Vec<Hash>,
}

/// What verifying the chain found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChainReport {
    /// How many records were checked.
    pub records: u64,
    /// The hash of the last good record.
    pub head: String,
    /// The first bad record, and what is wrong with it.
    pub bad: Option<BadRecord>,
}

/// Something that is known not to be as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownDamage {
    /// The approval that does not verify; none: it is of the record.
    pub approval: Option<ApprovalId>,
    /// What is wrong, and where.
    pub problem: String,
}

/// A record that does not verify.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BadRecord {
    /// Its `seq`.
    pub seq: i64,
    /// What is wrong.
    pub problem: String,
}
