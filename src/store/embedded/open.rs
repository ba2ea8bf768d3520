//! Opening: the journal first, then the projection, which is held against it.

use super::{
    EVENTS_BEHIND, EmbeddedStore, Shared,
    book::{self, Book},
    fold, import, indexer,
    ledger::Owner,
    memory::{Memory, Parts},
    owners::{OwnerLock, owner_id},
    projection,
    queue::Queue,
    readers::Readers,
    watch,
    writer::{self, Held, Writer, WriterLock},
};
use crate::{
    config::{Durability, private_dir},
    journal::{self, Journal, JournalError, Lock, Patience, Reader},
    model::{ApprovalId, Event, OwnerId},
    store::StoreError,
};
use parking_lot::Mutex;
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};
use std::{
    path::Path,
    sync::{Arc, OnceLock, atomic::AtomicBool, mpsc},
};
use tokio::sync::{broadcast, watch as signal};

/// Approvals that are held against their records at a start: the newest, which are those that calls can use.
const CHECKED: usize = 1_000;

/// Segments that wait for their index.
const UNINDEXED: usize = 64;

pub(super) fn open(
    path: &Path,
    data_dir: &Path,
    durability: Durability,
    owner: &OwnerId,
) -> Result<Arc<EmbeddedStore>, StoreError> {
    let own = OwnerLock::take(data_dir, owner)?;
    import::take_over(path, data_dir, true, &mut |_, _| {})?;
    let dir = projection::journal_dir(path);
    private_dir(&dir).map_err(|error| StoreError::Failed(format!("`{}`: {error}", dir.display())))?;
    let owner_id = owner_id(owner.as_str());
    let lock = Arc::new(Lock::open(&dir)?);
    lock.take(Patience::Long).map_err(|error| locked(path, error))?;
    let held = Held::new(&lock);
    let fresh: [u8; 32] = Sha256::digest(format!("{owner} {}", dir.display())).into();
    let fresh = fresh.first_chunk::<16>().copied().unwrap_or_default();
    let mut journal = Journal::open(&dir, fresh, durability == Durability::Fsync)?;
    let reader = Arc::new(Reader::open(&dir)?);
    reader.refresh()?;
    let connection = projection::open_writer(path)?;
    follow(&connection, &journal, &reader)?;
    let lock_path = own.path().to_string_lossy().into_owned();
    let cut = journal.take_cut();
    drop(held);
    let files = watch::Files::of(path, lock.path(), own.path());
    let events = broadcast::Sender::<Arc<Event>>::new(EVENTS_BEHIND);
    let shared = Arc::new(Shared {
        events: events.downgrade(),
        approvals: signal::Sender::new(0),
        closed: AtomicBool::new(false),
        lost: OnceLock::new(),
        left: Mutex::new(Vec::new()),
    });
    let queue = Arc::new(Queue::default());
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let failed = |e: std::io::Error| StoreError::Failed(format!("a thread could not be started: {e}"));
    let (sealed, unindexed) = mpsc::sync_channel(UNINDEXED);
    thread("store-index").spawn(move || indexer::run(&unindexed)).map_err(failed)?;
    let parts = Parts {
        journal,
        cut,
        reader: reader.clone(),
        owner: Owner { name: owner.as_str().to_owned(), lock: lock_path },
        owner_id,
        shared: shared.clone(),
        events,
        sealed,
    };
    let writer_lock: WriterLock =
        Arc::new(Mutex::new(Some(Writer::new(connection, lock, Memory::new(parts)))));
    let writer = {
        let (writer_lock, queue) = (writer_lock.clone(), queue.clone());
        thread("store-writer").spawn(move || writer::run(&writer_lock, &queue)).map_err(failed)?
    };
    let watcher = {
        let (shared, journal) = (Arc::downgrade(&shared), reader.clone());
        thread("store-watch").spawn(move || watch::run(&journal, &shared)).map_err(failed)?
    };
    Ok(Arc::new(EmbeddedStore {
        path: path.to_owned(),
        data_dir: data_dir.to_owned(),
        owner: owner_id,
        journal: reader,
        shared,
        queue,
        writer_lock,
        runs_inline: durability == Durability::Commit,
        readers: Readers::new(path.to_owned()),
        files,
        probe: Mutex::new(None),
        lock: Mutex::new(Some(own)),
        writer: Mutex::new(Some(writer)),
        watcher,
    }))
}

/// Takes over a store of before the journal, whatever its size; `None` where there is none at `path`.
pub(super) fn import(
    path: &Path,
    data_dir: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<u64>, StoreError> {
    import::take_over(path, data_dir, false, progress)
}

/// Goes on behind damage of the journal's end, or behind records that were cut off, as a person has said, and says what it
/// was; `None` where nothing is wrong. The store must not be open.
pub(super) fn accept(path: &Path) -> Result<Option<String>, StoreError> {
    let dir = projection::journal_dir(path);
    let lock = Arc::new(Lock::open(&dir)?);
    lock.take(Patience::Long).map_err(|error| locked(path, error))?;
    let _held = Held::new(&lock);
    let noted = match projection::version(path)? {
        projection::VERSION => projection::mark(&projection::open_reader(path)?)?,
        _ => None,
    };
    let at_least = noted.map_or(0, |mark| mark.head.seq);
    Ok(journal::accept_damage(&dir, at_least)?.map(|damage| damage.to_string()))
}

/// In the terms of whoever starts something.
fn locked(path: &Path, error: JournalError) -> StoreError {
    match error {
        JournalError::Locked => {
            StoreError::Failed(format!("`{}` is locked by another process", path.display()))
        }
        JournalError::Full | JournalError::Failed { .. } | JournalError::Damaged(_) => error.into(),
    }
}

/// Has a projection that follows this journal: one that is of another, that somebody edited, or that is missing is made
/// anew. One that has followed more than is there says that records were lost.
fn follow(connection: &Connection, journal: &Journal, reader: &Reader) -> Result<(), StoreError> {
    let mark = projection::mark(connection)?;
    let reason = match &mark {
        None if journal.head().seq == 0 => return rebuild(connection, journal, reader),
        None => "it is missing or empty",
        Some(mark) if mark.journal != journal.id() => "it is of another journal",
        Some(mark) if mark.place > journal.place() => {
            return Err(StoreError::Damaged(format!(
                "the journal ends behind record {}, and record {} was there before: records were lost or cut off. \
                 Put the journal back from a backup, or say how to go on with `tollgate store accept --reason TEXT`",
                journal.head().seq,
                mark.head.seq
            )));
        }
        Some(_) => match edited(connection, reader)? {
            Some(id) => {
                tracing::error!(approval = %id, "store.projection_edited: somebody edited the index; the journal counts");
                "somebody edited it"
            }
            None => return Ok(()),
        },
    };
    tracing::warn!(reason, "store.projection_rebuilt: the index is made anew from the journal");
    rebuild(connection, journal, reader)
}

fn rebuild(connection: &Connection, journal: &Journal, reader: &Reader) -> Result<(), StoreError> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let made = projection::clear(connection)
        .and_then(|()| fold::rebuild(connection, reader, journal.id()))
        .and_then(|()| Ok(connection.execute_batch("COMMIT")?));
    if made.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    made
}

/// The first of the newest approvals of which the projection says something else than its records.
fn edited(connection: &Connection, reader: &Reader) -> Result<Option<ApprovalId>, StoreError> {
    let book = Book { connection, journal: reader };
    for id in book::newest_ids(connection, CHECKED)? {
        match book.check(&id) {
            Ok(true) => {}
            Ok(false) | Err(StoreError::Damaged(_)) => return Ok(Some(id)),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
