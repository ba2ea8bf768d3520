//! Which encoding a model's tokens are counted in.

use serde::{Deserialize, Serialize};

/// Which tokenizer counts a model's tokens; those that make more tokens of the same text come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Encoding {
    /// `o200k_base`
    #[serde(rename = "o200k_base")]
    O200kBase,
    /// `o200k_harmony`: `o200k_base` with more special tokens, of which text from outside makes none.
    #[serde(rename = "o200k_harmony")]
    O200kHarmony,
    /// `cl100k_base`
    #[serde(rename = "cl100k_base")]
    Cl100kBase,
    /// `p50k_base`
    #[serde(rename = "p50k_base")]
    P50kBase,
    /// `r50k_base`
    #[serde(rename = "r50k_base")]
    R50kBase,
}

impl Encoding {
    /// Each with its name in prices.yaml.
    pub const NAMED: [(&str, Self); 5] = [
        ("o200k_base", Self::O200kBase),
        ("cl100k_base", Self::Cl100kBase),
        ("o200k_harmony", Self::O200kHarmony),
        ("p50k_base", Self::P50kBase),
        ("r50k_base", Self::R50kBase),
    ];

    /// The name in prices.yaml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::O200kBase => "o200k_base",
            Self::O200kHarmony => "o200k_harmony",
            Self::Cl100kBase => "cl100k_base",
            Self::P50kBase => "p50k_base",
            Self::R50kBase => "r50k_base",
        }
    }
}

/// How a model's tokens are counted: an encoding, and thousandths to multiply by where that
/// encoding is only the nearest public one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokenizer {
    /// The encoding.
    pub encoding: Encoding,
    /// 1000 = exact.
    pub multiplier_milli: u32,
}
