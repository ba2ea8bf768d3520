//! Admission as a whole: random histories of two processes against a naive account that adds everything up from scratch,
//! for the pure rules alone and for the stores that run them (R22, R36 to R39, R87, I4, I10).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test file"
)]

#[path = "admission_model/million.rs"]
mod million;
#[path = "admission_model/naive.rs"]
mod naive;
#[path = "admission_model/pure.rs"]
mod pure;
mod store;
#[path = "admission_model/stored.rs"]
mod stored;

use jiff::Timestamp;
use naive::Naive;
use proptest::prelude::*;
use std::collections::BTreeMap;
use store::*;
use tollgate::{
    cost::{BudgetAction, BudgetWindow},
    decision::{BudgetLimit, RateLimit},
    model::{AgentId, CallId, Digest, MicroUsd, PolicyId},
    policy::Violation,
    store::{Admission, AdmitRequest, ApprovalRecord, AskLimits, Asked, StandingGrant},
};

pub(crate) const AGENTS: [&str; 2] = ["planner-01", "writer-02"];

/// How an agent's asks are bounded in all histories.
pub(crate) const ASKS: AskLimits =
    AskLimits { pending: 3, rejected: 2, unapproved: 5, window: std::time::Duration::from_secs(600) };

/// The budgets of all histories.
const BUDGETS: [(&str, BudgetWindow); 5] = [
    ("b-minute", BudgetWindow::Minute),
    ("b-hour", BudgetWindow::Hour),
    ("b-day", BudgetWindow::Day),
    ("gate", BudgetWindow::Ever),
    ("b-month", BudgetWindow::Month),
];

/// How far the clock goes back at most: more is a clock that was set, which has a test of its own.
const BACK: i64 = 55_000;

/// What a counter stands at: policy, key, window; calls, tokens, money.
pub(crate) type Counters = BTreeMap<(String, String, String), (u64, u64, i64)>;

/// Something that admits: two processes on the same records.
pub(crate) trait Subject {
    async fn admit(&mut self, process: usize, request: AdmitRequest) -> Admission;
    /// A settlement; `None`: unknown.
    async fn settle(&mut self, process: usize, request: &AdmitRequest, took: Option<(u64, i64)>);
    async fn ask(&mut self, process: usize, record: ApprovalRecord) -> Asked;
    async fn decide(&mut self, process: usize, record: &ApprovalRecord, approve: bool, now: Timestamp);
    /// Approved, with a standing grant.
    async fn make_grant(&mut self, process: usize, record: &ApprovalRecord, grant: StandingGrant);
    /// A person takes a grant back: whether there was something to take back.
    async fn revoke(&mut self, process: usize, grant: &StandingGrant, now: Timestamp) -> bool;
    /// The process ends in the middle of whatever it does, and another takes its place.
    async fn crash(&mut self, process: usize);
    /// The calls that dead processes left open, and that this one settles.
    async fn settle_dead(&mut self, process: usize, now: Timestamp) -> u64;
    /// A person sets a counter back, in the window that holds a time.
    async fn reset(&mut self, process: usize, counter: (&str, &str, BudgetWindow), now: Timestamp);
    /// Where all counters stand, as this process sees it.
    async fn counters(&mut self, process: usize, now: Timestamp) -> Counters;
    /// What holds of its records alone.
    async fn check(&mut self, now: Timestamp);
}

#[derive(Clone, Debug)]
enum Act {
    Admit { agent: usize, digest: u8, limits: u8, tokens: u64, cost: i64 },
    Use { which: usize, limits: u8, changed: bool },
    Settle { which: usize, took: Option<(u64, i64)> },
    SettleAgain { which: usize },
    Ask { agent: usize, digest: u8 },
    Decide { which: usize, approve: bool },
    Grant { which: usize, uses: u64 },
    UseGrant { which: usize, limits: u8, changed: bool },
    Revoke { which: usize },
    Reset { which: usize, agent: usize },
    Forward { millis: i64 },
    Back { millis: i64 },
    Crash,
    SettleDead,
}

