//! What waits for the writer, in order. Callers never wait to put something in: a full queue refuses. Only the holder of
//! the writer takes something out, so that operations run in the order in which they came.

use super::job::Job;
use crate::store::StoreError;
use parking_lot::{Condvar, Mutex};
use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// Operations that may wait. Beyond it the store is overloaded and refuses: it must not grow without bound.
const MOST: usize = 8_192;

/// How long a settlement may wait for a group to go with.
const PATIENCE: Duration = Duration::from_millis(10);

/// After what time an operation that must not be lost, and failed, is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How often the writer stands back for nothing before it begins. On a machine with nothing else to do that takes a
/// microsecond; on a busy one the group grows.
const STILL: u32 = 2;

/// How the writer waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Waiting {
    #[default]
    No,
    /// For anything.
    Idle,
    /// For somebody who wants an answer: settlements alone do not wake it.
    Patient,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Box<dyn Job>>,
    /// How many of them somebody waits for.
    wanted: usize,
    /// Those that failed and are tried again: with the next group, or after [`RETRY`].
    later: Vec<Box<dyn Job>>,
    /// They failed by themselves, while others succeeded: they wait for [`RETRY`] and do not spoil every group until then.
    apart: bool,
    /// When they are tried; whatever else comes meanwhile puts it off no further.
    again: Option<Instant>,
    /// There is something to look at beside the jobs.
    nudged: bool,
    closing: bool,
    /// The writer has ended.
    closed: bool,
    waiting: Waiting,
}

/// The queue of one writer.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Settlements in the group that is being run.
    running: AtomicUsize,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

