//! `GET series` and `GET matrix`: what charts draw. Both answer from rows that stand beside the record, however long it is.

use super::{AdminPort, State, error::ApiError, params, person::Caller};
use crate::{
    gateway::OWN_TOOLS,
    model::{ApprovalStatus, MicroUsd, without_query},
    series::{
        Answer, Asked, By, Catalog, DrawnGroup, DrawnSeries, Durations, Matrix, MatrixAsk, Measure, Values,
        minute_of,
    },
    store::{ApprovalFilter, ApprovalRecord, Figures},
};
use axum::{
    Json,
    extract::{RawQuery, State as Given},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

type Reply = Result<Json<Value>, ApiError>;

/// Approvals that wait, as far as they are counted.
const MOST_WAITING: usize = 1_000;

/// `GET series`
pub(super) async fn series(Given(port): State, _: Caller, RawQuery(query): RawQuery) -> Reply {
    let mut ask = params::series(query.as_deref(), port.now())?;
    if ask.by == By::Tool {
        ask.catalog = catalog(&*port);
    }
    if ask.measure == Measure::Pending {
        ask.waiting = waiting(&*port, ask.by).await?;
    }
    let Figures { answer, missing } = port.store().figures(Asked::Series(ask)).await?;
    match answer {
        Answer::Series(series) => Ok(Json(series_form(&series, missing))),
        Answer::Matrix(_) | Answer::Burn(_) => Err(ApiError::Unavailable),
    }
}

/// What can be called, and what could be: agents may name anything.
fn catalog(port: &dyn AdminPort) -> Catalog {
    let known = port.catalog();
    let held = known.held.tools.values().map(|(tool, _)| tool);
    let tools = known.tools.values().chain(known.away.values()).chain(held);
    let names = tools.flat_map(|tool| [&*tool.exposed, &*tool.full]);
    let items = [&known.resources, &known.templates, &known.prompts];
    let names = names.chain(items.into_iter().flat_map(|of| of.keys().map(|name| &**name)));
    Catalog::of(names.chain(OWN_TOOLS))
}

/// `GET matrix`
pub(super) async fn matrix(Given(port): State, _: Caller, RawQuery(query): RawQuery) -> Reply {
    let (since, until) = params::span(query.as_deref(), port.now(), "1d")?;
    let end = minute_of(until).saturating_add(1);
    let ask = MatrixAsk { first: minute_of(since), end, catalog: catalog(&*port) };
    let minutes = (ask.first, ask.end);
    let Figures { answer, missing } = port.store().figures(Asked::Matrix(ask)).await?;
    match answer {
        Answer::Matrix(matrix) => Ok(Json(matrix_form(&matrix, minutes, missing))),
        Answer::Series(_) | Answer::Burn(_) => Err(ApiError::Unavailable),
    }
}

/// Approvals that wait now, by name.
async fn waiting(port: &dyn AdminPort, by: By) -> Result<Vec<(String, u64)>, ApiError> {
    port.approvals().expire_all_due().await?;
    let filter = ApprovalFilter {
        status: vec![ApprovalStatus::Pending],
        limit: MOST_WAITING,
        ..ApprovalFilter::default()
    };
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for record in port.approvals().list(filter).await? {
        *counts.entry(name_of(&record, by)).or_default() += 1;
    }
    Ok(counts.into_iter().collect())
}

fn name_of(record: &ApprovalRecord, by: By) -> String {
    match by {
        By::Agent => record.binding.agent.to_string(),
        By::Tool => without_query(&record.binding.tool),
        By::Workflow => record.workflow_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        By::None | By::Upstream | By::Decision => String::new(),
    }
}

fn time(minute: i64) -> Option<Timestamp> {
    Timestamp::from_second(minute.saturating_mul(60)).ok()
}

/// A name in an answer; null where there is none.
fn name_form(name: &str) -> Value {
    if name.is_empty() { Value::Null } else { name.into() }
}

fn series_form(series: &DrawnSeries, missing: usize) -> Value {
    let ask = &series.ask;
    let step = ask.step.minutes;
    let at: Vec<i64> = (0..ask.points).map(|point| (ask.first + point * step).saturating_mul(60)).collect();
    let groups: Vec<Value> = series.groups.iter().map(|group| group_form(group, ask.measure)).collect();
    let span = ask.span();
    json!({
        "name": ask.measure.as_str(),
        "by": ask.by.as_str(),
        "unit": ask.measure.unit(),
        "since": time(span.first),
        "until": time(span.end),
        "step": ask.step.word,
        "step_seconds": step * 60,
        "at": at,
        "groups": groups,
        "truncated": series.groups.iter().any(|group| group.is_rest),
        "partial": missing > 0,
    })
}

fn group_form(group: &DrawnGroup, measure: Measure) -> Value {
    let mut form = json!({"name": name_form(&group.name), "rest": group.is_rest});
    let Some(members) = form.as_object_mut() else { return form };
    match &group.values {
        Values::Numbers(all) if measure == Measure::SpendUsd => {
            let total = all.iter().fold(MicroUsd::ZERO, |sum, value| sum.plus(MicroUsd(*value)));
            members.insert("total".to_owned(), json!(total));
            members.insert("values".to_owned(), all.iter().map(|value| json!(MicroUsd(*value))).collect());
        }
        Values::Numbers(all) => {
            // Of what waits, what waits now.
            let total = match measure {
                Measure::Pending => all.last().copied().unwrap_or_default(),
                _ => all.iter().fold(0_i64, |sum, value| sum.saturating_add(*value)),
            };
            members.insert("total".to_owned(), total.into());
            members.insert("values".to_owned(), json!(all));
        }
        Values::Durations(all) => {
            let whole = all.iter().fold(Durations::default(), |mut sum, one| {
                sum.add(one);
                sum
            });
            for (name, percent) in [("p50", 50), ("p95", 95), ("p99", 99)] {
                let values: Vec<Option<u64>> = all.iter().map(|one| one.quantile(percent)).collect();
                members.insert(name.to_owned(), json!({"total": whole.quantile(percent), "values": values}));
            }
        }
    }
    form
}

fn matrix_form(matrix: &Matrix, (first, end): (i64, i64), missing: usize) -> Value {
    let cells: Vec<Value> = matrix
        .cells
        .iter()
        .map(|((agent, tool), cell)| {
            json!({
                "agent": name_form(agent),
                "tool": name_form(tool),
                "decisions": cell.decisions,
                "ended": cell.ended,
                "failed": cell.failed,
                "cost_usd": cell.cost,
            })
        })
        .collect();
    let names = |all: &[String]| all.iter().map(|name| name_form(name)).collect::<Vec<_>>();
    json!({
        "since": time(first),
        "until": time(end),
        "agents": names(&matrix.agents),
        "tools": names(&matrix.tools),
        "cells": cells,
        "truncated": matrix.truncated,
        "partial": missing > 0,
    })
}
