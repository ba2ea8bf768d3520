//! Text of a file inside a message.

use crate::redaction::{hidden_as, is_hidden};

/// Offending text, cut where it is long, with what nobody sees written out.
pub fn short(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(80) {
        match c {
            '\n' | '\r' | '\t' => shown.extend(c.escape_default()),
            c if is_hidden(c) => hidden_as(c, &mut shown),
            c => shown.push(c),
        }
    }
    if text.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}
