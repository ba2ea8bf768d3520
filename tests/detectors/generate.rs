//! Makes the samples' values: random ones from a seed that is the sample's name, with the check digits that the real ones
//! have. Nothing in the repository is a secret, nor looks like one to a scanner: `¦` splits what would.

use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use std::fmt::Write as _;

/// A stable hash of a name: FNV-1a, stirred.
pub(crate) fn stable_hash(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    stir(hash)
}

fn stir(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The same numbers for the same name, on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn of(name: &str) -> Self {
        Self(stable_hash(name))
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (stir(self.0) % most as u64) as usize
    }

    fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub(crate) fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn text(&mut self, of: &[u8], length: usize) -> String {
        (0..length).map(|_| char::from(of[self.below(of.len())])).collect()
    }

    fn digits(&mut self, length: usize) -> Vec<u32> {
        (0..length).map(|_| self.below(10) as u32).collect()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const ALNUM: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

fn joined(digits: &[u32]) -> String {
    digits.iter().map(|digit| char::from_digit(*digit, 10).unwrap()).collect()
}

/// Cuts a text into groups of these lengths.
fn grouped(text: &str, lengths: &[usize], joint: &str) -> String {
    let mut rest = text;
    let mut groups = Vec::new();
    for length in lengths {
        let (group, more) = rest.split_at((*length).min(rest.len()));
        groups.push(group);
        rest = more;
    }
    groups.retain(|group| !group.is_empty());
    groups.join(joint)
}

fn modulo_97(text: &str) -> u32 {
    text.bytes().fold(0, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        letter => (rest * 100 + u32::from(letter - b'A') + 10) % 97,
    })
}

/// A text with everything in braces put in place, and `\n` as a line feed. What no generator is called, stays; `{{` is a
/// brace.
pub(crate) fn fill(template: &str, random: &mut Random) -> String {
    let template = template.replace("\\n", "\n");
    let mut out = String::new();
    let mut rest = &*template;
    while let Some(open) = rest.find('{') {
        let (before, tail) = rest.split_at(open);
        out.push_str(before);
        let inside = &tail[1..tail.find('}').unwrap_or(1)];
        let (word, argument) = inside.split_once(':').unwrap_or((inside, ""));
        if let Some(after) = tail.strip_prefix("{{") {
            out.push('{');
            rest = after;
        } else if let Some(value) = value(word, argument, random) {
            out.push_str(&value);
            rest = &tail[inside.len() + 2..];
        } else {
            out.push('{');
            rest = &tail[1..];
        }
    }
    out.push_str(rest);
    out.replace('¦', "")
}

fn value(word: &str, argument: &str, random: &mut Random) -> Option<String> {
    let count = || match argument.split_once('-') {
        Some((low, high)) => Some((low.parse().ok()?, high.parse().ok()?)),
        None => argument.parse::<usize>().ok().map(|count| (count, count)),
    };
    let set: Option<&[u8]> = match word {
        "w" => Some(ALNUM),
        "u" => Some(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"),
        "b" => Some(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"),
        "A" => Some(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
        "U" => Some(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        "l" => Some(LOWER),
        "a" => Some(b"abcdefghijklmnopqrstuvwxyz0123456789"),
        "x" => Some(b"0123456789abcdef"),
        "X" => Some(b"0123456789ABCDEF"),
        "d" => Some(b"0123456789"),
        "D" => Some(b"123456789"),
        _ => None,
    };
    if let Some(set) = set {
        let (low, high) = count()?;
        let length = random.between(low, high);
        return Some(random.text(set, length));
    }
    Some(match word {
        "one" => {
            let choices: Vec<&str> = argument.split('|').collect();
            random.one(&choices).to_owned()
        }
        "n" => {
            let (low, high) = count()?;
            random.between(low, high).to_string()
        }
        "n2" => {
            let (low, high) = count()?;
            format!("{:02}", random.between(low, high))
        }
        // Base64 of so many random bytes.
        "bytes" => {
            let (low, high) = count()?;
            let length = random.between(low, high);
            STANDARD.encode(random.bytes(length))
        }
        // Base64 of a file that begins with these bytes in hex.
        "file" => {
            let mut bytes = hex::decode(argument).ok()?;
            let length = random.between(120, 2_000);
            bytes.extend(random.bytes(length));
            STANDARD.encode(bytes)
        }
        "password" => password(random),
        "word" => random.one(WORDS).to_owned(),
        "name" => random.one(NAMES).to_owned(),
        "host" => format!(
            "{}.{}",
            random.one(WORDS),
            random.one(&["internal", "example.com", "corp.example", "svc.cluster.local"])
        ),
        "uuid" => {
            let hex = random.text(b"0123456789abcdef", 32);
            grouped(&hex, &[8, 4, 4, 4, 12], "-")
        }
        "jwt" => jwt(random),
        "basic" => STANDARD.encode(format!("{}:{}", random.one(NAMES).to_lowercase(), password(random))),
        "pem" => {
            let lines: Vec<String> = (0..random.between(4, 12)).map(|_| random.text(ALNUM, 64)).collect();
            format!("MIIE{}\n{}", random.text(ALNUM, 60), lines.join("\n"))
        }
        "date" => format!(
            "20{:02}-{:02}-{:02}",
            random.between(10, 26),
            random.between(1, 12),
            random.between(1, 28)
        ),
        "time" => format!("{:02}:{:02}:{:02}", random.below(24), random.below(60), random.below(60)),
        "discord" => {
            let id = format!("{}{}", random.between(100, 999), joined(&random.digits(15)));
            format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(id), random.text(ALNUM, 6), random.text(ALNUM, 38))
        }
        _ => return number(word, argument, random),
    })
}

const WORDS: &[&str] = &[
    "amber", "basket", "canyon", "delta", "ember", "falcon", "garden", "harbor", "island", "jungle",
    "kettle", "lantern", "meadow", "nectar", "orchard", "pepper", "quarry", "river", "saddle", "timber",
    "umbra", "valley", "willow", "zephyr",
];
const NAMES: &[&str] = &[
    "Alice", "Bruno", "Chiara", "Diego", "Elena", "Fatima", "Greta", "Hugo", "Ines", "Jan", "Katja", "Luca",
    "Marta", "Nils", "Olga", "Paula", "Quentin", "Rosa", "Sven", "Tomasz", "Ulla", "Viktor", "Wanda", "Yann",
];

/// What people choose, and what managers of passwords make.
fn password(random: &mut Random) -> String {
    match random.below(5) {
        0 => {
            let (one, two) = (random.one(WORDS), random.one(WORDS));
            format!("{one}-{two}-{}", random.between(10, 99))
        }
        1 => format!(
            "{}{}{}",
            random.one(NAMES),
            random.between(1950, 2026),
            random.one(&["!", "#", "*", "."])
        ),
        2 => random.text(ALNUM, 16),
        3 => {
            let length = random.between(10, 20);
            format!("{}{}", random.text(b"abcdefgh23456789!#*+.^~-", length), random.below(10))
        }
        _ => format!("{}{}{}", random.one(WORDS), random.one(&["_", "$", "."]), random.between(100, 9999)),
    }
}

fn jwt(random: &mut Random) -> String {
    let header = random.one(&[
        "{\"alg\":\"HS256\",\"typ\":\"JWT\"}",
        "{\"alg\":\"RS256\",\"kid\":\"k1\"}",
        "{\"typ\":\"JWT\",\"alg\":\"ES256\"}",
    ]);
    let payload = format!(
        "{{\"sub\":\"{}\",\"iat\":{}}}",
        random.below(1_000_000),
        1_700_000_000 + random.below(90_000_000)
    );
    let length = random.between(32, 64);
    let signature = random.bytes(length);
    [header.as_bytes(), payload.as_bytes(), &signature].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

fn number(word: &str, style: &str, random: &mut Random) -> Option<String> {
    Some(match word {
        "card" => {
            let (start, length) = [
                ("4", 16),
                ("51", 16),
                ("55", 16),
                ("2221", 16),
                ("37", 15),
                ("34", 15),
                ("6011", 16),
                ("3528", 16),
                ("36", 14),
            ][random.below(9)];
            let mut digits: Vec<u32> = start.chars().filter_map(|c| c.to_digit(10)).collect();
            let more = random.digits(length - 1 - digits.len());
            digits.extend(more);
            let check = luhn_check(&digits);
            digits.push(if style == "wrong" { (check + 1 + random.below(8) as u32) % 10 } else { check });
            let whole = joined(&digits);
            match (style, length) {
                ("spaced" | "wrong", 15) => grouped(&whole, &[4, 6, 5], " "),
                ("spaced", 14) => grouped(&whole, &[4, 6, 4], " "),
                ("dashed", 16) => grouped(&whole, &[4; 4], "-"),
                ("spaced" | "wrong", 16) => grouped(&whole, &[4; 4], " "),
                _ => whole,
            }
        }
        "iban" => iban(style, random),
        "ssn" => format!(
            "{}-{:02}-{:04}",
            random.between(100, 665),
            random.between(1, 99),
            random.between(1, 9999)
        ),
        "nino" => {
            let prefix = random.one(&["AB", "CE", "HJ", "JN", "LM", "PR", "SW", "TY", "WA", "XZ"]);
            let digits = joined(&random.digits(6));
            let end = random.one(&["A", "B", "C", "D"]);
            match style {
                "spaced" => format!("{prefix} {} {end}", grouped(&digits, &[2, 2, 2], " ")),
                _ => format!("{prefix}{digits}{end}"),
            }
        }
        "steuerid" => {
            let mut order: Vec<u32> = (0..10).collect();
            for at in (1..10).rev() {
                order.swap(at, random.below(at + 1));
            }
            // Ten digits: one of them twice, one not at all; the first is no zero.
            let (one, other) = (random.below(10), random.between(1, 9));
            order[one] = order[(one + other) % 10];
            if order[0] == 0 {
                order.reverse();
            }
            if order[0] == 0 {
                order = vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 9];
            }
            let check = modulo_11_10(&order);
            let whole = format!("{}{check}", joined(&order));
            if style == "spaced" { grouped(&whole, &[2, 3, 3, 3], " ") } else { whole }
        }
        "nir" => {
            let whole = format!(
                "{}{:02}{:02}{:02}{:03}{:03}",
                random.between(1, 2),
                random.below(100),
                random.between(1, 12),
                random.between(1, 95),
                random.between(1, 990),
                random.between(1, 999)
            );
            let check = 97 - modulo_97(&whole);
            let whole = format!("{whole}{check:02}");
            if style == "spaced" { grouped(&whole, &[1, 2, 2, 2, 3, 3, 2], " ") } else { whole }
        }
        "dni" => {
            let number = random.between(10_000_000, 99_999_999);
            let letter = char::from(b"TRWAGMYFPDXBNJZSQVHLCKE"[number % 23]);
            if style == "dashed" { format!("{number}-{letter}") } else { format!("{number}{letter}") }
        }
        "nie" => {
            let (first, rest) = (random.below(3), random.between(1_000_000, 9_999_999));
            let letter = char::from(b"TRWAGMYFPDXBNJZSQVHLCKE"[(first * 10_000_000 + rest) % 23]);
            let start = ["X", "Y", "Z"][first];
            if style == "dashed" {
                format!("{start}-{rest}-{letter}")
            } else {
                format!("{start}{rest}{letter}")
            }
        }
        "codice" => codice_fiscale(random),
        "bsn" => loop {
            let digits = random.digits(8);
            let sum: u32 =
                digits.iter().zip([9, 8, 7, 6, 5, 4, 3, 2]).map(|(digit, weight)| digit * weight).sum();
            if digits[0] > 0 && sum % 11 < 10 {
                let whole = format!("{}{}", joined(&digits), sum % 11);
                break match style {
                    "dotted" => grouped(&whole, &[4, 2, 3], "."),
                    _ => whole,
                };
            }
        },
        "pesel" => {
            let start = format!(
                "{:02}{:02}{:02}{:04}",
                random.between(30, 99),
                random.between(1, 12),
                random.between(1, 28),
                random.below(10_000)
            );
            let sum: u32 = start
                .chars()
                .filter_map(|c| c.to_digit(10))
                .zip([1, 3, 7, 9, 1, 3, 7, 9, 1, 3])
                .map(|(digit, weight)| digit * weight)
                .sum();
            format!("{start}{}", (10 - sum % 10) % 10)
        }
        "cpf" => {
            let mut digits = random.digits(9);
            digits[0] = digits[0].max(1);
            digits[1] = (digits[0] + 1) % 10;
            for count in [9, 10] {
                let sum: u32 =
                    digits.iter().zip((2..=count + 1).rev()).map(|(digit, weight)| digit * weight).sum();
                digits.push(sum * 10 % 11 % 10);
            }
            let whole = joined(&digits);
            match style {
                "written" => format!("{}-{}", grouped(&whole[..9], &[3, 3, 3], "."), &whole[9..]),
                _ => whole,
            }
        }
        "nif" => {
            let mut digits = random.digits(8);
            digits[0] = [1, 2, 3][random.below(3)];
            let sum: u32 =
                digits.iter().zip([9, 8, 7, 6, 5, 4, 3, 2]).map(|(digit, weight)| digit * weight).sum();
            let check = if sum % 11 < 2 { 0 } else { 11 - sum % 11 };
            let whole = format!("{}{check}", joined(&digits));
            if style == "spaced" { grouped(&whole, &[3, 3, 3], " ") } else { whole }
        }
        "sin" => {
            let mut digits = random.digits(8);
            digits[0] = random.between(1, 7) as u32;
            let check = luhn_check(&digits);
            grouped(&format!("{}{check}", joined(&digits)), &[3, 3, 3], "-")
        }
        "ahv" => {
            let mut digits = vec![7, 5, 6];
            let more = random.digits(9);
            digits.extend(more);
            let sum: u32 =
                digits.iter().zip([1, 3].iter().cycle()).map(|(digit, weight)| digit * weight).sum();
            let whole = format!("{}{}", joined(&digits), (10 - sum % 10) % 10);
            if style == "dotted" { grouped(&whole, &[3, 4, 4, 2], ".") } else { whole }
        }
        "cnid" => {
            let start = format!(
                "{}{}{:02}{:02}{:03}",
                random.between(110_101, 659_004),
                random.between(1940, 2015),
                random.between(1, 12),
                random.between(1, 28),
                random.below(1000)
            );
            let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
            let sum: u32 = start
                .chars()
                .filter_map(|c| c.to_digit(10))
                .zip(weights)
                .map(|(digit, weight)| digit * weight)
                .sum();
            format!("{start}{}", char::from(b"10X98765432"[(sum % 11) as usize]))
        }
        "aadhaar" => loop {
            let mut digits = random.digits(12);
            digits[0] = digits[0].max(2);
            if verhoeff(&digits) {
                break grouped(&joined(&digits), &[4, 4, 4], " ");
            }
        },
        _ => return None,
    })
}

fn luhn_check(digits: &[u32]) -> u32 {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            if at % 2 == 1 {
                *digit
            } else if *digit < 5 {
                digit * 2
            } else {
                digit * 2 - 9
            }
        })
        .sum();
    (10 - sum % 10) % 10
}

fn modulo_11_10(digits: &[u32]) -> u32 {
    let product = digits.iter().fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10
}

fn verhoeff(digits: &[u32]) -> bool {
    let permute = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let product = |a: u32, b: u32| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b - 5) % 5,
        (false, true) => 5 + (a - b) % 5,
        (false, false) => (a + 5 - b) % 5,
    };
    digits.iter().rev().enumerate().fold(0, |check, (at, digit)| {
        let turned = (0..at % 8).fold(*digit, |digit, _| permute[digit as usize]);
        product(check, turned)
    }) == 0
}

