//! What the bundle's files mean, and that everything wrong in them is told with its place.

use super::*;
use crate::{
    cost::{BudgetAction, BudgetScope, BudgetWindow, Encoding},
    model::{AlertKind, AlertSeverity, Autonomy, Decision, MicroUsd, Problem, Problems, Severity},
};
use proptest::prelude::*;
use serde_json::json;
use std::{sync::Arc, time::Duration};

const BUNDLE: &str = "version: 1\nowner: platform-team\n";
const HEX_A: &str = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const AUTHORITY: &str = r#"
capabilities:
  docs.read:  { tools: ["files__read_*"], resources: ["file:///srv/docs/**"], prompts: ["*"] }
  docs.write: { tools: ["files__write_file"], condition: "env == 'staging'", autonomy: supervised }
agents:
  planner-01:
    type: planner
    role: planner
    tenant: acme
    owner: data-team
    operator: alice
    attended: true
    workflow: wf-123
    workflows: [wf-123, wf-124]
    model: gpt-4o
    autonomy: supervised
    capabilities: [docs.read, docs.write]
    keys: ["sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"]
people:
  alice: { keys: ["sha256:10112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"], groups: [platform-lead], roles: [approver] }
  bob:   { keys: ["sha256:20112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"], groups: [security-team], roles: [approver, auditor] }
workflows:
  wf-123: { owner: data-team, approval_sla: 15m }
  wf-124: { owner: data-team, capabilities: [docs.read] }
"#;
const GATE: &str = include_str!("../../tests/fixtures/prod-safety-gate.yaml");
const BOOK: &str = include_str!("../../tests/fixtures/aegis-rulebook.yaml");

fn input() -> CompileInput {
    CompileInput {
        environment: Arc::from("staging"),
        servers_digest_material: b"servers".to_vec(),
        known: KnownNames::default(),
    }
}

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile { name: name.to_owned(), text: text.to_owned() }
}

/// The minimal bundle, with these files added or put in place of its own.
fn bundle(changes: &[(&str, &str)]) -> Vec<SourceFile> {
    let mut files = vec![file("bundle.yaml", BUNDLE), file("authority.yaml", AUTHORITY)];
    for (name, text) in changes {
        files.retain(|f| f.name != *name);
        files.push(file(name, text));
    }
    files
}

fn set(changes: &[(&str, &str)]) -> PolicySet {
    let (set, problems) = compile(&bundle(changes), &input());
    set.unwrap_or_else(|| panic!("{problems}"))
}

fn of(problems: &Problems, severity: Severity) -> Vec<&Problem> {
    problems.0.iter().filter(|p| p.severity == severity).collect()
}

/// `‸` in a text marks where a problem is expected; the place is that of the character after it.
fn unmark(text: &str) -> (String, Vec<(usize, usize)>) {
    let (mut line, mut column, mut clean, mut places) = (1, 1, String::new(), Vec::new());
    for c in text.chars() {
        match c {
            '‸' => places.push((line, column)),
            '\n' => {
                clean.push(c);
                (line, column) = (line + 1, 1);
            }
            c => {
                clean.push(c);
                column += 1;
            }
        }
    }
    (clean, places)
}

/// Every error of the file, in order: its place is marked, its message names the offending text,
/// and it says what was expected.
fn check_errors(name: &str, marked: &str, expect: &[(&str, &str)]) {
    let (text, places) = unmark(marked);
    let (set, problems) = compile(&bundle(&[(name, &text)]), &input());
    let errors = of(&problems, Severity::Error);
    assert!(set.is_none(), "{text} was taken");
    let got: Vec<_> = errors.iter().map(|p| (&*p.place.file, p.place.line, p.place.column)).collect();
    let wanted: Vec<_> = places.iter().map(|(line, column)| (name, *line, *column)).collect();
    assert_eq!(got, wanted, "{text}\n{problems}");
    assert_eq!(errors.len(), expect.len(), "{problems}");
    for (problem, (offending, expected)) in errors.iter().zip(expect) {
        assert!(problem.message.contains(offending), "`{offending}` is not in: {}", problem.message);
        assert!(problem.expected.contains(expected), "`{expected}` is not in: {}", problem.expected);
    }
}

fn check_lints(name: &str, marked: &str, expect: &[&str]) {
    check_lints_of(false, name, marked, expect);
}

/// `is_listed`: what the upstream lists is known.
fn check_lints_of(is_listed: bool, name: &str, marked: &str, expect: &[&str]) {
    let (text, places) = unmark(marked);
    let mut input = input();
    let known = |names: &[&str]| names.iter().map(|n| n.to_string()).collect();
    let files = KnownUpstream { prefix: "files__".to_owned(), is_listed, has_resources: true };
    input.known = KnownNames {
        upstreams: [("files".to_owned(), files)].into(),
        actions: known(&["files:write"]),
        labels: known(&["write"]),
        tools: known(&["files__write_file"]),
        prompts: known(&["files__outline"]),
        ..KnownNames::default()
    };
    let (set, problems) = compile(&bundle(&[(name, &text)]), &input);
    assert!(set.is_some(), "{problems}");
    let lints: Vec<_> = of(&problems, Severity::Lint).into_iter().filter(|p| p.place.file == name).collect();
    let got: Vec<_> = lints.iter().map(|p| (p.place.line, p.place.column)).collect();
    assert_eq!(got, places, "{problems}");
    assert_eq!(lints.len(), expect.len(), "{problems}");
    for (lint, word) in lints.iter().zip(expect) {
        assert!(lint.message.contains(word), "`{word}` is not in: {}", lint.message);
    }
}

/// R9, R10, R11, R12: the reference documents' examples load unchanged.
#[test]
fn the_reference_examples_load_unchanged() {
    let set = set(&[("gate.yaml", GATE), ("book.yaml", BOOK)]);
    let ids: Vec<_> = set.policies.iter().map(|p| (p.id.as_str(), &*p.file)).collect();
    assert_eq!(
        ids,
        [
            ("agent_write_s3", "book.yaml"),
            ("model_call_rate", "book.yaml"),
            ("prod-safety-gate", "gate.yaml")
        ]
    );
    let PolicyBody::Gate(rules) = &set.policies[2].body else { panic!("a gate") };
    assert_eq!(set.policies[2].on.len(), 2);
    assert_eq!(set.policies[2].on[0].action.as_ref().unwrap().as_str(), "infrastructure:mutation");
    assert_eq!(set.policies[2].on[1].tool.as_ref().unwrap().as_str(), "aws-cli");
    let RuleOutcome::RequireApproval(approval) = &rules[0].outcome else { panic!("an approval") };
    let group = |name: &str| Approver::Group(Arc::from(name));
    assert_eq!(approval.approvers, Some(vec![group("security-team"), group("platform-lead")]));
    assert!(approval.evidence_required);
    assert_eq!((approval.quorum, approval.expires_in), (1, Duration::from_secs(900)));
    assert_eq!(approval.channels, ChannelKind::ALL);
    let RuleOutcome::AllowWithConstraints(constraints) = &rules[1].outcome else { panic!("constraints") };
    assert_eq!(constraints.max_cost, Some(MicroUsd(50_000_000)));
    assert_eq!(constraints.timeout, Some(Duration::from_secs(300)));
    assert_eq!((rules[0].id.as_str(), rules[1].id.as_str()), ("1", "2"));

    let PolicyBody::Rulebook(first) = &set.policies[0].body else { panic!("a rulebook") };
    assert_eq!(first.allowed_roles.as_deref(), Some(&[Arc::from("data-engineer"), Arc::from("ops-bot")][..]));
    assert_eq!(first.max_cost, Some(MicroUsd(5_000_000)));
    assert!(first.requires_approval.is_some() && first.on_allow);
    let PolicyBody::Rulebook(second) = &set.policies[1].body else { panic!("a rulebook") };
    assert_eq!(second.agent_types.as_deref(), Some(&[Arc::from("planner"), Arc::from("executor")][..]));
    assert_eq!(
        (second.max_calls_per_minute, second.max_cost_per_minute),
        (Some(60), Some(MicroUsd(2_000_000)))
    );
    assert!(second.requires_approval.is_none() && !second.on_allow);
    assert_eq!(second.on_violation, Violation::Throttle);
}

