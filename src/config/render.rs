//! Problems as `tollgate check` shows them: place, message, the line itself with a caret. A line of
//! servers.toml may hold a secret, so texts in it that the message does not name are blotted out.

use crate::model::{Problem, Problems, Severity};
use std::collections::BTreeMap;

/// Renders all problems. `source` gives a file's text, by the name in the problem's place.
pub fn render(problems: &Problems, source: &dyn Fn(&str) -> Option<String>) -> String {
    let mut texts: BTreeMap<&str, Option<String>> = BTreeMap::new();
    let mut out = String::new();
    for problem in &problems.0 {
        let text = texts.entry(&problem.place.file).or_insert_with(|| source(&problem.place.file));
        one(&mut out, problem, text.as_deref());
    }
    let count = |severity| problems.0.iter().filter(|p| p.severity == severity).count();
    let (errors, lints) = (count(Severity::Error), count(Severity::Lint));
    if errors + lints > 0 {
        out.push_str(&format!("{}, {}\n", plural(errors, "error"), plural(lints, "lint")));
    }
    out
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

fn one(out: &mut String, problem: &Problem, text: Option<&str>) {
    let place = &problem.place;
    let kind = match problem.severity {
        Severity::Error => "error",
        Severity::Lint => "lint",
    };
    if place.line == 0 {
        out.push_str(&format!("{}: {kind}: {}\n", place.file, problem.message));
    } else {
        out.push_str(&format!(
            "{}:{}:{}: {kind}: {}\n",
            place.file, place.line, place.column, problem.message
        ));
    }
    let line = text.filter(|_| place.line > 0).and_then(|text| text.lines().nth(place.line - 1));
    if let Some(line) = line {
        let (shown, caret) = window(&blot(line, problem), place.column.saturating_sub(1));
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        out.push_str(&format!(" {number} | {shown}\n {margin} | {}^\n", " ".repeat(caret)));
    }
    if !problem.expected.is_empty() {
        out.push_str(&format!("   expected {}\n", problem.expected));
    }
    out.push('\n');
}

/// At most 120 characters of a line around the caret, without control characters.
fn window(line: &str, caret: usize) -> (String, usize) {
    let from = if caret > 100 { caret - 80 } else { 0 };
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    (line.chars().skip(from).take(120).map(clean).collect(), caret - from)
}

/// Each character of a text that is not to be seen becomes a dot, so that columns stay true.
fn blot(line: &str, problem: &Problem) -> String {
    let chars: Vec<char> = line.chars().collect();
    let mut shown: String = String::new();
    if problem.message.contains("not shown") {
        let from = problem.place.column.saturating_sub(1);
        return chars.iter().enumerate().map(|(i, c)| if i < from { *c } else { '·' }).collect();
    }
    let toml = problem.place.file.ends_with(".toml");
    let mut word = String::new();
    let mut quote: Option<char> = None;
    for c in chars.into_iter().chain(std::iter::once('\n')) {
        let ends = match quote {
            Some(open) => c == open || c == '\n',
            None => c.is_whitespace() || "\"'[]{},:=#()".contains(c),
        };
        if !ends {
            word.push(c);
            continue;
        }
        let named = word.is_empty() || problem.message.contains(&word);
        let secret = if quote.is_some() && toml {
            true
        } else {
            word.chars().count() >= 20 && word.contains(|c: char| c.is_ascii_digit())
        };
        if secret && !named {
            shown.extend(std::iter::repeat_n('·', word.chars().count()));
        } else {
            shown.push_str(&word);
        }
        word.clear();
        if c != '\n' {
            shown.push(c);
        }
        quote = match quote {
            Some(_) => None,
            // In YAML a quoted text is read word by word: conditions stay legible.
            None if toml && matches!(c, '"' | '\'') => Some(c),
            None => None,
        };
    }
    shown
}
