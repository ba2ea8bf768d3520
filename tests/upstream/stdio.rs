//! Children over stdio.

use super::support::*;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::{io::Write as _, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tollgate::{
    config::{Isolation, UpstreamTransport},
    model::{RetryPlan, RpcError},
    upstream::{CallRelay, Era, Health, Retired, UpstreamError, UpstreamSet, UpstreamState},
};

#[tokio::test]
async fn both_eras_of_rmcp_list_all_pages_and_answer() {
    for (role, era) in [("rmcp", Era::Modern), ("rmcp-legacy", Era::Legacy)] {
        let (set, upstream) = up(stdio("f", role)).await;
        let state = upstream.state().borrow().clone();
        assert_eq!(state.era, Some(era), "{role}");
        assert_eq!(tools(&state), ["echo", "progress", "ask", "wait", "env"], "{role}");
        assert_eq!(state.listing.resources[0]["uri"], "file:///a");
        assert!(state.listing.prompts.is_empty());
        assert_eq!(state.instructions.as_deref(), Some("be kind"));
        let result = soon(upstream.call(request("echo", json!({ "n": 1 })), caller().0)).await.unwrap();
        assert_eq!(text(&result), r#"{"n":1}"#);
        let error = call(&upstream, "nonsense").await.unwrap_err();
        assert!(matches!(error, UpstreamError::Rpc(RpcError { code: -32602, .. })), "{error:?}");
        soon(set.shutdown(Duration::ZERO)).await;
    }
}

#[tokio::test]
async fn progress_comes_in_order_and_only_to_its_call() {
    for role in ["rmcp", "rmcp-legacy"] {
        let (_set, upstream) = up(stdio("f", role)).await;
        let wanting = caller();
        let silent = caller();
        let mut asks = request("progress", json!({}));
        asks.wants_progress = true;
        let calls = async {
            tokio::join!(
                upstream.call(asks, wanting.0),
                upstream.call(request("progress", json!({})), silent.0)
            )
        };
        let (first, second) = soon(calls).await;
        assert!(first.is_ok() && second.is_ok());
        let (mut hears, mut hears_nothing) = (wanting.1, silent.1);
        for step in 1..=3 {
            let (method, params) = soon(hears.recv()).await.unwrap();
            assert_eq!(
                (method.as_str(), params["progress"].as_f64()),
                ("notifications/progress", Some(f64::from(step)))
            );
            assert!(params.get("progressToken").is_none());
        }
        assert!(hears.recv().await.is_none() && hears_nothing.recv().await.is_none());
    }
}

#[tokio::test]
async fn a_question_of_the_sessions_era_reaches_the_caller() {
    let (_set, upstream) = up(stdio("f", "rmcp-legacy")).await;
    let (relay, mut hears) = caller();
    let result = soon(upstream.call(request("ask", json!({})), relay)).await.unwrap();
    assert_eq!(text(&result), "\"Ada\"");
    let (method, params) = hears.recv().await.unwrap();
    assert_eq!((method.as_str(), &params["message"]), ("elicitation/create", &json!("Name?")));
}

/// A modern upstream asks in its result, and is answered by a further request.
#[tokio::test]
async fn a_modern_question_is_returned_and_its_answer_goes_with_the_next_request() {
    let (_set, upstream) = up(stdio("f", "rmcp")).await;
    let result = soon(upstream.call(request("ask", json!({})), caller().0)).await.unwrap();
    assert_eq!(result["resultType"], "input_required");
    assert_eq!(result["inputRequests"]["who"]["method"], "elicitation/create");
    let result = soon(upstream.call(answering(&result), caller().0)).await.unwrap();
    assert_eq!(text(&result), "\"Ada\"");
}

#[tokio::test]
async fn a_question_among_several_calls_is_refused_with_the_reason() {
    let (_set, upstream) = up(stdio("s", "plain")).await;
    let (relay, mut hears) = caller();
    let held = upstream.call(request("hold", json!({})), relay.clone());
    let asking = upstream.call(request("question", json!({})), relay);
    // The child answers the call that asked with our answer to its question.
    let answer = soon(asking);
    tokio::pin!(held, answer);
    let answer = tokio::select! {
        biased;
        _ = &mut held => panic!("a held call was answered"),
        answer = &mut answer => answer.unwrap(),
    };
    assert_eq!(answer["error"]["code"], -32603);
    assert!(answer["error"]["message"].as_str().unwrap().contains("2 calls are in flight"), "{answer}");
    assert!(hears.try_recv().is_err(), "nobody was asked");
}

#[tokio::test]
async fn cancellation_tells_exactly_that_upstream() {
    for role in ["rmcp", "rmcp-legacy"] {
        let (_set, upstream) = up(stdio("f", role)).await;
        let (_other_set, other) = up(stdio("g", role)).await;
        let (relay, mut hears) = caller();
        let mut wait = request("wait", json!({}));
        wait.wants_progress = true;
        let waiting = tokio::spawn({
            let upstream = upstream.clone();
            async move { upstream.call(wait, relay).await }
        });
        soon(hears.recv()).await.unwrap();
        waiting.abort();
        assert_eq!(text(&call(&upstream, "await_cancelled").await.unwrap()), "seen");
        assert_eq!(text(&call(&other, "cancelled").await.unwrap()), "0");
    }
}

#[tokio::test]
async fn a_timeout_cancels_and_says_so() {
    let (_set, upstream) = up(stdio("f", "rmcp-legacy")).await;
    let mut wait = request("wait", json!({}));
    wait.timeout = Duration::from_millis(50);
    let error = soon(upstream.call(wait, caller().0)).await.unwrap_err();
    assert!(
        matches!(error, UpstreamError::TimedOut(limit) if limit == Duration::from_millis(50)),
        "{error:?}"
    );
    assert_eq!(text(&call(&upstream, "await_cancelled").await.unwrap()), "seen");
}

#[tokio::test]
async fn the_clock_stands_while_the_caller_is_asked() {
    let (_set, upstream) = up(stdio("s", "plain")).await;
    let (relay, mut hears) = caller();
    let (give, given) = tokio::sync::oneshot::channel();
    *relay.answer.lock() = Some(Box::pin(async move { Ok(given.await.unwrap()) }));
    let mut question = request("question", json!({}));
    question.timeout = Duration::from_secs(2);
    let asking = upstream.call(question, relay);
    let human = async {
        hears.recv().await.unwrap();
        // Longer than the call may take by itself; a timer of the same runtime, so it cannot pass unnoticed.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        give.send(json!({ "action": "decline" })).unwrap();
    };
    let (answer, ()) = soon(async { tokio::join!(asking, human) }).await;
    assert_eq!(answer.unwrap()["result"]["action"], "decline");
}

#[tokio::test]
async fn list_changes_are_read_again() {
    for role in ["rmcp", "rmcp-legacy"] {
        let (_set, upstream) = up(stdio("f", role)).await;
        let before = upstream.state().borrow().generation;
        call(&upstream, "grow").await.unwrap();
        let state = until(&upstream, |s| tools(s).contains(&"extra")).await;
        assert!(state.generation > before);
    }
}

#[tokio::test]
async fn odd_children_are_understood() {
    // silent: ignores what it does not know; touchy: ends when probed; late: modern but slow to start.
    for (role, era) in
        [("silent", Era::Legacy), ("touchy", Era::Legacy), ("late", Era::Modern), ("plain", Era::Legacy)]
    {
        let (_set, upstream) = up(stdio("s", role)).await;
        let state = upstream.state().borrow().clone();
        assert_eq!(state.era, Some(era), "{role}");
        // One bad item costs itself only, and numbers that a double cannot hold survive.
        assert_eq!(tools(&state), ["one", "two"], "{role}");
        assert_eq!(state.listing.tools[1]["odd"]["x"].to_string(), "1e+400");
        assert!(call(&upstream, "any").await.is_ok());
    }
}

#[tokio::test]
async fn faults_on_stdout_cost_one_call_at_most() {
    let (_set, upstream) = up(stdio("s", "plain")).await;
    let (relay, _hears) = caller();
    let held = upstream.call(request("hold", json!({})), relay.clone());
    tokio::pin!(held);
    let faults = async {
        let result = call(&upstream, "garbage").await.unwrap();
        assert_eq!(result["unknown"]["big"], 1);
        assert!(matches!(call(&upstream, "broken").await, Err(UpstreamError::Malformed(_))));
        assert!(matches!(call(&upstream, "big").await, Err(UpstreamError::TooLarge(200_000))));
        assert!(call(&upstream, "any").await.is_ok());
    };
    tokio::select! {
        biased;
        outcome = &mut held => panic!("{outcome:?}"),
        () = faults => {}
    }
}

#[tokio::test]
async fn a_log_message_reaches_the_only_call() {
    let (_set, upstream) = up(stdio("s", "plain")).await;
    let (relay, mut hears) = caller();
    soon(upstream.call(request("log", json!({})), relay)).await.unwrap();
    let (method, params) = hears.recv().await.unwrap();
    assert_eq!((method.as_str(), &params["data"]), ("notifications/message", &json!("hello")));
}

/// Where several agents share a connection, what has no name on it may be about a call that is over: nobody gets it.
#[tokio::test]
async fn a_log_message_reaches_no_other_agent() {
    let (_set, upstream) = up(stdio("s", "plain")).await;
    soon(upstream.call(request("any", json!({})), caller().0)).await.unwrap();
    let (relay, mut hears) = caller();
    let mut of_another = request("log", json!({}));
    of_another.caller.agent = "b".into();
    soon(upstream.call(of_another, relay)).await.unwrap();
    // The message comes before the answer on the one stream.
    assert!(hears.try_recv().is_err());
}

#[tokio::test]
async fn a_death_fails_its_calls_loses_only_its_own_tools_and_they_come_back() {
    let set = UpstreamSet::start([stdio("s", "plain"), stdio("t", "plain")], deps().0);
    let (dying, other) = (set.get(&name("s")).unwrap(), set.get(&name("t")).unwrap());
    soon(set.settled()).await;
    let mut states = dying.state();
    let before = states.borrow_and_update().generation;
    let held = dying.call(request("hold", json!({})), caller().0);
    let death = dying.call(request("die-saying", json!({})), caller().0);
    let (held, death) = soon(async { tokio::join!(held, death) }).await;
    for lost in [held, death] {
        match lost {
            // What it said last may be about anybody: it is not for the caller.
            Err(UpstreamError::Lost(reason)) => {
                assert!(
                    reason.contains("the process ended") && !reason.contains("the reason is"),
                    "{reason}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    let state = until(&dying, |s| s.health == Health::Up && s.generation > before + 1).await;
    assert_eq!(tools(&state), ["one", "two"]);
    assert_eq!(other.state().borrow().generation, 1, "the other one was not touched");
    assert!(call(&dying, "any").await.is_ok());
}

/// Who runs it learns what it said last, masked; a caller learns that it is down.
#[tokio::test]
async fn last_words_are_for_those_who_run_it() {
    let mut config = stdio("s", "plain");
    config.transport = UpstreamTransport::Stdio {
        command: ["sh", "-c", "echo the reason is secret-word >&2"].map(str::to_owned).to_vec(),
        env: Default::default(),
        cwd: "/".into(),
    };
    let set = UpstreamSet::start([config], deps().0);
    let upstream = set.get(&name("s")).unwrap();
    soon(set.settled()).await;
    // The reason is ours: it goes to the log, alerts and records.
    let said = |s: &Arc<UpstreamState>| match &s.health {
        Health::Down { cause, .. } => {
            cause.said.contains("the reason is [redacted]") && cause.reason.starts_with("the process ended")
        }
        Health::Starting | Health::Up => false,
    };
    until(&upstream, said).await;
    let error = call(&upstream, "any").await.unwrap_err().to_string();
    assert!(error.contains("is down") && !error.contains("reason"), "{error}");
}

/// A program that greets people on standard output is no server; that is the cause, and not that it was late.
#[tokio::test]
async fn what_is_no_message_is_the_cause() {
    let mut config = stdio("s", "plain");
    config.transport = UpstreamTransport::Stdio {
        command: ["sh", "-c", "echo Welcome; exec cat >/dev/null"].map(str::to_owned).to_vec(),
        env: Default::default(),
        cwd: "/".into(),
    };
    let (mut deps, _) = deps();
    deps.timing.handshake = Duration::from_millis(500);
    let set = UpstreamSet::start([config], deps);
    let upstream = set.get(&name("s")).unwrap();
    let because = |s: &Arc<UpstreamState>| match &s.health {
        Health::Down { cause, .. } => {
            cause.reason.contains("writes on standard output what is no message of MCP (not JSON")
                // Here that is the test runner's own.
                && cause.said.starts_with("the first such line: `")
        }
        Health::Starting | Health::Up => false,
    };
    until(&upstream, because).await;
}

/// An upstream that asks and does not take the answers is given up before it fills the memory; it comes back.
#[tokio::test]
async fn a_flood_of_questions_ends_the_connection() {
    let (_set, upstream) = up(stdio("s", "plain")).await;
    let error = call(&upstream, "flood").await.unwrap_err();
    assert!(matches!(error, UpstreamError::Lost(_)), "{error:?}");
    until(&upstream, |s| s.health == Health::Up && s.generation > 1).await;
    assert!(call(&upstream, "any").await.is_ok());
}

/// Questions about one call are bounded, and so are their ids.
#[tokio::test]
async fn odd_and_many_questions_are_refused() {
    let (_set, upstream) = up(stdio("s", "plain")).await;
    let (relay, mut hears) = caller();
    soon(upstream.call(request("long-id", json!({})), relay)).await.unwrap();
    assert!(hears.try_recv().is_err());
    let told = call(&upstream, "told").await.unwrap().to_string();
    assert!(!told.contains("qqq"), "{told}");

    // Nobody answers any of these.
    let (told, mut hears) = mpsc::unbounded_channel();
    let silent = Arc::new(Silent(told));
    let waiting = upstream.call(request("questions", json!({})), silent);
    let first = soon(waiting).await.unwrap();
    assert!(first["error"]["message"].as_str().unwrap().contains("are open"), "{first}");
    let mut heard = 0;
    while hears.try_recv().is_ok() {
        heard += 1;
    }
    assert_eq!(heard, 32);
}

/// Is asked, and never answers.
struct Silent(mpsc::UnboundedSender<()>);

impl CallRelay for Silent {
    fn notify(&self, _: &str, _: Value) {}
    fn ask(&self, _: String, _: Value) -> BoxFuture<'static, Result<Value, RpcError>> {
        self.0.send(()).ok();
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn only_safe_calls_are_made_again() {
    let (_set, upstream) = up(stdio("s", "plain")).await;
    assert!(matches!(call(&upstream, "die").await, Err(UpstreamError::Lost(_))));
    until(&upstream, |s| s.health == Health::Up && s.generation > 1).await;
    let mut safe = request("die", json!({}));
    safe.retry = RetryPlan::Safe;
    // The second attempt finds the child dead or kills the next one.
    let error = soon(upstream.call(safe, caller().0)).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Lost(_) | UpstreamError::NotSent(_)), "{error:?}");
}

#[tokio::test]
async fn a_slow_start_delays_no_other() {
    let mut slow = stdio("slow", "plain");
    slow.transport = UpstreamTransport::Stdio {
        command: ["sh", "-c", "read never; read comes; cat >/dev/null"].map(str::to_owned).to_vec(),
        env: Default::default(),
        cwd: "/".into(),
    };
    let set = UpstreamSet::start([slow, stdio("quick", "plain")], deps().0);
    let quick = set.get(&name("quick")).unwrap();
    until(&quick, |s| s.health == Health::Up).await;
    assert_eq!(set.get(&name("slow")).unwrap().state().borrow().health, Health::Starting);
    let error = call(&set.get(&name("slow")).unwrap(), "any").await.unwrap_err();
    assert!(matches!(error, UpstreamError::NotSent(_)), "{error:?}");
}

#[tokio::test]
async fn waiting_for_a_slot_has_its_own_limit_and_sends_nothing() {
    let mut config = stdio("s", "plain");
    config.max_concurrency = 1;
    let (mut deps, _) = deps();
    deps.timing.slot_wait = Duration::from_millis(50);
    let set = UpstreamSet::start([config], deps);
    soon(set.settled()).await;
    let upstream = set.get(&name("s")).unwrap();
    let held = upstream.call(request("hold", json!({})), caller().0);
    let second = upstream.call(request("any", json!({})), caller().0);
    tokio::pin!(held);
    tokio::select! {
        biased;
        outcome = &mut held => panic!("{outcome:?}"),
        outcome = soon(second) => {
            assert!(matches!(&outcome, Err(UpstreamError::NotSent(why)) if why.contains("is busy: no slot within 50ms")), "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn children_get_a_short_environment() {
    let mut config = stdio("f", "rmcp-legacy");
    if let UpstreamTransport::Stdio { env, .. } = &mut config.transport {
        env.insert("TOLLGATE_KEY".to_owned(), "k".to_owned().into());
    }
    let (_set, upstream) = up(config).await;
    let result = call(&upstream, "env").await.unwrap();
    let names: Vec<String> = serde_json::from_str(text(&result)).unwrap();
    let allowed =
        |n: &str| ["PATH", "HOME", "USER", "LANG", "TMPDIR", ROLE].contains(&n) || n.starts_with("LC_");
    assert!(names.iter().all(|n| allowed(n)) && names.contains(&"PATH".to_owned()), "{names:?}");
}

#[tokio::test]
async fn isolation_gives_each_session_its_own_child() {
    let mut config = stdio("s", "plain");
    config.isolation = Isolation::Session;
    let (_set, upstream) = up(config).await;
    let of = async |session: &str| {
        let mut spawn = request("spawn", json!({}));
        spawn.caller.session = session.into();
        let result = soon(upstream.call(spawn, caller().0)).await.unwrap();
        result["own"].as_u64().unwrap()
    };
    let (one, two, again) = (of("1").await, of("2").await, of("1").await);
    assert_ne!(one, two);
    assert_eq!(one, again);
}

#[tokio::test]
async fn isolation_gives_each_agent_its_own_child() {
    for isolation in [Isolation::Agent, Isolation::Shared] {
        let mut config = stdio("s", "plain");
        config.isolation = isolation;
        let (_set, upstream) = up(config).await;
        let of = async |agent: &str, session: &str| {
            let mut spawn = request("spawn", json!({}));
            spawn.caller.agent = agent.into();
            spawn.caller.session = session.into();
            let result = soon(upstream.call(spawn, caller().0)).await.unwrap();
            result["own"].as_u64().unwrap()
        };
        let (ada, again, bob) = (of("ada", "1").await, of("ada", "2").await, of("bob", "1").await);
        assert_eq!(ada, again, "sessions of one agent share");
        assert_eq!(ada == bob, isolation == Isolation::Shared, "{isolation:?}");
    }
}

/// Waits for the successors, and gives the set in which they have taken their places.
async fn promoted(set: &UpstreamSet) -> (UpstreamSet, Retired) {
    let mut changes = set.changes();
    soon(async {
        loop {
            changes.borrow_and_update();
            if let Some(promoted) = set.promoted() {
                return promoted;
            }
            changes.changed().await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_reload_keeps_what_did_not_change() {
    let set = UpstreamSet::start(
        [stdio("same", "plain"), stdio("changed", "plain"), stdio("gone", "plain")],
        deps().0,
    );
    soon(set.settled()).await;
    let same = set.get(&name("same")).unwrap();
    let before = set.get(&name("changed")).unwrap();
    let gone = set.get(&name("gone")).unwrap();
    let mut pinned = stdio("same", "plain");
    pinned.labels = vec!["new".into()];
    let mut changed = stdio("changed", "plain");
    changed.timeout = Duration::from_secs(1);
    let (next, retired) = set.reconfigured([pinned, changed.clone(), stdio("new", "plain")]);
    drop(set);
    // A call on a server that is retired ends as it would have.
    let held = gone.call(request("any", json!({})), caller().0);
    retired.end_after(Duration::from_secs(5));
    assert!(soon(held).await.is_ok());
    assert!(next.get(&name("gone")).is_none());
    assert!(Arc::ptr_eq(&same, &next.get(&name("same")).unwrap()));
    // It is the same upstream, only treated in another way: it serves until its successor has listed.
    assert!(Arc::ptr_eq(&before, &next.get(&name("changed")).unwrap()));
    let (again, none) = next.reconfigured([stdio("same", "plain"), changed, stdio("new", "plain")]);
    assert!(none.is_empty(), "the successor that waits already is the one that is wanted");
    let (next, retired) = promoted(&again).await;
    retired.end_after(Duration::from_secs(5));
    soon(next.settled()).await;
    assert_eq!(next.states().len(), 3);
    for state in next.states() {
        assert_eq!(state.borrow().health, Health::Up, "{state:?}");
    }
    let after = next.get(&name("changed")).unwrap();
    assert!(!Arc::ptr_eq(&before, &after));
    assert!(after.state().borrow().generation > 1);
    for gone in [&gone, &before] {
        until(gone, |s| matches!(&s.health, Health::Down { cause, .. } if cause.reason == "shut down")).await;
        assert!(matches!(call(gone, "any").await, Err(UpstreamError::NotSent(_))));
    }
}

/// Another command under a known name is another upstream: what is decided for it never reaches the old one.
#[tokio::test]
async fn another_upstream_under_a_known_name_replaces_it_at_once() {
    let set = UpstreamSet::start([stdio("s", "plain")], deps().0);
    soon(set.settled()).await;
    let before = set.get(&name("s")).unwrap();
    let mut other = stdio("s", "plain");
    if let UpstreamTransport::Stdio { command, .. } = &mut other.transport {
        command.push("--test-threads=1".to_owned());
    }
    let (next, retired) = set.reconfigured([other]);
    assert!(!retired.is_empty());
    let after = next.get(&name("s")).unwrap();
    assert!(!Arc::ptr_eq(&before, &after));
    assert_eq!(after.state().borrow().health, Health::Starting);
    assert!(next.promoted().is_none());
    // One that is changed back before it has listed leaves nothing behind.
    let (back, other) = next.reconfigured([stdio("s", "plain")]);
    drop((set, next, retired));
    drop(other);
    until(&after, |s| matches!(&s.health, Health::Down { .. })).await;
    soon(back.settled()).await;
    assert_eq!(back.get(&name("s")).unwrap().state().borrow().health, Health::Up);
}

#[tokio::test]
async fn our_own_metadata_never_mixes_with_the_callers() {
    let (_set, upstream) = up(stdio("s", "plain")).await;
    let mut meta = request("meta", json!({}));
    Arc::make_mut(&mut meta.params)
        .insert("_meta".to_owned(), json!({ "x/y": 1, "progressToken": "theirs", "traceparent": "theirs" }));
    let params = soon(upstream.call(meta, caller().0)).await.unwrap();
    assert_eq!(params["_meta"]["x/y"], 1);
    assert!(params["_meta"].get("progressToken").is_none());
    let traceparent = params["_meta"]["traceparent"].as_str().unwrap();
    assert!(traceparent.starts_with("00-07070707070707070707070707070707-"), "{traceparent}");
}

/// The gateway process of [`nothing_outlives_a_killed_gateway`]: starts a child with a child and says who they are.
pub(crate) fn gateway() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let (_set, upstream) = up(stdio("s", "stubborn")).await;
        let family = call(&upstream, "spawn").await.unwrap();
        println!("\nfamily {family}");
        std::io::stdout().flush().unwrap();
        std::future::pending::<()>().await;
    });
}

fn alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie is nobody any more.
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

#[tokio::test]
async fn nothing_outlives_a_killed_gateway() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let mut gateway = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["gateway_entry", "--exact", "--nocapture"])
        .env(GATEWAY, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(gateway.stdout.take().unwrap()).lines();
    let family: Value = loop {
        let line = soon(lines.next_line()).await.unwrap().expect("the gateway ended early");
        if let Some(family) = line.strip_prefix("family ") {
            break serde_json::from_str(family).unwrap();
        }
    };
    let members = ["own", "grandchild", "stray"].map(|who| family[who].as_u64().unwrap());
    assert!(members.iter().all(|pid| alive(*pid)), "{family}");
    // SIGKILL.
    gateway.kill().await.unwrap();
    // Processes that are nobody's children here can only be looked at.
    soon(async {
        while members.iter().any(|pid| alive(*pid)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
