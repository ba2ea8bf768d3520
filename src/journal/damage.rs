//! Damage: found wherever it is, told by its place, and gone on behind because a person says so.

use super::{
    Damage, JournalError, Place, files,
    frame::{Draft, Frame, Head, LAST_SEQ},
    segment::{self, SEGMENT_HEAD, Segment, SegmentHead, Step},
};
use std::path::{Path, PathBuf};

/// Damaged places of one segment that are told one by one.
const MOST: usize = 64;

/// What a segment was found to be, all of it read.
#[derive(Debug)]
pub struct Walked {
    /// What a frame behind its last readable one follows.
    pub end: Head,
    /// Where that ends, in bytes.
    pub offset: u64,
    /// All that is not as it was written, in order.
    pub damage: Vec<Damage>,
    /// Where a frame begins that was not written to its end.
    pub torn: Option<u64>,
    /// The highest number that a record of it may have, readable or not.
    pub last_seq: i64,
}

/// What to do after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Read on.
    On,
    /// Leave it at that.
    Stop,
}

/// Reads a segment up to an offset or its end, holding every frame and record against its hash, and goes on behind what is
/// damaged. `each` is told of each frame where it begins, what it follows and how long it is.
pub fn walk(
    segment: &Segment,
    until: Option<u64>,
    each: &mut dyn FnMut(u64, &Head, &Frame<'_>) -> Flow,
) -> Result<Walked, JournalError> {
    let mut walked = Walked {
        end: segment.head.before,
        offset: SEGMENT_HEAD,
        damage: segment.head_damage().into_iter().collect(),
        torn: None,
        last_seq: segment.head.before.seq,
    };
    let damaged = |offset, after, problem| Damage { path: segment.path.clone(), offset, after, problem };
    let mut scan = segment.scan_all()?;
    loop {
        let found = match scan.step()? {
            Step::Frame { offset, before, frame } => {
                if until.is_some_and(|until| offset >= until) {
                    break;
                }
                let wrong = frame.check_apart(&frame.prev()).err();
                let wrong = wrong.map(|problem| damaged(offset, frame.good_until(&before), problem));
                walked.damage.extend(wrong.filter(|_| walked.damage.len() < MOST));
                walked.end = frame.written_end();
                walked.offset = offset + frame.head.length as u64;
                walked.last_seq = walked.last_seq.max(walked.end.seq);
                match each(offset, &before, &frame) {
                    Flow::On => continue,
                    Flow::Stop => break,
                }
            }
            Step::End => break,
            Step::Torn { offset } => (offset, None),
            Step::Damaged { offset, problem } => (offset, Some(problem)),
        };
        let (offset, problem) = found;
        let is_torn = problem.is_none();
        let problem = problem.unwrap_or_else(|| "a frame ends early".to_owned());
        let damage = damaged(offset, scan.head().seq, problem);
        let goes_on = scan.resume()?.is_some();
        if is_torn && !goes_on {
            walked.torn = Some(offset);
        } else if walked.damage.len() < MOST {
            walked.damage.push(damage);
        }
        if !goes_on {
            walked.last_seq = walked.last_seq.max(claimed(segment, offset, walked.last_seq)?);
            break;
        }
    }
    Ok(walked)
}

/// The highest number that a record can have in bytes that cannot be read: what heads say where they can be read, else as
/// many records as have room.
fn claimed(segment: &Segment, mut offset: u64, mut seq: i64) -> Result<i64, JournalError> {
    let end = segment.length()?;
    while offset < end {
        let head = segment.frame_head(offset)?;
        let room = Segment::most_records(end.saturating_sub(offset));
        match head.filter(|head| head.first_seq == seq + 1 && i64::from(head.records) <= room) {
            Some(head) => {
                seq += i64::from(head.records);
                offset += head.length as u64;
            }
            None => return Ok(seq + room),
        }
    }
    Ok(seq)
}

/// A journal that is to go on behind damage.
#[derive(Debug)]
pub struct Survey {
    /// Which journal it is.
    pub journal: [u8; 16],
    /// All that is not as it was written, and what is missing.
    pub damage: Vec<Damage>,
    /// The last record before its end that can be read.
    pub readable: i64,
    /// What the first frame behind it follows: no number is given twice that may have been given.
    pub before: Head,
    /// Where what can be read ends.
    pub end: Place,
    /// A segment that was begun to go on behind damage, and whose first frame was never written.
    unfinished: Option<PathBuf>,
}

impl Survey {
    /// Whether somebody has begun to go on behind damage, and died.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished.is_some()
    }
}

