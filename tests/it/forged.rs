//! Tokens as a forger makes them, and sets of keys as no issuer should publish them.

use crate::{
    harness::*,
    tokens::{AUDIENCE, Door, ISSUER},
};
use axum::{
    Router,
    body::Body,
    http::{StatusCode, header},
    routing::get,
};
use futures::stream::{self, FuturesUnordered, StreamExt as _};
use serde_json::{Value, json};
use std::{convert::Infallible, path::Path, time::Duration};
use tollgate::{config::JwksSource, identity::AuthError};

fn door(path: &Path, keys: &Value) -> Door {
    std::fs::write(path, keys.to_string()).unwrap();
    Door::new(JwksSource::File(path.to_owned()), &[])
}

/// What a token says of the key to be used counts for nothing but a name among the known ones.
#[tokio::test]
async fn no_token_brings_its_own_key() {
    let (key, forger) = (SigningKey::new("k1"), SigningKey::new("k1"));
    let elsewhere = Issuer::start(&[&forger]).await;
    let url = format!("{}/jwks", elsewhere.url);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let heads = [
        json!({"jwk": forger.jwk()}),
        json!({"jku": url, "kid": "k1"}),
        json!({"x5u": url, "kid": "k1"}),
        json!({"x5c": ["MIIB"], "x5t": "AAAA", "kid": "k1"}),
        json!({"kid": "../../../../../../dev/null"}),
        json!({"kid": url}),
        json!({"kid": "k1' OR '1'='1"}),
        json!({"kid": ""}),
        json!({"kid": ["k1"]}),
        json!({"kid": null}),
        json!({"kid": "k1", "b64": false, "crit": ["b64"]}),
        json!({"kid": "k1", "crit": []}),
        json!({"kid": "k1", "crit": null}),
    ];
    for mut head in heads {
        head["alg"] = json!("ES256");
        let door = door(&path, &set(&[&key]));
        let token = forger.sign(&head, &door.claims());
        assert_eq!(door.name(&token).await, Err(AuthError::Unknown), "{head}");
    }
    assert_eq!(elsewhere.reads(), 0);
}

