//! `${NAME}`, `${NAME:-default}`, `${file:PATH}` and `${cmd:PROGRAM …}` in servers.toml; `$${` stands for a literal `${`.

use super::references::{FORMS, Reference};
use crate::policy::{
    read::short,
    source::{Node, Report},
};
use secrecy::ExposeSecret as _;
use std::{cell::RefCell, path::Path};

/// Where variables come from, and what one that is not set means.
#[derive(Clone, Copy)]
pub(super) struct Env<'e> {
    variables: &'e dyn Fn(&str) -> Option<String>,
    /// The servers.toml whose folder paths start at.
    config: &'e Path,
    unset: Unset<'e>,
}

/// What a variable that is not set, or a file that is not there, means.
#[derive(Clone, Copy)]
enum Unset<'e> {
    /// The file cannot be used.
    Error,
    /// The upstream of this name, whose table has it, is disabled; the reasons are kept here.
    Disables(&'e str, &'e RefCell<Vec<String>>),
    /// Nothing: what names it is disabled in any case.
    Nothing,
}

impl<'e> Env<'e> {
    /// A variable that is not set is an error.
    pub(super) fn new(variables: &'e dyn Fn(&str) -> Option<String>, config: &'e Path) -> Self {
        Self { variables, config, unset: Unset::Error }
    }

    /// The same for the table of one upstream: it alone is disabled by a variable that is not set.
    pub(super) fn disabling(self, upstream: &'e str, reasons: &'e RefCell<Vec<String>>) -> Self {
        Self { unset: Unset::Disables(upstream, reasons), ..self }
    }

    /// The same for the table of an upstream that is disabled already.
    pub(super) fn disabled(self) -> Self {
        Self { unset: Unset::Nothing, ..self }
    }

    /// What a variable holds.
    pub(super) fn read(self, name: &str) -> Option<String> {
        (self.variables)(name)
    }

    /// Reports that something outside of the file is not there.
    pub(super) fn unavailable(self, node: &Node, what: String, expected: &str, report: &mut Report<'_>) {
        self.missing(node.start, what, expected, report);
    }

    /// What a reference to a secret stands for. Of an upstream that is not started nothing is read or run.
    fn refer(self, reference: Reference<'_>, at: usize, report: &mut Report<'_>) -> Option<String> {
        let shown = match reference {
            Reference::File(path) => format!("`${{file:{}}}`", short(path)),
            Reference::Command(line) => format!("`${{cmd:{}}}`", short(line)),
        };
        if let Some(fault) = reference.fault() {
            report.error(at, format!("{shown} {fault}"), FORMS);
            return None;
        }
        if matches!(self.unset, Unset::Nothing) {
            return None;
        }
        match reference.value(self.config) {
            Ok((value, doubt)) => {
                if let Some(doubt) = doubt {
                    report.lint(at, doubt, "a file of the gateway's own user, mode 0600");
                }
                Some(value.expose_secret().to_owned())
            }
            Err(why) => {
                let expected = match reference {
                    Reference::File(_) => "a file that the gateway's user can read, with the secret in it",
                    Reference::Command(_) => {
                        "a program that writes the secret to standard output and ends with 0"
                    }
                };
                self.missing(at, format!("{shown}: {why}"), expected, report);
                None
            }
        }
    }

    fn missing(self, at: usize, what: String, expected: &str, report: &mut Report<'_>) {
        match self.unset {
            Unset::Error => report.error(at, what, expected),
            Unset::Disables(upstream, reasons) => {
                report.lint(at, format!("{what}: upstream `{}` is disabled", short(upstream)), expected);
                reasons.borrow_mut().push(what);
            }
            Unset::Nothing => {}
        }
    }
}

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
        if let Some(reference) = Reference::read(reference) {
            match env.refer(reference, report.inside(node, offset), report) {
                Some(value) => out.push_str(&value),
                None => good = false,
            }
            continue;
        }
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if !is_name(name) {
            let at = report.inside(node, offset);
            report.error(
                at,
                format!("`${{{}}}` names no variable", short(name)),
                format!("${{NAME}} or ${{NAME:-default}}: letters, digits and _, no digit first; {FORMS}"),
            );
            good = false;
            continue;
        }
        if name.starts_with("TOLLGATE_") && !matches!(env.unset, Unset::Error) {
            let at = report.inside(node, offset);
            report.error(
                at,
                format!("`${{{name}}}` is Tollgate's own, and no upstream gets it"),
                "another variable: TOLLGATE_KEY is a person's key",
            );
            good = false;
            continue;
        }
        match (env.read(name), default) {
            (Some(value), Some(default)) if value.is_empty() => out.push_str(default),
            (Some(value), _) => out.push_str(&value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => {
                let at = report.inside(node, offset);
                let unset = format!("`${{{name}}}` is not set in the environment");
                let expected = format!("the variable {name}, or a default: ${{{name}:-…}}");
                env.missing(at, unset, &expected, report);
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
