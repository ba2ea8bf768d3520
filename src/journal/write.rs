//! Appending: one process at a time, under the lock.

use super::{
    JournalError, Place, files,
    frame::{Draft, Frame, Head, REGISTERS, SEALED},
    segment::{self, BYTES, RECORDS, SEGMENT_HEAD, Segment, SegmentHead, Step},
};
use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// The lock's file in the journal's folder.
const LOCK: &str = "lock";

/// The folder in which what was cut off is kept.
const TORN: &str = "torn";

/// Room that is asked for ahead, and what is enough to begin a group.
const ROOM: u64 = 8 << 20;
const LEAST_ROOM: u64 = 64 << 10;
/// Where less room than this is left ahead, more is asked for.
const LOW_ROOM: u64 = 1 << 20;

/// How long somebody waits for the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// 5 s: another gateway holds it for microseconds, a person's tool for longer.
    Long,
    /// A quarter of a second, while it has been held for longer than that already.
    Short,
}

impl Patience {
    fn time(self) -> Duration {
        match self {
            Self::Long => Duration::from_secs(5),
            Self::Short => Duration::from_millis(250),
        }
    }
}

/// The lock between processes. It ends with the process that holds it.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Opens it; nobody holds it by that.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(LOCK);
        let file = files::open_private(&path).map_err(|error| JournalError::of(&path, &error))?;
        Ok(Self { file, path })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes it where nobody has it.
    pub fn try_take(&self) -> Result<bool, JournalError> {
        match self.file.try_lock() {
            // Whoever opens the folder makes a new one: both would hold a lock, and append to one file.
            Ok(()) => match files::is_nameless(&self.file) {
                Ok(false) => Ok(true),
                Ok(true) => {
                    self.release();
                    let problem = "it was removed while Tollgate had it open: restart Tollgate".to_owned();
                    Err(JournalError::Failed { path: self.path.clone(), problem })
                }
                Err(error) => {
                    self.release();
                    Err(JournalError::of(&self.path, &error))
                }
            },
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(JournalError::of(&self.path, &error)),
        }
    }

    /// Takes it, or waits for it.
    #[expect(clippy::disallowed_methods, reason = "a waiting time, which decides nothing that is recorded")]
    pub fn take(&self, patience: Patience) -> Result<(), JournalError> {
        let since = Instant::now();
        loop {
            if self.try_take()? {
                return Ok(());
            }
            let waited = since.elapsed();
            if waited > patience.time() {
                return Err(JournalError::Locked);
            }
            // A group takes some ten microseconds, and nobody is told when it is over.
            let pause = if waited < Duration::from_millis(1) { 50 } else { 500 };
            std::thread::sleep(Duration::from_micros(pause));
        }
    }

    /// Gives it back.
    pub fn release(&self) {
        if let Err(error) = self.file.unlock() {
            tracing::error!(path = %self.path.display(), %error, "journal.lock_not_released");
        }
    }
}

/// A frame that was not written to its end, and was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where it began.
    pub place: Place,
    /// Its bytes.
    pub bytes: u64,
    /// Where they are kept, or the beginning of them; none: they could not be kept.
    pub kept: Option<PathBuf>,
}

/// A frame that is about to be appended.
#[derive(Clone, Copy, Debug)]
pub struct Appended<'f> {
    /// Where it will stand.
    pub place: Place,
    /// What it follows.
    pub before: &'f Head,
    /// All of it.
    pub bytes: &'f [u8],
    /// The end once it is there.
    pub end: &'f Head,
    /// It is the last of its segment.
    pub sealed: bool,
}

/// What appends. All but [`Self::open`] is for whoever holds the lock.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    /// Each append is on the disk before it counts.
    sync: bool,
    tail: Segment,
    end: u64,
    head: Head,
    /// Records of the tail.
    records: u32,
    room_until: u64,
    cut: Option<Cut>,
    /// The tail is sealed, and the segment behind it could not be made yet.
    ended: bool,
    /// Records after which the tail is sealed.
    most: u32,
}

