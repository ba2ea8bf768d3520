//! `tollgate approvals …`: the command line's channel to approvals, on the store itself.

use super::{
    args::{ApprovalsCommand, DecideArgs, where_of},
    failure::CliError,
    screen::{self, Screen, or_dash, time},
    setup::Setup,
};
use crate::{
    approval::{
        ApprovalResponse, Approvals, Freezes, Frozen, GrantProposal, answer_form, frozen_by, standing,
    },
    clock::Clock,
    front::admin::{view, with_frozen},
    gateway::taken_as,
    model::{ApprovalId, ApprovalStatus, EventDecision, EventType, counted},
    policy::{Approver, ChannelKind, PolicySet},
    redaction::display_text,
    store::{ApprovalContext, ApprovalFilter, ApprovalRecord, EventQuery, GrantAnswer, Requirement, Store},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The newest approvals that are watched.
const WATCHED: usize = 1000;
/// How often time alone is looked at.
const EXPIRY: Duration = Duration::from_secs(2);

/// Runs one of them.
pub(super) async fn approvals(setup: Setup, command: ApprovalsCommand) -> Result<(), CliError> {
    // A missing key is told before anything is opened.
    if let ApprovalsCommand::Approve(_) | ApprovalsCommand::Reject(_) = command {
        setup.person()?;
    }
    let store = setup.store()?;
    let done = on_store(&setup, Arc::clone(&store), command).await;
    store.close().await;
    done
}

async fn on_store(setup: &Setup, store: Arc<dyn Store>, command: ApprovalsCommand) -> Result<(), CliError> {
    let clock: Arc<dyn Clock> = setup.system.clone();
    let approvals = Approvals::new(Arc::clone(&store), clock);
    let policies = &setup.loaded.policies;
    let mut screen = Screen::new();
    let frozen = Freezes::new(Arc::clone(&store), setup.system.clone()).list().await?;
    match command {
        ApprovalsCommand::List { status, limit, before, json } => {
            if status.contains(&ApprovalStatus::Expired) {
                approvals.expire_all_due().await?;
            }
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let before = before.map(ApprovalId::from);
            if let Some(cursor) = &before
                && approvals.get(cursor).await?.is_none()
            {
                return Err(unknown(cursor));
            }
            let limit_and_one = limit.saturating_add(1);
            let filter = ApprovalFilter { status, before, limit: limit_and_one, ..ApprovalFilter::default() };
            let mut found = approvals.list(filter).await?;
            let truncated = found.len() > limit;
            found.truncate(limit);
            let next = found.last().filter(|_| truncated).map(|record| record.id.clone());
            if json.json {
                let shown = found.into_iter().map(|record| setup.shown(record));
                let form = |record| with_frozen(view::approval(&record, policies), &record, &frozen);
                let forms: Vec<Value> = shown.map(form).collect();
                return screen.json(&json!({"approvals": forms, "truncated": truncated, "next": next}));
            }
            if let Some(next) = next {
                screen::note(&format!(
                    "{limit} are shown, and there are more: `--limit` shows more, `--before {next}` those before"
                ));
            }
            let rows: Vec<Vec<String>> = found.iter().map(|record| row(record, &frozen)).collect();
            let header = ["id", "status", "agent", "tool", "policy", "approvers", "asked", "expires"];
            screen.table(&header, &rows, "no approvals: nothing has been asked")
        }
        ApprovalsCommand::Show { id, json } => {
            let found = approvals.get(&ApprovalId::from(id.as_str())).await?;
            let record = whole(&*store, found.ok_or_else(|| unknown(&id))?).await?;
            let proposed = approvals.grant_proposal(&record).await?;
            let shown = setup.shown(record.clone());
            let proposed = match shown == record {
                true => proposed,
                false => proposed.map(GrantProposal::without_values),
            };
            let record = shown;
            show(&mut screen, &record, policies, (proposed.as_ref(), &frozen), json.json)
        }
        ApprovalsCommand::Watch { json } => watch(setup, &approvals, &mut screen, json.json).await,
        ApprovalsCommand::Approve(args) => {
            let grant = args.grant();
            decide(setup, &approvals, (true, grant), args.answer, (&mut screen, &frozen)).await
        }
        ApprovalsCommand::Reject(args) => {
            decide(setup, &approvals, (false, None), args, (&mut screen, &frozen)).await
        }
    }
}

/// Tells of every approval that waits, and of every change of one, whichever process makes it.
async fn watch(
    setup: &Setup,
    approvals: &Approvals,
    screen: &mut Screen,
    json: bool,
) -> Result<(), CliError> {
    let mut changes = approvals.changes();
    let mut known: BTreeMap<ApprovalId, (u64, ApprovalStatus)> = BTreeMap::new();
    let mut first = true;
    loop {
        changes.borrow_and_update();
        let filter = ApprovalFilter { limit: WATCHED, ..ApprovalFilter::default() };
        let mut found = approvals.list(filter).await?;
        found.reverse();
        for record in &found {
            let now = (record.version, record.status);
            let before = known.insert(record.id.clone(), now);
            let waits = record.status == ApprovalStatus::Pending;
            if before == Some(now) || (first && !waits) {
                continue;
            }
            if json {
                screen.json_line(&view::approval(&setup.shown(record.clone()), &setup.loaded.policies))?;
            } else {
                screen.line(&told(record))?;
            }
        }
        let oldest = found.first().map(|record| record.id.clone());
        // What has left the window is not coming back.
        if found.len() == WATCHED && oldest.is_some() {
            known.retain(|id, _| found.iter().any(|record| record.id == *id));
        }
        first = false;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                return Ok(());
            },
            // Time alone changes them too: what has expired is told.
            () = tokio::time::sleep(EXPIRY) => approvals.expire_all_due().await?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// One line about a record as it is now.
fn told(record: &ApprovalRecord) -> String {
    let what = format!(
        "{} for {} (policy {})",
        display_text(&record.binding.tool, 200),
        display_text(&record.binding.agent, 100),
        record.policy_id
    );
    let by: Vec<&str> = record.answers.iter().map(|answer| answer.person.as_str()).collect();
    match record.status {
        ApprovalStatus::Pending => {
            format!("waits     {}  {what}, until {}, for {}", record.id, time(record.expires_at), who(record))
        }
        status if by.is_empty() => format!("{:<9} {}  {what}", status.as_str(), record.id),
        status => format!("{:<9} {}  {what}, by {}", status.as_str(), record.id, by.join(", ")),
    }
}

/// With all that is sent, where the approval itself is cut: the record of its decision has it.
async fn whole(store: &dyn Store, record: ApprovalRecord) -> Result<ApprovalRecord, CliError> {
    if record.context.complete {
        return Ok(record);
    }
    let decided = EventQuery {
        event_type: Some(EventType::AgentDecision),
        approval_id: Some(record.id.clone()),
        decision: Some(EventDecision::PendingApproval),
        limit: 1,
        ..EventQuery::default()
    };
    let found = store.events(decided).await?.pop();
    Ok(match found.and_then(|event| event.draft.detail) {
        Some(detail) => completed(record, &detail),
        None => record,
    })
}

/// A record with what the detail of its decision has whole.
fn completed(record: ApprovalRecord, detail: &Value) -> ApprovalRecord {
    let Some(arguments) = detail.get("arguments") else { return record };
    let member = |name: &str| match detail.get(name) {
        Some(Value::Object(members)) if !members.is_empty() => Value::Object(members.clone()),
        Some(_) | None => Value::Null,
    };
    let context =
        ApprovalContext { complete: true, meta: member("meta"), params: member("params"), ..record.context };
    ApprovalRecord { arguments: arguments.clone(), context, ..record }
}

fn unknown(id: &str) -> CliError {
    let hint = "`tollgate approvals list` shows them all".to_owned();
    CliError::Unknown { kind: "approval", name: id.chars().take(80).collect(), hint }
}

fn row(record: &ApprovalRecord, frozen: &[Frozen]) -> Vec<String> {
    let mark = if frozen_by(record, frozen).is_empty() { "" } else { ", frozen" };
    vec![
        record.id.to_string(),
        format!("{}{mark}", record.status),
        record.binding.agent.to_string(),
        record.binding.tool.clone(),
        record.policy_id.to_string(),
        who(record),
        time(record.created_at),
        time(record.expires_at),
    ]
}

/// Who may decide, and whom an escalation adds.
fn who(record: &ApprovalRecord) -> String {
    let all = view::all_approvers(record);
    let named = if all.is_empty() { "any approver".to_owned() } else { all.join(", ") };
    let later: Vec<String> = record.requirements.iter().filter_map(escalated).collect();
    std::iter::once(named).chain(later).collect::<Vec<_>>().join("; ")
}

/// Who may decide for one requirement, and from when.
fn whom(requirement: &Requirement) -> String {
    let names: Vec<&str> = requirement.approvers.iter().map(Approver::name).collect();
    let mut whom = if names.is_empty() { "any approver".to_owned() } else { names.join(", ") };
    if requirement.evidence_required {
        whom.push_str(", with evidence");
    }
    if let Some(later) = escalated(requirement) {
        whom.push_str(&format!("; {later}"));
    }
    whom
}

/// Whom an escalation adds, and from when.
fn escalated(requirement: &Requirement) -> Option<String> {
    let (from, to) = requirement.escalation.as_ref()?;
    let names: Vec<&str> = to.iter().map(Approver::name).collect();
    Some(format!("from {} also {}", time(*from), names.join(", ")))
}

async fn decide(
    setup: &Setup,
    approvals: &Approvals,
    (approve, grant): (bool, Option<GrantAnswer>),
    args: DecideArgs,
    (screen, frozen): (&mut Screen, &[Frozen]),
) -> Result<(), CliError> {
    let answer = ApprovalResponse { approve, comment: args.comment, evidence: args.evidence, grant };
    let id = ApprovalId::from(args.id.as_str());
    let person = setup.person()?;
    // One that was asked for by a bundle on trial is decided by what that one says of people.
    let candidate = setup.candidate();
    let asked = approvals.get(&id).await?.ok_or_else(|| unknown(&args.id))?;
    let policies = match &candidate {
        Some(candidate) if candidate.snapshot == asked.binding.snapshot => candidate,
        Some(_) | None => &setup.loaded.policies,
    };
    let record = match approvals.decide(policies, person, &id, ChannelKind::Cli, answer).await {
        Err(crate::approval::DecideError::NotFound) => return Err(unknown(&args.id)),
        other => other?,
    };
    if args.json.json {
        return screen.json(&with_frozen(view::approval(&record, policies), &record, frozen));
    }
    if let Some(told) = frozen_told(&record, frozen) {
        screen::note(&told);
    }
    let what = format!("`{}` for `{}`", record.binding.tool, record.binding.agent);
    let last = record.answers.last();
    screen.line(&match record.status {
        ApprovalStatus::Approved | ApprovalStatus::Consumed => {
            let once = format!("approved: {what} may be called once, until {}", time(record.expires_at));
            match last.and_then(|answer| answer.grant_id.as_ref()) {
                Some(grant) => format!(
                    "{once}; calls like it by the standing grant {grant} (`tollgate grants show {grant}`)"
                ),
                None if last.is_some_and(|answer| answer.grant.is_some()) => {
                    format!(
                        "{once}; no standing grant was made, since others have not answered with the same one"
                    )
                }
                None => once,
            }
        }
        ApprovalStatus::Pending => {
            let missing = standing(&policies.authority, &record, &record.answers).missing();
            format!("recorded: {what} needs {missing} more")
        }
        ApprovalStatus::Rejected | ApprovalStatus::Cancelled => format!("rejected: {what}"),
        ApprovalStatus::Expired => format!("expired: {what}"),
    })
}

/// That nothing comes of an approval while its call is frozen.
fn frozen_told(record: &ApprovalRecord, frozen: &[Frozen]) -> Option<String> {
    let by = frozen_by(record, frozen);
    (!by.is_empty()).then(|| {
        format!(
            "{} is frozen: the call is refused, approved or not, until an admin lifts that (`tollgate freeze list`)",
            display_text(&by.join(", "), 400)
        )
    })
}

fn show(
    screen: &mut Screen,
    record: &ApprovalRecord,
    policies: &PolicySet,
    (proposed, frozen): (Option<&GrantProposal>, &[Frozen]),
    json: bool,
) -> Result<(), CliError> {
    let mut form = with_frozen(view::approval(record, policies), record, frozen);
    if let (Some(members), Some(proposed)) = (form.as_object_mut(), proposed) {
        members.insert("proposed_grant".to_owned(), proposed.form());
    }
    if json {
        return screen.json(&form);
    }
    screen.field("approval", &format!("{}  ({})", record.id, record.status))?;
    if let Some(told) = frozen_told(record, frozen) {
        screen.field("frozen", &told)?;
    }
    show_call(screen, record)?;
    show_needs(screen, record, policies)?;
    show_grants(screen, record, proposed)?;
    show_decisions(screen, record, &form)
}

/// Who asks for what: all that the answer is about.
fn show_call(screen: &mut Screen, record: &ApprovalRecord) -> Result<(), CliError> {
    screen.field(
        "who asks",
        &format!("agent `{}`, operator {}", record.binding.agent, or_dash(record.operator.as_ref())),
    )?;
    screen.field(
        "for what",
        &format!("`{}` on upstream `{}` ({})", record.binding.tool, record.upstream, record.action),
    )?;
    let context = &record.context;
    if let Some(workflow) = &record.workflow_id {
        screen.field("workflow", workflow)?;
    }
    if let Some(description) = &context.description {
        // On lines of its own nothing in it could pass for a field.
        screen.field("its server says", &format!("\"{}\"", display_text(description, description.len())))?;
    }
    if let Some(traits) = context.traits {
        screen.field("it is taken as", &taken_as(traits))?;
    }
    if !context.labels.is_empty() {
        screen.field("labels", &context.labels.join(", "))?;
    }
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    screen.field("arguments", &pretty(&record.arguments))?;
    for (name, value) in [("_meta", &context.meta), ("other params", &context.params)] {
        if !value.is_null() {
            screen.field(name, &pretty(value))?;
        }
    }
    if record.redacted {
        screen.field("", "(sensitive values are masked)")?;
    }
    if !context.complete {
        let whole = format!("(cut: `tollgate audit show {} --json` has them whole)", record.trace_id);
        screen.field("", &whole)?;
    }
    Ok(())
}

/// Why it was stopped, who must agree, and until when.
fn show_needs(screen: &mut Screen, record: &ApprovalRecord, policies: &PolicySet) -> Result<(), CliError> {
    let rule = record.rule_id.as_ref().map(|rule| format!(", rule `{rule}`")).unwrap_or_default();
    screen.field("why it was stopped", &format!("policy `{}`{rule}: {}", record.policy_id, record.reason))?;
    screen.field("estimated cost", &format!("{} USD", record.cost_estimate_usd))?;
    let standing = standing(&policies.authority, record, &record.answers);
    for (requirement, (have, need)) in record.requirements.iter().zip(&standing.met) {
        screen.field(
            "needs",
            &format!(
                "{have} of {need} by {} (policy `{}`: {})",
                whom(requirement),
                requirement.policy_id,
                display_text(&requirement.reason, requirement.reason.len())
            ),
        )?;
    }
    screen.field("asked", &time(record.created_at))?;
    screen.field("expires", &time(record.expires_at))?;
    screen.field("trace", &record.trace_id.to_string())?;
    screen.field("policy snapshot", &record.binding.snapshot)?;
    Ok(())
}

/// Whether an answer may make a standing grant, and which one would save somebody from answering again.
fn show_grants(
    screen: &mut Screen,
    record: &ApprovalRecord,
    proposed: Option<&GrantProposal>,
) -> Result<(), CliError> {
    if let Some(limits) = record.grant_limits() {
        let longest = humantime::format_duration(limits.max_duration);
        screen.field(
            "may be granted",
            &format!("for at most {longest}, for at most {}", counted(limits.max_uses, "call")),
        )?;
    }
    let Some(GrantProposal { approver, times, grant }) = proposed else { return Ok(()) };
    let bounds: Vec<String> = grant.arguments.iter().map(|(name, bound)| where_of(name, bound)).collect();
    let shown = |text: &String| format!(" --where '{}'", display_text(text, text.len()));
    screen.field(
        "proposed grant",
        &format!(
            "{approver} has approved calls like this one {times} times: \
             `tollgate approvals approve {} --grant {} --uses {}{}`",
            record.id,
            humantime::format_duration(grant.duration).to_string().replace(' ', ""),
            grant.uses,
            bounds.iter().map(shown).collect::<String>(),
        ),
    )
}

/// What people answered so far, as the admin API shows it.
fn show_decisions(screen: &mut Screen, record: &ApprovalRecord, form: &Value) -> Result<(), CliError> {
    let decisions = form.get("decisions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (answer, shown) in record.answers.iter().zip(decisions) {
        let word = if answer.approve { "approved" } else { "rejected" };
        let text = |member: &str| shown.get(member).and_then(Value::as_str).map(str::to_owned);
        let comment = text("comment").map(|c| format!(": {c}")).unwrap_or_default();
        let evidence = text("evidence").map(|e| format!(" [evidence: {e}]")).unwrap_or_default();
        let grant = answer.grant.as_ref().map(|grant| format!(" [standing grant: {}]", answer_form(grant)));
        let grant = grant.unwrap_or_default();
        screen.field(
            "decision",
            &format!(
                "{word} by {} by {} at {}{comment}{evidence}{grant}",
                answer.person,
                answer.channel.as_str(),
                time(answer.at)
            ),
        )?;
    }
    Ok(())
}
