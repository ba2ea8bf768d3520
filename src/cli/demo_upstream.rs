//! The upstream that the shipped configuration governs: an MCP server small enough to read and real enough
//! to need every decision. All of its state is in memory; its mail goes nowhere.

use crate::upstream::Listing;
use parking_lot::Mutex;
use rmcp::{
    ErrorData, Json, RoleServer, ServerHandler, ServiceExt,
    handler::server::wrapper::Parameters,
    model::{
        GetPromptResult, Implementation, ListResourceTemplatesResult, ListResourcesResult,
        PaginatedRequestParams, ProgressNotificationParam, PromptMessage, ReadResourceRequestParams,
        ReadResourceResponse, ReadResourceResult, Resource, ResourceContents, ResourceTemplate, Role,
        ServerCapabilities, ServerConfig,
    },
    prompt, prompt_handler, prompt_router,
    schemars::{self, JsonSchema},
    service::RequestContext,
    tool, tool_handler, tool_router,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

const SCHEME: &str = "note://";
const TEMPLATE: &str = "note:///{+path}";
const PAGE: usize = 4;
const MAX_NOTES: usize = 200;
const MAX_TEXT: usize = 64 * 1024;
const MAX_MAILS: usize = 1000;
const MAX_WAIT_MS: u64 = 10_000;
const TICK: Duration = Duration::from_millis(100);

/// What serving over stdin and stdout can end with.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The client went away or spoke something else before the first answer.
    #[error("the demo upstream could not start: {0}")]
    Start(String),
    /// The serving task ended abnormally.
    #[error("the demo upstream stopped: {0}")]
    Stop(String),
}

/// Serves the demo over stdin and stdout until the client closes them.
///
/// # Errors
/// Where the handshake fails or the serving task ends abnormally.
pub async fn run() -> Result<(), DemoError> {
    let (input, output) = rmcp::transport::io::stdio_pipes();
    let serving =
        DemoUpstream::new().serve((input, output)).await.map_err(|e| DemoError::Start(e.to_string()))?;
    serving.waiting().await.map_err(|e| DemoError::Stop(e.to_string()))?;
    Ok(())
}

/// The demo server. Clones share one state.
#[derive(Clone, Debug)]
pub struct DemoUpstream {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    notes: BTreeMap<String, Note>,
    outbox: Vec<String>,
    writes: u64,
}

#[derive(Clone, Debug)]
struct Note {
    text: String,
    revision: u64,
}

impl State {
    fn seeded() -> Self {
        let notes = SEED
            .iter()
            .map(|(path, text)| ((*path).to_owned(), Note { text: (*text).to_owned(), revision: 1 }))
            .collect();
        Self { notes, outbox: Vec::new(), writes: 0 }
    }
}

/// The private note holds the published example values of their formats, so that redaction has work to do.
const SEED: &[(&str, &str)] = &[
    ("/archive/2025-review.md", "# Review 2025\nKept for seven years."),
    ("/archive/2026-plan.md", "# Plan 2026\nShip the gateway. Measure it. Write it down."),
    ("/drafts/blog-post.md", "# Draft\nGovernance that a person can read."),
    ("/drafts/retro.md", "# Retro\nWhat went well: the small steps."),
    ("/notes/agenda.md", "# Agenda\n1. Budgets\n2. Approvals\n3. Audit"),
    ("/notes/onboarding.md", "# Onboarding\nAsk for a key, list your tools, read a note."),
    ("/notes/welcome.md", "# Welcome\nThese notes live in memory and are gone when the process ends."),
    (
        "/private/contacts.md",
        "# Contacts\nMail: maria@example.com\nCard: 4111 1111 1111 1111\nKey: AKIAIOSFODNN7EXAMPLE",
    ),
    ("/scratch/todo.md", "- [ ] try a write that needs nobody"),
];

