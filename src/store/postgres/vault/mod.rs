//! The vault in the database, one for all replicas: the values of `tokenize` and the credentials that people connected, each
//! encrypted as in the vault of one machine, and in one row the keys, encrypted with `vault_key`, which is in no database.
//!
//! Transactions that write lock the row of the keys before anything else, so that they happen one after the other: the bounds of
//! each scope and of credentials are exact (what all scopes have together is brought down at retention, some at a time), of two
//! who replace one version of a credential one is first, and nothing is written under a key that a rotation forgets. They run as
//! `READ COMMITTED`: whoever had to wait for the row sees what was committed meanwhile. What reads is one statement, and so sees
//! rows and keys as of one moment. Beside that, without the row, only two things are done: the note that a value was used, which
//! waits for no other lock, and the removal of one credential.

mod arriving;
mod credentials;
mod ring;
mod session;
mod values;

pub(super) use arriving::arrive;

use super::{link::Link, problem::Problem};
use crate::{
    config::VaultConfig,
    redaction::Tokenized,
    store::{
        NewCredential, StoreError, StoreFuture, Vault, VaultRotation,
        vault::{Ring, damaged, failed, seconds},
    },
};
use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use parking_lot::Mutex as Lock;
use ring::{Held, Known};
use secrecy::SecretString;
use session::{Broken, Sessions};
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{runtime::Handle, time::timeout};
use tokio_postgres::Client;

/// How long it is looked whether a credential is there when the connection was lost as it was committed: until after the server has
/// ended a transaction that nobody goes on with.
const LOOKED_FOR: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// One process's side of the vault.
#[derive(Clone)]
pub(super) struct PostgresVault(Arc<Inner>);

struct Inner {
    sessions: Sessions,
    /// Where the connections live.
    handle: Handle,
    state: Lock<Known>,
    /// Says whether something may be decided by this machine's clock, for a process that knows.
    clock: OnceLock<Box<dyn Fn() -> Result<(), StoreError> + Send + Sync>>,
}

impl fmt::Debug for PostgresVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresVault").field(&self.0.sessions).finish()
    }
}

impl PostgresVault {
    pub(super) fn new(link: Arc<Link>, handle: Handle) -> Self {
        let sessions = Sessions::new(link);
        Self(Arc::new(Inner { sessions, handle, state: Lock::default(), clock: OnceLock::new() }))
    }

    /// Nothing is written from now on where this refuses.
    pub(super) fn go_by(&self, clock: impl Fn() -> Result<(), StoreError> + Send + Sync + 'static) {
        self.0.clock.get_or_init(|| Box::new(clock));
    }

    /// Goes on whoever leaves.
    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> StoreFuture<'static, T> {
        let handle = self.0.handle.clone();
        async move { handle.spawn(work).await.unwrap_or(Err(StoreError::Closed)) }.boxed()
    }
}

impl Inner {
    fn known(&self) -> Known {
        self.state.lock().clone()
    }

    /// Remembers keys as they lie there, unless other settings are in force by now.
    fn learn(&self, known: &Known, ring: Arc<Ring>) {
        self.state.lock().learn(known, ring);
    }

    /// Does something while it holds the keys, which are made of `fresh` where there are none; none: there are none.
    async fn holding<T: Send + 'static>(
        &self,
        fresh: Option<(Timestamp, [u8; 32])>,
        work: impl for<'w> FnOnce(&'w Client, &'w Problem, Held) -> BoxFuture<'w, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> Result<Option<T>, Broken<Option<T>>> {
        if let Some(clock) = self.clock.get() {
            clock().map_err(Broken::Undone)?;
        }
        let known = self.known();
        let problem = self.sessions.problem();
        let keys = known.clone();
        let done = self.sessions.transaction(move |client| {
            async move {
                let Some(held) = ring::hold(client, &problem, &keys, fresh).await? else { return Ok(None) };
                let ring = held.ring.clone();
                Ok(Some((work(client, &problem, held).await?, ring)))
            }
            .boxed()
        });
        match done.await {
            Ok(Some((value, ring))) => {
                self.learn(&known, ring);
                Ok(Some(value))
            }
            Ok(None) => Ok(None),
            Err(Broken::Undone(error)) => Err(Broken::Undone(error)),
            Err(Broken::Unsure(value, error)) => Err(Broken::Unsure(value.map(|(value, _)| value), error)),
        }
    }

