//! The one pass over the bytes of a text: splits it into words, stops at signs, finds what stands at them (addresses,
//! assignments, flags, masks), and notes where the other detectors have to look.

use super::{
    address::{Users, email, oracle},
    credentials,
    detector::Span,
    scan::Scanner,
    survey::{CODED, DIGIT, Dense, JOINT, LINE, MIN_DENSE, NO_PAIR, Numbers, SIGN, Survey, WORD, class},
};

/// So many bytes may stand between the groups of a number.
const GAP: usize = 8;
/// No number that names someone has fewer digits.
const MIN_DIGITS: usize = 6;
/// So many pairs of hex digits in a row may stand for a text.
const MIN_PAIRS: usize = 8;

struct Pass<'s, 't> {
    scanner: &'s Scanner,
    text: &'t str,
    bytes: &'t [u8],
    found: &'s mut Vec<Span>,
    survey: Survey,
    /// A value is measured once, whatever looks like a name in it.
    assigned: usize,
    /// A frame of a key is measured once.
    framed: usize,
    users: Users,
    /// A connection string of Oracle's thin driver began.
    thin: bool,
    numbers: Option<Numbers>,
    /// Pairs of hex digits in a row.
    pairs: usize,
}

impl Scanner {
    /// Reads the text once.
    pub(super) fn survey(&self, text: &str, found: &mut Vec<Span>) -> Survey {
        let mut pass = Pass {
            scanner: self,
            text,
            bytes: text.as_bytes(),
            found,
            survey: Survey::default(),
            assigned: 0,
            framed: 0,
            users: Users::default(),
            thin: false,
            numbers: None,
            pairs: 0,
        };
        pass.run();
        pass.survey
    }
}

