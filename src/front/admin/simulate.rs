//! `POST simulate`: recorded calls under another bundle. For admins, one at a time, on one core and within a time, so that
//! agents do not wait for it.

use super::{AdminPort, BODY_TIME, Routes, State, body, error::ApiError, params, person::Caller};
use crate::{
    audit::{self, Compare, Pace, Stop},
    config,
    model::{Moment, SnapshotId},
    policy::{PolicySet, SourceFile},
    redaction::display_text,
    store::EventQuery,
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{DefaultBodyLimit, RawQuery, Request},
    routing::post,
};
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The largest bundle that is taken, as JSON.
const MAX_BUNDLE: usize = 1 << 20;
/// The most files of one.
const MAX_FILES: usize = 1_000;
/// The longest that a bundle may take to be read, and then the record; what was looked at until then is answered.
const LONGEST: Duration = Duration::from_secs(20);
/// Calls since, where nothing else is said.
const SINCE: &str = "7d";

/// One at a time.
type Turn = Extension<Arc<Semaphore>>;

/// The route, with its own limit for bodies.
pub(super) fn route() -> Routes {
    let turn = Extension(Arc::new(Semaphore::new(1)));
    let route: Routes = post(simulate).layer(turn);
    route.layer(DefaultBodyLimit::max(MAX_BUNDLE))
}

/// What is asked for.
#[derive(Debug, PartialEq)]
struct Wanted {
    bundle: Bundle,
    since: Moment,
}

/// Which bundle.
#[derive(Debug, PartialEq)]
enum Bundle {
    Files(Vec<SourceFile>),
    Snapshot(SnapshotId),
}

async fn simulate(
    axum::extract::State(port): State,
    caller: Caller,
    Extension(turn): Turn,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    params::none(query.as_deref())?;
    let bytes = body::read(request, &port, BODY_TIME, MAX_BUNDLE).await?;
    let person = caller.person(&*port)?;
    let wanted = parse(&bytes).map_err(ApiError::BadRequest)?;
    let turn = turn.try_acquire_owned().map_err(|_| ApiError::Simulating)?;
    let (set, _turn) = bundle(&port, wanted.bundle, turn).await?;
    let set = Arc::new(set);
    let snapshot = set.snapshot.clone();
    let query = EventQuery { since: Some(wanted.since.at(port.now())), ..EventQuery::default() };
    let stop = Stop::default();
    let store = port.store();
    let mut progress = |_| {};
    let compare = Compare::Recorded(set);
    let work = audit::simulate_recorded(&**store, query, compare, Pace::Beside, &stop, &mut progress);
    tokio::pin!(work);
    let simulated = match tokio::time::timeout(LONGEST, &mut work).await {
        Ok(simulated) => simulated?,
        Err(_) => {
            stop.stop();
            work.await?
        }
    };
    let report = simulated.report;
    tracing::info!(person = %person, snapshot = %snapshot, judged = report.judged, "policy.simulated");
    let mut told = json!(report);
    if let Some(members) = told.as_object_mut() {
        members.insert("snapshot".to_owned(), json!(snapshot));
    }
    Ok(Json(told))
}

/// The bundle, compiled. The turn goes with the work: what nobody waits for any more ends by itself, and until then nothing
/// else begins.
async fn bundle(
    port: &Arc<dyn AdminPort>,
    wanted: Bundle,
    turn: OwnedSemaphorePermit,
) -> Result<(PolicySet, OwnedSemaphorePermit), ApiError> {
    match wanted {
        Bundle::Snapshot(snapshot) => {
            let kept = audit::kept_bundle(&**port.store(), &snapshot).await?;
            let missing = "no bundle of this snapshot is kept, or it cannot be read now";
            Ok((kept.ok_or_else(|| ApiError::NotFound(missing.to_owned()))?, turn))
        }
        Bundle::Files(files) => {
            let config = port.in_force().config.clone();
            let compile = move || {
                let (set, problems) = config::compile_bundle(&config, &files, &config::Listings::new());
                let text =
                    |name: &str| files.iter().find(|file| file.name == name).map(|file| file.text.clone());
                set.map(|set| (set, turn)).ok_or_else(|| config::render(&problems, &text))
            };
            let compiled = tokio::time::timeout(LONGEST, tokio::task::spawn_blocking(compile)).await;
            let late =
                |_| ApiError::InvalidBundle(format!("it takes longer than {} s to read", LONGEST.as_secs()));
            compiled.map_err(late)?.map_err(|_| ApiError::Unavailable)?.map_err(ApiError::InvalidBundle)
        }
    }
}

