//! What a process keeps up with the database beside its groups: it listens, says that it lives, hears who else does, and
//! holds its duties. A connection of its own, made again whenever it is lost.

use super::{
    journal::CHANNEL,
    link::{Link, Session},
};
use crate::{
    clock::{Clock as _, System},
    store::{Duty, StoreError},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_postgres::Row;

/// How often a process says that it lives, and looks whether others do.
pub(super) const BEAT: Duration = Duration::from_secs(2);
/// How often it is looked for news that nobody told of.
const LOOK: Duration = Duration::from_millis(500);
/// How long nothing is heard of a process that is taken for dead, and so many beats of the listener's own. While the database is
/// away nobody is heard of, and nobody counts.
pub(super) const SILENT: Duration = Duration::from_secs(14);
const SILENT_BEATS: u32 = 6;
/// After what time rows of processes that are no more go.
const FORGOTTEN: &str = "DELETE FROM tollgate.replicas WHERE seen < now() - interval '1 day'";
/// Between two tries to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);

const BEATEN: &str = "INSERT INTO tollgate.replicas(owner, beat, seen, snapshot) VALUES ($1, 1, now(), $2)
    ON CONFLICT (owner) DO UPDATE SET beat = tollgate.replicas.beat + 1, seen = now(), snapshot = $2";
/// The database's clock, in milliseconds since 1970.
const TIME: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8";
/// So far a clock may be from the database's. What stands in the record has the time of the replica that wrote it: budgets,
/// deadlines of approvals and retention go by it.
const MOST_SKEW: i64 = 5_000;
const HEARD: &str = "SELECT owner, beat, snapshot FROM tollgate.replicas";
/// Keys of duties beside those of others in the same database.
const TRY: &str = "SELECT pg_try_advisory_lock(7597125, hashtext($1))";
const GIVE_BACK: &str = "SELECT pg_advisory_unlock(7597125, hashtext($1))";

/// Called when it should be looked for news.
type Look = Box<dyn Fn() + Send + Sync>;

/// What is asked of the keeper's task.
enum Ask {
    Take(String, oneshot::Sender<Result<bool, StoreError>>),
    Dead(BTreeSet<String>, oneshot::Sender<Result<BTreeSet<String>, StoreError>>),
    GiveBack(String),
    End(oneshot::Sender<()>),
}

/// What is known of another process.
struct Heard {
    beat: i64,
    /// By which snapshot it decides; `None`: it decides nothing.
    snapshot: Option<Arc<str>>,
    since: Instant,
    beats: u32,
}

impl Heard {
    /// It has not been heard of for so long that it is taken for dead.
    fn is_silent(&self) -> bool {
        self.since.elapsed() >= SILENT && self.beats >= SILENT_BEATS
    }
}

#[derive(Default)]
struct State {
    look: Option<Look>,
    heard: BTreeMap<String, Heard>,
    /// By which snapshot this process decides.
    snapshot: Option<Arc<str>>,
}

struct Shared {
    link: Arc<Link>,
    owner: String,
    state: Mutex<State>,
    /// Which connection it is; 0: there is none.
    connection: AtomicU64,
    /// How far this machine's clock is ahead of the database's, in milliseconds; 0 where that is no matter.
    ahead: AtomicI64,
}

impl Shared {
    /// Nothing is decided by a clock that is not the database's.
    fn check_clock(&self) -> Result<(), StoreError> {
        let (ahead, of) = match self.ahead.load(Ordering::Acquire) {
            0 => return Ok(()),
            ahead if ahead > 0 => (ahead, "ahead of"),
            behind => (-behind, "behind"),
        };
        Err(StoreError::Clock(format!(
            "{} s {of} that of PostgreSQL at {}",
            ahead / 1_000,
            self.link.place()
        )))
    }

    fn look(&self) {
        if let Some(look) = &self.state.lock().look {
            look();
        }
    }
}

/// The handle of the task.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    asks: mpsc::UnboundedSender<Ask>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("owner", &self.shared.owner).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Begins on a runtime. The first beat is there when `first` says so.
    pub(super) fn start(
        runtime: &tokio::runtime::Handle,
        link: Arc<Link>,
        owner: &str,
        first: oneshot::Sender<()>,
    ) -> Self {
        let shared = Arc::new(Shared {
            link,
            owner: owner.to_owned(),
            state: Mutex::default(),
            connection: AtomicU64::new(0),
            ahead: AtomicI64::new(0),
        });
        let (asks, asked) = mpsc::unbounded_channel();
        runtime.spawn(keep(shared.clone(), asked, first));
        Self { shared, asks }
    }

    pub(super) fn listen(&self, look: Look) {
        self.shared.state.lock().look = Some(look);
    }

    /// Others hear of it with the next beat.
    pub(super) fn decides_by(&self, snapshot: &str) {
        self.shared.state.lock().snapshot = Some(snapshot.into());
    }

    /// Those of processes that live.
    pub(super) fn other_snapshots(&self) -> BTreeSet<Arc<str>> {
        let state = self.shared.state.lock();
        let living =
            state.heard.iter().filter(|(owner, heard)| **owner != self.shared.owner && !heard.is_silent());
        living
            .filter_map(|(_, heard)| heard.snapshot.clone())
            .filter(|snapshot| state.snapshot.as_ref().is_some_and(|own| own != snapshot))
            .collect()
    }

    /// Says whether something may be decided by this machine's clock.
    pub(super) fn clock(&self) -> impl Fn() -> Result<(), StoreError> + Send + Sync + use<> {
        let shared = self.shared.clone();
        move || shared.check_clock()
    }

    /// Those of some processes that are no more.
    pub(super) fn dead(
        &self,
        owners: BTreeSet<String>,
    ) -> impl Future<Output = Result<BTreeSet<String>, StoreError>> + Send + use<> {
        let asks = self.asks.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            asks.send(Ask::Dead(owners, reply)).map_err(|_| StoreError::Closed)?;
            answer.await.unwrap_or(Err(StoreError::Closed))
        }
    }

    /// Takes a duty on, where nobody has it.
    pub(super) fn take(
        &self,
        name: String,
    ) -> impl Future<Output = Result<Option<Box<dyn Duty>>, StoreError>> + Send + use<> {
        let (shared, asks) = (self.shared.clone(), self.asks.clone());
        async move {
            let (reply, answer) = oneshot::channel();
            let connection = shared.connection.load(Ordering::Acquire);
            if connection == 0 {
                return Err(shared.link.problem().says("there is no connection"));
            }
            asks.send(Ask::Take(name.clone(), reply)).map_err(|_| StoreError::Closed)?;
            match answer.await.unwrap_or(Err(StoreError::Closed))? {
                true => Ok(Some(Box::new(Held { name, connection, shared, asks }) as Box<dyn Duty>)),
                false => Ok(None),
            }
        }
    }

    /// Ends the task, which says that this process is no more.
    pub(super) fn end(&self) -> oneshot::Receiver<()> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::End(reply)).ok();
        answer
    }
}

