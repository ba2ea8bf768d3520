//! What processes keep for each other beside the record: keys, by their names.

use super::{
    COMMITTING, PATIENCE,
    link::{BEGIN, COMMIT, Link, Session},
};
use crate::store::StoreError;
use std::time::Duration;
use tokio::time::timeout;

/// How long a value is looked for that may have been put in place: until after the server has ended a transaction that nobody goes
/// on with.
const LOOKED_FOR: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long a value may take to be replaced, from a connection on.
pub(super) const REPLACING: Duration = Duration::from_secs(6 + 9 + 10);

const READ: &str = "SELECT value FROM tollgate.keys WHERE name = $1";
const KEEP: &str = "INSERT INTO tollgate.keys(name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
const REPLACE: &str = "UPDATE tollgate.keys SET value = $2 WHERE name = $1 AND value = $3";
/// Waits for whoever is writing one, and keeps others from it.
const HOLD: &str = "LOCK TABLE tollgate.keys IN SHARE ROW EXCLUSIVE MODE";
/// Writes something, so that the commit waits for whatever commits of this server wait for.
const CONFIRM: &str = "UPDATE tollgate.keys SET value = value WHERE name = $1";

/// The key of a name, the same for all who ask: made of `fresh` where there is none.
pub(super) async fn secret(link: &Link, name: &str, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
    let session = link.connect(None).await?;
    let mut kept = read(link, &session, name).await?;
    if kept.is_none() {
        replaced(link, &session, name, (None, fresh.to_vec())).await?;
        kept = read(link, &session, name).await?;
    }
    let key = kept.and_then(|value| value.try_into().ok());
    key.ok_or_else(|| link.problem().says(&format!("the key `{name}` there is no key")))
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
    let (problem, client) = (link.problem(), &session.client);
    let failed = |error: tokio_postgres::Error| problem.of(&error);
    let replaced = timeout(PATIENCE, async {
        client.batch_execute(BEGIN).await?;
        let replaced = match &expected {
            None => client.execute(KEEP, &[&name, &value]).await?,
            Some(expected) => client.execute(REPLACE, &[&name, &value, expected]).await?,
        };
        if replaced != 1 {
            client.batch_execute("ROLLBACK").await?;
        }
        Ok(replaced == 1)
    });
    // Until here nothing of it counts, whatever happens.
    if !replaced.await.map_err(|_| problem.no_answer())?.map_err(failed)? {
        return Ok(false);
    }
    let committed = timeout(COMMITTING, session.commit(COMMIT, &problem)).await;
    let Err(error) = committed.unwrap_or_else(|_| Err(problem.no_answer())) else { return Ok(true) };
    let looked = timeout(LOOKED_FOR, async {
        loop {
            if let Ok(there) = is_there(link, name, &value).await {
                return there;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    });
    match looked.await {
        Ok(true) => Ok(true),
        Ok(false) => Err(error),
        Err(_) => Err(problem.says(&format!(
            "whether `{name}` was replaced there, and stays so, is not known, for it did not answer in time, or a standby does not: see \
             to that, and look before you do it again"
        ))),
    }
}

/// Whether this is what is kept under a name, for good, once nobody can put it there any more.
async fn is_there(link: &Link, name: &str, value: &[u8]) -> Result<bool, StoreError> {
    let session = link.connect(None).await?;
    let (problem, client) = (link.problem(), &session.client);
    let failed = |error: tokio_postgres::Error| problem.of(&error);
    client.batch_execute(&format!("{BEGIN}; {HOLD}")).await.map_err(failed)?;
    if read(link, &session, name).await?.as_deref() != Some(value) {
        return Ok(false);
    }
    client.execute(CONFIRM, &[&name]).await.map_err(failed)?;
    session.commit(COMMIT, &problem).await?;
    Ok(true)
}