    /// Whether a credential has this version, once nobody can put it there any more.
    async fn is_there(&self, name: &str, version: i64) -> bool {
        let looked = timeout(LOOKED_FOR, async {
            loop {
                let name = name.to_owned();
                let look = self.holding(None, move |client, problem, _held| {
                    async move {
                        // A server that was restarted shows what no standby has yet: a commit behind it waits for the standby.
                        ring::confirm(client, problem).await?;
                        credentials::has(client, problem, &name, version).await
                    }
                    .boxed()
                });
                if let Ok(there) = look.await {
                    return there.unwrap_or(false);
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        });
        looked.await.unwrap_or(false)
    }

    /// Removes what is too old; how many values that were.
    async fn retire(&self, now: Timestamp) -> Result<u64, StoreError> {
        let retention = self.known().settings.retention;
        let mut all = 0;
        loop {
            let page = self.holding(None, move |client, problem, _held| {
                async move { values::retire(client, problem, now, retention).await }.boxed()
            });
            match page.await? {
                // A few at a time: others may write in between.
                Some(gone) if gone >= values::RETIRED_AT_ONCE => all += gone,
                Some(gone) => return Ok(all + gone),
                None => return Ok(all),
            }
        }
    }

    /// Removes what all scopes have too much of together.
    async fn make_room_for_all(&self) -> Result<(), StoreError> {
        loop {
            let page = self.holding(None, move |client, problem, _held| {
                async move { values::make_room_for_all(client, problem).await }.boxed()
            });
            // A few at a time: others may write in between.
            if page.await? != Some(true) {
                return Ok(());
            }
        }
    }

    async fn rotate(&self, now: Timestamp, fresh: [u8; 32]) -> Result<Option<VaultRotation>, StoreError> {
        self.retire(now).await?;
        let settings = self.known().settings;
        // From here on new values are encrypted under the new key, and the old ones lie beside it for as long as they are needed:
        // a process that dies in between leaves everything readable, and the next rotation goes on.
        let begun = self.holding(None, move |client, problem, held| {
            async move {
                let new = ring::add(client, problem, &settings, (now, fresh)).await?;
                drop(held);
                Ok(new)
            }
            .boxed()
        });
        let Some(new) = begun.await? else { return Ok(None) };
        // A few at a time: others may write in between.
        let mut values = 0;
        let mut after = String::new();
        loop {
            let from = std::mem::take(&mut after);
            let page = self.holding(None, move |client, problem, held| {
                async move { values::encrypt_page(client, problem, &held.ring, (new, &from)).await }.boxed()
            });
            let Some((done, last)) = page.await? else { return Err(failed("its keys are not there")) };
            values += done;
            let Some(last) = last else { break };
            after = last;
        }
        loop {
            let from = std::mem::take(&mut after);
            let page = self.holding(None, move |client, problem, held| {
                async move { credentials::encrypt_page(client, problem, &held.ring, (new, &from)).await }
                    .boxed()
            });
            let Some((done, last)) = page.await? else { return Err(failed("its keys are not there")) };
            values += done;
            let Some(last) = last else { break };
            after = last;
        }
        let settings = self.known().settings;
        let ended = self.holding(None, move |client, problem, _held| {
            async move { ring::forget_before(client, problem, &settings, new).await }.boxed()
        });
        ended.await?;
        // What is in memory goes, too.
        self.state.lock().ring = None;
        Ok(Some(VaultRotation { values, key: new, is_wrapped: true }))
    }
}

impl Vault for PostgresVault {
    fn configure(&self, settings: VaultConfig) {
        self.0.state.lock().configure(settings);
    }

    fn put(&self, tokens: Vec<Tokenized>, now: Timestamp, fresh: [u8; 32]) -> StoreFuture<'_, ()> {
        let inner = self.0.clone();
        self.run(async move {
            let put = inner.holding(Some((now, fresh)), move |client, problem, held| {
                async move { values::put(client, problem, &tokens, (held.current, held.key()?), now).await }
                    .boxed()
            });
            Ok(put.await.map(drop)?)
        })
    }

    fn get(
        &self,
        placeholders: Vec<Arc<str>>,
        scopes: Vec<Arc<str>>,
        now: Timestamp,
    ) -> StoreFuture<'_, Vec<Tokenized>> {
        let inner = self.0.clone();
        self.run(async move {
            let known = inner.known();
            let oldest = now.as_second().saturating_sub(seconds(known.settings.retention));
            let (wanted, ids) = (values::Wanted { placeholders, scopes, oldest }, known.ids());
            let (wanted, ids) = (&wanted, &ids);
            let found = inner
                .sessions
                .read(|session| async move { values::find(&session.client, wanted, ids).await });
            let (rows, text) = found.await?;
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            let ring = known.read(text.as_deref())?;
            inner.learn(&known, ring.clone());
            values::note_used(&inner.sessions, &rows, now).await;
            let opened = rows.into_iter().map(|(placeholder, row)| {
                let key = ring.key(row.key).ok_or_else(|| failed("the key of a value is not there"))?;
                row.opened(placeholder, key)
            });
            opened.collect()
        })
    }