/// Reads all of a journal, where records up to `at_least` are known to have been there. `None`: there is no segment. For the
/// holder of the lock.
pub fn survey(dir: &Path, at_least: i64) -> Result<Option<Survey>, JournalError> {
    let mut paths: Vec<PathBuf> = segment::list(dir)?.into_iter().map(|(_, path)| path).collect();
    let unfinished = match paths.last() {
        Some(newest) if is_unfinished(newest)? => paths.pop(),
        Some(_) | None => None,
    };
    let mut survey = Survey {
        journal: [0; 16],
        damage: Vec::new(),
        readable: 0,
        before: Head::START,
        end: Place { segment: 0, offset: 0 },
        unfinished,
    };
    let mut before: Option<Head> = None;
    let (mut last_seq, mut newest_before) = (0, 0);
    for (at, path) in paths.iter().enumerate() {
        let segment = Segment::open_any(path)?;
        let is_newest = at + 1 == paths.len();
        let walked = walk(&segment, None, &mut |_, _, _| Flow::On)?;
        if segment.bad_head.is_none() {
            survey.journal = segment.head.journal;
            if let Some(before) = before.filter(|before| !segment.head.follows(before)) {
                let problem = format!("what stands before record {} is missing", segment.first_seq());
                survey.damage.push(Damage { path: path.clone(), offset: 0, after: before.seq, problem });
            }
        }
        let is_whole = walked.damage.is_empty();
        survey.damage.extend(walked.damage);
        // At the end of the newest segment it is cut off by the next writer, where nothing else is wrong.
        if let Some(offset) = walked.torn.filter(|_| !is_newest || !survey.damage.is_empty()) {
            let (after, problem) = (walked.end.seq, "a frame ends early".to_owned());
            survey.damage.push(Damage { path: path.clone(), offset, after, problem });
        }
        last_seq = walked.last_seq;
        if walked.offset > SEGMENT_HEAD || segment.bad_head.is_none() {
            survey.before = walked.end;
        }
        survey.end = Place { segment: segment.first_seq(), offset: walked.offset };
        newest_before = segment.head.before.seq;
        before = is_whole.then_some(walked.end);
        if is_newest && at_least > walked.last_seq {
            let (offset, after) = (walked.offset, walked.end.seq);
            let problem = format!("it ends behind record {after}, and record {at_least} was there before");
            survey.damage.push(Damage { path: path.clone(), offset, after, problem });
        }
    }
    if paths.is_empty() {
        return Ok(None);
    }
    survey.readable = survey.before.seq;
    // No number is given twice, and no two segments have one name.
    survey.before.seq = last_seq.max(at_least).max(newest_before + 1);
    if survey.before.seq >= LAST_SEQ {
        let problem = "a file in it says that there is no number left for a record".to_owned();
        return Err(JournalError::Failed { path: dir.to_owned(), problem });
    }
    Ok(Some(survey))
}

fn is_unfinished(path: &Path) -> Result<bool, JournalError> {
    let segment = Segment::open_any(path)?;
    let mut scan = segment.scan_all()?;
    Ok(segment.head.after_damage && !matches!(scan.step()?, Step::Frame { .. } | Step::Damaged { .. }))
}

/// Goes on behind what was found, in a new segment that begins with this frame: both are there, or neither. `draft` follows
/// [`Survey::before`]. For the holder of the lock.
pub fn go_on(dir: &Path, survey: &Survey, draft: &mut Draft) -> Result<Place, JournalError> {
    if let Some(path) = &survey.unfinished {
        std::fs::remove_file(path).map_err(|error| JournalError::of(path, &error))?;
    }
    let head = SegmentHead { journal: survey.journal, before: survey.before, after_damage: true };
    let Some((frame, _)) = draft.finish() else {
        let problem = "a group of records is longer than a frame can be".to_owned();
        return Err(JournalError::Failed { path: dir.to_owned(), problem });
    };
    // What it goes on from is on the disk before it is.
    let path = dir.join(segment::name(survey.end.segment));
    let last = Segment::open_any(&path)?;
    files::flush_read(&last.file, &path).map_err(|error| JournalError::of(&path, &error))?;
    Segment::create_with(dir, &head, frame)?;
    Ok(Place { segment: survey.before.seq + 1, offset: SEGMENT_HEAD })
}
