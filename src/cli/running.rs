//! How the servers of a running gateway stand, for whoever types on its machine: the process keeps a file in its own data folder, and
//! holds a lock on another as long as it lives. So nothing is started twice to be looked at, and nobody needs a key for it who may
//! read the folder.

use super::edit::file::Opened;
use crate::{config::Config, front::admin::view, gateway::Gateway};
use serde_json::{Value, json};
use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// One process that serves.
pub(super) struct Running {
    /// Which command it is.
    pub(super) command: String,
    pub(super) process: u64,
    pub(super) servers: Vec<Value>,
    /// Tools that it refuses, and why.
    pub(super) refused: Vec<String>,
}

fn folder(config: &Config) -> PathBuf {
    config.gateway.data_dir.join("running")
}

/// Keeps the file as long as the process lives. What cannot be written costs only those who would read it.
pub(super) async fn tell(gateway: Arc<Gateway>, command: &'static str) {
    let place = folder(&gateway.in_force().config);
    let mut changes = gateway.upstream_changes();
    let mut lists = gateway.generations();
    let mut held = None;
    loop {
        changes.borrow_and_update();
        lists.borrow_and_update();
        let (place, asked, lock) = (place.clone(), Arc::clone(&gateway), held.take());
        let written = tokio::task::spawn_blocking(move || {
            let lock = match lock {
                Some(lock) => lock,
                None => Lock::take(&place)?,
            };
            let told = now(&asked, command).to_string();
            Opened::read(&lock.told())
                .and_then(|file| file.replace(&told))
                .map_err(|error| io::Error::other(error.to_string()))?;
            io::Result::Ok(lock)
        });
        match written.await {
            Ok(Ok(lock)) => held = Some(lock),
            Ok(Err(error)) => {
                tracing::warn!(%error, "how the servers stand cannot be told to `tollgate servers list`")
            }
            Err(_) => return,
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            changed = lists.changed() => if changed.is_err() { return },
        }
    }
}

fn now(gateway: &Gateway, command: &str) -> Value {
    let in_force = gateway.in_force();
    let data = &in_force.policies.data;
    let catalog = gateway.catalog();
    let refused = catalog.tools.values().filter_map(|tool| tool.refused.as_deref());
    json!({
        "command": command,
        "process": std::process::id(),
        "servers": view::upstreams(&in_force.config, (&gateway.upstreams(), &gateway.connections().list()), data),
        "refused_tools": refused.collect::<Vec<_>>(),
    })
}

/// Held by one process; it ends with it.
struct Lock {
    _file: File,
    path: PathBuf,
}

impl Lock {
    fn take(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path = folder.join(format!("{}.lock", std::process::id()));
        // For this user alone, as all in the data folder.
        let open =
            |path: &Path| File::options().create(true).truncate(false).write(true).mode(0o600).open(path);
        let file = open(&path)?;
        open(&path.with_extension("json"))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file, path }),
            Err(TryLockError::WouldBlock) => Err(io::Error::other("another process has this process's lock")),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn told(&self) -> PathBuf {
        self.path.with_extension("json")
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        fs::remove_file(self.told()).ok();
        fs::remove_file(&self.path).ok();
    }
}

/// The process that serves by these files now, `serve` before any `stdio`. What dead processes left is removed.
pub(super) fn find(config: &Config) -> Option<Running> {
    let entries = fs::read_dir(folder(config)).ok()?.flatten().map(|entry| entry.path());
    let mut found: Vec<Running> = entries
        .filter(|path| path.extension().is_some_and(|end| end == "lock"))
        .take(10_000)
        .filter_map(|path| one(&path))
        .collect();
    found.sort_by_key(|running| (running.command != "serve", running.process));
    found.into_iter().next()
}

fn one(path: &Path) -> Option<Running> {
    let told = path.with_extension("json");
    match File::options().write(true).open(path).ok()?.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let read: Value = serde_json::from_slice(&fs::read(told).ok()?).ok()?;
            let list = |member: &str| read.get(member).and_then(Value::as_array).cloned().unwrap_or_default();
            Some(Running {
                command: read.get("command")?.as_str()?.to_owned(),
                process: read.get("process")?.as_u64()?,
                servers: list("servers"),
                refused: list("refused_tools").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            })
        }
        // Nobody holds it: its process is dead.
        Ok(()) => {
            fs::remove_file(told).ok();
            fs::remove_file(path).ok();
            None
        }
        Err(TryLockError::Error(_)) => None,
    }
}
