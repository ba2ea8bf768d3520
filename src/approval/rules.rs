//! Who may decide, and what an answer does to a record: pure, so that interleavings can be tried by the thousand.

use crate::{
    model::{ApprovalStatus, PersonId},
    policy::{Approver, Authority, ChannelKind, Person, Role},
    store::{ApprovalAnswer, ApprovalRecord, Requirement, StoreError},
};
use jiff::Timestamp;

/// Why an answer does not count.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// There is no such approval.
    #[error("there is no such approval")]
    NotFound,
    /// This person may not decide it.
    #[error("you may not decide this approval: {0}")]
    NotApprover(String),
    /// It is not pending any more.
    #[error("this approval is already {0}")]
    AlreadyDecided(ApprovalStatus),
    /// It was asked for under other policies than are in force: whatever is answered lets nothing through.
    #[error("the policies have changed since this was asked for: the call has to be made again")]
    SnapshotMismatch,
    /// The same person has answered already, and a quorum counts people.
    #[error("you have already approved this; {0} more must")]
    AlreadyAnswered(usize),
    /// Evidence is needed.
    #[error("this approval needs evidence: say in `evidence` what shows that the call is right")]
    EvidenceMissing,
    /// The standing grant that it came with is none that its rules allow; nothing was decided.
    #[error("{0}")]
    GrantRefused(String),
    /// The store did not do it; nothing was decided.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far a record is from its requirements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumProgress {
    /// Per requirement: how many people approved of it, and how many must.
    pub met: Vec<(u32, u32)>,
}

impl QuorumProgress {
    /// Whether all requirements are met.
    pub fn complete(&self) -> bool {
        self.met.iter().all(|(have, need)| have >= need)
    }

    /// How many answers are missing at least.
    pub fn missing(&self) -> usize {
        self.met.iter().map(|(have, need)| need.saturating_sub(*have) as usize).max().unwrap_or(0)
    }
}

/// Whether this person may decide for one requirement at this time, through this channel.
pub fn eligible(
    record: &ApprovalRecord,
    requirement: &Requirement,
    person: &Person,
    channel: ChannelKind,
    now: Timestamp,
) -> Result<(), String> {
    if !person.roles.contains(&Role::Approver) {
        return Err("it takes the role `approver`".to_owned());
    }
    if !channel.is_taken(&requirement.channels) {
        return Err("its rule does not take answers through this channel".to_owned());
    }
    let is_operator = record.operator.as_ref() == Some(&person.id);
    if is_operator && requirement.separate {
        return Err("its rule keeps the agent's own operator out".to_owned());
    }
    let escalated = requirement
        .escalation
        .as_ref()
        .filter(|(from, _)| now >= *from)
        .map(|(_, to)| to.as_slice())
        .unwrap_or_default();
    let by_name = requirement.approvers.iter().chain(escalated).any(|one| is_named(one, person, is_operator));
    // Where nobody is named everyone with the role may decide, but an operator only where named.
    let open = requirement.approvers.is_empty() && !is_operator;
    if by_name || open {
        Ok(())
    } else if is_operator {
        Err("an operator may decide for their own agent only where the rule names them".to_owned())
    } else {
        Err("its rule does not name you or a group of yours".to_owned())
    }
}

fn is_named(approver: &Approver, person: &Person, is_operator: bool) -> bool {
    match approver {
        Approver::Group(group) => person.groups.contains(group),
        Approver::Person(id) => *id == person.id,
        Approver::Operator => is_operator,
    }
}

/// The people who could decide for one requirement as long as nothing escalates; of a call of an agent with this operator.
/// `approvers` are those that the rule names, or the bundle's default.
pub fn deciders<'p>(
    authority: &'p Authority,
    operator: Option<&PersonId>,
    approvers: &[Approver],
    separate: bool,
) -> Vec<&'p PersonId> {
    let may = |person: &&Person| {
        let is_operator = operator == Some(&person.id);
        let named = approvers.iter().any(|one| is_named(one, person, is_operator));
        person.roles.contains(&Role::Approver)
            && !(is_operator && separate)
            && (named || approvers.is_empty() && !is_operator)
    };
    authority.people.values().filter(may).map(|person| &person.id).collect()
}

