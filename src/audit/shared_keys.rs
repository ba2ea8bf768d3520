//! The keys of a log whose replicas share a store: one value in their database, read whenever something is signed or verified, so
//! that what one of them puts in place is what all sign with. The record is there too, so whoever can write the database can
//! write a record; with `[store] vault_key` reading it is not enough to sign, for the value is encrypted with a key made of that.

use super::{KeysError, LogKeys};
use crate::{config::VaultConfig, proof::Signer, store::Store};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use std::path::Path;
use zeroize::Zeroizing;

/// Under which name they are kept, and to what they are bound where they are encrypted.
const NAME: &str = "checkpoint.keys";
/// What they are encrypted with is made with this.
const PURPOSE: &[u8] = b"tollgate checkpoint keys 1";
/// How a value begins that is encrypted.
const SEALED: &[u8] = b"sealed 1\n";
/// Others that put keys in place at once are let first so often.
const TRIES: usize = 100;

/// Where the keys of a log lie: in this folder, or in the store where replicas share it, encrypted as the settings say.
pub type KeysPlace<'p> = (&'p Path, &'p VaultConfig);

/// Keys as they are kept.
struct Kept {
    keys: LogKeys,
    value: Vec<u8>,
    /// They lie there as the settings have it.
    is_settled: bool,
}

impl LogKeys {
    /// The keys of a store's log, the same for all processes on it: made of 32 random bytes where there are none.
    ///
    /// # Errors
    /// Where they cannot be read or made, or are something else.
    pub async fn of(
        store: &dyn Store,
        (folder, settings): KeysPlace<'_>,
        fresh: [u8; 32],
    ) -> Result<Self, KeysError> {
        if !store.is_shared() {
            return Self::open(folder, fresh);
        }
        if let Some(kept) = read(store, settings).await? {
            if !kept.is_settled {
                // Where somebody else was first, it is theirs that is read next.
                let value = written(&kept.keys, settings)?;
                store.replace_shared_value(NAME, Some(kept.value), value).await?;
            }
            return Ok(kept.keys);
        }
        let made = Self::first(fresh).map_err(wrong)?;
        match store.replace_shared_value(NAME, None, written(&made, settings)?).await? {
            true => Ok(made),
            false => Ok(read(store, settings).await?.ok_or(KeysError::Unsteady)?.keys),
        }
    }

    /// The keys of a store's log, for whoever verifies; `None` where there are none yet.
    ///
    /// # Errors
    /// Where they cannot be read, or are something else.
    pub async fn known_of(
        store: &dyn Store,
        (folder, settings): KeysPlace<'_>,
    ) -> Result<Option<Self>, KeysError> {
        match store.is_shared() {
            true => Ok(read(store, settings).await?.map(|kept| kept.keys)),
            false => Self::known(folder),
        }
    }

    /// Puts a new key in place of the one that signs, for all processes, as [`Self::rotate`] does in a folder: gives that back,
    /// to sign once beside the new one.
    ///
    /// # Errors
    /// Where there are none, or they cannot be read or replaced.
    pub async fn rotate_of(
        store: &dyn Store,
        (folder, settings): KeysPlace<'_>,
        fresh: [u8; 32],
    ) -> Result<(Self, Signer), KeysError> {
        if !store.is_shared() {
            return Self::rotate(folder, fresh);
        }
        for _ in 0..TRIES {
            let Some(Kept { keys, value, .. }) = read(store, settings).await? else { break };
            let (rotated, old) = keys.rotated(fresh).map_err(wrong)?;
            if store.replace_shared_value(NAME, Some(value), written(&rotated, settings)?).await? {
                return Ok((rotated, old));
            }
        }
        Err(KeysError::Unsteady)
    }

    /// The keys of a folder as replicas will share them, by their name; `None` where there are none.
    ///
    /// # Errors
    /// Where they cannot be read, or are something else.
    pub fn to_share((folder, settings): KeysPlace<'_>) -> Result<Option<(&'static str, Vec<u8>)>, KeysError> {
        let known = Self::known(folder)?;
        known.map(|keys| Ok((NAME, written(&keys, settings)?))).transpose()
    }
}

