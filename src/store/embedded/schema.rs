//! Opening a database file: the connection's settings, and the tables with their versions.

use crate::{
    config::{Durability, private_dir},
    store::StoreError,
};
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, TransactionBehavior};
use std::{fs, io::ErrorKind as IoErrorKind, path::Path, time::Duration};

/// Marks the file as Tollgate's ("Toll").
const APPLICATION_ID: i32 = 0x546f_6c6c;

/// The oldest version that can be brought up to date; those before it were never released.
const OLDEST: i64 = 2;

/// The first step makes [`OLDEST`], each further one the next version.
const MIGRATIONS: &[&str] = &[V2, V3, V4];

/// Chosen by measurement: a commit costs what it touches of pages, and appends at the end of a b-tree touch fewest. Hence
/// no index on `events` (`blocks` is it), and one row of `ledger` for all that one transaction did.
const V2: &str = "
CREATE TABLE events (
  seq INTEGER PRIMARY KEY,
  prev_hash BLOB NOT NULL,
  hash BLOB NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE TRIGGER events_no_update BEFORE UPDATE ON events
  BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
  BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

CREATE TABLE blocks (
  block INTEGER PRIMARY KEY,
  first_at INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  terms BLOB NOT NULL
) STRICT;

CREATE TABLE owners (
  id INTEGER PRIMARY KEY,
  owner TEXT NOT NULL UNIQUE,
  lock_path TEXT NOT NULL
) STRICT;

CREATE TABLE counters (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  policy_id TEXT NOT NULL,
  key TEXT NOT NULL,
  UNIQUE (kind, policy_id, key)
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

CREATE TABLE ledger (
  n INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  hash BLOB NOT NULL,
  entries BLOB NOT NULL
) STRICT;

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
  record TEXT NOT NULL
) STRICT;
CREATE INDEX approvals_binding ON approvals(binding, created_at);
CREATE INDEX approvals_status ON approvals(status, created_at);
CREATE INDEX approvals_created ON approvals(created_at);

CREATE TABLE approvals_generation (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  generation INTEGER NOT NULL
) STRICT;
INSERT INTO approvals_generation VALUES (1, 0);

CREATE TABLE secrets (
  name TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What the limits on an agent's asks are counted by. Rejections of before are not counted.
const V3: &str = "
ALTER TABLE approvals ADD COLUMN rejected_at INTEGER;
CREATE INDEX approvals_rejected ON approvals(agent, rejected_at) WHERE rejected_at IS NOT NULL;
CREATE INDEX approvals_agent ON approvals(agent, created_at);
";

/// What decisions refer to by a hash: bundles and resolved tools.
const V4: &str = "
CREATE TABLE kept (
  n INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  hash TEXT NOT NULL,
  body TEXT NOT NULL,
  UNIQUE (kind, name)
) STRICT;
";

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

/// The writer's connection to a file that is made, or brought up to date, where necessary.
pub(super) fn open_writer(path: &Path, durability: Durability) -> Result<Connection, StoreError> {
    prepare_file(path)?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if connection.is_readonly(MAIN_DB).map_err(|e| explain(path, &e))? {
        return Err(StoreError::Failed(format!("`{}` cannot be written", path.display())));
    }
    use_wal(&connection).map_err(|e| explain(path, &e))?;
    let synchronous = match durability {
        Durability::Commit => "NORMAL",
        Durability::Fsync => "FULL",
    };
    connection
        .execute_batch(&format!(
            "PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = {};
             PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -32768; PRAGMA temp_store = MEMORY;",
            super::checkpoint::WRITER_PAGES
        ))
        .map_err(|e| explain(path, &e))?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// A connection that only checkpoints.
pub(super) fn open_checkpointer(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection
        .execute_batch("PRAGMA synchronous = NORMAL; PRAGMA cache_size = -1024;")
        .map_err(|e| explain(path, &e))?;
    Ok(connection)
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

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
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
    let failed = |e: std::io::Error| StoreError::Failed(format!("`{}`: {e}", path.display()));
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

/// The version that this Tollgate reads and writes.
fn newest_version() -> i64 {
    OLDEST + i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX) - 1
}

/// Whether a newer Tollgate has changed the tables since this process opened the file.
pub(super) fn still_known(connection: &Connection) -> Result<(), StoreError> {
    let version: i64 = connection.prepare_cached("PRAGMA user_version")?.query_row([], |row| row.get(0))?;
    match version == newest_version() {
        true => Ok(()),
        false => Err(StoreError::Failed(format!(
            "a Tollgate of another version has changed the database to schema version {version}: restart this one"
        ))),
    }
}

/// Two processes that open a new file at once meet at the lock; the second finds the work done.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let newest = newest_version();
    let run = |connection: &mut Connection| -> rusqlite::Result<Result<(), StoreError>> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let application: i32 = transaction.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        let tables: i64 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if application != APPLICATION_ID && (version != 0 || tables != 0) {
            return Ok(Err(StoreError::Failed(format!(
                "`{}` is a database of another program",
                path.display()
            ))));
        }
        if version > newest || version < 0 {
            return Ok(Err(StoreError::Failed(format!(
                "`{}` has schema version {version}, and this Tollgate knows versions up to {newest}: use a newer Tollgate",
                path.display()
            ))));
        }
        if (1..OLDEST).contains(&version) {
            return Ok(Err(StoreError::Failed(format!(
                "`{}` has schema version {version}, made by a Tollgate that was never released: export it with that one \
                 (`tollgate audit export`), then move the file away",
                path.display()
            ))));
        }
        let done = usize::try_from((version - OLDEST + 1).max(0)).unwrap_or(0);
        if done < MIGRATIONS.len() {
            for step in MIGRATIONS.iter().skip(done) {
                transaction.execute_batch(step)?;
            }
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", newest)?;
        }
        transaction.commit()?;
        Ok(Ok(()))
    };
    run(connection).map_err(|e| explain(path, &e))?
}

/// A failure while opening, in the admin's terms.
fn explain(path: &Path, error: &rusqlite::Error) -> StoreError {
    let path = path.display();
    let text = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => format!("`{path}` is not a SQLite database"),
        Some(ErrorCode::DatabaseCorrupt) => format!("`{path}` is damaged: {error}"),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => format!("`{path}` cannot be written"),
        Some(ErrorCode::CannotOpen) => format!("`{path}` cannot be opened: {error}"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("`{path}` is locked by another process")
        }
        Some(_) | None => format!("`{path}`: {error}"),
    };
    StoreError::Failed(text)
}
