//! Whom the data of a call reaches, and what has reached them: read before a call is decided, and raised before anybody
//! sees the data.
//!
//! What is durable is an entry of the store's register of labels, the same for all processes. A decision reads what this process knows of
//! it, which admission holds against the store in its transaction: where another process has raised it meanwhile, the call is
//! decided again. An answer that raises nothing costs a look-up.

use super::{
    InForce,
    refusal::{Refusal, store_policy},
    request::{Request, Standing, workflow_of},
};
use crate::{
    clock::Clock,
    config::LabelTerms,
    labels::{Holder, LabelSet, Sessions},
    model::{AgentId, EventDecision, RpcError, TraceId, WorkflowId, code},
    policy::PolicySet,
    store::{Register, RegisterChange, RegisterRead, Store, StoreError},
};
use dashmap::DashMap;
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// How often others may be quicker to raise the same labels.
const TRIES: usize = 32;
/// Sets that are known here: more than a bundle has agents and workflows.
const MOST_KNOWN: usize = 50_000;

/// Whom the data of a call reaches.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    agent: AgentId,
    /// A session of its own, where it has one.
    session: Option<Arc<str>>,
    workflow: Option<WorkflowId>,
    terms: LabelTerms,
    /// The call, for whoever asks where a label came from.
    trace: TraceId,
}

impl Reach {
    /// Of a request under what is in force.
    pub(crate) fn of(in_force: &InForce, request: &Request) -> Self {
        let authority = &in_force.policies.authority;
        let agent = authority.agents.get(&request.agent);
        let named = request.workflow.as_deref();
        let workflow = agent.and_then(|agent| workflow_of(&authority.workflows, agent, named).0);
        Self {
            agent: request.agent.clone(),
            session: request.own_session.clone(),
            workflow: workflow.map(|workflow| workflow.id.clone()),
            terms: in_force.config.gateway.labels,
            trace: request.trace_id,
        }
    }

    /// Of what comes for an agent outside of a session, in a workflow.
    pub(crate) fn outside(
        in_force: &InForce,
        agent: AgentId,
        session: Option<Arc<str>>,
        workflow: Option<WorkflowId>,
        trace: TraceId,
    ) -> Self {
        Self { agent, session, workflow, terms: in_force.config.gateway.labels, trace }
    }

    /// The workflow in which the call runs.
    pub(crate) fn workflow(&self) -> Option<&WorkflowId> {
        self.workflow.as_ref()
    }

    fn holders(&self) -> impl Iterator<Item = Holder> {
        let workflow = self.workflow.clone().map(Holder::Workflow);
        std::iter::once(Holder::Agent(self.agent.clone())).chain(workflow)
    }
}

#[derive(Clone, Debug)]
struct Known {
    /// 0: there is no entry.
    version: u64,
    set: Arc<LabelSet>,
}

/// What has reached whom.
pub(crate) struct Labels {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    known: DashMap<String, Known>,
    /// How often all that was known was forgotten.
    forgotten: AtomicU64,
    sessions: Mutex<Sessions>,
}

impl Labels {
    pub(super) fn new(store: &Arc<dyn Store>, clock: &Arc<dyn Clock>) -> Self {
        let (known, forgotten, sessions) = (DashMap::new(), AtomicU64::default(), Mutex::default());
        Self { store: store.clone(), clock: clock.clone(), known, forgotten, sessions }
    }

    /// Forgets all that is known whenever a person may have taken labels away. What is raised wakes nobody: whoever knows less than
    /// there is learns it in admission, and whoever is about to raise something from the store.
    pub(super) async fn follow(&self) {
        let mut changes = self.store.register_changes();
        while changes.changed().await.is_ok() {
            self.forgotten.fetch_add(1, Ordering::AcqRel);
            self.known.clear();
        }
    }

    /// What has reached whoever makes a call, as far as this process knows; admission says whether that is all.
    pub(crate) async fn standing(&self, reach: &Reach) -> Result<Standing, StoreError> {
        self.read(reach, false).await
    }

    /// The same as it stands in the store now.
    pub(crate) async fn standing_now(&self, reach: &Reach) -> Result<Standing, StoreError> {
        self.read(reach, true).await
    }

    async fn read(&self, reach: &Reach, again: bool) -> Result<Standing, StoreError> {
        let now = self.clock.now();
        let (mut labels, mut read) = (Vec::new(), Vec::with_capacity(2));
        let mut cleared = None;
        for holder in reach.holders() {
            let key = holder.key();
            let known = match self.known.get(&key).map(|known| known.clone()).filter(|_| !again) {
                Some(known) => known,
                None => Box::pin(self.fetch(&key)).await?,
            };
            if matches!(holder, Holder::Agent(_)) {
                cleared = known.set.cleared();
            }
            labels.extend(known.set.standing(now).map(|(label, _)| label.clone()));
            read.push(RegisterRead { register: Register::Labels, key, version: known.version });
        }
        if let Some(session) = &reach.session {
            let sessions = self.sessions.lock();
            labels.extend(sessions.of(&reach.agent, session, cleared).cloned());
        }
        labels.sort();
        labels.dedup();
        Ok(Standing { labels, read })
    }

