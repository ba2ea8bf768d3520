//! Golden trees: an explanation as a person reads it, for every word of the language.

use super::{Question, Resolver, ResolverParts, render};
use crate::{
    catalog::CatalogBuilder,
    clock::Fake,
    config::Config,
    gateway::explain_facts,
    model::{CallKind, EventDecision},
    policy::{CompileInput, KnownNames, PolicySet, SourceFile, compile},
    store::{BudgetUsage, Counted},
    upstream::{Health, Listing, UpstreamState},
};
use serde_json::{Value, json};
use std::sync::Arc;

const SERVERS: &str = r#"
[gateway]
environment = "staging"
policies = "policies"
data_dir = "data"
[upstreams.files]
command = ["files"]
labels = ["internal"]
trust_annotations = true
[upstreams.files.tools.write]
action = "files:write"
labels = ["write"]
cost_usd = 0.25
[upstreams.files.tools.delete]
labels = ["destructive"]
"#;

const AUTHORITY: &str = r#"
capabilities:
  reading: { tools: ["files__read"], resources: ["file:///srv/**"] }
  writing: { tools: ["files__write"], condition: "size(args.path) > 1" }
  rest: { tools: ["files__delete", "files__send"] }
agents:
  ada: { type: assistant, role: writer, tenant: acme, owner: tests, operator: alice, attended: true, workflow: wf-1, workflows: [wf-1], model: gpt-4o, capabilities: [reading, writing, rest], keys: [] }
  scout: { type: planner, role: reader, owner: tests, autonomy: suggest_only, capabilities: [reading], keys: [] }
people:
  alice: { keys: [], groups: [leads], roles: [approver] }
  bob: { keys: [], groups: [security], roles: [approver] }
workflows:
  wf-1: { owner: tests }
  wf-2: { owner: tests }
"#;

const BUNDLE: &str = "version: \"1\"\nowner: tests\ndefault_decision: DENY\ndefault_approvers: [leads]\n";

/// Gates of each kind, beside the two files that a bundle needs.
const GATES: &str = r#"=== budgets.yaml
budgets:
  - { id: day, scope: agent, match: [{ label: write }], window: day, max_calls: 3, on_exceed: deny }
=== delete.yaml
name: delete
description: d
on: [{ label: destructive }]
rules:
  - { id: tmp, condition: "within(args.path, '/tmp')", decision: REMEDIATE, remediation: { mode: suggest, tool: files__write, reason: empty it } }
  - { id: night, condition: "now.getHours() < 6", decision: THROTTLE, retry_after: 10m }
  - { id: propose, condition: "agent.role == 'reader'", decision: SUGGEST }
  - { id: broken, condition: "args.count > 3", decision: DENY }
=== flow.yaml
name: flow
description: d
on: [{ tool: files__send }]
rules:
  - { id: stays, condition: "'restricted' in session.labels || data.level == 'restricted'", decision: DENY }
  - { id: small, condition: "has(args.limit) && args.limit <= 10", decision: ALLOW_WITH_CONSTRAINTS, constraints: { timeout: 5s, max_result_tokens: 100, redact: [/secret] } }
  - { id: clamp, decision: ALLOW_WITH_CONSTRAINTS, constraints: { timeout: 30s, arguments: { clamp: { /limit: { max: 10 } } } } }
=== rates.yaml
version: "1"
policies:
  - id: rate
    description: d
    on: [{ upstream: files }]
    conditions: { agent_types: [assistant], max_calls_per_minute: 10 }
    actions: { on_violation: throttle }
  - id: writers
    description: d
    on: [{ label: write }]
    conditions: { allowed_roles: [writer], max_cost_usd: 1.00 }
    actions: { on_allow: permit }
=== read.yaml
name: read
description: d
on: [{ tool: files__read }, { resource: "file:///**" }]
rules:
  - { id: all, decision: ALLOW }
=== trial.yaml
name: trial
description: d
mode: shadow
on: [{ upstream: files }]
rules:
  - { id: none, decision: DENY }
