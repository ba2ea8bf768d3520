//! Evaluates a checked condition over a call's facts, without copying arguments and at a bounded
//! cost. Whatever cannot be answered is an error, which denies; `&&` and `||` are commutative,
//! so that an error beside a `false &&` or a `true ||` does not matter.

use super::{
    EvalError, Hidden, Surroundings,
    error::At,
    fact::Fact,
    function::Function,
    kind::{Kind, What},
    node::{Arithmetic, Loop, LoopParts, Node, Op, Relation},
    number::Number,
    time,
    value::{List, Value},
};
use crate::{
    model::{CapabilityId, Sensitivity},
    policy::Facts,
};
use serde_json::Value as Json;
use std::{borrow::Cow, cell::Cell, cmp::Ordering};

/// Steps before a condition is given up; a usual one takes about ten.
const MAX_STEPS: u32 = 1_000_000;
/// A longer list is not looped over.
const MAX_ITEMS: usize = 10_000;

/// What went wrong, and where in the condition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) at: At,
    pub(super) what: What,
}

impl Fault {
    pub(super) fn told(self, source: &str) -> EvalError {
        let text = self.at.of(source);
        let message = match self.what {
            What::Missing => format!("`{text}` is missing"),
            What::Unlike(a, b) if a == b => format!("`{text}` compares two values that have no order"),
            What::Unlike(a, b) => format!("`{text}` compares {} with {}", a.phrase(), b.phrase()),
            What::Needs(needed, kind) => {
                format!("`{text}` is {}, and {needed} is needed there", kind.phrase())
            }
            What::Invalid(needed) => format!("`{text}` is not {needed}"),
            What::NoWorkflow => format!("`{text}` is missing, because the call has no workflow"),
            What::NoUser => format!("`{text}` is missing, because nobody is known for whom the agent acts"),
            What::Range => format!("`{text}` is out of range"),
            What::Calculation => format!("`{text}` cannot be calculated"),
            What::TooLong => format!("`{text}` has more than {MAX_ITEMS} elements"),
            What::Masked => format!("`{text}` is masked in the record"),
            What::TooCostly => "the condition takes too many steps on this call".to_owned(),
        };
        EvalError { message }
    }
}

