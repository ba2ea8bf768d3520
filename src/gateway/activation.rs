//! What is recorded when a snapshot comes into force, or is refused: which, after which, what changed, who or what did it.

use super::{Gateway, InForce, Origin};
use crate::{
    catalog::ToolEntry,
    model::{EventDraft, EventType},
    policy::{BundleParts, PartDigest},
    store::{EventQuery, StoreError},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Names of one kind of change that are recorded; the rest is counted.
const MOST_NAMES: usize = 100;
/// Parts of a bundle whose digests are recorded, so that the next start can tell what changed meanwhile.
const MOST_PARTS: usize = 1_000;

impl Gateway {
    /// One `policy_activated` event per change of snapshot: a restart with the same one is none.
    pub(super) async fn record_activation(
        &self,
        old: Option<&InForce>,
        new: &InForce,
        origin: Origin,
    ) -> Result<(), StoreError> {
        let query = EventQuery {
            event_type: Some(EventType::PolicyActivated),
            newest_first: true,
            limit: 1,
            ..EventQuery::default()
        };
        let last = self.0.store.events(query).await?;
        let last = last.first().map(|event| &event.draft);
        let snapshot = Some(new.policies.snapshot.clone());
        let from = last.and_then(|event| event.policy_snapshot.clone());
        let kept = self.0.references.keep_bundle(&new.config, &new.policies).await?;
        // An activation of before bundles were kept names none, and is recorded once more.
        let named = last.and_then(|event| event.detail.as_ref()?.get("bundle")?.as_str());
        if from == snapshot && named == Some(&kept) {
            return Ok(());
        }
        let mut changed = Map::new();
        let before = match old {
            Some(old) => Some(old.policies.parts.clone()),
            None => last.and_then(|event| read_parts(event.detail.as_ref()?.get("parts")?)),
        };
        if let Some(before) = before {
            changed.insert("policies".to_owned(), difference(&before.policies, &new.policies.parts.policies));
            changed.insert("files".to_owned(), difference(&before.files, &new.policies.parts.files));
        }
        if let Some(old) = old {
            changed.insert("tools".to_owned(), difference(&tools(old), &tools(new)));
        }
        let bundle = &new.policies.bundle;
        let mut detail = json!({
            "bundle": kept,
            "version": bundle.version,
            "owner": bundle.owner,
            "policies": new.policies.policies.len(),
            "from": from,
            "by": origin.by,
            "reason": origin.reason,
            "git_commit": origin.git_commit,
            "git_clean": origin.git_clean,
            "changed": changed,
        });
        if let Some(map) = detail.as_object_mut() {
            map.extend(written_parts(&new.policies.parts).map(|parts| ("parts".to_owned(), parts)));
        }
        let mut event = EventDraft::system(EventType::PolicyActivated, self.0.clock.now());
        event.policy_snapshot = snapshot;
        event.detail = Some(detail);
        self.0.store.record(vec![event]).await
    }

    /// Records that a changed configuration or bundle was refused; the old one stays in force.
    pub async fn reload_rejected(&self, problems: String) {
        let in_force = self.in_force();
        let clean = in_force.policies.data.redact_text(&problems);
        tracing::error!("the reload was refused, the old bundle stays in force:\n{clean}");
        let clean: String = clean.chars().take(4000).collect();
        *self.0.rejected_reload.lock() = Some(clean.clone());
        let mut event = EventDraft::system(EventType::PolicyRejected, self.0.clock.now());
        event.policy_snapshot = Some(in_force.policies.snapshot.clone());
        event.reason = Some(clean.into());
        if let Err(error) = self.0.store.record(vec![event]).await {
            tracing::error!(error = %error, "the refused reload could not be recorded");
        }
    }
}

/// A tool counts as changed where its fingerprint changed, or what the configuration takes it for.
fn tools(in_force: &InForce) -> BTreeMap<Arc<str>, SameTool<'_>> {
    in_force.catalog.tools.values().map(|tool| (tool.full.clone(), SameTool(tool))).collect()
}

