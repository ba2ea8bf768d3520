//! What others do to the store: a change of an approval, which wakes callers who wait for one (I10), an order about what is in
//! force, and its files replaced or removed.

use super::Shared;
use crate::journal::{Place, Reader};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

/// How soon a change in another process is seen where somebody waits for an answer.
const PERIOD: Duration = Duration::from_millis(50);

/// How soon where nobody does: what is in force must be followed within a second.
const SLOW_PERIOD: Duration = Duration::from_millis(250);

/// The thread's whole life: it looks only while somebody waits, and reads what came since.
pub(super) fn run(journal: &Arc<Reader>, shared: &Weak<Shared>) {
    let mut seen: Option<Seen> = None;
    loop {
        let waiting = match shared.upgrade() {
            Some(shared) if !shared.is_closed() => {
                let slow = (shared.control.receiver_count() > 0).then_some(SLOW_PERIOD);
                if shared.approvals.receiver_count() > 0 { Some(PERIOD) } else { slow }
            }
            Some(_) | None => return,
        };
        if let Some(period) = waiting {
            // A read that fails says nothing; the next one may.
            if journal.refresh().is_ok() {
                let now = Seen { segment: journal.end().segment, projected: journal.projected() };
                // The first look cannot know what was missed before it.
                if seen != Some(now)
                    && let Some(shared) = shared.upgrade()
                {
                    shared.approvals.send_modify(|count| *count += 1);
                    shared.control.send_modify(|count| *count += 1);
                }
                seen = Some(now);
            }
            std::thread::park_timeout(period);
        } else {
            seen = None;
            std::thread::park();
        }
    }
}

/// The last frame that changed an approval or what is in force, of the segment that is appended to.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    segment: i64,
    projected: Option<Place>,
}

/// The files that this process has open. Its descriptors last: it would go on writing to files that nobody finds any more.
#[derive(Debug)]
pub(super) struct Files(Vec<(PathBuf, Option<Identity>)>);

/// By what a file is known, whatever its name: device and inode.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Path) -> Option<Identity> {
    None
}

impl Files {
    /// After the store was opened and written to: all of its files are there. Without its lock others take this process for
    /// dead.
    pub(super) fn of(database: &Path, journal_lock: &Path, lock: &Path) -> Self {
        let beside = |end: &str| {
            let mut name = database.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        let journal = journal_lock.to_owned();
        let files = [database.to_owned(), beside("-wal"), beside("-shm"), journal, lock.to_owned()];
        let known = files.into_iter().map(|path| {
            let identity = identity(&path);
            (path, identity)
        });
        Self(known.collect())
    }

    /// Whether they are still found under their names; the error says which is not.
    pub(super) fn check(&self) -> Result<(), String> {
        for (path, opened) in &self.0 {
            if identity(path) != *opened {
                return Err(format!(
                    "`{}` was removed or replaced while Tollgate had it open: restart Tollgate",
                    path.display()
                ));
            }
        }
        Ok(())
    }
}
