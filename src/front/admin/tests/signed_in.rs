//! People who signed in by an issuer: what a cookie opens, and what a request that is not of our own page does with it.

use super::*;
use crate::{
    config::{ClientAuth, OidcConfig},
    identity::Identity,
};
use std::time::Duration;

/// An issuer that nobody asks: what is refused here is refused before.
fn rules(public_url: &str) -> Arc<OidcConfig> {
    Arc::new(OidcConfig {
        issuer: "https://127.0.0.1:1".to_owned(),
        client_id: "tollgate".to_owned(),
        client_secret: None,
        auth_method: ClientAuth::Basic,
        public_url: public_url.to_owned(),
        scopes: Vec::new(),
        groups_claim: "groups".to_owned(),
        groups: None,
        person_claim: "sub".to_owned(),
        people: None,
        acr_values: Vec::new(),
        amr: Vec::new(),
        idle: Duration::from_secs(1_800),
        lifetime: Duration::from_secs(8 * 3_600),
    })
}

const HERE: &str = "http://127.0.0.1:8788";

/// Somebody signed in: the token that their browser has.
fn signed_in(port: &Scripted, name: &str) -> String {
    let rules = port.in_force().config.admin.oidc.clone().unwrap();
    let identity = Identity {
        issuer: rules.issuer.clone(),
        subject: name.to_owned(),
        person: Some(name.to_owned()),
        groups: Vec::new(),
    };
    port.sign_in().open(&rules, identity)
}

fn asked(method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "127.0.0.1:8788");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

#[tokio::test]
async fn a_session_is_a_person_until_it_is_over() {
    let port = scripted();
    port.with_oidc(rules(HERE));
    let token = signed_in(&port, "bob");
    let cookie = format!("tollgate-session={token}");
    let me =
        async |headers: &[(&str, &str)]| send(&port, asked(Method::GET, "/api/v1/me", headers, "")).await;
    let own = me(&[("cookie", &cookie)]).await;
    assert_eq!(
        (own.status.as_u16(), &own.body["id"], &own.body["roles"]),
        (200, &json!("bob"), &json!(["approver"]))
    );
    assert_eq!(own.body["subject"], "oidc:https://127.0.0.1:1#bob");
    assert!(own.body["csrf"].as_str().unwrap().len() > 40);
    // Nobody else's cookie, none of two, and none beside a key that nobody has.
    for wrong in ["tollgate-session=x".to_owned(), format!("{cookie}; {cookie}"), format!("__Host-{cookie}")]
    {
        assert_eq!(me(&[("cookie", &wrong)]).await.status, 401, "{wrong}");
    }
    assert_eq!(me(&[("cookie", &cookie), ("authorization", "Bearer wrong")]).await.status, 401);
    let key = me(&[("cookie", &cookie), ("authorization", "Bearer key-of-carol")]).await;
    assert_eq!((&key.body["id"], &key.body["csrf"]), (&json!("carol"), &Value::Null));
    // Roles are those of now.
    port.change(|authority| authority.people.get_mut("bob").unwrap().roles = vec![Role::Viewer]);
    port.with_oidc(rules(HERE));
    assert_eq!(me(&[("cookie", &cookie)]).await.body["roles"], json!(["approver"]));
    // What a page asks by itself keeps nobody signed in, and what a person does does.
    port.clock.advance(Duration::from_secs(1_000));
    assert_eq!(me(&[("cookie", &cookie)]).await.status, 200);
    port.clock.advance(Duration::from_secs(1_000));
    assert_eq!(me(&[("cookie", &cookie), ("tollgate-idle", "1")]).await.status, 200);
    port.clock.advance(Duration::from_secs(900));
    assert_eq!(me(&[("cookie", &cookie), ("tollgate-idle", "1")]).await.status, 401);
    let busy = format!("tollgate-session={}", signed_in(&port, "bob"));
    for _ in 0..16 {
        port.clock.advance(Duration::from_secs(1_750));
        me(&[("cookie", &busy)]).await;
    }
    assert_eq!(me(&[("cookie", &busy)]).await.status, 200);
    port.clock.advance(Duration::from_secs(1_750));
    assert_eq!(me(&[("cookie", &busy)]).await.status, 401, "eight hours are over");
    // Under other rules nobody is signed in.
    let other = format!("tollgate-session={}", signed_in(&port, "bob"));
    port.with_oidc(rules("http://localhost:8788"));
    assert_eq!(me(&[("cookie", &other)]).await.status, 401);
}

