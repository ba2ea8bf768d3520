//! `tollgate policy test`: the fixtures in `policies/tests/*.yaml`, decided and held against what they expect.

use super::{
    super::{
        args::TestArgs,
        failure::CliError,
        known::Named,
        screen::{Screen, note},
        setup::Setup,
        wiring,
    },
    explain::resolver,
    junit::{self, Case},
};
use crate::{
    clock::Clock as _,
    decision::{RuleCame, ToolFacts},
    gateway::{Explanation, Question, Resolver, constraints, explain_facts},
    model::{Place, Problem, Problems, Severity},
    policy::{Expect, Fixture, FixtureCall, Given, PolicyBody, PolicySet, SourceFile, read_fixtures},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The bundle's folder of tests.
const FOLDER: &str = "tests";

/// Files of fixtures that are read, and the bytes of each.
const MOST_FILES: usize = 1_000;
const MOST_BYTES: u64 = 1 << 20;

/// What came of all tests.
#[derive(Debug, Serialize)]
struct Report {
    passed: usize,
    failed: usize,
    failures: Vec<Failure>,
    coverage: Coverage,
    #[serde(skip)]
    cases: Vec<Done>,
}

#[derive(Debug, Serialize)]
struct Failure {
    name: String,
    file: String,
    line: usize,
    expected: Value,
    got: Value,
}

/// Which rules of gates, and which policies of rulebooks, decided some test.
#[derive(Debug, Serialize)]
struct Coverage {
    rules: usize,
    reached: usize,
    unreached: Vec<String>,
}

#[derive(Debug)]
struct Done {
    file: String,
    name: String,
    failure: Option<String>,
}

/// Runs them.
pub(super) fn test(setup: Setup, args: &TestArgs) -> Result<(), CliError> {
    let servers = setup.path.clone();
    let folder = setup.loaded.config.gateway.policies.join(FOLDER);
    let (fixtures, problems) = read(&setup)?;
    if problems.has_errors() {
        return Err(CliError::Files { path: servers, rendered: wiring::render(&problems), problems });
    }
    let named: Vec<Named> = fixtures.iter().filter_map(|(_, fixture)| target(fixture)).collect();
    let (resolver, system) = resolver(setup, &named, (std::sync::Arc::default(), None), None)?;
    let report = run(&resolver, system.now(), fixtures)?;
    if let Some(path) = &args.junit {
        let cases: Vec<Case<'_>> = report
            .cases
            .iter()
            .map(|case| Case { file: &case.file, name: &case.name, failure: case.failure.as_deref() })
            .collect();
        std::fs::write(path, junit::document(&cases)).map_err(|source| CliError::Io {
            what: format!("the results cannot be written to `{}`", path.display()),
            source,
        })?;
    }
    show(&report, &folder, args.json.json)
}

/// What is wrong in the files of the bundle's tests, sorted.
///
/// # Errors
/// If the folder is there and cannot be read.
pub(in crate::cli) fn wrong_tests(setup: &Setup) -> Result<Problems, CliError> {
    Ok(read(setup)?.1)
}

fn read(setup: &Setup) -> Result<(Vec<(PathBuf, Fixture)>, Problems), CliError> {
    let (files, mut problems) = files(&setup.loaded.config.gateway.policies.join(FOLDER))?;
    let mut fixtures = Vec::new();
    for (path, file) in &files {
        let (read, found) = read_fixtures(file, &setup.loaded.policies);
        fixtures.extend(read.into_iter().map(|fixture| (path.clone(), fixture)));
        problems.0.extend(found.0);
    }
    problems.sort();
    Ok((fixtures, problems))
}

/// The files of fixtures. A file that looks like one and would not be read is an error.
fn files(folder: &Path) -> Result<(Vec<(PathBuf, SourceFile)>, Problems), CliError> {
    let mut problems = Problems::default();
    let unreadable = |source| CliError::Io {
        what: format!("the folder of tests `{}` cannot be read", folder.display()),
        source,
    };
    let listed = match std::fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), problems)),
        Err(error) => return Err(unreadable(error)),
    };
    let mut paths = Vec::new();
    for entry in listed {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let ending = |ending: &str| name.to_ascii_lowercase().ends_with(ending);
        if name.starts_with('.') || path.is_dir() || !(ending(".yaml") || ending(".yml")) {
            continue;
        }
        let mut wrong = |message: String, expected: &str| {
            let place = Place { file: path.display().to_string(), line: 0, column: 0 };
            let expected = expected.to_owned();
            problems.0.push(Problem { place, severity: Severity::Error, message, expected, strict: false });
        };
        if !name.ends_with(".yaml") {
            wrong(format!("`{name}` would not be read"), "a name that ends with .yaml");
        } else if found.len() == MOST_FILES {
            wrong("too many files of tests".to_owned(), "at most 1000");
            break;
        } else if std::fs::metadata(&path).is_ok_and(|file| file.len() > MOST_BYTES) {
            wrong("the file is too large".to_owned(), "at most 1 MiB");
        } else {
            match std::fs::read_to_string(&path) {
                Ok(text) => found.push((path.clone(), SourceFile { name: path.display().to_string(), text })),
                Err(error) => wrong(format!("the file cannot be read: {}", error.kind()), "a text in UTF-8"),
            }
        }
    }
    Ok((found, problems))
}

