//! What one transaction did to the counters, as the ledger keeps it: one row of entries for all calls of a group.

use crate::admission::{Effect, Grant, Usage};

const GRANTED: i64 = 1;
const CARRIED: i64 = 2;
const CLOSED: i64 = 3;
const ASKED: i64 = 4;

/// Appends numbers as little-endian groups of seven bits, small ones first (zigzag, so that minus signs are small too).
fn put(out: &mut Vec<u8>, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
    loop {
        let low = (left & 0x7f) as u8;
        left >>= 7;
        if left == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn take(bytes: &mut &[u8]) -> Option<i64> {
    let mut number = 0u64;
    for shift in (0..70).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    None
}

fn take_count(bytes: &mut &[u8]) -> Option<usize> {
    // Each number takes a byte at least: a count beyond what is left is damage, and must not reserve memory.
    usize::try_from(take(bytes)?).ok().filter(|count| *count <= bytes.len())
}

fn put_grant(out: &mut Vec<u8>, grant: &Grant) {
    for number in [grant.seq, grant.owner, grant.at, grant.tokens, grant.cost] {
        put(out, number);
    }
    put(out, i64::from(grant.repeat.is_some()));
    if let Some(repeat) = grant.repeat {
        put(out, repeat);
    }
    put(out, i64::try_from(grant.rolling.len()).unwrap_or(0));
    grant.rolling.iter().for_each(|counter| put(out, *counter));
    put(out, i64::try_from(grant.windows.len()).unwrap_or(0));
    for (counter, start) in &grant.windows {
        put(out, *counter);
        put(out, *start);
    }
}

fn take_grant(bytes: &mut &[u8]) -> Option<Grant> {
    let mut grant = Grant {
        seq: take(bytes)?,
        owner: take(bytes)?,
        at: take(bytes)?,
        tokens: take(bytes)?,
        cost: take(bytes)?,
        ..Grant::default()
    };
    if take(bytes)? == 1 {
        grant.repeat = Some(take(bytes)?);
    }
    for _ in 0..take_count(bytes)? {
        grant.rolling.push(take(bytes)?);
    }
    for _ in 0..take_count(bytes)? {
        grant.windows.push((take(bytes)?, take(bytes)?));
    }
    Some(grant)
}

/// Writes an effect behind the others. Alerts and approvals have tables of their own.
pub(super) fn write(out: &mut Vec<u8>, effect: &Effect) {
    match effect {
        Effect::Granted(grant) => {
            put(out, GRANTED);
            put_grant(out, grant);
        }
        Effect::Carried(grant) => {
            put(out, CARRIED);
            put_grant(out, grant);
        }
        Effect::Closed { seq, change } => {
            for number in [CLOSED, *seq, change.calls, change.tokens, change.cost] {
                put(out, number);
            }
        }
        Effect::Asked { at, repeat } => {
            for number in [ASKED, *at, *repeat] {
                put(out, number);
            }
        }
        Effect::Alerted(_) | Effect::Consumed(_) => {}
    }
}

/// Reads the entries of a row; `None` where it is damaged.
pub(super) fn read(mut bytes: &[u8]) -> Option<Vec<Effect>> {
    let bytes = &mut bytes;
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        entries.push(match take(bytes)? {
            GRANTED => Effect::Granted(take_grant(bytes)?),
            CARRIED => Effect::Carried(take_grant(bytes)?),
            CLOSED => Effect::Closed {
                seq: take(bytes)?,
                change: Usage { calls: take(bytes)?, tokens: take(bytes)?, cost: take(bytes)? },
            },
            ASKED => Effect::Asked { at: take(bytes)?, repeat: take(bytes)? },
            _ => return None,
        });
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let grant = Grant {
            seq: 7,
            owner: 1,
            at: 1_779_000_000_000_000,
            tokens: 0,
            cost: 1 << 53,
            repeat: Some(i64::MIN),
            rolling: vec![1, i64::MAX],
            windows: vec![(3, 0), (4, -1)],
        };
        let entries = [
            Effect::Granted(grant.clone()),
            Effect::Carried(Grant { repeat: None, ..grant }),
            Effect::Closed { seq: 7, change: Usage { calls: 0, tokens: -5, cost: 9 } },
            Effect::Asked { at: -1, repeat: 0 },
        ];
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| write(&mut bytes, entry));
        assert_eq!(read(&bytes).unwrap(), entries);
        assert_eq!(read(&[]), Some(Vec::new()));
    }

    #[test]
    fn damage_is_seen() {
        for bad in [&[0x80][..], &[2][..], &[8, 2, 0xff], &[200, 1], &[0xff; 12]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        let mut bytes = Vec::new();
        write(&mut bytes, &Effect::Granted(Grant { rolling: vec![1, 2, 3], ..Grant::default() }));
        for end in 1..bytes.len() {
            assert_eq!(read(&bytes[..end]), None, "{end}");
        }
    }
}
