//! Questions of a running gateway, and of a command that has the files and no gateway.

use super::{Explanation, Question, decided::Ground, told};
use crate::{
    audit::kept_bundle,
    catalog::{Catalog, View},
    clock::Clock,
    config::Config,
    cost::{LearnedSizes, TokenCounter},
    gateway::{Gateway, digest::DigestKey, evaluator::Evaluator, repeats::Repeats},
    model::{AgentId, SnapshotId},
    offload::Busy,
    policy::{PolicySet, names::did_you_mean, read::short},
    store::{BudgetUsage, StoreError},
};
use std::sync::Arc;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The bundle does not have the agent.
    #[error("there is no agent `{agent}`{hint}")]
    NoAgent {
        /// The name given.
        agent: String,
        /// A name that is near.
        hint: String,
    },
    /// The bundle of that snapshot is not kept.
    #[error("the bundle of snapshot `{0}` is not kept, or is not one that can be read now")]
    NoBundle(SnapshotId),
    /// Others are being explained.
    #[error("too many calls are being explained: try again later")]
    Busy,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whose turn it is among large work: no agent has a name with a space.
const QUEUE: &str = "policy explain";

fn no_agent(policies: &PolicySet, agent: &AgentId) -> ExplainError {
    let known = policies.authority.agents.keys().map(|id| id.as_str());
    ExplainError::NoAgent { agent: short(agent), hint: did_you_mean(agent, known) }
}

/// Answers questions without a gateway: from the files, and what upstreams are known to list.
pub struct Resolver {
    tokens: TokenCounter,
    learned: LearnedSizes,
    repeats: Repeats,
    digest_key: DigestKey,
    clock: Arc<dyn Clock>,
    /// servers.toml.
    pub config: Config,
    /// What upstreams are known to list.
    pub catalog: Catalog,
    /// Where counters stand; none where there is no store.
    pub usage: Option<Vec<BudgetUsage>>,
}

impl Resolver {
    /// Of a configuration and a catalog. `learned` are the sizes of results that a store has learned.
    pub fn new(config: Config, catalog: Catalog, clock: Arc<dyn Clock>, learned: &[(String, u64)]) -> Self {
        let sizes = LearnedSizes::new();
        for (tool, tokens) in learned {
            sizes.seed(tool, *tokens);
        }
        Self {
            tokens: TokenCounter::load(),
            learned: sizes,
            repeats: Repeats::default(),
            // Digests are made for nobody here.
            digest_key: DigestKey::new(&[0; 32]),
            clock,
            config,
            catalog,
            usage: None,
        }
    }

    /// What would be decided of a call under a bundle, and why. `changes`: what other arguments would change, too.
    pub fn explain(
        &self,
        policies: &PolicySet,
        question: &Question,
        changes: bool,
    ) -> Result<Explanation, ExplainError> {
        let agent = policies.authority.agents.get(&question.agent);
        let agent = agent.ok_or_else(|| no_agent(policies, &question.agent))?;
        let view = View::new(&self.catalog, &policies.authority, agent);
        let ground = Ground {
            evaluator: Evaluator {
                tokens: &self.tokens,
                learned: &self.learned,
                digest_key: &self.digest_key,
                repeats: &self.repeats,
                clock: &*self.clock,
                assumed: None,
            },
            policies,
            config: &self.config,
            catalog: &self.catalog,
            view: &view,
            usage: self.usage.as_deref(),
        };
        Ok(told::explain(ground, question, changes))
    }
}

impl Gateway {
    /// What would be decided of a call now, or under the bundle of a snapshot, and why. Nothing is recorded, counted or sent.
    pub async fn explain(
        &self,
        question: Question,
        snapshot: Option<SnapshotId>,
    ) -> Result<Explanation, ExplainError> {
        let in_force = self.in_force();
        let policies = match snapshot.filter(|wanted| *wanted != in_force.policies.snapshot) {
            None => in_force.policies.clone(),
            Some(snapshot) => {
                let kept = kept_bundle(&**self.store(), &snapshot).await?;
                let mut set = kept.ok_or(ExplainError::NoBundle(snapshot))?;
                set.data = set.data.with_key(self.0.hash_key);
                Arc::new(set)
            }
        };
        if !policies.authority.agents.contains_key(&question.agent) {
            return Err(no_agent(&policies, &question.agent));
        }
        let usage = self.store().budget_usage(self.clock().now()).await?;
        let gateway = self.clone();
        let work = move || {
            let agent = policies.authority.agents.get(&question.agent)?;
            let view = View::new(&in_force.catalog, &policies.authority, agent);
            let ground = Ground {
                evaluator: gateway.0.evaluator(),
                policies: &policies,
                config: &in_force.config,
                catalog: &in_force.catalog,
                view: &view,
                usage: Some(&usage),
            };
            Some(told::explain(ground, &question, true))
        };
        // It looks through the bundle and tries many calls: one after the other, and no connection's thread waits for it.
        let queue = AgentId::from(QUEUE);
        let done = self.0.large.run(&queue, work).await.map_err(|Busy| ExplainError::Busy)?;
        done.ok_or(ExplainError::Busy)
    }
}
