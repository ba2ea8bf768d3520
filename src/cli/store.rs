//! `tollgate store …`: taking over an older store, going on behind damage, and new keys for the vault.

use super::{
    args::{AcceptArgs, MigrateArgs, StoreCommand},
    environment::Environment,
    failure::CliError,
    screen::Screen,
    setup::Setup,
    wiring,
};
use crate::{
    audit::LogKeys,
    clock::IdSource as _,
    evidence,
    store::{embedded::Accepted, postgres::Migrated},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;

/// The longest reason, in characters.
const LONGEST_REASON: usize = 2_000;

/// Runs one of them.
pub(super) async fn store(setup: Setup, command: StoreCommand) -> Result<(), CliError> {
    match command {
        StoreCommand::Import => import(&setup),
        StoreCommand::Accept(args) => accept(&setup, &args).await,
        StoreCommand::Migrate(args) => migrate(&setup, &args),
        StoreCommand::RotateKey => rotate_key(&setup).await,
    }
}

/// Drawn on a terminal only.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} records, {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn migrate(setup: &Setup, args: &MigrateArgs) -> Result<(), CliError> {
    let url = expanded(&setup.path, &args.to)?;
    let bar = bar();
    let drawn = bar.clone();
    let told = Box::new(move |done, all| {
        drawn.set_length(all);
        drawn.set_position(done);
    });
    let taken = wiring::migrate_store(&setup.loaded.config, url, told);
    bar.finish_and_clear();
    let Migrated { records, vault, head, place } = taken?;
    let mut screen = Screen::new();
    screen.line(&format!(
        "{records} records are in PostgreSQL at {place}, head {head}; both sides were verified. Set `[store] url` to it: \
         the store here does not go on"
    ))?;
    match vault {
        (0, 0) => Ok(()),
        (values, credentials) => screen.line(&format!(
            "its vault is there, too: {values} values and {credentials} credentials, under the same keys, encrypted with `vault_key`. \
             Remove `{}` and `{}` here once the replicas serve",
            setup.loaded.config.store.path.with_extension("vault").display(),
            setup.loaded.config.store.path.with_extension("vault-keys").display()
        )),
    }
}

/// Variables in place of their names.
fn expanded(path: &Path, text: &str) -> Result<String, CliError> {
    let environment = Environment::of(path).map_err(|problems| CliError::Told(problems.to_string()))?;
    let (mut made, mut rest) = (String::new(), text);
    while let Some((before, name, behind)) = rest
        .split_once("${")
        .and_then(|(before, behind)| Some((before, behind.split_once('}')?)))
        .map(|(before, (name, behind))| (before, name, behind))
    {
        let value =
            environment.get(name).ok_or_else(|| CliError::Told(format!("`${{{name}}}` is not set")))?;
        made.push_str(before);
        made.push_str(&value);
        rest = behind;
    }
    made.push_str(rest);
    Ok(made)
}

fn import(setup: &Setup) -> Result<(), CliError> {
    let bar = bar();
    let taken = wiring::import_store(&setup.loaded.config, setup.now(), &mut |done, all| {
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
    let person = setup.admin_person()?;
    let reason = setup.loaded.policies.data.said(&args.reason, LONGEST_REASON);
    if reason.is_empty() {
        return Err(CliError::Told("`--reason` is empty: say why the record may go on".to_owned()));
    }
    let mut screen = Screen::new();
    let config = &setup.loaded.config;
    let accepted = wiring::accept_damage(config, setup.now(), person.as_str(), &reason)?;
    let Some(Accepted { problem, kept }) = accepted else {
        let sound = match config.store.postgres {
            Some(_) => "the database has all that this machine's copy has, and it is as it was written",
            None => "the journal is as it was written",
        };
        return screen.line(&format!("{sound}, but for what was accepted before: nothing was done"));
    };
    screen.line(&format!("accepted by {person}: {problem}"))?;
    if let Some(kept) = kept {
        screen.line(&format!("the copy of before is kept at `{}`", kept.display()))?;
    }
    if config.store.postgres.is_some() {
        screen.line(
            "start the replicas: each whose copy had no more than this one's sets it aside by itself; any other says so, and takes \
             `store accept` on its machine",
        )?;
    }
    screen.line("the record goes on; `tollgate audit verify` keeps naming what is damaged")
}

async fn rotate_key(setup: &Setup) -> Result<(), CliError> {
    let store = setup.store()?;
    let rotated = async {
        let Some(vault) = store.vault() else { return Ok(None) };
        vault.configure(setup.loaded.config.store.vault.clone());
        if store.is_shared() {
            // Keys of checkpoints lie there encrypted too, and go along with another `vault_key`.
            let place = (&*setup.loaded.config.gateway.data_dir, &setup.loaded.config.store.vault);
            let keys = LogKeys::of(&*store, place, setup.system.random()).await;
            keys.map_err(|error| CliError::Told(error.to_string()))?;
        }
        let rotated = vault.rotate(setup.now(), setup.system.random()).await?;
        if let Some(done) = rotated {
            let person = setup.person().ok().map(|person| person.as_str());
            store.record(vec![evidence::vault_rotated(setup.now(), person, done.key, done.values)]).await?;
        }
        Ok::<_, CliError>(rotated)
    };
    let rotated = rotated.await;
    store.close().await;
    let mut screen = Screen::new();
    match rotated? {
        None => screen.line("the vault keeps nothing: there is no key to rotate"),
        Some(done) => {
            let wrapped = match done.is_wrapped {
                true => "encrypted with `vault_key`",
                false => "in a file for this user alone; `[store] vault_key` encrypts it",
            };
            let values = match done.values {
                1 => "1 value is".to_owned(),
                many => format!("{many} values are"),
            };
            screen.line(&format!("{values} encrypted under key {} now, which is kept {wrapped}", done.key))
        }
    }
}
