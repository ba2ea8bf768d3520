//! Small bytes that make others wait: schemas with arguments, and lists that take memory.

use super::world::{World, decision, plain, upstream_that};
use crate::binary::Serving;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::{io::Write as _, net::TcpStream, time::Duration};
use tollgate::{catalog::Misfit, store::EventQuery};

/// Lists in lists of three kinds, none of which the innermost value is: each level asks for all kinds of the next.
fn kinds_of_lists() -> Value {
    let kind = |more: Value| {
        let mut kind = json!({"type": "array", "items": {"$ref": "#/$defs/kind"}});
        kind.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        kind
    };
    json!({"type": "object", "properties": {"of": {"$ref": "#/$defs/kind"}}, "$defs": {"kind": {"oneOf": [
        kind(json!({"minItems": 1})), kind(json!({"maxItems": 3})), kind(json!({"minItems": 2})), {"const": true}]}}})
}

/// More patterns times members than any budget has steps.
fn patterns_of_members() -> Value {
    let patterns: Map<String, Value> =
        (0..200).map(|n| (format!("^[k-z]{{2,4}}{n}$"), json!({"type": "string"}))).collect();
    json!({"type": "object", "patternProperties": patterns})
}

fn deep() -> Value {
    (0..36).fold(json!({"type": "object"}), |inner, _| json!({"type": "object", "properties": {"a": inner}}))
}

fn lists(depth: usize) -> Value {
    json!({"of": (0..depth).fold(json!(false), |inner, _| json!([inner]))})
}

fn members() -> Value {
    Value::Object((0..5_000).map(|n| (format!("kl{n}"), json!("v"))).collect())
}

fn hostile(method: &str, params: &Value) -> Result<Value, Value> {
    match method {
        "tools/list" => Ok(json!({"tools": [
            {"name": "lists", "inputSchema": kinds_of_lists()},
            {"name": "members", "inputSchema": patterns_of_members()},
            {"name": "wrong", "inputSchema": {"type": "object", "properties": {
                "a": {"$ref": "#/$defs/none"}, "b": {"type": "integer"}}}},
            {"name": "deep", "inputSchema": deep()},
            {"name": "none", "inputSchema": false},
            {"name": "read", "inputSchema": {"type": "object"}},
        ]})),
        _ => plain(method, params),
    }
}

fn said(reply: &Value) -> String {
    reply["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}

/// In each connection's thread: what took seconds to hours for a few bytes is answered, and what cannot be is told.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_checked_is_refused_and_told() {
    let world = World::new(&[], hostile).await;
    for depth in [12, 40, 80] {
        let reply = world.tool("up__lists", lists(depth)).await.unwrap();
        assert!(said(&reply).contains("do not fit"), "{reply}");
        assert!(said(&reply).contains("Correct the arguments"), "{reply}");
    }
    let reply = world.tool("up__members", members()).await.unwrap();
    assert!(said(&reply).contains("could not be found out within its budget"), "{reply}");
    assert_eq!(reply["_meta"]["tollgate/decision"]["policy_id"], "schema");
    // The schema is at fault.
    assert!(!said(&reply).contains("Correct the arguments"), "{reply}");
    for (tool, why) in [("up__deep", "deeper than 64 levels"), ("up__none", "takes no arguments at all")] {
        let reply = world.tool(tool, json!({"a": 1})).await.unwrap();
        assert!(said(&reply).contains(why), "{reply}");
        assert!(said(&reply).contains("The tool's schema is at fault"), "{reply}");
        assert!(!said(&reply).contains("Correct the arguments"), "{reply}");
    }
    assert_eq!(world.reached(), 0);
    // A keyword that names nothing costs itself, and not what stands beside it.
    assert_eq!(decision(&world.tool("up__wrong", json!({"a": "b"})).await), "allow");
    assert_eq!(decision(&world.tool("up__wrong", json!({"b": "a"})).await), "deny");
    // Fewer members are within it.
    assert_eq!(decision(&world.tool("up__members", json!({"kl1": "v"})).await), "allow");
    assert_eq!(decision(&world.tool("up__members", json!({"kl1": 1})).await), "deny");
}

/// By setting the call goes on, and the record says that nobody looked.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_checked_passes_where_the_setting_says_so() {
    let world = World::new(&[], hostile).await;
    std::fs::write(world.folder.path().join("gateway.toml"), "unchecked_arguments = \"pass\"\n").unwrap();
    world.reload().await;
    assert_eq!(decision(&world.tool("up__members", members()).await), "allow");
    assert_eq!(world.reached(), 1);
    let events = world.store.events(EventQuery { limit: 100, ..EventQuery::default() }).await.unwrap();
    let told = serde_json::to_value(&events).unwrap();
    let unchecked: Vec<&Value> = told
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event.to_string().contains("\"schema\":\"unchecked\""))
        .collect();
    assert_eq!(unchecked.len(), 1, "{told}");
    // A schema that is too large is no other case.
    assert_eq!(decision(&world.tool("up__deep", json!({"a": 1})).await), "allow");
    // What is known to be wrong does not pass.
    assert_eq!(decision(&world.tool("up__lists", lists(40)).await), "deny");
    assert_eq!(decision(&world.tool("up__members", json!({"kl1": 1})).await), "deny");
    assert_eq!(decision(&world.tool("up__none", json!({})).await), "deny");
    assert_eq!(world.reached(), 2);
}

