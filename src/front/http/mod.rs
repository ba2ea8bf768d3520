//! Streamable HTTP: the one endpoint `/mcp`, where `initialize` opens a session of the legacy era and `_meta` makes
//! a request stateless.
//!
//! There is no middleware: every check stands in the order it is made, cheapest first, and nothing of a body is read
//! before its sender is known. A connection that breaks cancels its request, because what nobody can receive any more must
//! not happen unseen; unless it was a stream of a session, which can be taken up again (`resume.rs`).

mod allow_list;
mod body;
mod core_runtimes;
mod metadata;
mod places;
mod post;
mod principal_quota;
mod reply;
mod resume;
mod serve;
mod shelf;

pub(super) use allow_list::is_of_another_site;
pub use core_runtimes::CoreRuntimes;
pub use places::Visit;
pub use serve::{Site, serve, serve_on};
pub use shelf::Replay;

use self::{
    allow_list::AllowList,
    metadata::{Challenge, Protected},
    principal_quota::{PrincipalQuota, Standings},
    reply::Accepts,
    resume::{Own, Resumed},
};
use super::{
    LEGACY_VERSIONS,
    answer::{Caller, Core},
    forwarded, headers,
    listen::{UPDATED, Watched, Watcher},
    message,
    service::Service,
};
use crate::{
    clock::{Clock, IdSource},
    config::GatewayConfig,
    gateway::InForce,
    identity::{AuthError, Possession, Presented, Principal},
    model::code,
    telemetry::Wire,
};
use arc_swap::ArcSwap;
use axum::response::Response;
use bytes::Bytes;
use futures::{future::BoxFuture, stream::StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body::Body;
use serde_json::{Map, Value};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Where agents reach the endpoint.
const PATH: &str = "/mcp";
const SESSION: &str = "mcp-session-id";
/// The comment tells the client at once that a stream stands.
const FIRST: Bytes = Bytes::from_static(b":\n\nretry: 1000\n\n");

/// How much of everything there may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one body.
    pub max_body: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// Bytes of large bodies (over 16 KiB) of one principal that are worked on at a time.
    pub large_bodies_per_principal: usize,
    /// The same of all principals together.
    pub large_bodies: usize,
    /// Requests of one principal at a time.
    pub requests_per_principal: usize,
    /// Bytes of answers that one principal has not yet read; beyond it takes no more requests.
    pub untaken_per_principal: usize,
    /// Subscriptions of one principal at a time. A session's own stream is counted with the session.
    pub streams_per_principal: usize,
    /// Legacy sessions of one principal; the idlest goes first.
    pub sessions_per_principal: usize,
    /// Legacy sessions of all.
    pub sessions_total: usize,
    /// A session that nobody used for so long is gone.
    pub session_idle: Duration,
    /// When the reply to a long call becomes a stream, so that nobody takes the connection for dead.
    pub first_keep_alive: Duration,
    /// Between comments on a quiet stream.
    pub keep_alive: Duration,
    /// What is kept of streams, so that they can be taken up again.
    pub replay: Replay,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body: 4 << 20,
            body_timeout: Duration::from_secs(30),
            large_bodies_per_principal: 16 << 20,
            large_bodies: 64 << 20,
            requests_per_principal: 1024,
            untaken_per_principal: 64 << 20,
            streams_per_principal: 1024,
            sessions_per_principal: 1000,
            sessions_total: 10_000,
            session_idle: Duration::from_secs(30 * 60),
            first_keep_alive: Duration::from_secs(5),
            keep_alive: Duration::from_secs(15),
            replay: Replay::default(),
        }
    }
}

impl Limits {
    /// With what servers.toml says of them.
    fn configured(&self, config: &GatewayConfig) -> Self {
        let max_body = usize::try_from(config.max_body).unwrap_or(usize::MAX);
        let default = Self::default();
        Self {
            max_body,
            sessions_per_principal: config.max_sessions,
            sessions_total: config.max_sessions.saturating_mul(10),
            // One body of the largest size must always fit.
            large_bodies_per_principal: default.large_bodies_per_principal.max(max_body),
            large_bodies: default.large_bodies.max(max_body.saturating_mul(4)),
            ..self.clone()
        }
    }
}

