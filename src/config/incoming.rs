//! Who may come in, and from where: the listeners' certificate, the authority of clients' certificates, and the proxies in front.

use super::{
    ForwardedBy, TlsConfig,
    file::resolve,
    input::{Input, expanded},
};
use crate::policy::{
    read::{Fields, fields, list_of, mismatch, short, text, word},
    source::{Node, Report},
};
use ipnet::IpNet;
use std::net::IpAddr;

/// Proxies that are named at most.
const MOST_PROXIES: usize = 256;

/// `tls`
pub(super) fn tls(node: &Node, input: &Input<'_>, report: &mut Report<'_>) -> Option<TlsConfig> {
    let map = fields(node, "tls", &["cert", "key", "client_ca", "crl"], report)?;
    let file = |key: &str, report: &mut Report<'_>| {
        let node = map.required(key, "the path of a PEM file", report)?;
        let found = resolve(input.path, &expanded(&map, key, input, report)??);
        if !found.is_file() {
            report.error(
                node.start,
                format!("`{}` is not a file", found.display()),
                "the path of a PEM file",
            );
        }
        Some(found)
    };
    let cert = file("cert", report);
    let key = file("key", report);
    let client_ca = match map.lacks("client_ca") {
        true => None,
        false => Some(file("client_ca", report)?),
    };
    let crl = match map.lacks("crl") {
        true => None,
        false => Some(file("crl", report)?),
    };
    if let (Some(node), true) = (map.get("crl"), map.lacks("client_ca")) {
        report.error(
            node.start,
            "`crl` means nothing without `client_ca`: no client is asked for a certificate",
            "`client_ca`, the certificates of who vouches for clients",
        );
    }
    Some(TlsConfig { cert: cert?, key: key?, client_ca, crl })
}

/// `trusted_proxies`: addresses and networks.
pub(super) fn trusted_proxies(map: &Fields<'_>, report: &mut Report<'_>) -> Vec<IpNet> {
    let one = |item: &Node, key: &str, report: &mut Report<'_>| {
        let written = text(item, key, report)?;
        let network = written.parse::<IpNet>().ok();
        let network = network.or_else(|| written.parse::<IpAddr>().ok().map(IpNet::from));
        let Some(network) = network else {
            mismatch(item, key, "an address or a network, like 10.0.0.7 or 2001:db8::/32", report);
            return None;
        };
        if network.trunc() != network {
            report.error(
                item.start,
                format!("`{}` has bits behind its prefix", short(&written)),
                format!("`{}`, or the address alone", network.trunc()),
            );
        }
        if network.prefix_len() == 0 {
            report.lint(
                item.start,
                format!("`{}` trusts everybody: whoever calls says from where", short(&written)),
                "the proxies' own addresses",
            );
        }
        Some(network)
    };
    let read = map.read("trusted_proxies", report, |node, key, report| list_of(node, key, report, one));
    let read: Vec<IpNet> = read.unwrap_or_default();
    if let (true, Some(node)) = (read.len() > MOST_PROXIES, map.get("trusted_proxies")) {
        report.error(
            node.start,
            format!("`trusted_proxies` names {} networks", read.len()),
            format!("at most {MOST_PROXIES}"),
        );
    }
    read
}

/// `forwarded_by`
pub(super) fn forwarded_by(map: &Fields<'_>, report: &mut Report<'_>) -> ForwardedBy {
    let words =
        const { &[("x-forwarded-for", ForwardedBy::XForwardedFor), ("forwarded", ForwardedBy::Forwarded)] };
    if let (Some(node), true) = (map.get("forwarded_by"), map.lacks("trusted_proxies")) {
        report.lint(
            node.start,
            "`forwarded_by` means nothing without `trusted_proxies`",
            "the proxies' addresses",
        );
    }
    map.read("forwarded_by", report, word(words)).unwrap_or_default()
}
