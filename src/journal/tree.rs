//! The Merkle tree over the records: leaf `n` is the hash of the record with `seq` n + 1. What is kept of it beside the segments
//! is the hash of every whole block of 256 leaves, in one file that can be made of the segments again; the leaves themselves are
//! read from the segments. Of records that were removed, the subtrees stay that a tree over all can be made with ([`Gone`]).

use super::{JournalError, Range, Reader, Segment, files, index::Wanted};
use crate::proof::{self, Hash, leaf_hash, node_hash};
use std::{
    collections::BTreeMap,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

/// Leaves of a block, as a power of two.
const BLOCK: u32 = 8;
const MAGIC: &[u8; 8] = b"TGTREE1\n";
const UNKNOWN: Hash = [0; 32];

/// The leaf of a record that was lost in damage which a person accepted.
pub fn lost_leaf() -> Hash {
    leaf_hash(&[0; 32])
}

/// Where the hashes of blocks are kept.
fn path(dir: &Path) -> PathBuf {
    dir.join("tree")
}

/// The first leaves, by the largest whole subtrees that they make, from the left: as many as the number has binary ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// How many leaves.
    pub size: u64,
    /// The subtrees' hashes.
    pub subtrees: Vec<Hash>,
}

/// Level and number of those subtrees.
fn places(size: u64) -> impl Iterator<Item = (u32, u64)> {
    let mut from = 0;
    (0..64).rev().filter(move |level| size >> level & 1 == 1).map(move |level| {
        let at = (level, from >> level);
        from += 1 << level;
        at
    })
}

/// A tree over the records that there were when it was opened.
#[derive(Debug)]
pub struct Tree<'r> {
    reader: &'r Reader,
    size: u64,
    gone: u64,
    known: BTreeMap<(u32, u64), Hash>,
    blocks: Vec<Hash>,
    read: BTreeMap<u64, Vec<Hash>>,
}

impl<'r> Tree<'r> {
    /// Opens it over all that the reader has read. `gone` is what is known of records that were removed.
    ///
    /// # Errors
    /// Where a record cannot be read, or records were removed of which nothing is known.
    pub fn open(reader: &'r Reader, gone: &Gone) -> Result<Self, JournalError> {
        let (first, head) = (number(reader.first()?.seq), number(reader.head().seq));
        if first > gone.size || places(gone.size).count() != gone.subtrees.len() {
            let problem = format!("records up to {first} are gone, and nothing tells what they were");
            return Err(JournalError::Failed { path: reader.dir().to_owned(), problem });
        }
        let known = places(gone.size).zip(gone.subtrees.iter().copied()).collect();
        let blocks = read_blocks(reader.dir())?;
        let mut tree = Self { reader, size: head, gone: first, known, blocks, read: BTreeMap::new() };
        tree.extend()?;
        Ok(tree)
    }

    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root over the first `size` leaves.
    ///
    /// # Errors
    /// Where a record cannot be read, or is gone.
    pub fn root(&mut self, size: u64) -> Result<Hash, JournalError> {
        proof::root(size, &mut |level, index| self.subtree(level, index))
    }

    /// The inclusion proof of a leaf in the tree over the first `size`.
    ///
    /// # Errors
    /// Where a record cannot be read, or is gone.
    pub fn inclusion(&mut self, index: u64, size: u64) -> Result<Vec<Hash>, JournalError> {
        proof::inclusion(index, size, &mut |level, index| self.subtree(level, index))
    }

    /// The consistency proof between the trees over the first `old` and the first `size` leaves.
    ///
    /// # Errors
    /// Where a record cannot be read, or is gone.
    pub fn consistency(&mut self, old: u64, size: u64) -> Result<Vec<Hash>, JournalError> {
        proof::consistency(old, size, &mut |level, index| self.subtree(level, index))
    }

    /// What stays of the first `size` leaves once their records are removed.
    ///
    /// # Errors
    /// Where a record cannot be read, or is gone.
    pub fn gone(&mut self, size: u64) -> Result<Gone, JournalError> {
        let subtrees = places(size).map(|(level, index)| self.subtree(level, index));
        Ok(Gone { size, subtrees: subtrees.collect::<Result<_, _>>()? })
    }

