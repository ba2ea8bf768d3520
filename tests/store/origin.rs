//! An origin in memory, on which each step can be made to fail: what only copies have to stand (SPEC 14; I4, I9, I10).

use crate::store::{clock, database, open, unique};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::{BTreeSet, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::watch;
use tollgate::{
    journal::{Appended, Head, Place, SEGMENT_HEAD, SegmentHead},
    model::OwnerId,
    store::{
        Duty, Store as _, StoreError, Vault,
        embedded::{Differs, EmbeddedStore, End, Known, News, NotAppended, Origin, Tells},
    },
};

/// How an append fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing is there, which is known.
    Refused,
    /// Nobody knows, and nothing is there.
    Lost,
    /// Nobody knows, and it is there.
    Unheard,
}

#[derive(Debug)]
struct State {
    segments: Vec<SegmentHead>,
    frames: Vec<(Place, Vec<u8>)>,
    end: End,
    orders: i64,
    /// Which process keeps the others from appending.
    holder: Option<usize>,
    /// Whoever copies gets a frame that was edited.
    is_edited: bool,
}

/// A journal that processes share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    vault: Arc<dyn Vault>,
    folder: tempfile::TempDir,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let vault = open(folder.path()).vault().unwrap();
        let segment = SegmentHead { journal: [7; 16], before: Head::START, after_damage: false };
        let end = End { place: Place { segment: 1, offset: SEGMENT_HEAD }, head: Head::START };
        let state = State {
            segments: vec![segment],
            frames: Vec::new(),
            end,
            orders: 0,
            holder: None,
            is_edited: false,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new(), vault, folder })
    }

    /// One more process on it.
    pub(crate) fn process(self: &Arc<Self>) -> (Arc<EmbeddedStore>, Arc<InMemory>) {
        let owner = OwnerId::from(format!("owner-{}", unique()));
        let dir = self.folder.path().join(owner.as_str());
        std::fs::create_dir_all(&dir).unwrap();
        let number = usize::try_from(unique().rsplit('-').next().unwrap().parse::<u64>().unwrap()).unwrap();
        let origin = Arc::new(InMemory {
            shared: self.clone(),
            number,
            fates: Mutex::default(),
            gate: Mutex::new(false),
            opened: Condvar::new(),
            arrived: watch::Sender::new(0),
            look: Mutex::default(),
        });
        let store = EmbeddedStore::open_copy(&database(&dir), &dir, &owner, origin.clone(), clock()).unwrap();
        (store, origin)
    }

    /// Somebody edits what is there, or puts it back.
    pub(crate) fn edit(&self, is_edited: bool) {
        self.state.lock().is_edited = is_edited;
    }
}

type Look = Box<dyn Fn() + Send + Sync>;

/// One process's side of it.
pub(crate) struct InMemory {
    shared: Arc<Shared>,
    number: usize,
    /// How the next appends fail.
    fates: Mutex<VecDeque<Fate>>,
    /// Appends wait.
    gate: Mutex<bool>,
    opened: Condvar,
    /// How many appends have begun.
    pub(crate) arrived: watch::Sender<usize>,
    look: Mutex<Option<Look>>,
}

impl std::fmt::Debug for InMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InMemory").field("number", &self.number).finish_non_exhaustive()
    }
}

fn failed() -> StoreError {
    StoreError::Failed("it was told to fail".to_owned())
}

impl InMemory {
    /// The next appends fail so.
    pub(crate) fn fail(&self, fate: Fate, times: usize) {
        self.fates.lock().extend(std::iter::repeat_n(fate, times));
    }

    /// Appends fail no more.
    pub(crate) fn mend(&self) {
        self.fates.lock().clear();
    }

    /// Has appends wait, or lets them go on.
    pub(crate) fn shut(&self, shut: bool) {
        *self.gate.lock() = shut;
        self.opened.notify_all();
    }

    /// Has the process look for news, as a database that tells of some does.
    pub(crate) fn look(&self) {
        if let Some(look) = &*self.look.lock() {
            look();
        }
    }

    fn news(state: &State, known: Known) -> News {
        let behind = state
            .frames
            .iter()
            .filter(|(place, _)| place.segment == known.place.segment && place.offset >= known.place.offset);
        let mut frames: Vec<u8> = behind.flat_map(|(_, bytes)| bytes.clone()).collect();
        let to = Place { offset: known.place.offset + frames.len() as u64, ..known.place };
        if let Some(last) = frames.last_mut().filter(|_| state.is_edited) {
            *last ^= 1;
        }
        News { frames, more: to < state.end.place, first: 1, orders: state.orders, stop: None }
    }

