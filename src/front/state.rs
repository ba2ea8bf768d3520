//! The seal of what an agent is handed and brings back: `requestState` and task ids. Encrypted (AES-256-GCM-SIV), so that
//! it says nothing to whoever holds it; bound to its context, with an expiry; keyed from the store, so that every process
//! on it can open what another sealed. Single use is the store's.

use crate::{
    clock::{Clock as _, System},
    gateway::StateSeal,
};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::time::Duration;

/// What the store's secret is used for here, and the form of what is sealed.
const PURPOSE: &[u8] = b"tollgate seal 1";
/// The time of expiry in front of the text, in whole seconds.
const EXPIRY: usize = 8;

/// Seals with one key.
pub struct SealedState {
    key: RandomizedNonceKey,
    clock: System,
}

impl SealedState {
    /// With a secret of the store.
    pub fn new(secret: &[u8; 32]) -> Result<Self, String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|error| error.to_string())?;
        mac.update(PURPOSE);
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, &mac.finalize().into_bytes());
        let key = key.map_err(|_| "the key of sealed states cannot be used".to_owned())?;
        Ok(Self { key, clock: System::default() })
    }
}

impl StateSeal for SealedState {
    fn seal(&self, text: &str, bound_to: &[u8], ttl: Duration) -> Result<String, String> {
        let until = self.clock.now().checked_add(ttl).unwrap_or(jiff::Timestamp::MAX).as_second();
        let mut bytes = Vec::with_capacity(EXPIRY + text.len() + AES_256_GCM_SIV.tag_len());
        bytes.extend_from_slice(&until.to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
        let nonce = self.key.seal_in_place_append_tag(Aad::from(bound_to), &mut bytes);
        let nonce = nonce.map_err(|_| "a state could not be sealed".to_owned())?;
        Ok(URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &bytes].concat()))
    }

    fn open(&self, sealed: &str, bound_to: &[u8]) -> Option<String> {
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.key.open_in_place(nonce, Aad::from(bound_to), sealed).ok()?;
        let (until, text) = opened.split_first_chunk::<EXPIRY>()?;
        let valid = self.clock.now().as_second() < i64::from_be_bytes(*until);
        valid.then(|| std::str::from_utf8(text).ok().map(str::to_owned))?
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
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            let other = if sealed.as_bytes()[at] == b'A' { "B" } else { "A" };
            forged.replace_range(at..=at, other);
            assert_eq!(seal.open(&forged, b"agent:a"), None, "{at}");
            assert_eq!(seal.open(sealed.get(..at).unwrap(), b"agent:a"), None, "{at}");
        }
        assert_eq!(SealedState::new(&[4; 32]).unwrap().open(&sealed, b"agent:a"), None);
        assert!(SealedState::new(&[3; 32]).unwrap().open(&sealed, b"agent:a").is_some());
        let over = seal.seal("text", b"agent:a", Duration::ZERO).unwrap();
        assert_eq!(seal.open(&over, b"agent:a"), None, "its time is over");
    }

    /// Whoever holds it reads nothing in it, and two of one text do not look alike.
    #[test]
    fn a_state_says_nothing() {
        let seal = SealedState::new(&[3; 32]).unwrap();
        let text = r#"{"Made":{"upstream":"payroll","own":"task-7"}}"#;
        let states = [(); 2].map(|()| seal.seal(text, b"agent:a", Duration::from_secs(60)).unwrap());
        assert_ne!(states[0], states[1]);
        for state in states {
            let bytes = URL_SAFE_NO_PAD.decode(&state).unwrap();
            for word in ["payroll", "task-7", "Made"] {
                assert!(!bytes.windows(word.len()).any(|part| part == word.as_bytes()), "{word}");
            }
        }
    }
}
