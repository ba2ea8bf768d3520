//! Tokens that are bound to a key: whoever sends one proves, for each request, that the key is theirs (RFC 9449).

use crate::{
    harness::*,
    tokens::{AUDIENCE, Door, ISSUER, file_of},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use tollgate::{
    clock::Clock as _,
    identity::{AuthError, Possession, Presented},
};
use url::Url;

const PLACE: &str = "https://gate.example/mcp";

fn public(key: &SigningKey) -> Value {
    let whole = key.jwk();
    json!({"kty": "EC", "crv": "P-256", "x": whole["x"], "y": whole["y"]})
}

/// RFC 7638.
fn thumbprint(key: &SigningKey) -> String {
    let jwk = key.jwk();
    let text = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
    URL_SAFE_NO_PAD.encode(Sha256::digest(text))
}

fn head(key: &SigningKey) -> Value {
    json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": public(key)})
}

fn proof_claims(token: &str, id: &str, now: i64) -> Value {
    let ath = URL_SAFE_NO_PAD.encode(Sha256::digest(token));
    json!({"jti": id, "htm": "POST", "htu": PLACE, "iat": now, "ath": ath})
}

/// An issuer's key, a door that takes its tokens, and a client's key.
struct Bound {
    issuer: SigningKey,
    client: SigningKey,
    door: Door,
    url: Option<Url>,
    _folder: tempfile::TempDir,
}

impl Bound {
    fn new() -> Self {
        let issuer = SigningKey::new("k1");
        let (folder, source) = file_of(&[&issuer]);
        let door = Door::new(source, &[]);
        Self {
            issuer,
            client: SigningKey::new("own"),
            door,
            url: Some(PLACE.parse().unwrap()),
            _folder: folder,
        }
    }

    fn token(&self) -> String {
        self.issuer.token(&self.door.with(|claims| claims["cnf"] = json!({"jkt": thumbprint(&self.client)})))
    }

    fn proof(&self, token: &str, id: &str, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let (mut head, mut claims) =
            (head(&self.client), proof_claims(token, id, self.door.clock.now().as_second()));
        change(&mut head, &mut claims);
        self.client.sign(&head, &claims)
    }

    async fn send(&self, scheme: &str, token: &str, proof: Option<&str>) -> Result<String, AuthError> {
        let header = format!("{scheme} {token}");
        let possession =
            proof.map(|proof| Possession { proof: proof.as_bytes(), method: "POST", url: self.url.as_ref() });
        let presented =
            Presented { authorization: Some(header.as_bytes()), possession, ..Presented::default() };
        self.door.present(&presented).await.map(|principal| principal.key())
    }
}

const ADA: fn() -> Result<String, AuthError> = || Ok("agent:ada".to_owned());

/// A gateway that does not know its address says so, and not that there was no proof.
#[tokio::test]
async fn a_proof_for_no_known_place_is_told_as_that() {
    let bound = Bound { url: None, ..Bound::new() };
    let token = bound.token();
    let proof = bound.proof(&token, "1", |_, _| {});
    let refused = bound.send("DPoP", &token, Some(&proof)).await;
    assert!(
        matches!(refused, Err(AuthError::Unproven(why)) if why.contains("`[gateway] public_url`")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_bound_token_counts_with_its_proof_and_once() {
    let bound = Bound::new();
    let token = bound.token();
    let proof = bound.proof(&token, "1", |_, _| {});
    assert_eq!(bound.send("DPoP", &token, Some(&proof)).await, ADA());
    let unproven = |why| Err(AuthError::Unproven(why));
    assert_eq!(bound.send("DPoP", &token, Some(&proof)).await, unproven("it was used before"));
    // Signed anew it is the same proof.
    let again = bound.proof(&token, "1", |_, claims| claims["more"] = json!(1));
    assert_eq!(bound.send("dpop", &token, Some(&again)).await, unproven("it was used before"));
    let other =
        bound.proof(&token, "2", |_, claims| claims["htu"] = json!("https://GATE.example:443/mcp/?q#f"));
    assert_eq!(bound.send("dpop", &token, Some(&other)).await, ADA());
    assert_eq!(bound.send("DPoP", &token, None).await, unproven("the `DPoP` header is missing"));
    let third = bound.proof(&token, "3", |_, _| {});
    let as_bearer = "it is bound to a key: send it as `DPoP`, with a `DPoP` header";
    assert_eq!(bound.send("Bearer", &token, Some(&third)).await, unproven(as_bearer));
    // What is refused for another reason is not used up.
    assert_eq!(bound.send("DPoP", &token, Some(&third)).await, ADA());
    // After its time it is too old, and its id is nobody's any more.
    bound.door.clock.advance(Duration::from_secs(61));
    assert_eq!(
        bound.send("DPoP", &token, Some(&third)).await,
        unproven("its `iat` is too long ago, or to come")
    );
}

/// Every way in which a proof can be somebody else's, for something else, or none.
#[tokio::test]
async fn a_proof_is_for_one_key_one_token_and_one_request() {
    let thief = SigningKey::new("thief");
    type Change = Box<dyn Fn(&mut Value, &mut Value)>;
    let set =
        |at: &'static str, value: Value| -> Change { Box::new(move |_, claims| claims[at] = value.clone()) };
    let put =
        |at: &'static str, value: Value| -> Change { Box::new(move |head, _| head[at] = value.clone()) };
    let cases: Vec<(Change, &str)> = vec![
        (set("htm", json!("GET")), "its `htm` is another method"),
        (set("htm", json!("post")), "its `htm` is another method"),
        (set("htu", json!("https://gate.example/other")), "its `htu` is another place"),
        (set("htu", json!("http://gate.example/mcp")), "its `htu` is another place"),
        (set("htu", json!("https://evil.example/mcp")), "its `htu` is another place"),
        (set("htu", json!("https://gate.example:8443/mcp")), "its `htu` is another place"),
        (set("htu", json!("/mcp")), "its `htu` is no URL"),
        (set("ath", json!("x")), "its `ath` is of another token"),
        (set("ath", Value::Null), "its `ath` is of another token"),
        (set("iat", Value::Null), "a time in it is not a number of seconds"),
        (set("iat", json!(1)), "its `iat` is too long ago, or to come"),
        (set("jti", json!("")), "it has no `jti`"),
        (set("jti", json!("x".repeat(257))), "it has no `jti`"),
        (put("typ", json!("JWT")), "its `typ` is not `dpop+jwt`"),
        (put("alg", json!("none")), "its `alg` is not one of those that count"),
        (put("alg", json!("HS256")), "its `alg` is not one of those that count"),
        (put("alg", json!("ES384")), "it is not signed with its `jwk`"),
        (put("crit", json!(["iat"])), "its head has `crit`"),
        (put("jwk", Value::Null), "its head has no `jwk`"),
        (put("jwk", json!({"kty": "EC"})), "its `jwk` is no key"),
        (put("jwk", json!({"kty": "oct", "k": "c2VjcmV0"})), "its `jwk` is no public key"),
        // The thief's key in the head, or the thief's signature under the right one.
        (put("jwk", public(&thief)), "it is not signed with its `jwk`"),
    ];
    for (change, expect) in cases {
        let bound = Bound::new();
        let token = bound.token();
        let proof = bound.proof(&token, "1", change);
        assert_eq!(bound.send("DPoP", &token, Some(&proof)).await, Err(AuthError::Unproven(expect)));
    }
    let bound = Bound::new();
    let (token, now) = (bound.token(), bound.door.clock.now().as_second());
    let refused = async |proof: &str| {
        let refused = bound.send("DPoP", &token, Some(proof)).await;
        let Err(AuthError::Unproven(why)) = refused else { panic!("{refused:?}") };
        why
    };
    assert_eq!(
        refused(&thief.sign(&head(&thief), &proof_claims(&token, "1", now))).await,
        "the token is bound to another key"
    );
    let mut private = head(&bound.client);
    private["jwk"]["d"] = json!("AAAA");
    assert_eq!(
        refused(&bound.client.sign(&private, &proof_claims(&token, "1", now))).await,
        "its `jwk` is no public key"
    );
    assert_eq!(refused("").await, "it is no JWT");
    assert_eq!(refused("a.b").await, "it is no JWT");
    assert_eq!(refused("a.b.c").await, "its head cannot be read");
    assert_eq!(refused(&format!("{}.b.c", "a".repeat(9_000))).await, "it is no JWT");
    let unsigned = bound.proof(&token, "1", |_, _| {});
    let (signed, _) = unsigned.rsplit_once('.').unwrap();
    assert_eq!(refused(&format!("{signed}.")).await, "it is not signed with its `jwk`");
    // The clock of a client may be a little ahead.
    let ahead = bound.proof(&token, "a", |_, claims| claims["iat"] = json!(now + 30));
    assert_eq!(bound.send("DPoP", &token, Some(&ahead)).await, ADA());
    let ahead = bound.proof(&token, "b", |_, claims| claims["iat"] = json!(now + 31));
    assert_eq!(refused(&ahead).await, "its `iat` is too long ago, or to come");
}

/// What binds a token is never passed over: not an unknown bond, and not a missing one where it is required.
#[tokio::test]
async fn a_bond_that_cannot_be_checked_is_a_bond() {
    for cnf in
        [json!({"jkt": "short"}), json!({"jwk": {}}), json!({"kid": "x"}), json!({}), json!("x"), Value::Null]
    {
        let bound = Bound::new();
        let token = bound.issuer.token(&bound.door.with(|claims| claims["cnf"] = cnf.clone()));
        assert_eq!(bound.send("Bearer", &token, None).await, Err(AuthError::Unknown), "{cnf}");
    }
    let mut bound = Bound::new();
    let plain = bound.issuer.token(&bound.door.claims());
    assert_eq!(bound.send("Bearer", &plain, None).await, ADA());
    let proof = bound.proof(&plain, "1", |_, _| {});
    let unbound = Err(AuthError::Unproven("it is bound to no key: send it as `Bearer`"));
    assert_eq!(bound.send("DPoP", &plain, Some(&proof)).await, unbound);
    bound.door.rules(|rules| rules.dpop_required = true);
    let required = Err(AuthError::Unproven("tokens must be bound to a key here (DPoP, RFC 9449)"));
    assert_eq!(bound.send("Bearer", &plain, None).await, required);
    // A key of authority.yaml is no token, and has no proof.
    assert_eq!(bound.send("Bearer", "key-ada", None).await, ADA());
    assert_eq!(bound.send("DPoP", "key-ada", None).await, Err(AuthError::Unknown));
    // A token may be bound to the certificate of a connection; this one has none.
    let hash = URL_SAFE_NO_PAD.encode([7; 32]);
    let token = bound.issuer.token(&bound.door.with(|claims| claims["cnf"] = json!({"x5t#S256": hash})));
    let elsewhere = Err(AuthError::Unproven("it is bound to the certificate of another connection"));
    assert_eq!(bound.send("Bearer", &token, None).await, elsewhere);
}

/// Over HTTP, both eras: the request's own method and place count, and a 401 says what is missing.
#[tokio::test]
async fn requests_over_http_carry_their_proof() {
    let (issuer, client) = (SigningKey::new("k1"), SigningKey::new("own"));
    let (_folder, source) = file_of(&[&issuer]);
    let tollgate::config::JwksSource::File(path) = source else { panic!("a file") };
    let servers = format!(
        "[auth]\njwt = {{ issuer = \"{ISSUER}\", audience = \"{AUDIENCE}\", jwks_file = \"{}\", dpop = \"required\" }}\n",
        path.display()
    );
    let world = World::start(Setup { servers, ..Setup::default() }).await;
    let now = tollgate::clock::System::default().now().as_second();
    let token = issuer.token(&json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": now + 600,
        "cnf": {"jkt": thumbprint(&client)}}));
    let modern = world.modern("ada");
    let send = async |token: &str, proofs: &[String]| {
        let body = modern.body("tools/call", json!({"name": "up__read", "arguments": {"path": "/a"}}));
        let mut request = modern.post(&body).build().unwrap();
        request.headers_mut().insert("authorization", format!("DPoP {token}").parse().unwrap());
        for proof in proofs {
            request.headers_mut().append("dpop", proof.parse().unwrap());
        }
        let reply = soon(world.http.execute(request)).await.unwrap();
        let challenge =
            reply.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
        (reply.status().as_u16(), challenge.unwrap_or_default(), reply.text().await.unwrap())
    };
    let proof = |id: &str, method: &str, url: &str| {
        let mut claims = proof_claims(&token, id, now);
        (claims["htm"], claims["htu"]) = (json!(method), json!(url));
        client.sign(&head(&client), &claims)
    };
    let here = &world.gate.mcp;
    let good = proof("1", "POST", here);
    let (status, _, text) = send(&token, std::slice::from_ref(&good)).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(world.up.count(), 1);
    for proofs in [
        vec![good],
        vec![],
        vec![proof("2", "GET", here)],
        vec![proof("3", "POST", PLACE)],
        vec![proof("4", "POST", here), proof("5", "POST", here)],
    ] {
        let (status, challenge, text) = send(&token, &proofs).await;
        assert_eq!(status, 401, "{text}");
        assert!(challenge.starts_with("DPoP error=\"invalid_dpop_proof\", algs=\"ES256 "), "{challenge}");
    }
    assert_eq!(world.up.count(), 1, "nothing of that reached a server");
    let metadata = here.replace("/mcp", "/.well-known/oauth-protected-resource");
    let told: Value = soon(world.http.get(metadata).send()).await.unwrap().json().await.unwrap();
    assert_eq!(told["dpop_bound_access_tokens_required"], true);
    assert_eq!(told["dpop_signing_alg_values_supported"][0], "ES256");
    // The token and its proofs stand nowhere.
    let events = serde_json::to_string(&world.events().await).unwrap();
    assert!(!events.contains(&token) && !events.contains("dpop+jwt"));
}
