//! HTTP+SSE upstreams of 2024-11-05: one stream for everything that comes, another URL for what is sent.

use super::{
    support::*,
    web::{self, Web},
};
use axum::{
    Router,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::get,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, watch};
use tollgate::{
    config::{HttpWire, UpstreamConfig, UpstreamTransport},
    model::RetryPlan,
    upstream::{Era, Health, UpstreamError, UpstreamSet},
};

/// A server as 2024-11-05 has it, with tools that misbehave when asked to.
#[derive(Clone)]
struct Old(Arc<Inner>);

struct Inner {
    /// What the first event says in place of the endpoint.
    first: Mutex<Option<String>>,
    sessions: Mutex<HashMap<u64, mpsc::UnboundedSender<Option<String>>>>,
    opened: watch::Sender<u64>,
    /// Everything that was sent here, with its headers.
    posts: Mutex<Vec<(HeaderMap, Value)>>,
    cancelled: watch::Sender<usize>,
    tools: Mutex<Vec<&'static str>>,
    refuses_streams: Mutex<bool>,
    /// The session of so many requests for lists is forgotten as they come.
    forgets_lists: Mutex<u32>,
    /// What a POST to the stream's URL is answered with; `None`: with a stream.
    to_post: Mutex<Option<(u16, &'static str, &'static str)>>,
    version: Mutex<&'static str>,
}

const TOOLS: [&str; 8] = ["echo", "ask", "wait", "huge", "die", "forget", "garbage", "status"];

impl Old {
    fn new() -> Self {
        Self(Arc::new(Inner {
            first: Mutex::default(),
            sessions: Mutex::default(),
            opened: watch::Sender::new(0),
            posts: Mutex::default(),
            cancelled: watch::Sender::new(0),
            tools: Mutex::new(TOOLS.to_vec()),
            refuses_streams: Mutex::new(false),
            forgets_lists: Mutex::new(0),
            to_post: Mutex::new(Some((405, "text/plain", ""))),
            version: Mutex::new("2024-11-05"),
        }))
    }

    async fn serve(&self, at: Option<std::net::SocketAddr>) -> Web {
        let routes =
            Router::new().route("/mcp", get(open).post(posted)).route("/message", axum::routing::post(take));
        web::serve(routes.with_state(self.clone()), at).await
    }

    fn opened(&self) -> u64 {
        *self.0.opened.borrow()
    }

    fn say(&self, session: u64, message: &Value) {
        if let Some(stream) = self.0.sessions.lock().get(&session) {
            drop(stream.send(Some(format!("event: message\ndata: {message}\n\n"))));
        }
    }

    /// Ends a stream.
    fn end(&self, session: u64) {
        if let Some(stream) = self.0.sessions.lock().remove(&session) {
            drop(stream.send(None));
        }
    }

    fn posted(&self, method: &str) -> Vec<(HeaderMap, Value)> {
        self.0.posts.lock().iter().filter(|(_, body)| body["method"] == method).cloned().collect()
    }
}

async fn open(State(old): State<Old>) -> Response {
    if *old.0.refuses_streams.lock() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let (sender, mut stream) = mpsc::unbounded_channel();
    let mut session = 0;
    old.0.opened.send_modify(|opened| {
        *opened += 1;
        session = *opened;
    });
    old.0.sessions.lock().insert(session, sender);
    let first = old.0.first.lock().clone();
    let first = first.unwrap_or_else(|| format!("event: endpoint\ndata: /message?session={session}\n\n"));
    let body = async_stream::stream! {
        yield Ok::<_, std::io::Error>(first);
        while let Some(Some(event)) = stream.recv().await {
            yield Ok(event);
        }
    };
    ([("content-type", "text/event-stream; charset=utf-8")], Body::from_stream(body)).into_response()
}

/// A POST to the URL of the stream.
async fn posted(State(old): State<Old>) -> Response {
    let answer = *old.0.to_post.lock();
    match answer {
        Some((status, kind, body)) => {
            (StatusCode::from_u16(status).unwrap(), [("content-type", kind)], body).into_response()
        }
        None => open(State(old)).await,
    }
}

