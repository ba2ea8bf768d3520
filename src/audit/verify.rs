//! Checking an export without the store.
//!
//! What it can tell: that each record is what was hashed (any changed, added or removed member changes the
//! hash), and that records with neighbouring `seq` follow each other. Of a whole export also that none is
//! missing between the first and the last, that it begins at 1, and that there is one. What it cannot tell: that records were cut
//! off at the END of the export, which only the store, or a hash noted elsewhere, can say; and the indexed
//! copies, which an export does not have. White space and the order of `seq`, `prev_hash` and `hash` among the members do not
//! matter; the order of all other members does, since the body is hashed as it was written.

use crate::{journal::chain, model::json, store::BadRecord};
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::{self, BufRead, Read as _};

/// The longest line that is read.
const MAX_LINE: u64 = 64 << 20;

/// What the export claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Every record from the first: a gap is an error.
    Whole,
    /// What a query found: gaps are counted.
    Part,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExportReport {
    /// How many records are good.
    pub records: u64,
    /// The first `seq`.
    pub first: Option<i64>,
    /// The last good `seq`.
    pub last: Option<i64>,
    /// The hash of the last good record.
    pub head: String,
    /// Runs of missing records.
    pub gaps: u64,
    /// The first bad record. A line that is no record has the `seq` that was expected.
    pub bad: Option<BadRecord>,
}

/// Checks an export of JSON lines, with constant memory. Where the file is plainly something else, that is an error and no
/// broken chain.
pub fn verify_export(reader: impl BufRead, coverage: Coverage) -> io::Result<ExportReport> {
    let mut reader = reader;
    let mut report = ExportReport {
        records: 0,
        first: None,
        last: None,
        head: chain::to_hex(&chain::GENESIS),
        gaps: 0,
        bad: None,
    };
    let mut at = (0_i64, chain::GENESIS);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let mut text = line.trim_ascii();
        if report.records == 0 {
            // Some editors and shells put one before the first line: it is of the file, not of the record.
            text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text).trim_ascii();
            if let Some(kind) = other_kind(text) {
                let told = format!(
                    "it is {kind}; what is verified is what `tollgate audit export` writes as JSON lines"
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, told));
            }
        }
        if text.is_empty() {
            continue;
        }
        match check(text, at, coverage) {
            Ok((seq, hash)) => {
                if seq != at.0 + 1 {
                    report.gaps += 1;
                }
                report.first.get_or_insert(seq);
                report.records += 1;
                report.last = Some(seq);
                report.head = chain::to_hex(&hash);
                at = (seq, hash);
            }
            Err(bad) => {
                report.bad = Some(bad);
                break;
            }
        }
    }
    if report.records == 0 && report.bad.is_none() && coverage == Coverage::Whole {
        report.bad = Some(BadRecord { seq: 1, problem: "there is no record at all".to_owned() });
    }
    Ok(report)
}

/// What a file is that begins so, where it cannot be an export of JSON lines.
fn other_kind(first: &[u8]) -> Option<&'static str> {
    let begins: [(&[u8], &str); 7] = [
        (b"\xFF\xFE", "text in UTF-16, as some shells write it"),
        (b"\xFE\xFF", "text in UTF-16, as some shells write it"),
        (b"\x1F\x8B", "a gzip file, to be unpacked first"),
        (b"PK\x03\x04", "a zip file, to be unpacked first"),
        (b"seq,", "a CSV export, which has no hashed bodies"),
        (b"[", "a JSON array"),
        (b"{\"events\": [", "a listing, as `tollgate audit query --json` prints it"),
    ];
    begins.into_iter().find(|(begin, _)| first.starts_with(begin)).map(|(_, kind)| kind)
}

fn check(text: &[u8], at: (i64, chain::Hash), coverage: Coverage) -> Result<(i64, chain::Hash), BadRecord> {
    let (last, last_hash) = at;
    let bad = |seq: i64, problem: String| BadRecord { seq, problem };
    let expected = last + 1;
    let value =
        json::parse_inner(text).map_err(|e| bad(expected, format!("it is not a JSON object: {e}")))?;
    let Value::Object(mut members) = value else {
        return Err(bad(expected, "it is not a JSON object".to_owned()));
    };
    let seq = members
        .shift_remove("seq")
        .and_then(|v| v.as_i64())
        .ok_or_else(|| bad(expected, "it has no `seq`".to_owned()))?;
    let hash = |name: &str, members: &mut Map<String, Value>| {
        members
            .shift_remove(name)
            .and_then(|v| v.as_str().and_then(chain::from_hex))
            .ok_or_else(|| bad(seq, format!("it has no `{name}`")))
    };
    let prev = hash("prev_hash", &mut members)?;
    let claimed = hash("hash", &mut members)?;
    if seq <= last {
        return Err(bad(seq, format!("it stands after {last}")));
    }
    if seq != expected && coverage == Coverage::Whole {
        return Err(bad(expected, "the record is missing".to_owned()));
    }
    if seq == expected && prev != last_hash {
        return Err(bad(seq, "its prev_hash is not the hash of the record before".to_owned()));
    }
    let body = Value::Object(members).to_string();
    let real = chain::link(&prev, seq, &body);
    if real != claimed {
        return Err(bad(seq, "its hash is not that of its content".to_owned()));
    }
    Ok((seq, real))
}
