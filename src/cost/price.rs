//! Prices per model and the estimate of one call.

use super::encoding::{Encoding, Tokenizer};
use crate::model::MicroUsd;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

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

/// `prices.yaml`, or the built-in table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PriceTable {
    /// By model name.
    pub models: BTreeMap<Arc<str>, ModelPrice>,
    /// A price per call by exposed tool name glob, in file order; the first match counts.
    pub tools: Vec<(crate::model::Glob, MicroUsd)>,
}

/// What one call will probably take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// Tokens of the arguments, which the model wrote.
    pub argument_tokens: u64,
    /// Tokens of the result, which it will read.
    pub result_tokens: u64,
    /// Everything together, the tool's own price included.
    pub cost: MicroUsd,
}

/// How an agent's model was found in the table.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelMatch<'t> {
    /// The agent has no model: its tokens have no price here, only tools have.
    NoModel,
    /// Priced under its own name, or under its name without a date.
    Priced(&'t ModelPrice),
    /// Not in the table: every figure is the dearest that the table has, so that a budget errs on
    /// the safe side. An empty table prices nothing.
    Unpriced(Option<ModelPrice>),
}

/// Models whose tokenizer is not public are counted with the nearest public one, and this many
/// thousandths of it. Both figures are estimates and err on the high side; nothing measured them.
const CLAUDE_MILLI: u32 = 1_250;
const GEMINI_MILLI: u32 = 1_100;

/// Name, micro-USD per million input and output tokens, encoding, thousandths.
const BUILT_IN: &[(&str, i64, i64, Encoding, u32)] = &[
    ("claude-3-5-haiku", 800_000, 4_000_000, Encoding::O200kBase, CLAUDE_MILLI),
    ("claude-3-7-sonnet", 3_000_000, 15_000_000, Encoding::O200kBase, CLAUDE_MILLI),
    ("claude-haiku-4-5", 1_000_000, 5_000_000, Encoding::O200kBase, CLAUDE_MILLI),
    ("claude-opus-4", 15_000_000, 75_000_000, Encoding::O200kBase, CLAUDE_MILLI),
    ("claude-opus-4-1", 15_000_000, 75_000_000, Encoding::O200kBase, CLAUDE_MILLI),
    ("claude-opus-4-5", 5_000_000, 25_000_000, Encoding::O200kBase, CLAUDE_MILLI),
    ("claude-sonnet-4", 3_000_000, 15_000_000, Encoding::O200kBase, CLAUDE_MILLI),
    ("claude-sonnet-4-5", 3_000_000, 15_000_000, Encoding::O200kBase, CLAUDE_MILLI),
    ("gemini-2.5-flash", 300_000, 2_500_000, Encoding::O200kBase, GEMINI_MILLI),
    ("gemini-2.5-flash-lite", 100_000, 400_000, Encoding::O200kBase, GEMINI_MILLI),
    ("gemini-2.5-pro", 1_250_000, 10_000_000, Encoding::O200kBase, GEMINI_MILLI),
    ("gpt-3.5-turbo", 500_000, 1_500_000, Encoding::Cl100kBase, 1_000),
    ("gpt-4", 30_000_000, 60_000_000, Encoding::Cl100kBase, 1_000),
    ("gpt-4-turbo", 10_000_000, 30_000_000, Encoding::Cl100kBase, 1_000),
    ("gpt-4.1", 2_000_000, 8_000_000, Encoding::O200kBase, 1_000),
    ("gpt-4.1-mini", 400_000, 1_600_000, Encoding::O200kBase, 1_000),
    ("gpt-4.1-nano", 100_000, 400_000, Encoding::O200kBase, 1_000),
    ("gpt-4o", 2_500_000, 10_000_000, Encoding::O200kBase, 1_000),
    ("gpt-4o-mini", 150_000, 600_000, Encoding::O200kBase, 1_000),
    ("gpt-5", 1_250_000, 10_000_000, Encoding::O200kBase, 1_000),
    ("gpt-5-mini", 250_000, 2_000_000, Encoding::O200kBase, 1_000),
    ("gpt-5-nano", 50_000, 400_000, Encoding::O200kBase, 1_000),
    ("o3", 2_000_000, 8_000_000, Encoding::O200kBase, 1_000),
    ("o4-mini", 1_100_000, 4_400_000, Encoding::O200kBase, 1_000),
];

impl PriceTable {
    /// What holds where the bundle has no prices.yaml: list prices, which a bundle that cares
    /// about money states itself.
    pub fn built_in() -> Self {
        let models = BUILT_IN.iter().map(|&(name, input, output, encoding, multiplier_milli)| {
            let price = ModelPrice {
                input_usd_per_mtok: MicroUsd(input),
                output_usd_per_mtok: MicroUsd(output),
                encoding,
                multiplier_milli,
            };
            (Arc::from(name), price)
        });
        Self { models: models.collect(), tools: Vec::new() }
    }

