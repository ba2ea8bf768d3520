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
use std::{collections::BTreeMap, fmt::Write as _, path::Path};
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
    let mut files: BTreeMap<&str, String> =
        BASE.iter().map(|(file, text)| (*file, (*text).to_owned())).collect();
    if case.changes.is_empty() {
        files.remove(case.file);
    }
    for (from, to) in case.changes {
        if from.is_empty() {
            files.insert(case.file, (*to).to_owned());
            continue;
        }
        // In its own file, or what goes with it in another.
        let own = files.get(case.file).is_some_and(|text| text.contains(from));
        let other = || BASE.iter().find(|(_, text)| text.contains(from)).map(|(file, _)| *file);
        let file = if own { Some(case.file) } else { other() };
        let file = file.unwrap_or_else(|| panic!("{}: `{from}` is nowhere", case.name));
        let text = files[file].replacen(from, to, 1);
        files.insert(file, text);
    }
    for (file, text) in files {
        std::fs::write(folder.join(file), text).unwrap();
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
    " flow ",
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
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken_bundles"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(expect, out));
    assert!(bad.is_empty(), "{} of {}:\n{}", bad.len(), cases.len(), bad.join("\n"));
}

/// The bundle that the cases break is right: what they show is what they broke.
#[test]
fn the_base_is_clean() {
    let (problems, rendered) = check(&Case { name: "base", file: "none", changes: &[] });
    assert!(problems.0.is_empty(), "{rendered}");
}

/// What is unusual and means the same.
#[test]
fn what_is_unusual_and_right_is_taken() {
    let check = |file: &'static str, from: &'static str, to: &'static str| {
        let changes: &'static [(&str, &str)] = Vec::leak(vec![(from, to)]);
        let (problems, rendered) = check(&Case { name: "right", file, changes });
        assert!(problems.0.is_empty(), "{to}: {rendered}");
    };
    check("policies/production.yaml", "name: production", "\u{feff}name: production");
    check("servers.toml", "[gateway]", "\u{feff}[gateway]");
    check("policies/production.yaml", "name: production\n", "name: production\r\n");
    check("policies/production.yaml", "name: production\n", "---\nname: production\n");
    check("policies/production.yaml", "    decision: ALLOW\n", "    decision: ALLOW\n...\n");
    check(
        "policies/authority.yaml",
        "    role: writer\n",
        "    role: writer\n    attended: TRUE\n    operator: alice\n",
    );
    check("policies/production.yaml", "approvers: [leads]", "approvers: &who [leads]");
    check("policies/production.yaml", "    decision: ALLOW\n", "    decision:\n      ALLOW\n");
    check("policies/production.yaml", "\"within(args.path, '/scratch')\"", "within(args.path, '/scratch')");
    check(
        "policies/production.yaml",
        "\"within(args.path, '/scratch')\"",
        "|\n      within(args.path,\n      '/scratch')",
    );
    check("policies/production.yaml", "label: write", "label: \"write\" # writes");
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
