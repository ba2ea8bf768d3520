//! The bundle in `policies/`: files → checked, compiled [`PolicySet`] with its snapshot hash. Pure.

mod authority;
mod budgets;
mod bundle;
mod changes;
pub mod condition;
mod data;
mod facts;
mod gates;
pub mod index;
mod input;
mod meaning;
pub mod names;
mod outcome;
mod prices;
pub mod read;
mod scope;
mod set;
pub mod source;
mod typed;
mod types;

#[cfg(test)]
mod tests;

pub use bundle::{authority_names, compile, is_bundle_file};
pub use changes::{Change, Detail, PartChange, changes};
pub use facts::*;
pub use input::{CompileInput, KnownNames, KnownUpstream, SourceFile};
pub use meaning::{BundleParts, PartDigest};
pub use names::Names;
pub use prices::built_in_prices;
pub use set::PolicySet;
pub use types::*;