#[test]
fn a_gate_takes_every_key_of_the_contract() {
    let text = r#"
name: full
description: Everything at once
owner: platform-team
mode: shadow
on:
  - action: "infrastructure:mutation"
  - { tool: "aws-cli*", label: write, upstream: aws, agent: "planner-*", role: planner, agent_type: planner, workflow: wf-123 }
  - { resource: "file:///**" }
  - { prompt: "*" }
rules:
  - id: production
    condition: "env == 'production'"
    decision: REQUIRE_APPROVAL
    reason: Production is not a place for experiments
    approvers: [security-team, alice, operator]
    quorum: 2
    expires_in: 1h30m
    escalate: { after: 10m, to: [platform-lead] }
    evidence_required: true
    channels: [elicitation, inbox]
    separate: true
    grants: { max_duration: 8h, max_uses: 50 }
  - condition: "env == 'staging'"
    decision: ALLOW_WITH_CONSTRAINTS
    constraints:
      max_cost: 0.000001
      timeout: 250ms
      max_result_tokens: 100
      max_result_bytes: 64KiB
      read_only: true
      redact: [/items/*/secret]
      arguments:
        set: { dry_run: true, /limits/rows: 18446744073709551616 }
        remove: [force, "/a~1b"]
        clamp: { /count: { min: 1, max: 10.50 } }
  - { condition: "env == 'a'", decision: THROTTLE, retry_after: 5s }
  - { condition: "env == 'b'", decision: THROTTLE }
  - { condition: "env == 'c'", decision: SUGGEST }
  - { condition: "env == 'd'", decision: ALLOW }
  - condition: "env == 'e'"
    decision: REMEDIATE
    remediation: { mode: apply, set: { path: /tmp }, remove: [recursive], tool: files__write_file, reason: Smaller }
  - decision: DENY
"#;
    let set = set(&[("full.yaml", text)]);
    let policy = &set.policies[0];
    assert_eq!(
        (policy.mode, policy.owner.as_deref(), policy.on.len()),
        (Mode::Shadow, Some("platform-team"), 4)
    );
    let PolicyBody::Gate(rules) = &policy.body else { panic!("a gate") };
    assert_eq!(
        rules[0].outcome,
        RuleOutcome::RequireApproval(ApprovalRule {
            approvers: Some(vec![
                Approver::Group(Arc::from("security-team")),
                Approver::Person("alice".into()),
                Approver::Operator,
            ]),
            quorum: 2,
            expires_in: Duration::from_secs(5_400),
            escalate: Some(Escalation {
                after: Duration::from_secs(600),
                to: vec![Approver::Group(Arc::from("platform-lead"))],
            }),
            evidence_required: true,
            channels: vec![ChannelKind::Elicitation, ChannelKind::Inbox],
            separate: true,
            grants: Some(GrantLimits { max_duration: Duration::from_secs(8 * 3_600), max_uses: 50 }),
        })
    );
    assert_eq!(rules[0].reason.as_deref(), Some("Production is not a place for experiments"));
    let RuleOutcome::AllowWithConstraints(constraints) = &rules[1].outcome else { panic!("constraints") };
    assert_eq!((constraints.max_cost, constraints.max_result_bytes), (Some(MicroUsd(1)), Some(65_536)));
    let at = |text: &str| crate::model::pointer::Pointer::parse(text).unwrap();
    let big: serde_json::Number = "18446744073709551616".parse().unwrap();
    assert_eq!(
        constraints.arguments,
        [
            ArgumentEdit::Set(at("/dry_run"), json!(true)),
            ArgumentEdit::Set(at("/limits/rows"), serde_json::Value::Number(big)),
            ArgumentEdit::Remove(at("/force")),
            ArgumentEdit::Remove(at("/a~1b")),
            ArgumentEdit::Clamp {
                at: at("/count"),
                min: Some("1".parse().unwrap()),
                max: Some("10.50".parse().unwrap())
            },
        ]
    );
    assert_eq!(rules[2].outcome, RuleOutcome::Throttle(Duration::from_secs(5)));
    assert_eq!(rules[3].outcome, RuleOutcome::Throttle(Duration::from_secs(60)));
    let words: Vec<Decision> = rules.iter().map(|rule| rule.outcome.decision()).collect();
    assert_eq!(words[4..], [Decision::Suggest, Decision::Allow, Decision::Remediate, Decision::Deny]);
    assert!(rules[7].condition.is_none());
}

#[test]
fn authority_prices_budgets_and_bundle_are_read() {
    let set = set(&[
        (
            "bundle.yaml",
            "version: 1.0\nowner: me\ndefault_decision: REQUIRE_APPROVAL\ndefault_approvers: [bob]\nrequired: [workflow_id]\nloop: { max_repeats: 3 }\n",
        ),
        (
            "prices.yaml",
            "models:\n  gpt-4o: { input_usd_per_mtok: 2.5, output_usd_per_mtok: 10, encoding: cl100k_base, multiplier: 1.25 }\ntools:\n  files__write_file: 0.05\n  \"files__*\": 0.000001\n",
        ),
        (
            "budgets.yaml",
            "budgets:\n  - { id: day, scope: agent, window: day, max_cost_usd: 12.34, on_exceed: require_approval, alert_at: 80, strict: true, lease: 5s, match: { label: write } }\n  - { id: calls, scope: global, window: minute, max_calls: 5, match: [{ tool: \"a*\" }, { role: b }] }\n",
        ),
    ]);
    assert_eq!((&*set.bundle.version, set.bundle.default_decision), ("1.0", Decision::RequireApproval));
    assert_eq!(set.bundle.default_approvers, Some(vec![Approver::Person("bob".into())]));
    assert_eq!((set.bundle.required.len(), set.max_repeats), (1, 3));

    let agent = &set.authority.agents["planner-01"];
    assert_eq!(
        (&*agent.agent_type, &*agent.tenant, agent.autonomy),
        ("planner", "acme", Autonomy::Supervised)
    );
    assert_eq!((agent.attended, agent.operator.as_deref()), (true, Some("alice")));
    assert_eq!(agent.workflows.len(), 2);
    assert_eq!(hex::encode(agent.keys[0].digest), HEX_A.strip_prefix("sha256:").unwrap());
    assert_eq!(set.authority.workflows["wf-124"].capabilities.as_ref().unwrap().len(), 1);
    assert_eq!(set.authority.workflows["wf-123"].approval_sla, Some(Duration::from_secs(900)));
    assert!(set.authority.capabilities["docs.write"].condition.is_some());
    assert_eq!(set.authority.people["bob"].roles, [Role::Approver, Role::Auditor]);

    let price = &set.prices.models["gpt-4o"];
    assert_eq!((price.input_usd_per_mtok.0, price.multiplier_milli), (2_500_000, 1_250));
    assert_eq!(price.encoding, Encoding::Cl100kBase);
    let tools: Vec<_> = set.prices.tools.iter().map(|(glob, price)| (glob.as_str(), price.base.0)).collect();
    assert_eq!(tools, [("files__write_file", 50_000), ("files__*", 1)]);

    let budget = &set.budgets[0];
    assert_eq!((budget.scope, budget.window), (BudgetScope::Agent, BudgetWindow::Day));
    assert_eq!(
        (budget.max_cost, &*budget.alert_at, budget.strict),
        (Some(MicroUsd(12_340_000)), &[80][..], true)
    );
    assert_eq!((budget.on_exceed, budget.matches.len()), (BudgetAction::RequireApproval, 1));
    assert_eq!((set.budgets[1].on_exceed, set.budgets[1].matches.len()), (BudgetAction::Deny, 2));
}

#[test]
fn what_people_are_told_of_is_read() {
    let text = "version: 1\nowner: me\nalerts:\n  window: 10s\n  baseline: 2h\n  ack_for: 1h\n  deny_rate: { min_calls: 7, \
                min_change: 12.5%, evidence: 6.5, severity: high }\n  cost_spike: { ratio: 3, min_cost_usd: 0.5 }\n  upstream_down: { \
                after: 30s }\n  loop: { enabled: false }\n  duties: [{ name: review, every: 7d, owner: security }]\n  incidents: { \
                kinds: [deny_rate], min_severity: medium, sla: 4h }\naudit: { sample: 1% }\n";
    let read = set(&[("bundle.yaml", text)]);
    let Oversight { alerts, duties, incidents, sample } = &read.oversight;
    let seconds = Duration::from_secs;
    assert_eq!(
        (alerts.window, alerts.baseline, alerts.ack_for),
        (seconds(10), seconds(7_200), seconds(3_600))
    );
    assert_eq!(alerts.false_for, seconds(7 * 86_400));
    let rate = alerts.of(AlertKind::DenyRate);
    assert_eq!((rate.min_calls, rate.min_change, rate.evidence), (7, 0.125, 6.5));
    assert_eq!((rate.severity, rate.min_count), (AlertSeverity::High, 5));
    let cost = alerts.of(AlertKind::CostSpike);
    assert_eq!((cost.ratio, cost.min_cost), (3.0, MicroUsd(500_000)));
    assert_eq!(alerts.of(AlertKind::UpstreamDown).after, Some(seconds(30)));
    assert_eq!((alerts.of(AlertKind::Loop).enabled, alerts.of(AlertKind::Budget).enabled), (false, true));
    assert_eq!(
        (&*duties[0].name, duties[0].every, duties[0].owner.as_deref()),
        ("review", seconds(604_800), Some("security"))
    );
    let rule = incidents.as_ref().unwrap();
    assert_eq!(rule.sla, seconds(14_400));
    assert!(rule.is_met(AlertKind::DenyRate, AlertSeverity::Medium));
    assert!(!rule.is_met(AlertKind::DenyRate, AlertSeverity::Low));
    assert!(!rule.is_met(AlertKind::Loop, AlertSeverity::High));
    assert_eq!(sample.map(|share| share.to_string()).as_deref(), Some("1%"));
    // It is part of what is in force, and silence is the usual rules.
    let silent = set(&[("bundle.yaml", "version: 1\nowner: me\n")]);
    assert_ne!(read.snapshot, silent.snapshot);
    assert_eq!(silent.oversight, Oversight::default());
    assert!(AlertKind::ALL.iter().all(|kind| silent.oversight.alerts.of(*kind).enabled));
    check_errors(
        "bundle.yaml",
        "version: 1\nowner: me\nalerts:\n  window: ‸5\n  deny_rate: { min_change: ‸20, ‸ratio: 2, evidence: ‸1 }\n  ‸deny_rates: {}\n  \
         duties: [{ name: a, every: 7d }, { name: ‸a, every: 1d }]\n  incidents: { kinds: [‸denies] }\naudit: { sample: ‸1 }\n",
        &[
            ("`5`", "a duration like"),
            ("`20`", "like 10%"),
            ("unknown key `ratio`", "min_change"),
            ("`1`", "from 2 to 100"),
            ("unknown key `deny_rates`; did you mean `deny_rate`?", "window"),
            ("`a` is named twice", "each duty once"),
            ("`denies`", "deny_rate"),
            ("`1`", "like 10%"),
        ],
    );
}

#[test]
fn defaults_stand_where_files_are_silent() {
    let set = set(&[]);
    assert_eq!(set.bundle.default_decision, Decision::Deny);
    assert_eq!((set.max_repeats, set.budgets.len(), set.bundle.default_approvers), (20, 0, None));
    for model in ["gpt-4o", "gpt-4.1", "gpt-5", "o3", "claude-sonnet-4", "claude-opus-4", "gemini-2.5-pro"] {
        assert!(set.prices.models.contains_key(model), "{model}");
    }
    let set = super::compile(&bundle(&[("budgets.yaml", "# nothing yet\n"), ("prices.yaml", "")]), &input())
        .0
        .unwrap();
    assert!(set.budgets.is_empty() && set.prices.models.contains_key("gpt-4o"));
}

#[test]
fn a_gate_that_is_wrong_says_where() {
    let check = |text: &str, expect: &[(&str, &str)]| check_errors("gate.yaml", text, expect);
    let one = |line: &str| format!("name: g\nrules:\n  - {line}\n");
    let rule = |line: &str, offending: &str, expected: &str| check(&one(line), &[(offending, expected)]);

    rule("{ ‸decison: DENY, decision: DENY }", "`decison`; did you mean `decision`?", "one of id, condition");
    rule("{ decision: ‸deny }", "`deny`", "one of ALLOW, ALLOW_WITH_CONSTRAINTS");
    rule("‸{ condition: \"env == 'x'\" }", "`decision` is missing", "ALLOW_WITH_CONSTRAINTS");
    rule("{ decision: DENY, ‸decision: ALLOW }", "duplicate key `decision`", "each key once");
    rule("{ decision: THROTTLE, retry_after: ‸5 }", "`5`", "a duration like 300s");
    rule("{ decision: THROTTLE, retry_after: ‸5 minutes }", "`5 minutes`", "a duration like 300s");
    rule(
        "{ decision: REQUIRE_APPROVAL, approvers: [security-team, ‸nobody] }",
        "`nobody`",
        "`platform-lead`",
    );
    rule("{ decision: REQUIRE_APPROVAL, approvers: ‸alice }", "`alice`", "a list");
    rule("{ decision: REQUIRE_APPROVAL, approvers: ‸[] }", "`approvers` is empty", "at least one");
    rule("{ decision: REQUIRE_APPROVAL, quorum: ‸0 }", "`0`", "from 1 to 100");
    rule("{ decision: REQUIRE_APPROVAL, expires_in: ‸0s }", "`0s`", "from 1s");
    rule(
        "{ decision: REQUIRE_APPROVAL, channels: [‸slack] }",
        "`slack`",
        "elicitation, inbox, mcp, cli, api, link",
    );
    rule(
        "{ decision: REQUIRE_APPROVAL, escalate: { after: ‸20m, to: [bob] } }",
        "`20m`",
        "less than expires_in (15m)",
    );
    rule("{ decision: REQUIRE_APPROVAL, separate: ‸\"yes\" }", "`yes`", "`true`, without quotes");
    rule("{ decision: REQUIRE_APPROVAL, grants: { max_uses: ‸0 } }", "`0`", "from 1 to 1000000");
    rule("{ decision: REQUIRE_APPROVAL, grants: { max_duration: ‸ever } }", "`ever`", "a duration like");
    rule(
        "{ decision: REQUIRE_APPROVAL, grants: { ‸uses: 5 } }",
        "unknown key `uses`",
        "max_duration, max_uses",
    );
    rule("{ decision: DENY, ‸approvers: [bob] }", "`approvers`", "REQUIRE_APPROVAL");
    rule("‸{ decision: ALLOW_WITH_CONSTRAINTS }", "`constraints` is missing", "timeout");
    rule("{ decision: ALLOW_WITH_CONSTRAINTS, constraints: ‸{} }", "`constraints` is empty", "max_cost");
    rule(
        "{ decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_cost: ‸0.0000001 } }",
        "`0.0000001`",
        "six decimals",
    );
    rule("{ decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_cost: ‸-1 } }", "`-1`", "not negative");
    rule("{ decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_cost: ‸\"50\" } }", "`50`", "a number");
    rule("{ decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_cost: ‸.inf } }", "`.inf`", "a number");
    rule(
        "{ decision: ALLOW_WITH_CONSTRAINTS, constraints: { redact: [‸\"/a~2\"] } }",
        "`/a~2`",
        "JSON pointer",
    );
    rule(
        "{ decision: ALLOW_WITH_CONSTRAINTS, constraints: { arguments: { remove: [‸/a/*] } } }",
        "`/a/*`",
        "without `*`",
    );
    rule(
        "{ decision: ALLOW_WITH_CONSTRAINTS, constraints: { arguments: { clamp: { n: ‸{ min: 2, max: 1 } } } } }",
        "`2` is above `1`",
        "min not above max",
    );
    rule("‸{ decision: REMEDIATE }", "`remediation` is missing", "suggest | apply");
    rule("{ decision: REMEDIATE, remediation: ‸{ mode: apply } }", "changes nothing", "set, remove or tool");
    rule("{ decision: REMEDIATE, remediation: { mode: ‸do, tool: x } }", "`do`", "one of suggest, apply");

    check("‸{}", &[("neither a gate nor a rulebook", "`name` and `rules`")]);
    check("‸‸rules: []\n", &[("`name` is missing", "the gate's id"), ("`rules` is empty", "at least one")]);
}

#[test]
fn selectors_that_are_wrong_say_where() {
    let on = |line: &str, offending: &str, expected: &str| {
        let text = format!("name: g\non: {line}\nrules: [{{ decision: DENY }}]\n");
        check_errors("gate.yaml", &text, &[(offending, expected)]);
    };
    on("‸[]", "`on` is empty", "at least one entry");
    on("[‸{}]", "an entry of `on` is empty", "one of action");
    on("‸{ tool: x }", "a map", "a list");
    on("[{ ‸tools: x }]", "`tools`; did you mean `tool`?", "one of action, tool");
    on("[{ tool: ‸\"a***\" }]", "`a***`", "wildcards");
    on("[{ agent: ‸planner-02 }]", "no agent `planner-02`", "`planner-01`");
    on("[{ workflow: ‸wf-9 }]", "no workflow `wf-9`", "`wf-123`, `wf-124`");
}

#[test]
fn rulebooks_and_other_files_that_are_wrong_say_where() {
    check_errors(
        "book.yaml",
        "version: 1\npolicies:\n  - id: a\n    ‸quorum: 2\n    conditions: { allowed_roles: ‸[], ‸max_cost: 3 }\n    actions: { on_allow: ‸yes, on_deny: ‸throttle, on_violation: ‸allow }\n  - ‸‸description: x\n",
        &[
            ("`quorum`", "requires_approval: true"),
            ("a list does not fit `allowed_roles`", "at least one"),
            ("`max_cost`", "max_cost_usd"),
            ("`yes`", "permit, allow"),
            ("`throttle`", "deny"),
            ("`allow`", "throttle, deny"),
            ("`id` is missing", "the policy's id"),
            ("the policy says nothing", "conditions, actions"),
        ],
    );
    check_errors(
        "bundle.yaml",
        "version‸: \ndefault_decision: ‸REMEDIATE\ndefault_approvers: [‸eve]\nloop: { max_repeats: ‸0 }\n‸ower: x\n",
        &[
            ("`version` has no value", "a text"),
            ("`REMEDIATE`", "SUGGEST or DENY"),
            ("`eve`", "`alice`"),
            ("`0`", "from 1 to"),
            ("unknown key `ower`; did you mean `owner`?", "default_decision"),
        ],
    );
    check_errors(
        "prices.yaml",
        "models:\n  m: ‸{ input_usd_per_mtok: ‸-1, encoding: ‸p50k, multiplier: ‸1.0001 }\ntools: { ‸\"***\": 1 }\n",
        &[
            ("`output_usd_per_mtok` is missing", "USD per million tokens"),
            ("`-1`", "not negative"),
            ("`p50k`", "o200k_base, cl100k_base, o200k_harmony, p50k_base, r50k_base"),
            ("`1.0001`", "three decimals"),
            ("`***`", "wildcards"),
        ],
    );
    check_errors(
        "budgets.yaml",
        "budgets:\n  - { id: a, scope: ‸team, window: ‸week, max_calls: ‸1.5, on_exceed: ‸stop, alert_at: ‸101 }\n  - ‸{ id: ‸a, scope: agent, window: day }\n  - { id: ‸default, scope: agent, window: day, max_calls: 1, ‸strict: true, match: { agent: ‸x } }\n",
        &[
            ("`team`", "workflow"),
            ("`week`", "month"),
            ("`1.5`", "a whole number"),
            ("`stop`", "require_approval"),
            ("`101`", "from 1 to 100"),
            ("no cap", "max_tokens"),
            ("duplicate policy id `a`: it stands at budgets.yaml:2", "unique"),
            ("`default` is a reserved id", "another id"),
            ("`strict`", "max_tokens or max_cost_usd"),
            ("no agent `x`", "`planner-01`"),
        ],
    );
    check_errors(
        "budgets.yaml",
        "budgets:\n  - { id: a, scope: capabilty, window: minute, max_calls: 1, ‸zone: ‸Mars/Phobos, alert_at: [50, ‸50, ‸0] }\n  - { id: b, scope: ‸tenants, window: day, max_calls: 1, zone: ‸[UTC], alert_at: ‸[] }\n".replace("scope: capabilty", "scope: ‸capabilty").as_str(),
        &[
            ("did you mean `capability`?", "tenant"),
            ("`zone` does nothing", "hour, day or month"),
            ("`Mars/Phobos`", "tzdata"),
            ("`50` stands twice", "once"),
            ("`0`", "from 1 to 100"),
            ("did you mean `tenant`?", "agent"),
            ("`zone`", "Europe/Berlin"),
            ("`alert_at`", "1 to 100 shares"),
        ],
    );
}

/// A bare name is no pointer of a price: nothing that is expected says so.
#[test]
fn a_price_expects_what_it_takes() {
    for argument in ["rows", "/a/*", "/a~2"] {
        let text = format!("tools: {{ files__x: {{ per: [{{ argument: \"{argument}\", usd: 1 }}] }} }}\n");
        let (_, problems) = compile(&bundle(&[("prices.yaml", &text)]), &input());
        let [problem] = of(&problems, Severity::Error)[..] else { panic!("{argument}: {problems}") };
        assert!(problem.expected.contains("a JSON pointer"), "{problem:?}");
        assert!(!problem.expected.contains("name"), "{problem:?}");
    }
}

/// A strict budget needs room for the arguments and the least of a result.
#[test]
fn a_strict_budget_that_no_call_fits_into_is_a_lint() {
    for (most, told) in [(0, 1), (128, 1), (129, 0)] {
        let text =
            format!("budgets: [{{ id: a, scope: agent, window: day, max_tokens: {most}, strict: true }}]\n");
        let (_, problems) = compile(&bundle(&[("budgets.yaml", &text)]), &input());
        let fits = |p: &&Problem| p.message.contains("no call fits into this budget");
        let found: Vec<&Problem> = problems.0.iter().filter(fits).collect();
        assert_eq!(found.len(), told, "{most}: {problems}");
        assert!(found.iter().all(|problem| problem.strict), "{problems}");
    }
}

/// A budget's zone is data of the bundle: the snapshot covers it, and it is kept with the bundle.
#[test]
fn a_budgets_zone_is_data_of_the_bundle() {
    let data: crate::policy::ZoneData = [("Europe/Berlin", 3_600), ("Asia/Kolkata", 19_800)]
        .map(|(name, _)| (Arc::from(name), zone_data(name)))
        .into();
    let budgets = "budgets:
  - { id: a, scope: tenant, window: day, max_calls: 1, zone: Europe/Berlin, alert_at: [80, 50] }
  - { id: b, scope: capability, window: hour, max_calls: 1, zone: \"+05:30\" }
  - { id: c, scope: global, window: month, max_calls: 1, zone: UTC }
";
    let compile_in = |zones: crate::policy::ZoneData| {
        let known = KnownNames { zones: crate::policy::Zones::of(zones), ..KnownNames::default() };
        compile(&bundle(&[("budgets.yaml", budgets)]), &CompileInput { known, ..input() })
    };
    let (set, problems) = compile_in(data.clone());
    let set = set.unwrap_or_else(|| panic!("{problems}"));
    let names: Vec<_> =
        set.budgets.iter().map(|budget| budget.zone.as_ref().map(|zone| &*zone.name)).collect();
    assert_eq!(names, [Some("Europe/Berlin"), Some("+05:30"), None]);
    assert_eq!(&*set.budgets[0].alert_at, [50, 80]);
    assert_eq!(set.zones.keys().map(|name| &**name).collect::<Vec<_>>(), ["Europe/Berlin"]);
    // With other rules it is another bundle.
    let mut other = data.clone();
    other.insert(Arc::from("Europe/Berlin"), data["Asia/Kolkata"].clone());
    assert_ne!(compile_in(other).0.unwrap().snapshot, set.snapshot);
    assert_eq!(compile_in(set.zones.clone()).0.unwrap().snapshot, set.snapshot);
}

fn zone_data(name: &str) -> Arc<[u8]> {
    std::fs::read(std::path::Path::new("/usr/share/zoneinfo").join(name)).unwrap().into()
}

/// A tool's price is an amount, or a formula over its arguments.
#[test]
fn a_tools_price_may_be_a_formula() {
    let prices = "tools:
  files__write_file: { base_usd: 0.001, per: [{ argument: /rows, usd: 0.0001 }, { argument: /content, unit: MB, usd: 0.02, default: 0 }], max_usd: 2 }
  \"files__*\": 0.25
";
    let set = set(&[("prices.yaml", prices)]);
    let price = |tool: &str, arguments: serde_json::Value| set.prices.tool_price(tool, None, &arguments);
    assert_eq!(price("files__write_file", serde_json::json!({"rows": 20})), Ok(MicroUsd(3_000)));
    assert_eq!(price("files__write_file", serde_json::json!({"rows": "x"})), Ok(MicroUsd(2_000_000)));
    assert_eq!(price("files__read_file", serde_json::json!({})), Ok(MicroUsd(250_000)));
    assert_eq!(price("other__tool", serde_json::json!({})), Ok(MicroUsd::ZERO));
    check_errors(
        "prices.yaml",
        "tools:\n  a: ‸{}\n  b: { base_usd: 2, ‸max_usd: 1 }\n  c: { per: [‸{ argument: ‸\"a*/b\", unit: ‸MBs }, { argument: /a, usd: ‸-1, each: ‸0, ‸max: 1 }, ‸7] }\n  d: ‸free\n",
        &[
            ("neither an amount nor a formula", "per"),
            ("`max_usd` is less than `base_usd`", "most"),
            ("`usd` is missing", "in USD"),
            ("`a*/b`", "JSON pointer"),
            ("`MBs` does not fit `unit`", "GiB"),
            ("`-1`", "not negative"),
            ("`0`", "from 1 to"),
            ("unknown key `max`", "default"),
            ("`7`", "a map"),
            ("`free`", "base_usd"),
        ],
    );
}

