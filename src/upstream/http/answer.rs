//! The answer to one request over Streamable HTTP: a body, or a stream that is resumed where it breaks.

use super::{
    Fault, Http, RESUMES, SESSION, hear, http1_pool,
    reader::{ReadError, Reader, body_of_refusal, is_events, is_of_kind, whole},
    session::{Session, is_session_unknown},
};
use crate::upstream::{
    call::Call,
    own::OwnSecrets,
    sse::Kind,
    types::{Era, UpstreamError},
    wire::{self, Message},
};
use crate::{model::RpcError, offload::LARGE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
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
        if !status.is_success() {
            return Err(self.refused(id, limit, call, session, response).await);
        }
        let fresh = response.headers().get(SESSION).cloned();
        if is_events(&response) {
            let value = Box::pin(self.stream(id, call, session, response.into_body())).await?;
            return Ok((value, fresh));
        }
        if !is_of_kind(response.headers(), "application/json") {
            return Err(UpstreamError::Malformed(format!("HTTP status {status} with no JSON")).into());
        }
        let bytes = whole(response.into_body(), limit).await?;
        let mut answer = None;
        let mut wrong = None;
        for message in self.read(call, &bytes).await {
            match message {
                Message::Response { id: Some(found), outcome } if found == id => answer = Some(outcome),
                Message::Response { id: None, outcome: Err(error) } => answer = Some(Err(error)),
                Message::Response { .. } => {}
                Message::Unreadable { reason, .. } => wrong = Some(reason),
                other @ (Message::Request { .. } | Message::Notification { .. }) => {
                    self.beside_answer(other, id, session.dialect.era);
                }
            }
        }
        match answer {
            Some(Ok(value)) => Ok((value, fresh)),
            Some(Err(error)) => Err(UpstreamError::Rpc(error).into()),
            None => {
                let reason = wrong.unwrap_or_else(|| "an answer to something else".to_owned());
                Err(UpstreamError::Malformed(reason).into())
            }
        }
    }

    /// What a status that is no success comes to. It is heard before the body: many a body that is no MCP looks like it.
    async fn refused(
        &self,
        id: u64,
        limit: u64,
        call: &Call,
        session: &Session,
        response: Response<http1_pool::ResponseBody>,
    ) -> Fault {
        let (head, body) = response.into_parts();
        let bytes = body_of_refusal(body, limit).await;
        let refusal = self.reach.refusal(&head, &bytes);
        let RpcErrors { named, unnamed } = RpcErrors::of(id, &bytes, self.max_result, &self.reach.own());
        if let Some(error) = named
            && !refusal.is_about_the_caller()
        {
            return UpstreamError::Rpc(error).into();
        }
        if let Some(error) = unnamed
            && !refusal.is_about_the_caller()
            && head.status.is_client_error()
            && !matches!(head.status, StatusCode::FORBIDDEN | StatusCode::REQUEST_TIMEOUT)
        {
            let of_session = head.status == StatusCode::BAD_REQUEST && session.id.is_some();
            return match of_session && is_session_unknown(&error.message) {
                true => Fault::SessionGone,
                false => Fault::Unnamed(refusal, error),
            };
        }
        // Its connections and lists say so elsewhere.
        if call.from_agent
            && let Some(left_out) = self.inbox.may_log()
        {
            let (upstream, method, cause) = (&self.inbox.upstream, call.request.method, refusal.cause());
            tracing::warn!(%upstream, method, cause, left_out, "a request was refused");
            tracing::debug!(%upstream, said = &*refusal.said, "what it said");
        }
        UpstreamError::Refused(refusal).into()
    }

    /// Reads the stream of one request up to its answer, resuming it where the server allows.
    async fn stream(
        self: &Arc<Self>,
        id: u64,
        call: &Call,
        session: &Arc<Session>,
        body: http1_pool::ResponseBody,
    ) -> Result<Value, Fault> {
        let limit = call.largest_answer(self.max_result);
        let opens = matches!(call.request.method, "server/discover" | "initialize");
        let mut reader = Reader::new(body, limit, &self.inbox.noise);
        let mut last: Option<String> = None;
        let mut idle = 0;
        let mut first = true;
        loop {
            match reader.next().await {
                Ok(Some(mut event)) => {
                    idle = 0;
                    last = event.id.take().or(last);
                    if opens && event.kind == Kind::Endpoint && std::mem::take(&mut first) {
                        return Err(Fault::OlderTransport);
                    }
                    let message = event.message();
                    first = first && message.is_none();
                    let answer = match message {
                        Some(data) => {
                            let messages = self.read(call, data).await;
                            self.event(messages, data.len(), id, session.dialect.era)?
                        }
                        None => None,
                    };
                    if let Some(answer) = answer {
                        reader.finish();
                        return answer.map_err(|error| UpstreamError::Rpc(error).into());
                    }
                    self.inbox.noise.heard(event.data.len()).await;
                    continue;
                }
                Err(ReadError::TooLong) => return Err(UpstreamError::TooLarge(limit).into()),
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
                return Err(lost().into());
            }
            reader = Reader::new(response.into_body(), limit, &self.inbox.noise);
        }
    }

    /// What an upstream said, without our own credentials; where it is large it is read where it holds up nobody else.
    async fn read(self: &Arc<Self>, call: &Call, data: &[u8]) -> Vec<Message> {
        if !call.from_agent || data.len() <= LARGE {
            return self.reach.own().read(data, self.max_result);
        }
        let (http, data) = (self.clone(), data.to_vec());
        let work = move || http.reach.own().read(&data, http.max_result);
        Box::pin(self.offload.finish(&call.request.caller.agent, work)).await
    }

    /// One message of a request's stream; its answer, if it is that.
    fn event(
        self: &Arc<Self>,
        messages: Vec<Message>,
        length: usize,
        id: u64,
        era: Era,
    ) -> Result<Option<Result<Value, RpcError>>, UpstreamError> {
        let mut answer = None;
        for message in messages {
            match message {
                Message::Response { id: Some(found), outcome } if found == id => answer = Some(outcome),
                Message::Response { id: None, outcome: Err(error) } => answer = Some(Err(error)),
                Message::Response { .. } => {}
                Message::Unreadable { answers: Some(found), reason } if found == id => {
                    return Err(UpstreamError::Malformed(reason));
                }
                Message::Unreadable { reason, .. } => self.inbox.unread(&reason, length),
                other @ (Message::Request { .. } | Message::Notification { .. }) => {
                    self.beside_answer(other, id, era);
                }
            }
        }
        Ok(answer)
    }

    /// What came on a request's own stream beside its answer.
    fn beside_answer(self: &Arc<Self>, message: Message, id: u64, era: Era) {
        if era == Era::Modern && matches!(message, Message::Request { .. }) {
            if let Some(left_out) = self.inbox.may_log() {
                tracing::warn!(upstream = %self.inbox.upstream, left_out, "a request on a stream, which 2026-07-28 forbids");
            }
        } else {
            self.inbox.take(self, message, Some(id));
        }
    }
}

/// The JSON-RPC errors in the body of a status that is no success.
#[derive(Default)]
pub(super) struct RpcErrors {
    /// One that answers the request.
    pub(super) named: Option<RpcError>,
    /// One that names no request of ours.
    pub(super) unnamed: Option<RpcError>,
}

impl RpcErrors {
    pub(super) fn of(id: u64, bytes: &[u8], max_result: u64, own: &OwnSecrets) -> Self {
        let mut found = Self::default();
        for message in own.read(bytes, max_result) {
            match message {
                Message::Response { id: Some(answers), outcome: Err(error) } if answers == id => {
                    found.named = Some(error);
                }
                Message::Response { id: None, outcome: Err(error) } if wire::is_json_rpc(bytes) => {
                    found.unnamed = Some(error);
                }
                Message::Response { .. }
                | Message::Request { .. }
                | Message::Notification { .. }
                | Message::Unreadable { .. } => {}
            }
        }
        found
    }
}
