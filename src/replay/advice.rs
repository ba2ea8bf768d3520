//! What to do next with the policies, from recorded traffic, in the order in which it helps most: writes, throttles for what
//! costs most, data and rates, alerts; and gates that a month has shown to be needless.

use super::traffic::{MONTH, Spending, Traffic};
use crate::model::{MicroUsd, PolicyId, RuleId, WorkflowId, counted};
use jiff::Timestamp;
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _};

/// Workflows that get a throttle.
const THROTTLED: usize = 3;
/// Tools of one file.
const MOST_TOOLS: usize = 50;
/// Calls let through on which advice about a tool is worth the reading.
const FEW: u64 = 1;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// Traffic from then on was looked at.
    pub since: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// Calls of it.
    pub calls: u64,
    /// What to do, in order.
    pub steps: Vec<AdviceStep>,
    /// The workflows that cost most, dearest first, each with a throttle that lets its usual traffic through.
    pub workflows: Vec<CostlyWorkflow>,
    /// What asks people, and whether it is still needed.
    pub gates: Vec<GateAdvice>,
    /// Policy files, ready for `policy simulate` beside those of the bundle.
    pub files: Vec<ProposedFile>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdviceStep {
    /// Its place.
    pub step: u8,
    /// What it is about.
    pub title: &'static str,
    /// There is nothing to do.
    pub done: bool,
    /// What the record shows.
    pub found: String,
    /// What to do.
    pub advice: String,
}

/// A workflow that costs much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CostlyWorkflow {
    /// Which.
    pub workflow: WorkflowId,
    /// Its calls.
    pub calls: u64,
    /// What they cost.
    pub cost_usd: MicroUsd,
    /// What an agent reserves in it in a busy minute: more than this in one of twenty.
    pub busy_minute_usd: MicroUsd,
    /// The throttle that is proposed, per agent and minute.
    pub max_cost_per_minute_usd: MicroUsd,
    /// Recorded minutes that it would have cut.
    pub minutes_above: u64,
}

/// What asks people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GateAdvice {
    /// The policy.
    pub policy_id: PolicyId,
    /// Its rule.
    pub rule_id: Option<RuleId>,
    /// How often it asked.
    pub asks: u64,
    /// How often people approved.
    pub approved: u64,
    /// How often they rejected.
    pub rejected: u64,
    /// How often nobody answered.
    pub expired: u64,
    /// It may go.
    pub remove: bool,
    /// Why, or why not yet.
    pub why: String,
}

/// A policy file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProposedFile {
    /// Its name.
    pub name: &'static str,
    /// What stands in it.
    pub text: String,
}

/// What to do next.
pub fn advise(traffic: &Traffic) -> Advice {
    let workflows = costly(&traffic.workflows);
    let (writes, writes_file) = writes(traffic);
    let (throttles, throttles_file) = throttles(&workflows);
    Advice {
        since: traffic.since,
        until: traffic.now,
        calls: traffic.calls,
        steps: vec![writes, throttles, data_and_rates(traffic), alerts(traffic)],
        workflows,
        gates: gates(traffic),
        files: writes_file.into_iter().chain(throttles_file).collect(),
    }
}

