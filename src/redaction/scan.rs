//! Finds sensitive values in one text: secrets by their beginnings in one pass over all patterns,
//! then addresses, assignments (`password: x`), numbers and random-looking strings. Every step is
//! linear in the text, whatever it holds.

use super::{
    detector::{BUILT_IN, Charset, Extra, Kind, SHAPES, Shape, Span},
    field::FieldNames,
    mask::starts_with_mask,
    number,
};
use base64::Engine as _;
use regex_automata::{Input, MatchKind, meta, util::syntax};
use std::collections::BTreeSet;

/// No detector finds anything in a shorter text.
const MIN_TEXT: usize = 6;

/// A user's name or password in a URL is not longer.
const MAX_USERINFO: usize = 512;

/// A longer random string is content (a base64 file), not a credential.
pub(super) const MAX_RANDOM: usize = 512;

/// What a bracket may hold behind a sensitive name; beyond it all is masked.
pub(super) const MAX_BRACKET: usize = 4096;

/// A pattern of the one expression.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    Built(Shape),
    Own(Kind),
}

/// The compiled detectors.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    regex: Option<meta::Regex>,
    patterns: Vec<Pattern>,
    /// The shortest text the expression can find anything in.
    shortest: usize,
    enabled: Vec<bool>,
    names: BTreeSet<Box<str>>,
    pub(super) fields: FieldNames,
    /// Set where the patterns could not be compiled: everything is sensitive.
    everything: bool,
}

/// How an own pattern is compiled, and the whole expression: ASCII, and matches are widened to
/// whole characters afterwards.
pub(super) fn syntax() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false).nest_limit(32)
}

pub(super) fn config() -> meta::Config {
    meta::Config::new()
        .match_kind(MatchKind::LeftmostFirst)
        .utf8_empty(false)
        .nfa_size_limit(Some(4 << 20))
        .onepass(false)
        .hybrid_cache_capacity(4 << 20)
}

impl Scanner {
    /// `own`: name, pattern and its shortest match. `enabled` by kind.
    pub(super) fn compile(
        enabled: Vec<bool>,
        own: &[(Kind, &str, usize)],
        names: BTreeSet<Box<str>>,
        fields: FieldNames,
    ) -> Result<Self, String> {
        let on = |kind: Kind| enabled.get(usize::from(kind.0)).copied().unwrap_or(false);
        let mut expressions = Vec::new();
        let mut patterns = Vec::new();
        let mut shortest = 12;
        for shape in SHAPES.iter().filter(|shape| on(shape.kind)) {
            expressions.push(shape.start);
            patterns.push(Pattern::Built(*shape));
        }
        for (kind, expression, min) in own.iter().filter(|(kind, _, _)| on(*kind)) {
            expressions.push(expression);
            patterns.push(Pattern::Own(*kind));
            shortest = shortest.min(*min);
        }
        let regex = if expressions.is_empty() {
            None
        } else {
            let built = meta::Regex::builder().syntax(syntax()).configure(config()).build_many(&expressions);
            Some(built.map_err(|error| error.to_string())?)
        };
        Ok(Self { regex, patterns, shortest, enabled, names, fields, everything: false })
    }

    /// Finds everything.
    pub(super) fn of_everything(fields: FieldNames) -> Self {
        Self {
            regex: None,
            patterns: Vec::new(),
            shortest: 0,
            enabled: vec![true; BUILT_IN.len()],
            names: BUILT_IN.iter().map(|(name, _)| Box::from(*name)).collect(),
            fields,
            everything: true,
        }
    }

    /// Set where nothing is looked for, since everything is sensitive.
    pub(super) fn finds_everything(&self) -> bool {
        self.everything
    }

    pub(super) fn on(&self, kind: Kind) -> bool {
        self.enabled.get(usize::from(kind.0)).copied().unwrap_or(false)
    }

    /// The detector that says so, by a field's name. A mask in a name says nothing: it is a word without meaning.
    pub(super) fn field(&self, name: &str) -> Option<Kind> {
        let kind = match ["[redacted:", "[hash:", "[token:"].iter().any(|begin| name.contains(begin)) {
            false => self.fields.kind(name),
            true => self.fields.kind(&self.without_masks(name)),
        };
        kind.filter(|kind| self.on(*kind))
    }

