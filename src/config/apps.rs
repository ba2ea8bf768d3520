//! `[upstreams.NAME] apps`: what pages of an upstream (MCP Apps) may ask of the host that shows them. Absent: nothing.

use super::AppsConfig;
use crate::policy::{
    read::{Fields, fields, list_of, mismatch, short, text},
    source::{Node, Report},
};

const KEYS: &[&str] =
    &["connect_domains", "resource_domains", "frame_domains", "base_uri_domains", "domains", "permissions"];
/// As servers.toml writes them, and as pages do.
const PERMISSIONS: &[(&str, &str)] = &[
    ("camera", "camera"),
    ("microphone", "microphone"),
    ("geolocation", "geolocation"),
    ("clipboard_write", "clipboardWrite"),
];

/// Reads the table.
pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Option<AppsConfig> {
    let map = fields(node, "apps", KEYS, report)?;
    Some(AppsConfig {
        connect_domains: origins(&map, "connect_domains", report),
        resource_domains: origins(&map, "resource_domains", report),
        frame_domains: origins(&map, "frame_domains", report),
        base_uri_domains: origins(&map, "base_uri_domains", report),
        domains: domains(&map, report),
        permissions: permissions(&map, report),
    })
}

fn list(
    map: &Fields<'_>,
    key: &str,
    report: &mut Report<'_>,
    one: impl Fn(&Node, &str, &mut Report<'_>) -> Option<String>,
) -> Vec<String> {
    map.get(key).and_then(|node| list_of(node, key, report, one)).unwrap_or_default()
}

fn origins(map: &Fields<'_>, key: &str, report: &mut Report<'_>) -> Vec<String> {
    list(map, key, report, |node, key, report| {
        let written = text(node, key, report)?;
        if &*written == "*" {
            report.lint(
                node.start,
                format!("`{key}` of apps grants every origin"),
                "the origins that its pages need",
            );
        } else if !is_origin(&written) {
            let why = format!("`{}` in `{key}` is no origin", short(&written));
            report.error(node.start, why, "https://host, https://*.host.example, wss://host:port, or \"*\"");
            return None;
        }
        Some(written.to_string())
    })
}

fn domains(map: &Fields<'_>, report: &mut Report<'_>) -> Vec<String> {
    list(map, "domains", report, |node, key, report| text(node, key, report).map(|text| text.to_string()))
}

fn permissions(map: &Fields<'_>, report: &mut Report<'_>) -> Vec<String> {
    list(map, "permissions", report, |node, key, report| {
        let written = text(node, key, report)?;
        match PERMISSIONS.iter().find(|(name, page)| *written == **name || *written == **page) {
            Some((_, page)) => Some((*page).to_owned()),
            None => {
                mismatch(node, key, "some of camera, microphone, geolocation, clipboard_write", report);
                None
            }
        }
    })
}

/// `https://*.example.com:8443`
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let (host, port) = rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let host = host.strip_prefix("*.").filter(|host| host.contains('.')).unwrap_or(host);
    matches!(scheme, "https" | "wss" | "http" | "ws")
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
        && host
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}
