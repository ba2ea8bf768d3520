//! `[upstreams.NAME] contain`: what a local server may reach of this machine. What it does not name is not granted.

use super::{
    Config, ContainConfig, CpuLimit, UpstreamConfig, expand::expand, file::read_file, file::resolve,
    input::Input, tree,
};
use crate::{
    model::{Place, UpstreamName},
    policy::{
        read::{Fields, boolean, bytes, count, duration, fields, list_of, mismatch, short, text},
        source::{Entry, Kind, Node, Report},
    },
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

const KEYS: &[&str] = &["network", "read", "write", "memory", "processes", "cpu", "best_effort"];
/// More than anybody lists by hand; each is opened at every start.
const MOST_PATHS: usize = 256;
/// Below this no interpreter starts.
const LEAST_MEMORY: u64 = 16 << 20;
/// The server itself and one thread.
const LEAST_PROCESSES: u64 = 2;
/// Folders of a home directory that hold keys.
const KEYS_AT_HOME: &[&str] = &[".ssh", ".gnupg", ".aws", ".azure", ".kube", ".config/gcloud", ".docker"];

/// Reads the table.
pub(super) fn read(node: &Node, input: &Input<'_>, report: &mut Report<'_>) -> Option<ContainConfig> {
    let map = fields(node, "contain", KEYS, report)?;
    let read = paths(&map, "read", input, report);
    let write = paths(&map, "write", input, report);
    Some(ContainConfig {
        network: map.read("network", report, boolean).unwrap_or(false),
        read: read?,
        write: write?,
        memory: map.read("memory", report, bytes(LEAST_MEMORY, 1 << 50)),
        processes: map.read("processes", report, count(LEAST_PROCESSES, 1_000_000)),
        cpu: map.read("cpu", report, cpu),
        best_effort: map.read("best_effort", report, boolean).unwrap_or(false),
        own: Vec::new(),
    })
}

fn cpu(node: &Node, key: &str, report: &mut Report<'_>) -> Option<CpuLimit> {
    match &node.kind {
        Kind::Number(written) => {
            let cores = written.parse::<f64>().ok().filter(|cores| (0.01..=1024.0).contains(cores));
            if cores.is_none() {
                mismatch(node, key, "cores from 0.01 to 1024, like 0.5, or a time like \"600s\"", report);
            }
            // Two decimals of a number up to 1024: exact enough, and never negative.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within its bounds")]
            cores.map(|cores| CpuLimit::Cores((cores * 1000.0).round() as u64))
        }
        Kind::Text(_) => {
            let span = duration(Duration::from_secs(1), Duration::from_secs(366 * 86_400));
            span(node, key, report).map(CpuLimit::Time)
        }
        Kind::Null | Kind::Bool(_) | Kind::List(_) | Kind::Map(_) => {
            mismatch(node, key, "a number of cores, like 0.5, or a time like \"600s\"", report);
            None
        }
    }
}

/// A list of paths: `~` is the home folder, relative ones start at servers.toml's.
fn paths(map: &Fields<'_>, key: &str, input: &Input<'_>, report: &mut Report<'_>) -> Option<Vec<PathBuf>> {
    let Some(node) = map.get(key) else { return Some(Vec::new()) };
    let one = |item: &Node, key: &str, report: &mut Report<'_>| {
        let written = text(item, key, report)?;
        let expanded = expand(item, &written, input.env, report)?;
        let path = place(&expanded, item, key, input, report)?;
        if !path.exists() {
            let why = format!("`{key}` of contain names `{}`, which is not there", short(&expanded));
            report.lint(item.start, why, "a file or folder that is there when the server starts");
        }
        if let Some(keys) = keys_within(&path, input) {
            let why = format!("`{key}` of contain names `{}`, and with it `{keys}`", short(&expanded));
            report.lint(item.start, why, "the folders that this server needs, without keys");
        }
        Some(path)
    };
    let read = list_of(node, key, report, one)?;
    if read.len() > MOST_PATHS {
        mismatch(node, key, "at most 256 paths", report);
        return None;
    }
    Some(read)
}

