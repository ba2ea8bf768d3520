//! The records of what comes into force: which bundle, after which, what changed, who or what did it, and whether it holds until
//! somebody says otherwise.

use super::rollout::ROLLOUT;
use crate::{
    model::{Actor, Event, EventDraft, EventType, PersonId, PolicyId, SnapshotId},
    policy::{BundleParts, PartDigest, PolicySet},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Names of one kind of change that are recorded; the rest is counted.
const MOST_NAMES: usize = 100;
/// Parts of a bundle whose digests are recorded, so that the next start can tell what changed meanwhile.
const MOST_PARTS: usize = 1_000;

/// The policy under which the activations that somebody ordered are found. No policy of a bundle may have this id.
pub const ACTIVATION: &str = "activation";

/// Who or what brings files, and where they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Like `uid 1000`, or a person's name.
    pub by: String,
    /// `start`, `file change`, `SIGHUP`; what a person said.
    pub reason: String,
    /// Where the folder of policies is in git: the commit that is checked out.
    pub git_commit: Option<String>,
    /// Whether the folder is as it stands in that commit.
    pub git_clean: Option<bool>,
}

/// What a person orders with an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The bundle stays in force, whatever the folder says, until the next order.
    Hold,
    /// The folder is followed: what it says comes into force.
    Follow,
}

/// An order, and who gave it where.
#[derive(Clone, Debug)]
pub struct Ordered<'a> {
    /// What.
    pub order: Order,
    /// Who; none: the first process on a store that is shared.
    pub person: Option<&'a PersonId>,
    /// `cli`, `api`, `rollout`, `retention` or `start`.
    pub channel: &'static str,
    /// Where the files come from: a snapshot, a folder's path, a rollout.
    pub source: String,
}

/// A snapshot that comes into force.
#[derive(Clone, Debug)]
pub struct Activated<'a> {
    /// The bundle.
    pub policies: &'a PolicySet,
    /// The hash of what is kept of it.
    pub bundle: &'a str,
    /// What was in force before.
    pub from: Option<&'a SnapshotId>,
    /// The parts of that.
    pub before: Option<BundleParts>,
    /// What else changed, by kind.
    pub changed: Vec<(&'static str, Value)>,
    /// Who or what.
    pub origin: &'a Origin,
    /// The order that it follows; none where the folder was followed, or servers.toml changed.
    pub ordered: Option<Ordered<'a>>,
}

impl Activated<'_> {
    /// `policy_activated`.
    pub fn event(self, now: Timestamp) -> EventDraft {
        let Self { policies, bundle, from, before, changed: more, origin, ordered } = self;
        let mut changed = Map::new();
        if let Some(before) = before {
            changed.insert("policies".to_owned(), difference(&before.policies, &policies.parts.policies));
            changed.insert("files".to_owned(), difference(&before.files, &policies.parts.files));
        }
        changed.extend(more.into_iter().map(|(kind, names)| (kind.to_owned(), names)));
        let mut detail = json!({
            "bundle": bundle,
            "version": policies.bundle.version,
            "owner": policies.bundle.owner,
            "policies": policies.policies.len(),
            "from": from,
            "by": origin.by,
            "reason": origin.reason,
            "git_commit": origin.git_commit,
            "git_clean": origin.git_clean,
            "changed": changed,
        });
        let mut event = EventDraft::system(EventType::PolicyActivated, now);
        if let Some(Ordered { order, person, channel, source }) = ordered {
            if person.is_some() {
                event.actor = Actor { kind: "person".into(), role: Some("admin".into()) };
            }
            event.policy_id = Some(PolicyId::from(ACTIVATION));
            event.action = Some(
                match order {
                    Order::Hold => "activated",
                    Order::Follow => "folder_followed",
                }
                .into(),
            );
            event.reason = Some(origin.reason.as_str().into());
            if let Some(map) = detail.as_object_mut() {
                map.insert("held".to_owned(), (order == Order::Hold).into());
                map.insert("person".to_owned(), json!(person));
                map.insert("channel".to_owned(), channel.into());
                map.insert("source".to_owned(), source.into());
            }
        }
        if let Some(map) = detail.as_object_mut() {
            map.extend(written_parts(&policies.parts).map(|parts| ("parts".to_owned(), parts)));
        }
        event.policy_snapshot = Some(policies.snapshot.clone());
        event.detail = Some(detail);
        event
    }
}

/// A `policy_activated` record, read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    /// Its place in the chain.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// What came into force.
    pub snapshot: SnapshotId,
    /// The hash of what is kept of it; records of before bundles were kept have none.
    pub bundle: Option<String>,
    /// Who or what.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The commit that was checked out.
    pub git_commit: Option<String>,
    /// What somebody ordered with it.
    pub order: Option<Order>,
    /// Where the files came from, as an order named it.
    pub source: Option<String>,
    /// What changed.
    pub changed: Value,
    /// The parts of the bundle.
    pub parts: Option<BundleParts>,
}

impl Activation {
    /// `None`: it is no such record, or names no snapshot.
    pub fn of(event: &Event) -> Option<Self> {
        let draft = &event.draft;
        if draft.event_type != EventType::PolicyActivated {
            return None;
        }
        let detail = draft.detail.as_ref();
        let member = |name: &str| detail.and_then(|detail| detail.get(name));
        let text = |name: &str| member(name).and_then(Value::as_str).map(str::to_owned);
        let ordered = draft.policy_id.as_deref() == Some(ACTIVATION);
        let order = member("held").and_then(Value::as_bool).filter(|_| ordered);
        Some(Self {
            seq: event.seq,
            at: draft.timestamp,
            snapshot: draft.policy_snapshot.clone()?,
            bundle: text("bundle"),
            by: text("by"),
            reason: text("reason"),
            git_commit: text("git_commit"),
            order: order.map(|held| if held { Order::Hold } else { Order::Follow }),
            source: text("source"),
            changed: member("changed").cloned().unwrap_or_default(),
            parts: member("parts").and_then(read_parts),
        })
    }
}

/// Whether a record may change what processes have in force.
pub fn is_order(event: &EventDraft) -> bool {
    event.policy_id.as_deref().is_some_and(|id| [ACTIVATION, ROLLOUT].contains(&id))
        && matches!(event.event_type, EventType::PolicyActivated | EventType::AdminAction)
}

/// The names that are in one map and not in the other, or stand for something else in it.
pub fn difference<T: PartialEq>(before: &BTreeMap<Arc<str>, T>, after: &BTreeMap<Arc<str>, T>) -> Value {
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
