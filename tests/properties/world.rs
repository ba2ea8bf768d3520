//! Generated bundles and calls.

use proptest::prelude::*;
use serde_json::{Value, json};
use std::{cell::RefCell, collections::HashMap, sync::Arc, time::Duration};
use tollgate::{
    cost::PriceTable,
    decision::{AgentFacts, CallFacts, CostFacts, DataFacts, Facts, ToolFacts, Verdict, decide},
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
pub(crate) enum When {
    Always,
    Production,
    Staging,
    Role(&'static str),
    ArgAbove(i64),
    /// `args.path` lies below it.
    Within(&'static str),
    /// `args.n` is there.
    HasArg,
    Broken,
    BrokenUnlessStaging,
    And(Box<When>, Box<When>),
    Or(Box<When>, Box<When>),
    Not(Box<When>),
}

#[derive(Clone, Debug)]
pub(crate) enum Say {
    Allow,
    Limit { timeout: u64, max_cost: Option<i64>, read_only: bool, set: Option<i64> },
    Ask(&'static str),
    Remediate,
    Suggest,
    Throttle(u64),
    Deny,
}

#[derive(Clone, Debug)]
pub(crate) enum On {
    Everything,
    Tool(&'static str),
    Action(&'static str),
    AgentAndLabel(&'static str, &'static str),
    RoleAndType(&'static str, &'static str),
    Either(&'static str, &'static str),
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
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
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) shadow: bool,
    pub(crate) on: On,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) tool: &'static str,
    pub(crate) action: &'static str,
    pub(crate) label: &'static str,
    pub(crate) agent: &'static str,
    pub(crate) role: &'static str,
    pub(crate) agent_type: &'static str,
    pub(crate) read_only: bool,
    pub(crate) arg: Option<i64>,
    pub(crate) path: Option<&'static str>,
    pub(crate) cost: i64,
    pub(crate) suggest_only: bool,
    pub(crate) remediated: bool,
    /// Those that cover the call, in order: of [`CAPABILITIES`].
    pub(crate) capabilities: Vec<&'static str>,
    pub(crate) refused: bool,
    pub(crate) missing: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) production: bool,
    pub(crate) default: Decision,
    pub(crate) policies: Vec<Made>,
    pub(crate) call: Call,
}

pub(crate) const ROLES: [&str; 2] = ["ops", "dev"];
pub(crate) const TYPES: [&str; 2] = ["planner", "executor"];
pub(crate) const PATHS: [&str; 4] = ["/scratch/a", "/scratch/../notes/a", "/notes/b", "relative"];
pub(crate) const AGENTS: [&str; 3] = ["a1", "a2", "b"];
/// Tool, action, label.
pub(crate) const TOOLS: [(&str, &str, &str); 3] = [
    ("files__read", "files:read", "read"),
    ("files__write", "files:write", "write"),
    ("crm__write", "crm:write", "write"),
];
/// `all` always covers, `never` never does, `ops` where the role is that, `broken` has no answer, `proposals` lets through
/// as a proposal only.
pub(crate) const CAPABILITIES: [&str; 5] = ["all", "never", "ops", "broken", "proposals"];

pub(crate) fn when() -> impl Strategy<Value = When> {
    let simple = || {
        prop_oneof![
            2 => Just(When::Production),
            2 => Just(When::Staging),
            2 => proptest::sample::select(&ROLES[..]).prop_map(When::Role),
            2 => (0..4i64).prop_map(When::ArgAbove),
            2 => proptest::sample::select(&["/scratch", "/notes", "/"][..]).prop_map(When::Within),
            1 => Just(When::HasArg),
            1 => Just(When::Broken),
            1 => Just(When::BrokenUnlessStaging),
        ]
    };
    let both = || (simple(), simple()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
    prop_oneof![
        4 => Just(When::Always),
        6 => simple(),
        1 => both().prop_map(|(a, b)| When::And(a, b)),
        1 => both().prop_map(|(a, b)| When::Or(a, b)),
        1 => simple().prop_map(|a| When::Not(Box::new(a))),
        1 => both().prop_map(|(a, b)| When::Not(Box::new(When::Or(a, b)))),
    ]
}

pub(crate) fn limit() -> impl Strategy<Value = Say> {
    (
        1..5u64,
        proptest::option::of(0..4i64),
        proptest::bool::weighted(0.2),
        proptest::option::weighted(0.7, 0..3i64),
    )
        .prop_map(|(timeout, max_cost, read_only, set)| Say::Limit { timeout, max_cost, read_only, set })
}

pub(crate) fn say(allow: bool) -> impl Strategy<Value = Say> {
    prop_oneof![
        if allow { 4 } else { 0 } => Just(Say::Allow),
        4 => limit(),
        2 => proptest::sample::select(&["security", "ops"][..]).prop_map(Say::Ask),
        1 => Just(Say::Remediate),
        1 => Just(Say::Suggest),
        1 => (1..9u64).prop_map(Say::Throttle),
        1 => Just(Say::Deny),
    ]
}

pub(crate) fn on() -> impl Strategy<Value = On> {
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
        (
            proptest::sample::select(&["ops", "d*", "*"][..]),
            proptest::sample::select(&["planner", "exec*"][..])
        )
            .prop_map(|(role, agent_type)| On::RoleAndType(role, agent_type)),
        (tool(), action()).prop_map(|(tool, action)| On::Either(tool, action)),
    ]
}

pub(crate) fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<&'static str>>> {
    proptest::option::of(proptest::sample::subsequence(all, 0..=all.len()))
}

pub(crate) fn body(allow: bool) -> impl Strategy<Value = Body> {
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

pub(crate) fn made(allow: bool) -> impl Strategy<Value = Made> {
    (proptest::bool::weighted(0.15), on(), body(allow)).prop_map(|(shadow, on, body)| Made {
        name: String::new(),
        shadow,
        on,
        body,
    })
}

pub(crate) fn call() -> impl Strategy<Value = Call> {
    any::<u64>().prop_map(|seed| random_call(&mut Dice(seed)))
}

/// A source of small numbers, quicker than a strategy's: a million calls are made of it.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        let place = usize::try_from(self.below(all.len() as u64)).unwrap();
        all.get(place).copied().unwrap()
    }

    fn percent(&mut self, of: u64) -> bool {
        self.below(100) < of
    }
}

pub(crate) fn random_call(dice: &mut Dice) -> Call {
    let (tool, action, label) = dice.of(&TOOLS);
    let number = |dice: &mut Dice| i64::try_from(dice.below(5)).unwrap();
    // Most calls are covered; the first of the list that lets the call through counts.
    let mut capabilities: Vec<&str> = Vec::new();
    for _ in 0..dice.below(3) {
        let one = dice.of(&CAPABILITIES);
        if !capabilities.contains(&one) {
            capabilities.push(one);
        }
    }
    if dice.percent(85) && !capabilities.contains(&"all") {
        capabilities.push("all");
    }
    Call {
        tool,
        action,
        label,
        agent: dice.of(&AGENTS),
        role: dice.of(&ROLES),
        agent_type: dice.of(&TYPES),
        read_only: dice.percent(50),
        arg: dice.percent(80).then(|| number(dice)),
        path: dice.percent(80).then(|| dice.of(&PATHS)),
        cost: number(dice),
        suggest_only: dice.percent(7),
        remediated: dice.percent(7),
        capabilities,
        refused: dice.percent(5),
        missing: dice.percent(5),
    }
}

pub(crate) fn world() -> impl Strategy<Value = World> {
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

/// As the condition language writes it; none for a rule that always applies.
fn source(when: &When) -> Option<String> {
    let part = |when: &When| format!("({})", source(when).unwrap());
    Some(match when {
        When::Always => return None,
        When::Production => "env == 'production'".to_owned(),
        When::Staging => "env == 'staging'".to_owned(),
        When::Role(role) => format!("agent.role == '{role}'"),
        When::ArgAbove(limit) => format!("args.n > {limit}"),
        When::Within(root) => format!("within(args.path, '{root}')"),
        When::HasArg => "has(args.n)".to_owned(),
        When::Broken => "args.n == 'five'".to_owned(),
        When::BrokenUnlessStaging => "args.missing == 1 || env == 'staging'".to_owned(),
        When::And(a, b) => format!("{} && {}", part(a), part(b)),
        When::Or(a, b) => format!("{} || {}", part(a), part(b)),
        When::Not(a) => format!("!{}", part(a)),
    })
}

thread_local! {
    /// There are only so many conditions, and compiling one takes longer than deciding.
    static COMPILED: RefCell<HashMap<String, Condition>> = RefCell::default();
}

pub(crate) fn condition(when: &When) -> Option<Condition> {
    let source = source(when)?;
    COMPILED.with_borrow_mut(|all| {
        let compiled = all.entry(source).or_insert_with_key(|source| Condition::compile(source).unwrap());
        Some(compiled.clone())
    })
}

pub(crate) fn approval(group: &str) -> ApprovalRule {
    ApprovalRule {
        approvers: Some(vec![Approver::Group(group.into())]),
        quorum: 1,
        expires_in: Duration::from_secs(900),
        escalate: None,
        evidence_required: false,
        channels: ChannelKind::ALL.to_vec(),
        separate: false,
        grants: None,
    }
}

pub(crate) fn outcome(say: &Say) -> RuleOutcome {
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

pub(crate) fn policy(made: &Made) -> Policy {
    let glob = |text: &str| Some(Glob::parse(text).unwrap());
    let on = match &made.on {
        On::Everything => Vec::new(),
        On::Tool(tool) => vec![Selector { tool: glob(tool), ..Selector::default() }],
        On::Action(action) => vec![Selector { action: glob(action), ..Selector::default() }],
        On::AgentAndLabel(agent, label) => {
            vec![Selector { agent: glob(agent), label: glob(label), ..Selector::default() }]
        }
        On::RoleAndType(role, agent_type) => {
            vec![Selector { role: glob(role), agent_type: glob(agent_type), ..Selector::default() }]
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
                    sentence: Default::default(),
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

pub(crate) fn set(world: &World) -> PolicySet {
    let policies: Vec<Policy> = world.policies.iter().map(policy).collect();
    let mut authority = Authority::default();
    for id in CAPABILITIES {
        let condition = match id {
            "never" => Some("env == 'nowhere'"),
            "ops" => Some("agent.role == 'ops'"),
            "broken" => Some("args.missing"),
            _ => None,
        };
        let capability = Capability {
            id: id.into(),
            tools: Vec::new(),
            resources: Vec::new(),
            prompts: Vec::new(),
            condition: condition.map(|source| Condition::compile(source).unwrap()),
            autonomy: (id == "proposals").then_some(Autonomy::SuggestOnly),
        };
        authority.capabilities.insert(id.into(), capability);
    }
    PolicySet {
        snapshot: "s".into(),
        parts: Default::default(),
        environment: if world.production { "production" } else { "staging" }.into(),
        bundle: BundleInfo {
            version: "1".into(),
            owner: None,
            default_decision: world.default,
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

pub(crate) fn facts(call: &Call) -> Facts {
    let mut args = serde_json::Map::new();
    args.extend(call.arg.map(|n| ("n".to_owned(), json!(n))));
    args.extend(call.path.map(|path| ("path".to_owned(), json!(path))));
    let mut facts = facts_with(Value::Object(args));
    facts.capabilities = call.capabilities.iter().map(|id| (*id).into()).collect();
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

pub(crate) fn facts_with(args: Value) -> Facts {
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
            unaccepted: false,
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
        user_groups: Vec::new(),
        resource: "".into(),
        prompt: "".into(),
        remediated: false,
        share: Default::default(),
        checks: Vec::new(),
    }
}

pub(crate) fn decided(world: &World) -> Verdict {
    decide(&set(world), &facts(&world.call))
}
