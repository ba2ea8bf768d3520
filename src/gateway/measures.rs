//! What calls and results are measured and handled by: tokens, the sizes that were learned, digests, and placeholders.

use super::{digest::DigestKey, placeholders::Placeholders};
use crate::cost::{LearnedSizes, TokenCounter};
use std::sync::Arc;

/// One for all calls of a process.
pub(super) struct Measures {
    pub(super) tokens: TokenCounter,
    /// The store keeps it current.
    pub(super) learned: Arc<LearnedSizes>,
    pub(super) digest_key: DigestKey,
    pub(super) placeholders: Arc<Placeholders>,
}
