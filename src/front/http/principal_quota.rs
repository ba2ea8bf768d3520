//! What one principal holds of the front at a time: requests, large bodies, sessions. Every part is bounded, so that
//! one key cannot starve the others.

use super::{
    Limits,
    shelf::{Replay, Shelf},
};
use crate::{
    clock::{Clock, IdSource},
    front::conversation::Conversation,
    gateway::Listed,
    identity::Principal,
    model::{AgentId, PersonId},
};
use dashmap::DashMap;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// A principal whichever of its keys it uses; of an agent those it acts for are told apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Agent(AgentId, Option<PersonId>),
    Person(PersonId),
}

impl Holder {
    fn of(principal: &Principal) -> Self {
        match principal {
            Principal::Agent(agent) => Self::Agent(agent.id.clone(), principal.user().cloned()),
            Principal::Person(person) => Self::Person(person.id.clone()),
        }
    }
}

/// One principal's share.
#[derive(Debug)]
pub(super) struct PrincipalQuota {
    /// Its name, the session of its stateless requests.
    pub(super) key: Arc<str>,
    /// Kibibytes of large bodies it may send at a time, and what of them is left.
    bodies: Mutex<Option<(usize, Arc<Semaphore>)>>,
    /// Whether a stateless client was seen before.
    pub(super) greeted: AtomicBool,
    /// Bytes of answers that it has not yet read.
    pub(super) untaken: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    streams: Arc<AtomicUsize>,
    sessions: Mutex<HashMap<Arc<str>, Arc<Session>>>,
    /// What is kept of its streams.
    pub(super) shelf: Shelf,
}

/// A place among a principal's requests or streams.
#[derive(Debug)]
pub(super) struct Slot {
    taken: Arc<AtomicUsize>,
}

