//! One upstream over Streamable HTTP, in either era: legacy sessions, or stateless requests with their headers.

mod answer;
mod bearer;
mod hear;
mod http1_pool;
mod intra_task_waker;
mod means;
mod pool;
mod reader;
mod session;
mod target;
mod two_urls;

pub(super) use self::{hear::listen_filter, means::Means, two_urls::TwoUrls};
use self::{session::Session, target::Target};
use super::{
    call::Call,
    deps::Timing,
    dialect::Dialect,
    headers::value_as_header,
    inbox::{Inbox, Link, ServerResponse, Signals},
    refusal::{Cause, Failure, HttpRefusal},
    types::{Era, UpstreamError},
    wire,
    wiring::Wiring,
};
use crate::{
    model::{RetryPlan, RpcError, code, weight::weight_of},
    offload::{LARGE, Offload},
};
use arc_swap::ArcSwapOption;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Resumptions in a row that bring no event.
const RESUMES: u32 = 8;
/// For what nobody waits on: cancellations, replies, the end of a session.
const ASIDE: Duration = Duration::from_secs(5);

/// One MCP connection: a legacy session, or the stateless counterpart.
pub(super) struct Http {
    inbox: Inbox,
    reach: Target,
    session: ArcSwapOption<Session>,
    renewing: tokio::sync::Mutex<()>,
    declared: Value,
    dialects: [Dialect; 2],
    next: AtomicU64,
    max_result: u64,
    stop: CancellationToken,
    timing: Timing,
    offload: Arc<Offload>,
}

impl Drop for Http {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) enum Fault {
    /// The session is unknown over there; the request was not looked at.
    SessionGone,
    /// An error that names no request of ours, under a status that says the request was not understood.
    Unnamed(HttpRefusal, RpcError),
    /// The event stream of HTTP+SSE, which begins with an endpoint, in place of an answer.
    OlderTransport,
    Failed(UpstreamError),
}

impl Fault {
    /// What it is to a caller.
    pub(super) fn plain(self) -> UpstreamError {
        match self {
            Self::SessionGone => UpstreamError::Refused(HttpRefusal::bare(StatusCode::NOT_FOUND.as_u16())),
            Self::Unnamed(_, error) => UpstreamError::Rpc(error),
            Self::OlderTransport => {
                UpstreamError::Malformed("the event stream of HTTP+SSE (`transport = \"sse\"`)".to_owned())
            }
            Self::Failed(error) => error,
        }
    }

    fn code(&self) -> i64 {
        match self {
            Self::SessionGone => i64::from(StatusCode::NOT_FOUND.as_u16()),
            Self::Unnamed(_, error) => error.code,
            Self::OlderTransport => code::UPSTREAM_UNAVAILABLE,
            Self::Failed(error) => error.code(),
        }
    }

    /// What it is to those who look for the reason.
    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Unnamed(refusal, _) => UpstreamError::Refused(refusal).into(),
            other => other.plain().into(),
        }
    }

    /// Whether a server that knows no POST at this URL, since it speaks HTTP+SSE there, may have answered so. One that
    /// answered the request itself does not, and neither does one that asks who we are or to wait.
    pub(super) fn may_be_older(&self) -> bool {
        match self {
            Self::OlderTransport | Self::Unnamed(..) => true,
            Self::Failed(UpstreamError::Refused(refusal)) => {
                (400..500).contains(&refusal.status) && !matches!(refusal.status, 401 | 407 | 408 | 429)
            }
            Self::SessionGone | Self::Failed(_) => false,
        }
    }

    /// Which version of the sessions' era to offer instead, where this is about the one that was offered.
    fn version_instead(&self) -> Option<&'static str> {
        match self {
            Self::Unnamed(_, error) | Self::Failed(UpstreamError::Rpc(error)) => wire::version_instead(error),
            Self::SessionGone | Self::OlderTransport | Self::Failed(_) => None,
        }
    }
}

impl From<UpstreamError> for Fault {
    fn from(error: UpstreamError) -> Self {
        Self::Failed(error)
    }
}

impl Http {
    pub(super) fn new(
        wiring: &Wiring<'_>,
        url: &url::Url,
        headers: &BTreeMap<String, SecretString>,
        signals: Signals,
    ) -> Result<Arc<Self>, String> {
        let deps = wiring.deps;
        let reach = Target::new(wiring, url, headers)?;
        let dialect = |era, version| Dialect::new(era, version, &deps.client_name, &deps.client_version);
        Ok(Arc::new(Self {
            inbox: Inbox::new(
                wiring.config.name.clone(),
                signals,
                deps.redact.clone(),
                wiring.limits.clone(),
            ),
            reach,
            session: ArcSwapOption::empty(),
            renewing: tokio::sync::Mutex::new(()),
            declared: wiring.declared.clone(),
            dialects: [dialect(Era::Legacy, wire::LEGACY), dialect(Era::Modern, wire::MODERN)],
            next: AtomicU64::new(1),
            max_result: wiring.config.max_result_bytes,
            stop: CancellationToken::new(),
            timing: deps.timing.clone(),
            offload: deps.offload.clone(),
        }))
    }