impl Journal {
    /// Opens the journal in a folder, making its first segment where there is none, which then has the name `fresh`. The
    /// newest segment is held against its hashes; what was not written to its end is cut off. For the holder of the lock.
    pub fn open(dir: &Path, fresh: [u8; 16], sync: bool) -> Result<Self, JournalError> {
        files::sweep(dir);
        let tail = match segment::list(dir)?.pop() {
            Some((_, path)) => Segment::open(&path, true)?,
            None => {
                let head = SegmentHead { journal: fresh, before: Head::START, after_damage: false };
                Segment::create(dir, &head)?
            }
        };
        let mut journal = Self::at(dir, tail, sync);
        journal.follow(&mut |_, _, _| Ok(()))?;
        Ok(journal)
    }

    /// Reads the newest segment as far as it is whole, without the lock, so that what is left to read under it is little;
    /// `None` where there is none. Call [`Self::follow`] once the lock is held.
    pub fn ahead(dir: &Path, sync: bool) -> Result<Option<Self>, JournalError> {
        files::sweep(dir);
        let Some((_, path)) = segment::list(dir)?.pop() else { return Ok(None) };
        let mut journal = Self::at(dir, Segment::open(&path, true)?, sync);
        journal.read_on(false, &mut |_, _, _| Ok(()))?;
        Ok(Some(journal))
    }

    fn at(dir: &Path, tail: Segment, sync: bool) -> Self {
        let head = tail.head.before;
        Self {
            dir: dir.to_owned(),
            sync,
            tail,
            end: SEGMENT_HEAD,
            head,
            records: 0,
            room_until: 0,
            cut: None,
            ended: false,
            most: RECORDS,
        }
    }

    /// Which journal it is.
    pub fn id(&self) -> [u8; 16] {
        self.tail.head.journal
    }

