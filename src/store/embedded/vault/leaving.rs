//! Leaving this engine: what the vault keeps, as it lies there, for whoever takes it to another one.

use super::{connect, credentials, find, keys, read};
use crate::{
    config::VaultConfig,
    store::{
        StoreError,
        vault::{Ring, SealedCredential, SealedValue, failed},
    },
};
use parking_lot::Mutex;
use rusqlite::Connection;
use std::{path::Path, sync::Arc};

/// Values that are read at once.
const AT_ONCE: u32 = 200;

/// A vault in which nobody changes anything while this is there.
pub struct LeavingVault {
    connection: Mutex<Connection>,
    pub(in crate::store) ring: Ring,
    pub(in crate::store) current: u32,
    /// How many values it keeps.
    pub values: u64,
    /// How many credentials.
    pub credentials: u64,
}

impl LeavingVault {
    /// The vault beside a store. None: it keeps nothing. Elsewhere its keys lie beside what they encrypt, and so they have to be
    /// encrypted.
    pub fn of(store: &Path, settings: &VaultConfig) -> Result<Option<Self>, StoreError> {
        let path = store.with_extension("vault");
        if !path.exists() {
            return Ok(None);
        }
        let connection = connect(&path)?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let count = |sql: &str| {
            let count = connection.query_row(sql, [], |row| row.get::<_, i64>(0));
            count.map(|count| u64::try_from(count).unwrap_or(0))
        };
        let values = count("SELECT count(*) FROM kept")?;
        let credentials = count("SELECT count(*) FROM credentials WHERE until IS NULL")?;
        if values == 0 && credentials == 0 {
            return Ok(None);
        }
        if settings.key.is_none() {
            return Err(StoreError::Failed(format!(
                "`{}` keeps {values} values of `tokenize` and {credentials} credentials, and `[store]` has no `vault_key`: in a \
                 database their keys would lie beside them. Set `vault_key = \"${{NAME}}\"` in servers.toml, with what `openssl rand \
                 -base64 32` prints in that variable, and migrate again",
                path.display()
            )));
        }
        let ring = keys::read(&path.with_extension("vault-keys"), settings)?;
        let ring = ring.ok_or_else(|| failed("its keys are gone: what it keeps cannot be read any more"))?;
        let current = connection.query_row("SELECT current FROM ring", [], |row| row.get(0))?;
        Ok(Some(Self { connection: Mutex::new(connection), ring, current, values, credentials }))
    }

    /// Some values behind a placeholder, in their order.
    pub(in crate::store) fn values_after(
        &self,
        after: &str,
    ) -> Result<Vec<(Arc<str>, SealedValue)>, StoreError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(
            "SELECT scope, rule, detector, json, key, sealed, used, placeholder FROM kept
             WHERE placeholder > ?1 ORDER BY placeholder LIMIT ?2",
        )?;
        let rows = statement
            .query_map((after, AT_ONCE), |row| Ok((Arc::from(row.get::<_, String>(7)?), read(row)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(in crate::store) fn value(&self, placeholder: &str) -> Result<Option<SealedValue>, StoreError> {
        find(&self.connection.lock(), placeholder)
    }

    /// Of all credentials; an attempt to connect that is under way stays behind.
    pub(in crate::store) fn names(&self) -> Result<Vec<String>, StoreError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare("SELECT name FROM credentials WHERE until IS NULL")?;
        let names = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(names)
    }

    pub(in crate::store) fn credential(&self, name: &str) -> Result<Option<SealedCredential>, StoreError> {
        credentials::find(&self.connection.lock(), name)
    }

    /// The largest version of a credential.
    pub(in crate::store) fn versions(&self) -> Result<i64, StoreError> {
        let newest = "SELECT coalesce(max(version), 0) FROM credentials";
        Ok(self.connection.lock().query_row(newest, [], |row| row.get(0))?)
    }
}
