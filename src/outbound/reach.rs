//! Which addresses may be asked where a document names the URL: what an upstream says of its issuer must not lead into our own
//! machine or network.

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};
use tower::Service;
use url::{Host, Url};

/// Which addresses may be asked.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Hosts that the configuration names: whatever their addresses are.
    named: Vec<String>,
    loopback: bool,
    private: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Public,
    Private,
    Loopback,
    /// Link-local and reserved: where clouds keep the secrets of machines.
    Never,
}

fn class(ip: IpAddr) -> Class {
    match ip.to_canonical() {
        IpAddr::V4(ip) => class_v4(ip),
        IpAddr::V6(ip) => class_v6(ip),
    }
}

fn class_v4(ip: Ipv4Addr) -> Class {
    let [a, b, ..] = ip.octets();
    if ip.is_loopback() {
        Class::Loopback
    } else if ip.is_private() || (a == 100 && (64..128).contains(&b)) || (a == 198 && (b == 18 || b == 19)) {
        Class::Private
    } else if a == 0 || a >= 224 || ip.is_link_local() {
        Class::Never
    } else {
        Class::Public
    }
}

fn class_v6(ip: Ipv6Addr) -> Class {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let low = || class_v4(Ipv4Addr::from_bits((u32::from(g) << 16) | u32::from(h)));
    if ip.is_loopback() {
        Class::Loopback
    } else if a & 0xfe00 == 0xfc00 {
        Class::Private
    } else if ip.is_unspecified() || ip.is_multicast() || a & 0xffc0 == 0xfe80 {
        Class::Never
    } else {
        match [a, b, c, d, e, f] {
            // What stands for an IPv4 address is that address.
            [0x64, 0xff9b, 0, 0, 0, 0] | [0, 0, 0, 0, 0, 0] => low(),
            [0x2002, ..] => class_v4(Ipv4Addr::from_bits((u32::from(b) << 16) | u32::from(c))),
            // Teredo, and NAT64 of a network's own.
            [0x2001, 0, ..] | [0x64, 0xff9b, 1, ..] => Class::Never,
            _ => Class::Public,
        }
    }
}

impl Reach {
    /// What an upstream at this URL may lead to: public addresses, and those of its own kind.
    pub fn of(upstream: &Url) -> Self {
        let class = match upstream.host() {
            Some(Host::Ipv4(ip)) => Some(class(ip.into())),
            Some(Host::Ipv6(ip)) => Some(class(ip.into())),
            Some(Host::Domain(name)) if is_local(name) => Some(Class::Loopback),
            Some(Host::Domain(_)) | None => None,
        };
        let loopback = class == Some(Class::Loopback);
        let private = matches!(class, Some(Class::Private | Class::Loopback));
        Self { named: host_of(upstream).into_iter().collect(), loopback, private }
    }

    /// And whatever this host's addresses are, for the configuration names it.
    #[must_use]
    pub fn and(mut self, named: Option<&Url>) -> Self {
        self.named.extend(named.and_then(host_of));
        self
    }

    fn allows(&self, ip: IpAddr) -> bool {
        match class(ip) {
            Class::Public => true,
            Class::Private => self.private,
            Class::Loopback => self.loopback,
            Class::Never => false,
        }
    }

    /// Whether secrets may go to a URL at all, as far as its text tells; the addresses of its name are looked at as it is
    /// reached.
    pub fn allows_url(&self, url: &Url) -> bool {
        let plain = url.username().is_empty() && url.password().is_none();
        let local = match url.host() {
            None => return false,
            Some(Host::Domain(name)) => is_local(name),
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
        };
        let literal = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(Host::Domain(_)) | None => None,
        };
        let secure = url.scheme() == "https" || (url.scheme() == "http" && local);
        let named = host_of(url).is_some_and(|host| self.named.contains(&host));
        plain && secure && (named || literal.map_or(!local || self.loopback, |ip| self.allows(ip)))
    }
}

fn is_local(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

fn host_of(url: &Url) -> Option<String> {
    Some(url.host_str()?.trim_end_matches('.').to_ascii_lowercase())
}

/// Looks names up, and gives only addresses that may be asked.
#[derive(Clone)]
pub(super) struct Resolver {
    inner: GaiResolver,
    reach: Option<Arc<Reach>>,
}

impl Resolver {
    /// None: whatever they are.
    pub(super) fn new(reach: Option<Arc<Reach>>) -> Self {
        Self { inner: GaiResolver::new(), reach }
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let host = name.as_str().trim_end_matches('.').to_ascii_lowercase();
        let reach = self.reach.clone().filter(|reach| !reach.named.contains(&host));
        let found = self.inner.call(name);
        Box::pin(async move {
            let mut found: Vec<SocketAddr> = found.await?.collect();
            if let Some(reach) = reach {
                found.retain(|address| reach.allows(address.ip()));
                if found.is_empty() {
                    return Err(io::Error::other(
                        "its name stands for no address that may be asked from here",
                    ));
                }
            }
            Ok(found.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(upstream: &str, named: Option<&str>, url: &str) -> bool {
        let named = named.map(|url| url.parse().unwrap());
        Reach::of(&upstream.parse().unwrap()).and(named.as_ref()).allows_url(&url.parse().unwrap())
    }

    /// What a public upstream says of its issuer leads to no address of this machine, network or cloud.
    #[test]
    fn a_document_leads_nowhere_inside() {
        let public = "https://mcp.example/mcp";
        for good in ["https://login.example/token", "https://8.8.8.8/", "https://mcp.example:8443/"] {
            assert!(allows(public, None, good), "{good}");
        }
        for bad in [
            "http://login.example/token",
            "https://127.0.0.1/",
            "http://localhost:8080/",
            "https://localhost/",
            "https://a.localhost./",
            "https://10.0.0.1/",
            "https://192.168.1.1/",
            "https://100.64.0.1/",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/",
            "https://[fd00::1]/",
            "https://[fe80::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[64:ff9b::a00:1]/",
            "https://[2002:a00:1::]/",
            "https://0.0.0.0/",
            "https://user:pass@login.example/",
            "ftp://login.example/",
        ] {
            assert!(!allows(public, None, bad), "{bad}");
        }
        assert!(allows("http://127.0.0.1:9/mcp", None, "http://localhost:8080/"));
        assert!(allows("https://10.0.0.1/mcp", None, "https://192.168.1.1/"));
        assert!(!allows("https://10.0.0.1/mcp", None, "https://127.0.0.1/"));
        assert!(!allows("https://10.0.0.1/mcp", None, "https://169.254.169.254/"));
        // What the configuration names is the admin's to choose.
        assert!(allows(public, Some("https://10.0.0.1/"), "https://10.0.0.1/token"));
    }

    #[tokio::test]
    async fn a_name_that_stands_for_an_address_inside_is_not_asked() {
        let resolve = |reach| async move {
            let mut resolver = Resolver::new(reach);
            resolver.call("localhost".parse().unwrap()).await.map(Iterator::count)
        };
        assert!(resolve(None).await.unwrap() > 0);
        let public = Reach::of(&"https://mcp.example/".parse().unwrap());
        assert!(resolve(Some(Arc::new(public))).await.is_err());
    }
}