async fn take(
    State(old): State<Old>,
    Query(query): Query<BTreeMap<String, u64>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let message: Value = serde_json::from_str(&body).unwrap();
    old.0.posts.lock().push((headers, message.clone()));
    let session = query["session"];
    if !old.0.sessions.lock().contains_key(&session) {
        return (StatusCode::NOT_FOUND, "Could not find session").into_response();
    }
    let answer =
        |result: Value| old.say(session, &json!({"jsonrpc": "2.0", "id": message["id"], "result": result}));
    match message["method"].as_str().unwrap_or_default() {
        "initialize" => {
            answer(json!({"protocolVersion": *old.0.version.lock(), "capabilities": {"tools": {}},
            "serverInfo": {"name": "old", "version": "1"}}))
        }
        "tools/list" => {
            let mut forgets = old.0.forgets_lists.lock();
            if *forgets > 0 {
                *forgets -= 1;
                old.0.sessions.lock().remove(&session);
                return StatusCode::NOT_FOUND.into_response();
            }
            let tools: Vec<_> = old.0.tools.lock().iter().map(|name| json!({"name": name})).collect();
            answer(json!({"tools": tools}));
        }
        "notifications/cancelled" => old.0.cancelled.send_modify(|count| *count += 1),
        "tools/call" => {
            let params = &message["params"];
            let text = |text: String| answer(json!({"content": [{"type": "text", "text": text}]}));
            match params["name"].as_str().unwrap() {
                "echo" => text(params["arguments"].to_string()),
                "ask" => old.say(
                    session,
                    &json!({"jsonrpc": "2.0", "id": message["id"], "method": "elicitation/create",
                    "params": {"message": "who?", "requestedSchema": {}}}),
                ),
                "huge" => {
                    text("x".repeat(usize::try_from(params["arguments"]["size"].as_u64().unwrap()).unwrap()))
                }
                "die" => old.end(session),
                "garbage" => {
                    let stream = old.0.sessions.lock()[&session].clone();
                    drop(stream.send(Some(format!(
                        "data: {{not json\n\n: comment\n\nevent: ping\ndata: {}\n\n",
                        json!({
                        "jsonrpc": "2.0", "id": message["id"], "result": {"content": []}})
                    ))));
                    text("fine".to_owned());
                }
                "status" => return StatusCode::BAD_REQUEST.into_response(),
                "busy" => {
                    let headers = [("retry-after", "9"), ("content-type", "application/json")];
                    return (StatusCode::SERVICE_UNAVAILABLE, headers, r#"{"error":"busy"}"#).into_response();
                }
                "own" => {
                    let error = json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32055, "message": "no"}});
                    let headers = [("content-type", "application/json")];
                    return (StatusCode::BAD_REQUEST, headers, error.to_string()).into_response();
                }
                "none" => return StatusCode::NOT_FOUND.into_response(),
                "forget" => {
                    // Unknown from now on, though the stream stands.
                    let stream = old.0.sessions.lock().remove(&session).unwrap();
                    tokio::spawn(async move { stream.closed().await });
                    return StatusCode::NOT_FOUND.into_response();
                }
                _ => {}
            }
        }
        "" if message["result"].is_object() => {
            let name = message["result"]["content"]["name"].clone();
            answer(json!({"content": [{"type": "text", "text": name.to_string()}]}));
        }
        _ => {}
    }
    StatusCode::ACCEPTED.into_response()
}

fn config(web: &Web, wire: HttpWire) -> UpstreamConfig {
    let mut config = http("old", web.url());
    if let UpstreamTransport::Http { wire: chosen, .. } = &mut config.transport {
        *chosen = wire;
    }
    config
}

