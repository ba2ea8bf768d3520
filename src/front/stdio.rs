//! MCP over stdin and stdout: one agent, one JSON-RPC message a line, both eras on one connection.
//!
//! Nothing but MCP is written to stdout. The end of stdin is the client's end: calls that are not answered by then
//! are cancelled, because nobody is left to approve or receive them.

use super::{
    BATCH_VERSION,
    answer::{Caller, Core},
    client::{Client, Outbox},
    conversation::{Conversation, Hello, InFlight},
    exchange::{self, Event, Exchange},
    listen::{self, Watched, Watcher},
    message::{self, Document, Id, Malformed, Message, Request},
    modern::{self, ClientResponse, Method},
    service::Service,
};
use crate::{
    clock::IdSource,
    identity::Principal,
    model::{RpcError, code},
    telemetry::{Session, Transport, Wire},
};
use futures::stream::StreamExt as _;
use serde_json::{Map, Value};
use std::{
    future::poll_fn,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Requests that are worked on at a time. More wait for their turn; they can be cancelled meanwhile.
const MAX_IN_FLIGHT: usize = 256;
/// Requests that are not yet answered, and their bytes; beyond either nothing is read until one is. While a question to the
/// client is open reading goes on all the same, for its answer may come behind more requests, and those are refused.
const MAX_UNANSWERED: usize = MAX_IN_FLIGHT + 1024;
const MAX_UNANSWERED_BYTES: usize = 16 << 20;
/// Subscriptions at a time. They take no turn from requests.
const MAX_SUBSCRIPTIONS: usize = 64;
/// Messages that wait for a slow reader; more wait where they come from.
const MAX_UNWRITTEN: usize = 64;
/// After the end of stdin: for what needs nobody to wait for it, and for the rest of stdout.
const LAST_LISTS: Duration = Duration::from_secs(10);
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What a stdio front needs beside the gateway.
#[derive(Clone, Debug)]
pub struct StdioOptions {
    /// The longest line that is read.
    pub max_message: usize,
    /// For the connection's id.
    pub ids: Arc<dyn IdSource>,
    /// Stops reading; calls in flight may finish, and a caller that will not wait for them drops the future.
    pub shutdown: CancellationToken,
}

/// Why a connection ended before its client ended it.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// stdin failed.
    #[error("cannot read from stdin: {0}")]
    Read(io::Error),
    /// stdout failed: the client is gone.
    #[error("cannot write to stdout: {0}")]
    Write(io::Error),
    /// The agent is no longer in the bundle.
    #[error("the agent may no longer use this gateway")]
    Revoked,
}

/// Serves one agent until stdin ends, `shutdown`, or its revocation.
pub async fn run<R, W>(
    service: Arc<dyn Service>,
    principal: Principal,
    options: StdioOptions,
    stdin: R,
    stdout: W,
) -> Result<(), StdioError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (out, unwritten) = mpsc::channel(MAX_UNWRITTEN);
    let connection = Connection {
        core: Arc::new(Core::new(service)),
        session: Arc::from(options.ids.uuid()),
        principal,
        out,
        shutdown: options.shutdown,
        conversation: None,
        modern: Arc::new(InFlight::default()),
        greeted: false,
        lasts: None,
        watcher: None,
        turns: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
        unanswered: Arc::default(),
        subscriptions: Arc::new(Semaphore::new(MAX_SUBSCRIPTIONS)),
        line: 0,
        calls: JoinSet::new(),
        others: JoinSet::new(),
    };
    let mut writer = pin!(write(unwritten, stdout));
    let ended = tokio::select! {
        ended = connection.serve(Lines::new(stdin, options.max_message)) => ended,
        written = writer.as_mut() => return written.map_err(StdioError::Write),
    };
    match timeout(LAST_WORDS, writer).await {
        Ok(Err(error)) => ended.and(Err(StdioError::Write(error))),
        Ok(Ok(())) | Err(_) => ended,
    }
}

