//! The journal in the database, as one process holds it: a group is one transaction that keeps all others from appending,
//! reads what they have, and appends one frame.

use super::{
    link::{BEGIN, COMMIT, Coming, Link, Session},
    problem::Problem,
    schema,
};
use crate::{
    journal::{Appended, Head, Place, SEGMENT_HEAD, SegmentHead},
    store::{
        StoreError,
        embedded::{End, Known, News, NotAppended, Stop, Tells},
    },
};
use std::{sync::Arc, time::Duration};
use tokio_postgres::{Row, Statement};

/// Frames that are read at once; they also begin within a MiB ([`FRAMES`]), so that a slow line brings them in the time of a step.
const AT_ONCE: i64 = 128;

/// How long the statements of a new connection may take.
const PREPARING: Duration = Duration::from_secs(2);

/// How long a transaction that appended is looked for when the connection was lost as it ended.
const LOOKED_FOR: Duration = Duration::from_secs(6);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How long the end of a group that appended nothing may take: one that changed something waits for a standby.
const RELEASING: Duration = Duration::from_secs(2);
const COMMITTING: Duration = Duration::from_secs(5);

/// The channel on which replicas tell each other that something is there.
pub(super) const CHANNEL: &str = "tollgate";

const HEAD: &str = "SELECT segment, at, seq, hash, frame, orders,
    (SELECT coalesce(min(first), 1) FROM tollgate.segments) FROM tollgate.head";
const HOLD: &str = "SELECT 1 FROM tollgate.head FOR UPDATE";
const FRAMES: &str = "SELECT at, body FROM tollgate.frames
    WHERE segment = $1 AND at >= $2 AND at < $2 + 1048576 ORDER BY at LIMIT $3";

const NEXT: &str =
    "SELECT first, hash, frame, after_damage FROM tollgate.segments WHERE first > $1 ORDER BY first LIMIT 1";

/// Writes something, so that the commit waits for whatever commits of this server wait for.
pub(super) const CONFIRM: &str = "UPDATE tollgate.head SET id = id";

/// The end moves only from where this process knows it, and the frame goes with it.
const APPEND: &str = "WITH moved AS (
        UPDATE tollgate.head SET segment = $4, at = $5, seq = $6, hash = $7, frame = $8, orders = orders + $9
        WHERE segment = $1 AND at = $2 AND frame = $10 RETURNING 1)
    INSERT INTO tollgate.frames(segment, at, body) SELECT $1, $2, $3 FROM moved";
const SEGMENT: &str =
    "INSERT INTO tollgate.segments(first, hash, frame, after_damage) VALUES ($1, $2, $3, $4)";

/// A connection with its statements.
struct Ready {
    session: Session,
    head: Statement,
    hold: Statement,
    frames: Statement,
    append: Statement,
}

/// One process's side of the journal.
pub(super) struct Writer {
    link: Arc<Link>,
    coming: Coming,
    ready: Option<Ready>,
    held: bool,
    /// Something but a frame was changed while it is held.
    changed: bool,
}

/// A frame, on its way.
pub(super) struct Frame {
    place: Place,
    before: Head,
    bytes: Vec<u8>,
    end: Head,
    sealed: bool,
    tells: Tells,
}

impl Frame {
    pub(super) fn of(frame: &Appended<'_>, tells: Tells) -> Self {
        let Appended { place, before, bytes, end, sealed } = *frame;
        Self { place, before: *before, bytes: bytes.to_vec(), end: *end, sealed, tells }
    }

    /// Where the next frame goes.
    fn next(&self) -> Place {
        match self.sealed {
            true => Place { segment: self.end.seq + 1, offset: SEGMENT_HEAD },
            false => Place { offset: self.place.offset + self.bytes.len() as u64, ..self.place },
        }
    }
}

pub(super) fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

fn hash(row: &Row, at: usize) -> [u8; 32] {
    row.get::<_, &[u8]>(at).try_into().unwrap_or_default()
}

/// Where the journal ends, and what is told of it.
struct Told {
    end: End,
    orders: i64,
    first: i64,
}

impl Told {
    fn of(row: &Row) -> Self {
        let place = Place { segment: row.get(0), offset: u64::try_from(row.get::<_, i64>(1)).unwrap_or(0) };
        let head = Head { seq: row.get(2), hash: hash(row, 3), frame: hash(row, 4) };
        Self { end: End { place, head }, orders: row.get(5), first: row.get(6) }
    }
}

/// Where the journal ends.
pub(super) async fn end(link: &Link) -> Result<End, StoreError> {
    let session = link.connect(None).await?;
    let row = session.client.query_one(HEAD, &[]).await.map_err(|error| link.problem().of(&error))?;
    Ok(Told::of(&row).end)
}

