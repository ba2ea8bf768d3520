//! Conditions: nothing makes them panic, and they mean what CEL means.

use crate::world::facts_with;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate::{
    model::pointer::Pointer,
    policy::condition::{Condition, Hidden},
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_text_makes_compiling_panic(text in "\\PC{0,60}") {
        check_any(&text);
    }

    #[test]
    fn no_tokens_make_compiling_or_evaluating_panic(tokens in proptest::collection::vec(token(), 1..24)) {
        check_any(&tokens.concat());
        check_any(&tokens.join(" "));
    }

    #[test]
    fn no_expression_makes_evaluating_panic(source in expression()) {
        check_any(&source);
    }
}

/// Values that a mask may stand for.
fn secret() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![
        json!(5),
        json!(2.5),
        json!("abc"),
        json!("a"),
        json!(""),
        json!("[redacted:secret:3]"),
        json!(true),
        json!([1, "a", null]),
        json!([]),
        json!({"n": 5}),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// I11: an answer that is given of masked arguments is the answer, whatever the masks stand for.
    #[test]
    fn what_is_certain_of_masked_arguments_is_so(
        source in expression(),
        places in proptest::sample::subsequence(vec!["/n", "/text", "/list", "/list/1", "/f"], 1..3),
        secrets in proptest::collection::vec(secret(), 3),
    ) {
        let Ok(condition) = Condition::compile(&source) else { return Ok(()) };
        let raw = json!({"n": 5, "text": "abc", "list": [1, "a", null], "f": -0.5});
        let places: Vec<Pointer> = places.iter().map(|place| Pointer::parse(place).unwrap()).collect();
        let with = |secrets: &[Value]| {
            let mut args = raw.clone();
            for (place, secret) in places.iter().zip(secrets) {
                if place.get(&args).is_some() {
                    place.set(&mut args, secret.clone());
                }
            }
            args
        };
        let masks = vec![json!("[redacted:secret:3]"); places.len()];
        let recorded = facts_with(with(&masks));
        let hidden = Hidden::of(&recorded.args, &places);
        let certain = condition.evaluate_hidden(&recorded, "production", &hidden);
        if let Some(answer) = certain {
            for args in [raw.clone(), with(&secrets), with(&secrets[1..])] {
                let real = condition.evaluate(&facts_with(args.clone()), "production");
                prop_assert_eq!(&answer, &real, "{} of {}", &source, args);
            }
        }
    }
}

fn token() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(
        &[
            "args",
            ".",
            "n",
            "list",
            "[",
            "]",
            "(",
            ")",
            "0",
            "1",
            "-",
            "!",
            "'a'",
            "'",
            "\"",
            "b'\\xff'",
            "r'\\d'",
            "&&",
            "||",
            "==",
            "!=",
            "<",
            ">=",
            "+",
            "*",
            "/",
            "%",
            "?",
            ":",
            ",",
            "in",
            "has",
            "all",
            "exists",
            "map",
            "filter",
            "x",
            "env",
            "agent",
            "role",
            "now",
            "getHours",
            "size",
            "matches",
            "glob",
            "host",
            "within",
            "duration",
            "timestamp",
            "null",
            "true",
            "1.5",
            "1e9",
            "7u",
            "0xF",
            "{",
            "}",
            "`a-b`",
            "é",
            "🎉",
            "\\",
            "//",
            "\n",
            "type",
            "string",
            "int",
            "\u{0}",
        ][..],
    )
}

