//! Streamable HTTP, in both eras.

use super::{
    fixture::{Fixture, Speaks},
    support::*,
    web::{self, Seen, events, json_answer, json_error, status},
};
use axum::{
    http::Method,
    response::{IntoResponse as _, Response},
};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use tollgate::{
    config::BreakerConfig,
    model::{RetryPlan, RpcError},
    upstream::{Era, Health, UpstreamError, UpstreamSet},
};

const ERAS: [(Speaks, Era); 2] = [(Speaks::Both, Era::Modern), (Speaks::Legacy, Era::Legacy)];

fn now(response: Response) -> Option<BoxFuture<'static, Response>> {
    Some(Box::pin(async move { response }))
}

#[tokio::test]
async fn both_eras_of_rmcp_list_answer_ask_and_report_progress() {
    for (speaks, era) in ERAS {
        let server = web::rmcp(Fixture::new(speaks), None).await;
        let (set, upstream) = up(http("h", server.url())).await;
        let state = upstream.state().borrow().clone();
        assert_eq!(state.era, Some(era));
        assert_eq!(tools(&state), ["echo", "progress", "ask", "wait", "env"]);
        let result = soon(upstream.call(request("echo", json!({ "ü": "x" })), caller().0)).await.unwrap();
        assert_eq!(text(&result), r#"{"ü":"x"}"#);

        let (relay, mut hears) = caller();
        let mut progress = request("progress", json!({}));
        progress.wants_progress = true;
        soon(upstream.call(progress, relay)).await.unwrap();
        for step in 1..=3 {
            assert_eq!(hears.recv().await.unwrap().1["progress"].as_f64(), Some(f64::from(step)), "{era:?}");
        }
        assert!(hears.recv().await.is_none());

        let (relay, mut hears) = caller();
        let mut result = soon(upstream.call(request("ask", json!({})), relay)).await.unwrap();
        match era {
            Era::Modern => result = soon(upstream.call(answering(&result), caller().0)).await.unwrap(),
            Era::Legacy => assert_eq!(hears.recv().await.unwrap().0, "elicitation/create"),
        }
        assert_eq!(text(&result), "\"Ada\"", "{era:?}");
        soon(set.shutdown(Duration::ZERO)).await;
    }
}

#[tokio::test]
async fn a_dropped_or_late_call_is_cancelled_over_there() {
    for (speaks, era) in ERAS {
        let fixture = Fixture::new(speaks);
        let server = web::rmcp(fixture.clone(), None).await;
        let (_set, upstream) = up(http("h", server.url())).await;
        let (relay, mut hears) = caller();
        let mut wait = request("wait", json!({}));
        wait.wants_progress = true;
        {
            let waiting = upstream.call(wait, relay);
            tokio::pin!(waiting);
            tokio::select! {
                outcome = &mut waiting => panic!("{outcome:?}"),
                told = soon(hears.recv()) => assert!(told.is_some(), "{era:?}"),
            }
        }
        soon(fixture.cancelled.subscribe().wait_for(|n| *n == 1)).await.unwrap();
        let mut wait = request("wait", json!({}));
        wait.timeout = Duration::from_millis(50);
        let error = soon(upstream.call(wait, caller().0)).await.unwrap_err();
        assert!(matches!(error, UpstreamError::TimedOut(_)), "{error:?}");
        soon(fixture.cancelled.subscribe().wait_for(|n| *n == 2)).await.unwrap();
    }
}

#[tokio::test]
async fn list_changes_are_heard() {
    for (speaks, era) in ERAS {
        let server = web::rmcp(Fixture::new(speaks), None).await;
        let (_set, upstream) = up(http("h", server.url())).await;
        // The stream on which changes are told may not stand yet: saying it again is harmless.
        let said = async {
            loop {
                call(&upstream, "grow").await.unwrap();
            }
        };
        tokio::select! {
            _ = until(&upstream, |s| tools(s).contains(&"extra")) => {}
            () = said => unreachable!("{era:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_dies_is_down_and_comes_back() {
    for (speaks, _) in ERAS {
        let server = web::rmcp(Fixture::new(speaks), None).await;
        let (_set, upstream) = up(http("h", server.url())).await;
        let address = server.address;
        drop(server);
        let error = call(&upstream, "echo").await.unwrap_err();
        assert!(matches!(error, UpstreamError::NotSent(_) | UpstreamError::Lost(_)), "{error:?}");
        let state = until(&upstream, |s| matches!(s.health, Health::Down { .. })).await;
        assert!(state.listing.tools.is_empty());
        let _again = web::rmcp(Fixture::new(speaks), Some(address)).await;
        let state = until(&upstream, |s| s.health == Health::Up).await;
        assert_eq!(state.listing.tools.len(), 5);
        assert!(call(&upstream, "echo").await.is_ok());
    }
}

#[tokio::test]
async fn modern_requests_carry_their_headers_and_metadata() {
    let (server, mut seen) = web::scripted(true, None, |_| None).await;
    let (_set, upstream) = up(http("h", server.url())).await;
    let mut call = request("naïve", json!({}));
    call.param_headers =
        vec![("Region".to_owned(), "eu-1".to_owned()), ("Text".to_owned(), " x ".to_owned())];
    call.log_level = Some("info".to_owned());
    soon(upstream.call(call, caller().0)).await.unwrap();
    let call = loop {
        let one = soon(seen.recv()).await.unwrap();
        assert_eq!(one.header("x-own"), Some("mine"));
        assert_eq!(one.header("mcp-protocol-version"), Some("2026-07-28"));
        assert_eq!(one.header("mcp-method"), Some(one.rpc()));
        assert!(one.header("accept-encoding").is_none());
        if one.rpc() == "tools/call" {
            break one;
        }
    };
    let expect = [
        ("mcp-name", "=?base64?bmHDr3Zl?="),
        ("mcp-param-region", "eu-1"),
        ("mcp-param-text", "=?base64?IHgg?="),
        ("accept", "application/json, text/event-stream"),
    ];
    for (header, value) in expect {
        assert_eq!(call.header(header), Some(value));
    }
    assert!(call.header("traceparent").unwrap().starts_with("00-0707"));
    let meta = &call.body["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "tollgate");
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({ "elicitation": { "form": {} } }));
    assert_eq!(meta["io.modelcontextprotocol/logLevel"], "info");
}

#[tokio::test]
async fn tools_with_invalid_header_annotations_are_left_out() {
    let (server, _seen) = web::scripted(true, None, |seen| match seen.rpc() {
        "tools/list" => {
            let tool = |name: &str, header: &str| {
                json!({ "name": name, "inputSchema": { "properties": { "a": { "type": "string", "x-mcp-header": header } } } })
            };
            now(json_answer(seen, json!({ "tools": [tool("good", "A"), tool("bad", "a b")] })))
        }
        _ => None,
    })
    .await;
    let (_set, upstream) = up(http("h", server.url())).await;
    assert_eq!(tools(&upstream.state().borrow()), ["good"]);
}

/// A legacy server with sessions, which loses them all when the tool `forget` is called.
fn sessions() -> impl Fn(&Seen) -> Option<BoxFuture<'static, Response>> {
    let current = Arc::new(AtomicUsize::new(0));
    move |seen| {
        if seen.rpc() == "initialize" {
            let number = current.fetch_add(1, Ordering::SeqCst) + 1;
            let mut response = json_answer(
                seen,
                json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} }, "serverInfo": {} }),
            );
            response.headers_mut().insert("mcp-session-id", format!("s{number}").parse().unwrap());
            return now(response);
        }
        if seen.rpc() == "server/discover" {
            return now(status(400));
        }
        let session = format!("s{}", current.load(Ordering::SeqCst));
        if seen.header("mcp-session-id") != Some(&session) {
            return now(status(404));
        }
        if seen.tool() == "forget" {
            current.fetch_add(10, Ordering::SeqCst);
        }
        None
    }
}

