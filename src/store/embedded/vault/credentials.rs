//! Credentials that people connected: each encrypted and bound to its name, until it is replaced or removed.

use crate::store::{
    NewCredential, StoreError,
    vault::{Key, MOST_CREDENTIALS, Ring, SealedCredential, failed, no_room, seal_credential},
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS credentials(
        name TEXT PRIMARY KEY, version INTEGER NOT NULL, key INTEGER NOT NULL, sealed BLOB NOT NULL, until INTEGER
    ) WITHOUT ROWID;
";
/// The newest that was added to the tables.
const NEWEST: &str = "SELECT count(*) FROM pragma_table_info('credentials') WHERE name = 'until'";

/// Whether the tables are as this program knows them.
pub(super) fn is_current(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(NEWEST, [], |row| row.get(0))
}

/// Has the table be as this program knows it.
pub(super) fn make_table(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute_batch(SCHEMA)?;
    match is_current(tx)? {
        true => Ok(()),
        false => tx.execute_batch("ALTER TABLE credentials ADD COLUMN until INTEGER"),
    }
}

/// Removes those that end by themselves.
pub(super) fn retire(tx: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<usize> {
    tx.execute("DELETE FROM credentials WHERE until <= ?1", [now.as_second()])
}

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
    NewCredential { expected, value, until }: &NewCredential,
    (id, key): (u32, &Key),
    now: Timestamp,
) -> Result<Option<u64>, StoreError> {
    retire(tx, now)?;
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
        "INSERT OR REPLACE INTO credentials(name, version, key, sealed, until) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![name, version, id, sealed, until.map(|until| until.as_second())],
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
