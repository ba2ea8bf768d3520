//! An ID token (OpenID Connect Core, section 3.1.3.7): whose signature it has, and whether it is for this sign-in.

use super::{SignInError, provider::Provider, refused};
use crate::{
    config::OidcConfig,
    identity::{
        MAX_TOKEN_BYTES,
        keys::Keys,
        token::{Head, LEEWAY_SECONDS, MOST_TRIED, claims, is_over, is_signed, seconds},
    },
};
use jiff::Timestamp;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

/// How old one may be as it comes: it was made for this sign-in.
const OLDEST_SECONDS: i64 = 600;

/// What a token says that was made for this client and this sign-in.
pub(super) async fn verify(
    keys: &Keys,
    rules: &OidcConfig,
    provider: &Provider,
    token: &str,
    nonce: &str,
    now: Timestamp,
) -> Result<Map<String, Value>, SignInError> {
    if token.len() > MAX_TOKEN_BYTES || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
        return Err(refused("the id_token is no signed token"));
    }
    // `none` and keys that both sides hold are no algorithms here.
    let head = Head::read(token).ok().filter(|head| !head.is_access_token);
    let head = head.ok_or_else(|| refused("the id_token is signed in a way that is not taken"))?;
    let set = keys.for_token(&provider.keys, head.kid.as_deref()).await;
    let (set, _) = set.ok_or_else(|| SignInError::Unavailable("its keys cannot be fetched".to_owned()))?;
    let mut fitting = set.candidates(head.kid.as_deref(), head.algorithm).take(MOST_TRIED);
    if !fitting.any(|key| is_signed(token, key, head.algorithm)) {
        return Err(refused("the id_token is not signed by the issuer"));
    }
    let claims = claims(token).ok_or_else(|| refused("the id_token's claims cannot be read"))?;
    judge(&claims, rules, nonce, now).map_err(refused)?;
    Ok(claims)
}

/// Issuer, audience, times, this sign-in, and how the person has shown who they are.
pub(super) fn judge(
    claims: &Map<String, Value>,
    rules: &OidcConfig,
    nonce: &str,
    now: Timestamp,
) -> Result<(), &'static str> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(rules.issuer.as_str()) {
        return Err("the id_token is of another issuer");
    }
    let own = |name: &Value| name.as_str() == Some(rules.client_id.as_str());
    let (for_us, others) = match claims.get("aud") {
        Some(Value::Array(names)) => (names.iter().any(own), !names.iter().all(own)),
        Some(name) => (own(name), false),
        None => (false, false),
    };
    // A token that is for others too says to whom it was given.
    let given = match claims.get("azp") {
        Some(azp) => own(azp),
        None => !others,
    };
    if !for_us || !given {
        return Err("the id_token is for another client");
    }
    let expires = seconds(claims, "exp")?.ok_or("the id_token never expires")?;
    if is_over(expires, now) {
        return Err("the id_token has expired");
    }
    let made = seconds(claims, "iat")?.ok_or("the id_token does not say when it was made")?;
    let age = now.as_second().saturating_sub(made.as_second());
    if age > OLDEST_SECONDS {
        return Err("the id_token was made long ago");
    }
    if age < -LEEWAY_SECONDS {
        return Err("the id_token was made in the future: is a clock wrong?");
    }
    let begins = seconds(claims, "nbf")?;
    if begins.is_some_and(|begins| begins.as_second() > now.as_second().saturating_add(LEEWAY_SECONDS)) {
        return Err("the id_token is not valid yet");
    }
    let told = text("nonce").unwrap_or_default();
    if !bool::from(told.as_bytes().ct_eq(nonce.as_bytes())) {
        return Err("the id_token is of another sign-in");
    }
    if text("sub").is_none_or(|subject| subject.is_empty() || subject.len() > 255) {
        return Err("the id_token names nobody");
    }
    if !rules.acr_values.is_empty()
        && !text("acr").is_some_and(|acr| rules.acr_values.iter().any(|wanted| wanted == acr))
    {
        return Err("the issuer did not ask for the factors that [admin.oidc] acr_values wants");
    }
    let ways = claims.get("amr").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let has = |wanted: &String| ways.iter().any(|way| way.as_str() == Some(wanted));
    if !rules.amr.iter().all(has) {
        return Err("the person did not show who they are in the ways that [admin.oidc] amr wants");
    }
    Ok(())
}
