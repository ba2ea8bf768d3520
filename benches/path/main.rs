//! The whole path of a call, measured from outside: an agent's HTTP client, the gateway with every control on,
//! an upstream that answers at once. Direct and through alternate within one run, so that the ratio holds where
//! the machine does not.
//!
//! `cargo bench --bench path -- [--gateway PATH] [--seconds N] [--rounds N] [--connections 1,16,64] [--json]
//! [--other PROGRAM [--other-tool NAME] [--other-path PATH]] [--neighbours] [--replicas]`
//!
//! `--other` measures a gateway of somebody else's in the same run: PROGRAM is called with the upstream's port, writes the
//! port of the gateway as its first line and then becomes the gateway; PATH (`/mcp`) is its endpoint, NAME is what it calls the
//! upstream's `echo`. An era that it does not speak is left out.
//!
//! `--replicas` measures instead gateways on a PostgreSQL that it starts, one and three, beside one with the embedded store.
//!
//! `--neighbours` measures instead what one agent's calls take beside another agent that does its worst.

#![expect(clippy::disallowed_methods, reason = "measuring needs the machine's own clock")]

mod bare;
#[allow(clippy::unwrap_used, reason = "a PostgreSQL for a measurement: what fails ends it")]
#[path = "../../tests/store/database.rs"]
mod database;
mod gateway;
mod load;
mod neighbour;
mod process;
mod replicas;
mod sdk;
mod upstream;

use gateway::{EMBEDDED, Gateway};
use load::{Era, Sample, Target};
use process::Process;
use serde_json::{Value, json};
use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// How another part of the rig is told what it is.
const ROLE: &str = "TOLLGATE_BENCH_ROLE";
const SESSIONS: u32 = 500;

