//! Base64 in its four alignments at once: which of them can hold a text at all. A byte of ASCII has a first bit of zero,
//! and that shows in single digits, so that most words are passed over without being decoded.

/// So many digits in a row that fit ASCII are six bytes, the least that holds anything.
const LEAST: u32 = 7;
/// The same of a piece of text in a long run.
const LEAST_OF_LONG: u32 = 15;
/// A longer run is a file, or a text that is one.
const LONG: usize = 2048;

/// The value of a base64 digit, of both alphabets.
pub(super) fn digit(byte: u8) -> Option<u8> {
    VALUES.get(usize::from(byte)).copied().filter(|value| *value < 64)
}

const fn value_of(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => 64,
    }
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const VALUES: [u8; 256] = {
    let mut values = [0; 256];
    let mut at = 0;
    while at < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        {
            values[at] = value_of(at as u8);
        }
        at += 1;
    }
    values
};

/// Whether a digit in its place of four fits a byte below 128.
const fn fits(value: u8, place: usize) -> bool {
    match place {
        0 => value < 32,
        1 => value & 8 == 0,
        2 => value & 2 == 0,
        _ => true,
    }
}

/// By byte and its place in the run: a byte of ones for each alignment that it fits.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
static MASKS: [[u32; 4]; 256] = {
    let mut masks = [[0_u32; 4]; 256];
    let mut byte = 0;
    while byte < 256 {
        let value = VALUES[byte];
        let mut at = 0;
        while at < 4 {
            let mut skip = 0;
            while skip < 4 {
                if value < 64 && fits(value, (at + 4 - skip) % 4) {
                    masks[byte][at] |= 0xff << (8 * skip);
                }
                skip += 1;
            }
            at += 1;
        }
        byte += 1;
    }
    masks
};

/// What a run may hold.
#[derive(Debug)]
pub(super) struct Lanes {
    /// By alignment: whether enough digits in a row fit.
    hits: [bool; 4],
    /// By alignment: how many fit. Only of a long run.
    fitting: [usize; 4],
    digits: usize,
    /// Letters of both cases stand in it as in base64: what it holds may be beyond ASCII.
    mixed: bool,
    /// The longest run of hex digits.
    pub(super) hex: usize,
}

impl Lanes {
    pub(super) fn may_hold(&self, skip: usize) -> bool {
        self.mixed || self.hits.get(skip).copied().unwrap_or(false)
    }

    /// Whether it is a long run that in this alignment is no text.
    pub(super) fn is_content(&self, run: &[u8], skip: usize) -> bool {
        let fitting = self.fitting.get(skip).copied().unwrap_or(0);
        self.digits > LONG && fitting * 8 < self.digits * 7 && !reads_as_text(run, skip)
    }
}

/// Whether what a run begins with and what stands in its middle reads as text beyond ASCII.
fn reads_as_text(run: &[u8], skip: usize) -> bool {
    const SAMPLE: usize = 512;
    let middle = run.len() / 8 * 4;
    [0, middle].into_iter().any(|from| {
        let sample = run.get(from..).unwrap_or_default();
        let mut bytes = Vec::with_capacity(SAMPLE);
        decode(sample.get(..SAMPLE).unwrap_or(sample), skip, &mut bytes);
        let text: usize =
            bytes.utf8_chunks().map(|chunk| chunk.valid()).filter(|part| part.len() >= 6).map(str::len).sum();
        text * 4 >= bytes.len() * 3
    })
}

/// Reads a run once. Blanks in it count for nothing.
pub(super) fn read(run: &[u8], digits: usize) -> Lanes {
    let long = digits > LONG;
    // A byte counts the digits in a row of one alignment: it is full before it overflows.
    let full = if long { LEAST_OF_LONG } else { LEAST };
    let over = (0x80 - full) * 0x0101_0101;
    let (mut rows, mut hit, mut at, mut hex, mut longest) = (0_u32, 0_u32, 0_usize, 0_usize, 0_usize);
    let mut fitting = [0_usize; 4];
    let (mut upper, mut lower, mut numerals) = (0_usize, 0_usize, 0_usize);
    for byte in run {
        if digit(*byte).is_none() {
            continue;
        }
        let mask = MASKS.get(usize::from(*byte)).and_then(|of| of.get(at & 3)).copied().unwrap_or(0);
        rows = (rows + 0x0101_0101) & mask;
        let reached = (rows + over) & 0x8080_8080;
        hit |= reached;
        // Start again, so that nothing overflows.
        rows &= !((reached >> 7) * 0xff);
        if long {
            for (skip, count) in fitting.iter_mut().enumerate() {
                *count += usize::from(mask >> (8 * skip) & 1 != 0);
            }
        }
        upper += usize::from(byte.is_ascii_uppercase());
        lower += usize::from(byte.is_ascii_lowercase());
        numerals += usize::from(byte.is_ascii_digit());
        hex = if byte.is_ascii_hexdigit() { hex + 1 } else { 0 };
        longest = longest.max(hex);
        at += 1;
    }
    let hits = [0_u32, 1, 2, 3].map(|skip| hit >> (8 * skip) & 0x80 != 0);
    // Letters of East Asia and their like make three digits of four.
    let mixed = digits >= 16 && upper * 16 >= digits && (lower * 16 >= digits || numerals * 4 >= digits);
    Lanes { hits, fitting, digits, mixed, hex: longest }
}

