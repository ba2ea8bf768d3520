//! What an upstream says by itself: the GET stream of a legacy session, `subscriptions/listen` of a modern server.

use super::{
    Http,
    reader::{ReadError, Reader, is_events},
};
use crate::upstream::{
    call::Call,
    sse::Event,
    wire::{self, Message},
};
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The shortest, whatever the upstream asks for.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
/// A stream that stood so long did, though nothing came on it.
const STOOD: Duration = Duration::from_secs(10);

/// How long to wait before the next try: ever longer where tries fail, or streams end as soon as they begin.
pub(super) fn pause(first: Duration, asked: Option<Duration>, failures: u32) -> Duration {
    let least = first.min(LEAST_PAUSE);
    let grown = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    let asked = asked.map(|asked| asked.clamp(least, LONGEST_PAUSE));
    match (asked, failures) {
        (Some(asked), 0) => asked,
        (Some(asked), _) => asked.max(grown),
        (None, _) => grown,
    }
}

/// Whether it may have a stream for us later: it is away or busy, takes the one that broke for open, or knows us no more
/// for a while.
fn is_away(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::CONFLICT
                | StatusCode::TOO_EARLY
                | StatusCode::TOO_MANY_REQUESTS
        )
}

/// The GET stream of a legacy session, resumed where it broke.
pub(super) async fn hear_legacy(weak: Weak<Http>, standing: oneshot::Sender<()>) {
    // Dropped with the first answer, whatever it is.
    let mut standing = Some(standing);
    let mut last: Option<HeaderValue> = None;
    let mut failures = 0_u32;
    loop {
        let Some(http) = weak.upgrade() else { return };
        let Some(session) = http.session.load_full() else { return };
        let first = http.timing.stream_retry;
        let mut asked = None;
        let answer = http.get(&session, last.clone()).await;
        drop(standing.take());
        match answer {
            Ok(response) if is_events(&response) => {
                // What changed while nobody could be heard.
                if failures > 0 {
                    http.inbox.signals.changed.notify_one();
                }
                let mut reader = Reader::new(response.into_body(), http.max_result, &http.inbox.noise);
                drop(http);
                let begun = Instant::now();
                let mut heard = false;
                while let Ok(Some(mut event)) = reader.next().await {
                    heard = true;
                    last = event.id.take().and_then(|id| HeaderValue::try_from(id).ok()).or(last);
                    let Some(http) = weak.upgrade() else { return };
                    hear(http, &event).await;
                }
                failures = if heard || begun.elapsed() >= STOOD { 0 } else { failures.saturating_add(1) };
                asked = reader.retry();
            }
            Ok(response) if response.status() == StatusCode::NOT_FOUND && session.id.is_some() => {
                last = None;
                if http.renew(&session).await.is_err() {
                    return;
                }
            }
            Ok(response) if is_away(response.status()) => {
                failures = failures.saturating_add(1);
                asked = http.reach.retry_after(response.headers());
            }
            // 405 and the like: no such stream is offered.
            Ok(_) => return,
            Err(_) if http.inbox.signals.closed_reason().is_none() => failures = failures.saturating_add(1),
            Err(_) => return,
        }
        tokio::time::sleep(pause(first, asked, failures)).await;
    }
}

async fn hear(http: Arc<Http>, event: &Event) {
    let noise = http.inbox.noise.clone();
    if let Some(data) = event.message() {
        take(&http, data);
    }
    // A connection that nobody else holds any more ends, however long this waits.
    drop(http);
    noise.heard(event.data.len()).await;
}

fn take(http: &Arc<Http>, data: &[u8]) {
    for message in http.reach.own().read(data, http.max_result) {
        match message {
            Message::Unreadable { reason, .. } => http.inbox.unread(&reason, data.len()),
            other @ (Message::Response { .. } | Message::Request { .. } | Message::Notification { .. }) => {
                http.inbox.take(http, other, None);
            }
        }
    }
}

/// The filter of `subscriptions/listen`: what the upstream says it tells, and the resources that are watched.
pub(in crate::upstream) fn listen_filter(
    capabilities: &Value,
    watched: &BTreeSet<String>,
) -> Option<Map<String, Value>> {
    let mut filter = Map::new();
    for (kind, key) in [
        ("tools", "toolsListChanged"),
        ("prompts", "promptsListChanged"),
        ("resources", "resourcesListChanged"),
    ] {
        if capabilities.get(kind).and_then(|c| c.get("listChanged")) == Some(&Value::Bool(true)) {
            filter.insert(key.to_owned(), Value::Bool(true));
        }
    }
    if !watched.is_empty() {
        filter.insert("resourceSubscriptions".to_owned(), json!(watched));
    }
    (!filter.is_empty()).then(|| {
        let mut params = Map::new();
        params.insert("notifications".to_owned(), Value::Object(filter));
        params
    })
}

