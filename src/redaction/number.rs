//! Numbers that name a person or an account: cards, IBANs, national ids, phone numbers. Each is
//! believed only with its check digits or in its written form.

use super::{
    detector::{Kind, Span},
    digits::{Digits, Group, end_of_digits, joined_by, named, read_run, stands_alone},
    phone,
};

/// Finds every such number that begins in a part of a text.
pub(super) fn scan(text: &str, from: usize, to: usize, found: &mut Vec<Span>) {
    let bytes = text.as_bytes();
    let mut groups: Vec<Group> = Vec::new();
    let mut at = from;
    while let Some(skipped) = bytes.get(at..to).and_then(|rest| rest.iter().position(u8::is_ascii_digit)) {
        let start = at + skipped;
        let before = start.checked_sub(1).and_then(|i| bytes.get(i).copied());
        if before.is_some_and(|b| b.is_ascii_alphabetic()) {
            let known = found.len();
            worded(bytes, start, found);
            // What stands in an account's number is no other one.
            let inside = found.get(known..).unwrap_or_default().iter().map(|span| span.end).max();
            at = end_of_digits(bytes, start).max(inside.unwrap_or(0));
            continue;
        }
        groups.clear();
        at = read_run(bytes, start, &mut groups);
        let known = found.len();
        behind_letters(bytes, start, found);
        phone::bracketed(bytes, start, &groups, found);
        phone::international(bytes, start, found);
        if found.len() == known {
            phone::with_area(bytes, &groups, found);
        }
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
        if found.len() == known {
            phone::national(bytes, &groups, found);
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

fn lens<const N: usize>(groups: &[Group]) -> Option<[usize; N]> {
    let mut lens = [0; N];
    for (len, group) in lens.iter_mut().zip(groups.get(..N)?) {
        *len = group.len();
    }
    Some(lens)
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
            [2, 3, 3, 3] => found(Kind::DE_STEUER_ID, 4, b" ", steuer_id),
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
            [3, 3, 3] if groups.get(1).map(|g| g.before) == Some(b' ') => {
                found(Kind::PT_NIF, 3, b" ", nif).filter(|_| named(bytes, first.start, NIF))
            }
            [3, 3, 3] => found(Kind::CA_SIN, 3, b"-", sin),
            [4, 2, 3] => found(Kind::NL_BSN, 3, b".", bsn),
            // Longer rows of fours are accounts.
            [4, 4, 4] if groups.len() == 3 && first.before == 0 => found(Kind::IN_AADHAAR, 3, b" -", aadhaar),
            [3, 3, 4] => found(Kind::PHONE, 3, b"-.", nanp),
            _ => None,
        };
        if hit.is_some() {
            return hit;
        }
    }
    // Ids and goods have as many digits, and one of ten of them would do.
    let named_card = || found(Kind::CARD, 1, b"", card).filter(|_| named(bytes, first.start, CARD));
    // Written in one.
    let next = bytes.get(first.end).copied();
    match first.len() {
        8 => dni(bytes, groups),
        9 => {
            let bsn = found(Kind::NL_BSN, 1, b"", bsn).filter(|_| named(bytes, first.start, BSN));
            bsn.or_else(|| found(Kind::PT_NIF, 1, b"", nif).filter(|_| named(bytes, first.start, NIF)))
        }
        11 => eleven(bytes, groups),
        13 => found(Kind::CH_AHV, 1, b"", ahv).or_else(&named_card),
        15 => found(Kind::CARD, 1, b"", card).or_else(|| found(Kind::FR_NIR, 1, b"", nir)),
        17 if matches!(next, Some(b'X' | b'x')) => resident_with_letter(bytes, groups),
        18 => found(Kind::CN_RESIDENT_ID, 1, b"", resident).or_else(&named_card),
        14 | 16 => found(Kind::CARD, 1, b"", card),
        17 | 19 => named_card(),
        _ => None,
    }
}

const CARD: &[&str] = &[
    "card",
    "pan",
    "visa",
    "maestro",
    "unionpay",
    "karte",
    "kreditkarte",
    "carte",
    "tarjeta",
    "carta",
    "cartão",
    "kaart",
    "karty",
];
const BSN: &[&str] = &["bsn", "burgerservice", "sofinummer", "sofi-nummer"];
const NIF: &[&str] = &["nif", "contribuinte", "nipc", "número fiscal", "numero fiscal"];
const NINO: &[&str] = &["national insurance", "nino", "ni", "insurance number"];

/// Eleven digits in one may be of three countries: what stands before them decides, where it says something.
fn eleven(bytes: &[u8], groups: &[Group]) -> Option<(Kind, usize)> {
    type Of = (Kind, fn(&Digits) -> bool, &'static [&'static str]);
    const ALL: [Of; 3] = [
        (Kind::DE_STEUER_ID, steuer_id, &["steuer", "idnr", "id-nr", "tax id", "tin"]),
        (Kind::PL_PESEL, pesel, &["pesel"]),
        (Kind::BR_CPF, cpf, &["cpf"]),
    ];
    if !stands_alone(bytes, groups, 1) {
        return None;
    }
    let digits = Digits::of(bytes, groups, 1);
    let start = group_start(groups);
    let fits = ALL.iter().filter(|(_, holds, _)| holds(&digits));
    let said = fits.clone().find(|(_, _, words)| named(bytes, start, words));
    let called = || named(bytes, start, phone::NAMES);
    said.or_else(|| fits.clone().next().filter(|_| !called())).map(|(kind, _, _)| (*kind, 1))
}

