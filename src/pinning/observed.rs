//! An item as its upstream lists it, as far as pins concern it.

use super::{item::ItemKind, scan::Finding};
use crate::model::{Fingerprint, UpstreamName};
use std::sync::Arc;

/// An item as an upstream lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Whose.
    pub upstream: UpstreamName,
    /// What it is.
    pub kind: ItemKind,
    /// The upstream's own name for it.
    pub name: Arc<str>,
    /// Its name in lists.
    pub exposed: Arc<str>,
    /// Of what is pinned of it.
    pub fingerprint: Fingerprint,
    /// What the scan found in it.
    pub findings: Vec<Finding>,
}
