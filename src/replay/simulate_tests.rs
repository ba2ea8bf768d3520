use super::*;
use crate::{
    model::{AgentId, CallId, EventDecision, EventType, MicroUsd, ToolTraits},
    policy::{CompileInput, KnownNames, SourceFile, changes, compile},
};
use jiff::Timestamp;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

const AUTHORITY: &str = "capabilities:\n  all: { tools: ['*'] }\n  some: { tools: ['t'] }\nworkflows:\n  wf: { owner: o }\n  other: { owner: o, capabilities: [some] }\nagents:\n  ada: { type: job, role: writer, workflow: wf, workflows: [other], capabilities: [all, some] }\n";

fn bundle(files: &[(&str, &str)]) -> PolicySet {
    let mut all: BTreeMap<&str, &str> = BTreeMap::from([
        ("bundle.yaml", "version: '1'\nowner: o\ndefault_decision: ALLOW\n"),
        ("authority.yaml", AUTHORITY),
    ]);
    all.extend(files.iter().copied());
    let files: Vec<SourceFile> = all
        .into_iter()
        .map(|(name, text)| SourceFile { name: name.to_owned(), text: text.to_owned() })
        .collect();
    let input = CompileInput {
        environment: "staging".into(),
        servers_digest_material: Vec::new(),
        known: KnownNames::default(),
    };
    let (set, problems) = compile(&files, &input);
    set.unwrap_or_else(|| panic!("{problems:?}"))
}

fn gate(rules: &str) -> String {
    format!("name: gate\nowner: o\ndescription: d\non: [{{ upstream: u }}]\nrules:\n{rules}")
}

