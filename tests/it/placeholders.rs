//! `tokenize`: the agent sees a placeholder, a permitted upstream gets the value, and nobody else does (SPEC 7; R41, R42).

use crate::harness::*;
use serde_json::{Value, json};
use std::{path::Path, process::Stdio};
use tollgate::model::EventType;

const MAIL: &str = "grace.hopper@navy-secret.example.org";
/// What only its place makes sensitive.
const NOTE: &str = "prefers \"quiet\" rooms & tea";

/// `up` is where values come from; `mail` may have them, `web` may not.
const RULES: &str = "=== authority.yaml
capabilities:
  all: { tools: [\"*\"], prompts: [\"*\"], resources: [\"**\"] }
agents:
  ada: { owner: tests, tenant: acme, operator: alice, attended: true, capabilities: [all], keys: [\"{ada}\"] }
  eve: { owner: tests, tenant: acme, operator: alice, attended: true, capabilities: [all], keys: [\"{eve}\"] }
people:
  alice: { keys: [\"{alice}\"], groups: [leads], roles: [approver] }
  dan: { keys: [\"{dan}\"], roles: [admin] }
=== data.yaml
rules:
  - { id: mails, detectors: [email], on: [{ upstream: up }], results: tokenize, permitted: [{ upstream: mail }] }
  - { id: notes, pointers: [/note], on: [{ upstream: up }], results: tokenize, permitted: [{ upstream: mail }] }
  - { id: cards, detectors: [card], on: [{ upstream: up }], results: tokenize, scope: tenant, permitted: [{ upstream: mail }] }
  - { id: out, detectors: [phone], arguments: tokenize, permitted: [{ upstream: mail }] }
=== where.yaml
name: where
description: Mail goes to the navy
on: [{ tool: mail__send }]
rules:
  - { id: inside, condition: \"has(args.to) && !glob(args.to, '*navy-secret.example.org')\", decision: DENY }
";

async fn world() -> World {
    let mut send = tool("send");
    send["inputSchema"] = json!({"type": "object", "properties": {"to": {"type": "string", "format": "email", "maxLength": 60}}});
    let mail = Scripted::with(vec![send, tool("list")], false).await;
    let web = Scripted::with(vec![tool("post")], true).await;
    let servers = "
[upstreams.mail]
url = \"{mail}\"
[upstreams.web]
url = \"{web}\"
"
    .to_owned();
    World::start(Setup {
        files: RULES.to_owned(),
        gateway: "approval_wait = \"200ms\"\nformats = \"assert\"".to_owned(),
        servers,
        more: vec![("mail", mail), ("web", web)],
        ..Setup::default()
    })
    .await
}

impl World {
    fn other(&self, name: &str) -> &Scripted {
        &self.more.iter().find(|(known, _)| *known == name).unwrap().1
    }
}

/// No file of the data folder holds a value.
fn holds_no(dir: &Path, value: &str) -> usize {
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            seen += holds_no(&path, value);
        } else if let Ok(bytes) = std::fs::read(&path) {
            seen += 1;
            let found = bytes.windows(value.len()).any(|window| window == value.as_bytes());
            assert!(!found, "{value} stands in {}", path.display());
        }
    }
    seen
}

/// What an agent is shown of a result in which the values stand.
async fn learned(world: &World, client: &Client) -> (String, String) {
    world.up.results(json!({
        "content": [{"type": "text", "text": json!({"mail": MAIL, "note": NOTE}).to_string()}],
        "structuredContent": {"mail": MAIL, "note": NOTE},
    }));
    let reply = client.call("up__echo", json!({})).await;
    let shown = reply.ok()["structuredContent"].clone();
    assert_eq!(serde_json::from_str::<Value>(reply.text()).unwrap(), shown, "both are the same");
    let text = |name: &str| shown[name].as_str().unwrap().to_owned();
    assert!(
        text("mail").starts_with("[token:email:") && text("note").starts_with("[token:pointer:"),
        "{shown}"
    );
    (text("mail"), text("note"))
}

/// R41, R42: the value goes to whom the rule permits, wherever its placeholder stands, is decided on as what it is, and stands in
/// no record.
#[tokio::test]
async fn a_permitted_upstream_gets_the_value_and_nobody_else() {
    let world = world().await;
    for ada in [world.modern("ada"), world.legacy("ada").await] {
        let (mail, note) = learned(&world, &ada).await;
        let again = learned(&world, &ada).await;
        assert_eq!((&again.0, &again.1), (&mail, &note), "it stays the same");
        let before = world.other("mail").count();
        // The schema's `format` and the rule's condition see the value.
        ada.call("mail__send", json!({"to": mail})).await.ok();
        let inner = json!({"cc": [mail], "why": note}).to_string();
        let nested = json!({"to": mail, "body": format!("dear {mail}, you said {note}."), "payload": inner, mail.as_str(): 1});
        let reply = ada.call("mail__send", nested).await;
        let sent = world.other("mail").calls().pop().unwrap().arguments().clone();
        assert_eq!(world.other("mail").count(), before + 2);
        assert_eq!((&sent["to"], &sent[MAIL]), (&json!(MAIL), &json!(1)));
        assert_eq!(sent["body"], format!("dear {MAIL}, you said {NOTE}."));
        let payload: Value = serde_json::from_str(sent["payload"].as_str().unwrap()).unwrap();
        assert_eq!(payload, json!({"cc": [MAIL], "why": NOTE}), "a value adds nothing to what it is in");
        // The upstream echoes what it got; the agent sees placeholders all the same.
        assert!(
            !reply.body.to_string().contains("hopper") && !reply.text().contains("quiet"),
            "{:#}",
            reply.body
        );
        let echoed = reply.echoed();
        assert_eq!(
            (&echoed["to"], &echoed["payload"]),
            (&json!(mail), &json!(json!({"cc": [mail], "why": note}).to_string()))
        );
        // Another upstream gets the placeholder, and so does everything beside the arguments.
        ada.call("web__post", json!({"to": mail, "text": format!("see {note}")})).await;
        let posted = world.other("web").calls().pop().unwrap().arguments().clone();
        assert_eq!(posted, json!({"to": mail, "text": format!("see {note}")}));
        // An error of the upstream that repeats a value.
        world.other("mail").script(|seen| {
            let told =
                format!("no mailbox {}", seen.arguments()["to"].as_str().unwrap_or_default().to_uppercase());
            (seen.method() == "tools/call").then(|| answer(error(seen, -32050, &told)))
        });
        let failed = ada.call("mail__send", json!({"to": mail})).await;
        assert_eq!(failed.error()["message"], format!("no mailbox {mail}"));
        world.other("mail").behaves();
    }
    let settled = world.until_settled(1).await;
    assert!(settled.iter().any(|event| event.draft.detail.as_ref().unwrap()["revealed"].is_array()));
    let decisions = world.events().await;
    let revealing = decisions.iter().rfind(|event| {
        event.draft.event_type == EventType::AgentDecision
            && event.draft.tool.as_deref() == Some("mail__send")
    });
    let event = serde_json::to_value(revealing.unwrap()).unwrap();
    assert_eq!(event["metadata"], json!({"sensitivity_level": "confidential", "redacted": true}));
    let whole = serde_json::to_string(&world.events().await).unwrap();
    assert!(!whole.contains("hopper") && !whole.contains("quiet"), "I5");
    for value in [MAIL, "quiet", "hopper"] {
        assert!(holds_no(&world.dir.join("data"), value) > 3);
    }
}

/// The confused deputy: a placeholder is worth nothing to another agent, nor is one that was guessed; one of a tenant's is shared.
#[tokio::test]
async fn no_agent_uses_anothers_placeholder() {
    let world = world().await;
    let (ada, eve) = (world.modern("ada"), world.modern("eve"));
    let (mail, note) = learned(&world, &ada).await;
    // The upstream in between stores it for both.
    let sent = async |agent: &Client, arguments: Value| {
        agent.call("mail__list", arguments).await.ok();
        world.other("mail").calls().pop().unwrap().arguments().clone()
    };
    let given = json!({"a": mail, "b": [format!("x {note}")]});
    assert_eq!(sent(&eve, given.clone()).await, given);
    let guessed = format!("[token:email:{}]", "0".repeat(32));
    assert_eq!(sent(&ada, json!({"a": guessed})).await, json!({"a": guessed}));
    let renamed = mail.replace("email", "phone");
    assert_eq!(sent(&ada, json!({"a": renamed})).await, json!({"a": renamed}));
    assert_eq!(sent(&ada, given).await, json!({"a": MAIL, "b": [format!("x {NOTE}")]}));
    // Eve has her own for the same value.
    let (own, _) = learned(&world, &eve).await;
    assert_ne!(own, mail);
    assert_eq!(sent(&eve, json!({"a": own})).await, json!({"a": MAIL}));
    assert_eq!(sent(&ada, json!({"a": own})).await, json!({"a": own}));
    // `scope: tenant`, and a number that is one again.
    world.up.results(json!({"content": [], "structuredContent": {"card": 4_111_111_111_111_111_u64}}));
    let shown = ada.call("up__echo", json!({})).await.ok()["structuredContent"]["card"].clone();
    assert_eq!(sent(&eve, json!({"card": shown})).await, json!({"card": 4_111_111_111_111_111_u64}));
}

/// A rule that tokenizes arguments: what is not permitted gets a placeholder, and may hand it back.
#[tokio::test]
async fn arguments_are_tokenized_on_their_way() {
    let world = world().await;
    let ada = world.modern("ada");
    let phone = "+49 30 901820123";
    ada.call("web__post", json!({"call": phone})).await;
    let posted = world.other("web").calls().pop().unwrap().arguments()["call"].clone();
    assert!(posted.as_str().unwrap().starts_with("[token:phone:"), "{posted}");
    ada.call("mail__list", json!({"call": phone})).await.ok();
    assert_eq!(world.other("mail").calls().pop().unwrap().arguments()["call"], phone);
    ada.call("mail__list", json!({"call": posted})).await.ok();
    assert_eq!(world.other("mail").calls().pop().unwrap().arguments()["call"], phone);
}

/// Prompts, resources, what an upstream tells on the way, and what a client answers it.
#[tokio::test]
async fn values_are_handled_wherever_they_flow() {
    let world = world().await;
    let ada = world.legacy("ada").await;
    let (mail, _) = learned(&world, &ada).await;
    world.up.script(|seen| {
        let result = match seen.method() {
            "resources/read" => {
                json!({"contents": [{"uri": seen.body["params"]["uri"], "text": format!("of {MAIL}")}]})
            }
            "prompts/get" => {
                json!({"messages": [{"role": "user", "content": {"type": "text", "text": MAIL}}]})
            }
            "completion/complete" => json!({"completion": {"values": [MAIL]}}),
            _ => return None,
        };
        Some(answer(json_reply(seen, &result)))
    });
    // Each upstream lists one of that name.
    let mut texts = Vec::new();
    for uri in ada.names("resources/list", "resources").await {
        let read = ada.request("resources/read", json!({"uri": uri})).await;
        texts.push(read.ok()["contents"][0]["text"].clone());
    }
    assert!(texts.contains(&json!(format!("of {mail}"))), "{texts:?}");
    let prompt = ada.request("prompts/get", json!({"name": "up__short"})).await;
    assert_eq!(prompt.ok()["messages"][0]["content"]["text"], mail);
    let completion =
        json!({"ref": {"type": "ref/prompt", "name": "up__short"}, "argument": {"name": "x", "value": ""}});
    let completed = ada.request("completion/complete", completion).await;
    assert_eq!(completed.ok()["completion"]["values"][0], mail);
    // A prompt of a permitted upstream gets the value.
    let params = json!({"name": "mail__short", "arguments": {"who": mail}});
    let prompt = ada.request("prompts/get", params).await;
    let seen = world.other("mail").calls().pop().unwrap();
    assert_eq!(seen.body["params"]["arguments"]["who"], MAIL);
    assert!(!prompt.body.to_string().contains("hopper"), "{:#}", prompt.body);
}

/// Two gateways on one store, a rotation by command between them, and a start again.
#[tokio::test]
async fn processes_share_the_vault_and_its_keys_are_rotated() {
    let world = world().await;
    let ada = world.modern("ada");
    let (mail, _) = learned(&world, &ada).await;
    let second = world.second().await;
    let there = Client::modern(&world.http, &second.mcp, "ada", json!({}));
    let sent = async |client: &Client| {
        client.call("mail__list", json!({"a": mail})).await.ok();
        world.other("mail").calls().pop().unwrap().arguments()["a"].clone()
    };
    assert_eq!(sent(&there).await, MAIL);
    let rotate = async || {
        let command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["--config", world.dir.join("servers.toml").to_str().unwrap(), "store", "rotate-key"])
            .stdin(Stdio::null())
            .output();
        let said = soon(command).await.unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    };
    let keys = || std::fs::read_to_string(world.dir.join("data/tollgate.vault-keys")).unwrap();
    let before = keys();
    let said = rotate().await;
    assert!(said.contains("2 values are encrypted under key 2"), "{said}");
    assert_ne!(keys(), before);
    assert_eq!(sent(&ada).await, MAIL);
    assert_eq!(sent(&there).await, MAIL);
    assert_eq!(learned(&world, &ada).await.0, mail, "placeholders stay what they were");
    world.until_event(|event| event.draft.action.as_deref() == Some("vault_key_rotated")).await;
    drop((second, there));
    let third = world.second().await;
    let there = Client::modern(&world.http, &third.mcp, "ada", json!({}));
    assert_eq!(sent(&there).await, MAIL);
    // Where the vault cannot be read the call is refused, and a result is masked.
    std::fs::remove_file(world.dir.join("data/tollgate.vault-keys")).unwrap();
    let fourth = world.second().await;
    let there = Client::modern(&world.http, &fourth.mcp, "ada", json!({}));
    let calls = world.other("mail").count();
    let refused = there.call("mail__list", json!({"a": mail})).await;
    assert_eq!((refused.word(), refused.decision()["policy_id"].as_str()), ("deny", Some("data")));
    assert!(refused.text().contains("the vault of `tokenize` does not answer"), "{}", refused.text());
    assert_eq!(world.other("mail").count(), calls);
    world.up.results(text_result(&format!("to a new one: other.{MAIL}")));
    let masked = there.call("up__echo", json!({})).await;
    assert!(masked.text().starts_with("to a new one: [redacted:email:"), "{}", masked.text());
}

/// A bundle that no longer permits it, or lacks the rule, gives nobody the value.
#[tokio::test]
async fn the_bundle_in_force_says_who_may_have_a_value() {
    let world = world().await;
    let ada = world.modern("ada");
    let (mail, _) = learned(&world, &ada).await;
    let sent = async |tool: &str, at: &str| {
        ada.call(tool, json!({"a": mail})).await;
        world.other(at).calls().pop().unwrap().arguments()["a"].clone()
    };
    assert_eq!(sent("mail__list", "mail").await, MAIL);
    let moved = RULES.replace(
        "results: tokenize, permitted: [{ upstream: mail }] }\n  - { id: notes",
        "results: tokenize, permitted: [{ upstream: web }] }\n  - { id: notes",
    );
    world.reload(&moved).await;
    assert_eq!(sent("mail__list", "mail").await, json!(mail));
    assert_eq!(sent("web__post", "web").await, MAIL);
    world.reload(&RULES.replace("id: mails", "id: others")).await;
    assert_eq!(sent("mail__list", "mail").await, json!(mail));
    assert_eq!(sent("web__post", "web").await, json!(mail));
}

/// What goes beside the arguments, and the URI of a resource: there too the value goes to whom the rule permits, and nobody else.
#[tokio::test]
async fn what_stands_beside_the_arguments_is_resolved() {
    let world = world().await;
    world.other("mail").script(|seen| {
        let result = match seen.method() {
            "resources/templates/list" => {
                json!({"resourceTemplates": [{"uriTemplate": "mailbox://of/{who}", "name": "mailbox"}]})
            }
            "resources/read" => {
                let uri = &seen.body["params"]["uri"];
                json!({"contents": [{"uri": uri, "text": format!("box {uri} of {MAIL}")}]})
            }
            _ => return None,
        };
        Some(answer(json_reply(seen, &result)))
    });
    world.other("mail").announce().await;
    let mail_gate = "=== boxes.yaml
name: boxes
description: No box of the staff
on: [{ resource: \"mailbox://**\" }]
rules: [{ id: staff, condition: \"args.uri.contains('staff')\", decision: DENY }]
";
    world.reload(&format!("{RULES}{mail_gate}")).await;
    for ada in [world.modern("ada"), world.legacy("ada").await] {
        let (mail, note) = learned(&world, &ada).await;
        let meta = json!({"crm/about": {"who": mail, "why": [note]}, "progressToken": mail});
        let sent = async |tool: &str, at: &str| {
            let params = json!({"name": tool, "arguments": {"a": 1}, "_meta": meta.clone()});
            let reply = ada.request("tools/call", params).await;
            assert!(!reply.body.to_string().contains("hopper"), "{:#}", reply.body);
            world.other(at).calls().pop().unwrap().body["params"]["_meta"]["crm/about"].clone()
        };
        assert_eq!(sent("mail__list", "mail").await, json!({"who": MAIL, "why": [NOTE]}));
        assert_eq!(sent("web__post", "web").await, json!({"who": mail, "why": [note]}));

        let listed = ada.request("resources/templates/list", json!({})).await;
        let templates: Vec<&Value> = listed.ok()["resourceTemplates"].as_array().unwrap().iter().collect();
        assert!(
            templates.iter().any(|t| t["uriTemplate"].as_str().unwrap().ends_with("mailbox://of/{who}")),
            "{templates:?}"
        );
        let encoded = mail.replace('[', "%5B").replace(':', "%3A").replace(']', "%5D");
        for written in [&mail, &encoded] {
            let before = world.other("mail").count();
            let reply =
                ada.request("resources/read", json!({"uri": format!("mailbox://of/{written}")})).await;
            let contents = reply.ok()["contents"].clone();
            let asked = world.other("mail").calls().pop().unwrap();
            assert_eq!(world.other("mail").count(), before + 1);
            assert_eq!(asked.body["params"]["uri"], format!("mailbox://of/{MAIL}"));
            assert!(!reply.body.to_string().contains("hopper"), "{contents:#}");
            assert!(contents[0]["text"].as_str().unwrap().contains(mail.as_str()), "{contents:#}");
        }
    }
    // It is decided on the value: what no agent may read by its name, none reads by a placeholder.
    let ada = world.modern("ada");
    world.up.results(json!({"structuredContent": {"mail": "boss@staff.example.org"}, "content": []}));
    let shown =
        ada.call("up__echo", json!({})).await.ok()["structuredContent"]["mail"].as_str().unwrap().to_owned();
    let denied = ada.request("resources/read", json!({"uri": format!("mailbox://of/{shown}")})).await;
    assert!(denied.body.to_string().contains("boxes"), "{:#}", denied.body);
    // Somebody else's stays what it is.
    let eve = world.modern("eve");
    eve.request("resources/read", json!({"uri": format!("mailbox://of/{shown}")})).await.ok();
    let asked = world.other("mail").calls().pop().unwrap().body["params"]["uri"].as_str().unwrap().to_owned();
    assert!(asked.contains("token") && !asked.contains("staff"), "{asked}");
    let whole = serde_json::to_string(&world.events().await).unwrap();
    assert!(!whole.contains("hopper") && !whole.contains("quiet") && !whole.contains("boss@"), "I5");
    for value in [MAIL, "quiet", "hopper", "boss@"] {
        assert!(holds_no(&world.dir.join("data"), value) > 3);
    }
}

/// However an upstream writes what it got, the agent sees the placeholder.
#[tokio::test]
async fn a_value_is_known_again_however_it_is_written() {
    use base64::Engine as _;
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let world = world().await;
    let ada = world.modern("ada");
    let (mail, _) = learned(&world, &ada).await;
    let wide: String = MAIL
        .chars()
        .map(|c| match c {
            '!'..='~' => char::from_u32(u32::from(c) + 0xfee0).unwrap(),
            other => other,
        })
        .collect();
    let broken: String = MAIL.chars().flat_map(|c| [c, '\u{200b}']).collect();
    let percent: String = MAIL.bytes().map(|b| format!("%{b:02x}")).collect();
    let entities: String = MAIL.chars().map(|c| format!("&#{};", u32::from(c))).collect();
    let escapes: String = MAIL.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
    let mut written = vec![
        wide,
        broken,
        percent,
        entities,
        escapes,
        hex::encode(MAIL),
        hex::encode_upper(format!("to: {MAIL} now")),
    ];
    for before in ["", "a", "ab", "the box of "] {
        written.push(base64(&format!("{before}{MAIL}")));
        written.push(base64(&format!("{before}{MAIL} is full, and has been for long")));
    }
    written.push(base64(&base64(&format!("twice {MAIL}"))));
    for text in written {
        let told = format!("It is: {text} .");
        world.other("mail").results(text_result(&told));
        let reply = ada.call("mail__list", json!({"to": mail})).await;
        let shown = reply.text();
        assert!(shown.contains(mail.as_str()), "{told} became {shown}");
        assert!(shown.starts_with("It is: ") && shown.ends_with(" ."), "{shown}");
        let left = shown.replace(mail.as_str(), "");
        for at in 0..text.len().saturating_sub(24) {
            let Some(part) = text.get(at..at + 24) else { continue };
            assert!(!left.contains(part), "{told} became {shown}");
        }
    }
}

/// Notifications, sampling and tasks of a permitted upstream: what it says of a value on the way is the placeholder again.
#[tokio::test]
async fn values_stay_away_on_every_side_path() {
    use axum::{body::Body, response::IntoResponse as _};
    let world = world().await;
    let everything = json!({"sampling": {}, "elicitation": {}});
    let ada = Client::legacy(&world.http, &world.gate.mcp, "ada", everything).await;
    let (mail, _) = learned(&world, &ada).await;
    // A notification before the result.
    world.other("mail").script(|seen| {
        if seen.tool() != "list" {
            return None;
        }
        let (id, token) = (seen.body["id"].clone(), seen.body["params"]["_meta"]["progressToken"].clone());
        let who = seen.arguments()["to"].clone();
        let stream = async_stream::stream! {
            let event = |message: Value| Ok::<_, std::io::Error>(format!("event: message\ndata: {message}\n\n"));
            let params = json!({"progressToken": token, "progress": 1, "message": format!("writing to {}", who.as_str().unwrap())});
            yield event(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}));
            let params = json!({"level": "error", "data": {"to": who}});
            yield event(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params}));
            yield event(json!({"jsonrpc": "2.0", "id": id, "result": text_result("done")}));
        };
        Some(answer(([("content-type", "text/event-stream")], Body::from_stream(stream)).into_response()))
    });
    let params = json!({"name": "mail__list", "arguments": {"to": mail}, "_meta": {"progressToken": 7}});
    let reply = ada.request("tools/call", params).await;
    let told = json!(reply.before).to_string();
    assert!(told.contains(&format!("writing to {mail}")) && !told.contains("hopper"), "{told}");
    // Sampling: the upstream's prompt names the value, and the model's answer the placeholder.
    let asks = Scripted::with(vec![tool("ask")], true).await;
    drop(asks);
    let (heard, mut answers) = tokio::sync::mpsc::unbounded_channel();
    world.other("mail").behaves();
    world.other("web").script(move |seen| {
        (seen.method() == "tools/call").then(|| {
            let result = match &seen.body["params"]["inputResponses"] {
                Value::Null => json!({"resultType": "input_required", "inputRequests": {"q": {"method": "sampling/createMessage",
                    "params": {"maxTokens": 9, "messages": [{"role": "user", "content": {"type": "text", "text": format!("mail {MAIL}?")}}]}}}}),
                answers => {
                    heard.send(answers.clone()).unwrap();
                    json!({"resultType": "complete", "content": []})
                }
            };
            answer(json_reply(seen, &result))
        })
    });
    let moved = RULES.replace(
        "permitted: [{ upstream: mail }] }\n  - { id: notes",
        "permitted: [{ upstream: web }] }\n  - { id: notes",
    );
    world.reload(&moved).await;
    let said = json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": format!("yes, {mail}")}});
    let asked = ada.call_answering("web__post", json!({"to": mail}), said).await;
    let shown = json!(asked.before).to_string();
    assert!(shown.contains(mail.as_str()) && !shown.contains("hopper"), "{shown}");
    let answered = answers.recv().await.unwrap();
    assert_eq!(answered["q"]["content"]["text"], format!("yes, {MAIL}"), "{answered:#}");
    assert!(!serde_json::to_string(&world.events().await).unwrap().contains("hopper"), "I5");
}

/// A call that brought placeholders is made again from what the vault has; where that is gone, it is said.
#[tokio::test]
async fn a_dead_letter_with_placeholders_is_made_again() {
    let world = world().await;
    let ada = world.modern("ada");
    let (mail, _) = learned(&world, &ada).await;
    let lost = async || {
        let before = world.until_settled(1).await.len();
        world.other("mail").script(|seen| {
            let gone = || axum::response::Response::builder().status(502).body("gone".into()).unwrap();
            (seen.method() == "tools/call").then(|| answer(gone()))
        });
        ada.call("mail__list", json!({"to": mail})).await;
        world.other("mail").behaves();
        world.until_settled(before + 1).await.pop().unwrap().draft.call_id.unwrap().to_string()
    };
    let id = lost().await;
    let (_, shown) = world.api("dan", &format!("deadletters/{id}"), None).await;
    assert_eq!((&shown["replayable"], &shown["arguments"]["to"]), (&json!(true), &json!(mail)), "{shown:#}");
    let (status, done) =
        world.api("dan", &format!("deadletters/{id}"), Some(json!({"action": "replay"}))).await;
    assert_eq!((status, &done["status"]), (200, &json!("replayed")), "{done:#}");
    assert_eq!(world.other("mail").calls().pop().unwrap().arguments()["to"], MAIL);
    let id = lost().await;
    let calls = world.other("mail").count();
    for entry in std::fs::read_dir(world.dir.join("data")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().contains(".vault") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let there = world.second().await;
    let (status, refused) = api(
        &world.http,
        &there.admin,
        "dan",
        &format!("deadletters/{id}"),
        Some(json!({"action": "replay"})),
    )
    .await;
    assert!((400..600).contains(&status), "{status} {refused:#}");
    let told = refused["error"]["message"].as_str().unwrap();
    assert!(told.contains("vault"), "{told}");
    assert_eq!(world.other("mail").count(), calls, "the upstream does not get the placeholder");
}

/// A call that brought a placeholder and became a task: what comes of it later names the value, and the agent sees the placeholder.
#[tokio::test]
async fn what_comes_to_a_task_is_the_placeholder_again() {
    let mail = Scripted::with(vec![tool("list")], true).await;
    mail.script(|seen| {
        let task = |more: Value| {
            let mut task = json!({"taskId": "job-1", "createdAt": "2026-01-01T00:00:00Z",
                "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttlMs": 60000});
            task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            task
        };
        let result = match seen.method() {
            "tools/call" => task(json!({"resultType": "task", "status": "working"})),
            "tasks/get" => task(json!({"resultType": "complete", "status": "completed", "statusMessage": format!("sent to {MAIL}"),
                "result": text_result(&format!("sent to {MAIL}, or {}", MAIL.to_uppercase()))})),
            _ => return None,
        };
        Some(answer(json_reply(seen, &result)))
    });
    let web = Scripted::with(vec![tool("post")], true).await;
    let servers = "\n[upstreams.mail]\nurl = \"{mail}\"\n[upstreams.web]\nurl = \"{web}\"\n".to_owned();
    let files = RULES.split("=== where.yaml").next().unwrap().to_owned();
    let setup = Setup { files, servers, more: vec![("mail", mail), ("web", web)], ..Setup::default() };
    let world = World::start(setup).await;
    let tasks = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let ada = Client::modern(&world.http, &world.gate.mcp, "ada", tasks);
    let (mail, _) = learned(&world, &ada).await;
    let made = ada.call("mail__list", json!({"to": mail})).await;
    let id = made.ok()["taskId"].as_str().unwrap_or_else(|| panic!("{:#}", made.body)).to_owned();
    assert_eq!(world.other("mail").calls().pop().unwrap().arguments()["to"], MAIL);
    let done = ada.header("mcp-name", &id).request("tasks/get", json!({"taskId": id})).await;
    assert_eq!(
        done.ok()["result"]["content"][0]["text"],
        format!("sent to {mail}, or {mail}"),
        "{:#}",
        done.body
    );
    assert_eq!(done.ok()["statusMessage"], format!("sent to {mail}"));
    assert!(!serde_json::to_string(&world.events().await).unwrap().contains("hopper"), "I5");
}
