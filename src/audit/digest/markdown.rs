//! A document as Markdown (CommonMark with tables), in which no text of the record is markup.

use super::sections::{Block, Section};

/// The whole document.
pub(super) fn document(title: &str, sections: &[Section]) -> String {
    let mut out = format!("# {}\n", escaped(title));
    for Section { title, blocks } in sections {
        out.push_str(&format!("\n## {}\n", escaped(title)));
        for block in blocks {
            out.push('\n');
            match block {
                Block::Line(line) => out.push_str(&format!("{}\n", escaped(line))),
                Block::List(lines) => {
                    lines.iter().for_each(|line| out.push_str(&format!("- {}\n", escaped(line))));
                }
                Block::Table { head, rows } => table(&mut out, head, rows),
            }
        }
    }
    out
}

fn table(out: &mut String, head: &[(&str, bool)], rows: &[Vec<String>]) {
    let line = |out: &mut String, cells: &mut dyn Iterator<Item = String>| {
        out.push('|');
        cells.for_each(|cell| out.push_str(&format!(" {cell} |")));
        out.push('\n');
    };
    line(out, &mut head.iter().map(|(name, _)| escaped(name)));
    line(out, &mut head.iter().map(|(_, number)| if *number { "---:" } else { "---" }.to_owned()));
    for row in rows {
        line(out, &mut row.iter().map(|cell| escaped(cell)));
    }
}

/// Text in which no character is markup: a backslash before each ASCII character that could begin some.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // What opens a block at the beginning of a line does so there alone.
    let opens = |at: usize, c: char| at == 0 && matches!(c, '#' | '+' | '-' | '=');
    let numbers = text.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0);
    for (at, c) in text.char_indices() {
        let ends = text.get(at + 1..).is_none_or(|rest| rest.is_empty() || rest.starts_with(' '));
        let ordered = numbers == Some(at) && matches!(c, '.' | ')') && ends;
        let inline =
            matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '&' | '|' | '~' | '$' | '!');
        if (inline || ordered || opens(at, c)) && text != "-" {
            out.push('\\');
        }
        match c {
            // A line of the record is one line here, too.
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    // A bare address would become a link.
    out.replace("://", "\\://").replace("www.", "www\\.").replace('@', "\\@")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup() {
        let check = |text: &str, expect: &str| assert_eq!(escaped(text), expect);
        check("plain, (text): 5 % of 3", "plain, (text): 5 % of 3");
        check("# a", "\\# a");
        check("1. a", "1\\. a");
        check("1.25 of 3) a", "1.25 of 3) a");
        check("- a", "\\- a");
        check("-", "-");
        check("a | b", "a \\| b");
        check("<img src=x onerror=alert(1)>", "\\<img src=x onerror=alert(1)\\>");
        check("[a](javascript:b) ![c](d)", "\\[a\\](javascript:b) \\!\\[c\\](d)");
        check("`rm` *b* _c_ ~d~ &lt;", "\\`rm\\` \\*b\\* \\_c\\_ \\~d\\~ \\&lt;");
        check("https://evil.example", "https\\://evil.example");
        check("a\nb", "a b");
    }
}
