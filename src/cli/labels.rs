//! `tollgate labels …`: what data has reached whom, on the store itself.

use super::{
    args::LabelsCommand,
    failure::CliError,
    screen::{Screen, time},
    setup::Setup,
};
use crate::{
    approval::{ClearError, HeldLabels, clear_all_labels, held_labels},
    labels::Holder,
    store::Store,
};
use serde_json::{Value, json};

/// Runs one of them.
pub(super) async fn labels(setup: Setup, command: LabelsCommand) -> Result<(), CliError> {
    // A missing key is told before anything is opened.
    if let LabelsCommand::Clear { .. } = command {
        setup.admin_person()?;
    }
    let store = setup.store()?;
    let done = on_store(&setup, &*store, command).await;
    store.close().await;
    done
}

async fn on_store(setup: &Setup, store: &dyn Store, command: LabelsCommand) -> Result<(), CliError> {
    let now = setup.now();
    let mut screen = Screen::new();
    match command {
        LabelsCommand::List { workflow, agent, json } => {
            let wanted: Vec<Holder> =
                workflow.map(Holder::Workflow).into_iter().chain(agent.map(Holder::Agent)).collect();
            let held = held_labels(store, now).await?;
            let held: Vec<HeldLabels> =
                held.into_iter().filter(|one| wanted.is_empty() || wanted.contains(&one.holder)).collect();
            if json.json {
                let forms: Vec<Value> =
                    held.iter().flat_map(|one| one.forms(now)).map(|(_, form)| form).collect();
                return screen.json(&json!({"labels": forms}));
            }
            let rows: Vec<Vec<String>> = held.iter().flat_map(|one| rows(one, now)).collect();
            let header = ["of", "label", "since", "until", "first by trace"];
            screen.table(&header, &rows, "no labels: no data has reached a workflow or an agent")
        }
        LabelsCommand::Clear { workflow, agent, reason, json } => {
            let person = setup.person()?;
            let policies = &setup.loaded.policies;
            let holders =
                workflow.map(Holder::Workflow).into_iter().chain(agent.map(Holder::Agent)).collect();
            let window = setup.loaded.config.gateway.labels.window;
            let cleared = clear_all_labels(store, now, policies, person, (holders, &reason), window).await;
            let cleared = cleared.map_err(|error| match error {
                ClearError::Store(error) => CliError::from(error),
                other => CliError::Told(other.to_string()),
            })?;
            if json.json {
                let forms: Vec<Value> =
                    cleared.iter().flat_map(|one| one.forms(now)).map(|(_, form)| form).collect();
                return screen.json(&json!({"cleared": forms}));
            }
            for one in &cleared {
                let names: Vec<&str> = one.set.standing(now).map(|(label, _)| &**label).collect();
                let names = if names.is_empty() { "nothing stood".to_owned() } else { names.join(", ") };
                screen.line(&format!("cleared {}: {names}", one.holder))?;
            }
            Ok(())
        }
    }
}

fn rows(one: &HeldLabels, now: jiff::Timestamp) -> impl Iterator<Item = Vec<String>> {
    one.set.standing(now).map(|(label, mark)| {
        vec![
            one.holder.to_string(),
            label.to_string(),
            time(mark.since),
            time(mark.until),
            mark.trace.to_string(),
        ]
    })
}
