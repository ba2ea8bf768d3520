//! What a parser of YAML complains about, in the words of whoever wrote the file: which line to change, and how.

use super::shown::short;
use serde_saphyr::granit_parser::ErrorKind;

/// What is wrong, where, and what would have been right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) at: usize,
    pub(super) message: String,
    pub(super) expected: String,
}

fn told(at: usize, message: impl Into<String>, expected: impl Into<String>) -> Told {
    Told { at, message: message.into(), expected: expected.into() }
}

/// Says what the parser's complaint at a byte of the text means.
pub(super) fn explain(text: &str, kind: &ErrorKind, at: usize) -> Told {
    without_keys(text, explained(text, kind, at))
}

/// The same where a line holds keys: of these nothing is shown.
fn without_keys(text: &str, told: Told) -> Told {
    let line = Line::around(text, told.at);
    let section = line.back(text).find_map(|line| line.key);
    if section != Some("keys") && !line.content.contains("keys:") {
        return told;
    }
    Told {
        message: "this list of keys cannot be read as YAML (not shown: it may hold the key itself)"
            .to_owned(),
        expected: "[\"sha256:…\"]".to_owned(),
        ..told
    }
}

fn explained(text: &str, kind: &ErrorKind, at: usize) -> Told {
    let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let here = Line::around(text, at);
    match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInPlainScalar => return tab(text, &here),
        ErrorKind::UnknownAnchor | ErrorKind::MissingAnchorOrAliasName => return alias(text, &here, at),
        ErrorKind::UnexpectedCharacter { character } => {
            let what = match character {
                '`' => "a backquote begins no text in YAML".to_owned(),
                other => format!("`{other}` begins no text in YAML"),
            };
            return told(at, what, quoted(here.value_from(at)));
        }
        ErrorKind::BomInsideDocument => {
            return told(
                at,
                "a byte order mark stands inside the file",
                "one at its very beginning, or none",
            );
        }
        ErrorKind::UnknownQuotedScalarEscape | ErrorKind::InvalidQuotedScalarHexEscape => {
            let what = "`\\` in double quotes begins an escape, and YAML does not know this one";
            return told(at, what, "single quotes around the text, or `\\\\` for a backslash");
        }
        ErrorKind::InvalidBlockEntryWhitespace => return no_space_after_dash(&here),
        _ => {}
    }
    if let Some(open) = open_quote(text, at) {
        return open;
    }
    // A bracket that is never closed is told of where it stands, or at the end.
    let until = match kind {
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::UnexpectedEof => text.len(),
        _ => at,
    };
    if let Some(open) = in_brackets(text, until, at) {
        return open;
    }
    if let ErrorKind::MisplacedFlowCollectionEnd = kind {
        let bracket: String = text.get(at..).and_then(|rest| rest.chars().next()).into_iter().collect();
        return told(
            at,
            format!("nothing opens this `{bracket}`"),
            format!("no `{bracket}`, or what it closes"),
        );
    }
    if let Some(ends) = text_after_quotes(&here) {
        return ends;
    }
    structure(text, kind, &here, at)
}

