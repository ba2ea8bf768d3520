//! The vault of `tokenize` and of credentials: a SQLite file of its own beside the store. Each value of `tokenize` is encrypted
//! and bound to its placeholder, to who may use it and to the rule that made it; each credential to its name.
//!
//! It is no part of the journal: what stands there stays until its segment is removed, and a value has to go when it is old, or
//! when too many came after it. What it says is no evidence: nothing is decided by it, and where it is lost, placeholders stay
//! placeholders.

mod credentials;
mod keys;
mod leaving;

pub use leaving::LeavingVault;

use super::terms;
use crate::{
    config::VaultConfig,
    redaction::Tokenized,
    store::{
        NewCredential, StoreError, StoreFuture, Vault, VaultRotation,
        vault::{
            Key, MOST_BYTES, MOST_IN_ALL, MOST_VALUES, Ring, SealedValue, USED, damaged, failed, seal_value,
            seconds,
        },
    },
};
use futures::FutureExt as _;
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use secrecy::SecretString;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// How long a lock of another process is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS kept(
        placeholder TEXT PRIMARY KEY, scope TEXT NOT NULL, rule TEXT NOT NULL, detector TEXT NOT NULL,
        json INTEGER NOT NULL, key INTEGER NOT NULL, sealed BLOB NOT NULL, bytes INTEGER NOT NULL, used INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS by_scope ON kept(scope, used, bytes);
    CREATE INDEX IF NOT EXISTS by_use ON kept(used);
    CREATE TABLE IF NOT EXISTS ring(current INTEGER NOT NULL);
";

/// One process's side of the vault.
#[derive(Clone)]
pub(super) struct EmbeddedVault(Arc<Inner>);

struct Inner {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    settings: VaultConfig,
    connection: Option<Connection>,
    ring: Option<Ring>,
}

impl fmt::Debug for EmbeddedVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EmbeddedVault").field(&self.0.path).finish()
    }
}

impl EmbeddedVault {
    /// Beside the store's file.
    pub(super) fn beside(store: &Path) -> Self {
        let path = store.with_extension("vault");
        Self(Arc::new(Inner { path, state: Mutex::default() }))
    }

    /// On a thread that may wait.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, &mut State) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<'static, T> {
        let inner = self.0.clone();
        async move {
            let done = tokio::task::spawn_blocking(move || work(&inner, &mut inner.state.lock())).await;
            done.unwrap_or_else(|error| Err(failed(&error.to_string())))
        }
        .boxed()
    }
}

impl Inner {
    fn keys(&self) -> PathBuf {
        self.path.with_extension("vault-keys")
    }

    /// Opens the file; makes it where there is none and `make` says so.
    fn open<'s>(&self, state: &'s mut State, make: bool) -> Result<Option<&'s mut State>, StoreError> {
        if state.connection.is_none() {
            if !self.path.exists() {
                if !make {
                    return Ok(None);
                }
                private_file(&self.path).map_err(|error| terms::io(&error))?;
            }
            state.connection = Some(connect(&self.path)?);
        }
        Ok(Some(state))
    }
}

/// Opens the file, and has its tables be as this program knows them.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // What is removed is overwritten.
    connection.pragma_update(None, "secure_delete", "ON")?;
    if !credentials::is_current(&connection)? {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(SCHEMA)?;
        credentials::make_table(&tx)?;
        tx.commit()?;
    }
    Ok(connection)
}

