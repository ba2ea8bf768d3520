//! How a dispatched call ended, and what of it is recorded.

use super::api::CallReply;
use crate::{
    model::{Outcome, RpcError, code},
    policy::PolicySet,
    redaction::display_text,
    upstream::UpstreamError,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The longest reason that is recorded of what an upstream said, in characters.
const LONGEST_REASON: usize = 1000;

/// How a dispatched call ended, before it is told to anybody.
pub(super) struct Ending {
    pub(super) reply: CallReply,
    pub(super) outcome: Outcome,
    /// Whether the upstream can have acted: if not, the reservation is given back.
    pub(super) sent: bool,
    pub(super) reason: Option<String>,
    /// What of the reason is ours, where the rest is the upstream's words.
    pub(super) ours: Option<String>,
    /// The code by which it is known that the upstream gave no answer of its own.
    pub(super) lack: Option<i64>,
}

impl Ending {
    /// Whether the reply is what the upstream answered: where something else is told in its place, there is a reason, and
    /// of the upstream's own error alone it stands beside its words.
    pub(super) fn answered(&self) -> bool {
        self.sent
            && match &self.reply {
                Ok(_) => self.reason.is_none(),
                Err(_) => self.outcome == Outcome::Failed && self.ours.is_some(),
            }
    }

    /// The same, with one more sentence of ours for whoever called.
    pub(super) fn beside(mut self, sentence: Option<String>) -> Self {
        let Some(sentence) = sentence else { return self };
        match &mut self.reply {
            Ok(result) => {
                if let Some(Value::Array(content)) = result.get_mut("content") {
                    content.push(json!({"type": "text", "text": sentence}));
                }
            }
            Err(error) => error.message = format!("{} {sentence}", error.message),
        }
        self
    }

    /// How it failed where it did, as the one who asked sees it: the code of an error, or none for a tool's own.
    pub(super) fn failure(&self) -> Option<Option<i64>> {
        match (self.lack, &self.reply) {
            (Some(code), _) => Some(Some(code)),
            (None, Err(error)) => Some(Some(error.code)),
            (None, Ok(_)) => (self.outcome == Outcome::Failed).then_some(None),
        }
    }

    /// The reason as it is recorded; `masked` says that the call's arguments are not recorded as they were.
    pub(super) fn recorded_reason(&self, policies: &PolicySet, masked: bool) -> Option<Arc<str>> {
        Some(match (&self.ours, self.reason.as_ref()?) {
            // What is masked by its place cannot be told in words that repeat it.
            (Some(ours), _) if masked => {
                format!("{ours} (its words are not recorded: the arguments are masked)").into()
            }
            (_, reason) => display_text(&policies.data.redact_text(reason), LONGEST_REASON).into(),
        })
    }
}

/// A call that its upstream has answered.
pub(super) fn told(result: Value) -> Ending {
    let outcome = match result.get("isError").and_then(Value::as_bool) {
        Some(true) => Outcome::Failed,
        Some(false) | None => Outcome::Succeeded,
    };
    Ending { reply: Ok(result), outcome, sent: true, reason: None, ours: None, lack: None }
}

/// A call whose caller went away before it ended.
pub(super) fn given_up(sent: bool) -> Ending {
    let (outcome, reason) = match sent {
        true => (Outcome::Unknown, "the caller went away; the upstream was told to cancel"),
        false => (Outcome::Failed, "the caller went away before anything was sent"),
    };
    let reply = Err(RpcError::new(code::INTERNAL_ERROR, "cancelled"));
    Ending { reply, outcome, sent, reason: Some(reason.into()), ours: None, lack: None }
}

/// A call that was still under way as the gateway ended.
pub(super) fn cut(sent: bool, method: &str) -> Ending {
    let error = match sent {
        true => {
            UpstreamError::Lost("Tollgate was stopped before it answered, and told it to cancel".to_owned())
        }
        false => UpstreamError::NotSent("Tollgate was stopped before anything was sent".to_owned()),
    };
    // All of the reason is ours.
    Ending { ours: None, ..failed(error, method) }
}

/// What is answered to a request that nobody works on any more, since the gateway ends.
pub(super) fn cut_off() -> RpcError {
    let text = "Tollgate was stopped before this was answered: whether anything was done is unknown";
    RpcError::new(code::UPSTREAM_UNAVAILABLE, text)
}

/// A retry whose answers may not go upstream.
pub(super) fn withheld(error: RpcError) -> Ending {
    let reason = Some("the answers to the upstream's questions were withheld by the data policy".into());
    Ending { reply: Err(error), outcome: Outcome::Failed, sent: false, reason, ours: None, lack: None }
}

/// A call to which its upstream gave no result.
pub(super) fn failed(error: UpstreamError, method: &str) -> Ending {
    let (outcome, sent) = match &error {
        UpstreamError::Rpc(_) | UpstreamError::TooLarge(_) => (Outcome::Failed, true),
        UpstreamError::NotSent(_) => (Outcome::Failed, false),
        // RFC 6750, section 3.1: it is refused for what its token may.
        UpstreamError::Refused(refusal) if refusal.lacks_scope => (Outcome::Failed, true),
        UpstreamError::Lost(_)
        | UpstreamError::TimedOut(_)
        | UpstreamError::Refused(_)
        | UpstreamError::Malformed(_) => (Outcome::Unknown, true),
    };
    let reason = error.to_string();
    let ours = match &error {
        UpstreamError::Rpc(error) => Some(format!("the upstream answered with error {}", error.code)),
        UpstreamError::Lost(_) => Some("the connection was lost".to_owned()),
        UpstreamError::Refused(refusal) => {
            let lacks = if refusal.lacks_scope { ": the connected account has too few scopes" } else { "" };
            Some(format!("the upstream answered with HTTP status {}{lacks}", refusal.status))
        }
        UpstreamError::NotSent(_)
        | UpstreamError::TimedOut(_)
        | UpstreamError::TooLarge(_)
        | UpstreamError::Malformed(_) => None,
    };
    let no_result = error.code();
    let undone = matches!(&error, UpstreamError::Refused(refusal) if refusal.lacks_scope);
    let lack = (!matches!(error, UpstreamError::Rpc(_))).then_some(no_result);
    let reply = match error {
        UpstreamError::Rpc(rpc) => Err(rpc),
        UpstreamError::NotSent(_)
        | UpstreamError::Lost(_)
        | UpstreamError::TimedOut(_)
        | UpstreamError::TooLarge(_)
        | UpstreamError::Refused(_)
        | UpstreamError::Malformed(_) => {
            let what = match sent {
                true if undone => "it did nothing",
                true if outcome == Outcome::Unknown => "whether the upstream acted is unknown",
                true => "the upstream has acted",
                false => "nothing was sent",
            };
            let sentence = format!("The upstream gave no result: {reason} ({what}).");
            match method {
                "tools/call" => Ok(json!({"content": [{"type": "text", "text": sentence}], "isError": true})),
                _ => Err(RpcError::new(no_result, sentence)),
            }
        }
    };
    Ending { reply, outcome, sent, reason: Some(reason), ours, lack }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::HttpRefusal;
    use std::time::Duration;

    /// What an upstream says beside its status is for whoever called, and no part of what is ours.
    #[test]
    fn a_status_is_ours_and_its_words_are_not() {
        let mut refusal = HttpRefusal::bare(429);
        refusal.said = "it says: too many calls with pin 4711".into();
        let ending = failed(UpstreamError::Refused(refusal), "tools/call");
        assert_eq!((ending.outcome, ending.sent), (Outcome::Unknown, true));
        assert_eq!(ending.ours.as_deref(), Some("the upstream answered with HTTP status 429"));
        assert!(ending.reason.unwrap().contains("pin 4711"));
        let reply = ending.reply.unwrap();
        assert!(
            reply["content"][0]["text"]
                .as_str()
                .unwrap()
                .contains("429 Too Many Requests; it says: too many")
        );
    }

    /// What is told to those who see no values is no more than what is ours, of every kind of failure.
    #[test]
    fn no_words_of_an_upstream_are_told_without_values() {
        let mut refusal = HttpRefusal::bare(429);
        refusal.said = "it says: pin 4711".into();
        for error in [
            UpstreamError::Rpc(RpcError::new(-32010, "pin 4711")),
            UpstreamError::Refused(refusal),
            UpstreamError::Malformed("pin 4711".into()),
            UpstreamError::Lost("the connection broke: pin 4711".into()),
            UpstreamError::Lost("pin 4711".into()),
            UpstreamError::NotSent("not reachable: pin 4711".into()),
        ] {
            let told = crate::redaction::own_words(&error.to_string());
            assert!(!told.contains("4711") && !told.is_empty(), "{told}");
        }
        let timed_out = UpstreamError::TimedOut(Duration::from_secs(3)).to_string();
        assert_eq!(crate::redaction::own_words(&timed_out), timed_out);
    }

    /// R100: an upstream that cannot be reached is 502, one that does not answer in time 504, and its own errors stay
    /// as they are. Of tools all but those are results.
    #[test]
    fn an_upstream_without_a_result_has_its_code() {
        let check = |error: UpstreamError, code: i64| {
            let told = failed(error.clone(), "resources/read").reply.unwrap_err();
            assert_eq!(told.code, code, "{told:?}");
            let is_own = matches!(error, UpstreamError::Rpc(_));
            assert_eq!(failed(error, "tools/call").reply.is_err(), is_own);
        };
        check(UpstreamError::NotSent("the breaker is open".into()), 502);
        check(UpstreamError::Lost("it hung up".into()), 502);
        check(UpstreamError::TooLarge(7), 502);
        check(UpstreamError::Refused(HttpRefusal::bare(503)), 502);
        check(UpstreamError::Malformed("HTML".into()), 502);
        check(UpstreamError::TimedOut(Duration::from_secs(3)), 504);
        check(UpstreamError::Rpc(RpcError::new(-32010, "its own")), -32010);
    }
}
