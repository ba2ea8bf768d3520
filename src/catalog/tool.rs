//! What is made of one tool as its upstream lists it: what it is known by, what it is taken to be, and how agents see it.

use super::{ArgumentSchema, ToolSchema};
use crate::{
    config::{ToolConfig, UpstreamConfig},
    model::{Fingerprint, ToolTraits, UpstreamName},
    pinning::{self, ItemKind},
    policy::ToolFacts,
};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};

/// New schemas of one upstream that are compiled with its list, by their price or a sixteenth of the room they take, so that
/// what is wrong with them is told at once; others are compiled when they are needed. A schema that fails counts the same.
pub(super) const COMPILED_AT_ONCE: usize = 256 << 10;

/// What is taken over from one catalog to the next.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) schemas: HashMap<Fingerprint, Arc<ToolSchema>>,
    pub(super) outputs: HashMap<Fingerprint, Arc<ToolSchema>>,
    /// What is left of [`COMPILED_AT_ONCE`].
    pub(super) at_once: usize,
}

impl Kept {
    /// Compiles a new schema with the list, while there is room for that.
    pub(super) fn compile(&mut self, schema: &Arc<ToolSchema>) {
        if schema.price() <= self.at_once {
            let compiled = schema.compile();
            let room = compiled.as_ref().as_ref().map_or(0, ArgumentSchema::weight) / 16;
            self.at_once = self.at_once.saturating_sub(schema.price().max(room));
        }
    }
}

/// SHA-256 over upstream, name, title, description, schemas and annotations.
pub fn fingerprint(upstream: &UpstreamName, item: &Value) -> Fingerprint {
    pinning::fingerprint(ItemKind::Tool, upstream, item)
}

/// The table's word first, then the annotation where the upstream's are trusted, then the cautious value.
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

/// What decisions read of a tool of which only its own name is known: what servers.toml says of it, and no annotation.
pub fn by_tables(upstream: &UpstreamConfig, separator: &str, own: &str) -> ToolFacts {
    let fallback = ToolConfig::default();
    let table = upstream.tools.get(own).unwrap_or(&fallback);
    let name = match upstream.prefix.as_str() {
        "" => own.to_owned(),
        prefix => format!("{prefix}{separator}{own}"),
    };
    ToolFacts {
        name: name.into(),
        upstream: upstream.name.clone(),
        action: table.action.clone().unwrap_or_else(|| format!("{}:{own}", upstream.name).into()),
        labels: upstream.labels.iter().chain(&table.labels).cloned().collect(),
        traits: traits(upstream, table, &Value::Null),
        fingerprint: Fingerprint::from(""),
        // What is served is as it was pinned.
        pinned: true,
        unaccepted: false,
    }
}

/// What is known against an outputSchema: a client that cannot read it may lose its whole list over it.
pub(super) fn fault_of(schema: &ToolSchema) -> Option<String> {
    match schema.compiled()?.as_ref() {
        Err(error) => Some(error.to_string()),
        Ok(compiled) => compiled.unchecked().first().map(|one| format!("`{}`: {}", one.at, one.why)),
    }
}

/// Clients read a list whole or not at all, and the protocol has each argument schema say `"type": "object"`: where one does
/// not, or there is none, it is said for it. Arguments are an object in any case.
pub(super) fn declare_objects(item: &mut Value) {
    let Some(map) = item.as_object_mut() else { return };
    match map.get_mut("inputSchema") {
        Some(Value::Object(schema)) => {
            if schema.get("type").and_then(Value::as_str) != Some("object") {
                schema.insert("type".into(), json!("object"));
            }
        }
        // `false` takes nothing, and is refused when it is called.
        _ => drop(map.insert("inputSchema".into(), json!({"type": "object"}))),
    }
}
