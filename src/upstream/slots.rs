//! The slots of one upstream (`max_concurrency`), shared fairly among agents.
//!
//! A freed slot goes to the waiting agents in turn, however many calls each of them has waiting. An agent takes a
//! further slot only while it holds fewer than three times as many as are free: one agent fills three quarters of the
//! slots at most, and the next agent finds a free one. A call that waits for a person gives its slot back, and so do all of
//! them: an agent with many of them gets no further slot until some have ended, and holds none meanwhile.

use crate::model::AgentId;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tokio::sync::oneshot;

/// An agent may hold fewer than so many times the free slots when it takes another.
const SHARE: usize = 3;
/// Calls of one agent that may wait for a slot.
const MOST_WAITING_PER_AGENT: usize = 256;
/// Calls that may wait for a slot. Beyond it, the agent with the most waiting calls loses its newest.
const MOST_WAITING: usize = 1024;
/// Calls of one agent that may be without a slot while a person is asked. With so many, its further calls wait; those that
/// are under way may still come to it.
const MOST_YIELDED: usize = 64;

/// The slots of one upstream.
#[derive(Debug)]
pub(super) struct Slots {
    total: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    waiting: usize,
    agents: HashMap<AgentId, Share>,
    /// The agents that have waiting calls; the first is next.
    turns: VecDeque<AgentId>,
    numbered: u64,
    closed: bool,
}

/// What one agent has of the slots. Kept while any of it is not zero.
#[derive(Debug, Default)]
struct Share {
    held: usize,
    yielded: usize,
    queue: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    /// It has been under way already, and is not refused.
    returning: bool,
    grant: oneshot::Sender<Slot>,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSlot {
    /// Too many calls wait already.
    Full,
    /// The upstream is being shut down.
    Closed,
}

/// The right to have one call under way. Dropped, it goes to whoever is next.
#[derive(Debug)]
#[must_use]
pub(super) struct Slot {
    /// None once it was handed over or given up.
    of: Option<(Arc<Slots>, AgentId)>,
}

/// A call without a slot while a person is asked.
#[derive(Debug)]
#[must_use]
pub(super) struct YieldedSlot {
    slots: Arc<Slots>,
    agent: AgentId,
}

/// A place in the queue. Dropped, it is left.
struct Place<'a> {
    slots: &'a Slots,
    agent: &'a AgentId,
    number: u64,
}

