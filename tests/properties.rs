//! Properties of deciding that hold for every bundle and every call, and not only for the
//! examples that somebody thought of.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test file")]

use proptest::prelude::*;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tollgate::{
    cost::PriceTable,
    decision::{
        AgentFacts, CallFacts, CostFacts, DataFacts, Facts, ToolFacts, Verdict, decide, explain, selected,
    },
    model::{Autonomy, CallKind, Decision, Glob, MicroUsd, Selector, Sensitivity, ToolTraits},
    policy::{
        ApprovalRule, Approver, Authority, BundleInfo, Capability, ChannelKind, Constraints, Mode, Policy,
        PolicyBody, PolicySet, Remediation, Rule, RuleOutcome, Rulebook, Violation, condition::Condition,
        index::PolicyIndex,
    },
    redaction::DataRules,
};

// What is generated: small vocabularies, so that policies and calls meet often.

#[derive(Clone, Debug)]
enum When {
    Always,
    Production,
    Staging,
    Role(&'static str),
    ArgAbove(i64),
    Broken,
    BrokenUnlessStaging,
}

#[derive(Clone, Debug)]
enum Say {
    Allow,
    Limit { timeout: u64, max_cost: Option<i64>, read_only: bool, set: Option<i64> },
    Ask(&'static str),
    Remediate,
    Suggest,
    Throttle(u64),
    Deny,
}

#[derive(Clone, Debug)]
enum On {
    Everything,
    Tool(&'static str),
    Action(&'static str),
    AgentAndLabel(&'static str, &'static str),
    Either(&'static str, &'static str),
}

#[derive(Clone, Debug)]
enum Body {
    Gate(Vec<(When, Say)>),
    Book {
        roles: Option<Vec<&'static str>>,
        types: Option<Vec<&'static str>>,
        max_cost: Option<i64>,
        ask: bool,
        on_allow: bool,
        rate: bool,
    },
}

#[derive(Clone, Debug)]
struct Made {
    name: String,
    shadow: bool,
    on: On,
    body: Body,
}

#[derive(Clone, Debug)]
struct Call {
    tool: &'static str,
    action: &'static str,
    label: &'static str,
    agent: &'static str,
    role: &'static str,
    agent_type: &'static str,
    read_only: bool,
    arg: Option<i64>,
    cost: i64,
    suggest_only: bool,
    remediated: bool,
    covered: bool,
    refused: bool,
    missing: bool,
}

#[derive(Clone, Debug)]
struct World {
    production: bool,
    default: Decision,
    policies: Vec<Made>,
    call: Call,
}

const ROLES: [&str; 2] = ["ops", "dev"];
const TYPES: [&str; 2] = ["planner", "executor"];

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        4 => Just(When::Always),
        2 => Just(When::Production),
        2 => Just(When::Staging),
        2 => proptest::sample::select(&ROLES[..]).prop_map(When::Role),
        2 => (0..4i64).prop_map(When::ArgAbove),
        1 => Just(When::Broken),
        1 => Just(When::BrokenUnlessStaging),
    ]
}

fn limit() -> impl Strategy<Value = Say> {
    (
        1..5u64,
        proptest::option::of(0..4i64),
        proptest::bool::weighted(0.2),
        proptest::option::weighted(0.2, 0..3i64),
    )
        .prop_map(|(timeout, max_cost, read_only, set)| Say::Limit { timeout, max_cost, read_only, set })
}

fn say(allow: bool) -> impl Strategy<Value = Say> {
    prop_oneof![
        if allow { 4 } else { 0 } => Just(Say::Allow),
        3 => limit(),
        2 => proptest::sample::select(&["security", "ops"][..]).prop_map(Say::Ask),
        1 => Just(Say::Remediate),
        1 => Just(Say::Suggest),
        1 => (1..9u64).prop_map(Say::Throttle),
        1 => Just(Say::Deny),
    ]
}

fn on() -> impl Strategy<Value = On> {
    let tool = || {
        proptest::sample::select(&["files__read", "files__write", "files__*", "*__write", "*", "crm__*"][..])
    };
    let action = || proptest::sample::select(&["files:read", "files:*", "crm:write"][..]);
    prop_oneof![
        Just(On::Everything),
        tool().prop_map(On::Tool),
        action().prop_map(On::Action),
        (
            proptest::sample::select(&["a1", "a*", "a2"][..]),
            proptest::sample::select(&["write", "*", "r*"][..])
        )
            .prop_map(|(agent, label)| On::AgentAndLabel(agent, label)),
        (tool(), action()).prop_map(|(tool, action)| On::Either(tool, action)),
    ]
}

fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<&'static str>>> {
    proptest::option::of(proptest::sample::subsequence(all, 0..=all.len()))
}

fn body(allow: bool) -> impl Strategy<Value = Body> {
    let book = (
        some_of(&ROLES),
        some_of(&TYPES),
        proptest::option::of(0..4i64),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    prop_oneof![
        3 => proptest::collection::vec((when(), say(allow)), 0..4).prop_map(Body::Gate),
        1 => book.prop_map(move |(roles, types, max_cost, ask, on_allow, rate)| Body::Book {
            roles, types, max_cost, ask, on_allow: on_allow && allow, rate
        }),
    ]
}

fn made(allow: bool) -> impl Strategy<Value = Made> {
    (proptest::bool::weighted(0.15), on(), body(allow)).prop_map(|(shadow, on, body)| Made {
        name: String::new(),
        shadow,
        on,
        body,
    })
}

fn call() -> impl Strategy<Value = Call> {
    let names = (
        proptest::sample::select(
            &[
                ("files__read", "files:read", "read"),
                ("files__write", "files:write", "write"),
                ("crm__write", "crm:write", "write"),
            ][..],
        ),
        proptest::sample::select(&["a1", "a2", "b"][..]),
        proptest::sample::select(&ROLES[..]),
        proptest::sample::select(&TYPES[..]),
    );
    let rare = || proptest::bool::weighted(0.07);
    (
        names,
        any::<bool>(),
        proptest::option::weighted(0.8, 0..5i64),
        0..5i64,
        (rare(), rare(), rare(), rare(), rare()),
    )
        .prop_map(|(((tool, action, label), agent, role, agent_type), read_only, arg, cost, flags)| {
            Call {
                tool,
                action,
                label,
                agent,
                role,
                agent_type,
                read_only,
                arg,
                cost,
                suggest_only: flags.0,
                remediated: flags.1,
                covered: !flags.2,
                refused: flags.3,
                missing: flags.4,
            }
        })
}

fn world() -> impl Strategy<Value = World> {
    let default = proptest::sample::select(
        &[Decision::Allow, Decision::Deny, Decision::RequireApproval, Decision::Suggest][..],
    );
    (any::<bool>(), default, proptest::collection::vec(made(true), 0..6), call()).prop_map(
        |(production, default, mut policies, call)| {
            for (number, policy) in policies.iter_mut().enumerate() {
                policy.name = format!("p{number}");
            }
            World { production, default, policies, call }
        },
    )
}

// From what is generated to what decides.

fn condition(when: &When) -> Option<Condition> {
    let source = match when {
        When::Always => return None,
        When::Production => "env == 'production'".to_owned(),
        When::Staging => "env == 'staging'".to_owned(),
        When::Role(role) => format!("agent.role == '{role}'"),
        When::ArgAbove(limit) => format!("args.n > {limit}"),
        When::Broken => "args.n == 'five'".to_owned(),
        When::BrokenUnlessStaging => "args.missing == 1 || env == 'staging'".to_owned(),
    };
    Some(Condition::compile(&source).unwrap())
}

fn approval(group: &str) -> ApprovalRule {
    ApprovalRule {
        approvers: Some(vec![Approver::Group(group.into())]),
        quorum: 1,
        expires_in: Duration::from_secs(900),
        escalate: None,
        evidence_required: false,
        channels: ChannelKind::ALL.to_vec(),
        separate: false,
    }
}

fn outcome(say: &Say) -> RuleOutcome {
    match say {
        Say::Allow => RuleOutcome::Allow,
        Say::Limit { timeout, max_cost, read_only, set } => RuleOutcome::AllowWithConstraints(Constraints {
            timeout: Some(Duration::from_secs(*timeout)),
            max_cost: max_cost.map(MicroUsd),
            read_only: *read_only,
            arguments: set
                .iter()
                .map(|value| {
                    let at = tollgate::model::pointer::Pointer::parse("/n").unwrap();
                    tollgate::policy::ArgumentEdit::Set(at, json!(value))
                })
                .collect(),
            ..Constraints::default()
        }),
        Say::Ask(group) => RuleOutcome::RequireApproval(approval(group)),
        Say::Remediate => {
            RuleOutcome::Remediate(Remediation { apply: true, edits: Vec::new(), tool: None, reason: None })
        }
        Say::Suggest => RuleOutcome::Suggest,
        Say::Throttle(seconds) => RuleOutcome::Throttle(Duration::from_secs(*seconds)),
        Say::Deny => RuleOutcome::Deny,
    }
}

fn policy(made: &Made) -> Policy {
    let glob = |text: &str| Some(Glob::parse(text).unwrap());
    let on = match &made.on {
        On::Everything => Vec::new(),
        On::Tool(tool) => vec![Selector { tool: glob(tool), ..Selector::default() }],
        On::Action(action) => vec![Selector { action: glob(action), ..Selector::default() }],
        On::AgentAndLabel(agent, label) => {
            vec![Selector { agent: glob(agent), label: glob(label), ..Selector::default() }]
        }
        On::Either(tool, action) => vec![
            Selector { tool: glob(tool), ..Selector::default() },
            Selector { action: glob(action), ..Selector::default() },
        ],
    };
    let body = match &made.body {
        Body::Gate(rules) => PolicyBody::Gate(
            rules
                .iter()
                .enumerate()
                .map(|(number, (when, say))| Rule {
                    id: (number + 1).to_string().into(),
                    condition: condition(when),
                    outcome: outcome(say),
                    reason: None,
                })
                .collect(),
        ),
        Body::Book { roles, types, max_cost, ask, on_allow, rate } => {
            let texts = |of: &Option<Vec<&str>>| {
                of.as_ref().map(|all| all.iter().map(|text| Arc::from(*text)).collect())
            };
            PolicyBody::Rulebook(Box::new(Rulebook {
                allowed_roles: texts(roles),
                agent_types: texts(types),
                max_cost: max_cost.map(MicroUsd),
                requires_approval: ask.then(|| approval("ops")),
                max_calls_per_minute: rate.then_some(60),
                max_cost_per_minute: None,
                on_allow: *on_allow,
                on_violation: Violation::Deny,
                condition: None,
            }))
        }
    };
    Policy {
        id: made.name.as_str().into(),
        file: "p.yaml".into(),
        description: None,
        owner: None,
        mode: if made.shadow { Mode::Shadow } else { Mode::Enforce },
        on,
        body,
    }
}

fn set(world: &World) -> PolicySet {
    let policies: Vec<Policy> = world.policies.iter().map(policy).collect();
    let mut authority = Authority::default();
    authority.capabilities.insert(
        "all".into(),
        Capability {
            id: "all".into(),
            tools: Vec::new(),
            resources: Vec::new(),
            prompts: Vec::new(),
            condition: (!world.call.covered).then(|| Condition::compile("env == 'nowhere'").unwrap()),
            autonomy: None,
        },
    );
    PolicySet {
        snapshot: "s".into(),
        environment: if world.production { "production" } else { "staging" }.into(),
        bundle: BundleInfo {
            version: "1".into(),
            owner: None,
            default_decision: world.default,
            default_approvers: None,
            required: Vec::new(),
        },
        authority,
        prices: PriceTable::default(),
        budgets: Vec::new(),
        data: DataRules::default(),
        index: PolicyIndex::build(&policies),
        policies,
        max_repeats: 20,
    }
}

fn facts(call: &Call) -> Facts {
    let mut facts = facts_with(call.arg.map_or(json!({}), |n| json!({"n": n})));
    facts.agent.id = call.agent.into();
    facts.agent.role = call.role.into();
    facts.agent.agent_type = call.agent_type.into();
    facts.agent.autonomy = if call.suggest_only { Autonomy::SuggestOnly } else { Autonomy::Supervised };
    facts.tool.name = call.tool.into();
    facts.tool.action = call.action.into();
    facts.tool.labels = [call.label.into()].into();
    facts.tool.traits.read_only = call.read_only;
    facts.cost.estimate = MicroUsd(call.cost);
    facts.remediated = call.remediated;
    facts.workflow_refused = call.refused.then(|| "wf-9".into());
    facts.missing_metadata = if call.missing { vec!["tenant".into()] } else { Vec::new() };
    facts
}

fn facts_with(args: Value) -> Facts {
    Facts {
        agent: AgentFacts {
            id: "a1".into(),
            agent_type: "planner".into(),
            role: "ops".into(),
            tenant: "acme".into(),
            owner: "data-team".into(),
            operator: None,
            autonomy: Autonomy::Supervised,
            attended: false,
        },
        user: None,
        workflow: None,
        tool: ToolFacts {
            name: "files__read".into(),
            upstream: "files".into(),
            action: "files:read".into(),
            labels: ["read".into()].into(),
            traits: ToolTraits::UNTRUSTED,
            fingerprint: "f".into(),
            pinned: true,
        },
        args: Arc::new(args),
        call: CallFacts { kind: CallKind::Tool, repeats: 0, size: 7 },
        cost: CostFacts { estimate: MicroUsd(0), tokens: 10 },
        data: DataFacts { level: Sensitivity::Internal, labels: Vec::new(), findings: Vec::new() },
        session_labels: Vec::new(),
        now: "2026-11-20T10:00:00Z".parse().unwrap(),
        capabilities: vec!["all".into()],
        missing_metadata: Vec::new(),
        workflow_refused: None,
        resource: "".into(),
        prompt: "".into(),
        remediated: false,
    }
}

fn decided(world: &World) -> Verdict {
    decide(&set(world), &facts(&world.call))
}

// The reference: the contract read word by word, with no index, no trace and no sharing.

/// True, false, or no answer.
fn holds(when: &When, world: &World) -> Option<bool> {
    match when {
        When::Always => Some(true),
        When::Production => Some(world.production),
        When::Staging => Some(!world.production),
        When::Role(role) => Some(*role == world.call.role),
        When::ArgAbove(limit) => world.call.arg.map(|n| n > *limit),
        When::Broken => None,
        When::BrokenUnlessStaging => (!world.production).then_some(true),
    }
}

fn matches(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => text == pattern,
        Some((start, end)) => text.starts_with(start) && text.ends_with(end),
    }
}

fn concerned(on: &On, call: &Call) -> bool {
    match on {
        On::Everything => true,
        On::Tool(tool) => matches(call.tool, tool),
        On::Action(action) => matches(call.action, action),
        On::AgentAndLabel(agent, label) => matches(call.agent, agent) && matches(call.label, label),
        On::Either(tool, action) => matches(call.tool, tool) || matches(call.action, action),
    }
}

fn word(say: &Say, call: &Call) -> Decision {
    match say {
        Say::Allow => Decision::Allow,
        Say::Limit { max_cost, read_only, .. } => {
            if max_cost.is_some_and(|limit| call.cost > limit) || *read_only && !call.read_only {
                Decision::Deny
            } else {
                Decision::AllowWithConstraints
            }
        }
        Say::Ask(_) => Decision::RequireApproval,
        Say::Remediate if call.remediated => Decision::Deny,
        Say::Remediate => Decision::Remediate,
        Say::Suggest => Decision::Suggest,
        Say::Throttle(_) => Decision::Throttle,
        Say::Deny => Decision::Deny,
    }
}

fn said(made: &Made, world: &World) -> Option<(Decision, Option<Say>)> {
    let call = &world.call;
    if made.shadow || !concerned(&made.on, call) {
        return None;
    }
    match &made.body {
        Body::Gate(rules) => {
            for (when, say) in rules {
                match holds(when, world) {
                    Some(true) => return Some((word(say, call), Some(say.clone()))),
                    Some(false) => {}
                    None => return Some((Decision::Deny, None)),
                }
            }
            None
        }
        Body::Book { roles, types, max_cost, ask, on_allow, .. } => {
            if types.as_ref().is_some_and(|types| !types.contains(&call.agent_type)) {
                None
            } else if roles.as_ref().is_some_and(|roles| !roles.contains(&call.role))
                || max_cost.is_some_and(|limit| call.cost > limit)
            {
                Some((Decision::Deny, None))
            } else if *ask {
                Some((Decision::RequireApproval, None))
            } else {
                on_allow.then_some((Decision::Allow, None))
            }
        }
    }
}

fn reference(world: &World) -> Decision {
    let call = &world.call;
    let said: Vec<(Decision, Option<Say>)> = world.policies.iter().filter_map(|p| said(p, world)).collect();
    let sets: BTreeSet<i64> = said
        .iter()
        .filter(|(decision, _)| *decision == Decision::AllowWithConstraints)
        .filter_map(|(_, say)| match say {
            Some(Say::Limit { set, .. }) => *set,
            _ => None,
        })
        .collect();
    let stopped = call.missing || call.refused || !call.covered || sets.len() > 1;
    let strictest = match (stopped, said.iter().map(|(decision, _)| *decision).max()) {
        (true, _) => Decision::Deny,
        (false, Some(decision)) => decision,
        (false, None) => world.default,
    };
    if call.suggest_only { strictest.max(Decision::Suggest) } else { strictest }
}

fn dispatched(decision: Decision) -> bool {
    matches!(decision, Decision::Allow | Decision::AllowWithConstraints)
}

/// What of a verdict does not depend on the order of policies.
fn unordered(verdict: &Verdict) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut steps: Vec<(String, Decision, bool)> = verdict
        .trace
        .steps
        .iter()
        // Which of two policies is told to contradict the other is a matter of order.
        .filter(|step| !step.reason.contains("changed in two ways"))
        .map(|step| (step.policy_id.to_string(), step.decision, step.shadow))
        .collect();
    steps.sort();
    let approvals: BTreeSet<String> = verdict.approvals.iter().map(|a| a.policy_id.to_string()).collect();
    let rates: BTreeSet<String> = verdict.limits.rates.iter().map(|r| r.policy_id.to_string()).collect();
    let mut constraints = verdict.constraints.clone();
    constraints.arguments.sort_by_key(|edit| format!("{edit:?}"));
    let constraints = format!("{constraints:?}");
    (
        verdict.decision,
        verdict.retry_after,
        verdict.remediation.is_some(),
        steps,
        approvals,
        rates,
        constraints,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_naive_reference_agrees(world in world()) {
        prop_assert_eq!(decided(&world).decision, reference(&world));
    }

    #[test]
    fn the_order_of_policies_does_not_matter((world, shuffled) in world().prop_flat_map(|world| {
        let shuffled = Just(world.policies.clone()).prop_shuffle();
        (Just(world), shuffled)
    })) {
        let other = World { policies: shuffled, ..world.clone() };
        prop_assert_eq!(unordered(&decided(&world)), unordered(&decided(&other)));
    }

    /// Where a policy, or authority, stopped the call or had it asked, no added policy without
    /// ALLOW weakens that. Where only the default did (nobody had spoken), an added policy lets
    /// the call through only by an ALLOW_WITH_CONSTRAINTS of its own, which is an allowing word.
    #[test]
    fn adding_a_rule_other_than_allow_never_lets_through(
        world in world(),
        mut added in made(false),
        place in any::<prop::sample::Index>(),
    ) {
        added.name = "added".into();
        let before = decided(&world);
        let mut more = world.clone();
        more.policies.insert(place.index(world.policies.len() + 1), added);
        let after = decided(&more);
        if &*before.policy_id != "default" {
            prop_assert!(after.decision >= before.decision, "{:?} then {:?}", before, after);
        } else if !dispatched(before.decision) && dispatched(after.decision) {
            prop_assert_eq!(after.decision, Decision::AllowWithConstraints);
            prop_assert_eq!(&*after.policy_id, "added");
        }
    }

    #[test]
    fn a_call_that_is_asked_or_safer_never_loses_a_requirement(world in world()) {
        let verdict = decided(&world);
        if verdict.decision == Decision::RequireApproval {
            let asking = verdict.trace.steps.iter().filter(|s| !s.shadow && s.decision == Decision::RequireApproval);
            let asking: Vec<_> = asking.map(|s| s.policy_id.clone()).collect();
            let kept: Vec<_> = verdict.approvals.iter().map(|a| a.policy_id.clone()).collect();
            prop_assert_eq!(asking, kept);
        }
    }

    #[test]
    fn the_index_finds_what_a_full_scan_finds(world in world()) {
        let set = set(&world);
        let facts = facts(&world.call);
        let selected = selected(&facts);
        let matching = |position: &usize| {
            let on = &set.policies[*position].on;
            on.is_empty() || on.iter().any(|entry| entry.matches(&selected))
        };
        let applies = |position: &usize| match &set.policies[*position].body {
            PolicyBody::Gate(_) => true,
            PolicyBody::Rulebook(book) => {
                book.agent_types.as_ref().is_none_or(|types| types.contains(&facts.agent.agent_type))
            }
        };
        let wanted = |position: &usize| matching(position) && applies(position);
        let found: Vec<usize> = set.index.candidates(&selected).into_iter().filter(wanted).collect();
        let scanned: Vec<usize> = (0..set.policies.len()).filter(wanted).collect();
        prop_assert_eq!(found, scanned);
    }

    /// Explaining renders what was decided, and every step of it.
    #[test]
    fn explaining_leaves_nothing_out(world in world()) {
        let verdict = decided(&world);
        let text = explain(&verdict);
        prop_assert!(text.starts_with(verdict.decision.as_str()));
        for step in &verdict.trace.steps {
            prop_assert!(text.contains(&step.reason));
        }
    }

    #[test]
    fn no_text_makes_compiling_panic(text in "\\PC{0,60}") {
        check_any(&text);
    }

    #[test]
    fn no_tokens_make_compiling_or_evaluating_panic(tokens in proptest::collection::vec(token(), 1..24)) {
        check_any(&tokens.concat());
        check_any(&tokens.join(" "));
    }

    #[test]
    fn no_expression_makes_evaluating_panic(source in expression()) {
        check_any(&source);
    }
}

fn token() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(
        &[
            "args",
            ".",
            "n",
            "list",
            "[",
            "]",
            "(",
            ")",
            "0",
            "1",
            "-",
            "!",
            "'a'",
            "'",
            "\"",
            "b'\\xff'",
            "r'\\d'",
            "&&",
            "||",
            "==",
            "!=",
            "<",
            ">=",
            "+",
            "*",
            "/",
            "%",
            "?",
            ":",
            ",",
            "in",
            "has",
            "all",
            "exists",
            "map",
            "filter",
            "x",
            "env",
            "agent",
            "role",
            "now",
            "getHours",
            "size",
            "matches",
            "glob",
            "host",
            "within",
            "duration",
            "timestamp",
            "null",
            "true",
            "1.5",
            "1e9",
            "7u",
            "0xF",
            "{",
            "}",
            "`a-b`",
            "é",
            "🎉",
            "\\",
            "//",
            "\n",
            "type",
            "string",
            "int",
            "\u{0}",
        ][..],
    )
}

