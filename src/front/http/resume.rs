//! Streams of the sessions' era can be taken up again (`Last-Event-ID`).
//!
//! What is sent on such a stream is kept for a while, and so is what comes while nobody reads it: a connection that breaks
//! does not cancel its request (2025-11-25, "Resumability and Redelivery"). A call that waits for a person is not made before
//! its client is back (I3). What is kept is bounded in bytes, number and time, for each stream, session and principal and for
//! all together. An event's id counts in its own session only, and a session belongs to its principal.

use super::{
    Front, Limits,
    standing::{Session, Standing},
};
use crate::{
    front::{
        client::Outbox,
        exchange::{Event, Exchange},
        message,
    },
    model::{RpcError, code},
};
use bytes::Bytes;
use futures::stream::Stream;
use http::HeaderMap;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};

/// Names the last event that a client has seen.
const LAST_EVENT: &str = "last-event-id";
/// How long a client is asked to wait before it connects again.
pub(super) const RETRY: &str = "retry: 1000\n";
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
struct Kept {
    number: u64,
    frame: Bytes,
    /// A notification: the first to go where there is no room.
    news: bool,
}

impl Kept {
    fn cost(&self) -> usize {
        self.frame.len().saturating_add(OVERHEAD)
    }
}

/// What is kept of one stream.
#[derive(Debug)]
struct Log {
    session: Arc<str>,
    events: VecDeque<Kept>,
    bytes: usize,
    /// The number of the last event.
    last: u64,
    /// When it ended, in milliseconds of the clock.
    ended: Option<u64>,
    /// Which of those who took it up reads it now.
    reader: u64,
    waker: Option<Waker>,
    /// The request whose stream it is; none of a session's own stream.
    request: Option<Request>,
}

/// A request on a stream that can be taken up.
#[derive(Clone)]
struct Request {
    /// Knows whether the client is there.
    outbox: Arc<Outbox>,
    /// What the stream's connection drives; empty where it has ended, or goes on by itself.
    driven: Arc<Mutex<Option<Exchange>>>,
}

impl Request {
    /// Takes it from the connection that drove it: it goes on by itself, until its client has been away for too long.
    fn let_go(&self, line: &Line) {
        // Without a runtime the process is ending, and the request with it.
        let Some(exchange) = self.driven.lock().take() else { return };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(go_on(exchange, Arc::clone(&self.outbox), line.clone()));
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request")
    }
}

