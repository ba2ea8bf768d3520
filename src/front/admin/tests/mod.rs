//! The admin API over a store in memory: who gets in, what is refused with which status, and that the document
//! tells the truth.

use super::{
    routes::{Access, table},
    *,
};
use crate::{
    identity::key_digest,
    model::{AlertKind, AlertStatus, ApprovalStatus, Digest, EventDecision, EventDraft, EventType, TraceId},
    policy::Role,
    store::{ApprovalRecord, Bound, GrantAnswer, GrantEnd, GrantEndReason, StandingGrant},
};
use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Method, Request, StatusCode, header},
    response::Response,
};
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tower::ServiceExt as _;

mod double;
mod signed_in;

pub(super) use double::scripted;
use double::{Scripted, grantable, record};

struct Answered {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    text: String,
    body: Value,
}

async fn send(port: &Arc<Scripted>, request: Request<Body>) -> Answered {
    send_from(port, [127, 0, 0, 1], request).await
}

async fn send_from(port: &Arc<Scripted>, peer: [u8; 4], mut request: Request<Body>) -> Answered {
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from((peer, 5000))));
    let response: Response = router(port.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    Answered {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8_lossy(&bytes).into_owned(),
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    }
}

fn request(method: Method, path: &str, key: Option<&str>, body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "127.0.0.1:8788");
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

async fn get_as(port: &Arc<Scripted>, path: &str, key: Option<&str>) -> Answered {
    send(port, request(Method::GET, path, key, "")).await
}

async fn decide_as(port: &Arc<Scripted>, id: &str, key: Option<&str>, body: &str) -> Answered {
    send(port, request(Method::POST, &format!("/api/v1/approvals/{id}/decision"), key, body)).await
}

/// Of `POST explain`.
const QUESTION: &str = r#"{"agent":"planner-01","tool":"crm__find","arguments":{"n":1}}"#;

fn error_code(answered: &Answered) -> &str {
    answered.body["error"]["code"].as_str().unwrap_or_default()
}

/// Whose key has which role alone.
const ROLES: [(&str, Role); 5] = [
    ("key-of-alice", Role::Approver),
    ("key-of-dave", Role::Admin),
    ("key-of-carol", Role::Auditor),
    ("key-of-frank", Role::AuditorFull),
    ("key-of-vera", Role::Viewer),
];

/// Each route with a body and ids that it can do something with.
fn asked(method: &str, path: &str) -> (Method, String, &'static str) {
    let path = path.replace("{id}", "a1").replace("{trace_id}", "0af7651916cd43dd8448eb211c80319c");
    let body = match method {
        "post" if path.ends_with("/explain") => QUESTION,
        "post" => "{}",
        _ => "",
    };
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    (method, path.replace("{snapshot}", "feedface"), body)
}

