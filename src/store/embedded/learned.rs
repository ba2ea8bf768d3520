//! Result sizes per tool, a moving average, written once for all that a transaction learned.

use super::notes::{self, Note};
use crate::store::StoreError;
use rusqlite::{Connection, OptionalExtension as _};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Tools that are kept; beyond twice as many, those that were not learned of lately go.
const MOST: usize = 10_000;
/// The rows are counted again after so many new ones.
const COUNTED_AFTER: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Learned {
    /// In thousandths of a token.
    known: HashMap<String, i64>,
    unwritten: HashSet<String>,
    /// New rows since they were counted; none were counted yet by this process.
    fresh: Option<usize>,
}

impl Learned {
    /// An eighth of every new figure.
    pub(super) fn learn(
        &mut self,
        connection: &Connection,
        notes: &mut Vec<u8>,
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
        if known.is_none() {
            self.fresh = self.fresh.map(|fresh| fresh + 1);
        }
        let next = known.map_or(seen, |known| known.saturating_add(seen.saturating_sub(known) / 8));
        if known != Some(next) {
            notes::write(notes, &Note::Learned { tool: tool.to_owned(), milli: next });
            self.unwritten.insert(tool.to_owned());
            self.known.insert(tool.to_owned(), next);
        } else if !self.known.contains_key(tool) {
            self.known.insert(tool.to_owned(), next);
        }
        Ok(())
    }

    /// Takes in what another process learned.
    pub(super) fn take_in(&mut self, note: &Note) {
        if let Note::Learned { tool, milli } = note {
            self.known.insert(tool.clone(), *milli);
            self.unwritten.insert(tool.clone());
        }
    }

    /// All that is known, here or in the projection, as notes.
    pub(super) fn everything(&self, connection: &Connection) -> Result<Vec<Note>, StoreError> {
        let mut statement = connection.prepare_cached("SELECT tool, milli_tokens FROM learned")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        let mut all: BTreeMap<String, i64> = rows.collect::<Result<_, _>>()?;
        let unwritten = self.unwritten.iter().filter_map(|tool| Some((tool.clone(), *self.known.get(tool)?)));
        all.extend(unwritten);
        Ok(all.into_iter().map(|(tool, milli)| Note::Learned { tool, milli }).collect())
    }

    /// The projection has taken everything.
    pub(super) fn projected(&mut self) {
        self.unwritten.clear();
        if self.known.len() > 2 * MOST {
            self.known.clear();
        }
    }

    /// Writes what changed, in the projection's open transaction. Whatever names upstreams invent, there is an end to the
    /// rows.
    pub(super) fn project(&mut self, connection: &Connection) -> Result<(), StoreError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        for tool in &self.unwritten {
            if let Some(milli) = self.known.get(tool) {
                connection
                    .prepare_cached(
                        "INSERT INTO learned (tool, milli_tokens) VALUES (?1, ?2)
                         ON CONFLICT (tool) DO UPDATE SET milli_tokens = excluded.milli_tokens",
                    )?
                    .execute((tool, milli))?;
            }
        }
        if self.fresh.is_none_or(|fresh| fresh >= COUNTED_AFTER) {
            self.fresh = Some(0);
            self.prune(connection)?;
        }
        Ok(())
    }

    fn prune(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let tools: Vec<String> = connection
            .prepare_cached("SELECT tool FROM learned")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        if tools.len() > 2 * MOST {
            // This process knows what it learned of lately, unless that is too much itself.
            if self.known.len() > MOST {
                self.known.clear();
            }
            let surplus = tools.len() - MOST;
            for tool in tools.iter().filter(|tool| !self.known.contains_key(*tool)).take(surplus) {
                connection.prepare_cached("DELETE FROM learned WHERE tool = ?1")?.execute([tool])?;
            }
        }
        if self.known.len() > 2 * MOST {
            self.known.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_end_leave_a_bounded_table_and_what_is_in_use() {
        let connection = Connection::open_in_memory().unwrap();
        let table = "CREATE TABLE learned (tool TEXT PRIMARY KEY, milli_tokens INTEGER NOT NULL) STRICT, WITHOUT ROWID";
        connection.execute_batch(table).unwrap();
        let mut learned = Learned::default();
        for round in 0..60 {
            for n in 0..1_000 {
                learned.learn(&connection, &mut Vec::new(), &format!("a-{round}-{n}"), 7).unwrap();
            }
            learned.learn(&connection, &mut Vec::new(), "b-used", 7).unwrap();
            learned.project(&connection).unwrap();
            learned.projected();
            let rows: i64 =
                connection.query_row("SELECT count(*) FROM learned", [], |row| row.get(0)).unwrap();
            assert!(usize::try_from(rows).unwrap() <= 2 * MOST + 2 * COUNTED_AFTER, "{rows}");
            assert!(learned.known.len() <= 2 * MOST + 2 * COUNTED_AFTER, "{}", learned.known.len());
        }
        let used = "SELECT milli_tokens FROM learned WHERE tool = 'b-used'";
        assert_eq!(connection.query_row(used, [], |row| row.get::<_, i64>(0)).unwrap(), 7_000);
    }
}
