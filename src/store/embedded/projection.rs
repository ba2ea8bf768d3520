//! What is small and changes, as a SQLite file: approvals, counters, what records refer to. All of it follows from the
//! journal: it can be made anew, and verification holds it against what the journal says ([`super::fold`]).
//!
//! It is written by whoever holds the journal's lock: at once where an approval or something that is kept changed, else now
//! and then. `mark` says up to which frame it has followed; what came after is in each process's memory ([`super::ledger`]).

use crate::{
    config::private_dir,
    journal::{Head, Place},
    store::StoreError,
};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, TransactionBehavior};
use std::{
    fs,
    io::ErrorKind as IoErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

/// Marks the file as Tollgate's ("Toll").
pub(super) const APPLICATION_ID: i32 = 0x546f_6c6c;

/// The version of these tables. Those below it held the record itself ([`super::import`]).
pub(super) const VERSION: i64 = 6;

/// The version before there were standing grants.
const WITHOUT_GRANTS: i64 = 5;

/// A store of before the journal whose records are in the journal now.
pub(super) const TAKEN_OVER: i64 = 100;

/// Where the journal of a store lies, by its projection.
pub(super) fn journal_dir(path: &Path) -> PathBuf {
    path.with_extension("journal")
}

const TABLES: &str = "
CREATE TABLE mark (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  journal BLOB NOT NULL,
  segment INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  hash BLOB NOT NULL,
  frame BLOB NOT NULL,
  base_segment INTEGER NOT NULL,
  base_offset INTEGER NOT NULL,
  open BLOB NOT NULL
) STRICT;

CREATE TABLE owners (
  id INTEGER PRIMARY KEY,
  owner TEXT NOT NULL,
  lock_path TEXT NOT NULL
) STRICT;

CREATE TABLE counters (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  policy_id TEXT NOT NULL,
  key TEXT NOT NULL
) STRICT;

CREATE TABLE usage (
  counter INTEGER NOT NULL,
  start INTEGER NOT NULL,
  calls INTEGER NOT NULL,
  tokens INTEGER NOT NULL,
  cost INTEGER NOT NULL,
  alerted INTEGER NOT NULL,
  PRIMARY KEY (counter, start)
) STRICT, WITHOUT ROWID;

CREATE TABLE learned (
  tool TEXT PRIMARY KEY,
  milli_tokens INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE approvals (
  n INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  version INTEGER NOT NULL,
  status TEXT NOT NULL,
  agent TEXT NOT NULL,
  binding BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  rejected_at INTEGER,
  records TEXT NOT NULL
) STRICT;
CREATE INDEX approvals_binding ON approvals(binding, created_at);
CREATE INDEX approvals_status ON approvals(status, created_at);
CREATE INDEX approvals_created ON approvals(created_at);
CREATE INDEX approvals_rejected ON approvals(agent, rejected_at) WHERE rejected_at IS NOT NULL;
CREATE INDEX approvals_agent ON approvals(agent, created_at);

CREATE TABLE kept (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  hash TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT;
";

/// What version 5 did not have: in its time there were no grants in the journal.
const GRANTS: &str = "
CREATE TABLE grants (
  n INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  version INTEGER NOT NULL,
  live INTEGER NOT NULL,
  agent TEXT NOT NULL,
  tool TEXT NOT NULL,
  made_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  whole_seq INTEGER NOT NULL,
  whole_segment INTEGER NOT NULL,
  whole_offset INTEGER NOT NULL,
  newest_seq INTEGER NOT NULL,
  newest_segment INTEGER NOT NULL,
  newest_offset INTEGER NOT NULL
) STRICT;
CREATE INDEX grants_live ON grants(agent, tool, expires_at) WHERE live = 1;
CREATE INDEX grants_made ON grants(made_at);
";

/// The tables that follow from the journal, and the order that makes their rows comparable.
pub(super) const FOLLOWING: [(&str, &str); 7] = [
    ("approvals", "id, version, status, agent, binding, created_at, expires_at, rejected_at, records"),
    (
        "grants",
        "id, version, live, agent, tool, made_at, expires_at, whole_seq, whole_segment, whole_offset, newest_seq, \
         newest_segment, newest_offset",
    ),
    ("counters", "id, kind, policy_id, key"),
    ("usage", "counter, start, calls, tokens, cost, alerted"),
    ("learned", "tool, milli_tokens"),
    ("owners", "id, owner, lock_path"),
    ("kept", "kind, name, hash, body"),
];

/// Up to where the projection has followed the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Which journal.
    pub(super) journal: [u8; 16],
    /// Where the next frame begins.
    pub(super) place: Place,
    /// What it follows.
    pub(super) head: Head,
    /// From where on frames say what was counted in the last minutes.
    pub(super) base: Place,
    /// The calls that are open, as notes.
    pub(super) open: Vec<u8>,
}

/// Reads the mark; `None` where nothing was followed yet.
pub(super) fn mark(connection: &Connection) -> Result<Option<Mark>, StoreError> {
    let sql = "SELECT journal, segment, offset, seq, hash, frame, base_segment, base_offset, open FROM mark";
    let place = |row: &rusqlite::Row<'_>, at: usize| -> rusqlite::Result<Place> {
        Ok(Place { segment: row.get(at)?, offset: u64::try_from(row.get::<_, i64>(at + 1)?).unwrap_or(0) })
    };
    Ok(connection
        .prepare_cached(sql)?
        .query_row([], |row| {
            Ok(Mark {
                journal: row.get(0)?,
                place: place(row, 1)?,
                head: Head { seq: row.get(3)?, hash: row.get(4)?, frame: row.get(5)? },
                base: place(row, 6)?,
                open: row.get(8)?,
            })
        })
        .optional()?)
}

/// The same of a file that may have no tables yet.
pub(super) fn mark_of(connection: &Connection) -> Result<Option<Mark>, StoreError> {
    let made = connection.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'mark'")?.exists([])?;
    if made { mark(connection) } else { Ok(None) }
}

/// The place alone, which is all that a look at what others did needs.
pub(super) fn followed(connection: &Connection) -> Result<Option<Place>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT segment, offset FROM mark")?;
    let read = statement.query_row([], |row| {
        Ok(Place { segment: row.get(0)?, offset: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0) })
    });
    Ok(read.optional()?)
}