#[tokio::test]
async fn an_expired_session_is_renewed_without_the_caller_noticing() {
    let (server, mut seen) = web::scripted(false, None, sessions()).await;
    let (set, upstream) = up(http("h", server.url())).await;
    call(&upstream, "forget").await.unwrap();
    // Many at once make one new session. What may be repeated is.
    let calls = (0..8).map(|_| {
        let mut safe = request("t", json!({}));
        safe.retry = RetryPlan::Safe;
        upstream.call(safe, caller().0)
    });
    for outcome in soon(futures::future::join_all(calls)).await {
        outcome.unwrap();
    }
    soon(set.shutdown(Duration::ZERO)).await;
    let mut opened = 0;
    let mut ended = Vec::new();
    while let Ok(one) = seen.try_recv() {
        opened += usize::from(one.rpc() == "initialize");
        if one.rpc() == "tools/call" {
            assert_eq!(one.header("mcp-protocol-version"), Some("2025-11-25"));
        }
        if one.method == Method::DELETE {
            ended.push(one.header("mcp-session-id").unwrap().to_owned());
        }
    }
    assert_eq!(opened, 2);
    assert_eq!(ended, ["s12"]);
}

#[tokio::test]
async fn a_broken_stream_is_resumed_where_ids_were_given() {
    let (server, mut seen) = web::scripted(false, None, |seen| {
        let id = seen.body["id"].clone();
        if seen.tool() == "cut" {
            let progress =
                json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "data": id } });
            return now(events(vec![format!("retry: 1\nid: e-{id}\ndata: {progress}\n\n")], false));
        }
        if seen.method == Method::GET && seen.header("last-event-id").is_some() {
            let id = seen.header("last-event-id").unwrap().strip_prefix("e-").unwrap();
            return now(events(
                vec![format!(
                    "data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"resumed\":true}}}}\n\n"
                )],
                true,
            ));
        }
        None
    })
    .await;
    let (_set, upstream) = up(http("h", server.url())).await;
    let (relay, mut hears) = caller();
    let result = soon(upstream.call(request("cut", json!({})), relay)).await.unwrap();
    assert_eq!(result["resumed"], true);
    assert_eq!(hears.recv().await.unwrap().0, "notifications/message");
    while soon(seen.recv()).await.unwrap().header("last-event-id").is_none() {}
}

