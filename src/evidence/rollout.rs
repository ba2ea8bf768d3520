//! The records of a rollout: a bundle that is tried beside the one in force, stage by stage. Each record holds the whole state, so
//! that the newest one says how the rollout stands.

use crate::model::{Actor, Event, EventDraft, EventType, PersonId, PolicyId, Share, SnapshotId, counted};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, json};
use std::fmt;

/// The policy under which the records of rollouts are found. No policy of a bundle may have this id.
pub const ROLLOUT: &str = "rollout";

/// The same for what processes have seen, which changes nothing.
pub const OBSERVED: &str = "rollout.seen";

/// How far a bundle that is tried counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It decides nothing: what it would have decided is recorded.
    Shadow,
    /// It decides this share of calls.
    Share(Share),
    /// It is in force, and the rollout is over.
    All,
}

impl Stage {
    /// Reads `shadow`, `10%` or `all`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "shadow" => Some(Self::Shadow),
            "all" => Some(Self::All),
            share => Share::parse(share).map(Self::Share),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shadow => f.write_str("shadow"),
            Self::Share(share) => share.fmt(f),
            Self::All => f.write_str("all"),
        }
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("expected `shadow`, a share like `10%`, or `all`"))
    }
}

/// How much worse than the bundle in force a candidate may be before its rollout ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Calls that the candidate alone denies, of those that both have decided.
    #[serde(with = "share_text")]
    pub max_deny_increase: Share,
    /// Calls on which a condition of the candidate alone has no answer.
    pub max_errors: u64,
    /// Fewer calls than this say nothing about a share of them.
    pub min_calls: u64,
}

mod share_text {
    use super::{Deserialize, Deserializer, Serializer, Share, de};

    pub(super) fn serialize<S: Serializer>(share: &Share, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(share)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Share, D::Error> {
        let text = String::deserialize(deserializer)?;
        Share::parse(&text).ok_or_else(|| de::Error::custom(format!("expected {}", Share::EXPECTED)))
    }
}

/// What a stage has seen: calls that both bundles have decided, each on the same arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// All of them.
    pub calls: u64,
    /// Those that the candidate decided in earnest.
    pub decided_by_candidate: u64,
    /// The bundle in force denies them, or denied them.
    pub denied_in_force: u64,
    /// The candidate does.
    pub denied_by_candidate: u64,
    /// The candidate alone denies them.
    pub newly_denied: u64,
    /// The bundle in force alone denies them.
    pub newly_allowed: u64,
    /// The candidate alone asks a person about them.
    pub newly_asked: u64,
    /// A condition of the candidate alone has no answer.
    pub errors: u64,
}

impl Seen {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            decided_by_candidate: self.decided_by_candidate.saturating_add(other.decided_by_candidate),
            denied_in_force: self.denied_in_force.saturating_add(other.denied_in_force),
            denied_by_candidate: self.denied_by_candidate.saturating_add(other.denied_by_candidate),
            newly_denied: self.newly_denied.saturating_add(other.newly_denied),
            newly_allowed: self.newly_allowed.saturating_add(other.newly_allowed),
            newly_asked: self.newly_asked.saturating_add(other.newly_asked),
            errors: self.errors.saturating_add(other.errors),
        }
    }

    /// Which bound it is beyond, in a sentence.
    pub fn beyond(&self, bounds: &Bounds) -> Option<String> {
        let Bounds { max_deny_increase, max_errors, min_calls } = *bounds;
        if self.errors > max_errors {
            return Some(format!(
                "conditions of the candidate had no answer on {} of {}; at most {max_errors} may",
                self.errors,
                counted(self.calls, "call")
            ));
        }
        if self.calls >= min_calls && max_deny_increase.is_exceeded_by(self.newly_denied, self.calls) {
            return Some(format!(
                "the candidate alone denies {} of {}; at most {max_deny_increase} may be",
                self.newly_denied,
                counted(self.calls, "call")
            ));
        }
        None
    }
}

/// Whether a rollout goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// It does.
    Running,
    /// A stage was beyond its bound: the bundle in force decides every call again.
    WentBack,
    /// Somebody ended it, or something else came into force.
    Aborted,
    /// The candidate is in force.
    Finished,
}

