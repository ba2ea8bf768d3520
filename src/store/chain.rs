//! The hash chain (I9): what is hashed, and nothing else. `hash = SHA-256(prev_hash LF seq LF body)`, where
//! `prev_hash` is 64 lowercase hex digits (64 zeros before the first record), `seq` is decimal from 1
//! without gaps, and `body` is the stored text of the event, byte for byte.

use sha2::{Digest as _, Sha256};
use std::io::Write as _;

/// A SHA-256.
pub type Hash = [u8; 32];

/// What stands before the first record.
pub const GENESIS: Hash = [0; 32];

/// The hash of the record at `seq` with this body.
pub fn link(prev: &Hash, seq: i64, body: &str) -> Hash {
    let mut head = [0u8; 64];
    // 32 bytes always make 64 digits.
    if hex::encode_to_slice(prev, &mut head).is_err() {
        head = [b'0'; 64];
    }
    let mut hasher = Sha256::new();
    hasher.update(head);
    hasher.update(b"\n");
    hasher.update(decimal(seq, &mut [0; 20]));
    hasher.update(b"\n");
    hasher.update(body);
    hasher.finalize().into()
}

/// A number in decimal.
fn decimal(number: i64, room: &mut [u8; 20]) -> &[u8] {
    let mut left = &mut room[..];
    // Every i64 has at most 20 characters.
    write!(left, "{number}").unwrap_or_default();
    let unused = left.len();
    room.get(..room.len() - unused).unwrap_or_default()
}

/// 64 lowercase hex digits.
pub fn to_hex(hash: &Hash) -> String {
    hex::encode(hash)
}

/// Reads 64 hex digits.
pub fn from_hex(text: &str) -> Option<Hash> {
    let mut hash = GENESIS;
    hex::decode_to_slice(text, &mut hash).ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_record_changes_its_hash() {
        let base = link(&GENESIS, 1, "{}");
        assert_ne!(base, link(&[1; 32], 1, "{}"));
        assert_ne!(base, link(&GENESIS, 2, "{}"));
        assert_ne!(base, link(&GENESIS, 1, "{ }"));
        let by_hand = Sha256::digest(format!("{}\n1\n{{}}", "0".repeat(64)));
        assert_eq!(to_hex(&base), hex::encode(by_hand));
        assert_eq!(from_hex(&to_hex(&base)), Some(base));
        assert_eq!(from_hex("zz"), None);
        assert_eq!(decimal(i64::MIN, &mut [0; 20]), i64::MIN.to_string().as_bytes());
    }
}
