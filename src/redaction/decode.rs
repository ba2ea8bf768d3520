//! Reads a text as what it means. Its layers are the text with single characters decoded ([`escape`](super::escape)) and
//! the texts that runs in it decode to ([`runs`](super::runs)), again and again, each with a map back to the text as it
//! stands. What a detector finds in a layer is a finding in the text.
//!
//! Bounded in work and memory, whatever the text holds: [`MAX_LAYERS`] deep, and all layers together have at most
//! [`MAX_GROWTH`] times the bytes of the text. What lies beyond is sensitive (`too_deep`): where a layer still is encoded
//! at the end, those words and runs; where the bytes are used up, the whole text.

use super::{
    detector::{Kind, Span},
    escape::{self, Escape, as_text},
    runs::runs,
    scan::Scanner,
    survey::Survey,
};
use std::borrow::Cow;

/// So often a text is decoded.
pub(super) const MAX_LAYERS: u8 = 4;

/// All layers together have at most so many times the bytes of the text.
pub(super) const MAX_GROWTH: usize = 4;

/// What of a layer goes on into the next one: so much around what was decoded. A long text with little that is encoded is
/// not copied for it.
const MARGIN: usize = 8 * 1024;

/// The deepest layer in which lone characters are decoded.
const MOST_LONE: u8 = 2 * MAX_LAYERS;

/// How far a word reaches around what is still encoded at the end.
const MAX_WORD: usize = 512;

/// What was done for one text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Bytes of all layers.
    pub(super) decoded: usize,
    pub(super) layers: usize,
    /// More would have been needed.
    pub(super) exceeded: bool,
}

/// A piece of a layer: the bytes from `out` to the next piece stand for `length` bytes of the text from `from` on.
#[derive(Clone, Copy, Debug)]
struct Piece {
    out: u32,
    from: u32,
    /// [`SAME`]: byte for byte.
    length: u32,
}

const SAME: u32 = u32::MAX;

/// A text of more bytes is not decoded and counts as used up; no front reads one.
const MAX_TEXT: usize = 1 << 30;

fn narrow(at: usize) -> u32 {
    // No layer is longer than `MAX_TEXT` times `MAX_GROWTH`.
    u32::try_from(at).unwrap_or(SAME - 1)
}

fn wide(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// One reading of a text.
struct Layer<'t> {
    text: Cow<'t, str>,
    /// Where its bytes come from; `None`: from the text itself, or from all of `run`.
    pieces: Option<Vec<Piece>>,
    /// The run in the text that it was decoded from.
    run: Option<(usize, usize)>,
    /// Most of what the run holds is no text: what is not known by its form is chance.
    binary: bool,
    /// Assignments were read as encoded characters: what is found in it counts where one of these is part of it.
    lone: bool,
    depth: u8,
}

impl Layer<'_> {
    /// The place in the text as it stands.
    fn origin(&self, start: usize, end: usize) -> (usize, usize) {
        self.run.unwrap_or_else(|| match &self.pieces {
            None => (start, end),
            Some(pieces) => {
                (origin_start(pieces, start), origin_end(pieces, end).max(origin_start(pieces, start) + 1))
            }
        })
    }

    /// Whether it stands like this in the layer before, and was looked at there.
    fn stood_before(&self, start: usize, end: usize) -> bool {
        let Some(pieces) = &self.pieces else { return false };
        let at = piece_at(pieces, start);
        at == piece_at(pieces, end.saturating_sub(1))
            && at.and_then(|at| pieces.get(at)).is_some_and(|piece| piece.length == SAME)
    }

    fn child(&self, text: String, pieces: Option<Vec<Piece>>, run: Option<(usize, usize)>) -> Layer<'static> {
        Layer {
            text: Cow::Owned(text),
            pieces,
            run,
            binary: self.binary,
            lone: self.lone,
            depth: self.depth + 1,
        }
    }
}

fn piece_at(pieces: &[Piece], at: usize) -> Option<usize> {
    pieces.partition_point(|piece| wide(piece.out) <= at).checked_sub(1)
}

fn origin_start(pieces: &[Piece], at: usize) -> usize {
    match piece_at(pieces, at).and_then(|at| pieces.get(at)) {
        Some(piece) if piece.length == SAME => wide(piece.from) + (at - wide(piece.out)),
        Some(piece) => wide(piece.from),
        None => 0,
    }
}

