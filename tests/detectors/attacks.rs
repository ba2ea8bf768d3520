//! What someone tries who wants a secret past the detectors: each way is caught, or stands in `LIMITS`, which
//! docs/detectors.md repeats (R42).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use tollgate::redaction::{DataRules, DataSpec, Outbound, Place};

/// A token as no scanner of this file sees it.
fn token() -> String {
    ["gh", "p_", "a1B2c3D4e5F6a1B2c3D4", "e5F6a1B2c3D4e5F6"].concat()
}

fn blocking() -> DataRules {
    let spec: DataSpec =
        serde_saphyr::from_str("rules: [{ id: stay, classes: [secret], arguments: block, results: block }]")
            .unwrap();
    DataRules::compile(&spec).unwrap()
}

/// Neither the record nor an upstream gets it.
#[track_caller]
fn caught(how: &str, value: &Value) {
    let secret = token();
    for rules in [DataRules::built_in(), blocking()] {
        let inspected = rules.inspect_arguments(value, &Place::NOWHERE);
        assert!(inspected.redacted, "{how}: {value}");
        let recorded = inspected.recorded.to_string();
        assert!(!recorded.contains(&secret[8..24]), "{how}: {recorded}");
        assert!(!value.to_string().contains("[redacted:"), "{how}");
    }
    for outbound in [
        blocking().inspect_arguments(value, &Place::NOWHERE).outbound,
        blocking().inspect_result(value, &Place::NOWHERE, &[]).outbound,
    ] {
        assert!(matches!(outbound, Outbound::Blocked(_)), "{how}: {outbound:?}");
    }
}

fn spelled(each: impl Fn(char) -> String) -> String {
    token().chars().map(each).collect()
}

#[test]
fn a_secret_in_the_names_of_members() {
    let mut map = Map::new();
    map.insert(token(), json!(1));
    caught("name", &Value::Object(map.clone()));
    caught("nested name", &json!({ "a": [{ "b": map }] }));
    caught("encoded name", &json!({ STANDARD.encode(token()): true }));
}

#[test]
fn a_secret_in_strings_of_json_and_of_code() {
    let mut text = json!({ "v": token() }).to_string();
    for depth in 0..3 {
        caught(&format!("JSON in JSON, {depth}"), &json!({ "log": text }));
        text = json!({ "v": text }).to_string();
    }
    caught("UTF-16 escapes", &json!({ "v": spelled(|c| format!("\\u{:04x}", u32::from(c))) }));
    caught("escapes of C", &json!({ "v": spelled(|c| format!("\\x{:02x}", u32::from(c))) }));
}

#[test]
fn a_secret_in_other_alphabets() {
    caught("base64", &json!({ "v": STANDARD.encode(token()) }));
    caught(
        "base64 among words",
        &json!({ "v": format!("/tmp/{}/x", STANDARD.encode(format!("k={}", token()))) }),
    );
    caught(
        "base64 of JSON in base64",
        &json!({ "v": STANDARD.encode(json!({ "x": STANDARD.encode(token()) }).to_string()) }),
    );
    caught("hex", &json!({ "v": hex::encode(token()) }));
    caught("hex with colons", &json!({ "v": spelled(|c| format!("{:02x}:", u32::from(c))) }));
    caught("percent", &json!({ "v": spelled(|c| format!("%{:02x}", u32::from(c))) }));
    caught("percent of percent", &json!({ "v": spelled(|c| format!("%25{:02x}", u32::from(c))) }));
    caught("HTML entities", &json!({ "v": spelled(|c| format!("&#x{:x};", u32::from(c))) }));
    caught(
        "fullwidth",
        &json!({ "v": spelled(|c| char::from_u32(u32::from(c) - 0x21 + 0xff01).unwrap().to_string()) }),
    );
}