/// A duty for as long as the connection holds that it was taken on.
struct Held {
    name: String,
    connection: u64,
    shared: Arc<Shared>,
    asks: mpsc::UnboundedSender<Ask>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.name).finish()
    }
}

impl Duty for Held {
    fn is_held(&self) -> bool {
        self.shared.connection.load(Ordering::Acquire) == self.connection
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.is_held() {
            self.asks.send(Ask::GiveBack(std::mem::take(&mut self.name))).ok();
        }
    }
}

/// Why a connection is left.
enum Left {
    Lost(StoreError),
    Ended(Option<oneshot::Sender<()>>),
}

/// The task's whole life.
async fn keep(shared: Arc<Shared>, mut asked: mpsc::UnboundedReceiver<Ask>, first: oneshot::Sender<()>) {
    let (mut first, mut number, mut pause) = (Some(first), 0, FIRST_PAUSE);
    loop {
        let told = Arc::downgrade(&shared);
        let notified = Arc::new(move |_| {
            if let Some(shared) = told.upgrade() {
                shared.look();
            }
        });
        let left = match shared.link.connect(Some(notified)).await {
            Ok(session) => {
                number += 1;
                let left = with(&shared, &session, number, &mut asked, &mut first).await;
                let has_beaten = shared.connection.swap(0, Ordering::AcqRel) == number;
                // Nobody was heard of meanwhile, whoever lives.
                shared.state.lock().heard.clear();
                if has_beaten && matches!(left, Left::Lost(_)) {
                    pause = FIRST_PAUSE;
                }
                left
            }
            Err(error) => Left::Lost(error),
        };
        match left {
            Left::Lost(error) => tracing::debug!(%error, "store.keeper_disconnected"),
            Left::Ended(reply) => {
                if let Some(reply) = reply {
                    reply.send(()).ok();
                }
                return;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        // Whoever asked meanwhile is told, and may ask again.
        while let Ok(ask) = asked.try_recv() {
            match ask {
                Ask::Take(_, reply) => {
                    reply.send(Err(shared.link.problem().says("there is no connection"))).ok();
                }
                Ask::Dead(_, reply) => {
                    reply.send(Err(shared.link.problem().says("there is no connection"))).ok();
                }
                Ask::GiveBack(_) => {}
                Ask::End(reply) => {
                    reply.send(()).ok();
                    return;
                }
            }
        }
    }
}

/// For as long as one connection holds.
async fn with(
    shared: &Shared,
    session: &Session,
    number: u64,
    asked: &mut mpsc::UnboundedReceiver<Ask>,
    first: &mut Option<oneshot::Sender<()>>,
) -> Left {
    let problem = shared.link.problem();
    let begin = format!("LISTEN {CHANNEL}; {FORGOTTEN}");
    if let Err(error) = within(&problem, session.client.batch_execute(&begin)).await {
        return Left::Lost(error);
    }
    let mut duties = BTreeSet::new();
    let (mut beat, mut look) = (interval(BEAT), interval(LOOK));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let done = tokio::select! {
            _ = beat.tick() => {
                let beaten = within(&problem, beaten(shared, session)).await;
                if beaten.is_ok() {
                    shared.connection.store(number, Ordering::Release);
                    if let Some(first) = first.take() {
                        first.send(()).ok();
                    }
                }
                beaten
            }
            _ = look.tick() => {
                shared.look();
                Ok(())
            }
            ask = asked.recv() => match ask {
                Some(Ask::Take(name, reply)) => {
                    let taken = match duties.contains(&name) {
                        // The server would grant it twice to one connection.
                        true => Ok(false),
                        false => within(&problem, ask_duty(session, TRY, &name)).await,
                    };
                    if matches!(taken, Ok(true)) {
                        duties.insert(name.clone());
                    }
                    let lost = taken.as_ref().err().cloned();
                    match reply.send(taken) {
                        // Whoever asked waits no more: nobody would do it, here or elsewhere.
                        Err(Ok(true)) => {
                            duties.remove(&name);
                            within(&problem, ask_duty(session, GIVE_BACK, &name)).await.map(drop)
                        }
                        Ok(()) | Err(_) => lost.map_or(Ok(()), Err),
                    }
                }
                Some(Ask::Dead(owners, reply)) => {
                    let dead = within(&problem, dead(shared, session, owners)).await;
                    let lost = dead.as_ref().err().cloned();
                    reply.send(dead).ok();
                    lost.map_or(Ok(()), Err)
                }
                Some(Ask::GiveBack(name)) => {
                    duties.remove(&name);
                    within(&problem, ask_duty(session, GIVE_BACK, &name)).await.map(drop)
                }
                Some(Ask::End(reply)) => {
                    let gone = "DELETE FROM tollgate.replicas WHERE owner = $1";
                    timeout(PATIENCE, session.client.execute(gone, &[&shared.owner])).await.ok();
                    return Left::Ended(Some(reply));
                }
                None => return Left::Ended(None),
            },
        };
        if let Err(error) = done {
            return Left::Lost(error);
        }
    }
}

async fn within<T>(
    problem: &super::problem::Problem,
    asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, StoreError> {
    match timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| problem.of(&error)),
        Err(_) => Err(problem.no_answer()),
    }
}