fn wrong(source: crate::proof::NoteError) -> KeysError {
    KeysError::Wrong { path: Path::new(NAME).to_owned(), line: 0, source }
}

async fn read(store: &dyn Store, settings: &VaultConfig) -> Result<Option<Kept>, KeysError> {
    let Some(value) = store.shared_value(NAME).await? else { return Ok(None) };
    let (text, is_settled) = match value.strip_prefix(SEALED) {
        None => (Zeroizing::new(value.clone()), settings.key.is_none()),
        Some(sealed) => {
            let opened = |key: &Option<SecretString>| -> Result<Option<Zeroizing<Vec<u8>>>, KeysError> {
                key.as_ref().map(|key| open(sealed, key)).transpose().map(Option::flatten)
            };
            match (opened(&settings.key)?, opened(&settings.key_before)?) {
                (Some(text), _) => (text, true),
                (None, Some(text)) => (text, false),
                (None, None) => {
                    return Err(KeysError::Sealed(match &settings.key {
                        Some(_) => {
                            "are encrypted with another `vault_key`: name that one as `vault_key_before`"
                        }
                        None => "are encrypted, and `[store]` has no `vault_key`",
                    }));
                }
            }
        }
    };
    let text = std::str::from_utf8(&text).map_err(|_| KeysError::Sealed("are not what was written there"))?;
    let keys = LogKeys::parse(text, Path::new("the database"))?;
    Ok(Some(Kept { keys, value, is_settled }))
}

/// As they are kept.
fn written(keys: &LogKeys, settings: &VaultConfig) -> Result<Vec<u8>, KeysError> {
    let text = keys.text();
    let Some(key) = &settings.key else { return Ok(text.as_bytes().to_vec()) };
    let mut bytes = text.as_bytes().to_vec();
    let nonce = wrapping(key)?.seal_in_place_append_tag(Aad::from(NAME), &mut bytes);
    let nonce = nonce.map_err(|_| KeysError::Sealed("could not be encrypted"))?;
    Ok([SEALED, nonce.as_ref().as_slice(), &bytes].concat())
}

/// None: they are encrypted with another key.
fn open(sealed: &[u8], key: &SecretString) -> Result<Option<Zeroizing<Vec<u8>>>, KeysError> {
    let key = wrapping(key)?;
    let opened = || {
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        Some(Zeroizing::new(key.open_in_place(nonce, Aad::from(NAME), sealed).ok()?.to_vec()))
    };
    Ok(opened())
}

fn wrapping(key: &SecretString) -> Result<RandomizedNonceKey, KeysError> {
    let unusable = || KeysError::Sealed("cannot be encrypted with this `vault_key`");
    let mac = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes());
    let mut mac = mac.map_err(|_| unusable())?;
    mac.update(PURPOSE);
    let secret = Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()));
    RandomizedNonceKey::new(&AES_256_GCM_SIV, secret.as_slice()).map_err(|_| unusable())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(key: Option<&str>, before: Option<&str>) -> VaultConfig {
        let secret = |text: Option<&str>| text.map(|text| SecretString::from(text.to_owned()));
        VaultConfig { key: secret(key), key_before: secret(before), ..VaultConfig::default() }
    }

    #[test]
    fn keys_that_are_encrypted_open_with_their_key_alone() {
        let keys = LogKeys::first([1; 32]).unwrap();
        let plain = written(&keys, &settings(None, None)).unwrap();
        assert!(plain.windows(7).any(|part| part == b"PRIVATE"));
        let sealed = written(&keys, &settings(Some("one"), None)).unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"PRIVATE"));
        let sealed = sealed.strip_prefix(SEALED).unwrap();
        let opened = open(sealed, &"one".to_owned().into()).unwrap().unwrap();
        assert_eq!(&*opened, keys.text().as_bytes());
        assert!(open(sealed, &"two".to_owned().into()).unwrap().is_none());
        assert!(open(b"", &"one".to_owned().into()).unwrap().is_none());
    }
}
