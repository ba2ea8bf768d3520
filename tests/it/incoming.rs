//! Who may come in, and from where: addresses that proxies tell, attempts that fail, and keys that end.

use crate::harness::*;
use serde_json::{Value, json};
use std::time::Duration;
use tollgate::clock::{Clock as _, Fake};

/// A request with this key, passed on as if by a proxy: its status.
async fn attempt(world: &World, key: &str, forwarded: &[&str]) -> u16 {
    let client = world.modern("ada");
    let mut request = client.post(&client.body("tools/list", json!({}))).build().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    for line in forwarded {
        request.headers_mut().append("x-forwarded-for", line.parse().unwrap());
    }
    soon(world.http.execute(request)).await.unwrap().status().as_u16()
}

/// So many wrong keys are answered with 401 within a minute; what comes after is 429.
const MOST: usize = 20;

/// Failures count for the address that a trusted proxy tells, whatever a client writes before it; and nobody is locked out: a
/// right key comes in from wherever wrong ones come.
#[tokio::test]
async fn failures_count_for_whom_a_trusted_proxy_names() {
    let gateway = "approval_wait = \"200ms\"\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]".to_owned();
    let world = World::start(Setup { gateway, ..Setup::default() }).await;
    for number in 0..MOST {
        // The attacker makes up another address each time; the proxy adds the real one.
        let made_up = format!("198.51.100.{number}, 203.0.113.9, 10.1.1.1");
        assert_eq!(attempt(&world, "wrong", &[&made_up]).await, 401);
    }
    assert_eq!(attempt(&world, "wrong", &["192.0.2.1, 203.0.113.9:4711"]).await, 429);
    assert_eq!(attempt(&world, "wrong", &["203.0.113.9", "10.1.1.1"]).await, 429);
    assert_eq!(attempt(&world, "wrong", &["203.0.113.10"]).await, 401, "somebody else");
    assert_eq!(attempt(&world, "key-ada", &["203.0.113.9"]).await, 200, "a right key from the same address");
    // Garbage is the proxy's own.
    for line in ["garbage", "203.0.113.10, unknown", "203.0.113.10,", "::1::"] {
        assert_eq!(attempt(&world, "wrong", &[line]).await, 401, "{line}");
    }
    assert_eq!(attempt(&world, "key-ada", &["garbage"]).await, 200);
}

/// What a peer says that is no trusted proxy counts for nothing.
#[tokio::test]
async fn a_peer_that_is_no_proxy_speaks_for_itself() {
    for gateway in [
        "",
        "trusted_proxies = [\"10.0.0.0/8\"]",
        "trusted_proxies = [\"127.0.0.1\"]\nforwarded_by = \"forwarded\"",
    ] {
        let world = World::start(Setup { gateway: gateway.to_owned(), ..Setup::default() }).await;
        for number in 0..MOST {
            assert_eq!(attempt(&world, "wrong", &[&format!("198.51.100.{number}")]).await, 401);
        }
        assert_eq!(attempt(&world, "wrong", &["203.0.113.9"]).await, 429, "{gateway}");
        assert_eq!(attempt(&world, "key-ada", &[]).await, 200);
    }
}

/// The admin listener counts alike.
#[tokio::test]
async fn the_admin_listener_knows_the_proxies_too() {
    let gateway = "approval_wait = \"200ms\"\ntrusted_proxies = [\"127.0.0.1\"]".to_owned();
    let world = World::start(Setup { gateway, ..Setup::default() }).await;
    let get = async |key: &str, from: &str| {
        let url = format!("{}/api/v1/agents", world.gate.admin);
        let request = world.http.get(url).bearer_auth(key).header("x-forwarded-for", from);
        soon(request.send()).await.unwrap().status().as_u16()
    };
    for _ in 0..MOST {
        assert_eq!(get("wrong", "203.0.113.9").await, 401);
    }
    assert_eq!(get("wrong", "203.0.113.9").await, 429);
    assert_eq!(get("wrong", "203.0.113.10").await, 401);
    assert_eq!(get("key-bob", "203.0.113.9").await, 200);
}

/// The digest of a key in its longer form.
fn entry(name: &str, expires: &str) -> String {
    format!("{{ sha256: \"{}\", expires: {expires}, name: laptop }}", digest(&format!("key-{name}")))
}

fn with_keys(changes: &[(&str, &str)]) -> String {
    let text = changes.iter().fold(authority(), |text, (name, expires)| {
        text.replace(&format!("\"{}\"", digest(&format!("key-{name}"))), &entry(name, expires))
    });
    format!("=== authority.yaml\n{text}\n")
}

