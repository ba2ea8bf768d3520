//! Standing grants: which answer makes one, what ends it, and which are proposed.

use super::{Approvals, DecideError, about, rules::standing};
use crate::{
    model::{
        AgentId, ApprovalStatus, EventDraft, EventType, Glob, GrantId, PersonId, plain_readings, within,
    },
    policy::{GrantLimits, PolicySet, Role},
    redaction::display_text,
    store::{
        ApprovalAnswer, ApprovalFilter, ApprovalRecord, ApprovalUpdate, Bound, CallShape, GrantAnswer,
        GrantEnd, GrantEndReason, GrantFilter, Pattern, StandingGrant, StoreError, about_grant,
    },
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// Grants of one agent that can be live at a time.
pub(super) const MOST_LIVE: usize = 100;
/// Arguments that a grant can name.
const MOST_BOUNDS: usize = 32;
/// The longest name of an argument, and the longest path, in characters.
const LONGEST_NAME: usize = 128;
const LONGEST_PATH: usize = 1024;
/// The most bytes of a value, as JSON.
const LARGEST_VALUE: usize = 4096;

/// So often one approver has to have given the same answer before a grant is proposed.
const OFTEN: usize = 5;
/// The newest approvals of an agent that are looked through for that.
const LOOKED_THROUGH: usize = 200;
/// How long a proposed grant counts at most, and how many calls it lets through.
const PROPOSED: GrantLimits = GrantLimits { max_duration: Duration::from_secs(60 * 60), max_uses: 10 };

/// Why a grant was not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// There is none.
    #[error("there is no such grant")]
    NotFound,
    /// This person may not.
    #[error("you may not revoke this grant: it takes the approver who made it, or the role `admin`")]
    Forbidden,
    /// It is over.
    #[error("this grant has ended already: {0}")]
    Ended(&'static str),
    /// The store did not do it; nothing was revoked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A grant that would save somebody from giving the same answer again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantProposal {
    /// Who has given it.
    pub approver: PersonId,
    /// How often.
    pub times: usize,
    /// The grant.
    pub grant: GrantAnswer,
}

impl GrantProposal {
    /// The same without the values that bound arguments.
    #[must_use]
    pub fn without_values(self) -> Self {
        Self { grant: self.grant.without_values(), ..self }
    }

    /// As JSON.
    pub fn form(&self) -> Value {
        let mut form = answer_form(&self.grant);
        if let Some(members) = form.as_object_mut() {
            members.insert("approver".to_owned(), json!(self.approver));
            members.insert("times".to_owned(), json!(self.times));
        }
        form
    }
}

/// A grant as the API takes it.
pub fn answer_form(answer: &GrantAnswer) -> Value {
    json!({
        "duration": humantime::format_duration(answer.duration).to_string(),
        "uses": answer.uses,
        "arguments": bounds_form(&answer.arguments),
    })
}

/// Reads what [`answer_form`] writes, as people write it; the error names the member that is wrong.
pub fn read_answer(value: Value) -> Result<GrantAnswer, String> {
    let Value::Object(members) = value else {
        return Err("`grant` must be an object like {\"duration\": \"1h\", \"uses\": 10}".to_owned());
    };
    let shown = |name: &str| display_text(name, 40);
    let (mut duration, mut uses, mut arguments) = (None, None, BTreeMap::new());
    for (name, value) in members {
        match (name.as_str(), value) {
            ("duration", value) => {
                let read = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
                duration = Some(read.ok_or("`grant.duration` must be a duration like 30m, 1h or 8h")?);
            }
            ("uses", value) => uses = Some(value.as_u64().ok_or("`grant.uses` must be a whole number")?),
            ("arguments", Value::Object(bounds)) => {
                for (name, bound) in bounds {
                    let read = read_bound(bound).map_err(|wrong| {
                        format!("`grant.arguments`: the bound of `{}` {wrong}", shown(&name))
                    })?;
                    arguments.insert(name, read);
                }
            }
            ("arguments", _) => {
                return Err("`grant.arguments` must be an object of bounds by argument".to_owned());
            }
            _ => {
                let name = shown(&name);
                return Err(format!(
                    "`{name}` is not a member of a grant: expected duration, uses, arguments"
                ));
            }
        }
    }
    let duration = duration.ok_or("`grant.duration` is missing: a duration like 1h")?;
    let uses = uses.ok_or("`grant.uses` is missing: how many calls it lets through")?;
    Ok(GrantAnswer { duration, uses, arguments })
}

fn read_bound(bound: Value) -> Result<Bound, &'static str> {
    const EXPECTED: &str = "must be an object with one of equals, glob, within, any";
    let Value::Object(members) = bound else { return Err(EXPECTED) };
    let mut members = members.into_iter();
    let (Some((kind, value)), None) = (members.next(), members.next()) else { return Err(EXPECTED) };
    match (kind.as_str(), value) {
        ("equals", value) => Ok(Bound::Equals(value)),
        ("glob", Value::String(pattern)) => Ok(Bound::Glob(pattern)),
        ("within", Value::String(root)) => Ok(Bound::Within(root)),
        ("any", Value::Bool(true)) => Ok(Bound::Any(true)),
        ("glob" | "within", _) => Err("takes a text"),
        ("any", _) => Err("takes `true`"),
        _ => Err(EXPECTED),
    }
}

