//! What an upstream connection needs of whoever keeps the credentials that people connected.

use crate::model::ConnectionKey;
use futures::future::BoxFuture;
use secrecy::SecretString;
use std::{fmt, time::Duration};

/// An access token of somebody's.
#[derive(Clone)]
pub struct HeldToken {
    /// What is sent.
    pub access_token: SecretString,
    /// Of which credential it is: another number is another credential.
    pub generation: u64,
    /// After so long it is asked for again.
    pub renew: Duration,
    /// After so long it has ended.
    pub lasts: Duration,
}

impl fmt::Debug for HeldToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, lasts, .. } = self;
        f.debug_struct("HeldToken")
            .field("generation", generation)
            .field("lasts", lasts)
            .finish_non_exhaustive()
    }
}

/// Keeps credentials, renews them, and forgets those that do not count any more.
pub trait Credentials: Send + Sync + fmt::Debug {
    /// Which credential somebody has, as far as this process knows; none: none. Asked with every request.
    fn generation(&self, key: &ConnectionKey) -> Option<u64>;

    /// A token with some life left: renewed by one for all who wait, in all processes. `refused` is one that the upstream did
    /// not take. The error has no secret in it.
    fn token<'a>(
        &'a self,
        key: &'a ConnectionKey,
        refused: Option<&'a SecretString>,
    ) -> BoxFuture<'a, Result<HeldToken, String>>;

    /// The upstream takes no token of this credential, the fresh one included that was sent last.
    fn rejected<'a>(&'a self, key: &'a ConnectionKey, token: &'a SecretString) -> BoxFuture<'a, ()>;

    /// The upstream takes a token of this credential.
    fn accepted(&self, key: &ConnectionKey);

    /// The upstream wants more scopes than a token of this credential has.
    fn insufficient<'a>(
        &'a self,
        key: &'a ConnectionKey,
        generation: u64,
        scopes: Option<String>,
    ) -> BoxFuture<'a, ()>;
}