/// Writes the mark, in the transaction of what it is about.
pub(super) fn write_mark(connection: &Connection, mark: &Mark) -> Result<(), StoreError> {
    let offset = |place: Place| i64::try_from(place.offset).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO mark (id, journal, segment, offset, seq, hash, frame, base_segment, base_offset, open)
             VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute((
            mark.journal,
            mark.place.segment,
            offset(mark.place),
            mark.head.seq,
            mark.head.hash,
            mark.head.frame,
            mark.base.segment,
            offset(mark.base),
            &mark.open,
        ))?;
    Ok(())
}

/// Empties all tables, in the transaction that fills them anew.
pub(super) fn clear(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch("DELETE FROM mark;")?;
    for (table, _) in FOLLOWING {
        connection.execute_batch(&format!("DELETE FROM {table};"))?;
    }
    Ok(())
}

/// An empty one in memory, which verification fills from the journal.
pub(super) fn in_memory() -> Result<Connection, StoreError> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(TABLES)?;
    connection.execute_batch(GRANTS)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// How long an operation asks for a lock that another process holds, before it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// About 5 s: other gateways hold it for milliseconds, a backup or a person's tool for longer.
    Long,
    /// A quarter of a second, while the lock has been held for longer than that already.
    Short,
}

impl Patience {
    /// What SQLite calls before it asks once more.
    pub(super) fn handler(self) -> fn(i32) -> bool {
        match self {
            Self::Long => |attempt| wait_for_lock(attempt, 2_800),
            Self::Short => |attempt| wait_for_lock(attempt, 500),
        }
    }
}

fn wait_for_lock(attempt: i32, attempts: i32) -> bool {
    let pause = if attempt < 2_000 { 500 } else { 5_000 };
    std::thread::sleep(Duration::from_micros(pause));
    attempt < attempts
}

/// The writer's connection to a file that is made where it is missing. It need not survive the power: the journal does.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    prepare_file(path)?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if connection.is_readonly(rusqlite::MAIN_DB).map_err(|e| explain(path, &e))? {
        return Err(StoreError::Failed(format!("`{}` cannot be written", path.display())));
    }
    use_wal(&connection).map_err(|e| explain(path, &e))?;
    connection
        .execute_batch(
            "PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 16777216; PRAGMA cache_size = -16384;
             PRAGMA temp_store = MEMORY;",
        )
        .map_err(|e| explain(path, &e))?;
    make_tables(&mut connection, path)?;
    Ok(connection)
}

/// What keeps a file of ours from being read: it is no database, it is damaged, or tables are missing. `None`: nothing, or it
/// is not ours to judge. `thorough`: each page is read.
pub(super) fn unreadable(path: &Path, thorough: bool) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() == 0 {
        return None;
    }
    match read_through(path, thorough) {
        Ok(()) => None,
        Err(error) => {
            let is_damage = match &error {
                // A table or a column is missing; the statement is ours.
                rusqlite::Error::SqlInputError { .. } => true,
                other => matches!(
                    other.sqlite_error_code(),
                    Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown)
                ),
            };
            is_damage.then(|| match explain(path, &error) {
                StoreError::Failed(problem) => problem,
                other => other.to_string(),
            })
        }
    }
}