async fn write<W: AsyncWrite + Unpin>(
    mut unwritten: mpsc::Receiver<Vec<u8>>,
    mut stdout: W,
) -> io::Result<()> {
    while let Some(mut line) = unwritten.recv().await {
        line.push(b'\n');
        stdout.write_all(&line).await?;
        stdout.flush().await?;
    }
    Ok(())
}

/// One line of stdin.
enum Line {
    Text(Vec<u8>),
    TooLong,
    End,
}

/// Lines of a bounded length. Dropping [`Lines::next`] loses nothing.
struct Lines<R> {
    input: BufReader<R>,
    line: Vec<u8>,
    longest: usize,
    skipping: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(input: R, longest: usize) -> Self {
        Self { input: BufReader::with_capacity(64 * 1024, input), line: Vec::new(), longest, skipping: false }
    }

    async fn next(&mut self) -> io::Result<Line> {
        loop {
            let read = self.input.fill_buf().await?;
            if read.is_empty() {
                let rest = std::mem::take(&mut self.line);
                return Ok(if rest.is_empty() { Line::End } else { Line::Text(rest) });
            }
            let (part, whole) = match read.iter().position(|byte| *byte == b'\n') {
                Some(end) => (read.get(..end).unwrap_or_default(), true),
                None => (read, false),
            };
            let used = part.len() + usize::from(whole);
            if self.skipping || self.line.len() + part.len() > self.longest {
                self.skipping = true;
                self.line = Vec::new();
            } else {
                self.line.extend_from_slice(part);
            }
            self.input.consume(used);
            if whole {
                let line = std::mem::take(&mut self.line);
                return Ok(if std::mem::take(&mut self.skipping) { Line::TooLong } else { Line::Text(line) });
            }
        }
    }
}

struct Connection {
    core: Arc<Core>,
    principal: Principal,
    session: Arc<str>,
    out: mpsc::Sender<Vec<u8>>,
    shutdown: CancellationToken,
    /// After initialize.
    conversation: Option<Arc<Conversation>>,
    /// Stateless requests in flight.
    modern: Arc<InFlight>,
    greeted: bool,
    /// Measures the session, which is the connection: from the first request to the end.
    lasts: Option<Session>,
    watcher: Option<Watcher>,
    turns: Arc<Semaphore>,
    unanswered: Arc<Unanswered>,
    subscriptions: Arc<Semaphore>,
    /// Bytes of the message that is being read.
    line: usize,
    /// Cancelled where stdin ends.
    calls: JoinSet<()>,
    /// Lists and the like, which may finish.
    others: JoinSet<()>,
}

/// What waits for an answer, together.
#[derive(Debug, Default)]
struct Unanswered {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

impl Unanswered {
    fn is_full(&self) -> bool {
        self.requests.load(Ordering::Relaxed) >= MAX_UNANSWERED
            || self.bytes.load(Ordering::Relaxed) >= MAX_UNANSWERED_BYTES
    }

