//! What all upstreams have, merged into one deterministic catalog, named, and scoped per agent.

mod apps;
mod build;
mod capped;
mod entry;
mod links;
pub mod naming;
mod pages;
mod pinned;
mod resolved;
mod review;
mod schema;
pub mod search;
mod skills;
mod template;
mod tool;
mod view;

pub use apps::is_for_pages_only;
pub use build::CatalogBuilder;
pub use capped::CappedTools;
pub use entry::{Catalog, HeldItems, HeldReason, ItemEntry, Seen, SkillEntry, SkillFile, ToolEntry};
pub use review::{AcceptError, Accepted, FoundItem, PinChange, Review, Wanted};
pub use schema::{
    ArgumentSchema, Budget, Misfit, SchemaCache, SchemaError, ToolSchema, UncheckedKeyword, Violation,
    param_headers,
};
pub use tool::{by_tables, fingerprint};
pub use view::{Covered, Digests, View, digest};

#[cfg(test)]
mod skills_tests;
#[cfg(test)]
mod tests;