#[test]
fn a_secret_among_what_nobody_sees() {
    for unseen in
        ['\u{200b}', '\u{200d}', '\u{2060}', '\u{ad}', '\u{202e}', '\u{feff}', '\u{e0041}', '\u{fe0f}', '\0']
    {
        caught(&format!("{unseen:?}"), &json!({ "v": spelled(|c| format!("{c}{unseen}")) }));
    }
    let tags = spelled(|c| char::from_u32(0xe0000 + u32::from(c)).unwrap().to_string());
    caught("tags", &json!({ "v": format!("hello{tags}") }));
}

/// One letter of another script in a word of ASCII.
#[test]
fn a_secret_with_letters_that_look_alike() {
    let swap = |of: char, to: char| spelled(|c| if c == of { to } else { c }.to_string());
    caught("Cyrillic letters", &json!({ "v": swap('p', 'р') }));
    caught("more of them", &json!({ "v": swap('e', 'е').replace('c', "с").replace('a', "а") }));
    caught("Greek letters", &json!({ "v": swap('B', 'Β') }));
    let rules = DataRules::built_in();
    let named = rules.redact_text("pаsswоrd: hunter2longer");
    assert!(!named.contains("hunter2"), "{named}");
    let mail = rules.redact_text("write to bоb@corp.example");
    assert!(!mail.contains("corp.example"), "{mail}");
}

/// An attack, and what of the text is read: the secret gets through.
type Limit = (&'static str, Value);

/// The ways that are known to work. An agent that wants to smuggle what it knows can; docs/detectors.md names each.
fn limits() -> Vec<Limit> {
    let token = token();
    let (first, second) = token.split_at(token.len() / 2);
    let reversed: String = token.chars().rev().collect();
    let rot13: String = token
        .chars()
        .map(|c| match c {
            'a'..='m' | 'A'..='M' => char::from(c as u8 + 13),
            'n'..='z' | 'N'..='Z' => char::from(c as u8 - 13),
            c => c,
        })
        .collect();
    let codes: Vec<u32> = token.chars().map(u32::from).collect();
    let spaced: String = token.chars().flat_map(|c| [c, ' ']).collect();
    vec![
        ("split over several values", json!({ "a": first, "b": second })),
        ("split by words", json!({ "v": format!("{first} and then {second}") })),
        ("a space after each letter", json!({ "v": spaced })),
        ("reversed", json!({ "v": reversed })),
        ("ROT13", json!({ "v": rot13 })),
        ("numbers of characters", json!({ "v": codes })),
    ]
}

/// What is named as a limit is one: were it caught, the page would be wrong. Some of it may be called suspected.
#[test]
fn the_page_names_every_limit() {
    let page = include_str!("../../docs/detectors.md");
    for (name, value) in limits() {
        assert!(page.contains(&format!("- {name}")), "docs/detectors.md does not name `{name}`");
        let inspected = DataRules::built_in().inspect_arguments(&value, &Place::NOWHERE);
        let found = inspected.findings.iter().any(|found| &**found == "github_token");
        assert!(!found, "{name} is found: take it from the limits");
    }
}

/// What has no end, no quote and no space is read in bounded work: the layers together have at most four times the bytes,
/// and every step is linear. A quadratic one would not end within any test's patience.
#[test]
fn long_hostile_texts_come_to_an_end() {
    let pieces = [
        "://a:",
        "://a:b@",
        "-u a:",
        "-p ",
        "password ",
        "login a password ",
        "-----BEGIN PRIVATE KEY-----",
        "eyJ",
        "eyJhbGciOi.",
        "PuTTY-User-Key-File-",
        "Bearer ",
        "Basic ",
        "<input value=\"",
        "value=\"x\" name=\"password\" ",
        "a@",
        "a@b.",
        "(\"token\",",
        "password:",
        "а",
        "\u{200b}",
        "12 ",
        "4111 1111 ",
        "DE89",
        "0049 ",
        "(030) ",
        "%25",
        "&amp;",
        "\\\\",
        "Wldw",
        "41:",
        "x.y~",
        "oracle:thin:a/",
        "[redacted:",
        "\n",
        "a\n",
    ];
    let rules = DataRules::built_in();
    for piece in pieces {
        let text = piece.repeat(200_000 / piece.len());
        assert!(!rules.redact_text(&text).is_empty(), "{piece}");
    }
}
