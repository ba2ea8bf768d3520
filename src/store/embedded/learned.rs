//! Result sizes by cell ([`SizeCell`]), written once for all that a transaction learned.

use super::notes::{self, Note};
use crate::{
    cost::{LearnedSizes, RecentSizes, SizeCell},
    store::StoreError,
};
use rusqlite::{Connection, OptionalExtension as _};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// Cells that are kept; beyond twice as many, those that were not learned of lately go.
const MOST: usize = 20_000;
/// The rows are counted again after so many new ones.
const COUNTED_AFTER: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Learned {
    /// By cell, see [`RecentSizes::stored`]; of a tool alone the mean of an older version, in thousandths of a token.
    known: HashMap<String, i64>,
    /// The same for whoever estimates.
    sizes: Arc<LearnedSizes>,
    unwritten: HashSet<String>,
    /// New rows since they were counted; none were counted yet by this process.
    fresh: Option<usize>,
}

impl Learned {
    /// Nothing yet; `sizes` follow.
    pub(super) fn new(sizes: Arc<LearnedSizes>) -> Self {
        Self { sizes, ..Self::default() }
    }

    /// One more result of a cell.
    pub(super) fn learn(
        &mut self,
        connection: &Connection,
        notes: &mut Vec<u8>,
        cell: &SizeCell,
        tokens: u64,
    ) -> Result<(), StoreError> {
        let name = cell.as_str();
        let known = match self.known.get(name) {
            Some(known) => Some(*known),
            None => connection
                .prepare_cached("SELECT milli_tokens FROM learned WHERE tool = ?1")?
                .query_row([name], |row| row.get(0))
                .optional()?,
        };
        if known.is_none() {
            self.fresh = self.fresh.map(|fresh| fresh + 1);
        }
        let next = RecentSizes::from_stored(known.unwrap_or_default()).with(tokens).stored();
        if known != Some(next) {
            notes::write(notes, &Note::Learned { tool: name.to_owned(), milli: next });
            self.unwritten.insert(name.to_owned());
        }
        if self.known.get(name) != Some(&next) {
            self.known.insert(name.to_owned(), next);
        }
        self.sizes.take_in(name, next);
        Ok(())
    }

    /// Takes in what another process learned.
    pub(super) fn take_in(&mut self, note: &Note) {
        if let Note::Learned { tool, milli } = note {
            self.sizes.take_in(tool, *milli);
            self.known.insert(tool.clone(), *milli);
            self.unwritten.insert(tool.clone());
        }
    }

    /// Has `sizes` hold all that is known.
    pub(super) fn share(&self, connection: &Connection) -> Result<(), StoreError> {
        self.all(connection)?.into_iter().for_each(|(tool, milli)| self.sizes.take_in(&tool, milli));
        Ok(())
    }

    /// All that is known, here or in the projection, as notes.
    pub(super) fn everything(&self, connection: &Connection) -> Result<Vec<Note>, StoreError> {
        let all = self.all(connection)?;
        Ok(all.into_iter().map(|(tool, milli)| Note::Learned { tool, milli }).collect())
    }

    fn all(&self, connection: &Connection) -> Result<BTreeMap<String, i64>, StoreError> {
        let mut statement = connection.prepare_cached("SELECT tool, milli_tokens FROM learned")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        let mut all: BTreeMap<String, i64> = rows.collect::<Result<_, _>>()?;
        let unwritten = self.unwritten.iter().filter_map(|tool| Some((tool.clone(), *self.known.get(tool)?)));
        all.extend(unwritten);
        Ok(all)
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
        let used = SizeCell::new("b-used", 9, "x");
        for round in 0..90 {
            for n in 0..1_000 {
                learned
                    .learn(&connection, &mut Vec::new(), &SizeCell::new(&format!("a-{round}-{n}"), 9, "x"), 7)
                    .unwrap();
            }
            learned.learn(&connection, &mut Vec::new(), &used, 7).unwrap();
            learned.project(&connection).unwrap();
            learned.projected();
            let rows: i64 =
                connection.query_row("SELECT count(*) FROM learned", [], |row| row.get(0)).unwrap();
            assert!(usize::try_from(rows).unwrap() <= 2 * MOST + 2 * COUNTED_AFTER, "{rows}");
            assert!(learned.known.len() <= 2 * MOST + 2 * COUNTED_AFTER, "{}", learned.known.len());
        }
        let kept = "SELECT milli_tokens FROM learned WHERE tool = ?1";
        let kept = connection.query_row(kept, [used.as_str()], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(kept, (0..7).fold(RecentSizes::default(), |recent, _| recent.with(7)).stored());
        assert!(learned.sizes.expected("b-used", 9, "y", None) == 7);
    }
}
