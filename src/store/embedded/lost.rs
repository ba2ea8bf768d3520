//! A copy and an origin that do not agree. The origin lost records, or somebody edited it: a person may say that it goes on with what
//! it has, which is damage of the record like any other ([`super::accept`]). The copy that had more is kept beside the new one.

use super::{
    accept::{self, Further},
    fold,
    origin::{Differs, End, Origin},
    owners, projection,
    terms::{self, locked},
    writer::Held,
};
use crate::{
    config::private_dir,
    evidence,
    journal::{
        self, Damage, Frame, Head, Lock, Patience, Reader, SEGMENT_HEAD, Segment, SegmentHead, Step, chain,
    },
    model::EventDraft,
    store::{BadRecord, ChainReport, StoreError},
};
use jiff::Timestamp;
use rusqlite::Connection;
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What a person has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// In words.
    pub problem: String,
    /// Where the copy of before is kept; `None`: there was none.
    pub kept: Option<PathBuf>,
}

/// The last that a copy knows.
struct Newest {
    head: Head,
    /// The latest time that it and the files of its store name, in microseconds.
    at: i64,
}

impl super::EmbeddedStore {
    /// Lets an origin go on with what it has, because a person says so, and has the copy at `path` be one of that; `None` where
    /// it has all that the copy has, as it was written, but for what was accepted before. `said` makes the record of it from
    /// the words and the places. Refused while another process on this machine has the copy open; that none on another one
    /// uses the origin is for the caller to know. No approval and no grant of before can be used from then on.
    pub fn accept_lost(
        path: &Path,
        data_dir: &Path,
        origin: &dyn Origin,
        said: accept::Said<'_>,
    ) -> Result<Option<Accepted>, StoreError> {
        accept_lost(path, data_dir, origin, said)
    }
}

fn accept_lost(
    path: &Path,
    data_dir: &Path,
    origin: &dyn Origin,
    said: accept::Said<'_>,
) -> Result<Option<Accepted>, StoreError> {
    if owners::any_alive(data_dir, None) {
        return Err(StoreError::Failed("a Tollgate has the store open: stop it first".to_owned()));
    }
    let dir = projection::journal_dir(path);
    private_dir(&dir).map_err(|error| StoreError::Failed(format!("`{}`: {error}", dir.display())))?;
    let lock = Arc::new(Lock::open(&dir)?);
    lock.take(Patience::Long).map_err(|error| locked(path, error))?;
    let _held = Held::new(&lock);
    let folder = Folder::beside(path)?;
    let (begins, end) = (origin.begins()?, origin.end()?);
    for head in origin.segments()? {
        origin.take(&head, &folder.journal)?;
    }
    let connection = projection::open_writer(&folder.path)?;
    // What counted for the copy counts on.
    let newest = known(&dir, &begins, &connection)?;
    let mut further = Further { at_least: end.head.seq, found: Vec::new(), by_name: true };
    if let Some(newest) = &newest {
        further.at_least = further.at_least.max(newest.head.seq);
        further.found.extend(differs(&dir, origin, &begins)?.map(|differs| lost(&differs, newest)));
    }
    if further.found.is_empty() {
        further.found.extend(cut_off(&folder.journal, &end)?);
    }
    let Some(problem) = accept::go_on(&folder.journal, &connection, further, said)? else { return Ok(None) };
    drop(connection);
    let Some((_, segment)) = journal::list(&folder.journal)?.pop() else { return Ok(None) };
    let bytes = fs::read(&segment).map_err(|error| terms::io(&error))?;
    let frame = usize::try_from(SEGMENT_HEAD).ok().and_then(|head| bytes.get(head..)).unwrap_or_default();
    origin.go_on(&end, &Segment::open(&segment, false)?.head, frame)?;
    let kept = set_aside(path)?;
    folder.put_in_place(path)?;
    Ok(Some(Accepted { problem, kept }))
}

/// A folder in which another copy is made. It goes with this, whatever is still in it.
struct Folder {
    root: PathBuf,
    path: PathBuf,
    journal: PathBuf,
}

impl Folder {
    fn beside(path: &Path) -> Result<Self, StoreError> {
        let root = sibling(path, "new")?;
        if root.exists() {
            fs::remove_dir_all(&root).map_err(|error| terms::io(&error))?;
        }
        let path = root.join(path.file_name().unwrap_or_default());
        let journal = projection::journal_dir(&path);
        private_dir(&journal).map_err(|error| terms::io(&error))?;
        Ok(Self { root, path, journal })
    }

