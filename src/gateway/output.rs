//! A result against what its tool declares: `output_schema` in servers.toml says what happens to one that is something else.

use super::{InForce, suspend::handle::is_task, target::Target};
use crate::{
    catalog::{Budget, Misfit, ToolSchema},
    config::OutputCheck,
    model::{AgentId, UpstreamName, text},
    offload::Offload,
    redaction::display_text,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// A schema whose text is longer is compiled beside.
const COMPILED_AT_ONCE: usize = 4 << 10;
/// The longest sentence about a result, in characters.
const LONGEST: usize = 600;
/// Alerts of one tool come no oftener.
const PAUSE: Duration = Duration::from_secs(600);
/// Tools of which it is known when there was an alert.
const MOST_TOOLS: usize = 1_000;

/// How a result is not what its tool declares, and what happens to it.
#[derive(Clone, Debug)]
pub(super) struct Breach {
    setting: OutputCheck,
    /// Where, and which rule; no value.
    sentence: String,
}

impl Breach {
    /// For the record of the call.
    pub(super) fn detail(&self) -> Value {
        json!({"fits": false, "why": self.sentence, "setting": self.setting.as_str()})
    }

    /// Where, and which rule.
    pub(super) fn sentence(&self) -> &str {
        &self.sentence
    }

    /// Whether people are told.
    pub(super) fn alerts(&self) -> bool {
        match self.setting {
            OutputCheck::Lint => false,
            OutputCheck::Alert | OutputCheck::Refuse => true,
        }
    }

    /// Whether an error stands in the result's place.
    pub(super) fn refuses(&self) -> bool {
        self.setting == OutputCheck::Refuse
    }

    /// Puts it there.
    pub(super) fn refuse(&self, result: &mut Value) {
        if self.refuses() {
            let text = format!(
                "[The call was made and succeeded; do not repeat it. Its result is withheld: it is not what the tool's \
                 outputSchema declares ({}), and `output_schema = \"refuse\"` is set for the tool.]",
                self.sentence
            );
            let content = json!([{"type": "text", "text": text}]);
            // What kind of result it is stays.
            let kind = result.get("resultType").cloned();
            *result = json!({"content": content, "isError": true});
            if let (Some(kind), Some(map)) = (kind, result.as_object_mut()) {
                map.insert("resultType".to_owned(), kind);
            }
        }
    }
}

/// What is known of a result after a look within a budget.
enum Look {
    Fits,
    Breaks(String),
    /// It takes longer.
    Exceeded,
}

/// Holds the result of a call against what its tool declares: at once where that is cheap, else beside. Where the setting says
/// so, an error stands in its place then.
pub(super) async fn hold(
    large: &Offload,
    agent: &AgentId,
    (in_force, target): (&InForce, &Target),
    result: &mut Value,
) -> Option<Breach> {
    let schema = target.declared().filter(|_| is_checked(result))?;
    let look = match result.get("structuredContent") {
        None => Look::Breaks(MISSING.to_owned()),
        Some(content) => match look_at_once(schema, content) {
            Look::Exceeded => {
                let (schema, content) = (schema.clone(), content.clone());
                Box::pin(large.finish(agent, move || look_beside(&schema, &content))).await
            }
            known => known,
        },
    };
    let breach = breach_of(in_force, target, look)?;
    breach.refuse(result);
    Some(breach)
}

/// The same at once, of a result that comes to a task.
pub(super) fn breach_here(in_force: &InForce, target: &Target, result: &Value) -> Option<Breach> {
    let schema = target.declared().filter(|_| is_checked(result))?;
    let look = match result.get("structuredContent") {
        None => Look::Breaks(MISSING.to_owned()),
        Some(content) => look_beside(schema, content),
    };
    breach_of(in_force, target, look)
}

const MISSING: &str = "it has no `structuredContent`";

/// An error needs no structured content, and neither does what is no result yet.
fn is_checked(result: &Value) -> bool {
    let asks = result.get("resultType").and_then(Value::as_str) == Some("input_required");
    !asks && !is_task(result) && result.get("isError") != Some(&Value::Bool(true))
}

fn look_at_once(schema: &Arc<ToolSchema>, content: &Value) -> Look {
    match schema.compiled().is_some() || schema.bytes() <= COMPILED_AT_ONCE {
        true => look(schema, content, Budget::SMALL),
        false => Look::Exceeded,
    }
}

fn look_beside(schema: &Arc<ToolSchema>, content: &Value) -> Look {
    look(schema, content, Budget::whole(text::of(content).len() as u64))
}

fn look(schema: &Arc<ToolSchema>, content: &Value, budget: Budget) -> Look {
    match schema.compile().as_ref() {
        // Whether it fits, nobody knows.
        Err(error) => Look::Breaks(format!("its outputSchema cannot be used: {error}")),
        Ok(compiled) => match compiled.check(content, budget) {
            Ok(()) => match compiled.unchecked().first() {
                None => Look::Fits,
                Some(one) => {
                    Look::Breaks(format!("`{}` of its outputSchema cannot be checked: {}", one.at, one.why))
                }
            },
            Err(Misfit::Exceeded) => Look::Exceeded,
            Err(Misfit::Breaks(found)) => Look::Breaks(
                found
                    .iter()
                    .map(|one| match one.path.as_str() {
                        "" => format!("it breaks `{}`: {}", one.rule, one.message),
                        path => format!("{path} breaks `{}`: {}", one.rule, one.message),
                    })
                    .collect::<Vec<String>>()
                    .join("; "),
            ),
        },
    }
}

fn breach_of(in_force: &InForce, target: &Target, look: Look) -> Option<Breach> {
    let why = match look {
        Look::Fits => return None,
        Look::Breaks(why) => why,
        Look::Exceeded => "whether it fits could not be found out within the budget".to_owned(),
    };
    // Names of members are the upstream's.
    let sentence = display_text(&in_force.policies.data.redact_text(&why), LONGEST);
    let upstream = in_force.config.upstreams.get(target.upstream());
    let setting = upstream.map(|upstream| upstream.output_check(target.own_name())).unwrap_or_default();
    Some(Breach { setting, sentence })
}

/// When the last alert was, and how many results broke the schema since.
type LastAlert = (Duration, u64);

/// When there was an alert about each tool, so that one that never keeps to its schema fills no record.
#[derive(Default)]
pub(crate) struct OutputAlerts {
    last: Mutex<HashMap<(UpstreamName, Arc<str>), LastAlert>>,
}

impl OutputAlerts {
    /// Counts one. Where an alert is due: how many there were since the one before, this one among them.
    pub(super) fn due(&self, target: &Target, now: Duration) -> Option<u64> {
        let mut last = self.last.lock();
        if last.len() >= MOST_TOOLS {
            last.retain(|_, (at, _)| now.saturating_sub(*at) < PAUSE);
        }
        let is_full = last.len() >= MOST_TOOLS;
        let key = (target.upstream().clone(), target.own_name().clone());
        match last.get_mut(&key) {
            Some((at, since)) => {
                *since += 1;
                (now.saturating_sub(*at) >= PAUSE).then(|| {
                    *at = now;
                    std::mem::take(since)
                })
            }
            // What is not remembered would come each time.
            None if is_full => None,
            None => {
                last.insert(key, (now, 0));
                Some(1)
            }
        }
    }
}
