//! `tollgate policy activate` and `rollback`: a person says what is in force.

use super::super::{
    args::{ActivateArgs, RollbackArgs},
    failure::CliError,
    known, origin,
    screen::{Screen, note},
    setup::{Setup, refused},
    wiring::{self, Loaded},
};
use crate::{
    activation::{self, Ask, OrderError, Outcome, Standing},
    clock::Clock as _,
    config::without_secrets,
    evidence::Order,
    model::{PersonId, SnapshotId},
    policy::PolicySet,
    store::Store,
};
use serde_json::json;
use std::path::{Path, PathBuf};

/// What is to be in force, and where it comes from.
pub(super) struct Target {
    pub(super) loaded: Loaded,
    pub(super) source: Source,
}

/// Where a bundle comes from.
pub(super) enum Source {
    /// The folder that servers.toml names.
    Folder(PathBuf),
    /// Another folder.
    Other(PathBuf),
    /// The store.
    Kept(SnapshotId),
}

impl Source {
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) | Self::Other(folder) => Some(folder),
            Self::Kept(_) => None,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Folder(folder) | Self::Other(folder) => folder.display().to_string(),
            Self::Kept(snapshot) => format!("snapshot {snapshot}"),
        }
    }
}

/// What a person needs who says what is in force.
pub(super) struct Desk {
    pub(super) setup: Setup,
    pub(super) standing: Standing,
    pub(super) person: PersonId,
}

impl Desk {
    /// The person of `TOLLGATE_KEY`, by the bundle in force.
    pub(super) fn load(path: &Path) -> Result<Setup, CliError> {
        let setup = Setup::load_recorded(path)?;
        match setup.person() {
            Err(CliError::KeyNeeded) => Err(CliError::AdminNeeded),
            Err(other) => Err(other),
            Ok(_) => Ok(setup),
        }
    }

    pub(super) async fn of(setup: Setup, store: &dyn Store) -> Result<Self, CliError> {
        let standing = activation::standing(store).await?;
        let person = setup.person()?.clone();
        Ok(Self { setup, standing, person })
    }

    pub(super) fn in_force(&self) -> &PolicySet {
        &self.setup.loaded.policies
    }

    fn path(&self) -> &Path {
        &self.setup.path
    }

    /// A folder, where there is one of that name: seen from here, or from where servers.toml is; else a snapshot.
    pub(super) async fn target(&self, store: &dyn Store, what: &str) -> Result<Target, CliError> {
        let beside = self.path().parent().map(|parent| parent.join(what));
        let folder = [Some(PathBuf::from(what)), beside].into_iter().flatten().find(|path| path.is_dir());
        let Some(folder) = folder else {
            let snapshot = activation::resolve(store, what).await?;
            return Ok(Target { loaded: self.kept(store, &snapshot).await?, source: Source::Kept(snapshot) });
        };
        let own = &self.setup.loaded.config.gateway.policies;
        let is_own = folder.canonicalize().ok().is_some_and(|folder| own.canonicalize().ok() == Some(folder));
        let loaded = match is_own {
            true => wiring::load(self.path()),
            false => wiring::load_folder(self.path(), &folder),
        };
        let loaded = loaded.map_err(|problems| refused(self.path(), problems))?;
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        Ok(Target { loaded, source: if is_own { Source::Folder(folder) } else { Source::Other(folder) } })
    }

    /// What the store keeps of a snapshot, with servers.toml as it is now.
    pub(super) async fn kept(&self, store: &dyn Store, snapshot: &SnapshotId) -> Result<Loaded, CliError> {
        let kept = activation::kept_bundle(store, snapshot).await?;
        let loaded = wiring::load_kept(self.path(), &known::remembered, snapshot, &kept.files);
        loaded.map_err(|problems| refused(self.path(), problems))
    }

    async fn order(&self, store: &dyn Store, target: Target, reason: &str) -> Result<Outcome, CliError> {
        let Target { loaded, source } = target;
        let git = match source.folder() {
            Some(folder) => origin::of(folder, "").await,
            None => Default::default(),
        };
        let ask = Ask {
            person: &self.person,
            reason,
            channel: "cli",
            order: match source {
                Source::Folder(_) => Order::Follow,
                Source::Other(_) | Source::Kept(_) => Order::Hold,
            },
            source: source.words(),
            next: &loaded.policies,
            servers: without_secrets(&loaded.config),
            signed: !loaded.config.verify.is_empty(),
            git: (git.git_commit, git.git_clean),
        };
        let now = self.setup.system.now();
        Ok(activation::activate(store, &self.standing, self.in_force(), ask, now).await?)
    }
}

/// Puts a snapshot or a folder in force.
pub(super) async fn activate(path: &Path, args: &ActivateArgs) -> Result<(), CliError> {
    let setup = Desk::load(path)?;
    let store = setup.store()?;
    let ordered = async {
        let desk = Desk::of(setup, &*store).await?;
        let target = desk.target(&*store, &args.what).await?;
        let follows = matches!(target.source, Source::Folder(_)) && !store.is_shared();
        Ok::<_, CliError>((desk.order(&*store, target, &args.reason).await?, follows))
    };
    let ordered = ordered.await;
    store.close().await;
    let (outcome, follows) = ordered?;
    show(&outcome, follows, args.json.json)
}

/// Goes back to what was in force before.
pub(super) async fn rollback(path: &Path, args: &RollbackArgs) -> Result<(), CliError> {
    let setup = Desk::load(path)?;
    let store = setup.store()?;
    let ordered = async {
        let desk = Desk::of(setup, &*store).await?;
        let newest = activation::newest(&*store).await?;
        let now = newest.as_ref().map(|newest| &newest.snapshot);
        for snapshot in activation::before(&*store).await? {
            let loaded = desk.kept(&*store, &snapshot).await?;
            // The same bundle with another servers.toml is no other bundle.
            if Some(&loaded.policies.snapshot) != now {
                let target = Target { loaded, source: Source::Kept(snapshot) };
                return desk.order(&*store, target, &args.reason).await;
            }
        }
        Err(OrderError::NothingBefore.into())
    };
    let ordered: Result<Outcome, CliError> = ordered.await;
    store.close().await;
    show(&ordered?, false, args.json.json)
}

fn show(outcome: &Outcome, follows: bool, json: bool) -> Result<(), CliError> {
    let mut screen = Screen::new();
    let (snapshot, message, changed) = match outcome {
        Outcome::Nothing { snapshot, why } => (snapshot, format!("snapshot {snapshot}: {why}"), false),
        Outcome::Done { snapshot, .. } => {
            let then = match follows {
                true => "the folder is followed: what is edited there comes into force",
                false => "it is held, whatever the folder says, until the next activation",
            };
            let message =
                format!("snapshot {snapshot} is in force, in every running process within a second; {then}");
            (snapshot, message, true)
        }
    };
    let notes: &[String] = match outcome {
        Outcome::Done { notes, .. } => notes,
        Outcome::Nothing { .. } => &[],
    };
    if json {
        return screen.json(&json!({
            "snapshot": snapshot,
            "changed": changed,
            "message": message,
            "notes": notes,
        }));
    }
    screen.line(&message)?;
    notes.iter().for_each(|text| note(text));
    Ok(())
}
