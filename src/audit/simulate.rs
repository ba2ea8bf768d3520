//! Recorded calls under another bundle, from a store: what would change, counted.

use super::recorded::{Pace, Referred, Stop, walk};
use crate::{
    evidence::tools_named,
    model::{CallId, Event, EventType},
    policy::{PolicySet, ToolFacts},
    replay::{Compared, SimulateReport, Simulated, Tally, simulate},
    store::{EventQuery, Store, StoreError},
};
use jiff::Timestamp;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

/// Tools that are remembered by name.
const MOST_TOOLS: usize = 10_000;

/// What is held against what.
#[derive(Clone, Debug)]
pub enum Compare {
    /// What was recorded, against what a bundle says.
    Recorded(Arc<PolicySet>),
    /// What one bundle says, against what another one says.
    Bundles(Arc<PolicySet>, Arc<PolicySet>),
}

/// What came of it.
#[derive(Debug)]
pub struct SimulatedTraffic {
    /// What changes.
    pub report: SimulateReport,
    /// The tools that the record names, each as it was resolved last.
    pub tools: BTreeMap<Arc<str>, ToolFacts>,
}

/// One decision as it goes from the threads that judge to the one that counts.
struct Judged {
    call: Option<CallId>,
    at: Timestamp,
    simulated: Simulated,
    reads: Reads,
}

/// What a simulation takes from the record although the bundle says otherwise by now.
#[derive(Clone, Copy, Debug, Default)]
struct Reads {
    prices: bool,
    data: bool,
}

/// Decides the decisions that a query finds under other bundles; nothing is recorded, counted or sent. `progress` is told how
/// many were looked at.
pub async fn simulate_recorded(
    store: &dyn Store,
    query: EventQuery,
    compare: Compare,
    pace: Pace,
    stop: &Stop,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<SimulatedTraffic, StoreError> {
    let query = EventQuery { event_type: Some(EventType::AgentDecision), ..query };
    let (compared, sets) = match compare {
        Compare::Recorded(now) => (Compared::Recorded, vec![now]),
        Compare::Bundles(before, after) => (Compared::Bundles, vec![before, after]),
    };
    let tools: Arc<Mutex<Tools>> = Arc::default();
    let seen_tools = tools.clone();
    let judge = move |event: &Event, referred: &Referred| {
        let draft = &event.draft;
        let then = draft.policy_snapshot.as_ref().and_then(|snapshot| referred.bundle(snapshot));
        let refs: Vec<&PolicySet> = sets.iter().map(AsRef::as_ref).collect();
        let simulated = simulate(draft, then, &refs, &|hash| referred.tool(hash));
        for hash in tools_named(draft) {
            seen_tools.lock().note(event.seq, hash, referred);
        }
        let differs = |file: &str| {
            then.is_some_and(|then| {
                refs.iter().any(|set| set.parts.files.get(file) != then.parts.files.get(file))
            })
        };
        let reads = Reads { prices: differs("prices.yaml"), data: differs("data.yaml") };
        Judged { call: draft.call_id.clone(), at: draft.timestamp, simulated, reads }
    };
    let mut tally = Tally::new(compared);
    let (mut seen, mut reads) = (0, Reads::default());
    walk(store, query, (pace, stop), judge, &mut |judged| {
        for one in judged {
            reads.prices |= one.reads.prices;
            reads.data |= one.reads.data;
            tally.take(one.call.as_ref(), one.at, one.simulated);
            seen += 1;
        }
        progress(seen);
    })
    .await?;
    let mut report = tally.finish();
    if reads.prices {
        report.notes.push("prices.yaml differs: calls are judged by the estimates on record".to_owned());
    }
    if reads.data {
        let note = "data.yaml differs: calls are judged by the levels, labels and masks on record";
        report.notes.push(note.to_owned());
    }
    if stop.is_stopped() {
        report.truncated = true;
        report.notes.push("the time was over before all calls were looked at: see `last`".to_owned());
    }
    let tools = std::mem::take(&mut tools.lock().0);
    let tools = tools.into_iter().map(|(name, (_, tool))| (name, tool)).collect();
    Ok(SimulatedTraffic { report, tools })
}

/// Tools by name, each as the latest record has it.
#[derive(Debug, Default)]
struct Tools(BTreeMap<Arc<str>, (i64, ToolFacts)>);

impl Tools {
    fn note(&mut self, seq: i64, hash: &str, referred: &Referred) {
        let Some(tool) = referred.tool(hash) else { return };
        let room = self.0.len() < MOST_TOOLS;
        match self.0.get_mut(&tool.name) {
            Some(known) if known.0 < seq => *known = (seq, tool),
            Some(_) => {}
            None if room => {
                self.0.insert(tool.name.clone(), (seq, tool));
            }
            None => {}
        }
    }
}
