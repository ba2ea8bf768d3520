//! `tollgate budget …`: what the budgets stand at, in the store that all processes count in, and how one is set back.

use super::{
    args::BudgetCommand,
    failure::CliError,
    screen::{Screen, or_dash},
    setup::Setup,
};
use crate::{
    front::admin::{
        budgets::{ResetError, reset_form, reset_of, rows},
        view,
    },
    model::counted,
    redaction::display_text,
    store::{Counted, Store},
};
use serde_json::Value;
use std::sync::Arc;

/// Runs one of them.
pub(super) async fn budget(setup: Setup, command: BudgetCommand) -> Result<(), CliError> {
    // A missing key is told before anything is opened.
    if let BudgetCommand::Reset { .. } = command {
        setup.admin_person()?;
    }
    let store = setup.store()?;
    let done = on_store(&setup, &store, command).await;
    store.close().await;
    done
}

async fn on_store(setup: &Setup, store: &Arc<dyn Store>, command: BudgetCommand) -> Result<(), CliError> {
    let (policies, now) = (&setup.loaded.policies, setup.now());
    let mut screen = Screen::new();
    match command {
        BudgetCommand::Status(flag) => {
            let usage = store.budget_usage(now).await?;
            let budgets = rows(policies, &usage, now);
            if flag.json {
                return screen.json(&view::listing("budgets", budgets));
            }
            let told: Vec<Vec<String>> = budgets.iter().map(told).collect();
            let header = [
                "budget",
                "per",
                "counter",
                "window",
                "calls",
                "tokens",
                "usd",
                "in flight",
                "frees",
                "above",
            ];
            screen.table(&header, &told, "no budgets: policies/budgets.yaml sets them")
        }
        BudgetCommand::Reset { id, key, reason, json } => {
            let person = setup.person()?.clone();
            let usage = store.budget_usage(now).await?;
            let wanted = reset_of(policies, &usage, (&id, key.clone()), (person, "cli"), &reason, now);
            let wanted = wanted.map_err(|error| match error {
                ResetError::Unknown { .. } => {
                    let hint = "`tollgate budget status` lists them".to_owned();
                    CliError::Told(format!("{error}; {hint}"))
                }
                ResetError::UnknownKey { .. } | ResetError::NoReason | ResetError::LongReason => {
                    CliError::Told(error.to_string())
                }
            })?;
            let counters = store.reset_budget(wanted).await?;
            if json.json {
                return screen.json(&reset_form(&id, &counters));
            }
            if counters.is_empty() {
                let of = key.map(|key| format!(" of `{}`", display_text(&key, 200))).unwrap_or_default();
                return screen.line(&format!(
                    "nothing to set back: budget `{id}` has counted nothing{of} in this window"
                ));
            }
            for counter in &counters {
                let (before, after) = (amounts(&counter.before), amounts(&counter.after));
                screen.line(&format!(
                    "set back: `{}` of budget `{id}` had counted {before}, and counts {after} (calls in flight) from now on",
                    display_text(&counter.key, 200)
                ))?;
            }
            Ok(())
        }
    }
}

fn amounts(amounts: &Counted) -> String {
    let Counted { calls, tokens, cost_usd } = amounts;
    format!("{}, {}, {cost_usd} USD", counted(*calls, "call"), counted(*tokens, "token"))
}

/// One row of the table.
fn told(budget: &Value) -> Vec<String> {
    let word = |member: &str| or_dash(budget.get(member).and_then(Value::as_str));
    let number =
        |part: &str, unit: &str| budget.get(part).and_then(|of| of.get(unit)).filter(|of| !of.is_null());
    let used = |unit: &str| {
        let used = number("used", unit).map_or_else(|| "0".to_owned(), Value::to_string);
        match number("limit", unit) {
            None => used,
            Some(limit) => format!("{used} of {limit}"),
        }
    };
    let held: Vec<String> = [("calls", "calls"), ("tokens", "tokens"), ("cost_usd", "USD")]
        .into_iter()
        .filter_map(|(unit, name)| Some((number("reserved", unit)?, name)))
        .filter(|(held, _)| held.as_f64() != Some(0.0))
        .map(|(held, name)| match (held.as_u64(), name) {
            (Some(1), "calls") => "1 call".to_owned(),
            (Some(1), "tokens") => "1 token".to_owned(),
            (_, name) => format!("{held} {name}"),
        })
        .collect();
    let window = match budget.get("zone").and_then(Value::as_str) {
        Some(zone) => format!("{} ({zone})", word("window")),
        None => word("window"),
    };
    vec![
        word("id"),
        word("scope"),
        display_text(&word("key"), 200),
        window,
        used("calls"),
        used("tokens"),
        used("cost_usd"),
        if held.is_empty() { "-".to_owned() } else { held.join(", ") },
        word("frees_at"),
        word("on_exceed"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counters_stand_beside_their_caps() {
        let budget = json!({
            "id": "daily", "scope": "agent", "key": "planner-01", "window": "day", "zone": "Europe/Berlin",
            "on_exceed": "deny", "frees_at": "2026-11-30T23:00:00Z",
            "used": {"calls": 3, "tokens": 120, "cost_usd": 0.25},
            "reserved": {"calls": 1, "tokens": 0, "cost_usd": 0.5},
            "limit": {"calls": 10, "tokens": null, "cost_usd": 2.5},
        });
        let expect = [
            "daily",
            "agent",
            "planner-01",
            "day (Europe/Berlin)",
            "3 of 10",
            "120",
            "0.25 of 2.5",
            "1 call, 0.5 USD",
            "2026-11-30T23:00:00Z",
            "deny",
        ];
        assert_eq!(told(&budget), expect.map(str::to_owned).to_vec());
        let untouched = json!({"id": "x", "limit": {"calls": 1}});
        assert_eq!(told(&untouched).get(4).map(String::as_str), Some("0 of 1"));
    }
}
