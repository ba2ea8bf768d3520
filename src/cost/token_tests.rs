use super::*;
use proptest::prelude::*;
use serde_json::json;

const BOTH: [Encoding; 2] = [Encoding::O200kBase, Encoding::Cl100kBase];

#[test]
fn counts_are_those_of_the_published_encodings() {
    let counter = TokenCounter::load();
    let check = |text: &str, o200k: u64, cl100k: u64| {
        assert_eq!(counter.count(Encoding::O200kBase, text), o200k, "o200k {text:?}");
        assert_eq!(counter.count(Encoding::Cl100kBase, text), cl100k, "cl100k {text:?}");
    };
    check("", 0, 0);
    check("hello world", 2, 2);
    check("tiktoken is great!", 6, 6);
    check("2 + 2 = 4", 7, 7);
    // A special token from outside is plain text.
    assert!(counter.count(Encoding::O200kBase, "<|endoftext|>") > 1);
    assert!(counter.count(Encoding::Cl100kBase, "<|endoftext|>") > 1);
}

/// The fast tokenizer and the reference must never differ: budgets hang on it.
#[test]
fn both_tokenizers_agree_on_fuzzed_text() {
    let (fast, reference) = (TokenCounter::load(), TokenCounter::with(Engine::Reference));
    for encoding in BOTH {
        assert!(matches!(fast.table(encoding), Table::Fast(_)));
        assert!(matches!(reference.table(encoding), Table::Reference(_)));
    }
    let text = prop_oneof![
        "\\PC{0,200}",
        "[ \\t\\r\\n]{0,80}",
        "[a-zA-Z0-9 ,.'\"{}\\[\\]:_-]{0,300}",
        "(I'LL|we've|DON'T| |\\n|[0-9]{1,9}|[A-Z][a-z]+){0,60}",
        "[\u{3040}-\u{30ff}\u{4e00}-\u{4fff}\u{1f600}-\u{1f64f}\u{0600}-\u{06ff}]{0,80}",
        proptest::collection::vec(any::<char>(), 0..80).prop_map(|chars| chars.into_iter().collect()),
    ];
    proptest!(ProptestConfig::with_cases(1_500), |(text in text)| {
        for encoding in BOTH {
            let count = fast.count(encoding, &text);
            prop_assert_eq!(count, reference.count(encoding, &text));
            prop_assert!(count <= TokenCounter::bound(&text));
        }
    });
}

#[test]
fn a_value_counts_as_its_compact_text() {
    let counter = TokenCounter::load();
    let long = "a word, another – and \u{1f980}\n".repeat(2_000);
    for value in [
        json!(null),
        json!({}),
        json!({"path": "/srv/docs/a.md", "n": [1, 2.5, true]}),
        json!({"text": long, "more": [long, {"deep": "x".repeat(4_095)}]}),
        json!("é".repeat(9_000)),
        json!("\u{1f980}".repeat(5_000)),
        json!(vec![1; 6_000]),
    ] {
        for encoding in BOTH {
            let text = value.to_string();
            assert_eq!(counter.count_value(encoding, &value), counter.count(encoding, &text));
        }
    }
}

/// Input that costs other counters quadratic time or a panic.
#[test]
fn hostile_text_is_counted() {
    for engine in [Engine::Fast, Engine::Reference] {
        let counter = TokenCounter::with(engine);
        for piece in [" ", "\t", "\n", "a", "0", "é", "{", "\u{1f980}", "ab ", "\u{300}"] {
            let size = if engine == Engine::Fast { 1 << 20 } else { 1 << 16 };
            let text = piece.repeat(size / piece.len());
            let count = counter.count(Encoding::O200kBase, &text);
            assert!(count > 0 && count <= TokenCounter::bound(&text), "{piece:?}");
        }
    }
}

/// What chunks cost: long text counts a little high, and not low.
#[test]
fn chunks_overcount_by_next_to_nothing() {
    let counter = TokenCounter::load();
    let text = "The gateway counts what an agent says, and what a tool answers. ".repeat(4_000);
    let Table::Fast(whole) = counter.table(Encoding::O200kBase) else { panic!("no fast table") };
    let (whole, chunked) = (whole.count(&text) as u64, counter.count(Encoding::O200kBase, &text));
    assert!(chunked >= whole && (chunked - whole) * 1_000 <= whole, "{whole} {chunked}");
}

