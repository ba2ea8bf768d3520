//! How an index stands in its file. All numbers are little-endian.
//!
//! A piece is some bytes and 8 more: the start of the SHA-256 of its place in the file and of the bytes. The header is
//! the first piece and says where the others are:
//!
//! - offsets: 4 bytes for each record, in pages of [`OFFSETS`].
//! - times: the first and the last microsecond of each [`super::wanted::BLOCK`] of records, 16 bytes, in pages of [`TIMES`].
//! - ids, one table for each of them: the hash, 8 bytes, and the record's number, 4 bytes, sorted, in pages of [`ENTRIES`].
//! - names, one list for each field: sets of record numbers, one piece each; blocks of entries; and one piece with the
//!   length of each block, 4 bytes. The blocks stand right before it, one after the other.

use super::{
    IDS, NAMES,
    wanted::{BLOCK, Times},
};
use sha2::{Digest as _, Sha256};

/// Names the format and its version. What is written changes with a version of `roaring` too, so that a test holds
/// the bytes of an index against those of the version.
const MAGIC: &[u8; 8] = b"TGINDEX2";

/// Bytes of a piece that are its checksum.
pub(in crate::journal) const SUM: usize = 8;

/// Offsets of a page.
pub(super) const OFFSETS: u32 = 256;

/// Blocks of a page of times.
pub(super) const TIMES: u32 = 256;

/// Entries of a page of ids.
pub(super) const ENTRIES: u32 = 340;

/// The bytes of an id's entry.
pub(super) const ENTRY: usize = 12;

/// A block of names is closed once it is this long.
pub(super) const NAMES_BLOCK: usize = 4096;

/// No block of names is longer: one entry is added to one that is almost full.
pub(super) const LONGEST_BLOCK: usize = NAMES_BLOCK + CUT + 32;

/// The first bytes of a name that are kept. One that is so long or longer can be any that begins so.
pub(super) const CUT: usize = 1024;

/// The most records of a segment; a file that tells of more is not read.
pub(super) const MOST_RECORDS: u32 = 1 << 20;

/// What is kept of a name.
pub(super) fn cut(name: &[u8]) -> &[u8] {
    name.get(..CUT).unwrap_or(name)
}

/// Whether there can be more of a name than what is kept.
pub(super) fn is_cut(name: &[u8]) -> bool {
    name.len() >= CUT
}

/// No set of record numbers is longer: one container for each 65,536 numbers, of 8 KiB at most.
pub(super) fn longest_set(records: u32) -> usize {
    let containers = usize::try_from(records / 65_536).unwrap_or(usize::MAX).saturating_add(1);
    containers.saturating_mul(8192 + 16).saturating_add(64)
}

/// What detects that a piece is not what was written.
pub(in crate::journal) fn sum(position: u64, bytes: &[u8]) -> [u8; SUM] {
    let mut hash = Sha256::new();
    hash.update(position.to_le_bytes());
    hash.update(bytes);
    hash.finalize().first_chunk::<SUM>().copied().unwrap_or_default()
}

/// The file while it is written.
#[derive(Debug, Default)]
pub(in crate::journal) struct Out {
    pub(in crate::journal) bytes: Vec<u8>,
}

impl Out {
    pub(in crate::journal) fn position(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Appends a piece and says where it is.
    pub(in crate::journal) fn piece(&mut self, bytes: &[u8]) -> u64 {
        let position = self.position();
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(&sum(position, bytes));
        position
    }
}

/// A table of ids, or the lengths of a list's blocks: where it is, and of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) position: u64,
    pub(super) count: u32,
}

/// The first piece of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) segment: [u8; 32],
    pub(super) records: u32,
    /// Of the whole file.
    pub(super) length: u64,
    pub(super) times: Times,
    pub(super) offsets_at: u64,
    pub(super) times_at: u64,
    pub(super) ids: [Part; IDS.len()],
    pub(super) names: [Part; NAMES.len()],
}

impl Header {
    /// Its bytes without the checksum.
    pub(super) const LENGTH: usize = 8 + 32 + 4 + 8 + 16 + 8 + 8 + (IDS.len() + NAMES.len()) * 12;

    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LENGTH);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.segment);
        out.extend_from_slice(&self.records.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.times.first.to_le_bytes());
        out.extend_from_slice(&self.times.last.to_le_bytes());
        out.extend_from_slice(&self.offsets_at.to_le_bytes());
        out.extend_from_slice(&self.times_at.to_le_bytes());
        for part in self.ids.iter().chain(&self.names) {
            out.extend_from_slice(&part.position.to_le_bytes());
            out.extend_from_slice(&part.count.to_le_bytes());
        }
        out
    }

    /// Reads what [`Header::write`] wrote; the error says what is wrong.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let short = "its header is too short";
        let mut bytes = Bytes(bytes);
        if &bytes.take::<8>().ok_or(short)? != MAGIC {
            return Err("it is no index of this version");
        }
        let mut header = Self {
            segment: bytes.take().ok_or(short)?,
            records: bytes.u32().ok_or(short)?,
            length: bytes.u64().ok_or(short)?,
            times: Times {
                first: bytes.take().map(i64::from_le_bytes).ok_or(short)?,
                last: bytes.take().map(i64::from_le_bytes).ok_or(short)?,
            },
            offsets_at: bytes.u64().ok_or(short)?,
            times_at: bytes.u64().ok_or(short)?,
            ids: Default::default(),
            names: Default::default(),
        };
        for part in header.ids.iter_mut().chain(&mut header.names) {
            *part = Part { position: bytes.u64().ok_or(short)?, count: bytes.u32().ok_or(short)? };
        }
        header.check()?;
        Ok(header)
    }

    /// Everything is inside the file, and nothing is larger than the records allow.
    fn check(&self) -> Result<(), &'static str> {
        if self.records > MOST_RECORDS {
            return Err("it tells of more records than a segment has");
        }
        let most = |part: &Part| part.count <= self.records;
        if !self.ids.iter().chain(&self.names).all(most) {
            return Err("it has more entries than its segment has records");
        }
        let blocks = u64::from(self.records.div_ceil(BLOCK));
        let paged =
            [(self.offsets_at, u64::from(self.records), OFFSETS, 4), (self.times_at, blocks, TIMES, 16)];
        let ids = self.ids.iter().map(|part| (part.position, u64::from(part.count), ENTRIES, ENTRY as u64));
        // One piece: as if its only page held all of them.
        let lengths = self.names.iter().map(|part| (part.position, u64::from(part.count), u32::MAX, 4));
        for (position, count, page, width) in paged.into_iter().chain(ids).chain(lengths) {
            let sums = count.div_ceil(u64::from(page)).max(1) * SUM as u64;
            let end = position.checked_add(count * width + sums);
            if end.is_none_or(|end| end > self.length) && count > 0 {
                return Err("a part of it lies beyond its end");
            }
        }
        Ok(())
    }
}

/// Bytes that are read from the front.
pub(in crate::journal) struct Bytes<'b>(pub(in crate::journal) &'b [u8]);

impl<'b> Bytes<'b> {
    pub(in crate::journal) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    pub(in crate::journal) fn slice(&mut self, length: usize) -> Option<&'b [u8]> {
        let (first, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(first)
    }

    pub(in crate::journal) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(in crate::journal) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(in crate::journal) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
