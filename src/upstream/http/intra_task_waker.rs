//! A waker for parts of one future that wake each other while it is polled: what they do is looked at in the same
//! poll, and does not make the whole task run once more.

use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// How often the parts are polled in one poll. Whoever is woken still then waits for its turn like others, so that a
/// part which is out of its budget cannot go round here for ever.
const ROUNDS: usize = 3;

/// Nobody polls: a wake goes to the task.
const RESTING: u8 = 0;
/// A wake is for this poll.
const POLLING: u8 = 1;
/// It has been woken in this poll.
const AGAIN: u8 = 2;

/// What the parts wake.
pub(super) struct IntraTaskWaker {
    inner: Arc<Inner>,
    waker: Waker,
}

struct Inner {
    state: AtomicU8,
    task: Mutex<Option<Waker>>,
}

impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let noted = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| (state != RESTING).then_some(AGAIN));
        if noted.is_err()
            && let Some(task) = &*self.task.lock()
        {
            task.wake_by_ref();
        }
    }
}

impl IntraTaskWaker {
    pub(super) fn new() -> Self {
        let inner = Arc::new(Inner { state: AtomicU8::new(RESTING), task: Mutex::new(None) });
        Self { waker: Waker::from(inner.clone()), inner }
    }

    /// Does what wakes a part. The parts have to be polled next, which is why the task need not be woken.
    pub(super) fn before_poll<T>(&self, act: impl FnOnce() -> T) -> T {
        self.inner.state.store(POLLING, Ordering::Release);
        let done = act();
        self.inner.state.store(RESTING, Ordering::Release);
        done
    }

    /// Polls the parts until they are ready or none has woken another.
    pub(super) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut parts: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        {
            let mut task = self.inner.task.lock();
            if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                *task = Some(cx.waker().clone());
            }
        }
        let mut own = Context::from_waker(&self.waker);
        for _ in 0..ROUNDS {
            self.inner.state.store(POLLING, Ordering::Release);
            let polled = parts(&mut own);
            // Whatever wakes from here on wakes the task.
            let woken = self.inner.state.swap(RESTING, Ordering::AcqRel) == AGAIN;
            if polled.is_ready() || !woken {
                return polled;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often the task was woken, and how often the parts were polled, where they wake themselves so many times.
    fn polls(wakes: usize, ready: bool) -> (usize, usize, Option<Waker>) {
        let (count, within) = (Arc::new(Count::default()), IntraTaskWaker::new());
        let task = Waker::from(count.clone());
        let (mut polled, mut kept) = (0, None);
        let outcome = within.poll(&mut Context::from_waker(&task), |cx| {
            kept = Some(cx.waker().clone());
            polled += 1;
            if polled <= wakes {
                cx.waker().wake_by_ref();
            }
            if ready && polled > wakes { Poll::Ready(()) } else { Poll::Pending }
        });
        assert_eq!(outcome.is_ready(), ready && wakes < ROUNDS);
        (count.0.load(Ordering::Relaxed), polled, kept)
    }

    #[test]
    fn a_wake_within_a_poll_is_looked_at_in_it() {
        assert_eq!(polls(0, false).0, 0);
        assert_eq!((polls(1, true).0, polls(1, true).1), (0, 2));
        assert_eq!((polls(1, false).0, polls(1, false).1), (0, 2));
    }

    /// A part that wakes itself at every poll, as one does that is out of its budget, gives its turn away.
    #[test]
    fn nobody_goes_round_for_ever() {
        let (woken, polled, _) = polls(usize::MAX, true);
        assert_eq!((woken, polled), (1, ROUNDS));
    }

    #[test]
    fn a_wake_after_the_poll_wakes_the_task() {
        let (count, within) = (Arc::new(Count::default()), IntraTaskWaker::new());
        let task = Waker::from(count.clone());
        let mut kept = None;
        let outcome = within.poll(&mut Context::from_waker(&task), |cx| {
            kept = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        assert!(outcome.is_pending());
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        let kept = kept.unwrap();
        within.before_poll(|| kept.wake_by_ref());
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        kept.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
