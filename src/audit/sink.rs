//! Where committed events go beside the store. A sink that is slow loses events, which are counted, and
//! never holds up a call; the store has them all.

use crate::model::Event;
use std::{
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// One place to write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkTarget {
    /// The process's standard output. Not for `stdio`, where it belongs to MCP.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

impl SinkTarget {
    fn open(&self) -> io::Result<Box<dyn Write + Send>> {
        match self {
            Self::Stdout => Ok(Box::new(io::stdout())),
            Self::File(path) => {
                let mut options = OpenOptions::new();
                options.append(true).create(true);
                #[cfg(unix)]
                {
                    use std::os::unix::fs::OpenOptionsExt as _;
                    options.mode(0o600);
                }
                let file = options
                    .open(path)
                    .map_err(|e| io::Error::new(e.kind(), format!("`{}`: {e}", path.display())))?;
                Ok(Box::new(BufWriter::new(file)))
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Stdout => "stdout".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// Sinks that are open.
#[derive(Debug)]
pub struct EventSinks {
    targets: Vec<(SinkTarget, Arc<AtomicU64>)>,
    threads: Vec<JoinHandle<()>>,
}

impl EventSinks {
    /// Sinks that do nothing yet.
    pub fn new(targets: Vec<SinkTarget>) -> Self {
        let targets = targets.into_iter().map(|target| (target, Arc::default())).collect();
        Self { targets, threads: Vec::new() }
    }

    /// Opens every target and writes what `committed` (see `Store::committed`) brings from now on, one JSON
    /// object per line, until the store closes.
    pub fn start(&mut self, committed: &Receiver<Arc<Event>>) -> io::Result<()> {
        for (target, dropped) in &self.targets {
            let out = target.open()?;
            let (events, dropped, name) = (committed.resubscribe(), dropped.clone(), target.name());
            let thread = std::thread::Builder::new()
                .name("event-sink".to_owned())
                .spawn(move || drain(events, out, &dropped, &name))?;
            self.threads.push(thread);
        }
        Ok(())
    }

    /// Events that were lost so far, over all targets.
    pub fn dropped(&self) -> u64 {
        self.targets.iter().map(|(_, dropped)| dropped.load(Ordering::Relaxed)).sum()
    }

    #[cfg(test)]
    pub(super) fn targets(&self) -> Vec<Arc<AtomicU64>> {
        self.targets.iter().map(|(_, dropped)| dropped.clone()).collect()
    }

    /// Waits until everything is written. Blocks; only after the store was closed does it end.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("event_sink.panicked");
            }
        }
    }
}

fn drain(mut events: Receiver<Arc<Event>>, mut out: Box<dyn Write + Send>, dropped: &AtomicU64, name: &str) {
    let lost = |count: u64, why: &str| {
        let before = dropped.fetch_add(count, Ordering::Relaxed);
        // Once per power of two: a broken sink must not fill the log.
        if before == 0 || before.ilog2() != (before + count).ilog2() {
            tracing::warn!(sink = name, dropped = before + count, why, "event_sink.dropped");
        }
    };
    loop {
        match events.blocking_recv() {
            Ok(event) => {
                let written = serde_json::to_string(&*event)
                    .map_err(io::Error::from)
                    .and_then(|line| writeln!(out, "{line}"))
                    .and_then(|()| if events.is_empty() { out.flush() } else { Ok(()) });
                if let Err(error) = written {
                    lost(1, &error.to_string());
                }
            }
            Err(RecvError::Lagged(count)) => lost(count, "the sink is too slow"),
            Err(RecvError::Closed) => break,
        }
    }
    if let Err(error) = out.flush() {
        lost(1, &error.to_string());
    }
}
