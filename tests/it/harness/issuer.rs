//! An issuer of access tokens: keys of its own, published over HTTP or in a file.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use axum::{Json, Router, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Semaphore;

/// A key for ES256.
pub(crate) struct SigningKey {
    pair: EcdsaKeyPair,
    pub(crate) kid: &'static str,
}

impl SigningKey {
    pub(crate) fn new(kid: &'static str) -> Self {
        let rules = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(rules, &SystemRandom::new()).unwrap();
        Self { pair: EcdsaKeyPair::from_pkcs8(rules, pkcs8.as_ref()).unwrap(), kid }
    }

    /// Its public half.
    pub(crate) fn jwk(&self) -> Value {
        // An uncompressed point: 4, x, y.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.kid, "x": text(x), "y": text(y)})
    }

    /// A token with this head.
    pub(crate) fn sign(&self, head: &Value, claims: &Value) -> String {
        self.sign_text(&head.to_string(), &claims.to_string())
    }

    /// A token of these very texts.
    pub(crate) fn sign_text(&self, head: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// An ordinary one.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&json!({"alg": "ES256", "typ": "at+jwt", "kid": self.kid}), claims)
    }
}

/// Publishes keys at `/jwks`.
pub(crate) struct Issuer {
    pub(crate) url: String,
    keys: Arc<Mutex<Option<Value>>>,
    read: Arc<AtomicUsize>,
    /// Its answers wait for one permit each, where there are any to be had at all.
    held: Arc<Semaphore>,
}

impl Issuer {
    pub(crate) async fn start(keys: &[&SigningKey]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let held = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let issuer = Self { url, keys: Arc::default(), read: Arc::default(), held };
        issuer.publish(keys);
        let (published, read, held) = (issuer.keys.clone(), issuer.read.clone(), issuer.held.clone());
        let jwks = get(move || {
            read.fetch_add(1, Ordering::SeqCst);
            let now = published.lock().clone();
            let held = held.clone();
            async move {
                held.acquire().await.unwrap().forget();
                now.map(Json).ok_or(http::StatusCode::BAD_GATEWAY)
            }
        });
        let router = Router::new().route("/jwks", jwks);
        tokio::spawn(async move { axum::serve(listener, router).await });
        issuer
    }

    /// Publishes these from now on.
    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        *self.keys.lock() = Some(set(keys));
    }

    /// Answers with an error from now on.
    pub(crate) fn fail(&self) {
        *self.keys.lock() = None;
    }

    /// Answers nobody from now on, until it is let go.
    pub(crate) fn hold(&self) {
        self.held.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Answers again.
    pub(crate) fn let_go(&self) {
        self.held.add_permits(1_000);
    }

    /// How often its keys were read.
    pub(crate) fn reads(&self) -> usize {
        self.read.load(Ordering::SeqCst)
    }
}

/// A JWK set.
pub(crate) fn set(keys: &[&SigningKey]) -> Value {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()})
}