#[tokio::test]
async fn an_old_server_lists_and_answers() {
    for wire in [HttpWire::Auto, HttpWire::Sse] {
        let old = Old::new();
        let web = old.serve(None).await;
        let (set, upstream) = up(config(&web, wire)).await;
        let state = upstream.state().borrow().clone();
        assert_eq!((state.era, tools(&state)), (Some(Era::Legacy), TOOLS.to_vec()), "{wire:?}");
        let result = soon(upstream.call(request("echo", json!({"ü": 1})), caller().0)).await.unwrap();
        assert_eq!(text(&result), r#"{"ü":1}"#);
        // The configured headers go with everything, and so does the trace.
        for (headers, body) in old.posted("tools/call") {
            assert_eq!(headers["x-own"], "mine", "{body}");
            assert!(headers["traceparent"].to_str().unwrap().starts_with("00-0707"));
            assert!(!headers.contains_key("mcp-protocol-version"));
        }
        assert_eq!(old.posted("notifications/initialized").len(), 1);
        assert_eq!(old.opened(), 1);

        let (relay, mut hears) = caller();
        let result = soon(upstream.call(request("ask", json!({})), relay)).await.unwrap();
        assert_eq!(text(&result), "\"Ada\"");
        assert_eq!(hears.recv().await.unwrap().0, "elicitation/create");
        soon(set.shutdown(Duration::ZERO)).await;
    }
}

/// One stream for many calls: each gets its own answer, and a dropped one is cancelled over there.
#[tokio::test]
async fn many_calls_share_one_stream() {
    let old = Old::new();
    let web = old.serve(None).await;
    let (_set, upstream) = up(config(&web, HttpWire::Sse)).await;
    let calls = (0..50).map(|n| {
        let upstream = upstream.clone();
        async move {
            let result = upstream.call(request("echo", json!({"n": n})), caller().0).await.unwrap();
            assert_eq!(text(&result), format!("{{\"n\":{n}}}"));
        }
    });
    soon(futures::future::join_all(calls)).await;
    let mut wait = request("wait", json!({}));
    wait.timeout = Duration::from_millis(20);
    let error = soon(upstream.call(wait, caller().0)).await.unwrap_err();
    assert!(matches!(error, UpstreamError::TimedOut(_)), "{error:?}");
    soon(old.0.cancelled.subscribe().wait_for(|count| *count == 1)).await.unwrap();
    assert_eq!(text(&call(&upstream, "garbage").await.unwrap()), "fine");
    let error = call(&upstream, "status").await.unwrap_err();
    assert!(matches!(&error, UpstreamError::Refused(refusal) if refusal.status == 400), "{error:?}");
    let error = call(&upstream, "busy").await.unwrap_err();
    let expected = "HTTP status 503 Service Unavailable; Retry-After: 9s; it says: busy";
    assert!(
        matches!(&error, UpstreamError::Refused(refusal) if refusal.to_string() == expected),
        "{error:?}"
    );
    let error = call(&upstream, "own").await.unwrap_err();
    assert!(matches!(&error, UpstreamError::Rpc(error) if error.code == -32055), "{error:?}");
    assert_eq!(old.opened(), 1);
}

/// An answer beyond the bound fails its own call, even where it is too large to be held, and no other.
#[tokio::test]
async fn an_oversized_answer_fails_its_own_call_alone() {
    let old = Old::new();
    let web = old.serve(None).await;
    let (_set, upstream) = up(config(&web, HttpWire::Sse)).await;
    let huge = |size: u64| {
        let upstream = upstream.clone();
        async move { upstream.call(request("huge", json!({"size": size})), caller().0).await }
    };
    let echo = async {
        for _ in 0..5 {
            call(&upstream, "echo").await.unwrap();
        }
    };
    let (held, skipped, ()) = soon(async { tokio::join!(huge(300_000), huge(9 << 20), echo) }).await;
    assert!(matches!(held, Err(UpstreamError::TooLarge(200_000))), "{held:?}");
    assert!(matches!(skipped, Err(UpstreamError::TooLarge(200_000))), "{skipped:?}");
    call(&upstream, "echo").await.unwrap();
    assert_eq!(old.opened(), 1);
}

/// A stream that ends loses what was in flight, is opened anew without the upstream being down, and its lists are read
/// again.
#[tokio::test]
async fn a_stream_that_ends_is_opened_anew() {
    let old = Old::new();
    let web = old.serve(None).await;
    let (_set, upstream) = up(config(&web, HttpWire::Sse)).await;
    let mut states = upstream.state();
    states.mark_unchanged();
    *old.0.tools.lock() = vec!["echo", "new"];
    let waiting = soon(upstream.call(request("wait", json!({})), caller().0));
    let dying = call(&upstream, "die");
    let (waited, died) = tokio::join!(waiting, dying);
    assert!(matches!(waited, Err(UpstreamError::Lost(_))), "{waited:?}");
    assert!(matches!(died, Err(UpstreamError::Lost(_))), "{died:?}");
    call(&upstream, "echo").await.unwrap();
    let seen = soon(states.changed()).await;
    seen.unwrap();
    assert_eq!(states.borrow().health, Health::Up);
    until(&upstream, |state| tools(state) == ["echo", "new"]).await;
    assert_eq!(old.opened(), 2);

    // A session that is unknown over there though its stream stands: what was refused may have been done all the same, so
    // it is sent again only where that is safe.
    let sent = || {
        let calls = old.posted("tools/call").into_iter();
        calls.filter(|(_, body)| body["params"]["name"] == "forget").count()
    };
    let error = call(&upstream, "forget").await.unwrap_err();
    assert!(matches!(error, UpstreamError::Lost(_)), "{error:?}");
    assert_eq!(sent(), 1);
    call(&upstream, "echo").await.unwrap();
    let mut safe = request("forget", json!({}));
    safe.retry = RetryPlan::Safe;
    let error = soon(upstream.call(safe, caller().0)).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Lost(_)), "{error:?}");
    assert_eq!(sent(), 3);
    call(&upstream, "echo").await.unwrap();
}