/// Takes away the formats of Rust's numbers: JSON Schema has none of that name, and clients warn of each.
fn plain_numbers(schema: &mut schemars::Schema) {
    schemars::transform::transform_subschemas(&mut plain_numbers, schema);
    if schema
        .get("format")
        .and_then(|format| format.as_str())
        .is_some_and(|format| format.starts_with("uint"))
    {
        schema.remove("format");
    }
}

/// A folder of notes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListNotes {
    /// Only notes below this absolute folder, for example `/notes`.
    folder: Option<String>,
}

/// One note by its path.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NotePath {
    /// Absolute path, for example `/notes/welcome.md`.
    path: String,
}

/// A note to write.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WriteNote {
    /// Absolute path, for example `/scratch/todo.md`.
    path: String,
    /// The whole new text.
    text: String,
}

/// A search.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = plain_numbers)]
struct SearchFor {
    /// Words to look for; case does not matter.
    query: String,
    /// How many hits at most; 10 where it is absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

/// A mail.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Mail {
    /// Recipient's address.
    to: String,
    /// Subject line.
    subject: String,
    /// Plain text.
    body: String,
}

/// How much a report says.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ReportFormat {
    /// Totals only.
    #[default]
    Summary,
    /// A line per row.
    Full,
}

/// A report.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = plain_numbers)]
struct ReportOn {
    /// Rows to report on; 1000 where it is absent.
    #[schemars(range(min = 1, max = 20000))]
    rows: Option<u32>,
    /// `summary` where it is absent.
    #[serde(default)]
    format: ReportFormat,
}

/// Something to say later.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = plain_numbers)]
struct SlowEcho {
    /// Comes back unchanged.
    text: String,
    /// Milliseconds to wait; 1000 where it is absent.
    #[schemars(range(max = 10000))]
    wait_ms: Option<u64>,
}

/// Subject of a summary.
#[derive(Debug, Deserialize, JsonSchema)]
struct Summarise {
    /// Path of the note to summarise.
    path: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(transform = plain_numbers)]
struct NoteInfo {
    path: String,
    bytes: u64,
    revision: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct NoteList {
    notes: Vec<NoteInfo>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(transform = plain_numbers)]
struct NoteText {
    path: String,
    text: String,
    revision: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(transform = plain_numbers)]
struct Written {
    path: String,
    bytes: u64,
    revision: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Moved {
    from: String,
    to: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(transform = plain_numbers)]
struct Deleted {
    path: String,
    remaining: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Hit {
    path: String,
    line: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(transform = plain_numbers)]
struct Hits {
    limit: u32,
    hits: Vec<Hit>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(transform = plain_numbers)]
struct Queued {
    message_id: String,
    to: String,
    outbox: u64,
}

// Refusals are tool results, not protocol errors, so that the agent can read them.
#[tool_router]
impl DemoUpstream {
    /// A server with the seed notes.
    pub fn new() -> Self {
        Self { state: Arc::new(Mutex::new(State::seeded())) }
    }

    /// What it lists; of its notes the template alone.
    pub(super) fn lists() -> Listing {
        let items = |listed: Value| listed.as_array().cloned().unwrap_or_default();
        let tools = items(json!(Self::tool_router().list_all()));
        let prompts = items(json!(Self::prompt_router().list_all()));
        let templates = vec![json!({ "uriTemplate": TEMPLATE, "name": "note" })];
        Listing { tools, prompts, templates, ..Listing::default() }
    }

