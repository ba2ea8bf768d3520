//! The one pass over the bytes of a text: splits it into words, stops at signs, finds what stands at them (addresses,
//! assignments, flags, masks), and notes where the other detectors have to look.

use super::{
    address::{Users, email, oracle},
    credentials,
    detector::Span,
    escape::lone_quoted,
    scan::Scanner,
    survey::{DASH, DIGIT, Dense, JOINT, LINE, MIN_DENSE, Numbers, SIGN, Survey, WORD, class},
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
    /// Four bytes at a time: most are those of short words without digits, and nothing is decided at them.
    fn run(&mut self) {
        const DECIDES: u8 = SIGN | LINE | DIGIT | DASH;
        let bytes = self.bytes;
        let (mut at, mut seen) = (0, 0_u8);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (fours, tail) = rest.as_chunks::<4>();
            // How many fours in a row are word bytes alone: a word of `MIN_DENSE` has two of them, wherever it begins.
            let mut whole = 0_usize;
            let stop = fours.iter().position(|four| {
                let [one, two, three, last] = four.map(class);
                let any = one | two | three | last;
                seen |= any;
                whole = if one & two & three & last & WORD != 0 { whole + 1 } else { 0 };
                (any & DECIDES != 0) | (whole == 2)
            });
            let from = at + stop.map_or(rest.len() - tail.len(), |four| four * 4);
            let window = bytes.get(from..).unwrap_or_default();
            let window = if stop.is_some() { window.get(..4).unwrap_or(window) } else { window };
            let hit = window.iter().position(|byte| {
                seen |= class(*byte);
                class(*byte) & DECIDES != 0
            });
            at = match hit.and_then(|skipped| window.get(skipped)).map(|byte| class(*byte)) {
                Some(here) if here & WORD == 0 => self.sign(from + hit.unwrap_or(0)),
                Some(_) => self.word(at, from + hit.unwrap_or(0)),
                None if stop.is_some() => self.word(at, from),
                None => break,
            };
        }
        self.close_numbers();
        self.survey.coded |= seen & super::survey::CODED != 0;
        self.survey.wide = self.survey.coded && !self.text.is_ascii();
        self.keywords();
    }

    /// The word around `at`, which is long or has a digit or a dash, and begins no earlier than `from`; where it ends.
    fn word(&mut self, from: usize, at: usize) -> usize {
        let bytes = self.bytes;
        let before = bytes.get(from..at).unwrap_or_default();
        let start = at - before.iter().rev().take_while(|byte| class(**byte) & WORD != 0).count();
        let mut classes = 0;
        let rest = bytes.get(start..).unwrap_or_default();
        let length = rest.iter().position(|byte| {
            let here = class(*byte);
            let in_word = here & WORD != 0;
            classes |= if in_word { here } else { 0 };
            !in_word
        });
        let end = start + length.unwrap_or(rest.len());
        if classes & DIGIT != 0 {
            self.number(start, end);
            if end - start <= 4 || classes & JOINT != 0 {
                self.pair(start, end);
            } else {
                self.pairs = 0;
            }
        }
        if end - start >= MIN_DENSE {
            self.survey.dense.push(Dense { start, end, digits: classes & DIGIT != 0 });
            self.survey.seeds.push(start);
            self.found.extend(credentials::behind_scheme(bytes, start));
        }
        if bytes.get(start) == Some(&b'-') && start >= self.assigned {
            self.dash(start, end);
        }
        if self.framed <= start
            && let Some(span) = credentials::framed_key(bytes, start, end)
        {
            self.framed = span.end;
            self.found.push(span);
        }
        end
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

    /// Words that say what follows them without a sign.
    fn keywords(&mut self) {
        for word in self.scanner.keywords(self.bytes) {
            self.found.extend(credentials::behind_word(self.text, word));
        }
    }

    /// What stands at a sign or at the end of a line; where to go on.
    fn sign(&mut self, at: usize) -> usize {
        let (text, bytes) = (self.text, self.bytes);
        match bytes.get(at).copied() {
            // A placeholder's.
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
                self.thin |=
                    sign == b':' && bytes.get(..at).is_some_and(|before| before.ends_with(b"oracle:thin"));
                if sign == b'=' {
                    self.survey.coded |= is_quoted(bytes, at);
                    self.survey.lone |= lone_quoted(bytes, at).is_some();
                }
                if at >= self.assigned
                    && let Some(span) = self.scanner.assignment(text, at, sign)
                {
                    // The value is still looked into: what it is counts besides where it stands.
                    self.assigned = span.end;
                    self.found.push(span);
                }
            }
            Some(b'(') if at >= self.assigned && matches!(bytes.get(at + 1), Some(b'"' | b'\'')) => {
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
