//! The book of alerts: what signals make of it, what people say about an alert, and what follows for the next ones. It holds the entries
//! that it was given, and tells which of them changed and by which records.

use super::{
    alert::{Alert, Tuning},
    duty::overdue,
    incident::Incident,
    watch::{OTHERS, Over, Raised, Signal},
};
use crate::{
    evidence::{SaidBy, incident_changed},
    model::{AlertKind, AlertStatus, EventDraft, PersonId},
    policy::Oversight,
    redaction::{display_text, without_queries},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, time::Duration};

/// Alerts that are open or seen; what comes beyond is one of its kind.
const MOST_LIVE: usize = 500;
/// Alerts of one kind that are raised in a window; what comes beyond is one.
const MOST_NEW: usize = 20;
/// Alerts and incidents that are over and still listed.
const MOST_OVER: usize = 1_000;
const OVER_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Characters of a sentence.
const LONGEST_REASON: usize = 1_000;
/// Incidents that are open.
const MOST_INCIDENTS: usize = 200;
/// A person says that an alert was none: it takes so many times what was seen to raise the next one.
const AFTER_FALSE: f64 = 1.5;
const MOST_FACTOR: f64 = 1e6;

/// What a person says about an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They have seen it.
    Ack,
    /// It was none.
    False,
}

/// An entry that is not as it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct BookChange {
    /// Whether it is an incident.
    pub is_incident: bool,
    /// Its key.
    pub key: String,
    /// The version that it was given with; 0: it was not there.
    pub expected: u64,
    /// What it becomes; none: it goes.
    pub value: Option<Value>,
}

#[derive(Clone, Debug)]
struct Held<T> {
    value: Option<T>,
    version: u64,
    dirty: bool,
}

/// Alerts, tunings and incidents as they stand.
#[derive(Clone, Debug, Default)]
pub struct Book {
    alerts: BTreeMap<String, Held<Alert>>,
    tunings: BTreeMap<String, Held<Tuning>>,
    incidents: BTreeMap<String, Held<Incident>>,
    events: Vec<EventDraft>,
}

fn put<T: DeserializeOwned>(
    into: &mut BTreeMap<String, Held<T>>,
    (key, version, value): (&str, u64, &Value),
) {
    // One that cannot be read says nothing, and is not written over.
    if let Ok(value) = serde_json::from_str(&value.to_string()) {
        into.insert(key.to_owned(), Held { value: Some(value), version, dirty: false });
    }
}

fn standing<T>(held: &BTreeMap<String, Held<T>>) -> impl Iterator<Item = &T> {
    held.values().filter_map(|held| held.value.as_ref())
}

fn change<T>(held: &mut BTreeMap<String, Held<T>>, key: &str, value: T) {
    let entry = held.entry(key.to_owned()).or_insert(Held { value: None, version: 0, dirty: true });
    (entry.value, entry.dirty) = (Some(value), true);
}

fn plus(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

fn tuning_key(kind: AlertKind, subject: &str) -> String {
    format!("tuning:{}", digest(&format!("{kind} {subject}")))
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text).first_chunk::<8>().unwrap_or(&[0; 8]))
}

impl Book {
    /// Takes in what stands in a register: the alerts' or the incidents'.
    pub fn put(&mut self, is_incident: bool, key: &str, version: u64, value: &Value) {
        let entry = (key, version, value);
        match (is_incident, key.starts_with("tuning:")) {
            (true, _) => put(&mut self.incidents, entry),
            (false, true) => put(&mut self.tunings, entry),
            (false, false) => put(&mut self.alerts, entry),
        }
    }

    /// All alerts, the newest first.
    pub fn alerts(&self) -> Vec<&Alert> {
        let mut all: Vec<&Alert> = standing(&self.alerts).collect();
        all.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
        all
    }

    /// One alert.
    pub fn alert(&self, id: &str) -> Option<&Alert> {
        self.alerts.get(id)?.value.as_ref()
    }

    /// What makes it take more to raise an alert now.
    pub fn tunings(&self, now: Timestamp) -> Vec<&Tuning> {
        standing(&self.tunings).filter(|tuning| tuning.until > now).collect()
    }

    /// All incidents, the newest first.
    pub fn incidents(&self) -> Vec<&Incident> {
        let mut all: Vec<&Incident> = standing(&self.incidents).collect();
        all.sort_by(|a, b| (b.opened_at, &b.id).cmp(&(a.opened_at, &a.id)));
        all
    }

    /// One incident.
    pub fn incident(&self, id: &str) -> Option<&Incident> {
        self.incidents.get(id)?.value.as_ref()
    }

