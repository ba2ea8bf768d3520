//! The webhook: told that somebody is asked, signed, tried again, and never with an argument.

use crate::harness::*;
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;
use tollgate::clock::Clock as _;

pub(crate) const SECRET: &str = "whsec-for-tests-0123456789";
pub(crate) const GATE: &str = "=== ask.yaml
name: writes
description: d
on: [{ tool: up__write }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [leads], expires_in: 10m }]
";

/// Takes notifications, after it has refused as many as it is told to.
#[derive(Clone)]
pub(crate) struct Hook {
    pub(crate) seen: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    count: watch::Sender<usize>,
    refuses: Arc<Mutex<Vec<u16>>>,
}

impl Hook {
    pub(crate) async fn start(refuses: &[u16]) -> (Self, String) {
        let hook = Self {
            seen: Arc::default(),
            count: watch::Sender::new(0),
            refuses: Arc::new(Mutex::new(refuses.iter().rev().copied().collect())),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=in-the-url", listener.local_addr().unwrap());
        let routes = Router::new().route("/hook", post(take)).with_state(hook.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (hook, url)
    }

    pub(crate) async fn until(&self, count: usize) -> Vec<(HeaderMap, Bytes)> {
        soon(self.count.subscribe().wait_for(|seen| *seen >= count)).await.unwrap();
        self.seen.lock().clone()
    }
}

async fn take(State(hook): State<Hook>, headers: HeaderMap, body: Bytes) -> axum::http::StatusCode {
    hook.seen.lock().push((headers, body));
    let answer = hook.refuses.lock().pop().unwrap_or(204);
    hook.count.send_modify(|count| *count += 1);
    axum::http::StatusCode::from_u16(answer).unwrap()
}

async fn world(url: &str, link: &str) -> World {
    let servers = format!("[webhook]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n{link}\n");
    World::start(Setup { files: GATE.to_owned(), servers, ..Setup::default() }).await
}

pub(crate) fn told(seen: &(HeaderMap, Bytes)) -> Value {
    let (headers, body) = seen;
    let text = |name: &str| headers[name].to_str().unwrap();
    let signed = format!("{}.{}.", text("webhook-id"), text("webhook-timestamp"));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let given = STANDARD.decode(text("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
    aws_lc_rs::hmac::verify(&key, &[signed.as_bytes(), body].concat(), &given).unwrap();
    serde_json::from_slice(body).unwrap()
}

/// R26. Asked, decided: each told once, with a link and without an argument; what comes back decides nothing.
#[tokio::test]
async fn asks_and_decisions_are_told() {
    let (hook, url) = Hook::start(&[]).await;
    let world = world(&url, "link = \"https://inbox.example/\"").await;
    let arguments = json!({"path": "/a", "note": "not for the hook"});
    let id = pending(&world.bare("bot").call("up__write", arguments.clone()).await);
    let seen = hook.until(1).await;
    let asked = told(&seen[0]);
    assert_eq!(asked["type"], "approval_requested");
    assert_eq!((&asked["approval_id"], &asked["agent_id"]), (&json!(id), &json!("bot")));
    assert_eq!((&asked["tool"], &asked["policy_id"]), (&json!("up__write"), &json!("writes")));
    assert_eq!(asked["link"], format!("https://inbox.example/#{id}"));
    assert!(!String::from_utf8_lossy(&seen[0].1).contains("not for the hook"));
    assert_eq!(world.decide("carol", &id, "approve").await, 200);
    let decided = told(&hook.until(2).await[1]);
    assert_eq!((&decided["type"], &decided["decision"]), (&json!("approval_decided"), &json!("approved")));
    // A call that needs nobody is nobody's business.
    world.bare("bot").call("up__write", arguments).await.ok();
    world.bare("bot").call("up__read", json!({"path": "/a"})).await.ok();
    pending(&world.bare("bot").call("up__write", json!({"n": 2})).await);
    assert_eq!(told(&hook.until(3).await[2])["type"], "approval_requested");
}

/// What fails for now is tried again under its own id; what is refused for good is not.
#[tokio::test]
async fn a_failed_delivery_is_tried_again() {
    let (hook, url) = Hook::start(&[503, 429, 204, 410]).await;
    let world = world(&url, "").await;
    let id = pending(&world.bare("bot").call("up__write", json!({"n": 1})).await);
    let seen = hook.until(3).await;
    let ids: Vec<&str> = seen.iter().map(|(headers, _)| headers["webhook-id"].to_str().unwrap()).collect();
    assert!(ids.iter().all(|other| *other == ids[0]), "{ids:?}");
    for one in &seen {
        assert_eq!(told(one)["link"], format!("http://127.0.0.1:8788/#{id}"));
    }
    // Refused for good, and the next one is a delivery of its own.
    pending(&world.bare("bot").call("up__write", json!({"n": 2})).await);
    hook.until(4).await;
    let third = pending(&world.bare("bot").call("up__write", json!({"n": 3})).await);
    assert_eq!(told(&hook.until(5).await[4])["approval_id"], third);
}

/// What the command line decides, and what it finds expired, is told like everything else, once; the page's stream has it too,
/// and an ask that other policies cancelled.
#[tokio::test]
async fn decisions_of_the_command_line_are_told() {
    let (hook, url) = Hook::start(&[503]).await;
    let servers = format!("[webhook]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n");
    let files = Files::of(Setup { files: GATE.to_owned(), servers, ..Setup::default() }).await;
    let gateway = files.serve().await;
    let stream = files.http.get(format!("{}/api/v1/stream", gateway.admin)).bearer_auth("key-carol");
    let mut stream = soon(stream.send()).await.unwrap();
    let bot = files.client(&gateway, "bot");
    let id = pending(&bot.call("up__write", json!({"n": 1})).await);
    // Refused for now, and told again.
    assert_eq!(told(&hook.until(2).await[1])["type"], "approval_requested");
    hook.refuses.lock().push(503);
    let (mut approving, lines) = files.command_of(Some("carol"), &["approvals", "approve", &id]);
    lines.until(|line| line.starts_with("approved")).await;
    assert!(soon(approving.wait()).await.unwrap().success());
    let seen = hook.until(4).await;
    assert_eq!(seen[2].0["webhook-id"], seen[3].0["webhook-id"]);
    let decided = told(&seen[3]);
    assert_eq!((&decided["type"], &decided["decision"]), (&json!("approval_decided"), &json!("approved")));
    assert_eq!(decided["approval_id"], id);
    let mut text = String::new();
    while !(text.contains("event: approval\n")
        && text.contains("\"status\":\"approved\"")
        && text.contains("\"cli\""))
    {
        let chunk = soon(stream.chunk()).await.unwrap().expect("the stream goes on");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    // Nothing is told twice: the next is the next ask.
    bot.call("up__write", json!({"n": 1})).await.ok();
    let second = pending(&bot.call("up__write", json!({"n": 2})).await);
    assert_eq!(told(&hook.until(5).await[4])["approval_id"], second);
    let policy = files.dir.join("policies/ask.yaml");
    let changed = std::fs::read_to_string(&policy).unwrap().replace("description: d", "description: e");
    std::fs::write(&policy, changed).unwrap();
    let cancelled = told(&hook.until(6).await[5]);
    assert_eq!(
        (&cancelled["type"], &cancelled["approval_id"]),
        (&json!("approval_cancelled"), &json!(second))
    );
    // The command line is told so, too.
    let (mut late, _) = files.command_of(Some("carol"), &["approvals", "approve", &second]);
    assert!(!soon(late.wait()).await.unwrap().success());
}

/// R62. What is wrong with the record is told whoever finds it, though that is before anything listens: with the alert's id and
/// severity, and with the time at which it was found.
#[tokio::test]
async fn what_a_start_finds_wrong_is_told() {
    let (hook, url) = Hook::start(&[]).await;
    let servers = format!("[webhook]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n");
    let incidents = "=== bundle.yaml\nversion: \"1\"\nowner: tests\ndefault_decision: ALLOW\nalerts:\n  incidents: { kinds: [integrity], min_severity: low, sla: 4h }\n";
    let files = Files::of(Setup { files: format!("{GATE}{incidents}"), servers, ..Setup::default() }).await;
    let mut first = files.serve().await;
    let id = pending(&files.client(&first, "bot").call("up__write", json!({"n": 1})).await);
    hook.until(1).await;
    first.signal(rustix::process::Signal::TERM);
    assert!(first.ended().await);
    let index = rusqlite::Connection::open(files.dir.join("data/tollgate.db")).unwrap();
    index.execute("UPDATE approvals SET status = 'approved'", []).unwrap();
    drop(index);
    let before = tollgate::clock::System::default().now();
    let second = files.serve().await;
    let told = told(&hook.until(2).await[1]);
    assert_eq!(
        (&told["type"], &told["alert"], &told["severity"]),
        (&json!("alert"), &json!("integrity"), &json!("high"))
    );
    let at: jiff::Timestamp = told["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(at >= before, "{told:#}");
    let list = |path: &'static str| api(&files.http, &second.admin, "dan", path, None);
    let (_, alerts) = list("alerts").await;
    assert_eq!(alerts["alerts"][0]["id"], told["alert_id"], "{alerts:#}\n{told:#}");
    let (_, incidents) = list("incidents").await;
    assert_eq!(incidents["incidents"][0]["opened_at"], told["timestamp"], "{incidents:#}");
    // What it says of the ask is what its records say.
    let (_, asked) = list("approvals").await;
    assert_eq!(
        (&asked["approvals"][0]["id"], &asked["approvals"][0]["status"]),
        (&json!(id), &json!("pending"))
    );
}

/// Alerts of which the record was there before them have their id and severity too, those that the bundle turns off are not told,
/// and neither are repeats of one that somebody has seen, but for the steps of a budget.
#[tokio::test]
async fn alerts_are_told_with_their_ids() {
    let (hook, url) = Hook::start(&[]).await;
    let servers = format!("[webhook]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n");
    let files = "=== bundle.yaml\nversion: \"1\"\nowner: tests\ndefault_decision: ALLOW\nloop: { max_repeats: 3 }\n\
                 === budgets.yaml\nbudgets:\n  - { id: cap, scope: agent, window: day, max_calls: 4, alert_at: [50, 100], on_exceed: deny }\n";
    let world = World::start(Setup { files: files.to_owned(), servers, ..Setup::default() }).await;
    let bot = world.bare("bot");
    for n in 0..2 {
        bot.call("up__read", json!({"path": format!("/{n}")})).await.ok();
    }
    let half = told(&hook.until(1).await[0]);
    assert_eq!((&half["alert"], &half["agent_id"]), (&json!("budget"), &json!("bot")), "{half:#}");
    let listed = async |told: &Value| {
        let (_, page) = world.api("dan", "alerts", None).await;
        let alerts = page["alerts"].as_array().unwrap().clone();
        let found = alerts.into_iter().find(|alert| alert["id"] == told["alert_id"]);
        found.unwrap_or_else(|| panic!("{told:#}\n{page:#}"))
    };
    let alert = listed(&half).await;
    assert_eq!((&alert["kind"], &alert["severity"]), (&json!("budget"), &half["severity"]));
    let (status, _) = world
        .api(
            "dan",
            &format!("alerts/{}", alert["id"].as_str().unwrap()),
            Some(json!({"action": "ack", "note": "known"})),
        )
        .await;
    assert_eq!(status, 200);
    for n in 2..4 {
        bot.call("up__read", json!({"path": format!("/{n}")})).await.ok();
    }
    let full = told(&hook.until(2).await[1]);
    assert_eq!((&full["alert"], &full["alert_id"]), (&json!("budget"), &half["alert_id"]), "{full:#}");
    let other = world.bare("eve");
    for _ in 0..4 {
        other.call("up__echo", json!({"n": 1})).await;
    }
    let looping = async {
        let seen = hook.until(4).await;
        seen[2..].iter().map(told).find(|told| told["alert"] == "loop").unwrap()
    };
    let looping = looping.await;
    assert_eq!(listed(&looping).await["severity"], looping["severity"]);
    assert!(looping["severity"].is_string());
}

/// Whichever of several processes decides or cancels, the webhook is told, and once.
#[tokio::test]
async fn each_of_several_processes_tells_what_it_does() {
    let (hook, url) = Hook::start(&[]).await;
    let servers = format!("[webhook]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n");
    let files = Files::of(Setup { files: GATE.to_owned(), servers, ..Setup::default() }).await;
    let (mut first, mut second) = (files.serve().await, files.serve().await);
    let bot = files.client(&first, "bot");
    let decided = pending(&bot.call("up__write", json!({"n": 1})).await);
    let left = pending(&bot.call("up__write", json!({"n": 2})).await);
    hook.until(2).await;
    let decision = format!("{}/api/v1/approvals/{decided}/decision", second.admin);
    let answer = files.http.post(decision).bearer_auth("key-carol").json(&json!({"decision": "reject"}));
    assert_eq!(soon(answer.send()).await.unwrap().status(), 200);
    let seen = told(&hook.until(3).await[2]);
    assert_eq!((&seen["type"], &seen["approval_id"]), (&json!("approval_decided"), &json!(decided)));
    // Each of them takes up other policies, and one cancels what was asked before.
    let policy = files.dir.join("policies/ask.yaml");
    let changed = std::fs::read_to_string(&policy).unwrap().replace("description: d", "description: e");
    std::fs::write(&policy, changed).unwrap();
    let seen = told(&hook.until(4).await[3]);
    assert_eq!((&seen["type"], &seen["approval_id"]), (&json!("approval_cancelled"), &json!(left)));
    for process in [&mut first, &mut second] {
        process.signal(rustix::process::Signal::TERM);
        assert!(process.ended().await);
    }
    assert_eq!(hook.seen.lock().len(), 4);
}