/// A status that one caller's requests get is that caller's: it ends no stream that others wait on, and opens no breaker.
#[tokio::test]
async fn a_refusal_to_one_caller_costs_the_others_nothing() {
    let old = Old::new();
    let web = old.serve(None).await;
    let mut config = config(&web, HttpWire::Sse);
    config.breaker.failures = 2;
    let (_set, upstream) = up(config).await;
    let mut waits = request("wait", json!({}));
    waits.caller.agent = "b".into();
    let waiting = upstream.call(waits, caller().0);
    tokio::pin!(waiting);
    let refusals = async {
        for (tool, status) in [("none", 404), ("status", 400), ("none", 404), ("none", 404)] {
            let error = call(&upstream, tool).await.unwrap_err();
            assert!(matches!(&error, UpstreamError::Refused(found) if found.status == status), "{error:?}");
        }
    };
    tokio::select! {
        biased;
        outcome = &mut waiting => panic!("{outcome:?}"),
        () = soon(refusals) => {}
    }
    call(&upstream, "echo").await.unwrap();
    assert_eq!(old.opened(), 1);
}

/// A session that is forgotten just when its lists are read again does not take the upstream down: a list has no effect,
/// and is asked for again over the new stream.
#[tokio::test]
async fn a_session_that_is_forgotten_while_it_lists_is_not_down() {
    let old = Old::new();
    let web = old.serve(None).await;
    let (_set, upstream) = up(config(&web, HttpWire::Sse)).await;
    let mut states = upstream.state();
    *old.0.tools.lock() = vec!["echo", "new"];
    *old.0.forgets_lists.lock() = 1;
    old.say(1, &json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    soon(async {
        loop {
            let state = states.borrow_and_update().clone();
            assert_eq!(state.health, Health::Up);
            if tools(&state) == ["echo", "new"] {
                break;
            }
            states.changed().await.unwrap();
        }
    })
    .await;
    assert_eq!((old.opened(), *old.0.forgets_lists.lock()), (2, 0));
    call(&upstream, "echo").await.unwrap();
}

#[tokio::test]
async fn a_server_that_goes_away_is_down_and_comes_back() {
    let old = Old::new();
    let web = old.serve(None).await;
    let (_set, upstream) = up(config(&web, HttpWire::Auto)).await;
    *old.0.refuses_streams.lock() = true;
    old.end(1);
    let state = until(&upstream, |state| matches!(state.health, Health::Down { .. })).await;
    let Health::Down { cause, .. } = &state.health else { unreachable!() };
    let reason = cause.whole();
    assert!(reason.contains("503"), "{reason}");
    assert!(matches!(call(&upstream, "echo").await, Err(UpstreamError::NotSent(_))));
    *old.0.refuses_streams.lock() = false;
    until(&upstream, |state| state.health == Health::Up).await;
    call(&upstream, "echo").await.unwrap();
}

/// What would send the configured credentials elsewhere, or is no endpoint, is refused with its reason.
#[tokio::test]
async fn an_endpoint_elsewhere_gets_nothing() {
    let (elsewhere, mut requests) = web::scripted(false, None, |_| None).await;
    let foreign = format!("event: endpoint\ndata: http://{}/message?session=1\n\n", elsewhere.address);
    let cases = [
        (foreign, "another origin"),
        ("event: endpoint\ndata: //evil.example/message\n\n".to_owned(), "another origin"),
        ("event: endpoint\ndata: https://127.0.0.1/message\n\n".to_owned(), "another origin"),
        ("event: endpoint\ndata: http://[\n\n".to_owned(), "no URL"),
        (format!("event: endpoint\ndata: /{}\n\n", "x".repeat(5000)), "no URL"),
        ("event: message\ndata: {}\n\n".to_owned(), "not `endpoint`"),
    ];
    for (first, expected) in cases {
        let old = Old::new();
        *old.0.first.lock() = Some(first);
        let web = old.serve(None).await;
        let config = config(&web, HttpWire::Sse);
        let set = UpstreamSet::start([config.clone()], deps().0);
        soon(set.settled()).await;
        let upstream = set.get(&config.name).unwrap();
        let state = until(&upstream, |state| matches!(state.health, Health::Down { .. })).await;
        let Health::Down { cause, .. } = &state.health else { unreachable!() };
        let reason = cause.whole();
        assert!(reason.contains(expected) && !reason.contains("/message"), "{reason}");
    }
    assert!(requests.try_recv().is_err());
}

/// Only where the server does not know the POST is the older transport tried, and only where that may be.
#[tokio::test]
async fn the_older_transport_is_tried_where_the_newer_is_not_known() {
    let old = Old::new();
    let web = old.serve(None).await;
    let config = config(&web, HttpWire::Streamable);
    let set = UpstreamSet::start([config.clone()], deps().0);
    soon(set.settled()).await;
    let upstream = set.get(&config.name).unwrap();
    let state = until(&upstream, |state| matches!(state.health, Health::Down { .. })).await;
    let Health::Down { cause, .. } = &state.health else { unreachable!() };
    let reason = cause.whole();
    assert!(reason.contains("405"), "{reason}");
    assert_eq!(old.opened(), 0);

    let (neither, _requests) =
        web::scripted(true, None, |_| Some(Box::pin(async { web::status(404) }))).await;
    let set = UpstreamSet::start([http("none", neither.url())], deps().0);
    soon(set.settled()).await;
    let upstream = set.get(&name("none")).unwrap();
    let state = until(&upstream, |state| matches!(state.health, Health::Down { .. })).await;
    let Health::Down { cause, .. } = &state.health else { unreachable!() };
    let reason = cause.whole();
    assert!(reason.contains("404") && reason.contains("not HTTP+SSE either"), "{reason}");
}

/// The ways in which a server of before says that it knows no POST to this URL, each framework its own.
const REFUSALS: [(u16, &str, &str); 6] = [
    (
        405,
        "application/json",
        r#"{"timestamp":"2026-02-03","status":405,"error":"Method Not Allowed","path":"/mcp"}"#,
    ),
    (404, "application/json", r#"{"statusCode":404,"message":"Cannot POST /mcp","error":"Not Found"}"#),
    (404, "application/json; charset=utf-8", r#"{"error":"No such route"}"#),
    (
        405,
        "application/json",
        r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Method not allowed."},"id":null}"#,
    ),
    (400, "application/problem+json", r#"{"title":"Bad Request","status":400}"#),
    (404, "text/html", "<pre>Cannot POST /mcp</pre>"),
];

/// R100: the older transport is found whatever the refusal looks like, and where the stream itself is the answer.
#[tokio::test]
async fn the_older_transport_is_found_behind_every_refusal() {
    for to_post in REFUSALS.map(Some).into_iter().chain([None]) {
        for version in ["2024-11-05", "2024-10-07"] {
            let old = Old::new();
            *old.0.to_post.lock() = to_post;
            *old.0.version.lock() = version;
            let web = old.serve(None).await;
            let (_set, upstream) = up(config(&web, HttpWire::Auto)).await;
            call(&upstream, "echo").await.unwrap();
            assert_eq!(old.posted("tools/call").len(), 1, "{to_post:?}");
        }
    }
}

/// Where it is tried, the origin counts as ever; where the server answered itself or asks who we are, it is not tried.
#[tokio::test]
async fn the_older_transport_is_tried_with_care() {
    let (elsewhere, mut requests) = web::scripted(false, None, |_| None).await;
    let down = async |config: UpstreamConfig| {
        let set = UpstreamSet::start([config.clone()], deps().0);
        soon(set.settled()).await;
        let state = set.get(&config.name).unwrap().state().borrow().clone();
        let Health::Down { cause, .. } = &state.health else { panic!("{state:?}") };
        cause.whole()
    };
    for to_post in [Some(REFUSALS[0]), None] {
        let old = Old::new();
        *old.0.to_post.lock() = to_post;
        let foreign = format!("event: endpoint\ndata: http://{}/message?session=1\n\n", elsewhere.address);
        *old.0.first.lock() = Some(foreign);
        let web = old.serve(None).await;
        let reason = down(config(&web, HttpWire::Auto)).await;
        assert!(reason.contains("another origin"), "{reason}");
        let reason = down(config(&web, HttpWire::Streamable)).await;
        assert!(!reason.contains("another origin"), "{reason}");
    }
    assert!(requests.try_recv().is_err());
    for (status, named) in [(401, false), (429, false), (503, false), (400, true), (404, true)] {
        let (server, mut requests) = web::scripted(false, None, move |seen| {
            let error = json!({"code": -32600, "message": "not like that"});
            let mut body = json!({"jsonrpc": "2.0", "id": seen.body["id"], "error": error});
            if !named {
                body["id"] = Value::Null;
            }
            let json = [("content-type", "application/json")];
            let answer = (StatusCode::from_u16(status).unwrap(), json, body.to_string()).into_response();
            Some(Box::pin(async move { answer }))
        })
        .await;
        let reason = down(http("h", server.url())).await;
        assert!(reason.contains("not like that") && !reason.contains("HTTP+SSE"), "{reason}");
        while let Ok(one) = requests.try_recv() {
            assert_eq!(one.method, axum::http::Method::POST, "{status}");
        }
    }
    // A server of the sessions' era that only does not know the question about the other one.
    let (server, mut requests) = web::scripted(false, None, |seen| {
        let error = json!({"code": -32000, "message": "Bad Request: no such method"});
        let body = json!({"jsonrpc": "2.0", "id": null, "error": error}).to_string();
        let json = [("content-type", "application/json")];
        (seen.rpc() == "server/discover").then(|| {
            let answer = (StatusCode::NOT_FOUND, json, body).into_response();
            Box::pin(async move { answer }) as futures::future::BoxFuture<'static, Response>
        })
    })
    .await;
    let (_set, upstream) = up(http("h", server.url())).await;
    call(&upstream, "t").await.unwrap();
    assert_eq!(soon(requests.recv()).await.unwrap().rpc(), "server/discover");
    assert_eq!(soon(requests.recv()).await.unwrap().rpc(), "initialize");
}
