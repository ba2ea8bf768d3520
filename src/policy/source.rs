//! Files as located trees, so that every problem in them is found in one pass and has its place.
//! Both formats (the bundle's YAML, servers.toml) become the same tree and are read by one reader.

use super::yaml_error;
use crate::model::{Place, Problem, Problems, Severity};
use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, Span, Tag};
use std::collections::BTreeMap;

/// Nothing an admin writes is larger; what is larger is refused before it is parsed.
pub const MAX_FILE_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 32;
const MAX_NODES: usize = 200_000;
/// More of a kind than this in one file are not told one by one.
const MAX_PROBLEMS: usize = 500;
const MAX_ALIAS_BYTES: usize = 4 << 20;

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its first byte.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// What it is.
    pub kind: Kind,
}

/// What a value is. Numbers keep their text, so that money and large integers stay exact.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Nothing was written.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as written.
    Number(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the file's order, duplicates included.
    Map(Vec<Entry>),
}

/// One key of a map and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The key's first byte.
    pub at: usize,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// The value of the first such key, where this is a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|e| e.key == key).map(|e| &e.value)
    }

    /// The entries, where this is a map.
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::List(_) => &[],
        }
    }

    /// The keys, where this is a map.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries().iter().map(|e| e.key.as_str())
    }

    /// The elements, where this is a list.
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Map(_) => &[],
        }
    }

    /// The text, where this is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) | Kind::Number(text) => Some(text),
            Kind::Null | Kind::Bool(_) | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// The node at a path such as `rules[2].pattern`; the nearest one above where it is absent.
    /// Keys may hold dots.
    pub fn at_path(&self, path: &str) -> &Node {
        let mut node = self;
        let mut rest = path;
        loop {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let next = match &node.kind {
                Kind::List(items) => rest
                    .strip_prefix('[')
                    .and_then(|tail| tail.split_once(']'))
                    .and_then(|(index, tail)| Some((items.get(index.parse::<usize>().ok()?)?, tail))),
                Kind::Map(entries) => entries
                    .iter()
                    .filter_map(|e| Some((e, rest.strip_prefix(e.key.as_str())?)))
                    .filter(|(_, tail)| tail.is_empty() || tail.starts_with(['.', '[']))
                    .max_by_key(|(e, _)| e.key.len())
                    .map(|(e, tail)| (&e.value, tail)),
                Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => None,
            };
            match next {
                Some((found, tail)) if !rest.is_empty() => (node, rest) = (found, tail),
                Some(_) | None => return node,
            }
        }
    }

    fn weight(&self) -> (usize, usize) {
        match &self.kind {
            Kind::Null | Kind::Bool(_) => (1, 0),
            Kind::Number(text) | Kind::Text(text) => (1, text.len()),
            Kind::List(items) => items.iter().map(Node::weight).fold((1, 0), add),
            Kind::Map(entries) => entries.iter().fold((1, 0), |sum, e| {
                let (nodes, bytes) = e.value.weight();
                add(sum, (nodes + 1, bytes + e.key.len()))
            }),
        }
    }
}

fn add(a: (usize, usize), b: (usize, usize)) -> (usize, usize) {
    (a.0 + b.0, a.1 + b.1)
}

/// One file's text, and what is wrong in it.
#[derive(Debug)]
pub struct Report<'t> {
    file: &'t str,
    text: &'t str,
    lines: Vec<usize>,
    problems: Vec<Problem>,
}

impl<'t> Report<'t> {
    /// Nothing is wrong yet.
    pub fn new(file: &'t str, text: &'t str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file, text, lines, problems: Vec::new() }
    }

    /// The file's name.
    pub fn file(&self) -> &'t str {
        self.file
    }

    /// The files cannot be used.
    pub fn error(&mut self, at: usize, message: impl Into<String>, expected: impl Into<String>) {
        self.add(Severity::Error, false, at, message.into(), expected.into());
    }

    /// The files can be used; somebody should look.
    pub fn lint(&mut self, at: usize, message: impl Into<String>, expected: impl Into<String>) {
        self.add(Severity::Lint, false, at, message.into(), expected.into());
    }

    /// A lint that `check --strict` takes for an error: what stands here does not do what it says.
    pub fn doubt(&mut self, at: usize, message: impl Into<String>, expected: impl Into<String>) {
        self.add(Severity::Lint, true, at, message.into(), expected.into());
    }

    fn add(&mut self, severity: Severity, strict: bool, at: usize, message: String, expected: String) {
        // Errors are dropped only where there are errors, so that what is wrong stays wrong.
        if self.problems.iter().filter(|p| p.severity == severity).count() >= MAX_PROBLEMS {
            return;
        }
        let place = self.place(at);
        self.problems.push(Problem { place, severity, message, expected, strict });
    }

    /// Line and column of a byte.
    pub fn place(&self, at: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= at).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..at).map_or(0, |before| before.chars().count()) + 1;
        Place { file: self.file.to_owned(), line, column }
    }

    /// The byte at which the `offset`th character of a scalar stands: its text is held against what
    /// was written, so that quotes, escapes and line folds are stepped over.
    pub fn inside(&self, node: &Node, offset: usize) -> usize {
        let (Some(text), Some(raw)) = (node.as_text(), self.text.get(node.start..node.end)) else {
            return node.start;
        };
        let mut written = raw.char_indices().filter(|(_, c)| !c.is_whitespace()).peekable();
        let mut last = 0;
        for (index, c) in text.chars().enumerate().filter(|(_, c)| !c.is_whitespace()) {
            while written.peek().is_some_and(|(_, w)| *w != c) {
                written.next();
            }
            let Some((at, _)) = written.next() else { return node.start };
            if index >= offset {
                return node.start + at;
            }
            last = at + c.len_utf8();
        }
        node.start + last
    }

    /// Whether one of them forbids using the file.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Whether a comment stands on the line where an empty value should.
    pub fn is_before_comment(&self, node: &Node) -> bool {
        let line = self.place(node.start).line;
        let text = self.text.lines().nth(line - 1).unwrap_or_default();
        text.split_once(": ").is_some_and(|(_, rest)| rest.trim_start().starts_with('#'))
    }

    /// All that was found.
    pub fn into_problems(self) -> Problems {
        Problems(self.problems)
    }
}