    fn without_masks(&self, name: &str) -> String {
        let mut plain = String::with_capacity(name.len());
        let mut rest = name;
        while let Some(open) = rest.find('[') {
            let (before, tail) = rest.split_at_checked(open).unwrap_or((rest, ""));
            plain.push_str(before);
            let (instead, skip) = match self.mask_at(tail.as_bytes()) {
                Some(length) => (" x ", length),
                None => ("[", 1),
            };
            plain.push_str(instead);
            rest = tail.get(skip..).unwrap_or_default();
        }
        plain.push_str(rest);
        plain
    }

    /// The length of the mask or hash at the beginning.
    pub(super) fn mask_at(&self, bytes: &[u8]) -> Option<usize> {
        starts_with_mask(bytes, |name| self.names.contains(name))
    }

    /// Whether the whole text is a mask or hash.
    pub(super) fn is_mask(&self, text: &str) -> bool {
        text.starts_with('[') && self.mask_at(text.as_bytes()) == Some(text.len())
    }

    /// Every finding, by start; they may overlap.
    pub(super) fn scan(&self, text: &str, found: &mut Vec<Span>) {
        found.clear();
        if self.everything && !text.is_empty() && !self.is_mask(text) {
            found.push(Span { start: 0, end: text.len(), kind: Kind::SENSITIVE });
            return;
        }
        if text.len() < MIN_TEXT {
            return;
        }
        self.secrets(text, found);
        let marks = self.punctuation(text, found);
        if marks.digits >= 6 {
            number::scan(text, found);
        }
        if marks.longest_word >= 20 && self.on(Kind::HIGH_ENTROPY) {
            self.random(text, found);
        }
        if found.is_empty() {
            return;
        }
        for span in found.iter_mut() {
            span.start = text.floor_char_boundary(span.start);
            span.end = text.ceil_char_boundary(span.end);
        }
        found.retain(|span| {
            self.on(span.kind) && text.get(span.start..span.end).is_some_and(|value| !self.is_mask(value))
        });
        found.sort_unstable_by_key(|span| (span.start, span.end, span.kind));
    }

    fn secrets(&self, text: &str, found: &mut Vec<Span>) {
        let Some(regex) = self.regex.as_ref().filter(|_| text.len() >= self.shortest) else { return };
        let bytes = text.as_bytes();
        let mut at = 0;
        // No token begins before this place: a run of `eyJ` is measured once.
        let mut no_jwt_before = 0;
        while at < bytes.len()
            && let Some(hit) = regex.search(&Input::new(bytes).span(at..bytes.len()))
        {
            let pattern = self.patterns.get(hit.pattern().as_usize()).copied();
            let span = match pattern {
                Some(Pattern::Own(kind)) => Some(Span { start: hit.start(), end: hit.end(), kind }),
                Some(Pattern::Built(shape)) if shape.extra == Extra::Jwt => {
                    let (end, dots) =
                        if hit.start() < no_jwt_before { (0, 0) } else { jwt(bytes, hit.end()) };
                    no_jwt_before = no_jwt_before.max(end);
                    (dots >= 2).then_some(Span { start: hit.start(), end, kind: shape.kind })
                }
                Some(Pattern::Built(shape)) => measure(bytes, &shape, hit.start(), hit.end()),
                None => None,
            };
            at = match span {
                Some(span) => {
                    found.push(span);
                    span.end.max(hit.start() + 1)
                }
                None => hit.start() + 1,
            };
        }
    }
}

fn run(bytes: &[u8], from: usize, set: Charset, max: usize) -> usize {
    bytes.get(from..).map_or(0, |rest| rest.iter().take(max).take_while(|b| set.has(**b)).count())
}

