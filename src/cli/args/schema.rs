//! `schema`: its arguments.

use super::*;
use crate::evidence;

/// `schema`
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Of what
    #[arg(value_name = "OF", value_enum)]
    pub(crate) of: SchemaOf,
}

/// What has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaOf {
    /// A record as `audit export`, the API and deliveries give it
    Event,
}

impl SchemaOf {
    /// The schema, as it stands in the repository.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Event => evidence::EVENT_SCHEMA,
        }
    }
}
