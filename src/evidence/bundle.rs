//! A bundle as the store keeps it under its snapshot: what it said, word for word, and what servers.toml resolved to beside it.

use crate::policy::SourceFile;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// What is kept of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptBundle {
    /// `[gateway] environment`.
    pub environment: Arc<str>,
    /// What servers.toml resolved to where decisions read it, without what may hold a secret. For the record: nothing is made of it.
    #[serde(default)]
    pub servers: Value,
    /// The files as they were, and the signature over them where there was one.
    pub files: Vec<SourceFile>,
}

impl KeptBundle {
    /// As it is kept.
    pub fn body(&self) -> String {
        // Texts and what was JSON already can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a body.
    pub fn read(body: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(body)
    }
}
