//! Hot reload: what is in force is replaced whole by files that are right, and by nothing else.

use super::{
    failure::CliError,
    folder, origin,
    setup::{exposed, load_standing, pair},
    wiring::{self, Loaded, Reloaded},
};
use crate::{
    config::{self, Config, StoreConfig, forget_references},
    front::tls::Tls,
    gateway::{CheckedFiles, Gateway},
};
use notify_debouncer_full::{
    DebounceEventResult, Debouncer, RecommendedCache, new_debouncer,
    notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, event::AccessKind, event::AccessMode},
};
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// How long files must be quiet before they are read.
const QUIET: Duration = Duration::from_millis(300);

/// Watches servers.toml, the bundle and SIGHUP, for ever. `tls`: what the listeners show, where they do.
pub(super) async fn watch(path: PathBuf, gateway: Arc<Gateway>, tls: Option<Tls>) -> Result<(), CliError> {
    let failed = |source| CliError::Io { what: "cannot listen for SIGHUP".to_owned(), source };
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let (changed, mut changes) = mpsc::channel(1);
    let mut watched = Watched::start(&path, changed);
    let mut policies = gateway.in_force().config.gateway.policies.clone();
    watched.renew(&path, &policies);
    let mut last = fingerprint(&path, &policies);
    let mut wanted = gateway.folder_wanted();
    loop {
        let reason = tokio::select! {
            Some(()) = hangup.recv() => "SIGHUP",
            Some(()) = changes.recv() => "file change",
            Ok(()) = wanted.changed() => "order",
            else => return Ok(()),
        };
        let forced = reason != "file change";
        // Folders that were replaced must be watched again, before they are read.
        watched.renew(&path, &policies);
        let now = fingerprint(&path, &policies);
        if now == last && !forced {
            continue;
        }
        last = now;
        forget_references(reason == "SIGHUP");
        // An order that comes meanwhile says what is to be read.
        for _ in 0..MOST_TRIES {
            if once(&path, &gateway, tls.as_ref(), reason).await != Reloaded::Outdated {
                break;
            }
        }
        let newer = gateway.in_force().config.gateway.policies.clone();
        if newer != policies {
            policies = newer;
            watched.renew(&path, &policies);
            last = fingerprint(&path, &policies);
        }
    }
}

/// How often files are read again because of an order that came meanwhile.
const MOST_TRIES: usize = 5;

/// Reads the files and puts them in force, or says why not. Where a bundle is held, servers.toml alone is followed, and whether
/// the folder says something else is told. The certificate and key are read again each time, and shown where all else is right.
async fn once(path: &Path, gateway: &Gateway, tls: Option<&Tls>, reason: &str) -> Reloaded {
    let (owned, standing) = (path.to_owned(), gateway.standing());
    let is_held = standing.held.is_some();
    let has_tls = tls.is_some();
    let read = tokio::task::spawn_blocking(move || {
        let loaded = load_standing(&owned, &standing).and_then(|loaded| {
            let pair = if has_tls { pair(&owned, &loaded)? } else { None };
            Ok((loaded, pair))
        });
        (loaded, folder::differs(&owned, &standing))
    });
    let read = read.await.map(|(read, differs)| {
        gateway.set_folder(differs);
        if is_held && reason == "order" {
            // It is in force already.
            return Ok(None);
        }
        read.and_then(|(mut loaded, pair)| {
            let running = gateway.in_force();
            for what in needs_restart(&running.config, &loaded.config) {
                tracing::warn!(setting = what, "reload.needs_restart");
            }
            // The listeners stay where they are until then, and who may come in is held against that.
            loaded.config.gateway.listen = running.config.gateway.listen;
            loaded.config.admin.listen = running.config.admin.listen;
            exposed(path, &loaded).map(|()| Some((loaded, pair)))
        })
    });
    match read {
        Ok(Ok(None)) => return Reloaded::Yes,
        Ok(Ok(Some((Loaded { config, policies, lints }, pair)))) => {
            // Names that fit nothing are told by whoever watches what the upstreams list.
            for lint in lints.0.iter().filter(|lint| !lint.strict) {
                tracing::info!(lint = %lint, "reload.lint");
            }
            let snapshot = policies.snapshot.clone();
            let origin = origin::of(&config.gateway.policies, reason).await;
            let reloaded = wiring::reload(gateway, CheckedFiles { config, policies, origin }).await;
            if reloaded == Reloaded::Yes {
                if let (Some(tls), Some(pair)) = (tls, pair) {
                    tls.show(pair);
                }
                tracing::info!(policy.snapshot = %snapshot, "reload.activated");
            }
            return reloaded;
        }
        Ok(Err(CliError::Files { problems, .. })) => {
            wiring::reload_rejected(gateway, problems).await;
        }
        Ok(Err(other)) => tracing::error!(error = %other, "reload.failed"),
        Err(lost) => tracing::error!(error = %lost, "reload.failed"),
    }
    Reloaded::No
}