#[test]
fn multipliers_round_up_and_saturate() {
    let check = |tokens: u64, milli: u32, expect: u64| assert_eq!(multiply(tokens, milli), expect);
    check(0, 1_250, 0);
    check(1, 1_250, 2);
    check(4, 1_250, 5);
    check(7, 1_000, 7);
    check(7, 0, 0);
    check(u64::MAX, 1_001, u64::MAX);
    let closed = Tokenizer { encoding: Encoding::O200kBase, multiplier_milli: 1_250 };
    assert_eq!(TokenCounter::load().count_for(closed, "hello world"), 3);
    assert_eq!(TokenCounter::load().count_value_for(closed, &json!({})), 2);
}

/// Text that is odd in every way that comes to mind: both engines count the same.
fn odd_texts() -> Vec<String> {
    let rust =
        "fn main() {\n\tlet x: Vec<u8> = vec![0x1F; 3];\r\n    println!(\"{x:?} {}\", 1_000.5e-3);\n}\n";
    let python =
        "def f(a, *, b=None):\n    return {**a, 'b': b} if not b else [i for i in range(10) if i % 2]\n";
    let json = r#"{"a":[1,-2.5e10,true,null,"\u00e9\n"],"path":"C:\\x\\y","deep":{"deeper":[[[[]]]]}}"#;
    let mut texts: Vec<String> = [
        rust,
        python,
        json,
        "https://example.com/a%20b?c=d&e=%F0%9F%A6%80#frag",
        "IT'S we'Ve I'LL don't DON'T ’s ‘quoted’ “text”",
        "naïve café e\u{301}\u{301}\u{301} Ångström ﬁ ½ Ⅷ ①",
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466}\u{1f3fd}\u{1f1e9}\u{1f1ea}",
        "日本語のテキスト、中文文本，한국어 텍스트 ไทย हिन्दी العربية עברית",
        "\u{202e}backwards\u{202c} zero\u{200b}width \u{feff}mark \u{0}\u{1}\u{7f}\u{85}\u{a0}\u{2028}\u{3000}",
        "<|endoftext|><|im_start|>user<|im_sep|><|fim_prefix|><|constrain|>",
        "1234567890123456789012345678901234567890 0x7fffffffffffffff 3.14159265358979",
        "   \t\t\r\n\n\n   \u{2003} x   \n",
        "SGVsbG8sIHdvcmxkIQ== deadbeefcafebabe 550e8400-e29b-41d4-a716-446655440000",
    ]
    .map(str::to_owned)
    .into();
    for piece in
        [" ", "\n", "\t", "a", "A", "0", "é", "字", "\u{1f980}", "-=", "\u{301}", "{\"", "ab ", " \n"]
    {
        texts.push(piece.repeat(3_000));
    }
    texts
}

#[test]
fn both_engines_agree_on_odd_text() {
    let (fast, reference) = (TokenCounter::load(), TokenCounter::reference());
    for encoding in [Encoding::O200kBase, Encoding::O200kHarmony, Encoding::Cl100kBase] {
        assert!(matches!(fast.table(encoding), Table::Fast(_)), "{encoding:?}");
        for text in odd_texts() {
            let shown: String = text.chars().take(40).collect();
            assert_eq!(
                fast.count(encoding, &text),
                reference.count(encoding, &text),
                "{encoding:?} {shown:?}"
            );
        }
    }
}

/// What the fast engine does not have is counted all the same, and text from outside makes no special token.
#[test]
fn every_encoding_has_an_engine() {
    let counter = TokenCounter::load();
    let check = |encoding: Encoding, text: &str, expect: u64| {
        assert_eq!(counter.count(encoding, text), expect, "{encoding:?} {text:?}");
    };
    for encoding in [Encoding::P50kBase, Encoding::R50kBase] {
        assert!(matches!(counter.table(encoding), Table::Reference(_)), "{encoding:?}");
        check(encoding, "hello world", 2);
        check(encoding, "2 + 2 = 4", 5);
        check(encoding, "antidisestablishmentarianism", 5);
        check(encoding, "お誕生日おめでとう", 14);
    }
    for (name, encoding) in Encoding::NAMED {
        assert_eq!(encoding.as_str(), name);
        assert!(counter.count(encoding, "<|endoftext|>") > 1, "{name}");
        for text in odd_texts() {
            let count = counter.count(encoding, &text);
            assert!(count > 0 && count <= TokenCounter::bound(&text), "{name}");
        }
    }
    // Runs of spaces are what the two older ones differ in.
    assert!(
        counter.count(Encoding::R50kBase, "x        y") > counter.count(Encoding::P50kBase, "x        y")
    );
}
