//! The store on PostgreSQL, for any number of replicas: the journal lies in the database, and each replica works on a copy of it
//! as the embedded store does on its own. What counts, waits and wakes is the same code (`store/embedded/`); here is only how
//! frames get to the database and back, and what processes on many machines must know of each other.

mod accept;
mod compare;
mod hosts;
mod journal;
mod keeper;
mod link;
mod migrate;
mod problem;
mod schema;
mod tls;
mod values;
mod vault;

use super::{
    Duty, StoreError, Vault,
    embedded::{Differs, EmbeddedStore, End, Known, News, NotAppended, Origin, Tells},
};
use crate::{
    clock::{Clock, IdSource as _, System},
    journal::{Appended, SegmentHead},
    model::OwnerId,
};
use futures::future::BoxFuture;
use journal::{Frame, Writer};
use keeper::Keeper;
use link::Link;
use parking_lot::Mutex as Lock;
use secrecy::SecretString;
use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::{Mutex, oneshot},
    time::timeout,
};
use vault::PostgresVault;

pub use accept::accept;
pub use migrate::{Migrated, Progress, migrate};

/// How long one step may take before whoever waits is refused. Connecting has limits of its own (`link.rs`).
const PATIENCE: Duration = Duration::from_secs(6);
/// How long a commit may take: a standby is waited for.
const COMMITTING: Duration = Duration::from_secs(9);
/// How long a process waits for its first word in the database.
const STARTING: Duration = Duration::from_secs(10);
/// Between two tries to remove tables that somebody reads.
const DROPPED_AGAIN: Duration = Duration::from_secs(20);

/// Whether a URL names a database; the error says what is wrong with it, without it.
pub fn check_url(url: &SecretString) -> Result<(), String> {
    Link::of(url).map(drop)
}

/// Opens the store whose journal is in the database, with its copy at `path`.
pub fn open(
    url: &SecretString,
    path: &Path,
    data_dir: &Path,
    owner: &OwnerId,
    clock: Arc<dyn Clock>,
) -> Result<Arc<EmbeddedStore>, StoreError> {
    let origin = PostgresOrigin::start(url, owner.as_str())?;
    EmbeddedStore::open_copy(path, data_dir, owner, Arc::new(origin), clock)
}

/// Has the copy at `path` hold all that the database has, for whoever reads it as it lies there.
pub fn bring(url: &SecretString, path: &Path, data_dir: &Path) -> Result<(), StoreError> {
    let origin = PostgresOrigin::connect(url)?;
    EmbeddedStore::bring_copy(path, data_dir, &origin)
}

/// What processes keep for each other under a name.
pub fn value(url: &SecretString, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    PostgresOrigin::connect(url)?.value(name)
}

/// The journal in the database.
pub(super) struct PostgresOrigin {
    /// None once it has ended.
    runtime: Lock<Option<Runtime>>,
    handle: Handle,
    link: Arc<Link>,
    writer: Arc<Mutex<Writer>>,
    vault: PostgresVault,
    keeper: Option<Keeper>,
    /// Tables of segments that are no more are waited for.
    dropping: Arc<AtomicBool>,
    /// The name of a journal that is begun here.
    fresh: [u8; 16],
}

impl fmt::Debug for PostgresOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOrigin").field("link", &self.link).finish_non_exhaustive()
    }
}

impl Drop for PostgresOrigin {
    fn drop(&mut self) {
        self.shut();
    }
}

impl PostgresOrigin {
    /// With tables, and nothing that goes on by itself.
    fn connect(url: &SecretString) -> Result<Self, StoreError> {
        let link = Arc::new(Link::of(url).map_err(StoreError::Failed)?);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store-postgres")
            .enable_all()
            .build()
            .map_err(|error| StoreError::Failed(format!("a thread could not be started: {error}")))?;
        // Two that begin one at once agree on whose it is: the database keeps the first.
        let fresh = System::default().random().first_chunk().copied().unwrap_or_default();
        let handle = runtime.handle().clone();
        let writer = Arc::new(Mutex::new(Writer::new(link.clone())));
        let vault = PostgresVault::new(link.clone(), handle.clone());
        let runtime = Lock::new(Some(runtime));
        let origin =
            Self { runtime, handle, link, writer, vault, keeper: None, dropping: Arc::default(), fresh };
        let link = origin.link.clone();
        origin.reach(PATIENCE * 2, async move {
            let session = link.connect(None).await?;
            schema::migrate(&session, &link.problem()).await
        })?;
        Ok(origin)
    }

