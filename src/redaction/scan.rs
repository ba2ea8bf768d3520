//! Finds sensitive values in one text: one pass over its bytes finds what stands at signs (addresses, assignments), and
//! says where to look for secrets by their beginnings, for numbers, and for strings that look random. Every step is linear
//! in the text, whatever it holds.

use super::{
    credentials::{WORDS, putty_end},
    detector::{BUILT_IN, Kind, Span},
    field::FieldNames,
    mask::starts_with_mask,
    number,
    random::{is_drawn, is_filler},
    shapes::{Charset, Extra, SHAPES, Shape},
    starts::Starts,
    survey::{Dense, Survey},
};
use base64::Engine as _;
use regex_automata::{
    Input, MatchKind, meta,
    util::{prefilter::Prefilter, syntax},
};
use std::collections::BTreeSet;

/// No detector finds anything in a shorter text.
const MIN_TEXT: usize = 6;

/// What a bracket may hold behind a sensitive name; beyond it all is masked.
pub(super) const MAX_BRACKET: usize = 4096;

/// So many bytes of a beginning may stand before the run of word bytes: `?sig=`.
const BEFORE: usize = 5;

/// The compiled detectors.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    starts: Starts,
    /// Finds [`WORDS`].
    words: Option<Prefilter>,
    /// The bundle's own patterns, the detector of each, and the shortest text they can find anything in.
    own: Option<meta::Regex>,
    own_kinds: Vec<Kind>,
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
        let starts = Starts::compile(SHAPES.iter().copied().filter(|shape| on(shape.kind)))?;
        let own: Vec<_> = own.iter().filter(|(kind, _, _)| on(*kind)).collect();
        let expressions: Vec<&str> = own.iter().map(|(_, expression, _)| *expression).collect();
        let regex = if expressions.is_empty() {
            None
        } else {
            let built = meta::Regex::builder().syntax(syntax()).configure(config()).build_many(&expressions);
            Some(built.map_err(|error| error.to_string())?)
        };
        let shortest = own.iter().map(|(_, _, min)| *min).min().unwrap_or(0);
        let own_kinds = own.iter().map(|(kind, _, _)| *kind).collect();
        let words = Prefilter::new(MatchKind::LeftmostFirst, WORDS);
        Ok(Self { starts, words, own: regex, own_kinds, shortest, enabled, names, fields, everything: false })
    }

    /// Finds everything.
    pub(super) fn of_everything(fields: FieldNames) -> Self {
        Self {
            starts: Starts::none(),
            words: None,
            own: None,
            own_kinds: Vec::new(),
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
        let kind = match name.as_bytes().contains(&b'[') {
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

    /// Every finding, by start; they may overlap. What was seen of the text comes back.
    pub(super) fn scan(&self, text: &str, found: &mut Vec<Span>) -> Survey {
        found.clear();
        if self.everything && !text.is_empty() && !self.is_mask(text) {
            found.push(Span { start: 0, end: text.len(), kind: Kind::SENSITIVE });
            return Survey::default();
        }
        if text.len() < MIN_TEXT {
            return Survey::default();
        }
        let survey = self.survey(text, found);
        self.own_patterns(text, found);
        self.secrets(text.as_bytes(), &survey.dense, found);
        for numbers in &survey.numbers {
            number::scan(text, numbers.start, numbers.end, found);
        }
        if self.on(Kind::HIGH_ENTROPY) {
            super::random::scan(text, &survey.dense, found);
        }
        if !found.is_empty() {
            for span in found.iter_mut() {
                span.start = text.floor_char_boundary(span.start);
                span.end = text.ceil_char_boundary(span.end);
            }
            found.retain(|span| {
                self.on(span.kind) && text.get(span.start..span.end).is_some_and(|value| !self.is_mask(value))
            });
            found.sort_unstable_by_key(|span| (span.start, span.end, span.kind));
        }
        survey
    }

    /// Where one of [`WORDS`] stands.
    pub(super) fn keywords<'t>(&self, bytes: &'t [u8]) -> impl Iterator<Item = usize> + use<'_, 't> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let span = regex_automata::Span { start: at, end: bytes.len() };
            let hit = self.words.as_ref()?.find(bytes, span)?;
            at = hit.end;
            Some(hit.start)
        })
    }

    fn own_patterns(&self, text: &str, found: &mut Vec<Span>) {
        let Some(regex) = self.own.as_ref().filter(|_| text.len() >= self.shortest) else { return };
        for hit in regex.find_iter(Input::new(text.as_bytes())) {
            if let Some(kind) = self.own_kinds.get(hit.pattern().as_usize()) {
                found.push(Span { start: hit.start(), end: hit.end(), kind: *kind });
            }
        }
    }

    /// Secrets by their beginnings, in the runs that are long enough.
    fn secrets(&self, bytes: &[u8], dense: &[Dense], found: &mut Vec<Span>) {
        let mut at = 0;
        let mut seen = Seen::default();
        for run in dense {
            at = at.max(run.start.saturating_sub(BEFORE));
            while at < run.end
                && let Some(start) = self.starts.next(bytes, at, run.end)
            {
                let hit = self
                    .starts
                    .here(bytes, start)
                    .find_map(|(shape, end)| measure(bytes, shape, start, end, &mut seen));
                at = match hit {
                    Some(span) => {
                        found.push(span);
                        span.end.max(start + 1)
                    }
                    None => start + 1,
                };
            }
            if let Some(span) = discord(bytes, run) {
                found.push(span);
            }
        }
    }
}

