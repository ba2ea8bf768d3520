//! `tollgate alerts …`, `incidents …`, `duties …` and `audit sample …`: on the store itself, so that they work whether or not a
//! gateway runs. Raising alerts takes one that runs.

use super::{
    args::{AlertsCommand, DutiesCommand, IncidentsCommand, Page, Part, SampleCommand, SayArgs},
    audit::whole,
    failure::CliError,
    screen::{Screen, note, or_dash, time},
    setup::{Setup, Sight},
};
use crate::{
    alerts::{Alert, DutyState, Incident, Verdict},
    model::{CallId, Share},
    oversight::{self, AlertFilter, Finding, OversightError, Remark, SamplePage, Sampled, Told},
    redaction::display_text,
    store::Store,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

impl From<OversightError> for CliError {
    fn from(error: OversightError) -> Self {
        match error {
            OversightError::Store(store) => store.into(),
            other => Self::Told(other.to_string()),
        }
    }
}

/// `alerts …`
pub(super) async fn alerts(setup: Setup, command: AlertsCommand) -> Result<(), CliError> {
    // Of a record that is damaged an alert tells: it is listed all the same.
    let store =
        if matches!(command, AlertsCommand::List { .. }) { setup.record()? } else { setup.store()? };
    let done = match command {
        AlertsCommand::List { status, kind, page: Page { limit, before }, json } => {
            let filter = AlertFilter { status, kind, limit, before };
            list(&setup, &store, &filter, json.json).await
        }
        AlertsCommand::Ack(args) => say(&setup, &store, Verdict::Ack, args).await,
        AlertsCommand::False(args) => say(&setup, &store, Verdict::False, args).await,
    };
    let damage = store.damage();
    store.close().await;
    done.and_then(|()| whole(&damage))
}

async fn list(
    setup: &Setup,
    store: &Arc<dyn Store>,
    filter: &AlertFilter,
    as_json: bool,
) -> Result<(), CliError> {
    let page = oversight::alerts(&**store, filter, setup.now()).await?;
    let page = if setup.sight() == Sight::Whole { page } else { page.without_values() };
    let mut screen = Screen::new();
    if as_json {
        return screen.json(&page);
    }
    if let Some(next) = &page.next {
        note(&format!("there are more: `tollgate alerts list --before {next}` goes on"));
    }
    let row = |alert: &Alert| {
        vec![
            alert.id.clone(),
            alert.kind.to_string(),
            alert.severity.to_string(),
            alert.status.to_string(),
            time(alert.at),
            alert.repeats.to_string(),
            display_text(&alert.reason, 400),
        ]
    };
    let rows: Vec<Vec<String>> = page.alerts.iter().map(row).collect();
    let header = ["id", "kind", "severity", "status", "raised", "repeats", "what"];
    screen.table(&header, &rows, "no alerts")?;
    for tuning in &page.tunings {
        let (kind, subject) = (tuning.kind, display_text(&tuning.subject, 200));
        screen.line(&format!(
            "{kind} of {subject} is raised at {:.1} times what is just enough, until {}: {} said that one was false",
            tuning.factor,
            time(tuning.until),
            tuning.by
        ))?;
    }
    Ok(())
}

async fn say(setup: &Setup, store: &Arc<dyn Store>, verdict: Verdict, args: SayArgs) -> Result<(), CliError> {
    let person = setup.admin_person()?;
    let said = Remark { by: &person, data: &setup.loaded.policies.data, note: args.note.as_deref() };
    let rules = (&setup.loaded.policies.oversight, setup.now());
    let alert = oversight::say(&**store, &args.id, verdict, said, rules).await?;
    let mut screen = Screen::new();
    if args.json.json {
        return screen.json(&alert);
    }
    let until = alert.until.map_or_else(String::new, |until| format!(" until {}", time(until)));
    screen.line(&match verdict {
        Verdict::Ack => format!("seen: repeats are not told{until}"),
        Verdict::False if alert.until.is_some() => {
            format!(
                "false: it takes more to raise {} of {}{until}",
                alert.kind,
                display_text(&alert.subject, 200)
            )
        }
        Verdict::False => {
            "false; the next one is raised all the same: it is about the record itself".to_owned()
        }
    })
}

/// `incidents …`
pub(super) async fn incidents(setup: Setup, command: IncidentsCommand) -> Result<(), CliError> {
    let changes = matches!(command, IncidentsCommand::Close { .. });
    let store = if changes { setup.store()? } else { setup.record()? };
    let values = setup.sight() == Sight::Whole;
    let shown = |one: Incident| if values { one } else { one.without_values() };
    let done = async {
        let mut screen = Screen::new();
        match command {
            IncidentsCommand::List { page: Page { limit, before }, json } => {
                let page = oversight::incidents(&*store, limit, before.as_deref()).await?;
                let page = if values { page } else { page.without_values() };
                if json.json {
                    return screen.json(&page);
                }
                if let Some(next) = &page.next {
                    note(&format!("there are more: `tollgate incidents list --before {next}` goes on"));
                }
                let found = page.incidents;
                let row = |one: &Incident| {
                    vec![
                        one.id.clone(),
                        one.status.clone(),
                        one.severity.to_string(),
                        time(one.opened_at),
                        time(one.due),
                        one.alerts.len().to_string(),
                        display_text(&one.reason, 400),
                    ]
                };
                let rows: Vec<Vec<String>> = found.iter().map(row).collect();
                let header = ["id", "status", "severity", "opened", "due", "alerts", "what"];
                screen.table(&header, &rows, "no incidents")
            }
            IncidentsCommand::Show { id, json } => {
                let one = oversight::incident(&*store, &id).await?;
                let told = oversight::timeline(&*store, &one, values, setup.now()).await?;
                show(&mut screen, &shown(one), told, json.json)
            }
            IncidentsCommand::Close { id, note, json } => {
                let person = setup.admin_person()?;
                let said = Remark { by: &person, data: &setup.loaded.policies.data, note: Some(&note) };
                let closed = oversight::close_incident(&*store, &id, said, setup.now()).await?;
                if json.json { screen.json(&closed) } else { screen.line("closed") }
            }
        }
    }
    .await;
    let damage = store.damage();
    store.close().await;
    done.and_then(|()| whole(&damage))
}

fn show(screen: &mut Screen, one: &Incident, told: Told, as_json: bool) -> Result<(), CliError> {
    let mut form = json!(one);
    if as_json {
        if let Some(members) = form.as_object_mut() {
            members.insert("timeline".to_owned(), told.timeline.into());
            members.insert("truncated".to_owned(), told.truncated.into());
        }
        return screen.json(&form);
    }
    for (name, value) in form.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        screen.field(name, &display_text(&text, 2_000))?;
    }
    let cell = |record: &Value, name: &str| {
        record
            .get(name)
            .and_then(Value::as_str)
            .map_or_else(|| "-".to_owned(), |text| display_text(text, 200))
    };
    let rows: Vec<Vec<String>> = told
        .timeline
        .iter()
        .map(|record| {
            let came = ["decision", "outcome", "action"]
                .iter()
                .find(|name| record.get(**name).is_some_and(Value::is_string));
            vec![
                cell(record, "at"),
                cell(record, "event_type"),
                cell(record, "agent"),
                cell(record, "tool"),
                came.map_or_else(|| "-".to_owned(), |name| cell(record, name)),
                cell(record, "reason"),
            ]
        })
        .collect();
    if told.truncated {
        note("there are more records around it than are shown");
    }
    screen.line("")?;
    screen.table(&["at", "record", "agent", "tool", "what came of it", "why"], &rows, "no records around it")
}

