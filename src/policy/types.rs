//! The compiled bundle: what deciding, identity and admission read.

use super::{condition::Condition, facts::AgentFacts, role::Role};
use crate::model::{
    AgentId, Autonomy, CapabilityId, Decision, Glob, MicroUsd, PersonId, PolicyId, RuleId, Selector, Share,
    SharePlace, UriPattern, WorkflowId, pointer::Pointer,
};
use jiff::Timestamp;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// bundle.yaml.
#[derive(Clone, Debug, PartialEq)]
pub struct BundleInfo {
    /// The admin's own version text.
    pub version: Arc<str>,
    /// Who answers for it.
    pub owner: Option<Arc<str>>,
    /// What happens to a call on which no policy has an outcome.
    pub default_decision: Decision,
    /// Who decides where a rule names nobody; `None`: everyone with role `approver`.
    pub default_approvers: Option<Vec<Approver>>,
    /// Names of `_meta` keys that a call must carry, or the words `workflow_id`, `trace_id`, `user`.
    pub required: Vec<Arc<str>>,
    /// What the list of tools of an agent without a figure of its own may take, in tokens.
    pub max_catalog_tokens: Option<u64>,
}

/// authority.yaml: the published authority map.
#[derive(Clone, Debug, Default)]
pub struct Authority {
    /// What may be used.
    pub capabilities: BTreeMap<CapabilityId, Capability>,
    /// Who calls.
    pub agents: BTreeMap<AgentId, Agent>,
    /// Who decides and looks.
    pub people: BTreeMap<PersonId, Person>,
    /// What work is done in.
    pub workflows: BTreeMap<WorkflowId, Workflow>,
}

/// What an agent may use.
#[derive(Clone, Debug)]
pub struct Capability {
    /// Its name.
    pub id: CapabilityId,
    /// Globs over exposed tool names before shortening.
    pub tools: Vec<Glob>,
    /// Patterns over canonical URIs.
    pub resources: Vec<UriPattern>,
    /// Globs over exposed prompt names.
    pub prompts: Vec<Glob>,
    /// Must be true for a call; false denies with a decision.
    pub condition: Option<Condition>,
    /// Narrows the agent's own.
    pub autonomy: Option<Autonomy>,
}

/// An agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its name.
    pub id: AgentId,
    /// Its type, or empty.
    pub agent_type: Arc<str>,
    /// Its role, or empty.
    pub role: Arc<str>,
    /// Its tenant, or empty.
    pub tenant: Arc<str>,
    /// Who answers for it, or empty.
    pub owner: Arc<str>,
    /// The person at its client.
    pub operator: Option<PersonId>,
    /// Whether an elicitation answered by its client counts.
    pub attended: bool,
    /// The workflow of a call that names none.
    pub workflow: Option<WorkflowId>,
    /// The workflows a call may name.
    pub workflows: Vec<WorkflowId>,
    /// Prices its tokens.
    pub model: Option<Arc<str>>,
    /// How far it may act by itself.
    pub autonomy: Autonomy,
    /// What its list of tools may take, in its model's tokens.
    pub max_catalog_tokens: Option<u64>,
    /// What it may use.
    pub capabilities: Vec<CapabilityId>,
    /// Its API keys.
    pub keys: Vec<ApiKey>,
    /// The URIs that its clients' certificates name it by.
    pub certificates: Vec<Arc<str>>,
}

/// An API key, of which only the digest is known.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its SHA-256.
    pub digest: [u8; 32],
    /// From when on it opens nothing.
    pub expires: Option<Timestamp>,
    /// What people call it.
    pub name: Option<Arc<str>>,
}

impl ApiKey {
    /// One that does not expire.
    pub fn new(digest: [u8; 32]) -> Self {
        Self { digest, expires: None, name: None }
    }