/// The secret whose beginning stands at `start..end`.
fn measure(bytes: &[u8], shape: &Shape, start: usize, end: usize) -> Option<Span> {
    let kind = shape.kind;
    let before = start.checked_sub(1).and_then(|at| bytes.get(at));
    if shape.boundary && before.is_some_and(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let begin = start.checked_sub(shape.back)?;
    if !bytes.get(begin..start)?.iter().all(|b| shape.rest.has(*b)) {
        return None;
    }
    if shape.extra == Extra::Pem {
        return Some(Span { start, end: pem_end(bytes, end), kind });
    }
    // Several spaces may stand between `Bearer` and the token.
    let spaces = match shape.extra {
        Extra::AfterStartWithDigit | Extra::BasicCredentials => {
            bytes.get(end..).map_or(0, |rest| rest.iter().take(8).take_while(|b| **b == b' ').count())
        }
        Extra::None | Extra::AfterStart | Extra::Jwt | Extra::Pem => 0,
    };
    let from = end + spaces;
    let length = run(bytes, from, shape.rest, shape.max);
    if length < shape.min {
        return None;
    }
    let rest = bytes.get(from..from + length)?;
    let (start, fits) = match shape.extra {
        Extra::AfterStart => (from, true),
        Extra::AfterStartWithDigit => (from, rest.iter().any(u8::is_ascii_digit)),
        Extra::BasicCredentials => (from, is_basic(rest)),
        // `xxxx` stands in a secret's place.
        Extra::None | Extra::Jwt | Extra::Pem => {
            (begin, !rest.iter().all(|b| matches!(b, b'x' | b'X')) || rest.is_empty())
        }
    };
    fits.then_some(Span { start, end: from + length, kind })
}

/// To the end of the end line; where there is none, everything that follows may be the key.
fn pem_end(bytes: &[u8], from: usize) -> usize {
    const END: &[u8] = b"-----END";
    let Some(rest) = bytes.get(from..) else { return bytes.len() };
    let Some(at) = find(rest, END) else { return bytes.len() };
    let after = from + at + END.len();
    let tail = bytes.get(after..).unwrap_or_default();
    let tail = tail.get(..tail.len().min(64)).unwrap_or_default();
    after + find(tail, b"-----").map_or(tail.len(), |at| at + 5)
}

pub(super) fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle.first()?;
    let mut at = 0;
    loop {
        let next = text.get(at..)?.iter().position(|b| b == first)?;
        if text.get(at + next..)?.starts_with(needle) {
            return Some(at + next);
        }
        at += next + 1;
    }
}

/// Segments of base64url behind `eyJ`, which begins a JSON object: where they end, and how many dots
/// they have. Two make a signed token, four an encrypted one.
fn jwt(bytes: &[u8], from: usize) -> (usize, usize) {
    let mut at = from + run(bytes, from, Charset::Url, usize::MAX);
    if at - from < 8 {
        return (at, 0);
    }
    let mut dots = 0;
    while bytes.get(at) == Some(&b'.') && dots < 4 {
        let length = run(bytes, at + 1, Charset::Url, usize::MAX);
        if length == 0 && dots == 0 {
            break;
        }
        dots += 1;
        at += 1 + length;
    }
    (at, dots)
}

fn is_basic(rest: &[u8]) -> bool {
    let padded: Vec<u8> = rest.iter().copied().take(1024).take_while(|b| *b != b'=').collect();
    let whole = padded.get(..padded.len() / 4 * 4).unwrap_or_default();
    let decoded = base64::engine::general_purpose::STANDARD_NO_PAD
        .decode(&padded)
        .or_else(|_| base64::engine::general_purpose::STANDARD_NO_PAD.decode(whole));
    decoded.is_ok_and(|plain| plain.contains(&b':') && plain.iter().all(|b| *b >= 0x20))
}

/// What the pass over the bytes saw, so that later passes run only where they can find something.
struct Marks {
    digits: usize,
    longest_word: usize,
}

