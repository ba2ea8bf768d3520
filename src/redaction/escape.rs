//! Encodings of single characters where they stand: percent, HTML entities, backslash escapes, quoted-printable,
//! Unicode compatibility forms, and characters that nobody sees.

use super::{
    display::is_hidden,
    survey::{CODED, class},
};
use icu_normalizer::DecomposingNormalizerBorrowed;
use icu_properties::{CodePointMapData, CodePointMapDataBorrowed, props::GeneralCategory};

/// What stands in a text for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Escape {
    /// How many bytes of the text it takes.
    pub(super) length: usize,
    out: [u8; 4],
    outs: u8,
    /// Whether it can hide a letter or digit. A quote or a line feed in a JSON string does not.
    pub(super) hides: bool,
}

/// What a byte stands for that is no character.
pub(super) const NO_CHARACTER: u8 = 0x1a;

impl Escape {
    fn nothing(length: usize) -> Self {
        Self { length, out: [0; 4], outs: 0, hides: true }
    }

    /// A control stays one: in the layer where it is decoded it separates words, and in the next one it is nothing.
    fn byte(length: usize, byte: u8) -> Self {
        Self { length, out: [byte, 0, 0, 0], outs: 1, hides: true }
    }

    fn char(length: usize, c: char) -> Self {
        let mut out = [0; 4];
        let outs = c.encode_utf8(&mut out).len();
        Self { length, out, outs: u8::try_from(outs).unwrap_or(0), hides: true }
    }

    fn code(length: usize, code: u32) -> Self {
        match char::from_u32(code) {
            Some(c) => Self::char(length, c),
            None => Self::byte(length, NO_CHARACTER),
        }
    }

    fn plain(length: usize, byte: u8) -> Self {
        Self { hides: false, ..Self::byte(length, byte) }
    }

    /// What it stands for. Several may be needed to make one character in UTF-8.
    pub(super) fn out(&self) -> &[u8] {
        self.out.get(..usize::from(self.outs)).unwrap_or_default()
    }
}

/// The next one from a place on. Linear in what is passed over.
pub(super) fn next(text: &str, from: usize) -> Option<(usize, Escape)> {
    let bytes = text.as_bytes();
    let mut at = from;
    loop {
        let begins = |b: &u8| *b == b'=' || class(*b) & CODED != 0;
        at += bytes.get(at..)?.iter().position(begins)?;
        // Letters of the scripts that most texts are in, without a twin in ASCII.
        if let Some(c) = bytes.get(at).filter(|b| **b >= 0xc3).and_then(|_| text.get(at..)?.chars().next())
            && is_plain(c)
            && twin(c).is_none()
        {
            at += c.len_utf8();
            continue;
        }
        if let Some(escape) = here(text, at) {
            return Some((at, escape));
        }
        at += 1;
    }
}

/// Letters of the scripts that most texts are in: seen, and no other form of ASCII.
fn is_plain(c: char) -> bool {
    matches!(
        u32::from(c),
        0xc0..=0x131
            | 0x134..=0x17e
            | 0x391..=0x3ff
            | 0x400..=0x482
            | 0x48a..=0x52f
            | 0x3041..=0x3096
            | 0x30a1..=0x30fa
            | 0x3400..=0x4dbf
            | 0x4e00..=0x9fff
            | 0xac00..=0xd7a3
    )
}

/// The one that begins here.
pub(super) fn here(text: &str, at: usize) -> Option<Escape> {
    let bytes = text.as_bytes();
    match bytes.get(at)? {
        b'%' => percent(bytes, at),
        b'&' => entity(bytes, at),
        b'\\' => backslash(bytes, at),
        b'=' => quoted_printable(bytes, at),
        control if is_unseen_control(*control) => Some(controls(bytes, at)),
        _ => {
            let c = text.get(at..)?.chars().next()?;
            unseen_or_folded(c).or_else(|| look_alike(text, at, c))
        }
    }
}

/// Whether a byte is a control that no reader sees: all of ASCII but tab and the ends of lines.
pub(super) const fn is_unseen_control(byte: u8) -> bool {
    matches!(byte, 0..=0x08 | 0x0b | 0x0c | 0x0e..=0x1f | 0x7f)
}

/// A run of controls. What only marks bytes that are no character hides nothing.
fn controls(bytes: &[u8], at: usize) -> Escape {
    let run = bytes.get(at..).unwrap_or_default().iter().take_while(|b| is_unseen_control(**b));
    let (length, hides) =
        run.fold((0, false), |(length, hides), b| (length + 1, hides || *b != NO_CHARACTER));
    Escape { hides, ..Escape::nothing(length) }
}

