use super::*;

#[test]
fn what_javascript_writes_is_read() {
    let check = |document: &[u8], expect: Option<&str>| {
        let mended = as_javascript(document);
        let read = mended.as_deref().and_then(|mended| parse(mended).ok());
        assert_eq!(read.as_ref().map(Value::to_string).as_deref(), expect, "{document:?}");
        assert_eq!(mended.and_then(|mended| as_javascript(&mended)), None, "mended once and for all");
    };
    check(br#"{"a":"x\ud83d"}"#, Some("{\"a\":\"x\u{fffd}\"}"));
    check(br#""\udc00\uD83D\uDE00\ud83d\ud83d""#, Some("\"\u{fffd}\u{1f600}\u{fffd}\u{fffd}\""));
    check(br#"{"\ud800":"\ud800\n"}"#, Some("{\"\u{fffd}\":\"\u{fffd}\\n\"}"));
    check(b"[\"\xff\"]", Some("[\"\u{fffd}\"]"));
    // A backslash that is escaped begins no surrogate.
    check(br#"["\\ud83d"]"#, None);
    check(br#"["\uD83D\uDE00", "\u00e4"]"#, None);
    check(br#"{"a":"\ud83"#, None);
    check(br#"\ud83d"#, None);
    assert_eq!(without_mark(b"\xef\xbb\xbf{}"), b"{}");
    assert_eq!(without_mark(b"{}"), b"{}");
}

fn canonical_text(input: &str) -> String {
    let mut out = Vec::new();
    canonical(&parse(input.as_bytes()).unwrap(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn strict_reading_refuses_what_two_readers_could_read_differently() {
    let refuse = |input: &str, word: &str| {
        let error = parse(input.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(word), "{input}: {error}");
    };
    refuse(r#"{"a":1,"a":2}"#, "duplicate key `a`");
    refuse(r#"{"x":{"a":1,"a":2}}"#, "duplicate key `a`");
    refuse("{} {}", "trailing");
    refuse(&"[".repeat(10_000), "nested deeper");
    refuse("{\"a\":\u{0}}", "expected value");
    assert_eq!(
        parse(b"123456789012345678901234567890").unwrap().to_string(),
        "123456789012345678901234567890"
    );
    assert_eq!(
        parse(br#"{"b":1,"a":[1.50,null,true,"x"]}"#).unwrap().to_string(),
        r#"{"b":1,"a":[1.50,null,true,"x"]}"#
    );
}

#[test]
fn members_are_read_as_strictly_as_whole_documents() {
    let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    let at_the_limit = format!(r#"{{"x":{}1{}}}"#, "[".repeat(MAX_DEPTH - 1), "]".repeat(MAX_DEPTH - 1));
    let documents = [
        r#"{"a":1,"b":"two","x":[{"y":1.50}]}"#,
        r#"{"b":null}"#,
        r#"{"\u0061":1}"#,
        "{}",
        "[1,{\"a\":2}]",
        "7",
        "-7",
        "1e3",
        "12345678901234567890.5",
        "\"text\"",
        "null",
        "true",
        &at_the_limit,
        &deep,
        r#"{"a":1,"a":2}"#,
        r#"{"x":1,"y":2,"x":3}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"x":{"y":1,"y":2}}"#,
        r#"{"a":{"y":1,"y":2}}"#,
        r#"{"a":1} 2"#,
        r#"{"a":1"#,
        r#"{"x":}"#,
        "",
        "nonsense",
    ];
    for text in documents {
        let members = parse_members(text.as_bytes(), &["a", "b"]);
        match parse(text.as_bytes()) {
            Ok(Value::Object(mut whole)) => {
                let Ok(Root::Object(members)) = members else { panic!("{text}: {members:?}") };
                assert_eq!(members, ["a", "b"].map(|name| whole.swap_remove(name)), "{text}");
            }
            Ok(whole) => {
                let Ok(Root::Other(other)) = members else { panic!("{text}: {members:?}") };
                assert_eq!(other, whole);
            }
            Err(error) => assert_eq!(members.unwrap_err().to_string(), error.to_string(), "{text}"),
        }
    }
}

/// Vectors of RFC 8785, appendix B and section 3.2.3.
#[test]
fn canonical_form_follows_rfc_8785() {
    let check = |input: &str, expect: &str| assert_eq!(canonical_text(input), expect, "{input}");
    check("333333333.3333333", "333333333.3333333");
    check("1E30", "1e+30");
    check("4.50", "4.5");
    check("2e-3", "0.002");
    check("0.000000000000000000000000001", "1e-27");
    check("-0", "0");
    check("-0.0", "0");
    check("9007199254740992", "9007199254740992");
    check("1e21", "1e+21");
    check("123456789012345680000", "123456789012345680000");
    check("5e-324", "5e-324");
    check("0.000001", "0.000001");
    check("1e-7", "1e-7");
    check(
        "{\"b\":1,\"a\":\"\\u20ac$\\u000f\\nA'\\u0042\\u0022\\\\\\/\"}",
        "{\"a\":\"€$\\u000f\\nA'B\\\"\\\\/\",\"b\":1}",
    );
    check("{\"\\ufb33\":1,\"\\ud83d\\ude00\":2,\"\\u20ac\":3}", "{\"€\":3,\"😀\":2,\"\u{fb33}\":1}");
}

#[test]
fn numbers_that_a_double_cannot_hold_keep_their_digits() {
    assert_ne!(canonical_text("9007199254740993"), canonical_text("9007199254740992"));
    assert_ne!(canonical_text("1e400"), canonical_text("1e401"));
    assert_eq!(canonical_text("10e399"), canonical_text("1e400"));
    assert_eq!(canonical_text("9007199254740993"), canonical_text("9007199254740993.0"));
    // Here RFC 8785 rounds to the nearest double; an upstream that reads decimals would see another number.
    assert_ne!(canonical_text("333333333.33333329"), canonical_text("333333333.3333333"));
}

/// serde_json reads objects with names of its own as something else; nobody can make us read one thing twice
/// differently.
#[test]
fn names_of_the_library_are_not_taken() {
    let number = "$serde_json::private::Number";
    let raw = "$serde_json::private::RawValue";
    for name in [number, raw] {
        for value in ["1", "\"1\"", "\"{}\"", "\"{\"", "null", "[1]"] {
            for text in [
                format!("{{\"{name}\":{value}}}"),
                format!("{{\"a\":1,\"{name}\":{value}}}"),
                format!("{{\"{name}\":{value},\"b\":2}}"),
                format!("{{\"x\":[{{\"y\":{{\"{name}\":{value}}}}}]}}"),
            ] {
                assert!(parse(text.as_bytes()).is_err(), "{text}");
                assert!(parse_members(text.as_bytes(), &["x"]).is_err(), "{text}");
                assert!(foreign(&mut serde_json::Deserializer::from_str(&text)).is_err(), "{text}");
            }
        }
    }
    // What is recorded all the same is read as it stands there.
    let text = format!("{{\"a\":{{\"{raw}\":\"{{\"}},\"n\":12345678901234567890123}}");
    let read = parse_inner(text.as_bytes()).unwrap();
    assert_eq!(read["a"][raw], "{");
    let mut again = Vec::new();
    text::value(&mut again, &read);
    assert_eq!(String::from_utf8(again).unwrap(), text);
}

#[test]
fn foreign_messages_are_read_like_everybody_reads_them() {
    let read = |text: &str| foreign(&mut serde_json::Deserializer::from_str(text));
    assert_eq!(read(r#"{"a":1,"b":{"c":1,"c":2},"a":3}"#).unwrap(), serde_json::json!({"a":3,"b":{"c":2}}));
    assert!(read(&format!("{}1{}", "[".repeat(100), "]".repeat(100))).is_ok());
    assert!(read(&format!("{}1{}", "[".repeat(2_000), "]".repeat(2_000))).is_err());
}
