//! Taking over a store of before the journal: one SQLite file that held the records themselves. Its chain goes on, byte for
//! byte; counters, open calls, approvals and keys come along. It is done whole or not at all, and the old file stays beside
//! the new one under another name.

use super::{
    book,
    ledger::number,
    notes::{self, Note},
    owners::{self, Probe, owner_id},
    projection::{self, journal_dir},
};
use crate::{
    admission::{Effect, Grant, Usage, WindowUsage},
    config::private_dir,
    evidence,
    journal::{self, Draft, Journal, PROJECTED, Reader, chain},
    model::EventDraft,
    store::{ApprovalRecord, StoreError},
};
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The versions that held the record itself.
const HELD_RECORDS: std::ops::RangeInclusive<i64> = 2..=4;

/// A file that is larger is taken over by `tollgate store import`, which shows progress.
const AT_A_START: u64 = 1 << 30;

/// Records in one frame, and bytes.
const FRAME: u32 = 1_000;
const FRAME_BYTES: usize = 4 << 20;

/// Who is told how far it is: records done, records in all.
pub(super) type Progress<'p> = &'p mut dyn FnMut(u64, u64);

/// Where the old file goes.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".before-journal");
    PathBuf::from(name)
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull => StoreError::Full,
        _ => StoreError::Failed(format!("`{}`: {error}", path.display())),
    }
}

/// Takes over what is at `path`, where that is a store of before; `None` where it is not. `at_a_start`: a large one is
/// refused, with what to do.
pub(super) fn take_over(
    path: &Path,
    data_dir: &Path,
    (at_a_start, now): (bool, Timestamp),
    progress: Progress<'_>,
) -> Result<Option<u64>, StoreError> {
    if fs::metadata(path).map_or(true, |metadata| metadata.is_file() && metadata.len() == 0) {
        return Ok(None);
    }
    // Of several that start at once one does it; the others find it done. Nobody so much as looks meanwhile: a connection to
    // a file that is renamed would take up what belongs to the next one of that name.
    let lock = one_at_a_time(path)?;
    let taken = take_over_alone(path, data_dir, (at_a_start, now), progress);
    drop(lock);
    taken
}

/// A lock on the folder, since the file itself is about to be replaced. Where folders cannot be locked, a file in it.
fn one_at_a_time(path: &Path) -> Result<fs::File, StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    #[cfg(unix)]
    let lock = fs::File::open(folder);
    #[cfg(not(unix))]
    let lock = journal::open_private(&folder.join(".take-over"));
    let lock = lock.map_err(|error| failed(folder, &error))?;
    lock.lock().map_err(|error| failed(folder, &error))?;
    Ok(lock)
}

fn refuse_unreleased(path: &Path, version: i64) -> Result<(), StoreError> {
    if !(1..*HELD_RECORDS.start()).contains(&version) {
        return Ok(());
    }
    Err(StoreError::Failed(format!(
        "`{}` has schema version {version}, made by a Tollgate that was never released: export it with that one \
         (`tollgate audit export`), then move the file away",
        path.display()
    )))
}

fn take_over_alone(
    path: &Path,
    data_dir: &Path,
    (at_a_start, now): (bool, Timestamp),
    progress: Progress<'_>,
) -> Result<Option<u64>, StoreError> {
    let version = projection::version(path)?;
    if version == projection::TAKEN_OVER {
        return put_aside(path).map(|()| None);
    }
    if !HELD_RECORDS.contains(&version) {
        return refuse_unreleased(path, version).map(|()| None);
    }
    let size = fs::metadata(path).map_err(|error| failed(path, &error))?.len();
    if at_a_start && size > AT_A_START {
        return Err(StoreError::Failed(format!(
            "`{}` is a store of an older Tollgate, and large: take it over with `tollgate store import`, which shows how far it is",
            path.display()
        )));
    }
    let old = projection::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    old.execute_batch("BEGIN EXCLUSIVE")?;
    nobody_uses(&old, data_dir, path)?;
    let last: Option<(i64, chain::Hash)> = old
        .query_row("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let dir = journal_dir(path);
    let records = match has_segments(&dir)? {
        true => already(&dir, last)?,
        false => write_journal(&old, &dir, (last, now), progress)?,
    };
    old.pragma_update(None, "user_version", projection::TAKEN_OVER)?;
    old.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE);")?;
    old.close().map_err(|(_, error)| StoreError::from(error))?;
    put_aside(path)?;
    tracing::info!(records, kept = %aside(path).display(), "store.taken_over");
    Ok(Some(records))
}

fn put_aside(path: &Path) -> Result<(), StoreError> {
    let aside = aside(path);
    if aside.exists() {
        return Err(StoreError::Failed(format!(
            "`{}` is there already: move it away, so that the old store can be kept under that name",
            aside.display()
        )));
    }
    fs::rename(path, &aside).map_err(|error| failed(path, &error))?;
    // What it holds is nobody else's to read, whatever mode it had.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o600))
            .map_err(|error| failed(&aside, &error))?;
    }
    Ok(())
}

