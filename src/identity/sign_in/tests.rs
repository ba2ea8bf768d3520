use super::{
    sessions::{MOST_OF_ONE, MOST_SESSIONS},
    *,
};
use crate::{clock::Fake, config::ClientAuth, policy::Person};
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;

fn rules() -> OidcConfig {
    OidcConfig {
        issuer: "https://idp.example".to_owned(),
        client_id: "tollgate".to_owned(),
        client_secret: None,
        auth_method: ClientAuth::Basic,
        public_url: "https://gate.example".to_owned(),
        scopes: vec!["profile".to_owned()],
        groups_claim: "groups".to_owned(),
        groups: None,
        person_claim: "sub".to_owned(),
        people: None,
        acr_values: Vec::new(),
        amr: Vec::new(),
        idle: Duration::from_secs(60),
        lifetime: Duration::from_secs(600),
    }
}

/// OpenID Connect Core, section 3.1.3.7, claim by claim.
#[test]
fn a_token_is_for_this_client_this_sign_in_and_this_moment() {
    let now: Timestamp = "2026-11-20T08:00:00Z".parse().unwrap();
    let at = now.as_second();
    let good = json!({"iss": "https://idp.example", "aud": "tollgate", "sub": "248", "nonce": "n-1", "iat": at - 5, "exp": at + 300});
    let strict = OidcConfig {
        acr_values: vec!["phr".to_owned(), "phrh".to_owned()],
        amr: vec!["otp".to_owned(), "pwd".to_owned()],
        ..rules()
    };
    let judged = |change: Value, rules: &OidcConfig| {
        let mut claims = good.as_object().unwrap().clone();
        for (name, value) in change.as_object().unwrap() {
            match value.is_null() {
                true => claims.remove(name),
                false => claims.insert(name.clone(), value.clone()),
            };
        }
        id_token::judge(&claims, rules, "n-1", now)
    };
    let check = |change: Value, expect: &str| match (judged(change.clone(), &rules()), expect) {
        (Ok(()), "") => {}
        (Err(why), expect) if !expect.is_empty() && why.contains(expect) => {}
        (got, _) => panic!("{change}: {got:?}"),
    };
    check(json!({}), "");
    check(json!({"aud": ["tollgate"]}), "");
    check(json!({"aud": ["tollgate", "other"], "azp": "tollgate"}), "");
    check(json!({"iss": "https://idp.example/"}), "another issuer");
    check(json!({"iss": null}), "another issuer");
    check(json!({"aud": "other"}), "another client");
    check(json!({"aud": ["other"]}), "another client");
    check(json!({"aud": ["tollgate", "other"]}), "another client");
    check(json!({"azp": "other"}), "another client");
    check(json!({"aud": null}), "another client");
    check(json!({"nonce": "n-2"}), "another sign-in");
    check(json!({"nonce": null}), "another sign-in");
    check(json!({"exp": at - 31}), "has expired");
    check(json!({"exp": null}), "never expires");
    check(json!({"exp": "soon"}), "not a number");
    check(json!({"iat": at - 601}), "long ago");
    check(json!({"iat": at + 31}), "in the future");
    check(json!({"iat": null}), "when it was made");
    check(json!({"nbf": at + 31}), "not valid yet");
    check(json!({"sub": ""}), "names nobody");
    check(json!({"sub": null}), "names nobody");
    // A second factor that the issuer did not ask for.
    assert!(judged(json!({}), &strict).unwrap_err().contains("acr_values"));
    assert!(
        judged(json!({"acr": "silver", "amr": ["pwd", "otp"]}), &strict).unwrap_err().contains("acr_values")
    );
    assert!(judged(json!({"acr": "phr", "amr": ["pwd"]}), &strict).unwrap_err().contains("amr"));
    assert_eq!(judged(json!({"acr": "phrh", "amr": ["pwd", "otp"]}), &strict), Ok(()));
}

/// Reading may come from a group alone; deciding and administering take the bundle's word too.
#[test]
fn groups_give_no_more_than_the_bundle_allows() {
    let mut authority = Authority::default();
    for (name, roles) in [("alice", vec![Role::Approver]), ("dave", vec![Role::Admin, Role::Approver])] {
        let person =
            Person { id: name.into(), keys: Vec::new(), groups: Vec::new(), roles, capabilities: None };
        authority.people.insert(person.id.clone(), person);
    }
    let of = |person: Option<&str>, groups: &[&str]| Identity {
        issuer: "https://idp.example".to_owned(),
        subject: "248\u{202e}".to_owned(),
        person: person.map(str::to_owned),
        groups: groups.iter().map(ToString::to_string).collect(),
    };
    let plain = rules();
    let (id, roles) = person_of(&plain, &of(Some("dave"), &["ops"]), &authority);
    assert_eq!((id.as_str(), roles), ("dave", vec![Role::Admin, Role::Approver]));
    let (id, roles) = person_of(&plain, &of(Some("mallory"), &[]), &authority);
    assert_eq!((id.as_str(), roles), ("oidc:248\\u{202e}", Vec::new()));
    let groups = BTreeMap::from([
        ("ops".to_owned(), vec![Role::Approver, Role::Viewer]),
        ("sec".to_owned(), vec![Role::Admin, Role::AuditorFull]),
    ]);
    let people = BTreeMap::from([("al@example.org".to_owned(), PersonId::from("alice"))]);
    let mapped = OidcConfig { groups: Some(groups), people: Some(people), ..rules() };
    let roles = |person: Option<&str>, groups: &[&str]| person_of(&mapped, &of(person, groups), &authority);
    assert_eq!(
        roles(Some("al@example.org"), &["ops", "sec"]).1,
        [Role::Approver, Role::AuditorFull, Role::Viewer]
    );
    assert_eq!(roles(Some("al@example.org"), &[]).1, []);
    // Who is not mapped is nobody of the bundle, whatever they are called there.
    let (id, own) = roles(Some("dave"), &["ops", "sec"]);
    assert_eq!((id.as_str(), own), ("oidc:248\\u{202e}", vec![Role::AuditorFull, Role::Viewer]));
    assert_eq!(roles(None, &["others"]).1, []);
}

