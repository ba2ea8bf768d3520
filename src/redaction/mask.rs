//! What stands in a value's place: `[redacted:<detector>:<length>]` and `[hash:<detector>:<hex>]`.

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

/// The key of `hash`. Never shown.
#[derive(Clone)]
pub(super) struct HashKey(Zeroizing<[u8; 32]>);

impl HashKey {
    /// From 32 random bytes that the store keeps, so that equal values stay recognisable.
    pub(super) fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(super) fn hash(&self, name: &str, value: &str) -> String {
        let mut text = format!("[hash:{name}:");
        // HMAC takes a key of any length, so this cannot fail; were it to, the value is masked.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&*self.0) else {
            return mask(name, value.chars().count());
        };
        mac.update(value.as_bytes());
        let digest = mac.finalize().into_bytes();
        push_hex(&mut text, digest.iter().take(HASH_DIGITS / 2));
        text.push(']');
        text
    }
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

/// The length in bytes of the mask or hash that `text` starts with.
pub(super) fn starts_with_mask(text: &[u8], is_name: impl Fn(&str) -> bool) -> Option<usize> {
    let (rest, hash) = match text.strip_prefix(b"[redacted:") {
        Some(rest) => (rest, false),
        None => (text.strip_prefix(b"[hash:")?, true),
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
    }
}
