//! The alerts as they stand, and what people say about one.

use super::{OversightError, Remark, TRIES, changes, cursor, is_behind, load, place, raced};
use crate::{
    alerts::{Alert, Tuning, Verdict},
    model::{AlertKind, AlertStatus},
    policy::Oversight,
    store::{Register, Store, StoreError},
};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// Which alerts.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    /// Only these states; empty: all.
    pub status: Vec<AlertStatus>,
    /// Only these kinds; empty: all.
    pub kind: Vec<AlertKind>,
    /// Only those that stand behind this one in the list.
    pub before: Option<String>,
    /// At most so many; 0: no limit.
    pub limit: usize,
}

/// Alerts, newest first.
#[derive(Clone, Debug, Serialize)]
pub struct AlertPage {
    /// The alerts.
    pub alerts: Vec<Alert>,
    /// What makes it take more to raise an alert now.
    pub tunings: Vec<Tuning>,
    /// It stopped at its limit.
    pub truncated: bool,
    /// The cursor of what follows; none: that is all.
    pub next: Option<String>,
}

impl AlertPage {
    /// The same for those who see no values of arguments.
    #[must_use]
    pub fn without_values(self) -> Self {
        Self {
            alerts: self.alerts.into_iter().map(Alert::without_values).collect(),
            tunings: self.tunings.into_iter().map(Tuning::without_values).collect(),
            truncated: self.truncated,
            next: self.next,
        }
    }
}

/// Lists alerts.
pub async fn alerts(
    store: &dyn Store,
    filter: &AlertFilter,
    now: Timestamp,
) -> Result<AlertPage, StoreError> {
    let book = load(store).await?;
    let mut all = book.alerts();
    if let Some(before) = &filter.before {
        let place = place(before, all.iter().map(|alert| (alert.at, alert.id.as_str())));
        all.retain(|alert| is_behind(place.as_ref(), alert.at, &alert.id));
    }
    all.retain(|alert| {
        (filter.status.is_empty() || filter.status.contains(&alert.status))
            && (filter.kind.is_empty() || filter.kind.contains(&alert.kind))
    });
    let limit = if filter.limit == 0 { usize::MAX } else { filter.limit };
    let is_more = all.len() > limit;
    all.truncate(limit);
    let alerts: Vec<Alert> = all.into_iter().cloned().collect();
    let next = alerts.last().filter(|_| is_more).map(|last| cursor(last.at, &last.id));
    let tunings = book.tunings(now).into_iter().cloned().collect();
    Ok(AlertPage { alerts, tunings, truncated: is_more, next })
}

/// How many alerts nobody has said anything about, by kind; kinds without any are there with 0.
pub async fn open_alerts(store: &dyn Store) -> Result<BTreeMap<AlertKind, u64>, StoreError> {
    let mut counts: BTreeMap<AlertKind, u64> = AlertKind::ALL.iter().map(|kind| (*kind, 0)).collect();
    for entry in store.register(Register::Alert).await? {
        let word = |name: &str| entry.value.get(name).and_then(serde_json::Value::as_str);
        if word("status") == Some(AlertStatus::Open.as_str())
            && let Some(kind) = word("kind").and_then(AlertKind::parse)
        {
            *counts.entry(kind).or_default() += 1;
        }
    }
    Ok(counts)
}

/// What a person says about an alert: it counts for the next ones of its subject, too.
pub async fn say(
    store: &dyn Store,
    id: &str,
    verdict: Verdict,
    said: Remark<'_>,
    (rules, now): (&Oversight, Timestamp),
) -> Result<Alert, OversightError> {
    let note = said.note()?;
    for _ in 0..TRIES {
        let mut book = load(store).await?;
        let alert = book.act(id, verdict, (said.by, note.as_deref()), rules, now).cloned();
        let alert = alert.ok_or_else(|| {
            OversightError::NotFound(
                "there is no such alert: `tollgate alerts list` shows those that there are".to_owned(),
            )
        })?;
        let (changes, events) = changes(book);
        if store.set(changes, events).await? {
            return Ok(alert);
        }
    }
    Err(raced())
}
