//! `tollgate store …`: taking over an older store, and going on behind damage.

use super::{
    args::{AcceptArgs, StoreCommand},
    failure::CliError,
    screen::Screen,
    setup::Setup,
    wiring,
};
use indicatif::{ProgressBar, ProgressStyle};

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
    match taken? {
        Some(records) => {
            screen.line(&format!("{records} records were taken over; the chain goes on in the journal"))
        }
        None => screen.line("there is no store of an older Tollgate: nothing was done"),
    }
}

async fn accept(setup: &Setup, args: &AcceptArgs) -> Result<(), CliError> {
    let needs = |_| {
        CliError::Told(
            "this needs an admin: set TOLLGATE_KEY to the key of a person with role `admin`".to_owned(),
        )
    };
    let person = setup.person().map_err(needs)?.clone();
    setup.admin()?;
    if args.reason.trim().is_empty() {
        return Err(CliError::Told("`--reason` is empty: say why the record may go on".to_owned()));
    }
    let mut screen = Screen::new();
    let Some(problem) =
        wiring::accept_damage(&setup.loaded.config, setup.now(), person.as_str(), &args.reason)?
    else {
        return screen
            .line("the journal is as it was written, but for what was accepted before: nothing was done");
    };
    screen.line(&format!("accepted by {person}: {problem}"))?;
    screen.line("the record goes on; `tollgate audit verify` keeps naming what is damaged")
}
