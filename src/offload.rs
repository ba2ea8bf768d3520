//! Large work on threads of its own, so that no connection's thread is held up by it. There are few of them, and one agent
//! has one at a time, however many large calls it makes: others find one free.

use crate::model::AgentId;
use dashmap::DashMap;
use parking_lot::Mutex;
use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Text, or values of that weight, from which on looking through it is large work.
pub const LARGE: usize = 64 << 10;

/// Pieces of one agent's work that run or wait for their turn before further ones are refused.
pub const MOST_WAITING: usize = 64;

/// Enough for values and schemas that are nested as deep as may be.
pub const STACK: usize = 8 << 20;

/// The name of its threads.
const THREAD: &str = "large-work";

/// Too many pieces wait, or no thread can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// The threads, and whose turn it is.
#[derive(Debug)]
pub struct Offload {
    threads: Arc<Semaphore>,
    agents: DashMap<AgentId, Arc<Turn>>,
}

#[derive(Debug)]
struct Turn {
    one: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// One that waits; no longer when it is dropped.
struct Waiting(Arc<Turn>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Offload {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads: Arc::new(Semaphore::new((cores / 2).clamp(2, 8))), agents: DashMap::new() }
    }
}

impl Offload {
    /// Runs it on a thread of its own, when it is this agent's turn; refuses where too much of this agent waits already. What
    /// began goes on where nobody waits for it any more, and counts until its end.
    pub async fn run<T: Send + 'static>(
        &self,
        agent: &AgentId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let waiting = self.wait(agent);
        if waiting.0.waiting.load(Ordering::Relaxed) > MOST_WAITING {
            return Err(Busy);
        }
        let turn = self.turn(&waiting).await;
        match start(turn, work) {
            // One that panicked has told so.
            Ok(result) => result.await.ok().and_then(Result::ok).ok_or(Busy),
            Err(_) => Err(Busy),
        }
    }

    /// The same for what cannot be refused any more, however much waits: what lets calls in bounds it. Where no thread can be
    /// had it runs here, and a panic in it is one of whoever waits.
    pub async fn finish<T: Send + 'static>(
        &self,
        agent: &AgentId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let waiting = self.wait(agent);
        let turn = self.turn(&waiting).await;
        match start(turn, work) {
            Ok(result) => match result.await {
                Ok(Ok(found)) => found,
                Ok(Err(panic)) => resume_unwind(panic),
                Err(gone) => resume_unwind(Box::new(gone)),
            },
            Err(work) => work(),
        }
    }

    fn wait(&self, agent: &AgentId) -> Waiting {
        let new = || Turn { one: Arc::new(Semaphore::new(1)), waiting: AtomicUsize::new(0) };
        // The map is locked no longer than this line.
        let turn = self.agents.entry(agent.clone()).or_insert_with(|| Arc::new(new())).value().clone();
        turn.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(turn)
    }

    /// The agent's turn, then a thread. The semaphores are never closed.
    async fn turn(&self, waiting: &Waiting) -> [Option<OwnedSemaphorePermit>; 2] {
        let own = waiting.0.one.clone().acquire_owned().await.ok();
        let thread = self.threads.clone().acquire_owned().await.ok();
        [own, thread]
    }
}

/// What comes of a piece of work, or its panic.
type Done<T> = oneshot::Receiver<std::thread::Result<T>>;

/// Starts it; gives it back where no thread can be started.
fn start<T: Send + 'static, W: FnOnce() -> T + Send + 'static>(
    turn: [Option<OwnedSemaphorePermit>; 2],
    work: W,
) -> Result<Done<T>, W> {
    let (done, result) = oneshot::channel();
    let place = Arc::new(Mutex::new(Some(work)));
    let taken = place.clone();
    let body = move || {
        // Guarded: the lock is not held while it runs.
        let work = taken.lock().take();
        let found = work.map(|work| catch_unwind(AssertUnwindSafe(work)));
        drop(turn);
        // Nobody waits for it any more where this fails.
        drop(found.map(|found| done.send(found)));
    };
    let started = std::thread::Builder::new().name(THREAD.to_owned()).stack_size(STACK).spawn(body);
    match started {
        Ok(_) => Ok(result),
        Err(error) => {
            tracing::error!(error = %error, "no thread can be started for large work");
            let work = place.lock().take();
            work.map_or(Ok(result), Err)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn one_agent_never_has_all_threads() {
        let offload = Arc::new(Offload::default());
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(parking_lot::Mutex::new(held));
        let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let hostile = AgentId::from("hostile");
        let mut waiting = Vec::new();
        for _ in 0..MOST_WAITING {
            let (offload, hostile, held, began) =
                (offload.clone(), hostile.clone(), held.clone(), began.clone());
            waiting.push(tokio::spawn(async move {
                let work = move || {
                    began.send(()).unwrap();
                    held.lock().recv().unwrap();
                };
                offload.run(&hostile, work).await
            }));
        }
        begun.recv().await.unwrap();
        // The others wait; this one comes at once.
        let other = offload.run(&AgentId::from("other"), || 7).await;
        assert_eq!(other, Ok(7));
        assert!(begun.try_recv().is_err(), "the hostile agent's second began beside its first");
        for _ in 0..MOST_WAITING {
            release.send(()).unwrap();
        }
        for task in waiting {
            assert_eq!(task.await.unwrap(), Ok(()));
        }
    }

    #[tokio::test]
    async fn what_waits_is_bounded() {
        let offload = Arc::new(Offload::default());
        let (release, held) = mpsc::channel::<()>();
        let (began, begun) = oneshot::channel();
        let agent = AgentId::from("a");
        let first = tokio::spawn({
            let (offload, agent) = (offload.clone(), agent.clone());
            async move {
                let work = move || {
                    began.send(()).unwrap();
                    held.recv().unwrap();
                };
                offload.run(&agent, work).await
            }
        });
        begun.await.unwrap();
        let mut all: Vec<_> = (0..MOST_WAITING - 1).map(|_| Box::pin(offload.run(&agent, || ()))).collect();
        for one in &mut all {
            assert!(futures::poll!(one).is_pending());
        }
        assert_eq!(offload.run(&agent, || ()).await, Err(Busy));
        // Whoever goes makes room.
        drop(all.pop());
        let mut another = Box::pin(offload.run(&agent, || ()));
        assert!(futures::poll!(&mut another).is_pending());
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(()));
        for one in all {
            assert_eq!(one.await, Ok(()));
        }
        assert_eq!(another.await, Ok(()));
    }
}
