//! A request's body: of bounded size, within a bounded time.

use super::{AdminPort, error::ApiError};
use crate::model::json;
use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::StatusCode,
};
use serde_json::{Map, Value};
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

/// The members of the JSON object that a body is; no name may stand twice.
pub(super) fn members(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let value = json::parse(bytes).map_err(|error| {
        // The text of the error may quote the body: its place is enough.
        format!(
            "the body is not JSON without duplicate members (line {}, column {})",
            error.line(),
            error.column()
        )
    })?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err("the body must be a JSON object".to_owned()),
    }
}
