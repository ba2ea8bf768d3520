//! The bundle in `policies/`: files → checked, compiled [`PolicySet`] with its snapshot hash. Pure.

mod authority;
mod budgets;
mod bundle;
mod changes;
pub mod condition;
mod data;
mod facts;
mod fixture;
mod gates;
pub mod index;
mod input;
mod lints;
mod loops;
mod manifest;
mod meaning;
mod misfit;
pub mod names;
mod near;
mod outcome;
mod oversight;
mod parts;
mod prices;
pub mod read;
mod role;
mod scope;
mod set;
mod shown;
pub mod source;
mod typed;
mod types;
mod units;
mod yaml_error;
mod zones;

#[cfg(test)]
mod tests;

pub use bundle::{authority_names, compile};
pub use changes::{Change, Detail, PartChange, changes};
pub use facts::*;
pub use fixture::{Expect, Fixture, FixtureCall, FixtureFacts, Given, read_fixtures};
pub use input::{CompileInput, KnownNames, KnownUpstream, SourceFile};
pub use loops::{LoopKind, LoopRule, LoopRules};
pub use manifest::{SIGNATURES, is_bundle_file, is_signature, manifest};
pub use meaning::{BundleParts, PartDigest};
pub use names::Names;
pub use oversight::{AlertRule, AlertRules, DutyRule, IncidentRule, Oversight};
pub use prices::{counted_arguments, first_member, no_argument, tool_price};
pub use role::{ROLES, Role};
pub use set::PolicySet;
pub use types::*;
pub use zones::{ZoneData, ZoneSource, Zones, is_zone_name};
