//! Limits of a recorded call: rates, budgets and repeats, held against the counters on its record. Of a counter that the record
//! does not have (a budget that is new, a call that did not reach admission then) what the calls before it have used is counted,
//! by their estimates.

use super::simulate::{RecordedCall, Ruled};
use crate::{
    admission::{MINUTE, Usage, amount, identical, money, window},
    cost::{BudgetAction, BudgetWindow, BudgetZone, LEAST_RESULT_TOKENS},
    model::{EventDecision, MicroUsd, PolicyId},
    policy::{LoopKind, LoopRules, Violation},
};
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Counters that are counted at a time; beyond that those of windows that are over are forgotten.
const MOST_COUNTERS: usize = 100_000;

/// Where the counters of one bundle stand, from call to call in the order of the record.
#[derive(Debug, Default)]
pub struct CountersOnRecord {
    counted: HashMap<(PolicyId, Arc<str>), Counted>,
}

/// What the calls of the record have used of one counter.
#[derive(Debug)]
enum Counted {
    Window { start: i64, used: Usage },
    Rolling { calls: VecDeque<(i64, Usage)>, used: Usage },
}

impl Counted {
    fn at(&mut self, now: i64, limit: &Checked<'_>) -> Usage {
        match (window::start_of(limit.window, limit.zone, now), &mut *self) {
            (Some(start), Self::Window { start: known, .. }) if *known == start => {}
            (None, Self::Rolling { calls, used }) => {
                while let Some((at, usage)) = calls.front().copied()
                    && at.saturating_add(MINUTE) <= now
                {
                    calls.pop_front();
                    *used = used.minus(usage);
                }
            }
            (Some(start), _) => *self = Self::Window { start, used: Usage::default() },
            (None, _) => *self = Self::Rolling { calls: VecDeque::new(), used: Usage::default() },
        }
        match self {
            Self::Window { used, .. } | Self::Rolling { used, .. } => *used,
        }
    }

    fn add(&mut self, now: i64, usage: Usage) {
        match self {
            Self::Window { used, .. } => *used = used.plus(usage),
            Self::Rolling { calls, used } => {
                calls.push_back((now, usage));
                *used = used.plus(usage);
            }
        }
    }

    fn is_over(&self, now: i64) -> bool {
        match self {
            Self::Window { start, .. } => *start < now.saturating_sub(33 * 24 * 60 * MINUTE),
            Self::Rolling { calls, .. } => {
                calls.back().is_none_or(|(at, _)| at.saturating_add(MINUTE) <= now)
            }
        }
    }
}

