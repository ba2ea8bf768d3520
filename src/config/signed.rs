//! `[policies] verify`: whose signature a bundle must carry, and whether it does.

use super::input::{Input, expanded};
use crate::policy::{
    SIGNATURES, SourceFile, is_signature, manifest,
    read::{fields, mismatch, text},
    source::{Kind, Node, Report},
};
use ssh_key::{PublicKey as SshKey, SshSig};

/// What `ssh-keygen -Y sign -n` must be told: a signature for another purpose does not count.
pub const NAMESPACE: &str = "tollgate";

/// The most keys that are tried.
const MOST_KEYS: usize = 16;

const EXPECTED: &str = "an SSH public key (`ssh-ed25519 AAAA…`) or a minisign public key (`RW…`)";

/// The public key of somebody who may sign bundles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyKey(String);

/// The same, read.
enum Key {
    Ssh(Box<SshKey>),
    Minisign(minisign_verify::PublicKey),
}

impl VerifyKey {
    fn parse(text: &str) -> Option<Self> {
        let key = Self(text.trim().to_owned());
        key.read().map(|_| key)
    }

    fn read(&self) -> Option<Key> {
        match self.0.starts_with("ssh-") {
            true => {
                let key = SshKey::from_openssh(&self.0).ok()?;
                // Of the others no signature can be verified here.
                (key.algorithm() == ssh_key::Algorithm::Ed25519).then(|| Key::Ssh(Box::new(key)))
            }
            // A file of minisign's has a comment before the key.
            false => {
                let text = self.0.lines().last().unwrap_or_default().trim();
                minisign_verify::PublicKey::from_base64(text).ok().map(Key::Minisign)
            }
        }
    }

    fn verifies(&self, manifest: &str, signature: &str) -> bool {
        match self.read() {
            Some(Key::Ssh(key)) => SshSig::from_pem(signature)
                .is_ok_and(|signature| key.verify(NAMESPACE, manifest.as_bytes(), &signature).is_ok()),
            Some(Key::Minisign(key)) => minisign_verify::Signature::decode(signature)
                .is_ok_and(|signature| key.verify(manifest.as_bytes(), &signature, true).is_ok()),
            None => false,
        }
    }
}

/// Reads `[policies]`.
pub(super) fn keys(
    node: Option<&Node>,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<VerifyKey>> {
    let Some(node) = node else { return Some(Vec::new()) };
    let map = fields(node, "policies", &["verify"], report)?;
    let Some(verify) = map.get("verify") else { return Some(Vec::new()) };
    let one = |node: &Node, written: Option<String>, report: &mut Report<'_>| {
        let key = written.and_then(|written| VerifyKey::parse(&written));
        if key.is_none() {
            mismatch(node, "verify", EXPECTED, report);
        }
        key
    };
    let keys: Option<Vec<VerifyKey>> = match &verify.kind {
        Kind::List(items) => items
            .iter()
            .map(|item| {
                let written = text(item, "verify", report)?;
                one(item, Some(written.to_string()), report)
            })
            .collect(),
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Map(_) => {
            let written = expanded(&map, "verify", input, report)?;
            one(verify, written, report).map(|key| vec![key])
        }
    };
    let keys = keys?;
    if keys.is_empty() || keys.len() > MOST_KEYS {
        // None would look like a check and be none.
        report.error(verify.start, format!("`verify` lists {} keys", keys.len()), "1 to 16 keys");
        return None;
    }
    Some(keys)
}

/// Holds the signature among a bundle's files against the keys. The error says what is wrong.
pub fn verify_bundle(files: &[SourceFile], keys: &[VerifyKey]) -> Result<(), String> {
    let mut signatures = files.iter().filter(|file| is_signature(&file.name)).peekable();
    if signatures.peek().is_none() {
        return Err(format!(
            "the bundle is not signed, and `[policies] verify` wants a signature: there is neither `{}` nor `{}`",
            SIGNATURES[0], SIGNATURES[1]
        ));
    }
    let manifest = manifest(files)?;
    let good = signatures.any(|file| keys.iter().any(|key| key.verifies(&manifest, &file.text)));
    match good {
        true => Ok(()),
        false => Err(
            "the signature is not one over these files by a key of `[policies] verify`: a file was changed after it was \
             signed, or somebody else signed it"
                .to_owned(),
        ),
    }
}
