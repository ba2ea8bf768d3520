//! What an upstream has, complete over all pages; one bad item costs itself only, and one bad list too.

use super::{
    call::Call,
    connect::{Connection, Hello},
    deps::{Redact, Timing},
    headers::invalid_annotation,
    limits::LogLimit,
    types::{Era, Listing, UpstreamError},
};
use crate::{
    model::{UpstreamName, code, weight::weight},
    redaction::display_text,
};
use serde_json::{Map, Value};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// More pages than this are a loop.
const PAGES: usize = 1_000;
/// Items of one kind; what is beyond is left out and said.
const ITEMS: usize = 10_000;
/// Memory of all kinds together, with the cursors; what is beyond is left out and said.
const BYTES: usize = 32 << 20;
/// Memory of one item; what is beyond is left out and said.
const ITEM: usize = 2 << 20;
/// The longest sentence about a list that is missing, in characters.
const LONGEST_REASON: usize = 300;

/// What is left of [`BYTES`].
struct Room(AtomicUsize);

impl Room {
    /// Whether so much still fits.
    fn takes(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn gives_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

struct Kind {
    method: &'static str,
    capability: &'static str,
    member: &'static str,
    /// What names an item.
    key: &'static str,
}

const TOOLS: Kind = Kind { method: "tools/list", capability: "tools", member: "tools", key: "name" };
const PROMPTS: Kind = Kind { method: "prompts/list", capability: "prompts", member: "prompts", key: "name" };
const RESOURCES: Kind =
    Kind { method: "resources/list", capability: "resources", member: "resources", key: "uri" };
const TEMPLATES: Kind = Kind {
    method: "resources/templates/list",
    capability: "resources",
    member: "resourceTemplates",
    key: "uriTemplate",
};

/// How often a list is asked for where what it is asked over ends meanwhile.
const TRIES: usize = 3;

/// What was listed, and what of it could not be: one sentence each.
pub(super) struct Listed {
    pub(super) listing: Listing,
    pub(super) missing: Vec<String>,
    /// Something is missing because the tools did not wait for it any longer.
    pub(super) was_hurried: bool,
}

/// Whose lists are read.
pub(super) struct Reading<'a> {
    pub(super) upstream: &'a UpstreamName,
    pub(super) connection: &'a Connection,
    pub(super) hello: &'a Hello,
    pub(super) log: &'a LogLimit,
    pub(super) redact: &'a Redact,
    pub(super) timing: &'a Timing,
}

/// One list as far as it could be read.
struct List {
    items: Vec<Value>,
    /// Why it is not whole.
    missing: Option<UpstreamError>,
    was_hurried: bool,
}

/// Lists all that the upstream declares. `before` is what it listed before: of that stays what cannot be listed again.
/// An error of the connection fails the whole, and so does one of `tools/list` where there is nothing else to serve.
pub(super) async fn list(reading: &Reading<'_>, before: Option<&Listing>) -> Result<Listed, UpstreamError> {
    let Reading { upstream, connection, hello, log, redact, .. } = reading;
    let room = &Room(AtomicUsize::new(BYTES));
    let (tools_are_there, hurry) = watch::channel(false);
    let hurry = before.is_none().then_some(&hurry);
    let tools = async {
        let tools = reading.list(&TOOLS, room, None).await;
        tools_are_there.send_replace(true);
        tools
    };
    let (tools, resources, templates, prompts) = futures::join!(
        tools,
        reading.list(&RESOURCES, room, hurry),
        reading.list(&TEMPLATES, room, hurry),
        reading.list(&PROMPTS, room, hurry)
    );
    let others = [&resources, &templates, &prompts];
    let was_hurried = others.iter().any(|list| list.was_hurried);
    let nothing_else = others.iter().all(|list| list.items.is_empty());
    if connection.signals().closed_reason().is_some() {
        return Err(UpstreamError::Lost("the connection ended while it listed".to_owned()));
    }
    let mut missing = Vec::new();
    let mut whole = |kind: &Kind, list: List, known: Option<&Vec<Value>>| {
        let Some(error) = list.missing else { return list.items };
        let error = display_text(&redact(&error.to_string()), LONGEST_REASON);
        let (method, kept) = (kind.method, known.is_some());
        if let Some(left_out) = log.admits(error.len()) {
            tracing::warn!(%upstream, method, error, kept, left_out, "a list could not be read whole");
        }
        let what = match (known, list.items.len()) {
            (Some(_), _) => "what it listed before is kept".to_owned(),
            (None, 0) => "nothing of it is there".to_owned(),
            (None, items) => format!("the first {items} items are there"),
        };
        missing.push(format!("`{method}` could not be read: {error} ({what})"));
        known.cloned().unwrap_or(list.items)
    };
    let mut tools = match (tools, before) {
        (List { items, missing: Some(error), .. }, None) if items.is_empty() && nothing_else => {
            return Err(error);
        }
        (tools, before) => whole(&TOOLS, tools, before.map(|before| &before.tools)),
    };
    let resources = whole(&RESOURCES, resources, before.map(|before| &before.resources));
    let templates = whole(&TEMPLATES, templates, before.map(|before| &before.templates));
    let prompts = whole(&PROMPTS, prompts, before.map(|before| &before.prompts));
    if matches!(connection, Connection::Http(_)) && hello.era == Era::Modern {
        tools.retain(|tool| match invalid_annotation(tool) {
            None => true,
            Some(reason) => {
                let tool = tool.get("name").and_then(Value::as_str).unwrap_or_default();
                let tool = display_text(&redact(tool), 120);
                if let Some(left_out) = log.admits(tool.len() + reason.len()) {
                    tracing::warn!(%upstream, tool, reason, left_out, "a tool is left out");
                }
                false
            }
        });
    }
    Ok(Listed { listing: Listing { tools, resources, templates, prompts }, missing, was_hurried })
}

impl Reading<'_> {
    /// One list, within its time; within less, once what it must not hold up is there.
    ///
    /// A session or stream that ended under it has another in its place before the connection counts as closed. Lists
    /// change nothing over there, so they are asked for again.
    async fn list(&self, kind: &Kind, room: &Room, hurry: Option<&watch::Receiver<bool>>) -> List {
        if self.hello.capabilities.get(kind.capability).is_none_or(Value::is_null) {
            return List { items: Vec::new(), missing: None, was_hurried: false };
        }
        let mut pages = Pages { taken: 0, items: Vec::new() };
        let reading = async {
            let mut tries = 1;
            loop {
                match self.pages(kind, room, &mut pages).await {
                    Err(UpstreamError::NotSent(_) | UpstreamError::Lost(_)) if tries < TRIES => tries += 1,
                    read => return read,
                }
                room.gives_back(std::mem::take(&mut pages.taken));
                pages.items.clear();
            }
        };
        let limit = self.timing.list;
        let (read, was_hurried) = tokio::select! {
            biased;
            read = tokio::time::timeout(limit, reading) => {
                (read.unwrap_or(Err(UpstreamError::TimedOut(limit))), false)
            }
            patience = self.hurried(hurry) => (Err(UpstreamError::TimedOut(patience)), true),
        };
        let missing = match read {
            Ok(()) => None,
            // It has none of these.
            Err(UpstreamError::Rpc(error))
                if error.code == code::METHOD_NOT_FOUND && pages.items.is_empty() =>
            {
                None
            }
            Err(error) => Some(error),
        };
        List { items: pages.items, missing, was_hurried }
    }

