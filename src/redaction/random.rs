//! Strings that look drawn at random: credentials without a known form.

use super::{
    detector::{Kind, Span},
    scan::{MAX_RANDOM, Scanner},
};

impl Scanner {
    /// Long strings that look drawn at random. Hex alone never counts: commits, digests, trace ids and
    /// UUIDs are hex, and a secret in hex is known by its place.
    pub(super) fn random(&self, text: &str, found: &mut Vec<Span>) {
        let bytes = text.as_bytes();
        let in_run = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'_' | b'-');
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let length = rest.iter().take_while(|b| in_run(b)).count();
            let before = bytes.get(at.saturating_sub(LONGEST_LABEL)..at).unwrap_or_default();
            if (20..=MAX_RANDOM).contains(&length)
                && rest.get(..length).is_some_and(|run| {
                    looks_random(run) && !is_checksum(before, run) && !starts_as_media(run)
                })
            {
                let padding =
                    rest.get(length..).map_or(0, |p| p.iter().take(2).take_while(|b| **b == b'=').count());
                found.push(Span { start: at, end: at + length + padding, kind: Kind::HIGH_ENTROPY });
            }
            at += length;
            at += bytes.get(at..).map_or(0, |rest| rest.iter().take_while(|b| !in_run(b)).count());
        }
    }
}

/// The longest of what stands before a checksum.
const LONGEST_LABEL: usize = 7;

/// The digests of lock files: `"integrity": "sha512-…"`, `h1:…=`, and of keys: `SHA256:…`. Their lengths must fit.
fn is_checksum(before: &[u8], run: &[u8]) -> bool {
    const IN_RUN: &[(&[u8], usize)] = &[(b"sha1-", 27), (b"sha256-", 43), (b"sha384-", 64), (b"sha512-", 86)];
    const BEFORE: &[&[u8]] = &[b"h1:", b"SHA256:", b"sha256=", b"sha256:"];
    IN_RUN.iter().any(|(label, digits)| run.strip_prefix(*label).is_some_and(|rest| rest.len() == *digits))
        || (run.len() == 43 && BEFORE.iter().any(|label| before.ends_with(label)))
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

fn starts_as_media(base64: &[u8]) -> bool {
    base64.len() >= 48 && MEDIA.iter().any(|start| base64.starts_with(start))
}

/// Whether base64 is an image or a sound, by its first bytes.
pub(super) fn is_media(base64: &str) -> bool {
    starts_as_media(base64.as_bytes())
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
