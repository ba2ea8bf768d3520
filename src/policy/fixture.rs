//! The fixtures of `policies/tests/*.yaml`: calls, or facts, and what has to be decided of them. They are no part of the
//! bundle's meaning.

use super::{
    Constraints, Facts, PolicyBody, PolicySet, ToolFacts,
    facts::{AgentFacts, CallFacts, CostFacts, DataFacts, WorkflowFacts},
    input::SourceFile,
    names::did_you_mean,
    outcome::{DECISIONS, constraints},
    read::{Fields, boolean, count, fields, json, list_of, mismatch, money, short, text, texts, word},
    source::{Kind, Node, Report, parse_yaml},
};
use crate::model::{
    AgentId, Autonomy, CallKind, CapabilityId, EventDecision, Fingerprint, MicroUsd, PersonId, Place,
    Problems, Sensitivity, ToolTraits, UpstreamName, WorkflowId,
};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Fixtures of one file.
const MOST: usize = 10_000;

/// Decisions that are not of a policy's own: what an expectation may name beside the policies and budgets of the bundle.
const OTHERS: &[&str] = &[
    "default",
    "required",
    "workflow",
    "autonomy",
    "capability",
    "scope",
    "schema",
    "data",
    "uri",
    "loop",
    "constraints",
    "the call as it came",
];

/// One fixture.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Its name.
    pub name: Arc<str>,
    /// Where it stands.
    pub place: Place,
    /// What is decided.
    pub given: Given,
    /// What has to come of it.
    pub expect: Expect,
}

/// What a fixture gives.
#[derive(Clone, Debug)]
pub enum Given {
    /// A call, to be resolved as a real one is.
    Call(Box<FixtureCall>),
    /// The facts themselves.
    Facts(Box<FixtureFacts>),
}

/// A call.
#[derive(Clone, Debug)]
pub struct FixtureCall {
    /// Who calls.
    pub agent: AgentId,
    /// What kind of thing.
    pub kind: CallKind,
    /// Its exposed name, or its URI.
    pub target: Arc<str>,
    /// The arguments.
    pub arguments: Option<Value>,
    /// Who the agent acts for.
    pub user: Option<PersonId>,
    /// The workflow that the call names.
    pub workflow: Option<Arc<str>>,
    /// When.
    pub now: Option<Timestamp>,
    /// What reached the session before.
    pub labels: Vec<Arc<str>>,
    /// Identical calls before it.
    pub repeats: u64,
}

/// Facts by the names that conditions have for them; what is not given is taken from the authority map, from the tool where
/// it is known, or is empty.
#[derive(Clone, Debug, Default)]
pub struct FixtureFacts {
    agent: Option<AgentFacts>,
    user: Option<PersonId>,
    workflow: Option<WorkflowFacts>,
    /// `env`, where it is another than this environment.
    pub env: Option<Arc<str>>,
    tool: FixtureTool,
    args: Value,
    kind: Option<CallKind>,
    repeats: u64,
    size: Option<u64>,
    cost: Option<MicroUsd>,
    tokens: u64,
    level: Option<Sensitivity>,
    labels: Vec<Arc<str>>,
    findings: Vec<Arc<str>>,
    session_labels: Vec<Arc<str>>,
    now: Option<Timestamp>,
    capability: Option<CapabilityId>,
    resource: Arc<str>,
    prompt: Arc<str>,
}

#[derive(Clone, Debug, Default)]
struct FixtureTool {
    name: Option<Arc<str>>,
    upstream: Option<Arc<str>>,
    action: Option<Arc<str>>,
    labels: Option<Vec<Arc<str>>>,
    read_only: Option<bool>,
    destructive: Option<bool>,
    idempotent: Option<bool>,
    open_world: Option<bool>,
    fingerprint: Option<Arc<str>>,
    pinned: Option<bool>,
}