impl Slots {
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total: total.max(1), state: Mutex::default() })
    }

    /// Waits for a slot. Dropping the future leaves the queue.
    pub(super) async fn acquire(self: &Arc<Self>, agent: &AgentId) -> Result<Slot, NoSlot> {
        self.wait(agent, false).await
    }

    async fn wait(self: &Arc<Self>, agent: &AgentId, returning: bool) -> Result<Slot, NoSlot> {
        let (number, granted) = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(NoSlot::Closed);
            }
            let ahead = state.agents.get(agent).map_or(0, |share| share.queue.len());
            // One that returns goes before the others of its agent, which may wait for just that.
            if (returning || ahead == 0) && self.may_take(&state, agent, returning) {
                return Ok(self.grant(&mut state, agent));
            }
            if !returning && !state.makes_room(ahead) {
                return Err(NoSlot::Full);
            }
            state.enqueue(agent, returning)
        };
        let place = Place { slots: self, agent, number };
        let granted = granted.await;
        drop(place);
        granted.map_err(|_| match self.state.lock().closed {
            true => NoSlot::Closed,
            false => NoSlot::Full,
        })
    }

    fn may_take(&self, state: &State, agent: &AgentId, returning: bool) -> bool {
        let free = self.total.saturating_sub(state.used);
        let (held, yielded) = state.agents.get(agent).map_or((0, 0), |share| (share.held, share.yielded));
        free > 0 && held < free.saturating_mul(SHARE) && (returning || yielded < MOST_YIELDED)
    }

    /// The same for the first of those that wait.
    fn next_may_take(&self, state: &State, agent: &AgentId) -> bool {
        let next = state.agents.get(agent).and_then(|share| share.queue.front());
        self.may_take(state, agent, next.is_some_and(|next| next.returning))
    }

    fn grant(self: &Arc<Self>, state: &mut State, agent: &AgentId) -> Slot {
        state.used += 1;
        state.agents.entry(agent.clone()).or_default().held += 1;
        Slot { of: Some((self.clone(), agent.clone())) }
    }

    /// Gives what is free to those whose turn it is.
    fn hand_out(self: &Arc<Self>, state: &mut State) {
        let mut passed = 0;
        while state.used < self.total && passed < state.turns.len() {
            let Some(agent) = state.turns.pop_front() else { return };
            if !self.next_may_take(state, &agent) {
                state.turns.push_back(agent);
                passed += 1;
                continue;
            }
            passed = 0;
            let Some(share) = state.agents.get_mut(&agent) else { continue };
            let next = share.queue.pop_front();
            let more = !share.queue.is_empty();
            if more {
                state.turns.push_back(agent.clone());
            }
            let Some(next) = next else { continue };
            state.waiting = state.waiting.saturating_sub(1);
            let slot = self.grant(state, &agent);
            if let Err(mut unwanted) = next.grant.send(slot) {
                // Whoever waited has just gone. It must not be dropped under the lock.
                unwanted.of = None;
                state.give_back(&agent);
            }
        }
    }

    fn release(self: &Arc<Self>, agent: &AgentId) {
        let mut state = self.state.lock();
        state.give_back(agent);
        self.hand_out(&mut state);
    }

    /// Refuses whoever waits, and all that come.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.waiting = 0;
        state.turns.clear();
        for share in state.agents.values_mut() {
            share.queue.clear();
        }
    }
}

impl State {
    /// Whether one more may wait behind so many of its own agent's. Where all places are taken, the agent that has most
    /// of them loses its newest.
    fn makes_room(&mut self, ahead: usize) -> bool {
        if ahead >= MOST_WAITING_PER_AGENT {
            return false;
        }
        if self.waiting < MOST_WAITING {
            return true;
        }
        let longest = self.agents.values_mut().max_by_key(|share| share.queue.len());
        // It has others ahead of it, so that it keeps its turn. Dropped, the newest is refused.
        let refusable = |share: &&mut Share| {
            share.queue.len() > ahead + 1 && share.queue.back().is_some_and(|newest| !newest.returning)
        };
        let Some(share) = longest.filter(refusable) else { return false };
        drop(share.queue.pop_back());
        self.waiting = self.waiting.saturating_sub(1);
        true
    }

    /// A call that returns goes before all others of its agent.
    fn enqueue(&mut self, agent: &AgentId, returning: bool) -> (u64, oneshot::Receiver<Slot>) {
        let (grant, granted) = oneshot::channel();
        self.numbered = self.numbered.wrapping_add(1);
        let waiting = Waiting { number: self.numbered, returning, grant };
        let share = self.agents.entry(agent.clone()).or_default();
        if share.queue.is_empty() {
            self.turns.push_back(agent.clone());
        }
        match returning {
            true => share.queue.push_front(waiting),
            false => share.queue.push_back(waiting),
        }
        self.waiting += 1;
        (self.numbered, granted)
    }

    fn give_back(&mut self, agent: &AgentId) {
        self.used = self.used.saturating_sub(1);
        if let Some(share) = self.agents.get_mut(agent) {
            share.held = share.held.saturating_sub(1);
        }
        self.tidy(agent);
    }

    fn tidy(&mut self, agent: &AgentId) {
        let empty = |share: &Share| share.held == 0 && share.yielded == 0 && share.queue.is_empty();
        if self.agents.get(agent).is_some_and(empty) {
            self.agents.remove(agent);
        }
    }
}