#[test]
fn data_yaml_is_checked_like_the_rest() {
    check_errors("data.yaml", "‸nonsense: 1\n‸more: 2\n", &[("`nonsense`", ""), ("`more`", "")]);
    check_errors("data.yaml", "‸[1]\n", &[("a list", "a map")]);
    assert!(compile(&bundle(&[("data.yaml", "# nothing\n")]), &input()).0.is_some());
}

#[test]
fn an_authority_map_that_is_wrong_says_where() {
    check_errors(
        "authority.yaml",
        r#"capabilities:
  c1: { tools: [‸"", ‸"a[bc]", ‸"{a,b}*", ‸"a?"], resources: ["https://[::1]/{x}?y", "file:///a b/**", "x://", "file:///", "file:///a%20b/**", ‸"File:///x", ‸"https://A.example/x", ‸"file:///a/../b", ‸"file:///a/"], ‸tool: [x] }
  c2: { autonomy: ‸free }
agents:
  a1: { operator: ‸eve, capabilities: [c1, ‸c9], workflow: ‸w9, keys: [‸my-secret-key] }
  a2: { keys: [‸"sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"], attended: ‸1 }
  ‸"a 3": { keys: ‸also-a-secret }
  ‸a2: {}
people:
  ‸operator: { roles: [‸boss] }
  ‸devs: {}
  dave: { groups: [devs], keys: ["sha256:00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff"] }
workflows:
  w1: { approval_sla: ‸soon, capabilities: [‸c8] }
‸agent: {}
"#,
        &[
            ("`` is not a glob", "1 to 512"),
            ("`a[bc]` is not a glob", "the only wildcards"),
            ("`{a,b}*` is not a glob", "the only wildcards"),
            ("`a?` is not a glob", "the only wildcards"),
            ("`File:///x` can match no URI", "lower case"),
            ("`https://A.example/x` can match no URI", "lower case"),
            ("`file:///a/../b` can match no URI", "without"),
            ("`file:///a/` can match no URI", "without"),
            ("`tool`; did you mean `tools`?", "tools, resources"),
            ("`free`", "suggest_only, supervised, autonomous"),
            ("no person `eve`", "`dave`"),
            ("no capability `c9`", "`c1`, `c2`"),
            ("no workflow `w9`", "`w1`"),
            ("not shown", "64 hex digits"),
            ("the same key belongs to person `dave` and to agent `a2`", "a key of its own"),
            ("`1`", "true or false"),
            ("`a 3` is not a name", "no spaces"),
            ("not shown", "sha256:"),
            ("duplicate key `a2`", "each key once"),
            ("`operator` cannot be a person", "another name"),
            ("`boss`", "approver, admin, auditor, auditor-full, viewer"),
            ("`devs` names a person and a group", "different names"),
            ("`soon`", "a duration"),
            ("no capability `c8`", "`c1`"),
            ("unknown key `agent`", "agents, people"),
        ],
    );
}

