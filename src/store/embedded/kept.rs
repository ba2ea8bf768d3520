//! What records refer to by a hash: written once, and held against its hash wherever it is read.

use super::notes::Note;
use crate::{
    model::{EventDraft, EventType},
    store::{Kept, KeptKind, StoreError},
};
use rusqlite::{Connection, OptionalExtension as _};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};

/// Whether something is kept under a name.
pub(super) fn has(connection: &Connection, kind: KeptKind, name: &str) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM kept WHERE kind = ?1 AND name = ?2")?;
    Ok(statement.exists((kind.as_str(), name))?)
}

/// Writes it into the projection.
pub(super) fn write(
    connection: &Connection,
    kind: &str,
    name: &str,
    hash: &str,
    body: &str,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO kept (kind, name, hash, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute((kind, name, hash, body))?;
    Ok(())
}

/// All that is kept, as notes.
pub(super) fn everything(connection: &Connection) -> Result<Vec<Note>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT kind, name, hash, body FROM kept")?;
    let notes = statement.query_map([], |row| {
        Ok(Note::Kept { kind: row.get(0)?, name: row.get(1)?, hash: row.get(2)?, body: row.get(3)? })
    })?;
    Ok(notes.collect::<Result<_, _>>()?)
}

/// What is kept under a name.
pub(super) fn get(connection: &Connection, kind: KeptKind, name: &str) -> Result<Option<Kept>, StoreError> {
    let found: Option<(String, String)> = connection
        .prepare_cached("SELECT hash, body FROM kept WHERE kind = ?1 AND name = ?2")?
        .query_row((kind.as_str(), name), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((hash, body)) = found else { return Ok(None) };
    match problem(kind.as_str(), name, &hash, &body) {
        Some(problem) => {
            Err(StoreError::Damaged(format!("what is kept as {} `{name}`: {problem}", kind.as_str())))
        }
        None => Ok(Some(Kept { kind, name: name.to_owned(), hash, body })),
    }
}

/// What is wrong with something that is kept.
fn problem(kind: &str, name: &str, hash: &str, body: &str) -> Option<&'static str> {
    if hex::encode(Sha256::digest(body)) != hash {
        return Some("its hash is not that of its content");
    }
    (kind == KeptKind::Tool.as_str() && name != hash).then_some("it is not kept under its hash")
}

/// Everything that is kept, for verification.
#[derive(Default)]
pub(super) struct Inventory {
    /// Snapshots and the hashes of their bundles.
    bundles: HashMap<String, String>,
    tools: HashSet<String>,
    /// The first that is damaged, and what is wrong with it.
    damaged: Option<String>,
}

/// How a decision's facts name their tool: nothing that an agent wrote stands before it, and no text holds a bare quote.
const TOOL: &str = "\"facts\":{\"version\":1,\"kind\":\"tool\",\"tool\":\"";

impl Inventory {
    /// Reads all of it, and holds it against its hashes.
    pub(super) fn read(connection: &Connection) -> Result<Self, StoreError> {
        let mut found = Self { bundles: HashMap::new(), tools: HashSet::new(), damaged: None };
        let mut statement =
            connection.prepare_cached("SELECT kind, name, hash, body FROM kept ORDER BY kind, name")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let text =
                |column| row.get_ref(column).map(|value| value.as_str().unwrap_or_default().to_owned());
            let (kind, name, hash) = (text(0)?, text(1)?, text(2)?);
            if let Some(problem) = problem(&kind, &name, &hash, row.get_ref(3)?.as_str().unwrap_or_default())
            {
                found.damaged.get_or_insert(format!("what is kept as {kind} `{name}`: {problem}"));
            } else if kind == KeptKind::Tool.as_str() {
                found.tools.insert(name);
            } else {
                found.bundles.insert(name, hash);
            }
        }
        Ok(found)
    }

    /// What of a record's references is not kept as it was.
    pub(super) fn problem(&self, event_type: &str, body: &str) -> Option<String> {
        if event_type == EventType::AgentDecision.as_str() {
            let hash = body.split_once(TOOL)?.1.get(..64)?;
            let lost = !self.tools.contains(hash);
            return lost.then(|| format!("the tool that it was decided on, `{hash}`, is not kept as it was"));
        }
        if event_type == EventType::PolicyActivated.as_str() {
            let event = EventDraft::from_body(body).ok()?;
            let named = event.detail.as_ref()?.get("bundle")?.as_str()?;
            let kept = self.bundles.get(event.policy_snapshot.as_deref()?);
            return (kept.map(String::as_str) != Some(named))
                .then(|| format!("its bundle, `{named}`, is not kept as it was"));
        }
        None
    }

    /// The first thing that is damaged, whether a record refers to it or not.
    pub(super) fn damaged(self) -> Option<String> {
        self.damaged
    }
}
