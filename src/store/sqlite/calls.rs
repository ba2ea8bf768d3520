//! Admission and settlement, inside the writing transaction: what the rules say is written.

use super::{approvals, events, writer::Tx};
use crate::{
    admission::{
        self, Alert, Effect, End, Named, Outcome, RepeatLimit, Request, Usage, amount, money, repeat_key,
    },
    evidence,
    model::{CallId, EventDecision, EventDraft, EventType, MicroUsd, Outcome as CallOutcome},
    store::{Admission, AdmitRequest, EventQuery, Settlement, StoreError},
};
use jiff::Timestamp;
use rusqlite::OptionalExtension as _;

/// Checks, reserves, consumes and records one call, or refuses it and records that. `None`, which does nothing: another
/// process holds what is missing for a call that may be over, and whose settlement is on its way; never where this is the
/// `last` look.
pub(super) fn admit(
    tx: &mut Tx<'_>,
    request: &AdmitRequest,
    last: bool,
) -> Result<Option<Admission>, StoreError> {
    let now = tx.saw(request.now);
    let Some(call_id) = request.event.call_id.clone() else {
        return Err(StoreError::Failed("a call without an id cannot be admitted".to_owned()));
    };
    if tx.open.contains_key(&call_id) {
        return Err(StoreError::Failed(format!("call `{call_id}` is open already")));
    }
    let found = match &request.approval {
        Some((id, _)) => approvals::get(tx.connection, id)?,
        None => None,
    };
    let agent = request.event.agent_id.as_deref().unwrap_or_default();
    let asked = Request {
        now,
        owner: tx.owner,
        seq: tx.next_seq() + i64::from(request.start.is_some()),
        agent,
        limits: tx.ledger.limits(tx.connection, request, agent, now)?,
        repeats: request.max_repeats.map(|max| RepeatLimit { key: repeat_key(agent, &request.digest), max }),
        need: Usage { calls: 1, tokens: amount(request.tokens), cost: money(request.cost) },
        approval: request.approval.as_ref().map(|(id, binding)| Named { id, binding, found: found.as_ref() }),
    };
    let ruling = tx.ledger.admit(&asked);
    if !last && matches!(ruling.outcome, Outcome::Refused { held_by_others: true, .. }) {
        return Ok(None);
    }
    if let Outcome::Refused { refusal, .. } = &ruling.outcome
        && request.unrecorded.covers(refusal)
    {
        return Ok(Some(Admission::Refused(refusal.clone())));
    }
    if let Some(start) = &request.start {
        tx.append(start)?;
    }
    let recorded = ruling.record(request.event.limits.as_ref());
    Ok(Some(match ruling.outcome {
        Outcome::Granted(effects) => {
            let seq = tx.append_with_limits(&request.event, recorded.as_deref())?;
            for effect in effects {
                perform(tx, effect, request)?;
            }
            tx.open.insert(call_id, seq);
            Admission::Granted
        }
        Outcome::Refused { refusal, .. } => {
            let mut event = request.event.clone();
            event.decision = Some(refusal.decision);
            event.policy_id = Some(refusal.policy_id.clone());
            event.rule_id = None;
            event.reason = Some(refusal.reason.as_str().into());
            tx.append_with_limits(&event, recorded.as_deref())?;
            Admission::Refused(refusal)
        }
        Outcome::Unusable(reason) => {
            let mut event = request.event.clone();
            event.decision = Some(EventDecision::Deny);
            event.reason = Some(reason.as_str().into());
            event.approval_id = request.approval.as_ref().map(|(id, _)| id.clone());
            tx.append(&event)?;
            Admission::ApprovalUnusable(reason)
        }
    }))
}

/// Writes what an admission changes.
fn perform(tx: &mut Tx<'_>, effect: Effect, request: &AdmitRequest) -> Result<(), StoreError> {
    match &effect {
        Effect::Consumed(record) => approvals::write(tx, record)?,
        Effect::Alerted(Alert { policy_id, sentence, .. }) => {
            tx.append(&evidence::alert_of_call(&request.event, policy_id, sentence, request.now))?;
        }
        Effect::Granted(_) | Effect::Carried(_) | Effect::Closed { .. } | Effect::Asked { .. } => {}
    }
    tx.ledger.put(tx.connection, request.now.as_microsecond(), effect)
}

