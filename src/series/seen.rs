//! What one record says to a chart, read from the text of its body. Arguments, facts and traces are passed over.

use super::cell::{Cell, Durations};
use crate::model::{BorrowedText, EventDecision, EventType, MicroUsd, Outcome, without_query};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What one record says to a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen<'b> {
    /// In minutes since 1970.
    pub minute: i64,
    /// Of agent, tool, upstream, workflow and decision, in the order of [`super::Key::names`].
    pub names: [Option<Cow<'b, str>>; 5],
    /// What it adds.
    pub cell: Cell,
    /// The counters of budgets that it counts on, or that a person set back.
    pub counters: Vec<Counted>,
}

/// What a record says of one counter of a budget.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// See [`counter_name`].
    pub counter: String,
    /// Calls as `ended`, tokens and money.
    pub cell: Cell,
    /// A person set the counter back by so much.
    pub is_reset: bool,
}

/// Bytes of a name that are kept.
const LONGEST: usize = 200;

/// A name as rows have it.
pub(super) fn kept(name: &str) -> &str {
    name.get(..name.floor_char_boundary(LONGEST)).unwrap_or_default()
}

/// How rows name the counter of a budget.
pub fn counter_name(budget: &str, key: &str) -> String {
    format!("{budget}\u{1f}{key}")
}

#[derive(Deserialize)]
struct Body<'b> {
    #[serde(borrow)]
    event_type: BorrowedText<'b>,
    timestamp: Timestamp,
    #[serde(borrow)]
    agent_id: Option<BorrowedText<'b>>,
    #[serde(borrow)]
    tool: Option<BorrowedText<'b>>,
    #[serde(borrow)]
    upstream: Option<BorrowedText<'b>>,
    #[serde(borrow)]
    workflow_id: Option<BorrowedText<'b>>,
    #[serde(borrow)]
    decision: Option<BorrowedText<'b>>,
    outcome: Option<Outcome>,
    duration_ms: Option<u64>,
    cost_usd: Option<MicroUsd>,
    cost_estimate_usd: Option<MicroUsd>,
    #[serde(borrow)]
    action: Option<BorrowedText<'b>>,
    #[serde(borrow)]
    detail: Option<&'b RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Detail {
    count: Option<u64>,
    argument_tokens: Option<u64>,
    result_tokens: Option<u64>,
    budgets: Vec<(String, Option<String>)>,
}

/// What a record of [`RESET`] says.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ResetDetail {
    budget: String,
    counters: Vec<ResetCounter>,
}

#[derive(Deserialize)]
struct ResetCounter {
    key: String,
    before: Usage,
    after: Usage,
}

#[derive(Deserialize)]
struct Usage {
    calls: u64,
    tokens: u64,
    cost_usd: MicroUsd,
}

/// The action of a record that a person set a budget back.
const RESET: &str = "budget_reset";

/// A record of refusals that were counted together says so first; the detail of others is the largest part of most records.
const COUNTED: &str = "{\"count\":";

impl<'b> Seen<'b> {
    /// Of a stored body. `None`: it says nothing to a chart, or is no event.
    pub fn read(body: &'b str) -> Option<Self> {
        let body: Body<'b> = serde_json::from_str(body).ok()?;
        let detail = |wanted: bool| -> Detail {
            let text = body.detail.map(RawValue::get).filter(|_| wanted);
            text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
        };
        let mut counters = Vec::new();
        let cell = match EventType::parse(&body.event_type.0)? {
            EventType::AdminAction if body.action.as_ref().is_some_and(|action| &*action.0 == RESET) => {
                counters = resets(body.detail?.get())?;
                Cell::default()
            }
            EventType::AgentDecision => {
                let counted = body.detail.is_some_and(|detail| detail.get().starts_with(COUNTED));
                Cell { decided: detail(counted).count.unwrap_or(1), ..Cell::default() }
            }
            EventType::AgentSideEffect => {
                let detail = detail(true);
                let tokens = [detail.argument_tokens, detail.result_tokens];
                let counts = Cell {
                    ended: 1,
                    cost: body.cost_usd.or(body.cost_estimate_usd).unwrap_or_default(),
                    tokens: tokens.into_iter().flatten().fold(0, u64::saturating_add),
                    ..Cell::default()
                };
                let on = |(budget, key): (String, Option<String>)| Counted {
                    counter: counter_name(&budget, key.as_deref().unwrap_or_default()),
                    cell: counts.clone(),
                    is_reset: false,
                };
                counters = detail.budgets.into_iter().map(on).collect();
                Cell {
                    failed: u64::from(body.outcome != Some(Outcome::Succeeded)),
                    durations: body.duration_ms.map(Durations::of).unwrap_or_default(),
                    ..counts
                }
            }
            EventType::ApprovalRequested => Cell { asked: 1, ..Cell::default() },
            EventType::ApprovalDecided => {
                // One answer of several is not the end.
                let word = body.decision.as_ref().and_then(|word| EventDecision::parse(&word.0))?;
                let ends = matches!(
                    word,
                    EventDecision::Approved | EventDecision::Rejected | EventDecision::Expired
                );
                ends.then_some(Cell { answered: 1, ..Cell::default() })?
            }
            EventType::ApprovalExpired | EventType::ApprovalCancelled => {
                Cell { answered: 1, ..Cell::default() }
            }
            _ => return None,
        };
        // What was asked at a URI is an argument.
        let tool = body.tool.map(|tool| match tool.0.contains('?') {
            true => Cow::Owned(without_query(&tool.0)),
            false => tool.0,
        });
        let names = [body.agent_id, tool.map(BorrowedText), body.upstream, body.workflow_id, body.decision];
        Some(Self {
            minute: body.timestamp.as_second().div_euclid(60),
            names: names.map(|name| name.map(|text| text.0)),
            cell,
            counters,
        })
    }
}

/// The counters that a person set back. What open calls hold stays counted.
fn resets(detail: &str) -> Option<Vec<Counted>> {
    let ResetDetail { budget, counters } = serde_json::from_str(detail).ok()?;
    let back = |one: ResetCounter| Counted {
        counter: counter_name(&budget, &one.key),
        cell: Cell {
            ended: one.before.calls.saturating_sub(one.after.calls),
            tokens: one.before.tokens.saturating_sub(one.after.tokens),
            cost: one.before.cost_usd.minus(one.after.cost_usd),
            ..Cell::default()
        },
        is_reset: true,
    };
    Some(counters.into_iter().map(back).collect())
}
