//! `tollgate__review_approvals`: the one tool that a person's own MCP client sees. It elicits each pending approval that
//! this person may decide.
//!
//! What comes back is held against the record as it is then, like an answer through any other channel. A modern client is
//! asked in results: the sealed state says which approvals it was shown, and nothing else that it answers counts.

use super::{
    People,
    question::{self, read_answer, supports_form},
};
use crate::gateway::{
    InForce,
    api::{CallReply, ClientPort, IncomingCall},
    refusal::unknown,
};
use crate::{
    approval::{DecideError, eligible},
    identity::{PersonPrincipal, Principal},
    model::{ApprovalId, ApprovalStatus, CallKind, RpcError, code},
    policy::{ChannelKind, Role},
    redaction::display_text,
    store::{ApprovalFilter, ApprovalRecord},
    upstream::Era,
};
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// The tool's name, whatever `separator` is.
pub(in crate::gateway) const NAME: &str = "tollgate__review_approvals";
/// Approvals shown in one round.
const AT_A_TIME: usize = 10;
/// Approvals shown during one call.
const MOST: usize = 100;
/// How long what a modern client was shown can be answered.
const STATE_TTL: Duration = Duration::from_secs(15 * 60);

/// What has come of the review so far.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Review {
    /// Shown, and not answered yet.
    shown: Vec<ApprovalId>,
    /// Not to be shown again.
    seen: Vec<ApprovalId>,
    /// Approved without the evidence that is needed, and shown once more for that.
    #[serde(default)]
    reminded: Vec<ApprovalId>,
    told: Vec<String>,
    decided: Vec<(ApprovalId, String)>,
}

fn tool() -> Value {
    json!({
        "name": NAME,
        "title": "Review approvals",
        "description": "Shows each call of an agent that waits for an approval you may give, and asks you to approve or reject it.",
        "inputSchema": {"type": "object", "properties": {}, "additionalProperties": false},
        "annotations": {"readOnlyHint": false, "destructiveHint": false, "idempotentHint": false, "openWorldHint": false},
    })
}

/// The tools that a principal who is a person sees.
pub(in crate::gateway) fn listed(in_force: &InForce, person: &PersonPrincipal) -> Arc<Vec<Value>> {
    let known = in_force.policies.authority.people.get(&person.id);
    let may = known.is_some_and(|person| person.roles.contains(&Role::Approver));
    Arc::new(if may { vec![tool()] } else { Vec::new() })
}

fn state_bound_to(person: &PersonPrincipal) -> Vec<u8> {
    format!("review\n{}", person.id).into_bytes()
}

impl People {
    /// A call of a person.
    pub(in crate::gateway) async fn call_of_person(&self, call: IncomingCall) -> CallReply {
        let Principal::Person(person) = &call.principal else { return Err(unknown(call.kind, &call.name)) };
        let in_force = self.current.in_force();
        if call.kind != CallKind::Tool
            || call.name != NAME
            || !self.current.still_valid(&call.principal)
            || listed(&in_force, person).is_empty()
        {
            return Err(unknown(call.kind, &call.name));
        }
        let arguments = call.arguments.as_ref().and_then(Value::as_object);
        if arguments.is_some_and(|arguments| !arguments.is_empty()) {
            return Err(RpcError::new(code::INVALID_PARAMS, format!("`{NAME}` takes no arguments")));
        }
        let person = person.clone();
        let reviewed = match call.client.era() {
            Era::Legacy => self.review_in_call(&person, call.client.as_ref()).await,
            Era::Modern => self.review_in_results(&person, call).await,
        };
        reviewed.unwrap_or_else(|error| {
            tracing::error!(error = %error, "approvals could not be reviewed");
            Err(RpcError::new(code::INTERNAL_ERROR, "the store does not answer: nothing more was decided"))
        })
    }

