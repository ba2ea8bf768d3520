//! From facts to verdict: authority first, then every policy that concerns the call; the strictest
//! outcome wins and constraints intersect.

use super::{
    ApprovalRequirement, BudgetLimit, Limits, RateLimit, Step, Trace, Verdict, constrain,
    plain_ask::{newcomer, plain_ask},
    sentence,
};
use crate::{
    cost::BudgetScope,
    model::{Autonomy, CallKind, CapabilityId, Decision, PolicyId, RuleId, Selected},
    policy::{
        ApprovalRule, CheckDecision, CheckRule, Constraints, Facts, Policy, PolicyBody, PolicySet,
        Remediation, Rule, RuleOutcome, Rulebook,
        condition::{Condition, EvalError, Surroundings},
    },
};
use std::{sync::Arc, time::Duration};

/// How long a call stopped by a `THROTTLE` that names no time should wait.
const DEFAULT_RETRY: Duration = Duration::from_secs(60);

/// The answer to a condition of a call, of which this capability is known to let it through.
type Ask<'q> = &'q dyn Fn(&Condition, Option<&CapabilityId>) -> Result<bool, EvalError>;

/// The same of a policy, for which the capability is known.
type AskPolicy<'q> = &'q dyn Fn(&Condition) -> Result<bool, EvalError>;

/// Decides a call. Cannot fail: an error inside is a deny that says so.
pub fn decide(set: &PolicySet, facts: &Facts) -> Verdict {
    decide_by(set, facts, &|condition, capability| {
        condition.evaluate(facts, Surroundings { environment: &set.environment, capability })
    })
}

/// The same with the answers to conditions from elsewhere: of recorded facts not every condition has one.
pub fn decide_by(set: &PolicySet, facts: &Facts, ask: Ask<'_>) -> Verdict {
    let mut said = Said::default();
    said.authority(set, facts, ask);
    let capability = said.capability.clone();
    let selected = selected(facts, capability.as_ref());
    let ask = |condition: &Condition| ask(condition, capability.as_ref());
    for position in set.index.candidates(&selected) {
        if let Some(policy) = set.policies.get(position)
            && concerns(policy, &selected)
        {
            said.policy(set, facts, policy, &ask);
        }
    }
    said.merge();
    said.limits.budgets = budgets(set, facts, &selected);
    said.limits.max_repeats = Some(set.max_repeats);
    said.limits.loops = set.loops;
    said.verdict(set)
}

/// What selectors of policies and budgets are held against; `capability` lets the call through.
pub fn selected<'f>(facts: &'f Facts, capability: Option<&'f CapabilityId>) -> Selected<'f> {
    Selected {
        action: &facts.tool.action,
        tool: &facts.tool.name,
        labels: &facts.tool.labels,
        upstream: facts.tool.upstream.as_str(),
        agent: facts.agent.id.as_str(),
        role: &facts.agent.role,
        agent_type: &facts.agent.agent_type,
        tenant: &facts.agent.tenant,
        capability: capability.map_or("", CapabilityId::as_str),
        workflow: facts.workflow.as_ref().map_or("", |workflow| workflow.id.as_str()),
        resource: &facts.resource,
        prompt: &facts.prompt,
    }
}

/// Whether `on` matches.
pub(super) fn concerns(policy: &Policy, selected: &Selected<'_>) -> bool {
    policy.on.is_empty() || policy.on.iter().any(|entry| entry.matches(selected))
}

/// One policy's outcome, before the outcomes are combined.
struct Outcome<'s> {
    rule_id: Option<RuleId>,
    decision: Decision,
    reason: Arc<str>,
    error: bool,
    effect: Effect<'s>,
}

