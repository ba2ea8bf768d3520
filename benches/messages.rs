//! What one `tools/call` result of 10 kB costs to read and write again: by rmcp's typed model, and as a JSON value.

use divan::Bencher;
use rmcp::model::ServerJsonRpcMessage;
use serde_json::{Value, json};
use std::time::Duration;
use tollgate::clock::{Clock as _, System};
use tollgate::model::json;

fn main() {
    ratio();
    divan::main();
}

/// Twenty rows as text, and the same as structured content.
fn message() -> Vec<u8> {
    let row = |n: u32| {
        json!({
            "id": n, "path": format!("/srv/docs/reports/2026/q{n}.md"), "title": "Quarterly report", "size": 18_213 + n,
            "tags": ["finance", "draft"], "owner": {"name": "planner", "team": "data"}, "public": false,
        })
    };
    let rows: Vec<Value> = (0..27).map(row).collect();
    let content = json!([{"type": "text", "text": Value::Array(rows.clone()).to_string()}]);
    let result = json!({"content": content, "structuredContent": {"rows": rows}, "isError": false});
    json!({"jsonrpc": "2.0", "id": 7, "result": result}).to_string().into_bytes()
}

fn typed(bytes: &[u8]) -> usize {
    let read = serde_json::from_slice::<ServerJsonRpcMessage>(bytes).ok();
    read.and_then(|read| serde_json::to_vec(&read).ok()).map_or(0, |written| written.len())
}

fn ours(bytes: &[u8]) -> usize {
    let read = json::parse(bytes).ok();
    let mut written = Vec::with_capacity(bytes.len());
    read.iter().for_each(|read| tollgate::model::text::value(&mut written, read));
    written.len()
}

/// The two in turns, so that what else the machine does hits both.
fn ratio() {
    let (bytes, clock) = (message(), System::default());
    let mut spent = [Duration::ZERO; 2];
    for round in 0..4_000_u32 {
        for (way, spent) in [typed, ours].into_iter().zip(&mut spent) {
            let begun = clock.monotonic();
            assert!(way(divan::black_box(&bytes)) > 0);
            if round >= 400 {
                *spent += clock.monotonic().saturating_sub(begun);
            }
        }
    }
    let [typed, ours] = spent.map(|spent| spent.as_secs_f64() * 1e6 / 3_600.0);
    println!(
        "{} bytes, read and written: typed {typed:.1} µs, ours {ours:.1} µs, ratio {:.2}",
        bytes.len(),
        typed / ours
    );
}

#[divan::bench]
fn typed_model(bencher: Bencher<'_, '_>) {
    let bytes = message();
    bencher.bench(|| typed(divan::black_box(&bytes)));
}

#[divan::bench]
fn json_value(bencher: Bencher<'_, '_>) {
    let bytes = message();
    bencher.bench(|| ours(divan::black_box(&bytes)));
}
