//! Following one pending approval while a call waits for it, wherever it is decided.

use super::{PendingCall, People, client_questions::ClientQuestions, store_error};
use crate::{
    gateway::api::ListGenerations,
    model::{ApprovalId, ApprovalStatus},
    store::{ApprovalRecord, StoreError},
};
use tokio::sync::watch;

/// What has become of an approval that a call waits for.
pub(super) enum WaitState {
    /// Nobody has ended it.
    Pending,
    /// The policies that asked for it are no longer in force in the process that cancelled it.
    Cancelled(Box<ApprovalRecord>),
    /// It was decided, used, or has expired.
    Ended(Box<ApprovalRecord>),
    /// The call need not or cannot wait for it any more: its principal is none any more, other policies are in force here, or
    /// a standing grant covers it, or has covered the identical call that was asked about too.
    Outdated,
}

/// Wakes whenever an approval, or what is in force, may have changed.
pub(super) struct Follow<'p> {
    people: &'p People,
    changes: watch::Receiver<u64>,
    generations: watch::Receiver<ListGenerations>,
}

impl<'p> Follow<'p> {
    /// Begins; what changes from now on wakes it.
    pub(super) fn new(people: &'p People) -> Self {
        let (changes, generations) = (people.store.approval_changes(), people.current.generations());
        Self { people, changes, generations }
    }

    /// How it stands now. First looked at, then waited for: what changed before the subscription wakes nobody.
    pub(super) async fn look(
        &self,
        call: PendingCall<'_>,
        id: &ApprovalId,
        asking: &mut ClientQuestions,
    ) -> Result<WaitState, StoreError> {
        if !self.people.current.still_valid(&call.request.principal) || self.people.moved_on(call, asking) {
            return Ok(WaitState::Outdated);
        }
        match self.people.approvals.get(id).await.map_err(store_error)? {
            // A grant that was made of another approval may cover this call too.
            Some(now) if now.status == ApprovalStatus::Pending => {
                match self.people.grant_for(call, asking).await? {
                    Some(_) => Ok(WaitState::Outdated),
                    None => Ok(WaitState::Pending),
                }
            }
            Some(now) if now.covered_by.is_some() => Ok(WaitState::Outdated),
            Some(now) if now.status == ApprovalStatus::Cancelled => Ok(WaitState::Cancelled(Box::new(now))),
            Some(now) => Ok(WaitState::Ended(Box::new(now))),
            None => Err(StoreError::Damaged("an approval has vanished".into())),
        }
    }

    /// Waits until something may have changed.
    pub(super) async fn changed(&mut self) -> Result<(), StoreError> {
        tokio::select! {
            changed = self.changes.changed() => changed.map_err(|_| StoreError::Closed),
            _ = self.generations.changed() => Ok(()),
        }
    }
}

impl People {
    /// Whether other policies have come into force since the call was decided: then it is decided again, and its client may
    /// be asked about it again.
    fn moved_on(&self, call: PendingCall<'_>, asking: &mut ClientQuestions) -> bool {
        let moved = !self.current.in_force().decides_under(&call.in_force.policies.snapshot);
        if moved {
            asking.begin_again();
        }
        moved
    }
}
