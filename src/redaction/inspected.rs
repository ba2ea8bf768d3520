//! What is asked about a value, and what is answered.

use super::token::Tokenized;
use crate::model::{Sensitivity, pointer::Pointer};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

/// Where a value goes or comes from.
#[derive(Clone, Copy, Debug)]
pub struct Place<'p> {
    /// The upstream's name.
    pub upstream: &'p str,
    /// The exposed tool name before shortening; a resource's URI; a prompt's name.
    pub tool: &'p str,
    /// The labels of the tool and its upstream. A word for a level is the least level of the data.
    pub labels: &'p [Arc<str>],
    /// Places in the arguments that are sensitive whatever they hold: servers.toml and [`super::SchemaMarks`].
    pub sensitive: &'p [Pointer],
}

impl Place<'_> {
    /// No particular place.
    pub const NOWHERE: Place<'static> = Place { upstream: "", tool: "", labels: &[], sensitive: &[] };
}

/// What goes on its way.
#[derive(Clone, PartialEq)]
pub enum Outbound {
    /// The value as it came.
    Unchanged,
    /// This instead. Raw where the rules let it pass: never recorded or shown.
    Changed(Value),
    /// Nothing; the sentence says why and holds no raw value.
    Blocked(String),
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged => f.write_str("Unchanged"),
            Self::Changed(_) => f.write_str("Changed(..)"),
            Self::Blocked(reason) => f.debug_tuple("Blocked").field(reason).finish(),
        }
    }
}

/// What was found in arguments or in a result.
#[derive(Clone, PartialEq)]
pub struct Inspected<'v> {
    /// How sensitive the data is.
    pub level: Sensitivity,
    /// The level's word and the classes of the findings, in order, each once.
    pub labels: Vec<Arc<str>>,
    /// The names of the detectors and marks that fired, in order, each once.
    pub findings: Vec<Arc<str>>,
    /// What may be recorded and shown; borrowed where it is the value itself.
    pub recorded: Cow<'v, Value>,
    /// Whether anything is masked in it.
    pub redacted: bool,
    /// What goes on its way.
    pub outbound: Outbound,
    /// The classes of the findings, with their levels.
    pub(super) classes: BTreeMap<Arc<str>, Sensitivity>,
    /// Those of what stays in it on its way.
    pub(super) passing: BTreeMap<Arc<str>, Sensitivity>,
    /// The placeholders that stand in what goes on its way, each once: to be kept before it goes.
    pub minted: Vec<Tokenized>,
    /// Characters of base64 content that were not looked into; in `recorded` they are replaced by their number.
    pub binary_bytes: u64,
}

impl fmt::Debug for Inspected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspected")
            .field("level", &self.level)
            .field("labels", &self.labels)
            .field("findings", &self.findings)
            .field("recorded", &self.recorded)
            .field("outbound", &self.outbound)
            .finish_non_exhaustive()
    }
}
