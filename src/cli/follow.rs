//! Reads events from the store as they come, in chain order, from every process that writes there.

use super::failure::CliError;
use crate::{
    model::Event,
    store::{EventQuery, Store, StoreError},
};
use std::{fs::File, io::Write as _, path::Path, sync::Arc, time::Duration};
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

/// How many events are read at once.
const PAGE: usize = 500;
/// How long to wait where there was nothing new.
const PAUSE: Duration = Duration::from_millis(250);

/// A place in the chain, and which events behind it are wanted.
pub(super) struct Follower {
    store: Arc<dyn Store>,
    query: EventQuery,
}

impl Follower {
    /// From behind `after`.
    pub(super) fn new(store: Arc<dyn Store>, query: EventQuery, after: i64) -> Self {
        let query = EventQuery { after_seq: Some(after), newest_first: false, limit: PAGE, ..query };
        Self { store, query }
    }

    /// The next events, none where there are none yet.
    pub(super) async fn page(&mut self) -> Result<Vec<Event>, StoreError> {
        let events = self.store.events(self.query.clone()).await?;
        if let Some(last) = events.last() {
            self.query.after_seq = Some(last.seq);
        }
        Ok(events)
    }

    /// The next events, as soon as there are any.
    pub(super) async fn wait(&mut self) -> Result<Vec<Event>, StoreError> {
        loop {
            let events = self.page().await?;
            if !events.is_empty() {
                return Ok(events);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The `seq` of the newest event; 0 where there is none.
pub(super) async fn head(store: &Arc<dyn Store>) -> Result<i64, StoreError> {
    let query = EventQuery { newest_first: true, limit: 1, ..EventQuery::default() };
    Ok(store.events(query).await?.first().map_or(0, |event| event.seq))
}

/// How long to wait before a sink, or the store, that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Where `--events` writes to.
enum Target {
    Stdout(tokio::io::Stdout),
    File(Arc<File>),
}

/// A target, and the lines that it has not taken yet.
pub(super) struct Sink {
    target: Target,
    name: String,
    left: Vec<u8>,
}

impl Sink {
    /// Opens what `--events` names.
    pub(super) async fn open(target: &Path) -> Result<Self, CliError> {
        let name = target.display().to_string();
        if target == Path::new("stdout") {
            return Ok(Self { target: Target::Stdout(tokio::io::stdout()), name, left: Vec::new() });
        }
        let mut options = tokio::fs::OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        options.mode(0o600);
        let file = options.open(target).await.map_err(|source| CliError::Io {
            what: format!("cannot append to `{name}` (--events)"),
            source,
        })?;
        Ok(Self { target: Target::File(Arc::new(file.into_std().await)), name, left: Vec::new() })
    }

    /// Writes what is left. A file keeps the rest for the next time where it fails.
    async fn write(&mut self) -> Result<(), CliError> {
        let mut left = std::mem::take(&mut self.left);
        let written = match &mut self.target {
            Target::Stdout(out) => match out.write_all(&left).await {
                Ok(()) => out.flush().await,
                Err(error) => Err(error),
            },
            Target::File(file) => {
                let file = file.clone();
                let written = tokio::task::spawn_blocking(move || {
                    let outcome = append(&file, &mut left);
                    (left, outcome)
                });
                match written.await {
                    Ok((left, outcome)) => {
                        self.left = left;
                        outcome
                    }
                    Err(lost) => Err(std::io::Error::other(lost)),
                }
            }
        };
        let what = format!("cannot append to `{}` (--events)", self.name);
        written.map_err(|source| CliError::Io { what, source })
    }

    /// The next events: how many were there.
    async fn take(&mut self, follower: &mut Follower) -> Result<usize, CliError> {
        if !self.left.is_empty() {
            self.write().await?;
        }
        let events = follower.page().await?;
        for event in &events {
            serde_json::to_writer(&mut self.left, event).map_err(std::io::Error::other)?;
            self.left.push(b'\n');
        }
        if !events.is_empty() {
            self.write().await?;
        }
        Ok(events.len())
    }
}

/// Appends bytes to a file, and takes away those that are written.
fn append(mut file: &File, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => drop(bytes.drain(..written)),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Copies events to a sink, one JSON line each, until told to stop; what is committed by then is still written. A file that
/// cannot be written, and a store that does not answer, are tried again: the store keeps every event meanwhile. A standard
/// output that nobody reads any more ends its copying, not the gateway.
pub(super) async fn copy(mut follower: Follower, mut sink: Sink, stop: CancellationToken) {
    let mut failing = false;
    loop {
        let ending = stop.is_cancelled();
        let pause = match sink.take(&mut follower).await {
            Ok(0) if ending => return,
            Ok(0) => PAUSE,
            Ok(_) => {
                failing = false;
                continue;
            }
            Err(error) => {
                let gone = matches!((&sink.target, &error), (Target::Stdout(_), CliError::Io { .. }));
                if ending || gone {
                    return tracing::error!(error = %error, "events.sink_failed");
                }
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(error = %error, "events.sink_waits");
                }
                RETRY
            }
        };
        tokio::time::timeout(pause, stop.cancelled()).await.ok();
    }
}
