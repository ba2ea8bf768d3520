//! Prices per model and the estimate of one call.

use crate::model::MicroUsd;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// Which tokenizer counts a model's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Encoding {
    /// `o200k_base`
    #[serde(rename = "o200k_base")]
    O200kBase,
    /// `cl100k_base`
    #[serde(rename = "cl100k_base")]
    Cl100kBase,
}

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
