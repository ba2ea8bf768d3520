//! What README.md and docs/ show is so: their commands are run, page by page, their files fit the schemas, their conditions
//! compile, their links lead somewhere. A page says in comments, which readers do not see, what its commands need:
//!
//! - `<!-- folder: empty -->`: its commands begin in an empty folder; else in one with the shipped servers.toml and policies/.
//! - `<!-- serve: -->`: a gateway runs from here on.
//! - `<!-- call: KEY TOOL ARGUMENTS -->`: an agent calls a tool.
//! - `<!-- set: NAME = ARGUMENTS | /pointer -->`: from here on NAME in a command is a value of what `tollgate ARGUMENTS` prints.
//! - `<!-- until: COMMAND -->`: it is tried until it succeeds.
//! - `<!-- run: COMMAND -->`: is run like a command that is shown.
//!
//! A block of `sh` or `console` is run. The words after that: `background` (its last command goes on; it is a gateway that is
//! waited for), `fails`, and `no-run: REASON` (its `tollgate` commands are held against the help). `console` shows what comes out,
//! with `…` for what differs. `toml KIND` and `yaml KIND` name the schema of a block.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

#[path = "binary/mod.rs"]
mod binary;
#[path = "docs/files.rs"]
mod files;
#[path = "docs/links.rs"]
mod links;
#[path = "docs/page.rs"]
mod page;
#[path = "docs/run.rs"]
mod run;

use page::{Page, Part};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Mutex,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn markdown(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            markdown(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            found.push(path);
        }
    }
}

/// README.md and all pages.
fn pages() -> Vec<Page> {
    let mut paths = vec![root().join("README.md")];
    markdown(&root().join("docs"), &mut paths);
    paths.sort();
    paths.iter().map(|path| Page::read(path)).collect()
}

#[test]
fn commands_do_what_the_pages_say() {
    let pages: Vec<Page> = pages().into_iter().filter(Page::has_commands).collect();
    let only = std::env::var("DOCS_PAGE").ok();
    let pages: Vec<Page> =
        pages.into_iter().filter(|page| only.as_ref().is_none_or(|only| page.name.contains(only))).collect();
    assert!(!pages.is_empty());
    let (next, wrong) = (Mutex::new(pages.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(page) = next.lock().unwrap().next() else { break };
                    if let Err(said) = run::page(page) {
                        wrong.lock().unwrap().push(said);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What is not run says why, and its commands are there.
#[test]
fn commands_that_are_not_run_exist() {
    let mut wrong = Vec::new();
    for page in pages() {
        for block in page.blocks().filter(|block| block.is_command() && block.excuse().is_some()) {
            writeln!(std::io::stderr(), "{}: not run: {}", block.place, block.excuse().unwrap()).ok();
            if block.excuse().is_none_or(|reason| reason.len() < 10) {
                wrong.push(format!("{}: say why it is not run", block.place));
            }
            wrong
                .extend(run::unknown(&block.text).into_iter().map(|what| format!("{}: {what}", block.place)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// So do those that a sentence names.
#[test]
fn commands_in_sentences_exist() {
    let mut wrong = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(root().join(&page.name)).unwrap();
        for (index, line) in links::prose(&text) {
            for span in line.split('`').skip(1).step_by(2).filter(|span| span.starts_with("tollgate ")) {
                let unknown = run::unknown(span);
                wrong.extend(unknown.into_iter().map(|what| format!("{}:{}: {what}", page.name, index + 1)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every block says what it is, and a file, or a part of one, is what its schema takes.
#[test]
fn files_in_pages_fit_their_schemas() {
    let mut wrong = Vec::new();
    for page in pages() {
        wrong.extend(
            page.blocks()
                .filter_map(|block| files::fault(block).map(|said| format!("{}: {said}", block.place))),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn links_lead_somewhere() {
    let mut paths =
        vec![root().join("README.md"), root().join("ARCHITECTURE.md"), root().join("CHANGELOG.md")];
    markdown(&root().join("docs"), &mut paths);
    let wrong: Vec<String> = paths.iter().flat_map(|path| links::dead(path)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A newcomer reads it in some minutes, and comes to every page from it.
#[test]
fn the_readme_is_short_and_every_page_is_in_the_index() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.len() < 12_000, "{} bytes", readme.len());
    assert!(readme.contains("docs/README.md"));
    let index = std::fs::read_to_string(root().join("docs/README.md")).unwrap();
    let mut paths = Vec::new();
    markdown(&root().join("docs"), &mut paths);
    for path in paths {
        let name = path.strip_prefix(root().join("docs")).unwrap().display().to_string();
        assert!(
            name == "README.md" || index.contains(&format!("({name})")),
            "docs/README.md does not name {name}"
        );
    }
    assert!(pages().iter().any(|page| page.parts.iter().any(|part| matches!(part, Part::Set(_)))));
}
