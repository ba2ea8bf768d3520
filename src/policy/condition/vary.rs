//! Other arguments on which a condition may come to something else. They are proposals: whether one changes anything is
//! found out by deciding with it.

use super::{
    Condition,
    function::Function,
    node::{Constant, Node, Op, Relation},
    number::Number,
};
use crate::model::{
    pointer::{Pointer, escape},
    weight::weight,
};
use serde_json::Value as Json;

/// Proposals of one condition.
const MOST: usize = 64;
/// The longest text that is made for a condition on a length, and the most items of a list.
const LONGEST: usize = 4_096;
/// What such a list may weigh: one item of an agent's, thousands of times, would be far more than it sent.
const HEAVIEST: usize = 512 << 10;
/// Stands for what an author left open.
const EXAMPLE: &str = "example";

/// Another value of one argument.
#[derive(Clone, Debug, PartialEq)]
pub struct Variation {
    /// Where.
    pub at: Pointer,
    /// What stands there instead; `None`: nothing.
    pub value: Option<Json>,
    /// In words, as part of a sentence: "args.path were within /scratch".
    pub words: String,
}

impl Condition {
    /// What could stand in the arguments instead. `arguments` are those of the call as they may be shown.
    pub fn variations(&self, arguments: &Json) -> Vec<Variation> {
        let mut made = Made { source: self.source(), arguments, found: Vec::new() };
        made.walk(&self.0.root);
        made.found
    }
}

struct Made<'m> {
    source: &'m str,
    arguments: &'m Json,
    found: Vec<Variation>,
}

