//! A sealed segment's index in its file. A search reads pieces of at most a few kilobytes, each checked against its
//! sum, and believes nothing of a length or a place before it has been held against the file and the number of records.

use super::{
    Field, IDS, IndexError, NAMES, Pattern, Wanted,
    collect::{can_match, hash_of_wanted},
    layout::{Bytes, ENTRIES, ENTRY, Header, OFFSETS, Part, SUM, TIMES, cut, longest_set, sum},
    names::{self, Entries, Where},
    wanted::{BLOCK, Times, records_of_blocks},
};
use roaring::RoaringBitmap;
use std::{
    cmp::Ordering,
    fs::File,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

/// A page of ids is looked for by its share of all hashes so often; then the rest is halved, so that a table that
/// somebody filled with similar hashes costs no more.
const GUESSES: u32 = 4;

/// A sealed segment's index in its file.
#[derive(Debug)]
pub struct SegmentIndex {
    path: PathBuf,
    file: Shared,
    header: Header,
}

impl SegmentIndex {
    /// Reads the header and checks it, and whether the file is as long as it says. Everything else is checked when a
    /// search reads it.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let unreadable = |error| IndexError::Unreadable { path: path.to_owned(), error };
        let damaged = |what| IndexError::Damaged { path: path.to_owned(), what };
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        if length < (Header::LENGTH + SUM) as u64 {
            return Err(damaged("it is too short"));
        }
        let file = Shared::from(file);
        let mut bytes = [0; Header::LENGTH + SUM];
        file.read_exact_at(&mut bytes, 0).map_err(unreadable)?;
        let bytes = checked(0, &bytes).ok_or_else(|| damaged("its header does not fit its checksum"))?;
        let header = Header::read(bytes).map_err(damaged)?;
        if header.length != length {
            return Err(damaged("it is not as long as its header says"));
        }
        Ok(Self { path: path.to_owned(), file, header })
    }

    /// The hash that names the content of the segment.
    pub fn segment(&self) -> &[u8; 32] {
        &self.header.segment
    }

    /// How many records the segment has.
    pub fn records(&self) -> u32 {
        self.header.records
    }

    /// Where a record is in its segment.
    pub fn offset(&self, number: u32) -> Result<u32, IndexError> {
        let page = self.page(self.header.offsets_at, self.header.records, OFFSETS, 4, number / OFFSETS)?;
        let at = (number % OFFSETS) as usize * 4;
        let bytes = page.get(at..).and_then(|rest| rest.first_chunk::<4>());
        bytes.map(|bytes| u32::from_le_bytes(*bytes)).ok_or_else(|| self.damaged("it has no such record"))
    }

    /// Numbers of the records that can be what is wanted. `None`: all of them can.
    pub fn find(&self, wanted: &Wanted) -> Result<Option<RoaringBitmap>, IndexError> {
        let between = wanted.between();
        if !self.header.times.overlap(between) && (wanted.since.is_some() || wanted.until.is_some()) {
            return Ok(Some(RoaringBitmap::new()));
        }
        let found = wanted.narrow(|field, pattern| self.with(field, pattern))?;
        let all_in_time = self.header.times.within(between);
        if all_in_time || found.as_ref().is_some_and(RoaringBitmap::is_empty) {
            return Ok(found);
        }
        let in_time = self.in_time(between)?;
        Ok(Some(match found {
            Some(found) => found & in_time,
            None => in_time,
        }))
    }

    fn with(&self, field: Field, pattern: &Pattern) -> Result<Option<RoaringBitmap>, IndexError> {
        if let Some((part, _)) = self.header.ids.iter().zip(IDS).find(|(_, own)| *own == field) {
            let Pattern::Exact(text) = pattern else { return Ok(None) };
            return match hash_of_wanted(field, text) {
                Some(hash) => self.with_id(*part, hash).map(Some),
                None => Ok(Some(RoaringBitmap::new())),
            };
        }
        match self.header.names.iter().zip(NAMES).find(|(_, own)| *own == field) {
            Some((part, _)) => self.with_name(*part, field, pattern).map(Some),
            None => Ok(None),
        }
    }

    /// The records of blocks in which such a time can be.
    fn in_time(&self, between: Times) -> Result<RoaringBitmap, IndexError> {
        let blocks = self.header.records.div_ceil(BLOCK);
        let mut times = Vec::with_capacity(blocks as usize);
        for page in 0..blocks.div_ceil(TIMES) {
            let page = self.page(self.header.times_at, blocks, TIMES, 16, page)?;
            times.extend(page.as_chunks::<16>().0.iter().filter_map(|block| {
                let mut block = Bytes(block);
                let first = block.take().map(i64::from_le_bytes)?;
                let last = block.take().map(i64::from_le_bytes)?;
                Some(Times { first, last })
            }));
        }
        Ok(records_of_blocks(times.into_iter(), between, self.header.records))
    }

    fn with_id(&self, table: Part, hash: u64) -> Result<RoaringBitmap, IndexError> {
        let mut found = RoaringBitmap::new();
        let pages = table.count.div_ceil(ENTRIES);
        let mut left = 0..pages;
        let mut hashes = 0..=u64::MAX;
        let mut guesses = 0..GUESSES;
        while !left.is_empty() {
            let page = match guesses.next() {
                Some(_) => guess(&left, *hashes.start(), *hashes.end(), hash),
                None => left.start + (left.end - left.start) / 2,
            };
            let entries = self.ids(table, page)?;
            let Some((first, last)) = entries.edges() else { break };
            if hash < first {
                left.end = page;
                hashes = *hashes.start()..=first;
            } else if hash > last {
                left.start = page.saturating_add(1);
                hashes = last..=*hashes.end();
            } else {
                entries.add_to(&mut found, hash);
                // Records of one id can go on in the pages beside.
                if first == hash {
                    for page in (0..page).rev() {
                        if !self.add_page(table, page, hash, &mut found)? {
                            break;
                        }
                    }
                }
                if last == hash {
                    for page in page.saturating_add(1)..pages {
                        if !self.add_page(table, page, hash, &mut found)? {
                            break;
                        }
                    }
                }
                break;
            }
        }
        self.all_are_records(found)
    }

    /// Adds what a page has of an id. False: nothing.
    fn add_page(
        &self,
        table: Part,
        page: u32,
        hash: u64,
        found: &mut RoaringBitmap,
    ) -> Result<bool, IndexError> {
        Ok(self.ids(table, page)?.add_to(found, hash))
    }

    fn ids(&self, table: Part, page: u32) -> Result<Ids, IndexError> {
        self.page(table.position, table.count, ENTRIES, ENTRY, page).map(Ids)
    }

    fn with_name(&self, list: Part, field: Field, pattern: &Pattern) -> Result<RoaringBitmap, IndexError> {
        let mut found = RoaringBitmap::new();
        if list.count == 0 {
            return Ok(found);
        }
        let lengths = self.piece(list.position, list.count as usize * 4)?;
        let blocks =
            names::blocks(list, &lengths).ok_or_else(|| self.damaged("its names cannot be where it says"))?;
        // Every name that can match begins so, or is this.
        let (start, exact) = match pattern {
            Pattern::Exact(text) => (cut(text.as_bytes()), true),
            Pattern::Glob(glob) => {
                let literal = glob.as_str().split('*').next().unwrap_or_default();
                (cut(literal.as_bytes()), false)
            }
        };
        let mut hits = 0u64;
        let first = self.block_of(&blocks, start)?;
        for (position, length) in blocks.get(first..).unwrap_or_default() {
            let block = self.piece(*position, *length)?;
            let mut entries = Entries::of(&block);
            while let Some(place) = entries.next().map_err(|what| self.damaged(what))? {
                let beyond = match entries.name.as_slice().cmp(start) {
                    Ordering::Less => continue,
                    Ordering::Equal => false,
                    Ordering::Greater => exact || !entries.name.starts_with(start),
                };
                if beyond {
                    return self.all_are_records(found);
                }
                if !can_match(field, pattern, &entries.name) {
                    continue;
                }
                hits = hits.saturating_add(self.add_records(place, &mut found)?);
                // A record has one name of a kind: a file that goes on for longer is no index.
                if hits > u64::from(self.header.records) {
                    return Err(self.damaged("it has more entries than its segment has records"));
                }
            }
        }
        self.all_are_records(found)
    }

    /// The last block that begins with this name or one before it, or the first one.
    fn block_of(&self, blocks: &[(u64, usize)], name: &[u8]) -> Result<usize, IndexError> {
        // The first block is not asked: nothing stands before it.
        let mut left = 1..blocks.len();
        while !left.is_empty() {
            let middle = left.start + left.len() / 2;
            let Some((position, length)) = blocks.get(middle) else { break };
            let block = self.piece(*position, *length)?;
            let mut entries = Entries::of(&block);
            entries.next().map_err(|what| self.damaged(what))?;
            if entries.name.as_slice() <= name {
                left.start = middle + 1;
            } else {
                left.end = middle;
            }
        }
        Ok(left.start.saturating_sub(1))
    }

    /// Adds a name's records and says how many they are.
    fn add_records(&self, place: Where, found: &mut RoaringBitmap) -> Result<u64, IndexError> {
        match place {
            Where::One(number) => {
                found.insert(number);
                Ok(1)
            }
            Where::Set { position, length } => {
                let wrong = || self.damaged("a set of record numbers is wrong");
                let length = usize::try_from(length).ok();
                let length = length.filter(|length| *length <= longest_set(self.header.records));
                let bytes = self.piece(position, length.ok_or_else(wrong)?)?;
                let set = RoaringBitmap::deserialize_from(bytes.as_slice()).map_err(|_| wrong())?;
                let count = set.len();
                *found |= set;
                Ok(count.max(1))
            }
        }
    }

    fn all_are_records(&self, found: RoaringBitmap) -> Result<RoaringBitmap, IndexError> {
        if found.max().is_some_and(|last| last >= self.header.records) {
            return Err(self.damaged("it leads to records that its segment does not have"));
        }
        Ok(found)
    }

    /// A page of a part that has `count` items of `width` bytes, `of` on each page.
    fn page(&self, start: u64, count: u32, of: u32, width: usize, page: u32) -> Result<Vec<u8>, IndexError> {
        let before = page.saturating_mul(of);
        let items = count.saturating_sub(before).min(of) as usize;
        if items == 0 {
            return Err(self.damaged("it has no such record"));
        }
        let whole = u64::from(of) * width as u64 + SUM as u64;
        let position = u64::from(page).checked_mul(whole).and_then(|below| start.checked_add(below));
        self.piece(position.unwrap_or(u64::MAX), items * width)
    }

    /// Some bytes, held against their sum. Nothing is reserved for what the file cannot have.
    fn piece(&self, position: u64, length: usize) -> Result<Vec<u8>, IndexError> {
        let whole = length.saturating_add(SUM);
        let end = position.checked_add(whole as u64);
        if end.is_none_or(|end| end > self.header.length) {
            return Err(self.damaged("a part of it lies beyond its end"));
        }
        let mut bytes = vec![0; whole];
        self.file
            .read_exact_at(&mut bytes, position)
            .map_err(|error| IndexError::Unreadable { path: self.path.clone(), error })?;
        if checked(position, &bytes).is_none() {
            return Err(self.damaged("a part of it does not fit its checksum"));
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    fn damaged(&self, what: &'static str) -> IndexError {
        IndexError::Damaged { path: self.path.clone(), what }
    }
}

/// The bytes of a piece, where they fit the checksum behind them.
fn checked(position: u64, piece: &[u8]) -> Option<&[u8]> {
    let (bytes, own) = piece.split_last_chunk::<SUM>()?;
    (sum(position, bytes) == *own).then_some(bytes)
}

/// Where a hash is among pages whose hashes lie between two others and are spread evenly.
fn guess(pages: &Range<u32>, low: u64, high: u64, hash: u64) -> u32 {
    let span = u128::from(high.saturating_sub(low)) + 1;
    let share = u128::from(hash.saturating_sub(low)) * u128::from(pages.end - pages.start) / span;
    let page = u32::try_from(share).unwrap_or(u32::MAX).saturating_add(pages.start);
    page.min(pages.end.saturating_sub(1))
}

/// A page of ids.
struct Ids(Vec<u8>);

impl Ids {
    fn each(&self) -> impl DoubleEndedIterator<Item = (u64, u32)> {
        self.0.as_chunks::<ENTRY>().0.iter().filter_map(|entry| {
            let mut entry = Bytes(entry);
            Some((entry.u64()?, entry.u32()?))
        })
    }

    fn edges(&self) -> Option<(u64, u64)> {
        Some((self.each().next()?.0, self.each().next_back()?.0))
    }

    /// False: there are none.
    fn add_to(&self, found: &mut RoaringBitmap, wanted: u64) -> bool {
        let mut any = false;
        for (_, number) in self.each().filter(|(hash, _)| *hash == wanted) {
            found.insert(number);
            any = true;
        }
        any
    }
}

/// A file that several searches read at once.
#[derive(Debug)]
struct Shared(#[cfg(unix)] File, #[cfg(not(unix))] std::sync::Mutex<File>);

#[cfg(unix)]
impl Shared {
    fn from(file: File) -> Self {
        Self(file)
    }

    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, bytes, position)
    }
}

#[cfg(not(unix))]
impl Shared {
    fn from(file: File) -> Self {
        Self(std::sync::Mutex::new(file))
    }

    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let mut file = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(bytes)
    }
}
