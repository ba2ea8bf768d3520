//! One child process that speaks MCP over its standard streams, in either era.

use super::{
    call::{Call, LARGEST_PAGE},
    contain,
    deps::Redact,
    dialect::Dialect,
    environment::{environment, not_found},
    inbox::{Inbox, Link, ServerResponse, Signals},
    last_words::{LastWords, cut},
    limits::{Allowance, Limits},
    own::OwnSecrets,
    refusal::Cause,
    scan::IdScan,
    types::UpstreamError,
    wire::{self, Message},
    wiring::Wiring,
};
use crate::{model::UpstreamName, redaction::visible};
use futures::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio as Pipe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Messages waiting to be written.
const QUEUE: usize = 256;
/// Bytes of requests waiting to be written: a child that reads no more holds no more than this.
const BACKLOG: u32 = 16 << 20;
/// A private key on stderr that does not end is taken to end after so many lines.
const KEY_LINES: usize = 256;
/// The longest stderr line that is logged whole.
const STDERR_LINE: usize = 4096;
/// How much of standard error is read at once, and per second; the child waits where it writes more.
const STDERR_BURST: u64 = 4 << 20;
const STDERR_RATE: u64 = 1 << 20;
/// How much is read at a time.
const CHUNK: usize = 8192;
/// How much of a line that is no message is logged.
const GARBAGE_SHOWN: usize = 200;
/// The supervisor's two periods of grace, and a little.
const LEAVE: Duration = Duration::from_secs(6);

/// A running child.
pub(super) struct Stdio {
    inbox: Inbox,
    outgoing: mpsc::Sender<Outgoing>,
    backlog: Arc<Semaphore>,
    next: AtomicU64,
    max_result: u64,
    own: OwnSecrets,
    stop: CancellationToken,
    ended: watch::Receiver<bool>,
    /// A modern child may not ask anything, and may not be answered.
    modern: AtomicBool,
}

impl Drop for Stdio {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A message, with its part of the backlog until it is written.
type Outgoing = (Vec<u8>, Option<OwnedSemaphorePermit>);

struct Out(mpsc::Sender<Outgoing>);

impl Link for Out {
    fn post(self: Arc<Self>, message: Vec<u8>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // A closed queue means the child is gone, which is reported elsewhere.
            drop(self.0.send((message, None)).await);
        })
    }
}

