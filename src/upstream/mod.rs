//! The upstream port and its two implementations (stdio children, Streamable HTTP in both eras), with the pool
//! that starts, watches and restarts them.

mod types;

pub use types::*;