/// `duties …`
pub(super) async fn duties(setup: Setup, command: DutiesCommand) -> Result<(), CliError> {
    let store = setup.store()?;
    let rules = &setup.loaded.policies.oversight;
    let done = async {
        let mut screen = Screen::new();
        match command {
            DutiesCommand::List { json } => {
                let found = oversight::duties(&*store, rules, setup.now()).await?;
                if json.json {
                    return screen.json(&json!({"duties": found}));
                }
                let row = |one: &DutyState| {
                    vec![
                        one.name.clone(),
                        humantime::format_duration(Duration::from_secs(one.every_s)).to_string(),
                        or_dash(one.owner.as_ref()),
                        one.done.map_or_else(|| "never".to_owned(), time),
                        or_dash(one.by.as_ref()),
                        one.due.map_or_else(|| "-".to_owned(), time),
                        if one.late { "late" } else { "in time" }.to_owned(),
                    ]
                };
                let rows: Vec<Vec<String>> = found.iter().map(row).collect();
                let header = ["duty", "every", "owner", "done", "by", "due", "stands"];
                screen.table(
                    &header,
                    &rows,
                    "the bundle in force has no duties: `alerts: { duties: … }` of bundle.yaml",
                )
            }
            DutiesCommand::Done { name, note, json } => {
                let person = setup.admin_person()?;
                let said = Remark { by: &person, data: &setup.loaded.policies.data, note: Some(&note) };
                let done = oversight::duty_done(&*store, &name, said, (rules, setup.now())).await?;
                if json.json {
                    return screen.json(&done);
                }
                let due = done.due.map_or_else(|| "-".to_owned(), time);
                screen.line(&format!("done: it is due again at {due}"))
            }
        }
    }
    .await;
    store.close().await;
    done
}

