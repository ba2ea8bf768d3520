//! What stands in a listed item for a model rather than for a reader: hidden characters, instructions, and names that stand for
//! another server's. Each scan is one pass over a bounded amount of text.

mod hidden;
mod names;
mod phrases;
mod plain;
mod wordings;

pub use names::{NamedItem, Names};

use super::shown::shown;
use crate::{model::pointer, redaction};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What kind of thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Characters that nobody sees, or a layout that pushes text out of sight.
    Hidden,
    /// Words that tell a model what to do beside using the item.
    Instructions,
    /// Words or parameters that would carry secrets or the conversation away.
    Exfiltration,
    /// It speaks of another server's tool.
    Shadowing,
    /// Its name looks like another's, or has letters that look like others.
    LookAlike,
    /// Another server has an item of that name.
    SameName,
    /// A name that is nearly another server's.
    NearName,
    /// It has more text than is looked through.
    TooLarge,
}

impl FindingKind {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Instructions => "instructions",
            Self::Exfiltration => "exfiltration",
            Self::Shadowing => "shadowing",
            Self::LookAlike => "look_alike",
            Self::SameName => "same_name",
            Self::NearName => "near_name",
            Self::TooLarge => "too_large",
        }
    }

    /// Whether it is more than a note: it makes an alert, and can quarantine.
    pub fn is_serious(self) -> bool {
        match self {
            Self::Hidden
            | Self::Instructions
            | Self::Exfiltration
            | Self::Shadowing
            | Self::LookAlike
            | Self::TooLarge => true,
            // Servers of one kind have such names, and prefixes keep them apart.
            Self::SameName | Self::NearName => false,
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind.
    pub kind: FindingKind,
    /// Where: a JSON pointer into the item.
    pub at: String,
    /// What, as a sentence without an end.
    pub what: String,
    /// The text around it, with hidden characters written out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// The serious kinds among findings, each once, in order.
pub fn kinds_of(findings: &[Finding]) -> Vec<FindingKind> {
    let mut kinds: Vec<FindingKind> =
        findings.iter().map(|finding| finding.kind).filter(|kind| kind.is_serious()).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// The text of one item that is looked through, in bytes.
const MOST_TEXT: usize = 256 << 10;
/// Texts of one item that are looked at.
const MOST_TEXTS: usize = 4_000;
/// No shorter name tells anybody to do something.
const SHORTEST_NAME: usize = 10;
/// How deep they may stand.
const DEEPEST: usize = 64;
/// The same of all that its texts decode to.
const MOST_DECODED: usize = 2 * MOST_TEXT;
/// Findings of one item.
const MOST_FINDINGS: usize = 16;
/// Findings of one kind in one text: the first ones say enough.
const MOST_OF_A_KIND: usize = 2;
/// The text that a finding shows, in characters.
const LONGEST_EXCERPT: usize = 160;

/// Everything that is found in an item alone.
pub fn scan_item(item: &Value) -> Vec<Finding> {
    let mut scan = Scan { findings: Vec::new(), bytes: 0, decoded: 0, texts: 0, is_cut: false };
    scan.value(item, &mut String::new(), 0);
    if scan.is_cut {
        let what = format!("more text than is looked through: {} KiB were", MOST_TEXT >> 10);
        scan.findings.truncate(MOST_FINDINGS - 1);
        scan.findings.push(Finding {
            kind: FindingKind::TooLarge,
            at: String::new(),
            what,
            text: String::new(),
        });
    }
    scan.findings
}

struct Scan {
    findings: Vec<Finding>,
    bytes: usize,
    decoded: usize,
    texts: usize,
    is_cut: bool,
}

impl Scan {
    fn value(&mut self, value: &Value, at: &mut String, depth: usize) {
        if depth > DEEPEST || self.texts >= MOST_TEXTS || self.findings.len() >= MOST_FINDINGS {
            self.is_cut |= self.findings.len() < MOST_FINDINGS;
            return;
        }
        match value {
            Value::String(text) => self.text(text, at),
            Value::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    self.below(item, &place.to_string(), at, depth);
                }
            }
            Value::Object(map) => {
                let is_properties = at.ends_with("/properties");
                for (name, item) in map {
                    self.name(name, at, is_properties);
                    self.below(item, name, at, depth);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn below(&mut self, item: &Value, name: &str, at: &mut String, depth: usize) {
        let length = at.len();
        at.push('/');
        at.push_str(&shown(&pointer::escape(name.get(..cut(name, 200)).unwrap_or_default())));
        self.value(item, at, depth + 1);
        at.truncate(length);
    }

    /// A member's name: of a schema it is a parameter, which a model reads and fills.
    fn name(&mut self, name: &str, at: &str, is_parameter: bool) {
        if self.take(name.len()) == 0 {
            return;
        }
        let at = format!("{at}/{}", shown(&pointer::escape(name.get(..cut(name, 200)).unwrap_or_default())));
        let mut found = Vec::new();
        hidden::scan(name, &mut found);
        if name.len() >= SHORTEST_NAME {
            self.words(name, &mut found);
        }
        if is_parameter {
            phrases::scan_parameter(name, &mut found);
        }
        self.keep(&at, name, found);
    }

    fn text(&mut self, text: &str, at: &str) {
        self.texts += 1;
        let room = self.take(text.len());
        let text = text.get(..cut(text, room)).unwrap_or_default();
        let mut found = Vec::new();
        hidden::scan(text, &mut found);
        self.words(text, &mut found);
        if is_argument_name(at) {
            phrases::scan_parameter(text, &mut found);
        }
        self.keep(at, text, found);
    }

    /// What a text says to a model, as it stands and as what it decodes to.
    fn words(&mut self, text: &str, found: &mut Vec<Found>) {
        phrases::scan(text, found);
        let is_whole = redaction::readings(text, &mut |reading, origin| {
            if self.decoded + reading.len() > MOST_DECODED {
                self.is_cut = true;
                return false;
            }
            self.decoded += reading.len();
            let mut inner = Vec::new();
            phrases::scan(reading, &mut inner);
            for Found { kind, what, place: at, .. } in inner {
                if found.iter().all(|known| known.what != what) {
                    let excerpt = Some(format!("decoded, it reads: {}", around(reading, at)));
                    found.push(Found { kind, what, place: origin(at), excerpt });
                }
            }
            true
        });
        self.is_cut |= !is_whole;
    }

    /// How much of so many bytes may be looked at.
    fn take(&mut self, bytes: usize) -> usize {
        let room = MOST_TEXT.saturating_sub(self.bytes);
        self.is_cut |= room < bytes;
        let taken = bytes.min(room);
        self.bytes += taken;
        taken
    }

    fn keep(&mut self, at: &str, text: &str, found: Vec<Found>) {
        for Found { kind, what, place, excerpt } in found {
            let same = |known: &&Finding| known.kind == kind && known.at == at;
            if self.findings.len() >= MOST_FINDINGS
                || self.findings.iter().filter(same).count() >= MOST_OF_A_KIND
            {
                continue;
            }
            let text = excerpt.unwrap_or_else(|| around(text, place));
            self.findings.push(Finding { kind, at: at.to_owned(), what, text });
        }
    }
}

/// Something in a text.
struct Found {
    kind: FindingKind,
    what: String,
    /// Where it begins, in bytes.
    place: usize,
    /// What is shown in place of the text around it.
    excerpt: Option<String>,
}

/// Whether a text at this place is the name of a prompt's argument, which a model reads and fills as it does a parameter.
fn is_argument_name(at: &str) -> bool {
    at.strip_prefix("/arguments/").and_then(|rest| rest.strip_suffix("/name")).is_some()
}

/// The nearest place at or before so many bytes at which a text can be cut.
fn cut(text: &str, most: usize) -> usize {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

/// The text around a place, with hidden characters written out and its lines joined.
fn around(text: &str, place: usize) -> String {
    let start = cut(text, place.saturating_sub(40));
    let rest = text.get(start..).unwrap_or_default();
    let part: String = rest.chars().take(LONGEST_EXCERPT).collect();
    let more = if part.len() < rest.len() { "…" } else { "" };
    let before = if start > 0 { "…" } else { "" };
    format!("{before}{}{more}", shown(&part).replace(['\n', '\t'], " "))
}

#[cfg(test)]
mod tests;
