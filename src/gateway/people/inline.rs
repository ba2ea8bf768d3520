//! Asking the agent's own client: the question during a call, and what its operator's answer does.

use crate::gateway::{
    Gateway, InForce,
    api::ClientPort,
    decided::Decided,
    people::approve::{Step, remaining, store_error},
    people::asking::{Asking, Opened, QUESTION, bound_to},
    people::question::{self, Put, read_answer, supports_form},
    refusal::Refusal,
    request::Request,
};
use crate::{
    approval::{DecideError, eligible},
    model::{ApprovalStatus, EventDecision, PersonId, RpcError},
    policy::ChannelKind,
    store::{ApprovalRecord, Requirement, StoreError},
    upstream::Era,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// What an answer of the agent's client comes to.
enum Taken {
    /// The call goes on so.
    Step(Step),
    /// It approves and shows nothing for it: it is asked once more.
    NeedsEvidence,
}

impl Gateway {
    /// Asks the agent's own client where it may answer, and where it does not, waits for an answer given elsewhere.
    pub(in crate::gateway) async fn ask_person(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: &Decided,
        asking: &mut Asking,
        record: ApprovalRecord,
    ) -> Result<Step, StoreError> {
        let mut again = false;
        if let Some(answer) = asking.answer_to(&record) {
            match self.take_answer(in_force, request, decided, asking, &record, Ok(answer)).await? {
                Taken::Step(step) => return Ok(step),
                Taken::NeedsEvidence => again = true,
            }
        }
        let operator = self.inline_operator(in_force, decided, &record, asking.client.as_ref());
        let most = in_force.config.gateway.rejected_asks;
        let was_asked = std::mem::replace(&mut asking.asked, true);
        if operator.is_none()
            || (was_asked && !again)
            || !self.0.prompts.show(&request.agent, &record.id, most, self.0.clock.monotonic())
        {
            return self.wait_elsewhere(in_force, request, decided, asking, record).await;
        }
        match asking.client.era() {
            Era::Legacy => self.elicit(in_force, request, decided, asking, record).await,
            Era::Modern => {
                let left = remaining(&record, self.0.clock.now());
                let opened = Opened::Approval(record.id.clone(), request.trace_id, again);
                let state = serde_json::to_string(&opened).unwrap_or_default();
                let sealed = self.0.seal.seal(&state, &bound_to(request, decided), left);
                let sealed = sealed.map_err(StoreError::Failed)?;
                let question = self.question(in_force, decided, &record, again);
                Ok(Step::Reply(Ok(json!({
                    "resultType": "input_required",
                    "inputRequests": {QUESTION: {"method": "elicitation/create", "params": question}},
                    "requestState": sealed,
                }))))
            }
        }
    }

    fn question(&self, in_force: &InForce, decided: &Decided, record: &ApprovalRecord, again: bool) -> Value {
        let left = remaining(record, self.0.clock.now());
        question::question(in_force, record, Put { changed: decided.original.is_some(), left, again })
    }

    /// The operator, where the agent's own client may ask them: attended, entitled, not counted yet, and able to show
    /// a form.
    fn inline_operator(
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

    /// The refusal of a call whose approval nobody could ever give: a rule takes it from the agent's own client only, and
    /// that cannot be shown all of it, or at all. To wait for such a one would be to wait in vain.
    pub(in crate::gateway) fn unanswerable(
        &self,
        in_force: &InForce,
        decided: &Decided,
        record: &ApprovalRecord,
        client: &dyn ClientPort,
    ) -> Option<Refusal> {
        let (asks, why) = record.requirements.iter().find_map(|requirement| {
            let elsewhere = requirement.channels.iter().any(|channel| channel.proves_the_person());
            let why = (!elsewhere).then(|| why_not_inline(in_force, decided, record, requirement, client))?;
            Some((requirement, why?))
        })?;
        let reason = format!(
            "policy `{}` asks for an approval that can only be given in the agent's own client (`channels: [elicitation]`), \
             and there nobody can give it: {why}",
            asks.policy_id
        );
        let mut refusal =
            Refusal::new(EventDecision::Deny, asks.policy_id.clone(), asks.rule_id.clone(), reason);
        refusal.trace = Some(decided.verdict.trace.clone());
        Some(refusal)
    }

    /// Asks a legacy client during the call, until it answers, somebody else decides, the policies change, or the approval
    /// expires.
    async fn elicit(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: &Decided,
        asking: &mut Asking,
        record: ApprovalRecord,
    ) -> Result<Step, StoreError> {
        let mut again = false;
        loop {
            let question = self.question(in_force, decided, &record, again);
            let mut answer = asking.client.ask("elicitation/create".to_owned(), question);
            let mut changes = self.0.store.approval_changes();
            let mut generations = self.generations();
            let expiry = tokio::time::sleep(remaining(&record, self.0.clock.now()));
            tokio::pin!(expiry);
            let answer = loop {
                // First looked at, then waited for: what changed before the subscription wakes nobody.
                if !self.still_valid(&request.principal) || self.moved_on(in_force, asking) {
                    return Ok(Step::Again);
                }
                match self.0.store.approval(record.id.clone()).await? {
                    Some(now) if now.status == ApprovalStatus::Pending => {}
                    // Another process has other policies in force, and this one soon: nobody is to answer this any more.
                    Some(now) if now.status == ApprovalStatus::Cancelled => {
                        drop(answer);
                        return self.wait_elsewhere(in_force, request, decided, asking, now).await;
                    }
                    Some(now) => return self.ended(in_force, request, decided, &now, asking).await,
                    None => return Err(StoreError::Damaged("an approval has vanished".into())),
                }
                tokio::select! {
                    answer = &mut answer => break answer,
                    changed = changes.changed() => changed.map_err(|_| StoreError::Closed)?,
                    _ = generations.changed() => {}
                    () = &mut expiry => {
                        let expired = self.0.approvals.get(&record.id).await.map_err(store_error)?.unwrap_or(record);
                        return self.ended(in_force, request, decided, &expired, asking).await;
                    }
                }
            };
            match self.take_answer(in_force, request, decided, asking, &record, answer).await? {
                Taken::Step(step) => return Ok(step),
                Taken::NeedsEvidence => again = true,
            }
        }
    }

    /// What the agent's client answered. Only its attended operator's accept or decline decides anything.
    async fn take_answer(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: &Decided,
        asking: &mut Asking,
        record: &ApprovalRecord,
        answer: Result<Value, RpcError>,
    ) -> Result<Taken, StoreError> {
        let operator = self.inline_operator(in_force, decided, record, asking.client.as_ref());
        // What the form did not show whole, it did not offer to approve.
        let given = answer.ok().and_then(|value| read_answer(&value));
        let given = given.filter(|given| !given.approve || question::is_whole(in_force, record));
        let (Some(operator), Some(given)) = (operator, given) else {
            let step = self.wait_elsewhere(in_force, request, decided, asking, record.clone()).await?;
            return Ok(Taken::Step(step));
        };
        // The policies of now: the question may have been put under others.
        let now_in_force = self.in_force();
        let policies = now_in_force.policies_of(&record.binding.snapshot);
        let outcome =
            self.0.approvals.decide(policies, &operator, &record.id, ChannelKind::Elicitation, given).await;
        if outcome.is_ok() {
            self.0.prompts.decided(&request.agent, &record.id);
        }
        let step = match outcome {
            Ok(now) if now.status == ApprovalStatus::Pending => {
                self.wait_elsewhere(in_force, request, decided, asking, now).await?
            }
            Ok(now) => self.ended(in_force, request, decided, &now, asking).await?,
            Err(DecideError::Store(error)) => return Err(error),
            Err(DecideError::EvidenceMissing) if !std::mem::replace(&mut asking.reminded, true) => {
                return Ok(Taken::NeedsEvidence);
            }
            Err(
                DecideError::NotFound
                | DecideError::NotApprover(_)
                | DecideError::AlreadyDecided(_)
                | DecideError::SnapshotMismatch
                | DecideError::AlreadyAnswered(_)
                | DecideError::EvidenceMissing,
            ) => self.wait_elsewhere(in_force, request, decided, asking, record.clone()).await?,
        };
        Ok(Taken::Step(step))
    }
}

/// Why no answer in the agent's own client could meet a requirement; none where one could.
fn why_not_inline(
    in_force: &InForce,
    decided: &Decided,
    record: &ApprovalRecord,
    requirement: &Requirement,
    client: &dyn ClientPort,
) -> Option<String> {
    let prepared = &decided.prepared;
    if !prepared.attended {
        return Some("the agent is not attended".to_owned());
    }
    let Some(operator) = &prepared.operator else { return Some("the agent has no operator".to_owned()) };
    let Some(person) = in_force.policies.authority.people.get(operator) else {
        return Some("the agent's operator is not in authority.yaml".to_owned());
    };
    // The last that an escalation can add is added by then.
    if let Err(why) = eligible(record, requirement, person, ChannelKind::Elicitation, record.expires_at) {
        return Some(format!("the agent's operator may not decide it: {why}"));
    }
    if requirement.quorum > 1 {
        return Some(format!("it takes {} people, and one is there", requirement.quorum));
    }
    if !supports_form(client.capabilities()) {
        return Some("the client shows no forms: it does not declare `elicitation`".to_owned());
    }
    let whole = question::is_whole(in_force, record);
    (!whole).then(|| "the call is too long to be shown whole in a prompt; ask for less at a time".to_owned())
}
