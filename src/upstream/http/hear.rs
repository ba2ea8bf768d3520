//! What an upstream says by itself: the GET stream of a legacy session, `subscriptions/listen` of a modern server.

use super::{
    Http, RESUMES,
    reader::{ReadError, Reader, is_events},
};
use crate::upstream::{call::Call, wire};
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};
use tokio::sync::{oneshot, watch};

/// The GET stream of a legacy session, resumed where it broke.
pub(super) async fn hear_legacy(weak: Weak<Http>, standing: oneshot::Sender<()>) {
    // Dropped with the first answer, whatever it is.
    let mut standing = Some(standing);
    let mut last: Option<HeaderValue> = None;
    let mut failures = 0;
    loop {
        let Some(http) = weak.upgrade() else { return };
        let Some(session) = http.session.load_full() else { return };
        let mut pause = http.timing.stream_retry;
        let answer = http.get(&session, last.clone()).await;
        drop(standing.take());
        match answer {
            Ok(response) if is_events(&response) => {
                failures = 0;
                let mut reader = Reader::new(response.into_body(), http.max_result);
                drop(http);
                while let Ok(Some(event)) = reader.next().await {
                    last = event.id.and_then(|id| HeaderValue::try_from(id).ok()).or(last);
                    let Some(http) = weak.upgrade() else { return };
                    hear(&http, &event.data);
                }
                pause = reader.retry().unwrap_or(pause);
            }
            Ok(response) if response.status() == StatusCode::NOT_FOUND && session.id.is_some() => {
                last = None;
                if http.renew(&session).await.is_err() {
                    return;
                }
            }
            // 409: the stream that broke is still taken for open over there.
            Ok(response)
                if failures < RESUMES
                    && (response.status().is_server_error() || response.status() == StatusCode::CONFLICT) =>
            {
                failures += 1;
            }
            // 405 and the like: no such stream is offered.
            Ok(_) => return,
            Err(_) if failures < RESUMES && http.inbox.signals.closed_reason().is_none() => failures += 1,
            Err(_) => return,
        }
        tokio::time::sleep(pause).await;
    }
}

fn hear(http: &Arc<Http>, data: &[u8]) {
    if data.iter().all(u8::is_ascii_whitespace) {
        return;
    }
    match wire::parse(data) {
        Ok(messages) => {
            for message in messages {
                http.inbox.take(http, message, None);
            }
        }
        Err(reason) => {
            tracing::warn!(upstream = %http.inbox.upstream, reason, "an event that is no message");
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
    let mut failures = 0;
    loop {
        let filter = listen_filter(&capabilities, &watched.borrow_and_update());
        let Some(filter) = filter else {
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
        let mut pause = http.timing.stream_retry;
        match http.send(Method::POST, Http::headers_for(&call, &session), body).await {
            Ok(response) if is_events(&response) => {
                // What changed while nobody listened.
                if failures > 0 {
                    http.inbox.signals.changed.notify_one();
                }
                failures = 1;
                let mut reader = Reader::new(response.into_body(), http.max_result);
                drop(http);
                loop {
                    tokio::select! {
                        event = reader.next() => match event {
                            Ok(Some(event)) => {
                                let Some(http) = weak.upgrade() else { return };
                                hear(&http, &event.data);
                            }
                            Ok(None) | Err(ReadError::TooLong | ReadError::Broken) => break,
                        },
                        changed = watched.changed() => {
                            if changed.is_err() {
                                return;
                            }
                            pause = Duration::ZERO;
                            failures = 0;
                            break;
                        }
                    }
                }
            }
            Ok(response) if response.status().is_server_error() && failures < RESUMES => failures += 1,
            // It offers none: what is watched later is tried again.
            Ok(_) => {
                drop(http);
                if watched.changed().await.is_err() {
                    return;
                }
            }
            Err(_) if failures < RESUMES && http.inbox.signals.closed_reason().is_none() => failures += 1,
            Err(_) => return,
        }
        tokio::time::sleep(pause).await;
    }
}