    /// Whether it opens nothing any more.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// As people know it: by its name, or by how its digest begins.
    pub fn label(&self) -> String {
        let short = || hex::encode(self.digest.get(..4).unwrap_or_default());
        self.name.as_ref().map_or_else(short, ToString::to_string)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("expires", &self.expires)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// The groups of a person; none of somebody it does not have.
    pub fn groups_of(&self, person: Option<&PersonId>) -> Vec<Arc<str>> {
        person.and_then(|id| self.people.get(id)).map(|person| person.groups.clone()).unwrap_or_default()
    }
}

impl AgentFacts {
    /// What a bundle says of an agent.
    pub fn of(agent: &Agent) -> Self {
        Self {
            id: agent.id.clone(),
            agent_type: agent.agent_type.clone(),
            role: agent.role.clone(),
            tenant: agent.tenant.clone(),
            owner: agent.owner.clone(),
            operator: agent.operator.clone(),
            autonomy: agent.autonomy,
            attended: agent.attended,
        }
    }
}

/// A person.
#[derive(Clone, Debug)]
pub struct Person {
    /// The name.
    pub id: PersonId,
    /// The API keys.
    pub keys: Vec<ApiKey>,
    /// Groups that `approvers` may name.
    pub groups: Vec<Arc<str>>,
    /// What they may do.
    pub roles: Vec<Role>,
    /// What agents may use for them, of what they have; none: all of that.
    pub capabilities: Option<Arc<[CapabilityId]>>,
}

/// A workflow.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// Its name.
    pub id: WorkflowId,
    /// Who answers for it.
    pub owner: Option<Arc<str>>,
    /// An approval pending longer is an alert.
    pub approval_sla: Option<Duration>,
    /// Where set, a call gets the intersection with the agent's.
    pub capabilities: Option<Vec<CapabilityId>>,
}

/// One gate, or one policy of a rulebook.
#[derive(Clone, Debug)]
pub struct Policy {
    /// A gate's `name`, a rulebook policy's `id`. Unique in the bundle.
    pub id: PolicyId,
    /// The file it stands in.
    pub file: Arc<str>,
    /// Its rationale.
    pub description: Option<Arc<str>>,
    /// Who answers for it.
    pub owner: Option<Arc<str>>,
    /// Whether it counts.
    pub mode: Mode,
    /// Any entry may match; empty means every call.
    pub on: Vec<Selector>,
    /// What it says.
    pub body: PolicyBody,
}

impl Policy {
    /// Every condition in it.
    pub(super) fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let (rules, book) = match &self.body {
            PolicyBody::Gate(rules) => (rules.as_slice(), None),
            PolicyBody::Rulebook(book) => (&[][..], book.condition.as_ref()),
        };
        rules.iter().filter_map(|rule| rule.condition.as_ref()).chain(book)
    }

    /// Whether a service outside says what it comes to.
    pub(super) fn asks_outside(&self) -> bool {
        match &self.body {
            PolicyBody::Gate(rules) => rules.iter().any(|rule| matches!(rule.outcome, RuleOutcome::Check(_))),
            PolicyBody::Rulebook(_) => false,
        }
    }
}

/// Whether a policy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    Enforce,
    /// It is evaluated and recorded, and changes nothing.
    Shadow,
    /// It does for this share of calls, and is a shadow for the rest.
    Share(Share),
}

impl Mode {
    /// Whether it counts for the call at this place.
    pub fn counts(self, place: SharePlace) -> bool {
        match self {
            Self::Enforce => true,
            Self::Shadow => false,
            Self::Share(share) => share.covers(place),
        }
    }

    /// Its word in a file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Share(_) => "share",
        }
    }

    /// The share, where it has one.
    pub fn share(self) -> Option<Share> {
        match self {
            Self::Enforce | Self::Shadow => None,
            Self::Share(share) => Some(share),
        }
    }
}

/// The two forms of a policy.
#[derive(Clone, Debug)]
pub enum PolicyBody {
    /// The first rule whose condition is true gives the outcome.
    Gate(Vec<Rule>),
    /// The conditions of the rulebook form.
    Rulebook(Box<Rulebook>),
}

/// One rule of a gate.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its `id`, or its position from 1.
    pub id: RuleId,
    /// Always true where absent.
    pub condition: Option<Condition>,
    /// What it says.
    pub outcome: RuleOutcome,
    /// A plain sentence for the agent, where the author gave one.
    pub reason: Option<Arc<str>>,
    /// What it tells of every call that it decides, made once.
    pub sentence: Sentence,
}