fn target(fixture: &Fixture) -> Option<Named> {
    match &fixture.given {
        Given::Call(call) => Some((call.kind, call.target.to_string())),
        Given::Facts(_) => None,
    }
}

fn run(
    resolver: &Resolver,
    now: jiff::Timestamp,
    fixtures: Vec<(PathBuf, Fixture)>,
) -> Result<Report, CliError> {
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut report = Report {
        passed: 0,
        failed: 0,
        failures: Vec::new(),
        coverage: Coverage { rules: 0, reached: 0, unreached: Vec::new() },
        cases: Vec::new(),
    };
    for (path, fixture) in fixtures {
        let told = decided(resolver, now, &fixture)?;
        reached.extend(rules_reached(&told));
        let wrong = differences(&fixture.expect, &told);
        let file = path.display().to_string();
        let failure = (!wrong.is_empty()).then(|| format!("{}\n{}", wrong.join("; "), because(&told)));
        match &failure {
            None => report.passed += 1,
            Some(_) => {
                report.failed += 1;
                report.failures.push(Failure {
                    name: fixture.name.to_string(),
                    file: file.clone(),
                    line: fixture.place.line,
                    expected: expected(&fixture.expect),
                    got: got(&told),
                });
            }
        }
        report.cases.push(Done { file, name: fixture.name.to_string(), failure });
    }
    let all = rules(resolver.policies());
    report.coverage.rules = all.len();
    report.coverage.unreached = all.into_iter().filter(|rule| !reached.contains(rule)).collect();
    report.coverage.reached = report.coverage.rules - report.coverage.unreached.len();
    Ok(report)
}

fn decided(resolver: &Resolver, now: jiff::Timestamp, fixture: &Fixture) -> Result<Explanation, CliError> {
    let told = |error: String| {
        let Place { file, line, column } = &fixture.place;
        CliError::Told(format!("{file}:{line}:{column}: {error}"))
    };
    match &fixture.given {
        Given::Call(call) => {
            let question = question(call);
            resolver.explain(&question, false).map_err(|error| told(error.to_string()))
        }
        Given::Facts(facts) => {
            let known = facts.tool_name().and_then(|name| known_tool(resolver, name));
            let policies = resolver.policies();
            let whole = facts.complete(policies, known, now);
            let whole = whole.ok_or_else(|| told("the facts have no agent".to_owned()))?;
            let environment = facts.env.as_ref().unwrap_or(&policies.environment);
            let mut told = explain_facts(policies, &whole, environment);
            if told.capability.is_none() && told.policy_id.as_ref() == "capability" {
                told.notes.push(
                    "no capability of the agent covers the tool: state `capability: NAME` in the facts"
                        .to_owned(),
                );
            }
            Ok(told)
        }
    }
}

fn question(call: &FixtureCall) -> Question {
    Question {
        agent: call.agent.clone(),
        kind: call.kind,
        name: call.target.to_string(),
        arguments: call.arguments.clone(),
        user: call.user.clone(),
        workflow: call.workflow.as_ref().map(ToString::to_string),
        at: call.now,
        repeats: Some(call.repeats),
        session_labels: call.labels.clone(),
    }
}

/// A tool as a call of it would be decided on.
fn known_tool(resolver: &Resolver, name: &str) -> Option<ToolFacts> {
    let entry = resolver.catalog().tools.values().find(|entry| *entry.full == *name)?;
    Some(ToolFacts {
        name: entry.full.clone(),
        upstream: entry.upstream.clone(),
        action: entry.action.clone(),
        labels: entry.labels.clone(),
        traits: entry.traits,
        fingerprint: entry.fingerprint.clone(),
        pinned: true,
        unaccepted: false,
    })
}

/// Every rule of a gate and every policy of a rulebook.
fn rules(policies: &PolicySet) -> Vec<String> {
    let of = |policy: &crate::policy::Policy| match &policy.body {
        PolicyBody::Gate(rules) => {
            rules.iter().map(|rule| format!("{}/{}", policy.id, rule.id)).collect::<Vec<_>>()
        }
        PolicyBody::Rulebook(_) => vec![policy.id.to_string()],
    };
    policies.policies.iter().flat_map(of).collect()
}

