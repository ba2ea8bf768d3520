//! A million reservations: never above a cap, and none lost or doubled, in two processes that read the same effects, with
//! settlements that are late, larger than what was reserved or never come, clocks that go on in jumps, resets and crashes.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tollgate::{
    admission::{
        Effect, End, Grant, Limit, MINUTE, Outcome, Request, Reset, State, Usage, admit, settle, window,
    },
    cost::{BudgetAction, BudgetWindow},
    decision::BudgetLimit,
    model::{MicroUsd, PolicyId},
};

const RESERVATIONS: usize = 1_000_000;
const KEYS: u64 = 3;

/// A small generator: the run is the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// What is known of a counter beside the rules: each call that it counts, with what it holds or took.
#[derive(Default)]
struct Account {
    /// Per window's start.
    windows: HashMap<i64, Usage>,
    /// Of the last minute: decision, time, amounts.
    minute: VecDeque<(i64, i64, Usage)>,
    /// All of it.
    sum: Usage,
}

/// An open call as the account has it: when, what it holds, and where that is counted.
struct Open {
    seq: i64,
    usage: Usage,
    windows: Vec<(usize, i64)>,
    rolling: Vec<usize>,
}

fn budgets() -> Vec<BudgetLimit> {
    let of = |id: &str, window, calls: u64, tokens: u64, cost: i64| BudgetLimit {
        id: PolicyId::from(id),
        key: Arc::from("key"),
        window,
        zone: None,
        max_calls: Some(calls),
        max_tokens: Some(tokens),
        max_cost: Some(MicroUsd(cost)),
        on_exceed: BudgetAction::Throttle,
        alert_at: [50, 100].into(),
        strict: false,
    };
    vec![
        of("minute", BudgetWindow::Minute, 500, 10_500, 8_000),
        of("hour", BudgetWindow::Hour, 25_000, 600_000, 400_000),
        of("day", BudgetWindow::Day, 300_000, 9_000_000, 4_000_000),
        of("ever", BudgetWindow::Ever, u64::MAX, u64::MAX, i64::MAX),
    ]
}

fn within(limit: &BudgetLimit, used: Usage, need: Usage) -> bool {
    let over = |cap: Option<u64>, value: i64| cap.is_some_and(|cap| i128::from(value) > i128::from(cap));
    let after = used.plus(need);
    !over(limit.max_calls, after.calls)
        && !over(limit.max_tokens, after.tokens)
        && limit.max_cost.is_none_or(|cap| after.cost <= cap.0)
}

struct Run {
    budgets: Arc<[BudgetLimit]>,
    /// Of each budget and key.
    accounts: Vec<Account>,
    states: [State; 2],
    open: VecDeque<Open>,
    random: Random,
    now: i64,
}

impl Run {
    /// Both processes read the effect.
    fn write(&mut self, effect: &Effect) {
        self.states.iter_mut().for_each(|state| state.apply(effect.clone()));
    }

    fn counter(budget: usize, key: u64) -> usize {
        budget * usize::try_from(KEYS).unwrap() + usize::try_from(key).unwrap()
    }

    /// What the account says that a counter stands at.
    fn stands(&mut self, counter: usize, start: Option<i64>) -> Usage {
        let (now, account) = (self.now, &mut self.accounts[counter]);
        match start {
            Some(start) => account.windows.get(&start).copied().unwrap_or_default(),
            None => {
                while let Some((_, at, usage)) = account.minute.front().copied()
                    && at + MINUTE <= now
                {
                    account.minute.pop_front();
                    account.sum = account.sum.minus(usage);
                }
                account.sum
            }
        }
    }

    /// Asks for one call; whether it was granted.
    fn reserve(&mut self, seq: i64) -> bool {
        let process = usize::try_from(self.random.below(2)).unwrap();
        let key = self.random.below(KEYS);
        let tokens = i64::try_from(self.random.below(40)).unwrap();
        let need = Usage { calls: 1, tokens, cost: tokens / 2 };
        let budgets = Arc::clone(&self.budgets);
        let limits: Vec<Limit<'_>> = budgets
            .iter()
            .enumerate()
            .map(|(at, budget)| {
                Limit::budget(budget, i64::try_from(Self::counter(at, key)).unwrap(), self.now)
            })
            .collect();
        let request = Request {
            now: self.now,
            owner: i64::try_from(process).unwrap(),
            seq,
            agent: "agent",
            tool: "t",
            loops: Vec::new(),
            limits,
            repeats: None,
            need,
            stretch: None,
            approval: None,
            grant: None,
        };
        self.states[process].advance(&request);
        let outcome = admit(&self.states[process], &request).outcome;
        let starts: Vec<Option<i64>> =
            budgets.iter().map(|b| window::start_of(b.window, b.zone.as_ref(), self.now)).collect();
        let fits = budgets
            .iter()
            .enumerate()
            .all(|(at, budget)| within(budget, self.stands(Self::counter(at, key), starts[at]), need));
        let effects = match outcome {
            Outcome::Granted(effects) => effects,
            Outcome::Refused { refusal, .. } => {
                assert!(!fits, "there was room: {refusal:?}");
                return false;
            }
            Outcome::Unusable(why) => panic!("{why}"),
        };
        assert!(fits, "granted above a cap: {effects:?}");
        let mut open = Open { seq, usage: need, windows: Vec::new(), rolling: Vec::new() };
        for (at, start) in starts.into_iter().enumerate() {
            let counter = Self::counter(at, key);
            match start {
                Some(start) => {
                    let usage = self.accounts[counter].windows.entry(start).or_default();
                    *usage = usage.plus(need);
                    open.windows.push((counter, start));
                }
                None => {
                    let account = &mut self.accounts[counter];
                    account.minute.push_back((seq, self.now, need));
                    account.sum = account.sum.plus(need);
                    open.rolling.push(counter);
                }
            }
        }
        effects.iter().for_each(|effect| self.write(effect));
        self.open.push_back(open);
        true
    }

