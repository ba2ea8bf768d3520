//! What came of a dispatched call, looked through before the agent sees it: in place where it is small, else on a thread
//! for large work.

use super::{
    InForce,
    answer::{Limited, Reserved, attach_change, strip_modern},
    asked_for::{keep_asked, leave_out_of_skills},
    dispatch::complete,
    edits,
    ending::Ending,
    measures::Measures,
    output::{self, Breach},
    result_rules::ResultRules,
    shape,
    suspend::handle::is_task,
    target::Target,
};
use crate::{
    catalog::{View, naming::strip_reserved},
    cost::Tokenizer,
    model::{AgentId, CallKind, Digest, Outcome, RpcError, code, text, weight::weight},
    offload::{LARGE, Offload},
    pinning::Observed,
    policy::Constraints,
    redaction::{Entry, Tokenized, unmint},
    upstream::Era,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// How a call ended, with everything that says what of it goes to the agent.
pub(super) struct Answered {
    pub(super) ending: Ending,
    /// The reply is what the upstream answered.
    pub(super) is_upstreams: bool,
    pub(super) in_force: Arc<InForce>,
    pub(super) kind: CallKind,
    pub(super) target: Target,
    pub(super) constraints: Constraints,
    /// What the agent's client speaks.
    pub(super) era: Era,
    /// Its upstream speaks 2026-07-28.
    pub(super) upstream_is_modern: bool,
    /// It is a use, and no completion or subscription.
    pub(super) is_use: bool,
    /// The argument that is completed, and the others.
    pub(super) completing: Option<(String, Value)>,
    /// What the agent sees, where a resource is read or completed.
    pub(super) view: Option<Arc<View>>,
    /// The URI that was asked for, as the agent would know it: with values for placeholders.
    pub(super) sent: String,
    /// The file of a skill that was read, to be held against what it was, and what is kept of it.
    pub(super) file: Option<(Observed, Value)>,
    /// What a result is cut at.
    pub(super) reserved: Option<Reserved>,
    /// What the agent is told where policy changed the call.
    pub(super) changed: Option<Value>,
    pub(super) tokenizer: Tokenizer,
    pub(super) rules: ResultRules,
    /// How the result is not what its tool declares.
    pub(super) breach: Option<Breach>,
}

/// What was found.
#[derive(Default)]
pub(super) struct Measured {
    pub(super) cut: bool,
    /// Bytes of what the agent gets.
    pub(super) size: usize,
    pub(super) tokens: u64,
    /// What it would have taken, where it was cut at what was reserved for it.
    pub(super) whole: Option<u64>,
    pub(super) digest: Option<Digest>,
    /// What it was labelled with as it came in.
    pub(super) entry: Entry,
}

/// Looks through what came, and measures what is left of it.
pub(super) async fn look_through(
    (measures, large): (&Arc<Measures>, &Offload),
    agent: &AgentId,
    mut answered: Answered,
) -> (Answered, Measured) {
    if answered.declares() {
        answered.breach = Box::pin(answered.held(large, agent)).await;
        // What stands in its place is ours.
        answered.is_upstreams &= answered.breach.as_ref().is_none_or(|breach| !breach.refuses());
    }
    let (mut answered, measured) = match answered.is_large() {
        true => {
            let measures = measures.clone();
            let work = move || {
                let measured = answered.look_through(&measures);
                (answered, measured)
            };
            Box::pin(large.finish(agent, work)).await
        }
        false => {
            let measured = answered.look_through(measures);
            (answered, measured)
        }
    };
    let minted = std::mem::take(&mut answered.rules.minted);
    if minted.is_empty() {
        return (answered, measured);
    }
    let config = answered.in_force.config.clone();
    if Box::pin(measures.placeholders.keep(&config, minted.clone())).await.is_ok() {
        return (answered, measured);
    }
    answered.unmint(&minted);
    let measured = Measured { cut: measured.cut, whole: measured.whole, ..answered.measure(measures) };
    (answered, measured)
}

/// Whether it is a question, and no result yet.
fn asks(result: &Value) -> bool {
    result.get("resultType").and_then(Value::as_str) == Some("input_required")
}

impl Answered {
    /// Whether the result is one of which its tool declares something.
    fn declares(&self) -> bool {
        self.is_use && self.kind == CallKind::Tool && self.is_upstreams && self.target.declared().is_some()
    }

    /// How the result is not what is declared of it.
    async fn held(&mut self, large: &Offload, agent: &AgentId) -> Option<Breach> {
        let Self { ending, in_force, target, .. } = self;
        output::hold(large, agent, (in_force, target), ending.reply.as_mut().ok()?).await
    }

    /// Masks the values for which there are no placeholders after all.
    fn unmint(&mut self, minted: &[Tokenized]) {
        match &mut self.ending.reply {
            Ok(result) => unmint(result, minted),
            Err(error) => {
                let mut told = json!({"message": error.message, "data": error.data});
                unmint(&mut told, minted);
                error.message = told.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
                error.data = told.get("data").filter(|data| !data.is_null()).cloned();
            }
        }
    }

    fn is_large(&self) -> bool {
        match &self.ending.reply {
            Ok(result) => weight(result, LARGE) > LARGE,
            Err(error) => {
                let data = error.data.as_ref().map_or(0, |data| weight(data, LARGE));
                data.saturating_add(error.message.len()) > LARGE
            }
        }
    }

    /// A file of a skill that is not what the skill lists is not handed on: as it came, or as data rules and
    /// limits leave it (`is_ours`).
    fn hold_to_skill(&mut self, is_ours: bool) {
        let Target::Item(item, uri) = &self.target else { return };
        let (CallKind::Resource, true, Ok(result)) = (self.kind, self.is_use, &self.ending.reply) else {
            return;
        };
        let fault = match asks(result) {
            true => None,
            false => self.in_force.catalog.skill_fault(&item.upstream, uri, result),
        };
        let Some(fault) = fault else { return };
        let upstream = &item.upstream;
        let text = match is_ours {
            true => format!(
                "a file of a skill of upstream `{upstream}` was withheld: data rules or limits would change it, and then it is \
                 not the file that the skill lists"
            ),
            false => {
                // What it serves now may be there with its next list.
                if let Some(upstream) = self.in_force.upstreams.get(upstream) {
                    upstream.list_again();
                }
                format!(
                    "a file of a skill of upstream `{upstream}` was withheld: {fault}. The skill may have changed: get it again \
                     with skills/get"
                )
            }
        };
        self.withhold(text);
    }

    /// Puts an error in the place of what the upstream answered.
    pub(super) fn withhold(&mut self, why: String) {
        self.is_upstreams = false;
        let reply = Err(RpcError::new(code::UPSTREAM_UNAVAILABLE, why.clone()));
        self.ending =
            Ending { reply, outcome: Outcome::Failed, sent: true, reason: Some(why), ours: None, lack: None };
    }

    /// Contents of resources that nobody asked for are not handed on, nor what only has the name of a skill's file.
    fn hold_to_asked(&mut self) {
        let Self { ending, in_force, target, sent, view, kind, is_use, .. } = self;
        let (true, Ok(result)) = (*is_use, &mut ending.reply) else { return };
        let catalog = &in_force.catalog;
        match *kind {
            _ if asks(result) => {}
            CallKind::Tool | CallKind::Prompt => leave_out_of_skills(catalog, target.upstream(), result),
            CallKind::Resource => {
                if let Err(why) = keep_asked((target, sent), (catalog, view.as_deref()), result) {
                    self.withhold(why);
                }
            }
        }
    }

    /// Remembers the file of a skill that was read, before anything is changed in it.
    fn look_at_file(&mut self) {
        let (Target::Item(item, uri), CallKind::Resource, true) = (&self.target, self.kind, self.is_use)
        else {
            return;
        };
        if let Ok(result) = self.ending.reply.as_ref()
            && !asks(result)
        {
            let place = (&item.upstream, &**uri);
            self.file = self.in_force.catalog.skill_file(&self.in_force.policies.data, place, result);
        }
    }

    /// Puts what the upstream answered into the terms that agents know, and rid of what is Tollgate's own to say.
    fn put_plainly(&mut self) {
        let Self { ending, in_force, target, .. } = self;
        let result = match &mut ending.reply {
            Ok(result) => result,
            Err(error) => return edits::strip_reserved_error(error),
        };
        // Questions are as Tollgate puts them.
        let is_question = asks(result);
        let members = result.as_object_mut().filter(|_| is_question);
        let questions = members.and_then(|members| members.shift_remove("inputRequests"));
        strip_reserved(result);
        if let (Some(questions), Some(members)) = (questions, result.as_object_mut()) {
            members.insert("inputRequests".into(), questions);
        }
        if let Some((argument, known)) = &self.completing
            && self.kind == CallKind::Resource
        {
            complete::scope_values(self.view.as_deref(), target, argument, known, result);
        }
        if self.is_use {
            shape::list_content(self.kind, result);
        }
        in_force.catalog.cap_pages(target.upstream(), result);
        in_force.catalog.alias_links(target.upstream(), result);
        if self.upstream_is_modern && self.era == Era::Legacy {
            strip_modern(result);
        }
    }

    fn look_through(&mut self, measures: &Measures) -> Measured {
        self.hold_to_skill(false);
        self.look_at_file();
        self.put_plainly();
        self.hold_to_asked();
        let Self { ending, target, constraints, reserved, rules, .. } = self;
        let limited = match &mut ending.reply {
            Err(error) => measures.limit_error(rules, error, constraints, target, *reserved),
            Ok(result) => {
                let place = (&*target, target.declared(), self.era);
                measures.limit_result(rules, result, constraints, place, *reserved)
            }
        };
        self.hold_to_skill(true);
        // What rules or limits changed is not the file either.
        if self.kind != CallKind::Resource {
            self.hold_to_asked();
        }
        let Limited { cut, whole, entry } = limited;
        let measured = match self.ending.reply.as_ref().is_ok_and(is_task) {
            // What it will be is not known yet.
            true => Measured { cut, entry, ..Measured::default() },
            false => Measured { cut, whole, entry, ..self.measure(measures) },
        };
        // What Tollgate adds is neither charged nor learned from.
        if let (Ok(result), Some(changed)) = (&mut self.ending.reply, self.changed.take()) {
            attach_change(result, changed);
        }
        measured
    }

    /// The length, the tokens and the digest of what goes to the agent.
    pub(super) fn measure(&self, measures: &Measures) -> Measured {
        let count = |text: &str| measures.tokens.count_for(self.tokenizer, text);
        let digest = |kind: &'static str, text: &str| measures.digest_key.of_result(kind, text);
        match &self.ending.reply {
            Ok(result) => {
                let text = text::of(result);
                Measured {
                    size: text.len(),
                    tokens: count(&text),
                    // What stands there in place of an answer is our own.
                    digest: self.is_upstreams.then(|| digest("result", &text)),
                    ..Measured::default()
                }
            }
            Err(error) if self.ending.sent => {
                let data = error.data.as_ref().map(text::of).unwrap_or_default();
                let whole =
                    || text::of(&json!({"code": error.code, "message": error.message, "data": error.data}));
                Measured {
                    size: error.message.len() + data.len(),
                    tokens: count(&error.message).saturating_add(count(&data)),
                    digest: self.is_upstreams.then(|| digest("error", &whole())),
                    ..Measured::default()
                }
            }
            Err(_) => Measured::default(),
        }
    }
}