    /// What has changed since the entries were given, and the records that tell it.
    pub fn into_changes(self) -> (Vec<BookChange>, Vec<EventDraft>) {
        fn of<T: Serialize>(held: BTreeMap<String, Held<T>>, is_incident: bool) -> Vec<BookChange> {
            let changed = held.into_iter().filter(|(_, held)| held.dirty);
            let told = changed.map(|(key, held)| BookChange {
                is_incident,
                key,
                expected: held.version,
                value: held.value.and_then(|value| serde_json::to_value(value).ok()),
            });
            told.filter(|change| change.value.is_some() || change.expected > 0).collect()
        }
        let mut changes = of(self.alerts, false);
        changes.extend(of(self.tunings, false));
        changes.extend(of(self.incidents, true));
        (changes, self.events)
    }

    /// Takes in what detectors say.
    pub fn signal(&mut self, signal: Signal, rules: &Oversight, now: Timestamp) {
        match signal {
            Signal::Raised(raised) => self.raise(*raised, rules, now),
            Signal::Over(over) => self.over(&over, now),
        }
    }

    fn live(&self, kind: AlertKind, subject: &str) -> Option<&Alert> {
        standing(&self.alerts).find(|alert| alert.is_live() && alert.kind == kind && alert.subject == subject)
    }

    /// Raises an alert, or takes it for a repeat of one.
    pub fn raise(&mut self, raised: Raised, rules: &Oversight, now: Timestamp) {
        let rule = rules.alerts.of(raised.kind);
        let tuning =
            self.tunings.get(&tuning_key(raised.kind, &raised.subject)).and_then(|held| held.value.as_ref());
        let factor = tuning.filter(|tuning| tuning.until > raised.at).map_or(1.0, |tuning| tuning.factor);
        if !rule.enabled || raised.score < factor {
            return;
        }
        let mut raised = raised;
        // Others' words may be in it: nothing hidden, nothing asked, nothing without a bound.
        raised.reason = display_text(&without_queries(&raised.reason), LONGEST_REASON).into();
        if let Some(live) = self.live(raised.kind, &raised.subject).cloned() {
            if !self.is_new_beside(&live, &raised, now) {
                self.repeat(live, &raised, rules.alerts.window);
                return;
            }
            let closed = Alert { until: None, ..live };
            self.restated(closed, AlertStatus::Closed, SaidBy::default(), &json!({"superseded": true}), now);
        } else if self.is_storm(raised.kind, rules.alerts.window, raised.at) {
            let kind = raised.kind;
            raised.subject = OTHERS.to_owned();
            raised.reason = format!(
                "more alerts of kind {kind} than are told one by one; one of them: {}",
                raised.reason
            )
            .into();
            if let Some(live) = self.live(kind, OTHERS).cloned() {
                self.repeat(live, &raised, rules.alerts.window);
                return;
            }
        }
        self.open(raised, rules, now);
    }

    /// Whether something is another alert than the one of its subject that stands.
    fn is_new_beside(&self, live: &Alert, raised: &Raised, now: Timestamp) -> bool {
        match live.status {
            AlertStatus::Acked if live.until.is_some_and(|until| until <= now) => true,
            // What is odd again after it was over.
            _ => live.over.is_some_and(|over| raised.at > over),
        }
    }

    /// The alert that a record was taken for: the one that it raised, or the one that it repeats.
    pub fn told_as(&self, record: i64, kind: AlertKind, subject: &str) -> Option<&Alert> {
        standing(&self.alerts)
            .find(|alert| alert.record == Some(record))
            .or_else(|| self.live(kind, subject))
            .or_else(|| self.live(kind, OTHERS))
    }

    fn is_storm(&self, kind: AlertKind, window: Duration, at: Timestamp) -> bool {
        let live = standing(&self.alerts).filter(|alert| alert.is_live()).count();
        let begin = plus(at, Duration::ZERO).checked_sub(window).unwrap_or(Timestamp::MIN);
        let new = standing(&self.alerts).filter(|alert| alert.kind == kind && alert.at > begin).count();
        live >= MOST_LIVE || new >= MOST_NEW
    }

    fn open(&mut self, raised: Raised, rules: &Oversight, now: Timestamp) {
        let Raised { kind, subject, at, record, .. } = &raised;
        let id = format!(
            "alert-{}",
            digest(&format!("{kind} {subject} {} {}", at.as_millisecond(), record.unwrap_or_default()))
        );
        if self.alerts.contains_key(&id) {
            return;
        }
        let mut alert = Alert {
            id: id.clone(),
            kind: raised.kind,
            subject: raised.subject,
            severity: rules.alerts.of(raised.kind).severity,
            at: raised.at,
            last: raised.at,
            status: AlertStatus::Open,
            score: raised.score,
            repeats: 0,
            reason: raised.reason.to_string(),
            figures: raised.figures,
            agent: raised.agent,
            workflow: raised.workflow,
            upstream: raised.upstream,
            tool: raised.tool,
            trace_id: raised.trace,
            record: raised.record,
            over: None,
            by: None,
            note: None,
            said_at: None,
            until: None,
            incident: None,
        };
        if alert.record.is_none() {
            self.events.push(alert.subject().raised(&raised.reason, (alert.score, &alert.figures), now));
        }
        self.join_incident(&mut alert, rules, now);
        change(&mut self.alerts, &id, alert);
    }

