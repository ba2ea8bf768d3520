//! The built-in table of models, and how a written name finds its entry in a table.

use super::encoding::Encoding;
use crate::model::MicroUsd;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

/// One model's prices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPrice {
    /// USD per million tokens the model reads.
    pub input_usd_per_mtok: MicroUsd,
    /// USD per million tokens the model writes.
    pub output_usd_per_mtok: MicroUsd,
    /// The tokenizer, or the nearest public one.
    pub encoding: Encoding,
    /// Tokens are multiplied by this many thousandths (1000 = exact tokenizer), rounded up.
    pub multiplier_milli: u32,
}

/// The table with its date and sources.
const TABLE: &str = include_str!("models.toml");

/// What the built-in table says.
#[derive(Debug, Default)]
pub(super) struct BuiltIn {
    /// Its date, like `2026-01-31`.
    pub(super) as_of: String,
    /// Where its figures were read.
    pub(super) sources: Vec<String>,
    pub(super) models: BTreeMap<Arc<str>, ModelPrice>,
    /// What a model is charged as that is not in it.
    pub(super) unlisted: Option<ModelPrice>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    as_of: String,
    sources: Vec<String>,
    unlisted: Row,
    counting: HashMap<String, Counting>,
    models: BTreeMap<Arc<str>, Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    input: String,
    output: String,
    counted: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counting {
    encoding: Encoding,
    multiplier: u32,
}

/// The table, read once.
pub(super) static BUILT_IN: LazyLock<BuiltIn> = LazyLock::new(|| {
    // A test reads it too. Without it every model is without a price, which lints say.
    read(TABLE).unwrap_or_default()
});

/// Reads a table; `None` where anything in it is wrong.
fn read(text: &str) -> Option<BuiltIn> {
    let file: File = toml::from_str(text).ok()?;
    let price = |row: &Row| {
        let Counting { encoding, multiplier } = *file.counting.get(&row.counted)?;
        Some(ModelPrice {
            input_usd_per_mtok: MicroUsd::parse(&row.input).ok()?,
            output_usd_per_mtok: MicroUsd::parse(&row.output).ok()?,
            encoding,
            multiplier_milli: multiplier,
        })
    };
    let models = file.models.iter().map(|(name, row)| Some((name.clone(), price(row)?)));
    Some(BuiltIn {
        models: models.collect::<Option<_>>()?,
        unlisted: Some(price(&file.unlisted)?),
        as_of: file.as_of,
        sources: file.sources,
    })
}

/// Who stands before a name with a dot, as in `us.anthropic.claude-sonnet-4-20250514-v1:0`.
const VENDORS: [&str; 8] =
    ["anthropic.", "amazon.", "meta.", "mistral.", "cohere.", "deepseek.", "qwen.", "openai."];

/// How long a name may be to be looked for under other spellings.
const LONGEST: usize = 128;

/// What stands at the end of a name and makes no other model of it.
const ENDINGS: [&str; 16] = [
    "-latest",
    "-preview",
    "-exp",
    "-experimental",
    "-beta",
    "-instruct",
    "-chat",
    "-turbo-instruct",
    "-hf",
    "-it",
    "-fp8",
    "-versatile",
    "-instant",
    "-thinking",
    "-high",
    "-0",
];

/// The entry of a table that a written name means: under the name itself, else without vendor, region, tag, date or version,
/// and with Claude's version where the table has it. `get` looks a name up.
pub(super) fn resolve<'t>(
    name: &str,
    get: impl Fn(&str) -> Option<&'t ModelPrice>,
) -> Option<&'t ModelPrice> {
    if let Some(found) = get(name) {
        return Some(found);
    }
    if name.len() > LONGEST {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let mut name = lower.rsplit('/').next().unwrap_or_default();
    if let Some((_, own)) =
        VENDORS.iter().find_map(|vendor| name.split_once(vendor)).filter(|(region, _)| region.len() <= 16)
    {
        name = own;
    }
    // Ollama's `llama3.3:70b` is a size; what else stands behind a colon is a tag.
    let mut name = name.replacen(":70b", "-70b", 1).replacen(":8b", "-8b", 1);
    if let Some(at) = name.find([':', '@', '[']) {
        name.truncate(at);
    }
    loop {
        if let Some(found) = spellings(&name).iter().find_map(|name| get(name)) {
            return Some(found);
        }
        let short = shorter(&name)?.len();
        name.truncate(short);
    }
}

