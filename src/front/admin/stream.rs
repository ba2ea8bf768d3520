//! `GET stream`: what changes, as it changes (SSE). A page needs no polling.
//!
//! `event: approval` has an approval as `GET approvals/{id}` has it, whichever process changed it; `event: event` has an
//! event of this process as it is committed. Nothing is replayed: who connects again reads the lists again.

use super::{AdminPort, State, error::ApiError, params, person::Caller};
use crate::model::{ApprovalId, ApprovalStatus, Event, PersonId};
use axum::{
    body::Body,
    extract::{RawQuery, State as Given},
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use parking_lot::Mutex;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::broadcast::error::RecvError;

/// Streams at a time, of all people and of one: nobody's open pages keep another's out.
const MOST: usize = 64;
const MOST_OF_ONE: usize = 8;
/// The newest approvals that are watched.
const WATCHED: usize = 1000;
/// Between comments on a quiet stream; the person's key is looked at again then too.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

static OPEN: Mutex<BTreeMap<PersonId, usize>> = Mutex::new(BTreeMap::new());

/// One of the streams there may be.
struct Place(PersonId);

impl Place {
    fn take(person: &PersonId) -> Option<Self> {
        let mut open = OPEN.lock();
        let (all, own) = (open.values().sum::<usize>(), open.get(person).copied().unwrap_or_default());
        (all < MOST && own < MOST_OF_ONE).then(|| {
            open.insert(person.clone(), own + 1);
            Self(person.clone())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = OPEN.lock();
        if let Some(own) = open.get_mut(&self.0) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.0);
            }
        }
    }
}

fn message(kind: &str, data: &Value) -> Vec<u8> {
    format!("event: {kind}\ndata: {data}\n\n").into_bytes()
}

/// The approvals that are not as they were, the oldest first.
async fn changed(
    port: &Arc<dyn AdminPort>,
    known: &mut BTreeMap<ApprovalId, (u64, ApprovalStatus)>,
) -> Result<Vec<ApprovalId>, ApiError> {
    let heads = port.store().approval_heads(WATCHED).await?;
    let mut fresh = Vec::new();
    for head in heads.iter().rev() {
        // A use changes no version, for it is nobody's answer.
        let now = (head.version, head.status);
        if known.insert(head.id.clone(), now) != Some(now) {
            fresh.push(head.id.clone());
        }
    }
    if known.len() > 2 * WATCHED {
        let ids: HashSet<&ApprovalId> = heads.iter().map(|head| &head.id).collect();
        known.retain(|id, _| ids.contains(id));
    }
    Ok(fresh)
}

/// What there is to tell.
enum News {
    Approvals(Vec<ApprovalId>),
    Event(Arc<Event>),
    /// So many events were missed.
    Lagged(u64),
    Nothing,
}

/// The stream.
pub(super) async fn stream(
    Given(port): State,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    params::none(query.as_deref())?;
    let place = Place::take(&caller.id).ok_or(ApiError::Busy)?;
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
            let news = tokio::select! {
                biased;
                () = stopped.cancelled() => break,
                moved = approvals.changed() => {
                    if moved.is_err() {
                        break;
                    }
                    // The store has said so itself; the page shows that nothing comes any more.
                    let Ok(ids) = changed(&port, &mut known).await else { break };
                    News::Approvals(ids)
                }
                event = committed.recv() => match event {
                    Ok(event) => News::Event(event),
                    Err(RecvError::Lagged(missed)) => News::Lagged(missed),
                    Err(RecvError::Closed) => break,
                },
                () = tokio::time::sleep(KEEP_ALIVE) => News::Nothing,
            };
            match news {
                // Each message is for the person as they are when it goes out.
                _ if caller.again(&*port).is_err() => break,
                News::Approvals(ids) => for id in ids {
                    // One at a time, as it is now.
                    let Ok(Some(record)) = port.approvals().get(&id).await else { break };
                    let Ok(caller) = caller.again(&*port) else { break };
                    let in_force = port.in_force();
                    let form = caller.approval(record, &in_force.policies, port.now());
                    yield Ok(message("approval", &form));
                },
                News::Event(event) => {
                    let Ok(caller) = caller.again(&*port) else { break };
                    let told = match caller.sees_values() {
                        true => serde_json::to_value(&*event),
                        false => serde_json::to_value(caller.event((*event).clone())),
                    };
                    yield Ok(message("event", &told.unwrap_or_default()));
                }
                News::Lagged(missed) => yield Ok(message("lagged", &missed.into())),
                News::Nothing => yield Ok(b":\n\n".to_vec()),
            }
        }
    };
    let mut response = Body::from_stream(body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_persons_streams_leave_room_for_others() {
        let (one, other) = (PersonId::from("stream-one"), PersonId::from("stream-other"));
        let held: Vec<Place> = (0..MOST_OF_ONE).map(|_| Place::take(&one).unwrap()).collect();
        assert!(Place::take(&one).is_none());
        assert!(Place::take(&other).is_some());
        drop(held);
        assert!(Place::take(&one).is_some());
        assert!(!OPEN.lock().contains_key(&one));
    }
}