/// A rollout as a record holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its own.
    pub id: String,
    /// What is in force beside it.
    pub base: SnapshotId,
    /// What is tried.
    pub candidate: SnapshotId,
    /// The hash of what is kept of the candidate.
    pub bundle: String,
    /// All stages, in order.
    pub stages: Vec<Stage>,
    /// Which of them, from 0.
    pub at: usize,
    /// Whether it goes on.
    pub state: RolloutState,
    /// When a stage is beyond what it may be.
    pub bounds: Bounds,
    /// Who began it.
    pub by: PersonId,
    /// Why.
    pub reason: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When the stage began.
    pub stage_since: Timestamp,
}

impl Rollout {
    /// The stage that it is in.
    pub fn stage(&self) -> Stage {
        self.stages.get(self.at).copied().unwrap_or(Stage::Shadow)
    }

    /// The stage after that.
    pub fn next(&self) -> Option<Stage> {
        self.stages.get(self.at.saturating_add(1)).copied()
    }
}

/// What a record of a rollout tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutStep {
    /// It began.
    Started,
    /// The next stage began.
    Advanced,
    /// It goes on as it stood: retention was about to remove its record.
    Renewed,
    /// What a process has seen in the stage so far.
    Observed,
    /// Somebody ended it, or something else came into force.
    Aborted,
    /// A stage was beyond its bound.
    WentBack,
    /// The candidate came into force.
    Finished,
}

impl RolloutStep {
    const ALL: [Self; 7] = [
        Self::Started,
        Self::Advanced,
        Self::Renewed,
        Self::Observed,
        Self::Aborted,
        Self::WentBack,
        Self::Finished,
    ];

    /// Its word in a record.
    pub fn word(self) -> &'static str {
        match self {
            Self::Started => "rollout_started",
            Self::Advanced => "rollout_advanced",
            Self::Renewed => "rollout_renewed",
            Self::Observed => "rollout_observed",
            Self::Aborted => "rollout_aborted",
            Self::WentBack => "rollout_went_back",
            Self::Finished => "rollout_finished",
        }
    }
}

/// A record of a rollout.
#[derive(Clone, Debug)]
pub struct RolloutRecord<'r> {
    /// What it tells.
    pub step: RolloutStep,
    /// The rollout, as it stands after it.
    pub rollout: &'r Rollout,
    /// What the stage that ends or goes on has seen: all processes; of one process where it is an observation.
    pub seen: Seen,
    /// The process, of an observation.
    pub process: Option<&'r str>,
    /// Who did it; none: Tollgate itself.
    pub person: Option<&'r PersonId>,
    /// Why.
    pub reason: &'r str,
}

impl RolloutRecord<'_> {
    /// `admin_action`.
    pub fn event(&self, now: Timestamp) -> EventDraft {
        let mut event = EventDraft::system(EventType::AdminAction, now);
        if self.person.is_some() {
            event.actor = Actor { kind: "person".into(), role: Some("admin".into()) };
        }
        event.policy_id = Some(PolicyId::from(match self.step {
            RolloutStep::Observed => OBSERVED,
            RolloutStep::Started
            | RolloutStep::Advanced
            | RolloutStep::Renewed
            | RolloutStep::Aborted
            | RolloutStep::WentBack
            | RolloutStep::Finished => ROLLOUT,
        }));
        event.action = Some(self.step.word().into());
        event.reason = Some(self.reason.into());
        event.policy_snapshot = Some(self.rollout.candidate.clone());
        event.detail = Some(json!({
            "person": self.person,
            "stage": self.rollout.stage(),
            "seen": self.seen,
            "process": self.process,
            "rollout": self.rollout,
        }));
        event
    }
}

/// A record of a rollout, read back.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutEvent {
    /// Its place in the chain.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// What it tells.
    pub step: RolloutStep,
    /// The rollout, as it stands after it.
    pub rollout: Rollout,
    /// What its stage had seen.
    pub seen: Seen,
    /// The process, of an observation.
    pub process: Option<String>,
    /// Who did it.
    pub person: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

