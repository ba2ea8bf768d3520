//! One upstream over HTTP+SSE as 2024-11-05 has it: an event stream on which everything comes, and another URL, told on
//! that stream, to which everything is sent.
//!
//! The session is the stream. Where it breaks, what was in flight is lost, and a new one is opened before anybody is told
//! that the upstream is down.

use super::{
    ASIDE, BOTH, EVENTS, JSON, VERSION,
    answer::RpcErrors,
    http1_pool,
    reader::{ReadError, Reader, body_of_refusal, is_events, whole},
    target::Target,
};
use crate::upstream::{
    call::{Call, LARGEST_PAGE},
    deps::Timing,
    dialect::Dialect,
    inbox::{Inbox, Link, ServerResponse, Signals},
    refusal::{Cause, Failure},
    sse::{Event, Kind},
    types::{Era, UpstreamError},
    wire::{self, Message},
    wiring::Wiring,
};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, task::AbortHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The longest endpoint.
const LONGEST_ENDPOINT: usize = 4096;
/// How much is read of what a server says to a POST beside its status.
const ACKNOWLEDGEMENT: u64 = 64 * 1024;
/// How long a POST may take at most to be acknowledged.
const LONGEST_POST: Duration = Duration::from_secs(3_600);

/// One connection.
pub(in crate::upstream) struct TwoUrls {
    inbox: Inbox,
    url: url::Url,
    reach: Target,
    /// None while it is opened again.
    stream: watch::Sender<Option<Arc<Stream>>>,
    declared: Value,
    dialect: Dialect,
    next: AtomicU64,
    max_result: u64,
    stop: CancellationToken,
    timing: Timing,
}

impl Drop for TwoUrls {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// One event stream, and where to send what.
#[derive(Clone)]
struct Stream {
    post: Arc<Target>,
    headers: HeaderMap,
    dialect: Dialect,
    ended: CancellationToken,
    /// Nobody reads the stream any longer than somebody has this.
    _reading: Arc<DropGuard>,
}

impl TwoUrls {
    /// Connects and shakes hands. The error has no URL in it.
    pub(in crate::upstream) async fn open(
        wiring: &Wiring<'_>,
        url: &url::Url,
        headers: &BTreeMap<String, SecretString>,
        signals: Signals,
    ) -> Result<(Arc<Self>, Value), Failure> {
        let deps = wiring.deps;
        let two = Arc::new(Self {
            inbox: Inbox::new(
                wiring.config.name.clone(),
                signals,
                deps.redact.clone(),
                wiring.limits.clone(),
            ),
            url: url.clone(),
            reach: Target::new(wiring, url, headers)?,
            stream: watch::Sender::new(None),
            declared: wiring.declared.clone(),
            dialect: Dialect::new(Era::Legacy, wire::LEGACY, &deps.client_name, &deps.client_version),
            next: AtomicU64::new(1),
            max_result: wiring.config.max_result_bytes,
            stop: CancellationToken::new(),
            timing: deps.timing.clone(),
        });
        let result = two.begin().await?;
        Ok((two, result))
    }

    pub(in crate::upstream) fn signals(&self) -> &Signals {
        &self.inbox.signals
    }

    /// In which version the session is, once there is one.
    pub(in crate::upstream) fn version(&self) -> Option<Arc<str>> {
        self.stream.borrow().as_ref().map(|stream| stream.dialect.version.clone())
    }

    /// Opens a stream, learns the endpoint, and shakes hands over both.
    async fn begin(self: &Arc<Self>) -> Result<Value, Failure> {
        let limit = self.timing.handshake;
        let shaken = tokio::time::timeout(limit, async {
            let mut headers = self.reach.headers.clone();
            headers.insert(header::ACCEPT, EVENTS);
            let response = self.reach.send(Method::GET, headers, Vec::new(), None).await;
            let response = response?;
            if !is_events(&response) {
                return Err(self.no_stream(response).await);
            }
            let most = self.max_result.max(LARGEST_PAGE);
            let mut reader = Reader::new(response.into_body(), most, &self.inbox.noise);
            let post = self.endpoint(&mut reader).await?;
            let mut headers = post.headers.clone();
            headers.insert(header::CONTENT_TYPE, JSON);
            headers.insert(header::ACCEPT, BOTH);
            let ended = CancellationToken::new();
            let reading = self.stop.child_token();
            let guard = Arc::new(reading.clone().drop_guard());
            let (dialect, post) = (self.dialect.clone(), Arc::new(post));
            let opening = Stream { post, headers, dialect, ended: ended.clone(), _reading: guard };
            tokio::spawn(read(Arc::downgrade(self), reader, reading, ended));
            self.shake_hands(Arc::new(opening)).await
        });
        shaken.await.unwrap_or_else(|_| {
            Err(format!("no event stream and handshake within {}", humantime::format_duration(limit)).into())
        })
    }

