//! How a refusal reaches the agent: one plain sentence, `tollgate/decision`, and the same in the shape of MCP's
//! SEP-2643.

use super::api::CallReply;
use crate::{
    admission::NeverFrees,
    catalog::HeldReason,
    decision::Trace,
    evidence::{PIN_POLICY, Ruling},
    model::{
        ApprovalId, CallKind, EventDecision, MicroUsd, PolicyId, RpcError, RuleId, SnapshotId, TraceId,
        UpstreamName, code,
    },
    policy::PolicySet,
    redaction::display_text,
    store::LimitRefusal,
};
use serde_json::{Map, Value, json};

/// Why nothing was dispatched, and what would work instead.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) decision: EventDecision,
    pub(crate) policy_id: PolicyId,
    pub(crate) rule_id: Option<RuleId>,
    /// One sentence, without sensitive values.
    pub(crate) reason: String,
    pub(crate) approval_id: Option<ApprovalId>,
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) remediation: Option<Value>,
    pub(crate) cost_estimate: Option<MicroUsd>,
    /// What would work instead, where the policy's own advice would not.
    pub(crate) advice: Option<&'static str>,
    /// Every policy's say, for the record; none where none was asked.
    pub(crate) trace: Option<Trace>,
    /// A limit is full: the reason has figures that differ from call to call.
    pub(crate) is_limit: bool,
}

impl Refusal {
    pub(crate) fn deny(policy: &str, reason: impl Into<String>) -> Self {
        Self::new(EventDecision::Deny, PolicyId::from(policy), None, reason)
    }

