//! Where people come in: who is asked, how a question looks, and what an answer means.

pub(super) mod approve;
pub(super) mod client_questions;
pub(super) mod connect;
mod follow;
mod granted;
mod inline;
pub(super) mod prompts;
pub(super) mod question;
mod record;
pub(super) mod review;
pub(super) mod waiter;

use super::{
    InForce, StateSeal, current::Current, decided::Decided, keep::References, measures::Measures,
    refused::Refusals, request::Request,
};
use crate::{
    approval::{Approvals, DecideError},
    clock::{Clock, IdSource},
    store::{ApprovalRecord, Store, StoreError},
};
use prompts::Prompts;
use question::Put;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Asks people, and takes their answers.
pub(crate) struct People {
    pub(super) current: Arc<Current>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) seal: Arc<dyn StateSeal>,
    pub(super) approvals: Approvals,
    pub(super) prompts: Prompts,
    pub(super) references: Arc<References>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) measures: Arc<Measures>,
    /// Nothing that is in flight is waited for any longer.
    pub(super) cutting: CancellationToken,
}

/// A call that a person is asked about, as it was decided.
#[derive(Clone, Copy)]
pub(crate) struct PendingCall<'c> {
    pub(super) in_force: &'c Arc<InForce>,
    pub(super) request: &'c Request,
    pub(super) decided: &'c Decided,
}

impl People {
    /// The question about a record. `changed`: its arguments are as policy changed them. `again`: the person has approved
    /// without the evidence that is needed.
    fn question(&self, in_force: &InForce, record: &ApprovalRecord, changed: bool, again: bool) -> Value {
        let left = remaining(record, self.clock.now());
        question::question(in_force, record, Put { changed, left, again })
    }
}

/// How long a record can still be answered.
fn remaining(record: &ApprovalRecord, now: jiff::Timestamp) -> Duration {
    Duration::try_from(record.expires_at.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// What the store says where something else could not be decided.
pub(super) fn store_error(error: DecideError) -> StoreError {
    match error {
        DecideError::Store(error) => error,
        other => StoreError::Failed(other.to_string()),
    }
}
