//! The sorted names of one field, in blocks. An entry says how much of its name is that of the entry before, what
//! follows, and in which records it is: one number, or a set that stands elsewhere in the file.

use super::layout::{Bytes, CUT, LONGEST_BLOCK, NAMES_BLOCK, Out, Part, SUM};

/// In which records a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// In this one alone.
    One(u32),
    /// In a set at this place, of so many bytes.
    Set {
        /// In the file.
        position: u64,
        /// Without its checksum.
        length: u32,
    },
}

/// Writes names, which come in their order, and says where the lengths of their blocks are.
pub(super) fn write<'n>(out: &mut Out, names: impl Iterator<Item = (&'n [u8], Where)>) -> Part {
    let mut lengths: Vec<u8> = Vec::new();
    let mut count = 0u32;
    let mut block: Vec<u8> = Vec::with_capacity(LONGEST_BLOCK);
    let mut before: &[u8] = &[];
    let mut close = |block: &mut Vec<u8>, out: &mut Out| {
        if !block.is_empty() {
            lengths.extend_from_slice(&(block.len() as u32).to_le_bytes());
            count += 1;
            out.piece(block);
            block.clear();
        }
    };
    for (name, place) in names {
        if block.len() >= NAMES_BLOCK {
            close(&mut block, out);
            before = &[];
        }
        let shared = name.iter().zip(before).take_while(|(own, before)| own == before).count();
        let own = name.get(shared..).unwrap_or_default();
        block.extend_from_slice(&(shared as u16).to_le_bytes());
        block.extend_from_slice(&(own.len() as u16).to_le_bytes());
        block.extend_from_slice(own);
        match place {
            Where::One(number) => {
                block.push(0);
                block.extend_from_slice(&number.to_le_bytes());
            }
            Where::Set { position, length } => {
                block.push(1);
                block.extend_from_slice(&position.to_le_bytes());
                block.extend_from_slice(&length.to_le_bytes());
            }
        }
        before = name;
    }
    close(&mut block, out);
    if count == 0 {
        return Part { position: out.position(), count };
    }
    Part { position: out.piece(&lengths), count }
}

/// Where the blocks are, from the lengths before which they stand. `None`: they cannot be there.
pub(super) fn blocks(part: Part, lengths: &[u8]) -> Option<Vec<(u64, usize)>> {
    let lengths: Vec<usize> = lengths
        .as_chunks::<4>()
        .0
        .iter()
        .map(|length| usize::try_from(u32::from_le_bytes(*length)).ok().filter(|l| *l <= LONGEST_BLOCK))
        .collect::<Option<_>>()?;
    let whole: u64 = lengths.iter().map(|length| (length + SUM) as u64).sum();
    let mut position = part.position.checked_sub(whole)?;
    let placed = lengths.into_iter().map(|length| {
        let here = position;
        position += (length + SUM) as u64;
        (here, length)
    });
    Some(placed.collect())
}

/// The entries of a block, one after the other.
pub(super) struct Entries<'b> {
    bytes: Bytes<'b>,
    /// Of the entry that was read last.
    pub(super) name: Vec<u8>,
}

impl<'b> Entries<'b> {
    pub(super) fn of(block: &'b [u8]) -> Self {
        Self { bytes: Bytes(block), name: Vec::new() }
    }

    pub(super) fn next(&mut self) -> Result<Option<Where>, &'static str> {
        if self.bytes.0.is_empty() {
            return Ok(None);
        }
        self.entry().map(Some).ok_or("a block of names is wrong")
    }

    fn entry(&mut self) -> Option<Where> {
        let shared = usize::from(self.bytes.u16()?);
        let own = usize::from(self.bytes.u16()?);
        if shared > self.name.len() || shared + own > CUT {
            return None;
        }
        self.name.truncate(shared);
        self.name.extend_from_slice(self.bytes.slice(own)?);
        match self.bytes.take()? {
            [0] => Some(Where::One(self.bytes.u32()?)),
            [1] => Some(Where::Set { position: self.bytes.u64()?, length: self.bytes.u32()? }),
            [_] => None,
        }
    }
}
