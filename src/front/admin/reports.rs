//! `GET report/…`: what the record says as a whole. One report at a time, on one core and within a time, so that agents do not
//! wait for it.

use super::{AdminPort, Routes, State, error::ApiError, params, person::Reader};
use crate::{
    audit::{self, Looked, Pace, Stop},
    replay::Scorecard,
    store::StoreError,
};
use axum::{Extension, Json, extract::RawQuery, routing::get};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The longest that the record is looked at; what was looked at until then is answered, and says so.
const LONGEST: Duration = Duration::from_secs(20);
/// The longest that a request waits for the one before.
const WAIT: Duration = Duration::from_secs(30);

/// One at a time.
type Turn = Extension<Arc<Semaphore>>;

/// The reports, which share one turn.
pub(super) struct Reports(Turn);

impl Reports {
    pub(super) fn new() -> Self {
        Self(Extension(Arc::new(Semaphore::new(1))))
    }

    pub(super) fn spend(&self) -> Routes {
        get(spend).layer(self.0.clone())
    }

    pub(super) fn scorecard(&self) -> Routes {
        get(scorecard).layer(self.0.clone())
    }

    pub(super) fn maturity(&self) -> Routes {
        get(maturity).layer(self.0.clone())
    }
}

type Reply = Result<Json<Value>, ApiError>;

async fn take(turn: Turn) -> Result<OwnedSemaphorePermit, ApiError> {
    let taken = tokio::time::timeout(WAIT, turn.0.acquire_owned()).await;
    taken.map_err(|_| ApiError::Reporting)?.map_err(|_| ApiError::Reporting)
}

/// What comes of the record within [`LONGEST`], and whether its time was over.
async fn within<T>(
    stop: &Stop,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<(T, bool), ApiError> {
    tokio::pin!(work);
    match tokio::time::timeout(LONGEST, &mut work).await {
        Ok(done) => Ok((done?, false)),
        Err(_) => {
            stop.stop();
            Ok((work.await?, true))
        }
    }
}

/// A report as JSON, with further members.
fn told(report: Value, more: impl IntoIterator<Item = (&'static str, Value)>) -> Json<Value> {
    let mut report = report;
    if let Some(members) = report.as_object_mut() {
        members.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    Json(report)
}

async fn spend(
    axum::extract::State(port): State,
    _: Reader,
    Extension(turn): Turn,
    RawQuery(query): RawQuery,
) -> Reply {
    let span = params::span(query.as_deref(), port.now(), "7d")?;
    let _turn = take(Extension(turn)).await?;
    let stop = Stop::default();
    let mut progress = |_| {};
    let work = audit::spend_on_record(&**port.store(), span, (Pace::Beside, &stop), &mut progress);
    let (report, partial) = within(&stop, work).await?;
    let costs = catalog(&port).await?;
    Ok(told(json!(report), [("catalog", costs), ("partial", partial.into())]))
}

/// What lists of tools cost: counted beside, for it may take a while the first time.
async fn catalog(port: &Arc<dyn AdminPort>) -> Result<Value, ApiError> {
    let port = port.clone();
    let counted = tokio::task::spawn_blocking(move || port.catalog_costs()).await;
    counted.map(|costs| json!(costs)).map_err(|_| ApiError::Unavailable)
}

async fn card(
    port: &Arc<dyn AdminPort>,
    span: (Timestamp, Timestamp),
) -> Result<(Scorecard, bool), ApiError> {
    let stop = Stop::default();
    let mut progress = |_| {};
    let work = audit::scorecard(&**port.store(), span, (Pace::Beside, &stop), &mut progress);
    within(&stop, work).await
}

async fn scorecard(
    axum::extract::State(port): State,
    _: Reader,
    Extension(turn): Turn,
    RawQuery(query): RawQuery,
) -> Reply {
    let span = params::span(query.as_deref(), port.now(), "7d")?;
    let _turn = take(Extension(turn)).await?;
    let (card, partial) = card(&port, span).await?;
    Ok(told(json!(card), [("partial", partial.into())]))
}

async fn maturity(
    axum::extract::State(port): State,
    _: Reader,
    Extension(turn): Turn,
    RawQuery(query): RawQuery,
) -> Reply {
    let span = params::span(query.as_deref(), port.now(), "7d")?;
    let _turn = take(Extension(turn)).await?;
    let (card, partial) = card(&port, span).await?;
    let in_force = port.in_force();
    let folder = in_force.config.gateway.policies.clone();
    let tests = tokio::task::spawn_blocking(move || audit::test_files(&folder)).await;
    let tests = tests.map_err(|_| ApiError::Unavailable)?;
    let looked = Looked { config: &in_force.config, policies: &in_force.policies, tests, card: &card };
    Ok(told(json!(audit::maturity(looked)), [("partial", partial.into())]))
}
