//! `tollgate check`: everything that is wrong in the files, at once.

use super::{
    args::CheckArgs,
    contained,
    failure::CliError,
    folder, inspection, key_book, known, policy,
    screen::{Screen, note},
    setup::{Setup, certified, exposed, load_knowing, store_named},
    wiring,
};
use crate::{
    config::Config,
    model::{Place, Problem, Problems, Severity},
    upstream::Health,
};
use serde_json::json;
use std::{path::Path, time::Duration};

/// How long upstreams may take to connect and list.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads all files; errors are exit code 1, lints are advice.
pub(super) async fn check(path: &Path, args: &CheckArgs) -> Result<(), CliError> {
    let checked = match read(path) {
        Ok(setup) => looked_at(path, setup, args).await,
        Err(wrong) => Err(wrong),
    };
    let mut screen = Screen::new();
    let setup = match checked {
        Ok(setup) => setup,
        Err(CliError::Files { path, problems, .. }) if args.json.json => {
            screen.json(&json!({
                "ok": false,
                "errors": of(&problems, Severity::Error),
                "lints": of(&problems, Severity::Lint),
                "policy_snapshot": null,
            }))?;
            let count = match of(&problems, Severity::Error).len() {
                1 => "1 error".to_owned(),
                many => format!("{many} errors"),
            };
            return Err(CliError::Told(format!("{count} in `{}` and its bundle", path.display())));
        }
        Err(CliError::Files { path, problems, .. }) => {
            return Err(CliError::Files { path, rendered: wiring::render(&problems), problems });
        }
        Err(other) => return Err(other),
    };
    let loaded = &setup.loaded;
    let held = setup.standing.held.as_ref();
    let differs = folder::differs(path, &setup.standing).zip(held);
    if args.json.json {
        return screen.json(&json!({
            "ok": true,
            "errors": [],
            "lints": loaded.lints,
            "policy_snapshot": loaded.policies.snapshot,
            "folder": differs.map(|(folder, held)| folder.form(held)),
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
    ))?;
    match differs {
        Some((folder, held)) => screen.line(&folder.sentence(held)),
        None => Ok(()),
    }
}

/// What the files say by themselves.
fn read(path: &Path) -> Result<Setup, CliError> {
    let setup = Setup::load_folder(path)?;
    exposed(path, &setup.loaded)?;
    certified(path, &setup.loaded, setup.now())?;
    store_named(path, &setup.loaded)?;
    Ok(setup)
}

/// The files held against what upstreams list, those started that must be.
async fn looked_at(path: &Path, mut setup: Setup, args: &CheckArgs) -> Result<Setup, CliError> {
    let config = &setup.loaded.config;
    let mut listings = known::remembered(config);
    let mut silent = Vec::new();
    if args.smoke || args.strict {
        let mut asked: Config = config.clone();
        asked.upstreams.retain(|name, _| args.smoke || !listings.contains_key(name));
        let states = match asked.upstreams.is_empty() {
            true => Vec::new(),
            false => {
                inspection::inspect_upstreams(&asked, &setup.loaded.policies, &setup.system, PATIENCE).await?
            }
        };
        for state in &states {
            let reason = match &state.health {
                Health::Up => state.missing.first().cloned(),
                Health::Starting => Some("it did not answer in time".to_owned()),
                Health::Down { cause, .. } => Some(cause.whole()),
            };
            silent.extend(reason.map(|reason| (state.name.clone(), reason)));
        }
        listings.extend(known::listed_now(&states, &setup.loaded.policies.data));
        setup.loaded = load_knowing(path, &|_: &Config| listings.clone())?;
    }
    for name in setup.loaded.config.upstreams.keys().filter(|name| !listings.contains_key(name.as_str())) {
        if !silent.iter().any(|(known, _)| known == name) {
            note(&format!(
                "what `{name}` lists is not known yet, so names of its tools were not looked at: --strict starts it"
            ));
        }
    }
    // The bundle works without its tests: what is wrong in them is no error unless --strict asks.
    let lint = |problem| Problem { severity: Severity::Lint, strict: true, ..problem };
    let wrong_tests = policy::wrong_tests(&setup)?;
    setup.loaded.lints.0.extend(wrong_tests.0.into_iter().map(lint));
    setup.loaded.lints.sort();
    let mut wrong = Vec::new();
    for problem in contained::problems(path, &setup.loaded.config).await {
        match problem.severity {
            Severity::Error => wrong.push(problem),
            Severity::Lint => setup.loaded.lints.0.push(problem),
        }
    }
    setup.loaded.lints.0.extend(refused_tools(path, &setup));
    setup.loaded.lints.0.extend(key_book::doubts(&setup.loaded, setup.now()));
    for (name, reason) in silent {
        match args.smoke {
            true => wrong.push(Problem {
                place: Place { file: path.display().to_string(), line: 0, column: 0 },
                severity: Severity::Error,
                message: format!("upstream `{name}` does not answer: {reason}"),
                expected: "a server that starts and lists what it has".to_owned(),
                strict: false,
            }),
            false => note(&format!(
                "names of tools of `{name}` were not looked at, for it does not answer: {reason}"
            )),
        }
    }
    let doubted = setup.loaded.lints.0.iter().any(|lint| lint.strict);
    if wrong.is_empty() && !(args.strict && doubted) {
        return Ok(setup);
    }
    let lints = setup.loaded.lints.0.into_iter().map(|mut lint| {
        if args.strict && lint.strict {
            lint.severity = Severity::Error;
        }
        lint
    });
    let mut problems = Problems(lints.chain(wrong).collect());
    problems.sort();
    Err(CliError::Files { path: path.to_owned(), rendered: wiring::render(&problems), problems })
}

/// Tools of which each call would be refused, because what they declare of their results cannot be used.
fn refused_tools(path: &Path, setup: &Setup) -> Vec<Problem> {
    let (catalog, _) = known::catalog(&setup.loaded.config, &setup.loaded.policies.data, &[], None);
    let refused = catalog.tools.values().filter_map(|tool| tool.refused.as_deref());
    refused
        .map(|why| Problem {
            place: Place { file: path.display().to_string(), line: 0, column: 0 },
            severity: Severity::Lint,
            message: why.to_owned(),
            expected: "an outputSchema that can be used, or `output_schema = \"alert\"` for the tool"
                .to_owned(),
            strict: true,
        })
        .collect()
}

fn of(problems: &Problems, severity: Severity) -> Vec<&Problem> {
    problems.0.iter().filter(|problem| problem.severity == severity).collect()
}