async fn ask_duty(session: &Session, question: &str, name: &str) -> Result<bool, tokio_postgres::Error> {
    Ok(session.client.query_one(question, &[&name]).await?.get(0))
}

/// Says that this process lives, and notes who else does.
async fn beaten(shared: &Shared, session: &Session) -> Result<(), tokio_postgres::Error> {
    let snapshot = shared.state.lock().snapshot.clone();
    session.client.execute(BEATEN, &[&shared.owner, &snapshot.as_deref()]).await?;
    let before = System::default().now().as_millisecond();
    let there: i64 = session.client.query_one(TIME, &[]).await?.get(0);
    let after = System::default().now().as_millisecond();
    shared.ahead.store(skew(before, there, after), Ordering::Release);
    let alive = session.client.query(HEARD, &[]).await?;
    let now = Instant::now();
    let mut state = shared.state.lock();
    let alive: BTreeMap<String, &Row> = alive.iter().map(|row| (row.get(0), row)).collect();
    state.heard.retain(|owner, _| alive.contains_key(owner));
    for (owner, row) in alive {
        let (beat, snapshot) = (row.get(1), row.get::<_, Option<&str>>(2).map(Arc::from));
        let first = Heard { beat, snapshot: snapshot.clone(), since: now, beats: 0 };
        let heard = state.heard.entry(owner).or_insert(first);
        heard.beats = heard.beats.saturating_add(1);
        if beat != heard.beat {
            *heard = Heard { beat, snapshot, since: now, beats: 0 };
        }
    }
    Ok(())
}