#[tokio::test]
async fn answers_that_are_none_have_their_own_errors() {
    let (server, _seen) = web::scripted(true, None, |seen| match seen.tool() {
        "big" => now(json_answer(seen, json!({ "content": "x".repeat(300_000) }))),
        "big-stream" => now(events(vec![format!("data: {}\n\n", "x".repeat(300_000))], true)),
        "html" => now(([("content-type", "text/html")], "<p>").into_response_now()),
        "moved" => now(redirect()),
        "refused" => now(status(403)),
        "rpc" => now(json_error(seen, 404, json!({ "code": -32601, "message": "no", "data": { "x": 1 } }))),
        "down" => now(status(503)),
        "cut" => now(events(vec!["data: ".to_owned()], false)),
        _ => None,
    })
    .await;
    let (_set, upstream) = up(http("h", server.url())).await;
    let kind = |error: &UpstreamError| match error {
        UpstreamError::Rpc(RpcError { code: -32601, data: Some(_), .. }) => "rpc",
        UpstreamError::Rpc(_) => "other rpc",
        UpstreamError::NotSent(_) => "not sent",
        UpstreamError::Lost(_) => "lost",
        UpstreamError::TimedOut(_) => "timed out",
        UpstreamError::TooLarge(_) => "too large",
        UpstreamError::Refused(refusal) if refusal.is_failure() => "failed",
        UpstreamError::Refused(_) => "refused",
        UpstreamError::Malformed(_) => "malformed",
    };
    let expect = [
        ("big", "too large"),
        ("big-stream", "too large"),
        ("html", "malformed"),
        ("moved", "refused"),
        ("refused", "refused"),
        ("rpc", "rpc"),
        ("down", "failed"),
        ("cut", "lost"),
    ];
    for (tool, expect) in expect {
        let error = call(&upstream, tool).await.unwrap_err();
        assert_eq!(kind(&error), expect, "{tool}: {error:?}");
    }
    assert!(call(&upstream, "t").await.is_ok());
}

trait Now {
    fn into_response_now(self) -> Response;
}

impl<T: axum::response::IntoResponse> Now for T {
    fn into_response_now(self) -> Response {
        self.into_response()
    }
}