/// A text that is made at its first use. A copy of its owner, which may be changed, makes its own.
#[derive(Debug, Default)]
pub struct Sentence(OnceLock<Arc<str>>);

impl Sentence {
    /// The text.
    pub fn get_or_make(&self, make: impl FnOnce() -> String) -> Arc<str> {
        self.0.get_or_init(|| make().into()).clone()
    }
}

impl Clone for Sentence {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleOutcome {
    /// `ALLOW`
    Allow,
    /// `ALLOW_WITH_CONSTRAINTS`
    AllowWithConstraints(Constraints),
    /// `REQUIRE_APPROVAL`
    RequireApproval(ApprovalRule),
    /// `REMEDIATE`
    Remediate(Remediation),
    /// `SUGGEST`
    Suggest,
    /// `THROTTLE`, with how long to wait.
    Throttle(Duration),
    /// `DENY`
    Deny,
    /// `check`: an HTTP service says.
    Check(CheckRule),
}

impl RuleOutcome {
    /// The word.
    pub fn decision(&self) -> Decision {
        match self {
            Self::Allow => Decision::Allow,
            Self::AllowWithConstraints(_) => Decision::AllowWithConstraints,
            Self::RequireApproval(_) => Decision::RequireApproval,
            Self::Remediate(_) => Decision::Remediate,
            Self::Suggest => Decision::Suggest,
            Self::Throttle(_) => Decision::Throttle,
            Self::Deny => Decision::Deny,
            Self::Check(check) => check.on_error.decision(),
        }
    }
}

/// A rule that leaves the outcome to an HTTP service.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckRule {
    /// Which of `[checks.NAME]` in servers.toml.
    pub check: Arc<str>,
    /// What holds where the service gives no answer.
    pub on_error: OnCheckError,
    /// Who is asked where the service, or `on_error`, wants a person.
    pub approval: ApprovalRule,
}

/// What holds where an external check gives no answer: it cannot be reached, is too slow, or answers what is no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCheckError {
    /// The call is denied.
    #[default]
    Deny,
    /// A person is asked.
    RequireApproval,
    /// As if the service had let it through.
    Allow,
}

impl OnCheckError {
    /// The decision that it stands for.
    pub fn decision(self) -> Decision {
        match self {
            Self::Deny => Decision::Deny,
            Self::RequireApproval => Decision::RequireApproval,
            Self::Allow => Decision::Allow,
        }
    }
}

/// The rulebook form.
#[derive(Clone, Debug)]
pub struct Rulebook {
    /// Other roles: deny.
    pub allowed_roles: Option<Vec<Arc<str>>>,
    /// Applies to these agent types only.
    pub agent_types: Option<Vec<Arc<str>>>,
    /// Per call; above it: deny.
    pub max_cost: Option<MicroUsd>,
    /// A person decides.
    pub requires_approval: Option<ApprovalRule>,
    /// Dispatched calls in a rolling 60 s per agent and policy.
    pub max_calls_per_minute: Option<u64>,
    /// USD in a rolling 60 s per agent and policy.
    pub max_cost_per_minute: Option<MicroUsd>,
    /// Gives ALLOW where nothing stops the call.
    pub on_allow: bool,
    /// What happens above a per-minute limit.
    pub on_violation: Violation,
    /// An extra condition for the policy to apply.
    pub condition: Option<Condition>,
}

/// `on_violation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// `throttle`
    Throttle,
    /// `deny`
    Deny,
}

/// What an approval needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRule {
    /// Who may decide; `None`: the bundle's default.
    pub approvers: Option<Vec<Approver>>,
    /// How many distinct people.
    pub quorum: u32,
    /// How long it can be answered and used.
    pub expires_in: Duration,
    /// Who else is asked after a time.
    pub escalate: Option<Escalation>,
    /// Whether an approval needs evidence.
    pub evidence_required: bool,
    /// Through what it may be answered.
    pub channels: Vec<ChannelKind>,
    /// The agent's operator can never decide it.
    pub separate: bool,
    /// How far an approver may turn the answer into a standing grant; `None`: they may not.
    pub grants: Option<GrantLimits>,
}