#[test]
fn everything_wrong_in_all_files_is_told_together() {
    let (set, problems) = compile(
        &[
            file("authority.yaml", "agents: { a: { model: 1, capabilities: [x] } }\n"),
            file("b.yaml", "name: [\n"),
            file("c.yaml", "name: same\nrules: [{ decision: NO }]\n"),
            file("d.yaml", "name: same\nrules: [{ decision: DENY }]\n"),
            file("e.yaml", "name: g\n---\nname: h\n"),
            file("tests/x.yaml", "no: policy\n"),
        ],
        &input(),
    );
    assert!(set.is_none());
    let got: Vec<_> =
        of(&problems, Severity::Error).iter().map(|p| (p.place.file.as_str(), p.place.line)).collect();
    assert_eq!(
        got,
        [
            ("authority.yaml", 1),
            ("b.yaml", 1),
            ("bundle.yaml", 0),
            ("c.yaml", 2),
            ("d.yaml", 1),
            ("e.yaml", 2)
        ],
        "{problems}"
    );
    assert!(compile(&[], &input()).1.to_string().contains("`authority.yaml` is missing"));
}

/// Where authority.yaml cannot be read, nothing is called dangling because of it.
#[test]
fn a_broken_authority_map_does_not_make_every_name_dangle() {
    let (_, problems) = compile(&bundle(&[("authority.yaml", "agents: ["), ("gate.yaml", GATE)]), &input());
    assert_eq!(of(&problems, Severity::Error).len(), 1, "{problems}");
}