/// A key that ends in the middle of a session ends it: the next message is refused, and says why.
#[tokio::test]
async fn a_key_that_expires_opens_nothing_from_then_on() {
    let clock = Fake::at("2026-11-01T12:00:00Z".parse().unwrap());
    let files = with_keys(&[("ada", "2026-11-01T12:10:00Z"), ("bob", "2026-11-02")]);
    let world = World::start(Setup { files, clock: Some(clock.clone()), ..Setup::default() }).await;
    let (modern, legacy) = (world.modern("ada"), world.legacy("ada").await);
    modern.call("up__read", json!({"path": "/a"})).await.ok();
    legacy.call("up__read", json!({"path": "/a"})).await.ok();
    clock.advance(Duration::from_secs(599));
    legacy.call("up__read", json!({"path": "/a"})).await.ok();
    clock.advance(Duration::from_secs(1));
    for client in [&modern, &legacy] {
        let body = client.body("tools/call", json!({"name": "up__read", "arguments": {"path": "/a"}}));
        let reply = soon(client.post(&body).send()).await.unwrap();
        assert_eq!(reply.status(), 401);
        let text = reply.text().await.unwrap();
        assert!(text.contains("this key has expired"), "{text}");
    }
    assert_eq!(world.up.count(), 3);
    // People's keys alike; a date is the beginning of its day.
    assert_eq!(world.api("bob", "agents", None).await.0, 200);
    clock.advance(Duration::from_secs(11 * 3_600 + 3_000));
    assert_eq!(clock.now().to_string(), "2026-11-02T00:00:00Z");
    assert_eq!(world.api("bob", "agents", None).await.0, 401);
    assert_eq!(world.api("dan", "agents", None).await.0, 200);
}

/// `check` and `doctor` tell keys that have ended, and those that soon will.
#[tokio::test]
async fn keys_that_end_are_told() {
    let today = tollgate::clock::System::default().now();
    let soon_over = (today + jiff::SignedDuration::from_hours(240)).to_string();
    let later = (today + jiff::SignedDuration::from_hours(2_400)).to_string();
    let files = with_keys(&[("ada", "2026-01-31"), ("eve", &soon_over), ("bot", &later)]);
    let files = Files::of(Setup { files, ..Setup::default() }).await;
    let (_child, said) = files.command(&["check"]);
    said.until_end().await;
    let text = said.text();
    assert!(
        text.contains("key `laptop` of agent `ada` has expired at 2026-01-31T00:00:00Z: it opens nothing"),
        "{text}"
    );
    assert!(text.contains("key `laptop` of agent `eve` expires at"), "{text}");
    assert!(!text.contains("agent `bot`"), "{text}");
    let (_child, said) = files.command(&["doctor"]);
    said.until_end().await;
    assert!(said.text().contains("agent `ada` has expired"), "{}", said.text());
    // On the command line it opens nothing either.
    let (mut child, _said) = files.command_of(Some("alice"), &["agents", "list"]);
    assert!(soon(child.wait()).await.unwrap().success());
    let expired = with_keys(&[("alice", "2026-01-31")]);
    rewrite(&files.dir, &expired);
    let (mut child, _said) = files.command_of(Some("alice"), &["agents", "list"]);
    assert!(!soon(child.wait()).await.unwrap().success());
}

/// When a key was last used is known from one process to the next, and wrong keys leave nothing.
#[tokio::test]
async fn the_last_use_of_a_key_is_kept() {
    let files = Files::of(Setup { files: with_keys(&[("ada", "2099-01-31")]), ..Setup::default() }).await;
    let show = async |kind: &str, name: &str| -> Value {
        let (_child, said) = files.command(&[kind, "show", name, "--json"]);
        said.until_end().await;
        serde_json::from_str(&said.text()).unwrap()
    };
    assert_eq!(show("agents", "ada").await["last_used"], Value::Null);
    let mut process = files.serve().await;
    files.client(&process, "ada").call("up__read", json!({"path": "/a"})).await.ok();
    assert_eq!(api(&files.http, &process.admin, "dan", "agents", None).await.0, 200);
    let mut stranger = files.client(&process, "ada");
    stranger.key = "key-nobody".to_owned();
    let body = stranger.body("tools/list", json!({}));
    assert_eq!(soon(stranger.post(&body).send()).await.unwrap().status(), 401);
    process.signal(rustix::process::Signal::TERM);
    assert!(process.ended().await);
    let ada = show("agents", "ada").await;
    let at: jiff::Timestamp = ada["last_used"].as_str().unwrap().parse().unwrap();
    assert_eq!(at.as_second() % 60, 0, "to the minute");
    let key = &ada["key_details"][0];
    assert_eq!((&key["name"], &key["expired"]), (&json!("laptop"), &json!(false)));
    assert_eq!(
        (&key["last_used"], key["expires"].as_str()),
        (&ada["last_used"], Some("2099-01-31T00:00:00Z"))
    );
    assert!(show("people", "dan").await["last_used"].is_string());
    // The key of whoever types counts as one that is sent.
    assert_eq!(show("people", "alice").await["last_used"], Value::Null);
    let (mut child, _said) = files.command_of(Some("alice"), &["agents", "list"]);
    assert!(soon(child.wait()).await.unwrap().success());
    assert!(show("people", "alice").await["last_used"].is_string());
    assert_eq!(show("agents", "eve").await["last_used"], Value::Null);
    let kept = std::fs::read_to_string(files.dir.join("data/key-use.json")).unwrap();
    assert_eq!(kept.matches("2026-").count() + kept.matches("2027-").count(), 3, "{kept}");
    assert!(!kept.contains("key-") && !kept.contains(&digest("key-nobody")[7..]), "{kept}");
    let (_child, said) = files.command(&["agents", "show", "ada"]);
    said.until_end().await;
    assert!(said.text().contains("laptop: until 2099-01-31T00:00:00Z, last used "), "{}", said.text());
}
