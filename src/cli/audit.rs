//! `tollgate audit …`: the record of what happened, asked, verified and exported.

use super::{
    args::{AuditCommand, EventFilter, ExportFormat, VerifyArgs},
    as_test,
    failure::CliError,
    follow::{Follower, head},
    policy, proof,
    screen::{self, Screen, or_dash, time},
    setup::{Reading, Setup, Sight, record, record_place},
    wiring,
};
use crate::{
    clock::Clock as _,
    front::admin::{approval_use, named_approvals, trace_report, verified_form},
    model::{ApprovalId, CallId, Event, Moment, TraceId, counted, in_order},
    store::{ChainReport, EventQuery, KnownDamage, Store},
};
use jiff::Timestamp;
use serde_json::json;
use std::{collections::HashSet, path::PathBuf, sync::Arc};

/// Runs one of them.
pub(super) async fn audit((store, system, sight): Reading, command: AuditCommand) -> Result<(), CliError> {
    let done = on_store(Arc::clone(&store), sight, system.now(), command).await;
    let damage = store.damage();
    store.close().await;
    done.and_then(|()| whole(&damage))
}

/// What was read lacks what is damaged: said, and the exit code says so too.
pub(super) fn whole(damage: &[KnownDamage]) -> Result<(), CliError> {
    if damage.is_empty() {
        return Ok(());
    }
    let places: Vec<&str> = damage.iter().map(|damage| damage.problem.as_str()).collect();
    Err(CliError::Told(format!(
        "the record is damaged, and what cannot be read was left out: {}",
        places.join("; ")
    )))
}

/// Checks an export, without the store.
pub(super) fn verify_file(args: &VerifyArgs) -> Result<(), CliError> {
    let Some(path) = &args.file else { return Ok(()) };
    let cannot = |source: std::io::Error| {
        let verb = if source.kind() == std::io::ErrorKind::InvalidData { "verify" } else { "read" };
        CliError::Io { what: format!("cannot {verb} `{}`", path.display()), source }
    };
    let report = if path.as_os_str() == "-" {
        wiring::verify_export(std::io::stdin().lock(), args.part)
    } else {
        let file = std::fs::File::open(path).map_err(cannot)?;
        wiring::verify_export(std::io::BufReader::new(file), args.part)
    }
    .map_err(cannot)?;
    let mut screen = Screen::new();
    if args.json.json {
        screen.json(&report)?;
    }
    if let Some(bad) = report.bad {
        return Err(CliError::Chain { seq: bad.seq, problem: bad.problem });
    }
    if args.json.json {
        return Ok(());
    }
    let said = if args.part {
        format!(
            "every record is as it was written: {}, {}",
            counted(report.records, "record"),
            counted(report.gaps, "gap")
        )
    } else {
        format!("the export is whole: {}", counted(report.records, "record"))
    };
    screen.line(&format!("{said}, head {}", report.head))
}

/// Checks the store: as it is on disk, before what can be rebuilt is rebuilt, or opened where opening has to take it over first.
/// Then it is held against checkpoints.
pub(super) async fn verify(path: PathBuf, args: VerifyArgs) -> Result<(), CliError> {
    let sight = match std::env::var_os("TOLLGATE_KEY") {
        Some(_) => Setup::load(&path)?.sight(),
        None => Sight::Whole,
    };
    let at = record_place(&path)?;
    let at_rest = match &at {
        Some(store) => wiring::verify_at_rest(store)?,
        None => None,
    };
    let (report, held) = match (at_rest, at) {
        (Some(report), Some(store)) if report.bad.is_none() => {
            let lies = wiring::at_rest(&store)?;
            let held = match &lies {
                Some(lies) => proof::wanted(&path, (&store, None), &args).await?.hold(lies).await?,
                None => Ok(0),
            };
            (report, held)
        }
        (Some(report), _) => (report, Ok(0)),
        (None, at) => {
            let (store, _) = record(&path)?;
            let report = store.verify().await?;
            let held = match &at {
                Some(at) => proof::wanted(&path, (at, Some(&*store)), &args).await?.hold(&*store).await?,
                None => Ok(0),
            };
            let damage = store.damage();
            store.close().await;
            whole(&damage)?;
            (report, held)
        }
    };
    show_verified(&mut Screen::new(), (&report, sight), held, args.json.json)
}

