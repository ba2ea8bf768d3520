//! Mail goes out by SMTP, over TLS: a connection for each, since they are few.

use http::Uri;
use hyper_util::rt::TokioIo;
use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart,
        header::{Header, HeaderName, HeaderValue},
    },
    transport::smtp::{
        self,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters},
        extension::ClientId,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    error::Error,
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::ServiceExt as _;

/// Where mail is handed in.
#[derive(Debug)]
pub struct MailServer<'a> {
    /// Its name.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// TLS from the first byte on; else STARTTLS.
    pub tls_from_start: bool,
    /// It is this machine: STARTTLS is taken where it is offered.
    pub loopback: bool,
    /// Name and password.
    pub login: Option<(&'a str, &'a SecretString)>,
}

/// One mail.
#[derive(Debug)]
pub struct Mail<'a> {
    /// From whom.
    pub from: &'a Mailbox,
    /// To whom.
    pub to: &'a Address,
    /// One line.
    pub subject: &'a str,
    /// As text.
    pub text: &'a str,
    /// As HTML.
    pub html: &'a str,
    /// The local part of its id: the same for the same mail, so that a repeat is known for one.
    pub id: &'a str,
    /// That of the mail that it follows.
    pub follows: Option<&'a str>,
}

/// Why a mail did not go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// Nothing goes to anybody by this server.
    #[error("{0}")]
    Unreachable(String),
    /// It may go later.
    #[error("{0}")]
    ForNow(String),
    /// This one will not.
    #[error("{0}")]
    ForGood(String),
}

/// RFC 3834: nobody answers by a machine.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

fn message(mail: &Mail<'_>) -> Result<Message, MailError> {
    let domain = mail.from.email.domain();
    let id = |local: &str| format!("<{local}@{domain}>");
    let mut builder = Message::builder()
        .from(mail.from.clone())
        .to(Mailbox::new(None, mail.to.clone()))
        .subject(mail.subject)
        .message_id(Some(id(mail.id)))
        .header(AutoSubmitted);
    if let Some(first) = mail.follows {
        builder = builder.in_reply_to(id(first)).references(id(first));
    }
    let parts = MultiPart::alternative_plain_html(mail.text.to_owned(), mail.html.to_owned());
    builder.multipart(parts).map_err(|error| MailError::ForGood(super::because(&error)))
}

/// Codes that speak of the login, and not of this mail.
const OF_LOGIN: &[u16] = &[530, 534, 535, 538];
/// The server is closing.
const CLOSES: u16 = 421;
/// How long it is waited for a server's last word.
const GOODBYE: Duration = Duration::from_secs(1);
/// What a server may say while one mail is handed in.
const MOST_SAID: u64 = 256 << 10;

/// A connection that ends where the other side says more than all of an exchange takes.
struct Bounded<S> {
    stream: S,
    left: u64,
}

impl<S> fmt::Debug for Bounded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len().saturating_sub(before);
        let Some(left) = self.left.checked_sub(read as u64) else {
            return Poll::Ready(Err(io::Error::other("the mail server says too much")));
        };
        self.left = left;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> AsyncTokioStream for Bounded<S> {
    /// Nobody asks: what is verified is the name.
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A connection to the server, over TLS where that is from the first byte on.
async fn connected(server: &MailServer<'_>, hello: &ClientId) -> Result<AsyncSmtpConnection, MailError> {
    let scheme = if server.tls_from_start { "https" } else { "http" };
    let host = if server.host.contains(':') { format!("[{}]", server.host) } else { server.host.to_owned() };
    let uri = format!("{scheme}://{host}:{}", server.port);
    let uri = uri.parse::<Uri>().map_err(|error| MailError::Unreachable(super::because(&error)))?;
    let connector = super::connector(None).map_err(MailError::Unreachable)?;
    let stream = connector.oneshot(uri).await;
    let stream = stream
        .map_err(|error| MailError::Unreachable(format!("not reachable: {}", super::because(&*error))))?;
    let bounded = Bounded { stream: TokioIo::new(stream), left: MOST_SAID };
    AsyncSmtpConnection::connect_with_transport(Box::new(bounded), hello).await.map_err(|error| said(&error))
}

/// What went wrong. What a server says is not ours to repeat: it may name addresses.
fn said(error: &smtp::Error) -> MailError {
    match error.status().map(u16::from) {
        Some(code) if OF_LOGIN.contains(&code) => {
            MailError::Unreachable(format!("the mail server refuses the login (SMTP {code})"))
        }
        Some(CLOSES) => MailError::Unreachable(format!("the mail server takes nothing now (SMTP {CLOSES})")),
        Some(code) if error.is_permanent() => {
            MailError::ForGood(format!("the mail server refuses it (SMTP {code})"))
        }
        Some(code) => MailError::ForNow(format!("the mail server refuses it for now (SMTP {code})")),
        None => MailError::Unreachable(super::because(error)),
    }
}

async fn handed_in(server: &MailServer<'_>, mail: &Mail<'_>, message: &Message) -> Result<(), MailError> {
    let hello = ClientId::Domain(mail.from.email.domain().to_owned());
    let mut connection = connected(server, &hello).await?;
    // On this machine TLS is taken where it is offered.
    if !server.tls_from_start && (connection.can_starttls() || !server.loopback) {
        let parameters = TlsParameters::new(server.host.to_owned());
        let parameters = parameters
            .map_err(|error| MailError::Unreachable(format!("no TLS: {}", super::because(&error))))?;
        connection.starttls(parameters, &hello).await.map_err(|error| said(&error))?;
    }
    if let Some((user, password)) = server.login {
        let credentials = Credentials::new(user.to_owned(), password.expose_secret().to_owned());
        connection.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(|error| said(&error))?;
    }
    let sent = connection.send(message.envelope(), &message.formatted()).await.map_err(|error| said(&error));
    // It is taken by now, and is not sent again because nobody says goodbye.
    tokio::time::timeout(GOODBYE, connection.abort()).await.ok();
    sent.map(drop)
}

/// Hands a mail in.
pub async fn send_mail(
    server: &MailServer<'_>,
    mail: &Mail<'_>,
    patience: Duration,
) -> Result<(), MailError> {
    let message = message(mail)?;
    tokio::time::timeout(patience, handed_in(server, mail, &message)).await.unwrap_or_else(|_| {
        let took = humantime::format_duration(patience);
        Err(MailError::Unreachable(format!("the mail server has not taken it within {took}")))
    })
}
