//! Starts the new servers once, tells how each stands, and keeps what they list.

use super::{gather::Upstream, known, look::Looked, wiring};
use crate::cli::inspection;
use crate::{
    cli::{failure::CliError, screen::note},
    clock::{Clock as _, System},
    config::{CodeGrant, Config, CredentialOf, Listings, Loaded, UpstreamTransport},
    model::UpstreamName,
    redaction::visible,
    upstream::{Health, UpstreamState, oauth},
};
use futures::future::join_all;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    sync::Arc,
    time::Duration,
};

/// How long a server that wants somebody to sign in may take to say where.
const DISCOVERY: Duration = Duration::from_secs(20);

/// How the servers stood.
#[derive(Default)]
pub(super) struct Starts {
    /// What those list that answered, by name.
    looked: BTreeMap<UpstreamName, Looked>,
    /// Why others did not.
    pub(super) silent: BTreeMap<UpstreamName, String>,
    /// Those that want somebody to sign in.
    pub(super) sign_in: Vec<UpstreamName>,
    /// Those of them that say where: `servers login` does it.
    pub(super) issuers: BTreeSet<UpstreamName>,
    pub(super) listings: Listings,
    items: known::AllItems,
}

impl Starts {
    /// What is known of each, in this order.
    pub(super) fn looked(&self, upstreams: &[Upstream]) -> Vec<Option<Looked>> {
        upstreams.iter().map(|upstream| self.looked.get(upstream.name.as_str()).cloned()).collect()
    }

    /// Keeps what they list for `tollgate check`.
    pub(super) fn remember(&self, config: &Config) {
        if self.listings.is_empty() {
            return;
        }
        let kept = wiring::ensure_data_dir(config).map_err(|error| error.to_string()).and_then(|()| {
            known::keep(config, &self.listings, &self.items).map_err(|error| error.to_string())
        });
        if let Err(error) = kept {
            note(&format!("what the servers list could not be kept for `tollgate check`: {error}"));
        }
    }
}

/// Whether a server says where somebody signs in. One that was given a credential wants another one of that kind.
async fn names_issuer(config: &Config, name: &UpstreamName) -> bool {
    let upstream = config.upstreams.get(name).map(|upstream| &upstream.transport);
    let Some(UpstreamTransport::Http { url, headers, oauth: None, .. }) = upstream else { return false };
    if headers.keys().any(|header| header.eq_ignore_ascii_case("authorization")) {
        return false;
    }
    let per = CredentialOf::Gateway;
    let grant = CodeGrant { per, client: None, client_metadata_url: None, issuer: None, redirect: None };
    match tokio::time::timeout(DISCOVERY, oauth::discover(url, &grant)).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            note(&format!("`{name}` wants somebody to sign in, and Tollgate cannot: {error}"));
            false
        }
        Err(_) => {
            note(&format!("`{name}` wants somebody to sign in, and does not say where in time"));
            false
        }
    }
}

/// Starts those that are on: somebody agreed to each. One that does not answer in time costs itself only.
pub(super) async fn look(
    loaded: &mut Loaded,
    upstreams: &[Upstream],
    patience: Duration,
) -> Result<Starts, CliError> {
    let mut starts = Starts::default();
    for disabled in loaded.config.disabled.values() {
        if upstreams.iter().any(|one| one.enabled && one.name == disabled.name.as_str()) {
            starts.silent.insert(disabled.name.clone(), disabled.reason.clone());
        }
    }
    loaded.config.upstreams.retain(|name, _| upstreams.iter().any(|one| one.name == name.as_str()));
    let count = loaded.config.upstreams.len();
    if count == 0 {
        return Ok(starts);
    }
    let wait = humantime::format_duration(patience);
    let servers = if count == 1 { "1 server".to_owned() } else { format!("{count} servers") };
    writeln!(std::io::stderr(), "starting {servers} to list the tools; waiting at most {wait} for each")?;
    let system = Arc::new(System::default());
    let begun = system.now();
    let mut tell = |state: &UpstreamState| {
        let stands = match &state.health {
            Health::Up => format!("{} tools", state.listing.tools.len()),
            Health::Starting => "no answer in time".to_owned(),
            Health::Down { cause, .. } => cause.whole(),
        };
        let line =
            format!("{:>6.1} s  {}: {stands}", system.now().duration_since(begun).as_secs_f64(), state.name);
        writeln!(std::io::stderr(), "{}", visible(&line)).ok();
    };
    let states =
        inspection::watch_upstreams(&loaded.config, &loaded.policies, &system, patience, &mut tell).await?;
    let data = &loaded.policies.data;
    for state in &states {
        let reason = match &state.health {
            Health::Up => {
                let listing = &state.listing;
                let clean = |tool: &&Value| {
                    let name = tool.get("name").and_then(Value::as_str);
                    name.is_some_and(|name| data.redact_text(name) == name)
                };
                let tools: Vec<Value> = listing.tools.iter().filter(clean).cloned().collect();
                let looked = Looked::at(&tools, !listing.prompts.is_empty());
                starts.looked.insert(state.name.clone(), looked);
                match state.missing.first() {
                    None => continue,
                    Some(missing) => missing.clone(),
                }
            }
            Health::Starting => {
                format!("it did not start and list its tools within {wait}: `--wait` gives it longer")
            }
            Health::Down { cause, .. } => cause.whole(),
        };
        if reason.contains("HTTP status 401") {
            starts.sign_in.push(state.name.clone());
        }
        starts.silent.insert(state.name.clone(), reason);
    }
    let config = &loaded.config;
    let named = join_all(starts.sign_in.iter().map(|name| names_issuer(config, name))).await;
    let issuers = starts.sign_in.iter().zip(named).filter(|(_, named)| *named);
    starts.issuers = issuers.map(|(name, _)| name.clone()).collect();
    starts.listings = known::listed_now(&states, data);
    starts.items = known::items_now(&states, data);
    Ok(starts)
}
