//! Raw sensitive values never reach a record, a prompt or a message (I5), whichever way they come.

use crate::harness::*;
use serde_json::{Value, json};
use std::path::Path;

/// One value of each kind. Put together here, so that no scanner takes this file for a leak.
pub(crate) fn secrets() -> Vec<(&'static str, String)> {
    let long = "abcdefghijklmnopqrstuvwxyz0123456789ABCD";
    vec![
        ("aws", format!("AKIA{}", "Q3EGRIJ7ZL5XN2WP")),
        ("github", format!("ghp_{}", &long[..36])),
        ("slack", format!("xoxb-{}-{}", "123456789012", "AbCdEfGhIjKlMnOpQrStUvWx")),
        (
            "jwt",
            format!(
                "eyJhbGciOiJIUzI1NiJ9.{}.{}",
                "eyJzdWIiOiIxMjM0NTY3ODkwIn0", "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
            ),
        ),
        (
            "pem",
            format!(
                "-----BEGIN {} KEY-----\n{}\n-----END {} KEY-----",
                "PRIVATE", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ", "PRIVATE"
            ),
        ),
        ("url", "postgres://admin:s3cr3tPassw0rd@db.example:5432/x".to_owned()),
        ("card", "4111 1111 1111 1111".to_owned()),
        ("iban", "DE89 3704 0044 0532 0130 00".to_owned()),
        ("email", "grace.hopper@navy-secret.example.org".to_owned()),
        ("entropy", "zQ8vL2xR9tY4wK7mN3pB6cF1hJ5dG0sA".to_owned()),
    ]
}

/// What must not stand anywhere: the part of each value that makes it secret.
fn needles() -> Vec<(&'static str, String)> {
    let mut needles: Vec<(&str, String)> = secrets()
        .into_iter()
        .map(|(name, value)| match name {
            "pem" => (name, "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC".to_owned()),
            "url" => (name, "s3cr3tPassw0rd".to_owned()),
            _ => (name, value),
        })
        .collect();
    needles.push(("field", "plain-but-named-so".to_owned()));
    needles.push(("declared", "content-that-is-declared".to_owned()));
    needles
}

#[track_caller]
pub(crate) fn clean(place: &str, bytes: &[u8]) {
    for (name, needle) in needles() {
        let escaped = needle.replace('\n', "\\n");
        for form in [needle, escaped] {
            let found = bytes.windows(form.len()).position(|window| window == form.as_bytes());
            if let Some(at) = found {
                let from = at.saturating_sub(200);
                let around = String::from_utf8_lossy(&bytes[from..(at + 100).min(bytes.len())]).into_owned();
                panic!("{name} stands in {place}: {around}");
            }
        }
    }
}

/// Every file under the data folder, byte for byte: the database, its log, and whatever else there is.
fn clean_files(dir: &Path) -> usize {
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            seen += clean_files(&path);
            continue;
        }
        match std::fs::read(&path) {
            Ok(bytes) => clean(&path.display().to_string(), &bytes),
            // The log of a database that is being closed may go meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => panic!("{}: {error}", path.display()),
        }
        seen += 1;
    }
    seen
}

fn carriers() -> Value {
    let mut arguments = json!({
        "password": "plain-but-named-so",
        "nested": {"headers": {"Authorization": "Bearer plain-but-named-so"}},
    });
    for (name, secret) in secrets() {
        arguments[format!("value_{name}")] = secret.clone().into();
        arguments[format!("text_{name}")] = format!("please use {secret} for it").into();
        arguments[format!("list_{name}")] = json!([[{"deep": secret}]]);
        arguments[secret.as_str()] = json!("a key can be one too");
    }
    arguments
}

