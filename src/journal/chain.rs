//! The hash chain: what is hashed, and nothing else. `hash = SHA-256(prev_hash LF seq LF body)`, where
//! `prev_hash` is 64 lowercase hex digits (64 zeros before the first record), `seq` is decimal from 1
//! without gaps, and `body` is the stored text of the event, byte for byte.

use crate::model::text;
use sha2::{Digest as _, Sha256};

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
    let mut decimal = Vec::with_capacity(20);
    text::integer(&mut decimal, seq);
    hasher.update(decimal);
    hasher.update(b"\n");
    hasher.update(body);
    hasher.finalize().into()
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
    }
}