fn has_segments(dir: &Path) -> Result<bool, StoreError> {
    match dir.exists() {
        true => Ok(!journal::list(dir)?.is_empty()),
        false => Ok(false),
    }
}

/// A process of before would go on writing to the old file.
fn nobody_uses(old: &Connection, data_dir: &Path, path: &Path) -> Result<(), StoreError> {
    let mut statement = old.prepare("SELECT lock_path FROM owners")?;
    let locks = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    for lock in locks {
        if matches!(owners::probe(&owners::found(Path::new(&lock), data_dir)), Probe::Alive) {
            return Err(StoreError::Failed(format!(
                "another Tollgate, of an older version, uses `{}`: stop it, so that its records can be taken over",
                path.display()
            )));
        }
    }
    Ok(())
}

/// An earlier take-over that ended before its last step.
fn already(dir: &Path, last: Option<(i64, chain::Hash)>) -> Result<u64, StoreError> {
    let reader = Reader::open(dir)?;
    reader.refresh()?;
    let Some((seq, hash)) = last else { return Ok(0) };
    match reader.record(seq)? {
        Some(entry) if entry.hash == hash => Ok(u64::try_from(seq).unwrap_or(0)),
        Some(_) | None => Err(StoreError::Failed(format!(
            "`{}` is there already, and is not what the old store's records make: move one of them away",
            dir.display()
        ))),
    }
}

/// Writes the journal beside its place, and puts it there once all of it is on the disk.
fn write_journal(
    old: &Connection,
    dir: &Path,
    (last, now): (Option<(i64, chain::Hash)>, Timestamp),
    progress: Progress<'_>,
) -> Result<u64, StoreError> {
    let beside = dir.with_extension("journal.importing");
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(|error| failed(&beside, &error))?;
    }
    private_dir(&beside).map_err(|error| failed(&beside, &error))?;
    let fresh = last.and_then(|(_, hash)| hash.first_chunk::<16>().copied()).unwrap_or_default();
    let mut target = Target {
        journal: Journal::open(&beside, fresh, false)?,
        draft: Draft::default(),
        frame: 0,
        bytes: 0,
        last_time: Timestamp::UNIX_EPOCH,
    };
    target.draft.begin(target.journal.head());
    let records = copy_records(old, &mut target, progress)?;
    let at = target.last_time;
    copy_counted(old, &mut target)?;
    copy_approvals(old, &mut target, at)?;
    let event = evidence::store_taken_over(now, records);
    target.draft.record(|out| event.write_body(out, None));
    target.draft.flag(PROJECTED);
    target.flush()?;
    target.journal.flush()?;
    copy_keys(old, &beside)?;
    // The lock's file may be there, of a start that was refused.
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(|error| failed(dir, &error))?;
    }
    fs::rename(&beside, dir).map_err(|error| failed(dir, &error))?;
    // Before the old file says that it was taken over.
    journal::sync_folder(dir).map_err(|error| failed(dir, &error))?;
    Ok(records)
}

/// The journal that is being made.
struct Target {
    journal: Journal,
    draft: Draft,
    /// Records and bytes of the frame so far.
    frame: u32,
    bytes: usize,
    last_time: Timestamp,
}

impl Target {
    fn flush(&mut self) -> Result<(), StoreError> {
        if !self.draft.is_empty() {
            self.journal.prepare()?;
            self.journal.append(&mut self.draft)?;
        }
        if self.journal.is_full() {
            self.journal.seal(&[])?;
        }
        self.draft.begin(self.journal.head());
        (self.frame, self.bytes) = (0, 0);
        Ok(())
    }

    fn wrote(&mut self, bytes: usize) -> Result<(), StoreError> {
        self.frame += 1;
        self.bytes += bytes;
        if self.frame >= FRAME || self.bytes >= FRAME_BYTES {
            return self.flush();
        }
        Ok(())
    }

    fn note(&mut self, note: &Note) {
        notes::write(self.draft.notes(), note);
    }
}

/// The records as they are: each has the hash that it had.
fn copy_records(old: &Connection, target: &mut Target, progress: Progress<'_>) -> Result<u64, StoreError> {
    let total: i64 = old.query_row("SELECT count(*) FROM events", [], |row| row.get(0))?;
    let total = u64::try_from(total).unwrap_or(0);
    let mut statement = old.prepare("SELECT seq, hash, body FROM events ORDER BY seq")?;
    let mut rows = statement.query([])?;
    let mut done = 0;
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        let hash: chain::Hash = row.get(1)?;
        let body = row.get_ref(2)?.as_str().unwrap_or_default();
        let record = target.draft.record(|out| out.extend_from_slice(body.as_bytes()));
        if record.seq != seq || record.hash != hash {
            return Err(StoreError::Damaged(format!(
                "the old store's record {seq} is not what was written: nothing was taken over. Look at it with the Tollgate \
                 that wrote it (`tollgate audit verify`)"
            )));
        }
        if let Ok(event) = EventDraft::from_body(body) {
            target.last_time = target.last_time.max(event.timestamp);
            target.draft.saw(event.timestamp.as_microsecond());
        }
        target.wrote(body.len())?;
        done += 1;
        if done % 10_000 == 0 || done == total {
            progress(done, total);
        }
    }
    target.flush()?;
    Ok(done)
}

