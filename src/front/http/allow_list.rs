//! The allow-list of `Host` and `Origin`: a web page must not reach a gateway on its reader's machine, neither by
//! rebinding a name (DNS rebinding) nor from another server on that machine.
//!
//! A client that is no browser sends no `Origin` and is let in. A browser sends one with every POST, or at least says in
//! `Sec-Fetch-Site` that another site's page asks. Only the listener's own origin counts, and what `allowed_origins` names.

use http::{HeaderMap, HeaderValue, Uri, header};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What is accepted.
#[derive(Debug)]
pub(super) struct AllowList {
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
    /// A page of another origin that does not say which.
    #[error("`Sec-Fetch-Site` says that a page of another origin asks, and no `Origin` says which")]
    Site,
}

impl AllowList {
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
        // It names nobody: every sandboxed frame has it.
        origins.retain(|origin| origin != "null");
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
        let Some(origin) = headers.get(header::ORIGIN) else {
            return if is_of_another_site(headers) { Err(Turned::Site) } else { Ok(None) };
        };
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
        // The listener's own: the host that was just accepted.
        let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        own.zip(host).is_some_and(|(own, host)| own.eq_ignore_ascii_case(host))
    }
}

/// Whether a browser says that a page of another origin sends this request (Fetch Metadata). `none` is a person's own doing.
pub(in crate::front) fn is_of_another_site(headers: &HeaderMap) -> bool {
    let own = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
    !headers.get_all("sec-fetch-site").iter().all(own)
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

    fn verdict(allow_list: &AllowList, host: &str, origin: &str) -> Result<(), Turned> {
        let mut headers = HeaderMap::new();
        if !host.is_empty() {
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        if !origin.is_empty() {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        allow_list.check(&Uri::from_static("/mcp"), &headers).map(|_| ())
    }

    #[test]
    fn a_loopback_listener_knows_loopback_and_what_is_configured() {
        let listen = "127.0.0.1:8787".parse().unwrap();
        let hosts = ["gate.internal".to_owned(), "fixed.internal:9000".to_owned()];
        let origins =
            ["https://app.example/", "vscode-webview://1a2b", "null"].map(|origin| origin.to_owned());
        let allow_list = AllowList::new(listen, Some("https://mcp.example/mcp"), &hosts, &origins);
        let check = |host: &str, origin: &str, expect: Result<(), Turned>| {
            assert_eq!(verdict(&allow_list, host, origin), expect, "{host} {origin}");
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
        check("localhost:8787", "http://localhost:8787", Ok(()));
        check("127.0.0.1:8787", "http://127.0.0.1:8787", Ok(()));
        check("[::1]:8787", "http://[::1]:8787", Ok(()));
        check("localhost", "vscode-webview://1a2b", Ok(()));
        // What else runs on this machine is not the gateway.
        for other in [
            "http://localhost:3000",
            "http://localhost",
            "https://127.0.0.1",
            "http://127.0.0.1:8788",
            "http://[::1]:8787",
            "http://localhost:87870",
            "http://a@localhost:8787",
            "vscode-webview://1a2c",
            "ws://localhost:8787",
            "localhost:8787",
            "",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:8787"));
            headers.insert(header::ORIGIN, HeaderValue::from_static(other));
            let got = allow_list.check(&Uri::from_static("/mcp"), &headers);
            assert_eq!(got, Err(Turned::Origin), "{other}");
        }
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
    fn a_browser_without_an_origin_says_whose_page_asks() {
        let allow_list = AllowList::new("127.0.0.1:8787".parse().unwrap(), None, &[], &[]);
        let check = |sites: &[&'static str], target: &'static str, expect: Result<(), Turned>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:8787"));
            for site in sites {
                headers.append("sec-fetch-site", HeaderValue::from_static(site));
            }
            let got = allow_list.check(&Uri::from_static(target), &headers).map(|_| ());
            assert_eq!(got, expect, "{sites:?} {target}");
        };
        check(&[], "/mcp", Ok(()));
        check(&["none"], "/mcp", Ok(()));
        check(&["same-origin"], "/mcp", Ok(()));
        for site in ["cross-site", "same-site", "", "Same-Origin", "later-word"] {
            check(&[site], "/mcp", Err(Turned::Site));
            check(&["none", site], "/mcp", Err(Turned::Site));
        }
        // Both say whom the request is for.
        check(&[], "http://localhost:8787/mcp", Ok(()));
        check(&[], "http://evil.example/mcp", Err(Turned::Host));
    }

    #[test]
    fn an_open_listener_takes_addresses_and_named_hosts() {
        let allow_list =
            AllowList::new("0.0.0.0:443".parse().unwrap(), None, &["gate.example".to_owned()], &[]);
        let check = |host: &str, origin: &str, expect: Result<(), Turned>| {
            assert_eq!(verdict(&allow_list, host, origin), expect, "{host} {origin}");
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