/// One limit, as it is checked here.
struct Checked<'l> {
    id: &'l PolicyId,
    key: &'l str,
    window: BudgetWindow,
    zone: Option<&'l BudgetZone>,
    caps: [(&'static str, Option<i64>, i64); 3],
    above: EventDecision,
    budget: bool,
}

/// Deny before throttle, throttle before a person.
fn rank(decision: EventDecision) -> u8 {
    match decision {
        EventDecision::Deny => 0,
        EventDecision::Throttle => 1,
        EventDecision::Allow
        | EventDecision::AllowWithConstraints
        | EventDecision::PendingApproval
        | EventDecision::Approved
        | EventDecision::Rejected
        | EventDecision::Expired
        | EventDecision::Remediate
        | EventDecision::Suggest => 2,
    }
}

impl CountersOnRecord {
    /// What comes of a call that rules let through, and what it uses from then on. Calls come in the order of the record.
    pub fn judge(&mut self, call: &RecordedCall, ruled: Ruled) -> Ruled {
        let through = ruled.lets_through();
        // A call about which a person was asked and that was dispatched has used what it counts on.
        let used = call.let_through && ruled.decision == EventDecision::PendingApproval;
        if !through && !used {
            return ruled;
        }
        let now = call.at.as_microsecond();
        let need = Usage { calls: 1, tokens: amount(call.tokens), cost: money(call.cost) };
        let agent = call.agent.as_deref().unwrap_or_default();
        let limits = checked(&ruled, agent, (need, least(call, need)));
        if through && let Some(stopped) = self.stopped(call, &ruled, &limits, now) {
            return stopped;
        }
        if self.counted.len() >= MOST_COUNTERS {
            self.counted.retain(|_, counted| !counted.is_over(now));
        }
        for limit in limits {
            let counted = self.counted(&limit);
            counted.at(now, &limit);
            counted.add(now, need);
        }
        ruled
    }

    fn counted(&mut self, limit: &Checked<'_>) -> &mut Counted {
        let empty = || Counted::Rolling { calls: VecDeque::new(), used: Usage::default() };
        self.counted.entry((limit.id.clone(), limit.key.into())).or_insert_with(empty)
    }

    /// The first limit that is full, strictest first; a loop before other throttles.
    fn stopped(
        &mut self,
        call: &RecordedCall,
        ruled: &Ruled,
        limits: &[Checked<'_>],
        now: i64,
    ) -> Option<Ruled> {
        let mut full: Option<(&Checked<'_>, &'static str)> = None;
        for limit in limits {
            let counted = self.counted(limit).at(now, limit);
            let over = limit.caps.iter().find(|(unit, cap, need)| {
                let known = on_record(call, limit, unit);
                let used = known.unwrap_or(match *unit {
                    "calls" => counted.calls,
                    "tokens" => counted.tokens,
                    _ => counted.cost,
                });
                cap.is_some_and(|cap| used.saturating_add(*need) > cap)
            });
            if let Some((unit, ..)) = over
                && full.is_none_or(|(known, _)| rank(limit.above) < rank(known.above))
            {
                full = Some((limit, unit));
            }
        }
        let max = ruled.limits.max_repeats.filter(|max| call.repeats >= u64::from(*max));
        let looping = match max {
            Some(max) => Some(identical(call.repeats, max)),
            None => looped(call, ruled.limits.loops),
        };
        let (decision, policy_id, reason) = match (full, looping) {
            (Some((limit, unit)), None) => over(limit, unit),
            (Some((limit, unit)), Some(_)) if limit.above == EventDecision::Deny => over(limit, unit),
            (_, Some(reason)) => (EventDecision::Throttle, PolicyId::from("loop"), reason),
            (None, None) => return None,
        };
        Some(Ruled {
            decision,
            policy_id,
            rule_id: None,
            reason: reason.into(),
            limits: crate::decision::Limits::default(),
        })
    }
}

/// The first rule about loops beside identical calls that the counters on record fill. What was not counted then, or over
/// another time, is not known.
fn looped(call: &RecordedCall, rules: LoopRules) -> Option<String> {
    let LoopRules { errors, alternating, similar, fan_out } = rules;
    let kinds = [
        (LoopKind::Errors, errors),
        (LoopKind::Alternating, alternating),
        (LoopKind::Similar, similar),
        (LoopKind::FanOut, fan_out),
    ];
    kinds.into_iter().find_map(|(kind, rule)| {
        let rule = rule?;
        let window = format!("{}s", rule.window_s);
        let of_kind = call.counters.iter().filter(|counter| {
            &*counter.id == "loop" && &*counter.unit == kind.as_str() && *counter.window == *window
        });
        let seen = of_kind.filter_map(|counter| counter.used.as_u64()).max()?;
        (seen >= u64::from(rule.count)).then(|| {
            format!("a loop (`{kind}`): {seen} were counted in {window}, and {} are let through", rule.count)
        })
    })
}

fn over(limit: &Checked<'_>, unit: &str) -> (EventDecision, PolicyId, String) {
    let what = if limit.budget { "budget" } else { "policy" };
    let unit = if unit == "cost_usd" { "USD" } else { unit };
    let reason = format!("{what} `{}` has no room for more {unit} of `{}`", limit.id, limit.key);
    (limit.above, limit.id.clone(), reason)
}

/// What a strict budget must have room for, before it cuts the result at what is left. How much of a recorded estimate its arguments
/// were is not on record: of a call that was let through it is taken to be what lets the least in, else all of it.
fn least(call: &RecordedCall, need: Usage) -> Usage {
    if !call.let_through {
        return need;
    }
    let tokens = need.tokens.min(amount(LEAST_RESULT_TOKENS));
    let share = i128::from(need.cost) * i128::from(tokens) / i128::from(need.tokens.max(1));
    Usage { calls: need.calls, tokens, cost: i64::try_from(share).unwrap_or(need.cost) }
}

/// What admission would check, policies before budgets; of strict ones with the least that they must have room for.
fn checked<'l>(ruled: &'l Ruled, agent: &'l str, (need, least): (Usage, Usage)) -> Vec<Checked<'l>> {
    let caps = |calls: Option<u64>, tokens: Option<u64>, cost: Option<MicroUsd>, need: Usage| {
        [
            ("calls", calls.map(amount), need.calls),
            ("tokens", tokens.map(amount), need.tokens),
            ("cost_usd", cost.map(money), need.cost),
        ]
    };
    let rates = ruled.limits.rates.iter().map(|rate| Checked {
        id: &rate.policy_id,
        key: agent,
        window: BudgetWindow::Minute,
        zone: None,
        caps: caps(rate.max_calls, None, rate.max_cost, need),
        above: match rate.on_violation {
            Violation::Throttle => EventDecision::Throttle,
            Violation::Deny => EventDecision::Deny,
        },
        budget: false,
    });
    let budgets = ruled.limits.budgets.iter().map(|budget| Checked {
        id: &budget.id,
        key: &budget.key,
        window: budget.window,
        zone: budget.zone.as_ref(),
        caps: {
            let need = if budget.strict { least } else { need };
            caps(budget.max_calls, budget.max_tokens, budget.max_cost, need)
        },
        above: match budget.on_exceed {
            BudgetAction::Throttle => EventDecision::Throttle,
            BudgetAction::Deny => EventDecision::Deny,
            BudgetAction::RequireApproval => EventDecision::PendingApproval,
        },
        budget: true,
    });
    rates.chain(budgets).collect()
}

/// What the record of a call says that a counter stood at. A tool's counter is kept under a name of its own where the tool's
/// name may not be kept.
fn on_record(call: &RecordedCall, limit: &Checked<'_>, unit: &str) -> Option<i64> {
    let of_tool = call.tool.as_deref() == Some(limit.key);
    let found = call.counters.iter().find(|counter| {
        counter.id == *limit.id
            && &*counter.window == window::word(limit.window)
            && &*counter.unit == unit
            && (&*counter.key == limit.key || of_tool)
    })?;
    match unit {
        "cost_usd" => serde_json::from_value::<MicroUsd>(found.used.clone()).ok().map(|used| used.0),
        _ => match &found.used {
            Value::Number(number) => number.as_i64(),
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
        },
    }
}