/// What was counted, what is open, and what was learned.
fn copy_counted(old: &Connection, target: &mut Target) -> Result<(), StoreError> {
    let mut counters: HashMap<i64, i64> = HashMap::new();
    let mut statement = old.prepare("SELECT id, kind, policy_id, key FROM counters")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (kind, policy_id, key): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let id = number(&kind, &policy_id, &key);
        counters.insert(row.get(0)?, id);
        target.note(&Note::Counter { id, kind, policy_id, key });
    }
    let mut owners: HashMap<i64, i64> = HashMap::new();
    let mut statement = old.prepare("SELECT id, owner, lock_path FROM owners")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(1)?;
        let id = owner_id(&name);
        owners.insert(row.get(0)?, id);
        target.note(&Note::Owner { id, name, lock: row.get(2)? });
    }
    let renamed = |grant: Grant| Grant {
        owner: owners.get(&grant.owner).copied().unwrap_or(grant.owner),
        rolling: grant.rolling.iter().filter_map(|id| counters.get(id).copied()).collect(),
        windows: grant.windows.iter().filter_map(|(id, start)| Some((*counters.get(id)?, *start))).collect(),
        ..grant
    };
    let mut statement = old.prepare("SELECT n, at, entries FROM ledger ORDER BY n")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let n: i64 = row.get(0)?;
        target.draft.saw(row.get(1)?);
        let effects = notes::read(row.get_ref(2)?.as_blob().unwrap_or_default()).ok_or_else(|| {
            StoreError::Damaged(format!("row {n} of the old store's ledger cannot be read"))
        })?;
        for note in effects {
            target.note(&match note {
                Note::Effect(Effect::Granted(grant)) => Note::Effect(Effect::Granted(renamed(grant))),
                Note::Effect(Effect::Carried(grant)) => Note::Effect(Effect::Carried(renamed(grant))),
                other => other,
            });
        }
    }
    // After the grants, which were counted in it already.
    let mut statement = old.prepare("SELECT counter, start, calls, tokens, cost, alerted FROM usage")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Some(counter) = counters.get(&row.get(0)?) else { continue };
        let usage = Usage { calls: row.get(2)?, tokens: row.get(3)?, cost: row.get(4)? };
        target.note(&Note::Stands(
            (*counter, row.get(1)?),
            WindowUsage { usage, alerted: notes::alerted_of(row.get(5)?) },
        ));
    }
    let mut statement = old.prepare("SELECT tool, milli_tokens FROM learned")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        target.note(&Note::Learned { tool: row.get(0)?, milli: row.get(1)? });
    }
    if has_table(old, "kept")? {
        let mut statement = old.prepare("SELECT kind, name, hash, body FROM kept ORDER BY n")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            target.note(&Note::Kept {
                kind: row.get(0)?,
                name: row.get(1)?,
                hash: row.get(2)?,
                body: row.get(3)?,
            });
        }
    }
    target.draft.flag(PROJECTED);
    target.flush()
}

fn has_table(old: &Connection, name: &str) -> Result<bool, StoreError> {
    Ok(old.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?.exists([name])?)
}

/// Approvals become records: what they say from now on is of the chain.
fn copy_approvals(old: &Connection, target: &mut Target, at: Timestamp) -> Result<(), StoreError> {
    let mut statement = old.prepare("SELECT id, record FROM approvals ORDER BY n")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, text): (String, String) = (row.get(0)?, row.get(1)?);
        let damaged =
            |error| StoreError::Damaged(format!("the old store's approval `{id}` cannot be read: {error}"));
        let record: ApprovalRecord = serde_json::from_str(&text).map_err(damaged)?;
        let event = book::carried(&record, "taken over from the store of before the journal", at)?;
        target.draft.record(|out| event.write_body(out, None));
        target.draft.flag(PROJECTED);
        target.wrote(text.len())?;
    }
    target.flush()
}

/// Keys are files that a copy of the projection does not hold.
fn copy_keys(old: &Connection, dir: &Path) -> Result<(), StoreError> {
    let mut statement = old.prepare("SELECT name, value FROM secrets")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        journal::key(dir, &name, &row.get(1)?).map_err(|error| failed(dir, &error))?;
    }
    Ok(())
}
