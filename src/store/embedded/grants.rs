//! Standing grants: what one says is read from its records in the journal; the projection says only where these are, and by
//! what a grant is found. The first record says all of it, and each later one how it stands from then on, so that two
//! records say everything, however often it was used.

use super::book::Book;
use crate::{
    evidence::{self, GrantEnded},
    journal::{
        JournalError, Place, Range, Reader,
        index::{Field, Pattern, Wanted},
    },
    model::{EventDraft, EventType, GrantId},
    store::{GrantEnd, GrantFilter, StandingGrant, StoreError, about_grant},
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter, types::Value};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// What a later record says of a grant.
#[derive(Debug, Serialize, Deserialize)]
struct Change {
    version: u64,
    used: u64,
    ended: Option<GrantEnd>,
}

/// What one record says.
enum Said {
    Whole(Box<StandingGrant>),
    Change(Change),
}

fn unwritable(error: serde_json::Error) -> StoreError {
    StoreError::Failed(format!("the grant cannot be written as JSON: {error}"))
}

fn damaged(id: &GrantId, problem: &str) -> StoreError {
    StoreError::Damaged(format!("a record of grant `{id}` cannot be read: {problem}"))
}

fn differs(id: &GrantId, what: &str) -> StoreError {
    StoreError::Damaged(format!(
        "the index says something else of grant `{id}` than the record does ({what}): somebody edited it; \
         `tollgate audit verify` names what differs, and a restart takes the record"
    ))
}

/// What an event says of a grant; `None` where it says nothing of one.
fn said(event: &EventDraft) -> Result<Option<(&GrantId, Said)>, StoreError> {
    let Some((id, told)) = evidence::grant_of(event) else { return Ok(None) };
    let text = told.to_string();
    let wrong = |error: serde_json::Error| damaged(id, &error.to_string());
    if told.get("terms").is_none() {
        return Ok(Some((id, Said::Change(serde_json::from_str(&text).map_err(wrong)?))));
    }
    let grant: StandingGrant = serde_json::from_str(&text).map_err(wrong)?;
    match grant.id == *id {
        true => Ok(Some((id, Said::Whole(Box::new(grant))))),
        false => Err(damaged(id, &format!("it is of `{}`", grant.id))),
    }
}

/// What an event makes of its grant, as it stood before, and whether it says all of it; `None` where it says nothing of one.
pub(super) fn changed(
    event: &EventDraft,
    before: impl FnOnce(&GrantId) -> Result<Option<StandingGrant>, StoreError>,
) -> Result<Option<(StandingGrant, bool)>, StoreError> {
    match said(event)? {
        None => Ok(None),
        Some((_, Said::Whole(grant))) => Ok(Some((*grant, true))),
        Some((id, Said::Change(change))) => {
            // Its first record went with an old segment.
            let Some(grant) = before(id)? else { return Ok(None) };
            if change.version != grant.version + 1 || change.used < grant.used {
                let problem = format!("it makes version {} of version {}", change.version, grant.version);
                return Err(damaged(id, &problem));
            }
            Ok(Some((after(grant, change), false)))
        }
    }
}

fn after(grant: StandingGrant, change: Change) -> StandingGrant {
    let Change { version, used, ended } = change;
    StandingGrant { version, used, ended, ..grant }
}

/// A record's place in the chain, its segment, and its offset there.
type Told = (i64, i64, u64);

/// What the projection says of one grant.
struct Listed {
    version: i64,
    live: bool,
    whole: Told,
    newest: Told,
}

/// Standing grants as they stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grants<'b> {
    pub(super) connection: &'b Connection,
    pub(super) journal: &'b Reader,
}

impl<'b> From<Book<'b>> for Grants<'b> {
    fn from(book: Book<'b>) -> Self {
        Self { connection: book.connection, journal: book.journal }
    }
}

