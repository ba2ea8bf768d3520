//! What passes between agents' clients and upstreams beside the call itself: what a client declares, what an upstream asks
//! and tells, and what is answered.

use crate::world::{Heard, World};
use axum::{Json, Router, extract::State, response::IntoResponse, routing::any};
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::sync::Notify;
use tollgate::{
    gateway::{ClientPort, IncomingCall, TaskRequest, TaskVerb},
    identity::{AgentPrincipal, Principal, Proof},
    model::{CallKind, EventType, RpcError},
    store::EventQuery,
    telemetry::Tracing,
    upstream::Era,
};

const SECRET: &str = "ghp_Zk3v9QmX7rT2bY5wLs8NcD4fHj6PaE1uGo0R";
const BLOCK: &str = "rules:\n  - { id: out, detectors: [\"*\"], arguments: block }\n";
const MASK: &str = "rules:\n  - { id: out, detectors: [\"*\"], arguments: mask }\n";

type Answers = Box<dyn Fn(&str, &Value) -> Option<Result<Value, RpcError>> + Send + Sync>;

/// A client that notes what it is asked and told, and answers as the test says; `None` never.
struct Person {
    era: Era,
    declared: Value,
    asked: Mutex<Vec<(String, Value)>>,
    /// Whenever it is asked.
    heard: Notify,
    told: Mutex<Vec<(String, Value)>>,
    answers: Answers,
}

impl ClientPort for Person {
    fn era(&self) -> Era {
        self.era
    }
    fn capabilities(&self) -> &Value {
        &self.declared
    }
    fn wants_progress(&self) -> bool {
        false
    }
    fn log_level(&self) -> Option<String> {
        Some("debug".to_owned())
    }
    fn notify(&self, method: &str, params: Value) {
        self.told.lock().push((method.to_owned(), params));
    }
    fn ask(&self, method: String, params: Value) -> BoxFuture<'static, Result<Value, RpcError>> {
        let answer = (self.answers)(&method, &params);
        self.asked.lock().push((method, params));
        self.heard.notify_one();
        Box::pin(async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }
}

fn everything() -> Value {
    json!({"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}})
}

fn person(
    era: Era,
    answers: impl Fn(&str, &Value) -> Option<Result<Value, RpcError>> + Send + Sync + 'static,
) -> Arc<Person> {
    Arc::new(Person {
        era,
        declared: everything(),
        asked: Mutex::default(),
        heard: Notify::new(),
        told: Mutex::default(),
        answers: Box::new(answers),
    })
}

/// Somebody who accepts every form with these words.
fn accepts(words: &'static str) -> Arc<Person> {
    person(Era::Legacy, move |_, _| Some(Ok(json!({"action": "accept", "content": {"name": words}}))))
}

fn silent(era: Era) -> Arc<Person> {
    person(era, |_, _| None)
}

/// A call of an agent, in a session, by a client.
fn by(world: &World, agent: &str, session: &str, tool: &str, client: &Arc<Person>) -> IncomingCall {
    let mut call = world.incoming(CallKind::Tool, tool, Some(json!({})));
    call.principal = Principal::Agent(AgentPrincipal::new(agent.into(), Proof::Stdio));
    call.session = session.into();
    call.client = client.clone();
    call
}

type Script = Arc<dyn Fn(&Value) -> Result<Value, Value> + Send + Sync>;

/// An upstream of 2026-07-28 whose calls do as the script says.
async fn modern(script: impl Fn(&Value) -> Result<Value, Value> + Send + Sync + 'static) -> (String, Heard) {
    async fn handle(
        State((script, heard)): State<(Script, Heard)>,
        body: String,
    ) -> axum::response::Response {
        let Ok(message) = serde_json::from_str::<Value>(&body) else {
            return axum::http::StatusCode::METHOD_NOT_ALLOWED.into_response();
        };
        let params = message["params"].clone();
        let answer = match message["method"].as_str().unwrap_or_default() {
            "server/discover" => {
                Ok(json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}))
            }
            "tools/list" => Ok(json!({"tools": [{"name": "act", "inputSchema": {"type": "object"}}]})),
            method => {
                heard.lock().push((method.to_owned(), params.clone()));
                script(&params)
            }
        };
        let id = &message["id"];
        Json(match answer {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
        })
        .into_response()
    }
    let heard = Heard::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("url = \"http://{}/mcp\"", listener.local_addr().unwrap());
    let state: (Script, Heard) = (Arc::new(script), heard.clone());
    let router = Router::new().route("/mcp", any(handle)).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, heard)
}

