//! A store whose journal is a copy: everything here can be made anew from its origin, and what is not there does not count.

use super::{
    EmbeddedStore, lost,
    origin::{Known, Origin, Stop},
    owners, projection,
    writer::Held,
};
use crate::{
    config::private_dir,
    journal::{Journal, JournalError, Lock, Patience, Segment, SegmentHead, go_on_as, list, move_segment},
    model::OwnerId,
    store::StoreError,
};
use std::{fs, path::Path, sync::Arc};

/// Frames after which it is told how far copying has come.
const TOLD_EVERY: i64 = 1_000_000;

/// By what a process is known to others on the same origin, who do not see its lock.
pub(super) fn lock_name(owner: &OwnerId) -> String {
    format!("replica:{}", owner.as_str())
}

/// The process of such a name.
pub(super) fn owner_of(lock_name: &str) -> &str {
    lock_name.strip_prefix("replica:").unwrap_or(lock_name)
}

/// What to do where the copy is not what it was copied from.
pub(super) fn remedied(error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged(problem) => StoreError::Damaged(format!(
            "{problem}. This folder holds a copy of the record in the database: see \"When the database lost records\" in \
             docs/replicas.md before anything is removed"
        )),
        other => other,
    }
}

impl EmbeddedStore {
    /// Has the copy of an origin at `path` hold all that it has, for whoever reads it without opening it.
    pub fn bring_copy(path: &Path, data_dir: &Path, origin: &dyn Origin) -> Result<(), StoreError> {
        bring(path, (data_dir, None), origin)
    }
}

/// Why a copy does not follow its origin.
enum Unfit {
    Failed(StoreError),
    /// It is not what was copied.
    Damaged(String),
    /// It has what the origin has not.
    Lost(StoreError),
    /// The origin goes on behind records that were removed and not copied.
    Removed(StoreError),
    /// What is to be copied is damaged, which a person has accepted.
    Accepted(StoreError),
}

