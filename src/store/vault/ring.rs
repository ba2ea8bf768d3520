//! The keys of a vault, and the text in which they lie beside it: encrypted there where `[store] vault_key` is set.

use crate::{config::VaultConfig, store::StoreError};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// What keys are encrypted with is made with this.
const PURPOSE: &[u8] = b"tollgate vault 1";

/// Seals and opens values with one key.
pub(in crate::store) struct Key {
    aead: RandomizedNonceKey,
    secret: Zeroizing<[u8; 32]>,
    made: Timestamp,
}

impl Key {
    fn new(secret: [u8; 32], made: Timestamp) -> Result<Self, StoreError> {
        let aead =
            RandomizedNonceKey::new(&AES_256_GCM_SIV, &secret).map_err(|_| failed("a key cannot be used"))?;
        Ok(Self { aead, secret: Zeroizing::new(secret), made })
    }

    /// The nonce and what is sealed.
    pub(in crate::store) fn seal(&self, text: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::with_capacity(text.len() + AES_256_GCM_SIV.tag_len());
        bytes.extend_from_slice(text);
        let nonce = self.aead.seal_in_place_append_tag(Aad::from(bound_to), &mut bytes);
        let nonce = nonce.map_err(|_| failed("a value could not be encrypted"))?;
        Ok([nonce.as_ref().as_slice(), &bytes].concat())
    }

    /// None: it is not what was sealed, or not where.
    pub(in crate::store) fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.aead.open_in_place(nonce, Aad::from(bound_to), sealed).ok()?;
        Some(Zeroizing::new(opened.to_vec()))
    }
}

/// All keys that values may be encrypted under.
pub(in crate::store) struct Ring {
    keys: BTreeMap<u32, Key>,
    /// They lie there as the settings have it.
    is_settled: bool,
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    keys: Vec<WrittenKey>,
}

#[derive(Serialize, Deserialize)]
struct WrittenKey {
    id: u32,
    made: Timestamp,
    /// In base64, as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// In base64, encrypted with `vault_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

impl Ring {
    /// With one key.
    pub(in crate::store) fn first(fresh: [u8; 32], now: Timestamp) -> Result<Self, StoreError> {
        Ok(Self { keys: BTreeMap::from([(1, Key::new(fresh, now)?)]), is_settled: false })
    }

    pub(in crate::store) fn key(&self, id: u32) -> Option<&Key> {
        self.keys.get(&id)
    }

    /// The number of the key that was made last.
    pub(in crate::store) fn newest(&self) -> u32 {
        self.keys.keys().next_back().copied().unwrap_or(1)
    }

    pub(in crate::store) fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Adds a key; its number.
    pub(in crate::store) fn add(&mut self, fresh: [u8; 32], now: Timestamp) -> Result<u32, StoreError> {
        let id = self.keys.keys().next_back().map_or(1, |last| last.saturating_add(1));
        self.keys.insert(id, Key::new(fresh, now)?);
        Ok(id)
    }

    /// The numbers of all.
    pub(in crate::store) fn ids(&self) -> impl Iterator<Item = u32> {
        self.keys.keys().copied()
    }

    /// Forgets the keys that were made before one.
    pub(in crate::store) fn forget_before(&mut self, id: u32) {
        self.keys.retain(|key, _| *key >= id);
    }

    /// Reads the text.
    pub(in crate::store) fn read(text: &[u8], settings: &VaultConfig) -> Result<Self, StoreError> {
        let written: Written =
            serde_json::from_slice(text).map_err(|_| failed("its keys are not what was written there"))?;
        let (now, before) = (settings.key.as_ref().map(wrapping), settings.key_before.as_ref().map(wrapping));
        let (now, before) = (now.transpose()?, before.transpose()?);
        let mut ring = Self { keys: BTreeMap::new(), is_settled: true };
        for WrittenKey { id, made, key, sealed } in written.keys {
            let secret = match (key, sealed) {
                (Some(key), _) => {
                    ring.is_settled &= now.is_none();
                    STANDARD.decode(key).ok().map(Zeroizing::new)
                }
                (None, Some(sealed)) => {
                    let sealed = STANDARD.decode(sealed).unwrap_or_default();
                    let opened = now.as_ref().and_then(|with| with.open(&sealed, &bound_to(id)));
                    ring.is_settled &= opened.is_some();
                    opened.or_else(|| before.as_ref()?.open(&sealed, &bound_to(id)))
                }
                (None, None) => None,
            };
            let secret = secret.and_then(|secret| <[u8; 32]>::try_from(secret.as_slice()).ok());
            let secret = secret.ok_or_else(|| {
                failed(match &settings.key {
                    Some(_) => {
                        "its keys are encrypted with another `vault_key`: name that one as `vault_key_before`"
                    }
                    None => "its keys are encrypted, and `[store]` has no `vault_key`",
                })
            })?;
            ring.keys.insert(id, Key::new(secret, made)?);
        }
        Ok(ring)
    }

    /// The text, as the settings have it.
    pub(in crate::store) fn text(&self, settings: &VaultConfig) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let with = settings.key.as_ref().map(wrapping).transpose()?;
        let mut keys = Vec::with_capacity(self.keys.len());
        for (id, Key { secret, made, .. }) in &self.keys {
            let sealed =
                with.as_ref().map(|with| with.seal(secret.as_slice(), &bound_to(*id))).transpose()?;
            keys.push(WrittenKey {
                id: *id,
                made: *made,
                key: sealed.is_none().then(|| STANDARD.encode(secret.as_slice())),
                sealed: sealed.map(|sealed| STANDARD.encode(sealed)),
            });
        }
        let text = serde_json::to_vec_pretty(&Written { version: 1, keys });
        Ok(Zeroizing::new(text.map_err(|error| failed(&error.to_string()))?))
    }

    /// Its text lies there as the settings have it.
    pub(in crate::store) fn settled(&mut self) {
        self.is_settled = true;
    }
}

/// What keys are encrypted with.
fn wrapping(key: &SecretString) -> Result<Key, StoreError> {
    let mac = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes());
    let mut mac = mac.map_err(|_| failed("`vault_key` cannot be used"))?;
    mac.update(PURPOSE);
    Key::new(mac.finalize().into_bytes().into(), Timestamp::UNIX_EPOCH)
}

fn bound_to(id: u32) -> Vec<u8> {
    format!("key {id}").into_bytes()
}

pub(in crate::store) fn failed(what: &str) -> StoreError {
    StoreError::Failed(format!("the vault: {what}"))
}
