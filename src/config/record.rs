//! What servers.toml says of the record beside the store: its checkpoints, and where it is delivered.

use super::secret_url::SecretUrl;
use crate::proof::VerifierKey;
use secrecy::SecretString;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// `[audit]`
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// Folders that checkpoints are kept in, beside the data folder's own.
    pub checkpoints: Vec<PathBuf>,
    /// One is made once so many records are new.
    pub records: u64,
    /// And once the newest is so old, where any record is new.
    pub every: Duration,
    /// Who is asked to sign beside.
    pub witnesses: Vec<Arc<Witness>>,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            checkpoints: Vec::new(),
            records: 10_000,
            every: Duration::from_secs(600),
            witnesses: Vec::new(),
        }
    }
}

/// A witness of checkpoints (c2sp.org/tlog-witness).
#[derive(Clone, Debug)]
pub struct Witness {
    /// Its submission prefix. A part of it may be a secret.
    pub url: SecretUrl,
    /// What it signs with.
    pub key: VerifierKey,
}

/// `[delivery.NAME]`: where every record goes beside the store, at least once each.
#[derive(Clone, Debug)]
pub struct DeliveryConfig {
    /// Its name, by which its place in the record is kept.
    pub name: Arc<str>,
    /// Where.
    pub target: DeliveryTarget,
    /// As what.
    pub format: DeliveryFormat,
    /// What was recorded before it was there goes too.
    pub from_start: bool,
}

/// Where records go.
#[derive(Clone, Debug)]
pub enum DeliveryTarget {
    /// Lines are appended to a file.
    File {
        /// Which.
        path: PathBuf,
        /// It is put aside once it is so large.
        max_bytes: u64,
        /// So many that were put aside stay.
        keep: u64,
    },
    /// Lines are posted, several at a time, signed as Standard Webhooks has it.
    Webhook {
        /// Where. A part of it may be a secret.
        url: SecretUrl,
        /// What they are signed with.
        secret: SecretString,
    },
    /// One message each, as RFC 5424 has it.
    Syslog {
        /// Over what.
        transport: SyslogTransport,
        /// `HOST:PORT`
        address: Arc<str>,
    },
}

/// What carries syslog messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyslogTransport {
    /// Counted, as RFC 6587 has it.
    Tcp,
    /// One datagram each, which may be lost.
    Udp,
}

/// What is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryFormat {
    /// The record as the chain keeps it, which can be verified.
    Jsonl,
    /// OCSF 1.8.0, API Activity.
    Ocsf,
}