/// What a rule, capability or budget names and no upstream lists protects nothing: the slip is told, with what was meant.
#[test]
fn names_that_fit_nothing_listed_are_lints() {
    let gate = |on: &str| format!("name: g\ndescription: d\non:\n{on}rules: [{{ decision: DENY }}]\n");
    let listed = |on: &str, expect: &[&str]| check_lints_of(true, "gate.yaml", &gate(on), expect);
    listed("  - { tool: ‸files__wriet_file }\n", &["did you mean `files__write_file`?"]);
    listed("  - { tool: ‸\"files__wrte_*\" }\n", &["`files__wrte_*` matches no tool that is known"]);
    listed("  - { tool: ‸\"*_wirte_*\" }\n", &["matches no tool"]);
    listed("  - { action: ‸\"files:wirte\" }\n", &["did you mean `files:write`?"]);
    listed("  - { prompt: ‸files__outlin }\n", &["did you mean `files__outline`?"]);
    listed(
        "  - { role: ‸plannr, agent_type: ‸critc }\n",
        &["the role `plannr`; did you mean `planner`?", "the type"],
    );
    for fine in [
        "{ tool: \"files__*\" }",
        "{ tool: \"*\" }",
        "{ tool: \"*__write_*\" }",
        "{ action: \"files:*\" }",
        "{ action: \"files:file:///srv/**\" }",
        "{ prompt: \"files__*\" }",
        "{ role: \"plan*\" }",
    ] {
        listed(&format!("  - {fine}\n"), &[]);
        check_lints("gate.yaml", &gate(&format!("  - {fine}\n")), &[]);
    }
    // What is not known cannot be missing.
    check_lints("gate.yaml", &gate("  - { tool: files__wriet_file, prompt: files__outlin }\n"), &[]);
    check_lints_of(
        true,
        "budgets.yaml",
        "budgets:\n  - { id: b, scope: agent, window: day, max_calls: 1, match: { tool: ‸files__write_fiel } }\n",
        &["did you mean `files__write_file`?"],
    );
    check_lints_of(
        true,
        "book.yaml",
        "version: 1\npolicies:\n  - id: p\n    description: d\n    on: [{ tool: files__write_file }]\n    conditions: { allowed_roles: [planner, ‸writr], agent_types: [‸plan] }\n",
        &["the role `writr`", "the type `plan`"],
    );
    check_lints_of(
        true,
        "authority.yaml",
        &AUTHORITY
            .replace("\"files__read_*\"", "‸\"files__raed_*\"")
            .replace("prompts: [\"*\"]", "prompts: [‸\"files__outlien\"]"),
        &["`files__raed_*`", "did you mean `files__outline`?"],
    );
    check_lints_of(true, "prices.yaml", "tools: { ‸files__wirte_file: 1 }\n", &["did you mean"]);
}

/// R29: a rule that nobody can approve stops every call for good.
#[test]
fn a_rule_that_nobody_can_approve_is_a_lint() {
    let gate = |keys: &str| {
        format!(
            "name: g\ndescription: d\non: [{{ tool: files__x }}]\nrules:\n  - ‸decision: REQUIRE_APPROVAL\n{keys}"
        )
    };
    // alice is the only agent's operator; alice and bob decide.
    let fine = |keys: &str| check_lints("gate.yaml", &gate(keys).replace('‸', ""), &[]);
    let nobody = |keys: &str| {
        let marked = if keys.contains('‸') { gate(keys).replacen('‸', "", 1) } else { gate(keys) };
        check_lints("gate.yaml", &marked, &["nobody can approve"]);
    };
    fine("    approvers: [operator]\n");
    fine("    approvers: [operator, bob]\n    quorum: 2\n");
    fine("");
    nobody("    approvers: ‸[operator]\n    separate: true\n");
    nobody("    approvers: ‸[alice]\n    separate: true\n");
    nobody("    approvers: ‸[operator]\n    quorum: 2\n");
    nobody("    quorum: 7\n");
    // In the agent's own client only its attended operator's answer counts, and no key proves whose it is.
    let chat = "in the agent's own chat alone";
    check_lints(
        "gate.yaml",
        &gate("    approvers: [operator]\n    channels: ‸[elicitation]\n").replacen('‸', "", 1),
        &[chat],
    );
    fine("    approvers: [bob]\n    channels: [elicitation, cli]\n");
    check_lints(
        "gate.yaml",
        &gate("    approvers: ‸[bob]\n    channels: ‸[elicitation]\n").replacen('‸', "", 1),
        &["nobody can approve", chat],
    );
    let own = gate("    approvers: [operator]\n    channels: [elicitation]\n").replace('‸', "");
    let away = AUTHORITY.replace("attended: true", "attended: false");
    let (_, problems) = compile(&bundle(&[("authority.yaml", &away), ("gate.yaml", &own)]), &input());
    assert!(problems.0.iter().any(|p| p.strict && p.message.contains("nobody can approve")), "{problems}");
    // The only one who decides is the operator, who must be named for that.
    let alone = AUTHORITY.replace("roles: [approver, auditor]", "roles: [auditor]");
    let gate = gate("").replace('‸', "");
    let (_, problems) = compile(&bundle(&[("authority.yaml", &alone), ("gate.yaml", &gate)]), &input());
    assert_eq!(of(&problems, Severity::Lint).iter().filter(|p| p.strict).count(), 1, "{problems}");
    let named = gate.replace("REQUIRE_APPROVAL\n", "REQUIRE_APPROVAL\n    approvers: [operator]\n");
    let (_, problems) = compile(&bundle(&[("authority.yaml", &alone), ("gate.yaml", &named)]), &input());
    assert!(problems.0.iter().all(|p| !p.strict), "{problems}");
}

/// What an unpriced model is charged as; a date after the name is no other model.
#[test]
fn a_model_without_a_price_is_said_to_cost_what_it_costs() {
    let agent = |model: &str| {
        format!(
            "capabilities:\n  c: {{ tools: [\"files__*\"] }}\nagents:\n  a: {{ capabilities: [c], keys: [\"{HEX_A}\"], model: {model} }}\n"
        )
    };
    check_lints(
        "authority.yaml",
        &agent("‸acme-9"),
        &["charged as the dearest of all that are listed: 150 USD per million read, 600 written"],
    );
    check_lints("authority.yaml", &agent("‸gtp-4o"), &["did you mean `gpt-4o`?"]);
    check_lints("authority.yaml", &agent("anthropic/claude-sonnet-4.5"), &[]);
    check_lints("authority.yaml", &agent("gpt-4o-2024-11-20"), &[]);
}

