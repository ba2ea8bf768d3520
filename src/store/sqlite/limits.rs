//! The limits of one admission: what each counter stands at, which is full, and what the record says of it.

use super::writer::Tx;
use crate::{
    admission::{Caps, MINUTE, Unit, Usage, amount, money, repeat_key, window},
    cost::{BudgetAction, BudgetWindow},
    model::{
        EventDecision, MicroUsd, PolicyId,
        text::{self, Object},
    },
    policy::Violation,
    store::{AdmitRequest, LimitRefusal, StoreError},
};
use serde_json::Value;

/// Where a limit counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    Rolling(i64),
    Window(i64, i64),
}

/// What happens above a limit, strictest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Above {
    Deny,
    Throttle,
    Ask,
}

impl Above {
    fn decision(self) -> EventDecision {
        match self {
            Self::Deny => EventDecision::Deny,
            Self::Throttle => EventDecision::Throttle,
            Self::Ask => EventDecision::PendingApproval,
        }
    }
}

/// One limit with what it stands at.
#[derive(Debug)]
pub(super) struct Check<'r> {
    id: &'r PolicyId,
    key: &'r str,
    window: BudgetWindow,
    caps: Caps,
    above: Above,
    pub(super) slot: Slot,
    pub(super) used: Usage,
    pub(super) alert_at: Option<u8>,
    alerted: i64,
    budget: bool,
}

/// All limits of one admission.
#[derive(Debug)]
pub(super) struct Checks<'r> {
    pub(super) all: Vec<Check<'r>>,
    pub(super) repeat: Option<i64>,
    agent: &'r str,
    repeats: u32,
    max_repeats: Option<u32>,
}

/// Finds what each limit stands at.
pub(super) fn read<'r>(
    tx: &mut Tx<'_>,
    request: &'r AdmitRequest,
    now: i64,
) -> Result<Checks<'r>, StoreError> {
    let agent = request.event.agent_id.as_deref().unwrap_or_default();
    let mut all = Vec::with_capacity(request.rates.len() + request.budgets.len());
    for rate in &request.rates {
        let counter = tx.ledger.counter(tx.connection, "rate", &rate.policy_id, agent)?;
        all.push(Check {
            id: &rate.policy_id,
            key: agent,
            window: BudgetWindow::Minute,
            caps: Caps { calls: rate.max_calls.map(amount), tokens: None, cost: rate.max_cost.map(money) },
            above: match rate.on_violation {
                Violation::Throttle => Above::Throttle,
                Violation::Deny => Above::Deny,
            },
            slot: Slot::Rolling(counter),
            used: tx.ledger.rolling(counter).used(now),
            alert_at: None,
            alerted: 0,
            budget: false,
        });
    }
    for budget in &request.budgets {
        let counter =
            tx.ledger.counter(tx.connection, window::word(budget.window), &budget.id, &budget.key)?;
        let (slot, used, alerted) = match window::start_of(budget.window, now) {
            Some(start) => {
                let standing = tx.ledger.window(tx.connection, (counter, start))?;
                (Slot::Window(counter, start), standing.usage, standing.alerted)
            }
            None => {
                let used = tx.ledger.rolling(counter).used(now);
                // A rolling counter keeps only its alert among the windows.
                let alerted = match budget.alert_at {
                    Some(_) => tx.ledger.window(tx.connection, (counter, ALERTS))?.alerted,
                    None => 0,
                };
                (Slot::Rolling(counter), used, alerted)
            }
        };
        all.push(Check {
            id: &budget.id,
            key: &budget.key,
            window: budget.window,
            caps: Caps {
                calls: budget.max_calls.map(amount),
                tokens: budget.max_tokens.map(amount),
                cost: budget.max_cost.map(money),
            },
            above: match budget.on_exceed {
                BudgetAction::Throttle => Above::Throttle,
                BudgetAction::Deny => Above::Deny,
                BudgetAction::RequireApproval => Above::Ask,
            },
            slot,
            used,
            alert_at: budget.alert_at,
            alerted,
            budget: true,
        });
    }
    let (repeat, repeats) = match request.max_repeats {
        Some(_) => {
            let key = repeat_key(agent, &request.digest);
            (Some(key), tx.ledger.repeats(key, now).0)
        }
        None => (None, 0),
    };
    Ok(Checks { all, repeat, agent, repeats, max_repeats: request.max_repeats })
}

