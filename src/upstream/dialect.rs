//! How one upstream wants to be spoken to.

use super::types::Era;
use serde_json::{Value, json};
use std::sync::Arc;

/// Era, version, and who we say that we are.
#[derive(Clone, Debug)]
pub(super) struct Dialect {
    pub(super) era: Era,
    pub(super) version: Arc<str>,
    pub(super) client_info: Arc<Value>,
}

impl Dialect {
    pub(super) fn new(era: Era, version: &str, name: &str, client_version: &str) -> Self {
        let client_info = Arc::new(json!({ "name": name, "version": client_version }));
        Self { era, version: version.into(), client_info }
    }
}