impl Grants<'_> {
    /// One grant, read from the records that the projection names and held against what it says.
    pub(super) fn get(&self, id: &GrantId) -> Result<Option<StandingGrant>, StoreError> {
        let sql = "SELECT version, live, whole_seq, whole_segment, whole_offset, newest_seq, newest_segment, newest_offset
                   FROM grants WHERE id = ?1";
        let offset = |offset: i64| u64::try_from(offset).unwrap_or(0);
        let listed = self
            .connection
            .prepare_cached(sql)?
            .query_row([id.as_str()], |row| {
                Ok(Listed {
                    version: row.get(0)?,
                    live: row.get(1)?,
                    whole: (row.get(2)?, row.get(3)?, offset(row.get(4)?)),
                    newest: (row.get(5)?, row.get(6)?, offset(row.get(7)?)),
                })
            })
            .optional()?;
        listed.map(|listed| self.read(id, &listed)).transpose()
    }

    fn read(&self, id: &GrantId, listed: &Listed) -> Result<StandingGrant, StoreError> {
        let Said::Whole(whole) = self.record(id, listed.whole)? else {
            return Err(differs(id, "its records"));
        };
        let grant = match listed.newest == listed.whole {
            true => *whole,
            false => match self.record(id, listed.newest)? {
                Said::Change(change) => after(*whole, change),
                Said::Whole(_) => return Err(differs(id, "its records")),
            },
        };
        if i64::try_from(grant.version).ok() != Some(listed.version) || grant.ended.is_none() != listed.live {
            return Err(differs(id, "how it stands"));
        }
        Ok(grant)
    }

    fn record(&self, id: &GrantId, (seq, segment, offset): Told) -> Result<Said, StoreError> {
        let entry = self.journal.record_at(Place { segment, offset }, seq).map_err(|error| match error {
            // There is no such segment: nobody but an editor would name one.
            JournalError::Failed { .. } => differs(id, "where its records are"),
            JournalError::Full | JournalError::Locked | JournalError::Damaged(_) => error.into(),
        })?;
        let event = EventDraft::from_body(&entry.body)
            .map_err(|error| StoreError::Damaged(format!("record {seq} cannot be read: {error}")))?;
        match said(&event)? {
            Some((of, said)) if of == id => Ok(said),
            Some(_) | None => Err(differs(id, "its records")),
        }
    }

    /// Whether everything by which a grant is found is what its records say.
    pub(super) fn check(&self, id: &GrantId) -> Result<bool, StoreError> {
        let Some(grant) = self.get(id)? else { return Ok(false) };
        let sql = "SELECT 1 FROM grants WHERE id = ?1 AND agent = ?2 AND tool = ?3 AND made_at = ?4 AND expires_at = ?5";
        let terms = &grant.terms;
        let times = (terms.made_at.as_microsecond(), terms.expires_at.as_microsecond());
        let row = (id.as_str(), terms.agent.as_str(), terms.tool.as_str(), times.0, times.1);
        Ok(self.connection.prepare_cached(sql)?.exists(row)?)
    }

    /// Newest first.
    pub(super) fn list(&self, filter: &GrantFilter) -> Result<Vec<StandingGrant>, StoreError> {
        let mut sql = "SELECT id, agent, tool FROM grants WHERE 1".to_owned();
        let mut values: Vec<Value> = Vec::new();
        let mut and = |condition: &str, value: Option<Value>| {
            sql.push_str(condition);
            values.extend(value);
        };
        if filter.live {
            and(" AND live = 1", None);
        }
        for (column, pattern) in [("agent", &filter.agent), ("tool", &filter.tool)] {
            if let Some(Pattern::Exact(text)) = pattern {
                and(&format!(" AND {column} = ?"), Some(Value::from(text.clone())));
            }
        }
        if let Some(due) = filter.due {
            and(" AND expires_at <= ?", Some(Value::from(due.as_microsecond())));
        }
        if let Some(at) = filter.valid_at {
            and(" AND expires_at > ?", Some(Value::from(at.as_microsecond())));
        }
        if let Some(before) = &filter.before {
            let earlier = " AND (made_at, n) < (SELECT made_at, n FROM grants WHERE id = ?)";
            and(earlier, Some(Value::from(before.as_str().to_owned())));
        }
        and(" ORDER BY made_at DESC, n DESC", None);
        let fits = |agent: &str, tool: &str| {
            filter.agent.as_ref().is_none_or(|wanted| wanted.matches(agent))
                && filter.tool.as_ref().is_none_or(|wanted| wanted.matches_target(tool))
        };
        let limit = if filter.limit == 0 { usize::MAX } else { filter.limit };
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut ids: Vec<String> = Vec::new();
        while ids.len() < limit
            && let Some(row) = rows.next()?
        {
            let (agent, tool): (String, String) = (row.get(1)?, row.get(2)?);
            if fits(&agent, &tool) {
                ids.push(row.get(0)?);
            }
        }
        drop(rows);
        drop(statement);
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            found.extend(self.get(&GrantId::from(id))?);
        }
        Ok(found)
    }
}

