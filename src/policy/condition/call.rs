//! The checker's part for function calls: names, ways of calling, arguments, and literals that are
//! compiled at load.

use super::{
    ConditionError,
    compile::{Checked, Checker},
    error::At,
    eval::Fault,
    function::{self, FUNCTIONS, Function, Signature, Style},
    kind::What,
    node::{Constant, Node, Op},
    syntax::OTHER_FUNCTIONS,
    time,
    types::{Type, words},
    value::Value,
};
use crate::{model::Glob, policy::near::closest};
use cel::common::ast::IdedExpr;
use jiff::tz::TimeZone;
use regex_automata::meta::Regex;
use std::sync::Arc;

/// A regex program of a literal pattern.
const MAX_REGEX_BYTES: usize = 1 << 20;

impl Checker<'_> {
    pub(super) fn function(&mut self, name: &str, target: Option<&IdedExpr>, rest: &[IdedExpr]) -> Checked {
        let member = target.is_some();
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        if let Some(target) = target {
            arguments.push(self.check(target)?);
        }
        let name_at = self.tokens.take_name(name);
        let signature = match name {
            "matches" => None,
            _ => Some(function::find(name).ok_or_else(|| self.no_function(name, name_at))?),
        };
        for argument in rest {
            arguments.push(self.check(argument)?);
        }
        let last = arguments.iter().fold(name_at, |at, (node, _)| at.to(node.at));
        let at = self.tokens.closed(self.called(last));
        match signature {
            None => self.matches(at, arguments),
            Some(signature) => self.apply(name, at, member, &signature, arguments),
        }
    }

    /// With the opening bracket of a call without arguments.
    fn called(&self, at: At) -> At {
        let text = self.source.get(at.end..).unwrap_or_default();
        let bracket = text.find(|c: char| !c.is_whitespace());
        match bracket.filter(|i| text.get(*i..).is_some_and(|rest| rest.starts_with('('))) {
            Some(offset) => At { start: at.start, end: at.end + offset + 1 },
            None => at,
        }
    }

    fn no_function(&self, name: &str, at: At) -> ConditionError {
        let macros = ["has", "all", "exists", "exists_one", "existsOne", "map", "filter"];
        if macros.contains(&name) {
            let message = format!("`{name}` is used in another way than it can be");
            return self.tokens.error(at, &message, "`has(args.x)`, or `list.exists(item, condition)`");
        }
        let near = closest(name, words(FUNCTIONS), OTHER_FUNCTIONS);
        let usage = near.and_then(function::find).map_or(FUNCTIONS, |signature| signature.usage);
        let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        self.tokens.error(at, &format!("`{name}` is not a function{near}"), usage)
    }

    fn apply(
        &mut self,
        name: &str,
        at: At,
        member: bool,
        signature: &Signature,
        mut arguments: Vec<(Node, Type)>,
    ) -> Checked {
        let style = if member { Style::Member } else { Style::Global };
        let function = signature.function;
        let zone = match function {
            Function::Part(_) if arguments.len() == 2 => match arguments.pop() {
                Some((zone, _)) => Some(self.zone(&zone)?),
                None => None,
            },
            _ => None,
        };
        if signature.style != Style::Both && signature.style != style
            || arguments.len() != signature.params.len()
        {
            let message = format!("`{}` calls `{name}` in another way", self.text_of(at));
            return Err(self.tokens.error(at, &message, signature.usage));
        }
        for ((node, type_), param) in arguments.iter().zip(signature.params) {
            if !param.takes(type_) {
                let message =
                    format!("`{}` is {}, and `{name}` takes none", self.text_of(node.at), type_.phrase());
                let expected = match (name, type_.present()) {
                    ("contains", Type::List(_)) => "`part in list`",
                    _ => param.phrase(),
                };
                return Err(self.tokens.error(node.at, &message, expected));
            }
        }
        let result = signature.result.clone();
        let mut nodes: Vec<Node> = arguments.into_iter().map(|(node, _)| node).collect();
        if function == Function::Glob
            && let [_, Node { op: Op::Const(Constant::Text(pattern)), at: pattern_at }] = nodes.as_slice()
        {
            let glob = Glob::parse(pattern).map_err(|error| {
                self.tokens.error(*pattern_at, &error.to_string(), "a glob like `/srv/**`")
            })?;
            nodes.truncate(1);
            if let Some(of) = nodes.pop() {
                return Ok((Node { at, op: Op::Glob(Box::new(of), glob) }, Type::Bool));
            }
        }
        if let (Some(zone), Function::Part(part)) = (zone, function) {
            return match nodes.pop() {
                Some(of) => Ok((Node { at, op: Op::PartIn(Box::new(of), part, zone) }, result)),
                None => {
                    Err(self.tokens.error(at, &format!("`{name}` is called of nothing"), signature.usage))
                }
            };
        }
        if let Some(constant) = self.folded(function, &nodes)? {
            return Ok((Node { at, op: Op::Const(constant) }, result));
        }
        Ok((Node { at, op: Op::Call(function, nodes.into()) }, result))
    }

    /// The time zone that a literal names. One that a call chooses would be a rule that agents set the clock of.
    fn zone(&self, named: &Node) -> Result<TimeZone, ConditionError> {
        let Op::Const(Constant::Text(name)) = &named.op else {
            let message =
                format!("`{}` is not a literal, and a time zone must be one", self.text_of(named.at));
            return Err(self.tokens.error(named.at, &message, "a zone in quotes, like `'Europe/Berlin'`"));
        };
        if let Some(fixed) = time::offset(name) {
            return Ok(fixed);
        }
        self.zones.get(name).map_err(|wrong| {
            let message = format!("`{}`: {}", self.text_of(named.at), wrong.message);
            self.tokens.error(named.at, &message, wrong.expected)
        })
    }

    /// What `timestamp` and `duration` give for a literal; a wrong one is an error at load.
    fn folded(&self, function: Function, nodes: &[Node]) -> Result<Option<Constant>, ConditionError> {
        let [Node { op: Op::Const(constant), at }] = nodes else { return Ok(None) };
        if !matches!(function, Function::Timestamp | Function::Duration) {
            return Ok(None);
        }
        match function.call(&[constant.value()]) {
            Ok(Value::Time(time)) => Ok(Some(Constant::Time(time))),
            Ok(Value::Span(span)) => Ok(Some(Constant::Span(span))),
            Ok(_) => Ok(None),
            Err((_, what)) => {
                let told = Fault { at: *at, what }.told(self.source);
                let expected = match what {
                    What::Invalid(needed) => needed,
                    _ => "a timestamp or a duration",
                };
                Err(self.tokens.error(*at, &told.message, expected))
            }
        }
    }

    /// `matches`: a pattern from elsewhere would be compiled for every call, at a cost that its
    /// writer chooses; hence literals only.
    fn matches(&mut self, at: At, arguments: Vec<(Node, Type)>) -> Checked {
        let usage = "`text.matches('pattern')`";
        let Ok([(of, type_), (pattern, _)]) = <[(Node, Type); 2]>::try_from(arguments) else {
            let message = format!("`{}` calls `matches` in another way", self.text_of(at));
            return Err(self.tokens.error(at, &message, usage));
        };
        if !matches!(type_.present(), Type::Text | Type::Dyn) {
            let message = format!("`{}` is {}", self.text_of(of.at), type_.phrase());
            return Err(self.tokens.error(of.at, &message, "text"));
        }
        let Op::Const(Constant::Text(text)) = &pattern.op else {
            let message = format!("`{}` is not a literal", self.text_of(pattern.at));
            return Err(self.tokens.error(pattern.at, &message, "a pattern written as a literal"));
        };
        let config = Regex::config()
            .nfa_size_limit(Some(MAX_REGEX_BYTES))
            .onepass_size_limit(Some(MAX_REGEX_BYTES))
            .dfa_size_limit(Some(MAX_REGEX_BYTES))
            .hybrid_cache_capacity(MAX_REGEX_BYTES);
        let regex = Regex::builder().configure(config).build(text).map_err(|error| {
            let why = error
                .syntax_error()
                .map_or_else(|| error.to_string(), |syntax| syntax.to_string().replace('\n', " "));
            // Before it stands a picture of the pattern.
            let why = why.rsplit_once("error: ").map_or(why.as_str(), |(_, why)| why);
            let short: String = why.chars().take(200).collect();
            let message = format!("`{}` is not a regular expression: {short}", self.text_of(pattern.at));
            self.tokens.error(pattern.at, &message, "a pattern in RE2 syntax of moderate size")
        })?;
        Ok((Node { at, op: Op::Matches(Box::new(of), Arc::new(regex)) }, Type::Bool))
    }
}
