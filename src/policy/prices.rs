//! prices.yaml, and the table that stands in where there is none.

use super::{
    names::Scope,
    read::{count, entries, fields, glob_text, list_of, mismatch, money, pointer, word},
    source::{Kind, Node, Report},
};
use crate::{
    cost::{Encoding, ModelPrice, PricePart, PriceTable, PriceUnit, ToolPrice},
    model::MicroUsd,
};
use std::sync::Arc;

/// Reads `models` and `tools`.
pub(super) fn read(root: &Node, scope: Scope<'_>, report: &mut Report<'_>) -> PriceTable {
    let mut table = PriceTable::built_in();
    if matches!(root.kind, Kind::Null) {
        return table;
    }
    let Some(map) = fields(root, "prices.yaml", &["models", "tools"], report) else { return table };
    if let Some(models) = map.get("models").and_then(|node| entries(node, "models", report)) {
        table.models.clear();
        table.unlisted = None;
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
        table.tools.extend(glob.zip(tool_price(&entry.value, &entry.key, report)));
    }
    table
}

const PRICE_KEYS: &[&str] = &["base_usd", "per", "max_usd"];
const PART_KEYS: &[&str] = &["argument", "unit", "each", "usd", "default"];

/// The price of one call of a tool: an amount, or a formula over its arguments.
pub fn tool_price(node: &Node, key: &str, report: &mut Report<'_>) -> Option<ToolPrice> {
    if !matches!(node.kind, Kind::Map(_)) {
        let expected = "an amount in USD like 0.25, or { base_usd, per: [{ argument, unit, each, usd, default }], max_usd }";
        if !matches!(node.kind, Kind::Number(_)) {
            mismatch(node, key, expected, report);
            return None;
        }
        return money(node, key, report).map(ToolPrice::flat);
    }
    let map = fields(node, key, PRICE_KEYS, report)?;
    let base = map.read("base_usd", report, money);
    let max = map.read("max_usd", report, money);
    let per = map.read("per", report, |node, key, report| list_of(node, key, report, price_part));
    if map.lacks("base_usd") && map.lacks("per") {
        report.error(map.at, "the price has neither an amount nor a formula", "`base_usd`, `per`, or both");
    }
    if let (Some(entry), Some(base), Some(max)) = (map.entry("max_usd"), base, max)
        && base > max
    {
        report.error(entry.at, "`max_usd` is less than `base_usd`", "the most that a call costs");
    }
    Some(ToolPrice { base: base.unwrap_or_default(), per: per.unwrap_or_default(), max })
}

fn price_part(node: &Node, key: &str, report: &mut Report<'_>) -> Option<PricePart> {
    let map = fields(node, key, PART_KEYS, report)?;
    let argument = map
        .required("argument", "a JSON pointer to what is counted, like /rows", report)
        .and_then(|node| match node.as_text() {
            Some(text) => pointer(text, node.start, false, report),
            None => {
                mismatch(node, "argument", "a JSON pointer like /rows", report);
                None
            }
        });
    let price = map
        .required("usd", "what each unit costs, in USD", report)
        .and_then(|node| money(node, "usd", report));
    let (unit, size) = map.read("unit", report, word(&PriceUnit::NAMED)).unwrap_or((PriceUnit::Number, 1));
    let each = map.read("each", report, count(1, 1_000_000_000)).unwrap_or(1);
    let default = map.read("default", report, count(0, 1_000_000_000_000));
    Some(PricePart { argument: argument?, unit, each: each.saturating_mul(size), price: price?, default })
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