/// The same name as others write it.
fn spellings(name: &str) -> Vec<String> {
    let mut found = vec![name.to_owned()];
    if let Some(rest) = name.strip_prefix("claude-") {
        let dashed = rest.replace('.', "-");
        // `claude-4-5-sonnet` is `claude-sonnet-4-5`.
        let digits = dashed.find(|c: char| c.is_ascii_alphabetic());
        if let Some((version, family)) =
            digits.filter(|at| *at > 0).and_then(|at| dashed.split_at_checked(at))
        {
            found.push(format!("claude-{family}-{}", version.trim_end_matches('-')));
        }
        if let Some(at) = dashed.find(|c: char| c.is_ascii_digit())
            && let Some((family, version)) = dashed.split_at_checked(at)
            && !family.is_empty()
        {
            found.push(format!("claude-{version}-{}", family.trim_end_matches('-')));
        }
        found.push(format!("claude-{dashed}"));
    } else {
        for (written, meant) in
            [("meta-llama-", "llama-"), ("llama-v", "llama-"), ("llama3", "llama-3"), ("gpt-35-", "gpt-3.5-")]
        {
            if let Some(rest) = name.strip_prefix(written) {
                let rest = rest.replacen("p1-", ".1-", 1).replacen("p2-", ".2-", 1).replacen("p3-", ".3-", 1);
                found.push(format!("{meant}{rest}"));
            }
        }
        // `gpt-5-1` is `gpt-5.1` to some hosts.
        if let Some(rest) = name.strip_prefix("gpt-") {
            found.push(format!("gpt-{}", rest.replacen('-', ".", 1)));
        }
        if let Some(rest) = name.strip_prefix("open-") {
            found.push(rest.to_owned());
        }
    }
    found
}

