//! Which store a servers.toml names, and how commands come to it: the one of this machine, or the copy of the one that replicas
//! share.

use super::{environment::Environment, failure::CliError, screen};
use crate::{
    audit::{KeysError, LogKeys},
    clock::{Clock as _, IdSource as _, System},
    config::{self, Config, StoreConfig},
    evidence,
    redaction::Said,
    store::{
        ChainReport, Store, StoreError,
        embedded::{Accepted, AtRest, EmbeddedStore},
        postgres,
    },
};
use jiff::Timestamp;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Opens the store of a servers.toml in which other things may be wrong; none where it does not say where that is.
pub(crate) fn store_of(path: &Path, system: &Arc<System>) -> Option<Result<Arc<dyn Store>, CliError>> {
    let (store, data_dir) = store_place(path)?;
    store_exists(&store).is_ok_and(|there| there).then(|| record_at(&store, &data_dir, system))
}

/// Opens a store of which the record is to be read: one that is damaged, for reading alone.
fn record_at(store: &StoreConfig, data_dir: &Path, system: &Arc<System>) -> Result<Arc<dyn Store>, CliError> {
    let path = &store.path;
    if let Some(url) = &store.postgres {
        return Ok(postgres::open(url, path, data_dir, &system.owner_id(), system.clone())?);
    }
    if let Some(told) = taken_over(path, EmbeddedStore::take_over(path, data_dir, system.now())?) {
        screen::note(&told);
    }
    match EmbeddedStore::open(path, data_dir, store.durability, system.owner_id(), system.clone()) {
        Ok(store) => Ok(store),
        Err(StoreError::Damaged(problem)) => {
            screen::note(&format!("{problem}. What can be read is read"));
            Ok(EmbeddedStore::open_damaged(path)?)
        }
        // The record can be read without writing anything.
        Err(StoreError::Full) => Ok(EmbeddedStore::open_damaged(path)?),
        Err(error) => Err(error.into()),
    }
}

/// The same for a configuration that was read.
pub(crate) fn open_record(config: &Config, system: &Arc<System>) -> Result<Arc<dyn Store>, CliError> {
    record_at(&config.store, &config.gateway.data_dir, system)
}

fn taken_over(path: &Path, records: Option<u64>) -> Option<String> {
    let (records, path) = (records?, path.display());
    Some(format!(
        "`{path}` was a store of an older Tollgate: its {records} records were taken over into the journal; the old file is \
         kept as `{path}.before-journal`"
    ))
}

/// Where the store of a servers.toml lies, in which other things may be wrong, and its folder.
pub(crate) fn store_place(path: &Path) -> Option<(StoreConfig, PathBuf)> {
    let environment = Environment::as_far_as_read(path);
    config::store_place(path, &|name| environment.get(name))
}

/// Where a store lies that is read as it is: the copy of one that is shared holds all of it by then.
pub(crate) fn brought<'s>(store: &'s StoreConfig, data_dir: &Path) -> Result<&'s Path, CliError> {
    if let Some(url) = &store.postgres {
        postgres::bring(url, &store.path, data_dir)?;
    }
    Ok(&store.path)
}

/// Verifies a store as it lies there; `None` where it has to be opened for that.
pub(crate) fn verify_at_rest(store: &StoreConfig) -> Result<Option<ChainReport>, CliError> {
    match store.postgres {
        Some(_) => Ok(None),
        None => Ok(EmbeddedStore::verify_at_rest(&store.path)?),
    }
}

/// A store of one machine as it lies there.
pub(crate) fn at_rest(store: &StoreConfig) -> Result<Option<AtRest>, CliError> {
    Ok(EmbeddedStore::at_rest(&store.path)?)
}

/// Whether there is a store. One that is shared is there as soon as its database is.
pub(crate) fn store_exists(store: &StoreConfig) -> std::io::Result<bool> {
    if store.postgres.is_some() { Ok(true) } else { EmbeddedStore::exists(&store.path) }
}

