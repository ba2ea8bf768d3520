//! `tollgate policy …`: what the bundles decide, and decided.

mod bundles;
mod diff;
mod explain;
mod flips;
mod junit;
mod replay;
mod simulate;
mod test;

pub(super) use diff::diff;
pub(super) use explain::explain;
pub(super) use replay::replay;
pub(super) use simulate::simulate;
pub(super) use test::test;
