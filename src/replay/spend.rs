//! What was spent: by agent, user, workflow, tool, model and day, with how true the estimates were, what searching for tools
//! saved, and a throttle for each of the workflows that cost most.

use super::{
    advice::{self, CostlyWorkflow, ProposedFile},
    traffic::Spending,
};
use crate::model::{
    AgentId, EventDecision, EventDraft, EventType, MicroUsd, Outcome, SnapshotId, WorkflowId, path_of,
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The action of a search for tools.
pub const FIND_ACTION: &str = "tollgate:find_tools";
/// Names of one kind that are told apart; the rest is one.
const MOST_NAMES: usize = 10_000;
/// Names of one kind that are told.
const MOST_TOLD: usize = 1_000;
/// Under which the rest is told.
const OTHERS: &str = "(others)";
/// Tools whose estimates are looked at one by one.
const MOST_TOOLS: usize = 1_000;
/// A task of an agent is over after a pause of so long.
const PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// Tasks that are told one by one, the newest.
const TOLD_TASKS: usize = 20;

/// What one record says of money and tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum SpendSeen {
    /// A call that was made.
    Call(Box<CallSpend>),
    /// A search for tools.
    Search(SearchSpend),
}

/// What a call took.
#[derive(Clone, Debug, PartialEq)]
pub struct CallSpend {
    agent: Option<AgentId>,
    user: Option<Arc<str>>,
    workflow: Option<WorkflowId>,
    tool: Option<Arc<str>>,
    model: Option<Arc<str>>,
    cost: MicroUsd,
    estimate: MicroUsd,
    tokens: u64,
    failed: bool,
    /// What its result was expected to take, and what it took.
    result: Option<(u64, u64)>,
}

/// What a search for tools took.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchSpend {
    agent: AgentId,
    /// Tokens of the whole list, of the short one, and of the search with its answer.
    full: u64,
    listed: u64,
    taken: u64,
}

/// What a record says of spend, if anything. `model` gives the model of an agent under a snapshot.
pub fn spent(
    event: &EventDraft,
    model: &dyn Fn(&SnapshotId, &AgentId) -> Option<Arc<str>>,
) -> Option<SpendSeen> {
    let detail = event.detail.as_ref();
    let number = |name: &str| detail.and_then(|detail| detail.get(name)).and_then(Value::as_u64);
    match event.event_type {
        EventType::AgentSideEffect => {
            let under = event.policy_snapshot.as_ref().zip(event.agent_id.as_ref());
            let expected = number("expected_tokens").zip(number("result_tokens"));
            let taken =
                number("argument_tokens").unwrap_or(0).saturating_add(number("result_tokens").unwrap_or(0));
            Some(SpendSeen::Call(Box::new(CallSpend {
                agent: event.agent_id.clone(),
                user: event.user.as_ref().map(|user| user.as_str().into()),
                workflow: event.workflow_id.clone(),
                tool: event.tool.as_deref().map(|tool| path_of(tool).into()),
                model: under.and_then(|(snapshot, agent)| model(snapshot, agent)),
                cost: event.cost_usd.or(event.cost_estimate_usd)?,
                estimate: event.cost_estimate_usd.unwrap_or(MicroUsd::ZERO),
                tokens: taken,
                failed: event.outcome.is_some_and(|outcome| outcome != Outcome::Succeeded),
                result: expected,
            })))
        }
        EventType::AgentDecision
            if event.action.as_deref() == Some(FIND_ACTION)
                && event.decision == Some(EventDecision::Allow) =>
        {
            let tokens = detail?.get("tokens")?;
            let tokens = |name: &str| tokens.get(name).and_then(Value::as_u64);
            Some(SpendSeen::Search(SearchSpend {
                agent: event.agent_id.clone()?,
                full: tokens("full")?,
                listed: tokens("listed")?,
                taken: tokens("search").unwrap_or(0),
            }))
        }
        _ => None,
    }
}

/// A line of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SpendLine {
    /// Calls that were made.
    pub calls: u64,
    /// Those of them that failed, or of which nobody knows.
    pub failed: u64,
    /// Tokens of arguments and results.
    pub tokens: u64,
    /// What they cost.
    pub cost_usd: MicroUsd,
    /// What they were estimated to cost.
    pub estimate_usd: MicroUsd,
}