    fn enter(self: &Arc<Self>, bytes: usize) -> Waiting {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Waiting { among: Arc::clone(self), bytes }
    }
}

/// One message that waits for its answer.
struct Waiting {
    among: Arc<Unanswered>,
    bytes: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.among.requests.fetch_sub(1, Ordering::Relaxed);
        self.among.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The client is not there any more.
struct Gone;

/// Whether a request changes or waits for anything outside.
fn is_call(method: &str) -> bool {
    !(method.ends_with("/list") || matches!(method, "ping" | "server/discover" | "logging/setLevel"))
}

async fn next_news(watcher: &mut Option<Watcher>, conversation: Option<&Arc<Conversation>>) -> Watched {
    match (watcher, conversation) {
        (Some(watcher), Some(conversation)) => watcher.next(&conversation.watches).await,
        (Some(_), None) | (None, _) => std::future::pending().await,
    }
}

async fn until_asked(conversation: Option<&Arc<Conversation>>) {
    match conversation {
        Some(conversation) => conversation.until_asked().await,
        None => std::future::pending().await,
    }
}

impl Connection {
    async fn serve<R: AsyncRead + Unpin>(mut self, mut lines: Lines<R>) -> Result<(), StdioError> {
        let shutdown = self.shutdown.clone();
        loop {
            let (conversation, reads) = (self.conversation.clone(), !self.is_full() || self.asks());
            let line = tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    // Whoever waits for an answer from stdin waits in vain, and ends with the caller's patience.
                    while self.calls.join_next().await.is_some() {}
                    break;
                }
                Some(_) = self.calls.join_next() => continue,
                Some(_) = self.others.join_next() => continue,
                news = next_news(&mut self.watcher, conversation.as_ref()) => {
                    if self.tell(news).await? {
                        continue;
                    }
                    break;
                }
                () = until_asked(conversation.as_ref()), if !reads => continue,
                line = lines.next(), if reads => line.map_err(StdioError::Read)?,
            };
            if !self.core.service.still_valid(&self.principal) {
                return Err(StdioError::Revoked);
            }
            let sent = match line {
                Line::End => break,
                Line::TooLong => {
                    let text = format!("the message is longer than {} bytes", lines.longest);
                    self.refuse(None, &RpcError::new(code::INVALID_REQUEST, text)).await
                }
                Line::Text(line) if line.trim_ascii().is_empty() => Ok(()),
                Line::Text(line) => self.read(&line).await,
            };
            if sent.is_err() {
                break;
            }
        }
        self.calls.shutdown().await;
        let others = async { while self.others.join_next().await.is_some() {} };
        // Those that still wait for an upstream are dropped.
        drop(timeout(LAST_LISTS, others).await);
        if let Some(conversation) = &self.conversation {
            conversation.end();
        }
        Ok(())
    }

