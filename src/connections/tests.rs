use super::*;
use crate::upstream::Credentials as _;
use crate::{
    clock::{Fake, System},
    model::ClientAuth,
    store::embedded::EmbeddedStore,
    upstream::oauth::{Begun as Asked, KnownClient},
};
use std::time::Duration;

struct World {
    connections: Arc<Connections>,
    store: Arc<EmbeddedStore>,
    clock: Arc<Fake>,
    folder: tempfile::TempDir,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let (system, durability) = (Arc::new(System::default()), crate::config::Durability::Commit);
    let path = folder.path().join("tollgate.db");
    let store =
        EmbeddedStore::open(&path, folder.path(), durability, system.owner_id(), system.clone()).unwrap();
    let clock = Fake::at(jiff::Timestamp::from_second(1_800_000_000).unwrap());
    let connections = Connections::new(store.clone(), clock.clone(), system);
    World { connections, store, clock, folder }
}

impl World {
    /// The same store as another process has it, which has a data folder of its own.
    fn another_process(&self, url: &str) -> Arc<Connections> {
        let other = Connections::new(self.store.clone(), self.clock.clone(), Arc::new(System::default()));
        other.configure(&configured(&self.folder.path().join("other"), url));
        other
    }
}

const MCP: &str = "http://127.0.0.1:1/mcp";

/// A configuration with the upstream `crm`, and a data folder.
fn configured(folder: &std::path::Path, url: &str) -> Arc<Config> {
    std::fs::create_dir_all(folder.join("policies")).unwrap();
    std::fs::create_dir_all(folder.join("data")).unwrap();
    let files = [
        (
            "servers.toml",
            format!(
                "[gateway]\ndata_dir = \"data\"\n[upstreams.crm]\nurl = \"{url}\"\noauth = {{ grant = \"authorization_code\" }}\n"
            ),
        ),
        ("policies/bundle.yaml", "version: \"1\"\nowner: tests\ndefault_decision: ALLOW\n".to_owned()),
        ("policies/authority.yaml", "agents: {}\n".to_owned()),
    ];
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let loaded = crate::config::load(&folder.join("servers.toml"), &|_| None);
    Arc::new(loaded.unwrap_or_else(|problems| panic!("{problems}")).config)
}

fn crm() -> ConnectionKey {
    ConnectionKey { upstream: "crm".into(), holder: Holder::Gateway }
}

/// A token endpoint: what it was asked, what it answers, and whether it waits with that.
#[derive(Clone)]
struct Endpoint {
    url: String,
    asked: Arc<tokio::sync::Semaphore>,
    answers: Arc<Mutex<(u16, serde_json::Value)>>,
    may_answer: Arc<tokio::sync::Semaphore>,
}

impl Endpoint {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Self {
            url: format!("http://{}/token", listener.local_addr().unwrap()),
            asked: Arc::new(tokio::sync::Semaphore::new(0)),
            answers: Arc::default(),
            may_answer: Arc::new(tokio::sync::Semaphore::new(0)),
        };
        let answering = endpoint.clone();
        let answer = move || {
            let Endpoint { asked, answers, may_answer, .. } = answering.clone();
            async move {
                asked.add_permits(1);
                may_answer.acquire().await.unwrap().forget();
                let (status, body) = answers.lock().clone();
                (axum::http::StatusCode::from_u16(status).unwrap(), axum::Json(body))
            }
        };
        let router = axum::Router::new().route("/token", axum::routing::post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        endpoint
    }

    fn answers(&self, times: usize, status: u16, body: serde_json::Value) {
        *self.answers.lock() = (status, body);
        self.may_answer.add_permits(times);
    }

    /// Ends once it was asked.
    async fn was_asked(&self) {
        self.asked.acquire().await.unwrap().forget();
    }

    /// A code that it gives a token for.
    fn begun(&self, now: jiff::Timestamp) -> Begun {
        let client =
            KnownClient { id: "c".to_owned(), secret: None, auth_method: ClientAuth::Basic, expires: None };
        let asked = Asked { token_url: self.url.clone(), resource: MCP.to_owned(), ..asked("state") };
        Begun::for_tests(crm(), "alice", client, asked, now)
    }
}

fn token(access: &str, lasts: u64) -> serde_json::Value {
    serde_json::json!({
        "access_token": access, "token_type": "Bearer", "expires_in": lasts, "refresh_token": format!("{access}-refresh"),
    })
}

async fn text_of(connections: &Connections) -> Result<String, String> {
    let held = connections.token_of(&crm(), None).await?;
    Ok(held.access_token.expose_secret().to_owned())
}