fn is_other_store(old: &StoreConfig, new: &StoreConfig) -> bool {
    let url = |store: &StoreConfig| store.postgres.as_ref().map(|url| url.expose_secret().to_owned());
    old.path != new.path || url(old) != url(new)
}

/// By whose word, and by which lists, clients' certificates are looked at.
fn clients(config: &Config) -> Option<(Option<&Path>, Option<&Path>)> {
    config.gateway.tls.as_ref().map(|tls| (tls.client_ca.as_deref(), tls.crl.as_deref()))
}

/// What is taken at start only.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    [
        ("[gateway] listen", old.gateway.listen != new.gateway.listen),
        ("[gateway] data_dir", old.gateway.data_dir != new.gateway.data_dir),
        ("[gateway] tls", old.gateway.tls.is_some() != new.gateway.tls.is_some()),
        ("[gateway] tls.client_ca", clients(old) != clients(new)),
        ("[admin] listen", old.admin.listen != new.admin.listen),
        ("[otel] endpoint", old.otel != new.otel),
        ("[store] url", is_other_store(&old.store, &new.store)),
        ("[store] durability", old.store.durability != new.store.durability),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

struct Watched {
    debouncer: Option<Debouncer<RecommendedWatcher, RecommendedCache>>,
    folders: Vec<PathBuf>,
}

impl Watched {
    /// Where the system cannot watch files, SIGHUP still works, and the log says so.
    fn start(path: &Path, changed: mpsc::Sender<()>) -> Self {
        let file = path.file_name().map(OsStr::to_owned).unwrap_or_default();
        let variables = config::variables_file(path).file_name().map(OsStr::to_owned).unwrap_or_default();
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let told = move |result: DebounceEventResult| {
            let matters = match &result {
                Ok(events) => events.iter().any(|event| matters(&event.event, &folder, &[&file, &variables])),
                // Events were lost: read everything.
                Err(_) => true,
            };
            if matters {
                // Full means that a change is told already.
                changed.try_send(()).ok();
            }
        };
        let debouncer = new_debouncer(QUIET, None, told)
            .inspect_err(
                |error| tracing::warn!(error = %error, "reload.cannot_watch: send SIGHUP after a change"),
            )
            .ok();
        Self { debouncer, folders: Vec::new() }
    }

    fn renew(&mut self, path: &Path, policies: &Path) {
        let Some(debouncer) = &mut self.debouncer else { return };
        for folder in self.folders.drain(..) {
            // A folder that is gone cannot be let go of; nothing is lost by that.
            debouncer.unwatch(&folder).ok();
        }
        let around = [path.parent(), policies.parent()]
            .into_iter()
            .flatten()
            .map(|p| (p, RecursiveMode::NonRecursive));
        let mut wanted: Vec<(&Path, RecursiveMode)> = around.collect();
        wanted.dedup();
        wanted.push((policies, RecursiveMode::Recursive));
        for (folder, mode) in wanted {
            match debouncer.watch(folder, mode) {
                Ok(()) => self.folders.push(folder.to_owned()),
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), error = %error, "reload.cannot_watch")
                }
            }
        }
    }
}

