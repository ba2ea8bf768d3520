//! `tollgate policy explain`: what would be decided of a call, or was, and why.

use super::super::{
    args::ExplainArgs,
    failure::CliError,
    known, pins,
    screen::{Screen, note},
    setup::{Setup, record},
    wiring,
};
use crate::{
    activation,
    clock::{IdSource as _, System},
    cost::LearnedSizes,
    gateway::{CALL_KEY, Explanation, Question, Resolver, ResolverParts, explain_recorded, render},
    model::{AgentId, CallKind, Event, EventType, TraceId},
    pinning::Book,
    store::{EventQuery, Store},
};
use std::{path::PathBuf, sync::Arc};

/// Explains what the arguments name.
pub(super) async fn explain(path: PathBuf, args: ExplainArgs) -> Result<(), CliError> {
    let json = args.json.json;
    if let Some(trace) = args.trace {
        let (store, _) = record(&path)?;
        let explained = of_trace(&*store, trace).await;
        store.close().await;
        return show(&explained?, json);
    }
    let setup = Setup::load(&path)?;
    let store = match wiring::store_exists(&setup.loaded.config.store) {
        Ok(true) => Some(setup.store()?),
        Ok(false) | Err(_) => None,
    };
    let explained = of_call(setup, store.as_ref(), args).await;
    if let Some(store) = store {
        store.close().await;
    }
    show(&[explained?], json)
}

fn show(all: &[Explanation], json: bool) -> Result<(), CliError> {
    let mut screen = Screen::new();
    match (json, all) {
        (true, [one]) => screen.json(one),
        (true, [first, rest @ ..]) => {
            note(&format!("the trace has {} more decisions: the first is shown", rest.len()));
            screen.json(first)
        }
        (_, all) => {
            let texts: Vec<String> = all.iter().map(render).collect();
            screen.line(texts.join("\n").trim_end())
        }
    }
}

/// The parts of a command that decides without a gateway: the bundle with a key for its masks, and what resolves calls. With
/// `pins`, what is quarantined is; without, everything is taken as pinned.
pub(super) fn resolver(
    setup: Setup,
    named: &[known::Named],
    (learned, call_key): (Arc<LearnedSizes>, Option<[u8; 32]>),
    pins: Option<Book>,
) -> Result<(Resolver, Arc<System>), CliError> {
    let Setup { loaded, system, .. } = setup;
    let mut policies = loaded.policies;
    // Masks are made for this answer alone.
    policies.data = policies.data.with_key(system.random());
    let (catalog, unknown) = known::catalog(&loaded.config, &policies.data, named, pins);
    for upstream in unknown {
        note(&format!(
            "what upstream `{upstream}` lists is not known yet: its tools are taken as servers.toml has them, without schemas"
        ));
    }
    let parts = ResolverParts { clock: system.clone(), ids: system.clone(), learned, call_key };
    let resolver = Resolver::new(loaded.config, policies, catalog, parts)
        .map_err(|source| CliError::Io { what: "cannot find this program's own file".to_owned(), source })?;
    Ok((resolver, system))
}

async fn of_call(
    setup: Setup,
    store: Option<&Arc<dyn Store>>,
    args: ExplainArgs,
) -> Result<Explanation, CliError> {
    let target = args.target;
    let (kind, name) = match (target.tool, target.resource, target.prompt) {
        (Some(tool), _, _) => (CallKind::Tool, tool),
        (None, Some(uri), _) => (CallKind::Resource, uri),
        (None, None, Some(prompt)) => (CallKind::Prompt, prompt),
        (None, None, None) => {
            let told = "what is called is missing: --tool NAME, --resource URI or --prompt NAME";
            return Err(CliError::Told(told.to_owned()));
        }
    };
    let (known, pins) = match store {
        Some(store) => {
            let call_key = store.secret(CALL_KEY, setup.system.random()).await?;
            let pins = pins::book(Some(store)).await?;
            ((store.learned_sizes().await?, Some(call_key)), Some(pins))
        }
        None => ((Arc::default(), None), None),
    };
    let now = setup.now();
    let (mut resolver, system) = resolver(setup, &[(kind, name.clone())], known, pins)?;
    if let Some(store) = store {
        resolver.usage = Some((now, store.budget_usage(now).await?));
    }
    if let Some(wanted) = args.snapshot.filter(|wanted| **wanted != *resolver.policies().snapshot) {
        let kept = match store {
            Some(store) => {
                let snapshot = activation::resolve(&**store, &wanted).await?;
                wiring::kept_bundle(&**store, &snapshot).await?
            }
            None => None,
        };
        let hint = "its bundle is not kept in the store; `tollgate audit query --event-type policy_activated` lists those \
                    that were in force";
        let unknown = || CliError::Unknown { kind: "snapshot", name: wanted.clone(), hint: hint.to_owned() };
        let mut policies = kept.ok_or_else(unknown)?;
        policies.data = policies.data.with_key(system.random());
        resolver.set_policies(policies);
    }
    let question = Question {
        agent: AgentId::from(args.agent.unwrap_or_default()),
        kind,
        name,
        arguments: args.arguments,
        user: args.user.map(Into::into),
        workflow: args.workflow,
        at: args.at.map(|moment| moment.at(now)),
        repeats: None,
        session_labels: args.labels.into_iter().map(Arc::from).collect(),
    };
    if let Some((store, query)) = store.zip(resolver.loop_query(&question, now)) {
        resolver.loops = store.loops(query).await?;
    }
    resolver.explain(&question, true).map_err(|error| CliError::Told(error.to_string()))
}

/// The decisions of a trace, each under the bundle that made it.
async fn of_trace(store: &dyn Store, trace: TraceId) -> Result<Vec<Explanation>, CliError> {
    let query = EventQuery {
        event_type: Some(EventType::AgentDecision),
        trace_id: Some(trace),
        limit: 100,
        ..EventQuery::default()
    };
    let events = store.events(query).await?;
    if events.is_empty() {
        let hint = "`tollgate audit query` lists the newest".to_owned();
        return Err(CliError::Unknown { kind: "decision of trace", name: trace.to_string(), hint });
    }
    let mut all = Vec::new();
    for event in &events {
        all.push(of_event(store, event).await?);
    }
    Ok(all)
}

/// One decision on record, under the bundle that made it.
pub(in crate::cli) async fn of_event(store: &dyn Store, event: &Event) -> Result<Explanation, CliError> {
    let draft = &event.draft;
    let set = match &draft.policy_snapshot {
        Some(snapshot) => wiring::kept_bundle(store, snapshot).await?,
        None => None,
    };
    let set = set.ok_or_else(|| {
        CliError::Told(format!(
            "the decision with seq {} cannot be explained: the bundle that made it is not kept, or cannot be read now",
            event.seq
        ))
    })?;
    let tools = wiring::kept_tools(store, draft).await?;
    Ok(explain_recorded(draft, &set, &|hash| tools.get(hash).cloned()))
}
