//! `[delivery.NAME]`: where every record goes beside the store.

use super::{
    Config, DeliveryConfig, DeliveryFormat, DeliveryTarget, SyslogTransport,
    file::resolve,
    input::{Input, expanded},
    is_loopback,
    secret_url::signed,
};
use crate::policy::{
    names::did_you_mean,
    read::{Fields, bytes, count, fields, mismatch, word},
    source::{Entry, Node, Report},
};
use std::{net::IpAddr, path::Path, sync::Arc};

/// The most deliveries: each reads the record for itself.
const MOST: usize = 8;
/// What a file may grow to, and how many are kept, where that is not said.
const MAX_BYTES: u64 = 100 << 20;
const KEEP: u64 = 10;
const WAYS: &[&str] = &["file", "url", "syslog"];

pub(super) fn read(
    entries: &[Entry],
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<Arc<DeliveryConfig>>> {
    if let Some(more) = entries.get(MOST) {
        report.error(more.at, format!("there are {} deliveries", entries.len()), "at most 8");
        return None;
    }
    entries.iter().map(|entry| one(entry, input, report).map(Arc::new)).collect()
}

fn one(entry: &Entry, input: &Input<'_>, report: &mut Report<'_>) -> Option<DeliveryConfig> {
    const KEYS: &[&str] = &["file", "url", "secret", "syslog", "format", "from", "max_bytes", "keep"];
    let name = entry.key.as_str();
    let plain = !name.is_empty() && name.len() <= 64;
    if !plain || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        let expected = "letters, digits, `-` and `_`: it is a part of a file's name";
        report.error(entry.at, format!("`{name}` cannot name a delivery"), expected);
        return None;
    }
    let map = fields(&entry.value, &format!("delivery.{name}"), KEYS, report)?;
    let format =
        map.read("format", report, word(&[("jsonl", DeliveryFormat::Jsonl), ("ocsf", DeliveryFormat::Ocsf)]));
    let from_start = map.read("from", report, word(&[("start", true), ("now", false)]));
    let target = target(name, &map, entry, input, report)?;
    let format = format.unwrap_or(DeliveryFormat::Jsonl);
    Some(DeliveryConfig { name: name.into(), target, format, from_start: from_start.unwrap_or(false) })
}

/// Of the replicas on a database one delivers to each place, now this one and now another: what is of one machine has a part of the
/// record.
pub(super) fn of_one_machine(entries: &[Entry], config: &Config, report: &mut Report<'_>) {
    if config.store.postgres.is_none() {
        return;
    }
    for (entry, place) in entries.iter().zip(&config.deliveries) {
        let what = match &place.target {
            DeliveryTarget::File { .. } => "a file",
            DeliveryTarget::Syslog { address, .. } if is_own(address) => "a syslog",
            DeliveryTarget::Webhook { url, .. } if is_loopback(&url.0) => "a service",
            DeliveryTarget::Syslog { .. } | DeliveryTarget::Webhook { .. } => continue,
        };
        let why = format!(
            "`delivery.{}` goes to {what} of this machine, and of all replicas one delivers at a time: what another one delivers is not there",
            place.name
        );
        report.lint(
            entry.at,
            why,
            "a place that all replicas reach, like a `url`, or a file in a folder that they share",
        );
    }
}

/// Whether an address is one of this machine alone.
fn is_own(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn target(
    name: &str,
    map: &Fields<'_>,
    entry: &Entry,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<DeliveryTarget> {
    let given: Vec<&str> = WAYS.iter().copied().filter(|way| map.get(way).is_some()).collect();
    let &[way] = given.as_slice() else {
        let said =
            if given.is_empty() { "nowhere".to_owned() } else { format!("to {}", given.join(" and ")) };
        report.error(entry.at, format!("`delivery.{name}` goes {said}"), "one of `file`, `url` and `syslog`");
        return None;
    };
    for (key, of) in [("secret", "url"), ("max_bytes", "file"), ("keep", "file")] {
        if let Some(node) = map.get(key).filter(|_| way != of) {
            report.error(
                node.start,
                format!("`{key}` says nothing of a delivery by `{way}`"),
                format!("`{of}` beside it"),
            );
            return None;
        }
    }
    match way {
        "file" => file(map, input, report),
        "url" => {
            let (url, secret) =
                signed(map, &format!("the delivery `{name}`"), "where records are sent", input, report);
            Some(DeliveryTarget::Webhook { url: url?, secret: secret? })
        }
        _ => syslog(map, map.get("syslog")?, input, report),
    }
}

fn file(map: &Fields<'_>, input: &Input<'_>, report: &mut Report<'_>) -> Option<DeliveryTarget> {
    let written = expanded(map, "file", input, report)??;
    let max_bytes = map.read("max_bytes", report, bytes(64 << 10, 1 << 40));
    let keep = map.read("keep", report, count(1, 10_000));
    if written.ends_with('/') || Path::new(&written).file_name().is_none() {
        mismatch(map.get("file")?, "file", "the path of a file", report);
        return None;
    }
    let path = resolve(input.path, &written);
    let named = Path::new(&written).parent().filter(|named| !named.as_os_str().is_empty());
    if let (Some(named), Some(node)) = (named, map.get("file"))
        && !path.parent().is_some_and(Path::is_dir)
    {
        let why = format!("`{}`, the folder of this file, is not there", named.display());
        report.doubt(node.start, why, "a folder that is there: until then its records wait in the store");
    }
    Some(DeliveryTarget::File { path, max_bytes: max_bytes.unwrap_or(MAX_BYTES), keep: keep.unwrap_or(KEEP) })
}

fn syslog(
    map: &Fields<'_>,
    node: &Node,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<DeliveryTarget> {
    const EXPECTED: &str = "tcp://HOST:PORT or udp://HOST:PORT";
    let written = expanded(map, "syslog", input, report)??;
    let (scheme, address) = written.split_once("://").unwrap_or(("", &written));
    let transport = match scheme {
        "tcp" => Some(SyslogTransport::Tcp),
        "udp" => Some(SyslogTransport::Udp),
        _ => None,
    };
    let port = address
        .rsplit_once(':')
        .and_then(|(host, port)| port.parse::<u16>().ok().filter(|_| !host.is_empty()));
    if let (Some(transport), Some(1..)) = (transport, port) {
        return Some(DeliveryTarget::Syslog { transport, address: address.into() });
    }
    let hint = did_you_mean(scheme, ["tcp", "udp"].into_iter());
    report.error(node.start, format!("`syslog` is no address{hint}"), EXPECTED);
    None
}
