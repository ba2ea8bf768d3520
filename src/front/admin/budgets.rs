//! Budgets, and policies with a limit per minute: where each of their counters stands, and how a person sets one back.

use super::{
    State, body,
    error::ApiError,
    paging::{self, Page},
    params::{self, Segment},
    person::Caller,
    policies::Bytes,
};
use crate::{
    admission::{MINUTE, window},
    cost::{BudgetWindow, BudgetZone},
    model::{MicroUsd, PersonId, PolicyId},
    policy::{PolicyBody, PolicySet, Violation, names::did_you_mean, read::short},
    redaction::display_text,
    series::{Answer, Asked, BurnAsk},
    store::{BudgetReset, BudgetUsage, Counted, Figures, ResetBy, ResetCounter},
};
use axum::{
    Json,
    extract::{RawQuery, State as Given},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeSet;

type Reply = Result<Json<Value>, ApiError>;

/// The longest reason for a reset, in characters.
const LONGEST_REASON: usize = 1_000;

/// A budget, or a policy's limit per minute.
struct Rule<'s> {
    id: &'s PolicyId,
    kind: &'static str,
    scope: &'static str,
    window: BudgetWindow,
    zone: Option<&'s BudgetZone>,
    max_calls: Option<u64>,
    max_tokens: Option<u64>,
    max_cost: Option<MicroUsd>,
    on_exceed: &'static str,
    alert_at: &'s [u8],
    strict: bool,
}

impl Rule<'_> {
    /// The kind under which the store counts.
    fn counted_as(&self) -> String {
        match self.kind {
            "policy" => window::RATE.to_owned(),
            _ => window::kind(self.window, self.zone).into_owned(),
        }
    }

    fn start(&self, now: Timestamp) -> Option<Timestamp> {
        let start = window::start_of(self.window, self.zone, now.as_microsecond())?;
        Timestamp::from_microsecond(start).ok()
    }
}

fn rules(set: &PolicySet) -> Vec<Rule<'_>> {
    let budgets = set.budgets.iter().map(|rule| Rule {
        id: &rule.id,
        kind: "budget",
        scope: rule.scope.as_str(),
        window: rule.window,
        zone: rule.zone.as_ref(),
        max_calls: rule.max_calls,
        max_tokens: rule.max_tokens,
        max_cost: rule.max_cost,
        on_exceed: rule.on_exceed.as_str(),
        alert_at: &rule.alert_at,
        strict: rule.strict,
    });
    let policies = set.policies.iter().filter_map(|policy| {
        let PolicyBody::Rulebook(book) = &policy.body else { return None };
        (book.max_calls_per_minute.is_some() || book.max_cost_per_minute.is_some()).then_some(Rule {
            id: &policy.id,
            kind: "policy",
            scope: "agent",
            window: BudgetWindow::Minute,
            zone: None,
            max_calls: book.max_calls_per_minute,
            max_tokens: None,
            max_cost: book.max_cost_per_minute,
            on_exceed: match book.on_violation {
                Violation::Throttle => "throttle",
                Violation::Deny => "deny",
            },
            alert_at: &[],
            strict: false,
        })
    });
    budgets.chain(policies).collect()
}

/// A row for each counter of every budget and of every policy with a limit per minute; one without a key for those that have
/// counted nothing.
pub fn rows(set: &PolicySet, usage: &[BudgetUsage], now: Timestamp) -> Vec<Value> {
    let mut all = Vec::new();
    for rule in rules(set) {
        let start = rule.start(now);
        let kind = rule.counted_as();
        let of_this =
            usage.iter().filter(|at| at.id == *rule.id && at.kind == kind && at.window_start == start);
        let mut counters: Vec<Value> = of_this.map(|at| row(&rule, Some(at), now)).collect();
        if counters.is_empty() {
            counters.push(row(&rule, None, now));
        }
        all.append(&mut counters);
    }
    all
}

fn row(rule: &Rule<'_>, at: Option<&BudgetUsage>, now: Timestamp) -> Value {
    let held = at.map_or_else(Counted::default, |at| at.reserved);
    let whole = at.map_or_else(Counted::default, |at| Counted {
        calls: at.calls,
        tokens: at.tokens,
        cost_usd: at.cost_usd,
    });
    let used = at.map_or_else(Counted::default, settled);
    let left = |most: Option<u64>, counted: u64| most.map(|most| most.saturating_sub(counted));
    let frees_at = at.and_then(|at| match at.oldest {
        Some(oldest) => Some(oldest.as_microsecond().saturating_add(MINUTE)),
        None => window::end_of(rule.window, rule.zone, now.as_microsecond()),
    });
    let key = at.map(|at| at.key.as_str()).or_else(|| (rule.scope == "global").then_some("*"));
    json!({
        "id": rule.id,
        "kind": rule.kind,
        "scope": rule.scope,
        "key": key,
        "window": window::word(rule.window),
        "zone": rule.zone.map(|zone| &zone.name),
        "window_start": rule.start(now),
        "used": used,
        "reserved": held,
        "limit": {
            "calls": rule.max_calls,
            "tokens": rule.max_tokens,
            "cost_usd": rule.max_cost,
        },
        "left": {
            "calls": left(rule.max_calls, whole.calls),
            "tokens": left(rule.max_tokens, whole.tokens),
            "cost_usd": rule.max_cost.map(|most| most.minus(whole.cost_usd).max(MicroUsd::ZERO)),
        },
        "frees_at": frees_at.and_then(|at| Timestamp::from_microsecond(at).ok()),
        "on_exceed": rule.on_exceed,
        "alert_at": rule.alert_at,
        "strict": rule.strict,
    })
}

