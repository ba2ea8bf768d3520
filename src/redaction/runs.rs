//! Encodings of whole texts: base64, hex, hex in pairs, and characters that carry bytes and are not seen. What a run
//! decodes to is looked at where it holds text.

use super::{
    escape::{self, as_text, hex_digit, is_unseen, is_unseen_control},
    lanes::{self, Lanes, digit},
    survey::Survey,
};

/// A run in a text, and the text that it decodes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) text: String,
    /// Most of what it decodes to is no text.
    pub(super) binary: bool,
}

/// Shorter base64 holds nothing that a detector finds.
const MIN_BASE64: usize = 12;
/// The same of hex digits.
const MIN_HEX: usize = 16;
/// The same of pairs of them, and of characters that are not seen.
const MIN_PAIRS: usize = 8;

/// A piece of text in what is mostly none is looked at from this length on: no secret that is known by its form is shorter.
const MIN_STRETCH: usize = 12;
/// The same where it is most of what was decoded.
const MIN_WHOLE: usize = 6;

/// Finds the runs that hold text, where the survey saw that there may be some. `take` says whether to go on; `passed`
/// whether a run is to be left out.
pub(super) fn runs(
    text: &str,
    survey: &Survey,
    passed: &dyn Fn(usize, usize) -> bool,
    take: &mut dyn FnMut(Run) -> bool,
) -> bool {
    let mut find = Find { bytes: text.as_bytes(), buffer: Vec::new(), passed, take };
    // Each of the two may stand between the characters of the other, as any unseen character may.
    find.words(&survey.seeds)
        && (!survey.pairs || find.pairs())
        && (!survey.wide || (find.unseen(text, tag) && find.unseen(text, selector)))
}

/// The ASCII character that a tag repeats.
fn tag(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ 0xe0001..=0xe007f => u8::try_from(code - 0xe0000).ok(),
        _ => None,
    }
}

/// The byte that a variation selector numbers.
fn selector(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ 0xfe00..=0xfe0f => u8::try_from(code - 0xfe00).ok(),
        code @ 0xe0100..=0xe01ef => u8::try_from(code - 0xe0100 + 16).ok(),
        _ => None,
    }
}

struct Find<'f> {
    bytes: &'f [u8],
    buffer: Vec<u8>,
    passed: &'f dyn Fn(usize, usize) -> bool,
    take: &'f mut dyn FnMut(Run) -> bool,
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r' | b' ' | b'\t')
}

