//! What has been asked and answered during one call, and the sealed state in which a modern client carries it.

use crate::gateway::{
    account::AccountTrouble,
    api::{ClientPort, StateSeal},
    call_log::PendingLine,
    decided::Decided,
    people::waiter::{Again, Waited, Waiter},
    request::Request,
    request_state::{Continuing, Opened, bound_to},
};
use crate::{
    decision::{ApprovalRequirement, Step},
    model::{Decision, RpcError, TraceId, code},
    store::ApprovalRecord,
};
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// The name of our question among a modern client's `inputRequests`.
pub(in crate::gateway) const QUESTION: &str = "tollgate_approval";

/// What has been asked and answered during one call.
pub(crate) struct ClientQuestions {
    pub(crate) client: Arc<dyn ClientPort>,
    pub(in crate::gateway) responses: Option<Map<String, Value>>,
    pub(in crate::gateway) sealed: Option<String>,
    /// No retry: it brought no `requestState`.
    is_first: bool,
    pub(in crate::gateway) opened: Option<Opened>,
    /// Requirements of budgets that ask.
    pub(crate) also: Vec<ApprovalRequirement>,
    /// The client was asked, or it answered with something that decides nothing: it is not asked again.
    pub(in crate::gateway) asked: bool,
    /// The client has approved without the evidence that is needed, and was told so: once.
    pub(in crate::gateway) reminded: bool,
    /// The client was asked to have something connected, in place of this credential where there was one; and it declined.
    pub(in crate::gateway) asked_to_connect: Option<Option<u64>>,
    pub(in crate::gateway) declined_to_connect: bool,
    /// What was learned of the account that the call used.
    pub(in crate::gateway) account: Arc<AccountTrouble>,
    /// The call was decided again since that account is not connected any more.
    pub(in crate::gateway) lost_account: bool,
    /// What somebody has connected was looked at once more.
    pub(in crate::gateway) looked_again: bool,
    /// The pending decision stands in the audit already.
    pub(in crate::gateway) recorded: bool,
    /// The call's start stands in the audit already.
    pub(in crate::gateway) started: bool,
    pub(in crate::gateway) waiter: Option<Waiter>,
    /// What the log will say where the call ends as it waits.
    pub(in crate::gateway) line: PendingLine,
    /// The client asks for the call as a task: it may wait as long as its approval lasts.
    pub(in crate::gateway) held: bool,
}

/// The opened state of a retry, and its answers.
pub(in crate::gateway) type Brought = (Option<Opened>, Option<Map<String, Value>>);

impl ClientQuestions {
    pub(crate) fn new(
        client: Arc<dyn ClientPort>,
        responses: Option<Map<String, Value>>,
        sealed: Option<String>,
        waiter: Option<Waiter>,
    ) -> Self {
        Self {
            waiter,
            line: PendingLine::default(),
            held: false,
            client,
            responses,
            is_first: sealed.is_none(),
            sealed,
            opened: None,
            also: Vec::new(),
            asked: false,
            reminded: false,
            asked_to_connect: None,
            declined_to_connect: false,
            account: Arc::default(),
            lost_account: false,
            looked_again: false,
            recorded: false,
            started: false,
        }
    }

    /// Keeps the arguments of a call that may have to be made again.
    pub(crate) fn keep(&mut self, arguments: &Arc<Value>) {
        if let Some(waiter) = &mut self.waiter {
            waiter.arguments.get_or_insert_with(|| arguments.clone());
        }
    }

    /// Offers to hold the call as a task: true where it is from now on.
    pub(in crate::gateway) async fn offer(
        &mut self,
        request: &Request,
        decision: Value,
        left: Duration,
    ) -> bool {
        let Some(Waiter { told, arguments: Some(arguments) }) = self.waiter.take() else { return self.held };
        let again = Again {
            name: request.name.clone(),
            arguments,
            meta: request.meta.clone(),
            extra_params: request.extra_params.clone(),
            session: request.session.clone(),
            workflow: request.workflow.clone(),
            principal: request.principal.clone(),
        };
        let (held, is_held) = oneshot::channel();
        if told.send(Waited { again, decision, left, held }).is_ok() {
            self.held = is_held.await.unwrap_or(false);
        }
        self.held
    }

    /// The call has a line of its own in the log.
    pub(in crate::gateway) fn has_line(&self) {
        self.line.discard();
    }

    /// A budget that asks for a person adds its requirement to the rules' own.
    pub(in crate::gateway) fn ask_for_budgets(&self, decided: &mut Decided) {
        let verdict = &mut decided.verdict;
        let Some(first) = self.also.first().filter(|_| verdict.decision <= Decision::RequireApproval) else {
            return;
        };
        if verdict.decision < Decision::RequireApproval {
            verdict.policy_id = first.policy_id.clone();
            verdict.rule_id = first.rule_id.clone();
            verdict.reason = first.reason.clone();
        }
        verdict.decision = Decision::RequireApproval;
        // The step that stopped it stands with the policies' own.
        verdict.trace.steps.extend(self.also.iter().map(|asks| Step {
            policy_id: asks.policy_id.clone(),
            rule_id: asks.rule_id.clone(),
            decision: Decision::RequireApproval,
            reason: asks.reason.clone(),
            shadow: false,
            error: false,
            limit: true,
        }));
        keep(&mut verdict.approvals, self.also.iter().cloned());
    }

