//! Admission and settlement, inside the writing transaction.

use super::{
    approvals,
    ledger::{Row, pack, unpack},
    limits::{self, ALERTS, Checks, Slot, amount, money},
    window::Usage,
    writer::{OpenCall, Tx, unwritable},
};
use crate::{
    model::{ApprovalStatus, CallId, EventDecision, EventDraft, EventType, MicroUsd, Outcome},
    store::{Admission, AdmitRequest, ApprovalRecord, Settlement, StoreError},
};
use jiff::Timestamp;
use rusqlite::OptionalExtension as _;

/// Checks, reserves, consumes and records one call, or refuses it and records that.
pub(super) fn admit(tx: &mut Tx<'_>, request: &AdmitRequest) -> Result<Admission, StoreError> {
    let now = tx.saw(request.now);
    let Some(call_id) = request.event.call_id.clone() else {
        return Err(StoreError::Failed("a call without an id cannot be admitted".to_owned()));
    };
    if tx.open.contains_key(&call_id) {
        return Err(StoreError::Failed(format!("call `{call_id}` is open already")));
    }
    if let Some(start) = &request.start {
        tx.append(start)?;
    }
    let approval = match &request.approval {
        None => None,
        Some((id, binding)) => match approvals::usable(tx, id, binding, now)? {
            Ok(record) => Some(record),
            Err(reason) => {
                let mut event = request.event.clone();
                event.decision = Some(EventDecision::Deny);
                event.reason = Some(reason.clone());
                event.approval_id = Some(id.clone());
                tx.append(&event)?;
                return Ok(Admission::ApprovalUnusable(reason));
            }
        },
    };
    let need = Usage { calls: 1, tokens: amount(request.tokens), cost: money(request.cost) };
    let checks = limits::read(tx, request, now)?;
    let excused: Vec<_> = match &approval {
        Some(record) => record.requirements.iter().map(|r| r.policy_id.clone()).collect(),
        None => Vec::new(),
    };
    if let Some(refusal) = checks.refusal(tx, need, now, approval.is_some(), &excused) {
        let mut event = request.event.clone();
        event.decision = Some(refusal.decision);
        event.policy_id = Some(refusal.policy_id.clone());
        event.rule_id = None;
        event.reason = Some(refusal.reason.clone());
        append_decision(tx, &event, &checks)?;
        return Ok(Admission::Refused(refusal));
    }
    let seq = append_decision(tx, &request.event, &checks)?;
    if let Some(record) = approval {
        consume(tx, record)?;
    }
    let open = reserve(tx, &checks, need, seq, now)?;
    let mut numbers = Vec::with_capacity(1 + open.rolling.len() + 2 * open.windows.len());
    numbers.push(i64::try_from(open.rolling.len()).unwrap_or(0));
    numbers.extend(&open.rolling);
    numbers.extend(open.windows.iter().flat_map(|(counter, start)| [*counter, *start]));
    tx.calls.insert_open.execute((
        seq,
        call_id.as_str(),
        tx.owner,
        open.tokens,
        open.cost,
        open.ledger,
        pack(&numbers),
    ))?;
    tx.open.insert(call_id, open);
    alert(tx, &checks, need, now, request)?;
    Ok(Admission::Granted)
}

fn append_decision(tx: &mut Tx<'_>, event: &EventDraft, checks: &Checks<'_>) -> Result<i64, StoreError> {
    let recorded = checks.record(&event.limits);
    let body = event.body_with_limits(&recorded).map_err(unwritable)?;
    tx.append_body(event, &body, || serde_json::to_value(&recorded).ok())
}

fn consume(tx: &mut Tx<'_>, mut record: ApprovalRecord) -> Result<(), StoreError> {
    record.status = ApprovalStatus::Consumed;
    record.version += 1;
    approvals::write(tx, &record)
}

