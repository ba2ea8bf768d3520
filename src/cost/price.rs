//! Prices per model and the estimate of one call.

use super::{
    encoding::{Encoding, Tokenizer},
    formula::{ToolPrice, Unpriceable},
    models::{BUILT_IN, ModelPrice, resolve},
};
use crate::model::MicroUsd;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// `prices.yaml`, or the built-in table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PriceTable {
    /// By model name.
    pub models: BTreeMap<Arc<str>, ModelPrice>,
    /// Where a model is looked up that is not among them: the built-in table, where `models` is the bundle's own.
    pub fallback: BTreeMap<Arc<str>, ModelPrice>,
    /// What a model is charged as that is in neither, no less than the dearest of each figure that they have; none: that.
    pub unlisted: Option<ModelPrice>,
    /// What names mean that are written otherwise than in `models`, looked up once ([`Self::know`]); none: no entry.
    pub known: BTreeMap<Arc<str>, Option<ModelPrice>>,
    /// The names that agents have, as [`Self::know`] was told them.
    pub names: BTreeSet<Arc<str>>,
    /// A price per call by exposed tool name glob, in file order; the first match counts.
    pub tools: Vec<(crate::model::Glob, ToolPrice)>,
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
    /// Priced under its own name, or under the one that it is a date, a vendor or a tag of.
    Priced(&'t ModelPrice),
    /// In no table: charged as [`PriceTable::unlisted`] says, and never less than the dearest of each figure, so that a budget
    /// errs on the safe side. An empty table prices nothing.
    Unpriced(Option<ModelPrice>),
}

impl PriceTable {
    /// What holds where the bundle states no models: list prices, which a bundle that cares about money states itself.
    pub fn built_in() -> Self {
        Self { models: BUILT_IN.models.clone(), unlisted: BUILT_IN.unlisted.clone(), ..Self::default() }
    }

    /// A bundle's own models. What they lack is looked up in the built-in table.
    pub fn own(models: BTreeMap<Arc<str>, ModelPrice>) -> Self {
        let (fallback, unlisted) = (BUILT_IN.models.clone(), BUILT_IN.unlisted.clone());
        let table = Self { models, fallback, unlisted, ..Self::default() };
        Self { unlisted: table.dearest(), ..table }
    }

    /// The date of the built-in table, and where its figures were read.
    pub fn source() -> (&'static str, &'static [String]) {
        (&BUILT_IN.as_of, &BUILT_IN.sources)
    }

    /// Looks up the names that agents have, so that no call has to: each is found under its own name, else without vendor,
    /// date, tag and version.
    pub fn know<'n>(&mut self, names: impl Iterator<Item = &'n Arc<str>>) {
        for name in names {
            self.names.insert(name.clone());
            if !self.models.contains_key(name) {
                let price = self.look_up(name).cloned();
                self.known.insert(name.clone(), price);
            }
        }
    }

    /// The price of a model: by its name, however it is written, else the cautious figure.
    pub fn model(&self, model: Option<&str>) -> ModelMatch<'_> {
        let Some(name) = model else { return ModelMatch::NoModel };
        let known = self.known.get(name).map(Option::as_ref);
        known
            .unwrap_or_else(|| self.look_up(name))
            .map_or_else(|| ModelMatch::Unpriced(self.cautious()), ModelMatch::Priced)
    }

    /// What a model is charged as that is not listed.
    fn cautious(&self) -> Option<ModelPrice> {
        self.unlisted.clone().or_else(|| self.dearest())
    }

    /// The entry that a name means: of the own table, else of the one behind it.
    fn look_up(&self, name: &str) -> Option<&ModelPrice> {
        resolve(name, |name| self.models.get(name)).or_else(|| resolve(name, |name| self.fallback.get(name)))
    }

    /// Whether `models` has a model, under whichever spelling.
    pub fn states(&self, name: &str) -> bool {
        resolve(name, |name| self.models.get(name)).is_some()
    }

    /// What names mean that stand in `models` under no spelling: from the built-in table, or nowhere. Where the bundle has no
    /// models of its own, that is all of the known names.
    pub fn not_of_the_bundle(&self) -> impl Iterator<Item = (&Arc<str>, Option<ModelPrice>)> {
        let named = self.names.iter().filter(|name| self.fallback.is_empty() || !self.states(name));
        named.map(|name| match self.model(Some(name)) {
            ModelMatch::Priced(price) => (name, Some(price.clone())),
            ModelMatch::Unpriced(price) => (name, price),
            ModelMatch::NoModel => (name, None),
        })
    }

    /// The dearest of each figure of all that is stated; the one with the larger token counts where encodings differ.
    fn dearest(&self) -> Option<ModelPrice> {
        let all = self.models.values().chain(self.fallback.values()).chain(&self.unlisted);
        all.cloned().reduce(|worst, other| ModelPrice {
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

    /// What one call of a tool with these arguments costs by itself: by the first glob of the bundle that matches, else by
    /// what servers.toml says. Never below zero.
    pub fn tool_price(
        &self,
        exposed_name: &str,
        configured: Option<&ToolPrice>,
        arguments: &Value,
    ) -> Result<MicroUsd, Unpriceable> {
        let listed = self.tools.iter().find(|(glob, _)| glob.matches(exposed_name));
        let price = listed.map(|(_, price)| price).or(configured);
        price.map_or(Ok(MicroUsd::ZERO), |price| price.of(arguments))
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

/// What a strict budget may reserve of a call, since it cuts the result at that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elastic {
    /// The least that is worth the call: its arguments, and room to say of its result that it was cut.
    pub least_tokens: u64,
    /// What that costs.
    pub least_cost: MicroUsd,
    /// The most that it probably takes.
    pub most_tokens: u64,
    /// What each million tokens beyond the least cost.
    pub usd_per_mtok: MicroUsd,
}

/// The least that is reserved for a result that is cut at its reservation, in tokens: what is left of it can say so.
pub const LEAST_RESULT_TOKENS: u64 = 128;

impl PriceTable {
    /// What a strict budget may reserve of a call whose result is taken to be of `most_result_tokens` at most.
    pub fn elastic(
        &self,
        model: Option<&str>,
        argument_tokens: u64,
        most_result_tokens: u64,
        tool_price: MicroUsd,
    ) -> Elastic {
        let usd_per_mtok = match self.model(model) {
            ModelMatch::NoModel | ModelMatch::Unpriced(None) => MicroUsd::ZERO,
            ModelMatch::Priced(price) => price.input_usd_per_mtok,
            ModelMatch::Unpriced(Some(price)) => price.input_usd_per_mtok,
        };
        Elastic {
            least_tokens: argument_tokens.saturating_add(LEAST_RESULT_TOKENS),
            least_cost: self.settle(model, argument_tokens, LEAST_RESULT_TOKENS, tool_price),
            most_tokens: argument_tokens.saturating_add(most_result_tokens.max(LEAST_RESULT_TOKENS)),
            usd_per_mtok: usd_per_mtok.max(MicroUsd::ZERO),
        }
    }
}

impl Estimate {
    /// Arguments and result together.
    pub fn tokens(&self) -> u64 {
        self.argument_tokens.saturating_add(self.result_tokens)
    }
}

#[cfg(test)]
#[path = "price_tests.rs"]
mod tests;