impl Queue {
    /// Puts an operation in, which is refused where the queue is full. `quiet`: who does so leads it, and the writer's thread
    /// need not wake.
    pub(super) fn push(&self, job: Box<dyn Job>, quiet: bool) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        if state.closing || state.closed {
            return Err(StoreError::Closed);
        }
        if state.jobs.len() >= MOST {
            return Err(StoreError::Overloaded);
        }
        let wanted = job.wanted();
        state.jobs.push_back(job);
        state.wanted += usize::from(wanted);
        if !quiet {
            self.wake(&mut state, !wanted);
        }
        Ok(())
    }

    /// Puts a settlement in, which goes with the next group or after [`PATIENCE`]. A full queue must not lose it: the call
    /// is over, and there is at most one for each call in flight.
    pub(super) fn push_settlement(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        if state.closing || state.closed {
            return Err(StoreError::Closed);
        }
        state.jobs.push_back(job);
        self.wake(&mut state, true);
        Ok(())
    }

    /// Keeps an operation that failed for another try; back where there is none. `apart`: others of its group succeeded.
    pub(super) fn put_back(&self, job: Box<dyn Job>, apart: bool) -> Result<(), Box<dyn Job>> {
        let mut state = self.state.lock();
        if state.closing || state.closed {
            return Err(job);
        }
        state.later.push(job);
        state.apart = apart;
        self.running.fetch_sub(1, Ordering::Relaxed);
        // The writer's thread has to look at the time.
        self.wake(&mut state, false);
        Ok(())
    }

    /// Puts operations back that were taken and not run, before all others, and wakes the writer's thread for them.
    pub(super) fn put_first(&self, jobs: &mut Vec<Box<dyn Job>>) {
        let mut state = self.state.lock();
        self.running.store(0, Ordering::Relaxed);
        state.wanted += jobs.iter().filter(|job| job.wanted()).count();
        for job in jobs.drain(..).rev() {
            state.jobs.push_front(job);
        }
        state.nudged = true;
        self.wake(&mut state, false);
    }

    /// How many settlements are not committed yet.
    pub(super) fn settlements(&self) -> usize {
        let state = self.state.lock();
        let waiting = state.jobs.len().saturating_sub(state.wanted) + state.later.len();
        waiting + self.running.load(Ordering::Relaxed)
    }

    /// Whether nothing waits, and no settlement is being committed.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.jobs.is_empty() && state.later.is_empty() && self.running.load(Ordering::Relaxed) == 0
    }

    /// A group with so many settlements is being run; none once it has been.
    pub(super) fn runs(&self, settlements: usize) {
        self.running.store(settlements, Ordering::Relaxed);
    }

    /// Makes the writer look.
    pub(super) fn nudge(&self) {
        let mut state = self.state.lock();
        state.nudged = true;
        self.wake(&mut state, false);
    }

    /// The writer finishes what is queued and ends.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closing = true;
        self.wake(&mut state, false);
    }

    /// The writer has ended: what is queued is dropped, and whoever waits for it is told so by that.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let left = (std::mem::take(&mut state.jobs), std::mem::take(&mut state.later));
        drop(state);
        drop(left);
    }

    fn wake(&self, state: &mut State, settlement: bool) {
        let wakes = match state.waiting {
            Waiting::No => false,
            Waiting::Idle => true,
            Waiting::Patient => !settlement,
        };
        if wakes {
            state.waiting = Waiting::No;
            self.changed.notify_one();
        }
    }

    /// Whether somebody waits for something in it.
    pub(super) fn has_wanted(&self) -> bool {
        self.state.lock().wanted > 0
    }

    /// Takes what is there, at most `most`, and first what failed with the database: it must count before what comes
    /// after it. Only for the holder of the writer.
    #[expect(clippy::disallowed_methods, reason = "a waiting time, which decides nothing that is recorded")]
    pub(super) fn take(&self, most: usize) -> Vec<Box<dyn Job>> {
        let mut state = self.state.lock();
        state.nudged = false;
        let due = !state.apart || state.closing || state.again.is_some_and(|at| Instant::now() >= at);
        let mut jobs = Vec::new();
        if !state.later.is_empty() && due {
            state.again = None;
            jobs = std::mem::take(&mut state.later);
        }
        let count = state.jobs.len().min(most);
        let wanted = state.jobs.iter().take(count).filter(|job| job.wanted()).count();
        jobs.extend(state.jobs.drain(..count));
        state.wanted = state.wanted.saturating_sub(wanted);
        jobs
    }

    /// Whether everything is done after [`Self::close`].
    pub(super) fn is_finished(&self) -> bool {
        let state = self.state.lock();
        state.closing && state.jobs.is_empty() && state.later.is_empty()
    }

    /// Waits until there is something to do, and then, where others may come along (`company`), lets the threads that
    /// bring them run first, for as long as they bring more than nothing and fewer than `most`.
    #[expect(clippy::disallowed_methods, reason = "a waiting time, which decides nothing that is recorded")]
    pub(super) fn wait(&self, most: usize, company: bool) {
        let mut state = self.state.lock();
        let mut until: Option<Instant> = None;
        loop {
            if !state.later.is_empty() {
                let at = *state.again.get_or_insert_with(|| Instant::now() + RETRY);
                if Instant::now() >= at {
                    break;
                }
            }
            if state.wanted > 0 || state.nudged || state.closing {
                break;
            }
            if state.jobs.is_empty() {
                state.waiting = Waiting::Idle;
                match state.again {
                    Some(at) => drop(self.changed.wait_until(&mut state, at)),
                    None => self.changed.wait(&mut state),
                }
            } else {
                let until = *until.get_or_insert_with(|| Instant::now() + PATIENCE);
                state.waiting = Waiting::Patient;
                if self.changed.wait_until(&mut state, until).timed_out() {
                    break;
                }
            }
        }
        state.waiting = Waiting::No;
        let (mut seen, mut still) = (state.jobs.len(), 0);
        while company && !state.closing && seen < most && still < STILL {
            drop(state);
            std::thread::yield_now();
            state = self.state.lock();
            still = if state.jobs.len() > seen { 0 } else { still + 1 };
            seen = state.jobs.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::job::{Kind, job},
        *,
    };

    /// What is counted as it comes in is what is taken off as it goes: else the writer's thread would never wait again.
    #[test]
    fn nothing_is_waited_for_once_all_is_taken() {
        for kind in [Kind::Awaited, Kind::Read, Kind::OnlyIfAwaited, Kind::FireAndForget] {
            let queue = Queue::default();
            let (one, _answer) = job(kind, |_| Ok(()), |()| ());
            queue.push(one, false).unwrap();
            assert_eq!(queue.has_wanted(), kind != Kind::FireAndForget, "{kind:?}");
            let mut taken = queue.take(9);
            assert_eq!((taken.len(), queue.has_wanted()), (1, false), "{kind:?}");
            queue.put_first(&mut taken);
            assert_eq!(queue.has_wanted(), kind != Kind::FireAndForget, "{kind:?}");
            assert_eq!(
                (queue.take(9).len(), queue.has_wanted(), queue.is_idle()),
                (1, false, true),
                "{kind:?}"
            );
        }
    }
}
