//! Identifiers are types, so that an agent's name cannot stand where an upstream's is meant.

use serde::{Deserialize, Serialize};
use std::{borrow::Borrow, fmt, ops::Deref, sync::Arc};

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
            /// The same text, without a copy of it.
            pub fn shared(&self) -> Arc<str> {
                self.0.clone()
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }
        impl From<Arc<str>> for $name {
            fn from(text: Arc<str>) -> Self {
                Self(text)
            }
        }
        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &*self.0)
            }
        }
    )*};
}

text_id! {
    /// The calling software, as named in `authority.yaml`.
    AgentId;
    /// A person, as named in `authority.yaml`.
    PersonId;
    /// An upstream MCP server: the name of its table in `servers.toml`.
    UpstreamName;
    /// What an agent may use, as named in `authority.yaml`.
    CapabilityId;
    /// A workflow, as named in `authority.yaml`.
    WorkflowId;
    /// A gate's name, a rulebook policy's id, a budget's id, or `default`.
    PolicyId;
    /// A rule inside a gate: its `id`, or its position from 1.
    RuleId;
    /// The SHA-256, in hex, of the policy bundle and what servers.toml resolves to.
    SnapshotId;
    /// Tollgate's own id of one call (a UUID v7); joins decision and side effect.
    CallId;
    /// A durable approval record (a UUID v7).
    ApprovalId;
    /// A standing grant, named after the approval that made it.
    GrantId;
    /// A process that uses the store (a UUID v7); its OS lock dies with it.
    OwnerId;
    /// HMAC-SHA-256, in hex, over a call's RFC 8785 form.
    Digest;
    /// SHA-256, in hex, of a tool's upstream, name, description, schemas and annotations.
    Fingerprint;
}

/// A W3C trace id: 16 bytes, shown as 32 lowercase hex digits, never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// From 16 random bytes; all zero is not a trace id (W3C Trace Context) and becomes 1.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        if bytes == [0; 16] { Self(1u128.to_be_bytes()) } else { Self(bytes) }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads 32 hex digits, or the UUID form with dashes; anything else, and all zero, is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0u8; 16];
        match text.len() {
            32 => hex::decode_to_slice(text, &mut bytes).ok()?,
            36 => {
                let groups: Vec<&str> = text.split('-').collect();
                if groups.iter().map(|g| g.len()).ne([8, 4, 4, 4, 12]) {
                    return None;
                }
                hex::decode_to_slice(groups.concat(), &mut bytes).ok()?;
            }
            _ => return None,
        }
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// The trace id inside a W3C `traceparent` value, where it is well formed.
    pub fn from_traceparent(value: &str) -> Option<Self> {
        let mut parts = value.trim().split('-');
        let version = parts.next()?;
        let trace = parts.next()?;
        let parent = parts.next()?;
        let flags = parts.next()?;
        let lower_hex = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let well_formed = version.len() == 2
            && version != "ff"
            && parent.len() == 16
            && parent.bytes().any(|b| b != b'0')
            && flags.len() == 2
            && [version, trace, parent, flags].into_iter().all(lower_hex)
            && (version != "00" || parts.next().is_none());
        if well_formed && trace.len() == 32 { Self::parse(trace) } else { None }
    }

    /// The 16 bytes.
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 32];
        match hex::encode_to_slice(self.0, &mut text) {
            Ok(()) => f.write_str(std::str::from_utf8(&text).unwrap_or_default()),
            Err(_) => Err(fmt::Error),
        }
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

impl Serialize for TraceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected a trace id of 32 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_ids_take_both_forms_and_refuse_zero() {
        let check = |input: &str, expect: Option<&str>| {
            assert_eq!(TraceId::parse(input).map(|t| t.to_string()).as_deref(), expect, "{input}");
        };
        check("0af7651916cd43dd8448eb211c80319c", Some("0af7651916cd43dd8448eb211c80319c"));
        check("0AF76519-16CD-43DD-8448-EB211C80319C", Some("0af7651916cd43dd8448eb211c80319c"));
        check("0AF7651916CD43DD8448EB211C80319C", Some("0af7651916cd43dd8448eb211c80319c"));
        check("00000000000000000000000000000000", None);
        check("0af7651916cd43dd-8448eb211c80319c---", None);
        check("nonsense", None);
    }

    #[test]
    fn traceparent_is_read_strictly() {
        let check = |input: &str, ok: bool| {
            assert_eq!(TraceId::from_traceparent(input).is_some(), ok, "{input}");
        };
        check("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01", true);
        check("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01-x", false);
        check("cc-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01-x", true);
        check("ff-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01", false);
        check("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false);
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false);
        check("00-0AF7651916CD43DD8448EB211C80319C-00f067aa0ba902b7-01", false);
    }
}