fn act() -> impl Strategy<Value = Act> {
    let limits = any::<u8>();
    let took = prop::option::weighted(0.8, (0..60_u64, 0..60_i64));
    prop_oneof![
        14 => (0..2_usize, 0..3_u8, limits, 0..40_u64, 0..40_i64)
            .prop_map(|(agent, digest, limits, tokens, cost)| Act::Admit { agent, digest, limits, tokens, cost }),
        3 => (0..8_usize, limits, prop::bool::weighted(0.15))
            .prop_map(|(which, limits, changed)| Act::Use { which, limits, changed }),
        7 => (0..8_usize, took).prop_map(|(which, took)| Act::Settle { which, took }),
        1 => (0..8_usize).prop_map(|which| Act::SettleAgain { which }),
        3 => (0..2_usize, 0..3_u8).prop_map(|(agent, digest)| Act::Ask { agent, digest }),
        3 => (0..8_usize, prop::bool::weighted(0.75)).prop_map(|(which, approve)| Act::Decide { which, approve }),
        2 => (0..8_usize, 1..4_u64).prop_map(|(which, uses)| Act::Grant { which, uses }),
        5 => (0..4_usize, limits, prop::bool::weighted(0.1))
            .prop_map(|(which, limits, changed)| Act::UseGrant { which, limits, changed }),
        1 => (0..4_usize).prop_map(|which| Act::Revoke { which }),
        1 => (0..5_usize, 0..2_usize).prop_map(|(which, agent)| Act::Reset { which, agent }),
        4 => prop_oneof![0..2_000_i64, 2_000..70_000_i64, Just(3_600_000), Just(50_000_000)]
            .prop_map(|millis| Act::Forward { millis }),
        1 => (0..BACK).prop_map(|millis| Act::Back { millis }),
        1 => Just(Act::Crash),
        1 => Just(Act::SettleDead),
    ]
}

/// Acts with the process that each is of. In half of the histories the clock never goes back: there every figure is exact.
fn history(most: usize) -> impl Strategy<Value = Vec<(usize, Act)>> {
    (prop::collection::vec((0..2_usize, act()), 1..most), any::<bool>()).prop_map(|(mut acts, back)| {
        acts.retain(|(_, act)| back || !matches!(act, Act::Back { .. }));
        acts
    })
}

fn limits(bits: u8, agent: &str) -> (Vec<RateLimit>, Vec<BudgetLimit>, Option<u32>) {
    let has = |bit: u8| bits & (1 << bit) != 0;
    let mut rates = Vec::new();
    if has(0) {
        rates.push(rate("r-calls", 4, Violation::Throttle));
    }
    if has(1) {
        let max_cost = Some(MicroUsd(70));
        rates.push(RateLimit { max_calls: None, max_cost, ..rate("r-cost", 0, Violation::Deny) });
    }
    let mut budgets = Vec::new();
    if has(2) {
        let own = BudgetLimit { max_tokens: Some(70), ..calls("b-minute", BudgetWindow::Minute, 5) };
        budgets.push(BudgetLimit { alert_at: [60, 90].into(), ..own });
    }
    if has(3) {
        let own = BudgetLimit { max_cost: Some(MicroUsd(90)), ..budget("b-hour", BudgetWindow::Hour) };
        budgets.push(BudgetLimit { key: agent.into(), alert_at: [50].into(), ..own });
    }
    if has(4) {
        let on_exceed = BudgetAction::Deny;
        budgets.push(BudgetLimit { on_exceed, ..calls("b-day", BudgetWindow::Day, 9) });
    }
    if has(5) {
        let on_exceed = BudgetAction::RequireApproval;
        // The policy that asks for approvals, which are for it.
        budgets.push(BudgetLimit { max_tokens: Some(50), on_exceed, ..budget("gate", BudgetWindow::Ever) });
    }
    if has(6) {
        budgets.push(BudgetLimit { max_tokens: Some(200), ..budget("b-month", BudgetWindow::Month) });
    }
    (rates, budgets, has(7).then_some(2))
}

fn call(agent: &str, now: Timestamp, digest: &str, bits: u8, tokens: u64, cost: i64) -> AdmitRequest {
    let (rates, budgets, max_repeats) = limits(bits, agent);
    AdmitRequest {
        rates,
        budgets,
        max_repeats,
        digest: Digest::from(digest),
        tokens,
        cost: MicroUsd(cost),
        ..request(agent, now)
    }
}

fn digest(number: u8) -> String {
    format!("d{number}")
}

/// What has been made so far, for later acts to choose from.
#[derive(Default)]
struct Made {
    calls: Vec<AdmitRequest>,
    settled: Vec<AdmitRequest>,
    asks: Vec<ApprovalRecord>,
    grants: Vec<StandingGrant>,
}

fn nth<T>(of: &[T], which: usize) -> Option<usize> {
    (!of.is_empty()).then(|| which % of.len())
}

