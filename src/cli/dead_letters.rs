//! `tollgate deadletters …`: on the store itself; only making a call again asks the running gateway, which has its servers.

use super::{
    args::{DeadLettersCommand, Part},
    failure::CliError,
    health::Listener,
    screen::{Screen, note, or_dash, time},
    setup::Setup,
};
use crate::{
    audit::{DeadLetter, DeadLetterError, DeadLetterPage, dead_letter, dead_letters, dismiss},
    front::tls::own_certificate,
    model::CallId,
    outbound::Outbound,
    redaction::display_text,
    store::Store,
};
use serde_json::{Value, json};
use std::time::Duration;

/// A call may wait for a person first.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
const MOST_BYTES: usize = 1 << 20;

impl From<DeadLetterError> for CliError {
    fn from(error: DeadLetterError) -> Self {
        match error {
            DeadLetterError::Store(store) => store.into(),
            other => Self::Told(other.to_string()),
        }
    }
}

/// Runs one of them.
pub(super) async fn run(setup: Setup, command: DeadLettersCommand) -> Result<(), CliError> {
    let setup = &setup;
    let mut screen = Screen::new();
    if let DeadLettersCommand::Replay { id, json } = &command {
        setup.admin_person()?;
        let done = replay(setup, id).await?;
        if json.json {
            screen.json(&done)?;
        }
        let word = |name: &str| done.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        return match word("status").as_str() {
            "replayed" if json.json => Ok(()),
            "replayed" => screen.line(&format!("made again as call {}", word("call_id"))),
            _ => Err(CliError::Told(not_made(&done, id, &word("call_id")))),
        };
    }
    let store = setup.store()?;
    let done = async {
        match command {
            DeadLettersCommand::List { all, part, json } => {
                let DeadLetterPage { found, next } = listed(&*store, all, &part, setup.now()).await?;
                if json.json {
                    let forms: Vec<Value> = found.iter().map(DeadLetter::form).collect();
                    return screen.json(
                        &json!({"deadletters": forms, "truncated": next.is_some(), "next": next}),
                    );
                }
                if let Some(next) = next {
                    note(&format!(
                        "there may be more, further back in the record: `tollgate deadletters list --before {next}` goes on"
                    ));
                }
                let rows: Vec<Vec<String>> = found.iter().map(row).collect();
                let header = ["call", "tool", "agent", "outcome", "reason", "at", "status"];
                screen.table(
                    &header,
                    &rows,
                    "no dead letters: every side effect is known to have happened, or was handled",
                )
            }
            DeadLettersCommand::Show { id, json } => {
                let found = dead_letter(&*store, &CallId::from(id), setup.now()).await?;
                let form = found.ok_or(DeadLetterError::NotFound)?.whole_form();
                if json.json {
                    return screen.json(&form);
                }
                for (name, value) in
                    form.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null())
                {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    screen.field(name, &display_text(&text, 2_000))?;
                }
                Ok(())
            }
            DeadLettersCommand::Dismiss { id, reason, json } => {
                let person = setup.admin_person()?;
                let (data, call) = (&setup.loaded.policies.data, CallId::from(id));
                let done = dismiss(&*store, data, &call, (&person, &reason), setup.now()).await?;
                match json.json {
                    true => screen.json(&done.form()),
                    false => screen.line("dismissed"),
                }
            }
            DeadLettersCommand::Replay { .. } => Ok(()),
        }
    }
    .await;
    store.close().await;
    done
}

/// All of the record, however long, until so many are found.
async fn listed(
    store: &dyn Store,
    all: bool,
    part: &Part,
    now: jiff::Timestamp,
) -> Result<DeadLetterPage, CliError> {
    let mut listed = DeadLetterPage { found: Vec::new(), next: part.before };
    loop {
        let room = part.limit.saturating_sub(listed.found.len());
        let page = dead_letters(store, all, (room, listed.next), now).await?;
        listed.found.extend(page.found);
        listed.next = page.next;
        if listed.next.is_none() || listed.found.len() >= part.limit {
            return Ok(listed);
        }
    }
}

fn row(one: &DeadLetter) -> Vec<String> {
    let draft = &one.side_effect;
    let shown = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), |text| display_text(text, 200));
    vec![
        or_dash(draft.call_id.as_ref()),
        shown(draft.tool.as_deref()),
        or_dash(draft.agent_id.as_ref()),
        draft.outcome.map_or("-", |outcome| outcome.as_str()).to_owned(),
        shown(draft.reason.as_deref()),
        time(draft.timestamp),
        one.status().to_owned(),
    ]
}

/// Why a call was not made again, and what to do.
fn not_made(done: &Value, id: &str, call: &str) -> String {
    let said = |at: &str| done.pointer(at).and_then(Value::as_str).map(|text| display_text(text, 400));
    let why = said("/decision/reason").unwrap_or_else(|| "it was not let through".to_owned());
    let next = match said("/decision/approval_id") {
        Some(approval) => format!(
            "it waits for approval `{approval}`: once that is given (`tollgate approvals approve {approval}`), run `tollgate \
             deadletters replay {}` again",
            display_text(id, 100)
        ),
        None => "the dead letter stays open".to_owned(),
    };
    format!("not made: {}  (call {call}); {next}", why.trim_end_matches('.'))
}

/// Asks the running gateway.
async fn replay(setup: &Setup, id: &str) -> Result<Value, CliError> {
    let config = &setup.loaded.config;
    let listener = Listener::from(config);
    let url = format!("{listener}/api/v1/deadletters/{}", url_escaped(id));
    let key = std::env::var("TOLLGATE_KEY").unwrap_or_default();
    let body = http_body_util::Full::new(bytes::Bytes::from_static(b"{\"action\":\"replay\"}"));
    let request = http::Request::post(url)
        .header(http::header::AUTHORIZATION, format!("Bearer {}", key.trim()))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(|error| CliError::Told(format!("the admin listener cannot be asked: {error}")))?;
    // A key is shown to the gateway of these files and to nobody else.
    let outbound = match &config.gateway.tls {
        None => Outbound::default(),
        Some(tls) => own_certificate(tls).and_then(Outbound::to_holder).map_err(CliError::Told)?,
    };
    let reply = outbound.send(request, MOST_BYTES, PATIENCE).await.map_err(|error| {
        CliError::Told(format!(
            "the gateway's admin listener at {listener} cannot be asked: {error}. Making a call again needs a running \
             `tollgate serve`"
        ))
    })?;
    let read: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    if reply.status.is_success() {
        return Ok(read);
    }
    let why = read.pointer("/error/message").and_then(Value::as_str).unwrap_or("it did not say why");
    Err(CliError::Told(format!("not made: {}", display_text(why, 400))))
}

fn url_escaped(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    text.bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
