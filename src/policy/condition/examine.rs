//! What each part of a condition comes to on a call: for people who ask why a rule applies or does not.

use super::{
    Condition, Hidden, Surroundings,
    eval::{Evaluation, Fault},
    kind::What,
    node::{Node, Op},
    value::{List, Value},
};
use crate::{policy::Facts, redaction::display_text};
use serde::Serialize;

/// Parts of one condition that are looked into; each is evaluated by itself.
const MOST_PARTS: usize = 64;
/// The longest value that is shown, in characters.
const LONGEST_VALUE: usize = 120;
/// Elements of a list that are shown.
const MOST_ELEMENTS: usize = 8;

/// What a condition, or a part of one, came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Came {
    /// It is true of the call.
    True,
    /// It is not.
    False,
    /// It has no answer, which denies.
    Error,
    /// The record has a mask in place of what it depends on.
    Masked,
}

/// One part of a condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// As written.
    pub text: String,
    /// What it came to.
    pub result: Came,
    /// Why it has no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What a comparison reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<ReadValue>,
    /// The operands of `&&`, `||`, `!` and `?`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

/// A value that a condition reads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReadValue {
    /// How the condition names it.
    pub name: String,
    /// The value as it may be shown, like `'text'`, `7` or `masked`.
    pub value: String,
}

/// What a condition is examined on.
#[derive(Clone, Copy, Debug)]
pub struct Examined<'e> {
    /// What was decided on. Of a recorded call the same as `shown`.
    pub facts: &'e Facts,
    /// The same as it may be shown: with masks in place of sensitive values.
    pub shown: &'e Facts,
    /// The masked places of `shown`.
    pub hidden: &'e Hidden<'e>,
    /// `facts` have masks too: an answer that depends on them is none.
    pub is_recorded: bool,
    /// `env` and `capability`
    pub around: Surroundings<'e>,
}

impl Condition {
    /// The condition with its parts and their values.
    pub fn examine(&self, on: &Examined<'_>) -> Part {
        let mut left = MOST_PARTS;
        Examination { source: self.source(), on }.part(&self.0.root, &mut left)
    }
}

struct Examination<'x> {
    source: &'x str,
    on: &'x Examined<'x>,
}

impl Examination<'_> {
    fn text(&self, node: &Node) -> String {
        node.at.of(self.source).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn part(&self, node: &Node, left: &mut usize) -> Part {
        *left = left.saturating_sub(1);
        let (result, error) = self.came(node);
        let mut part = Part { text: self.text(node), result, error, values: Vec::new(), parts: Vec::new() };
        if *left == 0 {
            return part;
        }
        let mut operands = Vec::new();
        match &node.op {
            Op::And(..) | Op::Or(..) => flat(node, matches!(node.op, Op::And(..)), &mut operands),
            // What is negated says the same again, unless it has parts of its own.
            Op::Not(of) if matches!(of.op, Op::And(..) | Op::Or(..) | Op::Not(_) | Op::If(_)) => {
                operands.push(of)
            }
            Op::If(parts) => {
                let [condition, yes, no] = &**parts;
                operands.push(condition);
                // The other branch is not looked at.
                match self.came(condition).0 {
                    Came::True => operands.push(yes),
                    Came::False => operands.push(no),
                    Came::Error | Came::Masked => {}
                }
            }
            _ => {
                let mut reads = Vec::new();
                collect(node, &mut reads);
                // What the part itself comes to is said, of a negated one too.
                let own = if let Op::Not(of) = &node.op { &**of } else { node };
                for read in reads.into_iter().filter(|read| !std::ptr::eq(*read, own)) {
                    let name = self.text(read);
                    if part.values.iter().all(|known| known.name != name) {
                        part.values.push(ReadValue { name, value: self.value(read) });
                    }
                }
            }
        }
        part.parts = operands.into_iter().map(|operand| self.part(operand, left)).collect();
        part
    }

    fn came(&self, node: &Node) -> (Came, Option<String>) {
        let on = self.on;
        let truth = match on.is_recorded {
            true => Evaluation::of_recorded(on.shown, on.around, on.hidden).truth(node, None),
            false => Evaluation::new(on.facts, on.around).truth(node, None),
        };
        match truth {
            Ok(true) => (Came::True, None),
            Ok(false) => (Came::False, None),
            Err(Fault { what: What::Masked, .. }) => (Came::Masked, None),
            Err(fault) => (Came::Error, Some(fault.told(self.source).to_string())),
        }
    }

    /// A value as it may be shown. A part of the arguments is shown as it is recorded; what is calculated of a masked value
    /// would be no value of the call.
    fn value(&self, node: &Node) -> String {
        let on = self.on;
        let evaluation = match is_plain(node) {
            true => Evaluation::new(on.shown, on.around),
            false => Evaluation::of_recorded(on.shown, on.around, on.hidden),
        };
        match evaluation.value(node, None) {
            Ok(value) => shown(&value),
            Err(Fault { what: What::Missing | What::NoWorkflow | What::NoUser, .. }) => "missing".to_owned(),
            Err(Fault { what: What::Masked, .. }) => "masked".to_owned(),
            Err(_) => "no value".to_owned(),
        }
    }
}

