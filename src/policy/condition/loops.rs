//! The checker's part for loops. The parser expands `all`, `exists` and their kin before we see
//! them; they are recognised by what it leaves.

use super::{
    compile::{Checked, Checker},
    function::{self, FUNCTIONS},
    node::{Loop, LoopParts, Node, Op},
    types::{Type, named},
};
use cel::common::ast::{ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};

impl Checker<'_> {
    pub(super) fn comprehension(&mut self, comprehension: &ComprehensionExpr) -> Checked {
        let (over, over_type) = self.check(&comprehension.iter_range)?;
        let item_at = self.tokens.take_name(&comprehension.iter_var);
        let Some((kind, filter, body)) = recognise(comprehension) else {
            return Err(self.tokens.error(item_at, "this macro is not supported", FUNCTIONS));
        };
        if self.item.is_some() {
            let message = format!("a loop over `{}` stands inside another", self.text_of(over.at));
            return Err(self.tokens.error(over.at, &message, "loops that are not nested"));
        }
        let name = &comprehension.iter_var;
        if named(name).is_some() || function::type_name(name).is_some() {
            let message = format!("`{name}` already means something");
            return Err(self.tokens.error(item_at, &message, "another name for the loop's variable"));
        }
        let item_type = match &over_type {
            Type::Dyn => Type::Dyn,
            Type::List(of) => (**of).clone(),
            other => {
                let message = format!("`{}` is {}", self.text_of(over.at), other.phrase());
                return Err(self.tokens.error(over.at, &message, "a list or an object"));
            }
        };
        self.item = Some((name.clone(), item_type.clone()));
        let filter = match filter {
            Some(filter) => Some(self.truth(filter)?),
            None => None,
        };
        let (body, type_) = match kind {
            Loop::Map => self.check(body)?,
            Loop::All | Loop::Exists | Loop::ExistsOne | Loop::Filter => (self.truth(body)?, Type::Bool),
        };
        self.item = None;
        let at = self.tokens.closed(over.at.to(body.at));
        let type_ = match kind {
            Loop::All | Loop::Exists | Loop::ExistsOne => Type::Bool,
            Loop::Map => Type::List(Box::new(type_)),
            Loop::Filter => Type::List(Box::new(item_type)),
        };
        Ok((Node { at, op: Op::Loop(kind, Box::new(LoopParts { over, filter, body })) }, type_))
    }
}

/// Which macro the parser expanded: it leaves only the loop.
fn recognise(of: &ComprehensionExpr) -> Option<(Loop, Option<&IdedExpr>, &IdedExpr)> {
    let Expr::Call(step) = &of.loop_step.expr else { return None };
    let appended = |expr: &'_ IdedExpr| -> bool {
        matches!(&expr.expr, Expr::Call(call) if call.func_name == operators::ADD)
    };
    match (&of.accu_init.expr, step.func_name.as_str(), step.args.as_slice()) {
        (Expr::Literal(LiteralValue::Boolean(init)), operators::LOGICAL_OR, [_, body]) if !init.inner() => {
            Some((Loop::Exists, None, body))
        }
        (Expr::Literal(LiteralValue::Boolean(init)), operators::LOGICAL_AND, [_, body]) if *init.inner() => {
            Some((Loop::All, None, body))
        }
        (Expr::Literal(LiteralValue::Int(_)), operators::CONDITIONAL, [body, _, _]) => {
            Some((Loop::ExistsOne, None, body))
        }
        (Expr::List(_), operators::ADD, [_, list]) => Some((Loop::Map, None, single(list)?)),
        (Expr::List(_), operators::CONDITIONAL, [filter, append, _]) if appended(append) => {
            let Expr::Call(append) = &append.expr else { return None };
            let [_, list] = append.args.as_slice() else { return None };
            let made = single(list)?;
            // `filter` appends its own variable. `map(x, f, x)` does the same, and means the same.
            if matches!(&made.expr, Expr::Ident(name) if *name == of.iter_var) {
                Some((Loop::Filter, None, filter))
            } else {
                Some((Loop::Map, Some(filter), made))
            }
        }
        _ => None,
    }
}

fn single(list: &IdedExpr) -> Option<&IdedExpr> {
    match &list.expr {
        Expr::List(list) => list.elements.first(),
        _ => None,
    }
}