/// What has to be decided. What is not stated may be anything.
#[derive(Clone, Debug)]
pub struct Expect {
    /// The decision, in the words of events.
    pub decision: EventDecision,
    /// Whose.
    pub policy_id: Option<Arc<str>>,
    /// Which rule.
    pub rule_id: Option<Arc<str>>,
    /// Who is asked, in any order.
    pub approvers: Option<Vec<Arc<str>>>,
    /// The limits; those that are stated must be these, and where none is, there must be none.
    pub constraints: Option<Constraints>,
    /// A part of the reason.
    pub reason: Option<Arc<str>>,
}

/// Reads one file. Names are held against the bundle.
pub fn read_fixtures(file: &SourceFile, set: &PolicySet) -> (Vec<Fixture>, Problems) {
    let mut report = Report::new(&file.name, &file.text);
    let root = parse_yaml(&mut report);
    let fixtures = root.and_then(|root| all(&root, set, &mut report)).unwrap_or_default();
    (fixtures, report.into_problems())
}

fn all(root: &Node, set: &PolicySet, report: &mut Report<'_>) -> Option<Vec<Fixture>> {
    let map = fields(root, "a file of tests", &["tests"], report)?;
    let tests = map.required("tests", "a list of {name, call or facts, expect}", report)?;
    if tests.items().len() > MOST {
        report.error(tests.start, "too many tests in one file", format!("at most {MOST}"));
        return None;
    }
    let mut names = std::collections::BTreeSet::new();
    list_of(tests, "tests", report, |node, _, report| {
        let one = fixture(node, set, report)?;
        if !names.insert(one.name.clone()) {
            report.error(node.start, format!("duplicate test `{}`", short(&one.name)), "each name once");
        }
        Some(one)
    })
}

fn fixture(node: &Node, set: &PolicySet, report: &mut Report<'_>) -> Option<Fixture> {
    let map = fields(node, "a test", &["name", "call", "facts", "expect"], report)?;
    let name = map.required("name", "what the test is about", report).and_then(|n| text(n, "name", report));
    let given = match (map.entry("call"), map.entry("facts")) {
        (Some(_), Some(facts)) => {
            report.error(facts.at, "`facts` beside `call`", "one of them");
            None
        }
        (Some(node), None) => call(&node.value, set, report).map(|call| Given::Call(Box::new(call))),
        (None, Some(node)) => facts(&node.value, set, report).map(|facts| Given::Facts(Box::new(facts))),
        (None, None) => {
            report.error(node.start, "the test gives nothing", "`call` or `facts`");
            None
        }
    };
    let expect = map.required("expect", "{decision, policy_id, rule_id, …}", report);
    let expect = expect.and_then(|node| self::expect(node, set, report));
    Some(Fixture { name: name?, place: report.place(node.start), given: given?, expect: expect? })
}

const CALL_KEYS: &[&str] =
    &["agent", "tool", "resource", "prompt", "arguments", "user", "workflow", "now", "labels", "repeats"];

fn call(node: &Node, set: &PolicySet, report: &mut Report<'_>) -> Option<FixtureCall> {
    let map = fields(node, "call", CALL_KEYS, report)?;
    let agent = map.required("agent", "an agent of authority.yaml", report);
    let agent = agent.and_then(|node| known_agent(node, set, report));
    let targets: Vec<_> = [CallKind::Tool, CallKind::Resource, CallKind::Prompt]
        .into_iter()
        .filter_map(|kind| Some((kind, map.entry(kind.as_str())?)))
        .collect();
    let target = match targets.as_slice() {
        [(kind, entry)] => text(&entry.value, &entry.key, report).map(|target| (*kind, target)),
        [] => {
            report.error(map.at, "the call names nothing", "tool, resource or prompt");
            None
        }
        [_, (_, second), ..] => {
            report.error(second.at, format!("`{}` beside another target", second.key), "one target");
            None
        }
    };
    let arguments = map.read("arguments", report, object);
    let workflow = map.read("workflow", report, text);
    let now = map.read("now", report, time);
    let labels = map.read("labels", report, texts).unwrap_or_default();
    let repeats = map.read("repeats", report, count(0, u64::from(u32::MAX))).unwrap_or(0);
    let user = map.read("user", report, text).map(PersonId::from);
    let (kind, target) = target?;
    Some(FixtureCall { agent: agent?, kind, target, arguments, user, workflow, now, labels, repeats })
}