fn origin_end(pieces: &[Piece], end: usize) -> usize {
    match piece_at(pieces, end.saturating_sub(1)).and_then(|at| pieces.get(at)) {
        Some(piece) if piece.length == SAME => wide(piece.from) + (end - wide(piece.out)),
        Some(piece) => wide(piece.from) + wide(piece.length),
        None => 0,
    }
}

/// A layer while it is written: its bytes, and where in the layer before they come from.
#[derive(Default)]
struct Writing {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
}

impl Writing {
    fn same(&mut self, parent: &str, from: usize, to: usize) {
        let (from, to) = (parent.ceil_char_boundary(from), parent.floor_char_boundary(to));
        if let Some(bytes) = parent.as_bytes().get(from..to).filter(|bytes| !bytes.is_empty()) {
            self.pieces.push(Piece { out: narrow(self.bytes.len()), from: narrow(from), length: SAME });
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn decoded(&mut self, out: &[u8], from: usize, length: usize) {
        if !out.is_empty() {
            let piece = Piece { out: narrow(self.bytes.len()), from: narrow(from), length: narrow(length) };
            self.pieces.push(piece);
            self.bytes.extend_from_slice(out);
        }
    }

    /// What stands between two things that were decoded, or at an end of the text.
    fn between(&mut self, parent: &str, from: usize, to: usize) {
        let first = self.pieces.is_empty() && from == 0;
        let last = to == parent.len();
        let head = if first { from } else { to.min(from + MARGIN) };
        let tail = if last { to } else { from.max(to.saturating_sub(MARGIN)) };
        if head >= tail {
            self.same(parent, from, to);
            return;
        }
        self.same(parent, from, head);
        if !first && !last {
            self.decoded(b"\n", head, tail - head);
        }
        self.same(parent, tail, to);
    }
}

/// Pieces that point into the layer before, made to point where that one does.
fn through(pieces: Vec<Piece>, length: usize, before: &[Piece]) -> Vec<Piece> {
    let mut composed = Vec::with_capacity(pieces.len());
    let mut rest = pieces.iter().peekable();
    while let Some(piece) = rest.next() {
        let from = wide(piece.from);
        if piece.length != SAME {
            let (start, end) = (origin_start(before, from), origin_end(before, from + wide(piece.length)));
            composed.push(Piece {
                out: piece.out,
                from: narrow(start),
                length: narrow(end.saturating_sub(start)),
            });
            continue;
        }
        let out_end = rest.peek().map_or(length, |next| wide(next.out));
        let to = from + (out_end - wide(piece.out));
        let first = piece_at(before, from).unwrap_or(0);
        for one in before.get(first..).unwrap_or_default().iter().take_while(|one| wide(one.out) < to) {
            let skipped = from.saturating_sub(wide(one.out));
            composed.push(Piece {
                out: narrow(wide(piece.out) + wide(one.out).saturating_sub(from)),
                from: if one.length == SAME { narrow(wide(one.from) + skipped) } else { one.from },
                length: one.length,
            });
        }
    }
    composed
}

/// The layers that are still to be looked at, and what they may cost.
struct Decoding<'t> {
    left: usize,
    /// The same of what lone characters are decoded in.
    left_for_lone: usize,
    work: Work,
    todo: Vec<Layer<'t>>,
}

impl<'t> Decoding<'t> {
    fn of(text: &str) -> Self {
        let left = text.len().saturating_mul(MAX_GROWTH);
        // Each layer may be read so, and what comes of that once more.
        let left_for_lone = text.len().saturating_add(left).saturating_mul(2);
        Self { left, left_for_lone, work: Work::default(), todo: Vec::new() }
    }

    /// A layer once more, with lone characters decoded.
    fn decode_lone(&mut self, layer: &Layer<'_>, survey: &Survey) {
        if !survey.lone || layer.depth >= MOST_LONE {
            return;
        }
        let Some(next) = decoded(layer, escape::next_lone) else { return };
        match self.left_for_lone.checked_sub(next.text.len()) {
            Some(left) => {
                self.left_for_lone = left;
                self.todo.push(Layer { lone: true, ..next });
            }
            None => self.work.exceeded = true,
        }
    }

    fn push(&mut self, layer: Layer<'t>) -> bool {
        let bytes = layer.text.len();
        if bytes == 0 {
            return true;
        }
        if bytes > self.left {
            self.work.exceeded = true;
            return false;
        }
        self.left -= bytes;
        self.work.decoded += bytes;
        self.work.layers += 1;
        self.todo.push(layer);
        true
    }