async fn run<S: Subject>(mut subject: S, history: Vec<(usize, Act)>) {
    let mut naive = Naive::default();
    let mut now = time("2026-05-11T12:59:00Z");
    let mut newest = now;
    let mut made = Made::default();
    for (process, act) in history {
        match act {
            Act::Admit { agent, digest: number, limits, tokens, cost } => {
                let request = call(AGENTS[agent], now, &digest(number), limits, tokens, cost);
                admit(&mut subject, &mut naive, &mut made, process, request).await;
            }
            Act::Use { which, limits, changed } => {
                let Some(which) = nth(&made.asks, which) else { continue };
                let (id, mut binding) = (made.asks[which].id.clone(), made.asks[which].binding.clone());
                if changed {
                    binding.snapshot = "another bundle".into();
                }
                let agent = binding.agent.to_string();
                let mut request = call(&agent, now, &binding.call, limits, 30, 10);
                request.approval = Some((id, binding));
                admit(&mut subject, &mut naive, &mut made, process, request).await;
            }
            Act::Settle { which, took } => {
                let Some(which) = nth(&made.calls, which) else { continue };
                let request = made.calls.swap_remove(which);
                subject.settle(process, &request, took).await;
                naive.settle(&request, took);
                made.settled.push(request);
            }
            Act::SettleAgain { which } => {
                let Some(which) = nth(&made.settled, which) else { continue };
                subject.settle(process, &made.settled[which], Some((1, 1))).await;
            }
            Act::Ask { agent, digest: number } => {
                let mut record = pending(&digest(number), now);
                record.binding.agent = AgentId::from(AGENTS[agent]);
                let asked = subject.ask(process, record.clone()).await;
                naive.ask(&record, &asked);
                made.asks.extend(matches!(asked, Asked::Made(_)).then_some(record));
            }
            Act::Decide { which, approve } => {
                let Some(which) = nth(&made.asks, which) else { continue };
                if naive.decide(&made.asks[which], approve, now) {
                    subject.decide(process, &made.asks[which], approve, now).await;
                }
            }
            Act::Grant { which, uses } => {
                let Some(which) = nth(&made.asks, which) else { continue };
                let record = made.asks[which].clone();
                if naive.decide(&record, true, now) {
                    let grant = granted(&record, uses, now);
                    subject.make_grant(process, &record, grant.clone()).await;
                    naive.make_grant(&grant);
                    made.grants.push(grant);
                }
            }
            Act::UseGrant { which, limits, changed } => {
                let Some(which) = nth(&made.grants, which) else { continue };
                let (id, mut terms) = (made.grants[which].id.clone(), made.grants[which].terms.clone());
                if changed {
                    terms.uses += 1;
                }
                let agent = terms.agent.to_string();
                let mut request = call(&agent, now, "under a grant", limits, 30, 10);
                request.grant = Some((id, terms.into()));
                admit(&mut subject, &mut naive, &mut made, process, request).await;
            }
            Act::Revoke { which } => {
                let Some(which) = nth(&made.grants, which) else { continue };
                let revoked = subject.revoke(process, &made.grants[which], now).await;
                assert_eq!(revoked, naive.revoke(&made.grants[which]), "revoked once, and while it counts");
            }
            Act::Reset { which, agent } => {
                let (id, window) = BUDGETS[which];
                let counter = (id, if id == "b-hour" { AGENTS[agent] } else { "key" }, window);
                // A clock that goes back leaves it open what the last minute is.
                if window != BudgetWindow::Minute || newest <= now {
                    subject.reset(process, counter, now).await;
                    naive.reset(counter, now);
                }
            }
            Act::Forward { millis } => now = later(now, millis),
            Act::Back { millis } => now = later(now, -millis).max(later(newest, -BACK)),
            Act::Crash => {
                subject.crash(process).await;
                naive.crash(process);
            }
            Act::SettleDead => {
                let settled = subject.settle_dead(process, now).await;
                assert_eq!(settled, naive.settle_dead(), "what dead processes left open");
                // A settlement that comes after it changes nothing.
                let (open, over) = made.calls.drain(..).partition(|call| naive.is_open(call));
                made.calls = open;
                made.settled.extend(over);
            }
        }
        newest = newest.max(now);
        naive.saw(newest);
        naive.holds();
    }
    for process in 0..2 {
        naive.agrees(&subject.counters(process, newest).await, newest);
    }
    subject.check(newest).await;
}

async fn admit<S: Subject>(
    subject: &mut S,
    naive: &mut Naive,
    made: &mut Made,
    process: usize,
    request: AdmitRequest,
) {
    let admission = subject.admit(process, request.clone()).await;
    naive.admit(process, &request, &admission);
    if admission == Admission::Granted {
        made.calls.push(request);
    }
}

/// What a call is known by.
pub(crate) fn call_id(request: &AdmitRequest) -> CallId {
    request.event.call_id.clone().unwrap()
}

pub(crate) fn counter(id: &PolicyId, key: &str, window: &str) -> (String, String, String) {
    (id.to_string(), key.to_owned(), window.to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// The rules alone: two states that fold the same effects, and lose what they remember now and then.
    #[test]
    fn the_rules_agree_with_a_naive_account(history in history(160)) {
        futures::executor::block_on(run(pure::Pure::new(), history));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// The store: two processes on one file, which end without a word now and then.
    #[test]
    fn the_store_agrees_with_a_naive_account(history in history(70)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(stored::Stored::new(), history));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same on PostgreSQL: two replicas, each with a copy of its own.
    #[test]
    fn the_store_on_postgresql_agrees_with_a_naive_account(history in history(70)) {
        if store::database::is_there() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(stored::Stored::on_postgresql(), history));
        }
    }
}
