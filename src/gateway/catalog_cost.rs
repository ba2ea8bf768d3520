//! What the list of tools costs each agent's model to read, and the cap on it (`max_catalog_tokens`).

use super::{InForce, tool_search};
use crate::{
    catalog::{Catalog, View},
    config::CatalogMode,
    cost::TokenCounter,
    model::{AgentId, MicroUsd, text},
    policy::{Agent, PolicySet},
};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// What one agent's list of tools costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CatalogCost {
    /// Whose.
    pub agent: AgentId,
    /// In whose tokens.
    pub model: Option<Arc<str>>,
    /// `full`, or `search` where the list has the two tools that find and call the others.
    pub mode: &'static str,
    /// Tools in scope.
    pub tools: usize,
    /// Tokens of the list as the agent gets it.
    pub tokens: u64,
    /// Tokens of the list of all tools in scope.
    pub full_tokens: u64,
    /// What the model's provider takes for reading the list once.
    pub cost_usd: MicroUsd,
    /// The cap.
    pub max_tokens: Option<u64>,
    /// Tools that the cap leaves out of the list; they can be called all the same.
    pub left_out: Vec<Arc<str>>,
}

/// The cap on an agent's list: its own, else the bundle's.
fn cap(policies: &PolicySet, agent: &Agent) -> Option<u64> {
    agent.max_catalog_tokens.or(policies.bundle.max_catalog_tokens)
}

/// Counts in the tokens of an agent's model.
fn counting<'c>(
    tokens: &'c TokenCounter,
    policies: &PolicySet,
    agent: &Agent,
) -> impl Fn(&Value) -> u64 + use<'c> {
    let tokenizer = policies.prices.tokenizer(agent.model.as_deref());
    move |tool: &Value| tokens.count_for(tokenizer, &text::of(tool))
}

/// The list of tools that an agent gets where the catalog is full.
pub(super) fn listed(
    in_force: &InForce,
    tokens: &TokenCounter,
    agent: &AgentId,
    view: &View,
) -> Arc<Vec<Value>> {
    let Some(agent) = in_force.policies.authority.agents.get(agent) else { return view.tool_list.clone() };
    let Some(most) = cap(&in_force.policies, agent) else { return view.tool_list.clone() };
    let is_first = !view.is_capped();
    let capped = view.capped(most, &counting(tokens, &in_force.policies, agent));
    if is_first && !capped.left_out.is_empty() {
        tracing::warn!(
            agent = %agent.id,
            left_out = capped.left_out.len(),
            tokens = capped.tokens,
            full_tokens = capped.full_tokens,
            max_catalog_tokens = most,
            first = capped.left_out.first().map_or("", |name| &**name),
            "catalog.capped: tools are left out of the agent's list; `tollgate agents show` names them"
        );
    }
    capped.list.clone()
}

fn cost_of(
    policies: &PolicySet,
    mode: CatalogMode,
    tokens: &TokenCounter,
    agent: &Agent,
    view: &View,
) -> CatalogCost {
    let count = counting(tokens, policies, agent);
    let full_tokens = view.tool_tokens(&count).iter().fold(0u64, |sum, tokens| sum.saturating_add(*tokens));
    let max_tokens = cap(policies, agent).filter(|_| mode == CatalogMode::Full);
    let (mode, tokens, left_out) = match (mode, max_tokens) {
        (CatalogMode::Search, _) => {
            ("search", tool_search::listed(view).iter().map(&count).sum(), Vec::new())
        }
        (CatalogMode::Full, None) => ("full", full_tokens, Vec::new()),
        (CatalogMode::Full, Some(most)) => {
            let capped = view.capped(most, &count);
            ("full", capped.tokens, capped.left_out.clone())
        }
    };
    CatalogCost {
        agent: agent.id.clone(),
        model: agent.model.clone(),
        mode,
        tools: view.tool_list.len(),
        tokens,
        full_tokens,
        cost_usd: policies.prices.settle(agent.model.as_deref(), 0, tokens, MicroUsd::ZERO),
        max_tokens,
        left_out,
    }
}

/// What each agent's list costs now.
pub(super) fn of_agents(in_force: &InForce, tokens: &TokenCounter) -> Vec<CatalogCost> {
    let agents = in_force.policies.authority.agents.values();
    let mode = in_force.config.gateway.catalog;
    let of = |agent: &Agent| {
        let view = in_force.whole_view(&agent.id)?;
        Some(cost_of(&in_force.policies, mode, tokens, agent, &view))
    };
    agents.filter_map(of).collect()
}

/// What lists cost under a bundle, of a catalog that no gateway made: of one agent, or of all.
pub fn catalog_costs(
    mode: CatalogMode,
    policies: &PolicySet,
    catalog: &Catalog,
    only: Option<&AgentId>,
) -> Vec<CatalogCost> {
    let tokens = TokenCounter::load();
    let agents = policies.authority.agents.values().filter(|agent| only.is_none_or(|only| *only == agent.id));
    let of = |agent: &Agent| {
        let view = View::new(catalog, &policies.authority, agent);
        cost_of(policies, mode, &tokens, agent, &view)
    };
    agents.map(of).collect()
}
