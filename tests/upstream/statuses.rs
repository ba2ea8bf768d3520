//! HTTP statuses, redirects and waits: what an upstream says in place of an answer, and what is made of it.

use super::{
    support::*,
    web::{self, Seen, json_answer, json_error, status},
};
use axum::response::{IntoResponse as _, Response};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tollgate::{
    config::{BreakerConfig, UpstreamConfig, UpstreamTransport},
    model::RetryPlan,
    upstream::{Health, HttpRefusal, UpstreamError, UpstreamSet},
};

const CREDENTIAL: &str = "Bearer our-own-token-1";

fn now(response: Response) -> Option<BoxFuture<'static, Response>> {
    Some(Box::pin(async move { response }))
}

/// A status with headers and a JSON body.
fn refusal(code: u16, headers: &[(&'static str, &str)], body: Value) -> Response {
    let mut response = status(code);
    let json = ("content-type", "application/json");
    for (name, value) in headers.iter().chain([&json]) {
        response.headers_mut().append(*name, value.parse().unwrap());
    }
    *response.body_mut() = body.to_string().into();
    response
}

fn with_credential(url: url::Url) -> UpstreamConfig {
    let mut config = http("h", url);
    if let UpstreamTransport::Http { headers, .. } = &mut config.transport {
        headers.insert("Authorization".to_owned(), CREDENTIAL.to_owned().into());
    }
    config
}

/// Why an upstream could not be connected.
async fn reason(config: UpstreamConfig) -> String {
    let name = config.name.clone();
    let set = UpstreamSet::start([config], deps().0);
    soon(set.settled()).await;
    let state = set.get(&name).unwrap().state().borrow().clone();
    let Health::Down { cause, .. } = &state.health else { panic!("{state:?}") };
    cause.whole()
}

type Made = fn() -> Response;

/// R100: what an upstream is refused with reaches its health, whatever the body looks like, and no secret does.
#[tokio::test]
async fn a_status_is_heard_before_its_body() {
    let cases: [(Made, &[&str]); 7] = [
        (
            || {
                let challenge = r#"Bearer realm="files", error="invalid_token", nonce="n0nce", resource_metadata="https://u:p4ss@a.example/meta?key=k3y""#;
                let body = json!({ "error": "invalid_token", "error_description": "our-own-token-1 ended" });
                refusal(401, &[("www-authenticate", challenge)], body)
            },
            &[
                "HTTP status 401 Unauthorized",
                r#"realm="files""#,
                r#"error="invalid_token""#,
                "https://a.example/meta",
                "[our credential] ended",
            ],
        ),
        (
            || refusal(403, &[], json!({ "error": "Forbidden", "message": "no secret-word here" })),
            &["HTTP status 403 Forbidden", "no [redacted] here"],
        ),
        (
            || refusal(429, &[("retry-after", "41")], json!({ "error": "slow down" })),
            &["HTTP status 429 Too Many Requests", "Retry-After: 41s", "slow down"],
        ),
        (
            || refusal(503, &[("retry-after", "Thu, 01 Jan 1970 00:02:00 GMT")], json!([])),
            &["HTTP status 503 Service Unavailable", "Retry-After: 2m"],
        ),
        (
            || refusal(500, &[], json!({ "error": { "code": 500, "message": "a\u{1b}[31mb" } })),
            &["HTTP status 500", "a[U+001B][31mb"],
        ),
        (
            || {
                let error = json!({ "code": -32001, "message": "Who are you?" });
                refusal(401, &[], json!({ "jsonrpc": "2.0", "id": null, "error": error }))
            },
            &["HTTP status 401", "Who are you?"],
        ),
        (
            || refusal(308, &[("location", "https://u:p4ss@b.example/mcp/v2?key=k3y")], json!({})),
            &["HTTP status 308", "https://b.example/mcp/v2"],
        ),
    ];
    for (made, expected) in cases {
        let (server, _seen) = web::scripted(false, None, move |_| now(made())).await;
        let reason = reason(with_credential(server.url())).await;
        for part in expected {
            assert!(reason.contains(part), "{part}: {reason}");
        }
        for secret in ["our-own-token", "n0nce", "p4ss", "k3y", "secret-word", "not HTTP+SSE"] {
            let is_of_403 = secret == "not HTTP+SSE" && reason.contains("403");
            assert!(is_of_403 || !reason.contains(secret), "{secret}: {reason}");
        }
    }
}

/// Called once it is up: the call has the status, and nobody else has.
#[tokio::test]
async fn a_refused_call_says_why_and_costs_itself() {
    let (server, mut seen) = web::scripted(true, None, |seen| match seen.tool() {
        "scope" => now(refusal(
            403,
            &[("www-authenticate", "Bearer error=\"insufficient_scope\"")],
            json!({ "error": "no" }),
        )),
        "full" => now(refusal(507, &[], json!({ "error": "full" }))),
        // It answered the request itself.
        "own" => now(json_error(seen, 403, json!({ "code": -32050, "message": "not yours" }))),
        "endless" => {
            let body =
                axum::body::Body::from_stream(futures::stream::pending::<Result<String, std::io::Error>>());
            let mut response = body.into_response();
            *response.status_mut() = axum::http::StatusCode::CONFLICT;
            now(response)
        }
        "gone" => now(refusal(302, &[("location", "/elsewhere")], json!({}))),
        // Neither an error of JSON-RPC nor a notification, though they look like it.
        "odd" => {
            now(refusal(400, &[], json!({ "method": "POST", "error": { "code": 7, "message": "odd" } })))
        }
        _ => None,
    })
    .await;
    let mut config = http("h", server.url());
    config.breaker = BreakerConfig { failures: 3, cooldown: Duration::from_secs(30) };
    let (_set, upstream) = up(config).await;
    let refused = async |tool: &str| match call(&upstream, tool).await {
        Err(UpstreamError::Refused(refusal)) => refusal,
        other => panic!("{tool}: {other:?}"),
    };
    for _ in 0..4 {
        let scope = refused("scope").await;
        assert_eq!((scope.status, scope.is_challenge), (403, true));
        assert!(scope.to_string().contains("insufficient_scope"), "{scope}");
    }
    let full = refused("full").await;
    assert!(full.is_failure() && full.to_string().contains("it says: full"), "{full}");
    let error = call(&upstream, "own").await.unwrap_err();
    assert!(matches!(&error, UpstreamError::Rpc(error) if error.code == -32050), "{error:?}");
    assert_eq!(refused("endless").await, HttpRefusal::bare(409));
    let gone = refused("gone").await;
    assert!(gone.said.starts_with("it redirects to /elsewhere on its own origin"), "{gone}");
    let odd = refused("odd").await;
    assert_eq!((odd.status, &*odd.said), (400, "it says: odd"));
    assert!(call(&upstream, "t").await.is_ok());
    while let Ok(one) = seen.try_recv() {
        assert_eq!(one.method, axum::http::Method::POST, "nothing is followed");
    }
}

/// A wait that the upstream asks for is kept within a call only where it is short, and never makes an unsafe call safe.
#[tokio::test]
async fn a_wait_that_is_asked_for_is_kept_where_it_is_short() {
    let (server, mut seen) = web::scripted(true, None, |seen| match seen.tool() {
        "soon" => now(refusal(429, &[("retry-after", "0")], json!({}))),
        "late" => now(refusal(503, &[("retry-after", "86400")], json!({}))),
        "never" => now(refusal(429, &[], json!({}))),
        _ => None,
    })
    .await;
    let (_set, upstream) = up(http("h", server.url())).await;
    for (tool, retry, times) in [
        ("soon", RetryPlan::Never, 1),
        ("soon", RetryPlan::Safe, 2),
        ("late", RetryPlan::Safe, 1),
        ("never", RetryPlan::Safe, 1),
    ] {
        let mut asks = request(tool, json!({}));
        asks.retry = retry;
        let error = soon(upstream.call(asks, caller().0)).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Refused(_)), "{error:?}");
        let mut calls = 0;
        while let Ok(one) = seen.try_recv() {
            calls += usize::from(one.rpc() == "tools/call");
        }
        assert_eq!(calls, times, "{tool} {retry:?}");
    }
}

