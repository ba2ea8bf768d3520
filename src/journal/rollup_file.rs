//! What charts draw of a sealed segment, in a file beside it: its rows in several resolutions, each in chunks by time, so that a
//! chart of an hour reads a few kilobytes and one of a year little more. It holds nothing that its segment does not, and can
//! be made again. All numbers are little-endian; a piece has its checksum, as those of an index have.
//!
//! - The header, the first piece: what it is, the hash that names the segment's content, the length of the file, and where
//!   names and directory are.
//! - The chunks: rows one after the other, each number with seven bits a byte.
//! - The names: each with its length before it.
//! - The directory: for each facet and each of [`LEVELS`] how many chunks it has, and where each is, how long, and of which minutes.

use super::{
    chain::Hash,
    files,
    index::{Bytes, IndexError, Out, SUM, sum},
};
use crate::{
    model::MicroUsd,
    series::{Cell, Durations, Facet, Key, LEVELS, Rollup, Row, Span},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"TGROLUP3";
const HEADER: usize = 8 + 32 + 8 + 2 * (8 + 4);
/// A chunk is closed once it is this long.
const CHUNK: usize = 32 * 1024;
/// The longest that a file may be: a megabyte of records makes a fraction of it.
const LONGEST: u64 = 1 << 30;

/// In place of the hash of a segment that was damaged when its rollup was made: such a rollup fits no segment, so that it is made again.
pub(super) const OF_DAMAGED: Hash = [0; 32];

/// Whether a file is the rollup of what could be read of a damaged segment.
pub fn is_of_damaged(file: &[u8]) -> bool {
    file.get(MAGIC.len()..MAGIC.len() + OF_DAMAGED.len()) == Some(&OF_DAMAGED)
}

/// Whether a file is a rollup of an earlier version: it is read by nobody, and made again when it is needed.
pub fn is_of_earlier_version(file: &[u8]) -> bool {
    [b"TGROLUP1", b"TGROLUP2"].iter().any(|magic| file.starts_with(&magic[..]))
}

/// The file of a rollup. `segment` is a hash that names the segment's content. The same records give the same bytes.
pub fn write(rollup: &Rollup, segment: &Hash) -> Vec<u8> {
    let mut out = Out { bytes: vec![0; HEADER + SUM] };
    let mut directory = Vec::new();
    for (facet, level) in tables() {
        let chunks = chunks_of(&mut out, rollup.cells(facet, level));
        directory.extend_from_slice(&u32::try_from(chunks.len()).unwrap_or(u32::MAX).to_le_bytes());
        for chunk in chunks {
            directory.extend_from_slice(&chunk.position.to_le_bytes());
            directory.extend_from_slice(&chunk.length.to_le_bytes());
            directory.extend_from_slice(&chunk.first.to_le_bytes());
            directory.extend_from_slice(&chunk.last.to_le_bytes());
        }
    }
    let mut names = Vec::new();
    for name in rollup.names() {
        varint(&mut names, name.len() as u64);
        names.extend_from_slice(name.as_bytes());
    }
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(segment);
    let places: Vec<(u64, u32)> = [names, directory]
        .iter()
        .map(|bytes| (out.piece(bytes), u32::try_from(bytes.len()).unwrap_or(u32::MAX)))
        .collect();
    header.extend_from_slice(&out.position().to_le_bytes());
    for (position, length) in places {
        header.extend_from_slice(&position.to_le_bytes());
        header.extend_from_slice(&length.to_le_bytes());
    }
    let mut first = Out::default();
    first.piece(&header);
    for (place, byte) in out.bytes.iter_mut().zip(first.bytes) {
        *place = byte;
    }
    out.bytes
}

/// Each facet in each resolution, in the order of the directory.
fn tables() -> impl Iterator<Item = (Facet, i64)> {
    Facet::ALL.into_iter().flat_map(|facet| LEVELS.map(|level| (facet, level)))
}

/// Where some rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chunk {
    position: u64,
    length: u32,
    /// The minutes of its first and its last row.
    first: i64,
    last: i64,
}

