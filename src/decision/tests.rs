use super::*;
use crate::{
    cost::{BudgetAction, BudgetRule, BudgetScope, BudgetWindow, PriceTable},
    model::{
        Autonomy, CallKind, Decision, Glob, MicroUsd, PolicyId, Selector, Sensitivity, Share, SharePlace,
        ToolTraits,
    },
    policy::{
        ApprovalRule, Approver, Authority, BundleInfo, Capability, ChannelKind, Constraints, Mode, Policy,
        PolicyBody, PolicySet, Remediation, Rule, RuleOutcome, Rulebook, Violation, condition::Condition,
        index::PolicyIndex,
    },
    redaction::DataRules,
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

fn glob(text: &str) -> Option<Glob> {
    Some(Glob::parse(text).unwrap())
}

fn condition(source: &str) -> Option<Condition> {
    Some(Condition::compile(source).unwrap())
}

fn rule(id: &str, when: Option<&str>, outcome: RuleOutcome) -> Rule {
    Rule {
        id: id.into(),
        condition: when.and_then(condition),
        outcome,
        reason: None,
        sentence: Default::default(),
    }
}

fn policy(id: &str, on: Vec<Selector>, body: PolicyBody) -> Policy {
    Policy {
        id: id.into(),
        file: "a.yaml".into(),
        description: None,
        owner: None,
        mode: Mode::Enforce,
        on,
        body,
    }
}

fn gate(id: &str, rules: Vec<Rule>) -> Policy {
    policy(id, Vec::new(), PolicyBody::Gate(rules))
}

fn says(id: &str, outcome: RuleOutcome) -> Policy {
    gate(id, vec![rule("1", None, outcome)])
}

fn approval(groups: &[&str]) -> ApprovalRule {
    ApprovalRule {
        approvers: Some(groups.iter().map(|group| Approver::Group(Arc::from(*group))).collect()),
        quorum: 1,
        expires_in: Duration::from_secs(900),
        escalate: None,
        evidence_required: false,
        channels: ChannelKind::ALL.to_vec(),
        separate: false,
        grants: None,
    }
}

fn rulebook() -> Rulebook {
    Rulebook {
        allowed_roles: None,
        agent_types: None,
        max_cost: None,
        requires_approval: None,
        max_calls_per_minute: None,
        max_cost_per_minute: None,
        on_allow: false,
        on_violation: Violation::Deny,
        condition: None,
    }
}

fn remediate() -> RuleOutcome {
    RuleOutcome::Remediate(Remediation {
        apply: true,
        edits: Vec::new(),
        tool: Some("dry_run".into()),
        reason: None,
    })
}

fn capability(id: &str, when: Option<&str>, autonomy: Option<Autonomy>) -> Capability {
    Capability {
        id: id.into(),
        tools: vec![Glob::parse("*").unwrap()],
        resources: Vec::new(),
        prompts: Vec::new(),
        condition: when.and_then(condition),
        autonomy,
    }
}

fn set(policies: Vec<Policy>) -> PolicySet {
    let mut authority = Authority::default();
    authority.capabilities.insert("all".into(), capability("all", None, None));
    PolicySet {
        snapshot: "s1".into(),
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
        loops: crate::policy::LoopRules::default(),
        oversight: crate::policy::Oversight::default(),
        zones: Default::default(),
        files: [].into(),
    }
}

fn facts() -> Facts {
    Facts {
        agent: AgentFacts {
            id: "planner-01".into(),
            agent_type: "planner".into(),
            role: "data-engineer".into(),
            tenant: "acme".into(),
            owner: "data-team".into(),
            operator: None,
            autonomy: Autonomy::Supervised,
            attended: false,
        },
        user: None,
        workflow: None,
        tool: ToolFacts {
            name: "aws-cli".into(),
            upstream: "aws".into(),
            action: "infrastructure:mutation".into(),
            labels: ["write".into()].into(),
            traits: ToolTraits::UNTRUSTED,
            fingerprint: "f".into(),
            pinned: true,
            unaccepted: false,
        },
        args: Arc::new(json!({"n": 5})),
        call: CallFacts { kind: CallKind::Tool, repeats: 0, size: 7 },
        cost: CostFacts { estimate: MicroUsd(1_250_000), tokens: 10 },
        data: DataFacts { level: Sensitivity::Internal, labels: Vec::new(), findings: Vec::new() },
        session_labels: Vec::new(),
        now: "2026-11-20T10:00:00Z".parse().unwrap(),
        capabilities: vec!["all".into()],
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

/// The gate of the second reference document, as it compiles.
fn prod_safety_gate() -> Policy {
    let ask = ApprovalRule { evidence_required: true, ..approval(&["security-team", "platform-lead"]) };
    let limits = Constraints {
        max_cost: Some(MicroUsd(50_000_000)),
        timeout: Some(Duration::from_secs(300)),
        ..Constraints::default()
    };
    policy(
        "prod-safety-gate",
        vec![
            Selector { action: glob("infrastructure:mutation"), ..Selector::default() },
            Selector { tool: glob("aws-cli"), ..Selector::default() },
        ],
        PolicyBody::Gate(vec![
            rule("1", Some("env == 'production'"), RuleOutcome::RequireApproval(ask)),
            rule("2", Some("env == 'staging'"), RuleOutcome::AllowWithConstraints(limits)),
        ]),
    )
}

/// The rulebook of the first reference document, as it compiles.
fn aegis_rulebook() -> Vec<Policy> {
    vec![
        policy(
            "agent_write_s3",
            Vec::new(),
            PolicyBody::Rulebook(Box::new(Rulebook {
                allowed_roles: Some(vec!["data-engineer".into(), "ops-bot".into()]),
                max_cost: Some(MicroUsd(5_000_000)),
                requires_approval: Some(ApprovalRule { approvers: None, ..approval(&[]) }),
                on_allow: true,
                ..rulebook()
            })),
        ),
        policy(
            "model_call_rate",
            Vec::new(),
            PolicyBody::Rulebook(Box::new(Rulebook {
                agent_types: Some(vec!["planner".into(), "executor".into()]),
                max_calls_per_minute: Some(60),
                max_cost_per_minute: Some(MicroUsd(2_000_000)),
                on_violation: Violation::Throttle,
                ..rulebook()
            })),
        ),
    ]
}

/// R12, R15, R31.
#[test]
fn the_reference_gate_decides_by_environment() {
    let mut set = set(vec![prod_safety_gate()]);
    let verdict = decide(&set, &facts());
    assert_eq!((verdict.decision, &*verdict.policy_id), (Decision::RequireApproval, "prod-safety-gate"));
    assert_eq!(verdict.rule_id.as_deref(), Some("1"));
    assert_eq!(
        &*verdict.reason,
        "needs approval by security-team or platform-lead with evidence because env is production"
    );
    assert_eq!(verdict.approvals.len(), 1);
    assert!(verdict.approvals[0].rule.evidence_required);
    assert_eq!(verdict.capability.as_deref(), Some("all"));

    set.environment = "staging".into();
    let verdict = decide(&set, &facts());
    assert_eq!((verdict.decision, verdict.rule_id.as_deref()), (Decision::AllowWithConstraints, Some("2")));
    assert_eq!(verdict.constraints.timeout, Some(Duration::from_secs(300)));
    assert_eq!(verdict.constraints.max_cost, Some(MicroUsd(50_000_000)));
    assert!(verdict.approvals.is_empty());

    let mut dear = facts();
    dear.cost.estimate = MicroUsd(60_000_000);
    let verdict = decide(&set, &dear);
    assert_eq!(verdict.decision, Decision::Deny);
    assert_eq!(
        &*verdict.reason,
        "the call would cost an estimated $60, and at most $50 is allowed for one call"
    );

    set.environment = "development".into();
    let verdict = decide(&set, &facts());
    assert_eq!((verdict.decision, &*verdict.policy_id), (Decision::Deny, "default"));
}

/// R9, R10, R36, R38.
#[test]
fn the_reference_rulebook_decides_by_role_and_cost() {
    let set = set(aegis_rulebook());
    let verdict = decide(&set, &facts());
    assert_eq!((verdict.decision, &*verdict.policy_id), (Decision::RequireApproval, "agent_write_s3"));
    assert_eq!(&*verdict.reason, "needs approval by an approver because policy agent_write_s3 asks for it");
    assert_eq!(
        verdict.limits.rates,
        [RateLimit {
            policy_id: "model_call_rate".into(),
            max_calls: Some(60),
            max_cost: Some(MicroUsd(2_000_000)),
            on_violation: Violation::Throttle,
        }]
    );

    let mut other = facts();
    other.agent.role = "intern".into();
    other.agent.agent_type = "reviewer".into();
    let verdict = decide(&set, &other);
    assert_eq!(verdict.decision, Decision::Deny);
    assert_eq!(&*verdict.reason, "allowed for role data-engineer or ops-bot only, and planner-01 has intern");
    assert!(verdict.limits.rates.is_empty());

    let mut dear = facts();
    dear.cost.estimate = MicroUsd(5_000_001);
    assert_eq!(decide(&set, &dear).decision, Decision::Deny);
}

#[test]
fn on_allow_lets_through_and_its_absence_does_not() {
    let book = |on_allow| {
        policy("book", Vec::new(), PolicyBody::Rulebook(Box::new(Rulebook { on_allow, ..rulebook() })))
    };
    assert_eq!(decide(&set(vec![book(true)]), &facts()).decision, Decision::Allow);
    let verdict = decide(&set(vec![book(false)]), &facts());
    assert_eq!((verdict.decision, &*verdict.policy_id), (Decision::Deny, "default"));
}

fn outcomes() -> Vec<RuleOutcome> {
    vec![
        RuleOutcome::Allow,
        RuleOutcome::AllowWithConstraints(Constraints {
            max_result_bytes: Some(9),
            ..Constraints::default()
        }),
        RuleOutcome::RequireApproval(approval(&["ops"])),
        remediate(),
        RuleOutcome::Suggest,
        RuleOutcome::Throttle(Duration::from_secs(3)),
        RuleOutcome::Deny,
    ]
}

/// R14: every pair of outcomes; the strictest wins, and the first under ties.
#[test]
fn the_strictest_of_any_two_wins() {
    for (i, a) in outcomes().into_iter().enumerate() {
        for (j, b) in outcomes().into_iter().enumerate() {
            let verdict = decide(&set(vec![says("a", a.clone()), says("b", b.clone())]), &facts());
            let expect = Decision::ALL[i.max(j)];
            assert_eq!(verdict.decision, expect, "{a:?} {b:?}");
            assert_eq!(&*verdict.policy_id, if j > i { "b" } else { "a" }, "{a:?} {b:?}");
            assert_eq!(verdict.trace.steps.len(), 2);
            assert_eq!(verdict.retry_after.is_some(), expect == Decision::Throttle);
            assert_eq!(verdict.remediation.is_some(), expect == Decision::Remediate);
            // Limits bind what is dispatched later, whoever has the last word.
            assert_eq!(verdict.constraints.max_result_bytes.is_some(), i == 1 || j == 1);
        }
    }
}

#[test]
fn every_approval_requirement_is_kept() {
    let set = set(vec![
        says("a", RuleOutcome::RequireApproval(approval(&["security"]))),
        says("b", RuleOutcome::RequireApproval(ApprovalRule { quorum: 2, ..approval(&["ops"]) })),
    ]);
    let verdict = decide(&set, &facts());
    let kept: Vec<(&str, u32)> = verdict.approvals.iter().map(|a| (&*a.policy_id, a.rule.quorum)).collect();
    assert_eq!(kept, [("a", 1), ("b", 2)]);
    assert_eq!(&*verdict.approvals[1].reason, "needs approval by 2 people of ops");
}

/// I2: a condition without an answer denies, and says why without a value.
#[test]
fn a_condition_without_an_answer_denies() {
    let set = set(vec![
        gate(
            "a",
            vec![
                rule("typed", Some("args.n == 'five'"), RuleOutcome::Deny),
                rule("rest", None, RuleOutcome::Allow),
            ],
        ),
        says("b", RuleOutcome::Allow),
    ]);
    let verdict = decide(&set, &facts());
    assert_eq!((verdict.decision, verdict.rule_id.as_deref()), (Decision::Deny, Some("typed")));
    assert_eq!(
        &*verdict.reason,
        "the condition of rule typed has no answer: `args.n == 'five'` compares a number with text"
    );
    assert!(verdict.trace.steps[0].error);

    let book = Rulebook { condition: condition("args.missing"), on_allow: true, ..rulebook() };
    let verdict =
        decide(&self::set(vec![policy("c", Vec::new(), PolicyBody::Rulebook(Box::new(book)))]), &facts());
    assert_eq!((verdict.decision, verdict.trace.steps[0].error), (Decision::Deny, true));
}

/// R69: a shadow policy is told and changes nothing.
#[test]
fn shadow_policies_stand_in_the_trace_only() {
    let mut shadow = says("shadow", RuleOutcome::Deny);
    shadow.mode = Mode::Shadow;
    let mut book = aegis_rulebook().remove(1);
    book.mode = Mode::Shadow;
    let mut limits = says(
        "limits",
        RuleOutcome::AllowWithConstraints(Constraints { read_only: true, ..Constraints::default() }),
    );
    limits.mode = Mode::Shadow;
    let verdict = decide(&set(vec![shadow, book, limits, says("allow", RuleOutcome::Allow)]), &facts());
    assert_eq!((verdict.decision, &*verdict.policy_id), (Decision::Allow, "allow"));
    assert!(verdict.limits.rates.is_empty());
    assert_eq!(verdict.constraints, Constraints::default());
    let shadows: Vec<(bool, Decision)> = verdict.trace.steps.iter().map(|s| (s.shadow, s.decision)).collect();
    assert_eq!(shadows, [(true, Decision::Deny), (true, Decision::Deny), (false, Decision::Allow)]);
}

/// R69: a policy in `mode: share` counts for the calls of its share, with its limits, and is a shadow for the rest.
#[test]
fn a_share_of_calls_is_decided_in_earnest() {
    let mut share = says("share", RuleOutcome::Deny);
    share.mode = Mode::Share(Share::parse("10%").unwrap());
    let mut book = aegis_rulebook().remove(1);
    book.mode = share.mode;
    let set = set(vec![share, book, says("allow", RuleOutcome::Allow)]);
    let at = |place: u64| decide(&set, &Facts { share: SharePlace::from_number(place), ..facts() });
    for (place, inside) in [(0, true), (999, true), (1_000, false), (9_999, false)] {
        let verdict = at(place);
        let expect = if inside { (Decision::Deny, "share") } else { (Decision::Allow, "allow") };
        assert_eq!((verdict.decision, &*verdict.policy_id), expect, "{place}");
        assert_eq!(verdict.trace.steps[0].shadow, !inside, "{place}");
        assert_eq!(verdict.limits.rates.is_empty(), !inside, "{place}");
    }
}

/// R1, R2, R3.
#[test]
fn authority_comes_before_policies() {
    let check = |change: &dyn Fn(&mut PolicySet, &mut Facts), expect: (Decision, &str, &str)| {
        let (mut set, mut facts) = (set(vec![says("allow", RuleOutcome::Allow)]), facts());
        change(&mut set, &mut facts);
        let verdict = decide(&set, &facts);
        assert_eq!((verdict.decision, &*verdict.policy_id, &*verdict.reason), expect);
    };
    let add = |set: &mut PolicySet, capability: Capability| {
        set.authority.capabilities.insert(capability.id.clone(), capability);
    };
    check(&|_, _| {}, (Decision::Allow, "allow", "allowed"));
    check(
        &|_, facts| facts.missing_metadata = vec!["tenant".into(), "user".into()],
        (Decision::Deny, "required", "the call must carry `tenant` and `user`"),
    );
    check(
        &|_, facts| facts.workflow_refused = Some("wf\u{202e}-9".into()),
        (
            Decision::Deny,
            "workflow",
            "planner-01 may not act in workflow `wf[U+202E]-9`; name one of its own workflows or none",
        ),
    );
    check(
        &|_, facts| facts.capabilities.clear(),
        (Decision::Deny, "capability", "no capability covers the call"),
    );
    check(
        &|_, facts| facts.capabilities = vec!["gone".into()],
        (Decision::Deny, "capability:gone", "capability gone is no longer in the authority map"),
    );
    check(
        &|set, facts| {
            add(set, capability("docs", Some("env == 'staging'"), None));
            facts.capabilities = vec!["docs".into()];
        },
        (Decision::Deny, "capability:docs", "capability docs covers the call only where env is staging"),
    );
    check(
        &|set, facts| {
            add(set, capability("docs", Some("args.missing == 1"), None));
            facts.capabilities = vec!["docs".into()];
        },
        (
            Decision::Deny,
            "capability:docs",
            "the condition of capability docs has no answer: `args.missing` is missing",
        ),
    );
    check(
        &|set, facts| {
            add(set, capability("docs", Some("args.missing == 1"), None));
            facts.capabilities = vec!["docs".into(), "all".into()];
        },
        (Decision::Allow, "allow", "allowed"),
    );
}

fn budget(id: &str, scope: BudgetScope, matches: Vec<Selector>) -> BudgetRule {
    BudgetRule {
        id: PolicyId::from(id),
        scope,
        matches,
        window: BudgetWindow::Day,
        zone: None,
        max_calls: Some(3),
        max_tokens: None,
        max_cost: None,
        on_exceed: BudgetAction::Deny,
        alert_at: [80].into(),
        strict: false,
    }
}

/// R79: rules, constraints and budgets select by the capability that lets the call through, and by tenant.
#[test]
fn capability_and_tenant_select() {
    let facts = facts();
    let on = |key: &str, value: &str| match key {
        "capability" => Selector { capability: glob(value), ..Selector::default() },
        _ => Selector { tenant: glob(value), ..Selector::default() },
    };
    let check = |selector: Selector, expect: Decision| {
        let deny = PolicyBody::Gate(vec![rule("1", None, RuleOutcome::Deny)]);
        let verdict =
            decide(&set(vec![says("allow", RuleOutcome::Allow), policy("p", vec![selector], deny)]), &facts);
        assert_eq!(verdict.decision, expect, "{verdict:?}");
    };
    check(on("capability", "all"), Decision::Deny);
    check(on("capability", "a*"), Decision::Deny);
    check(on("capability", "docs"), Decision::Allow);
    check(on("tenant", &facts.agent.tenant), Decision::Deny);
    check(on("tenant", "other"), Decision::Allow);

    // The first capability whose condition is true is the one; a call that none lets through has none.
    let by_condition = |facts: &Facts| {
        let deny = rule("1", Some("capability == 'docs'"), RuleOutcome::Deny);
        let gate = policy("p", Vec::new(), PolicyBody::Gate(vec![deny]));
        let mut set = set(vec![says("allow", RuleOutcome::Allow), gate]);
        for (id, condition) in [("docs", None), ("never", Some("env == 'nowhere'"))] {
            set.authority.capabilities.insert(id.into(), capability(id, condition, None));
        }
        decide(&set, facts)
    };
    let with = |capabilities: &[&str]| Facts {
        capabilities: capabilities.iter().map(|id| (*id).into()).collect(),
        ..facts.clone()
    };
    let check = |capabilities: &[&str], decision: Decision, policy_id: &str| {
        let verdict = by_condition(&with(capabilities));
        assert_eq!((verdict.decision, &*verdict.policy_id), (decision, policy_id), "{capabilities:?}");
    };
    check(&["docs", "all"], Decision::Deny, "p");
    check(&["all", "docs"], Decision::Allow, "allow");
    check(&["never", "docs"], Decision::Deny, "p");
    check(&["never"], Decision::Deny, "capability:never");
    let mut set = set(vec![says("allow", RuleOutcome::Allow)]);
    set.budgets = vec![
        budget("mine", BudgetScope::Global, vec![on("capability", "all")]),
        budget("theirs", BudgetScope::Global, vec![on("tenant", "other")]),
    ];
    let limits = decide(&set, &facts).limits.budgets;
    assert_eq!(limits.iter().map(|limit| &*limit.id).collect::<Vec<_>>(), ["mine"]);
}

#[test]
fn an_error_of_a_capability_that_is_not_needed_is_told() {
    let mut set = set(Vec::new());
    set.bundle.default_decision = Decision::Allow;
    set.authority.capabilities.insert("docs".into(), capability("docs", Some("args.missing == 1"), None));
    let mut facts = facts();
    facts.capabilities = vec!["docs".into(), "all".into()];
    let verdict = decide(&set, &facts);
    assert_eq!((verdict.decision, &*verdict.policy_id), (Decision::Allow, "default"));
    assert_eq!(verdict.capability.as_deref(), Some("all"));
    assert!(
        verdict.trace.steps[0].error && verdict.trace.steps[0].reason.contains("`args.missing` is missing")
    );
}

/// R4: what would be dispatched, now or after approval, becomes a proposal.
#[test]
fn suggest_only_never_dispatches() {
    for (index, outcome) in outcomes().into_iter().enumerate() {
        let expect = Decision::ALL[index].max(Decision::Suggest);
        let policies = vec![says("a", outcome)];
        let mut cautious = facts();
        cautious.agent.autonomy = Autonomy::SuggestOnly;
        let by_agent = decide(&set(policies.clone()), &cautious);
        let mut by_capability = set(policies);
        by_capability
            .authority
            .capabilities
            .insert("all".into(), capability("all", None, Some(Autonomy::SuggestOnly)));
        let by_capability = decide(&by_capability, &facts());
        for verdict in [by_agent, by_capability] {
            assert_eq!(verdict.decision, expect);
            assert_eq!(&*verdict.policy_id == "autonomy", Decision::ALL[index] < Decision::Suggest);
            assert!(verdict.approvals.is_empty());
        }
    }
}

/// R16: no second remediation.
#[test]
fn a_second_remediation_denies() {
    let set = set(vec![says("a", remediate())]);
    let mut facts = facts();
    assert_eq!(decide(&set, &facts).decision, Decision::Remediate);
    facts.remediated = true;
    let verdict = decide(&set, &facts);
    assert_eq!((verdict.decision, &*verdict.policy_id), (Decision::Deny, "a"));
    assert_eq!(&*verdict.reason, "the call was made safer once and would have to be again");
}

/// R15.
#[test]
fn a_read_only_limit_denies_what_is_not() {
    let limits = Constraints { read_only: true, ..Constraints::default() };
    let set = set(vec![says("a", RuleOutcome::AllowWithConstraints(limits))]);
    let mut facts = facts();
    let verdict = decide(&set, &facts);
    assert_eq!(verdict.decision, Decision::Deny);
    assert_eq!(&*verdict.reason, "only read-only tools may run here, and aws-cli is not one");
    facts.tool.traits.read_only = true;
    assert_eq!(decide(&set, &facts).decision, Decision::AllowWithConstraints);
    facts.tool.traits.read_only = false;
    facts.call.kind = CallKind::Resource;
    assert_eq!(decide(&set, &facts).decision, Decision::AllowWithConstraints);
}

#[test]
fn silence_falls_to_the_default() {
    let check = |default: Decision, expect: Decision| {
        let mut set = set(Vec::new());
        set.bundle.default_decision = default;
        let verdict = decide(&set, &facts());
        assert_eq!((verdict.decision, &*verdict.policy_id), (expect, "default"));
        assert_eq!(verdict.approvals.len(), usize::from(expect == Decision::RequireApproval));
        assert_eq!(verdict.retry_after.is_some(), expect == Decision::Throttle);
    };
    for decision in Decision::ALL {
        check(
            *decision,
            match decision {
                Decision::AllowWithConstraints => Decision::Allow,
                Decision::Remediate => Decision::Deny,
                other => *other,
            },
        );
    }
}

/// R36: each scope has its counter, and a call without a user shares one.
#[test]
fn budgets_that_match_are_named_with_their_counter() {
    let mut set = set(vec![says("a", RuleOutcome::Allow)]);
    set.budgets = vec![
        budget("agent", BudgetScope::Agent, Vec::new()),
        budget("user", BudgetScope::User, Vec::new()),
        budget("role", BudgetScope::Role, Vec::new()),
        budget("workflow", BudgetScope::Workflow, Vec::new()),
        budget("tool", BudgetScope::Tool, Vec::new()),
        budget("upstream", BudgetScope::Upstream, Vec::new()),
        budget("tenant", BudgetScope::Tenant, Vec::new()),
        budget("capability", BudgetScope::Capability, Vec::new()),
        budget("global", BudgetScope::Global, vec![Selector { label: glob("write"), ..Selector::default() }]),
        budget("other", BudgetScope::Global, vec![Selector { tool: glob("x"), ..Selector::default() }]),
    ];
    let verdict = decide(&set, &facts());
    let keys: Vec<(&str, &str)> = verdict.limits.budgets.iter().map(|b| (&*b.id, &*b.key)).collect();
    assert_eq!(
        keys,
        [
            ("agent", "planner-01"),
            ("user", "-"),
            ("role", "data-engineer"),
            ("workflow", "-"),
            ("tool", "aws-cli"),
            ("upstream", "aws"),
            ("tenant", "acme"),
            ("capability", "all"),
            ("global", "*"),
        ]
    );
    assert_eq!(verdict.limits.max_repeats, Some(20));
}

/// R16: what was said of the call as it came still holds of the call as it goes.
#[test]
fn the_stricter_of_both_outcomes_stands() {
    let limits = |seconds, set: Option<i64>| {
        RuleOutcome::AllowWithConstraints(Constraints {
            timeout: Some(Duration::from_secs(seconds)),
            arguments: set
                .map(|n| {
                    crate::policy::ArgumentEdit::Set(
                        crate::model::pointer::Pointer::parse("/n").unwrap(),
                        json!(n),
                    )
                })
                .into_iter()
                .collect(),
            ..Constraints::default()
        })
    };
    let check = |first: Vec<RuleOutcome>,
                 second: RuleOutcome,
                 expect: Decision,
                 approvals: usize,
                 timeout: Option<u64>| {
        let name = |n: usize| ["a", "b", "c"][n];
        let first: Vec<Policy> = first.into_iter().enumerate().map(|(n, say)| says(name(n), say)).collect();
        let verdict = stricter(
            decide(&set(first.clone()), &facts()),
            decide(&set(vec![says("z", second)]), &facts()),
            &facts(),
        );
        assert_eq!(verdict.decision, expect, "{first:?}");
        assert_eq!(verdict.approvals.len(), approvals, "{first:?}");
        assert_eq!(verdict.constraints.timeout, timeout.map(Duration::from_secs), "{first:?}");
        assert_eq!(verdict.trace.steps.iter().filter(|s| s.decision == expect).count().min(1), 1);
    };
    let ask = || RuleOutcome::RequireApproval(approval(&["ops"]));
    check(vec![remediate()], RuleOutcome::Allow, Decision::Allow, 0, None);
    check(vec![remediate()], RuleOutcome::Deny, Decision::Deny, 0, None);
    check(vec![remediate(), ask()], RuleOutcome::Allow, Decision::RequireApproval, 1, None);
    check(vec![remediate(), ask()], ask(), Decision::RequireApproval, 2, None);
    check(vec![remediate(), ask()], RuleOutcome::Suggest, Decision::Suggest, 0, None);
    check(vec![limits(5, None)], RuleOutcome::Allow, Decision::AllowWithConstraints, 0, Some(5));
    check(vec![limits(5, None)], limits(3, None), Decision::AllowWithConstraints, 0, Some(3));
    check(vec![limits(5, Some(1))], limits(7, Some(1)), Decision::AllowWithConstraints, 0, Some(5));
    check(vec![limits(5, Some(1))], limits(7, Some(2)), Decision::Deny, 0, Some(5));
    check(vec![RuleOutcome::Suggest], RuleOutcome::Allow, Decision::Suggest, 0, None);

    // What held of the call as it came holds of the call as it goes, though no policy says so of that one.
    let limited = |constraints: Constraints| {
        let says = says("a", RuleOutcome::AllowWithConstraints(constraints));
        let mut cheap = facts();
        cheap.cost.estimate = MicroUsd(1);
        cheap.tool.traits.read_only = true;
        decide(&set(vec![says]), &cheap)
    };
    let read_only = Constraints { read_only: true, ..Constraints::default() };
    let max_cost = Constraints { max_cost: Some(MicroUsd(10)), ..Constraints::default() };
    for (constraints, part) in [(read_only, "read-only"), (max_cost, "at most")] {
        let first = limited(constraints);
        assert_eq!(first.decision, Decision::AllowWithConstraints);
        let check = |change: &dyn Fn(&mut Facts), expect: Decision| {
            let mut changed = facts();
            changed.cost.estimate = MicroUsd(1);
            changed.tool.traits.read_only = true;
            change(&mut changed);
            for second in [RuleOutcome::Allow, ask()] {
                let second = decide(&set(vec![says("z", second)]), &changed);
                let verdict = stricter(first.clone(), second.clone(), &changed);
                let expect = expect.max(if expect == Decision::Deny { expect } else { second.decision });
                assert_eq!(verdict.decision, expect, "{verdict:?}");
                if expect == Decision::Deny {
                    assert!(verdict.reason.contains(part), "{}", verdict.reason);
                    assert!(verdict.approvals.is_empty() && verdict.policy_id == first.policy_id);
                }
            }
        };
        check(&|_| {}, Decision::AllowWithConstraints);
        let breaks = |facts: &mut Facts| {
            facts.cost.estimate = MicroUsd(11);
            facts.tool.traits.read_only = false;
        };
        check(&breaks, Decision::Deny);
    }
}

/// A refused agent learns what the policy is for and what would work: authors give reasons rarely.
#[test]
fn a_denial_says_what_for_and_what_instead() {
    let check = |description: Option<&str>, rules: Vec<Rule>, expect: &str| {
        let mut policy = gate("p", rules);
        policy.description = description.map(Arc::from);
        assert_eq!(&*decide(&set(vec![policy]), &facts()).reason, expect);
    };
    let deny = || rule("never", None, RuleOutcome::Deny);
    check(None, vec![deny()], "denied");
    check(Some("Nobody\n  deletes."), vec![deny()], "denied: Nobody deletes");
    check(
        Some("Nobody deletes"),
        vec![
            rule("leads", Some("agent.role == 'lead'"), RuleOutcome::RequireApproval(approval(&["ops"]))),
            rule("closed", Some("agent.role == 'guest'"), RuleOutcome::Deny),
            rule("staging", Some("env == 'staging'"), RuleOutcome::Allow),
            rule("last", Some("env == 'production'"), RuleOutcome::Deny),
        ],
        "denied because env is production: Nobody deletes; a call can be approved where agent.role is lead \
         (rule leads) and is allowed where env is staging (rule staging)",
    );
    let mut told = deny();
    told.reason = Some("ask the owner.".into());
    check(Some("Nobody deletes"), vec![told], "denied: ask the owner");
    // What is not stopped needs no purpose.
    check(Some("Reading is free"), vec![rule("read", None, RuleOutcome::Allow)], "allowed");
}

/// A tool that appeared after its server was pinned asks, unless something denies it.
#[test]
fn a_newcomer_asks_until_it_is_accepted() {
    let allow = policy("all", Vec::new(), PolicyBody::Gate(vec![rule("1", None, RuleOutcome::Allow)]));
    let deny = policy("none", Vec::new(), PolicyBody::Gate(vec![rule("1", None, RuleOutcome::Deny)]));
    let mut facts = facts();
    let check = |facts: &Facts, policies: Vec<Policy>, expect: Decision, by: &str| {
        let verdict = decide(&set(policies), facts);
        assert_eq!((verdict.decision, verdict.policy_id.as_str()), (expect, by), "{verdict:?}");
        verdict
    };
    check(&facts, vec![allow.clone()], Decision::Allow, "all");
    (facts.tool.unaccepted, facts.tool.pinned) = (true, false);
    let asked = check(&facts, vec![allow.clone()], Decision::RequireApproval, "pin");
    assert_eq!(asked.approvals.len(), 1);
    assert!(asked.reason.contains("nobody has accepted it yet"), "{}", asked.reason);
    check(&facts, vec![allow, deny], Decision::Deny, "none");
    // Where no policy speaks, the default does.
    check(&facts, Vec::new(), Decision::Deny, "default");
}
