//! What is asked of a token endpoint, and what it answers (RFC 6749): the same for sign-ins, for our own credentials and for
//! those of people.

use super::{Outbound, OutboundError};
use crate::model::ClientAuth;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use std::{fmt, time::Duration};
use url::form_urlencoded::{Serializer, byte_serialize};

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer of a token endpoint.
const MOST_BYTES: usize = 256 * 1024;

/// A request to a token endpoint, or to another one that knows clients in the same way.
pub struct TokenRequest<'r> {
    /// Where.
    pub url: &'r str,
    /// The client's name there.
    pub client_id: &'r str,
    /// Its secret; none: a public client.
    pub secret: Option<&'r SecretString>,
    /// How the secret travels.
    pub auth_method: ClientAuth,
    /// What is asked.
    pub form: Vec<(&'r str, &'r str)>,
}

/// Why there is no token, in words without a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It cannot be asked like this.
    #[error("it cannot be requested: {0}")]
    Unusable(&'static str),
    /// Nothing came back.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// It answered, and not with what was asked for; with its error code, where that can be shown.
    #[error("it answered HTTP status {status}{}", code.as_ref().map(|code| format!(", `{code}`")).unwrap_or_default())]
    Status {
        /// The status.
        status: StatusCode,
        /// `error`
        code: Option<String>,
    },
    /// It answered with what is no token.
    #[error("its answer {0}")]
    Malformed(&'static str),
}

impl TokenError {
    /// Whether what was shown does not count there (any more): asking once more brings nothing.
    pub fn is_rejection(&self) -> bool {
        matches!(self, Self::Status { code: Some(code), .. }
            if matches!(code.as_str(), "invalid_grant" | "invalid_client" | "unauthorized_client"))
    }

    /// Whether it is the client that does not count there.
    pub fn is_about_the_client(&self) -> bool {
        matches!(self, Self::Status { code: Some(code), .. }
            if matches!(code.as_str(), "invalid_client" | "unauthorized_client"))
    }

    /// Whether what was asked for may have been done, though nothing of it has arrived.
    pub fn may_have_been_done(&self) -> bool {
        match self {
            Self::Unusable(_) | Self::Outbound(OutboundError::Unreachable(_)) => false,
            Self::Outbound(_) | Self::Malformed(_) => true,
            Self::Status { status, .. } => status.is_server_error(),
        }
    }
}

/// What a token endpoint gave.
#[derive(Clone)]
pub struct Granted {
    /// `access_token`
    pub access_token: SecretString,
    /// `refresh_token`
    pub refresh_token: Option<SecretString>,
    /// `expires_in`
    pub lasts: Option<Duration>,
    /// `scope`, where it says it.
    pub scopes: Option<Vec<String>>,
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lasts, scopes, .. } = self;
        f.debug_struct("Granted").field("lasts", lasts).field("scopes", scopes).finish_non_exhaustive()
    }
}

impl TokenRequest<'_> {
    fn http(&self) -> Result<Request<Full<Bytes>>, TokenError> {
        let mut form = Serializer::new(String::new());
        form.extend_pairs(&self.form);
        let mut request = Request::post(self.url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json");
        match (self.secret, self.auth_method) {
            (None, _) => {
                form.append_pair("client_id", self.client_id);
            }
            (Some(secret), ClientAuth::Basic) => {
                // RFC 6749, section 2.3.1: both are form-encoded first.
                let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                let pair = format!("{}:{}", encode(self.client_id), encode(secret.expose_secret()));
                let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
                    .map_err(|_| TokenError::Unusable("the client's name cannot be sent"))?;
                value.set_sensitive(true);
                request = request.header(header::AUTHORIZATION, value);
            }
            (Some(secret), ClientAuth::Post) => {
                form.append_pair("client_id", self.client_id);
                form.append_pair("client_secret", secret.expose_secret());
            }
        }
        let body = Full::new(Bytes::from(form.finish()));
        request.body(body).map_err(|_| TokenError::Unusable("its URL"))
    }

    /// Asks, and gives the members of the answer.
    pub async fn ask(&self, outbound: &Outbound) -> Result<Map<String, Value>, TokenError> {
        let reply = outbound.send(self.http()?, MOST_BYTES, PATIENCE).await?;
        let answer: Option<Value> = serde_json::from_slice(&reply.body).ok();
        if reply.status != StatusCode::OK {
            let code = answer.as_ref().and_then(|answer| answer.get("error")).and_then(Value::as_str);
            let code = code.filter(|code| is_error_code(code)).map(str::to_owned);
            return Err(TokenError::Status { status: reply.status, code });
        }
        match answer {
            Some(Value::Object(members)) => Ok(members),
            Some(_) | None => Err(TokenError::Malformed("is no JSON object")),
        }
    }

    /// Asks for something to be done; the body of the answer says nothing (RFC 7009).
    pub async fn done(&self, outbound: &Outbound) -> Result<(), TokenError> {
        let reply = outbound.send(self.http()?, MOST_BYTES, PATIENCE).await?;
        match reply.status.is_success() {
            true => Ok(()),
            false => Err(TokenError::Status { status: reply.status, code: None }),
        }
    }

    /// Asks for a token.
    pub async fn token(&self, outbound: &Outbound) -> Result<Granted, TokenError> {
        Granted::read(&self.ask(outbound).await?).map_err(TokenError::Malformed)
    }
}

