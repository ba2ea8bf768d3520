//! What an upstream says to the client before it answers, and what the client answers: in order, to this call's client only,
//! with the upstream's name in front of what a person reads, and under the data rules in both directions.

use super::{
    labelled::{self, AllPassed, Passed, Renamed},
    later::DecidedOn,
    notices::{Notice, Notices},
    people::question::supports_form,
    placeholders::{KnownValues, Revealed, caller_of},
    relaying::{Relaying, Sampling},
    result_rules::ResultRules,
    server_requests::{Sampled, ServerRequests, known, prompt_of, sampled},
    spending::Held,
    suspend::client_handle::Answering,
};
use crate::{
    catalog::naming::strip_reserved,
    config::Asks,
    model::{RpcError, UpstreamName, code},
    redaction::{Outbound, Place, Tokenized},
    upstream::{CallRelay, Era},
};
use futures::future::{BoxFuture, try_join_all};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// How many questions an upstream may ask in one round.
const MAX_QUESTIONS: usize = 16;
/// How many in one call. A record tells of as many.
const MOST_QUESTIONS: usize = 64;
/// How long a person may take for one.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// One call's side of an upstream and a client; cloning it is cheap.
#[derive(Clone)]
pub(crate) struct Relay(Arc<Inner>);

struct Inner {
    is: Relaying,
    upstream: UpstreamName,
    asked: Arc<Mutex<ServerRequests>>,
    notices: Notices,
    count: AtomicUsize,
    /// Whether the upstream may have seen the request under way, and whether it has answered one.
    sent: AtomicBool,
    answered: AtomicBool,
    sent_as: OnceLock<(u64, Arc<str>)>,
    /// The values that the client's answers gave the upstream for placeholders.
    revealed: Mutex<Vec<Tokenized>>,
}

/// A question that the client may be asked, as it is put.
pub(crate) struct Question {
    name: Option<String>,
    method: String,
    params: Value,
    renamed: Renamed,
    /// What the agent's model reads, and what is set aside for it.
    prompt: Option<(String, Option<Held>)>,
}

impl Relay {
    pub(crate) fn new(mut is: Relaying) -> Self {
        let upstream = is.target.upstream().clone();
        let revealed = Mutex::new(std::mem::take(&mut is.revealed));
        Self(Arc::new(Inner {
            is,
            upstream,
            asked: Arc::default(),
            notices: Notices::default(),
            count: AtomicUsize::new(0),
            sent: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            sent_as: OnceLock::new(),
            revealed,
        }))
    }

    /// The data rules for what the upstream says of this call.
    pub(crate) fn result_rules(&self) -> ResultRules {
        ResultRules::of(&self.0.is.in_force, &self.0.is.agent, self.0.revealed.lock().clone())
    }

    /// The placeholders whose values the upstream got.
    pub(crate) fn revealed_names(&self) -> Vec<Arc<str>> {
        self.0.revealed.lock().iter().map(|token| token.placeholder.clone()).collect()
    }

    /// The upstream has answered a request of this call: a further round changes nothing of that.
    pub(crate) fn answered(&self) {
        self.0.answered.store(true, Ordering::Release);
    }

    /// Whether the upstream has answered a request of this call.
    pub(crate) fn has_answered(&self) -> bool {
        self.0.answered.load(Ordering::Acquire)
    }

    /// The id and the version of the first request of this call.
    pub(crate) fn was_sent_as(&self) -> Option<&(u64, Arc<str>)> {
        self.0.sent_as.get()
    }

    /// Whether the upstream may have acted.
    pub(crate) fn was_sent(&self) -> bool {
        self.0.sent.load(Ordering::Acquire) || self.has_answered()
    }

    /// Waits until the client has been told all that came so far.
    pub(crate) async fn told(&self) {
        self.0.notices.told().await;
    }

