//! The events of one response, bounded, and the orderly end of its stream.

use super::http1_pool::ResponseBody;
use crate::{
    outbound::because,
    upstream::{UpstreamError, limits::Noise, sse, wire},
};
use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, Response, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use std::{sync::Arc, time::Duration};

/// How long a stream may stay open after its answer before it is closed from here.
const FINISH: Duration = Duration::from_secs(1);
/// How long the body of a status that is no success is waited for.
const REFUSAL: Duration = Duration::from_secs(5);
/// Bytes that belong to no event are counted as noise in portions of so many.
const IDLE: usize = 64 << 10;

/// Whether a response is a stream of events.
pub(super) fn is_events(response: &Response<ResponseBody>) -> bool {
    response.status().is_success() && is_of_kind(response.headers(), "text/event-stream")
}

/// Whether the body is of a media type, parameters aside.
pub(super) fn is_of_kind(headers: &HeaderMap, kind: &str) -> bool {
    let found = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    found.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(kind)
}

/// The body of a status that is no success. It says less than the status: where it does not come soon, there is none.
pub(super) async fn body_of_refusal(body: ResponseBody, most: u64) -> Bytes {
    let read = tokio::time::timeout(REFUSAL, whole(body, most)).await;
    read.ok().and_then(Result::ok).unwrap_or_default()
}

pub(super) enum ReadError {
    TooLong,
    Broken,
}

pub(super) struct Reader {
    body: ResponseBody,
    parser: sse::Parser,
    noise: Arc<Noise>,
}

impl Reader {
    pub(super) fn new(body: ResponseBody, max_result: u64, noise: &Arc<Noise>) -> Self {
        let parser = sse::Parser::new(max_result.saturating_add(wire::ENVELOPE));
        Self { body, parser, noise: noise.clone() }
    }

    pub(super) fn retry(&self) -> Option<Duration> {
        self.parser.retry()
    }

    /// Reads the end of a stream whose answer was read, so that its TCP connection can serve the next request.
    pub(super) fn finish(mut self) {
        if self.body.is_end_stream() || matches!(self.body.frame().now_or_never(), Some(None)) {
            return;
        }
        tokio::spawn(tokio::time::timeout(FINISH, async move {
            while let Some(Ok(_)) = self.body.frame().await {}
        }));
    }

    pub(super) async fn next(&mut self) -> Result<Option<sse::Event>, ReadError> {
        loop {
            if let Some(event) = self.parser.next().map_err(|sse::TooLong| ReadError::TooLong)? {
                return Ok(Some(event));
            }
            if self.parser.idle() >= IDLE {
                let idle = self.parser.take_idle();
                self.noise.heard(idle).await;
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.parser.push(data);
                    }
                }
                Some(Err(_)) => return Err(ReadError::Broken),
                None => return Ok(None),
            }
        }
    }
}

/// The whole body, never more than the bound.
pub(super) async fn whole(mut body: ResponseBody, most: u64) -> Result<Bytes, UpstreamError> {
    let limit = most.saturating_add(wire::ENVELOPE);
    let too_large = || UpstreamError::TooLarge(most);
    if body.size_hint().lower() > limit {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut gathered: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| UpstreamError::Lost(format!("the connection broke: {}", because(&error))))?;
        let Ok(data) = frame.into_data() else { continue };
        let total = first.len() + gathered.len() + data.len();
        if u64::try_from(total).unwrap_or(u64::MAX) > limit {
            return Err(too_large());
        }
        if gathered.is_empty() && first.is_empty() {
            first = data;
        } else {
            if gathered.is_empty() {
                gathered.extend_from_slice(&std::mem::take(&mut first));
            }
            gathered.extend_from_slice(&data);
        }
    }
    Ok(if gathered.is_empty() { first } else { Bytes::from(gathered) })
}
