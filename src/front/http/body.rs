//! Reading a request's body within bounds of size, time and memory shared by all.

use super::{Limits, principal_quota::PrincipalQuota};
use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt as _;
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies up to this size are not weighed.
const SMALL: usize = 16 * 1024;
/// A body that is too large is read on for so long and so far, so that its sender gets to read why.
const DRAIN_TIME: Duration = Duration::from_secs(3);
const DRAIN_BYTES: usize = 16 << 20;

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// Over `max_body`.
    TooLarge,
    /// It did not come in time.
    TooSlow,
    /// The connection broke.
    Broken,
    /// Too many large bodies are being worked on.
    Busy,
}

/// What a large body holds of the shared memory until its request is answered.
#[derive(Debug, Default)]
pub(super) struct Weight {
    _own: Option<OwnedSemaphorePermit>,
    _shared: Option<OwnedSemaphorePermit>,
}

/// Reads a whole body.
pub(super) async fn read<B: Body<Data = Bytes> + Unpin>(
    mut body: B,
    limits: &Limits,
    standing: &PrincipalQuota,
    shared: &Arc<Semaphore>,
) -> Result<(Bytes, Weight), Unread> {
    let declared = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
    if declared.is_some_and(|length| length > limits.max_body)
        || body.size_hint().lower() > limits.max_body as u64
    {
        drain(body).await;
        return Err(Unread::TooLarge);
    }
    let whole = async {
        let mut weight = Weight::default();
        let mut weighed = false;
        if let Some(length) = declared.filter(|length| *length > SMALL) {
            weight = weigh(length, limits, standing, shared).await?;
            weighed = true;
        }
        let mut first: Option<Bytes> = None;
        let mut rest: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
            let length = first.as_ref().map_or(0, Bytes::len).max(rest.len()) + data.len();
            if length > limits.max_body {
                return Err(Unread::TooLarge);
            }
            if length > SMALL && !weighed {
                // Nobody knows how long it gets.
                weight = weigh(limits.max_body, limits, standing, shared).await?;
                weighed = true;
            }
            match (&first, rest.is_empty()) {
                (None, _) => first = Some(data),
                (Some(head), true) => {
                    rest.reserve(declared.unwrap_or(length));
                    rest.extend_from_slice(head);
                    rest.extend_from_slice(&data);
                }
                (Some(_), false) => rest.extend_from_slice(&data),
            }
        }
        Ok((if rest.is_empty() { first.unwrap_or_default() } else { Bytes::from(rest) }, weight))
    };
    let read = tokio::time::timeout(limits.body_timeout, whole).await.unwrap_or(Err(Unread::TooSlow));
    if read.as_ref().is_err_and(|unread| *unread == Unread::TooLarge) {
        drain(body).await;
    }
    read
}

async fn weigh(
    length: usize,
    limits: &Limits,
    standing: &PrincipalQuota,
    shared: &Arc<Semaphore>,
) -> Result<Weight, Unread> {
    let most = limits.large_bodies_per_principal.min(limits.large_bodies) / 1024;
    let weight = u32::try_from(length.div_ceil(1024).min(most)).map_err(|_| Unread::TooLarge)?;
    let take = |of: &Arc<Semaphore>| {
        let permit = Arc::clone(of).acquire_many_owned(weight);
        async { tokio::time::timeout(limits.body_timeout / 2, permit).await.ok().and_then(Result::ok) }
    };
    // Its own share first, so that who waits for that holds nothing of the shared one.
    let own = take(&standing.bodies(limits.large_bodies_per_principal / 1024)).await.ok_or(Unread::Busy)?;
    let shared = take(shared).await.ok_or(Unread::Busy)?;
    Ok(Weight { _own: Some(own), _shared: Some(shared) })
}

async fn drain<B: Body<Data = Bytes> + Unpin>(mut body: B) {
    let mut left = DRAIN_BYTES;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = match frame.data_ref().map(|data| left.checked_sub(data.len())) {
                Some(Some(left)) => left,
                Some(None) => break,
                None => left,
            };
        }
    };
    // However it ends, the answer follows.
    drop(tokio::time::timeout(DRAIN_TIME, reading).await);
}
