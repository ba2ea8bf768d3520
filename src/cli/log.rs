//! Where log lines go: standard error, and nothing there that a peer's message holds. A thread of its own writes them, for
//! whoever reads the log may be slow, and no call waits for that.

use super::{args::LogFormat, failure::CliError};
use crate::telemetry::{LogLayer, Telemetry};
use std::{
    io::{self, IsTerminal as _, Write},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};
use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, filter_fn},
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// Bytes that wait to be written; what is beyond is counted and told.
const MOST_WAITING: usize = 4 << 20;
/// What a line takes beside its bytes.
const LINE: usize = 64;
/// Bytes after which no more lines are added to a write.
const BATCH: usize = 32 << 10;
/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Starts logging, filtered by `TOLLGATE_LOG`.
pub(super) fn start(format: LogFormat, telemetry: &Arc<Telemetry>) -> Result<(), CliError> {
    let text = match std::env::var("TOLLGATE_LOG") {
        Ok(text) if !text.trim().is_empty() => text,
        Ok(_) | Err(_) => "info".to_owned(),
    };
    let filter = || {
        EnvFilter::try_new(&text).map_err(|error| {
            CliError::Told(format!(
                "TOLLGATE_LOG is not a log filter ({error}): expected one like `info` or `tollgate=debug`"
            ))
        })
    };
    let cannot = |error: &dyn std::fmt::Display| CliError::Told(format!("cannot start logging: {error}"));
    let (queue, lines) = Queue::new();
    let (waiting, left_out) = (Arc::clone(&queue.waiting), Arc::clone(&queue.left_out));
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write(&lines, &waiting, &left_out, format, &mut io::stderr()))
        .map_err(|error| cannot(&error))?;
    let base = fmt::layer().with_writer(queue.clone());
    let layer = match format {
        LogFormat::Text => base.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => base.json().flatten_event(true).boxed(),
    };
    // With its own hint the levels that the filter closes stay closed for `LevelFilter::current`.
    let harmless = || filter_fn(harmless).with_max_level_hint(LevelFilter::TRACE);
    tracing_subscriber::registry()
        .with(layer.with_filter(filter()?.and(harmless())))
        .with(LogLayer(Arc::clone(telemetry)).with_filter(filter()?.and(harmless())))
        .try_init()
        .map_err(|error| cannot(&error))?;
    QUEUE.get_or_init(|| queue);
    Ok(())
}

/// Waits until what was logged is written, as long as somebody reads it.
pub(super) fn flush() {
    let Some(queue) = QUEUE.get() else { return };
    let (done, written) = channel();
    if queue.lines.send(Entry::Flush(done)).is_ok() {
        written.recv_timeout(LAST_LINES).ok();
    }
}

enum Entry {
    Line(Vec<u8>),
    Flush(Sender<()>),
}

/// Lines on their way to the thread that writes them.
#[derive(Clone)]
struct Queue {
    lines: Sender<Entry>,
    waiting: Arc<AtomicUsize>,
    left_out: Arc<AtomicU64>,
}

impl Queue {
    fn new() -> (Self, Receiver<Entry>) {
        let (lines, written) = channel();
        (Self { lines, waiting: Arc::default(), left_out: Arc::default() }, written)
    }

    fn put(&self, line: &[u8]) {
        let size = line.len() + LINE;
        if self.waiting.fetch_add(size, Ordering::Relaxed).saturating_add(size) > MOST_WAITING {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Its thread is gone only with the process.
        self.lines.send(Entry::Line(line.to_vec())).ok();
    }
}

/// A subscriber writes each line at once.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Writes lines as they come, those that wait in one write. What cannot be written is lost: there is no other place to say so.
fn write(
    lines: &Receiver<Entry>,
    waiting: &AtomicUsize,
    left_out: &AtomicU64,
    format: LogFormat,
    out: &mut dyn Write,
) {
    let mut batch = Vec::new();
    while let Ok(first) = lines.recv() {
        let (mut next, mut taken, mut done) = (Some(first), 0, None);
        while let Some(entry) = next {
            match entry {
                Entry::Line(line) => {
                    batch.extend_from_slice(&line);
                    taken += line.len() + LINE;
                }
                Entry::Flush(sender) => done = Some(sender),
            }
            let full = batch.len() >= BATCH || done.is_some();
            next = if full { None } else { lines.try_recv().ok() };
        }
        out.write_all(&batch).ok();
        batch.clear();
        waiting.fetch_sub(taken, Ordering::Relaxed);
        if let Some(done) = done {
            out.flush().ok();
            done.send(()).ok();
        }
        let missing = left_out.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let text = "log lines were left out: they came faster than they were read";
            match format {
                LogFormat::Text => writeln!(out, "tollgate: {missing} {text}").ok(),
                LogFormat::Json => {
                    let line = serde_json::json!({"level": "WARN", "message": text, "left_out": missing});
                    writeln!(out, "{line}").ok()
                }
            };
        }
    }
}

/// Below these levels libraries log bodies and headers, so no filter opens them.
fn harmless(metadata: &Metadata<'_>) -> bool {
    let root = metadata.target().split("::").next().unwrap_or_default();
    let most = match root {
        "tollgate" => Level::TRACE,
        "rmcp" => Level::WARN,
        _ => Level::INFO,
    };
    *metadata.level() <= most
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody reads: what logs goes on, what waits is bounded, and once somebody reads, what is missing is told.
    #[test]
    fn a_log_that_nobody_reads_holds_nobody_up() {
        let (queue, lines) = Queue::new();
        let line = vec![b'x'; 1_000];
        for _ in 0..10_000 {
            queue.put(&line);
        }
        assert!(queue.waiting.load(Ordering::Relaxed) <= MOST_WAITING);
        let kept = MOST_WAITING / (1_000 + LINE);
        assert_eq!(queue.left_out.load(Ordering::Relaxed), u64::try_from(10_000 - kept).unwrap());
        let (waiting, left_out) = (Arc::clone(&queue.waiting), Arc::clone(&queue.left_out));
        drop(queue);
        let mut out = Vec::new();
        write(&lines, &waiting, &left_out, LogFormat::Json, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches('x').count(), kept * 1_000);
        assert!(text.contains(&format!("\"left_out\":{}", 10_000 - kept)), "{}", text.replace('x', ""));
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
    }
}