fn parse(bytes: &Bytes) -> Result<Wanted, String> {
    let members = body::members(bytes)?;
    let (mut bundle, mut since) = (None, SINCE.to_owned());
    let mut named = |found: Bundle| match bundle.replace(found) {
        None => Ok(()),
        Some(_) => Err("give `files` or `snapshot`, not both".to_owned()),
    };
    for (name, value) in members {
        match (name.as_str(), value) {
            ("files", Value::Object(files)) => named(Bundle::Files(source(files)?))?,
            ("files", _) => return Err("`files` must be an object: file names to their texts".to_owned()),
            ("snapshot", Value::String(snapshot)) => {
                named(Bundle::Snapshot(SnapshotId::from(snapshot.as_str())))?;
            }
            ("snapshot", _) => return Err("`snapshot` must be a text".to_owned()),
            ("since", Value::String(text)) => since = text,
            ("since", _) => return Err("`since` must be a text, like 7d or 2026-11-20".to_owned()),
            _ => {
                let shown: String = name.chars().take(40).collect();
                return Err(format!(
                    "`{}` is not a member of a simulation: expected files or snapshot, and since",
                    display_text(&shown, 64)
                ));
            }
        }
    }
    let bundle = bundle.ok_or_else(|| {
        "`files` (file names to their texts) or `snapshot` is missing: which bundle?".to_owned()
    })?;
    let since = Moment::parse(&since, &TimeZone::UTC).map_err(|expected| format!("`since`: {expected}"))?;
    Ok(Wanted { bundle, since })
}

fn source(files: serde_json::Map<String, Value>) -> Result<Vec<SourceFile>, String> {
    if files.len() > MAX_FILES {
        return Err(format!("more than {MAX_FILES} files"));
    }
    files
        .into_iter()
        .map(|(name, text)| match text {
            Value::String(text) => Ok(SourceFile { name, text }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                let shown: String = name.chars().take(40).collect();
                Err(format!("the file `{}` must be a text", display_text(&shown, 64)))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_strictly() {
        let check = |body: &str, expect: &str| {
            let read = parse(&Bytes::copy_from_slice(body.as_bytes()));
            match (&read, expect) {
                (Ok(_), "") => {}
                (Err(said), expect) if !expect.is_empty() && said.contains(expect) => {}
                _ => panic!("{body}: {read:?}"),
            }
        };
        check(r#"{"files": {"bundle.yaml": "version: '1'"}}"#, "");
        check(r#"{"snapshot": "abc", "since": "24h"}"#, "");
        check(r#"{"files": {}, "snapshot": "abc"}"#, "not both");
        check("{}", "missing");
        check("[]", "object");
        check(r#"{"files": []}"#, "file names");
        check(r#"{"files": {"a.yaml": 1}}"#, "`a.yaml` must be a text");
        check(r#"{"snapshot": 1}"#, "`snapshot`");
        check(r#"{"snapshot": "a", "since": "soon"}"#, "`since`");
        check(r#"{"snapshot": "a", "bundle": 1}"#, "`bundle` is not a member");
        check(r#"{"snapshot": "a", "snapshot": "b"}"#, "duplicate members");
    }
}
