//! A share of the calls that were let through is looked at afterwards. Which they are follows from their ids, so that nobody can choose
//! and nothing is written with a call; what people found stands in a register.

use super::{OversightError, Remark, TRIES, raced};
use crate::{
    evidence::{self, SaidBy, without_values},
    model::{CallId, EventDecision, EventDraft, EventType, PersonId, Share, SharePlace},
    policy::Role,
    store::{EventQuery, Register, RegisterChange, RegisterEntry, Store, StoreError},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Records of decisions that are looked through, newest first.
const LOOKED_THROUGH: usize = 200_000;
const PAGE: usize = 1_000;
/// What people found is remembered of so many calls; the record has all.
const MOST_REVIEWS: usize = 8_000;

/// What somebody found in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// It was right to let it through.
    Ok,
    /// It was not.
    Problem,
}

impl Finding {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Problem => "problem",
        }
    }

    /// Reads a word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Ok, Self::Problem].into_iter().find(|finding| finding.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Review {
    finding: Finding,
    by: PersonId,
    note: Option<String>,
    at: Timestamp,
}

/// Calls of the sample, of a part of the record.
#[derive(Clone, Debug, Default)]
pub struct SamplePage {
    /// Those that were found, the newest first.
    pub found: Vec<Sampled>,
    /// Before which record there may be more; none: all of the time was looked through.
    pub next: Option<i64>,
}

/// A call of the sample.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// The decision that let it through.
    pub decision: EventDraft,
    review: Option<Review>,
}

impl Sampled {
    /// The same for those who see no values of arguments.
    #[must_use]
    pub fn without_values(self) -> Self {
        Self { decision: without_values(self.decision), ..self }
    }

    /// As a listing shows it.
    pub fn form(&self) -> Value {
        let draft = &self.decision;
        json!({
            "call_id": draft.call_id,
            "trace_id": draft.trace_id,
            "agent": draft.agent_id,
            "workflow": draft.workflow_id,
            "tool": draft.tool,
            "upstream": draft.upstream,
            "at": draft.timestamp,
            "decision": draft.decision,
            "policy_id": draft.policy_id,
            "reason": draft.reason,
            "review": self.review,
        })
    }

    /// Whether somebody has looked at it.
    pub fn is_reviewed(&self) -> bool {
        self.review.is_some()
    }
}

fn was_let_through(draft: &EventDraft) -> bool {
    matches!(
        draft.decision,
        Some(
            EventDecision::Allow
                | EventDecision::AllowWithConstraints
                | EventDecision::Approved
                | EventDecision::Remediate
        )
    )
}

fn is_sampled(draft: &EventDraft, share: Share) -> bool {
    let in_share = |call: &CallId| share.covers(SharePlace::of_call(call.as_str()));
    was_let_through(draft) && draft.call_id.as_ref().is_some_and(in_share)
}

fn read(entry: &RegisterEntry) -> Option<Review> {
    serde_json::from_str(&entry.value.to_string()).ok()
}

/// The calls of the sample since a time and before a record, newest first: those that nobody has looked at, or all.
pub async fn samples(
    store: &dyn Store,
    share: Share,
    (since, all): (Timestamp, bool),
    (limit, before): (usize, Option<i64>),
) -> Result<SamplePage, StoreError> {
    let known: BTreeMap<_, _> = store
        .register(Register::Review)
        .await?
        .into_iter()
        .filter_map(|entry| Some((entry.key.clone(), read(&entry)?)))
        .collect();
    let (mut found, mut looked) = (Vec::new(), 0);
    let mut until = before.map(|seq| seq.saturating_sub(1));
    while looked < LOOKED_THROUGH {
        let query = EventQuery {
            event_type: Some(EventType::AgentDecision),
            since: Some(since),
            until_seq: until,
            newest_first: true,
            limit: PAGE,
            most_bytes: 8 << 20,
            ..EventQuery::default()
        };
        let events = store.events(query).await?;
        let Some(last) = events.last().map(|event| event.seq) else {
            return Ok(SamplePage { found, next: None });
        };
        looked += events.len();
        until = Some(last - 1);
        for event in events {
            if !is_sampled(&event.draft, share) {
                continue;
            }
            let review = event.draft.call_id.as_deref().and_then(|call| known.get(call).cloned());
            if review.is_some() && !all {
                continue;
            }
            if found.len() >= limit {
                return Ok(SamplePage { found, next: Some(event.seq.saturating_add(1)) });
            }
            found.push(Sampled { decision: event.draft, review });
        }
    }
    Ok(SamplePage { found, next: until.map(|seq| seq.saturating_add(1)) })
}

/// By which of their roles a person may look at calls afterwards, if by any: one that is there for that, before one that may all.
pub fn reviewer(roles: &[Role]) -> Option<Role> {
    [Role::AuditorFull, Role::Auditor, Role::Admin].into_iter().find(|role| roles.contains(role))
}

/// What a person found in a call of the sample, by the role by which they may; the newest counts.
pub async fn review(
    store: &dyn Store,
    call: &CallId,
    finding: Finding,
    (said, role): (Remark<'_>, Role),
    (share, now): (Share, Timestamp),
) -> Result<Sampled, OversightError> {
    let note = if finding == Finding::Problem { Some(said.needed()?) } else { said.note()? };
    let query = EventQuery {
        event_type: Some(EventType::AgentDecision),
        call_id: Some(call.clone()),
        newest_first: true,
        limit: 1,
        ..EventQuery::default()
    };
    let decision = store.events(query).await?.pop().map(|event| event.draft);
    let decision = decision.filter(|draft| is_sampled(draft, share)).ok_or_else(|| {
        OversightError::NotFound(
            "there is no such call in the sample: `tollgate audit sample list` shows it".to_owned(),
        )
    })?;
    let fresh = Review { finding, by: said.by.clone(), note: note.as_deref().map(str::to_owned), at: now };
    for _ in 0..TRIES {
        let entries = store.register(Register::Review).await?;
        let before = entries.iter().find(|entry| *entry.key == **call);
        let told = evidence::call_reviewed(
            (call, decision.trace_id, decision.agent_id.as_ref()),
            finding.as_str(),
            SaidBy { person: Some(said.by), role: Some(role.as_str()), note: note.as_deref() },
            before.map(|entry| &*entry.value),
            now,
        );
        let version = before.map_or(0, |entry| entry.version);
        let mut changes =
            vec![RegisterChange::set(Register::Review, call.as_str(), json!(fresh)).at(version)];
        if entries.len() >= MOST_REVIEWS {
            let others = entries.iter().filter(|entry| *entry.key != **call);
            let oldest = others.min_by_key(|entry| read(entry).map_or(Timestamp::MIN, |review| review.at));
            changes.extend(oldest.map(|entry| RegisterChange::remove(Register::Review, &*entry.key)));
        }
        if store.set(changes, vec![told]).await? {
            return Ok(Sampled { decision, review: Some(fresh) });
        }
    }
    Err(raced())
}
