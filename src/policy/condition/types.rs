//! The types of declared facts. Arguments are dynamic: their types are known when a call comes.

use super::{
    fact::Fact,
    syntax::{OTHER_FACTS, OTHER_FIELDS},
};
use crate::policy::near::closest;

/// The type of an expression at load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// Known at run time.
    Dyn,
    Null,
    Bool,
    /// int, uint and double alike.
    Number,
    Text,
    Bytes,
    Time,
    Span,
    List(Box<Type>),
    Kind,
    /// A declared fact that a call may lack.
    Nullable(Box<Type>),
    /// A declared fact with fields.
    Record(Record),
}

/// The declared facts with fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Agent,
    User,
    Workflow,
    Tool,
    Call,
    Cost,
    Data,
    Session,
}

/// What a name means.
pub(super) enum Named {
    Fact(Fact, Type),
    Record(Record),
    Args,
}

/// Every name, for messages.
pub(super) const NAMES: &str =
    "one of agent, user, capability, workflow, env, tool, args, call, cost, data, session, now";

/// The fact of that name.
pub(super) fn named(name: &str) -> Option<Named> {
    Some(match name {
        "agent" => Named::Record(Record::Agent),
        "user" => Named::Fact(Fact::User, nullable(Type::Text)),
        "capability" => Named::Fact(Fact::Capability, nullable(Type::Text)),
        "workflow" => Named::Record(Record::Workflow),
        "env" => Named::Fact(Fact::Env, Type::Text),
        "tool" => Named::Record(Record::Tool),
        "args" => Named::Args,
        "call" => Named::Record(Record::Call),
        "cost" => Named::Record(Record::Cost),
        "data" => Named::Record(Record::Data),
        "session" => Named::Record(Record::Session),
        "now" => Named::Fact(Fact::Now, Type::Time),
        _ => return None,
    })
}

/// The words of a list for messages.
pub(super) fn words(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.trim_start_matches("one of ").split(',').map(str::trim)
}

/// The fact that may be meant by a name that is none.
pub(super) fn near_fact(name: &str) -> Option<&'static str> {
    let known = words(NAMES).chain(OTHER_FACTS.iter().map(|(_, fact)| *fact));
    closest(name, known, OTHER_FACTS)
}

fn nullable(of: Type) -> Type {
    Type::Nullable(Box::new(of))
}

fn texts() -> Type {
    Type::List(Box::new(Type::Text))
}