/// Mostly well typed, so that evaluation is reached.
fn expression() -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(
        &[
            "args.n",
            "args.text",
            "args.list",
            "args.missing",
            "args.wide",
            "args",
            "args.f",
            "env",
            "user",
            "agent.role",
            "cost.estimate_usd",
            "tool.labels",
            "now",
            "1",
            "0",
            "-3",
            "2.5",
            "'a'",
            "''",
            "null",
            "true",
            "false",
            "duration('1h')",
            "[1, 2]",
            "9223372036854775807",
            "b'x'",
        ][..],
    )
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let binary = proptest::sample::select(
            &["==", "!=", "<", ">=", "+", "-", "*", "/", "%", "&&", "||", "in"][..],
        );
        let unary = proptest::sample::select(
            &["size", "int", "string", "double", "uint", "bool", "bytes", "type", "host", "timestamp", "duration", "dyn"][..],
        );
        let loops = proptest::sample::select(&["all", "exists", "exists_one", "map", "filter"][..]);
        prop_oneof![
            4 => (inner.clone(), binary, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            1 => (unary, inner.clone()).prop_map(|(name, a)| format!("{name}({a})")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            1 => (inner.clone(), loops, inner.clone()).prop_map(|(a, name, b)| format!("{a}.{name}(x, x == {b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            1 => inner.clone().prop_map(|a| format!("!{a}")),
            1 => inner.clone().prop_map(|a| format!("-{a}")),
            1 => (inner.clone(), inner).prop_map(|(a, b)| format!("glob({a}, {b})")),
        ]
    })
}

fn check_any(source: &str) {
    match Condition::compile(source) {
        Ok(condition) => {
            let args: Value = serde_json::from_str(
                r#"{"n": 5, "text": "abc", "list": [1, "a", null], "wide": 1e400, "f": -0.5}"#,
            )
            .unwrap();
            let answer = condition.evaluate(&facts_with(args), "production");
            if let Err(error) = answer {
                assert!(!error.message.is_empty());
            }
        }
        Err(error) => {
            assert!(error.offset <= source.chars().count(), "{source}: {error:?}");
            let there: String =
                source.chars().skip(error.offset).take(error.offending.chars().count()).collect();
            assert_eq!(there, error.offending, "{source:?}");
            assert!(!error.message.is_empty() && !error.expected.is_empty());
        }
    }
}

/// Sources on which both parsers must agree, and on which our evaluator must agree with the
/// crate's own interpreter (it answers `None` where that one has no answer either).
const AGREED: &[(&str, Option<bool>)] = &[
    ("true || false && false", Some(true)),
    ("!true == false", Some(true)),
    ("!(true == true)", Some(false)),
    ("-args.n + 2 == -3", Some(true)),
    ("1 - 2 - 3 == -4", Some(true)),
    ("2 + 3 * 4 % 5 == 4", Some(true)),
    ("8 / 2 / 2 == 2", Some(true)),
    ("args.n == 5 ? args.text == 'abc' : args.missing", Some(true)),
    ("false ? true : false ? true : true", Some(true)),
    ("args.n in [1, 5] && !(args.n in [2])", Some(true)),
    ("'n' in args && !('m' in args)", Some(true)),
    ("args.n > 4 && args.n <= 5 || args.missing", Some(true)),
    ("args.missing || args.n == 5", Some(true)),
    ("args.missing && args.n == 5", None),
    ("args.missing && args.n == 6", Some(false)),
    ("args.numbers.all(x, x > 0)", Some(true)),
    ("args.numbers.exists(x, x == 3)", Some(true)),
    ("args.numbers.exists_one(x, x == 3)", Some(true)),
    ("args.numbers.map(x, x * 2) == [2, 4, 6]", Some(true)),
    ("args.numbers.map(x, x > 1, x * 2) == [4, 6]", Some(true)),
    ("args.numbers.filter(x, x > 1) == [2, 3]", Some(true)),
    ("args.numbers.filter(x, x > 1).all(x, x > 1)", Some(true)),
    ("args.numbers[0] == 1 && args['n'] == 5 && args.deep['a'].b == 'c'", Some(true)),
    ("args.numbers[7] == 1", None),
    ("has(args.deep.a) && !has(args.deep.z) && has(args.nothing)", Some(true)),
    ("size(args.text) == 3 && args.numbers.size() == 3 && size('äö') == 2", Some(true)),
    ("args.text.startsWith('a') && args.text.endsWith('c') && args.text.contains('b')", Some(true)),
    ("args.text.matches('^a.c$') && !args.text.matches('^b')", Some(true)),
    ("'a' + 'b' == 'ab' && [1] + [2] == [1, 2]", Some(true)),
    ("'a' < 'b' && 'B' < 'a'", Some(true)),
    ("r'\\d' == '\\\\d' && '\\u00e9' == 'é' && '\\x41' == 'A' && \"it's\" == 'it\\'s'", Some(true)),
    ("'''a'b''' == \"a'b\"", Some(true)),
    ("0x10 == 16 && 10u == uint(10) && 1.5e1 == 15.0", Some(true)),
    ("int('7') == 7 && string(7) == '7' && double('2.5') == 2.5 && int(7.9) == 7", Some(true)),
    ("type(args.text) == string && type(args.yes) == bool", Some(true)),
    ("timestamp('2026-11-20T10:00:00Z').getDayOfWeek() == 5", Some(true)),
    ("timestamp('2026-11-20T10:00:00Z').getMonth() == 10", Some(true)),
    ("timestamp('2026-11-20T10:00:00Z').getDate() == 20", Some(true)),
    ("timestamp('2026-11-20T10:00:00Z').getDayOfMonth() == 19", Some(true)),
    ("timestamp('2026-11-20T10:00:00Z').getDayOfYear() == 323", Some(true)),
    ("duration('1h30m') > duration('89m')", Some(true)),
    ("timestamp('2026-11-20T10:00:00Z') - timestamp('2026-11-20T09:00:00Z') == duration('1h')", Some(true)),
    ("7 / 0 == 1", None),
    ("7 % 0 == 1", None),
    ("// a comment\n args.n == 5", Some(true)),
    ("args.`n` == 5", Some(true)),
];

fn agreed_args() -> Value {
    json!({"n": 5, "text": "abc", "numbers": [1, 2, 3], "deep": {"a": {"b": "c"}}, "nothing": null, "yes": true})
}

#[test]
fn our_evaluator_gives_the_answers_of_cel() {
    for (source, expect) in AGREED {
        let condition = Condition::compile(source).unwrap_or_else(|error| unreachable!("{source}: {error}"));
        let got = condition.evaluate(&facts_with(agreed_args()), "production").ok();
        assert_eq!(got, *expect, "{source}");
    }
}

/// The crate's own parser builds the same tree from the same text, but it needs a large stack.
#[test]
fn both_parsers_and_the_crates_interpreter_agree() {
    let check = || {
        for (source, expect) in AGREED {
            let pratt = cel::parser::PrattParser::new().enable_ident_escape_syntax(true).parse(source);
            let antlr = cel::parser::Parser::new().enable_ident_escape_syntax(true).parse(source);
            let plain = |tree: &cel::common::ast::IdedExpr| without_ids(&format!("{:?}", tree.expr));
            assert_eq!(plain(&pratt.expect(source)), plain(&antlr.expect(source)), "{source}");
            if source.contains('`') {
                continue;
            }
            let program = cel::Program::compile(source).expect(source);
            let mut context = cel::Context::default();
            context.add_variable("args", interpreted(&agreed_args())).expect(source);
            let got = match program.execute(&context) {
                Ok(cel::Value::Bool(bool)) => Some(bool),
                _ => None,
            };
            assert_eq!(got, *expect, "{source}");
        }
    };
    std::thread::Builder::new().stack_size(64 << 20).spawn(check).unwrap().join().unwrap();
}

fn without_ids(tree: &str) -> String {
    let mut out = String::new();
    let mut rest = tree;
    while let Some((before, after)) = rest.split_once("id: ") {
        out.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out.push_str(rest);
    out
}

/// Whole numbers as CEL ints.
fn interpreted(json: &Value) -> cel::Value {
    match json {
        Value::Null => cel::Value::Null,
        Value::Bool(bool) => cel::Value::Bool(*bool),
        Value::Number(number) => cel::Value::Int(number.as_i64().unwrap()),
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(items) => cel::Value::List(Arc::new(items.iter().map(interpreted).collect())),
        Value::Object(map) => {
            let members = map.iter().map(|(key, value)| (key.clone(), interpreted(value)));
            cel::Value::from(members.collect::<std::collections::HashMap<String, cel::Value>>())
        }
    }
}