/// One that cannot be connected and asks for a day is asked again all the same, and is not asked twice at once.
#[tokio::test]
async fn a_wait_before_connecting_is_bounded() {
    let tries = Arc::new(AtomicUsize::new(0));
    let count = tries.clone();
    let (server, mut seen) = web::scripted(true, None, move |_| {
        (count.fetch_add(1, Ordering::SeqCst) == 0)
            .then(|| now(refusal(429, &[("retry-after", "86400")], json!({}))).unwrap())
    })
    .await;
    let (mut deps, _) = deps();
    deps.timing.retry_after = Duration::from_millis(5);
    let set = UpstreamSet::start([http("h", server.url())], deps);
    let upstream = set.get(&name("h")).unwrap();
    until(&upstream, |state| state.health == Health::Up).await;
    let asked: Vec<String> =
        std::iter::from_fn(|| seen.try_recv().ok()).map(|one| one.rpc().to_owned()).collect();
    assert_eq!(asked.iter().take(2).collect::<Vec<_>>(), ["server/discover", "server/discover"]);
}

/// Lists that cannot be had cost themselves: R100.
#[tokio::test]
async fn one_bad_list_costs_itself() {
    type Odd = fn(&Seen) -> Option<BoxFuture<'static, Response>>;
    let bad: [(Odd, &str); 6] = [
        (|seen| now(json_answer(seen, Value::Null)), "neither"),
        (|seen| now(json_answer(seen, json!({ "items": [] }))), "without `prompts`"),
        (|seen| now(json_error(seen, 200, json!({ "code": -32603, "message": "down" }))), "error -32603"),
        (|_| now(refusal(503, &[], json!({ "error": "no database" }))), "HTTP status 503"),
        (|_| Some(Box::pin(std::future::pending())), "no answer within"),
        (
            |seen| match seen.body["params"]["cursor"].as_str() {
                None => now(json_answer(seen, json!({ "prompts": [{ "name": "p" }], "nextCursor": "2" }))),
                Some(_) => now(json_error(seen, 200, json!({ "code": -32602, "message": "what cursor?" }))),
            },
            "the first 1 items are there",
        ),
    ];
    let all = json!({ "tools": {}, "prompts": {} });
    for (odd, expected) in bad {
        let all = all.clone();
        let (server, _seen) = web::scripted(true, None, move |seen| match seen.rpc() {
            "server/discover" => {
                now(json_answer(seen, json!({ "supportedVersions": ["2026-07-28"], "capabilities": all })))
            }
            "prompts/list" => odd(seen),
            _ => None,
        })
        .await;
        let (mut deps, _) = deps();
        if expected == "no answer within" {
            deps.timing.other_lists = Duration::from_millis(50);
        }
        let set = UpstreamSet::start([http("h", server.url())], deps);
        soon(set.settled()).await;
        let state = set.get(&name("h")).unwrap().state().borrow().clone();
        assert_eq!((&state.health, tools(&state)), (&Health::Up, vec!["t"]), "{expected}");
        assert!(
            state.missing[0].contains("`prompts/list`") && state.missing[0].contains(expected),
            "{state:?}"
        );
    }
    // The tools are such a list too, where there is anything else to serve. What is empty in another way is empty.
    let (server, _seen) = web::scripted(true, None, move |seen| match seen.rpc() {
        "server/discover" => {
            let all = json!({ "tools": {}, "prompts": {}, "resources": {} });
            now(json_answer(seen, json!({ "supportedVersions": ["2026-07-28"], "capabilities": all })))
        }
        "tools/list" => now(refusal(500, &[], json!({ "error": "x" }))),
        "prompts/list" => now(json_answer(seen, json!({ "prompts": [{ "name": "p" }], "nextCursor": "" }))),
        "resources/list" => now(json_answer(seen, json!({ "resources": null }))),
        "resources/templates/list" => {
            now(json_answer(seen, json!({ "resourceTemplates": null, "nextCursor": null })))
        }
        _ => None,
    })
    .await;
    let (_set, upstream) = up(http("h", server.url())).await;
    let state = upstream.state().borrow().clone();
    assert_eq!((state.listing.prompts.len(), state.missing.len()), (1, 1), "{state:?}");
    assert!(state.missing[0].contains("`tools/list`") && state.missing[0].contains("500"), "{state:?}");
}