/// Makes an empty file for this user alone. SQLite gives the files beside it the same mode.
fn private_file(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

impl State {
    /// The number of the key under which new values are encrypted, with the ring that has it. To be asked within a
    /// transaction that writes: only so nobody else changes the keys meanwhile.
    fn current(
        tx: &Transaction<'_>,
        ring: &mut Option<Ring>,
        (file, settings): (&Path, &VaultConfig),
        (now, fresh): (Timestamp, [u8; 32]),
    ) -> Result<u32, StoreError> {
        let current: Option<u32> =
            tx.query_row("SELECT current FROM ring", [], |row| row.get(0)).optional()?;
        let knows = |ring: &Option<Ring>, id: u32| ring.as_ref().is_some_and(|ring| ring.key(id).is_some());
        if let Some(id) = current {
            if !knows(ring, id) {
                *ring = keys::read(file, settings)?;
            }
            if !knows(ring, id) {
                return Err(failed("its keys are gone: what it keeps cannot be read any more"));
            }
        } else {
            // A process may have died between the file and its commit.
            *ring = Some(match keys::read(file, settings)? {
                Some(ring) => ring,
                None => Ring::first(fresh, now)?,
            });
        }
        let Some(ring) = ring.as_mut() else { return Err(failed("its keys are not there")) };
        if !ring.is_settled() {
            keys::write(ring, file, settings)?;
        }
        match current {
            Some(id) => Ok(id),
            None => {
                let id = ring.newest();
                tx.execute("INSERT INTO ring(current) VALUES (?1)", [id])?;
                Ok(id)
            }
        }
    }
}

impl Vault for EmbeddedVault {
    fn configure(&self, settings: VaultConfig) {
        let mut state = self.0.state.lock();
        state.settings = settings;
        // Read again with the keys that are said now.
        state.ring = None;
    }

    fn put(&self, tokens: Vec<Tokenized>, now: Timestamp, fresh: [u8; 32]) -> StoreFuture<'_, ()> {
        self.run(move |inner, state| {
            let file = inner.keys();
            let Some(State { connection: Some(connection), ring, settings }) = inner.open(state, true)?
            else {
                return Err(failed("it cannot be made"));
            };
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let id = State::current(&tx, ring, (&file, settings), (now, fresh))?;
            let key = ring
                .as_ref()
                .and_then(|ring| ring.key(id))
                .ok_or_else(|| failed("its keys are not there"))?;
            put_all(&tx, &tokens, (id, key), now)?;
            Ok(tx.commit()?)
        })
    }

    fn get(
        &self,
        placeholders: Vec<Arc<str>>,
        scopes: Vec<Arc<str>>,
        now: Timestamp,
    ) -> StoreFuture<'_, Vec<Tokenized>> {
        self.run(move |inner, state| {
            let file = inner.keys();
            let Some(State { connection: Some(connection), ring, settings }) = inner.open(state, false)?
            else {
                return Ok(Vec::new());
            };
            let oldest = now.as_second().saturating_sub(seconds(settings.retention));
            let mut found = Vec::new();
            for placeholder in placeholders {
                let Some(row) = find(connection, &placeholder)? else { continue };
                if row.used < oldest || !scopes.contains(&row.scope) {
                    continue;
                }
                if ring.as_ref().is_none_or(|ring| ring.key(row.key).is_none()) {
                    // Another process has changed the keys.
                    *ring = keys::read(&file, settings)?;
                }
                let key = ring.as_ref().and_then(|ring| ring.key(row.key));
                let key = key.ok_or_else(|| failed("the key of a value is not there"))?;
                if row.used < now.as_second() - USED {
                    let used = connection.execute(
                        "UPDATE kept SET used = ?1 WHERE placeholder = ?2",
                        params![now.as_second(), &*placeholder],
                    );
                    // It goes a little earlier then.
                    used.map_or_else(|error| tracing::debug!(%error, "vault.not_used"), drop);
                }
                found.push(row.opened(placeholder, key)?);
            }
            Ok(found)
        })
    }

    fn put_credential(
        &self,
        name: String,
        new: NewCredential,
        now: Timestamp,
        fresh: [u8; 32],
    ) -> StoreFuture<'_, Option<u64>> {
        self.run(move |inner, state| {
            let file = inner.keys();
            let Some(State { connection: Some(connection), ring, settings }) = inner.open(state, true)?
            else {
                return Err(failed("it cannot be made"));
            };
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let id = State::current(&tx, ring, (&file, settings), (now, fresh))?;
            let key = ring.as_ref().and_then(|ring| ring.key(id));
            let key = key.ok_or_else(|| failed("its keys are not there"))?;
            let version = credentials::put(&tx, &name, &new, (id, key), now)?;
            tx.commit()?;
            Ok(version)
        })
    }

    fn credential(&self, name: String) -> StoreFuture<'_, Option<(u64, SecretString)>> {
        self.run(move |inner, state| {
            let file = inner.keys();
            let Some(State { connection: Some(connection), ring, settings }) = inner.open(state, false)?
            else {
                return Ok(None);
            };
            let Some(row) = credentials::find(connection, &name)? else { return Ok(None) };
            if ring.as_ref().is_none_or(|ring| ring.key(row.key).is_none()) {
                // Another process has changed the keys.
                *ring = keys::read(&file, settings)?;
            }
            let key = ring.as_ref().and_then(|ring| ring.key(row.key));
            let key = key.ok_or_else(|| damaged("its key is not there"))?;
            Ok(Some((u64::try_from(row.version).unwrap_or(0), row.opened(&name, key)?)))
        })
    }

    fn remove_credential(&self, name: String, version: Option<u64>) -> StoreFuture<'_, bool> {
        self.run(move |inner, state| {
            let Some(State { connection: Some(connection), .. }) = inner.open(state, false)? else {
                return Ok(false);
            };
            let version = version.map(|version| i64::try_from(version).unwrap_or(-1));
            let removed = connection.execute(
                "DELETE FROM credentials WHERE name = ?1 AND (?2 IS NULL OR version = ?2)",
                params![name, version],
            );
            Ok(removed? > 0)
        })
    }

    fn rotate(&self, now: Timestamp, fresh: [u8; 32]) -> StoreFuture<'_, Option<VaultRotation>> {
        self.run(move |inner, state| {
            let file = inner.keys();
            let Some(State { connection: Some(connection), ring, settings }) = inner.open(state, false)?
            else {
                return Ok(None);
            };
            // What is encrypted under the new key is on the disk before the only key of what was there is forgotten.
            connection.pragma_update(None, "synchronous", "FULL")?;
            let rotated = rotate(connection, ring, (&file, settings), (now, fresh));
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            rotated.map(Some)
        })
    }

    fn retire(&self, now: Timestamp) -> StoreFuture<'_, u64> {
        self.run(move |inner, state| {
            let Some(State { connection: Some(connection), settings, .. }) = inner.open(state, false)? else {
                return Ok(0);
            };
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let gone = retire(&tx, now, settings.retention)?;
            make_room_for_all(&tx)?;
            tx.commit()?;
            Ok(gone)
        })
    }
}