fn rules_reached(told: &Explanation) -> Vec<String> {
    let mut reached = Vec::new();
    for policy in told.evaluations.iter().flat_map(|one| &one.tree.policies).filter(|policy| policy.concerns)
    {
        for rule in &policy.rules {
            match (&rule.rule_id, rule.result) {
                (Some(id), RuleCame::Applies | RuleCame::Error) => {
                    reached.push(format!("{}/{id}", policy.policy_id));
                }
                (None, RuleCame::Applies | RuleCame::Error) => reached.push(policy.policy_id.to_string()),
                (_, RuleCame::DoesNotApply | RuleCame::Masked | RuleCame::NotReached) => {}
            }
        }
    }
    reached
}

/// What is not as it was expected, each in a sentence.
fn differences(expect: &Expect, told: &Explanation) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut held = |what: &str, expected: String, got: String| {
        if expected != got {
            wrong.push(format!("{what}: expected {expected}, got {got}"));
        }
    };
    held("decision", expect.decision.to_string(), told.decision.to_string());
    if let Some(policy) = &expect.policy_id {
        held("policy_id", policy.to_string(), told.policy_id.to_string());
    }
    if let Some(rule) = &expect.rule_id {
        let got = told.rule_id.as_ref().map_or_else(|| "none".to_owned(), |rule| rule.to_string());
        held("rule_id", rule.to_string(), got);
    }
    if let Some(approvers) = &expect.approvers {
        let sorted = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
        let expected = sorted(approvers.iter().map(|name| &**name).collect());
        held("approvers", expected, sorted(told.approvers.iter().map(String::as_str).collect()));
    }
    if let Some(limits) = &expect.constraints {
        let limits = constraints(limits);
        let got = match limits.is_empty() {
            true => told.constraints.clone(),
            false => limits.keys().filter_map(|key| told.constraints.get_key_value(key)).map(owned).collect(),
        };
        held("constraints", Value::Object(limits).to_string(), Value::Object(got).to_string());
    }
    if let Some(part) = &expect.reason
        && !told.reason.contains(&**part)
    {
        wrong.push(format!("reason: expected a part `{part}`, got `{}`", told.reason));
    }
    wrong
}

fn owned((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

fn because(told: &Explanation) -> String {
    let rule = told.rule_id.as_ref().map(|rule| format!(", rule {rule}")).unwrap_or_default();
    let notes: String = told.notes.iter().map(|note| format!("; {note}")).collect();
    format!("{} by {}{rule}: {}{notes}", told.decision, told.policy_id, told.reason)
}

fn expected(expect: &Expect) -> Value {
    let mut map = Map::new();
    map.insert("decision".to_owned(), json!(expect.decision));
    let texts = [("policy_id", &expect.policy_id), ("rule_id", &expect.rule_id), ("reason", &expect.reason)];
    for (key, text) in texts {
        map.extend(text.as_ref().map(|text| (key.to_owned(), json!(text))));
    }
    map.extend(expect.approvers.as_ref().map(|names| ("approvers".to_owned(), json!(names))));
    let limits = expect.constraints.as_ref().map(constraints);
    map.extend(limits.map(|limits| ("constraints".to_owned(), Value::Object(limits))));
    Value::Object(map)
}

fn got(told: &Explanation) -> Value {
    json!({
        "decision": told.decision,
        "policy_id": told.policy_id,
        "rule_id": told.rule_id,
        "approvers": told.approvers,
        "constraints": told.constraints,
        "reason": told.reason,
        "notes": told.notes,
    })
}

fn show(report: &Report, folder: &Path, json: bool) -> Result<(), CliError> {
    let mut screen = Screen::new();
    if json {
        screen.json(report)?;
    } else {
        for (failure, case) in
            report.failures.iter().zip(report.cases.iter().filter(|case| case.failure.is_some()))
        {
            screen.line(&format!("FAIL {} ({}:{})", failure.name, failure.file, failure.line))?;
            for line in case.failure.iter().flat_map(|text| text.lines()) {
                screen.line(&format!("     {line}"))?;
            }
        }
        if report.cases.is_empty() {
            note(&format!("there are no tests: `{}` holds none", folder.join("*.yaml").display()));
        }
        let Coverage { rules, reached, unreached } = &report.coverage;
        screen.line(&format!(
            "passed {}, failed {}; rules reached {reached} of {rules}",
            report.passed, report.failed
        ))?;
        if !unreached.is_empty() {
            screen.line(&format!("reached by no test: {}", unreached.join(", ")))?;
        }
    }
    match report.failed {
        0 => Ok(()),
        1 => Err(CliError::Told("a test of the bundle fails".to_owned())),
        count => Err(CliError::Told(format!("{count} tests of the bundle fail"))),
    }
}