    pub(crate) fn new(
        decision: EventDecision,
        policy_id: PolicyId,
        rule_id: Option<RuleId>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            decision,
            policy_id,
            rule_id,
            reason: reason.into(),
            approval_id: None,
            retry_after_ms: None,
            remediation: None,
            cost_estimate: None,
            advice: None,
            trace: None,
            is_limit: false,
        }
    }

    /// What is called waits for a person, or for the store to have its pin.
    pub(crate) fn held(why: HeldReason) -> Self {
        let (reason, advice) = match why {
            Some(why) => (
                format!("it is quarantined: {}", why.phrase()),
                "It can be used again once an admin has accepted it (`tollgate servers accept`).",
            ),
            None => ("the store has not said yet what is pinned of it".to_owned(), "Try again later."),
        };
        Self { advice: Some(advice), ..Self::deny(PIN_POLICY, reason) }
    }

    /// The upstream of what is called is down.
    pub(crate) fn away(upstream: &UpstreamName) -> Self {
        let reason = format!("`{upstream}` is down (nothing was sent)");
        let advice = "It is started or connected to again by itself: try again later.";
        Self { advice: Some(advice), ..Self::deny("upstream", reason) }
    }

    /// A limit is full.
    pub(crate) fn by_limit(limit: LimitRefusal) -> Self {
        let LimitRefusal { policy_id, decision, reason, retry_after_ms, never, looping: _ } = limit;
        let mut refusal = Self::new(decision, policy_id, None, reason);
        refusal.retry_after_ms = retry_after_ms;
        refusal.advice = never.map(NeverFrees::advice);
        refusal.is_limit = true;
        refusal
    }

    /// What its record says.
    pub(crate) fn ruling(&self) -> Ruling<'_> {
        Ruling {
            decision: self.decision,
            policy_id: &self.policy_id,
            rule_id: self.rule_id.as_ref(),
            reason: self.reason.as_str().into(),
            approval_id: self.approval_id.as_ref(),
        }
    }

    /// The object under `tollgate/decision`.
    pub(crate) fn decision_object(&self, trace: TraceId, snapshot: &SnapshotId) -> Value {
        let mut object = Map::new();
        object.insert("decision".into(), json!(self.decision));
        object.insert("policy_id".into(), json!(self.policy_id));
        object.insert("rule_id".into(), json!(self.rule_id));
        object.insert("reason".into(), json!(self.reason));
        object.insert("trace_id".into(), json!(trace));
        object.insert("policy_snapshot".into(), json!(snapshot));
        if let Some(id) = &self.approval_id {
            object.insert("approval_id".into(), json!(id));
        }
        if let Some(ms) = self.retry_after_ms {
            object.insert("retry_after_ms".into(), json!(ms));
        }
        if let Some(remediation) = &self.remediation {
            object.insert("remediation".into(), remediation.clone());
        }
        if let Some(cost) = self.cost_estimate {
            object.insert("cost_estimate_usd".into(), json!(cost));
        }
        Value::Object(object)
    }

    /// The same in the shape of SEP-2643: why, what a retry is known by, and what would work instead.
    fn authorization(&self, trace: TraceId, policies: &PolicySet) -> Value {
        let context = self.approval_id.as_ref().map_or_else(|| json!(trace), |id| json!(id));
        let advice = self.then(policies);
        let hint = if let Some(remediation) = &self.remediation {
            json!({"type": "tollgate/remediation", "description": advice, "remediation": remediation})
        } else if self.decision == EventDecision::PendingApproval {
            json!({"type": "tollgate/approval", "description": advice, "approvalId": self.approval_id})
        } else if let Some(ms) = self.retry_after_ms {
            json!({"type": "tollgate/retry", "description": advice, "retryAfterMs": ms})
        } else {
            json!({"type": "tollgate/advice", "description": advice})
        };
        json!({"reason": self.reason, "authorizationContextId": context, "remediationHints": [hint]})
    }

    /// The code where a refusal is a JSON-RPC error.
    fn code(&self) -> i64 {
        match self.decision {
            EventDecision::PendingApproval => code::PENDING_APPROVAL,
            EventDecision::Throttle => code::THROTTLED,
            EventDecision::Deny
            | EventDecision::Remediate
            | EventDecision::Suggest
            | EventDecision::Rejected
            | EventDecision::Expired
            | EventDecision::Allow
            | EventDecision::AllowWithConstraints
            | EventDecision::Approved => code::REFUSED,
        }
    }

    /// One plain sentence of what, which policy and rule, and why; and one of what would work.
    pub(crate) fn sentence(&self, what: &str, policies: &PolicySet) -> String {
        let by = match &self.rule_id {
            Some(rule) => format!("policy `{}`, rule `{rule}`", self.policy_id),
            None => format!("policy `{}`", self.policy_id),
        };
        let verb = match self.decision {
            EventDecision::PendingApproval => "waits for an approval, required by",
            EventDecision::Rejected => "was rejected; the approval was required by",
            EventDecision::Expired => "was not approved in time; the approval was required by",
            EventDecision::Remediate => "was not executed; a safer call is proposed by",
            EventDecision::Suggest => "was not made, only noted as a proposal, by",
            EventDecision::Throttle => "was held back by",
            EventDecision::Deny
            | EventDecision::Allow
            | EventDecision::AllowWithConstraints
            | EventDecision::Approved => "was denied by",
        };
        // The verb says these already.
        let said = [
            "denied: ",
            "denied ",
            "a safer call is proposed: ",
            "never dispatched, only returned as a proposal ",
        ];
        let reason = self.reason.trim_end_matches('.');
        let reason = said.iter().find_map(|said| reason.strip_prefix(said)).unwrap_or(reason);
        format!("`{what}` {verb} {by}: {reason}. {}", self.then(policies))
    }

    /// What would work instead.
    fn then(&self, policies: &PolicySet) -> String {
        if let Some(advice) = self.advice {
            return advice.to_owned();
        }
        let policy = policies.policies.iter().find(|p| p.id == self.policy_id);
        let owner = policy.and_then(|p| p.owner.as_deref()).or(policies.bundle.owner.as_deref());
        let ask = |otherwise: &str| match owner {
            Some(owner) => format!("{otherwise} Where it is needed as it is, ask {owner}."),
            None => otherwise.to_owned(),
        };
        match self.decision {
            EventDecision::PendingApproval => match &self.approval_id {
                Some(id) => format!("Make the same call again once approval `{id}` is given."),
                None => "Make the same call again once it is approved.".to_owned(),
            },
            EventDecision::Rejected => "Do not repeat it unchanged.".to_owned(),
            EventDecision::Expired => "Calling again creates a new approval request.".to_owned(),
            EventDecision::Remediate => {
                let tool = self.remediation.as_ref().and_then(|r| r.get("tool")).and_then(Value::as_str);
                let tool = tool.map_or("the proposed call".to_owned(), |tool| format!("`{tool}`"));
                ask(&format!("Call {tool} with the arguments that `remediation` shows instead."))
            }
            EventDecision::Suggest => "Show the proposal to a person, who can act on it.".to_owned(),
            EventDecision::Throttle => match self.retry_after_ms {
                Some(ms) => format!("Try again in {} s.", ms.div_ceil(1000)),
                None => "Try again later.".to_owned(),
            },
            EventDecision::Deny
            | EventDecision::Allow
            | EventDecision::AllowWithConstraints
            | EventDecision::Approved => match self.policy_id.as_str() {
                "schema" => "Correct the arguments and call again.".to_owned(),
                "uri" => "Correct the URI and ask again.".to_owned(),
                "store" | "internal" => "Try again later.".to_owned(),
                "identity" => "Ask for a new key.".to_owned(),
                "freeze" => "Stop here: only an admin can lift it.".to_owned(),
                _ => ask("Repeating it unchanged does not help."),
            },
        }
    }

    /// The reply: a tool result with `isError`, or for resources and prompts an error with [`Self::code`].
    pub(crate) fn reply(
        &self,
        kind: CallKind,
        what: &str,
        trace: TraceId,
        policies: &PolicySet,
    ) -> CallReply {
        let sentence = self.sentence(&display_text(what, 200), policies);
        let decision = self.decision_object(trace, &policies.snapshot);
        let authorization = self.authorization(trace, policies);
        match kind {
            CallKind::Tool => Ok(json!({
                "content": [{"type": "text", "text": sentence}],
                "isError": true,
                "_meta": {"tollgate/decision": decision, "tollgate/authorization": authorization},
            })),
            CallKind::Resource | CallKind::Prompt => {
                let data = json!({"tollgate/decision": decision, "authorization": authorization});
                Err(RpcError::new(self.code(), sentence).with_data(data))
            }
        }
    }
}

