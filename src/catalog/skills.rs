//! Skills: folders of files with instructions, each under the URI of its `SKILL.md`. What an entry lists is what can be read of
//! it, as it was listed.

use super::{
    build::{CatalogBuilder, Kind},
    entry::{Catalog, ItemEntry, SkillEntry, SkillFile},
    naming,
    pinned::scanned,
    template::UriTemplate,
};
use crate::{
    config::UpstreamConfig,
    model::{Fingerprint, UpstreamName, Uri, json},
    pinning::{self, ItemKind, Observed, kinds_of},
    redaction::DataRules,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

/// Skills of one upstream: every URI that is read is held against all of them.
const MOST_SKILLS: usize = 500;

impl CatalogBuilder {
    /// Takes in one entry of `skills/list`, which its upstream's connection has held against the extension's rules.
    pub(super) fn add_skill(&mut self, catalog: &mut Catalog, upstream: &UpstreamConfig, item: &Value) {
        let own = item.get("uri").and_then(Value::as_str).unwrap_or_default();
        if let Err(why) = self.skill(catalog, upstream, item, own) {
            let (shown, upstream) = (self.told(own, 120), &upstream.name);
            catalog.withheld.push(format!("skill `{shown}` of upstream `{upstream}` is withheld: {why}"));
        }
    }

    fn skill(
        &mut self,
        catalog: &mut Catalog,
        upstream: &UpstreamConfig,
        item: &Value,
        own: &str,
    ) -> Result<(), String> {
        let name = item.pointer("/frontmatter/name").and_then(Value::as_str).unwrap_or_default();
        if !naming::is_visible(own) || !naming::is_visible(name) {
            return Err("its name holds characters that nobody sees".to_owned());
        }
        let main = canonical(own)?;
        let own_root = main.strip_suffix("SKILL.md").ok_or("its URI cannot be used")?.to_owned();
        let others = catalog.skills.values().filter(|skill| skill.upstream == upstream.name).count();
        if others >= MOST_SKILLS {
            return Err(format!("more than {MOST_SKILLS} skills of one upstream"));
        }
        let alias = self.skill_alias(catalog, upstream, &main, &own_root);
        let known_as = |uri: &str| match &alias {
            Some(alias) => naming::aliased(alias, uri),
            None => uri.to_owned(),
        };
        let root = canonical(&known_as(&main))?;
        let root = root.strip_suffix("SKILL.md").ok_or("its URI cannot be used")?.to_owned();
        let text: Arc<str> = format!("{root}{{+file}}").into();
        let template = UriTemplate::parse(&text).ok_or("its URI cannot be used")?;
        if self.has_most_templates(&upstream.name, &text) {
            return Err("too many templates and skills of one upstream".to_owned());
        }
        let mut item = item.clone();
        naming::strip_reserved(&mut item);
        let files = files_of(&mut item, &known_as)?;
        let listed = known_as(own);
        let uri: Arc<str> = canonical(&listed)?.into();
        self.claim(Kind::Skill, &text, &upstream.name, catalog.skills.contains_key(&uri))?;
        self.remember_template(&upstream.name, &text, &template);
        if let Some(slot) = item.get_mut("uri") {
            *slot = Value::String(listed.clone());
        }
        let entry = ItemEntry {
            name: text.clone(),
            upstream: upstream.name.clone(),
            own_name: own.into(),
            listed: listed.into(),
            alias: alias.clone(),
            item: json!({"uri": item.get("uri"), "name": name, "description": item.pointer("/frontmatter/description")}),
            action: format!("{}:{own}", upstream.name).into(),
            labels: upstream.labels.iter().cloned().collect(),
            template: Some(template),
            unaccepted: false,
        };
        let fingerprint = fingerprint(&upstream.name, &item);
        let skill = SkillEntry {
            uri: uri.clone(),
            root,
            own_root,
            upstream: upstream.name.clone(),
            item,
            files,
            fingerprint,
            entry: Arc::new(entry),
        };
        catalog.skills.insert(uri, Arc::new(skill));
        Ok(())
    }

    /// What stands in front of all URIs of a skill where another upstream has any of its folder.
    fn skill_alias(
        &self,
        catalog: &Catalog,
        upstream: &UpstreamConfig,
        main: &str,
        root: &str,
    ) -> Option<Arc<str>> {
        let others = |name: &UpstreamName| *name != upstream.name;
        let name: Arc<str> = main.into();
        let held = self.alias_for(catalog, upstream, Kind::Resource, &name).is_some();
        let within = self
            .claims
            .iter()
            .any(|claim| others(&claim.upstream) && claim.template.head().starts_with(root));
        (held || within).then(|| naming::alias(&upstream.name))
    }
}

/// The bytes of the one content of a read file.
fn bytes_of(result: &Value) -> Result<Cow<'_, [u8]>, &'static str> {
    let contents = result.get("contents").and_then(Value::as_array);
    match contents.map_or(&[][..], Vec::as_slice) {
        [content] => bytes_of_content(content),
        _ => Err("it did not come as one content"),
    }
}

fn bytes_of_content(content: &Value) -> Result<Cow<'_, [u8]>, &'static str> {
    let member = |name: &str| content.get(name).and_then(Value::as_str);
    match (member("text"), member("blob")) {
        (Some(text), None) => Ok(Cow::Borrowed(text.as_bytes())),
        (None, Some(blob)) => STANDARD.decode(blob).map(Cow::Owned).map_err(|_| "its `blob` is not Base64"),
        (Some(_), Some(_)) | (None, None) => Err("it has neither one text nor one blob"),
    }
}

/// What of a file that came as bytes is text: control characters are nothing hidden where no text was promised.
fn words(text: &str) -> Cow<'_, str> {
    let is_data = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if !text.contains(is_data) {
        return Cow::Borrowed(text);
    }
    let parts: Vec<&str> = text.split(is_data).filter(|part| !part.is_empty()).collect();
    Cow::Owned(parts.join("\n"))
}

fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn canonical(uri: &str) -> Result<String, String> {
    Uri::parse(uri).map(Uri::into_string).map_err(|wrong| wrong.to_string())
}

/// The files that an entry lists, with their URIs put as agents know them; none where they are dynamic.
fn files_of(
    item: &mut Value,
    known_as: &dyn Fn(&str) -> String,
) -> Result<Option<BTreeMap<Arc<str>, SkillFile>>, String> {
    let Some(Value::Array(listed)) = item.get_mut("resources") else { return Ok(None) };
    let mut files = BTreeMap::new();
    for file in listed {
        let text = |member: &str| file.get(member).and_then(Value::as_str).unwrap_or_default();
        let shown = known_as(text("uri"));
        let read = SkillFile {
            digest: text("digest").into(),
            size: file.get("size").and_then(Value::as_u64).unwrap_or_default(),
        };
        files.insert(Arc::from(canonical(&shown)?), read);
        if let Some(uri) = file.get_mut("uri") {
            *uri = Value::String(shown);
        }
    }
    Ok(Some(files))
}

/// What a person accepts of a skill: its name, what it says of itself, and every file with its digest.
fn fingerprint(upstream: &UpstreamName, item: &Value) -> Fingerprint {
    let pick = |name: &str| item.get(name).cloned().unwrap_or(Value::Null);
    let material = json!({
        "upstream": upstream,
        "uri": pick("uri"),
        "frontmatter": pick("frontmatter"),
        "resources": pick("resources"),
    });
    let mut bytes = Vec::new();
    json::canonical(&material, &mut bytes);
    Fingerprint::from(hex::encode(Sha256::digest(&bytes)))
}

impl SkillEntry {
    /// Whether a canonical URI is one of its files. Where its files are dynamic, whatever lies in its folder.
    pub fn has(&self, uri: &str) -> bool {
        match &self.files {
            Some(files) => files.contains_key(uri),
            None => uri.starts_with(&self.root),
        }
    }
}

/// The skill that a canonical URI lies in: that with the deepest folder, where one holds another.
pub(super) fn holding<'s>(
    mut skills: impl Iterator<Item = &'s Arc<SkillEntry>>,
    uri: &str,
) -> Option<&'s Arc<SkillEntry>> {
    let first = skills.find(|skill| uri.starts_with(&skill.root))?;
    let deeper = skills.filter(|skill| uri.starts_with(&skill.root));
    Some(deeper.fold(first, |best, next| if next.root.len() > best.root.len() { next } else { best }))
}

impl Catalog {
    /// What is wrong with the result of a read: none where the file is what its skill lists, or belongs to none. Of a skill
    /// that does not list its files only the form is looked at.
    pub fn skill_fault(&self, upstream: &UpstreamName, uri: &str, result: &Value) -> Option<String> {
        let skill = self.skill_of(upstream, uri)?;
        let listed = match &skill.files {
            Some(files) => Some(files.get(uri)?),
            None => None,
        };
        let bytes = match bytes_of(result) {
            Ok(bytes) => bytes,
            Err(fault) => return Some(fault.to_owned()),
        };
        let file = listed?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size != file.size {
            return Some(format!("it has {size} bytes, and the skill lists {}", file.size));
        }
        (*digest_of(&bytes) != *file.digest)
            .then(|| "its digest is not the one that the skill lists".to_owned())
    }

