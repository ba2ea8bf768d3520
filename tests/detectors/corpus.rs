//! The samples: every value in every frame and encoding, each with a name that decides which half it belongs to.

use crate::generate::{Random, each, fill, percent, stable_hash};
use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use std::fmt::Write as _;

/// A text, and what is to be found in it.
pub(crate) struct Sample {
    pub(crate) id: String,
    /// The detector that has to find it; `None`: nothing is to be found.
    pub(crate) detector: Option<&'static str>,
    /// What sort of it: the row of the corpus, or the category of what is harmless.
    pub(crate) what: &'static str,
    pub(crate) text: String,
    /// What must not stand in a record.
    pub(crate) secret: String,
    /// Which half it belongs to.
    pub(crate) held_out: bool,
}

struct Row {
    detector: &'static str,
    what: &'static str,
    text: &'static str,
}

fn rows(file: &'static str) -> Vec<Row> {
    let lines = file.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let mut parts = line.splitn(3, '\t');
            let mut part = || parts.next().unwrap_or_else(|| panic!("three columns: {line}"));
            Row { detector: part(), what: part(), text: part() }
        })
        .collect()
}

fn pairs(file: &'static str) -> Vec<(&'static str, &'static str)> {
    let lines = file.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split_once('\t').unwrap_or_else(|| panic!("two columns: {line}"))).collect()
}

/// So many samples at least for each detector.
const LEAST: usize = 160;
/// So many of each harmless row.
const OF_EACH_NEGATIVE: usize = 24;

/// How a value is written in a frame.
fn written(how: &str, value: &str) -> String {
    let inside = |text: String| text[1..text.len() - 1].to_owned();
    let quoted = || inside(json!(value).to_string());
    match how {
        "json" | "code" => quoted(),
        // A document in a string of another one.
        "json2" => inside(json!(quoted()).to_string()),
        "query" => percent(value),
        "html" => {
            value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
        }
        _ => value.to_owned(),
    }
}

/// What stands around it there.
fn in_frame(how: &str, frame: &str, written: &str) -> String {
    let (open, close) = match how {
        "json" | "code" => ("\"", "\""),
        "json2" => ("\"{\\\"v\\\":\\\"", "\\\"}\""),
        _ => ("", ""),
    };
    frame.replace("\\n", "\n").replace("{}", &format!("{open}{written}{close}"))
}

type Encode = fn(&str) -> String;

pub(crate) const ENCODINGS: &[(&str, Encode)] = &[
    ("percent", |text| each(text, |out, b| write!(out, "%{b:02X}").unwrap())),
    ("percent twice", |text| percent(&percent(text))),
    ("base64", |text| STANDARD.encode(text)),
    ("base64url", |text| URL_SAFE_NO_PAD.encode(text)),
    ("base64 of JSON", |text| STANDARD.encode(json!({ "a": 1, "value": text }).to_string())),
    ("base64 twice", |text| STANDARD.encode(STANDARD.encode(text))),
    ("hex", |text| hex::encode(text)),
    ("JSON in JSON in JSON", |text| json!(json!(json!({ "v": text }).to_string()).to_string()).to_string()),
    ("HTML entities", |text| {
        text.chars().fold(String::new(), |out, c| out + &format!("&#{};", u32::from(c)))
    }),
    ("UTF-16 escapes", |text| {
        text.encode_utf16().fold(String::new(), |out, unit| out + &format!("\\u{unit:04x}"))
    }),
    ("zero width", |text| text.chars().fold(String::new(), |out, c| out + &format!("{c}\u{200b}"))),
    ("fullwidth", |text| {
        text.chars()
            .map(|c| match c {
                '!'..='~' => char::from_u32(u32::from(c) - 0x21 + 0xff01).unwrap(),
                c => c,
            })
            .collect()
    }),
];

/// A text without the signs around the secret, and the secret.
fn split(text: &str) -> (String, String) {
    match (text.split_once('«'), text.split_once('»')) {
        (Some((before, _)), Some((inside, after))) => {
            let secret = &inside[before.len() + '«'.len_utf8()..];
            (format!("{before}{secret}{after}"), secret.to_owned())
        }
        _ => (text.to_owned(), text.to_owned()),
    }
}

struct Build {
    samples: Vec<Sample>,
}

impl Build {
    fn add(&mut self, row: &Row, id: String, text: String, secret: String) {
        let held_out = stable_hash(&id) & 1 == 1;
        let detector = Some(row.detector);
        self.samples.push(Sample { id, detector, what: row.what, text, secret, held_out });
    }

    /// In encodings, as a word of a sentence.
    fn encoded(&mut self, row: &Row, variant: usize) {
        for (name, encode) in ENCODINGS {
            let id = format!("{}/{}/{}/{name}/{variant}", row.detector, row.what, stable_hash(row.text));
            let (text, secret) = split(&fill(row.text, &mut Random::of(&id)));
            let encoded = encode(&text);
            // Where the secret cannot be told apart from what stands around it, all of it is.
            let parts = [encode(&secret), secret];
            let secret =
                parts.into_iter().find(|part| encoded.contains(part)).unwrap_or_else(|| encoded.clone());
            self.add(row, id, format!("see {encoded} and so on"), secret);
        }
    }
}

/// Everything there is.
pub(crate) fn samples() -> Vec<Sample> {
    let mut build = Build { samples: Vec::new() };
    let secrets = rows(include_str!("secrets.tsv"));
    let frames = rows(include_str!("frames.tsv"));
    let count = |rows: &[Row], detector: &str| rows.iter().filter(|row| row.detector == detector).count();
    for row in &secrets {
        let each = frames.len() + ENCODINGS.len();
        for variant in 0..LEAST.div_ceil(each * count(&secrets, row.detector)) {
            for frame in &frames {
                // The columns of a frame: its name, how values are written, the text.
                let (name, how, frame) = (frame.detector, frame.what, frame.text);
                let id = format!("{}/{}/{name}/{variant}", row.detector, row.what);
                let (text, secret) = split(&fill(row.text, &mut Random::of(&id)));
                let text = in_frame(how, frame, &written(how, &text));
                build.add(row, id, text, written(how, &secret));
            }
            build.encoded(row, variant);
        }
    }
    for rows in [rows(include_str!("named.tsv")), rows(include_str!("personal.tsv"))] {
        for row in &rows {
            let rows = count(&rows, row.detector);
            for variant in 0..(LEAST / 2).div_ceil(rows).max(6) {
                let id = format!("{}/{}/{}/{variant}", row.detector, row.what, stable_hash(row.text));
                let (text, secret) = split(&fill(row.text, &mut Random::of(&id)));
                build.add(row, id, text, secret);
            }
            for variant in 0..(LEAST / 2).div_ceil(rows * ENCODINGS.len()) {
                build.encoded(row, variant);
            }
        }
    }
    for (category, text) in pairs(include_str!("negatives.tsv")) {
        for variant in 0..OF_EACH_NEGATIVE {
            let id = format!("harmless/{category}/{}/{variant}", stable_hash(text));
            let held_out = stable_hash(&id) & 1 == 1;
            let text = fill(text, &mut Random::of(&id));
            build.samples.push(Sample {
                id,
                detector: None,
                what: category,
                text,
                secret: String::new(),
                held_out,
            });
        }
    }
    build.samples
}
