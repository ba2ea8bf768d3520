//! The files of a journal: each holds the frames of some 100,000 records, and is named by the first of them.

use super::{
    Damage, JournalError,
    chain::{GENESIS, Hash},
    files,
    frame::{Frame, FrameHead, HEAD, Head, LAST_SEQ, SHORTEST_RECORD},
};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Records after which a segment is sealed, and bytes.
pub const RECORDS: u32 = 100_000;
/// Bytes after which a segment is sealed.
pub const BYTES: u64 = 256 << 20;

/// Bytes before a segment's first frame.
pub const SEGMENT_HEAD: u64 = 136;

const MAGIC: [u8; 8] = *b"TGJRNL\x01\n";

/// How a segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// Which journal it is of.
    pub journal: [u8; 16],
    /// What its first frame follows.
    pub before: Head,
    /// A person said that it goes on here, behind a segment that is damaged or was cut.
    pub after_damage: bool,
}

impl SegmentHead {
    /// Whether it goes on from the end of the segment before: behind damage only numbers may be missing between them.
    pub fn follows(&self, end: &Head) -> bool {
        let numbers = self.before.seq == end.seq || (self.after_damage && self.before.seq > end.seq);
        numbers && self.before.hash == end.hash && self.before.frame == end.frame
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.journal);
        bytes.extend_from_slice(&self.before.seq.to_le_bytes());
        bytes.extend_from_slice(&self.before.hash);
        bytes.extend_from_slice(&self.before.frame);
        bytes.extend_from_slice(&u64::from(self.after_damage).to_le_bytes());
        let check: Hash = Sha256::digest(&bytes).into();
        bytes.extend_from_slice(&check);
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (content, check) = bytes.split_at_checked(usize::try_from(SEGMENT_HEAD).ok()? - 32)?;
        let sum: Hash = Sha256::digest(content).into();
        if check.get(..32)? != sum {
            return None;
        }
        let content = content.strip_prefix(&MAGIC)?;
        let (journal, rest) = content.split_first_chunk::<16>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let (hash, rest) = rest.split_first_chunk::<32>()?;
        let (frame, rest) = rest.split_first_chunk::<32>()?;
        let flags = rest.first_chunk::<8>()?;
        let seq = i64::from_le_bytes(*seq);
        (0..LAST_SEQ).contains(&seq).then_some(())?;
        Some(Self {
            journal: *journal,
            before: Head { seq, hash: *hash, frame: *frame },
            after_damage: u64::from_le_bytes(*flags) != 0,
        })
    }
}

/// A segment's file.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// Open for reading, and for writing where it was opened so.
    pub file: Arc<File>,
    /// How it begins.
    pub head: SegmentHead,
    /// What is wrong with its first bytes, where they cannot be read: `head` is then what its name says.
    pub bad_head: Option<String>,
}

/// The name of the segment whose first record has this `seq`.
pub(super) fn name(first_seq: i64) -> String {
    format!("{first_seq:020}.segment")
}

/// The `seq` of the first record of the segment that has this name.
fn named(path: &Path) -> Option<i64> {
    let first: i64 = path.file_stem()?.to_str()?.parse().ok()?;
    let canonical = path.file_name()?.to_str()? == name(first);
    (canonical && (1..=LAST_SEQ).contains(&first)).then_some(first)
}

/// Where the index of a segment is.
pub fn index_path(segment: &Path) -> PathBuf {
    segment.with_extension("index")
}

/// Where what charts draw of a segment is.
pub fn rollup_path(segment: &Path) -> PathBuf {
    segment.with_extension("rollup")
}

