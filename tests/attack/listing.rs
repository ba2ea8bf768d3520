//! Upstreams whose lists, answers and errors are made to cost others: memory, the connection, a second call.

use super::upstream::{
    ANSWERS, LISTS, call, child, deps, http, person, plain, reply, request, serve, soon, up,
};
use axum::{
    http::{HeaderValue, Method, StatusCode},
    response::IntoResponse as _,
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tollgate::{
    config::UpstreamConfig,
    model::{RetryPlan, RpcError, weight::weight},
    upstream::{Era, Health, Timing, Upstream, UpstreamError, UpstreamSet},
};

/// The upstream, once it has listed or failed.
async fn settled(config: UpstreamConfig, timing: Timing) -> (UpstreamSet, Arc<dyn Upstream>) {
    let mut deps = deps();
    deps.timing = timing;
    let set = UpstreamSet::start([config], deps);
    soon(set.settled()).await;
    let upstream = set.get(&"up".into()).unwrap();
    (set, upstream)
}

fn names(upstream: &Arc<dyn Upstream>) -> Vec<String> {
    let state = upstream.state().borrow().clone();
    state.listing.tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn with_lists(message: &Value) -> axum::response::Response {
    let capabilities = json!({"tools": {}, "prompts": {}, "resources": {}});
    let version = json!({"protocolVersion": "2025-11-25", "serverInfo": {}, "capabilities": capabilities});
    reply(message, &version)
}

/// A list that cannot be read, does not come, or is refused is missing, and is told to be; all the others are there.
#[tokio::test]
async fn one_bad_list_costs_itself_only() {
    let url = serve(|method, message| {
        Box::pin(async move {
            match message["method"].as_str().unwrap_or_default() {
                "initialize" => with_lists(&message),
                "tools/list" if message["params"]["cursor"] == "2" => {
                    reply(&message, &json!({"tools": {"name": "x"}}))
                }
                "tools/list" => {
                    reply(&message, &json!({"tools": [{"name": "t"}, {"name": "u"}], "nextCursor": "2"}))
                }
                "prompts/list" => reply(&message, &json!({"prompt": []})),
                "resources/list" => std::future::pending().await,
                "resources/templates/list" => StatusCode::BAD_GATEWAY.into_response(),
                _ => plain(&method, &message),
            }
        })
    })
    .await;
    let timing = Timing { list: Duration::from_secs(1), ..Timing::default() };
    let (_set, upstream) = settled(http(&url), timing).await;
    let state = upstream.state().borrow().clone();
    assert_eq!(state.health, Health::Up);
    assert_eq!(names(&upstream), ["t", "u"]);
    for method in ["tools/list", "prompts/list", "resources/list", "resources/templates/list"] {
        let told = state.missing.iter().filter(|why| why.starts_with(&format!("`{method}` ")));
        assert_eq!(told.count(), 1, "{method}: {:?}", state.missing);
    }
    call(&upstream, "a", "t").await.unwrap();
}

/// One bad item of each list, or a bad member of one, costs itself only, and is told.
#[tokio::test]
async fn one_bad_item_costs_itself_only() {
    let url = serve(|method, message| {
        Box::pin(async move {
            let result = match message["method"].as_str().unwrap_or_default() {
                "initialize" => return with_lists(&message),
                "tools/list" => json!({"tools": [
                    {"name": "t", "annotations": [], "description": {"en": "d"}},
                    {"name": false}, {"name": "u", "title": null}, {"name": "u"}
                ]}),
                "prompts/list" => json!({"prompts": [{"name": "p", "arguments": 7}, "p2"]}),
                "resources/list" => json!({"resources": [{"uri": "x://r"}, {"name": "no"}]}),
                "resources/templates/list" => {
                    json!({"resourceTemplates": [{"uriTemplate": "x://{z}", "name": "z", "icons": "i"}]})
                }
                _ => return plain(&method, &message),
            };
            reply(&message, &result)
        })
    })
    .await;
    let (_set, upstream) = up(http(&url)).await;
    let state = upstream.state().borrow().clone();
    let listing = &state.listing;
    assert_eq!(listing.tools, [json!({"name": "t"}), json!({"name": "u"})]);
    assert_eq!(listing.prompts, [json!({"name": "p"})]);
    assert_eq!(listing.resources, [json!({"uri": "x://r", "name": "x://r"})]);
    assert_eq!(listing.templates, [json!({"uriTemplate": "x://{z}", "name": "z"})]);
    for told in [
        "`tools/list`: items left out: 2,",
        "`tools/list`: members of items left out, because they have a wrong type: 2,",
        "`prompts/list`: items left out: 1,",
        "`prompts/list`: members of items left out, because they have a wrong type: 1, the first is `arguments` of `p`",
        "`resources/list`: items left out: 1,",
        "`resources/templates/list`: members of items left out, because they have a wrong type: 1,",
    ] {
        let count = state.missing.iter().filter(|why| why.starts_with(told)).count();
        assert_eq!(count, 1, "{told}: {:?}", state.missing);
    }
    assert_eq!(state.missing.len(), 6, "{:?}", state.missing);
}

/// Null in the place of a capability is no word about tools: they are asked for, and an error means that there are none.
#[tokio::test]
async fn capabilities_of_null_do_not_hide_the_tools() {
    for (capabilities, has_tools) in
        [(json!(null), true), (json!({"tools": null}), true), (json!(null), false), (json!({}), false)]
    {
        let declared = capabilities.clone();
        let url = serve(move |method, message| {
            let capabilities = declared.clone();
            Box::pin(async move {
                match message["method"].as_str().unwrap_or_default() {
                    "initialize" => {
                        let info = json!({"protocolVersion": "2025-11-25", "serverInfo": {}, "capabilities": capabilities});
                        reply(&message, &info)
                    }
                    "tools/list" if !has_tools => {
                        let error = json!({"code": -32603, "message": "what tools?"});
                        axum::Json(json!({"jsonrpc": "2.0", "id": message["id"], "error": error})).into_response()
                    }
                    _ => plain(&method, &message),
                }
            })
        })
        .await;
        let (_set, upstream) = up(http(&url)).await;
        assert_eq!(!names(&upstream).is_empty(), has_tools, "{capabilities}");
        assert!(upstream.state().borrow().missing.is_empty(), "{capabilities}");
    }
}

/// What was missing is looked for again, and is there as soon as the upstream can give it.
#[tokio::test]
async fn a_list_that_was_missing_comes_later() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let url = serve(move |method, message| {
        let count = count.clone();
        Box::pin(async move {
            match message["method"].as_str().unwrap_or_default() {
                "initialize" => with_lists(&message),
                "prompts/list" if count.fetch_add(1, Ordering::SeqCst) < 2 => {
                    let error = json!({"code": -32603, "message": "not yet"});
                    axum::Json(json!({"jsonrpc": "2.0", "id": message["id"], "error": error})).into_response()
                }
                // What is wrong with an item is not looked for again.
                "prompts/list" => reply(&message, &json!({"prompts": [{"name": "p"}, {"name": 1}]})),
                "resources/list" | "resources/templates/list" => {
                    reply(&message, &json!({"resources": [], "resourceTemplates": []}))
                }
                _ => plain(&method, &message),
            }
        })
    })
    .await;
    let timing = Timing { restart_max: Duration::from_millis(20), ..Timing::default() };
    let (_set, upstream) = settled(http(&url), timing).await;
    let first = upstream.state().borrow().clone();
    assert!(matches!(&*first.missing, [why] if why.contains("prompts/list")), "{first:?}");
    let whole = |state: &Arc<tollgate::upstream::UpstreamState>| !state.listing.prompts.is_empty();
    let state = soon(upstream.state().wait_for(whole)).await.unwrap().clone();
    assert_eq!(state.listing.prompts.len(), 1);
    assert!(matches!(&*state.missing, [why] if why.contains("items left out: 1")), "{state:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

/// A list of several megabytes that nobody needs takes no tools away, and the bound that is told is the one that counts.
#[tokio::test]
async fn a_list_beyond_the_bound_is_missing_only() {
    let url = serve(|method, message| {
        Box::pin(async move {
            match message["method"].as_str().unwrap_or_default() {
                "initialize" => with_lists(&message),
                "prompts/list" => {
                    reply(&message, &json!({"prompts": [{"name": "p", "description": "x".repeat(9 << 20)}]}))
                }
                "resources/list" | "resources/templates/list" => {
                    reply(&message, &json!({"resources": [], "resourceTemplates": []}))
                }
                _ => plain(&method, &message),
            }
        })
    })
    .await;
    let (_set, upstream) = up(http(&url)).await;
    let missing = upstream.state().borrow().missing.clone();
    assert!(
        matches!(&*missing, [why] if why.contains("prompts/list") && why.contains("8388608")),
        "{missing:?}"
    );
}

/// An upstream that cannot list any more keeps what it listed, its connection, and the calls on it.
#[tokio::test]
async fn a_failed_list_later_keeps_the_one_before() {
    let list =
        format!(r#"n=$((n+1)); if [ $n = 1 ]; then {LISTS}; else answer "$id" '{{"tools":"none"}}'; fi"#);
    let acts = r#"case "$line" in
      *'"name":"waits"'*) waits=$id ;;
      *'"name":"change"'*) printf '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n'; answer "$id" '{"content":[]}' ;;
      *) answer "$waits" '{"content":[],"waited":true}'; answer "$id" '{"content":[]}' ;;
    esac"#;
    let (_set, upstream) = up(child("n=0", &list, acts, ":")).await;
    let mut states = upstream.state();
    let others = async {
        call(&upstream, "b", "change").await.unwrap();
        soon(states.wait_for(|state| !state.missing.is_empty() || state.health != Health::Up)).await.unwrap();
        call(&upstream, "b", "t").await.unwrap();
    };
    let (waited, ()) = tokio::join!(call(&upstream, "a", "waits"), others);
    assert_eq!(waited.unwrap()["waited"], true);
    let state = upstream.state().borrow().clone();
    assert_eq!((state.health.clone(), names(&upstream)), (Health::Up, vec!["t".to_owned()]), "{state:?}");
}

/// What a list costs in memory is bounded, by item, by page and in all, whatever it is in text.
#[tokio::test]
async fn lists_of_many_small_values_are_cut() {
    let zeros = |count: usize| vec![0; count];
    let url = serve(move |method, message| {
        Box::pin(async move {
            if message["method"] != "tools/list" {
                return plain(&method, &message);
            }
            let page: usize = message["params"]["cursor"].as_str().map_or(0, |text| text.parse().unwrap());
            let tool = |name: String, values: usize| json!({"name": name, "_meta": {"x": zeros(values)}});
            let tools: Vec<Value> = match page {
                // One item that is too large, among others.
                0 => vec![tool("small".into(), 10), tool("huge".into(), 40_000), tool("after".into(), 10)],
                1..=9 => (0..12).map(|n| tool(format!("t{page}-{n}"), 12_000)).collect(),
                // A page of more values than one message may have.
                _ => (0..30).map(|n| tool(format!("last-{n}"), 12_000)).collect(),
            };
            reply(&message, &json!({"tools": tools, "nextCursor": (page + 1).to_string()}))
        })
    })
    .await;
    let (_set, upstream) = up(http(&url)).await;
    let names = names(&upstream);
    assert_eq!(names[..2], ["small", "after"]);
    let tools = upstream.state().borrow().listing.tools.clone();
    let all: usize = tools.iter().map(|tool| weight(tool, usize::MAX)).sum();
    assert!((8 << 20..=32 << 20).contains(&all), "{all}");
    assert!(!names.iter().any(|name| name == "huge" || name.starts_with("last")), "{names:?}");
}

/// A result of more values than a message may have ends its call, and no other.
#[tokio::test]
async fn an_answer_that_cannot_be_read_ends_its_own_call_at_once() {
    let acts = r#"case "$line" in
      *'"name":"waits"'*) waits=$id ;;
      *'"name":"odd"'*) printf '{"jsonrpc":"2.0","result":{"a":tru},"id":%s}\n' "$id" ;;
      *'"name":"number"'*) answer "$id" 5 ;;
      *'"name":"text"'*) answer "$id" '"x"' ;;
      *'"name":"batch"'*) printf '[{"jsonrpc":"2.0","method":7},9,{"jsonrpc":"2.0","id":%s,"result":{"ok":1}}]\n' "$id" ;;
      *'"name":"asks"'*) printf '{"id":%s,"method":"x/y","params":{"a":tru}}\n' "$waits"; answer "$id" '{"content":[]}' ;;
      *) answer "$waits" '{"content":[]}'; answer "$id" '{"content":[]}' ;;
    esac"#;
    let mut config = child("", LISTS, acts, ":");
    config.breaker.failures = 100;
    let (_set, upstream) = up(config).await;
    let others = async {
        for (agent, tool) in [("b", "odd"), ("c", "number"), ("d", "text")] {
            let error = call(&upstream, agent, tool).await.unwrap_err();
            assert!(matches!(error, UpstreamError::Malformed(_)), "{tool}: {error:?}");
        }
        assert_eq!(call(&upstream, "e", "batch").await.unwrap()["ok"], 1);
        // An id in a question is no id of ours.
        call(&upstream, "e", "asks").await.unwrap();
        call(&upstream, "e", "t").await.unwrap();
    };
    let (waited, ()) = tokio::join!(call(&upstream, "a", "waits"), others);
    waited.unwrap();
}

