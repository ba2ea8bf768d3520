//! Reading, without the lock: what is there whole counts.

use super::{
    Damage, JournalError, Place,
    chain::{self, Hash},
    files,
    frame::{Frame, Head},
    index::{IndexError, Members, SegmentIndex, Wanted},
    indexed::{open_index, write_index},
    rollup_file::RollupFile,
    segment::{self, SEGMENT_HEAD, Segment, Step},
    tail::Tail,
};
use parking_lot::Mutex;
use roaring::RoaringBitmap;
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Indexes that are held open.
const OPEN_INDEXES: usize = 128;

/// Places that are noted where reading left something out.
const NOTED: usize = 100;

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

/// Reads a journal, whoever appends to it. What takes long is done without its lock.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    pub(super) view: Mutex<View>,
    /// Goes on behind damage, wherever it is, with what can be read.
    over_damage: bool,
    /// What reading met that is not as it was written, by segment and the last record before it.
    noted: Mutex<BTreeMap<(PathBuf, i64), Damage>>,
}

/// What is known of the segments.
#[derive(Debug)]
pub(super) struct View {
    /// All but the newest, by the `seq` of their first records.
    pub(super) sealed: BTreeMap<i64, PathBuf>,
    pub(super) tail: Tail,
    /// Those that are held open, the one that was used last at the end.
    indexes: VecDeque<(i64, Arc<SegmentIndex>)>,
    /// Where rows of sealed segments stand in their files.
    pub(super) rollups: BTreeMap<i64, Arc<RollupFile>>,
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
            false => self.sealed.get(&first).map(|path| Segment::open_any(path)).transpose(),
        }
    }

    fn index(&mut self, first: i64) -> Option<Arc<SegmentIndex>> {
        let at = self.indexes.iter().position(|(known, _)| *known == first)?;
        let held = self.indexes.remove(at)?;
        let index = held.1.clone();
        self.indexes.push_back(held);
        Some(index)
    }

    fn end(&self) -> Place {
        Place { segment: self.tail.first_seq(), offset: self.tail.end }
    }

    /// What of the newest segment is wanted.
    fn plan_tail(&mut self, wanted: &Wanted, (low, high): (u32, u32)) -> Result<Plan, JournalError> {
        let high = high.min(u32::try_from(self.tail.offsets.len()).unwrap_or(u32::MAX));
        if !wanted.is_all() {
            self.tail.refresh_index()?;
            if let Some(hits) = self.tail.index.find(wanted) {
                let hits = hits.range(low..=high);
                return Ok(Plan::Listed(hits.filter_map(|number| self.tail.place_of(number)).collect()));
            }
        }
        Ok(Plan::Listed((low..=high).filter_map(|number| self.tail.place_of(number)).collect()))
    }
}

