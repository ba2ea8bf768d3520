//! Exports: JSON lines that can be verified offline, and CSV for spreadsheets.

use super::ocsf::ocsf;
use crate::{
    evidence::event_without_values,
    model::Event,
    redaction::{visible, visible_json},
    store::{EventQuery, Store, StoreError, StoreFuture},
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

/// Hands on what a query finds, a page at a time and in chain order, and says how many.
async fn each<'s, T>(
    mut query: EventQuery,
    read: impl Fn(EventQuery) -> StoreFuture<'s, Vec<T>>,
    seq: impl Fn(&T) -> i64,
    mut put: impl FnMut(T) -> Result<(), ExportError>,
) -> Result<u64, ExportError> {
    let mut left = if query.limit == 0 { usize::MAX } else { query.limit };
    query.newest_first = false;
    let mut written = 0;
    while left > 0 {
        query.limit = left.min(PAGE);
        let page = read(query.clone()).await?;
        query.after_seq = page.last().map(&seq).or(query.after_seq);
        left = if page.len() < query.limit { 0 } else { left - page.len() };
        for one in page {
            put(one)?;
            written += 1;
        }
    }
    Ok(written)
}

/// One line of text, in which what a terminal would obey is escaped, as JSON allows.
fn write_line(out: &mut (dyn Write + Send), json: &str) -> Result<(), ExportError> {
    out.write_all(visible_json(json).as_bytes())?;
    out.write_all(b"\n")?;
    Ok(())
}

/// Writes each event as the chain keeps it, one JSON object per line, and says how many.
/// [`super::verify_export`] can check the result without the store.
pub async fn export_jsonl(
    store: &dyn Store,
    query: EventQuery,
    out: &mut (dyn Write + Send),
) -> Result<u64, ExportError> {
    let read = |query| store.event_lines(query);
    let written = each(query, read, |line| line.seq, |line| write_line(out, &line.json)).await?;
    out.flush()?;
    Ok(written)
}

/// The same with masks in the places of arguments' values and without hashes; such records cannot be verified.
pub async fn export_jsonl_without_values(
    store: &dyn Store,
    query: EventQuery,
    out: &mut (dyn Write + Send),
) -> Result<u64, ExportError> {
    let put = |event: Event| {
        let line = serde_json::to_string(&shown(event, false)).map_err(std::io::Error::from)?;
        write_line(out, &line)
    };
    let written = each(query, |query| store.events(query), |event| event.seq, put).await?;
    out.flush()?;
    Ok(written)
}

/// An event with the values of arguments, or with masks in their places.
fn shown(event: Event, values: bool) -> Event {
    if values { event } else { event_without_values(event) }
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
    let put = |event: Event| {
        let event = &shown(event, values);
        let row = CSV_COLUMNS.iter().map(|column| cell(event, column));
        Ok(writer.write_record(row.map(|cell| safe(&visible(&cell)).into_owned()))?)
    };
    let written = each(query, |query| store.events(query), |event| event.seq, put).await?;
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
    let put = |event: Event| write_line(out, &ocsf(&shown(event, values)).to_string());
    let written = each(query, |query| store.events(query), |event| event.seq, put).await?;
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