/// What an outcome brings besides its word.
enum Effect<'s> {
    None,
    Constrain(&'s Constraints),
    Ask(&'s ApprovalRule),
    Remediate(&'s Remediation),
    Wait(Duration),
    /// An external check has to be asked first.
    Unasked(&'s Arc<str>),
}

/// Everything that was said of a call.
#[derive(Default)]
struct Said<'s> {
    steps: Vec<Step>,
    constraints: Vec<(PolicyId, &'s Constraints)>,
    merged: Constraints,
    approvals: Vec<ApprovalRequirement>,
    /// The first policy's; it is whose the verdict is where nothing stricter is said.
    remediation: Option<&'s Remediation>,
    retry_after: Option<Duration>,
    limits: Limits,
    capability: Option<CapabilityId>,
    suggest_only: Option<String>,
    /// A policy that counts gave an outcome.
    spoken: bool,
    /// External checks that rules need an answer of.
    unasked: Vec<Arc<str>>,
    /// How many of the denials are by these checks alone.
    provisional: usize,
}

impl<'s> Said<'s> {
    fn step(
        &mut self,
        policy_id: impl Into<PolicyId>,
        decision: Decision,
        reason: impl Into<Arc<str>>,
        error: bool,
    ) {
        self.steps.push(Step {
            policy_id: policy_id.into(),
            rule_id: None,
            decision,
            reason: reason.into(),
            shadow: false,
            error,
            limit: false,
        });
    }

    /// What stands before all policies: required metadata, the workflow, the capability.
    fn authority(&mut self, set: &PolicySet, facts: &Facts, ask: Ask<'_>) {
        if !facts.missing_metadata.is_empty() {
            let names: Vec<String> =
                facts.missing_metadata.iter().map(|name| format!("`{}`", sentence::plain(name))).collect();
            let reason = format!("the call must carry {}", sentence::and(&names));
            self.step("required", Decision::Deny, reason, false);
        }
        if let Some(workflow) = &facts.workflow_refused {
            let reason = format!(
                "{} may not act in workflow `{}`; name one of its own workflows or none",
                facts.agent.id,
                sentence::plain(workflow)
            );
            self.step("workflow", Decision::Deny, reason, false);
        }
        self.capability(set, facts, ask);
        if let Some(ask) = newcomer(set, facts) {
            self.step(ask.policy_id.clone(), Decision::RequireApproval, ask.reason.clone(), false);
            self.approvals.push(ask);
        }
        if facts.agent.autonomy == Autonomy::SuggestOnly {
            self.suggest_only = Some(format!("{} may only suggest", facts.agent.id));
        }
    }

    fn capability(&mut self, set: &PolicySet, facts: &Facts, ask: Ask<'_>) {
        let mut refused: Vec<(&CapabilityId, String, bool)> = Vec::new();
        let mut passing = None;
        for id in &facts.capabilities {
            let Some(capability) = set.authority.capabilities.get(id) else {
                refused.push((id, format!("capability {id} is no longer in the authority map"), false));
                continue;
            };
            let Some(condition) = &capability.condition else {
                passing = Some(capability);
                break;
            };
            match ask(condition, None) {
                Ok(true) => {
                    passing = Some(capability);
                    break;
                }
                Ok(false) => {
                    let reason = format!("capability {id} covers the call only where {}", condition.phrase());
                    refused.push((id, reason, false));
                }
                Err(error) => {
                    refused.push((
                        id,
                        format!("the condition of capability {id} has no answer: {error}"),
                        true,
                    ));
                }
            }
        }
        match passing {
            Some(capability) => {
                // An error of a capability that was not needed stops nothing, and is told.
                for (id, reason, _) in refused.into_iter().filter(|(_, _, error)| *error) {
                    let reason = format!("{reason}; capability {} lets the call through", capability.id);
                    self.step(format!("capability:{id}"), Decision::Allow, reason, true);
                }
                if capability.autonomy == Some(Autonomy::SuggestOnly) {
                    self.suggest_only =
                        Some(format!("capability {} lets {} only suggest", capability.id, facts.agent.id));
                }
                self.capability = Some(capability.id.clone());
            }
            None if refused.is_empty() => {
                self.step("capability", Decision::Deny, "no capability covers the call", false);
            }
            None => {
                for (id, reason, error) in refused {
                    self.step(format!("capability:{id}"), Decision::Deny, reason, error);
                }
            }
        }
    }

    fn policy(&mut self, set: &PolicySet, facts: &Facts, policy: &'s Policy, ask: AskPolicy<'_>) {
        let counts = policy.mode.counts(facts.share);
        let outcome = match &policy.body {
            PolicyBody::Gate(rules) => gate(set, facts, policy, rules, ask),
            PolicyBody::Rulebook(rulebook) => {
                if !applies_to(rulebook, facts) {
                    return;
                }
                let (outcome, applies) = judge(set, facts, rulebook, policy, ask);
                if applies && counts {
                    self.limits.rates.extend(rates(policy, rulebook));
                }
                outcome
            }
        };
        let Some(outcome) = outcome else { return };
        if let Effect::Unasked(check) = outcome.effect {
            if !self.unasked.contains(check) {
                self.unasked.push(check.clone());
            }
            self.provisional += usize::from(counts);
        }
        self.steps.push(Step {
            policy_id: policy.id.clone(),
            rule_id: outcome.rule_id.clone(),
            decision: outcome.decision,
            reason: outcome.reason.clone(),
            shadow: !counts,
            error: outcome.error,
            limit: false,
        });
        if !counts {
            return;
        }
        self.spoken = true;
        match outcome.effect {
            Effect::None | Effect::Unasked(_) => {}
            Effect::Constrain(constraints) => self.constraints.push((policy.id.clone(), constraints)),
            Effect::Ask(rule) => self.approvals.push(ApprovalRequirement {
                policy_id: policy.id.clone(),
                rule_id: outcome.rule_id,
                rule: rule.clone(),
                reason: outcome.reason,
            }),
            Effect::Remediate(remediation) => {
                self.remediation.get_or_insert(remediation);
            }
            Effect::Wait(time) => self.retry_after = self.retry_after.max(Some(time)),
        }
    }

    /// Intersects the constraints; what cannot be intersected denies.
    fn merge(&mut self) {
        let (merged, conflict) = constrain::intersect(&self.constraints);
        self.merged = merged;
        if let Some(conflict) = conflict {
            self.step(conflict.policy_id, Decision::Deny, conflict.reason, false);
        }
    }

    fn verdict(mut self, set: &PolicySet) -> Verdict {
        if !self.spoken && !self.denied() {
            self.silence(set);
        }
        let strictest = self.strictest();
        if strictest < Decision::Suggest
            && let Some(reason) = self.suggest_only.take()
        {
            let reason = format!("{reason}, so the call is returned as a proposal for a person");
            self.step("autonomy", Decision::Suggest, reason, false);
        }
        let decision = self.strictest();
        // Nobody is asked about a call that is denied whatever they say.
        let denials = self.steps.iter().filter(|step| !step.shadow && step.decision == Decision::Deny);
        if denials.count() > self.provisional {
            self.unasked.clear();
        }
        // An error that denied nothing (of a capability that was not needed) decides nothing.
        let idle = |step: &Step| step.shadow || step.error && step.decision != Decision::Deny;
        let winner = self.steps.iter().find(|step| !idle(step) && step.decision == decision);
        let (policy_id, rule_id, reason) = match winner {
            Some(step) => (step.policy_id.clone(), step.rule_id.clone(), step.reason.clone()),
            None => (PolicyId::from("default"), None, "nothing was said of the call".into()),
        };
        let asks = matches!(decision, Decision::RequireApproval | Decision::Remediate);
        Verdict {
            decision,
            policy_id,
            rule_id,
            reason,
            trace: Trace { steps: self.steps },
            constraints: self.merged,
            approvals: if asks { self.approvals } else { Vec::new() },
            remediation: match decision {
                Decision::Remediate => self.remediation.map(|remediation| Arc::new(remediation.clone())),
                _ => None,
            },
            retry_after: match decision {
                Decision::Throttle => Some(self.retry_after.unwrap_or(DEFAULT_RETRY)),
                _ => None,
            },
            limits: self.limits,
            capability: self.capability,
            snapshot: set.snapshot.clone(),
            unasked: self.unasked,
        }
    }

    fn denied(&self) -> bool {
        self.steps.iter().any(|step| !step.shadow && step.decision == Decision::Deny)
    }

    /// Nothing said at all is a deny.
    fn strictest(&self) -> Decision {
        let counted = self.steps.iter().filter(|step| !step.shadow).map(|step| step.decision);
        counted.max().unwrap_or(Decision::Deny)
    }

    /// No policy gave an outcome.
    fn silence(&mut self, set: &PolicySet) {
        let decision = set.bundle.default_decision;
        let (decision, reason) = match decision {
            Decision::Allow | Decision::AllowWithConstraints => (Decision::Allow, "no policy stops it"),
            Decision::RequireApproval => (decision, "no policy decides on it, so a person has to"),
            Decision::Suggest => (decision, "no policy decides on it, so it is returned as a proposal"),
            Decision::Throttle => (decision, "no policy decides on it, so it has to wait"),
            Decision::Deny => (decision, "no policy allows it"),
            // A remediation that changes nothing would let the call through.
            Decision::Remediate => (Decision::Deny, "no policy allows it"),
        };
        self.step("default", decision, reason, false);
        if decision == Decision::RequireApproval {
            self.approvals.push(plain_ask("default", &reason.into()));
        }
    }
}

/// The first rule whose condition is true; a condition without an answer denies.
fn gate<'s>(
    set: &PolicySet,
    facts: &Facts,
    policy: &Policy,
    rules: &'s [Rule],
    ask: AskPolicy<'_>,
) -> Option<Outcome<'s>> {
    for rule in rules {
        let applies = rule.condition.as_ref().map_or(Ok(true), ask);
        match applies {
            Ok(true) => {
                let found = match &rule.outcome {
                    RuleOutcome::Check(check) => checked(set, facts, rule, check),
                    _ => Some(outcome(set, facts, policy, rules, rule)),
                };
                // A service without an opinion leaves the call to the rules that follow.
                if found.is_some() {
                    return found;
                }
            }
            Ok(false) => {}
            Err(error) => {
                return Some(Outcome {
                    rule_id: Some(rule.id.clone()),
                    decision: Decision::Deny,
                    reason: format!("the condition of rule {} has no answer: {error}", rule.id).into(),
                    error: true,
                    effect: Effect::None,
                });
            }
        }
    }
    None
}

/// What a rule comes to that leaves its outcome to an external check: none where that has no opinion. A check that was not
/// asked yet denies; the caller asks it and decides again.
fn checked<'s>(set: &PolicySet, facts: &Facts, rule: &Rule, check: &'s CheckRule) -> Option<Outcome<'s>> {
    let make = |decision, reason: String, error, effect| {
        Some(Outcome { rule_id: Some(rule.id.clone()), decision, reason: reason.into(), error, effect })
    };
    let name = &check.check;
    let Some(answer) = facts.check(name) else {
        let reason = format!("the external check `{name}` was not asked");
        let unasked = Effect::Unasked(name);
        return make(Decision::Deny, reason, true, unasked);
    };
    let said = sentence::checked(name, answer);
    let decision = match (&answer.error, answer.decision) {
        (Some(_), _) => check.on_error.decision(),
        (None, Some(CheckDecision::Allow)) => Decision::Allow,
        (None, Some(CheckDecision::RequireApproval)) => Decision::RequireApproval,
        (None, Some(CheckDecision::Deny)) => Decision::Deny,
        (None, None) => return None,
    };
    let is_error = answer.error.is_some();
    match decision {
        Decision::Allow if is_error => {
            make(decision, format!("allowed though {said}, as the rule has it"), false, Effect::None)
        }
        Decision::Allow => make(decision, format!("allowed: {said}"), false, Effect::None),
        Decision::RequireApproval => {
            let who = sentence::approvers(&check.approval, set.bundle.default_approvers.as_deref());
            let reason = format!("needs approval by {who}: {said}");
            make(decision, reason, false, Effect::Ask(&check.approval))
        }
        _ => make(Decision::Deny, format!("denied: {said}"), is_error, Effect::None),
    }
}

