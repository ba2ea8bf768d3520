//! Reads events from the store as they come, in chain order, from every process that writes there.

use super::failure::CliError;
use crate::{
    model::Event,
    store::{EventQuery, Store, StoreError},
};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
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

/// Opens what `--events` names.
pub(super) async fn open_sink(target: &Path) -> Result<Box<dyn AsyncWrite + Send + Unpin>, CliError> {
    if target == Path::new("stdout") {
        return Ok(Box::new(tokio::io::stdout()));
    }
    let mut options = tokio::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    options.mode(0o600);
    let file = options.open(target).await.map_err(|source| CliError::Io {
        what: format!("cannot append to `{}` (--events)", target.display()),
        source,
    })?;
    Ok(Box::new(file))
}

/// Copies events to a sink, one JSON line each, until told to stop; what is committed by then is still written. A
/// sink that fails ends its copying, not the gateway: the store has every event.
pub(super) async fn copy(
    mut follower: Follower,
    mut sink: Box<dyn AsyncWrite + Send + Unpin>,
    stop: CancellationToken,
) {
    let copied = async {
        loop {
            let events = tokio::select! {
                biased;
                events = follower.wait() => events,
                () = stop.cancelled() => break,
            };
            write(&mut sink, &events?).await?;
        }
        loop {
            let events = follower.page().await?;
            if events.is_empty() {
                return Ok::<(), CliError>(());
            }
            write(&mut sink, &events).await?;
        }
    };
    if let Err(error) = copied.await {
        tracing::error!(error = %error, "events.sink_failed");
    }
}

async fn write(sink: &mut (dyn AsyncWrite + Send + Unpin), events: &[Event]) -> Result<(), CliError> {
    let mut lines = Vec::new();
    for event in events {
        serde_json::to_writer(&mut lines, event).map_err(std::io::Error::other)?;
        lines.push(b'\n');
    }
    sink.write_all(&lines).await?;
    Ok(sink.flush().await?)
}
