//! Reads servers.toml and the bundle it names; whatever is wrong in any of them comes together.

use super::{
    Config, StoreConfig, ToolConfig, UpstreamTransport, credentials,
    expand::Env,
    file::{read_file, whole_file},
    input::Input,
    listed::{self, Listings},
    servers,
    signed::verify_bundle,
    tree,
    zones::SystemZones,
};
use crate::{
    model::{Problem, Problems, Severity},
    pinning::PinSettings,
    policy::{self, CompileInput, KnownNames, PolicySet, SourceFile, Zones, source::Report},
};
use serde_json::{Map, Value, json};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

const MAX_FILES: usize = 1_000;

/// What the files say, checked and compiled.
#[derive(Debug)]
pub struct Loaded {
    /// servers.toml.
    pub config: Config,
    /// The bundle.
    pub policies: PolicySet,
    /// What somebody should look at.
    pub lints: Problems,
}

/// Which bundle a servers.toml is loaded with.
#[derive(Clone, Copy, Debug)]
pub enum Bundle<'b> {
    /// That in the folder which servers.toml names.
    Configured,
    /// That in this folder.
    Folder(&'b Path),
    /// These files; problems in them are told as of `name`.
    Files {
        /// Like `snapshot 1a2b3c4d`.
        name: &'b str,
        /// What the store keeps of it.
        files: &'b [SourceFile],
    },
}

/// Loads servers.toml at `path` and its bundle. `env` answers for the environment.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
    load_knowing(path, env, &|_| Listings::default())
}

/// The same, with what upstreams are known to list: names that fit nothing of it are lints.
pub fn load_knowing(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    listings: &dyn Fn(&Config) -> Listings,
) -> Result<Loaded, Problems> {
    load_bundle(path, env, listings, Bundle::Configured)
}

/// Why a bundle is refused that has values kept in a database without a `vault_key`.
const UNSEALED: &str = "a rule says `tokenize`, and `[store]` of servers.toml has no `vault_key`: the keys to the values behind \
     placeholders would lie beside them in PostgreSQL";

/// The files of a bundle that came as text, checked and compiled as those of a folder beside this configuration.
pub fn compile_bundle(
    config: &Config,
    files: &[SourceFile],
    listings: &Listings,
) -> (Option<PolicySet>, Problems) {
    policy::compile(files, &input(Some(config), listings))
}

/// The same with another bundle than the one that servers.toml names.
pub fn load_bundle(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    listings: &dyn Fn(&Config) -> Listings,
    bundle: Bundle<'_>,
) -> Result<Loaded, Problems> {
    let shown = path.display().to_string();
    let text = read_file(path).map_err(|unreadable| {
        let expected = match path.try_exists() {
            Ok(false) => "a servers.toml: `tollgate init` writes a first one, `--config FILE` names another",
            Ok(true) | Err(_) => "a readable servers.toml",
        };
        Problems(vec![unreadable.problem(&shown, expected)])
    })?;
    let mut report = Report::new(&shown, &text);
    let tree = tree::parse(&text, &mut report);
    let env = Env::new(env, path);
    let mut problems = Problems::default();
    let (folder, files) = match bundle {
        Bundle::Files { name, files } => (PathBuf::from(name), Some(files.to_vec())),
        Bundle::Folder(folder) => (folder.to_owned(), read_folder(folder, None, &mut report, &mut problems)),
        Bundle::Configured => {
            let (folder, named_at) = servers::policies_folder(&tree.root, path, env);
            let files = read_folder(&folder, named_at, &mut report, &mut problems);
            (folder, files)
        }
    };

    let config =
        if tree.whole { read_config(&tree.root, path, env, files.as_deref(), &mut report) } else { None };
    let listings = config.as_ref().map(listings).unwrap_or_default();
    listed::tables(&tree.root, &listings, &mut report);
    if let (Some(config), Some(files)) = (&config, &files)
        && !config.verify.is_empty()
        && let Err(why) = verify_bundle(files, &config.verify)
    {
        let expected = "`tollgate policy manifest` prints what is to be signed";
        problems.0.push(whole_file(&folder.display().to_string(), why, expected));
    }
    let compiled = files.and_then(|files| {
        // Of a file in which something is wrong it is not known what it names.
        let sound = config.as_ref().filter(|_| !report.has_errors());
        let (set, found) = policy::compile(&files, &input(sound, &listings));
        problems.0.extend(found.0.into_iter().map(|p| in_folder(&folder, p)));
        if let (Some(set), Some(config)) = (&set, &config)
            && set.data.tokenizes()
            && servers::lacks_vault_key(config)
        {
            let file = folder.join("data.yaml").display().to_string();
            problems.0.push(whole_file(&file, UNSEALED.to_owned(), servers::NEEDED_VAULT_KEY));
        }
        set
    });
    // Where something is wrong it is what has to be mended first.
    if let (Some(config), Some(set)) = (&config, &compiled)
        && !report.has_errors()
    {
        credentials::lint(&tree.root, &mut report);
        listed::ungranted(&tree.root, config, &listings, set, &mut report);
    }
    problems.0.extend(report.into_problems().0);
    problems.sort();
    match (config, compiled) {
        (Some(config), Some(policies)) if !problems.has_errors() => {
            Ok(Loaded { config, policies, lints: problems })
        }
        (Some(_) | None, Some(_) | None) => Err(problems),
    }
}

