//! `tollgate policy rollout …`: a bundle is tried beside the one in force.

use super::{
    super::{
        args::{RollbackArgs, RolloutCommand, RolloutStartArgs},
        failure::CliError,
        screen::{Screen, or_dash, time},
        setup::record_of_calls,
    },
    activate::Desk,
};
use crate::{
    activation::{self, Start, Status},
    clock::{Clock as _, IdSource as _},
    config::without_secrets,
    evidence::{Bounds, Rollout, RolloutState, Seen},
    model::counted,
};
use std::{path::Path, sync::Arc};

/// Runs one of them.
pub(super) async fn rollout(path: &Path, command: RolloutCommand) -> Result<(), CliError> {
    match command {
        RolloutCommand::Start(args) => start(path, args).await,
        RolloutCommand::Status(json) => {
            let (store, _, _) = record_of_calls(path)?;
            let status = activation::status(&*store).await;
            store.close().await;
            show(status?.as_ref(), json.json)
        }
        RolloutCommand::Advance(args) => go_on(path, &args, true).await,
        RolloutCommand::Abort(args) => go_on(path, &args, false).await,
    }
}

async fn start(path: &Path, args: RolloutStartArgs) -> Result<(), CliError> {
    let setup = Desk::load(path)?;
    let store = setup.store()?;
    let started = async {
        let desk = Desk::of(setup, &*store).await?;
        let target = desk.target(&*store, &args.what).await?;
        let system = Arc::clone(&desk.setup.system);
        let start = Start {
            id: system.uuid(),
            person: &desk.person,
            reason: &args.reason,
            candidate: &target.loaded.policies,
            servers: without_secrets(&target.loaded.config),
            signed: !target.loaded.config.verify.is_empty(),
            stages: args.stages,
            bounds: Bounds {
                max_deny_increase: args.max_deny_increase,
                max_errors: args.max_errors,
                min_calls: args.min_calls,
            },
        };
        activation::start(&*store, &desk.standing, desk.in_force(), start, system.now()).await?;
        Ok::<_, CliError>(activation::status(&*store).await?)
    };
    let started = started.await;
    store.close().await;
    show(started?.as_ref(), args.json.json)
}

async fn go_on(path: &Path, args: &RollbackArgs, advances: bool) -> Result<(), CliError> {
    let setup = Desk::load(path)?;
    let store = setup.store()?;
    let gone_on = async {
        let desk = Desk::of(setup, &*store).await?;
        let now = desk.setup.system.now();
        let said = (&desk.person, args.reason.as_str());
        let (standing, in_force) = (&desk.standing, desk.in_force());
        if advances {
            let trial = standing.trial.as_ref().ok_or(activation::OrderError::NoRollout)?;
            let candidate = desk.kept(&*store, &trial.rollout.candidate).await?;
            activation::advance(&*store, standing, in_force, &candidate.policies, said, now).await?;
        } else {
            activation::abort(&*store, standing, in_force, said, now).await?;
        }
        Ok::<_, CliError>(activation::status(&*store).await?)
    };
    let gone_on = gone_on.await;
    store.close().await;
    show(gone_on?.as_ref(), args.json.json)
}

fn show(status: Option<&Status>, json: bool) -> Result<(), CliError> {
    let mut screen = Screen::new();
    if json {
        return screen.json(&serde_json::json!({"rollout": status.map(Status::form)}));
    }
    let Some(Status { rollout, seen, steps }) = status else {
        return screen.line("there was no rollout yet: `tollgate policy rollout start` begins one");
    };
    screen.field("rollout", &format!("{} ({})", rollout.id, state(rollout)))?;
    screen.field("candidate", &rollout.candidate)?;
    screen.field("beside", &rollout.base)?;
    let stages: Vec<String> = rollout
        .stages
        .iter()
        .enumerate()
        .map(|(at, stage)| if at == rollout.at { format!("[{stage}]") } else { stage.to_string() })
        .collect();
    screen.field("stages", &stages.join(" → "))?;
    screen.field(
        "goes back",
        &format!(
            "above {} newly denied (from {} on), or {}",
            rollout.bounds.max_deny_increase,
            counted(rollout.bounds.min_calls, "call"),
            counted(rollout.bounds.max_errors, "error")
        ),
    )?;
    screen.field("this stage", &found(seen))?;
    let rows: Vec<Vec<String>> = steps
        .iter()
        .map(|step| {
            vec![
                time(step.at),
                step.step.word().to_owned(),
                step.rollout.stage().to_string(),
                or_dash(step.person.as_ref()),
                or_dash(step.reason.as_ref()),
                found(&step.seen),
            ]
        })
        .collect();
    screen.table(&["time", "step", "stage", "by", "reason", "the stage before had seen"], &rows, "")
}

fn state(rollout: &Rollout) -> &'static str {
    match rollout.state {
        RolloutState::Running => "goes on",
        RolloutState::WentBack => "went back by itself",
        RolloutState::Aborted => "aborted",
        RolloutState::Finished => "finished: the candidate came into force",
    }
}

fn found(seen: &Seen) -> String {
    format!(
        "{} ({} decided by the candidate): newly denied {}, newly asked {}, newly allowed {}, errors {}",
        counted(seen.calls, "call"),
        seen.decided_by_candidate,
        seen.newly_denied,
        seen.newly_asked,
        seen.newly_allowed,
        seen.errors
    )
}
