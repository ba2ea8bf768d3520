//! A rollout while it goes on: which bundle decides a call, and what the other one would have decided.

use super::{
    Gateway, InForce, Trial, decided::Decided, evaluate::is_large, fit::Looks, prepare::Stop,
    refusal::Refusal, request::Request,
};
use crate::{
    decision::Verdict,
    evidence::{Compared, Seen, Stage},
    model::{Decision, EventDecision},
};
use serde_json::Value;
use std::sync::Arc;

/// What decides a call, and what it is compared with.
pub(super) struct Chosen {
    pub(super) in_force: Arc<InForce>,
    other: Option<Other>,
}

impl Chosen {
    /// Whether there is another bundle to compare with.
    pub(super) fn compares(&self) -> bool {
        self.other.is_some()
    }
}

struct Other {
    trial: Arc<Trial>,
    in_force: Arc<InForce>,
    by_candidate: bool,
}

/// What a bundle says of a call, as far as it is compared.
struct Said {
    decision: EventDecision,
    policy_id: String,
    rule_id: Option<String>,
    reason: String,
    error: bool,
}

impl Said {
    fn of(verdict: &Verdict) -> Self {
        Self {
            decision: verdict.decision.event_word(),
            policy_id: verdict.policy_id.to_string(),
            rule_id: verdict.rule_id.as_ref().map(ToString::to_string),
            reason: verdict.reason.to_string(),
            error: verdict
                .trace
                .steps
                .iter()
                .any(|step| step.error && !step.shadow && step.decision == Decision::Deny),
        }
    }

    /// Before its policies were asked.
    fn refused(refusal: &Refusal) -> Self {
        Self {
            decision: refusal.decision,
            policy_id: refusal.policy_id.to_string(),
            rule_id: refusal.rule_id.as_ref().map(ToString::to_string),
            reason: refusal.reason.clone(),
            error: false,
        }
    }

    fn out_of_scope() -> Self {
        Self {
            decision: EventDecision::Deny,
            policy_id: "scope".to_owned(),
            rule_id: None,
            reason: "it is not in this agent's scope".to_owned(),
            error: false,
        }
    }

    fn denies(&self) -> bool {
        self.decision == EventDecision::Deny
    }

    fn asks(&self) -> bool {
        self.decision == EventDecision::PendingApproval
    }
}

/// What a call adds to the counts: `base` is what the bundle in force says of it.
fn difference(base: &Said, candidate: &Said, by_candidate: bool) -> Seen {
    Seen {
        calls: 1,
        decided_by_candidate: by_candidate.into(),
        denied_in_force: base.denies().into(),
        denied_by_candidate: candidate.denies().into(),
        newly_denied: (candidate.denies() && !base.denies()).into(),
        newly_allowed: (base.denies() && !candidate.denies()).into(),
        newly_asked: (candidate.asks() && !base.asks() && !base.denies()).into(),
        errors: (candidate.error && !base.error).into(),
    }
}

impl Gateway {
    /// What decides a call: one look at what is in force.
    pub(super) fn choose(&self, request: &Request) -> Chosen {
        let in_force = self.in_force_of(&request.principal);
        let tried = in_force.trial.clone().filter(|_| in_force.blocked.is_none());
        let Some(trial) = tried else { return Chosen { in_force, other: None } };
        let by_candidate = match trial.on.rollout.stage() {
            Stage::Share(share) => share.covers(request.share),
            Stage::Shadow | Stage::All => false,
        };
        let candidate = trial.candidate.clone();
        let (decides, other) = if by_candidate { (candidate, in_force) } else { (in_force, candidate) };
        Chosen { in_force: decides, other: Some(Other { trial, in_force: other, by_candidate }) }
    }

