//! The slow look at what was read already: a running process goes through all segments again and again, and holds them against
//! their hashes and against what they were when it saw them first. What differs is told by the log, by `/readyz` and by a
//! record. It reads a little at a time, so that nobody waits for the disk because of it.

use super::{
    Shared,
    job::{Kind, job},
    queue::Queue,
    tx::Tx,
};
use crate::{
    evidence,
    journal::{
        Damage, Flow, Head, JournalError, Range, Reader, Segment,
        index::{Field, Pattern, Wanted},
        walk,
    },
    model::{EventDraft, EventType},
    store::StoreError,
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

/// Before the first round, and between two.
const PAUSE: Duration = Duration::from_secs(30);

/// Bytes that are read at once, and the pause after them: 4 MiB a second.
const STEP: u64 = 1 << 20;
const STEP_PAUSE: Duration = Duration::from_millis(250);

/// Alerts that are looked through for one of the same place.
const ALERTS: usize = 1_000;

/// Up to where each segment has been read, and what a frame there follows.
#[derive(Debug, Default)]
pub(super) struct Patrol {
    known: BTreeMap<i64, (u64, Head)>,
}

impl Patrol {
    /// Looks at all segments once. `pace` is told how many bytes were read, and says whether to go on. What differs from what
    /// was written is noted by the reader; those that are new are handed back.
    pub(super) fn round(
        &mut self,
        journal: &Reader,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Vec<Damage>, StoreError> {
        match journal.refresh() {
            Ok(()) | Err(JournalError::Damaged(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let end = journal.end();
        let mut found = Vec::new();
        let mut there = Vec::new();
        let mut paths = journal.paths();
        // What changes is looked at first.
        paths.reverse();
        for path in paths {
            let segment = match Segment::open_any(&path) {
                Ok(segment) => segment,
                // Retention removed it.
                Err(JournalError::Failed { .. }) if !path.exists() => continue,
                Err(error) => return Err(error.into()),
            };
            let first = segment.first_seq();
            there.push(first);
            let until = (first == end.segment).then_some(end.offset);
            let Some(damage) = self.look(&segment, until, pace)? else { return Ok(found) };
            found.extend(damage.into_iter().filter(|damage| journal.note(damage.clone())));
        }
        self.known.retain(|first, _| there.contains(first));
        Ok(found)
    }

    /// `None`: it is to end.
    fn look(
        &mut self,
        segment: &Segment,
        until: Option<u64>,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<Vec<Damage>>, StoreError> {
        let known = self.known.get(&segment.first_seq()).copied();
        let (mut read, mut stopped, mut seen) = (0, false, known.is_none());
        let mut differs = None;
        let mut hold = |offset: u64, head: &Head| {
            if let Some((at, was)) = known
                && offset == at
            {
                seen = true;
                if *head != was {
                    differs = Some((offset, head.seq));
                }
            }
        };
        let walked = walk(segment, until, &mut |offset, before, frame| {
            hold(offset, before);
            read += frame.head.length as u64;
            if read >= STEP {
                stopped = !pace(std::mem::take(&mut read));
            }
            if stopped { Flow::Stop } else { Flow::On }
        })?;
        if stopped {
            return Ok(None);
        }
        hold(walked.offset, &walked.end);
        let mut damage = walked.damage;
        if damage.is_empty() {
            let other = match (seen, differs) {
                (true, None) => None,
                (_, Some((offset, after))) => Some((offset, after)),
                (false, None) => Some((walked.offset, walked.end.seq)),
            };
            match other {
                Some((offset, after)) => damage.push(Damage {
                    path: segment.path.clone(),
                    offset,
                    after,
                    problem: "it is whole, and is not what this process read there before: it was replaced"
                        .to_owned(),
                }),
                None => {
                    self.known.insert(segment.first_seq(), (walked.offset, walked.end));
                }
            }
        }
        Ok(Some(damage))
    }
}

/// The thread's whole life.
pub(super) fn run(patrol: &Mutex<Patrol>, journal: &Reader, shared: &Weak<Shared>, queue: &Weak<Queue>) {
    let goes_on = || shared.upgrade().is_some_and(|shared| !shared.is_closed());
    loop {
        std::thread::park_timeout(PAUSE);
        if !goes_on() {
            return;
        }
        let round = patrol.lock().round(journal, &mut |_| {
            std::thread::park_timeout(STEP_PAUSE);
            goes_on()
        });
        match round {
            Ok(found) => {
                if let (Some(queue), Some(shared)) = (queue.upgrade(), shared.upgrade()) {
                    tell(&found, shared.replica.as_ref(), &queue);
                }
            }
            Err(error) => tracing::warn!(%error, "store.not_looked_over"),
        }
    }
}

/// Says what was found in the log and, where no process did before, in a record.
pub(super) fn tell(found: &[Damage], replica: Option<&Arc<str>>, queue: &Arc<Queue>) {
    for damage in found {
        match replica {
            None => tracing::error!(
                %damage,
                "store.damaged: the record is not what was written; `tollgate audit verify` looks at all of it"
            ),
            Some(_) => tracing::error!(
                %damage,
                "store.copy_damaged: this machine's copy of the record is not what was copied; the database has the record. \
                 Restart this process: it rebuilds its copy"
            ),
        }
        let (damage, replica) = (damage.clone(), replica.cloned());
        let record = move |tx: &mut Tx<'_>| record(tx, &damage, replica.as_deref());
        let (job, _) = job(Kind::FireAndForget, record, |()| ());
        if let Err(error) = queue.push(job, false) {
            tracing::error!(%error, "store.damage_not_recorded");
        }
    }
}

fn record(tx: &mut Tx<'_>, damage: &Damage, replica: Option<&str>) -> Result<(), StoreError> {
    let segment = damage.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match tx.reader().refresh() {
        Ok(()) | Err(JournalError::Damaged(_)) => {}
        Err(error) => return Err(error.into()),
    }
    if is_recorded(tx.reader(), &segment, damage)? {
        return Ok(());
    }
    // Without the folder, which is nobody's affair who reads records.
    let mut problem = damage.clone();
    problem.path = Path::new(&segment).to_owned();
    let at = (&*segment, damage.after);
    let event = evidence::journal_damaged(tx.now(), at, &problem.to_string(), replica);
    tx.append(&event).map(drop)
}

/// Whether a record says so already.
fn is_recorded(journal: &Reader, segment: &str, damage: &Damage) -> Result<bool, StoreError> {
    let terms = vec![(Field::EventType, Pattern::Exact(EventType::Alert.as_str().to_owned()))];
    let range = Range { first: 1, last: i64::MAX, newest_first: true };
    let (mut looked, mut known) = (0, false);
    journal.find_readable(&Wanted { terms, ..Wanted::default() }, range, &mut |entry| {
        looked += 1;
        known = EventDraft::from_body(&entry.body)
            .is_ok_and(|event| evidence::is_journal_damaged(&event, segment, damage.after));
        Ok(if known || looked >= ALERTS { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(known)
}

impl super::EmbeddedStore {
    /// Looks over all that was read before at once, which a running process does slowly by itself.
    #[doc(hidden)]
    pub async fn look_over(&self) -> Result<(), StoreError> {
        let found = self.patrol.lock().round(&self.journal, &mut |_| true)?;
        tell(&found, self.shared.replica.as_ref(), &self.queue);
        self.all_queued().await
    }
}