fn done() -> Value {
    json!({"resultType": "complete", "content": [{"type": "text", "text": "done"}]})
}

/// A modern upstream that asks this before it does anything.
async fn asking(question: Value) -> (String, Heard) {
    modern(move |params| {
        Ok(match &params["inputResponses"] {
            Value::Null => json!({"resultType": "input_required", "inputRequests": {"q": question}}),
            _ => done(),
        })
    })
    .await
}

fn form() -> Value {
    json!({"method": "elicitation/create", "params": {"message": "Who is it?",
        "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}})
}

fn prompt() -> Value {
    json!({"method": "sampling/createMessage", "params": {"maxTokens": 50,
        "messages": [{"role": "user", "content": {"type": "text", "text": "Who is it?"}}]}})
}

/// A child of the initialize-based versions that writes down what it reads. `call` is run for a call, whose id is `$call`
/// and whose line is `$line`; `answer` for our answer to a question of its own, whose id begins with `q`.
fn child(folder: &Path, call: &str, answer: &str) -> String {
    const SCRIPT: &str = r#"
say() { printf '%s\n' "$1"; }
answer() { say "{\"jsonrpc\":\"2.0\",\"id\":$1,\"result\":$2}"; }
form() { say "{\"jsonrpc\":\"2.0\",\"id\":\"$1\",\"method\":\"elicitation/create\",\"params\":{\"message\":\"$2\",\"requestedSchema\":{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"}}}}}"; }
while read -r line; do
  printf '%s\n' "$line" >> LOG
  id=${line#*\"id\":}; id=${id%%,*}
  case "$line" in
  *'"server/discover"'*) say "{\"jsonrpc\":\"2.0\",\"id\":$id,\"error\":{\"code\":-32601,\"message\":\"no\"}}" ;;
  *'"initialize"'*) answer "$id" '{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}' ;;
  *'"tools/list"'*) answer "$id" '{"tools":[{"name":"act","inputSchema":{"type":"object"}},{"name":"other","inputSchema":{"type":"object"}}]}' ;;
  *'"tools/call"'*) call=$id; CALL ;;
  *'"id":"q'*) ANSWER ;;
  esac
done
"#;
    let script = SCRIPT.replace("CALL", call).replace("ANSWER", answer);
    let script = script.replace("LOG", folder.join("log").to_str().unwrap());
    let path = folder.join("child.sh");
    std::fs::write(&path, script).unwrap();
    format!("command = [\"sh\", {:?}]", path.to_str().unwrap())
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap()
}

const DONE: &str = r#"answer "$call" '{"content":[]}'"#;

/// What is recorded of the questions of each call, as it was settled.
async fn questions(world: &World, calls: usize) -> Vec<Value> {
    let details = settled(world, calls).await.into_iter();
    details.map(|event| event.detail.unwrap()["questions"].clone()).collect()
}

