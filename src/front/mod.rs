//! Where agents meet the gateway: MCP over Streamable HTTP and stdio, in both eras of the protocol.
//!
//! The front knows the wire and nothing of policy. It reads JSON-RPC strictly, finds out who speaks and in which
//! era, and hands everything that is governed to a [`Service`], as JSON values that keep what Tollgate does not know.

pub mod admin;
mod answer;
mod client;
mod conversation;
mod exchange;
mod forwarded;
mod headers;
pub mod http;
mod level;
mod listen;
mod measured;
mod message;
mod modern;
mod revoked;
mod service;
pub mod state;
pub mod stdio;
pub mod tls;
mod watches;

pub use service::Service;

/// The stateless protocol version.
pub const MODERN_VERSION: &str = "2026-07-28";
/// The initialize-based protocol versions, newest first.
pub const LEGACY_VERSIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];
/// The only version whose clients know events without a message (SEP-1699).
const PRIMING_VERSION: &str = "2025-11-25";
/// The only version with JSON-RPC batches.
const BATCH_VERSION: &str = "2025-03-26";

/// Every version that is spoken here, newest first.
fn supported_versions() -> impl Iterator<Item = &'static str> {
    std::iter::once(MODERN_VERSION).chain(LEGACY_VERSIONS)
}
