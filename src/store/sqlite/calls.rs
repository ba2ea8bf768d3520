//! Admission and settlement, inside the writing transaction.

use super::{
    approvals,
    entries::{Entry, Grant},
    events,
    limits::{self, ALERTS, Checks, Slot, amount, money},
    window::Usage,
    writer::Tx,
};
use crate::{
    evidence,
    model::{ApprovalStatus, CallId, EventDecision, EventDraft, EventType, MicroUsd, Outcome},
    store::{Admission, AdmitRequest, ApprovalRecord, EventQuery, Settlement, StoreError},
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
    let approval = match &request.approval {
        None => None,
        Some((id, binding)) => match approvals::usable(tx, id, binding, now)? {
            Ok(record) => Some(record),
            Err(reason) => {
                append_start(tx, request)?;
                let mut event = request.event.clone();
                event.decision = Some(EventDecision::Deny);
                event.reason = Some(reason.as_str().into());
                event.approval_id = Some(id.clone());
                tx.append(&event)?;
                return Ok(Some(Admission::ApprovalUnusable(reason)));
            }
        },
    };
    let need = Usage { calls: 1, tokens: amount(request.tokens), cost: money(request.cost) };
    let checks = limits::read(tx, request, now)?;
    let excused: Vec<_> = match &approval {
        Some(record) => record.requirements.iter().map(|r| r.policy_id.clone()).collect(),
        None => Vec::new(),
    };
    let refusal = checks.refusal(tx, need, now, approval.is_some(), &excused);
    if refusal.is_some() && !last && checks.others_hold_it(tx, need, &excused) {
        return Ok(None);
    }
    append_start(tx, request)?;
    if let Some(refusal) = refusal {
        let mut event = request.event.clone();
        event.decision = Some(refusal.decision);
        event.policy_id = Some(refusal.policy_id.clone());
        event.rule_id = None;
        event.reason = Some(refusal.reason.as_str().into());
        append_decision(tx, &event, &checks)?;
        return Ok(Some(Admission::Refused(refusal)));
    }
    let seq = append_decision(tx, &request.event, &checks)?;
    if let Some(record) = approval {
        consume(tx, record)?;
    }
    reserve(tx, &checks, need, seq, now)?;
    tx.open.insert(call_id, seq);
    alert(tx, &checks, need, now, request)?;
    Ok(Some(Admission::Granted))
}

fn append_start(tx: &mut Tx<'_>, request: &AdmitRequest) -> Result<(), StoreError> {
    match &request.start {
        Some(start) => tx.append(start).map(drop),
        None => Ok(()),
    }
}

fn append_decision(tx: &mut Tx<'_>, event: &EventDraft, checks: &Checks<'_>) -> Result<i64, StoreError> {
    let recorded = checks.record(event.limits.as_ref());
    tx.append_with_limits(event, recorded.as_deref())
}

fn consume(tx: &mut Tx<'_>, mut record: ApprovalRecord) -> Result<(), StoreError> {
    record.status = ApprovalStatus::Consumed;
    record.version += 1;
    approvals::write(tx, &record)
}

fn reserve(tx: &mut Tx<'_>, checks: &Checks<'_>, need: Usage, seq: i64, now: i64) -> Result<(), StoreError> {
    let mut grant = Grant {
        seq,
        owner: tx.owner,
        at: now,
        tokens: need.tokens,
        cost: need.cost,
        repeat: checks.repeat,
        ..Grant::default()
    };
    for check in &checks.all {
        match check.slot {
            Slot::Rolling(counter) => {
                grant.at = grant.at.max(tx.ledger.rolling(counter).advance(now));
                grant.rolling.push(counter);
            }
            Slot::Window(counter, start) => {
                tx.ledger.change(tx.connection, (counter, start), |s| s.usage = s.usage.plus(need))?;
                grant.windows.push((counter, start));
            }
        }
    }
    if let Some(key) = checks.repeat {
        grant.at = grant.at.max(tx.ledger.repeats(key, now).1);
    }
    tx.ledger.append(grant.at, Entry::Granted(grant));
    Ok(())
}

/// One alert per counter and window.
fn alert(
    tx: &mut Tx<'_>,
    checks: &Checks<'_>,
    need: Usage,
    now: i64,
    request: &AdmitRequest,
) -> Result<(), StoreError> {
    for check in &checks.all {
        let Some(sentence) = check.alert(need, now) else { continue };
        let window = match check.slot {
            Slot::Rolling(counter) => (counter, ALERTS),
            Slot::Window(counter, start) => (counter, start),
        };
        tx.ledger.change(tx.connection, window, |s| s.alerted = now.max(1))?;
        let event = evidence::alert_of_call(&request.event, check.policy_id(), &sentence, request.now);
        tx.append(&event)?;
    }
    Ok(())
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
    let real = |real: Option<i64>, reserved: i64| real.map_or(0, |real| real.saturating_sub(reserved));
    let (tokens, cost) = (settlement.tokens.map(amount), settlement.cost.map(money));
    close(tx, seq, settlement.event.timestamp.as_microsecond(), |grant| Usage {
        calls: 0,
        tokens: real(tokens, grant.tokens),
        cost: real(cost, grant.cost),
    })?;
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
        return Ok(tx.ledger.open(*seq).map(|grant| grant.seq));
    }
    // Not this process's, or forgotten in a failure: the decisions say whose they are.
    let mut body = tx.connection.prepare_cached("SELECT body FROM events WHERE seq = ?1")?;
    for seq in tx.ledger.open_seqs(None) {
        let body: Option<String> = body.query_row([seq], |row| row.get(0)).optional()?;
        let decided = body.and_then(|body| EventDraft::from_body(&body).ok());
        if decided.is_some_and(|decided| decided.call_id.as_ref() == Some(call_id)) {
            return Ok(Some(seq));
        }
    }
    Ok(None)
}

/// Closes an open call, and brings each of its counters from what was reserved to what was real.
fn close(tx: &mut Tx<'_>, seq: i64, at: i64, change: impl FnOnce(&Grant) -> Usage) -> Result<(), StoreError> {
    let Some(grant) = tx.ledger.open(seq) else { return Ok(()) };
    let change = change(grant);
    if change != Usage::default() {
        for window in grant.windows.clone() {
            tx.ledger.change(tx.connection, window, |s| s.usage = s.usage.plus(change))?;
        }
    }
    tx.ledger.append(at, Entry::Closed { seq, change });
    Ok(())
}

/// The side effect of a call about which its own process cannot speak, with the fields of its decision.
fn side_effect(
    tx: &Tx<'_>,
    seq: i64,
    at: Option<Timestamp>,
    outcome: Outcome,
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
    let mut event = side_effect(tx, seq, None, Outcome::Failed, reason)?;
    event.cost_usd = Some(MicroUsd::ZERO);
    tx.append(&event)?;
    close(tx, seq, event.timestamp.as_microsecond(), |grant| Usage {
        calls: 0,
        tokens: -grant.tokens,
        cost: -grant.cost,
    })?;
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
    for seq in tx.ledger.open_seqs(Some(id)) {
        let event = side_effect(tx, seq, Some(now), Outcome::Unknown, reason)?;
        tx.append(&event)?;
        close(tx, seq, now.as_microsecond(), |_| Usage::default())?;
        settled += 1;
    }
    tx.connection.execute("DELETE FROM owners WHERE id = ?1", [id])?;
    Ok(settled)
}

/// Whether this process has a call open.
pub(super) fn has_open(tx: &Tx<'_>) -> bool {
    !tx.ledger.open_seqs(Some(tx.owner)).is_empty()
}