fn chunks_of(out: &mut Out, cells: BTreeMap<Key, Cell>) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut bytes = Vec::new();
    let mut times: Option<(i64, i64)> = None;
    let mut close = |bytes: &mut Vec<u8>, times: &mut Option<(i64, i64)>| {
        if let Some((first, last)) = times.take() {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            chunks.push(Chunk { position: out.piece(bytes), length, first, last });
        }
        bytes.clear();
    };
    for (key, cell) in cells {
        write_row(&mut bytes, &key, &cell);
        times = Some((times.map_or(key.minute, |(first, _)| first), key.minute));
        if bytes.len() >= CHUNK {
            close(&mut bytes, &mut times);
        }
    }
    close(&mut bytes, &mut times);
    chunks
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn write_row(out: &mut Vec<u8>, key: &Key, cell: &Cell) {
    varint(out, zigzag(key.minute));
    key.names.iter().for_each(|name| varint(out, u64::from(*name)));
    for count in [cell.decided, cell.asked, cell.answered, cell.ended, cell.failed, cell.tokens] {
        varint(out, count);
    }
    varint(out, zigzag(cell.cost.0));
    let buckets = cell.durations.buckets();
    varint(out, buckets.len() as u64);
    for (bucket, count) in buckets {
        varint(out, u64::from(*bucket));
        varint(out, *count);
    }
}

/// Numbers that are read from the front.
struct Numbers<'b>(&'b [u8]);

impl Numbers<'_> {
    fn next(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.next()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn number(&mut self) -> Option<u32> {
        self.next().and_then(|value| u32::try_from(value).ok())
    }

    fn row(&mut self) -> Option<(Key, Cell)> {
        let minute = self.signed()?;
        let mut names = [0; 5];
        for name in &mut names {
            *name = self.number()?;
        }
        let mut cell = Cell::default();
        for count in [
            &mut cell.decided,
            &mut cell.asked,
            &mut cell.answered,
            &mut cell.ended,
            &mut cell.failed,
            &mut cell.tokens,
        ] {
            *count = self.next()?;
        }
        cell.cost = MicroUsd(self.signed()?);
        let count = usize::try_from(self.next()?).ok().filter(|count| *count <= 256)?;
        let mut buckets = Vec::with_capacity(count);
        for _ in 0..count {
            buckets.push((u8::try_from(self.next()?).ok()?, self.next()?));
        }
        cell.durations = Durations::from_buckets(buckets).ok()?;
        Some((Key { minute, names }, cell))
    }
}

/// Where the rows of a sealed segment are. The file is open only while rows are read.
#[derive(Debug)]
pub(super) struct RollupFile {
    path: PathBuf,
    segment: Hash,
    length: u64,
    names: (u64, u32),
    /// The chunks of each of [`tables`].
    tables: Vec<Vec<Chunk>>,
}

impl RollupFile {
    /// Reads header and directory, and checks both. Names and rows are checked when they are read.
    pub(super) fn open(path: &Path) -> Result<Self, IndexError> {
        let unreadable = |error| IndexError::Unreadable { path: path.to_owned(), error };
        let damaged = |what| IndexError::Damaged { path: path.to_owned(), what };
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        if length > LONGEST {
            return Err(damaged("it is longer than it can be"));
        }
        let mut this =
            Self { path: path.to_owned(), segment: [0; 32], length, names: (0, 0), tables: Vec::new() };
        let header = this.piece(&file, 0, HEADER as u32)?;
        let directory =
            this.read_header(&header).ok_or_else(|| damaged("it is no rollup of this version"))?;
        let directory = this.piece(&file, directory.0, directory.1)?;
        this.tables = chunks(&directory).ok_or_else(|| damaged("its directory cannot be read"))?;
        Ok(this)
    }

    fn read_header(&mut self, bytes: &[u8]) -> Option<(u64, u32)> {
        let mut bytes = Bytes(bytes);
        (&bytes.take::<8>()? == MAGIC).then_some(())?;
        self.segment = bytes.take()?;
        (bytes.u64()? == self.length).then_some(())?;
        self.names = (bytes.u64()?, bytes.u32()?);
        Some((bytes.u64()?, bytes.u32()?))
    }