impl Made<'_> {
    fn add(&mut self, node: &Node, value: Option<Json>, words: &str) {
        let Some(at) = pointer(node) else { return };
        let same = at.get(self.arguments) == value.as_ref();
        let name = node.at.of(self.source);
        let words = format!("{name} {words}");
        let known = self.found.iter().any(|known| known.at == at && known.value == value);
        if !same && !known && self.found.len() < MOST {
            self.found.push(Variation { at, value, words });
        }
    }

    fn current(&self, node: &Node) -> Option<&Json> {
        pointer(node)?.get(self.arguments)
    }

    fn walk(&mut self, node: &Node) {
        match &node.op {
            Op::And(left, right) | Op::Or(left, right) => {
                self.walk(left);
                self.walk(right);
            }
            Op::Not(of) => self.walk(of),
            Op::If(parts) => parts.iter().for_each(|part| self.walk(part)),
            Op::Equal(left, right) | Op::Unequal(left, right) => self.equal(left, right),
            Op::IsNull(of) | Op::NotNull(of) => self.add(of, Some(Json::Null), "were null"),
            Op::Order(relation, left, right) => match (number(left), number(right)) {
                (None, Some(bound)) => self.order(*relation, left, bound),
                (Some(bound), None) => self.order(turned(*relation), right, bound),
                (Some(_), Some(_)) | (None, None) => {}
            },
            Op::OneOf(needle, all) => {
                let values: Vec<Json> = all.iter().filter_map(constant).collect();
                for value in values.iter().take(4) {
                    self.add(needle, Some(value.clone()), &format!("were {}", written(value)));
                }
                self.other(needle, &values);
            }
            Op::In(needle, list) => {
                if let Op::List(all) = &list.op {
                    let values: Vec<Json> = all.iter().filter_map(constant).collect();
                    for value in values.iter().take(4) {
                        self.add(needle, Some(value.clone()), &format!("were {}", written(value)));
                    }
                    self.other(needle, &values);
                } else if let (Some(value), Some(Json::Array(items))) =
                    (constant(needle), self.current(list).cloned())
                {
                    let kept: Vec<Json> = items.iter().filter(|item| **item != value).cloned().collect();
                    let with = kept.iter().cloned().chain([value.clone()]).collect();
                    self.add(list, Some(Json::Array(with)), &format!("held {}", written(&value)));
                    self.add(list, Some(Json::Array(kept)), &format!("did not hold {}", written(&value)));
                }
            }
            Op::Has(of, name) => {
                if let Some(above) = pointer(of)
                    && let Ok(at) = Pointer::parse(&format!("{}/{}", above.as_str(), escape(name)))
                    && at.get(self.arguments).is_some()
                {
                    let words = format!("{}.{name} were left out", of.at.of(self.source));
                    self.found.push(Variation { at, value: None, words });
                }
            }
            Op::Call(function, arguments) => self.call(*function, arguments),
            Op::Glob(of, glob) => {
                let made = glob.as_str().replace("**", EXAMPLE).replace('*', EXAMPLE);
                self.add(of, Some(Json::String(made)), &format!("matched {}", glob.as_str()));
                self.add(of, Some(EXAMPLE.into()), &format!("did not match {}", glob.as_str()));
            }
            Op::Member(..) | Op::Index(..) => {
                if let Some(Json::Bool(now)) = self.current(node) {
                    let other = !*now;
                    self.add(node, Some(Json::Bool(other)), &format!("were {other}"));
                }
            }
            Op::Const(_)
            | Op::Fact(_)
            | Op::Args
            | Op::Item
            | Op::HasFact(_)
            | Op::Calculate(..)
            | Op::Negate(_)
            | Op::Rank(_)
            | Op::PartIn(..)
            | Op::List(_)
            | Op::Matches(..)
            | Op::Loop(..) => {}
        }
    }

    fn equal(&mut self, left: &Node, right: &Node) {
        let (of, value) = match (constant(left), constant(right)) {
            (None, Some(value)) => (left, value),
            (Some(value), None) => (right, value),
            (Some(_), Some(_)) | (None, None) => return,
        };
        if let Op::Call(Function::Size, arguments) = &of.op
            && let (Some(node), Some(size)) = (arguments.first(), value.as_u64())
        {
            for size in [Some(size), size.checked_add(1)].into_iter().flatten() {
                self.sized(node, size);
            }
            return;
        }
        self.add(of, Some(value.clone()), &format!("were {}", written(&value)));
        self.other(of, &[value]);
    }

    /// Something that is none of these.
    fn other(&mut self, of: &Node, values: &[Json]) {
        let other = match values.first() {
            Some(Json::String(_)) => Json::from(EXAMPLE),
            Some(Json::Bool(bool)) => Json::Bool(!bool),
            Some(Json::Number(_)) => {
                let most = values.iter().filter_map(Json::as_i64).max();
                match most.and_then(|most| most.checked_add(1)) {
                    Some(more) => Json::from(more),
                    None => return,
                }
            }
            Some(Json::Null | Json::Array(_) | Json::Object(_)) | None => return,
        };
        let all: Vec<String> = values.iter().take(4).map(written).collect();
        self.add(of, Some(other), &format!("were not {}", all.join(" or ")));
    }

    fn order(&mut self, relation: Relation, of: &Node, bound: i128) {
        let (least, most) = (bound.saturating_sub(1), bound.saturating_add(1));
        let (inside, outside) = match relation {
            Relation::Less => ((least, "below"), (bound, "at least")),
            Relation::LessEqual => ((bound, "at most"), (most, "above")),
            Relation::Greater => ((most, "above"), (bound, "at most")),
            Relation::GreaterEqual => ((bound, "at least"), (least, "below")),
        };
        for (value, words) in [inside, outside] {
            if let Op::Call(Function::Size, arguments) = &of.op
                && let (Some(node), Ok(size)) = (arguments.first(), u64::try_from(value))
            {
                self.sized(node, size);
            } else if let Ok(value) = i64::try_from(value) {
                self.add(of, Some(Json::from(value)), &format!("were {words} {bound}"));
            }
        }
    }

    fn sized(&mut self, of: &Node, size: u64) {
        let Some(size) = usize::try_from(size).ok().filter(|size| *size <= LONGEST) else { return };
        let made = match self.current(of) {
            Some(Json::String(_)) => Json::String("x".repeat(size)),
            Some(Json::Array(items)) => {
                let Some(first) = items.first().cloned().or_else(|| (size == 0).then_some(Json::Null)) else {
                    return;
                };
                if weight(&first, HEAVIEST).saturating_mul(size) > HEAVIEST {
                    return;
                }
                Json::Array(items.iter().cloned().chain(std::iter::repeat(first)).take(size).collect())
            }
            Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_)) | None => return,
        };
        self.add(of, Some(made), &format!("had a size of {size}"));
    }

    fn call(&mut self, function: Function, arguments: &[Node]) {
        let [of, with] = arguments else { return };
        let Some(Json::String(text)) = constant(with) else { return };
        let other = Some(Json::from(EXAMPLE));
        match function {
            Function::Within => {
                let name = self.current(of).and_then(Json::as_str).and_then(|path| path.rsplit('/').next());
                let plain = |name: &&str| {
                    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
                    !name.is_empty() && name.len() <= 40 && !name.starts_with('.') && name.chars().all(fits)
                };
                let name = name.filter(plain).unwrap_or(EXAMPLE).to_owned();
                let root = text.trim_end_matches('/');
                let inside = format!("{root}/{name}");
                self.add(of, Some(inside.into()), &format!("were within {text}"));
                let outside = match text.find("://") {
                    Some(scheme) => format!("{}:///elsewhere/{name}", text.get(..scheme).unwrap_or_default()),
                    None => format!("/elsewhere/{name}"),
                };
                self.add(of, Some(outside.into()), &format!("were outside {text}"));
            }
            Function::StartsWith => {
                self.add(of, Some(format!("{text}{EXAMPLE}").into()), &format!("began with '{text}'"));
                self.add(of, other, &format!("did not begin with '{text}'"));
            }
            Function::EndsWith => {
                self.add(of, Some(format!("{EXAMPLE}{text}").into()), &format!("ended with '{text}'"));
                self.add(of, other, &format!("did not end with '{text}'"));
            }
            Function::Contains => {
                self.add(of, Some(text.as_str().into()), &format!("contained '{text}'"));
                self.add(of, other, &format!("did not contain '{text}'"));
            }
            Function::Size
            | Function::Glob
            | Function::Host
            | Function::Int
            | Function::Uint
            | Function::Double
            | Function::Text
            | Function::Bool
            | Function::Bytes
            | Function::Timestamp
            | Function::Duration
            | Function::TypeOf
            | Function::Dyn
            | Function::Part(..) => {}
        }
    }
}

