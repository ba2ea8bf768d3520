//! How the servers of a running gateway stand, for whoever types on its machine: the process keeps a file in its own data folder, and
//! holds a lock on another as long as it lives. So nothing is started twice to be looked at, and nobody needs a key for it who may
//! read the folder.

use super::edit::file::{Opened, Readers};
use crate::{config::Config, front::admin::view, gateway::Gateway};
use serde_json::{Value, json};
use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt as _,
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
                .and_then(|file| file.replace_for(Readers::Owner, &told))
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
    let states = [gateway.upstreams(), gateway.personal_upstreams()].concat();
    let refused = catalog.tools.values().filter_map(|tool| tool.refused.as_deref());
    json!({
        "command": command,
        "process": std::process::id(),
        "servers": view::upstreams(&in_force.config, (&states, &gateway.connections().list()), data),
        "refused_tools": refused.collect::<Vec<_>>(),
    })
}

/// Held by one process; it ends with it.
struct Lock {
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// Under a name that no other process has, of this container or of another one. It is locked before it can be found.
    fn take(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // For this user alone, as all in the data folder.
        let new = tempfile::Builder::new()
            .prefix(&format!("{}-", std::process::id()))
            .suffix(".new")
            .tempfile_in(folder)?;
        new.as_file().try_lock()?;
        let path = new.path().with_extension("lock");
        let file = new.persist_noclobber(&path)?;
        Ok(Self { _file: file, path })
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
    found_in(&folder(config))
}

fn found_in(folder: &Path) -> Option<Running> {
    let entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
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
    // Readers keep each other from nothing: one that looks is not taken for a process that serves.
    match File::open(path).ok()?.try_lock_shared() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    const TOLD: &str = r#"{"command": "serve", "process": 7}"#;

    /// Whoever looks on takes nothing from a process that begins, and takes no other reader for one.
    #[test]
    fn readers_disturb_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !ended.load(Ordering::Relaxed) {
                        found_in(folder.path());
                    }
                });
            }
            for number in 0..200 {
                let lock = Lock::take(folder.path()).unwrap();
                let other = Lock::take(folder.path()).unwrap();
                fs::write(lock.told(), TOLD).unwrap();
                assert!(lock.path.exists() && other.path.exists());
                assert!(one(&lock.path).is_some_and(|running| running.process == 7));
                drop((lock, other));
                // One of a process that was killed.
                let dead = folder.path().join(format!("{number}-dead.lock"));
                fs::write(dead.with_extension("json"), TOLD).unwrap();
                fs::write(&dead, "").unwrap();
                assert!(one(&dead).is_none());
            }
            ended.store(true, Ordering::Relaxed);
        });
        assert!(found_in(folder.path()).is_none());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "what dead processes left is removed");
    }
}
