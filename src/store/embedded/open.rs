//! Opening: the journal first, then the projection, which is held against it.

use super::{
    EVENTS_BEHIND, EmbeddedStore, Shared, fold, import, indexer,
    ledger::Owner,
    memory::{Memory, Parts},
    owners::{OwnerLock, owner_id},
    projection::{self, Mark},
    queue::Queue,
    readers::Readers,
    verify, watch,
    writer::{self, Held, Writer, WriterLock},
};
use crate::{
    config::{Durability, private_dir},
    journal::{self, Journal, JournalError, Lock, Patience, Reader, Step},
    model::{Event, OwnerId},
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
    let sync = durability == Durability::Fsync;
    // What takes long is done before the lock: others go on meanwhile.
    let ahead = Journal::ahead(&dir, sync)?;
    let connection = projection::open_writer(path)?;
    let doubt = match &ahead {
        Some(_) => verify::doubt(&connection, &Reader::open(&dir)?)?,
        None => None,
    };
    lock.take(Patience::Long).map_err(|error| locked(path, error))?;
    let held = Held::new(&lock);
    let mut journal = match ahead {
        Some(mut journal) => {
            journal.follow(&mut |_, _, _| Ok(()))?;
            journal
        }
        None => {
            let fresh: [u8; 32] = Sha256::digest(format!("{owner} {}", dir.display())).into();
            Journal::open(&dir, fresh.first_chunk::<16>().copied().unwrap_or_default(), sync)?
        }
    };
    let reader = Arc::new(Reader::open(&dir)?);
    reader.refresh()?;
    follow(&connection, &journal, &reader, doubt)?;
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
    let mut memory = Memory::new(parts);
    // Where it fails, the first group does it, and says why it cannot.
    if let Err(error) = memory.recall_ahead(&connection) {
        tracing::warn!(%error, "store.not_recalled_ahead");
    }
    let writer_lock: WriterLock = Arc::new(Mutex::new(Some(Writer::new(connection, lock, memory))));
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
fn follow(
    connection: &Connection,
    journal: &Journal,
    reader: &Reader,
    doubt: Option<String>,
) -> Result<(), StoreError> {
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
        Some(mark) if !goes_on(journal, reader, mark)? => {
            return Err(StoreError::Damaged(format!(
                "the journal is not the one that was written: records up to {} were replaced. Put the journal back from a \
                 backup, or remove `{}` to take this one, which stands in no record",
                mark.head.seq,
                connection.path().unwrap_or("the index")
            )));
        }
        Some(_) => {
            // Others may have written while it was looked at: what still differs now was edited.
            let edited = match doubt {
                Some(_) => verify::doubt(connection, reader)?,
                None => None,
            };
            let Some(problem) = edited else { return Ok(()) };
            tracing::error!(
                problem,
                "store.projection_edited: somebody edited the index; the journal counts"
            );
            "somebody edited it"
        }
    };
    tracing::warn!(reason, "store.projection_rebuilt: the index is made anew from the journal");
    rebuild(connection, journal, reader)
}

/// Whether what the journal has behind the mark follows what the projection knows: a tail that was written anew does not.
fn goes_on(journal: &Journal, reader: &Reader, mark: &Mark) -> Result<bool, StoreError> {
    if mark.place == journal.place() {
        return Ok(*journal.head() == mark.head);
    }
    let Some(segment) = reader.segment(mark.place.segment)? else { return Ok(true) };
    match segment.scan_unheld(mark.place.offset)?.step()? {
        Step::Frame { frame, .. } => {
            Ok(frame.head.first_seq == mark.head.seq + 1 && frame.prev() == mark.head.hash)
        }
        // It was the segment's end; what the next one follows was held against it as it was made.
        Step::End => Ok(true),
        Step::Torn { .. } | Step::Damaged { .. } => Ok(false),
    }
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