impl Writer {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, coming: Coming::default(), ready: None, held: false, changed: false }
    }

    /// Whatever was under way is undone by the server.
    pub(super) fn disconnect(&mut self) {
        (self.ready, self.held, self.changed) = (None, false, false);
    }

    /// Has a connection there, or says soon that there is none; it is made on meanwhile.
    pub(super) async fn connect(&mut self) -> Result<(), StoreError> {
        if self.connected().is_ok() {
            return Ok(());
        }
        self.disconnect();
        let problem = self.link.problem();
        let session = self.coming.session(&self.link).await?;
        let client = &session.client;
        let prepared = tokio::time::timeout(PREPARING, async {
            futures::try_join!(
                client.prepare(HEAD),
                client.prepare(HOLD),
                client.prepare(FRAMES),
                client.prepare(APPEND)
            )
        });
        let prepared = prepared.await.map_err(|_| problem.no_answer())?;
        let (head, hold, frames, append) = prepared.map_err(|error| problem.of(&error))?;
        self.ready = Some(Ready { session, head, hold, frames, append });
        Ok(())
    }

    fn connected(&self) -> Result<&Ready, StoreError> {
        let open = self.ready.as_ref().filter(|ready| !ready.session.client.is_closed());
        open.ok_or_else(|| self.link.problem().says("the connection was lost"))
    }

    /// Reads on, on a connection that is there; `hold`: and keeps all others from appending.
    pub(super) async fn read(&mut self, known: Known, hold: bool) -> Result<News, StoreError> {
        if hold && self.held {
            return Ok(News::default());
        }
        let (link, held) = (self.link.clone(), self.held);
        let Ready { session, head, hold: lock, frames, .. } = self.connected()?;
        let client = &session.client;
        let from: (i64, i64) = (known.place.segment, signed(known.place.offset));
        let read = async {
            let begun = async {
                match hold {
                    true => client.batch_execute(BEGIN).await,
                    false => Ok(()),
                }
            };
            let locked = async {
                match hold {
                    true => client.query(lock, &[]).await.map(drop),
                    false => Ok(()),
                }
            };
            let behind = async { client.query(frames, &[&from.0, &from.1, &AT_ONCE]).await };
            // They are sent at once, in this order, and each sees what was committed before it.
            futures::try_join!(begun, locked, client.query_one(head, &[]), behind)
        };
        let (_, _, end, rows) = read.await.map_err(|error| link.problem().of(&error))?;
        let told = Told::of(&end);
        let mut next = None;
        if rows.is_empty() && known.place < told.end.place {
            let behind = client.query_opt(NEXT, &[&from.0]).await;
            next = behind.map_err(|error| link.problem().of(&error))?;
        }
        (self.held, self.changed) = (held || hold, self.changed && held);
        Ok(self.news(known, &told, (&rows, next.as_ref())))
    }

    /// Holds what was read against what is known.
    fn news(&self, known: Known, told: &Told, (rows, next): (&[Row], Option<&Row>)) -> News {
        let Told { end, orders, first } = *told;
        let stopped = |stop| News { stop: Some(stop), ..News::default() };
        if known.place.segment < first {
            return stopped(Stop::Removed(self.link.problem().says(&format!(
                "records up to {} were removed there by `[store] retention`, and this machine's copy ends at record {}: start \
                 this replica again, and it is copied anew",
                first - 1,
                known.head.seq
            ))));
        }
        let lost = || stopped(Stop::Lost(lost(&self.link, known.head.seq, end.head.seq)));
        let mut frames = Vec::new();
        for row in rows {
            let at: i64 = row.get(0);
            if at != signed(known.place.offset + frames.len() as u64) {
                return lost();
            }
            frames.extend_from_slice(row.get(1));
        }
        let to = Place { offset: known.place.offset + frames.len() as u64, ..known.place };
        let replaced = known.place == end.place && known.head != end.head;
        if known.place > end.place || replaced {
            return lost();
        }
        if frames.is_empty() && to < end.place {
            let before =
                next.map(|row| (row.get::<_, bool>(3), hash(row, 1), hash(row, 2), row.get::<_, i64>(0) - 1));
            let Head { seq, hash, frame } = known.head;
            return match before {
                Some((true, hash_there, frame_there, before))
                    if (hash_there, frame_there) == (hash, frame) && before >= seq =>
                {
                    stopped(Stop::GoesOn(Head { seq: before, hash, frame }))
                }
                Some(_) | None => lost(),
            };
        }
        News { frames, more: to < end.place, first, orders, stop: None }
    }

    /// Appends a frame and lets others go on. Where the connection is lost meanwhile, it is looked whether the frame is there.
    pub(super) async fn append(&mut self, frame: &Frame) -> Result<(), NotAppended> {
        let outcome = self.try_append(frame).await;
        self.held = false;
        let Err(error) = outcome else { return Ok(()) };
        self.disconnect();
        let looked = tokio::time::timeout(LOOKED_FOR, async {
            loop {
                match self.is_there(frame).await {
                    Ok(there) => return there,
                    // Whatever it has begun stands in the way of the next look.
                    Err(_) => self.disconnect(),
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        });
        let failed = match looked.await {
            Ok(true) => return Ok(()),
            Ok(false) => NotAppended::Nothing(error),
            Err(_) => NotAppended::InDoubt(error),
        };
        self.disconnect();
        Err(failed)
    }

    async fn try_append(&mut self, frame: &Frame) -> Result<(), StoreError> {
        let problem = self.link.problem();
        let Some(Ready { session, append, .. }) = self.ready.as_ref().filter(|_| self.held) else {
            return Err(problem.says("the connection was lost in the middle of a group"));
        };
        let client = &session.client;
        session.has_warned();
        let next = frame.next();
        let Frame { place, before, bytes, end, sealed, tells } = frame;
        let (segment, at, next_at) = (place.segment, signed(place.offset), signed(next.offset));
        let (hash, mark, was) = (&end.hash[..], &end.frame[..], &before.frame[..]);
        let orders = i64::from(tells.orders);
        let appended = async {
            client
                .execute(
                    append,
                    &[&segment, &at, bytes, &next.segment, &next_at, &end.seq, &hash, &mark, &orders, &was],
                )
                .await
        };
        let sealed = async {
            match *sealed {
                true => {
                    client.batch_execute(&schema::begin_segment(next.segment, &end.hash, &end.frame)).await
                }
                false => Ok(()),
            }
        };
        let told = async {
            match tells.wakes {
                true => client.batch_execute(&format!("NOTIFY {CHANNEL}")).await,
                false => Ok(()),
            }
        };
        let failed = |error: tokio_postgres::Error| problem.of(&error);
        // They are sent at once, in this order; where one fails, the server commits nothing.
        let done = futures::try_join!(appended, sealed, told, client.batch_execute(COMMIT));
        let (rows, (), (), ()) = done.map_err(failed)?;
        match (rows, session.has_warned()) {
            (1, false) => Ok(()),
            (1, true) => Err(problem.unconfirmed()),
            _ => Err(problem.says("another process has appended meanwhile")),
        }
    }

    /// Whether a frame is there, once nobody can put it there any more.
    async fn is_there(&mut self, frame: &Frame) -> Result<bool, StoreError> {
        self.connect().await?;
        let link = self.link.clone();
        let ready = self.connected()?;
        let client = &ready.session.client;
        let failed = |error: tokio_postgres::Error| link.problem().of(&error);
        // Whoever was appending it ends before this is held.
        client.batch_execute(BEGIN).await.map_err(failed)?;
        client.query(&ready.hold, &[]).await.map_err(failed)?;
        let (segment, at) = (frame.place.segment, signed(frame.place.offset));
        let rows = client.query(&ready.frames, &[&segment, &at, &1_i64]).await.map_err(failed)?;
        let there = rows.first().is_some_and(|row| {
            row.get::<_, i64>(0) == at && row.get::<_, &[u8]>(1) == frame.bytes.as_slice()
        });
        if !there {
            client.batch_execute("ROLLBACK").await.map_err(failed)?;
            return Ok(false);
        }
        // A server that was restarted shows what no standby has yet. A commit behind it waits for the standby.
        ready.session.commit(&format!("{CONFIRM}; {COMMIT}"), &link.problem()).await?;
        Ok(true)
    }

    /// Lets others go on.
    pub(super) async fn release(&mut self) {
        if !std::mem::replace(&mut self.held, false) {
            return;
        }
        let (end, limit) = match std::mem::replace(&mut self.changed, false) {
            true => (COMMIT, COMMITTING),
            false => ("ROLLBACK", RELEASING),
        };
        let ended = match &self.ready {
            Some(ready) => {
                let ended = tokio::time::timeout(limit, ready.session.client.batch_execute(end)).await;
                ended.is_ok_and(|ended| ended.is_ok())
            }
            None => true,
        };
        if !ended {
            self.disconnect();
        }
    }

    /// Removes the segments before one, with the group that is held. `false`: tables of theirs are left, for [`schema::drop_left`].
    pub(super) async fn remove_before(&mut self, first: i64) -> Result<bool, StoreError> {
        let problem = self.link.problem();
        let Some(ready) = self.ready.as_ref().filter(|_| self.held) else {
            return Err(problem.says("the connection was lost in the middle of a group"));
        };
        let client = &ready.session.client;
        let failed = |error: tokio_postgres::Error| problem.of(&error);
        let gone = "DELETE FROM tollgate.segments WHERE first < $1";
        client.execute(gone, &[&first]).await.map_err(failed)?;
        let all = schema::drop_tables(client).await.map_err(failed)?;
        self.changed = true;
        Ok(all)
    }
}

/// The database has not what it had.
fn lost(link: &Link, known: i64, there: i64) -> StoreError {
    link.problem().says(&format!(
        "it does not go on from record {known}, which this replica read there: it ends at record {there}, or with other records. It \
         was put back from a backup, or failed over to a standby that had not all of it. Nothing is done on it until it has them \
         again, or a person says that it goes on all the same, `tollgate store accept --reason TEXT`: docs/replicas.md, \"When the \
         database lost records\""
    ))
}

/// How each segment begins that is there.
pub(super) async fn segments(link: &Link) -> Result<Vec<SegmentHead>, StoreError> {
    let session = link.connect(None).await?;
    let all =
        "SELECT h.journal, s.first, s.hash, s.frame, s.after_damage FROM tollgate.head h, tollgate.segments s
        ORDER BY s.first";
    let rows = session.client.query(all, &[]).await.map_err(|error| link.problem().of(&error))?;
    Ok(rows.iter().map(segment_head).collect())
}

fn segment_head(row: &Row) -> SegmentHead {
    let first: i64 = row.get(1);
    SegmentHead {
        journal: row.get::<_, &[u8]>(0).try_into().unwrap_or_default(),
        before: Head { seq: first - 1, hash: hash(row, 2), frame: hash(row, 3) },
        after_damage: row.get(4),
    }
}

/// How the first segment that is there begins; makes it where there is none, of a journal with this name.
pub(super) async fn begins(
    link: &Link,
    session: &Session,
    fresh: [u8; 16],
) -> Result<SegmentHead, StoreError> {
    let client = &session.client;
    let failed = |error: tokio_postgres::Error| link.problem().of(&error);
    let begins =
        "SELECT h.journal, s.first, s.hash, s.frame, s.after_damage FROM tollgate.head h, tollgate.segments s
        ORDER BY s.first LIMIT 1";
    let row = match client.query_opt(begins, &[]).await.map_err(failed)? {
        Some(row) => row,
        None => {
            let start = SegmentHead { journal: fresh, before: Head::START, after_damage: false };
            begin(link, session, &start).await?;
            client.query_one(begins, &[]).await.map_err(failed)?
        }
    };
    Ok(segment_head(&row))
}

/// Begins the journal, unless somebody else has.
async fn begin(link: &Link, session: &Session, head: &SegmentHead) -> Result<(), StoreError> {
    let (client, problem) = (&session.client, link.problem());
    let failed = |error: tokio_postgres::Error| problem.of(&error);
    client.batch_execute("BEGIN").await.map_err(failed)?;
    let place = Place { segment: head.before.seq + 1, offset: SEGMENT_HEAD };
    if put_head(session, &problem, (head.journal, place, &head.before)).await? {
        put_segment(session, &problem, head).await?;
    }
    client.batch_execute(COMMIT).await.map_err(failed)
}

/// Says where the journal of this name ends, where nobody has yet.
pub(super) async fn put_head(
    session: &Session,
    problem: &Problem,
    (journal, place, head): ([u8; 16], Place, &Head),
) -> Result<bool, StoreError> {
    let row = "INSERT INTO tollgate.head(id, journal, segment, at, seq, hash, frame, orders)
        VALUES (1, $1, $2, $3, $4, $5, $6, 0) ON CONFLICT DO NOTHING";
    let (journal, hash, frame) = (&journal[..], &head.hash[..], &head.frame[..]);
    let at = signed(place.offset);
    let made = session
        .client
        .execute(row, &[&journal, &place.segment, &at, &head.seq, &hash, &frame])
        .await
        .map_err(|error| problem.of(&error))?;
    Ok(made == 1)
}

/// Says how a segment begins, and makes its table.
pub(super) async fn put_segment(
    session: &Session,
    problem: &Problem,
    head: &SegmentHead,
) -> Result<(), StoreError> {
    let first = head.before.seq + 1;
    let (hash, frame) = (&head.before.hash[..], &head.before.frame[..]);
    let failed = |error: tokio_postgres::Error| problem.of(&error);
    session.client.execute(SEGMENT, &[&first, &hash, &frame, &head.after_damage]).await.map_err(failed)?;
    session.client.batch_execute(&schema::make_table(first)).await.map_err(failed)
}