    fn put_in_place(self, path: &Path) -> Result<(), StoreError> {
        move_all(&self.path, Some(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            tracing::warn!(path = %self.root.display(), %error, "store.folder_not_removed");
        }
    }
}

/// A folder beside that of a copy.
fn sibling(path: &Path, end: &str) -> Result<PathBuf, StoreError> {
    let folder = path.parent().and_then(|parent| Some((parent.parent()?, parent.file_name()?)));
    let (above, name) = folder
        .ok_or_else(|| StoreError::Failed(format!("`{}` is in no folder of its own", path.display())))?;
    let mut name = name.to_owned();
    name.push(format!(".{end}"));
    Ok(above.join(name))
}

/// Moves a copy out of the way, whole, to where it can be read as a store of one machine; `None`: there is none. For the
/// holder of the lock.
pub(super) fn set_aside(path: &Path) -> Result<Option<PathBuf>, StoreError> {
    if journal::list(&projection::journal_dir(path))?.is_empty() && !path.exists() {
        return Ok(None);
    }
    let mut number = 1;
    let kept = loop {
        let kept = sibling(path, &format!("before-{number}"))?;
        if !kept.exists() {
            break kept;
        }
        number += 1;
    };
    let target = kept.join(path.file_name().unwrap_or_default());
    private_dir(&projection::journal_dir(&target)).map_err(|error| terms::io(&error))?;
    move_all(path, Some(&target))?;
    Ok(Some(kept))
}

/// Removes a copy. For the holder of the lock.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    move_all(path, None)
}