    /// The hash that names the content of the segment.
    pub(super) fn segment(&self) -> &Hash {
        &self.segment
    }

    fn damaged(&self, what: &'static str) -> IndexError {
        IndexError::Damaged { path: self.path.clone(), what }
    }

    fn piece(&self, file: &File, position: u64, length: u32) -> Result<Vec<u8>, IndexError> {
        let end = position.checked_add(u64::from(length) + SUM as u64);
        if end.is_none_or(|end| end > self.length) {
            return Err(self.damaged("a part of it lies beyond its end"));
        }
        let mut bytes = vec![0; length as usize + SUM];
        let read = files::read_at(file, &mut bytes, position)
            .map_err(|error| IndexError::Unreadable { path: self.path.clone(), error })?;
        let whole = read == bytes.len();
        let told: Option<[u8; SUM]> = bytes.last_chunk().copied().filter(|_| whole);
        bytes.truncate(length as usize);
        match told == Some(sum(position, &bytes)) {
            true => Ok(bytes),
            false => Err(self.damaged("a part of it does not fit its checksum")),
        }
    }

    /// Reads what has the rows of some minutes. A file that is gone has none: its segment is gone too.
    pub(super) fn load(&self, span: Span) -> Result<Loaded, IndexError> {
        let table = tables().position(|table| table == (span.facet, span.level));
        let chunks = table.and_then(|table| self.tables.get(table)).map(Vec::as_slice).unwrap_or_default();
        let mut wanted =
            chunks.iter().filter(|chunk| chunk.first < span.end && chunk.last >= span.first).peekable();
        let mut loaded = Loaded::default();
        if wanted.peek().is_none() {
            return Ok(loaded);
        }
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(loaded),
            Err(error) => return Err(IndexError::Unreadable { path: self.path.clone(), error }),
        };
        loaded.names = self.piece(&file, self.names.0, self.names.1)?;
        for chunk in wanted {
            loaded.chunks.push(self.piece(&file, chunk.position, chunk.length)?);
        }
        Ok(loaded)
    }
}

/// Names and chunks of rows, each as it was written.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    names: Vec<u8>,
    chunks: Vec<Vec<u8>>,
}

impl Loaded {
    /// How much it is.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.iter().fold(self.names.len() + size_of::<Self>(), |all, chunk| all + chunk.len())
    }

    /// Hands on the rows of some minutes; the error says what is wrong.
    pub(super) fn rows(&self, span: Span, take: &mut dyn FnMut(Row<'_>)) -> Result<(), &'static str> {
        let names = names(&self.names).ok_or("its names cannot be read")?;
        for chunk in &self.chunks {
            let mut rows = Numbers(chunk);
            while !rows.0.is_empty() {
                let (key, cell) = rows.row().ok_or("a row cannot be read")?;
                if key.minute < span.first || key.minute >= span.end {
                    continue;
                }
                let name = |number: u32| -> Option<&str> {
                    names.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
                };
                take(Row { minute: key.minute, names: key.names.map(name), cell: &cell });
            }
        }
        Ok(())
    }
}

fn chunks(bytes: &[u8]) -> Option<Vec<Vec<Chunk>>> {
    let mut bytes = Bytes(bytes);
    let mut all = Vec::new();
    for _ in tables() {
        let mut chunks = Vec::new();
        for _ in 0..bytes.u32()? {
            chunks.push(Chunk {
                position: bytes.u64()?,
                length: bytes.u32()?,
                first: i64::from_le_bytes(bytes.take()?),
                last: i64::from_le_bytes(bytes.take()?),
            });
        }
        all.push(chunks);
    }
    Some(all)
}

fn names(bytes: &[u8]) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    let mut rest = Numbers(bytes);
    while !rest.0.is_empty() {
        let length = usize::try_from(rest.next()?).ok()?;
        let (name, after) = rest.0.split_at_checked(length)?;
        names.push(std::str::from_utf8(name).ok()?);
        rest.0 = after;
    }
    Some(names)
}