/// Opens the store, making it where it is missing.
pub(crate) fn open_store(config: &Config, system: &Arc<System>) -> Result<Arc<dyn Store>, CliError> {
    let (path, data_dir) = (&config.store.path, &config.gateway.data_dir);
    if let Some(url) = &config.store.postgres {
        return Ok(postgres::open(url, path, data_dir, &system.owner_id(), system.clone())?);
    }
    if let Some(told) = taken_over(path, EmbeddedStore::take_over(path, data_dir, system.now())?) {
        tracing::warn!("{told}");
    }
    let opened =
        EmbeddedStore::open(path, data_dir, config.store.durability, system.owner_id(), system.clone());
    Ok(opened.map_err(|error| store_failed(path, error))? as Arc<dyn Store>)
}

/// In the terms of whoever starts something.
pub(crate) fn store_failed(path: &Path, error: StoreError) -> CliError {
    match error {
        StoreError::Full => CliError::Told(format!(
            "there is no room on the disk of `{}`: free some, then start again; nothing of the record is lost",
            path.display()
        )),
        other => other.into(),
    }
}

/// What replicas keep for each other under a name; `None` where there is nothing, or the store is of one machine.
pub(crate) fn shared_value(store: &StoreConfig, name: &str) -> Result<Option<Vec<u8>>, CliError> {
    match &store.postgres {
        Some(url) => Ok(postgres::value(url, name)?),
        None => Ok(None),
    }
}

/// Takes over a store of before the journal.
pub(crate) fn import_store(
    config: &Config,
    now: Timestamp,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<u64>, CliError> {
    of_one_machine(
        config,
        "`store import` takes over an older store of one machine, and `[store] url` names PostgreSQL: import it there (`url = \
         \"sqlite:PATH\"`), and take that to the database with `tollgate store migrate --to URL`",
    )?;
    Ok(EmbeddedStore::import(&config.store.path, &config.gateway.data_dir, now, progress)?)
}

/// Refuses what is of the store of one machine alone, and says what to do.
fn of_one_machine(config: &Config, instead: &str) -> Result<(), CliError> {
    match config.store.postgres {
        None => Ok(()),
        Some(_) => Err(CliError::Told(instead.to_owned())),
    }
}

/// Takes the record of the store of one machine, and its vault, to a database in which there is none.
pub(crate) fn migrate_store(
    config: &Config,
    url: String,
    progress: postgres::Progress,
) -> Result<postgres::Migrated, CliError> {
    of_one_machine(
        config,
        "`store migrate` takes the store of one machine to PostgreSQL, and `[store] url` names PostgreSQL already: let it name that \
         store (`url = \"sqlite:PATH\"`)",
    )?;
    let (path, data_dir) = (&config.store.path, &config.gateway.data_dir);
    let keys = LogKeys::to_share((data_dir, &config.store.vault)).map_err(|error| keys_failed(&error))?;
    let to = (&url.into(), &config.store.vault, keys.into_iter().collect());
    let migrated = postgres::migrate(path, data_dir, to, progress)?;
    // They are in one place, as the record is.
    LogKeys::remove(data_dir).map_err(|error| keys_failed(&error))?;
    Ok(migrated)
}

fn keys_failed(error: &KeysError) -> CliError {
    CliError::Told(error.to_string())
}

/// Lets the journal go on behind damage, or a database with what it has, with a record of who says so and why, and says what it is.
pub(crate) fn accept_damage(
    config: &Config,
    now: Timestamp,
    person: &str,
    reason: &Said,
) -> Result<Option<Accepted>, CliError> {
    let said = |problem: &str, places| evidence::damage_accepted(now, Some(person), reason, problem, places);
    let (path, data_dir) = (&config.store.path, &config.gateway.data_dir);
    match &config.store.postgres {
        Some(url) => Ok(postgres::accept(url, path, data_dir, &said)?),
        None => {
            let problem = EmbeddedStore::accept_damage(path, data_dir, &said)?;
            Ok(problem.map(|problem| Accepted { problem, kept: None }))
        }
    }
}