/// Removes a segment, and what was made of it.
pub fn remove_segment(segment: &Path) -> Result<(), JournalError> {
    for file in with_made(segment) {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(JournalError::of(&file, &error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Moves a segment, and what was made of it, to another folder.
pub fn move_segment(segment: &Path, folder: &Path) -> Result<(), JournalError> {
    for file in with_made(segment) {
        let Some(name) = file.file_name().filter(|_| file.exists()) else { continue };
        fs::rename(&file, folder.join(name)).map_err(|error| JournalError::of(&file, &error))?;
    }
    Ok(())
}

fn with_made(segment: &Path) -> [PathBuf; 3] {
    [segment.to_owned(), index_path(segment), rollup_path(segment)]
}

/// The segments of a folder by the `seq` of their first records, in order.
pub fn list(dir: &Path) -> Result<Vec<(i64, PathBuf)>, JournalError> {
    let failed = |error: &io::Error| JournalError::of(dir, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| failed(&e))? {
        let path = entry.map_err(|e| failed(&e))?.path();
        if path.extension().is_none_or(|extension| extension != "segment") {
            continue;
        }
        match named(&path) {
            Some(first) => found.push((first, path)),
            None => {
                let problem =
                    "its name is not that of a segment: move it out of the journal's folder".to_owned();
                return Err(JournalError::Failed { path, problem });
            }
        }
    }
    found.sort();
    Ok(found)
}

impl Segment {
    /// The `seq` of its first record, which names it.
    pub fn first_seq(&self) -> i64 {
        self.head.before.seq + 1
    }

    /// Makes the file with its first frame, whole or not at all; there must be none of its name.
    pub(super) fn create_with(dir: &Path, head: &SegmentHead, frame: &[u8]) -> Result<PathBuf, JournalError> {
        let path = dir.join(name(head.before.seq + 1));
        if path.exists() {
            let problem = "there is a segment of this name already".to_owned();
            return Err(JournalError::Failed { path, problem });
        }
        let mut bytes = head.write();
        bytes.extend_from_slice(frame);
        files::write_new(&path, &bytes).map_err(|error| JournalError::of(&path, &error))?;
        Ok(path)
    }

    /// Makes the file, whole or not at all. One that is there already is opened: another process was first.
    pub fn create(dir: &Path, head: &SegmentHead) -> Result<Self, JournalError> {
        let path = dir.join(name(head.before.seq + 1));
        files::write_new(&path, &head.write()).map_err(|error| JournalError::of(&path, &error))?;
        let made = Self::open(&path, true)?;
        if made.head == *head {
            return Ok(made);
        }
        Err(JournalError::damaged(
            &path,
            0,
            made.head.before.seq,
            "it does not follow the segment before".to_owned(),
        ))
    }

    /// Opens it; `write`: to append to it.
    pub fn open(path: &Path, write: bool) -> Result<Self, JournalError> {
        let failed = |error: io::Error| JournalError::of(path, &error);
        let file = File::options().read(true).write(write).open(path).map_err(failed)?;
        let mut bytes = vec![0; usize::try_from(SEGMENT_HEAD).unwrap_or_default()];
        let read = files::read_at(&file, &mut bytes, 0).map_err(failed)?;
        let head = bytes.get(..read).and_then(SegmentHead::read);
        let head = head.ok_or_else(|| {
            JournalError::damaged(path, 0, 0, "its first bytes are no segment's".to_owned())
        })?;
        let named = path.file_name().and_then(|name| name.to_str()) == Some(&name(head.before.seq + 1));
        if !named {
            let problem = format!("it begins behind record {}, which is not its name", head.before.seq);
            return Err(JournalError::damaged(path, 0, head.before.seq, problem));
        }
        Ok(Self { path: path.to_owned(), file: Arc::new(file), head, bad_head: None })
    }

    /// Opens it for reading, also where its first bytes are damaged.
    pub fn open_any(path: &Path) -> Result<Self, JournalError> {
        let (damage, first) = match (Self::open(path, false), named(path)) {
            (Err(JournalError::Damaged(damage)), Some(first)) => (damage, first),
            (opened, _) => return opened,
        };
        let file = File::open(path).map_err(|error| JournalError::of(path, &error))?;
        let before = Head { seq: first - 1, ..Head::START };
        let head = SegmentHead { journal: [0; 16], before, after_damage: false };
        Ok(Self { path: path.to_owned(), file: Arc::new(file), head, bad_head: Some(damage.problem) })
    }

    /// What is wrong with its first bytes.
    pub(super) fn head_damage(&self) -> Option<Damage> {
        let problem = self.bad_head.clone()?;
        Some(Damage { path: self.path.clone(), offset: 0, after: self.head.before.seq, problem })
    }

    /// Reads all of its frames.
    pub fn scan_all(&self) -> Result<Scan<'_>, JournalError> {
        match self.bad_head {
            None => self.scan(SEGMENT_HEAD, self.head.before),
            Some(_) => self.scan_unheld(SEGMENT_HEAD),
        }
    }

    /// How many records can stand before a byte of it.
    pub(super) fn most_records(offset: u64) -> i64 {
        i64::try_from(offset / SHORTEST_RECORD).unwrap_or(i64::MAX)
    }

    /// What the bytes at an offset say as a frame's head.
    pub(super) fn frame_head(&self, offset: u64) -> Result<Option<FrameHead>, JournalError> {
        let mut bytes = [0; HEAD];
        let read = files::read_at(&self.file, &mut bytes, offset)
            .map_err(|error| JournalError::of(&self.path, &error))?;
        Ok(bytes.get(..read).and_then(FrameHead::read))
    }

    /// Its length now.
    pub fn length(&self) -> Result<u64, JournalError> {
        self.file
            .metadata()
            .map(|metadata| metadata.len())
            .map_err(|error| JournalError::of(&self.path, &error))
    }

    /// Reads its frames from an offset on, where `head` is what the frame there follows.
    pub fn scan(&self, offset: u64, head: Head) -> Result<Scan<'_>, JournalError> {
        let end = self.length()?;
        Ok(Scan { segment: self, buffer: Vec::new(), start: offset, at: 0, offset, end, head, unheld: false })
    }

    /// The same where a frame is known to begin at the offset, and what it follows is not known.
    pub fn scan_unheld(&self, offset: u64) -> Result<Scan<'_>, JournalError> {
        Ok(Scan { unheld: true, ..self.scan(offset, self.head.before)? })
    }

    /// Reads one record by its offset in the segment, with the hash that it follows and its own, as they are written.
    pub fn record(&self, offset: u64) -> Result<(Hash, Hash, Vec<u8>), JournalError> {
        let failed = |error: &io::Error| JournalError::of(&self.path, error);
        let problem = || {
            JournalError::damaged(&self.path, offset, self.head.before.seq, "no record is there".to_owned())
        };
        let from = offset.checked_sub(32).ok_or_else(problem)?;
        // Most records fit into the first read.
        let mut bytes = vec![0; 4096];
        let read = files::read_at(&self.file, &mut bytes, from).map_err(|e| failed(&e))?;
        bytes.truncate(read);
        let prev: Hash = *bytes.first_chunk().ok_or_else(problem)?;
        let length =
            bytes.get(32..36).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes).ok_or_else(problem)?;
        let length = usize::try_from(length).map_err(|_| problem())?;
        let whole = 36 + length + 32;
        if whole > bytes.len() {
            let left = self.length()?.saturating_sub(from);
            if u64::try_from(whole).map_or(true, |whole| whole > left) {
                return Err(problem());
            }
            let before = bytes.len();
            bytes.resize(whole, 0);
            let rest = bytes.get_mut(before..).unwrap_or_default();
            let more = files::read_at(&self.file, rest, from + before as u64).map_err(|e| failed(&e))?;
            bytes.truncate(before + more);
        }
        bytes.truncate(whole);
        let hash: Hash = *bytes.last_chunk().filter(|_| bytes.len() == whole).ok_or_else(problem)?;
        bytes.truncate(36 + length);
        bytes.drain(..36);
        Ok((prev, hash, bytes))
    }
}