/// Reads one YAML document; `None` where it is not well formed, with the reason in `report`.
/// Size, depth and what aliases unfold to are bounded.
pub fn parse_yaml(report: &mut Report<'_>) -> Option<Node> {
    let text = report.text;
    if text.len() > MAX_FILE_BYTES {
        report.error(0, format!("the file has `{}` bytes", text.len()), format!("at most {MAX_FILE_BYTES}"));
        return None;
    }
    let mut builder = Builder {
        events: Parser::new_from_str_with_options(text, granit_parser::options! { emit_comments: false }),
        text,
        anchors: BTreeMap::new(),
        nodes: 0,
        alias_bytes: 0,
    };
    match builder.document() {
        Ok(node) => Some(node),
        Err(fault) => {
            report.error(fault.at.min(text.len()), fault.message, fault.expected);
            None
        }
    }
}

struct Fault {
    at: usize,
    message: String,
    expected: String,
}

impl From<yaml_error::Told> for Fault {
    fn from(told: yaml_error::Told) -> Self {
        Self { at: told.at, message: told.message, expected: told.expected }
    }
}

fn fault(at: usize, message: impl Into<String>, expected: &str) -> Fault {
    Fault { at, message: message.into(), expected: expected.to_owned() }
}

struct Builder<'t, I> {
    events: I,
    text: &'t str,
    /// `None` while the anchored node is still being read.
    anchors: BTreeMap<usize, Option<Node>>,
    nodes: usize,
    alias_bytes: usize,
}

type Parsed<'t> = Result<(Event<'t>, Span), granit_parser::ScanError>;

