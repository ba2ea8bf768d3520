//! Counters that a person sets back.

use super::{ledger::Counter, tx::Tx};
use crate::{
    admission::{Effect, Reset, Usage},
    evidence::BudgetResetRecord,
    model::MicroUsd,
    store::{BudgetReset, Counted, ResetCounter, StoreError},
};
use serde_json::{Value, json};

/// Sets the counters back that have counted something, and records it.
pub(super) fn reset(tx: &mut Tx<'_>, reset: &BudgetReset) -> Result<Vec<ResetCounter>, StoreError> {
    let now = tx.saw(reset.now);
    let names = tx.ledger().counters(tx.connection)?;
    let of_this = |counter: &Counter| {
        counter.policy_id == *reset.id
            && counter.kind == reset.kind
            && reset.key.as_ref().is_none_or(|key| *key == counter.key)
    };
    let mut counters: Vec<(i64, Counter)> =
        names.into_iter().filter(|(_, counter)| of_this(counter)).collect();
    counters.sort_by(|(_, a), (_, b)| a.key.cmp(&b.key));
    let start = reset.window_start.map(|start| start.as_microsecond());
    let mut all = Vec::new();
    for (counter, Counter { key, .. }) in counters {
        let before = tx.stands_at(counter, start, now)?;
        if before == Usage::default() {
            continue;
        }
        tx.put(Effect::Reset(Reset { counter, start }))?;
        let after = tx.stands_at(counter, start, now)?;
        all.push(ResetCounter { key, before: counted(before), after: counted(after) });
    }
    // Else what stood there before a change of its zone or window would be carried over again.
    for (counter, start) in tx.of_other_kinds((&reset.id, &reset.kind, reset.key.as_deref()))? {
        tx.put(Effect::Reset(Reset { counter, start: Some(start) }))?;
    }
    if !all.is_empty() {
        let told = BudgetResetRecord {
            id: &reset.id,
            person: &reset.by.person,
            channel: reset.by.channel,
            reason: &reset.by.reason,
            window: reset.kind.split('@').next().unwrap_or_default(),
            window_start: reset.window_start,
        };
        let counters: Vec<Value> = all.iter().map(|counter| json!(counter)).collect();
        tx.append(&told.event(&counters, reset.now))?;
    }
    Ok(all)
}

fn counted(usage: Usage) -> Counted {
    Counted {
        calls: u64::try_from(usage.calls).unwrap_or(0),
        tokens: u64::try_from(usage.tokens).unwrap_or(0),
        cost_usd: MicroUsd(usage.cost),
    }
}