/// The bytes of a run from an alignment on.
pub(super) fn decode(run: &[u8], skip: usize, out: &mut Vec<u8>) {
    let (mut bits, mut held) = (0_u32, 0_u32);
    for value in run.iter().filter_map(|b| digit(*b)).skip(skip) {
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held).to_le_bytes().first().copied().unwrap_or_default());
        }
    }
}

/// What is ASCII in a run, from an alignment on; a line for each piece that is long enough.
pub(super) fn stretches(run: &[u8], skip: usize) -> String {
    let mut text = String::new();
    let mut piece: Vec<u8> = Vec::new();
    let mut end = |piece: &mut Vec<u8>| {
        // From the first whole group on.
        if piece.len() >= 12 {
            if !text.is_empty() {
                text.push('\n');
            }
            text.extend(piece.iter().map(|b| char::from(*b)));
        }
        piece.clear();
    };
    let (mut bits, mut held) = (0_u32, 0_u32);
    for value in run.iter().filter_map(|b| digit(*b)).skip(skip) {
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            match (bits >> held).to_le_bytes().first().copied().unwrap_or_default() {
                byte @ 0x20..0x7f => piece.push(byte),
                byte @ (b'\t' | b'\n' | b'\r') => piece.push(byte),
                _ => end(&mut piece),
            }
        }
    }
    end(&mut piece);
    text
}

/// Whether hex digits hold six bytes of UTF-8 in a row; controls may stand between them.
pub(super) fn hex_may_hold(values: &[u8]) -> bool {
    let (pairs, _) = values.as_chunks::<2>();
    let (mut row, mut more) = (0, 0_u8);
    pairs.iter().any(|[high, _]| {
        (row, more) = match (high, more) {
            (8..=11, 1..) => (row + 1, more - 1),
            (2..=7, 0) => (row + 1, 0),
            (0 | 1, 0) => (row, 0),
            (12 | 13, 0) => (row + 1, 1),
            (14, 0) => (row + 1, 2),
            (15, 0) => (row + 1, 3),
            (2..=7, _) => (1, 0),
            _ => (0, 0),
        };
        row >= 6
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    #[test]
    fn text_shows_in_its_alignment() {
        for before in ["", "x", "xy", "xyz"] {
            let run = format!("{before}{}", STANDARD.encode("bob@corp.de, and more"));
            let run = run.trim_end_matches('=');
            let lanes = read(run.as_bytes(), run.len());
            assert!(lanes.may_hold(before.len()), "{run}");
            let mut out = Vec::new();
            decode(run.as_bytes(), before.len(), &mut out);
            assert!(out.starts_with(b"bob@corp.de"), "{run}");
        }
        let six = STANDARD.encode("a@b.de");
        assert!(read(six.as_bytes(), six.len()).may_hold(0));
        let wide = STANDARD.encode("ｂｏｂ＠ｃｏｒｐ");
        assert!(read(wide.as_bytes(), wide.len()).may_hold(0));
        // Nothing in any alignment.
        let letters = "understandings";
        assert!((0..4).all(|skip| !read(letters.as_bytes(), letters.len()).may_hold(skip)));
    }

    #[test]
    fn of_a_long_file_only_its_text_is_decoded() {
        let mut bytes: Vec<u8> =
            (0..6000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        bytes.splice(3000..3000, *b"mail bob@corp.example now");
        let run = STANDARD.encode(&bytes);
        let lanes = read(run.as_bytes(), run.len());
        let read: Vec<String> =
            (0..4).filter(|skip| lanes.may_hold(*skip)).map(|skip| stretches(run.as_bytes(), skip)).collect();
        assert!((0..4).all(|skip| lanes.is_content(run.as_bytes(), skip)));
        assert!(read.iter().any(|text| text.contains("mail bob@corp.example now")), "{read:?}");
        let plain = STANDARD.encode("all of it is text. ".repeat(200));
        assert!(!super::read(plain.as_bytes(), plain.len()).is_content(plain.as_bytes(), 0));
    }
}
