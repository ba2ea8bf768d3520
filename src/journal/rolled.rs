//! The rows of all segments: from the files of those that are sealed, and from memory for the one that grows.

use super::{
    JournalError,
    indexed::{known_rollup, make_rollup},
    read::Reader,
    rollup_file::{Loaded, RollupFile},
    segment::Segment,
};
use crate::series::{Rollup, Row, Span};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Rollups that one question may have made where they are missing: each takes a part of a second.
const MADE_AT_ONCE: usize = 4;

/// Bytes of rows that one question keeps between its looks at them.
const MOST_KEPT: usize = 16 << 20;

/// What charts can be drawn of, as it stood when a question began.
#[derive(Debug)]
pub struct Rows {
    sealed: Vec<(PathBuf, Arc<RollupFile>)>,
    tail: Arc<Rollup>,
    /// Sealed segments that are not among the rows: their rollups are still to be made.
    pub missing: usize,
    /// What was read, for a question that needs its rows once more, and how much more may be kept.
    kept: HashMap<(usize, Span), Loaded>,
    room: usize,
}

impl Reader {
    /// What charts can be drawn of. Where rollups are missing a few are made, the newest first; the next question makes the
    /// next ones.
    pub fn rolled(&self) -> Result<Rows, JournalError> {
        let (tail, sealed) = {
            let mut view = self.view.lock();
            let view = &mut *view;
            view.tail.refresh_rollup()?;
            view.rollups.retain(|first, _| view.sealed.contains_key(first));
            let of =
                |(first, path): (&i64, &PathBuf)| (*first, path.clone(), view.rollups.get(first).cloned());
            (view.tail.rollup.clone(), view.sealed.iter().map(of).collect::<Vec<_>>())
        };
        let mut rows = Rows { sealed: Vec::new(), tail, missing: 0, kept: HashMap::new(), room: MOST_KEPT };
        let mut made = 0;
        for (first, path, known) in sealed.into_iter().rev() {
            if let Some(rollup) = known {
                rows.sealed.push((path, rollup));
                continue;
            }
            // It may have been removed meanwhile.
            let Some(segment) = opened(&path)? else { continue };
            let rollup = match known_rollup(&segment)? {
                Some(rollup) => rollup,
                None if made < MADE_AT_ONCE => {
                    made += 1;
                    make_rollup(&segment)?
                }
                None => {
                    rows.missing += 1;
                    continue;
                }
            };
            let rollup = Arc::new(rollup);
            self.view.lock().rollups.insert(first, rollup.clone());
            rows.sealed.push((path, rollup));
        }
        rows.sealed.reverse();
        Ok(rows)
    }
}

impl Rows {
    /// Hands on the rows of some minutes. A file that is damaged is made again.
    pub fn of(&mut self, span: Span, take: &mut dyn FnMut(Row<'_>)) -> Result<(), JournalError> {
        for (at, (path, rollup)) in self.sealed.iter().enumerate() {
            let failed =
                |problem: &str| JournalError::Failed { path: path.clone(), problem: problem.to_owned() };
            if let Some(loaded) = self.kept.get(&(at, span)) {
                loaded.rows(span, take).map_err(failed)?;
                continue;
            }
            let loaded = match rollup.load(span) {
                Ok(loaded) => loaded,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "journal.rollup_unreadable: it is rebuilt from its segment");
                    let Some(segment) = opened(path)? else { continue };
                    make_rollup(&segment)?.load(span)?
                }
            };
            loaded.rows(span, take).map_err(failed)?;
            if let Some(room) = self.room.checked_sub(loaded.bytes()) {
                self.room = room;
                self.kept.insert((at, span), loaded);
            }
        }
        self.tail.rows(span, take);
        Ok(())
    }
}

/// A segment; `None` where it is gone.
fn opened(path: &Path) -> Result<Option<Segment>, JournalError> {
    match Segment::open_any(path) {
        Ok(segment) => Ok(Some(segment)),
        Err(_) if !path.exists() => Ok(None),
        Err(error) => Err(error),
    }
}
