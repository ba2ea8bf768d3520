//! prices.yaml, and the table that stands in where there is none.

use super::{
    names::{Scope, did_you_mean},
    read::{count, entries, fields, glob_text, list_of, mismatch, money, short, whole_pointer, word},
    source::{Kind, Node, Report},
};
use crate::{
    cost::{Encoding, ModelPrice, PricePart, PriceTable, PriceUnit, ToolPrice},
    model::{Glob, MicroUsd},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Reads `models` and `tools`.
pub(super) fn read(root: &Node, scope: Scope<'_>, report: &mut Report<'_>) -> PriceTable {
    let mut table = PriceTable::built_in();
    if matches!(root.kind, Kind::Null) {
        return table;
    }
    let Some(map) = fields(root, "prices.yaml", &["models", "tools"], report) else { return table };
    if let Some(models) = map.get("models").and_then(|node| entries(node, "models", report)) {
        let mut own = BTreeMap::new();
        for entry in models {
            let price = model(&entry.value, &entry.key, report);
            own.extend(price.map(|price| (Arc::from(entry.key.as_str()), price)));
        }
        table = PriceTable::own(own);
    }
    for entry in map.get("tools").and_then(|node| entries(node, "tools", report)).unwrap_or(&[]) {
        let glob = glob_text(&entry.key, entry.at, report);
        if let Some(glob) = &glob {
            scope.known_glob(glob, entry.at, "tool", report);
            known_arguments(glob, &entry.value, scope, report);
        }
        table.tools.extend(glob.zip(tool_price(&entry.value, &entry.key, report)));
    }
    table
}

/// Lints what a formula counts that a tool does not take, as far as it is known what the tools take that the glob matches.
fn known_arguments(glob: &Glob, price: &Node, scope: Scope<'_>, report: &mut Report<'_>) {
    let tools: Vec<_> = scope.known.arguments.iter().filter(|(tool, _)| glob.matches(tool)).collect();
    for part in counted_arguments(price) {
        let Some(first) = part.as_text().and_then(first_member) else { continue };
        let mut without = tools.iter().filter(|(_, arguments)| !arguments.contains(&first));
        let Some((tool, arguments)) = without.next() else { continue };
        report.doubt(
            part.start,
            no_argument(tool, &first, arguments, without.count()),
            "a pointer to an argument of the tool",
        );
    }
}

/// What a price's formula counts, as it is written: the pointers of its parts.
pub fn counted_arguments(price: &Node) -> impl Iterator<Item = &Node> {
    let parts = price.get("per").map(Node::items).unwrap_or_default();
    parts.iter().filter_map(|part| part.get("argument"))
}

/// The sentence about a formula that counts what a tool does not take; `more` tools do not take it either.
pub fn no_argument(tool: &str, argument: &str, takes: &BTreeSet<String>, more: usize) -> String {
    let near = did_you_mean(argument, takes.iter().map(String::as_str));
    let more = match more {
        0 => String::new(),
        1 => " (nor does another that this prices)".to_owned(),
        more => format!(" (nor do {more} others that this prices)"),
    };
    format!(
        "tool `{}` takes no argument `{}`{more}{near}: its price cannot be told",
        short(tool),
        short(argument)
    )
}

/// The member of the arguments in which a pointer lies.
pub fn first_member(pointer: &str) -> Option<String> {
    let first = pointer.strip_prefix('/').unwrap_or(pointer).split('/').next()?;
    (!first.is_empty() && !first.contains('*')).then(|| first.replace("~1", "/").replace("~0", "~"))
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
    if let Some(entry) =
        map.entry("per").filter(|entry| matches!(&entry.value.kind, Kind::List(items) if items.is_empty()))
    {
        let expected =
            "at least one { argument, usd }, or no `per`: an amount alone is written as a number, like 0.25";
        report.error(entry.at, "`per` is empty: the price depends on no argument", expected);
    }
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
            // A name would do elsewhere. Here what is written is told wherever a price is shown, and stands for one thing.
            Some(name) if !name.is_empty() && !name.starts_with('/') => {
                report.error(
                    node.start,
                    format!("`{0}` is not a pointer into the arguments; did you mean `/{0}`?", short(name)),
                    "a JSON pointer like /rows, which begins with a slash",
                );
                None
            }
            Some(text) => whole_pointer(text, node.start, report),
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
