//! Exports: JSON lines that can be verified offline, and CSV for spreadsheets.

use super::ocsf::ocsf;
use crate::{
    evidence::without_values,
    model::Event,
    redaction::{visible, visible_json},
    store::{EventQuery, Store, StoreError},
};
use std::io::Write;

/// Events in one read.
const PAGE: usize = 1_000;

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Where it is written to.
    #[error("the export cannot be written: {0}")]
    Write(#[from] std::io::Error),
    /// A row.
    #[error("the export cannot be written: {0}")]
    Csv(#[from] csv::Error),
}

/// The pages of a query, in chain order.
struct Pages {
    query: EventQuery,
    left: usize,
}

impl Pages {
    fn new(mut query: EventQuery) -> Self {
        let left = if query.limit == 0 { usize::MAX } else { query.limit };
        query.newest_first = false;
        Self { query, left }
    }

    fn next(&mut self) -> Option<EventQuery> {
        self.query.limit = self.left.min(PAGE);
        (self.left > 0).then(|| self.query.clone())
    }

    fn took(&mut self, count: usize, last: Option<i64>) {
        self.left = if count < self.query.limit { 0 } else { self.left.saturating_sub(count) };
        self.query.after_seq = last.or(self.query.after_seq);
    }
}

/// Writes each event as the chain keeps it, one JSON object per line, and says how many. What a terminal would obey is
/// escaped, as JSON allows.
/// [`super::verify_export`] can check the result without the store.
pub async fn export_jsonl(
    store: &dyn Store,
    query: EventQuery,
    out: &mut (dyn Write + Send),
) -> Result<u64, ExportError> {
    let mut pages = Pages::new(query);
    let mut written = 0;
    while let Some(query) = pages.next() {
        let lines = store.event_lines(query).await?;
        for line in &lines {
            out.write_all(visible_json(&line.json).as_bytes())?;
            out.write_all(b"\n")?;
            written += 1;
        }
        pages.took(lines.len(), lines.last().map(|l| l.seq));
    }
    out.flush()?;
    Ok(written)
}

/// The same with masks in the places of arguments' values; such records cannot be verified.
pub async fn export_jsonl_without_values(
    store: &dyn Store,
    query: EventQuery,
    out: &mut (dyn Write + Send),
) -> Result<u64, ExportError> {
    let mut pages = Pages::new(query);
    let mut written = 0;
    while let Some(query) = pages.next() {
        let events = store.events(query).await?;
        pages.took(events.len(), events.last().map(|event| event.seq));
        for event in events {
            let line = serde_json::to_string(&shown(event, false)).map_err(std::io::Error::from)?;
            out.write_all(visible_json(&line).as_bytes())?;
            out.write_all(b"\n")?;
            written += 1;
        }
    }
    out.flush()?;
    Ok(written)
}

/// An event with the values of arguments, or with masks in their places.
fn shown(event: Event, values: bool) -> Event {
    if values { event } else { Event { draft: without_values(event.draft), ..event } }
}

/// The columns of a CSV export.
pub const CSV_COLUMNS: &[&str] = &[
    "seq",
    "timestamp",
    "event_type",
    "trace_id",
    "workflow_id",
    "agent_id",
    "actor_type",
    "actor_role",
    "action",
    "tool",
    "upstream",
    "capability_id",
    "decision",
    "policy_id",
    "rule_id",
    "reason",
    "cost_estimate_usd",
    "cost_usd",
    "outcome",
    "duration_ms",
    "sensitivity_level",
    "redacted",
    "call_id",
    "approval_id",
    "policy_snapshot",
    "tenant",
    "environment",
    "operator",
    "user",
    "evaluator",
    "labels",
    "grant_id",
    "result_digest",
    "limits",
    "facts",
    "detail",
    "prev_hash",
    "hash",
];

/// Writes each event as a row of [`CSV_COLUMNS`], and says how many.
pub async fn export_csv(
    store: &dyn Store,
    query: EventQuery,
    values: bool,
    out: &mut (dyn Write + Send),
) -> Result<u64, ExportError> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(CSV_COLUMNS)?;
    let mut pages = Pages::new(query);
    let mut written = 0;
    while let Some(query) = pages.next() {
        let events = store.events(query).await?;
        pages.took(events.len(), events.last().map(|e| e.seq));
        for event in events {
            let event = &shown(event, values);
            let row = CSV_COLUMNS.iter().map(|column| cell(event, column));
            writer.write_record(row.map(|cell| safe(&visible(&cell)).into_owned()))?;
            written += 1;
        }
    }
    writer.flush()?;
    Ok(written)
}

/// Writes each event as a line of OCSF 1.8.0 (API Activity), and says how many.
pub async fn export_ocsf(
    store: &dyn Store,
    query: EventQuery,
    values: bool,
    out: &mut (dyn Write + Send),
) -> Result<u64, ExportError> {
    let mut pages = Pages::new(query);
    let mut written = 0;
    while let Some(query) = pages.next() {
        let events = store.events(query).await?;
        pages.took(events.len(), events.last().map(|e| e.seq));
        for event in events {
            let event = &shown(event, values);
            out.write_all(visible_json(&ocsf(event).to_string()).as_bytes())?;
            out.write_all(b"\n")?;
            written += 1;
        }
    }
    out.flush()?;
    Ok(written)
}

fn cell(event: &Event, column: &str) -> String {
    match column {
        "seq" => event.seq.to_string(),
        "prev_hash" => event.prev_hash.clone(),
        "hash" => event.hash.clone(),
        field => event.draft.cell(field).unwrap_or_default(),
    }
}

/// A spreadsheet takes a cell that begins so for a formula; a quote before it makes it text.
pub(super) fn safe(cell: &str) -> std::borrow::Cow<'_, str> {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '|', '%']) {
        format!("'{cell}").into()
    } else {
        cell.into()
    }
}