/// A text with what is encoded in it decoded once; `None` where nothing is.
pub(super) fn decoded_once(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut done = 0;
    while let Some((at, escape)) = next(text, done) {
        bytes.extend_from_slice(text.as_bytes().get(done..at)?);
        bytes.extend_from_slice(escape.out());
        done = at + escape.length;
    }
    if done == 0 {
        return None;
    }
    bytes.extend_from_slice(text.as_bytes().get(done..)?);
    Some(as_text(bytes))
}

/// As text of the same length: bytes that are no UTF-8 become [`NO_CHARACTER`].
pub(super) fn as_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let mut text = String::with_capacity(error.as_bytes().len());
        for chunk in error.as_bytes().utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|_| char::from(NO_CHARACTER)));
        }
        text
    })
}

pub(super) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Exactly so many hex digits.
fn hex(bytes: &[u8], at: usize, digits: usize) -> Option<u32> {
    let digits = bytes.get(at..at.checked_add(digits)?)?;
    digits.iter().try_fold(0_u32, |code, b| Some((code << 4) | u32::from(hex_digit(*b)?)))
}

fn hex_byte(bytes: &[u8], at: usize) -> Option<u8> {
    hex(bytes, at, 2).and_then(|code| u8::try_from(code).ok())
}

/// `%41`, and `%u0041` as JavaScript's `escape` writes it.
fn percent(bytes: &[u8], at: usize) -> Option<Escape> {
    match bytes.get(at + 1)? {
        b'u' | b'U' => unit(bytes, at, at + 2, b"%u"),
        _ => hex_byte(bytes, at + 1).map(|byte| Escape::byte(3, byte)),
    }
}

/// Named entities of what a secret or an assignment is made of.
const NAMED: &[(&str, &str)] = &[
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", " "),
    ("Tab", "\t"),
    ("NewLine", "\n"),
    ("excl", "!"),
    ("num", "#"),
    ("dollar", "$"),
    ("percnt", "%"),
    ("lpar", "("),
    ("rpar", ")"),
    ("ast", "*"),
    ("midast", "*"),
    ("plus", "+"),
    ("comma", ","),
    ("hyphen", "-"),
    ("dash", "-"),
    ("period", "."),
    ("sol", "/"),
    ("colon", ":"),
    ("semi", ";"),
    ("equals", "="),
    ("quest", "?"),
    ("commat", "@"),
    ("lsqb", "["),
    ("lbrack", "["),
    ("bsol", "\\"),
    ("rsqb", "]"),
    ("rbrack", "]"),
    ("lowbar", "_"),
    ("UnderBar", "_"),
    ("grave", "`"),
    ("lcub", "{"),
    ("lbrace", "{"),
    ("rcub", "}"),
    ("rbrace", "}"),
    ("shy", ""),
    ("zwj", ""),
    ("zwnj", ""),
    ("lrm", ""),
    ("rlm", ""),
    ("ZeroWidthSpace", ""),
    ("NoBreak", ""),
    ("InvisibleComma", ""),
    ("InvisibleTimes", ""),
];

/// The longest of [`NAMED`].
const LONGEST_NAME: usize = 14;

/// `&#65;`, `&#x41;`, `&#65` and the names.
fn entity(bytes: &[u8], at: usize) -> Option<Escape> {
    if bytes.get(at + 1) != Some(&b'#') {
        let rest = bytes.get(at + 1..)?;
        let length = rest.iter().take(LONGEST_NAME).take_while(|b| b.is_ascii_alphabetic()).count();
        if length < 2 || rest.get(length) != Some(&b';') {
            return None;
        }
        let name = rest.get(..length)?;
        let (_, stands_for) = NAMED.iter().find(|(known, _)| known.as_bytes() == name)?;
        return Some(match stands_for.as_bytes().first() {
            Some(byte) => Escape::byte(length + 2, *byte),
            None => Escape::nothing(length + 2),
        });
    }
    let (from, radix) = match bytes.get(at + 2)? {
        b'x' | b'X' => (at + 3, 16),
        _ => (at + 2, 10),
    };
    let digits = bytes.get(from..)?.iter().map_while(|b| char::from(*b).to_digit(radix));
    let (count, code) = digits.fold((0_usize, 0_u32), |(count, code), digit| {
        (count + 1, code.saturating_mul(radix).saturating_add(digit))
    });
    if count == 0 {
        return None;
    }
    let end = from + count;
    Some(Escape::code(end + usize::from(bytes.get(end) == Some(&b';')) - at, code))
}