    pub(super) fn signals(&self) -> &Signals {
        &self.inbox.signals
    }

    /// What is spoken, once that is known.
    pub(super) fn era(&self) -> Option<Era> {
        self.session.load().as_ref().map(|session| session.dialect.era)
    }

    /// In which version the session is, where there is one.
    pub(super) fn version_of_session(&self) -> Option<Arc<str>> {
        let session = self.session.load();
        let dialect = session.as_ref().map(|session| &session.dialect);
        dialect.filter(|dialect| dialect.era == Era::Legacy).map(|dialect| dialect.version.clone())
    }

    fn session_of(&self, dialect: Dialect, id: Option<HeaderValue>, with_version: bool) -> Arc<Session> {
        // With room for what each request adds, since each begins with a copy.
        let mut headers = HeaderMap::with_capacity(self.reach.headers.len() + 9);
        headers.extend(self.reach.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::ACCEPT, BOTH);
        if with_version && let Ok(version) = HeaderValue::from_str(&dialect.version) {
            headers.insert(VERSION, version);
        }
        if let Some(id) = &id {
            headers.insert(SESSION, id.clone());
        }
        Arc::new(Session::new(dialect, id, headers))
    }

    /// `server/discover`; on success the connection is modern.
    pub(super) async fn discover(self: &Arc<Self>, call: &Arc<Call>) -> Result<Value, Fault> {
        let [_, modern] = &self.dialects;
        let session = self.session_of(modern.clone(), None, true);
        let (value, _) = self.exchange(call, &session).await?;
        if value.get("supportedVersions").and_then(Value::as_array).is_some() {
            self.session.store(Some(session));
        }
        Ok(value)
    }

    /// `initialize` and `notifications/initialized`; on success the connection is legacy.
    pub(super) async fn initialize(self: &Arc<Self>, timeout: Duration) -> Result<Value, Fault> {
        let [legacy, _] = &self.dialects;
        let opening = self.session_of(legacy.clone(), None, false);
        let offer = async |dialect: &Dialect| {
            let call = Arc::new(Call::initialize(&self.declared, dialect, timeout));
            self.exchange(&call, &opening).await
        };
        let (result, id) = match offer(legacy).await {
            Err(fault) => match fault.version_instead() {
                Some(version) => offer(&Dialect { version: version.into(), ..legacy.clone() }).await?,
                None => return Err(fault),
            },
            Ok(opened) => opened,
        };
        let version = wire::legacy_version(&result).map_err(UpstreamError::Malformed)?;
        let dialect = Dialect { version: version.into(), ..legacy.clone() };
        let session = self.session_of(dialect, id, true);
        let ready = wire::notification("notifications/initialized", &json!({}));
        self.send_and_forget(Method::POST, &session, ready).await;
        self.inbox.new_session();
        self.session.store(Some(session));
        Ok(result)
    }

    /// Sends one request and waits for its answer. A lost session is renewed once without the caller noticing, where a
    /// repeat is safe. Dropping it tells the upstream.
    pub(super) async fn request(self: &Arc<Self>, call: &Arc<Call>) -> ServerResponse {
        let Some(mut session) = self.session.load_full() else {
            return Err(UpstreamError::NotSent("not connected".to_owned()));
        };
        if call.request.retry == RetryPlan::Never && session.is_doubtful(self.timing.silence) {
            session = Box::pin(self.standing(session)).await?;
        }
        match self.exchange(call, &session).await {
            Ok((value, _)) => Ok(value),
            Err(fault @ (Fault::Failed(_) | Fault::Unnamed(..) | Fault::OlderTransport)) => {
                Err(fault.plain())
            }
            Err(Fault::SessionGone) => {
                // That the request was not looked at is the upstream's word alone: from here on it may have acted.
                call.lose();
                let gone = || {
                    UpstreamError::Lost("the session is gone over there (HTTP status 404 or 400)".to_owned())
                };
                let renewed = Box::pin(self.renew(&session)).await;
                let (RetryPlan::Safe, Ok(session)) = (call.request.retry, renewed) else {
                    return Err(gone());
                };
                match self.exchange(call, &session).await {
                    Ok((value, _)) => Ok(value),
                    Err(Fault::Failed(UpstreamError::NotSent(_)) | Fault::SessionGone) => Err(gone()),
                    Err(fault @ (Fault::Failed(_) | Fault::Unnamed(..) | Fault::OlderTransport)) => {
                        Err(fault.plain())
                    }
                }
            }
        }
    }

