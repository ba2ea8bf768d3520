//! Tells callers who wait for an approval that another process may have changed one (I10).

use super::{Shared, approvals, schema};
use rusqlite::Connection;
use std::{path::Path, sync::Weak, time::Duration};

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