fn redirect() -> Response {
    let mut response = status(307);
    response.headers_mut().insert("location", "http://127.0.0.1:1/".parse().unwrap());
    response
}

/// A stream's TCP connection serves the next call too.
#[tokio::test]
async fn connections_are_kept_alive_after_streams() {
    let server = web::rmcp(Fixture::new(Speaks::Both), None).await;
    let (_set, upstream) = up(http("h", server.url())).await;
    let before = server.accepted.load(Ordering::SeqCst);
    for _ in 0..50 {
        call(&upstream, "echo").await.unwrap();
    }
    let opened = server.accepted.load(Ordering::SeqCst) - before;
    assert!(opened < 10, "{opened} connections for 50 calls");
}

#[tokio::test]
async fn lists_may_be_larger_than_results() {
    let (server, _seen) = web::scripted(true, None, |seen| {
        let tools = json!({ "tools": [{ "name": "t", "description": "x".repeat(300_000) }] });
        (seen.rpc() == "tools/list").then(|| now(json_answer(seen, tools)).unwrap())
    })
    .await;
    let (_set, upstream) = up(http("h", server.url())).await;
    assert_eq!(tools(&upstream.state().borrow()), ["t"]);
}

#[tokio::test]
async fn only_safe_calls_are_repeated_and_each_with_a_new_id() {
    let (server, mut seen) =
        web::scripted(true, None, |seen| (seen.tool() == "down").then(|| now(status(503)).unwrap())).await;
    let (_set, upstream) = up(http("h", server.url())).await;
    while let Ok(one) = seen.try_recv() {
        assert_ne!(one.rpc(), "tools/call");
    }
    for (retry, times) in [(RetryPlan::Never, 1), (RetryPlan::Safe, 2)] {
        let mut down = request("down", json!({}));
        down.retry = retry;
        let error = soon(upstream.call(down, caller().0)).await.unwrap_err();
        assert!(matches!(&error, UpstreamError::Refused(refusal) if refusal.status == 503), "{error:?}");
        let mut ids = Vec::new();
        while let Ok(one) = seen.try_recv() {
            if one.rpc() == "tools/call" {
                ids.push(one.body["id"].as_u64().unwrap());
            }
        }
        assert_eq!(ids.len(), times, "{retry:?}");
        ids.dedup();
        assert_eq!(ids.len(), times, "{retry:?}");
    }
}

#[tokio::test]
async fn the_breaker_opens_and_lets_one_call_try() {
    let healthy = Arc::new(AtomicUsize::new(0));
    let switch = healthy.clone();
    let (server, mut seen) = web::scripted(true, None, move |seen| {
        (seen.rpc() == "tools/call" && switch.load(Ordering::SeqCst) == 0).then(|| now(status(503)).unwrap())
    })
    .await;
    let mut config = http("h", server.url());
    config.breaker = BreakerConfig { failures: 2, cooldown: Duration::from_secs(30) };
    config.retry.attempts = 1;
    let (deps, clock) = deps();
    let set = UpstreamSet::start([config], deps);
    soon(set.settled()).await;
    let upstream = set.get(&name("h")).unwrap();
    for _ in 0..2 {
        assert!(matches!(call(&upstream, "t").await, Err(UpstreamError::Refused(_))));
    }
    let error = call(&upstream, "t").await.unwrap_err();
    assert!(matches!(&error, UpstreamError::NotSent(why) if why.contains("keeps failing")), "{error:?}");
    clock.advance(Duration::from_secs(30));
    healthy.store(1, Ordering::SeqCst);
    assert!(call(&upstream, "t").await.is_ok());
    assert!(call(&upstream, "t").await.is_ok());
    let mut calls = 0;
    while let Ok(one) = seen.try_recv() {
        calls += usize::from(one.rpc() == "tools/call");
    }
    assert_eq!(calls, 4);
}

