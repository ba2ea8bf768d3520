//! What a hostile neighbour's worst call costs another agent: its calls alone, and beside each kind of neighbour.

use crate::{
    Fallible,
    gateway::Gateway,
    load::{self, Era, PLACE, Sample, Target},
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// What a neighbour does.
enum Deed {
    /// Calls of this tool over so many connections, each as soon as the one before is answered.
    Calls { tool: &'static str, connections: usize, arguments: Value },
    /// Connections that say nothing.
    Silence(usize),
}

/// A neighbour as the table names it.
struct Neighbour {
    name: &'static str,
    deed: Deed,
}

fn neighbours() -> Vec<Neighbour> {
    let calls = |name, tool, connections, arguments| Neighbour {
        name,
        deed: Deed::Calls { tool, connections, arguments },
    };
    let mut tree = json!(PLACE);
    for _ in 0..24 {
        tree = json!([tree]);
    }
    let text = |unit: &str, bytes: usize| json!({ "text": unit.repeat(bytes / unit.len()), "n": PLACE });
    let mut nested = json!({ "key": "value", "n": PLACE });
    for _ in 0..6 {
        nested = json!({ "json": nested.to_string() });
    }
    vec![
        calls("a tree that fits no branch of its schema", "blocks", 4, json!({ "tree": tree })),
        calls("calls of 3 MiB of words", "any", 4, text("all work and no play ", 3 << 20)),
        calls("calls of 3 MiB, percent-encoded", "any", 4, text("%61%2C", 3 << 20)),
        calls("calls of 3 MiB of escapes", "any", 4, text("\\u0061\\n&lt;", 3 << 20)),
        calls("JSON in JSON, six deep", "any", 4, nested),
        calls("tools that do not exist", "nothing", 16, json!({ "n": PLACE })),
        calls("300 calls that take two seconds each", "slow", 300, json!({ "n": PLACE })),
        Neighbour { name: "2,000 connections that say nothing", deed: Deed::Silence(2_000) },
    ]
}

/// One line of the table.
struct Row {
    name: &'static str,
    alone: Sample,
    beside: Sample,
    answered_per_second: f64,
    rss: u64,
}

/// Measures all and prints the table.
pub(crate) async fn run(gateway: &Gateway, span: Duration, as_json: bool) -> Fallible<()> {
    let mut rows = Vec::new();
    for neighbour in neighbours() {
        rows.push(measure(gateway, &neighbour, span).await?);
    }
    if as_json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        println!("{}", json!({ "neighbours": rows }));
        return Ok(());
    }
    println!(
        "{:<44} | {:>8} {:>8} | {:>8} {:>8} | {:>9} | {:>10} | {:>8}",
        "beside", "p50 µs", "p99 µs", "alone", "alone", "p99 ratio", "answered/s", "RSS MiB"
    );
    for row in &rows {
        println!(
            "{:<44} | {:>8.0} {:>8.0} | {:>8.0} {:>8.0} | {:>9.1} | {:>10.0} | {:>8.0}",
            row.name,
            row.beside.p50_us,
            row.beside.p99_us,
            row.alone.p50_us,
            row.alone.p99_us,
            row.ratio(),
            row.answered_per_second,
            row.rss as f64 / 1048576.0,
        );
    }
    Ok(())
}

async fn measure(gateway: &Gateway, neighbour: &Neighbour, span: Duration) -> Fallible<Row> {
    let alone = load::run(&gateway.target, Era::Modern, 1, span).await?;
    let answered = Arc::new(AtomicU64::new(0));
    let mut silent = Vec::new();
    let mut pressing = None;
    match &neighbour.deed {
        Deed::Calls { tool, connections, arguments } => {
            let target: Target = gateway.neighbour(tool);
            let running = load::press(&target, *connections, arguments.clone(), answered.clone()).await?;
            pressing = Some(running);
        }
        Deed::Silence(connections) => {
            for _ in 0..*connections {
                silent.push(TcpStream::connect(("127.0.0.1", gateway.target.port())).await?);
            }
        }
    }
    let started = Instant::now();
    let beside = load::run(&gateway.target, Era::Modern, 1, span).await?;
    let took = started.elapsed().as_secs_f64();
    let row = Row {
        name: neighbour.name,
        alone,
        beside,
        answered_per_second: answered.load(Ordering::Relaxed) as f64 / took,
        rss: gateway.rss()?,
    };
    drop((pressing, silent));
    Ok(row)
}

impl Row {
    /// How much longer the slowest of a hundred calls takes.
    fn ratio(&self) -> f64 {
        self.beside.p99_us / self.alone.p99_us
    }

    fn json(&self) -> Value {
        json!({
            "beside": self.name, "p50_us": self.beside.p50_us, "p99_us": self.beside.p99_us,
            "alone_p50_us": self.alone.p50_us, "alone_p99_us": self.alone.p99_us, "p99_ratio": self.ratio(),
            "answered_per_second": self.answered_per_second, "rss_bytes": self.rss,
        })
    }
}
