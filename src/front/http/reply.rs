//! Writing replies: one JSON object where nothing comes before the answer, a stream of events where something does.

use super::{
    Limits,
    resume::{self, Opening},
};
use crate::{
    front::{
        exchange::{Event, Exchange},
        message,
        modern::{ClientResponse, Refusal},
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
    /// It rather has a stream: it says so by a higher `q`, or names it first.
    pub(super) prefers_events: bool,
}

/// How much a client wants a type: how exactly it names it, and then with which `q` and how early.
#[derive(Clone, Copy, Default)]
struct Wish {
    exactness: u8,
    thousandths: u16,
    place: usize,
}

impl Wish {
    fn take(&mut self, exactness: u8, thousandths: u16, place: usize) {
        if exactness > self.exactness {
            *self = Self { exactness, thousandths, place };
        }
    }

    fn before(self, other: Self) -> bool {
        (self.thousandths, other.place) > (other.thousandths, self.place)
    }
}

/// `q` in thousandths; what cannot be read counts as nothing said.
fn quality(parameters: &[u8]) -> u16 {
    let mut parameters = parameters.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let q = parameters.find_map(|p| p.strip_prefix(b"q=").or_else(|| p.strip_prefix(b"Q=")));
    let q = q.and_then(|q| std::str::from_utf8(q).ok()).and_then(|q| q.split_once('.').or(Some((q, ""))));
    match q {
        Some(("0", rest)) if rest.len() <= 3 && rest.bytes().all(|digit| digit.is_ascii_digit()) => {
            format!("{rest:0<3}").parse().unwrap_or(1000)
        }
        Some(_) | None => 1000,
    }
}

impl Accepts {
    /// From `Accept`; without one everything is taken but a stream, which only those get who say so.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let (mut json, mut events) = (Wish::default(), Wish::default());
        let mut place = 0;
        for value in headers.get_all(header::ACCEPT) {
            for item in value.as_bytes().split(|byte| *byte == b',') {
                place += 1;
                let at = item.iter().position(|byte| *byte == b';').unwrap_or(item.len());
                let (name, parameters) = item.split_at_checked(at).unwrap_or((item, b""));
                let name = name.trim_ascii();
                let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
                let (for_json, for_events) = match () {
                    () if is(b"application/json") => (3, 0),
                    () if is(b"text/event-stream") => (0, 3),
                    () if is(b"application/*") => (2, 0),
                    () if is(b"text/*") => (0, 2),
                    () if is(b"*/*") => (1, 1),
                    () => continue,
                };
                let thousandths = quality(parameters);
                json.take(for_json, thousandths, place);
                events.take(for_events, thousandths, place);
            }
        }
        let takes_events = events.thousandths > 0;
        let takes_json = json.thousandths > 0 || place == 0;
        let prefers_events = takes_events && (!takes_json || events.before(json));
        Self { json: takes_json, events: takes_events, prefers_events }
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

/// A stream of events, kept alive with comments.
pub(super) fn events<S>(stream: S, first: Option<Bytes>, every: Duration) -> Response
where
    S: Stream<Item = Bytes> + Send + 'static,
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

/// A message as an event without an id.
pub(super) fn event(message: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(message.len() + 24);
    event.extend_from_slice(b"event: message\ndata: ");
    event.extend_from_slice(message);
    event.extend_from_slice(b"\n\n");
    Bytes::from(event)
}

const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// An answer that is there already.
pub(super) fn whole(answer: ClientResponse, accepts: Accepts, limits: &Limits) -> Response {
    if !accepts.prefers_events || answer.status != StatusCode::OK {
        json(answer.status, answer.body)
    } else {
        events(futures::stream::empty(), Some(event(&answer.body)), limits.keep_alive)
    }
}

/// Answers with whichever form is needed, decided by what comes first. A stream of a session can be taken up again.
pub(super) async fn exchange(
    mut exchange: Exchange,
    accepts: Accepts,
    limits: &Limits,
    opening: Option<Opening>,
) -> Response {
    let resumable = opening.is_some();
    let stream = |exchange: Exchange, message: Option<&[u8]>| match opening {
        Some(opening) => {
            let (first, stream) = resume::carry(opening, exchange, message, limits);
            events(stream, Some(first), limits.keep_alive)
        }
        None => {
            let first = message.map_or(COMMENT, event);
            events(Answering { exchange: Some(exchange) }, Some(first), limits.keep_alive)
        }
    };
    if accepts.prefers_events && resumable {
        return stream(exchange, None);
    }
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
        Some(Event::Message(message)) => stream(exchange, Some(&message)),
        None => stream(exchange, None),
    }
}

/// An exchange as the messages of its stream.
struct Answering {
    exchange: Option<Exchange>,
}

impl Stream for Answering {
    type Item = Bytes;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(exchange) = &mut self.exchange else { return Poll::Ready(None) };
        match ready!(exchange.poll_event(cx)) {
            Event::Message(message) => Poll::Ready(Some(event(&message))),
            Event::End(answer) => {
                self.exchange = None;
                Poll::Ready(answer.map(|answer| event(&answer.body)))
            }
        }
    }
}

struct Events {
    stream: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
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
            Poll::Ready(Some(event)) => event,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110, section 12.5.1: `q` decides, a name goes before a wildcard; where all is equal, what is named first.
    #[test]
    fn what_a_client_accepts() {
        let check = |accept: &[&'static str], json: bool, events: bool, prefers_events: bool| {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(value));
            }
            assert_eq!(Accepts::read(&headers), Accepts { json, events, prefers_events }, "{accept:?}");
        };
        check(&[], true, false, false);
        check(&["application/json, text/event-stream"], true, true, false);
        check(&["text/event-stream, application/json"], true, true, true);
        check(&["Text/Event-Stream", "application/json"], true, true, true);
        check(&["*/*"], true, true, false);
        check(&["text/event-stream"], false, true, true);
        check(&["text/html"], false, false, false);
        check(&["text/event-stream;q=0.5, application/json"], true, true, false);
        check(&["application/json; q=0.5, text/event-stream;q=0.501"], true, true, true);
        check(&["application/json;q=0, */*"], false, true, true);
        check(&["application/json, text/event-stream;q=0.000"], true, false, false);
        check(&["application/json;q=x, text/event-stream;q=7"], true, true, false);
    }
}
