//! Where log lines go: standard error, and nothing there that a peer's message holds.

use super::{args::LogFormat, failure::CliError};
use std::io::IsTerminal as _;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Starts logging, filtered by `TOLLGATE_LOG`.
pub(super) fn start(format: LogFormat) -> Result<(), CliError> {
    let text = match std::env::var("TOLLGATE_LOG") {
        Ok(text) if !text.trim().is_empty() => text,
        Ok(_) | Err(_) => "info".to_owned(),
    };
    let filter = EnvFilter::try_new(&text).map_err(|error| {
        CliError::Told(format!(
            "TOLLGATE_LOG is not a log filter ({error}): expected one like `info` or `tollgate=debug`"
        ))
    })?;
    let base = fmt::layer().with_writer(std::io::stderr);
    let layer = match format {
        LogFormat::Text => base.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => base.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter).with_filter(filter_fn(harmless)))
        .try_init()
        .map_err(|error| CliError::Told(format!("cannot start logging: {error}")))
}

/// Below these levels libraries log bodies and headers, so no filter opens them (I5).
fn harmless(metadata: &Metadata<'_>) -> bool {
    let root = metadata.target().split("::").next().unwrap_or_default();
    let most = match root {
        "tollgate" => Level::TRACE,
        "rmcp" => Level::WARN,
        _ => Level::INFO,
    };
    *metadata.level() <= most
}