/// Bounds on arguments as the API takes them.
pub fn bounds_form(bounds: &BTreeMap<String, Bound>) -> Value {
    Value::Object(bounds.iter().map(|(name, bound)| (name.clone(), bound.form())).collect())
}

/// Why an answer cannot make this grant.
pub(super) fn refusal(policies: &PolicySet, record: &ApprovalRecord, asked: &GrantAnswer) -> Option<String> {
    let Some(limits) = record.grant_limits() else {
        let why = match record.requirements.iter().find(|requirement| requirement.grants.is_none()) {
            Some(asks) => format!("policy `{}` allows none (its rule has no `grants`)", asks.policy_id),
            None => {
                "it is given for calls of tools, and this one is none, or has too many arguments".to_owned()
            }
        };
        return Some(format!("no standing grant can be made of this approval: {why}"));
    };
    if asked.duration > limits.max_duration || asked.duration < Duration::from_secs(1) {
        let most = humantime::format_duration(limits.max_duration);
        let given = humantime::format_duration(asked.duration);
        return Some(format!("a grant for {given} is not one that the rule allows: from 1s to {most}"));
    }
    if asked.uses > limits.max_uses || asked.uses == 0 {
        let (given, most) = (asked.uses, limits.max_uses);
        return Some(format!("a grant of {given} uses is not one that the rule allows: from 1 to {most}"));
    }
    if asked.arguments.len() > MOST_BOUNDS {
        return Some(format!("a grant names at most {MOST_BOUNDS} arguments"));
    }
    asked.arguments.iter().find_map(|(name, bound)| {
        let wrong = bound_refusal(policies, record, name, bound)?;
        let shown: String = name.chars().take(LONGEST_NAME).collect();
        Some(format!("the bound of argument `{}` {wrong}", display_text(&shown, 64)))
    })
}

fn bound_refusal(policies: &PolicySet, record: &ApprovalRecord, name: &str, bound: &Bound) -> Option<String> {
    let form = json!({name: bound.form()});
    if name.is_empty() || name.chars().count() > LONGEST_NAME {
        return Some(format!("has a name that is empty or longer than {LONGEST_NAME} characters"));
    }
    let wrong = match bound {
        Bound::Any(true) | Bound::Equals(_) => None,
        Bound::Any(false) => Some("says `any: false`: expected `any: true`".to_owned()),
        Bound::Glob(pattern) => Glob::parse(pattern).err().map(|error| format!("is no glob: {error}")),
        Bound::Within(root) if root.chars().count() > LONGEST_PATH => {
            Some(format!("is a path of more than {LONGEST_PATH} characters"))
        }
        Bound::Within(root) => (!is_plain_root(root)).then(|| {
            "is no path that all parsers read alike: expected an absolute one without escapes and dots, like /scratch"
                .to_owned()
        }),
    };
    if wrong.is_some() {
        return wrong;
    }
    if form.to_string().len() > LARGEST_VALUE {
        return Some(format!("is larger than {LARGEST_VALUE} bytes"));
    }
    // It would stand in the record in the clear.
    let data = &policies.data;
    let masked = record.shape.as_ref().is_some_and(|shape| shape.masked.contains(name));
    let tells = match bound {
        Bound::Any(_) => false,
        Bound::Equals(_) | Bound::Glob(_) | Bound::Within(_) => masked || *data.redact_value(&form) != form,
    };
    (tells || data.redact_text(name) != name).then(|| {
        "would tell what looks like a secret or personal data: leave the argument out, then it must be as it was asked for"
            .to_owned()
    })
}

