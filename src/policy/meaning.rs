//! What files say, apart from how they are written: comments, layout, quotes and the order of keys do not count.

use super::source::{Kind, Node};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, sync::Arc};

/// The first bytes of the SHA-256 of what a part of the bundle says: enough to see that it changed.
pub type PartDigest = [u8; 8];

/// The parts of a bundle by name: each policy under its id, each other file under its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BundleParts {
    /// Gates and the policies of rulebooks.
    pub policies: BTreeMap<Arc<str>, PartDigest>,
    /// bundle.yaml, authority.yaml and the like.
    pub files: BTreeMap<Arc<str>, PartDigest>,
}

impl BundleParts {
    /// Adds one file.
    pub(super) fn add(&mut self, file: &str, root: &Node) {
        let id = |node: &Node, key: &str| node.get(key).and_then(Node::as_text).map(Arc::from);
        if let Some(policies) = root.get("policies").filter(|_| id(root, "version").is_some()) {
            for policy in policies.items() {
                if let Some(id) = id(policy, "id") {
                    self.policies.insert(id, digest(policy));
                }
            }
        } else if let Some(id) = id(root, "name").filter(|_| root.get("rules").is_some()) {
            self.policies.insert(id, digest(root));
        } else {
            self.files.insert(Arc::from(file), digest(root));
        }
    }
}

fn digest(node: &Node) -> PartDigest {
    let mut hash = Sha256::new();
    write(node, &mut hash);
    hash.finalize().first_chunk().copied().unwrap_or_default()
}

/// Whether two trees say the same.
pub(super) fn same(one: &Node, other: &Node) -> bool {
    let whole = |node: &Node| {
        let mut hash = Sha256::new();
        write(node, &mut hash);
        hash.finalize()
    };
    whole(one) == whole(other)
}

/// Adds what a tree says to a hash. Each value begins with its kind and says how long it is, so that no two trees give the
/// same bytes.
pub(super) fn write(node: &Node, hash: &mut Sha256) {
    match &node.kind {
        Kind::Null => hash.update(b"0"),
        Kind::Bool(value) => hash.update(if *value { b"t" } else { b"f" }),
        Kind::Number(text) => bytes(b'n', text, hash),
        Kind::Text(text) => bytes(b's', text, hash),
        Kind::List(items) => {
            length(b'l', items.len(), hash);
            items.iter().for_each(|item| write(item, hash));
        }
        Kind::Map(entries) => {
            length(b'm', entries.len(), hash);
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by(|a, b| a.key.cmp(&b.key));
            for entry in sorted {
                bytes(b'k', &entry.key, hash);
                write(&entry.value, hash);
            }
        }
    }
}

fn bytes(kind: u8, text: &str, hash: &mut Sha256) {
    length(kind, text.len(), hash);
    hash.update(text.as_bytes());
}

fn length(kind: u8, length: usize, hash: &mut Sha256) {
    hash.update([kind]);
    hash.update(u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
}
