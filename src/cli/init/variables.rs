//! The variables that servers.toml names in place of what is not copied into it.

use super::read::Input;
use crate::config::is_secret;
use crate::redaction::DataRules;
use secrecy::{ExposeSecret as _, SecretString};
use std::{collections::BTreeMap, fmt::Write as _};

/// A text for servers.toml, and the variables that stand in it for what must not.
#[derive(Debug, Default)]
pub(super) struct Variables {
    /// What each is for.
    pub(super) needed: BTreeMap<String, String>,
    /// What those hold that stand for a value: another value gets another name.
    values: BTreeMap<String, SecretString>,
    /// Names that mean something already, with the value where it is known.
    taken: BTreeMap<String, Option<SecretString>>,
    /// What clients ask a person for, and which variable stands for it.
    inputs: BTreeMap<String, Input>,
    asked: BTreeMap<String, String>,
    /// References are servers.toml's own already.
    ours: bool,
}

impl Variables {
    /// None yet, with what clients ask a person for.
    pub(super) fn with(inputs: &BTreeMap<String, Input>) -> Self {
        Self { inputs: inputs.clone(), ..Self::default() }
    }

    /// None yet, for texts whose references are those of servers.toml.
    pub(super) fn of_ours() -> Self {
        Self { ours: true, ..Self::default() }
    }

    /// The same beside variables that mean something already, with the value where it is known.
    pub(super) fn beside(self, taken: BTreeMap<String, Option<SecretString>>) -> Self {
        Self { taken, ..self }
    }

    /// Whether any stands for a value that was not copied.
    pub(super) fn stand_for_values(&self) -> bool {
        self.needed.keys().any(|name| self.values.contains_key(name))
    }

    /// The values that are known of those that are needed.
    pub(super) fn known(&self) -> BTreeMap<&str, &SecretString> {
        let known =
            |name: &String| Some((self.values.get_key_value(name)?.0.as_str(), self.values.get(name)?));
        self.needed.keys().filter_map(known).collect()
    }

    /// What a client would ask a person for, by its variable, where nothing is known of it.
    pub(super) fn questions(&self) -> Vec<(String, Input)> {
        let open = self.asked.iter().filter(|(name, _)| !self.values.contains_key(*name));
        open.filter_map(|(name, id)| Some((name.clone(), self.inputs.get(id)?.clone()))).collect()
    }

    /// What a person says for one of them.
    pub(super) fn answer(&mut self, name: &str, value: SecretString) {
        self.values.insert(name.to_owned(), value);
    }

    /// The variable for what a client asks a person for.
    fn input(&mut self, id: &str, upstream: &str) -> String {
        let name = variable(&[id]);
        let Input { what: says, default, options, .. } = self.inputs.get(id).cloned().unwrap_or_default();
        let mut what = format!("asked for by its client, for `{upstream}`");
        if !says.is_empty() {
            what.push_str(&format!(" ({})", super::words::one_line(&says, 120)));
        }
        if !options.is_empty() {
            what.push_str(&format!(": one of {}", options.join(", ")));
        }
        match default.filter(|default| !default.contains(['$', '}'])) {
            Some(default) => format!("${{{name}:-{default}}}"),
            None => {
                self.asked.insert(name.clone(), id.to_owned());
                self.need(name, what)
            }
        }
    }

    fn need(&mut self, name: String, what: String) -> String {
        let reference = format!("${{{name}}}");
        self.needed.entry(name).or_insert(what);
        reference
    }

    /// One that stands for this value alone.
    pub(super) fn stand_for(&mut self, value: &str, name: String, what: String) -> String {
        let numbered = |number: u32| if number == 1 { name.clone() } else { format!("{name}_{number}") };
        let fits = |name: &String| match self.values.get(name) {
            Some(known) => known.expose_secret() == value,
            None => match self.taken.get(name) {
                Some(other) => other.as_ref().is_some_and(|other| other.expose_secret() == value),
                None => !self.needed.contains_key(name),
            },
        };
        let own = (1..).map(numbered).find(fits).unwrap_or(name.clone());
        self.values.insert(own.clone(), SecretString::from(value));
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
    if variables.ours {
        return text.to_owned();
    }
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