/// The answer for what does not exist, which is also the answer for what is out of scope.
pub(crate) fn unknown(kind: CallKind, name: &str) -> RpcError {
    let shown: String = name.chars().take(128).collect();
    match kind {
        CallKind::Tool => RpcError::new(code::INVALID_PARAMS, format!("Unknown tool: {shown}")),
        CallKind::Prompt => RpcError::new(code::INVALID_PARAMS, format!("Unknown prompt: {shown}")),
        CallKind::Resource => {
            // The front turns this into -32602 for a client of 2026-07-28.
            RpcError::new(code::RESOURCE_NOT_FOUND, "Resource not found").with_data(json!({"uri": shown}))
        }
    }
}

/// The policy id under which a refusal for an unknown target is recorded.
pub(crate) fn unknown_policy() -> PolicyId {
    PolicyId::from("scope")
}

/// The id under which a store that does not answer denies.
pub(crate) fn store_policy() -> PolicyId {
    PolicyId::from("store")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{CompileInput, KnownNames, SourceFile, compile};

    fn policies() -> PolicySet {
        let file = |name: &str, text: &str| SourceFile { name: name.to_owned(), text: text.to_owned() };
        let files = [
            file("bundle.yaml", "version: '1'\nowner: platform\n"),
            file("authority.yaml", "capabilities: {}\nagents: {}\n"),
            file("deletes.yaml", "name: deletes\nowner: notes-team\nrules: [{id: never, decision: DENY}]\n"),
        ];
        let input = CompileInput {
            environment: "test".into(),
            servers_digest_material: Vec::new(),
            known: KnownNames::default(),
        };
        let (set, problems) = compile(&files, &input);
        set.unwrap_or_else(|| panic!("{problems:?}"))
    }

    /// What, which policy and rule, why, what would work instead.
    #[test]
    fn one_sentence_says_it_all() {
        let policies = policies();
        let check = |decision: EventDecision, policy: &str, reason: &str, expect: &str| {
            let rule = (policy == "deletes").then(|| RuleId::from("never"));
            let mut refusal = Refusal::new(decision, policy.into(), rule, reason);
            refusal.approval_id = Some("a-1".into());
            refusal.retry_after_ms = Some(59_001);
            assert_eq!(refusal.sentence("t", &policies), expect);
        };
        check(
            EventDecision::Deny,
            "deletes",
            "denied: Nobody deletes.",
            "`t` was denied by policy `deletes`, rule `never`: Nobody deletes. Repeating it unchanged does not \
             help. Where it is needed as it is, ask notes-team.",
        );
        check(
            EventDecision::Deny,
            "default",
            "no policy allows it",
            "`t` was denied by policy `default`: no policy allows it. Repeating it unchanged does not help. \
             Where it is needed as it is, ask platform.",
        );
        check(
            EventDecision::Deny,
            "schema",
            "/a is missing",
            "`t` was denied by policy `schema`: /a is missing. Correct the arguments and call again.",
        );
        check(
            EventDecision::Throttle,
            "burst",
            "5 of 5 are used",
            "`t` was held back by policy `burst`: 5 of 5 are used. Try again in 60 s.",
        );
        check(
            EventDecision::PendingApproval,
            "deletes",
            "needs approval by ops",
            "`t` waits for an approval, required by policy `deletes`, rule `never`: needs approval by ops. \
             Make the same call again once approval `a-1` is given.",
        );
        check(
            EventDecision::Expired,
            "deletes",
            "nobody approved it in time",
            "`t` was not approved in time; the approval was required by policy `deletes`, rule `never`: \
             nobody approved it in time. Calling again creates a new approval request.",
        );
    }

    /// R93, R100: every refusal, of every kind: tools get results, the others errors whose code says what kind of refusal it is
    /// and lies where nobody else's does. Both carry SEP-2643's shape with the decision's own content.
    #[test]
    fn a_refusal_has_its_code_and_its_structure() {
        use EventDecision as D;
        let policies = policies();
        let trace =
            TraceId::from_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        let check = |decision: D, code: i64, hint: &str| {
            for kind in [CallKind::Tool, CallKind::Resource, CallKind::Prompt] {
                let mut refusal = Refusal::new(decision, "deletes".into(), None, "because");
                match decision {
                    D::PendingApproval => refusal.approval_id = Some("a-7".into()),
                    D::Throttle => refusal.retry_after_ms = Some(1500),
                    D::Remediate => refusal.remediation = Some(json!({"mode": "suggest", "tool": "t2"})),
                    _ => {}
                }
                let (decision, authorization) = match (kind, refusal.reply(kind, "t", trace, &policies)) {
                    (CallKind::Tool, Ok(result)) => {
                        assert_eq!(result["isError"], true);
                        let meta = &result["_meta"];
                        (meta["tollgate/decision"].clone(), meta["tollgate/authorization"].clone())
                    }
                    (_, Err(error)) => {
                        assert_eq!(error.code, code);
                        assert!(!(-32768..=-32000).contains(&error.code));
                        let data = error.data.unwrap();
                        (data["tollgate/decision"].clone(), data["authorization"].clone())
                    }
                    (kind, reply) => panic!("{kind:?} {reply:?}"),
                };
                assert_eq!(authorization["reason"], decision["reason"]);
                let context = decision.get("approval_id").unwrap_or(&decision["trace_id"]);
                assert_eq!(&authorization["authorizationContextId"], context);
                let [only] = authorization["remediationHints"].as_array().unwrap().as_slice() else {
                    panic!()
                };
                assert_eq!(only["type"], hint);
                assert!(only["description"].as_str().is_some_and(|text| text.ends_with('.')));
                assert_eq!(only.get("remediation"), decision.get("remediation"));
                assert_eq!(only.get("retryAfterMs"), decision.get("retry_after_ms"));
                assert_eq!(only.get("approvalId"), decision.get("approval_id"));
            }
        };
        check(D::Deny, 403, "tollgate/advice");
        check(D::Suggest, 403, "tollgate/advice");
        check(D::Remediate, 403, "tollgate/remediation");
        check(D::Rejected, 403, "tollgate/advice");
        check(D::Expired, 403, "tollgate/advice");
        check(D::PendingApproval, 428, "tollgate/approval");
        check(D::Throttle, 429, "tollgate/retry");
    }
}
