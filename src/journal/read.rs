//! Reading, without the lock: what is there whole counts.

use super::{
    JournalError, Place,
    chain::{self, Hash},
    files,
    frame::{Frame, Head},
    index::{IndexError, Members, SegmentIndex, TailIndex, Wanted},
    indexed::{open_index, write_index},
    segment::{self, SEGMENT_HEAD, Segment, Step},
};
use parking_lot::Mutex;
use roaring::RoaringBitmap;
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Indexes that are held open.
const OPEN_INDEXES: usize = 128;

/// A record as it was read and held against its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the chain.
    pub seq: i64,
    /// The hash that it follows.
    pub prev: Hash,
    /// Its own hash.
    pub hash: Hash,
    /// Its text.
    pub body: String,
}

/// Which records of what is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The first `seq`.
    pub first: i64,
    /// The last `seq`.
    pub last: i64,
    /// From the last to the first.
    pub newest_first: bool,
}

/// The segment that is appended to, as far as it has been read.
#[derive(Debug)]
struct Tail {
    segment: Segment,
    /// Where the next frame begins.
    end: u64,
    head: Head,
    /// Where its records are, by their number.
    offsets: Vec<u32>,
    /// Made and extended only when somebody looks for something.
    index: TailIndex,
    /// A frame with this was the last of them that the projection follows.
    projected: Option<Place>,
    sealed: bool,
}

impl Tail {
    fn new(segment: Segment) -> Self {
        let head = segment.head.before;
        Self {
            segment,
            end: SEGMENT_HEAD,
            head,
            offsets: Vec::new(),
            index: TailIndex::default(),
            projected: None,
            sealed: false,
        }
    }

    fn first_seq(&self) -> i64 {
        self.segment.first_seq()
    }

    /// Takes in what has come since. Damage is an error: what stands behind it would be missing from every answer.
    fn refresh(&mut self) -> Result<(), JournalError> {
        match self.look() {
            // What was torn or taken back by its writer, and written over since, is whole when it is read from the beginning.
            Err(JournalError::Damaged(_)) => {
                *self = Self::new(self.segment.clone());
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
            *self = Self::new(self.segment.clone());
        }
        let segment = self.segment.clone();
        let mut scan = segment.scan(self.end, self.head)?;
        let damage = loop {
            match scan.step()? {
                Step::Frame { offset, frame, .. } => {
                    note_offsets(&mut self.offsets, offset, &frame);
                    if frame.head.is_projected() {
                        self.projected = Some(Place { segment: segment.first_seq(), offset });
                    }
                    self.sealed |= frame.head.is_sealed();
                }
                // What is torn is being written; the next writer judges it.
                Step::End | Step::Torn { .. } => break None,
                Step::Damaged { offset, problem } => break Some((offset, problem)),
            }
        };
        self.end = scan.offset();
        self.head = *scan.head();
        match damage {
            None => Ok(()),
            Some((offset, problem)) => {
                Err(JournalError::damaged(&segment.path, offset, self.head.seq, problem))
            }
        }
    }

    /// Has in the index what has come since.
    fn refresh_index(&mut self) -> Result<(), JournalError> {
        let known = usize::try_from(self.index.records()).unwrap_or(usize::MAX);
        for offset in self.offsets.get(known..).unwrap_or_default() {
            let (_, _, body) = self.segment.record(u64::from(*offset))?;
            let members = std::str::from_utf8(&body).ok().and_then(|body| Members::read(body).ok());
            self.index.add(members.as_ref());
        }
        Ok(())
    }
}

fn note_offsets(offsets: &mut Vec<u32>, frame_at: u64, frame: &Frame<'_>) {
    for record in frame.records() {
        // Segments are far shorter than that.
        offsets.push(u32::try_from(frame_at + record.offset as u64).unwrap_or(u32::MAX));
    }
}

/// Reads a journal, whoever appends to it. What takes long is done without its lock.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    view: Mutex<View>,
}

/// What is known of the segments.
#[derive(Debug)]
struct View {
    /// All but the newest, by the `seq` of their first records.
    sealed: BTreeMap<i64, PathBuf>,
    tail: Tail,
    indexes: HashMap<i64, Arc<SegmentIndex>>,
}

/// The records of one segment that may be wanted.
enum Plan {
    /// By their numbers, with their offsets.
    Listed(Vec<(u32, u32)>),
    Indexed(Arc<SegmentIndex>, Option<RoaringBitmap>),
}