/// The place in the arguments that an expression names.
fn pointer(node: &Node) -> Option<Pointer> {
    let text = path(node)?;
    (!text.is_empty()).then(|| Pointer::parse(&text).ok()).flatten()
}

fn path(node: &Node) -> Option<String> {
    match &node.op {
        Op::Args => Some(String::new()),
        Op::Member(of, name) => Some(format!("{}/{}", path(of)?, escape(name))),
        Op::Index(of, index) => match (&index.op, path(of)?) {
            (Op::Const(Constant::Text(name)), above) => Some(format!("{above}/{}", escape(name))),
            (Op::Const(Constant::Number(Number::Whole(index))), above) => Some(format!("{above}/{index}")),
            _ => None,
        },
        _ => None,
    }
}

fn number(node: &Node) -> Option<i128> {
    match &node.op {
        Op::Const(Constant::Number(Number::Whole(whole))) => Some(*whole),
        _ => None,
    }
}

fn constant(node: &Node) -> Option<Json> {
    match &node.op {
        Op::Const(Constant::Null) => Some(Json::Null),
        Op::Const(Constant::Bool(bool)) => Some(Json::Bool(*bool)),
        Op::Const(Constant::Text(text)) => Some(Json::String(text.to_string())),
        Op::Const(Constant::Number(number)) => number.to_string().parse().ok().map(Json::Number),
        _ => None,
    }
}

/// The relation with its sides exchanged.
fn turned(relation: Relation) -> Relation {
    match relation {
        Relation::Less => Relation::Greater,
        Relation::LessEqual => Relation::GreaterEqual,
        Relation::Greater => Relation::Less,
        Relation::GreaterEqual => Relation::LessEqual,
    }
}

fn written(value: &Json) -> String {
    match value {
        Json::String(text) => format!("'{text}'"),
        other => other.to_string(),
    }
}