impl Find<'_> {
    /// Base64 and hex, over the ends of lines too.
    fn words(&mut self, seeds: &[usize]) -> bool {
        let mut at = 0;
        for seed in seeds {
            if *seed < at {
                continue;
            }
            at = *seed;
            // The runs of one word.
            while self.bytes.get(at).is_some_and(|b| digit(*b).is_some() || matches!(b, b'.' | b'~')) {
                let (end, digits) = self.word(at);
                if digits >= MIN_BASE64 && !(self.passed)(at, end) {
                    let lanes = lanes::read(self.bytes.get(at..end).unwrap_or_default(), digits);
                    if !self.base64(at, end, &lanes) || (lanes.hex >= MIN_HEX && !self.hex(at, end)) {
                        return false;
                    }
                }
                at = end.max(at + 1);
            }
        }
        true
    }

    /// Where a run ends, and how many digits it has. A line that ends in a digit goes on in the next one.
    fn word(&self, start: usize) -> (usize, usize) {
        let (mut end, mut digits) = (start, 0);
        while let Some(rest) = self.bytes.get(end..) {
            let more = rest.iter().take_while(|b| digit(**b).is_some()).count();
            digits += more;
            end += more;
            let rest = rest.get(more..).unwrap_or_default();
            let gap = match rest.first() {
                Some(b'\n' | b'\r') => rest.iter().take_while(|b| is_space(**b)).count(),
                Some(_) | None => break,
            };
            if rest.get(gap).is_none_or(|b| digit(*b).is_none()) {
                break;
            }
            end += gap;
        }
        (end, digits)
    }

    /// From each of four places: what stands before may be no part of it.
    fn base64(&mut self, start: usize, end: usize, lanes: &Lanes) -> bool {
        let run = self.bytes.get(start..end).unwrap_or_default();
        // What completes it is a part of it.
        let end = end
            + self.bytes.get(end..).map_or(0, |rest| rest.iter().take(2).take_while(|b| **b == b'=').count());
        for skip in (0..4).filter(|skip| lanes.may_hold(*skip)) {
            if lanes.is_content(run, skip) {
                // Of a long run that is mostly no text, only what is text is decoded.
                let text = lanes::stretches(run, skip);
                if !text.is_empty() && !(self.take)(Run { start, end, text, binary: true }) {
                    return false;
                }
                continue;
            }
            self.buffer.clear();
            lanes::decode(run, skip, &mut self.buffer);
            match self.hand_over(start, end) {
                HandedOver::Whole => break,
                HandedOver::Part => {}
                HandedOver::Stop => return false,
            }
        }
        true
    }

    fn hex(&mut self, start: usize, end: usize) -> bool {
        let mut at = start;
        while let Some(skipped) =
            self.bytes.get(at..end).and_then(|rest| rest.iter().position(u8::is_ascii_hexdigit))
        {
            let from = at + skipped;
            let rest = self.bytes.get(from..end).unwrap_or_default();
            let length = rest.iter().take_while(|b| b.is_ascii_hexdigit() || is_space(**b)).count();
            at = from + length;
            let digits: Vec<u8> =
                rest.get(..length).unwrap_or_default().iter().filter_map(|b| hex_digit(*b)).collect();
            if digits.len() < MIN_HEX {
                continue;
            }
            for skip in (0..2).filter(|skip| lanes::hex_may_hold(digits.get(*skip..).unwrap_or_default())) {
                self.buffer.clear();
                let (pairs, _) = digits.get(skip..).unwrap_or_default().as_chunks::<2>();
                self.buffer.extend(pairs.iter().map(|[high, low]| (high << 4) | low));
                match self.hand_over(from, at) {
                    HandedOver::Whole => break,
                    HandedOver::Part => {}
                    HandedOver::Stop => return false,
                }
            }
        }
        true
    }

    /// `41:4b`, `41 4b`, `0x41, 0x4b`.
    fn pairs(&mut self) -> bool {
        let (mut at, mut start, mut end) = (0, 0, 0);
        self.buffer.clear();
        loop {
            let found = self.bytes.get(at..).and_then(|rest| {
                let skipped = rest.iter().position(u8::is_ascii_alphanumeric)?;
                let length = rest.get(skipped..)?.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
                Some((at + skipped, length))
            });
            let pair = found.and_then(|(from, length)| self.pair(from, length).map(|byte| (from, byte)));
            let joint = self.bytes.get(end..found.map_or(end, |(from, _)| from)).unwrap_or_default();
            let joined = joint.len() <= 4
                && joint.iter().all(|b| is_space(*b) || matches!(b, b':' | b',' | b'-' | b';' | b'.'));
            if !self.buffer.is_empty() && (pair.is_none() || !joined) {
                let handed_over = if self.buffer.len() < MIN_PAIRS || (self.passed)(start, end) {
                    HandedOver::Part
                } else {
                    self.hand_over(start, end)
                };
                if matches!(handed_over, HandedOver::Stop) {
                    return false;
                }
                self.buffer.clear();
            }
            let Some((from, length)) = found else { return true };
            if let Some((from, byte)) = pair {
                if self.buffer.is_empty() {
                    start = from;
                }
                self.buffer.push(byte);
            }
            end = from + length;
            at = end;
        }
    }

    fn pair(&self, from: usize, length: usize) -> Option<u8> {
        let word = self.bytes.get(from..from + length)?;
        let digits = match word {
            [b'0', b'x' | b'X', digits @ ..] | [b'x' | b'X', digits @ ..] => digits,
            digits => digits,
        };
        match digits {
            [high, low] => Some((hex_digit(*high)? << 4) | hex_digit(*low)?),
            _ => None,
        }
    }

    /// Unseen characters that stand for bytes.
    fn unseen(&mut self, text: &str, byte_of: fn(char) -> Option<u8>) -> bool {
        // The first bytes of both in UTF-8.
        if !self.bytes.iter().any(|b| matches!(b, 0xf3 | 0xef)) {
            return true;
        }
        self.buffer.clear();
        let (mut start, mut end, mut passed) = (0, 0, 0);
        let finish = [(text.len(), ' ')];
        for (at, c) in text.char_indices().chain(finish) {
            if at < passed {
                continue;
            }
            if let Some(byte) = byte_of(c) {
                if self.buffer.is_empty() {
                    start = at;
                }
                self.buffer.push(byte);
                end = at + c.len_utf8();
            } else if !is_unseen(c) && !self.buffer.is_empty() {
                // What stands for something unseen is decoded in the next layer, where these characters are gone.
                if let Some(escape) = escape::here(text, at)
                    && escape.out().iter().all(|b| is_unseen_control(*b))
                {
                    passed = at + escape.length;
                    continue;
                }
                if self.buffer.len() >= MIN_PAIRS
                    && !(self.passed)(start, end)
                    && matches!(self.hand_over(start, end), HandedOver::Stop)
                {
                    return false;
                }
                self.buffer.clear();
            }
        }
        true
    }

    /// Hands over what the buffer holds of text: as it is, and without the controls, which may stand between letters as
    /// well as between words. So the letters of UTF-16 are read, too.
    fn hand_over(&mut self, start: usize, end: usize) -> HandedOver {
        let total = self.buffer.len();
        let first = reading(&self.buffer);
        self.buffer.retain(|b| !is_unseen_control(*b));
        let second = if self.buffer.len() < total { reading(&self.buffer) } else { None };
        let second = second.filter(|second| first.as_ref().is_none_or(|first| first.text != second.text));
        let handed = if first.as_ref().is_some_and(|first| first.whole) {
            HandedOver::Whole
        } else {
            HandedOver::Part
        };
        for Reading { text, binary, .. } in [first, second].into_iter().flatten() {
            if !(self.take)(Run { start, end, text, binary }) {
                return HandedOver::Stop;
            }
        }
        handed
    }
}

