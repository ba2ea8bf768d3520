//! `tollgate audit note`: what is said of a trace afterwards.

use super::{
    args::NoteArgs,
    failure::CliError,
    screen::Screen,
    setup::{Setup, Sight},
};
use crate::{evidence, front::admin::RECORDS, store::EventQuery};
use serde_json::json;
use std::io::Read as _;

/// The longest note, in bytes.
const LONGEST: usize = 16 << 10;

/// Attaches a note.
pub(super) async fn note(setup: Setup, args: NoteArgs) -> Result<(), CliError> {
    let text = match args.text.as_str() {
        "-" => {
            let mut read = String::new();
            let most = u64::try_from(LONGEST).unwrap_or(u64::MAX) + 1;
            let input = std::io::stdin().lock().take(most).read_to_string(&mut read);
            input.map_err(|source| CliError::Io { what: "cannot read standard input".to_owned(), source })?;
            read
        }
        text => text.to_owned(),
    };
    let text = text.trim();
    if text.is_empty() {
        return Err(CliError::Told("the note is empty: say what happened, or what came of it".to_owned()));
    }
    if text.len() > LONGEST {
        let problem = "the note is longer than 16 KiB: say the essence, and where the rest stands";
        return Err(CliError::Told(problem.to_owned()));
    }
    let store = setup.store()?;
    let known = EventQuery { trace_id: Some(args.trace), limit: 1, ..EventQuery::default() };
    let done = async {
        if store.events(known).await?.is_empty() {
            let hint = "`tollgate audit query` lists the newest".to_owned();
            return Err(CliError::Unknown { kind: "event of trace", name: args.trace.to_string(), hint });
        }
        let redacted = setup.loaded.policies.data.said(text, LONGEST);
        // That by which they may: which of several it is, is not theirs to choose.
        let role = setup.roles().iter().find(|role| RECORDS.contains(role)).map(|role| role.as_str());
        let by = setup.person_given().zip(role);
        let mut event = evidence::note(setup.now(), args.trace, by, &redacted);
        event.redacted = *redacted != *text;
        store.record(vec![event]).await?;
        let newest =
            EventQuery { trace_id: Some(args.trace), newest_first: true, limit: 1, ..EventQuery::default() };
        Ok(store.events(newest).await?.pop())
    };
    let done = done.await;
    store.close().await;
    let Some(event) = done? else { return Ok(()) };
    let mut screen = Screen::new();
    if args.json.json {
        let hash = Some(&event.hash).filter(|_| setup.sight() == Sight::Whole);
        return screen.json(&json!({"seq": event.seq, "trace_id": args.trace, "hash": hash}));
    }
    screen.line(&format!("record {} is a note on trace {}", event.seq, args.trace))
}