    #[tool(
        title = "List notes",
        description = "Lists the notes, or those below one folder.",
        annotations(read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    fn notes_list(&self, Parameters(ask): Parameters<ListNotes>) -> Result<Json<NoteList>, String> {
        let folder = match ask.folder.as_deref() {
            None | Some("/") => String::new(),
            Some(folder) => format!("{}/", checked(folder.trim_end_matches('/'))?),
        };
        let state = self.state.lock();
        let notes = state.notes.iter().filter(|(path, _)| path.starts_with(&folder));
        Ok(Json(NoteList { notes: notes.map(|(path, note)| info(path, note)).collect() }))
    }

    #[tool(
        title = "Read a note",
        description = "Returns the text of one note.",
        annotations(read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    fn notes_read(&self, Parameters(ask): Parameters<NotePath>) -> Result<Json<NoteText>, String> {
        let path = checked(&ask.path)?;
        let state = self.state.lock();
        let note = state.notes.get(path).ok_or_else(|| absent(path))?;
        Ok(Json(NoteText { path: path.to_owned(), text: note.text.clone(), revision: note.revision }))
    }

    #[tool(
        title = "Write a note",
        description = "Creates a note or replaces its text.",
        annotations(
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    fn note_write(&self, Parameters(ask): Parameters<WriteNote>) -> Result<Json<Written>, String> {
        let path = checked(&ask.path)?;
        if ask.text.len() > MAX_TEXT {
            return Err(format!("a note holds at most {MAX_TEXT} bytes"));
        }
        let mut state = self.state.lock();
        if state.notes.len() >= MAX_NOTES && !state.notes.contains_key(path) {
            return Err(format!("there is room for {MAX_NOTES} notes only"));
        }
        state.writes += 1;
        let note = state.notes.entry(path.to_owned()).or_insert(Note { text: String::new(), revision: 0 });
        note.revision += 1;
        note.text = ask.text;
        Ok(Json(Written { path: path.to_owned(), bytes: size(&note.text), revision: note.revision }))
    }

    #[tool(
        title = "Archive a note",
        description = "Moves a note to /archive, from where it can be read but not deleted.",
        annotations(read_only_hint = false, destructive_hint = false, open_world_hint = false)
    )]
    fn note_archive(&self, Parameters(ask): Parameters<NotePath>) -> Result<Json<Moved>, String> {
        let from = checked(&ask.path)?;
        let name = from.rsplit('/').next().unwrap_or(from);
        let to = format!("/archive/{name}");
        let mut state = self.state.lock();
        if state.notes.contains_key(&to) {
            return Err(format!("there is a note `{to}` already"));
        }
        let note = state.notes.remove(from).ok_or_else(|| absent(from))?;
        state.notes.insert(to.clone(), note);
        state.writes += 1;
        Ok(Json(Moved { from: from.to_owned(), to }))
    }

    #[tool(
        title = "Delete a note",
        description = "Deletes a note for ever.",
        annotations(read_only_hint = false, destructive_hint = true, open_world_hint = false)
    )]
    fn note_delete(&self, Parameters(ask): Parameters<NotePath>) -> Result<Json<Deleted>, String> {
        let path = checked(&ask.path)?;
        let mut state = self.state.lock();
        state.notes.remove(path).ok_or_else(|| absent(path))?;
        state.writes += 1;
        Ok(Json(Deleted { path: path.to_owned(), remaining: count(state.notes.len()) }))
    }

    #[tool(
        title = "Search everything",
        description = "Searches notes and the library. Each search is charged for.",
        annotations(read_only_hint = true, open_world_hint = true)
    )]
    fn search(&self, Parameters(ask): Parameters<SearchFor>) -> Result<Json<Hits>, String> {
        let limit = ask.limit.unwrap_or(10).clamp(1, 1000);
        let wanted = ask.query.to_lowercase();
        if wanted.trim().is_empty() || wanted.len() > 200 {
            return Err("a query has 1 to 200 bytes".to_owned());
        }
        let state = self.state.lock();
        let notes = state.notes.iter().flat_map(|(path, note)| {
            note.text
                .lines()
                .filter(|line| line.to_lowercase().contains(&wanted))
                .map(move |line| Hit { path: path.clone(), line: line.to_owned() })
        });
        let library = (1..=1000_u32).map(|n| Hit {
            path: format!("/library/{n:04}.txt"),
            line: format!("Volume {n} mentions {}.", ask.query.trim()),
        });
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(Json(Hits { limit, hits: notes.chain(library).take(most).collect() }))
    }

