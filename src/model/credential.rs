//! Whose credential at an upstream it is, and how a client shows an issuer who it is.

use super::{AgentId, PersonId, UpstreamName};
use std::fmt;

/// `auth_method`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// `client_secret_basic`
    Basic,
    /// `client_secret_post`
    Post,
}

/// Whose credential it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// Everybody's.
    Gateway,
    /// One agent's.
    Agent(AgentId),
    /// One person's.
    Person(PersonId),
    /// Whoever sent the access token with this SHA-256.
    Token(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("gateway"),
            Self::Agent(id) => write!(f, "agent:{id}"),
            Self::Person(id) => write!(f, "person:{id}"),
            Self::Token(digest) => write!(f, "token:{digest}"),
        }
    }
}

impl Holder {
    /// Reads what it is displayed as.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None => (text == "gateway").then_some(Self::Gateway),
            Some(("agent", id)) if !id.is_empty() => Some(Self::Agent(id.into())),
            Some(("person", id)) if !id.is_empty() => Some(Self::Person(id.into())),
            Some(("token", digest)) if !digest.is_empty() => Some(Self::Token(digest.to_owned())),
            Some(_) => None,
        }
    }
}

/// Somebody's connection to an upstream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey {
    /// Where.
    pub upstream: UpstreamName,
    /// Whose.
    pub holder: Holder,
}

impl fmt::Display for ConnectionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.upstream, self.holder)
    }
}

impl ConnectionKey {
    /// Reads what it is displayed as: names have no spaces.
    pub fn parse(text: &str) -> Option<Self> {
        let (upstream, holder) = text.split_once(' ')?;
        Some(Self { upstream: upstream.into(), holder: Holder::parse(holder)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_as_it_was_written() {
        for holder in [Holder::Gateway, Holder::Agent("a:1".into()), Holder::Person("alice".into())] {
            let key = ConnectionKey { upstream: "crm".into(), holder };
            assert_eq!(ConnectionKey::parse(&key.to_string()), Some(key));
        }
        for wrong in ["crm", "crm nobody", "crm person:", "crm ", ""] {
            assert_eq!(ConnectionKey::parse(wrong), None, "{wrong}");
        }
    }
}