    fn subtree(&mut self, level: u32, index: u64) -> Result<Hash, JournalError> {
        if let Some(hash) = self.known.get(&(level, index)) {
            return Ok(*hash);
        }
        if level == BLOCK
            && let Some(hash) = self.blocks.get(place(index)).filter(|hash| **hash != UNKNOWN)
        {
            return Ok(*hash);
        }
        if level > BLOCK || (level > 0 && index << level < self.gone) {
            let left = self.subtree(level - 1, index * 2)?;
            return Ok(node_hash(&left, &self.subtree(level - 1, index * 2 + 1)?));
        }
        if index << level < self.gone {
            let problem = format!("record {} is gone: `[store] retention` removed it", index + 1);
            return Err(JournalError::Failed { path: self.reader.dir().to_owned(), problem });
        }
        let block = index >> (BLOCK - level);
        let within = place((index << level) - (block << BLOCK));
        let leaves = self.leaves(block)?;
        let mut hashes = leaves.get(within..within + (1 << level)).unwrap_or_default().to_vec();
        (0..level).for_each(|_| hashes = halved(&hashes));
        hashes.pop().ok_or_else(|| {
            let problem = format!("record {} is not there", (index << level) + 1);
            JournalError::Failed { path: self.reader.dir().to_owned(), problem }
        })
    }

    /// The leaves of a block, as far as there are.
    fn leaves(&mut self, block: u64) -> Result<&[Hash], JournalError> {
        if !self.read.contains_key(&block) {
            let (from, to) = (block << BLOCK, ((block + 1) << BLOCK).min(self.size));
            // Those that are gone stand before what anybody asks for here.
            let mut leaves = vec![UNKNOWN; place(self.gone.saturating_sub(from).min(to - from))];
            self.read_leaves(from.max(self.gone), to, &mut |leaf| leaves.push(leaf))?;
            self.read.insert(block, leaves);
        }
        Ok(self.read.get(&block).map(Vec::as_slice).unwrap_or_default())
    }

    fn read_leaves(&self, from: u64, to: u64, take: &mut dyn FnMut(Hash)) -> Result<(), JournalError> {
        let range = Range { first: seq(from), last: seq(to) - 1, newest_first: false };
        let mut next = from;
        let reader = self.reader;
        let lost = |next: u64, until: u64| match reader.is_accepted_behind(seq(next))? {
            true => Ok(until - next),
            false => {
                let problem = format!("record {} cannot be read", seq(next));
                Err(JournalError::Failed { path: reader.dir().to_owned(), problem })
            }
        };
        reader.find_readable(&Wanted::default(), range, &mut |entry| {
            let at = number(entry.seq - 1);
            if at > next {
                (0..lost(next, at)?).for_each(|_| take(lost_leaf()));
            }
            take(leaf_hash(&entry.hash));
            next = at + 1;
            Ok(ControlFlow::Continue(()))
        })?;
        if to > next {
            (0..lost(next, to)?).for_each(|_| take(lost_leaf()));
        }
        Ok(())
    }

    /// Adds the blocks that have become whole.
    fn extend(&mut self) -> Result<(), JournalError> {
        let whole = self.size >> BLOCK;
        let before = self.blocks.len();
        if place(whole) <= before {
            return Ok(());
        }
        let there = self.gone.div_ceil(1 << BLOCK).min(whole);
        while self.blocks.len() < place(there) {
            let index = number(i64::try_from(self.blocks.len()).unwrap_or(i64::MAX));
            let hash = self.subtree(BLOCK, index).unwrap_or(UNKNOWN);
            self.blocks.push(hash);
        }
        let from = u64::try_from(self.blocks.len()).unwrap_or(u64::MAX) << BLOCK;
        let mut builder = Builder::new(from);
        self.read_leaves(from, whole << BLOCK, &mut |leaf| builder.leaf(leaf))?;
        self.blocks.extend(builder.blocks.values());
        // Not before the records that they are made of are on the disk: others could take their numbers after a power cut.
        let dir = self.reader.dir();
        let written = self.reader.flush().and_then(|()| {
            write_blocks(dir, &self.blocks).map_err(|error| JournalError::of(&path(dir), &error))
        });
        // They are made again where they cannot be written.
        if let Err(error) = written {
            tracing::debug!(%error, "journal.tree_not_kept");
        }
        Ok(())
    }
}

