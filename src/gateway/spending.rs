//! What sampling may cost. The agent's model works for an upstream and the call pays: a prompt is put to the client only
//! where it and the longest answer fit what policies and budgets have left for this very call.

use super::{
    InForce,
    later::is_stopped,
    measures::Measures,
    server_requests::{Sampled, price_sampled},
};
use crate::{
    admission::window::word,
    clock::Clock,
    cost::{BudgetWindow, BudgetZone, Estimate},
    decision::Limits,
    model::{AgentId, MicroUsd, PolicyId},
    policy::Facts,
    store::{BudgetUsage, Store},
};
use parking_lot::Mutex;
use serde_json::Value;
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

/// The tokens of an answer to a prompt that states no `maxTokens`.
const UNSTATED: u64 = 4096;

/// Tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) tokens: u64,
    pub(super) cost: MicroUsd,
}

impl Amount {
    fn plus(self, other: Self) -> Self {
        Self { tokens: self.tokens.saturating_add(other.tokens), cost: self.cost.plus(other.cost) }
    }

    fn minus(self, other: Self) -> Self {
        Self { tokens: self.tokens.saturating_sub(other.tokens), cost: self.cost.minus(other.cost) }
    }
}

/// Which counter of the store: policy, key, window.
type Counter = (PolicyId, Arc<str>, &'static str);

/// A counter on which the call counts, and its cap.
#[derive(Clone, Debug)]
pub(super) struct Cap {
    counter: Counter,
    window: BudgetWindow,
    zone: Option<BudgetZone>,
    tokens: Option<u64>,
    cost: Option<MicroUsd>,
}

impl Cap {
    /// Those of a call that are about tokens or money.
    pub(super) fn of(limits: &Limits, agent: &AgentId) -> Vec<Self> {
        let budgets = limits.budgets.iter().filter(|b| b.max_tokens.is_some() || b.max_cost.is_some());
        let budgets = budgets.map(|budget| Self {
            counter: (budget.id.clone(), budget.key.clone(), word(budget.window)),
            window: budget.window,
            zone: budget.zone.clone(),
            tokens: budget.max_tokens,
            cost: budget.max_cost,
        });
        let rates = limits.rates.iter().filter(|rate| rate.max_cost.is_some()).map(|rate| Self {
            counter: (rate.policy_id.clone(), agent.as_str().into(), word(BudgetWindow::Minute)),
            window: BudgetWindow::Minute,
            zone: None,
            tokens: None,
            cost: rate.max_cost,
        });
        budgets.chain(rates).collect()
    }

    fn holds(&self, used: Amount) -> bool {
        self.tokens.is_none_or(|most| used.tokens <= most) && self.cost.is_none_or(|most| used.cost <= most)
    }
}

/// What the calls in flight have promised beyond their reservations, by counter: what one takes, another cannot.
pub(crate) struct Promised {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    measures: Arc<Measures>,
    amounts: Mutex<HashMap<Counter, Amount>>,
    /// One after the other looks at what is left and takes of it.
    turn: tokio::sync::Mutex<()>,
}

impl Promised {
    pub(super) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, measures: Arc<Measures>) -> Self {
        Self { store, clock, measures, amounts: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    fn add(&self, caps: &[Cap], amount: Amount) {
        let mut all = self.amounts.lock();
        for cap in caps {
            let promised = all.entry(cap.counter.clone()).or_default();
            *promised = promised.plus(amount);
        }
    }

    fn take(&self, caps: &[Cap], amount: Amount) {
        let mut all = self.amounts.lock();
        for cap in caps {
            if let Entry::Occupied(mut promised) = all.entry(cap.counter.clone()) {
                let left = promised.get().minus(amount);
                *promised.get_mut() = left;
                if left == Amount::default() {
                    promised.remove();
                }
            }
        }
    }

    fn of(&self, cap: &Cap) -> Amount {
        self.amounts.lock().get(&cap.counter).copied().unwrap_or_default()
    }
}

/// The sampling of one call: what it has spent, and what binds it.
pub(super) struct Spending {
    promised: Arc<Promised>,
    in_force: Arc<InForce>,
    /// What the call was decided on; none where its client cannot be asked.
    facts: Option<Arc<Facts>>,
    model: Option<Arc<str>>,
    estimate: Amount,
    max_cost: Option<MicroUsd>,
    caps: Vec<Cap>,
    spent: Mutex<Amount>,
}

impl Spending {
    pub(super) fn new(
        promised: &Arc<Promised>,
        in_force: &Arc<InForce>,
        facts: Option<Arc<Facts>>,
        model: Option<Arc<str>>,
        estimate: &Estimate,
        (max_cost, caps): (Option<MicroUsd>, Vec<Cap>),
    ) -> Arc<Self> {
        let (promised, in_force) = (promised.clone(), in_force.clone());
        let estimate = Amount { tokens: estimate.tokens(), cost: estimate.cost };
        let spent = Mutex::default();
        Arc::new(Self { promised, in_force, facts, model, estimate, max_cost, caps, spent })
    }

    /// Whether anything limits what the call may cost. A later request about it (a task) cannot be held to that.
    pub(super) fn is_bound(&self) -> bool {
        let most = Amount { tokens: u64::MAX, cost: MicroUsd(i64::MAX) };
        !self.caps.is_empty() || self.max_cost.is_some() || self.facts.is_none() || self.denies(most)
    }

    /// Whether the policies would stop the call, or ask about it, had it been estimated at so much more.
    fn denies(&self, more: Amount) -> bool {
        let Some(facts) = &self.facts else { return true };
        let policies = &self.in_force.policies;
        let mut dearer = Facts::clone(facts);
        let whole = Amount { tokens: facts.cost.tokens, cost: facts.cost.estimate }.plus(more);
        (dearer.cost.tokens, dearer.cost.estimate) = (whole.tokens, whole.cost);
        is_stopped(policies, facts, &dearer)
    }

    /// What a prompt and its answer cost.
    pub(super) fn price(&self, sampled: &Sampled) -> Amount {
        let model = self.model.as_deref();
        let (tokens, cost) = price_sampled(
            &self.promised.measures.tokens,
            &self.in_force,
            model,
            std::slice::from_ref(sampled),
        );
        Amount { tokens, cost }
    }

    /// Sets aside what a prompt and its longest answer may cost. The error says which limit has no room for it.
    pub(super) async fn set_aside(self: &Arc<Self>, params: &Value, prompt: &str) -> Result<Held, String> {
        let most = match params.get("maxTokens") {
            None => UNSTATED,
            Some(most) => most.as_u64().ok_or("its `maxTokens` is not a whole number")?,
        };
        let prices = &self.in_force.policies.prices;
        let model = self.model.as_deref();
        let prompt = self.promised.measures.tokens.count_for(prices.tokenizer(model), prompt);
        let cost = prices.settle(model, most, prompt, MicroUsd::ZERO);
        let _turn = match self.caps.is_empty() {
            true => None,
            false => Some(self.promised.turn.lock().await),
        };
        let held = Held::new(self.clone(), Amount { tokens: prompt.saturating_add(most), cost });
        let spent = *self.spent.lock();
        let whole = self.estimate.plus(spent).cost;
        if let Some(most) = self.max_cost.filter(|most| whole > *most) {
            return Err(format!("with it the call could cost ${whole}, and may cost ${most}"));
        }
        if self.denies(spent) {
            return Err(format!("policy would not have allowed a call that costs ${whole}"));
        }
        if self.caps.is_empty() {
            return Ok(held);
        }
        let now = self.promised.clock.now();
        let usage = self.promised.store.budget_usage(now).await.map_err(|error| error.refusal())?;
        for cap in &self.caps {
            let (id, key, _) = &cap.counter;
            let standing = BudgetUsage::of(&usage, (id, key), (cap.window, cap.zone.as_ref()), now);
            let used =
                standing.map_or_else(Amount::default, |at| Amount { tokens: at.tokens, cost: at.cost_usd });
            if !cap.holds(used.plus(self.promised.of(cap))) {
                return Err(format!("budget `{id}` has no room for it"));
            }
        }
        Ok(held)
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        // The settlement counts from here on.
        self.promised.take(&self.caps, *self.spent.get_mut());
    }
}

/// What is set aside for one prompt: given back when dropped.
pub(super) struct Held {
    spending: Arc<Spending>,
    amount: Amount,
}

impl Held {
    fn new(spending: Arc<Spending>, amount: Amount) -> Self {
        {
            let mut spent = spending.spent.lock();
            *spent = spent.plus(amount);
            spending.promised.add(&spending.caps, amount);
        }
        Self { spending, amount }
    }

    /// The prompt went out and so much came of it.
    pub(super) fn became(self, actual: &Sampled) {
        let actual = self.spending.price(actual);
        Self::new(self.spending.clone(), actual).stays();
    }

    /// The answer comes with a later call.
    pub(super) fn stays(mut self) {
        self.amount = Amount::default();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut spent = self.spending.spent.lock();
        *spent = spent.minus(self.amount);
        self.spending.promised.take(&self.spending.caps, self.amount);
    }
}
