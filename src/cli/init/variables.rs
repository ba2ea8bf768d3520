//! The variables that servers.toml names in place of what is not copied into it.

use super::read::Input;
use crate::config::is_secret;
use crate::redaction::DataRules;
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fmt::Write as _};

/// A text for servers.toml, and the variables that stand in it for what must not.
#[derive(Debug, Default)]
pub(super) struct Variables {
    /// What each is for.
    pub(super) needed: BTreeMap<String, String>,
    /// Those that stand for a value, by its SHA-256: another value gets another name.
    values: BTreeMap<String, [u8; 32]>,
    /// What clients ask a person for.
    inputs: BTreeMap<String, Input>,
}

impl Variables {
    /// None yet, with what clients ask a person for.
    pub(super) fn with(inputs: &BTreeMap<String, Input>) -> Self {
        Self { inputs: inputs.clone(), ..Self::default() }
    }

    /// Whether any stands for a value that was not copied.
    pub(super) fn stand_for_values(&self) -> bool {
        !self.values.is_empty()
    }

    /// The variable for what a client asks a person for.
    fn input(&mut self, id: &str, upstream: &str) -> String {
        let name = variable(&[id]);
        let Input { default, options } = self.inputs.get(id).cloned().unwrap_or_default();
        let mut what = format!("asked for by its client, for `{upstream}`");
        if !options.is_empty() {
            what.push_str(&format!(": one of {}", options.join(", ")));
        }
        match default.filter(|default| !default.contains(['$', '}'])) {
            Some(default) => format!("${{{name}:-{default}}}"),
            None => self.need(name, what),
        }
    }

    fn need(&mut self, name: String, what: String) -> String {
        let reference = format!("${{{name}}}");
        self.needed.entry(name).or_insert(what);
        reference
    }

    /// One that stands for this value alone.
    pub(super) fn stand_for(&mut self, value: &str, name: String, what: String) -> String {
        let digest: [u8; 32] = Sha256::digest(value.as_bytes()).into();
        let numbered = |number: u32| if number == 1 { name.clone() } else { format!("{name}_{number}") };
        let fits = |name: &String| match self.values.get(name) {
            Some(known) => *known == digest,
            None => !self.needed.contains_key(name),
        };
        let own = (1..).map(numbered).find(fits).unwrap_or(name.clone());
        self.values.insert(own.clone(), digest);
        self.need(own, what)
    }
}

/// Upper case, with `_` for all that a variable's name cannot have.
pub(super) fn variable(parts: &[&str]) -> String {
    let name = parts.join("_");
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// References in the syntaxes of the clients become ours; any other `${` stays a text.
pub(super) fn references(text: &str, upstream: &str, variables: &mut Variables) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, inner)) = rest.split_once("${") {
        out.push_str(before);
        let Some((reference, after)) = inner.split_once('}') else {
            out.push_str("$${");
            rest = inner;
            continue;
        };
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let named = name.strip_prefix("env:").unwrap_or(name);
        match (name.strip_prefix("input:"), default) {
            (Some(input), _) => out.push_str(&variables.input(input, upstream)),
            // A default is a value as any other.
            (None, Some(default))
                if is_name(named)
                    && !named.starts_with("TOLLGATE_")
                    && !is_secret(&DataRules::built_in(), named, default) =>
            {
                let _written = write!(out, "${{{named}:-{default}}}");
            }
            // A child never gets what is Tollgate's own, by whatever name.
            (None, _) if named.starts_with("TOLLGATE_") => {
                let _written = write!(out, "$${{{reference}}}");
            }
            (None, _) if is_name(named) => {
                out.push_str(&variables.need(named.to_owned(), format!("used by `{upstream}`")));
            }
            (None, _) => {
                let _written = write!(out, "$${{{reference}}}");
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