/// A part that two readers could read in two ways is none, whoever has signed it.
#[tokio::test]
async fn what_stands_twice_in_a_token_counts_for_nothing() {
    let key = SigningKey::new("k1");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let check = async |head: &str, change: &dyn Fn(String) -> String, enters: bool| {
        let door = door(&path, &set(&[&key]));
        let claims = change(door.claims().to_string());
        let got = door.name(&key.sign_text(head, &claims)).await;
        let expect = if enters { Ok("agent:ada".to_owned()) } else { Err(AuthError::Unknown) };
        assert_eq!(got, expect, "{head} {claims}");
    };
    let plain = r#"{"alg":"ES256","kid":"k1"}"#;
    let same = |claims: String| claims;
    check(plain, &same, true).await;
    check(r#"{"alg":"none","alg":"ES256","kid":"k1"}"#, &same, false).await;
    check(r#"{"alg":"ES256","alg":"none","kid":"k1"}"#, &same, false).await;
    check(r#"{"alg":"ES256","kid":"k2","kid":"k1"}"#, &same, false).await;
    check(r#"{"alg":"ES256","kid":"k1"} "#, &same, true).await;
    check(r#"{"alg":"ES256","kid":"k1"}{}"#, &same, false).await;
    for twice in [
        r#"{"client_id":"eve","#,
        r#"{"client\u005fid":"eve","#,
        r#"{"exp":9999999999,"#,
        r#"{"aud":"other","#,
        r#"{"x":{"y":1,"y":2},"#,
    ] {
        check(plain, &|claims| claims.replacen('{', twice, 1), false).await;
    }
    check(plain, &|claims| claims.replacen('{', r#"{"x":{"y":1},"#, 1), true).await;
    check(plain, &|claims| format!("{claims}{claims}"), false).await;
    check(plain, &|claims| format!("[{claims}]"), false).await;
    let deep = format!(r#"{{"x":{}{},"#, "[".repeat(500), "]".repeat(500));
    check(plain, &|claims| claims.replacen('{', &deep, 1), false).await;
}

#[tokio::test]
async fn claims_of_another_shape_are_no_claims() {
    let key = SigningKey::new("k1");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let number = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let cases = [
        ("aud", json!([[AUDIENCE]])),
        ("aud", json!({ "aud": AUDIENCE })),
        ("aud", json!([null, 7, true])),
        ("aud", json!(AUDIENCE.to_uppercase())),
        ("aud", json!(format!("{AUDIENCE} "))),
        ("aud", json!(format!("{AUDIENCE}\0"))),
        ("aud", json!(format!("x {AUDIENCE}"))),
        ("iss", json!([ISSUER])),
        ("iss", json!(format!("{ISSUER}.evil.example"))),
        ("exp", number("1e300")),
        ("exp", number("9e9")),
        ("exp", number("9223372036854775807")),
        ("exp", number("18446744073709551615")),
        ("exp", number("99999999999999999999999999999999999999")),
        ("exp", number("-9999999999")),
        ("exp", number("-0.0")),
        ("exp", json!([9_999_999_999_u64])),
        ("exp", json!(true)),
        ("exp", Value::Null),
        ("nbf", json!("now")),
        ("nbf", number("99999999999999999999999999999999999999")),
        ("nbf", json!({})),
        ("client_id", json!(["ada"])),
        ("client_id", json!("ada\0")),
        ("client_id", json!("Ada")),
        ("client_id", json!("a".repeat(11_000))),
        ("jti", json!("x".repeat(20_000))),
    ];
    for (name, value) in cases {
        let door = door(&path, &set(&[&key]));
        let token = key.token(&door.with(|claims| claims[name] = value.clone()));
        let shown: String = value.to_string().chars().take(60).collect();
        assert_eq!(door.name(&token).await, Err(AuthError::Unknown), "{name}: {shown}");
    }
}

/// Nobody's set costs more than a few checks of a signature for one token, and what cannot be used is left out.
#[tokio::test]
async fn odd_sets_of_keys_are_used_as_far_as_they_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let keys: Vec<SigningKey> = (0..120).map(|number| SigningKey::new(format!("k{number}").leak())).collect();
    let all = set(&keys.iter().collect::<Vec<_>>());
    let by = async |number: usize, named: bool| {
        let door = door(&path, &all);
        let mut head = json!({"alg": "ES256"});
        if named {
            head["kid"] = json!(keys[number].kid);
        }
        door.name(&keys[number].sign(&head, &door.claims())).await.is_ok()
    };
    assert!(by(0, false).await && by(7, false).await && !by(8, false).await, "eight are tried");
    assert!(by(8, true).await && by(99, true).await && !by(100, true).await, "a hundred are read");

    let good = &keys[0];
    let odd = [
        json!(null),
        json!([]),
        json!({}),
        json!({"kty": "EC"}),
        json!({"kty": "RSA", "kid": "k0", "n": "A".repeat(120_000), "e": "AQAB"}),
        json!({"kty": "RSA", "kid": "k0", "n": "AQAB", "e": "B".repeat(10_000)}),
        json!({"kty": "RSA", "kid": "k0", "n": "", "e": ""}),
        json!({"kty": "EC", "crv": "P-256", "kid": "k0", "x": "AA", "y": "AA"}),
        json!({"kty": "EC", "crv": "P-384", "kid": "k0", "x": good.jwk()["x"], "y": good.jwk()["y"]}),
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "k0", "x": good.jwk()["x"]}),
        json!({"kty": "oct", "kid": "k0", "k": "c2VjcmV0"}),
    ];
    let mut together = odd.to_vec();
    together.push(good.jwk());
    let door = door(&path, &json!({ "keys": together }));
    // Under this name there are keys of every kind: the right one is found, whatever stands before it.
    assert!(door.name(&good.token(&door.claims())).await.is_ok());
    for algorithm in ["RS256", "PS512", "ES384", "EdDSA"] {
        let door = self::door(&path, &json!({ "keys": together }));
        let token = good.sign(&json!({"alg": algorithm, "kid": "k0"}), &door.claims());
        assert_eq!(door.name(&token).await, Err(AuthError::Unknown), "{algorithm}");
    }
    for (set, expect) in [
        (json!({ "keys": {} }), AuthError::Unavailable),
        (json!({ "keys": "k1" }), AuthError::Unavailable),
        (json!([good.jwk()]), AuthError::Unavailable),
        (json!({ "Keys": [good.jwk()] }), AuthError::Unavailable),
        (json!({ "keys": [] }), AuthError::Unknown),
        (json!({ "keys": odd }), AuthError::Unknown),
    ] {
        let door = self::door(&path, &set);
        assert_eq!(door.name(&good.token(&door.claims())).await, Err(expect), "{set:.60}");
    }
}

/// An issuer that answers with somebody else's word, without end, or drop by drop.
#[tokio::test]
async fn an_issuer_that_misbehaves_gives_no_keys() {
    let key = SigningKey::new("k1");
    let elsewhere = Issuer::start(&[&key]).await;
    let target = format!("{}/jwks", elsewhere.url);
    let endless =
        || async { Body::from_stream(stream::repeat_with(|| Ok::<_, Infallible>(vec![b' '; 64 * 1024]))) };
    let dripping = || async {
        Body::from_stream(stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, Infallible>(" "), ()))
        }))
    };
    let router = Router::new()
        .route("/moved", get(async move || (StatusCode::FOUND, [(header::LOCATION, target)])))
        .route("/endless", get(endless))
        .route("/dripping", get(dripping));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    for path in ["moved", "endless", "dripping"] {
        let door = Door::new(JwksSource::Url(format!("http://{address}/{path}").parse().unwrap()), &[]);
        let entered = soon(async { door.name(&key.token(&door.claims())).await }).await;
        assert_eq!(entered, Err(AuthError::Unavailable), "{path}");
    }
    assert_eq!(elsewhere.reads(), 0, "nobody else is asked");
}

/// While an issuer is slow only so many wait for it, for nobody knows yet who they are.
#[tokio::test]
async fn few_wait_for_an_issuer() {
    let key = SigningKey::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let door = Door::new(JwksSource::Url(format!("{}/jwks", issuer.url).parse().unwrap()), &[]);
    issuer.hold();
    let tokens: Vec<String> =
        (0..300).map(|number| key.token(&door.with(|claims| claims["jti"] = json!(number)))).collect();
    let mut entering: FuturesUnordered<_> = tokens.iter().map(|token| door.name(token)).collect();
    // One asks, and 256 wait for it.
    for _ in 257..300 {
        assert_eq!(soon(entering.next()).await, Some(Err(AuthError::Unavailable)));
    }
    issuer.let_go();
    for _ in 0..257 {
        assert_eq!(soon(entering.next()).await, Some(Ok("agent:ada".to_owned())));
    }
    assert_eq!(issuer.reads(), 1);
}