/// Which requirements an approval by this person counts for.
fn counts_for<'r>(
    authority: &Authority,
    record: &'r ApprovalRecord,
    person: &PersonId,
    channel: ChannelKind,
    at: Timestamp,
) -> Result<Vec<&'r Requirement>, String> {
    let person = authority.people.get(person).ok_or_else(|| "you are not in authority.yaml".to_owned())?;
    let mut reason = None;
    let mut counted = Vec::new();
    for requirement in &record.requirements {
        match eligible(record, requirement, person, channel, at) {
            Ok(()) => counted.push(requirement),
            Err(why) => reason = reason.or(Some(why)),
        }
    }
    match (counted.is_empty(), reason) {
        (true, reason) => {
            Err(reason.unwrap_or_else(|| "it has no requirement that you could meet".to_owned()))
        }
        (false, _) => Ok(counted),
    }
}

/// How a record stands: approvals are held against the authority map of now, so that a person who has left
/// since does not count.
pub fn standing(
    authority: &Authority,
    record: &ApprovalRecord,
    answers: &[ApprovalAnswer],
) -> QuorumProgress {
    let met = record
        .requirements
        .iter()
        .map(|requirement| {
            let mut people: Vec<&PersonId> = Vec::new();
            for answer in
                answers.iter().filter(|a| a.approve && !people.contains(&&a.person)).collect::<Vec<_>>()
            {
                let entitled = authority.people.get(&answer.person).is_some_and(|person| {
                    eligible(record, requirement, person, answer.channel, answer.at).is_ok()
                });
                let shown =
                    !requirement.evidence_required || answer.evidence.as_deref().is_some_and(has_text);
                if entitled && shown && !people.contains(&&answer.person) {
                    people.push(&answer.person);
                }
            }
            (u32::try_from(people.len()).unwrap_or(u32::MAX), requirement.quorum)
        })
        .collect();
    QuorumProgress { met }
}

fn has_text(text: &str) -> bool {
    text.chars().any(|c| !c.is_whitespace())
}

/// The status after this answer, or why it does not count. One rejection by anybody who may decide rejects.
pub fn apply(
    authority: &Authority,
    record: &ApprovalRecord,
    answer: &ApprovalAnswer,
    now: Timestamp,
) -> Result<ApprovalStatus, DecideError> {
    let through = |channel| counts_for(authority, record, &answer.person, channel, now);
    let counted = match through(answer.channel) {
        Ok(counted) => counted,
        // Whoever may decide it, through whatever channel, is told that it is decided, as of any other.
        Err(_)
            if record.status != ApprovalStatus::Pending
                && ChannelKind::ALL.iter().any(|channel| through(*channel).is_ok()) =>
        {
            Vec::new()
        }
        Err(why) => return Err(DecideError::NotApprover(why)),
    };
    match record.status {
        ApprovalStatus::Pending => {}
        // A grant has let its call through.
        ApprovalStatus::Cancelled if record.covered_by.is_some() => {
            return Err(DecideError::AlreadyDecided(record.status));
        }
        // Nothing else cancels one.
        ApprovalStatus::Cancelled => return Err(DecideError::SnapshotMismatch),
        ApprovalStatus::Approved
        | ApprovalStatus::Rejected
        | ApprovalStatus::Expired
        | ApprovalStatus::Consumed => return Err(DecideError::AlreadyDecided(record.status)),
    }
    if now >= record.expires_at {
        return Err(DecideError::AlreadyDecided(ApprovalStatus::Expired));
    }
    // It may not be cancelled yet.
    if record.binding.snapshot != answer.snapshot {
        return Err(DecideError::SnapshotMismatch);
    }
    if !answer.approve {
        return Ok(ApprovalStatus::Rejected);
    }
    let evidence = answer.evidence.as_deref().is_some_and(has_text);
    if !evidence && counted.iter().any(|r| r.evidence_required) {
        return Err(DecideError::EvidenceMissing);
    }
    if record.answers.iter().any(|a| a.approve && a.person == answer.person) {
        return Err(DecideError::AlreadyAnswered(standing(authority, record, &record.answers).missing()));
    }
    let mut answers = record.answers.clone();
    answers.push(answer.clone());
    let standing = standing(authority, record, &answers);
    Ok(if standing.complete() { ApprovalStatus::Approved } else { ApprovalStatus::Pending })
}
