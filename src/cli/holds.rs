//! `tollgate audit hold …`: on the store itself, so that it works whether or not a gateway runs.

use super::{
    args::{HoldArgs, HoldCommand},
    failure::CliError,
    screen::{Screen, note, time},
    setup::Setup,
};
use crate::{
    approval::{HoldError, Holds, ShownHold},
    clock::Clock as _,
    model::AgentId,
    redaction::display_text,
    store::{Held, Hold},
};
use serde_json::{Value, json};

impl From<HoldError> for CliError {
    fn from(error: HoldError) -> Self {
        match error {
            HoldError::Store(store) => store.into(),
            other => Self::Told(other.to_string()),
        }
    }
}

/// Runs one of them.
pub(super) async fn holds(setup: Setup, command: HoldCommand) -> Result<(), CliError> {
    // Holding is the local admin's too; releasing needs a key.
    let releaser = match &command {
        HoldCommand::List { .. } | HoldCommand::Add(_) => None,
        HoldCommand::Release { .. } => Some(setup.admin_person()?),
    };
    let store = setup.store()?;
    let holds = Holds::new(store.clone());
    let data = &setup.loaded.policies.data;
    let now = setup.system.now();
    let done = async {
        let mut screen = Screen::new();
        match command {
            HoldCommand::List { json } => list(&mut screen, &holds.list().await?, json.json),
            HoldCommand::Add(args) => {
                let by = (setup.person_given(), args.reason.as_str());
                let placed = holds.place(data, held(&args), by, now).await?;
                added(&mut screen, &placed, args.json.json)
            }
            HoldCommand::Release { id, reason, json } => {
                let Some(person) = releaser else { return Err(CliError::AdminNeeded) };
                let released = holds.release(data, &id, (&person, &reason), now).await?;
                if json.json {
                    return screen.json(&released.form());
                }
                screen.line(&format!("released: {}", words(&released)))
            }
        }
    };
    let done = done.await;
    store.close().await;
    done
}

fn held(args: &HoldArgs) -> Held {
    match (args.trace, &args.agent) {
        (Some(trace), _) => Held::Trace(trace),
        (None, agent) => Held::Agent(AgentId::from(agent.clone().unwrap_or_default())),
    }
}

fn words(hold: &Hold) -> String {
    display_text(&hold.held.words(), 600)
}

fn added(screen: &mut Screen, placed: &ShownHold, as_json: bool) -> Result<(), CliError> {
    if as_json {
        return screen.json(&placed.form());
    }
    let words = words(&placed.hold);
    match placed.first {
        Some((seq, at)) => screen.line(&format!(
            "held: {words}; retention removes nothing from record {seq} ({}) on ({})",
            time(at),
            placed.hold.id
        )),
        None => {
            note(&format!("there is no record of {words} now; those that come are held"));
            screen.line(&format!("held: {words} ({})", placed.hold.id))
        }
    }
}

fn list(screen: &mut Screen, found: &[ShownHold], as_json: bool) -> Result<(), CliError> {
    if as_json {
        let forms: Vec<Value> = found.iter().map(ShownHold::form).collect();
        return screen.json(&json!({"holds": forms}));
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|ShownHold { hold, first }| {
            vec![
                hold.id.clone(),
                words(hold),
                first.map_or("-".to_owned(), |(seq, at)| format!("{seq} ({})", time(at))),
                time(hold.since),
                hold.by.as_ref().map_or("the local admin", |by| by.as_str()).to_owned(),
                display_text(&hold.reason, 400),
            ]
        })
        .collect();
    let head = ["id", "held", "first record", "since", "by", "reason"];
    screen.table(&head, &rows, "no record is under a legal hold")
}