    /// The price of a model: by its name, else by its name without a trailing date or `-latest`,
    /// else the cautious figure.
    pub fn model(&self, model: Option<&str>) -> ModelMatch<'_> {
        let Some(name) = model else { return ModelMatch::NoModel };
        self.models
            .get(name)
            .or_else(|| self.models.get(undated(name)?))
            .map_or_else(|| ModelMatch::Unpriced(self.dearest()), ModelMatch::Priced)
    }

    /// The dearest of each figure; the one with the larger token counts where encodings differ.
    fn dearest(&self) -> Option<ModelPrice> {
        self.models.values().cloned().reduce(|worst, other| ModelPrice {
            input_usd_per_mtok: worst.input_usd_per_mtok.max(other.input_usd_per_mtok),
            output_usd_per_mtok: worst.output_usd_per_mtok.max(other.output_usd_per_mtok),
            encoding: worst.encoding.max(other.encoding),
            multiplier_milli: worst.multiplier_milli.max(other.multiplier_milli),
        })
    }

    /// How a model's tokens are counted. Without a model: `o200k_base`, exactly.
    pub fn tokenizer(&self, model: Option<&str>) -> Tokenizer {
        let plain = Tokenizer { encoding: Encoding::O200kBase, multiplier_milli: 1_000 };
        let of = |price: &ModelPrice| Tokenizer {
            encoding: price.encoding,
            multiplier_milli: price.multiplier_milli,
        };
        match self.model(model) {
            ModelMatch::NoModel => plain,
            ModelMatch::Priced(price) => of(price),
            ModelMatch::Unpriced(dearest) => dearest.as_ref().map_or(plain, of),
        }
    }

    /// What one call of a tool costs by itself: the first glob of the bundle that matches, else
    /// what servers.toml says. Never below zero.
    pub fn tool_price(&self, exposed_name: &str, configured: MicroUsd) -> MicroUsd {
        let listed = self.tools.iter().find(|(glob, _)| glob.matches(exposed_name));
        listed.map_or(configured, |(_, price)| *price).max(MicroUsd::ZERO)
    }

    /// What one call will probably cost: argument tokens at the model's output price, since it
    /// wrote them, result tokens at its input price, since it will read them, and the tool's own
    /// price. The token counts carry the model's multiplier already.
    pub fn estimate(
        &self,
        model: Option<&str>,
        argument_tokens: u64,
        expected_result_tokens: u64,
        tool_price: MicroUsd,
    ) -> Estimate {
        Estimate {
            argument_tokens,
            result_tokens: expected_result_tokens,
            cost: self.settle(model, argument_tokens, expected_result_tokens, tool_price),
        }
    }

    /// What one call cost, by the tokens its result really has. Rounded up once, saturating.
    pub fn settle(
        &self,
        model: Option<&str>,
        argument_tokens: u64,
        result_tokens: u64,
        tool_price: MicroUsd,
    ) -> MicroUsd {
        let (input, output) = match self.model(model) {
            ModelMatch::NoModel | ModelMatch::Unpriced(None) => (0, 0),
            ModelMatch::Priced(price) => (price.input_usd_per_mtok.0, price.output_usd_per_mtok.0),
            ModelMatch::Unpriced(Some(price)) => (price.input_usd_per_mtok.0, price.output_usd_per_mtok.0),
        };
        // A u64 times a positive i64 is below 2^127, and so is half of it twice.
        let part = |tokens: u64, price: i64| u128::from(tokens) * u128::from(price.max(0).unsigned_abs());
        let millionths = part(argument_tokens, output).saturating_add(part(result_tokens, input));
        let tokens = i64::try_from(millionths.div_ceil(1_000_000)).unwrap_or(i64::MAX);
        MicroUsd(tokens).plus(tool_price.max(MicroUsd::ZERO))
    }
}

impl Estimate {
    /// Arguments and result together.
    pub fn tokens(&self) -> u64 {
        self.argument_tokens.saturating_add(self.result_tokens)
    }
}

/// A model's name without `-2026-01-31`, `-20260131` or `-latest`; `None` where it has none.
fn undated(name: &str) -> Option<&str> {
    if let Some(short) = name.strip_suffix("-latest") {
        return Some(short);
    }
    let dated = |length: usize, dashes: &[usize]| {
        let (short, date) = name.split_at_checked(name.len().checked_sub(length)?)?;
        let fits = date
            .bytes()
            .enumerate()
            .all(|(at, byte)| if dashes.contains(&at) { byte == b'-' } else { byte.is_ascii_digit() });
        fits.then_some(short)
    };
    dated(11, &[0, 5, 8]).or_else(|| dated(9, &[0]))
}

#[cfg(test)]
#[path = "price_tests.rs"]
mod tests;