impl View {
    fn path(&self, first: i64) -> Option<PathBuf> {
        match first == self.tail.first_seq() {
            true => Some(self.tail.segment.path.clone()),
            false => self.sealed.get(&first).cloned(),
        }
    }

    fn open(&self, first: i64) -> Result<Option<Segment>, JournalError> {
        match first == self.tail.first_seq() {
            true => Ok(Some(self.tail.segment.clone())),
            false => self.sealed.get(&first).map(|path| Segment::open(path, false)).transpose(),
        }
    }

    fn end(&self) -> Place {
        Place { segment: self.tail.first_seq(), offset: self.tail.end }
    }

    /// What of the newest segment is wanted.
    fn plan_tail(&mut self, wanted: &Wanted, (low, high): (u32, u32)) -> Result<Plan, JournalError> {
        let offset = |number: u32| {
            self.tail.offsets.get(usize::try_from(number).ok()?).map(|offset| (number, *offset))
        };
        if wanted.is_all() {
            return Ok(Plan::Listed((low..=high).map_while(offset).collect()));
        }
        self.tail.refresh_index()?;
        let offset = |number: u32| {
            self.tail.offsets.get(usize::try_from(number).ok()?).map(|offset| (number, *offset))
        };
        Ok(Plan::Listed(match self.tail.index.find(wanted) {
            Some(hits) => hits.range(low..=high).filter_map(offset).collect(),
            None => (low..=high).map_while(offset).collect(),
        }))
    }
}

