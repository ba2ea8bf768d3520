//! A POST: one message, or a batch of 2025-03-26, and its reply.

use super::{
    Front, Limits, SESSION, Settings, body,
    body::{Unread, Weight},
    busy,
    principal_quota::{Busy, PrincipalQuota, Session, Slot},
    reply::{self, Accepts},
    resume::Opening,
};
use crate::{
    front::{
        BATCH_VERSION, LEGACY_VERSIONS, MODERN_VERSION, PRIMING_VERSION,
        answer::Unread as NotRead,
        client::Outbox,
        conversation::{Conversation, Hello},
        exchange::{self, Exchange},
        headers, listen,
        message::{self, Document, Malformed, Message, Notification, Request},
        modern::{self, ClientResponse, Declared, Method, Refusal},
    },
    identity::Principal,
    model::{RpcError, code},
    telemetry::{Session as Lasting, Transport, Wire},
};
use axum::response::Response;
use bytes::Bytes;
use futures::stream::StreamExt as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Body;
use serde_json::{Map, Value};
use std::sync::{Arc, atomic::Ordering};

/// What a request holds until it is answered.
struct Held {
    _slot: Slot,
    _weight: Weight,
}

/// Reads a POST and replies.
pub(super) async fn post<B>(
    front: &Arc<Front>,
    settings: &Settings,
    principal: Principal,
    standing: &Arc<PrincipalQuota>,
    slot: Slot,
    request: http::Request<B>,
) -> Response
where
    B: Body<Data = Bytes> + Send + Unpin,
{
    let (parts, body) = request.into_parts();
    if !is_json(&parts.headers) {
        let text = "`Content-Type` must be `application/json`";
        return reply::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, code::INVALID_REQUEST, text);
    }
    let accepts = Accepts::read(&parts.headers);
    if !accepts.json && !accepts.events {
        let text = "`Accept` must name `application/json` and `text/event-stream`";
        return reply::error(StatusCode::NOT_ACCEPTABLE, code::INVALID_REQUEST, text);
    }
    let (bytes, weight) = match body::read(body, &settings.limits, standing, &settings.bodies).await {
        Ok(read) => read,
        Err(unread) => return unreadable(unread, settings.limits.max_body),
    };
    let document = match front.core.read(&principal, bytes).await {
        Ok(document) => document,
        Err(NotRead::Malformed(error)) => {
            return reply::error(StatusCode::BAD_REQUEST, error.code, error.message);
        }
        Err(NotRead::Busy) => return busy("too many large requests at a time"),
    };
    let held = Held { _slot: slot, _weight: weight };
    let limits = &settings.limits;
    let post = Post { front, limits, principal, standing, headers: &parts.headers, accepts, held };
    match document {
        Document::One(Ok(Message::Request(request))) => post.request(request).await,
        Document::One(Ok(Message::Notification(notification))) => post.notification(notification),
        Document::One(Ok(Message::Response(response))) => match post.session() {
            Ok(busy) => {
                busy.session.conversation.answered(response);
                reply::empty(StatusCode::ACCEPTED)
            }
            Err(response) => *response,
        },
        Document::One(Err(malformed)) => {
            let refusal = Refusal { status: StatusCode::BAD_REQUEST, error: *malformed.error };
            reply::refusal(malformed.id.as_ref(), &refusal)
        }
        Document::Batch(messages) => post.batch(messages).await,
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/json")
}

fn unreadable(unread: Unread, max_body: usize) -> Response {
    match unread {
        Unread::TooLarge => {
            let text = format!("the body is larger than {max_body} bytes");
            reply::error(StatusCode::PAYLOAD_TOO_LARGE, code::INVALID_REQUEST, text)
        }
        Unread::TooSlow => {
            let text = "the body did not arrive in time";
            reply::error(StatusCode::REQUEST_TIMEOUT, code::INVALID_REQUEST, text)
        }
        Unread::Broken => {
            let text = "the body could not be read";
            reply::error(StatusCode::BAD_REQUEST, code::INVALID_REQUEST, text)
        }
        Unread::Busy => busy("too many large requests at a time"),
    }
}

struct Post<'p> {
    front: &'p Arc<Front>,
    limits: &'p Limits,
    principal: Principal,
    standing: &'p Arc<PrincipalQuota>,
    headers: &'p HeaderMap,
    accepts: Accepts,
    held: Held,
}

