//! What redaction costs per KiB, by type of text, beside SHA-256 over the same bytes in the same run: machines differ, and
//! so does one machine from day to day, but the ratio holds. `cargo bench --bench redaction [NAME]`

#![expect(clippy::disallowed_methods, reason = "measuring needs the machine's own clock")]

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};
use tollgate::redaction::{DataRules, Place};

const SIZE: usize = 64 * 1024;

/// What one KiB of ordinary text may cost.
const BOUND: f64 = 2_500.0;

fn filled(piece: &str) -> String {
    piece.repeat(SIZE / piece.len() + 1)
}

/// Texts as agents and tools exchange them.
fn ordinary() -> Vec<(&'static str, String)> {
    vec![
        (
            "prose",
            filled(
                "The gateway reads what an agent says, and what a tool answers, before anyone else does. \
                 It was built in 2026, in three rooms: the store, the front, and the policy. ",
            ),
        ),
        (
            "JSON",
            filled(
                "{\"id\":48213,\"path\":\"/srv/docs/reports/2026/q3.md\",\"title\":\"Quarterly report\",\"tags\":[\"finance\",\"draft\"],\
                 \"updated_at\":\"2026-11-21T02:50:17Z\",\"owner\":{\"name\":\"planner\",\"team\":\"data\"},\"size\":18213,\"public\":false},",
            ),
        ),
        ("Rust", include_str!("../src/redaction/rules.rs").repeat(3)),
        (
            "log",
            filled(
                "2026-11-21T02:50:17.123456Z  INFO request{method=GET path=/a/b/c status=200} took 12ms\n\
                 127.0.0.1 - - [21/Nov/2026:02:50:17 +0000] \"GET /static/js/main.4f3c2b1a.js?v=2 HTTP/1.1\" 200 48213\n",
            ),
        ),
        ("CSV", filled("1001,4.25,2026-01-02,open,99.5,3000\n1002,5.75,2026-01-03,closed,98.5,4000\n")),
        ("German", filled("Größe und Gewicht der Bücher für die nächste Woche, schöne Grüße aus München. ")),
        ("Russian", filled("Привет, мир. Это обычный текст на русском языке, без секретов. ")),
    ]
}

/// Texts that have to be read more than once, or that hold what is found.
fn heavy() -> Vec<(&'static str, String)> {
    let blob: Vec<u8> = (0..49_152_u32)
        .flat_map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes().into_iter().take(1))
        .collect();
    use base64::Engine as _;
    vec![
        (
            "JSON in a string",
            filled(
                "{\\\"id\\\":48213,\\\"path\\\":\\\"/srv/docs\\\",\\n\\\"title\\\":\\\"Quarterly report\\\"},",
            ),
        ),
        (
            "digests",
            filled("550e8400-e29b-41d4-a716-446655440000\n39550a4f0e8d7c6b5a4938271605f4e3d2c1b0a9\n"),
        ),
        ("base64 of a file", base64::engine::general_purpose::STANDARD.encode(blob)),
        (
            "with findings",
            filled(
                "write to bob@corp.example with ghp_abcdefghijklmnopqrstuvwxyz0123456789, then rest for a while. ",
            ),
        ),
    ]
}

/// Texts that are made to be slow.
const HOSTILE: &[&str] = &[
    "eyJ",
    "sk-",
    "1 ",
    "a@",
    "secret:",
    "4111 1111 ",
    "A1b2C3d4",
    "AKIA",
    "Bearer ",
    "key=",
    "-----BEGIN ",
    "\"a\":",
    "%41",
    "%252541",
    "Wldw",
    "414b49",
    "&#65;",
    "Ａ",
    "a\u{200b}",
    "а",
    "<input value=\"",
    "password ",
    "-u a:",
    "://a:",
];

/// The best of many runs: what the work costs where nothing disturbs it.
fn best(mut run: impl FnMut()) -> Duration {
    let begin = Instant::now();
    let mut best = Duration::MAX;
    let mut runs = 0;
    while runs < 5 || (begin.elapsed() < Duration::from_millis(300) && runs < 2_000) {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed());
        runs += 1;
    }
    best
}

fn per_kib(time: Duration, bytes: usize) -> f64 {
    time.as_secs_f64() * 1e9 * 1024.0 / bytes as f64
}

fn row(name: &str, bytes: usize, time: Duration, yardstick: Duration, told: &str) {
    let (cost, hash) = (per_kib(time, bytes), per_kib(yardstick, bytes));
    println!("{name:24} {cost:>9.0} {hash:>9.0} {:>7.1} {told}", cost / hash);
}

fn text(name: &str, text: &str, bound: bool) {
    let rules = DataRules::built_in();
    let time = best(|| {
        black_box(rules.redact_text(black_box(text)));
    });
    let hash = best(|| {
        black_box(Sha256::digest(black_box(text.as_bytes())));
    });
    let told = if bound && per_kib(time, text.len()) > BOUND { "above 2,500 ns" } else { "" };
    row(name, text.len(), time, hash, told);
}

fn value(name: &str, value: &Value) {
    let rules = DataRules::built_in();
    let text = value.to_string();
    let time = best(|| {
        black_box(rules.inspect_arguments(black_box(value), &Place::NOWHERE).redacted);
    });
    let hash = best(|| {
        black_box(Sha256::digest(black_box(text.as_bytes())));
    });
    row(name, text.len(), time, hash, "");
}

fn record() -> Value {
    json!({
        "id": 48213, "path": "/srv/docs/reports/2026/q3.md", "title": "Quarterly report",
        "tags": ["finance", "draft"], "updated_at": "2026-11-21T02:50:17Z",
        "owner": {"name": "planner", "team": "data"}, "size": 18213, "public": false
    })
}

fn main() {
    // cargo adds `--bench`.
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let is_wanted = |name: &str| wanted.as_ref().is_none_or(|wanted| name.contains(wanted.as_str()));
    println!("{:24} {:>9} {:>9} {:>7}", "text", "ns/KiB", "SHA-256", "ratio");
    for (name, sample) in ordinary().iter().filter(|(name, _)| is_wanted(name)) {
        text(name, sample, true);
    }
    for (name, sample) in heavy().iter().filter(|(name, _)| is_wanted(name)) {
        text(name, sample, false);
    }
    let values = [
        ("arguments of a call", record()),
        ("a list of records", Value::from(vec![record(); 300])),
        ("a call with a secret", json!({"row": record(), "api_key": "k-123456", "to": "bob@corp.example"})),
    ];
    for (name, sample) in values.iter().filter(|(name, _)| is_wanted(name)) {
        value(name, sample);
    }
    for piece in HOSTILE.iter().filter(|piece| is_wanted(&format!("hostile {piece}"))) {
        text(&format!("hostile {piece:?}"), &filled(piece), false);
    }
}