    /// Whose questions it carries.
    pub(crate) fn upstream(&self) -> &UpstreamName {
        &self.0.upstream
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Arc<Mutex<ServerRequests>> {
        self.0.asked.clone()
    }

    /// What the upstream may ask at all.
    pub(crate) fn asks(&self) -> Asks {
        let Relaying { in_force, .. } = &self.0.is;
        in_force.config.upstreams.get(&self.0.upstream).map_or(Asks::ALL, |upstream| upstream.asks)
    }

    fn place(&self) -> Place<'_> {
        self.0.is.target.place()
    }

    fn note(&self, method: &str, outcome: &'static str) {
        self.0.asked.lock().note(method, outcome);
    }

    /// Whether a question may be put. The error is the upstream's answer, and what is recorded.
    fn check(&self, method: &str, params: &Value) -> Result<(), RpcError> {
        let refuse = |outcome: &'static str, error: RpcError| {
            self.note(method, outcome);
            Err(error)
        };
        let upstream = &self.0.upstream;
        if self.0.count.fetch_add(1, Ordering::AcqRel) >= MOST_QUESTIONS {
            let text = format!("upstream `{upstream}` asks more than {MOST_QUESTIONS} times in one call");
            return refuse("denied", RpcError::new(code::INTERNAL_ERROR, text));
        }
        if !self.asks().allows(method) && known(method) != "other" {
            let text = format!("upstream `{upstream}` may not ask for `{}` here", known(method));
            return refuse("denied", RpcError::new(code::METHOD_NOT_FOUND, text));
        }
        if !self.supported(method, params) {
            return refuse("unsupported", self.unsupported(method));
        }
        if let Sampling::Refused(why) = self.0.is.sampling
            && method == "sampling/createMessage"
        {
            let text = format!("upstream `{upstream}` asks for sampling, {why}");
            return refuse("denied", RpcError::new(code::METHOD_NOT_FOUND, text));
        }
        let is_form =
            method == "elicitation/create" && params.get("mode").and_then(Value::as_str) != Some("url");
        // MCP 2025-11-25 and later, elicitation: secrets are not asked for in form mode.
        if is_form && let Some(what) = self.0.is.in_force.policies.data.asks_for_secret(params) {
            let text =
                format!("upstream `{upstream}` asks for a secret ({what}) in a form: URL mode is for that");
            return refuse("secret", RpcError::new(code::INVALID_PARAMS, text));
        }
        Ok(())
    }

    /// What an upstream says on the way is held to the same rules as its result, with the labels that it brings. The error says
    /// why it may not pass.
    fn limited(&self, mut params: Value) -> Result<(Value, Vec<Arc<str>>), RpcError> {
        strip_reserved(&mut params);
        let Relaying { in_force, redact, measures, target, .. } = &self.0.is;
        let mut rules = self.result_rules();
        let claims = target.claims(&params);
        let (limited, entry) = rules.limit(params, (&self.place(), &claims), redact);
        let limited = limited.map_err(|reason| {
            let text = format!("the question was withheld by the data policy: {reason}");
            RpcError::new(code::INTERNAL_ERROR, text)
        })?;
        measures.placeholders.keep_aside(&in_force.config, rules.minted);
        Ok((limited, entry.reached))
    }

    /// Whether the client declared what this question needs.
    fn supported(&self, method: &str, params: &Value) -> bool {
        let client = self.0.is.client_handle.client();
        let capabilities = client.capabilities();
        let declared = |name: &str| capabilities.get(name).filter(|given| given.is_object());
        self.0.is.may_ask
            && match method {
                "elicitation/create" if params.get("mode").and_then(Value::as_str) == Some("url") => {
                    declared("elicitation").is_some_and(|e| e.get("url").is_some())
                }
                "elicitation/create" => supports_form(capabilities),
                "sampling/createMessage" => declared("sampling").is_some_and(|sampling| {
                    let uses_tools = params.get("tools").or(params.get("toolChoice")).is_some();
                    !uses_tools || sampling.get("tools").is_some()
                }),
                "roots/list" => declared("roots").is_some(),
                _ => false,
            }
    }

    fn unsupported(&self, method: &str) -> RpcError {
        let shown: String = method.chars().take(64).collect();
        let upstream = &self.0.upstream;
        RpcError::new(
            code::METHOD_NOT_FOUND,
            format!("upstream `{upstream}` asks for `{shown}`, which this client has not declared"),
        )
    }

    /// Everything that stands between an upstream's question and the client.
    async fn screen(
        &self,
        name: Option<String>,
        method: String,
        params: Value,
    ) -> Result<Question, RpcError> {
        self.check(&method, &params)?;
        let (params, labels) = self.limited(params).inspect_err(|_| self.note(&method, "withheld"))?;
        let Relaying { in_force, decided_on: DecidedOn { labels: all, reach, .. }, .. } = &self.0.is;
        all.let_through(&in_force.policies, reach, &labels)
            .await
            .inspect_err(|_| self.note(&method, "withheld"))?;
        let mut prompt = None;
        if method == "sampling/createMessage" {
            let text = prompt_of(&params);
            let held = match &self.0.is.sampling {
                Sampling::Paid(spending) => {
                    Some(spending.set_aside(&params, &text).await.map_err(|why| {
                        self.note(&method, "denied");
                        let text = format!("upstream `{}` asks for sampling: {why}", self.0.upstream);
                        RpcError::new(code::INTERNAL_ERROR, text)
                    })?)
                }
                Sampling::Free | Sampling::Refused(_) => None,
            };
            prompt = Some((text, held));
        }
        let (params, renamed) = labelled::question(&self.0.upstream, &method, params).map_err(|why| {
            self.note(&method, "malformed");
            let text = format!("the question of upstream `{}` is not put: {why}", self.0.upstream);
            RpcError::new(code::INVALID_PARAMS, text)
        })?;
        Ok(Question { name, method, params, renamed, prompt })
    }

    /// The questions of an `InputRequiredResult`, as they are put; one that may not be refuses the whole.
    async fn screen_all(&self, result: &mut Value) -> Result<Vec<Question>, RpcError> {
        let Some(requests) = result.get_mut("inputRequests").map(Value::take) else { return Ok(Vec::new()) };
        let Value::Object(requests) = requests else {
            return Err(RpcError::new(code::INTERNAL_ERROR, "the upstream's questions are not an object"));
        };
        if requests.len() > MAX_QUESTIONS {
            return Err(RpcError::new(code::INTERNAL_ERROR, "the upstream asks too many questions at once"));
        }
        let mut questions = Vec::with_capacity(requests.len());
        for (name, mut request) in requests {
            if !labelled::may_name(&name) {
                let text =
                    "the upstream names its question as Tollgate names its own, or with hidden characters";
                return Err(RpcError::new(code::INTERNAL_ERROR, text));
            }
            let method = request.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
            let params =
                request.get_mut("params").map(Value::take).unwrap_or_else(|| Value::Object(Map::new()));
            self.declared(&method, &params)?;
            questions.push(self.screen(Some(name), method, params).await?);
        }
        Ok(questions)
    }

    /// A client of 2026-07-28 is told which capability its call needs, where the upstream's question needs one that the
    /// client has not declared. To earlier ones, and to upstreams that ask by a request, it is a method that there is not.
    fn declared(&self, method: &str, params: &Value) -> Result<(), RpcError> {
        let is_told = self.0.is.may_ask && self.0.is.client_handle.client().era() == Era::Modern;
        if !is_told || !self.asks().allows(method) || self.supported(method, params) {
            return Ok(());
        }
        let Some(needed) = needed(method, params) else { return Ok(()) };
        self.note(method, "unsupported");
        let upstream = &self.0.upstream;
        let text =
            format!("upstream `{upstream}` asks for `{}`, which this client has not declared", known(method));
        let data = json!({ "requiredCapabilities": needed });
        Err(RpcError::new(code::MISSING_CLIENT_CAPABILITY, text).with_data(data))
    }

    /// Puts the questions of a result into it as the client may see them.
    pub(crate) async fn label_all(&self, result: &mut Value) -> Result<AllPassed, RpcError> {
        let (requests, passed) = written(self.screen_all(result).await?);
        if let Some(slot) = result.get_mut("inputRequests") {
            *slot = Value::Object(requests);
        }
        Ok(passed)
    }

    /// The same where a retry brings the answers. What the agent's model will read is counted now, for the retry does not
    /// repeat it.
    pub(crate) async fn pass_all(&self, result: &mut Value) -> Result<AllPassed, RpcError> {
        let mut questions = self.screen_all(result).await?;
        self.pass(&mut questions);
        let (requests, passed) = written(questions);
        if let Some(slot) = result.get_mut("inputRequests") {
            *slot = Value::Object(requests);
        }
        Ok(passed)
    }

    fn pass(&self, questions: &mut [Question]) {
        let mut asked = self.0.asked.lock();
        for question in questions {
            asked.note(&question.method, "passed");
            if let Some((prompt, held)) = question.prompt.take() {
                asked.sampled.push(Sampled { prompt, ..Sampled::default() });
                if let Some(held) = held {
                    held.stays();
                }
            }
        }
    }

    /// The pages that an upstream wants opened before it does anything (error -32042), as questions to the client.
    pub(crate) async fn pages(&self, error: &RpcError) -> Result<(Map<String, Value>, Vec<Value>), RpcError> {
        let listed = error.data.as_ref().and_then(|data| data.get("elicitations")).and_then(Value::as_array);
        let listed = listed.map(Vec::as_slice).unwrap_or_default();
        if listed.is_empty() || listed.len() > MAX_QUESTIONS {
            return Err(RpcError::new(
                code::INTERNAL_ERROR,
                "the pages that the upstream names are none, or too many",
            ));
        }
        let mut questions = Vec::with_capacity(listed.len());
        for (number, params) in listed.iter().enumerate() {
            if params.get("mode").and_then(Value::as_str) != Some("url") {
                return Err(RpcError::new(
                    code::INTERNAL_ERROR,
                    "the upstream asks for something else than a page",
                ));
            }
            let name = format!("upstream_page_{}", number + 1);
            questions.push(self.screen(Some(name), "elicitation/create".to_owned(), params.clone()).await?);
        }
        self.pass(&mut questions);
        let pages = questions.iter().map(|question| question.params.clone()).collect();
        Ok((written(questions).0, pages))
    }

    /// Asks the client every question of a modern upstream's `InputRequiredResult`, all at once.
    pub(crate) async fn answer_all(&self, mut result: Value) -> Result<Map<String, Value>, RpcError> {
        let questions = self.screen_all(&mut result).await?;
        let names: Vec<String> = questions.iter().map(|q| q.name.clone().unwrap_or_default()).collect();
        let answers = try_join_all(self.put(questions)).await?;
        Ok(names.into_iter().zip(answers).collect())
    }

    /// Asks in the client's own way: by requests during the call, or in the call's result.
    fn put(&self, questions: Vec<Question>) -> Vec<Answering> {
        let client = self.0.is.client_handle.client();
        let mut told = Vec::with_capacity(questions.len());
        let mut put = Vec::with_capacity(questions.len());
        for Question { name, method, params, renamed, prompt } in questions {
            told.push((known(&method), renamed, prompt));
            put.push((name, method, params));
        }
        let answers: Vec<Answering> = match client.era() {
            Era::Legacy => put.into_iter().map(|(_, method, params)| client.ask(method, params)).collect(),
            Era::Modern => self.0.is.client_handle.ask(put),
        };
        let noted = answers.into_iter().zip(told).map(|(answer, (method, renamed, prompt))| -> Answering {
            let relay = self.clone();
            // A person takes their time. A model takes the call's.
            let patience = if method == "elicitation/create" { PATIENCE } else { relay.0.is.timeout };
            Box::pin(async move {
                let outcome = tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| {
                    Err(RpcError::new(code::INTERNAL_ERROR, "the client did not answer in time"))
                });
                let came = relay.came(method, &renamed, prompt, outcome).await?;
                // It may hold what has reached the client since the call was decided.
                let Relaying { in_force, decided_on, .. } = &relay.0.is;
                decided_on
                    .may_answer(&in_force.policies)
                    .await
                    .inspect_err(|_| relay.note(method, "withheld"))?;
                Ok(came)
            })
        });
        noted.collect()
    }

    /// An answer has come: it is recorded, its price counted, and it goes upstream as far as the rules let it.
    async fn came(
        &self,
        method: &'static str,
        renamed: &Renamed,
        prompt: Option<(String, Option<Held>)>,
        outcome: Result<Value, RpcError>,
    ) -> Result<Value, RpcError> {
        {
            let mut asked = self.0.asked.lock();
            asked.answered(method, &outcome);
            if let (Some((prompt, held)), Ok(answer)) = (prompt, &outcome) {
                let sampled = Sampled { prompt, ..sampled(answer) };
                if let Some(held) = held {
                    held.became(&sampled);
                }
                asked.sampled.push(sampled);
            }
        }
        match outcome {
            Ok(mut answer) => {
                renamed.restore(&mut answer);
                self.outbound(method, answer).await
            }
            Err(error) => Err(self.outbound_error(method, error).await),
        }
    }

    /// What a client answers goes where its arguments go, under the same rules.
    async fn outbound(&self, method: &str, answer: Value) -> Result<Value, RpcError> {
        if !answer.is_object() {
            return Err(RpcError::new(code::INTERNAL_ERROR, "the client's answer is not an object"));
        }
        let Relaying { in_force, agent, measures, .. } = &self.0.is;
        let away = |_| RpcError::new(code::INTERNAL_ERROR, "the vault of `tokenize` does not answer");
        // The places that are named are places in the arguments.
        let place = Place { sensitive: &[], ..self.place() };
        let data = self.result_rules().data;
        let mut known = KnownValues::default();
        if let Some(wanted) = known.missing(&data, &answer, None) {
            let caller = caller_of(&in_force.policies, agent);
            let found = measures.placeholders.look_up(&in_force.config, wanted, &caller);
            known = KnownValues::of(found.await.map_err(away)?);
        }
        let answer = match known.revealed(&data, &place, &answer) {
            Some(Revealed { arguments, tokens }) => {
                self.0.revealed.lock().extend(tokens);
                Arc::unwrap_or_clone(arguments)
            }
            None => answer,
        };
        let inspected = data.inspect_arguments(&answer, &place);
        let (outbound, minted) = (inspected.outbound, inspected.minted);
        measures.placeholders.keep(&in_force.config, minted).await.map_err(away)?;
        match outbound {
            Outbound::Unchanged => Ok(answer),
            Outbound::Changed(changed) => Ok(changed),
            Outbound::Blocked(reason) => {
                self.note(method, "withheld");
                let text = format!("the client's answer was withheld by the data policy: {reason}");
                Err(RpcError::new(code::INTERNAL_ERROR, text))
            }
        }
    }

    async fn outbound_error(&self, method: &str, error: RpcError) -> RpcError {
        let told = json!({"code": error.code, "message": error.message, "data": error.data});
        match self.outbound(method, told).await {
            Ok(told) => RpcError {
                code: told.get("code").and_then(Value::as_i64).unwrap_or(code::INTERNAL_ERROR),
                message: told.get("message").and_then(Value::as_str).unwrap_or_default().to_owned(),
                data: told.get("data").filter(|data| !data.is_null()).cloned(),
            },
            Err(withheld) => withheld,
        }
    }

    /// The answers that a retry brings, as they go upstream: those to questions that were asked. One that the rules stop
    /// stops the retry.
    pub(crate) async fn bring(
        &self,
        responses: Map<String, Value>,
        passed: &AllPassed,
    ) -> Result<Map<String, Value>, RpcError> {
        let mut brought = Map::new();
        for (name, mut answer) in responses {
            let Some(Passed { method, renamed }) = passed.get(&name) else { continue };
            self.0.asked.lock().brought(method, &answer);
            renamed.restore(&mut answer);
            brought.insert(name, self.outbound(method, answer).await?);
        }
        Ok(brought)
    }

    /// Answers that came before anybody asked, as they go upstream: under the rules for arguments, and nowhere where the
    /// upstream may not ask.
    pub(crate) async fn bring_unasked(
        &self,
        answers: Map<String, Value>,
    ) -> Result<Map<String, Value>, RpcError> {
        let Asks { elicitation, sampling, roots } = self.asks();
        if !self.0.is.may_ask || !(elicitation || sampling || roots) {
            return Ok(Map::new());
        }
        if answers.len() > MAX_QUESTIONS {
            let text = format!("`params.inputResponses` has more than {MAX_QUESTIONS} members");
            return Err(RpcError::new(code::INVALID_PARAMS, text));
        }
        if answers.values().any(|answer| !answer.is_object()) {
            let text = "each member of `params.inputResponses` must be an object";
            return Err(RpcError::new(code::INVALID_PARAMS, text));
        }
        let answers = Value::Object(answers);
        match self.outbound("inputResponses", answers).await? {
            Value::Object(answers) => Ok(answers),
            _ => Ok(Map::new()),
        }
    }
}

