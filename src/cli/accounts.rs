//! `tollgate servers login` and `logout`: an account at an upstream's issuer, connected from the command line.

use super::{
    failure::CliError,
    inspection,
    screen::{Screen, note},
    setup::Setup,
    wiring,
};
use crate::{
    config::CredentialOf,
    connections::{Answer, Begun, ConnectError, Connection, Connections, LONGEST_WAIT, code_grant, told},
    evidence::personal_lists_viewed,
    front::admin::ADMIN,
    model::{AgentId, ConnectionKey, Holder, PersonId, UpstreamName},
    policy::Role,
    store::Store,
    upstream::is_personal,
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use std::{io::Write as _, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use url::Url;

/// Where a browser is sent back to whose address is pasted.
const PASTED: &str = "http://127.0.0.1:8789/callback";
/// The longest request that is read from a browser, and the longest line that is pasted.
const LONGEST: usize = 16 * 1024;
/// How long a browser may take to send one request.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many requests are read at a time.
const MOST_OPEN: usize = 64;

impl From<ConnectError> for CliError {
    fn from(error: ConnectError) -> Self {
        Self::Told(error.to_string())
    }
}

/// What is connected, where there is a store that says it.
pub(super) async fn known(setup: &Setup) -> Result<Vec<Connection>, CliError> {
    let Some((connections, store)) =
        inspection::known_connections(&setup.loaded.config, &setup.system).await?
    else {
        return Ok(Vec::new());
    };
    let list = connections.list();
    store.close().await;
    Ok(list)
}

/// The store, made where it is missing: whoever connects first may not have started anything yet.
async fn opened(setup: &Setup) -> Result<(Arc<Connections>, Arc<dyn Store>), CliError> {
    let config = &setup.loaded.config;
    wiring::ensure_data_dir(config)?;
    let store = wiring::open_store(config, &setup.system)?;
    let connections = wiring::connections_on(&store, config, &setup.system).await?;
    Ok((connections, store))
}

/// Which connection is meant, where whoever is typing may make or end it.
fn wanted(
    setup: &Setup,
    connections: &Connections,
    name: &UpstreamName,
    of: Option<&str>,
) -> Result<ConnectionKey, CliError> {
    let authority = &setup.loaded.policies.authority;
    let all = connections.upstreams();
    let per = all.iter().find(|(known, _)| known == name).map(|(_, per)| *per);
    let (mut person, mut agent) = (setup.person_given().cloned(), None);
    match (per, of) {
        (Some(CredentialOf::Person), Some(of)) => person = Some(PersonId::from(of)),
        (Some(CredentialOf::Agent), of) => agent = of.map(AgentId::from),
        (Some(CredentialOf::Gateway), Some(_)) => {
            return Err(CliError::Told(format!("`{name}` is connected once for everybody: leave out --for")));
        }
        (Some(CredentialOf::Person | CredentialOf::Gateway) | None, _) => {}
    }
    let key = connections.key_for(name, person.as_ref(), agent.as_ref())?;
    let known = match &key.holder {
        Holder::Gateway => true,
        Holder::Person(id) => authority.people.contains_key(id),
        Holder::Agent(id) => authority.agents.contains_key(id),
        Holder::Token(_) => false,
    };
    if !known {
        let hint =
            "`tollgate people list` and `tollgate agents list` show who is in authority.yaml".to_owned();
        return Err(CliError::Unknown { kind: "holder", name: key.holder.to_string(), hint });
    }
    let_through(setup, &key)?;
    Ok(key)
}

/// Which connection is to end: one that is kept, whatever servers.toml and authority.yaml say of it by now.
fn kept(
    setup: &Setup,
    connections: &Connections,
    name: &UpstreamName,
    of: Option<&str>,
) -> Result<ConnectionKey, CliError> {
    let person = of.map(PersonId::from).or_else(|| setup.person_given().cloned());
    let key = connections.key_of_kept(name, person.as_ref(), of.map(AgentId::from).as_ref())?;
    match connections.get(&key) {
        Some(_) => let_through(setup, &key).map(|()| key),
        // Why there is none.
        None => wanted(setup, connections, name, of),
    }
}

/// The local admin may, and so may an admin; others only what is their own.
fn let_through(setup: &Setup, key: &ConnectionKey) -> Result<(), CliError> {
    let authority = &setup.loaded.policies.authority;
    let Some(typing) = setup.person_given() else { return Ok(()) };
    let own = match &key.holder {
        Holder::Gateway => false,
        Holder::Person(id) => id == typing,
        Holder::Agent(id) => {
            authority.agents.get(id).is_some_and(|agent| agent.operator.as_ref() == Some(typing))
        }
        Holder::Token(_) => false,
    };
    match own || setup.roles().contains(&Role::Admin) {
        true => Ok(()),
        false => Err(CliError::NotEntitled { person: typing.to_string(), needs: ADMIN }),
    }
}

/// Whose account lists what `servers inspect NAME` shows; none where all share it. Looking at somebody else's is recorded.
pub(super) async fn looked_at(
    setup: &Setup,
    name: &UpstreamName,
    of: Option<&str>,
) -> Result<Option<Holder>, CliError> {
    let upstream = setup.loaded.config.upstreams.get(name);
    if !upstream.is_some_and(is_personal) {
        return match of {
            None => Ok(None),
            Some(_) => Err(CliError::Told(format!("`{name}` lists the same for everybody: leave out --for"))),
        };
    }
    if upstream.and_then(code_grant).is_none() {
        return Err(CliError::Told(format!(
            "`{name}` lists for each caller what the token lists that theirs is exchanged for: only the caller sees it"
        )));
    }
    let (connections, store) = opened(setup).await?;
    let looked_at = async {
        let key = wanted(setup, &connections, name, of)?;
        if !connections.is_connected(&key) {
            let whose = told(&key.holder);
            let how = format!("`tollgate servers login {name}` connects it");
            return Err(CliError::Told(format!("`{name}` is not connected for {whose}: {how}")));
        }
        let by = setup.person_given();
        if by.is_none_or(|by| key.holder != Holder::Person(by.clone())) {
            let viewed = personal_lists_viewed((&key.holder, Some(name)), by, (setup.now(), "cli"));
            store.record(vec![viewed]).await?;
        }
        Ok(Some(key.holder))
    };
    let looked_at = looked_at.await;
    store.close().await;
    looked_at
}

/// `servers login NAME`
pub(super) async fn login(
    setup: &Setup,
    name: &UpstreamName,
    of: Option<&str>,
    paste: bool,
) -> Result<(), CliError> {
    let (connections, store) = opened(setup).await?;
    let done = login_on(setup, &connections, name, (of, paste)).await;
    store.close().await;
    done
}

async fn login_on(
    setup: &Setup,
    connections: &Connections,
    name: &UpstreamName,
    (of, paste): (Option<&str>, bool),
) -> Result<(), CliError> {
    let key = wanted(setup, connections, name, of)?;
    let configured = connections.redirect_of(name)?;
    let by = setup.person_given().cloned();
    let mut screen = Screen::new();
    let asks = |url: &Url| {
        // First, and at once: whoever reads this through a pipe opens it.
        let mut out = std::io::stdout().lock();
        writeln!(out, "{url}")?;
        out.flush()
    };
    if paste {
        let redirect = configured.map_or_else(|| PASTED.to_owned(), |url| url.to_string());
        let (url, begun) = connections.begin(key.clone(), by, (&redirect, true)).await?;
        asks(&url)?;
        // An issuer that names itself in its answers does so in that address.
        let or_code = if begun.takes_code_alone() { ", or the code in it" } else { "" };
        note(&format!(
            "open that address; afterwards paste here the whole address to which the browser was sent, which shows no page{or_code}"
        ));
        let answer = tokio::time::timeout(LONGEST_WAIT, pasted(&begun)).await.map_err(|_| too_late())??;
        connections.finish(begun, &answer, "cli").await?;
    } else {
        let stays = configured.is_some();
        let (listener, redirect) = listen(configured).await?;
        let (url, begun) = connections.begin(key.clone(), by, (redirect.as_str(), stays)).await?;
        asks(&url)?;
        note("open that address in a browser on this machine (with --paste, on any): it is waited for here");
        let waiting = tokio::time::timeout(
            LONGEST_WAIT,
            heard(&listener, &redirect, |answer| begun.is_answered_by(answer)),
        );
        let (answer, browser) = waiting.await.map_err(|_| too_late())??;
        let finished = connections.finish(begun, &answer, "cli").await;
        told_to_browser(browser, &finished, name).await;
        finished?;
    }
    screen.line(&format!("`{name}` is connected for {}", told(&key.holder)))
}

fn too_late() -> CliError {
    CliError::Told(format!(
        "nobody came back from the issuer within {}: begin again",
        humantime::format_duration(LONGEST_WAIT)
    ))
}

/// `servers logout NAME`
pub(super) async fn logout(setup: &Setup, name: &UpstreamName, of: Option<&str>) -> Result<(), CliError> {
    let (connections, store) = opened(setup).await?;
    let done = async {
        let key = kept(setup, &connections, name, of)?;
        let ended = connections.disconnect(&key, setup.person_given()).await?;
        let at_issuer = match ended.revoked {
            true => "its tokens are revoked at the issuer and removed here",
            false => {
                "its tokens are removed here; the issuer did not take them back, so they end there by themselves"
            }
        };
        Screen::new().line(&format!("`{name}` is disconnected for {}: {at_issuer}", told(&key.holder)))
    };
    let done = done.await;
    store.close().await;
    done
}

/// A port of this machine for the browser to come back to.
async fn listen(configured: Option<Url>) -> Result<(TcpListener, Url), CliError> {
    let address = match &configured {
        Some(url) => {
            let host = url.host_str().unwrap_or("127.0.0.1").trim_matches(['[', ']']).to_owned();
            (if host == "localhost" { "127.0.0.1".to_owned() } else { host }, url.port().unwrap_or(0))
        }
        None => ("127.0.0.1".to_owned(), 0),
    };
    let listener = TcpListener::bind(&address).await.map_err(|source| CliError::Io {
        what: format!("cannot listen on {}:{} for the browser to come back", address.0, address.1),
        source,
    })?;
    let url = match configured {
        Some(url) => url,
        None => {
            let port = listener.local_addr()?.port();
            Url::parse(&format!("http://127.0.0.1:{port}/callback"))
                .map_err(|_| CliError::Told("no address to come back to".to_owned()))?
        }
    };
    Ok((listener, url))
}

/// The answer of this attempt, and the browser that brought it. Whatever else comes is told that it is at the wrong place, and
/// keeps nobody waiting: browsers open connections that they say nothing on.
async fn heard(
    listener: &TcpListener,
    redirect: &Url,
    is_answer: impl Fn(&Answer) -> bool,
) -> Result<(Answer, TcpStream), CliError> {
    let is_answer = &is_answer;
    let one = async |mut stream: TcpStream| {
        let asked = tokio::time::timeout(PATIENCE, requested(&mut stream)).await.ok().flatten();
        let url = asked.and_then(|path| redirect.join(&path).ok());
        let answer = url.filter(|url| url.path() == redirect.path()).map(|url| Answer::of(&url));
        let found = answer.filter(is_answer);
        if found.is_none() {
            reply(&mut stream, "404 Not Found", "Nothing is waited for here.").await;
        }
        found.map(|answer| (answer, stream))
    };
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if open.len() < MOST_OPEN => open.push(one(accepted?.0)),
            Some(done) = open.next() => if let Some(found) = done {
                return Ok(found);
            },
        }
    }
}