/// What is wrong with keys, values, items and their columns.
fn structure(text: &str, kind: &ErrorKind, here: &Line<'_>, at: usize) -> Told {
    let before = here.before(text);
    if let ErrorKind::BlockSequenceEntryNotAllowed = kind
        && let Some(key) = here.key
        && here.value.starts_with("- ")
    {
        let what = format!("the list of `{}` begins on the line of its key", short(key));
        return told(here.value_at, what, "the `-` on a line of its own below the key, or `[…]`");
    }
    if let ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidSimpleKey = kind
        && here.value.contains(": ")
    {
        let what = "`: ` inside a text without quotes begins a value in YAML";
        return told(here.value_at, what, quoted(here.value));
    }
    if let Some(before) = before.as_ref().filter(|before| before.value.starts_with(['|', '>']))
        && here.indent <= before.key_column
        && here.is_bare()
    {
        let key = before.key.map(short).unwrap_or_default();
        return told(
            here.at + here.indent,
            format!("this line belongs to the text of `{key}`, and is not indented under it"),
            format!("column {} or further", before.key_column + 3),
        );
    }
    // The parser often notices a line only where the next one begins.
    let odd = [Some(here), before.as_ref()].into_iter().flatten().find(|line| line.is_bare());
    if let Some(line) = odd {
        return bare(line);
    }
    if let Some(before) = &before {
        if here.is_item {
            let items = |line: &Line<'_>| line.is_item && line.indent != here.indent;
            if let Some(other) = before.back(text).find(items) {
                return told(
                    here.at + here.indent,
                    format!(
                        "this list item begins in column {}, the one in line {} in column {}",
                        here.indent + 1,
                        number(text, other.at),
                        other.indent + 1
                    ),
                    "all items of a list in one column",
                );
            }
        }
        if let (Some(key), Some(own)) = (before.key, here.key)
            && here.indent > before.key_column
            && !before.value.is_empty()
        {
            return told(
                here.at + here.indent,
                format!("`{}` is indented under `{}`, which has a value already", short(own), short(key)),
                format!("column {}, where `{}` begins", before.key_column + 1, short(key)),
            );
        }
        return told(
            here.at + here.indent,
            format!("this line begins in column {}, where no line above it does", here.indent + 1),
            format!(
                "column {}, as line {}, or deeper below a key without a value",
                before.key_column + 1,
                number(text, before.at)
            ),
        );
    }
    told(
        at,
        format!("this cannot be read as YAML: {kind}"),
        "`key: value` or `- item`, and quotes around a text with special characters",
    )
}

/// A line that is neither a key with its value nor an item of a list.
fn bare(line: &Line<'_>) -> Told {
    let at = line.at + line.indent;
    let words = line.content.trim_end();
    if words.starts_with('-') {
        return no_space_after_dash(line);
    }
    if let Some(dash) = words.chars().next().filter(|c| matches!(c, '–' | '—' | '−' | '•' | '·')) {
        return told(at, format!("`{dash}` begins no item of a list"), "`- ` before the item");
    }
    if let Some(space) = words.chars().next().filter(|c| c.is_whitespace()) {
        let code = u32::from(space);
        return told(at, format!("the line begins with U+{code:04X}, which is no plain space"), "spaces");
    }
    for (sign, what) in [(':', "lacks a space after the colon"), ('=', "has `=` where YAML has a colon")] {
        if let Some((key, value)) = words.split_once(sign).filter(|(key, _)| is_key(key.trim_end())) {
            let expected = format!("`{}: {}`", key.trim_end(), shown(value.trim()));
            return told(at, format!("`{}` {what}", shown(words)), expected);
        }
    }
    let shown = shown(words);
    told(
        at,
        format!("`{shown}` is neither a key with a value nor an item of a list"),
        format!("`- {shown}` for an item, `{shown}: …` for a key"),
    )
}

fn no_space_after_dash(line: &Line<'_>) -> Told {
    let words = shown(line.content.trim_end());
    let item = words.trim_start_matches('-').to_owned();
    told(line.at + line.indent, format!("`{words}` lacks a space after the `-`"), format!("`- {item}`"))
}

fn tab(text: &str, here: &Line<'_>) -> Told {
    // The complaint may come with the line before it.
    let ahead = text.get(here.at..).into_iter().flat_map(|rest| rest.split_inclusive('\n')).take(3);
    let mut start = here.at;
    let mut at = None;
    for line in ahead {
        let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
        let found = line.get(..blank).and_then(|blank| blank.find('\t'));
        at = found.or_else(|| if start == here.at { line.find('\t') } else { None }).map(|at| start + at);
        if at.is_some() {
            break;
        }
        start += line.len();
    }
    let at = at.unwrap_or(here.at);
    told(at, "a tab stands where YAML takes spaces only", "spaces, two for each level as a rule")
}