    #[tool(
        title = "Send mail",
        description = "Sends a mail. In this demo it stays in memory.",
        annotations(read_only_hint = false, destructive_hint = false, open_world_hint = true)
    )]
    fn send_mail(&self, Parameters(mail): Parameters<Mail>) -> Result<Json<Queued>, String> {
        if !mail.to.contains('@') || mail.to.len() > 200 {
            return Err("`to` is not a mail address".to_owned());
        }
        if mail.subject.len() + mail.body.len() > MAX_TEXT {
            return Err(format!("a mail holds at most {MAX_TEXT} bytes"));
        }
        let mut state = self.state.lock();
        if state.outbox.len() >= MAX_MAILS {
            return Err("the outbox is full".to_owned());
        }
        state.outbox.push(mail.to.clone());
        let outbox = count(state.outbox.len());
        Ok(Json(Queued { message_id: format!("demo-{outbox}"), to: mail.to, outbox }))
    }

    #[tool(
        title = "Usage report",
        description = "Reports on usage: totals, or with format `full` a line per row, which is large.",
        annotations(read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    fn report(&self, Parameters(ask): Parameters<ReportOn>) -> Result<String, String> {
        let rows = ask.rows.unwrap_or(1000).clamp(1, 20_000);
        let total: u64 = (1..=u64::from(rows)).map(units).sum();
        let mut text = format!("Usage report over {rows} rows: {total} units in all.\n");
        match ask.format {
            ReportFormat::Summary => {}
            ReportFormat::Full => {
                for row in 1..=u64::from(rows) {
                    let written = writeln!(text, "row {row:05}: {} units", units(row));
                    written.map_err(|e| e.to_string())?;
                }
            }
        }
        Ok(text)
    }

    #[tool(
        title = "Slow echo",
        description = "Says the text back after a while, with progress.",
        annotations(read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    async fn slow_echo(
        &self,
        Parameters(ask): Parameters<SlowEcho>,
        context: RequestContext<RoleServer>,
    ) -> Result<String, String> {
        let wait = Duration::from_millis(ask.wait_ms.unwrap_or(1000).min(MAX_WAIT_MS));
        let token = context.meta.get_progress_token();
        let mut waited = Duration::ZERO;
        while waited < wait {
            let step = TICK.min(wait - waited);
            tokio::select! {
                () = context.ct.cancelled() => return Err("cancelled".to_owned()),
                () = tokio::time::sleep(step) => waited += step,
            }
            if let Some(token) = &token {
                let progress = ProgressNotificationParam::new(token.clone(), waited.as_secs_f64())
                    .with_total(wait.as_secs_f64());
                // The client may have stopped listening; the answer itself does not depend on it.
                context.peer.notify_progress(progress).await.map_err(|e| e.to_string())?;
            }
        }
        Ok(ask.text)
    }

    #[tool(
        title = "Reset the demo",
        description = "Puts the seed notes back and empties the outbox. No shipped capability holds it.",
        annotations(read_only_hint = false, destructive_hint = true, open_world_hint = false)
    )]
    fn admin_reset(&self) -> String {
        *self.state.lock() = State::seeded();
        "the demo is as it was at the start".to_owned()
    }
}

#[expect(missing_docs, reason = "the macro writes a public function beside each prompt")]
#[prompt_router]
impl DemoUpstream {
    /// Asks for a summary of one note.
    #[prompt(title = "Summarise a note", description = "Asks for three sentences about one note.")]
    fn summarise(&self, Parameters(ask): Parameters<Summarise>) -> Result<GetPromptResult, ErrorData> {
        let path = checked(&ask.path).map_err(|e| ErrorData::invalid_params(e, None))?;
        let state = self.state.lock();
        let note = state.notes.get(path).ok_or_else(|| ErrorData::invalid_params(absent(path), None))?;
        let text = format!("Summarise this note in three sentences.\n\n{}", note.text);
        Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)])
            .with_description(format!("A summary of {path}")))
    }
}

