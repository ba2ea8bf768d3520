//! The house's own law: which room may import which, and what may stand where. A wrong import fails here, with
//! the rule, the file and the line.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

#[path = "architecture/circles.rs"]
mod circles;
#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/scan.rs"]
mod scan;

use rules::{LONG_FILES, check_all};
use std::path::{Path, PathBuf};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    files_of("rs", folder, found);
}

fn files_of(kind: &str, folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("node_modules") {
            files_of(kind, &path, found);
        } else if path.extension().is_some_and(|e| e == kind) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    files(&root.join("src"), &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn the_house_keeps_its_law() {
    let sources = sources();
    assert!(sources.len() > 30, "the sources were not found");
    let violations = check_all(&sources);
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn exceptions_are_still_needed() {
    let sources = sources();
    let mut stale = Vec::new();
    for (name, reason) in LONG_FILES {
        assert!(!reason.is_empty(), "{name}: an exception needs a reason");
        let long = |(file, text): &(String, String)| {
            file == name && rules::product_lines(file, text) > rules::MAX_LINES
        };
        if !sources.iter().any(long) {
            stale.push(*name);
        }
    }
    assert!(
        stale.is_empty(),
        "not longer than {} lines, take them off the list: {stale:?}",
        rules::MAX_LINES
    );
}

#[test]
fn no_files_of_a_room_import_each_other_in_a_circle() {
    let wrong = circles::check(&sources(), circles::KNOWN);
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn a_circle_is_named() {
    let check = |files: &[(&str, &str)], known: &[(&[&str], &str)], expect: &[&str]| {
        let files: Vec<(String, String)> =
            files.iter().map(|(name, text)| (format!("src/{name}.rs"), (*text).to_owned())).collect();
        assert_eq!(circles::check(&files, known), expect, "{files:?}");
    };
    let of = |names: &str| format!("circle: these files import each other: {names}");
    let two = of("src/store/a.rs, src/store/b.rs");
    check(&[("store/a", "use super::b::B;"), ("store/b", "use crate::store::a::A;")], &[], &[&two]);
    check(&[("store/a", "use super::b::B;"), ("store/b", "")], &[], &[]);
    check(
        &[("store/a", "fn f() { super::b::f() }"), ("store/b", "use super::{c, a::{A, X}};")],
        &[],
        &[&two],
    );
    // Over a third one, and over what the folder exports.
    let three = of("src/store/a.rs, src/store/b.rs, src/store/c.rs");
    let exported = ("store/mod", "mod a; mod b; mod c; pub use a::{A, f as g}; pub use c::*;");
    let b = ("store/b", "use super::C;");
    let c = ("store/c", "use super::A; pub struct C;");
    check(&[exported, ("store/a", "use super::b::B; pub struct A;"), b, c], &[], &[&three]);
    // A folder's own file uses what lies in it, and what lies in it uses the frame.
    check(
        &[("store/mod", "mod a; use a::A; pub struct S;"), ("store/a", "use super::S; pub struct A;")],
        &[],
        &[],
    );
    let folder = of("src/store/b.rs, src/store/c.rs, src/store/c/d.rs");
    check(
        &[
            ("store/b", "use super::c::C;"),
            ("store/c", "mod d; use d::D;"),
            ("store/c/d", "use crate::store::b::B;"),
        ],
        &[],
        &[&folder],
    );
    // Tests reach further.
    let tested = "#[cfg(test)]\nmod tests { use super::super::b::B; }";
    check(&[("store/a", tested), ("store/b", "use super::a::A;")], &[], &[]);
    check(
        &[("store/a", "mod inner { use super::super::b::B; }"), ("store/b", "use super::a::A;")],
        &[],
        &[&two],
    );
    // What is known stands, and goes off the list when it is gone.
    let known: &[(&[&str], &str)] = &[(&["src/store/a.rs", "src/store/b.rs"], "for now")];
    check(&[("store/a", "use super::b::B;"), ("store/b", "use super::a::A;")], known, &[]);
    let gone = |name: &str| {
        format!("circle: `{name}` is in none any more, take it off the list in tests/architecture/circles.rs")
    };
    check(
        &[("store/a", "use super::b::B;"), ("store/b", "")],
        known,
        &[&gone("src/store/a.rs"), &gone("src/store/b.rs")],
    );
}

/// Each limit in docs/limits.md and each attack in docs/attacks.md names tests, and the tests are there.
#[test]
fn the_limits_and_the_attacks_have_their_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "tests"] {
        files(&root.join(folder), &mut paths);
    }
    files_of("py", &root.join("tests"), &mut paths);
    let code: String = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for (page, columns) in [("docs/limits.md", 4), ("docs/attacks.md", 3)] {
        let page = std::fs::read_to_string(root.join(page)).unwrap();
        let rows: Vec<&str> =
            page.lines().filter(|line| line.starts_with("| ") && !line.contains("| test |")).collect();
        assert!(rows.len() >= 20, "the tables were not found");
        for row in rows {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), columns, "the last column names tests: {row}");
            for test in cells[columns - 1].split(", ") {
                let name = test.trim_matches('`');
                let is_there = ["fn", "def"].iter().any(|word| {
                    code.contains(&format!("\n{word} {name}(")) || code.contains(&format!(" {word} {name}("))
                });
                assert!(!name.is_empty() && is_there, "no test `{name}`: {row}");
            }
        }
    }
}

