//! Segments as they stand elsewhere.

use super::{
    JournalError,
    files::{self, beside},
    frame::Frame,
    segment::{self, SEGMENT_HEAD, Segment, SegmentHead},
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// A segment that is taken as it stands elsewhere, whether or not it can be read: it has its name once all of it is there.
#[derive(Debug)]
pub struct RawSegment {
    file: File,
    written: PathBuf,
    path: PathBuf,
}

impl RawSegment {
    /// Begins it in a folder.
    pub fn begin(dir: &Path, head: &SegmentHead) -> Result<Self, JournalError> {
        let path = dir.join(segment::name(head.before.seq + 1));
        let written = beside(&path);
        let file = files::open_private(&written).map_err(|error| JournalError::of(&written, &error))?;
        let raw = Self { file, written, path };
        raw.put(0, &head.write())?;
        Ok(raw)
    }

    /// Writes what stands at an offset. What is never written is zeros.
    pub fn put(&self, offset: u64, bytes: &[u8]) -> Result<(), JournalError> {
        files::write_at(&self.file, bytes, offset).map_err(|error| JournalError::of(&self.written, &error))
    }

    /// Gives it its name.
    pub fn end(self) -> Result<(), JournalError> {
        let named = self.file.sync_all().and_then(|()| fs::rename(&self.written, &self.path));
        named
            .and_then(|()| files::sync_folder(&self.path))
            .map_err(|error| JournalError::of(&self.path, &error))
    }
}

/// Begins a segment that goes on behind damage with its first frame, as both stand elsewhere: both are there, or neither.
pub fn go_on_as(dir: &Path, head: &SegmentHead, frame: &[u8]) -> Result<(), JournalError> {
    let read = Frame::of(frame).filter(|read| read.head.length == frame.len());
    let checked = match read {
        Some(read) => read.check(&head.before).map(drop),
        None => Err("it is no whole frame".to_owned()),
    };
    checked.map_err(|problem| {
        let path = dir.join(segment::name(head.before.seq + 1));
        JournalError::damaged(
            &path,
            SEGMENT_HEAD,
            head.before.seq,
            format!("what is to be copied: {problem}"),
        )
    })?;
    Segment::create_with(dir, head, frame).map(drop)
}
