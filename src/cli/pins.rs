//! `tollgate servers pin`, `diff` and `accept`: what servers list now and what a running gateway saw, beside what is pinned.

use super::{
    failure::CliError,
    inspection, known,
    screen::{Screen, note},
    setup::Setup,
    wiring,
};
use crate::{
    catalog::{AcceptError, Catalog, CatalogBuilder, PinChange, Review, Seen, Wanted, naming},
    config::Config,
    evidence::PinContext,
    model::UpstreamName,
    pinning::{Book, ItemKind, NamedItem, Record, TextChange, shown},
    redaction::visible,
    store::{Register, Store},
    upstream::{Health, UpstreamState},
};
use serde_json::{Value, json};
use std::{collections::HashSet, sync::Arc, time::Duration};

/// How long an upstream may take to connect and list.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be accepted.
pub(super) struct Accept {
    pub(super) upstream: UpstreamName,
    pub(super) name: Option<String>,
    pub(super) kind: Option<ItemKind>,
    pub(super) fingerprint: Option<String>,
}

/// What is pinned, and what servers list now.
struct Looked {
    book: Arc<Book>,
    catalog: Catalog,
    /// Servers that answered, with whole lists.
    listed: HashSet<UpstreamName>,
    /// Servers that did not, and why.
    silent: Vec<(UpstreamName, String)>,
}

impl Looked {
    fn review<'r>(&'r self, setup: &'r Setup) -> Review<'r> {
        let data = &setup.loaded.policies.data;
        Review { book: &self.book, seen: &self.catalog.seen, listed: &self.listed, data }
    }
}

/// The pins of a store; none are in one that is not there yet.
pub(super) async fn book(store: Option<&Arc<dyn Store>>) -> Result<Book, CliError> {
    let Some(store) = store else { return Ok(Book::default()) };
    let entries = store.register(Register::Pin).await?;
    let entries = entries.iter().map(|entry| (&*entry.key, entry.version, &*entry.value));
    Ok(Book::read(entries))
}