#[tokio::test]
async fn endless_lists_and_unreachable_servers_end() {
    let (server, _seen) = web::scripted(true, None, |seen| {
        let page = json!({ "tools": [{ "name": seen.body["params"]["cursor"] }, { "name": "a" }], "nextCursor": "again" });
        (seen.rpc() == "tools/list").then(|| now(json_answer(seen, page)).unwrap())
    })
    .await;
    let nowhere = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    };
    let dead = http("dead", format!("http://{nowhere}/mcp").parse().unwrap());
    let set = UpstreamSet::start([http("h", server.url()), dead], deps().0);
    soon(set.settled()).await;
    assert_eq!(tools(&set.get(&name("h")).unwrap().state().borrow()), ["a", "again"]);
    let state = set.get(&name("dead")).unwrap().state().borrow().clone();
    assert!(
        matches!(&state.health, Health::Down { cause, .. } if cause.reason.contains("not reachable")),
        "{state:?}"
    );
}

/// A stream that could not be had for a while is heard again, and what changed meanwhile is listed.
#[tokio::test]
async fn a_long_outage_of_the_stream_ends() {
    let away = [503_u16, 401, 403, 408, 409, 425, 429];
    for (modern, away) in [false, true].into_iter().flat_map(|modern| away.map(|away| (modern, away))) {
        let tries = Arc::new(AtomicUsize::new(0));
        let count = tries.clone();
        let (server, _seen) = web::scripted(modern, None, move |seen| {
            let listens = seen.method == Method::GET || seen.rpc() == "subscriptions/listen";
            if listens {
                let tried = count.fetch_add(1, Ordering::SeqCst);
                return now(if tried < 3 { status(away) } else { events(Vec::new(), true) });
            }
            let capabilities = json!({ "tools": { "listChanged": true } });
            match seen.rpc() {
                "server/discover" if modern => now(json_answer(
                    seen,
                    json!({ "supportedVersions": ["2026-07-28"], "capabilities": capabilities }),
                )),
                "tools/list" => {
                    let name = if count.load(Ordering::SeqCst) > 3 { "new" } else { "old" };
                    now(json_answer(seen, json!({ "tools": [{ "name": name }] })))
                }
                _ => None,
            }
        })
        .await;
        let (_set, upstream) = up(http("h", server.url())).await;
        until(&upstream, |s| tools(s) == ["new"]).await;
        assert_eq!(tries.load(Ordering::SeqCst), 4, "{modern} {away}");
    }
}

