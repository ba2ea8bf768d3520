//! What an upstream has, complete over all pages; one bad item costs itself only, and one bad list too.

use super::{
    call::Call,
    connect::{Connection, Hello},
    deps::{Redact, Timing},
    headers::invalid_annotation,
    items::{self, LeftOut, Members},
    limits::LogLimit,
    refusal::Cause,
    skills,
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
    members: Members,
}

const TOOLS: Kind =
    Kind { method: "tools/list", capability: "tools", member: "tools", key: "name", members: items::TOOL };
const PROMPTS: Kind = Kind {
    method: "prompts/list",
    capability: "prompts",
    member: "prompts",
    key: "name",
    members: items::PROMPT,
};
const RESOURCES: Kind = Kind {
    method: "resources/list",
    capability: "resources",
    member: "resources",
    key: "uri",
    members: items::RESOURCE,
};
const TEMPLATES: Kind = Kind {
    method: "resources/templates/list",
    capability: "resources",
    member: "resourceTemplates",
    key: "uriTemplate",
    members: items::TEMPLATE,
};

const SKILLS: Kind =
    Kind { method: "skills/list", capability: skills::EXTENSION, member: "skills", key: "uri", members: &[] };

/// How often a list is asked for where what it is asked over ends meanwhile.
const TRIES: usize = 3;