struct Options {
    gateway: PathBuf,
    seconds: f64,
    rounds: usize,
    connections: Vec<usize>,
    json: bool,
    other: Option<PathBuf>,
    other_tool: String,
    other_path: String,
    neighbours: bool,
    replicas: bool,
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
            other: None,
            other_tool: "echo".to_owned(),
            other_path: "/mcp".to_owned(),
            neighbours: false,
            replicas: false,
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
                "--neighbours" => options.neighbours = true,
                "--replicas" => options.replicas = true,
                "--other" => options.other = Some(value()?.into()),
                "--other-tool" => options.other_tool = value()?,
                "--other-path" => options.other_path = value()?,
                // What cargo adds.
                "--bench" => {}
                _ => return Err(format!("`{arg}` is not an option").into()),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let role = std::env::var(ROLE).unwrap_or_default();
    let onward = role.split_once(':').and_then(|(kind, port)| Some((kind, port.parse().ok()?)));
    let runtime = match onward {
        Some(_) => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
        None => tokio::runtime::Builder::new_current_thread().enable_all().build(),
    };
    let done = runtime.map_err(Into::into).and_then(|runtime| match onward {
        Some(("sdk", port)) => runtime.block_on(sdk::serve(port)),
        Some((_, port)) => runtime.block_on(bare::serve(port)),
        None if role == "upstream" => runtime.block_on(upstream::serve()),
        None => runtime.block_on(run()),
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
    let upstream = Process::start("upstream").await?;
    if options.replicas {
        return replicas::run(&options, upstream.port).await;
    }
    if options.neighbours {
        let gateway = Gateway::start(&options.gateway, upstream.port, EMBEDDED).await?;
        return neighbour::run(&gateway, Duration::from_secs_f64(options.seconds), options.json).await;
    }
    let bare = Process::start(&format!("bare:{}", upstream.port)).await?;
    let sdk = Process::start(&format!("sdk:{}", upstream.port)).await?;
    let (direct, plain, by_sdk) =
        (Target::direct(upstream.port), Target::direct(bare.port), Target::direct(sdk.port));
    let gateway = if options.gateway.exists() {
        Some(Gateway::start(&options.gateway, upstream.port, EMBEDDED).await?)
    } else {
        eprintln!("`{}` is missing: only the other columns are measured", options.gateway.display());
        None
    };
    let other = match &options.other {
        Some(program) => {
            let process = Process::other(program, upstream.port).await?;
            let target = Target::other(process.port, options.other_path.clone(), options.other_tool.clone());
            Some((target, process))
        }
        None => None,
    };
    let idle = gateway.as_ref().map(Gateway::rss).transpose()?;

    let mut rows = Vec::new();
    for era in [Era::Legacy, Era::Modern] {
        for &connections in &options.connections {
            let span = Duration::from_secs_f64(options.seconds);
            let (mut straight, mut passed, mut sdk_passed, mut others, mut through) =
                <(Vec<_>, Vec<_>, Vec<_>, Vec<_>, Vec<_>)>::default();
            let targets = [&direct, &plain, &by_sdk].into_iter();
            for target in targets.chain(gateway.as_ref().map(|gateway| &gateway.target)) {
                load::run(target, era, connections, span / 4).await?;
            }
            let mut spoken = other.as_ref();
            if let Some((target, _)) = spoken
                && let Err(error) = load::run(target, era, connections, span / 4).await
            {
                eprintln!("the other gateway is left out of {}: {error}", era.name());
                spoken = None;
            }
            for _ in 0..options.rounds.max(1) {
                straight.push(load::run(&direct, era, connections, span).await?);
                passed.push(measure(&plain, bare.id, era, connections, span).await?);
                sdk_passed.push(measure(&by_sdk, sdk.id, era, connections, span).await?);
                if let Some((target, process)) = spoken {
                    others.push(measure(target, process.id, era, connections, span).await?);
                }
                if let Some(gateway) = &gateway {
                    through.push(measure(&gateway.target, gateway.id(), era, connections, span).await?);
                }
            }
            rows.push(Row {
                era,
                connections,
                direct: Sample::median(straight),
                bare: Sample::median(passed),
                sdk: Sample::median(sdk_passed),
                other: Sample::median(others),
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

/// A measurement with the CPU time that a process took for each call.
async fn measure(target: &Target, id: u32, era: Era, connections: usize, span: Duration) -> Fallible<Sample> {
    let before = process::cpu_seconds(id)?;
    let mut sample = load::run(target, era, connections, span).await?;
    sample.cpu_us = Some((process::cpu_seconds(id)? - before) * 1e6 / sample.calls as f64);
    Ok(sample)
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
    bare: Option<Sample>,
    sdk: Option<Sample>,
    other: Option<Sample>,
    through: Option<Sample>,
}

impl Row {
    /// A column's share of the direct calls per second.
    fn ratio(&self, of: Option<&Sample>) -> Option<f64> {
        Some(of?.calls_per_second / self.direct.as_ref()?.calls_per_second)
    }

    /// What the gateway adds to the median call, and to the slowest of a hundred.
    fn added_us(&self) -> Option<(f64, f64)> {
        let (through, direct) = (self.through.as_ref()?, self.direct.as_ref()?);
        Some((through.p50_us - direct.p50_us, through.p99_us - direct.p99_us))
    }

    fn json(&self) -> Value {
        let json = Sample::json;
        json!({
            "era": self.era.name(), "connections": self.connections,
            "ratio": self.ratio(self.through.as_ref()), "bare_ratio": self.ratio(self.bare.as_ref()),
            "sdk_ratio": self.ratio(self.sdk.as_ref()), "sdk": self.sdk.as_ref().map(json),
            "direct": self.direct.as_ref().map(json), "bare": self.bare.as_ref().map(json),
            "other_ratio": self.ratio(self.other.as_ref()), "other": self.other.as_ref().map(json),
            "through": self.through.as_ref().map(json),
        })
    }
}

fn show(rows: &[Row], idle: Option<u64>, session: Option<u64>) {
    println!(
        "{:<10} {:>5} | {:>8} | {:>6} {:>5} {:>6} | {:>6} {:>5} {:>6} | {:>6} {:>5} {:>6} {:>7} {:>7} {:>7} | {:>9} {:>8}",
        "era",
        "conns",
        "direct/s",
        "bare/s",
        "ratio",
        "cpu µs",
        "sdk/s",
        "ratio",
        "cpu µs",
        "thr./s",
        "ratio",
        "cpu µs",
        "p50 µs",
        "p99 µs",
        "+p99 µs",
        "thr./bare",
        "thr./sdk"
    );
    let figure =
        |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
    for row in rows {
        let rate = |sample: &Option<Sample>| figure(sample.as_ref().map(|s| s.calls_per_second), 0);
        let cpu = |sample: &Option<Sample>| figure(sample.as_ref().and_then(|s| s.cpu_us), 0);
        let share = |of: &Option<Sample>| {
            let pair = row.through.as_ref().zip(of.as_ref());
            figure(pair.map(|(through, of)| through.calls_per_second / of.calls_per_second), 2)
        };
        println!(
            "{:<10} {:>5} | {:>8} | {:>6} {:>5} {:>6} | {:>6} {:>5} {:>6} | {:>6} {:>5} {:>6} {:>7} {:>7} {:>7} | {:>9} {:>8}",
            row.era.name(),
            row.connections,
            rate(&row.direct),
            rate(&row.bare),
            figure(row.ratio(row.bare.as_ref()), 2),
            cpu(&row.bare),
            rate(&row.sdk),
            figure(row.ratio(row.sdk.as_ref()), 2),
            cpu(&row.sdk),
            rate(&row.through),
            figure(row.ratio(row.through.as_ref()), 2),
            cpu(&row.through),
            figure(row.through.as_ref().map(|s| s.p50_us), 0),
            figure(row.through.as_ref().map(|s| s.p99_us), 0),
            figure(row.added_us().map(|added| added.1), 0),
            share(&row.bare),
            share(&row.sdk),
        );
        if row.other.is_some() {
            println!(
                "{:>16} | the other gateway: {}/s, ratio {}, cpu {} µs, p99 {} µs; through/other {}, p99 {}",
                "",
                rate(&row.other),
                figure(row.ratio(row.other.as_ref()), 2),
                cpu(&row.other),
                figure(row.other.as_ref().map(|s| s.p99_us), 0),
                share(&row.other),
                figure(row.through.as_ref().zip(row.other.as_ref()).map(|(t, o)| t.p99_us / o.p99_us), 2),
            );
        }
    }
    if let (Some(idle), Some(session)) = (idle, session) {
        println!(
            "idle {:.1} MiB; {:.1} KiB for each legacy session",
            idle as f64 / 1048576.0,
            session as f64 / 1024.0
        );
    }
}
