//! `GET audit/verify`: the whole record verified as it is stored, and held against the checkpoints that are kept. Nothing is written
//! to it. It is verified once at a time, on one core, whoever asks meanwhile; what came of it is good for a while.

use super::{Routes, State, error::ApiError, params, person::Caller};
use crate::{
    audit,
    config::Config,
    store::{ChainReport, Store, StoreError},
};
use axum::response::Response;
use axum::{Extension, Json, extract::RawQuery, http::StatusCode, response::IntoResponse as _, routing::get};
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The longest that a request waits; who asks again is told of the same verification.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long what came of it is told again.
const GOOD_FOR: SignedDuration = SignedDuration::from_secs(30);

/// What came of it: the chain, and how many checkpoints hold or what contradicts one.
type Found = Result<Arc<(ChainReport, Result<usize, String>)>, Arc<StoreError>>;

/// The newest verification.
#[derive(Clone)]
struct Newest {
    began: Timestamp,
    work: Shared<BoxFuture<'static, (Found, Timestamp)>>,
}

impl Newest {
    /// Whether it is told to whoever asks now. One that nobody waited for has ended all the same.
    fn is_good(&self, now: Timestamp) -> bool {
        match self.work.clone().now_or_never() {
            Some((_, ended)) => now.duration_since(ended) < GOOD_FOR,
            None => true,
        }
    }
}

/// One for everybody.
type Turn = Extension<Arc<Mutex<Option<Newest>>>>;

/// The route.
pub(super) fn route() -> Routes {
    let turn: Turn = Extension(Arc::default());
    let route: Routes = get(verify);
    route.layer(turn)
}

async fn verify(
    axum::extract::State(port): State,
    caller: Caller,
    Extension(turn): Turn,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    params::none(query.as_deref())?;
    let newest = {
        let mut turn = turn.lock();
        let now = port.now();
        match turn.as_ref().filter(|newest| newest.is_good(now)) {
            Some(newest) => newest.clone(),
            None => {
                let newest = begin(&port, now);
                *turn = Some(newest.clone());
                newest
            }
        }
    };
    let Ok((found, ended)) = tokio::time::timeout(PATIENCE, newest.work).await else {
        let told = json!({"running": true, "began_at": newest.began});
        return Ok((StatusCode::ACCEPTED, Json(told)).into_response());
    };
    let found = found.map_err(|error| {
        tracing::error!(%error, "admin.store_failed");
        ApiError::Unavailable
    })?;
    let (report, held) = &*found;
    let mut form = verified_form(report, held, caller.again(&*port)?.sees_values());
    if let Some(members) = form.as_object_mut() {
        members.insert("running".to_owned(), false.into());
        members.insert("began_at".to_owned(), json!(newest.began));
        members.insert("at".to_owned(), json!(ended));
    }
    Ok(Json(form).into_response())
}

/// It goes on whether or not anybody waits for it.
fn begin(port: &Arc<dyn super::AdminPort>, began: Timestamp) -> Newest {
    let port = Arc::clone(port);
    let work = tokio::spawn(async move {
        let config = port.in_force().config.clone();
        let found = found(&**port.store(), &config).await;
        (found.map(Arc::new).map_err(Arc::new), port.now())
    });
    let work = async move { work.await.unwrap_or_else(|_| (Err(Arc::new(StoreError::Closed)), began)) };
    Newest { began, work: work.boxed().shared() }
}

async fn found(
    store: &dyn Store,
    config: &Config,
) -> Result<(ChainReport, Result<usize, String>), StoreError> {
    let report = store.verify().await?;
    if report.bad.is_some() {
        return Ok((report, Ok(0)));
    }
    let kept = audit::KeptCheckpoints::of(store, config).await;
    let held = match kept {
        Ok(kept) => kept.hold(store).await?,
        Err(error) => Err(error.to_string()),
    };
    Ok((report, held))
}

/// What came of a verification, by API and command line alike. The head is the hash of the last record: for those who see values.
pub fn verified_form(report: &ChainReport, held: &Result<usize, String>, values: bool) -> Value {
    let ChainReport { records, head, bad } = report;
    json!({
        "records": records,
        "head": values.then_some(head),
        "bad": bad,
        "checkpoints": held.as_ref().ok(),
        "contradicted": held.as_ref().err(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What came of a verification that nobody waited for to its end is old when it is old.
    #[tokio::test]
    async fn a_verification_that_nobody_waited_for_is_told_for_a_while_only() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (done, wait) = tokio::sync::oneshot::channel::<()>();
        let work =
            tokio::spawn(
                async move { (Err(Arc::new(StoreError::Closed)), at(wait.await.map_or(1, |()| 100))) },
            );
        let work = async move { work.await.unwrap() };
        let newest = Newest { began: at(0), work: work.boxed().shared() };
        assert!(newest.is_good(at(1_000)), "it runs");
        done.send(()).unwrap();
        while newest.is_good(at(1_000)) {
            tokio::task::yield_now().await;
        }
        assert!(newest.is_good(at(129)) && !newest.is_good(at(130)));
    }
}
