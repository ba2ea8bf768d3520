//! The table of compliance: requirements of standards, how Tollgate meets them, the tests that show it, and what is missing. It is made
//! of `docs/compliance.toml`; a test holds the names of tests in it against those that there are.

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

const TABLE: &str = include_str!("../../docs/compliance.toml");

/// How far a requirement is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ComplianceStatus {
    /// Tests show it, and no gap is known.
    Met,
    /// Tests show a part of it.
    InPart,
    /// It is not built, or not Tollgate's to meet.
    NotMet,
}

impl ComplianceStatus {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::InPart => "in part",
            Self::NotMet => "not met",
        }
    }
}

/// One standard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standard {
    /// Its short name.
    pub id: String,
    /// Its name, with its version.
    pub title: String,
    /// What is to be said of the rows.
    #[serde(default)]
    pub note: Option<String>,
    /// Numbers were checked against the standard's own text.
    pub checked: bool,
}

/// One requirement.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    standard: String,
    #[serde(rename = "ref")]
    reference: String,
    asks: String,
    #[serde(default)]
    how: Option<String>,
    #[serde(default)]
    tests: Vec<String>,
    #[serde(default)]
    gap: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    standard: Vec<Standard>,
    requirement: Vec<Row>,
}

/// One requirement, with what is made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComplianceRow {
    /// The standard's short name.
    pub standard: String,
    /// The number of the requirement in it.
    #[serde(rename = "ref")]
    pub reference: String,
    /// What it asks, in our words.
    pub asks: String,
    /// How far it is met.
    pub status: ComplianceStatus,
    /// How.
    pub how: Option<String>,
    /// The tests that show it: file and name.
    pub tests: Vec<String>,
    /// What is missing, or is not Tollgate's to meet.
    pub gap: Option<String>,
}

/// The whole table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compliance {
    /// The version of Tollgate that it is about.
    pub version: &'static str,
    /// The standards, in order.
    pub standards: Vec<Standard>,
    /// The requirements, in the order of the standards.
    pub requirements: Vec<ComplianceRow>,
}

/// The file of a test, from its name in the table: tests in Python drive the binary.
fn whole(test: &str) -> String {
    let folder = if test.starts_with("src/") { "" } else { "tests/" };
    let ending = if ["sdk/", "page/"].iter().any(|python| test.starts_with(python)) { "py" } else { "rs" };
    match test.split_once("::") {
        Some((file, name)) => format!("{folder}{file}.{ending}::{name}"),
        None => test.to_owned(),
    }
}

impl Compliance {
    /// The table as this version of Tollgate has it; the error is a fault of the file that it is made of.
    pub fn read() -> Result<Self, String> {
        let File { standard, requirement } = toml::from_str(TABLE).map_err(|error| error.to_string())?;
        let requirements = requirement.into_iter().map(|row| {
            let status = match (row.tests.is_empty(), &row.gap) {
                (false, None) => ComplianceStatus::Met,
                (false, Some(_)) => ComplianceStatus::InPart,
                (true, _) => ComplianceStatus::NotMet,
            };
            ComplianceRow {
                standard: row.standard,
                reference: row.reference,
                asks: row.asks,
                status,
                how: row.how,
                tests: row.tests.iter().map(|test| whole(test)).collect(),
                gap: row.gap,
            }
        });
        let requirements = requirements.collect();
        Ok(Self { version: env!("CARGO_PKG_VERSION"), standards: standard, requirements })
    }

    /// The rows of one standard.
    pub fn of<'c>(&'c self, standard: &'c str) -> impl Iterator<Item = &'c ComplianceRow> {
        self.requirements.iter().filter(move |row| row.standard == standard)
    }

    /// How many rows of a standard are met, met in part, and not met.
    pub fn counts(&self, standard: &str) -> [usize; 3] {
        [ComplianceStatus::Met, ComplianceStatus::InPart, ComplianceStatus::NotMet]
            .map(|status| self.of(standard).filter(|row| row.status == status).count())
    }

    /// `docs/compliance.md`. Its texts are those of the file, which writes Markdown.
    pub fn markdown(&self) -> String {
        let mut out = INTRODUCTION.to_owned();
        // Writing to a String does not fail.
        self.write(&mut out).unwrap_or_default();
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "| standard | requirements | met | in part | not met |\n|---|---:|---:|---:|---:|")?;
        for Standard { id, title, .. } in &self.standards {
            let [met, part, not] = self.counts(id);
            writeln!(out, "| [{title}](#{id}) | {} | {met} | {part} | {not} |", met + part + not)?;
        }
        for Standard { id, title, note, checked } in &self.standards {
            writeln!(out, "\n<a id=\"{id}\"></a>\n\n## {title}")?;
            if let Some(note) = note {
                writeln!(out, "\n{note}")?;
            }
            if !checked {
                writeln!(
                    out,
                    "\nThe text of the standard was not at hand: hold the numbers against your copy."
                )?;
            }
            writeln!(
                out,
                "\n| | asks | status | how Tollgate meets it | gap | tests |\n|---|---|---|---|---|---|"
            )?;
            for row in self.of(id) {
                let tests: Vec<String> = row.tests.iter().map(|test| format!("`{test}`")).collect();
                let cell = |text: &Option<String>| text.as_deref().unwrap_or("").replace('|', "\\|");
                writeln!(
                    out,
                    "| {} | {} | {} | {} | {} | {} |",
                    row.reference,
                    row.asks.replace('|', "\\|"),
                    row.status.as_str(),
                    cell(&row.how),
                    cell(&row.gap),
                    tests.join("<br>")
                )?;
            }
        }
        Ok(())
    }
}

const INTRODUCTION: &str = "\
# Compliance

What standards ask, how Tollgate meets it, and the tests that show it. This page is generated (`tollgate report compliance --markdown`) from
[compliance.toml](compliance.toml); the build fails where a named test does not exist, or where a row has neither tests nor a gap.

*Met*: tests show it, and no gap is known. *In part*: tests show a part, and the gap is named. *Not met*: not built, or not Tollgate's to meet.
The requirements are told in our own words; what counts is the standard's text. Tests show what a program does, and not how it is run: no row
says that an organization complies.

";

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row is of a known standard, stands once, and has tests with a way or a gap (R88).
    #[test]
    fn every_row_is_shown_or_has_a_gap() {
        let table = Compliance::read().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for row in &table.requirements {
            let name = format!("{} {}", row.standard, row.reference);
            assert!(table.standards.iter().any(|standard| standard.id == row.standard), "{name}");
            assert!(seen.insert(name.clone()), "{name} stands twice");
            assert!(!row.asks.is_empty());
            match row.status {
                ComplianceStatus::NotMet => assert!(row.gap.is_some(), "{name}: neither tests nor a gap"),
                ComplianceStatus::Met | ComplianceStatus::InPart => {
                    assert!(row.how.is_some(), "{name}: tests, and no word on how");
                }
            }
        }
        for standard in &table.standards {
            assert!(table.of(&standard.id).count() > 0, "{} has no row", standard.id);
        }
        assert_eq!(whole("it/freeze::a"), "tests/it/freeze.rs::a");
        assert_eq!(whole("sdk/test_proof::a"), "tests/sdk/test_proof.py::a");
        assert_eq!(whole("src/audit/tests::a"), "src/audit/tests.rs::a");
    }

    /// The page in the repository is the table as it is.
    #[test]
    fn the_page_is_generated() {
        let table = Compliance::read().unwrap().markdown();
        let page = include_str!("../../docs/compliance.md");
        assert!(table == page, "docs/compliance.md is not `tollgate report compliance --markdown`");
    }
}