/// The table is what is enforced: whoever has one of a route's roles comes through, and nobody else.
#[tokio::test]
async fn every_route_takes_the_roles_of_its_row() {
    let port = scripted();
    // So that the stream ends.
    port.stopped.cancel();
    port.memory.approvals.lock().push(record("a1", false));
    let mut granted = made_grant(&grantable("a1"));
    granted.id = "a1".into();
    port.memory.grants.lock().push(granted);
    let mut tried = 0_u8;
    for (method, path, access, _) in table() {
        let (method, path, body) = asked(method, path);
        // Wrong keys of one address are soon not looked at any more.
        tried += 1;
        let peer = [127, 0, 1, tried];
        let status = async |key: Option<&str>| {
            let got = send_from(&port, peer, request(method.clone(), &path, key, body)).await;
            got.status.as_u16()
        };
        let roles = match access {
            Access::Anybody => {
                let (without, with) = (status(None).await, status(Some("wrong")).await);
                // Nobody signs in by an issuer here, and nothing is to be connected.
                let expect =
                    if path.starts_with("/signin") || path.starts_with("/connections") { 404 } else { 200 };
                assert_eq!((without, with), (expect, expect), "{path}");
                continue;
            }
            Access::Details(roles) | Access::Scrapers(roles) => {
                assert_eq!(status(None).await, 200, "{path}");
                roles
            }
            Access::People(roles) => {
                // An anonymous agent is configured: it opens nothing here.
                assert_eq!(status(None).await, 401, "{path}");
                roles
            }
        };
        assert_eq!(status(Some("wrong")).await, 401, "{path}");
        assert_eq!(status(Some("key-of-planner")).await, 403, "{path}");
        assert_eq!(status(Some("key-of-erin")).await, 403, "{path}");
        for (key, role) in ROLES {
            let got = status(Some(key)).await;
            assert_ne!(got, 401, "{path} {key}");
            // An approver whom no rule names does not decide, and revokes only what they made.
            let own = path.ends_with("/decision") || (method == Method::DELETE && path.contains("/grants/"));
            match roles.contains(&role) {
                true => assert!(got != 403 || own, "{method} {path} {key}"),
                false => assert_eq!(got, 403, "{method} {path} {key}"),
            }
        }
    }
    let missing = get_as(&port, "/api/v1/agents", None).await;
    assert!(missing.headers[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Bearer"));
    assert_eq!(error_code(&missing), "unauthenticated");
    assert!(missing.body["error"]["message"].is_string());
    let viewer = get_as(&port, "/api/v1/events", Some("key-of-vera")).await;
    let said = viewer.body["error"]["message"].as_str().unwrap();
    assert!(said.contains("`approver`, `admin`, `auditor` or `auditor-full`"), "{said}");
}

/// Everything that tells of an argument, to those who see values and to those who do not.
#[tokio::test]
async fn values_of_arguments_are_for_those_whose_role_shows_them() {
    let port = scripted();
    let mut asked = record("a1", false);
    asked.arguments = json!({"path": "/srv/the-value"});
    asked.context.meta = json!({"k": "the-value"});
    let (id, trace) = (asked.id.clone(), asked.trace_id);
    port.memory.approvals.lock().push(asked.clone());
    let mut grant = made_grant(&grantable("a1"));
    grant.id = "g1".into();
    grant.terms.arguments = [("path".to_owned(), Bound::Within("/srv/the-value".to_owned()))].into();
    port.memory.grants.lock().push(grant);
    let mut event = EventDraft::system(EventType::AgentDecision, port.now());
    event.trace_id = Some(trace);
    event.call_id = Some("c1".into());
    event.approval_id = Some(id);
    event.grant_id = Some("g1".into());
    event.decision = Some(EventDecision::Approved);
    event.detail = Some(json!({"arguments": {"path": "/srv/the-value"}, "steps": [{"policy_id": "p1"}]}));
    port.memory.append(vec![event]);
    let paths = [
        "/api/v1/events".to_owned(),
        format!("/api/v1/traces/{trace}"),
        "/api/v1/approvals".to_owned(),
        "/api/v1/approvals/a1".to_owned(),
        "/api/v1/grants".to_owned(),
        "/api/v1/grants/g1".to_owned(),
    ];
    for path in &paths {
        let shows = async |key: &str| {
            let got = get_as(&port, path, Some(key)).await;
            assert_eq!(got.status, 200, "{path} {key}: {}", got.text);
            (got.text.contains("the-value"), got.text.contains("[withheld:string:14]"))
        };
        assert_eq!(shows("key-of-frank").await, (true, false), "{path}");
        assert_eq!(shows("key-of-dave").await, (true, false), "{path}");
        assert_eq!(shows("key-of-carol").await, (false, true), "{path}");
        // Alice's group is not named by the rule, bob's is.
        assert_eq!(shows("key-of-alice").await, (false, true), "{path}");
        // He may decide it, and has made the grant.
        assert_eq!(shows("key-of-bob").await, (true, false), "{path}");
        assert_eq!(get_as(&port, path, Some("key-of-vera")).await.status, 403, "{path}");
    }
    // With a hash, values could be tried; bob sees this event whole, and not those before it.
    for (key, shows) in [("frank", true), ("dave", true), ("carol", false), ("alice", false), ("bob", false)]
    {
        let key = format!("key-of-{key}");
        for path in &paths[..2] {
            let got = get_as(&port, path, Some(&key)).await;
            for event in got.body["events"].as_array().unwrap() {
                assert_eq!(
                    (event["hash"].is_string(), event["prev_hash"].is_string()),
                    (shows, shows),
                    "{key}: {path}"
                );
                assert!(event["seq"].is_u64());
            }
            assert!(shows || !got.text.contains(&"0".repeat(60)), "{key} {path}: {}", got.text);
        }
    }
    let seen = get_as(&port, "/api/v1/events", Some("key-of-carol")).await.body;
    let detail = &seen["events"][0]["detail"];
    assert_eq!((&detail["withheld"], &detail["steps"][0]["policy_id"]), (&json!(true), &json!("p1")));
}

/// What was asked at a URI is an argument: it is not told, and cannot be tried by filters.
#[tokio::test]
async fn a_query_of_a_uri_is_no_filter_of_those_who_see_no_values() {
    let port = scripted();
    let mut event = EventDraft::system(EventType::AgentSideEffect, port.now());
    event.tool = Some("https://h/find?q=4711".into());
    event.reason = Some("the upstream answered with error 5: no pin 4711".into());
    port.memory.append(vec![event]);
    let found = async |key: &str, tool: &str| {
        let got = get_as(&port, &format!("/api/v1/events?tool={tool}"), Some(key)).await;
        let told = got.body["events"].as_array().map(Vec::len);
        assert!(key != "key-of-carol" || !got.text.contains("4711"), "{}", got.text);
        (got.status.as_u16(), told, got.body["truncated"].as_bool())
    };
    let (carol, frank) = ("key-of-carol", "key-of-frank");
    let one = (200, Some(1), Some(false));
    for exact in ["https://h/find%3Fq=4711", "https://h/find%3F*"] {
        assert_eq!(found(frank, exact).await, one, "{exact}");
        assert_eq!(found(carol, exact).await.0, 400, "{exact}");
    }
    // What does not name a query matches none, whoever asks.
    for (tool, expect) in [("**4711", 0), ("https://h/*7*", 0), ("https://h/**", 1), ("https://h/find", 1)] {
        for key in [carol, frank] {
            assert_eq!(found(key, tool).await, (200, Some(expect), Some(false)), "{key} {tool}");
        }
    }
    let granted =
        async |key: &str| get_as(&port, "/api/v1/grants?tool=https://h/find%3Fq=4711", Some(key)).await;
    assert_eq!((granted(carol).await.status.as_u16(), granted(frank).await.status.as_u16()), (400, 200));
}

/// What is in force is changed by admins alone.
#[tokio::test]
async fn only_an_admin_says_what_is_in_force() {
    let port = scripted();
    for (method, path, _, _) in table() {
        if method != "post" || !path.starts_with("/api/v1/policies/") {
            continue;
        }
        let bodies = [r#"{"reason": "x"}"#, r#"{"snapshot": "feedface", "reason": "x"}"#];
        for (key, refused) in [
            (None, Some(401)),
            (Some("key-of-planner"), Some(403)),
            (Some("key-of-erin"), Some(403)),
            (Some("key-of-alice"), Some(403)),
            (Some("key-of-carol"), Some(403)),
            (Some("key-of-dave"), None),
        ] {
            let mut statuses = Vec::new();
            for body in bodies {
                statuses.push(send(&port, request(Method::POST, path, key, body)).await.status.as_u16());
            }
            match refused {
                Some(status) => assert_eq!(statuses, [status; 2], "{path} {key:?}"),
                // The scripted gateway has no rollout, and takes every other order.
                None => assert!(statuses.iter().any(|s| [200, 409].contains(s)), "{path} {statuses:?}"),
            }
        }
    }
}

/// Only admins say anything about alerts, incidents and duties; auditors too look at calls afterwards.
#[tokio::test]
async fn only_those_who_may_answer_for_it_say_something() {
    let port = scripted();
    let as_one = async |path: &str, key: Option<&str>, body: &str| {
        send(&port, request(Method::POST, &format!("/api/v1/{path}"), key, body)).await.status.as_u16()
    };
    for (path, body, reviewers) in [
        ("alerts/a1", r#"{"action": "ack"}"#, 403),
        ("incidents/a1", r#"{"action": "close", "note": "x"}"#, 403),
        ("duties/d1", r#"{"action": "done", "note": "x"}"#, 403),
        ("samples/c1", r#"{"finding": "ok"}"#, 404),
    ] {
        for (key, status) in [
            (None, 401),
            (Some("wrong"), 401),
            (Some("key-of-planner"), 403),
            (Some("key-of-erin"), 403),
            (Some("key-of-alice"), 403),
            (Some("key-of-carol"), reviewers),
            (Some("key-of-dave"), 404),
        ] {
            assert_eq!(as_one(path, key, body).await, status, "{path} {key:?}");
        }
        for wrong in [
            "",
            "[]",
            r#"{"action": "else"}"#,
            r#"{"more": 1}"#,
            r#"{"action": 1}"#,
            r#"{"finding": "fine"}"#,
        ] {
            assert_eq!(as_one(path, Some("key-of-dave"), wrong).await, 400, "{path} {wrong}");
        }
    }
}

/// Whoever may read sees what is frozen; admins alone freeze and lift, and each is told.
#[tokio::test]
async fn only_an_admin_freezes() {
    let port = scripted();
    let body = r#"{"agent": "planner-01", "reason": "incident 4711"}"#;
    let as_one = async |method: Method, path: &str, key: Option<&str>, body: &str| {
        send(&port, request(method, &format!("/api/v1/{path}"), key, body)).await
    };
    for (key, status) in [
        (None, 401),
        (Some("wrong"), 401),
        (Some("key-of-planner"), 403),
        (Some("key-of-erin"), 403),
        (Some("key-of-alice"), 403),
        (Some("key-of-carol"), 403),
    ] {
        assert_eq!(as_one(Method::POST, "freeze", key, body).await.status, status, "{key:?}");
        assert_eq!(as_one(Method::DELETE, "freeze/x", key, "").await.status, status, "{key:?}");
    }
    let dave = Some("key-of-dave");
    let wrong = [
        "{}",
        r#"{"agent": "a"}"#,
        r#"{"agent": "a", "reason": " "}"#,
        r#"{"agent": "a", "all": true, "reason": "r"}"#,
        r#"{"all": false, "reason": "r"}"#,
        r#"{"all": "yes", "reason": "r"}"#,
        r#"{"tool": "", "reason": "r"}"#,
        r#"{"tool": "a\nb", "reason": "r"}"#,
        r#"{"tools": "a", "reason": "r"}"#,
    ];
    for body in wrong {
        let got = as_one(Method::POST, "freeze", dave, body).await;
        assert_eq!((got.status.as_u16(), error_code(&got)), (400, "bad_request"), "{body}: {}", got.text);
    }
    assert!(port.memory.events.lock().is_empty());
    let made = as_one(Method::POST, "freeze", dave, body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let id = made.body["id"].as_str().unwrap().to_owned();
    assert_eq!((&made.body["agent"], &made.body["by"]), (&json!("planner-01"), &json!("dave")));
    let again = as_one(Method::POST, "freeze", dave, r#"{"agent": "planner-01", "reason": "again"}"#).await;
    assert_eq!((again.status.as_u16(), &again.body["id"]), (200, &json!(id)));
    assert_eq!((&again.body["already"], &again.body["reason"]), (&json!(true), &json!("incident 4711")));
    let near = as_one(Method::POST, "freeze", dave, r#"{"agent": "planner-1", "reason": "r"}"#).await;
    assert_eq!(near.status, 201);
    assert!(near.body["warning"].as_str().unwrap().contains("did you mean `planner-01`"), "{}", near.text);
    let listed = get_as(&port, "/api/v1/freeze", Some("key-of-carol")).await.body;
    assert_eq!(listed["freezes"].as_array().unwrap().len(), 2, "{listed:#}");
    let lifted = as_one(Method::DELETE, &format!("freeze/{id}?reason=over"), dave, "").await;
    assert_eq!((lifted.status.as_u16(), &lifted.body["agent"]), (200, &json!("planner-01")));
    assert_eq!(as_one(Method::DELETE, &format!("freeze/{id}"), dave, "").await.status, 404);
    let events = port.memory.events.lock();
    let told: Vec<_> =
        events.iter().map(|e| (e.draft.event_type.as_str(), e.draft.reason.as_deref())).collect();
    assert_eq!(told, [("frozen", Some("incident 4711")), ("frozen", Some("r")), ("unfrozen", Some("over"))]);
    assert_eq!(events[2].draft.detail.as_ref().unwrap()["person"], "dave");
}

/// Whoever may read sees what is held; admins alone hold and release, and each is told.
#[tokio::test]
async fn only_an_admin_holds_records() {
    let port = scripted();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let body = format!(r#"{{"trace": "{trace}", "reason": "case 17"}}"#);
    let as_one = async |method: Method, path: &str, key: Option<&str>, body: &str| {
        send(&port, request(method, &format!("/api/v1/{path}"), key, body)).await
    };
    for (key, status) in
        [(None, 401), (Some("key-of-planner"), 403), (Some("key-of-alice"), 403), (Some("key-of-carol"), 403)]
    {
        assert_eq!(as_one(Method::POST, "holds", key, &body).await.status, status, "{key:?}");
        assert_eq!(as_one(Method::DELETE, "holds/x?reason=r", key, "").await.status, status, "{key:?}");
    }
    let dave = Some("key-of-dave");
    for body in [
        "{}",
        r#"{"agent": "a"}"#,
        r#"{"agent": "a", "reason": " "}"#,
        r#"{"agent": "", "reason": "r"}"#,
        r#"{"agent": "a\nb", "reason": "r"}"#,
        r#"{"trace": "xyz", "reason": "r"}"#,
        r#"{"agent": "a", "trace": "0af7651916cd43dd8448eb211c80319c", "reason": "r"}"#,
        r#"{"tool": "a", "reason": "r"}"#,
    ] {
        let got = as_one(Method::POST, "holds", dave, body).await;
        assert_eq!((got.status.as_u16(), error_code(&got)), (400, "bad_request"), "{body}: {}", got.text);
    }
    assert!(port.memory.events.lock().is_empty());
    let made = as_one(Method::POST, "holds", dave, &body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!((&made.body["trace"], &made.body["by"]), (&json!(trace), &json!("dave")));
    let id = made.body["id"].as_str().unwrap().to_owned();
    let listed = get_as(&port, "/api/v1/holds", Some("key-of-carol")).await.body;
    assert_eq!(listed["holds"][0]["id"], json!(id), "{listed:#}");
    assert_eq!(
        as_one(Method::DELETE, &format!("holds/{id}"), dave, "").await.status,
        400,
        "it takes a reason"
    );
    let path = format!("holds/{id}?reason=closed");
    let released = as_one(Method::DELETE, &path, dave, "").await;
    assert_eq!((released.status.as_u16(), &released.body["reason"]), (200, &json!("case 17")));
    assert_eq!(as_one(Method::DELETE, &path, dave, "").await.status, 404);
    let events = port.memory.events.lock();
    let told: Vec<_> = events
        .iter()
        .map(|e| (e.draft.action.as_deref(), e.draft.reason.as_deref(), e.draft.detail.as_ref().unwrap()))
        .map(|(action, reason, detail)| (action, reason, detail["status"].as_str(), &detail["person"]))
        .collect();
    assert_eq!(
        told,
        [
            (Some("legal_hold"), Some("case 17"), Some("placed"), &json!("dave")),
            (Some("legal_hold"), Some("closed"), Some("released"), &json!("dave")),
        ]
    );
}

#[tokio::test]
async fn failed_attempts_are_limited_and_a_right_key_still_works() {
    let port = scripted();
    let mut last = StatusCode::OK;
    for _ in 0..25 {
        let got = get_as(&port, "/api/v1/agents", Some("wrong")).await;
        last = got.status;
        if last == 429 {
            assert!(got.headers.contains_key(header::RETRY_AFTER));
        }
    }
    assert_eq!(last, 429);
    assert_eq!(get_as(&port, "/api/v1/agents", Some("key-of-carol")).await.status, 200);
}

#[tokio::test]
async fn deciding_answers_with_the_contracts_statuses() {
    let port = scripted();
    for (id, evidence) in [("a1", true), ("a2", false), ("a3", false)] {
        port.memory.approvals.lock().push(record(id, evidence));
    }
    let check = async |id: &str, key: Option<&str>, body: &str, status: u16, code: &str| {
        let got = decide_as(&port, id, key, body).await;
        assert_eq!(
            (got.status.as_u16(), error_code(&got)),
            (status, code),
            "{id} {key:?} {body}: {}",
            got.text
        );
        got
    };
    let (approve, bob) = (r#"{"decision":"approve"}"#, Some("key-of-bob"));
    check("a1", None, approve, 401, "unauthenticated").await;
    check("a1", Some("wrong"), approve, 401, "unauthenticated").await;
    check("a1", Some("key-of-planner"), approve, 403, "forbidden").await;
    // R29: `admin` alone does not decide, nor does an approver whom the rule does not name.
    check("a1", Some("key-of-dave"), approve, 403, "forbidden").await;
    check("a1", Some("key-of-carol"), approve, 403, "forbidden").await;
    check("a1", Some("key-of-alice"), approve, 403, "forbidden").await;
    check("nope", bob, approve, 404, "not_found").await;
    for bad in ["", "[]", "{}", r#"{"decision":"maybe"}"#, r#"{"decision":"approve","x":1}"#] {
        check("a1", bob, bad, 400, "bad_request").await;
    }
    check("a1", bob, r#"{"decision":"reject","decision":"approve"}"#, 400, "bad_request").await;
    let large = format!(r#"{{"decision":"approve","comment":"{}"}}"#, "x".repeat(MAX_BODY));
    check("a1", bob, &large, 413, "too_large").await;
    // R30
    check("a1", bob, approve, 422, "evidence_missing").await;
    assert!(port.memory.events.lock().is_empty(), "nothing that was refused leaves a trace of a decision");
    let done = check("a1", bob, r#"{"decision":"approve","evidence":"T-1","comment":"seen"}"#, 200, "").await;
    assert_eq!(done.body["status"], "approved");
    assert_eq!(done.body["decisions"][0]["person"], "bob");
    assert_eq!(done.body["decisions"][0]["channel"], "api");
    assert_eq!(done.body["decisions"][0]["evidence"], "T-1");
    check("a1", bob, r#"{"decision":"reject"}"#, 409, "conflict").await;
    // R22
    assert_eq!(check("a2", bob, r#"{"decision":"reject"}"#, 200, "").await.body["status"], "rejected");
    assert_eq!(port.memory.events.lock().len(), 2);
    // R24: what nobody decided in time cannot be approved any more.
    port.clock.advance(std::time::Duration::from_secs(15 * 60));
    check("a3", bob, approve, 409, "conflict").await;
    let expired = get_as(&port, "/api/v1/approvals?status=expired", bob).await;
    assert_eq!(expired.body["approvals"].as_array().unwrap().len(), 2, "{}", expired.text);
    assert_eq!(get_as(&port, "/api/v1/approvals/a3/decision", bob).await.status, 405);
}

fn made_grant(record: &ApprovalRecord) -> StandingGrant {
    let duration = Duration::from_secs(3600);
    let answer = GrantAnswer { duration, uses: 2, arguments: [("path".to_owned(), Bound::Any(true))].into() };
    record.granted(&answer, vec!["bob".into()], record.created_at).unwrap()
}

/// R87: an answer makes a grant within the rule's limits, and no other; it is listed, and revoked by whom it may be.
#[tokio::test]
async fn grants_are_made_listed_and_revoked() {
    let port = scripted();
    for id in ["a1", "a2", "a3"] {
        port.memory.approvals.lock().push(grantable(id));
    }
    port.memory.approvals.lock().push(record("plain", false));
    let check = async |id: &str, grant: Value, status: u16, part: &str| {
        let body = json!({"decision": "approve", "grant": grant}).to_string();
        let got = decide_as(&port, id, Some("key-of-bob"), &body).await;
        assert_eq!(got.status, status, "{body}: {}", got.text);
        assert!(got.text.contains(part), "{body}: {}", got.text);
        got
    };
    let one = json!({"duration": "1h", "uses": 10, "arguments": {"path": {"within": "/scratch"}}});
    check("plain", one.clone(), 422, "policy `prod-safety-gate` allows none").await;
    let bad = [
        (json!({"duration": "9h", "uses": 10}), "from 1s to 8h"),
        (json!({"duration": "1h", "uses": 51}), "from 1 to 50"),
        (json!({"duration": "1h", "uses": 0}), "from 1 to 50"),
        (
            json!({"duration": "1h", "uses": 1, "arguments": {"path": {"within": "scratch"}}}),
            "argument `path` is no path",
        ),
        (
            json!({"duration": "1h", "uses": 1, "arguments": {"path": {"within": "/a/%2e%2e/../.."}}}),
            "is no path",
        ),
        (
            json!({"duration": "1h", "uses": 1, "arguments": {"path": {"glob": "a***"}}}),
            "argument `path` is no glob",
        ),
        (
            json!({"duration": "1h", "uses": 1, "arguments": {"mode": {"equals": "ghp_012345678901234567890123456789012345"}}}),
            "secret",
        ),
        (
            json!({"duration": "1h", "uses": 1, "arguments": {"mode": {"equals": "x".repeat(5000)}}}),
            "larger than 4096",
        ),
    ];
    for (grant, part) in bad {
        check("a1", grant, 422, part).await;
    }
    check(
        "a1",
        json!({"duration": "1h", "uses": 1, "arguments": {"path": {"any": false}}}),
        400,
        "takes `true`",
    )
    .await;
    let rejects = json!({"decision": "reject", "grant": one}).to_string();
    assert_eq!(decide_as(&port, "a1", Some("key-of-bob"), &rejects).await.status, 422);
    assert!(port.memory.grants.lock().is_empty(), "nothing that was refused made one");
    let made = check("a1", one.clone(), 200, "grant-a1").await.body;
    assert_eq!(
        (&made["status"], &made["decisions"][0]["grant_id"]),
        (&json!("approved"), &json!("grant-a1"))
    );
    assert_eq!(made["decisions"][0]["grant"], one);
    let get = async |path: &str| get_as(&port, path, Some("key-of-frank")).await;
    let listed = get("/api/v1/grants").await.body;
    let grant = &listed["grants"][0];
    assert_eq!(
        (&grant["id"], &grant["agent"], &grant["tool"]),
        (&json!("grant-a1"), &json!("planner-01"), &json!("files__write_file"))
    );
    assert_eq!((&grant["uses_left"], &grant["approver"]), (&json!(10), &json!("bob")));
    assert_eq!((&grant["arguments"], &grant["as_asked"]), (&one["arguments"], &json!(["mode"])));
    let events = get("/api/v1/events?event_type=grant_made").await.body;
    assert_eq!(events["events"][0]["grant_id"], "grant-a1", "{events:#}");
    let revoke = async |key: &str, id: &str| {
        let request = request(Method::DELETE, &format!("/api/v1/grants/{id}?reason=enough"), Some(key), "");
        send(&port, request).await
    };
    // An auditor reads; an approver who did not make it may not; nobody revokes what is not there.
    for (key, id, status) in [
        ("key-of-frank", "grant-a1", 403),
        ("key-of-alice", "grant-a1", 403),
        ("key-of-planner", "grant-a1", 403),
        ("key-of-bob", "grant-zz", 404),
    ] {
        assert_eq!(revoke(key, id).await.status, status, "{key} {id}");
    }
    let revoked = revoke("key-of-bob", "grant-a1").await;
    assert_eq!(
        (revoked.status.as_u16(), &revoked.body["status"]),
        (200, &json!("revoked")),
        "{}",
        revoked.text
    );
    assert_eq!(revoked.body["ended"]["reason"], "enough");
    assert_eq!(revoke("key-of-dave", "grant-a1").await.status, 409);
    assert_eq!(get("/api/v1/grants").await.body["grants"], json!([]));
    assert_eq!(get("/api/v1/grants?status=all").await.body["grants"][0]["status"], "revoked");
    // An admin revokes anybody's.
    check("a2", one.clone(), 200, "grant-a2").await;
    assert_eq!(revoke("key-of-dave", "grant-a2").await.status, 200);
    assert_eq!(get("/api/v1/grants?status=some").await.status, 400);
    // So many are live at a time, and no more.
    let granted = made_grant(&grantable("a3"));
    port.memory.grants.lock().extend(std::iter::repeat_n(granted, 100));
    check("a3", one, 422, "has 100 live grants already").await;
    assert_eq!(get("/api/v1/approvals/a3").await.body["status"], "pending", "it was not decided either");
}

/// What varies without a folder around it is nothing that a grant is proposed for: five harmless commands are not any command.
#[tokio::test]
async fn no_grant_is_proposed_for_anything_at_all() {
    let port = scripted();
    for n in 0..6 {
        let id = format!("old-{n}");
        let mut old = grantable(&id);
        old.arguments["path"] = json!(format!("ls -l {n}"));
        old.shape.as_mut().unwrap().arguments.insert("path".to_owned(), Digest::from(format!("p{n}")));
        port.memory.approvals.lock().push(old);
        decide_as(&port, &id, Some("key-of-bob"), r#"{"decision":"approve"}"#).await;
    }
    let mut new = grantable("new");
    new.arguments["path"] = json!("rm -r /");
    port.memory.approvals.lock().push(new);
    let got = get_as(&port, "/api/v1/approvals/new", Some("key-of-bob")).await;
    assert_eq!((got.status.as_u16(), &got.body["proposed_grant"]), (200, &Value::Null));
}

/// R87: a grant is proposed where one approver has given the same answer to the same shape of call five times.
#[tokio::test]
async fn a_grant_is_proposed_after_the_same_answer_five_times() {
    let port = scripted();
    let get =
        async |id: &str| get_as(&port, &format!("/api/v1/approvals/{id}"), Some("key-of-bob")).await.body;
    for n in 0..6 {
        let mut old = grantable(&format!("old-{n}"));
        old.arguments["path"] = json!(format!("/scratch/dir-{}/f{n}", n % 2));
        old.shape.as_mut().unwrap().arguments.insert("path".to_owned(), Digest::from(format!("p{n}")));
        port.memory.approvals.lock().push(old);
    }
    port.memory.approvals.lock().push(grantable("new"));
    assert_eq!(get("new").await["grants"], json!({"max_duration": "8h", "max_uses": 50}));
    for n in 0..5 {
        assert_eq!(get("new").await["proposed_grant"], Value::Null, "after {n} answers");
        decide_as(&port, &format!("old-{n}"), Some("key-of-bob"), r#"{"decision":"approve"}"#).await;
    }
    let expect = json!({
        "approver": "bob", "times": 5, "duration": "1h", "uses": 10, "arguments": {"path": {"within": "/scratch"}},
    });
    assert_eq!(get("new").await["proposed_grant"], expect);
    // What is proposed is taken as it stands.
    let mut asked = expect;
    asked.as_object_mut().unwrap().retain(|name, _| !["approver", "times"].contains(&name.as_str()));
    let body = json!({"decision": "approve", "grant": asked}).to_string();
    assert_eq!(decide_as(&port, "new", Some("key-of-bob"), &body).await.status, 200);
    assert_eq!(get("new").await["proposed_grant"], Value::Null, "it waits no more");
    // Nothing is told of what is masked.
    let mut masked = grantable("masked");
    masked.shape.as_mut().unwrap().masked.insert("path".to_owned());
    port.memory.approvals.lock().push(masked);
    assert_eq!(get("masked").await["proposed_grant"], Value::Null);
}

/// SPEC 3: a key that is removed opens nothing from the next message on, and a decision is one when it is whole.
#[tokio::test]
async fn a_decision_counts_for_the_person_as_they_are_when_it_is_read() {
    let port = scripted();
    port.memory.approvals.lock().push(record("a1", false));
    let check = async |change: &dyn Fn(&mut crate::policy::Person), status: u16| {
        port.change(|_| {});
        let (come, coming) = futures::channel::mpsc::unbounded::<Result<_, std::io::Error>>();
        come.unbounded_send(Ok(r#"{"decision":"#.as_bytes())).unwrap();
        let mut request = request(Method::POST, "/api/v1/approvals/a1/decision", Some("key-of-bob"), "");
        let (asked, asking) = tokio::sync::oneshot::channel();
        let mut asked = Some(asked);
        // The head has been looked at once the body is asked for.
        let body = coming.inspect(move |_| {
            asked.take().map(|asked| asked.send(()));
        });
        *request.body_mut() = Body::from_stream(body);
        let change = async {
            asking.await.unwrap();
            port.change(|authority| change(authority.people.get_mut("bob").unwrap()));
            come.unbounded_send(Ok(br#""approve"}"#)).unwrap();
            drop(come);
        };
        let (answered, ()) = tokio::join!(send(&port, request), change);
        assert_eq!(answered.status, status, "{}", answered.text);
    };
    check(&|bob| bob.keys.clear(), 401).await;
    check(&|bob| bob.roles.clear(), 403).await;
    assert!(port.memory.events.lock().is_empty());
    check(&|_| {}, 200).await;
}

/// Who sees counts alone sees nobody's name in what was spent.
#[tokio::test]
async fn a_viewer_sees_no_person_in_what_was_spent() {
    let port = scripted();
    for (call, user) in [("c1", Some("alice")), ("c2", Some("bob")), ("c3", None)] {
        let at = port.now().checked_sub(jiff::SignedDuration::from_mins(1)).unwrap();
        let mut event = EventDraft::system(EventType::AgentSideEffect, at);
        event.call_id = Some(call.into());
        event.agent_id = Some("planner-01".into());
        event.user = user.map(Into::into);
        event.outcome = Some(crate::model::Outcome::Succeeded);
        event.cost_usd = Some(crate::model::MicroUsd(1_000_000));
        port.memory.append(vec![event]);
    }
    let lines = async |key: &'static str| {
        let report = get_as(&port, "/api/v1/report/spend?since=1d", Some(key)).await.body;
        let line = |one: &Value| (one["user"].clone(), one["calls"].clone());
        report["user"].as_array().unwrap().iter().map(line).collect::<Vec<_>>()
    };
    let named = lines("key-of-carol").await;
    assert!(
        named.contains(&(json!("alice"), json!(1))) && named.contains(&(json!("bob"), json!(1))),
        "{named:?}"
    );
    assert_eq!(lines("key-of-vera").await, [(json!("(others)"), json!(2)), (Value::Null, json!(1))]);
}

/// The stream is for a person who may read, as they are when each message goes out.
#[tokio::test]
async fn a_stream_ends_with_the_right_to_read_it() {
    type Change = fn(&mut crate::policy::Person);
    let changes: [(Change, &str); 4] = [
        (|_| {}, "event: "),
        (|bob| bob.roles.clear(), ""),
        (|bob| bob.keys.clear(), ""),
        (|bob| bob.keys = vec![crate::policy::ApiKey::new(key_digest(b"another"))], ""),
    ];
    for (change, expect) in changes {
        let port = scripted();
        port.memory.append(vec![EventDraft::system(EventType::Alert, port.now())]);
        let event = Arc::new(port.memory.events.lock()[0].clone());
        let mut request = request(Method::GET, "/api/v1/stream", Some("key-of-bob"), "");
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5000))));
        let answer = router(port.clone()).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut body = answer.into_body().into_data_stream();
        let mut next = async || {
            body.next()
                .await
                .map_or_else(String::new, |part| String::from_utf8_lossy(&part.unwrap()).into_owned())
        };
        assert!(next().await.starts_with(": tollgate"));
        port.memory.committed.send(event.clone()).unwrap();
        assert!(next().await.starts_with("event: event"));
        port.change(|authority| change(authority.people.get_mut("bob").unwrap()));
        port.memory.committed.send(event).unwrap();
        let said = next().await;
        assert!(said.starts_with(expect) && said.is_empty() == expect.is_empty(), "{said}");
        // The same of approvals.
        port.memory.approvals.lock().push(record("a1", false));
        port.memory.changes.send_modify(|count| *count += 1);
        let said = next().await;
        assert_eq!(said.starts_with("event: approval"), !expect.is_empty(), "{said}");
    }
}

/// An agent chooses its traces: whoever looks at one gets the newest of it, and is told so.
#[tokio::test]
async fn what_is_long_is_cut_and_says_so() {
    let port = scripted();
    let trace = TraceId::parse("0af7651916cd43dd8448eb211c80319c").unwrap();
    let path = "/api/v1/traces/0af7651916cd43dd8448eb211c80319c";
    let append = |count: usize| {
        let mut event = EventDraft::system(EventType::Alert, port.now());
        event.trace_id = Some(trace);
        port.memory.append(vec![event; count]);
    };
    append(params::MAX_LIMIT);
    let whole = get_as(&port, path, Some("key-of-carol")).await.body;
    assert_eq!((whole["events"].as_array().unwrap().len(), &whole["truncated"]), (1000, &json!(false)));
    append(1);
    let cut = get_as(&port, path, Some("key-of-carol")).await.body;
    let seqs: Vec<i64> =
        cut["events"].as_array().unwrap().iter().map(|e| e["seq"].as_i64().unwrap()).collect();
    assert_eq!((seqs, &cut["truncated"]), ((2..=1001).collect(), &json!(true)));
    let page = async |query: &str| {
        let page = get_as(&port, &format!("/api/v1/events?{query}"), Some("key-of-carol")).await.body;
        let first = page["events"][0]["seq"].as_i64();
        let truncated = page["truncated"].as_bool().unwrap();
        assert_eq!(truncated, !page["next"].is_null(), "{query}");
        (first, page["events"].as_array().unwrap().len(), page["next"].as_i64())
    };
    // A listing that stops at its limit says so, and how to go on.
    assert_eq!(page("limit=10").await, (Some(1001), 10, Some(992)));
    assert_eq!(page("limit=990&before_seq=992").await, (Some(991), 990, Some(2)));
    assert_eq!(page("limit=990&before_seq=2").await, (Some(1), 1, None));
    assert_eq!(page("before_seq=0").await, (None, 0, None));
    assert_eq!(page("limit=600&after_seq=0").await, (Some(1), 600, Some(600)));
    assert_eq!(page("limit=600&after_seq=600").await, (Some(601), 401, None));
    assert_eq!(page("limit=2&after_seq=5&before_seq=8").await, (Some(6), 2, None));
    assert_eq!(page("after_seq=1001").await, (None, 0, None));
}

#[tokio::test]
async fn approvals_tell_all_of_the_record() {
    let port = scripted();
    port.memory.approvals.lock().push(record("a1", false));
    let list = get_as(&port, "/api/v1/approvals?status=pending", Some("key-of-frank")).await;
    let one = get_as(&port, "/api/v1/approvals/a1", Some("key-of-frank")).await;
    assert_eq!(list.body["approvals"][0], one.body);
    let check = |member: &str, expect: Value| assert_eq!(one.body[member], expect, "{member}");
    check("id", json!("a1"));
    check("status", json!("pending"));
    check("trace_id", json!("0af7651916cd43dd8448eb211c80319c"));
    check("agent_id", json!("planner-01"));
    check("tool", json!("files__write_file"));
    check("arguments", json!({"path": "/srv/docs/a", "content": "[secret: 12 characters]"}));
    check("digest", json!("d"));
    check("policy_id", json!("prod-safety-gate"));
    check("rule_id", json!("production"));
    check("policy_snapshot", json!("s1"));
    check("approvers", json!(["security-team"]));
    check("quorum", json!(1));
    check("created_at", json!("2026-11-20T08:00:00Z"));
    check("expires_at", json!("2026-11-20T08:15:00Z"));
    check("decisions", json!([]));
    assert_eq!(one.body["cost_estimate_usd"].to_string(), "0.00125");
    assert_eq!(get_as(&port, "/api/v1/approvals/none", Some("key-of-frank")).await.status, 404);
}

/// R47: names by glob, people, and times in every form.
#[tokio::test]
async fn events_are_found_by_globs_people_and_days() {
    let port = scripted();
    let mut decided = EventDraft::system(EventType::ApprovalDecided, "2026-11-20T07:30:00Z".parse().unwrap());
    decided.agent_id = Some("planner-01".into());
    decided.tool = Some("files__write_file".into());
    decided.user = Some("bob".into());
    decided.approval_id = Some("a1".into());
    decided.detail = Some(json!({"person": "alice"}));
    let alert = EventDraft::system(EventType::Alert, "2026-11-18T23:59:59Z".parse().unwrap());
    port.memory.append(vec![alert, decided]);
    let check = async |query: &str, expect: &[i64]| {
        let got = get_as(&port, &format!("/api/v1/events?{query}"), Some("key-of-carol")).await;
        assert_eq!(got.status, 200, "{query}: {}", got.text);
        let events = got.body["events"].as_array().unwrap().clone();
        let seqs: Vec<i64> = events.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
        assert_eq!(seqs, expect, "{query}");
    };
    check("tool=files__*", &[2]).await;
    check("tool=files__write_file&agent_id=planner-*", &[2]).await;
    check("tool=files__", &[]).await;
    check("person=alice", &[2]).await;
    check("person=al*&user=bob", &[2]).await;
    check("user=alice", &[]).await;
    check("approval_id=a1", &[2]).await;
    check("since=2026-11-19", &[2]).await;
    check("until=2026-11-19", &[1]).await;
    check("since=2026-11-18T23:59&until=2026-11-18T23:59:59Z", &[]).await;
    // It is 08:00 on the 20th there.
    check("since=1h", &[2]).await;
    check("since=7d", &[2, 1]).await;
}

#[tokio::test]
async fn events_are_asked_strictly() {
    let port = scripted();
    let trace = TraceId::parse("0af7651916cd43dd8448eb211c80319c").unwrap();
    for n in 0..3 {
        let mut event = EventDraft::system(EventType::Alert, port.clock.now());
        event.trace_id = (n > 0).then_some(trace);
        port.memory.append(vec![event]);
    }
    let seqs = async |query: &str| {
        let got = get_as(&port, &format!("/api/v1/events{query}"), Some("key-of-carol")).await;
        assert_eq!(got.status, 200, "{query}: {}", got.text);
        let events = got.body["events"].as_array().unwrap().clone();
        events.iter().map(|event| event["seq"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(seqs("").await, [3, 2, 1]);
    assert_eq!(seqs("?limit=2").await, [3, 2]);
    assert_eq!(seqs("?after_seq=1").await, [2, 3]);
    assert_eq!(seqs("?trace_id=0AF76519-16CD-43DD-8448-EB211C80319C").await, [3, 2]);
    assert_eq!(seqs("?event_type=agent_start").await, [0i64; 0]);
    for (query, name) in [
        ("?agent=x", "agent"),
        ("?limit=0", "limit"),
        ("?limit=1001", "limit"),
        ("?limit=1&limit=2", "limit"),
        ("?trace_id=zz", "trace_id"),
        ("?decision=ALLOW", "decision"),
        ("?event_type=nothing", "event_type"),
        ("?since=yesterday", "since"),
        ("?tool=a***", "tool"),
        ("?person=", "person"),
        ("?before_seq=x", "before_seq"),
        ("?agent_id=", "agent_id"),
        ("?after_seq=-1", "after_seq"),
    ] {
        let got = get_as(&port, &format!("/api/v1/events{query}"), Some("key-of-carol")).await;
        assert_eq!((got.status.as_u16(), error_code(&got)), (400, "bad_request"), "{query}");
        assert!(
            got.body["error"]["message"].as_str().unwrap().contains(&format!("`{name}`")),
            "{}",
            got.text
        );
    }
    assert_eq!(get_as(&port, "/api/v1/agents?x=1", Some("key-of-carol")).await.status, 400);
    let one =
        get_as(&port, "/api/v1/traces/0af76519-16cd-43dd-8448-eb211c80319c", Some("key-of-carol")).await;
    assert_eq!(one.body["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(get_as(&port, "/api/v1/traces/zz", Some("key-of-carol")).await.status, 400);
    let other = "/api/v1/traces/11111111111111111111111111111111";
    assert_eq!(get_as(&port, other, Some("key-of-carol")).await.status, 404);
}

#[tokio::test]
async fn a_failing_store_is_503_and_tells_nothing_of_itself() {
    let port = scripted();
    port.memory.broken.store(true, std::sync::atomic::Ordering::SeqCst);
    for path in ["/api/v1/events", "/api/v1/approvals", "/api/v1/budgets"] {
        let got = get_as(&port, path, Some("key-of-carol")).await;
        assert_eq!((got.status.as_u16(), error_code(&got)), (503, "unavailable"), "{path}");
        assert!(!got.text.contains("secret-place"), "{}", got.text);
    }
    let got = decide_as(&port, "a1", Some("key-of-bob"), r#"{"decision":"approve"}"#).await;
    assert_eq!(got.status, 503);
}

#[tokio::test]
async fn probes_need_no_key_and_details_do() {
    let port = scripted();
    assert_eq!(get_as(&port, "/healthz", None).await.body, json!({"status": "ok"}));
    let plain = get_as(&port, "/readyz", None).await;
    assert_eq!((plain.status.as_u16(), plain.body), (200, json!({"status": "ready"})));
    assert_eq!(get_as(&port, "/readyz", Some("wrong")).await.status, 401);
    assert_eq!(get_as(&port, "/readyz", Some("key-of-planner")).await.status, 403);
    let full = get_as(&port, "/readyz", Some("key-of-carol")).await;
    assert_eq!(full.body["rejected_reload"], "bundle.yaml:3:1");
    assert_eq!(full.body["upstreams"][0]["health"], "down");
    assert_eq!(full.body["upstreams"][1]["state"], "disabled");
    assert_eq!(full.body["upstreams"][1]["reason"], "`enabled = false` in servers.toml");
    let mut starting = Arc::into_inner(port).unwrap();
    starting.ready = false;
    let starting = Arc::new(starting);
    let plain = get_as(&starting, "/readyz", None).await;
    assert_eq!((plain.status.as_u16(), plain.body), (503, json!({"status": "starting"})));
}

#[tokio::test]
async fn no_other_host_or_origin_reaches_it() {
    let port = scripted();
    let check = async |host: Option<&str>, origin: Option<&str>, expect: u16| {
        let mut request =
            Request::builder().uri("/api/v1/me").header(header::AUTHORIZATION, "Bearer key-of-carol");
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        let got = send(&port, request.body(Body::empty()).unwrap()).await;
        assert_eq!(got.status.as_u16(), expect, "{host:?} {origin:?}");
        assert_eq!(got.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(got.headers[header::CACHE_CONTROL], "no-store");
        assert!(
            got.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'")
        );
        assert!(!got.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    };
    check(Some("127.0.0.1:8788"), None, 200).await;
    check(Some("localhost:8788"), None, 200).await;
    check(Some("[::1]:8788"), None, 200).await;
    check(Some("gate.example"), None, 200).await;
    check(Some("GATE.example:443"), None, 200).await;
    check(Some("evil.example"), None, 403).await;
    check(Some("evil.example:8788"), None, 403).await;
    check(Some("10.1.2.3:8788"), None, 403).await;
    check(Some("localhost@evil.example"), None, 403).await;
    check(Some("localhost.evil.example"), None, 403).await;
    check(None, None, 403).await;
    check(Some("localhost:8788"), Some("http://localhost:8788"), 200).await;
    check(Some("localhost:8788"), Some("https://desk.example"), 200).await;
    check(Some("localhost:8788"), Some("http://localhost:9999"), 403).await;
    check(Some("localhost:8788"), Some("https://evil.example"), 403).await;
    check(Some("localhost:8788"), Some("null"), 403).await;
}

/// Load balancers probe an address by whatever name they have, or by none.
#[tokio::test]
async fn a_probe_may_name_any_host_and_learns_one_word() {
    let port = scripted();
    let ask = async |path: &str, headers: &[(header::HeaderName, &str)]| {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        send(&port, request.body(Body::empty()).unwrap()).await
    };
    for path in ["/readyz", "/healthz"] {
        for host in [&[][..], &[(header::HOST, "evil.example")], &[(header::HOST, "10.1.2.3:8788")]] {
            let got = ask(path, host).await;
            assert_eq!(got.status, 200, "{path} {host:?}");
            assert_eq!(got.body.as_object().unwrap().len(), 1, "{}", got.text);
        }
        for (name, value) in [
            (header::AUTHORIZATION, "Bearer key-of-carol"),
            (header::COOKIE, "session=1"),
            (header::ORIGIN, "http://evil.example"),
            (header::HeaderName::from_static("sec-fetch-site"), "cross-site"),
        ] {
            let got = ask(path, &[(header::HOST, "evil.example"), (name.clone(), value)]).await;
            assert_eq!(got.status, 403, "{path} {name}");
        }
    }
    assert_eq!(ask("/metrics", &[(header::HOST, "evil.example")]).await.status, 403);
}

#[tokio::test]
async fn no_key_and_no_digest_leaves() {
    let port = scripted();
    for path in ["/api/v1/agents", "/api/v1/policies", "/api/v1/upstreams", "/api/v1/tools"] {
        let got = get_as(&port, path, Some("key-of-carol")).await;
        for known in [&b"key-of-planner"[..], b"key-of-alice"] {
            assert!(!got.text.contains(&hex::encode(key_digest(known))), "{path}: {}", got.text);
        }
    }
    let agents = get_as(&port, "/api/v1/agents", Some("key-of-carol")).await;
    assert_eq!(agents.body["agents"][0]["id"], "planner-01");
    assert_eq!(agents.body["agents"][0]["keys"], 1);
}

#[tokio::test]
async fn unknown_paths_are_404_in_the_same_form() {
    for path in ["/api/v1/approvals/%ff", "/api/v1/traces/%ff"] {
        let odd = get_as(&scripted(), path, Some("key-of-carol")).await;
        assert_eq!((odd.status.as_u16(), error_code(&odd)), (400, "bad_request"), "{path}: {}", odd.text);
    }
    let port = scripted();
    let got = get_as(&port, "/api/v1/nothing", Some("key-of-carol")).await;
    assert_eq!((got.status.as_u16(), error_code(&got)), (404, "not_found"));
    let got = send(&port, request(Method::DELETE, "/api/v1/agents", Some("key-of-dave"), "")).await;
    assert_eq!((got.status.as_u16(), error_code(&got)), (405, "method_not_allowed"));
}

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn the_document_lists_what_is_served_and_nothing_else() {
    let document = document();
    let mut documented: Vec<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(|m| (m.clone(), path.clone())))
        .collect();
    let mut served: Vec<(String, String)> =
        table().into_iter().map(|(method, path, ..)| (method.to_owned(), path.to_owned())).collect();
    documented.sort();
    served.sort();
    assert_eq!(documented, served);
}

/// Who may use a route is documented, as it is enforced.
#[test]
fn the_document_knows_the_roles() {
    let document = document();
    for (method, path, access, _) in table() {
        let told = &document["paths"][path][method]["x-roles"];
        let expect = match access {
            Access::Anybody => Value::Null,
            Access::Details(roles) | Access::Scrapers(roles) | Access::People(roles) => {
                json!(roles.iter().map(|role| role.as_str()).collect::<Vec<_>>())
            }
        };
        assert_eq!(*told, expect, "{method} {path}");
    }
}

/// R61: whatever lists takes a limit and a cursor, and says whether there is more and how to go on.
#[tokio::test]
async fn every_list_is_given_a_page_at_a_time() {
    let port = scripted();
    let document = document();
    let of = |schema: &Value| match schema["$ref"].as_str() {
        Some(name) => document["components"]["schemas"][name.rsplit('/').next().unwrap()].clone(),
        None => schema.clone(),
    };
    let mut lists = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let schema = of(&methods["get"]["responses"]["200"]["content"]["application/json"]["schema"]);
        let members = schema["properties"].as_object().cloned().unwrap_or_default();
        // A report sums up, and what is of one thing is no list.
        let is_list = path.starts_with("/api/v1/")
            && !path.contains("/report/")
            && !path.ends_with('}')
            && !path.ends_with("/burn")
            && members.values().any(|member| member["type"] == "array")
            && !["/api/v1/matrix", "/api/v1/series", "/api/v1/me"].contains(&path.as_str());
        if !is_list {
            continue;
        }
        lists += 1;
        let parameters = methods["get"]["parameters"].as_array().cloned().unwrap_or_default();
        let takes = |name: &str| parameters.iter().any(|parameter| parameter["name"] == name);
        assert!(takes("limit"), "{path}");
        assert!(["after", "before", "before_seq"].into_iter().any(takes), "{path}");
        let got = get_as(&port, &format!("{path}?limit=1"), Some("key-of-dave")).await;
        assert_eq!(got.status.as_u16(), 200, "{path}: {}", got.text);
        let listed = members.iter().find(|(_, member)| member["type"] == "array").unwrap().0;
        let (truncated, next) = (got.body["truncated"].as_bool(), &got.body["next"]);
        assert!(got.body[listed].as_array().unwrap().len() <= 1, "{path}: {}", got.text);
        assert_eq!(truncated, Some(!next.is_null()), "{path}: {}", got.text);
        for name in ["truncated", "next"] {
            assert!(got.body.get(name).is_some() && members.contains_key(name), "{path}: {name}");
        }
        let wrong = get_as(&port, &format!("{path}?limit=0"), Some("key-of-dave")).await;
        assert_eq!(wrong.status.as_u16(), 400, "{path}");
    }
    assert!(lists >= 14, "{lists}");
    // The pages of one make the whole.
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let page = get_as(&port, &format!("/api/v1/people?limit=2{after}"), Some("key-of-dave")).await.body;
        let people = page["people"].as_array().unwrap();
        assert!(people.len() <= 2);
        names.extend(people.iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let whole = get_as(&port, "/api/v1/people", Some("key-of-dave")).await.body;
    let whole: Vec<&str> =
        whole["people"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(names, whole);
}

#[test]
fn the_document_knows_parameters_and_words() {
    let document = document();
    let names = |path: &str| -> Vec<String> {
        let parameters = document["paths"][path]["get"]["parameters"].as_array().unwrap();
        parameters.iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("/api/v1/events"), params::EVENT_PARAMS);
    assert_eq!(names("/api/v1/approvals"), params::APPROVAL_PARAMS);
    assert_eq!(names("/api/v1/grants"), params::GRANT_PARAMS);
    assert_eq!(names("/api/v1/pins"), params::PIN_PARAMS);
    assert_eq!(names("/api/v1/series"), params::SERIES_PARAMS);
    assert_eq!(names("/api/v1/alerts"), params::ALERT_PARAMS);
    assert_eq!(names("/api/v1/samples"), params::SAMPLE_PARAMS);
    assert_eq!(names("/api/v1/labels"), params::LABEL_PARAMS);
    assert_eq!(names("/api/v1/tools"), params::TOOL_PARAMS);
    for path in ["agents", "people", "upstreams", "policies", "budgets", "freeze", "holds", "duties"] {
        assert_eq!(names(&format!("/api/v1/{path}")), super::paging::PARAMS, "{path}");
    }
    assert_eq!(names("/api/v1/incidents"), params::INCIDENT_PARAMS);
    assert_eq!(names("/api/v1/deadletters"), params::DEAD_LETTER_PARAMS);
    let schemas = &document["components"]["schemas"];
    let words = |schema: &str, member: &str| -> Vec<String> {
        let all = schemas[schema]["properties"][member]["enum"].as_array().unwrap();
        all.iter().filter_map(|w| w.as_str().map(str::to_owned)).collect()
    };
    let all = |words: Vec<&'static str>| words.into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words("Approval", "status"), all(ApprovalStatus::ALL.iter().map(|w| w.as_str()).collect()));
    assert_eq!(words("Event", "event_type"), all(EventType::ALL.iter().map(|w| w.as_str()).collect()));
    assert_eq!(words("Alert", "kind"), all(AlertKind::ALL.iter().map(|w| w.as_str()).collect()));
    assert_eq!(words("Alert", "status"), all(AlertStatus::ALL.iter().map(|w| w.as_str()).collect()));
    assert_eq!(words("Event", "decision"), all(EventDecision::ALL.iter().map(|w| w.as_str()).collect()));
}

/// Every member that is sent is documented, and every documented one is sent.
fn same_members(schema: &Value, sent: &Value, name: &str) {
    let mut documented: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    let mut sent: Vec<&String> = sent.as_object().unwrap().keys().collect();
    documented.sort();
    sent.sort();
    assert_eq!(documented, sent, "{name}");
}

#[tokio::test]
async fn the_document_knows_every_member() {
    let port = scripted();
    port.memory.approvals.lock().push(record("a1", false));
    decide_as(&port, "a1", Some("key-of-bob"), r#"{"decision":"reject"}"#).await;
    let document = document();
    let schemas = &document["components"]["schemas"];
    let get = async |path: &str| get_as(&port, path, Some("key-of-carol")).await.body;
    let approval = get("/api/v1/approvals/a1").await;
    same_members(&schemas["Approval"], &approval, "Approval");
    same_members(&schemas["Requirement"], &approval["requirements"][0], "Requirement");
    same_members(&schemas["Decision"], &approval["decisions"][0], "Decision");
    same_members(&schemas["Event"], &get("/api/v1/events").await["events"][0], "Event");
    let trace = get("/api/v1/traces/0af7651916cd43dd8448eb211c80319c").await;
    same_members(&schemas["Trace"], &trace, "Trace");
    let call = &trace["calls"][0];
    same_members(&schemas["Call"], call, "Call");
    let call_schema = &schemas["Call"]["properties"];
    same_members(&call_schema["initiated"], &call["initiated"], "Call.initiated");
    same_members(&call_schema["approvals"]["items"], &call["approvals"][0], "Call.approvals");
    same_members(&schemas["Decision"], &call["approvals"][0]["decisions"][0], "Decision");
    same_members(&schemas["Evidence"], &call["evidence"][0], "Evidence");
    same_members(&schemas["Me"], &get("/api/v1/me").await, "Me");
    let verified = get("/api/v1/audit/verify").await;
    same_members(&schemas["Verification"], &verified, "Verification");
    assert_eq!((&verified["running"], &verified["head"]), (&json!(false), &Value::Null));
    let agents = get("/api/v1/agents").await;
    same_members(&schemas["Authority"], &agents, "Authority");
    same_members(&schemas["Agent"], &agents["agents"][0], "Agent");
    for upstream in 0..2 {
        same_members(
            &schemas["Upstream"],
            &get("/api/v1/upstreams").await["upstreams"][upstream],
            "Upstream",
        );
    }
    let tool = &get("/api/v1/tools").await["tools"][0];
    same_members(&schemas["Tool"], tool, "Tool");
    assert_eq!((&tool["name"], &tool["destructive"]), (&json!("crm__find"), &json!(true)));
    let mut granted = made_grant(&grantable("a1"));
    granted.ended = Some(GrantEnd { why: GrantEndReason::Lost, at: port.now(), by: None, reason: None });
    port.memory.grants.lock().push(granted);
    let mut grant = get("/api/v1/grants/grant-a1").await;
    assert_eq!(grant.as_object_mut().unwrap().remove("calls"), Some(json!([])));
    same_members(&schemas["Grant"], &grant, "Grant");
    same_members(&schemas["Grant"]["properties"]["ended"], &grant["ended"], "Grant.ended");
    let card = get("/api/v1/report/scorecard").await;
    same_members(&schemas["Scorecard"], &card, "Scorecard");
    let card_schema = &schemas["Scorecard"]["properties"];
    for part in ["approval_integrity", "constraint_usage", "audit_completeness", "drift_indicators"] {
        same_members(&card_schema[part], &card[part], part);
    }
    let maturity = get("/api/v1/report/maturity").await;
    same_members(&schemas["Maturity"], &maturity, "Maturity");
    same_members(&schemas["Control"], &maturity["controls"][0], "Control");
    let advice = get("/api/v1/report/advice?since=2d").await;
    same_members(&schemas["Advice"], &advice, "Advice");
    same_members(&schemas["Advice"]["properties"]["steps"]["items"], &advice["steps"][0], "Advice.steps");
    same_members(&schemas["Policies"], &get("/api/v1/policies").await, "Policies");
    same_members(&schemas["History"], &get("/api/v1/policies/history").await, "History");
    same_members(&schemas["RolloutStatus"], &get("/api/v1/policies/rollout").await, "RolloutStatus");
    same_members(&schemas["Scorecard"], &get("/api/v1/report/scorecard").await, "Scorecard");
    let maturity = get("/api/v1/report/maturity").await;
    same_members(&schemas["Maturity"], &maturity, "Maturity");
    same_members(&schemas["Control"], &maturity["controls"][0], "Control");
    same_members(&schemas["Person"], &get("/api/v1/people").await["people"][0], "Person");
    let series = get("/api/v1/series?name=spend_usd").await;
    same_members(&schemas["Series"], &series, "Series");
    same_members(&schemas["Matrix"], &get("/api/v1/matrix").await, "Matrix");
    let asked = request(Method::POST, "/api/v1/explain", Some("key-of-carol"), QUESTION);
    same_members(&schemas["Explanation"], &send(&port, asked).await.body, "Explanation");
}

/// `/metrics` is open on loopback; elsewhere it takes a person's key or its own, which opens nothing else.
#[tokio::test]
async fn metrics_have_a_key_of_their_own() {
    const KEY: &str = "scrape-key-of-twenty-four-characters";
    let port = scripted();
    let ask = async |key: Option<&str>, path: &str| get_as(&port, path, key).await.status.as_u16();
    assert_eq!(ask(None, "/metrics").await, 200);
    assert_eq!(ask(Some(KEY), "/metrics").await, 401, "a wrong key is wrong on loopback too");
    // A proxy on this machine brings others: what they reach is not open.
    port.listen_on_loopback(None, true);
    assert_eq!(ask(None, "/metrics").await, 401);
    assert_eq!(ask(Some("key-of-vera"), "/metrics").await, 200);
    port.listen_on_loopback(Some(KEY), false);
    assert_eq!(ask(None, "/metrics").await, 401);
    assert_eq!(ask(Some(KEY), "/metrics").await, 200);
    port.listen_on_loopback(None, false);
    for (host, status) in [("localhost:8788", 200), ("[::1]:8788", 200), ("gate.example", 401)] {
        let mut named = request(Method::GET, "/metrics", None, "");
        named.headers_mut().insert(header::HOST, host.parse().unwrap());
        assert_eq!(send(&port, named).await.status, status, "{host}");
    }
    port.listen_beyond_loopback(Some(KEY));
    assert_eq!(ask(None, "/metrics").await, 401);
    assert_eq!(ask(Some("key-of-carol"), "/metrics").await, 200);
    assert_eq!(ask(Some(KEY), "/metrics").await, 200);
    for wrong in ["", "scrape-key-of-twenty-four-character", "scrape-key-of-twenty-four-characters-"] {
        assert_eq!(ask(Some(wrong), "/metrics").await, 401, "{wrong}");
    }
    assert_eq!(ask(Some(KEY), "/api/v1/me").await, 401, "it opens nothing else");
    assert_eq!(ask(Some(KEY), "/readyz").await, 401);
    port.listen_beyond_loopback(None);
    assert_eq!(ask(Some(KEY), "/metrics").await, 401);
    let mut asked = request(Method::GET, "/metrics", Some("key-of-carol"), "");
    asked.headers_mut().insert(header::ACCEPT, "application/openmetrics-text".parse().unwrap());
    let open = send(&port, asked).await;
    assert!(open.text.contains("OpenMetrics"), "{}", open.text);
    assert_eq!(open.headers[header::CONTENT_TYPE], crate::telemetry::OPEN_METRICS);
}

#[tokio::test]
async fn series_are_asked_strictly_and_answer_in_bounds() {
    let port = scripted();
    let mut event = EventDraft::system(EventType::AgentDecision, port.now());
    event.agent_id = Some("planner-01".into());
    event.tool = Some("crm__find".into());
    event.decision = Some(EventDecision::Allow);
    let mut ended = event.clone();
    ended.event_type = EventType::AgentSideEffect;
    ended.decision = None;
    ended.outcome = Some(crate::model::Outcome::Failed);
    ended.cost_usd = Some(crate::model::MicroUsd(1_250_000));
    ended.duration_ms = Some(100);
    port.memory.append(vec![event, ended]);
    port.memory.approvals.lock().push(record("a1", false));
    let get = async |query: &str| get_as(&port, &format!("/api/v1/{query}"), Some("key-of-carol")).await;
    let calls = get("series?by=decision").await.body;
    assert_eq!(
        (&calls["name"], &calls["unit"], &calls["step"]),
        (&json!("calls"), &json!("calls"), &json!("1m"))
    );
    assert_eq!(calls["at"].as_array().unwrap().len(), 61);
    assert_eq!(calls["groups"][0]["name"], "allow");
    assert_eq!(calls["groups"][0]["values"][60], 1);
    let spend = get("series?name=spend_usd&by=agent").await.body;
    assert_eq!(
        (&spend["groups"][0]["name"], &spend["groups"][0]["total"]),
        (&json!("planner-01"), &json!(1.25))
    );
    let latency = get("series?name=latency&since=2d&step=1h").await.body;
    assert_eq!(latency["groups"][0]["p95"]["total"], latency["groups"][0]["p50"]["values"][48]);
    assert_eq!(get("series?name=errors").await.body["groups"][0]["total"], 1);
    let pending = get("series?name=pending&by=agent").await.body;
    assert_eq!(pending["groups"][0]["values"][0], 1);
    assert_eq!(pending["groups"][0]["total"], 1);
    let matrix = get("matrix").await.body;
    assert_eq!(
        matrix["cells"],
        json!([{"agent": "planner-01", "tool": "crm__find", "decisions": {"allow": 1}, "ended": 1, "failed": 1,
                "cost_usd": 1.25}])
    );
    for (query, says) in [
        ("name=callz", "`name` is not a word it takes"),
        ("by=person", "`by` is not a word it takes"),
        ("step=2m", "`step` is not a step it takes: expected one of 1m, 5m"),
        ("groups=21", "1 to 20"),
        ("step=1m&since=7d", "at most 1000"),
        ("name=latency&by=decision", "which have no decision"),
        ("name=pending&by=upstream", "approvals wait for people"),
        ("since=2026-01-02&until=2026-01-01", "is before `since`"),
        ("agent=x", "is not a parameter of this path"),
    ] {
        let got = get(&format!("series?{query}")).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{query}: {}", got.text);
        let message = got.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{query}: {message}");
    }
}
