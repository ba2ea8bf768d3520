//! How a process reaches the database: where it is, TLS, and what is asked of a connection before anything is done with it.

use super::{
    hosts::{CONNECTING, Hosts},
    problem::{NO_ANSWER, Problem},
    tls::Tls,
};
use crate::store::StoreError;
use futures::pin_mut;
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};
use tokio_postgres::{
    AsyncMessage, Client, Config, Notification,
    config::{Host, SslMode},
    error::Severity,
};

/// How long somebody waits for a connection that is being made: one address may hang meanwhile.
const AWAITED: Duration = Duration::from_secs(4);
/// How long a connection that nobody uses any more may take to end in order.
const ENDING: Duration = Duration::from_secs(2);

/// The oldest server that is used.
const OLDEST: i32 = 150_000;

/// What every connection is set to. `COMMIT` has no limit of its own: one that is cut short while a standby is waited for would
/// count although a failover could take it back. A process that stops in the middle of a group holds nobody up for long.
const SETTINGS: &str = "
    SET default_transaction_isolation = 'read committed'; SET statement_timeout = 0; SET lock_timeout = '4s'; SET idle_in_transaction_session_timeout = '6s';
    SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;
    SET plan_cache_mode = force_custom_plan; SET client_min_messages = warning;";

pub(super) const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = '5s'";
pub(super) const COMMIT: &str = "SET LOCAL statement_timeout = 0; COMMIT";

/// Where the database is, and how it is reached.
pub(super) struct Link {
    hosts: Hosts,
    tls: Option<Tls>,
    /// For people: without user and password.
    place: Arc<str>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.place).finish()
    }
}

/// A connection that is fit for use.
pub(super) struct Session {
    pub(super) client: Client,
    /// The server has warned of something.
    warned: Arc<AtomicBool>,
    /// Tells whoever serves the connection that this is gone.
    _used: oneshot::Sender<()>,
}

impl Session {
    /// Whether the server has warned since this was asked last.
    pub(super) fn has_warned(&self) -> bool {
        self.warned.swap(false, Ordering::AcqRel)
    }

    /// Ends a transaction with this; an error where the server warned that what it confirmed may be lost.
    pub(super) async fn commit(&self, end: &str, problem: &Problem) -> Result<(), StoreError> {
        self.has_warned();
        self.client.batch_execute(end).await.map_err(|error| problem.of(&error))?;
        match self.has_warned() {
            false => Ok(()),
            true => Err(problem.unconfirmed()),
        }
    }
}

/// Who is told of notifications.
pub(super) type Notified = Arc<dyn Fn(Notification) + Send + Sync>;

/// Why an address is of no use.
enum Useless {
    Failed(tokio_postgres::Error),
    /// It is the database, and must not be used: another address is none to go on with.
    Unfit(StoreError),
}

impl From<tokio_postgres::Error> for Useless {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(error)
    }
}

/// A connection that is being made, whether or not somebody waits for it.
#[derive(Default)]
pub(super) struct Coming(Option<JoinHandle<Result<Session, StoreError>>>);

impl Coming {
    /// Waits for it, for some seconds: where it takes longer, whoever comes later finds it.
    pub(super) async fn session(&mut self, link: &Arc<Link>) -> Result<Session, StoreError> {
        if let Some(done) = self.0.take_if(|making| making.is_finished())
            && let Ok(Ok(session)) = done.await
            && !session.client.is_closed()
        {
            return Ok(session);
        }
        let making = self.0.get_or_insert_with(|| {
            let link = link.clone();
            tokio::spawn(async move { link.connect(None).await })
        });
        let Ok(made) = timeout(AWAITED, making).await else { return Err(link.problem().no_answer()) };
        self.0 = None;
        made.unwrap_or(Err(StoreError::Closed))
    }
}

