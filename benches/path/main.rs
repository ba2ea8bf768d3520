//! The whole path of a call, measured from outside: an agent's HTTP client, the gateway with every control on,
//! an upstream that answers at once. Direct and through alternate within one run, so that the ratio holds where
//! the machine does not.
//!
//! `cargo bench --bench path -- [--gateway PATH] [--seconds N] [--rounds N] [--connections 1,16,64] [--json]`

#![expect(clippy::disallowed_methods, reason = "measuring needs the machine's own clock")]

mod gateway;
mod load;
mod upstream;

use gateway::Gateway;
use load::{Era, Sample, Target};
use serde_json::{Value, json};
use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// How the upstream's own process is told what it is.
const ROLE: &str = "TOLLGATE_BENCH_UPSTREAM";
const SESSIONS: u32 = 500;

struct Options {
    gateway: PathBuf,
    seconds: f64,
    rounds: usize,
    connections: Vec<usize>,
    json: bool,
}

impl Options {
    fn read() -> Fallible<Self> {
        let beside = std::env::current_exe()?.ancestors().nth(2).map(|profile| profile.join("tollgate"));
        let mut options = Self {
            gateway: std::env::var_os("TOLLGATE_BIN").map(PathBuf::from).or(beside).unwrap_or_default(),
            seconds: 3.0,
            rounds: 3,
            connections: vec![1, 16, 64],
            json: false,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("`{arg}` needs a value"));
            match arg.as_str() {
                "--gateway" => options.gateway = value()?.into(),
                "--seconds" => options.seconds = value()?.parse()?,
                "--rounds" => options.rounds = value()?.parse()?,
                "--connections" => {
                    options.connections = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                "--json" => options.json = true,
                // What cargo adds.
                "--bench" => {}
                _ => return Err(format!("`{arg}` is not an option").into()),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Into::into).and_then(|runtime| {
        if std::env::var_os(ROLE).is_some() {
            runtime.block_on(upstream::serve())
        } else {
            runtime.block_on(run())
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("path: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Fallible<()> {
    let options = Options::read()?;
    let upstream = upstream::Process::start().await?;
    let direct = Target::direct(upstream.port);
    let gateway = if options.gateway.exists() {
        Some(Gateway::start(&options.gateway, upstream.port).await?)
    } else {
        eprintln!("`{}` is missing: only the direct column is measured", options.gateway.display());
        None
    };
    let idle = gateway.as_ref().map(Gateway::rss).transpose()?;

    let mut rows = Vec::new();
    for era in [Era::Legacy, Era::Modern] {
        for &connections in &options.connections {
            let span = Duration::from_secs_f64(options.seconds);
            let (mut straight, mut through) = (Vec::new(), Vec::new());
            load::run(&direct, era, connections, span / 4).await?;
            if let Some(gateway) = &gateway {
                load::run(&gateway.target, era, connections, span / 4).await?;
            }
            for _ in 0..options.rounds.max(1) {
                straight.push(load::run(&direct, era, connections, span).await?);
                if let Some(gateway) = &gateway {
                    through.push(load::run(&gateway.target, era, connections, span).await?);
                }
            }
            rows.push(Row {
                era,
                connections,
                direct: Sample::median(straight),
                through: Sample::median(through),
            });
        }
    }
    let session = match &gateway {
        Some(gateway) => Some(per_session(gateway).await?),
        None => None,
    };
    if options.json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        println!("{}", json!({ "rows": rows, "idle_rss_bytes": idle, "rss_bytes_per_session": session }));
    } else {
        show(&rows, idle, session);
    }
    Ok(())
}

/// What the gateway's memory grows by for each legacy session that is open and idle.
async fn per_session(gateway: &Gateway) -> Fallible<u64> {
    let before = gateway.rss()?;
    let open = load::sessions(&gateway.target, SESSIONS).await?;
    let grown = gateway.rss()?.saturating_sub(before);
    drop(open);
    Ok(grown / u64::from(SESSIONS))
}

struct Row {
    era: Era,
    connections: usize,
    direct: Option<Sample>,
    through: Option<Sample>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        Some(self.through.as_ref()?.calls_per_second / self.direct.as_ref()?.calls_per_second)
    }

    /// What the gateway adds to the median call.
    fn added_us(&self) -> Option<f64> {
        Some(self.through.as_ref()?.p50_us - self.direct.as_ref()?.p50_us)
    }

    fn json(&self) -> Value {
        json!({
            "era": self.era.name(), "connections": self.connections, "ratio": self.ratio(),
            "direct": self.direct.as_ref().map(Sample::json), "through": self.through.as_ref().map(Sample::json),
        })
    }
}

fn show(rows: &[Row], idle: Option<u64>, session: Option<u64>) {
    println!(
        "{:<11} {:>5} | {:>9} {:>8} {:>8} | {:>9} {:>8} {:>8} | {:>6} {:>9}",
        "era", "conns", "direct/s", "p50 µs", "p99 µs", "through/s", "p50 µs", "p99 µs", "ratio", "added µs"
    );
    for row in rows {
        let cells = |sample: &Option<Sample>| match sample {
            Some(s) => format!("{:>9.0} {:>8.0} {:>8.0}", s.calls_per_second, s.p50_us, s.p99_us),
            None => format!("{:>9} {:>8} {:>8}", "-", "-", "-"),
        };
        println!(
            "{:<11} {:>5} | {} | {} | {:>6} {:>9}",
            row.era.name(),
            row.connections,
            cells(&row.direct),
            cells(&row.through),
            row.ratio().map_or_else(|| "-".to_owned(), |r| format!("{r:.3}")),
            row.added_us().map_or_else(|| "-".to_owned(), |us| format!("{us:.0}")),
        );
    }
    if let (Some(idle), Some(session)) = (idle, session) {
        println!(
            "idle {:.1} MiB; {:.1} KiB for each legacy session",
            idle as f64 / 1048576.0,
            session as f64 / 1024.0
        );
    }
}
