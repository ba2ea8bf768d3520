//! Asking the agent's own client: the question during a call, and what its operator's answer does.

use super::{
    PendingCall, People,
    approve::{Step, answer_pending},
    client_questions::{ClientQuestions, QUESTION},
    follow::{Follow, WaitState},
    prompts::About,
    question::{self, read_answer, supports_form},
    remaining, store_error,
};
use crate::gateway::{
    api::ClientPort,
    refusal::Refusal,
    request_state::{Opened, bound_to},
};
use crate::{
    approval::{DecideError, eligible},
    model::{ApprovalStatus, EventDecision, PersonId, RpcError},
    policy::ChannelKind,
    store::{ApprovalRecord, Requirement, StoreError},
    upstream::Era,
};
use serde_json::{Value, json};

/// What an answer of the agent's client comes to.
enum Taken {
    /// The call goes on so.
    Step(Step),
    /// It approves and shows nothing for it: it is asked once more.
    NeedsEvidence,
}

impl People {
    /// Asks the agent's own client where it may answer, and where it does not, waits for an answer given elsewhere.
    pub(super) async fn ask_person(
        &self,
        call: PendingCall<'_>,
        asking: &mut ClientQuestions,
        record: ApprovalRecord,
    ) -> Result<Step, StoreError> {
        let PendingCall { in_force, request, decided } = call;
        let mut again = false;
        if let Some(answer) = asking.answer_to(&record) {
            match self.take_answer(call, asking, &record, Ok(answer)).await? {
                Taken::Step(step) => return Ok(step),
                Taken::NeedsEvidence => again = true,
            }
        }
        let operator = self.inline_operator(call, &record, asking.client.as_ref());
        let (most, about) = (in_force.config.gateway.rejected_asks, About::Approval(record.id.clone()));
        let was_asked = std::mem::replace(&mut asking.asked, true);
        if operator.is_none()
            || (was_asked && !again)
            || !self.prompts.show(&request.agent, &about, most, self.clock.monotonic())
        {
            return self.wait_elsewhere(call, asking, record).await;
        }
        match asking.client.era() {
            Era::Legacy => self.elicit(call, asking, record).await,
            Era::Modern => {
                let left = remaining(&record, self.clock.now());
                let opened = Opened::Approval(record.id.clone(), request.trace_id, again);
                let sealed = opened.seal(&*self.seal, &bound_to(request, decided), left);
                let sealed = sealed.map_err(StoreError::Failed)?;
                let question = self.question_of(call, &record, again);
                let reply = Ok(json!({
                    "resultType": "input_required",
                    "inputRequests": {QUESTION: {"method": "elicitation/create", "params": question}},
                    "requestState": sealed,
                }));
                Ok(Step::Reply(EventDecision::PendingApproval, reply))
            }
        }
    }

    fn question_of(&self, call: PendingCall<'_>, record: &ApprovalRecord, again: bool) -> Value {
        self.question(call.in_force, record, call.decided.original.is_some(), again)
    }

    /// The operator, where the agent's own client may ask them: attended, entitled, not counted yet, and able to show
    /// a form.
    fn inline_operator(
        &self,
        call: PendingCall<'_>,
        record: &ApprovalRecord,
        client: &dyn ClientPort,
    ) -> Option<PersonId> {
        let prepared = &call.decided.prepared;
        let operator = prepared.operator.as_ref().filter(|_| prepared.attended)?;
        let person = call.in_force.policies.authority.people.get(operator)?;
        let now = self.clock.now();
        let entitled = record
            .requirements
            .iter()
            .any(|r| eligible(record, r, person, ChannelKind::Elicitation, now).is_ok());
        let fresh = !record.answers.iter().any(|a| a.person == *operator);
        (entitled && fresh && supports_form(client.capabilities())).then(|| operator.clone())
    }

