//! A call for which a person has to connect an upstream first: they are shown where, and the call goes on once they have.
//!
//! The address is the same for everybody and gives nobody anything: whoever opens it signs in there, and connects an account of
//! their own. So whoever sends it to somebody else gets nothing by it.

use super::{
    client_questions::{ClientQuestions, QUESTION},
    prompts::About,
};
use crate::gateway::{
    Gateway, InForce,
    api::{CallReply, Purpose},
    freezes,
    refusal::Refusal,
    request::{Request, workflow_of},
    request_state::{Opened, UPSTREAM_STATE_TTL},
};
use crate::{
    admission::{FreezeSubject, FrozenTarget},
    config::{CredentialOf, UpstreamConfig},
    connections::{Connections, code_grant, told},
    identity::{granted, user_of},
    model::{AgentId, CallKind, CapabilityId, ConnectionKey, Holder, UpstreamName},
    pinning::{ItemKind, key},
    upstream::{Credentials as _, Era},
};
use serde_json::{Value, json};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// The policy id under which such a call is refused.
pub(in crate::gateway) const CREDENTIALS: &str = "credentials";

/// What has to be connected before a call can be decided.
enum Lacking {
    /// This.
    Connection(Wanted),
    /// It is connected, and what it lists was not ready when the call was decided.
    Look,
    /// Nobody is behind the agent whose account it could be.
    Person(String),
}

/// A credential that somebody has to connect.
struct Wanted {
    key: ConnectionKey,
    /// In place of one that is there and does not do; none: there is none.
    instead_of: Option<u64>,
}

impl Wanted {
    fn is_there(&self, connections: &Connections) -> bool {
        is_there(connections, &self.key, self.instead_of)
    }

    /// What the person at the client reads.
    fn message(&self) -> String {
        let Self { key, instead_of } = self;
        let whose = told(&key.holder);
        match instead_of {
            None => format!(
                "Tollgate: `{}` is reached with an account of your own, and none is connected for {whose}. Open the page, sign in \
                 there and connect it; this call goes on then.",
                key.upstream
            ),
            Some(_) => format!(
                "Tollgate: the account that is connected to `{}` for {whose} was granted too little for this call. Open the page, sign in \
                 there and connect it once more; this call goes on then.",
                key.upstream
            ),
        }
    }
}

/// Whose credential a call uses, and which it is.
pub(in crate::gateway) struct Used {
    key: ConnectionKey,
    generation: Option<u64>,
}

/// What a person at the client comes to.
enum Asked {
    Connected,
    /// Nothing: the call is decided again, and they may be asked again.
    Again,
    Reply(CallReply),
    No(Refusal),
}

/// What comes of it.
pub(in crate::gateway) enum Connected {
    /// It is connected: the call is decided again.
    Yes,
    /// It is not, or not yet.
    Reply(CallReply),
}

impl Gateway {
    /// What somebody has to connect before what a call names can be there; none where that is not why it is unknown.
    fn lacking(&self, in_force: &InForce, request: &Request) -> Option<Lacking> {
        if !matches!(request.purpose, Purpose::Use) || request.kind == CallKind::Resource {
            return None;
        }
        let personal = in_force.personal.iter().filter_map(|name| in_force.config.upstreams.get(name));
        let upstream = personal.into_iter().find(|upstream| self.may_have(in_force, upstream, request))?;
        // What an agent may not use, it does not hear of.
        if covering(in_force, request).is_empty() {
            return None;
        }
        if code_grant(upstream).is_none() {
            let why = format!(
                "`{}` takes what the issuer gives for a caller's own access token (`grant = \"token_exchange\"`), and agent `{}` \
                 came without one",
                upstream.name, request.agent
            );
            return in_force.is_shared().then_some(Lacking::Person(why));
        }
        let person = user_of(&request.principal, &in_force.policies.authority);
        let Some(holder) = Connections::holder_of(upstream, &request.agent, person) else {
            let why = format!(
                "`{}` is reached with each person's own account (`per = \"{}\"`), and agent `{}` acts for nobody",
                upstream.name,
                CredentialOf::Person.as_str(),
                request.agent
            );
            return Some(Lacking::Person(why));
        };
        let key = ConnectionKey { upstream: upstream.name.clone(), holder };
        match self.connections().is_connected(&key) {
            true => in_force.is_shared().then_some(Lacking::Look),
            false => Some(Lacking::Connection(Wanted { key, instead_of: None })),
        }
    }

