//! Requests of Tollgate's own to servers that are no upstream: an issuer's keys, a token endpoint, a webhook.
//!
//! Few and far between, so each has a connection of its own. Redirects are not followed: whoever answers is whom the
//! configuration names.

mod mail;
mod probe;
mod reach;
mod token;

pub use mail::{Mail, MailError, MailServer, send_mail};
pub use reach::Reach;
pub use token::{Granted, TokenError, TokenRequest, is_error_code};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Collected, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use probe::Takes;
use reach::Resolver;
use rustls_pki_types::CertificateDer;
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// How long a TCP connection may take to stand.
const CONNECT: Duration = Duration::from_secs(5);
/// What is read of an answer that counts by its status, and how long that may take.
const REMARK: usize = 1_024;
const REMARK_TIME: Duration = Duration::from_secs(1);

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Why nothing came back, in words without the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// No connection: nothing was sent.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// More than the bound came back.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// Nothing whole came back in time.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
}

type Tcp = HttpConnector<Resolver>;
type Plain = Client<Tcp, Full<Bytes>>;
type Secure = Client<HttpsConnector<Tcp>, Full<Bytes>>;

/// The client.
pub struct Outbound {
    plain: Plain,
    /// Made when it is first needed: a machine without root certificates can still speak plain HTTP.
    secure: OnceLock<Result<Secure, String>>,
    /// Where a document names the URLs.
    reach: Option<Arc<Reach>>,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbound")
    }
}

fn tcp(reach: Option<Arc<Reach>>) -> Tcp {
    let mut tcp = HttpConnector::new_with_resolver(Resolver::new(reach));
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp
}

/// With TLS where a URI says `https`.
fn connector(reach: Option<Arc<Reach>>) -> Result<HttpsConnector<Tcp>, String> {
    let builder = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|error| format!("no TLS: {error}"))?;
    Ok(builder.https_or_http().enable_http1().wrap_connector(tcp(reach)))
}

fn secure(reach: Option<Arc<Reach>>) -> Result<Secure, String> {
    Ok(pooled_nowhere(connector(reach)?))
}

fn pooled_nowhere(https: HttpsConnector<Tcp>) -> Secure {
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(https)
}

/// An error with its causes, each said once.
pub(crate) fn because(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = inner.source();
    }
    text
}

impl Default for Outbound {
    fn default() -> Self {
        Self::made(None)
    }
}

impl Outbound {
    fn made(reach: Option<Arc<Reach>>) -> Self {
        let plain = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(tcp(reach.clone()));
        Self { plain, secure: OnceLock::new(), reach }
    }

    /// Takes whatever certificate is shown: for questions that anybody may hear, and answers that nobody relies on.
    pub fn unverified() -> Result<Self, String> {
        Self::taking(Takes::Any)
    }

    /// Speaks TLS to who holds this certificate and its key, under whatever name, and to nobody else.
    pub fn to_holder(certificate: CertificateDer<'static>) -> Result<Self, String> {
        Self::taking(Takes::This(certificate))
    }

    fn taking(takes: Takes) -> Result<Self, String> {
        let secure = pooled_nowhere(probe::connector(tcp(None), takes)?);
        Ok(Self { secure: OnceLock::from(Ok(secure)), ..Self::made(None) })
    }

    /// Asks only where a document may lead.
    pub fn within(reach: Reach) -> Self {
        Self::made(Some(Arc::new(reach)))
    }

    /// Sends a request with an absolute http or https URI and reads at most `most` bytes of the answer.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        most: usize,
        patience: Duration,
    ) -> Result<Reply, OutboundError> {
        let exchange = async {
            let (parts, body) = self.answered(request).await?.into_parts();
            let body = Limited::new(body, most).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    OutboundError::TooLarge(most)
                } else {
                    OutboundError::Broken(because(&*error))
                }
            })?;
            Ok(Reply { status: parts.status, headers: parts.headers, body: body.to_bytes() })
        };
        tokio::time::timeout(patience, exchange).await.unwrap_or(Err(OutboundError::TimedOut(patience)))
    }

    /// Sends a request whose answer is its status: what was taken is not sent again because of what comes behind that, however much it
    /// is and however slowly it comes. A body is a remark, where it is short and there at once.
    pub async fn hand_in(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Reply, OutboundError> {
        let answered = tokio::time::timeout(patience, self.answered(request)).await;
        let (parts, body) = answered.unwrap_or(Err(OutboundError::TimedOut(patience)))?.into_parts();
        let remark = tokio::time::timeout(REMARK_TIME, Limited::new(body, REMARK).collect()).await;
        let body = remark.ok().and_then(Result::ok).map(Collected::to_bytes).unwrap_or_default();
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    }

    /// The head of an answer.
    async fn answered(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, OutboundError> {
        if let Some(reach) = &self.reach {
            let url = url::Url::parse(&request.uri().to_string()).ok();
            if !url.is_some_and(|url| reach.allows_url(&url)) {
                let why = "it may not be asked from here: https is needed, and no address of this machine or network";
                return Err(OutboundError::Unreachable(why.to_owned()));
            }
        }
        let response = if request.uri().scheme_str() == Some("https") {
            let secure = self.secure.get_or_init(|| secure(self.reach.clone())).as_ref();
            secure.map_err(|why| OutboundError::Unreachable(why.clone()))?.request(request).await
        } else {
            self.plain.request(request).await
        };
        response.map_err(|error| match error.is_connect() {
            true => OutboundError::Unreachable(because(&error)),
            false => OutboundError::Broken(because(&error)),
        })
    }
}