fn share(setup: &Setup) -> Result<Share, CliError> {
    setup.loaded.policies.oversight.sample.ok_or_else(|| {
        CliError::Told(
            "the bundle in force samples no calls: `audit: { sample: 1% }` in bundle.yaml".to_owned(),
        )
    })
}

/// `audit sample …`
pub(super) async fn samples(setup: Setup, command: SampleCommand) -> Result<(), CliError> {
    let share = share(&setup)?;
    let store = setup.store()?;
    let done = async {
        let mut screen = Screen::new();
        match command {
            SampleCommand::List { all, since, part: Part { limit, before }, json } => {
                let span = (since.at(setup.now()), all);
                let SamplePage { found, next } =
                    oversight::samples(&*store, share, span, (limit, before)).await?;
                let values = setup.sight() == Sight::Whole;
                let shown = |one: Sampled| if values { one } else { one.without_values() };
                let found: Vec<Sampled> = found.into_iter().map(shown).collect();
                if json.json {
                    let forms: Vec<Value> = found.iter().map(Sampled::form).collect();
                    let share = share.to_string();
                    let told = json!({
                        "samples": forms, "share": share, "truncated": next.is_some(), "next": next,
                    });
                    return screen.json(&told);
                }
                if let Some(next) = next {
                    note(&format!(
                        "there may be more, further back in the record: `tollgate audit sample list --before {next}` goes on"
                    ));
                }
                let row = |one: &Sampled| {
                    let draft = &one.decision;
                    let shown = |text: Option<&str>| {
                        text.map_or_else(|| "-".to_owned(), |text| display_text(text, 200))
                    };
                    vec![
                        or_dash(draft.call_id.as_ref()),
                        time(draft.timestamp),
                        or_dash(draft.agent_id.as_ref()),
                        shown(draft.tool.as_deref()),
                        or_dash(draft.policy_id.as_ref()),
                        if one.is_reviewed() { "looked at" } else { "open" }.to_owned(),
                    ]
                };
                let rows: Vec<Vec<String>> = found.iter().map(row).collect();
                let header = ["call", "at", "agent", "tool", "let through by", "stands"];
                screen.table(&header, &rows, "nothing to look at")
            }
            SampleCommand::Review { call, finding, note, json } => {
                let (person, role) = setup.reviewer()?;
                let said = Remark { by: &person, data: &setup.loaded.policies.data, note: note.as_deref() };
                let finding = Finding::parse(&finding).unwrap_or(Finding::Problem);
                let sample = (share, setup.now());
                let done = oversight::review(&*store, &CallId::from(call), finding, (said, role), sample).await?;
                if json.json { screen.json(&done.form()) } else { screen.line("recorded") }
            }
        }
    }
    .await;
    store.close().await;
    done
}
