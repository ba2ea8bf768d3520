use super::*;
use crate::model::Glob;

fn table() -> PriceTable {
    let price = |input: i64, output: i64, encoding, multiplier_milli| ModelPrice {
        input_usd_per_mtok: MicroUsd(input),
        output_usd_per_mtok: MicroUsd(output),
        encoding,
        multiplier_milli,
    };
    PriceTable {
        models: [
            (Arc::from("gpt-4o"), price(2_500_000, 10_000_000, Encoding::O200kBase, 1_000)),
            (Arc::from("old"), price(30_000_000, 60_000, Encoding::Cl100kBase, 1_000)),
            (Arc::from("closed"), price(1, 1, Encoding::O200kBase, 1_250)),
            (Arc::from("refund"), price(-5_000_000, -5_000_000, Encoding::O200kBase, 1_000)),
        ]
        .into(),
        tools: vec![
            (Glob::parse("search__*").unwrap(), ToolPrice::flat(MicroUsd(5_000))),
            (Glob::parse("search__deep").unwrap(), ToolPrice::flat(MicroUsd(9))),
            (Glob::parse("odd").unwrap(), ToolPrice::flat(MicroUsd(-4))),
        ],
        ..PriceTable::default()
    }
}

/// R35: argument tokens × output price + result tokens × input price + the tool's own price,
/// rounded up once.
#[test]
fn estimates_are_exact() {
    let check = |model: Option<&str>, arguments: u64, result: u64, tool: i64, expect: i64| {
        let estimate = table().estimate(model, arguments, result, MicroUsd(tool));
        assert_eq!(estimate.cost, MicroUsd(expect), "{model:?} {arguments} {result} {tool}");
        assert_eq!((estimate.argument_tokens, estimate.result_tokens), (arguments, result));
        assert_eq!(table().settle(model, arguments, result, MicroUsd(tool)), estimate.cost);
    };
    check(Some("gpt-4o"), 0, 0, 0, 0);
    check(Some("gpt-4o"), 100, 200, 0, 1_500);
    check(Some("gpt-4o"), 100, 200, 250_000, 251_500);
    check(Some("gpt-4o"), 0, 1, 0, 3);
    check(Some("gpt-4o"), 1, 1, 0, 13);
    check(Some("gpt-4o"), 0, 3, 0, 8);
    check(Some("closed"), 1, 1, 0, 1);
    check(Some("closed"), 1_000_000, 1, 0, 2);
    check(Some("gpt-4o-2024-08-06"), 100, 200, 0, 1_500);
    check(Some("gpt-4o-20240806"), 100, 200, 0, 1_500);
    check(Some("gpt-4o-latest"), 100, 200, 0, 1_500);
    // Another model of the family is not the model: the dearest of each figure.
    check(Some("gpt-4o-audio"), 100, 200, 0, 1_000 + 6_000);
    check(Some("unheard-of"), 1, 0, 0, 10);
    check(None, 100_000, 100_000, 7, 7);
    check(Some("refund"), 100, 100, -5, 0);
    check(Some("gpt-4o"), u64::MAX, u64::MAX, i64::MAX, i64::MAX);
    check(Some("gpt-4o"), u64::MAX, 0, 0, i64::MAX);
    assert_eq!(PriceTable::default().settle(Some("any"), 100, 100, MicroUsd(1)), MicroUsd(1));
}

#[test]
fn a_model_is_found_by_name_or_not_at_all() {
    let table = table();
    assert!(matches!(table.model(Some("gpt-4o")), ModelMatch::Priced(_)));
    assert!(matches!(table.model(Some("x")), ModelMatch::Unpriced(Some(_))));
    assert!(matches!(table.model(None), ModelMatch::NoModel));
    assert!(matches!(PriceTable::default().model(Some("x")), ModelMatch::Unpriced(None)));
    let tokenizer = table.tokenizer(Some("x"));
    assert_eq!((tokenizer.encoding, tokenizer.multiplier_milli), (Encoding::Cl100kBase, 1_250));
    assert_eq!(table.tokenizer(Some("closed")).multiplier_milli, 1_250);
    assert_eq!(table.tokenizer(None).encoding, Encoding::O200kBase);
    // Looked up before, a name is found as it is found later; one that is not listed stays so.
    let mut known = table.clone();
    let names: [Arc<str>; 3] = ["openai/gpt-4o-2024-08-06".into(), "gpt-4o".into(), "x".into()];
    known.know(names.iter());
    assert_eq!(known.known.keys().map(|name| &**name).collect::<Vec<_>>(), ["openai/gpt-4o-2024-08-06", "x"]);
    for name in &names {
        assert_eq!(known.model(Some(name)), table.model(Some(name)), "{name}");
    }
    // What is said of models that are not listed counts, and not what the dearest of them costs.
    let built_in = PriceTable::built_in();
    let ModelMatch::Unpriced(Some(unlisted)) = built_in.model(Some("acme-9")) else { unreachable!() };
    assert_eq!(unlisted.output_usd_per_mtok, MicroUsd(600_000_000));
    assert!(PriceTable::source().0.starts_with("20") && !PriceTable::source().1.is_empty());
}

