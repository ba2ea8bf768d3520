//! `[audit]`: where checkpoints of the record are kept, how often they are made, and who witnesses them.

use super::{AuditConfig, SecretUrl, Witness, expand::expand, file::resolve, input::Input, is_loopback};
use crate::{
    policy::{
        read::{count, duration, fields, list, mismatch, text},
        source::{Kind, Node, Report},
    },
    proof::{Kind as KeyKind, VerifierKey},
};
use std::{path::PathBuf, sync::Arc, time::Duration};

const MOST_FOLDERS: usize = 8;
const MOST_WITNESSES: usize = 16;

pub(super) fn read(node: Option<&Node>, input: &Input<'_>, report: &mut Report<'_>) -> Option<AuditConfig> {
    let Some(node) = node else { return Some(AuditConfig::default()) };
    let map = fields(node, "audit", &["checkpoints", "records", "every", "witnesses"], report)?;
    let folders = match map.get("checkpoints") {
        None => Some(Vec::new()),
        Some(node) => folders(node, input, report),
    };
    let records = map.read("records", report, count(1, 100_000_000));
    let every = map.read("every", report, duration(Duration::from_secs(1), Duration::from_secs(30 * 86_400)));
    let witnesses = match map.get("witnesses") {
        None => Some(Vec::new()),
        Some(node) => witnesses(node, input, report),
    };
    let usual = AuditConfig::default();
    Some(AuditConfig {
        checkpoints: folders?,
        records: records.unwrap_or(usual.records),
        every: every.unwrap_or(usual.every),
        witnesses: witnesses?,
    })
}

/// One path, or a list of them.
fn folders(node: &Node, input: &Input<'_>, report: &mut Report<'_>) -> Option<Vec<PathBuf>> {
    let items: Vec<&Node> = match &node.kind {
        Kind::List(items) => items.iter().collect(),
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Map(_) => vec![node],
    };
    if items.len() > MOST_FOLDERS {
        report.error(node.start, format!("`checkpoints` lists {} folders", items.len()), "at most 8 folders");
        return None;
    }
    let paths = items.into_iter().map(|item| {
        let written = text(item, "checkpoints", report)?;
        let path = expand(item, &written, input.env, report)?;
        if path.is_empty() {
            mismatch(item, "checkpoints", "the path of a folder", report);
            return None;
        }
        Some(resolve(input.path, &path))
    });
    paths.collect()
}

fn witnesses(node: &Node, input: &Input<'_>, report: &mut Report<'_>) -> Option<Vec<Arc<Witness>>> {
    let items = list(node, "witnesses", report)?;
    if items.len() > MOST_WITNESSES {
        report.error(
            node.start,
            format!("`witnesses` lists {} witnesses", items.len()),
            "at most 16 witnesses",
        );
        return None;
    }
    items.iter().map(|item| witness(item, input, report).map(Arc::new)).collect()
}

fn witness(node: &Node, input: &Input<'_>, report: &mut Report<'_>) -> Option<Witness> {
    let map = fields(node, "witnesses", &["url", "key"], report)?;
    let url = map.required("url", "the witness's submission prefix", report).and_then(|node| {
        let written = text(node, "url", report)?;
        let written = expand(node, &written, input.env, report)?;
        let safe = url::Url::parse(&written).ok().filter(|url| {
            let plain = url.has_host() && url.username().is_empty() && url.password().is_none();
            plain && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url)))
        });
        if safe.is_none() {
            let why = "`url` of the witness cannot be used (not shown: it may hold a secret)";
            report.error(node.start, why, "an https URL without a user, or http on this machine");
        }
        safe
    });
    let key = map.required("key", "the witness's verifier key, NAME+ID+KEY", report).and_then(|node| {
        let written = text(node, "key", report)?;
        let key = VerifierKey::parse(&written).ok().filter(|key| key.kind == KeyKind::Witness);
        if key.is_none() {
            mismatch(
                node,
                "key",
                "a witness's verifier key of Ed25519: NAME+ID+KEY, whose KEY begins with `B`",
                report,
            );
        }
        key
    });
    Some(Witness { url: SecretUrl(url?), key: key? })
}
