//! Numbers that name a person or an account: cards, IBANs, national ids, phone numbers. Each is
//! believed only with its check digits or in its written form.

use super::detector::{Kind, Span};

/// A group of digits in a run: `4111 1111` has two.
#[derive(Clone, Copy)]
struct Group {
    start: usize,
    end: usize,
    /// The byte before the group if it joins it to another; 0 at the run's edge.
    before: u8,
}

impl Group {
    fn len(&self) -> usize {
        self.end - self.start
    }
}

/// Finds every such number in a text.
pub(super) fn scan(text: &str, found: &mut Vec<Span>) {
    let bytes = text.as_bytes();
    let mut groups: Vec<Group> = Vec::new();
    let mut at = 0;
    while let Some(start) = bytes.get(at..).and_then(|rest| rest.iter().position(u8::is_ascii_digit)) {
        let start = at + start;
        let before = start.checked_sub(1).and_then(|i| bytes.get(i).copied());
        if before.is_some_and(|b| b.is_ascii_alphabetic()) {
            worded(bytes, start, found);
            at = end_of_digits(bytes, start);
            continue;
        }
        groups.clear();
        at = read_run(bytes, start, &mut groups);
        bracketed(bytes, start, &groups, found);
        international(bytes, start, found);
        let total: usize = groups.iter().map(Group::len).sum();
        if total < 8 {
            continue;
        }
        let mut first = 0;
        while first < groups.len() {
            let rest = groups.get(first..).unwrap_or_default();
            match number_at(bytes, rest) {
                Some((kind, count)) => {
                    if let Some(last) = rest.get(count - 1) {
                        found.push(Span { start: group_start(rest), end: end_of(bytes, kind, last), kind });
                    }
                    first += count;
                }
                None => first += 1,
            }
        }
    }
}

fn group_start(groups: &[Group]) -> usize {
    groups.first().map_or(0, |group| group.start)
}

/// A check letter may follow the digits.
fn end_of(bytes: &[u8], kind: Kind, last: &Group) -> usize {
    let dash = usize::from(bytes.get(last.end) == Some(&b'-'));
    match kind {
        Kind::ES_DNI => last.end + dash + 1,
        Kind::CN_RESIDENT_ID if last.len() == 17 => last.end + 1,
        _ => last.end,
    }
}

fn end_of_digits(bytes: &[u8], start: usize) -> usize {
    let more = bytes.get(start..).map_or(0, |rest| rest.iter().take_while(|b| b.is_ascii_digit()).count());
    start + more.max(1)
}