    /// What this person may decide now, the oldest first, without what they have seen.
    async fn reviewable(
        &self,
        in_force: &InForce,
        person: &PersonPrincipal,
        review: &Review,
    ) -> Result<Vec<ApprovalRecord>, DecideError> {
        let Some(known) = in_force.policies.authority.people.get(&person.id) else { return Ok(Vec::new()) };
        let filter = ApprovalFilter { status: vec![ApprovalStatus::Pending], ..ApprovalFilter::default() };
        let now = self.clock.now();
        let may = |record: &ApprovalRecord| {
            let fresh = !record.answers.iter().any(|answer| answer.person == person.id);
            let counts = |r| eligible(record, r, known, ChannelKind::Mcp, now).is_ok();
            // What was asked for under other policies is about to be cancelled.
            let fresh = fresh && in_force.decides_under(&record.binding.snapshot);
            fresh && !review.seen.contains(&record.id) && record.requirements.iter().any(counts)
        };
        let mut found: Vec<_> = self.approvals.list(filter).await?.into_iter().filter(may).collect();
        found.reverse();
        Ok(found)
    }

    /// A legacy client is asked during the call.
    async fn review_in_call(
        &self,
        person: &PersonPrincipal,
        client: &dyn ClientPort,
    ) -> Result<CallReply, DecideError> {
        let mut review = Review::default();
        let principal = Principal::Person(person.clone());
        for _ in 0..MOST {
            let in_force = self.current.in_force();
            if !self.current.still_valid(&principal) {
                break;
            }
            let Some(record) = self.reviewable(&in_force, person, &review).await?.into_iter().next() else {
                break;
            };
            if !supports_form(client.capabilities()) {
                return self.cannot_ask(&in_force, person, &review).await;
            }
            review.seen.push(record.id.clone());
            // At most once more: what was reminded of is not reminded of again.
            for again in [false, true] {
                let question = self.question(&in_force, &record, false, again);
                let answer = client.ask("elicitation/create".to_owned(), question).await;
                if !self.take_review(person, &record.id, answer.ok().as_ref(), &mut review).await? {
                    break;
                }
            }
        }
        self.reviewed(person, review).await
    }

    /// A modern client is asked in results, several at a time.
    async fn review_in_results(
        &self,
        person: &PersonPrincipal,
        call: IncomingCall,
    ) -> Result<CallReply, DecideError> {
        let bound = state_bound_to(person);
        let mut review = Review::default();
        if let Some(sealed) = &call.request_state {
            let opened = self.seal.open(sealed, &bound).and_then(|text| serde_json::from_str(&text).ok());
            let Some(opened) = opened else {
                let text =
                    "requestState is not valid for this review: it was changed, has expired, or is another's";
                return Ok(Err(RpcError::new(code::INVALID_PARAMS, text)));
            };
            review = opened;
        }
        let mut answers = call.input_responses.unwrap_or_default();
        let mut again = Vec::new();
        for id in std::mem::take(&mut review.shown) {
            let answer = answers.shift_remove(id.as_str());
            if self.take_review(person, &id, answer.as_ref(), &mut review).await? {
                again.push(id);
            }
        }
        let in_force = self.current.in_force();
        review.seen.retain(|id| !again.contains(id));
        let mut next = self.reviewable(&in_force, person, &review).await?;
        next.truncate(AT_A_TIME);
        if next.is_empty() || review.seen.len() >= MOST {
            return self.reviewed(person, review).await;
        }
        if !supports_form(call.client.capabilities()) {
            return self.cannot_ask(&in_force, person, &review).await;
        }
        let mut questions = Map::new();
        for record in next {
            let params = self.question(&in_force, &record, false, again.contains(&record.id));
            questions
                .insert(record.id.to_string(), json!({"method": "elicitation/create", "params": params}));
            review.seen.push(record.id.clone());
            review.shown.push(record.id);
        }
        let sealed = serde_json::to_string(&review)
            .map_err(|error| error.to_string())
            .and_then(|text| self.seal.seal(&text, &bound, STATE_TTL));
        Ok(match sealed {
            Ok(sealed) => Ok(json!({
                "resultType": "input_required",
                "inputRequests": questions,
                "requestState": sealed,
            })),
            Err(_) => Err(RpcError::new(code::INTERNAL_ERROR, "the questions could not be sealed")),
        })
    }