/// `grants`: the widest standing grant that an answer may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GrantLimits {
    /// Valid for at most so long.
    #[serde(with = "crate::model::span")]
    pub max_duration: Duration,
    /// Lets at most so many calls through.
    pub max_uses: u64,
}

impl GrantLimits {
    /// What both allow.
    #[must_use]
    pub fn narrower(self, other: Self) -> Self {
        Self {
            max_duration: self.max_duration.min(other.max_duration),
            max_uses: self.max_uses.min(other.max_uses),
        }
    }
}

/// `escalate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// After so long.
    pub after: Duration,
    /// These may decide too.
    pub to: Vec<Approver>,
}

/// Who may decide.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approver {
    /// A group of people.
    Group(Arc<str>),
    /// One person.
    Person(PersonId),
    /// The calling agent's own operator.
    Operator,
}

impl Approver {
    /// As a rule writes it.
    pub fn name(&self) -> &str {
        match self {
            Self::Group(group) => group,
            Self::Person(person) => person.as_str(),
            Self::Operator => "operator",
        }
    }
}

/// Through what an approval may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// In the calling agent's own client.
    Elicitation,
    /// The inbox page.
    Inbox,
    /// The approver's own MCP client.
    Mcp,
    /// The command line.
    Cli,
    /// The API.
    Api,
    /// A link that leads to a sign-in.
    Link,
}

impl ChannelKind {
    /// Every channel: the default.
    pub const ALL: &[Self] = &[Self::Elicitation, Self::Inbox, Self::Mcp, Self::Cli, Self::Api, Self::Link];

    /// Its word in a file, a record and an event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Elicitation => "elicitation",
            Self::Inbox => "inbox",
            Self::Mcp => "mcp",
            Self::Cli => "cli",
            Self::Api => "api",
            Self::Link => "link",
        }
    }

    /// Whether an answer through it proves who gives it: by a person's key or sign-in. The agent's own client proves
    /// nothing of the kind.
    pub fn proves_the_person(self) -> bool {
        match self {
            Self::Elicitation => false,
            Self::Inbox | Self::Mcp | Self::Cli | Self::Api | Self::Link => true,
        }
    }

    /// Whether a rule that lists `channels` takes an answer through this one. What is listed is how sure the rule wants to
    /// be of the person: all channels that prove them are worth the same.
    pub fn is_taken(self, channels: &[Self]) -> bool {
        channels.contains(&self)
            || (self.proves_the_person() && channels.iter().any(|listed| listed.proves_the_person()))
    }
}

/// Limits that are enforced at dispatch and on the result. `None` and empty mean: no limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Constraints {
    /// The upstream must answer within.
    pub timeout: Option<Duration>,
    /// The estimate must not exceed; else denied.
    pub max_cost: Option<MicroUsd>,
    /// The result is cut.
    pub max_result_tokens: Option<u64>,
    /// The result is cut.
    pub max_result_bytes: Option<u64>,
    /// Only a tool trusted as read-only may run; else denied.
    pub read_only: bool,
    /// The arguments are changed before dispatch, in order.
    pub arguments: Vec<ArgumentEdit>,
    /// Masked in the result before the agent sees it.
    pub redact: Vec<Pointer>,
}

/// One change of arguments.
#[derive(Clone, Debug, PartialEq)]
pub enum ArgumentEdit {
    /// Put a value there.
    Set(Pointer, Value),
    /// Take it out.
    Remove(Pointer),
    /// Hold a number between the two.
    Clamp {
        /// Where.
        at: Pointer,
        /// Not below.
        min: Option<serde_json::Number>,
        /// Not above.
        max: Option<serde_json::Number>,
    },
}

/// A safer variant of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Remediation {
    /// True: dispatched in place of the call. False: suggested to the agent.
    pub apply: bool,
    /// The changes of the arguments.
    pub edits: Vec<ArgumentEdit>,
    /// Another tool, by exposed name.
    pub tool: Option<Arc<str>>,
    /// Why it is safer.
    pub reason: Option<Arc<str>>,
}