    /// What a layer decodes to.
    fn decode(&mut self, layer: &Layer<'_>, survey: &Survey) {
        self.decode_lone(layer, survey);
        if layer.lone || layer.depth >= MAX_LAYERS {
            return;
        }
        if survey.coded
            && let Some(next) = decoded(layer, escape::next)
            && !self.push(next)
        {
            return;
        }
        runs(&layer.text, survey, &|start, end| layer.stood_before(start, end), &mut |run| {
            let mut next = layer.child(run.text, None, Some(layer.origin(run.start, run.end)));
            next.binary |= run.binary;
            self.push(next)
        });
    }
}

/// The layer with every single character decoded.
fn decoded<'t>(layer: &Layer<'_>, next: fn(&str, usize) -> Option<(usize, Escape)>) -> Option<Layer<'t>> {
    let text = &*layer.text;
    let mut writing = Writing::default();
    let mut done = 0;
    while let Some((at, escape)) = next(text, done) {
        writing.between(text, done, at);
        writing.decoded(escape.out(), at, escape.length);
        done = at + escape.length;
    }
    if done == 0 {
        return None;
    }
    writing.between(text, done, text.len());
    let Writing { bytes, mut pieces } = writing;
    if let Some(before) = &layer.pieces {
        pieces = through(pieces, bytes.len(), before);
    }
    Some(layer.child(as_text(bytes), Some(pieces), layer.run))
}

/// What is still encoded in the last layer.
fn still_encoded(layer: &Layer<'_>, survey: &Survey, found: &mut Vec<Span>) {
    let text = &*layer.text;
    let mut add = |start: usize, end: usize| {
        let (start, end) = layer.origin(start, end);
        found.push(Span { start, end, kind: Kind::TOO_DEEP });
    };
    let bytes = text.as_bytes();
    let in_word = |b: &&u8| !(b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'<' | b'>' | b'`'));
    let mut done = 0;
    while let Some((at, escape)) = escape::next(text, done).filter(|_| survey.coded) {
        done = at + escape.length;
        if !escape.hides {
            continue;
        }
        let before = bytes.get(..at).unwrap_or_default().iter().rev().take(MAX_WORD).take_while(in_word);
        let after = bytes.get(done..).unwrap_or_default().iter().take(MAX_WORD).take_while(in_word);
        let (start, end) = (at - before.count(), done + after.count());
        add(start, end);
        done = end;
    }
    runs(text, survey, &|start, end| layer.stood_before(start, end), &mut |run| {
        if !run.binary {
            add(run.start, run.end);
        }
        true
    });
}

impl Scanner {
    /// Every finding in a text and in what it decodes to, by start; they may overlap. `allowed` says which values are not
    /// sensitive although they look so, as they read when they are decoded.
    pub(super) fn look(
        &self,
        text: &str,
        found: &mut Vec<Span>,
        allowed: &dyn Fn(Kind, &str) -> bool,
    ) -> Work {
        let is_allowed =
            |text: &str, span: &Span| allowed(span.kind, text.get(span.start..span.end).unwrap_or_default());
        let survey = self.scan(text, found);
        found.retain(|span| !is_allowed(text, span));
        if text.len() < MIN_ENCODED || self.finds_everything() {
            return Work::default();
        }
        let mut decoding = Decoding::of(text);
        decoding.work.exceeded = text.len() > MAX_TEXT;
        if !decoding.work.exceeded {
            let layer = Layer {
                text: Cow::Borrowed(text),
                pieces: None,
                run: None,
                binary: false,
                lone: false,
                depth: 0,
            };
            decoding.decode(&layer, &survey);
        }
        let mut inner = Vec::new();
        let known = found.len();
        while !decoding.work.exceeded
            && let Some(layer) = decoding.todo.pop()
        {
            let survey = self.scan(&layer.text, &mut inner);
            for span in &inner {
                let is_chance = layer.binary && !span.kind.is_formed();
                let is_said_anyway = layer.lone
                    && (span.kind == Kind::HIGH_ENTROPY || layer.stood_before(span.start, span.end));
                if is_chance || is_said_anyway || is_allowed(&layer.text, span) {
                    continue;
                }
                let (start, end) = layer.origin(span.start, span.end);
                found.push(Span { start, end, kind: span.kind });
            }
            decoding.decode(&layer, &survey);
            if layer.depth >= MAX_LAYERS && !layer.lone {
                still_encoded(&layer, &survey, found);
            }
        }
        if decoding.work.exceeded {
            found.push(Span { start: 0, end: text.len(), kind: Kind::TOO_DEEP });
        }
        if found.len() > known {
            for span in found.iter_mut() {
                span.start = text.floor_char_boundary(span.start);
                span.end = text.ceil_char_boundary(span.end);
            }
            found.retain(|span| span.kind != Kind::TOO_DEEP || self.on(Kind::TOO_DEEP));
            found.sort_unstable_by_key(|span| (span.start, span.end, span.kind));
            found.dedup();
        }
        decoding.work
    }
}

