//! The port of the vault of `tokenize`: the only place where a raw value is kept, encrypted, until nobody has used it for a while.

mod ring;
mod sealed;

pub(super) use ring::{Key, Ring, failed};
pub(super) use sealed::{
    MOST_BYTES, MOST_CREDENTIALS, MOST_IN_ALL, MOST_VALUES, SealedCredential, SealedValue, USED, damaged,
    no_room, seal_credential, seal_value, seconds,
};

use super::StoreFuture;
use crate::{config::VaultConfig, redaction::Tokenized};
use jiff::Timestamp;
use secrecy::SecretString;
use std::{fmt, sync::Arc};

/// What a rotation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VaultRotation {
    /// Values that are encrypted under the new key now.
    pub values: u64,
    /// The number of the new key.
    pub key: u32,
    /// The keys are encrypted with `vault_key`.
    pub is_wrapped: bool,
}

/// A credential on its way into the vault.
#[derive(Clone, Debug)]
pub struct NewCredential {
    /// The version that has to be there for it to be kept (0: there must be none); none: whatever is there is replaced.
    pub expected: Option<u64>,
    /// What is kept, encrypted.
    pub value: SecretString,
    /// From when on the vault removes it by itself; none: it stays.
    pub until: Option<Timestamp>,
}

/// Keeps the values behind placeholders, for all processes on one store. Nothing is made before the first value is kept.
pub trait Vault: Send + Sync + fmt::Debug {
    /// What holds from now on.
    fn configure(&self, settings: VaultConfig);

    /// Keeps values, all or none. One that is there already counts as used. `fresh` becomes the first key where there is none.
    fn put(&self, tokens: Vec<Tokenized>, now: Timestamp, fresh: [u8; 32]) -> StoreFuture<'_, ()>;

    /// Those of the placeholders that are kept for one of these scopes. What is not there, somebody else's, or too old is left
    /// out: nobody can tell which.
    fn get(
        &self,
        placeholders: Vec<Arc<str>>,
        scopes: Vec<Arc<str>>,
        now: Timestamp,
    ) -> StoreFuture<'_, Vec<Tokenized>>;

    /// Keeps a credential under its name, encrypted. Its version, which no other one ever had; none where the one that is there
    /// has not the version that was expected (0: there must be none).
    fn put_credential(
        &self,
        name: String,
        new: NewCredential,
        now: Timestamp,
        fresh: [u8; 32],
    ) -> StoreFuture<'_, Option<u64>>;

    /// The credential of a name, with its version. One that nobody can read any more is [`Damaged`](super::StoreError::Damaged).
    fn credential(&self, name: String) -> StoreFuture<'_, Option<(u64, SecretString)>>;

    /// Removes a credential, where it has this version if one is named; whether there was one.
    fn remove_credential(&self, name: String, version: Option<u64>) -> StoreFuture<'_, bool>;

    /// Encrypts everything under a new key, and forgets the old ones. None: nothing was ever kept.
    fn rotate(&self, now: Timestamp, fresh: [u8; 32]) -> StoreFuture<'_, Option<VaultRotation>>;

    /// Removes what is too old, and says how many values went.
    fn retire(&self, now: Timestamp) -> StoreFuture<'_, u64>;
}