impl Stdio {
    pub(super) fn spawn(
        wiring: &Wiring<'_>,
        command: &[String],
        (env, cwd): (&BTreeMap<String, SecretString>, &Path),
        max_result: u64,
        signals: Signals,
    ) -> Result<Arc<Self>, String> {
        let Wiring { config, deps, limits, .. } = wiring;
        let name = &config.name;
        let mut command = contain::program(&deps.own_binary, command)?;
        let environment = environment(env);
        let program = command.first().filter(|_| cwd.is_dir());
        let missing = program.and_then(|program| Some((program, not_found(program, &environment, cwd)?)));
        if let Some((program, why)) = missing {
            return Err(format!("`{}` cannot be started: {why}", program.display()));
        }
        if let Some(contain) = &config.contain {
            command = contain::wrapped(&deps.own_binary, contain, &command)?;
        }
        let (supervisor, leading) = deps.supervisor.split_first().ok_or("there is no supervisor")?;
        let mut child = Command::new(supervisor)
            .args(leading)
            .args(command)
            .env_clear()
            .envs(environment)
            .current_dir(cwd)
            .stdin(Pipe::piped())
            .stdout(Pipe::piped())
            .stderr(Pipe::piped())
            // Ctrl-C on the gateway's terminal is for the gateway, which ends its children in order.
            .process_group(0)
            .spawn()
            .map_err(|error| match cwd.is_dir() {
                true => format!("the process cannot be started: {error}"),
                false => {
                    format!("the process cannot be started: its folder `{}` is not there", cwd.display())
                }
            })?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("the process has no standard streams".to_owned());
        };
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let stop = CancellationToken::new();
        let (ended, ended_seen) = watch::channel(false);
        let last_words = Arc::new(LastWords::default());
        let own = OwnSecrets::among(
            env.iter().map(|(name, value)| (name.as_str().into(), value.expose_secret().into())),
        );
        let redact = own.redacting(deps.redact.clone());
        let stdio = Arc::new(Self {
            inbox: Inbox::new(name.clone(), signals, redact.clone(), Arc::clone(limits)),
            outgoing,
            backlog: Arc::new(Semaphore::new(usize::try_from(BACKLOG).unwrap_or(usize::MAX))),
            next: AtomicU64::new(1),
            max_result,
            own,
            stop: stop.clone(),
            ended: ended_seen,
            modern: AtomicBool::new(false),
        });
        tokio::spawn(write(stdin, queue, stop));
        let log = ErrorLog { upstream: name.clone(), redact, limits: Arc::clone(limits) };
        let errors = tokio::spawn(log_errors(stderr, log, last_words.clone()));
        tokio::spawn(read(Arc::downgrade(&stdio), stdout, child, errors, last_words, ended));
        Ok(stdio)
    }

    pub(super) fn signals(&self) -> &Signals {
        &self.inbox.signals
    }

    pub(super) fn set_modern(&self) {
        self.modern.store(true, Ordering::Relaxed);
    }

    /// Sends one request and waits for its answer. Dropping it tells the child.
    pub(super) async fn request(&self, call: &Arc<Call>, dialect: &Dialect) -> ServerResponse {
        let measured = self.inbox.signals.own.begin(call);
        let answer = self.ask(call, dialect).await;
        if let Some(measured) = measured {
            measured.end(answer.as_ref().err().map(UpstreamError::code));
        }
        answer
    }

    async fn ask(&self, call: &Arc<Call>, dialect: &Dialect) -> ServerResponse {
        let gone = || UpstreamError::NotSent("the process is gone".to_owned());
        let slot = self.outgoing.reserve().await.map_err(|_| gone())?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let body = wire::request(id, call, dialect);
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).min(BACKLOG);
        let room = self.backlog.clone().acquire_many_owned(length).await.map_err(|_| gone())?;
        if self.inbox.signals.closed_reason().is_some() {
            return Err(gone());
        }
        let answer = self.inbox.expect(id, call);
        let pending = Pending { stdio: self, id, cancellable: call.request.method != "initialize" };
        call.set_sent(true);
        slot.send((body, Some(room)));
        let outcome = answer.await;
        drop(pending);
        outcome.unwrap_or_else(|_| Err(UpstreamError::Lost("the process is gone".to_owned())))
    }

    /// A request whose answer, should it come, ends nothing: `subscriptions/listen`. Its id, to cancel it.
    pub(super) async fn open(&self, call: &Arc<Call>, dialect: &Dialect) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.notify(wire::request(id, call, dialect)).await;
        id
    }

    pub(super) async fn notify(&self, message: Vec<u8>) {
        // A closed queue means the child is gone, which is reported elsewhere.
        drop(self.outgoing.send((message, None)).await);
    }

    /// Closes stdin and waits until the child and its supervisor are gone.
    pub(super) async fn close(&self) {
        self.inbox.signals.end();
        self.stop.cancel();
        let mut ended = self.ended.clone();
        drop(tokio::time::timeout(LEAVE, ended.wait_for(|ended| *ended)).await);
    }

    /// Whether the line answered a request.
    fn line(&self, line: &[u8]) -> bool {
        if line.iter().all(u8::is_ascii_whitespace) {
            return false;
        }
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if length > self.max_result.saturating_add(wire::ENVELOPE) {
            let mut scan = IdScan::default();
            scan.push(line);
            let limit = scan.id().and_then(|id| self.inbox.largest_answer(id, self.max_result));
            if limit.is_none_or(|limit| length > limit.saturating_add(wire::ENVELOPE)) {
                return self.too_large(scan.id());
            }
        }
        let link = Arc::new(Out(self.outgoing.clone()));
        let mut answers = false;
        for message in self.own.read(line, self.max_result) {
            match message {
                Message::Response { id: Some(id), outcome } => {
                    answers |= self.inbox.deliver(id, outcome.map_err(UpstreamError::Rpc));
                }
                Message::Response { id: None, outcome } => {
                    let code = outcome.err().map_or(0, |error| error.code);
                    if let Some(left_out) = self.inbox.may_log() {
                        tracing::warn!(upstream = %self.inbox.upstream, code, left_out, "an answer without an id");
                    }
                }
                Message::Request { .. } if self.modern.load(Ordering::Relaxed) => {
                    if let Some(left_out) = self.inbox.may_log() {
                        tracing::warn!(upstream = %self.inbox.upstream, left_out, "a request on stdout, which 2026-07-28 forbids");
                    }
                }
                Message::Unreadable { answers: id, reason } => {
                    // Masked before it is cut: half a secret is not known for one.
                    let shown = || {
                        let shown = (self.inbox.redact)(&cut(line, STDERR_LINE));
                        visible(&cut(shown.as_bytes(), GARBAGE_SHOWN)).into_owned()
                    };
                    self.inbox.limits.wrote_no_message(&reason, shown);
                    if let Some(left_out) = self.inbox.may_log() {
                        let upstream = &self.inbox.upstream;
                        tracing::warn!(%upstream, reason, left_out, "not a message on stdout");
                        tracing::debug!(%upstream, line = shown(), "what is no message");
                    }
                    answers |= self.inbox.unreadable(id, reason, line.len());
                }
                other @ (Message::Request { .. } | Message::Notification { .. }) => {
                    self.inbox.take(&link, other, None);
                }
            }
        }
        answers
    }

    /// Whether it would have answered a request.
    fn too_large(&self, id: Option<u64>) -> bool {
        let limit = self.inbox.largest_of(id, self.max_result);
        if let Some(left_out) = self.inbox.may_log() {
            tracing::warn!(upstream = %self.inbox.upstream, limit, left_out, "a line on stdout is too large");
        }
        id.is_some_and(|id| self.inbox.deliver(id, Err(UpstreamError::TooLarge(limit))))
    }
}

