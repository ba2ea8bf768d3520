//! The shared vocabulary: words that every room uses and none owns. Nothing here does IO.

mod borrowed;
mod call;
mod credential;
mod event;
mod glob;
mod id;
pub mod json;
mod label;
mod moment;
mod money;
pub mod pointer;
mod problem;
mod rpc;
mod selector;
mod share;
pub mod span;
mod target;
pub mod text;
mod uri;
pub mod weight;
mod word;

pub use borrowed::BorrowedText;
pub use call::{CallKind, RetryPlan, ToolTraits};
pub use credential::{ClientAuth, ConnectionKey, Holder};
pub use event::{Actor, Event, EventDraft, EventType, JsonTexts, Outcome};
pub use glob::{Glob, GlobError};
pub use id::{
    AgentId, ApprovalId, CallId, CapabilityId, Digest, Fingerprint, GrantId, OwnerId, PersonId, PolicyId,
    RuleId, SnapshotId, TraceId, UpstreamName, WorkflowId,
};
pub use label::Sensitivity;
pub use moment::{Moment, in_order};
pub use money::{MicroUsd, MoneyError};
pub use problem::{Place, Problem, Problems, Severity};
pub use rpc::{RpcError, code};
pub use selector::{Mismatch, Selected, Selector};
pub use share::{Share, SharePlace};
pub use target::{ASKS, path_of, without_query};
pub use uri::{
    LONGEST_URI, Uri, UriError, UriPattern, UriPatternError, host, paths, plain_readings, spell_around,
    within,
};
pub use word::{
    AlertKind, AlertSeverity, AlertStatus, ApprovalStatus, Autonomy, Decision, EventDecision, counted,
};