/// A wider `subscriptions/listen` that is not taken costs nobody the news of the narrower one.
#[tokio::test]
async fn a_refused_listen_leaves_the_one_before() {
    for refusal in [400_u16, 409, 429] {
        let (tries, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (count, tell, asked) = (tries.clone(), told.clone(), Arc::new(Notify::new()));
        let refused = asked.clone();
        let (server, _seen) = web::scripted(true, None, move |seen| {
            let capabilities =
                json!({ "tools": { "listChanged": true }, "resources": { "subscribe": true } });
            match seen.rpc() {
                "subscriptions/listen" => {
                    let tried = count.fetch_add(1, Ordering::SeqCst);
                    if tried == 1 {
                        refused.notify_one();
                        return now(status(refusal));
                    }
                    let tell = tell.clone();
                    let changed = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" });
                    let stream = async_stream::stream! {
                        tell.notified().await;
                        yield Ok::<_, std::io::Error>(format!("data: {changed}\n\n"));
                        std::future::pending::<()>().await;
                    };
                    let body = axum::body::Body::from_stream(stream);
                    now(([("content-type", "text/event-stream")], body).into_response())
                }
                "server/discover" => now(json_answer(
                    seen,
                    json!({ "supportedVersions": ["2026-07-28"], "capabilities": capabilities }),
                )),
                "resources/list" | "resources/templates/list" => {
                    now(json_answer(seen, json!({ "resources": [], "resourceTemplates": [] })))
                }
                "tools/list" => {
                    let name = if count.load(Ordering::SeqCst) > 1 { "new" } else { "old" };
                    now(json_answer(seen, json!({ "tools": [{ "name": name }] })))
                }
                _ => None,
            }
        })
        .await;
        let (_set, upstream) = up(http("h", server.url())).await;
        // The first stream stands once it was asked for; what is watched then asks for another.
        while tries.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        soon(upstream.watch_resource("file:///a", true)).await.unwrap();
        soon(asked.notified()).await;
        told.notify_one();
        until(&upstream, |s| tools(s) == ["new"]).await;
        let again = tries.load(Ordering::SeqCst);
        assert!(if refusal == 400 { again == 2 } else { again >= 2 }, "{refusal}: {again}");
    }
}

/// What an upstream refuses to one caller, or one caller has no time for, shuts nobody out.
#[tokio::test]
async fn a_callers_own_failures_open_no_breaker() {
    let (server, _seen) = web::scripted(true, None, |seen| match seen.tool() {
        "odd" => now(status(400)),
        "slow" => Some(Box::pin(std::future::pending())),
        "unknown-to-it" => now(status(401)),
        _ => None,
    })
    .await;
    let mut config = http("h", server.url());
    config.breaker = BreakerConfig { failures: 2, cooldown: Duration::from_secs(30) };
    let (_set, upstream) = up(config).await;
    for _ in 0..3 {
        assert!(
            matches!(call(&upstream, "odd").await, Err(UpstreamError::Refused(refusal)) if refusal.status == 400)
        );
        let mut slow = request("slow", json!({}));
        slow.timeout = Duration::from_millis(1);
        let error = soon(upstream.call(slow, caller().0)).await.unwrap_err();
        assert!(matches!(error, UpstreamError::TimedOut(_) | UpstreamError::NotSent(_)), "{error:?}");
    }
    assert!(call(&upstream, "t").await.is_ok());
    for _ in 0..2 {
        call(&upstream, "unknown-to-it").await.unwrap_err();
    }
    let error = call(&upstream, "t").await.unwrap_err();
    assert!(matches!(&error, UpstreamError::NotSent(why) if why.contains("keeps failing")), "{error:?}");
}

/// A list ends where it is larger than anybody needs: what was listed until then stays.
#[tokio::test]
async fn a_list_without_bounds_is_cut() {
    let pages = Arc::new(AtomicUsize::new(0));
    let count = pages.clone();
    let (server, _seen) = web::scripted(true, None, move |seen| {
        (seen.rpc() == "tools/list").then(|| {
            let page = count.fetch_add(1, Ordering::SeqCst);
            let tool = json!({ "name": format!("t{page}"), "description": "x".repeat(1 << 20) });
            now(json_answer(seen, json!({ "tools": [tool], "nextCursor": page.to_string() }))).unwrap()
        })
    })
    .await;
    let (_set, upstream) = up(http("h", server.url())).await;
    let listed: Vec<String> = (0..31).map(|page| format!("t{page}")).collect();
    assert_eq!(tools(&upstream.state().borrow()), listed);
    assert_eq!(pages.load(Ordering::SeqCst), 32);
    let missing = upstream.state().borrow().missing.clone();
    assert!(missing.iter().any(|why| why.contains("cut after 31 items")), "{missing:?}");
}

/// Over HTTP too: a question that comes without a name may be about another agent's call that was given up.
#[tokio::test]
async fn a_question_about_a_call_that_was_given_up_is_nobodys() {
    let ask = Arc::new(Notify::new());
    let told = ask.clone();
    let (server, mut seen) = web::scripted(false, None, move |seen| {
        if seen.method == Method::GET {
            let told = told.clone();
            let question =
                json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {} });
            let stream = async_stream::stream! {
                told.notified().await;
                yield Ok::<_, std::io::Error>(format!("data: {question}\n\n"));
                std::future::pending::<()>().await;
            };
            let body = axum::body::Body::from_stream(stream);
            return now(([("content-type", "text/event-stream")], body).into_response());
        }
        (seen.rpc() == "tools/call").then(|| Box::pin(std::future::pending()) as BoxFuture<'static, Response>)
    })
    .await;
    let (_set, upstream) = up(http("h", server.url())).await;
    let mut until = async |what: &dyn Fn(&Seen) -> bool| loop {
        let one = soon(seen.recv()).await.unwrap();
        if what(&one) {
            return one;
        }
    };
    for agent in ["a", "b"] {
        let (relay, mut hears) = caller();
        let mut of = request("t", json!({}));
        of.caller.agent = agent.into();
        let waiting = upstream.call(of, relay);
        tokio::pin!(waiting);
        tokio::select! {
            outcome = &mut waiting => panic!("{outcome:?}"),
            _ = until(&|one| one.rpc() == "tools/call") => {}
        }
        if agent == "b" {
            ask.notify_one();
            let answer = tokio::select! {
                outcome = &mut waiting => panic!("{outcome:?}"),
                answer = until(&|one| one.body["id"] == "q") => answer,
            };
            assert!(
                answer.body["error"]["message"].as_str().unwrap().contains("given up"),
                "{}",
                answer.body
            );
            assert!(hears.try_recv().is_err());
        }
    }
}

