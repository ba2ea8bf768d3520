//! The checker: walks the parsed tree in the order of the source and makes the tree that is
//! evaluated, or says what is wrong and where.

use super::{
    ConditionError,
    error::At,
    fact::Fact,
    function,
    node::{Arithmetic, Constant, Node, Op, Relation},
    number::Number,
    token::Tokens,
    types::{NAMES, Named, Record, Type, named, near_fact, words},
};
use crate::{model::Sensitivity, policy::zones::ZoneTable};
use cel::{
    common::ast::{CallExpr, Expr, IdedExpr, ListExpr, LiteralValue, SelectExpr, operators},
    parser::{PrattParser, pratt_parser::TokenKind},
};
use std::sync::Arc;

/// The deepest nesting of an expression; each level costs stack.
const MAX_DEPTH: u16 = 32;
/// Chains like `a + b + …` nest without brackets.
const MAX_CHAIN: usize = 64;
/// Elements of a list literal.
const MAX_ELEMENTS: usize = 256;

pub(super) type Checked = Result<(Node, Type), ConditionError>;

/// Parses and checks a whole condition.
pub(super) fn compile(source: &str, zones: &ZoneTable) -> Result<Node, ConditionError> {
    let tokens = Tokens::read(source)?;
    let parser = PrattParser::new().max_recursion_depth(MAX_DEPTH).enable_ident_escape_syntax(true);
    let parsed = match parser.parse(source) {
        Ok(parsed) => parsed,
        Err(errors) => {
            let first = errors.errors.first();
            return Err(match first {
                Some(error) if error.msg.starts_with("expression recursion limit") => tokens.error(
                    At { start: 0, end: source.len() },
                    "nested too deeply",
                    &format!("at most {MAX_DEPTH} levels"),
                ),
                Some(error) => tokens.syntax_error(error.pos.0, error.pos.1, &error.msg),
                None => tokens.syntax_error(1, 1, "not an expression"),
            });
        }
    };
    let mut checker = Checker { source, tokens, zones, item: None, depth: 0 };
    let (node, type_) = checker.check(&parsed)?;
    match type_ {
        Type::Bool | Type::Dyn => Ok(node),
        other => Err(checker.tokens.error(
            node.at,
            &format!("`{}` gives {}", node.at.of(source), other.phrase()),
            "a condition that is true or false",
        )),
    }
}

/// The walk.
pub(super) struct Checker<'s> {
    pub(super) source: &'s str,
    pub(super) tokens: Tokens<'s>,
    pub(super) zones: &'s ZoneTable,
    /// The variable of the loop around, and its type.
    pub(super) item: Option<(String, Type)>,
    depth: usize,
}