    /// One answer; whatever decides nothing is told and leaves the approval as it is. True: it is to be shown once more,
    /// because it lacks the evidence that is needed.
    async fn take_review(
        &self,
        person: &PersonPrincipal,
        id: &ApprovalId,
        answer: Option<&Value>,
        review: &mut Review,
    ) -> Result<bool, DecideError> {
        let principal = Principal::Person(person.clone());
        let record = self.approvals.get(id).await?;
        let limits = record.as_ref().and_then(ApprovalRecord::grant_limits);
        let given = answer.and_then(|answer| read_answer(answer, limits));
        let Some(given) = given.filter(|_| self.current.still_valid(&principal)) else {
            return Ok(false);
        };
        let in_force = self.current.in_force();
        let record = self.approvals.get(id).await?;
        if given.approve
            && let Some(record) = &record
            && !question::is_whole(&in_force, record)
        {
            review
                .told
                .push(format!("approval {id} was not approved. {}", question::cut_notice(&in_force, record)));
            return Ok(false);
        }
        let policies = match &record {
            Some(record) => in_force.policies_of(&record.binding.snapshot),
            None => &in_force.policies,
        };
        let decided = self.approvals.decide(policies, &person.id, id, ChannelKind::Mcp, given).await;
        match decided {
            Ok(record) => {
                let what = format!(
                    "`{}` for `{}`",
                    display_text(&record.binding.tool, 200),
                    display_text(&record.binding.agent, 100)
                );
                review.told.push(match record.status {
                    ApprovalStatus::Approved | ApprovalStatus::Consumed => {
                        let made = record.answers.last().and_then(|answer| answer.grant_id.as_ref());
                        let made =
                            made.map(|id| format!(", with the standing grant {id}")).unwrap_or_default();
                        format!("approved: {what}{made}")
                    }
                    ApprovalStatus::Pending => format!("recorded, and more must agree: {what}"),
                    ApprovalStatus::Rejected | ApprovalStatus::Cancelled => format!("rejected: {what}"),
                    ApprovalStatus::Expired => format!("expired: {what}"),
                });
                review.decided.push((id.clone(), record.status.to_string()));
            }
            Err(DecideError::Store(error)) => return Err(error.into()),
            Err(DecideError::EvidenceMissing) if !review.reminded.contains(id) => {
                review.reminded.push(id.clone());
                return Ok(true);
            }
            Err(other) => review.told.push(format!("approval {id}: {other}")),
        }
        Ok(false)
    }

    async fn cannot_ask(
        &self,
        in_force: &InForce,
        person: &PersonPrincipal,
        review: &Review,
    ) -> Result<CallReply, DecideError> {
        let waiting = self.reviewable(in_force, person, review).await?;
        let ids: Vec<&str> = waiting.iter().take(MOST).map(|record| record.id.as_str()).collect();
        let text = format!(
            "{} approvals wait for you, and this client cannot show forms (it declares no form elicitation). Decide \
             them with `tollgate approvals`, on the inbox page, {}, or over the API: {}",
            waiting.len(),
            in_force.config.page_link(),
            ids.join(", ")
        );
        Ok(Ok(json!({"content": [{"type": "text", "text": text}], "isError": true,
            "structuredContent": {"pending": ids}})))
    }

    async fn reviewed(&self, person: &PersonPrincipal, review: Review) -> Result<CallReply, DecideError> {
        let unseen = Review::default();
        let left = self.reviewable(&self.current.in_force(), person, &unseen).await?.len();
        let mut lines = review.told;
        if review.seen.is_empty() {
            lines.push("Nothing waits for you.".to_owned());
        } else {
            lines.push(format!("{left} still wait for you."));
        }
        let decided: Vec<Value> =
            review.decided.iter().map(|(id, status)| json!({"id": id, "status": status})).collect();
        Ok(Ok(json!({
            "content": [{"type": "text", "text": lines.join("\n")}],
            "structuredContent": {"decided": decided, "left": left},
        })))
    }
}