fn show_verified(
    screen: &mut Screen,
    (report, sight): (&ChainReport, Sight),
    held: Result<usize, String>,
    json: bool,
) -> Result<(), CliError> {
    if json {
        screen.json(&verified_form(report, &held, sight == Sight::Whole))?;
    }
    match &report.bad {
        // Of no record: of what is made from them.
        Some(bad) if bad.seq == 0 => {
            return Err(CliError::Told(format!("the store does not verify: {}", bad.problem)));
        }
        Some(bad) => return Err(CliError::Chain { seq: bad.seq, problem: bad.problem.clone() }),
        None => {}
    }
    let checkpoints = held.map_err(CliError::Told)?;
    if json {
        return Ok(());
    }
    let also = match checkpoints {
        0 => String::new(),
        1 => "; 1 checkpoint holds".to_owned(),
        more => format!("; {more} checkpoints hold"),
    };
    let head = match sight {
        Sight::Whole => format!(", head {}", report.head),
        Sight::WithoutValues => String::new(),
    };
    screen.line(&format!("the chain is whole: {}{head}{also}", counted(report.records, "record")))
}

async fn on_store(
    store: Arc<dyn Store>,
    sight: Sight,
    now: Timestamp,
    command: AuditCommand,
) -> Result<(), CliError> {
    let mut screen = Screen::new();
    match command {
        AuditCommand::Query { filter, limit, before, json } => {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let query = EventQuery { until_seq: before.map(|seq| seq - 1), ..query(*filter, sight, now)? };
            list((&store, sight), &mut screen, query, limit, json.json).await
        }
        AuditCommand::Show { trace, as_test, json } => {
            show((&store, sight), &mut screen, trace, as_test, json.json).await
        }
        // They do not come here.
        AuditCommand::Verify(_)
        | AuditCommand::Checkpoint(_)
        | AuditCommand::Note(_)
        | AuditCommand::Hold(_)
        | AuditCommand::Sample(_)
        | AuditCommand::Prove(_) => Ok(()),
        AuditCommand::Export { filter, limit, format } => {
            export((&store, sight), query(*filter, sight, now)?, limit, format).await
        }
        AuditCommand::Tail { filter, limit, json } => {
            let query = query(*filter, sight, now)?;
            let after = head(&store).await?;
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            for event in newest(&store, &query, limit).await?.into_iter().filter(|event| event.seq <= after) {
                line(&mut screen, &sight.event(event), json.json)?;
            }
            let mut follower = Follower::new(store, query, after);
            loop {
                for event in follower.wait().await? {
                    line(&mut screen, &sight.event(event), json.json)?;
                }
            }
        }
    }
}

fn query(filter: EventFilter, sight: Sight, now: Timestamp) -> Result<EventQuery, CliError> {
    sight.allows(filter.tool.as_ref())?;
    let at = |moment: Option<Moment>| moment.map(|moment| moment.at(now));
    let (since, until) = (at(filter.since), at(filter.until));
    in_order(since, until).map_err(CliError::Told)?;
    Ok(EventQuery {
        event_type: filter.event_type,
        trace_id: filter.trace,
        workflow_id: filter.workflow,
        agent_id: filter.agent,
        policy_id: filter.policy,
        tool: filter.tool,
        person: filter.person,
        user: filter.user,
        approval_id: filter.approval.map(Into::into),
        grant_id: filter.grant.map(Into::into),
        decision: filter.decision,
        since,
        until,
        ..EventQuery::default()
    })
}

/// The newest so many, in chain order.
async fn newest(store: &Arc<dyn Store>, query: &EventQuery, limit: usize) -> Result<Vec<Event>, CliError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let mut events = store.events(EventQuery { newest_first: true, limit, ..query.clone() }).await?;
    events.reverse();
    Ok(events)
}

