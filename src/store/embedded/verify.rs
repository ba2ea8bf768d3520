//! Verification: every frame and record against its hashes, every index against its segment, every row of the projection
//! against what the journal says. Nothing is put right by it.

use super::{
    accepted::{Acceptances, Of, Problem, named},
    book::{self, Book},
    fold,
    grants::{self, Grants},
    kept::Inventory,
    projection::{self, FOLLOWING, journal_dir},
};
use crate::{
    evidence,
    journal::{
        self, Damage, Flow, Frame, Head, JournalError, Place, Range, Reader, SEGMENT_HEAD, Segment,
        SegmentHead, Step, chain,
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
    collections::BTreeMap,
    mem::discriminant,
    ops::ControlFlow,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Segments that are verified at once.
const THREADS: usize = 8;

/// What one segment was found to be.
struct Found {
    name: String,
    head: SegmentHead,
    after: Head,
    headless: bool,
    /// All of its frames are as they were written.
    whole: bool,
    records: u64,
    problems: Vec<Problem>,
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
    if report.bad.is_none() {
        report.bad = verify_tree(journal, found)?;
    }
    report.bad = report.bad.or(accepted);
    Ok(report)
}

/// What is kept of the tree over the records is what the records make, wherever all of a block's can be read.
fn verify_tree(journal: &Reader, found: Vec<Found>) -> Result<Option<BadRecord>, StoreError> {
    let (mut made, mut run, mut end) = (BTreeMap::new(), tree::Builder::default(), None);
    for one in found {
        let begins = one.head.before.seq;
        if end != Some(begins) {
            made.extend(std::mem::take(&mut run).blocks());
        }
        end = one.whole.then_some(one.after.seq);
        if one.whole {
            run.append(one.leaves, u64::try_from(begins).unwrap_or(0));
        }
    }
    made.extend(run.blocks());
    let differs = tree::differing_block(journal.dir(), &made)?;
    Ok(differs.map(|path| {
        let problem = format!(
            "`{}` is not what the records make: somebody edited it; it can be removed",
            path.display()
        );
        bad(0, problem)
    }))
}

/// What all segments are together, and what a person has accepted: that is told where nothing else is wrong, and hides no
/// other damage, earlier or later.
fn joined(journal: &Reader, found: &[Found]) -> Result<(ChainReport, Option<BadRecord>), StoreError> {
    let mut report = ChainReport { records: 0, head: chain::to_hex(&chain::GENESIS), bad: None };
    let mut before: Option<Head> = None;
    let mut problems = Vec::new();
    for (at, one) in found.iter().enumerate() {
        problems.extend(match before {
            None if at == 0 && one.whole => first_gap(journal, one)?,
            // What is damaged before it is named already, and so is a head that cannot be read.
            None => None,
            Some(_) if one.headless => None,
            Some(before) => gap(&before, one),
        });
        problems.extend(one.problems.iter().cloned());
        report.records += one.records;
        report.head = chain::to_hex(&one.after.hash);
        before = one.whole.then_some(one.after);
    }
    if problems.is_empty() {
        return Ok((report, None));
    }
    let (new, accepted) = Acceptances::read(journal)?.judge(problems);
    report.bad = new;
    Ok((report, accepted))
}

/// What is missing between a segment and the one before, which is whole.
fn gap(before: &Head, one: &Found) -> Option<Problem> {
    if one.head.before == *before {
        return None;
    }
    let (said, of) = match (one.head.after_damage, one.head.follows(before)) {
        (true, true) => (", as a person accepted", Of::Restart),
        (true, false) => (" any more as it did when a person accepted a gap", one.place(before.seq)),
        (false, _) => ("", one.place(before.seq)),
    };
    Some(Problem::new(before.seq + 1, format!("the next segment does not follow it{said}"), of))
}

impl Found {
    fn place(&self, after: i64) -> Of {
        Of::Place(self.name.clone(), after, None)
    }

    /// One whose first bytes cannot be read.
    fn headless(path: &Path, error: &JournalError) -> Self {
        let numbered =
            path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<i64>().ok());
        let first = numbered.unwrap_or(0);
        let before = Head { seq: first.saturating_sub(1), ..Head::START };
        let mut found = Self {
            name: named(path),
            head: SegmentHead { journal: [0; 16], before, after_damage: false },
            after: before,
            headless: true,
            whole: false,
            records: 0,
            problems: Vec::new(),
            leaves: tree::Builder::default(),
        };
        found.problems.push(Problem::new(first, error.to_string(), found.place(before.seq)));
        let walked = Segment::open_any(path)
            .and_then(|segment| journal::walk(&segment, None, &mut |_, _, _| Flow::On));
        // Where it cannot be read at all, that is said.
        let further = walked.map(|walked| walked.damage).unwrap_or_default();
        found.problems.extend(further.iter().filter(|damage| damage.offset > 0).map(Problem::of_damage));
        found
    }

    /// Everything that is not as it was written in a segment of which this is the first, up to an offset.
    fn damaged(&mut self, segment: &Segment, until: Option<u64>, first: &Damage) -> Result<(), JournalError> {
        self.whole = false;
        let walked = journal::walk(segment, until, &mut |_, _, _| Flow::On)?;
        self.problems.push(Problem::of_damage(first));
        let further = walked.damage.iter().filter(|damage| damage.offset > first.offset);
        self.problems.extend(further.map(Problem::of_damage));
        Ok(())
    }
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
fn first_gap(journal: &Reader, first: &Found) -> Result<Option<Problem>, StoreError> {
    let before = first.head.before;
    if before == Head::START {
        return Ok(None);
    }
    let terms = vec![(Field::EventType, Pattern::Exact(EventType::AdminAction.as_str().to_owned()))];
    let range = Range { first: before.seq + 1, last: i64::MAX, newest_first: true };
    let mut said = false;
    journal.find_readable(&Wanted { terms, ..Wanted::default() }, range, &mut |entry| {
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
    Ok((!said).then(|| Problem::new(1, problem(), Of::Other)))
}

fn verify_segment(path: &Path, end: Place, kept: &Inventory) -> Result<Found, StoreError> {
    let segment = match Segment::open(path, false) {
        Ok(segment) => segment,
        Err(error) => return Ok(Found::headless(path, &error)),
    };
    let before = segment.head.before;
    let mut found = Found {
        name: named(path),
        head: segment.head,
        after: before,
        headless: false,
        whole: true,
        records: 0,
        problems: Vec::new(),
        leaves: tree::Builder::new(u64::try_from(before.seq).unwrap_or(0)),
    };
    let is_newest = segment.first_seq() == end.segment;
    let damaged = |offset: u64, after: i64, problem: String| {
        Some(Damage { path: path.to_owned(), offset, after, problem })
    };
    let mut made = Made::default();
    let mut scan = segment.scan(SEGMENT_HEAD, before)?;
    let mut sealed = false;
    let damage = loop {
        match scan.step()? {
            Step::Frame { offset, before, frame } => {
                if (Place { segment: segment.first_seq(), offset }) >= end {
                    break None;
                }
                if let Err(problem) = frame.check(&before) {
                    break damaged(offset, frame.good_until(&before), problem);
                }
                verify_records(&frame, offset, kept, &mut made, &mut found);
                sealed |= frame.head.is_sealed();
                found.after = frame.written_end();
            }
            Step::End => break None,
            // Somebody is writing it; the next writer judges it.
            Step::Torn { .. } if is_newest => break None,
            Step::Torn { offset } => {
                let problem = "its segment ends in the middle of a frame".to_owned();
                break damaged(offset, found.after.seq, problem);
            }
            Step::Damaged { offset, problem } => break damaged(offset, found.after.seq, problem),
        }
    };
    match damage {
        Some(damage) => found.damaged(&segment, is_newest.then_some(end.offset), &damage)?,
        None if sealed && found.problems.is_empty() => {
            let differs = verify_made(path, &segment, made, &found.after)?;
            found.problems.extend(differs.map(|bad| Problem { bad, of: Of::Other }));
        }
        None => {}
    }
    Ok(found)
}

/// Counts the records of a frame that can be read and refer to what is kept, and names the segment's first ones that do not.
fn verify_records(frame: &Frame<'_>, offset: u64, kept: &Inventory, made: &mut Made, found: &mut Found) {
    for record in frame.records() {
        found.leaves.leaf(leaf_hash(&record.hash));
        let body = std::str::from_utf8(record.body).unwrap_or_default();
        let read = Members::read(body).map_err(|problem| (problem, Of::Other));
        let read = read.and_then(|members| match kept.problem(members.event_type(), body) {
            Some(problem) => Err((problem, Of::Reference(found.head.before.seq + 1))),
            None => Ok(members),
        });
        let members = match read {
            Ok(members) => members,
            Err((problem, of)) => {
                let same = |known: &Problem| discriminant(&known.of) == discriminant(&of);
                if !found.problems.iter().any(same) {
                    found.problems.push(Problem::new(record.seq, problem, of));
                }
                continue;
            }
        };
        made.index.add(u32::try_from(offset + record.offset as u64).unwrap_or(0), Some(&members));
        if let Some(seen) = Seen::read(body) {
            made.rollup.add(&seen);
        }
        found.records += 1;
    }
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
