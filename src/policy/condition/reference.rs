//! What conditions may say, as docs/reference/policy-language.md shows it. Names, types and ways of calling are those that the
//! checker goes by; each fact and each function has its sentence here, or this does not compile; each example is compiled.

use super::{
    Condition,
    fact::Fact,
    function::{self, FUNCTIONS, Function},
    time::Part,
    types::{NAMES, Named, Record, Type, named, words},
};
use std::fmt::Write as _;

/// Operators, what they do, and an example. The last ones are tried as conditions.
const OPERATORS: &[(&str, &str, &str)] = &[
    (
        "`&&` `||` `!`",
        "and, or, not. What stands behind is not evaluated where what stands before has settled it",
        "tool.read_only && !tool.open_world",
    ),
    (
        "`==` `!=`",
        "equal, unequal. Numbers compare exactly, whatever their kind. Unlike types are an error",
        "env == 'production'",
    ),
    (
        "`<` `<=` `>` `>=`",
        "order of numbers, texts, times and durations; of `data.level` by how sensitive it is",
        "cost.estimate_usd > 0.50",
    ),
    ("`in`", "a member of a list, or a key of an object", "'restricted' in session.labels"),
    ("`+` `-` `*` `/` `%`", "arithmetic; `+` joins texts and lists", "call.repeats * 2 > 10"),
    ("`x ? y : z`", "`y` if `x` is true, else `z`", "has(args.limit) ? args.limit <= 50 : true"),
    (
        "`a.b` `a['b']` `a[0]`",
        "a member, an element. What is not there is an error",
        "args.files[0].path.endsWith('.md')",
    ),
];

/// Macros and what the checker knows by itself: the name, how it is called, what it does, an example.
const OWN: &[(&str, &str, &str, &str)] = &[
    ("has", "`has(args.x)`", "whether it is there", "has(args.path)"),
    (
        "all",
        "`list.all(item, condition)`",
        "whether it holds for every element",
        "args.to.all(address, address.endsWith('@acme.example'))",
    ),
    (
        "exists",
        "`list.exists(item, condition)`",
        "whether it holds for one element or more",
        "data.findings.exists(finding, finding == 'email')",
    ),
    (
        "exists_one",
        "`list.exists_one(item, condition)`",
        "whether it holds for exactly one",
        "tool.labels.exists_one(label, label == 'write')",
    ),
    ("map", "`list.map(item, value)`", "a list of what becomes of each", "'a' in args.names.map(name, name)"),
    (
        "filter",
        "`list.filter(item, condition)`",
        "the elements for which it holds",
        "size(args.to.filter(address, !address.endsWith('@acme.example'))) == 0",
    ),
    (
        "matches",
        "`text.matches('pattern')`",
        "whether a regular expression finds something; the pattern is a literal",
        "args.path.matches('^/notes/[a-z]+[.]md$')",
    ),
];

const LIMITS: &str = "\
A condition is checked when the file is read: a name that is no fact, an unknown function and a comparison of unlike types are errors with \
their place. `args` has no types until a call comes: a member that is missing, or another type than the condition expects, is an error then, \
and the call is denied with a reason that says so. `has()` asks first.

A fact that can be null (`user`, `workflow`, `capability`, `agent.operator`, `workflow.owner`) may be compared with null and with its type. The \
fields of a `user` or `workflow` that a call does not have are missing. Loops are not nested. There are no map literals. A time zone is a literal; \
its rules are read when the bundle is loaded and are part of its snapshot. A condition takes at most 1,000,000 steps, and 10,000 elements of a \
list; beyond that it is an error.
";

fn meaning(fact: Fact) -> &'static str {
    match fact {
        Fact::AgentId => "the agent's name in authority.yaml",
        Fact::AgentType => "its `type`",
        Fact::AgentRole => "its `role`",
        Fact::AgentTenant => "its `tenant`",
        Fact::AgentOwner => "who answers for it",
        Fact::AgentOperator => "the person at its client",
        Fact::AgentAutonomy => "`supervised`, `autonomous` or `suggest_only`",
        Fact::AgentAttended => "whether its operator answers in its client",
        Fact::User => "the person whom the agent acts for",
        Fact::UserId => "that person's name",
        Fact::UserGroups => "their groups",
        Fact::Workflow => "the workflow of the call",
        Fact::WorkflowId => "its name",
        Fact::WorkflowOwner => "who answers for it",
        Fact::Env => "`[gateway] environment`",
        Fact::Capability => "the capability that lets the call through",
        Fact::ToolName => "the name that agents see; empty for resources and prompts, as are the others",
        Fact::ToolUpstream => "its server",
        Fact::ToolAction => "its action",
        Fact::ToolLabels => "labels of the tool and its server",
        Fact::ToolReadOnly => "it changes nothing",
        Fact::ToolDestructive => "it may destroy something",
        Fact::ToolIdempotent => "a repeat changes nothing more",
        Fact::ToolOpenWorld => "it reaches beyond its server",
        Fact::ToolFingerprint => "a hash of what its server lists of it",
        Fact::ToolPinned => "whether it is as it was pinned",
        Fact::CallKind => "`tool`, `resource` or `prompt`",
        Fact::CallRepeats => "identical calls of the agent in the last 60 s that came to this process",
        Fact::CallSize => "bytes of the arguments",
        Fact::CostEstimate => "what the call is estimated to cost",
        Fact::CostTokens => "tokens that it is estimated to take",
        Fact::DataLevel => {
            "the highest level of what the arguments hold: `public`, `internal`, `confidential`, `restricted`"
        }
        Fact::DataLabels => "classes of what the arguments hold",
        Fact::DataFindings => "detectors that found something in them",
        Fact::SessionLabels => "classes and levels of data that have reached the caller",
        Fact::Now => "when the call came",
    }
}

