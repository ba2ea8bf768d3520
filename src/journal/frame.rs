//! A group of the journal: the records and notes of one commit, written with one write, and read whole or not at all.
//!
//! ```text
//! head   magic "TGfr" · length of all · records · length of the notes · flags · time · first seq · check
//! 32     the chain's hash before the first record
//! each   length · body · the record's hash           (what stands before a record is the hash that it follows)
//! notes  what is no record: changes of counters and the like
//! 32     SHA-256(hash of the frame before · head · the last record's hash · notes)
//! ```
//!
//! Numbers are little-endian. The last hash is what tells a torn write, and joins frames into a chain of their own, so
//! that notes cannot be changed unseen any more than records can.

use super::chain::{self, GENESIS, Hash};
use sha2::{Digest as _, Sha256};

/// Bytes before a frame's content.
pub(super) const HEAD: usize = 40;

/// The smallest frame: nothing but its head and its hashes.
const SMALLEST: usize = HEAD + 32 + 32;

pub(super) const MAGIC: [u8; 4] = *b"TGfr";

/// Something that the projection keeps changed with this frame.
pub const PROJECTED: u32 = 1;

/// The last frame of its segment: what follows stands in the next.
pub const SEALED: u32 = 2;

/// Notes of it say how registers stand: keyed state that people set. The frame that seals a segment says all of it, so that
/// nothing before its segment need be read ([`super::Reader::registers`]).
pub const REGISTERS: u32 = 4;

/// No record has a higher number: what a file says beyond it is damage, and sums of numbers cannot overflow.
pub const LAST_SEQ: i64 = 1 << 62;

/// Bytes of the shortest record: its length and its hash.
pub(super) const SHORTEST_RECORD: u64 = 4 + 32;

/// The end of the journal: what the next frame follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Of the last record; 0 before the first.
    pub seq: i64,
    /// Of the last record.
    pub hash: Hash,
    /// Of the last frame.
    pub frame: Hash,
}

impl Head {
    /// Before anything was written.
    pub const START: Self = Self { seq: 0, hash: GENESIS, frame: GENESIS };
}

/// What a frame says of itself before its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Of the whole frame, in bytes.
    pub length: usize,
    /// How many records it holds.
    pub records: u32,
    /// Length of its notes.
    pub notes: usize,
    /// [`PROJECTED`], [`SEALED`], [`REGISTERS`].
    pub flags: u32,
    /// The latest time that it names, in microseconds.
    pub at: i64,
    /// The `seq` of its first record, or that of the next record where it has none.
    pub first_seq: i64,
}

fn four(bytes: &[u8], at: usize) -> [u8; 4] {
    bytes.get(at..at + 4).and_then(|part| part.try_into().ok()).unwrap_or_default()
}

fn eight(bytes: &[u8], at: usize) -> [u8; 8] {
    bytes.get(at..at + 8).and_then(|part| part.try_into().ok()).unwrap_or_default()
}

fn hash_at(bytes: &[u8], at: usize) -> Option<Hash> {
    bytes.get(at..at.checked_add(32)?)?.try_into().ok()
}

/// Guards the lengths: a frame whose head is damaged is not taken for one that was not written to its end.
fn check_of(head: &[u8]) -> [u8; 4] {
    let hash: Hash = Sha256::digest(head.get(..HEAD - 4).unwrap_or_default()).into();
    four(&hash, 0)
}

impl FrameHead {
    /// Reads a head; `None` where these bytes are none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEAD)?;
        if !head.starts_with(&MAGIC) || check_of(head) != four(head, HEAD - 4) {
            return None;
        }
        let length = usize::try_from(u32::from_le_bytes(four(head, 4))).ok()?;
        let notes = usize::try_from(u32::from_le_bytes(four(head, 12))).ok()?;
        let first_seq = i64::from_le_bytes(eight(head, 28));
        let fits = length >= SMALLEST && notes <= length - SMALLEST && (1..=LAST_SEQ).contains(&first_seq);
        fits.then_some(Self {
            length,
            records: u32::from_le_bytes(four(head, 8)),
            notes,
            flags: u32::from_le_bytes(four(head, 16)),
            at: i64::from_le_bytes(eight(head, 20)),
            first_seq,
        })
    }

    fn write(&self, out: &mut [u8]) -> Option<()> {
        let lengths =
            [u32::try_from(self.length).ok()?, self.records, u32::try_from(self.notes).ok()?, self.flags];
        let head = out.get_mut(..HEAD)?;
        let mut bytes = Vec::with_capacity(HEAD);
        bytes.extend_from_slice(&MAGIC);
        lengths.iter().for_each(|length| bytes.extend_from_slice(&length.to_le_bytes()));
        bytes.extend_from_slice(&self.at.to_le_bytes());
        bytes.extend_from_slice(&self.first_seq.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let check = check_of(&bytes);
        bytes.truncate(HEAD - 4);
        bytes.extend_from_slice(&check);
        head.copy_from_slice(&bytes);
        Some(())
    }

    /// Whether the projection has to follow it.
    pub fn is_projected(&self) -> bool {
        self.flags & PROJECTED != 0
    }

    /// Whether its notes say how registers stand.
    pub fn has_registers(&self) -> bool {
        self.flags & REGISTERS != 0
    }

    /// Whether it is the last one of its segment.
    pub fn is_sealed(&self) -> bool {
        self.flags & SEALED != 0
    }
}