    /// Whether an upstream may have what a call names: by its prefix; without one, where servers.toml has a table for it or
    /// somebody's account has listed it. Any name that nothing has would else ask a person to connect.
    fn may_have(&self, in_force: &InForce, upstream: &UpstreamConfig, request: &Request) -> bool {
        let name = &*request.name;
        if !upstream.prefix.is_empty() {
            let own = name.strip_prefix(&*upstream.prefix);
            let own = own.and_then(|own| own.strip_prefix(in_force.config.gateway.separator.as_str()));
            return own.is_some_and(|own| !own.is_empty());
        }
        let (kind, has_table) = match request.kind {
            CallKind::Tool => (ItemKind::Tool, upstream.tools.contains_key(name)),
            CallKind::Prompt => (ItemKind::Prompt, false),
            CallKind::Resource => return false,
        };
        has_table || self.0.pins.book().get(&key(&upstream.name, kind, name)).is_some()
    }

    /// The refusal of a call for which nothing is connected.
    fn unconnected(in_force: &InForce, key: &ConnectionKey, agent: &AgentId) -> Refusal {
        let (upstream, holder) = (&key.upstream, told(&key.holder));
        let place = place(in_force, upstream, agent);
        let reason = format!("`{upstream}` is not connected for {holder}: it can be connected {place}");
        Refusal { advice: Some("Call again once it is connected."), ..Refusal::deny(CREDENTIALS, reason) }
    }

    /// Where a call names what somebody has to connect first: asks the person at the client, where that can show it, and the call
    /// goes on once they have. None: nothing is to be connected.
    pub(in crate::gateway) async fn connect_first(
        &self,
        in_force: &Arc<InForce>,
        request: &mut Request,
        asking: &mut ClientQuestions,
    ) -> Option<Connected> {
        let asked = match self.lacking(in_force, request)? {
            Lacking::Connection(wanted) => self.ask_to_connect(in_force, request, &wanted, asking).await,
            Lacking::Look if std::mem::replace(&mut asking.looked_again, true) => return None,
            Lacking::Look => Asked::Connected,
            Lacking::Person(why) => Asked::No(Refusal::deny(CREDENTIALS, why)),
        };
        Some(match asked {
            Asked::Connected | Asked::Again => Connected::Yes,
            Asked::Reply(reply) => Connected::Reply(reply),
            Asked::No(refusal) => {
                let refused = self.0.refusals.refuse(request, None, in_force, refusal, asking);
                Connected::Reply(refused.await)
            }
        })
    }

    /// The same for a call whose upstream does not answer: another process may have ended the connection a moment ago.
    pub(in crate::gateway) async fn connect_again(
        &self,
        in_force: &Arc<InForce>,
        request: &mut Request,
        asking: &mut ClientQuestions,
    ) -> Option<Connected> {
        if in_force.is_shared() {
            return None;
        }
        if let Err(error) = self.connections().read().await {
            tracing::error!(%error, "connections.not_read");
        }
        match self.lacking(in_force, request)? {
            Lacking::Connection(_) => self.connect_first(in_force, request, asking).await,
            Lacking::Look | Lacking::Person(_) => None,
        }
    }

    /// Asks the person at the client to connect it, for as long as the call could go on once they have.
    async fn ask_to_connect(
        &self,
        in_force: &Arc<InForce>,
        request: &mut Request,
        wanted: &Wanted,
        asking: &mut ClientQuestions,
    ) -> Asked {
        let tool: Arc<str> = request.name.as_str().into();
        let target = FrozenTarget {
            tool: (request.kind == CallKind::Tool).then(|| (tool.clone(), tool)),
            upstream: wanted.key.upstream.clone(),
            capabilities: covering(in_force, request),
        };
        let user = user_of(&request.principal, &in_force.policies.authority).cloned();
        let subject = FreezeSubject { agent: request.agent.clone(), user, target: Some(target) };
        let (before, since) = (asking.asked_to_connect, self.0.clock.monotonic());
        let asked = tokio::select! {
            biased;
            // Nothing leaves for a call that is frozen, not even a question about it.
            frozen = self.0.freezes.until_frozen(&subject) => Asked::No(freezes::refusal(frozen)),
            () = self.until_other(in_force, request) => Asked::Again,
            () = self.0.people.cutting.cancelled() => Asked::No(Self::unconnected(in_force, &wanted.key, &request.agent)),
            asked = self.put_to_client(in_force, request, wanted, asking) => asked,
        };
        request.waited += self.0.clock.monotonic().saturating_sub(since);
        if matches!(asked, Asked::Again) {
            asking.asked_to_connect = before;
        }
        asked
    }

