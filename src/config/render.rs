//! Problems as `tollgate check` shows them: place, message, the line itself with a caret. A line of
//! servers.toml may hold a secret: texts that may be one, and that the message does not name, are blotted out.

use crate::{
    model::{Problem, Problems, Severity, counted},
    policy::names::did_you_mean,
};
use std::collections::BTreeMap;

/// Renders all problems. `source` gives a file's text, by the name in the problem's place.
pub fn render(problems: &Problems, source: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = each(problems.0.iter(), source);
    let count = |severity| problems.0.iter().filter(|p| p.severity == severity).count();
    let (errors, lints) = (count(Severity::Error), count(Severity::Lint));
    if errors + lints > 0 {
        out.push_str(&format!("{}, {}\n", counted(errors as u64, "error"), counted(lints as u64, "lint")));
    }
    out
}

/// Only what forbids using them.
pub fn render_errors(problems: &Problems, source: &dyn Fn(&str) -> Option<String>) -> String {
    let errors = problems.0.iter().filter(|problem| problem.severity == Severity::Error);
    each(errors, source).trim_end().to_owned()
}

fn each<'p>(problems: impl Iterator<Item = &'p Problem>, source: &dyn Fn(&str) -> Option<String>) -> String {
    let mut texts: BTreeMap<&str, Option<String>> = BTreeMap::new();
    let mut out = String::new();
    for problem in problems {
        let text = texts.entry(&problem.place.file).or_insert_with(|| source(&problem.place.file));
        one(&mut out, problem, text.as_deref());
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
        let table = text.and_then(|text| table_of(text, place.line));
        let (shown, caret) = window(&blot(line, table, problem), place.column.saturating_sub(1));
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        out.push_str(&format!(" {number} | {shown}\n {margin} | {}^\n", " ".repeat(caret)));
    }
    if !problem.expected.is_empty() {
        out.push_str(&format!("   expected {}\n", problem.expected));
    }
    out.push('\n');
}

/// The last name of the table in which a line stands.
fn table_of(text: &str, line: usize) -> Option<&str> {
    let before = text.lines().take(line.saturating_sub(1));
    let head = before.filter(|line| line.trim_start().starts_with('[')).last()?;
    let name = head.trim().trim_matches(['[', ']']);
    name.rsplit('.').next().map(|name| name.trim_matches('"'))
}

/// At most 120 characters of a line around the caret, without control characters.
fn window(line: &str, caret: usize) -> (String, usize) {
    let from = if caret > 100 { caret - 80 } else { 0 };
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    (line.chars().skip(from).take(120).map(clean).collect(), caret - from)
}

/// Each character of a text that is not to be seen becomes a dot, so that columns stay true.
fn blot(line: &str, table: Option<&str>, problem: &Problem) -> String {
    let named = |word: &str| {
        [format!("`{word}`"), format!("`${{{word}}}`")].iter().any(|w| problem.message.contains(w))
    };
    let line = match problem.place.file.ends_with(".toml") {
        true => blot_toml(line, table, named),
        false => blot_yaml(line, named),
    };
    if !problem.message.contains("not shown") {
        return line;
    }
    let from = problem.place.column.saturating_sub(1);
    line.chars().enumerate().map(|(i, c)| if i < from { c } else { DOT }).collect()
}

const DOT: char = '·';

/// Keys of servers.toml whose values are no secrets.
const PLAIN: &[&str] = &[
    "action",
    "agent_claim",
    "allowed_hosts",
    "allowed_origins",
    "anonymous_agent",
    "approval_wait",
    "apps",
    "argument",
    "asks",
    "attempts",
    "audience",
    "backoff",
    "behind_tls_proxy",
    "best_effort",
    "breaker",
    "catalog",
    "client_ca",
    "crl",
    "contain",
    "cooldown",
    "cost",
    "cost_usd",
    "count",
    "cpu",
    "cwd",
    "data_dir",
    "destructive",
    "dpop",
    "drain",
    "durability",
    "enabled",
    "env_file",
    "environment",
    "expected_result_tokens",
    "failures",
    "findings",
    "forwarded_by",
    "idempotent",
    "isolation",
    "keep",
    "labels",
    "listen",
    "max_body",
    "max_concurrency",
    "max_pending_approvals",
    "max_result_bytes",
    "max_sessions",
    "memory",
    "mode",
    "network",
    "new_tools",
    "open_world",
    "output_schema",
    "per",
    "policies",
    "prefix",
    "processes",
    "read",
    "read_only",
    "retention",
    "retry",
    "sensitive",
    "separator",
    "timeout",
    "transport",
    "trust_annotations",
    "trust_cost",
    "trusted_proxies",
    "unit",
    "usd",
    "user_claim",
    "window",
    "write",
];
/// Keys whose values may be secrets, whatever stands in them.
const HIDDEN: &[&str] = &[
    "args",
    "command",
    "env",
    "headers",
    "key",
    "keys",
    "metrics_key",
    "oauth",
    "secret",
    "token",
    "url",
    "vault_key",
];