/// Lists the newest so many in chain order, holding a page of them at a time.
async fn list(
    (store, sight): (&Arc<dyn Store>, Sight),
    screen: &mut Screen,
    query: EventQuery,
    limit: usize,
    json: bool,
) -> Result<(), CliError> {
    let mut first = None;
    let (mut shown, mut truncated) = (0, false);
    let (mut rows, mut widths) = (Vec::new(), HEADER.map(str::len));
    let mut backwards = EventQuery { newest_first: true, ..query.clone() };
    while !truncated && shown < limit {
        backwards.limit = PAGE.min(limit - shown) + 1;
        let mut page = store.events(backwards.clone()).await?;
        let more = page.len() == backwards.limit;
        page.truncate(backwards.limit - 1);
        shown += page.len();
        first = page.last().map(|event| event.seq).or(first);
        backwards.until_seq = first.map(|seq| seq - 1);
        if !json {
            for row in page.into_iter().map(|event| row(&sight.event(event))) {
                screen::widen(&mut widths, &row);
                if shown <= PAGE {
                    rows.push(row);
                }
            }
        }
        if !more {
            break;
        }
        truncated = shown == limit;
    }
    let next = first.filter(|_| truncated);
    if json {
        screen.raw("{\"events\": [")?;
        let mut separator = "\n";
        let put = |event: Event| {
            screen.raw(separator)?;
            separator = ",\n";
            screen.json_part(&sight.event(event))
        };
        forwards(store, query, first, shown, put).await?;
        return screen.raw(&format!("],\n\"truncated\": {truncated}, \"next\": {}}}\n", json!(next)));
    }
    if let Some(next) = next {
        screen::note(&format!(
            "the newest {shown} are shown, and there are more: `--limit` shows more, `--before {next}` the ones before"
        ));
    }
    if shown > PAGE {
        // A table holds all of its rows.
        screen.columns(&HEADER.map(str::to_uppercase), &widths)?;
        let put = |event| screen.columns(&row(&sight.event(event)), &widths);
        forwards(store, query, first, shown, put).await?;
        return screen.raw("");
    }
    rows.reverse();
    screen.table(&HEADER, &rows, "no event fits")
}

/// So many events from the first on, a page at a time.
async fn forwards(
    store: &Arc<dyn Store>,
    query: EventQuery,
    first: Option<i64>,
    mut count: usize,
    mut put: impl FnMut(Event) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let Some(first) = first else { return Ok(()) };
    let mut page = EventQuery { newest_first: false, limit: PAGE, after_seq: Some(first - 1), ..query };
    while count > 0 {
        let events = store.events(page.clone()).await?;
        let (read, last) = (events.len(), events.last().map(|event| event.seq));
        events.into_iter().take(count).try_for_each(&mut put)?;
        count = count.saturating_sub(read);
        if last.is_none() {
            break;
        }
        page.after_seq = last;
    }
    Ok(())
}

/// Events in one read.
const PAGE: usize = 1_000;
/// The most traces of one approval that are shown: an agent may ask for it in a new one each time.
const MOST_TRACES: usize = 100;

const HEADER: [&str; 9] = ["seq", "time", "event", "agent", "tool", "decision", "policy", "outcome", "trace"];

fn row(event: &Event) -> Vec<String> {
    let draft = &event.draft;
    vec![
        event.seq.to_string(),
        time(draft.timestamp),
        match &draft.action {
            // What a person or Tollgate itself did is told by its action alone, whomever it is about.
            Some(action) if !draft.event_type.is_of_call() => format!("{} {action}", draft.event_type),
            Some(_) | None => draft.event_type.to_string(),
        },
        or_dash(draft.agent_id.as_ref()),
        or_dash(draft.tool.as_ref()),
        or_dash(draft.decision),
        or_dash(draft.policy_id.as_ref()),
        or_dash(draft.outcome.map(|outcome| outcome.as_str())),
        or_dash(draft.trace_id),
    ]
}

fn line(screen: &mut Screen, event: &Event, json: bool) -> Result<(), CliError> {
    if json {
        return screen.json_line(event);
    }
    let reason = event.draft.reason.as_deref().map(|reason| format!("  {reason}")).unwrap_or_default();
    screen.line(&format!("{}{reason}", row(event).join("  ")))
}

