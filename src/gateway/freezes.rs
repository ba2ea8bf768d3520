//! What is frozen, as this process knows it: calls are held against it before anything of them is done, while people are
//! asked about them, and while their upstreams work. Admission looks at the store's own, in its transaction.

use super::{ending::Ending, prepared::Prepared, refusal::Refusal, target::Target};
use crate::{
    admission::{FreezeKind, FreezeSubject, FrozenTarget},
    approval::Freezes as OnStore,
    clock::Clock,
    model::{AgentId, CapabilityId, Outcome, PersonId, RpcError, code},
    store::{Register, Store, StoreError},
};
use arc_swap::ArcSwap;
use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::watch;

/// After a look that failed.
const AGAIN: Duration = Duration::from_millis(500);

/// What is frozen.
pub(crate) struct Freezes {
    store: Arc<dyn Store>,
    known: ArcSwap<HashSet<Arc<str>>>,
    /// Held while it is read: what was read first must not be taken last.
    looking: tokio::sync::Mutex<()>,
    changed: watch::Sender<u64>,
    on_store: OnceLock<OnStore>,
    clock: Arc<dyn Clock>,
}

impl Freezes {
    pub(super) fn new(store: &Arc<dyn Store>, clock: &Arc<dyn Clock>) -> Self {
        Self {
            store: store.clone(),
            known: ArcSwap::default(),
            looking: tokio::sync::Mutex::default(),
            changed: watch::Sender::new(0),
            on_store: OnceLock::new(),
            clock: clock.clone(),
        }
    }

    /// What people do about it.
    pub(crate) fn on_store(&self) -> &OnStore {
        self.on_store.get_or_init(|| OnStore::new(self.store.clone(), self.clock.clone()))
    }

    /// Reads what is frozen. Before the first message is served, and whenever that changes.
    pub(super) async fn look(&self) -> Result<(), StoreError> {
        let _looking = self.looking.lock().await;
        let entries = self.store.register(Register::Freeze).await?;
        let keys: HashSet<Arc<str>> = entries.into_iter().map(|entry| entry.key).collect();
        if **self.known.load() != keys {
            self.known.store(Arc::new(keys));
            self.changed.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// Follows what this process and others freeze, to the end.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut changes = self.store.register_changes();
        loop {
            while let Err(error) = self.look().await {
                if matches!(error, StoreError::Closed) {
                    return;
                }
                // What was frozen stays so, and no call is admitted that is frozen by now.
                tracing::error!(%error, "freeze.not_read");
                tokio::time::sleep(AGAIN).await;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// How many things are frozen.
    pub(super) fn count(&self) -> usize {
        self.known.load().len()
    }

    /// By what a call is frozen, if it is.
    pub(crate) fn frozen(&self, subject: &FreezeSubject) -> Option<FreezeKind> {
        let known = self.known.load();
        if known.is_empty() {
            return None;
        }
        subject.frozen(|key| known.contains(key))
    }

    /// The same of an agent, whatever it calls.
    pub(crate) fn frozen_agent(&self, agent: &AgentId, user: Option<&PersonId>) -> Option<FreezeKind> {
        if self.known.load().is_empty() {
            return None;
        }
        self.frozen(&FreezeSubject { agent: agent.clone(), user: user.cloned(), target: None })
    }

    /// Ends once a call is frozen; never where it is not.
    pub(crate) async fn until_frozen(&self, subject: &FreezeSubject) -> FreezeKind {
        let mut changes = self.changed.subscribe();
        loop {
            if let Some(frozen) = self.frozen(subject) {
                return frozen;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// What of a call can be frozen.
pub(crate) fn subject_of(
    agent: &AgentId,
    user: Option<&PersonId>,
    target: &Target,
    capabilities: &[CapabilityId],
) -> FreezeSubject {
    let tool = match target {
        Target::Tool(tool) => Some((tool.full.clone(), tool.exposed.clone())),
        Target::Item(..) => None,
    };
    let target =
        FrozenTarget { tool, upstream: target.upstream().clone(), capabilities: capabilities.to_vec() };
    FreezeSubject { agent: agent.clone(), user: user.cloned(), target: Some(target) }
}

impl Prepared {
    /// What of it can be frozen.
    pub(crate) fn freeze_subject(&self) -> FreezeSubject {
        subject_of(&self.facts.agent.id, self.facts.user.as_ref(), &self.target, &self.facts.capabilities)
    }
}

/// How a frozen call is refused: the agent is told that it is frozen, and neither why nor by whom.
pub(crate) fn refusal(frozen: FreezeKind) -> Refusal {
    let mut refusal = Refusal::by_limit(frozen.refusal());
    refusal.is_limit = false;
    refusal
}

/// How a call ends that was frozen while its upstream had it; its agent is answered with [`refusal`].
pub(super) fn ended(frozen: FreezeKind, sent: bool) -> Ending {
    let word = frozen.as_str();
    let (outcome, reason) = match sent {
        true => (Outcome::Unknown, format!("frozen ({word}) under way; the upstream was told to cancel")),
        false => (Outcome::Failed, format!("frozen ({word}) before anything was sent")),
    };
    let reply = Err(RpcError::new(code::INTERNAL_ERROR, "frozen"));
    Ending { reply, outcome, sent, reason: Some(reason), ours: None, lack: None }
}