/// A model that the bundle's own table lacks is charged by the built-in one, and that is said; its price is part of the
/// snapshot.
#[test]
fn a_model_of_the_built_in_table_is_named() {
    let authority = |model: &str| {
        format!(
            "capabilities:\n  c: {{ tools: [\"files__*\"] }}\nagents:\n  a: {{ capabilities: [c], keys: [\"{HEX_A}\"], model: {model} }}\n"
        )
    };
    let prices =
        "models:\n  house: { input_usd_per_mtok: 1000, output_usd_per_mtok: 2, encoding: o200k_base }\n";
    let lints = |model: &str| {
        let files = bundle(&[("authority.yaml", &authority(model)), ("prices.yaml", prices)]);
        let (set, problems) = compile(&files, &input());
        assert!(set.is_some(), "{problems}");
        let told = problems.0.iter().filter(|p| p.message.contains("model `")).map(|p| p.message.clone());
        told.collect::<Vec<String>>()
    };
    let [told] = &lints("o3")[..] else { panic!() };
    assert!(
        told.starts_with("prices.yaml has no model `o3`: its tokens are charged by the built-in table of 20"),
        "{told}"
    );
    assert!(told.ends_with(": 2 USD per million read, 8 written"), "{told}");
    let [told] = &lints("acme-9")[..] else { panic!() };
    assert!(
        told.contains("the dearest of all that are listed: 1000 USD per million read, 600 written"),
        "{told}"
    );
    assert_eq!(lints("house"), Vec::<String>::new());
    // Two names of one price are one to the agent, and two in the bundle; what stands in the bundle is told by it alone.
    let snapshot = |model: &str| {
        let files = bundle(&[("authority.yaml", &authority(model)), ("prices.yaml", prices)]);
        compile(&files, &input()).0.unwrap().snapshot
    };
    assert_ne!(snapshot("o3"), snapshot("acme-9"));
}

/// Formulas that count nothing, or what a tool does not take.
#[test]
fn price_formulas_are_held_against_what_tools_take() {
    check_errors(
        "prices.yaml",
        "tools:\n  files__write_file: { base_usd: 1, ‸per: [] }\n  a: { per: [{ argument: ‸rows, usd: 1 }] }\n  b: { per: [{ argument: ‸a/b, usd: 1 }] }\n",
        &[
            ("`per` is empty", "at least one"),
            ("did you mean `/rows`?", "begins with a slash"),
            ("did you mean `/a/b`?", "begins with a slash"),
        ],
    );
    let mut input = input();
    let tools = ["files__write_file", "files__write_more"].map(str::to_owned);
    let takes = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    input.known = KnownNames {
        upstreams: [(
            "files".to_owned(),
            KnownUpstream { prefix: "files__".to_owned(), is_listed: true, has_resources: true },
        )]
        .into(),
        tools: tools.iter().cloned().collect(),
        arguments: [(tools[0].clone(), takes(&["content", "path"])), (tools[1].clone(), takes(&["content"]))]
            .into(),
        ..KnownNames::default()
    };
    let lints = |text: &str| {
        let (set, problems) = compile(&bundle(&[("prices.yaml", text)]), &input);
        assert!(set.is_some(), "{problems}");
        let of_prices = problems.0.into_iter().filter(|p| p.place.file == "prices.yaml");
        of_prices.map(|problem| (problem.strict, problem.message)).collect::<Vec<_>>()
    };
    let [(strict, told)] =
        &lints("tools: { \"files__*\": { per: [{ argument: /contents, unit: KB, usd: 1 }] } }")[..]
    else {
        panic!()
    };
    assert!(
        *strict && told.contains("`files__write_file` takes no argument `contents` (nor does another"),
        "{told}"
    );
    assert!(told.contains("did you mean `content`?"), "{told}");
    let [(_, told)] = &lints("tools: { \"files__*\": { per: [{ argument: /path, unit: KB, usd: 1 }] } }")[..]
    else {
        panic!()
    };
    assert!(told.contains("`files__write_more` takes no argument `path`"), "{told}");
    assert!(
        lints("tools: { \"files__*\": { per: [{ argument: /content/0, unit: KB, usd: 1 }] } }").is_empty()
    );
}

/// To throttle is to say that there is room later.
#[test]
fn a_throttle_that_never_frees_is_a_lint() {
    check_lints(
        "budgets.yaml",
        "budgets:\n  - { id: a, scope: agent, window: ever, max_calls: 5, ‸on_exceed: throttle }\n  - { id: b, scope: agent, window: day, max_cost_usd: 0, ‸on_exceed: throttle }\n  - { id: c, scope: agent, window: day, max_calls: 0 }\n  - { id: d, scope: agent, window: ever, max_calls: 5 }\n",
        &["the window `ever` never frees", "a cap of 0 lets no call through"],
    );
    let book = |end: &str| {
        format!(
            "version: '1'\npolicies:\n  - id: r\n    description: d\n    on: [{{ action: \"files:write\" }}]\n    conditions: {{ ‸max_calls_per_minute: 0 }}\n{end}"
        )
    };
    check_lints("book.yaml", &book(""), &["a cap of 0 lets no call through"]);
    check_lints("book.yaml", &book("    actions: { on_violation: deny }\n").replace('‸', ""), &[]);
}

#[test]
fn lints_name_what_somebody_should_look_at() {
    check_lints(
        "gate.yaml",
        "‸‸name: g\nrules:\n  - decision: DENY\n  - ‸decision: ALLOW\n",
        &["concerns every call", "no rationale", "never reached"],
    );
    // R65, R66: a policy has a rationale. R18: one policy for everything.
    check_lints(
        "gate.yaml",
        "‸name: g\non: [{ tool: files__x }]\nrules: [{ decision: DENY }]\n",
        &["no rationale"],
    );
    check_lints(
        "gate.yaml",
        "name: g\ndescription: d\non:\n  - { tool: files__read_file }\n  - { tool: ‸aws-cli }\n  - { tool: \"*__x\" }\n  - { action: \"files:*\", label: ‸wirte }\n  - { action: ‸\"s3:put\" }\n  - { upstream: ‸crm, agent: ‸\"x-*\" }\nrules:\n  - { decision: REQUIRE_APPROVAL, approvers: ‸[bob], quorum: 2 }\n",
        &["`aws-cli`", "`wirte`", "`s3:put`", "`crm`", "`x-*` matches no agent", "the quorum is `2`"],
    );
    // R65: implicit trust, and cost that is seen afterwards.
    check_lints(
        "bundle.yaml",
        "‸‸‸version: 1\ndefault_decision: ‸ALLOW\n",
        &["no budget", "no policy looks at who", "no owner", "`ALLOW`"],
    );
    check_lints(
        "authority.yaml",
        "agents:\n  a: { capabilities: [c], keys: [\"sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"] }\n\
         capabilities:\n  c: { tools: [\"files__*\", ‸\"other__*\"] }\n",
        &["`other__*`"],
    );
    // R5, R60.
    check_lints(
        "authority.yaml",
        "capabilities:\n  all: { tools: [‸\"*\"], resources: [‸\"**\"] }\n  ‸‸none: {}\nagents:\n  ‸‸a: { capabilities: [all], model: ‸nope, attended: true }\n  ‸‸b: {}\nworkflows:\n  ‸w: {}\n",
        &[
            "`*`",
            "`**`",
            "covers nothing",
            "no agent has",
            "no key",
            "no operator",
            "`nope`",
            "no capability",
            "no key",
            "no owner",
        ],
    );
}

/// The hour of a zone is that of its rules, which count for the snapshot and are kept with the set.
#[test]
fn the_rules_of_a_named_zone_are_part_of_the_bundle() {
    let gate = |zone: &str| {
        format!(
            "name: g\ndescription: d\nrules: [{{ condition: \"now.getHours('{zone}') >= 18\", decision: DENY }}]\n"
        )
    };
    let compiled = |zone: &str, data: &[(&str, Arc<[u8]>)]| {
        let mut input = input();
        let zones: ZoneData = data.iter().map(|(name, data)| (Arc::from(*name), data.clone())).collect();
        input.known.zones = Zones::of(zones);
        compile(&bundle(&[("g.yaml", &gate(zone))]), &input)
    };
    let read =
        |zone: &str| -> Arc<[u8]> { std::fs::read(format!("/usr/share/zoneinfo/{zone}")).unwrap().into() };
    let (berlin, kolkata) = (read("Europe/Berlin"), read("Asia/Kolkata"));
    let (set, problems) =
        compiled("Europe/Berlin", &[("Europe/Berlin", berlin.clone()), ("Asia/Kolkata", kolkata.clone())]);
    let set = set.unwrap_or_else(|| panic!("{problems}"));
    assert_eq!(set.zones.keys().map(|name| &**name).collect::<Vec<_>>(), ["Europe/Berlin"]);
    let again = compiled("Europe/Berlin", &[("Europe/Berlin", berlin)]).0.unwrap();
    assert_eq!(again.snapshot, set.snapshot);
    let moved = compiled("Europe/Berlin", &[("Europe/Berlin", kolkata)]).0.unwrap();
    assert_ne!(moved.snapshot, set.snapshot, "other rules of a zone are another bundle");
    let refused = |zone: &str, data: &[(&str, Arc<[u8]>)], expect: &str| {
        let (set, problems) = compiled(zone, data);
        assert!(set.is_none() && problems.to_string().contains(expect), "{problems}");
    };
    let known = [("Europe/Berlin", read("Europe/Berlin"))];
    refused("Europe/Berln", &known, "did you mean `Europe/Berlin`?");
    refused("Berlin", &known, "did you mean `Europe/Berlin`?");
    refused("europe/berlin", &known, "did you mean `Europe/Berlin`?");
    refused("../../etc/passwd", &known, "no such time zone");
    refused("Europe/Berlin", &[], "there is no time zone data here");
    refused("Europe/Berlin", &[("Europe/Berlin", Arc::from(&b"TZif"[..]))], "cannot be read");
}

