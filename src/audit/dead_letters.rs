//! Dead letters: calls that change something and failed on the way, or of which nobody knows whether their server acted. They
//! are found in the record; what people have done about one stands in a register, told by records of its own.
//!
//! A call that its tool answered with `isError` is answered, and no dead letter; neither is one that was refused, or one of
//! a tool that only reads.

use crate::{
    evidence::{ResolvedTool, dead_letter_handled, tools_named},
    model::{CallId, Event, EventDraft, EventType, Outcome, PersonId},
    store::{EventQuery, KeptKind, Register, RegisterChange, Store, StoreError},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Records of side effects that are looked through, newest first.
const LOOKED_THROUGH: usize = 100_000;
/// Records that are read at a time.
const PAGE: usize = 1_000;
/// A replay whose call left no record for so long never happened: its process has died.
const STALE: SignedDuration = SignedDuration::from_mins(10);

/// What people have done about one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handled {
    /// `replaying`, `replayed` or `dismissed`.
    pub status: String,
    /// Who.
    pub by: PersonId,
    /// Why, where they said so.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
    /// The new call.
    pub replay: Option<CallId>,
}

/// One dead letter.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The record of what came of it.
    pub side_effect: EventDraft,
    /// The decision that let it through.
    pub decision: EventDraft,
    /// What people have done about it.
    pub handled: Option<Handled>,
    /// The version of that in the register; 0: nothing stands there.
    pub version: u64,
}

impl DeadLetter {
    /// `open`, or what was done about it.
    pub fn status(&self) -> &str {
        self.handled.as_ref().map_or("open", |handled| handled.status.as_str())
    }

    /// The tool and the arguments as the agent sent them; the error says why they cannot be sent again.
    pub fn call(&self) -> Result<(String, Value), &'static str> {
        const MASKED: &str = "its arguments are masked on record, so they cannot be sent again: the agent has to make the call";
        let detail = |name: &str| self.decision.detail.as_ref().and_then(|detail| detail.get(name));
        if self.decision.redacted {
            return Err(MASKED);
        }
        let tool = detail("original_tool").and_then(Value::as_str).or(self.decision.tool.as_deref());
        let arguments = detail("original_arguments").or_else(|| detail("arguments"));
        match (tool, arguments) {
            (Some(tool), Some(arguments)) => Ok((tool.to_owned(), arguments.clone())),
            _ => Err("its arguments are not on record, so they cannot be sent again"),
        }
    }

    /// As a listing shows it.
    pub fn form(&self) -> Value {
        let draft = &self.side_effect;
        json!({
            "call_id": draft.call_id,
            "trace_id": draft.trace_id,
            "agent": draft.agent_id,
            "workflow": draft.workflow_id,
            "tool": draft.tool,
            "upstream": draft.upstream,
            "outcome": draft.outcome,
            "reason": draft.reason,
            "at": draft.timestamp,
            "status": self.status(),
            "handled": self.handled,
            "replayable": self.call().is_ok(),
        })
    }

    /// The same with its arguments, masked as recorded.
    pub fn whole_form(&self) -> Value {
        let mut form = self.form();
        if let Some(members) = form.as_object_mut() {
            let arguments = self.decision.detail.as_ref().and_then(|detail| detail.get("arguments"));
            members.insert("arguments".to_owned(), arguments.cloned().unwrap_or_default());
            members.extend(self.call().err().map(|why| ("not_replayable".to_owned(), Value::from(why))));
        }
        form
    }
}

/// Why nothing was done about one.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// There is none of this call.
    #[error("there is no dead letter of this call")]
    NotFound,
    /// Somebody has done something about it.
    #[error("somebody has handled it already: it is {0}")]
    Handled(String),
    /// It cannot be sent again.
    #[error("{0}")]
    NotReplayable(String),
    /// Nobody said why.
    #[error("say why (`reason`): it is kept in the record")]
    NoReason,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a side effect may be one: it failed on the way, or nobody knows what came of it.
fn is_candidate(draft: &EventDraft) -> bool {
    match draft.outcome {
        Some(Outcome::Unknown) => true,
        // Where the tool answered that it failed, there is no reason beside its answer.
        Some(Outcome::Failed) => draft.reason.is_some(),
        Some(Outcome::Succeeded) | None => false,
    }
}

async fn decision_of(store: &dyn Store, call: &CallId) -> Result<Option<EventDraft>, StoreError> {
    let query = EventQuery {
        event_type: Some(EventType::AgentDecision),
        call_id: Some(call.clone()),
        newest_first: true,
        limit: 1,
        ..EventQuery::default()
    };
    Ok(store.events(query).await?.pop().map(|event| event.draft))
}

/// Whether the decided call is one of a tool that may change something.
async fn may_change(store: &dyn Store, decision: &EventDraft) -> Result<bool, StoreError> {
    let kind = decision.facts.as_ref().and_then(|facts| facts.get("kind")).and_then(Value::as_str);
    if kind != Some("tool") {
        return Ok(false);
    }
    let Some(hash) = tools_named(decision).into_iter().next() else { return Ok(true) };
    let kept = store.kept(KeptKind::Tool, hash.to_owned()).await?;
    let tool = kept.and_then(|kept| ResolvedTool::read(&kept.body));
    // Of one that is not known everything is possible.
    Ok(tool.is_none_or(|tool| !tool.traits.read_only))
}

