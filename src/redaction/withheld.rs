//! Masks for whoever may see what happened, and not with which values.

use crate::model::ASKS;
use serde_json::Value;

/// What stands in a value's place. Names of members stay, where they look like names; what is in lists and objects is looked
/// through, so that one sees how much there is.
#[must_use]
pub fn withheld(value: &Value) -> Value {
    let mask = |kind: &str, length: usize| Value::String(format!("[withheld:{kind}:{length}]"));
    match value {
        Value::Null => mask("null", 1),
        Value::Bool(_) => mask("boolean", 1),
        Value::Number(number) => mask("number", number.to_string().len()),
        Value::String(text) => mask("string", text.chars().count()),
        Value::Array(items) => Value::Array(items.iter().map(withheld).collect()),
        Value::Object(members) => {
            let told =
                |(at, (name, value)): (usize, (&String, &Value))| (member_name(at, name), withheld(value));
            Value::Object(members.iter().enumerate().map(told).collect())
        }
    }
}

/// A map's keys may be values too: what no parameter would be called is not told.
fn member_name(at: usize, name: &str) -> String {
    let is_name = name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if is_name { name.to_owned() } else { format!("[withheld:name:{}:{at}]", name.chars().count()) }
}

/// A sentence in which URIs have neither query nor fragment: in quotes up to their end, else up to a space.
#[must_use]
pub fn without_queries(text: &str) -> String {
    let is_quote = |c: char| matches!(c, '`' | '"' | '\'');
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, mark, query)) =
        rest.find(ASKS).and_then(|at| Some((rest.get(..at)?, rest.get(at..at + 1)?, rest.get(at + 1..)?)))
    {
        let is_begin = |c: char| c.is_whitespace() || is_quote(c) || c == '(';
        let word = before.rsplit(is_begin).next().unwrap_or(before);
        let ahead = before.strip_suffix(word).and_then(|ahead| ahead.chars().next_back());
        let end = match ahead.filter(|c| is_quote(*c)) {
            Some(quote) => query.find(quote),
            None => query.find(|c: char| c.is_whitespace() || is_quote(c) || c == ')'),
        };
        let (asked, after) = query.split_at(end.unwrap_or(query.len()));
        out.push_str(before);
        out.push_str(mark);
        if word.contains(':') && !asked.is_empty() && !asked.starts_with("[withheld:") {
            let bare = asked.trim_end_matches([',', '.', ';']);
            out.push_str(&format!("[withheld:string:{}]", bare.chars().count()));
            rest = query.split_at(bare.len()).1;
        } else {
            out.push_str(asked);
            rest = after;
        }
    }
    out + rest
}

/// What stands where words were cut off.
const CUT: &str = " (its words are withheld)";

/// A reason without what an external check said: it was told the values.
#[must_use]
pub fn without_said(reason: &str) -> String {
    const CHECK: &str = "the external check `";
    const SAYS: &str = "` says";
    let says = reason.find(CHECK).and_then(|at| {
        let from = at + CHECK.len();
        let says = from + reason.get(from..)?.find(SAYS)? + SAYS.len();
        reason.get(says..)?.starts_with(": ").then_some(says)
    });
    match says.and_then(|at| reason.get(..at)) {
        Some(ours) => format!("{ours} something{CUT}"),
        None => reason.to_owned(),
    }
}