fn read_through(path: &Path, thorough: bool) -> rusqlite::Result<()> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_handler(Some(Patience::Short.handler()))?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if application != APPLICATION_ID || version != VERSION {
        return Ok(());
    }
    let mark = ("mark", "journal, segment, offset, seq, hash, frame, base_segment, base_offset, open");
    for (table, columns) in FOLLOWING.into_iter().chain([mark]) {
        connection.prepare(&format!("SELECT {columns} FROM {table}"))?;
    }
    if thorough {
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            return Err(rusqlite::Error::SqliteFailure(code, Some(found)));
        }
    }
    Ok(())
}

/// A connection that cannot write.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Opened for writing so that it can recover the WAL after a crash, then held back from writing.
    connection
        .execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY;")
        .map_err(|e| explain(path, &e))?;
    // Readers wait for nobody but a program that takes the whole file for itself.
    connection.busy_handler(Some(Patience::Short.handler())).map_err(|e| explain(path, &e))?;
    Ok(connection)
}

pub(super) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_handler(Some(Patience::Long.handler()))?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    open().map_err(|e| explain(path, &e))
}

/// The file and its folder exist, and nobody else may read them.
fn prepare_file(path: &Path) -> Result<(), StoreError> {
    let failed = |e: std::io::Error| match e.kind() {
        IoErrorKind::StorageFull | IoErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Failed(format!("`{}`: {e}", path.display())),
    };
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        private_dir(parent).map_err(failed)?;
    }
    // A file that is there is not opened: closing it would drop the locks that SQLite holds on it for this process.
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == IoErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(StoreError::Failed(format!("`{}` is a folder", path.display())));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if metadata.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        }
    }
    Ok(())
}

/// Switching to WAL needs the file for itself for a moment, and SQLite does not call the busy handler for it.
fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    let mut attempt = 0;
    loop {
        let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(_) if attempt >= 2_000 => return Err(rusqlite::Error::InvalidQuery),
            Err(error) if !is_busy(&error) || attempt >= 2_000 => return Err(error),
            Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
        attempt += 1;
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// The version of a file's tables; an error where it is another program's. A file that is not there has none.
pub(super) fn version(path: &Path) -> Result<i64, StoreError> {
    if fs::metadata(path).map_or(true, |metadata| metadata.is_file() && metadata.len() == 0) {
        return Ok(0);
    }
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    version_of(&connection, path)
}

fn version_of(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    // One statement: another start may make the tables between two of them.
    let read = "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema) \
                FROM pragma_user_version, pragma_application_id";
    let row: rusqlite::Result<(i64, i32, i64)> =
        connection.query_row(read, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let (version, application, tables) = row.map_err(|e| explain(path, &e))?;
    if application != APPLICATION_ID && (version != 0 || tables != 0) {
        return Err(StoreError::Failed(format!("`{}` is a database of another program", path.display())));
    }
    Ok(version)
}

/// Whether a newer Tollgate has changed the tables since this process opened the file.
pub(super) fn still_known(connection: &Connection) -> Result<(), StoreError> {
    let version: i64 = connection.prepare_cached("PRAGMA user_version")?.query_row([], |row| row.get(0))?;
    match version == VERSION {
        true => Ok(()),
        false => Err(StoreError::Failed(format!(
            "a Tollgate of another version has changed the database to schema version {version}: restart this one"
        ))),
    }
}

/// Two processes that open a new file at once meet at the lock; the second finds the work done.
fn make_tables(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| explain(path, &error);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    match version_of(&transaction, path)? {
        VERSION => return Ok(()),
        0 => {}
        WITHOUT_GRANTS => {
            transaction.execute_batch(GRANTS).map_err(failed)?;
            transaction.pragma_update(None, "user_version", VERSION).map_err(failed)?;
            return transaction.commit().map_err(failed);
        }
        version => {
            return Err(StoreError::Failed(format!(
                "`{}` has schema version {version}, and this Tollgate knows versions up to {VERSION}: use a newer Tollgate",
                path.display()
            )));
        }
    }
    transaction.execute_batch(TABLES).and_then(|()| transaction.execute_batch(GRANTS)).map_err(failed)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    transaction.pragma_update(None, "user_version", VERSION).map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// A failure while opening, in the admin's terms.
pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> StoreError {
    let (file, path) = (path, path.display());
    let text = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => return StoreError::Full,
        Some(ErrorCode::NotADatabase) => format!("`{path}` is not a SQLite database"),
        Some(ErrorCode::DatabaseCorrupt) => format!("`{path}` is damaged: {error}"),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => format!("`{path}` cannot be written"),
        // SQLite does not say why; the system does.
        Some(ErrorCode::CannotOpen) => match fs::OpenOptions::new().append(true).open(file) {
            Err(why) => format!("`{path}` cannot be opened: {why}"),
            Ok(_) => format!("`{path}` cannot be opened: {error}"),
        },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("`{path}` is locked by another process")
        }
        Some(_) | None => format!("`{path}`: {error}"),
    };
    StoreError::Failed(text)
}