    /// Ends some time after the tools are there; how long that is.
    async fn hurried(&self, tools_are_there: Option<&watch::Receiver<bool>>) -> Duration {
        let patience = self.timing.other_lists;
        let Some(tools_are_there) = tools_are_there else { return std::future::pending().await };
        // Whoever says so waits for this.
        drop(tools_are_there.clone().wait_for(|there| *there).await);
        tokio::time::sleep(patience).await;
        patience
    }

    async fn pages(&self, kind: &Kind, room: &Room, pages: &mut Pages) -> Result<(), UpstreamError> {
        let Reading { upstream, connection, log, .. } = self;
        let mut names: HashSet<String> = HashSet::new();
        let mut cursors: HashSet<String> = HashSet::new();
        let mut cursor: Option<String> = None;
        let mut bad = 0_usize;
        let told = |bad: usize| {
            if bad > 0
                && let Some(left_out) = log.admits(0)
            {
                tracing::warn!(
                    %upstream, method = kind.method, items = bad, left_out,
                    "items without a name of their own, or beyond the bound, are left out"
                );
            }
        };
        loop {
            let mut params = Map::new();
            if let Some(cursor) = cursor.take() {
                params.insert("cursor".to_owned(), Value::String(cursor));
            }
            let call = Arc::new(Call::internal(kind.method, params, Duration::MAX));
            let mut page = connection.request(&call).await.inspect_err(|_| told(bad))?;
            let found = match page.get_mut(kind.member).map(Value::take) {
                Some(Value::Array(found)) => found,
                // So some languages write an empty list.
                Some(Value::Null) => Vec::new(),
                Some(_) | None => {
                    told(bad);
                    let (method, member) = (kind.method, kind.member);
                    return Err(UpstreamError::Malformed(format!("`{method}` without `{member}`")));
                }
            };
            let mut full = false;
            for item in found {
                let cost = weight(&item, ITEM);
                // What is left out counts too: it was read.
                full = full || !room.takes(cost);
                if !full {
                    pages.taken += cost;
                }
                let name = item.get(kind.key).and_then(Value::as_str).filter(|name| !name.is_empty());
                let good = !full && cost <= ITEM && pages.items.len() < ITEMS;
                if good && name.is_some_and(|name| names.insert(name.to_owned())) {
                    pages.items.push(item);
                } else {
                    bad += 1;
                }
            }
            let next = match page.get_mut("nextCursor").map(Value::take) {
                // So some write that there is no more.
                Some(Value::String(next)) if next.is_empty() => break,
                Some(Value::String(next)) => next,
                Some(_) | None => break,
            };
            full = full || !room.takes(next.len());
            if full || pages.items.len() >= ITEMS || cursors.len() >= PAGES || !cursors.insert(next.clone()) {
                if let Some(left_out) = log.admits(0) {
                    tracing::warn!(
                        %upstream, method = kind.method, items = pages.items.len(), left_out,
                        "the list does not end, or is too large: cut here"
                    );
                }
                break;
            }
            pages.taken += next.len();
            cursor = Some(next);
        }
        told(bad);
        Ok(())
    }
}

/// What the pages up to now brought, and what of the room they took.
struct Pages {
    taken: usize,
    items: Vec<Value>,
}
