//! Figures for charts, from the rows beside the journal.

use crate::{
    journal::Reader,
    series::{Asked, Figuring},
    store::{Figures, StoreError},
};

/// What is asked for, of everything that was committed before.
pub(super) fn read(journal: &Reader, asked: Asked) -> Result<Figures, StoreError> {
    let spans = asked.spans();
    let mut rows = journal.rolled()?;
    let mut work = Figuring::new(asked);
    loop {
        for span in &spans {
            rows.of(*span, &mut |row| work.take(row))?;
        }
        if !work.again() {
            return Ok(Figures { answer: work.finish(), missing: rows.missing });
        }
    }
}
