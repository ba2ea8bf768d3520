//! What a tool is taken to be: from its upstream's list, its table in servers.toml and its upstream's.

use crate::{
    config::{ToolConfig, UpstreamConfig},
    evidence::ResolvedTool,
    model::{Fingerprint, ToolTraits},
    policy::ToolFacts,
    redaction::DataRules,
};
use serde_json::Value;
use std::sync::Arc;

/// The table's word first, then the annotation where the upstream's are trusted, then the cautious value (I8).
pub(super) fn traits(upstream: &UpstreamConfig, table: &ToolConfig, item: &Value) -> ToolTraits {
    let hint = |name: &str| -> Option<bool> {
        upstream.trust_annotations.then(|| item.get("annotations")?.get(name)?.as_bool()).flatten()
    };
    let cautious = ToolTraits::UNTRUSTED;
    let read_only = table.read_only.or_else(|| hint("readOnlyHint")).unwrap_or(cautious.read_only);
    ToolTraits {
        read_only,
        // What only reads destroys nothing, and repeating it changes nothing.
        destructive: table.destructive.or_else(|| hint("destructiveHint")).unwrap_or(!read_only),
        idempotent: table.idempotent.or_else(|| hint("idempotentHint")).unwrap_or(read_only),
        open_world: table.open_world.or_else(|| hint("openWorldHint")).unwrap_or(cautious.open_world),
    }
}

/// What decisions read of a tool, as it is kept. `names` are its name before shortening and its action.
pub(super) fn resolved(
    data: &DataRules,
    upstream: &UpstreamConfig,
    names: (&str, &str),
    labels: &Arc<[Arc<str>]>,
    traits: ToolTraits,
    fingerprint: &Fingerprint,
) -> ResolvedTool {
    let (name, action) = names;
    ResolvedTool::of(&ToolFacts {
        name: data.redact_text(name).into(),
        upstream: upstream.name.clone(),
        action: data.redact_text(action).into(),
        labels: labels.clone(),
        traits,
        fingerprint: fingerprint.clone(),
        pinned: false,
    })
}
