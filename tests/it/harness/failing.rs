//! A store that fails when it is told to, and whose duties others may take.

use super::Wrap;
use futures::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};
use tokio::sync::watch;
use tollgate::{
    cost::LearnedSizes,
    model::{ApprovalId, Event, EventDraft, GrantId},
    store::*,
};

/// Refuses what it is told to: nothing, admissions, every write, or everything; and what its script says.
pub(crate) struct Failing {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) fails: Arc<AtomicU8>,
    /// Where asks wait, once they are told to.
    pub(crate) asks: Arc<Door>,
    pub(crate) script: Arc<Mutex<Script>>,
    pub(crate) duties: watch::Sender<Duties>,
}

pub(crate) type Script = Box<dyn FnMut(&Question) -> Fault + Send>;

/// What a script is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Records are read.
    Events,
    /// A register, or an entry of it, is read.
    Register(Register),
    /// These are changed.
    Set(Vec<Register>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    /// Nothing is done.
    Before,
    /// It is done, and nobody hears of it.
    AnswerLost,
    /// It is done behind this, which another process does.
    Behind(RegisterChange),
}

/// Who has all duties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duties {
    Mine,
    Others,
    /// Nobody can say.
    Unknown,
}

#[derive(Debug)]
struct Mine(watch::Receiver<Duties>);

impl Duty for Mine {
    fn is_held(&self) -> bool {
        *self.0.borrow() == Duties::Mine
    }
}

impl std::fmt::Debug for Failing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Failing").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Holds what comes to it while it is shut.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) came: tokio::sync::Semaphore,
    pub(crate) open: tokio::sync::watch::Sender<bool>,
}

impl Default for Door {
    fn default() -> Self {
        Self { came: tokio::sync::Semaphore::new(0), open: tokio::sync::watch::Sender::new(true) }
    }
}

pub(crate) const NOTHING: u8 = 0;
pub(crate) const ADMISSION: u8 = 1;
pub(crate) const WRITES: u8 = 2;
pub(crate) const ALL: u8 = 3;

fn failed<'a, T: Send + 'static>() -> StoreFuture<'a, T> {
    Box::pin(async { Err(StoreError::Failed("disk I/O error".into())) })
}

impl Failing {
    pub(crate) fn new(inner: Arc<dyn Store>, fails: Arc<AtomicU8>) -> Self {
        let script: Script = Box::new(|_| Fault::None);
        let (asks, script) = (Arc::default(), Arc::new(Mutex::new(script)));
        Self { inner, fails, asks, script, duties: watch::Sender::new(Duties::Mine) }
    }

    /// For [`super::Setup::wrap`], with the hands that its script and duties are changed by.
    pub(crate) fn scripted() -> (Wrap, Arc<Mutex<Script>>, watch::Sender<Duties>) {
        let script: Script = Box::new(|_| Fault::None);
        let (script, duties) = (Arc::new(Mutex::new(script)), watch::Sender::new(Duties::Mine));
        let (own, of_store) = (script.clone(), duties.clone());
        let wrap = move |inner| -> Arc<dyn Store> {
            Arc::new(Self { script: own, duties: of_store, ..Self::new(inner, Arc::default()) })
        };
        (Box::new(wrap), script, duties)
    }

    fn check<T: Send + 'static>(&self, from: u8) -> Option<StoreFuture<'_, T>> {
        (self.fails.load(Ordering::SeqCst) >= from).then(failed)
    }

    fn read<T: Send + 'static>(&self, asked: &Question) -> Option<StoreFuture<'_, T>> {
        let fault = self.script.lock()(asked);
        self.check(ALL).or_else(|| (fault != Fault::None).then(failed))
    }
}

macro_rules! through {
    ($from:expr; $($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        $(fn $name(&self, $($arg: $type),*) -> StoreFuture<'_, $out> {
            match self.check($from) {
                Some(failed) => failed,
                None => self.inner.$name($($arg),*),
            }
        })*
    };
}

