//! Admission and settlement, inside the writing transaction: what the rules say is written.

use super::{book, grants, notes::Note, records, rows::Row, tx::Tx};
use crate::{
    admission::{
        self, Alert, ApprovalRecord, Effect, End, LimitRefusal, LoopCheck, Named, NamedGrant, Outcome,
        RepeatLimit, Request, StandingGrant, Stretch, Usage, amount, money, repeat_key,
    },
    evidence,
    journal::{JournalError, Place},
    model::{CallId, EventDecision, EventDraft, EventType, MicroUsd, Outcome as CallOutcome},
    store::{Admission, AdmitRequest, EventQuery, RegisterRead, Settlement, StoreError},
};
use jiff::Timestamp;

/// What the chain says, as of a moment ago, of what a call uses.
#[derive(Debug, Default)]
pub(super) struct Chained {
    pub(super) approval: Option<ApprovalRecord>,
    pub(super) grant: Option<StandingGrant>,
}

/// Checks, reserves, consumes and records one call, or refuses it and records that. `None`, which does nothing: another
/// process holds what is missing for a call that may be over, and whose settlement is on its way; never where this is the
/// `last` look.
pub(super) fn admit(
    tx: &mut Tx<'_>,
    request: &AdmitRequest,
    chained: &Chained,
    last: bool,
) -> Result<Option<Admission>, StoreError> {
    match outdated(tx, &request.read) {
        outdated if outdated.is_empty() => admit_current(tx, request, chained, last),
        outdated => Ok(Some(Admission::Outdated(outdated))),
    }
}

/// The same of a call that was decided on what stands.
fn admit_current(
    tx: &mut Tx<'_>,
    request: &AdmitRequest,
    chained: &Chained,
    last: bool,
) -> Result<Option<Admission>, StoreError> {
    let Some(call_id) = request.event.call_id.clone() else {
        return Err(StoreError::Failed("a call without an id cannot be admitted".to_owned()));
    };
    if tx.open().contains_key(&call_id) {
        return Err(StoreError::Failed(format!("call `{call_id}` is open already")));
    }
    let found = match &request.approval {
        Some((id, _)) => book::held(tx.approvals().get(id)?, chained.approval.as_ref(), id)?,
        None => None,
    };
    let granted = match &request.grant {
        Some((id, _)) => grants::held(tx.grants().get(id)?, chained.grant.as_ref(), id)?,
        None => None,
    };
    let now = tx.saw(request.now);
    let agent = request.event.agent_id.as_deref().unwrap_or_default();
    let asked = Request {
        now,
        owner: tx.owner,
        seq: tx.next_seq() + i64::from(request.start.is_some()),
        agent,
        limits: tx.limits(request, agent, now)?,
        repeats: request.max_repeats.map(|max| RepeatLimit { key: repeat_key(agent, &request.digest), max }),
        loops: loops(request, agent),
        tool: request.event.tool.as_deref().unwrap_or_default(),
        need: Usage { calls: 1, tokens: amount(request.tokens), cost: money(request.cost) },
        stretch: request.elastic.map(|elastic| Stretch {
            least: Usage { calls: 1, tokens: amount(elastic.least_tokens), cost: money(elastic.least_cost) },
            most_tokens: amount(elastic.most_tokens),
            per_mtok: money(elastic.usd_per_mtok),
        }),
        approval: request.approval.as_ref().map(|(id, binding)| Named { id, binding, found: found.as_ref() }),
        grant: request.grant.as_ref().map(|(id, terms)| NamedGrant { id, terms, found: granted.as_ref() }),
    };
    if let Some(frozen) = request.subject.as_ref().and_then(|subject| tx.registers().frozen(subject)) {
        return refuse(tx, request, (frozen.refusal(), Vec::new()), None, now).map(Some);
    }
    let ruling = tx.judge(&asked);
    if !last && matches!(ruling.outcome, Outcome::Refused { held_by_others: true, .. }) {
        return Ok(None);
    }
    let recorded = ruling.record(request.event.limits.as_ref());
    if let Outcome::Refused { refusal, alerts, .. } = ruling.outcome {
        return refuse(tx, request, (refusal, alerts), recorded.as_deref(), now).map(Some);
    }
    if let Some(start) = &request.start {
        tx.append(start)?;
    }
    Ok(Some(match ruling.outcome {
        Outcome::Granted(effects) => {
            let (seq, _) = grant(tx, request, recorded.as_deref(), &effects)?;
            let reserved = effects.iter().find_map(|effect| match effect {
                Effect::Granted(grant) => u64::try_from(grant.tokens).ok(),
                _ => None,
            });
            alert(tx, &request.event, effects, request.now)?;
            open(tx, request, call_id, seq);
            match reserved.filter(|_| request.elastic.is_some()) {
                Some(tokens) => Admission::GrantedUpTo(tokens),
                None => Admission::Granted,
            }
        }
        Outcome::Refused { refusal, .. } => Admission::Refused(refusal),
        Outcome::Unusable(reason) => {
            let mut event = request.event.clone();
            event.decision = Some(EventDecision::Deny);
            event.reason = Some(reason.as_str().into());
            event.approval_id = request.approval.as_ref().map(|(id, _)| id.clone());
            event.grant_id = request.grant.as_ref().map(|(id, _)| id.clone());
            tx.append(&event)?;
            Admission::ApprovalUnusable(reason)
        }
    }))
}