fn iban(style: &str, random: &mut Random) -> String {
    let (country, spaced) = style.split_once('/').map_or((style, false), |(country, _)| (country, true));
    // Letters of the bank, and how many digits follow.
    let (letters, digits) = match country {
        "DE" => (0, 18),
        "GB" => (4, 14),
        "FR" => (0, 23),
        "ES" => (0, 20),
        "NL" => (4, 10),
        "PL" => (0, 24),
        "PT" => (0, 21),
        "CH" => (0, 17),
        "AT" => (0, 16),
        _ => (0, 12),
    };
    let account = match country {
        "IT" => format!("{}{}", random.text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 1), joined(&random.digits(22))),
        _ => format!(
            "{}{}",
            random.text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", letters),
            joined(&random.digits(digits))
        ),
    };
    let check = 98 - modulo_97(&format!("{account}{country}00"));
    let check = if style.ends_with("wrong") { (check + 1) % 97 + 2 } else { check };
    let whole = format!("{country}{check:02}{account}");
    if spaced { grouped(&whole, &[4; 9], " ") } else { whole }
}

fn codice_fiscale(random: &mut Random) -> String {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let consonants = b"BCDFGLMNPRSTVZ";
    let start = format!(
        "{}{:02}{}{:02}{}{:03}",
        random.text(consonants, 6),
        random.below(100),
        random.text(b"ABCDEHLMPRST", 1),
        random.between(1, 31),
        random.text(b"ABCDEFGHIL", 1),
        random.between(1, 999)
    );
    let sum: u32 = start
        .bytes()
        .enumerate()
        .map(|(at, byte)| {
            let value = u32::from(if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' });
            if at % 2 == 0 { ODD[value as usize] } else { value }
        })
        .sum();
    format!("{start}{}", char::from(b'A' + (sum % 26) as u8))
}

/// Every byte of a text as something.
pub(crate) fn each(text: &str, mut write: impl FnMut(&mut String, u8)) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        write(&mut out, byte);
    }
    out
}

pub(crate) fn percent(text: &str) -> String {
    each(text, |out, byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
        _ => write!(out, "%{byte:02X}").unwrap(),
    })
}
