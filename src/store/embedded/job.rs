//! One operation for the writer, and whom its answer is for.

use super::tx::Tx;
use crate::store::StoreError;
use tokio::sync::oneshot;

/// One operation. It may run more than once, since a batch in which any operation fails is rolled back
/// and run again one by one; only the last run is committed.
pub(super) trait Job: Send {
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError>;
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
    /// Whether somebody waits for it.
    fn wanted(&self) -> bool;
    /// Whether it writes nothing.
    fn reads(&self) -> bool;
    /// Whether it is to be tried again, after it failed so.
    fn again(&self, error: &StoreError) -> bool;
}

struct Task<T, R, W, F> {
    work: W,
    value: Option<T>,
    /// Makes the answer, once the value is committed.
    finish: F,
    reply: oneshot::Sender<Result<R, StoreError>>,
    kind: Kind,
}

/// Whom an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Somebody waits for the answer; it is done in any case.
    Awaited,
    /// The same; it writes nothing, and needs no room.
    Read,
    /// Nobody waits for it, and nothing is lost where it fails: what others have appended is looked at.
    Look,
    /// Not done at all where nobody waits any more.
    OnlyIfAwaited,
    /// Nobody need wait for it; where the database fails it is tried again until the process ends, for nobody else would. Each
    /// is the end of a call that this process was granted, and so there are at most as many as it has calls open.
    FireAndForget,
}

impl<T, R, W, F> Job for Task<T, R, W, F>
where
    T: Send,
    R: Send,
    W: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send,
    F: FnOnce(T) -> R + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        self.value = None;
        if self.kind == Kind::OnlyIfAwaited && self.reply.is_closed() {
            return Ok(());
        }
        self.value = Some((self.work)(tx)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { value, finish, reply, kind, .. } = *self;
        let value = match (outcome, value) {
            (Ok(()), Some(value)) => Ok(finish(value)),
            (Ok(()), None) => Err(StoreError::Closed),
            (Err(error), _) => Err(error),
        };
        // Where nobody waits, a value that matters cleans up as it is dropped, and a failure is told here.
        if let Err(Err(error)) = reply.send(value)
            && kind != Kind::Look
        {
            tracing::error!(error = %error, "a record nobody waits for was not written");
        }
    }

    fn wanted(&self) -> bool {
        self.kind != Kind::FireAndForget
    }

    fn reads(&self) -> bool {
        matches!(self.kind, Kind::Read | Kind::Look)
    }

    fn again(&self, error: &StoreError) -> bool {
        self.kind == Kind::FireAndForget
            && match error {
                // Each is over by itself or once somebody mends it, and the process goes on.
                StoreError::Failed(_)
                | StoreError::Locked
                | StoreError::Full
                | StoreError::Overloaded
                | StoreError::Damaged(_)
                | StoreError::Clock(_) => true,
                // What it says is the answer.
                StoreError::NoSuchCall(_)
                | StoreError::RegisterFull(_)
                | StoreError::Unverified(_)
                | StoreError::Closed => false,
            }
    }
}

/// An operation's answer, on its way.
pub(super) type Reply<R> = oneshot::Receiver<Result<R, StoreError>>;

/// Makes a job and the place where its answer comes.
pub(super) fn job<T, R, W, F>(kind: Kind, work: W, finish: F) -> (Box<dyn Job>, Reply<R>)
where
    T: Send + 'static,
    R: Send + 'static,
    W: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    F: FnOnce(T) -> R + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(Task { work, value: None, finish, reply, kind }), answer)
}
