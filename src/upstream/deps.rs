//! What the upstream room needs from outside: time, randomness, masking, and how processes are started.

use super::credentials::Credentials;
use crate::{
    clock::{Clock, IdSource},
    offload::Offload,
    telemetry::Telemetry,
};
use std::{ffi::OsString, fmt, io, path::PathBuf, sync::Arc, time::Duration};

/// Masks what may be sensitive in a text that is about to be logged or shown.
pub type Redact = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Everything an upstream connection needs beside its own configuration.
#[derive(Clone)]
pub struct UpstreamDeps {
    /// For the breaker's cooldown.
    pub clock: Arc<dyn Clock>,
    /// For jitter and span ids.
    pub ids: Arc<dyn IdSource>,
    /// For stderr lines and reasons.
    pub redact: Redact,
    /// `clientInfo.name`.
    pub client_name: String,
    /// `clientInfo.version`.
    pub client_version: String,
    /// Program and leading arguments that start [`super::supervise::main`]; the child's command follows.
    pub supervisor: Vec<OsString>,
    /// What the program name `tollgate` in a command means.
    pub own_binary: PathBuf,
    /// Delays and bounds.
    pub timing: Timing,
    /// For large requests and answers.
    pub offload: Arc<Offload>,
    /// Where requests and sessions are measured.
    pub telemetry: Arc<Telemetry>,
    /// Who keeps the credentials that people connect; none: nobody can.
    pub credentials: Option<Arc<dyn Credentials>>,
}

impl UpstreamDeps {
    /// With the running binary as supervisor (`tollgate supervise-child …`) and the default delays.
    pub fn new(clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>, redact: Redact) -> io::Result<Self> {
        let own_binary = std::env::current_exe()?;
        Ok(Self {
            clock,
            ids,
            redact,
            client_name: "tollgate".to_owned(),
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
            supervisor: vec![own_binary.clone().into(), super::supervise::SUBCOMMAND.into()],
            own_binary,
            timing: Timing::default(),
            offload: Arc::default(),
            telemetry: Arc::default(),
            credentials: None,
        })
    }
}

impl fmt::Debug for UpstreamDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamDeps")
            .field("client_name", &self.client_name)
            .field("supervisor", &self.supervisor)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}

/// Delays and bounds that no configuration key names; tests shorten them.
#[derive(Clone, Debug)]
pub struct Timing {
    /// How long an unanswered `server/discover` holds back `initialize`.
    pub probe: Duration,
    /// How long a TCP connect may take.
    pub tcp_connect: Duration,
    /// How long handshake and listing together may take.
    pub handshake: Duration,
    /// How long one of the lists may take.
    pub list: Duration,
    /// How long the tools of an upstream that just came wait for its other lists, once they are listed.
    pub other_lists: Duration,
    /// A legacy HTTP session on which nothing was answered for so long is looked for before a call that must not be sent
    /// twice.
    pub silence: Duration,
    /// Before the first restart; doubles.
    pub restart_first: Duration,
    /// The longest wait between restarts.
    pub restart_max: Duration,
    /// The longest that an upstream which cannot be connected is left alone because it asks for that (`Retry-After`).
    pub retry_after: Duration,
    /// How long list changes are gathered before the list is read again.
    pub debounce: Duration,
    /// How long a connection of one agent or session stays open unused.
    pub idle: Duration,
    /// Before a broken event stream is opened again, where the upstream names no time.
    pub stream_retry: Duration,
    /// Connections of agents or sessions per upstream.
    pub max_connections: usize,
    /// How long a call may wait for a slot.
    pub slot_wait: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            probe: Duration::from_secs(2),
            tcp_connect: Duration::from_secs(5),
            handshake: Duration::from_secs(60),
            list: Duration::from_secs(20),
            other_lists: Duration::from_secs(5),
            silence: Duration::from_secs(10),
            restart_first: Duration::from_millis(500),
            restart_max: Duration::from_secs(30),
            retry_after: Duration::from_secs(300),
            debounce: Duration::from_millis(100),
            idle: Duration::from_secs(600),
            stream_retry: Duration::from_secs(1),
            max_connections: 256,
            slot_wait: Duration::from_secs(60),
        }
    }
}
