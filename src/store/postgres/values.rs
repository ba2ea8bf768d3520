//! What processes keep for each other beside the record: keys, by their names.

use super::{
    journal::UNCONFIRMED,
    link::{Link, Session},
};
use crate::store::StoreError;

const READ: &str = "SELECT value FROM tollgate.keys WHERE name = $1";
const KEEP: &str = "INSERT INTO tollgate.keys(name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
const REPLACE: &str = "UPDATE tollgate.keys SET value = $2 WHERE name = $1 AND value = $3";

/// The key of a name, the same for all who ask: made of `fresh` where there is none.
pub(super) async fn secret(link: &Link, name: &str, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
    let session = link.connect(None).await?;
    replaced(link, &session, name, (None, fresh.to_vec())).await?;
    let kept = read(link, &session, name).await?.and_then(|value| value.try_into().ok());
    kept.ok_or_else(|| link.problem().says(&format!("the key `{name}` there is no key")))
}

/// What is kept under a name.
pub(super) async fn value(link: &Link, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    read(link, &link.connect(None).await?, name).await
}

/// Puts it in place where it still is what was expected.
pub(super) async fn replace(
    link: &Link,
    name: &str,
    change: (Option<Vec<u8>>, Vec<u8>),
) -> Result<bool, StoreError> {
    replaced(link, &link.connect(None).await?, name, change).await
}

async fn read(link: &Link, session: &Session, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let row = session.client.query_opt(READ, &[&name]).await.map_err(|error| link.problem().of(&error))?;
    Ok(row.map(|row| row.get(0)))
}

async fn replaced(
    link: &Link,
    session: &Session,
    name: &str,
    (expected, value): (Option<Vec<u8>>, Vec<u8>),
) -> Result<bool, StoreError> {
    let replaced = match &expected {
        None => session.client.execute(KEEP, &[&name, &value]).await,
        Some(expected) => session.client.execute(REPLACE, &[&name, &value, expected]).await,
    };
    match (replaced, session.has_warned()) {
        (Ok(replaced), false) => Ok(replaced == 1),
        (Ok(_), true) => Err(link.problem().says(UNCONFIRMED)),
        // It may be the answer alone that was lost.
        (Err(error), _) => match read(link, &link.connect(None).await?, name).await? {
            Some(there) if there == value => Ok(true),
            Some(_) | None => Err(link.problem().of(&error)),
        },
    }
}