impl Reader {
    /// Has on the disk all that was read: segments before the newest are there since they were sealed.
    pub fn flush(&self) -> Result<(), JournalError> {
        let Segment { path, file, .. } = self.view.lock().tail.segment.clone();
        files::flush_read(&file, &path).map_err(|error| JournalError::of(&path, &error))
    }
}

/// Makes the hashes of whole blocks of leaves that come in order.
#[derive(Debug, Default)]
pub struct Builder {
    /// The number of the next leaf.
    next: u64,
    /// The leaves before the first whole block, where it does not begin with one.
    head: Vec<Hash>,
    blocks: BTreeMap<u64, Hash>,
    /// The leaves behind the last whole block.
    filled: Vec<Hash>,
}

impl Builder {
    /// Begins with this leaf.
    pub fn new(first: u64) -> Self {
        Self { next: first, ..Self::default() }
    }

    /// The next leaf.
    pub fn leaf(&mut self, leaf: Hash) {
        self.filled.push(leaf);
        self.next += 1;
        if self.next & ((1 << BLOCK) - 1) != 0 {
            return;
        }
        let mut hashes = std::mem::take(&mut self.filled);
        if hashes.len() < 1 << BLOCK {
            self.head = hashes;
            return;
        }
        (0..BLOCK).for_each(|_| hashes = halved(&hashes));
        self.blocks.extend(hashes.pop().map(|hash| ((self.next >> BLOCK) - 1, hash)));
    }

    /// Goes on with the leaves of another that begins where this one ends; leaves between them are lost.
    pub fn append(&mut self, other: Self, begins: u64) {
        if self.next == 0 && self.filled.is_empty() && self.blocks.is_empty() {
            self.next = begins;
        }
        while self.next < begins {
            self.leaf(lost_leaf());
        }
        other.head.into_iter().for_each(|leaf| self.leaf(leaf));
        if let Some((last, _)) = other.blocks.last_key_value() {
            self.next = (last + 1) << BLOCK;
            self.blocks.extend(other.blocks);
        }
        other.filled.into_iter().for_each(|leaf| self.leaf(leaf));
    }

    /// The whole blocks by their numbers.
    pub fn blocks(self) -> BTreeMap<u64, Hash> {
        self.blocks
    }
}

fn halved(hashes: &[Hash]) -> Vec<Hash> {
    hashes.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect()
}

/// Holds what is kept against blocks that were made of the records: the file, where it differs.
pub fn differing_block(dir: &Path, made: &BTreeMap<u64, Hash>) -> Result<Option<PathBuf>, JournalError> {
    let kept = read_blocks(dir)?;
    let differs = |(index, hash): &(&u64, &Hash)| {
        kept.get(place(**index)).is_some_and(|kept| *kept != UNKNOWN && kept != *hash)
    };
    Ok(made.iter().any(|block| differs(&block)).then(|| path(dir)))
}

fn read_blocks(dir: &Path) -> Result<Vec<Hash>, JournalError> {
    let path = path(dir);
    match fs::read(&path) {
        Ok(content) => match content.strip_prefix(MAGIC) {
            Some(hashes) => Ok(hashes.as_chunks().0.to_vec()),
            None => Ok(Vec::new()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(JournalError::of(&path, &error)),
    }
}

fn write_blocks(dir: &Path, blocks: &[Hash]) -> std::io::Result<()> {
    let mut content = MAGIC.to_vec();
    content.extend(blocks.as_flattened());
    files::replace(&path(dir), &content)
}

fn number(seq: i64) -> u64 {
    u64::try_from(seq).unwrap_or(0)
}

fn seq(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX).saturating_add(1)
}

fn place(index: u64) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}
