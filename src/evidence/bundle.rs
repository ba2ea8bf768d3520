//! A bundle as the store keeps it under its snapshot: what it said, word for word, and what servers.toml resolved to beside it.

use crate::policy::{CompileInput, KnownNames, PolicySet, SourceFile, ZoneData, Zones};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// What is kept of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptBundle {
    /// `[gateway] environment`.
    pub environment: Arc<str>,
    /// What servers.toml resolved to where decisions read it, without what may hold a secret. For the record: nothing is made of it.
    #[serde(default)]
    pub servers: Value,
    /// The files as they were, and the signature over them where there was one.
    pub files: Vec<SourceFile>,
    /// The data of the time zones that its conditions name, in base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub zones: BTreeMap<Arc<str>, String>,
}

impl KeptBundle {
    /// The same with the digests of keys cut: whoever may read policies need not have what a key can be tried against.
    #[must_use]
    pub fn without_digests(&self) -> Self {
        let cut = |file: &SourceFile| SourceFile { text: without_digests(&file.text), ..file.clone() };
        Self { files: self.files.iter().map(cut).collect(), ..self.clone() }
    }

    /// What is kept of these policies, beside what servers.toml resolved to.
    pub fn of(policies: &PolicySet, servers: Value) -> Self {
        let zones = policies.zones.iter().map(|(name, data)| (name.clone(), STANDARD.encode(data)));
        Self {
            environment: policies.environment.clone(),
            servers,
            files: policies.files.to_vec(),
            zones: zones.collect(),
        }
    }

    /// As it is kept.
    pub fn body(&self) -> String {
        // Texts and what was JSON already can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a body.
    pub fn read(body: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(body)
    }

    /// What its files are compiled with, so that they decide as they did. The error says which part cannot be read.
    pub fn input(&self) -> Result<CompileInput, String> {
        let mut zones = ZoneData::new();
        for (name, data) in &self.zones {
            let data = STANDARD.decode(data).map_err(|error| format!("the time zone `{name}`: {error}"))?;
            zones.insert(name.clone(), data.into());
        }
        Ok(CompileInput {
            environment: self.environment.clone(),
            servers_digest_material: Vec::new(),
            known: KnownNames { zones: Zones::of(zones), ..KnownNames::default() },
        })
    }
}

/// A text in which the digests of keys are cut.
fn without_digests(text: &str) -> String {
    const MARK: &str = "sha256:";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(MARK) {
        out.push_str(before);
        out.push_str(MARK);
        let digits = after.bytes().take_while(u8::is_ascii_hexdigit).count();
        let (digest, behind) = after.split_at_checked(digits).unwrap_or(("", after));
        out.push_str(if digest.len() >= 16 { "…" } else { digest });
        rest = behind;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I5: no digest of a key leaves with a bundle that is shown.
    #[test]
    fn digests_are_cut() {
        let digest = "0123456789abcdef".repeat(4);
        let text = format!("keys: [\"sha256:{digest}\", 'sha256:{digest}'] # sha256: of the key\n");
        let shown = without_digests(&text);
        assert_eq!(shown, "keys: [\"sha256:…\", 'sha256:…'] # sha256: of the key\n");
    }
}