/// A record as it stands in its frame.
#[derive(Clone, Copy, Debug)]
pub struct Record<'f> {
    /// Where it stands, in bytes from the beginning of its frame.
    pub offset: usize,
    /// Its place in the chain.
    pub seq: i64,
    /// The hash that it follows.
    pub prev: Hash,
    /// Its own hash, as it is written.
    pub hash: Hash,
    /// Its text.
    pub body: &'f [u8],
}

/// A frame's bytes, whose head is one. Nothing else in it is trusted before [`Self::check`].
#[derive(Clone, Copy, Debug)]
pub struct Frame<'b> {
    /// What it says of itself.
    pub head: FrameHead,
    bytes: &'b [u8],
}

impl<'b> Frame<'b> {
    /// The frame that begins here; `None` where there is no head, or fewer bytes than it says.
    pub fn of(bytes: &'b [u8]) -> Option<Self> {
        let head = FrameHead::read(bytes)?;
        Some(Self { head, bytes: bytes.get(..head.length)? })
    }

    /// All of it.
    pub fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    fn notes_at(&self) -> usize {
        self.head.length - 32 - self.head.notes
    }

    /// What is no record.
    pub fn notes(&self) -> &'b [u8] {
        self.bytes.get(self.notes_at()..self.head.length - 32).unwrap_or_default()
    }

    /// Its records, as they are written. They end early where a length is wrong.
    pub fn records(&self) -> Records<'b> {
        Records {
            bytes: self.bytes.get(..self.notes_at()).unwrap_or_default(),
            at: HEAD + 32,
            seq: self.head.first_seq,
            left: self.head.records,
        }
    }

    /// The chain's hash before its first record, as it is written.
    pub fn prev(&self) -> Hash {
        hash_at(self.bytes, HEAD).unwrap_or_default()
    }

    /// Holds all of it against what it follows, and says what the next frame follows; the error says what is wrong.
    pub fn check(&self, before: &Head) -> Result<Head, String> {
        if self.head.first_seq != before.seq + 1 {
            return Err(format!("it begins at record {} and not at {}", self.head.first_seq, before.seq + 1));
        }
        self.check_apart(&before.hash)?;
        self.sealed_by(before)
    }

    /// The same of its records alone, where the frame before cannot be read.
    pub fn check_apart(&self, prev: &Hash) -> Result<(), String> {
        if self.prev() != *prev {
            return Err("it does not follow the record before".to_owned());
        }
        let mut found = 0;
        let mut records = self.records();
        for record in records.by_ref() {
            let body = std::str::from_utf8(record.body);
            let body = body.map_err(|_| format!("record {} is no text", record.seq))?;
            if chain::link(&record.prev, record.seq, body) != record.hash {
                return Err(format!("the hash of record {} is not that of its content", record.seq));
            }
            found += 1;
        }
        if found != self.head.records || records.at != self.notes_at() {
            return Err("its records are not as long as it says".to_owned());
        }
        Ok(())
    }

    /// The last record that is as it was written, of this frame or before it, where [`Self::check`] finds something wrong.
    pub fn good_until(&self, before: &Head) -> i64 {
        let fits = |record: &Record<'_>| {
            std::str::from_utf8(record.body)
                .is_ok_and(|body| chain::link(&record.prev, record.seq, body) == record.hash)
        };
        let wrong = self.records().find(|record| !fits(record));
        wrong.map_or(before.seq, |record| record.seq - 1)
    }

    /// Holds its own hash against the frame before, with its records' hashes as they are written.
    pub fn sealed_by(&self, before: &Head) -> Result<Head, String> {
        let hash = self.last_hash();
        let frame =
            frame_hash(&before.frame, self.bytes.get(..HEAD).unwrap_or_default(), &hash, self.notes());
        if hash_at(self.bytes, self.head.length - 32) != Some(frame) {
            return Err("its own hash is not that of its content".to_owned());
        }
        Ok(Head { seq: before.seq + i64::from(self.head.records), hash, frame })
    }

    /// What the next frame follows, as it is written here.
    pub fn written_end(&self) -> Head {
        let frame = hash_at(self.bytes, self.head.length - 32).unwrap_or_default();
        Head { seq: self.head.first_seq - 1 + i64::from(self.head.records), hash: self.last_hash(), frame }
    }

    /// The hash that the next record follows, as it is written.
    pub fn last_hash(&self) -> Hash {
        // What stands before the notes: the last record's, or the one that the frame follows.
        hash_at(self.bytes, self.notes_at() - 32).unwrap_or_default()
    }
}

