//! A call as its records name it.

use super::{
    InForce,
    prepared::Prepared,
    request::{Request, workflow_of},
    target::{LONGEST_NAME, cut},
};
use crate::{
    evidence::{CallSubject, TargetSubject},
    identity::user_of,
};
use std::sync::Arc;

/// A call as its records name it, with everything that is known of it.
pub(crate) fn subject<'c>(
    request: &'c Request,
    prepared: Option<&'c Prepared>,
    in_force: &'c InForce,
) -> CallSubject<'c> {
    let agent = in_force.policies.authority.agents.get(&request.agent);
    let role = match prepared {
        Some(prepared) => Some(&prepared.facts.agent.role),
        None => agent.map(|agent| &agent.role),
    };
    let tool = match prepared {
        Some(prepared) => prepared.shown.clone(),
        None => {
            // Masked before it is cut: half a secret is one no detector knows.
            let masked = in_force.policies.data.redact_text(cut(&request.name, 8 * LONGEST_NAME));
            masked.chars().take(128).collect::<String>().into()
        }
    };
    CallSubject {
        trace_id: request.trace_id,
        call_id: &request.call_id,
        agent: &request.agent,
        role,
        tenant: agent.map(|agent| &agent.tenant),
        operator: agent.and_then(|agent| agent.operator.as_ref()),
        user: match prepared {
            Some(prepared) => prepared.facts.user.as_ref(),
            None => user_of(&request.principal, &in_force.policies.authority),
        },
        workflow: match prepared {
            Some(prepared) => prepared.workflow.as_ref(),
            // Of a target that was not found, too.
            None => agent.and_then(|agent| {
                let known = &in_force.policies.authority.workflows;
                Some(&workflow_of(known, agent, request.workflow.as_deref()).0?.id)
            }),
        },
        actors: request.principal.delegation().map_or_else(Vec::new, |delegation| {
            let masked = |actor: &Arc<str>| in_force.policies.data.redact_text(actor).into();
            delegation.actors.iter().map(masked).collect()
        }),
        environment: &in_force.policies.environment,
        snapshot: &in_force.policies.snapshot,
        tool,
        replay_of: request.replay_of.as_ref(),
        target: prepared.map(|prepared| TargetSubject {
            action: &prepared.shown_action,
            cost: prepared.estimate.cost,
            level: prepared.level,
            redacted: prepared.redacted,
            upstream: prepared.target.upstream(),
            capability: prepared.facts.capabilities.first(),
            labels: &prepared.facts.data.labels,
        }),
    }
}
