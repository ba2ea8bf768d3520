//! Standard output: tables, lines and JSON. Text that agents and upstreams wrote cannot move the cursor, hide
//! itself or turn its direction here (SPEC 6).

use super::failure::CliError;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

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
            writeln!(self.0, "{}", plain(part))?;
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
        writeln!(self.0, "{name:<18}  {indented}")?;
        Ok(self.0.flush()?)
    }

    /// One JSON document, for reading.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
        self.raw(&format!("{}\n", visible_json(&text)))
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
        table.set_header(header.iter().map(|name| name.to_uppercase()));
        for row in rows {
            table.add_row(row.iter().map(|cell| plain(cell)));
        }
        for line in table.to_string().lines() {
            writeln!(self.0, "{}", line.trim_end())?;
        }
        Ok(self.0.flush()?)
    }
}

/// Says something about the output on standard error, so that standard output stays what it is.
pub(super) fn note(text: &str) {
    writeln!(io::stderr(), "tollgate: {}", plain(text)).ok();
}

/// Whether a character is invisible or changes how others are shown.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// The text with everything hidden shown as `\u{…}`.
pub(super) fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if hidden(c) {
            out.extend(c.escape_unicode())
        } else {
            out.push(c)
        }
        out
    })
}

fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// The same for JSON: hidden characters only stand inside strings there, where `\uXXXX` means the same. Line feeds
/// of the layout stay.
fn visible_json(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c == '\n' || !hidden(c) {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").ok();
            }
        }
        out
    })
}

/// A time without its fraction.
pub(super) fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A word, or a dash where there is none.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_shown() {
        let check = |input: &str, expect: &str| assert_eq!(plain(input), expect);
        check("plain Grüße 🎉", "plain Grüße 🎉");
        check("a\x1b[2Jb", "a\\u{1b}[2Jb");
        check("approve\u{202e}evil", "approve\\u{202e}evil");
        check("in\u{200b}visible\r\n", "in\\u{200b}visible\\u{d}\\u{a}");
        check("tag\u{e0041}", "tag\\u{e0041}");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({"a": "x\u{202e}y\u{e0041}z\u{9b}"});
        let shown = visible_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!shown.chars().any(|c| c != '\n' && hidden(c)), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
