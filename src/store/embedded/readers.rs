//! Reads, beside the writer: a few connections that cannot write, used from blocking threads.

use super::projection;
use crate::store::StoreError;
use parking_lot::Mutex;
use rusqlite::Connection;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Reads at once.
const READERS: usize = 4;

/// How long a read waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// The connections that rest.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, idle: Mutex::new(Vec::new()), turns: Arc::new(Semaphore::new(READERS)) })
    }

    /// Runs a read on a thread of its own. Each statement in it sees everything that was committed before.
    pub(super) async fn read<T: Send + 'static>(
        self: Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned()).await;
        let turn = turn
            .map_err(|_| StoreError::Failed("other reads have not ended in time".to_owned()))?
            .map_err(|_| StoreError::Closed)?;
        let readers = self.clone();
        let work = move || {
            let resting = readers.idle.lock().pop();
            let connection = match resting {
                Some(connection) => connection,
                None => projection::open_reader(&readers.path)?,
            };
            let outcome = read(&connection);
            readers.rest(connection);
            drop(turn);
            outcome
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(outcome) => outcome,
            Err(error) => Err(StoreError::Failed(format!("a read was broken off: {error}"))),
        }
    }

    fn rest(&self, connection: Connection) {
        if !self.turns.is_closed() {
            self.idle.lock().push(connection);
        }
    }

    /// Later reads answer [`StoreError::Closed`].
    pub(super) fn close(&self) {
        self.turns.close();
        self.idle.lock().clear();
    }
}