    /// An alert that meets the criteria opens an incident, or belongs to the one of its subject.
    fn join_incident(&mut self, alert: &mut Alert, rules: &Oversight, now: Timestamp) {
        let Some(rule) = rules.incidents.as_ref().filter(|rule| rule.is_met(alert.kind, alert.severity))
        else {
            return;
        };
        // An incident that is overdue is none of its own.
        if alert.subject.starts_with("incident:") {
            return;
        }
        let open: Vec<&Incident> = standing(&self.incidents).filter(|incident| incident.is_open()).collect();
        let full = open.len() >= MOST_INCIDENTS;
        let same = |subject: &str| open.iter().find(|incident| incident.subject == subject).copied().cloned();
        let known = same(&alert.subject).or_else(|| if full { same(OTHERS) } else { None });
        let incident = match known {
            Some(mut known) => {
                known.join(alert);
                known
            }
            None => {
                let subject = if full { OTHERS } else { &alert.subject };
                let fresh = Incident::of(alert, rule, subject);
                let told = json!(fresh);
                self.events.push(incident_changed(&fresh.id, "open", SaidBy::default(), &told, now));
                fresh
            }
        };
        alert.incident = Some(incident.id.clone());
        let id = incident.id.clone();
        change(&mut self.incidents, &id, incident);
    }

    /// The same again: written down once a window, or where it is worse.
    fn repeat(&mut self, live: Alert, raised: &Raised, window: Duration) {
        let worse = raised.score >= live.score * 1.25;
        let later = raised.at >= plus(live.last, window);
        if !worse && !later {
            return;
        }
        let mut alert = live;
        alert.score = alert.score.max(raised.score);
        if later {
            alert.repeats = alert.repeats.saturating_add(1);
            alert.last = raised.at;
            alert.over = None;
        }
        let id = alert.id.clone();
        change(&mut self.alerts, &id, alert);
    }

    fn over(&mut self, over: &Over, now: Timestamp) {
        let Some(live) = self.live(over.kind, &over.subject).filter(|live| live.over.is_none()).cloned()
        else {
            return;
        };
        let alert = Alert { over: Some(over.at), ..live };
        let after = if alert.status == AlertStatus::Acked { AlertStatus::Closed } else { alert.status };
        self.restated(alert, after, SaidBy::default(), &json!({"over": over.at}), now);
    }

    fn restated(&mut self, alert: Alert, after: AlertStatus, said: SaidBy<'_>, more: &Value, now: Timestamp) {
        self.events.push(alert.subject().changed((alert.status, after), said, more, now));
        let alert = Alert { status: after, ..alert };
        let id = alert.id.clone();
        change(&mut self.alerts, &id, alert);
    }

    /// What a person says about an alert. None: there is no such one.
    pub fn act(
        &mut self,
        id: &str,
        verdict: Verdict,
        (by, note): (&PersonId, Option<&str>),
        rules: &Oversight,
        now: Timestamp,
    ) -> Option<&Alert> {
        let alert = self.alert(id)?.clone();
        let said = SaidBy { person: Some(by), note, ..SaidBy::default() };
        let spoken = |until: Option<Timestamp>| Alert {
            by: Some(by.clone()),
            note: note.map(str::to_owned),
            said_at: Some(now),
            until,
            ..alert.clone()
        };
        match verdict {
            // What is over is seen and done: the same again is another alert.
            Verdict::Ack if alert.over.is_some() => {
                self.restated(spoken(None), AlertStatus::Closed, said, &json!({"over": alert.over}), now);
            }
            Verdict::Ack => {
                let until = plus(now, rules.alerts.ack_for);
                self.restated(spoken(Some(until)), AlertStatus::Acked, said, &json!({"until": until}), now);
            }
            Verdict::False => {
                // What says that the record was touched is believed each time.
                let tunes = alert.kind != AlertKind::Integrity;
                let until = tunes.then(|| plus(now, rules.alerts.false_for));
                let key = tuning_key(alert.kind, &alert.subject);
                let before = self.tunings.get(&key).and_then(|held| held.value.as_ref());
                let before = before.filter(|tuning| tuning.until > now).map_or(1.0, |tuning| tuning.factor);
                let factor = (alert.score * AFTER_FALSE).max(before).min(MOST_FACTOR);
                if let Some(until) = until {
                    let tuning = Tuning {
                        kind: alert.kind,
                        subject: alert.subject.clone(),
                        factor,
                        until,
                        by: by.clone(),
                    };
                    change(&mut self.tunings, &key, tuning);
                }
                let more = if tunes { json!({"factor": factor, "until": until}) } else { Value::Null };
                self.restated(spoken(until), AlertStatus::False, said, &more, now);
            }
        }
        self.alert(id)
    }