    /// A session from which nothing was heard for a while may have ended meanwhile. What must not be sent twice waits
    /// until that is known: the session that stands, or a new one.
    async fn standing(self: &Arc<Self>, session: Arc<Session>) -> Result<Arc<Session>, UpstreamError> {
        let ping = Arc::new(Call::internal("ping", Map::new(), ASIDE));
        match tokio::time::timeout(ASIDE, self.exchange(&ping, &session)).await {
            Ok(Err(Fault::SessionGone)) => self.renew(&session).await.map_err(|error| match error {
                gone @ UpstreamError::NotSent(_) => gone,
                other => UpstreamError::NotSent(format!("the session is gone over there: {other}")),
            }),
            Ok(Err(Fault::Failed(gone @ UpstreamError::NotSent(_)))) => Err(gone),
            // Whatever else it says to a ping, the session is known; one that does not answer is not asked at every call.
            Ok(Ok(_) | Err(Fault::Failed(_) | Fault::Unnamed(..) | Fault::OlderTransport)) | Err(_) => {
                session.was_heard();
                Ok(session)
            }
        }
    }

    async fn renew(self: &Arc<Self>, stale: &Arc<Session>) -> Result<Arc<Session>, UpstreamError> {
        let _turn = self.renewing.lock().await;
        if let Some(session) = self.session.load_full()
            && !Arc::ptr_eq(&session, stale)
        {
            return Ok(session);
        }
        // One caller's requests may be what is answered so: that is no reason to open sessions without end.
        if !self.inbox.noise.may_renew() {
            return Err(Fault::SessionGone.plain());
        }
        if let Some(left_out) = self.inbox.may_log() {
            tracing::info!(upstream = %self.inbox.upstream, left_out, "the session is gone over there: a new one");
        }
        let started =
            tokio::time::timeout(self.timing.handshake, self.initialize(self.timing.handshake)).await;
        let failed = match started {
            Ok(Ok(_)) => None,
            Ok(Err(fault)) => Some(fault.failure().cause),
            Err(_) => Some("no answer to `initialize`".to_owned().into()),
        };
        if let Some(Cause { reason, said }) = failed {
            let reason = format!("the session cannot be renewed: {reason}");
            self.inbox.signals.close(Cause { reason, said });
            // Why is for those who run it: the upstream's words may be about anybody.
            return Err(UpstreamError::NotSent("the session cannot be renewed".to_owned()));
        }
        self.inbox.signals.renew();
        self.session.load_full().ok_or_else(|| UpstreamError::NotSent("not connected".to_owned()))
    }