    /// A file of a skill as it was read, with what the scan finds in its text, and what is kept of it, masked. None: it is
    /// none, or its digest is listed and nothing is found, so that there is nothing to hold it against.
    pub fn skill_file(
        &self,
        data: &DataRules,
        (upstream, uri): (&UpstreamName, &str),
        result: &Value,
    ) -> Option<(Observed, Value)> {
        let skill = self.skill_of(upstream, uri)?;
        let listed = match &skill.files {
            Some(files) => Some(files.get(uri)?),
            None => None,
        };
        let bytes = bytes_of(result).ok()?;
        let digest = digest_of(&bytes);
        let text = std::str::from_utf8(&bytes).ok();
        let is_data = result.pointer("/contents/0/blob").is_some();
        let read = text.map(|text| if is_data { words(text) } else { Cow::Borrowed(text) });
        let findings = scanned(data, &json!({"text": read}));
        if listed.is_some() && kinds_of(&findings).is_empty() {
            return None;
        }
        // A file whose digest is listed is pinned with its skill: each version of it stands for itself.
        let name: Arc<str> = match listed {
            Some(_) => format!("{uri}#{digest}").into(),
            None => uri.into(),
        };
        let item = json!({"uri": name, "digest": digest, "text": text});
        let fingerprint =
            pinning::fingerprint(ItemKind::SkillFile, upstream, &json!({"uri": name, "digest": digest}));
        let form = data.redact_value(&pinning::form(ItemKind::SkillFile, &item)).into_owned();
        let observed = Observed {
            upstream: upstream.clone(),
            kind: ItemKind::SkillFile,
            exposed: name.clone(),
            name,
            fingerprint,
            findings,
        };
        Some((observed, form))
    }

    /// Whether what an upstream says under this URI would be taken for a file of a skill: it lies in the folder of one, served or
    /// held, by the name that agents know or by its upstream's own. Where parsers disagree about what it names, it does as soon
    /// as a skill has its scheme.
    pub fn is_in_skill(&self, upstream: &UpstreamName, written: &str) -> bool {
        let held = self.held.skills.values().map(|(skill, _)| skill);
        let mut roots = self.skills.values().chain(held).flat_map(|skill| {
            let own = (skill.upstream == *upstream).then_some(&skill.own_root);
            std::iter::once(&skill.root).chain(own)
        });
        match Uri::parse(written) {
            Ok(uri) if uri.doubt().is_none() => roots.any(|root| uri.as_str().starts_with(root.as_str())),
            Ok(_) | Err(_) => {
                let is_seen = |c: &char| !c.is_control() && !c.is_whitespace();
                let written: String = written.chars().filter(is_seen).collect();
                let scheme = written.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
                let of = |root: &str| root.split_once(':').map(|(scheme, _)| scheme.to_owned());
                scheme.is_some() && roots.any(|root| of(root) == scheme)
            }
        }
    }

    /// Whether contents that came under the URI of a skill's file are the bytes that the skill lists for it.
    pub fn is_as_listed(&self, upstream: &UpstreamName, content: &Value) -> bool {
        let uri = content.get("uri").and_then(Value::as_str).and_then(|uri| Uri::parse(uri).ok());
        let Some(uri) = uri.filter(|uri| uri.doubt().is_none()) else { return false };
        let skill = self.skill_of(upstream, uri.as_str());
        let file = skill.and_then(|skill| skill.files.as_ref()?.get(uri.as_str()));
        file.is_some_and(|file| {
            let bytes = bytes_of_content(content);
            bytes.is_ok_and(|bytes| {
                u64::try_from(bytes.len()).is_ok_and(|size| size == file.size)
                    && *digest_of(&bytes) == *file.digest
            })
        })
    }

    fn skill_of(&self, upstream: &UpstreamName, uri: &str) -> Option<&Arc<SkillEntry>> {
        holding(self.skills.values(), uri).filter(|skill| skill.upstream == *upstream)
    }

    /// What stands in front of an own URI that lies in a skill of its upstream.
    pub(super) fn skill_alias_of(&self, upstream: &UpstreamName, own: &str) -> Option<&SkillEntry> {
        let of_it = self.skills.values().filter(|skill| skill.upstream == *upstream);
        of_it
            .filter(|skill| own.starts_with(&skill.own_root))
            .max_by_key(|skill| skill.own_root.len())
            .map(|skill| &**skill)
    }
}
