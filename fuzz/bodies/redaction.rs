//! Any text and any JSON: it is masked without a panic, the same twice, and what it names is what it masked.

use std::fmt::Write as _;
use tollgate::redaction::{DataRules, Outbound, Place};

pub(crate) fn run(data: &[u8]) {
    let rules = DataRules::built_in();
    let text = String::from_utf8_lossy(data);
    let once = rules.redact_text(&text).into_owned();
    assert_eq!(once, rules.redact_text(&text));
    encoded(data, &rules);
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    let place = Place { upstream: "u", tool: "u__t", labels: &[], sensitive: &[] };
    let found = rules.inspect_arguments(&value, &place);
    let untouched = !found.redacted && found.binary_bytes == 0;
    assert_eq!(untouched, *found.recorded == value, "{value}");
    match rules.inspect_result(&value, &place, &[]).outbound {
        Outbound::Unchanged => {}
        Outbound::Changed(_) | Outbound::Blocked(_) => {
            panic!("without data.yaml nothing is changed on its way")
        }
    }
}

/// A token, encoded up to four times as the first byte of the input says, and put into the rest, does not survive.
fn encoded(data: &[u8], rules: &DataRules) {
    let Some((choice, rest)) = data.split_first() else { return };
    let mut choice = usize::from(*choice);
    let mut text = format!("ghp_{}", "a1B2c3D4e5F6".repeat(3));
    for _ in 0..4 {
        text = encode(&text, choice % 8);
        choice /= 4;
    }
    let rest: String = String::from_utf8_lossy(rest).chars().take(200).collect();
    let masked = rules.redact_text(&format!("{rest}\n \n{text}\n \n{rest}")).into_owned();
    assert!(!masked.contains(&text), "{text:?} in {masked:?}");
}

fn encode(text: &str, how: usize) -> String {
    let each = |write: &dyn Fn(&mut String, char)| {
        text.chars().fold(String::new(), |mut out, c| {
            write(&mut out, c);
            out
        })
    };
    match how {
        0 => base64(text),
        1 => text.bytes().fold(String::new(), |mut out, b| {
            write!(out, "%{b:02x}").unwrap_or_default();
            out
        }),
        2 => text.bytes().fold(String::new(), |mut out, b| {
            write!(out, "{b:02x}").unwrap_or_default();
            out
        }),
        3 => each(&|out, c| write!(out, "&#{};", u32::from(c)).unwrap_or_default()),
        4 => serde_json::Value::String(text.to_owned()).to_string(),
        5 => each(&|out, c| out.extend([c, '\u{200b}'])),
        6 => each(&|out, c| match c {
            '!'..='~' => out.extend(char::from_u32(u32::from(c) - 0x21 + 0xff01)),
            c => out.push(c),
        }),
        _ => text.to_owned(),
    }
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits =
            three.iter().fold(0_usize, |bits, b| (bits << 8) | usize::from(*b)) << (8 * (3 - three.len()));
        for at in 0..=three.len() {
            out.extend(DIGITS.get((bits >> (18 - 6 * at)) & 63).map(|digit| char::from(*digit)));
        }
    }
    out
}
