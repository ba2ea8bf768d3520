//! Strings that look drawn at random: credentials without a known form.

use super::{
    detector::{Kind, Span},
    lanes,
    survey::Dense,
};

/// A longer random string is content (a base64 file), not a credential.
pub(super) const MAX_RANDOM: usize = 512;

/// A shorter one is a name or a number.
const MIN_RANDOM: usize = 20;

/// Long strings that look drawn at random. Hex alone never counts: commits, digests, trace ids and
/// UUIDs are hex, and a secret in hex is known by its place.
pub(super) fn scan(text: &str, dense: &[Dense], found: &mut Vec<Span>) {
    let bytes = text.as_bytes();
    for word in dense.iter().filter(|word| word.digits && word.end - word.start >= MIN_RANDOM) {
        let mut at = word.start;
        for run in bytes.get(word.start..word.end).unwrap_or_default().split(|b| matches!(b, b'.' | b'~')) {
            let start = at;
            let end = start + run.len();
            at = end + 1;
            if !(MIN_RANDOM..=MAX_RANDOM).contains(&run.len()) || !looks_random(run) {
                continue;
            }
            let before = bytes.get(start.saturating_sub(LONGEST_LABEL)..start).unwrap_or_default();
            if !reads_as_text(run)
                && !is_checksum(before, run)
                && !starts_as_file(run)
                && !is_program_name(before, run)
            {
                let padding =
                    bytes.get(end..).map_or(0, |p| p.iter().take(2).take_while(|b| **b == b'=').count());
                found.push(Span { start, end: end + padding, kind: Kind::HIGH_ENTROPY });
            }
        }
    }
}

/// Whether it is base64 of a text, which is looked into for what it says.
fn reads_as_text(run: &[u8]) -> bool {
    let mut bytes = Vec::with_capacity(run.len());
    lanes::decode(run, 0, &mut bytes);
    let is_text = |text: &str| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
    std::str::from_utf8(&bytes).is_ok_and(is_text)
}

/// The longest of what stands before a checksum.
const LONGEST_LABEL: usize = 11;

/// The digests of lock files: `"integrity": "sha512-…"`, `h1:…=`, and of keys: `SHA256:…`. Their lengths must fit.
fn is_checksum(before: &[u8], run: &[u8]) -> bool {
    const IN_RUN: &[(&[u8], usize)] = &[(b"sha1-", 27), (b"sha256-", 43), (b"sha384-", 64), (b"sha512-", 86)];
    const BEFORE: &[&[u8]] = &[b"h1:", b"SHA256:", b"sha256=", b"sha256:"];
    IN_RUN.iter().any(|(label, digits)| run.strip_prefix(*label).is_some_and(|rest| rest.len() == *digits))
        || (run.len() == 43 && BEFORE.iter().any(|label| before.ends_with(label)))
}

/// Names that compilers and package managers make: mangled symbols, and the store of Nix.
fn is_program_name(before: &[u8], run: &[u8]) -> bool {
    const SYMBOLS: &[&[u8]] = &[b"_ZN", b"_ZSt", b"_ZTS", b"_ZTV", b"__ZN", b"_RNv", b"_RIN"];
    let nix = run.strip_prefix(b"/nix/store/").or_else(|| before.ends_with(b"/nix/store/").then_some(run));
    SYMBOLS.iter().any(|start| run.starts_with(start)) || nix.is_some_and(|name| name.get(32) == Some(&b'-'))
}

/// How base64 of images and sounds begins.
const MEDIA: &[&[u8]] = &[
    b"iVBORw0KGgo",
    b"R0lGODlh",
    b"R0lGODdh",
    b"/9j/",
    b"UklGR",
    b"AAABAA",
    b"SUkqA",
    b"TU0AK",
    b"SUQz",
    b"T2dnUw",
    b"ZkxhQw",
];

/// How base64 of other files begins: fonts, documents, archives, programs.
const FILES: &[&[u8]] = &[
    b"d09GMg", b"d09GR", b"AAEAAA", b"T1RUTw", b"JVBERi0", b"UEsDB", b"H4sI", b"AGFzbQ", b"f0VMRg", b"KLUv/",
];

fn starts_as_media(base64: &[u8]) -> bool {
    base64.len() >= 48 && MEDIA.iter().any(|start| base64.starts_with(start))
}

fn starts_as_file(base64: &[u8]) -> bool {
    starts_as_media(base64) || (base64.len() >= 48 && FILES.iter().any(|start| base64.starts_with(start)))
}

/// Whether base64 is an image or a sound, by its first bytes.
pub(super) fn is_media(base64: &str) -> bool {
    starts_as_media(base64.as_bytes())
}