/// Where something stands in a text: from, to, and which of the things that are looked for.
pub(super) type Place = (usize, usize, usize);

impl Scanner {
    /// Where something stands in a text and in what it decodes to, by where it stands in the text; they may overlap. `find`
    /// tells where it stands in one reading. The error: there is more to decode than is looked at.
    pub(super) fn places(
        &self,
        text: &str,
        find: &mut dyn FnMut(&str, &mut Vec<Place>),
    ) -> Result<Vec<Place>, TooDeep> {
        let (mut found, mut inner) = (Vec::new(), Vec::new());
        find(text, &mut found);
        self.layers(text, &mut |layer| {
            find(&layer.text, &mut inner);
            for (start, end, which) in inner.drain(..) {
                let (start, end) = layer.origin(start, end);
                found.push((text.floor_char_boundary(start), text.ceil_char_boundary(end), which));
            }
            true
        })?;
        Ok(found)
    }

    /// What a text decodes to, layer by layer, within the bounds of all decoding, until `see` says no. The error: there is more
    /// to decode than is looked at.
    fn layers<'t>(&self, text: &'t str, see: &mut dyn FnMut(&Layer<'t>) -> bool) -> Result<(), TooDeep> {
        if text.len() < MIN_ENCODED {
            return Ok(());
        }
        if text.len() > MAX_TEXT {
            return Err(TooDeep);
        }
        let mut unused = Vec::new();
        let mut decoding = Decoding::of(text);
        let survey = self.survey(text, &mut unused);
        let layer = Layer {
            text: Cow::Borrowed(text),
            pieces: None,
            run: None,
            binary: false,
            lone: false,
            depth: 0,
        };
        decoding.decode(&layer, &survey);
        while !decoding.work.exceeded
            && let Some(layer) = decoding.todo.pop()
        {
            if !see(&layer) {
                return Ok(());
            }
            unused.clear();
            let survey = self.survey(&layer.text, &mut unused);
            decoding.decode(&layer, &survey);
        }
        match decoding.work.exceeded {
            true => Err(TooDeep),
            false => Ok(()),
        }
    }
}

/// Sees a layer of a text, and what says for a byte of it where in the text it comes from. Whether to go on.
pub(super) type SeeReading<'s> = dyn FnMut(&str, &dyn Fn(usize) -> usize) -> bool + 's;

/// Reads a text as what it decodes to, layer by layer, as far as all decoding goes: `see` is given each layer, but for the
/// text as it stands. Whether there is no more to decode than is looked at.
pub fn readings(text: &str, see: &mut SeeReading<'_>) -> bool {
    let scanner = &super::DataRules::built_in().inner.scanner;
    scanner.layers(text, &mut |layer| see(&layer.text, &|at| layer.origin(at, at + 1).0)).is_ok()
}

/// A text has more layers than are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooDeep;

