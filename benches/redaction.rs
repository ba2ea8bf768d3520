//! What redaction costs per KiB: prose, JSON as tools exchange it, and text made to be slow.

use divan::{Bencher, counter::BytesCount};
use serde_json::{Value, json};
use tollgate::redaction::{DataRules, Place};

fn main() {
    divan::main();
}

const SIZE: usize = 64 * 1024;

fn text(piece: &str) -> String {
    piece.repeat(SIZE / piece.len() + 1)
}

const PROSE: &str = "The gateway reads what an agent says, and what a tool answers, before anyone else does. \
    It was built in 2026, in three rooms: the store, the front, and the policy. ";

const JSON: &str = "{\"id\":48213,\"path\":\"/srv/docs/reports/2026/q3.md\",\"title\":\"Quarterly report\",\"tags\":[\"finance\",\"draft\"],\
    \"updated_at\":\"2026-11-21T02:50:17Z\",\"owner\":{\"name\":\"planner\",\"team\":\"data\"},\"size\":18213,\"public\":false},";

fn bench_text(bencher: Bencher<'_, '_>, piece: &str) {
    let rules = DataRules::built_in();
    let text = text(piece);
    bencher.counter(BytesCount::new(text.len())).bench(|| rules.redact_text(divan::black_box(&text)).len());
}

#[divan::bench]
fn prose_text(bencher: Bencher<'_, '_>) {
    bench_text(bencher, PROSE);
}

#[divan::bench]
fn json_text(bencher: Bencher<'_, '_>) {
    bench_text(bencher, JSON);
}

#[divan::bench(args = ["eyJ", "sk-", "1 ", "a@", "secret:", "4111 1111 ", "A1b2C3d4", "AKIA", "Bearer ", "key=", "-----BEGIN ", "\"a\":", "%41", "%252541", "Wldw", "414b49", "&#65;", "Ａ", "a\u{200b}"])]
fn hostile_text(bencher: Bencher<'_, '_>, piece: &str) {
    bench_text(bencher, piece);
}

#[divan::bench]
fn text_with_findings(bencher: Bencher<'_, '_>) {
    bench_text(
        bencher,
        "write to bob@corp.example with ghp_abcdefghijklmnopqrstuvwxyz0123456789, then rest for a while. ",
    );
}

fn bench_value(bencher: Bencher<'_, '_>, value: &Value) {
    let rules = DataRules::built_in();
    bencher
        .counter(BytesCount::new(value.to_string().len()))
        .bench(|| rules.inspect_arguments(divan::black_box(value), &Place::NOWHERE).redacted);
}

fn row() -> Value {
    json!({
        "id": 48213, "path": "/srv/docs/reports/2026/q3.md", "title": "Quarterly report",
        "tags": ["finance", "draft"], "updated_at": "2026-11-21T02:50:17Z",
        "owner": {"name": "planner", "team": "data"}, "size": 18213, "public": false
    })
}

#[divan::bench]
fn json_value(bencher: Bencher<'_, '_>) {
    bench_value(bencher, &Value::from(vec![row(); 300]));
}

#[divan::bench]
fn one_call(bencher: Bencher<'_, '_>) {
    bench_value(bencher, &row());
}

#[divan::bench]
fn one_call_with_a_secret(bencher: Bencher<'_, '_>) {
    let value = json!({"row": row(), "api_key": "k-123456", "to": "bob@corp.example"});
    bench_value(bencher, &value);
}