    /// A person has done what an alert is about.
    pub fn done(
        &mut self,
        kind: AlertKind,
        subject: &str,
        (by, note): (&PersonId, Option<&str>),
        now: Timestamp,
    ) {
        let Some(live) = self.live(kind, subject).cloned() else { return };
        let alert = Alert {
            by: Some(by.clone()),
            note: note.map(str::to_owned),
            said_at: Some(now),
            over: Some(now),
            until: None,
            ..live
        };
        let said = SaidBy { person: Some(by), note, ..SaidBy::default() };
        self.restated(alert, AlertStatus::Closed, said, &json!({"over": now}), now);
    }

    /// A person closes an incident. None: there is none that is open.
    pub fn close_incident(
        &mut self,
        id: &str,
        by: &PersonId,
        note: &str,
        now: Timestamp,
    ) -> Option<&Incident> {
        let open = self.incident(id).filter(|incident| incident.is_open())?.clone();
        let closed = Incident {
            status: "closed".to_owned(),
            by: Some(by.clone()),
            note: Some(note.to_owned()),
            closed_at: Some(now),
            ..open
        };
        let said = SaidBy { person: Some(by), note: Some(note), ..SaidBy::default() };
        self.events.push(incident_changed(id, "closed", said, &json!({"due": closed.due}), now));
        change(&mut self.incidents, id, closed);
        self.done(AlertKind::Duty, &format!("incident:{id}"), (by, Some(note)), now);
        self.incident(id)
    }

    /// What time alone changes: what was seen and is over, incidents that are overdue, and what is listed no more.
    pub fn tick(&mut self, rules: &Oversight, now: Timestamp) {
        let seen: Vec<Alert> = standing(&self.alerts)
            .filter(|alert| {
                alert.status == AlertStatus::Acked && alert.until.is_none_or(|until| until <= now)
            })
            .cloned()
            .collect();
        for alert in seen {
            self.restated(alert, AlertStatus::Closed, SaidBy::default(), &Value::Null, now);
        }
        let late: Vec<Raised> = standing(&self.incidents)
            .filter(|incident| incident.is_open() && incident.due <= now)
            .map(|incident| {
                let id = &incident.id;
                let reason = format!(
                    "incident {id} has been open for longer than it may: {}. `tollgate incidents close {id} --note TEXT` once it is over",
                    incident.reason
                );
                overdue(format!("incident:{id}"), reason, incident.due)
            })
            .collect();
        for raised in late {
            // It was told once, and stays so whatever people say about that alert.
            let told = standing(&self.alerts).any(|alert| alert.subject == raised.subject);
            if !told {
                self.raise(raised, rules, now);
            }
        }
        self.forget(now);
    }

    fn forget(&mut self, now: Timestamp) {
        let gone = |ends: Vec<(Timestamp, String)>| {
            let mut ends = ends;
            ends.sort();
            let many = ends.len().saturating_sub(MOST_OVER);
            let old = move |(at, (end, id)): (usize, (Timestamp, String))| {
                (at < many || now.duration_since(end) > OVER_FOR).then_some(id)
            };
            ends.into_iter().enumerate().filter_map(old).collect::<Vec<_>>()
        };
        let over = standing(&self.alerts).filter(|alert| !alert.is_live());
        for id in gone(over.map(|alert| (alert.said_at.unwrap_or(alert.last), alert.id.clone())).collect()) {
            remove(&mut self.alerts, &id);
        }
        let closed = standing(&self.incidents).filter_map(|one| Some((one.closed_at?, one.id.clone())));
        for id in gone(closed.collect()) {
            remove(&mut self.incidents, &id);
        }
        let past: Vec<String> = self
            .tunings
            .iter()
            .filter(|(_, held)| held.value.as_ref().is_some_and(|tuning| tuning.until <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in past {
            remove(&mut self.tunings, &key);
        }
    }
}

fn remove<T>(held: &mut BTreeMap<String, Held<T>>, key: &str) {
    if let Some(entry) = held.get_mut(key) {
        (entry.value, entry.dirty) = (None, true);
    }
}
