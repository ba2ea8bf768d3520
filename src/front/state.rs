//! The seal of `requestState`: rmcp's codec (HMAC-SHA-256, bound to context, with an expiry), keyed from the store so
//! that every process on it can open what another sealed. Single use is the store's.

use crate::gateway::StateSeal;
use rmcp::model::{RequestStateCodec, SealOptions};
use std::time::Duration;

/// Seals with one key.
pub struct SealedState {
    codec: RequestStateCodec,
}

impl SealedState {
    /// With a secret of the store.
    pub fn new(key: &[u8; 32]) -> Result<Self, String> {
        Ok(Self { codec: RequestStateCodec::try_new(key).map_err(|error| error.to_string())? })
    }
}

impl StateSeal for SealedState {
    fn seal(&self, text: &str, bound_to: &[u8], ttl: Duration) -> Result<String, String> {
        let options = SealOptions::new().associated_data(bound_to).ttl(ttl);
        Ok(self.codec.seal_with(text.as_bytes(), &options))
    }

    fn open(&self, sealed: &str, bound_to: &[u8]) -> Option<String> {
        String::from_utf8(self.codec.open_with(sealed, bound_to).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_opens_only_unchanged_and_where_it_belongs() {
        let seal = SealedState::new(&[3; 32]).unwrap();
        let sealed = seal.seal("text", b"agent:a", Duration::from_secs(60)).unwrap();
        assert_eq!(seal.open(&sealed, b"agent:a").as_deref(), Some("text"));
        assert_eq!(seal.open(&sealed, b"agent:b"), None);
        let mut forged = sealed.clone();
        forged.replace_range(0..1, if sealed.starts_with('A') { "B" } else { "A" });
        assert_eq!(seal.open(&forged, b"agent:a"), None);
        assert_eq!(SealedState::new(&[4; 32]).unwrap().open(&sealed, b"agent:a"), None);
        assert_eq!(seal.open("", b"agent:a"), None);
        assert!(SealedState::new(&[3; 32]).unwrap().open(&sealed, b"agent:a").is_some());
    }
}
