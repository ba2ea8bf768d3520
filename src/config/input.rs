//! What reading a table of servers.toml needs beside the table: where the file is, and what stands for variables.

use super::expand::{Env, expand};
use crate::policy::{
    Names,
    read::{Fields, text},
    source::Report,
};
use std::path::Path;

/// What reading needs beside the tree.
#[derive(Clone, Copy)]
pub(super) struct Input<'i> {
    pub(super) path: &'i Path,
    pub(super) env: Env<'i>,
    /// What authority.yaml names, where it could be read.
    pub(super) names: Option<&'i Names>,
}

/// The text of a key, with its variables filled in.
pub(super) fn expanded(
    map: &Fields<'_>,
    key: &str,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<Option<String>> {
    let Some(node) = map.get(key) else { return Some(None) };
    let written = text(node, key, report)?;
    expand(node, &written, input.env, report).map(Some)
}