/// Keys, tables, numbers, times, sizes and what the message names stay, and the values of keys that hold no secrets, also where
/// the key is written nearly so. Every other text may be a secret.
fn blot_toml(line: &str, table: Option<&str>, named: impl Fn(&str) -> bool) -> String {
    if line.trim_start().starts_with('[') {
        return line.to_owned();
    }
    let of_table = table.is_some_and(|name| HIDDEN.contains(&name));
    let (mut hides, mut plain, mut is_program) = (of_table, false, false);
    // A line without a key goes on with a value of one that is not known here.
    let mut has_key = false;
    let mut quote = None;
    let mut shown = String::new();
    let mut word = String::new();
    let mut left = line;
    for next in line.chars().map(Some).chain([None]) {
        left = next.map_or(left, |c| left.get(c.len_utf8()..).unwrap_or_default());
        if let Some(c) = next.filter(|c| !c.is_whitespace() && !"\"'[]{},=#$".contains(*c)) {
            word.push(c);
            continue;
        }
        let follows = if next == Some('=') { Some('=') } else { left.chars().find(|c| !c.is_whitespace()) };
        let is_colon = word.ends_with(':') && !line.contains('=') && !has_key;
        let is_key = quote.is_none()
            && !word.is_empty()
            && (is_colon
                || (next == Some('=') || next.is_some_and(char::is_whitespace)) && follows == Some('='));
        let keep = if is_key {
            let key = word.trim_end_matches(':');
            hides |= HIDDEN.contains(&key);
            is_program = key == "command" && !of_table;
            let is_near = || {
                key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                    && !did_you_mean(key, PLAIN.iter().copied()).is_empty()
            };
            plain = !hides && (PLAIN.contains(&key) || is_near());
            has_key = true;
            true
        } else {
            // The program is no secret, its arguments may be.
            let is_first = is_program && quote.is_some() && !word.is_empty();
            is_program &= !is_first;
            let is_plain = (plain || is_first) && !looks_secret(&word);
            named(&word) || is_measure(&word) || is_plain
        };
        if keep {
            shown.push_str(&word);
        } else {
            shown.extend(word.chars().map(|_| DOT));
        }
        word.clear();
        shown.extend(next);
        match (next, quote) {
            (Some(c @ ('"' | '\'')), None) => quote = Some(c),
            (Some(c), Some(open)) if c == open => quote = None,
            // What stands in a comment may have been a value.
            (Some('#'), None) => (hides, plain, is_program) = (true, false, false),
            _ => {}
        }
    }
    shown
}

/// A number, `true`, or a number with a unit, such as `30s` and `4MiB`.
fn is_measure(word: &str) -> bool {
    let units = ["ms", "s", "m", "h", "d", "KiB", "MiB", "GiB", "KB", "MB", "GB", "%"];
    let number = units.iter().find_map(|unit| word.strip_suffix(unit)).unwrap_or(word);
    // A long number may be one that somebody keeps to themselves.
    let is_short = word.chars().count() <= 12;
    matches!(word, "true" | "false") || (is_short && number.parse::<f64>().is_ok())
}

fn looks_secret(word: &str) -> bool {
    word.chars().count() >= 20 && word.contains(|c: char| c.is_ascii_digit()) || word.starts_with("sk-")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_secret_is_shown_and_what_may_be_one_is_not() {
        let check = |table: &str, line: &str, expect: &str| {
            assert_eq!(blot_toml(line, Some(table), |word| word == "named"), expect, "[{table}] {line}");
        };
        check("files", r#"timeot = "30s""#, r#"timeot = "30s""#);
        check("files", r#"labels = "internal""#, r#"labels = "internal""#);
        check("files", r#"labels = ["internal", "write"]"#, r#"labels = ["internal", "write"]"#);
        check("gateway", "environment = staging", "environment = staging");
        check("gateway", "environment: staging", "environment: staging");
        check("gateway", r#"data_dir = "/var/lib""#, r#"data_dir = "/var/lib""#);
        check("files", r#"cost = { usd = 0.1, per = "rows" }"#, r#"cost = { usd = 0.1, per = "rows" }"#);
        check(
            "files",
            r#"retry = { attempts = 2, backof = "200ms" }"#,
            r#"retry = { attempts = 2, backof = "200ms" }"#,
        );
        // The program, and nothing of its arguments.
        check("files", r#"command = ["npx", "--key=hunter2"]"#, r#"command = ["npx", "·····=·······"]"#);
        check("files", r#"env = { TOKEN = "hunter2", N = 3 }"#, r#"env = { TOKEN = "·······", N = 3 }"#);
        check("env", r#"timeout = "hunter2""#, r#"timeout = "·······""#);
        check("headers", r#"labels = "hunter2""#, r#"labels = "·······""#);
        check("files", r#"url = "https://u:p@h/x" # hunter2"#, r#"url = "···············" # ·······"#);
        check("files", r#"labels = ["a"] # hunter2"#, r#"labels = ["a"] # ·······"#);
        check("files", r#"env = { A = "dXNlcjpwYXNz==" }"#, r#"env = { A = "············==" }"#);
        check("files", r#"labels = "a1b2c3d4e5f6a7b8c9d0e1f2""#, r#"labels = "························""#);
        check("files", r#"passwort = "hunter2""#, r#"passwort = "·······""#);
        check("files", r#"vault_key = "named""#, r#"vault_key = "named""#);
        check("files", r#""hunter2","#, r#""·······","#);
        check("files", "[upstreams.files.env]", "[upstreams.files.env]");
    }
}