fn place(
    written: &str,
    node: &Node,
    key: &str,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<PathBuf> {
    if written.is_empty() || written.contains(['*', '?', '\0']) {
        mismatch(
            node,
            key,
            "paths of files or folders, without globs: a folder goes with all that is in it",
            report,
        );
        return None;
    }
    let rest = match written.strip_prefix('~') {
        None => return Some(resolve(input.path, written)),
        Some("") => "",
        Some(rest) => match rest.strip_prefix('/') {
            Some(rest) => rest,
            None => {
                mismatch(
                    node,
                    key,
                    "`~` or `~/…` for your own home folder; another's is written out",
                    report,
                );
                return None;
            }
        },
    };
    match input.env.read("HOME").filter(|home| home.starts_with('/')) {
        Some(home) => Some(Path::new(&home).join(rest)),
        None => {
            report.error(node.start, "`~` stands for HOME, which is not set", "a path that begins with `/`");
            None
        }
    }
}

/// The first folder with keys that lies in what is named, if there is one.
fn keys_within(path: &Path, input: &Input<'_>) -> Option<String> {
    let home = input.env.read("HOME").filter(|home| home.starts_with('/'))?;
    let named = real(path);
    let keys = KEYS_AT_HOME.iter().map(|keys| Path::new(&home).join(keys)).filter(|keys| keys.exists());
    keys.map(|keys| real(&keys)).find(|keys| keys.starts_with(&named)).map(|keys| keys.display().to_string())
}

/// A path without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        (Some(_) | None, _) => path.to_owned(),
    }
}

/// The one of Tollgate's own places that a path holds or lies in.
pub(crate) fn own_within<'o>(path: &Path, own: &'o [PathBuf]) -> Option<&'o PathBuf> {
    let named = real(path);
    own.iter().find(|own| {
        let own = real(own);
        own.starts_with(&named) || named.starts_with(&own)
    })
}

/// What of Tollgate's no contained server reaches: servers.toml, the bundle, the data directory and the store.
fn own_places(config: &Config) -> Vec<PathBuf> {
    let store = &config.store.path;
    let mut own = vec![config.path.clone(), config.gateway.policies.clone(), config.gateway.data_dir.clone()];
    // The journal stands beside the store's file.
    own.extend([store.clone(), store.with_extension("journal")]);
    own
}

/// Gives each contained upstream the list of Tollgate's own places, and refuses grants that hold one.
pub(super) fn guard(written: &[Entry], config: &mut Config, report: &mut Report<'_>) {
    let own = own_places(config);
    for entry in written {
        let Some(node) = entry.value.get("contain") else { continue };
        let Some(upstream) = config.upstreams.get_mut(&UpstreamName::from(entry.key.as_str())) else {
            continue;
        };
        let Some(contain) = &upstream.contain else { continue };
        let guarded = ContainConfig { own: own.clone(), ..ContainConfig::clone(contain) };
        for (key, paths) in [("read", &guarded.read), ("write", &guarded.write)] {
            let items = node.get(key).map(Node::items).unwrap_or_default();
            for (path, item) in paths.iter().zip(items) {
                let Some(held) = own_within(path, &own) else { continue };
                let why = format!(
                    "`{key}` of contain names `{}`, which would open Tollgate's own `{}` to upstream `{}`",
                    short(item.as_text().unwrap_or_default()),
                    held.display(),
                    short(&entry.key)
                );
                report.error(
                    item.start,
                    why,
                    "the folders that this server needs, none of which holds servers.toml, the policies or the data directory",
                );
            }
        }
        upstream.contain = Some(Arc::new(guarded));
    }
}

/// Where a servers.toml has `contain` of an upstream; its first line where that is not found.
pub fn contain_place(path: &Path, name: &UpstreamName) -> Place {
    let text = read_file(path).unwrap_or_default();
    let shown = path.display().to_string();
    let report = Report::new(&shown, &text);
    let tree = tree::parse(&text, &mut Report::new("", &text));
    let table = tree.root.get("upstreams").and_then(|upstreams| upstreams.get(name));
    let at = table.map_or(0, |table| table.get("contain").map_or(table.start, |node| node.start));
    report.place(at)
}

/// Upstreams that are contained.
pub fn contained(
    upstreams: &BTreeMap<UpstreamName, UpstreamConfig>,
) -> impl Iterator<Item = (&UpstreamName, &Arc<ContainConfig>)> {
    upstreams.iter().filter_map(|(name, upstream)| Some((name, upstream.contain.as_ref()?)))
}