#[tokio::test]
async fn watched_resources_are_told_of_in_both_eras() {
    for modern in [true, false] {
        let (server, mut seen) = web::scripted(modern, None, move |seen| {
            let uris = &seen.body["params"]["notifications"]["resourceSubscriptions"];
            let updated = |meta: Value| {
                json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated",
                    "params": { "uri": "file:///a", "_meta": meta } })
            };
            if seen.rpc() == "subscriptions/listen" && uris == &json!(["file:///a"]) {
                let meta = json!({ "io.modelcontextprotocol/subscriptionId": seen.body["id"] });
                return now(events(vec![format!("data: {}\n\n", updated(meta))], true));
            }
            if seen.method == Method::GET {
                return now(events(vec![format!("data: {}\n\n", updated(json!({})))], true));
            }
            (seen.rpc() == "resources/subscribe").then(|| now(json_answer(seen, json!({}))).unwrap())
        })
        .await;
        let mut config = http("h", server.url());
        config.timeout = Duration::from_secs(10);
        let set = UpstreamSet::start([config], deps().0);
        let upstream = set.get(&name("h")).unwrap();
        let mut updates = upstream.updates();
        soon(set.settled()).await;
        soon(upstream.watch_resource("file:///a", true)).await.unwrap();
        let update = soon(updates.recv()).await.unwrap();
        assert_eq!((&*update.upstream, &*update.uri), ("h", "file:///a"));
        let subscribe = if modern { "subscriptions/listen" } else { "resources/subscribe" };
        while soon(seen.recv()).await.unwrap().rpc() != subscribe {}
    }
}

/// R100: what is called `ping` or `keepalive` is no message, whatever its data is: on the stream of an answer, on the
/// stream of a session and on that of a subscription.
#[tokio::test]
async fn events_of_other_names_are_no_messages() {
    for modern in [true, false] {
        let (server, _seen) = web::scripted(modern, None, move |seen| {
            let id = &seen.body["id"];
            let updated = |uri: &str| {
                json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": { "uri": uri } })
            };
            let answer = |n: u8| json!({ "jsonrpc": "2.0", "id": id, "result": { "n": n } });
            let listens = seen.method == Method::GET || seen.rpc() == "subscriptions/listen";
            match seen.rpc() {
                _ if listens => now(events(
                    vec![
                        format!("event: ping\ndata: {}\n\nevent: keepalive\ndata: now\n\n", updated("file:///no")),
                        format!("event: message\ndata: {}\n\n", updated("file:///yes")),
                    ],
                    true,
                )),
                "resources/subscribe" => now(json_answer(seen, json!({}))),
                "tools/call" => now(events(
                    vec![
                        format!("event: ping\ndata: {}\n\nevent: keepalive\ndata: {{}}\n\n", answer(1)),
                        "event: error\ndata: {\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":1}}\n\n".to_owned(),
                        format!("event: endpoint\ndata: /elsewhere\n\nevent: ping\ndata: {}\n\n", "x".repeat(300_000)),
                        format!("event: message\ndata: {}\n\n", answer(2)),
                    ],
                    true,
                )),
                _ => None,
            }
        })
        .await;
        let set = UpstreamSet::start([http("h", server.url())], deps().0);
        let upstream = set.get(&name("h")).unwrap();
        let mut updates = upstream.updates();
        soon(set.settled()).await;
        assert_eq!(call(&upstream, "t").await.unwrap()["n"], 2, "{modern}");
        soon(upstream.watch_resource("file:///yes", true)).await.unwrap();
        assert_eq!(&*soon(updates.recv()).await.unwrap().uri, "file:///yes", "{modern}");
    }
}
