//! What an upstream may do beside answering calls: what it may ask of a client, what its process may use, what its pages may have.

use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// `asks`: what an upstream may ask of the client of the agent that calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asks {
    /// `elicitation/create`, forms and URLs.
    pub elicitation: bool,
    /// `sampling/createMessage`
    pub sampling: bool,
    /// `roots/list`
    pub roots: bool,
}

impl Asks {
    /// Everything.
    pub const ALL: Self = Self { elicitation: true, sampling: true, roots: true };

    /// Whether it may ask this.
    pub fn allows(&self, method: &str) -> bool {
        match method {
            "elicitation/create" => self.elicitation,
            "sampling/createMessage" => self.sampling,
            "roots/list" => self.roots,
            _ => false,
        }
    }

    /// The client capabilities that an upstream gets: those that it may ask for, under the names of MCP. Nothing else
    /// that the client wrote goes on, for no data rule sees it and no approval binds it. Left out are changes of roots, which
    /// are not passed on, and the context of other servers in sampling, which would be that of other upstreams.
    pub fn relayed(&self, declared: &serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
        let known: [(&str, bool, &[&str]); 3] = [
            ("elicitation", self.elicitation, &["form", "url"]),
            ("sampling", self.sampling, &["tools"]),
            ("roots", self.roots, &[]),
        ];
        let empty = || serde_json::Value::Object(serde_json::Map::new());
        let mut relayed = serde_json::Map::new();
        for (name, allowed, modes) in known {
            if let Some(given) = declared.get(name).and_then(serde_json::Value::as_object).filter(|_| allowed)
            {
                let modes = modes.iter().filter(|mode| given.contains_key(**mode));
                let modes = modes.map(|mode| ((*mode).to_owned(), empty())).collect();
                relayed.insert(name.to_owned(), serde_json::Value::Object(modes));
            }
        }
        relayed
    }
}

/// `contain`: the limits of one local server. Serialized for the process that takes them on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainConfig {
    /// Whether it may open network connections.
    pub network: bool,
    /// Files and folders that it may read and run, beside what it takes to start.
    pub read: Vec<PathBuf>,
    /// Files and folders that it may also change.
    pub write: Vec<PathBuf>,
    /// Bytes, over all its processes where the kernel can count so.
    pub memory: Option<u64>,
    /// Processes and threads at a time.
    pub processes: Option<u64>,
    /// Time on the processor.
    pub cpu: Option<CpuLimit>,
    /// Whether it is started where the kernel cannot give all of this.
    pub best_effort: bool,
    /// Tollgate's own files and folders, which it can never reach.
    pub own: Vec<PathBuf>,
}

/// `cpu`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CpuLimit {
    /// How much one process may use in all before it is ended.
    Time(Duration),
    /// How much all may use at a time, in thousandths of a core.
    Cores(u64),
}

/// `apps`: origins and permissions that pages of an upstream may have (MCP Apps). What is not named is taken out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppsConfig {
    /// To connect to.
    pub connect_domains: Vec<String>,
    /// To load scripts, styles, pictures and the like from.
    pub resource_domains: Vec<String>,
    /// To show in frames.
    pub frame_domains: Vec<String>,
    /// For the base of relative links.
    pub base_uri_domains: Vec<String>,
    /// Origins of their own that the host may give them.
    pub domains: Vec<String>,
    /// As pages name them: `camera`, `microphone`, `geolocation`, `clipboardWrite`.
    pub permissions: Vec<String>,
}
