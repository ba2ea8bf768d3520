//! Phone numbers: with their country, in the written forms of countries, and where a word says that it is one.

use super::{
    detector::{Kind, Span},
    digits::{Group, named},
};

/// `+49 (30) 901820`: a plus, and eight to fifteen digits in groups.
pub(super) fn international(bytes: &[u8], digit: usize, found: &mut Vec<Span>) {
    let Some(plus) = digit.checked_sub(1).filter(|at| bytes.get(*at) == Some(&b'+')) else { return };
    let edge = plus.checked_sub(1).and_then(|at| bytes.get(at));
    if bytes.get(digit) == Some(&b'0') || edge.is_some_and(|b| b.is_ascii_alphanumeric()) {
        return;
    }
    let (mut digits, mut end, mut joints) = (0, digit, 0);
    for (at, byte) in bytes.iter().enumerate().skip(digit) {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                joints = 0;
                end = at + 1;
            }
            b' ' | b'-' | b'.' | b'(' | b')' | b'/' if joints < 2 => joints += 1,
            _ => break,
        }
        if digits == 15 {
            break;
        }
    }
    let fits = digits >= 8 && bytes.get(end).is_none_or(|b| !b.is_ascii_alphanumeric());
    if fits {
        found.push(Span { start: plus, end, kind: Kind::PHONE });
    }
}

/// `(212) 555-0123`
pub(super) fn bracketed(bytes: &[u8], digit: usize, groups: &[Group], found: &mut Vec<Span>) {
    let Some(open) = digit.checked_sub(1).filter(|at| bytes.get(*at) == Some(&b'(')) else { return };
    let Some(rest) = bytes.get(digit..) else { return };
    if groups.first().map(Group::len) != Some(3) || rest.get(3) != Some(&b')') {
        return;
    }
    let gap = usize::from(rest.get(4) == Some(&b' '));
    let form = rest.get(4 + gap..12 + gap).unwrap_or_default();
    let fits = form.len() == 8
        && form.iter().enumerate().all(|(at, byte)| match at {
            3 => matches!(byte, b' ' | b'-' | b'.'),
            _ => byte.is_ascii_digit(),
        })
        && rest.get(12 + gap).is_none_or(|b| !b.is_ascii_alphanumeric());
    if fits {
        found.push(Span { start: open, end: digit + 12 + gap, kind: Kind::PHONE });
    }
}

/// Words that a phone number stands behind, in the languages of the countries whose forms are known.
pub(super) const NAMES: &[&str] = &[
    "tel",
    "phone",
    "mobil",
    "móvil",
    "movil",
    "cell",
    "cel:",
    "handy",
    "fax",
    "whatsapp",
    "portable",
    "gsm",
    "komórk",
    "rufnummer",
    "téléphone",
    "teléfono",
    "telèfon",
    "celular",
    "sms",
];

/// The digits of a run in the form of a country, or behind a word that names them.
pub(super) fn national(bytes: &[u8], groups: &[Group], found: &mut Vec<Span>) {
    let (Some(first), Some(last)) = (groups.first(), groups.last()) else { return };
    let total: usize = groups.iter().map(Group::len).sum();
    let before = first.start.checked_sub(1).and_then(|at| bytes.get(at));
    let edge = |b: &u8| !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'/' | b'_' | b'#' | b','));
    let alone = before.is_none_or(edge)
        && bytes.get(last.end).is_none_or(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'/')));
    if !alone || !(8..=16).contains(&total) || groups.len() > 6 {
        return;
    }
    let joints: Vec<u8> = groups.iter().skip(1).map(|group| group.before).collect();
    // The first joint sets the area apart; the others are alike.
    let even = joints.get(1..).unwrap_or_default().windows(2).all(|pair| pair.first() == pair.last());
    let fits =
        even && !is_date(groups) && (trunk(bytes, groups, &joints, total) || said(bytes, groups, total));
    if fits {
        let open = before == Some(&b'(');
        found.push(Span { start: first.start - usize::from(open), end: last.end, kind: Kind::PHONE });
    }
}

/// `030 901820`, `06.12.34.56.78`, `0049 30 901820`.
fn trunk(bytes: &[u8], groups: &[Group], joints: &[u8], total: usize) -> bool {
    let Some(first) = groups.first() else { return false };
    let digit = |at: usize| bytes.get(first.start + at).copied().unwrap_or_default();
    let pairs = groups.iter().all(|group| group.len() == 2);
    if groups.len() < 2 || digit(0) != b'0' || joints.contains(&b'.') && !pairs {
        return false;
    }
    let rest = groups.iter().skip(1).all(|group| group.len() >= 2);
    match digit(1) {
        b'0' => rest && (4..=5).contains(&first.len()) && digit(2) != b'0' && (11..=16).contains(&total),
        _ => rest && (2..=6).contains(&first.len()) && (9..=12).contains(&total),
    }
}

/// Where a word names it, any form does that a phone may have.
fn said(bytes: &[u8], groups: &[Group], total: usize) -> bool {
    let start = groups.first().map_or(0, |group| group.start);
    (9..=13).contains(&total) && groups.iter().all(|group| group.len() >= 2) && named(bytes, start, NAMES)
}

/// `2026-11-21`, `21.11.2026`
fn is_date(groups: &[Group]) -> bool {
    let lengths: Vec<usize> = groups.iter().take(3).map(Group::len).collect();
    let joints: Vec<u8> = groups.iter().take(3).skip(1).map(|group| group.before).collect();
    matches!(*lengths, [4, 2, 2] | [2, 2, 4])
        && joints.first() == joints.last()
        && matches!(joints.first(), Some(b'-' | b'.' | b'/'))
}

/// `(030) 901820`, `(11) 91234-5678`: an area in brackets.
pub(super) fn with_area(bytes: &[u8], groups: &[Group], found: &mut Vec<Span>) {
    let Some(first) = groups.first().filter(|_| groups.len() == 1) else { return };
    let open = first.start.checked_sub(1).filter(|at| bytes.get(*at) == Some(&b'('));
    let Some(open) = open.filter(|_| bytes.get(first.end) == Some(&b')') && (2..=5).contains(&first.len()))
    else {
        return;
    };
    let from = first.end + 1 + usize::from(bytes.get(first.end + 1) == Some(&b' '));
    let (mut digits, mut end, mut joints) = (0, from, 0);
    for (at, byte) in bytes.iter().enumerate().skip(from).take(16) {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                joints = 0;
                end = at + 1;
            }
            b' ' | b'-' if joints == 0 && digits > 0 => joints = 1,
            _ => break,
        }
    }
    let zero = bytes.get(first.start) == Some(&b'0');
    let fits = match zero {
        true => (5..=9).contains(&digits),
        // Brazil: two digits, then eight or nine in two groups.
        false => first.len() == 2 && (8..=9).contains(&digits) && bytes.get(end - 5) == Some(&b'-'),
    };
    if fits && bytes.get(end).is_none_or(|b| !b.is_ascii_alphanumeric()) {
        found.push(Span { start: open, end, kind: Kind::PHONE });
    }
}