/// R79: a rule says for which capability and tenant it is, and a slip in either is told.
#[test]
fn selectors_know_capability_and_tenant() {
    let gate = |on: &str| format!("name: g\ndescription: d\non: [{on}]\nrules: [{{ decision: DENY }}]\n");
    let set = set(&[("g.yaml", &gate("{ capability: \"docs.*\", tenant: acme }"))]);
    let on = &set.policies[0].on[0];
    assert_eq!(on.capability.as_ref().map(|glob| glob.as_str()), Some("docs.*"));
    assert_eq!(on.tenant.as_ref().map(|glob| glob.as_str()), Some("acme"));
    check_errors(
        "g.yaml",
        &gate("{ capability: ‸docs.wirte }"),
        &[("did you mean `docs.write`?", "`docs.read`")],
    );
    check_lints("g.yaml", &gate("{ tenant: ‸acmee }"), &["the tenant `acmee`; did you mean `acme`?"]);
    check_lints("g.yaml", &gate("{ capability: ‸\"mail.*\" }"), &["matches no capability"]);
}

/// A rule is never reached where one before it is true whenever it would be; it is named by its id.
#[test]
fn a_rule_that_is_never_reached_is_named() {
    let gate = |first: &str, second: &str| {
        format!(
            "name: g\ndescription: d\non: [{{ label: write }}]\nrules:\n  - {{ id: one, condition: \"{first}\", decision: DENY }}\n  - ‸{{ id: two, condition: \"{second}\", decision: ALLOW }}\n"
        )
    };
    let never = |first: &str, second: &str, expect: &str| {
        check_lints("gate.yaml", &gate(first, second), &[&format!("rule `two` {expect}")]);
    };
    let reached =
        |first: &str, second: &str| check_lints("gate.yaml", &gate(first, second).replace('‸', ""), &[]);
    never("true", "args.n == 1", "is never reached: rule `one` before it always applies");
    never("args.n == 1", "args.n  ==  1", "is never reached: wherever it would apply");
    never("args.n == 1", "args.m == 2 && args.n == 1", "is never reached: wherever it would apply");
    never("args.n == 1", "false", "never applies");
    reached("args.n == 1", "args.n == 2");
    reached("args.n == 1 && args.m == 2", "args.n == 1");
    reached("!tool.pinned", "tool.pinned");
    reached("!(args.a || args.b)", "args.a || args.b");
    reached("!args.a || args.b", "args.a || args.b");
    reached("args.n == 'a b'", "args.n == 'ab'");
}

#[test]
fn an_approval_that_nobody_can_give_is_a_lint() {
    let check = |bundle_text: &str, gate: &str, expect: bool| {
        let files = [
            ("authority.yaml", "people: { a: { roles: [admin] } }\n"),
            ("bundle.yaml", bundle_text),
            ("g.yaml", gate),
        ];
        let (set, problems) = compile(&bundle(&files), &input());
        assert!(set.is_some(), "{problems}");
        assert_eq!(problems.to_string().contains("nobody has it"), expect, "{problems}");
    };
    let ask = "name: g\nrules: [{ decision: REQUIRE_APPROVAL }]\n";
    check("version: 1\n", ask, true);
    check("version: 1\ndefault_approvers: [operator]\n", ask, false);
    check("version: 1\n", "name: g\nrules: [{ decision: REQUIRE_APPROVAL, approvers: [operator] }]\n", false);
    check("version: 1\n", "name: g\nrules: [{ decision: DENY }]\n", false);
    check("version: 1\ndefault_decision: REQUIRE_APPROVAL\n", "name: g\nrules: [{ decision: DENY }]\n", true);
}

/// What a bundle says counts for its snapshot; how it is written does not.
#[test]
fn a_snapshot_is_of_what_the_files_say() {
    let of = |changes: &[(&str, &str)]| set(changes).snapshot;
    let base = of(&[]);
    assert_eq!(base.len(), 64);
    assert_eq!(of(&[("tests/t.yaml", "x: 1")]), base);
    let gate = "name: g\ndescription: d\nrules:\n  - { id: a, condition: \"env == 'x'\", decision: DENY }\n  - { id: b, decision: SUGGEST }\n";
    let written = of(&[("g.yaml", gate)]);
    let same = |text: &str| assert_eq!(of(&[("g.yaml", text)]), written, "{text}");
    let other = |text: &str| assert_ne!(of(&[("g.yaml", text)]), written, "{text}");
    same(&format!("# a comment\n\n{gate}"));
    same(
        "rules: [{ decision: 'DENY', id: a, condition: \"env == 'x'\" }, { decision: SUGGEST, id: b }]\ndescription: \"d\"\nname: g\n",
    );
    other(&gate.replace("SUGGEST", "DENY"));
    other(&gate.replace("== 'x'", "!= 'x'"));
    other(&gate.replace("id: b", "id: c"));
    other(&gate.replace("description: d", "description: D"));
    // The order of rules counts, and so does the name of a file: policies come in the order of both.
    other(
        "name: g\ndescription: d\nrules:\n  - { id: b, decision: SUGGEST }\n  - { id: a, condition: \"env == 'x'\", decision: DENY }\n",
    );
    assert_ne!(of(&[("h.yaml", gate)]), written);
    let mut reversed = bundle(&[]);
    reversed.reverse();
    assert_eq!(compile(&reversed, &input()).0.unwrap().snapshot, base);
    let mut other = input();
    other.servers_digest_material.push(b'x');
    assert_ne!(compile(&bundle(&[]), &other).0.unwrap().snapshot, base);
    let mut other = input();
    other.environment = Arc::from("production");
    assert_ne!(compile(&bundle(&[]), &other).0.unwrap().snapshot, base);
}

#[test]
fn the_parts_of_a_bundle_are_told_apart() {
    let book = "version: \"2\"\npolicies:\n  - { id: p1, description: d, conditions: { max_cost_usd: 1 } }\n  - { id: p2, description: d, conditions: { max_cost_usd: 2 } }\n";
    let of = |gate: &str, book: &str| set(&[("g.yaml", gate), ("r.yaml", book)]).parts;
    let gate = "name: g\ndescription: d\nrules: [{ decision: DENY }]\n";
    let before = of(gate, book);
    let ids: Vec<&str> = before.policies.keys().map(|id| &**id).collect();
    assert!(["g", "p1", "p2"].iter().all(|id| ids.contains(id)), "{ids:?}");
    assert!(before.files.contains_key("authority.yaml") && before.files.contains_key("bundle.yaml"));
    let after = of(&gate.replace("DENY", "SUGGEST"), &book.replace("max_cost_usd: 2", "max_cost_usd: 3"));
    let changed: Vec<&str> = before
        .policies
        .iter()
        .filter(|(id, part)| after.policies.get(*id) != Some(part))
        .map(|(id, _)| &**id)
        .collect();
    assert_eq!(changed, ["g", "p2"]);
    assert_eq!(before.files, after.files);
}

/// A key pasted where its digest belongs is in no message (I5).
#[test]
fn keys_are_never_echoed() {
    for keys in [
        "[@sk-live-0123]",
        "[*sk-live-0123]",
        "!sk-live-0123",
        "sk-live-0123: sk-live-0123",
        "\"sk-live-0123",
        "'sk-live-0123' sk-live-0123",
        "[sk-live-0123",
        "\n  -sk-live-0123\n  - x\n",
        "[sk-live-0123]",
        "sk-live-0123",
        "{ k: sk-live-0123 }",
        "[sha256:sk-live-0123]",
        "[[sk-live-0123]]",
    ] {
        let inline = format!("agents: {{ a: {{ keys: {keys} }} }}\npeople: {{ p: {{ keys: {keys} }} }}\n");
        let below = format!("agents:\n  a:\n    keys: {}\n    role: r\n", keys.replace("\n  ", "\n      "));
        for text in [inline, below] {
            let (set, problems) = compile(&bundle(&[("authority.yaml", &text)]), &input());
            assert!(set.is_none(), "{text}");
            assert!(!problems.to_string().contains("sk-live-0123"), "{text}{problems}");
        }
    }
}

