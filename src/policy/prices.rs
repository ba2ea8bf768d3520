//! prices.yaml, and the table that stands in where there is none.

use super::{
    names::Scope,
    read::{entries, fields, glob_text, mismatch, money, word},
    source::{Kind, Node, Report},
};
use crate::{
    cost::{Encoding, ModelPrice, PriceTable},
    model::MicroUsd,
};
use std::{collections::BTreeMap, sync::Arc};

/// USD per million tokens, input and output, in micro-USD; encoding; multiplier in thousandths. Public
/// list prices; where a model's tokenizer is not public, counts are those of the nearest one, stretched.
const BUILT_IN: &[(&str, i64, i64, Encoding, u32)] = &[
    ("claude-3-5-haiku", 800_000, 4_000_000, Encoding::Cl100kBase, 1_200),
    ("claude-haiku-4-5", 1_000_000, 5_000_000, Encoding::Cl100kBase, 1_200),
    ("claude-opus-4", 15_000_000, 75_000_000, Encoding::Cl100kBase, 1_200),
    ("claude-opus-4-1", 15_000_000, 75_000_000, Encoding::Cl100kBase, 1_200),
    ("claude-opus-4-5", 5_000_000, 25_000_000, Encoding::Cl100kBase, 1_200),
    ("claude-sonnet-4", 3_000_000, 15_000_000, Encoding::Cl100kBase, 1_200),
    ("claude-sonnet-4-5", 3_000_000, 15_000_000, Encoding::Cl100kBase, 1_200),
    ("gemini-2.5-flash", 300_000, 2_500_000, Encoding::O200kBase, 1_200),
    ("gemini-2.5-pro", 1_250_000, 10_000_000, Encoding::O200kBase, 1_200),
    ("gpt-4.1", 2_000_000, 8_000_000, Encoding::O200kBase, 1_000),
    ("gpt-4.1-mini", 400_000, 1_600_000, Encoding::O200kBase, 1_000),
    ("gpt-4.1-nano", 100_000, 400_000, Encoding::O200kBase, 1_000),
    ("gpt-4o", 2_500_000, 10_000_000, Encoding::O200kBase, 1_000),
    ("gpt-4o-mini", 150_000, 600_000, Encoding::O200kBase, 1_000),
    ("gpt-4-turbo", 10_000_000, 30_000_000, Encoding::Cl100kBase, 1_000),
    ("gpt-5", 1_250_000, 10_000_000, Encoding::O200kBase, 1_000),
    ("gpt-5-mini", 250_000, 2_000_000, Encoding::O200kBase, 1_000),
    ("gpt-5-nano", 50_000, 400_000, Encoding::O200kBase, 1_000),
    ("o3", 2_000_000, 8_000_000, Encoding::O200kBase, 1_000),
    ("o3-mini", 1_100_000, 4_400_000, Encoding::O200kBase, 1_000),
    ("o4-mini", 1_100_000, 4_400_000, Encoding::O200kBase, 1_000),
];

/// What counts where prices.yaml is absent, or has no `models`.
pub fn built_in_prices() -> PriceTable {
    PriceTable { models: built_in_models(), tools: Vec::new() }
}

fn built_in_models() -> BTreeMap<Arc<str>, ModelPrice> {
    let model = |(name, input, output, encoding, multiplier_milli): &(&str, i64, i64, Encoding, u32)| {
        let price = ModelPrice {
            input_usd_per_mtok: MicroUsd(*input),
            output_usd_per_mtok: MicroUsd(*output),
            encoding: *encoding,
            multiplier_milli: *multiplier_milli,
        };
        (Arc::from(*name), price)
    };
    BUILT_IN.iter().map(model).collect()
}

/// Reads `models` and `tools`.
pub(super) fn read(root: &Node, scope: Scope<'_>, report: &mut Report<'_>) -> PriceTable {
    let mut table = built_in_prices();
    if matches!(root.kind, Kind::Null) {
        return table;
    }
    let Some(map) = fields(root, "prices.yaml", &["models", "tools"], report) else { return table };
    if let Some(models) = map.get("models").and_then(|node| entries(node, "models", report)) {
        table.models.clear();
        for entry in models {
            let price = model(&entry.value, &entry.key, report);
            table.models.extend(price.map(|price| (Arc::from(entry.key.as_str()), price)));
        }
    }
    for entry in map.get("tools").and_then(|node| entries(node, "tools", report)).unwrap_or(&[]) {
        let glob = glob_text(&entry.key, entry.at, report);
        if let Some(glob) = &glob {
            scope.known_glob(glob, entry.at, "tool", report);
        }
        table.tools.extend(glob.zip(money(&entry.value, &entry.key, report)));
    }
    table
}

const MODEL_KEYS: &[&str] = &["input_usd_per_mtok", "output_usd_per_mtok", "encoding", "multiplier"];

fn model(node: &Node, name: &str, report: &mut Report<'_>) -> Option<ModelPrice> {
    let map = fields(node, name, MODEL_KEYS, report)?;
    let price = |key: &str, report: &mut Report<'_>| {
        map.required(key, "USD per million tokens", report).and_then(|node| money(node, key, report))
    };
    let input_usd_per_mtok = price("input_usd_per_mtok", report);
    let output_usd_per_mtok = price("output_usd_per_mtok", report);
    let encoding = map.read("encoding", report, word(&Encoding::NAMED)).unwrap_or(Encoding::O200kBase);
    let multiplier_milli = map.read("multiplier", report, multiplier).unwrap_or(1_000);
    Some(ModelPrice {
        input_usd_per_mtok: input_usd_per_mtok?,
        output_usd_per_mtok: output_usd_per_mtok?,
        encoding,
        multiplier_milli,
    })
}

/// A factor with at most three decimals, held in thousandths.
fn multiplier(node: &Node, key: &str, report: &mut Report<'_>) -> Option<u32> {
    let read = match &node.kind {
        Kind::Number(text) => MicroUsd::parse(text).ok().filter(|m| m.0 % 1_000 == 0).map(|m| m.0 / 1_000),
        Kind::Null | Kind::Bool(_) | Kind::Text(_) | Kind::List(_) | Kind::Map(_) => None,
    };
    match read.and_then(|milli| u32::try_from(milli).ok()).filter(|milli| (100..=10_000).contains(milli)) {
        Some(milli) => Some(milli),
        None => {
            mismatch(node, key, "a number from 0.1 to 10 with at most three decimals", report);
            None
        }
    }
}
