//! Digits in groups, as numbers are written, and the words before them that say what they are.

/// A group of digits in a run: `4111 1111` has two.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub(super) start: usize,
    pub(super) end: usize,
    /// The byte before the group if it joins it to another; 0 at the run's edge.
    pub(super) before: u8,
}

impl Group {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }
}

pub(super) fn end_of_digits(bytes: &[u8], start: usize) -> usize {
    let more = bytes.get(start..).map_or(0, |rest| rest.iter().take_while(|b| b.is_ascii_digit()).count());
    start + more.max(1)
}

/// Reads digits that single spaces, dashes, dots or slashes join.
pub(super) fn read_run(bytes: &[u8], start: usize, groups: &mut Vec<Group>) -> usize {
    let mut at = start;
    let mut before = 0;
    loop {
        let end = end_of_digits(bytes, at);
        groups.push(Group { start: at, end, before });
        match (bytes.get(end), bytes.get(end + 1)) {
            (Some(joint @ (b' ' | b'-' | b'.' | b'/')), Some(next)) if next.is_ascii_digit() => {
                before = *joint;
                at = end + 1;
            }
            _ => return end,
        }
    }
}

/// Whether the first `count` groups stand for themselves: not a piece of a longer chain of dashes,
/// dots or slashes, not a fraction, and no letter behind.
pub(super) fn stands_alone(bytes: &[u8], groups: &[Group], count: usize) -> bool {
    let before = groups.first().is_none_or(|group| matches!(group.before, 0 | b' '));
    let after = groups.get(count).is_none_or(|next| next.before == b' ');
    let behind = count.checked_sub(1).and_then(|last| groups.get(last)).and_then(|last| bytes.get(last.end));
    before && after && behind.is_none_or(|b| !b.is_ascii_alphanumeric())
}

pub(super) fn joined_by(groups: &[Group], count: usize, allowed: &[u8]) -> bool {
    let Some(joints) = groups.get(1..count) else { return true };
    let Some(first) = joints.first() else { return true };
    allowed.contains(&first.before) && joints.iter().all(|group| group.before == first.before)
}

/// The digits of the first `count` groups; at most 20.
pub(super) struct Digits {
    values: [u8; 20],
    pub(super) len: usize,
}

impl Digits {
    pub(super) fn of(bytes: &[u8], groups: &[Group], count: usize) -> Self {
        let mut digits = Self { values: [0; 20], len: 0 };
        for group in groups.iter().take(count) {
            for byte in bytes.get(group.start..group.end).unwrap_or_default() {
                if let Some(slot) = digits.values.get_mut(digits.len) {
                    *slot = byte.wrapping_sub(b'0');
                    digits.len += 1;
                }
            }
        }
        digits
    }

    pub(super) fn get(&self) -> &[u8] {
        self.values.get(..self.len).unwrap_or_default()
    }

    pub(super) fn number(&self, from: usize, count: usize) -> u64 {
        self.get().iter().skip(from).take(count).fold(0, |n, d| n * 10 + u64::from(*d))
    }

    /// The sum of each digit times its weight.
    pub(super) fn weighted(&self, weights: &[u64]) -> u64 {
        self.get().iter().zip(weights).map(|(digit, weight)| u64::from(*digit) * weight).sum()
    }

    pub(super) fn uniform(&self) -> bool {
        self.get().windows(2).all(|pair| pair.first() == pair.last())
    }
}

/// So far before a number stand the words that say what it is.
const CONTEXT: usize = 48;

/// Whether one of these words, in lower case, stands shortly before a place. A word that begins with one counts.
pub(super) fn named(bytes: &[u8], at: usize, words: &[&str]) -> bool {
    let mut window = [0_u8; CONTEXT];
    let before = bytes.get(at.saturating_sub(CONTEXT)..at).unwrap_or_default();
    // Names in JSON and in sentences of the same line.
    let before = before.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    let Some(lower) = window.get_mut(..before.len()) else { return false };
    for (to, from) in lower.iter_mut().zip(before) {
        *to = from.to_ascii_lowercase();
    }
    let lower = &*lower;
    words.iter().any(|word| {
        let word = word.as_bytes();
        lower.windows(word.len()).enumerate().any(|(start, part)| {
            let edge = start.checked_sub(1).and_then(|before| lower.get(before));
            part == word && edge.is_none_or(|b| !b.is_ascii_alphanumeric())
        })
    })
}
