//! Results and lists of upstreams in the shape that each era's clients can read.

use crate::harness::*;
use serde_json::{Value, json};

const FILES: &str = "=== authority.yaml
capabilities:
  all: { tools: [\"*\"] }
agents:
  ada: { owner: tests, capabilities: [all], keys: [\"{ada}\"] }
people:
  alice: { keys: [\"{alice}\"], groups: [leads], roles: [approver] }
=== gate.yaml
name: small
description: Small answers
on: [{ upstream: crm }]
rules:
  - { condition: \"tool.name == 'crm__dump'\", decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_result_bytes: 1700 } }
  - { condition: \"tool.name == 'crm__count'\", decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_result_tokens: 220 } }
";

/// A gateway before an upstream of 2026-07-28 whose tool `names` returns a list, as only that era has it.
async fn world(result: Value) -> World {
    let mut names = tool("names");
    names["outputSchema"] = json!({"type": "array", "items": {"type": "string"}});
    let mut one = tool("one");
    one["outputSchema"] = json!({"type": "object", "properties": {"id": {"type": "integer"}}});
    let crm = Scripted::with(vec![names, one, tool("dump"), tool("count")], true).await;
    crm.results(result);
    let servers = "\n[upstreams.crm]\nurl = \"{crm}\"\n".to_owned();
    World::start(Setup { files: FILES.to_owned(), servers, more: vec![("crm", crm)], ..Setup::default() })
        .await
}

fn declared(list: &Reply, name: &str) -> Option<Value> {
    let tools = list.ok()["tools"].as_array().unwrap();
    tools.iter().find(|tool| tool["name"] == name).unwrap().get("outputSchema").cloned()
}

/// What only 2026-07-28 knows costs a client of the sessions' era neither its list nor its result.
#[tokio::test]
async fn structured_lists_are_for_clients_that_know_them() {
    let rows = json!(["Ana", "Bo"]);
    let world = world(json!({"resultType": "complete", "content": [], "structuredContent": rows})).await;
    let (old, new) = (world.legacy("ada").await, world.modern("ada"));
    let (told_old, told_new) =
        (old.request("tools/list", json!({})).await, new.request("tools/list", json!({})).await);
    assert_eq!(declared(&told_old, "crm__names"), None);
    assert_eq!(declared(&told_new, "crm__names").unwrap()["type"], "array");
    assert_eq!(declared(&told_old, "crm__one"), declared(&told_new, "crm__one"));
    assert!(declared(&told_old, "crm__one").is_some());
    let (got_old, got_new) =
        (old.call("crm__names", json!({})).await, new.call("crm__names", json!({})).await);
    for got in [&got_old, &got_new] {
        assert_eq!(serde_json::from_str::<Value>(got.text()).unwrap(), rows, "{:#}", got.body);
        assert!(got.ok().get("isError").is_none(), "{:#}", got.body);
    }
    assert!(got_old.ok().get("structuredContent").is_none(), "{:#}", got_old.body);
    assert_eq!(got_new.ok()["structuredContent"], rows);
    // What breaks its own declaration cannot be read at all but as an error that says what happened.
    let broken = old.call("crm__one", json!({})).await;
    let result = &broken.body["result"];
    assert!(result["isError"] == true && result.to_string().contains("no need to repeat"), "{result:#}");
}

/// Content in another shape than the protocol's is put right, and what is of an unknown type is a text.
#[tokio::test]
async fn content_is_a_list_for_each_client() {
    let text = |text: &str| json!({"type": "text", "text": text});
    let check = async |given: Value, expect: Value| {
        let world = world(given.clone()).await;
        for client in [world.legacy("ada").await, world.modern("ada")] {
            let reply = client.call("crm__count", json!({})).await;
            assert_eq!(reply.ok()["content"], expect, "{given}");
        }
    };
    let strange = json!({"type": "smell", "of": "rain"});
    check(json!({"content": null}), json!([])).await;
    check(json!({"content": [null, strange, "plain"]}), json!([text(&strange.to_string()), text("plain")]))
        .await;
    check(json!({"content": text("alone")}), json!([text("alone")])).await;
    check(json!({"structuredContent": {"left": 4}}), json!([text("{\"left\":4}")])).await;
}

/// One block that clients cannot read costs itself only: it is put right, or stands there as a text.
#[tokio::test]
async fn a_block_that_no_client_reads_costs_itself_only() {
    let blocks = json!([
        {"type": "text"},
        {"type": "text", "text": "kept", "annotations": {"priority": 9}},
        {"type": "image", "data": "%%%", "mimeType": "image/png"},
        {"type": "resource", "resource": {"uri": "a:b", "blob": "QUJD"}},
    ]);
    let text = |text: &str| json!({"type": "text", "text": text});
    let world = world(json!({"content": blocks, "isError": null})).await;
    for client in [world.legacy("ada").await, world.modern("ada")] {
        let reply = client.call("crm__one", json!({})).await;
        let expect = json!([
            text("{\"type\":\"text\"}"),
            {"type": "text", "text": "kept", "annotations": {}},
            text("[the image (image/png) is left out: its `data` is not Base64]"),
            {"type": "resource", "resource": {"uri": "a:b", "blob": "QUJD"}},
        ]);
        assert_eq!(reply.body["result"]["content"], expect, "{:#}", reply.body);
    }
}

/// A mask in the data of a block is no Base64: a text says what was withheld.
#[tokio::test]
async fn masked_data_is_told_as_a_text() {
    use base64::Engine as _;
    let secret = "From: bob@corp.example, with the plans for next year attached to it.".repeat(3);
    let data = base64::engine::general_purpose::STANDARD.encode(&secret);
    let crm = Scripted::with(vec![tool("photo")], true).await;
    let (shown, read) = (data.clone(), data.clone());
    crm.script(move |seen| {
        let result = match seen.method() {
            "tools/call" => json!({"content": [
                {"type": "image", "data": shown, "mimeType": "image/png"},
                {"type": "resource", "resource": {"uri": "a:b", "blob": shown, "mimeType": "application/x-mail"}},
                {"type": "text", "text": "the rest"},
            ]}),
            "resources/read" => json!({"contents": [{"uri": seen.body["params"]["uri"], "blob": read, "mimeType": "x/y"}]}),
            _ => return None,
        };
        Some(answer(json_reply(seen, &result)))
    });
    let files = "=== authority.yaml
capabilities: { all: { tools: [\"*\"], resources: [\"**\"] } }
agents: { ada: { owner: tests, capabilities: [all], keys: [\"{ada}\"] } }
people: { alice: { keys: [\"{alice}\"], groups: [leads], roles: [approver] } }
=== data.yaml
rules: [{ id: mails, detectors: [email], results: mask }]
";
    let servers = "\n[upstreams.crm]\nurl = \"{crm}\"\n".to_owned();
    let setup = Setup { files: files.to_owned(), servers, more: vec![("crm", crm)], ..Setup::default() };
    let world = World::start(setup).await;
    for client in [world.legacy("ada").await, world.modern("ada")] {
        let reply = client.call("crm__photo", json!({})).await;
        let content = &reply.ok()["content"];
        assert_eq!(content[0]["type"], "text", "{content:#}");
        assert!(content[0]["text"].as_str().unwrap().contains("[redacted:email:"), "{content:#}");
        let inner = &content[1]["resource"];
        assert!(
            inner.get("blob").is_none() && inner["text"].as_str().unwrap().contains("sensitive"),
            "{content:#}"
        );
        assert_eq!(content[2]["text"], "the rest");
        let mut texts = Vec::new();
        for uri in client.names("resources/list", "resources").await {
            let read = client.request("resources/read", json!({"uri": uri})).await;
            texts.push(read.ok()["contents"][0].clone());
        }
        let of_crm =
            texts.iter().find(|content| content["text"].as_str().unwrap().contains("[redacted:email:"));
        assert!(of_crm.is_some_and(|content| content.get("blob").is_none()), "{texts:#?}");
        assert!(!json!(texts).to_string().contains(&data) && !reply.body.to_string().contains(&data));
    }
}

/// R15: a cut leaves what fits, of text with quotes too, and the number told is what is missing.
#[tokio::test]
async fn quoted_text_is_cut_and_counted() {
    let rows: Vec<Value> =
        (0..160).map(|n| json!({"item": format!("part {n}"), "held \"by\"": ["x", n]})).collect();
    let whole = json!(rows).to_string();
    let world = world(text_result(&whole)).await;
    for client in [world.legacy("ada").await, world.modern("ada")] {
        for (tool, least) in [("crm__dump", 1_000), ("crm__count", 250)] {
            let reply = client.call(tool, json!({})).await;
            let content = reply.ok()["content"].as_array().unwrap();
            let [kept, note] = [&content[0], &content[1]].map(|item| item["text"].as_str().unwrap());
            // A list that is cut has whole elements, and is one still.
            let open = kept.strip_suffix(']').unwrap();
            assert!(whole.starts_with(open) && kept.len() >= least, "{tool}: {}", kept.len());
            let left: Vec<Value> = serde_json::from_str(kept).unwrap();
            assert_eq!(left[..], rows[..left.len()]);
            let told = note.trim_start_matches("[cut by policy: ").split(' ').next().unwrap();
            assert_eq!(kept.len() + told.parse::<usize>().unwrap(), whole.len(), "{note}");
        }
    }
}