pub(super) async fn hear_modern(
    weak: Weak<Http>,
    capabilities: Value,
    mut watched: watch::Receiver<BTreeSet<String>>,
) {
    let mut failures = 0_u32;
    // The stream before, heard until the next one stands, so that nothing falls between.
    let mut old: Option<Reader> = None;
    loop {
        let filter = listen_filter(&capabilities, &watched.borrow_and_update());
        let Some(filter) = filter else {
            old = None;
            if watched.changed().await.is_err() {
                return;
            }
            continue;
        };
        let Some(http) = weak.upgrade() else { return };
        let Some(session) = http.session.load_full() else { return };
        let call = Call::internal("subscriptions/listen", filter, Duration::MAX);
        let id = http.next.fetch_add(1, Ordering::Relaxed);
        let body = wire::request(id, &call, &session.dialect);
        let first = http.timing.stream_retry;
        let mut asked = None;
        let opening = http.send(Method::POST, Http::headers_for(&call, &session), body, None);
        match answer_while_heard(&http, opening, &mut old, &mut failures).await {
            Ok(response) if is_events(&response) => {
                old = None;
                // What changed while nobody listened.
                if failures > 0 {
                    http.inbox.signals.changed.notify_one();
                }
                let mut reader = Reader::new(response.into_body(), http.max_result, &http.inbox.noise);
                drop(http);
                let begun = Instant::now();
                let mut heard = false;
                match read_stream(&weak, &mut reader, &mut watched, &mut heard).await {
                    Ended::Gone => return,
                    Ended::Watched => {
                        failures = 0;
                        old = Some(reader);
                        continue;
                    }
                    Ended::Closed => {}
                }
                // At least one: what is told between the streams is lost, so that lists are asked for again.
                let stood = heard || begun.elapsed() >= STOOD;
                failures = if stood { 1 } else { failures.saturating_add(1) };
                asked = reader.retry();
            }
            Ok(response) if is_away(response.status()) => {
                failures = failures.saturating_add(1);
                asked = http.reach.retry_after(response.headers());
                // It may allow one stream at a time.
                if matches!(response.status(), StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS) {
                    old = None;
                }
            }
            // It offers none, or not this one: the one before is heard on, and what is watched later is tried again.
            Ok(_) => {
                drop(http);
                match read_old(&weak, &mut old, &mut watched).await {
                    Ended::Gone => return,
                    Ended::Watched => {}
                    Ended::Closed => failures = failures.saturating_add(1),
                }
            }
            Err(_) if http.inbox.signals.closed_reason().is_none() => failures = failures.saturating_add(1),
            Err(_) => return,
        }
        tokio::time::sleep(pause(first, asked, failures)).await;
    }
}

/// Why a stream is no longer read.
enum Ended {
    /// The upstream ended it, or what it sent cannot be read.
    Closed,
    /// Other resources are watched.
    Watched,
    /// The connection is no longer used.
    Gone,
}

/// The answer to a request for the next stream; the one before is heard meanwhile.
async fn answer_while_heard<R>(
    http: &Arc<Http>,
    opening: impl Future<Output = R>,
    old: &mut Option<Reader>,
    failures: &mut u32,
) -> R {
    tokio::pin!(opening);
    loop {
        tokio::select! {
            biased;
            event = next_of(old) => match event {
                Some(event) => hear(http.clone(), &event).await,
                None => {
                    *old = None;
                    *failures = (*failures).max(1);
                }
            },
            answer = &mut opening => return answer,
        }
    }
}

/// Hears a stream until it ends or other resources are watched.
async fn read_stream(
    weak: &Weak<Http>,
    reader: &mut Reader,
    watched: &mut watch::Receiver<BTreeSet<String>>,
    heard: &mut bool,
) -> Ended {
    loop {
        tokio::select! {
            event = reader.next() => match event {
                Ok(Some(event)) => {
                    *heard = true;
                    let Some(http) = weak.upgrade() else { return Ended::Gone };
                    hear(http, &event).await;
                }
                Ok(None) | Err(ReadError::TooLong | ReadError::Broken) => return Ended::Closed,
            },
            changed = watched.changed() => {
                return if changed.is_err() { Ended::Gone } else { Ended::Watched };
            }
        }
    }
}

/// Hears the stream before, where there is one, until it ends or other resources are watched.
async fn read_old(
    weak: &Weak<Http>,
    old: &mut Option<Reader>,
    watched: &mut watch::Receiver<BTreeSet<String>>,
) -> Ended {
    loop {
        tokio::select! {
            event = next_of(old) => match event {
                Some(event) => {
                    let Some(http) = weak.upgrade() else { return Ended::Gone };
                    hear(http, &event).await;
                }
                None => {
                    *old = None;
                    return Ended::Closed;
                }
            },
            changed = watched.changed() => {
                return if changed.is_err() { Ended::Gone } else { Ended::Watched };
            }
        }
    }
}

/// The next event of a stream that is still read; never, where there is none. Nothing: it has ended.
async fn next_of(reader: &mut Option<Reader>) -> Option<Event> {
    match reader {
        Some(reader) => reader.next().await.ok().flatten(),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_ever_later_and_never_at_once() {
        let ms = Duration::from_millis;
        let first = ms(1_000);
        let grown: Vec<_> = (0..8).map(|failures| pause(first, None, failures).as_secs()).collect();
        assert_eq!(grown, [1, 1, 2, 4, 8, 16, 32, 60]);
        assert_eq!(pause(first, None, u32::MAX), LONGEST_PAUSE);
        // What the upstream asks for counts within bounds, and hurries nothing that fails.
        assert_eq!(pause(first, Some(Duration::ZERO), 0), LEAST_PAUSE);
        assert_eq!(pause(first, Some(ms(400)), 0), ms(400));
        assert_eq!(pause(first, Some(Duration::ZERO), 4), ms(8_000));
        assert_eq!(pause(first, Some(Duration::MAX), 1), LONGEST_PAUSE);
    }
}
