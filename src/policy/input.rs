//! What a bundle is compiled from.

use super::zones::Zones;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// One file of a bundle. Its name is relative to the bundle's folder.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SourceFile {
    /// Like `bundle.yaml`.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// What compiling takes beside the files.
#[derive(Clone, Debug)]
pub struct CompileInput {
    /// `env` in conditions.
    pub environment: Arc<str>,
    /// What servers.toml resolves to, in canonical bytes: part of the snapshot.
    pub servers_digest_material: Vec<u8>,
    /// What servers.toml tells of.
    pub known: KnownNames,
}

/// Names from servers.toml and of what upstreams are known to list; what a policy names beside them is a lint. Where
/// there is no upstream, nothing is held against them.
#[derive(Clone, Debug, Default)]
pub struct KnownNames {
    /// The upstreams.
    pub upstreams: BTreeMap<String, KnownUpstream>,
    /// The actions of tools and prompts that are listed; of an upstream that is not known to list, those of tables.
    pub actions: BTreeSet<String>,
    /// The labels of upstreams and tools.
    pub labels: BTreeSet<String>,
    /// The exposed names of tools, like `actions`.
    pub tools: BTreeSet<String>,
    /// The arguments of listed tools, by exposed name, where the schema names all that there are.
    pub arguments: BTreeMap<String, BTreeSet<String>>,
    /// The exposed names of prompts that are listed.
    pub prompts: BTreeSet<String>,
    /// Time zones, which conditions may name.
    pub zones: Zones,
    /// The external checks of servers.toml; none where that is not known.
    pub checks: Option<BTreeSet<String>>,
}

/// One upstream, as far as names of what it has can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownUpstream {
    /// How its exposed names begin: prefix and separator; empty where it has no prefix.
    pub prefix: String,
    /// What it lists is known: a name that is not there fits nothing.
    pub is_listed: bool,
    /// It may have resources.
    pub has_resources: bool,
}
