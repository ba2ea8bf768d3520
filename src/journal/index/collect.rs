//! What the records of one segment are found by, in memory: what a sealed segment's index is written from, and what the
//! segment that still grows is searched with.

use super::{
    Field, IDS, Members, NAMES, Pattern, Wanted,
    layout::{CUT, cut, is_cut},
    wanted::{BLOCK, Times, records_of_blocks},
};
use crate::model::TraceId;
use roaring::RoaringBitmap;
use std::{collections::HashMap, convert::Infallible};

/// Everything that has been added.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) records: u32,
    /// In the order of [`IDS`]: hash and record number.
    pub(super) ids: [Vec<(u64, u32)>; IDS.len()],
    /// In the order of [`NAMES`]: record numbers, ascending.
    pub(super) names: [HashMap<Box<[u8]>, Vec<u32>>; NAMES.len()],
    /// Of each block.
    pub(super) times: Vec<Times>,
}

impl Collected {
    pub(super) fn add(&mut self, members: Option<&Members<'_>>) {
        let number = self.records;
        self.records = number.saturating_add(1);
        if number.is_multiple_of(BLOCK) {
            self.times.push(Times::NONE);
        }
        let Some(members) = members else { return };
        if let Some(block) = self.times.last_mut() {
            block.add(Times::of(members.at()));
        }
        for (table, field) in self.ids.iter_mut().zip(IDS) {
            if let Some(hash) = hash_of(members, field) {
                table.push((hash, number));
            }
        }
        for (names, field) in self.names.iter_mut().zip(NAMES) {
            let Some(text) = members.value(field) else { continue };
            let name = cut(text.as_bytes());
            match names.get_mut(name) {
                Some(numbers) => numbers.push(number),
                None => {
                    names.insert(name.into(), vec![number]);
                }
            }
        }
    }

    /// Of all records.
    pub(super) fn all_times(&self) -> Times {
        self.times.iter().fold(Times::NONE, |mut all, block| {
            all.add(*block);
            all
        })
    }

    fn with(&self, field: Field, pattern: &Pattern) -> Option<RoaringBitmap> {
        let ids = self.ids.iter().zip(IDS).find(|(_, own)| *own == field);
        if let Some((table, _)) = ids {
            let Pattern::Exact(text) = pattern else { return None };
            let Some(wanted) = hash_of_wanted(field, text) else { return Some(RoaringBitmap::new()) };
            // One pass over a megabyte at most, once a query: no order is kept for it while records come.
            let numbers = table.iter().filter(|(hash, _)| *hash == wanted).map(|(_, number)| *number);
            return Some(numbers.collect());
        }
        let (names, _) = self.names.iter().zip(NAMES).find(|(_, own)| *own == field)?;
        let mut found = RoaringBitmap::new();
        match pattern {
            Pattern::Exact(text) => found.extend(names.get(cut(text.as_bytes())).into_iter().flatten()),
            Pattern::Glob(_) => {
                for (_, numbers) in names.iter().filter(|(name, _)| can_match(field, pattern, name)) {
                    found.extend(numbers);
                }
            }
        }
        Some(found)
    }
}

/// Whether a value that is kept as this name can be what is wanted.
pub(super) fn can_match(field: Field, pattern: &Pattern, name: &[u8]) -> bool {
    match pattern {
        Pattern::Exact(text) => cut(text.as_bytes()) == name,
        Pattern::Glob(_) => {
            is_cut(name) || std::str::from_utf8(name).is_ok_and(|name| pattern.fits(field, name))
        }
    }
}

/// What a record's id is kept as.
fn hash_of(members: &Members<'_>, field: Field) -> Option<u64> {
    if field == Field::Trace {
        return members.trace().map(|trace| hash(&trace.bytes()));
    }
    members.value(field).map(|text| hash(text.as_bytes()))
}

/// What a wanted id is kept as. `None`: no record can have it.
pub(super) fn hash_of_wanted(field: Field, text: &str) -> Option<u64> {
    if field == Field::Trace {
        return TraceId::parse(text).map(|trace| hash(&trace.bytes()));
    }
    Some(hash(text.as_bytes()))
}

/// FNV-1a with a last mixing step, since tables are searched by the leading bits. Ids that share a hash cost a look at a
/// record too many and nothing else. It stands in files.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, step);
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 32)
}

/// The index of the segment that still grows, in memory.
#[derive(Debug, Default)]
pub struct TailIndex(Collected);

impl TailIndex {
    /// The next record. `None`: its body is unreadable; it is found by nothing, but has its number.
    pub fn add(&mut self, members: Option<&Members<'_>>) {
        self.0.add(members);
    }

    /// How many were added.
    pub fn records(&self) -> u32 {
        self.0.records
    }

    /// Numbers of the records that can be what is wanted. `None`: all of them can.
    pub fn find(&self, wanted: &Wanted) -> Option<RoaringBitmap> {
        let Ok(found) = wanted.narrow(|field, pattern| Ok::<_, Infallible>(self.0.with(field, pattern)));
        if wanted.since.is_none() && wanted.until.is_none() {
            return found;
        }
        let in_time = records_of_blocks(self.0.times.iter().copied(), wanted.between(), self.0.records);
        Some(match found {
            Some(found) => found & in_time,
            None => in_time,
        })
    }
}

const _: () = assert!(CUT <= u16::MAX as usize, "the length of a name stands in two bytes");