impl Store for Failing {
    through! { ADMISSION;
        admit(request: AdmitRequest) -> Admission;
    }
    through! { WRITES;
        settle(settlement: Settlement) -> ();
        record(events: Vec<EventDraft>) -> ();
        order(events: Vec<EventDraft>, after: i64) -> bool;
        update_approval(update: ApprovalUpdate, events: Vec<EventDraft>) -> bool;
        make_grant(update: ApprovalUpdate, grant: StandingGrant, events: Vec<EventDraft>, made: EventDraft, most: usize) -> GrantMade;
        end_grant(id: GrantId, end: GrantEnd) -> Option<StandingGrant>;
        settle_dead_owners(now: Timestamp) -> u64;
        reset_budget(reset: BudgetReset) -> Vec<ResetCounter>;
        keep(kept: Kept) -> ();
    }
    through! { ALL;
        approval(id: ApprovalId) -> Option<ApprovalRecord>;
        approval_for(binding: ApprovalBinding, needed: Vec<Requirement>, now: Timestamp) -> Option<ApprovalRecord>;
        approvals(filter: ApprovalFilter) -> Vec<ApprovalRecord>;
        approval_heads(limit: usize) -> Vec<ApprovalHead>;
        grant(id: GrantId) -> Option<StandingGrant>;
        grants(filter: GrantFilter) -> Vec<StandingGrant>;
        event_lines(query: EventQuery) -> Vec<EventLine>;
        budget_usage(now: Timestamp) -> Vec<BudgetUsage>;
        learned_sizes() -> Arc<LearnedSizes>;
        secret(name: &'static str, fresh: [u8; 32]) -> [u8; 32];
        kept(kind: KeptKind, name: String) -> Option<Kept>;
        tree(size: Option<u64>, path: TreePath) -> TreeAnswer;
        retire(before: Timestamp, now: Timestamp) -> u64;
        verify() -> ChainReport;
        ping() -> ();
    }
    fn ask(&self, new: ApprovalRecord, events: Vec<EventDraft>, limits: AskLimits) -> StoreFuture<'_, Asked> {
        if let Some(failed) = self.check(WRITES) {
            return failed;
        }
        Box::pin(async move {
            self.asks.came.add_permits(1);
            let mut open = self.asks.open.subscribe();
            open.wait_for(|open| *open).await.unwrap();
            self.inner.ask(new, events, limits).await
        })
    }
    fn set(&self, changes: Vec<RegisterChange>, events: Vec<EventDraft>) -> StoreFuture<'_, bool> {
        let asked = Question::Set(changes.iter().map(|change| change.register).collect());
        let fault = self.script.lock()(&asked);
        match (self.check(WRITES), fault) {
            (Some(failed), _) => failed,
            (None, Fault::None) => self.inner.set(changes, events),
            (None, Fault::Before) => failed(),
            (None, Fault::Behind(other)) => Box::pin(async move {
                self.inner.set(vec![other], Vec::new()).await?;
                self.inner.set(changes, events).await
            }),
            (None, Fault::AnswerLost) => Box::pin(async move {
                self.inner.set(changes, events).await?;
                failed().await
            }),
        }
    }
    fn events(&self, query: EventQuery) -> StoreFuture<'_, Vec<Event>> {
        self.read(&Question::Events).unwrap_or_else(|| self.inner.events(query))
    }
    fn register(&self, register: Register) -> StoreFuture<'_, Vec<RegisterEntry>> {
        self.read(&Question::Register(register)).unwrap_or_else(|| self.inner.register(register))
    }
    fn register_entry(&self, register: Register, key: String) -> StoreFuture<'_, Option<RegisterEntry>> {
        self.read(&Question::Register(register)).unwrap_or_else(|| self.inner.register_entry(register, key))
    }
    fn duty(&self, _name: &str) -> StoreFuture<'_, Option<Box<dyn Duty>>> {
        let now = *self.duties.borrow();
        let duty = || Box::new(Mine(self.duties.subscribe())) as Box<dyn Duty>;
        match now {
            Duties::Mine => Box::pin(async move { Ok(Some(duty())) }),
            Duties::Others => Box::pin(async { Ok(None) }),
            Duties::Unknown => failed(),
        }
    }
    fn unsettled(&self) -> usize {
        self.inner.unsettled()
    }
    fn approval_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.approval_changes()
    }
    fn control_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.control_changes()
    }
    fn register_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.register_changes()
    }
    fn committed(&self) -> tokio::sync::broadcast::Receiver<Arc<Event>> {
        self.inner.committed()
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
