//! What all upstreams have, merged into one deterministic catalog, named, and scoped per agent.

mod build;
mod capped;
mod entry;
mod links;
pub mod naming;
mod pages;
mod resolved;
mod schema;
pub mod search;
mod template;
mod tool;
mod view;

pub use build::CatalogBuilder;
pub use capped::CappedTools;
pub use entry::{Catalog, ItemEntry, ToolEntry};
pub use schema::{
    ArgumentSchema, Budget, Misfit, SchemaCache, SchemaError, ToolSchema, UncheckedKeyword, Violation,
    param_headers,
};
pub use tool::{by_tables, fingerprint};
pub use view::{Covered, Digests, View, digest};

#[cfg(test)]
mod tests;
