//! The shape of an explanation: what the command line prints, the API answers and the page shows.

use crate::{
    approval::deciders,
    decision::{ApprovalRequirement, Trace, Tree, Verdict},
    evidence,
    model::{
        AgentId, CallKind, CapabilityId, EventDecision, MicroUsd, PersonId, PolicyId, RuleId, Sensitivity,
        SnapshotId, ToolTraits, UpstreamName, WorkflowId,
    },
    policy::{
        ApprovalRule, ArgumentEdit, Constraints, Facts, PolicyBody, PolicySet, RuleOutcome,
        read::show_duration,
    },
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// What would be decided of a call, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// In the words of events: an ask is `pending_approval`, a call that a rule makes safer and lets through `remediate`.
    pub decision: EventDecision,
    /// Whose decision it is.
    pub policy_id: PolicyId,
    /// Which rule of it.
    pub rule_id: Option<RuleId>,
    /// Why, in one sentence.
    pub reason: String,
    /// Everything that was said of the call, in order, in the words of events.
    pub steps: Value,
    /// The limits under which it would run, by the keys of rules.
    pub constraints: Map<String, Value>,
    /// Who would be asked, as the rules name them.
    pub approvers: Vec<String>,
    /// The capability that lets it through.
    pub capability: Option<CapabilityId>,
    /// The bundle that decides.
    pub policy_snapshot: SnapshotId,
    /// `env`
    pub environment: Arc<str>,
    /// What it is decided on; none of a target that is not in scope.
    pub call: Option<CallView>,
    /// Each evaluation: the call as it came, and as rules changed it.
    pub evaluations: Vec<EvaluationView>,
    /// Which limit comes from where.
    pub constraint_sources: Vec<ConstraintSource>,
    /// Each approval that would be asked for.
    pub approvals: Vec<ApprovalView>,
    /// Budgets and limits per minute that count the call, as they stand.
    pub limits: Vec<LimitView>,
    /// Which rules about loops count the call, as they stand.
    pub loops: Vec<LoopView>,
    /// The safer call, where one is proposed or made.
    pub remediation: Option<Value>,
    /// After how long the same call may be made again.
    pub retry_after_ms: Option<u64>,
    /// What other arguments would change. Each was decided.
    pub changes: Vec<ChangeView>,
    /// What a reader should know beside it.
    pub notes: Vec<String>,
}

/// What a call is decided on, as it may be shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallView {
    /// Who calls.
    pub agent: AgentId,
    /// What kind of thing.
    pub kind: CallKind,
    /// Its name.
    pub name: Arc<str>,
    /// Whose it is.
    pub upstream: UpstreamName,
    /// Its action.
    pub action: Arc<str>,
    /// Its labels.
    pub labels: Vec<Arc<str>>,
    /// What it is taken to be.
    #[serde(flatten)]
    pub traits: ToolTraits,
    /// With masks.
    pub arguments: Arc<Value>,
    /// Who the agent acts for.
    pub user: Option<PersonId>,
    /// In which workflow.
    pub workflow: Option<WorkflowId>,
    /// When.
    pub now: Timestamp,
    /// What it is estimated to cost.
    pub cost_estimate_usd: MicroUsd,
    /// In tokens.
    pub tokens: u64,
    /// How sensitive its arguments are.
    pub level: Sensitivity,
    /// What was found in them.
    pub findings: Vec<Arc<str>>,
}

impl CallView {
    /// The call that facts are about. Its name, action and arguments are those of the facts: masked only where the facts are.
    pub(super) fn of(facts: &Facts) -> Self {
        let name = match facts.call.kind {
            CallKind::Tool => &facts.tool.name,
            CallKind::Resource => &facts.resource,
            CallKind::Prompt => &facts.prompt,
        };
        Self {
            agent: facts.agent.id.clone(),
            kind: facts.call.kind,
            name: name.clone(),
            upstream: facts.tool.upstream.clone(),
            action: facts.tool.action.clone(),
            labels: facts.tool.labels.to_vec(),
            traits: facts.tool.traits,
            arguments: facts.args.clone(),
            user: facts.user.clone(),
            workflow: facts.workflow.as_ref().map(|workflow| workflow.id.clone()),
            now: facts.now,
            cost_estimate_usd: facts.cost.estimate,
            tokens: facts.cost.tokens,
            level: facts.data.level,
            findings: facts.data.findings.clone(),
        }
    }
}

/// One evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvaluationView {
    /// What policies said of it alone.
    pub decision: EventDecision,
    /// The arguments of this evaluation, with masks.
    pub arguments: Arc<Value>,
    /// The target of it.
    pub name: Arc<str>,
    /// Capabilities and policies.
    #[serde(flatten)]
    pub tree: Tree,
}