/// The store, where there is one.
fn store(setup: &Setup) -> Result<Option<Arc<dyn Store>>, CliError> {
    match setup.store() {
        Ok(store) => Ok(Some(store)),
        Err(CliError::NoStore(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

/// Tools that servers which are not asked now listed last: what is asked is held against their names.
fn others(setup: &Setup, config: &Config) -> Vec<NamedItem> {
    let all = &setup.loaded.config;
    let listed = known::remembered(all).into_iter().filter(|(name, _)| !config.upstreams.contains_key(name));
    let tools = listed.flat_map(|(name, listed)| {
        let prefix = all.upstreams.get(&name).map(|upstream| upstream.prefix.clone()).unwrap_or_default();
        let separator = all.gateway.separator.clone();
        listed.tools.into_keys().map(move |own| NamedItem {
            upstream: name.clone(),
            kind: ItemKind::Tool,
            exposed: naming::exposed_name(&naming::full_name(&prefix, &separator, &own)).into(),
            name: own.into(),
            since: None,
        })
    });
    tools.collect()
}

fn build(setup: &Setup, config: &Config, states: &[Arc<UpstreamState>], pins: Option<Arc<Book>>) -> Catalog {
    let mut builder = CatalogBuilder::default();
    builder.data = setup.loaded.policies.data.clone();
    builder.others = others(setup, config);
    builder.pins = pins;
    builder.build(config, states)
}

/// The catalog of some servers with everything that they list in it, whatever is pinned: no store is asked.
pub(super) fn listed_by(setup: &Setup, config: &Config, states: &[Arc<UpstreamState>]) -> Catalog {
    build(setup, config, states, None)
}

/// The catalog of some servers with everything that they list in it, whatever is held, and how it stands by its pins, with those.
pub(super) async fn catalog_of(
    setup: &Setup,
    config: &Config,
    states: &[Arc<UpstreamState>],
) -> Result<(Catalog, Arc<Book>), CliError> {
    let store = store(setup)?;
    let book = book(store.as_ref()).await;
    if let Some(store) = store {
        store.close().await;
    }
    let book: Arc<Book> = book?.into();
    Ok((build(setup, config, states, Some(book.clone())), book))
}

async fn look(setup: &Setup, config: &Config, book: Arc<Book>) -> Result<Looked, CliError> {
    let states =
        inspection::inspect_upstreams(config, &setup.loaded.policies, &setup.system, PATIENCE).await?;
    let catalog = build(setup, config, &states, Some(book.clone()));
    let (mut listed, mut silent) = (HashSet::new(), Vec::new());
    for state in &states {
        let why = match &state.health {
            Health::Up => match state.missing.first() {
                None => {
                    listed.insert(state.name.clone());
                    continue;
                }
                Some(missing) => missing.clone(),
            },
            Health::Starting => "it has not answered within 10 s".to_owned(),
            Health::Down { cause, .. } => cause.whole(),
        };
        silent.push((state.name.clone(), why));
    }
    Ok(Looked { book, catalog, listed, silent })
}

/// The configuration with one of its servers alone.
pub(super) fn only(setup: &Setup, name: &UpstreamName) -> Result<Config, CliError> {
    let mut config = setup.loaded.config.clone();
    if let Some(disabled) = config.disabled.get(name) {
        return Err(CliError::Told(format!("`{name}` is disabled: {}", disabled.reason)));
    }
    if !config.upstreams.contains_key(name) {
        let known: Vec<&str> = config.upstreams.keys().map(|name| name.as_str()).collect();
        let hint = format!("servers.toml has {}", known.join(", "));
        return Err(CliError::Unknown { kind: "server", name: name.to_string(), hint });
    }
    config.upstreams.retain(|other, _| other == name);
    Ok(config)
}

fn chosen(setup: &Setup, name: Option<&UpstreamName>) -> Result<Config, CliError> {
    match name {
        Some(name) => only(setup, name),
        None => Ok(setup.loaded.config.clone()),
    }
}

/// `servers diff`: what is not as it was pinned.
pub(super) async fn diff(
    setup: &Setup,
    name: Option<UpstreamName>,
    kind: Option<ItemKind>,
    json: bool,
) -> Result<(), CliError> {
    let config = chosen(setup, name.as_ref())?;
    let store = store(setup)?;
    let book = book(store.as_ref()).await;
    if let Some(store) = &store {
        store.close().await;
    }
    let looked = look(setup, &config, book?.into()).await?;
    for (name, why) in &looked.silent {
        note(&format!("`{name}` does not list all it has: {why}; what a running gateway saw of it is shown"));
    }
    for upstream in &looked.listed {
        if looked.book.of(upstream).next().is_none() {
            note(&format!(
                "nothing of `{upstream}` is pinned yet: it is pinned as listed when Tollgate first serves it, or by `tollgate \
                 servers pin {upstream}`"
            ));
        }
    }
    let mut changes = looked.review(setup).changes(name.as_ref());
    changes.retain(|change| kind.is_none_or(|kind| change.kind == kind));
    let mut screen = Screen::new();
    if json {
        return screen.json(&json!({"changes": changes}));
    }
    if changes.is_empty() {
        return match kind {
            Some(kind) => screen.line(&format!("no {kind} differs from what is pinned")),
            None => screen.line("nothing differs from what is pinned"),
        };
    }
    changes.iter().try_for_each(|change| show(&mut screen, change))
}

/// One change, as a person compares it.
fn show(screen: &mut Screen, change: &PinChange) -> Result<(), CliError> {
    let PinChange { upstream, kind, name, exposed, state, .. } = change;
    let listed = if name == exposed { String::new() } else { format!(" (`{exposed}`)") };
    screen.line(&format!("{state}: {kind} `{name}`{listed} of server `{upstream}`"))?;
    for difference in &change.differences {
        let at = if difference.at.is_empty() { "/" } else { &difference.at };
        if difference.changes.is_empty() {
            screen.line(&format!("  {at}: {} → {}", value(&difference.before), value(&difference.after)))?;
        } else {
            screen.line(&format!("  {at}:"))?;
            for line in marked(&difference.changes).lines() {
                screen.line(&format!("    {}", visible(line)))?;
            }
        }
    }
    for finding in &change.findings {
        screen.line(&format!(
            "  found ({}): {} at {}: {}",
            finding.kind.as_str(),
            finding.what,
            finding.at,
            finding.text
        ))?;
    }
    if let Some(note) = change.note {
        screen.line(&format!("  {note}"))?;
    }
    if let Some(fingerprint) = &change.fingerprint {
        screen.line(&format!(
            "  accept it: tollgate servers accept {upstream} --tool {} --kind {kind} --fingerprint {fingerprint}",
            quoted(name)
        ))?;
    }
    screen.line("")
}

fn quoted(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b));
    if plain { name.to_owned() } else { format!("'{}'", name.replace('\'', "'\\''")) }
}

/// A value in one line; nothing where there was none.
fn value(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        value => {
            let text = value.to_string();
            let part: String = text.chars().take(400).collect();
            let more = if part.len() < text.len() { "…" } else { "" };
            format!("{part}{more}")
        }
    }
}

/// Both texts in one: what went and what came are marked, and long parts that are the same are cut.
fn marked(changes: &[TextChange]) -> String {
    let mut out = String::new();
    for change in changes {
        match change {
            TextChange::Same(text) => {
                let count = text.chars().count();
                if count > 240 {
                    let head: String = text.chars().take(100).collect();
                    let tail: String = text.chars().skip(count - 100).collect();
                    out.push_str(&format!("{head} […] {tail}"));
                } else {
                    out.push_str(text);
                }
            }
            TextChange::Removed(text) => out.push_str(&format!("[-{text}-]")),
            TextChange::Added(text) => out.push_str(&format!("{{+{text}+}}")),
        }
    }
    out
}

fn context(setup: &Setup) -> PinContext<'_> {
    let policies = &setup.loaded.policies;
    PinContext { snapshot: Some(&policies.snapshot), environment: &policies.environment, now: setup.now() }
}

