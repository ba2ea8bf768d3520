//! Which `Host` and which `Origin` may knock: a web page must not reach a gateway on its reader's machine by
//! rebinding a name (DNS rebinding).

use http::{HeaderMap, HeaderValue, Uri, header};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What is accepted.
#[derive(Debug)]
pub(super) struct Doors {
    loopback: bool,
    hosts: Vec<(String, Option<u16>)>,
    origins: Vec<String>,
}

/// Why a request is turned away; the text is for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Turned {
    /// No or more than one host.
    #[error("exactly one `Host` is needed")]
    NoHost,
    /// A host that is not ours.
    #[error("this `Host` is not served here: name it in `allowed_hosts` or `public_url`")]
    Host,
    /// An origin that is not ours.
    #[error("this `Origin` is not accepted: name it in `allowed_origins`")]
    Origin,
}

impl Doors {
    /// From what servers.toml says.
    pub(super) fn new(
        listen: SocketAddr,
        public_url: Option<&str>,
        allowed_hosts: &[String],
        allowed_origins: &[String],
    ) -> Self {
        let mut hosts = vec![(own_name(listen.ip()), Some(listen.port()))];
        let entries = allowed_hosts.iter().filter_map(|entry| split(entry));
        hosts.extend(entries.map(|(host, port)| (host.to_ascii_lowercase(), port)));
        let mut origins: Vec<String> =
            allowed_origins.iter().map(|o| o.trim_end_matches('/').to_ascii_lowercase()).collect();
        if let Some(url) = public_url.and_then(|text| url::Url::parse(text).ok()) {
            if let Some(host) = url.host_str() {
                hosts.push((host.to_ascii_lowercase(), None));
            }
            origins.push(url.origin().ascii_serialization());
        }
        Self { loopback: listen.ip().is_loopback(), hosts, origins }
    }

    /// Lets a request in; the origin comes back where there was one.
    pub(super) fn check<'h>(
        &self,
        uri: &Uri,
        headers: &'h HeaderMap,
    ) -> Result<Option<&'h HeaderValue>, Turned> {
        let mut named = headers.get_all(header::HOST).iter();
        let host = named.next();
        if named.next().is_some() {
            return Err(Turned::NoHost);
        }
        let host = host.map(|value| value.to_str().map_err(|_| Turned::Host)).transpose()?;
        // HTTP/2 names it in the target; where both are there, both count.
        let target = uri.authority().map(http::uri::Authority::as_str);
        if host.is_none() && target.is_none() {
            return Err(Turned::NoHost);
        }
        if ![host, target].into_iter().flatten().all(|authority| self.knows_host(authority)) {
            return Err(Turned::Host);
        }
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(None) };
        let known = origin.to_str().is_ok_and(|text| self.knows_origin(text, host.or(target)));
        if known && headers.get_all(header::ORIGIN).iter().count() == 1 {
            Ok(Some(origin))
        } else {
            Err(Turned::Origin)
        }
    }

    fn knows_host(&self, authority: &str) -> bool {
        let Some((host, port)) = split(authority) else { return false };
        if self.loopback && is_loopback_name(host) {
            return true;
        }
        // A name can be rebound, an address cannot.
        if !self.loopback && address(host).is_some() {
            return true;
        }
        self.hosts.iter().any(|(known, at)| {
            known.eq_ignore_ascii_case(host) && at.is_none_or(|at| port.is_none_or(|p| p == at))
        })
    }

    fn knows_origin(&self, origin: &str, host: Option<&str>) -> bool {
        if self.origins.iter().any(|known| known.eq_ignore_ascii_case(origin)) {
            return true;
        }
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        if scheme != "http" && scheme != "https" {
            return false;
        }
        let Some((name, _)) = split(authority) else { return false };
        // The listener's own: the host that was just accepted.
        (self.loopback && is_loopback_name(name))
            || host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
    }
}

fn own_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// Host and port of an authority without user information.
fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
        Some(_) | None => (authority, None),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let fine = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(plain),
    };
    fine.then_some((host, port))
}

fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn is_loopback_name(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || address(host).is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(doors: &Doors, host: &str, origin: &str) -> Result<(), Turned> {
        let mut headers = HeaderMap::new();
        if !host.is_empty() {
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        if !origin.is_empty() {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        doors.check(&Uri::from_static("/mcp"), &headers).map(|_| ())
    }

    #[test]
    fn a_loopback_listener_knows_loopback_and_what_is_configured() {
        let listen = "127.0.0.1:8787".parse().unwrap();
        let hosts = ["gate.internal".to_owned(), "fixed.internal:9000".to_owned()];
        let origins = ["https://app.example/".to_owned()];
        let doors = Doors::new(listen, Some("https://mcp.example/mcp"), &hosts, &origins);
        let check = |host: &str, origin: &str, expect: Result<(), Turned>| {
            assert_eq!(verdict(&doors, host, origin), expect, "{host} {origin}");
        };
        check("127.0.0.1:8787", "", Ok(()));
        check("localhost:1", "", Ok(()));
        check("LOCALHOST", "", Ok(()));
        check("[::1]:8787", "", Ok(()));
        check("127.9.9.9", "", Ok(()));
        check("gate.internal:77", "", Ok(()));
        check("fixed.internal:9000", "", Ok(()));
        check("fixed.internal:9001", "", Err(Turned::Host));
        check("mcp.example", "", Ok(()));
        check("", "", Err(Turned::NoHost));
        check("evil.example", "", Err(Turned::Host));
        check("localhost.evil.example", "", Err(Turned::Host));
        check("localhost@evil.example", "", Err(Turned::Host));
        check("10.0.0.1", "", Err(Turned::Host));
        check("127.0.0.1:99999", "", Err(Turned::Host));
        check("localhost", "http://localhost:3000", Ok(()));
        check("localhost", "https://127.0.0.1", Ok(()));
        check("localhost", "https://app.example", Ok(()));
        check("localhost", "https://APP.example", Ok(()));
        check("localhost", "https://mcp.example", Ok(()));
        check("gate.internal", "https://gate.internal", Ok(()));
        check("localhost", "http://app.example", Err(Turned::Origin));
        check("localhost", "https://evil.example", Err(Turned::Origin));
        check("localhost", "http://localhost.evil.example", Err(Turned::Origin));
        check("localhost", "file://localhost", Err(Turned::Origin));
        check("localhost", "null", Err(Turned::Origin));
    }

    #[test]
    fn an_open_listener_takes_addresses_and_named_hosts() {
        let doors = Doors::new("0.0.0.0:443".parse().unwrap(), None, &["gate.example".to_owned()], &[]);
        let check = |host: &str, origin: &str, expect: Result<(), Turned>| {
            assert_eq!(verdict(&doors, host, origin), expect, "{host} {origin}");
        };
        check("192.0.2.7:443", "", Ok(()));
        check("[2001:db8::1]", "", Ok(()));
        check("gate.example", "", Ok(()));
        check("gate.example", "https://gate.example", Ok(()));
        check("localhost", "", Err(Turned::Host));
        check("other.example", "", Err(Turned::Host));
        check("192.0.2.7", "http://localhost:3000", Err(Turned::Origin));
    }
}
