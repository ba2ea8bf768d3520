//! Questions of a running gateway, and of a command that has the files and no gateway.

use super::{
    Explanation, Question,
    decided::{Ground, loop_query},
    told,
};
use crate::{
    admission::LoopSeen,
    audit::kept_bundle,
    catalog::Catalog,
    clock::{Clock, IdSource},
    config::Config,
    cost::{LearnedSizes, TokenCounter},
    gateway::{
        Gateway, InForce, digest::DigestKey, evaluate::Evaluator, measures::Measures,
        placeholders::Placeholders, prepare::Preparation,
    },
    model::{AgentId, SnapshotId},
    offload::Busy,
    policy::{PolicySet, names::did_you_mean, read::short},
    store::{BudgetUsage, LoopQuery, StoreError},
    upstream::{UpstreamDeps, UpstreamSet},
};
use jiff::Timestamp;
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
    evaluator: Evaluator,
    in_force: Arc<InForce>,
    /// Where counters stand at a time; none where there is no store.
    pub usage: Option<(Timestamp, Vec<BudgetUsage>)>,
    /// Where the rules about loops stand for what is asked about; none where there is no store.
    pub loops: Option<Vec<LoopSeen>>,
}

/// What a resolver takes of its process.
pub struct ResolverParts {
    /// The time of calls that state none.
    pub clock: Arc<dyn Clock>,
    /// For connections, of which there are none.
    pub ids: Arc<dyn IdSource>,
    /// The sizes of results that a store has learned.
    pub learned: Arc<LearnedSizes>,
    /// The key by which a store knows calls ([`crate::gateway::CALL_KEY`]); none where there is no store.
    pub call_key: Option<[u8; 32]>,
}

impl Resolver {
    /// Of files and a catalog.
    pub fn new(
        config: Config,
        policies: PolicySet,
        catalog: Catalog,
        parts: ResolverParts,
    ) -> std::io::Result<Self> {
        let ResolverParts { clock, ids, learned, call_key } = parts;
        let measures = Measures {
            tokens: TokenCounter::load(),
            learned,
            // Without a store digests are made for nobody.
            digest_key: DigestKey::new(&call_key.unwrap_or_default()),
            // A call that is not made reveals nothing.
            placeholders: Arc::new(Placeholders::none(clock.clone(), ids.clone())),
        };
        let deps = UpstreamDeps::new(clock.clone(), ids, Arc::new(|text: &str| text.to_owned()))?;
        let upstreams = UpstreamSet::start([], deps);
        let evaluator = Evaluator {
            preparation: Preparation::new(Arc::new(measures), clock),
            large: upstreams.offload(),
        };
        let in_force = InForce::new(Arc::new(config), Arc::new(policies), Arc::new(catalog), upstreams);
        Ok(Self { evaluator, in_force: Arc::new(in_force), usage: None, loops: None })
    }

    /// Under another bundle from now on.
    pub fn set_policies(&mut self, policies: PolicySet) {
        self.in_force = self.in_force.with_policies(Arc::new(policies));
    }

    /// The bundle.
    pub fn policies(&self) -> &PolicySet {
        &self.in_force.policies
    }

    /// What upstreams are known to list.
    pub fn catalog(&self) -> &Catalog {
        &self.in_force.catalog
    }

    /// What would be decided of a call, and why. `changes`: what other arguments would change, too.
    pub fn explain(&self, question: &Question, changes: bool) -> Result<Explanation, ExplainError> {
        if !self.policies().authority.agents.contains_key(&question.agent) {
            return Err(no_agent(self.policies(), &question.agent));
        }
        Ok(told::explain(self.ground(), question, changes))
    }

    /// What is to be asked of a store about loops, for [`Self::loops`]; none where it matters not.
    pub fn loop_query(&self, question: &Question, now: Timestamp) -> Option<LoopQuery> {
        loop_query(self.ground(), question, now)
    }

    fn ground(&self) -> Ground<'_> {
        Ground {
            evaluator: &self.evaluator,
            in_force: &self.in_force,
            usage: self.usage.as_ref().map(|(at, usage)| (*at, &**usage)),
            loops: self.loops.as_deref(),
        }
    }
}

impl Gateway {
    /// What would be decided of a call now, or under the bundle of a snapshot, and why. Nothing is recorded, counted or sent.
    pub async fn explain(
        &self,
        question: Question,
        snapshot: Option<SnapshotId>,
    ) -> Result<Explanation, ExplainError> {
        let mut in_force = self.in_force();
        if let Some(snapshot) = snapshot.filter(|wanted| *wanted != in_force.policies.snapshot) {
            let kept = kept_bundle(&**self.store(), &snapshot).await?;
            let mut set = kept.ok_or(ExplainError::NoBundle(snapshot))?;
            set.data = set.data.with_key(self.0.hash_key);
            in_force = in_force.with_policies(Arc::new(set));
        }
        if !in_force.policies.authority.agents.contains_key(&question.agent) {
            return Err(no_agent(&in_force.policies, &question.agent));
        }
        let now = self.clock().now();
        let usage = self.store().budget_usage(now).await?;
        let evaluator = self.0.evaluator.clone();
        // It looks through the bundle and tries many calls: one after the other, and no connection's thread waits for it.
        let queue = AgentId::from(QUEUE);
        let busy = |Busy| ExplainError::Busy;
        let (first, asked, of) = (evaluator.clone(), question.clone(), in_force.clone());
        let query = move || {
            let ground = Ground { evaluator: &first, in_force: &of, usage: None, loops: None };
            loop_query(ground, &asked, now)
        };
        let loops = match self.0.large.run(&queue, query).await.map_err(busy)? {
            Some(query) => self.store().loops(query).await?,
            None => None,
        };
        let work = move || {
            let usage = Some((now, &*usage));
            let ground =
                Ground { evaluator: &evaluator, in_force: &in_force, usage, loops: loops.as_deref() };
            told::explain(ground, &question, true)
        };
        self.0.large.run(&queue, work).await.map_err(busy)
    }
}
