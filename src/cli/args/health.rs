//! `health`: its arguments.

use super::*;
use std::time::Duration;

/// `health`
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// How long the gateway may take to answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
}