/// Mostly well typed, so that evaluation is reached.
fn expression() -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(
        &[
            "args.n",
            "args.text",
            "args.list",
            "args.missing",
            "args.wide",
            "args",
            "args.f",
            "env",
            "user",
            "agent.role",
            "cost.estimate_usd",
            "tool.labels",
            "now",
            "1",
            "0",
            "-3",
            "2.5",
            "'a'",
            "''",
            "null",
            "true",
            "false",
            "duration('1h')",
            "[1, 2]",
            "9223372036854775807",
            "b'x'",
        ][..],
    )
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let binary = proptest::sample::select(
            &["==", "!=", "<", ">=", "+", "-", "*", "/", "%", "&&", "||", "in"][..],
        );
        let unary = proptest::sample::select(
            &["size", "int", "string", "double", "uint", "bool", "bytes", "type", "host", "timestamp", "duration", "dyn"][..],
        );
        let loops = proptest::sample::select(&["all", "exists", "exists_one", "map", "filter"][..]);
        prop_oneof![
            4 => (inner.clone(), binary, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            1 => (unary, inner.clone()).prop_map(|(name, a)| format!("{name}({a})")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            1 => (inner.clone(), loops, inner.clone()).prop_map(|(a, name, b)| format!("{a}.{name}(x, x == {b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            1 => inner.clone().prop_map(|a| format!("!{a}")),
            1 => inner.clone().prop_map(|a| format!("-{a}")),
            1 => (inner.clone(), inner).prop_map(|(a, b)| format!("glob({a}, {b})")),
        ]
    })
}

fn check_any(source: &str) {
    match Condition::compile(source) {
        Ok(condition) => {
            let args: Value = serde_json::from_str(
                r#"{"n": 5, "text": "abc", "list": [1, "a", null], "wide": 1e400, "f": -0.5}"#,
            )
            .unwrap();
            let answer = condition.evaluate(&facts_with(args), "production");
            if let Err(error) = answer {
                assert!(!error.message.is_empty());
            }
        }
        Err(error) => {
            assert!(error.offset <= source.chars().count(), "{source}: {error:?}");
            let there: String =
                source.chars().skip(error.offset).take(error.offending.chars().count()).collect();
            assert_eq!(there, error.offending, "{source:?}");
            assert!(!error.message.is_empty() && !error.expected.is_empty());
        }
    }
}

/// Sources on which both parsers must agree, and on which our evaluator must agree with the
/// crate's own interpreter (it answers `None` where that one has no answer either).
const AGREED: &[(&str, Option<bool>)] = &[
    ("true || false && false", Some(true)),
    ("!true == false", Some(true)),
    ("!(true == true)", Some(false)),
    ("-args.n + 2 == -3", Some(true)),
    ("1 - 2 - 3 == -4", Some(true)),
    ("2 + 3 * 4 % 5 == 4", Some(true)),
    ("8 / 2 / 2 == 2", Some(true)),
    ("args.n == 5 ? args.text == 'abc' : args.missing", Some(true)),
    ("false ? true : false ? true : true", Some(true)),
    ("args.n in [1, 5] && !(args.n in [2])", Some(true)),
    ("'n' in args && !('m' in args)", Some(true)),
    ("args.n > 4 && args.n <= 5 || args.missing", Some(true)),
    ("args.missing || args.n == 5", Some(true)),
    ("args.missing && args.n == 5", None),
    ("args.missing && args.n == 6", Some(false)),
    ("args.numbers.all(x, x > 0)", Some(true)),
    ("args.numbers.exists(x, x == 3)", Some(true)),
    ("args.numbers.exists_one(x, x == 3)", Some(true)),
    ("args.numbers.map(x, x * 2) == [2, 4, 6]", Some(true)),
    ("args.numbers.map(x, x > 1, x * 2) == [4, 6]", Some(true)),
    ("args.numbers.filter(x, x > 1) == [2, 3]", Some(true)),
    ("args.numbers.filter(x, x > 1).all(x, x > 1)", Some(true)),
    ("args.numbers[0] == 1 && args['n'] == 5 && args.deep['a'].b == 'c'", Some(true)),
    ("args.numbers[7] == 1", None),
    ("has(args.deep.a) && !has(args.deep.z) && has(args.nothing)", Some(true)),
    ("size(args.text) == 3 && args.numbers.size() == 3 && size('äö') == 2", Some(true)),
    ("args.text.startsWith('a') && args.text.endsWith('c') && args.text.contains('b')", Some(true)),
    ("args.text.matches('^a.c$') && !args.text.matches('^b')", Some(true)),
    ("'a' + 'b' == 'ab' && [1] + [2] == [1, 2]", Some(true)),
    ("'a' < 'b' && 'B' < 'a'", Some(true)),
    ("r'\\d' == '\\\\d' && '\\u00e9' == 'é' && '\\x41' == 'A' && \"it's\" == 'it\\'s'", Some(true)),
    ("'''a'b''' == \"a'b\"", Some(true)),
    ("0x10 == 16 && 10u == uint(10) && 1.5e1 == 15.0", Some(true)),
    ("int('7') == 7 && string(7) == '7' && double('2.5') == 2.5 && int(7.9) == 7", Some(true)),
    ("type(args.text) == string && type(args.yes) == bool", Some(true)),
    ("timestamp('2026-11-20T10:00:00Z').getDayOfWeek() == 5", Some(true)),
    ("timestamp('2026-11-20T10:00:00Z').getMonth() == 10", Some(true)),
    ("timestamp('2026-11-20T10:00:00Z').getDate() == 20", Some(true)),
    ("timestamp('2026-11-20T10:00:00Z').getDayOfMonth() == 19", Some(true)),
    ("timestamp('2026-11-20T10:00:00Z').getDayOfYear() == 323", Some(true)),
    ("duration('1h30m') > duration('89m')", Some(true)),
    ("timestamp('2026-11-20T10:00:00Z') - timestamp('2026-11-20T09:00:00Z') == duration('1h')", Some(true)),
    ("7 / 0 == 1", None),
    ("7 % 0 == 1", None),
    ("// a comment\n args.n == 5", Some(true)),
    ("args.`n` == 5", Some(true)),
];

fn agreed_args() -> Value {
    json!({"n": 5, "text": "abc", "numbers": [1, 2, 3], "deep": {"a": {"b": "c"}}, "nothing": null, "yes": true})
}

#[test]
fn our_evaluator_gives_the_answers_of_cel() {
    for (source, expect) in AGREED {
        let condition = Condition::compile(source).unwrap_or_else(|error| unreachable!("{source}: {error}"));
        let got = condition.evaluate(&facts_with(agreed_args()), "production").ok();
        assert_eq!(got, *expect, "{source}");
    }
}

/// The crate's own parser builds the same tree from the same text, but it needs a large stack.
#[test]
fn both_parsers_and_the_crates_interpreter_agree() {
    let check = || {
        for (source, expect) in AGREED {
            let pratt = cel::parser::PrattParser::new().enable_ident_escape_syntax(true).parse(source);
            let antlr = cel::parser::Parser::new().enable_ident_escape_syntax(true).parse(source);
            let plain = |tree: &cel::common::ast::IdedExpr| without_ids(&format!("{:?}", tree.expr));
            assert_eq!(plain(&pratt.expect(source)), plain(&antlr.expect(source)), "{source}");
            if source.contains('`') {
                continue;
            }
            let program = cel::Program::compile(source).expect(source);
            let mut context = cel::Context::default();
            context.add_variable("args", interpreted(&agreed_args())).expect(source);
            let got = match program.execute(&context) {
                Ok(cel::Value::Bool(bool)) => Some(bool),
                _ => None,
            };
            assert_eq!(got, *expect, "{source}");
        }
    };
    std::thread::Builder::new().stack_size(64 << 20).spawn(check).unwrap().join().unwrap();
}

fn without_ids(tree: &str) -> String {
    let mut out = String::new();
    let mut rest = tree;
    while let Some((before, after)) = rest.split_once("id: ") {
        out.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out.push_str(rest);
    out
}

/// Whole numbers as CEL ints.
fn interpreted(json: &Value) -> cel::Value {
    match json {
        Value::Null => cel::Value::Null,
        Value::Bool(bool) => cel::Value::Bool(*bool),
        Value::Number(number) => cel::Value::Int(number.as_i64().unwrap()),
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(items) => cel::Value::List(Arc::new(items.iter().map(interpreted).collect())),
        Value::Object(map) => {
            let members = map.iter().map(|(key, value)| (key.clone(), interpreted(value)));
            cel::Value::from(members.collect::<std::collections::HashMap<String, cel::Value>>())
        }
    }
}