/// What a call may use: the grant that the projection names, held against `chained`, which is all that the chain says of it as
/// of a moment ago. An edit of the projection can neither widen a grant nor give a use back.
pub(super) fn held(
    found: Option<StandingGrant>,
    chained: Option<&StandingGrant>,
    id: &GrantId,
) -> Result<Option<StandingGrant>, StoreError> {
    match (found, chained) {
        (None, None) => Ok(None),
        (Some(found), Some(chained))
            if found == *chained || (found.version > chained.version && found.terms == chained.terms) =>
        {
            Ok(Some(found))
        }
        (Some(_) | None, _) => Err(differs(id, "its records")),
    }
}

/// One grant, by what the chain says of it: its newest record, and the newest of those that say all of it.
pub(super) fn chained(journal: &Reader, id: &GrantId) -> Result<Option<StandingGrant>, StoreError> {
    let newest = |kind: Option<EventType>, first: i64| -> Result<Option<(i64, Said)>, StoreError> {
        let kind = kind.map(|kind| (Field::EventType, Pattern::Exact(kind.as_str().to_owned())));
        let own = (Field::Grant, Pattern::Exact(id.as_str().to_owned()));
        let wanted = Wanted { terms: [own].into_iter().chain(kind).collect(), ..Wanted::default() };
        let range = Range { first, last: i64::MAX, newest_first: true };
        let mut found = Ok(None);
        journal.find(&wanted, range, &mut |entry| {
            let unreadable =
                |error| StoreError::Damaged(format!("record {} cannot be read: {error}", entry.seq));
            let told = EventDraft::from_body(&entry.body).map_err(unreadable);
            found = told.and_then(|event| Ok(said(&event)?.map(|(_, said)| (entry.seq, said))));
            Ok(match &found {
                // Some name it and change nothing.
                Ok(None) => ControlFlow::Continue(()),
                Ok(Some(_)) | Err(_) => ControlFlow::Break(()),
            })
        })?;
        found
    };
    let change = match newest(None, 1)? {
        None => return Ok(None),
        Some((_, Said::Whole(grant))) => return Ok(Some(*grant)),
        Some((_, Said::Change(change))) => change,
    };
    // What is carried over is newer than what made it, which may be gone.
    let made = newest(Some(EventType::GrantMade), 1)?;
    let behind = made.as_ref().map_or(1, |(seq, _)| seq.saturating_add(1));
    match newest(Some(EventType::AdminAction), behind)?.or(made) {
        Some((_, Said::Whole(grant))) => Ok(Some(after(*grant, change))),
        // Its first record went with an old segment, and nothing can be done under it.
        Some((_, Said::Change(_))) | None => Ok(None),
    }
}

/// The newest that are live.
pub(super) fn newest_live(connection: &Connection, limit: usize) -> Result<Vec<GrantId>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT id FROM grants WHERE live = 1 ORDER BY made_at DESC, n DESC LIMIT ?1")?;
    let ids =
        statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| row.get::<_, String>(0))?;
    Ok(ids.map(|id| id.map(GrantId::from)).collect::<Result<_, _>>()?)
}

/// Those that have a record in a segment before this one.
pub(super) fn ids_in(connection: &Connection, stays: i64) -> Result<Vec<GrantId>, StoreError> {
    let sql = "SELECT id FROM grants WHERE whole_segment < ?1 OR newest_segment < ?1 ORDER BY n";
    let mut statement = connection.prepare_cached(sql)?;
    let ids = statement.query_map([stays], |row| row.get::<_, String>(0))?;
    Ok(ids.map(|id| id.map(GrantId::from)).collect::<Result<_, _>>()?)
}

