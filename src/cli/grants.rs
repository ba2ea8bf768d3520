//! `tollgate grants …`: standing grants, on the store itself.

use super::{
    args::{GrantsCommand, where_of},
    failure::CliError,
    screen::{self, Screen, or_dash, time},
    setup::{Setup, Sight},
};
use crate::{
    approval::{Approvals, RevokeError},
    clock::Clock,
    front::admin::{grant_with_calls, view},
    model::GrantId,
    redaction::display_text,
    store::{GrantFilter, StandingGrant, Store},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Runs one of them.
pub(super) async fn grants(setup: Setup, command: GrantsCommand) -> Result<(), CliError> {
    // A missing key is told before anything is opened.
    if let GrantsCommand::Revoke { .. } = command {
        setup.person()?;
    }
    let store = setup.store()?;
    let done = on_store(&setup, &store, command).await;
    store.close().await;
    done
}

async fn on_store(setup: &Setup, store: &Arc<dyn Store>, command: GrantsCommand) -> Result<(), CliError> {
    let clock: Arc<dyn Clock> = setup.system.clone();
    let approvals = Approvals::new(Arc::clone(store), clock);
    let mut screen = Screen::new();
    let sight = setup.sight();
    // An approver sees the grants that they made.
    let sees = |grant: &StandingGrant| {
        sight == Sight::Whole
            || setup.person_given().is_some_and(|person| grant.terms.approvers.contains(person))
    };
    let shown = |grant: StandingGrant| if sees(&grant) { grant } else { grant.without_values() };
    match command {
        GrantsCommand::List { all, agent, tool, before, limit, json } => {
            sight.allows(tool.as_ref())?;
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let filter = GrantFilter {
                live: !all,
                agent,
                tool,
                before: before.map(GrantId::from),
                limit: limit.saturating_add(1),
                ..GrantFilter::default()
            };
            let mut found = approvals.grants(filter).await?;
            let truncated = found.len() > limit;
            found.truncate(limit);
            let found: Vec<StandingGrant> = found.into_iter().map(shown).collect();
            if json.json {
                let next = found.last().filter(|_| truncated).map(|grant| &grant.id);
                let forms: Vec<Value> = found.iter().map(view::grant).collect();
                return screen.json(&json!({"grants": forms, "truncated": truncated, "next": next}));
            }
            if truncated {
                screen::note(&format!(
                    "the newest {limit} are shown, and there are more: `--limit` and `--before ID` show them"
                ));
            }
            let rows: Vec<Vec<String>> = found.iter().map(row).collect();
            let header = ["id", "status", "agent", "tool", "where", "uses left", "expires", "approver"];
            screen.table(
                &header,
                &rows,
                "no grants: nobody has answered an approval with one that still counts",
            )
        }
        GrantsCommand::Show { id, json } => {
            let found = approvals.grant(&GrantId::from(id.as_str())).await?;
            let grant = found.ok_or_else(|| unknown(&id))?;
            let values = sees(&grant);
            let grant = shown(grant);
            let form = grant_with_calls(&**store, &grant, values).await?;
            if json.json {
                return screen.json(&form);
            }
            show(&mut screen, &grant, &form)
        }
        GrantsCommand::Revoke { id, reason, json } => {
            let policies = &setup.loaded.policies;
            let person = setup.person()?;
            let roles = setup.roles();
            let id_given = GrantId::from(id.as_str());
            let revoked = approvals.revoke_grant(policies, (person, roles), &id_given, reason).await;
            let grant = match revoked {
                Ok(grant) => grant,
                Err(RevokeError::NotFound) => return Err(unknown(&id)),
                Err(RevokeError::Store(error)) => return Err(error.into()),
                Err(other) => return Err(CliError::Told(other.to_string())),
            };
            if json.json {
                return screen.json(&view::grant(&grant));
            }
            screen.line(&format!(
                "revoked: `{}` asks again before `{}`",
                grant.terms.agent,
                display_text(&grant.terms.tool, 200)
            ))
        }
    }
}

fn unknown(id: &str) -> CliError {
    let hint = "`tollgate grants list --all` shows them all".to_owned();
    CliError::Unknown { kind: "grant", name: id.chars().take(80).collect(), hint }
}

fn status(grant: &StandingGrant) -> &'static str {
    grant.ended.as_ref().map_or("live", |end| end.why.as_str())
}

/// What its arguments may be, in words.
fn bounds(grant: &StandingGrant) -> String {
    let terms = &grant.terms;
    let mut parts: Vec<String> = terms.arguments.iter().map(|(name, bound)| where_of(name, bound)).collect();
    parts.extend(terms.as_asked().into_iter().map(|name| format!("{name} as asked")));
    let text = if parts.is_empty() { "no arguments".to_owned() } else { parts.join(", ") };
    display_text(&text, 2000)
}

fn row(grant: &StandingGrant) -> Vec<String> {
    let terms = &grant.terms;
    vec![
        grant.id.to_string(),
        status(grant).to_owned(),
        terms.agent.to_string(),
        display_text(&terms.tool, 200),
        bounds(grant),
        format!("{} of {}", grant.uses_left(), terms.uses),
        time(terms.expires_at),
        or_dash(terms.approvers.last()),
    ]
}

fn show(screen: &mut Screen, grant: &StandingGrant, form: &Value) -> Result<(), CliError> {
    let terms = &grant.terms;
    screen.field("grant", &format!("{}  ({})", grant.id, status(grant)))?;
    screen.field("agent", &terms.agent)?;
    screen.field("user", &or_dash(terms.user.as_ref()))?;
    screen.field("workflow", &or_dash(terms.workflow.as_ref()))?;
    screen
        .field("tool", &format!("`{}` on upstream `{}`", display_text(&terms.tool, 200), terms.upstream))?;
    screen.field("capability", &or_dash(terms.capability.as_ref()))?;
    screen.field("where", &bounds(grant))?;
    screen.field("uses left", &format!("{} of {}", grant.uses_left(), terms.uses))?;
    let names: Vec<&str> = terms.approvers.iter().map(|person| person.as_str()).collect();
    screen.field(
        "made",
        &format!("by {} at {} (approval {})", names.join(", "), time(terms.made_at), terms.approval),
    )?;
    screen.field("expires", &time(terms.expires_at))?;
    for (policy, rule) in &terms.rules {
        let rule = rule.as_ref().map(|rule| format!(", rule `{rule}`")).unwrap_or_default();
        screen.field("instead of", &format!("asking by policy `{policy}`{rule}"))?;
    }
    screen.field("policy snapshot", &terms.snapshot)?;
    if let Some(end) = &grant.ended {
        let by = end.by.as_ref().map(|by| format!(" ({by})")).unwrap_or_default();
        let said =
            end.reason.as_deref().map(|said| format!(": {}", display_text(said, 400))).unwrap_or_default();
        screen.field("ended", &format!("{}: {}{by}{said}", time(end.at), end.why.phrase()))?;
    }
    let calls = form.get("calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for call in calls {
        let text = |member: &str| call.get(member).and_then(Value::as_str).unwrap_or("-").to_owned();
        let arguments = call.get("arguments").map(Value::to_string).unwrap_or_default();
        screen.field(
            "let through",
            &format!(
                "{}  call {}, trace {}  {}",
                text("at"),
                text("call_id"),
                text("trace_id"),
                display_text(&arguments, 300)
            ),
        )?;
    }
    Ok(())
}
