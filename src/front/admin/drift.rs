//! `GET report/drift`: how agents differ from their own past. One at a time, on one core and within a time.

use super::{Routes, State, error::ApiError, params, person::Reader};
use crate::audit::{self, Pace, Stop};
use axum::{Extension, Json, extract::RawQuery, routing::get};
use serde_json::{Value, json};
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
    get(drift).layer(Extension(Arc::new(Semaphore::new(1))))
}

async fn drift(
    axum::extract::State(port): State,
    _: Reader,
    Extension(turn): Turn,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let span = params::span(query.as_deref(), port.now(), "7d")?;
    let turn = tokio::time::timeout(WAIT, turn.acquire_owned()).await.map_err(|_| ApiError::Reporting)?;
    let _turn = turn.map_err(|_| ApiError::Reporting)?;
    let stop = Stop::default();
    let mut progress = |_| {};
    let work = audit::drift_on_record(&**port.store(), span, (Pace::Beside, &stop), &mut progress);
    tokio::pin!(work);
    let (report, partial) = match tokio::time::timeout(LONGEST, &mut work).await {
        Ok(report) => (report?, false),
        Err(_) => {
            stop.stop();
            (work.await?, true)
        }
    };
    let mut told = json!(report);
    if let Some(members) = told.as_object_mut() {
        members.insert("partial".to_owned(), partial.into());
    }
    Ok(Json(told))
}
