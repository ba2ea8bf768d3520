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
    /// servers.toml, as JSON
    Servers,
    /// bundle.yaml
    Bundle,
    /// authority.yaml
    Authority,
    /// A policy file with `name` and `rules`
    Gate,
    /// A policy file with `version` and `policies`
    Rulebook,
    /// budgets.yaml
    Budgets,
    /// data.yaml
    Data,
    /// prices.yaml
    Prices,
    /// A record as `audit export`, the API and deliveries give it
    Event,
}

impl SchemaOf {
    /// The schema, as it stands in the repository.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Servers => include_str!("../../../schemas/servers.json"),
            Self::Bundle => include_str!("../../../schemas/bundle.json"),
            Self::Authority => include_str!("../../../schemas/authority.json"),
            Self::Gate => include_str!("../../../schemas/gate.json"),
            Self::Rulebook => include_str!("../../../schemas/rulebook.json"),
            Self::Budgets => include_str!("../../../schemas/budgets.json"),
            Self::Data => include_str!("../../../schemas/data.json"),
            Self::Prices => include_str!("../../../schemas/prices.json"),
            Self::Event => evidence::EVENT_SCHEMA,
        }
    }
}
