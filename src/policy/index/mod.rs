//! Which policies can concern a call, so that a thousand of them cost little.

/// Made once per bundle.
#[derive(Debug, Default)]
pub struct PolicyIndex {}

impl PolicyIndex {
    /// Indexes a bundle's policies.
    pub fn build(_policies: &[super::Policy]) -> Self {
        Self {}
    }
}