    /// What came in place of an event stream.
    async fn no_stream(&self, response: Response<http1_pool::ResponseBody>) -> Failure {
        let (head, body) = response.into_parts();
        let status = head.status;
        if status.is_success() {
            return format!("HTTP status {status} and no event stream").into();
        }
        let body = body_of_refusal(body, ACKNOWLEDGEMENT).await;
        let refused = Failure::from(UpstreamError::Refused(self.reach.refusal(&head, &body)));
        refused.reworded(|why| format!("no event stream: {why}"))
    }

    /// The URL that the first event names: on the origin that the configuration names, and nowhere else, for what is sent
    /// there has the configured headers with it.
    async fn endpoint(&self, reader: &mut Reader) -> Result<Target, String> {
        let first = loop {
            match reader.next().await {
                Ok(Some(event)) if event.kind == Kind::Endpoint && event.skipped.is_none() => {
                    break event.data;
                }
                Ok(Some(event)) if event.message().is_none() && event.skipped.is_none() => {
                    self.inbox.noise.heard(event.data.len()).await;
                }
                Ok(Some(_)) | Err(ReadError::TooLong) => {
                    return Err("its first event is not `endpoint`".to_owned());
                }
                Ok(None) | Err(ReadError::Broken) => {
                    return Err("the event stream ended before it named an endpoint".to_owned());
                }
            }
        };
        let text = std::str::from_utf8(&first).ok().filter(|text| text.len() <= LONGEST_ENDPOINT);
        let url = text.and_then(|text| self.url.join(text.trim()).ok());
        let url = url.ok_or_else(|| "the endpoint it names is no URL".to_owned())?;
        if url.origin() != self.url.origin() {
            return Err("the endpoint it names is on another origin: nothing is sent there".to_owned());
        }
        self.reach.beside(&url)
    }

    async fn shake_hands(self: &Arc<Self>, opening: Arc<Stream>) -> Result<Value, Failure> {
        let offer = async |dialect: &Dialect| {
            let call = Arc::new(Call::initialize(&self.declared, dialect, self.timing.handshake));
            self.exchange(&call, &opening).await
        };
        let result = match offer(&self.dialect).await {
            Err(UpstreamError::Rpc(error)) => match wire::version_instead(&error) {
                Some(version) => offer(&Dialect { version: version.into(), ..self.dialect.clone() }).await?,
                None => return Err(UpstreamError::Rpc(error).into()),
            },
            answered => answered?,
        };
        let version = wire::legacy_version(&result)?;
        let mut stream = Stream::clone(&opening);
        stream.dialect.version = version.into();
        // Servers of before 2025-06-18 know no such header.
        if version >= "2025-06-18" {
            stream.headers.insert(VERSION, HeaderValue::from_static(version));
        }
        let ready = wire::notification("notifications/initialized", &json!({}));
        self.send_and_forget(&stream, ready).await;
        self.stream.send_replace(Some(Arc::new(stream)));
        // Had it ended before, nobody would have seen it in use.
        if opening.ended.is_cancelled() {
            return Err("the event stream ended at once".to_owned().into());
        }
        Ok(result)
    }

    /// The stream to be used; where it is being opened again, after that.
    async fn stream(&self) -> Result<Arc<Stream>, UpstreamError> {
        let usable = |stream: &Option<Arc<Stream>>| stream.as_ref().is_some_and(|s| !s.ended.is_cancelled());
        let mut streams = self.stream.subscribe();
        tokio::select! {
            biased;
            stream = streams.wait_for(usable) => {
                let gone = || UpstreamError::NotSent("the event stream is gone".to_owned());
                stream.ok().and_then(|stream| stream.clone()).ok_or_else(gone)
            }
            cause = self.inbox.signals.closed() => Err(UpstreamError::NotSent(cause.reason.clone())),
        }
    }

    /// Sends one request and waits for its answer. Dropping it tells the upstream.
    pub(in crate::upstream) async fn request(self: &Arc<Self>, call: &Arc<Call>) -> ServerResponse {
        let stream = self.stream().await?;
        self.exchange(call, &stream).await
    }

    async fn exchange(self: &Arc<Self>, call: &Arc<Call>, stream: &Arc<Stream>) -> ServerResponse {
        let measured = self.inbox.signals.own.begin(call);
        let answer = self.ask(call, stream).await;
        if let Some(measured) = measured {
            measured.end(answer.as_ref().err().map(UpstreamError::code));
        }
        answer
    }