/// The text in some bytes.
struct Reading {
    text: String,
    /// Most of them are no text.
    binary: bool,
    /// All but a few of them are.
    whole: bool,
}

fn reading(bytes: &[u8]) -> Option<Reading> {
    let total = bytes.len();
    let longest = stretches(bytes).map(str::len).max().unwrap_or_default();
    let binary = longest * 4 < total * 3;
    let least = if binary { MIN_STRETCH } else { MIN_WHOLE };
    if longest < least {
        return None;
    }
    let text = if longest == total {
        as_text(bytes.to_vec())
    } else {
        let parts: Vec<&str> = stretches(bytes).filter(|part| part.len() >= least).collect();
        parts.join("\n")
    };
    Some(Reading { text, binary, whole: longest + 3 >= total })
}

enum HandedOver {
    /// All of it is text: another reading is none.
    Whole,
    Part,
    Stop,
}

/// The pieces without controls and without what is no UTF-8.
fn stretches(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let control = |c: char| u8::try_from(c).is_ok_and(is_unseen_control);
    bytes.utf8_chunks().flat_map(move |chunk| chunk.valid().split(control))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        // Of every place, whatever was seen.
        let seeds = (0..text.len()).filter(|at| digit(text.as_bytes()[*at]).is_some()).collect();
        let survey = Survey { seeds, pairs: true, wide: true, ..Survey::default() };
        runs(text, &survey, &|_, _| false, &mut |run| {
            found.push((text.get(run.start..run.end).unwrap().to_owned(), run.text));
            true
        });
        found
    }

    #[test]
    fn every_encoding_of_text_is_read() {
        let check = |text: &str, run: &str, expect: &str| {
            let found = all(text);
            assert!(found.contains(&(run.to_owned(), expect.to_owned())), "{text}: {found:?}");
        };
        check("x: Ym9iQGNvcnAuZXhhbXBsZQ==.", "Ym9iQGNvcnAuZXhhbXBsZQ==", "bob@corp.example");
        check("xYm9iQGNvcnAuZXhhbXBsZQ", "xYm9iQGNvcnAuZXhhbXBsZQ", "bob@corp.example");
        check("Ym9iQGNvcnAu\r\n  ZXhhbXBsZQ", "Ym9iQGNvcnAu\r\n  ZXhhbXBsZQ", "bob@corp.example");
        let mail = "626f6240636f72702e6578616d706c65";
        check(&format!("({mail})"), mail, "bob@corp.example");
        check(&format!("a{mail}"), &format!("a{mail}"), "bob@corp.example");
        let pairs = "62:6F:62:40:63:6f:72:70:2e:64:65";
        check(pairs, pairs, "bob@corp.de");
        let array = "0x62, 0x6f, 0x62, 0x40, 0x63, 0x6f, 0x72, 0x70, 0x2e, 0x64, 0x65";
        check(&format!("b = {{{array}}}"), array, "bob@corp.de");
        // UTF-16
        check("YgBvAGIAQABjAG8AcgBwAC4AZABlAA==", "YgBvAGIAQABjAG8AcgBwAC4AZABlAA==", "bob@corp.de");
        let tags: String =
            "bob@corp.de".chars().map(|c| char::from_u32(0xe0000 + u32::from(c)).unwrap()).collect();
        check(&format!("🏴{tags}."), &tags, "bob@corp.de");
        let selectors: String =
            "bob@corp.de".chars().map(|c| char::from_u32(0xe0100 + u32::from(c) - 16).unwrap()).collect();
        check(&format!("x{selectors}"), &selectors, "bob@corp.de");
        // Text among what is none.
        let found = all("gIGChYhBS0lBUTNFR1JJSjdaTDVYTjJXUP/+/YCBgoWI/4CBgoWI");
        assert_eq!(
            found,
            [(
                "gIGChYhBS0lBUTNFR1JJSjdaTDVYTjJXUP/+/YCBgoWI/4CBgoWI".to_owned(),
                "AKIAQ3EGRIJ7ZL5XN2WP".to_owned()
            )]
        );
        for text in [
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "550e8400-e29b-41d4-a716-446655440000",
            "/usr/local/lib/python3.11/site-packages/requests/adapters.py",
            "12:30:45 00:1b:44:11:3a:b7",
            "understanding\nconfiguration\nof everything",
            "🏳\u{fe0f} ❤\u{fe0f}",
        ] {
            assert_eq!(all(text), [], "{text}");
        }
    }
}