/// `*` and `&` at the beginning of a text.
fn alias(text: &str, here: &Line<'_>, at: usize) -> Told {
    let at = text
        .get(here.at..=at)
        .and_then(|before| before.rfind(['*', '&']))
        .map_or(at, |found| here.at + found);
    let rest = here.value_from(at);
    let sign = if rest.starts_with('&') {
        "`&` begins the name of an anchor"
    } else {
        "`*` begins the name of an alias"
    };
    told(at, format!("{sign} in YAML, unless it stands in quotes"), quoted(rest))
}

/// A tag, which is what `!` makes of what follows it.
pub(super) fn tag(text: &str, at: usize, tag: &str) -> Told {
    // The node begins behind the tag or with it.
    let here = Line::around(text, at);
    let start = here.content_from_start(text).find(tag).map_or(at, |found| here.at + found);
    let line = Line::around(text, start);
    if tag.starts_with("!!") {
        return without_keys(
            text,
            told(start, format!("`{}` is a tag", short(tag)), "a value without a tag"),
        );
    }
    let what = format!("`{}`: what begins with `!` is a tag in YAML, unless it stands in quotes", short(tag));
    without_keys(text, told(start, what, quoted(line.value_from(start))))
}

/// The text of a value, in quotes that it does not hold itself.
fn quoted(value: &str) -> String {
    let value = without_comment(value).trim_end_matches([' ', '\r']);
    let value = match value.strip_suffix([']', '}', ',']) {
        // The end of the list or map around it.
        Some(inside) if !value.contains(['[', '{', '(']) => inside.trim_end(),
        Some(_) | None => value,
    };
    if value.is_empty() || value.chars().count() > 70 || looks_secret(value) {
        return "quotes around the text".to_owned();
    }
    match (value.contains('"'), value.contains('\'')) {
        (false, _) => format!("quotes around the text: `\"{}\"`", short(value)),
        (true, false) => format!("quotes around the text: `'{}'`", short(value)),
        (true, true) => "quotes around the text, each `'` in it written twice".to_owned(),
    }
}

/// What a message may show of a line: never what may be a key.
fn shown(words: &str) -> String {
    if looks_secret(words) { "…".to_owned() } else { short(words) }
}

fn looks_secret(words: &str) -> bool {
    words.split(|c: char| c.is_whitespace() || "\"'=:,[]{}".contains(c)).any(|word| {
        word.chars().count() >= 20 && word.contains(|c: char| c.is_ascii_digit()) || word.starts_with("sk-")
    })
}

fn without_comment(value: &str) -> &str {
    match value.find(" #") {
        Some(at) if !value.starts_with(['"', '\'']) => value.get(..at).unwrap_or(value),
        Some(_) | None => value,
    }
}

fn is_key(text: &str) -> bool {
    let good = |c: char| c.is_alphanumeric() || "_-./*".contains(c);
    !text.is_empty() && text.chars().all(good)
}

/// The line of a byte, from 1.
fn number(text: &str, at: usize) -> usize {
    text.get(..at).map_or(1, |before| before.matches('\n').count() + 1)
}

/// One line that is not empty, taken apart.
#[derive(Clone, Copy)]
struct Line<'t> {
    /// Its first byte.
    at: usize,
    /// How many spaces it begins with.
    indent: usize,
    /// Without these.
    content: &'t str,
    /// It begins with `- `.
    is_item: bool,
    /// The key, where there is one.
    key: Option<&'t str>,
    /// Where the key begins, in bytes from the start of the line.
    key_column: usize,
    /// What follows the key, or the `- ` of an item.
    value: &'t str,
    value_at: usize,
}

impl<'t> Line<'t> {
    /// The line of a byte; of an empty one the last before it that is not.
    fn around(text: &'t str, at: usize) -> Self {
        let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let line = Self::at(text, start);
        match line.content.trim().is_empty() {
            true => line.before(text).unwrap_or(line),
            false => line,
        }
    }

