//! The rules without a store: a list of effects, and two states that fold it.

use crate::{ASKS, Counters, Subject, call_id, counter, store::later};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
};
use tollgate::{
    admission::{
        AskHistory, Effect, End, Limit, Named, NamedGrant, Outcome, RepeatLimit, Request, Reset, State,
        Usage, amount, money, repeat_key, settle, window,
    },
    cost::BudgetWindow,
    model::{ApprovalStatus, CallId, MicroUsd, PersonId, PolicyId, SnapshotId},
    policy::ChannelKind,
    store::{
        Admission, AdmitRequest, ApprovalAnswer, ApprovalRecord, Asked, GrantEnd, GrantEndReason,
        StandingGrant,
    },
};

#[derive(Default)]
struct Process {
    state: State,
    /// How many effects it has folded.
    folded: usize,
    owner: i64,
}

pub(crate) struct Pure {
    processes: [Process; 2],
    log: Vec<Effect>,
    numbers: BTreeMap<(String, String, String), i64>,
    repeats: BTreeSet<i64>,
    approvals: Vec<ApprovalRecord>,
    grants: Vec<StandingGrant>,
    calls: HashMap<CallId, i64>,
    dead: Vec<i64>,
    next: i64,
}

impl Pure {
    pub(crate) fn new() -> Self {
        let process = |owner| Process { owner, ..Process::default() };
        Self {
            processes: [process(1), process(2)],
            log: Vec::new(),
            numbers: BTreeMap::new(),
            repeats: BTreeSet::new(),
            approvals: Vec::new(),
            grants: Vec::new(),
            calls: HashMap::new(),
            dead: Vec::new(),
            next: 3,
        }
    }

    fn number(&mut self, kind: &str, id: &PolicyId, key: &str) -> i64 {
        let next = i64::try_from(self.numbers.len()).unwrap() + 1;
        *self.numbers.entry(counter(id, key, kind)).or_insert(next)
    }

    /// A process that has read all that was written.
    fn process(&mut self, process: usize) -> &mut Process {
        let one = &mut self.processes[process];
        for effect in self.log.iter().skip(one.folded) {
            one.state.apply(effect.clone());
        }
        one.folded = self.log.len();
        one
    }

    fn write(&mut self, process: usize, effect: Effect) {
        if let Effect::Consumed(record) = &effect {
            let found = self.approvals.iter_mut().find(|own| own.id == record.id).unwrap();
            found.clone_from(record);
        }
        if let Effect::GrantUsed(used) = &effect {
            let found = self.grants.iter_mut().find(|own| own.id == used.id).unwrap();
            found.clone_from(used);
        }
        self.log.push(effect.clone());
        let one = &mut self.processes[process];
        one.state.apply(effect);
        one.folded += 1;
    }
}

fn counters(state: &State, numbers: &BTreeMap<(String, String, String), i64>, now: i64) -> Counters {
    let mut state = state.clone();
    let mut found = Counters::new();
    for ((id, key, kind), number) in numbers {
        let of = window::window_of(kind).unwrap();
        let usage = match window::start_of(of, None, now) {
            Some(start) => state.standing((*number, start)).unwrap_or_default().usage,
            None => state.all_last_minute(now).get(number).copied().unwrap_or_default().usage,
        };
        if usage != Usage::default() {
            let unsigned = |amount: i64| u64::try_from(amount).unwrap();
            let place = (id.clone(), key.clone(), window::word(of).to_owned());
            found.insert(place, (unsigned(usage.calls), unsigned(usage.tokens), usage.cost));
        }
    }
    found
}

/// The asks of one agent, looked through one by one.
struct History<'h> {
    asks: Vec<&'h ApprovalRecord>,
}

impl History<'_> {
    fn nth(&self, after: i64, nth: usize, at: impl Fn(&ApprovalRecord) -> Option<i64>) -> Option<i64> {
        let mut times: Vec<i64> =
            self.asks.iter().filter_map(|ask| at(ask)).filter(|at| *at > after).collect();
        times.sort_unstable();
        times.into_iter().rev().nth(nth)
    }
}

