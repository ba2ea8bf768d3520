//! `tollgate check`: everything that is wrong in the files, at once.

use super::{
    args::JsonFlag,
    failure::CliError,
    screen::Screen,
    setup::{Setup, certified, exposed},
    wiring,
};
use crate::model::{Problem, Problems, Severity};
use serde_json::json;
use std::path::Path;

/// Reads all files; errors are exit code 1, lints are advice.
pub(super) fn check(path: &Path, flag: &JsonFlag) -> Result<(), CliError> {
    let mut screen = Screen::new();
    let checked = Setup::load(path)
        .and_then(|setup| exposed(path, &setup.loaded).map(|()| setup))
        .and_then(|setup| certified(path, &setup.loaded).map(|()| setup));
    let setup = match checked {
        Ok(setup) => setup,
        Err(CliError::Files { path, problems, .. }) if flag.json => {
            screen.json(&json!({
                "ok": false,
                "errors": of(&problems, Severity::Error),
                "lints": of(&problems, Severity::Lint),
                "policy_snapshot": null,
            }))?;
            let count = of(&problems, Severity::Error).len();
            return Err(CliError::Told(format!("{count} errors in `{}` and its bundle", path.display())));
        }
        Err(other) => return Err(other),
    };
    let loaded = &setup.loaded;
    if flag.json {
        return screen.json(&json!({
            "ok": true,
            "errors": [],
            "lints": loaded.lints,
            "policy_snapshot": loaded.policies.snapshot,
        }));
    }
    if !loaded.lints.0.is_empty() {
        screen.raw(&format!("{}\n", wiring::render(&loaded.lints).trim_end()))?;
    }
    let authority = &loaded.policies.authority;
    screen.line(&format!(
        "ok: upstreams {}, agents {}, people {}, policies {}, lints {}; environment `{}`, snapshot {}",
        loaded.config.upstreams.len(),
        authority.agents.len(),
        authority.people.len(),
        loaded.policies.policies.len(),
        loaded.lints.0.len(),
        loaded.policies.environment,
        loaded.policies.snapshot,
    ))
}

fn of(problems: &Problems, severity: Severity) -> Vec<&Problem> {
    problems.0.iter().filter(|problem| problem.severity == severity).collect()
}
