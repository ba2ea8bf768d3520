//! `tollgate report spend`: what was spent, and what would hold it back.

use super::{
    args::SpendArgs,
    failure::CliError,
    known,
    screen::{Screen, note, progress, time},
    setup::Setup,
    wiring,
};
use crate::{
    clock::{Clock as _, System},
    gateway::{CatalogCost, catalog_costs},
    model::{counted, in_order},
    policy::{Agent, is_bundle_file},
    replay::{EstimateError, Named, SearchSavings, SpendReport},
    store::Store,
};
use serde_json::json;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A bar of a chart, at most.
const BAR: usize = 30;

pub(super) async fn spend(
    path: &Path,
    store: &dyn Store,
    system: &System,
    args: SpendArgs,
) -> Result<(), CliError> {
    let now = system.now();
    let span = (args.since.at(now), args.until.map_or(now, |until| until.at(now)));
    in_order(Some(span.0), Some(span.1)).map_err(CliError::Told)?;
    let bar = progress("records");
    let report = wiring::spend(store, span, &mut |seen| bar.set_position(seen)).await;
    bar.finish_and_clear();
    let report = report?;
    let setup = Setup::load(path);
    let report = match &setup {
        Ok(setup) if !setup.reads_records() => report.without_people(),
        Ok(_) | Err(_) => report,
    };
    let catalog = match &setup {
        Ok(setup) => costs(setup),
        Err(_) => {
            note("what lists of tools cost is not told: the files cannot be used; `tollgate check` says why");
            Vec::new()
        }
    };
    let written = match &args.propose {
        Some(folder) => propose(setup?, (folder, args.force), &report)?,
        None => None,
    };
    let mut screen = Screen::new();
    if args.json.json {
        let mut told = json!(report);
        if let Some(members) = told.as_object_mut() {
            members.insert("catalog".to_owned(), json!(catalog));
            members.insert("written".to_owned(), json!(written));
        }
        return screen.json(&told);
    }
    show(&mut screen, &report, &catalog, args.top)?;
    match (&written, &report.proposal) {
        (Some(written), _) => screen.line(&format!("\nwrote {}", written.display())),
        (None, Some(file)) => screen.line(&format!("\n--- {}\n{}", file.name, file.text.trim_end())),
        (None, None) => Ok(()),
    }
}

/// What lists of tools cost, as far as it is known what upstreams list.
pub(super) fn costs(setup: &Setup) -> Vec<CatalogCost> {
    let (config, policies) = (&setup.loaded.config, &setup.loaded.policies);
    let (catalog, unknown) = known::catalog(config, &policies.data, &[], None);
    for upstream in unknown {
        note(&format!("what upstream `{upstream}` lists is not known yet: its tools are not counted"));
    }
    catalog_costs(config.gateway.catalog, policies, &catalog, None)
}

/// The same of one agent.
pub(super) fn cost_of(setup: &Setup, agent: &Agent) -> Option<CatalogCost> {
    let (config, policies) = (&setup.loaded.config, &setup.loaded.policies);
    let (catalog, _) = known::catalog(config, &policies.data, &[], None);
    catalog_costs(config.gateway.catalog, policies, &catalog, Some(&agent.id)).pop()
}

fn show(
    screen: &mut Screen,
    report: &SpendReport,
    catalog: &[CatalogCost],
    top: usize,
) -> Result<(), CliError> {
    let total = &report.total;
    screen.line(&format!(
        "{} USD in {} ({} failed) from {} to {}; estimated were {} USD",
        total.cost_usd,
        counted(total.calls, "call"),
        total.failed,
        time(report.since),
        time(report.until),
        total.estimate_usd
    ))?;
    for (title, lines) in [
        ("agent", &report.agent),
        ("user", &report.user),
        ("workflow", &report.workflow),
        ("tool", &report.tool),
        ("model", &report.model),
        ("day", &report.day),
    ] {
        table(screen, title, lines, top)?;
    }
    estimates(screen, &report.estimates, top)?;
    lists(screen, catalog)?;
    searches(screen, &report.search)?;
    throttles(screen, report)
}

fn table(screen: &mut Screen, title: &str, lines: &[Named], top: usize) -> Result<(), CliError> {
    // One line without a name tells nothing that the total does not.
    if lines.iter().all(|one| one.name.is_none()) {
        return Ok(());
    }
    screen.line("")?;
    let most = lines.iter().map(|one| one.line.cost_usd.0).max().unwrap_or(0).max(1);
    // Days in their order, the newest of them.
    let from = if title == "day" { lines.len().saturating_sub(top.max(7)) } else { 0 };
    let rows: Vec<Vec<String>> = lines
        .iter()
        .skip(from)
        .take(if title == "day" { lines.len() } else { top })
        .map(|one| {
            let line = &one.line;
            let share = usize::try_from(line.cost_usd.0.max(0).saturating_mul(30) / most).unwrap_or(0);
            vec![
                one.name.as_deref().unwrap_or("-").to_owned(),
                line.calls.to_string(),
                line.failed.to_string(),
                line.tokens.to_string(),
                line.cost_usd.to_string(),
                "█".repeat(share.min(BAR)),
            ]
        })
        .collect();
    screen.table(&[title, "calls", "failed", "tokens", "usd", ""], &rows, "")?;
    match lines.len() - from > rows.len() {
        true => screen.line(&format!("… and {} more: --top N shows them", lines.len() - from - rows.len())),
        false => Ok(()),
    }
}

