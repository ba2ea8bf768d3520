//! What stands in a value's place: `[redacted:<detector>:<length>]`, `[hash:<detector>:<hex>]` and, where the value can be
//! had back, `[token:<detector>:<hex>]`.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt::{self, Write};
use zeroize::Zeroizing;

/// The longest detector name; a mask is recognised by it.
pub(super) const MAX_NAME: usize = 48;

/// A length of more digits is no mask, so that a number cannot travel as one.
const MAX_DIGITS: usize = 8;

/// Hex digits of a hash.
const HASH_DIGITS: usize = 32;

/// The mask of a value of so many characters.
pub(super) fn mask(name: &str, length: usize) -> String {
    format!("[redacted:{name}:{}]", length.min(99_999_999))
}

/// What stands for base64 that was not looked into.
pub(super) fn binary(length: usize) -> String {
    format!("[binary:{length}]")
}

/// The key of `hash`, and the one of `tokenize` that is made of it. Never shown.
#[derive(Clone)]
pub(super) struct HashKey {
    hash: Zeroizing<[u8; 32]>,
    token: Zeroizing<[u8; 32]>,
}

impl HashKey {
    /// From 32 random bytes that the store keeps, so that equal values stay recognisable.
    pub(super) fn new(bytes: [u8; 32]) -> Self {
        // HMAC takes a key of any length: this cannot fail.
        let token = authenticated(&bytes, &[TOKENS]).map_or(bytes, |digest| digest);
        Self { hash: Zeroizing::new(bytes), token: Zeroizing::new(token) }
    }

    pub(super) fn hash(&self, name: &str, value: &str) -> String {
        match authenticated(&self.hash, &[value.as_bytes()]) {
            Some(digest) => format!("[hash:{name}:{}]", digits(&digest)),
            None => mask(name, value.chars().count()),
        }
    }

    /// The placeholder of a value for `scope` under `rule`. None: it cannot have one.
    pub(super) fn token(&self, name: &str, (scope, rule): (&str, &str), value: &str) -> Option<String> {
        let lengths = [scope, rule, name].map(|part| (part.len() as u64).to_be_bytes());
        let [scope_length, rule_length, name_length] = &lengths;
        // Each part with its length, so that no two lists of parts are alike.
        let parts: [&[u8]; 7] = [
            scope_length,
            scope.as_bytes(),
            rule_length,
            rule.as_bytes(),
            name_length,
            name.as_bytes(),
            value.as_bytes(),
        ];
        Some(format!("[token:{name}:{}]", digits(&authenticated(&self.token, &parts)?)))
    }
}

/// What the key of placeholders is made with.
const TOKENS: &[u8] = b"tollgate placeholders 1";

/// HMAC-SHA-256. It takes a key of any length, so this cannot fail; were it to, the value is masked.
fn authenticated(key: &[u8; 32], parts: &[&[u8]]) -> Option<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac.finalize().into_bytes().into())
}

fn digits(digest: &[u8; 32]) -> String {
    let mut text = String::with_capacity(HASH_DIGITS);
    push_hex(&mut text, digest.iter().take(HASH_DIGITS / 2));
    text
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// SHA-256 of a value, for `allow`.
pub(super) fn digest(value: &str) -> [u8; 32] {
    Sha256::digest(value.as_bytes()).into()
}

fn push_hex<'b>(text: &mut String, bytes: impl Iterator<Item = &'b u8>) {
    for byte in bytes {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
}

/// The length in bytes of the mask, hash or placeholder that `text` starts with.
pub(super) fn starts_with_mask(text: &[u8], is_name: impl Fn(&str) -> bool) -> Option<usize> {
    let (rest, hash) = match text.strip_prefix(b"[redacted:") {
        Some(rest) => (rest, false),
        None => (text.strip_prefix(b"[hash:").or_else(|| text.strip_prefix(b"[token:"))?, true),
    };
    let colon = rest.iter().take(MAX_NAME + 1).position(|b| *b == b':')?;
    let (name, rest) = rest.split_at_checked(colon)?;
    if !is_name(std::str::from_utf8(name).ok()?) {
        return None;
    }
    let rest = rest.strip_prefix(b":")?;
    let close = rest.iter().take(HASH_DIGITS + 1).position(|b| *b == b']')?;
    let figure = rest.get(..close)?;
    let fits = if hash {
        figure.len() == HASH_DIGITS && figure.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    } else {
        (1..=MAX_DIGITS).contains(&figure.len()) && figure.iter().all(u8::is_ascii_digit)
    };
    fits.then_some(text.len() - rest.len() + close + 1)
}

/// The masks, hashes and placeholders in a text, each once: at most so many.
pub fn masks(text: &str, most: usize) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('[').filter(|_| found.len() < most) {
        let (_, tail) = rest.split_at(at);
        let length = starts_with_mask(tail.as_bytes(), |_| true).unwrap_or(1);
        let (mask, after) = tail.split_at_checked(length).unwrap_or((tail, ""));
        if length > 1 && !found.contains(&mask) {
            found.push(mask);
        }
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_recognised_and_nothing_else() {
        let check = |text: &str, expect: Option<usize>| {
            let got = starts_with_mask(text.as_bytes(), |name| name == "email");
            assert_eq!(got, expect, "{text}");
        };
        check("[redacted:email:17]", Some(19));
        check("[redacted:email:17] and more", Some(19));
        check("[redacted:email:123456789]", None);
        check("[redacted:email:]", None);
        check("[redacted:email:1x]", None);
        check("[redacted:hunter2:7]", None);
        check("[redacted:email", None);
        check("[hash:email:0123456789abcdef0123456789abcdef]", Some(45));
        check("[hash:email:0123456789ABCDEF0123456789abcdef]", None);
        check("[hash:email:01]", None);
        check("[token:email:0123456789abcdef0123456789abcdef]!", Some(46));
        check("[token:email:0123]", None);
        check("", None);
    }

    #[test]
    fn hashes_are_keyed_and_stable() {
        let (one, two) = (HashKey::new([1; 32]), HashKey::new([2; 32]));
        assert_eq!(one.hash("email", "a@b.example"), one.hash("email", "a@b.example"));
        assert_ne!(one.hash("email", "a@b.example"), two.hash("email", "a@b.example"));
        let hash = one.hash("email", "a@b.example");
        assert_eq!(starts_with_mask(hash.as_bytes(), |name| name == "email"), Some(hash.len()));
        assert_eq!(format!("{one:?}"), "HashKey(..)");
        let token = |scope, rule, value| one.token("email", (scope, rule), value).unwrap();
        let mine = token("agent:a", "r", "a@b.example");
        assert_eq!(mine, token("agent:a", "r", "a@b.example"));
        for other in [
            token("agent:b", "r", "a@b.example"),
            token("agent:a", "s", "a@b.example"),
            token("agent:ar", "", "a@b.example"),
        ] {
            assert_ne!(mine, other);
        }
        assert_ne!(mine.rsplit(':').next(), hash.rsplit(':').next());
    }
}
