//! Writing replies: one JSON object where nothing comes before the answer, a stream of events where something does.

use super::Limits;
use crate::{
    front::{
        exchange::{Event, Exchange},
        message,
        modern::{Answer, Refusal},
    },
    model::RpcError,
};
use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures::stream::Stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body as HttpBody, Frame};
use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// What a client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepts {
    /// `application/json`
    pub(super) json: bool,
    /// `text/event-stream`
    pub(super) events: bool,
}

impl Accepts {
    /// From `Accept`; without one everything is taken but a stream, which only those get who say so.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let mut accepts = Self { json: false, events: false };
        let mut any = false;
        for value in headers.get_all(header::ACCEPT) {
            for item in value.as_bytes().split(|byte| *byte == b',') {
                any = true;
                let name = item.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
                let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
                accepts.json |= is(b"application/json") || is(b"application/*") || is(b"*/*");
                accepts.events |= is(b"text/event-stream") || is(b"text/*") || is(b"*/*");
            }
        }
        accepts.json |= !any;
        accepts
    }
}

/// A JSON body.
pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An error that belongs to no request.
pub(super) fn error(status: StatusCode, code: i64, text: impl Into<String>) -> Response {
    json(status, message::failure(None, &RpcError::new(code, text)))
}

/// An error of a request.
pub(super) fn refusal(id: Option<&message::Id>, refusal: &Refusal) -> Response {
    json(refusal.status, message::failure(id, &refusal.error))
}

/// A stream of messages, kept alive with comments.
pub(super) fn events<S>(stream: S, first: Option<Bytes>, every: Duration) -> Response
where
    S: Stream<Item = Vec<u8>> + Send + 'static,
{
    let body = Events { stream: Box::pin(stream), first, every, pause: Box::pin(sleep(every)), ended: false };
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, EVENTS);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies must hand on every event as it comes.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn event(message: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(message.len() + 24);
    event.extend_from_slice(b"event: message\ndata: ");
    event.extend_from_slice(message);
    event.extend_from_slice(b"\n\n");
    Bytes::from(event)
}

const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// An answer that is there already.
pub(super) fn whole(answer: Answer, accepts: Accepts, limits: &Limits) -> Response {
    if accepts.json || answer.status != StatusCode::OK {
        json(answer.status, answer.body)
    } else {
        events(futures::stream::empty(), Some(event(&answer.body)), limits.keep_alive)
    }
}

/// Answers with whichever form is needed, decided by what comes first.
pub(super) async fn exchange(mut exchange: Exchange, accepts: Accepts, limits: &Limits) -> Response {
    let mut early: Option<Pin<Box<Sleep>>> = None;
    let first = poll_fn(|cx| {
        if let Poll::Ready(event) = exchange.poll_event(cx) {
            return Poll::Ready(Some(event));
        }
        if !accepts.events {
            return Poll::Pending;
        }
        let early = early.get_or_insert_with(|| Box::pin(sleep(limits.first_keep_alive)));
        early.as_mut().poll(cx).map(|()| None)
    })
    .await;
    match first {
        Some(Event::End(Some(answer))) => whole(answer, accepts, limits),
        // A cancelled request gets no answer.
        Some(Event::End(None)) if accepts.events => events(futures::stream::empty(), None, limits.keep_alive),
        Some(Event::End(None)) => empty(StatusCode::ACCEPTED),
        Some(Event::Message(message)) => {
            events(Answering { exchange: Some(exchange) }, Some(event(&message)), limits.keep_alive)
        }
        None => events(Answering { exchange: Some(exchange) }, Some(COMMENT), limits.keep_alive),
    }
}

/// An exchange as the messages of its stream.
struct Answering {
    exchange: Option<Exchange>,
}

impl Stream for Answering {
    type Item = Vec<u8>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        let Some(exchange) = &mut self.exchange else { return Poll::Ready(None) };
        match ready!(exchange.poll_event(cx)) {
            Event::Message(message) => Poll::Ready(Some(message)),
            Event::End(answer) => {
                self.exchange = None;
                Poll::Ready(answer.map(|answer| answer.body))
            }
        }
    }
}

struct Events {
    stream: Pin<Box<dyn Stream<Item = Vec<u8>> + Send>>,
    first: Option<Bytes>,
    every: Duration,
    pause: Pin<Box<Sleep>>,
    ended: bool,
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        let next = match this.stream.as_mut().poll_next(cx) {
            Poll::Ready(Some(message)) => event(&message),
            Poll::Ready(None) => {
                this.ended = true;
                return Poll::Ready(None);
            }
            Poll::Pending => {
                ready!(this.pause.as_mut().poll(cx));
                COMMENT
            }
        };
        this.pause.as_mut().reset(Instant::now() + this.every);
        Poll::Ready(Some(Ok(Frame::data(next))))
    }
}