impl Link {
    /// Reads a URL. No error shows it: it may hold a password.
    pub(super) fn of(url: &SecretString) -> Result<Self, String> {
        let written = url.expose_secret();
        if !["postgres://", "postgresql://"].iter().any(|scheme| written.starts_with(scheme)) {
            return Err(
                "the URL of the database begins with neither `postgres://` nor `postgresql://`".to_owned()
            );
        }
        let (text, roots) = without_libpq(written)?;
        let mut config: Config =
            text.parse().map_err(|error: tokio_postgres::Error| match std::error::Error::source(&error) {
                Some(source) => format!("the URL of the database cannot be read: {source}"),
                None => "the URL of the database cannot be read".to_owned(),
            })?;
        // A part of the password is taken for a host then.
        let is_cut =
            config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(name) if name.contains('@')))
                || config.get_dbname().is_some_and(|name| name.contains('@'));
        if is_cut {
            return Err("the URL of the database has an `@` too many: in the user and the password `@` is written `%40`, `/` `%2F` \
                        and `#` `%23`"
                .to_owned());
        }
        let database = config.get_dbname().or(config.get_user()).unwrap_or_default().to_owned();
        // An address is where it goes, whatever the name says.
        let is_near = config.get_hosts().iter().all(is_near)
            && !config.get_hosts().is_empty()
            && config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback);
        // Over a network only with TLS, unless the URL says otherwise.
        if config.get_ssl_mode() == SslMode::Prefer && (!is_near || roots.is_some()) {
            config.ssl_mode(SslMode::Require);
        }
        let tls = match config.get_ssl_mode() {
            SslMode::Require => Some(Tls::new(roots)?),
            _ => {
                config.ssl_mode(SslMode::Disable);
                None
            }
        };
        if config.get_application_name().is_none() {
            config.application_name("tollgate");
        }
        let hosts = Hosts::of(&config)?;
        let place = format!("{hosts}/{database}").into();
        Ok(Self { hosts, tls, place })
    }

    /// Where the database is, for people.
    pub(super) fn place(&self) -> &Arc<str> {
        &self.place
    }

    /// An error of the database, in words.
    pub(super) fn problem(&self) -> Problem {
        Problem(self.place.clone())
    }

    /// How long [`Self::connect`] takes at most.
    pub(super) fn patience(&self) -> Duration {
        self.hosts.patience()
    }

    /// Connects to the first address that takes writes, the one of last time before all others, and looks whether the server
    /// keeps what it confirms. An address that hangs keeps nobody from the next one for long.
    pub(super) async fn connect(&self, notified: Option<Notified>) -> Result<Session, StoreError> {
        let (problem, mut told) = (self.problem(), Vec::new());
        for host in self.hosts.in_turn() {
            let addresses = match host.addresses().await {
                Ok(addresses) => addresses,
                Err(why) => {
                    told.push((host.name(), why));
                    continue;
                }
            };
            for address in addresses {
                let config = host.config(address);
                let opened = timeout(CONNECTING, self.open(&config, notified.clone())).await;
                let why = match opened {
                    Ok(Ok(session)) => {
                        self.hosts.reached(host, address);
                        return Ok(session);
                    }
                    Ok(Err(Useless::Unfit(error))) => return Err(error),
                    Ok(Err(Useless::Failed(error))) => Problem::words(&error),
                    Err(_) => NO_ANSWER.to_owned(),
                };
                told.push((host.name(), why));
            }
        }
        let each = told.iter().map(|(host, why)| match self.hosts.are_several() {
            true => format!("{host}: {why}"),
            false => why.clone(),
        });
        Err(problem.says(&each.collect::<Vec<_>>().join("; ")))
    }

    async fn open(&self, config: &Config, notified: Option<Notified>) -> Result<Session, Useless> {
        let (warned, (used, gone)) = (Arc::new(AtomicBool::new(false)), oneshot::channel());
        let client = match &self.tls {
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                tokio::spawn(serve(connection, warned.clone(), notified, gone));
                client
            }
            None => {
                let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
                tokio::spawn(serve(connection, warned.clone(), notified, gone));
                client
            }
        };
        let session = Session { client, warned, _used: used };
        session.client.batch_execute(SETTINGS).await?;
        self.check(&session.client).await?;
        Ok(session)
    }

    /// Nothing that the server confirms may be lost by it.
    async fn check(&self, client: &Client) -> Result<(), Useless> {
        let unfit = |what: &str| Err(Useless::Unfit(self.problem().says(what)));
        let asked = "SELECT current_setting('server_version_num')::int4, current_setting('fsync'),
             current_setting('synchronous_commit'), current_setting('transaction_read_only')";
        let row = client.query_one(asked, &[]).await?;
        let (version, fsync, commit, read_only): (i32, String, String, String) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        if version < OLDEST {
            return unfit(&format!(
                "it is version {}.{}, and 15 or newer is needed",
                version / 10_000,
                version % 10_000
            ));
        }
        if fsync != "on" {
            return unfit(
                "`fsync` is off there: what it confirms may be lost with the power. Set `fsync = on`",
            );
        }
        if read_only != "off" {
            return unfit("it is read-only");
        }
        if matches!(commit.as_str(), "off" | "local") {
            client.batch_execute("SET synchronous_commit = on").await?;
        }
        Ok(())
    }
}