/// What may change something is asked about first.
fn writes(traffic: &Traffic) -> (AdviceStep, Option<ProposedFile>) {
    let open = |(_, used): &(&std::sync::Arc<str>, &super::traffic::Use)| used.writes && used.unasked >= FEW;
    let mut tools: Vec<_> = traffic.tools.iter().filter(open).collect();
    tools.sort_by(|a, b| b.1.unasked.cmp(&a.1.unasked).then_with(|| a.0.cmp(b.0)));
    let calls: u64 = tools.iter().map(|(_, used)| used.unasked).sum();
    let asked = traffic.tools.values().filter(|used| used.writes && used.asked > 0).count();
    let title = "Ask a person before writes";
    if tools.is_empty() {
        let found = format!(
            "no call of a tool that may change something went through without a person; {asked} such tools are asked about"
        );
        let advice = "nothing: writes are under control".to_owned();
        return (AdviceStep { step: 1, title, done: true, found, advice }, None);
    }
    let most = tools.first().map(|(name, used)| format!(", most of them `{name}` ({})", used.unasked));
    let found = format!(
        "{} of {} that may change something went through without a person{}",
        counted(calls, "call"),
        counted(tools.len() as u64, "tool"),
        most.unwrap_or_default()
    );
    let advice = "put the file advice-writes.yaml beside your policies: it runs in shadow, `policy simulate` says whom it \
                  would ask, and without `mode: shadow` it asks"
        .to_owned();
    let mut text = String::from(
        "# Proposed by `tollgate report advice`: a person is asked before these tools, which may change something.\n\
         # It runs in shadow. Take `mode: shadow` away once you have seen whom it would ask.\n\
         name: advice-writes\n\
         description: Writes need a person until they have shown that they do not\n\
         mode: shadow\n\
         on:\n",
    );
    let named = tools.iter().filter(|(name, _)| !name.contains('*')).take(MOST_TOOLS);
    for (name, used) in named {
        let agents: Vec<&str> = used.agents.iter().take(5).map(|agent| agent.as_str()).collect();
        // A comment is one line, whatever the names hold.
        let agents: String = agents.join(", ").chars().filter(|c| !c.is_control()).collect();
        writeln!(text, "  - tool: {} # {}, by {agents}", quoted(name), counted(used.unasked, "call")).ok();
    }
    text.push_str("rules:\n  - id: ask\n    decision: REQUIRE_APPROVAL\n");
    let file = ProposedFile { name: "advice-writes.yaml", text };
    (AdviceStep { step: 1, title, done: false, found, advice }, Some(file))
}

/// A text as YAML takes it in any place: JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The workflows that cost most, each with a throttle that lets its usual traffic through.
pub(super) fn costly(workflows: &BTreeMap<WorkflowId, Spending>) -> Vec<CostlyWorkflow> {
    let mut dear: Vec<(&WorkflowId, &Spending)> =
        workflows.iter().filter(|(_, spending)| spending.cost > 0).collect();
    dear.sort_by(|a, b| b.1.cost.cmp(&a.1.cost).then_with(|| a.0.cmp(b.0)));
    dear.truncate(THROTTLED);
    dear.into_iter()
        .map(|(workflow, spending)| {
            let busy = spending.busy();
            let at = (busy.len() * 95 / 100).min(busy.len().saturating_sub(1));
            let usual = busy.get(at).copied().unwrap_or(0);
            // Room above the usual, and never less than one call takes: such a call would never go through.
            let cap = (usual.saturating_mul(5) / 4).max(spending.dearest).max(1);
            let above = busy.iter().filter(|spent| **spent > cap).count();
            CostlyWorkflow {
                workflow: workflow.clone(),
                calls: spending.calls,
                cost_usd: MicroUsd(spending.cost),
                busy_minute_usd: MicroUsd(usual),
                max_cost_per_minute_usd: MicroUsd(cap),
                minutes_above: above as u64,
            }
        })
        .collect()
}

/// A throttle for each of the workflows that cost most.
fn throttles(workflows: &[CostlyWorkflow]) -> (AdviceStep, Option<ProposedFile>) {
    let title = "Throttle the workflows that cost most";
    if workflows.is_empty() {
        let found = "no workflow has cost anything".to_owned();
        let advice = "nothing: there is no spend to throttle".to_owned();
        return (AdviceStep { step: 2, title, done: true, found, advice }, None);
    }
    let each: Vec<String> = workflows
        .iter()
        .map(|one| format!("`{}` {} USD in {}", one.workflow, one.cost_usd, counted(one.calls, "call")))
        .collect();
    let step = AdviceStep {
        step: 2,
        title,
        done: false,
        found: each.join(", "),
        advice:
            "test the file advice-throttles.yaml with `policy simulate`, then put it beside your policies"
                .to_owned(),
    };
    (step, Some(throttle_file(workflows, "advice")))
}