/// The numbers of requirements in a line of a test: `R2`, `R31 to R34`.
fn cited(line: &str) -> Vec<u32> {
    let words: Vec<&str> =
        line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let number = |word: &str| word.strip_prefix('R').filter(|n| n.len() <= 3)?.parse::<u32>().ok();
    let mut found = std::collections::BTreeSet::new();
    for (at, word) in words.iter().enumerate() {
        let Some(first) = number(word) else { continue };
        let range = words.get(at + 1).is_some_and(|word| *word == "to");
        let last = words.get(at + 2).and_then(|word| number(word)).filter(|_| range);
        found.extend(first..=last.unwrap_or(first));
    }
    found.into_iter().collect()
}

/// Each requirement in docs/requirements.md is cited by a test or says what is missing, and nothing else is cited.
#[test]
fn the_requirements_have_their_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/requirements.md")).unwrap();
    let mut tests: Vec<(String, String)> = sources();
    tests.retain_mut(|(name, text)| {
        let from = if name.contains("tests") { Some(0) } else { text.find("#[cfg(test)]") };
        *text = from.map(|from| text.split_off(from)).unwrap_or_default();
        from.is_some()
    });
    let mut paths = Vec::new();
    files(&root.join("tests"), &mut paths);
    let texts = paths.iter().filter(|path| !path.ends_with("architecture.rs")).map(|path| {
        (path.strip_prefix(root).unwrap().display().to_string(), std::fs::read_to_string(path).unwrap())
    });
    tests.extend(texts);
    let mut by_number = std::collections::BTreeMap::<u32, String>::new();
    for (name, text) in &tests {
        for line in text.lines() {
            by_number.extend(cited(line).into_iter().map(|number| (number, name.clone())));
        }
    }
    let mut wrong = Vec::new();
    let mut rows = 0;
    for row in page.lines().filter(|line| line.starts_with("| R")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 3, "number, requirement, not yet: {row}");
        let number: u32 = cells[0].trim_start_matches("R").parse().unwrap();
        rows += 1;
        match (by_number.remove(&number), cells[2].trim_end_matches('|').trim()) {
            (None, "") => wrong.push(format!("R{number}: no test cites it, and its row has no excuse")),
            (Some(test), excuse) if !excuse.is_empty() => {
                wrong.push(format!("R{number}: {test} cites it, so its excuse goes: {excuse}"));
            }
            (Some(_), _) | (None, _) => {}
        }
    }
    assert!(rows >= 100, "the table was not found");
    wrong.extend(
        by_number.iter().map(|(number, test)| format!("R{number}: cited by {test}, and not in the table")),
    );
    assert!(wrong.is_empty(), "docs/requirements.md:\n{}", wrong.join("\n"));
    assert_eq!(cited("/// R2, I7, R31 to R33: R1x, R, SR5"), [2, 31, 32, 33]);
}

/// Each test that docs/compliance.toml names is there, as a test (R88).
#[test]
fn the_compliance_table_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = tollgate::audit::Compliance::read().unwrap();
    let mut texts = std::collections::BTreeMap::<String, Option<String>>::new();
    let mut wrong = Vec::new();
    for row in &table.requirements {
        for test in &row.tests {
            let (file, name) = test.split_once("::").unwrap_or((test, ""));
            let text = texts
                .entry(file.to_owned())
                .or_insert_with(|| std::fs::read_to_string(root.join(file)).ok())
                .as_deref()
                .unwrap_or_default();
            if !is_test(text, name) {
                wrong.push(format!("{} {}: there is no test `{test}`", row.standard, row.reference));
            }
        }
    }
    assert!(wrong.is_empty(), "docs/compliance.toml:\n{}", wrong.join("\n"));
    assert!(is_test("#[test]\nfn a() {", "a") && is_test("async def test_b(page):", "test_b"));
    assert!(
        !is_test("fn a() {", "a") && !is_test("#[test]\nfn ab() {", "a") && !is_test("def help():", "help")
    );
}