/// Subjects are told apart whole, by people's names and in records.
#[test]
fn subjects_that_begin_alike_are_two() {
    let named = |end: char| {
        let subject = format!("{}{end}", "s".repeat(254));
        let identity =
            Identity { issuer: "https://idp.example".to_owned(), subject, person: None, groups: Vec::new() };
        (person_of(&rules(), &identity, &Authority::default()).0, identity.name())
    };
    let (one, other) = (named('1'), named('2'));
    assert!(one.0 != other.0 && one.1 != other.1, "{one:?}");
}

/// Who signs in with other groups than before has no session left with those.
#[test]
fn groups_that_are_gone_end_with_the_next_sign_in() {
    let sign_in = SignIn::new(Fake::at("2026-11-20T08:00:00Z".parse().unwrap()));
    let rules = Arc::new(rules());
    let open = |subject: &str, groups: &[&str]| {
        let claims = json!({"sub": subject, "groups": groups});
        sign_in.open(&rules, identity(&rules, claims.as_object().unwrap()))
    };
    let lives = |token: &str| sign_in.session(token.as_bytes(), Some(&rules), false).is_some();
    let (laptop, other) = (open("one", &["ops", "sec"]), open("other", &["sec"]));
    let phone = open("one", &["sec", "ops"]);
    assert!(lives(&laptop) && lives(&phone) && lives(&other), "the same groups in another order");
    let now = open("one", &["ops"]);
    assert!(!lives(&laptop) && !lives(&phone) && lives(&now) && lives(&other));
}

/// An address that nobody has checked names nobody.
#[test]
fn an_unverified_address_names_nobody() {
    let by_mail = OidcConfig { person_claim: "email".to_owned(), ..rules() };
    let of = |claims: Value| identity(&by_mail, claims.as_object().unwrap()).person;
    assert_eq!(
        of(json!({"sub": "1", "email": "a@b.example", "email_verified": true})).as_deref(),
        Some("a@b.example")
    );
    assert_eq!(of(json!({"sub": "1", "email": "a@b.example", "email_verified": false})), None);
    assert_eq!(of(json!({"sub": "1", "email": "a@b.example"})), None);
}

#[test]
fn sessions_are_bounded_for_all_and_for_one() {
    let clock = Fake::at("2026-11-20T08:00:00Z".parse().unwrap());
    let sign_in = SignIn::new(clock.clone());
    let rules = Arc::new(rules());
    let open = |subject: &str| {
        clock.advance(Duration::from_millis(1));
        let identity = Identity {
            issuer: rules.issuer.clone(),
            subject: subject.to_owned(),
            person: None,
            groups: Vec::new(),
        };
        sign_in.open(&rules, identity)
    };
    let lives = |token: &str| sign_in.session(token.as_bytes(), Some(&rules), false).is_some();
    let other = open("other");
    let own: Vec<String> = (0..=MOST_OF_ONE).map(|_| open("one")).collect();
    assert!(!lives(&own[0]) && own[1..].iter().all(|token| lives(token)) && lives(&other));
    let many: Vec<String> = (0..MOST_SESSIONS).map(|at| open(&format!("p{at}"))).collect();
    assert!(!lives(&other) && !lives(&own[1]) && many.iter().all(|token| lives(token)));
    assert!(sign_in.session(many[0].as_bytes(), None, false).is_none(), "without rules nobody is signed in");
    sign_in.end(many[1].as_bytes());
    assert!(!lives(&many[1]));
    clock.advance(Duration::from_secs(61));
    assert!(!many.iter().any(|token| lives(token)));
}

#[test]
fn an_answer_counts_once() {
    let sign_in = SignIn::new(Fake::at("2026-11-20T08:00:00Z".parse().unwrap()));
    assert_eq!(sign_in.use_once("state"), Ok(()));
    assert!(matches!(sign_in.use_once("state"), Err(SignInError::Refused(_))));
    for at in 1..MOST_USED {
        assert_eq!(sign_in.use_once(&at.to_string()), Ok(()));
    }
    assert!(matches!(sign_in.use_once("1"), Err(SignInError::Refused(_))));
    // Junk keeps nobody out: the oldest is forgotten.
    assert_eq!(sign_in.use_once("one too many"), Ok(()));
    assert!(matches!(sign_in.use_once("one too many"), Err(SignInError::Refused(_))));
    assert!(sign_in.used.lock().known.len() <= MOST_USED && sign_in.used.lock().order.len() <= MOST_USED);
}