async fn letter(
    store: &dyn Store,
    side_effect: EventDraft,
    handled: Option<(Handled, u64)>,
    now: Timestamp,
) -> Result<Option<DeadLetter>, StoreError> {
    let Some(call) = side_effect.call_id.clone().filter(|_| is_candidate(&side_effect)) else {
        return Ok(None);
    };
    let Some(decision) = decision_of(store, &call).await? else { return Ok(None) };
    if !may_change(store, &decision).await? {
        return Ok(None);
    }
    let version = handled.as_ref().map_or(0, |(_, version)| *version);
    let mut handled = handled.map(|(handled, _)| handled);
    if let Some(replaying) = handled.as_mut().filter(|handled| handled.status == "replaying")
        && now.duration_since(replaying.at) > STALE
    {
        let made = match &replaying.replay {
            Some(replay) => decision_of(store, replay).await?,
            None => None,
        };
        match made.is_some_and(|made| was_let_through(&made)) {
            true => replaying.status = "replayed".to_owned(),
            false => handled = None,
        }
    }
    Ok(Some(DeadLetter { side_effect, decision, handled, version }))
}

/// Whether a decision let its call through.
pub fn was_let_through(decision: &EventDraft) -> bool {
    use crate::model::EventDecision as D;
    matches!(decision.decision, Some(D::Allow | D::AllowWithConstraints | D::Approved | D::Remediate))
}

async fn handled(store: &dyn Store) -> Result<HashMap<CallId, (Handled, u64)>, StoreError> {
    let entries = store.register(Register::DeadLetter).await?;
    let read = |entry: crate::store::RegisterEntry| {
        let handled = serde_json::from_str(&entry.value.to_string()).ok()?;
        Some((CallId::from(&*entry.key), (handled, entry.version)))
    };
    Ok(entries.into_iter().filter_map(read).collect())
}

/// The newest, of before a place in the record where one is given: those that are open, or all. Where there may be more, with
/// the place to go on before: what is recorded meanwhile moves nothing.
pub async fn dead_letters(
    store: &dyn Store,
    all: bool,
    before: Option<i64>,
    limit: usize,
    now: Timestamp,
) -> Result<(Vec<DeadLetter>, Option<i64>), StoreError> {
    let mut known = handled(store).await?;
    let (mut found, mut looked) = (Vec::new(), 0);
    let mut until = before.map(|seq| seq.saturating_sub(1));
    while looked < LOOKED_THROUGH {
        let query = EventQuery {
            event_type: Some(EventType::AgentSideEffect),
            until_seq: until,
            newest_first: true,
            limit: PAGE,
            ..EventQuery::default()
        };
        let page = store.events(query).await?;
        let Some(last) = page.last().map(|event| event.seq) else { return Ok((found, None)) };
        looked += page.len();
        until = Some(last - 1);
        for Event { seq, draft, .. } in page {
            let about = draft.call_id.as_ref().and_then(|call| known.remove(call));
            let one = letter(store, draft, about, now).await?;
            let Some(one) = one.filter(|one| all || one.status() == "open") else { continue };
            if found.len() == limit {
                return Ok((found, Some(seq + 1)));
            }
            found.push(one);
        }
    }
    Ok((found, until.map(|until| until + 1)))
}

/// The one of a call.
pub async fn dead_letter(
    store: &dyn Store,
    call: &CallId,
    now: Timestamp,
) -> Result<Option<DeadLetter>, StoreError> {
    let query = EventQuery {
        event_type: Some(EventType::AgentSideEffect),
        call_id: Some(call.clone()),
        limit: 1,
        ..EventQuery::default()
    };
    let Some(event) = store.events(query).await?.pop() else { return Ok(None) };
    let entry = store.register_entry(Register::DeadLetter, call.to_string()).await?;
    let about =
        entry.and_then(|entry| Some((serde_json::from_str(&entry.value.to_string()).ok()?, entry.version)));
    letter(store, event.draft, about, now).await
}

/// Notes what a person does about one, where nobody did something else meanwhile.
pub async fn handle(
    store: &dyn Store,
    letter: &DeadLetter,
    handled: &Handled,
    call: &CallId,
) -> Result<bool, StoreError> {
    let told = dead_letter_handled(
        handled.at,
        (call, letter.side_effect.trace_id),
        (&handled.status, &handled.by, handled.reason.as_deref()),
        handled.replay.as_ref(),
    );
    let change = RegisterChange::set(Register::DeadLetter, call.as_str(), json!(handled)).at(letter.version);
    store.set(vec![change], vec![told]).await
}

/// Dismisses one: nothing more is to be done about it.
pub async fn dismiss(
    store: &dyn Store,
    call: &CallId,
    by: &PersonId,
    reason: &str,
    now: Timestamp,
) -> Result<DeadLetter, DeadLetterError> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(DeadLetterError::NoReason);
    }
    let mut found = dead_letter(store, call, now).await?.ok_or(DeadLetterError::NotFound)?;
    if found.status() != "open" {
        return Err(DeadLetterError::Handled(found.status().to_owned()));
    }
    let dismissed = Handled {
        status: "dismissed".to_owned(),
        by: by.clone(),
        reason: Some(reason.chars().take(2_000).collect()),
        at: now,
        replay: None,
    };
    if !handle(store, &found, &dismissed, call).await? {
        return Err(DeadLetterError::Handled("handled by somebody else meanwhile".to_owned()));
    }
    found.handled = Some(dismissed);
    Ok(found)
}
