//! The frames that say how registers stand: the one that sealed the segment before the newest, and those of the newest. The
//! rest of the journal need not be read, and nothing outside it is believed.

use super::{
    JournalError, Place,
    chain::Hash,
    files,
    frame::{Frame, FrameHead, Head, MAGIC},
    read::Reader,
    segment::{SEGMENT_HEAD, Segment, Step},
};
use std::path::Path;

/// With more frames than this the segment is read through: each read alone costs a read of its own.
const APART: usize = 64;

/// Bytes that are read first from a segment's end, to find the frame that sealed it.
const FIRST: u64 = 64 << 10;

/// What takes a frame with its place.
type TakeFrame<'t> = &'t mut dyn FnMut(Place, &Frame<'_>) -> Result<(), JournalError>;

impl Reader {
    /// Hands on, in order, the frames that say together how registers stand, up to a place or as far as was read. A place
    /// that is not of the newest segment is an error: the journal went on meanwhile.
    pub fn registers(&self, until: Option<Place>, take: TakeFrame<'_>) -> Result<(), JournalError> {
        let (tail, offsets, before) = self.registers_of_tail();
        let first = tail.first_seq();
        if until.is_some_and(|until| until.segment != first) {
            let problem = "the journal has a newer segment by now".to_owned();
            return Err(JournalError::Failed { path: tail.path, problem });
        }
        // A segment that goes on behind damage says all of it in its first frame.
        if let Some(before) = before.filter(|_| !tail.head.after_damage) {
            sealing(&before, &tail.head.before, take)?;
        }
        let is_before = |offset: u64| until.is_none_or(|until| offset < until.offset);
        let offsets: Vec<u64> = offsets.into_iter().filter(|offset| is_before(*offset)).collect();
        let Some(begin) = offsets.first().copied() else { return Ok(()) };
        let mut take_marked = |place: Place, frame: &Frame<'_>| match frame.head.has_registers() {
            true => take(place, frame),
            false => Ok(()),
        };
        if offsets.len() > APART {
            return self.frames(Place { segment: first, offset: begin }, until, &mut take_marked);
        }
        for offset in offsets {
            match tail.scan_unheld(offset)?.step()? {
                Step::Frame { offset, frame, .. } => take_marked(Place { segment: first, offset }, &frame)?,
                Step::End | Step::Torn { .. } | Step::Damaged { .. } => {
                    let problem = "the frame that was read there before is not there".to_owned();
                    return Err(JournalError::damaged(&tail.path, offset, first - 1, problem));
                }
            }
        }
        Ok(())
    }
}

/// The frame that sealed a segment, found from the file's end and held against its hash and against `after`, which is what the
/// next segment follows: nothing else reads it at a start. It has no records, so that four of its bytes are zero: no text in its
/// notes looks like its head.
fn sealing(path: &Path, after: &Head, take: TakeFrame<'_>) -> Result<(), JournalError> {
    let segment = Segment::open_any(path)?;
    let length = segment.length()?;
    let mut window = FIRST;
    loop {
        let from = length.saturating_sub(window).max(SEGMENT_HEAD);
        let mut bytes = vec![0; usize::try_from(length.saturating_sub(from)).unwrap_or_default()];
        let read = files::read_at(&segment.file, &mut bytes, from)
            .map_err(|error| JournalError::of(&segment.path, &error))?;
        bytes.truncate(read);
        for at in (0..bytes.len()).rev() {
            let rest = bytes.get(at..).unwrap_or_default();
            if !rest.starts_with(&MAGIC) {
                continue;
            }
            let fits = |head: &FrameHead| head.length == rest.len() && head.is_sealed() && head.records == 0;
            if FrameHead::read(rest).is_some_and(|head| fits(&head))
                && let Some(frame) = Frame::of(rest)
                && frame.written_end() == *after
            {
                let offset = from + at as u64;
                let before = Head { frame: hash_before(&segment, offset)?, ..*after };
                frame
                    .sealed_by(&before)
                    .map_err(|problem| JournalError::damaged(&segment.path, offset, after.seq, problem))?;
                let place = Place { segment: segment.first_seq(), offset };
                return match frame.head.has_registers() {
                    true => take(place, &frame),
                    false => Ok(()),
                };
            }
        }
        if from <= SEGMENT_HEAD {
            let problem = "the frame that sealed it is not at its end".to_owned();
            return Err(JournalError::damaged(&segment.path, length, after.seq, problem));
        }
        window = window.saturating_mul(8);
    }
}

/// The hash of the frame that ends where another begins, as it is written: its last bytes.
fn hash_before(segment: &Segment, offset: u64) -> Result<Hash, JournalError> {
    if offset == SEGMENT_HEAD {
        return Ok(segment.head.before.frame);
    }
    let mut hash = Hash::default();
    files::read_at(&segment.file, &mut hash, offset.saturating_sub(32))
        .map_err(|error| JournalError::of(&segment.path, &error))?;
    Ok(hash)
}