    async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Vec<u8>,
        call: Option<&Call>,
    ) -> Result<Response<http1_pool::ResponseBody>, UpstreamError> {
        self.reach.send(method, headers, body, call).await.inspect_err(|error| {
            if let UpstreamError::NotSent(reason) = error {
                self.inbox.signals.close(reason.clone());
            }
        })
    }

    /// What nobody waits for.
    async fn send_and_forget(&self, method: Method, session: &Session, body: Vec<u8>) {
        let sent = tokio::time::timeout(ASIDE, self.send(method, session.headers.clone(), body, None)).await;
        match sent {
            Ok(Ok(response)) if !response.status().is_success() => {
                tracing::debug!(upstream = %self.inbox.upstream, status = response.status().as_u16(), "not accepted");
            }
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => {
                tracing::debug!(upstream = %self.inbox.upstream, "a message could not be delivered");
            }
        }
    }

    fn headers_for(call: &Call, session: &Session) -> HeaderMap {
        let mut headers = session.headers.clone();
        headers.extend(call.trace_headers());
        match session.dialect.era {
            Era::Legacy => {}
            Era::Modern => {
                headers.insert(METHOD, HeaderValue::from_static(call.request.method));
                let name = match call.request.method {
                    "tools/call" | "prompts/get" => call.request.params.get("name"),
                    "resources/read" => call.request.params.get("uri"),
                    "tasks/get" | "tasks/update" | "tasks/cancel" => call.request.params.get("taskId"),
                    _ => None,
                };
                let encoded = name.and_then(Value::as_str).map(value_as_header);
                if let Some(value) = encoded.and_then(|text| HeaderValue::try_from(text).ok()) {
                    headers.insert(NAME, value);
                }
                for (name, text) in &call.request.param_headers {
                    let key = HeaderName::try_from(format!("mcp-param-{name}"));
                    let value = HeaderValue::try_from(value_as_header(text));
                    if let (Ok(key), Ok(value)) = (key, value) {
                        headers.insert(key, value);
                    }
                }
            }
        }
        headers
    }

    /// The body of a request; a large one is written where it holds up nobody else.
    async fn written(&self, id: u64, call: &Arc<Call>, session: &Session) -> Vec<u8> {
        if !call.from_agent || weight_of(&call.request.params, LARGE) <= LARGE {
            return wire::request(id, call, &session.dialect);
        }
        let (large, dialect) = (call.clone(), session.dialect.clone());
        let work = move || wire::request(id, &large, &dialect);
        Box::pin(self.offload.finish(&call.request.caller.agent, work)).await
    }

    async fn exchange(
        self: &Arc<Self>,
        call: &Arc<Call>,
        session: &Arc<Session>,
    ) -> Result<(Value, Option<HeaderValue>), Fault> {
        let measured = self.inbox.signals.own.begin(call);
        let answer = self.ask(call, session).await;
        if let Some(measured) = measured {
            measured.end(answer.as_ref().err().map(Fault::code));
        }
        answer
    }

    async fn ask(
        self: &Arc<Self>,
        call: &Arc<Call>,
        session: &Arc<Session>,
    ) -> Result<(Value, Option<HeaderValue>), Fault> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let body = self.written(id, call, session).await;
        let headers = Self::headers_for(call, session);
        self.inbox.register(id, call);
        let mut pending = Pending { http: self, session, id, method: call.request.method, waits: true };
        let outcome = self.answer(id, call, session, headers, body).await;
        pending.waits = false;
        if outcome.is_ok() && session.id.is_some() {
            session.was_heard();
        }
        match &outcome {
            Ok(_)
            | Err(
                Fault::Failed(UpstreamError::Rpc(_))
                | Fault::Unnamed(..)
                | Fault::OlderTransport
                | Fault::SessionGone,
            ) => self.inbox.done(id),
            Err(Fault::Failed(UpstreamError::Refused(refusal))) if !refusal.is_failure() => {
                self.inbox.done(id);
            }
            Err(Fault::Failed(UpstreamError::NotSent(_))) => {
                self.inbox.done(id);
                call.set_sent(false);
            }
            // Whether it goes on over there is not known.
            Err(Fault::Failed(_)) => {}
        }
        outcome
    }

    async fn get(
        &self,
        session: &Session,
        last: Option<HeaderValue>,
    ) -> Result<Response<http1_pool::ResponseBody>, UpstreamError> {
        let mut headers = session.headers.clone();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::ACCEPT, EVENTS);
        if let Some(last) = last {
            headers.insert(LAST_EVENT, last);
        }
        self.send(Method::GET, headers, Vec::new(), None).await
    }

    /// Hears what the upstream says by itself, for as long as this connection lives: over the GET stream (legacy)
    /// or `subscriptions/listen` (modern, whose filter follows `watched`).
    /// The legacy stream stands, or is known not to, when the returned end is dropped.
    pub(super) fn listen(
        self: &Arc<Self>,
        capabilities: Value,
        watched: watch::Receiver<BTreeSet<String>>,
    ) -> oneshot::Receiver<()> {
        let (standing, stands) = oneshot::channel();
        let Some(session) = self.session.load_full() else { return stands };
        let stop = self.stop.clone();
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            let hearing = async move {
                match session.dialect.era {
                    Era::Legacy => hear::hear_legacy(weak, standing).await,
                    Era::Modern => hear::hear_modern(weak, capabilities, watched).await,
                }
            };
            tokio::select! {
                () = hearing => {}
                () = stop.cancelled() => {}
            }
        });
        stands
    }

    /// Ends the legacy session over there.
    pub(super) async fn close(&self) {
        self.inbox.signals.end();
        self.stop.cancel();
        if let Some(session) = self.session.swap(None)
            && session.id.is_some()
        {
            self.send_and_forget(Method::DELETE, &session, Vec::new()).await;
        }
    }
}

impl Link for Http {
    fn post(self: Arc<Self>, message: Vec<u8>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if let Some(session) = self.session.load_full() {
                self.send_and_forget(Method::POST, &session, message).await;
            }
        })
    }
}

/// One request in flight: a legacy upstream is told when nobody waits any more; a modern one sees its stream close.
struct Pending<'a> {
    http: &'a Arc<Http>,
    session: &'a Arc<Session>,
    id: u64,
    method: &'static str,
    waits: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.http.inbox.forget(self.id);
        if self.waits && self.session.dialect.era == Era::Legacy && self.method != "initialize" {
            let (http, session, message) =
                (self.http.clone(), self.session.clone(), wire::cancelled(self.id));
            self.http
                .inbox
                .spawn_sending(async move { http.send_and_forget(Method::POST, &session, message).await });
        }
    }
}
