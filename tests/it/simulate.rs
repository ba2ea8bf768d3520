//! Recorded traffic under another bundle: what `policy simulate`, `policy diff`, `POST simulate` and `report advice` say of it,
//! on the command line and over the API. Pages that people read are held against golden ones in `diffs/`.

use crate::harness::*;
use serde_json::{Value, json};
use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};
use tollgate::{
    clock::{Clock as _, Fake},
    model::{Event, EventType},
};

const SECRET: &str = "ghp_a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8";

/// Before any time of these tests.
const SINCE: &str = "2026-10-01Z";

const NOW: &str = "=== gates.yaml
name: gates
owner: tests
description: d
on: [{ upstream: up }]
rules:
  - { id: deletes, condition: \"tool.name == 'up__delete'\", decision: DENY }
  - { id: writes, condition: \"tool.name == 'up__write'\", decision: REQUIRE_APPROVAL }
  - { id: clamp, condition: \"tool.name == 'up__echo' && has(args.n) && args.n > 10\", decision: ALLOW_WITH_CONSTRAINTS, constraints: { arguments: { clamp: { /n: { max: 10 } } } } }
=== budgets.yaml
budgets:
  - { id: pays, scope: agent, match: [{ tool: up__pay }], window: day, max_calls: 5, on_exceed: deny }
";

/// Denies echoes above 1, asks about payments, lets deletes through, no longer asks about writes, and halves the budget.
const DRAFT: &str = "=== gates.yaml
# A comment, and another order: no difference.
description: d
owner: tests
name: gates
on: [{ upstream: up }]
rules:
  - { id: small, condition: \"tool.name == 'up__echo' && has(args.n) && args.n > 1\", decision: DENY, reason: echoes are small }
  - { id: prod, condition: \"tool.name == 'up__echo' && has(args.token) && args.token.startsWith('prod')\", decision: DENY }
  - { id: clamp, condition: \"tool.name == 'up__echo' && has(args.n) && args.n > 10\", decision: ALLOW_WITH_CONSTRAINTS, constraints: { arguments: { clamp: { /n: { max: 5 } } } } }
=== reads.yaml
name: reads
owner: tests
description: d
on: [{ tool: up__read }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL }]
=== budgets.yaml
budgets:
  - { id: pays, scope: agent, match: [{ tool: up__pay }], window: day, max_calls: 2, on_exceed: deny }
";

/// A bundle in a folder of its own beside the world's.
fn folder(world: &World, name: &str, files: &str) -> PathBuf {
    let root = world.dir.join(name);
    std::fs::create_dir_all(&root).unwrap();
    rewrite(&root, files);
    root.join("policies")
}

/// Traffic of every kind, at a time that does not pass: twelve calls by two agents.
async fn traffic(files: &str) -> World {
    let clock = Fake::at("2026-11-01T12:00:00Z".parse().unwrap());
    let world =
        World::start(Setup { files: files.to_owned(), clock: Some(clock.clone()), ..Setup::default() }).await;
    let ada = world.bare("ada");
    for n in [1, 2, 30] {
        ada.call("up__echo", json!({"n": n})).await.ok();
    }
    ada.call("up__echo", json!({"token": SECRET})).await.ok();
    ada.call("up__read", json!({"path": "/a"})).await.ok();
    assert_eq!(ada.call("up__delete", json!({"path": "/a"})).await.word(), "deny");
    for n in 1..=3 {
        ada.call("up__pay", json!({"bill": n})).await.ok();
    }
    let id = pending(&ada.call("up__write", json!({"path": "/a"})).await);
    assert_eq!(world.decide("carol", &id, "approve").await, 200);
    ada.call("up__write", json!({"path": "/a"})).await.ok();
    world.bare("bot").call("up__read", json!({"path": "/b"})).await.ok();
    ada.call("up__none", json!({})).await;
    world.until_settled(10).await;
    clock.advance(Duration::from_secs(60));
    world
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }
}

async fn run(world: &World, arguments: &[&str]) -> Ran {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("--config")
        .arg(world.dir.join("servers.toml"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// From, to, agent, tool, policy, calls.
fn flips(report: &Value) -> Vec<[String; 6]> {
    let mut flips: Vec<[String; 6]> = report["flips"]
        .as_array()
        .unwrap()
        .iter()
        .map(|flip| {
            ["from", "to", "agent", "tool", "policy_id", "calls"].map(|name| match &flip[name] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            })
        })
        .collect();
    flips.sort();
    flips
}

fn expected() -> Vec<[String; 6]> {
    [
        ["allow", "deny", "ada", "up__echo", "gates", "1"],
        ["allow", "deny", "ada", "up__pay", "pays", "1"],
        ["allow", "pending_approval", "ada", "up__read", "reads", "1"],
        ["allow", "pending_approval", "bot", "up__read", "reads", "1"],
        ["allow_with_constraints", "deny", "ada", "up__echo", "gates", "1"],
        ["deny", "allow", "ada", "up__delete", "default", "1"],
        ["pending_approval", "allow", "ada", "up__write", "default", "2"],
    ]
    .map(|row| row.map(str::to_owned))
    .to_vec()
}

/// A page without what differs from run to run: ids by the order in which the page has them, and no estimates.
fn steady(page: &str) -> String {
    let is_hex = |word: &str| word.bytes().all(|b| b.is_ascii_hexdigit()) && [32, 64].contains(&word.len());
    let mut known: Vec<String> = Vec::new();
    let mut out = String::new();
    for line in page.lines() {
        let mut line = line.to_owned();
        let words: Vec<String> = line
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| is_hex(word))
            .map(str::to_owned)
            .collect();
        for word in words {
            let of_kind = |id: &&String| id.len() == word.len();
            if !known.contains(&word) {
                known.push(word.clone());
            }
            let at = known.iter().filter(of_kind).position(|id| *id == word).unwrap() + 1;
            let name = if word.len() == 64 { "SNAPSHOT" } else { "TRACE" };
            line = line.replace(&word, &format!("{name}-{at}"));
        }
        out.push_str(&without_costs(&line));
        out.push('\n');
    }
    out
}

/// Estimates follow results that echo ids of each run: what they cost differs, and how wide its column is.
fn without_costs(line: &str) -> String {
    let is_cost = |word: &&str| word.contains('.') && word.parse::<f64>().is_ok();
    let indent: String = line.chars().take_while(|c| *c == ' ').collect();
    let cells = line.trim().split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    let cells: Vec<String> = cells
        .map(|cell| {
            let words = cell.split(' ').map(|word| if is_cost(&word) { "COST" } else { word });
            words.collect::<Vec<_>>().join(" ")
        })
        .collect();
    format!("{indent}{}", cells.join("  "))
}

fn golden(name: &str, page: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("diffs");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, steady(page)));
}

/// R71, R68: calls that would be decided otherwise are counted once each, as first decided, with the counters on record; those
/// that depend on a masked value are told apart; expected denies are listed for review before the bundle is activated.
#[tokio::test]
async fn a_draft_is_simulated_on_recorded_calls() {
    let world = traffic(NOW).await;
    let draft = folder(&world, "draft", DRAFT);
    let draft = draft.to_str().unwrap();
    let ran = run(&world, &["policy", "simulate", "--bundle", draft, "--since", SINCE, "--json"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let report = ran.json();
    assert_eq!(flips(&report), expected(), "{report:#}");
    assert_eq!((&report["judged"], &report["unjudgeable"]), (&json!(11), &json!(1)), "{report:#}");
    assert_eq!(report["unjudgeable_because"], json!({"a masked value may have mattered": 1}));
    assert_eq!((&report["not_by_rules"], &report["changed"]), (&json!(1), &json!(8)));
    assert_eq!(report["expected_denies"], 3);
    assert_eq!(report["approvals"], json!({"before": 2, "after": 2, "added": 2, "no_longer": 2}));
    assert_eq!(report["spend"]["stopped_calls"], 3);
    let example = &report["flips"][0]["examples"][0];
    assert!(example["trace_id"].is_string() && example["reason"].is_string(), "{example}");
    let page = run(&world, &["policy", "simulate", "--bundle", draft, "--since", SINCE]).await;
    golden("simulate", &page.out);
    // Nothing of the record has changed by it.
    let events = world.events().await;
    let is_pin = |event: &&Event| event.draft.policy_id.as_deref() == Some("pin");
    assert!(events.iter().filter(|e| !is_pin(e)).all(|e| e.draft.event_type != EventType::AdminAction));
    // What is in force changes nothing, however often it is asked, and what came before `since` is not looked at.
    let same = world.dir.join("policies");
    let same =
        run(&world, &["policy", "simulate", "--bundle", same.to_str().unwrap(), "--since", SINCE]).await;
    assert!(same.out.contains("no call is decided otherwise"), "{}", same.out);
    let none =
        run(&world, &["policy", "simulate", "--bundle", draft, "--since", "1s", "--json"]).await.json();
    assert_eq!((&none["judged"], &none["flips"]), (&json!(0), &json!([])));
}

/// R68: a draft with errors names all of them as `check` does, and nothing is simulated.
#[tokio::test]
async fn a_draft_with_errors_is_not_simulated() {
    let world = World::of(NOW).await;
    let wrong = folder(
        &world,
        "wrong",
        "=== gate.yaml\nname: gate\nrules:\n  - { condition: \"args.x = 1\", decision: DENY }\n  - { decision: PERHAPS }\n",
    );
    let ran = run(&world, &["policy", "simulate", "--bundle", wrong.to_str().unwrap()]).await;
    assert_eq!((ran.code, &*ran.out), (Some(1), ""));
    let place = wrong.join("gate.yaml").display().to_string();
    let told: Vec<&str> = ran.err.lines().filter(|line| line.starts_with(&place)).collect();
    assert!(told.iter().filter(|line| line.contains("error")).count() >= 2, "{}", ran.err);
    for (bundle, hint) in [("nowhere", "name a folder"), ("abcdef0123", "name a folder")] {
        let ran = run(&world, &["policy", "simulate", "--bundle", bundle]).await;
        assert_eq!(ran.code, Some(1));
        assert!(ran.err.contains(hint) && ran.err.contains(bundle), "{}", ran.err);
    }
}

/// R68: what differs between two bundles in meaning, for calls that were made, and for agents and tools.
#[tokio::test]
async fn two_bundles_are_compared() {
    let world = traffic(NOW).await;
    let authority = authority().replace(
        "reading: { tools: [\"up__read\", \"crm__*\"]",
        "reading: { tools: [\"up__r*\", \"up__echo\"]",
    );
    let draft = folder(&world, "draft", &format!("{DRAFT}=== authority.yaml\n{authority}"));
    let draft = draft.to_str().unwrap();
    let ran = run(&world, &["policy", "diff", "active", draft, "--since", SINCE, "--json"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let told = ran.json();
    assert_eq!(flips(&told), expected(), "{told:#}");
    let changes: Vec<(&str, &str, &str)> = told["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| {
            let text = |name: &str| part[name].as_str().unwrap();
            (text("change"), text("kind"), text("name"))
        })
        .collect();
    assert_eq!(
        changes,
        [
            ("changed", "budget", "pays"),
            ("changed", "capability", "reading"),
            ("changed", "policy", "gates"),
            ("added", "policy", "reads"),
        ]
    );
    let cell = |agent: &str, tool: &str| {
        let cells = told["cells"].as_array().unwrap().iter();
        let found = cells.clone().find(|cell| cell["agent"] == agent && cell["tool"] == tool);
        found.map(|cell| (cell["from"].as_str().unwrap(), cell["to"].as_str().unwrap()))
    };
    assert_eq!(cell("ada", "up__delete"), Some(("deny", "allow")));
    assert_eq!(cell("ada", "up__write"), Some(("pending_approval", "allow")));
    assert_eq!(cell("ada", "up__pay"), None);
    assert_eq!(cell("narrow", "up__echo").map(|(from, _)| from), Some("out of scope"));
    assert!(cell("narrow", "up__echo").unwrap().1.starts_with("depends on arguments"), "{told:#}");
    let page = run(&world, &["policy", "diff", "active", draft, "--since", SINCE]).await;
    golden("diff", &page.out);
    // The other way round, by snapshot.
    let snapshot = told["from"].as_str().unwrap();
    let back =
        run(&world, &["policy", "diff", draft, &snapshot[..8], "--since", SINCE, "--json"]).await.json();
    assert_eq!(back["changed"], told["changed"]);
    let same = run(&world, &["policy", "diff", "active", snapshot, "--since", SINCE]).await;
    assert!(same.out.contains("both say the same") && same.out.contains("no call is decided otherwise"));
}

/// R71: the API simulates for admins alone, a bundle as files or one that is kept, and says what is wrong with one.
#[tokio::test]
async fn the_api_simulates_for_admins() {
    let world = traffic(NOW).await;
    let folder = folder(&world, "draft", DRAFT);
    let files: serde_json::Map<String, Value> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, Value::String(std::fs::read_to_string(path).unwrap()))
        })
        .collect();
    let body = json!({"files": files, "since": SINCE});
    let (status, report) = world.api("dan", "simulate", Some(body.clone())).await;
    assert_eq!((status, flips(&report)), (200, expected()), "{report:#}");
    for (person, expect) in [("alice", 403), ("bob", 403), ("nobody", 401), ("ada", 403)] {
        assert_eq!(world.api(person, "simulate", Some(body.clone())).await.0, expect, "{person}");
    }
    let active = world.gate.gateway.in_force().policies.snapshot.clone();
    let (status, report) =
        world.api("dan", "simulate", Some(json!({"snapshot": active, "since": SINCE}))).await;
    assert_eq!((status, &report["flips"], &report["judged"]), (200, &json!([]), &json!(12)), "{report:#}");
    let wrong = json!({"files": {"bundle.yaml": "version: '1'\n", "gate.yaml": "name: x\nrules: [{ decision: NO }]\n"}});
    let (status, refused) = world.api("dan", "simulate", Some(wrong)).await;
    assert_eq!((status, &refused["error"]["code"]), (422, &json!("invalid_bundle")));
    let said = refused["error"]["message"].as_str().unwrap();
    assert!(said.contains("gate.yaml:2") && said.contains("`authority.yaml` is missing"), "{said}");
    let (status, _) = world.api("dan", "simulate", Some(json!({"snapshot": "none"}))).await;
    assert_eq!(status, 404);
    let (status, _) =
        world.api("dan", "simulate", Some(json!({"files": {"a.yaml": "x".repeat(1 << 20)}}))).await;
    assert_eq!(status, 413);
}

/// Repeats of a refusal are calls: they count as the first of them, which is on record whole.
#[tokio::test]
async fn repeats_on_record_as_a_count_are_calls() {
    let world = World::of(NOW).await;
    let ada = world.bare("ada");
    for _ in 0..4 {
        assert_eq!(ada.call("up__delete", json!({"path": "/a"})).await.word(), "deny");
    }
    // A reload writes the counts.
    world.reload(NOW.replace("max_calls: 5", "max_calls: 6").as_str()).await;
    world.until_event(|event| event.draft.detail.as_ref().is_some_and(|detail| detail["count"] == 3)).await;
    let draft = folder(&world, "draft", DRAFT);
    let report =
        run(&world, &["policy", "simulate", "--bundle", draft.to_str().unwrap(), "--json"]).await.json();
    assert_eq!(flips(&report), [["deny", "allow", "ada", "up__delete", "default", "4"].map(str::to_owned)]);
    assert_eq!((&report["judged"], &report["repeats"]), (&json!(4), &json!(3)));
}

/// An agent, a scope or a workflow that the draft takes away, and metadata that it asks for, count as what they do to calls.
#[tokio::test]
async fn the_authority_map_of_the_draft_counts() {
    let world = traffic(NOW).await;
    let without = authority()
        .lines()
        .filter(|line| !line.trim_start().starts_with("bot:"))
        .map(|line| {
            line.replace("all: { tools: [\"up__*\"]", "all: { tools: [\"up__r*\", \"up__e*\", \"up__p*\"]")
        })
        .collect::<Vec<_>>()
        .join("\n");
    let bundle = "version: \"1\"\nowner: tests\ndefault_decision: ALLOW\ndefault_approvers: [leads]\nrequired: [purpose]\n";
    let draft = folder(&world, "less", &format!("{NOW}=== authority.yaml\n{without}"));
    let report =
        run(&world, &["policy", "simulate", "--bundle", draft.to_str().unwrap(), "--since", SINCE, "--json"])
            .await
            .json();
    let want = [
        ["allow", "deny", "bot", "up__read", "identity", "1"],
        ["pending_approval", "deny", "ada", "up__write", "scope", "2"],
    ];
    assert_eq!(flips(&report), want.map(|row| row.map(str::to_owned)), "{report:#}");
    // What the record does not tell is not guessed.
    let draft = folder(&world, "more", &format!("{NOW}=== bundle.yaml\n{bundle}"));
    let report =
        run(&world, &["policy", "simulate", "--bundle", draft.to_str().unwrap(), "--since", SINCE, "--json"])
            .await
            .json();
    let because = "the bundle requires metadata that the record does not tell";
    assert_eq!((&report["judged"], &report["unjudgeable_because"]), (&json!(0), &json!({because: 12})));
}

/// R72, R40: advice comes in its order, with files that are ready to be tried: they compile beside the bundle, and change what
/// they say.
#[tokio::test]
async fn the_record_advises() {
    let world = traffic(NOW).await;
    let ran = run(&world, &["report", "advice", "--since", SINCE, "--json"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let advice = ran.json();
    let titles: Vec<&str> =
        advice["steps"].as_array().unwrap().iter().map(|step| step["title"].as_str().unwrap()).collect();
    assert_eq!(
        titles,
        [
            "Ask a person before writes",
            "Throttle the workflows that cost most",
            "Classify data and limit rates",
            "Tune alerts to what is usual"
        ]
    );
    assert_eq!(advice["workflows"][0]["workflow"], "wf-1");
    assert_eq!(advice["workflows"].as_array().unwrap().len(), 2);
    let gate = &advice["gates"][0];
    assert_eq!((&gate["policy_id"], &gate["approved"]), (&json!("gates"), &json!(1)));
    assert_eq!(gate["remove"], false, "it has not stood for a month: {gate}");
    let files = advice["files"].as_array().unwrap();
    let mut bundle = NOW.to_owned();
    for file in files {
        bundle += &format!("=== {}\n{}", file["name"].as_str().unwrap(), file["text"].as_str().unwrap());
    }
    let names: Vec<&str> = files.iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["advice-writes.yaml", "advice-throttles.yaml"]);
    let simulate = async |name: &str, files: &str| {
        let draft = folder(&world, name, files);
        let ran = run(
            &world,
            &["policy", "simulate", "--bundle", draft.to_str().unwrap(), "--since", SINCE, "--json"],
        )
        .await;
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran.json()
    };
    // In shadow it changes nothing, and the throttle lets what is usual through.
    assert_eq!(simulate("shadow", &bundle).await["flips"], json!([]));
    let asks = simulate("enforced", &bundle.replace("mode: shadow\n", "")).await;
    assert!(asks["approvals"]["added"].as_u64() > Some(0), "{asks:#}");
    let page = run(&world, &["report", "advice", "--since", SINCE]).await;
    assert!(page.out.contains("1. Ask a person before writes (to do)"), "{}", page.out);
}

/// R72: a gate may go only after a month in which it asked and nobody refused.
#[tokio::test]
async fn a_gate_may_go_after_a_month_without_a_reject() {
    let clock = Fake::at("2026-09-01T12:00:00Z".parse().unwrap());
    let world =
        World::start(Setup { files: NOW.to_owned(), clock: Some(clock.clone()), ..Setup::default() }).await;
    let ask = async |n: u32, answer: &str| {
        let ada = world.bare("ada");
        let id = pending(&ada.call("up__write", json!({"n": n})).await);
        assert_eq!(world.decide("carol", &id, answer).await, 200);
    };
    let day = Duration::from_secs(24 * 3600);
    let advice = async || {
        // What was recorded just now counts too.
        let until = clock.now().checked_add(jiff::SignedDuration::from_secs(1)).unwrap();
        let since = until.checked_sub(jiff::SignedDuration::from_hours(30 * 24)).unwrap();
        let store = &*world.gate.store;
        tollgate::audit::advice_on_recorded(store, since, until, &mut |_| {}).await.unwrap()
    };
    let check = async |remove: bool, why: &str| {
        let advised = advice().await;
        let gate = &advised.gates[0];
        assert_eq!(gate.remove, remove, "{gate:?}");
        assert!(gate.why.contains(why), "{gate:?}");
    };
    ask(1, "reject").await;
    clock.advance(day * 10);
    ask(2, "approve").await;
    check(false, "it was not approved on 2026-09-01").await;
    clock.advance(day * 21);
    ask(3, "approve").await;
    check(true, "a month of asks without a reject, 2 of them approved").await;
    clock.advance(day * 32);
    check(false, "nobody was asked in the last month").await;
    ask(4, "reject").await;
    check(false, "it was not approved on 2026-11-03").await;
}

/// Long work on one core, and a stop: what was looked at until then is told.
#[tokio::test]
async fn a_simulation_that_is_stopped_says_so() {
    use tollgate::{
        audit::{Compare, Pace, Stop, simulate_recorded},
        store::EventQuery,
    };
    let world = traffic(NOW).await;
    let now = world.gate.gateway.in_force().policies.clone();
    let stop = Stop::default();
    stop.stop();
    let simulated = simulate_recorded(
        &*world.gate.store,
        EventQuery::default(),
        Compare::Recorded(Arc::clone(&now)),
        Pace::Beside,
        &stop,
        &mut |_| {},
    )
    .await
    .unwrap();
    assert!(simulated.report.truncated);
    assert!(simulated.report.notes.iter().any(|note| note.contains("the time was over")));
    assert!(simulated.tools.contains_key("up__echo"));
}
