//! Retention: whole old segments go, and what is still needed of them is written anew before: approvals and grants that a
//! call may still use, where counters stand, open calls, what records refer to. The record that says so names what each segment
//! ended with, so that what is left can be verified.
//!
//! What is under a legal hold stays, and so does all behind it: what is left is always the end of the journal.

use super::{book, grants, notes::Note, rows::Row, trees, tx::Tx};
use crate::{
    evidence,
    journal::{Range, Reader, Segment, chain, index::Wanted, remove_segment, tree::Gone},
    model::{ApprovalId, ApprovalStatus, EventDraft, GrantId, TraceId},
    store::{EventQuery, Held, Hold, Pattern, Register, RegisterEntry, StoreError},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{collections::BTreeSet, ops::ControlFlow, path::PathBuf};

/// Segments that are to go.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    before: Timestamp,
    paths: Vec<PathBuf>,
    /// The `seq` of the first record of each, of its last, and the hash of that.
    ends: Vec<(i64, i64, chain::Hash)>,
    /// The first that stays.
    stays: i64,
    /// What stays of the tree over the records that go.
    tree: Gone,
    /// The legal holds that it was made under, with their versions.
    holds: Vec<(String, u64)>,
}

impl Plan {
    /// How many records go.
    pub(super) fn records(&self) -> u64 {
        self.ends.iter().map(|(first, last, _)| u64::try_from(last - first + 1).unwrap_or(0)).sum()
    }
}

/// Which holds there are: by this it is told whether one came or went meanwhile.
fn versions(holds: &[RegisterEntry]) -> Vec<(String, u64)> {
    holds.iter().map(|entry| (entry.key.as_ref().to_owned(), entry.version)).collect()
}

/// The first record that is under a legal hold; `None` where none is.
fn first_held(journal: &Reader, holds: &[RegisterEntry]) -> Result<Option<i64>, StoreError> {
    let mut first: Option<i64> = None;
    let mut look = |query: EventQuery| -> Result<(), StoreError> {
        // What comes behind the first one that is known says nothing new.
        let range = Range { first: 1, last: first.unwrap_or(i64::MAX), newest_first: false };
        journal.find(&query.wanted(), range, &mut |entry| {
            first = Some(first.map_or(entry.seq, |known| known.min(entry.seq)));
            Ok(ControlFlow::Break(()))
        })?;
        Ok(())
    };
    for entry in holds {
        match Hold::read(entry).map(|hold| hold.held) {
            Some(Held::Agent(agent)) => {
                look(EventQuery { agent_id: Some(Pattern::from(agent.as_str())), ..EventQuery::default() })?;
            }
            Some(Held::Trace(trace)) => {
                look(EventQuery { trace_id: Some(trace), ..EventQuery::default() })?;
                let (approvals, grants) = used_by(journal, trace)?;
                for id in approvals {
                    look(EventQuery { approval_id: Some(id), ..EventQuery::default() })?;
                }
                for id in grants {
                    look(EventQuery { grant_id: Some(id), ..EventQuery::default() })?;
                }
            }
            // Nobody knows what it holds.
            None => return Ok(Some(0)),
        }
    }
    Ok(first)
}

/// The approvals and grants that a trace names: who gave them may stand in another trace.
fn used_by(
    journal: &Reader,
    trace: TraceId,
) -> Result<(BTreeSet<ApprovalId>, BTreeSet<GrantId>), StoreError> {
    let (mut approvals, mut grants, mut unread) = (BTreeSet::new(), BTreeSet::new(), None);
    let wanted = EventQuery { trace_id: Some(trace), ..EventQuery::default() }.wanted();
    let range = Range { first: 1, last: i64::MAX, newest_first: false };
    journal.find(&wanted, range, &mut |entry| match EventDraft::from_body(&entry.body) {
        Ok(draft) => {
            approvals.extend(draft.approval_id);
            grants.extend(draft.grant_id);
            Ok(ControlFlow::Continue(()))
        }
        Err(error) => {
            unread = Some(format!("event {} cannot be read: {error}", entry.seq));
            Ok(ControlFlow::Break(()))
        }
    })?;
    match unread {
        Some(problem) => Err(StoreError::Damaged(problem)),
        None => Ok((approvals, grants)),
    }
}

/// The oldest segments in which nothing happened at `before` or later and nothing is under a legal hold; `None` where there is
/// none.
pub(super) fn plan(
    journal: &Reader,
    before: Timestamp,
    holds: &[RegisterEntry],
) -> Result<Option<Plan>, StoreError> {
    journal.refresh()?;
    let mut plan = Plan {
        before,
        paths: Vec::new(),
        ends: Vec::new(),
        stays: 0,
        tree: Gone::default(),
        holds: versions(holds),
    };
    let held = first_held(journal, holds)?;
    let mut paths = journal.paths().into_iter().peekable();
    while let (Some(path), Some(next)) = (paths.next(), paths.peek()) {
        let (segment, next) = (Segment::open(&path, false)?, Segment::open(next, false)?);
        let (first, end) = (segment.first_seq(), next.head.before);
        let wanted = Wanted { since: Some(before), ..Wanted::default() };
        if let Some(held) = held.filter(|held| *held <= end.seq) {
            tracing::debug!(seq = held, "store.records_held");
            break;
        }
        let mut young = false;
        journal.find(&wanted, Range { first, last: end.seq, newest_first: true }, &mut |_| {
            young = true;
            Ok(ControlFlow::Break(()))
        })?;
        if young {
            break;
        }
        plan.paths.push(path);
        plan.ends.push((first, end.seq, end.hash));
        plan.stays = next.first_seq();
    }
    if plan.paths.is_empty() {
        return Ok(None);
    }
    plan.tree = trees::gone_before(journal, plan.stays)?;
    Ok(Some(plan))
}