impl SpendLine {
    fn add(&mut self, call: &CallSpend) {
        self.calls += 1;
        self.failed += u64::from(call.failed);
        self.tokens = self.tokens.saturating_add(call.tokens);
        self.cost_usd = self.cost_usd.plus(call.cost);
        self.estimate_usd = self.estimate_usd.plus(call.estimate);
    }

    fn join(&mut self, other: &Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.cost_usd = self.cost_usd.plus(other.cost_usd);
        self.estimate_usd = self.estimate_usd.plus(other.estimate_usd);
    }
}

/// One name with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What kind of name: `agent`, `user`, `workflow`, `tool`, `model` or `day`.
    pub kind: &'static str,
    /// Null where a call has none.
    pub name: Option<Arc<str>>,
    /// Its part.
    pub line: SpendLine,
}

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let SpendLine { calls, failed, tokens, cost_usd, estimate_usd } = &self.line;
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry(self.kind, &self.name)?;
        map.serialize_entry("calls", calls)?;
        map.serialize_entry("failed", failed)?;
        map.serialize_entry("tokens", tokens)?;
        map.serialize_entry("cost_usd", cost_usd)?;
        map.serialize_entry("estimate_usd", estimate_usd)?;
        map.end()
    }
}

/// How far estimates of results were off: shares of what they took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EstimateError {
    /// Whose; none: all tools together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<Arc<str>>,
    /// Results that could be compared.
    pub calls: u64,
    /// Half of the estimates were off by at most this.
    pub median: f64,
    /// Nine of ten.
    pub p90: f64,
}

/// What searching for tools saved an agent in one task: its searches and calls until a pause of ten minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SearchTask {
    /// Who.
    pub agent: AgentId,
    /// In which workflow, where one of its calls named one.
    pub workflow: Option<WorkflowId>,
    /// Its first search.
    pub from: Timestamp,
    /// Its last one.
    pub to: Timestamp,
    /// Calls that were made.
    pub calls: u64,
    /// Searches.
    pub searches: u64,
    /// What the whole list would have taken, in tokens.
    pub full_tokens: u64,
    /// What the short list and the searches with their answers took.
    pub search_tokens: u64,
    /// The difference; below zero where the whole list would have been cheaper.
    pub saved_tokens: i64,
}

/// What searching for tools saved in all finished tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SearchSavings {
    /// Finished tasks in which was searched.
    pub tasks: u64,
    /// Those in which it took less than the whole list.
    pub cheaper: u64,
    /// Those in which it took more.
    pub dearer: u64,
    /// Tokens, all together.
    pub saved_tokens: i64,
    /// The newest of them.
    pub newest: Vec<SearchTask>,
}

/// What was spent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpendReport {
    /// From then on.
    pub since: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// All of it.
    #[serde(flatten)]
    pub total: SpendLine,
    /// By agent, dearest first, as are all that follow.
    pub agent: Vec<Named>,
    /// By the person the agent acted for.
    pub user: Vec<Named>,
    /// By workflow.
    pub workflow: Vec<Named>,
    /// By tool.
    pub tool: Vec<Named>,
    /// By the agent's model.
    pub model: Vec<Named>,
    /// By day, in UTC, in order.
    pub day: Vec<Named>,
    /// There were more names than are told; they are together under `(others)`.
    pub truncated: bool,
    /// The three workflows that cost most, each with a throttle that lets its usual traffic through.
    pub throttles: Vec<CostlyWorkflow>,
    /// These throttles as a policy file; none where nothing was spent.
    pub proposal: Option<ProposedFile>,
    /// How far the estimates of results were off.
    pub estimates: Vec<EstimateError>,
    /// What `catalog = "search"` saved.
    pub search: SearchSavings,
}

impl SpendReport {
    /// The same for those who see counts and nobody's name: of people one line, beside the calls that are nobody's.
    #[must_use]
    pub fn without_people(mut self) -> Self {
        let (people, nobodys): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.user).into_iter().partition(|one| one.name.is_some());
        let all = people.into_iter().reduce(|mut all, one| {
            all.line.join(&one.line);
            all
        });
        self.user =
            all.map(|all| Named { name: Some(OTHERS.into()), ..all }).into_iter().chain(nobodys).collect();
        self
    }
}

/// How far some estimates were off, in hundredths.
#[derive(Clone, Debug)]
struct Errors {
    calls: u64,
    shares: Vec<u32>,
}

/// Beyond ten times what it took an error is as large as any.
const MOST_OFF: usize = 1_000;

impl Default for Errors {
    fn default() -> Self {
        Self { calls: 0, shares: vec![0; MOST_OFF + 1] }
    }
}

