//! The indexes of sealed segments in their files: found, held against their segments, rebuilt.

use super::{
    JournalError,
    chain::Hash,
    files,
    index::{Builder, IndexError, Members, SegmentIndex},
    segment::{self, SEGMENT_HEAD, Segment, Step},
};
use std::path::Path;

fn of_index(path: &Path, error: &IndexError) -> JournalError {
    JournalError::Failed { path: path.to_owned(), problem: error.to_string() }
}

impl From<IndexError> for JournalError {
    fn from(error: IndexError) -> Self {
        of_index(Path::new("index"), &error)
    }
}

pub(super) fn open_index(segment: &Segment) -> Result<SegmentIndex, JournalError> {
    let path = segment::index_path(&segment.path);
    let end = sealed_end(segment)?;
    match SegmentIndex::open(&path) {
        Ok(index) if *index.segment() == end => return Ok(index),
        Ok(_) => {
            tracing::warn!(path = %path.display(), "journal.index_differs: it is rebuilt from its segment")
        }
        Err(error) if path.exists() => {
            tracing::warn!(path = %path.display(), %error, "journal.index_unreadable: it is rebuilt from its segment");
        }
        Err(_) => {}
    }
    write_index(segment, &path)
}

pub(super) fn write_index(segment: &Segment, path: &Path) -> Result<SegmentIndex, JournalError> {
    let bytes = build_index(segment)?;
    files::replace(path, &bytes).map_err(|error| JournalError::of(path, &error))?;
    SegmentIndex::open(path).map_err(|error| of_index(path, &error))
}

/// Makes the index of a sealed segment where it has none.
pub fn make_index(path: &Path) -> Result<(), JournalError> {
    open_index(&Segment::open(path, false)?).map(drop)
}

/// What names a sealed segment's content: its last 32 bytes are the hash of its last frame.
fn sealed_end(segment: &Segment) -> Result<Hash, JournalError> {
    let mut last = [0; 32];
    let at = segment.length()?.saturating_sub(32);
    let read = files::read_at(&segment.file, &mut last, at)
        .map_err(|error| JournalError::of(&segment.path, &error))?;
    match read {
        32 => Ok(last),
        _ => Err(JournalError::damaged(&segment.path, at, 0, "it is shorter than a hash".to_owned())),
    }
}

/// The bytes of a sealed segment's index, made from the segment alone.
pub fn build_index(segment: &Segment) -> Result<Vec<u8>, JournalError> {
    let first = segment.first_seq();
    let mut builder = Builder::new();
    let mut next = first;
    let mut scan = segment.scan(SEGMENT_HEAD, segment.head.before)?;
    loop {
        match scan.step()? {
            Step::Frame { offset, frame, .. } => {
                for record in frame.records() {
                    while next < record.seq && next - first < i64::from(u32::MAX) {
                        builder.add(0, None);
                        next += 1;
                    }
                    let members =
                        std::str::from_utf8(record.body).ok().and_then(|body| Members::read(body).ok());
                    let at = u32::try_from(offset + record.offset as u64).unwrap_or(0);
                    builder.add(at, members.as_ref());
                    next += 1;
                }
            }
            Step::End => break,
            // Verification names it; the rest is found.
            Step::Torn { .. } | Step::Damaged { .. } => {
                if scan.resume()?.is_none() {
                    break;
                }
            }
        }
    }
    Ok(builder.finish(&sealed_end(segment)?))
}
