//! What waits outside of its call: calls that are held as tasks, upstreams' tasks, and questions that go out in a result.

pub(super) mod client_handle;
pub(super) mod handle;
pub(super) mod held;
pub(super) mod parked;
pub(super) mod passing;
pub(super) mod tasks;

use tokio_util::sync::CancellationToken;

/// Spawns work that ends where the gateway does.
pub(super) fn spawn_until(stop: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    });
}
