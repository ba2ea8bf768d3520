//! Credentials that people connected: each encrypted and bound to its name, until it is replaced or removed.

use crate::store::{
    StoreError,
    vault::{Key, MOST_CREDENTIALS, Ring, SealedCredential, failed, no_room, seal_credential},
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use secrecy::SecretString;

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS credentials(
        name TEXT PRIMARY KEY, version INTEGER NOT NULL, key INTEGER NOT NULL, sealed BLOB NOT NULL
    ) WITHOUT ROWID;
";

pub(super) fn find(connection: &Connection, name: &str) -> Result<Option<SealedCredential>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT version, key, sealed FROM credentials WHERE name = ?1")?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(SealedCredential { version: row.get(0)?, key: row.get(1)?, sealed: row.get(2)? })
    };
    Ok(statement.query_row([name], read).optional()?)
}

/// Puts one in its place; its version, or none where there is another one than was expected.
pub(super) fn put(
    tx: &Transaction<'_>,
    name: &str,
    (expected, value): (Option<u64>, &SecretString),
    (id, key): (u32, &Key),
    now: Timestamp,
) -> Result<Option<u64>, StoreError> {
    let before = find(tx, name)?.map(|row| row.version);
    if expected.is_some_and(|expected| before.unwrap_or(0) != i64::try_from(expected).unwrap_or(-1)) {
        return Ok(None);
    }
    let count: i64 = tx.query_row("SELECT count(*) FROM credentials", [], |row| row.get(0))?;
    if before.is_none() && count >= MOST_CREDENTIALS {
        return Err(no_room());
    }
    // No version comes twice, also where one was removed in between.
    let version = now.as_microsecond().max(before.unwrap_or(0).saturating_add(1)).max(1);
    let sealed = seal_credential((name, version), value, key)?;
    tx.execute(
        "INSERT OR REPLACE INTO credentials(name, version, key, sealed) VALUES (?1, ?2, ?3, ?4)",
        params![name, version, id, sealed],
    )?;
    Ok(u64::try_from(version).ok())
}

/// Encrypts all of them under one key. One that cannot be opened any more is removed: nobody could use it.
pub(super) fn encrypt_anew(tx: &Transaction<'_>, ring: &Ring, new: u32) -> Result<u64, StoreError> {
    let key = ring.key(new).ok_or_else(|| failed("its keys are not there"))?;
    let mut statement = tx.prepare("SELECT name FROM credentials")?;
    let names: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut values = 0;
    for name in names {
        let Some(row) = find(tx, &name)? else { continue };
        match ring.key(row.key).and_then(|old| row.opened(&name, old).ok()) {
            Some(value) => {
                let sealed = seal_credential((&name, row.version), &value, key)?;
                tx.execute(
                    "UPDATE credentials SET key = ?1, sealed = ?2 WHERE name = ?3",
                    params![new, sealed, name],
                )?;
                values += 1;
            }
            None => {
                tx.execute("DELETE FROM credentials WHERE name = ?1", [&name])?;
            }
        }
    }
    Ok(values)
}
