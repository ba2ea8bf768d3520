//! What an upstream has, complete over all pages; one bad item costs itself only.

use super::{
    call::Call,
    connect::{Connection, Hello},
    deps::Redact,
    headers::invalid_annotation,
    limits::LogLimit,
    types::{Era, Listing, UpstreamError},
};
use crate::{
    model::{UpstreamName, code},
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

/// More pages than this are a loop.
const PAGES: usize = 1_000;
/// Items of one kind; what is beyond is left out and said.
const ITEMS: usize = 10_000;
/// JSON text of all kinds together, with the cursors; what is beyond is left out and said.
const BYTES: usize = 32 << 20;

/// What is left of [`BYTES`].
struct Room(AtomicUsize);

impl Room {
    /// Whether so much still fits.
    fn takes(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// How long a value is as JSON text.
fn weight(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting does not fail.
    serde_json::to_writer(&mut count, value).ok();
    count.0
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

/// How often lists are asked for where what they are asked over ends meanwhile.
const TRIES: usize = 3;

/// Lists all that the upstream declares. An error of the transport, or of `tools/list`, fails the whole.
///
/// A session or stream that ended under it has another in its place before the connection counts as closed. Lists change
/// nothing over there, so they are asked for again.
pub(super) async fn list(
    upstream: &UpstreamName,
    connection: &Connection,
    hello: &Hello,
    log: &LogLimit,
    redact: &Redact,
) -> Result<Listing, UpstreamError> {
    let mut tries = 1;
    loop {
        match list_once(upstream, connection, hello, log, redact).await {
            Err(UpstreamError::NotSent(_) | UpstreamError::Lost(_)) if tries < TRIES => tries += 1,
            listed => return listed,
        }
    }
}

async fn list_once(
    upstream: &UpstreamName,
    connection: &Connection,
    hello: &Hello,
    log: &LogLimit,
    redact: &Redact,
) -> Result<Listing, UpstreamError> {
    let room = &Room(AtomicUsize::new(BYTES));
    let one = |kind: &'static Kind| async move {
        if hello.capabilities.get(kind.capability).is_none_or(Value::is_null) {
            return Ok(Vec::new());
        }
        match pages(upstream, connection, kind, room, log).await {
            Err(UpstreamError::Rpc(error)) if error.code == code::METHOD_NOT_FOUND => Ok(Vec::new()),
            Err(UpstreamError::Rpc(error)) if kind.method != TOOLS.method => {
                if let Some(left_out) = log.admits(0) {
                    tracing::warn!(%upstream, method = kind.method, code = error.code, left_out, "cannot be listed");
                }
                Ok(Vec::new())
            }
            other => other,
        }
    };
    let (mut tools, resources, templates, prompts) =
        futures::try_join!(one(&TOOLS), one(&RESOURCES), one(&TEMPLATES), one(&PROMPTS))?;
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
    Ok(Listing { tools, resources, templates, prompts })
}

async fn pages(
    upstream: &UpstreamName,
    connection: &Connection,
    kind: &Kind,
    room: &Room,
    log: &LogLimit,
) -> Result<Vec<Value>, UpstreamError> {
    let mut items: Vec<Value> = Vec::new();
    let mut names: HashSet<String> = HashSet::new();
    let mut cursors: HashSet<String> = HashSet::new();
    let mut cursor: Option<String> = None;
    let mut bad = 0_usize;
    loop {
        let mut params = Map::new();
        if let Some(cursor) = cursor.take() {
            params.insert("cursor".to_owned(), Value::String(cursor));
        }
        let call = Arc::new(Call::internal(kind.method, params, Duration::MAX));
        let mut page = connection.request(&call).await?;
        let Some(Value::Array(found)) = page.get_mut(kind.member).map(Value::take) else {
            return Err(UpstreamError::Malformed(format!("`{}` without `{}`", kind.method, kind.member)));
        };
        let mut full = false;
        for item in found {
            full = full || !room.takes(weight(&item));
            let name = item.get(kind.key).and_then(Value::as_str).filter(|name| !name.is_empty());
            let fresh = !full && name.is_some_and(|name| names.insert(name.to_owned()));
            if fresh && items.len() < ITEMS { items.push(item) } else { bad += 1 }
        }
        let next = match page.get_mut("nextCursor").map(Value::take) {
            Some(Value::String(next)) => next,
            Some(_) | None => break,
        };
        full = full || !room.takes(next.len());
        if full || items.len() >= ITEMS || cursors.len() >= PAGES || !cursors.insert(next.clone()) {
            if let Some(left_out) = log.admits(0) {
                tracing::warn!(
                    %upstream, method = kind.method, items = items.len(), left_out,
                    "the list does not end, or is too large: cut here"
                );
            }
            break;
        }
        cursor = Some(next);
    }
    if bad > 0
        && let Some(left_out) = log.admits(0)
    {
        tracing::warn!(
            %upstream, method = kind.method, items = bad, left_out,
            "items without a name of their own, or beyond the bound, are left out"
        );
    }
    Ok(items)
}
