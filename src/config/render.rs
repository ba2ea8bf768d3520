//! Problems as `tollgate check` shows them: place, message, the line itself with a caret. A line of
//! servers.toml may hold a secret, so texts in it that the message does not name are blotted out.

use crate::model::{Problem, Problems, Severity, counted};
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
        out.push_str(&format!("{}, {}\n", counted(errors as u64, "error"), counted(lints as u64, "lint")));
    }
    out
}

fn one(out: &mut String, problem: &Problem, text: Option<&str>) {
    let place = &problem.place;
    let kind = match problem.severity {
        Severity::Error => "error",
        Severity::Lint => "lint",
    };
    out.push_str(&format!("{place}: {kind}: {}\n", problem.message));
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
    let named = |word: &str| {
        [format!("`{word}`"), format!("`${{{word}}}`")].iter().any(|w| problem.message.contains(w))
    };
    let line =
        if problem.place.file.ends_with(".toml") { blot_toml(line, named) } else { blot_yaml(line, named) };
    if !problem.message.contains("not shown") {
        return line;
    }
    let from = problem.place.column.saturating_sub(1);
    line.chars().enumerate().map(|(i, c)| if i < from { c } else { DOT }).collect()
}

const DOT: char = '·';

/// Keys, tables, numbers and what the message names stay; every other text may be a secret.
fn blot_toml(line: &str, named: impl Fn(&str) -> bool) -> String {
    let table = line.trim_start().starts_with('[');
    let mut value = !line.contains('=') && !table;
    words(
        line,
        |c| c.is_whitespace() || "\"'[]{},=#$".contains(c),
        |word, next| {
            let keep =
                !value || named(word) || word.parse::<f64>().is_ok() || matches!(word, "true" | "false");
            value |= next == Some('=');
            keep
        },
    )
}

/// A bundle holds no secrets; what looks like a key that strayed into it is blotted out all the same,
/// and so is what stands after `keys`.
fn blot_yaml(line: &str, named: impl Fn(&str) -> bool) -> String {
    let mut keys = false;
    words(
        line,
        |c| c.is_whitespace() || "\"'[]{},:=#()".contains(c),
        |word, next| {
            let long = word.chars().count() >= 20 && word.contains(|c: char| c.is_ascii_digit());
            let keep = !(keys || long) || named(word);
            keys |= word == "keys" && next == Some(':');
            keep
        },
    )
}

/// Cuts a line into words and blots out those that `keep` (word, what follows it) refuses.
fn words(
    line: &str,
    ends: impl Fn(char) -> bool,
    mut keep: impl FnMut(&str, Option<char>) -> bool,
) -> String {
    let mut shown = String::new();
    let mut word = String::new();
    for next in line.chars().map(Some).chain([None]) {
        if let Some(c) = next.filter(|c| !ends(*c)) {
            word.push(c);
            continue;
        }
        if keep(&word, next) {
            shown.push_str(&word);
        } else {
            shown.extend(word.chars().map(|_| DOT));
        }
        word.clear();
        shown.extend(next);
    }
    shown
}
