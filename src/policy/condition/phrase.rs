//! A condition as part of a sentence, for the reason that an agent or an approver reads.

use super::node::{Constant, Node, Op};

/// "env is production and agent.role is planner"; what has no such form is quoted.
pub(super) fn phrase(node: &Node, source: &str) -> String {
    let quoted =
        |node: &Node| format!("`{}`", node.at.of(source).split_whitespace().collect::<Vec<_>>().join(" "));
    match &node.op {
        Op::And(left, right) => format!("{} and {}", phrase(left, source), phrase(right, source)),
        Op::Equal(left, right) => match (&left.op, &right.op) {
            (Op::Fact(_), Op::Const(Constant::Text(text))) if !text.is_empty() => {
                format!("{} is {text}", left.at.of(source))
            }
            _ => quoted(node),
        },
        Op::Unequal(left, right) => match (&left.op, &right.op) {
            (Op::Fact(_), Op::Const(Constant::Text(text))) if !text.is_empty() => {
                format!("{} is not {text}", left.at.of(source))
            }
            _ => quoted(node),
        },
        Op::Const(Constant::Bool(true)) => "it always applies".to_owned(),
        Op::Fact(_) => format!("{} is true", node.at.of(source)),
        Op::Not(of) => match of.op {
            Op::Fact(_) => format!("{} is false", of.at.of(source)),
            _ => format!("not {}", quoted(of)),
        },
        _ => quoted(node),
    }
}