    /// Decides a call under the other bundle too, where one is tried: it stands in the record of the call. `first`: the call is
    /// counted.
    pub(super) async fn compare(
        &self,
        chosen: &Chosen,
        request: &Request,
        arguments: &Arc<Value>,
        looks: &mut Looks,
        decided: &mut Decided,
        first: bool,
    ) {
        let Some((other, said)) = self.other_says(chosen, request, arguments, looks).await else { return };
        let compared = Compared {
            rollout: &other.trial.on.rollout,
            by_candidate: other.by_candidate,
            snapshot: &other.in_force.policies.snapshot,
            decision: said.decision.as_str(),
            policy_id: &said.policy_id,
            rule_id: said.rule_id.as_deref(),
            reason: &said.reason,
        };
        if let Some(judged) = &mut decided.prepared.judged {
            judged.compared = Some(compared.text());
        }
        if first {
            self.count(other, &Said::of(&decided.verdict), &said);
        }
    }

    /// The same of a call that was stopped before its policies were asked: it is counted.
    pub(super) async fn compare_refused(
        &self,
        chosen: &Chosen,
        request: &Request,
        arguments: &Arc<Value>,
        looks: &mut Looks,
        stop: &Stop,
    ) {
        let own = match stop {
            // It is decided again.
            Stop::Unchecked(_) | Stop::Unasked(..) | Stop::Sealed(_) => return,
            Stop::Unknown => Said::out_of_scope(),
            Stop::Refused(refusal, _) | Stop::Away(refusal, _) => Said::refused(refusal),
        };
        if let Some((other, said)) = self.other_says(chosen, request, arguments, looks).await {
            self.count(other, &own, &said);
        }
    }

    /// What the bundle says that does not decide the call; none where there is no other, or nothing can be told of it.
    async fn other_says<'c>(
        &self,
        chosen: &'c Chosen,
        request: &Request,
        arguments: &Arc<Value>,
        looks: &mut Looks,
    ) -> Option<(&'c Other, Said)> {
        let other = chosen.other.as_ref()?;
        let evaluated = if is_large(request, arguments) {
            self.0.evaluator.evaluate_beside(&other.in_force, request, arguments.clone(), looks).await.ok()?
        } else {
            self.0.evaluator.evaluate(&other.in_force, request, arguments.clone(), looks)
        };
        let said = match evaluated {
            Ok(decided) => Said::of(&decided.verdict),
            Err(Stop::Refused(refusal, _) | Stop::Away(refusal, _)) => Said::refused(&refusal),
            Err(Stop::Unknown) => Said::out_of_scope(),
            // Nothing can be told of it: no external check is asked for what decides nothing.
            Err(Stop::Unchecked(_) | Stop::Unasked(..) | Stop::Sealed(_)) => return None,
        };
        Some((other, said))
    }

    fn count(&self, other: &Other, own: &Said, said: &Said) {
        let Other { trial, by_candidate, .. } = other;
        let (base, candidate) = if *by_candidate { (said, own) } else { (own, said) };
        let seen = trial.counts.add(difference(base, candidate, *by_candidate));
        if let Some(why) = seen.beyond(&trial.on.rollout.bounds)
            && trial.counts.begin_ending()
        {
            let (gateway, trial) = (self.clone(), trial.clone());
            self.spawn_until_stop(async move { gateway.goes_back(&trial, &why).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_compared_from_the_side_of_the_bundle_in_force() {
        let said = |decision, error| Said {
            decision,
            policy_id: "p".to_owned(),
            rule_id: None,
            reason: String::new(),
            error,
        };
        let deny = || said(EventDecision::Deny, false);
        let allow = || said(EventDecision::Allow, false);
        let ask = || said(EventDecision::PendingApproval, false);
        let check = |base: Said, candidate: Said, expect: [u64; 4]| {
            let seen = difference(&base, &candidate, true);
            assert_eq!([seen.newly_denied, seen.newly_allowed, seen.newly_asked, seen.errors], expect);
            assert_eq!((seen.calls, seen.decided_by_candidate), (1, 1));
        };
        check(allow(), allow(), [0, 0, 0, 0]);
        check(allow(), deny(), [1, 0, 0, 0]);
        check(deny(), allow(), [0, 1, 0, 0]);
        check(allow(), ask(), [0, 0, 1, 0]);
        check(deny(), ask(), [0, 1, 0, 0]);
        check(allow(), said(EventDecision::Deny, true), [1, 0, 0, 1]);
        check(said(EventDecision::Deny, true), said(EventDecision::Deny, true), [0, 0, 0, 0]);
    }
}
