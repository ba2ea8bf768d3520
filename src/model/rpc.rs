//! JSON-RPC errors as values that any room can make and the front turns into a reply.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A JSON-RPC error object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RpcError {
    /// One of [`code`], or what an upstream sent.
    pub code: i64,
    /// One plain sentence.
    pub message: String,
    /// Anything more, left as it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub data: Option<Value>,
}

impl RpcError {
    /// An error without data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The same with data.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    /// As 2026-07-28 has it: the sessions' code for a resource that is not there must not be sent in it.
    #[must_use]
    pub fn modernized(mut self) -> Self {
        if self.code == code::RESOURCE_NOT_FOUND {
            self.code = code::INVALID_PARAMS;
        }
        self
    }
}

/// JSON-RPC and MCP error codes, and Tollgate's own.
///
/// JSON-RPC reserves -32768 to -32000, and MCP 2026-07-28 asks that nobody else makes codes there. So Tollgate's own are the
/// numbers of the HTTP statuses that mean the same.
pub mod code {
    /// Tollgate refused a resource or a prompt; `data["tollgate/decision"]` says why.
    pub const REFUSED: i64 = 403;
    /// The same, until somebody approves it.
    pub const PENDING_APPROVAL: i64 = 428;
    /// The same, for a while; or too much was asked at a time.
    pub const THROTTLED: i64 = 429;
    /// The upstream cannot be reached, or gave nothing that can be passed on.
    pub const UPSTREAM_UNAVAILABLE: i64 = 502;
    /// The upstream did not answer in time.
    pub const UPSTREAM_TIMEOUT: i64 = 504;
    /// Not JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// Not a JSON-RPC request.
    pub const INVALID_REQUEST: i64 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// Bad parameters; in 2026-07-28 also an unknown tool, prompt or resource.
    pub const INVALID_PARAMS: i64 = -32602;
    /// A fault of ours.
    pub const INTERNAL_ERROR: i64 = -32603;
    /// Resource not found, up to 2025-11-25.
    pub const RESOURCE_NOT_FOUND: i64 = -32002;
    /// A page must be opened first (2025-11-25); never for a client of 2026-07-28.
    pub const URL_ELICITATION_REQUIRED: i64 = -32042;
    /// Headers and body disagree (2026-07-28).
    pub const HEADER_MISMATCH: i64 = -32020;
    /// The client did not declare a capability that is needed (2026-07-28).
    pub const MISSING_CLIENT_CAPABILITY: i64 = -32021;
    /// The protocol version is not spoken here (2026-07-28).
    pub const UNSUPPORTED_VERSION: i64 = -32022;
}

#[cfg(test)]
mod tests {
    /// R100: what lies in the range that JSON-RPC and MCP reserve is theirs, with their meaning; our own lies outside.
    #[test]
    fn no_code_of_ours_is_reserved() {
        let standard = [
            -32700, -32600, -32601, -32602, -32603, // JSON-RPC
            -32002, -32042, // MCP up to 2025-11-25
            -32020, -32021, -32022, // MCP 2026-07-28
        ];
        let mut own = Vec::new();
        let source = include_str!("rpc.rs");
        let constants = source.lines().filter_map(|line| line.trim().strip_prefix("pub const "));
        for constant in constants {
            let (name, value) = constant.split_once(": i64 = ").unwrap();
            let value: i64 = value.trim_end_matches(';').parse().unwrap();
            if !standard.contains(&value) {
                assert!(!(-32768..=-32000).contains(&value), "`{name}` is {value}");
                own.push(value);
            }
        }
        assert_eq!(own, [403, 428, 429, 502, 504]);
    }
}
