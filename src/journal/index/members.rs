//! The members of an event by which it can be found, read from the text of its body. Arguments, facts and traces are
//! passed over without making values of them: a segment is indexed at once, and a query reads each of its hits.

use super::Field;
use crate::model::{BorrowedText as Text, EventType, TraceId};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The members of an event by which it can be found.
#[derive(Debug)]
pub struct Members<'b> {
    at: Timestamp,
    event_type: Cow<'b, str>,
    trace: Option<TraceId>,
    workflow: Option<Cow<'b, str>>,
    agent: Option<Cow<'b, str>>,
    policy: Option<Cow<'b, str>>,
    decision: Option<Cow<'b, str>>,
    tool: Option<Cow<'b, str>>,
    call: Option<Cow<'b, str>>,
    approval: Option<Cow<'b, str>>,
    grant: Option<Cow<'b, str>>,
    person: Option<Cow<'b, str>>,
    user: Option<Cow<'b, str>>,
}

impl<'b> Members<'b> {
    /// Of a stored body; the error says what is wrong with it.
    pub fn read(body: &'b str) -> Result<Self, String> {
        let body: Body<'b> =
            serde_json::from_str(body).map_err(|error| format!("its body is not an event: {error}"))?;
        let trace = match &body.trace_id {
            Some(text) => {
                Some(TraceId::parse(&text.0).ok_or("its body is not an event: `trace_id` is none")?)
            }
            None => None,
        };
        let person = body.detail.filter(|_| can_name_a_person(&body.event_type.0)).and_then(who_acted);
        let text = |text: Option<Text<'b>>| text.map(|text| text.0);
        Ok(Self {
            at: body.timestamp,
            event_type: body.event_type.0,
            trace,
            workflow: text(body.workflow_id),
            agent: text(body.agent_id),
            policy: text(body.policy_id),
            decision: text(body.decision),
            tool: text(body.tool),
            call: text(body.call_id),
            approval: text(body.approval_id),
            grant: text(body.grant_id),
            person,
            user: text(body.user),
        })
    }

    /// Its type's word.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// When.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Its trace.
    pub fn trace(&self) -> Option<TraceId> {
        self.trace
    }

    /// The value of a field, as text.
    pub fn value(&self, field: Field) -> Option<Cow<'_, str>> {
        let text = match field {
            Field::Trace => return self.trace.map(|trace| Cow::Owned(trace.to_string())),
            Field::EventType => Some(&self.event_type),
            Field::Workflow => self.workflow.as_ref(),
            Field::Agent => self.agent.as_ref(),
            Field::Policy => self.policy.as_ref(),
            Field::Decision => self.decision.as_ref(),
            Field::Tool => self.tool.as_ref(),
            Field::Call => self.call.as_ref(),
            Field::Approval => self.approval.as_ref(),
            Field::Grant => self.grant.as_ref(),
            Field::Person => self.person.as_ref(),
            Field::User => self.user.as_ref(),
        };
        text.map(|text| Cow::Borrowed(&**text))
    }
}

/// In the three records of a call an agent acts. Their `detail` is the largest part of most segments, and is not read.
fn can_name_a_person(event_type: &str) -> bool {
    match EventType::parse(event_type) {
        Some(EventType::AgentStart | EventType::AgentDecision | EventType::AgentSideEffect) => false,
        Some(
            EventType::ApprovalRequested
            | EventType::ApprovalDecided
            | EventType::ApprovalExpired
            | EventType::ApprovalCancelled
            | EventType::GrantMade
            | EventType::GrantEnded
            | EventType::Alert
            | EventType::PolicyActivated
            | EventType::PolicyRejected
            | EventType::AdminAction
            | EventType::AuthFailed
            | EventType::ToolQuarantined
            | EventType::ToolAccepted
            | EventType::Frozen
            | EventType::Unfrozen
            | EventType::Note,
        )
        | None => true,
    }
}

/// `detail.person` is who answered an approval; `detail.by` is who brought a bundle in force, or did something else.
fn who_acted(detail: &RawValue) -> Option<Cow<'_, str>> {
    let acted: Acted<'_> = serde_json::from_str(detail.get()).ok()?;
    acted.person.or(acted.by).map(|text| text.0)
}

#[derive(Deserialize)]
struct Body<'b> {
    #[serde(borrow)]
    event_type: Text<'b>,
    timestamp: Timestamp,
    #[serde(borrow)]
    trace_id: Option<Text<'b>>,
    #[serde(borrow)]
    workflow_id: Option<Text<'b>>,
    #[serde(borrow)]
    agent_id: Option<Text<'b>>,
    #[serde(borrow)]
    policy_id: Option<Text<'b>>,
    #[serde(borrow)]
    decision: Option<Text<'b>>,
    #[serde(borrow)]
    tool: Option<Text<'b>>,
    #[serde(borrow)]
    call_id: Option<Text<'b>>,
    #[serde(borrow)]
    approval_id: Option<Text<'b>>,
    #[serde(borrow)]
    grant_id: Option<Text<'b>>,
    #[serde(borrow)]
    user: Option<Text<'b>>,
    #[serde(borrow)]
    detail: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Acted<'b> {
    #[serde(borrow)]
    person: Option<Text<'b>>,
    #[serde(borrow)]
    by: Option<Text<'b>>,
}