/// What the router needs beside the gateway.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The listener's address: a loopback listener accepts loopback names.
    pub listen: SocketAddr,
    /// The URL agents reach the gateway at.
    pub public_url: Option<String>,
    /// `Host` values beside the listener's own.
    pub allowed_hosts: Vec<String>,
    /// `Origin` values beside the listener's own.
    pub allowed_origins: Vec<String>,
    /// Bounds.
    pub limits: Limits,
    /// For idle sessions.
    pub clock: Arc<dyn Clock>,
    /// For session ids.
    pub ids: Arc<dyn IdSource>,
    /// Ends the streams that have no end of their own.
    pub shutdown: CancellationToken,
}

impl HttpOptions {
    /// What servers.toml says, and defaults for the rest.
    pub fn new(
        config: &GatewayConfig,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        shutdown: CancellationToken,
    ) -> Self {
        let limits = Limits::default().configured(config);
        Self {
            listen: config.listen,
            public_url: config.public_url.clone(),
            allowed_hosts: config.allowed_hosts.clone(),
            allowed_origins: config.allowed_origins.clone(),
            limits,
            clock,
            ids,
            shutdown,
        }
    }
}

struct Front {
    core: Arc<Core>,
    listen: SocketAddr,
    settings: ArcSwap<Settings>,
    standings: Standings,
    shutdown: CancellationToken,
}

/// What servers.toml says of this front; a reload replaces it whole, and each request keeps to one.
struct Settings {
    /// Of which files; none where no reload can change them.
    of: Option<Arc<InForce>>,
    allow_list: AllowList,
    limits: Limits,
    bodies: Arc<Semaphore>,
    /// Where access tokens are taken.
    protected: Option<Protected>,
}

impl Front {
    /// The settings that are in force now.
    fn settings(&self) -> Arc<Settings> {
        let known = self.settings.load();
        let Some(now) = self.core.service.in_force() else { return Arc::clone(&known) };
        if known.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, &now)) {
            return Arc::clone(&known);
        }
        let config = &now.config.gateway;
        let url = config.public_url.as_deref();
        let allow_list = AllowList::new(self.listen, url, &config.allowed_hosts, &config.allowed_origins);
        let limits = known.limits.configured(config);
        // Who is being read keeps the place that was taken; for a moment there can be some more.
        let bodies = if limits.large_bodies == known.limits.large_bodies {
            Arc::clone(&known.bodies)
        } else {
            Arc::new(Semaphore::new(limits.large_bodies / 1024))
        };
        let protected = Protected::of(&now.config);
        let settings = Arc::new(Settings { of: Some(now), allow_list, limits, bodies, protected });
        self.settings.store(Arc::clone(&settings));
        settings
    }
}

/// The MCP endpoint, and the metadata of whoever issues access tokens for it.
///
/// Two paths need no router: each call would pay for one.
#[derive(Clone)]
pub struct Endpoint(Arc<Front>);

impl Endpoint {
    /// For a listener's connections.
    pub fn new(service: Arc<dyn Service>, options: HttpOptions) -> Self {
        let HttpOptions { listen, public_url, allowed_hosts, allowed_origins, limits, clock, ids, shutdown } =
            options;
        // What the options say stands until a reload.
        let of = service.in_force();
        let settings = Settings {
            protected: of.as_ref().and_then(|of| Protected::of(&of.config)),
            of,
            allow_list: AllowList::new(listen, public_url.as_deref(), &allowed_hosts, &allowed_origins),
            bodies: Arc::new(Semaphore::new(limits.large_bodies / 1024)),
            limits,
        };
        Self(Arc::new(Front {
            core: Arc::new(Core::new(service)),
            listen,
            settings: ArcSwap::from_pointee(settings),
            standings: Standings::new(clock, ids),
            shutdown,
        }))
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Endpoint")
    }
}