/// What of the reason why a dispatched call failed is ours: the rest is the words of its upstream, which had the values. What is not
/// known to be ours is not told.
#[must_use]
pub fn own_words(reason: &str) -> String {
    /// After these stands nothing but what we say.
    const WHOLE: &[&str] = &[
        "no answer within ",
        "the result is larger than ",
        "the caller went away",
        "the gateway failed inside",
        "the upstream asks for input",
        "the upstream made a task of the call that nobody could ask for",
        "the answers to the upstream's questions were withheld by the data policy",
        "the client did not answer the upstream's question",
        "it ended with error ",
        "frozen (",
    ];
    /// After these stands what others say.
    const BEFORE: &[&str] = &[
        "the upstream answered with something that is not MCP",
        "the connection was lost",
        "the connection broke",
        "the connection ended while it listed",
        "the process is gone",
        "the stream ended before the answer",
        "the event stream ended before the answer",
        "the event stream is gone",
        "the session is gone over there",
        "the session cannot be renewed",
        "not connected",
        "not reachable",
    ];
    if WHOLE.iter().any(|ours| reason.starts_with(ours)) {
        return reason.to_owned();
    }
    let cut = |ours: &str| match reason.len() > ours.len() {
        true => format!("{ours}{CUT}"),
        false => ours.to_owned(),
    };
    for numbered in ["the upstream answered with error ", "the upstream answered with HTTP status "] {
        if let Some(rest) = reason.strip_prefix(numbered) {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit()).len();
            return cut(reason.get(..numbered.len() + digits).unwrap_or(numbered));
        }
    }
    match BEFORE.iter().find(|ours| reason.starts_with(**ours)) {
        Some(ours) => cut(ours),
        None => format!("[withheld:string:{}]", reason.chars().count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::without_query;
    use serde_json::json;

    #[test]
    fn a_value_is_told_by_kind_and_length() {
        let value = json!({"path": "/a/é", "n": 12.5, "deep": [{"on": true}, null], "a secret key": 1});
        assert_eq!(
            withheld(&value),
            json!({
                "path": "[withheld:string:4]",
                "n": "[withheld:number:4]",
                "deep": [{"on": "[withheld:boolean:1]"}, "[withheld:null:1]"],
                "[withheld:name:12:3]": "[withheld:number:1]",
            })
        );
        assert_eq!(without_query("https://h/find?q=secret"), "https://h/find?[withheld:string:8]");
        assert_eq!(without_query("files__read"), "files__read");
    }

    #[test]
    fn words_of_others_are_cut_off() {
        let check = |reason: &str, told: &str| assert_eq!(own_words(reason), told);
        check(
            "the upstream answered with error -32000: pin 4711",
            "the upstream answered with error -32000 (its words are withheld)",
        );
        check("the upstream answered with error 5", "the upstream answered with error 5");
        check(
            "the upstream answered with HTTP status 429 Too Many; it says: 4711",
            "the upstream answered with HTTP status 429 (its words are withheld)",
        );
        check("the connection broke: 4711", "the connection broke (its words are withheld)");
        check("no answer within 3s", "no answer within 3s");
        check("4711", "[withheld:string:4]");
        let said = |reason: &str, told: &str| assert_eq!(without_said(reason), told);
        said(
            "denied by `g`: the external check `pii` says: 4711",
            "denied by `g`: the external check `pii` says something (its words are withheld)",
        );
        said("denied: the external check `pii` says so", "denied: the external check `pii` says so");
        let queries = |text: &str, told: &str| assert_eq!(without_queries(text), told);
        queries(
            "calls of `https://h/a?q=1` failed, why?",
            "calls of `https://h/a?[withheld:string:3]` failed, why?",
        );
        queries(
            "calls of `https://h/a?q=1 2`, `https://h/b?c`",
            "calls of `https://h/a?[withheld:string:5]`, `https://h/b?[withheld:string:1]`",
        );
        queries("tool:https://h/a?q=1", "tool:https://h/a?[withheld:string:3]");
        queries("x:a?[withheld:string:3] told", "x:a?[withheld:string:3] told");
        queries("calls of `https://h/a#q?1` failed", "calls of `https://h/a#[withheld:string:3]` failed");
        queries("urn:a#alice@example.com, told", "urn:a#[withheld:string:17], told");
        queries("x:a#[withheld:string:3] of ticket #5", "x:a#[withheld:string:3] of ticket #5");
    }
}