/// German tax id: one digit of the first ten stands there twice or three times, and a check digit.
fn steuer_id(digits: &Digits) -> bool {
    let mut counts = [0_u8; 10];
    for digit in digits.get().iter().take(10) {
        if let Some(count) = counts.get_mut(usize::from(*digit)) {
            *count += 1;
        }
    }
    let more: Vec<u8> = counts.into_iter().filter(|count| *count > 1).collect();
    let product = digits.get().iter().take(10).fold(10_u64, |product, digit| {
        let sum = (u64::from(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    digits.len == 11
        && digits.number(0, 1) != 0
        && matches!(*more, [2 | 3])
        && (11 - product) % 10 == digits.number(10, 1)
}

/// Dutch citizen number: the test by eleven. One number of eleven has it, so that it must be named.
fn bsn(digits: &Digits) -> bool {
    let sum = digits.weighted(&[9, 8, 7, 6, 5, 4, 3, 2]);
    digits.len == 9 && !digits.uniform() && sum % 11 == digits.number(8, 1)
}

/// Portuguese tax number.
fn nif(digits: &Digits) -> bool {
    let rest = digits.weighted(&[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    let check = if rest < 2 { 0 } else { 11 - rest };
    digits.len == 9 && matches!(digits.number(0, 1), 1..=3 | 5 | 6 | 8 | 9) && check == digits.number(8, 1)
}

/// Numbers whose letters are set apart, at the first digit: `X-1234567-L`, `AB 12 34 56 C`.
fn behind_letters(bytes: &[u8], digit: usize, found: &mut Vec<Span>) {
    match digit.checked_sub(1).and_then(|at| bytes.get(at)) {
        Some(b'-') => found.extend(digit.checked_sub(2).and_then(|start| nie(bytes, start, digit))),
        Some(b' ') => {
            let start = digit.checked_sub(3).filter(|start| {
                let edge = start.checked_sub(1).and_then(|at| bytes.get(at));
                let letters = bytes.get(*start..*start + 2).unwrap_or_default();
                letters.iter().all(u8::is_ascii_alphabetic) && edge.is_none_or(|b| !b.is_ascii_alphanumeric())
            });
            let span = start.and_then(|start| nino(bytes, start, digit).map(|end| (start, end)));
            found.extend(span.map(|(start, end)| Span { start, end, kind: Kind::UK_NINO }));
        }
        Some(_) | None => {}
    }
}

fn nie(bytes: &[u8], letter_at: usize, digit: usize) -> Option<Span> {
    let first = match bytes.get(letter_at)?.to_ascii_uppercase() {
        b'X' => 0,
        b'Y' => 1,
        b'Z' => 2,
        _ => return None,
    };
    let edge = letter_at.checked_sub(1).and_then(|at| bytes.get(at));
    let digits = bytes.get(digit..digit + 7)?;
    if edge.is_some_and(u8::is_ascii_alphanumeric) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let end = digit + 7 + usize::from(bytes.get(digit + 7) == Some(&b'-'));
    let number = digits.iter().fold(first, |number, b| number * 10 + usize::from(b - b'0'));
    let expected = LETTERS.get(number % 23)?;
    let alone = bytes.get(end + 1).is_none_or(|b| !b.is_ascii_alphanumeric());
    (alone && bytes.get(end)?.to_ascii_uppercase() == *expected).then_some(Span {
        start: letter_at,
        end: end + 1,
        kind: Kind::ES_NIE,
    })
}

/// The check letters of Spanish ids.
const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";

/// British insurance number: `AB 12 34 56 C`; written in one it must be named, for codes of goods look like it.
fn nino(bytes: &[u8], start: usize, digit: usize) -> Option<usize> {
    let prefix = [bytes.get(start)?.to_ascii_uppercase(), bytes.get(start + 1)?.to_ascii_uppercase()];
    let [one, two] = prefix;
    let given = !b"DFIQUV".contains(&one)
        && !b"DFIQUVO".contains(&two)
        && ![b"BG", b"GB", b"NK", b"KN", b"TN", b"NT", b"ZZ"].contains(&&prefix);
    if !given {
        return None;
    }
    let (mut at, mut digits, mut spaces) = (digit, 0, 0);
    while digits < 6 {
        match bytes.get(at)? {
            b'0'..=b'9' => digits += 1,
            b' ' if digits > 0 && digits % 2 == 0 => spaces += 1,
            _ => return None,
        }
        at += 1;
    }
    let at = at + usize::from(bytes.get(at) == Some(&b' '));
    let suffix = matches!(bytes.get(at)?, b'A'..=b'D' | b'a'..=b'd');
    let alone = bytes.get(at + 1).is_none_or(|b| !b.is_ascii_alphanumeric());
    (suffix && alone && (spaces == 2 || named(bytes, start, NINO))).then_some(at + 1)
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
    let expected = LETTERS.get(usize::try_from(number % 23).ok()?)?;
    (alone && letter == *expected).then_some((Kind::ES_DNI, 1))
}

/// Numbers that begin with letters, or have them on the way, at the first digit after a letter:
/// IBAN, Italian tax code.
fn worded(bytes: &[u8], digit: usize, found: &mut Vec<Span>) {
    let before = bytes.get(digit.saturating_sub(7)..digit).unwrap_or_default();
    let letters = before.iter().rev().take_while(|b| b.is_ascii_alphabetic()).count();
    let edge = digit.checked_sub(letters + 1).and_then(|at| bytes.get(at));
    if edge.is_some_and(u8::is_ascii_digit) {
        return;
    }
    let letters_before = |count: usize| (letters == count).then(|| digit - count);
    if let Some(start) = letters_before(2) {
        if let Some(end) = iban(bytes, start) {
            found.push(Span { start, end, kind: Kind::IBAN });
        } else if let Some(end) = nino(bytes, start, digit) {
            found.push(Span { start, end, kind: Kind::UK_NINO });
        }
    }
    if let Some(start) = letters_before(1) {
        found.extend(nie(bytes, start, digit));
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
