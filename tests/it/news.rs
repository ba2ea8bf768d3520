//! News of lists, each for those whose own list it is (I7).

use crate::harness::*;
use serde_json::{Value, json};

const ALL: [&str; 3] = ["toolsListChanged", "resourcesListChanged", "promptsListChanged"];

/// `subscriptions/listen` for every list, acknowledged.
async fn subscribe(client: &Client) -> Stream {
    let wishes: Value = ALL.into_iter().map(|wish| (wish.to_owned(), json!(true))).collect();
    let body = client.body("subscriptions/listen", json!({ "notifications": wishes }));
    let response = soon(client.post(&body).send()).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut stream = Stream::new(response);
    let told = soon(stream.next()).await.unwrap();
    assert_eq!(told["method"], "notifications/subscriptions/acknowledged", "{told}");
    stream
}

async fn told(stream: &mut Stream) -> String {
    let message = soon(stream.next()).await.unwrap();
    message["method"].as_str().unwrap_or_default().to_owned()
}

/// Everything until the end.
async fn rest(mut stream: Stream) -> Vec<String> {
    let mut methods = Vec::new();
    while let Some(message) = soon(stream.next()).await {
        methods.extend(message["method"].as_str().map(str::to_owned));
    }
    methods
}

const TOOLS: &str = "notifications/tools/list_changed";

/// The upstream lists these from now on, and the catalog has them.
async fn lists(world: &World, tools: Vec<Value>) {
    let mut changes = world.gate.gateway.generations();
    let known = |tool: &Value| format!("up__{}", tool["name"].as_str().unwrap());
    let names: Vec<String> = tools.iter().map(known).collect();
    world.up.lists(vec![tools.clone()]);
    world.up.announce().await;
    let is_listed = |world: &World| {
        let catalog = world.gate.gateway.catalog();
        let same = |(name, tool): (&String, &Value)| {
            let entry = catalog.tools.get(name.as_str());
            entry.is_some_and(|entry| entry.item["description"] == tool["description"])
        };
        catalog.tools.len() == names.len() && names.iter().zip(&tools).all(same)
    };
    while !is_listed(world) {
        soon(changes.changed()).await.unwrap();
    }
}

#[tokio::test]
async fn a_tool_out_of_scope_comes_and_goes_unseen() {
    let world = World::of("").await;
    let read = read_tool();
    lists(&world, vec![read.clone()]).await;
    let (ada, narrow) = (world.modern("ada"), world.modern("narrow"));
    let (mut wide, unseen) = (subscribe(&ada).await, subscribe(&narrow).await);
    let session = narrow.session().await;
    let mut stream = session.listen().await;
    let before = narrow.tools().await;
    let change = async |tools: Vec<Value>| lists(&world, tools).await;
    // Outside of what `narrow` may see: added, another one added, removed.
    let hidden = tool("drop_database");
    change(vec![read.clone(), hidden.clone()]).await;
    assert_eq!(told(&mut wide).await, TOOLS);
    change(vec![read.clone(), hidden, tool("drop_tables")]).await;
    assert_eq!(told(&mut wide).await, TOOLS);
    change(vec![read.clone()]).await;
    assert_eq!(told(&mut wide).await, TOOLS);
    // What it may see: changed, so that it waits for a person, and as it was again.
    let mut other = read.clone();
    other["description"] = json!("reads another way");
    world.up.lists(vec![vec![other]]);
    world.up.announce().await;
    assert_eq!(told(&mut wide).await, TOOLS);
    assert_eq!(told(&mut stream).await, TOOLS);
    assert!(narrow.tools().await.is_empty());
    change(vec![read]).await;
    assert_eq!(told(&mut wide).await, TOOLS);
    assert_eq!(told(&mut stream).await, TOOLS);
    assert_eq!(narrow.tools().await, before);
    // A bundle that changes nothing for anybody's lists, and one that does.
    let (plain, more) = (authority(), authority().replace("scout:", "scout-2:"));
    world.reload(&format!("=== authority.yaml\n{more}")).await;
    world.reload(&format!("=== authority.yaml\n{plain}")).await;
    let less = plain.replace(r#"tools: ["up__read", "crm__*"]"#, r#"tools: ["crm__*"]"#);
    assert_ne!(less, plain);
    world.reload(&format!("=== authority.yaml\n{less}")).await;
    assert_eq!(told(&mut stream).await, TOOLS);
    assert!(narrow.tools().await.is_empty());
    world.gate.stop.cancel();
    assert_eq!(rest(stream).await, Vec::<String>::new());
    assert_eq!(rest(unseen).await, [TOOLS, TOOLS, TOOLS, "notifications/cancelled"]);
    // All of it was told to whom it concerned, and the reloads did not concern them.
    assert_eq!(rest(wide).await, ["notifications/cancelled"]);
}

/// A workflow narrows what an agent sees: the rest of what it has is out of scope there too.
#[tokio::test]
async fn a_tool_that_no_workflow_of_an_agent_has_is_out_of_its_scope() {
    let text = authority().replace("wf-1: { owner", "wf-1: { capabilities: [reading], owner");
    let text = text.replace("wf-2: { owner", "wf-2: { capabilities: [], owner");
    let both = "workflows: [wf-1, wf-2], model: gpt-4o, capabilities: [all";
    let text = text.replace(both, &format!("{both}, reading"));
    let world = World::of(&format!("=== authority.yaml\n{text}")).await;
    lists(&world, vec![read_tool()]).await;
    let ada = world.modern("ada");
    let mut both = subscribe(&ada).await;
    let none = subscribe(&ada.header("x-workflow-id", "wf-2")).await;
    let nothing = subscribe(&world.modern("bot")).await;
    lists(&world, vec![read_tool(), tool("hidden")]).await;
    lists(&world, vec![read_tool()]).await;
    lists(&world, vec![tool("hidden")]).await;
    assert_eq!(told(&mut both).await, TOOLS);
    world.gate.stop.cancel();
    for stream in [both, none, nothing] {
        assert_eq!(rest(stream).await, ["notifications/cancelled"]);
    }
}