    /// The same for a process that lives on it.
    fn start(url: &SecretString, owner: &str) -> Result<Self, StoreError> {
        let mut origin = Self::connect(url)?;
        let (first, beaten) = oneshot::channel();
        let keeper = Keeper::start(&origin.handle, origin.link.clone(), owner, first);
        origin.vault.go_by(keeper.clock());
        origin.keeper = Some(keeper);
        // Before anything is done in its name, others can hear whether it lives.
        let problem = origin.link.problem();
        origin.reach(STARTING, async move { beaten.await.map_err(|_| problem.no_answer()) })?;
        Ok(origin)
    }

    /// Runs something on the runtime, and waits for it.
    fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let problem = self.link.problem();
        self.handle.spawn(async move {
            let done = timeout(limit, work).await.unwrap_or_else(|_| Err(problem.no_answer()));
            reply.send(done).ok();
        });
        answer.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// The same for what connects first, wherever the database may be.
    fn reach<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(limit + self.link.patience(), work)
    }

    /// Runs a step that begins something: where there is no connection, one is waited for some seconds.
    fn begin<T: Send + 'static>(
        &self,
        work: impl for<'w> FnOnce(&'w mut Writer) -> BoxFuture<'w, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.step_with((PATIENCE, true), work)
    }

    /// Runs a step of a group that was begun.
    fn step<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl for<'w> FnOnce(&'w mut Writer) -> BoxFuture<'w, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.step_with((limit, false), work)
    }

    /// Where a step fails, the connection is given up, and with it whatever was under way.
    fn step_with<T: Send + 'static>(
        &self,
        (limit, begins): (Duration, bool),
        work: impl for<'w> FnOnce(&'w mut Writer) -> BoxFuture<'w, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (writer, problem) = (self.writer.clone(), self.link.problem());
        // Nothing is cut off from outside: whoever comes next would go on in the middle of it.
        self.run(limit + PATIENCE * 3, async move {
            let Ok(mut writer) = timeout(PATIENCE, writer.lock()).await else {
                return Err(problem.no_answer());
            };
            if begins {
                writer.connect().await?;
            }
            let done = timeout(limit, work(&mut writer)).await.unwrap_or_else(|_| Err(problem.no_answer()));
            if done.is_err() {
                writer.disconnect();
            }
            done
        })
    }

    /// Removes tables of segments that are no more, as soon as nobody reads them. Where this process ends before, the next retention
    /// finds them.
    fn drop_later(&self) {
        if self.dropping.swap(true, Ordering::AcqRel) {
            return;
        }
        let (link, dropping) = (self.link.clone(), self.dropping.clone());
        self.handle.spawn(async move {
            loop {
                tokio::time::sleep(DROPPED_AGAIN).await;
                let dropped = timeout(PATIENCE + link.patience(), async {
                    let session = link.connect(None).await?;
                    schema::drop_left(&session).await.map_err(|error| link.problem().of(&error))
                });
                match dropped.await {
                    Ok(Ok(true)) => break,
                    Ok(Err(error)) => tracing::debug!(%error, "store.tables_not_dropped"),
                    Ok(Ok(false)) | Err(_) => {}
                }
            }
            dropping.store(false, Ordering::Release);
        });
    }

    fn shut(&self) {
        let Some(runtime) = self.runtime.lock().take() else { return };
        if let Some(keeper) = &self.keeper {
            let (ended, (reply, answer)) = (keeper.end(), mpsc::sync_channel(1));
            self.handle.spawn(async move {
                timeout(Duration::from_secs(2), ended).await.ok();
                reply.send(()).ok();
            });
            answer.recv().ok();
        }
        runtime.shutdown_background();
    }
}

impl Origin for PostgresOrigin {
    fn begins(&self) -> Result<SegmentHead, StoreError> {
        let (link, fresh) = (self.link.clone(), self.fresh);
        self.reach(PATIENCE, async move {
            let session = link.connect(None).await?;
            journal::begins(&link, &session, fresh).await
        })
    }

    fn read(&self, known: Known) -> Result<News, StoreError> {
        self.begin(move |writer| Box::pin(writer.read(known, false)))
    }