/// Whether a root holds what a person sees in it. One that two parsers read differently holds nothing, or what lies below each
/// of its readings: `/scratch/%2e%2e` would hold everything.
fn is_plain_root(root: &str) -> bool {
    within(root, root).unwrap_or(false) && plain_readings(root).is_some_and(|readings| readings.len() == 1)
}

/// The grant that this answer, the last that was missing, makes: where all who must agree have answered with the same.
pub(super) fn made_by(
    policies: &PolicySet,
    record: &ApprovalRecord,
    answers: &[ApprovalAnswer],
    last: &ApprovalAnswer,
) -> Option<StandingGrant> {
    let asked = last.grant.as_ref()?;
    let same: Vec<ApprovalAnswer> = answers
        .iter()
        .filter(|answer| answer.approve && answer.grant.as_ref() == Some(asked))
        .cloned()
        .collect();
    if !standing(&policies.authority, record, &same).complete() {
        return None;
    }
    let approvers = same.into_iter().map(|answer| answer.person).collect();
    record.granted(asked, approvers, last.at)
}

/// The record of a grant that is made.
pub(super) fn made_event(grant: &StandingGrant, by: &ApprovalAnswer) -> EventDraft {
    let terms = &grant.terms;
    let shown = json!({
        "uses": terms.uses,
        "expires_at": terms.expires_at,
        "arguments": bounds_form(&terms.arguments),
        "as_asked": terms.as_asked(),
        "approvers": terms.approvers,
    });
    about_grant(grant).made(by.at, &by.person, Role::Approver.as_str(), shown)
}

impl Approvals {
    /// One grant, with its expiry applied.
    pub async fn grant(&self, id: &GrantId) -> Result<Option<StandingGrant>, StoreError> {
        let Some(grant) = self.store.grant(id.clone()).await? else { return Ok(None) };
        Ok(Some(self.expire_grant_if_due(grant).await?))
    }

    /// Grants, newest first, with their expiry applied.
    pub async fn grants(&self, filter: GrantFilter) -> Result<Vec<StandingGrant>, StoreError> {
        let live = filter.live;
        if live {
            // None of them counts against the limit: a page that is cut would look like the last.
            self.expire_grants_due().await?;
        }
        let mut all = Vec::new();
        for grant in self.store.grants(filter).await? {
            let grant = self.expire_grant_if_due(grant).await?;
            if !live || grant.ended.is_none() {
                all.push(grant);
            }
        }
        Ok(all)
    }

    async fn expire_grant_if_due(&self, grant: StandingGrant) -> Result<StandingGrant, StoreError> {
        if grant.ended.is_some() || self.clock.now() < grant.terms.expires_at {
            return Ok(grant);
        }
        self.end(grant, GrantEndReason::Expired).await
    }

    /// Ends a grant, or finds that somebody was first.
    async fn end(&self, grant: StandingGrant, why: GrantEndReason) -> Result<StandingGrant, StoreError> {
        let end = GrantEnd { why, at: self.clock.now(), by: None, reason: None };
        match self.store.end_grant(grant.id.clone(), end).await? {
            Some(ended) => Ok(ended),
            None => Ok(self.store.grant(grant.id.clone()).await?.unwrap_or(grant)),
        }
    }

    /// Takes a grant back: the approver who made it, or an admin, by the `roles` with which they ask; a session may have fewer than
    /// authority.yaml gives.
    pub async fn revoke_grant(
        &self,
        policies: &PolicySet,
        (person, roles): (&PersonId, &[Role]),
        id: &GrantId,
        reason: Option<String>,
    ) -> Result<StandingGrant, RevokeError> {
        let grant = self.grant(id).await?.ok_or(RevokeError::NotFound)?;
        policies.authority.people.get(person).ok_or(RevokeError::Forbidden)?;
        let made_it = roles.contains(&Role::Approver) && grant.terms.approvers.contains(person);
        if !roles.contains(&Role::Admin) && !made_it {
            return Err(RevokeError::Forbidden);
        }
        if let Some(end) = &grant.ended {
            return Err(RevokeError::Ended(end.why.phrase()));
        }
        let reason = reason.map(|reason| policies.data.said(&reason, super::MAX_TEXT).into());
        let end =
            GrantEnd { why: GrantEndReason::Revoked, at: self.clock.now(), by: Some(person.clone()), reason };
        match self.store.end_grant(id.clone(), end).await? {
            Some(ended) => Ok(ended),
            None => Err(match self.store.grant(id.clone()).await?.and_then(|grant| grant.ended) {
                Some(end) => RevokeError::Ended(end.why.phrase()),
                None => RevokeError::NotFound,
            }),
        }
    }