fn outcome<'s>(
    set: &PolicySet,
    facts: &Facts,
    policy: &Policy,
    rules: &[Rule],
    rule: &'s Rule,
) -> Outcome<'s> {
    let because = || sentence::because(rule, policy);
    let once = |make: &dyn Fn() -> String| rule.sentence.get_or_make(make);
    let (decision, reason, effect) = match &rule.outcome {
        RuleOutcome::Allow => (Decision::Allow, once(&|| format!("allowed{}", because())), Effect::None),
        RuleOutcome::AllowWithConstraints(constraints) => match unmet(constraints, facts) {
            Some(reason) => (Decision::Deny, reason.into(), Effect::None),
            None => (
                Decision::AllowWithConstraints,
                once(&|| format!("allowed with {}{}", sentence::constraints(constraints), because())),
                Effect::Constrain(constraints),
            ),
        },
        RuleOutcome::RequireApproval(approval) => {
            let who = sentence::approvers(approval, set.bundle.default_approvers.as_deref());
            let reason = format!("needs approval by {who}{}", because());
            (Decision::RequireApproval, reason.into(), Effect::Ask(approval))
        }
        RuleOutcome::Remediate(_) if facts.remediated => {
            let reason = format!("the call was made safer once and would have to be again{}", because());
            (Decision::Deny, reason.into(), Effect::None)
        }
        RuleOutcome::Remediate(remediation) => (
            Decision::Remediate,
            once(&|| format!("{}{}", sentence::remediation(remediation), because())),
            Effect::Remediate(remediation),
        ),
        RuleOutcome::Suggest => (
            Decision::Suggest,
            once(&|| format!("never dispatched, only returned as a proposal{}", because())),
            Effect::None,
        ),
        RuleOutcome::Throttle(wait) => (
            Decision::Throttle,
            once(&|| format!("held back{}; try again in {}", because(), sentence::duration(*wait))),
            Effect::Wait(*wait),
        ),
        // A check is judged before it comes here.
        RuleOutcome::Deny | RuleOutcome::Check(_) => {
            let reason = once(&|| format!("denied{}{}", because(), sentence::instead(rules, rule)));
            (Decision::Deny, reason, Effect::None)
        }
    };
    Outcome { rule_id: Some(rule.id.clone()), decision, reason, error: false, effect }
}

