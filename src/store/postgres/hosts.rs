//! The hosts of a database, in the order in which they are tried.

use super::problem::NO_ANSWER;
use crate::clock::{IdSource as _, System};
use parking_lot::Mutex as Lock;
use std::{
    fmt,
    net::IpAddr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tokio::{net::lookup_host, time::timeout};
use tokio_postgres::{
    Config,
    config::{Host, LoadBalanceHosts, TargetSessionAttrs},
};

/// How long connecting to one address may take, until something can be done there.
pub(super) const CONNECTING: Duration = Duration::from_secs(3);

/// One of them, with the settings of a connection there.
pub(super) struct At {
    config: Config,
    /// Where it is asked for addresses; `None`: at a path, or there is one address.
    name: Option<String>,
    port: u16,
    /// The address that the URL gives.
    address: Option<IpAddr>,
    /// How many it had last.
    known: AtomicU32,
    /// The one of them that was reached last.
    reached: Lock<Option<IpAddr>>,
}

impl At {
    /// For people.
    pub(super) fn name(&self) -> String {
        match (self.config.get_hosts().first(), self.address) {
            (Some(Host::Tcp(name)), _) => format!("{name}:{}", self.port),
            #[cfg(unix)]
            (Some(Host::Unix(path)), _) => path.display().to_string(),
            (None, address) => {
                format!("{}:{}", address.map_or_else(String::new, |address| address.to_string()), self.port)
            }
        }
    }

    /// Where it is at this moment; `None`: where its settings say.
    pub(super) async fn addresses(&self) -> Result<Vec<Option<IpAddr>>, String> {
        let Some(name) = &self.name else { return Ok(vec![self.address]) };
        let found = match timeout(CONNECTING, lookup_host((name.as_str(), self.port))).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(format!("its address cannot be found: {error}")),
            Err(_) => return Err(format!("its address cannot be found: {NO_ANSWER}")),
        };
        let mut all: Vec<_> = found.map(|address| Some(address.ip())).collect();
        self.known.store(u32::try_from(all.len()).unwrap_or(u32::MAX), Ordering::Release);
        let last = *self.reached.lock();
        all.sort_by_key(|address| *address != last);
        match all.is_empty() {
            true => Err("it has no address".to_owned()),
            false => Ok(all),
        }
    }

    /// The settings for one of its addresses.
    pub(super) fn config(&self, address: Option<IpAddr>) -> Config {
        let mut config = self.config.clone();
        if let Some(address) = address {
            config.hostaddr(address);
        }
        config
    }

    /// How long it may keep somebody who tries it.
    fn patience(&self) -> Duration {
        CONNECTING * (self.known.load(Ordering::Acquire).min(20) + u32::from(self.name.is_some()))
    }
}

/// All of them.
pub(super) struct Hosts {
    each: Vec<At>,
    /// The one that was reached last. It comes before all others: where two take writes, a process stays with the one it knows.
    last: Lock<Option<usize>>,
    shuffled: bool,
}

/// As in the place of a database.
impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.each.iter().map(At::name).collect();
        f.write_str(&names.join(","))
    }
}

impl Hosts {
    /// Those of a URL that was read.
    pub(super) fn of(config: &Config) -> Result<Self, String> {
        let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
        let count = hosts.len().max(addresses.len());
        if count == 0 {
            return Err("the URL of the database names no host".to_owned());
        }
        if (!hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len())
            || (ports.len() > 1 && ports.len() != count)
        {
            return Err("the URL of the database has not as many ports or addresses as hosts".to_owned());
        }
        let each = (0..count).map(|at| {
            let (mut own, address) = (without_hosts(config), addresses.get(at).copied());
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            own.port(port);
            let name = match hosts.get(at) {
                Some(Host::Tcp(name)) => {
                    own.host(name);
                    Some(name.clone()).filter(|_| address.is_none())
                }
                #[cfg(unix)]
                Some(Host::Unix(path)) => {
                    own.host_path(path);
                    None
                }
                None => None,
            };
            // A name has two addresses often, one of each kind.
            let known = AtomicU32::new(if name.is_some() { 2 } else { 1 });
            At { config: own, name, port, address, known, reached: Lock::default() }
        });
        let shuffled = config.get_load_balance_hosts() == LoadBalanceHosts::Random;
        Ok(Self { each: each.collect(), last: Lock::default(), shuffled })
    }

    /// How long all of them may keep somebody who tries one after the other.
    pub(super) fn patience(&self) -> Duration {
        self.each.iter().map(At::patience).sum()
    }

    pub(super) fn are_several(&self) -> bool {
        self.each.len() > 1
    }

    /// In the order in which they are tried.
    pub(super) fn in_turn(&self) -> Vec<&At> {
        let last = *self.last.lock();
        let mut all: Vec<(usize, &At)> = self.each.iter().enumerate().collect();
        if self.shuffled {
            let random = System::default().random().first().copied().unwrap_or(0);
            let first = usize::from(random) % all.len();
            all.rotate_left(first);
        }
        all.sort_by_key(|(at, _)| Some(*at) != last);
        all.into_iter().map(|(_, host)| host).collect()
    }

    /// Remembers where the database was reached.
    pub(super) fn reached(&self, host: &At, address: Option<IpAddr>) {
        *host.reached.lock() = address;
        *self.last.lock() = self.each.iter().position(|own| std::ptr::eq(own, host));
    }
}

/// The settings of a URL for any host.
fn without_hosts(config: &Config) -> Config {
    let mut own = Config::new();
    if let Some(user) = config.get_user() {
        own.user(user);
    }
    if let Some(password) = config.get_password() {
        own.password(password);
    }
    if let Some(name) = config.get_dbname() {
        own.dbname(name);
    }
    if let Some(options) = config.get_options() {
        own.options(options);
    }
    own.application_name(config.get_application_name().unwrap_or("tollgate"));
    own.ssl_mode(config.get_ssl_mode()).ssl_negotiation(config.get_ssl_negotiation());
    own.channel_binding(config.get_channel_binding());
    // A standby that was not promoted takes nothing.
    own.target_session_attrs(TargetSessionAttrs::ReadWrite);
    own.connect_timeout(CONNECTING).tcp_user_timeout(Duration::from_secs(8));
    own.keepalives_idle(Duration::from_secs(5)).keepalives_interval(Duration::from_secs(2));
    own.keepalives_retries(3);
    own
}
