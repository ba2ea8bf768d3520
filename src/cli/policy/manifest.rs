//! `tollgate policy manifest`: what a signature over a bundle covers.

use super::super::{args::ManifestArgs, environment::Environment, failure::CliError, screen::Screen};
use crate::config;
use std::path::Path;

/// Prints it, whether the bundle is right or not: it may want a signature to be.
pub(super) fn manifest(path: &Path, args: &ManifestArgs) -> Result<(), CliError> {
    let environment = Environment::as_far_as_read(path);
    let manifest = config::manifest_of(path, args.folder.as_deref(), &|name| environment.get(name))
        .map_err(CliError::Told)?;
    Screen::new().raw(&manifest)
}
