//! `tollgate schema …`: the JSON Schema of what others read or write.

use super::{args::SchemaArgs, failure::CliError, screen::Screen};

/// Prints one.
pub(super) fn schema(args: &SchemaArgs) -> Result<(), CliError> {
    Screen::new().raw(args.of.text())
}
