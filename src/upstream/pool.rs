//! Connections that one agent, or one session of it, has for itself (`isolation`).

use super::{
    connect::Connection,
    types::{CallerKey, Era},
};
use crate::{clock::Clock, config::Isolation};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// One agent has at most one part of so many of the connections.
const SHARES: usize = 4;

/// The connections of one upstream by who uses them.
pub(super) struct Pool {
    clock: Arc<dyn Clock>,
    most: usize,
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
}

/// Who shares a connection, and the era that is spoken on it.
type Key = (CallerKey, Era);

/// One caller's place. Its lock is held while its connection is made, so that two calls make one.
pub(super) struct Slot {
    pub(super) connection: tokio::sync::Mutex<Option<Arc<Connection>>>,
    users: AtomicUsize,
    last: Mutex<Duration>,
}

/// A slot in use; it is not closed before this is dropped.
pub(super) struct Lease {
    pub(super) slot: Arc<Slot>,
    clock: Arc<dyn Clock>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        *self.slot.last.lock() = self.clock.monotonic();
        self.slot.users.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Pool {
    pub(super) fn new(clock: Arc<dyn Clock>, most: usize) -> Self {
        Self { clock, most: most.max(1), slots: Mutex::new(HashMap::new()) }
    }

    /// The caller's slot, and one that had to make room for it; none where every slot is in use.
    pub(super) fn lease(
        &self,
        isolation: Isolation,
        caller: &CallerKey,
        era: Era,
    ) -> Option<(Lease, Option<Arc<Slot>>)> {
        let caller = match isolation {
            Isolation::Session => caller.clone(),
            Isolation::Agent => CallerKey { session: Arc::default(), ..caller.clone() },
            Isolation::Shared => {
                CallerKey { agent: Arc::<str>::default().into(), user: None, session: Arc::default() }
            }
        };
        let key = (caller, era);
        let mut slots = self.slots.lock();
        let mut evicted = None;
        if !slots.contains_key(&key) {
            // Nobody takes more than a share of the places from the others: beyond it, what is one's own makes room.
            let own = slots.keys().filter(|(other, _)| other.agent == key.0.agent).count();
            let full = own >= self.most.div_ceil(SHARES);
            if full || slots.len() >= self.most {
                let idle = slots
                    .iter()
                    .filter(|((other, _), _)| !full || other.agent == key.0.agent)
                    .filter(|(_, slot)| slot.users.load(Ordering::Acquire) == 0);
                let idlest = idle.min_by_key(|(_, slot)| *slot.last.lock()).map(|(key, _)| key.clone())?;
                evicted = slots.remove(&idlest);
            }
        }
        let slot = slots.entry(key).or_insert_with(|| {
            Arc::new(Slot {
                connection: tokio::sync::Mutex::new(None),
                users: AtomicUsize::new(0),
                last: Mutex::new(self.clock.monotonic()),
            })
        });
        slot.users.fetch_add(1, Ordering::AcqRel);
        Some((Lease { slot: slot.clone(), clock: self.clock.clone() }, evicted))
    }

    /// Takes out what was not used for `idle`.
    pub(super) fn idle(&self, idle: Duration) -> Vec<Arc<Slot>> {
        let now = self.clock.monotonic();
        let mut slots = self.slots.lock();
        let old: Vec<Key> = slots
            .iter()
            .filter(|(_, slot)| {
                slot.users.load(Ordering::Acquire) == 0 && now.saturating_sub(*slot.last.lock()) >= idle
            })
            .map(|(key, _)| key.clone())
            .collect();
        old.iter().filter_map(|key| slots.remove(key)).collect()
    }

    /// Takes out all.
    pub(super) fn drain(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().drain().map(|(_, slot)| slot).collect()
    }
}

impl Slot {
    pub(super) async fn close(&self) {
        let connection = self.connection.lock().await.take();
        if let Some(connection) = connection {
            connection.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Fake;
    use jiff::Timestamp;

    fn caller(agent: &str, session: &str) -> CallerKey {
        CallerKey { agent: agent.into(), user: None, session: session.into() }
    }

    /// One agent that opens sessions without end closes its own, and leaves the others theirs.
    #[test]
    fn nobody_takes_all_the_places() {
        let clock = Fake::at(Timestamp::UNIX_EPOCH);
        let pool = Pool::new(clock.clone(), 8);
        let lease =
            |agent: &str, session: &str| pool.lease(Isolation::Session, &caller(agent, session), Era::Modern);
        drop(lease("b", "1").unwrap());
        let mut closed = 0;
        for n in 0..20 {
            clock.advance(Duration::from_secs(1));
            closed += usize::from(lease("a", &n.to_string()).unwrap().1.is_some());
        }
        assert_eq!(closed, 18);
        let _held = [lease("a", "18").unwrap(), lease("a", "19").unwrap()];
        assert!(lease("a", "20").is_none(), "its share is in use");
        assert!(lease("c", "1").unwrap().1.is_none());
        let agents = |pool: &Pool| {
            let mut agents: Vec<_> = pool.slots.lock().keys().map(|(key, _)| key.agent.to_string()).collect();
            agents.sort();
            agents
        };
        assert_eq!(agents(&pool), ["a", "a", "b", "c"]);
    }

    #[test]
    fn the_idlest_makes_room_and_one_in_use_never_does() {
        let clock = Fake::at(Timestamp::UNIX_EPOCH);
        let pool = Pool::new(clock.clone(), 8);
        let lease = |session: &str| pool.lease(Isolation::Session, &caller("a", session), Era::Modern);
        let (first, _) = lease("1").unwrap();
        let (second, _) = lease("2").unwrap();
        assert!(lease("3").is_none(), "both are in use");
        let slot = second.slot.clone();
        drop(second);
        clock.advance(Duration::from_secs(1));
        drop(first);
        let (_third, evicted) = lease("3").unwrap();
        assert!(Arc::ptr_eq(&evicted.unwrap(), &slot));
        clock.advance(Duration::from_secs(10));
        assert_eq!(pool.idle(Duration::from_secs(5)).len(), 1, "the one in use stays");
    }

    #[test]
    fn isolation_decides_what_of_the_caller_counts() {
        let check = |isolation, connections: usize| {
            let pool = Pool::new(Fake::at(Timestamp::UNIX_EPOCH), 10);
            for (agent, session) in [("a", "1"), ("a", "2"), ("b", "1"), ("a", "1")] {
                assert!(pool.lease(isolation, &caller(agent, session), Era::Modern).is_some());
            }
            assert_eq!(pool.drain().len(), connections);
        };
        check(Isolation::Agent, 2);
        check(Isolation::Session, 3);
    }
}