/// The client capabilities that a question needs, as a client declares them.
fn needed(method: &str, params: &Value) -> Option<Value> {
    Some(match method {
        "elicitation/create" if params.get("mode").and_then(Value::as_str) == Some("url") => {
            json!({"elicitation": {"url": {}}})
        }
        "elicitation/create" => json!({"elicitation": {"form": {}}}),
        "sampling/createMessage" if params.get("tools").or(params.get("toolChoice")).is_some() => {
            json!({"sampling": {"tools": {}}})
        }
        "sampling/createMessage" => json!({"sampling": {}}),
        "roots/list" => json!({"roots": {}}),
        _ => return None,
    })
}

/// Questions as a result has them, and what is kept of them for their answers.
fn written(questions: Vec<Question>) -> (Map<String, Value>, AllPassed) {
    let mut requests = Map::new();
    let mut passed = AllPassed::new();
    for Question { name, method, params, renamed, .. } in questions {
        let name = name.unwrap_or_default();
        requests.insert(name.clone(), json!({"method": method, "params": params}));
        passed.insert(name, Passed { method, renamed });
    }
    (requests, passed)
}

impl CallRelay for Relay {
    fn sent_as(&self, id: u64, version: &Arc<str>) {
        self.0.sent_as.get_or_init(|| (id, version.clone()));
    }