/// The target of one `GET`.
async fn requested(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut buffer = [0; 2048];
    while head.len() < LONGEST && !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut buffer).await.ok()? {
            0 => break,
            read => head.extend_from_slice(buffer.get(..read)?),
        }
    }
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    (words.next() == Some("GET"))
        .then(|| words.next().map(str::to_owned))
        .flatten()
        .filter(|path| path.starts_with('/'))
}

async fn told_to_browser(mut stream: TcpStream, finished: &Result<(), ConnectError>, name: &UpstreamName) {
    let text = match finished {
        Ok(()) => format!("{name} is connected. You can close this window."),
        Err(_) => format!("{name} is not connected: the command line says why."),
    };
    reply(&mut stream, "200 OK", &text).await;
}

async fn reply(stream: &mut TcpStream, status: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let body = format!("<!doctype html><meta charset=\"utf-8\"><title>Tollgate</title><p>{text}</p>\n");
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\
         Content-Security-Policy: default-src 'none'\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-store\r\n\r\n{body}",
        body.len()
    );
    // Whoever has gone away needs no answer.
    if stream.write_all(response.as_bytes()).await.is_ok() {
        stream.shutdown().await.ok();
    }
}

/// What a person pastes: the address of the browser, or the code alone.
async fn pasted(begun: &Begun) -> Result<Answer, CliError> {
    let mut lines = BufReader::new(tokio::io::stdin().take(LONGEST as u64)).lines();
    while let Some(line) = lines.next_line().await? {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        return Ok(match Url::parse(line) {
            Ok(url) => Answer::of(&url),
            Err(_) if begun.takes_code_alone() => begun.answer_with(line),
            Err(_) => {
                let why = "that is no address: paste the whole address to which the browser was sent, with `iss` in it";
                return Err(CliError::Told(why.to_owned()));
            }
        });
    }
    Err(CliError::Told("nothing was pasted".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A browser opens connections ahead of need, and others knock: the answer is heard all the same.
    #[tokio::test]
    async fn a_silent_connection_holds_no_answer_up() {
        let (listener, redirect) = listen(None).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut wrong = TcpStream::connect(address).await.unwrap();
        wrong.write_all(b"GET /callback?code=c&state=another HTTP/1.1\r\n\r\n").await.unwrap();
        let mut right = TcpStream::connect(address).await.unwrap();
        right.write_all(b"GET /callback?code=c&state=own HTTP/1.1\r\n\r\n").await.unwrap();
        let is_own = |answer: &Answer| answer.state.as_deref() == Some("own");
        let (answer, _browser) = heard(&listener, &redirect, is_own).await.unwrap();
        assert_eq!(answer.code.as_deref(), Some("c"));
        // Nobody waited until the silent one was given up, which then gets an answer.
        let mut said = Vec::new();
        silent.read_to_end(&mut said).await.unwrap();
        assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
    }
}