/// Whether a file has a test of this name: of Rust with its attribute, of Python by its name.
fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    lines.iter().enumerate().any(|(at, line)| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        if let Some(rest) = line.strip_prefix(&format!("def {name}")) {
            return rest.starts_with('(') && name.starts_with("test_");
        }
        let Some(rest) = line.strip_prefix(&format!("fn {name}")) else { return false };
        let above =
            lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        rest.starts_with('(')
            && above.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

/// Checks one invented file; `expect` is the start of each message, in order.
fn check(file: &str, text: &str, expect: &[&str]) {
    let text = format!("//! Says why.\n{text}");
    let found = check_all(&[(file.to_owned(), text.clone())]);
    assert_eq!(found.len(), expect.len(), "{file}:\n{text}\n{found:#?}");
    for (found, expect) in found.iter().zip(expect) {
        assert!(found.starts_with(expect), "expected `{expect}`, found `{found}`");
    }
}

#[test]
fn imports_only_go_down() {
    check("src/gateway/mod.rs", "use crate::store::Store;", &[]);
    check("src/store/mod.rs", "use crate::gateway::Gateway;", &["src/store/mod.rs:2: floors:"]);
    check("src/store/mod.rs", "use crate::{model::A,\n  front::{B, C}};", &["src/store/mod.rs:3: floors:"]);
    check("src/store/mod.rs", "fn f() { crate::cli::run(); }", &["src/store/mod.rs:2: floors:"]);
    check("src/policy/types.rs", "use super::super::gateway::X;", &["src/policy/types.rs:2: floors:"]);
    check("src/policy/types.rs", "use super::condition::Condition;", &[]);
    check("src/policy/condition/eval.rs", "use super::super::types::X;", &[]);
    check(
        "src/policy/condition/eval.rs",
        "use super::super::super::store::X;",
        &["src/policy/condition/eval.rs:2: floors:"],
    );
    check(
        "src/policy/mod.rs",
        "mod inner { use super::super::store::X; }",
        &["src/policy/mod.rs:2: floors:"],
    );
    check("src/policy/mod.rs", "mod inner { use super::types::X; }", &[]);
    check("src/policy/mod.rs", "pub(crate) mod a { pub(super) fn f() {} }", &[]);
    check("src/clock.rs", "use super::config::X;", &["src/clock.rs:2: floors:"]);
    check("src/main.rs", "fn main() { tollgate::cli::run() }", &[]);
}

#[test]
fn rooms_of_one_floor_do_not_meet() {
    check(
        "src/identity/mod.rs",
        "use crate::approval::X;",
        &["src/identity/mod.rs:2: floors: `identity` (floor 7)"],
    );
    check("src/redaction/mod.rs", "use crate::cost::X;", &["src/redaction/mod.rs:2: floors:"]);
    check("src/identity/mod.rs", "use crate::identity::X;", &[]);
}

#[test]
fn no_way_round_the_floors() {
    check(
        "src/model/mod.rs",
        "use crate as house;",
        &["src/model/mod.rs:2: floors: `crate` is imported under another name"],
    );
    check("src/model/mod.rs", "extern crate self as house;", &["src/model/mod.rs:2: floors:"]);
    check("src/model/mod.rs", "use crate::*;", &["src/model/mod.rs:2: floors:"]);
    check("src/model/mod.rs", "use crate::{self as x};", &["src/model/mod.rs:2: floors:"]);
    check("src/model/mod.rs", "#[path = \"../x.rs\"] mod x;", &["src/model/mod.rs:2: paths:"]);
    check("src/model/mod.rs", "include!(\"x.rs\");", &["src/model/mod.rs:2: paths:"]);
    check("src/attic/mod.rs", "", &["src/attic/mod.rs:1: floors: `attic` is in no floor"]);
}

#[test]
fn text_and_comments_are_no_code() {
    check(
        "src/model/mod.rs",
        "// crate::cli::run()\n/* crate::store /* nested */ rmcp */\n/// [`crate::gateway`]\nconst A: &str = \"use crate::front;\";\n\
         const B: &str = r#\"rmcp \" axum\"#;\nconst C: char = '\"';\nfn f<'a>(x: &'a str) -> &'a str { x }\nconst D: &[u8] = b\"rusqlite\";",
        &[],
    );
    check(
        "src/model/mod.rs",
        "const A: char = '\\'';\nuse crate::store::X;",
        &["src/model/mod.rs:3: floors:"],
    );
}

#[test]
fn libraries_stay_in_their_rooms() {
    check("src/gateway/mod.rs", "use rmcp::model::Tool;", &["src/gateway/mod.rs:2: rmcp:"]);
    check("src/upstream/stdio.rs", "use rmcp::model::Tool;", &[]);
    check("src/cli/demo_upstream.rs", "use rmcp::ServerHandler;", &[]);
    check("src/cli/serve.rs", "use ::rmcp::ServerHandler;", &["src/cli/serve.rs:2: rmcp:"]);
    check("src/audit/mod.rs", "use rusqlite::Connection;", &["src/audit/mod.rs:2: sql:"]);
    check("src/store/embedded/mod.rs", "use rusqlite::Connection;", &[]);
    check("src/audit/mod.rs", "const Q: &str = \"SELECT seq FROM events\";", &["src/audit/mod.rs:2: sql:"]);
    check("src/audit/mod.rs", "const Q: &str = \"Select a model\";", &[]);
    check("src/cli/serve.rs", "fn f(r: axum::Router) {}", &["src/cli/serve.rs:2: axum:"]);
    check("src/front/admin/mod.rs", "use axum::Router;", &[]);
    check("src/cli/serve.rs", "use opentelemetry_sdk::Resource;", &["src/cli/serve.rs:2: otel:"]);
    check("src/telemetry/otlp.rs", "use opentelemetry_sdk::Resource;", &[]);
}

#[test]
fn only_admission_makes_a_permit() {
    check(
        "src/gateway/admit.rs",
        "pub struct Permit { call: u8 }\nfn f() -> Permit { Permit { call: 1 } }",
        &[],
    );
    check("src/gateway/dispatch/mod.rs", "fn f(p: Permit) -> u8 { 1 }", &[]);
    check(
        "src/gateway/call.rs",
        "use super::admit::Permit;",
        &["src/gateway/call.rs:2: permit: only gateway/dispatch/ consumes"],
    );
    check(
        "src/gateway/dispatch/mod.rs",
        "fn f() -> Permit {\n Permit { call: 1 }\n}",
        &["src/gateway/dispatch/mod.rs:3: permit:"],
    );
    check("src/gateway/mod.rs", "fn f() { Permit::forge() }", &["src/gateway/mod.rs:2: permit:"]);
    check("src/gateway/mod.rs", "pub struct Permit(u8);", &["src/gateway/mod.rs:2: permit:"]);
    check(
        "src/gateway/admit.rs",
        "#[derive(Clone, Debug)]\npub struct Permit { call: u8 }",
        &["src/gateway/admit.rs:2: permit:"],
    );
    check("src/gateway/admit.rs", "pub struct Permit { pub call: u8 }", &["src/gateway/admit.rs:2: permit:"]);
    check("src/gateway/admit.rs", "impl Clone for Permit {}", &["src/gateway/admit.rs:2: permit:"]);
    check("src/gateway/api.rs", "impl Default for Permit {}", &["src/gateway/api.rs:2: permit:"]);
}

#[test]
fn only_dispatch_calls_an_upstream() {
    check("src/gateway/dispatch/converse.rs", "fn f(u: U) { u.call(UpstreamRequest { a: 1 }, r); }", &[]);
    check(
        "src/gateway/mod.rs",
        "use crate::upstream::UpstreamRequest;",
        &["src/gateway/mod.rs:2: dispatch:"],
    );
    check("src/gateway/mod.rs", "fn f() { Upstream::call(&u, q, r); }", &["src/gateway/mod.rs:2: dispatch:"]);
    check(
        "src/front/mod.rs",
        "use crate::upstream::{Era, UpstreamRequest as R};",
        &["src/front/mod.rs:2: dispatch:"],
    );
    check("src/upstream/stdio.rs", "fn f(r: UpstreamRequest) {}", &[]);
}

#[test]
fn only_evidence_builds_records() {
    let make = "fn f(now: T) -> EventDraft { EventDraft::system(EventType::Alert, now) }";
    check("src/evidence/other.rs", make, &[]);
    check("src/gateway/activation.rs", make, &[]);
    check("src/gateway/call.rs", make, &["src/gateway/call.rs:2: records:"]);
    check("src/store/embedded/calls.rs", "fn f(t: &str) { EventDraft::from_body(t); }", &[]);
}

#[test]
fn the_core_is_pure() {
    let check = |text: &str, expect: &[&str]| check("src/decision/decide.rs", text, expect);
    check("async fn f() {}", &["src/decision/decide.rs:2: pure:"]);
    check("fn f() { x.await }", &["src/decision/decide.rs:2: pure:"]);
    check("use tokio::sync::Mutex;", &["src/decision/decide.rs:2: pure:"]);
    check("use std::{sync::Arc,\n fs};", &["src/decision/decide.rs:3: pure:"]);
    check("use std::env;", &["src/decision/decide.rs:2: pure:"]);
    check("fn f() { std::env::var(\"X\"); }", &["src/decision/decide.rs:2: pure:"]);
    check("use std::time::Instant;", &["src/decision/decide.rs:2: pure:"]);
    check("use std::time::Duration;", &[]);
    check("fn f() { jiff::Timestamp::now(); }", &["src/decision/decide.rs:2: pure:"]);
    check("fn f() { Timestamp::now(); }", &["src/decision/decide.rs:2: pure:"]);
    check("use getrandom::fill;", &["src/decision/decide.rs:2: pure:"]);
    check("use std::{net::TcpStream};", &["src/decision/decide.rs:2: pure:"]);
    check("#[cfg(test)]\nmod tests { use std::fs; async fn f() {} }", &[]);
    check(
        "#[cfg(test)]\nmod tests { fn f() { if a { b } } }\nuse std::fs;",
        &["src/decision/decide.rs:4: pure:"],
    );
    super_pure();
}

fn super_pure() {
    check("src/store/embedded/mod.rs", "use std::fs; async fn f() {}", &[]);
    check("src/policy/tests.rs", "use std::fs;", &[]);
    check("src/policy/condition/tests/x.rs", "use std::fs;", &[]);
}

#[test]
fn files_say_why_and_stay_short() {
    let found = check_all(&[("src/model/x.rs".to_owned(), "use std::fmt;\n".to_owned())]);
    assert!(found[0].starts_with("src/model/x.rs:1: header:"), "{found:?}");
    let long = format!("//! Why.\n{}", "const A: u8 = 1;\n".repeat(rules::MAX_LINES));
    let found = check_all(&[("src/model/x.rs".to_owned(), long)]);
    assert!(found[0].starts_with("src/model/x.rs:1: length:"), "{found:?}");
    let tested = format!(
        "//! Why.\n#[cfg(test)]\nmod tests {{\n{}}}\n",
        "const A: u8 = 1;\n".repeat(rules::MAX_LINES)
    );
    assert!(check_all(&[("src/model/x.rs".to_owned(), tested)]).is_empty());
}

#[test]
fn functions_stay_short_or_say_why() {
    let body = |lines: usize| format!("fn long(\n) {{\n{}}}", "    x();\n".repeat(lines));
    let most = rules::MAX_FUNCTION - 3;
    check("src/model/x.rs", &body(most), &[]);
    check("src/model/x.rs", &body(most + 1), &["src/model/x.rs:2: function: `long` has 81 lines"]);
    check("src/model/x.rs", &format!("// Long: one arm each.\n{}", body(most + 1)), &[]);
    check("src/model/x.rs", &format!("// Long:\n{}", body(most + 1)), &["src/model/x.rs:3: function:"]);
    check(
        "src/model/x.rs",
        &format!("// Long: no.\n{}", body(1)),
        &["src/model/x.rs:3: function: `long` has 4 lines and needs no reason"],
    );
    check(
        "src/model/x.rs",
        &format!("trait T {{ fn f(a: [u8; 2]);\n}}\n{}", "const A: u8 = 1;\n".repeat(99)),
        &[],
    );
    check("src/model/x.rs", &format!("#[cfg(test)]\nmod tests {{ {} }}", body(most + 1)), &[]);
}

/// A walk whose hops lead nowhere helps nobody.
#[test]
fn links_of_the_architecture_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let links: Vec<&str> = page
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.starts_with("http"))
        .collect();
    assert!(links.len() > 20, "the links were not found");
    let lost: Vec<&&str> =
        links.iter().filter(|link| !root.join(link.split('#').next().unwrap()).exists()).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
