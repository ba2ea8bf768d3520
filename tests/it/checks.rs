//! External checks: a rule asks an HTTP service, and its answer is the rule's outcome (R96).

use crate::harness::*;
use axum::{
    Router, body::Bytes, extract::State, http::HeaderMap, response::IntoResponse as _, routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Notify;

const SECRET: &str = "chksec-for-tests-0123456789";

/// What the service does with the next request.
#[derive(Clone)]
enum Next {
    Say(Value),
    Status(u16),
    Bytes(Vec<u8>),
    /// Takes the request and never answers.
    Hang,
}

#[derive(Clone)]
struct Service {
    seen: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    next: Arc<Mutex<Next>>,
    url: String,
}

impl Service {
    async fn start(next: Next) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/check?token=in-the-url", listener.local_addr().unwrap());
        let service = Self { seen: Arc::default(), next: Arc::new(Mutex::new(next)), url };
        let routes = Router::new().route("/check", post(take)).with_state(service.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        service
    }

    fn then(&self, next: Next) {
        *self.next.lock() = next;
    }

    fn asked(&self) -> usize {
        self.seen.lock().len()
    }

    /// The last request, which must be signed.
    fn last(&self) -> Value {
        let (headers, body) = self.seen.lock().last().unwrap().clone();
        let text = |name: &str| headers[name].to_str().unwrap();
        let signed = format!("{}.{}.", text("webhook-id"), text("webhook-timestamp"));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
        let given = STANDARD.decode(text("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
        aws_lc_rs::hmac::verify(&key, &[signed.as_bytes(), &body].concat(), &given).unwrap();
        serde_json::from_slice(&body).unwrap()
    }
}

async fn take(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> axum::response::Response {
    service.seen.lock().push((headers, body));
    let next = service.next.lock().clone();
    match next {
        Next::Say(said) => axum::Json(said).into_response(),
        Next::Status(status) => axum::http::StatusCode::from_u16(status).unwrap().into_response(),
        Next::Bytes(bytes) => bytes.into_response(),
        Next::Hang => {
            Notify::new().notified().await;
            unreachable!("nobody notifies")
        }
    }
}

fn gate(more: &str) -> String {
    format!(
        "=== outside.yaml
name: outside
description: The service judges what is written
on: [{{ tool: up__write }}]
rules:
  - {{ id: ask, condition: \"!has(args.skip)\", check: judge{more} }}
  - {{ id: rest, decision: ALLOW }}
"
    )
}

async fn world(service: &Service, files: &str) -> World {
    waiting(service, files, "20s").await
}

/// One that waits so long for the service.
async fn waiting(service: &Service, files: &str, timeout: &str) -> World {
    let servers = format!(
        "[checks.judge]\nurl = \"{}\"\nsecret = \"{SECRET}\"\ntimeout = \"{timeout}\"\n",
        service.url
    );
    World::start(Setup { files: files.to_owned(), servers, ..Setup::default() }).await
}

/// The words of an answer are outcomes; where the service has no opinion the next rule speaks. What it is told is signed
/// and masked, and its answer is on record.
#[tokio::test]
async fn what_a_service_says_is_the_outcome() {
    let service = Service::start(Next::Say(json!({"decision": "allow", "reason": "seen the ticket"}))).await;
    let world = world(&service, &gate(", approvers: [leads]")).await;
    let bot = world.bare("bot");
    let token = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    bot.call("up__write", json!({"path": "/a", "note": token})).await.ok();
    let asked = service.last();
    assert_eq!((&asked["event"], &asked["phase"]), (&json!("tools/call"), &json!("request")));
    assert_eq!(
        (&asked["payload"]["name"], &asked["payload"]["arguments"]["path"]),
        (&json!("up__write"), &json!("/a"))
    );
    assert_eq!(asked["context"]["principal"], json!({"type": "agent", "id": "bot"}));
    assert!(!asked.to_string().contains(token), "{asked}");
    let event = world.last_decision().await;
    let facts = event.draft.facts.as_ref().unwrap();
    assert_eq!(facts["checks"][0]["check"], "judge");
    assert_eq!(facts["checks"][0]["decision"], "allow");
    assert!(facts["checks"][0]["took_ms"].is_u64(), "{facts}");

    service.then(Next::Say(json!({"decision": "deny", "reason": format!("holds {token}\u{202e}")})));
    let denied = bot.call("up__write", json!({"path": "/b"})).await;
    assert_eq!((denied.word(), &denied.decision()["rule_id"]), ("deny", &json!("ask")));
    assert!(denied.text().contains("the external check `judge` says"), "{}", denied.text());
    assert!(!denied.text().contains(token) && !denied.text().contains('\u{202e}'), "{}", denied.text());

    service.then(Next::Say(json!({"valid": false, "messages": [{"message": "not on a Friday"}]})));
    let denied = bot.call("up__write", json!({"path": "/c"})).await;
    assert!(denied.text().contains("not on a Friday"), "{}", denied.text());

    service.then(Next::Say(json!({"decision": "require_approval"})));
    let id = pending(&bot.call("up__write", json!({"path": "/d"})).await);
    assert_eq!(world.decide("carol", &id, "approve").await, 200);
    bot.call("up__write", json!({"path": "/d"})).await.ok();

    // No opinion: the rule that follows allows it.
    service.then(Next::Say(json!({"labels": ["reviewed"]})));
    bot.call("up__write", json!({"path": "/e"})).await.ok();
    assert_eq!(world.last_decision().await.draft.rule_id.as_deref(), Some("rest"));
    let before = service.asked();
    bot.call("up__write", json!({"path": "/f", "skip": true})).await.ok();
    bot.call("up__read", json!({"path": "/a"})).await.ok();
    assert_eq!(service.asked(), before, "it is asked where a rule says so, and nowhere else");
}

/// What is no answer denies, unless the rule says otherwise; the upstream is not called.
#[tokio::test]
async fn no_answer_is_a_deny_unless_the_rule_says_otherwise() {
    let faults = [
        Next::Status(500),
        Next::Bytes(b"yes".to_vec()),
        Next::Say(json!({"decision": "maybe"})),
        Next::Say(json!({})),
        Next::Say(json!({"decision": "allow", "valid": false})),
        Next::Bytes(vec![b' '; 100_000]),
        Next::Hang,
    ];
    let service = Service::start(Next::Status(500)).await;
    let world = waiting(&service, &gate(""), "1s").await;
    for (n, fault) in faults.iter().enumerate() {
        service.then(fault.clone());
        let denied = world.bare("bot").call("up__write", json!({"n": n})).await;
        assert_eq!(denied.word(), "deny", "fault {n}");
        assert!(denied.text().contains("gave no answer"), "fault {n}: {}", denied.text());
        assert!(!denied.text().contains("in-the-url"), "fault {n}: {}", denied.text());
    }
    assert!(world.up.calls().is_empty());
    service.then(Next::Status(500));
    world.reload(&gate(", on_error: ALLOW")).await;
    world.bare("bot").call("up__write", json!({"n": 20})).await.ok();
    assert!(world.last_decision().await.draft.facts.unwrap()["checks"][0]["error"].is_string());
    world.reload(&gate(", on_error: REQUIRE_APPROVAL, approvers: [leads]")).await;
    pending(&world.bare("bot").call("up__write", json!({"n": 21})).await);
}

/// Labels of an answer are labels of the call's data: other policies see them. A call that is denied whatever the service
/// says is not shown to it.
#[tokio::test]
async fn labels_reach_other_policies_and_a_denied_call_is_not_shown() {
    let service = Service::start(Next::Say(json!({"decision": "allow", "labels": ["customer"]}))).await;
    let more = "=== flow.yaml
name: flow
description: Customers' data stays here
on: [{ tool: up__write }]
rules:
  - { id: early, condition: \"has(args.secret)\", decision: DENY }
  - { id: labelled, condition: \"'customer' in data.labels\", decision: DENY, reason: customers' data }
";
    let world = world(&service, &format!("{}{more}", gate(""))).await;
    let denied = world.bare("bot").call("up__write", json!({"path": "/a"})).await;
    assert_eq!(denied.decision()["rule_id"], "labelled");
    assert_eq!(service.asked(), 1);
    let denied = world.bare("bot").call("up__write", json!({"secret": 1})).await;
    assert_eq!(denied.decision()["rule_id"], "early");
    assert_eq!(service.asked(), 1);
}

/// Services are asked at once, for one call and for several: one that takes its time holds up nobody else's thread.
#[tokio::test]
async fn services_are_asked_side_by_side() {
    let service = Service::start(Next::Hang).await;
    let other = "=== other.yaml
name: other
description: A second opinion on what is written
on: [{ tool: up__write }]
rules: [{ id: ask, check: second }]
";
    let servers = ["judge", "second"]
        .map(|name| {
            format!("[checks.{name}]\nurl = \"{}\"\nsecret = \"{SECRET}\"\ntimeout = \"2s\"\n", service.url)
        })
        .concat();
    let files = format!("{}{other}", gate(""));
    let world = World::start(Setup { files, servers, ..Setup::default() }).await;
    let bots = ["bot", "ada", "eve"].map(|name| world.bare(name));
    let calls = bots.iter().map(|bot| bot.call("up__write", json!({"path": "/a"})));
    let free = async {
        while service.asked() < 6 {
            tokio::task::yield_now().await;
        }
        // None of them is answered yet, and others are served.
        world.bare("bot").call("up__read", json!({"path": "/a"})).await.ok();
    };
    let (denied, ()) = soon(futures::future::join(futures::future::join_all(calls), free)).await;
    for denied in denied {
        assert_eq!(denied.word(), "deny");
    }
    assert_eq!((service.asked(), world.up.count()), (6, 1));
}

/// A check that servers.toml does not have is an error of the bundle, with its place.
#[tokio::test]
async fn an_unknown_check_is_an_error() {
    let service = Service::start(Next::Status(500)).await;
    let world = world(&service, &gate("")).await;
    let wrong = gate("").replace("check: judge", "check: juge");
    let (_, text) = wrong.split_once('\n').unwrap();
    std::fs::write(world.dir.join("policies/outside.yaml"), text).unwrap();
    let refused = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["check", "--config"])
        .arg(world.dir.join("servers.toml"))
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&refused.stdout).into_owned() + &String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("outside.yaml:5:") && text.contains("did you mean `judge`?"), "{text}");
}