/// Writes anew what is needed of the segments that go. `false` where a legal hold was placed or released since the plan was
/// made: nothing is written then, and nothing may go.
pub(super) fn carry(tx: &mut Tx<'_>, plan: &Plan, now: Timestamp) -> Result<bool, StoreError> {
    if versions(&tx.registers().of(Register::Hold)) != plan.holds {
        return Ok(false);
    }
    let at = tx.saw(now);
    let segments: Vec<Value> = plan
        .ends
        .iter()
        .map(|(first, last, hash)| json!({"first": first, "last": last, "hash": chain::to_hex(hash)}))
        .collect();
    let event = evidence::records_retired(
        now,
        plan.before,
        Value::Array(segments),
        (plan.tree.size, &plan.tree.subtrees),
    );
    tx.append(&event)?;
    for id in book::ids_in(tx.connection, plan.stays)? {
        let found = match tx.approvals().get(&id) {
            // It cannot be used, here or anew.
            Err(StoreError::Unverified(problem)) => {
                tracing::error!(approval = %id, problem, "store.approval_unverified");
                continue;
            }
            found => found?,
        };
        let Some(record) = found else { continue };
        let heeded = match record.status {
            ApprovalStatus::Pending | ApprovalStatus::Approved | ApprovalStatus::Rejected => {
                record.expires_at.as_microsecond() > at
            }
            ApprovalStatus::Expired | ApprovalStatus::Cancelled | ApprovalStatus::Consumed => false,
        };
        if heeded {
            let event = book::carried(&record, "its records are removed by `[store] retention`", now)?;
            let (seq, place) = tx.append(&event)?;
            tx.row(Row::Approval { record: Box::new(record), whole: true, seq, place });
        }
    }
    for id in grants::ids_in(tx.connection, plan.stays)? {
        let Some(grant) = tx.grants().get(&id)?.filter(|grant| grant.is_live(now)) else { continue };
        let event = grants::carried(&grant, "its records are removed by `[store] retention`", now)?;
        let (seq, place) = tx.append(&event)?;
        tx.row(Row::Grant { grant: Box::new(grant), whole: true, seq, place });
    }
    for note in tx.everything()? {
        tx.note(note)?;
    }
    for note in tx.registers().everything().collect::<Vec<_>>() {
        tx.note_register(&note)?;
    }
    let retired = Note::Retired { stays: plan.stays, before: plan.before.as_microsecond() };
    tx.note(retired)?;
    tx.row(Row::Retired { stays: plan.stays });
    Ok(true)
}

/// Removes the files, the oldest first: what is left is always the end of the journal. `false` where a legal hold was placed or
/// released since the plan was made: they stay, and the next round looks at them anew.
pub(super) fn remove(tx: &Tx<'_>, plan: &Plan) -> Result<bool, StoreError> {
    if versions(&tx.registers().of(Register::Hold)) != plan.holds {
        tracing::info!("store.records_held: a legal hold came as old records were about to be removed");
        return Ok(false);
    }
    // What is carried over, and what tells of it, is on the disk before what it stands for goes.
    tx.flush()?;
    if let Some(origin) = tx.origin() {
        origin.remove_before(plan.stays)?;
    }
    plan.paths.iter().try_for_each(|path| remove_segment(path))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::System,
        config::Durability,
        model::EventType,
        store::{RegisterChange, Store as _, embedded::EmbeddedStore},
    };

    /// A hold that is placed at the last moment, when what is still needed has been written anew, wins.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_hold_that_comes_before_the_files_go_keeps_them() {
        let dir = tempfile::tempdir().unwrap();
        let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
        let path = dir.path().join("tollgate.db");
        let store = EmbeddedStore::open(
            &path,
            dir.path(),
            Durability::Commit,
            "one".into(),
            std::sync::Arc::new(System::default()),
        )
        .unwrap();
        store.seal_after(20).await.unwrap();
        for second in 0..100 {
            let mut event = EventDraft::system(EventType::Note, at(second));
            event.agent_id = Some("ada".into());
            store.record(vec![event]).await.unwrap();
        }
        let planned = || async {
            let journal = store.journal.clone();
            let holds = store.register(Register::Hold).await.unwrap();
            store.readers.clone().read(move |_| plan(&journal, at(50), &holds)).await.unwrap()
        };
        let first = planned().await.unwrap();
        assert!(first.paths.iter().all(|path| path.exists()));
        let carried = first.clone();
        assert!(store.write(move |tx| carry(tx, &carried, at(200))).await.unwrap());
        let hold =
            json!({"id": "h", "held": {"agent": "ada"}, "reason": "case 17", "by": null, "since": at(200)});
        assert!(store.set(vec![RegisterChange::set(Register::Hold, "h", hold)], Vec::new()).await.unwrap());
        let paths = first.paths.clone();
        assert!(!store.write(move |tx| remove(tx, &first)).await.unwrap());
        assert!(paths.iter().all(|path| path.exists()), "{paths:?}");
        let one = EventQuery { limit: 1, ..EventQuery::default() };
        assert_eq!(store.events(one.clone()).await.unwrap()[0].seq, 1);
        assert_eq!(store.verify().await.unwrap().bad, None);
        assert!(planned().await.is_none(), "what is held is in no plan");
        // Released, they go.
        assert!(store.set(vec![RegisterChange::remove(Register::Hold, "h")], Vec::new()).await.unwrap());
        assert!(store.retire(at(50), at(300)).await.unwrap() > 0);
        assert!(store.events(one).await.unwrap()[0].seq > 1);
        assert_eq!(store.verify().await.unwrap().bad, None);
        store.close().await;
    }
}