fn tool(hash: &str) -> Option<ToolFacts> {
    (hash == "h").then(|| ToolFacts {
        name: "t".into(),
        upstream: "u".into(),
        action: "u:t".into(),
        labels: [].into(),
        traits: ToolTraits::UNTRUSTED,
        fingerprint: "f".into(),
        pinned: false,
        unaccepted: false,
    })
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

/// The record of an allowed call of `t` in the n-th second.
fn allowed(n: i64, arguments: Value) -> EventDraft {
    let mut event = EventDraft::system(EventType::AgentDecision, at(n));
    event.agent_id = Some("ada".into());
    event.workflow_id = Some("wf".into());
    event.call_id = Some(CallId::from(format!("call-{n}")));
    event.tool = Some("t".into());
    event.policy_id = Some("default".into());
    event.cost_estimate_usd = Some(MicroUsd(1_000_000));
    event.labels = Some(Vec::new());
    event.evaluator = Some("tollgate/0".into());
    event.decision = Some(EventDecision::Allow);
    event.facts = Some(json!({
        "version": 1, "kind": "tool", "tool": "h", "capabilities": ["all", "some"], "now": at(n).to_string(),
        "repeats": 0, "size": 40, "tokens": 10,
    }));
    event.detail = Some(json!({
        "arguments": arguments,
        "verdict": {"decision": "allow", "policy_id": "default", "capability": "all", "max_repeats": 20},
    }));
    event
}

fn ruled(event: &EventDraft, then: &PolicySet, now: &PolicySet) -> Result<Ruled, Why> {
    match simulate(event, Some(then), &[now], &tool) {
        Simulated::Ruled(_, mut ruled) => Ok(ruled.pop().unwrap()),
        Simulated::Unjudgeable(why) => Err(why),
        other => panic!("{other:?}"),
    }
}

/// R71: a rule that changes the call is applied, and the changed call is decided by the same bundle.
#[test]
fn changes_that_rules_make_are_decided_too() {
    let then = bundle(&[]);
    let check = |arguments: Value, masked: &[&str], rules: &str, expect: &str| {
        let mut event = allowed(0, arguments);
        event.facts.as_mut().unwrap()["masked"] = json!(masked);
        let now = bundle(&[("gate.yaml", &gate(rules))]);
        let said = match ruled(&event, &then, &now) {
            Ok(ruled) => format!("{} {}", ruled.decision, ruled.rule_id.as_deref().unwrap_or("-")),
            Err(why) => why.kind().to_owned(),
        };
        assert_eq!(said, expect, "{rules}");
    };
    let clamp = "  - { id: big, condition: \"args.n > 100\", decision: DENY }\n  - { id: clamp, decision: ALLOW_WITH_CONSTRAINTS, constraints: { arguments: { clamp: { /n: { max: 10 } } } } }\n";
    check(json!({"n": 50}), &[], clamp, "allow_with_constraints clamp");
    check(json!({"n": 500}), &[], clamp, "deny big");
    // What is clamped is no number.
    let only = "  - { id: clamp, decision: ALLOW_WITH_CONSTRAINTS, constraints: { arguments: { clamp: { /n: { max: 10 } } } } }\n";
    check(json!({"n": "many"}), &[], only, "deny -");
    check(json!({"n": "[redacted:secret:9]"}), &["/args/n"], only, "a masked value may have mattered");
    // What replaces a masked value does not look at it.
    let set =
        "  - { id: set, decision: ALLOW_WITH_CONSTRAINTS, constraints: { arguments: { set: { /n: 1 } } } }\n";
    check(json!({"n": "[redacted:secret:9]"}), &["/args/n"], set, "allow_with_constraints set");
    let apply = "  - { id: less, condition: \"!has(args.limit)\", decision: REMEDIATE, remediation: { mode: apply, set: { /limit: 5 } } }\n  - { id: far, condition: \"args.limit > 3\", decision: REQUIRE_APPROVAL }\n";
    check(json!({}), &[], apply, "pending_approval far");
    check(json!({}), &[], &apply.replace("> 3", "> 9"), "remediate less");
    check(json!({}), &[], &apply.replace("apply", "suggest"), "remediate less");
    let other = "  - { id: other, condition: \"!has(args.x)\", decision: REMEDIATE, remediation: { mode: apply, tool: elsewhere } }\n";
    check(json!({}), &[], other, "a rule sends the call to another target");
}

/// R2, R71: scope, workflow and metadata are those of the bundle that is simulated.
#[test]
fn the_authority_map_is_the_simulated_bundles() {
    let then = bundle(&[]);
    let event = allowed(0, json!({}));
    let check = |authority: &str, expect: &str| {
        let now = bundle(&[("authority.yaml", authority)]);
        let ruled = ruled(&event, &then, &now).unwrap();
        assert_eq!(format!("{} {}", ruled.decision, ruled.policy_id), expect, "{authority}");
    };
    check(AUTHORITY, "allow default");
    check(&AUTHORITY.replace("ada:", "eve:"), "deny identity");
    check(
        &AUTHORITY.replace("tools: ['*']", "tools: ['x']").replace("tools: ['t']", "tools: ['y']"),
        "deny scope",
    );
    // The default workflow of before stands for none: the call goes in the new one, which narrows.
    check(&AUTHORITY.replace("workflow: wf,", "workflow: other,"), "allow default");
    let narrow =
        AUTHORITY.replace("workflow: wf,", "workflow: other,").replace("tools: ['t']", "tools: ['y']");
    check(&narrow, "deny scope");
    let mut named = event.clone();
    named.workflow_id = Some("other".into());
    let now = bundle(&[("authority.yaml", &AUTHORITY.replace("workflows: [other], ", ""))]);
    let ruled_now = ruled(&named, &then, &now).unwrap();
    assert_eq!((ruled_now.decision, &*ruled_now.policy_id), (EventDecision::Deny, "workflow"));
    // What an agent's token did not grant then is not granted now.
    let mut narrowed = event.clone();
    narrowed.facts.as_mut().unwrap()["capabilities"] = json!(["some"]);
    let without = AUTHORITY.replace("tools: ['t']", "tools: ['y']");
    let now = bundle(&[("authority.yaml", &without)]);
    assert_eq!(&*ruled(&narrowed, &then, &now).unwrap().policy_id, "scope");
    let required = |names: &str| {
        let text = format!("version: '1'\nowner: o\ndefault_decision: ALLOW\nrequired: [{names}]\n");
        bundle(&[("bundle.yaml", &text)])
    };
    assert_eq!(ruled(&event, &then, &required("workflow_id")).unwrap().decision, EventDecision::Allow);
    assert_eq!(&*ruled(&event, &then, &required("user")).unwrap().policy_id, "required");
    assert_eq!(ruled(&event, &then, &required("purpose")), Err(Why::Metadata("purpose".into())));
    let mut with = event.clone();
    with.detail.as_mut().unwrap()["meta"] = json!({"purpose": "tests"});
    assert_eq!(ruled(&with, &then, &required("purpose")).unwrap().decision, EventDecision::Allow);
}

/// What comes of calls in this order.
fn tally(events: &[EventDraft], then: &PolicySet, now: &PolicySet) -> SimulateReport {
    let mut tally = Tally::new(Compared::Recorded);
    for event in events {
        tally.take(event.call_id.as_ref(), event.timestamp, simulate(event, Some(then), &[now], &tool));
    }
    tally.finish()
}

/// R71, R36, R38: limits are held against the counters on record, and against what the calls before have used where the record
/// has none.
#[test]
fn limits_are_judged_by_the_record() {
    let then = bundle(&[]);
    let budget = |caps: &str| {
        let text =
            format!("budgets:\n  - {{ id: b, scope: agent, window: minute, {caps}, on_exceed: throttle }}\n");
        bundle(&[("budgets.yaml", &text)])
    };
    let seconds = |seconds: &[i64]| -> Vec<EventDraft> {
        seconds.iter().map(|second| allowed(*second, json!({"n": second}))).collect()
    };
    let check = |events: &[EventDraft], now: &PolicySet, expect: u64| {
        let report = tally(events, &then, now);
        assert_eq!(report.changed, expect, "{:?}", report.flips);
        report
    };
    // Two in a minute; the third and the fourth are held back, and a minute later there is room.
    let report = check(&seconds(&[0, 1, 2, 3, 61, 62]), &budget("max_calls: 2"), 2);
    assert_eq!((&*report.flips[0].policy_id, report.flips[0].to), ("b", EventDecision::Throttle));
    assert_eq!((report.spend.stopped_calls, report.spend.stopped_usd), (2, MicroUsd(2_000_000)));
    check(&seconds(&[0, 1, 2]), &budget("max_cost_usd: 2.5"), 1);
    check(&seconds(&[0, 1, 2]), &budget("max_tokens: 19"), 2);
    // What the record says counts before what was seen.
    let mut known = seconds(&[0, 1]);
    let counter = |used: u64| json!({"counters": [{"id": "b", "key": "ada", "window": "minute", "unit": "calls", "used": used, "cap": 99}]});
    known[0].limits = Some(counter(7));
    known[1].limits = Some(counter(1));
    let report = check(&known, &budget("max_calls: 5"), 1);
    assert_eq!(report.flips[0].examples[0].call_id.as_deref(), Some("call-0"));
    // A loop on record that is none under this bundle, and the other way round.
    let mut looped = allowed(0, json!({}));
    looped.decision = Some(EventDecision::Throttle);
    looped.policy_id = Some("loop".into());
    looped.limits = Some(
        json!({"counters": [{"id": "loop", "key": "ada", "window": "minute", "unit": "repeats", "used": 20, "cap": 20}]}),
    );
    let more = |most: u32| {
        let text =
            format!("version: '1'\nowner: o\ndefault_decision: ALLOW\nloop: {{ max_repeats: {most} }}\n");
        bundle(&[("bundle.yaml", &text)])
    };
    check(std::slice::from_ref(&looped), &more(20), 0);
    check(std::slice::from_ref(&looped), &more(30), 1);
}

/// R71: each call counts once, as first decided; what people answered is no policy's, and what stopped a call beside rules and
/// limits still does.
#[test]
fn calls_count_once_as_first_decided() {
    let asks = gate("  - { id: ask, decision: REQUIRE_APPROVAL }\n");
    let (then, now) = (bundle(&[("gate.yaml", &asks)]), bundle(&[]));
    let asked = |n: i64, word: &str, policy: &str| {
        let mut event = allowed(n, json!({}));
        event.decision = EventDecision::parse(word);
        event.policy_id = Some(policy.into());
        event.detail.as_mut().unwrap()["verdict"] =
            json!({"decision": "pending_approval", "policy_id": "gate", "rule_id": "ask"});
        event
    };
    let mut later = asked(1, "rejected", "gate");
    later.call_id = Some("call-0".into());
    let events = [
        asked(0, "pending_approval", "gate"),
        later,
        asked(2, "approved", "gate"),
        asked(3, "expired", "gate"),
        // Too many asks of this agent: no rule's and no limit's.
        asked(4, "throttle", "asks"),
    ];
    let same = tally(&events, &then, &then);
    assert_eq!((same.judged, same.changed), (4, 0), "{:?}", same.flips);
    let report = tally(&events, &then, &now);
    let flips: Vec<(EventDecision, EventDecision, u64)> =
        report.flips.iter().map(|flip| (flip.from, flip.to, flip.calls)).collect();
    assert_eq!(
        flips,
        [
            (EventDecision::PendingApproval, EventDecision::Allow, 3),
            (EventDecision::Throttle, EventDecision::Allow, 1)
        ]
    );
    assert_eq!((report.approvals.no_longer, report.spend.released_calls), (3, 1));
    // A count whose first refusal is not among them cannot be judged.
    let mut count = asked(9, "throttle", "asks");
    count.facts = None;
    count.detail = Some(json!({"count": 5, "since": at(0).to_string(), "until": at(9).to_string()}));
    let report = tally(std::slice::from_ref(&count), &then, &now);
    assert_eq!((report.judged, report.unjudgeable), (0, 5));
    count.call_id = Some("call-4".into());
    let report = tally(&[asked(4, "throttle", "asks"), count.clone()], &then, &now);
    assert_eq!((report.judged, report.repeats, report.flips[0].calls), (6, 5, 6));
    // A rejection that stands is a call that was asked about, and so are its repeats.
    count.decision = Some(EventDecision::Rejected);
    let report = tally(&[asked(4, "rejected", "gate"), count], &then, &now);
    assert_eq!((report.judged, report.approvals.no_longer, report.flips[0].calls), (6, 6, 6));
}

/// R68: agents × tools, as far as arguments do not matter.
#[test]
fn cells_that_change_are_named() {
    let known = tool("h").unwrap();
    let tools = BTreeMap::from([(Arc::from("t"), known)]);
    let check = |before: &PolicySet, after: &PolicySet, expect: Option<(&str, &str)>| {
        let (cells, truncated) = changed_cells(before, after, &tools, at(0));
        let told = cells.first().map(|cell| (cell.from.to_string(), cell.to.to_string()));
        assert_eq!(told, expect.map(|(from, to)| (from.to_owned(), to.to_owned())));
        assert!(!truncated);
        assert!(cells.iter().all(|cell| cell.agent == AgentId::from("ada")));
    };
    let open = bundle(&[]);
    let with = |rules: &str| bundle(&[("gate.yaml", &gate(rules))]);
    check(&open, &open, None);
    check(&open, &with("  - { decision: DENY }\n"), Some(("allow", "deny")));
    check(
        &open,
        &with("  - { condition: \"has(args.x)\", decision: DENY }\n"),
        Some(("allow", "depends on arguments: allow or deny")),
    );
    check(&open, &with("  - { condition: \"agent.role == 'reader'\", decision: DENY }\n"), None);
    let gone =
        bundle(&[("authority.yaml", &AUTHORITY.replace("capabilities: [all, some]", "capabilities: []"))]);
    check(&open, &gone, Some(("allow", "out of scope")));
    let other = bundle(&[("authority.yaml", &AUTHORITY.replace("ada:", "bob:"))]);
    let (cells, _) = changed_cells(&open, &other, &tools, at(0));
    let told: Vec<String> =
        cells.iter().map(|cell| format!("{} {} {}", cell.agent, cell.from, cell.to)).collect();
    assert_eq!(told, ["ada allow no such agent", "bob no such agent allow"]);
}

/// The groups of a call's user are those that each bundle says, of recorded calls and of cells.
#[test]
fn groups_are_those_of_each_bundle() {
    let authority = |groups: &str| {
        let people = format!("people:\n  ann: {{ groups: [{groups}], keys: [] }}\n");
        AUTHORITY.replace("type: job,", "type: job, operator: ann,") + &people
    };
    let with = |groups: &str| {
        let rules = "  - { condition: \"'leads' in user.groups\", decision: DENY }\n";
        bundle(&[("authority.yaml", &authority(groups)), ("gate.yaml", &gate(rules))])
    };
    let (plain, leads) = (with("others"), with("leads"));
    let mut event = allowed(0, json!({}));
    event.user = Some("ann".into());
    let said = |then: &PolicySet, now: &PolicySet| ruled(&event, then, now).unwrap().decision.to_string();
    assert_eq!((said(&plain, &leads), said(&leads, &plain)), ("deny".to_owned(), "allow".to_owned()));
    let tools = BTreeMap::from([(Arc::from("t"), tool("h").unwrap())]);
    let (cells, _) = changed_cells(&plain, &leads, &tools, at(0));
    let told: Vec<String> = cells.iter().map(|cell| format!("{} {}", cell.from, cell.to)).collect();
    assert_eq!(told, ["allow deny"]);
}

/// R68: a difference is one of meaning, and is named by its place.
#[test]
fn differences_in_meaning_are_named() {
    let before =
        gate("  - { id: a, condition: \"args.n > 1\", decision: DENY }\n  - { id: b, decision: ALLOW }\n");
    let told = |before: &PolicySet, after: &PolicySet| -> Vec<String> {
        changes(before, after)
            .into_iter()
            .flat_map(|part| {
                let head = format!("{} {} {}", part.change.as_str(), part.kind, part.name);
                let details = part.details.into_iter().map(|detail| {
                    format!(
                        "{}: {} -> {}",
                        detail.at,
                        detail.before.unwrap_or_default(),
                        detail.after.unwrap_or_default()
                    )
                });
                std::iter::once(head).chain(details).collect::<Vec<_>>()
            })
            .collect()
    };
    let old = bundle(&[("gate.yaml", &before)]);
    // Comments, layout, the order of keys and the name of the file are no difference.
    let again = "# why\non: [{ upstream: u }]\nrules:\n  - id: a\n    decision: DENY\n    condition: \"args.n > 1\"\n  - { id: b, decision: ALLOW }\ndescription: d\nowner: o\nname: gate\n";
    assert_eq!(told(&old, &bundle(&[("other.yaml", again)])), [""; 0]);
    let changed = before
        .replace("> 1", "> 2")
        .replace("  - { id: b, decision: ALLOW }\n", "  - { id: c, decision: SUGGEST }\n");
    let authority = AUTHORITY
        .replace("role: writer", "role: reader")
        .replace("  other: { owner: o, capabilities: [some] }\n", "")
        .replace(", workflows: [other]", "");
    let new = bundle(&[
        ("gate.yaml", &changed),
        ("authority.yaml", &authority),
        ("budgets.yaml", "budgets: [{ id: b, scope: agent, window: day, max_calls: 1 }]\n"),
    ]);
    assert_eq!(
        told(&old, &new),
        [
            "changed agent ada",
            "role: writer -> reader",
            "workflows: [other] -> ",
            "added budget b",
            "changed policy gate",
            "rules[a].condition: args.n > 1 -> args.n > 2",
            "rules[b]: { id: b, decision: ALLOW } -> ",
            "rules[c]:  -> { id: c, decision: SUGGEST }",
            "removed workflow other",
        ]
    );
}
