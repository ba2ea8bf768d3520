//! What was spent, what would hold it back, how true estimates are, and what lists of tools cost: on the command line and
//! over the API.

use crate::harness::*;
use serde_json::{Value, json};
use std::{path::Path, process::Stdio, sync::Arc, time::Duration};
use tollgate::clock::Fake;

/// Around the times of these tests.
const SPAN: [&str; 4] = ["--since", "2026-10-01Z", "--until", "2027-01-01Z"];

async fn run(world: &World, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("--config")
        .arg(world.dir.join("servers.toml"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[track_caller]
fn parsed((code, out, err): (Option<i32>, String, String)) -> Value {
    assert_eq!(code, Some(0), "{out}\n{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}\n{err}"))
}

fn lines(report: &Value, kind: &str) -> Vec<(Option<String>, u64)> {
    let all = report[kind].as_array().unwrap_or_else(|| panic!("{kind}: {report:#}"));
    all.iter().map(|one| (one[kind].as_str().map(str::to_owned), one["calls"].as_u64().unwrap())).collect()
}

/// A quiet half hour of one agent, a minute in which it spends ten times as much, and a little of another one.
async fn burst() -> (World, Arc<Fake>) {
    let clock = Fake::at("2026-11-01T12:00:00Z".parse().unwrap());
    let world = World::start(Setup { clock: Some(clock.clone()), ..Setup::default() }).await;
    let ada = world.bare("ada");
    for minute in 0..30 {
        ada.call("up__pay", json!({"bill": format!("bill {minute}")})).await.ok();
        clock.advance(Duration::from_secs(60));
    }
    for n in 0..10 {
        ada.call("up__pay", json!({"rush": n})).await.ok();
    }
    world.bare("bot").call("up__echo", json!({"n": 1})).await.ok();
    world.until_settled(41).await;
    clock.advance(Duration::from_secs(60));
    (world, clock)
}

/// R37, R40: who spent what; a throttle for the workflows that cost most, as a file that `check` takes and whose effect
/// `policy simulate` tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spend_is_reported_and_a_throttle_proposed_that_can_be_simulated() {
    let (world, _) = burst().await;
    let report = parsed(run(&world, &[&["report", "spend", "--json"], &SPAN[..]].concat()).await);
    assert_eq!(report["calls"], 41, "{report:#}");
    assert_eq!(lines(&report, "agent"), [(Some("ada".into()), 40), (Some("bot".into()), 1)]);
    assert_eq!(lines(&report, "workflow"), [(Some("wf-1".into()), 40), (Some("wf-2".into()), 1)]);
    assert_eq!(lines(&report, "tool"), [(Some("up__pay".into()), 40), (Some("up__echo".into()), 1)]);
    assert_eq!(lines(&report, "user"), [(Some("alice".into()), 41)]);
    assert_eq!(lines(&report, "model"), [(Some("gpt-4o".into()), 41)]);
    assert_eq!(lines(&report, "day"), [(Some("2026-11-01".into()), 41)]);
    assert!(report["cost_usd"].as_f64().unwrap() > 10.0, "{report:#}");
    let first = &report["throttles"][0];
    assert_eq!(
        (first["workflow"].as_str(), first["minutes_above"].as_u64()),
        (Some("wf-1"), Some(1)),
        "{first:#}"
    );
    assert_eq!(report["throttles"].as_array().unwrap().len(), 2);

    // What the page shows is the same.
    let (status, told) = world.api("bob", "report/spend?since=2026-10-01", None).await;
    assert_eq!(status, 200, "{told:#}");
    for kind in ["agent", "workflow", "tool", "throttles", "proposal", "estimates"] {
        assert_eq!(told[kind], report[kind], "{kind}");
    }
    assert_eq!((told["partial"].as_bool(), told["catalog"].as_array().map(Vec::len)), (Some(false), Some(5)));
    assert_eq!(world.api("bob", "report/spend?since=soon", None).await.0, 400);

    // A bundle of its own with the throttles in it.
    let folder = world.dir.join("throttled");
    let propose = [&["report", "spend", "--propose", folder.to_str().unwrap()], &SPAN[..]].concat();
    let (code, out, err) = run(&world, &propose).await;
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(out.contains("spend-throttles.yaml") && folder.join("authority.yaml").exists(), "{out}");
    let simulate = ["policy", "simulate", "--bundle", folder.to_str().unwrap(), "--since", SPAN[1], "--json"];
    let simulated = parsed(run(&world, &simulate).await);
    let flips = simulated["flips"].as_array().unwrap();
    assert_eq!(flips.len(), 1, "{simulated:#}");
    let flip = &flips[0];
    assert_eq!((flip["from"].as_str(), flip["to"].as_str()), (Some("allow"), Some("throttle")), "{flip:#}");
    assert_eq!(
        (flip["policy_id"].as_str(), flip["calls"].as_u64()),
        (Some("spend-throttle-wf-1"), Some(9)),
        "{flip:#}"
    );

    // The same as one file of the bundle that is there: nothing is wrong with it, and it is not written twice.
    let policies = world.dir.join("policies");
    let propose = [&["report", "spend", "--propose", policies.to_str().unwrap()], &SPAN[..]].concat();
    assert_eq!(run(&world, &propose).await.0, Some(0));
    let (code, out, err) = run(&world, &["check"]).await;
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(!format!("{out}{err}").contains("spend-throttles"), "{out}\n{err}");
    std::fs::create_dir_all(policies.join("tests")).unwrap();
    let fixture = "tests:\n  - { name: pays, call: { agent: ada, tool: up__pay, arguments: { bill: x } }, expect: { decision: ALLOW } }\n";
    std::fs::write(policies.join("tests/pays.yaml"), fixture).unwrap();
    let (code, out, err) = run(&world, &["policy", "test"]).await;
    assert_eq!(code, Some(0), "{out}\n{err}");
    let (code, _, err) = run(&world, &propose).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains("spend-throttles.yaml` is there already, and was not changed: --force replaces it"),
        "{err}"
    );
    // What somebody made of it since goes only where that is said.
    let written = policies.join("spend-throttles.yaml");
    let proposed = std::fs::read_to_string(&written).unwrap();
    std::fs::write(&written, format!("{proposed}# mine\n")).unwrap();
    assert_eq!(run(&world, &propose).await.0, Some(1));
    assert!(std::fs::read_to_string(&written).unwrap().ends_with("# mine\n"));
    assert_eq!(run(&world, &[&propose[..], &["--force"]].concat()).await.0, Some(0));
    assert_eq!(std::fs::read_to_string(&written).unwrap(), proposed);
    // A time that ends before it begins is no empty report.
    for command in [&["report", "spend"][..], &["audit", "query"], &["audit", "export"]] {
        let turned = [command, &["--since", "2026-11-02Z", "--until", "2026-11-01Z"]].concat();
        let (code, out, err) = run(&world, &turned).await;
        assert_eq!((code, out.as_str()), (Some(1), ""), "{command:?}: {err}");
        assert!(err.contains("is before `since`"), "{command:?}: {err}");
    }
    let page = run(&world, &[&["report", "spend"], &SPAN[..]].concat()).await.1;
    for part in ["41 calls", "PROPOSED CAP", "how far estimates", "--- spend-throttles.yaml"] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

/// A folder with other things in it is not written into.
#[tokio::test]
async fn a_proposal_changes_nothing_that_is_there() {
    let (world, _) = burst().await;
    let taken: &Path = &world.dir.join("mine");
    std::fs::create_dir(taken).unwrap();
    std::fs::write(taken.join("thesis.txt"), "years of work").unwrap();
    let propose = [&["report", "spend", "--propose", taken.to_str().unwrap()], &SPAN[..]].concat();
    let (code, _, err) = run(&world, &propose).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("name a new one"), "{err}");
    assert_eq!(std::fs::read_dir(taken).unwrap().count(), 1);
}