/// What stands at a place of a segment.
#[derive(Debug)]
pub enum Step<'s> {
    /// A frame. Its own hash fits; its records are not held against theirs.
    Frame {
        /// In bytes of the segment.
        offset: u64,
        /// What it follows.
        before: Head,
        /// Its content.
        frame: Frame<'s>,
    },
    /// The end.
    End,
    /// A frame that was not written to its end.
    Torn {
        /// Where it begins.
        offset: u64,
    },
    /// Bytes that are no frame, or one that is not what was written.
    Damaged {
        /// Where it begins.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
}

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;

/// Frames of a segment, one after the other, as far as the file went when it began.
#[derive(Debug)]
pub struct Scan<'s> {
    segment: &'s Segment,
    buffer: Vec<u8>,
    /// Where the buffer begins in the segment.
    start: u64,
    /// What of the buffer is behind us.
    at: usize,
    offset: u64,
    end: u64,
    head: Head,
    /// What the next frame follows is not known: what it says itself is taken as it is written, once.
    unheld: bool,
}

impl Scan<'_> {
    /// Where the next frame begins, and what it follows.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What the next frame follows.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Whether what the next frame follows is known.
    pub(super) fn is_held(&self) -> bool {
        !self.unheld
    }

    /// Whether a record with this number can stand at the present place: those before it take room.
    fn has_room_for(&self, seq: i64) -> bool {
        (0..=Segment::most_records(self.offset)).contains(&(seq - self.segment.first_seq()))
    }

    fn left(&self) -> u64 {
        self.end.saturating_sub(self.offset)
    }

    /// Has so many bytes from the offset on in the buffer; `false` where the file has not.
    fn fill(&mut self, wanted: usize) -> Result<bool, JournalError> {
        if u64::try_from(wanted).map_or(true, |wanted| wanted > self.left()) {
            return Ok(false);
        }
        if self.buffer.len() - self.at >= wanted {
            return Ok(true);
        }
        self.buffer.drain(..self.at);
        self.start = self.offset;
        self.at = 0;
        let before = self.buffer.len();
        let room = wanted.max(CHUNK).min(usize::try_from(self.left()).unwrap_or(usize::MAX));
        self.buffer.resize(room, 0);
        let rest = self.buffer.get_mut(before..).unwrap_or_default();
        let read = files::read_at(&self.segment.file, rest, self.start + before as u64)
            .map_err(|error| JournalError::of(&self.segment.path, &error))?;
        self.buffer.truncate(before + read);
        // Somebody cut the file meanwhile.
        Ok(self.buffer.len() >= wanted)
    }

    /// What stands next. After anything but a frame it stays where it is.
    pub fn step(&mut self) -> Result<Step<'_>, JournalError> {
        let offset = self.offset;
        if self.left() == 0 {
            return Ok(Step::End);
        }
        if !self.fill(HEAD)? {
            return Ok(Step::Torn { offset });
        }
        let Some(head) = self.buffer.get(self.at..).and_then(FrameHead::read) else {
            return self.unreadable("no frame begins there");
        };
        if !self.fill(head.length)? {
            return Ok(Step::Torn { offset });
        }
        let Some(frame) = self.buffer.get(self.at..).and_then(Frame::of) else {
            return self.unreadable("no frame begins there");
        };
        if self.unheld && !self.has_room_for(head.first_seq) {
            return self.unreadable("its number is none that can stand there");
        }
        let before = match self.unheld {
            true => Head { seq: frame.head.first_seq - 1, hash: frame.prev(), frame: GENESIS },
            false => self.head,
        };
        if frame.head.first_seq != before.seq + 1 || frame.prev() != before.hash {
            return self.unreadable("it does not follow the record before");
        }
        let after = if self.unheld { Ok(frame.written_end()) } else { frame.sealed_by(&before) };
        match after {
            Ok(after) => {
                self.unheld = false;
                self.head = after;
                self.offset += head.length as u64;
                let at = self.at;
                self.at += head.length;
                // The borrow of the first look cannot be handed out.
                match self.buffer.get(at..).and_then(Frame::of) {
                    Some(frame) => Ok(Step::Frame { offset, before, frame }),
                    None => Ok(Step::Damaged { offset, problem: "no frame begins there".to_owned() }),
                }
            }
            Err(problem) => self.unreadable(&problem),
        }
    }

    /// A file that grew and whose last bytes never came (zeros up to its end) is torn; anything else is damage, and so is
    /// what stands before a frame that can be read.
    fn unreadable(&mut self, problem: &str) -> Result<Step<'static>, JournalError> {
        let offset = self.offset;
        // A whole hash of zeros does not occur: what ends so was not written.
        let mut last = [0; 32];
        let from = self.end.saturating_sub(32).max(offset);
        let read = files::read_at(&self.segment.file, &mut last, from)
            .map_err(|error| JournalError::of(&self.segment.path, &error))?;
        let unwritten = last.get(..read).is_some_and(|last| last.iter().all(|byte| *byte == 0));
        if unwritten && self.segment.scan(offset, self.head)?.resume()?.is_none() {
            return Ok(Step::Torn { offset });
        }
        Ok(Step::Damaged { offset, problem: problem.to_owned() })
    }

    /// Goes on at the next frame behind damage whose records follow each other, and says where; `None`: there is none.
    pub fn resume(&mut self) -> Result<Option<u64>, JournalError> {
        loop {
            self.offset += 1;
            self.at = (self.at + 1).min(self.buffer.len());
            if !self.fill(HEAD)? {
                return Ok(None);
            }
            let Some(head) = self.buffer.get(self.at..).and_then(FrameHead::read) else { continue };
            if !self.fill(head.length)? {
                continue;
            }
            let Some(frame) = self.buffer.get(self.at..).and_then(Frame::of) else { continue };
            let prev = frame.prev();
            // What it says must come after what was read, and fit into the bytes before it.
            let fits = head.first_seq > self.head.seq && self.has_room_for(head.first_seq);
            if !fits || frame.check_apart(&prev).is_err() {
                continue;
            }
            self.unheld = true;
            return Ok(Some(self.offset));
        }
    }
}
