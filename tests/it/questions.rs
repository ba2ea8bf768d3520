//! What upstreams ask of an agent's client is governed: who may ask what, no secrets in forms, and a price for sampling.

use crate::harness::*;
use serde_json::{Value, json};
use tollgate::model::Outcome;

/// A tool whose upstream asks this before it answers.
fn asks(upstream: &Scripted, question: Value) {
    upstream.script(move |seen| {
        (seen.method() == "tools/call").then(|| {
            let result = match &seen.body["params"]["inputResponses"] {
                Value::Null => json!({"resultType": "input_required", "inputRequests": {"q": question.clone()}}),
                answers => json!({"resultType": "complete", "content": [{"type": "text", "text": answers.to_string()}]}),
            };
            answer(json_reply(seen, &result))
        })
    });
}

async fn world(up: &str, more: &str, question: Value) -> World {
    let crm = Scripted::with(vec![tool("ask")], true).await;
    asks(&crm, question);
    let authority = authority().replace("tools: [\"up__*\"]", "tools: [\"*\"]");
    let setup = Setup {
        files: format!("=== authority.yaml\n{authority}{more}"),
        servers: format!("[upstreams.crm]\nurl = \"{{crm}}\"\n{up}\n"),
        more: vec![("crm", crm)],
        ..Setup::default()
    };
    World::start(setup).await
}