    fn sent(&self, sent: bool) {
        self.0.sent.store(sent, Ordering::Release);
    }

    fn notify(&self, method: &str, params: Value) {
        let data = &self.0.is.in_force.policies.data;
        // A name that has something sensitive in it is no name.
        if !labelled::may_notify(method) || *data.redact_text(method) != *method {
            return;
        }
        // What the rules hold back is not told: a notification has no other answer.
        let Ok((params, labels)) = self.limited(params) else { return };
        let Some(params) = labelled::notification(&self.0.upstream, method, params) else { return };
        let notice = Notice { method: method.to_owned(), params, labels };
        let tell = |relay: &Self, notice: Notice| {
            relay.0.is.client_handle.client().notify(&notice.method, notice.params);
        };
        let decided_on = &self.0.is.decided_on;
        if self.0.notices.take(notice, decided_on, |notice| tell(self, notice)) {
            let relay = self.clone();
            tokio::spawn(async move {
                let Inner { notices, is, .. } = &*relay.0;
                notices.work((&is.in_force.policies, &is.decided_on), |notice| tell(&relay, notice)).await;
            });
        }
    }

    fn ask(&self, method: String, params: Value) -> BoxFuture<'static, Result<Value, RpcError>> {
        let relay = self.clone();
        Box::pin(async move {
            let question = relay.screen(None, method, params).await?;
            match relay.put(vec![question]).pop() {
                Some(answer) => answer.await,
                None => Err(RpcError::new(code::INTERNAL_ERROR, "nobody was asked")),
            }
        })
    }
}
