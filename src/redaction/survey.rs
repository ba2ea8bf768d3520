//! What one pass over a text's bytes says of it, so that whatever looks closer looks only where it can find something.

/// A byte of a word: a letter, a digit, or what joins them.
pub(super) const WORD: u8 = 1;
pub(super) const DIGIT: u8 = 1 << 1;
pub(super) const JOINT: u8 = 1 << 2;
/// A dash, with which flags begin.
pub(super) const DASH: u8 = 1 << 3;
/// Something begins or ends here: an address, an assignment, a mask.
pub(super) const SIGN: u8 = 1 << 4;
/// The end of a line.
pub(super) const LINE: u8 = 1 << 5;
/// It may stand for something else.
pub(super) const CODED: u8 = 1 << 6;

const fn class_of(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' => WORD,
        b'0'..=b'9' => WORD | DIGIT,
        b'-' => WORD | JOINT | DASH,
        b'.' | b'+' | b'/' | b'_' | b'~' => WORD | JOINT,
        b'@' | b':' | b'=' | b'>' | b'[' | b'(' => SIGN,
        b'\n' | b'\r' => LINE,
        b'%' | b'&' | b'\\' | 0xc2..=0xf4 => CODED,
        0..=0x08 | 0x0b | 0x0c | 0x0e..=0x1f | 0x7f => CODED,
        _ => 0,
    }
}

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut at = 0;
    while at < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        #[expect(clippy::indexing_slicing, reason = "below 256; evaluated by the compiler")]
        {
            classes[at] = class_of(at as u8);
        }
        at += 1;
    }
    classes
};

/// What a byte is.
#[inline]
pub(super) fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(0)
}

/// A run of word bytes that is long enough to hold a secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dense {
    pub(super) start: usize,
    pub(super) end: usize,
    /// There are digits in it.
    pub(super) digits: bool,
}

/// A shorter run holds no secret that is known by its form, and nothing that is worth decoding.
pub(super) const MIN_DENSE: usize = 12;

/// Numbers that stand near each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) digits: usize,
}

/// What was seen of one text.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) dense: Vec<Dense>,
    /// Where base64 or hex may begin, in order: in long runs, and at the last word of a line that goes on in the next.
    pub(super) seeds: Vec<usize>,
    pub(super) numbers: Vec<Numbers>,
    /// A single character may be encoded.
    pub(super) coded: bool,
    /// A single character may be encoded as in quoted-printable, or a number assigned.
    pub(super) lone: bool,
    /// There are so many pairs of hex digits in a row that they may stand for a text.
    pub(super) pairs: bool,
    /// There are characters beyond ASCII.
    pub(super) wide: bool,
}