/// What is used: what open calls hold is not among it.
fn settled(at: &BudgetUsage) -> Counted {
    Counted {
        calls: at.calls.saturating_sub(at.reserved.calls),
        tokens: at.tokens.saturating_sub(at.reserved.tokens),
        cost_usd: at.cost_usd.minus(at.reserved.cost_usd),
    }
}

/// Why a budget is not set back.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// There is none of that id.
    #[error("there is no budget `{id}`{hint}")]
    Unknown {
        /// What was asked for.
        id: String,
        /// What may have been meant.
        hint: String,
    },
    /// It keeps no counter of that key.
    #[error("budget `{id}` keeps no counter of `{key}`{known}")]
    UnknownKey {
        /// Of which budget.
        id: String,
        /// What was asked for.
        key: String,
        /// Which it keeps, and what may have been meant.
        known: String,
    },
    /// Nothing says why.
    #[error("a reset needs a reason: it stands in the record")]
    NoReason,
    /// The reason is too long.
    #[error("the reason is longer than {LONGEST_REASON} characters")]
    LongReason,
}

/// Keys that are told where another was named.
const MOST_TOLD: usize = 20;

/// Whether a key is that of a counter: one that counts, or one that the bundle may count under.
fn known_key(set: &PolicySet, rule: &Rule<'_>, usage: &[BudgetUsage], key: &str) -> Result<(), ResetError> {
    let authority = &set.authority;
    let agents = || authority.agents.values();
    let of_bundle: BTreeSet<&str> = match rule.scope {
        "agent" => authority.agents.keys().map(|id| id.as_str()).collect(),
        "user" => authority.people.keys().map(|id| id.as_str()).collect(),
        "workflow" => authority.workflows.keys().map(|id| id.as_str()).collect(),
        "capability" => authority.capabilities.keys().map(|id| id.as_str()).collect(),
        "role" => agents().map(|agent| &*agent.role).collect(),
        "tenant" => agents().map(|agent| &*agent.tenant).collect(),
        "global" => BTreeSet::from(["*"]),
        _ => BTreeSet::new(),
    };
    let of_bundle: BTreeSet<&str> = of_bundle.into_iter().filter(|key| !key.is_empty()).collect();
    let counting: BTreeSet<&str> =
        usage.iter().filter(|at| at.id == *rule.id).map(|at| at.key.as_str()).collect();
    if counting.contains(key) || of_bundle.contains(key) {
        return Ok(());
    }
    let hint = did_you_mean(key, counting.union(&of_bundle).copied());
    // Those that have counted something are what can be set back.
    let told = if counting.is_empty() { &of_bundle } else { &counting };
    let mut named: Vec<String> = told.iter().take(MOST_TOLD).map(|key| format!("`{}`", short(key))).collect();
    if let Some(more) = told.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
        named.push(format!("{more} more"));
    }
    let known = match named.is_empty() {
        true => "; nothing has been counted in this window".to_owned(),
        false => format!("{hint}; it keeps one of each {}: {}", rule.scope, named.join(", ")),
    };
    Err(ResetError::UnknownKey { id: rule.id.to_string(), key: short(key), known })
}

/// The order to set a budget back: all of its counters, or that of a key. `usage` is where they stand.
pub fn reset_of(
    set: &PolicySet,
    usage: &[BudgetUsage],
    (id, key): (&str, Option<String>),
    (person, channel): (PersonId, &'static str),
    reason: &str,
    now: Timestamp,
) -> Result<BudgetReset, ResetError> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(ResetError::NoReason);
    }
    if reason.chars().count() > LONGEST_REASON {
        return Err(ResetError::LongReason);
    }
    let known = rules(set);
    let Some(rule) = known.iter().find(|rule| rule.id.as_str() == id) else {
        let hint = did_you_mean(id, known.iter().map(|rule| rule.id.as_str()));
        return Err(ResetError::Unknown { id: short(id), hint });
    };
    if let Some(key) = &key {
        known_key(set, rule, usage, key)?;
    }
    let reason = set.data.said(reason, LONGEST_REASON);
    Ok(BudgetReset {
        id: rule.id.clone(),
        key,
        kind: rule.counted_as(),
        window_start: rule.start(now),
        by: ResetBy { person, channel, reason },
        now,
    })
}

