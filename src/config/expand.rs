//! `${NAME}` and `${NAME:-default}` in servers.toml; `$${` stands for a literal `${`.

use crate::policy::{
    read::short,
    source::{Node, Report},
};

/// Reads a variable of the environment.
pub(super) type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Expands a text of servers.toml. What is missing is reported with its place, and `None` is given.
/// No message shows what a variable holds.
pub(super) fn expand(node: &Node, text: &str, env: Env<'_>, report: &mut Report<'_>) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut good = true;
    while let Some(at) = rest.find("${") {
        let (before, tail) = rest.split_at_checked(at)?;
        let (_, inner) = tail.split_at_checked(2)?;
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            rest = inner;
            continue;
        }
        out.push_str(before);
        let offset = text.get(..text.len() - tail.len()).map_or(0, |head| head.chars().count());
        let Some((reference, next)) = inner.split_once('}') else {
            let at = report.inside(node, offset);
            report.error(at, "`${` has no end", "${NAME}, ${NAME:-default}, or $${ for a literal ${");
            return None;
        };
        rest = next;
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if !is_name(name) {
            let at = report.inside(node, offset);
            report.error(
                at,
                format!("`${{{}}}` names no variable", short(name)),
                "${NAME} or ${NAME:-default}: letters, digits and _, no digit first",
            );
            good = false;
            continue;
        }
        match (env(name), default) {
            (Some(value), Some(default)) if value.is_empty() => out.push_str(default),
            (Some(value), _) => out.push_str(&value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => {
                let at = report.inside(node, offset);
                report.error(
                    at,
                    format!("`${{{name}}}` is not set in the environment"),
                    format!("the variable {name}, or a default: ${{{name}:-…}}"),
                );
                good = false;
            }
        }
    }
    out.push_str(rest);
    good.then_some(out)
}

fn is_name(name: &str) -> bool {
    name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