impl Pass<'_, '_> {
    fn run(&mut self) {
        let bytes = self.bytes;
        let mut at = 0;
        let mut seen = 0_u8;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let mut classes = 0;
            let mut stop = 0;
            let length = rest.iter().position(|byte| {
                stop = class(*byte);
                let in_word = stop & WORD != 0;
                classes |= if in_word { stop } else { 0 };
                !in_word
            });
            let end = at + length.unwrap_or(rest.len());
            if end > at {
                self.word(at, end, classes);
            }
            if length.is_none() {
                break;
            }
            at = end + 1;
            seen |= stop;
            if stop & (SIGN | LINE) != 0 {
                at = self.sign(end);
            }
        }
        self.close_numbers();
        self.survey.coded |= seen & CODED != 0;
        self.survey.wide = seen & CODED != 0 && !self.text.is_ascii();
    }

    /// A run of word bytes.
    fn word(&mut self, start: usize, end: usize, classes: u8) {
        let length = end - start;
        if classes & DIGIT != 0 {
            self.number(start, end);
        }
        if classes & NO_PAIR != 0 {
            self.pairs = 0;
        } else {
            self.pair(start, end);
        }
        if length >= MIN_DENSE {
            self.survey.dense.push(Dense { start, end, classes });
            self.survey.seeds.push(start);
        }
        let Some(word) = self.bytes.get(start..end) else { return };
        if word.first() == Some(&b'-') && start >= self.assigned {
            self.dash(start, end);
        }
        if matches!(length, 5 | 6 | 8) || (length >= 10 && word.last() == Some(&b'N')) {
            self.keyword(start, end);
        }
    }

    /// `--password x`, `-u user:password`.
    fn dash(&mut self, start: usize, end: usize) {
        let found = match self.bytes.get(start + 1) == Some(&b'-') {
            true => self.scanner.flag(self.text, start),
            false => credentials::short_flag(self.text, start, end),
        };
        if let Some(span) = found {
            self.assigned = span.end;
            self.found.push(span);
        }
    }

    /// Words that say what follows them.
    fn keyword(&mut self, start: usize, end: usize) {
        let bytes = self.bytes;
        if self.framed <= start && let Some(span) = credentials::framed_key(bytes, start, end) {
            self.framed = span.end;
            self.found.push(span);
            return;
        }
        if !matches!(bytes.get(end), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            return;
        }
        if let Some(span) = credentials::after_scheme(bytes, start, end) {
            self.found.push(span);
        } else if start >= self.assigned && let Some(span) = credentials::netrc(self.text, start, end) {
            self.assigned = span.end;
            self.found.push(span);
        }
    }

    /// What stands at a sign or at the end of a line; where to go on.
    fn sign(&mut self, at: usize) -> usize {
        let (text, bytes) = (self.text, self.bytes);
        match bytes.get(at).copied() {
            Some(b'@') if self.users.precedes_host(at) => {}
            Some(b'@') => {
                let oracle = if self.thin { oracle(bytes, at) } else { None };
                self.found.extend(oracle.or_else(|| email(text, at)));
            }
            Some(b'[') => {
                if let Some(length) = self.scanner.mask_at(bytes.get(at..).unwrap_or_default()) {
                    return at + length;
                }
            }
            Some(b':') if bytes.get(at + 1..at + 3) == Some(b"//") => {
                self.found.extend(self.users.password(bytes, at + 3));
            }
            Some(sign @ (b':' | b'=' | b'>')) => {
                self.thin |= sign == b':' && bytes.get(..at).is_some_and(|before| before.ends_with(b"oracle:thin"));
                if sign == b'=' {
                    self.survey.coded |= is_quoted(bytes, at);
                }
                if at >= self.assigned && let Some(span) = self.scanner.assignment(text, at, sign) {
                    // The value is still looked into: what it is counts besides where it stands.
                    self.assigned = span.end;
                    self.found.push(span);
                }
            }
            Some(b',') if at >= self.assigned => {
                if let Some(span) = self.scanner.argument(text, at) {
                    self.assigned = span.end;
                    self.found.push(span);
                }
            }
            Some(b'\n' | b'\r') => self.line_end(at),
            Some(_) | None => {}
        }
        at + 1
    }

    /// A line whose last word may go on in the next one.
    fn line_end(&mut self, at: usize) {
        let in_run = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_');
        let (before, after) = self.bytes.split_at_checked(at).unwrap_or_default();
        if !before.last().is_some_and(in_run) {
            return;
        }
        let next = after.iter().find(|b| !matches!(b, b'\n' | b'\r' | b' ' | b'\t'));
        if next.is_some_and(in_run) {
            let length = before.iter().rev().take_while(|b| in_run(b)).count();
            self.survey.seeds.push(at - length);
        }
    }

    fn number(&mut self, start: usize, end: usize) {
        let word = self.bytes.get(start..end).unwrap_or_default();
        let digits = word.iter().filter(|b| b.is_ascii_digit()).count();
        match &mut self.numbers {
            Some(numbers) if start <= numbers.end + GAP => {
                numbers.end = end;
                numbers.digits += digits;
            }
            _ => {
                self.close_numbers();
                self.numbers = Some(Numbers { start, end, digits });
            }
        }
    }

    fn close_numbers(&mut self) {
        self.survey.numbers.extend(self.numbers.take().filter(|numbers| numbers.digits >= MIN_DIGITS));
    }

    /// A word of hex digits: `41`, `0x41`, `41-4b`.
    fn pair(&mut self, start: usize, end: usize) {
        let word = self.bytes.get(start..end).unwrap_or_default();
        for piece in word.split(|b| class(*b) & JOINT != 0).filter(|piece| !piece.is_empty()) {
            let is_pair = match piece {
                [b'0', b'x' | b'X', _, _] | [b'x' | b'X', _, _] => true,
                [first, second] => first.is_ascii_hexdigit() && second.is_ascii_hexdigit(),
                _ => false,
            };
            self.pairs = if is_pair { self.pairs + 1 } else { 0 };
            self.survey.pairs |= self.pairs >= MIN_PAIRS;
        }
    }
}

/// `=41=4b`, and a line that goes on: quoted-printable.
fn is_quoted(bytes: &[u8], at: usize) -> bool {
    match bytes.get(at + 1..) {
        Some([b'\n' | b'\r', ..]) => true,
        Some([high, low, b'=', ..]) => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        _ => false,
    }
}
