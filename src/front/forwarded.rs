//! Whose request it is that a proxy passes on: what trusted proxies say of it counts, and nothing else does.

use crate::config::{ForwardedBy, GatewayConfig};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Hops that are read at most, from the last one on.
const MOST_HOPS: usize = 32;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address that a request came from, as the proxies that servers.toml names tell it.
pub(crate) fn client(config: &GatewayConfig, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    Proxies { trusted: &config.trusted_proxies, by: config.forwarded_by }.client(peer, headers)
}

/// The proxies in front of a listener.
struct Proxies<'c> {
    trusted: &'c [IpNet],
    by: ForwardedBy,
}

impl Proxies<'_> {
    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&address))
    }

    /// The address that a request came from: of the hops that proxies tell, the last one that is no trusted proxy. What stands
    /// before that, anybody may have written. Where a hop cannot be read, the proxy that told it is all that is known.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        let mut last = peer;
        let name = match self.by {
            ForwardedBy::XForwardedFor => X_FORWARDED_FOR,
            ForwardedBy::Forwarded => header::FORWARDED,
        };
        let lines: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
        let mut read = 0;
        for line in lines.into_iter().rev() {
            let hops = line.to_str().ok().and_then(|line| match self.by {
                ForwardedBy::XForwardedFor => Some(line.split(',').collect()),
                ForwardedBy::Forwarded => split(line, ','),
            });
            let Some(hops) = hops else { return last };
            for hop in hops.into_iter().rev() {
                let address = match self.by {
                    ForwardedBy::XForwardedFor => address(hop),
                    ForwardedBy::Forwarded => forwarded(hop),
                };
                read += 1;
                match address {
                    Some(address) if read <= MOST_HOPS => last = address,
                    Some(_) | None => return last,
                }
                if !self.trusts(last) {
                    return last;
                }
            }
        }
        last
    }
}

/// The parts between separators that stand in no quotes. None where a quote has no end: one that a client left open would swallow
/// what the proxy wrote behind it.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text
        .split(|c: char| {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ => return c == separator && !quoted,
            }
            false
        })
        .collect();
    (!quoted).then_some(parts)
}

/// An address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let plain = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok();
    plain().or_else(with_port).or_else(|| bracketed().map(IpAddr::V6)).map(|address| address.to_canonical())
}

/// `for` of an element of `Forwarded` (RFC 7239).
fn forwarded(element: &str) -> Option<IpAddr> {
    let mut pairs = split(element, ';')?.into_iter().filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let node = node.trim();
    let unquoted = || node.strip_prefix('"')?.strip_suffix('"');
    address(unquoted().unwrap_or(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(by: ForwardedBy, peer: &str, lines: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8:1::/48"];
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let proxies = Proxies { trusted: &trusted, by };
        let mut headers = HeaderMap::new();
        let name = if by == ForwardedBy::Forwarded { header::FORWARDED } else { X_FORWARDED_FOR };
        for line in lines {
            headers.append(name.clone(), HeaderValue::from_str(line).unwrap());
        }
        // The header that does not count says something else.
        let other = if by == ForwardedBy::Forwarded { X_FORWARDED_FOR } else { header::FORWARDED };
        headers.append(other, HeaderValue::from_static("6.6.6.6"));
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_last_hop_that_is_no_trusted_proxy_is_the_client() {
        let check = |peer: &str, lines: &[&str], expect: &str| {
            assert_eq!(client(ForwardedBy::XForwardedFor, peer, lines), expect, "{peer} {lines:?}");
        };
        check("203.0.113.9", &["1.2.3.4"], "203.0.113.9");
        check("10.1.1.1", &[], "10.1.1.1");
        check("10.1.1.1", &["203.0.113.9"], "203.0.113.9");
        // Whatever a client writes stands before what the proxies add.
        check("10.1.1.1", &["1.2.3.4, 203.0.113.9"], "203.0.113.9");
        check("10.1.1.1", &["1.2.3.4", "203.0.113.9"], "203.0.113.9");
        check("10.1.1.1", &["203.0.113.9, 10.2.2.2, 192.0.2.7"], "203.0.113.9");
        check("10.1.1.1", &["10.9.9.9, 10.2.2.2"], "10.9.9.9");
        check("10.1.1.1", &["127.0.0.1"], "127.0.0.1");
        // Ports, brackets, IPv6, and IPv4 in the form of IPv6.
        check("10.1.1.1", &["203.0.113.9:5555"], "203.0.113.9");
        check("10.1.1.1", &["[2001:db8:9::1]:5555"], "2001:db8:9::1");
        check("10.1.1.1", &["[2001:db8:9::1]"], "2001:db8:9::1");
        check("2001:db8:1::5", &["2001:db8:9::1, 2001:db8:1::6"], "2001:db8:9::1");
        check("::ffff:10.1.1.1", &["::ffff:203.0.113.9"], "203.0.113.9");
        check("::ffff:203.0.113.9", &["1.2.3.4"], "203.0.113.9");
        // Garbage is nobody: who told it is all that is known.
        check("10.1.1.1", &["203.0.113.9, unknown"], "10.1.1.1");
        check("10.1.1.1", &["203.0.113.9, , 10.2.2.2"], "10.2.2.2");
        check("10.1.1.1", &["203.0.113.9, 10.2.2.2:99999"], "10.1.1.1");
        check("10.1.1.1", &["not-an-address"], "10.1.1.1");
        check("10.1.1.1", &["[10.2.2.2]"], "10.1.1.1");
        check("10.1.1.1", &[""], "10.1.1.1");
        check("10.1.1.1", &[&format!("203.0.113.9{}", ", 10.2.2.2".repeat(40))], "10.2.2.2");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_says() {
        let check = |lines: &[&str], expect: &str| {
            assert_eq!(client(ForwardedBy::Forwarded, "10.1.1.1", lines), expect, "{lines:?}");
        };
        check(&["for=203.0.113.9"], "203.0.113.9");
        check(&["by=10.1.1.1; FOR=\"203.0.113.9:47011\"; proto=https"], "203.0.113.9");
        check(&["for=1.2.3.4, for=\"[2001:db8:9::17]:4711\""], "2001:db8:9::17");
        check(&["for=203.0.113.9, for=10.2.2.2"], "203.0.113.9");
        check(&["for=1.2.3.4;host=\"a,for=9.9.9.9\""], "1.2.3.4");
        check(&["for=1.2.3.4;host=\"\\\",\", for=203.0.113.9"], "203.0.113.9");
        for obscured in ["for=unknown", "for=_hidden", "proto=https", "for=", "for=\"203.0.113.9", "x"] {
            check(&[&format!("for=1.2.3.4, {obscured}")], "10.1.1.1");
        }
        check(&["6.6.6.6"], "10.1.1.1");
        // A client that leaves a quote open does not hide what the proxy wrote, nor pass for somebody else.
        for open in ["for=6.6.6.6;x=\"", "for=6.6.6.6;x=\"\\", "for=6.6.6.6;x=\"\\\""] {
            for added in ["for=203.0.113.9", "for=\"203.0.113.9:9\"", "for=203.0.113.9;host=\"h\""] {
                check(&[&format!("{open}, {added}")], "10.1.1.1");
                check(&[open, added], "203.0.113.9");
            }
        }
    }
}