    /// Expires every grant that is due.
    pub async fn expire_grants_due(&self) -> Result<(), StoreError> {
        let due = GrantFilter { live: true, due: Some(self.clock.now()), ..GrantFilter::default() };
        for grant in self.store.grants(due).await? {
            self.expire_grant_if_due(grant).await?;
        }
        Ok(())
    }

    /// Cancels an approval that waits, because a grant lets its call through: nobody has to answer it any more.
    pub async fn cancel_covered(&self, record: ApprovalRecord, grant: &GrantId) -> Result<(), StoreError> {
        let mut event = about(&record).event(EventType::ApprovalCancelled, self.clock.now());
        event.reason = Some(format!("covered by standing grant {grant}").into());
        event.grant_id = Some(grant.clone());
        let update = ApprovalUpdate {
            id: record.id,
            expected_version: record.version,
            status: ApprovalStatus::Cancelled,
            answers: record.answers,
            covered_by: Some(grant.clone()),
        };
        // Where somebody was first, they have answered it.
        self.store.update_approval(update, vec![event]).await.map(drop)
    }

    /// The grants that let calls through.
    pub async fn live_grants(&self) -> Result<Vec<StandingGrant>, StoreError> {
        self.store.grants(GrantFilter { live: true, ..GrantFilter::default() }).await
    }

    /// Ends every grant of `live` of which `judge` says why. Each is recorded once, whichever process does it.
    pub async fn end_grants(
        &self,
        live: Vec<StandingGrant>,
        judge: impl Fn(&StandingGrant) -> Option<GrantEndReason>,
    ) -> Result<(), StoreError> {
        for grant in live {
            if let Some(why) = judge(&grant) {
                self.end(grant, why).await?;
            }
        }
        Ok(())
    }

    /// The grant that is proposed for an approval that waits: where one approver has given the same answer to the same
    /// shape of call several times.
    pub async fn grant_proposal(&self, record: &ApprovalRecord) -> Result<Option<GrantProposal>, StoreError> {
        let (Some(limits), Some(shape)) = (record.grant_limits(), &record.shape) else { return Ok(None) };
        if record.status != ApprovalStatus::Pending {
            return Ok(None);
        }
        let filter = ApprovalFilter {
            status: vec![ApprovalStatus::Approved, ApprovalStatus::Consumed],
            agent: Some(Pattern::from(record.binding.agent.as_str())),
            limit: LOOKED_THROUGH,
            ..ApprovalFilter::default()
        };
        let before = self.store.approvals(filter).await?;
        let alike: Vec<&ApprovalRecord> = before.iter().filter(|old| same_shape(old, record)).collect();
        let mut people: BTreeMap<&PersonId, Vec<&ApprovalRecord>> = BTreeMap::new();
        for old in alike {
            for answer in old.answers.iter().filter(|answer| answer.approve) {
                people.entry(&answer.person).or_default().push(old);
            }
        }
        let often = people.into_iter().filter(|(_, given)| given.len() >= OFTEN);
        let Some((approver, given)) = often.max_by_key(|(_, given)| given.len()) else { return Ok(None) };
        let Some(arguments) = bounds_around(record, shape, &given) else { return Ok(None) };
        let within = limits.narrower(PROPOSED);
        Ok(Some(GrantProposal {
            approver: approver.clone(),
            times: given.len(),
            grant: GrantAnswer { duration: within.max_duration, uses: within.max_uses, arguments },
        }))
    }
}