#[tool_handler]
#[prompt_handler]
impl ServerHandler for DemoUpstream {
    fn get_info(&self) -> ServerConfig {
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_resources().enable_prompts().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("tollgate-demo", env!("CARGO_PKG_VERSION")))
            .with_instructions("Notes in memory, a library to search, mail that goes nowhere.")
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        // The cursor is the last path of the page before, so a list that changes in between stays whole.
        let after = request.and_then(|page| page.cursor).unwrap_or_default();
        let state = self.state.lock();
        let mut rest = state.notes.iter().filter(|(path, _)| path.as_str() > after.as_str());
        let page: Vec<Resource> =
            rest.by_ref().take(PAGE).map(|(path, note)| described(path, note)).collect();
        let more = rest.next().is_some();
        let next_cursor =
            page.last().filter(|_| more).and_then(|last| last.uri.strip_prefix(SCHEME)).map(str::to_owned);
        Ok(ListResourcesResult { next_cursor, ..ListResourcesResult::with_all_items(page) })
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template =
            ResourceTemplate::new(TEMPLATE, "note").with_title("A note").with_mime_type("text/markdown");
        Ok(ListResourceTemplatesResult::with_all_items(vec![template]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let unknown = || ErrorData::resource_not_found(format!("there is no `{}`", request.uri), None);
        let path = request.uri.strip_prefix(SCHEME).ok_or_else(unknown)?;
        let state = self.state.lock();
        let note = state.notes.get(path).ok_or_else(unknown)?;
        let contents =
            ResourceContents::text(note.text.as_str(), request.uri.as_str()).with_mime_type("text/markdown");
        Ok(ReadResourceResult::new(vec![contents]).into())
    }
}

impl Default for DemoUpstream {
    fn default() -> Self {
        Self::new()
    }
}

fn checked(path: &str) -> Result<&str, String> {
    let whole = path.len() <= 200
        && path.strip_prefix('/').is_some_and(|rest| {
            rest.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains(char::is_control))
        });
    if whole { Ok(path) } else { Err(format!("`{}` is not an absolute path", path.escape_debug())) }
}

fn absent(path: &str) -> String {
    format!("there is no note `{path}`")
}

fn size(text: &str) -> u64 {
    count(text.len())
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn units(row: u64) -> u64 {
    row * 37 % 101
}

fn info(path: &str, note: &Note) -> NoteInfo {
    NoteInfo { path: path.to_owned(), bytes: size(&note.text), revision: note.revision }
}

fn described(path: &str, note: &Note) -> Resource {
    Resource::new(format!("{SCHEME}{path}"), path.rsplit('/').next().unwrap_or(path))
        .with_title(note.text.lines().next().unwrap_or(path).trim_start_matches("# "))
        .with_mime_type("text/markdown")
        .with_size(size(&note.text))
}

/// SHA-256 digests of the keys in the shipped `policies/authority.yaml`. Anybody can read those keys, so a bundle
/// that still holds one must not be served beyond loopback.
pub const PUBLISHED_KEY_DIGESTS: [&str; 6] = [
    "8cfbbed0d818a803eddf3db2193bd492460b2db9999d03775a023dd8f90d04a6",
    "43bfe4ddbdf50375250390348873c4160ad76d7f691ece8c567d8a73d019c09b",
    "268ba5f5aaccf694a2742cc30f3d513f3dc24462454870b36d5c7839d4853fe5",
    "6e5d35a55b80d29164c5e6576b4dbe50836237a17b5b4af841b091e25f6132b4",
    "e333787ace7ad5caeecbf0a3e6fe4fab78f03d12a1e10ca304a70bcb0591d23e",
    "074e16b18ceae77bd61d64737f7958946ae49a2d5b17a2c74be661ad9145abe8",
];