/// Connected, with a token that lasts so many seconds.
async fn connected(world: &World, endpoint: &Endpoint, lasts: u64) {
    world.connections.configure(&configured(world.folder.path(), MCP));
    endpoint.answers(1, 200, token("first", lasts));
    let issuer = Some("https://login.example");
    let begun = endpoint.begun(world.clock.now());
    world.connections.finish(begun, &answer("state", issuer), "test").await.unwrap();
    endpoint.was_asked().await;
    assert_eq!(text_of(&world.connections).await.unwrap(), "first");
}

async fn actions(world: &World) -> Vec<String> {
    let events = world.store.events(crate::store::EventQuery::default()).await.unwrap();
    events.iter().filter_map(|event| event.draft.action.as_deref().map(str::to_owned)).collect()
}

fn asked(state: &str) -> Asked {
    Asked {
        state: state.to_owned(),
        verifier: "v".to_owned().into(),
        issuer: "https://login.example".to_owned(),
        names_itself: true,
        token_url: "https://login.example/token".to_owned(),
        revocation_url: None,
        resource: "https://crm.example/mcp".to_owned(),
        scopes: Vec::new(),
    }
}

fn begun(person: &str, state: &str, now: jiff::Timestamp) -> Begun {
    let asked = asked(state);
    let client =
        KnownClient { id: "c".to_owned(), secret: None, auth_method: ClientAuth::Basic, expires: None };
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
    let world = world();
    let World { connections, clock, store, .. } = &world;
    let begin = async |state: &str| {
        connections.await_answer(&begun("alice", state, clock.now()), &[1; 32]).await.unwrap();
    };
    let refused = async |answer: Answer, browser: u8| {
        let error = connections.answered(&answer, &[browser; 32]).await.unwrap_err();
        error.to_string()
    };
    let issuer = Some("https://login.example");
    begin("one").await;
    assert!(refused(answer("one", issuer), 2).await.contains("this browser began"));
    assert!(refused(answer("two", issuer), 1).await.contains("this browser began"));
    assert!(refused(answer("", issuer), 1).await.contains("this browser began"));
    assert!(refused(answer("one", Some("https://evil.example")), 1).await.contains("another issuer"));
    // It was used.
    assert!(refused(answer("one", issuer), 1).await.contains("this browser began"));
    begin("mute").await;
    assert!(refused(answer("mute", None), 1).await.contains("of which issuer"));
    begin("denied").await;
    let denied = Answer { code: None, error: Some("access_denied".to_owned()), ..answer("denied", issuer) };
    assert!(refused(denied, 1).await.contains("`access_denied`"));
    begin("late").await;
    clock.advance(LONGEST_WAIT);
    assert!(refused(answer("late", issuer), 1).await.contains("too late"));
    // What nobody answers stays in the vault no longer.
    begin("left").await;
    let (vault, name) = (store.vault().unwrap(), attempts::name_of(&[1; 32], "left"));
    assert!(vault.credential(name.clone()).await.unwrap().is_some());
    clock.advance(LONGEST_WAIT);
    vault.retire(clock.now()).await.unwrap();
    assert!(vault.credential(name).await.unwrap().is_none());
}

/// The issuer sends a browser back to whichever process it reaches: there the attempt is found, once, and what comes of it is used
/// by all.
#[tokio::test]
async fn an_answer_may_come_to_another_process() {
    let (world, endpoint) = (world(), Endpoint::start().await);
    let begins = &world.connections;
    begins.configure(&configured(world.folder.path(), MCP));
    let ends = world.another_process(MCP);
    endpoint.answers(1, 200, token("first", 3_600));
    begins.await_answer(&endpoint.begun(world.clock.now()), &[1; 32]).await.unwrap();
    let answer = answer("state", Some("https://login.example"));
    let (key, by) = ends.answered(&answer, &[1; 32]).await.unwrap();
    assert_eq!((key, by), (crm(), Some("alice".into())));
    let again = begins.answered(&answer, &[1; 32]).await.unwrap_err().to_string();
    assert!(again.contains("begin again"), "{again}");
    begins.read().await.unwrap();
    for connections in [begins, &ends] {
        assert_eq!(text_of(connections).await.unwrap(), "first");
    }
    assert_eq!(endpoint.asked.available_permits(), 1);
}