/// Why a call cannot run under these limits at all.
pub(super) fn unmet(constraints: &Constraints, facts: &Facts) -> Option<String> {
    if let Some(limit) = constraints.max_cost
        && facts.cost.estimate > limit
    {
        return Some(sentence::too_costly(facts.cost.estimate, limit));
    }
    // Reading a resource and fetching a prompt change nothing by their nature.
    if constraints.read_only && facts.call.kind == CallKind::Tool && !facts.tool.traits.read_only {
        return Some(format!("only read-only tools may run here, and {} is not one", facts.tool.name));
    }
    None
}

fn applies_to(rulebook: &Rulebook, facts: &Facts) -> bool {
    rulebook.agent_types.as_ref().is_none_or(|types| types.contains(&facts.agent.agent_type))
}

/// The outcome of a rulebook policy, and whether it applies to the call.
fn judge<'s>(
    set: &PolicySet,
    facts: &Facts,
    rulebook: &'s Rulebook,
    policy: &Policy,
    ask: AskPolicy<'_>,
) -> (Option<Outcome<'s>>, bool) {
    let make = |decision, reason: String, error, effect| {
        Some(Outcome { rule_id: None, decision, reason: reason.into(), error, effect })
    };
    if let Some(condition) = &rulebook.condition {
        match ask(condition) {
            Ok(true) => {}
            Ok(false) => return (None, false),
            Err(error) => {
                let reason = format!("the condition of policy {} has no answer: {error}", policy.id);
                return (make(Decision::Deny, reason, true, Effect::None), true);
            }
        }
    }
    if let Some(roles) = &rulebook.allowed_roles
        && !roles.contains(&facts.agent.role)
    {
        let roles: Vec<String> = roles.iter().map(ToString::to_string).collect();
        let who = if facts.agent.role.is_empty() { "no role" } else { &*facts.agent.role };
        let reason =
            format!("allowed for role {} only, and {} has {who}", sentence::or(&roles), facts.agent.id);
        return (make(Decision::Deny, reason, false, Effect::None), true);
    }
    if let Some(limit) = rulebook.max_cost
        && facts.cost.estimate > limit
    {
        let reason = sentence::too_costly(facts.cost.estimate, limit);
        return (make(Decision::Deny, reason, false, Effect::None), true);
    }
    if let Some(approval) = &rulebook.requires_approval {
        let who = sentence::approvers(approval, set.bundle.default_approvers.as_deref());
        let reason = format!("needs approval by {who} because policy {} asks for it", policy.id);
        return (make(Decision::RequireApproval, reason, false, Effect::Ask(approval)), true);
    }
    if rulebook.on_allow {
        let reason = format!("allowed by policy {}", policy.id);
        return (make(Decision::Allow, reason, false, Effect::None), true);
    }
    (None, true)
}

