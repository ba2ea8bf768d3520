//! Text from agents and upstreams as a person may safely see it: nothing in it can move the
//! cursor, turn the reading direction or hide.

use std::{borrow::Cow, fmt::Write};

/// Whether a character is invisible, or changes how others are shown: controls, bidi marks,
/// zero-width characters, variation selectors, tags, fillers, line and paragraph separators.
pub fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    matches!(
        u32::from(c),
        0x80..=0x9f
            | 0xad
            | 0x34f
            | 0x61c
            | 0x115f..=0x1160
            | 0x17b4..=0x17b5
            | 0x180b..=0x180f
            | 0x200b..=0x200f
            | 0x2028..=0x202e
            | 0x2060..=0x206f
            | 0x3164
            | 0xfe00..=0xfe0f
            | 0xfeff
            | 0xffa0
            | 0xfff0..=0xfffb
            | 0x1bca0..=0x1bca3
            | 0x1d173..=0x1d17a
            | 0xe0000..=0xe0fff
    )
}

/// Writes a hidden character as what it is: `[U+202E]`. The page does it alike.
pub fn hidden_as(c: char, out: &mut String) {
    // Writing to a String cannot fail.
    write!(out, "[U+{:04X}]", u32::from(c)).unwrap_or_default();
}

/// The text with hidden characters written out (`\n`, `[U+202E]`), cut after `max_chars` of its own
/// characters with a note of how many are missing.
pub fn display_text(text: &str, max_chars: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(max_chars.saturating_mul(2)).min(1 << 16));
    let mut chars = text.chars();
    for c in chars.by_ref().take(max_chars) {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            hidden if is_hidden(hidden) => hidden_as(hidden, &mut shown),
            plain => shown.push(plain),
        }
    }
    match chars.count() {
        0 => {}
        1 => shown.push_str("… (cut: 1 more character)"),
        more => write!(shown, "… (cut: {more} more characters)").unwrap_or_default(),
    }
    shown
}

/// The whole text with hidden characters written out, for output that a terminal may show.
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_hidden) { display_text(text, usize::MAX).into() } else { text.into() }
}

/// The same for a JSON document, where hidden characters only stand inside strings: `\\uXXXX` means the same there.
/// Line feeds of the layout stay.
pub fn visible_json(text: &str) -> Cow<'_, str> {
    let hides = |c: char| c != '\n' && is_hidden(c);
    if !text.chars().any(hides) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hides(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(shown, "\\u{unit:04x}").unwrap_or_default();
            }
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides() {
        let check = |input: &str, max: usize, expect: &str| assert_eq!(display_text(input, max), expect);
        check("plain – text, 漢字 🦀", 99, "plain – text, 漢字 🦀");
        check("a\nb\tc\r", 99, "a\\nb\\tc\\r");
        check("\u{1b}[31mred\u{7}\u{0}", 99, "[U+001B][31mred[U+0007][U+0000]");
        check("abc\u{202e}fdp.exe", 99, "abc[U+202E]fdp.exe");
        check("ze\u{200b}ro\u{feff}\u{ad}", 99, "ze[U+200B]ro[U+FEFF][U+00AD]");
        check("\u{2028}\u{2067}\u{e0041}\u{85}\u{fe0f}", 99, "[U+2028][U+2067][U+E0041][U+0085][U+FE0F]");
        check("abcdef", 3, "abc… (cut: 3 more characters)");
        check("äbcd", 3, "äbc… (cut: 1 more character)");
        check("abc", 3, "abc");
        check("abc", 0, "… (cut: 3 more characters)");
        check("", 0, "");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({"a": "x\u{202e}y\u{e0041}z\u{9b}"});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = visible_json(&text);
        assert!(!shown.chars().any(|c| c != '\n' && is_hidden(c)), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        assert_eq!(
            (visible("a\u{1b}[2Jb\r\n"), visible("plain Grüße 🎉")),
            ("a[U+001B][2Jb\\r\\n".into(), "plain Grüße 🎉".into())
        );
    }

    /// The inbox page marks the same characters, but for line feeds and tabs, which it shows as they are.
    #[test]
    fn the_inbox_has_the_same_list() {
        let page = include_str!("../../page/src/dom.ts");
        let (_, list) = page.split_once("const HIDDEN =\n  /[").unwrap();
        let (list, _) = list.split_once("]/u;").unwrap();
        let mut marked = std::collections::BTreeSet::new();
        let mut from = None;
        for part in list.split("\\u{").skip(1) {
            let (code, after) = part.split_once('}').unwrap();
            let code = u32::from_str_radix(code, 16).unwrap();
            let first = from.take().unwrap_or(code);
            match after {
                "-" => from = Some(code),
                "" => marked.extend((first..=code).filter_map(char::from_u32)),
                other => panic!("{other:?}"),
            }
        }
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let hidden = is_hidden(c) && !matches!(c, '\n' | '\t');
            assert_eq!(marked.contains(&c), hidden, "{c:?}");
        }
    }

    #[test]
    fn whatever_comes_in_only_visible_characters_come_out() {
        for code in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let shown = display_text(&code.to_string(), 1);
            assert!(!shown.chars().any(is_hidden), "{code:?}");
            assert!(!shown.chars().any(char::is_control), "{code:?}");
        }
    }
}