/// Keeps a call that is in flight, with the budgets whose steps its settlement may reach.
fn open(tx: &mut Tx<'_>, request: &AdmitRequest, call_id: CallId, seq: i64) {
    let budgets = request.budgets.iter().filter(|budget| !budget.alert_at.is_empty());
    tx.opened(call_id, seq, budgets.cloned().collect());
}

/// What beside identical calls may be a loop.
fn loops(request: &AdmitRequest, agent: &str) -> Vec<LoopCheck> {
    let EventDraft { workflow_id, tool, .. } = &request.event;
    request.loops.checks(agent, workflow_id.as_deref(), tool.as_deref().unwrap_or_default(), &request.digest)
}

/// Refuses a call, and records that unless the caller does.
fn refuse(
    tx: &mut Tx<'_>,
    request: &AdmitRequest,
    (refusal, alerts): (LimitRefusal, Vec<Effect>),
    limits: Option<&str>,
    now: i64,
) -> Result<Admission, StoreError> {
    if !request.unrecorded.covers(&refusal) {
        if let Some(start) = &request.start {
            tx.append(start)?;
        }
        let event = refused(&request.event, &refusal);
        match limits {
            Some(limits) => tx.append_with_limits(&event, Some(limits))?,
            None => tx.append(&event)?,
        };
    }
    tell_loop(tx, request, &refusal, now)?;
    alert(tx, &request.event, alerts, request.now)?;
    Ok(Admission::Refused(refusal))
}

/// The decision where a limit is full.
fn refused(decision: &EventDraft, refusal: &LimitRefusal) -> EventDraft {
    let mut event = decision.clone();
    event.decision = Some(refusal.decision);
    event.policy_id = Some(refusal.policy_id.clone());
    event.rule_id = None;
    event.reason = Some(refusal.reason.as_str().into());
    event
}

/// Alerts to an agent that loops: once for a tool and a window.
fn tell_loop(
    tx: &mut Tx<'_>,
    request: &AdmitRequest,
    refusal: &LimitRefusal,
    now: i64,
) -> Result<(), StoreError> {
    let Some((kind, window_s)) = refusal.looping else { return Ok(()) };
    let (agent, tool) = (request.event.agent_id.as_deref(), request.event.tool.as_deref());
    let (agent, tool) = (agent.unwrap_or_default(), tool.unwrap_or_default());
    let Some(alerted) = tx.ledger().state().loop_alert(agent, tool, window_s, now) else { return Ok(()) };
    tx.append(&evidence::loop_alert(&request.event, kind.as_str(), &refusal.reason, request.now))?;
    tx.put(alerted)
}

/// Takes in effects, and records the alerts among them beside the record that they are about.
fn alert(
    tx: &mut Tx<'_>,
    about: &EventDraft,
    effects: Vec<Effect>,
    now: Timestamp,
) -> Result<(), StoreError> {
    for effect in effects {
        if let Effect::Alerted(Alert { policy_id, sentence, step, .. }) = &effect {
            tx.append(&evidence::alert_of_call(about, policy_id, sentence, *step, now))?;
        }
        tx.put(effect)?;
    }
    Ok(())
}

/// The entries that are not as they were read.
fn outdated(tx: &Tx<'_>, read: &[RegisterRead]) -> Vec<RegisterRead> {
    let version =
        |read: &RegisterRead| tx.registers().get(read.register, &read.key).map_or(0, |entry| entry.version);
    read.iter().filter(|read| version(read) != read.version).cloned().collect()
}

/// Writes the decision of a granted call, which says so where the call uses an approval or a standing grant.
fn grant(
    tx: &mut Tx<'_>,
    request: &AdmitRequest,
    limits: Option<&str>,
    effects: &[Effect],
) -> Result<(i64, Place), StoreError> {
    let (mut approval, mut grant) = (None, None);
    for effect in effects {
        match effect {
            Effect::Consumed(record) => approval = Some(record),
            Effect::GrantUsed(used) => grant = Some(used),
            Effect::Granted(_)
            | Effect::Carried(_)
            | Effect::Closed { .. }
            | Effect::Asked { .. }
            | Effect::Failed { .. }
            | Effect::Worked { .. }
            | Effect::LoopAlerted { .. }
            | Effect::Reset(_)
            | Effect::Alerted(_) => {}
        }
    }
    if approval.is_none() && grant.is_none() {
        return tx.append_with_limits(&request.event, limits);
    }
    let mut decision = request.event.clone();
    if let Some(record) = approval {
        book::used(&mut decision, record)?;
    }
    if let Some(used) = grant {
        grants::used(&mut decision, used)?;
    }
    let (seq, place) = tx.append_with_limits(&decision, limits)?;
    if let Some(record) = approval {
        tx.row(Row::Approval { record: record.clone(), whole: false, seq, place });
    }
    if let Some(used) = grant {
        tx.row(Row::Grant { grant: used.clone(), whole: false, seq, place });
        if let Some(end) = &used.ended {
            tx.append(&grants::ended(used, end, true)?)?;
        }
    }
    Ok((seq, place))
}