/// The header of a page's own script, its origin, and what the browser says of it: each is needed.
#[tokio::test]
async fn a_request_that_is_not_of_the_page_changes_nothing() {
    let port = scripted();
    port.with_oidc(rules(HERE));
    port.memory.approvals.lock().push(record("a1", false));
    let cookie = format!("tollgate-session={}", signed_in(&port, "bob"));
    let me = send(&port, asked(Method::GET, "/api/v1/me", &[("cookie", &cookie)], "")).await;
    let csrf = me.body["csrf"].as_str().unwrap().to_owned();
    let whole = [
        ("cookie", cookie.as_str()),
        ("origin", HERE),
        ("tollgate-csrf", csrf.as_str()),
        ("sec-fetch-site", "same-origin"),
    ];
    let decide = async |headers: &[(&str, &str)]| {
        let path = "/api/v1/approvals/a1/decision";
        send(&port, asked(Method::POST, path, headers, r#"{"decision":"approve"}"#)).await.status.as_u16()
    };
    for left_out in ["origin", "tollgate-csrf"] {
        let rest: Vec<_> = whole.into_iter().filter(|(name, _)| *name != left_out).collect();
        assert_eq!(decide(&rest).await, 403, "without {left_out}");
    }
    let other = signed_in(&port, "bob");
    let others = send(
        &port,
        asked(Method::GET, "/api/v1/me", &[("cookie", &format!("tollgate-session={other}"))], ""),
    )
    .await;
    for (name, value) in [
        ("origin", "http://localhost:8788"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("tollgate-csrf", "x"),
        ("tollgate-csrf", others.body["csrf"].as_str().unwrap()),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "none"),
    ] {
        let forged: Vec<_> =
            whole.into_iter().map(|(known, own)| (known, if known == name { value } else { own })).collect();
        assert_eq!(decide(&forged).await, 403, "{name}: {value}");
    }
    assert!(port.memory.approvals.lock()[0].answers.is_empty());
    // What only looks is not for other sites' pages either.
    for site in ["cross-site", "same-site"] {
        let looks = [("cookie", cookie.as_str()), ("sec-fetch-site", site)];
        assert_eq!(
            send(&port, asked(Method::GET, "/api/v1/approvals", &looks, "")).await.status,
            403,
            "{site}"
        );
    }
    assert_eq!(decide(&whole).await, 200);
    let told = port.memory.events.lock().last().unwrap().draft.clone();
    let detail = told.detail.unwrap();
    assert_eq!(
        (&detail["person"], &detail["subject"]),
        (&json!("bob"), &json!("oidc:https://127.0.0.1:1#bob"))
    );
    // Signing out is one of these, and ends the session for good.
    let leave = async |headers: &[(&str, &str)]| {
        send(&port, asked(Method::DELETE, "/api/v1/session", headers, "")).await
    };
    assert_eq!(leave(&whole[..1]).await.status, 403);
    let left = leave(&whole).await;
    assert_eq!(left.status, 200);
    let forgets = left.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(
        forgets.starts_with("tollgate-session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"),
        "{forgets}"
    );
    assert_eq!(leave(&whole).await.status, 401);
}

/// An answer of an issuer is for the browser that began, and nothing says where that goes next.
#[tokio::test]
async fn an_answer_nobody_asked_for_signs_nobody_in() {
    let port = scripted();
    port.with_oidc(rules(HERE));
    let callback = async |query: &str, cookie: &str| {
        send(&port, asked(Method::GET, &format!("/signin/callback{query}"), &[("cookie", cookie)], "")).await
    };
    for (query, cookie) in [
        ("?code=c&state=s", ""),
        ("?code=c&state=s", "tollgate-signin=forged"),
        ("?error=access_denied", ""),
        ("", ""),
    ] {
        let got = callback(query, cookie).await;
        assert_eq!(got.status, 403, "{query} {cookie}: {}", got.text);
        let mut cookies = got.headers.get_all(header::SET_COOKIE).iter();
        assert!(cookies.all(|set| set.to_str().unwrap().starts_with("tollgate-signin=;")));
    }
    let ticket = json!({"state": "right", "nonce": "n", "verifier": "v", "issuer": "https://127.0.0.1:1"});
    let attempt = json!({"ticket": ticket, "ask": null}).to_string();
    let sealed = port.seal().seal(&attempt, b"tollgate sign-in 2", Duration::from_secs(60)).unwrap();
    let cookie = format!("tollgate-signin={sealed}");
    let wrong = callback("?code=c&state=wrong", &cookie).await;
    assert!(wrong.status == 403 && wrong.text.contains("not of the sign-in"), "{}", wrong.text);
    // Refused answers of one peer count as wrong keys do.
    let mut last = 0;
    for _ in 0..30 {
        last = callback("?code=c&state=wrong", &cookie).await.status.as_u16();
    }
    assert_eq!(last, 429);
    let twice = callback("?code=c&state=right&state=wrong", &cookie).await;
    assert_eq!(twice.status, 400);
    // The right one is asked about at the issuer, which is not there.
    let right = callback("?code=c&state=right", &cookie).await;
    assert_eq!((right.status.as_u16(), error_code(&right)), (503, "issuer_unavailable"), "{}", right.text);
    assert_eq!(
        send(&port, asked(Method::GET, "/signin?next=https://evil.example", &[], "")).await.status,
        400
    );
    let elsewhere = Request::builder().uri("/signin").header(header::HOST, "localhost:8788");
    let sent = send(&port, elsewhere.body(Body::empty()).unwrap()).await;
    // A proxy that writes its own `Host` would be sent to itself for ever.
    assert!(
        sent.status == 400
            && sent.text.contains("http://127.0.0.1:8788/signin")
            && sent.text.contains("pass `Host`"),
        "{}",
        sent.text
    );
    assert!(!sent.headers.contains_key(header::LOCATION));
    assert!(!sent.headers.contains_key(header::SET_COOKIE));
}

/// Over TLS a cookie is of this host alone.
#[tokio::test]
async fn a_session_over_tls_is_a_host_cookie() {
    let port = scripted();
    port.with_oidc(rules("https://gate.example"));
    let token = signed_in(&port, "bob");
    let me = async |name: &str| {
        let request = Request::builder()
            .uri("/api/v1/me")
            .header(header::HOST, "gate.example")
            .header(header::COOKIE, format!("{name}={token}"));
        send(&port, request.body(Body::empty()).unwrap()).await.status.as_u16()
    };
    assert_eq!((me("__Host-tollgate-session").await, me("tollgate-session").await), (200, 401));
}

/// A session has the roles that its groups give, whatever else authority.yaml gives its person.
#[tokio::test]
async fn a_grant_is_revoked_by_the_roles_of_the_session() {
    let port = scripted();
    let groups = |roles: Vec<Role>| Some([("ops".to_owned(), roles)].into());
    let mapped =
        |roles| Arc::new(OidcConfig { groups: groups(roles), ..Arc::into_inner(rules(HERE)).unwrap() });
    for (given, status) in [(vec![Role::Approver], 403), (vec![Role::Approver, Role::Admin], 200)] {
        port.with_oidc(mapped(given));
        port.change(|authority| {
            authority.people.get_mut("dave").unwrap().roles = vec![Role::Admin, Role::Approver];
        });
        port.memory.grants.lock().clear();
        port.memory.grants.lock().push(made_grant(&grantable("a1")));
        let rules = port.in_force().config.admin.oidc.clone().unwrap();
        let identity = Identity {
            issuer: rules.issuer.clone(),
            subject: "dave".to_owned(),
            person: Some("dave".to_owned()),
            groups: vec!["ops".to_owned()],
        };
        let cookie = format!("tollgate-session={}", port.sign_in().open(&rules, identity));
        let me = send(&port, asked(Method::GET, "/api/v1/me", &[("cookie", &cookie)], "")).await;
        let csrf = me.body["csrf"].as_str().unwrap().to_owned();
        let whole = [("cookie", cookie.as_str()), ("origin", HERE), ("tollgate-csrf", csrf.as_str())];
        let revoked = send(&port, asked(Method::DELETE, "/api/v1/grants/grant-a1", &whole, "")).await;
        assert_eq!(revoked.status, status, "{}: {}", me.text, revoked.text);
    }
}
