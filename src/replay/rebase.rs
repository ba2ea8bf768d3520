//! The facts of a recorded call as they would have been under another bundle: what its authority map says of the agent, its
//! workflow and its scope is taken from there, everything else stays as it was recorded.

use super::Why;
use crate::{
    decision::{AgentFacts, Facts, WorkflowFacts},
    evidence::Recalled,
    model::{CallKind, CapabilityId, EventDraft, PolicyId},
    policy::{Agent, PolicySet, Workflow},
};
use serde_json::Value;
use std::sync::Arc;

/// One evaluation of a call under another bundle.
#[derive(Clone, Debug)]
pub(super) enum Rebased {
    /// What would have been decided on.
    Facts(Box<Recalled>),
    /// Policies would not have been asked: what refuses it, and why.
    Refused(PolicyId, Arc<str>),
}

/// The files on which facts depend.
const FILES: [&str; 2] = ["authority.yaml", "bundle.yaml"];

/// Whether facts are the same under both.
fn same_authority(then: &PolicySet, now: &PolicySet) -> bool {
    FILES.iter().all(|file| {
        let digest = then.parts.files.get(*file);
        digest.is_some() && digest == now.parts.files.get(*file)
    })
}

/// Facts that were recorded under `then`, under `now`. Where the recorded bundle is not there, nothing is known of what a
/// token narrowed.
pub(super) fn rebase(
    event: &EventDraft,
    recalled: &Recalled,
    then: Option<&PolicySet>,
    now: &PolicySet,
) -> Result<Rebased, Why> {
    if then.is_some_and(|then| same_authority(then, now)) {
        return Ok(Rebased::Facts(Box::new(recalled.clone())));
    }
    let facts = &recalled.facts;
    let refused = |policy: &str, why: &str| Ok(Rebased::Refused(PolicyId::from(policy), why.into()));
    let Some(agent) = now.authority.agents.get(&facts.agent.id) else {
        return refused("identity", "the bundle does not have the agent");
    };
    let before = then.and_then(|then| then.authority.agents.get(&facts.agent.id));
    let (workflow, workflow_refused) = workflow(facts, before, agent, now);
    let capabilities = covering(facts, workflow, agent, now, (then, before));
    if capabilities.is_empty() {
        return refused("scope", "not in this agent's scope");
    }
    // An agent's operator stands for its user; a person whom a token or a flag named stays.
    let user = match facts.user == facts.agent.operator {
        true => agent.operator.clone(),
        false => facts.user.clone(),
    };
    let missing = missing(event, facts, workflow.is_some(), user.is_some(), (then, now))?;
    let facts = Facts {
        agent: AgentFacts::of(agent),
        user_groups: now.authority.groups_of(user.as_ref()),
        user,
        workflow: workflow.map(|known| WorkflowFacts { id: known.id.clone(), owner: known.owner.clone() }),
        capabilities,
        missing_metadata: missing,
        workflow_refused,
        ..facts.clone()
    };
    Ok(Rebased::Facts(Box::new(Recalled { facts, ..recalled.clone() })))
}

/// The workflow, or the name that the agent may not use. A call whose workflow was its agent's default named none, as far as
/// the record tells.
fn workflow<'n>(
    facts: &Facts,
    before: Option<&Agent>,
    agent: &Agent,
    now: &'n PolicySet,
) -> (Option<&'n Workflow>, Option<Arc<str>>) {
    let default = before.and_then(|before| before.workflow.as_ref());
    let named: Option<&str> = match (&facts.workflow_refused, &facts.workflow) {
        (Some(refused), _) => Some(refused),
        (None, Some(workflow)) if Some(&workflow.id) == default => None,
        (None, workflow) => workflow.as_ref().map(|workflow| workflow.id.as_str()),
    };
    let wanted = match named {
        Some(named) => {
            let allowed = agent.workflows.iter().chain(&agent.workflow).find(|known| known.as_str() == named);
            if allowed.is_none() {
                return (None, Some(named.into()));
            }
            allowed
        }
        None => agent.workflow.as_ref(),
    };
    (wanted.and_then(|id| now.authority.workflows.get(id)), None)
}

fn name(facts: &Facts) -> &str {
    match facts.call.kind {
        CallKind::Tool => &facts.tool.name,
        CallKind::Resource => &facts.resource,
        CallKind::Prompt => &facts.prompt,
    }
}

/// What covers the call now. What the agent's token did not grant then is not granted now either.
fn covering(
    facts: &Facts,
    workflow: Option<&Workflow>,
    agent: &Agent,
    now: &PolicySet,
    (then, before): (Option<&PolicySet>, Option<&Agent>),
) -> Vec<CapabilityId> {
    let (kind, name) = (facts.call.kind, name(facts));
    // Whether the upstream lists a resource is not recorded; that a capability which needs it covered the call tells it.
    let covered = |set: &PolicySet, agent: &Agent, workflow: Option<&Workflow>| {
        set.authority.covering(agent, workflow, |capability| {
            capability.covers(kind, name, facts.capabilities.contains(&capability.id))
        })
    };
    let mut found = covered(now, agent, workflow);
    if let (Some(then), Some(before)) = (then, before) {
        let known = facts.workflow.as_ref().and_then(|known| then.authority.workflows.get(&known.id));
        let all = covered(then, before, known);
        found.retain(|id| facts.capabilities.contains(id) || !all.contains(id));
    }
    found
}

/// What of the bundle's `required` the call lacks.
fn missing(
    event: &EventDraft,
    facts: &Facts,
    workflow: bool,
    user: bool,
    (then, now): (Option<&PolicySet>, &PolicySet),
) -> Result<Vec<Arc<str>>, Why> {
    let meta = event.detail.as_ref().and_then(|detail| detail.get("meta"));
    let mut missing = Vec::new();
    for name in &now.bundle.required {
        let was_required = then.is_some_and(|then| then.bundle.required.contains(name));
        let lacks = match &**name {
            "workflow_id" => !workflow,
            "user" => !user,
            _ if facts.missing_metadata.contains(name) => true,
            _ if was_required => false,
            "trace_id" => return Err(Why::Metadata(name.clone())),
            // What is bound of `_meta` stands in the record; the rest is not known.
            other => match meta.and_then(|meta| meta.get(other)) {
                Some(value) if *value != Value::Null => false,
                Some(_) | None => return Err(Why::Metadata(name.clone())),
            },
        };
        if lacks {
            missing.push(name.clone());
        }
    }
    Ok(missing)
}