/// An event that cannot be read, on the stream of one call, is no answer to it.
#[tokio::test]
async fn a_bad_event_costs_itself_only() {
    let url = serve(|method, message| {
        Box::pin(async move {
            if message["method"] != "tools/call" {
                return plain(&method, &message);
            }
            let good = json!({"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}});
            let bad = match message["params"]["name"].as_str().unwrap_or_default() {
                "bad-answer" => format!("{{\"id\":{},\"result\":{{\"a\":tru}}}}", message["id"]),
                _ => "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"a\":tru}}"
                    .to_owned(),
            };
            ([("content-type", "text/event-stream")], format!("data: {bad}\n\ndata: {good}\n\n"))
                .into_response()
        })
    })
    .await;
    let (_set, upstream) = up(http(&url)).await;
    call(&upstream, "a", "t").await.unwrap();
    let error = call(&upstream, "a", "bad-answer").await.unwrap_err();
    assert!(matches!(error, UpstreamError::Malformed(_)), "{error:?}");
}

/// One call's error says nothing of the connection to the others: not in the era that has no such error, and in the other
/// only where it is true.
#[tokio::test]
async fn one_error_about_versions_ends_no_connection() {
    let acts = r#"case "$line" in
      *'"name":"waits"'*) waits=$id ;;
      *'"name":"odd"'*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32022,"message":"v","data":{"supported":["2020-01-01"]}}}\n' "$id" ;;
      *) answer "$waits" '{"content":[]}'; answer "$id" '{"content":[]}' ;;
    esac"#;
    let (_set, upstream) = up(child("", LISTS, acts, ":")).await;
    let others = async {
        let error = call(&upstream, "b", "odd").await.unwrap_err();
        assert!(matches!(error, UpstreamError::Rpc(RpcError { code: -32022, .. })), "{error:?}");
        call(&upstream, "b", "t").await.unwrap();
    };
    let (waited, ()) = tokio::join!(call(&upstream, "a", "waits"), others);
    waited.unwrap();

    let is_old = Arc::new(AtomicUsize::new(0));
    let old = is_old.clone();
    let url = serve(move |method, message| {
        let old = old.load(Ordering::SeqCst) > 0;
        Box::pin(async move {
            let unsupported = || {
                let error = json!({"code": -32022, "message": "v", "data": {"supported": ["2025-11-25"]}});
                axum::Json(json!({"jsonrpc": "2.0", "id": message["id"], "error": error})).into_response()
            };
            match message["method"].as_str().unwrap_or_default() {
                "server/discover" if old => unsupported(),
                "server/discover" => reply(
                    &message,
                    &json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}),
                ),
                "tools/call" if message["params"]["name"] == "odd" => unsupported(),
                _ => plain(&method, &message),
            }
        })
    })
    .await;
    let (_set, upstream) = up(http(&url)).await;
    assert_eq!(upstream.era(), Some(Era::Modern));
    call(&upstream, "a", "odd").await.unwrap_err();
    assert_eq!(upstream.state().borrow().health, Health::Up);
    call(&upstream, "b", "t").await.unwrap();
    assert_eq!(upstream.era(), Some(Era::Modern));
    // Where it has really changed it is connected anew, as what it is now.
    is_old.store(1, Ordering::SeqCst);
    call(&upstream, "a", "odd").await.unwrap_err();
    let legacy = |state: &Arc<tollgate::upstream::UpstreamState>| state.era == Some(Era::Legacy);
    soon(upstream.state().wait_for(legacy)).await.unwrap();
}

