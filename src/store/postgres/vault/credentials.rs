//! Credentials that people connected.

use super::{super::problem::Problem, ring::Held};
use crate::store::{
    NewCredential, StoreError,
    vault::{Key, MOST_CREDENTIALS, Ring, SealedCredential, failed, no_room, seal_credential},
};
use jiff::Timestamp;
use tokio_postgres::{Client, Row, types::Type};

/// Credentials that are encrypted at once.
const AT_ONCE: i64 = 200;

/// The keys come along where this process does not have the one of the credential.
const FIND: &str =
    "SELECT c.name, c.version, c.key, c.sealed, CASE WHEN c.key = ANY($2) THEN NULL ELSE r.keys END
    FROM tollgate.vault_credentials c LEFT JOIN tollgate.vault_ring r ON r.id = 1 WHERE c.name = $1";
/// Whoever removes one meanwhile waits, and looks again.
const VERSION: &str = "SELECT version FROM tollgate.vault_credentials WHERE name = $1 FOR UPDATE";
const COUNT: &str = "SELECT count(*) FROM tollgate.vault_credentials";
const PUT: &str =
    "INSERT INTO tollgate.vault_credentials(name, version, key, sealed, until) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (name) DO UPDATE SET version = $2, key = $3, sealed = $4, until = $5";
const ISSUED: &str = "UPDATE tollgate.vault_ring SET versions = $1";
const REMOVE: &str =
    "DELETE FROM tollgate.vault_credentials WHERE name = $1 AND ($2::int8 IS NULL OR version = $2)";
const RETIRE: &str = "DELETE FROM tollgate.vault_credentials WHERE until <= $1";
const PAGE: &str = "SELECT name, version, key, sealed FROM tollgate.vault_credentials
    WHERE name > $1 AND key < $2 ORDER BY name LIMIT $3";
const ENCRYPTED: &str = "UPDATE tollgate.vault_credentials c SET key = $1, sealed = new.sealed
    FROM unnest($2::text[], $3::bytea[]) AS new(name, sealed) WHERE c.name = new.name";
const REMOVE_ALL: &str = "DELETE FROM tollgate.vault_credentials WHERE name = ANY($1)";

fn read(row: &Row) -> SealedCredential {
    let key = u32::try_from(row.get::<_, i64>(2)).unwrap_or(0);
    SealedCredential { version: row.get(1), key, sealed: row.get(3) }
}

/// One of them, and the keys where this process lacks its own; `ids`: those it has.
pub(super) async fn find(
    client: &Client,
    name: &str,
    ids: &[i64],
) -> Result<Option<(SealedCredential, Option<String>)>, tokio_postgres::Error> {
    let row = client.query_typed_opt(FIND, &[(&name, Type::TEXT), (&ids, Type::INT8_ARRAY)]).await?;
    Ok(row.map(|row| (read(&row), row.get(4))))
}

/// Whether one has this version.
pub(super) async fn has(
    client: &Client,
    problem: &Problem,
    name: &str,
    version: i64,
) -> Result<bool, StoreError> {
    let row = client.query_typed_opt(VERSION, &[(&name, Type::TEXT)]).await;
    Ok(row.map_err(|error| problem.of(&error))?.is_some_and(|row| row.get::<_, i64>(0) == version))
}

/// Puts one in its place; its version, or none where there is another one than was expected.
pub(super) async fn put(
    client: &Client,
    problem: &Problem,
    name: &str,
    NewCredential { expected, value, until }: &NewCredential,
    held: &Held,
    now: Timestamp,
) -> Result<Option<i64>, StoreError> {
    let failed = |error: tokio_postgres::Error| problem.of(&error);
    retire(client, problem, now).await?;
    let before = client.query_typed_opt(VERSION, &[(&name, Type::TEXT)]).await.map_err(failed)?;
    let before: Option<i64> = before.map(|row| row.get(0));
    if expected.is_some_and(|expected| before.unwrap_or(0) != i64::try_from(expected).unwrap_or(-1)) {
        return Ok(None);
    }
    let count: i64 = client.query_typed_one(COUNT, &[]).await.map_err(failed)?.get(0);
    if before.is_none() && count >= MOST_CREDENTIALS {
        return Err(no_room());
    }
    // No version comes twice, whichever replica's clock is behind, also where one was removed in between.
    let version = now.as_microsecond().max(held.versions.saturating_add(1)).max(1);
    let sealed = seal_credential((name, version), value, held.key()?)?;
    client.execute_typed(ISSUED, &[(&version, Type::INT8)]).await.map_err(failed)?;
    let (key, until) = (i64::from(held.current), until.map(|until| until.as_second()));
    let row: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 5] = [
        (&name, Type::TEXT),
        (&version, Type::INT8),
        (&key, Type::INT8),
        (&sealed, Type::BYTEA),
        (&until, Type::INT8),
    ];
    client.execute_typed(PUT, &row).await.map_err(failed)?;
    Ok(Some(version))
}

/// Whether there was one.
pub(super) async fn remove(
    client: &Client,
    problem: &Problem,
    name: &str,
    version: Option<i64>,
) -> Result<bool, StoreError> {
    let removed = client.execute_typed(REMOVE, &[(&name, Type::TEXT), (&version, Type::INT8)]).await;
    Ok(removed.map_err(|error| problem.of(&error))? > 0)
}

/// Removes those that end by themselves.
pub(super) async fn retire(client: &Client, problem: &Problem, now: Timestamp) -> Result<(), StoreError> {
    let now = now.as_second();
    let gone = client.execute_typed(RETIRE, &[(&now, Type::INT8)]).await;
    gone.map(drop).map_err(|error| problem.of(&error))
}

/// Those behind a name, in their order, of keys before one.
pub(super) async fn page(
    client: &Client,
    problem: &Problem,
    (before, after): (u32, &str),
) -> Result<Vec<(String, SealedCredential)>, StoreError> {
    let before = i64::from(before);
    let asked = [(&after as _, Type::TEXT), (&before as _, Type::INT8), (&AT_ONCE as _, Type::INT8)];
    let rows = client.query_typed(PAGE, &asked).await.map_err(|error| problem.of(&error))?;
    Ok(rows.iter().map(|row| (row.get(0), read(row))).collect())
}

/// Encrypts some of those under older keys under this one: how many, and behind which others may follow. One that cannot be
/// opened any more is removed: nobody could use it.
pub(super) async fn encrypt_page(
    client: &Client,
    problem: &Problem,
    ring: &Ring,
    (new, after): (u32, &str),
) -> Result<(u64, Option<String>), StoreError> {
    let key: &Key = ring.key(new).ok_or_else(|| failed("its keys are not there"))?;
    let rows = page(client, problem, (new, after)).await?;
    let (mut names, mut sealed, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for (name, row) in &rows {
        match ring.key(row.key).and_then(|old| row.opened(name, old).ok()) {
            Some(value) => {
                names.push(name.as_str());
                sealed.push(seal_credential((name, row.version), &value, key)?);
            }
            None => lost.push(name.as_str()),
        }
    }
    let failed = |error: tokio_postgres::Error| problem.of(&error);
    let number = i64::from(new);
    let anew =
        [(&number as _, Type::INT8), (&names as _, Type::TEXT_ARRAY), (&sealed as _, Type::BYTEA_ARRAY)];
    let done = client.execute_typed(ENCRYPTED, &anew).await.map_err(failed)?;
    if !lost.is_empty() {
        client.execute_typed(REMOVE_ALL, &[(&lost, Type::TEXT_ARRAY)]).await.map_err(failed)?;
    }
    Ok((done, rows.last().map(|(name, _)| name.clone())))
}