/// Closes a call; a second time changes nothing.
pub(super) fn settle(tx: &mut Tx<'_>, settlement: &Settlement) -> Result<(), StoreError> {
    let own = tx.open().get(&settlement.call_id).copied();
    if let Some(seq) = own
        && tx.ledger().state().open(seq).is_none()
    {
        // It is settled, by a group whose answer was lost, or by another process.
        tx.closed(&settlement.call_id);
        return Ok(());
    }
    let Some(seq) = own.map_or_else(|| open_elsewhere(tx, &settlement.call_id), |seq| Ok(Some(seq)))? else {
        let settled = EventQuery {
            call_id: Some(settlement.call_id.clone()),
            event_type: Some(EventType::AgentSideEffect),
            newest_first: true,
            limit: 1,
            ..EventQuery::default()
        };
        tx.reader().refresh()?;
        if !records::lines(tx.reader(), &settled)?.is_empty() {
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
    let now = tx.saw(settlement.event.timestamp);
    let failed = settlement.outcome == CallOutcome::Failed;
    if let Some(effect) = tx.ledger().state().ended(seq, failed, now) {
        tx.put(effect)?;
    }
    close(tx, seq, end)?;
    let budgets = tx.closed(&settlement.call_id);
    if !budgets.is_empty() {
        let at = settlement.event.timestamp;
        let alerts = tx.overshot(&budgets, at.as_microsecond())?;
        alert(tx, &settlement.event, alerts, at)?;
    }
    if let Some((cell, tokens)) = &settlement.learned {
        tx.learn(cell, *tokens)?;
    }
    Ok(())
}

/// The decision of an open call that another process admitted. `None`: it is not open.
fn open_elsewhere(tx: &Tx<'_>, call_id: &CallId) -> Result<Option<i64>, StoreError> {
    // Only the decisions say whose they are.
    for seq in tx.ledger().state().open_seqs(None) {
        let decided = decision(tx, seq)?;
        if decided.is_some_and(|decided| decided.call_id.as_ref() == Some(call_id)) {
            return Ok(Some(seq));
        }
    }
    Ok(None)
}

/// The decision at a place in the chain. One that somebody damaged keeps nobody from starting: verification names it.
fn decision(tx: &Tx<'_>, seq: i64) -> Result<Option<EventDraft>, StoreError> {
    tx.reader().refresh()?;
    match tx.reader().record(seq) {
        Ok(Some(entry)) => Ok(EventDraft::from_body(&entry.body)
            .inspect_err(|error| tracing::error!(seq, %error, "store.decision_unreadable"))
            .ok()),
        Ok(None) => Ok(None),
        Err(error @ JournalError::Damaged(_)) => {
            tracing::error!(seq, %error, "store.decision_unreadable");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Closes an open call, and brings each of its counters from what was reserved to what is known of it.
fn close(tx: &mut Tx<'_>, seq: i64, end: End) -> Result<(), StoreError> {
    match admission::settle(tx.ledger().state(), seq, end) {
        Some(effect) => tx.put(effect),
        None => Ok(()),
    }
}

/// A call of this process that was granted to a caller who had left already: it was never dispatched, and costs nothing.
pub(super) fn abandon(tx: &mut Tx<'_>, call_id: &CallId) -> Result<(), StoreError> {
    let Some(seq) = tx.open().get(call_id).copied() else { return Ok(()) };
    if tx.ledger().state().open(seq).is_none() {
        tx.closed(call_id);
        return Ok(());
    }
    let reason = "never dispatched: the caller left while the call was being admitted";
    let mut event = evidence::orphaned(decision(tx, seq)?, tx.now(), CallOutcome::Failed, reason);
    event.cost_usd = Some(MicroUsd::ZERO);
    tx.append(&event)?;
    close(tx, seq, End::NeverDispatched)?;
    tx.closed(call_id);
    Ok(())
}

/// Settles every open call of an owner that is no more, forgets the owner, and says how many.
pub(super) fn settle_owner(tx: &mut Tx<'_>, id: i64, now: Timestamp) -> Result<u64, StoreError> {
    if !tx.ledger().owners().contains_key(&id) {
        return Ok(0);
    }
    let reason =
        "the process that made the call ended before it was settled: whether the upstream acted is unknown";
    let mut settled = 0;
    for seq in tx.ledger().state().open_seqs(Some(id)) {
        let event = evidence::orphaned(decision(tx, seq)?, now, CallOutcome::Unknown, reason);
        tx.append(&event)?;
        close(tx, seq, End::Unknown)?;
        settled += 1;
    }
    tx.saw(now);
    tx.note(Note::Gone { id })?;
    Ok(settled)
}

/// Whether this process has a call open.
pub(super) fn has_open(tx: &Tx<'_>) -> bool {
    !tx.ledger().state().open_seqs(Some(tx.owner)).is_empty()
}
