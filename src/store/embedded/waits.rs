//! How callers wait for the store.

use crate::store::StoreError;
use std::{future::poll_fn, task::Poll, time::Duration};

/// How long whoever waits for the writer does so: longer than it waits for a lock itself. A disk that hangs holds nobody.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs what takes its time on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(StoreError::Failed(format!("it was broken off: {error}"))),
    }
}

/// Waits for an answer of the writer, within [`PATIENCE`].
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err(not_in(PATIENCE)))
}

pub(super) fn not_in(limit: Duration) -> StoreError {
    StoreError::Failed(format!("the database has not answered for {} s", limit.as_secs()))
}

/// Gives its turn away once. tokio's own wakes the task later, too, where it has been woken and gone on meanwhile, and a
/// call's task mostly has been.
pub(super) async fn others_first() {
    let mut been = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut been, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
