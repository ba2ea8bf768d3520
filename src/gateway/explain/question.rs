//! A call that somebody asks about.

use crate::{
    catalog::naming::exposed_name,
    gateway::{
        api::Purpose,
        prepare::Assumed,
        request::{Request, Standing, arguments_of},
    },
    identity::{AgentPrincipal, Delegation, Principal, Proof},
    model::{AgentId, CallId, CallKind, PersonId, SharePlace, TraceId},
    policy::{Authority, PolicySet},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// A call that is not made.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Who would make it.
    pub agent: AgentId,
    /// What kind of thing it names.
    pub kind: CallKind,
    /// The exposed name of the tool or prompt, or the URI of the resource.
    pub name: String,
    /// The arguments; `None`: none.
    pub arguments: Option<Value>,
    /// The person that the agent acts for; `None`: its operator.
    pub user: Option<PersonId>,
    /// The workflow that the call names; `None`: the agent's own.
    pub workflow: Option<String>,
    /// When it would be made; `None`: now.
    pub at: Option<Timestamp>,
    /// How many identical calls came before it in a minute; `None`: as many as are known of.
    pub repeats: Option<u64>,
    /// What has reached the session.
    pub session_labels: Vec<Arc<str>>,
}

impl Question {
    /// A call without arguments, of now.
    pub fn of(agent: &str, kind: CallKind, name: &str) -> Self {
        Self {
            agent: agent.into(),
            kind,
            name: name.to_owned(),
            arguments: None,
            user: None,
            workflow: None,
            at: None,
            repeats: None,
            session_labels: Vec::new(),
        }
    }

    /// The same call with other arguments.
    pub(super) fn with(&self, arguments: Value) -> Self {
        let mut other = self.clone();
        if self.kind == CallKind::Resource
            && let Some(uri) = arguments.get("uri").and_then(Value::as_str)
        {
            other.name = uri.to_owned();
            other.arguments = None;
            return other;
        }
        other.arguments = Some(arguments);
        other
    }

    /// Who would make the call. Somebody whom the bundle does not have bounds nothing: nobody could come in for them.
    fn principal(&self, authority: &Authority) -> Principal {
        let known = self.user.clone().filter(|user| authority.people.contains_key(user));
        let delegation = known.map(Delegation::for_user);
        Principal::Agent(AgentPrincipal { id: self.agent.clone(), proof: Proof::Stdio, delegation })
    }

    /// As a request. Metadata that the bundle requires and that has no place in a question is taken to be there.
    pub(super) fn request(&self, policies: &PolicySet) -> Request {
        let own = |name: &&Arc<str>| !["workflow_id", "user", "trace_id"].contains(&&***name);
        let required = policies.bundle.required.iter().filter(own);
        let meta: Map<String, Value> =
            required.map(|name| (name.to_string(), json!("taken to be there"))).collect();
        Request {
            principal: self.principal(&policies.authority),
            agent: self.agent.clone(),
            kind: self.kind,
            purpose: Purpose::Use,
            name: self.listed_name(),
            meta,
            extra_params: Map::new(),
            session: Arc::from(""),
            own_session: None,
            standing: Standing::default(),
            workflow: self.workflow.clone(),
            trace_id: TraceId::from_bytes([0; 16]),
            traced: true,
            call_id: CallId::from(""),
            replay_of: None,
            began: Duration::ZERO,
            tracing: Default::default(),
            listed: None,
            waited: Duration::ZERO,
            is_retry: false,
            counted: None,
            // In every share: what a policy says is to be seen.
            share: SharePlace::default(),
        }
    }

    /// The name in lists; a long tool name may be given before shortening too.
    pub(super) fn listed_name(&self) -> String {
        match self.kind {
            CallKind::Tool => exposed_name(&self.name),
            CallKind::Resource | CallKind::Prompt => self.name.clone(),
        }
    }

    pub(super) fn assumed(&self) -> Assumed {
        Assumed {
            now: self.at,
            user: self.user.clone(),
            repeats: self.repeats,
            session_labels: self.session_labels.clone(),
        }
    }

    /// The arguments as policies see them.
    pub(super) fn given(&self) -> Value {
        arguments_of(self.kind, &self.name, self.arguments.clone())
    }
}