/// One request in flight: tells the child when nobody waits any more.
struct Pending<'a> {
    stdio: &'a Stdio,
    id: u64,
    cancellable: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.stdio.inbox.forget(self.id) || !self.cancellable {
            return;
        }
        let message = (wire::cancelled(self.id), None);
        if let Err(mpsc::error::TrySendError::Full(message)) = self.stdio.outgoing.try_send(message) {
            let outgoing = self.stdio.outgoing.clone();
            tokio::spawn(async move { drop(outgoing.send(message).await) });
        }
    }
}

async fn write(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Outgoing>, stop: CancellationToken) {
    let mut batch = Vec::new();
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        tokio::select! {
            biased;
            count = queue.recv_many(&mut batch, 64) => if count == 0 { return },
            () = stop.cancelled() => return,
        }
        bytes.clear();
        for (message, _) in &batch {
            bytes.extend_from_slice(message);
            bytes.push(b'\n');
        }
        let written = tokio::select! {
            written = stdin.write_all(&bytes) => written,
            () = stop.cancelled() => return,
        };
        // The reader learns of a child that is gone, with its status.
        if written.is_err() {
            return;
        }
        batch.clear();
    }
}

async fn read(
    stdio: std::sync::Weak<Stdio>,
    stdout: impl AsyncRead + Unpin,
    mut child: Child,
    errors: tokio::task::JoinHandle<()>,
    last_words: Arc<LastWords>,
    ended: watch::Sender<bool>,
) {
    let max = stdio.upgrade().map_or(0, |s| s.max_result).max(LARGEST_PAGE);
    let bound = usize::try_from(max.saturating_add(wire::ENVELOPE)).unwrap_or(usize::MAX);
    let mut lines = Lines::new(stdout, bound);
    loop {
        let line = lines.next().await;
        // Dropped by everyone: what the child still says is read away, so that it can end.
        let Some(stdio) = stdio.upgrade() else {
            match line {
                Line::End => break,
                Line::Whole(_) | Line::TooLong(_) | Line::Skipped(_) => continue,
            }
        };
        let unasked = match line {
            Line::Whole(line) => (!stdio.line(line)).then_some(line.len()),
            Line::TooLong(id) => (!stdio.too_large(id)).then_some(0),
            Line::Skipped(bytes) => {
                stdio.inbox.endless(bytes, bound);
                Some(bytes)
            }
            Line::End => {
                stdio.stop.cancel();
                break;
            }
        };
        // Not read meanwhile: the child waits too.
        if let Some(bytes) = unasked {
            stdio.inbox.noise.heard(bytes).await;
        }
    }
    let status = tokio::time::timeout(LEAVE, child.wait()).await;
    if status.is_err() {
        drop(child.start_kill());
    }
    // What it wrote last often says why; a descendant may hold stderr open.
    drop(tokio::time::timeout(Duration::from_millis(200), errors).await);
    let told = match status {
        Ok(Ok(status)) => format!("the process ended ({status})"),
        Ok(Err(_)) | Err(_) => "the process closed its output".to_owned(),
    };
    if let Some(stdio) = stdio.upgrade() {
        let said = last_words.cause().unwrap_or_default();
        stdio.inbox.signals.close(Cause { reason: told.clone(), said });
        stdio.inbox.fail_all(&UpstreamError::Lost(told));
    }
    ended.send_replace(true);
}