/// Words by the hundred, as many tokens.
fn words(count: u64) -> String {
    "word ".repeat(usize::try_from(count).unwrap())
}

/// R35, R37: over traffic that was recorded through the gateway, of tools whose results follow from what they are asked for,
/// with what scatters and with outliers, half of the estimates are off by less than 15 %.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn estimates_learn_what_results_take() {
    let world = World::of("").await;
    world.up.script(|seen| {
        if seen.method() != "tools/call" {
            return None;
        }
        let arguments = seen.arguments();
        let n = arguments["n"].as_u64().unwrap_or(0);
        let text = match seen.tool() {
            // Files of some sizes, and now and then a huge one.
            "read" if n % 41 == 40 => words(9_000),
            "read" => words(380 + n * 7 % 60),
            // As long as what was asked for.
            "echo" => arguments["text"].as_str().unwrap_or_default().to_owned(),
            "write" => format!("wrote {n} bytes, revision {}", n % 9),
            _ => words(40 + n % 5),
        };
        Some(answer(json_reply(seen, &text_result(&text))))
    });
    let (ada, bot) = (world.bare("ada"), world.bare("bot"));
    let mut calls = 0;
    for n in 0..60u64 {
        let client = if n % 3 == 0 { &bot } else { &ada };
        client.call("up__read", json!({"path": format!("/file-{n}"), "n": n})).await.ok();
        client.call("up__echo", json!({"text": words(20 + (n * 37) % 300)})).await.ok();
        client.call("up__write", json!({"path": "/out", "n": n, "text": words(n % 90)})).await.ok();
        client.call("up__pay", json!({"n": n})).await.ok();
        calls += 4;
        world.until_settled(calls).await;
    }
    let (status, report) = world.api("bob", "report/spend?since=1d", None).await;
    assert_eq!(status, 200, "{report:#}");
    let all = &report["estimates"][0];
    assert_eq!((all.get("tool"), all["calls"].as_u64()), (None, Some(240)), "{all:#}");
    assert!(all["median"].as_f64().unwrap() < 0.15, "{:#}", report["estimates"]);
    // Another process has learned the same, and one that starts later too.
    let other = world.second().await;
    let there = Client::modern(&world.http, &other.mcp, "eve", json!({}));
    there.call("up__pay", json!({"n": 1_000})).await.ok();
    let settled = other.until_settled(calls + 1).await;
    let detail = settled.last().unwrap().draft.detail.clone().unwrap();
    let (expected, took) =
        (detail["expected_tokens"].as_u64().unwrap(), detail["result_tokens"].as_u64().unwrap());
    assert!(expected.abs_diff(took) * 100 <= took * 15, "{detail:#}");
}

