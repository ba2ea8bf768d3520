//! Where a text is cut: after a whole element of a JSON list, else after a whole line or word, and never within a character.

/// A word that is longer is cut within.
const LONGEST_WORD: usize = 200;

/// The beginning of a text that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// So many bytes of it.
    pub(super) end: usize,
    /// What closes it.
    pub(super) close: &'static str,
}

/// As much of a text as takes at most so many bytes as a JSON string, its quotes aside. None: nothing of it fits.
pub(super) fn prefix(text: &str, room: u64) -> Option<Prefix> {
    let fits = fitting(text, room);
    if fits == text.len() {
        return Some(Prefix { end: fits, close: "" });
    }
    if let Some(end) = elements(text, room.saturating_sub(1)) {
        return Some(Prefix { end, close: "]" });
    }
    let end = text.get(..fits).map_or(0, whole);
    (end > 0).then_some(Prefix { end, close: "" })
}

/// How many bytes a character takes in JSON, where quotes and controls take more.
fn needs(character: char) -> u64 {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8() as u64,
    }
}

/// The longest beginning that has room.
fn fitting(text: &str, room: u64) -> usize {
    let mut left = room;
    for (at, character) in text.char_indices() {
        match left.checked_sub(needs(character)) {
            Some(rest) => left = rest,
            None => return at,
        }
    }
    text.len()
}

/// The end of the last whole line; where that would leave out more than half, of the last whole word.
fn whole(kept: &str) -> usize {
    let line = kept.rfind('\n').map_or(0, |at| at + 1);
    if line > kept.len() / 2 {
        return line;
    }
    let word = kept.char_indices().rev().find(|(_, character)| character.is_whitespace());
    match word {
        Some((at, space)) if kept.len() - at <= LONGEST_WORD => at + space.len_utf8(),
        Some(_) | None => kept.len(),
    }
}

/// Of a text that is a JSON list: the end of its last element that has room.
fn elements(text: &str, room: u64) -> Option<usize> {
    let is_list = text.trim_start().starts_with('[') && text.trim_end().ends_with(']');
    if !is_list || serde_json::from_str::<Vec<serde::de::IgnoredAny>>(text).is_err() {
        return None;
    }
    let (mut left, mut depth) = (room, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    let mut end = None;
    for (at, character) in text.char_indices() {
        // The comma after an element, or the end of the list, says that it is whole.
        if !in_string && depth == 1 && matches!(character, ',' | ']') {
            end = Some(at);
        }
        left = match left.checked_sub(needs(character)) {
            Some(rest) => rest,
            None => return end,
        };
        match character {
            _ if std::mem::take(&mut escaped) => {}
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            '[' | '{' if !in_string => depth += 1,
            ']' | '}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_is_cut_where_a_part_ends() {
        let check = |text: &str, room: u64, expect: Option<&str>| {
            let kept = prefix(text, room)
                .map(|kept| format!("{}{}", text.get(..kept.end).unwrap_or_default(), kept.close));
            assert_eq!(kept.as_deref(), expect, "{text} {room}");
        };
        check("whole", 5, Some("whole"));
        check("one\ntwo\nthree", 12, Some("one\ntwo\n"));
        check("one two three", 11, Some("one two "));
        check("a long first line with words\nx", 20, Some("a long first line "));
        check("ééé", 5, Some("éé"));
        check("é", 1, None);
        check("[1,22,333]", 10, Some("[1,22,333]"));
        check("[1,22,333]", 8, Some("[1,22]"));
        check("[{\"a\":\"],\\\"\"},{\"b\":[1,2]}]", 25, Some("[{\"a\":\"],\\\"\"}]"));
        check(" [ 10 , 20 ]", 7, Some(" [ 10 ]"));
        // Not even one element has room: it is cut like a text.
        check("[\"a long word or two\"]", 12, Some("[\"a long "));
        check("[1, 2, broken", 8, Some("[1, 2, "));
        let long = "x".repeat(500);
        check(&format!("a {long}"), 300, Some(&format!("a {}", long.get(..298).unwrap_or_default())));
    }

    proptest! {
        /// It has room, it is a beginning, and a list stays a list.
        #[test]
        fn what_is_kept_fits(text in ".{0,400}", numbers in proptest::collection::vec(".{0,12}", 0..40), room in 0u64..300) {
            for text in [text, serde_json::to_string(&numbers).unwrap()] {
                if let Some(kept) = prefix(&text, room) {
                    let shown = format!("{}{}", text.get(..kept.end).unwrap_or_default(), kept.close);
                    prop_assert!(serde_json::to_string(&shown).unwrap().len() as u64 <= room + 2);
                    if !kept.close.is_empty() {
                        let read: Vec<String> = serde_json::from_str(&shown).unwrap();
                        prop_assert_eq!(Some(&*read), numbers.get(..read.len()));
                    }
                }
            }
        }
    }
}
