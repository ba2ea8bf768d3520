//! Recorded decisions decided again, from a store: each under the bundle that decided it.

use super::recorded::{Pace, Referred, Stop, walk};
use crate::{
    evidence::{Counted, Unreadable},
    model::{AgentId, CallId, Event, EventType, SnapshotId, TraceId},
    replay::{Difference, Finding, Why, replay},
    store::{EventQuery, Store, StoreError},
};
use jiff::Timestamp;
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

/// Differences that are told one by one; all are counted.
const MOST_DIFFERENCES: usize = 1_000;

/// What came of it.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct ReplayReport {
    /// Decisions that were decided again: those that are the same and those that differ.
    pub judged: u64,
    /// Of those, how many have the same verdict and limits.
    pub same: u64,
    /// How many have not.
    pub differs: u64,
    /// Decisions of which it cannot be told.
    pub unjudgeable: u64,
    /// Why, and how many each.
    pub unjudgeable_because: BTreeMap<&'static str, u64>,
    /// Decisions on which no rule was asked; they are not judged.
    pub not_by_rules: u64,
    /// Records that stand for several refusals each; they are not judged.
    pub counted: u64,
    /// What differs, in the order of the record; at most so many as are told one by one.
    pub differences: Vec<RecordedDifference>,
    /// There are more.
    pub truncated: bool,
}

/// A decision that differs.
#[derive(Debug, PartialEq, Serialize)]
pub struct RecordedDifference {
    /// Its place in the chain.
    pub seq: i64,
    /// When.
    pub timestamp: Timestamp,
    /// Its trace.
    pub trace_id: Option<TraceId>,
    /// Its call.
    pub call_id: Option<CallId>,
    /// Who called.
    pub agent_id: Option<AgentId>,
    /// What.
    pub tool: Option<Arc<str>>,
    /// The bundle.
    pub policy_snapshot: Option<SnapshotId>,
    /// The program that decided.
    pub evaluator: Option<String>,
    /// Both verdicts.
    #[serde(flatten)]
    pub difference: Difference,
}

/// Decides again what a query finds among the decisions, on all cores; `progress` is told how many were looked at.
pub async fn replay_recorded(
    store: &dyn Store,
    query: EventQuery,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<ReplayReport, StoreError> {
    let mut report = ReplayReport::default();
    let mut seen = 0;
    let query = EventQuery { event_type: Some(EventType::AgentDecision), ..query };
    walk(store, query, (Pace::Whole, &Stop::default()), judge, &mut |judged| {
        for one in judged {
            report.take(one);
            seen += 1;
        }
        progress(seen);
    })
    .await?;
    Ok(report)
}

/// What a report takes in of a decision.
enum Judged {
    Same,
    Differs(Box<RecordedDifference>),
    Unjudgeable(&'static str),
    Counted,
    NotByRules,
}

impl ReplayReport {
    fn take(&mut self, judged: Judged) {
        match judged {
            Judged::NotByRules => self.not_by_rules += 1,
            Judged::Counted => self.counted += 1,
            Judged::Unjudgeable(why) => {
                self.unjudgeable += 1;
                *self.unjudgeable_because.entry(why).or_default() += 1;
            }
            Judged::Same => {
                self.judged += 1;
                self.same += 1;
            }
            Judged::Differs(difference) => {
                self.judged += 1;
                self.differs += 1;
                match self.differences.len() < MOST_DIFFERENCES {
                    true => self.differences.push(*difference),
                    false => self.truncated = true,
                }
            }
        }
    }
}

fn judge(event: &Event, referred: &Referred) -> Judged {
    let draft = &event.draft;
    if Counted::of(draft).is_some() {
        return Judged::Counted;
    }
    // Where there is nothing to decide on, no bundle is needed.
    let Some(snapshot) = draft.policy_snapshot.as_ref().filter(|_| draft.facts.is_some()) else {
        return match draft.evaluator {
            Some(_) => Judged::NotByRules,
            None => Judged::Unjudgeable(Why::from(Unreadable::None).kind()),
        };
    };
    let Some(set) = referred.bundle(snapshot) else {
        return Judged::Unjudgeable("the bundle is not kept, or is not one that can be read now");
    };
    match replay(draft, set, &|hash| referred.tool(hash)) {
        Finding::Same => Judged::Same,
        Finding::Counted => Judged::Counted,
        Finding::NotByRules => Judged::NotByRules,
        Finding::Unjudgeable(why) => Judged::Unjudgeable(why.kind()),
        Finding::Differs(difference) => Judged::Differs(Box::new(RecordedDifference {
            seq: event.seq,
            timestamp: draft.timestamp,
            trace_id: draft.trace_id,
            call_id: draft.call_id.clone(),
            agent_id: draft.agent_id.clone(),
            tool: draft.tool.clone(),
            policy_snapshot: draft.policy_snapshot.clone(),
            evaluator: draft.evaluator.as_deref().map(str::to_owned),
            difference,
        })),
    }
}