/// A type, how its files begin, and what stands behind that.
type FileStart = (&'static str, &'static [&'static [u8]], &'static [u8]);

/// How files of these types begin, and what stands eight bytes behind that.
const TYPES: &[FileStart] = &[
    ("image/png", &[b"\x89PNG\r\n\x1a\n"], b""),
    ("image/jpeg", &[b"\xff\xd8\xff"], b""),
    ("image/jpg", &[b"\xff\xd8\xff"], b""),
    ("image/gif", &[b"GIF87a", b"GIF89a"], b""),
    ("image/webp", &[b"RIFF"], b"WEBP"),
    ("image/tiff", &[b"II*\0", b"MM\0*"], b""),
    ("audio/wav", &[b"RIFF"], b"WAVE"),
    ("audio/x-wav", &[b"RIFF"], b"WAVE"),
    ("audio/ogg", &[b"OggS"], b""),
    ("audio/flac", &[b"fLaC"], b""),
];

/// Whether bytes begin as files of their declared type do; none: it is no type of which that is known.
pub(super) fn is_of_type(bytes: &[u8], mime: &str) -> Option<bool> {
    let mime = mime.split(';').next().unwrap_or_default().trim();
    let (_, starts, behind) = TYPES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(mime))?;
    let rest = bytes.get(8..).unwrap_or_default();
    Some(starts.iter().any(|start| bytes.starts_with(start)) && rest.starts_with(behind))
}

/// Whether what follows a secret's beginning only stands in its place: `xxxx`, `your-token-here`, `...`.
pub(super) fn is_filler(rest: &[u8]) -> bool {
    let Some(first) = rest.first().filter(|_| rest.len() >= 6) else { return false };
    let one = rest.iter().all(|b| b == first || matches!(b, b'-' | b'.' | b'_'));
    let blank = rest.iter().all(|b| matches!(b, b'x' | b'X' | b'-' | b'_' | b'.'));
    // Words of one case, joined: nothing that is drawn has only these.
    let words = |is: fn(&u8) -> bool, joint: u8| {
        rest.contains(&joint)
            && rest.split(|b| *b == joint).all(|word| (2..=14).contains(&word.len()) && word.iter().all(is))
    };
    one || blank
        || [b'-', b'_']
            .iter()
            .any(|joint| words(u8::is_ascii_lowercase, *joint) || words(u8::is_ascii_uppercase, *joint))
}

/// Whether letters of both cases and digits stand mixed in it, or letters as no words have them.
pub(super) fn is_drawn(rest: &[u8]) -> bool {
    let has = |is: fn(&u8) -> bool| rest.iter().any(is);
    let mixed = has(u8::is_ascii_digit) || Look::of(rest).is_mixed();
    mixed && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase)
}

/// Whether a run has the look of a random credential: at least 20 characters in pieces that change
/// between lower case, upper case and digits about as often as chance does, and all three of them;
/// or 32 and more of digits and letters of one case.
fn looks_random(run: &[u8]) -> bool {
    let mut all = Look::default();
    for piece in run.split(|b| !b.is_ascii_alphanumeric()) {
        let look = Look::of(piece);
        if look.length >= 32 && look.is_base36() {
            return true;
        }
        if look.is_mixed() {
            all.length += look.length;
            all.lower += look.lower;
            all.upper += look.upper;
            all.digit += look.digit;
        }
    }
    all.length >= 20 && all.lower > 1 && all.upper > 1 && all.digit > 0
}

#[derive(Default)]
struct Look {
    length: usize,
    lower: usize,
    upper: usize,
    digit: usize,
    changes: usize,
    hex: bool,
}

impl Look {
    fn of(piece: &[u8]) -> Self {
        let mut look = Self { length: piece.len(), hex: true, ..Self::default() };
        let mut before = 0_u8;
        for byte in piece {
            let class = match byte {
                b'0'..=b'9' => {
                    look.digit += 1;
                    1
                }
                b'a'..=b'z' => {
                    look.lower += 1;
                    2
                }
                _ => {
                    look.upper += 1;
                    3
                }
            };
            look.hex &= byte.is_ascii_hexdigit();
            look.changes += usize::from(before != 0 && class != before);
            before = class;
        }
        look
    }

    /// Base62 changes class at 62 % of its places, words in camel case at 30 %.
    fn is_mixed(&self) -> bool {
        self.length >= 5
            && !self.hex
            && self.lower > 0
            && self.upper > 0
            && self.changes * 100 >= (self.length - 1) * 37
    }

    /// Base36 changes class at 40 % of its places.
    fn is_base36(&self) -> bool {
        !self.hex
            && (self.lower == 0) != (self.upper == 0)
            && self.digit * 12 >= self.length
            && self.changes * 100 >= (self.length - 1) * 25
    }
}
