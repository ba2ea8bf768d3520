//! `tollgate budget …`: what the budgets stand at, in the store that all processes count in.

use super::{
    args::BudgetCommand,
    failure::CliError,
    screen::{Screen, or_dash},
    setup::Setup,
};
use crate::front::admin::view;
use serde_json::Value;

/// Runs one of them.
pub(super) async fn budget(setup: Setup, command: BudgetCommand) -> Result<(), CliError> {
    let BudgetCommand::Status(flag) = command;
    let store = setup.store()?;
    let usage = store.budget_usage(setup.now()).await;
    store.close().await;
    let budgets = view::budgets(&setup.loaded.policies, &usage?);
    let mut screen = Screen::new();
    if flag.json {
        return screen.json(&view::listing("budgets", budgets));
    }
    let rows: Vec<Vec<String>> = budgets.iter().flat_map(rows).collect();
    let header = ["budget", "per", "counter", "window", "calls", "tokens", "usd", "above"];
    screen.table(&header, &rows, "no budgets: policies/budgets.yaml sets them")
}

fn rows(budget: &Value) -> Vec<Vec<String>> {
    let word = |member: &str| or_dash(budget.get(member).and_then(Value::as_str));
    let used = |counter: Option<&Value>, member: &str, cap: &str| {
        let used =
            counter.and_then(|counter| counter.get(member)).map_or_else(|| "0".to_owned(), Value::to_string);
        match budget.get(cap) {
            Some(Value::Null) | None => used,
            Some(cap) => format!("{used} of {cap}"),
        }
    };
    let row = |counter: Option<&Value>| {
        vec![
            word("id"),
            word("scope"),
            or_dash(counter.and_then(|counter| counter.get("key")).and_then(Value::as_str)),
            word("window"),
            used(counter, "calls", "max_calls"),
            used(counter, "tokens", "max_tokens"),
            used(counter, "cost_usd", "max_cost_usd"),
            word("on_exceed"),
        ]
    };
    match budget.get("counters").and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) | None => vec![row(None)],
        Some(counters) => counters.iter().map(|counter| row(Some(counter))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counters_stand_beside_their_caps() {
        let budget = json!({
            "id": "daily", "scope": "agent", "window": "day", "on_exceed": "deny",
            "max_calls": 10, "max_tokens": null, "max_cost_usd": 2.5,
            "counters": [{"key": "planner-01", "calls": 3, "tokens": 120, "cost_usd": 0.25}],
        });
        let expect = ["daily", "agent", "planner-01", "day", "3 of 10", "120", "0.25 of 2.5", "deny"];
        assert_eq!(rows(&budget), [expect.map(str::to_owned).to_vec()]);
        let untouched = json!({"id": "x", "max_calls": 1, "counters": []});
        assert_eq!(rows(&untouched).first().and_then(|row| row.get(4)).map(String::as_str), Some("0 of 1"));
    }
}