/// Reading is no change; in servers.toml's own folder only that file and its variables count, or what they are links to.
fn matters(event: &Event, folder: &Path, files: &[&OsStr]) -> bool {
    let changes = match &event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    };
    changes
        && event.paths.iter().any(|path| {
            let own = path.parent() == Some(folder);
            let name = path.file_name().unwrap_or_default();
            let git = path.components().any(|part| part.as_os_str() == ".git");
            !git && (!own
                || files.contains(&name)
                || path.is_dir()
                || name.as_encoded_bytes().starts_with(b".."))
        })
}

/// Over servers.toml, its variables and every file of the bundle, so that a touch, or our own reading, is no change.
fn fingerprint(path: &Path, policies: &Path) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |file: &Path| {
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update([0]);
        match std::fs::read(file) {
            Ok(bytes) => hash.update(Sha256::digest(&bytes)),
            Err(_) => hash.update([1]),
        }
    };
    add(path);
    add(&config::variables_file(path));
    let mut files = Vec::new();
    list(policies, &mut files, 0);
    files.sort();
    for file in &files {
        add(file);
    }
    hash.finalize().into()
}

/// As deep as a bundle can reasonably be.
const DEEPEST: usize = 8;

fn list(folder: &Path, files: &mut Vec<PathBuf>, depth: usize) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name() == ".git" {
            continue;
        }
        if path.is_dir() {
            if depth < DEEPEST {
                list(&path, files, depth + 1);
            }
        } else {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify_debouncer_full::notify::event::{CreateKind, DataChange, ModifyKind};

    #[test]
    fn only_changes_of_the_files_count() {
        let check = |kind: EventKind, path: &str, expect: bool| {
            let event = Event::new(kind).add_path(path.into());
            assert_eq!(
                matters(&event, Path::new("/srv"), &[OsStr::new("servers.toml"), OsStr::new("servers.env")]),
                expect,
                "{kind:?} {path}"
            );
        };
        let write = EventKind::Modify(ModifyKind::Data(DataChange::Content));
        check(write, "/srv/servers.toml", true);
        check(write, "/srv/servers.env", true);
        check(write, "/srv/notes.txt", false);
        check(write, "/srv/..data", true);
        check(write, "/srv/policies/authority.yaml", true);
        check(EventKind::Create(CreateKind::File), "/srv/policies/new.yaml", true);
        check(write, "/srv/policies/.git/index", false);
        check(EventKind::Access(AccessKind::Open(AccessMode::Read)), "/srv/servers.toml", false);
        check(EventKind::Access(AccessKind::Close(AccessMode::Write)), "/srv/servers.toml", true);
    }

    #[test]
    fn a_touch_is_no_change_and_a_byte_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("servers.toml");
        let policies = folder.path().join("policies");
        std::fs::create_dir_all(policies.join("tests")).unwrap();
        std::fs::write(&path, "a").unwrap();
        std::fs::write(policies.join("bundle.yaml"), "b").unwrap();
        let before = fingerprint(&path, &policies);
        std::fs::write(&path, "a").unwrap();
        assert_eq!(before, fingerprint(&path, &policies));
        std::fs::write(policies.join("tests/x.yaml"), "").unwrap();
        let more = fingerprint(&path, &policies);
        assert_ne!(before, more);
        std::fs::write(policies.join("bundle.yaml"), "c").unwrap();
        let other = fingerprint(&path, &policies);
        assert_ne!(more, other);
        std::fs::write(folder.path().join("servers.env"), "A=b").unwrap();
        assert_ne!(other, fingerprint(&path, &policies));
    }
}