    /// Reads what the store has of a holder.
    async fn fetch(&self, key: &str) -> Result<Known, StoreError> {
        let forgotten = self.forgotten.load(Ordering::Acquire);
        let entry = self.store.register_entry(Register::Labels, key.to_owned()).await?;
        let known = match entry {
            None => Known { version: 0, set: Arc::default() },
            Some(entry) => {
                let set = serde_json::from_value(entry.value.as_ref().clone());
                let set =
                    set.map_err(|error| StoreError::Damaged(format!("the labels of `{key}`: {error}")))?;
                Known { version: entry.version, set: Arc::new(set) }
            }
        };
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(key.to_owned(), known.clone());
        // Forgotten meanwhile: it may be from before.
        if self.forgotten.load(Ordering::Acquire) != forgotten {
            self.known.remove(key);
        }
        Ok(known)
    }

    /// Forgets what was not as the store has it.
    pub(super) fn forget(&self, read: &[RegisterRead]) {
        for RegisterRead { key, .. } in read {
            self.known.remove(key);
        }
    }

    /// Whether data with these labels can go on at once: they stand already, as far as this process knows.
    pub(crate) fn hold(&self, reach: &Reach, labels: &[Arc<str>]) -> bool {
        let now = self.clock.now();
        let mut cleared = None;
        for holder in reach.holders() {
            let Some(known) = self.known.get(&holder.key()) else { return labels.is_empty() };
            if matches!(holder, Holder::Agent(_)) {
                cleared = known.set.cleared();
            }
            if self.raised(reach, &holder, &known.set, labels, now).is_some() {
                return false;
            }
        }
        let Some(session) = &reach.session else { return true };
        let sessions = self.sessions.lock();
        labels.iter().all(|label| sessions.of(&reach.agent, session, cleared).any(|held| held == label))
    }

    fn raised(
        &self,
        reach: &Reach,
        holder: &Holder,
        set: &LabelSet,
        labels: &[Arc<str>],
        now: jiff::Timestamp,
    ) -> Option<LabelSet> {
        let (keep, all) = match holder {
            Holder::Agent(_) => (reach.terms.window, false),
            Holder::Workflow(_) => (reach.terms.keep, true),
        };
        set.raised(labels.iter(), (now, keep), all, reach.trace)
    }

    /// Raises the labels of whoever is about to see data with these: once it returns, they stand in every process. On an error
    /// the data must not be seen.
    pub(crate) async fn raise(&self, reach: &Reach, labels: &[Arc<str>]) -> Result<(), StoreError> {
        if labels.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let mut tries = 0;
        loop {
            let mut changes = Vec::new();
            for holder in reach.holders() {
                let key = holder.key();
                let known = match self.known.get(&key).map(|known| known.clone()) {
                    Some(known) => known,
                    None => Box::pin(self.fetch(&key)).await?,
                };
                if let Some(raised) = self.raised(reach, &holder, &known.set, labels, now) {
                    let value = serde_json::to_value(&raised)
                        .map_err(|error| StoreError::Failed(format!("labels cannot be written: {error}")))?;
                    changes.push(RegisterChange::set(Register::Labels, key, value).at(known.version));
                }
            }
            if changes.is_empty() {
                break;
            }
            tries += 1;
            if tries > TRIES {
                return Err(StoreError::Overloaded);
            }
            let keys: Vec<String> = changes.iter().map(|change| change.key.clone()).collect();
            let set = Box::pin(self.store.set(changes, Vec::new())).await;
            // Where it was set, the entries have versions that only the store knows; where it was not, others were quicker.
            keys.iter().for_each(|key| drop(self.known.remove(key)));
            set?;
        }
        if let Some(session) = &reach.session {
            self.sessions.lock().raise(&reach.agent, session, labels.iter(), now);
        }
        Ok(())
    }

    /// The same for whoever has the data at hand: an error where it must not be seen. Where no policy reads what has reached a
    /// session, nothing depends on it, and nothing is withheld.
    pub(crate) async fn let_through(
        &self,
        policies: &PolicySet,
        reach: &Reach,
        labels: &[Arc<str>],
    ) -> Result<(), RpcError> {
        let Err(error) = self.raise(reach, labels).await else { return Ok(()) };
        if !matches!(error, StoreError::Full) {
            tracing::error!(error = %error, "labels could not be kept");
        }
        match policies.read_session_labels() {
            false => Ok(()),
            true => Err(unkept(&error)),
        }
    }

    /// Takes sets out of the store of which nothing stands any more.
    pub(super) async fn tidy(&self, terms: LabelTerms) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut changes = Vec::new();
        for entry in self.store.register(Register::Labels).await? {
            let set = serde_json::from_value::<LabelSet>(entry.value.as_ref().clone());
            if set.is_ok_and(|set| set.is_over(now, terms.keep)) {
                changes.push(RegisterChange::remove(Register::Labels, &*entry.key).at(entry.version));
            }
        }
        for change in changes {
            self.known.remove(&change.key);
            self.store.set(vec![change], Vec::new()).await?;
        }
        Ok(())
    }
}

/// What whoever was to see data gets in its place, where its labels cannot be kept.
pub(super) fn unkept(error: &StoreError) -> RpcError {
    let text =
        format!("the upstream's data is withheld, since its labels cannot be kept: {}", error.refusal());
    RpcError::new(code::INTERNAL_ERROR, text)
}

/// The refusal of a call of which the labels that it is decided on cannot be read.
pub(super) fn unreadable(error: &StoreError) -> Refusal {
    if !matches!(error, StoreError::Full) {
        tracing::error!(error = %error, "the labels of a call could not be read");
    }
    Refusal::new(EventDecision::Deny, store_policy(), None, error.refusal())
}
