//! The folder that servers.toml names, where it says something else than the bundle that is held in force.

use super::Held;
use crate::model::SnapshotId;
use jiff::Timestamp;
use serde_json::{Value, json};

/// What is said wherever the folder and what is in force differ.
pub const DIFFERS: &str = "the folder differs from the bundle in force";

/// How the folder differs from what is held in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderState {
    /// What the folder says; none where it has errors.
    pub snapshot: Option<SnapshotId>,
    /// Since when it differs: its newest change, or the order that put something else in force.
    pub since: Timestamp,
    /// The folder, as servers.toml names it.
    pub folder: String,
}

impl FolderState {
    /// Whether it is newer that the folder changed or that the other bundle came into force.
    pub fn new(
        snapshot: Option<SnapshotId>,
        changed: Option<Timestamp>,
        held: &Held,
        folder: String,
    ) -> Self {
        let since = changed.map_or(held.since, |changed| changed.max(held.since));
        Self { snapshot, since, folder }
    }

    /// In one sentence: that it differs, since when, which wins, and what to do.
    pub fn sentence(&self, held: &Held) -> String {
        let says = match &self.snapshot {
            Some(snapshot) => format!("it says snapshot {}", short(snapshot)),
            None => "it has errors, which `tollgate check` lists".to_owned(),
        };
        format!(
            "{DIFFERS} since {}: {says}. Snapshot {} wins, by order of {} (\"{}\"), until somebody activates the folder: \
             `tollgate policy activate {} --reason TEXT`",
            self.since.strftime("%Y-%m-%dT%H:%M:%SZ"),
            short(&held.snapshot),
            held.by,
            held.reason,
            self.folder,
        )
    }

    /// For pages and programs.
    pub fn form(&self, held: &Held) -> Value {
        json!({
            "differs": true,
            "since": self.since,
            "snapshot": self.snapshot,
            "message": self.sentence(held),
        })
    }
}

/// As much of a snapshot as people read.
fn short(snapshot: &SnapshotId) -> String {
    snapshot.chars().take(12).collect()
}