/// Closes a call; a second time changes nothing.
pub(super) fn settle(tx: &mut Tx<'_>, settlement: &Settlement) -> Result<(), StoreError> {
    let Some(seq) = open_seq(tx, &settlement.call_id)? else {
        let settled = EventQuery {
            call_id: Some(settlement.call_id.clone()),
            event_type: Some(EventType::AgentSideEffect),
            limit: 1,
            ..EventQuery::default()
        };
        if !events::lines(tx.connection, &settled)?.is_empty() {
            return Ok(());
        }
        return Err(StoreError::NoSuchCall(settlement.call_id.clone()));
    };
    if settlement.event.outcome == Some(settlement.outcome) {
        tx.append(&settlement.event)?;
    } else {
        let mut event = settlement.event.clone();
        event.outcome = Some(settlement.outcome);
        tx.append(&event)?;
    }
    let end = End::Settled { tokens: settlement.tokens, cost: settlement.cost };
    close(tx, seq, settlement.event.timestamp, end)?;
    tx.open.remove(&settlement.call_id);
    if let Some((tool, tokens)) = &settlement.learned {
        tx.learned.learn(tx.connection, tool, amount(*tokens))?;
    }
    Ok(())
}

/// The decision of an open call, whichever process admitted it. `None`: it is not open.
fn open_seq(tx: &Tx<'_>, call_id: &CallId) -> Result<Option<i64>, StoreError> {
    if let Some(seq) = tx.open.get(call_id) {
        // What is remembered may have been settled by another process; the ledger knows.
        return Ok(tx.ledger.state().open(*seq).map(|grant| grant.seq));
    }
    // Not this process's, or forgotten in a failure: the decisions say whose they are.
    let mut body = tx.connection.prepare_cached("SELECT body FROM events WHERE seq = ?1")?;
    for seq in tx.ledger.state().open_seqs(None) {
        let body: Option<String> = body.query_row([seq], |row| row.get(0)).optional()?;
        let decided = body.and_then(|body| EventDraft::from_body(&body).ok());
        if decided.is_some_and(|decided| decided.call_id.as_ref() == Some(call_id)) {
            return Ok(Some(seq));
        }
    }
    Ok(None)
}

/// Closes an open call, and brings each of its counters from what was reserved to what is known of it.
fn close(tx: &mut Tx<'_>, seq: i64, at: Timestamp, end: End) -> Result<(), StoreError> {
    match admission::settle(tx.ledger.state(), seq, end) {
        Some(effect) => tx.ledger.put(tx.connection, at.as_microsecond(), effect),
        None => Ok(()),
    }
}

/// The side effect of a call about which its own process cannot speak, with the fields of its decision.
fn side_effect(
    tx: &Tx<'_>,
    seq: i64,
    at: Option<Timestamp>,
    outcome: CallOutcome,
    reason: &str,
) -> Result<EventDraft, StoreError> {
    let body: String = tx
        .connection
        .prepare_cached("SELECT body FROM events WHERE seq = ?1")?
        .query_row([seq], |row| row.get(0))?;
    // A decision that somebody damaged keeps nobody from starting: what is known of the call is its place.
    let decision = EventDraft::from_body(&body)
        .inspect_err(|error| tracing::error!(seq, %error, "store.decision_unreadable"))
        .ok();
    Ok(evidence::orphaned(decision, at, outcome, reason))
}

/// A call that was granted to a caller who had left already: it was never dispatched, and costs nothing.
pub(super) fn abandon(tx: &mut Tx<'_>, call_id: &CallId) -> Result<(), StoreError> {
    let Some(seq) = open_seq(tx, call_id)? else { return Ok(()) };
    let reason = "never dispatched: the caller left while the call was being admitted";
    let mut event = side_effect(tx, seq, None, CallOutcome::Failed, reason)?;
    event.cost_usd = Some(MicroUsd::ZERO);
    tx.append(&event)?;
    close(tx, seq, event.timestamp, End::NeverDispatched)?;
    tx.open.remove(call_id);
    Ok(())
}

/// Settles every open call of an owner that is no more, forgets the owner, and says how many.
pub(super) fn settle_owner(tx: &mut Tx<'_>, owner: &str, now: Timestamp) -> Result<u64, StoreError> {
    let Some(id) = tx
        .connection
        .query_row("SELECT id FROM owners WHERE owner = ?1", [owner], |row| row.get::<_, i64>(0))
        .optional()?
    else {
        return Ok(0);
    };
    let reason =
        "the process that made the call ended before it was settled: whether the upstream acted is unknown";
    let mut settled = 0;
    for seq in tx.ledger.state().open_seqs(Some(id)) {
        let event = side_effect(tx, seq, Some(now), CallOutcome::Unknown, reason)?;
        tx.append(&event)?;
        close(tx, seq, now, End::Unknown)?;
        settled += 1;
    }
    tx.connection.execute("DELETE FROM owners WHERE id = ?1", [id])?;
    Ok(settled)
}

/// Whether this process has a call open.
pub(super) fn has_open(tx: &Tx<'_>) -> bool {
    !tx.ledger.state().open_seqs(Some(tx.owner)).is_empty()
}