impl Endpoint {
    /// Answers one request of this peer that came on no connection of a listener.
    pub async fn answer<B>(&self, peer: IpAddr, request: Request<B>) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        self.reply(peer, None, request).await
    }

    async fn reply<B>(&self, peer: IpAddr, visit: Option<&Visit>, request: Request<B>) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let path = request.uri().path();
        // Clients that join paths write a slash behind it.
        if path.strip_suffix('/').unwrap_or(path) == PATH {
            enter(&self.0, peer, visit, request).await
        } else if metadata::is_at(path) {
            metadata::show(&self.0, &request)
        } else {
            let text = format!("nothing is here: MCP is at {PATH}");
            reply::error(StatusCode::NOT_FOUND, code::INVALID_REQUEST, &text)
        }
    }
}

impl Site for Endpoint {
    fn answer(
        &self,
        peer: SocketAddr,
        visit: Visit,
        request: Request<hyper::body::Incoming>,
    ) -> BoxFuture<'static, Response> {
        let endpoint = self.clone();
        // A connection that waits for a request holds no room for it.
        Box::pin(async move { endpoint.reply(peer.ip(), Some(&visit), request).await })
    }
}

async fn enter<B>(front: &Arc<Front>, peer: IpAddr, visit: Option<&Visit>, request: Request<B>) -> Response
where
    B: Body<Data = Bytes> + Send + Unpin,
{
    let settings = front.settings();
    let origin = match settings.allow_list.check(request.uri(), request.headers()) {
        Ok(origin) => origin.cloned(),
        Err(turned) => {
            return reply::error(StatusCode::FORBIDDEN, code::INVALID_REQUEST, turned.to_string());
        }
    };
    let mut response = front.admit(&settings, peer, visit, request, origin.is_some()).await;
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let exposed = HeaderValue::from_static("Mcp-Session-Id, WWW-Authenticate, Retry-After");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    response
}

/// What a browser asks before it sends anything.
fn preflight() -> Response {
    let mut response = reply::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET, DELETE"));
    // `*` would not cover `Authorization`, and the names of `Mcp-Param-*` are the tools'.
    let names = HeaderValue::from_static(
        "Authorization, DPoP, Content-Type, Accept, Mcp-Session-Id, MCP-Protocol-Version, Mcp-Method, Mcp-Name, \
         Last-Event-ID, Traceparent, X-Workflow-Id, *",
    );
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Headers that say one thing, of which two readers could take different ones. Those that mirror a body are held against it.
const SINGLE: [&str; 3] = [SESSION, "content-type", WORKFLOW];
/// Names the workflow of a request, where its `_meta` names none.
const WORKFLOW: &str = "x-workflow-id";

/// Carries the proof that a token's key is its sender's.
const DPOP: &str = "dpop";

/// One of [`SINGLE`] that stands more than once.
fn ambiguous(headers: &HeaderMap) -> Option<&'static str> {
    SINGLE.into_iter().find(|name| headers.get_all(*name).iter().nth(1).is_some())
}

/// One text header, where it is text and stands once.
fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers::single(headers, name).ok().flatten().map(str::to_owned)
}