fn estimates(screen: &mut Screen, estimates: &[EstimateError], top: usize) -> Result<(), CliError> {
    if estimates.is_empty() {
        return Ok(());
    }
    screen.line("\nhow far estimates of results were off")?;
    let rows: Vec<Vec<String>> = estimates
        .iter()
        .take(top.saturating_add(1))
        .map(|one| {
            let percent = |share: f64| format!("{:.0} %", share * 100.0);
            let tool = one.tool.as_deref().unwrap_or("(all tools)").to_owned();
            vec![tool, one.calls.to_string(), percent(one.median), percent(one.p90)]
        })
        .collect();
    screen.table(&["tool", "results", "median", "9 of 10"], &rows, "")
}

fn lists(screen: &mut Screen, catalog: &[CatalogCost]) -> Result<(), CliError> {
    if catalog.is_empty() {
        return Ok(());
    }
    screen.line("\nwhat it costs a model to read the list of tools once")?;
    let rows: Vec<Vec<String>> = catalog
        .iter()
        .map(|one| {
            vec![
                one.agent.to_string(),
                one.model.as_deref().unwrap_or("-").to_owned(),
                one.mode.to_owned(),
                one.tools.to_string(),
                one.tokens.to_string(),
                one.full_tokens.to_string(),
                one.cost_usd.to_string(),
                one.max_tokens.map_or_else(|| "-".to_owned(), |most| most.to_string()),
                one.left_out.len().to_string(),
            ]
        })
        .collect();
    let header = ["agent", "model", "list", "tools", "tokens", "all tools", "usd", "cap", "left out"];
    screen.table(&header, &rows, "")
}

fn searches(screen: &mut Screen, savings: &SearchSavings) -> Result<(), CliError> {
    if savings.tasks == 0 {
        return Ok(());
    }
    screen.line(&format!(
        "\nsearching for tools in {}: {} tokens saved; cheaper than the whole list in {}, dearer in {}",
        counted(savings.tasks, "finished task"),
        savings.saved_tokens,
        savings.cheaper,
        savings.dearer
    ))?;
    let rows: Vec<Vec<String>> = savings
        .newest
        .iter()
        .map(|task| {
            vec![
                time(task.from),
                task.agent.to_string(),
                task.workflow.as_ref().map_or_else(|| "-".to_owned(), |workflow| workflow.to_string()),
                task.calls.to_string(),
                task.searches.to_string(),
                task.full_tokens.to_string(),
                task.search_tokens.to_string(),
                task.saved_tokens.to_string(),
            ]
        })
        .collect();
    let header = ["task since", "agent", "workflow", "calls", "searches", "whole list", "searched", "saved"];
    screen.table(&header, &rows, "")
}

fn throttles(screen: &mut Screen, report: &SpendReport) -> Result<(), CliError> {
    if report.throttles.is_empty() {
        return Ok(());
    }
    screen.line("\nworkflows that cost most, with a throttle for each")?;
    workflows(screen, &report.throttles)
}

/// The workflows that cost most, with a throttle for each.
pub(super) fn workflows(
    screen: &mut Screen,
    costly: &[crate::replay::CostlyWorkflow],
) -> Result<(), CliError> {
    let rows: Vec<Vec<String>> = costly
        .iter()
        .map(|one| {
            vec![
                one.workflow.to_string(),
                one.calls.to_string(),
                one.cost_usd.to_string(),
                one.busy_minute_usd.to_string(),
                one.max_cost_per_minute_usd.to_string(),
                one.minutes_above.to_string(),
            ]
        })
        .collect();
    let head = ["workflow", "calls", "usd", "busy minute", "proposed cap", "minutes above"];
    screen.table(&head, &rows, "")
}

/// Writes the proposal into a folder: beside the files of a bundle that is there, else with all files of the bundle. What is
/// there is never changed, but for an earlier proposal with `force`.
fn propose(
    setup: Setup,
    (folder, force): (&Path, bool),
    report: &SpendReport,
) -> Result<Option<PathBuf>, CliError> {
    let Some(file) = &report.proposal else {
        note("there is nothing to propose: no workflow has cost anything");
        return Ok(None);
    };
    let failed = |path: &Path, source: io::Error| CliError::Io {
        what: format!("cannot write `{}`", path.display()),
        source,
    };
    let target = folder.join(file.name);
    // Not before all else is written: what is there may be somebody's work.
    if target.try_exists().map_err(|error| failed(&target, error))? && !force {
        return Err(CliError::Told(format!(
            "`{}` is there already, and was not changed: --force replaces it, or name another folder",
            target.display()
        )));
    }
    if !folder.join("bundle.yaml").exists() {
        let taken = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
        if taken {
            return Err(CliError::Told(format!(
                "`{}` is a folder with other files than a bundle's: name a new one",
                folder.display()
            )));
        }
        fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        let policies = &setup.loaded.policies;
        for source in policies.files.iter().filter(|source| is_bundle_file(&source.name)) {
            let path = folder.join(&source.name);
            write_new(&path, &source.text).map_err(|error| failed(&path, error))?;
        }
        let (tests, copied) = (setup.loaded.config.gateway.policies.join("tests"), folder.join("tests"));
        let fixtures = fs::read_dir(&tests).into_iter().flatten().flatten().map(|entry| entry.path());
        for fixture in fixtures.filter(|path| path.extension().is_some_and(|ext| ext == "yaml")) {
            let Some(name) = fixture.file_name() else { continue };
            fs::create_dir_all(&copied).map_err(|error| failed(&copied, error))?;
            fs::copy(&fixture, copied.join(name)).map_err(|error| failed(&copied, error))?;
        }
    }
    let written = if force { fs::write(&target, &file.text) } else { write_new(&target, &file.text) };
    written.map_err(|error| failed(&target, error))?;
    Ok(Some(target))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    io::Write::write_all(&mut fs::File::create_new(path)?, text.as_bytes())
}