/// One evaluation.
pub(super) struct Evaluation<'a> {
    pub(super) facts: &'a Facts,
    pub(super) around: Surroundings<'a>,
    /// Of recorded facts, what is masked.
    pub(super) hidden: Option<&'a Hidden<'a>>,
    steps: Cell<u32>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(facts: &'a Facts, around: Surroundings<'a>) -> Self {
        Self { facts, around, hidden: None, steps: Cell::new(MAX_STEPS) }
    }

    /// Of recorded facts, of which a part is masked.
    pub(super) fn of_recorded(facts: &'a Facts, around: Surroundings<'a>, hidden: &'a Hidden<'a>) -> Self {
        Self { hidden: Some(hidden), ..Self::new(facts, around) }
    }

    fn spend(&self, steps: usize, at: At) -> Result<(), Fault> {
        let rest = u32::try_from(steps).ok().and_then(|steps| self.steps.get().checked_sub(steps));
        self.steps.set(rest.unwrap_or(0));
        rest.map(drop).ok_or(Fault { at, what: What::TooCostly })
    }

    /// A part of the arguments.
    fn json(&self, json: &'a Json) -> Result<Value<'a>, What> {
        match self.hidden {
            Some(hidden) if hidden.is_masked(json) => Err(What::Masked),
            Some(_) | None => Value::json(json),
        }
    }

    fn element(&self, list: &List<'a>, index: usize) -> Option<Result<Value<'a>, What>> {
        match list {
            List::Json(items) => items.get(index).map(|item| self.json(item)),
            List::Names(_) | List::Made(_) => list.get(index),
        }
    }

    /// Where a value is compared or measured as a whole, nothing in it may be masked.
    fn open(&self, value: &Value<'a>) -> Result<(), What> {
        let Some(hidden) = self.hidden else { return Ok(()) };
        let masked = match value {
            Value::Map(map) => hidden.is_around(std::ptr::from_ref(*map).addr()),
            Value::List(List::Json(items)) => hidden.is_around(items.as_ptr().addr()),
            Value::List(List::Made(values)) => return values.iter().try_for_each(|value| self.open(value)),
            Value::Null
            | Value::Absent
            | Value::Present
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Time(_)
            | Value::Span(_)
            | Value::List(List::Names(_))
            | Value::Kind(_) => false,
        };
        if masked { Err(What::Masked) } else { Ok(()) }
    }

    /// Both sides of a comparison.
    fn both_open(&self, left: &Value<'a>, right: &Value<'a>) -> Result<(), What> {
        self.open(left).and_then(|()| self.open(right))
    }

    /// The truth of an expression.
    pub(super) fn truth(&self, node: &'a Node, item: Option<&Value<'a>>) -> Result<bool, Fault> {
        match self.value(node, item)? {
            Value::Bool(bool) => Ok(bool),
            other => Err(Fault { at: node.at, what: What::Needs("true or false", other.kind()) }),
        }
    }

    // Long: one arm for each operation, so that a reader finds what it means and costs in one place.
    pub(super) fn value(&self, node: &'a Node, item: Option<&Value<'a>>) -> Result<Value<'a>, Fault> {
        self.spend(1, node.at)?;
        let fault = |what| Fault { at: node.at, what };
        match &node.op {
            Op::Const(constant) => Ok(constant.value()),
            Op::Fact(fact) => self.fact(*fact).map_err(fault),
            Op::Args => self.json(&self.facts.args).map_err(fault),
            Op::Item => item.cloned().ok_or(fault(What::Missing)),
            Op::Member(of, name) => match self.value(of, item)? {
                Value::Map(map) => {
                    map.get(&**name).ok_or(What::Missing).and_then(|json| self.json(json)).map_err(fault)
                }
                other => Err(Fault { at: of.at, what: What::Needs("an object", other.kind()) }),
            },
            Op::Index(of, index) => self.index(node, of, index, item),
            Op::Has(of, name) => match self.value(of, item)? {
                Value::Map(map) => Ok(Value::Bool(map.contains_key(&**name))),
                other => Err(Fault { at: of.at, what: What::Needs("an object", other.kind()) }),
            },
            Op::HasFact(fact) => match self.fact(*fact) {
                Ok(Value::Absent) | Err(What::NoWorkflow | What::NoUser) => Ok(Value::Bool(false)),
                Ok(_) => Ok(Value::Bool(true)),
                Err(what) => Err(fault(what)),
            },
            Op::And(left, right) => self.either(left, right, item, false),
            Op::Or(left, right) => self.either(left, right, item, true),
            Op::Not(of) => self.truth(of, item).map(|truth| Value::Bool(!truth)),
            Op::If(parts) => {
                let [condition, yes, no] = &**parts;
                if self.truth(condition, item)? { self.value(yes, item) } else { self.value(no, item) }
            }
            Op::Equal(left, right) => self.same(node, left, right, item).map(Value::Bool),
            Op::Unequal(left, right) => self.same(node, left, right, item).map(|same| Value::Bool(!same)),
            Op::IsNull(of) => self.value(of, item).map(|value| Value::Bool(value.kind() == Kind::Null)),
            Op::NotNull(of) => self.value(of, item).map(|value| Value::Bool(value.kind() != Kind::Null)),
            Op::Order(relation, left, right) => {
                let (left, right) = (self.value(left, item)?, self.value(right, item)?);
                self.both_open(&left, &right).map_err(fault)?;
                self.spend(left.lighter(&right), node.at)?;
                let order = left.order(&right).map_err(fault)?;
                Ok(Value::Bool(match relation {
                    Relation::Less => order == Ordering::Less,
                    Relation::LessEqual => order != Ordering::Greater,
                    Relation::Greater => order == Ordering::Greater,
                    Relation::GreaterEqual => order != Ordering::Less,
                }))
            }
            Op::Rank(of) => match self.value(of, item)? {
                Value::Text(text) => match Sensitivity::from_word(&text) {
                    Some(level) => Ok(Value::Number(Number::Whole(level.rank().into()))),
                    None => Err(Fault { at: of.at, what: What::Needs("a level", Kind::Text) }),
                },
                other => Err(Fault { at: of.at, what: What::Needs("a level", other.kind()) }),
            },
            Op::In(needle, haystack) => {
                let needle = self.value(needle, item)?;
                match self.value(haystack, item)? {
                    Value::List(list) => {
                        let all = (0..list.len()).filter_map(|i| self.element(&list, i));
                        self.found(node, &needle, all.map(|v| v.map_err(fault)))
                    }
                    Value::Map(map) => match &needle {
                        Value::Text(key) => {
                            self.spend(needle.weight(), node.at)?;
                            Ok(Value::Bool(map.contains_key(&**key)))
                        }
                        other => Err(fault(What::Unlike(other.kind(), Kind::Text))),
                    },
                    other => {
                        Err(Fault { at: haystack.at, what: What::Needs("a list or an object", other.kind()) })
                    }
                }
            }
            Op::OneOf(needle, all) => {
                let needle = self.value(needle, item)?;
                self.found(node, &needle, all.iter().map(|candidate| self.value(candidate, item)))
            }
            Op::Calculate(operation, left, right) => {
                let (left, right) = (self.value(left, item)?, self.value(right, item)?);
                self.both_open(&left, &right).map_err(fault)?;
                self.spend(left.weight().saturating_add(right.weight()), node.at)?;
                calculate(*operation, left, right).map_err(fault)
            }
            Op::Negate(of) => match self.value(of, item)? {
                Value::Number(number) => number.negated().map(Value::Number).ok_or(fault(What::Calculation)),
                Value::Span(span) => Ok(Value::Span(-span)),
                other => Err(Fault { at: of.at, what: What::Needs("a number", other.kind()) }),
            },
            Op::List(elements) => {
                let values = elements.iter().map(|element| self.value(element, item));
                Ok(Value::List(List::Made(values.collect::<Result<_, _>>()?)))
            }
            Op::Call(function, arguments) => {
                let values = arguments.iter().map(|argument| self.value(argument, item));
                let values = values.collect::<Result<Vec<_>, _>>()?;
                // These look at no member and no element.
                if !matches!(function, Function::Size | Function::TypeOf | Function::Dyn) {
                    values.iter().try_for_each(|value| self.open(value)).map_err(fault)?;
                }
                self.spend(function.weight(&values), node.at)?;
                function.call(&values).map_err(|(position, what)| Fault {
                    at: arguments.get(position).map_or(node.at, |argument| argument.at),
                    what,
                })
            }
            Op::Matches(of, regex) => {
                let value = self.value(of, item)?;
                self.open(&value).map_err(fault)?;
                self.spend(value.weight().saturating_mul(4), node.at)?;
                match &value {
                    Value::Text(text) => Ok(Value::Bool(regex.is_match(text.as_bytes()))),
                    other => Err(Fault { at: of.at, what: What::Needs("text", other.kind()) }),
                }
            }
            Op::Glob(of, glob) => {
                let value = self.value(of, item)?;
                self.open(&value).map_err(fault)?;
                self.spend(value.weight().saturating_mul(8), node.at)?;
                match &value {
                    Value::Text(text) => Ok(Value::Bool(glob.matches(text))),
                    other => Err(Fault { at: of.at, what: What::Needs("text", other.kind()) }),
                }
            }
            Op::PartIn(of, part, zone) => match self.value(of, item)? {
                Value::Time(time) => Ok(Value::Number(Number::Whole(part.of_time(time, zone)))),
                other => Err(Fault { at: of.at, what: What::Needs("a timestamp", other.kind()) }),
            },
            Op::Loop(kind, parts) => self.run(node, *kind, parts, item),
        }
    }

    /// `&&` (`stop` is false) and `||` (`stop` is true).
    fn either(
        &self,
        left: &'a Node,
        right: &'a Node,
        item: Option<&Value<'a>>,
        stop: bool,
    ) -> Result<Value<'a>, Fault> {
        match self.truth(left, item) {
            Ok(truth) if truth == stop => Ok(Value::Bool(stop)),
            Ok(_) => self.truth(right, item).map(Value::Bool),
            Err(fault) => match self.truth(right, item) {
                Ok(truth) if truth == stop => Ok(Value::Bool(stop)),
                // It might have been what stops.
                Err(masked) if masked.what == What::Masked => Err(masked),
                Ok(_) | Err(_) => Err(fault),
            },
        }
    }

    fn same(
        &self,
        node: &'a Node,
        left: &'a Node,
        right: &'a Node,
        item: Option<&Value<'a>>,
    ) -> Result<bool, Fault> {
        let (left, right) = (self.value(left, item)?, self.value(right, item)?);
        self.both_open(&left, &right).map_err(|what| Fault { at: node.at, what })?;
        self.spend(left.lighter(&right), node.at)?;
        left.same(&right).map_err(|what| Fault { at: node.at, what })
    }

    /// Whether any candidate equals the value; an unlike one is an error unless another equals.
    fn found(
        &self,
        node: &'a Node,
        needle: &Value<'a>,
        candidates: impl Iterator<Item = Result<Value<'a>, Fault>>,
    ) -> Result<Value<'a>, Fault> {
        let mut trouble = None;
        for candidate in candidates {
            let same = candidate.and_then(|candidate| {
                self.both_open(needle, &candidate).map_err(|what| Fault { at: node.at, what })?;
                self.spend(1 + needle.lighter(&candidate), node.at)?;
                needle.same(&candidate).map_err(|what| Fault { at: node.at, what })
            });
            match same {
                Ok(true) => return Ok(Value::Bool(true)),
                Ok(false) => {}
                Err(fault) if fault.what == What::TooCostly => return Err(fault),
                Err(fault) => trouble = Some(graver(trouble, fault)),
            }
        }
        trouble.map_or(Ok(Value::Bool(false)), Err)
    }

    fn index(
        &self,
        node: &'a Node,
        of: &'a Node,
        index: &'a Node,
        item: Option<&Value<'a>>,
    ) -> Result<Value<'a>, Fault> {
        let fault = |what| Fault { at: node.at, what };
        let wrong = |needed, kind| Fault { at: index.at, what: What::Needs(needed, kind) };
        match (self.value(of, item)?, self.value(index, item)?) {
            (Value::Map(map), Value::Text(key)) => {
                self.spend(key.len() / 32, node.at)?;
                map.get(&*key).ok_or(What::Missing).and_then(|json| self.json(json)).map_err(fault)
            }
            (Value::Map(_), other) => Err(wrong("text", other.kind())),
            (Value::List(list), Value::Number(number)) => {
                let number = match number {
                    Number::Whole(whole) => usize::try_from(whole).ok(),
                    Number::Decimal { .. } | Number::Wide(_) => None,
                };
                let found = number.and_then(|index| self.element(&list, index));
                found.ok_or(What::Missing).flatten().map_err(fault)
            }
            (Value::List(_), other) => Err(wrong("a number", other.kind())),
            (other, _) => Err(Fault { at: of.at, what: What::Needs("a list or an object", other.kind()) }),
        }
    }

    fn run(
        &self,
        node: &'a Node,
        kind: Loop,
        parts: &'a LoopParts,
        item: Option<&Value<'a>>,
    ) -> Result<Value<'a>, Fault> {
        let fault = |what| Fault { at: parts.over.at, what };
        let list = match self.value(&parts.over, item)? {
            Value::List(list) => list,
            Value::Map(map) if map.len() <= MAX_ITEMS => {
                List::Made(map.keys().map(|key| Value::text(key)).collect())
            }
            Value::Map(_) => return Err(fault(What::TooLong)),
            other => return Err(fault(What::Needs("a list or an object", other.kind()))),
        };
        if list.len() > MAX_ITEMS {
            return Err(fault(What::TooLong));
        }
        if let Some(hidden) = self.hidden {
            hidden.run_loop();
        }
        let mut trouble: Option<Fault> = None;
        let mut hits: usize = 0;
        let mut made = Vec::new();
        for element in (0..list.len()).filter_map(|index| self.element(&list, index)) {
            self.spend(1, node.at)?;
            let element = element.map_err(fault)?;
            let wanted = match (&parts.filter, kind) {
                (Some(filter), _) => self.truth(filter, Some(&element))?,
                (None, _) => true,
            };
            match kind {
                Loop::All | Loop::Exists => match self.truth(&parts.body, Some(&element)) {
                    Ok(truth) if truth == (kind == Loop::Exists) => return Ok(Value::Bool(truth)),
                    Ok(_) => {}
                    Err(fault) if fault.what == What::TooCostly => return Err(fault),
                    Err(fault) => trouble = Some(graver(trouble, fault)),
                },
                Loop::ExistsOne => hits += usize::from(self.truth(&parts.body, Some(&element))?),
                Loop::Map if wanted => made.push(self.value(&parts.body, Some(&element))?),
                Loop::Map => {}
                Loop::Filter => {
                    if self.truth(&parts.body, Some(&element))? {
                        made.push(element);
                    }
                }
            }
        }
        match (trouble, kind) {
            (Some(fault), _) => Err(fault),
            (None, Loop::All) => Ok(Value::Bool(true)),
            (None, Loop::Exists) => Ok(Value::Bool(false)),
            (None, Loop::ExistsOne) => Ok(Value::Bool(hits == 1)),
            (None, Loop::Map | Loop::Filter) => Ok(Value::List(List::Made(made.into()))),
        }
    }

    fn fact(&self, fact: Fact) -> Result<Value<'a>, What> {
        let facts = self.facts;
        let workflow = || facts.workflow.as_ref().ok_or(What::NoWorkflow);
        let or_absent = |text: Option<&'a str>| text.map_or(Value::Absent, Value::text);
        let count = |count: u64| Value::Number(Number::Whole(i128::from(count)));
        Ok(match fact {
            Fact::AgentId => Value::text(facts.agent.id.as_str()),
            Fact::AgentType => Value::text(&facts.agent.agent_type),
            Fact::AgentRole => Value::text(&facts.agent.role),
            Fact::AgentTenant => Value::text(&facts.agent.tenant),
            Fact::AgentOwner => Value::text(&facts.agent.owner),
            Fact::AgentOperator => or_absent(facts.agent.operator.as_ref().map(|p| p.as_str())),
            Fact::AgentAutonomy => Value::text(facts.agent.autonomy.as_str()),
            Fact::AgentAttended => Value::Bool(facts.agent.attended),
            Fact::User => or_absent(facts.user.as_ref().map(|p| p.as_str())),
            Fact::UserId => Value::text(facts.user.as_ref().ok_or(What::NoUser)?.as_str()),
            Fact::UserGroups => {
                facts.user.as_ref().ok_or(What::NoUser)?;
                Value::List(List::Names(&facts.user_groups))
            }
            Fact::Workflow => facts.workflow.as_ref().map_or(Value::Absent, |_| Value::Present),
            Fact::WorkflowId => Value::text(workflow()?.id.as_str()),
            Fact::WorkflowOwner => or_absent(workflow()?.owner.as_deref()),
            Fact::Env => Value::text(self.around.environment),
            Fact::Capability => or_absent(self.around.capability.map(CapabilityId::as_str)),
            Fact::ToolName => Value::text(&facts.tool.name),
            Fact::ToolUpstream => Value::text(facts.tool.upstream.as_str()),
            Fact::ToolAction => Value::text(&facts.tool.action),
            Fact::ToolLabels => Value::List(List::Names(&facts.tool.labels)),
            Fact::ToolReadOnly => Value::Bool(facts.tool.traits.read_only),
            Fact::ToolDestructive => Value::Bool(facts.tool.traits.destructive),
            Fact::ToolIdempotent => Value::Bool(facts.tool.traits.idempotent),
            Fact::ToolOpenWorld => Value::Bool(facts.tool.traits.open_world),
            Fact::ToolFingerprint => Value::text(facts.tool.fingerprint.as_str()),
            Fact::ToolPinned => Value::Bool(facts.tool.pinned),
            Fact::CallKind => Value::text(facts.call.kind.as_str()),
            Fact::CallRepeats => count(facts.call.repeats),
            Fact::CallSize => count(facts.call.size),
            Fact::CostEstimate => Value::money(facts.cost.estimate),
            Fact::CostTokens => count(facts.cost.tokens),
            Fact::DataLevel => Value::text(facts.data.level.as_str()),
            Fact::DataLabels => Value::List(List::Names(&facts.data.labels)),
            Fact::DataFindings => Value::List(List::Names(&facts.data.findings)),
            Fact::SessionLabels => Value::List(List::Names(&facts.session_labels)),
            Fact::Now => Value::Time(facts.now),
        })
    }
}

