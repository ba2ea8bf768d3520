use super::*;
use crate::{
    clock::{Fake, System},
    model::ClientAuth,
    store::embedded::EmbeddedStore,
    upstream::oauth::{Begun as Asked, KnownClient},
};
use std::time::Duration;

struct World {
    connections: Arc<Connections>,
    clock: Arc<Fake>,
    _folder: tempfile::TempDir,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let system = Arc::new(System::default());
    let path = folder.path().join("tollgate.db");
    let durability = crate::config::Durability::Commit;
    let store = EmbeddedStore::open(&path, folder.path(), durability, system.owner_id()).unwrap();
    let clock = Fake::at(jiff::Timestamp::from_second(1_800_000_000).unwrap());
    let connections = Connections::new(store, clock.clone(), system);
    World { connections, clock, _folder: folder }
}

fn begun(person: &str, state: &str, now: Duration) -> Begun {
    let asked = Asked {
        url: "https://login.example/auth".parse().unwrap(),
        state: state.to_owned(),
        verifier: "v".to_owned().into(),
        issuer: "https://login.example".to_owned(),
        names_itself: true,
        token_url: "https://login.example/token".to_owned(),
        revocation_url: None,
        resource: "https://crm.example/mcp".to_owned(),
        scopes: Vec::new(),
    };
    let client = KnownClient { id: "c".to_owned(), secret: None, auth_method: ClientAuth::Basic };
    let key = ConnectionKey { upstream: "crm".into(), holder: Holder::Person(person.into()) };
    Begun::for_tests(key, person, client, asked, now)
}

fn answer(state: &str, iss: Option<&str>) -> Answer {
    Answer {
        code: Some("code".to_owned()),
        state: Some(state.to_owned()),
        iss: iss.map(str::to_owned),
        error: None,
    }
}

/// An answer counts in the browser that began, once, in time, and where it names its issuer.
#[tokio::test]
async fn an_answer_is_of_its_attempt() {
    let World { connections, clock, _folder } = world();
    let begin = |state: &str| {
        connections.await_answer(begun("alice", state, clock.monotonic()), [1; 32]).unwrap();
    };
    let refused = async |answer: Answer, browser: u8| {
        let error = connections.answered(&answer, &[browser; 32]).await.unwrap_err();
        error.to_string()
    };
    let issuer = Some("https://login.example");
    begin("one");
    assert!(refused(answer("one", issuer), 2).await.contains("this browser began"));
    assert!(refused(answer("two", issuer), 1).await.contains("this browser began"));
    assert!(refused(answer("", issuer), 1).await.contains("this browser began"));
    assert!(refused(answer("one", Some("https://evil.example")), 1).await.contains("another issuer"));
    // It was used.
    assert!(refused(answer("one", issuer), 1).await.contains("this browser began"));
    begin("mute");
    assert!(refused(answer("mute", None), 1).await.contains("of which issuer"));
    begin("denied");
    let denied = Answer { code: None, error: Some("access_denied".to_owned()), ..answer("denied", issuer) };
    assert!(refused(denied, 1).await.contains("`access_denied`"));
    begin("late");
    clock.advance(LONGEST_WAIT);
    assert!(refused(answer("late", issuer), 1).await.contains("too late"));
}

/// Whoever begins without end gives up what they began first, and keeps nobody else out.
#[tokio::test]
async fn one_persons_attempts_leave_room_for_others() {
    let World { connections, clock, _folder } = world();
    let begin = |person: &str, state: &str| {
        connections.await_answer(begun(person, state, clock.monotonic()), [1; 32]).unwrap();
    };
    begin("bob", "bobs");
    for number in 0..1_000 {
        begin("alice", &format!("a{number}"));
    }
    // Found, and refused for another reason only.
    let mute = async |state: &str| {
        connections.answered(&answer(state, None), &[1; 32]).await.unwrap_err().to_string()
    };
    assert!(mute("a994").await.contains("this browser began"));
    for kept in ["a995", "a999", "bobs"] {
        assert!(mute(kept).await.contains("of which issuer"), "{kept}");
    }
}