    async fn ask(self: &Arc<Self>, call: &Arc<Call>, stream: &Arc<Stream>) -> ServerResponse {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let body = wire::request(id, call, &stream.dialect);
        let mut headers = stream.headers.clone();
        headers.extend(call.trace_headers());
        let answer = self.inbox.expect(id, call);
        let cancellable = call.request.method != "initialize";
        let mut pending = Pending { two: self, stream, id, cancellable, posting: None };
        // Whoever marked the stream as ended has failed, or will not fail, what was expected by then.
        if stream.ended.is_cancelled() {
            // It was never asked, so there is nothing to take back.
            self.inbox.done(id);
            return Err(UpstreamError::NotSent("the event stream is gone".to_owned()));
        }
        call.set_sent(true);
        // The answer may come before the POST is acknowledged, and must not wait for that.
        let patience = call.request.timeout.min(LONGEST_POST);
        let posting = tokio::spawn(self.clone().post(stream.clone(), headers, body, id, patience));
        pending.posting = Some(posting.abort_handle());
        let outcome = answer.await;
        drop(pending);
        let outcome =
            outcome.unwrap_or_else(|_| Err(UpstreamError::Lost("the event stream is gone".to_owned())));
        if let Err(UpstreamError::NotSent(_)) = &outcome {
            call.set_sent(false);
        }
        outcome
    }

    /// Sends a request; only that it was not taken is of interest.
    async fn post(
        self: Arc<Self>,
        stream: Arc<Stream>,
        headers: HeaderMap,
        body: Vec<u8>,
        id: u64,
        patience: Duration,
    ) {
        let posting = async {
            let response = stream.post.send(Method::POST, headers, body, None).await?;
            let (head, body) = response.into_parts();
            let status = head.status;
            if status.is_success() {
                // Read to its end, so that the connection can serve again.
                drop(whole(body, ACKNOWLEDGEMENT).await);
                return Ok(());
            }
            let body = body_of_refusal(body, ACKNOWLEDGEMENT).await;
            let refusal = stream.post.refusal(&head, &body);
            Err(match status {
                // The session is unknown over there, where it is so for a request that is nobody's, too. That this one was
                // not looked at is the server's word alone: it is lost, and sent again only where a repeat is safe.
                StatusCode::NOT_FOUND | StatusCode::GONE if !self.is_known(&stream).await => {
                    stream.ended.cancel();
                    UpstreamError::Lost(format!("HTTP status {status}: the session is gone over there"))
                }
                _ => match RpcErrors::of(id, &body, self.max_result, &self.reach.own()).named {
                    Some(error) if !refusal.is_about_the_caller() => UpstreamError::Rpc(error),
                    Some(_) | None => UpstreamError::Refused(refusal),
                },
            })
        };
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(patience, posting) => outcome,
            () = self.stop.cancelled() => return,
        };
        if let Ok(Err(error)) = outcome {
            if let UpstreamError::Refused(refusal) = &error
                && let Some(left_out) = self.inbox.may_log()
            {
                let (upstream, cause) = (&self.inbox.upstream, refusal.cause());
                tracing::warn!(%upstream, cause, left_out, "a request was refused");
                tracing::debug!(%upstream, said = &*refusal.said, "what it said");
            }
            self.inbox.deliver(id, Err(error));
        }
    }

    /// Whether the server still takes what is sent on a stream's session.
    async fn is_known(&self, stream: &Stream) -> bool {
        let ping = Call::internal("ping", Map::new(), ASIDE);
        let body = wire::request(self.next.fetch_add(1, Ordering::Relaxed), &ping, &stream.dialect);
        let sent = stream.post.send(Method::POST, stream.headers.clone(), body, None);
        let answered = tokio::time::timeout(ASIDE, sent).await;
        matches!(&answered, Ok(Ok(response)) if response.status().is_success())
    }

    /// What nobody waits for.
    async fn send_and_forget(&self, stream: &Stream, message: Vec<u8>) {
        let sent = tokio::time::timeout(
            ASIDE,
            stream.post.send(Method::POST, stream.headers.clone(), message, None),
        )
        .await;
        if !matches!(&sent, Ok(Ok(response)) if response.status().is_success()) {
            tracing::debug!(upstream = %self.inbox.upstream, "a message could not be delivered");
        }
    }