/// Encrypts all of it under a new key. For a connection whose commits are on the disk.
fn rotate(
    connection: &mut Connection,
    ring: &mut Option<Ring>,
    (file, settings): (&Path, &VaultConfig),
    (now, fresh): (Timestamp, [u8; 32]),
) -> Result<VaultRotation, StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // What the file has counts, not what this process remembers.
    *ring = None;
    State::current(&tx, ring, (file, settings), (now, fresh))?;
    let Some(ring) = ring.as_mut() else { return Err(failed("its keys are not there")) };
    let new = ring.add(fresh, now)?;
    // Both lie there until the values are encrypted again: a process that dies in between leaves them readable.
    keys::write(ring, file, settings)?;
    retire(&tx, now, settings.retention)?;
    let values = encrypt_anew(&tx, ring, new)? + credentials::encrypt_anew(&tx, ring, new)?;
    tx.execute("UPDATE ring SET current = ?1", [new])?;
    tx.commit()?;
    ring.forget_before(new);
    keys::write(ring, file, settings)?;
    Ok(VaultRotation { values, key: new, is_wrapped: settings.key.is_some() })
}

fn find(connection: &Connection, placeholder: &str) -> Result<Option<SealedValue>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT scope, rule, detector, json, key, sealed, used FROM kept WHERE placeholder = ?1",
    )?;
    Ok(statement.query_row([placeholder], read).optional()?)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<SealedValue> {
    let text = |at: usize| row.get::<_, String>(at).map(Arc::from);
    Ok(SealedValue {
        scope: text(0)?,
        rule: text(1)?,
        detector: text(2)?,
        is_json: row.get(3)?,
        key: row.get(4)?,
        sealed: row.get(5)?,
        used: row.get(6)?,
    })
}

