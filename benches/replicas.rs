//! What replicas on PostgreSQL cost: calls a second, each an admission that is waited for and a settlement that is not, as the
//! gateway makes them. The yardstick, in the same round, is the embedded store with as many callers; what is printed as a
//! ratio is the median of the rounds.
//!
//! `cargo bench --bench replicas [-- --seconds N] [--rounds N] [--only TEXT]`. It starts a PostgreSQL of its own
//! (`apt-get install postgresql`) whose settings are those of Debian, on the same disk as everything else.

#![expect(clippy::disallowed_methods, reason = "measuring needs the machine's own clock")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark: what fails ends it"
)]

mod calls;
#[path = "../tests/store/database.rs"]
mod database;

use database::{is_there, server};
use std::{
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use tollgate::{
    clock::{Clock as _, System},
    config::Durability,
    cost::BudgetWindow,
    model::{OwnerId, PolicyId},
    store::{Admission, Store as _, embedded::EmbeddedStore},
};

/// What is measured: so many replicas (none: the embedded store) with so many callers in sum.
#[derive(Clone, Copy)]
struct Case {
    replicas: usize,
    callers: usize,
    /// All calls count on one budget, or each caller's on its own.
    hot: bool,
    durability: Durability,
}

impl Case {
    const fn embedded(callers: usize) -> Self {
        Self { replicas: 0, callers, hot: true, durability: Durability::Commit }
    }

    const fn replicas(replicas: usize, callers: usize, hot: bool) -> Self {
        Self { replicas, callers, hot, durability: Durability::Commit }
    }

    fn name(self) -> String {
        let what = match (self.replicas, self.durability) {
            (0, Durability::Fsync) => "embedded, fsync".to_owned(),
            (0, _) => "embedded".to_owned(),
            (1, _) => "1 replica".to_owned(),
            (count, _) => format!("{count} replicas"),
        };
        format!(
            "{what}, {} callers, {}",
            self.callers,
            if self.hot { "one hot budget" } else { "own budgets" }
        )
    }
}

const CASES: [Case; 11] = [
    Case::embedded(64),
    Case { durability: Durability::Fsync, ..Case::embedded(64) },
    Case::replicas(1, 64, true),
    Case::replicas(1, 64, false),
    Case::replicas(3, 64, true),
    Case::embedded(192),
    Case::replicas(3, 192, true),
    Case::replicas(3, 192, false),
    Case::embedded(512),
    Case::replicas(1, 512, true),
    Case::replicas(3, 512, true),
];

/// Calls a second, and how long the callers waited for an admission.
#[derive(Clone, Copy)]
struct Sample {
    rate: f64,
    p50: Duration,
    p99: Duration,
}

fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args();
    arguments.find(|argument| argument == name)?;
    arguments.next()
}

fn embedded(dir: &Path, durability: Durability) -> Arc<EmbeddedStore> {
    let (owner, clock) = (OwnerId::from("bench"), Arc::new(System::default()));
    EmbeddedStore::open(&dir.join("bench.db"), dir, durability, owner, clock).unwrap()
}

/// Calls one after the other; how long each admission took.
async fn caller(store: Arc<EmbeddedStore>, budget: PolicyId, until: Instant) -> Vec<Duration> {
    let (clock, mut times) = (System::default(), Vec::new());
    while Instant::now() < until {
        let mut request = calls::request(&clock);
        for limit in &mut request.budgets {
            limit.id = budget.clone();
            limit.window = BudgetWindow::Ever;
            limit.max_calls = Some(u64::from(u32::MAX));
        }
        let (event, begun) = (request.event.clone(), Instant::now());
        assert_eq!(store.admit(request).await.unwrap(), Admission::Granted);
        times.push(begun.elapsed());
        drop(store.settle(calls::settlement(event)));
    }
    times
}

async fn measure(case: Case, span: Duration) -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let (database, stores): (_, Vec<_>) = match case.replicas {
        0 => (None, vec![embedded(dir.path(), case.durability)]),
        replicas => {
            let database = server().database();
            let stores = (0..replicas).map(|_| database.replica(dir.path())).collect();
            (Some(database), stores)
        }
    };
    let run = |span: Duration| {
        let until = Instant::now() + span;
        let callers = stores.iter().cycle().take(case.callers).enumerate().map(move |(n, store)| {
            let budget = if case.hot { "hot".to_owned() } else { format!("own-{n}") };
            tokio::spawn(caller(store.clone(), PolicyId::from(budget), until))
        });
        futures::future::join_all(callers)
    };
    let warm: usize = run(span / 4).await.into_iter().map(|times| times.unwrap().len()).sum();
    let begun = Instant::now();
    let mut times: Vec<Duration> = run(span).await.into_iter().flat_map(Result::unwrap).collect();
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    // Every call is counted once, whoever made it.
    for store in &stores {
        while store.unsettled() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let usage = stores[0].budget_usage(System::default().now()).await.unwrap();
    // The rate counts beside the budgets.
    let counted: u64 = usage.iter().filter(|usage| usage.window == "ever").map(|usage| usage.calls).sum();
    assert_eq!(counted, (warm + times.len()) as u64);
    for store in &stores {
        store.close().await;
    }
    drop(stores);
    if let Some(database) = database {
        server().sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", database.name));
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    Sample { rate, p50: at(50), p99: at(99) }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> ExitCode {
    // `cargo test --benches` and lists of benchmarks run nothing.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return ExitCode::SUCCESS;
    }
    if !is_there() {
        eprintln!("PostgreSQL is missing (/usr/lib/postgresql/*/bin/initdb): apt-get install postgresql");
        return ExitCode::FAILURE;
    }
    let number = |name: &str, default: f64| argument(name).and_then(|n| n.parse().ok()).unwrap_or(default);
    let (span, rounds) =
        (Duration::from_secs_f64(number("--seconds", 3.0)), number("--rounds", 5.0) as usize);
    let only = argument("--only").unwrap_or_default();
    let chosen = |case: &&Case| case.name().contains(&only) || case.replicas == 0;
    let cases: Vec<Case> = CASES.iter().filter(chosen).copied().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut samples = vec![Vec::new(); cases.len()];
    for _ in 0..rounds {
        for (case, samples) in cases.iter().zip(&mut samples) {
            samples.push(runtime.block_on(measure(*case, span)));
        }
    }
    let yardstick = |callers: usize| {
        let at = cases.iter().position(|case| case.replicas == 0 && case.callers == callers);
        at.map(|at| samples[at].clone()).expect("there is one for each number of callers")
    };
    println!("| {:<42} | calls/s | ratio | p50 ms | p99 ms |", "what");
    for (case, samples) in cases.iter().zip(&samples) {
        let ratios =
            samples.iter().zip(yardstick(case.callers)).map(|(sample, other)| sample.rate / other.rate);
        let ms = |of: fn(&Sample) -> Duration| {
            median(samples.iter().map(|sample| of(sample).as_secs_f64() * 1e3).collect())
        };
        println!(
            "| {:<42} | {:>7.0} | {:>5.2} | {:>6.2} | {:>6.2} |",
            case.name(),
            median(samples.iter().map(|sample| sample.rate).collect()),
            median(ratios.collect()),
            ms(|sample| sample.p50),
            ms(|sample| sample.p99),
        );
    }
    ExitCode::SUCCESS
}