#[test]
fn a_tool_costs_what_the_bundle_says_else_what_servers_toml_says() {
    let check = |name: &str, configured: i64, expect: i64| {
        let configured = ToolPrice::flat(MicroUsd(configured));
        let price = table().tool_price(name, Some(&configured), &Value::Null);
        assert_eq!(price, Ok(MicroUsd(expect)), "{name}");
    };
    check("search__web", 1, 5_000);
    check("search__deep", 1, 5_000);
    check("files__read", 1, 1);
    check("files__read", -1, 0);
    check("odd", 3, 0);
}

/// What a bundle's own table lacks is found in the built-in one, and what neither has costs no less than the dearest of both.
#[test]
fn a_model_that_the_bundle_lacks_is_looked_up_in_the_built_in_table() {
    let dear = ModelPrice {
        input_usd_per_mtok: MicroUsd(1_000_000_000),
        output_usd_per_mtok: MicroUsd(1),
        encoding: Encoding::O200kBase,
        multiplier_milli: 3_000,
    };
    let mut table =
        PriceTable::own([(Arc::from("house"), dear.clone()), (Arc::from("gpt-4o"), dear.clone())].into());
    let built_in = PriceTable::built_in();
    for known in [false, true] {
        if known {
            let names: [Arc<str>; 4] =
                ["house".into(), "o3".into(), "gpt-4o-2024-08-06".into(), "acme-9".into()];
            table.know(names.iter());
        }
        assert_eq!(table.model(Some("house")), ModelMatch::Priced(&dear));
        // The bundle's word goes before the built-in table's, under every spelling.
        assert_eq!(table.model(Some("gpt-4o-2024-08-06")), ModelMatch::Priced(&dear));
        assert_eq!(table.model(Some("o3")), built_in.model(Some("o3")));
        assert_eq!(table.model(Some("openai/o3")), built_in.model(Some("o3")));
        let ModelMatch::Unpriced(Some(unlisted)) = table.model(Some("acme-9")) else { unreachable!() };
        for price in table.models.values().chain(built_in.models.values()) {
            assert!(unlisted.input_usd_per_mtok >= price.input_usd_per_mtok);
            assert!(unlisted.output_usd_per_mtok >= price.output_usd_per_mtok);
            assert!(unlisted.multiplier_milli >= price.multiplier_milli);
            assert!(unlisted.encoding >= price.encoding);
        }
    }
    let told: Vec<&str> = table.not_of_the_bundle().map(|(name, _)| &**name).collect();
    assert_eq!(told, ["acme-9", "o3"]);
}

/// What may be reserved begins with the least, and what it costs is no less than the real cost of as many tokens.
#[test]
fn what_is_elastic_covers_what_it_costs() {
    let table = table();
    for model in [Some("gpt-4o"), Some("closed"), Some("unheard-of"), None] {
        let elastic = table.elastic(model, 40, 3, MicroUsd(7));
        assert_eq!((elastic.least_tokens, elastic.most_tokens), (40 + 128, 40 + 128));
        let elastic = table.elastic(model, 40, 5_000, MicroUsd(7));
        assert_eq!(elastic.most_tokens, 5_040);
        assert_eq!(elastic.least_cost, table.settle(model, 40, LEAST_RESULT_TOKENS, MicroUsd(7)));
        for more in [0, 1, 3, 999, 4_872] {
            let reserved = elastic.least_cost.0 + (more * elastic.usd_per_mtok.0 + 999_999) / 1_000_000;
            let real = table.settle(model, 40, LEAST_RESULT_TOKENS + more.unsigned_abs(), MicroUsd(7));
            assert!(reserved >= real.0, "{model:?} {more}");
        }
    }
}
