//! Which policies can concern a call, so that a thousand of them cost little.

/// Made once per bundle.
#[derive(Debug, Default)]
pub struct PolicyIndex {}