/// A name without the last thing in it that names no other model: a date, a version of a few digits, a word of [`ENDINGS`].
fn shorter(name: &str) -> Option<&str> {
    let dated = |dashes: &[usize], length: usize| {
        let (short, date) = name.split_at_checked(name.len().checked_sub(length)?)?;
        let fits = date
            .bytes()
            .enumerate()
            .all(|(at, byte)| if dashes.contains(&at) { byte == b'-' } else { byte.is_ascii_digit() });
        fits.then_some(short)
    };
    // `-v1` of hosts, `-05-20` and `-09-2025` of previews, `-0613`, `-002`.
    dated(&[0, 5, 8], 11)
        .or_else(|| dated(&[0], 9))
        .or_else(|| dated(&[0, 3], 8))
        .or_else(|| dated(&[0, 3], 6))
        .or_else(|| dated(&[0], 5))
        .or_else(|| dated(&[0], 4))
        .or_else(|| ["-v1", "-v2", "-v3"].iter().find_map(|version| name.strip_suffix(version)))
        .or_else(|| ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)))
        .filter(|short| !short.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole_and_says_when_and_where_it_was_read() {
        let table = read(TABLE).unwrap();
        assert!(table.as_of.parse::<jiff::civil::Date>().is_ok(), "{}", table.as_of);
        assert!(!table.sources.is_empty() && table.sources.iter().all(|source| source.contains("https://")));
        assert!(table.models.len() > 150);
        let unlisted = table.unlisted.unwrap();
        for (name, price) in &table.models {
            assert!(price.input_usd_per_mtok > MicroUsd::ZERO, "{name}");
            assert!(price.output_usd_per_mtok >= price.input_usd_per_mtok, "{name}");
            assert!((1_000..=2_000).contains(&price.multiplier_milli), "{name}");
            assert_eq!(**name, name.to_ascii_lowercase(), "names are looked up in lower case");
            // Whoever names a model that nobody knows must not get it cheaper than the dearest that is known.
            assert!(price.multiplier_milli <= unlisted.multiplier_milli, "{name}");
            assert!(price.input_usd_per_mtok <= unlisted.input_usd_per_mtok, "{name}");
            assert!(price.output_usd_per_mtok <= unlisted.output_usd_per_mtok, "{name}");
            assert!(price.encoding <= unlisted.encoding, "{name}");
        }
    }

    #[test]
    fn a_name_is_found_as_people_and_hosts_write_it() {
        let table = read(TABLE).unwrap();
        let check = |written: &str, expect: Option<&str>| {
            let found = resolve(written, |name| table.models.get(name));
            let wanted = expect.map(|name| table.models.get(name).unwrap_or_else(|| panic!("no {name}")));
            assert_eq!(found, wanted, "{written}");
            // The price alone could be that of another one.
            let named = std::cell::RefCell::new(None);
            let _ = resolve(written, |name| {
                let found = table.models.get(name);
                found.inspect(|_| *named.borrow_mut() = Some(name.to_owned()))
            });
            assert_eq!(named.into_inner().as_deref(), expect, "{written}");
        };
        check("gpt-4o", Some("gpt-4o"));
        check("gpt-4o-2024-08-06", Some("gpt-4o"));
        check("GPT-4o-Latest", Some("gpt-4o"));
        check("openai/gpt-4o-mini", Some("gpt-4o-mini"));
        check("azure/gpt-4o-mini-2024-07-18", Some("gpt-4o-mini"));
        check("gpt-4-0613", Some("gpt-4"));
        check("gpt-4-turbo-preview", Some("gpt-4-turbo"));
        check("gpt-35-turbo", Some("gpt-3.5-turbo"));
        check("gpt-5-1", Some("gpt-5.1"));
        check("gpt-5-chat-latest", Some("gpt-5-chat"));
        check("o3-mini-2025-01-31", Some("o3-mini"));
        check("claude-sonnet-4-20250514", Some("claude-sonnet-4"));
        check("claude-sonnet-4-5-20250929", Some("claude-sonnet-4-5"));
        check("claude-sonnet-4.5", Some("claude-sonnet-4-5"));
        check("claude-4-5-sonnet", Some("claude-sonnet-4-5"));
        check("claude-4.6-opus-20260205", Some("claude-opus-4-6"));
        check("claude-sonnet-4-0", Some("claude-sonnet-4"));
        check("claude-3-5-sonnet-latest", Some("claude-3-5-sonnet"));
        check("claude-3.5-sonnet", Some("claude-3-5-sonnet"));
        check("claude-sonnet-3.7", Some("claude-3-7-sonnet"));
        check("anthropic/claude-opus-4.1", Some("claude-opus-4-1"));
        check("openrouter/anthropic/claude-3.7-sonnet:thinking", Some("claude-3-7-sonnet"));
        check("us.anthropic.claude-sonnet-4-20250514-v1:0", Some("claude-sonnet-4"));
        check("anthropic.claude-3-5-sonnet-20241022-v2:0", Some("claude-3-5-sonnet"));
        check("vertex_ai/claude-opus-4-5@20251101", Some("claude-opus-4-5"));
        check("claude-opus-5-5[1m]", Some("claude-opus-5-5"));
        check("global.amazon.nova-2-lite-v1:0", Some("nova-2-lite"));
        check("models/gemini-2.5-pro", Some("gemini-2.5-pro"));
        check("gemini-2.5-flash-preview-05-20", Some("gemini-2.5-flash"));
        check("gemini-2.5-flash-preview-09-2025", Some("gemini-2.5-flash"));
        check("gemini-1.5-pro-002", Some("gemini-1.5-pro"));
        check("gemini-2.0-flash-exp", Some("gemini-2.0-flash"));
        check("gemini-3-pro-preview", Some("gemini-3-pro"));
        check("mistral-large-2411", Some("mistral-large"));
        check("mistral-large-2512", Some("mistral-large-2512"));
        check("open-mistral-nemo", Some("mistral-nemo"));
        check("meta-llama/Llama-3.3-70B-Instruct", Some("llama-3.3-70b"));
        check("llama-3.1-8b-instant", Some("llama-3.1-8b"));
        check("llama-v3p1-405b-instruct", Some("llama-3.1-405b"));
        check("llama3.3:70b", Some("llama-3.3-70b"));
        check("Qwen/Qwen3-235B-A22B-Instruct-2507", Some("qwen3-235b-a22b"));
        check("deepseek/deepseek-r1-0528", Some("deepseek-r1"));
        check("x-ai/grok-4-0709", Some("grok-4"));
        // Another model of a family is not the model.
        for other in [
            "gpt-4o-audio-preview",
            "gpt-7",
            "claude-opus-9",
            "o5",
            "mistral",
            "-2024-08-06",
            "",
            "é20240101",
        ] {
            check(other, None);
        }
        check(&"x-".repeat(10_000), None);
    }
}