fn reserve(
    tx: &mut Tx<'_>,
    checks: &Checks<'_>,
    need: Usage,
    seq: i64,
    now: i64,
) -> Result<OpenCall, StoreError> {
    let mut open = OpenCall {
        seq,
        tokens: need.tokens,
        cost: need.cost,
        ledger: None,
        rolling: Vec::new(),
        windows: Vec::new(),
    };
    let mut at = now;
    for check in &checks.all {
        match check.slot {
            Slot::Rolling(counter) => {
                at = at.max(tx.ledger.rolling(counter).advance(now));
                open.rolling.push(counter);
            }
            Slot::Window(counter, start) => {
                tx.ledger.change(tx.connection, (counter, start), |s| s.usage = s.usage.plus(need))?;
                open.windows.push((counter, start));
            }
        }
    }
    if let Some(key) = checks.repeat {
        at = at.max(tx.ledger.repeats(key, now).1);
    }
    if !open.rolling.is_empty() || checks.repeat.is_some() {
        let row = Row { at, amends: None, usage: need, repeat: checks.repeat, counters: &open.rolling };
        let n = tx.ledger.append(&mut tx.calls.insert_ledger, &row)?;
        open.ledger = Some(n);
    }
    Ok(open)
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
        let call = &request.event;
        let mut event = EventDraft::system(EventType::Alert, request.now);
        event.trace_id = call.trace_id;
        event.workflow_id.clone_from(&call.workflow_id);
        event.agent_id.clone_from(&call.agent_id);
        event.action = Some("budget_alert".to_owned());
        event.policy_id = Some(check.policy_id().clone());
        event.call_id.clone_from(&call.call_id);
        event.tool.clone_from(&call.tool);
        event.upstream.clone_from(&call.upstream);
        event.policy_snapshot.clone_from(&call.policy_snapshot);
        event.reason = Some(sentence);
        tx.append(&event)?;
    }
    Ok(())
}

/// Closes a call; a second time changes nothing.
pub(super) fn settle(tx: &mut Tx<'_>, settlement: &Settlement) -> Result<(), StoreError> {
    let Some(open) = take_open(tx, &settlement.call_id)? else {
        let settled: bool = tx
            .connection
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM events WHERE call_id = ?1 AND event_type = 'agent_side_effect')",
            )?
            .query_row([settlement.call_id.as_str()], |row| row.get(0))?;
        if settled {
            return Ok(());
        }
        return Err(StoreError::Failed(format!("call `{}` was never admitted", settlement.call_id)));
    };
    if settlement.event.outcome == Some(settlement.outcome) {
        tx.append(&settlement.event)?;
    } else {
        let mut event = settlement.event.clone();
        event.outcome = Some(settlement.outcome);
        tx.append(&event)?;
    }
    let real = |real: Option<i64>, reserved: i64| real.map_or(0, |real| real.saturating_sub(reserved));
    let difference = Usage {
        calls: 0,
        tokens: real(settlement.tokens.map(amount), open.tokens),
        cost: real(settlement.cost.map(money), open.cost),
    };
    correct(tx, &open, difference, settlement.event.timestamp.as_microsecond())?;
    if let Some((tool, tokens)) = &settlement.learned {
        learn(tx, tool, amount(*tokens))?;
    }
    Ok(())
}

/// Takes a call out of the open ones, whoever admitted it. `None`: it is not open.
fn take_open(tx: &mut Tx<'_>, call_id: &CallId) -> Result<Option<OpenCall>, StoreError> {
    let open = match tx.open.remove(call_id) {
        Some(open) => open,
        None => {
            let found = tx
                .connection
                .prepare_cached(
                    "SELECT seq, tokens, cost, ledger, counters FROM open_calls WHERE call_id = ?1",
                )?
                .query_row([call_id.as_str()], read_open)
                .optional()?;
            match found {
                Some(open) => open,
                None => return Ok(None),
            }
        }
    };
    // What is remembered may have been settled by another process; the table knows.
    let deleted = tx.calls.delete_open.execute([open.seq])?;
    Ok((deleted == 1).then_some(open))
}