    fn put(state: &mut State, frame: &Appended<'_>, tells: Tells) {
        let next = match frame.sealed {
            true => Place { segment: frame.end.seq + 1, offset: SEGMENT_HEAD },
            false => Place { offset: frame.place.offset + frame.bytes.len() as u64, ..frame.place },
        };
        if frame.sealed {
            state.segments.push(SegmentHead { journal: [7; 16], before: *frame.end, after_damage: false });
        }
        state.frames.push((frame.place, frame.bytes.to_vec()));
        state.end = End { place: next, head: *frame.end };
        state.orders += i64::from(tells.orders);
    }
}

impl Origin for InMemory {
    fn begins(&self) -> Result<SegmentHead, StoreError> {
        Ok(self.shared.state.lock().segments[0])
    }

    fn segments(&self) -> Result<Vec<SegmentHead>, StoreError> {
        Ok(self.shared.state.lock().segments.clone())
    }

    fn first_frame(&self, _: i64) -> Result<Option<Vec<u8>>, StoreError> {
        Err(failed())
    }

    fn end(&self) -> Result<End, StoreError> {
        Ok(self.shared.state.lock().end)
    }

    fn go_on(&self, _: &End, _: &SegmentHead, _: &[u8]) -> Result<(), StoreError> {
        Err(failed())
    }

    fn take(&self, _: &SegmentHead, _: &Path) -> Result<(), StoreError> {
        Err(failed())
    }

    fn read(&self, known: Known) -> Result<News, StoreError> {
        Ok(Self::news(&self.shared.state.lock(), known))
    }

    fn hold(&self, known: Known) -> Result<News, StoreError> {
        let mut state = self.shared.state.lock();
        if state.holder == Some(self.number) {
            return Ok(News::default());
        }
        while state.holder.is_some() {
            self.shared.changed.wait(&mut state);
        }
        state.holder = Some(self.number);
        Ok(Self::news(&state, known))
    }

    fn append(&self, frame: &Appended<'_>, tells: Tells) -> Result<(), NotAppended> {
        let fate = self.fates.lock().pop_front();
        self.arrived.send_modify(|count| *count += 1);
        let mut gate = self.gate.lock();
        while *gate {
            self.opened.wait(&mut gate);
        }
        drop(gate);
        let mut state = self.shared.state.lock();
        assert_eq!(state.holder.take(), Some(self.number));
        self.shared.changed.notify_all();
        if matches!(fate, None | Some(Fate::Unheard)) {
            Self::put(&mut state, frame, tells);
        }
        match fate {
            None => Ok(()),
            Some(Fate::Refused) => Err(NotAppended::Nothing(failed())),
            Some(Fate::Lost | Fate::Unheard) => Err(NotAppended::InDoubt(failed())),
        }
    }

    fn release(&self) {
        let mut state = self.shared.state.lock();
        if state.holder == Some(self.number) {
            state.holder = None;
            self.shared.changed.notify_all();
        }
    }

    fn remove_before(&self, _: i64) -> Result<(), StoreError> {
        Err(failed())
    }

    fn secret(&self, _: &str, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        Ok(fresh)
    }

    fn vault(&self) -> Arc<dyn Vault> {
        self.shared.vault.clone()
    }

    fn value(&self, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn replace_value(&self, _: &str, _: Option<Vec<u8>>, _: Vec<u8>) -> Result<bool, StoreError> {
        Err(failed())
    }

    fn dead(&self, _: BTreeSet<String>) -> Result<BTreeSet<String>, StoreError> {
        Ok(BTreeSet::new())
    }

    fn duty(&self, _: &str) -> Result<Option<Box<dyn Duty>>, StoreError> {
        Ok(None)
    }

    fn listen(&self, look: Look) {
        *self.look.lock() = Some(look);
    }

    fn decides_by(&self, _: &str) {}

    fn other_snapshots(&self) -> BTreeSet<Arc<str>> {
        BTreeSet::new()
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn compare(&self, _: &[(i64, PathBuf)]) -> Result<Vec<Differs>, StoreError> {
        Ok(Vec::new())
    }

    fn close(&self) {}
}
