//! servers.toml: raw image (unknown keys refused) → resolved and cross-checked with the bundle.

mod types;

pub use types::*;