async fn settled(world: &World, calls: usize) -> Vec<tollgate::model::EventDraft> {
    let mut committed = world.store.committed();
    let all = async {
        loop {
            let kind = Some(EventType::AgentSideEffect);
            let query = EventQuery { event_type: kind, limit: 1_000, ..EventQuery::default() };
            let events = world.store.events(query).await.unwrap();
            if events.len() >= calls {
                return events.into_iter().map(|event| event.draft).collect();
            }
            // One that falls behind has missed something, and looks again too.
            drop(committed.recv().await);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.unwrap()
}

/// What a client declares is told as names that both know: it carries nothing to the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_declares_carries_nothing() {
    let declared = json!({
        "experimental": {"note": {"text": SECRET}},
        "elicitation": {"form": {"text": SECRET}, SECRET: {}},
        "sampling": {"tools": {"text": SECRET}},
        "roots": {"listChanged": true, "text": SECRET},
        "extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app", SECRET]}, SECRET: {}},
        SECRET: {},
    });
    let client = |era: Era| {
        let client = Arc::into_inner(silent(era)).unwrap();
        Arc::new(Person { declared: declared.clone(), ..client })
    };
    let (url, heard) = modern(|_| Ok(done())).await;
    let world = World::over("", &[("data.yaml", BLOCK)], &url, heard).await;
    for era in [Era::Legacy, Era::Modern] {
        world.call(by(&world, "robot", "s", "up__act", &client(era))).await.unwrap();
    }
    let heard = world.heard.lock().clone();
    assert_eq!(heard.len(), 2);
    for (_, params) in heard {
        let expect = json!({"elicitation": {"form": {}}, "sampling": {"tools": {}}, "roots": {},
            "extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}});
        assert_eq!(params["_meta"]["io.modelcontextprotocol/clientCapabilities"], expect);
    }
    // On a connection of its own.
    let folder = tempfile::tempdir().unwrap();
    let table = format!("{}\nisolation = \"session\"", child(folder.path(), DONE, ":"));
    let world = World::over("", &[("data.yaml", BLOCK)], &table, Heard::default()).await;
    world.call(by(&world, "robot", "s", "up__act", &client(Era::Legacy))).await.unwrap();
    let log = log(folder.path());
    assert!(log.contains(r#""elicitation":{"form":{}}"#) && !log.contains(SECRET), "{log}");
}

/// What a client answers to an upstream is stopped and masked as what its agent sends: forms, sampling, roots and errors.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_held_to_the_rules_for_arguments() {
    let told = || Some(Ok(json!({"action": "accept", "content": {"name": format!("it is {SECRET}")}})));
    let sampled = || {
        let content = json!({"type": "text", "text": SECRET});
        Some(Ok(json!({"role": "assistant", "model": "gpt-4o", "content": content})))
    };
    let roots = || Some(Ok(json!({"roots": [{"uri": format!("file:///{SECRET}"), "name": "r"}]})));
    let failed = || Some(Err(RpcError::new(-7, format!("no: {SECRET}")).with_data(json!([SECRET]))));
    let list = json!({"method": "roots/list"});
    type Answer<'a> = &'a (dyn Fn() -> Option<Result<Value, RpcError>> + Send + Sync);
    let kinds: [(Value, Answer<'_>); 4] =
        [(form(), &told), (prompt(), &sampled), (list, &roots), (form(), &failed)];
    for (question, answer) in kinds {
        for (rule, blocks) in [(BLOCK, true), (MASK, false)] {
            let (url, heard) = asking(question.clone()).await;
            let world = World::over("", &[("data.yaml", rule)], &url, heard).await;
            // In the initialize-based versions, where Tollgate asks.
            let answered = answer();
            let client = person(Era::Legacy, move |_, _| answered.clone());
            let reply = world.call(by(&world, "robot", "s", "up__act", &client)).await;
            assert_eq!(client.asked.lock().len(), 1);
            let rounds = if blocks || answer().unwrap().is_err() { 1 } else { 2 };
            assert_eq!(world.reached(), rounds, "{question} {reply:?}");
            let noted = questions(&world, 1).await.remove(0).to_string();
            assert_eq!(noted.contains("withheld"), blocks, "{noted}");
            // In 2026-07-28, where the client brings the answer.
            if let Some(Ok(brought)) = answer() {
                let client = silent(Era::Modern);
                let asked = world.call(by(&world, "robot", "s", "up__act", &client)).await.unwrap();
                let mut retry = by(&world, "robot", "s", "up__act", &client);
                retry.request_state = asked["requestState"].as_str().map(str::to_owned);
                retry.input_responses = json!({"q": brought}).as_object().cloned();
                let reply = world.call(retry).await;
                assert_eq!(reply.is_err(), blocks, "{reply:?}");
                assert_eq!(world.reached(), rounds + if blocks { 1 } else { 2 });
                let last = questions(&world, 3).await.pop().unwrap().to_string();
                assert_eq!(last.contains("withheld"), blocks, "{last}");
            }
            let heard = format!("{:?}", world.heard.lock());
            assert!(!heard.contains(SECRET), "{heard}");
            assert!(!world.written().await.contains(SECRET));
        }
    }
    // An upstream that asks during the call.
    let folder = tempfile::tempdir().unwrap();
    let table = child(folder.path(), "form q1 who", DONE);
    let world = World::over("", &[("data.yaml", BLOCK)], &table, Heard::default()).await;
    let client = accepts(SECRET);
    world.call(by(&world, "robot", "s", "up__act", &client)).await.unwrap();
    let log = log(folder.path());
    assert!(log.contains("withheld by the data policy") && !log.contains(SECRET), "{log}");
}

/// The same where the call became a task; and a task, whose call is paid already, has nothing left for sampling.
#[tokio::test(flavor = "multi_thread")]
async fn answers_to_a_task_are_held_to_the_rules_too() {
    let budget =
        "budgets:\n  - { id: cap, scope: agent, window: day, max_tokens: 100000, on_exceed: deny }\n";
    for question in [form(), prompt()] {
        let samples = question["method"] == "sampling/createMessage";
        let (url, heard) = modern(move |params| {
            Ok(match (&params["name"], &params["inputResponses"]) {
                (Value::Null, Value::Null) => {
                    json!({"taskId": "t", "status": "input_required", "inputRequests": {"q": question}})
                }
                (Value::Null, _) => json!({}),
                _ => json!({"resultType": "task", "taskId": "t", "status": "working"}),
            })
        })
        .await;
        let world = World::over("", &[("data.yaml", BLOCK), ("budgets.yaml", budget)], &url, heard).await;
        let mut declared = everything();
        declared["extensions"] = json!({"io.modelcontextprotocol/tasks": {}});
        let client = Arc::new(Person { declared, ..Arc::into_inner(silent(Era::Modern)).unwrap() });
        let task = world.call(by(&world, "robot", "s", "up__act", &client)).await.unwrap();
        let about = |verb: TaskVerb, responses: Value| TaskRequest {
            principal: world.principal(),
            verb,
            task_id: task["taskId"].as_str().unwrap().to_owned(),
            input_responses: responses.as_object().cloned(),
            session: "s".into(),
            client: client.clone(),
            tracing: Tracing::default(),
            parent: None,
            context: serde_json::Map::new(),
        };
        let shown = world.gateway.task(about(TaskVerb::Get, Value::Null)).await;
        match samples {
            true => assert!(shown.unwrap_err().message.contains("nothing left")),
            false => assert_eq!(shown.unwrap()["inputRequests"]["q"]["params"]["message"], "[up] Who is it?"),
        }
        let answer = json!({"action": "accept", "content": {"name": SECRET}});
        let updated = world.gateway.task(about(TaskVerb::Update, json!({"q": answer, "more": answer}))).await;
        assert!(updated.is_err(), "{updated:?}");
        let heard = world.heard.lock().clone();
        assert!(heard.iter().all(|(method, _)| method != "tasks/update"), "{heard:?}");
        assert!(!world.written().await.contains(SECRET));
    }
}

/// A retry answers what was asked, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_brings_no_more_than_was_asked() {
    let (url, heard) = asking(form()).await;
    let world = World::over("", &[], &url, heard).await;
    let client = silent(Era::Modern);
    let asked = world.call(by(&world, "robot", "s", "up__act", &client)).await.unwrap();
    assert_eq!(asked["inputRequests"]["q"]["params"]["message"], "[up] Who is it?");
    let mut retry = by(&world, "robot", "s", "up__act", &client);
    retry.request_state = asked["requestState"].as_str().map(str::to_owned);
    let answer = json!({"action": "accept", "content": {"name": "Ada"}});
    retry.input_responses =
        json!({"q": answer, "more": {"a": 1}, "tollgate_approval": {}}).as_object().cloned();
    world.call(retry).await.unwrap();
    let heard = world.heard.lock().clone();
    assert_eq!(heard[1].1["inputResponses"], json!({"q": answer}));
}

/// A question about a call that is over is put to no other agent.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_question_reaches_nobody_else() {
    // `act` is answered; the question about it comes when the next call is in flight.
    let call = r#"case "$line" in *'"act"'*) answer "$call" '{"content":[]}' ;; *) form q1 "about the act of before" ;; esac"#;
    {
        let folder = tempfile::tempdir().unwrap();
        let table = child(folder.path(), call, DONE);
        let world = World::over("", &[], &table, Heard::default()).await;
        let (first, second) = (accepts("first"), accepts("second"));
        world.call(by(&world, "robot", "s", "up__act", &first)).await.unwrap();
        world.call(by(&world, "rival", "s", "up__other", &second)).await.unwrap();
        assert_eq!(*second.asked.lock(), []);
        let log = log(folder.path());
        assert!(log.contains("cannot be told") && !log.contains("second"), "{log}");
    }
    // Who alone uses it is asked.
    let folder = tempfile::tempdir().unwrap();
    let world = World::over("", &[], &child(folder.path(), call, DONE), Heard::default()).await;
    let client = accepts("Ada");
    for (tool, session) in [("up__act", "s"), ("up__other", "t")] {
        world.call(by(&world, "robot", session, tool, &client)).await.unwrap();
    }
    assert_eq!(client.asked.lock().len(), 1);
}

/// An upstream that asks for sampling without end spends no more than what limits its call, alone or in company.
#[tokio::test(flavor = "multi_thread")]
async fn sampling_spends_no_more_than_the_limits_leave() {
    // It goes on until it is refused.
    let ask = r#"say "{\"jsonrpc\":\"2.0\",\"id\":\"q$n\",\"method\":\"sampling/createMessage\",\"params\":{\"maxTokens\":300,\"messages\":[{\"role\":\"user\",\"content\":{\"type\":\"text\",\"text\":\"go on\"}}]}}""#;
    let call = format!("n=0; {ask}");
    let answer = format!(r#"case "$line" in *'"error"'*) {DONE} ;; *) n=$((n+1)); {ask} ;; esac"#);
    let samples = || {
        let content = json!({"type": "text", "text": "word ".repeat(290)});
        person(Era::Legacy, move |_, _| {
            // A client that names a cheaper model than its agent's saves nothing.
            Some(Ok(json!({"role": "assistant", "model": "gpt-4o-mini", "content": content})))
        })
    };
    let tokens = "budgets:\n  - { id: cap, scope: agent, window: day, max_tokens: 2000, on_exceed: deny }\n";
    let money =
        "budgets:\n  - { id: cap, scope: global, window: ever, max_cost_usd: 0.02, on_exceed: deny }\n";
    let gate = "name: g\ndescription: d\non: [{ tool: up__act }]\nrules:\n  - id: r\n    decision: ALLOW_WITH_CONSTRAINTS\n    constraints: { max_cost: 0.02 }\n";
    let condition = "name: g\ndescription: d\non: [{ tool: up__act }]\nrules:\n  - id: r\n    condition: \"cost.estimate_usd > 0.02\"\n    decision: DENY\n";
    for (file, text) in
        [("budgets.yaml", tokens), ("budgets.yaml", money), ("a.yaml", gate), ("a.yaml", condition)]
    {
        let folder = tempfile::tempdir().unwrap();
        let table = child(folder.path(), &call, &answer);
        let world = World::over("", &[(file, text)], &table, Heard::default()).await;
        let client = samples();
        world.call(by(&world, "robot", "s", "up__act", &client)).await.unwrap();
        let asked = client.asked.lock().len();
        assert!((2..=8).contains(&asked), "{text}: {asked}");
        let settled = settled(&world, 1).await.remove(0);
        assert!((5_000..=20_000).contains(&settled.cost_usd.unwrap().0), "{:?}", settled.cost_usd);
        let sampled = settled.detail.unwrap()["sampled_tokens"].as_u64().unwrap();
        assert!(sampled <= 2_000, "{sampled}");
        if file == "budgets.yaml" {
            let usage = world.store.budget_usage(world.gateway.clock().now()).await.unwrap();
            assert!(usage[0].tokens <= 2_000 && usage[0].cost_usd.0 <= 20_000, "{usage:?}");
        }
    }
    // Without any limit there is one on their number.
    let folder = tempfile::tempdir().unwrap();
    let world = World::over("", &[], &child(folder.path(), &call, &answer), Heard::default()).await;
    let client = samples();
    world.call(by(&world, "robot", "s", "up__act", &client)).await.unwrap();
    assert_eq!(client.asked.lock().len(), 64);
}

/// Calls in flight at once do not spend the same money.
#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_share_what_a_budget_leaves() {
    // Two prompts and their answers have room; eight calls each ask for one at once.
    let money =
        "budgets:\n  - { id: cap, scope: global, window: ever, max_cost_usd: 0.025, on_exceed: deny }\n";
    let question = json!({"method": "sampling/createMessage", "params": {"maxTokens": 1000,
        "messages": [{"role": "user", "content": {"type": "text", "text": "go on"}}]}});
    let (url, heard) = asking(question).await;
    let world = World::over("", &[("budgets.yaml", money)], &url, heard).await;
    let clients: Vec<_> = (0..8).map(|_| silent(Era::Legacy)).collect();
    let calls = clients.iter().map(|client| world.gateway.call(by(&world, "robot", "s", "up__act", client)));
    // Those that were asked wait for ever: the others must end.
    tokio::select! {
        _ = join_all(calls) => panic!("some are asked, and wait"),
        _ = settled(&world, 6) => {}
    }
    let asked: usize = clients.iter().map(|client| client.asked.lock().len()).sum();
    assert_eq!(asked, 2);
}

/// The time of a model is the call's, and what it did is paid for, whatever becomes of the call.
#[tokio::test(flavor = "multi_thread")]
async fn sampling_takes_the_calls_time_and_money() {
    let folder = tempfile::tempdir().unwrap();
    let ask = r#"say "{\"jsonrpc\":\"2.0\",\"id\":\"q$call\",\"method\":\"sampling/createMessage\",\"params\":{\"maxTokens\":600,\"messages\":[]}}""#;
    let table = format!("{}\ntimeout = \"3s\"", child(folder.path(), ask, ask));
    let budget =
        "budgets:\n  - { id: cap, scope: agent, window: day, max_tokens: 100000, on_exceed: deny }\n";
    let world = World::over("", &[("budgets.yaml", budget)], &table, Heard::default()).await;
    let answered = Mutex::new(false);
    let client = person(Era::Legacy, move |_, _| {
        let content = json!({"type": "text", "text": "word ".repeat(500)});
        let first = !std::mem::replace(&mut *answered.lock(), true);
        first.then(|| Ok(json!({"role": "assistant", "model": "gpt-4o", "content": content})))
    });
    let result = world.call(by(&world, "robot", "s", "up__act", &client)).await.unwrap();
    assert_eq!(client.asked.lock().len(), 2);
    assert!(result.to_string().contains("no answer within 3s"), "{result}");
    let settled = settled(&world, 1).await.remove(0);
    assert_eq!(settled.outcome, Some(tollgate::model::Outcome::Unknown));
    let usage = world.store.budget_usage(world.gateway.clock().now()).await.unwrap();
    assert!(usage[0].tokens > 500, "{usage:?}");
}

fn wants_pages(url: &str) -> Value {
    json!({"code": -32042, "message": "Sign in first", "data": {"elicitations": [
        {"mode": "url", "elicitationId": "e-9", "url": url, "message": "Sign in at the bank", "title": "Tollgate"}]}})
}

/// Error -32042 is a question: labelled, of a page, to who can be asked; a client of 2026-07-28 never sees it.
#[tokio::test(flavor = "multi_thread")]
async fn pages_are_opened_only_as_questions() {
    let page = "https://bank.example/login";
    let script = |url: &'static str| {
        move |method: &str, params: &Value| match method {
            "tools/call" => Err(wants_pages(url)),
            _ => crate::world::plain(method, params),
        }
    };
    let world = World::new(&[], script(page)).await;
    let legacy = world.call(by(&world, "robot", "s", "up__act", &silent(Era::Legacy))).await.unwrap_err();
    assert_eq!((legacy.code, legacy.message.as_str()), (-32042, "[up] Sign in first"));
    let shown = &legacy.data.unwrap()["elicitations"][0];
    assert_eq!((&shown["message"], &shown["url"]), (&json!("[up] Sign in at the bank"), &json!(page)));
    assert_eq!(shown["title"], "[up] Tollgate");
    // A client of 2026-07-28 is asked in the result, and makes the call again.
    let client = silent(Era::Modern);
    let asked = world.call(by(&world, "robot", "s", "up__act", &client)).await.unwrap();
    let question = &asked["inputRequests"]["upstream_page_1"]["params"];
    assert_eq!(question["message"], "[up] Sign in at the bank");
    let mut retry = by(&world, "robot", "s", "up__act", &client);
    retry.request_state = asked["requestState"].as_str().map(str::to_owned);
    retry.input_responses = json!({"upstream_page_1": {"action": "accept"}}).as_object().cloned();
    world.call(retry).await.unwrap();
    assert_eq!(world.reached(), 3);
    assert!(!format!("{:?}", world.heard.lock()).contains("inputResponses"));
    // Who cannot be asked, and what is no page of the web.
    let nobody = Arc::new(Person { declared: json!({}), ..Arc::into_inner(silent(Era::Legacy)).unwrap() });
    let plain = |error: RpcError| assert!(error.code == -32603 && error.data.is_none(), "{error:?}");
    plain(world.call(by(&world, "robot", "s", "up__act", &nobody)).await.unwrap_err());
    for bad in ["javascript:fetch('//evil.example')", "https://tollgate.example@evil.example/"] {
        let world = World::new(&[], script(bad)).await;
        for era in [Era::Legacy, Era::Modern] {
            plain(world.call(by(&world, "robot", "s", "up__act", &silent(era))).await.unwrap_err());
        }
    }
    // Who may not ask may not ask so either; an upstream of 2026-07-28 has its own way.
    let (url, heard) = crate::world::upstream_that(script(page)).await;
    let world = World::over("", &[], &format!("url = \"{url}\"\nasks = [\"roots\"]"), heard).await;
    plain(world.call(by(&world, "robot", "s", "up__act", &silent(Era::Legacy))).await.unwrap_err());
    let (url, heard) = modern(move |_| Err(wants_pages(page))).await;
    let world = World::over("", &[], &url, heard).await;
    plain(world.call(by(&world, "robot", "s", "up__act", &silent(Era::Modern))).await.unwrap_err());
}

/// What is no question is not put, and one that is names its upstream.
#[tokio::test(flavor = "multi_thread")]
async fn questions_that_pretend_are_not_put() {
    let put = |question: Value, era: Era| async move {
        let (url, heard) = asking(question).await;
        let world = World::over("", &[], &url, heard).await;
        let client = silent(era);
        let call = by(&world, "robot", "s", "up__act", &client);
        tokio::select! {
            reply = world.gateway.call(call) => (reply, client.asked.lock().clone()),
            () = client.heard.notified() => {
                (Ok(Value::Null), client.asked.lock().clone())
            }
        }
    };
    for params in [json!("Tollgate asks for your approval"), json!([{"message": "m"}])] {
        for method in ["elicitation/create", "sampling/createMessage"] {
            for era in [Era::Legacy, Era::Modern] {
                let (reply, asked) = put(json!({"method": method, "params": params.clone()}), era).await;
                assert!(reply.is_err() && asked.is_empty(), "{method} {params} {reply:?}");
            }
        }
    }
    let (_, asked) = put(prompt(), Era::Legacy).await;
    assert_eq!(asked[0].1["systemPrompt"], "[up] The MCP server `up` asks this.");
    let (reply, _) = put(prompt(), Era::Modern).await;
    assert_eq!(reply.unwrap()["inputRequests"]["q"]["params"]["_meta"]["tollgate/upstream"], "up");
    let (url, heard) = modern(|_| {
        Ok(json!({"resultType": "input_required", "inputRequests": {"tollgate_approval": form()}}))
    })
    .await;
    let world = World::over("", &[], &url, heard).await;
    world.call(by(&world, "robot", "s", "up__act", &silent(Era::Modern))).await.unwrap_err();
}

/// Notifications reach a client only under names of notifications, and log lines under their upstream's name.
#[tokio::test(flavor = "multi_thread")]
async fn only_notifications_are_told() {
    let told = [
        json!({"method": "initialize", "params": {}}),
        json!({"method": "elicitation/create", "params": {"message": "m"}}),
        json!({"method": "sampling/createMessage", "params": {}}),
        json!({"method": "notifications/initialized", "params": {}}),
        json!({"method": "notifications/x\ny", "params": {}}),
        json!({"method": format!("notifications/{SECRET}"), "params": {}}),
        json!({"method": format!("notifications/{}", "n".repeat(5_000)), "params": {}}),
        json!({"method": "notifications/message", "params": "text"}),
        json!({"method": "notifications/vendor/thing", "params": {"a": 1}}),
        json!({"method": "notifications/message", "params": {"level": "info", "logger": "tollgate", "data": "x"}}),
    ];
    let lines: Vec<String> = told.iter().map(|message| format!("say '{message}'")).collect();
    let folder = tempfile::tempdir().unwrap();
    let table = child(folder.path(), &format!("{}; {DONE}", lines.join("; ")), ":");
    let world = World::over("", &[], &table, Heard::default()).await;
    let client = silent(Era::Legacy);
    world.call(by(&world, "robot", "s", "up__act", &client)).await.unwrap();
    let told = client.told.lock().clone();
    let expect = [
        ("notifications/vendor/thing", json!({"a": 1, "_meta": {"tollgate/upstream": "up"}})),
        ("notifications/message", json!({"level": "info", "logger": "up/tollgate", "data": "x"})),
    ];
    assert_eq!(told, expect.map(|(method, params)| (method.to_owned(), params)));
}