fn effect(function: Function) -> &'static str {
    match function {
        Function::Size => "length: characters, bytes, elements or members",
        Function::Contains => "whether the text has the part",
        Function::StartsWith => "whether the text begins so",
        Function::EndsWith => "whether the text ends so",
        Function::Glob => "whether the text fits the pattern: `*` is anything but `/`, `**` anything",
        Function::Within => {
            "whether the path lies below the root, once dots and escapes are resolved; a path that parsers read differently is an error"
        }
        Function::Host => "the host of a URL, in lower case; a URL that parsers read differently is an error",
        Function::Int => "a whole number, cut towards zero",
        Function::Uint => "the same, not below zero",
        Function::Double => "a number",
        Function::Text => "a text",
        Function::Bool => "true or false, of a text `true` or `false`",
        Function::Bytes => "the bytes of a text",
        Function::Timestamp => "a time, of a text (RFC 3339) or of seconds since 1970",
        Function::Duration => "a duration, of a text",
        Function::TypeOf => {
            "the type, to compare with `int`, `double`, `string`, `bool`, `bytes`, `list`, `map` or `null_type`"
        }
        Function::Dyn => "the same value, whose type is not checked when the file is read",
        Function::Part(part) => match part {
            Part::FullYear => "the year",
            Part::Month => "the month, from 0",
            Part::Date => "the day of the month, from 1",
            Part::DayOfMonth => "the day of the month, from 0",
            Part::DayOfWeek => "the day of the week; Sunday is 0",
            Part::DayOfYear => "the day of the year, from 0",
            Part::Hours => "the hour; of a duration all its hours, as for the following",
            Part::Minutes => "the minute",
            Part::Seconds => "the second",
            Part::Milliseconds => "the millisecond",
        },
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn compiles(example: &str) {
    Condition::compile(example).unwrap_or_else(|error| panic!("`{example}`: {error}"));
}

/// The section.
pub(crate) fn section() -> String {
    let mut made =
        String::from("A condition is a [CEL](https://cel.dev) expression that is true or false.\n\n");
    made.push_str(LIMITS);
    made.push_str("\n### Facts\n\n| fact | type | what it is |\n|---|---|---|\n");
    let mut row = |name: &str, fact: Fact, type_: String| {
        writeln!(made, "| `{name}` | {type_} | {} |", meaning(fact)).unwrap();
    };
    let fields = |record: Record, row: &mut dyn FnMut(&str, Fact, String)| {
        for field in words(record.fields()) {
            let (fact, type_) = record.field(field).unwrap_or_else(|| panic!("{}.{field}", record.name()));
            row(&format!("{}.{field}", record.name()), fact, type_.phrase());
        }
    };
    for name in words(NAMES) {
        match named(name).unwrap_or_else(|| panic!("`{name}` is told and is none")) {
            Named::Fact(fact, type_) => {
                row(name, fact, type_.phrase());
                if fact == Fact::User {
                    fields(Record::User, &mut row);
                }
            }
            Named::Record(Record::Workflow) => {
                row(name, Fact::Workflow, "its fields, or null".into());
                fields(Record::Workflow, &mut row);
            }
            Named::Record(record) => fields(record, &mut row),
            Named::Args => continue,
        }
    }
    made.push_str("| `args` | known when a call comes | the arguments of a tool or prompt; of a resource `args.uri` |\n");
    made.push_str("\n### Operators\n\n| operator | what it does | example |\n|---|---|---|\n");
    for (operator, does, example) in OPERATORS {
        compiles(example);
        writeln!(made, "| {} | {does} | `{}` |", cell(operator), cell(example)).unwrap();
    }
    made.push_str("\n### Functions\n\n| function | called | gives | what it does |\n|---|---|---|---|\n");
    for name in words(FUNCTIONS) {
        if let Some(signature) = function::find(name) {
            let usage = signature.usage;
            let gives = match signature.result {
                Type::Dyn => "any value".to_owned(),
                of => of.phrase(),
            };
            let usage = match signature.function {
                Function::Part(_) => format!("`now.{name}()`, `now.{name}('Europe/Berlin')`"),
                _ => usage.to_owned(),
            };
            writeln!(made, "| `{name}` | {usage} | {gives} | {} |", effect(signature.function)).unwrap();
        } else {
            let (_, usage, does, example) = OWN
                .iter()
                .find(|(own, ..)| *own == name)
                .unwrap_or_else(|| panic!("`{name}` is not described"));
            compiles(example);
            writeln!(made, "| `{name}` | {usage} | | {does}: `{}` |", cell(example)).unwrap();
        }
    }
    made
}