impl Slot {
    fn take(of: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let slot = Self { taken: Arc::clone(of) };
        // Where there is none, dropping the slot takes the count back.
        (of.fetch_add(1, Ordering::Relaxed) < most).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PrincipalQuota {
    /// A place for a request, if there is one.
    pub(super) fn request(&self, most: usize) -> Option<Slot> {
        Slot::take(&self.requests, most)
    }

    /// What is left of the kibibytes of large bodies that it may send at a time. Where another number is in force than
    /// before, who is being read keeps the place that was taken.
    pub(super) fn bodies(&self, kibibytes: usize) -> Arc<Semaphore> {
        let mut bodies = self.bodies.lock();
        match &*bodies {
            Some((size, left)) if *size == kibibytes => Arc::clone(left),
            Some(_) | None => {
                let left = Arc::new(Semaphore::new(kibibytes));
                *bodies = Some((kibibytes, Arc::clone(&left)));
                left
            }
        }
    }

    /// A place for a stream that stays open, if there is one. Streams take no place from requests.
    pub(super) fn stream(&self, most: usize) -> Option<Slot> {
        Slot::take(&self.streams, most)
    }
}

/// A legacy session.
#[derive(Debug)]
pub(super) struct Session {
    /// What the protocol remembers.
    pub(super) conversation: Arc<Conversation>,
    /// What its client was told of the lists.
    pub(super) told: Mutex<Listed>,
    /// What the ids of its events begin with: random, so that an id counts in this session only.
    pub(super) tag: Arc<str>,
    /// The number of its own stream, once there was one.
    pub(super) own: OnceLock<u64>,
    /// Ends with the session.
    pub(super) closed: CancellationToken,
    stream: Mutex<CancellationToken>,
    seen: AtomicU64,
    busy: AtomicUsize,
}

impl Session {
    /// Takes over the session's one GET stream: an older one ends.
    pub(super) fn take_stream(&self) -> CancellationToken {
        let mut stream = self.stream.lock();
        stream.cancel();
        *stream = self.closed.child_token();
        stream.clone()
    }
}

/// A session in use; it does not grow idle meanwhile.
#[derive(Debug)]
pub(super) struct Busy {
    /// The session.
    pub(super) session: Arc<Session>,
    clock: Arc<dyn Clock>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.session.seen.store(millis(self.clock.monotonic()), Ordering::Relaxed);
        self.session.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Everybody's share.
#[derive(Debug)]
pub(super) struct Standings {
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    standings: DashMap<Holder, Arc<PrincipalQuota>>,
    sessions: AtomicUsize,
    swept: AtomicU64,
    /// Bytes that are kept of everybody's streams.
    pub(super) replayed: AtomicUsize,
    /// Somebody forgets the streams that ended long ago.
    pub(super) sweeping: AtomicBool,
}

impl Standings {
    /// With nobody in it.
    pub(super) fn new(clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Self {
        let swept = AtomicU64::new(millis(clock.monotonic()));
        let (standings, sessions) = (DashMap::new(), AtomicUsize::new(0));
        let (replayed, sweeping) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { clock, ids, standings, sessions, swept, replayed, sweeping }
    }

    /// The time, for what is kept of streams.
    pub(super) fn millis(&self) -> u64 {
        millis(self.clock.monotonic())
    }

    fn all(&self) -> Vec<Arc<PrincipalQuota>> {
        self.standings.iter().map(|entry| Arc::clone(entry.value())).collect()
    }

    /// Forgets the streams that ended long enough ago. Whether any are left.
    pub(super) fn forget_old(&self, most: &Replay) -> bool {
        let now = self.millis();
        let left =
            self.all().into_iter().map(|standing| standing.shelf.forget_old(now, most, &self.replayed));
        // Each is looked at.
        left.fold(false, |any, left| any | left)
    }

    /// Forgets streams that have ended until so many bytes are left, beginning with the principal that has most.
    pub(super) fn relieve(&self, most: usize) {
        let mut all = self.all();
        while self.replayed.load(Ordering::Relaxed) > most {
            let Some(at) = (0..all.len()).max_by_key(|at| all.get(*at).map(|s| s.shelf.bytes())) else {
                return;
            };
            if all.get(at).is_none_or(|standing| !standing.shelf.forget_one(&self.replayed)) {
                all.swap_remove(at);
            }
        }
    }

    fn ends(&self, standing: &PrincipalQuota, session: &Session) {
        session.closed.cancel();
        session.conversation.end();
        standing.shelf.forget(&session.conversation.id, &self.replayed);
    }

    /// A principal's share. There are never more than the bundle names agents, each by itself and for each person.
    pub(super) fn of(&self, principal: &Principal) -> Arc<PrincipalQuota> {
        let holder = Holder::of(principal);
        if let Some(standing) = self.standings.get(&holder) {
            return Arc::clone(&standing);
        }
        let standing = || PrincipalQuota {
            key: Arc::from(principal.key()),
            bodies: Mutex::default(),
            greeted: AtomicBool::new(false),
            untaken: Arc::default(),
            requests: Arc::default(),
            streams: Arc::default(),
            sessions: Mutex::new(HashMap::new()),
            shelf: Shelf::default(),
        };
        Arc::clone(&self.standings.entry(holder).or_insert_with(|| Arc::new(standing())))
    }

    /// A new session id: 256 random bits.
    pub(super) fn new_id(&self) -> Arc<str> {
        Arc::from(hex::encode(self.ids.random()))
    }

    /// Keeps a new session. The idlest of the same principal goes where it has too many; where all have too many
    /// together, the idlest of whoever has most.
    pub(super) fn open(
        &self,
        limits: &Limits,
        standing: &PrincipalQuota,
        conversation: Arc<Conversation>,
        told: Listed,
    ) {
        self.sweep(limits.session_idle);
        let id = Arc::clone(&conversation.id);
        let session = Arc::new(Session {
            conversation,
            told: Mutex::new(told),
            tag: Arc::from(hex::encode(self.ids.random().get(..8).unwrap_or_default())),
            own: OnceLock::new(),
            closed: CancellationToken::new(),
            stream: Mutex::new(CancellationToken::new()),
            seen: AtomicU64::new(millis(self.clock.monotonic())),
            busy: AtomicUsize::new(0),
        });
        let over = {
            let mut sessions = standing.sessions.lock();
            // More than one where the cap was lowered meanwhile.
            let mut over = Vec::new();
            while sessions.len() >= limits.sessions_per_principal.max(1) {
                let Some(session) = idlest(&sessions).and_then(|id| sessions.remove(&id)) else { break };
                over.push(session);
            }
            sessions.insert(id, session);
            over
        };
        over.iter().for_each(|session| self.ends(standing, session));
        let total = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let total = total.saturating_sub(over.len());
        self.sessions.fetch_sub(over.len(), Ordering::Relaxed);
        if total > limits.sessions_total.max(1) {
            self.evict();
        }
    }

    fn evict(&self) {
        let most = self
            .standings
            .iter()
            .map(|entry| Arc::clone(entry.value()))
            .max_by_key(|s| s.sessions.lock().len());
        let Some(standing) = most else { return };
        let over = {
            let mut sessions = standing.sessions.lock();
            idlest(&sessions).and_then(|id| sessions.remove(&id))
        };
        if let Some(over) = over {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
            self.ends(&standing, &over);
        }
    }

    /// A session of this principal. Another's is not found, just as one that never was.
    pub(super) fn find(&self, standing: &PrincipalQuota, id: &str, most_idle: Duration) -> Option<Busy> {
        let session = standing.sessions.lock().get(id).cloned()?;
        if self.is_idle(&session, most_idle) {
            self.close(standing, id);
            return None;
        }
        session.busy.fetch_add(1, Ordering::Relaxed);
        session.seen.store(millis(self.clock.monotonic()), Ordering::Relaxed);
        Some(Busy { session, clock: Arc::clone(&self.clock) })
    }

    /// Ends a session. Whether there was one.
    pub(super) fn close(&self, standing: &PrincipalQuota, id: &str) -> bool {
        let Some(session) = standing.sessions.lock().remove(id) else { return false };
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        self.ends(standing, &session);
        true
    }

    fn is_idle(&self, session: &Session, most_idle: Duration) -> bool {
        let since = millis(self.clock.monotonic()).saturating_sub(session.seen.load(Ordering::Relaxed));
        session.busy.load(Ordering::Relaxed) == 0 && since >= millis(most_idle)
    }

    /// Once a minute at most, and only when somebody opens a session: memory is bounded by the caps anyway.
    fn sweep(&self, most_idle: Duration) {
        let now = millis(self.clock.monotonic());
        let last = self.swept.load(Ordering::Relaxed);
        let due = now.saturating_sub(last) >= 60_000
            && self.swept.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !due {
            return;
        }
        for standing in self.all() {
            let mut idle = Vec::new();
            standing.sessions.lock().retain(|_, session| {
                let goes = self.is_idle(session, most_idle);
                if goes {
                    idle.push(Arc::clone(session));
                }
                !goes
            });
            self.sessions.fetch_sub(idle.len(), Ordering::Relaxed);
            idle.iter().for_each(|session| self.ends(&standing, session));
        }
    }
}

/// Those in use go last.
fn idlest(sessions: &HashMap<Arc<str>, Arc<Session>>) -> Option<Arc<str>> {
    let rank =
        |session: &Session| (session.busy.load(Ordering::Relaxed) > 0, session.seen.load(Ordering::Relaxed));
    sessions.iter().min_by_key(|(_, session)| rank(session)).map(|(id, _)| Arc::clone(id))
}