impl RolloutEvent {
    /// `None`: it is no such record.
    pub fn of(event: &Event) -> Option<Self> {
        let draft = &event.draft;
        if !draft.policy_id.as_deref().is_some_and(|id| [ROLLOUT, OBSERVED].contains(&id)) {
            return None;
        }
        let step = RolloutStep::ALL.into_iter().find(|step| draft.action.as_deref() == Some(step.word()))?;
        let detail = draft.detail.as_ref()?;
        let text = |name: &str| detail.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            seq: event.seq,
            at: draft.timestamp,
            step,
            rollout: Rollout::deserialize(detail.get("rollout")?).ok()?,
            seen: detail.get("seen").and_then(|seen| Seen::deserialize(seen).ok()).unwrap_or_default(),
            process: text("process"),
            person: text("person"),
            reason: draft.reason.as_deref().map(str::to_owned),
        })
    }

    /// For pages and programs.
    pub fn form(&self) -> Value {
        json!({
            "at": self.at,
            "step": self.step.word(),
            "stage": self.rollout.stage(),
            "by": self.person,
            "reason": self.reason,
            "seen": self.seen,
        })
    }
}

/// What deciding a call under the other bundle came to, for the record of the call.
#[derive(Clone, Debug)]
pub struct Compared<'c> {
    /// The rollout.
    pub rollout: &'c Rollout,
    /// Whether the candidate decided the call.
    pub by_candidate: bool,
    /// The bundle that did not.
    pub snapshot: &'c SnapshotId,
    /// What it says, in the words of events.
    pub decision: &'c str,
    /// Whose outcome that is.
    pub policy_id: &'c str,
    /// Which rule.
    pub rule_id: Option<&'c str>,
    /// Why.
    pub reason: &'c str,
}

impl Compared<'_> {
    /// The member of a decision's `detail`.
    pub fn text(&self) -> Box<str> {
        let told = json!({
            "id": self.rollout.id,
            "stage": self.rollout.stage(),
            "decided_by": if self.by_candidate { "candidate" } else { "in_force" },
            "other": {
                "snapshot": self.snapshot,
                "decision": format!("would_{}", self.decision),
                "policy_id": self.policy_id,
                "rule_id": self.rule_id,
                "reason": self.reason,
            },
        });
        told.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout() -> Rollout {
        let time = "2026-11-20T10:00:00Z".parse().unwrap();
        Rollout {
            id: "r".to_owned(),
            base: "b".into(),
            candidate: "c".into(),
            bundle: "h".to_owned(),
            stages: ["shadow", "10%", "all"].iter().filter_map(|text| Stage::parse(text)).collect(),
            at: 1,
            state: RolloutState::Running,
            bounds: Bounds { max_deny_increase: Share::parse("2.5%").unwrap(), max_errors: 0, min_calls: 20 },
            by: "dave".into(),
            reason: "new limits".to_owned(),
            started_at: time,
            stage_since: time,
        }
    }

    /// R70: what a stage found is on record, and is read back as it was written.
    #[test]
    fn a_rollout_is_read_back_as_it_was_recorded() {
        let rollout = rollout();
        let seen = Seen { calls: 40, newly_denied: 3, ..Seen::default() };
        let person = PersonId::from("dave");
        for step in RolloutStep::ALL {
            let record = RolloutRecord {
                step,
                rollout: &rollout,
                seen,
                process: Some("p"),
                person: Some(&person),
                reason: "because",
            };
            let body = record.event(rollout.started_at).body();
            let draft = EventDraft::from_body(&body).unwrap();
            let read =
                RolloutEvent::of(&Event { seq: 7, prev_hash: String::new(), hash: String::new(), draft });
            let read = read.unwrap();
            assert_eq!((read.step, &read.rollout, read.seen, read.seq), (step, &rollout, seen, 7));
            assert_eq!((read.process.as_deref(), read.person.as_deref()), (Some("p"), Some("dave")));
        }
        assert_eq!((rollout.stage().to_string(), rollout.next()), ("10%".to_owned(), Some(Stage::All)));
    }

    #[test]
    fn a_stage_is_beyond_its_bound_only_once_enough_was_seen() {
        let bounds = rollout().bounds;
        let check = |calls, newly_denied, errors, expect: bool| {
            let seen = Seen { calls, newly_denied, errors, ..Seen::default() };
            assert_eq!(seen.beyond(&bounds).is_some(), expect, "{seen:?}");
        };
        check(0, 0, 0, false);
        check(19, 19, 0, false);
        check(20, 1, 0, true);
        check(40, 1, 0, false);
        check(1, 0, 1, true);
    }
}