fn told(error: AcceptError) -> CliError {
    match error {
        AcceptError::Store(error) => error.into(),
        other => CliError::Told(other.to_string()),
    }
}

/// `servers accept`: a person takes what is listed for what it is.
pub(super) async fn accept(setup: &Setup, wanted: &Accept, json: bool) -> Result<(), CliError> {
    let person = &setup.admin_person()?;
    let config = only(setup, &wanted.upstream)?;
    let store = setup.store()?;
    let done = async {
        let book = book(Some(&store)).await?;
        let looked = look(setup, &config, book.into()).await?;
        for (name, why) in &looked.silent {
            note(&format!(
                "`{name}` does not list all it has: {why}; what a running gateway saw of it counts"
            ));
        }
        let wanted = Wanted {
            upstream: &wanted.upstream,
            name: wanted.name.as_deref(),
            kind: wanted.kind,
            fingerprint: wanted.fingerprint.as_deref(),
            channel: "cli",
        };
        looked.review(setup).accept(&*store, person, &wanted, context(setup)).await.map_err(told)
    };
    let done = done.await;
    store.close().await;
    let accepted = done?;
    let mut screen = Screen::new();
    if json {
        return screen.json(&json!({"accepted": accepted}));
    }
    for one in &accepted {
        let how = match one.fingerprint {
            Some(_) => "accepted",
            None => "its pin is removed",
        };
        screen.line(&format!("{how}: {} `{}` ({})", one.kind, one.name, one.state))?;
    }
    screen.line("every running process follows within a second")
}

