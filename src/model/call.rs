//! What is called: a tool, a resource or a prompt, and what its upstream's table says of it.

use serde::{Deserialize, Serialize};

/// What kind of thing a call names. All three are governed alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallKind {
    /// `tools/call`
    Tool,
    /// `resources/read`
    Resource,
    /// `prompts/get`
    Prompt,
}

impl CallKind {
    /// The word in conditions and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Prompt => "prompt",
        }
    }
}

/// What Tollgate takes a tool to be. Built from the tool's table in servers.toml, from its
/// annotations only where the upstream's `trust_annotations` is true, else the cautious values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolTraits {
    /// Changes nothing.
    pub read_only: bool,
    /// May destroy.
    pub destructive: bool,
    /// A repeat has no further effect.
    pub idempotent: bool,
    /// Reaches outside.
    pub open_world: bool,
}

impl ToolTraits {
    /// What is taken of a tool about which nothing trustworthy is known.
    pub const UNTRUSTED: Self =
        Self { read_only: false, destructive: true, idempotent: false, open_world: true };
}

/// Whether dispatch may repeat a call whose answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryPlan {
    /// A repeat could act twice.
    Never,
    /// Trusted as read-only or idempotent.
    Safe,
}
