//! `POST explain`: what would be decided of a call, and why. Nothing is recorded, counted or sent.

use super::{AdminPort, BODY_TIME, MAX_BODY, State, body, error::ApiError, params, person::Caller};
use crate::{
    gateway::{ExplainError, Explanation, Question},
    model::{CallKind, Moment, SnapshotId},
    redaction::display_text,
};
use axum::{
    Json,
    extract::{FromRequest, RawQuery, Request},
};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;
use std::sync::Arc;

/// The longest name, in characters.
const LONGEST: usize = 8_192;
/// Labels of a session.
const MOST_LABELS: usize = 128;

/// The call that is asked about, and the bundle.
pub(super) struct Body(Question, Option<SnapshotId>);

impl FromRequest<Arc<dyn AdminPort>> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, port: &Arc<dyn AdminPort>) -> Result<Self, ApiError> {
        let bytes = body::read(request, port, BODY_TIME, MAX_BODY).await?;
        let (question, snapshot) = parse(&bytes, port.now()).map_err(ApiError::BadRequest)?;
        Ok(Self(question, snapshot))
    }
}

fn parse(bytes: &[u8], now: Timestamp) -> Result<(Question, Option<SnapshotId>), String> {
    let members = body::members(bytes)?;
    let mut agent = None;
    let mut target: Option<(CallKind, String)> = None;
    let mut question = Question::of("", CallKind::Tool, "");
    let mut snapshot = None;
    for (name, value) in members.into_iter().filter(|(_, value)| !value.is_null()) {
        match name.as_str() {
            "agent" => agent = Some(text(&name, value)?),
            "tool" | "resource" | "prompt" => {
                let kind = match name.as_str() {
                    "tool" => CallKind::Tool,
                    "resource" => CallKind::Resource,
                    _ => CallKind::Prompt,
                };
                if target.replace((kind, text(&name, value)?)).is_some() {
                    return Err("a call has one target: `tool`, `resource` or `prompt`".to_owned());
                }
            }
            "arguments" if value.is_object() => question.arguments = Some(value),
            "arguments" => return Err("`arguments` must be an object".to_owned()),
            "user" => question.user = Some(text(&name, value)?.into()),
            "workflow" => question.workflow = Some(text(&name, value)?),
            "at" => question.at = Some(time(&text(&name, value)?, now)?),
            "labels" => question.session_labels = labels(value)?,
            "snapshot" => snapshot = Some(SnapshotId::from(text(&name, value)?)),
            _ => {
                let shown: String = name.chars().take(40).collect();
                return Err(format!(
                    "`{}` is not a member of a question: expected agent, tool, resource, prompt, arguments, user, workflow, \
                     at, labels, snapshot",
                    display_text(&shown, 64)
                ));
            }
        }
    }
    question.agent = agent.ok_or_else(|| "`agent` is missing: who would make the call".to_owned())?.into();
    (question.kind, question.name) =
        target.ok_or_else(|| "`tool` is missing: the exposed name of what would be called".to_owned())?;
    Ok((question, snapshot))
}

fn text(name: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) if !text.is_empty() && text.chars().count() <= LONGEST => Ok(text),
        _ => Err(format!("`{name}` must be a text of 1 to {LONGEST} characters")),
    }
}

/// What has reached the session.
fn labels(value: Value) -> Result<Vec<Arc<str>>, String> {
    let wrong = || format!("`labels` must be a list of at most {MOST_LABELS} names of classes and levels");
    let Value::Array(all) = value else { return Err(wrong()) };
    if all.len() > MOST_LABELS {
        return Err(wrong());
    }
    all.into_iter().map(|label| text("labels", label).map(Arc::from)).collect()
}

fn time(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let moment = Moment::parse(text, &TimeZone::UTC);
    moment.map(|moment| moment.at(now)).map_err(|_| "`at` is not a time like 2026-11-20T08:00:00Z".to_owned())
}

impl From<ExplainError> for ApiError {
    fn from(error: ExplainError) -> Self {
        match error {
            ExplainError::NoAgent { .. } | ExplainError::NoBundle(_) => Self::NotFound(error.to_string()),
            ExplainError::Busy => Self::Overloaded,
            ExplainError::Store(error) => error.into(),
        }
    }
}

/// Decides the call as it would be decided now.
pub(super) async fn explain(
    axum::extract::State(port): State,
    _: Caller,
    RawQuery(query): RawQuery,
    Body(question, snapshot): Body,
) -> Result<Json<Explanation>, ApiError> {
    params::none(query.as_deref())?;
    Ok(Json(port.explain(question, snapshot).await?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bodies_are_read_strictly() {
        let now: Timestamp = "2026-11-20T08:00:00Z".parse().unwrap();
        let (question, snapshot) = parse(
            br#"{"agent":"a","tool":"t","arguments":{"n":1},"user":"u","workflow":"w","at":"2026-01-02T03:04:05Z","labels":["restricted"],"snapshot":"s"}"#,
            now,
        )
        .unwrap();
        assert_eq!((&*question.agent, question.name.as_str(), question.kind), ("a", "t", CallKind::Tool));
        assert_eq!(question.session_labels, ["restricted".into()]);
        assert_eq!(question.arguments, Some(json!({"n": 1})));
        assert_eq!(question.at, Some("2026-01-02T03:04:05Z".parse().unwrap()));
        assert_eq!(snapshot, Some("s".into()));
        let check = |body: &str, part: &str| {
            let error = parse(body.as_bytes(), now).unwrap_err();
            assert!(error.contains(part), "{body}: {error}");
        };
        check("[]", "object");
        check("{", "not JSON");
        check(r#"{"tool":"t"}"#, "`agent`");
        check(r#"{"agent":"a"}"#, "`tool`");
        check(r#"{"agent":"a","tool":"t","tool":"u"}"#, "duplicate");
        check(r#"{"agent":"a","tool":"t","prompt":"u"}"#, "one target");
        check(r#"{"agent":"a","tool":"t","arguments":[]}"#, "`arguments`");
        check(r#"{"agent":"a","tool":"t","at":"soon"}"#, "`at`");
        check(r#"{"agent":"a","tool":"t","labels":"restricted"}"#, "`labels`");
        check(r#"{"agent":"a","tool":"t","labels":[1]}"#, "`labels`");
        check(r#"{"agent":"a","tool":"t","args":{}}"#, "`args`");
    }
}
