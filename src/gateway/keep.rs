//! What decisions refer to by a hash is kept in the store before the first record that names it: bundles as they were
//! loaded, and tools as they were resolved.

use super::prepared::Prepared;
use crate::{
    config::{Config, without_secrets},
    evidence::{KeptBundle, ResolvedTool, content_hash},
    policy::PolicySet,
    store::{Kept, KeptKind, Store, StoreError},
};
use dashmap::DashMap;
use std::sync::Arc;

/// Tools that are remembered as kept. Beyond that each is kept once more, which changes nothing.
const MOST_REMEMBERED: usize = 50_000;

/// What decisions refer to, in the store.
pub(super) struct References {
    store: Arc<dyn Store>,
    /// The tools that this process has kept.
    tools: DashMap<Arc<str>, ()>,
}

impl References {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, tools: DashMap::new() }
    }

    /// Keeps the tools that the record of this call names.
    pub(super) async fn keep_tools(&self, prepared: &Prepared) -> Result<(), StoreError> {
        let judged = prepared.judged.as_ref();
        for tool in judged.into_iter().flat_map(|judged| &judged.tools) {
            if !self.tools.contains_key(&tool.hash) {
                Box::pin(self.keep_tool(tool)).await?;
            }
        }
        Ok(())
    }

    async fn keep_tool(&self, tool: &Arc<ResolvedTool>) -> Result<(), StoreError> {
        let kept = Kept {
            kind: KeptKind::Tool,
            name: tool.hash.to_string(),
            hash: tool.hash.to_string(),
            body: tool.body.to_string(),
        };
        self.store.keep(kept).await?;
        if self.tools.len() >= MOST_REMEMBERED {
            self.tools.clear();
        }
        self.tools.insert(tool.hash.clone(), ());
        Ok(())
    }

    /// Keeps a bundle under its snapshot, and gives the hash of what is kept. A bundle that says the same in other words has
    /// the same snapshot: the first one stays.
    pub(super) async fn keep_bundle(
        &self,
        config: &Config,
        policies: &PolicySet,
    ) -> Result<String, StoreError> {
        let kept = bundle(config, policies);
        let (name, hash) = (kept.name.clone(), kept.hash.clone());
        self.store.keep(kept).await?;
        Ok(self.store.kept(KeptKind::Bundle, name).await?.map_or(hash, |kept| kept.hash))
    }

    /// The same for a bundle that is about to come into force: it is queued before every decision under it, and what it
    /// revokes waits for no store.
    pub(super) fn keep_coming(&self, config: &Config, policies: &PolicySet) {
        drop(self.store.keep(bundle(config, policies)));
    }
}

fn bundle(config: &Config, policies: &PolicySet) -> Kept {
    let body = KeptBundle::of(policies, without_secrets(config)).body();
    let hash = content_hash(&body);
    Kept { kind: KeptKind::Bundle, name: policies.snapshot.to_string(), hash, body }
}
