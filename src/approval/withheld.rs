//! Who sees the values of an approval's call.

use super::rules::eligible;
use crate::{
    policy::{ChannelKind, Person, Role},
    store::ApprovalRecord,
};

/// Whether a person sees them: by one of their roles, because they may decide it or could, now or when it escalates, or because
/// they have answered it.
pub fn sees_values(record: &ApprovalRecord, person: &Person, roles: &[Role]) -> bool {
    if roles.iter().any(|role| role.sees_values()) {
        return true;
    }
    if !roles.contains(&Role::Approver) {
        return false;
    }
    let could = record.requirements.iter().any(|requirement| {
        ChannelKind::ALL
            .iter()
            .any(|channel| eligible(record, requirement, person, *channel, record.expires_at).is_ok())
    });
    could || record.answers.iter().any(|answer| answer.person == person.id)
}