    /// The end as it is known here.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Where the next frame goes.
    pub fn place(&self) -> Place {
        Place { segment: self.tail.first_seq(), offset: self.end }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file that is appended to.
    pub fn tail_path(&self) -> &Path {
        &self.tail.path
    }

    /// The same, open.
    pub fn tail_file(&self) -> Arc<File> {
        self.tail.file.clone()
    }

    /// What was cut off and not asked for yet.
    pub fn take_cut(&mut self) -> Option<Cut> {
        self.cut.take()
    }

    /// Seals segments after so few records, so that a test has several of them.
    #[doc(hidden)]
    pub fn seal_after(&mut self, records: u32) {
        self.most = records.min(RECORDS);
    }

    /// Reads what others have appended, holds it against its hashes, and hands it on with its place and what it follows.
    pub fn follow(
        &mut self,
        take: &mut dyn FnMut(&Frame<'_>, Place, &Head) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        self.read_on(true, take)?;
        // Its first frame withdraws what must not be used any more.
        match self.tail.head.after_damage && self.end == SEGMENT_HEAD {
            true => Err(JournalError::damaged(
                &self.tail.path,
                SEGMENT_HEAD,
                self.head.seq,
                "an acceptance of damage was begun and not finished".to_owned(),
            )),
            false => Ok(()),
        }
    }

    /// The same without cutting anything off; `true` where a frame that was not written to its end, or nothing, stands behind it.
    pub fn look(&mut self) -> Result<bool, JournalError> {
        loop {
            self.read_on(false, &mut |_, _, _| Ok(()))?;
            if !self.ended {
                break;
            }
            self.next_segment(false)?;
        }
        Ok(matches!(self.tail.scan(self.end, self.head)?.step()?, Step::End | Step::Torn { .. }))
    }

    /// `locked`: what was not written to its end is cut off, damage is an error, and a sealed segment has a next one.
    fn read_on(
        &mut self,
        locked: bool,
        take: &mut dyn FnMut(&Frame<'_>, Place, &Head) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        loop {
            if self.ended {
                if !locked {
                    return Ok(());
                }
                self.next_segment(false)?;
            }
            let length = self.tail.length()?;
            if length == self.end {
                return Ok(());
            }
            if length < self.end {
                let problem = format!("it had {} bytes and has {length}", self.end);
                return Err(JournalError::damaged(&self.tail.path, length, self.head.seq, problem));
            }
            let segment = self.tail.clone();
            let first_seq = segment.first_seq();
            let mut scan = segment.scan(self.end, self.head)?;
            loop {
                let end = match scan.step()? {
                    Step::Frame { offset, before, frame } => {
                        let checked = frame.check(&before);
                        match checked {
                            Ok(_) => {}
                            // The holder of the lock judges it.
                            Err(_) if !locked => return Ok(()),
                            Err(problem) => {
                                return Err(JournalError::damaged(
                                    &segment.path,
                                    offset,
                                    frame.good_until(&before),
                                    problem,
                                ));
                            }
                        }
                        take(&frame, Place { segment: first_seq, offset }, &before)?;
                        self.records = self.records.saturating_add(frame.head.records);
                        self.ended |= frame.head.is_sealed();
                        None
                    }
                    end => Some(match end {
                        Step::Torn { offset } => Ok(Some(offset)),
                        Step::Damaged { offset, problem } => Err((offset, problem)),
                        Step::End | Step::Frame { .. } => Ok(None),
                    }),
                };
                self.end = scan.offset();
                self.head = *scan.head();
                match end {
                    None => {}
                    Some(_) if !locked => return Ok(()),
                    Some(Ok(torn)) => {
                        if let Some(offset) = torn {
                            self.cut_off(offset, length)?;
                        }
                        break;
                    }
                    Some(Err((offset, problem))) => {
                        return Err(JournalError::damaged(&segment.path, offset, self.head.seq, problem));
                    }
                }
            }
            if !self.ended {
                return Ok(());
            }
        }
    }

    /// Whoever wrote it has died: a writer holds the lock.
    fn cut_off(&mut self, offset: u64, length: u64) -> Result<(), JournalError> {
        let place = Place { segment: self.tail.first_seq(), offset };
        let bytes = length.saturating_sub(offset);
        let failed = |error: &std::io::Error| JournalError::of(&self.tail.path, error);
        let name = format!("{:020}-{offset:012}", place.segment);
        let kept = files::keep_cut(&self.tail.file, offset, bytes, &self.dir.join(TORN), &name)
            .inspect_err(|error| tracing::warn!(%error, "journal.torn_tail_not_kept"))
            .ok();
        self.tail.file.set_len(offset).map_err(|e| failed(&e))?;
        self.tail.file.sync_data().map_err(|e| failed(&e))?;
        tracing::warn!(
            segment = %self.tail.path.display(), offset, bytes, kept = ?kept,
            "journal.torn_tail_cut: what a process was writing as it ended is cut off"
        );
        self.cut = Some(Cut { place, bytes, kept });
        Ok(())
    }

    /// The segment behind the present one, made where it is missing.
    fn next_segment(&mut self, after_damage: bool) -> Result<(), JournalError> {
        // Whoever sealed it may have died before it was on the disk, where the next one is at once.
        self.flush()?;
        let head = SegmentHead { journal: self.id(), before: self.head, after_damage };
        self.tail = Segment::create(&self.dir, &head)?;
        (self.end, self.records, self.room_until, self.ended) = (SEGMENT_HEAD, 0, 0, false);
        Ok(())
    }

    /// Whether the newest segment is to be sealed.
    pub fn is_full(&self) -> bool {
        self.records >= self.most || self.end >= BYTES
    }

    /// Sees to it that there is room on the disk for one more frame.
    pub fn prepare(&mut self) -> Result<(), JournalError> {
        if self.end + LOW_ROOM > self.room_until {
            let ask = |bytes| files::ask_for_room(&self.tail.file, self.end, bytes);
            let got = match ask(ROOM) {
                Ok(()) => ROOM,
                Err(_) => match ask(LEAST_ROOM) {
                    Ok(()) => LEAST_ROOM,
                    Err(error) => return Err(JournalError::of(&self.tail.path, &error)),
                },
            };
            self.room_until = self.end + got;
        }
        Ok(())
    }

    /// Ends the present segment and begins the next. `notes` say how all registers stand; none: there is nothing in them.
    pub fn seal(&mut self, notes: &[u8]) -> Result<(), JournalError> {
        self.seal_with(notes, |_| Ok(()))
    }

    /// The same once `first` has done with the frame what it has to.
    pub fn seal_with<E: From<JournalError>>(
        &mut self,
        notes: &[u8],
        first: impl FnOnce(&Appended<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut draft = Draft::default();
        draft.begin(&self.head);
        draft.flag(SEALED);
        if !notes.is_empty() {
            draft.notes().extend_from_slice(notes);
            draft.flag(REGISTERS);
        }
        self.append_with(&mut draft, first)?;
        // From here on another process goes on in the next segment, whatever fails here.
        self.ended = true;
        // Room that was asked for and not used.
        if let Err(error) = self.tail.file.set_len(self.end) {
            return Err(JournalError::of(&self.tail.path, &error).into());
        }
        Ok(self.next_segment(false)?)
    }

    /// Appends a frame that follows [`Self::head`], and says where it stands. Where it fails, nothing was appended.
    pub fn append(&mut self, draft: &mut Draft) -> Result<Place, JournalError> {
        self.append_with(draft, |_| Ok(()))
    }

    /// The same once `first` has done with the frame what it has to: where that fails, nothing is appended here.
    pub fn append_with<E: From<JournalError>>(
        &mut self,
        draft: &mut Draft,
        first: impl FnOnce(&Appended<'_>) -> Result<(), E>,
    ) -> Result<Place, E> {
        let place = self.place();
        let sealed = draft.has(SEALED);
        let failed = |error: &std::io::Error| JournalError::of(&self.tail.path, error);
        let Some((bytes, head)) = draft.finish() else {
            let problem = "a group of records is longer than a frame can be".to_owned();
            return Err(JournalError::Failed { path: self.tail.path.clone(), problem }.into());
        };
        first(&Appended { place, before: &self.head, bytes, end: &head, sealed })?;
        let (length, records) =
            (bytes.len() as u64, u32::try_from(head.seq - self.head.seq).unwrap_or(u32::MAX));
        let written = files::write_at(&self.tail.file, bytes, self.end).and_then(|()| match self.sync {
            true => self.tail.file.sync_data(),
            false => Ok(()),
        });
        if let Err(error) = written {
            // What is left of it would be cut off by the next writer; and nobody is told that it was done.
            if let Err(error) = self.tail.file.set_len(self.end) {
                tracing::error!(segment = %self.tail.path.display(), %error, "journal.not_cut");
            }
            self.room_until = 0;
            return Err(failed(&error).into());
        }
        self.end += length;
        self.records = self.records.saturating_add(records);
        self.head = head;
        Ok(place)
    }

    /// Writes frames behind what is known, as they stand elsewhere; [`Self::follow`] reads them. They are held against
    /// their hashes before, so that nothing else gets here.
    pub fn write_copied(&mut self, place: Place, bytes: &[u8]) -> Result<(), JournalError> {
        let problem = |problem: &str| {
            JournalError::damaged(&self.tail.path, place.offset, self.head.seq, problem.to_owned())
        };
        if place != self.place() {
            return Err(problem("what is to be copied stands elsewhere"));
        }
        let (mut head, mut rest, mut ended) = (self.head, bytes, false);
        while !rest.is_empty() {
            let frame = Frame::of(rest).filter(|_| !ended);
            let frame = frame.ok_or_else(|| problem("what is to be copied is no whole frame"))?;
            head = frame.check(&head).map_err(|found| problem(&format!("what is to be copied: {found}")))?;
            ended = frame.head.is_sealed();
            rest = rest.get(frame.head.length..).unwrap_or_default();
        }
        let written = files::write_at(&self.tail.file, bytes, self.end);
        written.map_err(|error| JournalError::of(&self.tail.path, &error))
    }

    /// Has on the disk what was appended.
    pub fn flush(&self) -> Result<(), JournalError> {
        self.tail.file.sync_data().map_err(|error| JournalError::of(&self.tail.path, &error))
    }
}
