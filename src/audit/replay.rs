//! Recorded decisions decided again, from a store: each under the bundle that decided it.

use crate::{
    evidence::{Counted, KeptBundle, ResolvedTool, tools_named},
    model::{AgentId, CallId, Event, EventType, SnapshotId, TraceId},
    policy::{CompileInput, KnownNames, PolicySet, ToolFacts, compile},
    replay::{Difference, Finding, replay},
    store::{EventQuery, KeptKind, Store, StoreError},
};
use jiff::Timestamp;
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Events in one read, and the bytes of their bodies.
const PAGE: usize = 1_000;
const PAGE_BYTES: usize = 8 << 20;
/// Bundles and tools that are held at a time.
const MOST_BUNDLES: usize = 8;
const MOST_TOOLS: usize = 10_000;
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

/// Decides again what a query finds among the decisions, page by page; `progress` is told how many were looked at.
pub async fn replay_recorded(
    store: &dyn Store,
    query: EventQuery,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<ReplayReport, StoreError> {
    let mut report = ReplayReport::default();
    let mut kept = Held { store, bundles: HashMap::new(), tools: HashMap::new() };
    let mut query = EventQuery {
        event_type: Some(EventType::AgentDecision),
        newest_first: false,
        limit: PAGE,
        most_bytes: PAGE_BYTES,
        ..query
    };
    let mut seen = 0;
    loop {
        let events = store.events(query.clone()).await?;
        let Some(last) = events.last() else { return Ok(report) };
        query.after_seq = Some(last.seq);
        for event in &events {
            let finding = kept.judge(event).await?;
            report.take(event, finding);
            seen += 1;
        }
        progress(seen);
    }
}

enum Judged {
    Found(Finding),
    NoBundle,
}

impl ReplayReport {
    fn unjudgeable(&mut self, why: &'static str) {
        self.unjudgeable += 1;
        *self.unjudgeable_because.entry(why).or_default() += 1;
    }

    fn take(&mut self, event: &Event, judged: Judged) {
        match judged {
            Judged::NoBundle => {
                self.unjudgeable("the bundle is not kept, or is not one that can be read now")
            }
            Judged::Found(Finding::NotByRules) => self.not_by_rules += 1,
            Judged::Found(Finding::Counted) => self.counted += 1,
            Judged::Found(Finding::Unjudgeable(why)) => self.unjudgeable(why.kind()),
            Judged::Found(Finding::Same) => {
                self.judged += 1;
                self.same += 1;
            }
            Judged::Found(Finding::Differs(difference)) => {
                self.judged += 1;
                self.differs += 1;
                if self.differences.len() == MOST_DIFFERENCES {
                    self.truncated = true;
                    return;
                }
                let draft = &event.draft;
                self.differences.push(RecordedDifference {
                    seq: event.seq,
                    timestamp: draft.timestamp,
                    trace_id: draft.trace_id,
                    call_id: draft.call_id.clone(),
                    agent_id: draft.agent_id.clone(),
                    tool: draft.tool.clone(),
                    policy_snapshot: draft.policy_snapshot.clone(),
                    evaluator: draft.evaluator.as_deref().map(str::to_owned),
                    difference,
                });
            }
        }
    }
}

/// What was read from the store lately.
struct Held<'s> {
    store: &'s dyn Store,
    bundles: HashMap<SnapshotId, Option<PolicySet>>,
    tools: HashMap<String, Option<ToolFacts>>,
}

impl Held<'_> {
    async fn judge(&mut self, event: &Event) -> Result<Judged, StoreError> {
        let draft = &event.draft;
        if Counted::of(draft).is_some() {
            return Ok(Judged::Found(Finding::Counted));
        }
        // Where there is nothing to decide on, no bundle is needed.
        let Some(snapshot) = draft.policy_snapshot.as_ref().filter(|_| draft.facts.is_some()) else {
            return Ok(Judged::Found(match draft.evaluator {
                Some(_) => Finding::NotByRules,
                None => Finding::Unjudgeable(crate::evidence::Unreadable::None.into()),
            }));
        };
        if !self.bundles.contains_key(snapshot) {
            if self.bundles.len() >= MOST_BUNDLES {
                self.bundles.clear();
            }
            let set = kept_bundle(self.store, snapshot).await?;
            self.bundles.insert(snapshot.clone(), set);
        }
        if self.tools.len() >= MOST_TOOLS {
            self.tools.clear();
        }
        for hash in tools_named(draft) {
            if !self.tools.contains_key(hash) {
                let kept = self.store.kept(KeptKind::Tool, hash.to_owned()).await?;
                let tool = kept.and_then(|kept| ResolvedTool::read(&kept.body));
                self.tools.insert(hash.to_owned(), tool);
            }
        }
        let Some(Some(set)) = self.bundles.get(snapshot) else { return Ok(Judged::NoBundle) };
        let tool = |hash: &str| self.tools.get(hash).cloned().flatten();
        Ok(Judged::Found(replay(draft, set, &tool)))
    }
}

/// The bundle of a snapshot, compiled. `None`: it is not kept, or this version refuses it.
pub async fn kept_bundle(store: &dyn Store, snapshot: &SnapshotId) -> Result<Option<PolicySet>, StoreError> {
    let Some(kept) = store.kept(KeptKind::Bundle, snapshot.to_string()).await? else { return Ok(None) };
    let damaged = |error| StoreError::Damaged(format!("the bundle of snapshot `{snapshot}`: {error}"));
    let bundle = KeptBundle::read(&kept.body).map_err(damaged)?;
    let input = CompileInput {
        environment: bundle.environment,
        servers_digest_material: Vec::new(),
        known: KnownNames::default(),
    };
    let (set, _) = compile(&bundle.files, &input);
    Ok(set.map(|set| PolicySet { snapshot: snapshot.clone(), ..set }))
}
