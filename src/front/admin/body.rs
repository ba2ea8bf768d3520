//! A request's body: of bounded size, within a bounded time.

use super::{AdminPort, error::ApiError};
use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::StatusCode,
};
use std::{sync::Arc, time::Duration};

/// Reads it whole; `most` is the limit that its route has.
pub(super) async fn read(
    request: Request,
    port: &Arc<dyn AdminPort>,
    within: Duration,
    most: usize,
) -> Result<Bytes, ApiError> {
    let whole = tokio::time::timeout(within, Bytes::from_request(request, port)).await;
    whole.map_err(|_| ApiError::TooSlow(within))?.map_err(|rejection| {
        match rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            true => ApiError::TooLarge(most),
            false => ApiError::BadRequest("the body could not be read".to_owned()),
        }
    })
}
