//! servers.toml: raw image (unknown keys refused) → resolved and cross-checked with the bundle.

mod allowed;
mod apps;
mod argument;
mod audit;
mod contain;
mod credentials;
mod delivery;
mod expand;
mod file;
mod incoming;
mod input;
mod jwt;
mod listed;
mod load;
mod oauth;
mod oidc;
mod otel;
mod outgoing;
mod record;
mod references;
mod render;
mod secret;
mod secret_url;
mod servers;
mod sign_in;
mod signed;
mod told;
mod toml_error;
mod tree;
mod types;
mod upstreams;
mod variables;
mod webhook;
mod zones;

#[cfg(test)]
mod tests;

pub use crate::model::ClientAuth;
pub use allowed::{AppsConfig, Asks, ContainConfig, CpuLimit};
pub use argument::secret as secret_in_argument;
pub(crate) use contain::own_within;
pub use contain::{contain_place, contained};
pub use listed::{Listed, Listings};
pub use load::{
    Bundle, Loaded, admin_place, compile_bundle, compile_kept, digest_material, load, load_bundle,
    load_knowing, manifest_of, store_place, without_secrets,
};
pub use oauth::{CodeGrant, CredentialOf, OauthClient, OauthConfig, OauthGrant, TokenSource};
pub use record::{AuditConfig, DeliveryConfig, DeliveryFormat, DeliveryTarget, SyslogTransport, Witness};
pub use references::forget_references;
pub use render::{render, render_errors};
pub use secret::is_secret;
pub use secret_url::SecretUrl;
pub use sign_in::OidcConfig;
pub use signed::{NAMESPACE, VerifyKey, verify_bundle};
pub use told::{EmailConfig, Tells, WebhookConfig, WebhookTarget};
pub use types::*;
pub use variables::{variable_line, variables_beside, variables_file};
pub use webhook::webhook_named;

use std::path::Path;

/// Makes the data directory where it is missing, for this user only (0700).
pub fn ensure_data_dir(config: &Config) -> Result<(), String> {
    let path = &config.gateway.data_dir;
    private_dir(path)
        .map_err(|error| format!("data_dir `{}` cannot be made: {}", path.display(), io_reason(&error)))
}

/// Why a file or a program cannot be used, in words.
pub fn io_reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "it is not there".to_owned(),
        other => other.to_string(),
    }
}

/// Makes a folder, and those above it, for this user alone, so that they are there after a power loss too.
pub fn private_dir(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        private_dir(parent)?;
    }
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists || !path.is_dir() => {
            return Err(error);
        }
        Ok(()) | Err(_) => {}
    }
    std::fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Whether a URL leads to this machine by its very host.
pub fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}
