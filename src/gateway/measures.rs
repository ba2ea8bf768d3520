//! What calls and results are measured by: tokens, the sizes that were learned, and digests.

use super::digest::DigestKey;
use crate::cost::{LearnedSizes, TokenCounter};

/// One for all calls of a process.
pub(super) struct Measures {
    pub(super) tokens: TokenCounter,
    pub(super) learned: LearnedSizes,
    pub(super) digest_key: DigestKey,
}