impl<'t, I: Iterator<Item = Parsed<'t>>> Builder<'t, I> {
    fn next(&mut self) -> Result<Option<(Event<'t>, usize, usize)>, Fault> {
        loop {
            return match self.events.next() {
                None => Ok(None),
                Some(Err(error)) => {
                    let mark = error.marker();
                    let at = mark.byte_offset().unwrap_or_else(|| self.byte_of(mark.index()));
                    Err(yaml_error::explain(self.text, error.kind(), at).into())
                }
                Some(Ok((Event::Comment(..), _))) => continue,
                Some(Ok((event, span))) => {
                    let byte = |mark: granit_parser::Marker| {
                        mark.byte_offset().unwrap_or_else(|| self.byte_of(mark.index()))
                    };
                    let (start, end) = (byte(span.start), byte(span.end));
                    Ok(Some((event, start, end.max(start))))
                }
            };
        }
    }

    fn byte_of(&self, index: usize) -> usize {
        self.text.char_indices().nth(index).map_or(self.text.len(), |(at, _)| at)
    }

    fn document(&mut self) -> Result<Node, Fault> {
        let mut root = None;
        while let Some((event, start, end)) = self.next()? {
            match event {
                Event::StreamStart | Event::DocumentEnd | Event::StreamEnd => {}
                Event::DocumentStart(..) => {
                    if root.is_some() {
                        return Err(fault(
                            start,
                            "a second document begins at `---`",
                            "one document per file",
                        ));
                    }
                }
                event => root = Some(self.node(event, start, end, 0)?),
            }
        }
        Ok(root.unwrap_or(Node { start: 0, end: 0, kind: Kind::Null }))
    }

    fn node(&mut self, event: Event<'t>, start: usize, end: usize, depth: usize) -> Result<Node, Fault> {
        if depth > MAX_DEPTH {
            return Err(fault(start, "nested too deeply", "at most 32 levels"));
        }
        self.count(start, 1)?;
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let kind = scalar(self.text, text.into_owned(), style, tag.as_deref(), start)?;
                let node = Node { start, end, kind };
                self.remember(anchor, &node);
                Ok(node)
            }
            Event::SequenceStart(_, anchor, tag) => {
                no_tag(self.text, tag.as_deref(), start)?;
                self.open(anchor);
                let mut items = Vec::new();
                let end = loop {
                    match self.next()? {
                        Some((Event::SequenceEnd, _, end)) => break end,
                        Some((event, start, end)) => items.push(self.node(event, start, end, depth + 1)?),
                        None => return Err(fault(start, "the list does not end", "well-formed YAML")),
                    }
                };
                let node = Node { start, end, kind: Kind::List(items) };
                self.remember(anchor, &node);
                Ok(node)
            }
            Event::MappingStart(_, anchor, tag) => {
                no_tag(self.text, tag.as_deref(), start)?;
                self.open(anchor);
                let mut entries = Vec::new();
                let end = loop {
                    match self.next()? {
                        Some((Event::MappingEnd, _, end)) => break end,
                        Some((event, at, end)) => {
                            let key = self.key(event, at, end, depth + 1)?;
                            let Some((event, start, end)) = self.next()? else {
                                return Err(fault(at, "the key has no value", "well-formed YAML"));
                            };
                            let value = self.node(event, start, end, depth + 1)?;
                            entries.push(Entry { key, at, value });
                        }
                        None => return Err(fault(start, "the map does not end", "well-formed YAML")),
                    }
                };
                let node = Node { start, end, kind: Kind::Map(entries) };
                self.remember(anchor, &node);
                Ok(node)
            }
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(Some(node)) => {
                    let node = node.clone();
                    let (nodes, bytes) = node.weight();
                    self.count(start, nodes)?;
                    self.alias_bytes += bytes;
                    if self.alias_bytes > MAX_ALIAS_BYTES {
                        return Err(fault(start, "aliases unfold to too much", "at most 4 MiB"));
                    }
                    Ok(node)
                }
                Some(None) | None => {
                    let name = self.text.get(start..end).unwrap_or_default();
                    Err(fault(start, format!("`{name}` stands inside what it names"), "an anchor before it"))
                }
            },
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => Err(fault(start, "a value is missing", "well-formed YAML")),
            _ => Err(fault(start, "something that is no value stands here", "well-formed YAML")),
        }
    }

    fn key(&mut self, event: Event<'t>, start: usize, end: usize, depth: usize) -> Result<String, Fault> {
        match self.node(event, start, end, depth)?.kind {
            Kind::Text(text) if text.starts_with(char::is_whitespace) => {
                let code = text.chars().next().map_or(0, u32::from);
                let what = format!("this key begins with U+{code:04X}, which is no plain space");
                Err(fault(start, what, "spaces before the key"))
            }
            Kind::Text(text) | Kind::Number(text) => Ok(text),
            Kind::Bool(value) => Ok(value.to_string()),
            Kind::Null => Err(fault(start, "a key is empty", "a text as key")),
            Kind::List(_) | Kind::Map(_) => Err(fault(
                start,
                "a key is not a text: `[` and `{` begin a list and a map, unless they stand in quotes",
                "a text as key, or quotes around the whole value",
            )),
        }
    }

    fn count(&mut self, at: usize, nodes: usize) -> Result<(), Fault> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(fault(at, "the file holds too many values", "at most 200000, aliases unfolded"));
        }
        Ok(())
    }

    fn open(&mut self, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
    }

    fn remember(&mut self, anchor: usize, node: &Node) {
        if anchor != 0 {
            self.anchors.insert(anchor, Some(node.clone()));
        }
    }
}

fn no_tag(source: &str, tag: Option<&Tag>, at: usize) -> Result<(), Fault> {
    match tag {
        None => Ok(()),
        Some(tag) => Err(yaml_error::tag(source, at, &tag.original()).into()),
    }
}

fn scalar(
    source: &str,
    text: String,
    style: ScalarStyle,
    tag: Option<&Tag>,
    at: usize,
) -> Result<Kind, Fault> {
    if tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str")) {
        return Ok(Kind::Text(text));
    }
    no_tag(source, tag, at)?;
    Ok(if matches!(style, ScalarStyle::Plain) { plain(text) } else { Kind::Text(text) })
}

/// YAML 1.2 core schema.
fn plain(text: String) -> Kind {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        _ if is_number(&text) => Kind::Number(text),
        _ => Kind::Text(text),
    }
}

fn is_number(text: &str) -> bool {
    if let Some(hex) = text.strip_prefix("0x") {
        return !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return !octal.is_empty() && octal.bytes().all(|b| (b'0'..=b'7').contains(&b));
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let power_ok = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    power_ok && digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
}
