//! `GET stream`: what changes, as it changes (SSE). A page needs no polling.
//!
//! `event: approval` has an approval as `GET approvals/{id}` has it, whichever process changed it; `event: event` has an
//! event of this process as it is committed. Nothing is replayed: who connects again reads the lists again.

use super::{
    AdminPort, State,
    error::ApiError,
    params,
    person::{Credential, Viewer},
    view,
};
use crate::{
    model::{ApprovalId, ApprovalStatus},
    store::{ApprovalFilter, ApprovalRecord},
};
use axum::{
    body::Body,
    extract::{RawQuery, State as Given},
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::broadcast::error::RecvError;

/// Streams at a time, of all people.
const MOST: usize = 64;
/// The newest approvals that are watched.
const WATCHED: usize = 1000;
/// Between comments on a quiet stream; the person's key is looked at again then too.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// One of the streams there may be.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let free = |open: usize| (open < MOST).then_some(open + 1);
        OPEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).is_ok().then_some(Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::AcqRel);
    }
}

fn message(kind: &str, data: &Value) -> Vec<u8> {
    format!("event: {kind}\ndata: {data}\n\n").into_bytes()
}

/// The approvals that are not as they were.
async fn changed(
    port: &Arc<dyn AdminPort>,
    known: &mut BTreeMap<ApprovalId, (u64, ApprovalStatus)>,
) -> Result<Vec<ApprovalRecord>, ApiError> {
    let filter = ApprovalFilter { limit: WATCHED, ..ApprovalFilter::default() };
    let mut found = port.approvals().list(filter).await?;
    found.reverse();
    let ids: Vec<ApprovalId> = found.iter().map(|record| record.id.clone()).collect();
    found.retain(|record| {
        // A use changes no version, for it is nobody's answer.
        let now = (record.version, record.status);
        known.insert(record.id.clone(), now) != Some(now)
    });
    if known.len() > 2 * WATCHED {
        known.retain(|id, _| ids.contains(id));
    }
    Ok(found)
}

/// The stream.
pub(super) async fn stream(
    Given(port): State,
    Viewer(person): Viewer,
    credential: Credential,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    params::none(query.as_deref())?;
    let place = Place::take().ok_or(ApiError::Busy)?;
    let mut approvals = port.approvals().changes();
    let mut committed = port.store().committed();
    let stopped = port.stopped();
    let mut known = BTreeMap::new();
    // What is there now is known: it is listed, not streamed.
    changed(&port, &mut known).await?;
    let body = async_stream::stream! {
        let _place = place;
        yield Ok::<_, std::convert::Infallible>(b": tollgate\n\n".to_vec());
        loop {
            tokio::select! {
                biased;
                () = stopped.cancelled() => break,
                moved = approvals.changed() => {
                    if moved.is_err() {
                        break;
                    }
                    // The store has said so itself; the page shows that nothing comes any more.
                    let Ok(records) = changed(&port, &mut known).await else { break };
                    let in_force = port.in_force();
                    for record in records {
                        yield Ok(message("approval", &view::approval_for(&record, &in_force.policies, &person, port.now())));
                    }
                }
                event = committed.recv() => match event {
                    Ok(event) => yield Ok(message("event", &serde_json::to_value(&*event).unwrap_or_default())),
                    Err(RecvError::Lagged(missed)) => yield Ok(message("lagged", &missed.into())),
                    Err(RecvError::Closed) => break,
                },
                () = tokio::time::sleep(KEEP_ALIVE) => yield Ok(b":\n\n".to_vec()),
            }
            if !credential.still_counts(&*port) {
                break;
            }
        }
    };
    let mut response = Body::from_stream(body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}
