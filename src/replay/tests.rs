use super::*;
use crate::model::EventType;
use serde_json::json;

const NOW: &str = "2026-11-20T10:00:00Z";

fn draft() -> EventDraft {
    EventDraft::system(EventType::AgentDecision, NOW.parse().unwrap())
}

fn set(gate: &str) -> PolicySet {
    use crate::policy::{CompileInput, KnownNames, SourceFile, compile};
    let file = |name: &str, text: &str| SourceFile { name: name.to_owned(), text: text.to_owned() };
    let authority = "capabilities: { all: { tools: ['*'], resources: ['file:///**'] } }\n\
                     agents: { ada: { type: job, role: writer, capabilities: [all] } }\n";
    let files = [
        file("bundle.yaml", "version: '1'\nowner: o\n"),
        file("authority.yaml", authority),
        file("gate.yaml", &format!("name: gate\nowner: o\ndescription: d\nrules:\n{gate}")),
    ];
    let input = CompileInput {
        environment: "staging".into(),
        servers_digest_material: Vec::new(),
        known: KnownNames::default(),
    };
    let (set, problems) = compile(&files, &input);
    set.unwrap_or_else(|| panic!("{problems:?}"))
}

/// The record of a call of `t` whose `/token` is masked, with this verdict.
fn masked(verdict: Value) -> EventDraft {
    let mut event = draft();
    event.agent_id = Some("ada".into());
    event.cost_estimate_usd = Some(crate::model::MicroUsd(0));
    event.labels = Some(Vec::new());
    event.evaluator = Some("tollgate/0".into());
    event.decision = EventDecision::parse(verdict["decision"].as_str().unwrap());
    event.facts = Some(json!({
        "version": 1, "kind": "tool", "tool": "h", "capabilities": ["all"], "now": NOW,
        "repeats": 0, "size": 40, "tokens": 1, "masked": ["/args/token"],
    }));
    event.detail = Some(json!({
        "arguments": {"n": 5, "token": "[redacted:secret:9]", "list": [1, 2]},
        "verdict": verdict,
    }));
    event
}

fn tool(hash: &str) -> Option<ToolFacts> {
    (hash == "h").then(|| ToolFacts {
        name: "t".into(),
        upstream: "u".into(),
        action: "u:t".into(),
        labels: [].into(),
        traits: crate::model::ToolTraits::UNTRUSTED,
        fingerprint: "f".into(),
        pinned: false,
        unaccepted: false,
    })
}

fn told(decision: &str, rule: &str) -> Value {
    json!({
        "decision": decision, "policy_id": "gate", "rule_id": rule, "capability": "all", "max_repeats": 20
    })
}

/// I11: what did not depend on the masked value is judged, and what may have is not.
#[test]
fn a_masked_value_matters_where_an_answer_needs_it() {
    let check = |gate: &str, verdict: Value, expect: &str| {
        let found = match replay(&masked(verdict), &set(gate), &tool) {
            Finding::Same => "same",
            Finding::Differs(_) => "differs",
            Finding::Unjudgeable(Why::Masked) => "masked",
            Finding::Unjudgeable(_) => "unjudgeable",
            Finding::NotByRules => "not by rules",
            Finding::Counted => "counted",
        };
        assert_eq!(found, expect, "{gate}");
    };
    let allow = |condition: &str| format!("  - {{ condition: \"{condition}\", decision: ALLOW }}\n");
    let deny_first = |condition: &str| {
        format!("  - {{ condition: \"{condition}\", decision: DENY }}\n  - {{ decision: ALLOW }}\n")
    };
    check(&allow("args.n == 5"), told("allow", "1"), "same");
    check(&allow("args.n == 6"), told("allow", "1"), "differs");
    check(&allow("has(args.token)"), told("allow", "1"), "same");
    check(&allow("args.token == 'hunter2'"), told("allow", "1"), "masked");
    check(&allow("args.n == 5 || args.token == 'hunter2'"), told("allow", "1"), "same");
    check(&allow("args.token == 'hunter2' || args.n == 5"), told("allow", "1"), "same");
    check(&allow("args.n == 6 && args.token == 'hunter2'"), told("allow", "1"), "differs");
    check(&allow("args.missing == 1 || args.token == 'x'"), told("allow", "1"), "masked");
    check(&allow("size(args.list) == 2"), told("allow", "1"), "same");
    check(&allow("args.list.exists(x, x == 2)"), told("allow", "1"), "same");
    check(&deny_first("args.token.startsWith('prod')"), told("allow", "2"), "masked");
    check(&deny_first("args.token.startsWith('prod')"), told("deny", "1"), "masked");
    check(&deny_first("args.n == 6"), told("allow", "2"), "same");
    // Whatever the first rule says, the call is denied by this policy or another; never asked about.
    check(&deny_first("args.token == 'x'"), told("pending_approval", "1"), "differs");
    // Three conditions without an answer, one outcome.
    let same = "  - { condition: \"args.token == 'a'\", id: r, decision: ALLOW }\n";
    check(&format!("{same}  - {{ decision: DENY }}\n"), told("deny", "2"), "masked");
}

/// Records of before facts say so; another version and lost tools too.
#[test]
fn what_is_not_there_is_said() {
    let gate = set("  - { decision: ALLOW }\n");
    let why = |event: &EventDraft| match replay(event, &gate, &tool) {
        Finding::Unjudgeable(why) => why.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(why(&draft()).contains("without facts"));
    let mut event = masked(told("allow", "1"));
    event.facts.as_mut().unwrap()["version"] = json!(7);
    assert!(why(&event).contains("version 7"));
    let mut event = masked(told("allow", "1"));
    event.facts.as_mut().unwrap()["tool"] = json!("gone");
    assert!(why(&event).contains("`gone` is not kept"));
    let mut event = masked(told("allow", "1"));
    event.agent_id = Some("eve".into());
    assert!(why(&event).contains("no agent `eve`"));
    let mut event = masked(told("allow", "1"));
    event.facts.as_mut().unwrap()["masked"] = json!(["/tool/name"]);
    assert!(why(&event).contains("name of its target"));
    let mut event = draft();
    event.evaluator = Some("tollgate/0".into());
    assert_eq!(replay(&event, &gate, &tool), Finding::NotByRules);
}

/// A decision that its own verdict does not allow is a fault, whatever policies say now.
#[test]
fn nothing_lets_through_what_policies_stopped() {
    let gate = set("  - { decision: DENY }\n");
    let mut event = masked(told("deny", "1"));
    assert_eq!(replay(&event, &gate, &tool), Finding::Same);
    for let_through in ["allow", "approved", "remediate", "pending_approval"] {
        event.decision = EventDecision::parse(let_through);
        let Finding::Differs(difference) = replay(&event, &gate, &tool) else { panic!("{let_through}") };
        assert!(difference.what.contains(let_through), "{}", difference.what);
    }
}

/// Each condition without an answer has three: their number is bounded.
#[test]
fn many_masked_conditions_are_given_up() {
    let rules: String =
        (0..8).map(|n| format!("  - {{ condition: \"args.token == '{n}'\", decision: DENY }}\n")).collect();
    let one = set(&rules);
    assert_eq!(replay(&masked(told("deny", "1")), &one, &tool), Finding::Unjudgeable(Why::Masked));
}
