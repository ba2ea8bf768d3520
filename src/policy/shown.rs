//! Text of a file inside a message.

/// Offending text, cut where it is long, control characters escaped.
pub fn short(text: &str) -> String {
    let mut shown: String = text.chars().take(80).flat_map(printable).collect();
    if text.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}

fn printable(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}
