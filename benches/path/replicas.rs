//! Gateways on PostgreSQL: what one replica and three take of the same load, beside a gateway with the embedded store, in the
//! same run. They share the machine with the load, the upstream and the database.

use crate::{
    Fallible, Options,
    database::{is_there, server},
    gateway::{EMBEDDED, Gateway},
    load::{self, Era, Sample},
    process,
};
use serde_json::{Value, json};
use std::time::Duration;

/// One column: so many gateways on one store.
struct Column {
    name: &'static str,
    gateways: Vec<Gateway>,
    /// Each has as many connections as the yardstick, and not a share of them.
    each: bool,
}

async fn columns(options: &Options, upstream: u16) -> Fallible<Vec<Column>> {
    let mut columns = Vec::new();
    let embedded = vec![Gateway::start(&options.gateway, upstream, EMBEDDED).await?];
    columns.push(Column { name: "embedded", gateways: embedded, each: false });
    let mut replicas = async |name, count, each| -> Fallible<()> {
        let (database, mut gateways) = (server().database(), Vec::new());
        for _ in 0..count {
            gateways.push(Gateway::start(&options.gateway, upstream, &database.url).await?);
        }
        columns.push(Column { name, gateways, each });
        Ok(())
    };
    replicas("1 replica", 1, false).await?;
    replicas("3 replicas", 3, false).await?;
    replicas("3 replicas, each", 3, true).await?;
    Ok(columns)
}

/// What all gateways of a column do in sum; the times are the mean of theirs.
async fn measure(column: &Column, era: Era, connections: usize, span: Duration) -> Fallible<Sample> {
    let count = column.gateways.len();
    let cpu = || -> Fallible<f64> {
        let mut sum = 0.0;
        for gateway in &column.gateways {
            sum += process::cpu_seconds(gateway.id())?;
        }
        Ok(sum)
    };
    let before = cpu()?;
    let loads = column.gateways.iter().enumerate().map(|(at, gateway)| {
        let share = if column.each { connections } else { (connections + at) / count };
        load::run(&gateway.target, era, share, span)
    });
    let samples = futures::future::try_join_all(loads).await?;
    let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count as f64;
    let calls = samples.iter().map(|sample| sample.calls).sum();
    Ok(Sample {
        calls_per_second: samples.iter().map(|sample| sample.calls_per_second).sum(),
        p50_us: mean(|sample| sample.p50_us),
        p99_us: mean(|sample| sample.p99_us),
        calls,
        cpu_us: Some((cpu()? - before) * 1e6 / calls as f64),
    })
}

pub(crate) async fn run(options: &Options, upstream: u16) -> Fallible<()> {
    if !is_there() {
        return Err(
            "PostgreSQL is missing (/usr/lib/postgresql/*/bin/initdb): apt-get install postgresql".into()
        );
    }
    let columns = columns(options, upstream).await?;
    let (era, span) = (Era::Modern, Duration::from_secs_f64(options.seconds));
    let mut rows: Vec<Value> = Vec::new();
    for &connections in &options.connections {
        let mut samples = vec![Vec::new(); columns.len()];
        for round in 0..=options.rounds.max(1) {
            for (column, samples) in columns.iter().zip(&mut samples) {
                let sample = measure(column, era, connections, span).await?;
                // The first round warms up.
                if round > 0 {
                    samples.push(sample);
                }
            }
        }
        for (column, own) in columns.iter().zip(&samples) {
            let mut ratios: Vec<f64> = own
                .iter()
                .zip(samples.first().into_iter().flatten())
                .map(|(sample, other)| sample.calls_per_second / other.calls_per_second)
                .collect();
            ratios.sort_by(f64::total_cmp);
            let sample = Sample::median(own.clone());
            rows.push(json!({
                "what": column.name, "connections": connections, "ratio": ratios.get(ratios.len() / 2),
                "sample": sample.as_ref().map(Sample::json),
            }));
            if let Some(sample) = sample.filter(|_| !options.json) {
                println!(
                    "{:<18} {connections:>4} connections | {:>6.0} calls/s | ratio {:.2} ({}) | cpu {:>4.0} µs | p50 {:>6.0} µs | p99 {:>6.0} µs",
                    column.name,
                    sample.calls_per_second,
                    ratios.get(ratios.len() / 2).copied().unwrap_or_default(),
                    ratios.iter().map(|ratio| format!("{ratio:.2}")).collect::<Vec<_>>().join(" "),
                    sample.cpu_us.unwrap_or_default(),
                    sample.p50_us,
                    sample.p99_us,
                );
            }
        }
    }
    if options.json {
        println!("{}", json!({ "rows": rows }));
    }
    Ok(())
}