    fn put_credential(
        &self,
        name: String,
        new: NewCredential,
        now: Timestamp,
        fresh: [u8; 32],
    ) -> StoreFuture<'_, Option<u64>> {
        let inner = self.0.clone();
        self.run(async move {
            let told = name.clone();
            let put = inner.holding(Some((now, fresh)), move |client, problem, held| {
                async move { credentials::put(client, problem, &name, &new, &held, now).await }.boxed()
            });
            let version = match put.await {
                Ok(version) => version.flatten(),
                // Who is told that it is not there shall not be wrong: what an issuer gives it gives once.
                Err(Broken::Unsure(Some(Some(version)), error)) => {
                    if !inner.is_there(&told, version).await {
                        return Err(error);
                    }
                    Some(version)
                }
                Err(error) => return Err(error.into()),
            };
            Ok(version.and_then(|version| u64::try_from(version).ok()))
        })
    }

    fn credential(&self, name: String) -> StoreFuture<'_, Option<(u64, SecretString)>> {
        let inner = self.0.clone();
        self.run(async move {
            let known = inner.known();
            let ids = known.ids();
            let (asked, ids) = (&name, &ids);
            let found = inner
                .sessions
                .read(|session| async move { credentials::find(&session.client, asked, ids).await });
            let Some((row, text)) = found.await? else { return Ok(None) };
            let ring = known.read(text.as_deref())?;
            inner.learn(&known, ring.clone());
            let key = ring.key(row.key).ok_or_else(|| damaged("its key is not there"))?;
            Ok(Some((u64::try_from(row.version).unwrap_or(0), row.opened(&name, key)?)))
        })
    }

    fn remove_credential(&self, name: String, version: Option<u64>) -> StoreFuture<'_, bool> {
        let inner = self.0.clone();
        self.run(async move {
            let version = version.map(|version| i64::try_from(version).unwrap_or(-1));
            let problem = inner.sessions.problem();
            let removed = inner.sessions.transaction(move |client| {
                async move { credentials::remove(client, &problem, &name, version).await }.boxed()
            });
            Ok(removed.await?)
        })
    }

    fn rotate(&self, now: Timestamp, fresh: [u8; 32]) -> StoreFuture<'_, Option<VaultRotation>> {
        let inner = self.0.clone();
        self.run(async move { inner.rotate(now, fresh).await })
    }

    fn retire(&self, now: Timestamp) -> StoreFuture<'_, u64> {
        let inner = self.0.clone();
        self.run(async move {
            let retired = inner.retire(now).await?;
            inner.make_room_for_all().await?;
            Ok(retired)
        })
    }
}
