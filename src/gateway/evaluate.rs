//! Deciding a call, and again where rules change it.

use super::{
    Gateway, InForce,
    decided::{Applied, Decided},
    edits,
    fit::Looks,
    prepare::{Stop, Version},
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
    offload::{Busy, LARGE},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// How often a call may be changed by constraints and remediation before that itself is a refusal.
const MAX_CHANGES: usize = 4;

impl Gateway {
    /// [`Self::evaluate`] of large arguments: to look through them takes longer than a connection's thread can spare.
    pub(super) async fn evaluate_beside(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        arguments: Arc<Value>,
        looks: &mut Looks,
    ) -> Result<Result<Box<Decided>, Stop>, Busy> {
        let (gateway, in_force, asked) = (self.clone(), in_force.clone(), request.clone());
        let known = std::mem::take(looks);
        let work = move || {
            let evaluated = gateway.evaluate(&in_force, &asked, arguments, &known);
            (evaluated, known)
        };
        let (evaluated, known) = self.0.large.run(&request.agent, work).await?;
        *looks = known;
        Ok(evaluated)
    }

    /// Decides a call, and decides it again where a constraint or an applied remediation changes it: digest, prompt and
    /// record describe what will be dispatched, and the stricter of all outcomes stands (SPEC 4).
    // Long: a decision and the changes that rules make to the call take turns, and each turn needs all that the one before left.
    pub(crate) fn evaluate(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        arguments: Arc<Value>,
        looks: &Looks,
    ) -> Result<Box<Decided>, Stop> {
        let view = self.view(in_force, &request.principal).ok_or(Stop::Unknown)?;
        let mut name = request.name.clone();
        let mut arguments = arguments;
        let mut earlier: Option<Verdict> = None;
        let mut original: Option<(Arc<str>, Arc<Value>)> = None;
        let mut applied: Option<Applied> = None;
        let mut told = EarlierTold::default();
        for _ in 0..MAX_CHANGES {
            let version =
                Version { name: &name, arguments: arguments.clone(), remediated: applied.is_some() };
            let mut prepared = match self.0.prepare(in_force, &view, request, version, looks) {
                // The agent's own tool is there: what is not is the rule's.
                Err(Stop::Unknown) if name != request.name => {
                    let reason = "the changed call is not in this agent's scope";
                    let policy = earlier.map_or(unknown_policy(), |first| first.policy_id);
                    return Err(Stop::Refused(Box::new(Refusal::deny(&policy, reason)), None));
                }
                prepared => prepared?,
            };
            let mut verdict = decide(&in_force.policies, &prepared.facts);
            if let Some(first) = earlier.take() {
                verdict = stricter(first, verdict, &prepared.facts);
            }
            let mut change = edits::apply(&prepared.arguments, &verdict.constraints.arguments)
                .map(|change| change.filter(|to| !is_same_resource(request.kind, to, &prepared.arguments)));
            let mut other_tool = None;
            if verdict.decision == Decision::Remediate
                && let Some(remediation) = verdict.remediation.clone().filter(|r| r.apply)
            {
                let base = match &change {
                    Ok(Some(changed)) => changed.clone(),
                    Ok(None) | Err(_) => (*prepared.arguments).clone(),
                };
                change =
                    change.and_then(|_| Ok(Some(edits::apply(&base, &remediation.edits)?.unwrap_or(base))));
                other_tool = remediation.tool.clone();
                applied = Some(Applied {
                    remediation,
                    policy_id: verdict.policy_id.clone(),
                    rule_id: verdict.rule_id.clone(),
                    reason: verdict.reason.clone(),
                });
            } else if verdict.decision > Decision::RequireApproval {
                // Nothing will be dispatched: there is nothing to change.
                change = Ok(None);
            }
            if !matches!(change, Ok(Some(_))) {
                prepared.judged = Some(told.judged(&prepared, &verdict));
            }
            match change {
                Err(reason) => {
                    let refusal = Refusal::deny(&verdict.policy_id, reason);
                    return Err(Stop::Refused(Box::new(refusal), Some(Box::new(prepared))));
                }
                Ok(Some(mut changed)) => {
                    told.note(&prepared);
                    original.get_or_insert_with(|| (prepared.shown.clone(), prepared.recorded));
                    earlier = Some(verdict);
                    if let Some(tool) = other_tool {
                        aim(request.kind, &mut changed, &tool);
                        name = tool.to_string();
                    } else if request.kind == CallKind::Resource {
                        // A resource is its URI: another one is another target, with its own scope.
                        name = uri_of(&changed).unwrap_or_default().to_owned();
                    }
                    arguments = Arc::new(changed);
                }
                // It is passed on a few times, and large.
                Ok(None) => return Ok(Box::new(Decided { prepared, verdict, original, applied })),
            }
        }
        let refusal = Refusal::deny("constraints", "the constraints on this call keep changing it");
        Err(Stop::Refused(Box::new(refusal), None))
    }
}

/// Whether looking through what the agent sent is large work.
pub(super) fn is_large(request: &Request, arguments: &Value) -> bool {
    let own = weight(arguments, LARGE);
    let beside = |members| weight_of(members, LARGE);
    own.saturating_add(beside(&request.meta)).saturating_add(beside(&request.rest)) > LARGE
}

/// The evaluations after which rules changed a call, for the record of the last.
#[derive(Default)]
struct EarlierTold {
    facts: Vec<Box<str>>,
    tools: Vec<Arc<ResolvedTool>>,
}

impl EarlierTold {
    fn note(&mut self, prepared: &Prepared) {
        self.facts.push(prepared.evaluated().earlier(self.facts.is_empty()));
        self.tools.extend(prepared.resolved().cloned());
    }

    fn judged(&mut self, prepared: &Prepared, verdict: &Verdict) -> Judged {
        let mut tools = std::mem::take(&mut self.tools);
        tools.extend(prepared.resolved().cloned());
        let facts = prepared.evaluated().text(&self.facts);
        let verdict = evidence::verdict(verdict, prepared.target.full(), &prepared.shown);
        Judged { facts, verdict, tools }
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
pub(super) fn aim(kind: CallKind, arguments: &mut Value, tool: &str) {
    if kind == CallKind::Resource
        && let Some(map) = arguments.as_object_mut()
    {
        map.insert("uri".into(), json!(tool));
    }
}
