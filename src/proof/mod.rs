//! What proves the record to somebody who holds no more than a signed line of it: the Merkle tree of RFC 6962 over the hashes of
//! the records, and C2SP's signed notes, checkpoints, cosignatures and proofs. Bytes and text only.

mod checkpoint;
mod note;
mod tlog_proof;
mod tree;

pub use checkpoint::Checkpoint;
pub use note::{Kind, Note, NoteError, Signer, VerifierKey};
pub use tlog_proof::TlogProof;
pub use tree::{
    Hash, consistency, empty_root, inclusion, is_consistent, is_included, leaf_hash, node_hash, root,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A hash in base64.
pub fn encode(hash: &Hash) -> String {
    STANDARD.encode(hash)
}

/// Reads a hash in base64.
pub fn decode(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// A decimal without sign, leading zeros or anything else that two readers could take for two numbers.
fn decimal(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}