/// Which era a message belongs to, by its `_meta` and its headers.
fn is_modern(method: &str, params: &Map<String, Value>, headers: &HeaderMap) -> Result<bool, Refusal> {
    if modern::is_modern(params) {
        return Ok(true);
    }
    match headers::single(headers, headers::VERSION)? {
        Some(version) if LEGACY_VERSIONS.contains(&version) => Ok(false),
        Some(MODERN_VERSION) => Ok(true),
        Some(version) => modern::check_version(version).map(|()| true),
        None => Ok(headers.contains_key(headers::METHOD) || method == "server/discover"),
    }
}

impl Post<'_> {
    fn session(&self) -> Result<Busy, Box<Response>> {
        self.front.session(self.limits, self.standing, self.headers)
    }

    async fn request(self, request: Request) -> Response {
        // With the stateless `_meta` it is a method that there is not.
        if request.method == "initialize" && !modern::is_modern(&request.params) {
            return self.initialize(request);
        }
        match is_modern(&request.method, &request.params, self.headers) {
            Ok(true) => self.modern(request).await,
            Ok(false) => self.legacy(request).await,
            Err(refusal) => reply::refusal(Some(&request.id), &refusal),
        }
    }

    fn notification(&self, notification: Notification) -> Response {
        let Notification { method, params } = notification;
        match is_modern(&method, &params, self.headers) {
            // A stateless client cancels by closing its stream, and has nothing else to tell.
            Ok(true) => reply::empty(StatusCode::ACCEPTED),
            Ok(false) => match self.session() {
                Ok(busy) => {
                    exchange::notified(&busy.session.conversation, &method, params);
                    reply::empty(StatusCode::ACCEPTED)
                }
                Err(response) => *response,
            },
            Err(refusal) => reply::refusal(None, &refusal),
        }
    }

    fn initialize(self, request: Request) -> Response {
        let hello = match Hello::read(request.params) {
            Ok(hello) => hello,
            Err(error) => {
                let refusal = Refusal { status: StatusCode::BAD_REQUEST, error };
                return reply::refusal(Some(&request.id), &refusal);
            }
        };
        let core = &self.front.core;
        let id = self.front.standings.new_id();
        let Ok(header) = HeaderValue::from_str(&id) else {
            return reply::error(StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL_ERROR, "no session id");
        };
        // Taken before the lists can be asked for, so that no change falls between.
        let told = core.service.listed(&self.principal, None);
        let measured =
            core.measure(Some("initialize"), None, &Wire { version: Some(hello.version), ..Wire::default() });
        let welcome = core.welcome(&self.principal, &hello);
        let lasts = Lasting::of_client(Arc::clone(&core.telemetry), Transport::Tcp, hello.version);
        let conversation = Arc::new(Conversation::new(id, &hello, Some(lasts)));
        self.front.standings.open(self.limits, self.standing, conversation, told);
        measured.end(None);
        core.service.session_opened(&self.principal, &hello.client_info);
        let answer = ClientResponse::ok(message::success(&request.id, &welcome));
        let mut response = reply::whole(answer, self.accepts, self.limits);
        response.headers_mut().insert(SESSION, header);
        response
    }

    async fn legacy(self, request: Request) -> Response {
        let busy = match self.session() {
            Ok(busy) => busy,
            Err(response) => return *response,
        };
        let conversation = Arc::clone(&busy.session.conversation);
        let opening = self.opening(&busy.session);
        let caller = Front::caller(self.principal, &conversation.id, self.headers);
        let outbox = Outbox::new(self.accepts.events);
        let core = Arc::clone(&self.front.core);
        let (held, to) = (self.held, Arc::clone(&outbox));
        let work = Box::pin(async move {
            let _held = (held, busy);
            exchange::legacy(core, conversation, caller, to, None, request).await.map(ClientResponse::ok)
        });
        reply::exchange(Exchange::new(outbox, work), self.accepts, self.limits, opening).await
    }

    /// What the stream of a request needs, where there will be one.
    fn opening(&self, session: &Arc<Session>) -> Option<Opening> {
        self.accepts.events.then(|| Opening {
            front: Arc::clone(self.front),
            standing: Arc::clone(self.standing),
            session: Arc::clone(session),
            primes: session.conversation.version == PRIMING_VERSION,
        })
    }

    async fn modern(self, mut request: Request) -> Response {
        let (method, declared) = match self.accept_modern(&mut request) {
            Ok(accepted) => accepted,
            Err(refusal) => return reply::refusal(Some(&request.id), &refusal),
        };
        let (front, standing, limits) = (self.front, self.standing, self.limits);
        if !standing.greeted.swap(true, Ordering::Relaxed) {
            front.core.service.session_opened(&self.principal, &declared.client_info);
        }
        let Request { id, params, .. } = request;
        let method = match method {
            Method::Governed(method) => method,
            Method::Discover => {
                let caller = Front::caller(self.principal, &standing.key, self.headers);
                let answer = ClientResponse::ok(front.core.discover(&caller, &id));
                return reply::whole(answer, self.accepts, limits);
            }
            Method::Listen => return self.listen(id, &params, declared),
        };
        let caller = Front::caller(self.principal, &standing.key, self.headers);
        let outbox = Outbox::new(self.accepts.events);
        let client = crate::front::answer::Core::modern_client(declared, Arc::clone(&outbox));
        let core = Arc::clone(&front.core);
        let held = self.held;
        let work = Box::pin(async move {
            let _held = held;
            Some(core.modern(method, caller, client, id, params).await)
        });
        reply::exchange(Exchange::new(outbox, work), self.accepts, limits, None).await
    }

    fn accept_modern(&self, request: &mut Request) -> Result<(Method, Declared), Refusal> {
        let version = modern::declared_version(&request.params)?;
        headers::check_version(self.headers, version)?;
        modern::check_version(version)?;
        headers::check_standard(self.headers, &request.method, &request.params)?;
        let method = Method::parse(&request.method)?;
        if let Some(tool) = headers::called_tool(&request.method, &request.params)
            && let Some(schema) = self.front.core.service.input_schema(&self.principal, tool)
        {
            headers::check_params(self.headers, &schema, request.params.get("arguments"))?;
        }
        Ok((method, Declared::take(&mut request.params)?))
    }

    fn listen(self, id: message::Id, params: &Map<String, Value>, declared: Declared) -> Response {
        if !self.accepts.events {
            let text = "`subscriptions/listen` needs `Accept: text/event-stream`";
            let error = RpcError::new(code::INVALID_REQUEST, text);
            return reply::refusal(Some(&id), &Refusal { status: StatusCode::NOT_ACCEPTABLE, error });
        }
        let Some(slot) = self.standing.stream(self.limits.streams_per_principal) else {
            return busy("too many subscriptions at a time");
        };
        let (core, shutdown) = (Arc::clone(&self.front.core), self.front.shutdown.clone());
        let caller = Front::caller(self.principal, &self.standing.key, self.headers);
        let client = crate::front::answer::Core::modern_client(declared, Outbox::new(false));
        match listen::subscription(core, caller, client, id.clone(), params, shutdown) {
            Ok(stream) => {
                let stream = stream.map(move |message| {
                    let _slot = &slot;
                    reply::event(&message)
                });
                reply::events(stream, None, self.limits.keep_alive)
            }
            Err(error) => {
                let refusal = Refusal { status: modern::status_of(&error), error };
                reply::refusal(Some(&id), &refusal)
            }
        }
    }

    async fn batch(self, messages: Vec<Result<Message, Malformed>>) -> Response {
        let busy = match self.session() {
            Ok(busy) => busy,
            Err(response) => return *response,
        };
        let conversation = Arc::clone(&busy.session.conversation);
        if conversation.version != BATCH_VERSION {
            let text = format!("batches belong to {BATCH_VERSION} and not to this session's version");
            return reply::error(StatusCode::BAD_REQUEST, code::INVALID_REQUEST, text);
        }
        let opening = self.opening(&busy.session);
        let outbox = Outbox::new(self.accepts.events);
        let caller = Front::caller(self.principal, &conversation.id, self.headers);
        let Some(work) = exchange::batch(&self.front.core, &conversation, &caller, &outbox, &None, messages)
        else {
            return reply::empty(StatusCode::ACCEPTED);
        };
        let held = (self.held, busy);
        let work = Box::pin(async move {
            let _held = held;
            work.await
        });
        reply::exchange(Exchange::new(outbox, work), self.accepts, self.limits, opening).await
    }
}
