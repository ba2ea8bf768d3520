//! `tollgate report compliance`: needs no store and no servers.toml.

use super::{args::ComplianceArgs, failure::CliError, screen::Screen};
use crate::audit::{Compliance, ComplianceStatus};

/// Prints the table.
pub(super) fn compliance(args: &ComplianceArgs) -> Result<(), CliError> {
    let mut table = Compliance::read().map_err(CliError::Told)?;
    let mut screen = Screen::new();
    if args.markdown {
        return screen.raw(&table.markdown());
    }
    if let Some(wanted) = &args.standard {
        table.standards.retain(|standard| standard.id == *wanted);
        if table.standards.is_empty() {
            let known = Compliance::read().map_err(CliError::Told)?;
            let known: Vec<&str> = known.standards.iter().map(|standard| standard.id.as_str()).collect();
            return Err(CliError::Told(format!(
                "no standard is called `{wanted}`: expected one of {}",
                known.join(", ")
            )));
        }
        table.requirements.retain(|row| row.standard == *wanted);
    }
    let counts: Vec<[usize; 3]> = table.standards.iter().map(|standard| table.counts(&standard.id)).collect();
    if args.gaps {
        table.requirements.retain(|row| row.status != ComplianceStatus::Met);
    }
    if args.json.json {
        return screen.json(&table);
    }
    for (standard, [met, part, not]) in table.standards.iter().zip(counts) {
        screen.line(&format!(
            "{} ({})\n{met} met, {part} in part, {not} not met",
            standard.title, standard.id
        ))?;
        let rows: Vec<Vec<String>> = table
            .of(&standard.id)
            .map(|row| {
                vec![
                    row.reference.clone(),
                    row.status.as_str().to_owned(),
                    row.asks.clone(),
                    row.tests.len().to_string(),
                    row.gap.clone().unwrap_or_default(),
                ]
            })
            .collect();
        screen.table(&["", "status", "asks", "tests", "gap"], &rows, "no row")?;
        screen.line("")?;
    }
    screen.line("--markdown and --json name the tests, and how each requirement is met.")
}
