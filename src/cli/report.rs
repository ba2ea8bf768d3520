//! `tollgate report …`: what the record says as a whole.

use super::{
    args::{AdviceArgs, DigestArgs, DigestFormat, ReportCommand},
    failure::CliError,
    figures,
    screen::{Screen, progress, time},
    setup::{Setup, Sight},
    spend, wiring,
};
use crate::{
    clock::{Clock as _, System},
    model::counted,
    replay::Advice,
    store::Store,
};
use std::{path::Path, sync::Arc};

/// Runs one of them.
pub(super) async fn report(
    path: &Path,
    store: Arc<dyn Store>,
    system: Arc<System>,
    command: ReportCommand,
) -> Result<(), CliError> {
    let done = match command {
        ReportCommand::Advice(args) => advice(&*store, &system, args).await,
        ReportCommand::Scorecard(args) => figures::scorecard(&*store, &system, args).await,
        ReportCommand::Drift(args) => figures::drift(&*store, &system, args).await,
        ReportCommand::Maturity(args) => figures::maturity(path, &*store, &system, args).await,
        ReportCommand::Spend(args) => spend::spend(path, &*store, &system, args).await,
        ReportCommand::Digest(args) => digest(path, &*store, &system, args).await,
        // It reads no record.
        ReportCommand::Compliance(_) => Ok(()),
    };
    store.close().await;
    done
}

async fn digest(path: &Path, store: &dyn Store, system: &System, args: DigestArgs) -> Result<(), CliError> {
    let setup = Setup::load(path)?;
    let now = system.now();
    let (since, until) = (args.since.at(now), args.until.map_or(now, |until| until.at(now)));
    if since >= until {
        return Err(CliError::Told("`--until` must be later than `--since`".to_owned()));
    }
    let bar = progress("records");
    let files = (&setup.loaded.config, &setup.loaded.policies);
    let made = wiring::digest(store, (since, until), files, &mut |seen| bar.set_position(seen)).await;
    bar.finish_and_clear();
    let digest = match setup.sight() {
        // Counts are for every role.
        _ if !setup.reads_records() => made?.without_records(),
        Sight::Whole => made?,
        Sight::WithoutValues => made?.without_values(),
    };
    let mut screen = Screen::new();
    match args.format {
        _ if args.json.json => screen.json(&digest),
        DigestFormat::Json => screen.json(&digest),
        DigestFormat::Markdown => screen.raw(&digest.markdown()),
        DigestFormat::Html => screen.raw(&digest.html()),
    }
}

async fn advice(store: &dyn Store, system: &System, args: AdviceArgs) -> Result<(), CliError> {
    let now = system.now();
    let bar = progress("records");
    let advised = wiring::advice(store, args.since.at(now), now, &mut |seen| bar.set_position(seen)).await;
    bar.finish_and_clear();
    let advice = advised?;
    let mut screen = Screen::new();
    if args.json.json { screen.json(&advice) } else { show(&mut screen, &advice) }
}

fn show(screen: &mut Screen, advice: &Advice) -> Result<(), CliError> {
    screen.line(&format!(
        "{} from {} to {}",
        counted(advice.calls, "call"),
        time(advice.since),
        time(advice.until)
    ))?;
    for step in &advice.steps {
        let mark = if step.done { "done" } else { "to do" };
        screen.line(&format!(
            "\n{}. {} ({mark})\n   {}\n   {}",
            step.step, step.title, step.found, step.advice
        ))?;
    }
    if !advice.workflows.is_empty() {
        screen.line("\nworkflows that cost most")?;
        spend::workflows(screen, &advice.workflows)?;
    }
    if !advice.gates.is_empty() {
        screen.line("\ngates that ask people")?;
        let rows: Vec<Vec<String>> = advice
            .gates
            .iter()
            .map(|gate| {
                let rule = gate.rule_id.as_ref().map_or(String::new(), |rule| format!("/{rule}"));
                vec![
                    format!("{}{rule}", gate.policy_id),
                    gate.asks.to_string(),
                    gate.approved.to_string(),
                    gate.rejected.to_string(),
                    gate.expired.to_string(),
                    if gate.remove { "may go" } else { "keep" }.to_owned(),
                    gate.why.clone(),
                ]
            })
            .collect();
        let head = ["gate", "asks", "approved", "rejected", "expired", "advice", "why"];
        screen.table(&head, &rows, "")?;
    }
    for file in &advice.files {
        screen.line(&format!("\n--- {}\n{}", file.name, file.text.trim_end()))?;
    }
    Ok(())
}