/// What is kept of one principal's streams.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The number of the last stream.
    last: u64,
    logs: BTreeMap<u64, Log>,
    bytes: usize,
    by_session: HashMap<Arc<str>, usize>,
    ended: usize,
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

    fn remove(&mut self, number: u64, total: &AtomicUsize) {
        let Some(log) = self.logs.remove(&number) else { return };
        self.ended -= usize::from(log.ended.is_some());
        self.refund(&log.session, log.bytes, total);
        if let Some(waker) = log.waker {
            waker.wake();
        }
    }

    /// The oldest stream that has ended and that a condition holds for.
    fn oldest_ended(&self, of: impl Fn(&Log) -> bool) -> Option<u64> {
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

    fn keep(&mut self, number: u64, event: Kept, most: &Replay, total: &AtomicUsize) -> bool {
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

/// A stream by its place: whose it is, and which.
#[derive(Clone)]
pub(super) struct Line {
    front: Arc<Front>,
    standing: Arc<Standing>,
    /// What its events' ids begin with.
    tag: Arc<str>,
    number: u64,
    most: Replay,
}

/// What a request's stream needs, where one is opened.
pub(super) struct Opening {
    pub(super) front: Arc<Front>,
    pub(super) standing: Arc<Standing>,
    pub(super) session: Arc<Session>,
    /// Whether the client knows events without a message, which give it an id before there is anything to say.
    pub(super) primes: bool,
}

impl Line {
    /// Opens a stream.
    fn open(
        front: &Arc<Front>,
        standing: &Arc<Standing>,
        session: &Session,
        request: Option<Request>,
        limits: &Limits,
    ) -> Self {
        let most = limits.replay.clone();
        let total = &front.standings.replayed;
        standing.shelf.forget_old(front.standings.millis(), &most, total);
        let number = {
            let mut inner = standing.shelf.inner.lock();
            while inner.ended >= most.ended_streams.max(1) {
                let Some(oldest) = inner.oldest_ended(|_| true) else { break };
                inner.remove(oldest, total);
            }
            inner.last += 1;
            let number = inner.last;
            let log = Log {
                session: Arc::clone(&session.conversation.id),
                events: VecDeque::new(),
                bytes: 0,
                last: 0,
                ended: None,
                reader: 0,
                waker: None,
                request,
            };
            inner.logs.insert(number, log);
            number
        };
        sweep(front, &most);
        Self::at(front, standing, session, number, limits)
    }

    fn at(
        front: &Arc<Front>,
        standing: &Arc<Standing>,
        session: &Session,
        number: u64,
        limits: &Limits,
    ) -> Self {
        let (front, standing) = (Arc::clone(front), Arc::clone(standing));
        Self { front, standing, tag: Arc::clone(&session.tag), number, most: limits.replay.clone() }
    }

    fn frame(&self, event: u64, message: Option<&[u8]>) -> Bytes {
        let mut frame = format!("id: {}-{}-{event}\n", self.tag, self.number).into_bytes();
        match message {
            Some(message) => {
                frame.extend_from_slice(b"event: message\ndata: ");
                frame.extend_from_slice(message);
            }
            None => {
                frame.extend_from_slice(RETRY.as_bytes());
                frame.extend_from_slice(b"data:");
            }
        }
        frame.extend_from_slice(b"\n\n");
        Bytes::from(frame)
    }

    /// The next event of the stream, kept.
    fn event(&self, message: &[u8]) -> Bytes {
        let total = &self.front.standings.replayed;
        let frame = {
            let mut inner = self.standing.shelf.inner.lock();
            let Some(log) = inner.logs.get_mut(&self.number) else { return self.frame(0, Some(message)) };
            log.last += 1;
            let event = log.last;
            let frame = self.frame(event, Some(message));
            let news = message::is_notification(message);
            let kept = Kept { number: event, frame: frame.clone(), news };
            if !inner.keep(self.number, kept, &self.most, total)
                && !news
                && let Some(instead) = too_large(message)
            {
                let kept = Kept { number: event, frame: self.frame(event, Some(&instead)), news };
                inner.keep(self.number, kept, &self.most, total);
            }
            frame
        };
        if total.load(Ordering::Relaxed) > self.most.total_bytes {
            self.front.standings.relieve(self.most.total_bytes);
        }
        frame
    }

    /// Nothing comes on it any more.
    fn end(&self) {
        let now = self.front.standings.millis();
        let mut inner = self.standing.shelf.inner.lock();
        let Some(log) = inner.logs.get_mut(&self.number) else { return };
        if log.ended.replace(now).is_none() {
            let waker = log.waker.take();
            inner.ended += 1;
            drop(inner);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Forgets the streams that ended long enough ago, also where their principals say nothing more.
fn sweep(front: &Arc<Front>, most: &Replay) {
    if front.standings.sweeping.swap(true, Ordering::AcqRel) {
        return;
    }
    let (front, most) = (Arc::downgrade(front), most.clone());
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        loop {
            sleep(most.time.max(Duration::from_secs(1))).await;
            let Some(front) = front.upgrade() else { return };
            let sweeping = &front.standings.sweeping;
            // Whoever ends a stream from here on begins anew.
            sweeping.store(false, Ordering::Release);
            if !front.standings.forget_old(&most) || sweeping.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    });
}

/// What is kept in place of a message that is too large to be kept.
fn too_large(message: &[u8]) -> Option<Vec<u8>> {
    let id = message::answered_id(message)?;
    let text = format!(
        "the answer of {} bytes is no longer there: it is too large to be kept for a connection that broke",
        message.len()
    );
    Some(message::failure(Some(&id), &RpcError::new(code::INTERNAL_ERROR, text)))
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

    /// Forgets the oldest stream that has ended. Whether there was one.
    pub(super) fn forget_one(&self, total: &AtomicUsize) -> bool {
        let mut inner = self.inner.lock();
        let Some(oldest) = inner.oldest_ended(|_| true) else { return false };
        inner.remove(oldest, total);
        true
    }
}

/// A request on the stream that carries its answer, driven by the connection that reads it.
struct Carried {
    request: Request,
    line: Line,
}

/// Opens the stream of a request, with what goes first on it.
pub(super) fn carry(
    opening: Opening,
    exchange: Exchange,
    first: Option<&[u8]>,
    limits: &Limits,
) -> (Bytes, impl Stream<Item = Bytes> + Send + 'static) {
    let Opening { front, standing, session, primes } = opening;
    let request = Request { outbox: exchange.outbox(), driven: Arc::new(Mutex::new(Some(exchange))) };
    let line = Line::open(&front, &standing, &session, Some(request.clone()), limits);
    let first = match first {
        Some(message) => [RETRY.as_bytes(), &line.event(message)].concat().into(),
        None if primes => line.frame(0, None),
        None => Bytes::from([RETRY.as_bytes(), b"\n"].concat()),
    };
    (first, Carried { request, line })
}

impl Stream for Carried {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut driven = self.request.driven.lock();
        // It has ended, or another connection has taken it up.
        let Some(exchange) = driven.as_mut() else { return Poll::Ready(None) };
        match ready!(exchange.poll_event(cx)) {
            Event::Message(message) => Poll::Ready(Some(self.line.event(&message))),
            Event::End(answer) => {
                let ended = driven.take();
                drop(driven);
                drop(ended);
                let last = answer.map(|answer| self.line.event(&answer.body));
                self.line.end();
                Poll::Ready(last)
            }
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if self.request.driven.lock().is_some() {
            self.request.outbox.set_away(true);
            self.request.let_go(&self.line);
        }
    }
}

/// A request whose connection broke goes on, until its client has been away for too long.
async fn go_on(mut exchange: Exchange, outbox: Arc<Outbox>, line: Line) {
    let abandoned = async {
        loop {
            outbox.until_away(true).await;
            if timeout(line.most.time, outbox.until_away(false)).await.is_err() {
                return;
            }
        }
    };
    let work = async {
        loop {
            match poll_fn(|cx| exchange.poll_event(cx)).await {
                Event::Message(message) => drop(line.event(&message)),
                Event::End(answer) => {
                    drop(answer.map(|answer| line.event(&answer.body)));
                    return;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = work => {}
        () = abandoned => {}
    }
    line.end();
}

/// A stream that was taken up again, as far as it has come.
struct Taken {
    line: Line,
    reader: u64,
    /// The last event that was read.
    after: u64,
}

impl Stream for Taken {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        let mut inner = this.line.standing.shelf.inner.lock();
        // Gone with its session, or for want of room; or somebody else has taken it up.
        let Some(log) = inner.logs.get_mut(&this.line.number).filter(|log| log.reader == this.reader) else {
            return Poll::Ready(None);
        };
        if let Some(event) = log.events.iter().find(|event| event.number > this.after) {
            this.after = event.number;
            return Poll::Ready(Some(event.frame.clone()));
        }
        if log.ended.is_some() {
            return Poll::Ready(None);
        }
        log.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let inner = self.line.standing.shelf.inner.lock();
        let log = inner.logs.get(&self.line.number).filter(|log| log.reader == self.reader);
        if let Some(request) = log.and_then(|log| log.request.as_ref()) {
            request.outbox.set_away(true);
        }
    }
}

/// What a client asks for with `Last-Event-ID`.
pub(super) enum Resumed {
    /// Nothing: it opens the session's own stream.
    No,
    /// The session's own stream, after this event.
    Own(u64),
    /// A request's stream.
    Of(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
    /// Something that there is not, or not any more.
    Unknown,
}

/// Takes up the stream that a client names, if it is this session's.
pub(super) fn resume(
    front: &Arc<Front>,
    standing: &Arc<Standing>,
    session: &Arc<Session>,
    headers: &HeaderMap,
    limits: &Limits,
) -> Resumed {
    let mut named = headers.get_all(LAST_EVENT).iter();
    let id = match (named.next(), named.next()) {
        (None, _) => return Resumed::No,
        (Some(id), None) => id.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => return Resumed::Unknown,
    };
    let Some((number, after)) = event_id(id, &session.tag) else { return Resumed::Unknown };
    let mut inner = standing.shelf.inner.lock();
    let known = |log: &&mut Log| log.session == session.conversation.id && after <= log.last;
    let Some(log) = inner.logs.get_mut(&number).filter(known) else { return Resumed::Unknown };
    let Some(request) = log.request.clone() else { return Resumed::Own(after) };
    // An older connection that is still open ends: a message goes to one of them only.
    log.reader += 1;
    let (reader, older) = (log.reader, log.waker.take());
    drop(inner);
    if let Some(older) = older {
        older.wake();
    }
    let line = Line::at(front, standing, session, number, limits);
    request.outbox.set_away(false);
    request.let_go(&line);
    Resumed::Of(Box::pin(Taken { line, reader, after }))
}

/// The stream and the number of an event of this session.
fn event_id(id: &str, tag: &str) -> Option<(u64, u64)> {
    let (number, event) = id.strip_prefix(tag)?.strip_prefix('-')?.split_once('-')?;
    Some((number.parse().ok()?, event.parse().ok()?))
}

/// A session's own stream: news of the lists and resources.
pub(super) struct Own(Line);

impl Own {
    /// The one that the session has, or a new one.
    pub(super) fn of(
        front: &Arc<Front>,
        standing: &Arc<Standing>,
        session: &Arc<Session>,
        limits: &Limits,
    ) -> Self {
        let open = || Line::open(front, standing, session, None, limits).number;
        let number = *session.own.get_or_init(open);
        Self(Line::at(front, standing, session, number, limits))
    }

    /// A notification, kept.
    pub(super) fn news(&self, message: &[u8]) -> Bytes {
        self.0.event(message)
    }

    /// What was told after an event.
    pub(super) fn told_after(&self, event: u64) -> Vec<Bytes> {
        let inner = self.0.standing.shelf.inner.lock();
        let log = inner.logs.get(&self.0.number);
        let later = log.into_iter().flat_map(|log| &log.events).filter(|kept| kept.number > event);
        later.map(|kept| kept.frame.clone()).collect()
    }
}
