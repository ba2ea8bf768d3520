//! What a call's client answers while the call is under way: labels may have reached the client since the call was decided, and
//! its answer may hold what it has read meanwhile.

use super::{
    InForce,
    reach::{Labels, Reach},
};
use crate::{
    audit::kept_bundle,
    decision::{ApprovalRequirement, Facts, decide},
    evidence::{ResolvedTool, tools_named},
    model::{CallId, EventDecision, EventDraft, EventType, RpcError, code},
    policy::PolicySet,
    replay::{Simulated, simulate},
    store::{EventQuery, KeptKind, Store, StoreError},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// What a call was decided on, and whom its data reaches.
pub(crate) struct DecidedOn {
    pub(super) labels: Arc<Labels>,
    pub(super) reach: Reach,
    /// None where its client cannot be asked.
    pub(super) facts: Option<Arc<Facts>>,
}

impl DecidedOn {
    /// Whether an answer may still go upstream: not where policies would stop the call with what has reached its client by now.
    pub(super) async fn may_answer(&self, policies: &PolicySet) -> Result<(), RpcError> {
        let Some(facts) = &self.facts else { return Ok(()) };
        if !policies.read_session_labels() {
            return Ok(());
        }
        let standing = self.labels.standing_now(&self.reach).await;
        let standing = standing.map_err(|error| RpcError::new(code::INTERNAL_ERROR, error.refusal()))?;
        if standing.labels.iter().all(|label| facts.session_labels.contains(label)) {
            return Ok(());
        }
        let mut later = Facts::clone(facts);
        later.session_labels = standing.labels;
        match is_stopped(policies, facts, &later) {
            false => Ok(()),
            true => Err(withheld()),
        }
    }
}

/// The same of a call that was settled long ago, by its record: not where the policies in force would stop it with these labels,
/// nor where that cannot be told.
pub(super) async fn may_answer_recorded(
    store: &dyn Store,
    in_force: &InForce,
    call: &CallId,
    labels: &[Arc<str>],
) -> Result<bool, StoreError> {
    let query = EventQuery {
        event_type: Some(EventType::AgentDecision),
        call_id: Some(call.clone()),
        newest_first: true,
        limit: 1,
        ..EventQuery::default()
    };
    let Some(event) = store.events(query).await?.pop() else { return Ok(false) };
    let mut draft = event.draft;
    let mut tools = BTreeMap::new();
    for hash in tools_named(&draft) {
        let kept = store.kept(KeptKind::Tool, hash.to_owned()).await?;
        let tool = kept.and_then(|kept| ResolvedTool::read(&kept.body));
        tools.extend(tool.map(|tool| (hash.to_owned(), tool)));
    }
    let then = match draft.policy_snapshot.clone() {
        Some(snapshot) if snapshot != in_force.policies.snapshot => kept_bundle(store, &snapshot).await?,
        Some(_) | None => None,
    };
    let now = &*in_force.policies;
    let said = |draft: &EventDraft| match simulate(draft, then.as_ref().or(Some(now)), &[now], &|hash| {
        tools.get(hash).cloned()
    }) {
        Simulated::Ruled(_, said) => said.into_iter().next(),
        Simulated::NotByRules | Simulated::Counted { .. } | Simulated::Unjudgeable(_) => None,
    };
    let before = said(&draft);
    if let Some(Value::Object(facts)) = &mut draft.facts {
        facts.insert("session_labels".to_owned(), json!(labels));
    }
    let (Some(before), Some(later)) = (before, said(&draft)) else { return Ok(false) };
    let asks = EventDecision::PendingApproval;
    Ok(later.lets_through() || (before.decision, later.decision) == (asks, asks))
}

/// The answer to an upstream whose question may not be answered any more.
pub(super) fn withheld() -> RpcError {
    let text = "the client's answer was withheld: policy would stop the call with the data that has reached its session since";
    RpcError::new(code::INTERNAL_ERROR, text)
}

/// Whether the policies would stop a call, or ask about it, as it is `later`, that they let through as it was.
pub(super) fn is_stopped(policies: &PolicySet, facts: &Facts, later: &Facts) -> bool {
    let (later, before) = (decide(policies, later), decide(policies, facts));
    // Whoever has approved the call was asked for other rules than one that asks only now.
    let is_new = |asks: &ApprovalRequirement| {
        !before
            .approvals
            .iter()
            .any(|known| (&known.policy_id, &known.rule_id) == (&asks.policy_id, &asks.rule_id))
    };
    later.decision > before.decision || later.approvals.iter().any(is_new)
}