=== write.yaml
name: write
description: d
on: [{ action: "files:write" }]
rules:
  - { id: scratch, condition: "within(args.path, '/scratch') && !args.path.endsWith('.key')", decision: ALLOW }
  - { id: archive, condition: "within(args.path, '/archive')", decision: DENY }
  - { id: ask, decision: REQUIRE_APPROVAL, approvers: [operator, security], quorum: 2, evidence_required: true, expires_in: 15m }
"#;

fn set() -> PolicySet {
    let mut files = vec![
        SourceFile { name: "bundle.yaml".to_owned(), text: BUNDLE.to_owned() },
        SourceFile { name: "authority.yaml".to_owned(), text: AUTHORITY.to_owned() },
    ];
    files.extend(GATES.split("=== ").skip(1).map(|part| {
        let (name, text) = part.split_once('\n').unwrap();
        SourceFile { name: name.to_owned(), text: text.to_owned() }
    }));
    let input = CompileInput {
        environment: "staging".into(),
        servers_digest_material: Vec::new(),
        known: KnownNames::default(),
    };
    let (set, problems) = compile(&files, &input);
    let set = set.unwrap_or_else(|| panic!("{problems}"));
    PolicySet { snapshot: "s1".into(), ..set }
}

fn config() -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("servers.toml");
    std::fs::write(&path, SERVERS).unwrap();
    std::fs::create_dir(folder.path().join("policies")).unwrap();
    for (name, text) in [("bundle.yaml", BUNDLE), ("authority.yaml", AUTHORITY)] {
        std::fs::write(folder.path().join("policies").join(name), text).unwrap();
    }
    crate::config::load(&path, &|_| None).unwrap_or_else(|problems| panic!("{problems}")).config
}

fn resolver() -> Resolver {
    resolver_of(set())
}

fn resolver_of(set: PolicySet) -> Resolver {
    let config = config();
    let tool = |name: &str, properties: Value| json!({"name": name, "inputSchema": {"type": "object", "properties": properties}});
    let text = json!({"type": "string"});
    let listing = Listing {
        tools: vec![
            tool("read", json!({"path": text})),
            tool("write", json!({"path": text, "content": text})),
            tool("delete", json!({"path": text, "count": {"type": "integer"}})),
            tool("send", json!({"to": text, "limit": {"type": "integer", "minimum": 0}})),
            tool("hidden", json!({})),
        ],
        templates: vec![json!({"uriTemplate": "file:///{+path}", "name": "file"})],
        ..Listing::default()
    };
    let state = UpstreamState {
        name: "files".into(),
        health: Health::Up,
        listing: Arc::new(listing),
        missing: Arc::from([]),
        era: None,
        capabilities: Value::Null,
        server_info: Value::Null,
        instructions: None,
        containment: None,
        generation: 0,
    };
    let catalog = CatalogBuilder::default().build(&config, &[Arc::new(state)]);
    let clock = Fake::at("2026-11-20T12:00:00Z".parse().unwrap());
    let parts = ResolverParts { clock: clock.clone(), ids: clock, learned: Arc::default(), call_key: None };
    Resolver::new(config, set, catalog, parts).unwrap()
}

fn ask(agent: &str, tool: &str, arguments: Value) -> Question {
    Question {
        arguments: Some(arguments),
        at: Some("2026-11-20T12:00:00Z".parse().unwrap()),
        ..Question::of(agent, CallKind::Tool, tool)
    }
}

fn told(question: &Question) -> String {
    render(&resolver().explain(question, true).unwrap())
}

/// R71: what matched and why not, each part of a condition with its value, who is asked, and what would change it.
#[test]
fn an_ask_is_explained() {
    insta::assert_snapshot!(told(&ask(
        "ada",
        "files__write",
        json!({"path": "/notes/a.md", "content": "x"})
    )));
}

#[test]
fn an_allowed_call_is_explained_with_what_would_stop_it() {
    insta::assert_snapshot!(told(&ask("ada", "files__write", json!({"path": "/scratch/a.md"}))));
}

