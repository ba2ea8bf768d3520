//! What a vault keeps, as it lies there: encrypted, and bound to what stands beside it. And how much that may be.

use super::{Key, failed};
use crate::{redaction::Tokenized, store::StoreError};
use secrecy::{ExposeSecret as _, SecretString};
use std::{sync::Arc, time::Duration};
use zeroize::Zeroizing;

/// Values that are kept for one agent or tenant, and their bytes; those that were used longest ago go first.
pub(in crate::store) const MOST_VALUES: i64 = 10_000;
pub(in crate::store) const MOST_BYTES: i64 = 64 << 20;
/// The bytes of all values together; whoever has the most pays.
pub(in crate::store) const MOST_IN_ALL: i64 = 1 << 30;

/// When a value was used last is known to the hour, so that a look at one seldom writes.
pub(in crate::store) const USED: i64 = 3_600;

/// Credentials that are kept at most.
pub(in crate::store) const MOST_CREDENTIALS: i64 = 50_000;
/// The largest one.
const LARGEST_CREDENTIAL: usize = 64 * 1024;

/// Of a duration.
pub(in crate::store) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// A value as it lies there.
pub(in crate::store) struct SealedValue {
    pub(in crate::store) scope: Arc<str>,
    pub(in crate::store) rule: Arc<str>,
    pub(in crate::store) detector: Arc<str>,
    pub(in crate::store) is_json: bool,
    pub(in crate::store) key: u32,
    pub(in crate::store) sealed: Vec<u8>,
    pub(in crate::store) used: i64,
}

impl SealedValue {
    /// What a sealed value is bound to: moved to another row, it cannot be opened.
    fn bound_to(&self, placeholder: &str) -> Vec<u8> {
        bound_to(placeholder, &self.scope, &self.rule, &self.detector, self.is_json)
    }

    pub(in crate::store) fn plain(
        &self,
        placeholder: &str,
        key: &Key,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let plain = key.open(&self.sealed, &self.bound_to(placeholder));
        plain.ok_or_else(|| failed("a value is not what was kept there"))
    }

    /// The same value under another key.
    pub(in crate::store) fn sealed_anew(
        &self,
        placeholder: &str,
        plain: &[u8],
        key: &Key,
    ) -> Result<Vec<u8>, StoreError> {
        key.seal(plain, &self.bound_to(placeholder))
    }

    pub(in crate::store) fn opened(self, placeholder: Arc<str>, key: &Key) -> Result<Tokenized, StoreError> {
        let plain = self.plain(&placeholder, key)?;
        let value = std::str::from_utf8(&plain).map_err(|_| failed("a value is not what was kept there"))?;
        Ok(Tokenized {
            placeholder,
            scope: self.scope,
            rule: self.rule,
            detector: self.detector,
            value: Zeroizing::new(value.to_owned()),
            is_json: self.is_json,
        })
    }
}

fn bound_to(placeholder: &str, scope: &str, rule: &str, detector: &str, is_json: bool) -> Vec<u8> {
    let kind = if is_json { "json" } else { "text" };
    [placeholder, scope, rule, detector, kind].join("\0").into_bytes()
}

/// A value, encrypted.
pub(in crate::store) fn seal_value(token: &Tokenized, key: &Key) -> Result<Vec<u8>, StoreError> {
    let bound = bound_to(&token.placeholder, &token.scope, &token.rule, &token.detector, token.is_json);
    key.seal(token.value.as_bytes(), &bound)
}

/// A credential as it lies there.
pub(in crate::store) struct SealedCredential {
    pub(in crate::store) version: i64,
    pub(in crate::store) key: u32,
    pub(in crate::store) sealed: Vec<u8>,
}

impl SealedCredential {
    pub(in crate::store) fn opened(&self, name: &str, key: &Key) -> Result<SecretString, StoreError> {
        let plain = key.open(&self.sealed, &credential_bound_to(name, self.version));
        let text = plain.and_then(|plain| String::from_utf8(plain.to_vec()).ok());
        text.map(SecretString::from).ok_or_else(|| damaged("it is not what was kept there"))
    }
}

/// What a sealed credential is bound to: under another name, or in place of a newer one, it cannot be opened.
fn credential_bound_to(name: &str, version: i64) -> Vec<u8> {
    format!("credential\0{name}\0{version}").into_bytes()
}

/// A credential, encrypted as this version of that name.
pub(in crate::store) fn seal_credential(
    (name, version): (&str, i64),
    value: &SecretString,
    key: &Key,
) -> Result<Vec<u8>, StoreError> {
    if value.expose_secret().len() > LARGEST_CREDENTIAL {
        return Err(failed("a credential is too large to be kept"));
    }
    key.seal(value.expose_secret().as_bytes(), &credential_bound_to(name, version))
}

pub(in crate::store) fn damaged(why: &str) -> StoreError {
    StoreError::Damaged(format!("a credential in the vault cannot be read: {why}"))
}

pub(in crate::store) fn no_room() -> StoreError {
    failed("there is no room for another credential")
}
