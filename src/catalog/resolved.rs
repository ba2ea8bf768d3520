//! What of a tool a decision reads, as it is kept by content.

use crate::{
    config::UpstreamConfig,
    evidence::ResolvedTool,
    model::{Fingerprint, ToolTraits},
    policy::ToolFacts,
    redaction::DataRules,
};
use std::sync::Arc;

/// What decisions read of a tool, as it is kept. `names` are its name before shortening and its action.
pub(super) fn resolved(
    data: &DataRules,
    upstream: &UpstreamConfig,
    names: (&str, &str),
    labels: &Arc<[Arc<str>]>,
    traits: ToolTraits,
    (fingerprint, unaccepted): (&Fingerprint, bool),
) -> ResolvedTool {
    let (name, action) = names;
    ResolvedTool::of(&ToolFacts {
        name: data.redact_text(name).into(),
        upstream: upstream.name.clone(),
        action: data.redact_text(action).into(),
        labels: labels.clone(),
        traits,
        fingerprint: fingerprint.clone(),
        pinned: !unaccepted,
        unaccepted,
    })
}