    /// One call ends: in order or not, with more or less than it held, or nobody knows.
    fn end_one(&mut self) {
        let which = self.random.below(4);
        let Some(open) = (if which == 0 { self.open.pop_back() } else { self.open.pop_front() }) else {
            return;
        };
        let took = i64::try_from(self.random.below(60)).unwrap();
        let (end, real) = match self.random.below(10) {
            0 => (End::Unknown, open.usage),
            1 => (End::NeverDispatched, Usage { calls: 1, ..Usage::default() }),
            _ => (
                End::Settled { tokens: Some(took.unsigned_abs()), cost: Some(MicroUsd(took / 3)) },
                Usage { calls: 1, tokens: took, cost: took / 3 },
            ),
        };
        let process = usize::try_from(self.random.below(2)).unwrap();
        let effect = settle(&self.states[process], open.seq, end).expect("it is open, in both processes");
        self.write(&effect);
        assert_eq!(settle(&self.states[1 - process], open.seq, end), None, "it ends once");
        let change = real.minus(open.usage);
        for (counter, start) in open.windows {
            let usage = self.accounts[counter].windows.get_mut(&start).unwrap();
            *usage = usage.plus(change);
        }
        for counter in open.rolling {
            let account = &mut self.accounts[counter];
            if let Ok(at) = account.minute.binary_search_by_key(&open.seq, |(seq, ..)| *seq) {
                let (_, _, usage) = &mut account.minute[at];
                *usage = usage.plus(change);
                account.sum = account.sum.plus(change);
            }
        }
    }

    /// A person sets one counter back: what is open stays.
    fn reset(&mut self) {
        let budget = usize::try_from(self.random.below(self.budgets.len() as u64)).unwrap();
        let counter = Self::counter(budget, self.random.below(KEYS));
        let rule = &self.budgets[budget];
        let start = window::start_of(rule.window, rule.zone.as_ref(), self.now);
        self.write(&Effect::Reset(Reset { counter: i64::try_from(counter).unwrap(), start }));
        match start {
            Some(start) => {
                let held = self.open.iter().filter(|open| open.windows.contains(&(counter, start)));
                let held = held.fold(Usage::default(), |sum, open| sum.plus(open.usage));
                self.accounts[counter].windows.insert(start, held);
            }
            None => {
                let open: Vec<i64> = self.open.iter().map(|open| open.seq).collect();
                let account = &mut self.accounts[counter];
                account.minute.retain(|(seq, ..)| open.contains(seq));
                account.sum =
                    account.minute.iter().fold(Usage::default(), |sum, (_, _, usage)| sum.plus(*usage));
            }
        }
    }

    /// A process ends and another takes its place, which reads what the other one has; the calls of the dead are settled.
    fn crash(&mut self) {
        let process = usize::try_from(self.random.below(2)).unwrap();
        self.states[process] = self.states[1 - process].clone();
        let dead = i64::try_from(process).unwrap();
        for seq in self.states[process].open_seqs(Some(dead)) {
            let effect = settle(&self.states[process], seq, End::Unknown).unwrap();
            self.write(&effect);
            self.open.retain(|open| open.seq != seq);
        }
    }

    /// Both processes say what the account says.
    fn agrees(&mut self) {
        for counter in 0..self.accounts.len() {
            let number = i64::try_from(counter).unwrap();
            let rule = &self.budgets[counter / usize::try_from(KEYS).unwrap()];
            let start = window::start_of(rule.window, rule.zone.as_ref(), self.now);
            let expect = self.stands(counter, start);
            for state in &mut self.states {
                let found = match start {
                    Some(start) => state.standing((number, start)).unwrap_or_default().usage,
                    None => state.last_minute(number, self.now),
                };
                assert_eq!(found, expect, "counter {counter}");
            }
        }
        let held: i64 = self.open.iter().map(|open| open.usage.tokens).sum();
        for state in &self.states {
            assert_eq!(state.open_count(), self.open.len());
            assert_eq!(state.open_calls().map(|grant: &Grant| grant.tokens).sum::<i64>(), held);
        }
    }
}

/// R36: a million reservations.
#[test]
fn a_million_reservations() {
    let budgets = budgets();
    let accounts = (0..budgets.len() * usize::try_from(KEYS).unwrap()).map(|_| Account::default()).collect();
    let mut run = Run {
        budgets: budgets.into(),
        accounts,
        states: Default::default(),
        open: VecDeque::new(),
        random: Random(7),
        now: "2026-10-24T20:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond(),
    };
    let (mut granted, mut asked) = (0, 0);
    while granted < RESERVATIONS {
        asked += 1;
        let through = run.reserve(asked);
        granted += usize::from(through);
        run.now += match run.random.below(2_000) {
            0 => 90_000_000,
            1 if !through => 3_000_000_000,
            _ if !through => 1_500_000,
            _ => i64::try_from(run.random.below(60_000)).unwrap(),
        };
        while run.open.len() > 40 || run.random.below(3) == 0 {
            run.end_one();
        }
        match run.random.below(20_000) {
            0 => run.crash(),
            1..20 => run.reset(),
            _ => {}
        }
        if asked % 1_000 == 0 {
            run.agrees();
            let now = run.now;
            run.states[0].forget(now);
        }
    }
    assert!(asked > i64::try_from(granted).unwrap() + 10_000, "caps were reached: {granted} of {asked}");
    while !run.open.is_empty() {
        run.end_one();
    }
    run.agrees();
}
