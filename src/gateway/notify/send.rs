//! How a message leaves: as a request, or as mail. What comes back decides nothing, and no URL, key or answer is repeated.

use super::json::{posted, signed};
use crate::{
    chat::{Letter, Notice, letter, pagerduty_event, slack_message, teams_message},
    clock::Clock,
    config::{EmailConfig, SecretUrl, WebhookTarget},
    outbound::{Mail, MailError, MailServer, Outbound, Reply, send_mail},
};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use lettre::Address;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use std::{collections::HashMap, time::Duration};

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_OF_MAIL: Duration = Duration::from_secs(30);
/// The longest that a service may ask us to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// How often an address is tried whose mail server refuses it for now, while it takes mail for others.
const ATTEMPTS: u32 = 6;

/// What became of mail to one address.
#[derive(Debug)]
pub(super) enum Sent {
    Taken,
    /// Refused for now, so often and with these words.
    Delayed(u32, String),
    Refused(String),
}

impl Sent {
    fn refused(why: String) -> Self {
        tracing::error!(reason = why, "webhook.address_refused: it is not written to again about this");
        Self::Refused(why)
    }
}

/// Who has a mail already, and who cannot get it.
pub(super) type Done = HashMap<Address, Sent>;

/// Why a message did not go.
#[derive(Debug)]
pub(super) enum Refused {
    /// It may go later, at the soonest after this.
    ForNow(String, Duration),
    /// What is wrong with it will be wrong again.
    ForGood(String),
}

impl Refused {
    pub(super) fn for_now(why: impl Into<String>) -> Self {
        Self::ForNow(why.into(), Duration::ZERO)
    }
}

/// One message, in the form of its target.
#[derive(Debug)]
pub(super) enum Message {
    /// To whom signed JSON is posted.
    Json(Value),
    /// What everybody else is told.
    Notice {
        /// What.
        notice: Box<Notice>,
        /// Who gets it, of mail.
        recipients: Vec<Address>,
        /// The id of the first mail about it, and that of this one.
        thread: (String, String),
    },
}

/// Sends to one target.
pub(super) struct Sender<'a> {
    pub(super) target: &'a WebhookTarget,
    pub(super) outbound: &'a Outbound,
    pub(super) clock: &'a dyn Clock,
}

impl Sender<'_> {
    /// What came back, in a few words. `id` is the same for each attempt; `done` are those who have the mail already.
    pub(super) async fn send(&self, id: &str, message: &Message, done: &mut Done) -> Result<String, Refused> {
        let request = match (self.target, message) {
            (WebhookTarget::Json { url, secret }, Message::Json(body)) => {
                signed(url.as_str(), secret, self.clock, id, &body.to_string())
            }
            (WebhookTarget::Slack { url }, Message::Notice { notice, .. }) => {
                plain(url, &slack_message(notice))
            }
            (WebhookTarget::Teams { url }, Message::Notice { notice, .. }) => {
                plain(url, &teams_message(notice))
            }
            (WebhookTarget::PagerDuty { url, routing_key }, Message::Notice { notice, .. }) => {
                match pagerduty_event(notice) {
                    Some(event) => keyed(url, routing_key, event),
                    None => return Ok("nothing to tell".to_owned()),
                }
            }
            (WebhookTarget::Email(email), Message::Notice { notice, recipients, thread }) => {
                return mailed(email, &letter(notice), recipients, thread, done).await;
            }
            (WebhookTarget::Json { .. }, Message::Notice { .. }) | (_, Message::Json(_)) => None,
        };
        self.post(request).await
    }

    /// Ends an incident that a sample began.
    pub(super) async fn resolve(&self, notice: &Notice) -> Result<String, Refused> {
        let WebhookTarget::PagerDuty { url, routing_key } = self.target else {
            return Ok("nothing to end".to_owned());
        };
        let Some(event) = pagerduty_event(notice) else { return Ok("nothing to end".to_owned()) };
        self.post(keyed(url, routing_key, crate::chat::pagerduty_resolution(&event))).await
    }

    async fn post(&self, request: Option<Request<Full<Bytes>>>) -> Result<String, Refused> {
        let request = request.ok_or_else(|| Refused::ForGood("its URL cannot be requested".to_owned()))?;
        let reply = self.outbound.hand_in(request, PATIENCE).await;
        let reply = reply.map_err(|error| Refused::for_now(error.to_string()))?;
        let said = format!("HTTP status {}{}", reply.status, word_of(&reply.body));
        match reply.status.as_u16() {
            200..=299 => Ok(said),
            // What is wrong with it will be wrong again; 408, 425 and 429 ask for another attempt.
            400..=499 if ![408, 425, 429].contains(&reply.status.as_u16()) => Err(Refused::ForGood(said)),
            _ => Err(Refused::ForNow(said, wait_of(&reply))),
        }
    }
}