fn put_all(
    tx: &Transaction<'_>,
    tokens: &[Tokenized],
    (id, key): (u32, &Key),
    now: Timestamp,
) -> Result<(), StoreError> {
    let now = now.as_second();
    let mut scopes: Vec<&str> = Vec::new();
    let mut used = tx.prepare_cached("UPDATE kept SET used = ?1 WHERE placeholder = ?2")?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO kept(placeholder, scope, rule, detector, json, key, sealed, bytes, used)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for token in tokens {
        if used.execute(params![now, &*token.placeholder])? > 0 {
            continue;
        }
        let sealed = seal_value(token, key)?;
        insert.execute(params![
            &*token.placeholder,
            &*token.scope,
            &*token.rule,
            &*token.detector,
            token.is_json,
            id,
            sealed,
            i64::try_from(sealed.len()).unwrap_or(i64::MAX),
            now
        ])?;
        if !scopes.contains(&&*token.scope) {
            scopes.push(&token.scope);
        }
    }
    for scope in scopes {
        make_room(tx, scope)?;
    }
    Ok(())
}

/// Removes what one agent or tenant has too much of.
fn make_room(tx: &Transaction<'_>, scope: &str) -> Result<(), StoreError> {
    // The newest that have room stay.
    tx.prepare_cached(
        "DELETE FROM kept WHERE placeholder IN (
             SELECT placeholder FROM (
                 SELECT placeholder, row_number() OVER newest AS place, sum(bytes) OVER newest AS total
                 FROM kept WHERE scope = ?1
                 WINDOW newest AS (ORDER BY used DESC, placeholder ROWS UNBOUNDED PRECEDING)
             ) WHERE place > ?2 OR total > ?3
         )",
    )?
    .execute(params![scope, MOST_VALUES, MOST_BYTES])?;
    Ok(())
}

/// Removes what all have too much of together, from whoever has the most.
fn make_room_for_all(tx: &Transaction<'_>) -> Result<(), StoreError> {
    loop {
        let total: i64 = tx.query_row("SELECT coalesce(sum(bytes), 0) FROM kept", [], |row| row.get(0))?;
        if total <= MOST_IN_ALL {
            return Ok(());
        }
        let removed = tx.execute(
            "DELETE FROM kept WHERE placeholder IN (
                 SELECT placeholder FROM kept
                 WHERE scope = (SELECT scope FROM kept GROUP BY scope ORDER BY sum(bytes) DESC LIMIT 1)
                 ORDER BY used LIMIT 1000
             )",
            [],
        )?;
        if removed == 0 {
            return Ok(());
        }
    }
}

fn retire(tx: &Transaction<'_>, now: Timestamp, retention: Duration) -> Result<u64, StoreError> {
    credentials::retire(tx, now)?;
    let oldest = now.as_second().saturating_sub(seconds(retention));
    Ok(tx.execute("DELETE FROM kept WHERE used < ?1", [oldest])? as u64)
}

/// Encrypts every value under one key. One that cannot be opened any more is removed: nobody could use it.
fn encrypt_anew(tx: &Transaction<'_>, ring: &Ring, new: u32) -> Result<u64, StoreError> {
    let key = ring.key(new).ok_or_else(|| failed("its keys are not there"))?;
    let mut last = String::new();
    let mut values = 0;
    loop {
        let next: Option<String> = tx
            .prepare_cached(
                "SELECT placeholder FROM kept WHERE placeholder > ?1 ORDER BY placeholder LIMIT 1",
            )?
            .query_row([&last], |row| row.get(0))
            .optional()?;
        let Some(placeholder) = next else { return Ok(values) };
        let row = find(tx, &placeholder)?;
        let plain =
            row.as_ref().and_then(|row| Some((row, row.plain(&placeholder, ring.key(row.key)?).ok()?)));
        match plain {
            Some((row, plain)) => {
                let sealed = row.sealed_anew(&placeholder, &plain, key)?;
                tx.prepare_cached("UPDATE kept SET key = ?1, sealed = ?2 WHERE placeholder = ?3")?
                    .execute(params![new, sealed, placeholder])?;
                values += 1;
            }
            None => {
                tx.execute("DELETE FROM kept WHERE placeholder = ?1", [&placeholder])?;
            }
        }
        last = placeholder;
    }
}

#[cfg(test)]
mod tests;
