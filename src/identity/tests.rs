use super::*;
use crate::{
    clock::Fake,
    model::Autonomy,
    policy::{Agent, ApiKey},
};
use std::collections::BTreeMap;

fn agent(name: &str, keys: &[&str]) -> (AgentId, Agent) {
    let id = AgentId::from(name);
    let agent = Agent {
        id: id.clone(),
        agent_type: "".into(),
        role: "".into(),
        tenant: "".into(),
        owner: "".into(),
        operator: None,
        attended: false,
        workflow: None,
        workflows: vec![],
        model: None,
        autonomy: Autonomy::Supervised,
        max_catalog_tokens: None,
        capabilities: vec![],
        keys: keys.iter().map(|k| ApiKey::new(key_digest(k.as_bytes()))).collect(),
        certificates: vec![],
    };
    (id, agent)
}

fn authority() -> Authority {
    let person = Person {
        id: PersonId::from("alice"),
        keys: vec![ApiKey::new(key_digest(b"alice-key"))],
        groups: vec![],
        roles: vec![Role::Approver],
        capabilities: None,
    };
    Authority {
        agents: BTreeMap::from([agent("a", &["key-a", "key-a2"]), agent("b", &["key-b"])]),
        people: BTreeMap::from([(person.id.clone(), person)]),
        ..Authority::default()
    }
}

fn door() -> (Arc<Fake>, Doorkeeper) {
    let clock = Fake::at("2026-01-01T00:00:00Z".parse().unwrap());
    (clock.clone(), Doorkeeper::new(clock))
}

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[test]
fn a_key_names_its_owner_and_nothing_else_does() {
    let (_, door) = door();
    let authority = authority();
    let check = |header: Option<&str>, anonymous: Option<&str>, expect: Result<&str, AuthError>| {
        let auth = AuthConfig { anonymous_agent: anonymous.map(AgentId::from), jwt: None };
        let got = door.authenticate(
            &Keyring::of(&authority),
            &authority,
            &auth,
            PEER,
            &Presented::header(header.map(str::as_bytes)),
        );
        assert_eq!(got.map(|p| p.key()), expect.map(str::to_owned), "{header:?} {anonymous:?}");
    };
    check(Some("Bearer key-a2"), None, Ok("agent:a"));
    check(Some("bearer   key-b "), None, Ok("agent:b"));
    check(Some("Bearer alice-key"), None, Ok("person:alice"));
    check(None, None, Err(AuthError::Missing));
    check(None, Some("b"), Ok("agent:b"));
    check(None, Some("nobody"), Err(AuthError::Missing));
    // A wrong key is 401 even where callers without a key are let in.
    check(Some("Bearer nope"), Some("b"), Err(AuthError::Unknown));
    check(Some("Basic key-a"), None, Err(AuthError::Unknown));
    check(Some("Bearer "), None, Err(AuthError::Unknown));
    check(Some("Bearer"), None, Err(AuthError::Unknown));
}

/// I12: whose key it is does not depend on how many there are, and a key of one is nobody else's.
#[test]
fn a_key_is_found_among_many() {
    let mut authority = authority();
    for number in 0..2_000 {
        let name = format!("agent-{number}");
        authority.agents.extend([agent(&name, &[&format!("key of {name}")])]);
    }
    let keyring = Keyring::of(&authority);
    let find = |key: &str| keyring.find(key_digest(key.as_bytes())).map(|(found, _)| found.key());
    for number in [0, 7, 1_999] {
        assert_eq!(find(&format!("key of agent-{number}")), Some(format!("agent:agent-{number}")));
    }
    assert_eq!(find("key-a2").as_deref(), Some("agent:a"));
    assert_eq!(find("alice-key").as_deref(), Some("person:alice"));
    assert_eq!(find("key of agent-2000"), None);
    // One bit is enough.
    let mut digest = key_digest(b"key-a");
    digest[31] ^= 1;
    assert!(keyring.find(digest).is_none());
    assert!(Keyring::default().find(key_digest(b"")).is_none());
}

#[test]
fn failures_are_limited_per_address_and_a_right_key_still_enters() {
    let (clock, door) = door();
    let authority = authority();
    let attempt = |key: &str| {
        door.authenticate(
            &Keyring::of(&authority),
            &authority,
            &AuthConfig::default(),
            PEER,
            &Presented::header(Some(format!("Bearer {key}").as_bytes())),
        )
    };
    for _ in 0..MAX_FAILURES {
        assert_eq!(attempt("wrong"), Err(AuthError::Unknown));
    }
    assert!(matches!(attempt("wrong"), Err(AuthError::RateLimited(_))));
    assert!(attempt("key-a").is_ok());
    clock.advance(FAILURE_WINDOW);
    assert_eq!(attempt("wrong"), Err(AuthError::Unknown));
}

#[test]
fn a_removed_key_or_agent_is_no_principal_any_more() {
    let (_, door) = door();
    let mut authority = authority();
    let principal = door
        .authenticate(
            &Keyring::of(&authority),
            &authority,
            &AuthConfig::default(),
            PEER,
            &Presented::header(Some(b"Bearer key-a")),
        )
        .unwrap();
    assert!(still_valid(&authority, &AuthConfig::default(), Timestamp::UNIX_EPOCH, &principal));
    authority.agents.get_mut("a").unwrap().keys.remove(0);
    assert!(!still_valid(&authority, &AuthConfig::default(), Timestamp::UNIX_EPOCH, &principal));
    let stdio = Principal::Agent(AgentPrincipal::new("a".into(), Proof::Stdio));
    assert!(still_valid(&authority, &AuthConfig::default(), Timestamp::UNIX_EPOCH, &stdio));
    authority.agents.remove("a");
    assert!(!still_valid(&authority, &AuthConfig::default(), Timestamp::UNIX_EPOCH, &stdio));
    assert!(!format!("{principal:?}").contains("key"));
}