#[test]
fn hostile_yaml_is_bounded() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let before = level - 1;
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 10].join(", ")));
    }
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 50].join(","));
    let deep = format!("a: {}{}", "[".repeat(60), "]".repeat(60));
    let huge = "#".repeat(2 << 20);
    let blank = format!("a: [{}", "\n".repeat(900_000));
    let quotes = format!("{}b: [", "a: \"x\n".repeat(150_000));
    for (text, word) in [
        (bomb.as_str(), "too many values"),
        (&long, "unfold"),
        (&deep, "too deeply"),
        (&huge, "bytes"),
        (&blank, "is not closed"),
        (&quotes, "is not closed"),
        ("a: &a [*a]", "`*a`"),
        ("a: *b", "`*` begins the name of an alias"),
        ("a: !!int 5", "`!!int`"),
        ("? [a]\n: b", "a key is not a text"),
        ("<<: { a: 1 }\nname: g\nrules: []", "unknown key `<<`"),
    ] {
        let (_, problems) = compile(&bundle(&[("x.yaml", text)]), &input());
        assert!(problems.to_string().contains(word), "{word}: {problems}");
    }
}

#[test]
fn a_condition_that_does_not_compile_says_where() {
    for (name, text, line) in [
        ("gate.yaml", "name: g\nrules:\n  - { condition: \"env ==\", decision: ALLOW }\n", 3),
        (
            "book.yaml",
            "version: 1\npolicies:\n  - id: a\n    condition: env ==\n    actions: { on_allow: allow }\n",
            4,
        ),
        ("authority.yaml", "capabilities:\n  c:\n    condition: >-\n      env ==\n", 4),
    ] {
        let (set, problems) = compile(&bundle(&[(name, text)]), &input());
        assert!(set.is_none());
        let errors = of(&problems, Severity::Error);
        assert_eq!(errors.len(), 1, "{problems}");
        assert_eq!((errors[0].place.file.as_str(), errors[0].place.line), (name, line), "{problems}");
        assert!(errors[0].place.column >= 7 && errors[0].message.contains('`'), "{problems}");
    }
}

#[test]
fn a_flood_of_problems_is_cut_and_stays_an_error() {
    let text: String = (0..5_000).map(|n| format!("k{n}: 1\n")).collect();
    let (set, problems) = compile(&bundle(&[("bundle.yaml", &text)]), &input());
    assert!(set.is_none() && problems.0.len() < 600);
}

/// An error inside a condition is placed inside the scalar, however it is written.
#[test]
fn places_inside_scalars_follow_quotes_escapes_and_folds() {
    let check = |marked: &str| {
        let (text, places) = unmark(marked);
        let mut report = source::Report::new("x", &text);
        let root = source::parse_yaml(&mut report).unwrap();
        let node = root.get("c").unwrap();
        let offset = node.as_text().unwrap().chars().position(|c| c == 'X').unwrap();
        let place = report.place(report.inside(node, offset));
        assert_eq!((place.line, place.column), places[0], "{text}");
    };
    check("c: a ‸X b\n");
    check("c: \"a ‸X b\"\n");
    check("c: 'it''s ‸X'\n");
    check("c: \"\\\"q\\\" é ‸X\"\n");
    check("c: |\n  a\n  b ‸X\n");
    check("c: >-\n  a\n\n  b\n  ‸X\n");
    check("a: 1\nc: a\n  b\n  ‸X\n");
}

#[test]
fn trees_are_read_into_typed_values_with_every_misfit() {
    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Spec {
        words: std::collections::BTreeMap<String, Level>,
        rules: Vec<Item>,
        on: Option<bool>,
    }
    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Item {
        name: Option<String>,
        count: u8,
    }
    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Level {
        Low,
        High,
    }
    let (text, places) = unmark(
        "words: { a: high, b: ‸medium, ‸a: low }\nrules:\n  - ‸nam: x\n    count: 3\n  - { name: 7, count: ‸300 }\n  - ‸text\non: ‸maybe\n",
    );
    let mut report = source::Report::new("data.yaml", &text);
    let root = source::parse_yaml(&mut report).unwrap();
    let (spec, tree): (Spec, _) = typed::read(&root, &mut report);
    assert_eq!(spec.rules, [Item { name: None, count: 3 }, Item { name: Some("7".into()), count: 0 }]);
    assert_eq!(tree.at_path("rules[1].name").as_text(), Some("7"));
    assert_eq!(tree.at_path("rules[1].none.such"), tree.at_path("rules[1]"));
    let mut problems = report.into_problems();
    problems.sort();
    let got: Vec<_> = problems.0.iter().map(|p| (p.place.line, p.place.column)).collect();
    assert_eq!(got, places, "{problems}");
    assert!(
        problems
            .to_string()
            .contains("unknown key `nam`; did you mean `name`? (expected one of name, count)"),
        "{problems}"
    );
    assert!(
        problems.to_string().contains("`medium` is an unknown word (expected one of low, high)"),
        "{problems}"
    );
    let _: Level = Level::Low;
}

#[test]
fn durations_sizes_and_words_are_read_strictly() {
    let check = |text: &str, millis: Option<u64>| {
        assert_eq!(read::parse_duration(text), millis.map(Duration::from_millis), "{text}");
    };
    check("15m", Some(900_000));
    check("1h30m", Some(5_400_000));
    check("250ms", Some(250));
    check("2d", Some(172_800_000));
    check("0s", Some(0));
    check("", None);
    check("5", None);
    check("m", None);
    check("-5m", None);
    check("1.5h", None);
    check("5 m", None);
    check("99999999999999999999s", None);
    check("18446744073709551615d", None);
    assert_eq!(read::show_duration(Duration::from_secs(900)), "15m");
    assert_eq!(read::show_duration(Duration::from_millis(1_500)), "1500ms");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// No input panics the loader, and nothing wrong passes in silence.
    #[test]
    fn no_bundle_panics(edits in prop::collection::vec((0usize..4000, 0usize..6, ".{0,6}"), 1..6), which in 0usize..4) {
        let valid = [BUNDLE, AUTHORITY, GATE, BOOK][which];
        let name = ["bundle.yaml", "authority.yaml", "gate.yaml", "book.yaml"][which];
        let mut chars: Vec<char> = valid.chars().collect();
        for (at, cut, put) in edits {
            let at = at % (chars.len() + 1);
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, put.chars());
        }
        let text: String = chars.into_iter().collect();
        let (set, problems) = compile(&bundle(&[(name, &text)]), &input());
        prop_assert_eq!(set.is_none(), problems.has_errors());
        for problem in &problems.0 {
            prop_assert!(problem.place.line <= text.split('\n').count().max(AUTHORITY.len()));
            prop_assert!(!problem.message.is_empty());
        }
    }

    /// Random text neither.
    #[test]
    fn no_text_panics(text in "[-a-z0-9:{}\\[\\]&*!|>'\"#%@,? \n\t\u{e9}\u{1F600}]{0,200}") {
        let (set, problems) = compile(&bundle(&[("x.yaml", &text)]), &input());
        prop_assert_eq!(set.is_none(), problems.has_errors());
    }
}

/// R69: `mode: share` says of how many calls, and nothing else has a share.
#[test]
fn a_share_is_read_and_belongs_to_its_mode() {
    let gate = |keys: &str| format!("name: g\n{keys}on: [{{ action: a }}]\nrules: [{{ decision: DENY }}]\n");
    let mode = |keys: &str| set(&[("g.yaml", &gate(keys))]).policies[0].mode;
    assert_eq!(mode("mode: share\nshare: 12.5%\n").share().unwrap().to_string(), "12.5%");
    assert_eq!(mode("mode: shadow\n"), Mode::Shadow);
    assert_eq!(mode(""), Mode::Enforce);
    let check = |keys: &str, offending: &str, expected: &str| {
        check_errors("g.yaml", &gate(keys), &[(offending, expected)]);
    };
    check("mode: ‸share\n", "does not say of how many calls", "share: 10%");
    check("‸share: 10%\n", "does nothing without `mode: share`", "mode: share");
    check("mode: shadow\n‸share: 10%\n", "does nothing", "mode: share");
    check("mode: share\nshare: ‸10\n", "share", "like 10%");
    check("mode: share\nshare: ‸0%\n", "share", "like 10%");
    let book =
        "version: 1\npolicies: [{ id: b, mode: share, share: 50%, conditions: { max_cost_usd: 1 } }]\n";
    assert_eq!(set(&[("b.yaml", book)]).policies[0].mode.as_str(), "share");
}

/// The signature over a bundle is kept with it, and no part of what it says.
#[test]
fn a_signature_is_kept_and_not_counted() {
    let plain = set(&[]);
    let signed = set(&[("bundle.sig", "a signature")]);
    assert_eq!(plain.snapshot, signed.snapshot);
    assert_eq!(signed.files.last().map(|file| file.name.as_str()), Some("bundle.sig"));
    assert_eq!(manifest(&plain.files), manifest(&signed.files));
}
