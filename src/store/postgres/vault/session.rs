//! The two connections of a process's vault: one for what is read, by many at once, and one for transactions, one at a time. They are
//! made when they are needed first, and anew whenever they are lost.

use super::super::{
    COMMITTING, PATIENCE,
    link::{BEGIN, COMMIT, Coming, Link, Session},
    problem::Problem,
};
use crate::store::StoreError;
use futures::future::BoxFuture;
use parking_lot::Mutex as Lock;
use std::{fmt, sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::timeout};
use tokio_postgres::{Client, error::Severity};

/// How long the begin of a transaction may take.
const BEGINNING: Duration = Duration::from_secs(2);

/// Why a transaction came to nothing.
pub(super) enum Broken<T> {
    /// Nothing of it is there.
    Undone(StoreError),
    /// The connection was lost while it was committed: it may be there.
    Unsure(T, StoreError),
}

impl<T> From<Broken<T>> for StoreError {
    fn from(broken: Broken<T>) -> Self {
        match broken {
            Broken::Undone(error) | Broken::Unsure(_, error) => error,
        }
    }
}

pub(super) struct Sessions {
    link: Arc<Link>,
    reading: Lock<Option<Arc<Session>>>,
    connecting: Mutex<Coming>,
    writing: Mutex<Writing>,
}

/// The connection for transactions, and the next one where it was lost.
#[derive(Default)]
struct Writing {
    session: Option<Session>,
    coming: Coming,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.link.fmt(f)
    }
}

impl Sessions {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, reading: Lock::default(), connecting: Mutex::default(), writing: Mutex::default() }
    }

    pub(super) fn problem(&self) -> Problem {
        self.link.problem()
    }

    /// The connection for what is read, and whether it was made a moment ago.
    async fn reader(&self) -> Result<(Arc<Session>, bool), StoreError> {
        let open = || self.reading.lock().clone().filter(|session| !session.client.is_closed());
        if let Some(session) = open() {
            return Ok((session, false));
        }
        let mut connecting = self.connecting.lock().await;
        if let Some(session) = open() {
            return Ok((session, true));
        }
        let session = Arc::new(connecting.session(&self.link).await?);
        *self.reading.lock() = Some(session.clone());
        Ok((session, true))
    }

    fn give_up(&self, session: &Arc<Session>) {
        let mut reading = self.reading.lock();
        if reading.as_ref().is_some_and(|known| Arc::ptr_eq(known, session)) {
            *reading = None;
        }
    }

    /// Reads something; once more where the connection turns out to be lost.
    pub(super) async fn read<T, F>(&self, work: impl Fn(Arc<Session>) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, tokio_postgres::Error>>,
    {
        loop {
            let connected = timeout(PATIENCE, self.reader()).await;
            let (session, is_new) = connected.unwrap_or_else(|_| Err(self.problem().no_answer()))?;
            let error = match timeout(PATIENCE, work(session.clone())).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(error)) => error,
                Err(_) => {
                    self.give_up(&session);
                    return Err(self.problem().no_answer());
                }
            };
            let ended = error
                .as_db_error()
                .is_none_or(|told| matches!(told.parsed_severity(), Some(Severity::Fatal | Severity::Panic)));
            if ended {
                self.give_up(&session);
            }
            if !ended || is_new {
                return Err(self.problem().of(&error));
            }
        }
    }

    /// Does something in a transaction, and commits it. Whoever is cut off in the middle leaves no connection behind: the server
    /// undoes what was begun on it.
    pub(super) async fn transaction<T: Send>(
        &self,
        work: impl for<'w> FnOnce(&'w Client) -> BoxFuture<'w, Result<T, StoreError>> + Send,
    ) -> Result<T, Broken<T>> {
        let problem = self.problem();
        let late = |_| Broken::Undone(problem.no_answer());
        let mut writing = timeout(PATIENCE, self.writing.lock()).await.map_err(late)?;
        let session = self.begun(&mut writing).await.map_err(Broken::Undone)?;
        let done = timeout(PATIENCE, work(&session.client)).await.map_err(late)?;
        let value = match done {
            Ok(value) => value,
            Err(error) => {
                let undone = timeout(PATIENCE, session.client.batch_execute("ROLLBACK")).await;
                if matches!(undone, Ok(Ok(()))) {
                    writing.session = Some(session);
                }
                return Err(Broken::Undone(error));
            }
        };
        session.has_warned();
        match timeout(COMMITTING, session.client.batch_execute(COMMIT)).await {
            Ok(Ok(())) if session.has_warned() => Err(Broken::Unsure(value, problem.unconfirmed())),
            Ok(Ok(())) => {
                writing.session = Some(session);
                Ok(value)
            }
            Ok(Err(error)) => Err(Broken::Unsure(value, problem.of(&error))),
            Err(_) => Err(Broken::Unsure(value, problem.no_answer())),
        }
    }

    /// A connection on which a transaction was begun: the one of before, where it still holds.
    async fn begun(&self, writing: &mut Writing) -> Result<Session, StoreError> {
        if let Some(session) = writing.session.take().filter(|session| !session.client.is_closed())
            && let Ok(Ok(())) = timeout(BEGINNING, session.client.batch_execute(BEGIN)).await
        {
            return Ok(session);
        }
        let session = writing.coming.session(&self.link).await?;
        match timeout(BEGINNING, session.client.batch_execute(BEGIN)).await {
            Ok(begun) => begun.map(|()| session).map_err(|error| self.problem().of(&error)),
            Err(_) => Err(self.problem().no_answer()),
        }
    }
}