/// The throttles as a policy file, named after the report that proposes it.
pub(super) fn throttle_file(workflows: &[CostlyWorkflow], report: &'static str) -> ProposedFile {
    let mut text = format!(
        "# Proposed by `tollgate report {report}`: a throttle for each of the workflows that cost most, a quarter above what an\n\
         # agent spends in it in a busy minute. `tollgate policy simulate` says which recorded calls it would have held back.\n\
         version: \"1\"\npolicies:\n"
    );
    for one in workflows {
        let id = quoted(&format!("{report}-throttle-{}", one.workflow));
        let why =
            quoted(&format!("{} spends at most {} USD in a busy minute", one.workflow, one.busy_minute_usd));
        write!(
            text,
            "  - id: {id}\n    description: {why}\n    on: [{{ workflow: {} }}]\n    conditions: {{ max_cost_per_minute_usd: {} }}\n    \
             actions: {{ on_violation: throttle }}\n",
            quoted(one.workflow.as_str()),
            one.max_cost_per_minute_usd
        )
        .ok();
    }
    let name = if report == "spend" { "spend-throttles.yaml" } else { "advice-throttles.yaml" };
    ProposedFile { name, text }
}

fn data_and_rates(traffic: &Traffic) -> AdviceStep {
    let flows: u64 = traffic.flows.values().sum();
    let free: Vec<&str> = traffic
        .agents
        .keys()
        .filter(|agent| !traffic.limited.contains(*agent))
        .map(|agent| agent.as_str())
        .collect();
    let mut found = Vec::new();
    let mut advice = Vec::new();
    if flows > 0 {
        let most = traffic.flows.iter().max_by_key(|(_, calls)| **calls).map_or("", |(tool, _)| tool);
        found.push(format!(
            "{} took confidential data to tools that reach outside, most of them to `{most}`",
            counted(flows, "call")
        ));
        advice.push("add a rule on `data.level` for these tools, or mask what goes there in data.yaml");
    }
    if !free.is_empty() {
        let named: Vec<String> = free.iter().take(5).map(|agent| format!("`{agent}`")).collect();
        let more = if free.len() > named.len() { " and others" } else { "" };
        found.push(format!("no limit on the minute counts the calls of {}{more}", named.join(", ")));
        advice.push("give them a rulebook policy with max_calls_per_minute");
    }
    let done = found.is_empty();
    if done {
        found.push(
            "no confidential data went outside unasked, and each agent has a limit on its minute".to_owned(),
        );
        advice.push("nothing");
    }
    let title = "Classify data and limit rates";
    AdviceStep { step: 3, title, done, found: found.join("; "), advice: advice.join("; ") }
}

/// What is usual, so that an alert tells what is not.
fn alerts(traffic: &Traffic) -> AdviceStep {
    let title = "Tune alerts to what is usual";
    let mut shares: Vec<u64> =
        traffic.days.values().map(|(calls, denied)| denied * 100 / (*calls).max(1)).collect();
    shares.sort_unstable();
    let days = shares.len();
    let middle = shares.get(days / 2).copied().unwrap_or(0);
    let most = shares.last().copied().unwrap_or(0);
    if days < 7 {
        let found = format!("the record has traffic of {}", counted(days as u64, "day"));
        let advice = "let it run for a week before thresholds are set: there is no usual yet".to_owned();
        return AdviceStep { step: 4, title, done: false, found, advice };
    }
    let found = format!("{middle} % of the calls of a day are denied, {most} % at most");
    let advice =
        format!("an alert on the share of denies is worth reading above {} %", most + (most / 4).max(2));
    AdviceStep { step: 4, title, done: false, found, advice }
}

fn gates(traffic: &Traffic) -> Vec<GateAdvice> {
    let month = traffic.now.checked_sub(MONTH).unwrap_or(Timestamp::MIN);
    let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
    let judged = traffic.gates.iter().map(|((policy_id, rule_id), answers)| {
        let (remove, why) = match (answers.first, answers.last_refusal) {
            (_, Some(at)) if at > month => (false, format!("it was not approved on {}: keep it", day(at))),
            (Some(first), _) if first > month => {
                (false, format!("it asks since {} only: look again after a month", day(first)))
            }
            (Some(_), _) if answers.approved_lately > 0 => (
                true,
                format!(
                    "a month of asks without a reject, {} of them approved: try it in shadow, or give grants",
                    answers.approved_lately
                ),
            ),
            (_, _) => (false, "nobody was asked in the last month: it costs nobody anything".to_owned()),
        };
        GateAdvice {
            policy_id: policy_id.clone(),
            rule_id: rule_id.clone(),
            asks: answers.asks,
            approved: answers.approved,
            rejected: answers.rejected,
            expired: answers.expired,
            remove,
            why,
        }
    });
    judged.collect()
}