/// What a server with sessions does for the tools that a test has it do.
#[derive(Default)]
struct Sessions {
    opened: AtomicUsize,
    acted: AtomicUsize,
    /// No further session is given.
    is_closed: AtomicUsize,
    /// The session that counts; another is unknown.
    current: AtomicUsize,
}

async fn with_sessions(sessions: Arc<Sessions>) -> String {
    async fn answer(sessions: Arc<Sessions>, method: Method, message: Value) -> axum::response::Response {
        let unknown = |words: &str| {
            let error = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": words}});
            (StatusCode::BAD_REQUEST, axum::Json(error)).into_response()
        };
        match message["method"].as_str().unwrap_or_default() {
            "initialize" if sessions.is_closed.load(Ordering::SeqCst) > 0 => {
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
            "initialize" => {
                let number = sessions.opened.fetch_add(1, Ordering::SeqCst) + 1;
                sessions.current.store(number, Ordering::SeqCst);
                let mut response = plain(&method, &message);
                let id = HeaderValue::from_str(&format!("s{number}")).unwrap();
                response.headers_mut().insert("mcp-session-id", id);
                response
            }
            // It has lost the session before it looked at the request.
            _ if sessions.current.load(Ordering::SeqCst) == 0 => StatusCode::NOT_FOUND.into_response(),
            "tools/call" => {
                let acted = sessions.acted.fetch_add(1, Ordering::SeqCst);
                match message["params"]["name"].as_str().unwrap_or_default() {
                    "gone" | "dead" if acted == 0 => StatusCode::NOT_FOUND.into_response(),
                    "words" => unknown("the session of the customer could not be charged"),
                    "known" if acted == 0 => unknown("Bad Request: No valid session ID provided"),
                    _ => plain(&method, &message),
                }
            }
            _ => plain(&method, &message),
        }
    }
    serve(move |method, message| Box::pin(answer(sessions.clone(), method, message))).await
}

/// A call that must not be repeated is posted once, whatever an upstream says of its session, and what was posted is never
/// said not to have been sent.
#[tokio::test]
async fn what_must_not_be_repeated_is_posted_once() {
    for (tool, safe, acts) in [
        ("gone", false, 1),
        ("known", false, 1),
        ("words", false, 1),
        ("dead", false, 1),
        ("gone", true, 2),
        ("known", true, 2),
        ("words", true, 1),
        ("dead", true, 1),
    ] {
        let sessions = Arc::new(Sessions::default());
        let (_set, upstream) = up(http(&with_sessions(sessions.clone()).await)).await;
        sessions.is_closed.store(usize::from(tool == "dead"), Ordering::SeqCst);
        let mut asked = request("a", tool);
        asked.retry = if safe { RetryPlan::Safe } else { RetryPlan::Never };
        let outcome = soon(upstream.call(asked, person().0)).await;
        assert_eq!(sessions.acted.load(Ordering::SeqCst), acts, "{tool} {safe}: {outcome:?}");
        match (&outcome, tool) {
            (Ok(_), "gone" | "known") if safe => {}
            (Err(UpstreamError::Rpc(_)), "words") => {}
            (Err(UpstreamError::Lost(_)), _) => {}
            _ => panic!("{tool} {safe}: {outcome:?}"),
        }
    }
}

/// A session that ended while nobody called is found to have ended before a call is made, which is then made once.
#[tokio::test]
async fn a_session_that_ended_meanwhile_costs_no_call() {
    let sessions = Arc::new(Sessions::default());
    let url = with_sessions(sessions.clone()).await;
    let timing = Timing { silence: Duration::ZERO, ..Timing::default() };
    let (_set, upstream) = settled(http(&url), timing).await;
    call(&upstream, "a", "t").await.unwrap();
    sessions.current.store(0, Ordering::SeqCst);
    call(&upstream, "a", "t").await.unwrap();
    assert_eq!(sessions.acted.load(Ordering::SeqCst), 2);
    assert_eq!(sessions.opened.load(Ordering::SeqCst), 2);
    // Where there is no other session, nothing of the call was sent, and that is what is said.
    sessions.current.store(0, Ordering::SeqCst);
    sessions.is_closed.store(1, Ordering::SeqCst);
    let error = call(&upstream, "a", "t").await.unwrap_err();
    assert!(matches!(error, UpstreamError::NotSent(_)), "{error:?}");
    assert_eq!(sessions.acted.load(Ordering::SeqCst), 2);
}

/// A stream that is cut over and over, after an event with an id and without any wait, is asked for at a bounded rate.
#[tokio::test]
async fn a_stream_that_is_cut_without_end_is_resumed_slowly() {
    let resumed = Arc::new(AtomicUsize::new(0));
    let seen = resumed.clone();
    let url = serve(move |method, message| {
        let seen = seen.clone();
        Box::pin(async move {
            if method == Method::POST && message["method"] != "tools/call" {
                return plain(&method, &message);
            }
            let number = seen.fetch_add(1, Ordering::SeqCst);
            let event =
                format!("retry: 0\nid: e{number}\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"n/n\"}}\n\n");
            ([("content-type", "text/event-stream")], event).into_response()
        })
    })
    .await;
    let mut config = http(&url);
    config.timeout = Duration::from_secs(2);
    let (_set, upstream) = up(config).await;
    call(&upstream, "a", "t").await.unwrap_err();
    let count = resumed.load(Ordering::SeqCst);
    assert!((2..30).contains(&count), "{count}");
}

/// A child that reads no more keeps a bounded number of bytes waiting; what does not fit was never sent.
#[tokio::test]
async fn a_child_that_reads_no_more_holds_little() {
    let (_set, upstream) = up(child("", LISTS, "exec sleep 1000", ":")).await;
    let calls = (0..14).map(|_| {
        let mut big = request("a", "t");
        let params = json!({"name": "t", "arguments": {"text": "x".repeat(2 << 20)}});
        big.params = Arc::new(params.as_object().unwrap().clone());
        big.timeout = Duration::from_millis(500);
        upstream.call(big, person().0)
    });
    let outcomes = soon(futures::future::join_all(calls)).await;
    let count = |what: fn(&UpstreamError) -> bool| {
        outcomes.iter().filter_map(|o| o.as_ref().err()).filter(|e| what(e)).count()
    };
    let sent = count(|error| matches!(error, UpstreamError::TimedOut(_)));
    let not_sent = count(|error| matches!(error, UpstreamError::NotSent(_)));
    assert!((1..=8).contains(&sent) && sent + not_sent == 14, "{outcomes:?}");
}

/// Nothing of the above is in the way of a plain upstream.
#[tokio::test]
async fn a_plain_upstream_misses_nothing() {
    let (_set, upstream) = up(child("", LISTS, ANSWERS, ":")).await;
    call(&upstream, "a", "t").await.unwrap();
    assert!(upstream.state().borrow().missing.is_empty());
}
