//! Walks a record: pages are read and judged on several threads at once, and what came of them is handed on in the order of the
//! record.

use crate::{
    evidence::{KeptBundle, ResolvedTool, tools_named},
    model::{Event, EventDraft, EventType, SnapshotId},
    policy::{PolicySet, ToolFacts, compile},
    store::{EventQuery, KeptKind, Store, StoreError},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Mutex;

/// Places of the chain that are one piece of work.
const PIECE: i64 = 4_000;
/// Events in one read, and the bytes of their bodies.
const PAGE: usize = 1_000;
const PAGE_BYTES: usize = 8 << 20;
/// Bundles and tools that are held at a time.
const MOST_BUNDLES: usize = 8;
const MOST_TOOLS: usize = 10_000;
/// Pieces that are worked on at a time, at most: as many reads as a store answers at once.
const MOST_LANES: usize = 4;

/// How much of the machine a walk may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All cores: a command that somebody waits for.
    Whole,
    /// One core: others are served meanwhile.
    Beside,
}

impl Pace {
    fn lanes(self) -> usize {
        match self {
            Self::Whole => std::thread::available_parallelism().map_or(1, |n| n.get().clamp(1, MOST_LANES)),
            Self::Beside => 1,
        }
    }
}

/// Ends a walk before its end: what was handed on until then counts.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From the next page on.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether that was said.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the records of a page refer to.
#[derive(Clone, Debug, Default)]
pub(super) struct Referred {
    bundles: HashMap<SnapshotId, Option<Arc<PolicySet>>>,
    tools: HashMap<String, Option<ToolFacts>>,
}

impl Referred {
    /// The bundle of a snapshot; none where it is not kept, or this version refuses it.
    pub(super) fn bundle(&self, snapshot: &SnapshotId) -> Option<&PolicySet> {
        self.bundles.get(snapshot)?.as_deref()
    }

    /// A resolved tool by its hash.
    pub(super) fn tool(&self, hash: &str) -> Option<ToolFacts> {
        self.tools.get(hash).cloned().flatten()
    }
}

/// Hands on what `judge` makes of each event that a query finds, in the order of the record, until it is stopped. `judge` runs
/// on other threads.
pub(super) async fn walk<T: Send + 'static>(
    store: &dyn Store,
    query: EventQuery,
    (pace, stop): (Pace, &Stop),
    judge: impl Fn(&Event, &Referred) -> T + Send + Sync + 'static,
    take: &mut (dyn FnMut(Vec<T>) + Send),
) -> Result<(), StoreError> {
    let query = EventQuery { newest_first: false, limit: PAGE, most_bytes: PAGE_BYTES, ..query };
    let Some((first, last)) = bounds(store, &query).await? else { return Ok(()) };
    // What is of one trace is little: it is one piece.
    let piece = if query.trace_id.is_some() { last - first + 1 } else { PIECE };
    let pieces = (last - first) / piece + 1;
    let (held, judge) = (Held::default(), Arc::new(judge));
    let work = |number: i64| {
        let (held, judge) = (&held, judge.clone());
        let from = first + number * piece;
        let query = EventQuery {
            after_seq: Some(from - 1),
            until_seq: Some(last.min(from + piece - 1)),
            ..query.clone()
        };
        one_piece(store, query, (held, stop), judge)
    };
    let mut done = stream::iter(0..pieces).map(work).buffered(pace.lanes());
    while let Some(judged) = done.try_next().await? {
        take(judged);
        if stop.is_stopped() {
            break;
        }
    }
    Ok(())
}

/// The first and the last place in the chain of what a query finds now.
async fn bounds(store: &dyn Store, query: &EventQuery) -> Result<Option<(i64, i64)>, StoreError> {
    let one = EventQuery { limit: 1, ..query.clone() };
    let first = store.events(one.clone()).await?.pop().map(|event| event.seq);
    let last = store.events(EventQuery { newest_first: true, ..one }).await?.pop().map(|event| event.seq);
    Ok(first.zip(last))
}

async fn one_piece<T: Send + 'static>(
    store: &dyn Store,
    query: EventQuery,
    (held, stop): (&Held, &Stop),
    judge: Arc<impl Fn(&Event, &Referred) -> T + Send + Sync + 'static>,
) -> Result<Vec<T>, StoreError> {
    let mut query = query;
    let mut all = Vec::new();
    loop {
        let events = store.events(query.clone()).await?;
        let Some(last) = events.last().map(|event| event.seq) else { return Ok(all) };
        query.after_seq = Some(last);
        let referred = held.of(store, &events).await?;
        let judge = judge.clone();
        let work = move || events.iter().map(|event| judge(event, &referred)).collect::<Vec<T>>();
        let judged = tokio::task::spawn_blocking(work).await;
        all.extend(
            judged.map_err(|error| StoreError::Failed(format!("judging records was broken off: {error}")))?,
        );
        if stop.is_stopped() || query.until_seq.is_some_and(|until| last >= until) {
            return Ok(all);
        }
    }
}

/// What was read from the store lately.
#[derive(Debug, Default)]
struct Held(Mutex<Referred>);

impl Held {
    /// What these events refer to, read where it is not held yet.
    async fn of(&self, store: &dyn Store, events: &[Event]) -> Result<Referred, StoreError> {
        let mut held = self.0.lock().await;
        let mut referred = Referred::default();
        let refers =
            |draft: &&EventDraft| draft.facts.is_some() || draft.event_type == EventType::AgentSideEffect;
        for draft in events.iter().map(|event| &event.draft).filter(refers) {
            if let Some(snapshot) = &draft.policy_snapshot
                && !referred.bundles.contains_key(snapshot)
            {
                if !held.bundles.contains_key(snapshot) {
                    if held.bundles.len() >= MOST_BUNDLES {
                        held.bundles.clear();
                    }
                    let set = kept_bundle(store, snapshot).await?.map(Arc::new);
                    held.bundles.insert(snapshot.clone(), set);
                }
                let set = held.bundles.get(snapshot).cloned().flatten();
                referred.bundles.insert(snapshot.clone(), set);
            }
            for hash in tools_named(draft) {
                if referred.tools.contains_key(hash) {
                    continue;
                }
                if !held.tools.contains_key(hash) {
                    if held.tools.len() >= MOST_TOOLS {
                        held.tools.clear();
                    }
                    let kept = store.kept(KeptKind::Tool, hash.to_owned()).await?;
                    let tool = kept.and_then(|kept| ResolvedTool::read(&kept.body));
                    held.tools.insert(hash.to_owned(), tool);
                }
                referred.tools.insert(hash.to_owned(), held.tools.get(hash).cloned().flatten());
            }
        }
        Ok(referred)
    }
}

/// The bundle of a snapshot, compiled. `None`: it is not kept, or this version refuses it.
pub async fn kept_bundle(store: &dyn Store, snapshot: &SnapshotId) -> Result<Option<PolicySet>, StoreError> {
    let Some(kept) = store.kept(KeptKind::Bundle, snapshot.to_string()).await? else { return Ok(None) };
    let damaged =
        |error: String| StoreError::Damaged(format!("the bundle of snapshot `{snapshot}`: {error}"));
    let bundle = KeptBundle::read(&kept.body).map_err(|error| damaged(error.to_string()))?;
    let input = bundle.input().map_err(damaged)?;
    let compiled = tokio::task::spawn_blocking(move || compile(&bundle.files, &input)).await;
    let (set, _) =
        compiled.map_err(|error| StoreError::Failed(format!("a bundle was not compiled: {error}")))?;
    Ok(set.map(|set| PolicySet { snapshot: snapshot.clone(), ..set }))
}