impl Slot {
    /// Gives it back while a person is asked. None where it was given up.
    pub(super) fn yielded(mut self) -> Option<YieldedSlot> {
        let (slots, agent) = self.of.take()?;
        let mut state = slots.state.lock();
        state.agents.entry(agent.clone()).or_default().yielded += 1;
        state.give_back(&agent);
        slots.hand_out(&mut state);
        drop(state);
        Some(YieldedSlot { slots, agent })
    }
}

impl YieldedSlot {
    /// Waits for a slot again, before the other calls of its agent.
    pub(super) async fn back(self) -> Result<Slot, NoSlot> {
        self.slots.wait(&self.agent, true).await
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some((slots, agent)) = self.of.take() {
            slots.release(&agent);
        }
    }
}

impl Drop for YieldedSlot {
    fn drop(&mut self) {
        let mut state = self.slots.state.lock();
        if let Some(share) = state.agents.get_mut(&self.agent) {
            share.yielded = share.yielded.saturating_sub(1);
        }
        state.tidy(&self.agent);
        // Others of this agent may have waited for that.
        self.slots.hand_out(&mut state);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.state.lock();
        let Some(share) = state.agents.get_mut(self.agent) else { return };
        let before = share.queue.len();
        share.queue.retain(|waiting| waiting.number != self.number);
        let (left, emptied) = (before - share.queue.len(), before > 0 && share.queue.is_empty());
        state.waiting = state.waiting.saturating_sub(left);
        if left > 0 && emptied {
            state.turns.retain(|agent| agent != self.agent);
        }
        state.tidy(self.agent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::BoxFuture;
    use futures::{FutureExt as _, poll};
    use proptest::prelude::*;
    use std::task::Poll;

    type Pending = BoxFuture<'static, Result<Slot, NoSlot>>;

    fn ask(slots: &Arc<Slots>, agent: &str) -> Pending {
        let (slots, agent) = (slots.clone(), AgentId::from(agent));
        async move { slots.acquire(&agent).await }.boxed()
    }

    /// Waits in the queue.
    async fn waits(slots: &Arc<Slots>, agent: &str) -> Pending {
        let mut pending = ask(slots, agent);
        assert!(poll!(&mut pending).is_pending(), "{agent} is not to have a slot yet");
        pending
    }

    fn is_idle(slots: &Slots) -> bool {
        let state = slots.state.lock();
        state.used == 0 && state.waiting == 0 && state.agents.is_empty() && state.turns.is_empty()
    }

    #[tokio::test]
    async fn one_agent_leaves_a_quarter_for_the_others() {
        for (total, alone, second) in [(64, 48, 12), (8, 6, 2), (4, 3, 1), (3, 3, 0), (2, 2, 0), (1, 1, 0)] {
            let slots = Slots::new(total);
            let take = |agent: &str| {
                let mut held = Vec::new();
                while let Some(Ok(slot)) = ask(&slots, agent).now_or_never() {
                    held.push(slot);
                }
                held
            };
            let (a, b) = (take("a"), take("b"));
            assert_eq!((a.len(), b.len()), (alone, second), "{total}");
            drop((a, b));
            assert!(is_idle(&slots), "{slots:?}");
        }
    }

    #[tokio::test]
    async fn freed_slots_go_to_the_agents_in_turn() {
        let slots = Slots::new(1);
        let first = slots.acquire(&"a".into()).await.unwrap();
        let mut waiting = Vec::new();
        for agent in ["a", "a", "a", "a", "b", "b", "c"] {
            waiting.push((agent, waits(&slots, agent).await));
        }
        let mut order = Vec::new();
        let mut held = Some(first);
        while !waiting.is_empty() {
            drop(held.take());
            let mut next = None;
            for (index, (_, pending)) in waiting.iter_mut().enumerate() {
                if let Poll::Ready(slot) = poll!(pending) {
                    assert!(next.replace((index, slot.unwrap())).is_none(), "one slot, one holder");
                }
            }
            let (index, slot) = next.expect("a freed slot is handed out at once");
            order.push(waiting.remove(index).0);
            held = Some(slot);
        }
        assert_eq!(order, ["a", "b", "c", "a", "b", "a", "a"]);
        drop(held);
        assert!(is_idle(&slots), "{slots:?}");
    }

    #[tokio::test]
    async fn who_goes_away_leaves_nothing_behind() {
        let slots = Slots::new(1);
        let held = slots.acquire(&"a".into()).await.unwrap();
        let (gone, next) = (waits(&slots, "b").await, waits(&slots, "c").await);
        drop(gone);
        drop(held);
        // Granted, and never looked at.
        drop(next);
        assert!(is_idle(&slots), "{slots:?}");
        assert!(slots.acquire(&"d".into()).await.is_ok());
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_one_agents_flood_is_its_own() {
        let slots = Slots::new(1);
        let _held = slots.acquire(&"x".into()).await.unwrap();
        let mut waiting = Vec::new();
        for agent in ["a", "b", "c", "d"] {
            for _ in 0..MOST_WAITING_PER_AGENT {
                waiting.push(waits(&slots, agent).await);
            }
            assert_eq!(slots.acquire(&agent.into()).await.unwrap_err(), NoSlot::Full);
        }
        assert_eq!(slots.state.lock().waiting, MOST_WAITING);
        // A newcomer has its place all the same.
        let mut late = waits(&slots, "late").await;
        let mut refused = 0;
        for pending in &mut waiting {
            if let Poll::Ready(outcome) = poll!(pending) {
                assert_eq!(outcome.unwrap_err(), NoSlot::Full);
                refused += 1;
            }
        }
        assert_eq!((refused, slots.state.lock().waiting), (1, MOST_WAITING));
        assert!(poll!(&mut late).is_pending());
        slots.close();
        assert_eq!(late.await.unwrap_err(), NoSlot::Closed);
        assert_eq!(slots.acquire(&"a".into()).await.unwrap_err(), NoSlot::Closed);
    }

    #[tokio::test]
    async fn a_call_that_waits_for_a_person_holds_no_slot_and_comes_back_first() {
        let slots = Slots::new(1);
        let held = slots.acquire(&"a".into()).await.unwrap();
        let mut own = waits(&slots, "a").await;
        let yielded = held.yielded().unwrap();
        let Poll::Ready(Ok(second)) = poll!(&mut own) else { panic!("its slot was given back") };
        let third = waits(&slots, "a").await;
        let mut back = yielded.back().boxed();
        assert!(poll!(&mut back).is_pending());
        drop(second);
        let Poll::Ready(Ok(slot)) = poll!(&mut back) else {
            panic!("it comes before its agent's other calls")
        };
        drop((third, slot, back));
        assert!(is_idle(&slots), "{slots:?}");
    }

    /// I1, I12: however many calls of an agent wait for people, none of them holds a slot; the agent pays with its own.
    #[tokio::test]
    async fn waiting_calls_hold_no_slot_and_their_agent_gets_no_more_of_them() {
        let slots = Slots::new(8);
        // All that are under way may come to wait.
        let mut yielded = Vec::new();
        while yielded.len() < MOST_YIELDED - 2 {
            yielded.push(slots.acquire(&"a".into()).await.unwrap().yielded().unwrap());
        }
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(slots.acquire(&"a".into()).await.unwrap());
        }
        yielded.extend(held.drain(..).map(|slot| slot.yielded().unwrap()));
        assert_eq!((yielded.len(), slots.state.lock().used), (MOST_YIELDED + 1, 0));
        // The next one waits, with all slots free; another agent does not.
        let mut next = waits(&slots, "a").await;
        let other = slots.acquire(&"b".into()).await.unwrap();
        // One that comes back has its slot, and is no longer one of those that wait.
        let back = yielded.pop().unwrap().back().await.unwrap();
        assert!(poll!(&mut next).is_pending());
        drop(back);
        assert!(poll!(&mut next).is_pending());
        // As soon as there are fewer of them it goes on.
        drop(yielded.pop());
        let Poll::Ready(Ok(slot)) = poll!(&mut next) else { panic!("it may go on") };
        drop((slot, other, yielded));
        assert!(is_idle(&slots), "{slots:?}");
    }

    /// A call that was refused on its way back would hang: its clock stands until it has a slot again.
    #[tokio::test]
    async fn a_call_that_returns_is_not_refused_for_a_newcomer() {
        let slots = Slots::new(1);
        let mut yielded = Vec::new();
        for n in 0..MOST_WAITING {
            let agent = AgentId::from(format!("a{}", n / MOST_YIELDED).as_str());
            yielded.push(slots.acquire(&agent).await.unwrap().yielded().unwrap());
        }
        let held = slots.acquire(&"x".into()).await.unwrap();
        let mut returning: Vec<_> = yielded.into_iter().map(|yielded| yielded.back().boxed()).collect();
        for back in &mut returning {
            assert!(poll!(back).is_pending());
        }
        assert_eq!(slots.acquire(&"late".into()).await.unwrap_err(), NoSlot::Full);
        for back in &mut returning {
            assert!(poll!(back).is_pending());
        }
        drop((returning, held));
        assert!(is_idle(&slots), "{slots:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever comes and goes: never more slots than there are, none lost, and between two turns of an agent that waits
        /// every other agent that waits and may take one got one.
        #[test]
        fn slots_are_neither_lost_nor_multiplied_and_nobody_starves(
            total in 1_usize..9,
            steps in prop::collection::vec((0_u8..4, 0_u8..4), 1..200),
        ) {
            let slots = Slots::new(total);
            let (mut held, mut waiting) = (Vec::<Slot>::new(), Vec::<(u8, Pending)>::new());
            for (what, agent) in steps {
                match what {
                    0 | 1 => waiting.push((agent, ask(&slots, &agent.to_string()))),
                    2 if !held.is_empty() => drop(held.remove(usize::from(agent) % held.len())),
                    3 if !waiting.is_empty() => drop(waiting.remove(usize::from(agent) % waiting.len())),
                    _ => {}
                }
                waiting.retain_mut(|(_, pending)| match pending.now_or_never() {
                    Some(slot) => {
                        held.push(slot.unwrap());
                        false
                    }
                    None => true,
                });
                let state = slots.state.lock();
                prop_assert_eq!((state.used, state.waiting), (held.len(), waiting.len()));
                prop_assert!(state.used <= total);
                let can = state.turns.iter().any(|agent| slots.next_may_take(&state, agent));
                prop_assert!(!can, "a free slot is not left lying: {:?}", state);
            }
            // Served one at a time from now on, each agent that waits has its turn within one round of all.
            let agents = slots.state.lock().turns.len();
            let mut unserved: Vec<u8> = waiting.iter().map(|(agent, _)| *agent).collect();
            unserved.sort_unstable();
            unserved.dedup();
            let mut turns = 0;
            held.reverse();
            while !unserved.is_empty() {
                turns += 1;
                prop_assert!(turns <= 2 * agents + total, "{} turns for {} agents", turns, agents);
                let Some(slot) = held.pop() else { break };
                drop(slot);
                waiting.retain_mut(|(agent, pending)| match pending.now_or_never() {
                    Some(slot) => {
                        held.insert(0, slot.unwrap());
                        unserved.retain(|other| other != agent);
                        false
                    }
                    None => true,
                });
            }
            prop_assert!(unserved.is_empty());
            drop((held, waiting));
            prop_assert!(is_idle(&slots), "{:?}", slots);
        }
    }
}
