//! Asking the agent's own client: the question during a call, and what its operator's answer does.

use super::{
    Gateway, InForce,
    api::ClientPort,
    approve::{Step, remaining, store_error},
    asking::Asking,
    call::Decided,
    prepare::Request,
    question::{read_answer, supports_form},
};
use crate::{
    approval::{DecideError, eligible},
    model::{ApprovalStatus, PersonId, RpcError},
    policy::ChannelKind,
    store::{ApprovalRecord, StoreError},
};
use serde_json::Value;
use std::sync::Arc;

impl Gateway {
    /// The operator, where the agent's own client may ask them: attended, entitled, not counted yet, and able to show
    /// a form.
    pub(super) fn inline_operator(
        &self,
        in_force: &Arc<InForce>,
        decided: &Decided,
        record: &ApprovalRecord,
        client: &dyn ClientPort,
    ) -> Option<PersonId> {
        let operator = decided.prepared.operator.as_ref().filter(|_| decided.prepared.attended)?;
        let person = in_force.policies.authority.people.get(operator)?;
        let now = self.0.clock.now();
        let entitled = record
            .requirements
            .iter()
            .any(|r| eligible(record, r, person, ChannelKind::Elicitation, now).is_ok());
        let fresh = !record.answers.iter().any(|a| a.person == *operator);
        (entitled && fresh && supports_form(client.capabilities())).then(|| operator.clone())
    }

    /// Asks a legacy client during the call, until it answers, somebody else decides, or the approval expires.
    pub(super) async fn elicit(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: &Decided,
        asking: &mut Asking,
        record: ApprovalRecord,
        question: Value,
    ) -> Result<Step, StoreError> {
        let mut answer = asking.client.ask("elicitation/create".to_owned(), question);
        let mut changes = self.0.store.approval_changes();
        let mut generations = self.generations();
        let expiry = tokio::time::sleep(remaining(&record, self.0.clock.now()));
        tokio::pin!(expiry);
        loop {
            // First looked at, then waited for: what changed before the subscription wakes nobody.
            if !self.still_valid(&request.principal) {
                return Ok(Step::Again);
            }
            match self.0.store.approval(record.id.clone()).await? {
                Some(now) if now.status == ApprovalStatus::Pending => {}
                Some(now) => return self.ended(in_force, request, decided, &now, asking).await,
                None => return Err(StoreError::Damaged("an approval has vanished".into())),
            }
            tokio::select! {
                answer = &mut answer => {
                    return self.take_answer(in_force, request, decided, asking, record, answer).await;
                }
                changed = changes.changed() => changed.map_err(|_| StoreError::Closed)?,
                _ = generations.changed() => {}
                () = &mut expiry => {
                    let expired = self.0.approvals.get(&record.id).await.map_err(store_error)?.unwrap_or(record);
                    return self.ended(in_force, request, decided, &expired, asking).await;
                }
            }
        }
    }

    /// What the agent's client answered. Only its attended operator's accept or decline decides anything.
    pub(super) async fn take_answer(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: &Decided,
        asking: &mut Asking,
        record: ApprovalRecord,
        answer: Result<Value, RpcError>,
    ) -> Result<Step, StoreError> {
        let operator = self.inline_operator(in_force, decided, &record, asking.client.as_ref());
        let given = answer.ok().and_then(|value| read_answer(&value));
        let (Some(operator), Some(given)) = (operator, given) else {
            return self.wait_elsewhere(in_force, request, decided, asking, record).await;
        };
        let outcome = self
            .0
            .approvals
            .decide(&in_force.policies, &operator, &record.id, ChannelKind::Elicitation, given)
            .await;
        if outcome.is_ok() {
            self.0.prompts.decided(&request.agent, &record.id);
        }
        match outcome {
            Ok(now) if now.status == ApprovalStatus::Pending => {
                self.wait_elsewhere(in_force, request, decided, asking, now).await
            }
            Ok(now) => self.ended(in_force, request, decided, &now, asking).await,
            Err(DecideError::Store(error)) => Err(error),
            Err(
                DecideError::NotFound
                | DecideError::NotApprover(_)
                | DecideError::AlreadyDecided(_)
                | DecideError::AlreadyAnswered(_)
                | DecideError::EvidenceMissing,
            ) => self.wait_elsewhere(in_force, request, decided, asking, record).await,
        }
    }
}