/// The list of tools under a cap: what goes follows the agent's capabilities and names, is told, and can be called.
#[tokio::test]
async fn a_list_of_tools_has_its_price_and_a_cap() {
    let capped = authority()
        .replacen("agents:\n", "  first: { tools: [\"up__write\", \"up__pay\"] }\nagents:\n", 1)
        .replacen(
            "model: gpt-4o, capabilities: [all]",
            "model: gpt-4o, max_catalog_tokens: 100, capabilities: [first, all]",
            1,
        );
    let world = World::of(&format!("=== authority.yaml\n{capped}")).await;
    let (ada, eve) = (world.modern("ada"), world.modern("eve"));
    assert_eq!(eve.tools().await.len(), 6);
    let listed = ada.tools().await;
    assert!(listed.contains(&"up__write".to_owned()) && listed.contains(&"up__pay".to_owned()), "{listed:?}");
    assert!(listed.len() < 6, "{listed:?}");
    // What is not listed can be called all the same.
    ada.call("up__read", json!({"path": "/a"})).await.ok();
    let (_, report) = world.api("bob", "report/spend", None).await;
    let of = |agent: &str| {
        let all = report["catalog"].as_array().unwrap();
        all.iter().find(|one| one["agent"] == agent).unwrap_or_else(|| panic!("{agent}: {all:#?}")).clone()
    };
    let (ada, eve) = (of("ada"), of("eve"));
    assert_eq!((ada["tools"].as_u64(), ada["max_tokens"].as_u64()), (Some(6), Some(100)), "{ada:#}");
    assert!(ada["tokens"].as_u64().unwrap() <= 100 && ada["full_tokens"] == eve["full_tokens"], "{ada:#}");
    assert_eq!(ada["left_out"].as_array().unwrap().len(), 6 - listed.len(), "{ada:#}");
    assert_eq!((eve["tokens"].clone(), eve["left_out"].clone()), (eve["full_tokens"].clone(), json!([])));
    assert!(eve["cost_usd"].as_f64().unwrap() > 0.0, "{eve:#}");
}

/// What `catalog = "search"` saved is told for each finished task, both ways.
#[tokio::test]
async fn searching_for_tools_is_accounted_for_by_task() {
    let clock = Fake::at("2026-11-01T12:00:00Z".parse().unwrap());
    let gateway = "approval_wait = \"200ms\"\ncatalog = \"search\"".to_owned();
    let world = World::start(Setup { gateway, clock: Some(clock.clone()), ..Setup::default() }).await;
    let ada = world.modern("ada");
    // Six small tools: the whole list is cheaper than any search.
    ada.call("tollgate__find_tools", json!({"query": "pay a bill"})).await.ok();
    ada.call("tollgate__call_tool", json!({"name": "up__pay", "arguments": {"bill": 1}})).await.ok();
    world.until_settled(1).await;
    clock.advance(Duration::from_secs(3_600));
    let (_, report) = world.api("bob", "report/spend", None).await;
    let search = &report["search"];
    assert_eq!((search["tasks"].as_u64(), search["dearer"].as_u64()), (Some(1), Some(1)), "{search:#}");
    let task = &search["newest"][0];
    let number = |name: &str| task[name].as_i64().unwrap();
    assert_eq!(
        (number("calls"), number("searches"), task["workflow"].as_str()),
        (1, 1, Some("wf-1")),
        "{task:#}"
    );
    assert_eq!(number("saved_tokens"), number("full_tokens") - number("search_tokens"));
    assert!(number("saved_tokens") < 0 && number("full_tokens") > 0, "{task:#}");
    assert_eq!(report["catalog"][0]["mode"], "search");
}
