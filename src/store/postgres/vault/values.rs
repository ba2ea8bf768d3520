//! The values of `tokenize`.

use super::{super::problem::Problem, session::Sessions};
use crate::{
    redaction::Tokenized,
    store::{
        StoreError,
        vault::{
            Key, MOST_BYTES, MOST_IN_ALL, MOST_VALUES, Ring, SealedValue, USED, failed, seal_value, seconds,
        },
    },
};
use jiff::Timestamp;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio_postgres::{Client, Row, types::Type};

/// Values that are sent or encrypted at once.
const AT_ONCE: usize = 200;
const BYTES_AT_ONCE: usize = 4 << 20;

/// The keys come along where this process does not have the one of a value.
const FIND: &str = "SELECT v.placeholder, v.scope, v.rule, v.detector, v.json, v.key, v.sealed, v.used,
        CASE WHEN v.key = ANY($4) THEN NULL ELSE r.keys END
    FROM tollgate.vault_values v LEFT JOIN tollgate.vault_ring r ON r.id = 1
    WHERE v.placeholder = ANY($1) AND v.scope = ANY($2) AND v.used >= $3";
/// What somebody else notes or removes at this moment is left to them.
const NOTE_USED: &str = "UPDATE tollgate.vault_values SET used = $2 WHERE placeholder IN (
        SELECT placeholder FROM tollgate.vault_values WHERE placeholder = ANY($1) AND used < $3 FOR UPDATE SKIP LOCKED)";
const USE: &str =
    "UPDATE tollgate.vault_values SET used = $2 WHERE placeholder = ANY($1) RETURNING placeholder";
const INSERT: &str = "INSERT INTO tollgate.vault_values(placeholder, scope, rule, detector, json, key, sealed, bytes, used)
    SELECT placeholder, scope, rule, detector, json, key, sealed, length(sealed), used
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bool[], $6::int8[], $7::bytea[], $8::int8[])
        AS new(placeholder, scope, rule, detector, json, key, sealed, used)";
/// The newest that have room stay.
const MAKE_ROOM: &str = "DELETE FROM tollgate.vault_values WHERE placeholder IN (
        SELECT placeholder FROM (
            SELECT placeholder, row_number() OVER newest AS place, sum(bytes) OVER newest AS total
            FROM tollgate.vault_values WHERE scope = $1
            WINDOW newest AS (ORDER BY used DESC, placeholder ROWS UNBOUNDED PRECEDING)
        ) AS all_of_it WHERE place > $2 OR total > $3)";
const TOTAL: &str = "SELECT coalesce(sum(bytes), 0)::int8 FROM tollgate.vault_values";
const MAKE_ROOM_FOR_ALL: &str = "DELETE FROM tollgate.vault_values WHERE placeholder IN (
        SELECT placeholder FROM tollgate.vault_values
        WHERE scope = (SELECT scope FROM tollgate.vault_values GROUP BY scope ORDER BY sum(bytes) DESC LIMIT 1)
        ORDER BY used LIMIT 1000)";
const RETIRE: &str = "DELETE FROM tollgate.vault_values WHERE placeholder IN
    (SELECT placeholder FROM tollgate.vault_values WHERE used < $1 ORDER BY used LIMIT 1000)";
const PAGE: &str =
    "SELECT placeholder, scope, rule, detector, json, key, sealed, used FROM tollgate.vault_values
    WHERE placeholder > $1 AND key < $2 ORDER BY placeholder LIMIT $3";
const ENCRYPTED: &str = "UPDATE tollgate.vault_values v SET key = $1, sealed = new.sealed
    FROM unnest($2::text[], $3::bytea[]) AS new(placeholder, sealed) WHERE v.placeholder = new.placeholder";
const REMOVE: &str = "DELETE FROM tollgate.vault_values WHERE placeholder = ANY($1)";

/// What somebody looks for.
pub(super) struct Wanted {
    pub(super) placeholders: Vec<Arc<str>>,
    pub(super) scopes: Vec<Arc<str>>,
    /// What was used last before that is too old.
    pub(super) oldest: i64,
}

fn texts<'t>(all: impl IntoIterator<Item = &'t Arc<str>>) -> Vec<&'t str> {
    all.into_iter().map(|text| &**text).collect()
}

