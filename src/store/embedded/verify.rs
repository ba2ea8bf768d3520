//! Verification: every frame and record against its hashes, every index against its segment, every row of the projection
//! against what the journal says. Nothing is put right by it.

use super::{
    book::{self, Book},
    fold,
    grants::{self, Grants},
    kept::Inventory,
    projection::{self, FOLLOWING, journal_dir},
};
use crate::{
    evidence,
    journal::{
        self, Damage, Frame, Head, JournalError, Place, Range, Reader, SEGMENT_HEAD, Segment, Step, chain,
        index::{Builder, Field, Members, Pattern, Wanted},
        index_path, is_earlier_rollup, is_rollup_of_damaged, rollup_path, tree, write_rollup,
    },
    model::{EventDraft, EventType},
    proof::leaf_hash,
    series::{Rollup, Seen},
    store::{BadRecord, ChainReport, StoreError},
};
use parking_lot::Mutex;
use rusqlite::{Connection, types::Value};
use std::{
    ops::ControlFlow,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Segments that are verified at once.
const THREADS: usize = 8;

/// What one segment was found to be.
struct Found {
    first: i64,
    before: Head,
    after: Head,
    after_damage: bool,
    headless: bool,
    records: u64,
    bad: Option<BadRecord>,
    leaves: tree::Builder,
}

fn bad(seq: i64, problem: String) -> BadRecord {
    BadRecord { seq, problem }
}

/// Verifies a store that need not be open, before anything is put right by opening it; `None` where there is no journal.
pub(super) fn at_rest(path: &Path) -> Result<Option<ChainReport>, StoreError> {
    let dir = journal_dir(path);
    if !dir.exists() || journal::list(&dir)?.is_empty() {
        return Ok(None);
    }
    let version = match projection::unreadable(path, true) {
        Some(_) => projection::VERSION,
        None => projection::version(path)?,
    };
    match version {
        0 | projection::VERSION => Ok(Some(verify(path, &Reader::open_damaged(&dir)?, threads())?)),
        // Opening takes it over, or says what it is.
        _ => Ok(None),
    }
}

/// As many as there are cores for.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(THREADS)
}