/// R100: a list is read as people write it: one tool without a schema, one with null, one with no type. Each is listed with
/// an object, as clients need it, and can be called; an outputSchema that no client can read is not declared.
#[tokio::test(flavor = "multi_thread")]
async fn each_tool_is_listed_as_clients_can_read_it() {
    let world = World::new(&[], |method, params| match method {
        "tools/list" => Ok(json!({"tools": [
            {"name": "absent"},
            {"name": "null", "inputSchema": null, "outputSchema": null},
            {"name": "untyped", "inputSchema": {"properties": {"a": {"type": "string", "nullable": true}}}},
            {"name": "any", "inputSchema": {"type": "any"}, "outputSchema": {"type": "object", "properties": {"a": {"type": "integer"}}}},
            {"name": "far", "inputSchema": {"type": "object"}, "outputSchema": {"type": "object", "properties": {"a": {"$ref": "https://no.example/s"}}}},
            {"name": "formats", "inputSchema": {"type": "object", "properties": {"u": {"type": "string", "format": "uri"}}}},
        ]})),
        _ => plain(method, params),
    })
    .await;
    let catalog = world.gateway.catalog();
    for tool in catalog.tools.values() {
        assert_eq!(tool.item["inputSchema"]["type"], "object", "{}", tool.item);
        let declares = tool.item.get("outputSchema").is_some();
        assert_eq!(declares, &*tool.own_name == "any", "{}", tool.item);
        assert_eq!(declares, tool.output.is_some());
    }
    let told = catalog.withheld.join("\n");
    assert!(
        told.contains("the outputSchema of tool `up__far` is not declared: `/properties/a/$ref`"),
        "{told}"
    );
    for (tool, arguments, expect) in [
        ("up__absent", json!({"a": 1}), "allow"),
        ("up__null", json!({}), "allow"),
        ("up__untyped", json!({"a": null}), "allow"),
        ("up__untyped", json!({"a": 1}), "deny"),
        ("up__any", json!({"b": []}), "allow"),
        ("up__far", json!({}), "allow"),
        ("up__formats", json!({"u": "https://pl.wikipedia.org/wiki/Łódź"}), "allow"),
    ] {
        assert_eq!(decision(&world.tool(tool, arguments.clone()).await), expect, "{tool} {arguments}");
    }
    std::fs::write(world.folder.path().join("gateway.toml"), "formats = \"assert\"\n").unwrap();
    world.reload().await;
    let wrong = json!({"u": "https://pl.wikipedia.org/wiki/Łódź"});
    assert_eq!(decision(&world.tool("up__formats", wrong).await), "deny");
    assert_eq!(decision(&world.tool("up__formats", json!({"u": "https://a.example/"})).await), "allow");
}