    /// News for a legacy client. Whether the connection goes on.
    async fn tell(&mut self, news: Watched) -> Result<bool, StdioError> {
        match news {
            Watched::Changes(methods) => {
                for method in methods {
                    let news = message::notification(method, &Value::Object(Map::new()));
                    if self.send(news).await.is_err() {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Watched::Resources(uris) => {
                for uri in uris {
                    let news = message::notification(listen::UPDATED, &serde_json::json!({ "uri": uri }));
                    if self.send(news).await.is_err() {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Watched::Ended if self.core.service.still_valid(&self.principal) => {
                self.watcher = None;
                Ok(true)
            }
            Watched::Ended => Err(StdioError::Revoked),
        }
    }

    async fn send(&self, message: Vec<u8>) -> Result<(), Gone> {
        self.out.send(message).await.map_err(|_| Gone)
    }

    async fn refuse(&self, id: Option<&Id>, error: &RpcError) -> Result<(), Gone> {
        self.send(message::failure(id, error)).await
    }

    async fn read(&mut self, line: &[u8]) -> Result<(), Gone> {
        self.line = line.len();
        match message::read(line) {
            Ok(Document::One(Ok(Message::Request(request)))) => self.request(request).await,
            Ok(Document::One(Ok(Message::Notification(notification)))) => {
                self.notified(&notification.method, notification.params);
                Ok(())
            }
            Ok(Document::One(Ok(Message::Response(response)))) => {
                if let Some(conversation) = &self.conversation {
                    conversation.answered(response);
                }
                Ok(())
            }
            Ok(Document::One(Err(malformed))) => self.refuse(malformed.id.as_ref(), &malformed.error).await,
            Ok(Document::Batch(messages)) => self.batch(messages).await,
            Err(error) => self.refuse(None, &error).await,
        }
    }

    fn notified(&self, method: &str, params: Map<String, Value>) {
        if method == "notifications/cancelled" {
            if let Some(conversation) = &self.conversation {
                conversation.in_flight.cancel(params.clone());
            }
            self.modern.cancel(params);
        }
    }

    fn caller(&self) -> Caller {
        Caller {
            principal: self.principal.clone(),
            session: Arc::clone(&self.session),
            wire: Wire { transport: Transport::Pipe, ..Wire::default() },
            workflow: None,
        }
    }

    fn is_full(&self) -> bool {
        self.unanswered.is_full()
    }

    /// Whether the client is asked something.
    fn asks(&self) -> bool {
        self.conversation.as_ref().is_some_and(|conversation| conversation.waits_for_answers())
    }

    async fn refuse_for_now(&self, id: Option<&Id>) -> Result<(), Gone> {
        let text =
            "too many requests wait for an answer: answer the questions that are open, and send it again";
        self.refuse(id, &RpcError::new(code::INTERNAL_ERROR, text)).await
    }

    async fn request(&mut self, request: Request) -> Result<(), Gone> {
        if request.method == "initialize" && !modern::is_modern(&request.params) {
            return self.initialize(request).await;
        }
        let is_modern = modern::is_modern(&request.params);
        if request.method == "ping" && !is_modern {
            return self.send(message::success(&request.id, &Value::Object(Map::new()))).await;
        }
        // Where no question is open any more, reading stops with this one.
        if self.is_full() && self.asks() {
            return self.refuse_for_now(Some(&request.id)).await;
        }
        if is_modern {
            return self.modern(request).await;
        }
        match &self.conversation {
            Some(conversation) => {
                let conversation = Arc::clone(conversation);
                self.legacy(conversation, request);
                Ok(())
            }
            None => {
                let text = "neither initialized nor stateless: send `initialize` first, or `params._meta` with version \
                            and capabilities";
                self.refuse(Some(&request.id), &RpcError::new(code::INVALID_PARAMS, text)).await
            }
        }
    }

    async fn initialize(&mut self, request: Request) -> Result<(), Gone> {
        if self.conversation.is_some() {
            let error = RpcError::new(code::INVALID_REQUEST, "this connection is initialized already");
            return self.refuse(Some(&request.id), &error).await;
        }
        let hello = match Hello::read(request.params) {
            Ok(hello) => hello,
            Err(error) => return self.refuse(Some(&request.id), &error).await,
        };
        // Before the lists can be asked for, so that no change falls between.
        self.watcher = Some(Watcher::new(Arc::clone(&self.core), self.principal.clone(), None, None));
        let measured = self.core.measure(Some("initialize"), None, &self.caller().wire);
        let welcome = self.core.welcome(&self.principal, &hello);
        self.lasts(hello.version);
        self.conversation = Some(Arc::new(Conversation::new(Arc::clone(&self.session), &hello, None)));
        measured.end(None);
        self.core.service.session_opened(&self.principal, &hello.client_info);
        self.send(message::success(&request.id, &welcome)).await
    }

    /// The client speaks this version: what was spoken first is what its session is measured as.
    fn lasts(&mut self, version: &'static str) {
        let telemetry = &self.core.telemetry;
        self.lasts.get_or_insert_with(|| Session::of_client(Arc::clone(telemetry), Transport::Pipe, version));
    }

    fn spawn(&mut self, method: &str, exchange: Exchange) {
        let (waiting, out) = (self.unanswered.enter(self.line), self.out.clone());
        let work = async move {
            let _waiting = waiting;
            carry(exchange, out).await;
        };
        if is_call(method) {
            self.calls.spawn(work);
        } else {
            self.others.spawn(work);
        }
    }

    fn legacy(&mut self, conversation: Arc<Conversation>, request: Request) {
        let method = request.method.clone();
        let (core, caller, outbox) = (Arc::clone(&self.core), self.caller(), Outbox::new(true));
        let (to, turns) = (Arc::clone(&outbox), Some(Arc::clone(&self.turns)));
        let work = async move {
            exchange::legacy(core, conversation, caller, to, turns, request).await.map(ClientResponse::ok)
        };
        self.spawn(&method, Exchange::new(outbox, Box::pin(work)));
    }

    async fn modern(&mut self, mut request: Request) -> Result<(), Gone> {
        let (method, declared) = match modern::accept(&mut request) {
            Ok(accepted) => accepted,
            Err(refusal) => return self.refuse(Some(&request.id), &refusal.error).await,
        };
        if !std::mem::replace(&mut self.greeted, true) {
            self.lasts(super::MODERN_VERSION);
            self.core.service.session_opened(&self.principal, &declared.client_info);
        }
        let Request { id, method: name, params } = request;
        let outbox = Outbox::new(true);
        let client = Core::modern_client(declared, Arc::clone(&outbox));
        let (core, caller) = (Arc::clone(&self.core), self.caller());
        match method {
            Method::Discover => self.send(core.discover(&caller, &id)).await,
            Method::Listen => self.listen(id, &params, client).await,
            Method::Governed(method) => {
                let flying = match self.modern.enter(&id, client.clone()) {
                    Ok(flying) => flying,
                    Err(error) => return self.refuse(Some(&id), &error).await,
                };
                let turns = Some(Arc::clone(&self.turns));
                let work = async move {
                    let _flying = flying;
                    let canceller = Arc::clone(&client);
                    let answer = async {
                        let _turn = exchange::turn(turns).await;
                        core.modern(method, caller, client, id, params).await
                    };
                    tokio::select! {
                        biased;
                        () = canceller.until_cancelled() => None,
                        answer = answer => Some(answer),
                    }
                };
                self.spawn(&name, Exchange::new(outbox, Box::pin(work)));
                Ok(())
            }
        }
    }

    async fn listen(&mut self, id: Id, params: &Map<String, Value>, client: Arc<Client>) -> Result<(), Gone> {
        let Ok(place) = Arc::clone(&self.subscriptions).try_acquire_owned() else {
            let error = RpcError::new(code::INTERNAL_ERROR, "too many subscriptions at a time");
            return self.refuse(Some(&id), &error).await;
        };
        let (core, shutdown) = (Arc::clone(&self.core), self.shutdown.clone());
        let watching = Arc::clone(&client);
        let stream = match listen::subscription(core, self.caller(), watching, id.clone(), params, shutdown) {
            Ok(stream) => stream,
            Err(error) => return self.refuse(Some(&id), &error).await,
        };
        let flying = match self.modern.enter(&id, client.clone()) {
            Ok(flying) => flying,
            Err(error) => return self.refuse(Some(&id), &error).await,
        };
        let out = self.out.clone();
        self.calls.spawn(async move {
            let _held = (flying, place);
            let mut stream = pin!(stream);
            loop {
                let message = tokio::select! {
                    biased;
                    () = client.until_cancelled() => break,
                    message = stream.next() => message,
                };
                let Some(message) = message else { break };
                if out.send(message).await.is_err() {
                    break;
                }
            }
        });
        Ok(())
    }

    async fn batch(&mut self, messages: Vec<Result<Message, Malformed>>) -> Result<(), Gone> {
        let conversation = self.conversation.as_ref().filter(|c| c.version == BATCH_VERSION).map(Arc::clone);
        let Some(conversation) = conversation else {
            let text = format!("batches belong to {BATCH_VERSION} and not to this connection's version");
            return self.refuse(None, &RpcError::new(code::INVALID_REQUEST, text)).await;
        };
        let (caller, outbox) = (self.caller(), Outbox::new(true));
        let is_request = |message: &Result<Message, Malformed>| matches!(message, Ok(Message::Request(_)));
        if self.is_full() && self.asks() && messages.iter().any(is_request) {
            return self.refuse_for_now(None).await;
        }
        let turns = Some(Arc::clone(&self.turns));
        if let Some(work) = exchange::batch(&self.core, &conversation, &caller, &outbox, &turns, messages) {
            self.spawn("a batch", Exchange::new(outbox, work));
        }
        Ok(())
    }
}

/// Carries an exchange to stdout.
async fn carry(mut exchange: Exchange, out: mpsc::Sender<Vec<u8>>) {
    loop {
        let (message, last) = match poll_fn(|cx| exchange.poll_event(cx)).await {
            Event::Message(message) => (message, false),
            Event::End(Some(answer)) => (answer.body, true),
            Event::End(None) => return,
        };
        if out.send(message).await.is_err() || last {
            return;
        }
    }
}