/// Whether both are calls of one tool with arguments of the same names, asked about by the same rules.
fn same_shape(old: &ApprovalRecord, new: &ApprovalRecord) -> bool {
    let (Some(a), Some(b)) = (&old.shape, &new.shape) else { return false };
    (&old.binding.tool, &old.binding.fingerprint) == (&new.binding.tool, &new.binding.fingerprint)
        && (&old.binding.user, &old.binding.workflow) == (&new.binding.user, &new.binding.workflow)
        && old.covers(&new.requirements)
        && a.extras == b.extras
        && a.arguments.keys().eq(b.arguments.keys())
}

/// The narrowest bounds that this call and those before fit in; none where that cannot be told of what is masked or cut, or
/// where what varies has no bound at all.
fn bounds_around(
    record: &ApprovalRecord,
    shape: &CallShape,
    given: &[&ApprovalRecord],
) -> Option<BTreeMap<String, Bound>> {
    let mut bounds = BTreeMap::new();
    for (name, digest) in &shape.arguments {
        let as_asked =
            |old: &&ApprovalRecord| old.shape.as_ref().and_then(|s| s.arguments.get(name)) == Some(digest);
        if given.iter().all(as_asked) {
            continue;
        }
        let all = || given.iter().copied().chain([record]);
        let is_hidden = |one: &ApprovalRecord| {
            !one.context.complete || one.shape.as_ref().is_none_or(|shape| shape.masked.contains(name))
        };
        if all().any(is_hidden) {
            return None;
        }
        let values = all().map(|one| one.arguments.get(name).and_then(Value::as_str));
        let paths: Option<Vec<&str>> = values.collect();
        let root = paths.and_then(|paths| common_root(&paths));
        bounds.insert(name.clone(), root.map_or(Bound::Any(true), Bound::Within));
    }
    // Without a folder around what varies, nothing would be said of it at all: five harmless commands are no reason to propose
    // any command.
    let is_open = |bound: &Bound| matches!(bound, Bound::Any(_));
    let is_held = |bound: &Bound| matches!(bound, Bound::Within(_));
    (!bounds.values().any(is_open) || bounds.values().any(is_held)).then_some(bounds)
}

/// The deepest folder that holds all these paths, written plainly; none where they have none but the root.
fn common_root(paths: &[&str]) -> Option<String> {
    let folder = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let mut root = folder(paths.first()?)?;
    while root.len() > 1 {
        let fits: Result<Vec<bool>, _> = paths.iter().map(|path| within(path, &root)).collect();
        if fits.ok()?.into_iter().all(|fits| fits) && is_plain_root(&root) {
            return Some(root);
        }
        root = folder(&root)?;
    }
    None
}

/// The refusal of one more grant.
pub(super) fn too_many(limit: usize, agent: &AgentId) -> DecideError {
    DecideError::GrantRefused(format!(
        "agent `{agent}` has {limit} live grants already: revoke one with `tollgate grants revoke`, or approve this call \
         alone"
    ))
}

/// Says in the record of an answer which grant it came with.
pub(super) fn tell(event: &mut EventDraft, answer: &ApprovalAnswer) {
    if let (Some(grant), Some(Value::Object(detail))) = (&answer.grant, event.detail.as_mut()) {
        detail.insert("grant".to_owned(), answer_form(grant));
        detail.insert("grant_id".to_owned(), json!(answer.grant_id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R87: a grant holds what a person sees in its bounds, also where an agent's own paths propose them.
    #[test]
    fn a_root_holds_what_is_seen_in_it() {
        for root in ["/", "/scratch", "/scratch/", "/srv/a b/.config", "/srv/50%", "/srv/ä..b"] {
            assert!(is_plain_root(root), "{root}");
        }
        let hidden = [
            "/scratch/%2e%2e",
            "/scratch/%252e%252e",
            "/scratch/..",
            "/scratch%2F..",
            "/scratch\\..\\x",
            "/scratch/..;/x",
            "/scr%61tch",
            "/a\u{0}b",
            "scratch",
            "",
        ];
        for root in hidden {
            assert!(!is_plain_root(root), "{root}");
        }
        let proposed = |paths: &[&str]| common_root(paths);
        assert_eq!(proposed(&["/scratch/a/x", "/scratch/b"]).as_deref(), Some("/scratch"));
        assert_eq!(proposed(&["/scratch/%2e%2e/a", "/scratch/%2e%2e/b"]), None);
        assert_eq!(proposed(&["/scratch/a/../b", "/scratch/a/../c"]).as_deref(), Some("/scratch"));
    }
}