/// The projection forgets grants whose records are gone.
pub(super) fn forget(connection: &Connection, stays: i64) -> Result<(), StoreError> {
    for id in ids_in(connection, stays)? {
        connection.prepare_cached("DELETE FROM grants WHERE id = ?1")?.execute([id.as_str()])?;
    }
    Ok(())
}

/// Writes what the projection says of a grant: how it stands, and where its newest record is. `whole`: that says all of it.
pub(super) fn write(
    connection: &Connection,
    grant: &StandingGrant,
    whole: bool,
    seq: i64,
    place: Place,
) -> Result<(), StoreError> {
    let (version, live) = (i64::try_from(grant.version).unwrap_or(i64::MAX), grant.ended.is_none());
    let offset = i64::try_from(place.offset).unwrap_or(i64::MAX);
    if !whole {
        let sql = "UPDATE grants SET version = ?2, live = ?3, newest_seq = ?4, newest_segment = ?5, newest_offset = ?6
                   WHERE id = ?1";
        connection.prepare_cached(sql)?.execute((
            grant.id.as_str(),
            version,
            live,
            seq,
            place.segment,
            offset,
        ))?;
        return Ok(());
    }
    let terms = &grant.terms;
    connection
        .prepare_cached(
            "INSERT INTO grants (id, version, live, agent, tool, made_at, expires_at, whole_seq, whole_segment,
               whole_offset, newest_seq, newest_segment, newest_offset)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?8, ?9, ?10)
             ON CONFLICT (id) DO UPDATE SET version = excluded.version, live = excluded.live,
               whole_seq = excluded.whole_seq, whole_segment = excluded.whole_segment,
               whole_offset = excluded.whole_offset, newest_seq = excluded.newest_seq,
               newest_segment = excluded.newest_segment, newest_offset = excluded.newest_offset",
        )?
        .execute((
            grant.id.as_str(),
            version,
            live,
            terms.agent.as_str(),
            terms.tool.as_str(),
            terms.made_at.as_microsecond(),
            terms.expires_at.as_microsecond(),
            seq,
            place.segment,
            offset,
        ))?;
    Ok(())
}

pub(super) fn whole(grant: &StandingGrant) -> Result<String, StoreError> {
    serde_json::to_string(grant).map_err(unwritable)
}

fn change_of(grant: &StandingGrant) -> Result<String, StoreError> {
    let change = Change { version: grant.version, used: grant.used, ended: grant.ended.clone() };
    serde_json::to_string(&change).map_err(unwritable)
}

/// The use of a grant, said by the decision of the call that uses it.
pub(super) fn used(decision: &mut EventDraft, grant: &StandingGrant) -> Result<(), StoreError> {
    evidence::put_grant(decision, &grant.id, &change_of(grant)?);
    Ok(())
}

/// That a grant has ended. What it became is told by the decision that used it up, or else here.
pub(super) fn ended(grant: &StandingGrant, end: &GrantEnd, is_told: bool) -> Result<EventDraft, StoreError> {
    let role = if grant.terms.approvers.iter().any(|person| Some(person) == end.by.as_ref()) {
        "approver"
    } else {
        "admin"
    };
    let told = GrantEnded {
        why: end.why.as_str(),
        phrase: end.why.phrase(),
        by: end.by.as_ref().map(|by| (by, role)),
        reason: end.reason.as_deref(),
        used: (grant.used, grant.terms.uses),
    };
    let mut event = about_grant(grant).ended(end.at, &told);
    if !is_told {
        evidence::put_grant(&mut event, &grant.id, &change_of(grant)?);
    }
    Ok(event)
}

/// The whole of a grant in a record of now.
pub(super) fn carried(grant: &StandingGrant, reason: &str, at: Timestamp) -> Result<EventDraft, StoreError> {
    let mut event = about_grant(grant).carried(at, reason);
    evidence::put_grant(&mut event, &grant.id, &whole(grant)?);
    Ok(event)
}