fn object(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Value> {
    if !matches!(node.kind, Kind::Map(_)) {
        mismatch(node, key, "a map", report);
        return None;
    }
    json(node, key, report)
}

fn known_agent(node: &Node, set: &PolicySet, report: &mut Report<'_>) -> Option<AgentId> {
    let name = text(node, "agent", report)?;
    if !set.authority.agents.contains_key(&*name) {
        let hint = did_you_mean(&name, set.authority.agents.keys().map(|id| id.as_str()));
        report.error(
            node.start,
            format!("there is no agent `{}`{hint}", short(&name)),
            "an agent of authority.yaml",
        );
        return None;
    }
    Some(AgentId::from(name))
}

fn time(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Timestamp> {
    let time = node.as_text().and_then(|text| text.parse().ok());
    if time.is_none() {
        mismatch(node, key, "a time like 2026-11-20T08:00:00Z", report);
    }
    time
}

fn decision(node: &Node, key: &str, report: &mut Report<'_>) -> Option<EventDecision> {
    let written = text(node, key, report)?;
    let file = DECISIONS.iter().map(|(word, decision)| (*word, decision.event_word()));
    let event = EventDecision::ALL.iter().map(|word| (word.as_str(), *word));
    // What people decide is no policy's.
    let people = [EventDecision::Approved, EventDecision::Rejected, EventDecision::Expired];
    let words: Vec<_> = file.chain(event.filter(|(_, word)| !people.contains(word))).collect();
    if let Some((_, decision)) = words.iter().find(|(word, _)| *word == &*written) {
        return Some(*decision);
    }
    let hint = did_you_mean(&written, words.iter().map(|(word, _)| *word));
    let all: Vec<&str> = DECISIONS.iter().map(|(word, _)| *word).collect();
    report.error(
        node.start,
        format!("`{}` is no decision{hint}", short(&written)),
        format!("one of {}, or the word of events", all.join(", ")),
    );
    None
}

fn expect(node: &Node, set: &PolicySet, report: &mut Report<'_>) -> Option<Expect> {
    let keys = ["decision", "policy_id", "rule_id", "approvers", "constraints", "reason"];
    let map = fields(node, "expect", &keys, report)?;
    let decision = map.required("decision", "like ALLOW or pending_approval", report);
    let decision = decision.and_then(|node| self::decision(node, "decision", report));
    let policy_id = map.read("policy_id", report, text);
    let rule_id = map.read("rule_id", report, text);
    names(&map, policy_id.as_deref(), rule_id.as_deref(), set, report);
    let approvers = map.read("approvers", report, texts);
    let limits = map.get("constraints").and_then(|node| match &node.kind {
        Kind::Map(entries) if entries.is_empty() => Some(Constraints::default()),
        _ => constraints(node, report),
    });
    let reason = map.read("reason", report, text);
    Some(Expect { decision: decision?, policy_id, rule_id, approvers, constraints: limits, reason })
}

/// An expectation that nothing can meet is a mistake in the test.
fn names(
    map: &Fields<'_>,
    policy: Option<&str>,
    rule: Option<&str>,
    set: &PolicySet,
    report: &mut Report<'_>,
) {
    let (Some(policy), Some(node)) = (policy, map.get("policy_id")) else { return };
    let known = set.policies.iter().find(|known| &*known.id == policy);
    let budgets = set.budgets.iter().map(|budget| &*budget.id);
    let others = OTHERS.contains(&policy) || policy.starts_with("capability:");
    if known.is_none() && !others && !budgets.clone().any(|id| id == policy) {
        let ids = set.policies.iter().map(|known| &*known.id).chain(budgets).chain(OTHERS.iter().copied());
        let hint = did_you_mean(policy, ids);
        report.error(
            node.start,
            format!("there is no policy `{}`{hint}", short(policy)),
            "the name of a gate, or the id of a rulebook's policy or of a budget",
        );
    }
    let (Some(rule), Some(node), Some(known)) = (rule, map.get("rule_id"), known) else { return };
    let rules: Vec<&str> = match &known.body {
        PolicyBody::Gate(rules) => rules.iter().map(|rule| &*rule.id).collect(),
        PolicyBody::Rulebook(_) => Vec::new(),
    };
    if !rules.contains(&rule) {
        let hint = did_you_mean(rule, rules.iter().copied());
        report.error(
            node.start,
            format!("policy `{policy}` has no rule `{}`{hint}", short(rule)),
            match rules.is_empty() {
                true => "no rule_id: the policies of a rulebook have no rules".to_owned(),
                false => format!("one of {}", rules.join(", ")),
            },
        );
    }
}

const FACT_KEYS: &[&str] = &[
    "agent",
    "capability",
    "user",
    "workflow",
    "env",
    "tool",
    "args",
    "call",
    "cost",
    "data",
    "session",
    "now",
    "resource",
    "prompt",
];

fn facts(node: &Node, set: &PolicySet, report: &mut Report<'_>) -> Option<FixtureFacts> {
    let map = fields(node, "facts", FACT_KEYS, report)?;
    let mut facts = FixtureFacts {
        agent: map
            .required("agent", "a name, or {id, type, role, …}", report)
            .and_then(|n| agent(n, set, report)),
        user: map.read("user", report, text).map(PersonId::from),
        workflow: map.get("workflow").and_then(|node| workflow(node, set, report)),
        env: map.read("env", report, text),
        tool: map.get("tool").map(|node| tool(node, report)).unwrap_or_default(),
        args: map.read("args", report, object).unwrap_or_else(|| Value::Object(Map::new())),
        now: map.read("now", report, time),
        capability: map.get("capability").and_then(|node| capability(node, set, report)),
        resource: map.read("resource", report, text).unwrap_or_default(),
        prompt: map.read("prompt", report, text).unwrap_or_default(),
        ..FixtureFacts::default()
    };
    if let Some(map) =
        map.get("call").and_then(|node| fields(node, "call", &["kind", "repeats", "size"], report))
    {
        let kinds =
            word(&[("tool", CallKind::Tool), ("resource", CallKind::Resource), ("prompt", CallKind::Prompt)]);
        facts.kind = map.read("kind", report, kinds);
        facts.repeats = map.read("repeats", report, count(0, u64::MAX)).unwrap_or(0);
        facts.size = map.read("size", report, count(0, u64::MAX));
    }
    if let Some(map) =
        map.get("cost").and_then(|node| fields(node, "cost", &["estimate_usd", "tokens"], report))
    {
        facts.cost = map.read("estimate_usd", report, money);
        facts.tokens = map.read("tokens", report, count(0, u64::MAX)).unwrap_or(0);
    }
    if let Some(map) =
        map.get("data").and_then(|node| fields(node, "data", &["level", "labels", "findings"], report))
    {
        let levels = word(&[
            ("public", Sensitivity::Public),
            ("internal", Sensitivity::Internal),
            ("confidential", Sensitivity::Confidential),
            ("restricted", Sensitivity::Restricted),
        ]);
        facts.level = map.read("level", report, levels);
        facts.labels = map.read("labels", report, texts).unwrap_or_default();
        facts.findings = map.read("findings", report, texts).unwrap_or_default();
    }
    if let Some(map) = map.get("session").and_then(|node| fields(node, "session", &["labels"], report)) {
        facts.session_labels = map.read("labels", report, texts).unwrap_or_default();
    }
    Some(facts)
}

fn agent(node: &Node, set: &PolicySet, report: &mut Report<'_>) -> Option<AgentFacts> {
    if node.as_text().is_some() {
        let id = known_agent(node, set, report)?;
        return set.authority.agents.get(&id).map(AgentFacts::of);
    }
    let keys = ["id", "type", "role", "tenant", "owner", "operator", "autonomy", "attended"];
    let map = fields(node, "agent", &keys, report)?;
    let id = map.required("id", "the agent's name", report).and_then(|node| text(node, "id", report))?;
    let mut agent = match set.authority.agents.get(&*id) {
        Some(known) => AgentFacts::of(known),
        None => AgentFacts {
            id: AgentId::from(id),
            agent_type: Arc::default(),
            role: Arc::default(),
            tenant: Arc::default(),
            owner: Arc::default(),
            operator: None,
            autonomy: Autonomy::Supervised,
            attended: false,
        },
    };
    for (key, place) in [
        ("type", &mut agent.agent_type),
        ("role", &mut agent.role),
        ("tenant", &mut agent.tenant),
        ("owner", &mut agent.owner),
    ] {
        if let Some(given) = map.read(key, report, text) {
            *place = given;
        }
    }
    if let Some(operator) = map.read("operator", report, text) {
        agent.operator = Some(PersonId::from(operator));
    }
    let words = word(&[
        ("suggest_only", Autonomy::SuggestOnly),
        ("supervised", Autonomy::Supervised),
        ("autonomous", Autonomy::Autonomous),
    ]);
    agent.autonomy = map.read("autonomy", report, words).unwrap_or(agent.autonomy);
    agent.attended = map.read("attended", report, boolean).unwrap_or(agent.attended);
    Some(agent)
}

fn workflow(node: &Node, set: &PolicySet, report: &mut Report<'_>) -> Option<WorkflowFacts> {
    if let Some(name) = node.as_text() {
        let known = set.authority.workflows.get(name);
        if known.is_none() {
            let hint = did_you_mean(name, set.authority.workflows.keys().map(|id| id.as_str()));
            report.error(
                node.start,
                format!("there is no workflow `{}`{hint}", short(name)),
                "a workflow of authority.yaml, or {id, owner}",
            );
        }
        return known.map(|known| WorkflowFacts { id: known.id.clone(), owner: known.owner.clone() });
    }
    let map = fields(node, "workflow", &["id", "owner"], report)?;
    let id = map.required("id", "the workflow's name", report).and_then(|node| text(node, "id", report));
    let owner = map.read("owner", report, text);
    Some(WorkflowFacts { id: WorkflowId::from(id?), owner })
}

fn capability(node: &Node, set: &PolicySet, report: &mut Report<'_>) -> Option<CapabilityId> {
    let name = text(node, "capability", report)?;
    if !set.authority.capabilities.contains_key(&*name) {
        let hint = did_you_mean(&name, set.authority.capabilities.keys().map(|id| id.as_str()));
        report.error(
            node.start,
            format!("there is no capability `{}`{hint}", short(&name)),
            "a capability of authority.yaml",
        );
        return None;
    }
    Some(CapabilityId::from(name))
}

const TOOL_KEYS: &[&str] = &[
    "name",
    "upstream",
    "action",
    "labels",
    "read_only",
    "destructive",
    "idempotent",
    "open_world",
    "fingerprint",
    "pinned",
];

fn tool(node: &Node, report: &mut Report<'_>) -> FixtureTool {
    if node.as_text().is_some() {
        return FixtureTool { name: text(node, "tool", report), ..FixtureTool::default() };
    }
    let Some(map) = fields(node, "tool", TOOL_KEYS, report) else { return FixtureTool::default() };
    FixtureTool {
        name: map.read("name", report, text),
        upstream: map.read("upstream", report, text),
        action: map.read("action", report, text),
        labels: map.read("labels", report, texts),
        read_only: map.read("read_only", report, boolean),
        destructive: map.read("destructive", report, boolean),
        idempotent: map.read("idempotent", report, boolean),
        open_world: map.read("open_world", report, boolean),
        fingerprint: map.read("fingerprint", report, text),
        pinned: map.read("pinned", report, boolean),
    }
}

impl FixtureFacts {
    /// The tool that is named.
    pub fn tool_name(&self) -> Option<&str> {
        self.tool.name.as_deref()
    }

    /// The whole facts. `known` is the tool as it is resolved, where it is known; `at` the time where none is given.
    pub fn complete(&self, set: &PolicySet, known: Option<ToolFacts>, at: Timestamp) -> Option<Facts> {
        let agent = self.agent.clone()?;
        let tool = self.tool.complete(known);
        let kind = self.kind.unwrap_or(match (self.resource.is_empty(), self.prompt.is_empty()) {
            (false, _) => CallKind::Resource,
            (true, false) => CallKind::Prompt,
            (true, true) => CallKind::Tool,
        });
        Some(Facts {
            user: self.user.clone().or_else(|| agent.operator.clone()),
            workflow: self.workflow.clone(),
            args: Arc::new(self.args.clone()),
            call: CallFacts {
                kind,
                repeats: self.repeats,
                size: self.size.unwrap_or_else(|| self.args.to_string().len() as u64),
            },
            cost: CostFacts { estimate: self.cost.unwrap_or(MicroUsd::ZERO), tokens: self.tokens },
            data: DataFacts {
                level: self.level.unwrap_or(Sensitivity::Internal),
                labels: self.labels.clone(),
                findings: self.findings.clone(),
            },
            session_labels: self.session_labels.clone(),
            now: self.now.unwrap_or(at),
            capabilities: self.capabilities(set, &agent.id, &tool.name),
            missing_metadata: Vec::new(),
            workflow_refused: None,
            resource: self.resource.clone(),
            prompt: self.prompt.clone(),
            remediated: false,
            agent,
            tool,
        })
    }

    /// The one that is stated; else those of the agent that cover the target.
    fn capabilities(&self, set: &PolicySet, agent: &AgentId, tool: &str) -> Vec<CapabilityId> {
        if let Some(stated) = &self.capability {
            return vec![stated.clone()];
        }
        let own = set.authority.agents.get(agent).map(|agent| agent.capabilities.as_slice());
        let own = own.unwrap_or_default().iter().filter_map(|id| set.authority.capabilities.get(id));
        own.filter(|capability| {
            capability.tools.iter().any(|glob| glob.matches(tool))
                || capability.prompts.iter().any(|glob| !self.prompt.is_empty() && glob.matches(&self.prompt))
                || capability
                    .resources
                    .iter()
                    .any(|pattern| !self.resource.is_empty() && pattern.grants(&self.resource, false))
        })
        .map(|capability| capability.id.clone())
        .collect()
    }
}

impl FixtureTool {
    fn complete(&self, known: Option<ToolFacts>) -> ToolFacts {
        let mut tool = known.unwrap_or_else(|| ToolFacts {
            name: self.name.clone().unwrap_or_default(),
            upstream: UpstreamName::from(""),
            action: Arc::default(),
            labels: Arc::from([]),
            traits: ToolTraits::UNTRUSTED,
            fingerprint: Fingerprint::from(""),
            pinned: false,
        });
        if let Some(upstream) = &self.upstream {
            tool.upstream = UpstreamName::from(upstream.clone());
        }
        if let Some(action) = &self.action {
            tool.action = action.clone();
        }
        if let Some(labels) = &self.labels {
            tool.labels = labels.clone().into();
        }
        if let Some(fingerprint) = &self.fingerprint {
            tool.fingerprint = Fingerprint::from(fingerprint.clone());
        }
        for (given, place) in [
            (self.read_only, &mut tool.traits.read_only),
            (self.destructive, &mut tool.traits.destructive),
            (self.idempotent, &mut tool.traits.idempotent),
            (self.open_world, &mut tool.traits.open_world),
            (self.pinned, &mut tool.pinned),
        ] {
            *place = given.unwrap_or(*place);
        }
        tool
    }
}
