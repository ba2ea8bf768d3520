//! `[otel]`, and the key of `/metrics`.

use super::{
    OtelConfig,
    input::{Input, expanded},
};
use crate::policy::{read::Fields, source::Report};
use secrecy::SecretString;

/// What guards figures is random, and no word that somebody remembers.
const SHORTEST_KEY: usize = 24;

/// `[otel]`; without it OTLP is what the environment says.
pub(super) fn otel(map: &Fields<'_>, input: &Input<'_>, report: &mut Report<'_>) -> OtelConfig {
    let Some(written) = expanded(map, "endpoint", input, report).flatten() else {
        return OtelConfig::default();
    };
    let at = map.get("endpoint").map_or(map.at, |node| node.start);
    let parsed = url::Url::parse(&written).ok().filter(url::Url::has_host);
    let good = parsed.filter(|url| {
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        plain && ["http", "https"].contains(&url.scheme())
    });
    if good.is_none() {
        report.error(
            at,
            "`endpoint` is no collector's address (not shown: it may hold a secret)",
            "its base, like http://127.0.0.1:4318; what it asks for goes into OTEL_EXPORTER_OTLP_HEADERS",
        );
    }
    OtelConfig { endpoint: good.map(|url| url.as_str().trim_end_matches('/').to_owned()) }
}

/// `metrics_key` of `[admin]`. No message shows it.
pub(super) fn metrics_key(
    map: &Fields<'_>,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<SecretString> {
    let written = expanded(map, "metrics_key", input, report).flatten()?;
    if written.len() < SHORTEST_KEY || !written.bytes().all(|b| b.is_ascii_graphic()) {
        report.error(
            map.get("metrics_key").map_or(map.at, |node| node.start),
            "`metrics_key` is too short, or no word (the value is not shown)",
            "24 or more letters, digits and signs without a space, like `openssl rand -hex 24` prints",
        );
        return None;
    }
    if let Some(node) =
        map.get("metrics_key").filter(|node| node.as_text().is_some_and(|text| !text.contains("${")))
    {
        report.lint(
            node.start,
            "`metrics_key` is written out (not shown): whoever reads this file can read the figures",
            "`${NAME}`, with the value in the environment",
        );
    }
    Some(SecretString::from(written))
}
