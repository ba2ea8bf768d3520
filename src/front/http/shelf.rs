//! What is kept of the streams of one principal, within its bounds: whatever has no room any more goes, the oldest first.

use crate::front::{client::Outbox, exchange::Exchange};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};

/// What an event costs beside its bytes.
const OVERHEAD: usize = 128;

/// How much is kept of streams.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Bytes of one stream. A larger answer is replaced by an error that says so.
    pub stream_bytes: usize,
    /// Events of one stream.
    pub stream_events: usize,
    /// Bytes of one session's streams.
    pub session_bytes: usize,
    /// Bytes of one principal's streams.
    pub principal_bytes: usize,
    /// Bytes of everybody's streams.
    pub total_bytes: usize,
    /// Streams of one principal that have ended.
    pub ended_streams: usize,
    /// How long a stream that has ended is kept, and how long a request goes on while its client is away.
    pub time: Duration,
}

impl Default for Replay {
    fn default() -> Self {
        Self {
            stream_bytes: 4 << 20,
            stream_events: 512,
            session_bytes: 8 << 20,
            principal_bytes: 16 << 20,
            total_bytes: 128 << 20,
            ended_streams: 256,
            time: Duration::from_secs(5 * 60),
        }
    }
}

/// One event that was sent, or would have been.
#[derive(Debug)]
pub(super) struct Kept {
    /// Within its stream.
    pub(super) number: u64,
    /// As it is sent.
    pub(super) frame: Bytes,
    /// A notification: the first to go where there is no room.
    pub(super) news: bool,
}

impl Kept {
    fn cost(&self) -> usize {
        self.frame.len().saturating_add(OVERHEAD)
    }
}

/// What is kept of one stream.
#[derive(Debug)]
pub(super) struct Log {
    /// Whose stream.
    pub(super) session: Arc<str>,
    /// In their order.
    pub(super) events: VecDeque<Kept>,
    bytes: usize,
    /// The number of the last event.
    pub(super) last: u64,
    /// When it ended, in milliseconds of the clock.
    pub(super) ended: Option<u64>,
    /// Which of those who took it up reads it now.
    pub(super) reader: u64,
    /// Wakes that reader.
    pub(super) waker: Option<Waker>,
    /// The request whose stream it is; none of a session's own stream.
    pub(super) request: Option<Request>,
}

impl Log {
    /// A new stream.
    pub(super) fn new(session: Arc<str>, request: Option<Request>) -> Self {
        let events = VecDeque::new();
        Self { session, events, bytes: 0, last: 0, ended: None, reader: 0, waker: None, request }
    }
}

/// A request on a stream that can be taken up.
#[derive(Clone)]
pub(super) struct Request {
    /// Knows whether the client is there.
    pub(super) outbox: Arc<Outbox>,
    /// What the stream's connection drives; empty where it has ended, or goes on by itself.
    pub(super) driven: Arc<Mutex<Option<Exchange>>>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request")
    }
}

/// What is kept of one principal's streams.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    pub(super) inner: Mutex<Inner>,
}

/// The streams themselves.
#[derive(Debug, Default)]
pub(super) struct Inner {
    /// The number of the last stream.
    pub(super) last: u64,
    /// By their numbers.
    pub(super) logs: BTreeMap<u64, Log>,
    bytes: usize,
    by_session: HashMap<Arc<str>, usize>,
    /// How many of them have ended.
    pub(super) ended: usize,
}

impl Inner {
    fn charge(&mut self, session: &Arc<str>, cost: usize, total: &AtomicUsize) {
        self.bytes = self.bytes.saturating_add(cost);
        let of_session = self.by_session.entry(Arc::clone(session)).or_default();
        *of_session = of_session.saturating_add(cost);
        total.fetch_add(cost, Ordering::Relaxed);
    }

    fn refund(&mut self, session: &Arc<str>, cost: usize, total: &AtomicUsize) {
        self.bytes = self.bytes.saturating_sub(cost);
        if let Some(of_session) = self.by_session.get_mut(session) {
            *of_session = of_session.saturating_sub(cost);
            if *of_session == 0 {
                self.by_session.remove(session);
            }
        }
        total.fetch_sub(cost, Ordering::Relaxed);
    }

