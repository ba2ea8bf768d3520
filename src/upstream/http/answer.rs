//! The answer to one request over Streamable HTTP: a body, or a stream that is resumed where it breaks.

use super::{
    Fault, Http, RESUMES, SESSION, hear, lean,
    reader::{ReadError, Reader, is_events, whole},
    session::{Session, is_session_unknown},
};
use crate::upstream::{
    call::Call,
    types::{Era, UpstreamError},
    wire::{self, Message},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use std::sync::Arc;

impl Http {
    pub(super) async fn answer(
        self: &Arc<Self>,
        id: u64,
        call: &Arc<Call>,
        session: &Arc<Session>,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<(Value, Option<HeaderValue>), Fault> {
        let limit = call.largest_answer(self.max_result);
        let response = self.send(Method::POST, headers, body, Some(call)).await?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND && session.id.is_some() {
            return Err(Fault::SessionGone);
        }
        if status.is_redirection() {
            return Err(UpstreamError::Malformed(format!(
                "HTTP status {status}: redirects are not followed"
            ))
            .into());
        }
        let fresh = response.headers().get(SESSION).cloned();
        let kind =
            response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if status.is_success() && kind.starts_with("text/event-stream") {
            let value = Box::pin(self.stream(id, limit, session, response.into_body())).await?;
            return Ok((value, fresh));
        }
        let is_json = kind.starts_with("application/json");
        if status.is_success() && !is_json {
            return Err(UpstreamError::Malformed(format!("HTTP status {status} with no JSON")).into());
        }
        let bytes = match whole(response.into_body(), limit).await {
            Ok(bytes) => bytes,
            Err(error) if status.is_success() => return Err(error.into()),
            Err(_) => return Err(refused(status)),
        };
        let mut answer = None;
        let mut wrong = None;
        for message in wire::parse(&bytes, self.max_result) {
            match message {
                Message::Response { id: Some(found), outcome } if found == id => answer = Some(outcome),
                Message::Response { id: None, outcome: Err(error) } => {
                    if status == StatusCode::BAD_REQUEST
                        && session.id.is_some()
                        && is_session_unknown(&error.message)
                    {
                        return Err(Fault::SessionGone);
                    }
                    answer = Some(Err(error));
                }
                Message::Response { .. } => {}
                Message::Unreadable { reason, .. } => wrong = Some(reason),
                other @ (Message::Request { .. } | Message::Notification { .. }) => {
                    self.aloud(other, id, session.dialect.era);
                }
            }
        }
        match answer {
            Some(Ok(value)) if status.is_success() => Ok((value, fresh)),
            Some(Err(error)) => Err(UpstreamError::Rpc(error).into()),
            Some(Ok(_)) | None if !status.is_success() => Err(refused(status)),
            Some(Ok(_)) | None => {
                let reason = wrong.unwrap_or_else(|| "an answer to something else".to_owned());
                Err(UpstreamError::Malformed(reason).into())
            }
        }
    }

    /// Reads the stream of one request up to its answer, resuming it where the server allows.
    async fn stream(
        self: &Arc<Self>,
        id: u64,
        limit: u64,
        session: &Arc<Session>,
        body: lean::Answer,
    ) -> Result<Value, UpstreamError> {
        let mut reader = Reader::new(body, limit, &self.inbox.noise);
        let mut last: Option<String> = None;
        let mut idle = 0;
        loop {
            match reader.next().await {
                Ok(Some(event)) => {
                    idle = 0;
                    last = event.id.or(last);
                    if let Some(answer) = self.event(&event.data, id, session.dialect.era)? {
                        reader.finish();
                        return answer.map_err(UpstreamError::Rpc);
                    }
                    self.inbox.noise.heard(event.data.len()).await;
                    continue;
                }
                Err(ReadError::TooLong) => return Err(UpstreamError::TooLarge(limit)),
                Ok(None) | Err(ReadError::Broken) => {}
            }
            let lost = || UpstreamError::Lost("the stream ended before the answer".to_owned());
            let resumable = session.dialect.era == Era::Legacy;
            let last_id = last.as_deref().filter(|_| resumable && idle < RESUMES);
            let last_id = last_id.and_then(|id| HeaderValue::from_str(id).ok()).ok_or_else(lost)?;
            idle += 1;
            tokio::time::sleep(hear::pause(self.timing.stream_retry, reader.retry(), idle)).await;
            let response = self.get(session, Some(last_id)).await.map_err(|_| lost())?;
            if !is_events(&response) {
                return Err(lost());
            }
            reader = Reader::new(response.into_body(), limit, &self.inbox.noise);
        }
    }

    /// One event of a request's stream; its answer, if it is that.
    fn event(
        self: &Arc<Self>,
        data: &[u8],
        id: u64,
        era: Era,
    ) -> Result<Option<Result<Value, crate::model::RpcError>>, UpstreamError> {
        if data.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let mut answer = None;
        for message in wire::parse(data, self.max_result) {
            match message {
                Message::Response { id: Some(found), outcome } if found == id => answer = Some(outcome),
                Message::Response { id: None, outcome: Err(error) } => answer = Some(Err(error)),
                Message::Response { .. } => {}
                Message::Unreadable { answers: Some(found), reason } if found == id => {
                    return Err(UpstreamError::Malformed(reason));
                }
                Message::Unreadable { reason, .. } => self.inbox.unread(&reason, data.len()),
                other @ (Message::Request { .. } | Message::Notification { .. }) => {
                    self.aloud(other, id, era);
                }
            }
        }
        Ok(answer)
    }

    /// What came on a request's own stream beside its answer.
    fn aloud(self: &Arc<Self>, message: Message, id: u64, era: Era) {
        if era == Era::Modern && matches!(message, Message::Request { .. }) {
            if let Some(left_out) = self.inbox.may_log() {
                tracing::warn!(upstream = %self.inbox.upstream, left_out, "a request on a stream, which 2026-07-28 forbids");
            }
        } else {
            self.inbox.take(self, message, Some(id));
        }
    }
}

fn refused(status: StatusCode) -> Fault {
    if status.is_server_error() {
        Fault::Failed(UpstreamError::Lost(format!("HTTP status {status}")))
    } else {
        Fault::Refused(status)
    }
}
