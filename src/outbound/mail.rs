//! Mail goes out by SMTP, over TLS: a connection for each, since they are few.

use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{
        Mailbox, MultiPart,
        header::{Header, HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
        extension::ClientId,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use std::{error::Error, time::Duration};

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

/// Hands a mail in.
pub async fn send_mail(
    server: &MailServer<'_>,
    mail: &Mail<'_>,
    patience: Duration,
) -> Result<(), MailError> {
    let message = message(mail)?;
    let no_tls = |error| MailError::ForNow(format!("no TLS: {}", super::because(&error)));
    let parameters = || TlsParameters::new(server.host.to_owned()).map_err(no_tls);
    let tls = match (server.tls_from_start, server.loopback) {
        (true, _) => Tls::Wrapper(parameters()?),
        (false, false) => Tls::Required(parameters()?),
        (false, true) => Tls::Opportunistic(parameters()?),
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.host)
        .port(server.port)
        .tls(tls)
        .timeout(Some(patience))
        .hello_name(ClientId::Domain(mail.from.email.domain().to_owned()));
    if let Some((user, password)) = server.login {
        let credentials = Credentials::new(user.to_owned(), password.expose_secret().to_owned());
        transport = transport.credentials(credentials);
    }
    let sent = tokio::time::timeout(patience, transport.build().send(message)).await;
    let Ok(sent) = sent else {
        let took = humantime::format_duration(patience);
        return Err(MailError::ForNow(format!("the mail server has not taken it within {took}")));
    };
    sent.map(drop).map_err(|error| {
        let code = error.status().map(u16::from);
        let of_login = code.is_some_and(|code| OF_LOGIN.contains(&code));
        // What a server says is not ours to repeat: it may name addresses.
        let why = match code {
            Some(code) if of_login => format!("the mail server refuses the login (SMTP {code})"),
            Some(code) => format!("the mail server refuses it (SMTP {code})"),
            None => super::because(&error),
        };
        if error.is_permanent() && !of_login { MailError::ForGood(why) } else { MailError::ForNow(why) }
    })
}
