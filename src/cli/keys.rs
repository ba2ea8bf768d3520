//! Fresh API keys: shown once, kept nowhere; the bundle holds their SHA-256.

use crate::{clock::IdSource, identity::key_digest};
use base64::Engine as _;
use zeroize::Zeroizing;

/// A key that nobody has seen yet.
pub(super) struct FreshKey {
    /// What the agent sends.
    pub(super) key: Zeroizing<String>,
    /// What authority.yaml holds.
    pub(super) digest: String,
}

/// 256 random bits, with a prefix by which scanners can know a leaked one.
pub(super) fn fresh(ids: &dyn IdSource) -> FreshKey {
    let bytes = Zeroizing::new(ids.random());
    let key =
        Zeroizing::new(format!("tg_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(*bytes)));
    let digest = format!("sha256:{}", hex::encode(key_digest(key.as_bytes())));
    FreshKey { key, digest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::System;

    #[test]
    fn keys_differ_and_their_digest_is_of_what_is_sent() {
        let (one, two) = (fresh(&System::default()), fresh(&System::default()));
        assert_ne!(*one.key, *two.key);
        assert_eq!(one.key.len(), 3 + 43);
        assert_eq!(one.digest, format!("sha256:{}", hex::encode(key_digest(one.key.as_bytes()))));
    }
}
