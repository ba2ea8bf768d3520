//! What people have to do regularly, and when that is late.

use super::watch::Raised;
use crate::{
    model::{AlertKind, PersonId},
    policy::DutyRule,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// When it was done last, and by whom; or since when it is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Since then it counts.
    pub at: Timestamp,
    /// Who did it; nobody: it was never done.
    pub by: Option<PersonId>,
    /// What they say.
    pub note: Option<String>,
}

/// How a duty stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DutyState {
    /// Its name.
    pub name: String,
    /// How often, in seconds.
    pub every_s: u64,
    /// Who answers for it.
    pub owner: Option<String>,
    /// When it was done last.
    pub done: Option<Timestamp>,
    /// By whom.
    pub by: Option<PersonId>,
    /// What they said.
    pub note: Option<String>,
    /// Until when it has to be done; none: it is not known since when it stands.
    pub due: Option<Timestamp>,
    /// Whether that is over.
    pub late: bool,
}

fn due(rule: &DutyRule, done: &Done) -> Timestamp {
    let every = SignedDuration::try_from(rule.every).unwrap_or(SignedDuration::MAX);
    done.at.checked_add(every).unwrap_or(Timestamp::MAX)
}

/// How the duties of a bundle stand.
pub fn duties<'d>(
    rules: &[DutyRule],
    done: impl Fn(&str) -> Option<&'d Done>,
    now: Timestamp,
) -> Vec<DutyState> {
    let state = |rule: &DutyRule| {
        let last = done(&rule.name);
        let due = last.map(|last| due(rule, last));
        let was_done = last.filter(|last| last.by.is_some());
        DutyState {
            name: rule.name.to_string(),
            every_s: rule.every.as_secs(),
            owner: rule.owner.as_ref().map(ToString::to_string),
            done: was_done.map(|last| last.at),
            by: was_done.and_then(|last| last.by.clone()),
            note: was_done.and_then(|last| last.note.clone()),
            due,
            late: due.is_some_and(|due| due <= now),
        }
    };
    rules.iter().map(state).collect()
}

/// That a duty is late, where it is.
pub fn due_alert(rule: &DutyRule, done: &Done, now: Timestamp) -> Option<Raised> {
    let due = due(rule, done);
    if due > now {
        return None;
    }
    let owner = rule.owner.as_ref().map_or(String::new(), |owner| format!(" ({owner})"));
    let name = &rule.name;
    Some(overdue(
        format!("duty:{name}"),
        format!(
            "the duty `{name}`{owner} was due at {due}: `tollgate duties done {name} --note TEXT` once it is done"
        ),
        due,
    ))
}

/// That something which people have to do is overdue since a time.
pub(super) fn overdue(subject: String, reason: String, due: Timestamp) -> Raised {
    Raised {
        kind: AlertKind::Duty,
        subject,
        at: due,
        score: 1.0,
        reason: reason.into(),
        figures: json!({"due": due}),
        agent: None,
        workflow: None,
        upstream: None,
        tool: None,
        trace: None,
        record: None,
    }
}