fn read(row: &Row) -> (Arc<str>, SealedValue) {
    let text = |at: usize| Arc::from(row.get::<_, &str>(at));
    let value = SealedValue {
        scope: text(1),
        rule: text(2),
        detector: text(3),
        is_json: row.get(4),
        key: u32::try_from(row.get::<_, i64>(5)).unwrap_or(0),
        sealed: row.get(6),
        used: row.get(7),
    };
    (text(0), value)
}

/// What is there of it, in the order in which it was asked for, and the keys where this process lacks one; `ids`: those it has.
pub(super) async fn find(
    client: &Client,
    wanted: &Wanted,
    ids: &[i64],
) -> Result<(Vec<(Arc<str>, SealedValue)>, Option<String>), tokio_postgres::Error> {
    let (placeholders, scopes) = (texts(&wanted.placeholders), texts(&wanted.scopes));
    let asked: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] = [
        (&placeholders, Type::TEXT_ARRAY),
        (&scopes, Type::TEXT_ARRAY),
        (&wanted.oldest, Type::INT8),
        (&ids, Type::INT8_ARRAY),
    ];
    let rows = client.query_typed(FIND, &asked).await?;
    let text = rows.iter().find_map(|row| row.get::<_, Option<String>>(8));
    let mut found: HashMap<Arc<str>, SealedValue> = rows.iter().map(read).collect();
    let in_order = wanted.placeholders.iter().filter_map(|name| Some((name.clone(), found.remove(name)?)));
    Ok((in_order.collect(), text))
}

/// Notes that values were used. Where that fails they go a little earlier.
pub(super) async fn note_used(sessions: &Sessions, rows: &[(Arc<str>, SealedValue)], now: Timestamp) {
    let (now, before) = (now.as_second(), now.as_second() - USED);
    let stale: Vec<&str> =
        rows.iter().filter(|(_, row)| row.used < before).map(|(name, _)| &**name).collect();
    if stale.is_empty() {
        return;
    }
    let stale = &stale;
    let noted = sessions.read(|session| async move {
        let noted = [(stale as _, Type::TEXT_ARRAY), (&now as _, Type::INT8), (&before as _, Type::INT8)];
        session.client.execute_typed(NOTE_USED, &noted).await
    });
    noted.await.map_or_else(|error| tracing::debug!(%error, "vault.not_used"), drop);
}

/// Rows on their way.
#[derive(Default)]
pub(super) struct Group<'g> {
    placeholders: Vec<&'g str>,
    scopes: Vec<&'g str>,
    rules: Vec<&'g str>,
    detectors: Vec<&'g str>,
    json: Vec<bool>,
    keys: Vec<i64>,
    sealed: Vec<Vec<u8>>,
    used: Vec<i64>,
    bytes: usize,
}

impl<'g> Group<'g> {
    /// `names`: placeholder, scope, rule and detector.
    pub(super) fn push(
        &mut self,
        names: [&'g str; 4],
        is_json: bool,
        key: u32,
        (sealed, used): (Vec<u8>, i64),
    ) {
        let [placeholder, scope, rule, detector] = names;
        self.placeholders.push(placeholder);
        self.scopes.push(scope);
        self.rules.push(rule);
        self.detectors.push(detector);
        self.json.push(is_json);
        self.keys.push(i64::from(key));
        self.bytes += sealed.len();
        self.sealed.push(sealed);
        self.used.push(used);
    }

    pub(super) fn is_full(&self) -> bool {
        self.sealed.len() >= AT_ONCE || self.bytes >= BYTES_AT_ONCE
    }

    /// Sends them.
    pub(super) async fn insert(&mut self, client: &Client, problem: &Problem) -> Result<(), StoreError> {
        let group = std::mem::take(self);
        if group.sealed.is_empty() {
            return Ok(());
        }
        let rows: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 8] = [
            (&group.placeholders, Type::TEXT_ARRAY),
            (&group.scopes, Type::TEXT_ARRAY),
            (&group.rules, Type::TEXT_ARRAY),
            (&group.detectors, Type::TEXT_ARRAY),
            (&group.json, Type::BOOL_ARRAY),
            (&group.keys, Type::INT8_ARRAY),
            (&group.sealed, Type::BYTEA_ARRAY),
            (&group.used, Type::INT8_ARRAY),
        ];
        client.execute_typed(INSERT, &rows).await.map(drop).map_err(|error| problem.of(&error))
    }
}