const RULES: &str = "=== rules.yaml
name: rules
description: d
on: [{ upstream: up }]
rules:
  - { condition: \"tool.name == 'up__write'\", decision: REQUIRE_APPROVAL, approvers: [operator, leads] }
  - { condition: \"tool.name == 'up__delete'\", decision: DENY }
  - { condition: \"tool.name == 'up__pay'\", decision: SUGGEST }
";

/// I5: secrets in arguments, keys, results, errors and names reach the upstream and the agent, and nothing else.
#[tokio::test]
async fn secrets_stand_in_no_record_and_no_prompt() {
    let world = World::of(RULES).await;
    let arguments = carriers();
    let (ada, bot, legacy) = (world.modern("ada"), world.bare("bot"), world.legacy("ada").await);

    // What passes is unchanged, both ways.
    assert_eq!(ada.call("up__echo", arguments.clone()).await.echoed(), arguments);
    assert_eq!(world.up.calls()[0].arguments(), &arguments);

    // What is shown to people.
    let mut arguments = arguments;
    arguments["content"] = "content-that-is-declared".into();
    let asked = ada.call("up__write", arguments.clone()).await;
    clean("a modern prompt", asked.body.to_string().as_bytes());
    let params = json!({"name": "up__write", "arguments": arguments.clone()});
    let mut prompt = Value::Null;
    let refused = legacy
        .request_with("tools/call", params, |question| {
            prompt = question.clone();
            let text = format!("no: {} {}", secrets()[0].1, secrets()[2].1);
            Some(json!({"action": "accept", "content": {"decision": "reject", "comment": text}}))
        })
        .await;
    assert_eq!(refused.word(), "rejected");
    assert!(prompt["params"]["message"].as_str().unwrap().contains("redacted"), "{prompt:#}");
    clean("a legacy prompt", prompt.to_string().as_bytes());

    pending(&bot.call("up__write", arguments.clone()).await);

    // Refusals. Only `up__write` declares its `content`.
    let arguments = carriers();
    for tool in ["up__delete", "up__pay"] {
        clean(tool, ada.call(tool, arguments.clone()).await.body.to_string().as_bytes());
    }
    let mut wrong = arguments.clone();
    wrong["path"] = secrets()[1].1.clone().into();
    clean("a schema refusal", ada.call("up__read", wrong).await.body.to_string().as_bytes());

    // What the upstream says: results, its own errors, and errors of the protocol.
    world.up.results(json!({"content": [{"type": "text", "text": arguments.to_string()}], "isError": true}));
    ada.call("up__echo", json!({"n": 1})).await;
    let text = secrets().iter().map(|(_, secret)| secret.clone()).collect::<Vec<_>>().join(" | ");
    world.up.script(move |seen| (seen.method() == "tools/call").then(|| answer(error(seen, -32000, &text))));
    ada.call("up__echo", json!({"n": 2})).await;

    // Names, traces and workflows that an agent makes up.
    let (token, mail) = (secrets()[1].1.clone(), secrets()[8].1.clone());
    ada.call(&token, json!({})).await;
    ada.request("resources/read", json!({"uri": format!("file:///open/{mail}")})).await;
    let params = json!({"name": "up__echo", "arguments": {}, "_meta": {"tollgate/workflow_id": token, "traceparent": mail}});
    ada.request("tools/call", params).await;
    Client::legacy(&world.http, &world.gate.mcp, "ada", json!({"elicitation": {}})).await;

    world.until_settled(world.up.count()).await;

    // The admin API.
    for path in ["approvals", "events?limit=1000", "agents", "tools", "upstreams", "policies", "budgets"] {
        let (status, body) = world.api("bob", path, None).await;
        assert!(status == 200 || status == 404, "{path}: {status}");
        clean(path, body.to_string().as_bytes());
    }
    for record in world.approvals().await {
        clean("an approval", serde_json::to_string(&record).unwrap().as_bytes());
    }
    let events = world.events().await;
    assert!(events.iter().any(|e| e.draft.redacted));
    for event in events {
        clean("an event", serde_json::to_string(&event).unwrap().as_bytes());
    }
    assert!(clean_files(&world.dir.join("data")) > 0);
    world.gate.gateway.shutdown().await;
    world.gate.store.close().await;
    assert!(clean_files(&world.dir.join("data")) > 0);
}

/// R42: data.yaml masks, hashes, drops and blocks towards upstreams and agents.
#[tokio::test]
async fn data_rules_change_what_passes() {
    let data = "=== data.yaml
rules:
  - { id: cards-stay, detectors: [\"*card*\"], on: [{ tool: up__echo }], arguments: block, results: block }
  - { detectors: [email], on: [{ tool: up__echo }], arguments: mask, results: drop }
  - { detectors: [email], on: [{ tool: up__write }], arguments: hash }
";
    let world = World::of(data).await;
    let ada = world.modern("ada");
    let mail = secrets()[8].1.clone();
    let masked = ada.call("up__echo", json!({"to": mail, "n": 1})).await;
    let sent = world.up.calls()[0].arguments().clone();
    assert!(sent["to"].as_str().unwrap().starts_with("[redacted:email"), "{sent}");
    assert_eq!(sent["n"], 1);
    masked.ok();
    for n in 0..2 {
        ada.call("up__write", json!({"to": mail, "n": n})).await.ok();
    }
    let hashes: Vec<Value> = world.up.calls()[1..].iter().map(|c| c.arguments()["to"].clone()).collect();
    assert!(hashes[0].as_str().unwrap().starts_with("[hash:email"), "{hashes:?}");
    assert_eq!(hashes[0], hashes[1]);
    // Blocked arguments are not sent, and the rule is named without the value.
    let before = world.up.count();
    let blocked = ada.call("up__echo", json!({"card": secrets()[6].1})).await;
    assert_eq!((blocked.word(), blocked.decision()["policy_id"].as_str()), ("deny", Some("data")));
    assert!(blocked.text().contains("cards-stay") && !blocked.text().contains("4111"), "{}", blocked.text());
    assert_eq!(world.up.count(), before);
    // Nor is there a way around a rule beside the arguments.
    let beside = async |tool: &str, meta: Value, more: Value| {
        let params = json!({"name": tool, "arguments": {"n": 9, "path": "/a"}, "_meta": meta, "extra": more});
        ada.request("tools/call", params).await
    };
    for (meta, more) in
        [(json!({"k": secrets()[6].1}), json!(1)), (json!({}), json!({"card": secrets()[6].1}))]
    {
        let blocked = beside("up__echo", meta, more).await;
        assert_eq!((blocked.word(), blocked.decision()["policy_id"].as_str()), ("deny", Some("data")));
    }
    assert_eq!(world.up.count(), before);
    beside("up__echo", json!({"x/to": mail, "x/n": 1}), json!([mail, "kept"])).await.ok();
    let sent = world.up.calls().pop().unwrap().body["params"].clone();
    assert!(!sent.to_string().contains(&mail) && sent["extra"][1] == "kept", "{sent}");
    assert!(sent["_meta"]["x/to"].as_str().unwrap().starts_with("[redacted:email"), "{sent}");
    assert_eq!(sent["_meta"]["x/n"], 1);
    // Where no rule speaks of the call it goes as it came.
    beside("up__read", json!({"x/to": mail}), json!(mail)).await;
    let sent = world.up.calls().pop().unwrap().body["params"].clone();
    assert_eq!((&sent["_meta"]["x/to"], &sent["extra"]), (&json!(mail), &json!(mail)));
    // A blocked result was dispatched, and does not come back.
    world.up.results(text_result(&format!("the card is {}", secrets()[6].1)));
    let withheld = ada.call("up__echo", json!({"n": 2})).await;
    assert_eq!(withheld.body["result"]["isError"], true);
    assert!(!withheld.body.to_string().contains("4111"));
    world.up.results(text_result(&format!("write to {mail} soon")));
    let dropped = ada.call("up__echo", json!({"n": 3})).await;
    assert!(
        !dropped.body.to_string().contains(&mail) && dropped.text().contains("soon"),
        "{:#}",
        dropped.body
    );
}

/// R43, R41: level and redaction stand in the event, and rules see them.
#[tokio::test]
async fn sensitivity_is_recorded_and_decided_on() {
    let gate = "=== flow.yaml
name: flow
description: Nothing restricted is echoed
on: [{ tool: up__echo }]
rules:
  - { id: stays, condition: \"data.level == 'restricted'\", decision: DENY }
";
    let world = World::of(gate).await;
    let ada = world.modern("ada");
    ada.call("up__echo", json!({"text": "hello"})).await.ok();
    let event = serde_json::to_value(world.last_decision().await).unwrap();
    assert_eq!(event["metadata"]["redacted"], false);
    let refused = ada.call("up__echo", json!({"key": secrets()[0].1})).await;
    assert_eq!((refused.word(), refused.decision()["rule_id"].as_str()), ("deny", Some("stays")));
    let event = serde_json::to_value(world.last_decision().await).unwrap();
    assert_eq!(event["metadata"], json!({"sensitivity_level": "restricted", "redacted": true}));
}

/// I5: a text that is recorded in part is masked first: half a secret is not known for one.
#[tokio::test]
async fn texts_are_masked_before_they_are_cut() {
    let world = World::of(RULES).await;
    let secret = secrets()[1].1.clone();
    let half = &secret[..20];
    // Cut in the middle of the secret, wherever the limit is.
    let long = |limit: usize| format!("{} {secret} and more", "x".repeat(limit - 22));

    let ada = world.modern("ada");
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": long(100), "version": long(100)},
    }});
    assert_eq!(soon(ada.post(&body).send()).await.unwrap().status(), 200);

    let comment = long(tollgate::approval::MAX_TEXT);
    let params = json!({"name": "up__write", "arguments": {}});
    let answer = json!({"action": "accept", "content": {"decision": "reject", "comment": comment}});
    let refused =
        world.legacy("ada").await.request_with("tools/call", params, |_| Some(answer.clone())).await;
    assert_eq!(refused.word(), "rejected");

    world.gate.gateway.reload_rejected(long(4_000)).await;

    let events = serde_json::to_string(&world.events().await).unwrap();
    let approvals = serde_json::to_string(&world.approvals().await).unwrap();
    let rejected = world.gate.gateway.readiness().rejected_reload.unwrap();
    let marks = |text: &str| text.matches("xxxxxxxx [").count();
    assert_eq!((marks(&approvals), marks(&rejected)), (1, 1), "{approvals}\n{rejected}");
    assert!(marks(&events) >= 3, "{events}");
    for text in [events, approvals, rejected] {
        assert!(!text.contains(half), "{text}");
    }
}
