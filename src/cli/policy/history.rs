//! `tollgate policy history` and `show`: what was in force, and its files as they were.

use super::super::{
    args::{HistoryArgs, ShowArgs},
    failure::CliError,
    folder,
    screen::{Screen, note, or_dash, time},
    setup::record_of_calls,
};
use crate::{
    activation::{self, Standing, entry},
    store::Store,
};
use serde_json::{Value, json};
use std::path::Path;

/// As much of a snapshot as a table has.
const SHORT: usize = 16;

/// Lists activations, newest first.
pub(super) async fn history(path: &Path, args: &HistoryArgs) -> Result<(), CliError> {
    let (store, _, _) = record_of_calls(path)?;
    let read = read(&*store, args).await;
    store.close().await;
    let (history, standing) = read?;
    let held = standing.held.as_ref();
    let differs = folder::differs(path, &standing).zip(held);
    let is_newest = |at: usize| at == 0 && args.before.is_none();
    let mut screen = Screen::new();
    if args.json.json {
        let next = history.entries.last().map(|last| last.seq).filter(|_| history.truncated);
        let entries: Vec<Value> =
            history.entries.iter().enumerate().map(|(at, one)| entry(one, is_newest(at))).collect();
        return screen.json(&json!({
            "history": entries,
            "truncated": history.truncated,
            "next": next,
            "held": held.is_some(),
            "folder": differs.map(|(folder, held)| folder.form(held)),
        }));
    }
    let rows: Vec<Vec<String>> = history
        .entries
        .iter()
        .enumerate()
        .map(|(at, one)| {
            vec![
                if is_newest(at) { "*" } else { "" }.to_owned(),
                one.snapshot.chars().take(SHORT).collect(),
                time(one.at),
                or_dash(one.by.as_ref()),
                or_dash(one.reason.as_ref()),
                or_dash(one.git_commit.as_ref().map(|commit| commit.chars().take(12).collect::<String>())),
            ]
        })
        .collect();
    let header = ["", "snapshot", "activated", "by", "reason", "commit"];
    screen.table(&header, &rows, "nothing has been in force yet: `tollgate serve` begins it")?;
    if history.truncated {
        let next = history.entries.last().map_or(0, |last| last.seq);
        note(&format!("there are older ones: `--limit` shows more, `--before {next}` those before"));
    }
    match (differs, held) {
        (Some((folder, held)), _) => screen.line(&folder.sentence(held)),
        (None, Some(held)) => screen.line(&format!(
            "the bundle in force is held, by order of {} (\"{}\"); the folder says the same",
            held.by, held.reason
        )),
        (None, None) => Ok(()),
    }
}

async fn read(store: &dyn Store, args: &HistoryArgs) -> Result<(activation::History, Standing), CliError> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    Ok((activation::history(store, limit, args.before).await?, activation::standing(store).await?))
}

/// Shows the files of a snapshot.
pub(super) async fn show(path: &Path, args: &ShowArgs) -> Result<(), CliError> {
    let (store, _, _) = record_of_calls(path)?;
    let read = async {
        let snapshot = activation::resolve(&*store, &args.snapshot).await?;
        let bundle = activation::kept_bundle(&*store, &snapshot).await?;
        Ok::<_, CliError>((snapshot, bundle))
    };
    let read = read.await;
    store.close().await;
    let (snapshot, bundle) = read?;
    // Whoever has the machine has the files; of others nobody need have what a key can be tried against.
    let bundle = if std::env::var_os("TOLLGATE_KEY").is_some() { bundle.without_digests() } else { bundle };
    let mut screen = Screen::new();
    if let Some(name) = &args.file {
        let Some(file) = bundle.files.iter().find(|file| file.name == *name) else {
            let names: Vec<&str> = bundle.files.iter().map(|file| file.name.as_str()).collect();
            return Err(CliError::Unknown {
                kind: "file",
                name: name.chars().take(80).collect(),
                hint: format!("snapshot {snapshot} has {}", names.join(", ")),
            });
        };
        return match args.json.json {
            true => screen.json(&json!({"snapshot": snapshot, "files": [file]})),
            false => screen.raw(&file.text),
        };
    }
    if args.json.json {
        return screen.json(&json!({
            "snapshot": snapshot,
            "environment": bundle.environment,
            "servers": bundle.servers,
            "files": bundle.files,
        }));
    }
    screen.line(&format!("# snapshot {snapshot}, environment {}", bundle.environment))?;
    for file in &bundle.files {
        screen.line(&format!("\n# ==> {} <==", file.name))?;
        screen.line(file.text.trim_end_matches('\n'))?;
    }
    Ok(())
}
