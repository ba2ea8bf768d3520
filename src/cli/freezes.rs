//! `tollgate freeze …` and `tollgate unfreeze …`: on the store itself, so that they work whether or not a gateway runs.

use super::{
    args::{FreezeArgs, FreezeCommand, FreezeTargetArgs, UnfreezeArgs},
    failure::CliError,
    known,
    screen::{Screen, note, time},
    setup::Setup,
};
use crate::{
    admission::{FreezeKind, FreezeTarget},
    approval::{FreezeError, Freezes, Froze, Frozen, freeze_doubt},
    redaction::display_text,
    store::Store,
};
use serde_json::{Value, json};
use std::sync::Arc;

impl From<FreezeError> for CliError {
    fn from(error: FreezeError) -> Self {
        match error {
            FreezeError::Store(store) => store.into(),
            other => Self::Told(other.to_string()),
        }
    }
}

/// What is named, if anything.
fn target(args: &FreezeTargetArgs) -> Result<Option<FreezeTarget>, CliError> {
    let named = [
        (FreezeKind::Agent, &args.agent),
        (FreezeKind::User, &args.user),
        (FreezeKind::Tool, &args.tool),
        (FreezeKind::Upstream, &args.upstream),
        (FreezeKind::Capability, &args.capability),
    ];
    let named = named.into_iter().find_map(|(kind, name)| Some((kind, name.as_deref()?)));
    let named = named.or(args.all.then_some((FreezeKind::All, "")));
    let target = named.map(|(kind, name)| FreezeTarget::new(kind, name));
    target.transpose().map_err(CliError::Told)
}

/// `freeze …`
pub(super) async fn freeze(setup: Setup, args: FreezeArgs) -> Result<(), CliError> {
    let store = setup.store()?;
    let done = match args.command {
        Some(FreezeCommand::List { json }) => list(&setup, &store, json.json).await,
        None => freeze_on(&setup, &store, &args).await,
    };
    store.close().await;
    done
}

fn on(setup: &Setup, store: &Arc<dyn Store>) -> Freezes {
    Freezes::new(store.clone(), setup.system.clone())
}

async fn list(setup: &Setup, store: &Arc<dyn Store>, as_json: bool) -> Result<(), CliError> {
    let found = on(setup, store).list().await?;
    let mut screen = Screen::new();
    if as_json {
        let forms: Vec<Value> = found.iter().map(Frozen::form).collect();
        return screen.json(&json!({"freezes": forms}));
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|Frozen { target, freeze }| {
            vec![
                freeze.id.clone(),
                display_text(&target.words(), 200),
                time(freeze.since),
                freeze.by.as_ref().map_or("the local admin", |by| by.as_str()).to_owned(),
                display_text(&freeze.reason, 400),
            ]
        })
        .collect();
    screen.table(&["id", "frozen", "since", "by", "reason"], &rows, "nothing is frozen")
}

async fn freeze_on(setup: &Setup, store: &Arc<dyn Store>, args: &FreezeArgs) -> Result<(), CliError> {
    let missing = "name what to freeze: --agent, --user, --tool, --upstream, --capability or --all";
    let target = target(&args.target)?.ok_or_else(|| CliError::Told(missing.to_owned()))?;
    let reason = args.reason.as_deref().unwrap_or_default();
    let Froze { frozen, already } =
        on(setup, store).freeze(&setup.loaded.policies.data, target, setup.person_given(), reason).await?;
    let doubt = doubt(setup, &frozen.target);
    let mut screen = Screen::new();
    if args.json.json {
        let mut form = frozen.form();
        if let Some(form) = form.as_object_mut() {
            form.insert("already".to_owned(), already.into());
            form.extend(doubt.clone().map(|doubt| ("warning".to_owned(), Value::String(doubt))));
        }
        screen.json(&form)?;
    } else {
        told(&mut screen, &frozen, already)?;
    }
    match doubt {
        // Somebody in a hurry must not take it for done. Who comes with a token need not be in the files.
        Some(doubt) if frozen.target.kind != FreezeKind::User => Err(CliError::Told(doubt)),
        Some(doubt) => {
            note(&doubt);
            Ok(())
        }
        None => Ok(()),
    }
}

fn told(screen: &mut Screen, frozen: &Frozen, already: bool) -> Result<(), CliError> {
    let Frozen { target, freeze } = frozen;
    let words = display_text(&target.words(), 300);
    if already {
        let since = time(freeze.since);
        let by = freeze.by.as_ref().map_or("the local admin", |by| by.as_str());
        return screen.line(&format!(
            "{words} is frozen already, since {since} by {by}: {}  ({})",
            display_text(&freeze.reason, 400),
            freeze.id
        ));
    }
    screen.line(&format!("frozen: {words}  ({})", freeze.id))
}

/// What is odd about a name, as far as the files and what servers listed last tell.
fn doubt(setup: &Setup, target: &FreezeTarget) -> Option<String> {
    let config = &setup.loaded.config;
    let upstreams = config.upstreams.keys().chain(config.disabled.keys()).map(|name| name.as_str());
    // Whoever has not listed yet may have it.
    let listings = known::remembered(config);
    let all_known = config.upstreams.keys().all(|name| listings.contains_key(name));
    let tools = known::tools(config);
    let tools = all_known.then(|| tools.keys().map(|name| &**name));
    freeze_doubt(target, &setup.loaded.policies, upstreams, tools)
}

/// `unfreeze …`
pub(super) async fn unfreeze(setup: Setup, args: UnfreezeArgs) -> Result<(), CliError> {
    let person = setup.admin_person()?;
    let target = target(&args.target)?;
    if target.is_none() && args.id.is_none() {
        let missing = "name what to lift: an id of `tollgate freeze list`, or --agent, --user, --tool, --upstream, --capability or --all";
        return Err(CliError::Told(missing.to_owned()));
    }
    let store = setup.store()?;
    let wanted = |frozen: &Frozen| match (&args.id, &target) {
        (Some(id), _) => frozen.freeze.id == *id,
        (None, target) => target.as_ref() == Some(&frozen.target),
    };
    let reason = args.reason.as_deref().unwrap_or_default();
    let lifted = on(&setup, &store).unfreeze(&setup.loaded.policies.data, wanted, (&person, reason)).await;
    store.close().await;
    let lifted = lifted?;
    if reason.trim().is_empty() {
        note("the record does not say why it was lifted: --reason does");
    }
    let mut screen = Screen::new();
    if args.json.json {
        return screen.json(&lifted.form());
    }
    screen.line(&format!("lifted: {}", display_text(&lifted.target.words(), 300)))
}
