//! What the store promises, by the parts of this one.

use super::{
    EmbeddedStore, PROBE, SETTLING, approvals, blocking, book,
    calls::{self, Chained},
    duty, figures, granting,
    grants::{self, Grants},
    in_time,
    job::{Kind, job},
    kept, lost, not_in, records,
    register_set::{self, Set},
    resets, retire, trees,
    tx::Tx,
    usage, verify, watch,
};
use crate::{
    admission::{RepeatLimit, repeat_key},
    cost::LearnedSizes,
    journal,
    model::{ApprovalId, Event, EventDraft, GrantId},
    series,
    store::{
        Admission, AdmitRequest, ApprovalBinding, ApprovalFilter, ApprovalHead, ApprovalRecord,
        ApprovalUpdate, AskLimits, Asked, BudgetReset, BudgetUsage, ChainReport, Duty, EventLine, EventQuery,
        Figures, GrantEnd, GrantFilter, GrantMade, Kept, KeptKind, KnownDamage, LoopQuery, LoopSeen,
        Register, RegisterChange, RegisterEntry, Requirement, ResetCounter, Settlement, StandingGrant, Store,
        StoreError, StoreFuture, TreeAnswer, TreePath, Vault,
    },
};
use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::{broadcast, watch as signal};

/// What stops a call whose approval cannot be read.
fn unverified(error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged(problem) => StoreError::Unverified(problem),
        other => other,
    }
}

impl EmbeddedStore {
    /// Where the counters stand, without anything being written.
    async fn remembered_usage(&self, now: Timestamp) -> Result<Vec<BudgetUsage>, StoreError> {
        self.remembered(move |tx| {
            let remembered = tx.remembered(now);
            usage::remembered(tx.connection, tx.ledger(), now, &remembered)
        })
        .await?
    }

    /// What the writer remembers, once it has taken in all that others have appended; nothing is written.
    pub(super) async fn remembered<T: Send + 'static>(
        &self,
        read: impl Fn(&mut Tx<'_>) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, answer) = job(Kind::Read, move |tx: &mut Tx<'_>| Ok(read(tx)), |value| value);
        self.send(job)?;
        in_time(async { answer.await.unwrap_or(Err(StoreError::Closed)) }).await
    }
}

