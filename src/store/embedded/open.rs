//! Opening: the journal first, then the projection, which is held against it.

use super::{
    EVENTS_BEHIND, EmbeddedStore, Shared, accept,
    aside::{self, Aside},
    boot, copy,
    failing::Failing,
    fold, import, indexer,
    job::{Kind, job},
    leave,
    ledger::Owner,
    memory::{Memory, Parts},
    origin::Origin,
    owners::{OwnerLock, owner_id},
    patrol::{self, Patrol},
    projection::{self, Mark},
    queue::Queue,
    readers::Readers,
    terms::{locked, remedied},
    tx::Tx,
    vault, verify, watch,
    writer::{self, Held, Writer, WriterLock},
};
use crate::{
    clock::Clock,
    config::{Durability, private_dir},
    evidence,
    journal::{Draft, Journal, Lock, Patience, Reader, Step},
    model::{Event, EventDraft, OwnerId},
    store::StoreError,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};
use std::{
    path::Path,
    sync::{Arc, OnceLock, atomic::AtomicBool, mpsc},
    thread::JoinHandle,
};
use tokio::sync::{broadcast, watch as signal};

/// Segments that wait for their index.
const UNINDEXED: usize = 64;

pub(super) fn open(
    path: &Path,
    data_dir: &Path,
    durability: Durability,
    owner: &OwnerId,
    clock: Arc<dyn Clock>,
) -> Result<Arc<EmbeddedStore>, StoreError> {
    let opened = open_files(path, data_dir, durability == Durability::Fsync, owner, &*clock);
    let opened = opened.map_err(remedied)?;
    start((path, data_dir), durability == Durability::Commit, (owner, clock), opened, None)
}