/// Those of JSON, JavaScript, C, Python and the shell.
fn backslash(bytes: &[u8], at: usize) -> Option<Escape> {
    let next = *bytes.get(at + 1)?;
    match next {
        b'u' => {
            // Java takes several of them.
            let more = bytes.get(at + 1..)?.iter().take_while(|b| **b == b'u').count();
            braced(bytes, at, at + 1 + more).or_else(|| unit(bytes, at, at + 1 + more, b"\\u"))
        }
        b'U' => hex(bytes, at + 2, 8).map(|code| Escape::code(10, code)),
        b'x' => braced(bytes, at, at + 2).or_else(|| Some(Escape::byte(4, hex_byte(bytes, at + 2)?))),
        b'0'..=b'7' => {
            let digits = bytes.get(at + 1..at + 4).filter(|d| d.iter().all(|b| matches!(b, b'0'..=b'7')));
            match digits {
                Some(digits) => {
                    let code = digits.iter().fold(0_u32, |code, b| code * 8 + u32::from(b - b'0'));
                    u8::try_from(code).ok().map(|byte| Escape::byte(4, byte))
                }
                // Where its other digits are escaped themselves, they are read first.
                None => {
                    let inner = bytes.get(at + 2..)?.iter().take(2).any(|b| matches!(b, b'%' | b'&' | b'='));
                    (next == b'0' && !inner).then(|| Escape::nothing(2))
                }
            }
        }
        b'n' | b'r' => Some(Escape::plain(2, b'\n')),
        b't' => Some(Escape::plain(2, b'\t')),
        b'b' => Some(Escape::plain(2, 0x08)),
        b'f' => Some(Escape::plain(2, 0x0c)),
        b'"' | b'\'' | b'/' | b'`' => Some(Escape::plain(2, next)),
        b'\\' => {
            let run = bytes.get(at..)?.iter().take(MOST_BACKSLASHES).take_while(|b| **b == b'\\').count();
            let hides = matches!(bytes.get(at + run), Some(b'u' | b'U' | b'x' | b'0'..=b'7' | b'\\'));
            Some(Escape { hides, ..Escape::byte(2, b'\\') })
        }
        b'\n' => Some(Escape { hides: false, ..Escape::nothing(2) }),
        b'\r' if bytes.get(at + 2) == Some(&b'\n') => Some(Escape { hides: false, ..Escape::nothing(3) }),
        _ => None,
    }
}

/// How far a run of backslashes is followed to see what it hides; a longer one hides.
const MOST_BACKSLASHES: usize = 64;

/// `{41}`
fn braced(bytes: &[u8], at: usize, from: usize) -> Option<Escape> {
    if bytes.get(from) != Some(&b'{') {
        return None;
    }
    let digits = bytes.get(from + 1..)?.iter().take(9).take_while(|b| b.is_ascii_hexdigit()).count();
    let end = from + 1 + digits;
    let code = hex(bytes, from + 1, digits).filter(|_| (1..=8).contains(&digits))?;
    (bytes.get(end) == Some(&b'}')).then(|| Escape::code(end + 1 - at, code))
}

/// A UTF-16 unit, or two of them, of which the second begins like this.
fn unit(bytes: &[u8], at: usize, from: usize, second: &[u8; 2]) -> Option<Escape> {
    let high = hex(bytes, from, 4)?;
    let end = from + 4;
    if (0xd800..0xdc00).contains(&high)
        && bytes.get(end..end + 2) == Some(second)
        && let Some(low) = hex(bytes, end + 2, 4).filter(|low| (0xdc00..0xe000).contains(low))
    {
        let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return Some(Escape::code(end + 6 - at, code));
    }
    Some(Escape::code(end - at, high))
}

/// No line of quoted-printable is longer.
const LONG_RUN: usize = 100;

/// `=41=4B`, and the soft break of a line. One alone is an assignment of a number.
fn quoted_printable(bytes: &[u8], at: usize) -> Option<Escape> {
    let before = |back: usize| at.checked_sub(back).and_then(|at| bytes.get(at));
    let line = match (bytes.get(at + 1)?, bytes.get(at + 2)) {
        (b'\n', _) => 2,
        (b'\r', Some(b'\n')) => 3,
        _ => 0,
    };
    if line > 0 {
        let word = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let in_base64 = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_');
        let run = bytes.get(..at)?.iter().rev().take(LONG_RUN).take_while(in_base64).count();
        // What completes a long run of base64 is no break.
        let completes = run == LONG_RUN || (run > 16 && run % 4 == 3);
        return (word(before(1)) && word(bytes.get(at + line)) && !completes).then(|| Escape::nothing(line));
    }
    let byte = hex_byte(bytes, at + 1)?;
    let follows = before(3) == Some(&b'=') && hex_byte(bytes, at - 2).is_some();
    let leads = bytes.get(at + 3) == Some(&b'=') && hex_byte(bytes, at + 4).is_some();
    (follows || leads).then(|| Escape::byte(3, byte))
}