impl Store for EmbeddedStore {
    fn admit(&self, request: AdmitRequest) -> StoreFuture<'_, Admission> {
        let request = Arc::new(request);
        // Queued at once, but where a call uses an approval or a grant, which is read first.
        let names = request.approval.is_some() || request.grant.is_some();
        let first = if names { None } else { Some(self.submit(&request, Arc::default(), false)) };
        async move {
            let chained = match names {
                true => Arc::new(self.chained(&request).await.map_err(unverified)?),
                false => Arc::new(Chained::default()),
            };
            let first = match first {
                Some(first) => first.await?,
                None => self.submit(&request, chained.clone(), false).await?,
            };
            if let Some(admission) = first {
                return Ok(admission);
            }
            tokio::time::sleep(SETTLING).await;
            self.submit(&request, chained, true).await?.ok_or(StoreError::Closed)
        }
        .boxed()
    }

    fn settle(&self, settlement: Settlement) -> StoreFuture<'_, ()> {
        let (job, answer) =
            job(Kind::FireAndForget, move |tx: &mut Tx<'_>| calls::settle(tx, &settlement), |()| ());
        let sent = self.shared.usable().and_then(|()| self.queue.push_settlement(job));
        async move {
            sent?;
            answer.await.unwrap_or(Err(StoreError::Closed))
        }
        .boxed()
    }

    fn record(&self, events: Vec<EventDraft>) -> StoreFuture<'_, ()> {
        let written = self.write(move |tx| {
            for event in &events {
                tx.append(event)?;
            }
            Ok(())
        });
        in_time(written).boxed()
    }

    fn order(&self, events: Vec<EventDraft>, after: i64) -> StoreFuture<'_, bool> {
        async move {
            // Other processes look from here on: whoever is killed behind the commit has told them.
            watch::tell_of_order(self.journal.dir()).map_err(|error| {
                StoreError::Failed(format!("other processes cannot be told of an order: {error}"))
            })?;
            // The index of what is there is made before the writer looks.
            self.read_records(move |journal| records::has_order(journal, after)).await?;
            let written = self.write(move |tx| {
                // One that this group has appended cannot be read yet.
                if tx.ordered {
                    return Ok(false);
                }
                tx.reader().refresh()?;
                if records::has_order(tx.reader(), after)? {
                    return Ok(false);
                }
                for event in &events {
                    tx.append(event)?;
                }
                tx.ordered = true;
                Ok(true)
            });
            in_time(written).await
        }
        .boxed()
    }

    fn ask(&self, new: ApprovalRecord, events: Vec<EventDraft>, limits: AskLimits) -> StoreFuture<'_, Asked> {
        self.write(move |tx| approvals::ask(tx, &new, &events, &limits))
    }

    fn approval(&self, id: ApprovalId) -> StoreFuture<'_, Option<ApprovalRecord>> {
        self.read(move |book| {
            // First what the chain says: what comes meanwhile is newer in the projection.
            let chained = book::chained(book.journal, &id, book.first_seq(&id)?)?;
            book::held(book.get(&id)?, chained.as_ref(), &id)
        })
    }

    fn approval_for(
        &self,
        binding: ApprovalBinding,
        needed: Vec<Requirement>,
        now: Timestamp,
    ) -> StoreFuture<'_, Option<ApprovalRecord>> {
        self.read(move |book| book.find(&binding, &needed, now))
    }

    fn approvals(&self, filter: ApprovalFilter) -> StoreFuture<'_, Vec<ApprovalRecord>> {
        let shared = self.shared.clone();
        self.read(move |book| book::list(book, &filter, &|id, problem| shared.note_unverified(id, problem)))
    }

    fn approval_heads(&self, limit: usize) -> StoreFuture<'_, Vec<ApprovalHead>> {
        self.read(move |book| book::heads(book.connection, limit))
    }

    fn update_approval(&self, update: ApprovalUpdate, events: Vec<EventDraft>) -> StoreFuture<'_, bool> {
        self.write(move |tx| approvals::update(tx, &update, &events))
    }

    fn make_grant(
        &self,
        update: ApprovalUpdate,
        grant: StandingGrant,
        events: Vec<EventDraft>,
        made: EventDraft,
        most: usize,
    ) -> StoreFuture<'_, GrantMade> {
        self.write(move |tx| granting::make(tx, &update, &grant, &events, (&made, most)))
    }

    fn grant(&self, id: GrantId) -> StoreFuture<'_, Option<StandingGrant>> {
        self.read(move |book| {
            // First what the chain says: what comes meanwhile is newer in the projection.
            let chained = grants::chained(book.journal, &id)?;
            grants::held(Grants::from(book).get(&id)?, chained.as_ref(), &id)
        })
    }

    fn grants(&self, filter: GrantFilter) -> StoreFuture<'_, Vec<StandingGrant>> {
        self.read(move |book| Grants::from(book).list(&filter))
    }

    fn end_grant(&self, id: GrantId, end: GrantEnd) -> StoreFuture<'_, Option<StandingGrant>> {
        self.write(move |tx| granting::end(tx, &id, &end))
    }

    fn approval_changes(&self) -> signal::Receiver<u64> {
        let receiver = self.shared.approvals.subscribe();
        self.watcher.thread().unpark();
        receiver
    }

    fn control_changes(&self) -> signal::Receiver<u64> {
        let receiver = self.shared.control.subscribe();
        self.watcher.thread().unpark();
        receiver
    }

    fn set(&self, changes: Vec<RegisterChange>, events: Vec<EventDraft>) -> StoreFuture<'_, bool> {
        async move {
            register_set::check(&changes)?;
            // Other processes look from here on: whoever is killed behind the commit has told them.
            if changes.iter().any(|change| change.register.wakes()) {
                watch::tell_of_registers(self.journal.dir()).map_err(|error| {
                    StoreError::Failed(format!("other processes cannot be told of it: {error}"))
                })?;
            }
            match in_time(self.write(move |tx| register_set::set(tx, &changes, &events))).await? {
                Set::Done => Ok(true),
                Set::Outdated => Ok(false),
                Set::Full(register) => Err(StoreError::RegisterFull(register.as_str())),
            }
        }
        .boxed()
    }

    fn register(&self, register: Register) -> StoreFuture<'_, Vec<RegisterEntry>> {
        self.remembered(move |tx| tx.registers().of(register)).boxed()
    }

    fn register_entry(&self, register: Register, key: String) -> StoreFuture<'_, Option<RegisterEntry>> {
        self.remembered(move |tx| tx.registers().get(register, &key).cloned()).boxed()
    }

    fn register_changes(&self) -> signal::Receiver<u64> {
        let receiver = self.shared.registers.subscribe();
        self.watcher.thread().unpark();
        receiver
    }

    fn events(&self, query: EventQuery) -> StoreFuture<'_, Vec<Event>> {
        self.read_records(move |journal| records::query(journal, &query))
    }

    fn event_lines(&self, query: EventQuery) -> StoreFuture<'_, Vec<EventLine>> {
        self.read_records(move |journal| records::lines(journal, &query))
    }

    fn figures(&self, asked: series::Asked) -> StoreFuture<'_, Figures> {
        self.read_records(move |journal| figures::read(journal, asked))
    }

    fn committed(&self) -> broadcast::Receiver<Arc<Event>> {
        match self.shared.events.upgrade() {
            Some(events) => events.subscribe(),
            None => broadcast::Sender::new(1).subscribe(),
        }
    }

    fn budget_usage(&self, now: Timestamp) -> StoreFuture<'_, Vec<BudgetUsage>> {
        async move {
            let remembered = self
                .write(move |tx| {
                    tx.project = true;
                    Ok(tx.remembered(now))
                })
                .await;
            let remembered = match remembered {
                // Nothing can be written, and all of it is remembered.
                Err(StoreError::Full) => return self.remembered_usage(now).await,
                remembered => remembered?,
            };
            self.read(move |book| usage::read(book.connection, now, &remembered)).await
        }
        .boxed()
    }

    fn loops(&self, query: LoopQuery) -> StoreFuture<'_, Option<Vec<LoopSeen>>> {
        async move {
            let seen = self
                .remembered(move |tx| {
                    let LoopQuery { now, agent, workflow, tool, digest, max_repeats, loops } = &query;
                    let checks = loops.checks(agent, workflow.as_ref().map(|id| id.as_str()), tool, digest);
                    let identical =
                        max_repeats.map(|max| RepeatLimit { key: repeat_key(agent, digest), max });
                    tx.loops_at(identical, &checks, now.as_microsecond())
                })
                .await?;
            Ok(Some(seen))
        }
        .boxed()
    }

    fn reset_budget(&self, reset: BudgetReset) -> StoreFuture<'_, Vec<ResetCounter>> {
        in_time(self.write(move |tx| resets::reset(tx, &reset))).boxed()
    }

    fn learned_sizes(&self) -> StoreFuture<'_, Arc<LearnedSizes>> {
        async move {
            // By the writer, which takes in all that comes later: what the projection has may be older than that.
            self.remembered(|tx| tx.share_sizes()).await??;
            Ok(self.shared.sizes.clone())
        }
        .boxed()
    }

    fn settle_dead_owners(&self, now: Timestamp) -> StoreFuture<'_, u64> {
        self.settle_dead(now).boxed()
    }

    fn duty(&self, name: &str) -> StoreFuture<'_, Option<Box<dyn Duty>>> {
        let name = name.to_owned();
        async move {
            self.shared.usable()?;
            match &self.origin {
                None => duty::take(&self.path, &name),
                Some(origin) => {
                    let origin = origin.clone();
                    blocking(move || origin.duty(&name)).await
                }
            }
        }
        .boxed()
    }

    fn is_shared(&self) -> bool {
        self.origin.is_some()
    }

    fn secret(&self, name: &'static str, fresh: [u8; 32]) -> StoreFuture<'_, [u8; 32]> {
        let folder = self.journal.dir().to_owned();
        async move {
            self.shared.usable()?;
            if let Some(origin) = self.origin.clone() {
                return blocking(move || origin.secret(name, fresh)).await;
            }
            blocking(move || {
                journal::key(&folder, name, &fresh)
                    .map_err(|error| StoreError::Failed(format!("the key `{name}`: {error}")))
            })
            .await
        }
        .boxed()
    }

    fn shared_value(&self, name: &'static str) -> StoreFuture<'_, Option<Vec<u8>>> {
        async move {
            self.shared.usable()?;
            let Some(origin) = self.origin.clone() else { return Ok(None) };
            blocking(move || origin.value(name)).await
        }
        .boxed()
    }

    fn replace_shared_value(
        &self,
        name: &'static str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> StoreFuture<'_, bool> {
        async move {
            self.shared.usable()?;
            let Some(origin) = self.origin.clone() else {
                return Err(StoreError::Failed("nothing is shared by this store".to_owned()));
            };
            blocking(move || origin.replace_value(name, expected, value)).await
        }
        .boxed()
    }

    fn vault(&self) -> Option<Arc<dyn Vault>> {
        Some(self.vault.clone())
    }

    fn keep(&self, kept: Kept) -> StoreFuture<'_, ()> {
        in_time(self.write(move |tx| tx.keep(&kept))).boxed()
    }

    fn kept(&self, kind: KeptKind, name: String) -> StoreFuture<'_, Option<Kept>> {
        self.read(move |book| kept::get(book.connection, kind, &name))
    }

    fn verify(&self) -> StoreFuture<'_, ChainReport> {
        async move {
            self.all_queued().await?;
            let (path, journal) = (self.path.clone(), self.journal.clone());
            // The projection takes what it has not taken yet, and that is what is compared.
            let compared = self.write(move |tx| {
                tx.project = true;
                Ok(())
            });
            compared.await?;
            let origin = self.origin.clone();
            // On one thread: agents do not wait for it.
            blocking(move || {
                let mut report = verify::verify(&path, &journal, 1)?;
                if let Some(origin) = origin {
                    lost::compare(&journal, &*origin, &mut report)?;
                }
                Ok(report)
            })
            .await
        }
        .boxed()
    }

    fn tree(&self, size: Option<u64>, path: TreePath) -> StoreFuture<'_, TreeAnswer> {
        self.read_records(move |journal| trees::ask(journal, size, path))
    }

    fn retire(&self, before: Timestamp, now: Timestamp) -> StoreFuture<'_, u64> {
        async move {
            self.check_files()?;
            let journal = self.journal.clone();
            let holds = self.register(Register::Hold).await?;
            let plan = self.readers.clone().read(move |_| retire::plan(&journal, before, &holds)).await?;
            let Some(plan) = plan else { return Ok(0) };
            let (records, carried) = (plan.records(), plan.clone());
            // Where a hold came meanwhile, the next round finds it.
            if !self.write(move |tx| retire::carry(tx, &carried, now)).await? {
                return Ok(0);
            }
            // What is carried over is committed by now. The files go under the lock that whoever places a hold has to have.
            let removed = self.write(move |tx| retire::remove(tx, &plan)).await?;
            Ok(if removed { records } else { 0 })
        }
        .boxed()
    }

    fn ping(&self) -> StoreFuture<'_, ()> {
        let mut newest = self.probe.lock();
        let probe = match newest.take() {
            Some(probe) if probe.clone().now_or_never().is_none() => probe,
            Some(_) | None => self.write(|_| Ok(())).shared(),
        };
        *newest = Some(probe.clone());
        drop(newest);
        async move { tokio::time::timeout(PROBE, probe).await.unwrap_or_else(|_| Err(not_in(PROBE))) }.boxed()
    }

    fn damage(&self) -> Vec<KnownDamage> {
        let of_record = self.journal.damage().into_iter();
        let mut known: Vec<KnownDamage> =
            of_record.map(|damage| KnownDamage { approval: None, problem: damage.to_string() }).collect();
        let unverified = self.shared.unverified.lock();
        known.extend(
            unverified
                .iter()
                .map(|(id, problem)| KnownDamage { approval: Some(id.clone()), problem: problem.clone() }),
        );
        known
    }

    fn decides_by(&self, snapshot: &str) {
        if let Some(origin) = &self.origin {
            origin.decides_by(snapshot);
        }
    }

    fn other_snapshots(&self) -> BTreeSet<Arc<str>> {
        self.origin.as_ref().map(|origin| origin.other_snapshots()).unwrap_or_default()
    }

    fn unsettled(&self) -> usize {
        self.queue.settlements()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.shut().boxed()
    }
}
