//! A call that has been decided: what every later part of its path knows.

use super::{prepared::Prepared, refusal::Refusal};
use crate::{
    decision::{ApprovalRequirement, Verdict},
    evidence::Explained,
    model::{Decision, PolicyId, RuleId},
    policy::Remediation,
    store::{ApprovalRecord, StandingGrant},
};
use serde_json::Value;
use std::sync::Arc;

/// A call that has been decided, with everything that earlier evaluations of it left standing.
pub(crate) struct Decided {
    pub(crate) prepared: Prepared,
    pub(crate) verdict: Verdict,
    /// The tool and the arguments as the agent sent them, redacted, where a constraint or remediation changed them.
    pub(crate) original: Option<(Arc<str>, Arc<Value>)>,
    /// The remediation that was applied.
    pub(crate) applied: Option<Applied>,
}

/// A remediation that changed the call, and who said so.
pub(crate) struct Applied {
    pub(crate) remediation: Arc<Remediation>,
    pub(super) policy_id: PolicyId,
    pub(super) rule_id: Option<RuleId>,
    pub(super) reason: Arc<str>,
}

impl Decided {
    /// What explains the decision: both versions of the call where rules changed it, and every policy's say.
    pub(crate) fn explained(&self) -> Explained<'_> {
        let Self { prepared, verdict, original, .. } = self;
        let explained = Explained {
            arguments: Some(&prepared.recorded),
            judged: prepared.judged.as_ref(),
            trace: Some(&verdict.trace),
            unchecked: prepared.unchecked,
            ..Explained::default()
        };
        explained.original(&prepared.shown, original.as_ref())
    }

    /// The policy, rule and reason that stand for the whole: of an allowed call that was made safer first, those of the
    /// remediation.
    pub(crate) fn attribution(&self) -> (&PolicyId, Option<&RuleId>, &Arc<str>) {
        match &self.applied {
            Some(applied) if self.verdict.decision < Decision::RequireApproval => {
                (&applied.policy_id, applied.rule_id.as_ref(), &applied.reason)
            }
            Some(_) | None => (&self.verdict.policy_id, self.verdict.rule_id.as_ref(), &self.verdict.reason),
        }
    }
}

/// By what a call may be dispatched, as far as its decision says so.
pub(crate) enum Warrant {
    /// The rules let it through.
    Rules,
    /// People have approved of it.
    Approval(Box<ApprovalRecord>),
    /// People have let calls like it through.
    Grant(Box<StandingGrant>),
}

/// Why there is no permit.
pub(crate) enum AdmitError {
    /// A budget asks for a person; the arguments come back unused.
    AskAbout(Box<ApprovalRequirement>, Arc<Value>),
    /// Another call used the approval first, and the record says so; the arguments come back unused.
    AskAnew(Arc<Value>),
    /// Another snapshot is in force by now: the call is decided under that one.
    Replaced(Arc<Value>),
    /// A limit is full.
    Limited(Box<Limited>),
    /// The store does not answer, or the gateway failed inside: nothing can be recorded of it.
    Refused(Box<Refusal>),
    /// Refused before the store was asked: its record is still to be made.
    Unrecorded(Box<Refusal>),
}

/// A call that a limit has stopped.
pub(crate) struct Limited {
    pub(super) decided: Box<Decided>,
    pub(super) refusal: Refusal,
    /// The store has recorded it in the transaction that refused it; else its record is still to be made, or to be counted.
    pub(super) recorded: bool,
}