/// Verifies all that was committed before, on so many threads.
pub(super) fn verify(path: &Path, journal: &Reader, threads: usize) -> Result<ChainReport, StoreError> {
    match journal.refresh() {
        // Its segment names it below.
        Ok(()) | Err(JournalError::Damaged(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let end = journal.end();
    let paths = journal.paths();
    // It is made anew by the next start, and named where nothing is wrong with the journal itself.
    let unreadable = projection::unreadable(path, true);
    let stored = match path.exists() && unreadable.is_none() {
        true => Some(projection::open_reader(path)?),
        false => None,
    };
    // Where the projection is missing or empty, the journal alone is verified: the next start makes it anew.
    let stored = match stored {
        Some(stored) if projection::mark_of(&stored)?.is_some() => Some(stored),
        Some(_) | None => None,
    };
    let made = match stored {
        Some(_) => None,
        None => Some(made_anew(journal)?),
    };
    let kept = match stored.as_ref().or(made.as_ref()) {
        Some(connection) => Inventory::read(connection)?,
        None => Inventory::default(),
    };
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = paths.get(at) else { return };
            let one = verify_segment(path, end, &kept);
            found.lock().push((at, one));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let mut found = found.into_inner();
    found.sort_by_key(|(at, _)| *at);
    let found: Vec<Found> = found.into_iter().map(|(_, one)| one).collect::<Result<_, _>>()?;
    let (mut report, accepted) = joined(journal, &found)?;
    if report.bad.is_none() {
        report.bad = unreadable.map(|problem| bad(0, problem));
    }
    if report.bad.is_none() {
        report.bad = kept.damaged().map(|problem| bad(0, problem));
    }
    if report.bad.is_none() {
        report.bad = match &stored {
            Some(stored) => verify_projection(stored, journal)?,
            None => None,
        };
    }
    report.bad = report.bad.or(accepted);
    if report.bad.is_none() {
        report.bad = verify_tree(journal, found)?;
    }
    Ok(report)
}

/// What is kept of the tree over the records is what the records make.
fn verify_tree(journal: &Reader, found: Vec<Found>) -> Result<Option<BadRecord>, StoreError> {
    let mut all = tree::Builder::default();
    for one in found {
        all.append(one.leaves, u64::try_from(one.before.seq).unwrap_or(0));
    }
    let differs = tree::differing_block(journal.dir(), all.blocks())?;
    Ok(differs.map(|path| {
        let problem = format!(
            "`{}` is not what the records make: somebody edited it; it can be removed",
            path.display()
        );
        bad(0, problem)
    }))
}

/// What all segments are together, and what a person has accepted: that is told where nothing else is wrong, and hides no
/// later damage.
fn joined(journal: &Reader, found: &[Found]) -> Result<(ChainReport, Option<BadRecord>), StoreError> {
    let mut report = ChainReport { records: 0, head: chain::to_hex(&chain::GENESIS), bad: None };
    let mut before: Option<Head> = None;
    let mut accepted: Option<BadRecord> = None;
    let restart = found.iter().filter(|one| one.after_damage).map(|one| one.first).max();
    for (at, one) in found.iter().enumerate() {
        let gap = match before {
            None if at == 0 && one.bad.is_none() => first_gap(journal, one)?,
            // What is damaged before it is named already, and so is a head that cannot be read.
            None => None,
            Some(_) if one.headless => None,
            Some(before) if before == one.before => None,
            Some(before) => {
                let said = if one.after_damage { ", as a person accepted" } else { "" };
                Some(bad(before.seq + 1, format!("the next segment does not follow it{said}")))
            }
        };
        let bad_accepted = restart.is_some_and(|restart| one.first < restart);
        for (problem, is_accepted) in
            [(gap, one.after_damage || bad_accepted), (one.bad.clone(), bad_accepted)]
        {
            let told = if is_accepted { &mut accepted } else { &mut report.bad };
            *told = told.take().or(problem);
        }
        report.records += one.records;
        report.head = chain::to_hex(&one.after.hash);
        before = one.bad.is_none().then_some(one.after);
    }
    Ok((report, accepted))
}

/// A projection of the whole journal in memory, as far as its frames can be read.
fn made_anew(journal: &Reader) -> Result<Connection, StoreError> {
    let made = projection::in_memory()?;
    match fold::rebuild(&made, journal, [0; 16]) {
        // The segment that it is in is named.
        Ok(()) | Err(StoreError::Damaged(_)) => Ok(made),
        Err(error) => Err(error),
    }
}

/// What is missing before the first segment that is there. Retention says in the chain what it removed.
fn first_gap(journal: &Reader, first: &Found) -> Result<Option<BadRecord>, StoreError> {
    let before = first.before;
    if before == Head::START {
        return Ok(None);
    }
    let terms = vec![(Field::EventType, Pattern::Exact(EventType::AdminAction.as_str().to_owned()))];
    let range = Range { first: before.seq + 1, last: i64::MAX, newest_first: true };
    let mut said = false;
    journal.find(&Wanted { terms, ..Wanted::default() }, range, &mut |entry| {
        let event = EventDraft::from_body(&entry.body).ok();
        said = event.is_some_and(|event| evidence::retired(&event, before.seq, &chain::to_hex(&before.hash)));
        Ok(if said { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    let problem = || {
        format!(
            "the records before {} are missing, and no record says that retention removed them",
            before.seq + 1
        )
    };
    Ok((!said).then(|| bad(1, problem())))
}

fn verify_segment(path: &Path, end: Place, kept: &Inventory) -> Result<Found, StoreError> {
    let segment = match Segment::open(path, false) {
        Ok(segment) => segment,
        Err(error) => {
            let named =
                path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<i64>().ok());
            let first = named.unwrap_or(0);
            let before = Head { seq: first.saturating_sub(1), ..Head::START };
            let problem = Some(bad(first, error.to_string()));
            return Ok(Found {
                first,
                before,
                after: before,
                after_damage: false,
                headless: true,
                records: 0,
                bad: problem,
                leaves: tree::Builder::default(),
            });
        }
    };
    let before = segment.head.before;
    let mut found = Found {
        first: segment.first_seq(),
        before,
        after: before,
        after_damage: segment.head.after_damage,
        headless: false,
        records: 0,
        bad: None,
        leaves: tree::Builder::new(u64::try_from(before.seq).unwrap_or(0)),
    };
    let damaged = |offset: u64, after: i64, problem: String| {
        let damage = Damage { path: path.to_owned(), offset, after, problem };
        bad(after + 1, damage.to_string())
    };
    let mut made = Made::default();
    let mut scan = segment.scan(SEGMENT_HEAD, before)?;
    let mut sealed = false;
    while found.bad.is_none() {
        match scan.step()? {
            Step::Frame { offset, before, frame } => {
                if (Place { segment: segment.first_seq(), offset }) >= end {
                    break;
                }
                if let Err(problem) = frame.check(&before) {
                    found.bad = Some(damaged(offset, frame.good_until(&before), problem));
                    break;
                }
                let (records, bad) = verify_records(&frame, offset, kept, (&mut made, &mut found.leaves));
                found.records += records;
                found.bad = bad;
                sealed |= frame.head.is_sealed();
                found.after = frame.written_end();
            }
            Step::End => break,
            // Somebody is writing it; the next writer judges it.
            Step::Torn { .. } if segment.first_seq() == end.segment => break,
            Step::Torn { offset } => {
                let problem = "its segment ends in the middle of a frame".to_owned();
                found.bad = Some(damaged(offset, found.after.seq, problem));
            }
            Step::Damaged { offset, problem } => {
                found.bad = Some(damaged(offset, found.after.seq, problem));
            }
        }
    }
    if found.bad.is_none() && sealed {
        found.bad = verify_made(path, &segment, made, &found.after)?;
    }
    Ok(found)
}

/// How many records of a frame can be read and refer to what is kept, and the first that does not.
fn verify_records(
    frame: &Frame<'_>,
    offset: u64,
    kept: &Inventory,
    (made, leaves): (&mut Made, &mut tree::Builder),
) -> (u64, Option<BadRecord>) {
    let mut records = 0;
    for record in frame.records() {
        let body = std::str::from_utf8(record.body).unwrap_or_default();
        let members = match Members::read(body) {
            Ok(members) => members,
            Err(problem) => return (records, Some(bad(record.seq, problem))),
        };
        if let Some(problem) = kept.problem(members.event_type(), body) {
            return (records, Some(bad(record.seq, problem)));
        }
        leaves.leaf(leaf_hash(&record.hash));
        made.index.add(u32::try_from(offset + record.offset as u64).unwrap_or(0), Some(&members));
        if let Some(seen) = Seen::read(body) {
            made.rollup.add(&seen);
        }
        records += 1;
    }
    (records, None)
}

/// An index of an earlier version is read by nobody, and made anew when it is needed.
const EARLIER_INDEX: &[u8] = b"TGINDEX1";

/// What a segment's records make.
#[derive(Default)]
struct Made {
    index: Builder,
    rollup: Rollup,
}

/// A sealed segment's index and rollup, where there are any, are what its records make.
fn verify_made(
    path: &Path,
    segment: &Segment,
    made: Made,
    after: &Head,
) -> Result<Option<BadRecord>, StoreError> {
    let read = |path: &Path| match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::Failed(format!("`{}`: {error}", path.display()))),
    };
    let differs = |what: &str, path: &Path| {
        let path = path.display();
        let problem =
            format!("the {what} `{path}` is not what its segment's records make: somebody edited it");
        Some(bad(segment.first_seq(), problem))
    };
    let (index, rollup) = (index_path(path), rollup_path(path));
    if let Some(bytes) = read(&index)?
        && !bytes.starts_with(EARLIER_INDEX)
        && bytes != made.index.finish(&after.frame)
    {
        return Ok(differs("index", &index));
    }
    if let Some(bytes) = read(&rollup)?
        && !is_rollup_of_damaged(&bytes)
        && !is_earlier_rollup(&bytes)
        && bytes != write_rollup(&made.rollup, &after.frame)
    {
        return Ok(differs("rollup", &rollup));
    }
    Ok(None)
}

/// Each row of the projection is what the journal makes of the frames that it has followed.
fn verify_projection(connection: &Connection, journal: &Reader) -> Result<Option<BadRecord>, StoreError> {
    // One state of the file, whoever writes meanwhile.
    let snapshot = connection.unchecked_transaction()?;
    let Some(mark) = projection::mark(&snapshot)? else { return Ok(None) };
    // It may be newer than what was verified.
    journal.refresh()?;
    let known = journal.head();
    if mark.head.seq > known.seq || mark.place > journal.end() {
        let problem = format!("records up to {} were there before: they were lost or cut off", mark.head.seq);
        return Ok(Some(bad(known.seq + 1, problem)));
    }
    if head_at(journal, mark.place)? != Some(mark.head) {
        let problem = format!(
            "it is not the record of which the index knows: records up to {} were replaced",
            mark.head.seq
        );
        return Ok(Some(bad(mark.head.seq, problem)));
    }
    let made = projection::in_memory()?;
    match fold::rebuild_until(&made, journal, mark.journal, mark.place) {
        Ok(()) => {}
        Err(StoreError::Damaged(problem)) => return Ok(Some(bad(0, problem))),
        Err(error) => return Err(error),
    }
    for (table, columns) in FOLLOWING {
        if let Some(problem) = differs(&snapshot, &made, table, columns)? {
            return Ok(Some(bad(0, problem)));
        }
    }
    Ok(None)
}

/// Approvals and grants that are held against their records at a start: the newest, which are those that calls can use.
const CHECKED: usize = 1_000;

/// A journal of so many bytes is folded at a start, to hold the whole projection against it.
const SMALL: u64 = 8 << 20;

/// What the projection says otherwise than the journal, as far as a start can look: all of it where the journal is small, else
/// the newest approvals.
pub(super) fn doubt(connection: &Connection, journal: &Reader) -> Result<Option<String>, StoreError> {
    journal.refresh()?;
    if projection::mark(connection)?.is_none() {
        return Ok(None);
    }
    if journal.paths().len() == 1 && journal.end().offset <= SMALL {
        return Ok(verify_projection(connection, journal)?.map(|bad| bad.problem));
    }
    let book = Book { connection, journal };
    for id in book::newest_ids(connection, CHECKED)? {
        match book.check(&id) {
            Ok(true) => {}
            Ok(false) => return Ok(Some(format!("approval `{id}` is not found by what its records say"))),
            Err(StoreError::Damaged(problem) | StoreError::Unverified(problem)) => return Ok(Some(problem)),
            Err(error) => return Err(error),
        }
    }
    let held = Grants { connection, journal };
    for id in grants::newest_live(connection, CHECKED)? {
        match held.check(&id) {
            Ok(true) => {}
            Ok(false) => return Ok(Some(format!("grant `{id}` is not found by what its records say"))),
            Err(StoreError::Damaged(problem)) => return Ok(Some(problem)),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// What the frame at a place follows, or would follow.
fn head_at(journal: &Reader, place: Place) -> Result<Option<Head>, StoreError> {
    let Some(segment) = journal.segment(place.segment)? else { return Ok(None) };
    let mut end = (SEGMENT_HEAD, segment.head.before);
    journal.frames(Place { offset: SEGMENT_HEAD, ..place }, Some(place), &mut |place, frame| {
        end = (place.offset + frame.head.length as u64, frame.written_end());
        Ok(())
    })?;
    Ok((end.0 == place.offset).then_some(end.1))
}

fn shown(value: Option<&Value>) -> String {
    match value {
        Some(Value::Text(text)) => format!("`{}`", text.chars().take(200).collect::<String>()),
        Some(Value::Integer(number)) => number.to_string(),
        Some(Value::Real(number)) => number.to_string(),
        Some(Value::Blob(bytes)) => hex::encode(bytes.get(..8).unwrap_or(bytes)),
        Some(Value::Null) | None => "nothing".to_owned(),
    }
}

/// The first row of a table that is not the same in both, in words.
fn differs(
    stored: &Connection,
    made: &Connection,
    table: &str,
    columns: &str,
) -> Result<Option<String>, StoreError> {
    let sql = format!("SELECT {columns} FROM {table} ORDER BY {columns}");
    let names: Vec<&str> = columns.split(", ").collect();
    let (mut stored, mut made) = (stored.prepare(&sql)?, made.prepare(&sql)?);
    let (mut stored, mut made) = (stored.query([])?, made.query([])?);
    let read = |row: Option<&rusqlite::Row<'_>>| -> Result<Option<Vec<Value>>, StoreError> {
        let Some(row) = row else { return Ok(None) };
        Ok(Some((0..names.len()).map(|at| row.get(at)).collect::<Result<_, _>>()?))
    };
    loop {
        let (is, should) = (read(stored.next()?)?, read(made.next()?)?);
        let (is, mut should) = match (is, should) {
            (None, None) => return Ok(None),
            (is, should) if is == should => continue,
            (is, should) => (is, should),
        };
        // Sizes that nobody asked for lately are forgotten.
        if table == "learned" {
            while should.is_some() && should != is {
                should = read(made.next()?)?;
            }
            if should == is {
                continue;
            }
        }
        let key = |row: &Option<Vec<Value>>| row.as_ref().and_then(|row| row.first().cloned());
        return Ok(Some(match (&is, &should) {
            (Some(is), Some(should)) if is.first() == should.first() => {
                let at = is.iter().zip(should).position(|(is, should)| is != should).unwrap_or(0);
                format!(
                    "the index says of {table} {} that `{}` is {}, and the journal says {}",
                    shown(is.first()),
                    names.get(at).unwrap_or(&"?"),
                    shown(is.get(at)),
                    shown(should.get(at))
                )
            }
            (Some(_), Some(_)) => format!(
                "the index has {table} {} where the journal has {}",
                shown(key(&is).as_ref()),
                shown(key(&should).as_ref())
            ),
            (Some(_), None) => {
                format!("the index has {table} {}, which the journal has not", shown(key(&is).as_ref()))
            }
            (None, _) => {
                format!("the index lacks {table} {}, which the journal has", shown(key(&should).as_ref()))
            }
        }));
    }
}
