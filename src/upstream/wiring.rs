//! What it takes to connect to one upstream.

use super::{deps::UpstreamDeps, http::Means, limits::Limits, types::ResourceUpdate};
use crate::config::UpstreamConfig;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Its configuration, and what all its connections share.
pub(super) struct Wiring<'a> {
    pub(super) config: &'a UpstreamConfig,
    pub(super) deps: &'a UpstreamDeps,
    pub(super) means: Option<&'a Means>,
    pub(super) updates: &'a broadcast::Sender<ResourceUpdate>,
    pub(super) limits: &'a Arc<Limits>,
    /// Our capabilities, for `initialize`.
    pub(super) declared: Value,
}
