//! `tollgate policy …`: what the bundles decide, and decided.

mod explain;
mod junit;
mod replay;
mod test;

pub(super) use explain::explain;
pub(super) use replay::replay;
pub(super) use test::test;
