//! `POST approvals/{id}/decision`: the API's channel to the one record of an approval.

use super::{
    AdminPort, BODY_TIME, MAX_BODY, State, body,
    error::ApiError,
    params::{self, Segment},
    person::Caller,
    view,
};
use crate::{
    approval::{ApprovalResponse, DecideError, MAX_TEXT, read_grant},
    model::ApprovalId,
    policy::ChannelKind,
    redaction::display_text,
};
use axum::{
    Json,
    extract::{FromRequest, RawQuery, Request},
    http::HeaderMap,
};
use serde_json::Value;
use std::sync::Arc;

/// The page says with it that a person looked at the approval there; with the value [`LINK`], that a link to this approval led
/// them to it. Whoever has the person's key can say so too: a rule's `channels` tells people where to answer, and is no second
/// factor: whoever holds a key can decide.
const INBOX: &str = "tollgate-inbox";
const LINK: &[u8] = b"link";

fn channel(headers: &HeaderMap) -> ChannelKind {
    match headers.get(INBOX) {
        None => ChannelKind::Api,
        Some(value) if value.as_bytes() == LINK => ChannelKind::Link,
        Some(_) => ChannelKind::Inbox,
    }
}

/// The answer in a request's body.
pub(super) struct Body(ApprovalResponse);

impl FromRequest<Arc<dyn AdminPort>> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, port: &Arc<dyn AdminPort>) -> Result<Self, ApiError> {
        let bytes = body::read(request, port, BODY_TIME, MAX_BODY).await?;
        parse(&bytes).map(Self).map_err(ApiError::BadRequest)
    }
}

fn parse(bytes: &[u8]) -> Result<ApprovalResponse, String> {
    let members = body::members(bytes)?;
    let mut approve = None;
    let mut comment = None;
    let mut evidence = None;
    let mut grant = None;
    for (name, value) in members {
        match name.as_str() {
            "decision" => {
                approve = Some(match value.as_str() {
                    Some("approve") => true,
                    Some("reject") => false,
                    Some(_) | None => return Err("`decision` must be `approve` or `reject`".to_owned()),
                });
            }
            "comment" => comment = text("comment", value)?,
            "evidence" => evidence = text("evidence", value)?,
            "grant" if value.is_null() => {}
            "grant" => grant = Some(read_grant(value)?),
            _ => {
                let shown: String = name.chars().take(40).collect();
                return Err(format!(
                    "`{}` is not a member of a decision: expected decision, comment, evidence, grant",
                    display_text(&shown, 64)
                ));
            }
        }
    }
    let approve = approve.ok_or_else(|| "`decision` is missing: `approve` or `reject`".to_owned())?;
    Ok(ApprovalResponse { approve, comment, evidence, grant })
}

fn text(name: &str, value: Value) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.chars().count() <= MAX_TEXT => Ok(Some(text)),
        Value::String(_) => Err(format!("`{name}` is longer than {MAX_TEXT} characters")),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("`{name}` must be a string or null"))
        }
    }
}

/// Writes the answer, and gives back the record as it stands then.
pub(super) async fn decide(
    axum::extract::State(port): State,
    caller: Caller,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    Body(answer): Body,
) -> Result<Json<Value>, ApiError> {
    params::none(query.as_deref())?;
    let person = caller.person(&*port)?;
    let in_force = port.in_force();
    let id = ApprovalId::from(id);
    let record = port.approvals().get(&id).await?.ok_or(DecideError::NotFound)?;
    // One that was asked for by a candidate is decided by what the candidate says of people.
    let policies = in_force.policies_of(&record.binding.snapshot);
    let by = (&person, caller.subject());
    let decided = port.approvals().decide_signed(policies, by, &id, channel(&headers), answer).await?;
    tracing::info!(approval.id = %id, person = %person, status = %decided.status, "approval.decided");
    let frozen = port.freezes().list().await?;
    let form = view::approval_for(&decided, policies, &person, port.now());
    Ok(Json(super::with_frozen(form, &decided, &frozen)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;
    use std::time::Duration;

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let port: Arc<dyn AdminPort> = super::super::tests::scripted();
        let never = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        let request = Request::new(axum::body::Body::from_stream(never));
        let refused = body::read(request, &port, Duration::from_millis(1), MAX_BODY).await;
        assert!(matches!(refused, Err(ApiError::TooSlow(_))), "{refused:?}");
    }

    #[test]
    fn bodies_are_read_strictly() {
        let check = |body: &str, expect: Result<bool, &str>| match (parse(body.as_bytes()), expect) {
            (Ok(answer), Ok(approve)) => assert_eq!(answer.approve, approve, "{body}"),
            (Err(error), Err(part)) => assert!(error.contains(part), "{body}: {error}"),
            (got, _) => panic!("{body}: {got:?}"),
        };
        check(r#"{"decision":"approve"}"#, Ok(true));
        check(r#"{"decision":"reject","comment":null,"evidence":"T-1"}"#, Ok(false));
        check(
            r#"{"decision":"approve","grant":{"duration":"1h","uses":2,"arguments":{"path":{"within":"/a"}}}}"#,
            Ok(true),
        );
        check(r#"{"decision":"approve","grant":{"duration":"1h"}}"#, Err("`grant.uses` is missing"));
        check(
            r#"{"decision":"approve","grant":{"duration":"soon"}}"#,
            Err("`grant.duration` must be a duration"),
        );
        check(r#"{"decision":"approve","grant":{"uses":1}}"#, Err("`grant.duration` is missing"));
        check(r#"{"decision":"approve","grant":{"duration":"1h","uses":1.5}}"#, Err("`grant.uses` must be"));
        check(
            r#"{"decision":"approve","grant":{"duration":"1h","arguments":{"a":{"glob":"x","any":true}}}}"#,
            Err("one of equals, glob, within, any"),
        );
        check(
            r#"{"decision":"approve","grant":{"duration":"1h","for":"ever"}}"#,
            Err("`for` is not a member of a grant"),
        );
        check(r#"{"decision":"yes"}"#, Err("`approve` or `reject`"));
        check(r#"{"decision":true}"#, Err("`approve` or `reject`"));
        check("{}", Err("`decision` is missing"));
        check(r#"{"decision":"reject","decision":"approve"}"#, Err("duplicate"));
        check(r#"{"decision":"approve","person":"bob"}"#, Err("`person`"));
        check(r#"{"decision":"approve","comment":7}"#, Err("`comment` must be a string"));
        check(&format!(r#"{{"decision":"approve","evidence":"{}"}}"#, "x".repeat(4001)), Err("4000"));
        check("[]", Err("object"));
        check("", Err("not JSON"));
        check(r#"{"decision":"approve"} x"#, Err("not JSON"));
    }
}