impl Front {
    async fn admit<B>(
        self: &Arc<Self>,
        settings: &Settings,
        peer: IpAddr,
        visit: Option<&Visit>,
        request: Request<B>,
        from_page: bool,
    ) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        match *request.method() {
            Method::POST | Method::GET | Method::DELETE => {}
            Method::OPTIONS if from_page => return preflight(),
            _ => return not_allowed("POST, GET, DELETE"),
        }
        if let Some(name) = ambiguous(request.headers()) {
            let text = format!("header `{name}` stands more than once");
            return reply::error(StatusCode::BAD_REQUEST, code::INVALID_REQUEST, text);
        }
        // What is no text names a workflow that is nobody's, and is not as if none had been named.
        if request.headers().get(WORKFLOW).is_some_and(|value| value.to_str().is_err()) {
            let text = format!("header `{WORKFLOW}` has invalid characters");
            return reply::error(StatusCode::BAD_REQUEST, code::INVALID_REQUEST, text);
        }
        let mut given = request.headers().get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        let authorization = match (given.next(), given.next()) {
            (one, None) => one,
            // Whoever stands in front may have looked at the other one: neither counts.
            (_, Some(_)) => Some(&b""[..]),
        };
        let peer = match &settings.of {
            Some(of) => forwarded::client(&of.config.gateway, peer, request.headers()),
            None => peer,
        };
        let mut proofs = request.headers().get_all(DPOP).iter();
        let proof = proofs.next().map(|first| if proofs.next().is_none() { first.as_bytes() } else { b"" });
        let url = match proof {
            Some(_) => settings
                .protected
                .as_ref()
                .and_then(|protected| protected.url(metadata::host_of(&request).as_deref())),
            None => None,
        };
        let possession =
            proof.map(|proof| Possession { proof, method: request.method().as_str(), url: url.as_ref() });
        let certificate = visit.and_then(Visit::certificate);
        let presented = Presented { authorization, certificate, possession };
        let mut known = self.core.service.authenticate(peer, &presented);
        if matches!(known, Err(AuthError::Unverified)) {
            known = self.core.service.verify(peer, &presented).await;
        }
        let principal = match known {
            Ok(principal) => principal,
            Err(error) => {
                let host = metadata::host_of(&request);
                return unauthenticated(error, settings.protected.as_ref(), host.as_deref());
            }
        };
        let standing = self.standings.of(&principal);
        if let Some(visit) = visit {
            visit.is_of(&standing.key, Some(&standing.untaken));
        }
        if standing.untaken.load(Ordering::Relaxed) > settings.limits.untaken_per_principal {
            return busy("too much of earlier answers is not yet read");
        }
        let Some(slot) = standing.request(settings.limits.requests_per_principal) else {
            return busy("too many requests at a time");
        };
        match *request.method() {
            Method::POST => post::post(self, settings, principal, &standing, slot, request).await,
            Method::GET => self.get(&settings.limits, principal, &standing, request.headers()),
            _ => self.delete(&settings.limits, &standing, request.headers()),
        }
    }

    fn caller(principal: Principal, session: &Arc<str>, headers: &HeaderMap) -> Caller {
        Caller {
            principal,
            session: Arc::clone(session),
            wire: Wire {
                traceparent: text(headers, "traceparent"),
                tracestate: text(headers, "tracestate"),
                baggage: text(headers, "baggage"),
                ..Wire::default()
            },
            workflow: text(headers, WORKFLOW),
        }
    }

    /// The legacy session's own stream: news of the lists, and nothing that belongs to a request.
    fn get(
        self: &Arc<Self>,
        limits: &Limits,
        principal: Principal,
        standing: &Arc<PrincipalQuota>,
        headers: &HeaderMap,
    ) -> Response {
        let version = match headers::single(headers, headers::VERSION) {
            Ok(version) => version,
            Err(refusal) => return reply::refusal(None, &refusal),
        };
        if version.is_some_and(|version| !LEGACY_VERSIONS.contains(&version)) {
            return not_allowed("POST");
        }
        let busy = match self.session(limits, standing, headers) {
            Ok(busy) => busy,
            Err(response) => return *response,
        };
        if !Accepts::read(headers).events {
            let text = "a GET stream needs `Accept: text/event-stream`";
            return reply::error(StatusCode::NOT_ACCEPTABLE, code::INVALID_REQUEST, text);
        }
        let after = match resume::resume(self, standing, &busy.session, headers, limits) {
            Resumed::No => None,
            Resumed::Own(event) => Some(event),
            Resumed::Of(stream) => {
                let stream = stream.map(move |event| {
                    // A session that is read does not grow idle.
                    let _busy = &busy;
                    event
                });
                return reply::events(stream, Some(FIRST), limits.keep_alive);
            }
            Resumed::Unknown => {
                let text = "no such event in this session, or what came after it is no longer kept";
                return reply::error(StatusCode::BAD_REQUEST, code::INVALID_PARAMS, text);
            }
        };
        let core = Arc::clone(&self.core);
        let shutdown = self.shutdown.clone();
        let ended = busy.session.take_stream();
        let own = Own::of(self, standing, &busy.session, limits);
        let news = async_stream::stream! {
            for event in after.map(|after| own.sent_after(after)).unwrap_or_default() {
                yield event;
            }
            let told = *busy.session.told.lock();
            let mut watcher = Watcher::new(core, principal, None, Some(told));
            loop {
                let news = tokio::select! {
                    biased;
                    () = ended.cancelled() => Watched::Ended,
                    () = shutdown.cancelled() => Watched::Ended,
                    news = watcher.next(&busy.session.conversation.watches) => news,
                };
                match news {
                    Watched::Changes(methods) => {
                        *busy.session.told.lock() = watcher.seen();
                        for method in methods {
                            yield own.news(&message::notification(method, &Value::Object(Map::new())));
                        }
                    }
                    Watched::Resources(uris) => {
                        for uri in uris {
                            yield own.news(&message::notification(UPDATED, &serde_json::json!({ "uri": uri })));
                        }
                    }
                    Watched::Ended => break,
                }
            }
        };
        reply::events(news, Some(FIRST), limits.keep_alive)
    }

    fn delete(&self, limits: &Limits, standing: &PrincipalQuota, headers: &HeaderMap) -> Response {
        let busy = match self.session(limits, standing, headers) {
            Ok(busy) => busy,
            Err(response) => return *response,
        };
        self.standings.close(standing, &busy.session.conversation.id);
        reply::empty(StatusCode::NO_CONTENT)
    }

    /// The session that a request names, if it is this principal's.
    fn session(
        &self,
        limits: &Limits,
        standing: &PrincipalQuota,
        headers: &HeaderMap,
    ) -> Result<principal_quota::Busy, Box<Response>> {
        let Some(id) = headers.get(SESSION) else {
            let text = "no session: send `initialize` first, or a stateless request of 2026-07-28";
            return Err(Box::new(reply::error(StatusCode::BAD_REQUEST, code::INVALID_PARAMS, text)));
        };
        let found = id.to_str().ok().and_then(|id| self.standings.find(standing, id, limits.session_idle));
        found.ok_or_else(|| {
            let text = "no such session: send `initialize` again";
            Box::new(reply::error(StatusCode::NOT_FOUND, code::INVALID_REQUEST, text))
        })
    }
}

