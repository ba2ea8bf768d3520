//! Standard output: tables, lines and JSON. Text that agents and upstreams wrote cannot move the cursor, hide
//! itself or turn its direction here.

use super::failure::CliError;
use crate::redaction::{visible, visible_json};
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::{self, Write as _};

/// Writes to standard output; a reader that goes away ends the command quietly.
pub(super) struct Screen(io::BufWriter<io::Stdout>);

impl Screen {
    /// On standard output.
    pub(super) fn new() -> Self {
        Self(io::BufWriter::new(io::stdout()))
    }

    /// One line of text, shown plainly.
    pub(super) fn line(&mut self, text: &str) -> Result<(), CliError> {
        for part in text.split('\n') {
            writeln!(self.0, "{}", visible(part))?;
        }
        Ok(self.0.flush()?)
    }

    /// Text that is made for machines, as it is.
    pub(super) fn raw(&mut self, text: &str) -> Result<(), CliError> {
        self.0.write_all(text.as_bytes())?;
        Ok(self.0.flush()?)
    }

    /// A name and what it is, aligned.
    pub(super) fn field(&mut self, name: &str, value: &str) -> Result<(), CliError> {
        let indented = plain_lines(value).replace('\n', "\n                    ");
        writeln!(self.0, "{:<18}  {indented}", visible(name))?;
        Ok(self.0.flush()?)
    }

    /// One JSON document, for reading.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
        self.raw(&format!("{}\n", visible_json(&text)))
    }

    /// A JSON object whose last member comes later, by [`Self::json_closed`].
    pub(super) fn json_open(&mut self, object: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(object).map_err(io::Error::other)?;
        let open = text.strip_suffix("\n}").unwrap_or(&text);
        self.raw(&format!("{},\n", visible_json(open)))
    }

    /// The last member of an object, and its end.
    pub(super) fn json_closed(&mut self, name: &str, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?.replace('\n', "\n  ");
        self.raw(&format!("  \"{name}\": {}\n}}\n", visible_json(&text)))
    }

    /// One JSON value without a line feed: a part of a document that is written piece by piece.
    pub(super) fn json_part(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(io::Error::other)?;
        self.raw(&visible_json(&text))
    }

    /// One JSON document in one line.
    pub(super) fn json_line(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(io::Error::other)?;
        self.raw(&format!("{}\n", visible_json(&text)))
    }

    /// One row of a table that is too long to be held: each cell as wide as its column.
    pub(super) fn columns(&mut self, cells: &[String], widths: &[usize]) -> Result<(), CliError> {
        let padded: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{:width$}", visible(cell))).collect();
        Ok(writeln!(self.0, " {}", padded.join("  ").trim_end())?)
    }

    /// A table; `none` is said where it has no row.
    pub(super) fn table(
        &mut self,
        header: &[&str],
        rows: &[Vec<String>],
        none: &str,
    ) -> Result<(), CliError> {
        if rows.is_empty() {
            return self.line(none);
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        // A terminal that says that it has no width is as wide as it takes.
        if table.width().is_some_and(|width| usize::from(width) < 4 * header.len()) {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        table.set_header(header.iter().map(|name| name.to_uppercase()));
        for row in rows {
            table.add_row(row.iter().map(|cell| visible(cell)));
        }
        for line in table.to_string().lines() {
            writeln!(self.0, "{}", line.trim_end())?;
        }
        Ok(self.0.flush()?)
    }
}

/// Makes columns as wide as a row needs them.
pub(super) fn widen<const N: usize>(widths: &mut [usize; N], row: &[String]) {
    for (width, cell) in widths.iter_mut().zip(row) {
        *width = visible(cell).chars().count().max(*width);
    }
}

/// Says something about the output on standard error, so that standard output stays what it is.
pub(super) fn note(text: &str) {
    writeln!(io::stderr(), "tollgate: {}", visible(text)).ok();
}

/// How far long work is: so many of `what`, and how many a second. Drawn on a terminal only.
pub(super) fn progress(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template(&format!("{{spinner}} {{pos}} {what}, {{per_sec}}")) {
        bar.set_style(style);
    }
    bar
}

fn plain_lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// A time without its fraction.
pub(super) fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A word, or a dash where there is none.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
