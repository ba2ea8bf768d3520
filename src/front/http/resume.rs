//! Streams of the sessions' era can be taken up again (`Last-Event-ID`).
//!
//! What is sent on such a stream is kept for a while, and so is what comes while nobody reads it: a connection that breaks
//! does not cancel its request (2025-11-25, "Resumability and Redelivery"). A call that waits for a person is not made before
//! its client is back. What is kept is bounded in bytes, number and time, for each stream, session and principal and for
//! all together. An event's id counts in its own session only, and a session belongs to its principal.

use super::{
    Front, Limits,
    principal_quota::{PrincipalQuota, Session},
    shelf::{Kept, Log, Replay, Request},
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
    future::poll_fn,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};

/// Names the last event that a client has seen.
const LAST_EVENT: &str = "last-event-id";
/// What is kept of a session's own stream.
const OWN_BYTES: usize = 64 << 10;
const OWN_EVENTS: usize = 64;
/// How long a client is asked to wait before it connects again.
const RETRY: &str = "retry: 1000\n";

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

/// A stream by its place: whose it is, and which.
#[derive(Clone)]
pub(super) struct Line {
    front: Arc<Front>,
    standing: Arc<PrincipalQuota>,
    /// What its events' ids begin with.
    tag: Arc<str>,
    number: u64,
    most: Replay,
}

/// What a request's stream needs, where one is opened.
pub(super) struct Opening {
    pub(super) front: Arc<Front>,
    pub(super) standing: Arc<PrincipalQuota>,
    pub(super) session: Arc<Session>,
    /// Whether the client knows events without a message, which give it an id before there is anything to say.
    pub(super) primes: bool,
}

impl Line {
    /// Opens a stream.
    fn open(
        front: &Arc<Front>,
        standing: &Arc<PrincipalQuota>,
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
            let log = Log::new(Arc::clone(&session.conversation.id), request);
            inner.logs.insert(number, log);
            number
        };
        sweep(front, &most);
        Self::at(front, standing, session, number, limits)
    }

    fn at(
        front: &Arc<Front>,
        standing: &Arc<PrincipalQuota>,
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
            // A stream that ends after this point starts a sweep of its own.
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
    standing: &Arc<PrincipalQuota>,
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
        standing: &Arc<PrincipalQuota>,
        session: &Arc<Session>,
        limits: &Limits,
    ) -> Self {
        let open = || Line::open(front, standing, session, None, limits).number;
        let number = *session.own.get_or_init(open);
        let mut line = Line::at(front, standing, session, number, limits);
        // It lasts as long as its session, and there are many of them.
        line.most.stream_bytes = line.most.stream_bytes.min(OWN_BYTES);
        line.most.stream_events = line.most.stream_events.min(OWN_EVENTS);
        Self(line)
    }

    /// A notification, kept.
    pub(super) fn news(&self, message: &[u8]) -> Bytes {
        self.0.event(message)
    }

    /// What was sent after an event.
    pub(super) fn sent_after(&self, event: u64) -> Vec<Bytes> {
        let inner = self.0.standing.shelf.inner.lock();
        let log = inner.logs.get(&self.0.number);
        let later = log.into_iter().flat_map(|log| &log.events).filter(|kept| kept.number > event);
        later.map(|kept| kept.frame.clone()).collect()
    }
}