#[test]
fn a_condition_without_an_answer_is_explained() {
    insta::assert_snapshot!(told(&ask("ada", "files__delete", json!({"path": "/srv/a"}))));
}

#[test]
fn a_proposed_remediation_is_explained() {
    insta::assert_snapshot!(told(&ask("ada", "files__delete", json!({"path": "/tmp/a", "count": 1}))));
}

#[test]
fn a_throttle_is_explained() {
    let mut question = ask("ada", "files__delete", json!({"path": "/srv/a", "count": 1}));
    question.at = Some("2026-11-20T03:00:00Z".parse().unwrap());
    insta::assert_snapshot!(told(&question));
}

#[test]
fn limits_and_changed_arguments_are_explained() {
    insta::assert_snapshot!(told(&ask("ada", "files__send", json!({"to": "a", "limit": 50}))));
}

#[test]
fn a_proposal_of_an_agent_that_only_suggests_is_explained() {
    insta::assert_snapshot!(told(&ask("scout", "files__read", json!({"path": "/a"}))));
}

/// I7: to the agent all three are one; whoever asks is told which it is.
#[test]
fn what_is_not_in_scope_is_explained() {
    let check = |agent: &str, tool: &str, part: &str| {
        let told = resolver().explain(&ask(agent, tool, json!({})), true).unwrap();
        assert_eq!((told.decision, &*told.policy_id), (EventDecision::Deny, "scope"), "{tool}");
        assert!(told.notes.iter().any(|note| note.contains(part)), "{tool}: {:?}", told.notes);
        assert_eq!(told.steps, json!([]), "{tool}");
    };
    check("scout", "files__write", "`writing` would grant it");
    check("ada", "files__hidden", "no capability grants it");
    check("ada", "files__wrote", "did you mean `files__write`?");
    let nobody = resolver().explain(&ask("scuot", "files__read", json!({})), true).unwrap_err();
    assert!(nobody.to_string().contains("did you mean"), "{nobody}");
}

/// Arguments that do not fit are refused before any rule is asked, as those of a real call.
#[test]
fn arguments_are_held_against_the_schema() {
    let question = ask("ada", "files__send", json!({"limit": "many"}));
    let told = resolver().explain(&question, true).unwrap();
    assert_eq!((told.decision, &*told.policy_id), (EventDecision::Deny, "schema"));
    assert!(told.reason.contains("/limit"), "{}", told.reason);
    // And what would not fit is never proposed.
    let told = resolver().explain(&ask("ada", "files__send", json!({"limit": 50})), true).unwrap();
    assert!(told.changes.iter().all(|change| !change.arguments["/limit"].is_string()), "{:?}", told.changes);
}

/// The workflow, the user, the time, the repeats and what reached the session are those of the question.
#[test]
fn what_is_assumed_counts() {
    let question = Question { workflow: Some("wf-2".to_owned()), ..ask("ada", "files__read", json!({})) };
    let told = resolver().explain(&question, false).unwrap();
    assert_eq!((told.decision, &*told.policy_id), (EventDecision::Deny, "workflow"));
    let question =
        Question { session_labels: vec!["restricted".into()], ..ask("ada", "files__send", json!({})) };
    let told = resolver().explain(&question, false).unwrap();
    assert_eq!((told.decision, &*told.policy_id), (EventDecision::Deny, "flow"));
    let question = Question { repeats: Some(20), ..ask("ada", "files__read", json!({})) };
    let told = resolver().explain(&question, false).unwrap();
    assert_eq!((told.decision, &*told.policy_id), (EventDecision::Throttle, "loop"));
    let question = Question { user: Some("bob".into()), ..ask("ada", "files__read", json!({})) };
    let call = resolver().explain(&question, false).unwrap().call.unwrap();
    assert_eq!(call.user, Some("bob".into()));
}