/// The `start` under which a rolling counter keeps when it last alerted.
pub(super) const ALERTS: i64 = -1;

impl Checks<'_> {
    /// The first limit that is full, strictest first: deny, throttle (the loop before all others), ask. Budgets in
    /// `excused` do not ask again: a person has let this call through with them in view.
    pub(super) fn refusal(
        &self,
        tx: &mut Tx<'_>,
        need: Usage,
        now: i64,
        approved: bool,
        excused: &[PolicyId],
    ) -> Option<LimitRefusal> {
        let full = self.full(need, excused).min_by_key(|(check, _)| check.above);
        let looping = self.max_repeats.filter(|max| !approved && self.repeats >= *max);
        match (full, looping) {
            (Some((check, unit)), None) => Some(check.refusal(tx, unit, need, now)),
            (Some((check, unit)), Some(_)) if check.above == Above::Deny => {
                Some(check.refusal(tx, unit, need, now))
            }
            (_, Some(max)) => {
                let room = self.repeat.and_then(|key| tx.ledger.repeats_room_at(key, max.saturating_sub(1)));
                Some(LimitRefusal {
                    policy_id: PolicyId::from("loop"),
                    decision: EventDecision::Throttle,
                    reason: format!(
                        "the same call was made {} times in the last 60 s, and {max} are let through: it looks like a loop",
                        self.repeats
                    ),
                    retry_after_ms: room.filter(|_| max > 0).map(|at| wait(now, at)),
                })
            }
            (None, None) => None,
        }
    }

    fn full(&self, need: Usage, excused: &[PolicyId]) -> impl Iterator<Item = (&Check<'_>, Unit)> {
        self.all
            .iter()
            .filter(move |c| !(c.above == Above::Ask && excused.contains(c.id)))
            .filter_map(move |check| check.caps.passed(check.used, need).map(|unit| (check, unit)))
    }

    /// Whether open calls of other processes hold some of what a full limit lacks. A settlement gives back what was
    /// reserved of tokens and money, never the call itself.
    pub(super) fn others_hold_it(&self, tx: &Tx<'_>, need: Usage, excused: &[PolicyId]) -> bool {
        self.full(need, excused)
            .any(|(check, unit)| unit != Unit::Calls && tx.ledger.reserved_by_others(tx.owner, check.slot))
    }

    /// The `limits` of the decision's record, as JSON text: those that were given, and the counters that were seen.
    /// `None`: there is nothing to add.
    pub(super) fn record(&self, given: Option<&Value>) -> Option<String> {
        let repeats = self.max_repeats.filter(|_| self.repeats > 0);
        if self.all.is_empty() && repeats.is_none() {
            return None;
        }
        let mut out = Vec::with_capacity(512);
        out.push(b'{');
        match given {
            Some(Value::Object(given)) => {
                for (key, value) in given.iter().filter(|(key, _)| *key != "counters") {
                    text::string(&mut out, key);
                    out.push(b':');
                    text::value(&mut out, value);
                    out.push(b',');
                }
            }
            Some(other) => {
                out.extend_from_slice(b"\"given\":");
                text::value(&mut out, other);
                out.push(b',');
            }
            None => {}
        }
        out.extend_from_slice(b"\"counters\":[");
        let mut counters = Counters { out: &mut out, empty: true };
        for check in &self.all {
            let place = (check.id.as_str(), check.key, window::word(check.window));
            if let Some(cap) = check.caps.calls {
                counters.count(place, "calls", check.used.calls, cap);
            }
            if let Some(cap) = check.caps.tokens {
                counters.count(place, "tokens", check.used.tokens, cap);
            }
            if let Some(cap) = check.caps.cost {
                counters.money(place, "cost_usd", check.used.cost, cap);
            }
        }
        if let Some(max) = repeats {
            let place = ("loop", self.agent, "minute");
            counters.count(place, "repeats", i64::from(self.repeats), i64::from(max));
        }
        out.extend_from_slice(b"]}");
        // Everything in it came from text.
        String::from_utf8(out).ok()
    }
}