/// Sees a connection through to its end; one that is `gone` and does not end, as a question on it is never answered, is closed.
async fn serve<S, T>(
    mut connection: tokio_postgres::Connection<S, T>,
    warned: Arc<AtomicBool>,
    notified: Option<Notified>,
    gone: oneshot::Receiver<()>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let served = async {
        loop {
            match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    if let Some(notified) = &notified {
                        notified(notification);
                    }
                }
                Some(Ok(AsyncMessage::Notice(notice))) => {
                    if notice.parsed_severity() == Some(Severity::Warning) {
                        tracing::warn!(notice = notice.message(), "store.database_warns");
                        warned.store(true, Ordering::Release);
                    }
                }
                Some(Ok(_)) => {}
                // Whoever uses it is told by what it asks next.
                Some(Err(_)) | None => return,
            }
        }
    };
    pin_mut!(served);
    tokio::select! {
        () = &mut served => return,
        _ = gone => {}
    }
    timeout(ENDING, served).await.ok();
}

fn is_near(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

/// The URL without the settings that only libpq knows, and the certificates that one of them names: with `sslmode=verify-full` the
/// server's certificate is held against its name, as it always is here.
fn without_libpq(text: &str) -> Result<(String, Option<PathBuf>), String> {
    let Some((before, query)) = text.split_once('?') else { return Ok((text.to_owned(), None)) };
    let (mut kept, mut roots) = (Vec::new(), None);
    for part in query.split('&') {
        match part.split_once('=') {
            Some(("sslrootcert", file)) => {
                let file = percent_encoding::percent_decode_str(file).decode_utf8();
                let file = file.map_err(|_| "`sslrootcert` in the URL of the database is no path")?;
                roots = Some(PathBuf::from(file.as_ref()));
            }
            Some(("sslmode", "verify-full")) => kept.push("sslmode=require".to_owned()),
            // Several in one, as libpq takes them.
            Some(("host", hosts)) => kept.extend(hosts.split(',').map(|host| format!("host={host}"))),
            // What every connection asks for anyway.
            Some(("target_session_attrs", "primary" | "read-write")) => {}
            Some(("sslmode", "verify-ca" | "allow")) => {
                return Err(
                    "`sslmode` in the URL of the database is `disable`, `prefer`, `require` or `verify-full`"
                        .into(),
                );
            }
            _ => kept.push(part.to_owned()),
        }
    }
    Ok((format!("{before}?{}", kept.join("&")), roots))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(url: &str) -> Result<Link, String> {
        Link::of(&SecretString::from(url.to_owned()))
    }

    #[test]
    fn a_network_is_crossed_with_tls_alone_unless_the_url_says_otherwise() {
        for (url, expected) in [
            ("postgres://u:geheim@db.example/t", true),
            ("postgres://u:geheim@localhost,db.example/t", true),
            ("postgres://u:geheim@db.example/t?sslmode=verify-full", true),
            ("postgres://u:geheim@db.example/t?sslmode=disable", false),
            ("postgres://u:geheim@localhost/t", false),
            ("postgres://u:geheim@localhost/t?hostaddr=127.0.0.1", false),
            ("postgres://u:geheim@localhost/t?hostaddr=192.0.2.1", true),
            ("postgres://u:geheim@127.0.0.1:99/t", false),
            ("postgres://u:geheim@localhost/t?sslmode=require", true),
            ("postgresql:///t?host=/run/postgresql&user=u", false),
            ("postgresql:///t?host=/run/a,/run/b&user=u", false),
            ("postgres://u:geheim@127.0.0.1:99,localhost:98/t?target_session_attrs=primary", false),
            ("postgres://u:geheim@/t?host=db1.example,db2.example&target_session_attrs=read-write", true),
        ] {
            let link = link(url).unwrap();
            assert_eq!(link.tls.is_some(), expected, "{url}");
            assert!(!format!("{link:?} {}", link.place()).contains("geheim"), "{link:?}");
            let hosts = link.place().split(',').count();
            assert_eq!(hosts, if url.contains(',') { 2 } else { 1 }, "{url}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_read_is_not_shown() {
        for url in [
            "postgres://u:geheim@db.example/t?sslmode=verify-ca",
            "postgres://u:geheim@db.example:many/t",
            "POSTGRES://u:geheim@db.example/t",
            "sqlite:geheim",
            "postgres://u:geheim@db.example/t?gehalt=1",
            "postgres://u:a@geheim@db.example/t",
            "postgres://u:a@b/geheim#c@127.0.0.1:54330/t",
        ] {
            let told = link(url).map(drop).unwrap_err();
            assert!(!told.contains("geheim"), "{told}");
        }
    }
}
