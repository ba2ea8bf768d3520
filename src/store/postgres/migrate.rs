//! Taking a record from the embedded store to the database: the same frames, byte for byte, in one transaction, and then both are
//! verified. The chain goes on where it was.

use super::{
    PostgresOrigin, compare,
    journal::{self, CONFIRM},
    link::{Link, Session},
    vault::arrive,
};
use crate::{
    config::VaultConfig,
    journal::{Head, Place, Segment, Step},
    store::{
        StoreError,
        embedded::{Differs, Leaving, LeavingVault},
    },
};
use secrecy::SecretString;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Frames that are sent at once.
const AT_ONCE: usize = 128;

/// What was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// How many records.
    pub records: u64,
    /// How many values of the vault, and how many credentials.
    pub vault: (u64, u64),
    /// The hash of the last.
    pub head: String,
    /// Where it is now.
    pub place: Arc<str>,
}

/// Whom it tells how many records are there, of how many.
pub type Progress = Box<dyn Fn(u64, u64) + Send + Sync>;

/// Takes the record of the store at `path`, and its vault, to a database in which there is none, and what else its replicas keep for
/// each other there, by its names.
pub fn migrate(
    path: &Path,
    data_dir: &Path,
    (url, settings, further): (&SecretString, &VaultConfig, Vec<(&'static str, Vec<u8>)>),
    progress: Progress,
) -> Result<Migrated, StoreError> {
    // Nobody changes anything of it until it is there.
    let vault = LeavingVault::of(path, settings)?.map(Arc::new);
    let leaving = Leaving::of(path, data_dir)?;
    let origin = PostgresOrigin::connect(url)?;
    let (link, report) = (origin.link.clone(), leaving.report.clone());
    let mut values: Vec<_> = leaving.keys.iter().map(|(name, key)| (name.clone(), key.to_vec())).collect();
    values.extend(further.into_iter().map(|(name, value)| (name.to_owned(), value)));
    let all = report.records;
    let going = Going {
        segments: leaving.segments.clone(),
        values,
        vault: vault.clone(),
        settings: settings.clone(),
    };
    let taken = origin.run(compare::PATIENCE, async move {
        take(&link, &going, &|done| progress(done, all)).await?;
        compare::compare(&link, &going.segments).await
    })?;
    let place = origin.link.place().clone();
    if let Some(Differs { after, problem, .. }) = taken.first() {
        return Err(origin.link.problem().says(&format!("record {}: {problem}", after + 1)));
    }
    // The database is what counts from here on.
    leaving.left(&format!("PostgreSQL at {place}"))?;
    let vault = vault.map_or((0, 0), |vault| (vault.values, vault.credentials));
    Ok(Migrated { records: report.records, vault, head: report.head, place })
}

/// What is taken.
struct Going {
    segments: Vec<(i64, PathBuf)>,
    values: Vec<(String, Vec<u8>)>,
    vault: Option<Arc<LeavingVault>>,
    /// What the vault's keys are encrypted with.
    settings: VaultConfig,
}

async fn take(link: &Link, going: &Going, progress: &(dyn Fn(u64) + Sync)) -> Result<(), StoreError> {
    let session = link.connect(None).await?;
    let (client, problem) = (&session.client, link.problem());
    let failed = |error: tokio_postgres::Error| problem.of(&error);
    // The journal stands still until the last frame is there.
    client.batch_execute("SET idle_in_transaction_session_timeout = 0; BEGIN").await.map_err(failed)?;
    let there = client.query_opt("SELECT journal FROM tollgate.head", &[]).await.map_err(failed)?;
    if let Some(there) = there {
        let first = going.segments.first().map(|(_, path)| Segment::open(path, false)).transpose()?;
        return match first {
            // All of it was taken, and the answer to that was lost: whoever compares sees. What is there may be on no standby yet: a
            // commit behind it waits for that.
            Some(first) if first.head.journal == there.get::<_, &[u8]>(0) => {
                session.commit(&format!("{CONFIRM}; COMMIT"), &problem).await
            }
            Some(_) | None => Err(problem.says("there is a record already: name a database without one")),
        };
    }
    let mut end = None;
    for (_, path) in &going.segments {
        let segment = Segment::open(path, false)?;
        journal::put_segment(&session, &problem, &segment.head).await?;
        end = Some(frames(link, &session, &segment, progress).await?);
    }
    let Some((place, head, id)) = end else { return Err(problem.says("there is nothing to be taken there")) };
    if !journal::put_head(&session, &problem, (id, place, &head)).await? {
        return Err(problem.says("a record was begun there meanwhile"));
    }
    for (name, value) in &going.values {
        let kept = "INSERT INTO tollgate.keys(name, value) VALUES ($1, $2)";
        client.execute(kept, &[name, value]).await.map_err(failed)?;
    }
    if let Some(vault) = &going.vault {
        arrive(client, &problem, vault, &going.settings).await?;
    }
    session.commit("COMMIT", &problem).await
}

/// Sends the frames of one segment, and says where it ends.
async fn frames(
    link: &Link,
    session: &Session,
    segment: &Segment,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(Place, Head, [u8; 16]), StoreError> {
    let problem = link.problem();
    let insert = "INSERT INTO tollgate.frames(segment, at, body) VALUES ($1, $2, $3)";
    let insert = session.client.prepare(insert).await.map_err(|error| problem.of(&error))?;
    let first = segment.first_seq();
    let mut scan = segment.scan_all()?;
    loop {
        let mut group = Vec::with_capacity(AT_ONCE);
        while group.len() < AT_ONCE {
            match scan.step()? {
                Step::Frame { offset, frame, .. } => {
                    group.push((i64::try_from(offset).unwrap_or(i64::MAX), frame.bytes().to_vec()));
                }
                Step::End => break,
                // It was verified a moment ago.
                Step::Torn { .. } | Step::Damaged { .. } => {
                    return Err(StoreError::Damaged(format!("`{}`", segment.path.display())));
                }
            }
        }
        if group.is_empty() {
            let place = Place { segment: first, offset: scan.offset() };
            return Ok((place, *scan.head(), segment.head.journal));
        }
        let client = &session.client;
        let sent = group.iter().map(|(at, body)| {
            let insert = &insert;
            async move { client.execute(insert, &[&first, at, body]).await }
        });
        futures::future::try_join_all(sent).await.map_err(|error| problem.of(&error))?;
        progress(u64::try_from(scan.head().seq).unwrap_or(0));
    }
}
