//! Whom webhooks tell, of what. No secret shows in `Debug`.

use super::SecretUrl;
use crate::policy::Approver;
use lettre::{Address, message::Mailbox};
use secrecy::SecretString;
use std::{fmt, sync::Arc};

/// `[webhook]` or `[webhooks.NAME]`: whom to tell that approvals wait, and of alerts.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Its table's; `webhook` that of `[webhook]`.
    pub name: Arc<str>,
    /// Where it goes, and in which format.
    pub target: WebhookTarget,
    /// Of what.
    pub tells: Tells,
    /// Of the asks only that one of these may decide; empty: of all.
    pub audience: Vec<Approver>,
    /// Whether masked arguments are shown.
    pub arguments: bool,
    /// The page as people reach it, where it is not that of `[admin]`.
    pub link: Option<String>,
}

/// Where notifications go.
#[derive(Clone, Debug)]
pub enum WebhookTarget {
    /// Signed JSON.
    Json {
        /// A part of it may be a secret.
        url: SecretUrl,
        /// What requests are signed with.
        secret: SecretString,
    },
    /// A message for an incoming webhook of Slack.
    Slack {
        /// A secret.
        url: SecretUrl,
    },
    /// An Adaptive Card for a workflow of Teams.
    Teams {
        /// A secret.
        url: SecretUrl,
    },
    /// PagerDuty's Events API v2.
    PagerDuty {
        /// Where events are taken.
        url: SecretUrl,
        /// Of whose service they are.
        routing_key: SecretString,
    },
    /// Mail.
    Email(Arc<EmailConfig>),
}

impl WebhookTarget {
    /// Its word in the file.
    pub fn format(&self) -> &'static str {
        match self {
            Self::Json { .. } => "json",
            Self::Slack { .. } => "slack",
            Self::Teams { .. } => "teams",
            Self::PagerDuty { .. } => "pagerduty",
            Self::Email(_) => "email",
        }
    }
}

/// How mail is sent, and to whom.
#[derive(Clone)]
pub struct EmailConfig {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// TLS from the first byte on; else STARTTLS.
    pub tls_from_start: bool,
    /// It is this machine: STARTTLS is taken where it is offered.
    pub loopback: bool,
    /// Name and password there.
    pub login: Option<(String, SecretString)>,
    /// Whom mails come from.
    pub from: Mailbox,
    /// Who gets every one.
    pub to: Vec<Address>,
    /// Who gets those about what they, or somebody of the group, may decide.
    pub addresses: Vec<(Approver, Address)>,
}

impl fmt::Debug for EmailConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// Of what somebody is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tells {
    /// Of what people are asked, and what becomes of it.
    pub asks: bool,
    /// Of asks that nobody has decided in time.
    pub escalations: bool,
    /// Of all other alerts.
    pub alerts: bool,
}

impl Tells {
    /// What people are asked.
    pub const ASKS: Self = Self { asks: true, escalations: false, alerts: false };
    /// What nobody has decided in time.
    pub const ESCALATIONS: Self = Self { asks: false, escalations: true, alerts: false };
    /// Alerts.
    pub const ALERTS: Self = Self { asks: false, escalations: false, alerts: true };
    /// All of it.
    pub const ALL: Self = Self { asks: true, escalations: true, alerts: true };

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            asks: self.asks || other.asks,
            escalations: self.escalations || other.escalations,
            alerts: self.alerts || other.alerts,
        }
    }
}