fn read_open(row: &rusqlite::Row<'_>) -> rusqlite::Result<OpenCall> {
    let blob = row.get_ref(4)?.as_blob().unwrap_or_default();
    let mut numbers = unpack(blob);
    let count = numbers.next().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let rolling = numbers.by_ref().take(count).collect();
    let mut windows = Vec::new();
    while let (Some(counter), Some(start)) = (numbers.next(), numbers.next()) {
        windows.push((counter, start));
    }
    Ok(OpenCall {
        seq: row.get(0)?,
        tokens: row.get(1)?,
        cost: row.get(2)?,
        ledger: row.get(3)?,
        rolling,
        windows,
    })
}

/// Brings every counter of a call from what was reserved to what was real.
fn correct(tx: &mut Tx<'_>, open: &OpenCall, difference: Usage, at: i64) -> Result<(), StoreError> {
    if difference == Usage::default() {
        return Ok(());
    }
    for window in &open.windows {
        tx.ledger.change(tx.connection, *window, |s| s.usage = s.usage.plus(difference))?;
    }
    if !open.rolling.is_empty() {
        let row = Row { at, amends: open.ledger, usage: difference, repeat: None, counters: &open.rolling };
        tx.ledger.append(&mut tx.calls.insert_ledger, &row)?;
    }
    Ok(())
}

/// A moving average in thousandths of a token: an eighth of every new figure.
fn learn(tx: &mut Tx<'_>, tool: &str, tokens: i64) -> Result<(), StoreError> {
    let seen = tokens.saturating_mul(1_000);
    let known = match tx.learned.get(tool) {
        Some(known) => Some(*known),
        None => tx
            .connection
            .prepare_cached("SELECT milli_tokens FROM learned WHERE tool = ?1")?
            .query_row([tool], |row| row.get(0))
            .optional()?,
    };
    let next = known.map_or(seen, |known| known.saturating_add(seen.saturating_sub(known) / 8));
    if known != Some(next) {
        tx.connection
            .prepare_cached(
                "INSERT INTO learned (tool, milli_tokens) VALUES (?1, ?2)
                 ON CONFLICT (tool) DO UPDATE SET milli_tokens = excluded.milli_tokens",
            )?
            .execute((tool, next))?;
    }
    tx.learned.insert(tool.to_owned(), next);
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
    let mut event = EventDraft::from_body(&body)
        .map_err(|e| StoreError::Damaged(format!("event {seq} cannot be read: {e}")))?;
    event.event_type = EventType::AgentSideEffect;
    event.timestamp = at.unwrap_or(event.timestamp);
    event.outcome = Some(outcome);
    event.reason = Some(reason.to_owned());
    event.duration_ms = None;
    event.cost_usd = None;
    event.limits = None;
    event.detail = None;
    Ok(event)
}

/// A call that was granted to a caller who had left already: it was never dispatched, and costs nothing.
pub(super) fn abandon(tx: &mut Tx<'_>, call_id: &CallId) -> Result<(), StoreError> {
    let Some(open) = take_open(tx, call_id)? else { return Ok(()) };
    let reason = "never dispatched: the caller left while the call was being admitted";
    let mut event = side_effect(tx, open.seq, None, Outcome::Failed, reason)?;
    event.cost_usd = Some(MicroUsd::ZERO);
    tx.append(&event)?;
    let difference = Usage { calls: 0, tokens: -open.tokens, cost: -open.cost };
    correct(tx, &open, difference, event.timestamp.as_microsecond())
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
    let seqs: Vec<i64> = tx
        .connection
        .prepare_cached("SELECT seq FROM open_calls WHERE owner = ?1 ORDER BY seq")?
        .query_map([id], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let reason =
        "the process that made the call ended before it was settled: whether the upstream acted is unknown";
    let mut settled = 0;
    for seq in seqs {
        let event = side_effect(tx, seq, Some(now), Outcome::Unknown, reason)?;
        tx.append(&event)?;
        tx.calls.delete_open.execute([seq])?;
        settled += 1;
    }
    tx.connection.execute("DELETE FROM owners WHERE id = ?1", [id])?;
    Ok(settled)
}
