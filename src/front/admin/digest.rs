//! `GET report/digest`: what a time was like. One at a time, on one core and within a time, so that agents do not wait for it.
//! `GET report/compliance`: the table of this version.

use super::{
    Routes, State,
    error::ApiError,
    params::{self, ReportForm},
    person::Reader,
};
use crate::audit::{self, DigestFiles, Pace, Stop};
use axum::{
    Extension, Json,
    extract::RawQuery,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// The longest that the record is looked at; what was looked at until then is answered, and says so.
const LONGEST: Duration = Duration::from_secs(20);
/// The longest that a request waits for the one before.
const WAIT: Duration = Duration::from_secs(30);

/// One at a time.
type Turn = Extension<Arc<Semaphore>>;

/// The route.
pub(super) fn route() -> Routes {
    get(digest).layer(Extension(Arc::new(Semaphore::new(1))))
}

async fn digest(
    axum::extract::State(port): State,
    _: Reader,
    Extension(turn): Turn,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let (span, form) = params::digest(query.as_deref(), port.now())?;
    let turn = tokio::time::timeout(WAIT, turn.acquire_owned()).await.map_err(|_| ApiError::Reporting)?;
    let _turn = turn.map_err(|_| ApiError::Reporting)?;
    let in_force = port.in_force();
    let folder = in_force.config.gateway.policies.clone();
    let counted = tokio::task::spawn_blocking(move || audit::test_files(&folder)).await;
    let tests = counted.map_err(|_| ApiError::Unavailable)?;
    let files = DigestFiles { config: &in_force.config, policies: &in_force.policies, tests };
    let stop = Stop::default();
    let mut progress = |_| {};
    let work = audit::digest(&**port.store(), span, files, (Pace::Beside, &stop), &mut progress);
    tokio::pin!(work);
    let digest = match tokio::time::timeout(LONGEST, &mut work).await {
        Ok(digest) => digest?,
        Err(_) => {
            stop.stop();
            work.await?
        }
    };
    Ok(match form {
        ReportForm::Json => Json(digest).into_response(),
        ReportForm::Markdown => document("text/markdown; charset=utf-8", digest.markdown()),
        ReportForm::Html => document("text/html; charset=utf-8", digest.html()),
    })
}

/// The table of compliance.
pub(super) async fn compliance(_: Reader, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let form = params::compliance(query.as_deref())?;
    // Its file is a part of this program, and the tests read it.
    let table = audit::Compliance::read().map_err(|_| ApiError::Unavailable)?;
    Ok(match form {
        ReportForm::Json => Json(table).into_response(),
        ReportForm::Markdown | ReportForm::Html => document("text/markdown; charset=utf-8", table.markdown()),
    })
}

/// A document that a browser keeps as a file: it is no page of this listener.
fn document(kind: &'static str, text: String) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    let nothing = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");
    headers.insert(header::CONTENT_SECURITY_POLICY, nothing);
    response
}