/// The manifest of the bundle in a folder, or in the one that servers.toml names: what a signature over it covers.
pub fn manifest_of(
    path: &Path,
    folder: Option<&Path>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let folder = match folder {
        Some(folder) => folder.to_owned(),
        None => {
            let text = read_file(path).map_err(|unreadable| unreadable.why)?;
            let tree = tree::parse(&text, &mut Report::new("", &text));
            servers::policies_folder(&tree.root, path, Env::new(env, path)).0
        }
    };
    let mut problems = Problems::default();
    let files = read_bundle(&folder, list(&folder)?, &mut problems);
    if problems.has_errors() {
        return Err(problems.errors().to_string());
    }
    if files.is_empty() {
        return Err(format!("there is no bundle in `{}`", folder.display()));
    }
    policy::manifest(&files)
}

/// Compiles a bundle that the store keeps for a servers.toml that has been read: what both name is held against each other.
pub fn compile_kept(config: &Config, name: &str, files: &[SourceFile]) -> Result<PolicySet, Problems> {
    let mut problems = Problems::default();
    let mut wrong = |why: String, expected: &str| problems.0.push(whole_file(name, why, expected));
    if !config.verify.is_empty()
        && let Err(why) = verify_bundle(files, &config.verify)
    {
        wrong(why, "a signed bundle");
    }
    if let Some(names) = policy::authority_names(files) {
        if let Some(agent) = config.auth.anonymous_agent.as_ref().filter(|id| !names.agents.contains(&***id))
        {
            wrong(
                format!("`[auth] anonymous_agent` is `{agent}`, which this bundle does not have"),
                "an agent of it",
            );
        }
        let granted = config.auth.jwt.iter().flat_map(|jwt| jwt.scope_map.values().flatten());
        for capability in granted.filter(|id| !names.capabilities.contains(&***id)) {
            wrong(
                format!("`scope_map` grants `{capability}`, which this bundle does not have"),
                "a capability of it",
            );
        }
    }
    let (set, found) = policy::compile(files, &input(Some(config), &Listings::default()));
    problems.0.extend(found.0.into_iter().map(|problem| in_folder(Path::new(name), problem)));
    if set.as_ref().is_some_and(|set| set.data.tokenizes()) && servers::lacks_vault_key(config) {
        problems.0.push(whole_file(name, UNSEALED.to_owned(), servers::NEEDED_VAULT_KEY));
    }
    match set {
        Some(set) if !problems.has_errors() => Ok(set),
        Some(_) | None => Err(problems.errors()),
    }
}

