//! What a decision reads of a tool, kept once and named by the hash of its content.

use crate::policy::ToolFacts;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// A tool as it was resolved: from its upstream's list, its table in servers.toml and its upstream's. The fingerprint stands
/// in it, so that what the upstream wrote of the tool is a part of the hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedTool {
    /// SHA-256 of the body, in hex.
    pub hash: Arc<str>,
    /// JSON. What may not be recorded of the tool's names is masked in it.
    pub body: Arc<str>,
}

impl ResolvedTool {
    /// Of a tool whose names are as they may be recorded.
    pub fn of(tool: &ToolFacts) -> Self {
        // Texts, lists of texts and flags can always be written.
        let body = serde_json::to_string(tool).unwrap_or_default();
        Self { hash: content_hash(&body).into(), body: body.into() }
    }

    /// Reads a body.
    pub fn read(body: &str) -> Option<ToolFacts> {
        serde_json::from_str(body).ok()
    }
}

/// The name of what is kept by its content.
pub fn content_hash(body: &str) -> String {
    hex::encode(Sha256::digest(body.as_bytes()))
}
