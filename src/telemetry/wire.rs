//! How a request came: its transport, its version, and the trace that its headers name.

use super::families::Transport;

/// What a front knows of a request beside what it says.
#[derive(Clone, Debug, Default)]
pub struct Wire {
    /// Over what.
    pub transport: Transport,
    /// `mcp.protocol.version`, where it is known.
    pub version: Option<&'static str>,
    /// The JSON-RPC id as text, where spans are made.
    pub request_id: Option<String>,
    /// The HTTP header `traceparent`.
    pub traceparent: Option<String>,
    /// The HTTP header `tracestate`.
    pub tracestate: Option<String>,
    /// The HTTP header `baggage`.
    pub baggage: Option<String>,
}
