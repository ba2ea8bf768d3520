//! What can be told of a condition without a call: what it reads, what it compares, whether it depends on anything.

use super::{
    Condition,
    fact::Fact,
    node::{Constant, Node, Op},
};
use std::collections::BTreeSet;

impl Condition {
    /// Whether it reads who calls: the agent, its role, type or tenant, or the person behind it.
    pub(in crate::policy) fn reads_who(&self) -> bool {
        self.reads(|fact| {
            matches!(
                fact,
                Fact::AgentId
                    | Fact::AgentType
                    | Fact::AgentRole
                    | Fact::AgentTenant
                    | Fact::AgentOwner
                    | Fact::AgentOperator
                    | Fact::AgentAutonomy
                    | Fact::AgentAttended
                    | Fact::User
                    | Fact::UserId
                    | Fact::UserGroups
            )
        })
    }

    /// Whether it reads how sensitive the data of the call or of its session is.
    pub(in crate::policy) fn reads_sensitivity(&self) -> bool {
        self.reads(|fact| {
            matches!(fact, Fact::DataLevel | Fact::DataLabels | Fact::DataFindings | Fact::SessionLabels)
        })
    }

    /// Whether it reads what has reached the session.
    pub(in crate::policy) fn reads_session_labels(&self) -> bool {
        self.reads(|fact| fact == Fact::SessionLabels)
    }

    /// Whether it reads `capability`.
    pub(in crate::policy) fn names_capability(&self) -> bool {
        self.reads(|fact| fact == Fact::Capability)
    }

    fn reads(&self, wanted: impl Fn(Fact) -> bool) -> bool {
        let mut found = false;
        self.0.root.visit(&mut |node| {
            found |= matches!(&node.op, Op::Fact(fact) | Op::HasFact(fact) if wanted(*fact));
        });
        found
    }

    /// The texts that `env` is compared with, each with the character of the source at which it stands.
    pub(in crate::policy) fn environments(&self) -> Vec<(String, usize)> {
        self.compared_with(|fact| fact == Fact::Env)
    }

    /// The same of `data.level`.
    pub(in crate::policy) fn levels(&self) -> Vec<(String, usize)> {
        self.compared_with(|fact| fact == Fact::DataLevel)
    }

    /// The texts that are looked for in `session.labels`, in the same way.
    pub(in crate::policy) fn session_labels(&self) -> Vec<(String, usize)> {
        self.compared_with(|fact| fact == Fact::SessionLabels)
    }

    fn compared_with(&self, wanted: impl Fn(Fact) -> bool) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        let source = self.source();
        let mut add = |node: &Node| {
            if let Op::Const(Constant::Text(text)) = &node.op {
                let before = source.get(..node.at.start).map_or(0, |before| before.chars().count());
                found.push((text.to_string(), before));
            }
        };
        let is_wanted = |node: &Node| matches!(&node.op, Op::Fact(fact) if wanted(*fact));
        self.0.root.visit(&mut |node| match &node.op {
            Op::Equal(left, right) | Op::Unequal(left, right) if is_wanted(left) => add(right),
            Op::Equal(left, right) | Op::Unequal(left, right) if is_wanted(right) => add(left),
            Op::In(needle, list) if is_wanted(list) => add(needle),
            Op::OneOf(needle, all) if is_wanted(needle) => all.iter().for_each(&mut add),
            _ => {}
        });
        found
    }

    /// `true` or `false` where it depends on nothing.
    pub(in crate::policy) fn constant(&self) -> Option<bool> {
        match self.0.root.op {
            Op::Const(Constant::Bool(value)) => Some(value),
            _ => None,
        }
    }

    /// The parts that must all be true, as written but for spaces. A condition with more parts is true less often.
    pub(in crate::policy) fn conjuncts(&self) -> BTreeSet<String> {
        let mut parts = BTreeSet::new();
        conjuncts(&self.0.root, self.source(), &mut parts);
        parts
    }
}

fn conjuncts(node: &Node, source: &str, parts: &mut BTreeSet<String>) {
    match &node.op {
        Op::And(left, right) => {
            conjuncts(left, source, parts);
            conjuncts(right, source, parts);
        }
        Op::Const(Constant::Bool(true)) => {}
        _ => {
            let text = node.at.of(source);
            // In a text spaces count.
            let part = match text.contains(['\'', '"']) {
                true => text.trim().to_owned(),
                false => text.split_whitespace().collect(),
            };
            parts.insert(part);
        }
    }
}

impl Node {
    /// Looks at it and at everything in it.
    fn visit<'n>(&'n self, look: &mut dyn FnMut(&'n Node)) {
        look(self);
        match &self.op {
            Op::Const(_) | Op::Fact(_) | Op::HasFact(_) | Op::Args | Op::Item => {}
            Op::Member(of, _)
            | Op::Has(of, _)
            | Op::Not(of)
            | Op::IsNull(of)
            | Op::NotNull(of)
            | Op::Negate(of)
            | Op::Rank(of)
            | Op::Matches(of, _)
            | Op::Glob(of, _)
            | Op::PartIn(of, _, _) => of.visit(look),
            Op::Index(left, right)
            | Op::And(left, right)
            | Op::Or(left, right)
            | Op::Equal(left, right)
            | Op::Unequal(left, right)
            | Op::Order(_, left, right)
            | Op::In(left, right)
            | Op::Calculate(_, left, right) => {
                left.visit(look);
                right.visit(look);
            }
            Op::If(parts) => parts.iter().for_each(|part| part.visit(look)),
            Op::OneOf(needle, all) => {
                needle.visit(look);
                all.iter().for_each(|one| one.visit(look));
            }
            Op::List(all) | Op::Call(_, all) => all.iter().for_each(|one| one.visit(look)),
            Op::Loop(_, parts) => {
                parts.over.visit(look);
                parts.filter.iter().for_each(|filter| filter.visit(look));
                parts.body.visit(look);
            }
        }
    }
}