impl Reader {
    /// Begins to read. There must be a segment.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        Self::begin(dir, false)
    }

    /// The same for a journal that is damaged: what can be read of it is read, and [`Self::damage`] names what cannot.
    pub fn open_damaged(dir: &Path) -> Result<Self, JournalError> {
        Self::begin(dir, true)
    }

    fn begin(dir: &Path, over_damage: bool) -> Result<Self, JournalError> {
        let mut sealed: BTreeMap<i64, PathBuf> = segment::list(dir)?.into_iter().collect();
        let Some((_, newest)) = sealed.pop_last() else {
            let problem = "there is no segment in it".to_owned();
            return Err(JournalError::Failed { path: dir.to_owned(), problem });
        };
        let tail = Self::tail(&newest, over_damage)?;
        let view = Mutex::new(View { sealed, tail, indexes: VecDeque::new(), rollups: BTreeMap::new() });
        Ok(Self { dir: dir.to_owned(), view, over_damage, noted: Mutex::default() })
    }

    fn tail(newest: &Path, over_damage: bool) -> Result<Tail, JournalError> {
        let segment = if over_damage { Segment::open_any(newest) } else { Segment::open(newest, false) };
        Ok(Tail::new(segment?, over_damage))
    }

    /// What reading met that is not as it was written, and left out.
    pub fn damage(&self) -> Vec<Damage> {
        let mut found = self.noted.lock().clone();
        for damage in &self.view.lock().tail.damage {
            found.entry((damage.path.clone(), damage.after)).or_insert_with(|| damage.clone());
        }
        found.into_values().collect()
    }

    fn leave_out(&self, damage: Damage) {
        self.note(damage);
    }

    /// Notes something that is not as it was written; `false` where it was known.
    pub fn note(&self, damage: Damage) -> bool {
        let mut noted = self.noted.lock();
        let place = (damage.path.clone(), damage.after);
        let is_new = !noted.contains_key(&place) && noted.len() < NOTED;
        if is_new {
            noted.insert(place, damage);
        }
        is_new
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
                    view.tail = Self::tail(&path, self.over_damage)?;
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
            Some(path) => Ok(Segment::open_any(path)?.head.before),
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

    /// The newest segment, where its frames that say how registers stand begin, and the segment before it.
    pub(super) fn registers_of_tail(&self) -> (Segment, Vec<u64>, Option<PathBuf>) {
        let view = self.view.lock();
        let before = view.sealed.values().next_back().cloned();
        (view.tail.segment.clone(), view.tail.registers.clone(), before)
    }

    /// The newest segment, and the newest frame of it that says how registers stand.
    pub fn registers_at(&self) -> (i64, Option<u64>) {
        let view = self.view.lock();
        (view.tail.first_seq(), view.tail.registers.last().copied())
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
        let accepted_before = self.accepted_before(from.segment, &firsts)?;
        for (at, first) in firsts.iter().enumerate() {
            let next = firsts.get(at + 1);
            if next.is_some_and(|next| *next <= from.segment) {
                continue;
            }
            let Some(segment) = self.segment(*first)? else { continue };
            let accepted = self.over_damage || accepted_before.is_some_and(|before| *first < before);
            if let Some(damage) = segment.head_damage().filter(|_| !accepted) {
                return Err(JournalError::Damaged(Box::new(damage)));
            }
            let start = if from.segment == *first { from.offset.max(SEGMENT_HEAD) } else { SEGMENT_HEAD };
            // What the first frame there follows is not known where it begins in the middle.
            let mut scan = match start == SEGMENT_HEAD {
                true => segment.scan_all()?,
                false => segment.scan_unheld(start)?,
            };
            let mut over = false;
            let left = loop {
                match scan.step()? {
                    Step::Frame { offset, frame, .. } => {
                        let place = Place { segment: *first, offset };
                        if place >= end {
                            return Ok(());
                        }
                        take(place, &frame)?;
                        continue;
                    }
                    Step::End => break scan.is_held(),
                    Step::Torn { .. } if !accepted => break false,
                    Step::Damaged { offset, problem } if !accepted => {
                        let after = scan.head().seq;
                        return Err(JournalError::damaged(&segment.path, offset, after, problem));
                    }
                    Step::Torn { .. } | Step::Damaged { .. } => {}
                }
                over = true;
                if scan.resume()?.is_none() {
                    break false;
                }
            };
            if let (true, false, Some(next)) = (left, accepted || over, next)
                && let Some(next) = self.segment(*next)?
                && next.bad_head.is_none()
                && next.head.before != *scan.head()
            {
                return Err(does_not_follow(&next, scan.head()));
            }
        }
        Ok(())
    }

    /// Before which segment a person accepted damage: what stands before it has been told anew there. `None`: nobody did,
    /// behind this segment.
    fn accepted_before(&self, behind: i64, firsts: &[i64]) -> Result<Option<i64>, JournalError> {
        for first in firsts.iter().rev().take_while(|first| **first > behind) {
            if self.segment(*first)?.is_some_and(|segment| segment.head.after_damage) {
                return Ok(Some(*first));
            }
        }
        Ok(None)
    }

    /// Whether a person accepted damage in a segment behind this one.
    pub fn is_accepted_behind(&self, segment: i64) -> Result<bool, JournalError> {
        Ok(self.accepted_before(segment, &self.firsts())?.is_some())
    }

    /// The segments with which the record goes on behind damage, by the `seq` of their first record.
    pub fn behind_damage(&self) -> Result<Vec<i64>, JournalError> {
        let mut found = Vec::new();
        for first in self.firsts() {
            if self.segment(first)?.is_some_and(|segment| segment.head.after_damage) {
                found.push(first);
            }
        }
        Ok(found)
    }

    fn firsts(&self) -> Vec<i64> {
        let view = self.view.lock();
        view.sealed.keys().copied().chain(std::iter::once(view.tail.first_seq())).collect()
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

    /// Hands on what is wanted of a range, each held against its hash. Damage is an error.
    pub fn find(&self, wanted: &Wanted, range: Range, take: Take<'_>) -> Result<(), JournalError> {
        self.search(wanted, range, false, take)
    }

    /// The same without what is damaged, which [`Self::damage`] names from then on.
    pub fn find_readable(&self, wanted: &Wanted, range: Range, take: Take<'_>) -> Result<(), JournalError> {
        self.search(wanted, range, true, take)
    }

    fn search(
        &self,
        wanted: &Wanted,
        range: Range,
        readable: bool,
        take: Take<'_>,
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
            let note = |damage| self.leave_out(damage);
            let how = Visit {
                segment: &segment,
                wanted,
                newest_first: range.newest_first,
                left_out: readable.then_some(&note),
            };
            let flow = match plan {
                Plan::Listed(list) => how.visit(list.into_iter().map(Ok), take)?,
                Plan::Indexed(index, hits) => {
                    // Numbers that no record has stand between a damaged segment and that which goes on.
                    let high = high.min(index.records());
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
                    how.visit(numbers.filter_map(place), take)?
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
            (path, view.index(first))
        };
        let (path, index) = known;
        let segment = Segment::open_any(&path)?;
        let index = match index {
            Some(index) => index,
            None => self.holds(first, open_index(&segment, &|damage| self.leave_out(damage))?),
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
        view.indexes.retain(|(known, _)| *known != first);
        if view.indexes.len() >= OPEN_INDEXES {
            view.indexes.pop_front();
        }
        view.indexes.push_back((first, index.clone()));
        index
    }

    /// An index of which a piece cannot be read is rebuilt from its segment.
    fn renewed(&self, segment: &Segment, error: &IndexError) -> Result<Arc<SegmentIndex>, JournalError> {
        let path = segment::index_path(&segment.path);
        tracing::warn!(path = %path.display(), %error, "journal.index_unreadable: it is rebuilt from its segment");
        let index = write_index(segment, &path, &|damage| self.leave_out(damage))?;
        Ok(self.holds(segment.first_seq(), index))
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

/// What takes the records that were found.
pub type Take<'t> = &'t mut dyn FnMut(Entry) -> Result<ControlFlow<()>, JournalError>;

/// Reads records by number and offset, from either end, and hands on those that are wanted.
struct Visit<'v> {
    segment: &'v Segment,
    wanted: &'v Wanted,
    newest_first: bool,
    /// Who is told of a record that is damaged and left out; none: it is an error.
    left_out: Option<&'v dyn Fn(Damage)>,
}

impl Visit<'_> {
    fn visit(
        &self,
        mut places: impl DoubleEndedIterator<Item = Result<(u32, u32), JournalError>>,
        take: Take<'_>,
    ) -> Result<ControlFlow<()>, JournalError> {
        while let Some(place) = if self.newest_first { places.next_back() } else { places.next() } {
            let (number, offset) = place?;
            let entry = match (self.read(number, offset), self.left_out) {
                (Err(JournalError::Damaged(damage)), Some(left_out)) => {
                    left_out(*damage);
                    continue;
                }
                (entry, _) => entry?,
            };
            if let Some(entry) = entry
                && take(entry)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// `None`: it is not wanted.
    fn read(&self, number: u32, offset: u32) -> Result<Option<Entry>, JournalError> {
        let (segment, offset) = (self.segment, u64::from(offset));
        let entry = read(segment, offset, segment.first_seq() + i64::from(number))?;
        if self.wanted.is_all() {
            return Ok(Some(entry));
        }
        let problem = |problem| JournalError::damaged(&segment.path, offset, entry.seq - 1, problem);
        let fits = self.wanted.fit(&Members::read(&entry.body).map_err(problem)?);
        Ok(fits.then_some(entry))
    }
}

fn does_not_follow(next: &Segment, before: &Head) -> JournalError {
    let problem = match next.head.before.seq > before.seq {
        true => format!("records {} to {} are missing before it", before.seq + 1, next.head.before.seq),
        false => "it does not follow the segment before".to_owned(),
    };
    JournalError::damaged(&next.path, 0, before.seq, problem)
}