/// What was measured already: what begins like a secret again and again is measured once.
#[derive(Default)]
struct Seen {
    no_jwt_before: usize,
    no_putty_before: usize,
}

fn run(bytes: &[u8], from: usize, set: Charset, max: usize) -> usize {
    bytes.get(from..).map_or(0, |rest| rest.iter().take(max).take_while(|b| set.has(**b)).count())
}

/// The secret whose beginning stands at `start..end`.
fn measure(bytes: &[u8], shape: &Shape, start: usize, end: usize, seen: &mut Seen) -> Option<Span> {
    let kind = shape.kind;
    let before = start.checked_sub(1).and_then(|at| bytes.get(at));
    if shape.boundary && before.is_some_and(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let begin = start.checked_sub(shape.back)?;
    if !bytes.get(begin..start)?.iter().all(|b| shape.rest.has(*b)) {
        return None;
    }
    match shape.extra {
        Extra::Jwt => {
            let (end, dots) = if start < seen.no_jwt_before { (0, 0) } else { jwt(bytes, end) };
            seen.no_jwt_before = seen.no_jwt_before.max(end);
            return (dots >= 2).then_some(Span { start, end, kind });
        }
        Extra::Putty => {
            if start < seen.no_putty_before {
                return None;
            }
            let end = putty_end(bytes, end);
            seen.no_putty_before = end.unwrap_or(bytes.len());
            return end.map(|end| Span { start, end, kind });
        }
        Extra::None | Extra::AfterStart | Extra::Mixed => {}
    }
    let length = run(bytes, end, shape.rest, shape.max);
    if length < shape.min {
        return None;
    }
    let rest = bytes.get(end..end + length)?;
    let (begin, fits) = match shape.extra {
        Extra::AfterStart => (end, !is_filler(rest)),
        Extra::Mixed => {
            let more = bytes.get(end + length).is_some_and(|b| shape.rest.has(*b));
            (begin, !more && is_drawn(rest))
        }
        // `xxxx` and `your-token-here` stand in a secret's place.
        Extra::None | Extra::Jwt | Extra::Putty => (begin, !is_filler(rest)),
    };
    fits.then_some(Span { start: begin, end: end + length, kind })
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

/// A bot's token of Discord: the base64 of its number, a time, and a signature.
fn discord(bytes: &[u8], run: &Dense) -> Option<Span> {
    let text = bytes.get(run.start..run.end)?;
    let mut from = 0;
    while let Some(dot) = text.get(from..)?.iter().position(|b| *b == b'.') {
        let dot = from + dot;
        from = dot + 1;
        let segment = |from: usize| {
            text.get(from..)
                .map_or(0, |rest| rest.iter().take(64).take_while(|b| Charset::Url.has(**b)).count())
        };
        let (second, id) = (segment(dot + 1), text.get(..dot)?);
        if second != 6 || text.get(dot + 7) != Some(&b'.') {
            continue;
        }
        let third = segment(dot + 8);
        let length = id.iter().rev().take(40).take_while(|b| Charset::Url.has(**b)).count();
        let id = id.get(dot - length..)?;
        let number = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(id).unwrap_or_default();
        if (27..=45).contains(&third) && number.len() >= 17 && number.iter().all(u8::is_ascii_digit) {
            let start = run.start + dot - length;
            return Some(Span { start, end: run.start + dot + 8 + third, kind: Kind::DISCORD_TOKEN });
        }
    }
    None
}
