//! Bundles as people write them when something is wrong with them, and what `check` says to each: one message, at the place
//! that has to change, in words of whoever wrote the file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod cases;

use cases::{BASE, Case, ERRORS, LINTS};
use std::{fmt::Write as _, path::Path};
use tollgate::{
    config,
    model::{Problems, Severity},
};

/// The variables of the test's environment.
fn env(name: &str) -> Option<String> {
    matches!(name, "CRM_TOKEN" | "CRM_ADMIN_TOKEN" | "HOOK_SECRET")
        .then(|| format!("value-of-{name}-and-some-more"))
}

/// The base bundle with the changes of a case.
fn write(folder: &Path, case: &Case) {
    std::fs::create_dir(folder.join("policies")).unwrap();
    let mut changed = false;
    for (file, text) in BASE {
        let mut text = (*text).to_owned();
        for (from, to) in case.changes.iter().filter(|_| *file == case.file) {
            assert!(text.contains(from), "{}: `{from}` is not in {file}", case.name);
            text = if from.is_empty() { (*to).to_owned() } else { text.replacen(from, to, 1) };
            changed = true;
        }
        if !(case.changes.is_empty() && *file == case.file) {
            std::fs::write(folder.join(file), text).unwrap();
        }
    }
    // A file of its own.
    if !changed && let [("", text)] = case.changes {
        std::fs::write(folder.join(case.file), text).unwrap();
    }
}

fn check(case: &Case) -> (Problems, String) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), case);
    let problems = match config::load(&folder.path().join("servers.toml"), &env) {
        Ok(loaded) => loaded.lints,
        Err(problems) => problems,
    };
    let rendered = config::render(&problems, &|name| std::fs::read_to_string(name).ok());
    let root = format!("{}/", folder.path().display());
    (problems, rendered.replace(&root, ""))
}

/// What parsers say among themselves and an admin should not have to read.
const JARGON: &[&str] = &[
    "not YAML",
    "not TOML",
    "EOF",
    "mismatched input",
    "unexpected token",
    "simple key",
    "flow ",
    "scalar",
    "token recognition",
    "literal expression",
    "cannot be read as YAML:",
    "cannot be read as TOML:",
    "block mapping",
];

fn golden(cases: &[Case], severity: Severity, expect: &str) {
    let mut out = String::new();
    let mut bad = Vec::new();
    for case in cases {
        let (problems, rendered) = check(case);
        let right = problems.0.iter().filter(|problem| problem.severity == severity).count();
        let first = rendered.lines().next().unwrap_or_default();
        let word = if severity == Severity::Error { "error" } else { "lint" };
        let place = first.split(&format!(": {word}: ")).next().unwrap_or_default();
        let form =
            place.rsplit(':').take(2).all(|number| number.parse::<u32>().is_ok_and(|number| number > 0));
        if right != 1 || problems.0.len() != 1 {
            bad.push(format!("{}: {} problems:\n{rendered}", case.name, problems.0.len()));
        } else if !form || problems.0[0].expected.is_empty() || problems.0[0].message.is_empty() {
            bad.push(format!("{}: no place or no proposal:\n{rendered}", case.name));
        } else if let Some(word) = JARGON.iter().find(|word| rendered.contains(**word)) {
            bad.push(format!("{}: `{word}` in:\n{rendered}", case.name));
        }
        let body = rendered.lines().filter(|line| !line.ends_with(" lint") && !line.ends_with(" lints"));
        writeln!(out, "## {}\n", case.name).unwrap();
        for line in body {
            writeln!(out, "{line}").unwrap();
        }
    }
    assert!(bad.is_empty(), "{} of {}:\n{}", bad.len(), cases.len(), bad.join("\n"));
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken_bundles"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(expect, out));
}

/// The bundle that the cases break is right: what they show is what they broke.
#[test]
fn the_base_is_clean() {
    let (problems, rendered) = check(&Case { name: "base", file: "", changes: &[("", "")] });
    assert!(problems.0.is_empty(), "{rendered}");
}

/// R65: each error is one, at its place, with what would have been right.
#[test]
fn errors_are_told_in_words_of_the_file() {
    assert!(ERRORS.len() >= 50, "{}", ERRORS.len());
    golden(ERRORS, Severity::Error, "errors");
}

/// R5, R18, R60, R65, R66: each of the anti-patterns is a lint of its own.
#[test]
fn anti_patterns_are_lints() {
    golden(LINTS, Severity::Lint, "lints");
}
