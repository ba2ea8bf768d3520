//! Going on with what the database has, because a person says so.

use super::{
    PostgresOrigin, compare, journal, keeper,
    link::{BEGIN, COMMIT, Link},
};
use crate::{
    journal::{Frame, RawSegment, SEGMENT_HEAD, SegmentHead},
    model::EventDraft,
    store::{
        StoreError,
        embedded::{Accepted, EmbeddedStore, End},
    },
};
use futures::{StreamExt as _, pin_mut};
use secrecy::SecretString;
use std::{collections::BTreeMap, path::Path};
use tokio::time::{Instant, sleep};
use tokio_postgres::types::ToSql;

const FRAMES: &str = "SELECT at, body FROM tollgate.frames WHERE segment = $1 ORDER BY at";
const FIRST: &str = "SELECT body FROM tollgate.frames WHERE segment = $1 AND at = $2";

/// The end moves only from where it was read.
const MOVE: &str = "UPDATE tollgate.head SET segment = $1, at = $2, seq = $3, hash = $4, frame = $5
    WHERE segment = $6 AND at = $7 AND frame = $8";
const INSERT: &str = "INSERT INTO tollgate.frames(segment, at, body) VALUES ($1, $2, $3)";

/// Lets the database go on with what it has, because a person says so, and has the copy at `path` be one of that; `None` where it has
/// all that the copy has, as it was written, but for what was accepted before. Refused while a process lives on it. `said` makes
/// the record of it from the words and the places.
pub fn accept(
    url: &SecretString,
    path: &Path,
    data_dir: &Path,
    said: &dyn Fn(&str, serde_json::Value) -> EventDraft,
) -> Result<Option<Accepted>, StoreError> {
    let origin = PostgresOrigin::connect(url)?;
    let link = origin.link.clone();
    if origin.run(compare::PATIENCE, async move { any_alive(&link).await })? {
        return Err(origin.link.problem().says(
            "a replica, or a command, lives on it: stop all of them first, so that nothing is done meanwhile with what is lost",
        ));
    }
    EmbeddedStore::accept_lost(path, data_dir, &origin, said)
}

/// Whether a process says that it lives, within the time after which one that is silent is taken for dead.
async fn any_alive(link: &Link) -> Result<bool, StoreError> {
    let session = link.connect(None).await?;
    let heard = || async { keeper::heard(&session).await.map_err(|error| link.problem().of(&error)) };
    let (before, since): (BTreeMap<String, i64>, _) = (heard().await?, Instant::now());
    while !before.is_empty() && since.elapsed() < keeper::SILENT {
        sleep(keeper::BEAT / 4).await;
        if heard().await?.iter().any(|(owner, beat)| before.get(owner) != Some(beat)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The first frame of a segment, as it stands there.
pub(super) async fn first_frame(link: &Link, segment: i64) -> Result<Option<Vec<u8>>, StoreError> {
    let session = link.connect(None).await?;
    let at = journal::signed(SEGMENT_HEAD);
    let row =
        session.client.query_opt(FIRST, &[&segment, &at]).await.map_err(|error| link.problem().of(&error))?;
    Ok(row.map(|row| row.get(0)))
}

/// Takes a segment into a folder as it stands there.
pub(super) async fn take(link: &Link, head: &SegmentHead, dir: &Path) -> Result<(), StoreError> {
    let session = link.connect(None).await?;
    let failed = |error: tokio_postgres::Error| link.problem().of(&error);
    let segment = head.before.seq + 1;
    let taken = RawSegment::begin(dir, head)?;
    let rows = session.client.query_raw(FRAMES, [&segment as &(dyn ToSql + Sync)]).await.map_err(failed)?;
    pin_mut!(rows);
    while let Some(row) = rows.next().await {
        let row = row.map_err(failed)?;
        let (at, body): (i64, &[u8]) = (row.get(0), row.get(1));
        match u64::try_from(at) {
            Ok(at) if at >= SEGMENT_HEAD => taken.put(at, body)?,
            Ok(_) | Err(_) => {}
        }
    }
    Ok(taken.end()?)
}

/// Goes on in a new segment with its first frame, where the journal still ends so.
pub(super) async fn go_on(
    link: &Link,
    end: &End,
    head: &SegmentHead,
    frame: &[u8],
) -> Result<(), StoreError> {
    let problem = link.problem();
    let Some(last) = Frame::of(frame).map(|frame| frame.written_end()) else {
        return Err(problem.says("what it is to go on with is no frame"));
    };
    let session = link.connect(None).await?;
    let client = &session.client;
    let failed = |error: tokio_postgres::Error| problem.of(&error);
    let (segment, at) = (head.before.seq + 1, journal::signed(SEGMENT_HEAD));
    let next = journal::signed(SEGMENT_HEAD + frame.len() as u64);
    let (hash, mark) = (&last.hash[..], &last.frame[..]);
    let (was, was_at, was_mark) = (end.place.segment, journal::signed(end.place.offset), &end.head.frame[..]);
    client.batch_execute(BEGIN).await.map_err(failed)?;
    let moved = client
        .execute(MOVE, &[&segment, &next, &last.seq, &hash, &mark, &was, &was_at, &was_mark])
        .await
        .map_err(failed)?;
    if moved != 1 {
        return Err(problem.says("something was appended meanwhile: stop all replicas, and try again"));
    }
    journal::put_segment(&session, &problem, head).await?;
    client.execute(INSERT, &[&segment, &at, &frame]).await.map_err(failed)?;
    session.commit(COMMIT, &problem).await
}
