//! Telling clients that a list has changed: `subscriptions/listen` in the stateless era, and the notifications of
//! a legacy conversation. Only a list of the principal's own counts: what it may not see does not move it.

use super::{
    answer::{Caller, Core},
    client::Client,
    message::{self, Id},
    modern::SUBSCRIPTION_KEY,
    watches::Watches,
};
use crate::{
    gateway::{ListGenerations, Listed, named_workflow, takes_tasks, tasks_not_declared},
    identity::Principal,
    model::{RpcError, code},
};
use futures::stream::Stream;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A principal is looked at again this often even where nobody says that anything has changed.
const RECHECK: Duration = Duration::from_secs(15);

/// The resources in the filter of `subscriptions/listen`.
const RESOURCES: &str = "resourceSubscriptions";
/// What is told of a resource.
pub(crate) const UPDATED: &str = "notifications/resources/updated";

/// One kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Tools,
    Resources,
    Prompts,
}

impl Change {
    const ALL: [Self; 3] = [Self::Tools, Self::Resources, Self::Prompts];

    fn method(self) -> &'static str {
        match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Resources => "notifications/resources/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
        }
    }

    /// In the filter of `subscriptions/listen`.
    fn wish(self) -> &'static str {
        match self {
            Self::Tools => "toolsListChanged",
            Self::Resources => "resourcesListChanged",
            Self::Prompts => "promptsListChanged",
        }
    }

    /// The capability under which `listChanged` stands.
    fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::Prompts => "prompts",
        }
    }

    fn of(self, listed: &Listed) -> &[u8; 32] {
        match self {
            Self::Tools => &listed.tools,
            Self::Resources => &listed.resources,
            Self::Prompts => &listed.prompts,
        }
    }

    fn offered(self, capabilities: &Value) -> bool {
        let capability = capabilities.get(self.capability());
        capability.and_then(|c| c.get("listChanged")).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// Why a stream of changes moved.
#[derive(Debug)]
pub(crate) enum Watched {
    /// These notifications are due, as their methods.
    Changes(Vec<&'static str>),
    /// These resources have changed.
    Resources(Vec<String>),
    /// The principal is none any more, or the gateway ends.
    Ended,
}

/// Watches the lists of one principal.
pub(crate) struct Watcher {
    core: Arc<Core>,
    principal: Principal,
    workflow: Option<String>,
    generations: watch::Receiver<ListGenerations>,
    looked: Option<ListGenerations>,
    seen: Listed,
    wanted: Vec<Change>,
}

impl Watcher {
    /// From now on, or from what a conversation was told last.
    pub(crate) fn new(
        core: Arc<Core>,
        principal: Principal,
        workflow: Option<String>,
        since: Option<Listed>,
    ) -> Self {
        let generations = core.service.generations();
        let seen = since.unwrap_or_else(|| core.service.listed(&principal, workflow.as_deref()));
        let capabilities = core.service.capabilities(&principal);
        let wanted = Change::ALL.into_iter().filter(|change| change.offered(&capabilities)).collect();
        Self { core, principal, workflow, generations, looked: None, seen, wanted }
    }

    /// Keeps only what a filter asks for, and tells what that is.
    fn restrict(&mut self, filter: &Map<String, Value>) -> Map<String, Value> {
        self.wanted.retain(|change| filter.get(change.wish()) == Some(&Value::Bool(true)));
        self.wanted.iter().map(|change| (change.wish().to_owned(), Value::Bool(true))).collect()
    }

    /// What was told so far.
    pub(crate) fn seen(&self) -> Listed {
        self.seen
    }

    /// Waits for the next news.
    pub(crate) async fn next(&mut self, watches: &Watches) -> Watched {
        loop {
            if !self.core.service.still_valid(&self.principal) {
                return Watched::Ended;
            }
            let generations = *self.generations.borrow_and_update();
            if self.looked != Some(generations) {
                // First what the principal alone has: whoever was connected a moment ago is told of what that brings.
                self.core.service.make_ready(&self.principal).await;
                self.looked = Some(generations);
                let now = self.core.service.listed(&self.principal, self.workflow.as_deref());
                let moved = |change: &&Change| change.of(&now) != change.of(&self.seen);
                let due: Vec<_> = self.wanted.iter().filter(moved).map(|change| change.method()).collect();
                self.seen = now;
                if !due.is_empty() {
                    return Watched::Changes(due);
                }
            }
            // Both a change and the timer lead to another look.
            tokio::select! {
                changed = tokio::time::timeout(RECHECK, self.generations.changed()) => {
                    if let Ok(Err(_)) = changed {
                        return Watched::Ended;
                    }
                }
                uris = watches.next() => return Watched::Resources(uris),
            }
        }
    }
}

/// The notifications of one `subscriptions/listen`, acknowledgement first, and the response that ends it.
pub(crate) fn subscription(
    core: Arc<Core>,
    caller: Caller,
    client: Arc<Client>,
    id: Id,
    params: &Map<String, Value>,
    shutdown: CancellationToken,
) -> Result<impl Stream<Item = Vec<u8>> + Send + 'static, RpcError> {
    let Some(Value::Object(filter)) = params.get("notifications") else {
        return Err(RpcError::new(code::INVALID_PARAMS, "`params.notifications` must be an object"));
    };
    // Status of tasks is asked for, not told; whoever knows no tasks may not even wish for it.
    if filter.contains_key("taskIds") && !takes_tasks(client.as_ref()) {
        return Err(tasks_not_declared());
    }
    let meta = params.get("_meta").and_then(Value::as_object);
    let workflow = named_workflow(meta, caller.workflow.clone());
    let mut watcher = Watcher::new(Arc::clone(&core), caller.principal.clone(), workflow, None);
    let mut agreed = watcher.restrict(filter);
    let wished: Vec<String> = match filter.get(RESOURCES) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(uris)) => uris.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(_) => {
            return Err(RpcError::new(
                code::INVALID_PARAMS,
                format!("`{RESOURCES}` must be an array of URIs"),
            ));
        }
    };
    let request_meta = params.get("_meta").cloned();
    let meta = json!({ SUBSCRIPTION_KEY: id });
    Ok(async_stream::stream! {
        let watches = Watches::default();
        let mut watched = Vec::new();
        for uri in wished {
            // What is refused is not agreed to; why stands in the audit record.
            if core.watch(&watches, &uri, request_meta.clone(), caller.clone(), Arc::clone(&client)).await.is_ok() {
                watched.push(uri);
            }
        }
        if !watched.is_empty() {
            agreed.insert(RESOURCES.to_owned(), watched.into());
        }
        let params = json!({ "_meta": meta, "notifications": agreed });
        yield message::notification("notifications/subscriptions/acknowledged", &params);
        loop {
            let news = tokio::select! {
                biased;
                () = shutdown.cancelled() => Watched::Ended,
                news = watcher.next(&watches) => news,
            };
            match news {
                Watched::Changes(methods) => {
                    for method in methods {
                        yield message::notification(method, &json!({ "_meta": meta }));
                    }
                }
                Watched::Resources(uris) => {
                    for uri in uris {
                        yield message::notification(UPDATED, &json!({ "_meta": meta, "uri": uri }));
                    }
                }
                Watched::Ended => break,
            }
        }
        // Two pages of the specification ask for one of these each: cancellation and subscriptions.
        let params = json!({ "_meta": meta, "requestId": id, "reason": "the subscription has ended" });
        yield message::notification("notifications/cancelled", &params);
        yield message::success(&id, &json!({ "resultType": "complete", "_meta": meta }));
    })
}