    /// Whether the event answered a request.
    fn heard(self: &Arc<Self>, event: &Event) -> bool {
        if let Some(id) = event.skipped {
            return self.too_large(id);
        }
        let Some(data) = event.message() else { return false };
        let mut answers = false;
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        for message in self.reach.own().read(data, self.max_result) {
            match message {
                Message::Response { id: Some(id), outcome } => {
                    let limit = self.inbox.largest_answer(id, self.max_result);
                    if limit.is_some_and(|limit| length > limit.saturating_add(wire::ENVELOPE)) {
                        answers |= self.too_large(Some(id));
                    } else {
                        answers |= self.inbox.deliver(id, outcome.map_err(UpstreamError::Rpc));
                    }
                }
                Message::Response { id: None, outcome } => {
                    let code = outcome.err().map_or(0, |error| error.code);
                    if let Some(left_out) = self.inbox.may_log() {
                        tracing::warn!(upstream = %self.inbox.upstream, code, left_out, "an answer without an id");
                    }
                }
                Message::Unreadable { answers: id, reason } => {
                    if let Some(left_out) = self.inbox.may_log() {
                        tracing::warn!(upstream = %self.inbox.upstream, reason, left_out, "an event that is not a message");
                    }
                    answers |= self.inbox.unreadable(id, reason, data.len());
                }
                other @ (Message::Request { .. } | Message::Notification { .. }) => {
                    self.inbox.take(self, other, None);
                }
            }
        }
        answers
    }

    /// Whether it would have answered a request.
    fn too_large(&self, id: Option<u64>) -> bool {
        let limit = self.inbox.largest_of(id, self.max_result);
        if let Some(left_out) = self.inbox.may_log() {
            tracing::warn!(upstream = %self.inbox.upstream, limit, left_out, "an event is too large");
        }
        id.is_some_and(|id| self.inbox.deliver(id, Err(UpstreamError::TooLarge(limit))))
    }

    /// The stream that was in use has ended.
    fn renew(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if !self.inbox.noise.may_renew() {
                return self.inbox.signals.close("its event stream ends again and again".to_owned());
            }
            if let Some(left_out) = self.inbox.may_log() {
                tracing::info!(upstream = %self.inbox.upstream, left_out, "the event stream ended: a new one");
            }
            let begun = tokio::select! {
                begun = self.begin() => begun,
                () = self.stop.cancelled() => return,
            };
            match begun {
                Ok(_) => self.inbox.signals.renew(),
                Err(Failure { cause: Cause { reason, said }, .. }) => {
                    let reason = format!("the event stream ended and cannot be opened again: {reason}");
                    self.inbox.signals.close(Cause { reason, said });
                }
            }
        })
    }

    /// Ends the stream, and with it the session over there.
    pub(in crate::upstream) fn close(&self) {
        self.inbox.signals.end();
        self.stop.cancel();
        self.stream.send_replace(None);
    }
}

/// Reads a stream to its end, and sees to what follows that.
async fn read(weak: Weak<TwoUrls>, mut reader: Reader, reading: CancellationToken, ended: CancellationToken) {
    loop {
        let next = tokio::select! {
            biased;
            () = reading.cancelled() => return,
            () = ended.cancelled() => break,
            next = reader.next() => next,
        };
        let Some(two) = weak.upgrade() else { return };
        match next {
            Ok(Some(event)) => {
                if !two.heard(&event) {
                    let noise = two.inbox.noise.clone();
                    drop(two);
                    noise.heard(event.data.len()).await;
                }
            }
            // It is told of again at its end, with whom it would have answered.
            Err(ReadError::TooLong) => {}
            Ok(None) | Err(ReadError::Broken) => break,
        }
    }
    ended.cancel();
    let Some(two) = weak.upgrade() else { return };
    // One that was never in use fails its handshake, and nothing else.
    let was_in_use = two.stream.send_if_modified(|stream| {
        let ours = stream.as_ref().is_some_and(|stream| stream.ended.is_cancelled());
        if ours {
            *stream = None;
        }
        ours
    });
    two.inbox.fail_all(&UpstreamError::Lost("the event stream ended before the answer".to_owned()));
    if was_in_use && two.inbox.signals.closed_reason().is_none() {
        two.renew().await;
    }
}

impl Link for TwoUrls {
    fn post(self: Arc<Self>, message: Vec<u8>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let stream = self.stream.borrow().clone();
            if let Some(stream) = stream {
                self.send_and_forget(&stream, message).await;
            }
        })
    }
}

/// One request in flight: tells the upstream when nobody waits any more.
struct Pending<'a> {
    two: &'a Arc<TwoUrls>,
    stream: &'a Arc<Stream>,
    id: u64,
    cancellable: bool,
    /// Sends it; nobody waits for the acknowledgement of what is given up.
    posting: Option<AbortHandle>,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let unanswered = self.two.inbox.forget(self.id);
        if let Some(posting) = self.posting.take().filter(|_| unanswered) {
            posting.abort();
        }
        if unanswered && self.cancellable {
            let (two, stream, message) = (self.two.clone(), self.stream.clone(), wire::cancelled(self.id));
            self.two.inbox.spawn_sending(async move { two.send_and_forget(&stream, message).await });
        }
    }
}
