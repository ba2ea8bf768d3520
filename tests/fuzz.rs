//! A bounded run of the fuzz targets: every input of the corpus as it is, and so many changed ones, the same at each run;
//! others with `FUZZ_SEED=NUMBER`. `cargo fuzz` runs the same bodies for as long as one likes (fuzz/).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own functions may fail by panicking, as the test itself may"
)]

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

use serde_json::{Value, json};
use std::path::Path;

/// The largest input.
const LONGEST: usize = 16 * 1024;

/// Words of the formats, which chance would take long to find.
const WORDS: &[&str] = &[
    "\"jsonrpc\":\"2.0\"",
    "\"id\":",
    "\"method\":",
    "\"params\":{}",
    "\"result\":",
    "\"error\":{\"code\":-32602}",
    "null",
    "{}",
    "[]",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "\\u0000",
    "\\ud800",
    "1e309",
    "-0",
    "18446744073709551616",
    "$ID",
    "\n\n",
    "\r",
    "data: ",
    "event: endpoint\n",
    "id: ",
    "retry: 0\n",
    "tools/call",
    "resources/read",
    "initialize",
    "notifications/cancelled",
    "_meta",
    "io.modelcontextprotocol/protocolVersion",
    "2026-07-28",
    "2025-03-26",
    "progressToken",
    "inputResponses",
    "requestState",
    "taskId",
    "tasks/get",
    "Mcp-Name: ",
    "=?base64?",
    "?=",
    "=== gate.yaml\n",
    "condition: \"",
    "decision: ",
    "rules: ",
    "- ",
    "  ",
    "&a ",
    "*a",
    "!!binary ",
    "sha256:",
    "${NAME}",
    "args.",
    "\"$ref\":\"#\"",
    "\"anyOf\":[",
    "\"not\":{",
    "\"unevaluatedProperties\":false",
    "\"pattern\":\"^(a+)+(?!b)$\"",
    "matches('(a+)+$')",
    "1 / 0",
    "password=",
    "AKIAABCDEFGHIJKLMNOP",
    "\u{202e}",
    "\u{feff}",
    "ﬀ",
    "[redacted:email:3]",
    "://",
    "%2e%2e",
    "%25",
    "/../",
    "\\@",
];

/// Numbers that are the same at each run (xorshift).
struct Chance(u64);

