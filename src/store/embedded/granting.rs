//! Standing grants as they change: made with the approval that is answered with one, and ended. Each change is told by a
//! record ([`super::grants`]); a use is, by the decision of its call ([`super::calls`]).

use super::{approvals, grants, rows::Row, tx::Tx};
use crate::{
    evidence,
    model::{EventDraft, GrantId},
    store::{ApprovalUpdate, GrantEnd, GrantMade, GrantTerms, StandingGrant, StoreError},
};
use rusqlite::Connection;

fn live_of(connection: &Connection, terms: &GrantTerms) -> Result<usize, StoreError> {
    let sql = "SELECT COUNT(*) FROM grants WHERE live = 1 AND agent = ?1 AND expires_at > ?2";
    let live: i64 = connection
        .prepare_cached(sql)?
        .query_row((terms.agent.as_str(), terms.made_at.as_microsecond()), |row| row.get(0))?;
    Ok(usize::try_from(live).unwrap_or(usize::MAX))
}

/// Decides an approval and makes the grant that it was answered with: both or neither.
pub(super) fn make(
    tx: &mut Tx<'_>,
    update: &ApprovalUpdate,
    grant: &StandingGrant,
    events: &[EventDraft],
    (made, most): (&EventDraft, usize),
) -> Result<GrantMade, StoreError> {
    if tx.grants().get(&grant.id)?.is_some() {
        return Err(StoreError::Failed(format!("there is a grant `{}` already", grant.id)));
    }
    if live_of(tx.connection, &grant.terms)? >= most {
        return Ok(GrantMade::TooMany(most));
    }
    if !approvals::update(tx, update, events)? {
        return Ok(GrantMade::Outdated);
    }
    let mut event = made.clone();
    evidence::put_grant(&mut event, &grant.id, &grants::whole(grant)?);
    let (seq, place) = tx.append(&event)?;
    tx.row(Row::Grant { grant: Box::new(grant.clone()), whole: true, seq, place });
    Ok(GrantMade::Made)
}

/// Ends a grant that has not ended: how it stands then; `None` where there is none that could.
pub(super) fn end(
    tx: &mut Tx<'_>,
    id: &GrantId,
    end: &GrantEnd,
) -> Result<Option<StandingGrant>, StoreError> {
    let Some(grant) = tx.grants().get(id)?.filter(|grant| grant.ended.is_none()) else { return Ok(None) };
    let grant = grant.ended_by(end.clone());
    tx.saw(end.at);
    let (seq, place) = tx.append(&grants::ended(&grant, end, false)?)?;
    tx.row(Row::Grant { grant: Box::new(grant.clone()), whole: false, seq, place });
    Ok(Some(grant))
}