/// The limits of one rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConstraintSource {
    /// Whose.
    pub policy_id: PolicyId,
    /// Which rule.
    pub rule_id: Option<RuleId>,
    /// As the rule states them.
    pub constraints: Map<String, Value>,
}

/// An approval that would be asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApprovalView {
    /// By which policy.
    pub policy_id: PolicyId,
    /// By which rule.
    pub rule_id: Option<RuleId>,
    /// As the rule names them; empty: everyone with the role `approver`.
    pub approvers: Vec<String>,
    /// The people who could decide now.
    pub people: Vec<PersonId>,
    /// How many must agree.
    pub quorum: u32,
    /// Whether they must say what shows that the call is right.
    pub evidence_required: bool,
    /// Whether the agent's operator is kept out.
    pub separate: bool,
    /// How long it can be answered.
    pub expires_in: String,
    /// Through what.
    pub channels: Vec<&'static str>,
    /// Why.
    pub reason: String,
}

/// A rule about loops.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoopView {
    /// What kind of loop: `identical`, `errors`, `alternating`, `similar`, `fan_out`.
    pub kind: &'static str,
    /// Whose: `agent` or `workflow`.
    pub of: &'static str,
    /// In so many seconds.
    pub window_s: u32,
    /// What is counted: calls, failures, or rounds of calls that take turns; null where no counter is at hand.
    pub seen: Option<u32>,
    /// So many are let through.
    pub max: u32,
    /// Whether the call would be refused as a loop.
    pub full: bool,
}

/// A budget or a limit per minute.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LimitView {
    /// Whose.
    pub policy_id: PolicyId,
    /// Which counter of it.
    pub key: String,
    /// Over what time.
    pub window: &'static str,
    /// Dispatched calls; null where no counter is at hand.
    pub used_calls: Option<u64>,
    /// Tokens.
    pub used_tokens: Option<u64>,
    /// Money.
    pub used_cost_usd: Option<MicroUsd>,
    /// The cap on calls.
    pub max_calls: Option<u64>,
    /// The cap on tokens.
    pub max_tokens: Option<u64>,
    /// The cap on money.
    pub max_cost_usd: Option<MicroUsd>,
    /// What happens above it, in the words of events.
    pub above: EventDecision,
    /// The call has no room.
    pub full: bool,
}

/// What another call would meet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangeView {
    /// What is otherwise, in words: "args.path were within /scratch".
    #[serde(rename = "if")]
    pub words: String,
    /// The arguments that were tried, by JSON pointer; null where one was left out.
    pub arguments: Map<String, Value>,
    /// What is decided then.
    pub decision: EventDecision,
    /// By which policy.
    pub policy_id: PolicyId,
    /// By which rule.
    pub rule_id: Option<RuleId>,
    /// It is less strict than what is decided now.
    pub less_strict: bool,
}

/// Limits by the keys of rules.
pub fn constraints(of: &Constraints) -> Map<String, Value> {
    let Constraints { timeout, max_cost, max_result_tokens, max_result_bytes, read_only, arguments, redact } =
        of;
    let mut told = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            told.insert(key.to_owned(), value);
        }
    };
    put("timeout", timeout.map(|timeout| json!(seconds(timeout))));
    put("max_cost", max_cost.map(|cost| json!(cost)));
    put("max_result_tokens", max_result_tokens.map(|tokens| json!(tokens)));
    put("max_result_bytes", max_result_bytes.map(|bytes| json!(bytes)));
    put("read_only", read_only.then_some(json!(true)));
    put("arguments", (!arguments.is_empty()).then(|| edits(arguments)));
    let pointers: Vec<&str> = redact.iter().map(|pointer| pointer.as_str()).collect();
    put("redact", (!pointers.is_empty()).then(|| json!(pointers)));
    told
}

/// A timeout in seconds, as most rules write it.
fn seconds(time: Duration) -> String {
    match (time.as_secs(), time.subsec_millis()) {
        (seconds, 0) => format!("{seconds}s"),
        (_, _) => format!("{}ms", time.as_millis()),
    }
}

fn edits(all: &[ArgumentEdit]) -> Value {
    let (mut set, mut remove, mut clamp) = (Map::new(), Vec::new(), Map::new());
    for edit in all {
        match edit {
            ArgumentEdit::Set(at, value) => drop(set.insert(at.as_str().to_owned(), value.clone())),
            ArgumentEdit::Remove(at) => remove.push(at.as_str()),
            ArgumentEdit::Clamp { at, min, max } => {
                let bounds = [("min", min), ("max", max)];
                let bounds = bounds
                    .into_iter()
                    .filter_map(|(name, bound)| Some((name.to_owned(), Value::Number(bound.clone()?))));
                clamp.insert(at.as_str().to_owned(), Value::Object(bounds.collect()));
            }
        }
    }
    let mut told = Map::new();
    if !set.is_empty() {
        told.insert("set".to_owned(), Value::Object(set));
    }
    if !remove.is_empty() {
        told.insert("remove".to_owned(), json!(remove));
    }
    if !clamp.is_empty() {
        told.insert("clamp".to_owned(), Value::Object(clamp));
    }
    Value::Object(told)
}