fn not_allowed(allow: &'static str) -> Response {
    let text = format!("method not allowed: use {allow}");
    let mut response = reply::error(StatusCode::METHOD_NOT_ALLOWED, code::INVALID_REQUEST, text);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

fn unauthenticated(error: AuthError, protected: Option<&Protected>, host: Option<&str>) -> Response {
    let status = match error {
        AuthError::Missing
        | AuthError::Unknown
        | AuthError::Expired
        | AuthError::Unproven(_)
        | AuthError::Unverified => StatusCode::UNAUTHORIZED,
        AuthError::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
        AuthError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = reply::error(status, code::INVALID_REQUEST, error.to_string());
    let headers = response.headers_mut();
    match error {
        AuthError::Missing => {
            headers.insert(header::WWW_AUTHENTICATE, metadata::challenge(protected, host, Challenge::Missing))
        }
        AuthError::Unknown | AuthError::Expired | AuthError::Unverified => {
            headers.insert(header::WWW_AUTHENTICATE, metadata::challenge(protected, host, Challenge::Invalid))
        }
        AuthError::Unproven(_) => headers
            .insert(header::WWW_AUTHENTICATE, metadata::challenge(protected, host, Challenge::Unproven)),
        AuthError::RateLimited(wait) => headers.insert(header::RETRY_AFTER, wait.as_secs().max(1).into()),
        AuthError::Unavailable => headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5")),
    };
    response
}

fn busy(text: &str) -> Response {
    let mut response = reply::error(StatusCode::TOO_MANY_REQUESTS, code::THROTTLED, text);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