/// Nothing that a detector finds has a shorter encoding.
const MIN_ENCODED: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::DataRules;
    use super::*;

    fn look(text: &str) -> (Work, Vec<Span>) {
        let rules = DataRules::built_in();
        let mut found = Vec::new();
        let work = rules.inner.scanner.look(text, &mut found, &|_, _| false);
        (work, found)
    }

    fn filled(piece: &str) -> String {
        piece.repeat((64 * 1024) / piece.len())
    }

    /// What holds no encoding is scanned once, as it always was.
    #[test]
    fn plain_text_has_no_layers() {
        for piece in [
            "The gateway reads what an agent says, and what a tool answers, before anyone else does. ",
            "{\"id\":48213,\"path\":\"/srv/docs/reports/2026/q3.md\",\"title\":\"Quarterly report\",\"public\":false},",
            "Привет, мир. 漢字かな交じり文。 Größe: 5 % von 100 & mehr\n",
            "4bf92f3577b34da6a3ce929d0e0e4736 39550a4f0e8d7c6b5a4938271605f4e3d2c1b0a9\n",
        ] {
            assert_eq!(look(&filled(piece)).0, Work::default(), "{piece}");
        }
    }

    /// However a text is made, its layers together stay within their bound, and what lies beyond it is sensitive.
    #[test]
    fn work_is_bounded_whatever_comes() {
        let nested = |encode: fn(&str) -> String| {
            (0..12).fold("ghp_a1B2c3D4e5F6a1B2c3D4e5F6a1B2c3D4e5F6".to_owned(), |text, _| {
                if text.len() < 200_000 { encode(&text) } else { text }
            })
        };
        let base64 = |text: &str| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(text)
        };
        let mut texts: Vec<String> = [
            "%25",
            "%2525252525",
            "\\\\",
            "&amp;",
            "&#38;",
            "㏂",
            "㏂%252525",
            "ﷺ",
            "\u{200b}",
            "a\u{200b}",
            "=3D=3D",
            "eWV5",
            "YWFh",
            "VldW",
            "Wldw",
            "QUFB",
            "41",
            "414141 ",
            "0x41,",
            "\u{e0041}",
            "\u{fe01}\u{e0131}",
            "%41",
            "\\u0041",
            "\\u005c",
            "ＡＢ",
            "=\n",
            "Wm1Wc",
            "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh\n",
        ]
        .into_iter()
        .map(filled)
        .collect();
        texts.extend([
            nested(base64),
            nested(|text| hex::encode(text)),
            nested(|text| serde_json::Value::String(text.to_owned()).to_string()),
            nested(|text| text.bytes().map(|b| format!("%{b:02x}")).collect()),
            // Every layer has to be copied for one character.
            format!("{}%2525252525{}", filled("㏂"), filled("㏂ ")),
            format!("{}{}", filled("㏂%25252541"), base64(&filled("YWFhYWFh"))),
        ]);
        for text in texts {
            let (work, found) = look(&text);
            let start: String = text.chars().take(40).collect();
            assert!(work.decoded <= MAX_GROWTH * text.len(), "{start}: {work:?}");
            assert!(work.layers <= work.decoded, "{start}: {work:?}");
            if work.exceeded {
                let whole = Span { start: 0, end: text.len(), kind: Kind::TOO_DEEP };
                assert!(found.contains(&whole), "{start}");
            }
        }
    }

    /// A long text with little that is encoded is not copied for each layer.
    #[test]
    fn layers_hold_what_stands_around_encodings() {
        let text = format!("{}%25252541{}", filled("word ").repeat(8), filled("word ").repeat(8));
        let (work, found) = look(&text);
        assert_eq!((work.layers, work.exceeded, found), (4, false, Vec::new()));
        assert!(work.decoded < 5 * 2 * MARGIN, "{work:?}");
    }

    /// What is found in a layer is found where it stands.
    #[test]
    fn findings_stand_where_they_were_encoded() {
        let filler = "lorem ipsum ".repeat(3_000);
        for (before, encoded) in [
            ("", "bob%40corp.example"),
            ("%20%20", "bob%2540corp.example"),
            ("\\n㎏\u{200b}", "b&#111;b\\u0040corp.example"),
            ("%41", "Ym9iQGNvcnAuZXhhbXBsZQ"),
            ("&amp;", "%59m9iQGNvcnAuZXhhbXBsZQ"),
            ("", "bob=40corp.example"),
            ("a=4b", "bob=3D40corp.example"),
            ("%41", "bob%3D40corp.example"),
        ] {
            for filler in ["", &filler] {
                let text = format!("{filler}{before} {encoded} {filler}");
                let (_, found) = look(&text);
                let at = text.find(encoded).unwrap();
                let email: Vec<&Span> = found.iter().filter(|span| span.kind == Kind::EMAIL).collect();
                let (start, end) = (at, at + encoded.len());
                assert!(
                    email.iter().any(|span| (span.start, span.end) == (start, end)),
                    "{encoded}: {email:?}"
                );
                assert!(
                    email.iter().all(|span| span.start >= start && span.end <= end),
                    "{encoded}: {email:?}"
                );
            }
        }
    }
}
