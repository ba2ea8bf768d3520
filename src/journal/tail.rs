//! The segment that is appended to, as a reader without the lock has read it.

use super::{
    Damage, JournalError, Place,
    frame::{Frame, Head},
    index::{Members, TailIndex},
    segment::{SEGMENT_HEAD, Segment, Step},
};
use crate::series::{Rollup, Seen};
use std::sync::Arc;

/// Damaged places of one segment that are named.
const NAMED: usize = 16;

/// The segment that is appended to, as far as it has been read.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) segment: Segment,
    /// Where the next frame begins.
    pub(super) end: u64,
    pub(super) head: Head,
    /// Where its records are, by their number; 0: it cannot be read.
    pub(super) offsets: Vec<u32>,
    /// Made and extended only when somebody looks for something.
    pub(super) index: TailIndex,
    /// What charts draw of it, of so many of its records; extended only when somebody asks.
    pub(super) rollup: Arc<Rollup>,
    rolled: usize,
    /// A frame with this was the last of them that the projection follows.
    pub(super) projected: Option<Place>,
    /// Where its frames begin that say how registers stand.
    pub(super) registers: Vec<u64>,
    sealed: bool,
    /// Goes on behind damage with what can be read.
    over_damage: bool,
    /// What is damaged, where it goes on.
    pub(super) damage: Vec<Damage>,
}

impl Tail {
    pub(super) fn new(segment: Segment, over_damage: bool) -> Self {
        let head = segment.head.before;
        let damage = segment.head_damage().into_iter().collect();
        Self {
            segment,
            end: SEGMENT_HEAD,
            head,
            offsets: Vec::new(),
            index: TailIndex::default(),
            rollup: Arc::default(),
            rolled: 0,
            projected: None,
            registers: Vec::new(),
            sealed: false,
            over_damage,
            damage,
        }
    }

    pub(super) fn first_seq(&self) -> i64 {
        self.segment.first_seq()
    }

    /// A record's number and offset, where it can be read.
    pub(super) fn place_of(&self, number: u32) -> Option<(u32, u32)> {
        let offset = *self.offsets.get(usize::try_from(number).ok()?)?;
        (offset > 0).then_some((number, offset))
    }

    /// Takes in what has come since. Damage is an error: what stands behind it would be missing from every answer.
    pub(super) fn refresh(&mut self) -> Result<(), JournalError> {
        match self.look() {
            // What was torn or taken back by its writer, and written over since, is whole when it is read from the beginning.
            Err(JournalError::Damaged(_)) => {
                *self = Self::new(self.segment.clone(), self.over_damage);
                self.look()
            }
            looked => looked,
        }
    }

    fn look(&mut self) -> Result<(), JournalError> {
        let length = self.segment.length()?;
        if self.sealed || length == self.end {
            return Ok(());
        }
        if length < self.end {
            // A frame that its writer took back, since the disk failed under it.
            *self = Self::new(self.segment.clone(), self.over_damage);
        }
        let segment = self.segment.clone();
        let mut scan = match self.end == SEGMENT_HEAD {
            true => segment.scan_all()?,
            false => segment.scan(self.end, self.head)?,
        };
        let damage = loop {
            match scan.step()? {
                Step::Frame { offset, frame, .. } => {
                    self.note_offsets(offset, &frame);
                    if frame.head.is_projected() {
                        self.projected = Some(Place { segment: segment.first_seq(), offset });
                    }
                    if frame.head.has_registers() {
                        self.registers.push(offset);
                    }
                    self.sealed |= frame.head.is_sealed();
                }
                // What is torn is being written; the next writer judges it.
                Step::End | Step::Torn { .. } => break None,
                Step::Damaged { offset, problem } => {
                    let damage =
                        Damage { path: segment.path.clone(), offset, after: scan.head().seq, problem };
                    if !self.over_damage {
                        break Some(damage);
                    }
                    let is_new = self.damage.iter().all(|known| known.offset != offset);
                    if is_new && self.damage.len() < NAMED {
                        self.damage.push(damage);
                    }
                    self.end = offset;
                    self.head = *scan.head();
                    if scan.resume()?.is_none() {
                        return Ok(());
                    }
                }
            }
        };
        self.end = scan.offset();
        self.head = *scan.head();
        damage.map_or(Ok(()), |damage| Err(JournalError::Damaged(Box::new(damage))))
    }

    fn note_offsets(&mut self, frame_at: u64, frame: &Frame<'_>) {
        for record in frame.records() {
            // Numbers of records that cannot be read; a reader goes on only where so many have room before.
            let Ok(number) = usize::try_from(record.seq - self.segment.first_seq()) else { return };
            while self.offsets.len() < number {
                self.offsets.push(0);
            }
            // Segments are far shorter than that.
            self.offsets.push(u32::try_from(frame_at + record.offset as u64).unwrap_or(u32::MAX));
        }
    }

    /// Has in the index what has come since.
    pub(super) fn refresh_index(&mut self) -> Result<(), JournalError> {
        let known = usize::try_from(self.index.records()).unwrap_or(usize::MAX);
        for offset in self.offsets.get(known..).unwrap_or_default() {
            let body = match self.segment.record(u64::from(*offset)) {
                Ok((_, _, body)) => body,
                // It is found by nothing; whoever reads all records is told.
                Err(JournalError::Damaged(_)) => Vec::new(),
                Err(error) => return Err(error),
            };
            let members = std::str::from_utf8(&body).ok().and_then(|body| Members::read(body).ok());
            self.index.add(members.as_ref());
        }
        Ok(())
    }

    /// Has in the rollup what has come since.
    pub(super) fn refresh_rollup(&mut self) -> Result<(), JournalError> {
        let fresh = self.offsets.get(self.rolled..).unwrap_or_default();
        if fresh.is_empty() {
            return Ok(());
        }
        // Whoever still reads the one of before keeps it.
        let rollup = Arc::make_mut(&mut self.rollup);
        for offset in fresh {
            let body = match self.segment.record(u64::from(*offset)) {
                Ok((_, _, body)) => body,
                // It counts for nothing; whoever reads all records is told.
                Err(JournalError::Damaged(_)) => Vec::new(),
                Err(error) => return Err(error),
            };
            if let Some(seen) = std::str::from_utf8(&body).ok().and_then(Seen::read) {
                rollup.add(&seen);
            }
            self.rolled += 1;
        }
        Ok(())
    }
}