impl Record {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
            Self::Workflow => "workflow",
            Self::Tool => "tool",
            Self::Call => "call",
            Self::Cost => "cost",
            Self::Data => "data",
            Self::Session => "session",
        }
    }

    /// Every field, for messages.
    pub(super) fn fields(self) -> &'static str {
        match self {
            Self::Agent => "one of id, type, role, tenant, owner, operator, autonomy, attended",
            Self::User => "one of id, groups",
            Self::Workflow => "one of id, owner",
            Self::Tool => {
                "one of name, upstream, action, labels, read_only, destructive, idempotent, open_world, \
                 fingerprint, pinned"
            }
            Self::Call => "one of kind, repeats, size",
            Self::Cost => "one of estimate_usd, tokens",
            Self::Data => "one of level, labels, findings",
            Self::Session => "labels",
        }
    }

    /// A field that may be meant by a name that is none.
    pub(super) fn near(self, name: &str) -> Option<&'static str> {
        closest(name, words(self.fields()), OTHER_FIELDS)
    }

    /// The fact behind a field.
    pub(super) fn field(self, name: &str) -> Option<(Fact, Type)> {
        Some(match (self, name) {
            (Self::Agent, "id") => (Fact::AgentId, Type::Text),
            (Self::Agent, "type") => (Fact::AgentType, Type::Text),
            (Self::Agent, "role") => (Fact::AgentRole, Type::Text),
            (Self::Agent, "tenant") => (Fact::AgentTenant, Type::Text),
            (Self::Agent, "owner") => (Fact::AgentOwner, Type::Text),
            (Self::Agent, "operator") => (Fact::AgentOperator, nullable(Type::Text)),
            (Self::Agent, "autonomy") => (Fact::AgentAutonomy, Type::Text),
            (Self::Agent, "attended") => (Fact::AgentAttended, Type::Bool),
            (Self::User, "id") => (Fact::UserId, Type::Text),
            (Self::User, "groups") => (Fact::UserGroups, texts()),
            (Self::Workflow, "id") => (Fact::WorkflowId, Type::Text),
            (Self::Workflow, "owner") => (Fact::WorkflowOwner, nullable(Type::Text)),
            (Self::Tool, "name") => (Fact::ToolName, Type::Text),
            (Self::Tool, "upstream") => (Fact::ToolUpstream, Type::Text),
            (Self::Tool, "action") => (Fact::ToolAction, Type::Text),
            (Self::Tool, "labels") => (Fact::ToolLabels, texts()),
            (Self::Tool, "read_only") => (Fact::ToolReadOnly, Type::Bool),
            (Self::Tool, "destructive") => (Fact::ToolDestructive, Type::Bool),
            (Self::Tool, "idempotent") => (Fact::ToolIdempotent, Type::Bool),
            (Self::Tool, "open_world") => (Fact::ToolOpenWorld, Type::Bool),
            (Self::Tool, "fingerprint") => (Fact::ToolFingerprint, Type::Text),
            (Self::Tool, "pinned") => (Fact::ToolPinned, Type::Bool),
            (Self::Call, "kind") => (Fact::CallKind, Type::Text),
            (Self::Call, "repeats") => (Fact::CallRepeats, Type::Number),
            (Self::Call, "size") => (Fact::CallSize, Type::Number),
            (Self::Cost, "estimate_usd") => (Fact::CostEstimate, Type::Number),
            (Self::Cost, "tokens") => (Fact::CostTokens, Type::Number),
            (Self::Data, "level") => (Fact::DataLevel, Type::Text),
            (Self::Data, "labels") => (Fact::DataLabels, texts()),
            (Self::Data, "findings") => (Fact::DataFindings, texts()),
            (Self::Session, "labels") => (Fact::SessionLabels, texts()),
            _ => return None,
        })
    }
}

impl Type {
    /// For people.
    pub(super) fn phrase(&self) -> String {
        match self {
            Self::Dyn => "a value of the arguments".into(),
            Self::Null => "null".into(),
            Self::Bool => "true or false".into(),
            Self::Number => "a number".into(),
            Self::Text => "text".into(),
            Self::Bytes => "bytes".into(),
            Self::Time => "a timestamp".into(),
            Self::Span => "a duration".into(),
            Self::List(of) if **of == Type::Dyn => "a list".into(),
            Self::List(of) => format!("a list of {}", of.phrase()),
            Self::Kind => "a type".into(),
            Self::Nullable(of) => format!("{} or null", of.phrase()),
            Self::Record(record) => format!("the fields of {}", record.name()),
        }
    }

    /// Without null.
    pub(super) fn present(&self) -> &Type {
        match self {
            Self::Nullable(of) => of,
            other => other,
        }
    }

    /// Whether values of both can be equal.
    pub(super) fn comparable(&self, other: &Type) -> bool {
        match (self, other) {
            (Self::Record(_), _) | (_, Self::Record(_)) => false,
            (Self::Dyn, _) | (_, Self::Dyn) => true,
            (Self::Null, Self::Null | Self::Nullable(_)) | (Self::Nullable(_), Self::Null) => true,
            (Self::Nullable(a), b) | (b, Self::Nullable(a)) => a.comparable(b),
            (Self::List(a), Self::List(b)) => a.comparable(b),
            (a, b) => a == b,
        }
    }

    /// The type of a value that is one or the other; `None` for unlike types.
    pub(super) fn join(self, other: Type) -> Option<Type> {
        if self == other {
            return Some(self);
        }
        match (self, other) {
            (Type::Record(_), _) | (_, Type::Record(_)) => None,
            (Type::Dyn, _) | (_, Type::Dyn) => Some(Type::Dyn),
            (Type::Null, Type::Nullable(of)) | (Type::Nullable(of), Type::Null) => Some(Type::Nullable(of)),
            (Type::Nullable(a), b) | (b, Type::Nullable(a)) => {
                a.join(b).map(|joined| Type::Nullable(Box::new(joined)))
            }
            (Type::List(a), Type::List(b)) => a.join(*b).map(|joined| Type::List(Box::new(joined))),
            _ => None,
        }
    }
}
