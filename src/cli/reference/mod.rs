//! docs/reference: pages that are made of what the program itself goes by, so that none of them can say something else.
//! `UPDATE_DOCS=1 cargo test --lib reference` writes them.

mod api;
mod commands;
mod defaults;
mod schemas;

use super::args::SchemaOf;
use crate::policy::condition::reference as conditions;
use std::{fmt::Write as _, path::Path};

/// A cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// What stands at the head of each page.
fn head(title: &str, source: &str) -> String {
    format!("# {title}\n\nThis page is made from {source}. [All pages](../README.md)\n\n")
}

fn servers() -> String {
    let mut page = head(
        "servers.toml",
        "[schemas/servers.json](../../schemas/servers.json) (`tollgate schema servers`)",
    );
    page.push_str("How to write it, variables and secrets: [Configure](../configure.md). Relative paths count from the file's folder.\n\n");
    schemas::Page::new(schemas::Form::Toml).file(&mut page, SchemaOf::Servers, "servers.toml");
    page
}

fn bundle() -> String {
    let mut page = head(
        "The policy bundle",
        "the schemas in [schemas](../../schemas) (`tollgate schema bundle` and so on)",
    );
    page.push_str("The folder `[gateway] policies` holds these files, and any number of [gates and rulebooks](policy-language.md). ");
    page.push_str("Only bundle.yaml and authority.yaml must be there. Tests in `tests/*.yaml`: [Changing policies](../change-policies.md).\n\n");
    let mut files = schemas::Page::new(schemas::Form::Yaml);
    for (of, name) in [
        (SchemaOf::Bundle, "bundle.yaml"),
        (SchemaOf::Authority, "authority.yaml"),
        (SchemaOf::Budgets, "budgets.yaml"),
        (SchemaOf::Data, "data.yaml"),
        (SchemaOf::Prices, "prices.yaml"),
    ] {
        files.file(&mut page, of, name);
    }
    page
}

fn policy_language() -> String {
    let mut page = head(
        "The policy language",
        "the schemas in [schemas](../../schemas) and from what the compiler of conditions goes by",
    );
    page.push_str(
        "A policy file is a gate or a rulebook. How they work together: [Policies](../policies.md).\n\n",
    );
    let mut files = schemas::Page::new(schemas::Form::Yaml);
    files.file(&mut page, SchemaOf::Gate, "A gate");
    files.file(&mut page, SchemaOf::Rulebook, "A rulebook");
    write!(page, "## Conditions\n\n{}", conditions::section()).unwrap();
    page
}

fn events() -> String {
    let mut page = head("Events", "[schemas/event.json](../../schemas/event.json) (`tollgate schema event`)");
    page.push_str("How to read them: [The record](../record.md).\n\n");
    schemas::events(&mut page);
    page
}

/// The pages are what the program says. `UPDATE_DOCS=1` writes them.
#[test]
fn pages_are_what_the_program_goes_by() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference");
    let pages = [
        ("servers.md", servers()),
        ("bundle.md", bundle()),
        ("policy-language.md", policy_language()),
        ("events.md", events()),
        ("api.md", api::page()),
        ("cli.md", commands::page()),
    ];
    for (name, page) in pages {
        let (path, page) = (folder.join(name), format!("{}\n", page.trim_end()));
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(path, page).unwrap();
            continue;
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == page,
            "docs/reference/{name} is old: UPDATE_DOCS=1 cargo test --lib reference writes it"
        );
    }
}