/// Two megabytes of patterns: nothing is compiled before it is called, and what is compiled is bounded.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_full_of_patterns_takes_little_memory() {
    let world = World::new(&[], |method, params| match method {
        "tools/list" => {
            let patterns = |from: usize, count: usize| -> Map<String, Value> {
                (from..from + count).map(|n| (format!("p{n}"), json!({"pattern": format!("^v{n}-[a-z]{{1,40}}$")}))).collect()
            };
            let mut tools: Vec<Value> = (0..600)
                .map(|n| json!({"name": format!("t{n:04}"), "inputSchema": {"type": "object", "properties": patterns(n * 20, 20)}}))
                .collect();
            tools.push(json!({"name": "all", "inputSchema": {"type": "object", "properties": patterns(0, 3_000)}}));
            Ok(json!({"tools": tools}))
        }
        _ => plain(method, params),
    })
    .await;
    let catalog = world.gateway.catalog();
    assert_eq!(catalog.tools.len(), 601);
    let compiled = catalog.tools.values().filter(|tool| tool.schema.compiled().is_some()).count();
    assert!((1..400).contains(&compiled), "{compiled} of 601 were compiled with the list");
    // Of that one, a part is checked.
    assert_eq!(decision(&world.tool("up__all", json!({"p5": "wrong"})).await), "deny");
    assert_eq!(decision(&world.tool("up__all", json!({"p2999": "whatever"})).await), "allow");
    let told = catalog.tools["up__all"].schema.unchecked();
    assert!(told.iter().any(|one| one.why.contains("patterns are more than")), "{told:?}");
    // The last is compiled when it is called.
    let last = &catalog.tools["up__t0599"].schema;
    assert!(last.compiled().is_none());
    let reply = world.tool("up__t0599", json!({"p11980": "w"})).await.unwrap();
    let found = last.compiled().map(|compiled| compiled.is_ok());
    assert!(found.is_some(), "{reply}");
}

/// Patterns whose automata are too large: few are looked at with the list, none of them twice, and another upstream's tool
/// is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_full_of_too_large_patterns_holds_up_nobody() {
    let (good, _) = upstream_that(plain).await;
    let good = format!("[upstreams.good]\nurl = \"{good}\"\nprefix = \"good\"");
    let world = World::with_gateway(&good, &[], |method, params| match method {
        "tools/list" => {
            let schema = |n: usize| json!({"type": "object", "properties": {"k": {"pattern": format!(r"(\p{{L}}{{1,50}}_){{3,60}}{n}")}}});
            let tools: Vec<Value> =
                (0..900).map(|n| json!({"name": format!("t{n:04}"), "inputSchema": schema(n)})).collect();
            Ok(json!({"tools": tools}))
        }
        _ => plain(method, params),
    })
    .await;
    let found = || -> Vec<_> {
        let catalog = world.gateway.catalog();
        assert!(catalog.tools.contains_key("good__read"));
        assert_eq!(catalog.tools.len(), 902);
        let of_up = catalog.tools.values().filter(|tool| tool.upstream == "up".into());
        of_up.filter_map(|tool| tool.schema.compiled()).collect()
    };
    let first = found();
    assert!((1..=64).contains(&first.len()), "{} of 900 were compiled with the list", first.len());
    assert!(
        first.iter().all(|schema| schema.as_ref().as_ref().is_ok_and(|schema| schema.unchecked().is_empty()))
    );
    // The same list again costs nothing more.
    world.reload().await;
    let again = found();
    assert_eq!(again.len(), first.len());
    assert!(first.iter().zip(&again).all(|(first, again)| std::sync::Arc::ptr_eq(first, again)));
    // The last is looked at when it is called.
    let reply = world.tool("up__t0899", json!({"k": "v"})).await.unwrap();
    assert!(said(&reply).contains("/k breaks `pattern`"), "{reply}");
    assert_eq!(found().len(), first.len() + 1);
    assert_eq!(world.reached(), 0);
    let right = json!({"k": "straße_und_weg_899"});
    assert_eq!(decision(&world.tool("up__t0899", right).await), "allow");
    assert_eq!(decision(&world.tool("good__read", json!({})).await), "allow");
}