/// A list that did not come in time for the tools is there soon after.
#[tokio::test]
async fn a_slow_list_follows_the_tools() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let (server, _seen) = web::scripted(true, None, move |seen| match seen.rpc() {
        "server/discover" => {
            let all = json!({ "tools": {}, "prompts": {} });
            now(json_answer(seen, json!({ "supportedVersions": ["2026-07-28"], "capabilities": all })))
        }
        "prompts/list" if count.fetch_add(1, Ordering::SeqCst) == 0 => Some(Box::pin(std::future::pending())),
        "prompts/list" => now(json_answer(seen, json!({ "prompts": [{ "name": "p" }] }))),
        _ => None,
    })
    .await;
    let (mut deps, _) = deps();
    deps.timing.other_lists = Duration::from_millis(50);
    // Nothing else asks for the lists again.
    deps.timing.restart_max = Duration::from_secs(3_600);
    let set = UpstreamSet::start([http("h", server.url())], deps);
    let upstream = set.get(&name("h")).unwrap();
    let state = until(&upstream, |state| state.health == Health::Up).await;
    assert!(state.listing.prompts.is_empty() && !state.missing.is_empty(), "{state:?}");
    until(&upstream, |state| state.listing.prompts.len() == 1 && state.missing.is_empty()).await;
}