impl Scanner {
    /// One pass over the bytes: stops at `@`, `:`, `=`, `>` and `--`, counts digits and long words.
    fn punctuation(&self, text: &str, found: &mut Vec<Span>) -> Marks {
        let bytes = text.as_bytes();
        let mut marks = Marks { digits: 0, longest_word: 0 };
        let mut word = 0;
        let mut at = 0;
        // A value is measured once, whatever looks like a name in it.
        let mut assigned = 0;
        while let Some(byte) = bytes.get(at).copied() {
            let mut next = at + 1;
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'/' | b'_' => word += 1,
                b'0'..=b'9' => {
                    marks.digits += 1;
                    word += 1;
                }
                b'-' => {
                    word += 1;
                    if at >= assigned
                        && bytes.get(next) == Some(&b'-')
                        && let Some(span) = self.flag(text, at)
                    {
                        assigned = span.end;
                        found.push(span);
                    }
                }
                _ => {
                    marks.longest_word = marks.longest_word.max(word);
                    word = 0;
                    match byte {
                        b'@' => found.extend(email(bytes, at)),
                        b'[' => {
                            if let Some(length) = self.mask_at(bytes.get(at..).unwrap_or_default()) {
                                next = at + length;
                            }
                        }
                        b':' | b'=' | b'>' => {
                            if byte == b':' && bytes.get(at + 1..at + 3) == Some(b"//") {
                                found.extend(userinfo(bytes, at + 3));
                            } else if at >= assigned
                                && let Some(span) = self.assignment(text, at, byte)
                            {
                                // The value is still looked into: what it is counts besides where it stands.
                                assigned = span.end;
                                found.push(span);
                            }
                        }
                        _ => {}
                    }
                }
            }
            at = next;
        }
        marks.longest_word = marks.longest_word.max(word);
        marks
    }
}

/// Around an `@`: a mail address.
fn email(bytes: &[u8], at: usize) -> Option<Span> {
    let local =
        bytes.get(..at)?.iter().rev().take(64).take_while(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'')
        });
    let start = at - local.count();
    let start = start + bytes.get(start..at)?.iter().take_while(|b| matches!(b, b'.' | b'\'' | b'-')).count();
    let domain = bytes.get(at + 1..)?;
    let length =
        domain.iter().take(255).take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')).count();
    let domain = domain.get(..length)?;
    let trimmed = domain.len() - domain.iter().rev().take_while(|b| matches!(b, b'.' | b'-')).count();
    let domain = domain.get(..trimmed)?;
    let dot = domain.iter().rposition(|b| *b == b'.')?;
    let (host, top) = (domain.get(..dot)?, domain.get(dot + 1..)?);
    let fits = start < at
        && !host.is_empty()
        && !host.starts_with(b".")
        && top.len() >= 2
        && top.iter().all(u8::is_ascii_alphabetic)
        && !FILE_ENDINGS.iter().any(|ending| top.eq_ignore_ascii_case(ending.as_bytes()));
    // `git@host.example:path` is a place, not a person.
    let repository = bytes.get(start..at) == Some(b"git") && bytes.get(at + 1 + trimmed) == Some(&b':');
    (fits && !repository).then_some(Span { start, end: at + 1 + trimmed, kind: Kind::EMAIL })
}

/// `icon@2x.png` is a file.
const FILE_ENDINGS: &[&str] = &[
    "png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "js", "ts", "css", "json", "html", "md", "txt", "pdf",
    "map",
];

/// Behind `://`: the password of `user:password@host`, or a long name that is a token.
fn userinfo(bytes: &[u8], from: usize) -> Option<Span> {
    let rest = bytes.get(from..)?;
    let rest = rest.get(..rest.len().min(MAX_USERINFO))?;
    let text = rest.get(
        ..rest
            .iter()
            .position(|b| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'<' | b'>' | b'`'))
            .unwrap_or(rest.len()),
    )?;
    let authority = text.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(text.len());
    let in_authority = text.get(..authority)?.iter().rposition(|b| *b == b'@');
    let at = match in_authority {
        Some(at) => at,
        // A password that holds a slash: what follows the colon is no port.
        None => {
            let colon = text.get(..authority)?.iter().position(|b| *b == b':')?;
            let port = text.get(colon + 1..authority)?.iter().all(u8::is_ascii_digit);
            if port || text.starts_with(b"[") {
                return None;
            }
            text.iter().rposition(|b| *b == b'@')?
        }
    };
    let start = match text.get(..at)?.iter().position(|b| *b == b':') {
        Some(colon) => colon + 1,
        None if at >= 20 && text.get(..at)?.iter().any(u8::is_ascii_digit) => 0,
        None => return None,
    };
    (start < at).then_some(Span { start: from + start, end: from + at, kind: Kind::URL_PASSWORD })
}