async fn show(
    (store, sight): (&Arc<dyn Store>, Sight),
    screen: &mut Screen,
    trace: TraceId,
    is_test: bool,
    json: bool,
) -> Result<(), CliError> {
    let of = |trace| EventQuery { trace_id: Some(trace), ..EventQuery::default() };
    let mut shown = trace;
    let mut events = store.events(of(trace)).await?;
    if events.is_empty() {
        let meant = traces_of(store, trace).await?;
        if let [one, ..] = meant.as_slice() {
            shown = *one;
            let names: Vec<String> = meant.iter().map(ToString::to_string).collect();
            let of_what = if names.len() == 1 { "trace" } else { "traces" };
            screen::note(&format!("`{}` is of {of_what} {}", uuid(trace), names.join(", ")));
        }
        for one in meant {
            events.extend(store.events(of(one)).await?);
        }
        events.sort_by_key(|event| event.seq);
    }
    if events.is_empty() {
        let hint =
            "nor of an approval or a call with this id; `tollgate audit query` lists the newest".to_owned();
        return Err(CliError::Unknown { kind: "event of trace", name: trace.to_string(), hint });
    }
    let events: Vec<Event> = events.into_iter().map(|event| sight.event(event)).collect();
    if is_test {
        let mut decisions = Vec::new();
        for event in as_test::decisions(&events) {
            // Without its bundle a decision is a test of what is on record.
            decisions.push((event, policy::of_event(&**store, event).await.ok()));
        }
        if decisions.is_empty() {
            return Err(CliError::Told(format!("trace {shown} has no decision of a call")));
        }
        return screen.raw(&as_test::file(shown, &decisions));
    }
    let approvals = named_approvals(&**store, &events).await?;
    let approvals = match sight {
        Sight::Whole => approvals,
        Sight::WithoutValues => approvals.without_values(),
    };
    if json {
        return screen.json(&trace_report(shown, &events, &approvals));
    }
    screen.line(&wiring::trace_text(&events, &approvals))
}

/// The traces of the approval or the call whose id this is: all three look alike. Of an approval that is the trace that
/// asked, then the one that used it, then those that asked for it too.
async fn traces_of(store: &Arc<dyn Store>, id: TraceId) -> Result<Vec<TraceId>, CliError> {
    let id = uuid(id);
    let approval = ApprovalId::from(id.as_str());
    let mut query = EventQuery { approval_id: Some(approval.clone()), limit: PAGE, ..EventQuery::default() };
    let mut page = store.events(query.clone()).await?;
    if page.is_empty() {
        let of_call =
            EventQuery { call_id: Some(CallId::from(id.as_str())), limit: 1, ..EventQuery::default() };
        let found = store.events(of_call).await?;
        return Ok(found.first().and_then(|event| event.draft.trace_id).into_iter().collect());
    }
    let asked = page.first().and_then(|event| event.draft.trace_id);
    let used = approval_use(&**store, &approval).await?.and_then(|event| event.draft.trace_id);
    let mut traces = Vec::new();
    let mut left_out = HashSet::new();
    let mut note = |trace: TraceId| {
        if traces.len() < MOST_TRACES && !traces.contains(&trace) {
            traces.push(trace);
        } else if !traces.contains(&trace) {
            left_out.insert(trace);
        }
    };
    asked.into_iter().chain(used).for_each(&mut note);
    while let Some(last) = page.last() {
        query.after_seq = Some(last.seq);
        page.iter().filter_map(|event| event.draft.trace_id).for_each(&mut note);
        page = store.events(query.clone()).await?;
    }
    if !left_out.is_empty() {
        let shown = traces.len();
        let more = left_out.len();
        screen::note(&format!("the first {shown} traces of it are shown, and {more} more asked for it too"));
    }
    Ok(traces)
}

/// An id in the form that approvals and calls have.
fn uuid(id: TraceId) -> String {
    let mut text = id.to_string();
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

/// Page by page up to the head of the moment it began, so that a busy gateway cannot make it endless.
async fn export(
    (store, sight): (&Arc<dyn Store>, Sight),
    query: EventQuery,
    limit: Option<u64>,
    format: ExportFormat,
) -> Result<(), CliError> {
    let end = head(store).await?;
    let limit = usize::try_from(limit.unwrap_or(0)).unwrap_or(usize::MAX);
    let query = EventQuery { until_seq: Some(end), limit, ..query };
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let values = sight == Sight::Whole;
    if !values {
        screen::note(
            "the values of arguments are withheld from your role: `audit verify --file` needs an export that has them",
        );
    }
    wiring::export(store.as_ref(), query, (format, values), &mut out).await
}
