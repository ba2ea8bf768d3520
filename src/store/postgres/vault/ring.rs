//! The row of the keys: who holds it writes alone.

use super::super::problem::Problem;
use crate::{
    config::VaultConfig,
    store::{
        StoreError,
        vault::{Key, Ring, failed},
    },
};
use jiff::Timestamp;
use std::sync::Arc;
use tokio_postgres::{Client, types::Type};

/// The keys come along where this process does not have the one that counts.
const HOLD: &str = "SELECT current, versions, CASE WHEN current = ANY($1) THEN NULL ELSE keys END
    FROM tollgate.vault_ring FOR UPDATE";
/// Whoever is second waits for the first, and takes what that one made.
const MAKE: &str = "INSERT INTO tollgate.vault_ring(id, current, keys, versions) VALUES (1, 1, $1, 0)
    ON CONFLICT DO NOTHING";
const KEYS: &str = "SELECT keys FROM tollgate.vault_ring";
const WRITE: &str = "UPDATE tollgate.vault_ring SET current = $1, keys = $2";
const REWRITE: &str = "UPDATE tollgate.vault_ring SET keys = $1";
const CONFIRM: &str = "UPDATE tollgate.vault_ring SET id = id";

/// What a process knows of the keys, under the settings that are in force.
#[derive(Clone, Default)]
pub(super) struct Known {
    pub(super) settings: VaultConfig,
    /// How often others came into force.
    changes: u64,
    pub(super) ring: Option<Arc<Ring>>,
}

impl Known {
    pub(super) fn configure(&mut self, settings: VaultConfig) {
        // Read again with the keys that are said now.
        *self = Self { settings, changes: self.changes.wrapping_add(1), ring: None };
    }

    pub(super) fn learn(&mut self, by: &Self, ring: Arc<Ring>) {
        if self.changes == by.changes {
            self.ring = Some(ring);
        }
    }

    /// The numbers of its keys.
    pub(super) fn ids(&self) -> Vec<i64> {
        self.ring.iter().flat_map(|ring| ring.ids()).map(i64::from).collect()
    }

    /// Those that lie there as the settings have it.
    fn settled(&self) -> Vec<i64> {
        match &self.ring {
            Some(ring) if ring.is_settled() => self.ids(),
            Some(_) | None => Vec::new(),
        }
    }

    /// The keys of a text, or what is known where there was no need for it.
    pub(super) fn read(&self, text: Option<&str>) -> Result<Arc<Ring>, StoreError> {
        match text {
            Some(text) => Ring::read(text.as_bytes(), &self.settings).map(Arc::new),
            None => self.ring.clone().ok_or_else(missing),
        }
    }
}

fn missing() -> StoreError {
    failed("its keys are gone: what it keeps cannot be read any more")
}

/// The keys, for as long as a transaction lasts.
pub(super) struct Held {
    /// The number of the one under which new values are encrypted.
    pub(super) current: u32,
    /// The largest version that a credential ever had.
    pub(super) versions: i64,
    pub(super) ring: Arc<Ring>,
}

impl Held {
    pub(super) fn key(&self) -> Result<&Key, StoreError> {
        self.ring.key(self.current).ok_or_else(missing)
    }
}

/// Waits until nobody else writes. Where there are no keys they are made of `fresh`; none: there are none.
pub(super) async fn hold(
    client: &Client,
    problem: &Problem,
    known: &Known,
    fresh: Option<(Timestamp, [u8; 32])>,
) -> Result<Option<Held>, StoreError> {
    if known.settings.key.is_none() {
        return Err(failed(
            "`[store] vault_key` is not set, and in PostgreSQL its keys would lie beside what they encrypt: set it, the same on \
             all replicas",
        ));
    }
    let failed = |error: tokio_postgres::Error| problem.of(&error);
    let ids = known.settled();
    let mut row = client.query_typed_opt(HOLD, &[(&ids, Type::INT8_ARRAY)]).await.map_err(failed)?;
    if let (None, Some((now, fresh))) = (&row, fresh) {
        let text = text_of(&Ring::first(fresh, now)?, &known.settings)?;
        client.execute_typed(MAKE, &[(&text, Type::TEXT)]).await.map_err(failed)?;
        row = client.query_typed_opt(HOLD, &[(&ids, Type::INT8_ARRAY)]).await.map_err(failed)?;
    }
    let Some(row) = row else { return Ok(None) };
    let (current, versions, text): (i64, i64, Option<String>) = (row.get(0), row.get(1), row.get(2));
    let current = u32::try_from(current).unwrap_or(0);
    let ring = match text {
        None => known.read(None)?,
        Some(text) => {
            let mut ring = Ring::read(text.as_bytes(), &known.settings)?;
            if !ring.is_settled() {
                let text = text_of(&ring, &known.settings)?;
                client.execute_typed(REWRITE, &[(&text, Type::TEXT)]).await.map_err(failed)?;
                ring.settled();
            }
            Arc::new(ring)
        }
    };
    match ring.key(current) {
        Some(_) => Ok(Some(Held { current, versions, ring })),
        None => Err(missing()),
    }
}

/// As the row has it.
pub(super) fn text_of(ring: &Ring, settings: &VaultConfig) -> Result<String, StoreError> {
    let text = ring.text(settings)?;
    std::str::from_utf8(&text).map(str::to_owned).map_err(|_| failed("its keys cannot be written"))
}

/// The keys as they lie there; whoever calls holds the row.
async fn read(client: &Client, problem: &Problem, settings: &VaultConfig) -> Result<Ring, StoreError> {
    let row = client.query_typed_one(KEYS, &[]).await.map_err(|error| problem.of(&error))?;
    Ring::read(row.get::<_, &str>(0).as_bytes(), settings)
}

/// Adds a key, under which everything is encrypted from then on; its number.
pub(super) async fn add(
    client: &Client,
    problem: &Problem,
    settings: &VaultConfig,
    (now, fresh): (Timestamp, [u8; 32]),
) -> Result<u32, StoreError> {
    let mut ring = read(client, problem, settings).await?;
    let new = ring.add(fresh, now)?;
    let (number, text) = (i64::from(new), text_of(&ring, settings)?);
    let written = client.execute_typed(WRITE, &[(&number, Type::INT8), (&text, Type::TEXT)]).await;
    written.map_err(|error| problem.of(&error))?;
    Ok(new)
}

/// Forgets the keys before one, under which nothing is encrypted any more.
pub(super) async fn forget_before(
    client: &Client,
    problem: &Problem,
    settings: &VaultConfig,
    first: u32,
) -> Result<(), StoreError> {
    let mut ring = read(client, problem, settings).await?;
    ring.forget_before(first);
    let text = text_of(&ring, settings)?;
    let written = client.execute_typed(REWRITE, &[(&text, Type::TEXT)]).await;
    written.map(drop).map_err(|error| problem.of(&error))
}

/// Writes something, so that the commit waits for whatever commits of this server wait for.
pub(super) async fn confirm(client: &Client, problem: &Problem) -> Result<(), StoreError> {
    client.batch_execute(CONFIRM).await.map_err(|error| problem.of(&error))
}