/// The limits of each rule that constrains the call.
pub(super) fn sources(set: &PolicySet, trace: &Trace) -> Vec<ConstraintSource> {
    let of = |policy: &PolicyId, rule: &RuleId| {
        let policy = set.policies.iter().find(|known| known.id == *policy)?;
        let PolicyBody::Gate(rules) = &policy.body else { return None };
        match &rules.iter().find(|known| known.id == *rule)?.outcome {
            RuleOutcome::AllowWithConstraints(constraints) => Some(constraints),
            RuleOutcome::Allow
            | RuleOutcome::RequireApproval(_)
            | RuleOutcome::Remediate(_)
            | RuleOutcome::Suggest
            | RuleOutcome::Throttle(_)
            | RuleOutcome::Check(_)
            | RuleOutcome::Deny => None,
        }
    };
    let mut found: Vec<ConstraintSource> = Vec::new();
    for step in trace.steps.iter().filter(|step| !step.shadow) {
        let Some(limits) = step.rule_id.as_ref().and_then(|rule| of(&step.policy_id, rule)) else { continue };
        let source = ConstraintSource {
            policy_id: step.policy_id.clone(),
            rule_id: step.rule_id.clone(),
            constraints: constraints(limits),
        };
        if !found.contains(&source) {
            found.push(source);
        }
    }
    found
}

/// Who a rule asks, as it names them; where it names nobody, as the bundle does.
fn names(set: &PolicySet, rule: &ApprovalRule) -> Vec<String> {
    let named = rule.approvers.as_ref().or(set.bundle.default_approvers.as_ref());
    named.into_iter().flatten().map(|approver| approver.name().to_owned()).collect()
}

/// An approval with the people who could decide it.
pub(super) fn approval(
    set: &PolicySet,
    operator: Option<&PersonId>,
    asks: &ApprovalRequirement,
) -> ApprovalView {
    let rule = &asks.rule;
    let named = rule.approvers.as_ref().or(set.bundle.default_approvers.as_ref());
    let people = deciders(&set.authority, operator, named.map_or(&[], Vec::as_slice), rule.separate);
    ApprovalView {
        policy_id: asks.policy_id.clone(),
        rule_id: asks.rule_id.clone(),
        approvers: names(set, rule),
        people: people.into_iter().cloned().collect(),
        quorum: rule.quorum,
        evidence_required: rule.evidence_required,
        separate: rule.separate,
        expires_in: show_duration(rule.expires_in),
        channels: rule.channels.iter().map(|channel| channel.as_str()).collect(),
        reason: asks.reason.to_string(),
    }
}

impl Explanation {
    /// Of a call on which no rule was asked.
    pub(super) fn refused(
        set: &PolicySet,
        decision: EventDecision,
        policy_id: PolicyId,
        reason: String,
    ) -> Self {
        Self {
            decision,
            policy_id,
            rule_id: None,
            reason,
            steps: json!([]),
            constraints: Map::new(),
            approvers: Vec::new(),
            capability: None,
            policy_snapshot: set.snapshot.clone(),
            environment: set.environment.clone(),
            call: None,
            evaluations: Vec::new(),
            constraint_sources: Vec::new(),
            approvals: Vec::new(),
            limits: Vec::new(),
            loops: Vec::new(),
            remediation: None,
            retry_after_ms: None,
            changes: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Of a verdict.
    pub(super) fn of(set: &PolicySet, operator: Option<&PersonId>, verdict: &Verdict) -> Self {
        let reason = verdict.reason.to_string();
        let mut told = Self::refused(set, verdict.decision.event_word(), verdict.policy_id.clone(), reason);
        told.rule_id = verdict.rule_id.clone();
        told.steps = evidence::steps(&verdict.trace);
        told.constraints = constraints(&verdict.constraints);
        told.constraint_sources = sources(set, &verdict.trace);
        told.capability = verdict.capability.clone();
        told.retry_after_ms =
            verdict.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        told.ask(verdict.approvals.iter().map(|asks| approval(set, operator, asks)));
        told
    }

    /// Adds approvals, and who they are asked of.
    pub(super) fn ask(&mut self, approvals: impl Iterator<Item = ApprovalView>) {
        for approval in approvals {
            for name in &approval.approvers {
                if !self.approvers.contains(name) {
                    self.approvers.push(name.clone());
                }
            }
            self.approvals.push(approval);
        }
    }
}