impl From<StoreError> for Unfit {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<JournalError> for Unfit {
    fn from(error: JournalError) -> Self {
        Self::Failed(error.into())
    }
}

impl Unfit {
    fn into_error(self) -> StoreError {
        match self {
            Self::Damaged(problem) => StoreError::Damaged(problem),
            Self::Failed(error) | Self::Lost(error) | Self::Removed(error) | Self::Accepted(error) => error,
        }
    }
}

/// Has the copy beside `path` hold all that the origin has. One that does not follow it is rebuilt, unless another process than the one
/// of lock `own` has it open: that goes on with what it has.
pub(super) fn bring(
    path: &Path,
    (data_dir, own): (&Path, Option<&Path>),
    origin: &dyn Origin,
) -> Result<(), StoreError> {
    let dir = projection::journal_dir(path);
    private_dir(&dir).map_err(|error| StoreError::Failed(format!("`{}`: {error}", dir.display())))?;
    let lock = Arc::new(Lock::open(&dir)?);
    lock.take(Patience::Long).map_err(|error| super::terms::locked(path, error))?;
    let _held = Held::new(&lock);
    let begins = origin.begins()?;
    let unfit = match follow(&dir, origin, &begins) {
        Ok(()) => return Ok(()),
        Err(Unfit::Failed(error)) => return Err(error),
        Err(unfit) => unfit,
    };
    let accepted = match &unfit {
        Unfit::Lost(_) => lost::accepted(&dir, origin, &begins)?,
        Unfit::Failed(_) | Unfit::Damaged(_) | Unfit::Removed(_) | Unfit::Accepted(_) => None,
    };
    if let (Unfit::Lost(_), None) = (&unfit, &accepted) {
        return Err(unfit.into_error());
    }
    if owners::any_alive(data_dir, own) {
        return Err(in_use(unfit.into_error()));
    }
    match unfit {
        Unfit::Failed(error) => return Err(error),
        Unfit::Damaged(problem) => {
            tracing::error!(
                problem,
                "store.copy_damaged: this machine's copy of the record is rebuilt from the database"
            );
            set_aside(&dir)?;
        }
        Unfit::Accepted(error) => {
            tracing::warn!(%error, "store.copy_rebuilt: the database has damage that was accepted, and is copied as it is");
            set_aside(&dir)?;
        }
        Unfit::Removed(error) => {
            tracing::warn!(%error, "store.copy_rebuilt: this machine's copy of the record is rebuilt from the database");
            lost::remove(path)?;
        }
        Unfit::Lost(_) => {
            let kept = lost::set_aside(path)?.unwrap_or_default();
            tracing::error!(
                record = accepted, kept = %kept.display(),
                "store.copy_set_aside: this machine's copy has records that the database lost, which a person accepted; it is kept, \
                 and another one is made"
            );
        }
    }
    follow(&dir, origin, &begins).map_err(Unfit::into_error)
}

/// Of a copy that would be rebuilt if nobody used it.
fn in_use(error: StoreError) -> StoreError {
    let then = "A process of this machine has this copy open, most likely its gateway: stop it, and its next start rebuilds the copy \
                from the database";
    match error {
        StoreError::Damaged(problem) => StoreError::Damaged(format!("{problem}. {then}")),
        StoreError::Failed(problem) => StoreError::Failed(format!("{problem}. {then}")),
        other => other,
    }
}

/// Has the copy in a folder hold all that the origin has; it is begun where there is none.
fn follow(dir: &Path, origin: &dyn Origin, begins: &SegmentHead) -> Result<(), Unfit> {
    if list(dir)?.is_empty() {
        take(dir, origin, begins)?;
    }
    let mut journal = opened(dir)?;
    if journal.id() != begins.journal {
        return Err(lost::of_another(dir).into());
    }
    let mut told = journal.head().seq;
    loop {
        let known = Known { place: journal.place(), head: *journal.head() };
        let news = origin.read(known)?;
        match news.stop {
            None => {}
            Some(Stop::Lost(error)) => return Err(Unfit::Lost(error)),
            Some(Stop::Removed(error)) => return Err(Unfit::Removed(error)),
            Some(Stop::GoesOn(before)) => {
                go_on(dir, origin, &SegmentHead { journal: begins.journal, before, after_damage: true })?;
                journal = opened(dir)?;
                continue;
            }
        }
        if news.frames.is_empty() {
            return Ok(());
        }
        match journal.write_copied(known.place, &news.frames) {
            Ok(()) => {}
            Err(JournalError::Damaged(damage)) => {
                let goes_on = origin
                    .segments()?
                    .iter()
                    .any(|head| head.after_damage && head.before.seq >= known.place.segment);
                let error = damaged_there(&damage.to_string());
                return Err(if goes_on { Unfit::Accepted(error) } else { error.into() });
            }
            Err(error) => return Err(error.into()),
        }
        journal.follow(&mut |_, _, _| Ok(()))?;
        if journal.head().seq - told >= TOLD_EVERY {
            told = journal.head().seq;
            tracing::info!(records = told, "store.copying: the record is copied from the database");
        }
    }
}

fn damaged_there(problem: &str) -> StoreError {
    StoreError::Damaged(format!(
        "{problem}. It is not what was written in the database: put that back, or say on a machine whose copy is whole that it goes on \
         all the same, `tollgate store accept --reason TEXT` (docs/replicas.md, \"When the database lost records\")"
    ))
}

/// The copy as far as it goes.
fn opened(dir: &Path) -> Result<Journal, Unfit> {
    match Journal::open(dir, [0; 16], false) {
        Ok(mut journal) => {
            // What was written as the process ended stands whole at the origin.
            drop(journal.take_cut());
            Ok(journal)
        }
        Err(JournalError::Damaged(damage)) => Err(Unfit::Damaged(damage.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Begins a copy. What stands before damage that was accepted is taken as it is: who reads it knows how.
fn take(dir: &Path, origin: &dyn Origin, begins: &SegmentHead) -> Result<(), Unfit> {
    let segments = origin.segments()?;
    let Some(restart) = segments.iter().rposition(|head| head.after_damage) else {
        Segment::create(dir, begins)?;
        return Ok(());
    };
    for head in segments.iter().take(restart) {
        origin.take(head, dir)?;
    }
    match segments.get(restart) {
        Some(head) => go_on(dir, origin, head),
        None => Ok(()),
    }
}

/// Begins a segment that goes on behind damage.
fn go_on(dir: &Path, origin: &dyn Origin, head: &SegmentHead) -> Result<(), Unfit> {
    let first = head.before.seq + 1;
    let frame = origin.first_frame(first)?;
    let missing =
        || StoreError::Damaged(format!("what the database goes on with at record {first} is missing there"));
    match go_on_as(dir, head, &frame.ok_or_else(missing)?) {
        Err(JournalError::Damaged(damage)) => Err(damaged_there(&damage.to_string()).into()),
        begun => Ok(begun?),
    }
}

/// Moves the segments of a damaged copy, and what is made of them, out of the way.
fn set_aside(dir: &Path) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::Failed(format!("`{}`: {error}", dir.display()));
    let aside = dir.join("damaged");
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(failed)?;
    }
    fs::create_dir(&aside).map_err(failed)?;
    Ok(list(dir)?.iter().try_for_each(|(_, segment)| move_segment(segment, &aside))?)
}