    fn at(text: &'t str, start: usize) -> Self {
        let whole = text.get(start..).unwrap_or_default().split('\n').next().unwrap_or_default();
        let whole = whole.trim_end_matches('\r');
        let content = whole.trim_start_matches(' ');
        let indent = whole.len() - content.len();
        let inner = content.strip_prefix("- ").map(str::trim_start);
        let rest = inner.unwrap_or(content);
        let key_column = whole.len() - rest.len();
        let split = rest.split_once(':').filter(|(key, value)| {
            is_key(key.trim_matches(['"', '\''])) && (value.is_empty() || value.starts_with([' ', '\t']))
        });
        let (key, value) = match split {
            Some((key, value)) => (Some(key.trim_matches(['"', '\''])), value.trim_start()),
            None => (None, if inner.is_some() { rest } else { "" }),
        };
        let value_at = start + whole.len() - value.len();
        let value = without_comment(value);
        Self {
            at: start,
            indent,
            content,
            is_item: inner.is_some() || content == "-",
            key,
            key_column,
            value: if value.starts_with('#') { "" } else { value },
            value_at,
        }
    }

    /// The line before it that says something.
    fn before(&self, text: &'t str) -> Option<Self> {
        let mut end = self.at.checked_sub(1)?;
        loop {
            let start = text.get(..end)?.rfind('\n').map_or(0, |at| at + 1);
            let line = Self::at(text, start);
            if !line.content.trim().is_empty() && !line.content.starts_with('#') {
                return Some(line);
            }
            end = start.checked_sub(1)?;
        }
    }

    /// It and what stands before it, as far as a list can reach that is seen at a glance.
    fn back(self, text: &'t str) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self), move |line| line.before(text)).take(200)
    }

    /// Neither a key, nor an item, nor a part of a list or map in brackets.
    fn is_bare(&self) -> bool {
        let brackets = self.content.starts_with(['[', ']', '{', '}', '"', '\'', '|', '>', '#', '%']);
        self.key.is_none() && !self.is_item && !brackets && !self.content.starts_with("---")
    }

    /// All of it, spaces too.
    fn content_from_start(&self, text: &'t str) -> &'t str {
        text.get(self.at..self.at + self.indent + self.content.len()).unwrap_or_default()
    }

    /// From a byte of the text to its end.
    fn value_from(&self, at: usize) -> &'t str {
        let from = at.saturating_sub(self.at + self.indent);
        self.content.get(from..).unwrap_or_default()
    }
}

/// `"a" b`: what stands in quotes is not all of the value.
fn text_after_quotes(line: &Line<'_>) -> Option<Told> {
    let quote = line.value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let end = closing(line.value, quote)?;
    let rest = line.value.get(end + 1..)?;
    let goes_on = !rest.trim().is_empty() && !rest.trim_start().starts_with(['#', ',', ']', '}', ':']);
    goes_on.then(|| {
        let other = if quote == '"' { "single quotes around it all" } else { "double quotes around it all" };
        told(
            line.value_at + end + 1,
            format!("the text in quotes ends before `{}`", shown(without_comment(rest).trim())),
            format!("{other}, or `{}` for a quote inside", if quote == '"' { "\\\"" } else { "''" }),
        )
    })
}

/// Where the quote that a text begins with is closed, in bytes.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && quote == '"' {
            chars.next();
        } else if c == quote {
            if quote == '\'' && chars.peek().is_some_and(|(_, next)| *next == '\'') {
                chars.next();
                continue;
            }
            return Some(at);
        }
    }
    None
}

/// A quote before a byte that is not closed on its line, where what follows is no rest of a text.
fn open_quote(text: &str, until: usize) -> Option<Told> {
    let mut start = 0;
    let mut block: Option<usize> = None;
    while start <= until.min(text.len()) {
        let line = Line::at(text, start);
        let blank = line.content.trim().is_empty();
        // Lines of a text that is written out below its key.
        let inside = block.is_some_and(|indent| blank || line.indent > indent);
        if !inside && !line.content.starts_with('#') {
            block = line.value.starts_with(['|', '>']).then_some(line.indent);
            if let Some(at) = unclosed(&line)
                && is_new(text, &line)
            {
                let what = format!("the quote that opens in line {} is not closed", number(text, line.at));
                let quote = text.get(at..).and_then(|rest| rest.chars().next()).unwrap_or('"');
                return Some(told(at, what, format!("`{quote}` at the end of the text")));
            }
        }
        start = start + line.indent + line.content.len() + 1;
        // A line that ends with a carriage return has one byte more.
        if text.get(start - 1..).is_some_and(|rest| rest.starts_with('\r')) {
            start += 1;
        }
    }
    None
}

