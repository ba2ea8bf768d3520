//! `GET report/…`: what the record says as a whole. One report at a time, on one core and within a time, so that agents do not
//! wait for it.

use super::{
    AdminPort, Routes, State,
    error::ApiError,
    params::{self, ReportForm},
    person::Caller,
};
use crate::{
    audit::{self, DigestFiles, Looked, Pace, Stop},
    replay::Scorecard,
    store::StoreError,
};
use axum::{
    Extension, Json,
    extract::RawQuery,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{future::Future, path::Path, sync::Arc, time::Duration};
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

    pub(super) fn advice(&self) -> Routes {
        get(advice).layer(self.0.clone())
    }

    pub(super) fn drift(&self) -> Routes {
        get(drift).layer(self.0.clone())
    }

    pub(super) fn digest(&self) -> Routes {
        get(digest).layer(self.0.clone())
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
    caller: Caller,
    Extension(turn): Turn,
    RawQuery(query): RawQuery,
) -> Reply {
    let span = params::span(query.as_deref(), port.now(), "7d")?;
    let _turn = take(Extension(turn)).await?;
    let stop = Stop::default();
    let mut progress = |_| {};
    let work = audit::spend_on_record(&**port.store(), span, (Pace::Beside, &stop), &mut progress);
    let (report, partial) = within(&stop, work).await?;
    let report = if caller.reads_records() { report } else { report.without_people() };
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
    _: Caller,
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
    _: Caller,
    Extension(turn): Turn,
    RawQuery(query): RawQuery,
) -> Reply {
    let span = params::span(query.as_deref(), port.now(), "7d")?;
    let _turn = take(Extension(turn)).await?;
    let (card, partial) = card(&port, span).await?;
    let in_force = port.in_force();
    let tests = tests_of(&in_force.config.gateway.policies).await?;
    let looked = Looked { config: &in_force.config, policies: &in_force.policies, tests, card: &card };
    Ok(told(json!(audit::maturity(looked)), [("partial", partial.into())]))
}

async fn advice(
    axum::extract::State(port): State,
    _: Caller,
    Extension(turn): Turn,
    RawQuery(query): RawQuery,
) -> Reply {
    let span = params::span(query.as_deref(), port.now(), "30d")?;
    let _turn = take(Extension(turn)).await?;
    let stop = Stop::default();
    let mut progress = |_| {};
    let work = audit::advise_on_record(&**port.store(), span, (Pace::Beside, &stop), &mut progress);
    let (advice, partial) = within(&stop, work).await?;
    Ok(told(json!(advice), [("partial", partial.into())]))
}

/// How agents differ from their own past.
async fn drift(
    axum::extract::State(port): State,
    _: Caller,
    Extension(turn): Turn,
    RawQuery(query): RawQuery,
) -> Reply {
    let span = params::span(query.as_deref(), port.now(), "7d")?;
    let _turn = take(Extension(turn)).await?;
    let stop = Stop::default();
    let mut progress = |_| {};
    let work = audit::drift_on_record(&**port.store(), span, (Pace::Beside, &stop), &mut progress);
    let (report, partial) = within(&stop, work).await?;
    Ok(told(json!(report), [("partial", partial.into())]))
}

/// How many files of tests the bundle's folder has.
async fn tests_of(folder: &Path) -> Result<usize, ApiError> {
    let folder = folder.to_owned();
    let counted = tokio::task::spawn_blocking(move || audit::test_files(&folder)).await;
    counted.map_err(|_| ApiError::Unavailable)
}

/// What a time was like; it says itself where not all of the record was looked at.
async fn digest(
    axum::extract::State(port): State,
    caller: Caller,
    Extension(turn): Turn,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let (span, form) = params::digest(query.as_deref(), port.now())?;
    let _turn = take(Extension(turn)).await?;
    let in_force = port.in_force();
    let tests = tests_of(&in_force.config.gateway.policies).await?;
    let files = DigestFiles { config: &in_force.config, policies: &in_force.policies, tests };
    let stop = Stop::default();
    let mut progress = |_| {};
    let work = audit::digest(&**port.store(), span, files, (Pace::Beside, &stop), &mut progress);
    let (digest, _) = within(&stop, work).await?;
    let digest = match () {
        () if caller.sees_values() => digest,
        () if caller.reads_records() => digest.without_values(),
        () => digest.without_records(),
    };
    Ok(match form {
        ReportForm::Json => Json(digest).into_response(),
        ReportForm::Markdown => document("text/markdown; charset=utf-8", digest.markdown()),
        ReportForm::Html => document("text/html; charset=utf-8", digest.html()),
    })
}

/// The table of compliance.
pub(super) async fn compliance(_: Caller, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
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
