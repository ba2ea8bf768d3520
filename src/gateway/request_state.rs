//! What a client of 2026-07-28 hands back (`requestState`): sealed, and bound to its principal and call.

use super::{api::StateSeal, decided::Decided, labelled::AllPassed, request::Request};
use crate::model::{ApprovalId, TraceId};
use std::{sync::Arc, time::Duration};

/// How long a sealed state for an upstream's own question lasts.
pub(super) const UPSTREAM_STATE_TTL: Duration = Duration::from_secs(15 * 60);

/// What a modern client handed back.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub(super) enum Opened {
    /// Our own question about this approval, asked in this trace; whether it was put again for want of evidence.
    Approval(ApprovalId, TraceId, #[serde(default)] bool),
    /// An upstream's questions, with its own state.
    Upstream(Continuing),
    /// A call that is still in flight.
    Parked(String),
    /// The client was asked to have something connected, in place of this credential where there was one: it is not asked again.
    Connect(Option<u64>),
}

impl Opened {
    /// Seals it, for the principal and the call of `bound` and for `ttl`.
    pub(super) fn seal(&self, seal: &dyn StateSeal, bound: &[u8], ttl: Duration) -> Result<String, String> {
        let text = serde_json::to_string(self).map_err(|error| error.to_string())?;
        seal.seal(&text, bound, ttl)
    }

    /// What was sealed; nothing where it was changed, has expired, or is bound to something else.
    pub(super) fn open(seal: &dyn StateSeal, sealed: &str, bound: &[u8]) -> Option<Self> {
        serde_json::from_str(&seal.open(sealed, bound)?).ok()
    }
}

/// What an upstream that asked is to get back.
#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Continuing {
    pub(super) state: Option<String>,
    /// What it asked.
    pub(super) asked: AllPassed,
}

/// The principal and the call. What is sent beside the arguments is the approval's to bind: the answer to an upstream's
/// question belongs to the call, whatever its client writes into `_meta`.
pub(super) fn bound_to(request: &Request, decided: &Decided) -> Arc<[u8]> {
    let parts =
        [&*request.principal.key(), "\n", request.kind.as_str(), "\n", decided.prepared.call_digest.as_str()];
    parts.concat().into_bytes().into()
}