/// Where lines of standard error go.
struct ErrorLog {
    upstream: UpstreamName,
    redact: Redact,
    limits: Arc<Limits>,
}

impl ErrorLog {
    fn left_out(&self, lines: u64) {
        if lines > 0 {
            tracing::debug!(upstream = %self.upstream, "{lines} lines of its standard error were left out: they came too fast");
        }
    }
}

async fn log_errors(stderr: impl AsyncRead + Unpin, log: ErrorLog, last_words: Arc<LastWords>) {
    let ErrorLog { upstream, redact, limits } = &log;
    let reading = Allowance::new(STDERR_BURST, STDERR_RATE);
    let mut lines = Lines::new(stderr, STDERR_LINE);
    let mut key_lines = 0;
    // The last line that was left out is looked at only if it is the last of all.
    let mut unseen: Vec<u8> = Vec::new();
    loop {
        let read = match lines.next().await {
            Line::Whole(line) if inside_key(line, &mut key_lines) => line.len(),
            Line::Whole(line) => {
                unseen.clear();
                match limits.stderr.admits(line.len()) {
                    Some(left_out) => {
                        log.left_out(left_out);
                        let text = redact(String::from_utf8_lossy(line).trim_end());
                        last_words.hear(&text);
                        tracing::debug!(%upstream, "{}", visible(&text));
                    }
                    None => unseen.extend_from_slice(line),
                }
                line.len()
            }
            Line::Skipped(bytes) => bytes,
            Line::TooLong(_) => {
                if let Some(left_out) = limits.stderr.admits(0) {
                    log.left_out(left_out);
                    tracing::debug!(%upstream, "a line of more than {STDERR_LINE} bytes was left out");
                }
                0
            }
            Line::End => {
                last_words.hear(&redact(String::from_utf8_lossy(&unseen).trim_end()));
                return log.left_out(limits.stderr.left_out());
            }
        };
        // Not read meanwhile: the child waits too.
        let pause = reading.charge(Instant::now(), u64::try_from(read).unwrap_or(u64::MAX).saturating_add(1));
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Whether a line belongs to a private key that an earlier line began: what is masked by line would let it through.
fn inside_key(line: &[u8], left: &mut usize) -> bool {
    let has = |what: &[u8]| line.windows(what.len()).any(|window| window == what);
    let inside = *left > 0;
    *left = left.saturating_sub(1);
    if has(b"-----END") {
        *left = 0;
    } else if has(b"-----BEGIN") && has(b"KEY") {
        *left = KEY_LINES;
    }
    inside
}

/// Lines of bounded length.
struct Lines<R> {
    from: R,
    buffer: Vec<u8>,
    start: usize,
    scanned: usize,
    limit: usize,
    skipping: Option<IdScan>,
}

enum Line<'a> {
    Whole(&'a [u8]),
    /// So many bytes of a line beyond the bound were read away; it goes on.
    Skipped(usize),
    /// The end of such a line; the id it would have answered, where one stands in it.
    TooLong(Option<u64>),
    End,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(from: R, limit: usize) -> Self {
        Self { from, buffer: Vec::with_capacity(CHUNK), start: 0, scanned: 0, limit, skipping: None }
    }

    async fn next(&mut self) -> Line<'_> {
        loop {
            let fresh = self.buffer.get(self.scanned..).unwrap_or_default();
            if let Some(offset) = fresh.iter().position(|b| *b == b'\n') {
                let end = self.scanned + offset;
                let start = std::mem::replace(&mut self.start, end + 1);
                self.scanned = end + 1;
                if let Some(mut scan) = self.skipping.take() {
                    scan.push(self.buffer.get(start..end).unwrap_or_default());
                    return Line::TooLong(scan.id());
                }
                if end - start > self.limit {
                    let mut scan = IdScan::default();
                    scan.push(self.buffer.get(start..end).unwrap_or_default());
                    return Line::TooLong(scan.id());
                }
                return Line::Whole(self.buffer.get(start..end).unwrap_or_default());
            }
            if self.start > 0 {
                self.buffer.drain(..self.start);
                self.start = 0;
            }
            let read = self.buffer.len();
            if read > 0 && (self.skipping.is_some() || read > self.limit) {
                self.skipping.get_or_insert_default().push(&self.buffer);
                self.buffer.clear();
                self.scanned = 0;
                return Line::Skipped(read);
            }
            self.scanned = read;
            // What one long line took is not kept for ever.
            if read < CHUNK && self.buffer.capacity() > 16 * CHUNK {
                self.buffer.shrink_to(CHUNK);
            }
            self.buffer.reserve(CHUNK);
            match self.from.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => {
                    // A last line without its end is no message.
                    return Line::End;
                }
                Ok(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bounded_and_what_follows_is_read() {
        let long = format!(
            "{{\"result\":\"{}\",\"id\":5}}\nnext\n{}\nlast\ncut",
            "x".repeat(50_000),
            "y".repeat(40)
        );
        let mut lines = Lines::new(long.as_bytes(), 30);
        let mut skipped = 0;
        while let Line::Skipped(bytes) = lines.next().await {
            assert!(bytes <= 2 * CHUNK && lines.buffer.is_empty(), "{bytes}");
            skipped += bytes;
        }
        assert!((40_000..60_000).contains(&skipped), "{skipped}");
        let mut lines = Lines::new(long.as_bytes(), 30);
        while matches!(lines.next().await, Line::Skipped(_)) {}
        assert!(matches!(lines.next().await, Line::Whole(b"next")));
        assert!(matches!(lines.next().await, Line::TooLong(None)));
        assert!(matches!(lines.next().await, Line::Whole(b"last")));
        assert!(matches!(lines.next().await, Line::End));
    }

    /// Writes without end and without a line's end, and counts what was taken.
    struct Endless(Arc<AtomicU64>);

    impl AsyncRead for Endless {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            to: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            let room = to.remaining();
            to.put_slice(&vec![b'x'; room]);
            self.0.fetch_add(room as u64, Ordering::Relaxed);
            std::task::Poll::Ready(Ok(()))
        }
    }

    /// An endless line is read at a bounded rate: it keeps nobody busy.
    #[tokio::test]
    async fn an_endless_line_on_stderr_is_read_slowly() {
        let taken = Arc::new(AtomicU64::new(0));
        let log = ErrorLog { upstream: "s".into(), redact: Arc::new(str::to_owned), limits: Limits::new() };
        let reading = log_errors(Endless(taken.clone()), log, Arc::default());
        let begun = Instant::now();
        drop(tokio::time::timeout(Duration::from_millis(500), reading).await);
        let most = STDERR_BURST + STDERR_RATE * (begun.elapsed().as_secs() + 1) + (1 << 16);
        assert!(taken.load(Ordering::Relaxed) <= most, "{}", taken.load(Ordering::Relaxed));
    }
}
