//! `tollgate store …`: taking over an older store, and going on behind damage.

use super::{failure::CliError, screen::Screen, setup::Setup, wiring};
use crate::clock::IdSource as _;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

/// `store …`
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Take over the records of an older Tollgate, with progress
    #[command(long_about = "\
Tollgate before its journal kept the record in one SQLite file. A start takes such a file over by itself where it is small \
(1 GiB); this does it whatever its size, and shows how far it is. The chain goes on byte for byte, with counters, open calls, \
approvals and keys. The old file stays beside the new one as NAME.before-journal. No Tollgate may use the store meanwhile. \
Stopped in the middle, it has changed nothing.")]
    Import,
    /// Go on behind a damaged or cut record, because you say so; needs TOLLGATE_KEY of an admin
    #[command(long_about = "\
Where the end of the journal is damaged, or records that were there are gone, nothing is dispatched and no gateway starts: \
put the journal back from a backup. Where there is none, this says that the record goes on all the same. The damaged part \
stays as it is, `audit verify` keeps naming it, no number of a record is given twice, and the first new record says who \
accepted what and why.")]
    Accept(AcceptArgs),
}

/// `store accept`
#[derive(Debug, Args)]
pub(crate) struct AcceptArgs {
    /// Why it may go on; stands in the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Runs one of them.
pub(super) async fn store(setup: Setup, command: StoreCommand) -> Result<(), CliError> {
    match command {
        StoreCommand::Import => import(&setup),
        StoreCommand::Accept(args) => accept(&setup, &args).await,
    }
}

fn import(setup: &Setup) -> Result<(), CliError> {
    // Drawn on a terminal only.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} records, {eta} left") {
        bar.set_style(style);
    }
    let taken = wiring::import_store(&setup.loaded.config, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let mut screen = Screen::new();
    Ok(match taken? {
        Some(records) => {
            screen.line(&format!("{records} records were taken over; the chain goes on in the journal"))?
        }
        None => screen.line("there is no store of an older Tollgate: nothing was done")?,
    })
}

async fn accept(setup: &Setup, args: &AcceptArgs) -> Result<(), CliError> {
    let person = setup.person()?.clone();
    setup.admin()?;
    if args.reason.trim().is_empty() {
        return Err(CliError::Told("`--reason` is empty: say why the record may go on".to_owned()));
    }
    let mut screen = Screen::new();
    let Some(problem) = wiring::accept_damage(&setup.loaded.config)? else {
        return Ok(screen.line("the end of the journal is as it was written: nothing was done")?);
    };
    let store = wiring::open_store(&setup.loaded.config, setup.system.owner_id())?;
    let event = wiring::damage_accepted(setup.now(), person.as_str(), &args.reason, &problem);
    let recorded = store.record(vec![event]).await;
    store.close().await;
    recorded?;
    screen.line(&format!("accepted by {person}: {problem}"))?;
    Ok(screen.line("the record goes on; `tollgate audit verify` keeps naming what is damaged")?)
}