/// Where the store and the folder of its locks are, where servers.toml says at least that.
pub fn store_place(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Option<(StoreConfig, PathBuf)> {
    let text = read_file(path).ok()?;
    let tree = tree::parse(&text, &mut Report::new("", &text));
    if tree.whole { servers::store_place(&tree.root, path, Env::new(env, path)) } else { None }
}

/// Where the admin listener is, and whether it speaks TLS, where servers.toml says at least that.
pub fn admin_place(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Option<(SocketAddr, bool)> {
    let text = read_file(path).ok()?;
    let tree = tree::parse(&text, &mut Report::new("", &text));
    if tree.whole { servers::admin_place(&tree.root, path, Env::new(env, path)) } else { None }
}

fn read_config(
    root: &policy::source::Node,
    path: &Path,
    env: Env<'_>,
    files: Option<&[SourceFile]>,
    report: &mut Report<'_>,
) -> Option<Config> {
    let names = files.and_then(policy::authority_names);
    servers::read(root, &Input { path, env, names: names.as_ref() }, report)
}

/// What the bundle is compiled with.
fn input(config: Option<&Config>, listings: &Listings) -> CompileInput {
    match config {
        Some(config) => CompileInput {
            environment: config.gateway.environment.clone(),
            servers_digest_material: digest_material(config),
            known: KnownNames { zones: Zones::of(SystemZones), ..listed::known_names(config, listings) },
        },
        None => CompileInput {
            environment: std::sync::Arc::from(""),
            servers_digest_material: Vec::new(),
            known: KnownNames { zones: Zones::of(SystemZones), ..KnownNames::default() },
        },
    }
}

/// What servers.toml resolves to where it bears on decisions, in one canonical form. Variables and
/// headers are left out: they hold credentials, and a new credential is not a new policy.
pub fn digest_material(config: &Config) -> Vec<u8> {
    let upstreams: Vec<_> = config
        .upstreams
        .values()
        .map(|upstream| {
            let reached = match &upstream.transport {
                UpstreamTransport::Stdio { command, .. } => json!({ "command": command }),
                UpstreamTransport::Http { url, .. } => json!({ "url": url.as_str() }),
            };
            let tools: Vec<_> = upstream
                .tools
                .iter()
                .map(|(name, tool)| {
                    let sensitive: Vec<_> = tool.sensitive.iter().map(|pointer| pointer.as_str()).collect();
                    let mut said = vec![
                        json!(name),
                        json!(tool.action),
                        json!(tool.labels),
                        json!(tool.read_only),
                        json!(tool.idempotent),
                        json!(tool.destructive),
                        json!(tool.open_world),
                        json!(tool.price.base.0),
                        json!(tool.expected_result_tokens),
                        json!(sensitive),
                    ];
                    if let Some(formula) = tool.price.form() {
                        said.push(formula);
                    }
                    Value::Array(said)
                })
                .collect();
            let mut parts = vec![
                json!(upstream.name),
                reached,
                json!(upstream.prefix),
                json!(upstream.labels),
                json!(upstream.trust_annotations),
                json!(upstream.trust_cost),
                json!(tools),
            ];
            // Snapshots of before there were these settings stay what they are.
            if upstream.pins != PinSettings::default() {
                parts.push(json!([upstream.pins.new_items, upstream.pins.findings]));
            }
            Value::Array(parts)
        })
        .collect();
    let mut material = json!([config.gateway.environment, config.gateway.separator, upstreams]);
    if let (false, Some(parts)) = (config.checks.is_empty(), material.as_array_mut()) {
        let checks: Vec<_> =
            config.checks.iter().map(|(name, check)| json!([name, check.url.as_str()])).collect();
        parts.push(json!(checks));
    }
    material.to_string().into_bytes()
}

/// What servers.toml resolves to where decisions read it, without what may hold a secret: commands, URLs, variables and
/// headers. For the record.
pub fn without_secrets(config: &Config) -> Value {
    let upstreams: Map<String, Value> = config
        .upstreams
        .values()
        .map(|upstream| {
            let transport = match &upstream.transport {
                UpstreamTransport::Stdio { .. } => "stdio",
                UpstreamTransport::Http { .. } => "http",
            };
            let tools: Map<String, Value> =
                upstream.tools.iter().map(|(name, tool)| (name.clone(), tool_table(tool))).collect();
            let told = json!({
                "transport": transport,
                "prefix": upstream.prefix,
                "labels": upstream.labels,
                "trust_annotations": upstream.trust_annotations,
                "trust_cost": upstream.trust_cost,
                "new_tools": upstream.pins.new_items,
                "findings": upstream.pins.findings,
                "tools": tools,
            });
            (upstream.name.to_string(), told)
        })
        .collect();
    json!({"separator": config.gateway.separator, "upstreams": upstreams})
}

fn tool_table(tool: &ToolConfig) -> Value {
    let sensitive: Vec<_> = tool.sensitive.iter().map(|pointer| pointer.as_str()).collect();
    json!({
        "action": tool.action,
        "labels": tool.labels,
        "read_only": tool.read_only,
        "idempotent": tool.idempotent,
        "destructive": tool.destructive,
        "open_world": tool.open_world,
        "cost_usd": tool.price.base,
        "cost": tool.price.form(),
        "expected_result_tokens": tool.expected_result_tokens,
        "sensitive": sensitive,
    })
}

/// The bundle of a folder; `named_at` is where servers.toml names it.
fn read_folder(
    folder: &Path,
    named_at: Option<usize>,
    report: &mut Report<'_>,
    problems: &mut Problems,
) -> Option<Vec<SourceFile>> {
    match list(folder) {
        Ok(paths) => Some(read_bundle(folder, paths, problems)),
        Err(why) => {
            let expected = "a folder with bundle.yaml and authority.yaml";
            match named_at {
                Some(at) => report.error(at, why, expected),
                None => problems.0.push(whole_file(&folder.display().to_string(), why, expected)),
            }
            None
        }
    }
}

/// What is in the bundle's folder, in order.
fn list(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let listed = std::fs::read_dir(folder).and_then(|listing| {
        listing.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()
    });
    let mut paths = listed.map_err(|error| {
        format!("the bundle's folder `{}` cannot be read: {}", folder.display(), super::io_reason(&error))
    })?;
    paths.sort();
    Ok(paths)
}

/// The bundle's files.
fn read_bundle(folder: &Path, paths: Vec<PathBuf>, problems: &mut Problems) -> Vec<SourceFile> {
    let shown = folder.display().to_string();
    let mut files = Vec::new();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !wanted(&path, &name, problems) {
            continue;
        }
        if files.len() == MAX_FILES {
            problems.0.push(whole_file(
                &shown,
                format!("more than `{MAX_FILES}` files"),
                "fewer policy files",
            ));
            break;
        }
        match read_file(&path) {
            Ok(text) => files.push(SourceFile { name, text }),
            Err(unreadable) => {
                problems.0.push(unreadable.problem(&path.display().to_string(), "a readable file"));
            }
        }
    }
    files
}

/// Whether an entry of the folder belongs to the bundle. A policy that is passed over without a word
/// would be a hole, so what looks like one is named.
fn wanted(path: &Path, name: &str, problems: &mut Problems) -> bool {
    let shown = path.display().to_string();
    if name.starts_with('.') {
        return false;
    }
    if path.is_dir() {
        if name != "tests" {
            let mut lint = whole_file(
                &shown,
                format!("the folder `{name}` is not read"),
                "policy files beside bundle.yaml",
            );
            lint.severity = Severity::Lint;
            problems.0.push(lint);
        }
        return false;
    }
    let yaml = Path::new(name)
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("yaml") || ending.eq_ignore_ascii_case("yml"));
    let readable = policy::is_bundle_file(name) && !name.contains(char::REPLACEMENT_CHARACTER);
    if yaml && !readable {
        problems.0.push(whole_file(
            &shown,
            format!("`{name}` would not be read"),
            "a name that ends with .yaml",
        ));
    }
    readable || policy::is_signature(name)
}

fn in_folder(folder: &Path, mut problem: Problem) -> Problem {
    problem.place.file = folder.join(&problem.place.file).display().to_string();
    problem
}
