//! Deciding a call, and again where rules change it.

use super::{
    InForce,
    decided::{Applied, Decided},
    edits,
    fit::{Look, Looks},
    prepare::{Assumed, Preparation, Stop, Version},
    prepared::Prepared,
    refusal::{Refusal, unknown_policy},
    request::{Request, uri_of},
};
use crate::{
    decision::{Verdict, decide, stricter},
    evidence::{self, Judged, ResolvedTool},
    model::{
        CallKind, Decision, Uri,
        weight::{weight, weight_of},
    },
    offload::{Busy, LARGE, Offload},
    policy::Remediation,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// How often a call may be changed by constraints and remediation before that itself is a refusal.
const MAX_CHANGES: usize = 4;

/// Decides calls.
pub(crate) struct Evaluator {
    pub(super) preparation: Preparation,
    pub(super) large: Arc<Offload>,
}

impl Evaluator {
    /// Counts a call, so that rules know how often it was made.
    pub(super) fn note(&self, request: &mut Request, decided: &Decided) {
        let Preparation { repeats, clock, .. } = &self.preparation;
        request.counted = repeats.note(&request.agent, &decided.prepared.call_digest, clock.monotonic());
    }

    /// Takes a look that a connection's thread cannot spare the time for.
    pub(super) async fn look(&self, looks: &mut Looks, request: &Request, look: Look) -> Result<(), Busy> {
        looks.take(&self.large, &request.agent, look).await
    }

    /// [`Self::evaluate`] of large arguments: to look through them takes longer than a connection's thread can spare.
    pub(super) async fn evaluate_beside(
        self: &Arc<Self>,
        in_force: &Arc<InForce>,
        request: &Request,
        arguments: Arc<Value>,
        looks: &mut Looks,
    ) -> Result<Result<Box<Decided>, Stop>, Busy> {
        let (evaluator, in_force, asked) = (self.clone(), in_force.clone(), request.clone());
        let known = std::mem::take(looks);
        let work = move || {
            let evaluated = evaluator.evaluate(&in_force, &asked, arguments, &known);
            (evaluated, known)
        };
        let (evaluated, known) = self.large.run(&request.agent, work).await?;
        *looks = known;
        Ok(evaluated)
    }

    /// Decides a call, and decides it again where a constraint or an applied remediation changes it: digest, prompt and
    /// record describe what will be dispatched, and the stricter of all outcomes stands.
    pub(crate) fn evaluate(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        arguments: Arc<Value>,
        looks: &Looks,
    ) -> Result<Box<Decided>, Stop> {
        self.evaluate_as(in_force, request, arguments, looks, None, &mut |_, _| {})
    }

    /// The same of a call of which something is taken for granted. `seen` is told each evaluation with what policies said of
    /// it alone.
    pub(crate) fn evaluate_as(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        arguments: Arc<Value>,
        looks: &Looks,
        assumed: Option<&Assumed>,
        seen: &mut dyn FnMut(&Prepared, &Verdict),
    ) -> Result<Box<Decided>, Stop> {
        let view = in_force.view(&request.principal).ok_or(Stop::Unknown)?;
        let mut name = request.name.clone();
        let mut arguments = arguments;
        let mut earlier: Option<Verdict> = None;
        let mut original: Option<(Arc<str>, Arc<Value>)> = None;
        let mut applied: Option<Applied> = None;
        let mut earlier_evaluations = EarlierEvaluations::default();
        for _ in 0..MAX_CHANGES {
            let remediated = applied.is_some();
            let version = Version { name: &name, arguments: arguments.clone(), remediated, assumed };
            let mut prepared = match self.preparation.prepare(in_force, &view, request, version, looks) {
                // The agent's own tool is there: what is not is the rule's.
                Err(Stop::Unknown) if name != request.name => {
                    let reason = "the changed call is not in this agent's scope";
                    let policy = earlier.map_or(unknown_policy(), |first| first.policy_id);
                    return Err(Stop::Refused(Box::new(Refusal::deny(&policy, reason)), None));
                }
                prepared => prepared?,
            };
            let mut verdict = decide(&in_force.policies, &prepared.facts);
            seen(&prepared, &verdict);
            // Of a call that is not made nobody is asked.
            if !verdict.unasked.is_empty() && assumed.is_none() {
                return Err(Stop::Unasked(std::mem::take(&mut verdict.unasked), Box::new(prepared)));
            }
            if let Some(first) = earlier.take() {
                verdict = stricter(first, verdict, &prepared.facts);
            }
            let change = match change_of(request, &prepared, &verdict) {
                Err(reason) => {
                    prepared.judged = Some(earlier_evaluations.judged(&prepared, &verdict));
                    let refusal = Refusal::deny(&verdict.policy_id, reason);
                    return Err(Stop::Refused(Box::new(refusal), Some(Box::new(prepared))));
                }
                Ok(None) => {
                    prepared.judged = Some(earlier_evaluations.judged(&prepared, &verdict));
                    // It is passed on a few times, and large.
                    return Ok(Box::new(Decided { prepared, verdict, original, applied }));
                }
                Ok(Some(change)) => change,
            };
            earlier_evaluations.note(&prepared);
            original.get_or_insert_with(|| (prepared.shown.clone(), prepared.recorded));
            earlier = Some(verdict);
            let Change { arguments: mut changed, tool, applied: by } = change;
            if let Some(tool) = tool {
                aim(request.kind, &mut changed, &tool);
                name = tool.to_string();
            } else if request.kind == CallKind::Resource {
                // A resource is its URI: another one is another target, with its own scope.
                name = uri_of(&changed).unwrap_or_default().to_owned();
            }
            arguments = Arc::new(changed);
            applied = by.or(applied);
        }
        let refusal = Refusal::deny("constraints", "the constraints on this call keep changing it");
        Err(Stop::Refused(Box::new(refusal), None))
    }
}

/// What rules make of a call.
struct Change {
    arguments: Value,
    /// The other tool, or the URI, that it goes to.
    tool: Option<Arc<str>>,
    applied: Option<Applied>,
}

/// How constraints and an applied remediation change the call; nothing where it stays as it is, or is not dispatched.
fn change_of(request: &Request, prepared: &Prepared, verdict: &Verdict) -> Result<Option<Change>, String> {
    let remediates = verdict.decision == Decision::Remediate;
    let remediation = verdict.remediation.as_ref().filter(|remediation| remediates && remediation.apply);
    if remediation.is_none() && verdict.decision > Decision::RequireApproval {
        return Ok(None);
    }
    let changed = edits::apply(&prepared.arguments, &verdict.constraints.arguments)?
        .filter(|to| !is_same_resource(request.kind, to, &prepared.arguments));
    let Some(remediation) = remediation else {
        return Ok(changed.map(|arguments| Change { arguments, tool: None, applied: None }));
    };
    let base = changed.unwrap_or_else(|| Value::clone(&prepared.arguments));
    let arguments = edits::apply(&base, &remediation.edits)?.unwrap_or(base);
    let applied = Applied {
        remediation: remediation.clone(),
        policy_id: verdict.policy_id.clone(),
        rule_id: verdict.rule_id.clone(),
        reason: verdict.reason.clone(),
    };
    Ok(Some(Change { arguments, tool: remediation.tool.clone(), applied: Some(applied) }))
}

/// Whether looking through what the agent sent is large work.
pub(super) fn is_large(request: &Request, arguments: &Value) -> bool {
    let own = weight(arguments, LARGE);
    let beside = |members| weight_of(members, LARGE);
    own.saturating_add(beside(&request.meta)).saturating_add(beside(&request.extra_params)) > LARGE
}

/// The evaluations after which rules changed a call, for the record of the last.
#[derive(Default)]
struct EarlierEvaluations {
    facts: Vec<Box<str>>,
    tools: Vec<Arc<ResolvedTool>>,
}

impl EarlierEvaluations {
    fn note(&mut self, prepared: &Prepared) {
        self.facts.push(prepared.evaluated().earlier(self.facts.is_empty()));
        self.tools.extend(prepared.resolved().cloned());
    }

    fn judged(&mut self, prepared: &Prepared, verdict: &Verdict) -> Judged {
        let mut tools = std::mem::take(&mut self.tools);
        tools.extend(prepared.resolved().cloned());
        let facts = prepared.evaluated().text(&self.facts);
        let verdict = evidence::verdict(verdict, prepared.target.full(), &prepared.shown);
        Judged { facts, verdict, tools, compared: None }
    }
}

/// Whether only the spelling of a resource's URI was changed.
fn is_same_resource(kind: CallKind, changed: &Value, matched: &Value) -> bool {
    let (Some(written), Some(uri)) = (uri_of(changed), uri_of(matched)) else { return false };
    let mut respelled = changed.clone();
    if let Some(slot) = respelled.get_mut("uri") {
        *slot = json!(uri);
    }
    kind == CallKind::Resource
        && Uri::parse(written).is_ok_and(|written| written.as_str() == uri)
        && respelled == *matched
}

/// Points a changed call at what its rule names: a resource is asked for by the URI among its arguments.
fn aim(kind: CallKind, arguments: &mut Value, tool: &str) {
    if kind == CallKind::Resource
        && let Some(map) = arguments.as_object_mut()
    {
        map.insert("uri".into(), json!(tool));
    }
}

/// The refusal of a call that its verdict stops.
pub(super) fn refusal_of(decided: &Decided) -> Refusal {
    let verdict = &decided.verdict;
    let mut refusal = Refusal::new(
        verdict.decision.event_word(),
        verdict.policy_id.clone(),
        verdict.rule_id.clone(),
        verdict.reason.to_string(),
    );
    refusal.trace = Some(verdict.trace.clone());
    refusal.retry_after_ms = verdict.retry_after.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    refusal.remediation = verdict.remediation.as_deref().map(|remediation| proposal(decided, remediation));
    if verdict.decision == Decision::Suggest {
        refusal.remediation = Some(json!({
            "mode": "suggest",
            "tool": decided.prepared.shown,
            "arguments": decided.prepared.recorded,
        }));
    }
    refusal
}

/// The safer variant, as the agent can make it itself. Values that the author of the rule wrote are shown; the agent's
/// own are masked like everywhere.
fn proposal(decided: &Decided, remediation: &Remediation) -> Value {
    let mut arguments = edits::apply(&decided.prepared.recorded, &remediation.edits)
        .ok()
        .flatten()
        .unwrap_or_else(|| Value::clone(&decided.prepared.recorded));
    if let Some(tool) = &remediation.tool {
        aim(decided.prepared.facts.call.kind, &mut arguments, tool);
    }
    json!({
        "mode": if remediation.apply { "apply" } else { "suggest" },
        "tool": remediation.tool.as_deref().unwrap_or(&*decided.prepared.shown),
        "arguments": arguments,
        "reason": remediation.reason,
    })
}
