//! servers.toml: raw image (unknown keys refused) → resolved and cross-checked with the bundle.

mod expand;
mod jwt;
mod load;
mod oauth;
mod render;
mod servers;
mod tree;
mod types;
mod upstreams;

#[cfg(test)]
mod tests;

pub use load::{Loaded, digest_material, known_names, load, store_place};
pub use render::render;
pub use types::*;

use std::path::Path;

/// Makes the data directory where it is missing, for this user only (0700).
pub fn ensure_data_dir(config: &Config) -> Result<(), String> {
    make_private(&config.gateway.data_dir)
}

/// Whether a URL leads to this machine by its very host.
fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

fn make_private(path: &Path) -> Result<(), String> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(path)
        .map_err(|error| format!("data_dir `{}` cannot be made: {}", path.display(), error.kind()))
}