/// Of several elements' troubles the first is told; one that is masked might have been none.
fn graver(trouble: Option<Fault>, fault: Fault) -> Fault {
    match trouble {
        Some(first) if fault.what != What::Masked => first,
        Some(_) | None => fault,
    }
}

fn calculate<'a>(operation: Arithmetic, left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, What> {
    use Arithmetic::{Add, Divide, Modulo, Multiply, Subtract};
    match (operation, left, right) {
        (_, Value::Number(a), Value::Number(b)) => {
            let result = match operation {
                Add => a.plus(b),
                Subtract => a.minus(b),
                Multiply => a.times(b),
                Divide => a.over(b),
                Modulo => a.modulo(b),
            };
            result.map(Value::Number).ok_or(What::Calculation)
        }
        (Add, Value::Text(a), Value::Text(b)) => Ok(Value::Text(Cow::Owned([a, b].concat()))),
        (Add, Value::Bytes(a), Value::Bytes(b)) => {
            Ok(Value::Bytes(a.iter().chain(b.iter()).copied().collect()))
        }
        (Add, Value::List(a), Value::List(b)) => {
            if a.len().saturating_add(b.len()) > MAX_ITEMS {
                return Err(What::TooLong);
            }
            let all = (0..a.len()).filter_map(|i| a.get(i)).chain((0..b.len()).filter_map(|i| b.get(i)));
            Ok(Value::List(List::Made(all.collect::<Result<_, _>>()?)))
        }
        (Add, Value::Time(time), Value::Span(span)) | (Add, Value::Span(span), Value::Time(time)) => {
            time::moved(time, span).map(Value::Time)
        }
        (Subtract, Value::Time(time), Value::Span(span)) => {
            time::moved(time, span.checked_neg().ok_or(What::Range)?).map(Value::Time)
        }
        (Subtract, Value::Time(a), Value::Time(b)) => Ok(Value::Span(a.as_nanosecond() - b.as_nanosecond())),
        (Add, Value::Span(a), Value::Span(b)) => a.checked_add(b).map(Value::Span).ok_or(What::Range),
        (Subtract, Value::Span(a), Value::Span(b)) => a.checked_sub(b).map(Value::Span).ok_or(What::Range),
        (_, left, right) => Err(if left.kind() == right.kind() {
            What::Calculation
        } else {
            What::Unlike(left.kind(), right.kind())
        }),
    }
}