impl EmbeddedStore {
    /// Opens a store whose journal is a copy of an origin, as [`Self::open`] does one of its own: the copy is made where it is
    /// missing, and holds all that the origin has when this returns. Commits wait for the origin, and so no caller runs them.
    pub fn open_copy(
        path: &Path,
        data_dir: &Path,
        owner: &OwnerId,
        origin: Arc<dyn Origin>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, StoreError> {
        let own = OwnerLock::take(data_dir, owner)?;
        copy::bring(path, (data_dir, Some(own.path())), &*origin)?;
        let dir = projection::journal_dir(path);
        let lock = Arc::new(Lock::open(&dir)?);
        let found = find(path, &dir, (false, true), (owner, &*clock), &lock).map_err(copy::remedied)?;
        start((path, data_dir), false, (owner, clock), (own, lock, found), Some(origin))
    }
}

/// Starts the threads.
fn start(
    (path, data_dir): (&Path, &Path),
    runs_inline: bool,
    (owner, clock): (&OwnerId, Arc<dyn Clock>),
    (own, lock, found): (OwnerLock, Arc<Lock>, Found),
    origin: Option<Arc<dyn Origin>>,
) -> Result<Arc<EmbeddedStore>, StoreError> {
    let owner_id = owner_id(owner.as_str());
    let Found { mut journal, reader, connection } = found;
    boot::note(journal.dir());
    tell_accepted(&reader)?;
    let lock_path = match &origin {
        None => own.path().to_string_lossy().into_owned(),
        Some(_) => copy::lock_name(owner),
    };
    let cut = journal.take_cut();
    let files = watch::Files::of(path, lock.path(), own.path());
    let events = broadcast::Sender::<Arc<Event>>::new(EVENTS_BEHIND);
    let (place, replica) = match &origin {
        Some(origin) => (origin.place(), Some(owner.as_str().into())),
        None => (journal.dir().display().to_string(), None),
    };
    let shared = Arc::new(shared(&events, place, replica));
    let queue = Arc::new(Queue::default());
    let (sealed, unindexed) = mpsc::sync_channel(UNINDEXED);
    thread("store-index", move || indexer::run(&unindexed))?;
    let parts = Parts {
        journal,
        origin: origin.clone(),
        cut,
        reader: reader.clone(),
        owner: Owner { name: owner.as_str().to_owned(), lock: lock_path },
        owner_id,
        shared: shared.clone(),
        events,
        sealed,
        clock,
    };
    let mut memory = Memory::new(parts);
    // Where it fails, the first group does it, and says why it cannot.
    if let Err(error) = memory.recall_ahead(&connection) {
        tracing::warn!(%error, "store.not_recalled_ahead");
    }
    let writer_lock: WriterLock = Arc::new(Mutex::new(Some(Writer::new(connection, lock, memory))));
    let writer = {
        let (writer_lock, queue) = (writer_lock.clone(), queue.clone());
        thread("store-writer", move || writer::run(&writer_lock, &queue))?
    };
    if let Some(origin) = &origin {
        listen(&**origin, &queue);
    }
    let (watcher, (patrol, patroller)) = (watch(&shared, &reader)?, on_patrol(&shared, &reader, &queue)?);
    Ok(Arc::new(EmbeddedStore {
        path: path.to_owned(),
        data_dir: data_dir.to_owned(),
        owner: owner_id,
        journal: reader,
        shared,
        queue,
        writer_lock,
        runs_inline,
        readers: Readers::new(path.to_owned()),
        files,
        probe: Mutex::new(None),
        lock: Mutex::new(Some(own)),
        writer: Mutex::new(Some(writer)),
        watcher,
        patrol,
        patroller,
        vault: match &origin {
            Some(origin) => origin.vault(),
            None => Arc::new(vault::EmbeddedVault::beside(path)),
        },
        origin,
    }))
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    started.map_err(|error| StoreError::Failed(format!("a thread could not be started: {error}")))
}

/// Starts the thread that hears what other processes append.
fn watch(shared: &Arc<Shared>, journal: &Arc<Reader>) -> Result<JoinHandle<()>, StoreError> {
    let (shared, journal) = (Arc::downgrade(shared), journal.clone());
    thread("store-watch", move || watch::run(&journal, &shared))
}

/// Starts the thread that verifies what lies there.
fn on_patrol(
    shared: &Arc<Shared>,
    journal: &Arc<Reader>,
    queue: &Arc<Queue>,
) -> Result<(Arc<Mutex<Patrol>>, JoinHandle<()>), StoreError> {
    let patrol = Arc::new(Mutex::new(Patrol::default()));
    let (shared, journal, queue) = (Arc::downgrade(shared), journal.clone(), Arc::downgrade(queue));
    let patroller = {
        let patrol = patrol.clone();
        thread("store-patrol", move || patrol::run(&patrol, &journal, &shared, &queue))?
    };
    Ok((patrol, patroller))
}

/// Says at each start that the record has damage behind which it goes on: nobody else would look.
fn tell_accepted(reader: &Reader) -> Result<(), StoreError> {
    let behind = reader.behind_damage()?;
    if let Some(newest) = behind.last() {
        tracing::warn!(
            places = behind.len(),
            newest,
            "store.damage_accepted: the record goes on behind damage that was accepted, last before record {newest}; \
             `tollgate audit verify` names it"
        );
    }
    Ok(())
}

/// Has what others append to the origin looked at as soon as it tells of it.
fn listen(origin: &dyn Origin, queue: &Arc<Queue>) {
    let queue = Arc::downgrade(queue);
    origin.listen(Box::new(move || {
        if let Some(queue) = queue.upgrade() {
            let (look, _) = job(Kind::Look, |_: &mut Tx<'_>| Ok(()), |()| ());
            // Whatever else waits there looks, too.
            queue.push(look, false).ok();
        }
    }));
}

/// What the threads of a store that is opened now share.
fn shared(events: &broadcast::Sender<Arc<Event>>, place: String, replica: Option<Arc<str>>) -> Shared {
    Shared {
        events: events.downgrade(),
        approvals: signal::Sender::new(0),
        control: signal::Sender::new(0),
        registers: signal::Sender::new(0),
        closed: AtomicBool::new(false),
        lost: OnceLock::new(),
        left: Mutex::new(Vec::new()),
        failing: Failing::new(place),
        replica,
        sizes: Arc::default(),
        unverified: Mutex::default(),
    }
}

/// Opens what is there, each as the others say. A projection that cannot be read is set aside, for it can be made anew.
fn open_files(
    path: &Path,
    data_dir: &Path,
    sync: bool,
    owner: &OwnerId,
    clock: &dyn Clock,
) -> Result<(OwnerLock, Arc<Lock>, Found), StoreError> {
    let own = OwnerLock::take(data_dir, owner)?;
    let mut set_aside = aside::set_unreadable_aside(path, false)?;
    import::take_over(path, data_dir, (true, clock.now()), &mut |_, _| {})?;
    let dir = projection::journal_dir(path);
    private_dir(&dir).map_err(|error| StoreError::Failed(format!("`{}`: {error}", dir.display())))?;
    leave::check(&dir)?;
    let lock = Arc::new(Lock::open(&dir)?);
    let mut found = match find(path, &dir, (sync, false), (owner, clock), &lock) {
        Ok(found) => found,
        Err(error) => match aside::set_unreadable_aside(path, true)? {
            Some(aside) => {
                set_aside = Some(aside);
                find(path, &dir, (sync, false), (owner, clock), &lock)?
            }
            None => return Err(error),
        },
    };
    if let Some(Aside { problem, kept }) = set_aside {
        lock.take(Patience::Long).map_err(|error| locked(path, error))?;
        let _held = Held::new(&lock);
        found.journal.follow(&mut |_, _, _| Ok(()))?;
        let name = kept.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        tell(&mut found.journal, &evidence::index_set_aside(clock.now(), &problem, &name));
    }
    Ok((own, lock, found))
}

/// Journal and projection, each as the other says.
struct Found {
    journal: Journal,
    reader: Arc<Reader>,
    connection: Connection,
}

/// Whatever makes the projection anew after an edit or damage says so in the record. For the holder of the lock.
fn tell(journal: &mut Journal, event: &EventDraft) {
    let mut draft = Draft::default();
    draft.begin(journal.head());
    draft.record(|out| event.write_body(out, None));
    if let Err(error) = journal.prepare().and_then(|()| journal.append(&mut draft)) {
        tracing::error!(%error, "store.edit_not_recorded");
    }
}

/// Opens both. What takes long is done before the lock is taken: others go on meanwhile. Nothing is written in a journal that is
/// `copied`.
fn find(
    path: &Path,
    dir: &Path,
    (sync, copied): (bool, bool),
    (owner, clock): (&OwnerId, &dyn Clock),
    lock: &Arc<Lock>,
) -> Result<Found, StoreError> {
    let ahead = Journal::ahead(dir, sync)?;
    let connection = projection::open_writer(path)?;
    let doubt = match &ahead {
        Some(_) => verify::doubt(&connection, &Reader::open(dir)?)?,
        None => None,
    };
    lock.take(Patience::Long).map_err(|error| locked(path, error))?;
    let _held = Held::new(lock);
    let mut journal = match ahead {
        Some(mut journal) => {
            // What is missing is told before anything is cut off behind it.
            let lost = match journal.look()? {
                true => ends_behind(&journal, projection::mark(&connection)?.as_ref()),
                false => Ok(()),
            };
            match lost {
                Ok(()) => {
                    journal.follow(&mut |_, _, _| Ok(()))?;
                    journal
                }
                // With `fsync` nothing that was followed can be missing after it.
                Err(_) if !sync && !copied && boot::is_another(dir) => {
                    accept::after_power_loss(dir, &connection, clock.now())?;
                    Journal::open(dir, [0; 16], sync)?
                }
                Err(lost) => return Err(lost),
            }
        }
        None => {
            let fresh: [u8; 32] = Sha256::digest(format!("{owner} {}", dir.display())).into();
            Journal::open(dir, fresh.first_chunk::<16>().copied().unwrap_or_default(), sync)?
        }
    };
    let reader = Arc::new(Reader::open(dir)?);
    reader.refresh()?;
    if let Some(problem) = follow(&connection, &journal, &reader, doubt)? {
        if !copied {
            tell(&mut journal, &evidence::index_edited(clock.now(), &problem));
            reader.refresh()?;
        }
        fold::make_anew(&connection, journal.id(), &reader)?;
    }
    Ok(Found { journal, reader, connection })
}

/// Takes over a store of before the journal, whatever its size; `None` where there is none at `path`.
pub(super) fn import(
    path: &Path,
    data_dir: &Path,
    now: Timestamp,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<u64>, StoreError> {
    import::take_over(path, data_dir, (false, now), progress)
}

/// Has a projection that follows this journal: one that is of another, that somebody edited, or that is missing is made
/// anew. One that has followed more than is there says that records were lost.
fn follow(
    connection: &Connection,
    journal: &Journal,
    reader: &Reader,
    doubt: Option<String>,
) -> Result<Option<String>, StoreError> {
    let mark = projection::mark(connection)?;
    let reason = match &mark {
        None if journal.head().seq == 0 => {
            return fold::make_anew(connection, journal.id(), reader).map(|()| None);
        }
        None => "it is missing or empty",
        Some(mark) if mark.journal != journal.id() => "it is of another journal",
        Some(mark) if reader.is_accepted_behind(mark.place.segment)? && !goes_on(journal, reader, mark)? => {
            "a person accepted damage of what it had followed"
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
            if let Some(problem) = &edited {
                tracing::error!(
                    problem,
                    "store.projection_edited: somebody edited the index; the journal counts"
                );
            }
            return Ok(edited);
        }
    };
    tracing::warn!(reason, "store.projection_rebuilt: the index is made anew from the journal");
    fold::make_anew(connection, journal.id(), reader).map(|()| None)
}

/// The journal must not end before what the projection has followed of it.
fn ends_behind(journal: &Journal, mark: Option<&Mark>) -> Result<(), StoreError> {
    match mark {
        Some(mark) if mark.journal == journal.id() && mark.place > journal.place() => {
            let (last, noted) = (journal.head().seq, mark.head.seq);
            let lost = match noted > last {
                true => format!("record {noted} was there before: records were lost or cut off"),
                false => "more was written behind it: what counters and open calls were is lost or cut off"
                    .to_owned(),
            };
            Err(StoreError::Damaged(format!(
                "the journal ends behind record {last}, and {lost}. Put the journal back from a backup, or say how to go on \
                 with `tollgate store accept --reason TEXT`"
            )))
        }
        Some(_) | None => Ok(()),
    }
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
