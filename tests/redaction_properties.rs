//! What must hold of redaction whatever comes: no secret survives it, it says the same twice, and
//! what holds nothing is left alone (R41, R42, I5).

#![expect(clippy::unwrap_used, clippy::string_slice, reason = "strategies of a test, over ASCII")]

use proptest::{prelude::*, sample::select, string::string_regex};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use tollgate::redaction::{DataRules, Outbound, Place, display_text, is_hidden};

fn regex(pattern: &str) -> BoxedStrategy<String> {
    string_regex(pattern).unwrap().boxed()
}

/// Secrets by their form: these are found wherever they stand.
fn formed() -> BoxedStrategy<String> {
    prop_oneof![
        regex("(AKIA|ASIA)[A-Z0-9]{16}"),
        regex("AIza[A-Za-z0-9_-]{35}"),
        regex("[A-Za-z0-9]{3}8Q~[A-Za-z0-9_~.-]{34}"),
        regex("gh[pousr]_[A-Za-z0-9]{36}"),
        regex("github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
        regex("glpat-[A-Za-z0-9_-]{20}"),
        regex("xox[bp]-[0-9]{10,12}-[A-Za-z0-9]{24}"),
        regex("[sr]k_(live|test)_[A-Za-z0-9]{24}"),
        regex("sk-proj-[A-Za-z0-9_-]{48}"),
        regex("sk-ant-api03-[A-Za-z0-9_-]{93}AA"),
        regex("npm_[A-Za-z0-9]{36}"),
        regex("pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{60}"),
        regex("SG\\.[A-Za-z0-9_-]{22}\\.[A-Za-z0-9_-]{43}"),
        regex("hf_[A-Za-z]{34}"),
        regex("dop_v1_[a-f0-9]{64}"),
        regex("eyJ[A-Za-z0-9_-]{20,60}\\.eyJ[A-Za-z0-9_-]{20,80}\\.[A-Za-z0-9_-]{43}"),
        regex("-----BEGIN (RSA |EC |OPENSSH |)PRIVATE KEY-----\n([A-Za-z0-9+/]{64}\n){2,6}-----END PRIVATE KEY-----"),
    ]
    .boxed()
}

fn luhn_digit(digits: &str) -> char {
    let sum: u32 = digits
        .chars()
        .rev()
        .filter_map(|c| c.to_digit(10))
        .enumerate()
        .map(|(at, d)| if at % 2 == 0 { if d * 2 > 9 { d * 2 - 9 } else { d * 2 } } else { d })
        .sum();
    char::from_digit((10 - sum % 10) % 10, 10).unwrap()
}

fn card() -> BoxedStrategy<String> {
    (regex("4[0-9]{3}[1-9][0-9]{10}"), select(vec!["", " ", "-"]))
        .prop_map(|(digits, joint)| {
            let whole = format!("{digits}{}", luhn_digit(&digits));
            [&whole[..4], &whole[4..8], &whole[8..12], &whole[12..]].join(joint)
        })
        .boxed()
}

fn iban() -> BoxedStrategy<String> {
    regex("[0-9]{18}")
        .prop_map(|account| {
            let rest = account
                .bytes()
                .chain(*b"131400")
                .fold(0_u32, |rest, b| (rest * 10 + u32::from(b - b'0')) % 97);
            format!("DE{:02}{account}", 98 - rest)
        })
        .boxed()
}

/// Values that stand between other characters than letters and digits.
fn bounded() -> BoxedStrategy<String> {
    prop_oneof![
        card(),
        iban(),
        regex("[a-z]{3,10}\\.[a-z]{3,10}@[a-z]{3,12}\\.(com|org|example)"),
        regex("\\+[1-9][0-9]{1,2} [0-9]{3} [0-9]{6}"),
        regex("[1-5][0-9]{2}-[1-9][0-9]-[1-9][0-9]{3}"),
        regex("[0-9]([A-Z][a-z][0-9]){9,14}"),
    ]
    .boxed()
}

fn filler() -> BoxedStrategy<String> {
    prop_oneof![regex("[a-z ,.\n]{0,40}"), regex("\\PC{0,20}"), Just(String::new())].boxed()
}

/// A secret, and a text that holds it.
fn embedded() -> impl Strategy<Value = (String, String)> {
    let formed = (formed(), filler(), filler())
        .prop_map(|(secret, before, after)| (secret.clone(), format!("{before}\n{secret}\n{after}")));
    let bounded = (bounded(), regex("([a-z]{1,8} ){0,4}"), select(vec!["\n", "\"", ", ", ") ", ""]))
        .prop_map(|(secret, before, after)| (secret.clone(), format!("{before}{secret}{after}")));
    let named = (
        select(vec!["password", "DB_PASSWORD", "clientSecret", "api-key", "X-Auth-Token", "Authorization"]),
        regex("[A-Za-z0-9!#%*+.:~-]{3}[A-Za-z0-9]{5,20}[0-9]"),
        select(vec![
            ("\"", "\": \"", "\""),
            ("", "=", "\n"),
            ("--", " ", " "),
            ("<", ">", "</x>"),
            ("'", "' => '", "'"),
        ]),
    )
        .prop_filter("a flag's value does not begin with a dash", |(_, secret, _)| !secret.starts_with('-'))
        .prop_map(|(name, secret, (open, between, close))| {
            (secret.clone(), format!("x {open}{name}{between}{secret}{close} y"))
        });
    let url = (regex("[a-z]{3,8}"), regex("[A-Za-z0-9!$%*+._~-]{8,20}"), regex("[a-z]{3,8}")).prop_map(
        |(user, secret, host)| {
            (secret.clone(), format!("postgres://{user}:{secret}@{host}.internal:5432/db"))
        },
    );
    prop_oneof![formed, bounded, named, url]
}

/// JSON that holds a given text somewhere: in a member, a key, an array.
fn around(text: String) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-1000_i64..1000).prop_map(Value::from),
        "[a-z ]{0,12}".prop_map(Value::from),
    ];
    proptest::collection::vec((0..4_u8, "[a-z]{1,6}", leaf), 0..8).prop_map(move |steps| {
        let mut value = Value::String(text.clone());
        for (at, (kind, key, sibling)) in steps.into_iter().enumerate() {
            value = match kind {
                0 => json!([sibling, value]),
                1 => json!([value, sibling]),
                2 => json!({"before": sibling, key: value}),
                _ if at == 0 => Value::Object(Map::from_iter([(text.clone(), sibling)])),
                _ => json!({key: value, "z_after": sibling}),
            };
        }
        value
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        4 => regex("\\PC{0,40}"),
        2 => regex("[A-Za-z0-9+/=_.:@ -]{0,60}"),
        1 => proptest::collection::vec(any::<char>(), 0..20).prop_map(|chars| chars.into_iter().collect()),
        2 => embedded().prop_map(|(_, text)| text),
    ];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let key = prop_oneof![
        regex("[a-zA-Z_-]{0,12}"),
        regex("\\PC{0,12}"),
        select(vec!["password", "token", "value", "name"]).prop_map(str::to_owned)
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Whether a value holds a text, in any string or key.
fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::Number(number) => number.to_string().contains(text),
        Value::String(string) => string.contains(text),
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Object(map) => map.iter().any(|(key, item)| key.contains(text) || holds(item, text)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_secret_survives_in_text((secret, text) in embedded()) {
        let rules = DataRules::built_in();
        let masked = rules.redact_text(&text);
        prop_assert!(!masked.contains(&secret), "{} -> {}", text, masked);
    }

    #[test]
    fn no_secret_survives_in_json((secret, value) in embedded().prop_flat_map(|(secret, text)| (Just(secret), around(text)))) {
        let rules = DataRules::built_in();
        for inspected in [
            rules.inspect_arguments(&value, &Place::NOWHERE),
            rules.inspect_result(&value, &Place::NOWHERE, &[]),
        ] {
            prop_assert!(inspected.redacted && !holds(&inspected.recorded, &secret), "{} -> {}", value, inspected.recorded);
            let shown = format!("{inspected:?}");
            prop_assert!(!shown.contains(&secret), "{}", shown);
            prop_assert_eq!(inspected.outbound, Outbound::Unchanged);
        }
        // A result whose text is that JSON.
        let result = json!({"content": [{"type": "text", "text": value.to_string()}]});
        if !secret.contains('\n') {
            prop_assert!(!holds(&rules.redact_value(&result), &secret), "{}", result);
        }
    }

    #[test]
    fn redaction_is_idempotent_and_leaves_the_rest_alone(value in any_json()) {
        let rules = DataRules::built_in();
        let once = rules.redact_value(&value);
        if let Cow::Owned(changed) = &once {
            prop_assert_ne!(changed, &value);
        }
        let twice = rules.redact_value(&once);
        prop_assert!(matches!(twice, Cow::Borrowed(_)), "{} -> {} -> {}", value, once, twice);
    }

    #[test]
    fn any_text_is_taken(text in any::<String>(), max in 0..40_usize) {
        let rules = DataRules::built_in();
        let once = rules.redact_text(&text).into_owned();
        prop_assert!(matches!(rules.redact_text(&once), Cow::Borrowed(_)), "{:?} -> {:?}", text, once);
        prop_assert!(!display_text(&text, max).chars().any(is_hidden));
    }
}