/// `bob=40corp.example`: one alone, within a word, where it may stand for a sign or a letter. It may as well be an assignment
/// of a number, so that the text is read both ways.
pub(super) fn lone_quoted(bytes: &[u8], at: usize) -> Option<Escape> {
    let before = at.checked_sub(1).and_then(|at| bytes.get(at));
    let in_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'+' | b'/' | b'~');
    let byte = hex_byte(bytes, at + 1)?;
    let after = bytes.get(at + 3)?;
    let reads = byte.is_ascii_graphic()
        && before.is_some_and(in_word)
        && in_word(after)
        // A number that a name is given is no number that goes on.
        && (!byte.is_ascii_digit() || before.is_some_and(u8::is_ascii_digit));
    reads.then(|| Escape::byte(3, byte))
}

/// The next one of these from a place on.
pub(super) fn next_lone(text: &str, from: usize) -> Option<(usize, Escape)> {
    let bytes = text.as_bytes();
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|b| *b == b'=')?;
        if let Some(escape) = lone_quoted(bytes, at) {
            return Some((at, escape));
        }
        at += 1;
    }
}

static COMPATIBILITY: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfkd();

/// A character that is not seen, one that only decorates another, or one that is another form of ASCII.
fn unseen_or_folded(c: char) -> Option<Escape> {
    if c.is_ascii() {
        return None;
    }
    let length = c.len_utf8();
    match u32::from(c) {
        _ if is_plain(c) => None,
        0x85 | 0x2028 | 0x2029 => Some(Escape::plain(length, b'\n')),
        0x2010..=0x2015 | 0x2212 => Some(Escape::byte(length, b'-')),
        _ if is_unseen(c) => Some(Escape::nothing(length)),
        code if may_fold(code) => {
            let mut out = [0_u8; 4];
            let mut outs = 0_usize;
            for folded in COMPATIBILITY.normalize_iter(std::iter::once(c)) {
                *out.get_mut(outs)? = u8::try_from(folded).ok().filter(u8::is_ascii)?;
                outs += 1;
            }
            Some(Escape { length, out, outs: u8::try_from(outs).ok()?, hides: true })
        }
        _ => None,
    }
}

/// Letters of other scripts that look like ASCII: Cyrillic, Greek, and a few of Latin.
fn twin(c: char) -> Option<u8> {
    Some(match c {
        'А' | 'Α' => b'A',
        'В' | 'Β' => b'B',
        'С' => b'C',
        'Е' | 'Ε' => b'E',
        'Н' | 'Η' => b'H',
        'І' | 'Ι' => b'I',
        'Ј' => b'J',
        'К' | 'Κ' => b'K',
        'М' | 'Μ' => b'M',
        'Ν' => b'N',
        'О' | 'Ο' => b'O',
        'Р' | 'Ρ' => b'P',
        'Ԛ' => b'Q',
        'Ѕ' => b'S',
        'Т' | 'Τ' => b'T',
        'Ԝ' => b'W',
        'Х' | 'Χ' => b'X',
        'У' | 'Υ' => b'Y',
        'Ζ' => b'Z',
        'а' => b'a',
        'с' => b'c',
        'ԁ' => b'd',
        'е' => b'e',
        'ɡ' => b'g',
        'һ' => b'h',
        'і' | 'ι' | 'ı' => b'i',
        'ј' => b'j',
        'κ' => b'k',
        'ʟ' => b'l',
        'о' | 'ο' => b'o',
        'р' | 'ρ' => b'p',
        'ԛ' => b'q',
        'ѕ' | 'ꜱ' => b's',
        'υ' => b'u',
        'ν' => b'v',
        'ԝ' => b'w',
        'х' | 'χ' => b'x',
        'у' => b'y',
        _ => return None,
    })
}

/// So far a letter or digit of ASCII is looked for among letters that look like one.
const MAX_TWINS: usize = 8;

/// A letter that looks like one of ASCII, in a word that has some. In words of its own script it is itself.
fn look_alike(text: &str, at: usize, c: char) -> Option<Escape> {
    let byte = twin(c)?;
    let among = |chars: &mut dyn Iterator<Item = char>| {
        let next = chars.take(MAX_TWINS).find(|c| twin(*c).is_none());
        next.is_some_and(|c| c.is_ascii_alphanumeric())
    };
    let (before, rest) = text.split_at_checked(at)?;
    let mixed = among(&mut before.chars().rev()) || among(&mut rest.chars().skip(1));
    mixed.then(|| Escape::byte(c.len_utf8(), byte))
}