/// How far a clock that said `before` and `after` is ahead of one that said `there` in between, as far as that is sure; 0 where it is
/// at most [`MOST_SKEW`]. In milliseconds.
fn skew(before: i64, there: i64, after: i64) -> i64 {
    let ahead = before.saturating_sub(there).max(0) + after.saturating_sub(there).min(0);
    if ahead.abs() > MOST_SKEW { ahead } else { 0 }
}

pub(super) async fn heard(session: &Session) -> Result<BTreeMap<String, i64>, tokio_postgres::Error> {
    let rows = session.client.query(HEARD, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Whoever ends in order takes its row away; it was there before anything was done in its name. Whoever is killed is silent.
async fn dead(
    shared: &Shared,
    session: &Session,
    owners: BTreeSet<String>,
) -> Result<BTreeSet<String>, tokio_postgres::Error> {
    let there = heard(session).await?;
    let state = shared.state.lock();
    let is_silent = |owner: &str| {
        let beats_on = |heard: &&Heard| there.get(owner) != Some(&heard.beat);
        state.heard.get(owner).filter(|heard| !beats_on(heard)).is_some_and(Heard::is_silent)
    };
    let is_dead = |owner: &String| *owner != shared.owner && (!there.contains_key(owner) || is_silent(owner));
    Ok(owners.into_iter().filter(is_dead).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_is_no_skew() {
        for (before, there, after, expected) in [
            (1_000, 1_002, 1_004, 0),
            // It took 20 s, and the time there is within.
            (1_000, 9_000, 21_000, 0),
            (7_000, 1_000, 7_010, 6_000),
            (6_000, 1_000, 6_010, 0),
            (1_000, 90_000, 1_010, -88_990),
        ] {
            assert_eq!(skew(before, there, after), expected, "{before} {there} {after}");
        }
    }
}