fn frame_hash(before: &Hash, head: &[u8], last: &Hash, notes: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(head);
    hasher.update(last);
    hasher.update(notes);
    hasher.finalize().into()
}

/// The records of one frame.
#[derive(Clone, Debug)]
pub struct Records<'f> {
    bytes: &'f [u8],
    at: usize,
    seq: i64,
    left: u32,
}

impl<'f> Iterator for Records<'f> {
    type Item = Record<'f>;

    fn next(&mut self) -> Option<Record<'f>> {
        self.left = self.left.checked_sub(1)?;
        let length =
            usize::try_from(u32::from_le_bytes(self.bytes.get(self.at..self.at + 4)?.try_into().ok()?))
                .ok()?;
        let body_at = self.at + 4;
        let body_end = body_at.checked_add(length)?;
        let body = self.bytes.get(body_at..body_end)?;
        let (prev, hash) = (hash_at(self.bytes, self.at - 32)?, hash_at(self.bytes, body_end)?);
        let record = Record { offset: self.at, seq: self.seq, prev, hash, body };
        self.at = body_end + 32;
        self.seq += 1;
        Some(record)
    }
}

/// A frame being written.
#[derive(Debug)]
pub struct Draft {
    bytes: Vec<u8>,
    notes: Vec<u8>,
    before: Head,
    seq: i64,
    hash: Hash,
    records: u32,
    flags: u32,
    at: Option<i64>,
}

/// What is kept of room between frames.
const LARGEST_ROOM: usize = 256 * 1024;

impl Default for Draft {
    fn default() -> Self {
        let mut draft = Self {
            bytes: Vec::new(),
            notes: Vec::new(),
            before: Head::START,
            seq: 0,
            hash: GENESIS,
            records: 0,
            flags: 0,
            at: None,
        };
        draft.begin(&Head::START);
        draft
    }
}

impl Draft {
    /// Begins again behind `before`, whatever was written.
    pub fn begin(&mut self, before: &Head) {
        for room in [&mut self.bytes, &mut self.notes] {
            room.clear();
            room.shrink_to(LARGEST_ROOM);
        }
        self.bytes.extend_from_slice(&[0; HEAD]);
        self.bytes.extend_from_slice(&before.hash);
        (self.before, self.seq, self.hash) = (*before, before.seq, before.hash);
        (self.records, self.flags, self.at) = (0, 0, None);
    }

    /// The last record's `seq`, of this frame or before it.
    pub fn seq(&self) -> i64 {
        self.seq
    }

    /// Appends a record, whose text `write` puts at the end of what it is given. It must be UTF-8 and nothing else.
    pub fn record(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Record<'_> {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        write(&mut self.bytes);
        let body_at = offset + 4;
        // A body that is longer than four bytes can say would take a group of 4 GiB; `finish` refuses that.
        let length = u32::try_from(self.bytes.len() - body_at).unwrap_or(u32::MAX);
        if let Some(place) = self.bytes.get_mut(offset..body_at) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        let prev = self.hash;
        self.seq += 1;
        let text = std::str::from_utf8(self.bytes.get(body_at..).unwrap_or_default()).unwrap_or_default();
        self.hash = chain::link(&prev, self.seq, text);
        self.bytes.extend_from_slice(&self.hash);
        self.records += 1;
        let body_end = self.bytes.len() - 32;
        let body = self.bytes.get(body_at..body_end).unwrap_or_default();
        Record { offset, seq: self.seq, prev, hash: self.hash, body }
    }