impl Chance {
    fn new(salt: u64) -> Self {
        let seed: u64 =
            std::env::var("FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_default();
        Self((seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    fn place(&mut self, data: &[u8]) -> (usize, usize) {
        let start = self.below(data.len() + 1);
        let end = (start + self.below(32)).min(data.len());
        (start, end)
    }

    /// One change of an input.
    fn change(&mut self, data: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let (start, end) = self.place(data);
        match self.below(9) {
            0 if !data.is_empty() => {
                let at = self.below(data.len());
                data[at] ^= 1 << self.below(8);
            }
            1 if !data.is_empty() => {
                let at = self.below(data.len());
                data[at] = *self.of(&[0, 1, b'"', b'{', b'\n', b'\r', b'\\', 0x7f, 0x80, 0xc0, 0xff]);
            }
            2 => drop(data.drain(start..end)),
            3 => {
                let copied = data[start..end].to_vec();
                let at = self.below(data.len() + 1);
                data.splice(at..at, copied);
            }
            4 => {
                let word = self.of(WORDS).as_bytes().to_vec();
                data.splice(start..start, word);
            }
            5 => {
                let word = self.of(WORDS).as_bytes().to_vec();
                data.splice(start..end, word);
            }
            6 => data.truncate(start),
            7 => {
                let other = self.of(corpus).clone();
                let at = self.below(other.len() + 1);
                data.truncate(start);
                data.extend_from_slice(&other[at..]);
            }
            _ => {
                let times = 1 << self.below(7);
                let copied = data[start..end].repeat(times);
                data.splice(start..start, copied);
            }
        }
        data.truncate(LONGEST);
    }

    /// A value of any kind, small.
    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth > 3 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.next().is_multiple_of(2)),
            2 => json!(self.next().cast_signed() >> self.below(63)),
            3 => {
                const NUMBERS: [&str; 4] = ["1e400", "-0.0", "0.1", "123456789012345678901234567890"];
                let number: &str = self.of::<&str>(&NUMBERS);
                serde_json::from_str(number).unwrap()
            }
            4 => json!(self.of(WORDS)),
            5 => json!(self.of(&["", "echo", "file:///a", "2026-07-28", "a", "\u{0}", "debug", "tool"])),
            6 => (0..self.below(4)).map(|_| self.value(depth + 1)).collect(),
            _ => Value::Object((0..self.below(5)).map(|_| (self.name(), self.value(depth + 1))).collect()),
        }
    }

    fn name(&mut self) -> String {
        const NAMES: &[&str] = &[
            "name",
            "uri",
            "arguments",
            "_meta",
            "cursor",
            "level",
            "ref",
            "argument",
            "context",
            "notifications",
            "protocolVersion",
            "capabilities",
            "clientInfo",
            "requestId",
            "taskId",
            "inputResponses",
            "requestState",
            "io.modelcontextprotocol/protocolVersion",
            "io.modelcontextprotocol/clientCapabilities",
            "progressToken",
            "x",
        ];
        (*self.of(NAMES)).to_owned()
    }

    /// A message that is JSON-RPC in its form, and anything in what it says.
    fn message(&mut self) -> Value {
        const METHODS: &[&str] = &[
            "initialize",
            "ping",
            "tools/list",
            "tools/call",
            "resources/list",
            "resources/read",
            "resources/subscribe",
            "resources/templates/list",
            "prompts/list",
            "prompts/get",
            "completion/complete",
            "logging/setLevel",
            "server/discover",
            "subscriptions/listen",
            "tasks/get",
            "tasks/update",
            "tasks/cancel",
            "notifications/initialized",
            "notifications/cancelled",
            "notifications/progress",
            "no/such",
        ];
        let mut message = json!({"jsonrpc": "2.0"});
        let modern = self.below(2) == 0;
        if self.below(8) > 0 {
            message["method"] = json!(self.of(METHODS));
        }
        if self.below(6) > 0 {
            message["id"] = self.value(9);
        }
        if self.below(8) > 0 {
            let mut params = match self.value(0) {
                Value::Object(map) => map,
                _ => serde_json::Map::new(),
            };
            for _ in 0..self.below(4) {
                params.insert(self.name(), self.value(1));
            }
            if modern {
                params.insert(
                    "_meta".to_owned(),
                    json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": self.value(2)}),
                );
            }
            message["params"] = Value::Object(params);
        }
        if self.below(10) == 0 {
            message["result"] = self.value(0);
        }
        message
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "`{}` is empty", folder.display());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Runs a body with one input; what broke it is shown, so that it can join the corpus.
fn try_one(target: &str, body: fn(&[u8]), input: &[u8]) {
    let ran = std::panic::catch_unwind(|| body(input));
    if let Err(panic) = ran {
        eprintln!("{target} failed with: {:?}", String::from_utf8_lossy(input));
        std::panic::resume_unwind(panic);
    }
}

/// The corpus, and changes of it.
fn bounded(target: &str, body: fn(&[u8]), runs: usize) {
    let corpus = corpus(target);
    for input in &corpus {
        try_one(target, body, input);
    }
    let mut chance = Chance::new(0x9e37_79b9_7f4a_7c15);
    for _ in 0..runs {
        let mut input = chance.of(&corpus).clone();
        for _ in 0..=chance.below(6) {
            chance.change(&mut input, &corpus);
        }
        try_one(target, body, &input);
    }
}

#[test]
fn the_http_front_takes_any_bytes() {
    bounded("front_http", bodies::front_http::run, 20_000);
}

#[test]
fn the_http_front_takes_any_message() {
    let mut chance = Chance::new(0x1234_5678_9abc_def1);
    for _ in 0..20_000 {
        let message = chance.message();
        let method = message["method"].as_str().unwrap_or_default();
        let mut head = String::new();
        if chance.below(4) > 0 {
            head = format!("MCP-Protocol-Version: 2026-07-28\nMcp-Method: {method}\n");
            let params = &message["params"];
            if let Some(name) = ["name", "uri", "taskId"].iter().find_map(|key| params[*key].as_str()) {
                head.push_str(&format!("Mcp-Name: {name}\n"));
            }
        }
        let text = if chance.below(12) == 0 { json!([message, chance.message()]) } else { message };
        try_one("front_http", bodies::front_http::run, format!("{head}\n{text}").as_bytes());
    }
}

#[test]
fn the_stdio_front_takes_any_bytes() {
    bounded("front_stdio", bodies::front_stdio::run, 8_000);
    let mut chance = Chance::new(77);
    for _ in 0..2_000 {
        let lines: String = (0..4).map(|_| format!("{}\n", chance.message())).collect();
        try_one("front_stdio", bodies::front_stdio::run, lines.as_bytes());
    }
}

#[test]
fn an_upstream_may_answer_anything() {
    bounded("upstream", bodies::upstream::run, 4_000);
}

#[test]
fn an_upstream_may_stream_anything() {
    bounded("upstream_stream", bodies::upstream_stream::run, 4_000);
}

#[test]
fn a_bundle_may_be_anything() {
    bounded("policy", bodies::policy::run, 8_000);
}

#[test]
fn any_schema_takes_any_arguments_within_the_budget() {
    bounded("schema", bodies::schema::run, 8_000);
}

#[test]
fn anything_can_be_masked() {
    bounded("redaction", bodies::redaction::run, 20_000);
}

#[test]
fn a_uri_is_read_in_one_way() {
    bounded("uri", bodies::uri::run, 60_000);
}