/// Where a line opens a quote and does not close it.
fn unclosed(line: &Line<'_>) -> Option<usize> {
    let mut rest = match line.key {
        Some(_) => line.value,
        None if line.is_item => line.value,
        None => line.content,
    };
    let base = line.at + line.indent + line.content.len();
    let mut flow = false;
    let mut begins = true;
    let end = rest.len();
    let from = if line.key.is_some() || line.is_item { line.value_at } else { base - end };
    while let Some(c) = rest.chars().next() {
        let at = from + (end - rest.len());
        match c {
            '"' | '\'' if begins => {
                let Some(close) = closing(rest, c) else { return Some(at) };
                rest = rest.get(close + 1..)?;
                begins = false;
                continue;
            }
            '[' | '{' if begins => flow = true,
            ',' | ':' if flow => begins = true,
            ' ' => {}
            _ => begins = false,
        }
        if matches!(c, '[' | '{') && flow {
            begins = true;
        }
        rest = rest.get(c.len_utf8()..)?;
    }
    None
}

/// Whether the line after this one begins something, or there is none.
fn is_new(text: &str, line: &Line<'_>) -> bool {
    let mut start = line.at;
    loop {
        let Some(end) = text.get(start..).and_then(|rest| rest.find('\n')) else { return true };
        start = start + end + 1;
        let next = Line::at(text, start);
        if !next.content.trim().is_empty() {
            return next.key.is_some() || next.is_item || next.content.starts_with('#');
        }
    }
}

/// What is wrong in brackets: they are never closed, or something is missing between two entries.
fn in_brackets(text: &str, until: usize, at: usize) -> Option<Told> {
    let (opens, bracket) = *open_brackets(text, until)?.last()?;
    let line = number(text, opens);
    let close = if bracket == '[' { ']' } else { '}' };
    if open_brackets(text, text.len())?.iter().any(|(at, _)| *at == opens) {
        let what = format!("the `{bracket}` that opens in line {line} is not closed");
        return Some(told(opens, what, format!("`{close}` at its end")));
    }
    let what = format!("what stands in the `{bracket}` of line {line} cannot be read from here on");
    Some(told(at, what, "a comma between two entries, `: ` between a key and its value"))
}

/// The brackets before a byte that are open there, the innermost last.
fn open_brackets(text: &str, until: usize) -> Option<Vec<(usize, char)>> {
    let mut open: Vec<(usize, char)> = Vec::new();
    let mut rest = text.get(..until)?;
    let mut begins = true;
    while let Some(c) = rest.chars().next() {
        let at = until - rest.len();
        match c {
            '"' | '\'' if begins => {
                let close = closing(rest, c).unwrap_or(rest.len() - 1);
                rest = rest.get(close + 1..)?;
                begins = false;
                continue;
            }
            '#' if begins || text.get(..at).is_some_and(|before| before.ends_with([' ', '\n'])) => {
                rest = rest.find('\n').and_then(|end| rest.get(end..)).unwrap_or_default();
                continue;
            }
            '[' | '{' if begins || !open.is_empty() => {
                open.push((at, c));
                begins = true;
            }
            ']' | '}' if !open.is_empty() => {
                open.pop();
                begins = false;
            }
            ',' if !open.is_empty() => begins = true,
            '\n' => begins = true,
            ' ' | '\t' | '\r' => {
                let before = text.get(..at).unwrap_or_default();
                begins |= before.ends_with([':', '-']);
            }
            _ => begins = false,
        }
        rest = rest.get(c.len_utf8()..)?;
    }
    Some(open)
}