    fn hold(&self, known: Known) -> Result<News, StoreError> {
        self.keeper.as_ref().map_or(Ok(()), |keeper| keeper.clock()())?;
        self.begin(move |writer| Box::pin(writer.read(known, true)))
    }

    fn append(&self, frame: &Appended<'_>, tells: Tells) -> Result<(), NotAppended> {
        let frame = Frame::of(frame, tells);
        self.step(COMMITTING, move |writer| Box::pin(async move { Ok(writer.append(&frame).await) }))
            .map_err(NotAppended::InDoubt)?
    }

    fn release(&self) {
        let writer = self.writer.clone();
        self.handle.spawn(async move { writer.lock().await.release().await });
    }

    fn remove_before(&self, first: i64) -> Result<(), StoreError> {
        if !self.step(PATIENCE, move |writer| Box::pin(writer.remove_before(first)))? {
            self.drop_later();
        }
        Ok(())
    }

    fn secret(&self, name: &str, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        let (link, name) = (self.link.clone(), name.to_owned());
        self.reach(values::REPLACING, async move { values::secret(&link, &name, fresh).await })
    }

    fn value(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let (link, name) = (self.link.clone(), name.to_owned());
        self.reach(PATIENCE, async move { values::value(&link, &name).await })
    }

    fn replace_value(
        &self,
        name: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, StoreError> {
        let (link, name) = (self.link.clone(), name.to_owned());
        self.reach(values::REPLACING, async move { values::replace(&link, &name, (expected, value)).await })
    }

    fn vault(&self) -> Arc<dyn Vault> {
        Arc::new(self.vault.clone())
    }

    fn dead(&self, owners: BTreeSet<String>) -> Result<BTreeSet<String>, StoreError> {
        let Some(keeper) = &self.keeper else { return Ok(BTreeSet::new()) };
        self.run(PATIENCE, keeper.dead(owners))
    }

    fn duty(&self, name: &str) -> Result<Option<Box<dyn Duty>>, StoreError> {
        let Some(keeper) = &self.keeper else { return Ok(None) };
        self.run(PATIENCE, keeper.take(name.to_owned()))
    }

    fn listen(&self, look: Box<dyn Fn() + Send + Sync>) {
        if let Some(keeper) = &self.keeper {
            keeper.listen(look);
        }
    }

    fn decides_by(&self, snapshot: &str) {
        if let Some(keeper) = &self.keeper {
            keeper.decides_by(snapshot);
        }
    }

    fn other_snapshots(&self) -> BTreeSet<Arc<str>> {
        self.keeper.as_ref().map(Keeper::other_snapshots).unwrap_or_default()
    }

    fn place(&self) -> String {
        format!("PostgreSQL at {}", self.link.place())
    }

    fn segments(&self) -> Result<Vec<SegmentHead>, StoreError> {
        let link = self.link.clone();
        self.reach(PATIENCE, async move { journal::segments(&link).await })
    }

    fn first_frame(&self, segment: i64) -> Result<Option<Vec<u8>>, StoreError> {
        let link = self.link.clone();
        self.reach(PATIENCE, async move { accept::first_frame(&link, segment).await })
    }

    fn end(&self) -> Result<End, StoreError> {
        let link = self.link.clone();
        self.reach(PATIENCE, async move { journal::end(&link).await })
    }

    fn go_on(&self, end: &End, head: &SegmentHead, frame: &[u8]) -> Result<(), StoreError> {
        let (link, end, head, frame) = (self.link.clone(), *end, *head, frame.to_vec());
        self.reach(COMMITTING, async move { accept::go_on(&link, &end, &head, &frame).await })
    }

    fn take(&self, head: &SegmentHead, dir: &Path) -> Result<(), StoreError> {
        let (link, head, dir) = (self.link.clone(), *head, dir.to_owned());
        self.run(compare::PATIENCE, async move { accept::take(&link, &head, &dir).await })
    }

    fn compare(&self, segments: &[(i64, PathBuf)]) -> Result<Vec<Differs>, StoreError> {
        let (link, segments) = (self.link.clone(), segments.to_vec());
        self.run(compare::PATIENCE, async move { compare::compare(&link, &segments).await })
    }

    fn close(&self) {
        self.shut();
    }
}