/// Whoever begins without end gives up what they began first, and keeps nobody else out.
#[tokio::test]
async fn one_persons_attempts_leave_room_for_others() {
    let world = world();
    let World { connections, clock, .. } = &world;
    let begin = async |person: &str, state: &str| {
        connections.await_answer(&begun(person, state, clock.now()), &[1; 32]).await.unwrap();
    };
    begin("bob", "bobs").await;
    for number in 0..1_000 {
        begin("alice", &format!("a{number}")).await;
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

/// A renewal that the issuer refuses ends the credential that it was about, and no other that somebody connected meanwhile.
#[tokio::test]
async fn a_refused_renewal_leaves_what_was_connected_meanwhile() {
    let (world, endpoint) = (world(), Endpoint::start().await);
    connected(&world, &endpoint, 60).await;
    let other = world.another_process(MCP);
    other.read().await.unwrap();
    world.clock.advance(Duration::from_secs(61));
    let renewing = tokio::spawn({
        let connections = world.connections.clone();
        async move { text_of(&connections).await }
    });
    endpoint.was_asked().await;
    // Another machine connects it anew, with an endpoint of its own.
    let second = Endpoint::start().await;
    second.answers(1, 200, token("second", 3_600));
    let begun = second.begun(world.clock.now());
    other.finish(begun, &answer("state", Some("https://login.example")), "test").await.unwrap();
    endpoint.answers(1, 400, serde_json::json!({"error": "invalid_grant"}));
    assert_eq!(renewing.await.unwrap().unwrap(), "second");
    assert_eq!(text_of(&other).await.unwrap(), "second");
    assert!(!actions(&world).await.contains(&"credential_lost".to_owned()));
}

/// What somebody disconnected in another process is not connected again by what this one knows of before.
#[tokio::test]
async fn what_a_process_knew_brings_nothing_back() {
    let (world, endpoint) = (world(), Endpoint::start().await);
    connected(&world, &endpoint, 3_600).await;
    let generation = world.connections.generation(&crm()).unwrap();
    world.another_process(MCP).disconnect(&crm(), None).await.unwrap();
    let wants = Some("more".to_owned());
    world.connections.insufficient(&crm(), generation, wants.clone()).await;
    world.connections.read().await.unwrap();
    assert_eq!(world.connections.list(), []);
    // Nor does it ask more of what was connected since.
    world.clock.advance(Duration::from_secs(1));
    connected(&world, &endpoint, 3_600).await;
    world.connections.insufficient(&crm(), generation, wants.clone()).await;
    assert_eq!(world.connections.get(&crm()).unwrap().wants, Vec::<String>::new());
    let generation = world.connections.generation(&crm()).unwrap();
    world.connections.insufficient(&crm(), generation, wants).await;
    assert_eq!(world.connections.get(&crm()).unwrap().wants, ["more"]);
}

/// Two that read at the same time leave what was read last.
#[tokio::test]
async fn what_was_read_first_is_not_taken_in_last() {
    let (world, endpoint) = (world(), Endpoint::start().await);
    connected(&world, &endpoint, 3_600).await;
    let before = world.store.register(Register::Connection).await.unwrap();
    let (answer, answered) = tokio::sync::oneshot::channel();
    let mut first = std::pin::pin!(world.connections.read_by(async { Ok(answered.await.unwrap()) }));
    assert!(futures::poll!(&mut first).is_pending());
    let mut second = std::pin::pin!(world.connections.read_by(async { Ok(Vec::new()) }));
    assert!(futures::poll!(&mut second).is_pending());
    answer.send(before).unwrap();
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(world.connections.list(), []);
}

/// A credential that nobody can read any more is not connected, so that somebody is asked; and so is one of another URL, for as
/// long as the upstream has that.
#[tokio::test]
async fn what_cannot_be_used_is_not_connected() {
    let (world, endpoint) = (world(), Endpoint::start().await);
    connected(&world, &endpoint, 3_600).await;
    let connections = &world.connections;
    connections.configure(&configured(&world.folder.path().join("moved"), "http://127.0.0.1:1/other"));
    assert!(!connections.is_connected(&crm()) && connections.generation(&crm()).is_none());
    let Standing::Lost(why) = connections.get(&crm()).unwrap().standing else { panic!("it is connected") };
    assert!(why.contains("another URL"), "{why}");
    assert!(text_of(connections).await.unwrap_err().contains("another URL"));
    connections.configure(&configured(world.folder.path(), MCP));
    assert!(connections.is_connected(&crm()));
    assert_eq!(text_of(connections).await.unwrap(), "first");
    // A store that came back without its vault.
    let vault = world.store.vault().unwrap();
    vault.remove_credential(Connections::vault_name(&crm()), None).await.unwrap();
    assert!(text_of(connections).await.unwrap_err().contains("not in the vault"));
    assert!(!connections.is_connected(&crm()));
    assert_eq!(actions(&world).await.iter().filter(|action| *action == "credential_lost").count(), 1);
}

/// An upstream that takes no token for a moment ends nothing and makes the issuer work once; one that goes on for minutes does.
#[tokio::test]
async fn refusals_end_a_connection_when_they_go_on() {
    let (world, endpoint) = (world(), Endpoint::start().await);
    connected(&world, &endpoint, 3_600).await;
    let connections = &world.connections;
    let refuse = async || connections.rejected(&crm(), &"first".to_owned().into()).await;
    refuse().await;
    assert!(connections.is_connected(&crm()));
    for refused in [None, Some("first".to_owned().into())] {
        let held = connections.token_of(&crm(), refused.as_ref()).await;
        assert!(held.unwrap_err().contains("does not take"));
    }
    assert_eq!(endpoint.asked.available_permits(), 0);
    connections.accepted(&crm());
    assert_eq!(text_of(connections).await.unwrap(), "first");
    for _ in 0..4 {
        refuse().await;
        assert!(connections.is_connected(&crm()));
        world.clock.advance(Duration::from_secs(50));
    }
    refuse().await;
    assert!(!connections.is_connected(&crm()));
    let Standing::Lost(why) = connections.get(&crm()).unwrap().standing else { panic!("it is connected") };
    assert!(why.contains("for minutes"), "{why}");
}

/// Of many who wait for a token that cannot be renewed one asks the issuer, and one record says so.
#[tokio::test]
async fn a_failed_renewal_is_everybodys() {
    let (world, endpoint) = (world(), Endpoint::start().await);
    connected(&world, &endpoint, 60).await;
    world.clock.advance(Duration::from_secs(61));
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let connections = world.connections.clone();
            tokio::spawn(async move { text_of(&connections).await })
        })
        .collect();
    endpoint.was_asked().await;
    endpoint.answers(1, 503, serde_json::json!({}));
    for one in waiting {
        assert!(one.await.unwrap().unwrap_err().contains("503"));
    }
    assert_eq!(endpoint.asked.available_permits(), 0);
    for pause in [5, 5, 60] {
        world.clock.advance(Duration::from_secs(pause));
        endpoint.may_answer.add_permits(1);
        assert!(text_of(&world.connections).await.unwrap_err().contains("503"));
        endpoint.was_asked().await;
    }
    let recorded = actions(&world).await;
    assert_eq!(
        recorded.iter().filter(|action| *action == "credential_not_renewed").count(),
        2,
        "{recorded:?}"
    );
    world.clock.advance(Duration::from_secs(5));
    endpoint.answers(1, 200, token("second", 60));
    assert_eq!(text_of(&world.connections).await.unwrap(), "second");
}