/// Reads digits that single spaces, dashes, dots or slashes join.
fn read_run(bytes: &[u8], start: usize, groups: &mut Vec<Group>) -> usize {
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

fn lens<const N: usize>(groups: &[Group]) -> Option<[usize; N]> {
    let mut lens = [0; N];
    for (len, group) in lens.iter_mut().zip(groups.get(..N)?) {
        *len = group.len();
    }
    Some(lens)
}

/// Whether the first `count` groups stand for themselves: not a piece of a longer chain of dashes,
/// dots or slashes, not a fraction, and no letter behind.
fn stands_alone(bytes: &[u8], groups: &[Group], count: usize) -> bool {
    let before = groups.first().is_none_or(|group| matches!(group.before, 0 | b' '));
    let after = groups.get(count).is_none_or(|next| next.before == b' ');
    let behind = count.checked_sub(1).and_then(|last| groups.get(last)).and_then(|last| bytes.get(last.end));
    before && after && behind.is_none_or(|b| !b.is_ascii_alphanumeric())
}

fn joined_by(groups: &[Group], count: usize, allowed: &[u8]) -> bool {
    let Some(joints) = groups.get(1..count) else { return true };
    let Some(first) = joints.first() else { return true };
    allowed.contains(&first.before) && joints.iter().all(|group| group.before == first.before)
}

/// The digits of the first `count` groups; at most 20.
struct Digits {
    values: [u8; 20],
    len: usize,
}

impl Digits {
    fn of(bytes: &[u8], groups: &[Group], count: usize) -> Self {
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

    fn get(&self) -> &[u8] {
        self.values.get(..self.len).unwrap_or_default()
    }

    fn number(&self, from: usize, count: usize) -> u64 {
        self.get().iter().skip(from).take(count).fold(0, |n, d| n * 10 + u64::from(*d))
    }

    /// The sum of each digit times its weight.
    fn weighted(&self, weights: &[u64]) -> u64 {
        self.get().iter().zip(weights).map(|(digit, weight)| u64::from(*digit) * weight).sum()
    }

    fn uniform(&self) -> bool {
        self.get().windows(2).all(|pair| pair.first() == pair.last())
    }
}

/// The number that begins with the first group, and of how many groups it is.
fn number_at(bytes: &[u8], groups: &[Group]) -> Option<(Kind, usize)> {
    let found = |kind: Kind, count: usize, joints: &[u8], holds: fn(&Digits) -> bool| {
        let fits = groups.len() >= count
            && joined_by(groups, count, joints)
            && stands_alone(bytes, groups, count)
            && holds(&Digits::of(bytes, groups, count));
        fits.then_some((kind, count))
    };
    let first = groups.first()?;
    // Written in groups.
    if let Some([a, b, c, d, e]) = lens::<5>(groups)
        && (a, b, c, d) == (4, 4, 4, 4)
        && (1..=3).contains(&e)
        && let Some(hit) = found(Kind::CARD, 5, b" -", card)
    {
        return Some(hit);
    }
    if lens::<7>(groups) == Some([1, 2, 2, 2, 3, 3, 2])
        && let Some(hit) = found(Kind::FR_NIR, 7, b" ", nir)
    {
        return Some(hit);
    }
    if let Some([a, b, c, d]) = lens::<4>(groups) {
        let hit = match [a, b, c, d] {
            [4, 4, 4, 1..=4] => found(Kind::CARD, 4, b" -", card),
            [3, 4, 4, 2] => found(Kind::CH_AHV, 4, b".", ahv),
            [3, 3, 3, 2] if groups.get(1).map(|g| g.before) == Some(b'.') => cpf_written(bytes, groups),
            [1, 3, 3, 4] => found(Kind::PHONE, 4, b"-.", nanp_with_1),
            _ => None,
        };
        if hit.is_some() {
            return hit;
        }
    }
    if let Some(shape) = lens::<3>(groups) {
        let hit = match shape {
            [4, 6, 4 | 5] => found(Kind::CARD, 3, b" -", card),
            [3, 2, 4] => found(Kind::US_SSN, 3, b"-", ssn),
            [3, 3, 3] => found(Kind::CA_SIN, 3, b"-", sin),
            [4, 4, 4] => found(Kind::IN_AADHAAR, 3, b" -", aadhaar),
            [3, 3, 4] => found(Kind::PHONE, 3, b"-.", nanp),
            _ => None,
        };
        if hit.is_some() {
            return hit;
        }
    }
    // Written in one.
    let next = bytes.get(first.end).copied();
    match first.len() {
        8 => dni(bytes, groups),
        11 => found(Kind::PL_PESEL, 1, b"", pesel).or_else(|| found(Kind::BR_CPF, 1, b"", cpf)),
        13 if groups.first()?.before == 0 || groups.first()?.before == b' ' => {
            found(Kind::CH_AHV, 1, b"", ahv).or_else(|| found(Kind::CARD, 1, b"", card))
        }
        15 => found(Kind::CARD, 1, b"", card).or_else(|| found(Kind::FR_NIR, 1, b"", nir)),
        17 if matches!(next, Some(b'X' | b'x')) => resident_with_letter(bytes, groups),
        18 => found(Kind::CN_RESIDENT_ID, 1, b"", resident).or_else(|| found(Kind::CARD, 1, b"", card)),
        14 | 16 | 17 | 19 => found(Kind::CARD, 1, b"", card),
        _ => None,
    }
}

/// A payment card: a known range, its length, and Luhn.
fn card(digits: &Digits) -> bool {
    let lengths: &[usize] = match (digits.number(0, 1), digits.number(0, 2), digits.number(0, 4)) {
        (4, _, _) => &[13, 16, 19],
        (_, 51..=55, _) | (_, _, 2221..=2720) => &[16],
        (_, 34 | 37, _) => &[15],
        (_, 36 | 38 | 39, _) | (_, _, 3000..=3059) => &[14, 16],
        (_, 35 | 62 | 64 | 65, _) | (_, _, 6011) => &[16, 17, 18, 19],
        (_, 50 | 56..=58, _) | (_, _, 6304 | 6759 | 6761..=6763) => &[16, 18, 19],
        _ => &[],
    };
    lengths.contains(&digits.len) && luhn(digits.get()) && !digits.uniform()
}

pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit @ 0..=4) => digit * 2,
            (_, digit) => digit * 2 - 9,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// US social security number, by the areas that are given out.
fn ssn(digits: &Digits) -> bool {
    let (area, group, serial) = (digits.number(0, 3), digits.number(3, 2), digits.number(5, 4));
    !matches!(area, 0 | 666 | 900..) && group != 0 && serial != 0
}

/// Canadian social insurance number: Luhn; 0 and 8 are not given out.
fn sin(digits: &Digits) -> bool {
    !matches!(digits.number(0, 1), 0 | 8) && luhn(digits.get()) && !digits.uniform()
}

/// North American phone number.
fn nanp(digits: &Digits) -> bool {
    let (area, exchange) = (digits.number(0, 3), digits.number(3, 3));
    (200..=999).contains(&area) && (200..=999).contains(&exchange)
}

/// The same after its country code.
fn nanp_with_1(digits: &Digits) -> bool {
    let (country, area, exchange) = (digits.number(0, 1), digits.number(1, 3), digits.number(4, 3));
    country == 1 && (200..=999).contains(&area) && (200..=999).contains(&exchange)
}

/// Brazilian CPF: two check digits.
fn cpf(digits: &Digits) -> bool {
    let check = |count: u64| {
        let weights: Vec<u64> = (2..=count + 1).rev().collect();
        digits.weighted(&weights) * 10 % 11 % 10
    };
    digits.len == 11
        && !digits.uniform()
        && check(9) == digits.number(9, 1)
        && check(10) == digits.number(10, 1)
}

/// `123.456.789-09`
fn cpf_written(bytes: &[u8], groups: &[Group]) -> Option<(Kind, usize)> {
    let joints: Vec<u8> = groups.iter().take(4).skip(1).map(|group| group.before).collect();
    let fits = joints == *b"..-" && stands_alone(bytes, groups, 4) && cpf(&Digits::of(bytes, groups, 4));
    fits.then_some((Kind::BR_CPF, 4))
}

/// Swiss AHV number: EAN-13 in the Swiss range.
fn ahv(digits: &Digits) -> bool {
    let sum = digits.weighted(&[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3]);
    digits.len == 13 && digits.number(0, 3) == 756 && (10 - sum % 10) % 10 == digits.number(12, 1)
}

/// Polish PESEL: a date and a check digit.
fn pesel(digits: &Digits) -> bool {
    let sum = digits.weighted(&[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
    let (month, day) = (digits.number(2, 2) % 20, digits.number(4, 2));
    (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && digits.number(2, 2) < 93
        && (10 - sum % 10) % 10 == digits.number(10, 1)
}

/// French NIR: sex, year, month, place, order, and 97 minus the rest.
fn nir(digits: &Digits) -> bool {
    matches!(digits.number(0, 1), 1 | 2 | 7 | 8)
        && matches!(digits.number(3, 2), 1..=12 | 20..=42 | 50..=99)
        && 97 - digits.number(0, 13) % 97 == digits.number(13, 2)
}

/// Chinese resident id: a date and a check digit.
fn resident(digits: &Digits) -> bool {
    resident_check(digits) == Some(digits.number(17, 1))
}

fn resident_with_letter(bytes: &[u8], groups: &[Group]) -> Option<(Kind, usize)> {
    let first = groups.first()?;
    let digits = Digits::of(bytes, groups, 1);
    let alone = matches!(first.before, 0 | b' ')
        && bytes.get(first.end + 1).is_none_or(|b| !b.is_ascii_alphanumeric());
    (alone && resident_check(&digits) == Some(10)).then_some((Kind::CN_RESIDENT_ID, 1))
}

fn resident_check(digits: &Digits) -> Option<u64> {
    let sum = digits.weighted(&[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    let date = (1900..=2100).contains(&digits.number(6, 4))
        && (1..=12).contains(&digits.number(10, 2))
        && (1..=31).contains(&digits.number(12, 2));
    date.then_some((12 - sum % 11) % 11)
}

/// Indian Aadhaar: Verhoeff; does not begin with 0 or 1; three years in a row are none.
fn aadhaar(digits: &Digits) -> bool {
    let years = [0, 4, 8].iter().all(|at| (1900..=2100).contains(&digits.number(*at, 4)));
    !years && digits.number(0, 1) > 1 && digits.len == 12 && verhoeff(digits.get())
}

/// Verhoeff's check: the dihedral group of order ten, computed.
fn verhoeff(digits: &[u8]) -> bool {
    const PERMUTE: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let product = |a: u8, b: u8| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b - 5) % 5,
        (false, true) => 5 + (a - 5 + 5 - b) % 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let check = digits.iter().rev().enumerate().fold(0, |check, (at, digit)| {
        let turned =
            (0..at % 8).fold(*digit, |digit, _| PERMUTE.get(usize::from(digit)).copied().unwrap_or(0));
        product(check, turned)
    });
    check == 0
}

/// Spanish DNI: eight digits and their letter.
fn dni(bytes: &[u8], groups: &[Group]) -> Option<(Kind, usize)> {
    let first = groups.first()?;
    let letter_at = first.end + usize::from(bytes.get(first.end) == Some(&b'-'));
    let letter = bytes.get(letter_at)?.to_ascii_uppercase();
    let alone = matches!(first.before, 0 | b' ')
        && bytes.get(letter_at + 1).is_none_or(|b| !b.is_ascii_alphanumeric());
    let number = Digits::of(bytes, groups, 1).number(0, 8);
    let expected = b"TRWAGMYFPDXBNJZSQVHLCKE".get(usize::try_from(number % 23).ok()?)?;
    (alone && letter == *expected).then_some((Kind::ES_DNI, 1))
}

/// `+49 (30) 901820`: a plus, and eight to fifteen digits in groups.
fn international(bytes: &[u8], digit: usize, found: &mut Vec<Span>) {
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
fn bracketed(bytes: &[u8], digit: usize, groups: &[Group], found: &mut Vec<Span>) {
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

/// Numbers that begin with letters, or have them on the way, at the first digit after a letter:
/// IBAN, Italian tax code.
fn worded(bytes: &[u8], digit: usize, found: &mut Vec<Span>) {
    let letters_before = |count: usize| {
        let start = digit.checked_sub(count)?;
        let word = bytes.get(start..digit)?;
        let edge = start.checked_sub(1).and_then(|at| bytes.get(at));
        (word.iter().all(u8::is_ascii_alphabetic) && edge.is_none_or(|b| !b.is_ascii_alphanumeric()))
            .then_some(start)
    };
    if let Some(start) = letters_before(2)
        && let Some(end) = iban(bytes, start)
    {
        found.push(Span { start, end, kind: Kind::IBAN });
    }
    if let Some(start) = letters_before(6)
        && codice_fiscale(bytes.get(start..start + 16).unwrap_or_default())
        && bytes.get(start + 16).is_none_or(|b| !b.is_ascii_alphanumeric())
    {
        found.push(Span { start, end: start + 16, kind: Kind::IT_CODICE_FISCALE });
    }
}

/// Where the IBAN ends that begins here: the length of its country, single spaces between, and the
/// remainder 1 by 97.
fn iban(bytes: &[u8], start: usize) -> Option<usize> {
    let country = [bytes.get(start)?.to_ascii_uppercase(), bytes.get(start + 1)?.to_ascii_uppercase()];
    let length = iban_length(&country)?;
    let mut text = [0_u8; 34];
    let mut len = 0;
    let mut at = start;
    while len < length {
        match bytes.get(at).copied()? {
            b' ' | b'-' if len >= 4 && bytes.get(at - 1).is_some_and(u8::is_ascii_alphanumeric) => {}
            byte if byte.is_ascii_alphanumeric() => {
                *text.get_mut(len)? = byte.to_ascii_uppercase();
                len += 1;
            }
            _ => return None,
        }
        at += 1;
    }
    if bytes.get(at).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    let (head, tail) = text.get(..len)?.split_at_checked(4)?;
    let remainder = tail.iter().chain(head).fold(0_u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        letter => (rest * 100 + u32::from(letter.wrapping_sub(b'A')) + 10) % 97,
    });
    (remainder == 1).then_some(at)
}

fn iban_length(country: &[u8; 2]) -> Option<usize> {
    Some(match country {
        b"NO" => 15,
        b"BE" => 16,
        b"DK" | b"FI" | b"FO" | b"GL" | b"NL" | b"SD" => 18,
        b"MK" | b"SI" => 19,
        b"AT" | b"BA" | b"EE" | b"KZ" | b"LT" | b"LU" | b"XK" => 20,
        b"CH" | b"CR" | b"HR" | b"LI" | b"LV" => 21,
        b"BG" | b"BH" | b"DE" | b"GB" | b"GE" | b"IE" | b"ME" | b"RS" | b"VA" => 22,
        b"AE" | b"GI" | b"IL" | b"IQ" | b"OM" | b"SO" | b"TL" => 23,
        b"AD" | b"CZ" | b"ES" | b"MD" | b"PK" | b"RO" | b"SA" | b"SE" | b"SK" | b"TN" | b"VG" => 24,
        b"LY" | b"PT" | b"ST" => 25,
        b"IS" | b"TR" => 26,
        b"BI" | b"DJ" | b"FR" | b"GR" | b"IT" | b"MC" | b"MR" | b"SM" => 27,
        b"AL" | b"AZ" | b"BY" | b"CY" | b"DO" | b"GT" | b"HU" | b"LB" | b"NI" | b"PL" | b"SV" => 28,
        b"BR" | b"EG" | b"PS" | b"QA" | b"UA" => 29,
        b"JO" | b"KW" | b"MU" => 30,
        b"MT" | b"SC" => 31,
        b"LC" => 32,
        b"RU" => 33,
        _ => return None,
    })
}

/// Italian tax code: its form and its check letter.
fn codice_fiscale(code: &[u8]) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    if code.len() != 16 {
        return false;
    }
    let mut sum = 0;
    for (at, byte) in code.iter().map(u8::to_ascii_uppercase).enumerate() {
        let letter = matches!(at, 0..=5 | 8 | 11 | 15);
        if letter != byte.is_ascii_uppercase() || (!letter && !byte.is_ascii_digit()) {
            return false;
        }
        let value = if letter { byte.wrapping_sub(b'A') } else { byte.wrapping_sub(b'0') };
        sum += match at {
            15 => return sum % 26 == u32::from(value),
            _ if at % 2 == 0 => ODD.get(usize::from(value)).copied().unwrap_or(0),
            _ => u32::from(value),
        };
    }
    false
}