/// A tool, compared by what a decision reads of it.
struct SameTool<'t>(&'t ToolEntry);

impl PartialEq for SameTool<'_> {
    fn eq(&self, other: &Self) -> bool {
        let facts = |tool: &ToolEntry| {
            (tool.fingerprint.clone(), tool.traits, tool.action.clone(), tool.labels.clone(), tool.cost)
        };
        facts(self.0) == facts(other.0)
    }
}

fn difference<T: PartialEq>(before: &BTreeMap<Arc<str>, T>, after: &BTreeMap<Arc<str>, T>) -> Value {
    let mut kinds: [(&str, Vec<&str>); 3] =
        [("added", Vec::new()), ("changed", Vec::new()), ("removed", Vec::new())];
    let [(_, added), (_, changed), (_, removed)] = &mut kinds;
    for (name, value) in after {
        match before.get(name) {
            None => added.push(name),
            Some(old) if old != value => changed.push(name),
            Some(_) => {}
        }
    }
    removed.extend(before.keys().filter(|name| !after.contains_key(*name)).map(|name| &**name));
    let mut told = Map::new();
    for (kind, mut names) in kinds {
        let more = names.len().saturating_sub(MOST_NAMES);
        names.truncate(MOST_NAMES);
        told.insert(kind.to_owned(), json!(names));
        if more > 0 {
            told.insert(format!("{kind}_not_listed"), json!(more));
        }
    }
    Value::Object(told)
}

fn written_parts(parts: &BundleParts) -> Option<Value> {
    if parts.policies.len() + parts.files.len() > MOST_PARTS {
        return None;
    }
    let written = |parts: &BTreeMap<Arc<str>, PartDigest>| {
        parts
            .iter()
            .map(|(name, digest)| (name.to_string(), Value::String(hex::encode(digest))))
            .collect::<Map<_, _>>()
    };
    Some(json!({"policies": written(&parts.policies), "files": written(&parts.files)}))
}

fn read_parts(value: &Value) -> Option<BundleParts> {
    let read = |kind: &str| {
        let map = value.get(kind)?.as_object()?;
        map.iter()
            .map(|(name, digest)| {
                let mut bytes = PartDigest::default();
                hex::decode_to_slice(digest.as_str()?, &mut bytes).ok()?;
                Some((Arc::from(name.as_str()), bytes))
            })
            .collect::<Option<BTreeMap<Arc<str>, PartDigest>>>()
    };
    Some(BundleParts { policies: read("policies")?, files: read("files")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_named_and_bounded() {
        let map = |names: &[(&str, u8)]| -> BTreeMap<Arc<str>, u8> {
            names.iter().map(|(name, value)| (Arc::from(*name), *value)).collect()
        };
        let told = difference(&map(&[("a", 1), ("b", 1), ("c", 1)]), &map(&[("b", 2), ("c", 1), ("d", 1)]));
        assert_eq!(told, json!({"added": ["d"], "changed": ["b"], "removed": ["a"]}));
        let many: BTreeMap<Arc<str>, u8> = (0..130).map(|n| (Arc::from(format!("{n:03}")), 1)).collect();
        let told = difference(&BTreeMap::new(), &many);
        assert_eq!((told["added"].as_array().unwrap().len(), &told["added_not_listed"]), (100, &json!(30)));
    }

    #[test]
    fn parts_are_read_back_as_written() {
        let mut parts = BundleParts::default();
        parts.policies.insert("gate".into(), [1, 2, 3, 4, 5, 6, 7, 255]);
        parts.files.insert("data.yaml".into(), [0; 8]);
        assert_eq!(read_parts(&written_parts(&parts).unwrap()), Some(parts));
        assert_eq!(read_parts(&json!({"policies": {"a": "zz"}, "files": {}})), None);
        let many = (0..=MOST_PARTS).map(|n| (Arc::from(n.to_string()), [0; 8])).collect();
        assert_eq!(written_parts(&BundleParts { policies: many, files: BTreeMap::new() }), None);
    }
}
