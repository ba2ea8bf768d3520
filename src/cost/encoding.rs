//! Which encoding a model's tokens are counted in.

use serde::{Deserialize, Serialize};

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

impl Encoding {
    /// The name in prices.yaml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::O200kBase => "o200k_base",
            Self::Cl100kBase => "cl100k_base",
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
