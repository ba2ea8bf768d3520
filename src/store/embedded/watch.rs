//! What others do to the database: a change of an approval, which wakes callers who wait for one (I10), and its files
//! replaced or removed.

use super::{Shared, approvals, schema};
use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    sync::Weak,
    time::Duration,
};

/// How soon a change in another process is seen.
const PERIOD: Duration = Duration::from_millis(50);

/// The thread's whole life: it looks only while somebody waits, and costs one counter's comparison then.
pub(super) fn run(path: &Path, shared: &Weak<Shared>) {
    let mut connection: Option<Connection> = None;
    let mut seen: Option<(i64, i64)> = None;
    loop {
        let waiting = match shared.upgrade() {
            Some(shared) if !shared.is_closed() => shared.approvals.receiver_count() > 0,
            Some(_) | None => return,
        };
        if waiting {
            if connection.is_none() {
                connection = schema::open_reader(path).ok();
            }
            // A read that fails says nothing; the next one may.
            if let Some(connection) = &connection
                && let Some(now) = look(connection, seen)
            {
                // The first look cannot know what was missed before it.
                if seen.is_none_or(|seen| seen.1 != now.1)
                    && let Some(shared) = shared.upgrade()
                {
                    shared.approvals.send_modify(|count| *count += 1);
                }
                seen = Some(now);
            }
            std::thread::park_timeout(PERIOD);
        } else {
            seen = None;
            std::thread::park();
        }
    }
}

/// The file's version and the approvals' generation; the second is read only where the first has moved.
fn look(connection: &Connection, seen: Option<(i64, i64)>) -> Option<(i64, i64)> {
    let version: i64 =
        connection.prepare_cached("PRAGMA data_version").ok()?.query_row([], |row| row.get(0)).ok()?;
    match seen {
        Some((known, generation)) if known == version => Some((version, generation)),
        Some(_) | None => Some((version, approvals::generation(connection).ok()?)),
    }
}

/// The files that this process has open. SQLite keeps its descriptors: it goes on writing to files that nobody finds any
/// more.
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
    /// After the database was opened and written to: all of its files are there. Without the lock others take this process
    /// for dead.
    pub(super) fn of(database: &Path, lock: &Path) -> Self {
        let beside = |end: &str| {
            let mut name = database.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        let files = [database.to_owned(), beside("-wal"), beside("-shm"), lock.to_owned()];
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
