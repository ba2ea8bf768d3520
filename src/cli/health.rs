//! `tollgate health`, and how this machine asks the admin listener what anybody may: whether it is there, and whether it is ready.

use super::{args::HealthArgs, environment::Environment, failure::CliError, screen::Screen};
use crate::{
    config::{self, Config},
    outbound::{Outbound, Reply},
};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::Value;
use std::{fmt, net::SocketAddr, path::Path, time::Duration};

/// The most that is read of an answer.
const MOST_BYTES: usize = 4_096;

/// An admin listener as this machine reaches it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    tls: bool,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.address)
    }
}

impl From<(SocketAddr, bool)> for Listener {
    fn from((address, tls): (SocketAddr, bool)) -> Self {
        Self { address: config::reached(address), tls }
    }
}

impl From<&Config> for Listener {
    fn from(config: &Config) -> Self {
        Self::from((config.admin.listen, config.gateway.tls.is_some()))
    }
}

impl Listener {
    /// What it answers to who brings no key.
    pub(super) async fn get(self, route: &str, patience: Duration) -> Result<Reply, String> {
        let request = http::Request::get(format!("{self}{route}")).body(Full::new(Bytes::new()));
        let request = request.map_err(|error| error.to_string())?;
        let outbound = if self.tls { Outbound::unverified()? } else { Outbound::default() };
        outbound.send(request, MOST_BYTES, patience).await.map_err(|error| error.to_string())
    }
}

/// Asks the gateway whether it is ready, as a load balancer does.
pub(super) async fn health(path: &Path, args: &HealthArgs) -> Result<(), CliError> {
    if !path.is_file() {
        return Err(CliError::Told(format!(
            "`{}` is not there: `tollgate init` writes a first one, `--config FILE` or TOLLGATE_CONFIG names another",
            path.display()
        )));
    }
    let environment = Environment::as_far_as_read(path);
    // Not all of the files: it is asked often, and what `${cmd:…}` stands for would be fetched each time.
    let place = config::admin_place(path, &|name| environment.get(name)).ok_or_else(|| {
        CliError::Told(format!(
            "`{}` does not say where the admin listener is: name another with --config FILE, or see `tollgate check`",
            path.display()
        ))
    })?;
    let listener = Listener::from(place);
    let reply = listener.get("/readyz", args.timeout).await.map_err(|why| {
        CliError::Told(format!(
            "not healthy: nothing answers at {listener}/readyz ({why}); `tollgate serve` runs the gateway"
        ))
    })?;
    let said: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    match said.get("status").and_then(Value::as_str) {
        Some("ready") if reply.status.is_success() => Screen::new().line("ready"),
        Some(status) => {
            Err(CliError::Told(format!("not healthy: {status} (HTTP {})", reply.status.as_u16())))
        }
        None => Err(CliError::Told(format!(
            "not healthy: what answers at {listener}/readyz is no Tollgate (HTTP {}); is the port another program's?",
            reply.status.as_u16()
        ))),
    }
}
