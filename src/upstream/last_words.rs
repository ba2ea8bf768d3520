//! What a child wrote to standard error before it went. Its last line is seldom the cause: that is a hint where to read more,
//! or the end of a stack trace. So a few of the last lines are kept, and those that speak of an error are told.

use parking_lot::Mutex;
use std::collections::VecDeque;

/// Lines that are kept: a stack trace stands between the cause and the end.
const LINES: usize = 40;
/// Bytes of a line that are kept.
const LINE: usize = 300;
/// Lines about errors that are told.
const CAUSES: usize = 3;

/// The last lines of one child, masked already.
#[derive(Debug, Default)]
pub(super) struct LastWords(Mutex<VecDeque<String>>);

impl LastWords {
    /// Keeps a line.
    pub(super) fn hear(&self, text: &str) {
        let text = text.trim_end();
        if text.trim().is_empty() {
            return;
        }
        let mut lines = self.0.lock();
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(cut(text.as_bytes(), LINE));
    }

    /// Why the child went, as far as its words tell: the first lines of the last ones that speak of an error, and the very
    /// last.
    pub(super) fn cause(&self) -> Option<String> {
        let lines = self.0.lock();
        let mut told: Vec<&str> = Vec::new();
        let mut goes_on = false;
        for line in lines.iter().map(|line| line.trim()) {
            let speaks = std::mem::replace(&mut goes_on, false) || speaks_of_an_error(line);
            if speaks && told.len() < CAUSES && !told.contains(&line) {
                told.push(line);
                // `thread 'main' panicked at src/main.rs:3:5:`, and why on the next line.
                goes_on = line.ends_with(':') && told.len() < CAUSES;
            }
        }
        let last = lines.back().map(|line| line.trim())?;
        if told.is_empty() {
            return Some(format!("it said last: `{last}`"));
        }
        let end = if told.contains(&last) { String::new() } else { format!("; last: `{last}`") };
        Some(format!("it said: `{}`{end}", told.join("` `")))
    }
}

/// Words that stand in lines about what went wrong.
const WORDS: &[&str] = &[
    "error",
    "exception",
    "fatal",
    "panic",
    "fail",
    "cannot",
    "can't",
    "could not",
    "couldn't",
    "unable",
    "not found",
    "no such",
    "denied",
    "refused",
    "missing",
    "invalid",
    "required",
    "unknown",
    "unrecognized",
    "unexpected argument",
    "not permitted",
    "not set",
    "unauthorized",
    "forbidden",
    "out of memory",
    "killed",
    "already in use",
];

fn speaks_of_an_error(line: &str) -> bool {
    // Frames of a stack, and what says that all is well.
    if line.starts_with("at ") || line.starts_with("File \"") {
        return false;
    }
    let line = line.to_lowercase();
    let well = ["0 errors", "no errors", "without errors", "0 failed", "0 failures"];
    WORDS.iter().any(|word| line.contains(word)) && !well.iter().any(|word| line.contains(word))
}

/// At most so many bytes of a text, cut between characters.
pub(super) fn cut(bytes: &[u8], most: usize) -> String {
    let mut text = String::from_utf8_lossy(bytes.get(..most).unwrap_or(bytes)).into_owned();
    if bytes.len() > most {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(lines: &str) -> Option<String> {
        let words = LastWords::default();
        lines.lines().for_each(|line| words.hear(line));
        words.cause()
    }

    #[test]
    fn the_cause_is_told_and_not_the_hint_after_it() {
        let check = |lines: &str, expect: &str| assert_eq!(cause(lines).as_deref(), Some(expect), "{lines}");
        check(
            "Unable to find image 'acme/mcp:9' locally\ndocker: Error response from daemon: pull access denied for acme/mcp.\n\nRun 'docker run --help' for more information",
            "it said: `Unable to find image 'acme/mcp:9' locally` `docker: Error response from daemon: pull access denied for acme/mcp.`; last: `Run 'docker run --help' for more information`",
        );
        check(
            "node:internal/modules/cjs/loader:1228\n  throw err;\n  ^\n\nError: Cannot find module '/opt/s/index.js'\n    at Function._load (node:internal:1)\n    at errorHandler (node:internal:2)\n\nNode.js v22.1.0",
            "it said: `Error: Cannot find module '/opt/s/index.js'`; last: `Node.js v22.1.0`",
        );
        check(
            "Traceback (most recent call last):\n  File \"/opt/error.py\", line 3, in <module>\n    import mcp\nModuleNotFoundError: No module named 'mcp'",
            "it said: `ModuleNotFoundError: No module named 'mcp'`",
        );
        check(
            "thread 'main' panicked at src/main.rs:3:5:\nGRAFANA_URL\nnote: run with `RUST_BACKTRACE=1`",
            "it said: `thread 'main' panicked at src/main.rs:3:5:` `GRAFANA_URL`; last: `note: run with `RUST_BACKTRACE=1``",
        );
        check("starting, 0 errors\nbye", "it said last: `bye`");
        assert_eq!(cause("\n  \n"), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let words = LastWords::default();
        for number in 0..10_000 {
            words.hear(&format!("error {number} {}", "x".repeat(5_000)));
        }
        let kept: usize = words.0.lock().iter().map(String::len).sum();
        assert!(kept <= LINES * (LINE + 4), "{kept}");
        let told = words.cause().unwrap();
        assert!(
            told.len() < 1_500 && told.contains("error 9960 ") && !told.contains("error 9959 "),
            "{told}"
        );
    }
}