static CATEGORY: CodePointMapDataBorrowed<'static, GeneralCategory> = CodePointMapData::new();

/// Whether a character is not seen, or only decorates the one before it: also an empty pattern of braille, and what is no
/// character in Unicode.
pub(super) fn is_unseen(c: char) -> bool {
    let code = u32::from(c);
    is_hidden(c)
        || matches!(code, 0x2800 | 0xfdd0..=0xfdef)
        || code & 0xfffe == 0xfffe
        || matches!(CATEGORY.get(c), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark)
}

/// The blocks that hold other forms of ASCII, so that ordinary text is not looked up.
fn may_fold(code: u32) -> bool {
    matches!(
        code,
        0xa0..=0xbe
            | 0x132..=0x133
            | 0x17f
            | 0x1c7..=0x1cc
            | 0x1f1..=0x1f3
            | 0x2b0..=0x2b8
            | 0x2e1..=0x2e3
            | 0x37e
            | 0x1d2c..=0x1dbf
            | 0x1fef
            | 0x2000..=0x2fff
            | 0x3000..=0x33ff
            | 0xa7f0..=0xa7f4
            | 0xfb00..=0xfb29
            | 0xfe10..=0xffef
            | 0x10780..=0x107bf
            | 0x1ccd6..=0x1ccf9
            | 0x1d400..=0x1d7ff
            | 0x1f100..=0x1f190
            | 0x1fbf0..=0x1fbf9
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_is_read() {
        let check =
            |text: &str, expect: &str| assert_eq!(decoded_once(text).as_deref(), Some(expect), "{text}");
        check("%41%4b%49a", "AKIa");
        check("%C3%A9 %u0041 %ff %ud835%udc00", "é A \u{1a} 𝐀");
        check("&#65;&#x4B;&#0000073;&#65", "AKIA");
        check("a&commat;b&period;c &amp;lt;&shy;", "a@b.c &lt;");
        check("\\u0041\\u{4b}\\U00000049\\x41\\x{41}\\101\\uu0041", "AKIAAAA");
        check("\\ud83e\\udd80 \\ud800", "🦀 \u{1a}");
        check("a\\\"b\\\\n\\/\\n", "a\"b\\n/\n");
        check("=41=4b=49 a=\nb", "AKI ab");
        check("ＡＫＩＡ 𝐀𝒦𝕀𝖠 ⒜ⅷﬁ", "AKIA AKIA (a)viiifi");
        check("A\u{200b}K\u{ad}I\u{fe0f}A\u{332}\u{e0041}x", "AKIAx");
        check("4111\u{2011}1111\u{a0}1", "4111-1111 1");
        check("%00A%00K", "\0A\0K");
        check("\0A\u{1}\u{8}K\u{7f}I\u{b}A\u{1a}\u{1f}\t\r\n", "AKIA\t\r\n");
        check("%08\\u0008&#8;\\b\\f", "\u{8}\u{8}\u{8}\u{8}\u{c}");
        check("AКIA сосо АKІА Αa", "AKIA сосо AKIA Aa");
        check("A\u{2800}K\u{ffff}I\u{fdd0}A\u{fdef}\u{10fffe}", "AKIA");
        check("A\u{488}K\u{610}I\u{5b0}A\u{e31}\u{93c}", "AKIA");
        for text in [
            "100% of it",
            "a & b",
            "C:\\Data\\Work",
            "x=41",
            "id=12&x=ab",
            "漢字 Grüße привет 🦀",
            "%zz &; \\",
        ] {
            assert_eq!(decoded_once(text), None, "{text}");
        }
    }

    /// The letters that are passed over by their block are seen.
    #[test]
    fn no_unseen_character_is_passed_over() {
        for c in ('\u{80}'..=char::MAX).filter(|c| is_unseen(*c)) {
            assert!(unseen_or_folded(c).is_some(), "{:x}", u32::from(c));
        }
    }

    /// The blocks that are looked up hold every character that is another form of ASCII.
    #[test]
    fn no_form_of_ascii_is_missed() {
        for c in ('\u{80}'..=char::MAX).filter(|c| !is_hidden(*c)) {
            let folded: String = COMPATIBILITY.normalize_iter(std::iter::once(c)).collect();
            assert!(!folded.is_ascii() || unseen_or_folded(c).is_some(), "{:x} {folded}", u32::from(c));
        }
    }
}
