//! Standing grants on the path of a call: what an approval keeps for them, and the one that covers a call.

use super::{PendingCall, People, client_questions::ClientQuestions};
use crate::gateway::{InForce, digest::DigestKey, prepared::Prepared, request_state::Opened, target::Target};
use crate::{
    admission::{AskingRule, CoveredCall},
    catalog::ToolEntry,
    model::{AgentId, CallKind, CapabilityId, Fingerprint, SnapshotId},
    policy::PolicySet,
    redaction::DataRules,
    store::{CallShape, GrantEndReason, GrantFilter, Pattern, StandingGrant, StoreError},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

/// Arguments of a call that a grant can be made of.
const MOST_ARGUMENTS: usize = 64;
/// The longest name of one, in bytes.
const LONGEST_NAME: usize = 128;

/// What a grant holds later calls against; none where no grant can be made of the call: it is no tool's, or its arguments
/// are too many, or have names that may not be recorded.
fn shape(key: &DigestKey, data: &DataRules, prepared: &Prepared) -> Option<CallShape> {
    let (Target::Tool(_), CallKind::Tool) = (&prepared.target, prepared.facts.call.kind) else { return None };
    let given = prepared.arguments.as_object()?;
    let may_be_told = |name: &String| name.len() <= LONGEST_NAME && data.redact_text(name) == **name;
    if given.len() > MOST_ARGUMENTS || !given.keys().all(may_be_told) {
        return None;
    }
    let tool = prepared.target.full();
    let arguments: BTreeMap<_, _> =
        given.iter().map(|(name, value)| (name.clone(), key.of_argument(tool, name, value))).collect();
    let masked: BTreeSet<String> = given
        .iter()
        .filter(|(name, value)| prepared.recorded.get(name) != Some(*value))
        .map(|(n, _)| n.clone())
        .collect();
    Some(CallShape { arguments, extras: key.of_extras(tool, &prepared.extras), masked })
}

impl People {
    /// [`shape`] of a call that is asked about.
    pub(super) fn call_shape(&self, in_force: &InForce, prepared: &Prepared) -> Option<CallShape> {
        shape(&self.measures.digest_key, &in_force.policies.data, prepared)
    }

    /// The standing grant that covers a call about which rules ask: of several, the one that expires first. An answer that
    /// the call brings goes before any, and a budget that asks is answered for each call alone.
    pub(super) async fn grant_for(
        &self,
        call: PendingCall<'_>,
        asking: &ClientQuestions,
    ) -> Result<Option<StandingGrant>, StoreError> {
        let PendingCall { in_force, decided, .. } = call;
        if matches!(asking.opened, Some(Opened::Approval(..))) || !asking.also.is_empty() {
            return Ok(None);
        }
        let (prepared, verdict) = (&decided.prepared, &decided.verdict);
        if verdict.approvals.iter().any(|asks| asks.rule.grants.is_none()) {
            return Ok(None);
        }
        let now = self.clock.now();
        let agent = &prepared.facts.agent.id;
        let filter = GrantFilter {
            live: true,
            agent: Some(Pattern::from(agent.as_str())),
            tool: Some(Pattern::from(&*prepared.shown)),
            valid_at: Some(now),
            ..GrantFilter::default()
        };
        let found = self.store.grants(filter).await?;
        if found.is_empty() {
            return Ok(None);
        }
        let Some(shape) = self.call_shape(in_force, prepared) else {
            return Ok(None);
        };
        let rules: Vec<AskingRule> =
            verdict.approvals.iter().map(|asks| (asks.policy_id.clone(), asks.rule_id.clone())).collect();
        let fingerprint = prepared.target.fingerprint();
        let covered = CoveredCall {
            agent,
            user: prepared.facts.user.as_ref(),
            workflow: prepared.workflow.as_ref(),
            tool: &prepared.shown,
            fingerprint: &fingerprint,
            capability: verdict.capability.as_ref(),
            snapshot: &in_force.policies.snapshot,
            rules: &rules,
            arguments: &prepared.arguments,
            shape: &shape,
        };
        let covering = found.into_iter().filter(|grant| grant.is_live(now) && grant.terms.covers(&covered));
        Ok(covering
            .min_by(|one, other| (one.terms.expires_at, &one.id).cmp(&(other.terms.expires_at, &other.id))))
    }

    /// Ends those of `live` that hold no more under what is in force: its policies, and the tools as they are listed now.
    /// `decide`: the snapshots under which calls are decided, here or elsewhere; none: it is not known, and the grants of
    /// others are left alone.
    pub(in crate::gateway) async fn end_outdated_grants(
        &self,
        in_force: &InForce,
        live: Vec<StandingGrant>,
        decide: Option<&[&SnapshotId]>,
    ) -> Result<(), StoreError> {
        let listed = OnceLock::new();
        let fingerprint = |tool: &str| {
            let all: &BTreeMap<Arc<str>, Fingerprint> = listed.get_or_init(|| {
                let held = in_force.catalog.held.tools.values().map(|(tool, _)| tool);
                let tools = in_force.catalog.tools.values().chain(held);
                let shown = |tool: &Arc<ToolEntry>| Target::Tool(tool.clone()).shown(&in_force.policies.data);
                tools.map(|tool| (shown(tool), tool.fingerprint.clone())).collect()
            });
            all.get(tool)
        };
        let has = |policies: &PolicySet, agent: &AgentId, capability: &CapabilityId| {
            let known = policies.authority.agents.get(agent);
            known.is_some_and(|agent| agent.capabilities.contains(capability))
        };
        self.approvals
            .end_grants(live, |grant| {
                let terms = &grant.terms;
                // One that was made for a bundle on trial is that one's, as long as it decides calls.
                let policies = in_force.policies_of(&terms.snapshot);
                let is_of_these = in_force.decides_under(&terms.snapshot);
                // While a reload goes round, another process has other policies in force, and grants of its own.
                if !is_of_these && decide.is_none_or(|decide| decide.contains(&&terms.snapshot)) {
                    return None;
                }
                let lacks = |capability: &CapabilityId| !has(policies, &terms.agent, capability);
                if terms.capability.as_ref().is_some_and(lacks) {
                    Some(GrantEndReason::Capability)
                } else if !is_of_these {
                    Some(GrantEndReason::Snapshot)
                } else {
                    // What an upstream that is down does not list may be the same once it is back.
                    let other = fingerprint(&terms.tool).is_some_and(|listed| *listed != terms.fingerprint);
                    other.then_some(GrantEndReason::Fingerprint)
                }
            })
            .await
    }
}