pub(super) async fn put(
    client: &Client,
    problem: &Problem,
    tokens: &[Tokenized],
    (id, key): (u32, &Key),
    now: Timestamp,
) -> Result<(), StoreError> {
    let failed = |error: tokio_postgres::Error| problem.of(&error);
    let now = now.as_second();
    let all = texts(tokens.iter().map(|token| &token.placeholder));
    let used =
        client.query_typed(USE, &[(&all, Type::TEXT_ARRAY), (&now, Type::INT8)]).await.map_err(failed)?;
    let mut there: BTreeSet<&str> = used.iter().map(|row| row.get(0)).collect();
    let (mut scopes, mut group) = (BTreeSet::new(), Group::default());
    for token in tokens {
        if !there.insert(&token.placeholder) {
            continue;
        }
        let names = [&*token.placeholder, &*token.scope, &*token.rule, &*token.detector];
        group.push(names, token.is_json, id, (seal_value(token, key)?, now));
        scopes.insert(&*token.scope);
        if group.is_full() {
            group.insert(client, problem).await?;
        }
    }
    group.insert(client, problem).await?;
    for scope in scopes {
        let bounds =
            [(&scope as _, Type::TEXT), (&MOST_VALUES as _, Type::INT8), (&MOST_BYTES as _, Type::INT8)];
        client.execute_typed(MAKE_ROOM, &bounds).await.map_err(failed)?;
    }
    Ok(())
}

/// Removes some of what all have too much of together, from whoever has the most. `false`: there is room.
pub(super) async fn make_room_for_all(client: &Client, problem: &Problem) -> Result<bool, StoreError> {
    let failed = |error: tokio_postgres::Error| problem.of(&error);
    let total: i64 = client.query_typed_one(TOTAL, &[]).await.map_err(failed)?.get(0);
    Ok(total > MOST_IN_ALL && client.execute_typed(MAKE_ROOM_FOR_ALL, &[]).await.map_err(failed)? > 0)
}

/// How many values [`retire`] removes at most.
pub(super) const RETIRED_AT_ONCE: u64 = 1_000;

/// Removes what is too old, also of credentials that end by themselves; how many values that were. Where they were [`RETIRED_AT_ONCE`] there
/// may be more.
pub(super) async fn retire(
    client: &Client,
    problem: &Problem,
    now: Timestamp,
    retention: Duration,
) -> Result<u64, StoreError> {
    super::credentials::retire(client, problem, now).await?;
    let oldest = now.as_second().saturating_sub(seconds(retention));
    let gone = client.execute_typed(RETIRE, &[(&oldest, Type::INT8)]).await;
    gone.map_err(|error| problem.of(&error))
}

/// Those behind a placeholder, in their order, of keys before one.
pub(super) async fn page(
    client: &Client,
    problem: &Problem,
    (before, after): (u32, &str),
) -> Result<Vec<(Arc<str>, SealedValue)>, StoreError> {
    let (before, most) = (i64::from(before), i64::try_from(AT_ONCE).unwrap_or(i64::MAX));
    let asked = [(&after as _, Type::TEXT), (&before as _, Type::INT8), (&most as _, Type::INT8)];
    let rows = client.query_typed(PAGE, &asked).await.map_err(|error| problem.of(&error))?;
    Ok(rows.iter().map(read).collect())
}

/// Encrypts some of those under older keys under this one: how many, and behind which others may follow. One that cannot be
/// opened any more is removed: nobody could use it.
pub(super) async fn encrypt_page(
    client: &Client,
    problem: &Problem,
    ring: &Ring,
    (new, after): (u32, &str),
) -> Result<(u64, Option<String>), StoreError> {
    let key = ring.key(new).ok_or_else(|| failed("its keys are not there"))?;
    let rows = page(client, problem, (new, after)).await?;
    let (mut names, mut sealed, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for (name, row) in &rows {
        match ring.key(row.key).and_then(|old| row.plain(name, old).ok()) {
            Some(plain) => {
                names.push(&**name);
                sealed.push(row.sealed_anew(name, &plain, key)?);
            }
            None => lost.push(&**name),
        }
    }
    let failed = |error: tokio_postgres::Error| problem.of(&error);
    let number = i64::from(new);
    let anew =
        [(&number as _, Type::INT8), (&names as _, Type::TEXT_ARRAY), (&sealed as _, Type::BYTEA_ARRAY)];
    let done = client.execute_typed(ENCRYPTED, &anew).await.map_err(failed)?;
    if !lost.is_empty() {
        client.execute_typed(REMOVE, &[(&lost, Type::TEXT_ARRAY)]).await.map_err(failed)?;
    }
    Ok((done, rows.last().map(|(name, _)| name.to_string())))
}