/// `servers pin`: everything that is listed is pinned as it is now.
pub(super) async fn pin(setup: &Setup, name: Option<UpstreamName>, json: bool) -> Result<(), CliError> {
    let by = setup.person_given();
    let config = chosen(setup, name.as_ref())?;
    wiring::ensure_data_dir(&setup.loaded.config)?;
    let store = match store(setup)? {
        Some(store) => store,
        None => wiring::open_store(&setup.loaded.config, &setup.system)?,
    };
    let done = async {
        let book = book(Some(&store)).await?;
        let looked = look(setup, &config, book.into()).await?;
        let review = looked.review(setup);
        let waits: Vec<PinChange> =
            review.changes(name.as_ref()).into_iter().filter(|change| change.pinned.is_some()).collect();
        if by.is_none()
            && let Some(first) = waits.first()
        {
            return Err(CliError::Told(format!(
                "{} items differ from their pins, {} `{}` of server `{}` first: `tollgate servers diff` shows them. To pin what is \
                 listed in their place, set TOLLGATE_KEY to the key of somebody with the role `admin`",
                waits.len(),
                first.kind,
                first.name,
                first.upstream
            )));
        }
        for (name, why) in &looked.silent {
            note(&format!("`{name}` does not list all it has, and is left out: {why}"));
        }
        let mut upstreams: Vec<UpstreamName> = looked.listed.iter().cloned().collect();
        upstreams.sort();
        review.pin(&*store, &upstreams, by, context(setup)).await.map_err(told)
    };
    let done = done.await;
    store.close().await;
    let counts = done?;
    let mut screen = Screen::new();
    if json {
        return screen.json(&json!({"pinned": counts}));
    }
    let rows: Vec<Vec<String>> = counts
        .iter()
        .flat_map(|(upstream, kinds)| {
            kinds.iter().map(|(kind, count)| vec![upstream.to_string(), kind.to_string(), count.to_string()])
        })
        .collect();
    screen.table(&["server", "kind", "pinned"], &rows, "no server lists anything that is pinned")
}

/// What the scan found, item by item; of files of skills what a running gateway found as they were read.
pub(super) fn findings(catalog: &Catalog, book: &Book, upstream: &UpstreamName) -> Vec<Value> {
    let with = catalog.seen.iter().filter(|seen| !seen.item.findings.is_empty());
    let listed = with.map(|Seen { item, .. }| {
        json!({
            "kind": item.kind,
            "name": shown(&item.name),
            "exposed": shown(&item.exposed),
            "findings": item.findings,
        })
    });
    let read = in_files(book, upstream).map(|(record, findings)| {
        json!({"kind": record.kind, "name": record.name, "exposed": record.exposed, "findings": findings})
    });
    listed.chain(read).collect()
}

/// The files of skills in which something was found as they were read: of what waits all of it, else which kinds.
fn in_files<'b>(book: &'b Book, upstream: &UpstreamName) -> impl Iterator<Item = (&'b Record, Vec<Value>)> {
    let files = book.of(upstream).filter(|(_, _, record)| record.kind == ItemKind::SkillFile);
    files.filter_map(|(_, _, record)| {
        let held = record.held.iter().flat_map(|held| &held.findings).map(|finding| json!(finding));
        let alerted = record.pin.iter().flat_map(|pin| &pin.alerted).map(|kind| json!({"kind": kind}));
        let found: Vec<Value> = held.chain(alerted).collect();
        (!found.is_empty()).then_some((record, found))
    })
}

/// The same for people.
pub(super) fn show_findings(
    screen: &mut Screen,
    catalog: &Catalog,
    book: &Book,
    upstream: &UpstreamName,
) -> Result<(), CliError> {
    for (record, found) in in_files(book, upstream) {
        let word = |finding: &Value, member: &str| {
            finding.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        for finding in &found {
            let (kind, what) = (word(finding, "kind"), word(finding, "what"));
            let told = format!("{} `{}`, as it was read: {kind} {what}", record.kind, record.name);
            screen.field("finding", told.trim_end())?;
        }
    }
    for Seen { item, .. } in &catalog.seen {
        for finding in &item.findings {
            let told = format!(
                "{} `{}`: {} ({}) at {}: {}",
                item.kind,
                shown(&item.name),
                finding.what,
                finding.kind.as_str(),
                finding.at,
                finding.text
            );
            screen.field("finding", &told)?;
        }
    }
    Ok(())
}