    /// Forgets what was asked under policies that are in force no more.
    pub(in crate::gateway) fn begin_again(&mut self) {
        (self.asked, self.reminded, self.recorded) = (false, false, false);
        self.also.clear();
    }

    /// Whether the call's start is still to be recorded; true once.
    pub(crate) fn start(&mut self) -> bool {
        !std::mem::replace(&mut self.started, true)
    }

    /// Whether anything of the call stands in the audit already.
    pub(crate) fn started(&self) -> bool {
        self.started
    }

    /// Opens the `requestState` of a retry. One that is forged, expired, or of another principal or call is refused,
    /// and changes nothing.
    pub(crate) fn open(
        &mut self,
        seal: &dyn StateSeal,
        request: &Request,
        decided: &Decided,
    ) -> Result<(), RpcError> {
        let Some(sealed) = self.sealed.take() else { return Ok(()) };
        match Opened::open(seal, &sealed, &bound_to(request, decided)) {
            Some(opened) => {
                self.opened = Some(opened);
                Ok(())
            }
            None => Err(RpcError::new(
                code::INVALID_PARAMS,
                "requestState is not valid for this call: it was changed, has expired, or belongs to another call",
            )),
        }
    }

    /// The trace in which the approval was asked for that a retry answers.
    pub(crate) fn trace(&self) -> Option<TraceId> {
        match &self.opened {
            Some(Opened::Approval(_, trace, _)) => Some(*trace),
            Some(Opened::Upstream(_) | Opened::Parked(_) | Opened::Connect(_)) | None => None,
        }
    }

    /// What goes back to an upstream that asked: its own state, and what was brought to answer its questions. The questions of a call that a person approved are answered within
    /// it: such a call is sent as the person saw it.
    pub(in crate::gateway) fn upstream_continuation(
        &mut self,
        approved: bool,
    ) -> Option<(Continuing, Map<String, Value>)> {
        match self.opened.take() {
            Some(Opened::Upstream(continuing)) if !approved => {
                Some((continuing, self.responses.take().unwrap_or_default()))
            }
            Some(Opened::Upstream(_)) | None => None,
            other @ Some(Opened::Approval(..) | Opened::Parked(_) | Opened::Connect(_)) => {
                self.opened = other;
                None
            }
        }
    }

    /// Answers that came with the first request of a call, before anybody asked: a client of 2026-07-28 may know what its
    /// upstream will ask. A call that a person approved is sent as the person saw it, and never with them.
    pub(in crate::gateway) fn unasked(&mut self, approved: bool) -> Option<Map<String, Value>> {
        if !self.is_first || self.asked || approved {
            return None;
        }
        let mut answers = self.responses.take()?;
        answers.shift_remove(QUESTION);
        Some(answers).filter(|answers| !answers.is_empty())
    }

    /// What a retry brought that dispatch takes, so that it can be brought again.
    pub(in crate::gateway) fn brought(&self) -> Brought {
        (self.opened.clone(), self.responses.clone())
    }

    /// Brings it again.
    pub(in crate::gateway) fn bring_again(&mut self, (opened, responses): Brought) {
        (self.opened, self.responses) = (opened, responses);
    }

    /// The parked call that a retry wants to go on with, and the answers it brings.
    pub(crate) fn parked(&mut self) -> Option<(String, Option<Map<String, Value>>)> {
        match self.opened.take() {
            Some(Opened::Parked(id)) => Some((id, self.responses.take())),
            other @ (Some(Opened::Approval(..) | Opened::Upstream(_) | Opened::Connect(_)) | None) => {
                self.opened = other;
                None
            }
        }
    }

    /// The client's answer to our question about this very record, taken once.
    pub(in crate::gateway) fn answer_to(&mut self, record: &ApprovalRecord) -> Option<Value> {
        match &self.opened {
            Some(Opened::Approval(id, _, reminded)) if *id == record.id => {
                self.reminded |= *reminded;
                self.opened = None;
                self.asked = true;
                self.responses.as_mut()?.shift_remove(QUESTION)
            }
            Some(Opened::Approval(..) | Opened::Upstream(_) | Opened::Parked(_) | Opened::Connect(_))
            | None => None,
        }
    }
}

fn keep(all: &mut Vec<ApprovalRequirement>, more: impl Iterator<Item = ApprovalRequirement>) {
    for requirement in more {
        if !all.contains(&requirement) {
            all.push(requirement);
        }
    }
}
