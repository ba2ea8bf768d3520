//! Whether a call is let through now: the approval that it names, and the first limit that is full.

use super::{
    approval::ApprovalRecord,
    effect::{Effect, Grant},
    grant::StandingGrant,
    limit::{Above, Slot},
    limits::{Check, wait},
    loops::{LoopCheck, LoopSeen, identical},
    refusal::LimitRefusal,
    state::{RepeatLimit, Request, State},
    usage::{Unit, Usage},
};
use crate::{
    model::{EventDecision, PolicyId},
    policy::LoopKind,
};

/// What came of a request, with the counters that were seen.
#[derive(Debug)]
pub struct Ruling<'q> {
    pub(super) agent: &'q str,
    pub(super) checks: Vec<Check<'q>>,
    pub(super) repeats: Option<(RepeatLimit, u32)>,
    pub(super) loops: Vec<LoopSeen>,
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
            let (checks, loops) = (Vec::new(), Vec::new());
            return Ruling { agent: request.agent, checks, repeats: None, loops, outcome };
        }
    };
    let looked = Looked {
        state,
        request,
        checks: request.limits.iter().map(|limit| Check { limit, standing: state.of(limit) }).collect(),
        repeats: request.repeats.map(|limit| (limit, state.repeats().count(limit.key))),
        loops: request.loops.iter().map(|check| state.looped(*check, request.now)).collect(),
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
    let Looked { checks, repeats, loops, .. } = looked;
    Ruling { agent: request.agent, checks, repeats, loops, outcome }
}

/// A request with all that it is judged by.
struct Looked<'q, 's> {
    state: &'s State,
    request: &'q Request<'q>,
    checks: Vec<Check<'q>>,
    repeats: Option<(RepeatLimit, u32)>,
    loops: Vec<LoopSeen>,
    approval: Option<&'q ApprovalRecord>,
    grant: Option<&'q StandingGrant>,
}

impl<'q> Looked<'q, '_> {
    /// The first limit that is full, strictest first: deny, throttle (the loop before all others), ask.
    fn refusal(&self) -> Option<LimitRefusal> {
        let full = self.full().min_by_key(|(check, _)| check.limit.above);
        // A call that uses an approval is never stopped as a loop: a person looked at it. Nobody looks at one that uses a
        // grant.
        let looping = if self.approval.is_none() { self.looping() } else { None };
        match (full, looping) {
            (Some((check, unit)), None) => Some(self.over(check, unit)),
            (Some((check, unit)), Some(_)) if check.limit.above == Above::Deny => {
                Some(self.over(check, unit))
            }
            (_, Some(looping)) => Some(looping),
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
                let unit = check.limit.caps.passed(check.standing.usage, self.need_of(check))?;
                Some((check, unit))
            })
    }

    /// Of a result that is cut at its reservation, a strict budget needs room for the least.
    fn need_of(&self, check: &Check<'_>) -> Usage {
        let least = self.request.stretch.filter(|_| check.limit.strict).map(|stretch| stretch.least);
        least.unwrap_or(self.request.need)
    }

    /// What is reserved: what the call may take, or where its result is cut at that, what [`Stretch::within`] says of the limits.
    /// Those that a person has let it through do not count.
    fn reserved(&self) -> Usage {
        let Some(stretch) = self.request.stretch else { return self.request.need };
        let left = |check: &Check<'_>| {
            let (caps, used) = (check.limit.caps, check.standing.usage);
            let left = |cap: Option<i64>, used: i64| cap.map(|cap| cap.saturating_sub(used));
            (left(caps.tokens, used.tokens), left(caps.cost, used.cost))
        };
        let full: Vec<&PolicyId> = self
            .checks
            .iter()
            .filter(|check| check.limit.caps.passed(check.standing.usage, self.need_of(check)).is_some())
            .map(|check| check.limit.id)
            .collect();
        let counting = self.checks.iter().filter(|check| !full.contains(&check.limit.id));
        stretch.within(self.request.need, counting.map(left))
    }

    fn alerts_of_refusal(&self) -> Vec<Effect> {
        let alerts = self.checks.iter().flat_map(|check| {
            let need = self.need_of(check);
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
        let (limit, request, need) = (check.limit, self.request, self.need_of(check));
        LimitRefusal {
            policy_id: limit.id.clone(),
            decision: limit.above.decision(),
            reason: check.sentence(unit, need, self.state.holds(limit.slot, unit)),
            retry_after_ms: limit.frees_at(self.state, request.now, need).map(|at| wait(request.now, at)),
            never: limit.never_frees(need),
            looping: None,
        }
    }

    /// The first rule about loops that is full: identical calls before all others.
    fn looping(&self) -> Option<LimitRefusal> {
        let now = self.request.now;
        let refusal = |kind, window_s, reason, room: Option<i64>| LimitRefusal {
            policy_id: PolicyId::from("loop"),
            decision: EventDecision::Throttle,
            reason,
            retry_after_ms: room.map(|at| wait(now, at)),
            never: None,
            looping: Some((kind, window_s)),
        };
        if let Some((limit, seen)) = self.repeats.filter(|(limit, seen)| *seen >= limit.max) {
            let max = limit.max;
            let room = self.state.repeats().room_at(limit.key, max.saturating_sub(1)).filter(|_| max > 0);
            return Some(refusal(LoopKind::Identical, 60, identical(seen, max), room));
        }
        let full = self.loops.iter().find(|looped| looped.is_full())?;
        let reason = full.check.sentence(self.request.agent, self.request.tool, full.seen);
        Some(refusal(full.check.kind, full.check.rule.window_s, reason, full.room_at))
    }

    /// What is written where everything has room.
    fn effects(&self) -> Vec<Effect> {
        let (request, reserved) = (self.request, self.reserved());
        // What is set aside beyond the estimate is given back as a rule: it is nothing to alert about.
        let probable = Usage {
            calls: 1,
            tokens: request.need.tokens.min(reserved.tokens),
            cost: request.need.cost.min(reserved.cost),
        };
        let mut grant = Grant {
            seq: request.seq,
            owner: request.owner,
            at: request.now,
            tokens: reserved.tokens,
            cost: reserved.cost,
            // As it was asked about it was counted.
            repeat: request.repeats.filter(|_| self.approval.is_none()).map(|limit| limit.key),
            loops: request.loops.iter().map(LoopCheck::mark).collect(),
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
                .flat_map(|check| check.alerts(probable, request.now, None))
                .map(Effect::Alerted),
        );
        effects
    }
}
