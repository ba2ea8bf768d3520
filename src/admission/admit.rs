//! Whether a call is let through now: the approval that it names, and the first limit that is full.

use super::{
    approval::ApprovalRecord,
    effect::{Effect, Grant},
    grant::StandingGrant,
    limit::{Above, Slot},
    limits::{Check, wait},
    refusal::LimitRefusal,
    state::{RepeatLimit, Request, State},
    usage::{Unit, Usage},
};
use crate::model::{EventDecision, PolicyId};

/// What came of a request, with the counters that were seen.
#[derive(Debug)]
pub struct Ruling<'q> {
    pub(super) agent: &'q str,
    pub(super) checks: Vec<Check<'q>>,
    pub(super) repeats: Option<(RepeatLimit, u32)>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// It may be dispatched, once these are written.
    Granted(Vec<Effect>),
    /// A limit is full; nothing is reserved.
    Refused {
        /// Which, and what it says.
        refusal: LimitRefusal,
        /// Open calls of other processes hold some of what is missing, and their settlements may be on their way.
        held_by_others: bool,
        /// Alerts that are due by it: a budget that is used up, by calls that took more than they had reserved.
        alerts: Vec<Effect>,
    },
    /// The named approval or grant is not one that this call may use: why. Nothing is reserved.
    Unusable(String),
}

/// Judges a request by a state that was brought to its time ([`State::advance`]). All or nothing: every limit has room
/// and the approval or grant may be used, or nothing changes.
pub fn admit<'q>(state: &State, request: &'q Request<'_>) -> Ruling<'q> {
    let approval = request.approval.map(|named| named.usable(request.now)).transpose();
    let grant = request.grant.map(|named| named.usable(request.agent, request.now)).transpose();
    let (approval, grant) = match (approval, grant) {
        (Ok(approval), Ok(grant)) => (approval, grant),
        (Err(reason), _) | (_, Err(reason)) => {
            let outcome = Outcome::Unusable(reason);
            return Ruling { agent: request.agent, checks: Vec::new(), repeats: None, outcome };
        }
    };
    let looked = Looked {
        state,
        request,
        checks: request.limits.iter().map(|limit| Check { limit, standing: state.of(limit) }).collect(),
        repeats: request.repeats.map(|limit| (limit, state.repeats().count(limit.key))),
        approval,
        grant,
    };
    let outcome = match looked.refusal() {
        Some(refusal) => Outcome::Refused {
            refusal,
            held_by_others: looked.held_by_others(),
            alerts: looked.alerts_of_refusal(),
        },
        None => Outcome::Granted(looked.effects()),
    };
    Ruling { agent: request.agent, checks: looked.checks, repeats: looked.repeats, outcome }
}

/// A request with all that it is judged by.
struct Looked<'q, 's> {
    state: &'s State,
    request: &'q Request<'q>,
    checks: Vec<Check<'q>>,
    repeats: Option<(RepeatLimit, u32)>,
    approval: Option<&'q ApprovalRecord>,
    grant: Option<&'q StandingGrant>,
}

impl<'q> Looked<'q, '_> {
    /// The first limit that is full, strictest first: deny, throttle (the loop before all others), ask.
    fn refusal(&self) -> Option<LimitRefusal> {
        let full = self.full().min_by_key(|(check, _)| check.limit.above);
        // A call that uses an approval is counted and never stopped as a loop: a person looked at it. Nobody looks at one
        // that uses a grant.
        let looping = self.repeats.filter(|(limit, seen)| self.approval.is_none() && *seen >= limit.max);
        match (full, looping) {
            (Some((check, unit)), None) => Some(self.over(check, unit)),
            (Some((check, unit)), Some(_)) if check.limit.above == Above::Deny => {
                Some(self.over(check, unit))
            }
            (_, Some((limit, seen))) => Some(self.looping(limit, seen)),
            (None, None) => None,
        }
    }

    /// Budgets that the approval was asked for do not ask again: a person has let this call through with them in view. A
    /// grant excuses none: no budget may be answered with one.
    fn full(&self) -> impl Iterator<Item = (&Check<'q>, Unit)> {
        let excused = |id: &PolicyId| {
            self.approval.is_some_and(|record| record.requirements.iter().any(|r| r.policy_id == *id))
        };
        self.checks
            .iter()
            .filter(move |check| !(check.limit.above == Above::Ask && excused(check.limit.id)))
            .filter_map(|check| {
                let unit = check.limit.caps.passed(check.standing.usage, self.request.need)?;
                Some((check, unit))
            })
    }

    fn alerts_of_refusal(&self) -> Vec<Effect> {
        let need = self.request.need;
        let alerts = self.checks.iter().flat_map(|check| {
            let caps = &check.limit.caps;
            let stops = caps.passed(check.standing.usage, need);
            let fits_alone = caps.passed(Usage::default(), need).is_none();
            check.alerts(Usage::default(), self.request.now, stops.filter(|_| fits_alone))
        });
        alerts.map(Effect::Alerted).collect()
    }

    /// A settlement gives back what was reserved of tokens and money, never the call itself.
    fn held_by_others(&self) -> bool {
        self.full().any(|(check, unit)| {
            unit != Unit::Calls && self.state.reserved_by_others(self.request.owner, check.limit.slot)
        })
    }

    fn over(&self, check: &Check<'_>, unit: Unit) -> LimitRefusal {
        let (limit, request) = (check.limit, self.request);
        LimitRefusal {
            policy_id: limit.id.clone(),
            decision: limit.above.decision(),
            reason: check.sentence(unit, request.need),
            retry_after_ms: limit.frees_at(self.state, request).map(|at| wait(request.now, at)),
        }
    }

    fn looping(&self, limit: RepeatLimit, seen: u32) -> LimitRefusal {
        let max = limit.max;
        let room = self.state.repeats().room_at(limit.key, max.saturating_sub(1));
        LimitRefusal {
            policy_id: PolicyId::from("loop"),
            decision: EventDecision::Throttle,
            reason: format!(
                "the same call was made {seen} times in the last 60 s, and {max} are let through: it looks like a loop"
            ),
            retry_after_ms: room.filter(|_| max > 0).map(|at| wait(self.request.now, at)),
        }
    }

    /// What is written where everything has room.
    fn effects(&self) -> Vec<Effect> {
        let request = self.request;
        let mut grant = Grant {
            seq: request.seq,
            owner: request.owner,
            at: request.now,
            tokens: request.need.tokens,
            cost: request.need.cost,
            repeat: request.repeats.map(|limit| limit.key),
            ..Grant::default()
        };
        for check in &self.checks {
            match check.limit.slot {
                Slot::Rolling(counter) => {
                    grant.at = grant.at.max(self.state.reached(counter));
                    grant.rolling.push(counter);
                }
                Slot::Window(window) => grant.windows.push(window),
            }
        }
        if request.repeats.is_some() {
            grant.at = grant.at.max(self.state.repeats().reached());
        }
        let mut effects = Vec::with_capacity(2);
        effects.extend(self.approval.map(|record| Effect::Consumed(Box::new(record.consumed()))));
        effects.extend(self.grant.map(|used| Effect::GrantUsed(Box::new(used.once_used(request.now)))));
        effects.push(Effect::Granted(grant));
        effects.extend(
            self.checks
                .iter()
                .flat_map(|check| check.alerts(request.need, request.now, None))
                .map(Effect::Alerted),
        );
        effects
    }
}