/// RFC 6749, section 5.2: what may be shown of an error.
pub fn is_error_code(code: &str) -> bool {
    (1..=60).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

impl Granted {
    /// RFC 6749, section 5.1.
    fn read(answer: &Map<String, Value>) -> Result<Self, &'static str> {
        let text = |name: &str| answer.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let token = text("access_token").ok_or("has no `access_token`")?;
        if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
            return Err("is not a token of the type `Bearer`");
        }
        let lasts = match answer.get("expires_in") {
            None | Some(Value::Null) => None,
            // Some servers write the number as a text.
            Some(written) => {
                let seconds = written.as_u64().or_else(|| written.as_str()?.parse().ok());
                Some(seconds.ok_or("has an `expires_in` that is not a number of seconds")?)
            }
        };
        Ok(Self {
            access_token: token.to_owned().into(),
            refresh_token: text("refresh_token").map(|token| token.to_owned().into()),
            lasts: lasts.map(Duration::from_secs),
            scopes: text("scope").map(|all| all.split_whitespace().map(str::to_owned).collect()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(answer: &Value) -> Result<Granted, &'static str> {
        Granted::read(answer.as_object().unwrap())
    }

    #[test]
    fn what_is_no_token_is_none() {
        let check =
            |answer: Value, expect: &str| assert!(read(&answer).unwrap_err().contains(expect), "{answer}");
        check(json!({"token_type": "Bearer"}), "no `access_token`");
        check(json!({"access_token": "", "token_type": "Bearer"}), "no `access_token`");
        check(json!({"access_token": "a", "token_type": "DPoP"}), "`Bearer`");
        check(json!({"access_token": "a"}), "`Bearer`");
        check(
            json!({"access_token": "a", "token_type": "bearer", "expires_in": "soon"}),
            "number of seconds",
        );
        let good = read(&json!({
            "access_token": "s3cret", "token_type": "bearer", "expires_in": "60", "refresh_token": "s3cret-2", "scope": "a  b",
        }));
        let good = good.unwrap();
        assert_eq!(good.lasts, Some(Duration::from_secs(60)));
        assert_eq!(good.scopes.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]));
        assert_eq!(good.refresh_token.as_ref().unwrap().expose_secret(), "s3cret-2");
        assert!(!format!("{good:?}").contains("s3cret"));
    }

    #[test]
    fn a_rejection_is_told_from_what_may_pass() {
        let error = |status: u16, code: Option<&str>| TokenError::Status {
            status: StatusCode::from_u16(status).unwrap(),
            code: code.map(str::to_owned),
        };
        assert!(error(400, Some("invalid_grant")).is_rejection());
        assert!(error(401, Some("invalid_client")).is_rejection());
        for passing in [error(503, None), error(400, Some("temporarily_unavailable")), error(400, None)] {
            assert!(!passing.is_rejection(), "{passing}");
        }
        assert_eq!(
            error(400, Some("invalid_grant")).to_string(),
            "it answered HTTP status 400 Bad Request, `invalid_grant`"
        );
        assert!(!is_error_code("Bad thing") && !is_error_code("") && is_error_code("access_denied"));
    }
}
