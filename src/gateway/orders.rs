//! What this process knows of orders about what is in force, and of the folder that they may hold back.

use crate::{
    activation::{FolderState, Standing},
    policy::PolicySet,
};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use tokio::sync::{Notify, watch};

/// Reads the folder as servers.toml is now; the error says what is wrong with it.
pub type FolderReader = Box<dyn Fn() -> Result<PolicySet, String> + Send + Sync>;

/// Orders as this process follows them.
pub(super) struct Orders {
    /// What stands, as far as it was followed.
    pub(super) standing: Mutex<Arc<Standing>>,
    /// Held while an order is followed, or files are put in force: one at a time.
    pub(super) obeying: tokio::sync::Mutex<()>,
    /// Orders are to be looked at.
    pub(super) poked: Notify,
    /// How the folder differs from what is held.
    pub(super) folder: Mutex<Option<FolderState>>,
    /// Counts up where the folder is to be read again.
    pub(super) folder_wanted: watch::Sender<u64>,
    pub(super) folder_reader: OnceLock<FolderReader>,
    /// What this process is called in what it has seen of a rollout.
    pub(super) process: String,
}

impl Orders {
    /// None is known yet.
    pub(super) fn new(process: String) -> Self {
        Self {
            standing: Mutex::default(),
            obeying: tokio::sync::Mutex::default(),
            poked: Notify::new(),
            folder: Mutex::default(),
            folder_wanted: watch::Sender::new(0),
            folder_reader: OnceLock::new(),
            process,
        }
    }
}