    /// Forgets a stream.
    pub(super) fn remove(&mut self, number: u64, total: &AtomicUsize) {
        let Some(log) = self.logs.remove(&number) else { return };
        self.ended -= usize::from(log.ended.is_some());
        self.refund(&log.session, log.bytes, total);
        if let Some(waker) = log.waker {
            waker.wake();
        }
    }

    /// The oldest stream that has ended and that a condition holds for.
    pub(super) fn oldest_ended(&self, of: impl Fn(&Log) -> bool) -> Option<u64> {
        self.logs.iter().find(|(_, log)| log.ended.is_some() && of(log)).map(|(number, _)| *number)
    }

    /// Takes the oldest notification of a stream out. Whether there was one.
    fn drop_news(&mut self, number: u64, total: &AtomicUsize) -> bool {
        let Some(log) = self.logs.get_mut(&number) else { return false };
        let at = log.events.iter().position(|event| event.news);
        let Some(dropped) = at.and_then(|at| log.events.remove(at)) else { return false };
        let (cost, session) = (dropped.cost(), Arc::clone(&log.session));
        log.bytes = log.bytes.saturating_sub(cost);
        self.refund(&session, cost, total);
        true
    }

    /// Makes room for so many bytes more on a stream: streams that have ended go first, then its own notifications.
    fn make_room(&mut self, number: u64, cost: usize, most: &Replay, total: &AtomicUsize) -> bool {
        loop {
            let Some(log) = self.logs.get(&number) else { return false };
            let fits =
                log.bytes.saturating_add(cost) <= most.stream_bytes && log.events.len() < most.stream_events;
            if !fits {
                if !self.drop_news(number, total) {
                    return false;
                }
                continue;
            }
            let session = Arc::clone(&log.session);
            let of_session = self.by_session.get(&session).copied().unwrap_or_default();
            let victim = if of_session.saturating_add(cost) > most.session_bytes {
                self.oldest_ended(|log| log.session == session)
            } else if self.bytes.saturating_add(cost) > most.principal_bytes {
                self.oldest_ended(|_| true)
            } else {
                return true;
            };
            match victim {
                Some(victim) => self.remove(victim, total),
                None if self.drop_news(number, total) => {}
                None => return false,
            }
        }
    }

    /// Keeps an event, where there is room for it.
    pub(super) fn keep(&mut self, number: u64, event: Kept, most: &Replay, total: &AtomicUsize) -> bool {
        let cost = event.cost();
        if !self.make_room(number, cost, most, total) {
            return false;
        }
        let Some(log) = self.logs.get_mut(&number) else { return false };
        log.bytes = log.bytes.saturating_add(cost);
        log.events.push_back(event);
        let session = Arc::clone(&log.session);
        if let Some(waker) = log.waker.take() {
            waker.wake();
        }
        self.charge(&session, cost, total);
        true
    }
}

impl Shelf {
    /// What is kept, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }

    /// A session has ended, and its streams with it.
    pub(super) fn forget(&self, session: &Arc<str>, total: &AtomicUsize) {
        let mut inner = self.inner.lock();
        let of_session = |(number, log): (&u64, &Log)| (log.session == *session).then_some(*number);
        let numbers: Vec<u64> = inner.logs.iter().filter_map(of_session).collect();
        for number in numbers {
            inner.remove(number, total);
        }
    }

    /// Forgets what ended long enough ago. Whether anything that has ended is left.
    pub(super) fn forget_old(&self, now: u64, most: &Replay, total: &AtomicUsize) -> bool {
        let time = u64::try_from(most.time.as_millis()).unwrap_or(u64::MAX);
        let mut inner = self.inner.lock();
        let old = |log: &Log| log.ended.is_some_and(|ended| now.saturating_sub(ended) >= time);
        while let Some(number) = inner.oldest_ended(old) {
            inner.remove(number, total);
        }
        inner.ended > 0
    }

    /// Forgets the oldest stream that has ended, or else the oldest notification of another. Whether there was one.
    pub(super) fn forget_one(&self, total: &AtomicUsize) -> bool {
        let mut inner = self.inner.lock();
        if let Some(oldest) = inner.oldest_ended(|_| true) {
            inner.remove(oldest, total);
            return true;
        }
        let has_news = |(_, log): &(&u64, &Log)| log.events.iter().any(|event| event.news);
        let Some(number) = inner.logs.iter().find(has_news).map(|(number, _)| *number) else { return false };
        inner.drop_news(number, total)
    }
}