impl Errors {
    fn add(&mut self, (expected, took): (u64, u64)) {
        let off = u128::from(expected.abs_diff(took)) * 100 / u128::from(took.max(1));
        let place = usize::try_from(off).unwrap_or(MOST_OFF).min(MOST_OFF);
        if let Some(share) = self.shares.get_mut(place) {
            *share = share.saturating_add(1);
        }
        self.calls += 1;
    }

    /// The error that so many of a hundred do not pass, to one hundredth.
    fn at(&self, percent: u64) -> f64 {
        let mut left = (self.calls * percent).div_ceil(100);
        for (place, share) in (0u32..).zip(&self.shares) {
            left = left.saturating_sub(u64::from(*share));
            if left == 0 {
                return f64::from(place) / 100.0;
            }
        }
        f64::from(u32::try_from(MOST_OFF).unwrap_or(u32::MAX)) / 100.0
    }

    fn told(&self, tool: Option<Arc<str>>) -> EstimateError {
        EstimateError { tool, calls: self.calls, median: self.at(50), p90: self.at(90) }
    }
}

/// The lines of one kind.
#[derive(Debug, Default)]
struct Lines {
    by: HashMap<Option<Arc<str>>, SpendLine>,
    others: SpendLine,
}

impl Lines {
    fn add(&mut self, name: Option<Arc<str>>, call: &CallSpend) {
        if let Some(line) = self.by.get_mut(&name) {
            return line.add(call);
        }
        match self.by.len() < MOST_NAMES {
            true => self.by.entry(name).or_default().add(call),
            false => self.others.add(call),
        }
    }

    fn told(self, kind: &'static str, truncated: &mut bool) -> Vec<Named> {
        let Self { by, mut others } = self;
        let mut all: Vec<Named> = by.into_iter().map(|(name, line)| Named { kind, name, line }).collect();
        all.sort_by(|a, b| b.line.cost_usd.cmp(&a.line.cost_usd).then_with(|| a.name.cmp(&b.name)));
        for Named { line, .. } in all.split_off(all.len().min(MOST_TOLD)) {
            others.join(&line);
        }
        if others.calls > 0 {
            *truncated = true;
            all.push(Named { kind, name: Some(OTHERS.into()), line: others });
        }
        all
    }
}

/// Adds up what records say, in their order.
#[derive(Debug)]
pub struct Spend {
    since: Timestamp,
    until: Timestamp,
    total: SpendLine,
    kinds: [Lines; 6],
    workflows: BTreeMap<WorkflowId, Spending>,
    all: Errors,
    tools: HashMap<Arc<str>, Errors>,
    open: HashMap<AgentId, SearchTask>,
    savings: SearchSavings,
}

const KINDS: [&str; 6] = ["agent", "user", "workflow", "tool", "model", "day"];

impl Spend {
    /// Of nothing yet.
    pub fn new(since: Timestamp, until: Timestamp) -> Self {
        Self {
            since,
            until,
            total: SpendLine::default(),
            kinds: Default::default(),
            workflows: BTreeMap::new(),
            all: Errors::default(),
            tools: HashMap::new(),
            open: HashMap::new(),
            savings: SearchSavings::default(),
        }
    }

    /// Takes in what a record says.
    pub fn take(&mut self, at: Timestamp, seen: SpendSeen) {
        match seen {
            SpendSeen::Call(call) => self.call(at, &call),
            SpendSeen::Search(search) => self.search(at, search),
        }
    }

    fn call(&mut self, at: Timestamp, call: &CallSpend) {
        self.total.add(call);
        let day: Arc<str> = at.to_zoned(TimeZone::UTC).date().to_string().into();
        let names = [
            call.agent.as_ref().map(|agent| Arc::from(agent.as_str())),
            call.user.clone(),
            call.workflow.as_ref().map(|workflow| Arc::from(workflow.as_str())),
            call.tool.clone(),
            call.model.clone(),
            Some(day),
        ];
        for (lines, name) in self.kinds.iter_mut().zip(names) {
            lines.add(name, call);
        }
        if let (Some(workflow), Some(agent)) = (&call.workflow, &call.agent)
            && (self.workflows.contains_key(workflow) || self.workflows.len() < MOST_NAMES)
        {
            let spending = self.workflows.entry(workflow.clone()).or_default();
            let reserved = call.cost.max(call.estimate);
            spending.add(agent, at.as_second().div_euclid(60), call.cost.0.max(0), reserved.0.max(0));
        }
        if let Some(result) = call.result {
            self.all.add(result);
            if let Some(tool) = &call.tool
                && (self.tools.contains_key(tool) || self.tools.len() < MOST_TOOLS)
            {
                self.tools.entry(tool.clone()).or_default().add(result);
            }
        }
        let Some(agent) = &call.agent else { return };
        match self.open.get_mut(agent) {
            Some(task) if at.duration_since(task.to) <= PAUSE => {
                task.to = at;
                task.calls += 1;
                task.workflow = task.workflow.take().or_else(|| call.workflow.clone());
            }
            Some(_) => self.end(agent),
            None => {}
        }
    }

