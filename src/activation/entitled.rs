//! What every order takes: an admin, a reason, and a bundle that is kept.

use super::error::{MAX_REASON, OrderError};
use crate::{
    evidence::{KeptBundle, content_hash},
    model::PersonId,
    policy::{Authority, PolicySet, Role, is_signature},
    store::{Kept, KeptKind, Store, StoreError},
};
use serde_json::Value;

/// A reason as it may be recorded.
pub(super) fn clean_reason(reason: &str, in_force: &PolicySet) -> Result<String, OrderError> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(OrderError::NoReason);
    }
    if reason.chars().count() > MAX_REASON {
        return Err(OrderError::LongReason);
    }
    Ok(in_force.data.said(reason, MAX_REASON).into())
}

/// Whether a person may give orders.
pub(super) fn admin(authority: &Authority, person: &PersonId) -> Result<(), OrderError> {
    let known = authority.people.get(person);
    match known.is_some_and(|person| person.roles.contains(&Role::Admin)) {
        true => Ok(()),
        false => Err(OrderError::NotAdmin(person.clone())),
    }
}

/// Keeps a bundle under its snapshot, and gives the hash of what is kept.
pub(super) async fn keep(
    store: &dyn Store,
    next: &PolicySet,
    servers: Value,
    signed: bool,
) -> Result<String, OrderError> {
    let body = KeptBundle::of(next, servers).body();
    let kept =
        Kept { kind: KeptKind::Bundle, name: next.snapshot.to_string(), hash: content_hash(&body), body };
    store.keep(kept).await?;
    let kept = store.kept(KeptKind::Bundle, next.snapshot.to_string()).await?;
    let kept = kept.ok_or_else(|| StoreError::Damaged("what was kept a moment ago is gone".to_owned()))?;
    let has_signature = KeptBundle::read(&kept.body)
        .is_ok_and(|bundle| bundle.files.iter().any(|file| is_signature(&file.name)));
    if signed && !has_signature {
        return Err(OrderError::KeptUnsigned);
    }
    Ok(kept.hash)
}