    /// The refusal of a call whose approval nobody could ever give: a rule takes it from the agent's own client only, and
    /// that cannot be shown all of it, or at all. To wait for such a one would be to wait in vain.
    pub(super) fn unanswerable(
        &self,
        call: PendingCall<'_>,
        record: &ApprovalRecord,
        client: &dyn ClientPort,
    ) -> Option<Refusal> {
        let (asks, why) = record.requirements.iter().find_map(|requirement| {
            let elsewhere = requirement.channels.iter().any(|channel| channel.proves_the_person());
            let why = (!elsewhere).then(|| why_not_inline(call, record, requirement, client))?;
            Some((requirement, why?))
        })?;
        let reason = format!(
            "policy `{}` asks for an approval that can only be given in the agent's own client (`channels: [elicitation]`), \
             and there nobody can give it: {why}",
            asks.policy_id
        );
        let mut refusal =
            Refusal::new(EventDecision::Deny, asks.policy_id.clone(), asks.rule_id.clone(), reason);
        refusal.trace = Some(call.decided.verdict.trace.clone());
        Some(refusal)
    }

    /// Asks a legacy client during the call, until it answers, somebody else decides, the policies change, or the approval
    /// expires.
    async fn elicit(
        &self,
        call: PendingCall<'_>,
        asking: &mut ClientQuestions,
        record: ApprovalRecord,
    ) -> Result<Step, StoreError> {
        let mut again = false;
        loop {
            let question = self.question_of(call, &record, again);
            let mut answer = asking.client.ask("elicitation/create".to_owned(), question);
            let mut follow = Follow::new(self);
            let expiry = tokio::time::sleep(remaining(&record, self.clock.now()));
            tokio::pin!(expiry);
            let answer = loop {
                match follow.look(call, &record.id, asking).await? {
                    WaitState::Pending => {}
                    // Another process has other policies in force, and this one soon: nobody is to answer this any more.
                    WaitState::Cancelled(now) => {
                        drop(answer);
                        return self.wait_elsewhere(call, asking, *now).await;
                    }
                    WaitState::Ended(now) => return Ok(self.ended(call, &now, asking).await),
                    WaitState::Outdated => return Ok(Step::Again),
                }
                tokio::select! {
                    answer = &mut answer => break answer,
                    changed = follow.changed() => changed?,
                    () = self.cutting.cancelled() => return Ok(answer_pending(call, &record)),
                    () = &mut expiry => {
                        let expired = self.approvals.get(&record.id).await.map_err(store_error)?.unwrap_or(record);
                        return Ok(self.ended(call, &expired, asking).await);
                    }
                }
            };
            match self.take_answer(call, asking, &record, answer).await? {
                Taken::Step(step) => return Ok(step),
                Taken::NeedsEvidence => again = true,
            }
        }
    }

    /// What the agent's client answered. Only its attended operator's accept or decline decides anything.
    async fn take_answer(
        &self,
        call: PendingCall<'_>,
        asking: &mut ClientQuestions,
        record: &ApprovalRecord,
        answer: Result<Value, RpcError>,
    ) -> Result<Taken, StoreError> {
        let operator = self.inline_operator(call, record, asking.client.as_ref());
        // What the form did not show whole, it did not offer to approve.
        let given = answer.ok().and_then(|value| read_answer(&value, record.grant_limits()));
        let given = given.filter(|given| !given.approve || question::is_whole(call.in_force, record));
        let (Some(operator), Some(given)) = (operator, given) else {
            let step = self.wait_elsewhere(call, asking, record.clone()).await?;
            return Ok(Taken::Step(step));
        };
        // The policies of now: the question may have been put under others.
        let in_force = self.current.in_force();
        let outcome = self
            .approvals
            .decide(
                in_force.policies_of(&record.binding.snapshot),
                &operator,
                &record.id,
                ChannelKind::Elicitation,
                given,
            )
            .await;
        if outcome.is_ok() {
            self.prompts.decided(&call.request.agent, &record.id);
        }
        let step = match outcome {
            Ok(now) if now.status == ApprovalStatus::Pending => {
                self.wait_elsewhere(call, asking, now).await?
            }
            Ok(now) => self.ended(call, &now, asking).await,
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
                | DecideError::EvidenceMissing
                | DecideError::GrantRefused(_),
            ) => self.wait_elsewhere(call, asking, record.clone()).await?,
        };
        Ok(Taken::Step(step))
    }
}

/// Why no answer in the agent's own client could meet a requirement; none where one could.
fn why_not_inline(
    call: PendingCall<'_>,
    record: &ApprovalRecord,
    requirement: &Requirement,
    client: &dyn ClientPort,
) -> Option<String> {
    let PendingCall { in_force, decided, .. } = call;
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