/// The counters of a record.
struct Counters<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl Counters<'_> {
    fn counter(
        &mut self,
        (id, key, window): (&str, &str, &'static str),
        unit: &'static str,
        amounts: impl FnOnce(&mut Object<'_>),
    ) {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        let mut counter = Object::new(self.out);
        counter.text("id", Some(id));
        counter.text("key", Some(key));
        counter.text("window", Some(window));
        counter.text("unit", Some(unit));
        amounts(&mut counter);
        counter.end();
    }

    fn count(&mut self, place: (&str, &str, &'static str), unit: &'static str, used: i64, cap: i64) {
        self.counter(place, unit, |counter| {
            text::integer(counter.member("used"), used);
            text::integer(counter.member("cap"), cap);
        });
    }

    fn money(&mut self, place: (&str, &str, &'static str), unit: &'static str, used: i64, cap: i64) {
        self.counter(place, unit, |counter| {
            counter.money("used", Some(MicroUsd(used)));
            counter.money("cap", Some(MicroUsd(cap)));
        });
    }
}

/// Whole milliseconds until `at`, rounded up, so that a retry after them finds room.
fn wait(now: i64, at: i64) -> u64 {
    u64::try_from(at.saturating_sub(now).max(0)).unwrap_or(0).div_ceil(1_000)
}

impl Check<'_> {
    fn refusal(&self, tx: &mut Tx<'_>, unit: Unit, need: Usage, now: i64) -> LimitRefusal {
        let fits_alone = self.caps.passed(Usage::default(), need).is_none();
        let retry = match (self.above, self.slot) {
            (Above::Throttle, _) if !fits_alone => None,
            (Above::Throttle, Slot::Rolling(counter)) => tx.ledger.rolling(counter).room_at(&self.caps, need),
            (Above::Throttle, Slot::Window(..)) => window::end_of(self.window, now),
            (Above::Deny | Above::Ask, _) => None,
        };
        LimitRefusal {
            policy_id: self.id.clone(),
            decision: self.above.decision(),
            reason: self.sentence(unit, need),
            retry_after_ms: retry.map(|at| wait(now, at)),
        }
    }

    fn sentence(&self, unit: Unit, need: Usage) -> String {
        let what = if self.budget { "budget" } else { "policy" };
        let (id, key, span) = (self.id, self.key, span(self.window));
        let cap = |cap: Option<i64>| cap.unwrap_or_default();
        match unit {
            Unit::Calls => format!(
                "{what} `{id}` allows `{key}` {} calls {span}, and {} are used",
                cap(self.caps.calls),
                self.used.calls
            ),
            Unit::Tokens => format!(
                "{what} `{id}` allows `{key}` {} tokens {span}, {} are used, and this call may take {}",
                cap(self.caps.tokens),
                self.used.tokens,
                need.tokens
            ),
            Unit::Cost => format!(
                "{what} `{id}` allows `{key}` {} USD {span}, {} are used, and this call may cost {}",
                MicroUsd(cap(self.caps.cost)),
                MicroUsd(self.used.cost),
                MicroUsd(need.cost)
            ),
        }
    }

    /// The alert that is due once `need` has been added, as one plain sentence.
    pub(super) fn alert(&self, need: Usage, now: i64) -> Option<String> {
        let percent = self.alert_at?;
        let again = match self.slot {
            Slot::Rolling(_) => now.saturating_sub(self.alerted) < MINUTE && self.alerted != 0,
            Slot::Window(..) => self.alerted != 0,
        };
        if again {
            return None;
        }
        let after = self.used.plus(need);
        let reached = |cap: Option<i64>, value: i64| {
            cap.is_some_and(|cap| i128::from(value) * 100 >= i128::from(cap) * i128::from(percent))
        };
        let text = if reached(self.caps.calls, after.calls) {
            format!("{} of {} calls", after.calls, self.caps.calls.unwrap_or_default())
        } else if reached(self.caps.tokens, after.tokens) {
            format!("{} of {} tokens", after.tokens, self.caps.tokens.unwrap_or_default())
        } else if reached(self.caps.cost, after.cost) {
            let cap = MicroUsd(self.caps.cost.unwrap_or_default());
            format!("{} of {cap} USD", MicroUsd(after.cost))
        } else {
            return None;
        };
        let (id, key, span) = (self.id, self.key, span(self.window));
        Some(format!("budget `{id}` of `{key}` has reached {percent} %: {text} {span}"))
    }

    pub(super) fn policy_id(&self) -> &PolicyId {
        self.id
    }
}

fn span(window: BudgetWindow) -> &'static str {
    match window {
        BudgetWindow::Minute => "in 60 s",
        BudgetWindow::Hour => "this hour",
        BudgetWindow::Day => "this day",
        BudgetWindow::Month => "this month",
        BudgetWindow::Ever => "in all",
    }
}