impl AskHistory for History<'_> {
    type Error = Infallible;

    fn pending(&mut self, now: i64) -> Result<usize, Infallible> {
        let waits = |ask: &&&ApprovalRecord| {
            ask.status == ApprovalStatus::Pending && ask.expires_at.as_microsecond() > now
        };
        Ok(self.asks.iter().filter(waits).count())
    }

    fn rejected(&mut self, after: i64, nth: usize) -> Result<Option<i64>, Infallible> {
        Ok(self.nth(after, nth, ApprovalRecord::rejected_at))
    }

    fn unapproved(&mut self, after: i64, nth: usize) -> Result<Option<i64>, Infallible> {
        let open = |ask: &ApprovalRecord| {
            let approved = matches!(ask.status, ApprovalStatus::Approved | ApprovalStatus::Consumed);
            (!approved).then_some(ask.created_at.as_microsecond())
        };
        Ok(self.nth(after, nth, open))
    }
}

impl Subject for Pure {
    async fn admit(&mut self, process: usize, request: AdmitRequest) -> Admission {
        let now = request.now.as_microsecond();
        let agent = request.event.agent_id.as_deref().unwrap();
        let mut limits = Vec::new();
        for rate in &request.rates {
            let number = self.number(window::RATE, &rate.policy_id, agent);
            limits.push(Limit::rate(rate, agent, number));
        }
        for budget in &request.budgets {
            let number = self.number(window::word(budget.window), &budget.id, &budget.key);
            limits.push(Limit::budget(budget, number, now));
        }
        let seq = self.next;
        self.next += 1;
        let key = repeat_key(agent, &request.digest);
        self.repeats.insert(key);
        let named = request.approval.as_ref();
        let found = named.and_then(|(id, _)| self.approvals.iter().find(|own| own.id == *id).cloned());
        let by_grant = request.grant.as_ref();
        let found_grant = by_grant.and_then(|(id, _)| self.grants.iter().find(|own| own.id == *id).cloned());
        let asked = Request {
            now,
            owner: self.processes[process].owner,
            seq,
            agent,
            limits,
            repeats: request.max_repeats.map(|max| RepeatLimit { key, max }),
            loops: Vec::new(),
            tool: "",
            need: Usage { calls: 1, tokens: amount(request.tokens), cost: money(request.cost) },
            stretch: None,
            approval: named.map(|(id, binding)| Named { id, binding, found: found.as_ref() }),
            grant: by_grant.map(|(id, terms)| NamedGrant { id, terms, found: found_grant.as_ref() }),
        };
        let one = self.process(process);
        one.state.advance(&asked);
        match tollgate::admission::admit(&one.state, &asked).outcome {
            Outcome::Granted(effects) => {
                effects.into_iter().for_each(|effect| self.write(process, effect));
                self.calls.insert(call_id(&request), seq);
                Admission::Granted
            }
            Outcome::Refused { refusal, .. } => Admission::Refused(refusal),
            Outcome::Unusable(reason) => Admission::ApprovalUnusable(reason),
        }
    }

    async fn settle(&mut self, process: usize, request: &AdmitRequest, took: Option<(u64, i64)>) {
        let seq = self.calls[&call_id(request)];
        let end = End::Settled {
            tokens: took.map(|(tokens, _)| tokens),
            cost: took.map(|(_, cost)| MicroUsd(cost)),
        };
        if let Some(effect) = settle(&self.process(process).state, seq, end) {
            self.write(process, effect);
        }
    }

    async fn ask(&mut self, process: usize, record: ApprovalRecord) -> Asked {
        let now = record.created_at.as_microsecond();
        let key = repeat_key(&record.binding.agent, &record.binding.call);
        self.repeats.insert(key);
        let counted = self.process(process).state.asked(key, now);
        self.write(process, counted);
        let same = |own: &&ApprovalRecord| {
            own.status == ApprovalStatus::Pending
                && own.binding.same_call(&record.binding)
                && own.is_about(&record.binding, &record.requirements)
                && own.expires_at > record.created_at
        };
        if let Some(found) = self.approvals.iter().filter(same).max_by_key(|own| own.created_at) {
            return Asked::Reused(found.clone());
        }
        let of_agent = |own: &&ApprovalRecord| own.binding.agent == record.binding.agent;
        let mut history = History { asks: self.approvals.iter().filter(of_agent).collect() };
        let Ok(refused) = ASKS.refusal(now, &mut history);
        if let Some(refusal) = refused {
            return Asked::Refused(refusal);
        }
        self.approvals.push(record.clone());
        Asked::Made(record)
    }

