//! The records around a call: a session's start, an alert about a call, the end of a task, and what is said of a call
//! about which its own process cannot speak.

use super::budget::alert_of_call;
use crate::{
    model::{
        Actor, AgentId, CallId, EventDraft, EventType, Outcome, PersonId, PolicyId, SnapshotId, TraceId,
        UpstreamName, counted,
    },
    proof::{self, Hash},
    redaction::Said,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// `agent_start` of a session.
pub fn session_started(
    agent: &AgentId,
    role: Option<&Arc<str>>,
    snapshot: &SnapshotId,
    now: Timestamp,
    detail: Value,
) -> EventDraft {
    let mut event = EventDraft::system(EventType::AgentStart, now);
    event.agent_id = Some(agent.clone());
    event.actor = Actor { kind: "agent".into(), role: role.filter(|role| !role.is_empty()).cloned() };
    event.policy_snapshot = Some(snapshot.clone());
    event.action = Some("session".into());
    event.detail = Some(detail);
    event
}

/// An alert that the agent of this decision loops.
pub fn loop_alert(decision: &EventDraft, kind: &str, sentence: &str, now: Timestamp) -> EventDraft {
    let mut event = alert_of_call(decision, &PolicyId::from("loop"), sentence, 100, now);
    event.action = Some("loop_alert".into());
    event.detail = Some(json!({"alert": "loop", "loop": kind}));
    event
}

/// An alert about a result that is not what its tool declares: the fields of the call's side effect. `count`: how many there
/// were since the alert before.
pub fn output_alert(side_effect: &EventDraft, sentence: &str, count: u64, now: Timestamp) -> EventDraft {
    let why: Arc<str> = format!("the result is not what the tool's outputSchema declares: {sentence}").into();
    let mut event = alert_of_call(side_effect, &PolicyId::from("output_schema"), "", 100, now);
    event.action = Some("output_schema".into());
    event.reason = Some(why);
    event.detail = Some(json!({"alert": "failures", "count": count}));
    event
}

/// An alert about a tool of which each call is refused, because what it declares of its results cannot be used.
pub fn output_unusable(upstream: &UpstreamName, tool: &str, sentence: &str, now: Timestamp) -> EventDraft {
    let mut event = EventDraft::system(EventType::Alert, now);
    event.action = Some("output_schema".into());
    event.upstream = Some(upstream.clone());
    event.tool = Some(tool.into());
    event.reason = Some(sentence.into());
    event.detail = Some(json!({"alert": "failures"}));
    event
}

/// Bytes that a process was writing to the journal as it ended, which nobody was told of, were cut off.
/// `kept`: the file of the journal's folder `torn` that has them, or the beginning of them.
pub fn torn_tail(
    now: Timestamp,
    segment: i64,
    (offset, bytes): (u64, u64),
    kept: Option<&str>,
) -> EventDraft {
    let mut event = EventDraft::system(EventType::Alert, now);
    event.action = Some("torn_tail_cut".into());
    event.reason = Some(
        format!("{bytes} bytes at the journal's end were not written to their end and were cut off: a process ended as it wrote them")
            .into(),
    );
    event.detail = Some(
        json!({"alert": "integrity", "segment": segment, "offset": offset, "bytes": bytes, "kept": kept}),
    );
    event
}

/// The index said something else than the record: somebody edited it, and it was rebuilt from the record.
pub fn index_edited(now: Timestamp, problem: &str) -> EventDraft {
    let mut event = EventDraft::system(EventType::Alert, now);
    event.action = Some("index_edited".into());
    event.reason =
        Some("somebody edited the index of the record; it was rebuilt from the record, which counts".into());
    event.detail = Some(json!({"alert": "integrity", "problem": problem}));
    event
}

/// The index could not be read; it was set aside under another name and rebuilt from the record.
pub fn index_set_aside(now: Timestamp, problem: &str, kept: &str) -> EventDraft {
    let mut event = EventDraft::system(EventType::Alert, now);
    event.action = Some("index_set_aside".into());
    event.reason = Some("the index of the record could not be read; it was rebuilt from the record".into());
    event.detail = Some(json!({"alert": "integrity", "problem": problem, "kept": kept}));
    event
}

/// What somebody has to say of a trace afterwards. `by`: a person, with the role of theirs that lets them, or nobody who is named.
pub fn note(now: Timestamp, trace: TraceId, by: Option<(&PersonId, &str)>, text: &Said) -> EventDraft {
    let mut event = EventDraft::system(EventType::Note, now);
    event.trace_id = Some(trace);
    if let Some((person, role)) = by {
        event.actor = Actor { kind: "person".into(), role: Some(role.into()) };
        event.detail = Some(json!({"person": person}));
    }
    event.reason = Some((&**text).into());
    event
}

/// A person signed in by an issuer: who they are there, and what they may do here.
pub fn signed_in(now: Timestamp, person: &PersonId, subject: &str, roles: &[&str]) -> EventDraft {
    let mut event = EventDraft::system(EventType::AdminAction, now);
    event.action = Some("signed_in".into());
    event.actor = Actor { kind: "person".into(), role: roles.first().map(|role| (*role).into()) };
    event.detail = Some(json!({"person": person, "subject": subject, "roles": roles}));
    event
}

/// The record is not what a checkpoint that was signed earlier says it was.
pub fn checkpoint_contradicted(now: Timestamp, problem: &str) -> EventDraft {
    let mut event = EventDraft::system(EventType::Alert, now);
    event.action = Some("checkpoint_contradicted".into());
    event.reason = Some(
        "the record is not what a signed checkpoint says it was: it was cut, rewritten or restored".into(),
    );
    event.detail = Some(json!({"alert": "integrity", "problem": problem}));
    event
}

/// Another key signs checkpoints from now on; keys as they verify.
pub fn checkpoint_key_rotated(now: Timestamp, person: &PersonId, before: &str, after: &str) -> EventDraft {
    let mut event = EventDraft::system(EventType::AdminAction, now);
    event.action = Some("checkpoint_key_rotated".into());
    event.actor = Actor { kind: "person".into(), role: Some("admin".into()) };
    event.reason =
        Some("another key signs checkpoints; the one before still verifies those that it signed".into());
    event.detail = Some(json!({"person": person, "before": before, "after": after}));
    event
}

const JOURNAL_DAMAGED: &str = "journal_damaged";

/// A running process found that the record is not what was written there. `segment` is the file's name, `after` the last
/// record before the place. `replica`: whose copy it is, where the record itself is in a database.
pub fn journal_damaged(
    now: Timestamp,
    (segment, after): (&str, i64),
    problem: &str,
    replica: Option<&str>,
) -> EventDraft {
    let mut event = EventDraft::system(EventType::Alert, now);
    event.action = Some(JOURNAL_DAMAGED.into());
    event.reason = Some(match replica {
        None => "the record is not what was written: somebody edited it, or the disk failed".into(),
        Some(replica) => format!(
            "the copy of the record that replica `{replica}` keeps is not what was copied: somebody edited it, or its disk failed; \
             the database has the record"
        )
        .into(),
    });
    let mut detail = json!({"alert": "integrity", "segment": segment, "after": after, "problem": problem});
    if let (Some(replica), Some(detail)) = (replica, detail.as_object_mut()) {
        detail.insert("replica".to_owned(), replica.into());
    }
    event.detail = Some(detail);
    event
}

/// Whether an event is of [`journal_damaged`], of this place.
pub fn is_journal_damaged(event: &EventDraft, segment: &str, after: i64) -> bool {
    let same = |detail: &Value| {
        detail["segment"].as_str() == Some(segment) && detail["after"].as_i64() == Some(after)
    };
    event.action.as_deref() == Some(JOURNAL_DAMAGED) && event.detail.as_ref().is_some_and(same)
}

const RECORDS_LOST: &str = "records_lost";

/// Records that were not on the disk as the power went are missing: what they may have used is withdrawn. `places`: as those of
/// [`damage_accepted`].
pub fn records_lost(now: Timestamp, problem: &str, places: Value) -> EventDraft {
    let mut event = EventDraft::system(EventType::Alert, now);
    event.action = Some(RECORDS_LOST.into());
    event.reason = Some(
        "the machine was restarted, and the newest records were not on its disk (`durability = \"commit\"`): approvals \
         that they may have used are withdrawn"
            .into(),
    );
    event.detail = Some(json!({"alert": "integrity", "problem": problem, "places": places}));
    event
}

/// The records of a store of before the journal were taken over.
pub fn store_taken_over(now: Timestamp, records: u64) -> EventDraft {
    let mut event = EventDraft::system(EventType::AdminAction, now);
    event.action = Some("store_taken_over".into());
    event.reason = Some(format!("{records} records of the store of before the journal go on in it").into());
    event.detail = Some(json!({"records": records}));
    event
}

const RETIRED: &str = "records_retired";

/// Old segments are about to be removed: what they ended with, so that what is left can be verified.
///
/// `tree` is what stays of the tree over the records that go: how many they are, and the hashes of the largest whole subtrees.
pub fn records_retired(
    now: Timestamp,
    before: Timestamp,
    segments: Value,
    (records, subtrees): (u64, &[Hash]),
) -> EventDraft {
    let mut event = EventDraft::system(EventType::AdminAction, now);
    event.action = Some(RETIRED.into());
    event.reason =
        Some(format!("records of before {before} are removed, as `[store] retention` says").into());
    let subtrees: Vec<String> = subtrees.iter().map(proof::encode).collect();
    let tree = json!({"records": records, "subtrees": subtrees});
    event.detail = Some(json!({"before": before, "segments": segments, "tree": tree}));
    event
}

/// What such a record says of the tree.
pub fn retired_tree(event: &EventDraft) -> Option<(u64, Vec<Hash>)> {
    let tree = event.detail.as_ref().filter(|_| event.action.as_deref() == Some(RETIRED))?.get("tree")?;
    let subtrees = tree["subtrees"].as_array()?.iter().map(|hash| proof::decode(hash.as_str()?));
    Some((tree["records"].as_u64()?, subtrees.collect::<Option<_>>()?))
}

/// Whether an event says that retention removed everything up to a record with this hash.
pub fn retired(event: &EventDraft, seq: i64, hash: &str) -> bool {
    if event.action.as_deref() != Some(RETIRED) {
        return false;
    }
    let segments = event.detail.as_ref().and_then(|detail| detail.get("segments")).and_then(Value::as_array);
    segments.is_some_and(|segments| {
        let ends_so =
            |segment: &Value| segment["last"].as_i64() == Some(seq) && segment["hash"].as_str() == Some(hash);
        segments.iter().any(ends_so)
    })
}

const DAMAGE_ACCEPTED: &str = "damage_accepted";

/// Whether an event says that a person accepted damage of this segment, behind this record or at this byte, or that a power loss
/// left it so.
pub fn accepts(event: &EventDraft, segment: &str, (after, offset): (i64, Option<u64>)) -> bool {
    let places = event.detail.as_ref().and_then(|detail| detail.get("places")).and_then(Value::as_array);
    // Of a torn end some records name a later record than the last that can be read.
    let is_at = |place: &Value| offset.is_some_and(|offset| place["offset"].as_u64() == Some(offset));
    let same = |place: &Value| {
        place["segment"].as_str() == Some(segment) && (place["after"].as_i64() == Some(after) || is_at(place))
    };
    let goes_on = matches!(event.action.as_deref(), Some(DAMAGE_ACCEPTED | RECORDS_LOST));
    goes_on && places.is_some_and(|places| places.iter().any(same))
}

/// Whether an event says that a power loss took records, and not where, as earlier versions wrote it.
pub fn loses_untold(event: &EventDraft) -> bool {
    let told = event.detail.as_ref().is_some_and(|detail| detail.get("places").is_some());
    event.action.as_deref() == Some(RECORDS_LOST) && !told
}

/// Whether an event says that a person accepted that records are lost from behind this one on, of which `known` and its hash is the
/// last: no later one was known then, and none was made since.
pub fn accepts_lost(
    event: &EventDraft,
    (segment, after): (&str, i64),
    (known, hash): (i64, &str),
    newest: Timestamp,
) -> bool {
    let places = event.detail.as_ref().and_then(|detail| detail.get("places")).and_then(Value::as_array);
    let covers = |place: &Value| {
        let same = place["segment"].as_str() == Some(segment) && place["after"].as_i64() == Some(after);
        let last = place.pointer("/known/seq").and_then(Value::as_i64);
        let is_last = || place.pointer("/known/hash").and_then(Value::as_str) == Some(hash);
        same && last.is_some_and(|last| known < last || (known == last && is_last()))
    };
    event.action.as_deref() == Some(DAMAGE_ACCEPTED)
        && newest <= event.timestamp
        && places.is_some_and(|places| places.iter().any(covers))
}

/// A person said that the record goes on behind damage. `places` are its places, each with `segment`, `after`, `offset` and
/// `problem`, and where replicas' database lost records with the last that was `known`, its `seq` and `hash`.
pub fn damage_accepted(
    now: Timestamp,
    person: Option<&str>,
    reason: &Said,
    problem: &str,
    places: Value,
) -> EventDraft {
    let mut event = EventDraft::system(EventType::AdminAction, now);
    if person.is_some() {
        event.actor = Actor { kind: "person".into(), role: Some("admin".into()) };
    }
    event.action = Some(DAMAGE_ACCEPTED.into());
    event.reason = Some((&**reason).into());
    event.detail = Some(json!({"person": person, "damage": problem, "places": places}));
    event
}

/// What the vault of `tokenize` keeps is encrypted under a new key.
pub fn vault_rotated(now: Timestamp, person: Option<&str>, key: u32, values: u64) -> EventDraft {
    let mut event = EventDraft::system(EventType::AdminAction, now);
    if person.is_some() {
        event.actor = Actor { kind: "person".into(), role: Some("admin".into()) };
    }
    event.action = Some("vault_key_rotated".into());
    event.reason = Some(format!("{values} values are encrypted under key {key}").into());
    event.detail = Some(json!({"person": person, "key": key, "values": values}));
    event
}

/// The side effect of a call whose work failed inside the gateway.
pub fn lost(agent: &AgentId, call_id: &CallId, now: Timestamp) -> EventDraft {
    let mut event = EventDraft::system(EventType::AgentSideEffect, now);
    event.agent_id = Some(agent.clone());
    event.call_id = Some(call_id.clone());
    event.outcome = Some(Outcome::Unknown);
    event.reason = Some("the gateway failed inside; whether the upstream acted is unknown".into());
    event
}

/// Credentials that opened nothing since a time: those that nobody has, and those that were not looked at, for their address had
/// failed too often.
pub fn auth_failed((unknown, rate_limited): (u64, u64), since: Timestamp, now: Timestamp) -> EventDraft {
    let mut event = EventDraft::system(EventType::AuthFailed, now);
    let count = unknown.saturating_add(rate_limited);
    event.action = Some("authenticate".into());
    event.reason = Some(format!("{} opened nothing", counted(count, "credential")).into());
    event.detail =
        Some(json!({"count": count, "unknown": unknown, "rate_limited": rate_limited, "since": since}));
    event
}

/// The side effect of a call about which its own process cannot speak: the fields of its decision, and what is known. None:
/// somebody damaged the decision.
pub fn orphaned(decision: Option<EventDraft>, at: Timestamp, outcome: Outcome, reason: &str) -> EventDraft {
    let mut event = decision.unwrap_or_else(|| EventDraft::system(EventType::AgentSideEffect, at));
    event.event_type = EventType::AgentSideEffect;
    event.timestamp = at;
    event.outcome = Some(outcome);
    event.reason = Some(reason.into());
    event.duration_ms = None;
    event.cost_usd = None;
    event.evaluator = None;
    event.labels = None;
    event.limits = None;
    event.facts = None;
    event.detail = None;
    event
}

/// The end of a task that a call became.
#[derive(Debug)]
pub struct TaskEnd<'t> {
    /// The trace of the call.
    pub trace_id: TraceId,
    /// Whose task it is.
    pub agent: Option<AgentId>,
    /// The bundle in force.
    pub snapshot: &'t SnapshotId,
    /// The tool, masked.
    pub tool: Arc<str>,
    /// Its action, masked.
    pub action: Arc<str>,
    /// Whose.
    pub upstream: &'t UpstreamName,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it failed.
    pub reason: Option<Arc<str>>,
    /// What explains it.
    pub detail: Value,
}

/// `agent_side_effect` of a task's end.
pub fn task_ended(task: TaskEnd<'_>, now: Timestamp) -> EventDraft {
    let mut event = EventDraft::system(EventType::AgentSideEffect, now);
    event.actor.kind = "agent".into();
    event.trace_id = Some(task.trace_id);
    event.policy_snapshot = Some(task.snapshot.clone());
    event.tool = Some(task.tool);
    event.upstream = Some(task.upstream.clone());
    event.action = Some(task.action);
    event.agent_id = task.agent;
    event.outcome = Some(task.outcome);
    event.reason = task.reason;
    event.detail = Some(task.detail);
    event
}