/// What was listed, and what of it could not be: one sentence each.
pub(super) struct Listed {
    pub(super) listing: Listing,
    pub(super) missing: Vec<String>,
    /// Nothing is missing that may be there when it is asked for again: an item that is wrong stays wrong.
    pub(super) is_whole: bool,
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
    left_out: LeftOut,
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
    let (tools, resources, templates, prompts, skills) = futures::join!(
        tools,
        reading.list(&RESOURCES, room, hurry),
        reading.list(&TEMPLATES, room, hurry),
        reading.list(&PROMPTS, room, hurry),
        reading.list(&SKILLS, room, hurry)
    );
    let others = [&resources, &templates, &prompts, &skills];
    let was_hurried = others.iter().any(|list| list.was_hurried);
    let nothing_else = others.iter().all(|list| list.items.is_empty());
    if connection.signals().closed_reason().is_some() {
        return Err(UpstreamError::Lost("the connection ended while it listed".to_owned()));
    }
    let mut missing = Vec::new();
    let mut is_whole = true;
    let mut whole = |kind: &Kind, list: List, known: Option<&Vec<Value>>| {
        if list.missing.is_none() || known.is_none() {
            for lost in list.left_out.sentences(kind.method) {
                let lost = display_text(&redact(&lost), LONGEST_REASON);
                if let Some(left_out) = log.admits(lost.len()) {
                    tracing::warn!(%upstream, lost, left_out, "something of a list is left out");
                }
                missing.push(lost);
            }
        }
        let Some(error) = list.missing else { return list.items };
        is_whole = false;
        let Cause { reason: error, said } = error.cause().shown(redact, LONGEST_REASON);
        let (method, kept) = (kind.method, known.is_some());
        if let Some(left_out) = log.admits(error.len() + said.len()) {
            tracing::warn!(%upstream, method, error, kept, left_out, "a list could not be read whole");
            tracing::debug!(%upstream, method, said, "what it said");
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
    let skills = whole(&SKILLS, skills, before.map(|before| &before.skills));
    if matches!(connection, Connection::Http(_)) && hello.era == Era::Modern {
        missing.extend(without_bad_headers(reading, &mut tools));
    }
    Ok(Listed {
        listing: Listing { tools, resources, templates, prompts, skills },
        missing,
        is_whole,
        was_hurried,
    })
}

/// Takes out tools whose arguments cannot be mirrored into headers as they ask for. One sentence for those.
fn without_bad_headers(reading: &Reading<'_>, tools: &mut Vec<Value>) -> Vec<String> {
    let Reading { upstream, log, redact, .. } = reading;
    let mut refused = LeftOut::default();
    tools.retain(|tool| match invalid_annotation(tool) {
        None => true,
        Some(reason) => {
            let tool = tool.get("name").and_then(Value::as_str).unwrap_or_default();
            refused.item(Some(tool), &format!("cannot be offered: {reason}"));
            let tool = display_text(&redact(tool), 120);
            if let Some(left_out) = log.admits(tool.len() + reason.len()) {
                tracing::warn!(%upstream, tool, reason, left_out, "a tool is left out");
            }
            false
        }
    });
    let refused = refused.sentences(TOOLS.method);
    refused.iter().map(|told| display_text(&redact(told), LONGEST_REASON)).collect()
}

impl Reading<'_> {
    /// One list, within its time; within less, once what it must not hold up is there.
    ///
    /// A session or stream that ended under it has another in its place before the connection counts as closed. Lists
    /// change nothing over there, so they are asked for again.
    async fn list(&self, kind: &Kind, room: &Room, hurry: Option<&watch::Receiver<bool>>) -> List {
        let declared = match &self.hello.capabilities {
            Value::Object(capabilities) if kind.method == SKILLS.method => {
                capabilities.get("extensions").and_then(|extensions| extensions.get(kind.capability))
            }
            // Only what is declared is asked for: it is an extension.
            _ if kind.method == SKILLS.method => None,
            Value::Object(capabilities) => capabilities.get(kind.capability),
            null => Some(null),
        };
        // Null says neither that it has tools nor that it has none. Many a server has them all the same.
        let is_unsaid = declared.is_some_and(Value::is_null) && kind.method == TOOLS.method;
        let mut pages = Pages::default();
        if declared.is_none_or(Value::is_null) && !is_unsaid {
            return List { items: pages.items, missing: None, left_out: pages.left_out, was_hurried: false };
        }
        let reading = async {
            let mut tries = 1;
            loop {
                match self.pages(kind, room, &mut pages).await {
                    Err(UpstreamError::NotSent(_) | UpstreamError::Lost(_)) if tries < TRIES => tries += 1,
                    read => return read,
                }
                room.gives_back(std::mem::take(&mut pages.taken));
                pages.items.clear();
                pages.left_out = LeftOut::default();
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
            Err(_) if is_unsaid && pages.items.is_empty() => None,
            Err(error) => Some(error),
        };
        List { items: pages.items, missing, left_out: pages.left_out, was_hurried }
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
        let mut names: HashSet<String> = HashSet::new();
        let mut cursors: HashSet<String> = HashSet::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut params = Map::new();
            if let Some(cursor) = cursor.take() {
                params.insert("cursor".to_owned(), Value::String(cursor));
            }
            let call = Arc::new(Call::internal(kind.method, params, Duration::MAX));
            let mut page = self.connection.request(&call).await?;
            let found = match page.get_mut(kind.member).map(Value::take) {
                Some(Value::Array(found)) => found,
                // So some languages write an empty list.
                Some(Value::Null) => Vec::new(),
                Some(_) | None => {
                    let (method, member) = (kind.method, kind.member);
                    return Err(UpstreamError::Malformed(format!("`{method}` without `{member}`")));
                }
            };
            let mut full = false;
            for mut item in found {
                let cost = weight(&item, ITEM);
                // What is left out counts too: it was read.
                full = full || !room.takes(cost);
                if !full {
                    pages.taken += cost;
                }
                let name = |item: &Value| item.get(kind.key).and_then(Value::as_str).map(str::to_owned);
                let fault = if full || pages.items.len() >= ITEMS {
                    Some("is beyond what is taken of one upstream".to_owned())
                } else if cost > ITEM {
                    Some(format!("takes more than {ITEM} bytes of memory"))
                } else if kind.method == SKILLS.method {
                    skills::fault(&item)
                } else {
                    items::mend(&mut item, kind.key, kind.members, &mut pages.left_out).err()
                };
                let fault = fault.or_else(|| {
                    let is_first = name(&item).is_some_and(|name| names.insert(name));
                    (!is_first).then(|| format!("is not the first with this `{}`", kind.key))
                });
                match fault {
                    None => pages.items.push(item),
                    Some(why) => pages.left_out.item(name(&item).as_deref(), &why),
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
                pages.left_out.cut(pages.items.len());
                break;
            }
            pages.taken += next.len();
            cursor = Some(next);
        }
        Ok(())
    }
}

/// What the pages up to now brought, and what of the room they took.
#[derive(Default)]
struct Pages {
    taken: usize,
    items: Vec<Value>,
    left_out: LeftOut,
}