/// Moves a copy to another place, whose folders are there, or removes it; the lock stays.
fn move_all(from: &Path, to: Option<&Path>) -> Result<(), StoreError> {
    let beside = |path: &Path, end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let mut moves: Vec<(PathBuf, Option<PathBuf>)> =
        ["-wal", "-shm", ""].map(|end| (beside(from, end), to.map(|to| beside(to, end)))).into();
    let (dir, target) = (projection::journal_dir(from), to.map(projection::journal_dir));
    for entry in fs::read_dir(&dir).map_err(|error| terms::io(&error))? {
        let name: OsString = entry.map_err(|error| terms::io(&error))?.file_name();
        if name != "lock" {
            moves.push((dir.join(&name), target.as_ref().map(|target| target.join(&name))));
        }
    }
    for (from, to) in moves {
        let moved = match to {
            Some(to) => fs::rename(&from, to),
            None if from.is_dir() => fs::remove_dir_all(&from),
            None => fs::remove_file(&from),
        };
        match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Failed(format!("`{}`: {error}", from.display())));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// The last that the copy in a folder knows, with a projection of it; `None`: there is none, or it is damaged itself.
fn known(dir: &Path, begins: &SegmentHead, connection: &Connection) -> Result<Option<Newest>, StoreError> {
    if journal::list(dir)?.is_empty() {
        return Ok(None);
    }
    let filled = Reader::open(dir).and_then(|reader| reader.refresh().map(|()| reader));
    let filled = filled.map_err(StoreError::from).and_then(|reader| {
        fold::make_anew(connection, begins.journal, &reader)?;
        Ok(reader)
    });
    match filled {
        Ok(reader) => {
            let here = reader.segment(reader.end().segment)?.map(|segment| segment.head.journal);
            if here != Some(begins.journal) {
                return Err(of_another(dir));
            }
            newest(dir)
        }
        Err(StoreError::Damaged(problem)) => {
            tracing::error!(problem, "store.copy_damaged: what this machine's copy had is not known");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A copy of what is in another database.
pub(super) fn of_another(dir: &Path) -> StoreError {
    StoreError::Failed(format!(
        "`{}` is the copy of another database: set another `data_dir`, or remove it",
        dir.display()
    ))
}

/// The last frame of the copy in a folder.
fn newest(dir: &Path) -> Result<Option<Newest>, StoreError> {
    for (_, path) in journal::list(dir)?.into_iter().rev() {
        let segment = Segment::open(&path, false)?;
        let mut scan = segment.scan_all()?;
        let mut found: Option<Newest> = None;
        while let Step::Frame { frame, .. } = scan.step()? {
            let at = found.map_or(frame.head.at, |found| found.at.max(frame.head.at));
            found = Some(Newest { head: frame.written_end(), at });
        }
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The first place at which the origin has not what the copy in a folder has.
fn differs(dir: &Path, origin: &dyn Origin, begins: &SegmentHead) -> Result<Option<Differs>, StoreError> {
    let mut segments = journal::list(dir)?;
    // Retention removed the others.
    segments.retain(|(first, _)| *first > begins.before.seq);
    Ok(origin.compare(&segments)?.into_iter().next())
}

fn segment_name(first: i64) -> String {
    format!("{first:020}.segment")
}

/// The same as damage of the record.
fn lost(differs: &Differs, newest: &Newest) -> accept::Lost {
    let Head { seq, hash, .. } = newest.head;
    let hash = chain::to_hex(&hash);
    let problem = format!(
        "the database has not what this machine's copy has from there on, of which record {seq} with the hash {hash} is the last"
    );
    let path = PathBuf::from(segment_name(differs.segment));
    let damage = Damage { path, offset: differs.offset, after: differs.after, problem };
    accept::Lost { damage, known: Some((seq, hash, newest.at)) }
}

/// What the origin says that it has, and has not.
fn cut_off(dir: &Path, end: &End) -> Result<Option<accept::Lost>, StoreError> {
    let Some((first, path)) = journal::list(dir)?.pop() else { return Ok(None) };
    let segment = Segment::open_any(&path)?;
    let walked = journal::walk(&segment, None, &mut |_, _, _| journal::Flow::On)?;
    let is_there = first == end.place.segment && walked.offset >= end.place.offset;
    Ok((!is_there).then(|| accept::Lost {
        damage: Damage {
            path: PathBuf::from(segment_name(first)),
            offset: walked.offset,
            after: walked.end.seq,
            problem: "the database says that more was written behind it".to_owned(),
        },
        known: None,
    }))
}

/// Whether a person accepted, in what the origin has, that all is lost which the copy in a folder has and it has not: the record
/// that says so.
pub(super) fn accepted(
    dir: &Path,
    origin: &dyn Origin,
    begins: &SegmentHead,
) -> Result<Option<i64>, StoreError> {
    let behind: Vec<SegmentHead> = origin.segments()?.into_iter().filter(|head| head.after_damage).collect();
    if behind.is_empty() {
        return Ok(None);
    }
    let (Some(differs), Some(newest)) = (differs(dir, origin, begins)?, newest(dir)?) else {
        return Ok(None);
    };
    let Ok(at) = Timestamp::from_microsecond(newest.at) else { return Ok(None) };
    let (segment, hash) = (segment_name(differs.segment), chain::to_hex(&newest.head.hash));
    for head in behind.iter().rev() {
        let first = head.before.seq + 1;
        let Some(bytes) = origin.first_frame(first)? else { continue };
        let Some(frame) = Frame::of(&bytes).filter(|frame| frame.check(&head.before).is_ok()) else {
            continue;
        };
        let body = frame.records().next().and_then(|record| std::str::from_utf8(record.body).ok());
        let event = body.and_then(|body| EventDraft::from_body(body).ok());
        let covers = event.is_some_and(|event| {
            evidence::accepts_lost(&event, (&segment, differs.after), (newest.head.seq, &hash), at)
        });
        if covers {
            return Ok(Some(first));
        }
    }
    Ok(None)
}

/// Holds what was verified against the origin. What differs behind the last damage that was accepted is told before that.
pub(super) fn compare(
    journal: &Reader,
    origin: &dyn Origin,
    report: &mut ChainReport,
) -> Result<(), StoreError> {
    let restart = journal.behind_damage()?.pop();
    if report.bad.is_some() && restart.is_none() {
        return Ok(());
    }
    let found = origin.compare(&journal::list(journal.dir())?)?;
    let newer = found.iter().find(|differs| restart.is_none_or(|restart| differs.segment >= restart));
    let told = newer.or(found.first().filter(|_| report.bad.is_none()));
    if let Some(Differs { after, problem, .. }) = told {
        report.bad = Some(BadRecord { seq: after + 1, problem: problem.clone() });
    }
    Ok(())
}
