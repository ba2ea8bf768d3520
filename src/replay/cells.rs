//! Agents × tools: what each agent would get for each tool under one bundle and another, as far as that does not depend on the
//! arguments.

use super::verdicts;
use crate::{
    decision::{AgentFacts, CallFacts, CostFacts, DataFacts, Facts, WorkflowFacts},
    evidence::Recalled,
    model::{AgentId, CallKind, EventDecision, MicroUsd, Sensitivity, SharePlace, pointer::Pointer},
    policy::{PolicySet, ToolFacts},
};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Cells that are listed.
const MOST_CELLS: usize = 10_000;

/// What an agent would get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// The bundle does not have the agent.
    NoAgent,
    /// It does not see the tool.
    OutOfScope,
    /// This, whatever the arguments are.
    Always(EventDecision),
    /// It depends on the arguments: one of these.
    Depends(BTreeSet<EventDecision>),
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoAgent => f.write_str("no such agent"),
            Self::OutOfScope => f.write_str("out of scope"),
            Self::Always(word) => f.write_str(word.as_str()),
            Self::Depends(words) if words.is_empty() => f.write_str("depends on arguments"),
            Self::Depends(words) => {
                let words: Vec<&str> = words.iter().map(|word| word.as_str()).collect();
                write!(f, "depends on arguments: {}", words.join(" or "))
            }
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A cell that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangedCell {
    /// Who calls.
    pub agent: AgentId,
    /// What.
    pub tool: Arc<str>,
    /// What it got.
    pub from: Cell,
    /// What it would get.
    pub to: Cell,
}

/// The cells that differ between two bundles, by agent and tool; `true`: there are more. A call is taken as an agent makes it
/// in its own workflow, at `now`, without cost, data or labels that rules could object to.
pub fn changed_cells(
    before: &PolicySet,
    after: &PolicySet,
    tools: &BTreeMap<Arc<str>, ToolFacts>,
    now: Timestamp,
) -> (Vec<ChangedCell>, bool) {
    let agents: BTreeSet<&AgentId> =
        before.authority.agents.keys().chain(after.authority.agents.keys()).collect();
    let mut changed = Vec::new();
    for agent in agents {
        for (name, tool) in tools {
            let (from, to) = (cell(before, agent, tool, now), cell(after, agent, tool, now));
            if from == to {
                continue;
            }
            if changed.len() == MOST_CELLS {
                return (changed, true);
            }
            changed.push(ChangedCell { agent: agent.clone(), tool: name.clone(), from, to });
        }
    }
    (changed, false)
}

/// A place of a call on each side of every share that policies count for.
fn places(set: &PolicySet) -> BTreeSet<SharePlace> {
    let shares = set.policies.iter().filter_map(|policy| policy.mode.share());
    shares.map(|share| share.first_outside()).chain([SharePlace::default()]).collect()
}

fn cell(set: &PolicySet, agent: &AgentId, tool: &ToolFacts, now: Timestamp) -> Cell {
    let Some(agent) = set.authority.agents.get(agent) else { return Cell::NoAgent };
    let workflow = agent.workflow.as_ref().and_then(|id| set.authority.workflows.get(id));
    let capabilities = set
        .authority
        .covering(agent, workflow, |capability| capability.covers(CallKind::Tool, &tool.name, true));
    if capabilities.is_empty() {
        return Cell::OutOfScope;
    }
    let facts = |share: SharePlace| Facts {
        agent: AgentFacts::of(agent),
        user: agent.operator.clone(),
        workflow: workflow.map(|known| WorkflowFacts { id: known.id.clone(), owner: known.owner.clone() }),
        tool: tool.clone(),
        args: Arc::new(json!({})),
        call: CallFacts { kind: CallKind::Tool, repeats: 0, size: 0 },
        cost: CostFacts { estimate: MicroUsd::ZERO, tokens: 0 },
        data: DataFacts { level: Sensitivity::Internal, labels: Vec::new(), findings: Vec::new() },
        session_labels: Vec::new(),
        now,
        capabilities: capabilities.clone(),
        missing_metadata: Vec::new(),
        workflow_refused: None,
        user_groups: set.authority.groups_of(agent.operator.as_ref()),
        resource: Arc::default(),
        prompt: Arc::default(),
        remediated: false,
        checks: Vec::new(),
        share,
    };
    // Nothing is known of the arguments: all of them count as masked.
    let masked: Vec<Pointer> = Pointer::parse("").into_iter().collect();
    let mut words: BTreeSet<EventDecision> = BTreeSet::new();
    for share in places(set) {
        let recalled = Recalled { facts: facts(share), masked: masked.clone(), target_masked: false };
        // What an external check would say of it is not known.
        let found = verdicts(set, &[recalled]);
        let found = found.filter(|all| all.iter().all(|verdict| verdict.unasked.is_empty()));
        let Some(found) = found else { return Cell::Depends(BTreeSet::new()) };
        words.extend(found.iter().map(|verdict| verdict.decision.event_word()));
    }
    match words.len() {
        1 => words.first().map_or(Cell::OutOfScope, |word| Cell::Always(*word)),
        _ => Cell::Depends(words),
    }
}
