//! The roles this test binary plays as a child process. A role writes its messages itself, line by line, so that it
//! can misbehave.

use super::fixture::{Fixture, Speaks};
use serde_json::{Value, json};
use std::io::{BufRead as _, Write as _};

/// Plays the role named in the environment.
pub(crate) fn play(role: &str) {
    // What the test runner wrote before is no message and must not touch the first one.
    say_raw("");
    match role {
        "rmcp" => block_on(Fixture::serve_stdio(Speaks::Both)),
        "rmcp-legacy" => block_on(Fixture::serve_stdio(Speaks::Legacy)),
        other => scripted(other),
    }
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future);
}

/// A handler that does nothing takes the place of the default action.
fn ignore_sigterm() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        drop(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap());
    });
}

fn say_raw(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

fn say(message: &Value) {
    say_raw(&message.to_string());
}

fn answer(id: &Value, result: Value) {
    say(&json!({ "result": result, "jsonrpc": "2.0", "id": id }));
}

/// A legacy server with its own behaviour per role and per tool.
fn scripted(role: &str) {
    if role == "stubborn" {
        ignore_sigterm();
    }
    let mut probed = Value::Null;
    let mut held: Vec<Value> = Vec::new();
    let mut told: Vec<Value> = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        let id = message["id"].clone();
        match message["method"].as_str() {
            Some("server/discover") => match role {
                "silent" => {}
                "touchy" => std::process::exit(9),
                "late" => probed = id,
                _ => say(
                    &json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32602, "message": "not yet" } }),
                ),
            },
            Some("initialize") => {
                let offered = message["params"]["protocolVersion"].as_str().unwrap_or_default();
                if let Some(version) = role.strip_prefix("strict:").filter(|version| *version != offered) {
                    let error =
                        json!({ "code": -32602, "message": format!("Only protocol version {version}") });
                    let error = if version == "2024-11-05" {
                        error
                    } else {
                        json!({ "code": -32000, "message": "no", "data": { "supported": [version] } })
                    };
                    say(&json!({ "jsonrpc": "2.0", "id": id, "error": error }));
                    continue;
                }
                if role == "late" {
                    // A modern server that was slow to start.
                    let error = json!({ "code": -32601, "message": "no initialize here" });
                    say(&json!({ "jsonrpc": "2.0", "id": id, "error": error }));
                    let found =
                        json!({ "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} } });
                    answer(&probed, found);
                    continue;
                }
                let version = role.split_once(':').map_or(offered, |(_, version)| version);
                let result = json!({ "protocolVersion": version, "capabilities": { "tools": {} },
                    "serverInfo": { "name": role, "version": "1", "unknown": true } });
                answer(&id, result);
            }
            Some("tools/list") => {
                let tools =
                    r#"[{"name":"one"},{"noname":true},{"name":"one"},7,{"name":"two","odd":{"x":1e400}}]"#;
                say_raw(&format!("{{\"id\":{id},\"result\":{{\"tools\":{tools}}}}}"));
            }
            Some("tools/call") => called(&message, &id, &mut held, &told),
            Some(_) => told.push(message),
            None => {
                // The answer to our question ends the call that asked it.
                if let Some(call) = held.pop() {
                    answer(&call, message);
                }
            }
        }
    }
    if role == "stubborn" {
        loop {
            std::thread::park();
        }
    }
}

fn called(message: &Value, id: &Value, held: &mut Vec<Value>, told: &[Value]) {
    match message["params"]["name"].as_str().unwrap_or_default() {
        "die" => std::process::exit(3),
        "die-saying" => {
            eprintln!("the reason is secret-word");
            std::process::exit(4);
        }
        "garbage" => {
            say_raw("Listening on port 3000 …");
            say_raw("{\"jsonrpc\":\"2.0\"}");
            say_raw("[1,2");
            answer(id, json!({ "content": [], "unknown": { "big": 1 } }));
        }
        "broken" => say_raw(&format!("{{\"id\":{id},\"result\":{{}}}} trailing")),
        "big" => answer(id, json!({ "content": "x".repeat(300_000) })),
        // Asks for ever and reads nothing meanwhile; ends when it is not heard any more.
        "flood" => loop {
            let ping = json!({ "jsonrpc": "2.0", "id": "p".repeat(1_000), "method": "ping" });
            if writeln!(std::io::stdout(), "{ping}").is_err() {
                std::process::exit(5);
            }
        },
        "long-id" => {
            let params = json!({ "message": "?" });
            say(
                &json!({ "jsonrpc": "2.0", "id": "q".repeat(2_000), "method": "elicitation/create", "params": params }),
            );
            say(&json!({ "jsonrpc": "2.0", "id": ["q"], "method": "ping" }));
            answer(id, json!({}));
        }
        "questions" => {
            for n in 0..40 {
                say(&json!({ "jsonrpc": "2.0", "id": n, "method": "elicitation/create", "params": {} }));
            }
            held.push(id.clone());
        }
        "hold" => held.push(id.clone()),
        "question" => {
            held.push(id.clone());
            say(
                &json!({ "jsonrpc": "2.0", "id": "q1", "method": "elicitation/create", "params": { "message": "?" } }),
            );
        }
        "log" => {
            let params = json!({ "level": "info", "data": "hello" });
            say(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params }));
            answer(id, json!({}));
        }
        "told" => answer(id, json!({ "told": told })),
        "meta" => answer(id, message["params"].clone()),
        "spawn" => {
            let script = "trap '' TERM HUP; while :; do sleep 1000; done";
            let start = |program: &str, args: &[&str]| {
                std::process::Command::new(program).args(args).spawn().unwrap().id()
            };
            let grandchild = start("sh", &["-c", script]);
            // One that leaves its process group and session.
            let stray = start("setsid", &["sh", "-c", script]);
            answer(id, json!({ "own": std::process::id(), "grandchild": grandchild, "stray": stray }));
        }
        _ => answer(id, json!({ "content": [] })),
    }
}