impl Checker<'_> {
    pub(super) fn check(&mut self, expr: &IdedExpr) -> Checked {
        self.depth += 1;
        if self.depth > MAX_CHAIN {
            let at = At { start: 0, end: self.source.len() };
            return Err(self.tokens.error(at, "nested too deeply", &format!("at most {MAX_CHAIN} levels")));
        }
        let checked = match &expr.expr {
            Expr::Literal(literal) => self.literal(literal),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.list(list),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Map(_) => Err(self.unsupported(TokenKind::TokLeftBrace, "a map literal")),
            Expr::Struct(_) => Err(self.unsupported(TokenKind::TokLeftBrace, "a message literal")),
            Expr::Unspecified => Err(self.tokens.syntax_error(1, 1, "not an expression")),
        };
        self.depth -= 1;
        checked
    }

    fn unsupported(&mut self, kind: TokenKind, what: &str) -> ConditionError {
        let at = self.tokens.take(|k, _| k == kind);
        self.tokens.error(at, &format!("{what} is not supported in a condition"), "facts, literals and lists")
    }

    pub(super) fn text_of(&self, at: At) -> String {
        at.of(self.source).chars().take(80).collect()
    }

    fn literal(&mut self, literal: &LiteralValue) -> Checked {
        let (kind, constant, type_) = match literal {
            LiteralValue::Boolean(bool) if *bool.inner() => {
                (TokenKind::TokTrue, Constant::Bool(true), Type::Bool)
            }
            LiteralValue::Boolean(_) => (TokenKind::TokFalse, Constant::Bool(false), Type::Bool),
            LiteralValue::Null => (TokenKind::TokNull, Constant::Null, Type::Null),
            LiteralValue::Int(int) => {
                (TokenKind::TokInt, Constant::Number(Number::Whole(i128::from(*int.inner()))), Type::Number)
            }
            LiteralValue::UInt(uint) => {
                (TokenKind::TokUint, Constant::Number(Number::Whole(i128::from(*uint.inner()))), Type::Number)
            }
            LiteralValue::Double(double) => {
                let Some(number) = Number::from_double(*double.inner()) else {
                    let at = self.tokens.take(|kind, _| kind == TokenKind::TokFloat);
                    let text = self.text_of(at);
                    return Err(self.tokens.error(
                        at,
                        &format!("`{text}` is out of range"),
                        "a number of at most 38 digits",
                    ));
                };
                (TokenKind::TokFloat, Constant::Number(number), Type::Number)
            }
            LiteralValue::String(text) => {
                (TokenKind::TokString, Constant::Text(text.inner().into()), Type::Text)
            }
            LiteralValue::Bytes(bytes) => {
                (TokenKind::TokBytes, Constant::Bytes(Arc::from(bytes.inner())), Type::Bytes)
            }
        };
        let mut at = self.tokens.take(|k, _| k == kind);
        if matches!(&constant, Constant::Number(number) if number.to_string().starts_with('-')) {
            at = self.tokens.signed(at);
        }
        Ok((Node { at, op: Op::Const(constant) }, type_))
    }

    fn name(&mut self, name: &str) -> Checked {
        let at = self.tokens.take_name(name);
        if let Some((item, type_)) = &self.item
            && item == name
        {
            return Ok((Node { at, op: Op::Item }, type_.clone()));
        }
        if let Some(kind) = function::type_name(name) {
            return Ok((Node { at, op: Op::Const(Constant::Kind(kind)) }, Type::Kind));
        }
        match named(name) {
            Some(Named::Fact(fact, type_)) => Ok((Node { at, op: Op::Fact(fact) }, type_)),
            Some(Named::Args) => Ok((Node { at, op: Op::Args }, Type::Dyn)),
            Some(Named::Record(Record::Workflow)) => Ok((
                Node { at, op: Op::Fact(Fact::Workflow) },
                Type::Nullable(Box::new(Type::Record(Record::Workflow))),
            )),
            Some(Named::Record(record)) => Err(self.tokens.error(
                at,
                &format!("`{name}` stands without a field"),
                &format!("`{name}.` and {}", record.fields()),
            )),
            None => Err(self.no_fact(name, at)),
        }
    }

    fn no_fact(&self, name: &str, at: At) -> ConditionError {
        match near_fact(name) {
            Some(near) => {
                self.tokens.error(at, &format!("`{name}` is not a fact; did you mean `{near}`?"), NAMES)
            }
            None => {
                let expected =
                    format!("a text in quotes: `'{name}'`; an argument: `args.{name}`; a fact: {NAMES}");
                self.tokens.error(at, &format!("`{name}` is not a fact"), &expected)
            }
        }
    }

    /// The record that an expression names, where it does; moves behind it.
    fn record(&mut self, expr: &IdedExpr) -> Option<(Record, At)> {
        let Expr::Ident(name) = &expr.expr else { return None };
        if self.item.as_ref().is_some_and(|(item, _)| item == name) {
            return None;
        }
        match named(name) {
            Some(Named::Record(record)) => Some((record, self.tokens.take_name(name))),
            // By itself it is the person's name.
            Some(Named::Fact(Fact::User, _)) => Some((Record::User, self.tokens.take_name(name))),
            Some(Named::Fact(..) | Named::Args) | None => None,
        }
    }

    fn field(&self, record: Record, name: &str, at: At) -> Result<(Fact, Type), ConditionError> {
        record.field(name).ok_or_else(|| {
            let near = record.near(name).map(|near| format!("; did you mean `{}.{near}`?", record.name()));
            let message = format!("`{}` has no field `{name}`{}", record.name(), near.unwrap_or_default());
            self.tokens.error(at, &message, record.fields())
        })
    }

    fn select(&mut self, select: &SelectExpr) -> Checked {
        if let Some((record, at)) = self.record(&select.operand) {
            let at = at.to(self.tokens.take_name(&select.field));
            let (fact, type_) = self.field(record, &select.field, at)?;
            if !select.test {
                return Ok((Node { at, op: Op::Fact(fact) }, type_));
            }
            let can_lack =
                matches!(record, Record::User | Record::Workflow) || matches!(type_, Type::Nullable(_));
            let op = if can_lack { Op::HasFact(fact) } else { Op::Const(Constant::Bool(true)) };
            let at = self.tokens.asked(at);
            return Ok((Node { at, op }, Type::Bool));
        }
        let (of, type_) = self.check(&select.operand)?;
        let field_at = self.tokens.take_name(&select.field);
        let at = self.tokens.closed(of.at.to(field_at));
        if type_ != Type::Dyn {
            let message = format!(
                "`{}` is {} and has no field `{}`",
                self.text_of(of.at),
                type_.phrase(),
                select.field
            );
            return Err(self.tokens.error(at, &message, "an object"));
        }
        let name: Box<str> = select.field.as_str().into();
        Ok(if select.test {
            (Node { at: self.tokens.asked(at), op: Op::Has(Box::new(of), name) }, Type::Bool)
        } else {
            (Node { at, op: Op::Member(Box::new(of), name) }, Type::Dyn)
        })
    }

    fn list(&mut self, list: &ListExpr) -> Checked {
        let open = self.tokens.take(|kind, _| kind == TokenKind::TokLeftBracket);
        let (nodes, type_) = self.elements(open, &list.elements)?;
        let at = self.tokens.closed(nodes.last().map_or(open, |last| open.to(last.at)));
        Ok((Node { at, op: Op::List(nodes) }, Type::List(Box::new(type_))))
    }

    fn elements(&mut self, open: At, all: &[IdedExpr]) -> Result<(Box<[Node]>, Type), ConditionError> {
        if all.len() > MAX_ELEMENTS {
            return Err(self.tokens.error(
                open,
                &format!("a list of {} elements", all.len()),
                &format!("at most {MAX_ELEMENTS}"),
            ));
        }
        let mut nodes = Vec::with_capacity(all.len());
        let mut joined: Option<Type> = None;
        for element in all {
            let (node, type_) = self.check(element)?;
            joined = Some(match joined {
                None => type_,
                Some(before) => before.clone().join(type_.clone()).ok_or_else(|| {
                    let message = format!(
                        "`{}` is {} in a list of {}",
                        self.text_of(node.at),
                        type_.phrase(),
                        before.phrase()
                    );
                    self.tokens.error(node.at, &message, "elements of one type")
                })?,
            });
            nodes.push(node);
        }
        Ok((nodes.into(), joined.unwrap_or(Type::Dyn)))
    }

    fn call(&mut self, call: &CallExpr) -> Checked {
        match (call.func_name.as_str(), call.target.as_deref(), call.args.as_slice()) {
            (operators::LOGICAL_AND, None, [left, right]) => self.logical(left, right, Op::And),
            (operators::LOGICAL_OR, None, [left, right]) => self.logical(left, right, Op::Or),
            (operators::LOGICAL_NOT, None, [of]) => {
                self.tokens.take(|kind, _| kind == TokenKind::TokExclamation);
                let of = self.truth(of)?;
                Ok((Node { at: self.tokens.negated(of.at), op: Op::Not(Box::new(of)) }, Type::Bool))
            }
            (operators::NEGATE, None, [of]) => {
                let (of, type_) = self.check(of)?;
                if !matches!(type_, Type::Number | Type::Span | Type::Dyn) {
                    let message =
                        format!("`-` before `{}`, which is {}", self.text_of(of.at), type_.phrase());
                    return Err(self.tokens.error(of.at, &message, "a number or a duration"));
                }
                Ok((Node { at: self.tokens.signed(of.at), op: Op::Negate(Box::new(of)) }, type_))
            }
            (operators::CONDITIONAL, None, [condition, yes, no]) => self.ternary(condition, yes, no),
            (operators::EQUALS, None, [left, right]) => self.equality(left, right, false),
            (operators::NOT_EQUALS, None, [left, right]) => self.equality(left, right, true),
            (operators::LESS, None, [left, right]) => self.order(Relation::Less, left, right),
            (operators::LESS_EQUALS, None, [left, right]) => self.order(Relation::LessEqual, left, right),
            (operators::GREATER, None, [left, right]) => self.order(Relation::Greater, left, right),
            (operators::GREATER_EQUALS, None, [left, right]) => {
                self.order(Relation::GreaterEqual, left, right)
            }
            (operators::ADD, None, [left, right]) => self.arithmetic(Arithmetic::Add, left, right),
            (operators::SUBSTRACT, None, [left, right]) => self.arithmetic(Arithmetic::Subtract, left, right),
            (operators::MULTIPLY, None, [left, right]) => self.arithmetic(Arithmetic::Multiply, left, right),
            (operators::DIVIDE, None, [left, right]) => self.arithmetic(Arithmetic::Divide, left, right),
            (operators::MODULO, None, [left, right]) => self.arithmetic(Arithmetic::Modulo, left, right),
            (operators::IN, None, [needle, haystack]) => self.membership(needle, haystack),
            (operators::INDEX, None, [of, index]) => self.index(of, index),
            (name, target, arguments) => self.function(name, target, arguments),
        }
    }

    /// An expression that has to be true or false.
    pub(super) fn truth(&mut self, expr: &IdedExpr) -> Result<Node, ConditionError> {
        let (node, type_) = self.check(expr)?;
        match type_ {
            Type::Bool | Type::Dyn => Ok(node),
            other => {
                let message = format!("`{}` is {}", self.text_of(node.at), other.phrase());
                Err(self.tokens.error(node.at, &message, "true or false"))
            }
        }
    }

    fn logical(&mut self, left: &IdedExpr, right: &IdedExpr, op: fn(Box<Node>, Box<Node>) -> Op) -> Checked {
        let (left, right) = (self.truth(left)?, self.truth(right)?);
        let at = self.tokens.closed(left.at.to(right.at));
        Ok((Node { at, op: op(Box::new(left), Box::new(right)) }, Type::Bool))
    }

    fn ternary(&mut self, condition: &IdedExpr, yes: &IdedExpr, no: &IdedExpr) -> Checked {
        let condition = self.truth(condition)?;
        let (yes, yes_type) = self.check(yes)?;
        let (no, no_type) = self.check(no)?;
        let at = self.tokens.closed(condition.at.to(no.at));
        let Some(type_) = yes_type.clone().join(no_type.clone()) else {
            let message = format!("one side is {}, the other {}", yes_type.phrase(), no_type.phrase());
            return Err(self.tokens.error(at, &message, "both sides of `?:` of one type"));
        };
        Ok((Node { at, op: Op::If(Box::new([condition, yes, no])) }, type_))
    }

    fn unlike(&self, at: At, left: &Type, right: &Type) -> ConditionError {
        let message = format!("`{}` compares {} with {}", self.text_of(at), left.phrase(), right.phrase());
        let expected = match (left.present(), right.present()) {
            (Type::Record(record), _) | (_, Type::Record(record)) => {
                format!(
                    "a field of it, like `{}.{}`",
                    record.name(),
                    words(record.fields()).next().unwrap_or("id")
                )
            }
            (Type::List(_), Type::Text) | (Type::Text, Type::List(_)) => "`'…' in list`".to_owned(),
            (Type::Number, Type::Text) | (Type::Text, Type::Number) => {
                "two numbers, or two texts: a number has no quotes, a text has them".to_owned()
            }
            (Type::Bool, Type::Text) | (Type::Text, Type::Bool) => {
                "the fact alone, or `!` before it: it is true or false itself".to_owned()
            }
            (Type::Time, Type::Text) | (Type::Text, Type::Time) => {
                "a time: `timestamp('2026-01-31T08:00:00Z')`".to_owned()
            }
            (Type::Span, Type::Text | Type::Number) | (Type::Text | Type::Number, Type::Span) => {
                "a duration: `duration('1h30m')`".to_owned()
            }
            _ => "two values of one type".to_owned(),
        };
        self.tokens.error(at, &message, &expected)
    }

    fn equality(&mut self, left: &IdedExpr, right: &IdedExpr, negate: bool) -> Checked {
        let (left, left_type) = self.check(left)?;
        let (right, right_type) = self.check(right)?;
        let at = self.tokens.closed(left.at.to(right.at));
        let is_null = |node: &Node| matches!(node.op, Op::Const(Constant::Null));
        // A literal null asks a question that has an answer for every type.
        let (of, type_) = match (is_null(&left), is_null(&right)) {
            (true, false) => (right, right_type),
            (false, true) => (left, left_type),
            (true, true) | (false, false) => {
                if !left_type.comparable(&right_type) {
                    return Err(self.unlike(at, &left_type, &right_type));
                }
                let (left, right) = (Box::new(left), Box::new(right));
                let op = if negate { Op::Unequal(left, right) } else { Op::Equal(left, right) };
                return Ok((Node { at, op }, Type::Bool));
            }
        };
        if !matches!(type_, Type::Dyn | Type::Nullable(_)) {
            let message = format!("`{}` is never null", self.text_of(of.at));
            return Err(self.tokens.error(at, &message, "a comparison that can be true and false"));
        }
        let of = Box::new(of);
        Ok((Node { at, op: if negate { Op::NotNull(of) } else { Op::IsNull(of) } }, Type::Bool))
    }

    /// Levels are ordered by how sensitive they are, and not by their letters.
    fn order_levels(
        &mut self,
        at: At,
        relation: Relation,
        (left, left_type): (Node, &Type),
        (right, right_type): (Node, &Type),
    ) -> Checked {
        for (node, type_) in [(&left, left_type), (&right, right_type)] {
            let fits = match &node.op {
                Op::Fact(Fact::DataLevel) => true,
                Op::Const(Constant::Text(text)) => Sensitivity::from_word(text).is_some(),
                _ => *type_ == Type::Dyn,
            };
            if !fits {
                let message =
                    format!("`{}` orders levels, and `{}` is none", self.text_of(at), self.text_of(node.at));
                let expected = format!("`data.level` and one of {}", quoted_levels());
                return Err(self.tokens.error(node.at, &message, &expected));
            }
        }
        let rank = |node: Node| Box::new(Node { at: node.at, op: Op::Rank(Box::new(node)) });
        Ok((Node { at, op: Op::Order(relation, rank(left), rank(right)) }, Type::Bool))
    }

    fn order(&mut self, relation: Relation, left: &IdedExpr, right: &IdedExpr) -> Checked {
        let (left, left_type) = self.check(left)?;
        let (right, right_type) = self.check(right)?;
        let at = self.tokens.closed(left.at.to(right.at));
        let is_fact = |node: &Node| matches!(node.op, Op::Fact(Fact::DataLevel));
        if is_fact(&left) || is_fact(&right) {
            return self.order_levels(at, relation, (left, &left_type), (right, &right_type));
        }
        // A level that any other text is ordered by: by their letters that says nothing.
        let is_level = |node: &Node| matches!(&node.op, Op::Const(Constant::Text(text)) if Sensitivity::from_word(text).is_some());
        let is_text = |type_: &Type| *type_.present() == Type::Text;
        if is_level(&left) && is_text(&right_type) || is_level(&right) && is_text(&left_type) {
            let message = format!("`{}` orders a level and a text by their letters", self.text_of(at));
            let expected = "`data.level >= 'confidential'`, or for what has reached a session `'confidential' in session.labels || 'restricted' in session.labels`";
            return Err(self.tokens.error(at, &message, expected));
        }
        let ordered = |type_: &Type| {
            matches!(
                type_,
                Type::Dyn | Type::Number | Type::Text | Type::Bool | Type::Bytes | Type::Time | Type::Span
            )
        };
        let (bare_left, bare_right) = (left_type.present(), right_type.present());
        if !ordered(bare_left) || !ordered(bare_right) || !bare_left.comparable(bare_right) {
            return Err(self.unlike(at, &left_type, &right_type));
        }
        Ok((Node { at, op: Op::Order(relation, Box::new(left), Box::new(right)) }, Type::Bool))
    }

    fn arithmetic(&mut self, operation: Arithmetic, left: &IdedExpr, right: &IdedExpr) -> Checked {
        use Arithmetic::{Add, Divide, Modulo, Multiply, Subtract};
        let (left, left_type) = self.check(left)?;
        let (right, right_type) = self.check(right)?;
        let at = self.tokens.closed(left.at.to(right.at));
        let type_ = match (operation, left_type.present(), right_type.present()) {
            (_, Type::Record(_), _) | (_, _, Type::Record(_)) => None,
            (_, Type::Dyn, Type::Dyn) => Some(Type::Dyn),
            (Multiply | Divide | Modulo, Type::Number | Type::Dyn, Type::Number | Type::Dyn) => {
                Some(Type::Number)
            }
            (Add | Subtract, Type::Number, Type::Number | Type::Dyn)
            | (Add | Subtract, Type::Dyn, Type::Number) => Some(Type::Number),
            (Add, Type::Text, Type::Text | Type::Dyn) | (Add, Type::Dyn, Type::Text) => Some(Type::Text),
            (Add, Type::Bytes, Type::Bytes | Type::Dyn) | (Add, Type::Dyn, Type::Bytes) => Some(Type::Bytes),
            (Add, Type::List(a), Type::List(b)) => {
                (**a).clone().join((**b).clone()).map(|joined| Type::List(Box::new(joined)))
            }
            (Add, Type::List(_), Type::Dyn) | (Add, Type::Dyn, Type::List(_)) => {
                Some(Type::List(Box::new(Type::Dyn)))
            }
            (Add | Subtract, Type::Time, Type::Span) | (Add, Type::Span, Type::Time) => Some(Type::Time),
            (Subtract, Type::Time, Type::Time) | (Add | Subtract, Type::Span, Type::Span) => Some(Type::Span),
            _ => None,
        };
        let Some(type_) = type_ else {
            let message = format!(
                "`{}` calculates with {} and {}",
                self.text_of(at),
                left_type.phrase(),
                right_type.phrase()
            );
            return Err(self.tokens.error(at, &message, "two numbers, texts, lists, times or durations"));
        };
        Ok((Node { at, op: Op::Calculate(operation, Box::new(left), Box::new(right)) }, type_))
    }

    fn membership(&mut self, needle: &IdedExpr, haystack: &IdedExpr) -> Checked {
        let (needle, needle_type) = self.check(needle)?;
        let (haystack, haystack_type) = self.check(haystack)?;
        let at = self.tokens.closed(needle.at.to(haystack.at));
        match &haystack_type {
            Type::Dyn if !matches!(needle_type.present(), Type::Record(_)) => {}
            Type::List(of) if needle_type.comparable(of) => {}
            Type::List(of) => return Err(self.unlike(at, &needle_type, of)),
            other => {
                let message =
                    format!("`in` looks into `{}`, which is {}", self.text_of(haystack.at), other.phrase());
                return Err(self.tokens.error(at, &message, "a list or an object"));
            }
        }
        let needle = Box::new(needle);
        let op = match haystack.op {
            Op::List(elements) => Op::OneOf(needle, elements),
            _ => Op::In(needle, Box::new(haystack)),
        };
        Ok((Node { at, op }, Type::Bool))
    }

    fn index(&mut self, of: &IdedExpr, index: &IdedExpr) -> Checked {
        if let Some((record, at)) = self.record(of) {
            let (index, _) = self.check(index)?;
            let at = self.tokens.closed(at.to(index.at));
            let Op::Const(Constant::Text(name)) = &index.op else {
                let message = format!("`{}` is indexed with something else than a literal", record.name());
                return Err(self.tokens.error(at, &message, record.fields()));
            };
            let (fact, type_) = self.field(record, name, at)?;
            return Ok((Node { at, op: Op::Fact(fact) }, type_));
        }
        let (of, of_type) = self.check(of)?;
        let (index, index_type) = self.check(index)?;
        let at = self.tokens.closed(of.at.to(index.at));
        let type_ = match (&of_type, index_type.present()) {
            (Type::Dyn, Type::Text | Type::Number | Type::Dyn) => Type::Dyn,
            (Type::List(element), Type::Number | Type::Dyn) => (**element).clone(),
            _ => {
                let message = format!(
                    "`{}` indexes {} with {}",
                    self.text_of(at),
                    of_type.phrase(),
                    index_type.phrase()
                );
                return Err(self.tokens.error(at, &message, "a list with a number, or an object with text"));
            }
        };
        Ok((Node { at, op: Op::Index(Box::new(of), Box::new(index)) }, type_))
    }
}

/// Every level as a condition writes it.
fn quoted_levels() -> String {
    Sensitivity::ALL.map(|level| format!("'{level}'")).join(", ")
}