/// What a service asks us to wait.
fn wait_of(reply: &Reply) -> Duration {
    let seconds = reply.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0)).min(LONGEST_WAIT)
}

/// Of an answer only what is a plain word, like Slack's `no_service`: anything else may repeat a secret.
fn word_of(body: &[u8]) -> String {
    let word = std::str::from_utf8(body).unwrap_or_default().trim();
    let plain = (1..=40).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if plain { format!(" ({word})") } else { String::new() }
}

fn plain(url: &SecretUrl, body: &Value) -> Option<Request<Full<Bytes>>> {
    posted(url.as_str(), body.to_string())
}

fn keyed(url: &SecretUrl, routing_key: &SecretString, event: Value) -> Option<Request<Full<Bytes>>> {
    let Value::Object(mut event) = event else { return None };
    event.insert("routing_key".to_owned(), routing_key.expose_secret().into());
    posted(url.as_str(), Value::Object(event).to_string())
}

/// One mail for each, so that one address that is refused costs nobody else theirs.
async fn mailed(
    email: &EmailConfig,
    letter: &Letter,
    recipients: &[Address],
    (first, own): &(String, String),
    done: &mut Done,
) -> Result<String, Refused> {
    let server = MailServer {
        host: &email.host,
        port: email.port,
        tls_from_start: email.tls_from_start,
        loopback: email.loopback,
        login: email.login.as_ref().map(|(user, password)| (user.as_str(), password)),
    };
    for to in recipients {
        let before = match done.get(to) {
            Some(Sent::Taken | Sent::Refused(_)) => continue,
            Some(Sent::Delayed(times, _)) => *times,
            None => 0,
        };
        let mail = Mail {
            from: &email.from,
            to,
            subject: &letter.subject,
            text: &letter.text,
            html: &letter.html,
            id: own,
            follows: (first != own).then_some(first),
        };
        let sent = match send_mail(&server, &mail, PATIENCE_OF_MAIL).await {
            Ok(()) => Sent::Taken,
            Err(MailError::Unreachable(why)) => return Err(Refused::for_now(why)),
            // A full mailbox is no reason why nobody else gets theirs.
            Err(MailError::ForNow(why)) => Sent::Delayed(before + 1, why),
            Err(MailError::ForGood(why)) => Sent::refused(why),
        };
        done.insert(to.clone(), sent);
    }
    // Nor why nobody gets the next one.
    if done.values().any(|sent| matches!(sent, Sent::Taken)) {
        for sent in done.values_mut() {
            if let Sent::Delayed(ATTEMPTS.., why) = sent {
                *sent = Sent::refused(std::mem::take(why));
            }
        }
    }
    let delayed = done.values().find_map(|sent| match sent {
        Sent::Delayed(_, why) => Some(why.clone()),
        Sent::Taken | Sent::Refused(_) => None,
    });
    if let Some(why) = delayed {
        return Err(Refused::for_now(why));
    }
    let why = |sent: &Sent| match sent {
        Sent::Refused(why) => Some(why.clone()),
        Sent::Taken | Sent::Delayed(..) => None,
    };
    let refused: Vec<String> = done.values().filter_map(why).collect();
    match (done.len() - refused.len(), refused.first()) {
        (0, Some(why)) => Err(Refused::ForGood(why.clone())),
        (taken, Some(why)) => {
            Ok(format!("taken by the mail server for {taken}, not for {}: {why}", refused.len()))
        }
        (taken, None) => Ok(format!("taken by the mail server, for {taken}")),
    }
}