/// Counters are read where they are at hand: a budget that is full says so, and one that is not is shown with what it stands at.
#[test]
fn counters_are_read() {
    let used = |calls| {
        let usage = BudgetUsage {
            kind: "day".to_owned(),
            id: "day".into(),
            key: "ada".to_owned(),
            window: "day".to_owned(),
            window_start: Some(jiff::Timestamp::UNIX_EPOCH),
            calls,
            tokens: 0,
            cost_usd: crate::model::MicroUsd::ZERO,
            reserved: Counted::default(),
            oldest: None,
        };
        let mut resolver = resolver();
        resolver.usage = Some((jiff::Timestamp::UNIX_EPOCH, vec![usage]));
        let question = ask("ada", "files__write", json!({"path": "/scratch/a.md"}));
        resolver.explain(&question, false).unwrap()
    };
    let room = used(2);
    assert_eq!(room.decision, EventDecision::Allow);
    let day = room.limits.iter().find(|limit| &*limit.policy_id == "day").unwrap();
    assert_eq!((day.used_calls, day.max_calls, day.full), (Some(2), Some(3), false));
    let full = used(3);
    assert_eq!((full.decision, &*full.policy_id), (EventDecision::Deny, "day"));
    assert!(full.reason.contains("3 of 3 calls"), "{}", full.reason);
}

/// I5: a secret in the arguments is in nothing that is told, and neither is what is calculated of it.
#[test]
fn secrets_are_masked() {
    const SECRET: &str = "ghp_a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8";
    let mut files: Vec<SourceFile> = set().files.to_vec();
    files.push(SourceFile {
        name: "z.yaml".to_owned(),
        text: "name: z\ndescription: d\non: [{ tool: files__read }]\nrules:\n  - { id: a, condition: \"args.path + 'x' == 'y' || \
               size(args.path) > 4 || args.path.startsWith('ghp_')\", decision: DENY }\n"
            .to_owned(),
    });
    let input = CompileInput {
        environment: "staging".into(),
        servers_digest_material: Vec::new(),
        known: KnownNames::default(),
    };
    let (set, problems) = compile(&files, &input);
    let set = set.unwrap_or_else(|| panic!("{problems}"));
    let told = resolver_of(set).explain(&ask("ada", "files__read", json!({"path": SECRET})), true).unwrap();
    assert_eq!((told.decision, &*told.policy_id), (EventDecision::Deny, "z"));
    let (text, json) = (render(&told), serde_json::to_string(&told).unwrap());
    for text in [&text, &json] {
        assert!(!text.contains(SECRET) && !text.contains("a1b2c3d4e5f6"), "{text}");
    }
    assert!(text.contains("size(args.path) = masked"), "{text}");
    assert!(text.contains("true   args.path.startsWith('ghp_')"), "{text}");
}

/// What a fixture states as facts is decided by the same core.
#[test]
fn stated_facts_are_explained() {
    let facts = serde_json::from_value(json!({
        "agent": {"id": "ada", "type": "assistant", "role": "writer", "tenant": "", "owner": "", "operator": "alice",
            "autonomy": "supervised", "attended": true},
        "user": "alice", "workflow": null,
        "tool": {"name": "files__write", "upstream": "files", "action": "files:write", "labels": ["write"],
            "read_only": false, "destructive": false, "idempotent": false, "open_world": false,
            "fingerprint": "", "pinned": false},
        "args": {"path": "/archive/a"},
        "call": {"kind": "tool", "repeats": 0, "size": 10},
        "cost": {"estimate": 0, "tokens": 10},
        "data": {"level": "internal", "labels": [], "findings": []},
        "session_labels": [], "now": "2026-11-20T12:00:00Z", "capabilities": ["writing"],
        "missing_metadata": [], "workflow_refused": null, "resource": "", "prompt": "", "remediated": false
    }));
    let told = explain_facts(&set(), &facts.unwrap(), "staging");
    assert_eq!((told.decision, &*told.policy_id), (EventDecision::Deny, "write"));
    assert_eq!(told.rule_id.as_deref(), Some("archive"));
}