impl Reader {
    /// Begins to read. There must be a segment.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let mut sealed: BTreeMap<i64, PathBuf> = segment::list(dir)?.into_iter().collect();
        let Some((_, newest)) = sealed.pop_last() else {
            let problem = "there is no segment in it".to_owned();
            return Err(JournalError::Failed { path: dir.to_owned(), problem });
        };
        let tail = Tail::new(Segment::open(&newest, false)?);
        Ok(Self { dir: dir.to_owned(), view: Mutex::new(View { sealed, tail, indexes: HashMap::new() }) })
    }

    /// Takes in all that was committed before.
    pub fn refresh(&self) -> Result<(), JournalError> {
        let mut view = self.view.lock();
        loop {
            let looked = view.tail.refresh();
            let mut found: BTreeMap<i64, PathBuf> = segment::list(&self.dir)?.into_iter().collect();
            let newest = found.pop_last();
            view.sealed = found;
            match newest {
                // One that is not the newest any more is read as it is found.
                Some((first, path)) if first != view.tail.first_seq() => {
                    view.tail = Tail::new(Segment::open(&path, false)?);
                }
                Some(_) | None => return looked,
            }
        }
    }

    /// The journal's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The last record's place in the chain, and its hash.
    pub fn head(&self) -> Head {
        self.view.lock().tail.head
    }

    /// What the first record that is there follows.
    pub fn first(&self) -> Result<Head, JournalError> {
        let view = self.view.lock();
        match view.sealed.values().next() {
            Some(path) => Ok(Segment::open(path, false)?.head.before),
            None => Ok(view.tail.segment.head.before),
        }
    }

    /// Where the next frame begins.
    pub fn end(&self) -> Place {
        self.view.lock().end()
    }

    /// The newest frame of the newest segment that the projection follows. A segment is sealed only once the projection
    /// has followed all of it.
    pub fn projected(&self) -> Option<Place> {
        self.view.lock().tail.projected
    }

    /// Whether the newest segment is still the file of its name; the error says which is not.
    pub fn check_named(&self) -> Result<(), String> {
        let (file, path) = {
            let view = self.view.lock();
            (view.tail.segment.file.clone(), view.tail.segment.path.clone())
        };
        match files::is_named(&file, &path) {
            true => Ok(()),
            false => Err(format!(
                "`{}` was removed or replaced while Tollgate had it open: restart Tollgate",
                path.display()
            )),
        }
    }

    /// The paths of all segments, oldest first.
    pub fn paths(&self) -> Vec<PathBuf> {
        let view = self.view.lock();
        view.sealed.values().chain(std::iter::once(&view.tail.segment.path)).cloned().collect()
    }

    /// Hands on the frames from a place on, up to another or as far as was read, in order. Behind damage that a person accepted it goes on
    /// with what can be read.
    pub fn frames(
        &self,
        from: Place,
        until: Option<Place>,
        take: &mut dyn FnMut(Place, &Frame<'_>) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let (end, firsts) = {
            let view = self.view.lock();
            let firsts: Vec<i64> =
                view.sealed.keys().copied().chain(std::iter::once(view.tail.first_seq())).collect();
            (until.unwrap_or(view.end()).min(view.end()), firsts)
        };
        for (at, first) in firsts.iter().enumerate() {
            let next = firsts.get(at + 1);
            if next.is_some_and(|next| *next <= from.segment) {
                continue;
            }
            let Some(segment) = self.segment(*first)? else { continue };
            let accepted = match next.map(|next| self.segment(*next)).transpose()?.flatten() {
                Some(next) => next.head.after_damage,
                None => false,
            };
            let start = if from.segment == *first { from.offset.max(SEGMENT_HEAD) } else { SEGMENT_HEAD };
            // What the first frame there follows is not known where it begins in the middle.
            let mut scan = match start == SEGMENT_HEAD {
                true => segment.scan(start, segment.head.before)?,
                false => segment.scan_unheld(start)?,
            };
            loop {
                match scan.step()? {
                    Step::Frame { offset, frame, .. } => {
                        let place = Place { segment: *first, offset };
                        if place >= end {
                            break;
                        }
                        take(place, &frame)?;
                        continue;
                    }
                    Step::End => break,
                    Step::Torn { .. } if !accepted => break,
                    Step::Damaged { offset, problem } if !accepted => {
                        let after = scan.head().seq;
                        return Err(JournalError::damaged(&segment.path, offset, after, problem));
                    }
                    Step::Torn { .. } | Step::Damaged { .. } => {}
                }
                if scan.resume()?.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// A segment by the `seq` of its first record; `None` where it is gone.
    pub fn segment(&self, first: i64) -> Result<Option<Segment>, JournalError> {
        self.view.lock().open(first)
    }

    /// The record at a place, held against its hash; `seq` is what it must be.
    pub fn record_at(&self, place: Place, seq: i64) -> Result<Entry, JournalError> {
        let segment = match self.segment(place.segment)? {
            Some(segment) => segment,
            // It may be newer than what was read.
            None => {
                self.refresh()?;
                self.segment(place.segment)?.ok_or_else(|| JournalError::Failed {
                    path: self.dir.join(segment::name(place.segment)),
                    problem: format!("the segment of record {seq} is gone"),
                })?
            }
        };
        read(&segment, place.offset, seq)
    }

    /// One record; `None` where there is none of that `seq`.
    pub fn record(&self, seq: i64) -> Result<Option<Entry>, JournalError> {
        let mut found = None;
        self.find(&Wanted::default(), Range { first: seq, last: seq, newest_first: false }, &mut |entry| {
            found = Some(entry);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// Hands on what is wanted of a range, each held against its hash.
    pub fn find(
        &self,
        wanted: &Wanted,
        range: Range,
        take: &mut dyn FnMut(Entry) -> Result<ControlFlow<()>, JournalError>,
    ) -> Result<(), JournalError> {
        if range.first > range.last {
            return Ok(());
        }
        let mut spans = {
            let view = self.view.lock();
            let mut firsts: Vec<i64> = view.sealed.keys().copied().collect();
            firsts.push(view.tail.first_seq());
            // A segment ends where the next begins.
            let last = |at: usize| firsts.get(at + 1).map_or(view.tail.head.seq, |next| next - 1);
            let spans = firsts.iter().enumerate().map(|(at, first)| (*first, last(at)));
            spans.filter(|(first, last)| *first <= range.last && *last >= range.first).collect::<Vec<_>>()
        };
        if range.newest_first {
            spans.reverse();
        }
        for (first, last) in spans {
            let low = u32::try_from(range.first.max(first) - first).unwrap_or(u32::MAX);
            let high = u32::try_from(range.last.min(last) - first).unwrap_or(u32::MAX);
            let Some((segment, plan)) = self.plan(first, wanted, (low, high))? else { continue };
            let flow = match plan {
                Plan::Listed(list) => {
                    visit(&segment, wanted, range.newest_first, list.into_iter().map(Ok), take)?
                }
                Plan::Indexed(index, hits) => {
                    let numbers: Box<dyn DoubleEndedIterator<Item = u32> + '_> = match &hits {
                        None => Box::new(low..=high),
                        Some(hits) => Box::new(hits.range(low..=high)),
                    };
                    let current = RefCell::new(index);
                    let place = |number| {
                        let found = place_of(&current.borrow(), number);
                        let Some(Err(error)) = found else {
                            return found.map(|found| found.map_err(Into::into));
                        };
                        match self.renewed(&segment, &error) {
                            Ok(index) => {
                                let found = place_of(&index, number);
                                *current.borrow_mut() = index;
                                found.map(|found| found.map_err(Into::into))
                            }
                            Err(error) => Some(Err(error)),
                        }
                    };
                    visit(&segment, wanted, range.newest_first, numbers.filter_map(place), take)?
                }
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// What of one segment may be wanted; `None` where it is gone.
    fn plan(
        &self,
        first: i64,
        wanted: &Wanted,
        span: (u32, u32),
    ) -> Result<Option<(Segment, Plan)>, JournalError> {
        let known = {
            let mut view = self.view.lock();
            if view.tail.first_seq() == first {
                let plan = view.plan_tail(wanted, span)?;
                return Ok(Some((view.tail.segment.clone(), plan)));
            }
            let Some(path) = view.path(first) else { return Ok(None) };
            (path, view.indexes.get(&first).cloned())
        };
        let (path, index) = known;
        let segment = Segment::open(&path, false)?;
        let index = match index {
            Some(index) => index,
            None => self.holds(first, open_index(&segment)?),
        };
        match index.find(wanted) {
            Ok(hits) => Ok(Some((segment, Plan::Indexed(index, hits)))),
            Err(error) => {
                let index = self.renewed(&segment, &error)?;
                let hits = index.find(wanted)?;
                Ok(Some((segment, Plan::Indexed(index, hits))))
            }
        }
    }

    fn holds(&self, first: i64, index: SegmentIndex) -> Arc<SegmentIndex> {
        let index = Arc::new(index);
        let mut view = self.view.lock();
        if view.indexes.len() >= OPEN_INDEXES {
            view.indexes.clear();
        }
        view.indexes.insert(first, index.clone());
        index
    }

    /// An index of which a piece cannot be read is rebuilt from its segment.
    fn renewed(&self, segment: &Segment, error: &IndexError) -> Result<Arc<SegmentIndex>, JournalError> {
        let path = segment::index_path(&segment.path);
        tracing::warn!(path = %path.display(), %error, "journal.index_unreadable: it is rebuilt from its segment");
        Ok(self.holds(segment.first_seq(), write_index(segment, &path)?))
    }
}

/// A record's number and offset; `None` where it could not be read as the index was made.
fn place_of(index: &SegmentIndex, number: u32) -> Option<Result<(u32, u32), IndexError>> {
    if number >= index.records() {
        return None;
    }
    match index.offset(number) {
        Ok(0) => None,
        Ok(offset) => Some(Ok((number, offset))),
        Err(error) => Some(Err(error)),
    }
}

fn read(segment: &Segment, offset: u64, seq: i64) -> Result<Entry, JournalError> {
    let (prev, hash, body) = segment.record(offset)?;
    let damaged = |problem: &str| {
        JournalError::damaged(&segment.path, offset, seq - 1, format!("record {seq} {problem}"))
    };
    let body = String::from_utf8(body).map_err(|_| damaged("is no text"))?;
    if chain::link(&prev, seq, &body) != hash {
        return Err(damaged("is not what was written: its hash is not that of its content"));
    }
    Ok(Entry { seq, prev, hash, body })
}

/// Reads records by number and offset, from either end, and hands on those that are wanted.
fn visit(
    segment: &Segment,
    wanted: &Wanted,
    newest_first: bool,
    mut places: impl DoubleEndedIterator<Item = Result<(u32, u32), JournalError>>,
    take: &mut dyn FnMut(Entry) -> Result<ControlFlow<()>, JournalError>,
) -> Result<ControlFlow<()>, JournalError> {
    let first = segment.first_seq();
    while let Some(place) = if newest_first { places.next_back() } else { places.next() } {
        let (number, offset) = place?;
        let entry = read(segment, u64::from(offset), first + i64::from(number))?;
        if !wanted.is_all() {
            let problem =
                |problem| JournalError::damaged(&segment.path, u64::from(offset), entry.seq - 1, problem);
            let members = Members::read(&entry.body).map_err(problem)?;
            if !wanted.fit(&members) {
                continue;
            }
        }
        if take(entry)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
