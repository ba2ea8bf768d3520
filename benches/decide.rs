//! What deciding one call costs with 1, 100 and 1,000 policies of which one or two match.

#![expect(clippy::unwrap_used, reason = "a benchmark: the bundle is its own")]

use divan::{Bencher, black_box};
use std::{sync::Arc, time::Duration};
use tollgate::{
    cost::PriceTable,
    decision::{
        AgentFacts, CallFacts, CostFacts, DataFacts, Facts, ToolFacts, WorkflowFacts, decide, selected,
    },
    model::{Autonomy, CallKind, Decision, Glob, MicroUsd, Selector, Sensitivity, ToolTraits},
    policy::{
        Authority, BundleInfo, Capability, Constraints, Mode, Policy, PolicyBody, PolicySet, Rule,
        RuleOutcome, condition::Condition, index::PolicyIndex,
    },
    redaction::DataRules,
};

const CONDITION: &str = "env == 'production' && has(args.path) && within(args.path, '/srv/docs') \
     && cost.estimate_usd < 1.5 && !('restricted' in session.labels)";

fn main() {
    divan::main();
}

fn rule(condition: &str, outcome: RuleOutcome) -> Rule {
    Rule {
        id: "1".into(),
        condition: Some(Condition::compile(condition).unwrap()),
        outcome,
        reason: None,
        sentence: Default::default(),
    }
}

/// Gates on tools by name and by prefix; the first two concern the call.
fn set(count: usize) -> PolicySet {
    let policies: Vec<Policy> = (0..count)
        .map(|number| {
            let glob = match number {
                0 => "files__write_file".to_owned(),
                1 => "files__*".to_owned(),
                odd if odd % 2 == 1 => format!("upstream{odd}__*"),
                even => format!("upstream{even}__tool"),
            };
            let limits = Constraints { timeout: Some(Duration::from_secs(30)), ..Constraints::default() };
            let outcome =
                if number == 1 { RuleOutcome::AllowWithConstraints(limits) } else { RuleOutcome::Allow };
            Policy {
                id: format!("policy-{number}").into(),
                file: "gates.yaml".into(),
                description: None,
                owner: None,
                mode: Mode::Enforce,
                on: vec![Selector { tool: Some(Glob::parse(&glob).unwrap()), ..Selector::default() }],
                body: PolicyBody::Gate(vec![
                    rule("args.path == '/etc/passwd'", RuleOutcome::Deny),
                    rule(CONDITION, outcome),
                ]),
            }
        })
        .collect();
    let mut authority = Authority::default();
    authority.capabilities.insert(
        "docs".into(),
        Capability {
            id: "docs".into(),
            tools: vec![Glob::parse("*").unwrap()],
            resources: Vec::new(),
            prompts: Vec::new(),
            condition: None,
            autonomy: None,
        },
    );
    PolicySet {
        snapshot: "snapshot".into(),
        parts: Default::default(),
        environment: "production".into(),
        bundle: BundleInfo {
            version: "1".into(),
            owner: None,
            default_decision: Decision::Deny,
            default_approvers: None,
            required: Vec::new(),
            max_catalog_tokens: None,
        },
        authority,
        prices: PriceTable::default(),
        budgets: Vec::new(),
        data: DataRules::default(),
        index: PolicyIndex::build(&policies),
        policies,
        max_repeats: 20,
        loops: tollgate::policy::LoopRules::default(),
        oversight: tollgate::policy::Oversight::default(),
        zones: Default::default(),
        files: [].into(),
    }
}

fn facts() -> Facts {
    Facts {
        agent: AgentFacts {
            id: "planner-01".into(),
            agent_type: "planner".into(),
            role: "ops".into(),
            tenant: "acme".into(),
            owner: "data-team".into(),
            operator: None,
            autonomy: Autonomy::Supervised,
            attended: false,
        },
        user: None,
        workflow: Some(WorkflowFacts { id: "wf-1".into(), owner: None }),
        tool: ToolFacts {
            name: "files__write_file".into(),
            upstream: "files".into(),
            action: "files:write".into(),
            labels: ["internal".into(), "write".into()].into(),
            traits: ToolTraits::UNTRUSTED,
            fingerprint: "f".into(),
            pinned: true,
            unaccepted: false,
        },
        args: Arc::new(serde_json::json!({"path": "/srv/docs/a.md", "content": "x".repeat(2000)})),
        call: CallFacts { kind: CallKind::Tool, repeats: 0, size: 2040 },
        cost: CostFacts { estimate: MicroUsd(1_250_000), tokens: 600 },
        data: DataFacts { level: Sensitivity::Internal, labels: Vec::new(), findings: Vec::new() },
        session_labels: Vec::new(),
        now: "2026-11-20T10:00:00Z".parse().unwrap(),
        capabilities: vec!["docs".into()],
        missing_metadata: Vec::new(),
        workflow_refused: None,
        user_groups: Vec::new(),
        resource: "".into(),
        prompt: "".into(),
        remediated: false,
        share: Default::default(),
        checks: Vec::new(),
    }
}

#[divan::bench(args = [1, 100, 1000])]
fn decides(bencher: Bencher<'_, '_>, policies: usize) {
    let (set, facts) = (set(policies), facts());
    bencher.bench_local(|| decide(black_box(&set), black_box(&facts)));
}

#[divan::bench(args = [1, 100, 1000])]
fn finds_candidates(bencher: Bencher<'_, '_>, policies: usize) {
    let (set, facts) = (set(policies), facts());
    let selected = selected(&facts, None);
    bencher.bench_local(|| set.index.candidates(black_box(&selected)));
}

#[divan::bench]
fn evaluates_a_condition(bencher: Bencher<'_, '_>) {
    let (condition, facts) = (Condition::compile(CONDITION).unwrap(), facts());
    bencher.bench_local(|| black_box(&condition).evaluate(black_box(&facts), "production"));
}