    /// Ends once a call is to be decided again: its principal is none any more, or other policies are in force.
    async fn until_other(&self, in_force: &InForce, request: &Request) {
        let current = &self.0.current;
        let mut generations = current.generations();
        loop {
            let decides = current.in_force().decides_under(&in_force.policies.snapshot);
            if !decides || !current.still_valid(&request.principal) {
                return;
            }
            if generations.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn put_to_client(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        wanted: &Wanted,
        asking: &mut ClientQuestions,
    ) -> Asked {
        let no = || Asked::No(Self::unconnected(in_force, &wanted.key, &request.agent));
        // Another process may have connected it a moment ago.
        match self.connections().read().await {
            Ok(_) if wanted.is_there(self.connections()) => return Asked::Connected,
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "connections.not_read"),
        }
        let patience = in_force.config.gateway.approval_wait;
        let asked_before = asking.asked_to_connect.replace(wanted.instead_of);
        if asking.declined_to_connect {
            return no();
        }
        // Once for the connection, and once for more than that gives: nobody is asked without end.
        if asked_before.is_some_and(|before| before.is_some() || before == wanted.instead_of) {
            // They say that they have: what another process has kept comes within half a second.
            return match self.is_soon_connected(wanted, patience).await {
                true => Asked::Connected,
                false => no(),
            };
        }
        if !shows_pages(asking.client.capabilities()) {
            return no();
        }
        let most = in_force.config.gateway.rejected_asks;
        let about = About::Connection(wanted.key.clone(), wanted.instead_of);
        if !self.0.people.prompts.show(&request.agent, &about, most, self.0.clock.monotonic()) {
            return no();
        }
        let id = self.0.ids.uuid();
        let question = json!({
            "mode": "url",
            "elicitationId": id,
            "url": connect_link(in_force),
            "message": wanted.message(),
        });
        match asking.client.era() {
            Era::Legacy => {
                let answer = asking.client.ask("elicitation/create".to_owned(), question);
                let connected = tokio::select! {
                    answer = answer => match is_accepted(&answer) {
                        true => self.is_soon_connected(wanted, patience).await,
                        false => false,
                    },
                    () = self.until_connected(wanted) => true,
                    // As long as a client that retries has.
                    () = tokio::time::sleep(UPSTREAM_STATE_TTL) => false,
                };
                match connected {
                    true => {
                        asking
                            .client
                            .notify("notifications/elicitation/complete", json!({"elicitationId": id}));
                        Asked::Connected
                    }
                    false => no(),
                }
            }
            Era::Modern => {
                let asked = Opened::Connect(wanted.instead_of);
                let sealed = asked.seal(&*self.0.seal, &connect_bound(request), UPSTREAM_STATE_TTL);
                match sealed {
                    Ok(sealed) => Asked::Reply(Ok(json!({
                        "resultType": "input_required",
                        "inputRequests": {QUESTION: {"method": "elicitation/create", "params": question}},
                        "requestState": sealed,
                    }))),
                    Err(_) => no(),
                }
            }
        }
    }

    /// Whose credential a call uses at an upstream that somebody connects.
    pub(in crate::gateway) fn used(
        &self,
        in_force: &InForce,
        request: &Request,
        upstream: &UpstreamName,
    ) -> Option<Used> {
        let upstream = in_force.config.upstreams.get(upstream)?;
        let person = user_of(&request.principal, &in_force.policies.authority);
        let holder = Connections::holder_of(upstream, &request.agent, person)?;
        let key = ConnectionKey { upstream: upstream.name.clone(), holder };
        let generation = self.connections().generation(&key);
        Some(Used { key, generation })
    }

    /// Whether a call is made again, with another account or none. Where the one that it used has too few scopes, the person at
    /// the client is asked to connect it once more: its upstream has refused the call for that, and done nothing. Where another
    /// process has ended the connection, nothing was sent, and the call is decided without it.
    pub(in crate::gateway) async fn with_other_account(
        &self,
        in_force: &Arc<InForce>,
        request: &mut Request,
        used: Used,
        reply: CallReply,
        asking: &mut ClientQuestions,
    ) -> Connected {
        let account = std::mem::take(&mut asking.account);
        if !matches!(request.purpose, Purpose::Use) {
            return Connected::Reply(reply);
        }
        let is_own = used.key.holder != Holder::Gateway;
        if is_own && account.not_sent.load(Ordering::Relaxed) && !asking.lost_account {
            if let Err(error) = self.connections().read().await {
                tracing::error!(%error, "connections.not_read");
            }
            asking.lost_account = !self.connections().is_connected(&used.key);
            return if asking.lost_account { Connected::Yes } else { Connected::Reply(reply) };
        }
        if !account.lacks_scopes.load(Ordering::Relaxed) {
            return Connected::Reply(reply);
        }
        let wanted = Wanted { key: used.key, instead_of: used.generation };
        match self.ask_to_connect(in_force, request, &wanted, asking).await {
            Asked::Connected => Connected::Yes,
            Asked::Reply(reply) => Connected::Reply(reply),
            // It was made under what was in force then. What the upstream said, and where it can be connected, stands in the reply.
            Asked::No(_) | Asked::Again => Connected::Reply(reply),
        }
    }

    async fn until_connected(&self, wanted: &Wanted) {
        let mut changes = self.connections().changes();
        loop {
            changes.borrow_and_update();
            if wanted.is_there(self.connections()) {
                return;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn is_soon_connected(&self, wanted: &Wanted, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.until_connected(wanted)).await.is_ok()
    }

    /// Takes the `requestState` of a retry whose client was asked to connect something, so that it is not asked again.
    pub(in crate::gateway) fn take_connect_state(&self, request: &Request, asking: &mut ClientQuestions) {
        let Some(sealed) = &asking.sealed else { return };
        let opened = Opened::open(&*self.0.seal, sealed, &connect_bound(request));
        if let Some(Opened::Connect(instead_of)) = opened {
            asking.sealed = None;
            asking.asked_to_connect = Some(instead_of);
            if let Some(responses) = &mut asking.responses {
                let answer = responses.shift_remove(QUESTION);
                asking.declined_to_connect = !answer.is_some_and(|answer| is_accepted(&Ok(answer)));
            }
        }
    }
}

/// Whether something is connected, in place of what was there.
pub(in crate::gateway) fn is_there(
    connections: &Connections,
    key: &ConnectionKey,
    instead_of: Option<u64>,
) -> bool {
    connections.generation(key).is_some_and(|now| Some(now) != instead_of)
}

/// Where a person connects accounts.
fn connect_link(in_force: &InForce) -> String {
    format!("{}/#/connections", in_force.config.page_link())
}

/// Where an upstream is connected, in a sentence.
fn place(in_force: &InForce, upstream: &UpstreamName, agent: &AgentId) -> String {
    let config = in_force.config.upstreams.get(upstream);
    let whose = match config.and_then(code_grant).map(|grant| grant.per) {
        Some(CredentialOf::Agent) => format!(" --for {agent}"),
        Some(CredentialOf::Person | CredentialOf::Gateway) | None => String::new(),
    };
    format!("at {} or with `tollgate servers login {upstream}{whose}`", connect_link(in_force))
}

/// What is said to a call for which the account that somebody connected has too few scopes; none where nobody connects that
/// upstream. What the upstream asks for it says itself.
pub(in crate::gateway) fn of_more_scopes(
    in_force: &InForce,
    upstream: &UpstreamName,
    agent: &AgentId,
) -> Option<String> {
    code_grant(in_force.config.upstreams.get(upstream)?)?;
    Some(format!(
        "The account that is connected to `{upstream}` was granted too little for this call: it can be connected once more, with \
         what the server asks for, {}.",
        place(in_force, upstream, agent)
    ))
}

/// The principal and what it calls. Whoever hands this back is not asked again, and gets nothing else by it.
fn connect_bound(request: &Request) -> Vec<u8> {
    let key = request.principal.key();
    [key.as_str(), "\nconnect\n", request.kind.as_str(), "\n", &request.name].concat().into_bytes()
}

fn is_accepted(answer: &Result<Value, crate::model::RpcError>) -> bool {
    answer.as_ref().is_ok_and(|answer| answer.get("action").and_then(Value::as_str) == Some("accept"))
}

/// Whether a client can open a page for its person.
fn shows_pages(capabilities: &Value) -> bool {
    capabilities.pointer("/elicitation/url").is_some_and(|url| !url.is_null())
}

/// The capabilities of the agent that cover the name that it calls.
fn covering(in_force: &InForce, request: &Request) -> Vec<CapabilityId> {
    let authority = &in_force.policies.authority;
    let Some(agent) = authority.agents.get(&request.agent) else { return Vec::new() };
    let (workflow, refused) = workflow_of(&authority.workflows, agent, request.workflow.as_deref());
    if refused.is_some() {
        return Vec::new();
    }
    let narrow = workflow.and_then(|workflow| workflow.capabilities.as_deref());
    let of_principal = granted(&request.principal, authority);
    let covers = |id: &&CapabilityId| {
        let Some(capability) = authority.capabilities.get(*id) else { return false };
        let mut globs = match request.kind {
            CallKind::Prompt => &capability.prompts,
            CallKind::Tool | CallKind::Resource => &capability.tools,
        }
        .iter();
        narrow.is_none_or(|narrow| narrow.contains(id))
            && of_principal.as_ref().is_none_or(|granted| granted.contains(id))
            && globs.any(|glob| glob.matches(&request.name))
    };
    agent.capabilities.iter().filter(covers).cloned().collect()
}
