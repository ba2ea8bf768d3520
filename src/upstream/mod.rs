//! The upstream port and its implementations (stdio children, Streamable HTTP in both eras, HTTP+SSE), with the pool
//! that starts, watches and restarts them.
//!
//! Messages are JSON values, not rmcp's typed model: that one loses members it does not know.

mod breaker;
mod call;
mod company;
mod connect;
pub mod contain;
mod credentials;
mod deps;
mod dialect;
mod environment;
mod headers;
mod http;
mod inbox;
mod items;
mod last_words;
mod limits;
mod listing;
mod measured;
pub mod oauth;
mod own;
mod pool;
mod refusal;
mod scan;
mod server;
mod set;
mod skills;
mod slots;
mod sse;
mod stdio;
pub mod supervise;
mod types;
mod watching;
mod wire;
mod wiring;

pub use credentials::{Credentials, HeldToken};
pub use deps::{Redact, Timing, UpstreamDeps};
pub use headers::value_as_header;
pub use refusal::{Cause, HttpRefusal};
pub use set::{Retired, UpstreamSet, is_personal};
pub use types::*;