/// The operands of a chain of `&&`, or of `||`.
fn flat<'n>(node: &'n Node, and: bool, operands: &mut Vec<&'n Node>) {
    match (&node.op, and) {
        (Op::And(left, right), true) | (Op::Or(left, right), false) => {
            flat(left, and, operands);
            flat(right, and, operands);
        }
        _ => operands.push(node),
    }
}

/// A fact, or a part of the arguments that is named without calculating.
fn is_plain(node: &Node) -> bool {
    match &node.op {
        Op::Fact(_) | Op::Args => true,
        Op::Member(of, _) => is_plain(of),
        Op::Index(of, index) => is_plain(of) && matches!(index.op, Op::Const(_)),
        _ => false,
    }
}

/// What an expression reads, the outermost names only: `args.a.b` is one. What is calculated from them is a value too.
fn collect<'n>(node: &'n Node, found: &mut Vec<&'n Node>) {
    if is_plain(node) {
        found.push(node);
        return;
    }
    match &node.op {
        Op::Const(_) | Op::Fact(_) | Op::Args | Op::Item | Op::HasFact(_) => {}
        // Of what is asked for the whole is not told.
        Op::Has(of, _) if is_plain(of) => {}
        Op::Member(of, _) | Op::Has(of, _) => collect(of, found),
        Op::Not(of)
        | Op::IsNull(of)
        | Op::NotNull(of)
        | Op::Rank(of)
        | Op::Matches(of, _)
        | Op::Glob(of, _) => {
            collect(of, found);
        }
        Op::Negate(of) | Op::PartIn(of, ..) => {
            found.push(node);
            collect(of, found);
        }
        Op::Index(of, index) => {
            collect(of, found);
            collect(index, found);
        }
        Op::And(left, right)
        | Op::Or(left, right)
        | Op::Equal(left, right)
        | Op::Unequal(left, right)
        | Op::Order(_, left, right)
        | Op::In(left, right) => {
            collect(left, found);
            collect(right, found);
        }
        Op::Calculate(_, left, right) => {
            found.push(node);
            collect(left, found);
            collect(right, found);
        }
        Op::OneOf(needle, all) => {
            collect(needle, found);
            all.iter().for_each(|one| collect(one, found));
        }
        Op::List(all) => all.iter().for_each(|one| collect(one, found)),
        Op::If(parts) => parts.iter().for_each(|one| collect(one, found)),
        Op::Call(_, arguments) => {
            let before = found.len();
            arguments.iter().for_each(|one| collect(one, found));
            if found.len() > before {
                found.insert(before, node);
            }
        }
        // The variable of the loop has a value for each element.
        Op::Loop(_, parts) => collect(&parts.over, found),
    }
}

fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Absent => "absent".to_owned(),
        Value::Present => "present".to_owned(),
        Value::Bool(bool) => bool.to_string(),
        Value::Number(number) => display_text(&number.to_string(), LONGEST_VALUE),
        Value::Text(text) => format!("'{}'", display_text(text, LONGEST_VALUE)),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Value::Time(time) => time.to_string(),
        Value::Span(nanoseconds) => format!("{}ms", nanoseconds / 1_000_000),
        Value::List(list) => elements(list),
        Value::Map(map) => {
            let text = serde_json::to_string(map).unwrap_or_default();
            display_text(&text, LONGEST_VALUE)
        }
        Value::Kind(kind) => kind.phrase().to_owned(),
    }
}

fn elements(list: &List<'_>) -> String {
    let one = |index| match list.get(index) {
        Some(Ok(value @ (Value::List(_) | Value::Map(_)))) => value.kind().phrase().to_owned(),
        Some(Ok(value)) => shown(&value),
        Some(Err(_)) | None => "no value".to_owned(),
    };
    let mut all: Vec<String> = (0..list.len().min(MOST_ELEMENTS)).map(one).collect();
    match list.len().checked_sub(MOST_ELEMENTS) {
        None | Some(0) => {}
        Some(more) => all.push(format!("{more} more")),
    }
    format!("[{}]", all.join(", "))
}
