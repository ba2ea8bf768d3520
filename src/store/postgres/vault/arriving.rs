//! Taking the vault of one machine along: the same rows under the same keys, in the transaction of its journal, read back and
//! opened there before anything counts.

use super::{super::problem::Problem, credentials, ring::text_of, values};
use crate::{
    config::VaultConfig,
    store::{
        StoreError,
        embedded::LeavingVault,
        vault::{Ring, failed},
    },
};
use secrecy::ExposeSecret as _;
use tokio_postgres::{Client, types::Type};

const THERE: &str =
    "SELECT EXISTS (SELECT FROM tollgate.vault_ring) OR EXISTS (SELECT FROM tollgate.vault_values)
    OR EXISTS (SELECT FROM tollgate.vault_credentials)";
const RING: &str = "INSERT INTO tollgate.vault_ring(id, current, keys, versions) VALUES (1, $1, $2, $3)";
const KEYS: &str = "SELECT keys FROM tollgate.vault_ring";
const CREDENTIAL: &str =
    "INSERT INTO tollgate.vault_credentials(name, version, key, sealed, until) VALUES ($1, $2, $3, $4, NULL)";

/// Takes all of it.
pub(in crate::store::postgres) async fn arrive(
    client: &Client,
    problem: &Problem,
    vault: &LeavingVault,
    settings: &VaultConfig,
) -> Result<(), StoreError> {
    let failed = |error: tokio_postgres::Error| problem.of(&error);
    if client.query_typed_one(THERE, &[]).await.map_err(failed)?.get(0) {
        return Err(problem.says("there is a vault already: name a database without one"));
    }
    let (current, text) = (i64::from(vault.current), text_of(&vault.ring, settings)?);
    let versions = vault.versions()?;
    let row = [(&current as _, Type::INT8), (&text as _, Type::TEXT), (&versions as _, Type::INT8)];
    client.execute_typed(RING, &row).await.map_err(failed)?;
    let mut after = String::new();
    loop {
        let page = vault.values_after(&after)?;
        let Some((last, _)) = page.last() else { break };
        after = last.to_string();
        let mut group = values::Group::default();
        for (name, row) in &page {
            let names = [&**name, &*row.scope, &*row.rule, &*row.detector];
            group.push(names, row.is_json, row.key, (row.sealed.clone(), row.used));
            if group.is_full() {
                group.insert(client, problem).await?;
            }
        }
        group.insert(client, problem).await?;
    }
    for name in vault.names()? {
        let Some(row) = vault.credential(&name)? else { continue };
        let key = i64::from(row.key);
        let row: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] =
            [(&name, Type::TEXT), (&row.version, Type::INT8), (&key, Type::INT8), (&row.sealed, Type::BYTEA)];
        client.execute_typed(CREDENTIAL, &row).await.map_err(failed)?;
    }
    verify(client, problem, vault, settings).await
}

/// Opens what is there as a replica will, and holds it against what it was.
async fn verify(
    client: &Client,
    problem: &Problem,
    vault: &LeavingVault,
    settings: &VaultConfig,
) -> Result<(), StoreError> {
    let row = client.query_typed_one(KEYS, &[]).await.map_err(|error| problem.of(&error))?;
    let now = VaultConfig { key_before: None, ..settings.clone() };
    let ring = Ring::read(row.get::<_, &str>(0).as_bytes(), &now)?;
    let differs = || problem.says("a value of the vault is not there what it was: nothing was taken");
    let (mut after, mut values) = (String::new(), 0);
    loop {
        let page = values::page(client, problem, (u32::MAX, &after)).await?;
        let Some((last, _)) = page.last() else { break };
        after = last.to_string();
        for (name, row) in &page {
            let was = vault.value(name)?.ok_or_else(differs)?;
            let plain = vault.ring.key(was.key).and_then(|key| was.plain(name, key).ok());
            let plain = plain.ok_or_else(unreadable)?;
            let there = ring.key(row.key).and_then(|key| row.plain(name, key).ok()).ok_or_else(differs)?;
            if *plain != *there || was.scope != row.scope || was.used != row.used {
                return Err(differs());
            }
            values += 1;
        }
    }
    let (mut after, mut credentials) = (String::new(), 0);
    loop {
        let page = credentials::page(client, problem, (u32::MAX, &after)).await?;
        let Some((last, _)) = page.last() else { break };
        after = last.clone();
        for (name, row) in &page {
            let was = vault.credential(name)?.ok_or_else(differs)?;
            let plain = vault.ring.key(was.key).and_then(|key| was.opened(name, key).ok());
            let plain = plain.ok_or_else(unreadable)?;
            let there = ring.key(row.key).and_then(|key| row.opened(name, key).ok()).ok_or_else(differs)?;
            if plain.expose_secret() != there.expose_secret() || was.version != row.version {
                return Err(differs());
            }
            credentials += 1;
        }
    }
    match (values, credentials) == (vault.values, vault.credentials) {
        true => Ok(()),
        false => Err(differs()),
    }
}

fn unreadable() -> StoreError {
    failed(
        "something in it cannot be read any more: `tollgate store rotate-key` removes what nobody can read, then migrate again",
    )
}