    /// Where notes are appended.
    pub fn notes(&mut self) -> &mut Vec<u8> {
        &mut self.notes
    }

    /// Marks the frame.
    pub fn flag(&mut self, flag: u32) {
        self.flags |= flag;
    }

    /// Whether it is marked so.
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Notes a time that something in it names, in microseconds.
    pub fn saw(&mut self, at: i64) {
        self.at = self.at.max(Some(at));
    }

    /// The latest time in it.
    pub fn at(&self) -> Option<i64> {
        self.at
    }

    /// Whether there is something to write.
    pub fn is_empty(&self) -> bool {
        self.records == 0 && self.notes.is_empty() && self.flags & SEALED == 0
    }

    /// The bytes of the frame, and the journal's end once they are written; `None` where a frame cannot be so long.
    pub fn finish(&mut self) -> Option<(&[u8], Head)> {
        let notes_at = self.bytes.len();
        let notes = std::mem::take(&mut self.notes);
        self.bytes.extend_from_slice(&notes);
        let head = FrameHead {
            length: self.bytes.len() + 32,
            records: self.records,
            notes: notes.len(),
            flags: self.flags,
            at: self.at.unwrap_or_default(),
            first_seq: self.before.seq + 1,
        };
        self.notes = notes;
        // A second try begins where this one did.
        let written = head.write(&mut self.bytes).map(|()| {
            let start = self.bytes.get(..HEAD).unwrap_or_default();
            frame_hash(&self.before.frame, start, &self.hash, &self.notes)
        });
        let Some(frame) = written else {
            self.bytes.truncate(notes_at);
            return None;
        };
        self.bytes.extend_from_slice(&frame);
        Some((&self.bytes, Head { seq: self.seq, hash: self.hash, frame }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(before: &Head, bodies: &[&str], notes: &[u8]) -> (Vec<u8>, Head) {
        let mut draft = Draft::default();
        draft.begin(before);
        for body in bodies {
            draft.record(|out| out.extend_from_slice(body.as_bytes()));
        }
        draft.notes().extend_from_slice(notes);
        draft.saw(7);
        let (bytes, head) = draft.finish().unwrap();
        (bytes.to_vec(), head)
    }

    #[test]
    fn what_is_written_is_read() {
        let before = Head { seq: 41, hash: [3; 32], frame: [4; 32] };
        let (bytes, head) = frame(&before, &["{\"a\":1}", "", "{\"ü\":2}"], b"notes");
        let read = Frame::of(&bytes).unwrap();
        assert_eq!(read.check(&before), Ok(head));
        assert_eq!((head.seq, read.head.first_seq, read.head.at), (44, 42, 7));
        assert_eq!(read.notes(), b"notes");
        let records: Vec<_> =
            read.records().map(|r| (r.seq, String::from_utf8(r.body.to_vec()).unwrap())).collect();
        assert_eq!(
            records,
            [(42, "{\"a\":1}".to_owned()), (43, String::new()), (44, "{\"ü\":2}".to_owned())]
        );
        assert_eq!(read.records().next().unwrap().prev, before.hash);
        assert_eq!(read.last_hash(), head.hash);
        assert!(read.check(&Head { seq: 40, ..before }).is_err());
        assert!(read.check(&Head { hash: [9; 32], ..before }).is_err());
        assert!(read.check(&Head { frame: [9; 32], ..before }).is_err());
    }

    /// R57: a bit that differs anywhere in a frame is seen, and a frame that is not all there is none.
    #[test]
    fn every_bit_counts() {
        let (bytes, _) = frame(&Head::START, &["{\"a\":1}", "{}"], b"n");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                let seen = Frame::of(&bad).is_none_or(|frame| frame.check(&Head::START).is_err());
                assert!(seen, "byte {at}, bit {bit}");
            }
            assert!(Frame::of(&bytes[..at]).is_none(), "cut at {at}");
        }
        assert!(Frame::of(&bytes).unwrap().check(&Head::START).is_ok());
    }

    #[test]
    fn a_frame_of_notes_alone_moves_no_record() {
        let before = Head { seq: 5, hash: [1; 32], frame: [2; 32] };
        let (bytes, head) = frame(&before, &[], b"x");
        assert_eq!((head.seq, head.hash), (5, [1; 32]));
        assert_ne!(head.frame, before.frame);
        assert_eq!(Frame::of(&bytes).unwrap().check(&before), Ok(head));
    }
}
