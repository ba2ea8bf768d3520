//! Characters that a model reads and a person does not see. What writing systems and emoji need of them is let be.

use super::{FindingKind, Found};
use crate::redaction::is_hidden;

/// White space in a row that pushes what follows out of sight.
const LONGEST_GAP: usize = 160;
/// Line feeds in a row that do the same.
const MOST_LINES: usize = 25;
/// The text that hidden characters spell, at most so much of it is shown.
const LONGEST_SPELLED: usize = 120;

/// What is hidden in a text: one finding for each kind of it.
pub(super) fn scan(text: &str, found: &mut Vec<Found>) {
    if text.is_ascii() && !text.bytes().any(|b| b.is_ascii_control() && !matches!(b, b'\n' | b'\r' | b'\t')) {
        gap(text, found);
        return;
    }
    let mut tell = |place: usize, what: &str, excerpt: Option<String>| {
        if found.iter().all(|known: &Found| known.what != what) {
            found.push(Found { kind: FindingKind::Hidden, what: what.to_owned(), place, excerpt });
        }
    };
    let right_to_left = text.chars().any(is_right_to_left);
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let mut at = 0;
    while let Some(&(place, c)) = chars.get(at) {
        let before = at.checked_sub(1).and_then(|at| chars.get(at)).map(|(_, c)| *c);
        let after = chars.get(at + 1).map(|(_, c)| *c);
        at += 1;
        match c {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => {}
            '\u{e0000}'..='\u{e007f}' => {
                let run = chars.get(at - 1..).unwrap_or_default();
                let run: Vec<char> = run.iter().map(|(_, c)| *c).take_while(is_tag).collect();
                at += run.len() - 1;
                let spelled: String = run.iter().filter_map(spelled).collect();
                if !(before == Some('\u{1f3f4}') && is_flag(&spelled, run.last())) {
                    tell(place, "tag characters, which nobody sees and a model reads", Some(told(&spelled)));
                }
            }
            '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => {
                let run = chars.get(at..).unwrap_or_default();
                let more = run.iter().take_while(|(_, c)| is_selector(*c)).count();
                if more > 0 || !takes_selector(before, c) {
                    let run = chars.get(at - 1..at + more).unwrap_or_default();
                    let spelled: String = run.iter().filter_map(|(_, c)| byte_of(*c)).collect();
                    tell(
                        place,
                        "variation selectors where nothing varies, which can carry text",
                        Some(told(&spelled)),
                    );
                }
                at += more;
            }
            '\u{200c}' | '\u{200d}' if !joins(before, after) => tell(place, "zero-width characters", None),
            '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2066}'..='\u{2069}' | '\u{202a}'..='\u{202c}'
                if !right_to_left =>
            {
                tell(place, "marks that turn the reading direction", None);
            }
            // Where scripts and emoji need them; and a mark at the very beginning, which says how the text was stored.
            '\u{200c}'..='\u{200f}' | '\u{61c}' | '\u{2066}'..='\u{2069}' | '\u{202a}'..='\u{202c}' => {}
            '\u{feff}' if place == 0 => {}
            '\u{202d}' | '\u{202e}' => tell(place, "characters that reverse the reading direction", None),
            '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{feff}' | '\u{180e}' | '\u{ad}' | '\u{34f}' => {
                tell(place, "zero-width characters", None);
            }
            c if c.is_control() => tell(place, "control characters", None),
            // Mongolian has selectors of its own.
            '\u{180b}'..='\u{180f}' if before.is_some_and(|b| ('\u{1800}'..='\u{18af}').contains(&b)) => {}
            c if is_hidden(c) => tell(place, "characters that are shown as nothing", None),
            _ => {}
        }
    }
    gap(text, found);
}

/// White space that hides what follows.
fn gap(text: &str, found: &mut Vec<Found>) {
    let (mut length, mut lines, mut start) = (0, 0, 0);
    for (place, c) in text.char_indices() {
        if c.is_whitespace() {
            if length == 0 {
                start = place;
            }
            length += 1;
            lines += usize::from(c == '\n');
            continue;
        }
        if start > 0 && (length >= LONGEST_GAP || lines >= MOST_LINES) {
            let what = format!("{length} blank characters that push what follows out of sight");
            let excerpt: String =
                text.get(place..).unwrap_or_default().chars().take(LONGEST_SPELLED).collect();
            found.push(Found {
                kind: FindingKind::Hidden,
                what,
                place,
                excerpt: Some(super::shown(&excerpt)),
            });
            return;
        }
        (length, lines) = (0, 0);
    }
}

fn told(spelled: &str) -> String {
    match spelled.trim().is_empty() {
        true => String::new(),
        false => {
            let text: String = spelled.chars().take(LONGEST_SPELLED).collect();
            format!("it spells: {}", super::shown(&text))
        }
    }
}

fn is_tag(c: &char) -> bool {
    ('\u{e0000}'..='\u{e007f}').contains(c)
}

/// The character that a tag stands for.
fn spelled(c: &char) -> Option<char> {
    char::from_u32(u32::from(*c).checked_sub(0xe_0000)?).filter(|c| !c.is_control())
}

/// Whether tags behind a black flag make the flag of a part of a country.
fn is_flag(spelled: &str, last: Option<&char>) -> bool {
    last == Some(&'\u{e007f}') && ["gbeng", "gbsct", "gbwls"].contains(&spelled)
}

fn is_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// The byte that a variation selector can carry, as a character.
fn byte_of(c: char) -> Option<char> {
    let code = u32::from(c);
    let byte = match code {
        0xfe00..=0xfe0f => code - 0xfe00,
        0xe_0100..=0xe_01ef => code - 0xe_0100 + 16,
        _ => return None,
    };
    char::from_u32(byte).filter(|c| !c.is_control())
}

/// Whether a selector says how what stands before it is drawn: an emoji or symbol, an ideograph.
fn takes_selector(before: Option<char>, selector: char) -> bool {
    let Some(before) = before else { return false };
    match selector {
        '\u{fe0e}' | '\u{fe0f}' => {
            matches!(before, '#' | '*' | '0'..='9' | '©' | '®')
                || (before >= '\u{2000}' && !before.is_alphabetic())
        }
        '\u{e0100}'..='\u{e01ef}' => is_ideograph(before),
        _ => is_ideograph(before) || ('\u{2200}'..='\u{22ff}').contains(&before),
    }
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// Whether a joiner stands where scripts and emoji need one.
fn joins(before: Option<char>, after: Option<char>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return false };
    let is_emoji =
        |c: char| is_selector(c) || ('\u{2190}'..='\u{2bff}').contains(&c) || c >= '\u{1f000}' && !is_tag(&c);
    let is_complex = |c: char| {
        matches!(c, '\u{600}'..='\u{109f}' | '\u{1780}'..='\u{18af}' | '\u{fb50}'..='\u{fefc}')
            && !is_hidden(c)
    };
    is_emoji(before) && is_emoji(after) || is_complex(before) && is_complex(after)
}

fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}') && c != '\u{61c}'
}
