//! `/ask/{token}`: the link of a message, and where it leads. The link shows the page like any other, whatever stands in it; who has
//! signed in there asks where it leads. It is no credential, and opening it changes nothing.

use super::{
    State,
    error::ApiError,
    page,
    params::{self, Segment},
};
use crate::gateway::{AskLink, is_ask_token, open_ask_token};
use axum::{
    Json,
    extract::{RawQuery, State as Given},
    response::Response,
};
use serde_json::{Value, json};

/// Where the link of a message begins.
const PATH: &str = "/ask/";
/// What comes before the link in the query of a sign-in.
const QUERY: &str = "ask=";

/// `/ask/{token}`
pub(super) async fn open(_: Segment) -> Result<Response, ApiError> {
    page::index().await
}

/// Which ask a link leads to.
pub(super) async fn ask(
    Given(port): State,
    Segment(token): Segment,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    params::none(query.as_deref())?;
    match open_ask_token(port.seal(), &token, port.now()) {
        Some(AskLink::To(id)) => Ok(Json(json!({"approval_id": id}))),
        Some(AskLink::Over) => Err(ApiError::LinkOver),
        None => Err(ApiError::NotFound(
            "this link was not made here, or it was changed on its way: look for the ask among those that wait".to_owned(),
        )),
    }
}

/// The link that a sign-in comes from, as its query says.
pub(super) fn of_query(query: Option<&str>) -> Result<Option<&str>, ApiError> {
    match query.and_then(|query| query.strip_prefix(QUERY)) {
        Some(token) if is_ask_token(token) => Ok(Some(token)),
        Some(_) => Err(ApiError::BadRequest("`ask` is no part of a link of ours".to_owned())),
        None => params::none(query).map(|()| None),
    }
}

/// Where a browser goes that came by this link: a path of this page, whatever stands in the link.
pub(super) fn path_of(token: &str) -> Option<String> {
    is_ask_token(token).then(|| format!("{PATH}{token}"))
}