/// Versions of before 2025 have the same messages.
#[tokio::test]
async fn old_versions_are_served() {
    for (version, strict) in
        [("2024-10-07", false), ("2024-11-05", false), ("2024-11-05", true), ("2024-10-07", true)]
    {
        let (server, _seen) = web::scripted(false, None, move |seen| {
            let offered = seen.body["params"]["protocolVersion"].as_str().unwrap_or_default().to_owned();
            match seen.rpc() {
                "initialize" if strict && offered != version => {
                    let data = json!({ "supported": [version], "requested": offered });
                    let error =
                        json!({ "code": -32602, "message": "Unsupported protocol version", "data": data });
                    now(json_error(seen, 400, error))
                }
                "initialize" => now(json_answer(
                    seen,
                    json!({ "protocolVersion": version, "capabilities": { "tools": {} }, "serverInfo": {} }),
                )),
                _ => None,
            }
        })
        .await;
        let (_set, upstream) = up(http("h", server.url())).await;
        assert!(call(&upstream, "t").await.is_ok(), "{version} {strict}");
        let role = format!("{}:{version}", if strict { "strict" } else { "speaks" });
        let (_set, upstream) = up(stdio("s", &role)).await;
        assert!(call(&upstream, "one").await.is_ok(), "{role}");
    }
    let (server, _seen) = web::scripted(false, None, |seen| {
        let answer = json!({ "protocolVersion": "1999-\u{7}01", "capabilities": {}, "serverInfo": {} });
        (seen.rpc() == "initialize").then(|| now(json_answer(seen, answer)).unwrap())
    })
    .await;
    let reason = reason(http("h", server.url())).await;
    assert!(
        reason.contains("a protocol version that is not known here") && !reason.contains("1999"),
        "{reason}"
    );
}