/// The budget is one of steps: the same arguments take the same, whatever else the machine does.
#[tokio::test(flavor = "multi_thread")]
async fn steps_are_the_same_each_time() {
    let world = World::new(&[], hostile).await;
    let catalog = world.gateway.catalog();
    let schema = catalog.tools["up__lists"].schema.compile();
    let schema = schema.as_ref().as_ref().unwrap();
    let value = lists(60);
    let budget = tollgate::catalog::Budget::whole(value.to_string().len() as u64);
    let (first, steps) = schema.measured(&value, budget);
    assert!(matches!(first, Err(Misfit::Breaks(_))), "{first:?}");
    assert_eq!(schema.measured(&value, budget), (first, steps));
    assert!(steps < 20_000, "{steps}");
}

fn key_line(key: &str) -> String {
    format!("[\"sha256:{}\"]", hex::encode(Sha256::digest(key)))
}

/// Sends a call on a connection of its own, and does not wait for the answer.
fn send(address: &str, key: &str, tool: &str, arguments: &Value) -> TcpStream {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nAuthorization: Bearer {key}\r\n\
         Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

/// The real process: hostile calls on all its threads, another agent, `/readyz`, and SIGTERM.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_arguments_stop_nobody_else() {
    let (url, _heard) = upstream_that(hostile).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("servers.toml"),
        format!(
            "[gateway]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[upstreams.up]\nurl = \"{url}\"\nprefix = \"up\"\n"
        ),
    )
    .unwrap();
    let bundle = folder.path().join("policies");
    std::fs::create_dir(&bundle).unwrap();
    std::fs::write(bundle.join("bundle.yaml"), "version: \"1\"\nowner: team\ndefault_decision: ALLOW\n")
        .unwrap();
    let agent = |name: &str| {
        format!(
            "  {name}: {{ type: worker, role: worker, tenant: acme, owner: team, operator: alice, capabilities: [all], keys: {} }}\n",
            key_line(name)
        )
    };
    let authority = format!(
        "capabilities:\n  all: {{ tools: [\"**\"] }}\nagents:\n{}{}people:\n  alice: {{ keys: {}, roles: [approver] }}\n",
        agent("hostile"),
        agent("honest"),
        key_line("alice")
    );
    std::fs::write(bundle.join("authority.yaml"), authority).unwrap();
    let path = folder.path().to_owned();
    let test = tokio::task::spawn_blocking(move || {
        let serving = Serving::start(&path, &[]);
        std::thread::scope(|scope| {
            let hostile: Vec<_> = (0..4)
                .map(|n| {
                    let serving = &serving;
                    scope.spawn(move || match n % 2 {
                        0 => serving.call("hostile", "up__lists", &lists(85)),
                        _ => serving.call("hostile", "up__members", &members()),
                    })
                })
                .collect();
            for n in 0..10 {
                let result = serving.call("honest", "up__read", &json!({"n": n}));
                assert_eq!(result["content"][0]["text"], "done", "{result}");
                assert_eq!(serving.admin(None, "GET", "/readyz", "").status, 200);
            }
            for call in hostile {
                let result = call.join().unwrap();
                assert_eq!(result["isError"], true, "{result}");
            }
        });
        // More of them are on their way when the end comes.
        let address = serving.mcp.clone();
        let senders: Vec<TcpStream> =
            (0..4).map(|_| send(&address, "hostile", "up__members", &members())).collect();
        assert_eq!(serving.admin(None, "GET", "/readyz", "").status, 200);
        let (code, _, log) = serving.end();
        assert_eq!(code, 0, "{log}");
        drop(senders);
    });
    tokio::time::timeout(Duration::from_secs(120), test).await.expect("it does not end").unwrap();
}

/// Large arguments are looked through beside the connection's thread: on one thread, a small call that comes after a large
/// one is upstream before it.
#[tokio::test]
async fn large_arguments_hold_up_nobody_else() {
    let world = World::new(&[], plain).await;
    let large = json!({"text": "all work and no play ".repeat(40_000)});
    let (first, second) = tokio::join!(world.tool("up__act", large), world.tool("up__act", json!({"n": 1})));
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    let small: Vec<bool> =
        world.heard.lock().iter().map(|(_, params)| params["arguments"]["n"] == 1).collect();
    assert_eq!(small, [true, false]);
}