fn rates(policy: &Policy, rulebook: &Rulebook) -> Option<RateLimit> {
    (rulebook.max_calls_per_minute.is_some() || rulebook.max_cost_per_minute.is_some()).then(|| RateLimit {
        policy_id: policy.id.clone(),
        max_calls: rulebook.max_calls_per_minute,
        max_cost: rulebook.max_cost_per_minute,
        on_violation: rulebook.on_violation,
    })
}

/// The counters that the call counts on. Where the call lacks what a budget is kept per (no user,
/// no workflow, no tool name), all such calls share the counter `-`, so that none escapes the cap.
fn budgets(set: &PolicySet, facts: &Facts, selected: &Selected<'_>) -> Vec<BudgetLimit> {
    let matching = set.budgets.iter().filter(|budget| {
        budget.matches.is_empty() || budget.matches.iter().any(|entry| entry.matches(selected))
    });
    matching
        .map(|budget| {
            let key = match budget.scope {
                BudgetScope::Agent => selected.agent,
                BudgetScope::User => facts.user.as_ref().map_or("", |user| user.as_str()),
                BudgetScope::Role => selected.role,
                BudgetScope::Tenant => selected.tenant,
                BudgetScope::Workflow => selected.workflow,
                BudgetScope::Tool => selected.tool,
                BudgetScope::Upstream => selected.upstream,
                BudgetScope::Capability => selected.capability,
                BudgetScope::Global => "*",
            };
            BudgetLimit {
                id: budget.id.clone(),
                key: Arc::from(if key.is_empty() { "-" } else { key }),
                window: budget.window,
                zone: budget.zone.clone(),
                max_calls: budget.max_calls,
                max_tokens: budget.max_tokens,
                max_cost: budget.max_cost,
                on_exceed: budget.on_exceed,
                alert_at: budget.alert_at.clone(),
                strict: budget.strict,
            }
        })
        .collect()
}
