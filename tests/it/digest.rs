//! `report digest`, end to end: a week of traffic with one of each thing that can happen, and the week before, as Markdown, HTML and
//! JSON, held against golden files in `digest/`.

use crate::harness::*;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tollgate::{
    audit::{Digest, DigestFiles, Pace, Stop, digest},
    clock::{Clock as _, Fake},
    model::{Event, EventType, Outcome},
};

const DAY: Duration = Duration::from_secs(86_400);
/// What somebody writes who hopes that a report is read in a browser.
const HOSTILE: &str = "<script>alert('x')</script> | [win](javascript:x) \u{202e}";

const RULES: &str = "\
=== rules.yaml
name: writes
description: d
on: [{ upstream: up }]
rules:
  - { id: ask, condition: \"tool.name == 'up__write'\", decision: REQUIRE_APPROVAL, approvers: [leads] }
  - { id: never, condition: \"tool.name == 'up__delete'\", decision: DENY }
";

async fn world() -> (World, Arc<Fake>) {
    let clock = Fake::at("2026-10-25T12:00:00Z".parse().unwrap());
    let setup = Setup { files: RULES.to_owned(), clock: Some(clock.clone()), ..Setup::default() };
    (World::start(setup).await, clock)
}

/// One call that is dispatched, and settled.
async fn settled(world: &World, agent: &str, tool: &str, arguments: Value) {
    let before = world.gate.until_settled(0).await.len();
    world.bare(agent).call(tool, arguments).await;
    world.until_settled(before + 1).await;
}

/// An ask that somebody answers after a while, and what becomes of the call.
async fn answered(world: &World, clock: &Fake, (n, minutes): (u64, u64), decision: &str) {
    let id = pending(&world.bare("bot").call("up__write", json!({"n": n})).await);
    clock.advance(Duration::from_secs(60 * minutes));
    assert_eq!(world.decide("carol", &id, decision).await, 200);
    if decision == "approve" {
        settled(world, "bot", "up__write", json!({"n": n})).await;
    }
}

async fn a_quiet_week(world: &World, clock: &Fake) {
    for n in 0..4 {
        settled(world, "ada", "up__read", json!({"path": format!("/{n}")})).await;
        clock.advance(DAY);
    }
    answered(world, clock, (100, 1), "approve").await;
    world.bare("ada").call("up__delete", json!({"path": "/before"})).await;
    clock.advance(3 * DAY);
}

async fn an_eventful_week(world: &mut World, clock: &Fake) {
    for n in 0..3 {
        settled(world, "ada", "up__pay", json!({"n": n})).await;
        settled(world, "bot", "up__echo", json!({"n": n})).await;
        clock.advance(Duration::from_secs(3_600));
    }
    // The repeats of a refusal within a minute are one record.
    for n in 0..3 {
        world.bare("bot").call("up__delete", json!({"path": format!("/{n}")})).await;
        clock.advance(Duration::from_secs(2));
    }
    world.bare("narrow").call("up__delete", json!({"path": "/x"})).await;
    clock.advance(DAY);
    answered(world, clock, (1, 2), "approve").await;
    answered(world, clock, (2, 10), "reject").await;
    // Nobody answers this one.
    let late = pending(&world.bare("bot").call("up__write", json!({"n": 3})).await);
    clock.advance(Duration::from_secs(901));
    assert_eq!(world.decide("carol", &late, "approve").await, 409);
    world.until_event(|e| e.draft.event_type == EventType::ApprovalExpired).await;
    clock.advance(DAY);
    let (status, frozen) = world.api("dan", "freeze", Some(json!({"agent": "ada", "reason": HOSTILE}))).await;
    assert_eq!(status, 201);
    world.bare("ada").call("up__read", json!({"path": "/frozen"})).await;
    let url = format!("{}/api/v1/freeze/{}?reason=over", world.gate.admin, frozen["id"].as_str().unwrap());
    assert_eq!(soon(world.http.delete(url).bearer_auth("key-dan").send()).await.unwrap().status(), 200);
    let held = json!({"agent": "bot", "reason": "case 17"});
    assert_eq!(world.api("dan", "holds", Some(held)).await.0, 201);
    clock.advance(DAY);
    world.up.script(|seen| {
        (seen.method() == "tools/call").then(|| answer(error(seen, -32050, "the ledger is closed")))
    });
    settled(world, "ada", "up__pay", json!({"n": 9})).await;
    // The upstream has the call, and never says what became of it.
    world.up.script(|seen| {
        (seen.method() == "tools/call")
            .then(|| answer(axum::response::Response::builder().status(502).body("gone".into()).unwrap()))
    });
    settled(world, "ada", "up__pay", json!({"n": 10})).await;
    assert_eq!(world.last_settled().await.outcome, Some(Outcome::Unknown));
    world.up.results(text_result("fine"));
    // Other policies come into force, and refuse what nobody may do again.
    world.reload(&RULES.replace("approvers: [leads]", "approvers: [security]")).await;
    clock.advance(DAY);
}

async fn made(world: &World, clock: &Fake) -> Digest {
    let until = clock.now();
    let since = until.checked_sub(7 * DAY).unwrap();
    let in_force = world.gate.gateway.in_force();
    let files = DigestFiles { config: &in_force.config, policies: &in_force.policies, tests: 0 };
    let stop = Stop::default();
    let span = (since, until);
    digest(&*world.gate.store, span, files, (Pace::Whole, &stop), &mut |_| {}).await.unwrap()
}

/// Names in place of ids, which differ from run to run.
fn named(mut text: String, events: &[Event]) -> String {
    let mut ids: Vec<(&str, String)> = Vec::new();
    for draft in events.iter().map(|event| &event.draft) {
        let snapshot = draft.policy_snapshot.as_ref().map(|id| id.as_str());
        for (kind, id) in [
            ("TRACE", draft.trace_id.map(|id| id.to_string())),
            ("CALL", draft.call_id.as_ref().map(|id| id.to_string())),
            ("SNAPSHOT", snapshot.map(|id| id.chars().take(12).collect())),
        ] {
            if let Some(id) = id
                && ids.iter().all(|(_, known)| *known != id)
            {
                ids.push((kind, id));
            }
        }
    }
    for kind in ["TRACE", "CALL", "SNAPSHOT"] {
        for (n, (_, id)) in ids.iter().filter(|(of, _)| *of == kind).enumerate() {
            text = text.replace(id, &format!("{kind}-{}", n + 1));
        }
    }
    text
}

/// What is told of a week is what happened in it, in each form; what happened before is held against it and told nowhere else;
/// nothing that the record holds is markup; and the API gives the same.
#[tokio::test]
async fn a_week_as_it_is_told() {
    let (mut world, clock) = world().await;
    world.up.results(text_result("fine"));
    a_quiet_week(&world, &clock).await;
    an_eventful_week(&mut world, &clock).await;
    let digest = made(&world, &clock).await;
    let events = world.events().await;

    let told = json!(digest);
    let refused: Vec<(&str, u64)> = told["refusals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["policy_id"].as_str().unwrap(), one["calls"].as_u64().unwrap()))
        .collect();
    assert!(refused.contains(&("writes", 3)) && refused.contains(&("freeze", 1)), "{refused:?}");
    assert_eq!(told["approvals"]["asked"], 3, "{:#}", told["approvals"]);
    assert_eq!(told["dead_letters"]["open"], 2, "{:#}", told["dead_letters"]);
    let figure = |name: &str| {
        let all = told["scorecard"].as_array().unwrap();
        let one = all.iter().find(|one| one["figure"] == name).unwrap();
        (one["before"].as_f64(), one["now"].as_f64())
    };
    assert_eq!(figure("approvals asked for"), (Some(1.0), Some(3.0)));
    assert_eq!(figure("answered in (half)"), (Some(60_000.0), Some(600_000.0)));

    let (markdown, html) = (digest.markdown(), digest.html());
    for (form, text) in [("markdown", &markdown), ("html", &html)] {
        assert!(!text.contains('\u{202e}'), "{form}: {text}");
    }
    assert!(!html.contains("<script"), "{html}");
    let unescaped = markdown.replace("\\<", "").replace("\\]", "");
    assert!(!unescaped.contains('<') && !unescaped.contains(']'), "{markdown}");
    assert!(
        !html.contains("http://") && !html.contains("https://") && !html.contains(" src="),
        "it loads nothing"
    );
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("digest");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        insta::assert_snapshot!("week_md", named(markdown.clone(), &events));
        insta::assert_snapshot!("week_html", named(html.clone(), &events));
        let told = serde_json::to_string_pretty(&told).unwrap();
        insta::assert_snapshot!("week_json", named(told, &events));
    });

    let get_as = async |key: &str, path: &str| {
        let url = format!("{}/api/v1/report/digest{path}", world.gate.admin);
        let got = soon(world.http.get(url).bearer_auth(key).send()).await.unwrap();
        let kind = got.headers()["content-type"].to_str().unwrap().to_owned();
        (got.status().as_u16(), kind, got.text().await.unwrap())
    };
    let get = async |path: &str| get_as("key-dan", path).await;
    let (status, _, body) = get("").await;
    let mut of_api: Value = serde_json::from_str(&body).unwrap();
    let mut here = told.clone();
    // What was written since the digest was made, and the tests in the folder, are no difference.
    for of in [&mut of_api, &mut here] {
        of.as_object_mut().unwrap().retain(|name, _| name != "maturity" && name != "until");
    }
    assert_eq!((status, of_api), (200, here));
    let (status, kind, body) = get("?format=html").await;
    assert_eq!((status, kind.as_str(), body), (200, "text/html; charset=utf-8", html));
    let (status, kind, body) = get("?format=markdown&since=7d").await;
    assert_eq!((status, kind.as_str(), body), (200, "text/markdown; charset=utf-8", markdown));
    for wrong in ["?format=pdf", "?since=never", "?since=1h&until=2h", "?of=ada"] {
        assert_eq!(get(wrong).await.0, 400, "{wrong}");
    }
    // Who sees no values reads no words of upstreams, and who reads no records counts alone.
    let said = |digest: &Value| {
        let of =
            |part: &Value| part.as_array().unwrap().iter().filter(|one| one["reason"].is_string()).count();
        let letters = &digest["dead_letters"]["newest"];
        (of(&digest["failures"]), of(letters), of(&digest["refusals"]), of(&digest["changes"]))
    };
    let (failures, letters, refusals, changes) = said(&told);
    assert!(failures > 0 && letters > 0 && refusals > 0 && changes > 0, "{told:#}");
    let without_values = json!(digest.clone().without_values());
    assert_eq!(said(&without_values), (0, 0, refusals, changes));
    let (_, _, of_bob) = get_as("key-bob", "").await;
    assert_eq!(said(&serde_json::from_str(&of_bob).unwrap()), (0, 0, refusals, changes));
    let counts = json!(digest.clone().without_records());
    assert_eq!(said(&counts), (0, 0, 0, 0));
    assert_eq!((&counts["changes"], &counts["dead_letters"]["newest"]), (&json!([]), &json!([])));
    assert_eq!(counts["dead_letters"]["open"], told["dead_letters"]["open"]);
    assert_eq!(counts["changes_before"], told["changes"].as_array().unwrap().len());
    assert!(counts["refusals"].as_array().unwrap().iter().all(|one| one["trace_id"].is_null()), "{counts:#}");
    let (status, _) = world.api("ada", "report/digest", None).await;
    assert_eq!(status, 403, "agents read no report");
}