    fn search(&mut self, at: Timestamp, search: SearchSpend) {
        let SearchSpend { agent, full, listed, taken } = search;
        if self.open.get(&agent).is_some_and(|task| at.duration_since(task.to) > PAUSE) {
            self.end(&agent);
        }
        if self.open.len() >= MOST_NAMES && !self.open.contains_key(&agent) {
            self.close(at);
            if self.open.len() >= MOST_NAMES {
                return;
            }
        }
        let task = self.open.entry(agent.clone()).or_insert_with(|| SearchTask {
            agent,
            workflow: None,
            from: at,
            to: at,
            calls: 0,
            searches: 0,
            full_tokens: 0,
            search_tokens: listed,
            saved_tokens: 0,
        });
        task.to = at;
        task.searches += 1;
        task.full_tokens = task.full_tokens.max(full);
        task.search_tokens = task.search_tokens.saturating_add(taken);
    }

    fn end(&mut self, agent: &AgentId) {
        if let Some(task) = self.open.remove(agent) {
            self.savings.add(task);
        }
    }

    /// Ends the tasks that have paused by then.
    fn close(&mut self, now: Timestamp) {
        let over = |task: &SearchTask| now.duration_since(task.to) > PAUSE;
        let ended = self.open.extract_if(|_, task| over(task));
        let mut ended: Vec<SearchTask> = ended.map(|(_, task)| task).collect();
        ended.sort_by(|a, b| (a.to, &a.agent).cmp(&(b.to, &b.agent)));
        ended.into_iter().for_each(|task| self.savings.add(task));
    }

    /// All of it.
    pub fn report(mut self) -> SpendReport {
        self.close(self.until);
        let mut truncated = false;
        let mut told =
            KINDS.into_iter().zip(self.kinds).map(|(kind, lines)| lines.told(kind, &mut truncated));
        let mut next = || told.next().unwrap_or_default();
        let (agent, user, workflow, tool, model, mut day) = (next(), next(), next(), next(), next(), next());
        drop(told);
        day.sort_by(|a, b| a.name.cmp(&b.name));
        let throttles = advice::costly(&self.workflows);
        let proposal = (!throttles.is_empty()).then(|| advice::throttle_file(&throttles, "spend"));
        let mut tools: Vec<(Arc<str>, Errors)> = self.tools.into_iter().collect();
        tools.sort_by(|a, b| b.1.calls.cmp(&a.1.calls).then_with(|| a.0.cmp(&b.0)));
        let all = (self.all.calls > 0).then(|| self.all.told(None));
        let by_tool = tools.into_iter().map(|(tool, errors)| errors.told(Some(tool)));
        let mut savings = self.savings;
        savings.newest.reverse();
        SpendReport {
            since: self.since,
            until: self.until,
            total: self.total,
            agent,
            user,
            workflow,
            tool,
            model,
            day,
            truncated,
            throttles,
            proposal,
            estimates: all.into_iter().chain(by_tool).collect(),
            search: savings,
        }
    }
}

impl SearchSavings {
    fn add(&mut self, mut task: SearchTask) {
        let saved = i128::from(task.full_tokens) - i128::from(task.search_tokens);
        task.saved_tokens = i64::try_from(saved).unwrap_or(i64::MIN);
        self.tasks += 1;
        self.cheaper += u64::from(task.saved_tokens > 0);
        self.dearer += u64::from(task.saved_tokens < 0);
        self.saved_tokens = self.saved_tokens.saturating_add(task.saved_tokens);
        if self.newest.len() >= TOLD_TASKS {
            self.newest.remove(0);
        }
        self.newest.push(task);
    }
}

#[cfg(test)]
#[path = "spend_tests.rs"]
mod tests;