    async fn decide(&mut self, _: usize, record: &ApprovalRecord, approve: bool, now: Timestamp) {
        let own = self.approvals.iter_mut().find(|own| own.id == record.id).unwrap();
        own.status = if approve { ApprovalStatus::Approved } else { ApprovalStatus::Rejected };
        own.version += 1;
        own.answers.push(ApprovalAnswer {
            person: PersonId::from("alice"),
            approve,
            at: now,
            channel: ChannelKind::Cli,
            comment: None,
            evidence: None,
            snapshot: SnapshotId::from("snapshot"),
            grant: None,
            grant_id: None,
        });
    }

    async fn make_grant(&mut self, _: usize, record: &ApprovalRecord, grant: StandingGrant) {
        let own = self.approvals.iter_mut().find(|own| own.id == record.id).unwrap();
        own.status = ApprovalStatus::Approved;
        own.version += 1;
        self.grants.push(grant);
    }

    async fn revoke(&mut self, _: usize, grant: &StandingGrant, now: Timestamp) -> bool {
        let own = self.grants.iter_mut().find(|own| own.id == grant.id).unwrap();
        let counts = own.ended.is_none();
        if counts {
            *own = own.ended_by(GrantEnd { why: GrantEndReason::Revoked, at: now, by: None, reason: None });
        }
        counts
    }

    async fn crash(&mut self, process: usize) {
        let owner = self.next;
        self.next += 1;
        let gone = std::mem::replace(&mut self.processes[process], Process { owner, ..Process::default() });
        self.dead.push(gone.owner);
    }

    async fn settle_dead(&mut self, process: usize, _: Timestamp) -> u64 {
        let mut settled = 0;
        for owner in std::mem::take(&mut self.dead) {
            for seq in self.process(process).state.open_seqs(Some(owner)) {
                let effect = settle(&self.processes[process].state, seq, End::Unknown).unwrap();
                self.write(process, effect);
                settled += 1;
            }
        }
        settled
    }

    async fn reset(&mut self, process: usize, counter: (&str, &str, BudgetWindow), now: Timestamp) {
        let (id, key, window) = counter;
        let counter = self.number(window::word(window), &PolicyId::from(id), key);
        let now = now.as_microsecond();
        let start = window::start_of(window, None, now);
        self.process(process).state.last_minute(counter, now);
        self.write(process, Effect::Reset(Reset { counter, start }));
    }

    async fn counters(&mut self, process: usize, now: Timestamp) -> Counters {
        let numbers = self.numbers.clone();
        counters(&self.process(process).state, &numbers, now.as_microsecond())
    }

    /// What both processes remember is the fold over all effects, now and as time goes on.
    async fn check(&mut self, now: Timestamp) {
        let mut whole = State::default();
        for effect in &self.log {
            whole.apply(effect.clone());
        }
        let (numbers, keys) = (self.numbers.clone(), self.repeats.clone());
        for process in 0..2 {
            let mut live = self.process(process).state.clone();
            let mut folded = whole.clone();
            assert_eq!(live.open_seqs(None), folded.open_seqs(None));
            for seq in live.open_seqs(None) {
                assert_eq!(live.open(seq), folded.open(seq));
            }
            for seconds in [0, 1, 20, 59, 60, 61, 7_200] {
                let then = later(now, seconds * 1_000).as_microsecond();
                assert_eq!(counters(&live, &numbers, then), counters(&folded, &numbers, then), "{seconds}");
                for key in &keys {
                    assert_eq!(live.repeated(*key, then), folded.repeated(*key, then), "{seconds}");
                }
                live.forget(then);
            }
        }
    }
}