/// What was set back, as people read it.
pub fn reset_form(id: &str, counters: &[ResetCounter]) -> Value {
    json!({"id": id, "reset": counters})
}

/// `GET budgets`
pub(super) async fn budgets(Given(port): State, _: Caller, RawQuery(query): RawQuery) -> Reply {
    let page = Page::read(query.as_deref())?;
    let now = port.now();
    let usage = port.store().budget_usage(now).await?;
    let all = rows(&port.in_force().policies, &usage, now);
    let (mut place, mut of) = (0, None);
    let cursor = |row: Value| {
        let text = |member: &str| row.get(member).and_then(Value::as_str).map(str::to_owned);
        let rule = Some((text("kind"), text("id")));
        if of != rule {
            (place, of) = (place + 1, rule);
        }
        (paging::at(place, &text("key").unwrap_or_default()), row)
    };
    Ok(Json(page.listing("budgets", all.into_iter().map(cursor))))
}

/// How long ago the chart of a budget without windows begins.
const EVER: SignedDuration = SignedDuration::from_hours(30 * 24);

/// `GET budgets/{id}/burn`: how a counter came to where it stands in its window.
pub(super) async fn burn(
    Given(port): State,
    _: Caller,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
) -> Reply {
    let key = params::key(query.as_deref())?;
    let (in_force, now) = (port.in_force(), port.now());
    let known = rules(&in_force.policies);
    let Some(rule) = known.iter().find(|rule| rule.id.as_str() == id && rule.kind == "budget") else {
        return Err(ApiError::NotFound(format!("there is no budget `{}`", display_text(&short(&id), 64))));
    };
    if rule.window == BudgetWindow::Minute {
        let text = "the window of this budget is the last minute: there is nothing to draw of it";
        return Err(ApiError::BadRequest(text.to_owned()));
    }
    let start = rule.start(now);
    let usage = port.store().budget_usage(now).await?;
    let kind = rule.counted_as();
    let counter =
        |at: &&BudgetUsage| at.id == *rule.id && at.kind == kind && at.window_start == start && at.key == key;
    let end = window::end_of(rule.window, rule.zone, now.as_microsecond());
    let end = end.and_then(|end| Timestamp::from_microsecond(end).ok());
    let since = start.or_else(|| now.checked_sub(EVER).ok()).unwrap_or(now);
    let counted = usage.iter().find(counter).map_or_else(Counted::default, settled);
    let used = (counted.calls, counted.tokens, counted.cost_usd);
    let ask = BurnAsk::new((&id, &key), (since, now, end.unwrap_or(now)), used);
    let Figures { answer, missing } = port.store().figures(Asked::Burn(ask)).await?;
    let Answer::Burn(burn) = answer else { return Err(ApiError::Unavailable) };
    let step = burn.ask.step;
    let at = (0..burn.ask.points).map(|point| (burn.ask.first + point * step.minutes).saturating_mul(60));
    let money: Vec<MicroUsd> = burn.cost.iter().map(|cost| MicroUsd(*cost)).collect();
    Ok(Json(json!({
        "id": rule.id,
        "key": key,
        "window": window::word(rule.window),
        "window_start": start,
        "window_end": end,
        "now": now,
        "step_seconds": step.minutes * 60,
        "at": at.collect::<Vec<_>>(),
        "used": {"calls": burn.calls, "tokens": burn.tokens, "cost_usd": money},
        "limit": {"calls": rule.max_calls, "tokens": rule.max_tokens, "cost_usd": rule.max_cost},
        "partial": missing > 0,
    })))
}

/// `POST budgets/{id}/reset`
pub(super) async fn reset(
    Given(port): State,
    caller: Caller,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
    bytes: Bytes,
) -> Reply {
    params::none(query.as_deref())?;
    let members = body::members(&bytes.0).map_err(ApiError::BadRequest)?;
    if let Some(name) = members.keys().find(|name| !["key", "reason"].contains(&name.as_str())) {
        let shown = short(name);
        return Err(ApiError::BadRequest(format!(
            "`{}` is not a member of this: expected key, reason",
            display_text(&shown, 64)
        )));
    }
    let text = |name: &str| match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(ApiError::BadRequest(format!("`{name}` must be a string"))),
    };
    let (key, reason) = (text("key")?, text("reason")?.unwrap_or_default());
    let person = caller.person(&*port)?;
    let (in_force, now) = (port.in_force(), port.now());
    let usage = port.store().budget_usage(now).await?;
    let wanted = reset_of(&in_force.policies, &usage, (&id, key), (person.clone(), "api"), &reason, now);
    let wanted = wanted.map_err(|error| match error {
        ResetError::Unknown { .. } | ResetError::UnknownKey { .. } => ApiError::NotFound(error.to_string()),
        ResetError::NoReason | ResetError::LongReason => ApiError::BadRequest(error.to_string()),
    })?;
    let counters = port.store().reset_budget(wanted).await?;
    tracing::info!(budget = %id, person = %person, counters = counters.len(), "budget.reset");
    Ok(Json(reset_form(&id, &counters)))
}
