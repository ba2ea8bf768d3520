//! What the admin API answers when it does not do what was asked: `{"error": {"code", "message"}}`.

use crate::{
    approval::{DecideError, RevokeError},
    identity::AuthError,
    store::StoreError,
};
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::time::Duration;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// 401
    #[error("{0}")]
    Unauthenticated(AuthError),
    /// 401
    #[error("your session is over: sign in again")]
    SessionOver,
    /// 429
    #[error("too many failed attempts: try again later")]
    RateLimited(Duration),
    /// 403
    #[error("{0}")]
    Forbidden(String),
    /// 400
    #[error("{0}")]
    BadRequest(String),
    /// 404
    #[error("{0}")]
    NotFound(String),
    /// 405
    #[error("this path does not take this method")]
    MethodNotAllowed,
    /// 409
    #[error("{0}")]
    Conflict(String),
    /// 409
    #[error("{0}")]
    SnapshotMismatch(String),
    /// 410
    #[error("this link is over: what it led to was to be decided by then; those that still wait are here")]
    LinkOver,
    /// 408
    #[error("the body did not come within {} s", .0.as_secs())]
    TooSlow(Duration),
    /// 413
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// 422
    #[error("{0}")]
    EvidenceMissing(String),
    /// 422
    #[error("{0}")]
    InvalidBundle(String),
    /// 422
    #[error("{0}")]
    GrantRefused(String),
    /// 503
    #[error("too many streams are open: try again later")]
    Busy,
    /// 503
    #[error("other reports are being made: try again when they are")]
    Reporting,
    /// 503
    #[error("another simulation is running: try again when it has ended")]
    Simulating,
    /// 503
    #[error("too many calls are being explained: try again later")]
    Overloaded,
    /// 503
    #[error("{0}")]
    IssuerUnavailable(String),
    /// 503; what the store said goes to the log only.
    #[error("the store does not answer: nothing was changed; try again")]
    Unavailable,
}

impl ApiError {
    /// Every pair of status and code, as the OpenAPI document lists them.
    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthenticated(_) | Self::SessionOver => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            Self::RateLimited(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            Self::SnapshotMismatch(_) => (StatusCode::CONFLICT, "snapshot_mismatch"),
            Self::LinkOver => (StatusCode::GONE, "link_over"),
            Self::TooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "timeout"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::EvidenceMissing(_) => (StatusCode::UNPROCESSABLE_ENTITY, "evidence_missing"),
            Self::InvalidBundle(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_bundle"),
            Self::GrantRefused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "grant_refused"),
            Self::Busy | Self::Simulating | Self::Reporting => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Self::IssuerUnavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "issuer_unavailable"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Missing | AuthError::Unknown | AuthError::Expired => Self::Unauthenticated(error),
            // Access tokens are agents', and agents have no business here.
            AuthError::Unverified | AuthError::Unavailable | AuthError::Unproven(_) => {
                Self::Unauthenticated(AuthError::Unknown)
            }
            AuthError::RateLimited(wait) => Self::RateLimited(wait),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %error, "admin.store_failed");
        Self::Unavailable
    }
}

impl From<DecideError> for ApiError {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::NotFound => Self::NotFound(error.to_string()),
            DecideError::NotApprover(_) => Self::Forbidden(error.to_string()),
            DecideError::AlreadyDecided(_) | DecideError::AlreadyAnswered(_) => {
                Self::Conflict(error.to_string())
            }
            DecideError::SnapshotMismatch => Self::SnapshotMismatch(error.to_string()),
            DecideError::EvidenceMissing => Self::EvidenceMissing(error.to_string()),
            DecideError::GrantRefused(_) => Self::GrantRefused(error.to_string()),
            DecideError::Store(store) => store.into(),
        }
    }
}

impl From<RevokeError> for ApiError {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::NotFound => Self::NotFound(error.to_string()),
            RevokeError::Forbidden => Self::Forbidden(error.to_string()),
            RevokeError::Ended(_) => Self::Conflict(error.to_string()),
            RevokeError::Store(store) => store.into(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.status();
        let body = Json(json!({"error": {"code": code, "message": self.to_string()}}));
        let mut response = (status, body).into_response();
        if let Self::Unauthenticated(_) = self {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"tollgate admin\""),
            );
        }
        if let Self::RateLimited(wait) = self {
            let seconds = HeaderValue::from(wait.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
