//! Result sizes per tool, a moving average, written once for all that a transaction learned.

use crate::store::StoreError;
use rusqlite::{Connection, OptionalExtension as _};
use std::collections::{HashMap, HashSet};

#[derive(Debug, Default)]
pub(super) struct Learned {
    /// In thousandths of a token.
    known: HashMap<String, i64>,
    unwritten: HashSet<String>,
}

impl Learned {
    /// An eighth of every new figure.
    pub(super) fn learn(
        &mut self,
        connection: &Connection,
        tool: &str,
        tokens: i64,
    ) -> Result<(), StoreError> {
        let seen = tokens.saturating_mul(1_000);
        let known = match self.known.get(tool) {
            Some(known) => Some(*known),
            None => connection
                .prepare_cached("SELECT milli_tokens FROM learned WHERE tool = ?1")?
                .query_row([tool], |row| row.get(0))
                .optional()?,
        };
        let next = known.map_or(seen, |known| known.saturating_add(seen.saturating_sub(known) / 8));
        if known != Some(next) {
            self.unwritten.insert(tool.to_owned());
            self.known.insert(tool.to_owned(), next);
        } else if !self.known.contains_key(tool) {
            self.known.insert(tool.to_owned(), next);
        }
        Ok(())
    }

    /// Another process may have written newer figures.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.unwritten.clear();
    }

    /// Writes what changed.
    pub(super) fn write(&mut self, connection: &Connection) -> Result<(), StoreError> {
        for tool in self.unwritten.drain() {
            if let Some(milli) = self.known.get(&tool) {
                connection
                    .prepare_cached(
                        "INSERT INTO learned (tool, milli_tokens) VALUES (?1, ?2)
                         ON CONFLICT (tool) DO UPDATE SET milli_tokens = excluded.milli_tokens",
                    )?
                    .execute((tool, milli))?;
            }
        }
        Ok(())
    }
}
