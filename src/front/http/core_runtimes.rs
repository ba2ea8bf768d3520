//! Threads for agents' connections, each with a scheduler of its own. A connection stays on one of them, so that the parts
//! of its calls wake each other without crossing threads; what they share is the gateway.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    thread::JoinHandle,
    time::Duration,
};
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Shorter than any time limit that requests set.
const TICK: Duration = Duration::from_secs(1);

/// The threads; they end with this value.
#[derive(Debug)]
pub struct CoreRuntimes {
    core_runtimes: Vec<(Handle, Option<JoinHandle<()>>)>,
    next: AtomicUsize,
    end: CancellationToken,
}

impl CoreRuntimes {
    /// As many as the machine has cores.
    pub fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let end = CancellationToken::new();
        let mut core_runtimes = Vec::with_capacity(count);
        for number in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (handle, end) = (runtime.handle().clone(), end.clone());
            let thread = std::thread::Builder::new().name(format!("agents-{number}"));
            let thread = thread.spawn(move || {
                runtime.block_on(async {
                    // A timer that is due before all others: without one, each that a request sets would wake this
                    // thread's reactor once more.
                    while tokio::time::timeout(TICK, end.cancelled()).await.is_err() {}
                });
                // What still runs here is nobody's any more.
                runtime.shutdown_background();
            })?;
            core_runtimes.push((handle, Some(thread)));
        }
        Ok(Self { core_runtimes, next: AtomicUsize::new(0), end })
    }

    /// The one whose turn it is.
    pub(super) fn next(&self) -> Option<&Handle> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.core_runtimes.len())?;
        self.core_runtimes.get(turn).map(|(handle, _)| handle)
    }
}

impl Drop for CoreRuntimes {
    fn drop(&mut self) {
        self.end.cancel();
        for (_, thread) in &mut self.core_runtimes {
            // One that panicked has told so.
            thread.take().map(JoinHandle::join).transpose().ok();
        }
    }
}
