//! Writes the index of a segment. The same records give the same bytes, so that an index is verified by making it again.

use super::{
    IDS, Members, NAMES,
    collect::Collected,
    layout::{ENTRIES, Header, OFFSETS, Out, Part, SUM, TIMES},
    names::{self, Where},
};
use roaring::RoaringBitmap;
use std::collections::HashMap;

/// Collects a segment's records, then writes its index.
#[derive(Debug, Default)]
pub struct Builder {
    collected: Collected,
    offsets: Vec<u32>,
}

impl Builder {
    /// Of no records.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next record, and where it is in its segment. `None`: its body is unreadable; it is found by nothing, but has
    /// its number and its place.
    pub fn add(&mut self, offset: u32, members: Option<&Members<'_>>) {
        self.offsets.push(offset);
        self.collected.add(members);
    }

    /// The file. `segment` is a hash that names the segment's content.
    pub fn finish(self, segment: &[u8; 32]) -> Vec<u8> {
        let Self { collected, offsets } = self;
        let mut out = Out { bytes: vec![0; Header::LENGTH + SUM] };
        let offsets_at = out.position();
        pages(&mut out, &offsets, OFFSETS, |offset, page| page.extend_from_slice(&offset.to_le_bytes()));
        let times_at = out.position();
        pages(&mut out, &collected.times, TIMES, |times, page| {
            page.extend_from_slice(&times.first.to_le_bytes());
            page.extend_from_slice(&times.last.to_le_bytes());
        });
        let times = collected.all_times();
        let mut ids = [Part::default(); IDS.len()];
        for (part, mut table) in ids.iter_mut().zip(collected.ids) {
            table.sort_unstable();
            // No record adds more than one entry.
            *part = Part { position: out.position(), count: table.len() as u32 };
            pages(&mut out, &table, ENTRIES, |(hash, number), page| {
                page.extend_from_slice(&hash.to_le_bytes());
                page.extend_from_slice(&number.to_le_bytes());
            });
        }
        let mut parts = [Part::default(); NAMES.len()];
        for (part, names) in parts.iter_mut().zip(&collected.names) {
            *part = list(&mut out, names);
        }
        let header = Header {
            segment: *segment,
            records: collected.records,
            length: out.position(),
            times,
            offsets_at,
            times_at,
            ids,
            names: parts,
        };
        let mut first = Out::default();
        first.piece(&header.write());
        for (place, byte) in out.bytes.iter_mut().zip(first.bytes) {
            *place = byte;
        }
        out.bytes
    }
}

fn pages<T>(out: &mut Out, items: &[T], of: u32, write: impl Fn(&T, &mut Vec<u8>)) {
    let mut page = Vec::new();
    for items in items.chunks(of as usize) {
        page.clear();
        items.iter().for_each(|item| write(item, &mut page));
        out.piece(&page);
    }
}

fn list(out: &mut Out, names: &HashMap<Box<[u8]>, Vec<u32>>) -> Part {
    let mut sorted: Vec<(&[u8], &[u32])> =
        names.iter().map(|(name, numbers)| (&**name, numbers.as_slice())).collect();
    sorted.sort_unstable();
    let mut places = Vec::with_capacity(sorted.len());
    let mut bytes = Vec::new();
    for (name, numbers) in sorted {
        let place = match numbers {
            [number] => Where::One(*number),
            numbers => {
                let mut set: RoaringBitmap = numbers.iter().copied().collect();
                set.optimize();
                bytes.clear();
                // Writing to memory cannot fail.
                let written = set.serialize_into(&mut bytes);
                debug_assert!(written.is_ok());
                Where::Set { length: bytes.len() as u32, position: out.piece(&bytes) }
            }
        };
        places.push((name, place));
    }
    names::write(out, places.into_iter())
}