/// A browser that goes away while its code is exchanged takes nothing with it.
#[tokio::test]
async fn what_the_issuer_gave_is_kept_whoever_leaves() {
    let (world, endpoint) = (world(), Endpoint::start().await);
    let connections = &world.connections;
    connections.configure(&configured(world.folder.path(), MCP));
    let begun = endpoint.begun(world.clock.now());
    let answer = answer("state", Some("https://login.example"));
    tokio::select! {
        done = connections.finish(begun, &answer, "test") => panic!("{done:?}"),
        () = endpoint.was_asked() => {}
    }
    let mut changes = connections.changes();
    endpoint.answers(1, 200, token("first", 60));
    changes.changed().await.unwrap();
    assert_eq!(text_of(connections).await.unwrap(), "first");
}

/// A client that its issuer does not know any more is registered anew by whoever connects next; the one of somebody else is left.
#[tokio::test]
async fn a_client_that_is_unknown_is_forgotten() {
    let world = world();
    let vault = world.store.vault().unwrap();
    let keep = async |id: &str| {
        let text = serde_json::json!({"id": id, "secret": null, "post": false}).to_string();
        keep_client(&world.connections, &vault, "client x".to_owned(), text.into()).await.unwrap();
    };
    keep("new").await;
    let name = "client x".to_owned();
    world.connections.forget_client(Some(&name), "old").await;
    assert_eq!(kept_client(&vault, &name).await.unwrap().unwrap().id, "new");
    world.connections.forget_client(Some(&name), "new").await;
    assert!(kept_client(&vault, &name).await.unwrap().is_none());
}