fn everything() -> Value {
    json!({"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}})
}

fn form(field: &str) -> Value {
    json!({"method": "elicitation/create", "params": {"message": "Please tell",
        "requestedSchema": {"type": "object", "properties": {field: {"type": "string"}}}}})
}

fn sampling() -> Value {
    json!({"method": "sampling/createMessage", "params": {"maxTokens": 100,
        "messages": [{"role": "user", "content": {"type": "text", "text": "one two three four five six seven eight"}}]}})
}

fn sampled() -> Value {
    json!({"role": "assistant", "model": "gpt-4o", "content": {"type": "text", "text": "nine ten"}})
}

async fn clients(world: &World) -> [Client; 2] {
    let legacy = Client::legacy(&world.http, &world.gate.mcp, "ada", everything()).await;
    [legacy, Client::modern(&world.http, &world.gate.mcp, "ada", everything())]
}

async fn told(world: &World, calls: usize) -> Value {
    world.until_settled(calls).await.pop().unwrap().draft.detail.unwrap()
}

/// What an upstream may not ask is not declared to it, not asked, and recorded.
#[tokio::test]
async fn an_upstream_asks_only_what_it_may() {
    let world = world("asks = [\"roots\"]", "", form("name")).await;
    for (number, client) in clients(&world).await.into_iter().enumerate() {
        let reply = client.call("crm__ask", json!({})).await;
        assert!(reply.error()["message"].as_str().unwrap().contains("may not ask"), "{:#}", reply.body);
        let detail = told(&world, number + 1).await;
        assert_eq!(detail["questions"], json!([{"method": "elicitation/create", "outcome": "denied"}]));
    }
    for seen in world.more[0].1.calls() {
        let declared = &seen.body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
        assert_eq!(declared, &json!({"roots": {}}));
    }
}

/// MCP 2025-11-25, elicitation: a form asks for no secret. URL mode passes, and so do other forms.
#[tokio::test]
async fn a_form_that_asks_for_a_secret_is_refused() {
    let world = world("", "", form("api_key")).await;
    let accept = json!({"action": "accept", "content": {"name": "Ada"}});
    for client in clients(&world).await {
        let reply = client.call("crm__ask", json!({})).await;
        let said = reply.error()["message"].as_str().unwrap();
        assert!(said.contains("`crm` asks for a secret (field_key)"), "{said}");
    }
    assert_eq!(told(&world, 2).await["questions"][0]["outcome"], "secret");

    let url = json!({"method": "elicitation/create", "params": {"mode": "url", "elicitationId": "1",
        "message": "Please enter your API key", "url": "https://crm.example/key"}});
    for question in [url, form("name")] {
        asks(&world.more[0].1, question);
        let [legacy, modern] = clients(&world).await;
        let reply = legacy.call_answering("crm__ask", json!({}), accept.clone()).await;
        assert!(reply.text().contains("Ada"));
        let reply = modern.call("crm__ask", json!({})).await;
        let (params, _) = question_of(&reply);
        assert!(params["message"].as_str().unwrap().starts_with("[crm] Please"));
    }
    let detail = told(&world, 6).await;
    assert_eq!(detail["questions"], json!([{"method": "elicitation/create", "outcome": "passed"}]));
}

fn question_of(reply: &Reply) -> (&Value, &Value) {
    let requests = &reply.body["result"]["inputRequests"];
    let (_, question) =
        requests.as_object().unwrap_or_else(|| panic!("{:#}", reply.body)).iter().next().unwrap();
    (&question["params"], &reply.body["result"]["requestState"])
}

/// What the agent's model reads and writes for an upstream is counted and priced with the call, in both eras.
#[tokio::test]
async fn sampled_tokens_are_priced() {
    let world = world("", "", form("name")).await;
    let [legacy, modern] = clients(&world).await;
    let accept = json!({"action": "accept", "content": {}});
    legacy.call_answering("crm__ask", json!({}), accept).await.ok();
    let plain = world.until_settled(1).await.pop().unwrap().draft;

    asks(&world.more[0].1, sampling());
    legacy.call_answering("crm__ask", json!({}), sampled()).await.ok();
    let settled = world.until_settled(2).await.pop().unwrap().draft;
    let detail = settled.detail.unwrap();
    // Eight words and their line's end, and two with theirs.
    assert_eq!(detail["sampled_tokens"], 12, "{detail}");
    assert_eq!(detail["questions"], json!([{"method": "sampling/createMessage", "outcome": "answered"}]));
    assert!(settled.cost_usd > plain.cost_usd, "{:?} {:?}", settled.cost_usd, plain.cost_usd);

    let reply = modern.call("crm__ask", json!({})).await;
    let (params, state) = question_of(&reply);
    assert_eq!(params["maxTokens"], 100);
    // The upstream kept none: ours says that it asked.
    let retry = json!({"name": "crm__ask", "arguments": {}, "inputResponses": {"q": sampled()}, "requestState": state});
    modern.request("tools/call", retry).await.ok();
    let settled = world.until_settled(4).await;
    let tokens = |number: usize| &settled[number].draft.detail.as_ref().unwrap()["sampled_tokens"];
    assert_eq!((tokens(2), tokens(3)), (&json!(9), &json!(3)));
}

/// A strict budget pays for nothing that was not reserved, so there is no sampling under one.
#[tokio::test]
async fn a_strict_budget_has_nothing_for_sampling() {
    let budget = "=== budgets.yaml
budgets:
  - { id: hard, scope: agent, window: day, max_tokens: 100000, on_exceed: deny, strict: true }
";
    let world = world("", budget, sampling()).await;
    for (number, client) in clients(&world).await.into_iter().enumerate() {
        let reply = client.call("crm__ask", json!({})).await;
        assert!(reply.error()["message"].as_str().unwrap().contains("strict budget"), "{:#}", reply.body);
        assert_eq!(told(&world, number + 1).await["questions"][0]["outcome"], "denied");
    }
}

/// An upstream that asked and is gone before the answer comes may have acted: its call is no call of which nothing was sent.
#[tokio::test]
async fn a_question_that_was_asked_is_not_unsent() {
    let world = world("", "", form("name")).await;
    let [legacy, _] = clients(&world).await;
    let params = json!({"name": "crm__ask", "arguments": {}});
    let accept = json!({"action": "accept", "content": {"name": "Ada"}});
    let reply = legacy
        .request_with("tools/call", params, |_| {
            world.more[0].1.die();
            Some(accept.clone())
        })
        .await;
    assert!(reply.body.to_string().contains("whether the upstream acted is unknown"), "{:#}", reply.body);
    let settled = world.until_settled(1).await.pop().unwrap().draft;
    assert_eq!(settled.outcome, Some(Outcome::Unknown));
    assert_eq!(settled.cost_usd, None);
}

/// SEP-2322: a client that knows what its upstream will ask may answer in the first request, and what the upstream does not
/// know of it changes nothing. Such answers go under the rules for arguments. An approved call is sent as the person saw it.
#[tokio::test]
async fn an_answer_before_the_question_is_governed() {
    let ask = "=== ask.yaml
name: writes
description: A person agrees to each
on: [{ tool: crm__ask }]
rules: [{ id: ask, condition: \"has(args.n)\", decision: REQUIRE_APPROVAL, approvers: [security] }]
";
    let world = world("", ask, form("name")).await;
    let [_, modern] = clients(&world).await;
    let forged = json!({"q": {"action": "accept", "content": {"name": "Mallory"}}});
    let with = |arguments: Value| json!({"name": "crm__ask", "arguments": arguments, "inputResponses": forged.clone()});
    let mut early = with(json!({}));
    early["inputResponses"]["tollgate_approval"] =
        json!({"action": "accept", "content": {"decision": "approve"}});
    early["inputResponses"]["other"] = json!({"action": "decline"});
    let reply = modern.request("tools/call", early).await;
    assert!(reply.text().contains("Mallory"), "{:#}", reply.body);
    let sent = world.more[0].1.calls()[0].body["params"]["inputResponses"].clone();
    let mut passed = forged.clone();
    passed["other"] = json!({"action": "decline"});
    assert_eq!(sent, passed, "and nobody's answer to a question of Tollgate's");
    let mut many = with(json!({}));
    many["inputResponses"] =
        (0..17).map(|n| (n.to_string(), json!({}))).collect::<serde_json::Map<_, _>>().into();
    let mut wrong = with(json!({}));
    wrong["inputResponses"]["q"] = json!(12345);
    for bad in [many, wrong] {
        assert_eq!(modern.request("tools/call", bad).await.error()["code"], -32602);
    }
    let id = pending(&modern.request("tools/call", with(json!({"n": 1}))).await);
    assert_eq!(world.decide("bob", &id, "approve").await, 200);
    let reply = modern.request("tools/call", with(json!({"n": 1}))).await;
    question_of(&reply);
    let calls = world.more[0].1.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls[1].body["params"].get("inputResponses").is_none(), "{calls:#?}");
    // The answer to the question that was asked comes to the upstream, whatever the client writes into `_meta`.
    let mut retry = with(json!({"n": 1}));
    retry["requestState"] = question_of(&reply).1.clone();
    retry["_meta"] = json!({"vendor/turn": 2});
    let done = modern.request("tools/call", retry).await;
    assert!(done.text().contains("Mallory"), "{:#}", done.body);
}

/// R100: a question that needs a capability which the client has not declared is -32021 and HTTP 400, with what is needed, as
/// a client would declare it.
#[tokio::test]
async fn an_undeclared_capability_is_named() {
    let mut page = form("name");
    page["params"] =
        json!({"message": "Open it", "mode": "url", "url": "https://crm.example/x", "elicitationId": "e"});
    let mut tools = sampling();
    tools["params"]["tools"] = json!([]);
    let roots = json!({"method": "roots/list", "params": {}});
    let none = json!({});
    let half = json!({"elicitation": {"form": {}}, "sampling": {}});
    for (question, declared, needed) in [
        (form("name"), &none, json!({"elicitation": {"form": {}}})),
        (page, &half, json!({"elicitation": {"url": {}}})),
        (sampling(), &none, json!({"sampling": {}})),
        (tools, &half, json!({"sampling": {"tools": {}}})),
        (roots, &half, json!({"roots": {}})),
    ] {
        let world = world("", "", question.clone()).await;
        let client = Client::modern(&world.http, &world.gate.mcp, "ada", declared.clone());
        let body = client.body("tools/call", json!({"name": "crm__ask", "arguments": {}}));
        let response = soon(client.post(&body).send()).await.unwrap();
        assert_eq!(response.status(), 400, "{question}");
        let error = soon(response.json::<Value>()).await.unwrap()["error"].clone();
        assert_eq!(
            (&error["code"], &error["data"]["requiredCapabilities"]),
            (&json!(-32021), &needed),
            "{error}"
        );
    }
}
