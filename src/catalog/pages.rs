//! The pages of MCP Apps: a tool names the resource that shows it (`_meta.ui.resourceUri`, and `_meta["ui/resourceUri"]` as
//! it was called before). The link leads to its own upstream's resource, or nowhere.

use super::naming;
use crate::model::{UpstreamName, Uri};
use serde_json::{Map, Value};

/// The member of `_meta.ui`.
const MEMBER: &str = "resourceUri";
/// The key of `_meta` before there was `ui`.
const FLAT: &str = "ui/resourceUri";

/// The pages that an item names.
pub(super) fn of(item: &Value) -> impl Iterator<Item = &str> {
    let meta = item.get("_meta");
    let nested = meta.and_then(|meta| meta.get("ui")?.get(MEMBER));
    let flat = meta.and_then(|meta| meta.get(FLAT));
    nested.into_iter().chain(flat).filter_map(Value::as_str)
}

/// Puts other links in place of those that an item has. None takes a link away.
pub(super) fn relink(item: &mut Value, to: impl Fn(&str) -> Option<String>) {
    let Some(Value::Object(meta)) = item.get_mut("_meta") else { return };
    if let Some(Value::Object(ui)) = meta.get_mut("ui") {
        one(ui, MEMBER, &to);
    }
    one(meta, FLAT, &to);
}

fn one(members: &mut Map<String, Value>, name: &str, to: impl Fn(&str) -> Option<String>) {
    let Some(Value::String(uri)) = members.get_mut(name) else { return };
    match to(uri) {
        Some(other) => *uri = other,
        None => drop(members.shift_remove(name)),
    }
}

/// The URIs under which agents may know a resource of an upstream: its own, and the one that it has where another upstream
/// had it first.
pub(super) fn candidates(upstream: &UpstreamName, uri: &str) -> impl Iterator<Item = Uri> {
    let own = Uri::parse(uri).ok();
    let aliased = Uri::parse(&naming::aliased(&naming::alias(upstream), uri)).ok();
    own.into_iter().chain(aliased)
}
