//! Results against what their tools declare: `output_schema` says what happens to one that is something else (R41).

use crate::harness::*;
use serde_json::{Value, json};
use tollgate::model::{EventType, Outcome};

const FILES: &str = "=== authority.yaml
capabilities:
  all: { tools: [\"*\"] }
agents:
  ada: { owner: tests, capabilities: [all], keys: [\"{ada}\"] }
people:
  alice: { keys: [\"{alice}\"], groups: [leads], roles: [approver] }
";

/// One upstream with a tool for each setting, and one whose schema takes too long.
async fn world(era: bool, result: Value) -> World {
    let declared = |name: &str| {
        let mut declared = tool(name);
        declared["outputSchema"] = json!({
            "type": "object",
            "required": ["id"],
            "properties": {"id": {"type": "integer"}, "card": {"type": "string", "maxLength": 4}},
        });
        declared
    };
    let mut hostile = tool("hostile");
    // Each alternative is tried on each element, again and again.
    let leaf = json!({"type": "object", "properties": {"x": {"const": 1}}, "required": ["x"]});
    let each = json!({"anyOf": vec![leaf; 40]});
    hostile["outputSchema"] = json!({
        "type": "object",
        "properties": {"l": {"type": "array", "uniqueItems": true, "items": {"allOf": vec![each; 40]}}},
    });
    let tools = vec![declared("lint"), declared("alert"), declared("refuse"), hostile];
    let crm = Scripted::with(tools, era).await;
    crm.results(result);
    let servers = "
[upstreams.crm]
url = \"{crm}\"
output_schema = \"refuse\"
[upstreams.crm.tools.lint]
output_schema = \"lint\"
[upstreams.crm.tools.alert]
output_schema = \"alert\"
"
    .to_owned();
    let setup = Setup { files: FILES.to_owned(), servers, more: vec![("crm", crm)], ..Setup::default() };
    World::start(setup).await
}

/// A result that is not what was declared: told in the record, in an alert, or to the agent, who is told that it was made.
#[tokio::test]
async fn what_is_not_as_declared_is_told_as_the_setting_says() {
    let wrong = json!({"content": [{"type": "text", "text": "x"}], "structuredContent": {"id": "seven", "card": "4111 1111 1111 1111"}});
    let missing = json!({"content": [{"type": "text", "text": "x"}]});
    for (result, why) in [(wrong, "/id breaks `type`"), (missing, "it has no `structuredContent`")] {
        let world = world(false, result.clone()).await;
        let ada = world.modern("ada");
        let passed = ada.call("crm__lint", json!({})).await;
        assert_eq!(passed.ok().get("structuredContent"), result.get("structuredContent"));
        for _ in 0..3 {
            assert_eq!(ada.call("crm__alert", json!({})).await.ok()["content"], result["content"]);
        }
        let refused = ada.call("crm__refuse", json!({})).await;
        let shown = &refused.body["result"];
        assert!(shown["isError"] == true && shown.get("structuredContent").is_none(), "{shown:#}");
        let text = refused.text();
        assert!(
            text.contains("The call was made and succeeded; do not repeat it") && text.contains(why),
            "{text}"
        );
        assert!(!refused.body.to_string().contains("4111 1111"), "{shown:#}");
        let settled = world.until_settled(5).await;
        let settings: Vec<Value> = settled
            .iter()
            .map(|event| {
                assert_eq!(event.draft.outcome, Some(Outcome::Succeeded));
                let told = event.draft.detail.as_ref().unwrap()["output_schema"].clone();
                assert!(told["fits"] == false && told["why"].as_str().unwrap().contains(why), "{told}");
                told["setting"].clone()
            })
            .collect();
        assert_eq!(settings, ["lint", "alert", "alert", "alert", "refuse"]);
        // One alert for each tool whose setting says so, however many results there were.
        let alert = |tool: &'static str| {
            world.until_event(move |event| {
                event.draft.event_type == EventType::Alert && event.draft.tool.as_deref() == Some(tool)
            })
        };
        let (first, second) = (alert("crm__alert").await, alert("crm__refuse").await);
        for event in [first, second] {
            assert_eq!(event.draft.detail.as_ref().unwrap()["alert"], "failures");
            assert!(event.draft.reason.as_ref().unwrap().contains(why));
        }
        let alerts =
            world.events().await.into_iter().filter(|event| event.draft.event_type == EventType::Alert);
        assert_eq!(alerts.count(), 2);
        assert!(!serde_json::to_string(&world.events().await).unwrap().contains("4111 1111"), "I5");
    }
}

/// What is as declared passes, an error needs no structured content, and a schema that takes too long holds nobody up.
#[tokio::test]
async fn what_is_as_declared_passes_and_hostile_schemas_are_bounded() {
    for modern in [false, true] {
        let good = world(modern, json!({"content": [], "structuredContent": {"id": 7}})).await;
        for client in [good.modern("ada"), good.legacy("ada").await] {
            assert_eq!(
                client.call("crm__refuse", json!({})).await.ok()["structuredContent"],
                json!({"id": 7})
            );
        }
        let failed =
            world(modern, json!({"content": [{"type": "text", "text": "no such row"}], "isError": true}))
                .await;
        assert_eq!(failed.modern("ada").call("crm__refuse", json!({})).await.text(), "no such row");
        let settled = failed.last_settled().await;
        assert!(settled.detail.unwrap().get("output_schema").is_none());
    }
    let list: Vec<Value> = (0..3_000).map(|n| json!({"x": 1, "n": n})).collect();
    let world = world(false, json!({"content": [], "structuredContent": {"l": list}})).await;
    let withheld = world.modern("ada").call("crm__hostile", json!({})).await;
    assert!(withheld.text().contains("could not be found out within the budget"), "{:#}", withheld.body);
    let settled = world.last_settled().await;
    assert_eq!(settled.detail.unwrap()["output_schema"]["setting"], "refuse");
}

/// What is declared cannot be used, so that nothing can be held to it: with `refuse` no call is made, and people are told.
#[tokio::test]
async fn a_schema_that_cannot_be_used_refuses() {
    let unusable = |name: &str| {
        let mut tool = tool(name);
        tool["outputSchema"] =
            json!({"type": "object", "properties": {"a": {"$ref": "https://elsewhere.example/x.json"}}});
        tool
    };
    let crm = Scripted::with(vec![unusable("lint"), unusable("refuse")], true).await;
    let servers = "
[upstreams.crm]
url = \"{crm}\"
output_schema = \"refuse\"
[upstreams.crm.tools.lint]
output_schema = \"lint\"
"
    .to_owned();
    let setup = Setup { files: FILES.to_owned(), servers, more: vec![("crm", crm)], ..Setup::default() };
    let world = World::start(setup).await;
    for client in [world.modern("ada"), world.legacy("ada").await] {
        let before = world.more[0].1.count();
        client.call("crm__lint", json!({})).await.ok();
        let refused = client.call("crm__refuse", json!({})).await;
        let decision = refused.decision();
        assert_eq!(
            (refused.word(), &decision["policy_id"]),
            ("deny", &json!("schema")),
            "{:#}",
            refused.body
        );
        let why = decision["reason"].as_str().unwrap();
        assert!(why.contains("outputSchema of tool `crm__refuse`") && why.contains("are refused"), "{why}");
        assert_eq!(world.more[0].1.count(), before + 1, "nothing was done that nobody may see");
    }
    let alert = world
        .until_event(|event| {
            event.draft.event_type == EventType::Alert && event.draft.tool.as_deref() == Some("crm__refuse")
        })
        .await;
    assert!(alert.draft.reason.as_deref().unwrap().contains("are refused"), "{alert:?}");
    let events = world.events().await;
    let alerts = events.iter().filter(|event| event.draft.event_type == EventType::Alert).count();
    assert_eq!(alerts, 1, "of the other tool nothing is told");
}
